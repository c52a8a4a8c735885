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
//! | `launch.rs`, `finding.rs`, `stats.rs` | what goes in and what comes out |
//! | `frame.rs` | where a warp's registers live |
//! | `program/`, `decode/` | the decoded kernel, and how PTX becomes one |
//! | `codegen/` | runs of lane-local instructions as machine code |
//! | `lanes/` | lane-local functions that Cranelift lacks |
//! | `matrix/` | matrix instructions |
//! | `memory/` | the address space of a launch |
//! | `engine/` | warps, blocks, barriers, scheduling |
//! | `shadow/` | race clocks, in-flight and initialisation tracking |

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

#[cfg(test)]
mod tests;

use std::time::Instant;

use tilewright_compiler::ptx;

pub use finding::{Finding, FindingKind, Findings, SourceLoc};
pub use launch::{Arg, ElementType, ExecError, Launch, Options, Outcome, Swizzle, TensorMap};
pub use stats::{MemoryCount, Stats};

/// Parses, checks, compiles and runs one launch.
///
/// # Errors
/// [`ExecError`] if the launch could not start; faults of the running kernel are findings of the outcome.
pub fn run(launch: Launch<'_>) -> Result<Outcome, ExecError> {
    let started = Instant::now();
    let module = ptx::parse(launch.ptx).map_err(|errors| match errors.first() {
        Some(error) => ExecError::Parse { line: error.line, message: error.kind.to_string() },
        None => ExecError::Internal("the parser failed without an error".into()),
    })?;
    let program = decode::decode(&module, launch.entry, launch.buffers.len())?;
    let kernel = engine::Kernel::compile(program)?;
    let compile_time = started.elapsed();
    let mut outcome = engine::launch(
        &kernel,
        launch.grid,
        launch.block,
        launch.cluster,
        launch.shared_bytes,
        &launch.args,
        launch.buffers,
        &launch.options,
    )?;
    outcome.compile_time = compile_time;
    Ok(outcome)
}
