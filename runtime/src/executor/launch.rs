//! What goes into a launch and what comes out: the types that the command line, `tilewright run` and tests share.
//!
//! ```text
//! Launch { ptx text, entry, grid, block, shared_bytes, args, buffers, options }  --run-->  Outcome { findings, stats, time }
//! ```
//! Buffers are the caller's; a kernel reaches them only through the pointers among `args`, and every access is checked
//! against the buffer that the pointer's *address* falls in (buffers live in guarded windows of a made-up address space, so
//! an address between two buffers belongs to nobody).

use std::time::Duration;

use super::finding::Finding;
pub use super::memory::tensor_map::{Swizzle, TensorMap, Window};
pub use super::program::BulkType as ElementType;
use super::stats::Stats;
use super::trace::Trace;

/// One kernel parameter, in the order of the PTX parameter list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arg {
    /// A pointer: buffer number `buffer` of [`Launch::buffers`], `offset` bytes in.
    Buffer { buffer: usize, offset: u64 },
    /// A tensor map by value, of buffer number `buffer`; its address is an offset in that buffer.
    TensorMap { map: TensorMap, buffer: usize },
    /// A null pointer (or any other scalar, as its little-endian bytes).
    Scalar(Vec<u8>),
}

impl Arg {
    pub fn i32(value: i32) -> Arg {
        Arg::Scalar(value.to_le_bytes().to_vec())
    }

    pub fn i64(value: i64) -> Arg {
        Arg::Scalar(value.to_le_bytes().to_vec())
    }

    pub fn f32(value: f32) -> Arg {
        Arg::Scalar(value.to_le_bytes().to_vec())
    }

    pub fn null() -> Arg {
        Arg::Scalar(vec![0; 8])
    }

    pub fn buffer(buffer: usize) -> Arg {
        Arg::Buffer { buffer, offset: 0 }
    }
}

/// How to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Race clocks, in-flight tracking and initialisation tracking of shared memory.
    pub sanitize: bool,
    /// A relaxed atomic acquires nothing until a fence follows, as the memory model says. Else the block's next barrier is taken for one, as
    /// in the last-block reductions of CUDA's guide.
    pub strict: bool,
    /// Asynchronous copies happen when the wait that retires them forces them, not at issue. `sanitize` implies it.
    pub lazy: bool,
    /// Permutes the order in which warps (and blocks) get their turn; 0 is the natural order.
    pub seed: u64,
    /// Count instructions, bank conflicts and sectors.
    pub stats: bool,
    /// Record what the first block (with its cluster) does. Its asynchronous work is then done at issue, so this excludes `sanitize`.
    pub trace: bool,
    /// Give up after this long.
    pub timeout: Option<Duration>,
    /// Threads to use; `None`: one per core.
    pub threads: Option<usize>,
}

/// One launch of one kernel.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The PTX module as text.
    pub ptx: &'a str,
    /// Name of the `.entry`.
    pub entry: &'a str,
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Blocks of a cluster in x, y, z; all ones where there are none.
    pub cluster: [u32; 3],
    /// Dynamic shared memory, beside what the kernel declares.
    pub shared_bytes: u32,
    pub args: Vec<Arg>,
    pub buffers: &'a mut [Vec<u8>],
    pub options: Options,
}

/// What happened.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Faults of the kernel. After a fatal one (out of bounds, deadlock, ...) the buffers hold whatever had been written.
    pub findings: Vec<Finding>,
    pub stats: Stats,
    /// With `Options::trace`.
    pub trace: Option<Trace>,
    /// Parsing, checking and compiling.
    pub compile_time: Duration,
    /// Execution.
    pub run_time: Duration,
    /// What the kernel printed (`vprintf`), block by block; within a block in the order in which it happened.
    pub printed: String,
}

/// Why a launch could not even start. Each variant says whose fault it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// The text is not PTX.
    #[error("PTX line {line}: {message}")]
    Parse { line: u32, message: String },
    /// Legal PTX perhaps, but nothing that the executor knows.
    #[error("PTX line {line}: the executor does not support `{instruction}`: {why}")]
    Unsupported { line: u32, instruction: String, why: String },
    /// The PTX contradicts itself (undeclared register, wrong operand types, missing label).
    #[error("PTX line {line}: {message}")]
    Invalid { line: u32, message: String },
    /// Several of the above, by line.
    #[error("{}", lines(.0))]
    Several(Vec<ExecError>),
    /// The launch does not fit the kernel.
    #[error("{0}")]
    BadLaunch(String),
    /// A fault of the executor.
    #[error("internal error of the executor: {0}")]
    Internal(String),
}

/// An error a line.
fn lines(errors: &[ExecError]) -> String {
    errors.iter().map(ExecError::to_string).collect::<Vec<_>>().join("\n")
}

/// Most mistakes of a PTX text that are told at once.
const MOST_ERRORS: usize = 20;

impl ExecError {
    /// One error for all mistakes of a text; `None` if there are none.
    pub(super) fn of_all(mut errors: Vec<ExecError>) -> Option<ExecError> {
        errors.truncate(MOST_ERRORS);
        if errors.len() > 1 { Some(ExecError::Several(errors)) } else { errors.pop() }
    }

    /// The PTX line that it is about, the first one if there are several.
    pub fn line(&self) -> Option<u32> {
        match self {
            ExecError::Parse { line, .. }
            | ExecError::Unsupported { line, .. }
            | ExecError::Invalid { line, .. } => Some(*line),
            ExecError::Several(all) => all.first().and_then(ExecError::line),
            ExecError::BadLaunch(_) | ExecError::Internal(_) => None,
        }
    }

    /// Each mistake by itself.
    pub fn each(&self) -> &[ExecError] {
        match self {
            ExecError::Several(all) => all,
            one => std::slice::from_ref(one),
        }
    }
}
