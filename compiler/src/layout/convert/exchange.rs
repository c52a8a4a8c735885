//! Conversions through shared memory.
//!
//! Any bijective map of the tile to bytes will do, so the best one is constructed, not searched:
//! 1. The lowest bits hold a vector: directions along which both layouts step by registers, up to 16 bytes; or, where `ldmatrix`
//!    or `stmatrix` serves one side, the eight elements of its rows, which the other side must hold in one thread.
//! 2. The store's phase touches a subspace P of what is left, the load's phase Q. The bits above the banks get a subspace
//!    that meets neither P nor Q, as large as possible. Such a subspace grows greedily: as long as K+P and K+Q are not
//!    everything there is a vector outside both (take a ∉ K+P and b ∉ K+Q; one of a, b, a+b will do).
//! 3. What remains are the bank bits; both maps to them are injective, so there is no conflict.

use super::{Conversion, Cost, How, Means};
use crate::layout::banks;
use crate::layout::error::LayoutError;
use crate::layout::f2::{self, Echelon};
use crate::layout::map::{Layout, LinearMap};
use crate::layout::shared::{OuterDigit, SharedLayout};
use crate::layout::solve::Accessor;
use crate::layout::space::{Dim, Offset, Space};

/// Store, barrier, load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    pub memory: SharedLayout,
    pub store: Side,
    pub load: Side,
}

/// One side's access: vector or matrix instructions, and how their registers map to the value's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// (reg', lane, warp, …) → elements, as the address code wants it; low reg' bits run through one vector.
    pub accessor: Accessor,
    /// `Some(trans)` for ldmatrix/stmatrix: the thread's own registers follow the instruction's distribution.
    pub matrix: Option<bool>,
    /// For vector accesses: register of the value for each bit of reg' (XOR of the masks of the set bits). For matrices: bit
    /// `i ≥ 3` of reg' (the instruction number); the registers inside an instruction are `matrix_registers`.
    pub registers: Vec<u64>,
    /// Registers bits of the value inside one matrix instruction: the pair bit, then the matrix number.
    pub matrix_registers: Vec<u64>,
    /// Register masks that change nothing: after a load, register `r` is copied to `r ^ mask`.
    pub copies: Vec<u64>,
    /// Regrouping of elements into 32-bit registers that the vectors need, per warp.
    pub prmts: u32,
    /// Instructions per warp.
    pub accesses: u32,
    /// Wavefronts of all of them.
    pub wavefronts: u32,
}

/// The eight-element rows and the eight row addresses of a matrix instruction on this layout.
struct Matrix {
    row: [u64; 3],
    rows: [u64; 3],
    trans: bool,
}

fn matrices(layout: &Layout) -> Vec<Matrix> {
    let (reg, lane) = (layout.cols_of(Dim::Reg), layout.cols_of(Dim::Lane));
    if reg.is_empty() || lane.len() != 5 {
        return Vec::new();
    }
    let (pair, group) = ([reg[0], lane[0], lane[1]], [lane[2], lane[3], lane[4]]);
    vec![Matrix { row: pair, rows: group, trans: false }, Matrix { row: group, rows: pair, trans: true }]
}

pub(super) fn plan(
    from: &Layout,
    to: &Layout,
    elem_bits: u32,
    means: Means,
) -> Result<Conversion, LayoutError> {
    let elem_bytes = crate::layout::shared::elem_bytes(elem_bits)?;
    if !from.is_surjective() || !to.is_surjective() {
        let (outputs, rank) = (from.outs().total(), from.rank().min(to.rank()));
        return Err(LayoutError::NotSurjective { outputs, rank });
    }
    let mut candidates = vec![vectors(from, to, elem_bytes, means)?];
    if elem_bits == 16 {
        candidates.extend(matrices(to).into_iter().filter_map(|m| with_matrix(from, to, m, true, means)));
        if means.stmatrix {
            candidates
                .extend(matrices(from).into_iter().filter_map(|m| with_matrix(from, to, m, false, means)));
        }
    }
    candidates
        .into_iter()
        .min_by_key(|c| c.cost.quarter_cycles())
        .ok_or_else(|| LayoutError::Unsolvable { reason: "no candidate".into() })
}

/// Both sides with ordinary vector accesses.
fn vectors(from: &Layout, to: &Layout, elem_bytes: u32, means: Means) -> Result<Conversion, LayoutError> {
    let mut vector = f2::intersect(from.cols_of(Dim::Reg), to.cols_of(Dim::Reg));
    // Directions that are single registers on both sides first: they need no regrouping.
    let simple = |v: &u64| from.cols_of(Dim::Reg).contains(v) && to.cols_of(Dim::Reg).contains(v);
    let units: Vec<u64> = from.cols_of(Dim::Reg).iter().copied().filter(|v| *v != 0 && simple(v)).collect();
    let mut chosen = Echelon::default();
    vector = units.into_iter().chain(vector).filter(|&v| chosen.insert(v, 0).is_none()).collect();
    vector.truncate((16 / elem_bytes).trailing_zeros() as usize);
    // Where the rest of either layout moves inside the vector, a shorter one is needed; single elements always do.
    loop {
        match with_vector(from, to, &vector, elem_bytes, means) {
            Err(_) if !vector.is_empty() => vector.pop(),
            result => return result,
        };
    }
}

fn with_vector(
    from: &Layout,
    to: &Layout,
    vector: &[u64],
    elem_bytes: u32,
    means: Means,
) -> Result<Conversion, LayoutError> {
    let bytes = elem_bytes << vector.len();
    let served = banks::lanes_per_phase(bytes).trailing_zeros() as usize;
    let phase = |l: &Layout| l.cols_of(Dim::Lane).iter().copied().take(served).collect::<Vec<_>>();
    let memory = memory(from, vector, elem_bytes, &phase(from), &phase(to))?;
    let store = vector_side(from, vector, bytes, &memory)?;
    let load = vector_side(to, vector, bytes, &memory)?;
    Ok(conversion(memory, store, load, means))
}

/// One side by matrix instructions (`loads`: ldmatrix on `to`, else stmatrix on `from`), the other by 16-byte vectors.
fn with_matrix(from: &Layout, to: &Layout, matrix: Matrix, loads: bool, means: Means) -> Option<Conversion> {
    let (own, other) = if loads { (to, from) } else { (from, to) };
    let held = Echelon::of(other.cols_of(Dim::Reg).iter().copied());
    let independent = f2::rank(matrix.row.iter().chain(&matrix.rows).copied()) == 6;
    if !independent || !matrix.row.iter().all(|&v| held.contains(v)) {
        return None;
    }
    let vector = matrix.row.to_vec();
    let other_phase: Vec<u64> = other.cols_of(Dim::Lane).iter().copied().take(3).collect();
    let memory = memory(from, &vector, 2, &matrix.rows, &other_phase).ok()?;
    let vector_side = vector_side(other, &vector, 16, &memory).ok()?;
    let matrix_side = matrix_side(own, &matrix, &memory).ok()?;
    let (store, load) = if loads { (vector_side, matrix_side) } else { (matrix_side, vector_side) };
    Some(conversion(memory, store, load, means))
}

fn conversion(memory: SharedLayout, store: Side, load: Side, means: Means) -> Conversion {
    let barriers = if means.in_loop { 2 } else { 1 };
    let (accesses, wavefronts) = (store.accesses + load.accesses, store.wavefronts + load.wavefronts);
    let prmts = store.prmts + load.prmts;
    let cost = Cost { prmts, accesses, wavefronts, barriers, bytes: memory.bytes(), ..Cost::default() };
    Conversion { how: How::Shared(Box::new(Exchange { memory, store, load })), cost }
}

/// Steps 1 to 3: the tile in memory, vectors lowest, conflict-free for phases `p` and `q`.
fn memory(
    tile: &Layout,
    vector: &[u64],
    elem_bytes: u32,
    p: &[u64],
    q: &[u64],
) -> Result<SharedLayout, LayoutError> {
    let bits = tile.outs().total();
    let mut low = vector.to_vec();
    let mut taken = Echelon::of(low.iter().copied());
    // A vector below four bytes shares its word with something: best with the neighbouring lane of the store.
    let filler: Vec<u64> = p.iter().copied().chain((0..bits).map(|b| 1 << b)).collect();
    for v in filler {
        if elem_bytes << low.len() >= 4 || low.len() as u32 == bits {
            break;
        }
        if taken.insert(v, 0).is_none() {
            low.push(v);
        }
    }
    let banks = (7 - (elem_bytes << low.len()).trailing_zeros().min(7)).min(bits - low.len() as u32);
    let above = bits - low.len() as u32 - banks;
    // K, modulo the vector: spans that contain it and each phase.
    let mut outside_p = Echelon::of(low.iter().chain(p).copied());
    let mut outside_q = Echelon::of(low.iter().chain(q).copied());
    let mut spanned = Echelon::of(low.iter().copied());
    let mut high = Vec::new();
    while (high.len() as u32) < above {
        let missing = |e: &Echelon| (0..bits).map(|b| 1u64 << b).find(|&u| !e.contains(u));
        let candidate = match (missing(&outside_p), missing(&outside_q)) {
            (Some(a), Some(b)) => {
                [a, b, a ^ b].into_iter().find(|&v| !outside_p.contains(v) && !outside_q.contains(v))
            }
            // One phase fills everything (conflicts are inevitable): any new direction will do.
            (a, b) => a.or(b),
        };
        let fallback = || (0..bits).map(|b| 1u64 << b).find(|&u| !spanned.contains(u));
        let Some(v) = candidate.filter(|&v| !spanned.contains(v)).or_else(fallback) else { break };
        outside_p.insert(v, 0);
        outside_q.insert(v, 0);
        spanned.insert(v, 0);
        high.push(v);
    }
    // The bank bits: lanes of the store in their order, then whatever is missing.
    let mut banked = Vec::new();
    for v in p.iter().copied().chain((0..bits).map(|b| 1 << b)) {
        if (banked.len() as u32) < banks && spanned.insert(v, 0).is_none() {
            banked.push(v);
        }
    }
    let basis: Vec<u64> = low.into_iter().chain(banked).chain(high).collect();
    let elem_shift = elem_bytes.trailing_zeros();
    let inverse = f2::right_inverse(&basis, bits)
        .ok_or_else(|| LayoutError::Unsolvable { reason: "no basis of the tile".into() })?;
    let cols = inverse.into_iter().map(|c| c << elem_shift).collect();
    let total = bits + elem_shift;
    if total > 31 {
        return Err(LayoutError::BufferTooLarge { bits: total });
    }
    let map = LinearMap::new(tile.outs().clone(), Space::new([(Offset, total as u8)]), cols, Vec::new())?;
    let mut stride = 1u64 << total;
    let mut outer = Vec::new();
    for &(axis, _) in tile.outs().fields() {
        let extent = tile.odd_out(axis);
        if extent > 1 {
            let narrow = u32::try_from(stride).map_err(|_| LayoutError::BufferTooLarge { bits: 32 })?;
            outer.push(OuterDigit { axis, extent, stride: narrow });
            stride *= extent as u64;
        }
    }
    SharedLayout::new(map, outer, elem_bytes)
}

/// Registers of a layout in a new basis.
struct Rebased {
    /// What the new register bits move: the vector first, then the rest.
    columns: Vec<u64>,
    /// The old registers they stand for.
    masks: Vec<u64>,
    /// Old register masks that move nothing.
    copies: Vec<u64>,
}

fn rebase(layout: &Layout, vector: &[u64]) -> Result<Rebased, LayoutError> {
    let regs = layout.cols_of(Dim::Reg);
    let mut basis = Echelon::default();
    for (i, &c) in regs.iter().enumerate() {
        basis.insert(c, 1 << i);
    }
    let (mut columns, mut masks) = (Vec::new(), Vec::new());
    let mut spanned = Echelon::default();
    for &v in vector {
        let (rest, combo) = basis.reduce(v);
        if rest != 0 {
            return Err(LayoutError::Unsolvable { reason: "the vector is not in one thread".into() });
        }
        columns.push(v);
        masks.push(combo);
        spanned.insert(v, 0);
    }
    for (i, &c) in regs.iter().enumerate() {
        if spanned.insert(c, 0).is_none() {
            columns.push(c);
            masks.push(1 << i);
        }
    }
    Ok(Rebased { columns, masks, copies: f2::kernel(regs) })
}

fn with_registers(layout: &Layout, reg: &[u64], lane: Option<&[u64]>) -> Result<Layout, LayoutError> {
    let fields = layout.ins().fields().iter().copied().filter(|f| f.0 != Dim::Reg);
    let ins = Space::new(fields.chain([(Dim::Reg, reg.len() as u8)]));
    let mut cols = Vec::new();
    for &(dim, _) in ins.fields() {
        match (dim, lane) {
            (Dim::Reg, _) => cols.extend_from_slice(reg),
            (Dim::Lane, Some(lane)) => cols.extend_from_slice(lane),
            _ => cols.extend_from_slice(layout.cols_of(dim)),
        }
    }
    LinearMap::new(ins, layout.outs().clone(), cols, layout.odd().to_vec())
}

/// Vectors must start where their length says: nothing but the vector's own bits moves inside it.
fn check_aligned(
    accessor: &Accessor,
    own: usize,
    bytes: u32,
    memory: &SharedLayout,
) -> Result<(), LayoutError> {
    let access = memory.access(&accessor.layout)?;
    let regs = access.map.ins().start(Dim::Reg) as usize;
    let others = access.map.cols().iter().enumerate().filter(|(i, _)| *i < regs || *i >= regs + own);
    if others.fold(0, |acc, (_, c)| acc | c) & (bytes as u64 - 1) != 0 {
        return Err(LayoutError::Unsolvable { reason: "a vector would not be aligned".into() });
    }
    Ok(())
}

fn vector_side(
    layout: &Layout,
    vector: &[u64],
    bytes: u32,
    memory: &SharedLayout,
) -> Result<Side, LayoutError> {
    let Rebased { columns, masks: registers, copies } = rebase(layout, vector)?;
    let accessor = Accessor::vector(bytes, with_registers(layout, &columns, None)?);
    check_aligned(&accessor, vector.len(), bytes, memory)?;
    let accesses = (1u32 << (columns.len() - vector.len())) * layout.odd_in(Dim::Reg);
    let wavefronts = accessor.wavefronts(memory)? * accesses;
    // Elements that share a register must be the ones that share a word of the vector.
    let per_word = (4 / memory.elem_bytes()).max(1).trailing_zeros() as usize;
    let together = registers.iter().take(per_word).enumerate().all(|(i, &mask)| mask == 1 << i);
    let words = (accesses << vector.len()) >> per_word;
    let prmts = if together && vector.len() >= per_word { 0 } else { words };
    Ok(Side {
        accessor,
        matrix: None,
        registers,
        matrix_registers: Vec::new(),
        copies,
        prmts,
        accesses,
        wavefronts,
    })
}

fn matrix_side(layout: &Layout, matrix: &Matrix, memory: &SharedLayout) -> Result<Side, LayoutError> {
    let regs = layout.cols_of(Dim::Reg);
    // Register bit 0 is the pair; the next two independent ones number the matrices, the rest the instructions.
    let mut spanned = Echelon::of(matrix.row.iter().chain(&matrix.rows).copied());
    let mut steps = Vec::new();
    for (i, &c) in regs.iter().enumerate().skip(1) {
        if spanned.insert(c, 0).is_none() {
            steps.push((1u64 << i, c));
        } else if c != 0 {
            return Err(LayoutError::Unsolvable { reason: "registers and lanes overlap".into() });
        }
    }
    let (inside, outside) = steps.split_at(steps.len().min(2));
    let columns: Vec<u64> = matrix.row.iter().copied().chain(outside.iter().map(|s| s.1)).collect();
    let mut lane: Vec<u64> = matrix.rows.iter().copied().chain(inside.iter().map(|s| s.1)).collect();
    lane.resize(5, 0);
    let count = 1 << inside.len();
    let accessor = Accessor::matrix(count, with_registers(layout, &columns, Some(&lane))?);
    check_aligned(&accessor, 3, 16, memory)?;
    let accesses = (1u32 << outside.len()) * layout.odd_in(Dim::Reg);
    let wavefronts = accessor.wavefronts(memory)? * accesses;
    Ok(Side {
        accessor,
        matrix: Some(matrix.trans),
        registers: [0, 0, 0].into_iter().chain(outside.iter().map(|s| s.0)).collect(),
        matrix_registers: [1].into_iter().chain(inside.iter().map(|s| s.0)).collect(),
        copies: f2::kernel(regs),
        prmts: 0,
        accesses,
        wavefronts,
    })
}
