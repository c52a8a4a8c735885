//! Coordinates that a comparison of floats picks: `argmax`, `argmin`, and those of `sort` and `topk`.
//!
//! Which of two elements comes first is not a machine's to know where they differ by no more than both may be off. So next to the element
//! that is picked in real arithmetic every element that may be as good is right: its *rivals* are the elements of its run within twice
//! the slack of it. With `1, 2, 1.9999999` and a slack of 1e-5, `argmax` is 1 or 2, and `topk` of two gives either of them at either place.
//!
//! The program is evaluated once for each place in the order of rivals, every run picking the rival of that number; what an element may
//! be is what it is in one of those runs. Coordinates are no magnitudes: what lies between two of them is not right.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::reduce::{on_axes_of, with_last};
use super::values::{Tile, Values};
use crate::tile::ir::*;

/// Other picks for a run of the evaluator.
#[derive(Debug, Default)]
pub struct Picks {
    /// The rival that is picked: its number among the rivals, ascending by coordinate, modulo how many there are.
    pub which: usize,
    /// The most rivals that some pick has had.
    pub(super) most: AtomicUsize,
}

/// What a coordinate is picked by.
pub(super) struct Picked {
    pub x: ValueId,
    /// Along which axis, and the axis of the result that stands in its place, if there is one.
    pub axis: AxisId,
    pub to: Option<AxisId>,
}

/// Whether a value holds coordinates that are picked by comparing floats.
pub(super) fn picked(kernel: &Kernel, v: ValueId) -> Option<Picked> {
    let picked = match kernel.value(v).op {
        Op::Reduce { op: ReduceOp::ArgMax | ReduceOp::ArgMin, x, ref axes } => match axes[..] {
            [axis] => Picked { x, axis, to: None },
            _ => return None,
        },
        Op::Sort { x, axis, part: SortPart::Coordinates } => Picked { x, axis, to: Some(axis) },
        Op::TopK { x, axis, to, part: SortPart::Coordinates } => Picked { x, axis, to: Some(to) },
        _ => return None,
    };
    kernel.ty(picked.x).elem.is_float().then_some(picked)
}

impl Picks {
    /// The most rivals that some pick has had in the run.
    pub fn rivals(self) -> usize {
        self.most.into_inner()
    }

    /// What is picked in the place of `given`, the coordinates that the elements of `x` (from `lo` on) give.
    pub(super) fn others(&self, picked: &Picked, x: &Tile, lo: i64, given: &Tile, slack: f64) -> Tile {
        let (Values::Float(values), .., n) = with_last(x, &[picked.axis]) else { return given.clone() };
        let along: Vec<AxisId> = picked.to.into_iter().collect();
        let (coordinates, others, shape, per_run) = with_last(given, &along);
        let Values::Int(coordinates) = coordinates else { return given.clone() };
        let mut out = Vec::with_capacity(coordinates.len());
        for (r, own) in coordinates.chunks(per_run.max(1)).enumerate() {
            let run = &values[r * n..(r + 1) * n];
            out.extend(own.iter().map(|&c| self.other(run, lo, c, slack)));
        }
        let data = Values::Int(out);
        match picked.to {
            Some(to) => on_axes_of(given, data, others, shape, to, to, per_run),
            None => Tile { axes: others, shape, data },
        }
    }

    fn other(&self, run: &[f64], lo: i64, own: i64, slack: f64) -> i64 {
        // Nothing was there to pick.
        let Some(&value) = usize::try_from(own - lo).ok().and_then(|at| run.get(at)) else { return own };
        let rivals: Vec<usize> = (0..run.len())
            .filter(|&p| p as i64 + lo == own || run[p] == value || (run[p] - value).abs() <= 2.0 * slack)
            .collect();
        self.most.fetch_max(rivals.len(), Ordering::Relaxed);
        lo + rivals[self.which % rivals.len()] as i64
    }
}
