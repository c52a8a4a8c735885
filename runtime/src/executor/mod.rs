//! The executor: runs PTX on the CPU, checked.
//!
//! Any PTX for the supported instruction set is its input, ours or another compiler's. The essay at the head of
//! `program.rs` says how a kernel looks after decoding, `frame.rs` where its registers live.

pub mod finding;
pub mod launch;
pub mod stats;

pub use finding::{Finding, FindingKind, Findings, SourceLoc};
pub use launch::{Arg, ExecError, Launch, Options, Outcome};
pub use stats::{MemoryCount, Stats};

/// Parses, checks, compiles and runs one launch.
///
/// # Errors
/// [`ExecError`] if the launch could not start; faults of the running kernel are findings of the outcome.
pub fn run(_launch: Launch<'_>) -> Result<Outcome, ExecError> {
    Err(ExecError::Internal("the executor's engine is not connected".into()))
}
