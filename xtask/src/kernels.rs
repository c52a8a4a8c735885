//! Assembling the GEMM examples for every target and a range of schedules.

use crate::assembler;
use crate::steps::{root, target_dir};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use tilewright_compiler::artifact::Compiled;
use tilewright_compiler::compile::{Options, compile};
use tilewright_compiler::diagnostics::SourceMap;
use tilewright_compiler::front::Memory;
use tilewright_compiler::target::Target;

/// (BM, BN, BK), warps, stages; `None` leaves it to the compiler.
type Schedule = (u32, u32, u32, Option<(u32, u32)>, Option<u32>);

const SCHEDULES: [Schedule; 20] = [
    (128, 128, 32, Some((2, 2)), Some(3)),
    (128, 128, 32, None, Some(2)),
    (128, 128, 32, None, None),
    (128, 128, 64, None, None),
    (64, 64, 32, None, Some(6)),
    (64, 64, 64, None, Some(5)),
    (64, 128, 32, None, None),
    (128, 64, 64, None, Some(3)),
    (64, 256, 32, None, None),
    (128, 192, 32, None, None),
    (128, 256, 32, None, None),
    (256, 128, 32, None, Some(3)),
    // Odd shapes of warps and deep rings: what the assembler's own targets or unrolled narrow copies would spill.
    (64, 64, 64, Some((4, 1)), Some(3)),
    (64, 128, 64, Some((2, 4)), Some(2)),
    (64, 256, 64, Some((4, 2)), Some(4)),
    (64, 128, 32, Some((4, 1)), Some(6)),
    (64, 64, 32, Some((1, 2)), Some(6)),
    (128, 64, 32, Some((1, 4)), Some(3)),
    (128, 128, 64, Some((8, 1)), Some(2)),
    (128, 128, 64, Some((2, 8)), Some(3)),
];

/// Compiles a kernel of `dsl_examples/FILE`.
pub fn example(file: &str, kernel: &str, target: Target, sets: &[(String, String)]) -> Result<Compiled> {
    program("dsl_examples", file, kernel, target, sets)
}

fn program(
    folder: &str,
    file: &str,
    kernel: &str,
    target: Target,
    sets: &[(String, String)],
) -> Result<Compiled> {
    let path = root().join(folder).join(file);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let files = Memory::from([(file, text.as_str())]);
    let mut sources = SourceMap::default();
    let mut options = Options::new(target);
    options.verify = true;
    options.kernel = Some(kernel.into());
    options.settings.sets = sets.to_vec();
    compile(&mut sources, &files, file, &options).map_err(|d| anyhow::anyhow!(d.render(&sources, false)))
}

fn sets(s: Schedule, dtype: &str) -> Vec<(String, String)> {
    let (bm, bn, bk, warps, stages) = s;
    let mut sets = vec![
        ("T".to_string(), dtype.to_string()),
        ("BM".into(), bm.to_string()),
        ("BN".into(), bn.to_string()),
        ("BK".into(), bk.to_string()),
    ];
    sets.extend(warps.map(|(m, n)| ("warps".to_string(), format!("({m},{n})"))));
    sets.extend(stages.map(|s| ("k.stages".to_string(), s.to_string())));
    sets
}

/// Where files for the assembler go.
pub fn scratch() -> Result<PathBuf> {
    let folder = target_dir().join("assembled");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// Assembles all of it; an error lists what spills or draws a warning.
pub fn assemble_all(bin: &Path, only: &str) -> Result<()> {
    let folder = scratch()?;
    let mut jobs = Vec::new();
    let mut add = |kernel, schedule, dtype, target| {
        let job = Job { kernel, schedule, dtype, target };
        if job.name().contains(only) {
            jobs.push(job);
        }
    };
    for (n, schedule) in SCHEDULES.into_iter().enumerate() {
        for dtype in ["f16", "bf16"] {
            for target in Target::ALL {
                // bf16 differs from f16 in one modifier, sm_86 and sm_89 from sm_80 in the shared memory they have: the first schedule
                // stands for those; the others are assembled for sm_80 and sm_90a.
                let same_code = dtype == "bf16" || matches!(target, Target::Sm86 | Target::Sm89);
                if same_code && n > 0 {
                    continue;
                }
                add("gemm", schedule, dtype, target);
            }
        }
        for kernel in ["gemm_nn", "gemm_tn", "gemm_tt"] {
            add(kernel, schedule, "f16", Target::Sm80);
        }
        add("gemm_s8", schedule, "s8", Target::Sm80);
        add("gemm_tf32", schedule, "tf32", Target::Sm80);
    }
    let next = std::sync::atomic::AtomicUsize::new(0);
    let results = std::sync::Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(job) = jobs.get(i) else { break };
                    let line = assemble_one(bin, &folder, *job);
                    eprint!("\r   {} of {}", i + 1, jobs.len());
                    if let Ok(mut results) = results.lock() {
                        results.push((i, line));
                    }
                }
            });
        }
    });
    eprintln!();
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_by_key(|(i, _)| *i);
    let mut failed = 0;
    for (_, (text, ok)) in &results {
        eprintln!("   {text}");
        failed += usize::from(!ok);
    }
    if failed > 0 || results.len() != jobs.len() {
        bail!("{failed} of {} kernels do not assemble cleanly", jobs.len());
    }
    Ok(())
}

/// Examples without `@`, in their default schedule and in their largest.
const ROWS: [(&str, &[(&str, &str)]); 7] = [
    ("vector_add", &[("BLOCK", "4096")]),
    ("softmax", &[("BR", "2"), ("BC", "8192")]),
    ("rmsnorm", &[("BR", "2"), ("BC", "8192")]),
    ("rmsnorm", &[("BR", "4"), ("BC", "4096"), ("warps", "16")]),
    ("layernorm", &[("BR", "2"), ("BC", "8192")]),
    ("embedding", &[("BN", "16"), ("BD", "512")]),
    ("histogram", &[("BLOCK", "2048")]),
];

/// Programs of `tests/corpus` without `@`: scans, structure, types, coordinates.
const CORPUS: [(&str, &str, &[(&str, &str)]); 14] = [
    ("scans", "prefix", &[("BC", "2048"), ("warps", "4")]),
    ("scans", "suffix", &[("BC", "1024")]),
    ("scans", "columns", &[("BS", "128")]),
    ("scans", "extremes", &[("BC", "2048")]),
    ("scans", "sorting", &[("BC", "256"), ("T", "i64")]),
    ("structure", "band", &[("warps", "8")]),
    ("structure", "choices", &[("warps", "4")]),
    ("structure", "segment_sums", &[]),
    ("types", "widths", &[("T", "u64")]),
    ("types", "bytes", &[("T", "u8")]),
    ("types", "quantise", &[("BC", "2048"), ("T", "e5m2")]),
    ("lookups", "exchange", &[("D", "256"), ("warps", "8")]),
    ("lookups", "in_place", &[("warps", "4")]),
    ("lookups", "trigonometry", &[]),
];

/// Assembles the examples without `@` for the oldest and the newest target.
pub fn assemble_rows(bin: &Path, only: &str) -> Result<()> {
    let folder = scratch()?;
    let mut failed = 0;
    for (kernel, largest) in ROWS {
        for (how, sets) in [("default", &[][..]), ("largest tile", largest)] {
            for target in [Target::Sm80, Target::Sm90a] {
                let name = format!("{kernel} {target} {how}");
                if !name.contains(only) {
                    continue;
                }
                let sets: Vec<_> = sets.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
                let compiled = example(&format!("{kernel}.tw"), kernel, target, &sets);
                let (line, ok) = assemble(bin, &folder, &name, target, compiled);
                eprintln!("   {line}");
                failed += usize::from(!ok);
            }
        }
    }
    for (file, kernel, largest) in CORPUS {
        for (how, sets) in [("default", &[][..]), ("other schedule", largest)] {
            let name = format!("{kernel} {how}");
            if !name.contains(only) || (how != "default" && largest.is_empty()) {
                continue;
            }
            let sets: Vec<_> = sets.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
            let compiled = program("tests/corpus", &format!("{file}.tw"), kernel, Target::Sm80, &sets);
            let (line, ok) = assemble(bin, &folder, &name, Target::Sm80, compiled);
            eprintln!("   {line}");
            failed += usize::from(!ok);
        }
    }
    if failed > 0 {
        bail!("{failed} kernels do not assemble cleanly");
    }
    Ok(())
}

/// A kernel to assemble.
#[derive(Clone, Copy)]
struct Job {
    kernel: &'static str,
    schedule: Schedule,
    dtype: &'static str,
    target: Target,
}

impl Job {
    fn name(&self) -> String {
        let Job { kernel, schedule: (bm, bn, bk, warps, stages), dtype, target } = self;
        let warps = warps.map_or("default warps".into(), |(m, n)| format!("warps ({m}, {n})"));
        let stages = stages.map_or("default stages".into(), |s| format!("{s} stages"));
        format!("{kernel} {target} {dtype} {bm}x{bn}x{bk} {warps} {stages}")
    }

    fn compile(&self) -> Result<Compiled> {
        let (bm, bn, bk, warps, stages) = self.schedule;
        match self.kernel {
            "gemm" => example("gemm.tw", self.kernel, self.target, &sets(self.schedule, self.dtype)),
            // The same number of bytes deep, as far as there are so many.
            "gemm_s8" | "gemm_tf32" => {
                let bk = if self.kernel == "gemm_s8" { 2 * bk } else { bk / 2 };
                let mut sets = sets((bm, bn, bk, warps, stages), self.dtype);
                sets.retain(|(name, _)| name != "T");
                example(&format!("{}.tw", self.kernel), self.kernel, self.target, &sets)
            }
            _ => example("gemm_layouts.tw", self.kernel, self.target, &sets(self.schedule, self.dtype)),
        }
    }
}

fn assemble_one(bin: &Path, folder: &Path, job: Job) -> (String, bool) {
    let (name, target) = (job.name(), job.target);
    assemble(bin, folder, &name, target, job.compile())
}

/// One line about a kernel, and whether it assembles without spills and warnings.
pub fn assemble(
    bin: &Path,
    folder: &Path,
    name: &str,
    target: Target,
    compiled: Result<Compiled>,
) -> (String, bool) {
    let compiled = match compiled {
        Ok(c) => c,
        // A schedule may be more than a target has; that must be said before PTX.
        Err(e) if e.to_string().contains("E0703") => {
            return (format!("{name}: refused, as it should be"), true);
        }
        Err(e) => return (format!("{name}: {e}"), false),
    };
    let file = folder.join(format!("{}.ptx", name.replace([' ', '(', ')', ','], "_")));
    let assembled = std::fs::write(&file, &compiled.ptx)
        .map_err(anyhow::Error::from)
        .and_then(|()| assembler::ptxas(bin, &file, target.name(), &file.with_extension("cubin")));
    match assembled {
        Ok(a) => {
            let spilled = a.spilled("");
            let complaints = a.complaints.join("; ");
            let ok = spilled == 0 && complaints.is_empty();
            (format!("{name}: {} registers, {spilled} B spilled {complaints}", a.registers), ok)
        }
        Err(e) => (format!("{name}: {e:#}"), false),
    }
}
