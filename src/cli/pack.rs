//! `tilewright pack FILE.tw` and `tilewright pack --unpack FILE.safetensors`
//!
//! In order, as in `run`: read the file and the arguments' files; elaborate; bind dimensions; compile, which gives the storage of each packed
//! parameter; pack; write. Nothing of it needs the other arguments, whose dimensions are filled as `run` fills them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tilewright_compiler::artifact::{ChosenBy, Compiled, ScheduleItem};
use tilewright_compiler::elaborate::Settings;
use tilewright_compiler::passes::Timer;
use tilewright_compiler::target::Target;
use tilewright_compiler::tile::TensorKind;
use tilewright_runtime::launch::prepare::{dims_of, fits};
use tilewright_runtime::launch::{DimValues, Given, LaunchError};
use tilewright_runtime::tensor::{FilePlace, Made, PackedTensor, Stored, packed, store_all};

use super::arguments::Arguments;
use super::source::Loaded;
use super::{Failure, Ui, compile, pipeline, values};

/// Pack weights for a kernel and a schedule, or unpack them
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilewright pack qgemm.tw --arg w=codes.npy -o packed.safetensors
  tilewright pack qgemm.tw --set 'W=u3,BN=128,BK=64,warps=(1,4)' --dim M=16 --arg w=model.safetensors:up.w -o packed.safetensors
  tilewright run qgemm.tw --set 'W=u3,BN=128,BK=64,warps=(1,4)' --arg w=packed.safetensors:w --check
  tilewright pack --unpack packed.safetensors:w -o codes.npy

The schedule is chosen as `run` chooses it, for the dimensions that the weights and --dim have; what is read must be what was packed for, so pin \
with --set what should not follow M. The file holds the bytes that the kernel reads, exactly as many bits per weight as the type has (tiles at \
the edges are filled up), and in its metadata how they lie. Kernels with the same storage take it as it is; others refuse it.")]
pub struct Args {
    /// The .tw file; with --unpack a packed file, PATH.safetensors[:TENSOR]
    file: String,
    /// The kernel [default: the one named like the file, else the only one]
    #[arg(long)]
    kernel: Option<String>,
    /// Logical weights for a packed parameter: PATH.npy or PATH.safetensors:TENSOR; other parameters only tell their dimensions
    #[arg(long, value_name = "NAME=VALUE")]
    arg: Vec<String>,
    /// A dimension that no argument fixes
    #[arg(long, value_name = "NAME=N")]
    dim: Vec<String>,
    /// sm_80, sm_86, sm_89 or sm_90a
    #[arg(long)]
    target: Option<String>,
    /// A generic, function, tune parameter or schedule item, e.g. W=u3, BK=64, warps=(1,4)
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Write logical values again: to PATH.npy or PATH.safetensors[:TENSOR]
    #[arg(long)]
    unpack: bool,
    /// Where to write: PATH.safetensors
    #[arg(short, long, value_name = "PATH")]
    output: String,
    /// The result as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Packs or unpacks.
pub fn pack(ui: &Ui, args: Args) -> Result<(), Failure> {
    if args.unpack { unpack(ui, &args) } else { pack_arguments(ui, args) }
}

fn pack_arguments(ui: &Ui, args: Args) -> Result<(), Failure> {
    let path = PathBuf::from(&args.output);
    if path.extension().is_none_or(|e| e != "safetensors") {
        return Err(Failure::Usage(format!(
            "-o {}: packed weights are written as PATH.safetensors",
            args.output
        )));
    }
    let dims = values::dims(&args.dim)?;
    let sets = values::sets(&args.set)?;
    let arguments = Arguments::parse(&args.arg)?;
    let target = args.target.as_deref().map(compile::target).transpose()?.unwrap_or(Target::Sm80);
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
    let packable: Vec<&str> =
        kernel.tensors.iter().filter(|t| t.kind == TensorKind::Packed).map(|t| t.name.as_str()).collect();
    if packable.is_empty() {
        return Err(Failure::input(format!("{name} has no `packed` parameter"))
            .help("write `packed` before the parameter of the weights, as in `packed w: u4[N, K]`"));
    }
    let given = arguments.give(&kernel)?;
    if !given.iter().any(|(n, value)| packable.contains(&n.as_str()) && !matches!(value, Given::Random(_))) {
        return Err(Failure::input(format!("no weights are given: {name} packs {}", packable.join(", ")))
            .help(format!(
                "--arg {}=PATH.npy or --arg {}=PATH.safetensors:TENSOR",
                packable[0], packable[0]
            )));
    }
    let outside = DimValues { given: dims, directive: loaded.dims(), fill: true };
    let bound = dims_of(&kernel, &given, &outside).map_err(Failure::input)?;
    settings.likely_dims = kernel.dims.iter().zip(bound.values()).map(|(d, v)| (d.name.clone(), v)).collect();
    let job = pipeline::Job { name: &name, settings, target, dumps: false, verify: cfg!(debug_assertions) };
    let compiled = pipeline::compile(&loaded, &args.file, job, Timer::default())?;

    let mut all: Vec<(String, PackedTensor)> = Vec::new();
    for (t, recipe) in compiled.meta.launches.iter().flat_map(|l| &l.packed) {
        let name = &compiled.kernel.tensors[t.0 as usize].name;
        let tensor = match given.iter().find(|(n, _)| n == name).map(|(_, value)| value) {
            Some(Given::Tensor(tensor, _)) => tensor.clone(),
            // Packed for another schedule: packed again.
            Some(Given::Packed(packed, _)) => packed.unpack().map_err(Failure::input)?,
            _ => continue,
        };
        let made = Made::from(&compiled.meta);
        let packed = PackedTensor::pack(recipe.storage(), &tensor, made);
        all.push((name.clone(), packed.map_err(|e| Failure::input(format!("{name}: {e}")))?));
    }
    if all.is_empty() {
        return Err(Failure::input(format!("{name} reads none of its packed parameters")));
    }
    let reports: Vec<Value> = all.iter().map(|(name, packed)| describe(name, packed)).collect();
    packed::write(&path, all).map_err(Failure::input)?;
    if ui.json {
        ui.object(&json!({"kernel": name, "target": target.name(), "output": args.output, "packed": reports,
            "settings": Made::from(&compiled.meta).settings.into_iter().collect::<std::collections::BTreeMap<_, _>>()}));
    } else if !ui.quiet {
        for r in &reports {
            ui.print(&sentence(r, &args.output));
        }
    }
    Ok(())
}

fn describe(name: &str, packed: &PackedTensor) -> Value {
    let storage = packed.storage();
    let weights: usize = packed.shape().iter().product();
    json!({
        "name": name,
        "type": storage.elem.to_string(),
        "shape": packed.shape(),
        "tile": [storage.tile.0, storage.tile.1],
        "bytes": packed.bytes().len(),
        "bits_per_weight": (weights > 0).then(|| packed.bytes().len() as f64 * 8.0 / weights as f64),
        "hash": format!("{:016x}", packed.hash()),
    })
}

/// `w: u4[256, 512] in 65536 bytes (4 bits each), tiles of 128x32, recipe 34662ad4e43cacbb, to packed.safetensors`
fn sentence(report: &Value, output: &str) -> String {
    let bits = report["bits_per_weight"].as_f64().map_or(String::new(), |bits| {
        let text = format!("{bits:.2}");
        format!(" ({} bits each)", text.trim_end_matches('0').trim_end_matches('.'))
    });
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let shape: Vec<String> = report["shape"].as_array().into_iter().flatten().map(Value::to_string).collect();
    format!(
        "{}: {}[{}] in {} bytes{bits}, tiles of {}x{}, recipe {}, to {output}",
        text(&report["name"]),
        text(&report["type"]),
        shape.join(", "),
        report["bytes"],
        report["tile"][0],
        report["tile"][1],
        text(&report["hash"]),
    )
}

fn unpack(ui: &Ui, args: &Args) -> Result<(), Failure> {
    let given = [
        (!args.arg.is_empty(), "--arg"),
        (!args.set.is_empty(), "--set"),
        (!args.dim.is_empty(), "--dim"),
        (args.kernel.is_some(), "--kernel"),
        (args.target.is_some(), "--target"),
    ];
    if let Some((_, flag)) = given.iter().find(|(given, _)| *given) {
        return Err(Failure::Usage(format!(
            "{flag} has no meaning with --unpack: the file says how it was packed"
        )));
    }
    let wrong = |what: &str, why: &str| Failure::Usage(format!("{what}: {why}"));
    let from = match FilePlace::parse(&args.file) {
        Some(Ok(place)) if place.transpose.is_none() => place,
        Some(Err(why)) => return Err(wrong(&args.file, &why)),
        _ => return Err(wrong(&args.file, "a packed file is wanted, PATH.safetensors[:TENSOR]")),
    };
    let to = match FilePlace::parse(&args.output) {
        Some(Ok(place)) if place.transpose.is_none() => place,
        _ => return Err(wrong("-o", "logical values are written as PATH.npy or PATH.safetensors[:TENSOR]")),
    };
    let Stored::Packed(packed) = from.read().map_err(Failure::input)? else {
        return Err(Failure::input(format!(
            "{from} is not packed: nothing in its metadata says how its bytes lie"
        ))
        .help("`tilewright pack FILE.tw --arg NAME=PATH -o PATH.safetensors` writes such files"));
    };
    let tensor = packed.unpack().map_err(Failure::input)?;
    let name = from.tensor.as_deref().unwrap_or("w");
    store_all([(name, &to, &tensor)]).map_err(Failure::input)?;
    if ui.json {
        ui.object(&json!({"input": args.file, "output": args.output, "unpacked": describe(name, &packed)}));
    } else if !ui.quiet {
        ui.print(&format!("{}{:?} to {to}", tensor.elem(), tensor.shape()));
    }
    Ok(())
}

/// Refuses weights that are packed for another schedule, and says what to write instead.
pub fn refuse_others(compiled: &Compiled, given: &[(String, Given)], file: &str) -> Result<(), Failure> {
    for (t, recipe) in compiled.meta.launches.iter().flat_map(|l| &l.packed) {
        let name = &compiled.kernel.tensors[t.0 as usize].name;
        let found = given.iter().find(|(n, _)| n == name);
        let Some((_, Given::Packed(packed, origin))) = found else { continue };
        if let Err(error) = fits(name, packed, origin, &recipe.storage()) {
            return Err(advise(error, compiled, packed, origin, file));
        }
    }
    Ok(())
}

fn advise(
    error: LaunchError,
    compiled: &Compiled,
    packed: &PackedTensor,
    origin: &str,
    file: &str,
) -> Failure {
    let LaunchError::PackedForAnother { name, .. } = &error else { return Failure::input(error) };
    let item = |path: &str, value: &str| format!("{path}={}", value.replace(' ', ""));
    let items = || compiled.meta.parameters.iter().chain(&compiled.meta.schedule);
    // What differs from what it was packed for, and all that decides what it is wanted for.
    let differs = |(path, value): &&(String, String)| items().any(|i| i.path == *path && i.value != *value);
    let then: Vec<String> = packed.made.settings.iter().filter(differs).map(|(p, v)| item(p, v)).collect();
    let decided = |i: &&ScheduleItem| !matches!(i.chosen_by, ChosenBy::Default | ChosenBy::Arguments);
    let now: Vec<String> = items().filter(decided).map(|i| item(&i.path, &i.value)).collect();
    let set = |items: &[String]| match items.is_empty() {
        true => String::new(),
        false => format!(" --set '{}'", items.join(",")),
    };
    let Made { kernel, target, .. } = &packed.made;
    let run = match then.is_empty() {
        true => String::new(),
        false => format!("run as it was packed for ({kernel} on {target}), with{}, or ", set(&then)),
    };
    let stem = Path::new(origin.split(':').next().unwrap_or(origin)).with_extension("");
    let help = format!(
        "{run}pack for this schedule: tilewright pack {file} --kernel {} --target {}{} --arg {name}={origin} -o {}-2.safetensors",
        compiled.kernel.name,
        compiled.target.name(),
        set(&now),
        stem.display(),
    );
    Failure::input(error).help(help)
}
