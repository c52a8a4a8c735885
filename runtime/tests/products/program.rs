//! Compiling an example, and launching one of its variants on random inputs under the evaluator's verdict.

use tilewright_compiler::artifact::Compiled;
use tilewright_compiler::compile::{Options, compile};
use tilewright_compiler::diagnostics::SourceMap;
use tilewright_compiler::front::Memory;
use tilewright_compiler::target::Target;
use tilewright_runtime::executor::{self, Finding, Stats};
use tilewright_runtime::launch::on_cpu::{CpuError, run_on_cpu};
use tilewright_runtime::launch::{DimValues, Filling, LaunchError, Meaning, prepare};
use tilewright_runtime::tensor::HostTensor;

pub struct Program {
    pub compiled: Compiled,
    /// SMs of the GPU that the CPU stands for, where it is not the target's.
    pub sms: Option<u32>,
}

/// What one launch did.
pub struct Run {
    /// Outputs that are not as the program means them.
    pub wrong: Vec<String>,
    pub findings: Vec<Finding>,
    /// One per grid that was launched.
    pub stats: Vec<Stats>,
    /// Blocks of the first grid; 0 without one.
    pub blocks: u32,
    /// What the kernel wrote, bit by bit.
    pub written: Vec<Vec<u8>>,
}

impl Program {
    /// `kernel` of the source `text`, with settings such as `BM=64,k.stages=3` (a comma inside brackets separates nothing).
    pub fn compile(text: &str, kernel: &str, sets: &str) -> Program {
        let files = Memory::from([("program.tw", text)]);
        let mut sources = SourceMap::default();
        let mut options = Options::new(Target::Sm80);
        (options.verify, options.kernel) = (true, Some(kernel.into()));
        let mut depth = 0;
        let items = sets.split(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            c == ',' && depth == 0
        });
        let item = |s: &str| s.split_once('=').map(|(n, v)| (n.to_string(), v.to_string()));
        options.settings.sets = items.filter_map(item).collect();
        match compile(&mut sources, &files, "program.tw", &options) {
            Ok(compiled) => Program { compiled, sms: None },
            Err(d) => panic!("{kernel} {sets}: {}", d.render(&sources, false)),
        }
    }

    /// Runs a variant, if its guards hold for these dimensions.
    pub fn run(&self, variant: &str, dims: &[(&str, i64)], options: executor::Options) -> Option<Run> {
        self.run_text(&self.compiled.ptx, variant, dims, options)
    }

    /// Runs a (perhaps changed) text of the module.
    pub fn run_text(
        &self,
        ptx: &str,
        variant: &str,
        dims: &[(&str, i64)],
        options: executor::Options,
    ) -> Option<Run> {
        self.run_edited(ptx, variant, dims, options, |_, _| {})
    }

    /// Runs with inputs that `edit` changes: by tensor, in the order of the kernel.
    pub fn run_edited(
        &self,
        ptx: &str,
        variant: &str,
        dims: &[(&str, i64)],
        options: executor::Options,
        edit: impl FnOnce(&tilewright_compiler::tile::ir::Kernel, &mut [HostTensor]),
    ) -> Option<Run> {
        let kernel = &self.compiled.kernel;
        let given = dims.iter().map(|(name, v)| (name.to_string(), *v)).collect();
        let outside = DimValues { given, ..DimValues::default() };
        let mut launch =
            prepare(kernel, Vec::new(), &outside, Filling { seed: 5, poison: true }).expect("a launch");
        launch.sms = self.sms;
        edit(kernel, &mut launch.tensors);
        let meaning = Meaning::of(kernel, &launch).expect("a meaning");
        let mut compiled = self.compiled.clone();
        compiled.meta.launches[0].variants.retain(|v| v.name == variant);
        compiled.ptx = ptx.into();
        let run = match run_on_cpu(&compiled, &mut launch, &options) {
            Err(CpuError::Launch(LaunchError::NoVariant { .. })) => return None,
            other => other.expect("a run"),
        };
        let wrong = meaning
            .judge(kernel, &launch.tensors)
            .into_iter()
            .filter(|v| !v.comparison.ok)
            .map(|v| format!("{:?}", v.comparison))
            .collect();
        let tensors = kernel.tensors.iter().zip(&launch.tensors).filter(|(t, _)| t.kind.writable());
        let written = tensors.map(|(_, t)| t.bytes().to_vec()).collect();
        let blocks = run.launches.first().map_or(0, |l| l.grid[0]);
        Some(Run { wrong, findings: run.findings, stats: run.stats, blocks, written })
    }
}
