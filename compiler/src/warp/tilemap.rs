//! A layout as the emitter needs it: what the thread number contributes to each coordinate, and what each register does.
//!
//! Worked example: `mma.m16n8k16.C` of one warp on axes (i, j). Element register 0..4, thread bits 0..5:
//! axis i: thread columns `[0, 0, 1, 2, 4]`, registers `[0, 0, 8, 8]`; axis j: thread columns `[2, 4, 0, 0, 0]`,
//! registers `[0, 1, 0, 1]`. Thread parts are XOR-linear in the thread's bits; register parts are constants on other bits, so
//! a coordinate is the *sum* of both.

use crate::layout::{Dim, Layout};
use rustc_hash::FxHashSet;

/// One axis of a [`TileMap`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AxisMap {
    /// Coordinate bits that thread bit b contributes (lane bits first, then warp bits).
    pub thread: Vec<u32>,
    /// Coordinate that register r contributes.
    pub register: Vec<u32>,
}

/// Coordinates on several axes as one number that ascends with them, the first axis highest: no tile has 2^64 elements.
#[derive(Debug)]
pub struct Places {
    extents: Vec<u64>,
}

impl Places {
    /// For coordinates out of these columns, `n` axes of them and again.
    pub fn of<'a>(columns: impl Iterator<Item = &'a [u32]>, n: usize) -> Places {
        let mut extents = vec![1; n];
        for (at, column) in columns.enumerate() {
            let most = column.iter().copied().max().map_or(0, u64::from);
            extents[at % n] = extents[at % n].max(most + 1);
        }
        Places { extents }
    }

    /// The number of what stands in row `r` of the axes' columns.
    pub fn at(&self, columns: &[&[u32]], r: usize) -> u64 {
        columns.iter().zip(&self.extents).fold(0, |at, (column, extent)| at * extent + u64::from(column[r]))
    }
}

/// A layout split into thread and register parts, per axis in the order of the layout's outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileMap {
    pub axes: Vec<AxisMap>,
    pub registers: usize,
}

impl TileMap {
    /// Evaluates the layout at every register with thread 0 and at every thread bit with register 0.
    pub fn of(layout: &Layout) -> TileMap {
        let lane_bits = 5;
        let warp_bits = layout.ins().bits(Dim::Warp);
        let mut axes: Vec<AxisMap> = layout
            .coords_along(Dim::Reg)
            .into_iter()
            .map(|register| AxisMap { thread: Vec::new(), register })
            .collect();
        for bit in 0..lane_bits + warp_bits {
            let at =
                if bit < lane_bits { (Dim::Lane, 1 << bit) } else { (Dim::Warp, 1 << (bit - lane_bits)) };
            for (map, (_, coord)) in axes.iter_mut().zip(layout.coords(&[at])) {
                map.thread.push(coord);
            }
        }
        TileMap { axes, registers: layout.size_in(Dim::Reg) as usize }
    }

    /// One register per distinct element of a thread: the first that holds it.
    pub fn distinct(&self) -> Vec<usize> {
        let axes: Vec<&[u32]> = self.axes.iter().map(|m| &m.register[..]).collect();
        let places = Places::of(axes.iter().copied(), axes.len());
        let mut seen = FxHashSet::default();
        (0..self.registers).filter(|r| seen.insert(places.at(&axes, *r))).collect()
    }

    /// The registers in groups that hold `n` consecutive, aligned elements along `axis`, for the largest power of two n of at
    /// most `most` that all of them allow; groups ascend by coordinates.
    pub fn runs(&self, axis: usize, most: u32) -> Vec<Vec<usize>> {
        if self.axes.is_empty() {
            return (0..self.registers).map(|r| vec![r]).collect();
        }
        let mut order: Vec<usize> = (0..self.registers).collect();
        let others = self.axes.iter().enumerate().filter(|(a, _)| *a != axis).map(|(_, m)| &m.register[..]);
        let axes: Vec<&[u32]> = others.chain([&self.axes[axis].register[..]]).collect();
        let places = Places::of(axes.iter().copied(), axes.len());
        order.sort_by_cached_key(|r| places.at(&axes, *r));
        let mut n = most.max(1);
        while n > 1 && !self.runs_of(&order, axis, n) {
            n /= 2;
        }
        order.chunks(n as usize).map(<[usize]>::to_vec).collect()
    }

    fn runs_of(&self, order: &[usize], axis: usize, n: u32) -> bool {
        self.axes[axis].thread.iter().all(|t| t.is_multiple_of(n))
            && order.len().is_multiple_of(n as usize)
            && order.chunks(n as usize).all(|run| {
                self.axes[axis].register[run[0]].is_multiple_of(n)
                    && run.iter().enumerate().all(|(e, &r)| {
                        self.axes.iter().enumerate().all(|(a, m)| {
                            let step = if a == axis { e as u32 } else { 0 };
                            m.register[r] == m.register[run[0]] + step
                        })
                    })
            })
    }
}
