//! One shared layout for all who touch a buffer.
//!
//! A buffer between global memory and the tensor cores is written by cp.async along rows and read by ldmatrix down columns.
//! Row-major serves the writer only: eight rows of 128 bytes start in the same bank. XORing address bits 4..7 (which
//! 16-byte unit of the 32 banks) with row bits serves both. Which row bits? Those in which the eight rows of a matrix
//! differ, and that depends on the reader: plain atoms read rows 0..8 (bits 0, 1, 2), interleaved ones rows 0, 1, 8, 9,
//! 16, 17, 24, 25 (bits 0, 3, 4).
//!
//! In linear terms: an accessor's phase touches a subspace P of the buffer; it is conflict-free exactly if the map to the bank
//! is injective on P (on words). [`solve_shared`] starts from row-major and looks for the smallest set of address bits
//! above the banks, and which bank bits each is XORed into, that makes all accessors as good as they can be. Few and low
//! source bits are worth having: each one that a register or loop step moves costs an XOR instead of an immediate.

use super::banks;
use super::error::LayoutError;
use super::map::{Layout, LinearMap};
use super::panel;
use super::shared::{Access, SharedLayout, elem_bytes};
use super::space::{Axis, Dim, Space};

/// How an accessor touches the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessKind {
    /// Every lane reads or writes a vector of this many bytes (1, 2, 4, 8, 16): cp.async, ld.shared, st.shared.
    Vector { bytes: u32 },
    /// ldmatrix or stmatrix of this many 8×8 matrices (1, 2, 4): lane `8j + r` addresses 16 bytes.
    Matrix { count: u32 },
    /// A TMA tile copy: box rows in panels, hardware swizzle only.
    Tma,
    /// A wgmma descriptor: `k` is the summed axis; with the contiguous axis it decides K-major or MN-major.
    Descriptor { k: Axis },
}

/// Someone who touches a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accessor {
    pub kind: AccessKind,
    /// (reg, lane, warp, …) → coordinates of elements. The low register bits run through one vector (for `Matrix`: one row of
    /// 16 bytes) along the contiguous axis. May cover a part of the tile. Ignored for `Tma` and `Descriptor`.
    pub layout: Layout,
    /// How often it happens, relative to the others.
    pub weight: u32,
}

impl Accessor {
    /// A per-lane access of `bytes`.
    pub fn vector(bytes: u32, layout: Layout) -> Self {
        Accessor { kind: AccessKind::Vector { bytes }, layout, weight: 1 }
    }

    /// ldmatrix or stmatrix; `rows` as [`MatrixAccess::rows`](super::atoms::MatrixAccess) gives them.
    pub fn matrix(count: u32, rows: Layout) -> Self {
        Accessor { kind: AccessKind::Matrix { count }, layout: rows, weight: 1 }
    }

    pub fn tma() -> Self {
        Accessor { kind: AccessKind::Tma, layout: Layout::point([]), weight: 1 }
    }

    pub fn descriptor(k: Axis) -> Self {
        Accessor { kind: AccessKind::Descriptor { k }, layout: Layout::point([]), weight: 1 }
    }

    fn vector_bytes(&self) -> Option<u32> {
        match self.kind {
            AccessKind::Vector { bytes } => Some(bytes),
            AccessKind::Matrix { .. } => Some(16),
            AccessKind::Tma | AccessKind::Descriptor { .. } => None,
        }
    }

    fn phases(&self) -> u32 {
        match self.kind {
            AccessKind::Vector { bytes } => {
                let lanes = 1u32 << self.layout.ins().bits(Dim::Lane).min(5);
                (lanes / banks::lanes_per_phase(bytes)).max(1)
            }
            AccessKind::Matrix { count } => count,
            AccessKind::Tma | AccessKind::Descriptor { .. } => 0,
        }
    }

    /// Wavefronts of one of its warp instructions in `memory`, as hardware and executor count them; zero for bulk accessors.
    pub fn wavefronts(&self, memory: &SharedLayout) -> Result<u32, LayoutError> {
        let Some(bytes) = self.vector_bytes() else { return Ok(0) };
        let access = memory.access(&self.layout)?;
        Ok(match self.kind {
            AccessKind::Matrix { count } => {
                let lanes = access.map.cols_of(Dim::Lane);
                banks::phase_wavefronts(lanes, 16) * count
            }
            _ => access.wavefronts(bytes),
        })
    }
}

/// A layout and what it costs each accessor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedSolution {
    pub layout: SharedLayout,
    /// Per accessor, in order: wavefronts of one warp instruction, and the fewest that any layout could have.
    pub wavefronts: Vec<Wavefronts>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wavefronts {
    pub taken: u32,
    pub ideal: u32,
}

impl SharedSolution {
    pub fn conflict_free(&self) -> bool {
        self.wavefronts.iter().all(|w| w.taken == w.ideal)
    }

    pub(super) fn measure(layout: SharedLayout, accessors: &[Accessor]) -> Result<Self, LayoutError> {
        let measured =
            accessors.iter().map(|a| Ok(Wavefronts { taken: a.wavefronts(&layout)?, ideal: a.phases() }));
        let wavefronts = measured.collect::<Result<_, LayoutError>>()?;
        Ok(SharedSolution { layout, wavefronts })
    }

    pub(super) fn cost(&self, accessors: &[Accessor]) -> u32 {
        self.wavefronts.iter().zip(accessors).map(|(w, a)| w.taken * a.weight).sum()
    }
}

/// The layout of a buffer of `shape` (reading order, last axis contiguous in memory) that serves all accessors best.
///
/// With a TMA copy or a wgmma descriptor among them the candidates are the hardware's swizzled panels; otherwise the linear
/// optimum above. Odd factors of an extent become outer segments.
pub fn solve_shared(
    shape: &[(Axis, u32)],
    elem_bits: u32,
    accessors: &[Accessor],
) -> Result<SharedSolution, LayoutError> {
    let Some(&(contiguous, _)) = shape.last() else {
        return Err(LayoutError::Shape { what: "a buffer needs at least one axis".into() });
    };
    if accessors.iter().any(|a| a.vector_bytes().is_none()) {
        return panel::solve(shape, elem_bits, accessors);
    }
    let bytes = elem_bytes(elem_bits)?;
    let base = SharedLayout::row_major(shape, elem_bits)?;
    let mut phases = Vec::new();
    for accessor in accessors {
        let vector = accessor.vector_bytes().unwrap_or(0);
        check_vector(accessor, vector, bytes, contiguous)?;
        phases.push(Phase::of(accessor, &base.access(&accessor.layout)?, vector));
    }
    let layout = match search(&phases, bank_start(&phases)) {
        Some(xors) if !xors.is_empty() => apply(&base, &xors)?,
        _ => base,
    };
    SharedSolution::measure(layout, accessors)
}

/// The vector of a lane must be consecutive elements: register bits 0.. are the low bits of the contiguous axis.
fn check_vector(accessor: &Accessor, vector: u32, elem: u32, axis: Axis) -> Result<(), LayoutError> {
    let layout = &accessor.layout;
    let elements = vector / elem;
    let bits = elements.max(1).trailing_zeros();
    let regs = layout.cols_of(Dim::Reg);
    let whole = regs.len() as u32 >= bits
        && (0..bits).all(|b| regs[b as usize] == layout.outs().put(axis, 1 << b))
        && layout.outs().bits(axis) >= bits;
    let low = layout.outs().put(axis, (1u64 << bits) - 1);
    let others = layout
        .cols()
        .iter()
        .enumerate()
        .filter(|&(i, _)| layout.ins().locate(i as u32).is_none_or(|(d, b)| d != Dim::Reg || b >= bits));
    let mut others = others.map(|o| *o.1);
    if elements == 0 || !vector.is_power_of_two() || vector > 16 || !whole || others.any(|c| c & low != 0) {
        return Err(LayoutError::VectorNotContiguous { bytes: vector, elements, axis: axis.to_string() });
    }
    Ok(())
}

/// One phase of an accessor in row-major byte offsets.
struct Phase {
    /// Generators of the words touched, as byte offsets: lane bits, then word bits of the vector.
    generators: Vec<u64>,
    rank: u32,
    weight: u32,
    phases: u32,
    vector: u32,
    /// Columns of registers, loops and segments: XORing into them costs address registers.
    steps: Vec<u64>,
}

impl Phase {
    fn of(accessor: &Accessor, access: &Access, vector: u32) -> Phase {
        let served = banks::lanes_per_phase(vector).trailing_zeros() as usize;
        let mut generators: Vec<u64> =
            access.map.cols_of(Dim::Lane).iter().take(served).map(|c| c & !3).collect();
        generators.extend((2..vector.max(1).trailing_zeros()).map(|b| 1u64 << b));
        generators.retain(|&g| g != 0);
        let rank = super::f2::rank(generators.iter().copied());
        let steps = [Dim::Reg, Dim::Loop, Dim::Seg].iter().flat_map(|&d| access.map.cols_of(d).to_vec());
        let steps = steps.filter(|c| c >> vector.trailing_zeros() != 0).collect();
        Phase { generators, rank, weight: accessor.weight, phases: accessor.phases(), vector, steps }
    }

    fn wavefronts(&self, xors: &[Xor]) -> u32 {
        let banks = self.generators.iter().map(|&g| swizzle(g, xors) >> 2 & 31);
        self.phases << (self.rank - small_rank(banks))
    }
}

/// Rank of vectors of five bits, without allocating: this is the inner loop of the search.
fn small_rank(vectors: impl Iterator<Item = u64>) -> u32 {
    let mut pivots = [0u64; 5];
    let mut rank = 0;
    for mut v in vectors {
        for bit in (0..5).rev() {
            if v >> bit & 1 == 0 {
                continue;
            }
            if pivots[bit] == 0 {
                pivots[bit] = v;
                rank += 1;
                break;
            }
            v ^= pivots[bit];
        }
    }
    rank
}

/// Address bit `source` is XORed into the bank bits `into` (a mask of byte-address bits below 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Xor {
    source: u32,
    into: u64,
}

fn swizzle(offset: u64, xors: &[Xor]) -> u64 {
    xors.iter().fold(offset, |acc, x| acc ^ ((offset >> x.source & 1) * x.into))
}

/// The lowest address bit that may be XORed into: vectors stay whole.
fn bank_start(phases: &[Phase]) -> u32 {
    phases.iter().map(|p| p.vector.trailing_zeros()).max().unwrap_or(4).max(2)
}

/// At most this many swizzles are tried: some 100 ns each.
const BUDGET: u32 = 12_000;

/// The XORs with the least cost; fewer sources first, then fewer address registers, then lower bits.
fn search(phases: &[Phase], bank_start: u32) -> Option<Vec<Xor>> {
    let ideal: u32 = phases.iter().map(|p| p.phases * p.weight).sum();
    let support = phases.iter().flat_map(|p| &p.generators).fold(0, |acc, g| acc | g);
    let sources: Vec<u32> = (7..40).filter(|b| support >> b & 1 == 1).collect();
    let targets: Vec<u64> = (bank_start..7).map(|b| 1u64 << b).collect();
    let combined: Vec<u64> = (1..1u64 << targets.len()).map(|v| v << bank_start).collect();
    let mut search = Search { phases, ideal, best: None, left: BUDGET };
    // Single bits first: they are plain swizzles. Mixed targets only if those do not reach the ideal.
    for values in [&targets, &combined] {
        for count in 0..=sources.len().min(targets.len() + 2) {
            search.place(&sources, values, count, &mut Vec::new());
            if search.best.as_ref().is_some_and(|b| b.0.0 == ideal) {
                return search.best.map(|b| b.1);
            }
        }
    }
    search.best.map(|b| b.1)
}

struct Search<'a> {
    phases: &'a [Phase],
    ideal: u32,
    best: Option<((u32, usize, u32), Vec<Xor>)>,
    left: u32,
}

impl Search<'_> {
    fn place(&mut self, sources: &[u32], values: &[u64], count: usize, chosen: &mut Vec<Xor>) {
        if self.left == 0 {
            return;
        }
        if count == 0 {
            self.left -= 1;
            self.score(chosen);
            return;
        }
        for (i, &source) in sources.iter().enumerate() {
            if sources.len() - i < count {
                break;
            }
            for &into in values {
                chosen.push(Xor { source, into });
                self.place(&sources[i + 1..], values, count - 1, chosen);
                chosen.pop();
            }
        }
    }

    fn score(&mut self, xors: &[Xor]) {
        let mut cost = 0;
        for p in self.phases {
            cost += p.wavefronts(xors) * p.weight;
            if self.best.as_ref().is_some_and(|b| cost > b.0.0) {
                return;
            }
        }
        let more = self.best.as_ref().is_some_and(|b| b.0.0 == cost && b.1.len() < xors.len());
        if more {
            return;
        }
        // Steps whose image under the swizzle reaches bank bits that something else reaches too.
        let touched = |p: &Phase| -> usize {
            p.steps
                .iter()
                .filter(|&&s| xors.iter().any(|x| s >> x.source & 1 == 1 || s & x.into != 0))
                .count()
        };
        let registers: usize = self.phases.iter().map(touched).sum();
        let order: u32 = xors
            .iter()
            .enumerate()
            .map(|(i, x)| x.source * 8 + x.into.trailing_zeros().abs_diff(4 + i as u32))
            .sum();
        let key = (cost, registers, order);
        if self.best.as_ref().is_none_or(|b| key < b.0) {
            self.best = Some((key, xors.to_vec()));
        }
        debug_assert!(cost >= self.ideal);
    }
}

fn apply(base: &SharedLayout, xors: &[Xor]) -> Result<SharedLayout, LayoutError> {
    let cols = base.map().cols().iter().map(|&c| swizzle(c, xors)).collect();
    let outs: Space<_> = base.map().outs().clone();
    let map = LinearMap::new(base.map().ins().clone(), outs, cols, Vec::new())?;
    SharedLayout::new(map, base.outer().to_vec(), base.elem_bytes())
}
