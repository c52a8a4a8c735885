//! `tilewright import CHECKPOINT`

use std::path::PathBuf;

use serde_json::{Value, json};
use tilewright_runtime::checkpoint::{
    ActOrder, Checkpoint, Format, ImportError, Module, Options, import as read,
};
use tilewright_runtime::tensor::safetensors;

use super::{Failure, Ui};

/// Read quantised weights of other tools (GPTQ, AWQ, MXFP4, NVFP4) into tensors that kernels take
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilewright import model/ --module model.layers.0.self_attn.q_proj -o q_proj.safetensors
  tilewright import model.safetensors -o weights.safetensors               every module of the file
  tilewright import model/ --module model.layers.0.mlp.experts.gate_up_proj --format mxfp4 -o experts.safetensors
  tilewright pack qgemm.tw --set W=u4,G=128 --arg w=q_proj.safetensors:model.layers.0.self_attn.q_proj.w -o packed.safetensors

Written for each MODULE, with N the outputs and K the inputs:
  MODULE.w      codes, one a byte: [N, K] of u2, u3, u4 or u8 (gptq, awq), or e2m1 (mxfp4, nvfp4)
  MODULE.s, .z  scales and zero points (gptq, awq): f16 [N, K / G], for y = x . ((w - z) * s)
  MODULE.g      the group of each k, i32 [K]: where act-order left groups out of order
  MODULE.perm   with --act-order permute instead: which k each column of w was, i32 [K]; x must have its columns in that order
  MODULE.e      block scales: e8m0 [N, K / 32] (mxfp4), e4m3 [N, K / 16] (nvfp4)
  MODULE.scale  the tensor's scale (nvfp4)
  MODULE.bias   as it is, where there is one

Plain .safetensors and .npy files need no import: `run` and `pack` read them as they are.")]
pub struct Args {
    /// A .safetensors file, a model.safetensors.index.json, or a checkpoint's folder
    checkpoint: PathBuf,
    /// A module, by what its tensors' names begin with; repeats [default: all that have quantised weights]
    #[arg(long, value_name = "NAME")]
    module: Vec<String>,
    /// How weights are stored; auto looks at names, shapes and config.json, and takes GPTQ without a config.json to be of format 1
    #[arg(long, value_enum, default_value_t = Stored::Auto)]
    format: Stored,
    /// GPTQ with groups out of order: keep weights where they are, or sort them by group
    #[arg(long, value_enum, default_value_t = Order::Keep)]
    act_order: Order,
    /// Where to write: PATH.safetensors
    #[arg(short, long, value_name = "PATH")]
    output: PathBuf,
    /// The result as one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Stored {
    Auto,
    /// Zero points stored less one (AutoGPTQ)
    Gptq,
    /// Zero points stored as they are (GPTQModel)
    #[value(name = "gptq_v2")]
    GptqV2,
    Awq,
    Mxfp4,
    Nvfp4,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Order {
    Keep,
    Permute,
}

/// Reads and writes.
pub fn import(ui: &Ui, args: Args) -> Result<(), Failure> {
    if args.output.extension().is_none_or(|e| e != "safetensors") {
        let path = args.output.display();
        return Err(Failure::Usage(format!("-o {path}: tensors are written as PATH.safetensors")));
    }
    let options = Options {
        format: match args.format {
            Stored::Auto => None,
            Stored::Gptq => Some(Format::Gptq),
            Stored::GptqV2 => Some(Format::GptqV2),
            Stored::Awq => Some(Format::Awq),
            Stored::Mxfp4 => Some(Format::Mxfp4),
            Stored::Nvfp4 => Some(Format::Nvfp4),
        },
        act_order: match args.act_order {
            Order::Keep => ActOrder::Keep,
            Order::Permute => ActOrder::Permute,
        },
    };
    let failed = |error: ImportError| {
        let hint = error.hint().map(String::from);
        let failure = Failure::input(error);
        if let Some(hint) = hint { failure.help(hint) } else { failure }
    };
    let mut checkpoint = Checkpoint::open(&args.checkpoint).map_err(failed)?;
    let names = if args.module.is_empty() { checkpoint.modules() } else { args.module.clone() };
    if names.is_empty() {
        return Err(Failure::input(format!("{} has no quantised weights", args.checkpoint.display()))
            .help("known are gptq (.qweight), awq (.qweight), mxfp4 (_blocks, .blocks) and nvfp4 (.weight_packed, .weight_scale_2); plain tensors need no import"));
    }
    let mut modules: Vec<Module> = Vec::new();
    for name in &names {
        modules.extend(read(&mut checkpoint, name, &options).map_err(failed)?);
    }
    let reports: Vec<Value> = modules.iter().map(describe).collect();
    let tensors: Vec<_> = modules
        .into_iter()
        .flat_map(|m| {
            m.tensors.into_iter().map(move |(suffix, array)| (format!("{}.{suffix}", m.name), array))
        })
        .collect();
    safetensors::write(&args.output, &tensors).map_err(Failure::input)?;
    if ui.json {
        ui.object(&json!({"checkpoint": args.checkpoint, "output": args.output, "modules": reports}));
    } else if !ui.quiet {
        for report in &reports {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
            let names: Vec<String> =
                report["tensors"].as_array().into_iter().flatten().map(|t| format!(".{}", text(t))).collect();
            ui.print(&format!(
                "{}: {}, w {}[{}, {}], groups of {} ({})",
                text(&report["name"]),
                text(&report["format"]),
                text(&report["type"]),
                report["shape"][0],
                report["shape"][1],
                report["group"],
                names.join(", ")
            ));
            for note in report["notes"].as_array().into_iter().flatten() {
                ui.note(&format!("  note: {}", text(note)));
            }
        }
    }
    Ok(())
}

fn describe(module: &Module) -> Value {
    json!({
        "name": module.name,
        "format": module.format.to_string(),
        "type": module.weight,
        "shape": module.shape,
        "group": module.group,
        "notes": module.notes,
        "tensors": module.tensors.iter().map(|(suffix, _)| *suffix).collect::<Vec<_>>(),
    })
}
