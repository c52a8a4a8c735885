//! `tilewright exec LAUNCH.json`

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tilewright_runtime::cuda::Device;
use tilewright_runtime::cuda::replay::replay;
use tilewright_runtime::executor::{self, ExecError, Finding, Gpu, MemoryCount, Options, Outcome, Stats};
use tilewright_runtime::launch::file::{LaunchFile, LoadedLaunch};
use tilewright_runtime::launch::plan::LaunchPlan;

use super::{Failure, Ui};

/// Run any PTX file on the CPU, or on a GPU, as LAUNCH.json says
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilewright run gemm.tw --save-launch saved && tilewright exec saved/LAUNCH.json --sanitize
  tilewright exec LAUNCH.json --stats --out-dir results
  tilewright exec LAUNCH.json --trace block.json        open it in https://ui.perfetto.dev; block.svg draws it
  tilewright exec LAUNCH.json --device cuda:0           the same launch on a GPU

Bounds, alignment and deadlocks are checked in every run on the CPU. Exit status: 0 clean; 1 there are findings, the kernel or the launch \
file is refused, the time is up, or there is no such GPU.")]
pub struct Args {
    /// The launch file; paths in it are relative to it
    launch: PathBuf,
    /// Look for races, missing waits and fences, reads of unwritten shared memory and copies in flight
    #[arg(long)]
    sanitize: bool,
    /// Count instructions, bank conflicts, memory sectors and tensor-core operations
    #[arg(long)]
    stats: bool,
    /// The GPU whose roofline --stats states: a100, h100, h200, l40s or rtx4090 [default: by the launch's target]
    #[arg(long, value_name = "NAME", requires = "stats")]
    gpu: Option<String>,
    /// Permute the order in which warps and blocks get their turn; 0 is the natural one
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Give up after this many seconds
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<f64>,
    /// Record what the first block does over time: Chrome's format, or a drawing if PATH ends in .svg
    #[arg(long, value_name = "PATH", conflicts_with = "sanitize")]
    trace: Option<PathBuf>,
    /// The cycles that an .svg shows, FROM..TO [default: all]
    #[arg(long, value_name = "FROM..TO", requires = "trace")]
    cycles: Option<String>,
    /// Where outputs go [default: beside the launch file]
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,
    /// cpu, or cuda:N to send the same launch to a GPU
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Read everything, say what would be launched, and launch nothing
    #[arg(long)]
    dry_run: bool,
    /// The result as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Runs a launch file.
pub fn exec(ui: &Ui, args: Args) -> Result<(), Failure> {
    let gpu = match args.gpu.as_deref().map(|name| Gpu::named(name).ok_or(name)) {
        None => None,
        Some(Ok(gpu)) => Some(gpu),
        Some(Err(name)) => {
            let known: Vec<&str> = Gpu::ALL.iter().map(|gpu| gpu.name).collect();
            return Err(Failure::Usage(format!("--gpu {name}: it is one of {}", known.join(", "))));
        }
    };
    let cycles = args.cycles.as_deref().map(range).transpose()?;
    let ordinal = device(&args)?;
    let options = options(&args)?;
    let refuse = |message: String, line: Option<u32>| refused(ui, message, line);
    let file = LaunchFile::read(&args.launch).map_err(|e| refuse(e.to_string(), None))?;
    let folder = args.launch.parent().unwrap_or(Path::new(""));
    let mut loaded = file.load(folder).map_err(|e| refuse(e.to_string(), None))?;
    let plan = LaunchPlan::new(&file, &loaded);
    if args.dry_run {
        return dry_run(ui, &file, &plan);
    }
    let store = |loaded: &LoadedLaunch| -> Result<Vec<PathBuf>, Failure> {
        let out_dir = args.out_dir.as_deref().unwrap_or(folder);
        std::fs::create_dir_all(out_dir)
            .map_err(|e| Failure::input(format!("cannot write {}: {e}", out_dir.display())))?;
        loaded.store_outputs(out_dir).map_err(Failure::input)
    };
    if let Some(ordinal) = ordinal {
        let device = Device::open(ordinal).map_err(|e| refuse(e.to_string(), None))?;
        let ran = replay(&device, &plan, &mut loaded).map_err(|e| refuse(e.to_string(), None))?;
        let written = store(&loaded)?;
        if ui.json {
            ui.object(&json!({
                "kernel": file.kernel, "ok": true, "findings": [], "outputs": written, "device": device.name(),
                "compile_ms": ran.compile_ms, "time_ms": ran.run_ms,
            }));
            return Ok(());
        }
        ui.note(&format!("{} on {}: {:.3} ms", file.kernel, device.name(), ran.run_ms));
        written.iter().for_each(|path| ui.note(&format!("wrote {}", path.display())));
        return Ok(());
    }
    let outcome = launch(&file, &mut loaded, options).map_err(|error| match &error {
        ExecError::Internal(message) => Failure::Bug(format!("the executor: {message}")),
        _ => {
            let each = error.each().iter().map(|error| format!("{}: {error}", file.ptx));
            refuse(each.collect::<Vec<_>>().join("\n"), error.line())
        }
    })?;
    if let (Some(path), Some(trace)) = (&args.trace, &outcome.trace) {
        let text = if path.extension().is_some_and(|e| e == "svg") {
            let (from, to) = cycles.unwrap_or((0, trace.end()));
            trace.to_svg(from, to)
        } else {
            trace.to_chrome_json()
        };
        std::fs::write(path, text)
            .map_err(|e| Failure::input(format!("cannot write {}: {e}", path.display())))?;
    }
    let written = store(&loaded)?;
    let gpu = gpu.unwrap_or_else(|| Gpu::of_target(&file.target));
    report(ui, &args, &file, &outcome, &written, gpu);
    // What the kernel did wrong is the fault of its author.
    if outcome.findings.is_empty() { Ok(()) } else { Err(Failure::Reported(1)) }
}

/// The number of the GPU that `--device` names; `None`: the CPU.
fn device(args: &Args) -> Result<Option<usize>, Failure> {
    if args.device == "cpu" {
        return Ok(None);
    }
    let number = match args.device.as_str() {
        "cuda" => Some(0),
        other => other.strip_prefix("cuda:").and_then(|n| n.parse().ok()),
    };
    let number =
        number.ok_or_else(|| Failure::Usage(format!("--device {}: it is cpu or cuda:N", args.device)))?;
    let flags = [(args.sanitize, "--sanitize"), (args.stats, "--stats"), (args.trace.is_some(), "--trace")];
    match flags.iter().find(|(given, _)| *given) {
        Some((_, flag)) => Err(Failure::Usage(format!(
            "{flag} has no meaning with --device {}: it is part of the executor on the CPU",
            args.device
        ))),
        None => Ok(Some(number)),
    }
}

fn options(args: &Args) -> Result<Options, Failure> {
    let timeout = match args.timeout.map(Duration::try_from_secs_f64) {
        Some(Ok(limit)) => Some(limit),
        Some(Err(_)) => {
            return Err(Failure::Usage("--timeout: expected a number of seconds, 0 or more".into()));
        }
        None => None,
    };
    Ok(Options {
        sanitize: args.sanitize,
        stats: args.stats,
        trace: args.trace.is_some(),
        seed: args.seed,
        timeout,
        ..Options::default()
    })
}

/// `FROM..TO`.
fn range(text: &str) -> Result<(u64, u64), Failure> {
    let parsed = text.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    match parsed {
        Some((from, to)) if from < to => Ok((from, to)),
        _ => Err(Failure::Usage(format!("--cycles {text}: expected FROM..TO, for example 2000..6000"))),
    }
}

/// A kernel or a launch that cannot be run, in the form in which results are given.
fn refused(ui: &Ui, message: String, line: Option<u32>) -> Failure {
    if !ui.json {
        return Failure::input(message);
    }
    let error = json!({"message": message, "line": line});
    ui.object(&json!({"ok": false, "findings": [], "message": message, "error": error}));
    Failure::Reported(1)
}

fn dry_run(ui: &Ui, file: &LaunchFile, plan: &LaunchPlan) -> Result<(), Failure> {
    if ui.json {
        let lines: Vec<String> = plan.to_string().lines().map(|l| l.trim().to_string()).collect();
        ui.object(&json!({"kernel": file.kernel, "ok": true, "dry_run": true, "launch": lines}));
    } else {
        ui.print(&plan.to_string());
    }
    Ok(())
}

fn launch(file: &LaunchFile, loaded: &mut LoadedLaunch, options: Options) -> Result<Outcome, ExecError> {
    let (ptx, entry) = (loaded.ptx.clone(), file.kernel.clone());
    let args = loaded.args.clone();
    loaded.with_buffers(|buffers| {
        executor::run(executor::Launch {
            ptx: &ptx,
            entry: &entry,
            grid: file.grid,
            block: file.block,
            cluster: file.cluster,
            shared_bytes: file.shared_bytes,
            args,
            buffers,
            options,
        })
    })
}

fn report(ui: &Ui, args: &Args, file: &LaunchFile, outcome: &Outcome, written: &[PathBuf], gpu: &Gpu) {
    if ui.json {
        ui.object(&result(args, file, outcome, written, gpu));
        return;
    }
    if !outcome.printed.is_empty() {
        ui.print(outcome.printed.trim_end_matches('\n'));
    }
    for finding in &outcome.findings {
        ui.print(&format!("{finding}, block {:?}", finding.block));
    }
    let found = match outcome.findings.len() {
        0 if args.sanitize => "no findings".into(),
        0 => "no faults (races are looked for with --sanitize)".into(),
        1 => "1 finding".into(),
        n => format!("{n} findings"),
    };
    ui.note(&format!(
        "{}: {found}; compiled in {:.1} ms, ran in {:.1} ms ({} warp instructions)",
        file.kernel,
        outcome.compile_time.as_secs_f64() * 1e3,
        outcome.run_time.as_secs_f64() * 1e3,
        outcome.stats.warp_instructions
    ));
    for path in written.iter().chain(&args.trace) {
        ui.note(&format!("wrote {}", path.display()));
    }
    if args.stats {
        ui.print(&statistics(&outcome.stats, gpu));
    }
}

fn result(args: &Args, file: &LaunchFile, outcome: &Outcome, written: &[PathBuf], gpu: &Gpu) -> Value {
    // `trap` and the time limit are no faults that were looked for, but reasons for which the launch ended.
    let (ends, findings): (Vec<&Finding>, Vec<&Finding>) =
        outcome.findings.iter().partition(|f| f.kind.ends_launch());
    let mut stats = json!({"warp_instructions": outcome.stats.warp_instructions, "matrix_instructions": outcome.stats.mma});
    if args.stats {
        stats = json!(outcome.stats);
        stats["bank_conflicts"] = json!(outcome.stats.bank_conflicts());
        stats["roofline"] = json!(outcome.stats.roofline(gpu));
    }
    let mut object = json!({
        "kernel": file.kernel,
        "ok": outcome.findings.is_empty(),
        "time_ms": outcome.run_time.as_secs_f64() * 1e3,
        "compile_ms": outcome.compile_time.as_secs_f64() * 1e3,
        "warp_instructions": outcome.stats.warp_instructions,
        "findings": findings,
        "stats": stats,
        "outputs": written,
    });
    if let Some(end) = ends.first() {
        object["error"] = json!(end);
    }
    if !outcome.printed.is_empty() {
        object["printed"] = json!(outcome.printed);
    }
    if let Some(trace) = &args.trace {
        object["trace"] = json!(trace);
    }
    object
}

/// Lines of a table that are shown at most.
const SHOWN: usize = 16;

fn statistics(stats: &Stats, gpu: &Gpu) -> String {
    let ops: Vec<String> =
        stats.tensor_ops.iter().map(|(kind, ops)| format!("{ops} in {}", kind.name())).collect();
    let mut lines = vec![
        format!("matrix instructions   {}", stats.mma),
        format!("tensor-core ops       {}", if ops.is_empty() { "0".into() } else { ops.join(", ") }),
        format!("bank conflicts        {}", stats.bank_conflicts()),
        format!(
            "global bytes          {} read, {} written",
            stats.global_bytes_read, stats.global_bytes_written
        ),
        format!("roofline              {}", stats.roofline(gpu).statement),
    ];
    let mut mix: Vec<_> = stats.mix.iter().collect();
    mix.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), name.as_str()));
    lines.push("       count  instruction".into());
    lines.extend(mix.into_iter().take(SHOWN).map(|(name, count)| format!("{count:>12}  {name}")));
    let mut table = |title: &str, sites: &[MemoryCount], row: &dyn Fn(&MemoryCount) -> String| {
        let mut sites = sites.to_vec();
        sites.sort_by_key(|site| std::cmp::Reverse((site.extra_wavefronts, site.sectors, site.requests)));
        if !sites.is_empty() {
            lines.push(title.into());
            lines.extend(sites.iter().take(SHOWN).map(row));
        }
    };
    table("shared memory: PTX line, requests, wavefronts, of them conflicts", &stats.shared, &|m| {
        format!("{:>12}  {:>10}  {:>10}  {:>10}", m.line, m.requests, m.wavefronts, m.extra_wavefronts)
    });
    table("global memory: PTX line, requests, sectors, per request, bytes", &stats.global, &|m| {
        let each = m.sectors as f64 / m.requests.max(1) as f64;
        format!("{:>12}  {:>10}  {:>10}  {each:>10.2}  {:>12}", m.line, m.requests, m.sectors, m.bytes)
    });
    lines.join("\n")
}
