//! Regenerates the compiler's calibration table: what ptxas says of the schedules whose register estimate says neither yes nor no.
//!
//! Tried are the tune parameters of every example with matrix instructions, with every grid of warps, and rings of two to four slots and as
//! deep as the model makes them. One kernel stands for its class.

use crate::assembler;
use crate::kernels::scratch;
use crate::steps::root;
use crate::sweep::{Job, jobs};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tilewright_compiler::compile::compile;
use tilewright_compiler::diagnostics::{SourceMap, codes};
use tilewright_compiler::elaborate::{self, Settings};
use tilewright_compiler::front::{self, Memory};
use tilewright_compiler::plan::calibration::{Measured, Table};
use tilewright_compiler::plan::{self, Registers};
use tilewright_compiler::target::Target;

const TARGET: Target = Target::Sm80;

/// Writes `compiler/src/plan/calibration.json`; where a part of classes' names is given, measures those alone and keeps the others.
pub fn run(bin: &Path, only: Option<&str>) -> Result<()> {
    let mut classes = classes()?;
    let path = root().join("compiler/src/plan/calibration.json");
    let mut table = Table::default();
    if let Some(only) = only {
        classes.retain(|class, _| class.contains(only));
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        table = serde_json::from_str(&text)?;
        table.classes.retain(|class, _| !class.contains(only));
    }
    eprintln!("xtask: {} classes near the limit", classes.len());
    let (folder, next, done) = (scratch()?, AtomicUsize::new(0), Mutex::new(table));
    let all: Vec<(&String, &Job)> = classes.iter().collect();
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, |n| n.get()) {
            scope.spawn(|| {
                while let Some((class, job)) = all.get(next.fetch_add(1, Relaxed)) {
                    match (measure(bin, &folder, class, job), done.lock(), failed.lock()) {
                        (Ok(None), ..) => {}
                        (Ok(Some(m)), Ok(mut table), _) => {
                            eprintln!("   {class}: {} registers, {} B spilled", m.registers, m.spilled);
                            table.classes.insert((*class).clone(), m);
                        }
                        (Err(e), _, Ok(mut failed)) => *failed = Some(e.context((*class).clone())),
                        _ => {}
                    }
                }
            });
        }
    });
    if let Ok(Some(e)) = failed.into_inner() {
        return Err(e);
    }
    let mut table = done.into_inner().unwrap_or_default();
    table.assembler = format!("ptxas {} {TARGET}", assembler::VERSION);
    std::fs::write(&path, lines(&table)?).with_context(|| format!("cannot write {}", path.display()))
}

/// The table with a line per class, so that a change of one is a line of a diff.
fn lines(table: &Table) -> Result<String> {
    let mut classes = Vec::new();
    for (class, m) in &table.classes {
        classes.push(format!("    {}: {}", serde_json::to_string(class)?, serde_json::to_string(m)?));
    }
    let assembler = serde_json::to_string(&table.assembler)?;
    Ok(format!("{{\n  \"assembler\": {assembler},\n  \"classes\": {{\n{}\n  }}\n}}\n", classes.join(",\n")))
}

/// A kernel for every class that the examples' tune parameters reach.
fn classes() -> Result<BTreeMap<String, Job>> {
    let powers = [1u32, 2, 4, 8, 16];
    let grids = powers.iter().flat_map(|m| powers.iter().map(move |n| (*m, *n)));
    let grids: Vec<(u32, u32)> = grids.filter(|(m, n)| (2..=16).contains(&(m * n))).collect();
    let mut found = BTreeMap::new();
    for job in jobs(1, TARGET)?.into_iter().filter(|j| j.text.contains(" @ ")) {
        let mut sources = SourceMap::default();
        let (program, _) =
            front::load(&mut sources, &Memory::from([(job.file.as_str(), job.text.as_str())]), &job.file);
        for (m, n) in &grids {
            for stages in [None, Some(2), Some(3), Some(4)] {
                let mut job = job.clone();
                job.sets.push(("warps".into(), format!("({m}, {n})")));
                job.sets.extend(stages.map(|s| ("k.stages".to_string(), s.to_string())));
                let settings = Settings {
                    sets: job.sets.clone(),
                    target: Some(TARGET.name().into()),
                    ..Settings::default()
                };
                let (kernel, _) = elaborate::elaborate(&program, &job.kernel, &settings);
                if let Some(class) = kernel.and_then(|k| plan::uncertain(&k, TARGET)) {
                    found.entry(class).or_insert(job);
                }
            }
        }
    }
    Ok(found)
}

/// Weights that stand for all: a thread's words are few or many, and unpacking takes one step or several.
const WEIGHTS: (&str, &[&str]) = ("W", &["u4", "i7", "u8", "f6e3m2"]);

/// Weights that share a code: few, as many as lanes that share it, more.
const VECTORS: (&str, &[&str]) = ("V", &["2", "8", "16"]);

/// `None` where the schedule cannot be had for another reason. Of packed operands the worst counts.
fn measure(bin: &Path, folder: &Path, class: &str, job: &Job) -> Result<Option<Measured>> {
    if !class.contains("packed") {
        return measure_one(bin, folder, class, job);
    }
    let (parameter, values) = if class.contains("lookups") { VECTORS } else { WEIGHTS };
    let mut worst: Option<Measured> = None;
    for weight in values {
        let mut job = job.clone();
        job.sets.retain(|(name, _)| name != parameter);
        job.sets.push((parameter.into(), weight.to_string()));
        let Some(m) = measure_one(bin, folder, &format!("{class} {weight}"), &job)? else { continue };
        let (registers, spilled) = worst.map_or((0, 0), |w| (w.registers, w.spilled));
        worst = Some(Measured { registers: m.registers.max(registers), spilled: m.spilled.max(spilled) });
    }
    Ok(worst)
}

fn measure_one(bin: &Path, folder: &Path, class: &str, job: &Job) -> Result<Option<Measured>> {
    let mut sources = SourceMap::default();
    let mut options = job.options();
    options.registers = Registers::Unjudged;
    let files = Memory::from([(job.file.as_str(), job.text.as_str())]);
    let compiled = match compile(&mut sources, &files, &job.file, &options) {
        Ok(compiled) => compiled,
        // A kernel may take fewer types of weights than those that stand for all.
        Err(d) if d.iter().all(|d| [codes::IMPOSSIBLE_SCHEDULE, codes::BAD_SETTING].contains(&d.code)) => {
            return Ok(None);
        }
        Err(d) => bail!("{}", d.render(&sources, false)),
    };
    let file = folder.join(format!("{}.ptx", class.replace([' ', '(', ')', ','], "_")));
    std::fs::write(&file, &compiled.ptx)?;
    let assembled = assembler::ptxas(bin, &file, TARGET.name(), &file.with_extension("cubin"))?;
    Ok(Some(Measured { registers: assembled.registers, spilled: assembled.spilled("") }))
}
