//! Where the lanes of an axis live when no matrix instruction decides it: a vector in registers, then lanes, then warps, then
//! further registers.
//!
//! **The idea.** Every axis of a kernel gets digits of its own: which bits of its coordinate come from registers, lanes and warps. Axes
//! that meet in some tile take different lane and warp bits, so a tile's layout is simply the digits of its axes side by side, and
//! no tile ever needs a conversion. A tile without an axis holds the same values wherever the hardware bits of that axis differ.
//!
//! Worked example: rows `[r by 4, c by 1024]` of f32 on four warps. `c` is the last subscript of the tensor, so a thread takes four
//! neighbours (16 bytes) and its lanes the next five bits; then `r` takes the two warp bits; what is left of `c` goes to registers:
//! ```text
//! c bits 0-1: registers   c bits 2-6: lanes   c bits 7-9: registers   r bits 0-1: warps
//! ```
//! A maximum over `c` is then three kinds of steps: registers, lanes by shuffles, and no warps, hence no barrier.
//!
//! Invariants: axes of one tile share no lane or warp bit; extents with a large odd factor are padded to a power of two, and lanes past the extent
//! do not exist.

use super::access;
use crate::layout::{Axis, Dim, Layout, OddDigit, Space};
use crate::tile::ir as t1;
use rustc_hash::FxHashMap;

/// Odd factors up to this one stay a digit of their own; above it an extent is padded.
const MOST_ODD: u32 = 7;
const LANE_BITS: usize = 5;

/// The digits of one axis: which coordinate bit each hardware bit moves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Digits {
    odd: u32,
    bits: u32,
    register: Vec<u32>,
    lane: [Option<u32>; LANE_BITS],
    warp: Vec<Option<u32>>,
}

/// The digits of every axis, for so many warps.
#[derive(Clone, Debug)]
pub struct Distribution {
    pub warps: u32,
    axes: FxHashMap<t1::AxisId, Digits>,
    /// Registers per thread of the tile that takes most.
    largest: u32,
    /// Warps that [`Distribution::of`] takes where the schedule does not say.
    usual: u32,
}

/// What the rules look at.
struct Survey {
    /// Axes that meet in a tile.
    meetings: Vec<Vec<t1::AxisId>>,
    /// Axes that subscript a last dimension.
    inner: Vec<Inner>,
    /// Axes along which something is scanned.
    scanned: Vec<t1::AxisId>,
}

/// An axis that subscripts the last dimension of some tensor.
struct Inner {
    axis: t1::AxisId,
    /// Neighbours that make 16 bytes: of the narrowest type, and of the widest.
    most: u32,
    least: u32,
    /// Neighbours that fill whole bytes, where elements are narrower.
    at_least: u32,
    /// Elements of the largest access whose last subscript it is.
    elements: u64,
}

impl Distribution {
    /// Digits for every axis of a kernel; `warps` where the schedule says so.
    pub fn of(kernel: &t1::Kernel, warps: Option<u32>) -> Distribution {
        let survey = survey(kernel);
        let elements = |axes: &Vec<t1::AxisId>| -> u64 {
            axes.iter().map(|a| u64::from(padded(kernel.axis(*a).extent).2)).product()
        };
        let largest = survey.meetings.iter().map(elements).max().unwrap_or(1);
        let usual = default_warps(largest);
        let warps = warps.unwrap_or(usual);
        let mut d = Distribution { warps, axes: FxHashMap::default(), largest: 1, usual };
        d.assign(kernel, &survey);
        let tiles = live(kernel).map(|(_, v)| words(v.ty.elem) * d.registers_of(&v.ty.axes));
        let places = survey.meetings.iter().map(|axes| d.registers_of(axes));
        d.largest = tiles.chain(places).max().unwrap_or(1);
        d
    }

    /// Numbers of warps worth trying where the schedule does not say, best first.
    pub fn candidates(&self) -> Vec<u32> {
        let more = (1..).map(|n| self.usual << n).take_while(|n| *n <= 32);
        let fewer = (1..).map(|n| self.usual >> n).take_while(|n| *n >= 4);
        std::iter::once(self.usual).chain(more).chain(fewer).collect()
    }

    /// Registers per thread that a kernel is expected to need. Measured of ptxas 13: two of the largest tile and what addresses and
    /// predicates take; scans hold more partial results at once, of 64 bits most, and each scan of a kernel its own.
    pub fn register_estimate(&self, kernel: &t1::Kernel) -> u32 {
        let scans = live(kernel).filter(|(_, v)| matches!(v.op, t1::Op::Scan { .. }));
        let taken = scans.map(|(_, v)| (words(v.ty.elem), self.registers_of(&v.ty.axes)));
        let (wide, narrow): (Vec<_>, Vec<_>) = taken.partition(|(words, _)| *words > 1);
        let most = |list: &[(u32, u32)]| list.iter().map(|(words, n)| words * n).max();
        let wide_scans = most(&wide).map_or(0, |n| (5 * n + 40).max(4 * n * wide.len() as u32));
        let narrow_scans = most(&narrow).map_or(0, |n| (3 * n + 44).max(2 * n * narrow.len() as u32));
        (2 * self.largest + 40).max(wide_scans).max(narrow_scans)
    }

    fn assign(&mut self, kernel: &t1::Kernel, survey: &Survey) {
        let warp_bits = self.warps.trailing_zeros() as usize;
        let mut all: Vec<t1::AxisId> = survey.meetings.iter().flatten().copied().collect();
        all.sort_unstable();
        all.dedup();
        let mut next: FxHashMap<t1::AxisId, u32> = FxHashMap::default();
        for &a in &all {
            let (odd, bits, _) = padded(kernel.axis(a).extent);
            self.axes.insert(a, Digits { odd, bits, warp: vec![None; warp_bits], ..Digits::default() });
            next.insert(a, 0);
        }
        // A scan goes along lanes before it goes along warps, and leaves warps to other axes where it can.
        let inner: Vec<t1::AxisId> = survey.inner.iter().map(|i| i.axis).collect();
        let scanned: Vec<t1::AxisId> =
            survey.scanned.iter().copied().filter(|a| !inner.contains(a)).collect();
        let outer: Vec<t1::AxisId> =
            all.iter().copied().filter(|a| !inner.contains(a) && !scanned.contains(a)).collect();
        for i in &survey.inner {
            // Neighbours of the narrowest type only as far as every lane still has some.
            let each = (i.elements / u64::from(self.warps * 32)).max(1).ilog2();
            let bits = i.most.ilog2().min(each.max(i.least.ilog2())).max(i.at_least.ilog2());
            self.registers(i.axis, bits, &mut next);
        }
        for a in &inner {
            self.lanes(*a, survey, &mut next);
        }
        let last = |a: &t1::AxisId| survey.scanned.contains(a);
        for a in outer.iter().chain(inner.iter().filter(|a| !last(a))) {
            self.warp_bits(*a, survey, &mut next);
        }
        for a in outer.iter().chain(&scanned) {
            self.lanes(*a, survey, &mut next);
        }
        for a in inner.iter().filter(|a| last(a)).chain(&scanned) {
            self.warp_bits(*a, survey, &mut next);
        }
        for &a in &all {
            self.registers(a, u32::MAX, &mut next);
        }
    }

    fn registers(&mut self, a: t1::AxisId, most: u32, next: &mut FxHashMap<t1::AxisId, u32>) {
        let (Some(d), Some(n)) = (self.axes.get_mut(&a), next.get_mut(&a)) else { return };
        let until = d.bits.min(n.saturating_add(most));
        while *n < until {
            d.register.push(*n);
            *n += 1;
        }
    }

    /// Takes free hardware bits for what is left of the axis; free: no axis that meets it has them.
    fn take(
        &mut self,
        a: t1::AxisId,
        survey: &Survey,
        next: &mut FxHashMap<t1::AxisId, u32>,
        of: impl Fn(&mut Digits) -> &mut [Option<u32>],
    ) {
        let mut met: Vec<t1::AxisId> =
            survey.meetings.iter().filter(|m| m.contains(&a)).flatten().copied().collect();
        met.push(a);
        let Some(len) = self.axes.get_mut(&a).map(|d| of(d).len()) else { return };
        for bit in 0..len {
            let taken = met.iter().any(|m| self.axes.get_mut(m).is_some_and(|d| of(d)[bit].is_some()));
            let (Some(d), Some(n)) = (self.axes.get_mut(&a), next.get_mut(&a)) else { return };
            if !taken && *n < d.bits {
                of(d)[bit] = Some(*n);
                *n += 1;
            }
        }
    }

    fn lanes(&mut self, a: t1::AxisId, survey: &Survey, next: &mut FxHashMap<t1::AxisId, u32>) {
        self.take(a, survey, next, |d| &mut d.lane);
    }

    fn warp_bits(&mut self, a: t1::AxisId, survey: &Survey, next: &mut FxHashMap<t1::AxisId, u32>) {
        self.take(a, survey, next, |d| &mut d.warp);
    }

    /// The layout of a tile on these axes, in this order; the last axis' registers are innermost.
    pub fn layout(&self, axes: &[t1::AxisId]) -> Layout {
        let empty = Digits { odd: 1, ..Digits::default() };
        let digits: Vec<&Digits> = axes.iter().map(|a| self.axes.get(a).unwrap_or(&empty)).collect();
        let space = Space::new(digits.iter().enumerate().map(|(i, d)| (Axis(i as u16), d.bits as u8)));
        let column = |i: usize, bit: u32| space.put(Axis(i as u16), 1 << bit);
        let mut cols: Vec<u64> = Vec::new();
        for (i, d) in digits.iter().enumerate().rev() {
            cols.extend(d.register.iter().map(|bit| column(i, *bit)));
        }
        let registers = cols.len() as u8;
        let moved = |of: &dyn Fn(&Digits) -> Option<u32>| {
            digits.iter().enumerate().find_map(|(i, d)| of(d).map(|bit| column(i, bit))).unwrap_or(0)
        };
        cols.extend((0..LANE_BITS).map(|l| moved(&|d| d.lane[l])));
        let warp_bits = self.warps.trailing_zeros() as usize;
        cols.extend((0..warp_bits).map(|w| moved(&|d| d.warp.get(w).copied().flatten())));
        let ins =
            Space::new([(Dim::Reg, registers), (Dim::Lane, LANE_BITS as u8), (Dim::Warp, warp_bits as u8)]);
        let odd = digits
            .iter()
            .enumerate()
            .filter(|(_, d)| d.odd > 1)
            .map(|(i, d)| OddDigit { radix: d.odd as u16, from: Dim::Reg, to: Axis(i as u16) })
            .collect();
        match Layout::new(ins, space, cols, odd) {
            Ok(layout) => layout,
            Err(e) => unreachable!("digits side by side are a layout: {e}"),
        }
    }

    /// Which bits of the warp number move along any of these axes.
    pub fn warp_mask(&self, axes: &[t1::AxisId]) -> u32 {
        let moves = |w: usize| {
            axes.iter().any(|a| self.axes.get(a).is_some_and(|d| d.warp.get(w).copied().flatten().is_some()))
        };
        (0..self.warps.trailing_zeros()).filter(|w| moves(*w as usize)).fold(0, |m, w| m | 1 << w)
    }

    /// Pieces of an axis that differ only in registers above all thread bits.
    pub fn groups(&self, a: t1::AxisId) -> u32 {
        let Some(d) = self.axes.get(&a) else { return 1 };
        let threads = d.lane.iter().chain(&d.warp).flatten().max();
        d.odd << d.register.iter().filter(|bit| threads.is_some_and(|t| *bit > t)).count()
    }

    /// Registers per thread of the tile that takes most.
    pub fn largest_tile(&self) -> u32 {
        self.largest
    }

    /// Registers that a tile takes per thread.
    pub fn registers_of(&self, axes: &[t1::AxisId]) -> u32 {
        axes.iter().filter_map(|a| self.axes.get(a)).map(|d| d.odd << d.register.len()).product()
    }
}

/// Registers of one element. Tiles of coordinates are computed where they are needed, mostly in 32 bits.
fn words(elem: t1::ElemType) -> u32 {
    if elem == t1::ElemType::Index { 1 } else { elem.bits().div_ceil(32).max(1) }
}

/// (odd factor, bits, lanes with padding) of an extent.
fn padded(extent: u32) -> (u32, u32, u32) {
    let extent = extent.max(1);
    let (odd, bits) = (extent >> extent.trailing_zeros(), extent.trailing_zeros());
    if odd <= MOST_ODD {
        (odd, bits, extent)
    } else {
        let up = extent.next_power_of_two();
        (1, up.trailing_zeros(), up)
    }
}

/// Eight elements a thread, at least one warp; beyond eight warps sixteen elements, up to sixteen warps.
fn default_warps(elements: u64) -> u32 {
    let wanted = elements.div_ceil(32 * 8).next_power_of_two();
    match wanted {
        0..=8 => wanted as u32,
        16 => 8,
        _ => 16,
    }
}

fn survey(kernel: &t1::Kernel) -> Survey {
    let mut meetings: Vec<Vec<t1::AxisId>> = Vec::new();
    let mut meet = |axes: Vec<t1::AxisId>| {
        if !axes.is_empty() && !meetings.contains(&axes) {
            meetings.push(axes);
        }
    };
    let mut inner: Vec<Inner> = Vec::new();
    let mut access = |kernel: &t1::Kernel, tensor: t1::TensorId, ix: &[t1::ValueId]| {
        let axis = ix.last().and_then(|v| access::index(kernel, *v)).and_then(|i| i.axis);
        let bytes = kernel.tensor(tensor).elem.bits().div_ceil(8).max(1);
        let axes = kernel.subscript_axes(ix);
        let elements = axes.iter().map(|a| u64::from(kernel.axis(*a).extent)).product();
        if let Some(axis) = axis {
            let vector = (16 / bytes).max(1);
            // Bytes of narrower elements are written whole, by one thread each.
            let at_least = access::neighbours_of_bytes(kernel.tensor(tensor).elem.bits());
            match inner.iter_mut().find(|i| i.axis == axis) {
                Some(i) => {
                    (i.most, i.least) = (i.most.max(vector), i.least.min(vector));
                    i.at_least = i.at_least.max(at_least);
                    i.elements = i.elements.max(elements);
                }
                None => inner.push(Inner { axis, most: vector, least: vector, at_least, elements }),
            }
        }
    };
    let mut scanned = Vec::new();
    for (_, v) in live(kernel) {
        if let t1::Op::Scan { axis, .. } = v.op {
            scanned.push(axis);
        }
        meet(v.ty.axes.clone());
        if let t1::Op::Read { tensor, ix } = &v.op {
            access(kernel, *tensor, ix);
        }
    }
    for (tensor, ix) in places(kernel, &kernel.body) {
        meet(kernel.subscript_axes(ix));
        access(kernel, tensor, ix);
    }
    // Of two that meet, the one with the larger accesses is the vector: `y[r] = sum(x[r, c] over c)` goes along c.
    let sizes: Vec<(t1::AxisId, u64)> = inner.iter().map(|i| (i.axis, i.elements)).collect();
    inner.retain(|i| {
        let beaten = |(other, elements): &(t1::AxisId, u64)| {
            *elements > i.elements && meetings.iter().any(|m| m.contains(other) && m.contains(&i.axis))
        };
        !sizes.iter().any(beaten)
    });
    // Longest first: it has most to give to lanes.
    inner.sort_by_key(|i| std::cmp::Reverse(kernel.axis(i.axis).extent));
    Survey { meetings, inner, scanned }
}

/// The values that the kernel computes.
fn live(kernel: &t1::Kernel) -> impl Iterator<Item = (usize, &t1::Value)> {
    kernel.values.iter().enumerate().filter(|(_, v)| !v.ty.is_scalar())
}

fn places<'a>(kernel: &'a t1::Kernel, block: &'a t1::Block) -> Vec<(t1::TensorId, &'a [t1::ValueId])> {
    let mut out = Vec::new();
    for stmt in &block.stmts {
        match stmt {
            t1::Stmt::Let(_) => {}
            t1::Stmt::Write(w) => out.push((w.tensor, &w.ix[..])),
            t1::Stmt::Atomic(a) => out.push((a.tensor, &a.ix[..])),
            t1::Stmt::For(id) => out.extend(places(kernel, &kernel.loop_(*id).body)),
            t1::Stmt::If(id) => {
                let i = kernel.if_(*id);
                out.extend(places(kernel, &i.then_block));
                out.extend(places(kernel, &i.else_block));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_with_a_large_odd_factor_are_padded() {
        assert_eq!(padded(96), (3, 5, 96));
        assert_eq!(padded(111), (1, 7, 128));
        assert_eq!(padded(1), (1, 0, 1));
    }

    #[test]
    fn small_tiles_take_few_warps() {
        assert_eq!([64, 1024, 2048, 4096, 8192, 1 << 16].map(default_warps), [1, 4, 8, 8, 16, 16]);
    }
}
