//! From one layout of a tile to another: which registers, lanes or bytes of shared memory the values travel through.
//!
//! Both layouts say where each element is. Going from a *destination* (register, lane, warp) to the element and from there
//! to a *source* that holds it is one linear map, `S = from⁺ ∘ to`. Its blocks decide what is needed:
//!
//! - warps and lanes keep to themselves: registers are renamed, which is free, or 16-bit halves and bytes are regrouped
//!   by `prmt` (see [`registers`]);
//! - warps keep to themselves: `shfl` ([`shuffle`]);
//! - otherwise through shared memory ([`exchange`]).
//!
//! Example: the accumulator of `QKᵀ` (f32, mma.C over two n-atoms) as the A operand of `P·V` (16 bit, after a cast): C's
//! columns `2q + e` of atom `j` are A's k `2q + e + 8j`: the lanes agree, only the register bits are in another order. Rename, free.
//!
//! [`plan`] returns the cheapest of these with its cost in issue cycles.

pub mod exchange;
pub mod registers;
pub mod shuffle;

use super::error::LayoutError;
use super::f2::Echelon;
use super::map::Layout;
use super::space::Dim;
use exchange::Exchange;
use registers::RegisterMove;
use shuffle::Shuffle;

/// A way to convert, and what it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversion {
    pub how: How,
    pub cost: Cost,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// Values keep their lane. Free unless the cost says otherwise.
    Registers(RegisterMove),
    /// Values keep their warp.
    Shuffle(Shuffle),
    /// Through shared memory: stores, a barrier, loads.
    Shared(Box<Exchange>),
}

/// Per warp, in instructions; wavefronts for shared memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub prmts: u32,
    pub selects: u32,
    pub shuffles: u32,
    /// Loads and stores issued.
    pub accesses: u32,
    pub wavefronts: u32,
    pub barriers: u32,
    /// Shared memory needed.
    pub bytes: u32,
}

impl Cost {
    /// Issue cycles, in quarters: an ALU instruction or the issue of an access is 1 (four warps issue at once), a shuffle 8, a wavefront 4, a
    /// barrier 120.
    pub fn quarter_cycles(&self) -> u32 {
        self.prmts
            + self.selects
            + self.accesses
            + 8 * self.shuffles
            + 4 * self.wavefronts
            + 120 * self.barriers
    }
}

/// What the target offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Means {
    /// `stmatrix` exists (sm_90 and later).
    pub stmatrix: bool,
    /// The buffer is used again (a loop), so that reading and the next writing need a second barrier.
    pub in_loop: bool,
}

/// The cheapest way to have the tile in layout `to` when it is in layout `from`. Elements have `elem_bits` bits (8, 16, 32, 64).
///
/// Both layouts must cover the same tile and count the same lanes, warps, instances and CTAs; instances and CTAs must hold the
/// same parts in both, because nothing here reaches across them.
pub fn plan(from: &Layout, to: &Layout, elem_bits: u32, means: Means) -> Result<Conversion, LayoutError> {
    let sources = Sources::new(from, to)?;
    if sources.keeps_warps() {
        if sources.keeps_lanes() {
            return Ok(registers::plan(&sources, elem_bits));
        }
        let shuffled = shuffle::plan(&sources, elem_bits);
        let shared = exchange::plan(from, to, elem_bits, means);
        return match (shuffled, shared) {
            (Some(a), Ok(b)) => Ok(if a.cost.quarter_cycles() <= b.cost.quarter_cycles() { a } else { b }),
            (Some(a), Err(_)) => Ok(a),
            (None, b) => b,
        };
    }
    exchange::plan(from, to, elem_bits, means)
}

/// More register bits than this are no layout for a thread (and plans list registers one by one).
const MOST_REGISTERS: u32 = 12;

/// `S = from⁺ ∘ to`, cut into blocks: for each destination bit, the source it reads.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    /// Source register, lane and warp, by destination register bit.
    pub(super) reg: Vec<Source>,
    pub(super) lane: Vec<Source>,
    pub(super) warp: Vec<Source>,
    /// Register bits of the source layout.
    pub(super) source_regs: u32,
    /// How many times the whole repeats in registers (odd digits).
    pub(super) repeats: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) reg: u64,
    pub(super) lane: u64,
    pub(super) warp: u64,
}

impl Sources {
    fn new(from: &Layout, to: &Layout) -> Result<Sources, LayoutError> {
        if from.outs() != to.outs() {
            return Err(LayoutError::Shape { what: "the two layouts are not of one tile".into() });
        }
        if from.odd() != to.odd() {
            return Err(LayoutError::Unsolvable {
                reason: "the odd factors of the two layouts lie on different dimensions".into(),
            });
        }
        if from.ins().bits(Dim::Reg).max(to.ins().bits(Dim::Reg)) > MOST_REGISTERS {
            return Err(LayoutError::TooWide {
                what: "one thread's part of the tile",
                bits: MOST_REGISTERS + 1,
            });
        }
        for dim in [Dim::Lane, Dim::Warp] {
            let (left, right) = (from.ins().bits(dim), to.ins().bits(dim));
            if left != right {
                return Err(LayoutError::WidthMismatch { label: dim.to_string(), left, right });
            }
        }
        for dim in [Dim::Bit, Dim::Inst, Dim::Cta, Dim::Slot, Dim::Loop, Dim::Seg] {
            if from.cols_of(dim) != to.cols_of(dim) {
                return Err(LayoutError::Unsolvable {
                    reason: format!(
                        "the {dim} dimension holds different parts of the tile in the two layouts"
                    ),
                });
            }
        }
        let mut basis = Echelon::default();
        for (i, &c) in from.cols().iter().enumerate() {
            basis.insert(c, 1 << i);
        }
        let ins = from.ins();
        let find = |dim: Dim| -> Result<Vec<Source>, LayoutError> {
            let columns = to.cols_of(dim).iter().enumerate();
            columns
                .map(|(b, &c)| {
                    // The same bit of the source, if it moves alike (or both are copies): values stay where they are.
                    let combo = if from.cols_of(dim).get(b) == Some(&c) {
                        ins.put(dim, 1 << b)
                    } else {
                        let (rest, combo) = basis.reduce(c);
                        if rest != 0 {
                            let (outputs, rank) = (from.outs().total(), from.rank());
                            return Err(LayoutError::NotSurjective { outputs, rank });
                        }
                        combo
                    };
                    Ok(Source {
                        reg: ins.get(combo, Dim::Reg),
                        lane: ins.get(combo, Dim::Lane),
                        warp: ins.get(combo, Dim::Warp),
                    })
                })
                .collect()
        };
        let repeats = from.odd_in(Dim::Reg);
        let (reg, lane, warp) = (find(Dim::Reg)?, find(Dim::Lane)?, find(Dim::Warp)?);
        Ok(Sources { reg, lane, warp, source_regs: ins.bits(Dim::Reg), repeats })
    }

    /// Whether each warp reads only itself, and all warps do the same.
    fn keeps_warps(&self) -> bool {
        let own =
            self.warp.iter().enumerate().all(|(b, s)| *s == Source { warp: 1 << b, ..Source::default() });
        own && self.reg.iter().chain(&self.lane).all(|s| s.warp == 0)
    }

    /// Whether each lane reads only itself, and all lanes do the same.
    fn keeps_lanes(&self) -> bool {
        let own =
            self.lane.iter().enumerate().all(|(b, s)| *s == Source { lane: 1 << b, ..Source::default() });
        own && self.reg.iter().all(|s| s.lane == 0)
    }
}
