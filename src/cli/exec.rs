//! `tilewright exec LAUNCH.json`

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tilewright_runtime::executor::{self, ExecError, Options, Outcome};
use tilewright_runtime::launch::file::{LaunchFile, LoadedLaunch};

use super::{Failure, Ui};

/// Run any PTX file on the CPU, as LAUNCH.json says
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilewright run gemm.tw --save-launch saved && tilewright exec saved/LAUNCH.json --sanitize
  tilewright exec LAUNCH.json --stats --out-dir results")]
pub struct Args {
    /// The launch file; paths in it are relative to it
    launch: PathBuf,
    /// Look for races, reads of unwritten shared memory and copies in flight
    #[arg(long)]
    sanitize: bool,
    /// Count instructions, bank conflicts and memory sectors
    #[arg(long)]
    stats: bool,
    /// Permute the order in which warps and blocks get their turn; 0 is the natural one
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Give up after this many seconds
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<f64>,
    /// Where outputs go [default: beside the launch file]
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,
    /// The result as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Runs a launch file.
pub fn exec(ui: &Ui, args: Args) -> Result<(), Failure> {
    let file = LaunchFile::read(&args.launch).map_err(Failure::input)?;
    let folder = args.launch.parent().unwrap_or(Path::new(""));
    let mut loaded = file.load(folder).map_err(Failure::input)?;
    let timeout = match args.timeout.map(Duration::try_from_secs_f64) {
        Some(Ok(limit)) => Some(limit),
        Some(Err(_)) => {
            return Err(Failure::Usage("--timeout: expected a number of seconds, 0 or more".into()));
        }
        None => None,
    };
    let options = Options {
        sanitize: args.sanitize,
        stats: args.stats,
        seed: args.seed,
        timeout,
        ..Options::default()
    };
    let outcome = launch(&file, &mut loaded, options)?;
    let out_dir = args.out_dir.as_deref().unwrap_or(folder);
    std::fs::create_dir_all(out_dir)
        .map_err(|e| Failure::input(format!("cannot write {}: {e}", out_dir.display())))?;
    let written = loaded.store_outputs(out_dir).map_err(Failure::input)?;
    report(ui, &args, &file, &outcome, &written);
    // What the kernel did wrong is the fault of its author.
    if outcome.findings.is_empty() { Ok(()) } else { Err(Failure::Reported(1)) }
}

fn launch(file: &LaunchFile, loaded: &mut LoadedLaunch, options: Options) -> Result<Outcome, Failure> {
    let (ptx, entry) = (loaded.ptx.clone(), file.kernel.clone());
    let args = loaded.args.clone();
    loaded
        .with_buffers(|buffers| {
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
        .map_err(|error| match error {
            ExecError::Internal(message) => Failure::Bug(format!("the executor: {message}")),
            other => Failure::input(format!("{}: {other}", file.ptx)),
        })
}

fn report(ui: &Ui, args: &Args, file: &LaunchFile, outcome: &Outcome, written: &[PathBuf]) {
    if ui.json {
        let mut object = json!({
            "kernel": file.kernel,
            "ok": outcome.findings.is_empty(),
            "findings": outcome.findings,
            "outputs": written,
            "compile_ms": outcome.compile_time.as_secs_f64() * 1e3,
            "time_ms": outcome.run_time.as_secs_f64() * 1e3,
            "warp_instructions": outcome.stats.warp_instructions,
        });
        if !outcome.printed.is_empty() {
            object["printed"] = json!(outcome.printed);
        }
        if args.stats {
            object["stats"] = json!(outcome.stats);
            object["bank_conflicts"] = json!(outcome.stats.bank_conflicts());
        }
        ui.object(&object);
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
    for path in written {
        ui.note(&format!("wrote {}", path.display()));
    }
    if args.stats {
        let stats = &outcome.stats;
        let mut lines = vec![
            format!("matrix instructions   {}", stats.mma),
            format!("bank conflicts        {}", stats.bank_conflicts()),
            format!(
                "global bytes          {} read, {} written",
                stats.global_bytes_read, stats.global_bytes_written
            ),
        ];
        let mut mix: Vec<_> = stats.mix.iter().collect();
        mix.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), name.as_str()));
        lines.extend(mix.into_iter().take(16).map(|(name, count)| format!("{count:>12}  {name}")));
        ui.print(&lines.join("\n"));
    }
}
