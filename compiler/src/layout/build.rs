//! Constructors in the field's words.
//!
//! `spatial(8, 4)` spreads a tile of 8×4 elements over 32 lanes in row-major order, `local(8, 4)` gives them all to one
//! thread, in 32 registers. The `column_` forms count the first axis fastest. Products of these make nearly every
//! distributed layout there is.

use super::error::LayoutError;
use super::map::{Layout, LinearMap, OddDigit, odd_and_bits, small_radix};
use super::space::{Axis, Dim, Space, ones};

/// Which axis counts fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The last axis: `index = row · columns + column`.
    Row,
    /// The first axis.
    Column,
}

/// One input dimension spread over axes `0, 1, …` of the given extents.
///
/// Odd factors (96 = 3·32) become the outermost digits, which only some dimensions may hold.
pub fn spread(dim: Dim, extents: &[u32], order: Order) -> Result<Layout, LayoutError> {
    let axes: Vec<(Axis, u32)> = extents.iter().enumerate().map(|(i, &e)| (Axis(i as u16), e)).collect();
    spread_over(dim, &axes, order)
}

/// [`spread`] over axes of the caller's choice, in the order in which they count.
pub fn spread_over(dim: Dim, axes: &[(Axis, u32)], order: Order) -> Result<Layout, LayoutError> {
    let mut parts = Vec::new();
    for &(axis, extent) in axes {
        let (odd, bits) = odd_and_bits(extent)?;
        if odd > 1 && !super::space::Label::takes_odd(dim) {
            return Err(LayoutError::OddOnPowerOfTwoDim { dim, extent });
        }
        parts.push((axis, odd, bits));
    }
    let total: u32 = parts.iter().map(|p| p.2).sum();
    if total > 64 {
        return Err(LayoutError::TooWide { what: "the tile", bits: total });
    }
    let outs = Space::new(parts.iter().map(|p| (p.0, p.2 as u8)));
    // Digits from the fastest axis to the slowest.
    let fast_first: Vec<_> = match order {
        Order::Row => parts.iter().rev().copied().collect(),
        Order::Column => parts.clone(),
    };
    let cols = fast_first.iter().flat_map(|&(axis, _, bits)| {
        let outs = &outs;
        (0..bits).map(move |b| outs.put(axis, 1 << b))
    });
    let mut odd = Vec::new();
    for &(axis, radix, _) in fast_first.iter().rev().filter(|p| p.1 > 1) {
        odd.push(OddDigit { radix: small_radix(radix)?, from: dim, to: axis });
    }
    LinearMap::new(Space::new([(dim, total as u8)]), outs.clone(), cols.collect(), odd)
}

/// All elements in the registers of one thread, row-major.
pub fn local(extents: &[u32]) -> Result<Layout, LayoutError> {
    spread(Dim::Reg, extents, Order::Row)
}

/// All elements in the registers of one thread, first axis fastest.
pub fn column_local(extents: &[u32]) -> Result<Layout, LayoutError> {
    spread(Dim::Reg, extents, Order::Column)
}

/// One element per lane, row-major: `spatial(8,4)` puts lane `l` at (row `l / 4`, column `l % 4`).
///
/// A layout of more than 32 lanes becomes one of lanes and warps by [`Layout::split_threads`].
pub fn spatial(extents: &[u32]) -> Result<Layout, LayoutError> {
    spread(Dim::Lane, extents, Order::Row)
}

/// One element per lane, first axis fastest.
pub fn column_spatial(extents: &[u32]) -> Result<Layout, LayoutError> {
    spread(Dim::Lane, extents, Order::Column)
}

/// `count` (a power of two) copies: the dimension moves nothing, every copy holds the same element.
pub fn replicated(dim: Dim, count: u32) -> Result<Layout, LayoutError> {
    if !count.is_power_of_two() {
        return Err(LayoutError::Shape {
            what: format!("replicated({count}): copies are counted by a power of two"),
        });
    }
    let bits = count.trailing_zeros();
    LinearMap::new(Space::new([(dim, bits as u8)]), Space::default(), vec![0; bits as usize], Vec::new())
}

/// The lane and register assignment of a coalesced copy of a tile `[outer, inner]`: consecutive lanes take consecutive
/// vectors of `vector` elements along `inner`, then along `outer`, then the warps go on, then registers repeat.
///
/// The result maps (reg, lane, warp) to (outer, inner), the low register bits running through the vector. If the tile's
/// power-of-two part has fewer vectors than there are threads, the warps that find none repeat the others' (their columns
/// are zero: a predicate for whoever emits code). An odd factor of either axis is repeated in registers.
pub fn coalesced(
    outer: (Axis, u32),
    inner: (Axis, u32),
    vector: u32,
    threads: u32,
) -> Result<Layout, LayoutError> {
    let ((outer_odd, outer_bits), (inner_odd, inner_bits)) = (odd_and_bits(outer.1)?, odd_and_bits(inner.1)?);
    if !vector.is_power_of_two() || !threads.is_power_of_two() || threads < 32 {
        return Err(LayoutError::Shape {
            what: format!(
                "a copy by {threads} threads in vectors of {vector}: both must be powers of two, at least one warp"
            ),
        });
    }
    let vector_bits = vector.trailing_zeros();
    if vector_bits > inner_bits {
        return Err(LayoutError::Shape {
            what: format!("{} elements are not a multiple of vectors of {vector}", inner.1),
        });
    }
    let outs = Space::new([(outer.0, outer_bits as u8), (inner.0, inner_bits as u8)]);
    let mut units: Vec<u64> = (vector_bits..inner_bits).map(|b| outs.put(inner.0, 1 << b)).collect();
    units.extend((0..outer_bits).map(|b| outs.put(outer.0, 1 << b)));
    let thread_bits = threads.trailing_zeros() as usize;
    let mut thread_cols: Vec<u64> = units.iter().copied().take(thread_bits).collect();
    thread_cols.resize(thread_bits, 0);
    let reg_cols: Vec<u64> = (0..vector_bits)
        .map(|b| outs.put(inner.0, 1 << b))
        .chain(units.iter().copied().skip(thread_bits))
        .collect();
    let ins =
        Space::new([(Dim::Reg, reg_cols.len() as u8), (Dim::Lane, 5), (Dim::Warp, (thread_bits - 5) as u8)]);
    let mut odd = Vec::new();
    for (axis, radix) in [(outer.0, outer_odd), (inner.0, inner_odd)] {
        if radix > 1 {
            odd.push(OddDigit { radix: small_radix(radix)?, from: Dim::Reg, to: axis });
        }
    }
    LinearMap::new(ins, outs, reg_cols.into_iter().chain(thread_cols).collect(), odd)
}

impl Layout {
    /// Threads beyond the 32nd become warps: lane bits from 5 up move to the low end of the warp index.
    pub fn split_threads(&self) -> Result<Layout, LayoutError> {
        let lanes = self.ins().bits(Dim::Lane);
        if lanes <= 5 { Ok(self.clone()) } else { self.regroup(Dim::Lane, Dim::Warp, 5) }
    }

    /// Reads the same bits as words of another width: (bit, reg) together keep their columns, and a word now has
    /// `word_bits` bits of index. Packed u4 weights in 32-bit words seen as bytes, for example.
    pub fn rename_bits(&self, word_bits: u32) -> Result<Layout, LayoutError> {
        self.regroup(Dim::Bit, Dim::Reg, word_bits)
    }

    /// Moves the border between two neighbouring dimensions so that `low` has `low_bits` bits; the columns stay.
    pub fn regroup(&self, low: Dim, high: Dim, low_bits: u32) -> Result<Layout, LayoutError> {
        let (a, b) = (self.ins().bits(low), self.ins().bits(high));
        if low_bits > a + b {
            return Err(LayoutError::WidthMismatch { label: low.to_string(), left: low_bits, right: a + b });
        }
        if low_bits > a && self.odd_in(low) > 1 || low_bits < a && self.odd_in(low) > 1 {
            return Err(LayoutError::Shape {
                what: format!("{low} holds an odd factor, so its bits cannot become bits of {high}"),
            });
        }
        // The two dimensions need not be neighbours in this layout's index, so collect columns by name.
        let mut joint: Vec<u64> = self.cols_of(low).to_vec();
        joint.extend_from_slice(self.cols_of(high));
        let fields = self.ins().fields().iter().filter(|f| f.0 != low && f.0 != high).copied();
        let ins = Space::new(fields.chain([(low, low_bits as u8), (high, (a + b - low_bits) as u8)]));
        let mut cols = Vec::with_capacity(self.cols().len());
        for &(dim, _) in ins.fields() {
            match dim {
                d if d == low => cols.extend_from_slice(&joint[..low_bits as usize]),
                d if d == high => cols.extend_from_slice(&joint[low_bits as usize..]),
                d => cols.extend_from_slice(self.cols_of(d)),
            }
        }
        LinearMap::new(ins, self.outs().clone(), cols, self.odd().to_vec())
    }

    /// Permutes the bits of one axis: bit `i` of the axis moves to bit `to[i]`. This is how families of atoms are made
    /// (`atom ∘ π`, the same π for every operand that has the axis).
    pub fn permute_axis(&self, axis: Axis, to: &[u32]) -> Result<Layout, LayoutError> {
        let bits = self.outs().bits(axis);
        let mut seen = 0u64;
        to.iter().for_each(|&b| seen |= 1u64.checked_shl(b).unwrap_or(0));
        if to.len() as u32 != bits || seen != ones(bits) {
            return Err(LayoutError::Shape {
                what: format!("{to:?} is not a permutation of the {bits} bits of {axis}"),
            });
        }
        let mask = self.outs().mask(axis);
        let cols = self.cols().iter().map(|&c| {
            let value = self.outs().get(c, axis);
            let moved = (0..bits).fold(0u64, |acc, i| acc | (value >> i & 1) << to[i as usize]);
            c & !mask | self.outs().put(axis, moved)
        });
        LinearMap::new(self.ins().clone(), self.outs().clone(), cols.collect(), self.odd().to_vec())
    }
}
