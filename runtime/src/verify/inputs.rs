//! The inputs of a case: random, as a launch without arguments has them, but less tame.
//!
//! What is normally distributed, and what has a default, is never of one sign, equal, negative or long, so code for that would never be tried:
//! ```text
//! tensors of floats    1/2 normal    1/4 multiples of a half    1/8 none above 0    1/8 none below 0
//! scale: f32 = 0.25    5/8 0.25      1/4 -0.25                  1/8 0
//! left: i32            1/2 -8..=7    1/2 0..=200
//! ```
//! Which it is depends on the seed and the parameter's name alone.

use tilewright_compiler::tile::{Const, ElemType, Kernel, Scalar, TensorKind};

use super::case::Case;
use crate::launch::dims::DimFacts;
use crate::launch::prepare::dims_of;
use crate::launch::{DimValues, Filling, Given, LaunchError, Prepared, prepare};
use crate::tensor::random::Stream;
use crate::tensor::{HostTensor, TensorError};

/// Inputs and memory of a case.
pub fn launch(kernel: &Kernel, case: &Case) -> Result<Prepared, LaunchError> {
    let outside = DimValues { given: case.dims.clone(), directive: Vec::new(), fill: true };
    let filling = Filling { seed: case.seed, poison: true };
    let scalars = scalars(kernel, case.seed, &outside);
    // What breaks a promise is not given.
    let mut prepared = match prepare(kernel, scalars.clone(), &outside, filling) {
        Err(_) if !scalars.is_empty() => prepare(kernel, Vec::new(), &outside, filling)?,
        other => other?,
    };
    for (tensor, values) in kernel.tensors.iter().zip(&mut prepared.tensors) {
        let given = matches!(tensor.kind, TensorKind::In | TensorKind::InOut);
        if given && tensor.elem.is_float() && tensor.elem.bits() >= 16 {
            special(&tensor.name, case.seed, values)?;
        }
    }
    Ok(prepared)
}

/// Half of the tensors are as they were drawn. Of the others some have only numbers of one sign: else the greatest of a row is never less than the
/// zeros that stand beyond its end. And some have only halves: else no two numbers are equal, and which of two counts never shows.
fn special(name: &str, seed: u64, values: &mut HostTensor) -> Result<(), TensorError> {
    let change: fn(f64) -> f64 = match Stream::new(seed, &format!("{name} specially")).integer(0, 0, 7) {
        0 | 1 => |x| (2.0 * x).round() / 2.0,
        2 => |x| -x.abs(),
        3 => f64::abs,
        _ => return Ok(()),
    };
    let changed: Vec<f64> = values.to_f64().into_iter().map(change).collect();
    *values = HostTensor::from_f64(values.elem(), values.shape(), &changed)?;
    Ok(())
}

/// Scalars that filling would leave too tame: a factor that is always its default is never negative, nor nothing; and a window or a
/// distance of less than a tile never has a tile inside.
fn scalars(kernel: &Kernel, seed: u64, outside: &DimValues) -> Vec<(String, Given)> {
    let Ok(dims) = dims_of(kernel, &[], outside) else { return Vec::new() };
    let none = vec![None; kernel.scalars.len()];
    let facts = DimFacts { dims: &dims, scalars: &none };
    let bold = |scalar: &Scalar| {
        if kernel.dims.iter().any(|d| d.name == scalar.name) {
            return None;
        }
        let stream = Stream::new(seed, &format!("{} boldly", scalar.name));
        let value = match (&scalar.default, scalar.elem) {
            (Some(default), elem) if elem.is_float() => {
                let Const::Float(default) = default.eval(&facts)? else { return None };
                match stream.integer(0, 0, 7) {
                    0 | 1 => Const::Float(-default),
                    2 => Const::Float(0.0),
                    _ => return None,
                }
            }
            (None, ElemType::Int(16..) | ElemType::Uint(16..)) if scalar.holds.is_none() => {
                match stream.integer(0, 0, 1) {
                    0 => Const::Int(stream.integer(1, 0, 200).into()),
                    _ => return None,
                }
            }
            _ => return None,
        };
        Some((scalar.name.clone(), Given::Number(value)))
    };
    kernel.scalars.iter().filter_map(bold).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tilewright_compiler::diagnostics::SourceMap;
    use tilewright_compiler::front::{self, Memory};
    use tilewright_compiler::plan::model;
    use tilewright_compiler::target::Target;

    #[test]
    fn numbers_are_of_one_sign_equal_and_long_now_and_then() {
        let text = "kernel k(x: f32[N], out y: f32[N], left: i32, scale: f32 = 0.25) {
            grid i over N by 32;
            y[i] = where(i as i32 > left, x[i] * scale, 0);
        }";
        let mut sources = SourceMap::default();
        let (program, _) = front::load(&mut sources, &Memory::from([("k.tw", text)]), "k.tw");
        let kernel = model::elaborate(&program, "k", Default::default(), Target::Sm80).expect("a kernel");
        let cases: Vec<Prepared> = (0..64)
            .map(|seed| {
                let (dims, sets) = (vec![("N".into(), 40)], Vec::new());
                launch(&kernel, &Case { seed, target: Target::Sm80, sets, dims, frozen: false }).unwrap()
            })
            .collect();
        let some = |what: &dyn Fn(&[f64]) -> bool| cases.iter().any(|p| what(&p.tensors[0].to_f64()));
        assert!(some(&|x| x.iter().all(|x| *x <= 0.0)) && some(&|x| x.iter().all(|x| *x >= 0.0)));
        assert!(some(&|x| x.iter().all(|x| (2.0 * x).fract() == 0.0)));
        let scalars = |n: usize| cases.iter().map(move |p| p.bound.scalars[n]);
        assert!(scalars(0).any(|v| matches!(v, Const::Int(100..))));
        for scale in [0.25, -0.25, 0.0] {
            assert!(scalars(1).any(|v| v == Const::Float(scale)), "{scale}");
        }
    }
}
