//! LAUNCH.json: one launch of a PTX file, as `exec` reads it and `run --save-launch` writes it.
//!
//! ```json
//! {"ptx": "gemm.ptx", "kernel": "gemm", "target": "sm_80", "grid": [8, 4, 1], "block": [128, 1, 1], "shared_bytes": 49152,
//!  "args": [{"buffer": {"dtype": "f16", "shape": [256, 512], "init": "a.npy"}},
//!           {"buffer": {"dtype": "f32", "shape": [256], "init": "zeros", "out": "c.npy"}}, {"u32": 512}]}
//! ```
//! Paths are relative to the file. `init` is an .npy file, `zeros` or `random:SEED` (standard normal, uniform bits for integers).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tilewright_compiler::artifact::Compiled;
use tilewright_compiler::tile::{ElemType, TensorKind};

use super::device_launch::{DeviceLaunch, ParamValue};
use super::error::LaunchError;
use super::map_spec::MapSpec;
use super::prepare::Prepared;
use crate::executor::Arg;
use crate::tensor::random::Stream;
use crate::tensor::{HostTensor, LoadError, NpyError, TensorError, load, store};

/// One launch of one kernel of a PTX file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchFile {
    pub ptx: String,
    pub kernel: String,
    #[serde(default)]
    pub target: String,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    #[serde(default = "ones")]
    pub cluster: [u32; 3],
    /// Dynamic shared memory.
    #[serde(default)]
    pub shared_bytes: u32,
    /// In the order of the PTX parameters.
    pub args: Vec<FileArg>,
}

fn ones() -> [u32; 3] {
    [1; 3]
}

/// One argument.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileArg {
    Buffer(BufferSpec),
    I8(i8),
    U8(u8),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    F16(f64),
    F32(f64),
    F64(f64),
    /// A null pointer.
    Null(bool),
    TensorMap(MapSpec),
}

/// A buffer that an argument points to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BufferSpec {
    pub dtype: String,
    /// Outermost first.
    pub shape: Vec<usize>,
    pub init: String,
    /// Where it is written after the launch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<String>,
}

/// Why a launch file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{}: {message}", path.display())]
    Json { path: PathBuf, message: String },
    #[error("argument {index}: unknown dtype {dtype:?}; it is one of {}", DTYPES.join(", "))]
    Dtype { index: usize, dtype: String },
    #[error("argument {index}: {shape:?} in the launch file, but {init} has shape {got:?}")]
    Shape { index: usize, shape: Vec<usize>, init: String, got: Vec<usize> },
    #[error("argument {index}: {seed:?} is no seed: random:SEED takes a whole number")]
    Seed { index: usize, seed: String },
    #[error("argument {index}, a tensor map: {message}")]
    BadMap { index: usize, message: String },
    #[error("argument {index}: {source}")]
    Load { index: usize, source: LoadError },
    #[error("argument {index}: {source}")]
    Tensor { index: usize, source: TensorError },
    #[error(transparent)]
    Store(#[from] NpyError),
    #[error(transparent)]
    Launch(#[from] LaunchError),
}

const DTYPES: [&str; 14] =
    ["f16", "bf16", "f32", "f64", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "e4m3", "e5m2"];

/// A launch with its memory.
#[derive(Clone, Debug)]
pub struct LoadedLaunch {
    pub ptx: String,
    pub buffers: Vec<HostTensor>,
    /// Where each buffer is written afterwards.
    pub outs: Vec<Option<String>>,
    pub args: Vec<Arg>,
}

impl LaunchFile {
    /// Reads a launch file.
    pub fn read(path: &Path) -> Result<LaunchFile, FileError> {
        let text =
            fs::read_to_string(path).map_err(|source| FileError::Read { path: path.into(), source })?;
        serde_json::from_str(&text)
            .map_err(|error| FileError::Json { path: path.into(), message: error.to_string() })
    }

    /// Reads the PTX and every `.npy`, and makes the other buffers. `folder` is where the launch file stands.
    pub fn load(&self, folder: &Path) -> Result<LoadedLaunch, FileError> {
        let path = folder.join(&self.ptx);
        let ptx = fs::read_to_string(&path).map_err(|source| FileError::Read { path, source })?;
        let mut loaded = LoadedLaunch { ptx, buffers: Vec::new(), outs: Vec::new(), args: Vec::new() };
        for (index, arg) in self.args.iter().enumerate() {
            let arg = match arg {
                FileArg::Buffer(spec) => {
                    loaded.buffers.push(spec.make(index, folder)?);
                    loaded.outs.push(spec.out.clone());
                    Arg::buffer(loaded.buffers.len() - 1)
                }
                // Those over other arguments' buffers come last, when all buffers are there.
                FileArg::TensorMap(spec) if spec.of.is_some() => Arg::null(),
                FileArg::TensorMap(spec) => {
                    let own = spec.buffer(index)?;
                    let buffer = own.make_any_shape(index, folder)?;
                    let map = spec.make(index, &own.dtype, &buffer)?;
                    loaded.buffers.push(buffer);
                    loaded.outs.push(own.out);
                    Arg::TensorMap { map, buffer: loaded.buffers.len() - 1 }
                }
                scalar => Arg::Scalar(scalar.bytes()),
            };
            loaded.args.push(arg);
        }
        for (index, arg) in self.args.iter().enumerate() {
            if let FileArg::TensorMap(spec) = arg
                && let Some(of) = spec.of
            {
                let bad = || FileError::BadMap { index, message: format!("argument {of} is no buffer") };
                let (buffer, dtype) = match (loaded.args.get(of), self.args.get(of)) {
                    (Some(Arg::Buffer { buffer, .. }), Some(FileArg::Buffer(spec))) => (*buffer, &spec.dtype),
                    _ => return Err(bad()),
                };
                let map = spec.make(index, dtype, &loaded.buffers[buffer])?;
                loaded.args[index] = Arg::TensorMap { map, buffer };
            }
        }
        Ok(loaded)
    }
}

impl LoadedLaunch {
    /// Lends the buffers' bytes to a launch, which may change them but not their sizes.
    pub fn with_buffers<R>(&mut self, run: impl FnOnce(&mut [Vec<u8>]) -> R) -> R {
        let mut bytes: Vec<Vec<u8>> =
            self.buffers.iter_mut().map(|b| std::mem::take(b.bytes_storage())).collect();
        let result = run(&mut bytes);
        for (buffer, bytes) in self.buffers.iter_mut().zip(bytes) {
            *buffer.bytes_storage() = bytes;
        }
        result
    }

    /// Writes the buffers that have an `out` into a folder; gives the paths.
    pub fn store_outputs(&self, folder: &Path) -> Result<Vec<PathBuf>, FileError> {
        let mut written = Vec::new();
        for (buffer, out) in self.buffers.iter().zip(&self.outs) {
            if let Some(out) = out {
                let path = folder.join(out);
                store(buffer, &path)?;
                written.push(path);
            }
        }
        Ok(written)
    }
}

impl FileArg {
    /// A scalar's little-endian bytes.
    fn bytes(&self) -> Vec<u8> {
        match *self {
            FileArg::I8(v) => v.to_le_bytes().to_vec(),
            FileArg::U8(v) => v.to_le_bytes().to_vec(),
            FileArg::I16(v) => v.to_le_bytes().to_vec(),
            FileArg::U16(v) => v.to_le_bytes().to_vec(),
            FileArg::I32(v) => v.to_le_bytes().to_vec(),
            FileArg::U32(v) => v.to_le_bytes().to_vec(),
            FileArg::I64(v) => v.to_le_bytes().to_vec(),
            FileArg::U64(v) => v.to_le_bytes().to_vec(),
            FileArg::F16(v) => (ElemType::F16.format().encode_f64(v) as u16).to_le_bytes().to_vec(),
            FileArg::F32(v) => (v as f32).to_le_bytes().to_vec(),
            FileArg::F64(v) => v.to_le_bytes().to_vec(),
            FileArg::Null(_) | FileArg::Buffer(_) | FileArg::TensorMap(_) => vec![0; 8],
        }
    }
}

impl MapSpec {
    /// The buffer that a map brings.
    fn buffer(&self, index: usize) -> Result<BufferSpec, FileError> {
        let (Some(dtype), Some(shape), Some(init)) = (&self.dtype, &self.shape, &self.init) else {
            let message = "it needs dtype, shape and init, or `of`".into();
            return Err(FileError::BadMap { index, message });
        };
        let shape = shape.iter().map(|&n| usize::try_from(n).unwrap_or(usize::MAX)).collect();
        let dtype = if dtype == "tf32" { "f32".into() } else { dtype.clone() };
        Ok(BufferSpec { dtype, shape, init: init.clone(), out: self.out.clone() })
    }
}

impl BufferSpec {
    fn make(&self, index: usize, folder: &Path) -> Result<HostTensor, FileError> {
        let read = self.make_any_shape(index, folder)?;
        if read.shape() != self.shape {
            let (shape, init) = (self.shape.clone(), self.init.clone());
            return Err(FileError::Shape { index, shape, init, got: read.shape().to_vec() });
        }
        Ok(read)
    }

    /// An .npy may have another shape: a map says itself what of it is covered.
    fn make_any_shape(&self, index: usize, folder: &Path) -> Result<HostTensor, FileError> {
        let known = DTYPES.contains(&self.dtype.as_str());
        let elem = ElemType::from_name(&self.dtype).filter(|_| known);
        let elem = elem.ok_or_else(|| FileError::Dtype { index, dtype: self.dtype.clone() })?;
        let tensor = |source| FileError::Tensor { index, source };
        if self.init == "zeros" {
            return HostTensor::zeros(elem, &self.shape).map_err(tensor);
        }
        if let Some(seed) = self.init.strip_prefix("random:") {
            let number = seed.parse().map_err(|_| FileError::Seed { index, seed: seed.into() })?;
            let stream = Stream::new(number, &format!("argument {index}"));
            let format = elem.format();
            let code = |n| {
                if elem.is_float() {
                    format.encode_f64(stream.normal(n as u64))
                } else {
                    stream.bits(n as u64)
                }
            };
            return HostTensor::from_codes(elem, &self.shape, code).map_err(tensor);
        }
        load(&folder.join(&self.init), elem).map_err(|source| FileError::Load { index, source })
    }
}

/// Writes a launch into a folder: the PTX, the inputs, LAUNCH.json. Gives the launch file's path.
///
/// Tensors that are not dense, and types that launch files do not have, go out as they lie in memory: flat, as integers of their width.
pub fn save(
    folder: &Path,
    compiled: &Compiled,
    launch: &DeviceLaunch,
    prepared: &Prepared,
    number: usize,
) -> Result<PathBuf, FileError> {
    let write = |path: PathBuf, text: &str| match fs::write(&path, text) {
        Ok(()) => Ok(path),
        Err(source) => Err(FileError::Write { path, source }),
    };
    fs::create_dir_all(folder).map_err(|source| FileError::Write { path: folder.into(), source })?;
    let ptx = format!("{}.ptx", compiled.kernel.name);
    write(folder.join(&ptx), &compiled.ptx)?;
    let mut args = Vec::new();
    let mut packed = match compiled.meta.launches.get(number) {
        Some(plan) => prepared.packed_as(&compiled.kernel, plan)?,
        None => Vec::new(),
    };
    for param in &launch.params {
        args.push(match param {
            ParamValue::Number(scalar) => number_arg(*scalar),
            ParamValue::Parts => zeros(launch.workspace.map_or(0, |w| w.parts)),
            ParamValue::Counters => zeros(launch.workspace.map_or(0, |w| w.counters)),
            ParamValue::Pointer(t) => {
                let tensor = &compiled.kernel.tensors[t.0 as usize];
                let stored = match packed.iter_mut().find(|(n, _)| *n == t.0 as usize) {
                    Some((_, bytes)) => {
                        let bytes = std::mem::take(bytes).into_owned();
                        HostTensor::from_bytes(ElemType::Uint(8), &[bytes.len()], bytes)
                    }
                    None => Ok(prepared.tensors[t.0 as usize].clone()),
                };
                let (storage, elem) = stored
                    .and_then(|stored| as_stored(&stored))
                    .map_err(|source| FileError::Tensor { index: args.len(), source })?;
                let init = if tensor.kind == TensorKind::Out {
                    "zeros".to_string()
                } else {
                    let name = format!("{}.npy", tensor.name);
                    store(&storage, &folder.join(&name))?;
                    name
                };
                let out = tensor.kind.writable().then(|| format!("{}_out.npy", tensor.name));
                FileArg::Buffer(BufferSpec { dtype: elem.into(), shape: storage.shape().to_vec(), init, out })
            }
        });
    }
    let file = LaunchFile {
        ptx,
        kernel: launch.entry.clone(),
        target: compiled.target.name().into(),
        grid: launch.grid,
        block: launch.block,
        cluster: launch.cluster,
        shared_bytes: launch.shared_bytes,
        args,
    };
    let name = if number == 0 { "LAUNCH.json".into() } else { format!("LAUNCH_{number}.json") };
    let path = folder.join(name);
    let text = serde_json::to_string_pretty(&file)
        .map_err(|error| FileError::Json { path: path.clone(), message: error.to_string() })?;
    write(path, &(text + "\n"))
}

/// Words of zeros.
fn zeros(bytes: u64) -> FileArg {
    let shape = vec![bytes.div_ceil(4) as usize];
    FileArg::Buffer(BufferSpec { dtype: "u32".into(), shape, init: "zeros".into(), out: None })
}

fn number_arg(scalar: super::device_launch::Scalar) -> FileArg {
    use super::device_launch::Scalar;
    match scalar {
        Scalar::U8(v) => FileArg::U8(v),
        Scalar::U16(v) => FileArg::U16(v),
        Scalar::U32(v) => FileArg::U32(v),
        Scalar::U64(v) => FileArg::U64(v),
        Scalar::I32(v) => FileArg::I32(v),
        Scalar::I64(v) => FileArg::I64(v),
        // JSON has no NaN and no infinity; the bits are what the kernel gets either way.
        Scalar::F32(v) => FileArg::U32(v.to_bits()),
        Scalar::F64(v) => FileArg::U64(v.to_bits()),
    }
}

/// A tensor's memory as a dense tensor of a type that launch files have.
fn as_stored(tensor: &HostTensor) -> Result<(HostTensor, &'static str), TensorError> {
    let name = tensor.elem().to_string();
    if tensor.is_dense()
        && let Some(dtype) = DTYPES.iter().find(|d| **d == name)
    {
        return Ok((tensor.to_dense(), dtype));
    }
    let (elem, dtype) = match tensor.elem().bits() {
        16 => (ElemType::Uint(16), "u16"),
        32 => (ElemType::Uint(32), "u32"),
        64 => (ElemType::Uint(64), "u64"),
        _ => (ElemType::Uint(8), "u8"),
    };
    let bytes = tensor.bytes().to_vec();
    let count = bytes.len() / (elem.bits() / 8) as usize;
    Ok((HostTensor::from_bytes(elem, &[count], bytes)?, dtype))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"{"ptx": "k.ptx", "kernel": "k", "target": "sm_80", "grid": [8, 4, 1], "block": [128, 1, 1],
        "args": [{"buffer": {"dtype": "f16", "shape": [2, 2], "init": "random:3"}},
                 {"buffer": {"dtype": "i32", "shape": [3], "init": "zeros", "out": "c.npy"}},
                 {"i32": -5}, {"f32": 0.125}, {"u64": 7}, {"null": true}]}"#;

    fn folder_with(json: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("LAUNCH.json"), json).unwrap();
        fs::write(folder.path().join("k.ptx"), "// nothing").unwrap();
        folder
    }

    #[test]
    fn a_launch_file_is_read() {
        let folder = folder_with(EXAMPLE);
        let file = LaunchFile::read(&folder.path().join("LAUNCH.json")).unwrap();
        assert_eq!((file.cluster, file.shared_bytes), ([1; 3], 0));
        let loaded = file.load(folder.path()).unwrap();
        assert_eq!(loaded.buffers.len(), 2);
        assert_eq!(loaded.args[2], Arg::i32(-5));
        assert_eq!(loaded.args[3], Arg::f32(0.125));
        assert_eq!(loaded.args[5], Arg::null());
        let written = loaded.store_outputs(folder.path()).unwrap();
        assert_eq!(load(&written[0], ElemType::I32).unwrap().to_i64(), [0, 0, 0]);
        let again: LaunchFile = serde_json::from_str(&serde_json::to_string(&file).unwrap()).unwrap();
        assert_eq!(again, file);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            (r#""f16""#, r#""f12""#, "argument 0: unknown dtype \"f12\"; it is one of f16, bf16"),
            ("random:3", "random:x", "argument 0: \"x\" is no seed"),
            ("random:3", "none.npy", "argument 0: cannot read"),
            (r#""grid""#, r#""grids""#, "unknown field `grids`"),
            ("k.ptx", "other.ptx", "cannot read"),
        ];
        for (from, to, expected) in cases {
            let folder = folder_with(&EXAMPLE.replace(from, to));
            let error = LaunchFile::read(&folder.path().join("LAUNCH.json"))
                .and_then(|file| file.load(folder.path()))
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error:?} does not say {expected:?}");
        }
    }

    #[test]
    fn strided_and_packed_tensors_are_stored_as_they_lie() {
        let f16 = HostTensor::from_f64(ElemType::F16, &[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert_eq!(as_stored(&f16).unwrap().1, "f16");
        let view = f16.clone().transposed(&[1, 0]).unwrap();
        let (stored, dtype) = as_stored(&view).unwrap();
        assert_eq!((dtype, stored.shape(), stored.bytes()), ("u16", &[6][..], f16.bytes()));
        let u3 = HostTensor::from_i64(ElemType::Uint(3), &[2, 3], &[1, 2, 3, 4, 5, 6]).unwrap();
        let (stored, dtype) = as_stored(&u3).unwrap();
        assert_eq!((dtype, stored.shape()), ("u8", &[4][..]));
    }
}
