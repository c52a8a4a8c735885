//! Reductions, scans, `topk` and `sort`: operations along lanes.
//!
//! Each brings the tile to `[other axes, the axes concerned]` and then works on one run at a time, ascending. Of nothing: 0, -inf or the
//! least, +inf or the greatest, false, true, -1. `min`, `max`, `cummax`, `argmin` and `argmax` ignore NaNs, and where there is nothing else they are those of nothing; ties go to the lower coordinate.

use std::cmp::Ordering;

use super::elementwise::int_format;
use super::values::{Tile, Values};
use crate::numeric::Format;
use crate::tile::ir::{AxisId, ElemType, ReduceOp, ScanOp, SortPart};

/// How floats are added: in `f64`, or rounded to the type after every step.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rounding {
    None,
    To(Format),
}

impl Rounding {
    fn round(self, x: f64) -> f64 {
        match self {
            Rounding::None => x,
            Rounding::To(Format::Float(f)) => f.round(x),
            Rounding::To(Format::Scale(s)) => s.round(x),
            Rounding::To(_) => x,
        }
    }
}

/// `x` on `[axes without these, these]`: the values, the other axes with their shape, and the length of a run.
pub(super) fn with_last(x: &Tile, these: &[AxisId]) -> (Values, Vec<AxisId>, Vec<usize>, usize) {
    let length = |a: &AxisId| x.axes.iter().position(|b| a == b).map_or(1, |at| x.shape[at]);
    let others: Vec<AxisId> = x.axes.iter().copied().filter(|a| !these.contains(a)).collect();
    let shape: Vec<usize> = others.iter().map(length).collect();
    // The reduced axes in the tile's own order, so that "ascending" is the order of its elements.
    let run_axes: Vec<AxisId> = x.axes.iter().copied().filter(|a| these.contains(a)).collect();
    let run_shape: Vec<usize> = run_axes.iter().map(length).collect();
    let values = x.spread(&[&others[..], &run_axes].concat(), &[&shape[..], &run_shape].concat());
    (values, others, shape, run_shape.iter().product())
}

/// Runs of `n` elements, also where n is 0.
fn runs<T>(x: &[T], n: usize, count: usize) -> impl Iterator<Item = &[T]> {
    (0..count).map(move |r| &x[r * n..(r + 1) * n])
}

/// Reduces `x` (of element type `elem`) over `axes`; `coordinates` are those along the reduced axis, for `argmax` and `argmin`.
pub(crate) fn reduce(
    op: ReduceOp,
    x: &Tile,
    elem: ElemType,
    axes: &[AxisId],
    coordinates: &[i64],
    rounding: Rounding,
) -> Tile {
    let (values, others, shape, n) = with_last(x, axes);
    let count: usize = shape.iter().product();
    let at = |best: Option<usize>| best.and_then(|b| coordinates.get(b).copied()).unwrap_or(-1);
    let data = match &values {
        Values::Float(x) => {
            let each = |f: &dyn Fn(&[f64]) -> f64| Values::Float(runs(x, n, count).map(f).collect());
            let best = |keep: Ordering| {
                let pick = |r: &[f64]| at(best_of(r, |a, b| a.partial_cmp(b) == Some(keep), |v| !v.is_nan()));
                Values::Int(runs(x, n, count).map(pick).collect())
            };
            match (op, rounding) {
                (ReduceOp::Sum, Rounding::None) => each(&|r| r.iter().sum::<f64>() + 0.0),
                (ReduceOp::Sum, _) => each(&|r| r.iter().fold(0.0, |a, b| rounding.round(a + b))),
                (ReduceOp::Max, _) => each(&|r| r.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
                (ReduceOp::Min, _) => each(&|r| r.iter().copied().fold(f64::INFINITY, f64::min)),
                (ReduceOp::ArgMax, _) => best(Ordering::Greater),
                (ReduceOp::ArgMin, _) => best(Ordering::Less),
                (ReduceOp::Any, _) => {
                    Values::Int(runs(x, n, count).map(|r| r.iter().any(|v| *v != 0.0) as i64).collect())
                }
                (ReduceOp::All, _) => {
                    Values::Int(runs(x, n, count).map(|r| r.iter().all(|v| *v != 0.0) as i64).collect())
                }
            }
        }
        Values::Int(x) => {
            let f = int_format(elem);
            let each = |g: &dyn Fn(&[i64]) -> i64| Values::Int(runs(x, n, count).map(g).collect());
            let pick = |a: i64, b: i64, keep: Ordering| if f.cmp(b, a) == keep { b } else { a };
            match op {
                ReduceOp::Sum => each(&|r| f.wrap(r.iter().fold(0, |a: i64, b| a.wrapping_add(*b)))),
                ReduceOp::Max => each(&|r| r.iter().fold(f.min(), |a, &b| pick(a, b, Ordering::Greater))),
                ReduceOp::Min => each(&|r| r.iter().fold(f.max(), |a, &b| pick(a, b, Ordering::Less))),
                ReduceOp::Any => each(&|r| r.iter().any(|&v| v != 0) as i64),
                ReduceOp::All => each(&|r| r.iter().all(|&v| v != 0) as i64),
                ReduceOp::ArgMax => each(&|r| at(best_of(r, |a, b| f.cmp(*a, *b).is_gt(), |_| true))),
                ReduceOp::ArgMin => each(&|r| at(best_of(r, |a, b| f.cmp(*a, *b).is_lt(), |_| true))),
            }
        }
    };
    Tile { axes: others, shape, data }
}

/// Where the first element is that no other one beats.
fn best_of<T>(run: &[T], beats: impl Fn(&T, &T) -> bool, counts: impl Fn(&T) -> bool) -> Option<usize> {
    run.iter().enumerate().filter(|(_, x)| counts(x)).fold(None, |best, (n, x)| match best {
        Some(b) if !beats(x, &run[b]) => Some(b),
        _ => Some(n),
    })
}

/// The running reduction of `x` along `axis`, from the end where `rev`.
pub(crate) fn scan(
    op: ScanOp,
    x: &Tile,
    elem: ElemType,
    axis: AxisId,
    rev: bool,
    rounding: Rounding,
) -> Tile {
    let (mut values, others, shape, n) = with_last(x, &[axis]);
    ignore_nan(op, &mut values);
    if n > 0 {
        match &mut values {
            Values::Float(x) => {
                for run in x.chunks_exact_mut(n) {
                    match op {
                        ScanOp::Sum => running(run, rev, |a, b| rounding.round(a + b)),
                        ScanOp::Max => running(run, rev, f64::max),
                    }
                }
            }
            Values::Int(x) => {
                let f = int_format(elem);
                for run in x.chunks_exact_mut(n) {
                    match op {
                        ScanOp::Sum => running(run, rev, |a, b| f.add(a, b)),
                        ScanOp::Max => running(run, rev, |a, b| if f.cmp(b, a).is_gt() { b } else { a }),
                    }
                }
            }
        }
    }
    on_axes_of(x, values, others, shape, axis, axis, n)
}

/// A NaN counts for as little as nothing in a running maximum, also where nothing stands before it.
pub(crate) fn ignore_nan(op: ScanOp, values: &mut Values) {
    if let (ScanOp::Max, Values::Float(x)) = (op, values) {
        x.iter_mut().filter(|v| v.is_nan()).for_each(|v| *v = f64::NEG_INFINITY);
    }
}

/// The least integer of a type (of floats -1, for there it is an infinity).
pub(crate) fn least(elem: ElemType) -> i64 {
    if elem.is_float() { -1 } else { int_format(elem).min() }
}

fn running<T: Copy>(run: &mut [T], rev: bool, f: impl Fn(T, T) -> T) {
    if rev {
        for at in (0..run.len() - 1).rev() {
            run[at] = f(run[at + 1], run[at]);
        }
    } else {
        for at in 1..run.len() {
            run[at] = f(run[at - 1], run[at]);
        }
    }
}

/// Values on `[others, last]` brought to the axes of `x`, where `last` stands in the place of `axis`.
pub(super) fn on_axes_of(
    x: &Tile,
    values: Values,
    others: Vec<AxisId>,
    shape: Vec<usize>,
    axis: AxisId,
    last: AxisId,
    n: usize,
) -> Tile {
    let sorted = Tile { axes: [others, vec![last]].concat(), shape: [shape, vec![n]].concat(), data: values };
    let axes: Vec<AxisId> = x.axes.iter().map(|&a| if a == axis { last } else { a }).collect();
    let shape: Vec<usize> =
        x.axes.iter().zip(&x.shape).map(|(&a, &len)| if a == axis { n } else { len }).collect();
    Tile { data: sorted.spread(&axes, &shape), axes, shape }
}

/// Ascending along `axis` (coordinates from `lo`), stable, NaNs last.
pub(super) fn sort(x: &Tile, elem: ElemType, axis: AxisId, lo: i64, part: SortPart) -> Tile {
    let (values, others, shape, n) = with_last(x, &[axis]);
    let order = Order::new(&values, elem, false);
    let count: usize = shape.iter().product();
    let picks: Vec<Option<usize>> =
        (0..count).flat_map(|r| order.sorted(r * n, n).into_iter().map(Some)).collect();
    let data = part_of(&values, &picks, n, lo, part, elem);
    on_axes_of(x, data, others, shape, axis, axis, n)
}

/// The greatest `keep` elements along `axis`, descending, on axis `to` in its place. What is missing is -inf or the least, at -1.
pub(super) fn topk(
    x: &Tile,
    elem: ElemType,
    axis: AxisId,
    lo: i64,
    to: AxisId,
    keep: usize,
    part: SortPart,
) -> Tile {
    let (values, others, shape, n) = with_last(x, &[axis]);
    let order = Order::new(&values, elem, true);
    let count: usize = shape.iter().product();
    let picks: Vec<Option<usize>> = (0..count)
        .flat_map(|r| {
            let sorted = order.sorted(r * n, n);
            (0..keep).map(move |at| sorted.get(at).copied())
        })
        .collect();
    let data = part_of(&values, &picks, n, lo, part, elem);
    on_axes_of(x, data, others, shape, axis, to, keep)
}

/// Sorting keys of elements: integers that compare as the elements do.
struct Order {
    keys: Vec<u128>,
}

impl Order {
    fn new(values: &Values, elem: ElemType, descending: bool) -> Order {
        const NAN: u128 = u128::MAX;
        let f = int_format(elem);
        let flip = |key: u64| if descending { !key } else { key };
        let keys = match values {
            Values::Float(x) => x
                .iter()
                .map(|&v| {
                    if v.is_nan() {
                        return NAN;
                    }
                    // -0 and 0 are equal. The bits of a float ascend with it once the negative ones are reversed.
                    let bits = (v + 0.0).to_bits();
                    let key = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
                    flip(key) as u128
                })
                .collect(),
            Values::Int(x) => {
                let sign = if f.signed() { 1 << 63 } else { 0 };
                x.iter().map(|&v| flip(v as u64 ^ sign) as u128).collect()
            }
        };
        Order { keys }
    }

    /// Positions of the run that starts at `start`, in order; equal elements by position.
    fn sorted(&self, start: usize, n: usize) -> Vec<usize> {
        let mut positions: Vec<usize> = (start..start + n).collect();
        positions.sort_by_key(|&at| self.keys[at]);
        positions
    }
}

fn part_of(
    values: &Values,
    picks: &[Option<usize>],
    run: usize,
    lo: i64,
    part: SortPart,
    elem: ElemType,
) -> Values {
    match (part, values) {
        (SortPart::Coordinates, _) => {
            Values::Int(picks.iter().map(|p| p.map_or(-1, |at| lo + (at % run) as i64)).collect())
        }
        (SortPart::Values, Values::Float(x)) => {
            Values::Float(picks.iter().map(|p| p.map_or(f64::NEG_INFINITY, |at| x[at])).collect())
        }
        (SortPart::Values, Values::Int(x)) => {
            let least = int_format(elem).min();
            Values::Int(picks.iter().map(|p| p.map_or(least, |at| x[at])).collect())
        }
    }
}
