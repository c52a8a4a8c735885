//! Every combination of every `tune` block of the examples: refused before PTX, or assembled without spills and warnings.
//!
//! `--sample N` takes every N-th combination, in the order of the lists; kernels without matrix instructions are always taken whole, as they
//! assemble in no time. Types are the first alternatives: the others differ in modifiers of single instructions.

use crate::kernels::{assemble, scratch};
use crate::steps::root;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tilewright_compiler::compile::{Options, compile};
use tilewright_compiler::diagnostics::SourceMap;
use tilewright_compiler::elaborate::{self, Settings};
use tilewright_compiler::front::{self, Memory};
use tilewright_compiler::target::Target;
use tilewright_compiler::tile::ir::BoundValue;

/// One kernel with its tune parameters set.
#[derive(Clone)]
pub struct Job {
    pub file: String,
    pub text: String,
    pub kernel: String,
    pub sets: Vec<(String, String)>,
    pub target: Target,
}

impl Job {
    pub fn options(&self) -> Options {
        let mut options = Options::new(self.target);
        options.kernel = Some(self.kernel.clone());
        options.settings.sets = self.sets.clone();
        options
    }

    fn name(&self) -> String {
        let sets: Vec<String> = self.sets.iter().map(|(n, v)| format!("{n}={v}")).collect();
        format!("{} {} {}", self.kernel, self.target, sets.join(" "))
    }
}

/// Most combinations of one kernel.
const MOST: usize = 4096;

/// Sweeps the examples whose line contains `only`.
pub fn run(bin: &Path, only: &str, sample: usize, target: Target) -> Result<()> {
    let jobs: Vec<Job> =
        jobs(sample.max(1), target)?.into_iter().filter(|j| j.name().contains(only)).collect();
    let (folder, next, lines) = (scratch()?, AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Relaxed)) {
                    let (line, ok) = one(bin, &folder, job);
                    if !ok {
                        eprintln!("   {line}");
                    }
                    if let Ok(mut lines) = lines.lock() {
                        lines.push((job.kernel.clone(), line.contains("refused"), ok));
                    }
                }
            });
        }
    });
    let lines = lines.into_inner().unwrap_or_default();
    let mut kernels: Vec<&String> = jobs.iter().map(|j| &j.kernel).collect();
    kernels.dedup();
    for kernel in kernels {
        let own: Vec<_> = lines.iter().filter(|(k, ..)| k == kernel).collect();
        let refused = own.iter().filter(|(_, refused, _)| *refused).count();
        let bad = own.iter().filter(|(.., ok)| !ok).count();
        eprintln!(
            "   {kernel}: {} combinations, {refused} refused, {bad} do not assemble cleanly",
            own.len()
        );
    }
    match lines.iter().filter(|(.., ok)| !ok).count() {
        _ if lines.is_empty() => bail!("no combination's line contains {only:?}"),
        0 => Ok(()),
        bad => bail!("{bad} of {} combinations do not assemble cleanly", lines.len()),
    }
}

fn one(bin: &Path, folder: &Path, job: &Job) -> (String, bool) {
    let mut sources = SourceMap::default();
    let options = job.options();
    let files = Memory::from([(job.file.as_str(), job.text.as_str())]);
    let compiled = compile(&mut sources, &files, &job.file, &options)
        .map_err(|d| anyhow::anyhow!(d.render(&sources, false)));
    // Programs that the target has no code for yet are no matter of schedules.
    if let Err(e) = &compiled
        && e.to_string().contains("E0901")
    {
        return (format!("{}: refused: not lowered", job.name()), true);
    }
    assemble(bin, folder, &job.name(), job.target, compiled)
}

pub fn jobs(sample: usize, target: Target) -> Result<Vec<Job>> {
    let folder = root().join("dsl_examples");
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .with_context(|| format!("no {}", folder.display()))?
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "tw"))
        .collect();
    paths.sort();
    let mut jobs = Vec::new();
    for path in paths {
        let file = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let text = std::fs::read_to_string(&path)?;
        let mut sources = SourceMap::default();
        let (program, diagnostics) =
            front::load(&mut sources, &Memory::from([(file.as_str(), text.as_str())]), &file);
        if diagnostics.has_errors() {
            bail!("{}", diagnostics.render(&sources, false));
        }
        for kernel in elaborate::kernel_names(&program) {
            let (space, _) = elaborate::tune_space(&program, &kernel, &Settings::default(), MOST);
            let every = if text.contains(" @ ") { sample } else { 1 };
            for tuning in space.iter().step_by(every) {
                let value = |v: &BoundValue| match v {
                    BoundValue::Int(i) => i.to_string(),
                    BoundValue::Bool(b) => b.to_string(),
                    BoundValue::Float(f) => f.to_string(),
                    BoundValue::Type(t) => t.to_string(),
                    BoundValue::Function(f) => f.clone(),
                };
                let sets = tuning.iter().map(|(n, v)| (n.clone(), value(v))).collect();
                let (file, text, kernel) = (file.clone(), text.clone(), kernel.clone());
                jobs.push(Job { file, text, kernel, sets, target });
            }
        }
    }
    Ok(jobs)
}
