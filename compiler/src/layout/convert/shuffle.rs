//! Conversions inside a warp by `shfl.idx`.
//!
//! In one shuffle every lane offers one register and reads one lane. The destination register and lane determine the source
//! register and lane linearly:
//!
//! ```text
//! source register = A r + B l        r, l: destination register, lane
//! source lane     = C r + D l
//! ```
//! If all lanes filled the same register in one round, several might have to read *different* registers of one lane: that is when
//! D is singular. So in round `t` lane `l` fills register `r = t + E l`, and E is chosen such that `F = C E + D` is
//! invertible. Then lane `s` is read by exactly one lane, `l = F⁻¹(s + C t)`, and offers the register that this one wants, which is
//! again linear in `s`: `A t + G F⁻¹ (s + C t)` with `G = A E + B`. There are as many rounds as registers; rounds in which every
//! lane reads itself (`F = 1`, `C t = 0`) need no shuffle. Exchanging one lane bit with one register bit this way costs half as
//! many shuffles as there are registers, and lane-dependent choice of registers (selects) before and after.
//!
//! Elements narrower than 32 bits travel in pairs or fours if some register bits pass through unchanged.

use super::{Conversion, Cost, How, Sources};
use crate::layout::f2::{self, Echelon};

/// A shuffle conversion. Registers are counted in units of `1 << unit_bits` elements.
///
/// Register renamings around it: before, element bit `i` of a unit is source register bit `before[i]`, and the unit number is made
/// of the remaining bits in order; after, likewise with destination bits `after[i]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shuffle {
    pub before: Vec<u32>,
    pub after: Vec<u32>,
    pub rounds: Vec<Round>,
    /// What lane `s` offers in a round: `round.send ^ send_by_lane(s)`, a matrix with a column per lane bit.
    pub send_by_lane: Vec<u64>,
    /// Which lane `l` reads: `round.lane ^ lane_map(l)`.
    pub lane_map: Vec<u64>,
    /// Which unit it fills: `round.receive ^ receive_by_lane(l)`.
    pub receive_by_lane: Vec<u64>,
    /// The whole repeats for each odd digit value in registers, units offset by the register count.
    pub repeats: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    pub send: u64,
    pub lane: u64,
    pub receive: u64,
    /// False where every lane reads itself.
    pub shuffles: bool,
}

pub(super) fn plan(sources: &Sources, elem_bits: u32) -> Option<Conversion> {
    let wanted = (32 / elem_bits.clamp(1, 32)).trailing_zeros() as usize;
    let (before, after) = travelling_together(sources, wanted);
    let units = Units::new(sources, &before, &after);
    let lanes = units.lane_reg.len();
    // Rows of the block matrices, as columns: A, C by register bit; B, D by lane bit.
    let e = fill_offsets(&units);
    let through = |cols: &[u64], x: u64| f2::apply(cols, x);
    let f: Vec<u64> = (0..lanes).map(|i| units.lane_lane[i] ^ through(&units.reg_lane, e[i])).collect();
    let g: Vec<u64> = (0..lanes).map(|i| units.lane_reg[i] ^ through(&units.reg_reg, e[i])).collect();
    // Lanes that read the same lane must want the same register of it.
    if f2::kernel(&f).into_iter().any(|x| through(&g, x) != 0) {
        return None;
    }
    let mut basis = Echelon::default();
    for (i, &column) in f.iter().enumerate() {
        basis.insert(column, 1 << i);
    }
    // F⁺ on unit vectors of the source lane; lanes that nobody reads may offer anything.
    let extension = f2::complement(&f, lanes as u32);
    for &unit in &extension {
        basis.insert(unit, 0);
    }
    let h: Vec<u64> = (0..lanes).map(|i| through(&g, basis.reduce(1 << i).1)).collect();
    let identity = f.iter().enumerate().all(|(i, &c)| c == 1 << i);
    let rounds: Vec<Round> = (0..1u64 << units.reg_reg.len())
        .map(|t| {
            let lane = through(&units.reg_lane, t);
            let send = through(&units.reg_reg, t) ^ through(&h, lane);
            Round { send, lane, receive: t, shuffles: !(identity && lane == 0) }
        })
        .collect();
    let parts = if wanted > before.len() { 1 } else { 1 + (elem_bits.saturating_sub(1) / 32) };
    let count = rounds.len() as u32 * sources.repeats;
    let moved = rounds.iter().filter(|r| r.shuffles).count() as u32 * sources.repeats;
    let selects = (f2::rank(h.iter().copied()) + f2::rank(e.iter().copied())) * count * parts;
    let regroup = |bits: &[u32]| u32::from(bits.iter().enumerate().any(|(i, &b)| b != i as u32)) * count;
    // Without partners every element sits alone in a register: unpacked before, packed after.
    let alone = if before.len() < wanted { 2 * count } else { 0 };
    let prmts = regroup(&before) + regroup(&after) + alone;
    let cost = Cost { prmts, selects, shuffles: moved * parts, ..Cost::default() };
    let shuffle = Shuffle {
        before,
        after,
        rounds,
        send_by_lane: h,
        lane_map: f,
        receive_by_lane: e,
        repeats: sources.repeats,
    };
    Some(Conversion { how: How::Shuffle(shuffle), cost })
}

/// Up to `wanted` pairs of (source, destination) register bits that pass straight through: the destination bit reads exactly
/// the source bit, and nothing else does. All or nothing.
fn travelling_together(sources: &Sources, wanted: usize) -> (Vec<u32>, Vec<u32>) {
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    for (bit, s) in sources.reg.iter().enumerate() {
        if s.lane != 0 || s.reg.count_ones() != 1 {
            continue;
        }
        let readers = sources.reg.iter().chain(&sources.lane).filter(|o| o.reg & s.reg != 0).count();
        if readers == 1 {
            pairs.push((s.reg.trailing_zeros(), bit as u32));
        }
    }
    // Bits that are low on both sides first: those need no regrouping.
    pairs.sort_by_key(|&(s, d)| (s != d, s.max(d)));
    if pairs.len() < wanted {
        return (Vec::new(), Vec::new());
    }
    pairs.truncate(wanted);
    pairs.into_iter().unzip()
}

/// The blocks of `S`, in units.
struct Units {
    reg_reg: Vec<u64>,
    reg_lane: Vec<u64>,
    lane_reg: Vec<u64>,
    lane_lane: Vec<u64>,
}

impl Units {
    fn new(sources: &Sources, before: &[u32], after: &[u32]) -> Units {
        let squeeze = |reg: u64| -> u64 {
            let kept = (0..sources.source_regs).filter(|b| !before.contains(b));
            kept.enumerate().fold(0, |acc, (to, from)| acc | (reg >> from & 1) << to)
        };
        let kept =
            || sources.reg.iter().enumerate().filter(|(b, _)| !after.contains(&(*b as u32))).map(|r| r.1);
        Units {
            reg_reg: kept().map(|s| squeeze(s.reg)).collect(),
            reg_lane: kept().map(|s| s.lane).collect(),
            lane_reg: sources.lane.iter().map(|s| squeeze(s.reg)).collect(),
            lane_lane: sources.lane.iter().map(|s| s.lane).collect(),
        }
    }
}

/// E: for each independent direction that D loses, a register bit whose C reaches a lane that D does not.
fn fill_offsets(units: &Units) -> Vec<u64> {
    let lanes = units.lane_lane.len();
    let mut offsets = vec![0u64; lanes];
    // Kernel vectors with a private bit each (reduced echelon form): adding a term on that bit repairs that vector only.
    let mut kernel = f2::kernel(&units.lane_lane);
    let mut pivots = Vec::new();
    for i in 0..kernel.len() {
        let pivot = kernel[i].trailing_zeros();
        for j in 0..kernel.len() {
            if j != i && kernel[j] >> pivot & 1 == 1 {
                kernel[j] ^= kernel[i];
            }
        }
        pivots.push(pivot as usize);
    }
    let mut image = Echelon::of(units.lane_lane.iter().copied());
    let mut free: Vec<usize> = (0..units.reg_lane.len()).collect();
    // First the pairs that make F the identity on the pivot, then any.
    for exact in [true, false] {
        pivots.retain(|&pivot| {
            let fits = |&r: &usize| {
                let reached = units.reg_lane[r];
                !image.contains(reached) && (!exact || reached ^ units.lane_lane[pivot] == 1 << pivot)
            };
            let Some(at) = free.iter().position(fits) else { return true };
            let register = free.remove(at);
            image.insert(units.reg_lane[register], 0);
            offsets[pivot] = 1 << register;
            false
        });
    }
    offsets
}
