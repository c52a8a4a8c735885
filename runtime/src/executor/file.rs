//! `LAUNCH.json`: a launch described in a file, as `tilewright exec` reads it.
//!
//! ```json
//! {"ptx": "gemm.ptx", "kernel": "gemm", "target": "sm_80", "grid": [8, 4, 1], "block": [128, 1, 1], "shared_bytes": 49152,
//!  "args": [{"buffer": {"dtype": "f16", "shape": [256, 512], "init": "a.npy"}},
//!           {"buffer": {"dtype": "f32", "shape": [256], "init": "zeros", "out": "c.npy"}},
//!           {"i32": 512}, {"f32": 0.125}, {"null": true}]}
//! ```
//! Paths are relative to the file. `init` is an .npy, `"zeros"` or `"random:SEED"`; `out` is written after the launch.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::finding::Finding;
use super::launch::{Arg, ExecError, Launch, Options};
use super::stats::Stats;
use crate::tensor::random::Stream;
use crate::tensor::{NpyArray, NpyKind, NpyType};

/// What the command line adds to a launch file.
#[derive(Clone, Debug, Default)]
pub struct FileOptions {
    pub sanitize: bool,
    pub stats: bool,
    pub seed: u64,
    pub timeout: Option<Duration>,
    /// Where outputs go; beside the launch file if absent.
    pub out_dir: Option<PathBuf>,
    pub threads: Option<usize>,
}

/// The result of running a launch file.
#[derive(Clone, Debug)]
pub struct FileReport {
    pub findings: Vec<Finding>,
    pub stats: Stats,
    pub compile_time: Duration,
    pub run_time: Duration,
    /// Files written.
    pub outputs: Vec<PathBuf>,
    /// Whether statistics were asked for.
    pub with_stats: bool,
}

impl FileReport {
    /// Whether the kernel did nothing wrong.
    pub fn ok(&self) -> bool {
        self.findings.is_empty()
    }

    /// The report of `--json`.
    pub fn to_json(&self) -> Value {
        let findings: Vec<Value> = self
            .findings
            .iter()
            .map(|f| {
                let source = f.source.as_ref().map(|s| json!({"file": s.file, "line": s.line}));
                json!({"kind": f.kind.name(), "line": f.line, "other_line": f.other_line, "message": f.message, "source": source, "block": f.block})
            })
            .collect();
        let mut report = json!({
            "ok": self.ok(),
            "time_ms": self.run_time.as_secs_f64() * 1e3,
            "compile_ms": self.compile_time.as_secs_f64() * 1e3,
            "warp_instructions": self.stats.warp_instructions,
            "findings": findings,
        });
        if self.with_stats
            && let (Some(report), Ok(stats)) = (report.as_object_mut(), serde_json::to_value(&self.stats))
        {
            report.insert("stats".into(), stats);
            report.insert("bank_conflicts".into(), json!(self.stats.bank_conflicts()));
        }
        report
    }
}

/// Why a launch file could not be run. All but [`ExecError::Internal`] are the file's fault.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{}: {message}", path.display())]
    File { path: PathBuf, message: String },
    #[error(transparent)]
    Exec(#[from] ExecError),
}

/// A dtype of a launch file: its name in NumPy and the bytes of an element.
fn numpy_type(dtype: &str) -> Option<NpyType> {
    let (kind, size) = match dtype {
        "f16" => (NpyKind::Float, 2),
        "f32" => (NpyKind::Float, 4),
        "f64" => (NpyKind::Float, 8),
        "bf16" | "u16" => (NpyKind::Uint, 2),
        "u8" | "e4m3" | "e5m2" => (NpyKind::Uint, 1),
        "u32" => (NpyKind::Uint, 4),
        "u64" => (NpyKind::Uint, 8),
        "i8" => (NpyKind::Int, 1),
        "i16" => (NpyKind::Int, 2),
        "i32" => (NpyKind::Int, 4),
        "i64" => (NpyKind::Int, 8),
        _ => return None,
    };
    Some(NpyType { kind, size })
}

/// Random contents: standard normal numbers for floats, uniform bits for integers and codes.
fn random(dtype: &str, elements: usize, size: usize, stream: Stream) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(elements * size);
    for n in 0..elements as u64 {
        match dtype {
            "f16" => bytes.extend(half::f16::from_f64(stream.normal(n)).to_le_bytes()),
            "bf16" => bytes.extend(half::bf16::from_f64(stream.normal(n)).to_le_bytes()),
            "f32" => bytes.extend((stream.normal(n) as f32).to_le_bytes()),
            "f64" => bytes.extend(stream.normal(n).to_le_bytes()),
            _ => bytes.extend(&stream.bits(n).to_le_bytes()[..size]),
        }
    }
    bytes
}

/// A scalar argument's bytes.
fn scalar(kind: &str, value: &Value) -> Option<Vec<u8>> {
    let integer = || value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
    let fits = |low: i128, high: i128, size: usize| {
        let v = integer()?;
        (low..=high).contains(&v).then(|| v.to_le_bytes()[..size].to_vec())
    };
    // Non-finite numbers have no literal in JSON; strings stand for them.
    let float = || value.as_f64().or_else(|| value.as_str().and_then(|s| s.parse().ok()));
    match kind {
        "i8" => fits(i8::MIN.into(), u8::MAX.into(), 1),
        "u8" => fits(0, u8::MAX.into(), 1),
        "i16" => fits(i16::MIN.into(), u16::MAX.into(), 2),
        "u16" => fits(0, u16::MAX.into(), 2),
        "i32" => fits(i32::MIN.into(), u32::MAX.into(), 4),
        "u32" => fits(0, u32::MAX.into(), 4),
        "i64" => fits(i64::MIN.into(), u64::MAX.into(), 8),
        "u64" => fits(0, u64::MAX.into(), 8),
        "f16" => float().map(|v| half::f16::from_f64(v).to_le_bytes().to_vec()),
        "f32" => float().map(|v| (v as f32).to_le_bytes().to_vec()),
        "f64" => float().map(|v| v.to_le_bytes().to_vec()),
        "null" => Some(vec![0; 8]),
        _ => None,
    }
}

struct Reader<'p> {
    path: &'p Path,
}

impl Reader<'_> {
    fn fail<T>(&self, message: impl Into<String>) -> Result<T, FileError> {
        Err(FileError::File { path: self.path.into(), message: message.into() })
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new(".")).join(name)
    }

    fn text<'v>(&self, object: &'v Map<String, Value>, key: &str) -> Result<&'v str, FileError> {
        match object.get(key).and_then(Value::as_str) {
            Some(text) => Ok(text),
            None => self.fail(format!("`{key}` is missing or not a string")),
        }
    }

    fn triple(&self, object: &Map<String, Value>, key: &str) -> Result<[u32; 3], FileError> {
        let Some(list) = object.get(key).and_then(Value::as_array) else {
            return self.fail(format!("`{key}` is missing or not a list"));
        };
        let mut out = [1; 3];
        if list.len() > 3 {
            return self.fail(format!("`{key}` has more than three numbers"));
        }
        for (slot, value) in out.iter_mut().zip(list) {
            match value.as_u64().and_then(|v| u32::try_from(v).ok()) {
                Some(v) => *slot = v,
                None => {
                    return self
                        .fail(format!("`{key}` holds {value}, which is no number of blocks or threads"));
                }
            }
        }
        Ok(out)
    }

    fn buffer(&self, number: usize, spec: &Value) -> Result<Buffer, FileError> {
        let Some(spec) = spec.as_object() else {
            return self.fail(format!("argument {number}: `buffer` is no object"));
        };
        let dtype = self.text(spec, "dtype")?;
        let Some(ty) = numpy_type(dtype) else {
            return self.fail(format!("argument {number}: no dtype `{dtype}`"));
        };
        let shape: Option<Vec<usize>> = spec
            .get("shape")
            .and_then(Value::as_array)
            .and_then(|dims| dims.iter().map(|d| d.as_u64().and_then(|d| usize::try_from(d).ok())).collect());
        let Some(shape) = shape else {
            return self.fail(format!("argument {number}: `shape` is no list of sizes"));
        };
        let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|n| *n < 1 << 36);
        let Some(elements) = elements else {
            return self.fail(format!("argument {number}: shape {shape:?} is too big"));
        };
        let init = spec.get("init").and_then(Value::as_str).unwrap_or("zeros");
        let bytes = if init == "zeros" {
            vec![0; elements * ty.size]
        } else if let Some(seed) = init.strip_prefix("random:") {
            let Ok(seed) = seed.parse() else {
                return self.fail(format!("argument {number}: `{init}` has no number"));
            };
            random(dtype, elements, ty.size, Stream::new(seed, &number.to_string()))
        } else {
            let path = self.beside(init);
            let array = NpyArray::read(&path)
                .map_err(|e| FileError::File { path: self.path.into(), message: e.to_string() })?;
            let opaque = array.ty.kind == NpyKind::Void && array.ty.size == ty.size;
            if array.ty != ty && !opaque {
                return self.fail(format!(
                    "argument {number} is {dtype} (NumPy's {ty}), but {init} holds {}",
                    array.ty
                ));
            }
            if array.shape != shape {
                return self.fail(format!(
                    "argument {number} has shape {shape:?}, but {init} has {:?}",
                    array.shape
                ));
            }
            array.bytes
        };
        let out = spec.get("out").and_then(Value::as_str).map(str::to_string);
        Ok(Buffer { bytes, out, ty, shape })
    }
}

struct Buffer {
    bytes: Vec<u8>,
    out: Option<String>,
    ty: NpyType,
    shape: Vec<usize>,
}

/// Runs the launch in file `path` and writes its outputs.
///
/// # Errors
/// [`FileError`] if the file, what it names, or its PTX is wrong.
pub fn launch_file(path: &Path, options: &FileOptions) -> Result<FileReport, FileError> {
    let reader = Reader { path };
    let text = std::fs::read_to_string(path).or_else(|e| reader.fail(e.to_string()))?;
    let value: Value = serde_json::from_str(&text).or_else(|e| reader.fail(format!("not JSON: {e}")))?;
    let Some(launch) = value.as_object() else { return reader.fail("not a JSON object") };
    let ptx_path = reader.beside(reader.text(launch, "ptx")?);
    let ptx = std::fs::read_to_string(&ptx_path)
        .or_else(|e| reader.fail(format!("{}: {e}", ptx_path.display())))?;
    let entry = reader.text(launch, "kernel")?;
    let (grid, block) = (reader.triple(launch, "grid")?, reader.triple(launch, "block")?);
    if launch.contains_key("cluster") && reader.triple(launch, "cluster")? != [1, 1, 1] {
        return reader.fail("clusters of more than one block cannot be run yet");
    }
    let shared_bytes =
        match launch.get("shared_bytes").map(|v| v.as_u64().and_then(|v| u32::try_from(v).ok())) {
            None => 0,
            Some(Some(bytes)) => bytes,
            Some(None) => return reader.fail("`shared_bytes` is no number of bytes"),
        };
    let empty = Vec::new();
    let mut args = Vec::new();
    let mut files = Vec::new();
    for (number, spec) in launch.get("args").and_then(Value::as_array).unwrap_or(&empty).iter().enumerate() {
        let Some((kind, value)) = spec.as_object().filter(|o| o.len() == 1).and_then(|o| o.iter().next())
        else {
            return reader.fail(format!("argument {number} is no object with one key"));
        };
        match kind.as_str() {
            "buffer" => {
                args.push(Arg::buffer(files.len()));
                files.push(reader.buffer(number, value)?);
            }
            "tensormap" => return reader.fail(format!("argument {number}: tensor maps cannot be run yet")),
            kind => match scalar(kind, value) {
                Some(bytes) => args.push(Arg::Scalar(bytes)),
                None => {
                    return reader.fail(format!("argument {number}: {value} is no value of type `{kind}`"));
                }
            },
        }
    }
    let mut buffers: Vec<Vec<u8>> = files.iter_mut().map(|f| std::mem::take(&mut f.bytes)).collect();
    let outcome = super::run(Launch {
        ptx: &ptx,
        entry,
        grid,
        block,
        shared_bytes,
        args,
        buffers: &mut buffers,
        options: Options {
            sanitize: options.sanitize,
            lazy: options.sanitize,
            seed: options.seed,
            stats: options.stats,
            timeout: options.timeout,
            threads: options.threads,
        },
    })?;
    let mut outputs = Vec::new();
    for (file, bytes) in files.into_iter().zip(buffers) {
        let Some(out) = file.out else { continue };
        let target = match &options.out_dir {
            Some(dir) => dir.join(Path::new(&out).file_name().unwrap_or(out.as_ref())),
            None => reader.beside(&out),
        };
        let array = NpyArray { ty: file.ty, shape: file.shape, bytes };
        array.write(&target).or_else(|e| reader.fail(e.to_string()))?;
        outputs.push(target);
    }
    Ok(FileReport {
        findings: outcome.findings,
        stats: outcome.stats,
        compile_time: outcome.compile_time,
        run_time: outcome.run_time,
        outputs,
        with_stats: options.stats,
    })
}
