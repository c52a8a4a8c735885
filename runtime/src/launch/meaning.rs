//! What a launch should give: the tile evaluator on its inputs, and the verdict on what a device gave.

use serde::Serialize;
use tilewright_compiler::tile::distribute::distributed;
use tilewright_compiler::tile::eval::freedom::{self, Freedom, Order};
use tilewright_compiler::tile::eval::{
    EvalError, Inputs, Mode, Output, Outputs, Values, evaluate, evaluate_freely,
};
use tilewright_compiler::tile::{Kernel, TensorKind};

use super::compare::{Comparison, compare_floats, compare_integers};
use super::prepare::Prepared;
use crate::tensor::{HostTensor, TensorError};

/// The evaluator's inputs for a launch.
pub fn inputs(kernel: &Kernel, prepared: &Prepared) -> Inputs {
    let values = |(at, tensor): (usize, &tilewright_compiler::tile::Tensor)| {
        let given = matches!(tensor.kind, TensorKind::In | TensorKind::InOut | TensorKind::Packed);
        // A size beyond memory was refused when the launch was prepared.
        if given { prepared.logical(at).ok().map(|host| values_of(&host)) } else { None }
    };
    Inputs {
        dims: prepared.bound.dims.values().collect(),
        scalars: prepared.bound.scalars.clone(),
        tensors: kernel.tensors.iter().enumerate().map(values).collect(),
    }
}

/// Logical values in row-major order.
pub fn values_of(host: &HostTensor) -> Values {
    if host.elem().is_float() { Values::Float(host.to_f64()) } else { Values::Int(host.to_i64()) }
}

/// Runs the evaluator and puts what it wrote into the launch's tensors.
pub fn run_on_evaluator(kernel: &Kernel, prepared: &mut Prepared) -> Result<(), MeaningError> {
    let outputs = evaluate(kernel, &inputs(kernel, prepared), Mode::Exact)?;
    for (at, output) in outputs.tensors.iter().enumerate() {
        if let (Some(output), true) = (output, super::bind::is_parameter(&kernel.tensors[at])) {
            let elem = kernel.tensors[at].elem;
            prepared.tensors[at] = match &output.values {
                Values::Float(x) => HostTensor::from_f64(elem, &output.shape, x)?,
                Values::Int(x) => HostTensor::from_i64(elem, &output.shape, x)?,
            };
        }
    }
    Ok(())
}

/// Why there is no meaning.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MeaningError {
    #[error(transparent)]
    Eval(#[from] EvalError),
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// The evaluator's answers for a launch, computed before a device overwrites `inout` tensors.
///
/// Most programs have two. One that rounds floats to integers has more, for a number within its error of a boundary may fall on
/// either side of it: a right result lies between them. One that picks coordinates by comparing floats has as many as there are elements
/// within their errors of the one that is picked. And what hangs on the order in which atomics combine is not one
/// value per element; if the values are the same ones in every order, as those of tickets are, they are compared in ascending order,
/// else not at all, which the verdict says. See [`freedom`].
#[derive(Debug)]
pub struct Meaning {
    /// In real arithmetic, outputs not rounded to their types: what errors are measured from.
    reference: Outputs,
    /// In the kernel's own types, as a plain framework would: the baseline.
    typed: Outputs,
    /// The same with operands of products multiplied out, which the language allows.
    distributed: Option<Outputs>,
    /// Other results between which a right one may lie.
    moved: Vec<Outputs>,
    /// Other results of which a right element may be one, and the tensors that they are for: which of nearly equal elements is picked.
    picked: Vec<Outputs>,
    picks: Vec<bool>,
    /// By tensor.
    compared: Vec<Compared>,
}

/// How an output is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Compared {
    /// Element by element.
    Elements,
    /// In ascending order: which element has which value depends on the order in which atomics combine.
    Sorted,
    /// Not at all: so do the values.
    NotCompared,
}

impl Compared {
    /// What a reader should know about the comparison, if it is not the usual one.
    pub fn remark(self) -> Option<&'static str> {
        match self {
            Compared::Elements => None,
            Compared::Sorted => {
                Some("compared in ascending order, for its order is that in which atomics combined")
            }
            Compared::NotCompared => {
                Some("not compared, for its values depend on the order in which atomics combined")
            }
        }
    }
}

/// The verdict on one output.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    pub name: String,
    pub shape: Vec<usize>,
    pub compared: Compared,
    #[serde(flatten)]
    pub comparison: Comparison,
}

impl Verdict {
    /// What a reader should know where the program's own types overflow; the same words for every number of elements.
    pub fn overflow_remark(&self) -> Option<String> {
        let why = "its own types overflow in some elements, which are not compared: inf or NaN where real numbers are finite";
        (self.comparison.overflowed > 0).then(|| format!("{}: {why}", self.name))
    }
}

impl Meaning {
    /// Evaluates a launch in real arithmetic, in its own types, and in the other ways that are right.
    pub fn of(kernel: &Kernel, prepared: &Prepared) -> Result<Meaning, EvalError> {
        let inputs = inputs(kernel, prepared);
        let (reference, slacks) = freedom::unrounded_and_slacks(kernel, &inputs)?;
        let typed = evaluate(kernel, &inputs, Mode::Typed)?;
        let other = distributed(kernel).map(|other| evaluate(&other, &inputs, Mode::Typed));
        let distributed = other.transpose()?;
        let moved = freedom::moved_results(kernel, &inputs, &slacks);
        let picked = freedom::picked_results(kernel, &inputs, &slacks);
        let mut picks = vec![false; kernel.tensors.len()];
        if !picked.is_empty() {
            freedom::pick_dependent(kernel, &slacks).iter().for_each(|t| picks[t.0 as usize] = true);
        }
        let compared = compared(kernel, &inputs, &reference)?;
        Ok(Meaning { reference, typed, distributed, moved, picked, picks, compared })
    }

    /// Outputs that are not compared as others are: the name, and how.
    pub fn remarks(&self, kernel: &Kernel) -> Vec<(String, &'static str)> {
        let each = kernel.tensors.iter().zip(&self.compared);
        each.filter_map(|(t, how)| how.remark().map(|remark| (t.name.clone(), remark))).collect()
    }

    /// Compares what a device left in the launch's tensors. Elements that the kernel does not write are unspecified and not looked at.
    pub fn judge(&self, kernel: &Kernel, tensors: &[HostTensor]) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (at, tensor) in kernel.tensors.iter().enumerate() {
            let (Some(exact), Some(typed)) = (&self.reference.tensors[at], &self.typed.tensors[at]) else {
                continue;
            };
            if !super::bind::is_parameter(tensor) {
                continue;
            }
            let how = self.compared[at];
            // What an `out` tensor holds where nothing is written is nobody's business; an `inout` one keeps what it had.
            let counts = |i: &usize| tensor.kind == TensorKind::InOut || exact.written[*i];
            let kept: Vec<usize> = match how {
                Compared::NotCompared => Vec::new(),
                Compared::Elements | Compared::Sorted => (0..exact.written.len()).filter(counts).collect(),
            };
            let moved: Vec<&Output> = self.moved.iter().filter_map(|m| m.tensors[at].as_ref()).collect();
            let picked = self.picked.iter().filter(|_| self.picks[at]);
            let picked: Vec<&Output> = picked.filter_map(|m| m.tensors[at].as_ref()).collect();
            let mut comparison = match (&exact.values, &typed.values, values_of(&tensors[at])) {
                (Values::Float(e), Values::Float(b), Values::Float(out)) => {
                    let pick = |x: &[f64]| -> Vec<f64> { kept.iter().map(|&i| x[i]).collect() };
                    let (mut out, mut e, mut b) = (pick(&out), pick(e), pick(b));
                    let other = self.distributed.as_ref().and_then(|o| o.tensors[at].as_ref());
                    if let Some(Values::Float(other)) = other.map(|o| &o.values) {
                        for ((b, e), other) in b.iter_mut().zip(&e).zip(pick(other)) {
                            // Where it overflows it measures nothing.
                            if other.is_finite() && (other - e).abs() > (*b - e).abs() {
                                *b = other;
                            }
                        }
                    }
                    if how == Compared::Sorted {
                        [&mut out, &mut e, &mut b].into_iter().for_each(|x| x.sort_by(f64::total_cmp));
                    } else {
                        // The nearest of what was picked; the baseline has its own.
                        for (n, &i) in kept.iter().enumerate().filter(|_| !picked.is_empty()) {
                            let error = b[n] - closest(b[n], e[n], &picked, i);
                            e[n] = closest(out[n], e[n], &picked, i);
                            b[n] = e[n] + error;
                        }
                        for (n, &i) in kept.iter().enumerate().filter(|_| !moved.is_empty()) {
                            if e[n].is_nan() {
                                continue;
                            }
                            let others = moved.iter().map(|m| float_at(m, i));
                            let (lo, hi) = others.fold((e[n], e[n]), |(lo, hi), x| (lo.min(x), hi.max(x)));
                            // What lies between is right. Beyond, both errors are measured from the nearer end.
                            let error = b[n] - nearest(b[n], lo, hi);
                            e[n] = nearest(out[n], lo, hi);
                            b[n] = e[n] + error;
                        }
                    }
                    compare_floats(&out, &e, &b)
                }
                (Values::Int(e), _, Values::Int(out)) => {
                    let pick = |x: &[i64]| -> Vec<i64> { kept.iter().map(|&i| x[i]).collect() };
                    let (mut out, mut e) = (pick(&out), pick(e));
                    if how == Compared::Sorted {
                        [&mut out, &mut e].into_iter().for_each(|x| x.sort_unstable());
                    } else {
                        for (n, &i) in kept.iter().enumerate() {
                            let others = moved.iter().map(|m| int_at(m, i, e[n]));
                            let (lo, hi) = others.fold((e[n], e[n]), |(lo, hi), x| (lo.min(x), hi.max(x)));
                            e[n] = out[n].clamp(lo, hi);
                            if picked.iter().any(|m| int_at(m, i, e[n]) == out[n]) {
                                e[n] = out[n];
                            }
                        }
                    }
                    compare_integers(&out, &e)
                }
                // The evaluator's values have the kind of the tensor's element type, as the host's do.
                _ => continue,
            };
            for found in [&mut comparison.worst, &mut comparison.first_overflow].into_iter().flatten() {
                found.at = kept[found.at];
            }
            let (name, shape) = (tensor.name.clone(), exact.shape.clone());
            verdicts.push(Verdict { name, shape, compared: how, comparison });
        }
        verdicts
    }
}

/// The point of `lo..=hi` nearest to `x`; `lo` where `x` is no number.
fn nearest(x: f64, lo: f64, hi: f64) -> f64 {
    if x.is_nan() { lo } else { x.clamp(lo, hi) }
}

/// Of `own` and what stands at `at` in the others, what is nearest to `x`.
fn closest(x: f64, own: f64, others: &[&Output], at: usize) -> f64 {
    let others = others.iter().map(|m| float_at(m, at));
    others.fold(own, |best, y| if (y - x).abs() < (best - x).abs() { y } else { best })
}

fn float_at(output: &Output, at: usize) -> f64 {
    match &output.values {
        // A NaN is no bound: `min` and `max` ignore it.
        Values::Float(x) => x[at],
        Values::Int(_) => f64::NAN,
    }
}

fn int_at(output: &Output, at: usize, otherwise: i64) -> i64 {
    match &output.values {
        Values::Int(x) => x[at],
        Values::Float(_) => otherwise,
    }
}

/// How each tensor is compared: an output that order can reach is evaluated in other orders, too.
fn compared(kernel: &Kernel, inputs: &Inputs, ascending: &Outputs) -> Result<Vec<Compared>, EvalError> {
    let mut how = vec![Compared::Elements; kernel.tensors.len()];
    let reached = freedom::order_dependent(kernel);
    if reached.is_empty() {
        return Ok(how);
    }
    for order in [Order::Descending, Order::Mixed] {
        let other = evaluate_freely(kernel, inputs, Mode::Unrounded, &Freedom::in_order(order))?;
        for t in &reached {
            let at = t.0 as usize;
            let (Some(x), Some(y)) = (&ascending.tensors[at], &other.tensors[at]) else { continue };
            how[at] = match how[at] {
                Compared::Elements if x == y => Compared::Elements,
                Compared::Elements | Compared::Sorted if x.written == y.written && same_values(x, y) => {
                    Compared::Sorted
                }
                _ => Compared::NotCompared,
            };
        }
    }
    Ok(how)
}

/// Whether what two evaluations wrote is the same but for its order.
fn same_values(x: &Output, y: &Output) -> bool {
    fn sorted<T: Copy>(x: &[T], written: &[bool], compare: impl Fn(&T, &T) -> std::cmp::Ordering) -> Vec<T> {
        let mut kept: Vec<T> = x.iter().zip(written).filter(|(_, w)| **w).map(|(v, _)| *v).collect();
        kept.sort_by(compare);
        kept
    }
    match (&x.values, &y.values) {
        (Values::Float(a), Values::Float(b)) => {
            sorted(a, &x.written, f64::total_cmp) == sorted(b, &y.written, f64::total_cmp)
        }
        (Values::Int(a), Values::Int(b)) => {
            sorted(a, &x.written, i64::cmp) == sorted(b, &y.written, i64::cmp)
        }
        _ => false,
    }
}
