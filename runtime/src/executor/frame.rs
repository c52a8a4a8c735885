//! Where a warp's registers live.
//!
//! A *frame* is one cache-aligned block of 128-byte *cells*. A 32-bit register is one cell, lane-major: word `l` belongs to
//! lane `l`. A 64-bit register is two neighbouring cells read as 32 little-endian u64. A 16-bit register lies in the low half of
//! a 32-bit cell whose upper half is **always zero**. A predicate is one u32 mask, bit `l` for lane `l`; 32 predicates share
//! a cell. Immediates and special registers that calls read have cells of their own, filled when a warp starts.
//!
//! ```text
//! cell 0   %r1   [l0 l1 l2 ... l31]                     128 B
//! cell 1   %rd1  [l0 l1 ... l15]                        256 B in two cells
//! cell 2         [l16 ... l31]
//! cell 3   predicates 0..31, one u32 each
//! ```
//!
//! Compiled code (`codegen`) addresses the same bytes by offset; nothing but the frame survives the end of a segment.

/// A value of each lane: the unit of a 32-bit register.
pub type Lanes32 = [u32; 32];
/// 32 lanes of 64 bits.
pub type Lanes64 = [u64; 32];

/// Bytes of a cell.
pub const CELL_BYTES: usize = 128;

#[repr(C, align(128))]
#[derive(Clone, Copy, Debug)]
struct Cell(Lanes32);

/// A 32-bit (or 16-bit, or 8-bit) register: the index of its cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct R32(pub u32);

/// A 64-bit register: the index of the first of its two cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct R64(pub u32);

/// A predicate: its number among the predicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PredId(pub u32);

/// The registers of one warp.
#[derive(Clone, Debug)]
pub struct Frame {
    cells: Box<[Cell]>,
    /// First cell of the predicate area.
    predicates: usize,
}

impl Frame {
    /// A frame with `cells` register cells and room for `predicates` masks, filled with deterministic garbage: a kernel that
    /// reads a register that it never wrote gets the same nonsense in every run.
    pub fn new(cells: usize, predicates: usize) -> Frame {
        let total = cells + predicates.div_ceil(32).max(1);
        let mut state = 0x9e37_79b9_u32;
        let cells_ = (0..total)
            .map(|_| {
                state = state.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
                Cell([state | 0x7fc0_0000; 32])
            })
            .collect();
        Frame { cells: cells_, predicates: cells }
    }

    /// Takes over the contents of another frame of the same program.
    pub fn copy_from(&mut self, other: &Frame) {
        self.predicates = other.predicates;
        self.cells.copy_from_slice(&other.cells);
    }

    /// Byte offset of predicate `p` from the start of the frame, for a frame with `cells` register cells.
    pub fn predicate_offset(cells: usize, p: PredId) -> usize {
        cells * CELL_BYTES + p.0 as usize * 4
    }

    #[inline]
    pub fn r32(&self, r: R32) -> &Lanes32 {
        &self.cells[r.0 as usize].0
    }

    #[inline]
    pub fn r32_mut(&mut self, r: R32) -> &mut Lanes32 {
        &mut self.cells[r.0 as usize].0
    }

    #[inline]
    pub fn r64(&self, r: R64) -> &Lanes64 {
        let pair = &self.cells[r.0 as usize..r.0 as usize + 2];
        // SAFETY: `pair` is two adjacent 128-byte cells without padding, that is 256 initialised bytes aligned to 128, and any
        // bit pattern is a u64. The borrow of `self` covers them.
        unsafe { &*pair.as_ptr().cast::<Lanes64>() }
    }

    #[inline]
    pub fn r64_mut(&mut self, r: R64) -> &mut Lanes64 {
        let pair = &mut self.cells[r.0 as usize..r.0 as usize + 2];
        // SAFETY: as in `r64`; the borrow is exclusive.
        unsafe { &mut *pair.as_mut_ptr().cast::<Lanes64>() }
    }

    /// Neighbouring 32-bit registers.
    pub fn range_mut(&mut self, first: R32, count: usize) -> &mut [Lanes32] {
        let cells = &mut self.cells[first.0 as usize..first.0 as usize + count];
        // SAFETY: a cell is a `Lanes32` of the same size, aligned at least as well; the exclusive borrow covers all of them.
        unsafe { std::slice::from_raw_parts_mut(cells.as_mut_ptr().cast::<Lanes32>(), cells.len()) }
    }

    /// Two times four neighbouring registers, if none of them is in both.
    #[inline]
    pub fn two_quads_mut(&mut self, a: R32, b: R32) -> Option<(&mut [Lanes32; 4], &mut [Lanes32; 4])> {
        let (low, high) = (a.0.min(b.0), a.0.max(b.0));
        if high - low < 4 {
            return None;
        }
        let both = self.range_mut(R32(low), (high - low) as usize + 4);
        let (below, above) = both.split_at_mut((high - low) as usize);
        let (first, second) = (below.first_chunk_mut()?, above.first_chunk_mut()?);
        Some(if a.0 < b.0 { (first, second) } else { (second, first) })
    }

    /// Neighbouring 32-bit registers, and all others beside them.
    #[inline]
    pub fn split_at_range(&mut self, first: R32, count: usize) -> (&mut [Lanes32], Others<'_>) {
        let from = first.0 as usize;
        let (below, rest) = self.cells.split_at_mut(from);
        let (range, above) = rest.split_at_mut(count);
        // SAFETY: as in `range_mut`.
        let lanes = unsafe { std::slice::from_raw_parts_mut(range.as_mut_ptr().cast::<Lanes32>(), count) };
        (lanes, Others { below, above, above_from: from + count })
    }

    #[inline]
    pub fn pred(&self, p: PredId) -> u32 {
        self.cells[self.predicates + p.0 as usize / 32].0[p.0 as usize % 32]
    }

    #[inline]
    pub fn set_pred(&mut self, p: PredId, mask: u32) {
        self.cells[self.predicates + p.0 as usize / 32].0[p.0 as usize % 32] = mask;
    }

    /// The start of the frame, for compiled code.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.cells.as_mut_ptr().cast()
    }

    /// Register cells in front of the predicates.
    pub fn register_cells(&self) -> usize {
        self.predicates
    }
}

/// The registers of a frame but for a range that is borrowed elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Others<'f> {
    below: &'f [Cell],
    above: &'f [Cell],
    above_from: usize,
}

impl<'f> Others<'f> {
    /// # Panics
    /// If the register is in the range.
    #[inline]
    pub fn r32(&self, r: R32) -> &'f Lanes32 {
        let at = r.0 as usize;
        if at >= self.above_from { &self.above[at - self.above_from].0 } else { &self.below[at].0 }
    }
}

/// Writes the lanes of `mask` of `new` over `old`.
#[inline]
pub fn blend32(old: &mut Lanes32, new: &Lanes32, mask: u32) {
    if mask == u32::MAX {
        *old = *new;
        return;
    }
    for lane in 0..32 {
        let keep = (mask >> lane & 1).wrapping_sub(1);
        old[lane] = (old[lane] & keep) | (new[lane] & !keep);
    }
}

/// Writes the lanes of `mask` of `new` over `old`.
#[inline]
pub fn blend64(old: &mut Lanes64, new: &Lanes64, mask: u32) {
    if mask == u32::MAX {
        *old = *new;
        return;
    }
    for lane in 0..32 {
        if mask >> lane & 1 != 0 {
            old[lane] = new[lane];
        }
    }
}
