//! `tilewright verify FILE`

use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use tilewright_compiler::elaborate;
use tilewright_compiler::target::Target;
use tilewright_runtime::verify::reproduce::{self, ReproduceError};
use tilewright_runtime::verify::{Freeze, Report, Seed, Settings, Subject, VerifyError, verify as run_seeds};

use super::source::Loaded;
use super::{Failure, Ui, compile, pipeline, values};

/// Try a kernel at every level on random shapes, schedules, targets and inputs
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilewright verify gemm.tw                         20 seeds of the kernel gemm
  tilewright verify gemm.tw --kernel all --seeds 50
  tilewright verify gemm.tw --target sm_86 --set BM=64,k.stages=5 --dim K=72
  tilewright verify gemm.tw --first 17 --seeds 1    one seed again

Each seed draws a legal schedule, dimensions (ragged, one and zero among them) and inputs that keep the kernel's promises. The scheduled level in \
its three forms and the PTX, with races and bounds checked, must each give what the program means. Where one does not, that is a bug of ours: the \
case is made small and written as a folder, and the exit status is 3.")]
pub struct Args {
    /// The .tw file
    file: String,
    /// The kernel, or `all` [default: the one named like the file, else the only one]
    #[arg(long)]
    kernel: Option<String>,
    /// How many seeds
    #[arg(long, default_value_t = 20, value_name = "N")]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0, value_name = "N")]
    first: u64,
    /// sm_80, sm_86, sm_89 or sm_90a [default: each in turn]
    #[arg(long)]
    target: Option<String>,
    /// A generic, tune parameter or schedule item that every case has, e.g. T=bf16, k.stages=4
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// A dimension that every case has
    #[arg(long, value_name = "NAME=N")]
    dim: Vec<String>,
    /// Whether dimensions are compiled in
    #[arg(long, value_enum, default_value_t = FreezeArg::Random)]
    freeze: FreezeArg,
    /// Where a failing case is written; of several kernels, in folders named like them [default: tilewright-verify-KERNEL-SEED]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The result as one JSON object a kernel
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum FreezeArg {
    /// In one case of four
    Random,
    Always,
    Never,
}

/// Verifies one kernel, or all of a file, one after the other whatever each comes to.
pub fn verify(ui: &Ui, args: Args) -> Result<(), Failure> {
    let loaded = Loaded::read(ui, &args.file)?;
    let kernels = match args.kernel.as_deref() {
        Some("all") => elaborate::kernel_names(&loaded.program),
        asked => vec![pipeline::kernel_name(&loaded, asked, &args.file)?],
    };
    let settings = Settings {
        first: args.first,
        seeds: args.seeds,
        targets: match &args.target {
            Some(name) => vec![compile::target(name)?],
            None => Target::ALL.to_vec(),
        },
        sets: values::sets(&args.set)?,
        dims: values::dims(&args.dim)?,
        freeze: match args.freeze {
            FreezeArg::Random => Freeze::Random,
            FreezeArg::Always => Freeze::Always,
            FreezeArg::Never => Freeze::Never,
        },
        ..Settings::default()
    };
    let usual_dims = loaded.dims();
    let several = kernels.len() > 1;
    let mut failed: Vec<(&str, u8)> = Vec::new();
    for kernel in &kernels {
        let subject = Subject {
            program: &loaded.program,
            sources: &loaded.sources,
            root: &args.file,
            kernel,
            usual_dims: &usual_dims,
        };
        let out = args.out.as_ref().map(|out| if several { out.join(kernel) } else { out.clone() });
        match one(ui, &loaded, subject, &settings, out) {
            Err(failure) if several => {
                ui.note(&format!("{kernel}:"));
                ui.failure(&failure);
                failed.push((kernel, failure.status()));
            }
            result => result?,
        }
    }
    let names = |status: u8| {
        let names: Vec<&str> = failed.iter().filter(|(_, s)| *s == status).map(|(name, _)| *name).collect();
        names.join(", ")
    };
    let Some(worst) = failed.iter().map(|(_, status)| *status).max() else { return Ok(()) };
    ui.note(&format!("{} of {} kernels were verified", kernels.len() - failed.len(), kernels.len()));
    for (status, what) in
        [(1, "not verified, for the program or what is set is at fault"), (3, "compiled wrong")]
    {
        if !names(status).is_empty() {
            ui.note(&format!("{what}: {}", names(status)));
        }
    }
    Err(Failure::Reported(worst))
}

fn one(
    ui: &Ui,
    loaded: &Loaded,
    subject: Subject<'_>,
    settings: &Settings,
    out: Option<PathBuf>,
) -> Result<(), Failure> {
    let bar = progress(ui, subject.kernel, settings.seeds);
    let result = run_seeds(subject, settings, &mut |seed: &Seed| {
        bar.set_message(format!("seed {}, {}", seed.case.seed, seed.case.target));
        bar.inc(1);
    });
    bar.finish_and_clear();
    let report = result.map_err(|e| failure(loaded, e))?;
    let Some(found) = &report.found else {
        if ui.json {
            ui.object(&object(subject, &report, None));
        } else {
            ui.print(&summary(subject, &report));
        }
        return Ok(());
    };
    let folder = out.unwrap_or_else(|| {
        PathBuf::from(format!("tilewright-verify-{}-{}", subject.kernel, found.case.seed))
    });
    let command = match reproduce::write(subject, settings, found, &folder) {
        Ok(command) => command,
        Err(ReproduceError::Verify(e)) => return Err(failure(loaded, e)),
        Err(e) => {
            return Err(Failure::input(format!("a case failed, and the reproducer was not written: {e}")));
        }
    };
    let place = folder.display();
    if ui.json {
        ui.object(&object(subject, &report, Some((&folder, &command))));
    }
    let dims: Vec<String> = found.case.dims.iter().map(|(n, v)| format!("{n}={v}")).collect();
    let variant = found.failure.variant.as_deref().map(|v| format!(", variant {v}")).unwrap_or_default();
    ui.note(&format!(
        "{} at {} is wrong ({}{variant}), level: {}",
        subject.kernel,
        if dims.is_empty() { "every size".into() } else { dims.join(" ") },
        found.case.target,
        found.failure.level.name()
    ));
    for detail in found.failure.details.iter().take(8) {
        ui.note(&format!("  {detail}"));
    }
    ui.note(&format!("reproducer in {place}; in that folder:\n  {command}"));
    Err(Failure::Bug(format!(
        "{} is compiled wrong for seed {}: {}; attach the folder {place} to the report",
        subject.kernel, found.case.seed, found.failure.message
    )))
}

fn progress(ui: &Ui, kernel: &str, seeds: u64) -> ProgressBar {
    // indicatif draws on terminals only.
    let target =
        if ui.quiet || ui.json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(seeds), target);
    if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {msg} ({eta} left)") {
        bar.set_style(style);
    }
    bar.set_prefix(kernel.to_string());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn failure(loaded: &Loaded, error: VerifyError) -> Failure {
    match error {
        VerifyError::Program(diagnostics) => loaded.failure(diagnostics),
        VerifyError::Input(message) => Failure::input(message),
        VerifyError::Bug(message) => Failure::Bug(message),
    }
}

fn summary(subject: Subject<'_>, report: &Report) -> String {
    let count = report.seeds.len();
    if count > 0 && report.levels.iter().all(|l| l.cases == 0) {
        let mut text = format!(
            "{}: {count} seeds evaluated in {:.1} s, nothing compared: there is no code for it yet",
            subject.kernel, report.seconds
        );
        let reasons = report.levels.first().map_or(&[][..], |l| &l.not_run);
        for why in reasons {
            text += &format!("\n  {why}");
        }
        return text;
    }
    let slowest = report.seeds.iter().max_by(|x, y| x.milliseconds.total_cmp(&y.milliseconds));
    let mut text = format!("{}: {count} seeds agree in {:.1} s", subject.kernel, report.seconds);
    if let Some(slowest) = slowest {
        let mean = report.seconds * 1e3 / count as f64;
        text += &format!(
            " ({mean:.0} ms a seed; the slowest, {}, took {:.0} ms)",
            slowest.case.seed, slowest.milliseconds
        );
    }
    for level in &report.levels {
        text += &format!("\n  {:<33}{:>5} cases", level.level.name(), level.cases);
        for why in &level.not_run {
            text += &format!("\n      not run in the others: {why}");
        }
    }
    for remark in &report.remarks {
        text += &format!("\n  {remark}");
    }
    let variants = variants(report);
    if !variants.is_empty() {
        let parts: Vec<String> = variants.iter().map(|(v, n)| format!("{v} {n}")).collect();
        text += &format!("\n  variants: {}", parts.join(", "));
    }
    text
}

/// How many cases each variant ran.
fn variants(report: &Report) -> Vec<(String, usize)> {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for name in report.seeds.iter().filter_map(|s| s.variant.as_ref()) {
        match counts.iter_mut().find(|(n, _)| n == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name.clone(), 1)),
        }
    }
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    counts
}

fn object(subject: Subject<'_>, report: &Report, reproducer: Option<(&PathBuf, &String)>) -> Value {
    let variants: serde_json::Map<String, Value> =
        variants(report).into_iter().map(|(n, c)| (n, json!(c))).collect();
    json!({
        "kernel": subject.kernel,
        "file": subject.root,
        "ok": report.found.is_none(),
        // Whether any level was run beside the evaluator.
        "compared": report.levels.iter().any(|l| l.cases > 0) || report.found.is_some(),
        "seconds": report.seconds,
        "levels": report.levels,
        "remarks": report.remarks,
        "variants": variants,
        "seeds": report.seeds,
        "found": report.found,
        "reproducer": reproducer.map(|(folder, command)| json!({"folder": folder, "command": command})),
    })
}
