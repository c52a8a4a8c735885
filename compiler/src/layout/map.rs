//! The one data structure: a linear map between named bit fields, with odd digits outside.

use super::error::LayoutError;
use super::f2;
use super::space::{Axis, Dim, Label, Offset, Space, ones};

/// An odd factor that both sides share: it is the outermost digit of its input and of its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OddDigit<I, O> {
    /// Odd, at least 3.
    pub radix: u16,
    pub from: I,
    pub to: O,
}

/// A map from named inputs to named outputs, linear over F2 on the power-of-two parts.
///
/// Index of an input `d`: `odd(d)·2^bits(d) + low`, and the same for an output. The low parts are related by `cols`
/// (column `i` is the image of input bit `i`), the odd parts are copied digit by digit. Where several digits share a
/// label, the first in the list is the most significant.
///
/// Invariants (checked at construction): at most 64 bits on either side; one column per input bit, within the output;
/// radices odd and ≥ 3, only on labels that [take them](Label::takes_odd).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LinearMap<I, O> {
    ins: Space<I>,
    outs: Space<O>,
    cols: Vec<u64>,
    odd: Vec<OddDigit<I, O>>,
}

/// Which thread and register holds which element: hardware → coordinates of a tile.
pub type Layout = LinearMap<Dim, Axis>;

/// Where an access of (register, lane, warp) goes in memory, in bytes, power-of-two part only.
pub type OffsetMap = LinearMap<Dim, Offset>;

/// What one input bit does: nothing (broadcast), one bit of one output, or several at once.
pub type Column<O> = Vec<(O, u32)>;

impl<I: Label, O: Label> LinearMap<I, O> {
    /// The general constructor. `cols` are in the order of `ins`, outputs laid out as `outs` says.
    pub fn new(
        ins: Space<I>,
        outs: Space<O>,
        cols: Vec<u64>,
        odd: Vec<OddDigit<I, O>>,
    ) -> Result<Self, LayoutError> {
        if ins.total() > 64 {
            return Err(LayoutError::TooWide { what: "the input", bits: ins.total() });
        }
        if outs.total() > 64 {
            return Err(LayoutError::TooWide { what: "the tile", bits: outs.total() });
        }
        if cols.len() != ins.total() as usize {
            return Err(LayoutError::ColumnCount { inputs: ins.total(), columns: cols.len() });
        }
        if let Some(column) = cols.iter().position(|c| c & !ones(outs.total()) != 0) {
            return Err(LayoutError::ColumnRange { column, bits: outs.total() });
        }
        for digit in &odd {
            if digit.radix % 2 == 0 || digit.radix < 3 {
                return Err(LayoutError::NotOdd { radix: digit.radix as u32 });
            }
            for ok in [digit.from.takes_odd(), digit.to.takes_odd()] {
                if !ok {
                    return Err(LayoutError::Shape {
                        what: format!("{} may not hold the odd factor {}", digit.from, digit.radix),
                    });
                }
            }
        }
        // A label that holds only an odd digit still exists; one that held a digit and lost it does not.
        let (ins, outs) = (ins.fields().iter().copied(), outs.fields().iter().copied());
        let ins = odd.iter().fold(Space::new(ins), |space, d| space.mentioning(d.from));
        let outs = odd.iter().fold(Space::new(outs), |space, d| space.mentioning(d.to));
        let map = LinearMap { ins, outs, cols, odd };
        for &(label, bits) in map.outs.fields() {
            check_extent(label, bits as u32, map.odd_out(label))?;
        }
        for &(label, bits) in map.ins.fields() {
            check_extent(label, bits as u32, map.odd_in(label))?;
        }
        Ok(map)
    }

    /// From moves by name: for each input, what its bits move, lowest bit first. `&[(k, 1)]` is a step of one along `k`,
    /// `&[]` is a broadcast, two entries move two outputs at once.
    ///
    /// ```
    /// use tilewright_compiler::layout::{Axis, Dim, Layout};
    /// let (m, n) = (Axis(0), Axis(1));
    /// // The accumulator of mma.m16n8: register bits move n by 1 and m by 8; lane bits n by 2, 4 and m by 1, 2, 4.
    /// let c = Layout::from_moves(&[(m, 4), (n, 3)], &[
    ///     (Dim::Reg, vec![vec![(n, 1)], vec![(m, 8)]]),
    ///     (Dim::Lane, vec![vec![(n, 2)], vec![(n, 4)], vec![(m, 1)], vec![(m, 2)], vec![(m, 4)]]),
    /// ]).unwrap();
    /// assert_eq!(c.coords(&[(Dim::Reg, 3), (Dim::Lane, 6)]), vec![(m, 9), (n, 5)]);
    /// ```
    pub fn from_moves(outs: &[(O, u8)], ins: &[(I, Vec<Column<O>>)]) -> Result<Self, LayoutError> {
        let out_space = Space::new(outs.iter().copied());
        let in_space = Space::new(ins.iter().map(|(label, moves)| (*label, moves.len() as u8)));
        let mut cols = Vec::with_capacity(in_space.total() as usize);
        for &(label, _) in in_space.fields() {
            for column in ins.iter().filter(|i| i.0 == label).flat_map(|i| &i.1) {
                let mut image = 0;
                for &(out, value) in column {
                    let bits = out_space.bits(out);
                    if value as u64 > ones(bits) {
                        return Err(LayoutError::ColumnRange { column: cols.len(), bits });
                    }
                    image ^= out_space.put(out, value as u64);
                }
                cols.push(image);
            }
        }
        LinearMap::new(in_space, out_space, cols, Vec::new())
    }

    /// [`from_moves`](Self::from_moves) where every input bit moves exactly one output.
    pub fn from_steps(outs: &[(O, u8)], ins: &[(I, &[(O, u32)])]) -> Result<Self, LayoutError> {
        let ins: Vec<_> =
            ins.iter().map(|(l, steps)| (*l, steps.iter().map(|&s| vec![s]).collect())).collect();
        LinearMap::from_moves(outs, &ins)
    }

    /// The identity between two labels of one extent (odd factor included).
    pub fn identity(from: I, to: O, extent: u32) -> Result<Self, LayoutError> {
        let (odd, bits) = odd_and_bits(extent)?;
        let cols = (0..bits).map(|i| 1u64 << i).collect();
        let digits = if odd > 1 { vec![OddDigit { radix: small_radix(odd)?, from, to }] } else { Vec::new() };
        LinearMap::new(Space::new([(from, bits as u8)]), Space::new([(to, bits as u8)]), cols, digits)
    }

    /// The map with no input that stands for a single element at zero on each of `axes`.
    pub fn point(axes: impl IntoIterator<Item = O>) -> Self {
        LinearMap {
            ins: Space::default(),
            outs: Space::new(axes.into_iter().map(|a| (a, 0))),
            cols: Vec::new(),
            odd: Vec::new(),
        }
    }

    pub fn ins(&self) -> &Space<I> {
        &self.ins
    }

    pub fn outs(&self) -> &Space<O> {
        &self.outs
    }

    /// Column `i`: the image of input bit `i`.
    pub fn cols(&self) -> &[u64] {
        &self.cols
    }

    pub fn odd(&self) -> &[OddDigit<I, O>] {
        &self.odd
    }

    /// The columns of one input, lowest bit first.
    pub fn cols_of(&self, label: I) -> &[u64] {
        let start = self.ins.start(label) as usize;
        &self.cols[start..start + self.ins.bits(label) as usize]
    }

    /// What bit `bit` of input `label` moves, by name: `[(K, 8)]`, or nothing for a broadcast.
    pub fn moves(&self, label: I, bit: u32) -> Column<O> {
        let column = self.cols_of(label).get(bit as usize).copied().unwrap_or(0);
        self.named(column)
    }

    fn named(&self, bits: u64) -> Column<O> {
        self.outs
            .fields()
            .iter()
            .rev()
            .map(|&(o, _)| (o, self.outs.get(bits, o) as u32))
            .filter(|&(_, value)| value != 0)
            .collect()
    }

    /// Product of the odd digits of an input.
    pub fn odd_in(&self, label: I) -> u32 {
        self.odd.iter().filter(|d| d.from == label).fold(1u32, |p, d| p.saturating_mul(d.radix as u32))
    }

    /// Product of the odd digits of an output.
    pub fn odd_out(&self, label: O) -> u32 {
        self.odd.iter().filter(|d| d.to == label).fold(1u32, |p, d| p.saturating_mul(d.radix as u32))
    }

    /// How many values an input counts: odd part times a power of two.
    pub fn size_in(&self, label: I) -> u32 {
        self.odd_in(label) << self.ins.bits(label)
    }

    /// Extent of an output, in elements (or bytes of an [`Offset`]).
    pub fn size_out(&self, label: O) -> u32 {
        self.odd_out(label) << self.outs.bits(label)
    }

    /// Outputs and extents in reading order (axis 0 first).
    pub fn shape(&self) -> Vec<(O, u32)> {
        self.outs.fields().iter().rev().map(|&(o, _)| (o, self.size_out(o))).collect()
    }

    /// Image of a concatenated input index, power-of-two part only.
    pub fn apply_bits(&self, x: u64) -> u64 {
        f2::apply(&self.cols, x & ones(self.cols.len() as u32))
    }

    /// Where the given inputs lie: coordinates in reading order. Inputs that are not mentioned are zero; values wrap at
    /// the input's size.
    pub fn coords(&self, at: &[(I, u32)]) -> Vec<(O, u32)> {
        let mut low = 0;
        let mut digits = vec![0u32; self.odd.len()];
        for &(label, value) in at {
            let value = value % self.size_in(label).max(1);
            low |= self.ins.put(label, value as u64);
            let mut rest = value >> self.ins.bits(label);
            for (i, d) in self.odd.iter().enumerate().rev().filter(|(_, d)| d.from == label) {
                digits[i] = rest % d.radix as u32;
                rest /= d.radix as u32;
            }
        }
        let image = self.apply_bits(low);
        let outs = self.outs.fields().iter().rev();
        outs.map(|&(o, bits)| {
            let odd = self.odd.iter().zip(&digits).filter(|(d, _)| d.to == o);
            let outer = odd.fold(0u32, |acc, (d, &v)| acc * d.radix as u32 + v);
            (o, (outer << bits) + self.outs.get(image, o) as u32)
        })
        .collect()
    }

    /// [`coords`](Self::coords) of every value of one input, the others being zero: per output in reading order, by the input's value.
    ///
    /// ```
    /// # use tilewright_compiler::layout::{Axis, Dim, Layout};
    /// # let (m, n) = (Axis(0), Axis(1));
    /// let pair = Layout::from_moves(&[(m, 1), (n, 1)], &[(Dim::Reg, vec![vec![(n, 1)], vec![(m, 1)]])]).unwrap();
    /// assert_eq!(pair.coords_along(Dim::Reg), vec![vec![0, 0, 1, 1], vec![0, 1, 0, 1]]);
    /// ```
    pub fn coords_along(&self, label: I) -> Vec<Vec<u32>> {
        let cols = self.cols_of(label);
        // Each image is that of the value without its lowest bit, and that bit's column.
        let mut images = vec![0u64; 1 << cols.len()];
        for x in 1..images.len() {
            images[x] = images[x & (x - 1)] ^ cols[x.trailing_zeros() as usize];
        }
        let mut outs: Vec<Vec<u32>> = Vec::with_capacity(self.outs.fields().len());
        for &(o, bits) in self.outs.fields().iter().rev() {
            let own: Vec<u32> = images.iter().map(|image| self.outs.get(*image, o) as u32).collect();
            let mut all = Vec::with_capacity(self.size_in(label) as usize);
            for rest in 0..self.odd_in(label) {
                let (mut rest, mut outer, mut unit) = (rest, 0, 1);
                for d in self.odd.iter().rev() {
                    let digit = if d.from == label { rest % d.radix as u32 } else { 0 };
                    if d.from == label {
                        rest /= d.radix as u32;
                    }
                    if d.to == o {
                        outer += digit * unit;
                        unit *= d.radix as u32;
                    }
                }
                all.extend(own.iter().map(|c| (outer << bits) + c));
            }
            outs.push(all);
        }
        outs
    }

    /// One output of [`coords`](Self::coords).
    pub fn coord(&self, at: &[(I, u32)], out: O) -> u32 {
        self.coords(at).into_iter().find(|c| c.0 == out).map_or(0, |c| c.1)
    }

    /// The same map with other names for its outputs. Two outputs that get one name are an error.
    pub fn rename_outs<P: Label>(&self, name: impl Fn(O) -> P) -> Result<LinearMap<I, P>, LayoutError> {
        let outs = Space::new(self.outs.fields().iter().map(|&(o, bits)| (name(o), bits)));
        if outs.fields().len() != self.outs.fields().len() {
            return Err(LayoutError::Shape { what: "two axes would get one name".into() });
        }
        let cols = self.cols.iter().map(|&c| {
            self.outs.fields().iter().fold(0, |acc, &(o, _)| acc | outs.put(name(o), self.outs.get(c, o)))
        });
        let odd =
            self.odd.iter().map(|d| OddDigit { radix: d.radix, from: d.from, to: name(d.to) }).collect();
        LinearMap::new(self.ins.clone(), outs.clone(), cols.collect(), odd)
    }

    /// Rank of the power-of-two part.
    pub fn rank(&self) -> u32 {
        f2::rank(self.cols.iter().copied())
    }

    /// Whether every element is somewhere.
    pub fn is_surjective(&self) -> bool {
        self.rank() == self.outs.total()
    }

    /// Whether no element is held twice.
    pub fn is_injective(&self) -> bool {
        self.rank() == self.ins.total()
    }
}

fn check_extent<L: Label>(label: L, bits: u32, odd: u32) -> Result<(), LayoutError> {
    // Sizes and coordinates are u32.
    if bits > 31 || (odd as u64) << bits > u32::MAX as u64 {
        return Err(LayoutError::ExtentTooLarge { label: label.to_string(), bits: bits + odd.ilog2() });
    }
    Ok(())
}

/// `extent = odd · 2^bits`.
pub(super) fn odd_and_bits(extent: u32) -> Result<(u32, u32), LayoutError> {
    if extent == 0 {
        return Err(LayoutError::ZeroExtent);
    }
    let bits = extent.trailing_zeros();
    Ok((extent >> bits, bits))
}

pub(super) fn small_radix(odd: u32) -> Result<u16, LayoutError> {
    u16::try_from(odd).map_err(|_| LayoutError::OddTooLarge { radix: odd })
}
