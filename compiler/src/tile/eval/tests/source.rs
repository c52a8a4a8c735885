//! Kernels from source text.

use super::super::*;
use crate::diagnostics::SourceMap;
use crate::elaborate::{Settings, elaborate};
use crate::front::{Memory, load};

/// The kernel `name` of `text` under settings (`NAME=VALUE`).
pub fn kernel(text: &str, name: &str, sets: &[(&str, &str)]) -> Kernel {
    let mut sources = SourceMap::default();
    let (program, diagnostics) = load(&mut sources, &Memory::from([("k.tw", text)]), "k.tw");
    assert!(!diagnostics.has_errors(), "{}", diagnostics.render(&sources, false));
    let sets = sets.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    let (kernel, diagnostics) = elaborate(&program, name, &Settings { sets, ..Settings::default() });
    assert!(!diagnostics.has_errors(), "{}", diagnostics.render(&sources, false));
    kernel.expect("no errors, so a kernel")
}

/// One launch: dimensions and tensors by name.
pub struct Launch<'a> {
    kernel: &'a Kernel,
    inputs: InputsBuilder<'a>,
}

impl<'a> Launch<'a> {
    pub fn of(kernel: &'a Kernel, dims: &[(&str, usize)]) -> Launch<'a> {
        // Dimensions that the kernel's generics froze are constants already; others must be known to it.
        let inputs = dims.iter().fold(Inputs::builder(kernel), |b, (n, v)| b.dim(n, *v as i64));
        Launch { kernel, inputs }
    }

    pub fn float(mut self, name: &str, x: &[f64]) -> Self {
        self.inputs = self.inputs.tensor(name, Values::Float(x.to_vec()));
        self
    }

    pub fn int(mut self, name: &str, x: &[i64]) -> Self {
        self.inputs = self.inputs.tensor(name, Values::Int(x.to_vec()));
        self
    }

    pub fn scalar(mut self, name: &str, x: f64) -> Self {
        self.inputs = self.inputs.scalar(name, Const::Float(x));
        self
    }

    pub fn run(self, mode: Mode) -> Result<Outputs, EvalError> {
        evaluate(self.kernel, &self.inputs.build().expect("all arguments are given"), mode)
    }

    /// One output of the exact evaluation, every element written.
    pub fn exact(self, name: &str) -> Values {
        let kernel = self.kernel;
        let outputs = self.run(Mode::Exact).expect("no fault");
        let output = outputs.named(kernel, name).expect("an output");
        assert!(output.written.iter().all(|&w| w), "every element of {name} is written");
        output.values.clone()
    }
}

pub fn floats(values: Values) -> Vec<f64> {
    match values {
        Values::Float(x) => x,
        Values::Int(x) => panic!("floats, not {x:?}"),
    }
}

pub fn ints(values: Values) -> Vec<i64> {
    match values {
        Values::Int(x) => x,
        Values::Float(x) => panic!("integers, not {x:?}"),
    }
}

/// Close relative to the greatest expected magnitude.
pub fn assert_close(actual: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len());
    let scale = expected.iter().filter(|x| x.is_finite()).fold(1.0f64, |m, x| m.max(x.abs()));
    for (at, (a, e)) in actual.iter().zip(expected).enumerate() {
        let close = a == e || (a - e).abs() <= tolerance * scale;
        assert!(close, "at {at}: {a} is not {e}");
    }
}
