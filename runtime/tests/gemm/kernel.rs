//! Compiling the example and launching one of its variants on random operands.

use half::{bf16, f16};
use tilewright_compiler::artifact::{Compiled, ParamSlot, VariantMeta};
use tilewright_compiler::compile::{Options, compile};
use tilewright_compiler::diagnostics::SourceMap;
use tilewright_compiler::front::Memory;
use tilewright_compiler::target::Target;
use tilewright_runtime::executor::{self, Arg, Finding, Launch, Stats};

/// C[m, n] = A[m, k] · B[n, k]ᵀ
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

impl Shape {
    /// The variants whose guards hold: rows of k and n elements of two bytes.
    pub fn variants(self) -> Vec<&'static str> {
        let multiple = |of: usize| self.k.is_multiple_of(of) && self.n.is_multiple_of(of);
        let mut all = vec!["any"];
        if multiple(2) {
            all.push("mid");
        }
        if multiple(8) {
            all.push("wide");
        }
        all
    }
}

pub struct Gemm {
    pub dtype: String,
    pub compiled: Compiled,
}

/// Operands and result as f32, and what the executor said.
pub struct Run {
    pub a: Vec<f32>,
    pub b: Vec<f32>,
    pub c: Vec<f32>,
    pub findings: Vec<Finding>,
    pub stats: Stats,
}

impl Gemm {
    pub fn compile(sets: &[(&str, &str)]) -> Gemm {
        let files = Memory::from([("gemm.tw", include_str!("../../../dsl_examples/gemm.tw"))]);
        let mut sources = SourceMap::default();
        let mut options = Options::new(Target::Sm80);
        options.verify = true;
        options.settings.sets = sets.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let dtype = sets.iter().find(|(n, _)| *n == "T").map_or("f16", |(_, v)| v).to_string();
        match compile(&mut sources, &files, "gemm.tw", &options) {
            Ok(compiled) => Gemm { dtype, compiled },
            Err(d) => panic!("{}", d.render(&sources, false)),
        }
    }

    pub fn variant(&self, name: &str) -> &VariantMeta {
        let variants = &self.compiled.meta.launches[0].variants;
        variants.iter().find(|v| v.name == name).expect("the GEMM has the variants wide, mid and any")
    }

    pub fn run(&self, variant: &str, shape: Shape, sanitize: bool) -> Run {
        self.run_text(&self.compiled.ptx, variant, shape, sanitize)
    }

    /// Runs a (perhaps changed) text of the module.
    pub fn run_text(&self, ptx: &str, variant: &str, shape: Shape, sanitize: bool) -> Run {
        let v = self.variant(variant);
        let Shape { m, n, k } = shape;
        let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
        let mut operand =
            |count: usize| -> Vec<f32> { (0..count).map(|_| self.round(noise.next())).collect() };
        let (a, b) = (operand(m * k), operand(n * k));
        // The result starts as NaN: what is not written shows.
        let mut buffers = vec![self.encode(&a), self.encode(&b), self.encode(&vec![f32::NAN; m * n])];
        let args = v
            .params
            .iter()
            .map(|slot| match slot {
                ParamSlot::Pointer(t) => Arg::buffer(t.0 as usize),
                ParamSlot::Dim(d) => {
                    let value = match self.compiled.kernel.dim(*d).name.as_str() {
                        "M" => m,
                        "N" => n,
                        _ => k,
                    };
                    Arg::i32(value as i32)
                }
                other => panic!("the GEMM has no parameter {other:?}"),
            })
            .collect();
        let blocks =
            v.grid.ranges.iter().zip([m, n]).map(|(r, extent)| (extent as u32).div_ceil(r.by)).product();
        let outcome = executor::run(Launch {
            ptx,
            entry: &v.entry,
            grid: [blocks, 1, 1],
            block: v.block,
            cluster: [1; 3],
            shared_bytes: v.shared_bytes,
            args,
            buffers: &mut buffers,
            options: executor::launch::Options { sanitize, stats: true, ..Default::default() },
        })
        .unwrap_or_else(|e| panic!("{e}"));
        let c = self.decode(&buffers[2]);
        Run { a, b, c, findings: outcome.findings, stats: outcome.stats }
    }

    fn round(&self, x: f32) -> f32 {
        if self.dtype == "f16" { f16::from_f32(x).to_f32() } else { bf16::from_f32(x).to_f32() }
    }

    fn encode(&self, values: &[f32]) -> Vec<u8> {
        let bits = |x: &f32| {
            if self.dtype == "f16" { f16::from_f32(*x).to_bits() } else { bf16::from_f32(*x).to_bits() }
        };
        values.iter().flat_map(|x| bits(x).to_le_bytes()).collect()
    }

    fn decode(&self, bytes: &[u8]) -> Vec<f32> {
        let value = |b: [u8; 2]| {
            let bits = u16::from_le_bytes(b);
            if self.dtype == "f16" { f16::from_bits(bits).to_f32() } else { bf16::from_bits(bits).to_f32() }
        };
        bytes.chunks_exact(2).map(|b| value([b[0], b[1]])).collect()
    }
}

/// Numbers of about unit variance, the same on every machine.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        let mut sum = 0.0;
        for _ in 0..4 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            sum += (self.0 >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
        }
        sum * 1.7
    }
}
