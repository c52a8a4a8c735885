//! Register layouts of a contraction: the anchors that `mma.sync.m16n8kK` sets, times how warps and registers tile the result.
//!
//! **Interleaving.** A thread of one atom holds two adjacent columns. N is permuted alike for B and the accumulator, so that the atoms of a
//! block of 32 columns interleave: atom a's column c is column `8 (c / 2) + 2 a + c % 2` of the block, and a thread holds eight
//! adjacent columns over four atoms: one 16-byte store of halves. Where a warp has fewer atoms, fewer interleave; and none do where B is contiguous along N, because
//! `ldmatrix.trans` takes an atom's eight columns from eight neighbours in memory.
//!
//! ```text
//! bits of the column j, low to high:     e | atom bits (t) | lane bits q0 q1 | further atoms | warp    (odd digit outermost, in registers)
//! bits of the row i:                     lane bits g0 g1 g2 | h (row + 8) | atoms | warp               (likewise)
//! accumulator registers, low to high:    e, h, column atoms, row atoms, odd digits
//! A registers:                           p, h, k + 4·2^p, row atoms        B registers:   p, k + 4·2^p, column atoms
//! ```
//! with as many bits p as elements of the operand share a 32-bit register: one for halves, two for bytes, none for tf32.
//! These are ptx-ISA's fragments of m16n8kK with N relabelled.

use crate::layout::{Axis, Dim, Layout, OddDigit, Space};
use crate::scheduled::ir::MmaAtom;

/// Sizes of a block tile and its warps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    pub bm: u32,
    pub bn: u32,
    pub bk: u32,
    /// Warps along rows and columns.
    pub wm: u32,
    pub wn: u32,
    /// Warps beside each other that hold the same: what they compute of it, each computes again.
    pub same: u32,
    pub atom: MmaAtom,
    /// Whether the atoms of a block of columns interleave.
    pub interleave: bool,
}

/// What an axis of a tile is of an accumulator's coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Row,
    Column,
    /// These bits of the row, where several axes make it up.
    Rows {
        from: u32,
        bits: u32,
    },
}

/// `n = odd * 2^bits`.
fn split(n: u32) -> (u32, u32) {
    (n >> n.trailing_zeros(), n.trailing_zeros())
}

impl Tiling {
    /// Bits of the row: 3 lane, 1 register, then atoms, then warps.
    fn row_atoms(&self) -> u32 {
        split(self.bm).1 - 4 - self.wm.trailing_zeros()
    }

    fn column_atoms(&self) -> u32 {
        split(self.bn).1 - 3 - self.wn.trailing_zeros()
    }

    /// Atom bits that interleave.
    fn interleaved(&self) -> u32 {
        if self.interleave { self.column_atoms().min(2) } else { 0 }
    }

    /// Elements of an operand that share a 32-bit register: register bits.
    pub fn packed(&self) -> u32 {
        (32 / self.atom.a.bits()).trailing_zeros()
    }

    /// What the bits inside a register, the two low lane bits and the upper half move along k.
    fn depth(&self) -> (Vec<(u64, u64)>, [u64; 2], u64) {
        let p = self.packed();
        ((0..p).map(|b| (0, 1 << b)).collect(), [1 << p, 2 << p], 4 << p)
    }

    /// The column that bit of each kind contributes: pair, lane q, atoms, warps.
    fn columns(&self) -> ColumnBits {
        let t = self.interleaved();
        let atoms = self.column_atoms();
        let atom = (0..atoms).map(|a| if a < t { 2 << a } else { 8 << a }).collect();
        let warp = (0..self.wn.trailing_zeros()).map(|w| 1 << (3 + atoms + w)).collect();
        ColumnBits { lane: [2 << t, 4 << t], atom, warp }
    }

    fn rows(&self) -> (Vec<u64>, Vec<u64>) {
        let atoms = self.row_atoms();
        let atom = (0..atoms).map(|a| 16 << a).collect();
        let warp = (0..self.wm.trailing_zeros()).map(|w| 1 << (4 + atoms + w)).collect();
        (atom, warp)
    }

    /// The accumulator's layout on (row, column).
    pub fn accumulator(&self) -> Layout {
        self.accumulator_on([true, false].into_iter())
    }

    /// The accumulator's layout restricted to some axes, in that order; `true` is the row axis.
    pub fn accumulator_on(&self, axes: impl Iterator<Item = bool>) -> Layout {
        let axes: Vec<Part> = axes.map(|row| if row { Part::Row } else { Part::Column }).collect();
        self.accumulator_of(&axes)
    }

    /// Whether an accumulator may have this many columns on these warps.
    pub fn holds(&self, columns: u32) -> bool {
        columns.is_power_of_two() && columns >= 16 * self.wn
    }

    /// The accumulator's layout on axes that are these parts of its coordinates.
    pub fn accumulator_of(&self, axes: &[Part]) -> Layout {
        let c = self.columns();
        let (row_atom, row_warp) = self.rows();
        // (row, column) of every input bit.
        let mut bits: Vec<(u64, u64)> = vec![(0, 1), (8, 0)];
        bits.extend(c.atom.iter().map(|a| (0, *a)));
        bits.extend(row_atom.iter().map(|a| (*a, 0)));
        let registers = bits.len();
        bits.extend([(0, c.lane[0]), (0, c.lane[1]), (1, 0), (2, 0), (4, 0)]);
        bits.extend(self.idle(self.same));
        bits.extend(c.warp.iter().map(|w| (0, *w)));
        bits.extend(row_warp.iter().map(|w| (*w, 0)));
        let ((odd_m, mb), (odd_n, nb)) = (split(self.bm), split(self.bn));
        let size = |part: &Part| match *part {
            Part::Row => mb,
            Part::Column => nb,
            Part::Rows { bits, .. } => bits,
        };
        let outs: Vec<(Axis, u32)> =
            axes.iter().enumerate().map(|(i, part)| (Axis(i as u16), size(part))).collect();
        let moved = |(row, column): &(u64, u64)| {
            let along = |part: &Part| match *part {
                Part::Row => *row,
                Part::Column => *column,
                Part::Rows { from, bits } => *row >> from & ((1 << bits) - 1),
            };
            axes.iter().map(along).collect::<Vec<u64>>()
        };
        let columns = bits.iter().map(moved).collect::<Vec<_>>();
        let odd = [(Part::Row, odd_m), (Part::Column, odd_n)]
            .into_iter()
            .filter(|(_, odd)| *odd > 1)
            .filter_map(|(part, odd)| {
                let axis = axes.iter().position(|p| *p == part)?;
                Some(OddDigit { radix: odd as u16, from: Dim::Reg, to: Axis(axis as u16) })
            })
            .collect();
        self.layout(registers, &outs, &columns, odd)
    }

    /// A fragment of one k-slice of an atom's depth, on (row, k).
    pub fn a_fragment(&self) -> Layout {
        self.a_part(self.atom.k(), &[true, false])
    }

    /// B's fragment of one k-slice of an atom's depth, on (column, k).
    pub fn b_fragment(&self) -> Layout {
        self.b_part(self.atom.k(), &[true, false])
    }

    /// Slices side by side to this depth: the slice's number is the highest register digits. `axes` says which the
    /// layout has, in order: `true` is the kept axis, `false` is k.
    pub fn a_part(&self, depth: u32, axes: &[bool]) -> Layout {
        let axes: Vec<Option<Part>> = axes.iter().map(|kept| kept.then_some(Part::Row)).collect();
        self.a_of(depth, &axes)
    }

    /// The same on axes that are parts of the row, or k.
    pub fn a_of(&self, depth: u32, axes: &[Option<Part>]) -> Layout {
        let (row_atom, row_warp) = self.rows();
        let (mut bits, lane, upper) = self.depth();
        bits.extend([(8, 0), (0, upper)]);
        bits.extend(row_atom.iter().map(|a| (*a, 0)));
        bits.extend(self.slices(depth));
        let registers = bits.len();
        bits.extend([(0, lane[0]), (0, lane[1]), (1, 0), (2, 0), (4, 0)]);
        bits.extend(self.idle(self.same * self.wn));
        bits.extend(row_warp.iter().map(|w| (*w, 0)));
        self.operand(registers, &bits, self.bm, depth, axes)
    }

    /// The same for B.
    pub fn b_part(&self, depth: u32, axes: &[bool]) -> Layout {
        let c = self.columns();
        let (mut bits, lane, upper) = self.depth();
        bits.push((0, upper));
        bits.extend(c.atom.iter().map(|a| (*a, 0)));
        bits.extend(self.slices(depth));
        let registers = bits.len();
        // The atom's column bits are the pair bit and the two lane bits of the accumulator.
        bits.extend([(0, lane[0]), (0, lane[1]), (1, 0), (c.lane[0], 0), (c.lane[1], 0)]);
        bits.extend(self.idle(self.same));
        bits.extend(c.warp.iter().map(|w| (*w, 0)));
        bits.extend(self.idle(self.wm));
        let axes: Vec<Option<Part>> = axes.iter().map(|kept| kept.then_some(Part::Row)).collect();
        self.operand(registers, &bits, self.bn, depth, &axes)
    }

    /// What the bits move that number so many warps with the same elements.
    fn idle(&self, warps: u32) -> impl Iterator<Item = (u64, u64)> + use<> {
        (0..warps.trailing_zeros()).map(|_| (0, 0))
    }

    /// What the register bits that number slices move.
    fn slices(&self, depth: u32) -> impl Iterator<Item = (u64, u64)> {
        let k = self.atom.k();
        (0..(depth / k).trailing_zeros()).map(move |b| (0, u64::from(k) << b))
    }

    fn operand(
        &self,
        registers: usize,
        bits: &[(u64, u64)],
        extent: u32,
        depth: u32,
        axes: &[Option<Part>],
    ) -> Layout {
        let ((odd, outer), (odd_depth, depth)) = (split(extent), split(depth));
        let along = |part: &Option<Part>, (o, k): (u64, u64)| match *part {
            None => k,
            Some(Part::Rows { from, bits }) => o >> from & ((1 << bits) - 1),
            Some(Part::Row | Part::Column) => o,
        };
        let columns: Vec<Vec<u64>> =
            bits.iter().map(|b| axes.iter().map(|part| along(part, *b)).collect()).collect();
        let kept = axes.iter().position(Option::is_some).map(|axis| (axis, odd));
        let contracted = axes.iter().position(Option::is_none).map(|axis| (axis, odd_depth));
        let odd = kept
            .into_iter()
            .chain(contracted)
            .filter(|(_, odd)| *odd > 1)
            .map(|(axis, odd)| OddDigit { radix: odd as u16, from: Dim::Reg, to: Axis(axis as u16) })
            .collect();
        let sizes = axes.iter().map(|part| match *part {
            None => depth,
            Some(Part::Rows { bits, .. }) => bits,
            Some(Part::Row | Part::Column) => outer,
        });
        let outs: Vec<(Axis, u32)> = sizes.enumerate().map(|(n, bits)| (Axis(n as u16), bits)).collect();
        self.layout(registers, &outs, &columns, odd)
    }

    fn layout(
        &self,
        registers: usize,
        outs: &[(Axis, u32)],
        columns: &[Vec<u64>],
        odd: Vec<OddDigit<Dim, Axis>>,
    ) -> Layout {
        let warps = (self.wm * self.wn * self.same).trailing_zeros() as u8;
        let ins = Space::new([(Dim::Reg, registers as u8), (Dim::Lane, 5), (Dim::Warp, warps)]);
        let space = Space::new(outs.iter().map(|(a, bits)| (*a, *bits as u8)));
        let cols = columns
            .iter()
            .map(|column| outs.iter().zip(column).fold(0, |acc, ((axis, _), v)| acc | space.put(*axis, *v)))
            .collect();
        match Layout::new(ins, space, cols, odd) {
            Ok(layout) => layout,
            Err(e) => unreachable!("a tiling that the knobs accepted is a layout: {e}"),
        }
    }
}

struct ColumnBits {
    lane: [u64; 2],
    atom: Vec<u64>,
    warp: Vec<u64>,
}
