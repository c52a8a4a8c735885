//! What a launch should give: the tile evaluator on its inputs, and the verdict on what a device gave.

use serde::Serialize;
use tilewright_compiler::tile::eval::{EvalError, Inputs, Mode, Outputs, Values, evaluate};
use tilewright_compiler::tile::{Kernel, TensorKind};

use super::compare::{Comparison, compare_floats, compare_integers};
use super::prepare::Prepared;
use crate::tensor::{HostTensor, TensorError};

/// The evaluator's inputs for a launch.
pub fn inputs(kernel: &Kernel, prepared: &Prepared) -> Inputs {
    let values = |(tensor, host): (&tilewright_compiler::tile::Tensor, &HostTensor)| {
        let given = matches!(tensor.kind, TensorKind::In | TensorKind::InOut | TensorKind::Packed);
        given.then(|| values_of(host))
    };
    Inputs {
        dims: prepared.bound.dims.values().collect(),
        scalars: prepared.bound.scalars.clone(),
        tensors: kernel.tensors.iter().zip(&prepared.tensors).map(values).collect(),
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

/// The evaluator's two answers for a launch, computed before a device overwrites `inout` tensors.
#[derive(Debug)]
pub struct Meaning {
    /// In real arithmetic, outputs not rounded to their types: what errors are measured from.
    reference: Outputs,
    /// In the kernel's own types, as a plain framework would: the baseline.
    typed: Outputs,
}

/// The verdict on one output.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    pub name: String,
    pub shape: Vec<usize>,
    #[serde(flatten)]
    pub comparison: Comparison,
}

impl Meaning {
    /// Evaluates a launch in real arithmetic and in its own types.
    pub fn of(kernel: &Kernel, prepared: &Prepared) -> Result<Meaning, EvalError> {
        let inputs = inputs(kernel, prepared);
        let reference = evaluate(kernel, &inputs, Mode::Unrounded)?;
        let typed = evaluate(kernel, &inputs, Mode::Typed)?;
        Ok(Meaning { reference, typed })
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
            // What an `out` tensor holds where nothing is written is nobody's business; an `inout` one keeps what it had.
            let counts = |i: &usize| tensor.kind == TensorKind::InOut || exact.written[*i];
            let kept: Vec<usize> = (0..exact.written.len()).filter(counts).collect();
            let mut comparison = match (&exact.values, &typed.values, values_of(&tensors[at])) {
                (Values::Float(e), Values::Float(b), Values::Float(out)) => {
                    let pick = |x: &[f64]| -> Vec<f64> { kept.iter().map(|&i| x[i]).collect() };
                    compare_floats(&pick(&out), &pick(e), &pick(b))
                }
                (Values::Int(e), _, Values::Int(out)) => {
                    let pick = |x: &[i64]| -> Vec<i64> { kept.iter().map(|&i| x[i]).collect() };
                    compare_integers(&pick(&out), &pick(e))
                }
                // The evaluator's values have the kind of the tensor's element type, as the host's do.
                _ => continue,
            };
            if let Some(worst) = &mut comparison.worst {
                worst.at = kept[worst.at];
            }
            verdicts.push(Verdict { name: tensor.name.clone(), shape: exact.shape.clone(), comparison });
        }
        verdicts
    }
}
