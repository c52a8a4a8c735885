//! Checkpoints of other tools: quantised weights as their formats store them, turned into the logical tensors that our kernels take.
//!
//! ```text
//! model.layers.0.q_proj.qweight   I32 [K / 8, N]        model.layers.0.q_proj.w   U8 [N, K]      0 … 15
//! model.layers.0.q_proj.qzeros    I32 [K / G, N / 8] →  model.layers.0.q_proj.z   F16 [N, K / G]  0 … 16
//! model.layers.0.q_proj.scales    F16 [K / G, N]        model.layers.0.q_proj.s   F16 [N, K / G]
//! model.layers.0.q_proj.g_idx     I32 [K]               … .g I32 [K], or .perm I32 [K], where groups are out of order
//! ```
//! Weights come out with rows along N and K contiguous, one code per byte, as `tilewright pack` and `run` read them: y = x · ((w − z) · s)ᵀ.
//!
//! | file | holds |
//! | --- | --- |
//! | [`source`] | a checkpoint's files: one, a folder, or an index of shards; its configuration |
//! | [`gptq`] | GPTQ, of 2, 3, 4 and 8 bits, both conventions of zero points, and act-order |
//! | [`awq`] | AWQ's interleaved nibbles |
//! | [`blocks`] | MXFP4 as in gpt-oss, NVFP4 as ModelOpt and compressed-tensors store it |
//!
//! Everything in a checkpoint is somebody else's word: types, shapes and indices are checked before they are used, and what is wrong is said
//! with the file, the tensor, the reason and what to do.

pub mod awq;
pub mod blocks;
pub mod gptq;
pub mod source;

use std::fmt;
use std::path::PathBuf;

use ::safetensors::tensor::Dtype;
use half::f16;
use thiserror::Error;

use crate::tensor::{SafeArray, SafeError};
pub use source::Checkpoint;

/// A way of storing quantised weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Zero points are stored less one.
    Gptq,
    /// Zero points are stored as they are.
    GptqV2,
    Awq,
    Mxfp4,
    Nvfp4,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Gptq => "gptq",
            Format::GptqV2 => "gptq_v2",
            Format::Awq => "awq",
            Format::Mxfp4 => "mxfp4",
            Format::Nvfp4 => "nvfp4",
        })
    }
}

/// What to do where GPTQ's groups are not in the order of k.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ActOrder {
    /// Weights stay where they are, and `g` says which group each k is of: for kernels that index scales by it.
    #[default]
    Keep,
    /// Weights are sorted by group, and `perm` says which k each came from: for any kernel, given x with its columns in that order.
    Permute,
}

/// One module's weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    pub name: String,
    pub format: Format,
    /// The weights' type in the language, `u4` or `e2m1`.
    pub weight: String,
    /// N and K.
    pub shape: [usize; 2],
    /// Weights that share a scale.
    pub group: usize,
    /// What a user should know, as sentences.
    pub notes: Vec<String>,
    /// What follows the module's name and a dot, and the tensor: `w`, `s`, `z`, `g`, `perm`, `e`, `scale`, `bias`.
    pub tensors: Vec<(&'static str, SafeArray)>,
}

/// Why a checkpoint cannot be read.
#[derive(Debug, Error)]
pub enum ImportError {
    #[error(transparent)]
    File(#[from] SafeError),
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: {reason}", path.display())]
    Folder { path: PathBuf, reason: String, hint: String },
    #[error("{}: {tensor}: {reason}", path.display())]
    Tensor { path: PathBuf, tensor: String, reason: String, hint: String },
}

impl ImportError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            ImportError::Folder { hint, .. } | ImportError::Tensor { hint, .. } => {
                (!hint.is_empty()).then_some(hint)
            }
            ImportError::File(_) | ImportError::Read { .. } => None,
        }
    }
}

/// What importing is told.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The format of every module; found out where absent.
    pub format: Option<Format>,
    pub act_order: ActOrder,
}

/// Reads one module.
pub fn import(from: &mut Checkpoint, module: &str, options: &Options) -> Result<Vec<Module>, ImportError> {
    match options.format.map_or_else(|| from.format_of(module), Ok)? {
        format @ (Format::Gptq | Format::GptqV2) => {
            gptq::import(from, module, format, options.act_order).map(|m| vec![m])
        }
        Format::Awq => awq::import(from, module).map(|m| vec![m]),
        Format::Mxfp4 => blocks::mxfp4(from, module),
        Format::Nvfp4 => blocks::nvfp4(from, module).map(|m| vec![m]),
    }
}

/// A tensor of two dimensions and its place for messages.
struct Matrix {
    tensor: String,
    array: SafeArray,
    rows: usize,
    cols: usize,
}

impl Matrix {
    /// 32-bit words.
    fn words(&self) -> Vec<u32> {
        self.array.bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }
}

/// Reads `MODULE.SUFFIX` as a matrix of one of these types.
fn matrix(from: &mut Checkpoint, module: &str, suffix: &str, types: &[Dtype]) -> Result<Matrix, ImportError> {
    let tensor = format!("{module}{suffix}");
    let array = from.tensor(&tensor)?;
    if !types.contains(&array.dtype) {
        let names: Vec<String> = types.iter().map(Dtype::to_string).collect();
        return Err(from.wrong(
            &tensor,
            format!("it has type {}, not {}", array.dtype, names.join(" or ")),
            "is it of another format? --format says which",
        ));
    }
    let &[rows, cols] = &array.shape[..] else {
        let reason = format!("it has shape {:?}, not two dimensions", array.shape);
        return Err(from.wrong(&tensor, reason, "is it of another format? --format says which"));
    };
    Ok(Matrix { tensor, array, rows, cols })
}

/// Scales of any float type, turned: [K / G, N] as rounded f16 [N, K / G].
fn scales(from: &Checkpoint, scales: &Matrix) -> Result<SafeArray, ImportError> {
    let bytes = &scales.array.bytes;
    let value = |at: usize| match scales.array.dtype {
        Dtype::F16 => f16::from_le_bytes([bytes[2 * at], bytes[2 * at + 1]]),
        Dtype::BF16 => f16::from_f32(half::bf16::from_le_bytes([bytes[2 * at], bytes[2 * at + 1]]).to_f32()),
        _ => f16::from_f32(f32::from_le_bytes([
            bytes[4 * at],
            bytes[4 * at + 1],
            bytes[4 * at + 2],
            bytes[4 * at + 3],
        ])),
    };
    let mut out = Vec::with_capacity(2 * scales.rows * scales.cols);
    for n in 0..scales.cols {
        for g in 0..scales.rows {
            let value = value(g * scales.cols + n);
            if !value.is_finite() {
                return Err(from.wrong(
                    &scales.tensor,
                    format!("the scale at [{g}, {n}] is no finite number of type f16"),
                    "weights with such scales are of no use; quantise again",
                ));
            }
            out.extend(value.to_le_bytes());
        }
    }
    Ok(SafeArray { dtype: Dtype::F16, shape: vec![scales.cols, scales.rows], bytes: out })
}

/// Small whole numbers as f16.
fn whole(shape: [usize; 2], numbers: impl Iterator<Item = u32>) -> SafeArray {
    let bytes = numbers.flat_map(|n| f16::from_f32(n as f32).to_le_bytes()).collect();
    SafeArray { dtype: Dtype::F16, shape: shape.to_vec(), bytes }
}

/// The module's bias as it is, if there is one.
fn bias(
    from: &mut Checkpoint,
    module: &str,
    tensors: &mut Vec<(&'static str, SafeArray)>,
) -> Result<(), ImportError> {
    let name = format!("{module}.bias");
    if from.has(&name) {
        tensors.push(("bias", from.tensor(&name)?));
    }
    Ok(())
}
