//! `tilewright run FILE`
//!
//! In order: read the file and the arguments' files; elaborate once, which gives parameters their types; bind dimensions, so that the
//! schedule can be chosen for this size; compile; make what was not given; run; compare; write.

use std::path::PathBuf;
use std::time::Instant;

use tilewright_compiler::artifact::Compiled;
use tilewright_compiler::diagnostics::Diagnostics;
use tilewright_compiler::elaborate::Settings;
use tilewright_compiler::passes::Timer;
use tilewright_compiler::target::Target;
use tilewright_compiler::tile::eval::{EvalError, EvalErrorKind};
use tilewright_compiler::tile::{Kernel, Param};
use tilewright_runtime::cuda::{CudaError, Device};
use tilewright_runtime::executor;
use tilewright_runtime::launch::bind::find_param;
use tilewright_runtime::launch::file;
use tilewright_runtime::launch::meaning::{MeaningError, run_on_evaluator};
use tilewright_runtime::launch::on_cpu::{CpuError, run_on_cpu};
use tilewright_runtime::launch::on_cuda::{CudaRunError, run_on_cuda};
use tilewright_runtime::launch::prepare::dims_of;
use tilewright_runtime::launch::{DimValues, Filling, Meaning, Signature, prepare};
use tilewright_runtime::tensor::FilePlace;

use super::arguments::Arguments;

use super::run_report::{Ran, Report};
use super::source::Loaded;
use super::{Failure, Ui, compile, pack, pipeline, values};

/// Compile a kernel and run it, on a GPU or on the CPU
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilewright run gemm.tw --check
  tilewright run gemm.tw --arg a=a.npy --arg b=b.npy --out c=c.npy
  tilewright run gemm.tw --arg b=model.safetensors:layers.0.up.weight --out c=results.safetensors
  tilewright run qgemm.tw --arg w=packed.safetensors:w    weights that `tilewright pack` has packed
  tilewright run gemm.tw --dim M=257,N=130,K=72 --set T=bf16 --check
  tilewright run attention.tw --arg q=q.npy:transpose(0,2,1,3) --device eval
  tilewright run gemm.tw --save-launch saved         write PTX, inputs and LAUNCH.json for `exec`

A parameter that is not given: inputs are random, scalars take their defaults. A dimension that nothing fixes takes its value in the \
file's `//; dims:` line, else 256, and the output says so.")]
pub struct Args {
    /// The .tw file
    file: String,
    /// The kernel [default: the one named like the file, else the only one]
    #[arg(long)]
    kernel: Option<String>,
    /// A parameter: a number, PATH.npy, PATH.safetensors:TENSOR, either with :transpose(0,2,1,3), random or random:SEED
    #[arg(long, value_name = "NAME=VALUE")]
    arg: Vec<String>,
    /// A dimension that no argument fixes
    #[arg(long, value_name = "NAME=N")]
    dim: Vec<String>,
    /// Write an output: to PATH.npy, or to PATH.safetensors[:TENSOR], which several may share
    #[arg(long, value_name = "NAME=PATH")]
    out: Vec<String>,
    /// auto (the first GPU, else cpu), cpu (the PTX, on the CPU), eval (the program's meaning), cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
    /// sm_80, sm_86, sm_89 or sm_90a [default: the device's own; sm_80 on the CPU]
    #[arg(long)]
    target: Option<String>,
    /// A generic, function, tune parameter or schedule item, e.g. T=bf16, mask=causal, k.stages=4, warps=(2,2)
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Compare the result with the program's meaning, element by element
    #[arg(long)]
    check: bool,
    /// On the CPU (which `auto` then means): also look for races, reads of unwritten shared memory and copies in flight
    #[arg(long)]
    sanitize: bool,
    /// On the CPU: SMs of the GPU that it stands for, which decide how many blocks a persistent or stream-K kernel has [default: those
    /// of the target's usual GPU, 108 for sm_80]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    sms: Option<u32>,
    /// Write PTX, inputs and LAUNCH.json into a folder
    #[arg(long, value_name = "DIR")]
    save_launch: Option<PathBuf>,
    /// The result as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Where a kernel runs.
enum Place {
    Cpu,
    Eval,
    Cuda(Device),
}

/// Compiles and runs.
pub fn run(ui: &Ui, args: Args) -> Result<(), Failure> {
    let outputs = values::outputs(&args.out)?;
    let dims = values::dims(&args.dim)?;
    let sets = values::sets(&args.set)?;
    let arguments = Arguments::parse(&args.arg)?;
    contradictions(&args)?;
    let asked_target = args.target.as_deref().map(compile::target).transpose()?;
    let (place, fallback) = place(&args.device, args.sanitize)?;
    let target = asked_target.unwrap_or(match &place {
        // PTX of the oldest target runs on every later GPU.
        Place::Cuda(device) => {
            let (major, minor) = device.capability();
            Target::for_capability(major, minor).unwrap_or(Target::Sm80)
        }
        Place::Cpu | Place::Eval => Target::Sm80,
    });

    let loaded = Loaded::read(ui, &args.file)?;
    let name = pipeline::kernel_name(&loaded, args.kernel.as_deref(), &args.file)?;
    let arguments = arguments.read(&loaded.program, &name)?;
    let mut settings = Settings {
        sets,
        target: Some(target.name().into()),
        arguments: arguments.known(),
        ..Settings::default()
    };
    let kernel = pipeline::elaborate(&loaded, &name, &settings, target)?;
    let given = arguments.give(&kernel)?;
    check_outputs(&kernel, &outputs)?;
    let outside = DimValues { given: dims, directive: loaded.dims(), fill: true };
    let bound = dims_of(&kernel, &given, &outside).map_err(Failure::input)?;
    settings.likely_dims = kernel.dims.iter().zip(bound.values()).map(|(d, v)| (d.name.clone(), v)).collect();

    let start = Instant::now();
    let (kernel, compiled) = match &place {
        Place::Eval => (pipeline::elaborate(&loaded, &name, &settings, target)?, None),
        Place::Cpu | Place::Cuda(_) => {
            let job =
                pipeline::Job { name: &name, settings, target, dumps: false, verify: cfg!(debug_assertions) };
            let compiled = pipeline::compile(&loaded, &args.file, job, Timer::default())?;
            (compiled.kernel.clone(), Some(compiled))
        }
    };
    pipeline::warn(ui, &loaded, &kernel);
    let compile_ms = start.elapsed().as_secs_f64() * 1e3;
    if let Some(compiled) = &compiled {
        pack::refuse_others(compiled, &given, &args.file)?;
    }

    let filling = Filling { seed: 0, poison: args.check && !matches!(place, Place::Eval) };
    let mut prepared = prepare(&kernel, given, &outside, filling).map_err(Failure::input)?;
    prepared.sms = args.sms;
    let meaning = match args.check && !matches!(place, Place::Eval) {
        true => Some(Meaning::of(&kernel, &prepared).map_err(|e| fault(&loaded, e))?),
        false => None,
    };
    // Written before the run, which overwrites `inout` tensors.
    let saved = match (&args.save_launch, &compiled) {
        (Some(folder), Some(compiled)) => save(folder, compiled, &prepared)?,
        _ => Vec::new(),
    };
    let start = Instant::now();
    let mut ran = match (&place, &compiled) {
        (Place::Cpu, Some(compiled)) => {
            let options = executor::Options {
                sanitize: args.sanitize,
                lazy: args.sanitize,
                ..executor::Options::default()
            };
            Ran::from(run_on_cpu(compiled, &mut prepared, &options).map_err(cpu_failure)?)
        }
        (Place::Cuda(device), Some(compiled)) => {
            Ran::on_cuda(device, run_on_cuda(device, compiled, &mut prepared).map_err(cuda_failure)?)
        }
        _ => {
            run_on_evaluator(&kernel, &mut prepared).map_err(|error| match error {
                MeaningError::Eval(error) => fault(&loaded, error),
                MeaningError::Tensor(error) => Failure::input(error),
            })?;
            Ran::on_evaluator(start.elapsed())
        }
    };
    ran.notes.extend(fallback);
    if args.save_launch.is_some() && saved.is_empty() {
        ran.notes.push("no launch was saved: the grid is empty".into());
    }
    let report = Report {
        kernel: &kernel,
        compiled: compiled.as_ref(),
        verdicts: meaning.map(|m| m.judge(&kernel, &prepared.tensors)),
        prepared: &prepared,
        outputs: &outputs,
        saved: &saved,
        compile_ms,
        ran: &ran,
    };
    report.write_outputs()?;
    report.show(ui);
    report.judge(&loaded)
}

/// Flags that a device has no use for.
fn contradictions(args: &Args) -> Result<(), Failure> {
    let flags = [
        (args.check, "--check", "eval", "the evaluator is what other devices are compared with"),
        (args.sanitize, "--sanitize", "eval", "the evaluator runs no PTX"),
        (args.save_launch.is_some(), "--save-launch", "eval", "the evaluator runs no PTX"),
        (args.sanitize, "--sanitize", "cuda", "the sanitizer is part of the executor; --device cpu has it"),
    ];
    match flags.iter().find(|(given, _, device, _)| *given && args.device.starts_with(device)) {
        Some((_, flag, _, why)) => {
            Err(Failure::Usage(format!("{flag} has no meaning with --device {}: {why}", args.device)))
        }
        None => Ok(()),
    }
}

/// `--device`, and what to say about an `auto` that is not a GPU.
fn place(device: &str, sanitize: bool) -> Result<(Place, Option<String>), Failure> {
    let open = |n| Device::open(n).map(Place::Cuda).map_err(Failure::input);
    match device {
        "auto" if sanitize => Ok((Place::Cpu, None)),
        "cpu" => Ok((Place::Cpu, None)),
        "eval" => Ok((Place::Eval, None)),
        "auto" => match Device::open(0) {
            Ok(device) => Ok((Place::Cuda(device), None)),
            Err(CudaError::NoDriver | CudaError::NoDevice) => Ok((Place::Cpu, None)),
            Err(error) => Ok((Place::Cpu, Some(format!("the GPU is not used: {error}")))),
        },
        "cuda" => Ok((open(0)?, None)),
        other => match other.strip_prefix("cuda:").map(str::parse) {
            Some(Ok(n)) => Ok((open(n)?, None)),
            _ => Err(Failure::Usage(format!("--device {other}: it is one of auto, cpu, eval, cuda:N"))),
        },
    }
}

fn check_outputs(kernel: &Kernel, outputs: &[(String, FilePlace)]) -> Result<(), Failure> {
    for (name, _) in outputs {
        let written = match find_param(&Signature::from(kernel), name) {
            Ok(Param::Tensor(t)) => kernel.tensors[t.0 as usize].kind.writable(),
            Ok(Param::Scalar(_)) => false,
            Err(error) => return Err(Failure::input(format!("--out: {error}"))),
        };
        if !written {
            let list: Vec<&str> =
                kernel.tensors.iter().filter(|t| t.kind.writable()).map(|t| t.name.as_str()).collect();
            return Err(Failure::input(format!("--out {name}: the kernel does not write {name}"))
                .help(format!("it writes {}", list.join(", "))));
        }
    }
    Ok(())
}

fn save(
    folder: &std::path::Path,
    compiled: &Compiled,
    prepared: &tilewright_runtime::launch::Prepared,
) -> Result<Vec<PathBuf>, Failure> {
    use tilewright_runtime::launch::{Chosen, choose};
    let mut saved = Vec::new();
    for (number, plan) in compiled.meta.launches.iter().enumerate() {
        match choose(&compiled.kernel, plan, &prepared.bound, prepared.sms(compiled.target))
            .map_err(Failure::input)?
        {
            Chosen::Nothing => {}
            Chosen::Launch { launch, .. } => {
                saved.push(file::save(folder, compiled, &launch, prepared, number).map_err(Failure::input)?);
            }
        }
    }
    Ok(saved)
}

/// A fault of the program on this data, at its place in the source.
fn fault(loaded: &Loaded, error: EvalError) -> Failure {
    match error.kind {
        EvalErrorKind::Internal => Failure::Bug(error.to_string()),
        EvalErrorKind::Input => Failure::input(error),
        EvalErrorKind::Fault => {
            let mut all = Diagnostics::default();
            all.push(error.diagnostic());
            loaded.failure(all)
        }
    }
}

fn cpu_failure(error: CpuError) -> Failure {
    match error {
        CpuError::Launch(error) => Failure::input(error),
        // The PTX is ours, so whatever is wrong with it is, too.
        CpuError::Exec { .. } | CpuError::Counter { .. } => Failure::Bug(error.to_string()),
    }
}

fn cuda_failure(error: CudaRunError) -> Failure {
    match error {
        CudaRunError::Cuda(e @ (CudaError::KernelFailed { .. } | CudaError::NoEntry { .. })) => {
            Failure::Bug(e.to_string())
        }
        other => Failure::input(other),
    }
}
