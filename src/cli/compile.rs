//! `tilewright compile FILE`

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use serde_json::json;
use tilewright_compiler::artifact::Compiled;
use tilewright_compiler::elaborate::Settings;
use tilewright_compiler::front;
use tilewright_compiler::passes::{Pass, Timer};
use tilewright_compiler::target::Target;

use super::source::Loaded;
use super::{Failure, Ui, pipeline, ptxas, values};

/// Compile a kernel; prints PTX, or any other level
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilewright compile gemm.tw -o gemm.ptx
  tilewright compile gemm.tw --set T=bf16,BM=128,warps=(2,2) --target sm_89
  tilewright compile gemm.tw --emit scheduled        the plan: buffers, stages, synchronisation
  tilewright compile gemm.tw --emit schedule         what was chosen, to be pasted back
  tilewright compile gemm.tw --time-passes -o /dev/null")]
pub struct Args {
    /// The .tw file
    file: String,
    /// The kernel [default: the one named like the file, else the only one]
    #[arg(long)]
    kernel: Option<String>,
    /// sm_80, sm_86, sm_89 or sm_90a
    #[arg(long, default_value = "sm_80")]
    target: String,
    /// A generic, function, tune parameter or schedule item, e.g. T=bf16, mask=causal, k.stages=4, warps=(2,2)
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Freeze a dimension: the code is for this size alone
    #[arg(long, value_name = "NAME=N")]
    dim: Vec<String>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Emit::Ptx)]
    emit: Emit,
    /// Print where the time went
    #[arg(long)]
    time_passes: bool,
    /// Run every verifier after its pass (a violation is a bug of ours)
    #[arg(long)]
    verify_ir: bool,
    /// Write to a file instead of stdout (`-`)
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// The result and diagnostics as JSON objects, one a line
    #[arg(long)]
    pub json: bool,
}

/// `--emit`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Emit {
    /// The file as it was read, printed in one style
    Ast,
    /// T1: tile values on named axes
    Tile,
    /// T2: buffers, roles, stages, synchronisation
    Scheduled,
    /// T3: registers and addresses
    Warp,
    /// T4: the PTX
    Ptx,
    /// The schedule in the language's own syntax
    Schedule,
    /// What a launch needs to know, as JSON
    Meta,
    /// Machine code, by ptxas
    Cubin,
}

/// `--target` as a target.
pub fn target(name: &str) -> Result<Target, Failure> {
    name.parse().map_err(|error: tilewright_compiler::target::TargetError| {
        Failure::Usage(format!("--target: {error}"))
    })
}

/// Compiles and prints.
pub fn compile(ui: &Ui, args: Args) -> Result<(), Failure> {
    let target = target(&args.target)?;
    let settings =
        Settings { sets: values::sets(&args.set)?, dims: values::dims(&args.dim)?, ..Settings::default() };
    // As elsewhere, `-` is stdout.
    let output = args.output.as_deref().filter(|path| *path != Path::new("-"));
    if args.emit == Emit::Cubin && output.is_none() {
        return Err(Failure::Usage("--emit cubin writes machine code: name a file with -o PATH".into()));
    }
    let mut timer = Timer::default();
    let loaded = timer.time(Pass::Load, || Loaded::read(ui, &args.file))?;
    let name = pipeline::kernel_name(&loaded, args.kernel.as_deref(), &args.file)?;
    let (text, timings) = match args.emit {
        Emit::Ast => (front::print::program(&loaded.program), timer.finish()),
        Emit::Tile => {
            let kernel =
                timer.time(Pass::Elaborate, || pipeline::elaborate(&loaded, &name, &settings, target))?;
            (tilewright_compiler::tile::print::print(&kernel), timer.finish())
        }
        _ => {
            let dumps = matches!(args.emit, Emit::Scheduled | Emit::Warp);
            let verify = args.verify_ir || cfg!(debug_assertions);
            let job = pipeline::Job { name: &name, settings, target, dumps, verify };
            let compiled = pipeline::compile(&loaded, &args.file, job, timer)?;
            pipeline::warn(ui, &loaded, &compiled.kernel);
            if args.emit == Emit::Cubin {
                // `-o` was checked above.
                let path = output.unwrap_or(Path::new("out.cubin"));
                ptxas::assemble(ui, &compiled.ptx, target, path)?;
                times(ui, args.time_passes, &compiled.timings);
                if ui.json {
                    ui.object(
                        &json!({"kernel": name, "target": target.name(), "emit": "cubin", "output": path}),
                    );
                }
                return Ok(());
            }
            (level(&compiled, args.emit), compiled.timings)
        }
    };
    if let Some(path) = output {
        fs::write(path, &text)
            .map_err(|e| Failure::input(format!("cannot write {}: {e}", path.display())))?;
    }
    if ui.json {
        let emit = args.emit.to_possible_value().map(|v| v.get_name().to_string());
        let mut object = json!({
            "kernel": name,
            "target": target.name(),
            "emit": emit,
            "passes": timings.iter().map(|(name, t)| json!({"name": name, "ms": t.as_secs_f64() * 1e3})).collect::<Vec<_>>(),
        });
        match output {
            Some(path) => object["output"] = json!(path),
            None if args.emit == Emit::Meta => {
                object["meta"] = serde_json::from_str(&text).unwrap_or_default()
            }
            None => object["text"] = json!(text),
        }
        ui.object(&object);
    } else if output.is_none() {
        ui.print(&text);
    }
    times(ui, args.time_passes, &timings);
    Ok(())
}

fn level(compiled: &Compiled, emit: Emit) -> String {
    match emit {
        Emit::Scheduled => compiled.dumps.scheduled.clone(),
        Emit::Warp => compiled.dumps.warp.clone(),
        Emit::Schedule => compiled.meta.schedule_text(),
        Emit::Meta => {
            let meta = compiled.meta.to_json(&compiled.kernel);
            serde_json::to_string_pretty(&meta).unwrap_or_default() + "\n"
        }
        _ => compiled.ptx.clone(),
    }
}

/// `--time-passes`, to stderr.
pub fn times(ui: &Ui, wanted: bool, timings: &[(&'static str, Duration)]) {
    if !wanted || ui.json {
        return;
    }
    let mut text = String::new();
    let mut total = Duration::ZERO;
    for (name, spent) in timings {
        let _ = writeln!(text, "{name:>12} {:9.3} ms", spent.as_secs_f64() * 1e3);
        total += *spent;
    }
    let _ = write!(text, "{:>12} {:9.3} ms", "total", total.as_secs_f64() * 1e3);
    // Asked for by name, so `--quiet` does not silence it.
    ui.err(&text);
}
