//! The engine: runs decoded and compiled kernels.
//!
//! ```text
//! Kernel::new (decode + compile)                      mod.rs
//!   launch: blocks to worker threads                  grid.rs
//!     Block: warps take turns until nobody can        block.rs   scheduling, what was put off; barriers.rs, mbarrier.rs
//!       Warp: fragments, lowest step first            warp.rs, run.rs, meeting.rs
//!         memory · cross-lane · copies · matrix       access.rs, matrices.rs, async_copy.rs, bulk.rs, cross.rs, atomics.rs, wgmma.rs
//! ```
//!
//! A warp leaves `run` only where it must wait (barrier, member mask) or when its quantum of backward jumps is spent; nothing but
//! its frame and its fragments survives, so warps are resumed by calling `run` again, in any order and on any thread.

mod access;
mod async_copy;
mod atomics;
mod barriers;
mod block;
mod bulk;
mod copies;
mod counters;
mod cross;
mod doubts;
mod grid;
mod groups;
mod host;
mod matrices;
mod mbarrier;
mod meeting;
mod panels;
mod plain;
mod races;
mod registers;
mod remote;
mod run;
mod tracer;
mod transfer;
mod warp;
mod wgmma;

pub use grid::launch;

use super::codegen::{self, MachineCode};
use super::launch::ExecError;
use super::matrix::MmaRun;
use super::program::{Program, StepKind};

/// A kernel that can be launched any number of times.
#[derive(Debug)]
pub struct Kernel {
    pub(super) program: Program,
    pub(super) code: MachineCode,
    /// By step: the run of matrix multiplications that begins there.
    runs: Vec<Option<Box<MmaRun>>>,
}

impl Kernel {
    /// Compiles a decoded program.
    ///
    /// # Errors
    /// Only faults of the executor.
    pub fn compile(program: Program) -> Result<Kernel, ExecError> {
        let code = codegen::compile(&program.segments, program.cells as usize)?;
        let steps = &program.steps;
        let run_at = |at: usize| match steps[at].kind {
            StepKind::Mma(_) => MmaRun::find(&steps[at..]).map(Box::new),
            _ => None,
        };
        let runs = (0..steps.len()).map(run_at).collect();
        Ok(Kernel { program, code, runs })
    }
}
