//! The executor: runs PTX on the CPU, checked.
//!
//! Any PTX for the supported instruction set is its input, ours or another compiler's.
//!
//! ```text
//! PTX text --parse--> typed PTX --decode--> Program --codegen--> machine code
//!                                              |                     |
//!                     launch: blocks -> warps -> steps <-------------+
//! ```
//!
//! | folder | holds |
//! | --- | --- |
//! | `launch.rs`, `finding.rs`, `stats.rs`, `trace.rs` | what goes in and what comes out |
//! | `frame.rs` | where a warp's registers live |
//! | `program/`, `decode/` | the decoded kernel, and how PTX becomes one |
//! | `codegen/` | runs of lane-local instructions as machine code |
//! | `lanes/` | lane-local functions that Cranelift lacks |
//! | `matrix/` | matrix instructions |
//! | `memory/` | the address space of a launch |
//! | `engine/` | warps, blocks, barriers, scheduling |
//! | `shadow/` | race clocks, in-flight and initialisation tracking |

//!
//! # A unit test of a kernel
//!
//! [`run`] takes PTX as text and buffers that are the caller's; they hold the results afterwards. `examples/test_a_kernel.rs` in the
//! repository is the long form of this:
//!
//! ```
//! use tilewright_runtime::executor::{Arg, FindingKind, Launch, Options, run};
//!
//! // out[i] = in[i] of the neighbouring thread, through shared memory.
//! const PTX: &str = "
//! .version 8.0
//! .target sm_80
//! .address_size 64
//! .visible .entry swap(.param .u64 in, .param .u64 out) {
//!     .reg .b32 %r<6>; .reg .b64 %rd<6>;
//!     .shared .align 4 .b8 buf[256];
//!     ld.param.u64 %rd0, [in];  ld.param.u64 %rd1, [out];
//!     mov.u32 %r0, %tid.x;      mul.wide.u32 %rd2, %r0, 4;
//!     add.u64 %rd0, %rd0, %rd2; add.u64 %rd1, %rd1, %rd2;
//!     mov.u32 %r1, buf;         shl.b32 %r2, %r0, 2;       add.u32 %r3, %r1, %r2;
//!     ld.global.b32 %r4, [%rd0];
//!     st.shared.b32 [%r3], %r4;
//!     bar.sync 0;
//!     xor.b32 %r2, %r2, 128;    add.u32 %r3, %r1, %r2;
//!     ld.shared.b32 %r4, [%r3];
//!     st.global.b32 [%rd1], %r4;
//!     ret;
//! }";
//!
//! fn outcome(ptx: &str) -> (Vec<FindingKind>, Vec<u8>) {
//!     let mut buffers = vec![(0..64u32).flat_map(u32::to_le_bytes).collect(), vec![0; 256]];
//!     let outcome = run(Launch {
//!         ptx,
//!         entry: "swap",
//!         grid: [1, 1, 1],
//!         block: [64, 1, 1],
//!         cluster: [1, 1, 1],
//!         shared_bytes: 0,
//!         args: vec![Arg::buffer(0), Arg::buffer(1)],
//!         buffers: &mut buffers,
//!         options: Options { sanitize: true, ..Options::default() },
//!     })
//!     .expect("it can be launched");
//!     (outcome.findings.iter().map(|f| f.kind).collect(), buffers.swap_remove(1))
//! }
//!
//! let (findings, out) = outcome(PTX);
//! assert_eq!(findings, []);
//! assert_eq!(out[..4], 32u32.to_le_bytes());
//! // Without the barrier the warps race, whatever the result happens to be.
//! let (findings, _) = outcome(&PTX.replace("bar.sync 0;", ""));
//! assert!(findings.contains(&FindingKind::Race));
//! ```

mod codegen;
mod decode;
mod engine;
pub mod finding;
mod frame;
mod lanes;
pub mod launch;
mod matrix;
mod memory;
mod program;
mod shadow;
pub mod stats;
pub mod trace;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};
use std::time::Instant;

use tilewright_compiler::ptx;

pub use finding::{Finding, FindingKind, Findings, SourceLoc};
pub use launch::{Arg, ElementType, ExecError, Launch, Options, Outcome, Swizzle, TensorMap, Window};
pub use stats::{Gpu, MemoryCount, Roofline, Stats};
pub use trace::Trace;

/// A parsed and compiled kernel, to be launched any number of times on the caller's buffers.
///
/// [`run`] is one launch of text. With an `Executor` a kernel is parsed and compiled once:
///
/// ```
/// use tilewright_compiler::ptx;
/// use tilewright_runtime::executor::{Arg, Executor, Grid, Options};
///
/// let text = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry twice(.param .u64 p) { .reg .b32 %r<3>; .reg .b64 %rd<3>;
///     ld.param.u64 %rd0, [p]; mov.u32 %r0, %tid.x; mul.wide.u32 %rd1, %r0, 4; add.u64 %rd0, %rd0, %rd1;
///     ld.global.b32 %r1, [%rd0]; add.u32 %r1, %r1, %r1; st.global.b32 [%rd0], %r1; ret; }";
/// let module = ptx::parse(text).expect("it is PTX");
/// let executor = Executor::new(&module, "twice", 1).expect("it is supported");
/// let mut buffers = [21u32.to_le_bytes().to_vec()];
/// let shape = Grid { block: [1, 1, 1], ..Grid::default() };
/// for _ in 0..2 {
///     let outcome = executor.launch(&shape, &[Arg::buffer(0)], &mut buffers, &Options::default()).expect("it fits");
///     assert!(outcome.findings.is_empty());
/// }
/// assert_eq!(buffers[0], 84u32.to_le_bytes());
/// ```
#[derive(Debug)]
pub struct Executor {
    kernel: engine::Kernel,
}

/// The shape of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Blocks of a cluster in x, y, z; all ones where there are none.
    pub cluster: [u32; 3],
    /// Dynamic shared memory, beside what the kernel declares.
    pub shared_bytes: u32,
}

impl Default for Grid {
    /// One block of a warp.
    fn default() -> Grid {
        Grid { grid: [1; 3], block: [32, 1, 1], cluster: [1; 3], shared_bytes: 0 }
    }
}

impl Executor {
    /// Checks and compiles `entry` of a parsed module, for launches with `buffers` buffers.
    ///
    /// # Errors
    /// [`ExecError`] if there is no such entry, or if it contains what the executor does not support.
    pub fn new(module: &ptx::Module, entry: &str, buffers: usize) -> Result<Executor, ExecError> {
        let program = decode::decode(module, entry, buffers)?;
        Ok(Executor { kernel: engine::Kernel::compile(program)? })
    }

    /// Runs it on the caller's buffers, as many as were promised; `args` are in the order of the PTX parameters. `compile_time` of the outcome
    /// is zero.
    ///
    /// # Errors
    /// [`ExecError::BadLaunch`] if the launch does not fit the kernel; faults of the running kernel are findings of the outcome.
    pub fn launch(
        &self,
        shape: &Grid,
        args: &[Arg],
        buffers: &mut [Vec<u8>],
        options: &Options,
    ) -> Result<Outcome, ExecError> {
        let Grid { grid, block, cluster, shared_bytes } = *shape;
        engine::launch(&self.kernel, grid, block, cluster, shared_bytes, args, buffers, options)
    }
}

/// Parses, checks, compiles and runs one launch. The last few kernels are kept compiled, so that the same text is not compiled anew.
///
/// # Errors
/// [`ExecError`] if the launch could not start; faults of the running kernel are findings of the outcome.
pub fn run(launch: Launch<'_>) -> Result<Outcome, ExecError> {
    let started = Instant::now();
    let executor = compiled(launch.ptx, launch.entry, launch.buffers.len())?;
    let compile_time = started.elapsed();
    let Launch { grid, block, cluster, shared_bytes, .. } = launch;
    let shape = Grid { grid, block, cluster, shared_bytes };
    let mut outcome = executor.launch(&shape, &launch.args, launch.buffers, &launch.options)?;
    outcome.compile_time = compile_time;
    Ok(outcome)
}

/// Kernels that were compiled lately: text, entry, number of buffers.
type Compiled = ((String, String, usize), Arc<Executor>);

/// Kernels that are kept compiled.
const KEPT: usize = 8;

/// The compiled kernel, from the last few if it is among them.
fn compiled(text: &str, entry: &str, buffers: usize) -> Result<Arc<Executor>, ExecError> {
    static CACHE: Mutex<Vec<Compiled>> = Mutex::new(Vec::new());
    let lock = || CACHE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let known =
        lock().iter().find(|((t, e, n), _)| *n == buffers && e == entry && t == text).map(|(_, k)| k.clone());
    if let Some(executor) = known {
        return Ok(executor);
    }
    let (module, errors) = ptx::parse_partly(text);
    // Mistakes in other kernels, and in functions that this one does not call, do not matter here.
    let reached = decode::reached(&module, entry);
    let known = |name: &str| {
        module.entry(name).is_some() || module.functions.iter().any(|function| &*function.code.name == name)
    };
    let elsewhere = |name: &str| name != entry && known(name) && !reached.contains(&name);
    let errors = errors.into_iter().filter(|error| !error.within.as_deref().is_some_and(elsewhere));
    let errors = errors.map(|error| ExecError::Parse { line: error.line, message: error.kind.to_string() });
    if let Some(error) = ExecError::of_all(errors.collect()) {
        return Err(error);
    }
    let executor = Arc::new(Executor::new(&module, entry, buffers)?);
    let mut cache = lock();
    if cache.len() >= KEPT {
        cache.remove(0);
    }
    cache.push(((text.into(), entry.into(), buffers), executor.clone()));
    Ok(executor)
}
