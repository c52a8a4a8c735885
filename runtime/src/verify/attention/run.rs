//! A case on a device: inputs in their memory layout, launch, verdict.

use std::collections::HashMap;
use std::rc::Rc;

use tilewright_compiler::artifact::Compiled;
use tilewright_compiler::compile::{Options, compile};
use tilewright_compiler::diagnostics::SourceMap;
use tilewright_compiler::front::Memory;
use tilewright_compiler::target::Target;
use tilewright_compiler::tile::{Const, ElemType};

use super::case::{Case, Elem, Layout, Score};
use super::reference::{Attention, Problem, rounding};
use crate::cuda::Device;
use crate::executor;
use crate::launch::on_cpu::{CpuError, run_on_cpu};
use crate::launch::on_cuda::{CudaRunError, run_on_cuda};
use crate::launch::{
    Comparison, DimValues, Filling, Given, LaunchError, Prepared, compare_floats, compare_within, prepare,
};
use crate::tensor::random::Stream;
use crate::tensor::{HostTensor, TensorError};

/// Where cases run.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    Cpu { sanitize: bool },
    Cuda(&'a Device),
}

/// Why a case has no verdict.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The compiler's diagnostics.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(transparent)]
    Cpu(#[from] CpuError),
    #[error(transparent)]
    Cuda(#[from] CudaRunError),
    #[error("the kernel has no output {0}")]
    NoOutput(&'static str),
}

/// What a case gave.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub o: Comparison,
    pub lse: Comparison,
    /// Of the sanitizer.
    pub findings: Vec<String>,
    /// Variants that ran.
    pub variants: Vec<String>,
    /// Matrix instructions, where the CPU counted them.
    pub mma: u64,
}

impl Outcome {
    pub fn ok(&self) -> bool {
        self.o.ok && self.lse.ok && self.findings.is_empty()
    }
}

/// What a kernel is compiled for.
type Key = (Vec<(String, String)>, Vec<(String, i64)>);

/// Compiles the kernel `attention` of a text as cases want it, and runs them.
pub struct Runner<'a> {
    text: &'a str,
    target: Target,
    kernels: HashMap<Key, Rc<Compiled>>,
}

impl<'a> Runner<'a> {
    /// `text` is that of `dsl_examples/attention.tw`, or one that has the same kernel.
    pub fn new(text: &'a str, target: Target) -> Runner<'a> {
        Runner { text, target, kernels: HashMap::new() }
    }

    fn compiled(&mut self, case: &Case) -> Result<Rc<Compiled>, RunError> {
        let dims = [
            ("B", case.batch),
            ("HQ", case.heads),
            ("HKV", case.kv_heads),
            ("S", case.queries),
            ("L", case.keys),
        ];
        let dims: Vec<(String, i64)> = dims.iter().map(|(n, v)| (n.to_string(), *v as i64)).collect();
        let key = (case.sets(), dims);
        if let Some(compiled) = self.kernels.get(&key) {
            return Ok(compiled.clone());
        }
        let mut options = Options::new(self.target);
        options.kernel = Some("attention".into());
        (options.settings.sets, options.settings.likely_dims) = key.clone();
        let mut sources = SourceMap::default();
        let files = Memory::from([("attention.tw", self.text)]);
        let compiled = compile(&mut sources, &files, "attention.tw", &options)
            .map_err(|d| RunError::Refused(d.render(&sources, false)))?;
        let compiled = Rc::new(compiled);
        self.kernels.insert(key, compiled.clone());
        Ok(compiled)
    }

    /// Runs a case on inputs of this seed.
    ///
    /// # Errors
    /// [`RunError`] where nothing could be judged.
    pub fn run(&mut self, case: &Case, seed: u64, place: Place<'_>) -> Result<Outcome, RunError> {
        let compiled = self.compiled(case)?;
        let inputs = Inputs::random(case, seed);
        let mut prepared = inputs.prepare(case, &compiled)?;
        let (findings, variants, mma) = match place {
            Place::Cpu { sanitize } => {
                let options = executor::Options { sanitize, lazy: sanitize, ..executor::Options::default() };
                let run = run_on_cpu(&compiled, &mut prepared, &options)?;
                let mma = run.stats.iter().map(|s| s.mma).sum();
                (run.findings.iter().map(ToString::to_string).collect(), run.variants, mma)
            }
            Place::Cuda(device) => (Vec::new(), run_on_cuda(device, &compiled, &mut prepared)?.variants, 0),
        };
        let output = |name: &'static str| {
            let at = compiled.kernel.tensors.iter().position(|t| t.name == name);
            at.map(|at| prepared.tensors[at].to_f64()).ok_or(RunError::NoOutput(name))
        };
        let (exact, eager) = inputs.expected(case);
        let off = eager.o.iter().zip(&exact.o).fold(0.0, |most: f64, (a, b)| most.max((a - b).abs()));
        Ok(Outcome {
            o: compare_within(&output("o")?, &exact.o, 2.0 * off + 1e-5),
            lse: compare_floats(&output("lse")?, &exact.lse, &eager.lse),
            findings,
            variants,
            mma,
        })
    }
}

/// q, k and v as numbers of the type.
struct Inputs {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    scale: f32,
}

impl Inputs {
    /// Standard normal; with a cap, queries large enough for it to matter, as in FlashAttention's tests.
    fn random(case: &Case, seed: u64) -> Inputs {
        let round = rounding(elem(case.elem));
        let normal = |name: &str, count: usize, factor: f64| -> Vec<f32> {
            let stream = Stream::new(seed, name);
            (0..count).map(|n| round((stream.normal(n as u64) * factor) as f32)).collect()
        };
        let wide = case.score.function().1.map_or(1.0, |cap| f64::from(cap) / 4.0);
        let heads = |heads: usize, rows: usize, width: usize| case.batch * heads * rows * width;
        Inputs {
            q: normal("q", heads(case.heads, case.queries, case.dim), wide),
            k: normal("k", heads(case.kv_heads, case.keys, case.dim), 1.0),
            v: normal("v", heads(case.kv_heads, case.keys, case.value_dim), 1.0),
            scale: 1.0 / (case.dim as f32).sqrt(),
        }
    }

    /// Exactly, and as eager attention.
    fn expected(&self, case: &Case) -> (Attention, Attention) {
        let (queries, keys) = (case.queries, case.keys);
        let problem = Problem {
            elem: elem(case.elem),
            batch: case.batch,
            heads: case.heads,
            kv_heads: case.kv_heads,
            queries,
            keys,
            dim: case.dim,
            value_dim: case.value_dim,
            q: &self.q,
            k: &self.k,
            v: &self.v,
            scale: self.scale,
            mask: &|at| case.mask.allows(at.i, at.j, queries, keys),
            score: &|s, at, round| case.score.apply(s, at, queries, keys, round),
            sink: &|_| f64::NEG_INFINITY,
        };
        (problem.exact(), problem.eager())
    }

    fn prepare(&self, case: &Case, compiled: &Compiled) -> Result<Prepared, RunError> {
        let ty = elem(case.elem);
        let shape = |heads, rows, width| [case.batch, heads, rows, width];
        let beside = match case.layout {
            Layout::Beside => Layout::Sequence,
            layout => layout,
        };
        let q = place(ty, &self.q, shape(case.heads, case.queries, case.dim), beside)?;
        let k = place(ty, &self.k, shape(case.kv_heads, case.keys, case.dim), case.layout)?;
        let v = place(ty, &self.v, shape(case.kv_heads, case.keys, case.value_dim), case.layout)?;
        // What is not written stays NaN.
        let out = shape(case.heads, case.queries, case.value_dim);
        let o = place(ty, &vec![f32::NAN; out.iter().product()], out, beside)?;
        let mut given: Vec<(String, Given)> = [("q", q), ("k", k), ("v", v), ("o", o)]
            .map(|(name, tensor)| (name.to_string(), Given::Tensor(tensor, name.into())))
            .into();
        let scalars = case.mask.function().1.into_iter().map(|(n, v)| (n, Const::Int(v.into())));
        let cap = case.score.function().1.map(|cap| ("cap", Const::Float(cap.into())));
        given.extend(scalars.chain(cap).map(|(name, value)| (name.to_string(), Given::Number(value))));
        if case.score.has_slopes() {
            let slopes: Vec<f64> = (0..case.heads).map(|h| Score::slope(h).into()).collect();
            let slopes = HostTensor::from_f64(ElemType::F32, &[case.heads], &slopes)?;
            given.push(("slope".into(), Given::Tensor(slopes, "slope".into())));
        }
        Ok(prepare(&compiled.kernel, given, &DimValues::default(), Filling { seed: 0, poison: true })?)
    }
}

fn elem(elem: Elem) -> ElemType {
    match elem {
        Elem::F16 => ElemType::F16,
        Elem::Bf16 => ElemType::Bf16,
    }
}

/// Numbers [batch, heads, rows, width] as a tensor that lies in memory as the layout says; what belongs to nobody is NaN.
fn place(
    ty: ElemType,
    numbers: &[f32],
    [b, h, s, d]: [usize; 4],
    layout: Layout,
) -> Result<HostTensor, TensorError> {
    let format = ty.format();
    if layout == Layout::Heads {
        return HostTensor::from_codes(ty, &[b, h, s, d], |at| format.encode_f64(numbers[at].into()));
    }
    let (heads, pitch) = match layout {
        Layout::Padded => (h, d.next_multiple_of(8)),
        Layout::Beside => (2 * h, d),
        Layout::Sequence | Layout::Heads => (h, d),
    };
    let code = |at: usize| {
        let (at, x) = (at / pitch, at % pitch);
        let (at, head) = (at / heads, at % heads);
        let (batch, row) = (at / s, at % s);
        let number =
            if x < d && head < h { numbers[((batch * h + head) * s + row) * d + x] } else { f32::NAN };
        format.encode_f64(number.into())
    };
    let tensor = HostTensor::from_codes(ty, &[b, s, heads, pitch], code)?.transposed(&[0, 2, 1, 3])?;
    tensor.narrowed(1, h)?.narrowed(3, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_hold_the_same_numbers() {
        let numbers: Vec<f32> = (0..2 * 3 * 4 * 5).map(|n| n as f32).collect();
        let shape = [2, 3, 4, 5];
        let wanted: Vec<f64> = numbers.iter().map(|n| (*n).into()).collect();
        for (layout, strides) in [
            (Layout::Heads, [60, 20, 5, 1]),
            (Layout::Sequence, [60, 5, 15, 1]),
            (Layout::Padded, [96, 8, 24, 1]),
            (Layout::Beside, [120, 5, 30, 1]),
        ] {
            let tensor = place(ElemType::F16, &numbers, shape, layout).unwrap();
            assert_eq!(tensor.strides(), strides, "{layout:?}");
            assert_eq!(tensor.to_f64(), wanted, "{layout:?}");
        }
    }
}
