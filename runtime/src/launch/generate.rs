//! Inputs that nobody gave: random tensors that keep the kernel's promises.
//!
//! Floats are standard normal, integers small (−8…7, or 0…15 without a sign), `in lo..hi` is uniform there, `ascending lo..hi`
//! starts at lo, ends at hi and never falls along the last dimension. Example: `cu: i32[B + 1] ascending 0..T` at B = 3, T = 100
//! may be `[0, 17, 58, 100]`. `distinct lo..hi` has no number twice. Packed tensors of narrow types have any code of a moderate number. A tensor's numbers depend on the seed and its name alone.

use rustc_hash::{FxHashMap, FxHashSet};
use tilewright_compiler::numeric::Number;
use tilewright_compiler::tile::{Const, ElemType, Holds, LaunchFacts, Scalar, Tensor, TensorKind};

use super::bind::{facts_of, fit_scalar, shape_of};
use super::error::LaunchError;
use super::signature::Signature;
use crate::tensor::convert::position;
use crate::tensor::random::Stream;
use crate::tensor::{HostTensor, TensorError};

/// A random tensor for a parameter.
pub fn random_tensor(
    signature: &Signature<'_>,
    tensor: &Tensor,
    facts: &dyn LaunchFacts,
    seed: u64,
) -> Result<HostTensor, LaunchError> {
    let shape = shape_of(signature, tensor, facts)?;
    let stream = Stream::new(seed, &tensor.name);
    match range_of(signature, &tensor.name, tensor.holds.as_ref(), facts)? {
        None if tensor.kind == TensorKind::Packed && tensor.elem.bits() <= 8 => {
            Ok(every_code(tensor.elem, &shape, stream)?)
        }
        None => Ok(fill(tensor.elem, &shape, stream)?),
        Some(range @ Range { order: Order::Distinct, .. }) => {
            let count = numel(tensor.elem, &shape)?;
            let values = different(&range, count, stream).ok_or_else(|| LaunchError::Promise {
                name: tensor.name.clone(),
                rule: format!(
                    "hold {count} different numbers from {} to {}{}",
                    range.lo,
                    range.hi,
                    holds_facts(signature, tensor.holds.as_ref(), facts)
                ),
                origin: "the generator".into(),
                found: "too few".into(),
            })?;
            Ok(HostTensor::from_i64(tensor.elem, &shape, &values)?)
        }
        Some(Range { lo, hi, order: Order::Any }) => {
            if hi < lo && !shape.contains(&0) {
                return Err(LaunchError::OutOfRange {
                    name: tensor.name.clone(),
                    range: format!(
                        "in {lo}..={hi}, which is empty{}",
                        holds_facts(signature, tensor.holds.as_ref(), facts)
                    ),
                    value: lo,
                    index: vec![0; shape.len()],
                    origin: "the generator".into(),
                });
            }
            let values: Vec<i64> =
                (0..numel(tensor.elem, &shape)?).map(|n| stream.integer(n as u64, lo, hi)).collect();
            Ok(HostTensor::from_i64(tensor.elem, &shape, &values)?)
        }
        Some(Range { lo, hi, order: Order::Ascending }) => {
            let row = shape.last().copied().unwrap_or(1);
            let mut values: Vec<i64> =
                (0..numel(tensor.elem, &shape)?).map(|n| stream.integer(n as u64, lo, hi)).collect();
            for line in values.chunks_exact_mut(row.max(1)) {
                line.sort_unstable();
                line[0] = lo;
                if let Some(last @ 1..) = line.len().checked_sub(1) {
                    line[last] = hi;
                }
            }
            Ok(HostTensor::from_i64(tensor.elem, &shape, &values)?)
        }
    }
}

/// A random value for a scalar that has neither an argument nor a default.
pub fn random_scalar(
    signature: &Signature<'_>,
    scalar: &Scalar,
    facts: &dyn LaunchFacts,
    seed: u64,
) -> Result<Const, LaunchError> {
    let stream = Stream::new(seed, &scalar.name);
    let value = match range_of(signature, &scalar.name, scalar.holds.as_ref(), facts)? {
        Some(range) => Const::Int(stream.integer(0, range.lo, range.hi).into()),
        None if scalar.elem.is_float() => Const::Float(stream.normal(0)),
        None => {
            let (lo, hi) = small_range(scalar.elem);
            Const::Int(stream.integer(0, lo, hi).into())
        }
    };
    fit_scalar(&scalar.name, scalar.elem, value)
}

/// Checks that an index tensor's values are what the parameter promises.
pub fn check_values(
    signature: &Signature<'_>,
    tensor: &Tensor,
    facts: &dyn LaunchFacts,
    values: &HostTensor,
    origin: &str,
) -> Result<(), LaunchError> {
    let Some(Range { lo, hi, order }) = range_of(signature, &tensor.name, tensor.holds.as_ref(), facts)?
    else {
        return Ok(());
    };
    let numbers = values.to_i64();
    if order != Order::Ascending {
        return match numbers.iter().position(|v| !(lo..=hi).contains(v)) {
            None if order == Order::Distinct => all_different(tensor, &numbers, values.shape(), origin),
            None => Ok(()),
            Some(at) => Err(LaunchError::OutOfRange {
                name: tensor.name.clone(),
                range: format!("from {lo} to {hi}{}", holds_facts(signature, tensor.holds.as_ref(), facts)),
                value: numbers[at],
                index: position(at, values.shape()),
                origin: origin.into(),
            }),
        };
    }
    let row = values.shape().last().copied().unwrap_or(1).max(1);
    for (line_at, line) in numbers.chunks_exact(row).enumerate() {
        let place = |j: usize| format!("{} at {:?}", line[j], position(line_at * row + j, values.shape()));
        let found = if line[0] != lo {
            Some(place(0))
        } else if line[row - 1] != hi {
            Some(place(row - 1))
        } else {
            line.windows(2)
                .position(|pair| pair[0] > pair[1])
                .map(|j| format!("{} after {}", place(j + 1), line[j]))
        };
        if let Some(found) = found {
            return Err(LaunchError::Promise {
                name: tensor.name.clone(),
                rule: format!(
                    "go from {lo} to {hi} and never fall along its last dimension{}",
                    holds_facts(signature, tensor.holds.as_ref(), facts)
                ),
                origin: origin.into(),
                found,
            });
        }
    }
    Ok(())
}

fn all_different(tensor: &Tensor, numbers: &[i64], shape: &[usize], origin: &str) -> Result<(), LaunchError> {
    let mut first_at = FxHashMap::default();
    for (at, v) in numbers.iter().enumerate() {
        if let Some(first) = first_at.insert(*v, at) {
            return Err(LaunchError::Promise {
                name: tensor.name.clone(),
                rule: "hold no number twice".into(),
                origin: origin.into(),
                found: format!("{v} at {:?} and at {:?}", position(first, shape), position(at, shape)),
            });
        }
    }
    Ok(())
}

/// So many different numbers of a range, in any order; `None` where it has fewer.
fn different(range: &Range, count: usize, stream: Stream) -> Option<Vec<i64>> {
    let size = usize::try_from(range.hi.checked_sub(range.lo)?.checked_add(1)?).ok()?;
    if count > size {
        return None;
    }
    // Of few numbers all are shuffled; of many, few are met twice.
    if size / 4 <= count {
        let mut all: Vec<i64> = (range.lo..=range.hi).collect();
        for n in 0..count {
            all.swap(n, stream.integer(n as u64, n as i64, size as i64 - 1) as usize);
        }
        all.truncate(count);
        return Some(all);
    }
    let mut seen = FxHashSet::default();
    let drawn = (0u64..).map(|n| stream.integer(n, range.lo, range.hi));
    Some(drawn.filter(|v| seen.insert(*v)).take(count).collect())
}

/// Checks that a scalar is what it promises.
pub fn check_scalar(
    signature: &Signature<'_>,
    scalar: &Scalar,
    facts: &dyn LaunchFacts,
    value: i128,
) -> Result<(), LaunchError> {
    match range_of(signature, &scalar.name, scalar.holds.as_ref(), facts)? {
        Some(Range { lo, hi, .. }) if !(i128::from(lo)..=i128::from(hi)).contains(&value) => {
            let facts = holds_facts(signature, scalar.holds.as_ref(), facts);
            let range = match lo <= hi {
                true => format!("from {lo} to {hi}{facts}"),
                false => format!("from {lo} to {hi}, of which there is none{facts}"),
            };
            Err(LaunchError::ScalarPromise { name: scalar.name.clone(), range, value: value.to_string() })
        }
        _ => Ok(()),
    }
}

fn numel(elem: ElemType, shape: &[usize]) -> Result<usize, TensorError> {
    // Also refuses what does not fit in memory, before anything of that size is made.
    HostTensor::zeros(elem, shape).map(|t| t.numel())
}

/// Numbers from `lo` to `hi`, both included.
struct Range {
    lo: i64,
    hi: i64,
    order: Order,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Any,
    Ascending,
    Distinct,
}

fn range_of(
    signature: &Signature<'_>,
    name: &str,
    holds: Option<&Holds>,
    facts: &dyn LaunchFacts,
) -> Result<Option<Range>, LaunchError> {
    let Some(holds) = holds else { return Ok(None) };
    let (lo, hi, excluded, order) = match holds {
        Holds::In { lo, hi, inclusive, distinct: false } => (lo, hi, !inclusive, Order::Any),
        Holds::In { lo, hi, inclusive, distinct: true } => (lo, hi, !inclusive, Order::Distinct),
        Holds::Ascending { lo, hi } => (lo, hi, false, Order::Ascending),
    };
    let value = |expr: &tilewright_compiler::tile::LaunchExpr| {
        expr.eval_int(facts).ok_or_else(|| LaunchError::NoValue {
            what: format!("a bound of what {name} holds"),
            facts: facts_of(signature, expr, facts),
        })
    };
    Ok(Some(Range { lo: value(lo)?, hi: value(hi)?.saturating_sub(excluded.into()), order }))
}

fn holds_facts(signature: &Signature<'_>, holds: Option<&Holds>, facts: &dyn LaunchFacts) -> String {
    match holds {
        Some(Holds::In { lo, hi, .. } | Holds::Ascending { lo, hi }) => {
            let texts = [facts_of(signature, lo, facts), facts_of(signature, hi, facts)];
            let texts: Vec<&str> =
                texts.iter().map(|t| t.trim_start_matches(": ")).filter(|t| !t.is_empty()).collect();
            if texts.is_empty() { String::new() } else { format!(" ({})", texts.join(", ")) }
        }
        None => String::new(),
    }
}

/// The small numbers that stand for "any" of an integer type.
fn small_range(elem: ElemType) -> (i64, i64) {
    match elem {
        ElemType::Bool => (0, 1),
        ElemType::Int(w @ 1..=3) => (-(1 << (w - 1)), (1 << (w - 1)) - 1),
        ElemType::Uint(w @ 1..=3) => (0, (1 << w) - 1),
        ElemType::Uint(_) | ElemType::Index => (0, 15),
        _ => (-8, 7),
    }
}

/// Any code of a narrow type that is a finite number of moderate size: a packed tensor's bits all count.
fn every_code(elem: ElemType, shape: &[usize], stream: Stream) -> Result<HostTensor, TensorError> {
    let format = elem.format();
    HostTensor::from_codes(elem, shape, |n| {
        let code = stream.integer(n as u64, 0, (1 << elem.bits()) - 1) as u64;
        match format.decode(code) {
            // Larger ones leave f16 as soon as they are multiplied.
            Number::Float(x) if !x.is_finite() || x.abs() > 1024.0 => 0,
            _ => code,
        }
    })
}

fn fill(elem: ElemType, shape: &[usize], stream: Stream) -> Result<HostTensor, TensorError> {
    let format = elem.format();
    match elem {
        // Powers of two around 1: a normal number would be NaN half of the time.
        ElemType::E8m0 => HostTensor::from_codes(elem, shape, |n| stream.integer(n as u64, 124, 130) as u64),
        ElemType::Bipolar(w) => {
            HostTensor::from_codes(elem, shape, |n| stream.integer(n as u64, 0, (1 << w) - 1) as u64)
        }
        _ if elem.is_float() => {
            HostTensor::from_codes(elem, shape, |n| format.encode_f64(stream.normal(n as u64)))
        }
        _ => {
            let (lo, hi) = small_range(elem);
            let from = tilewright_compiler::numeric::IntFormat::I64;
            HostTensor::from_codes(elem, shape, |n| format.encode_int(stream.integer(n as u64, lo, hi), from))
        }
    }
}
