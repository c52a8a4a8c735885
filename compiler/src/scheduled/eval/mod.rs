//! The interpreter of the scheduled level: T2 runs on tile values, in each of its forms.
//!
//! - *Fused*: iteration after iteration in the order of the text, each op complete at once. The dataflow, buffers, copies and
//!   subscripts are what is tried.
//! - *Expanded*: prologue and steady loop in the order in which they will be emitted, iterations interleaved. Stages and orders are.
//! - *Ordered* (expanded, with synchronisation): as expanded, but an asynchronous copy lands when it is waited for, and what one
//!   thread writes others see after a barrier. A wait or barrier that is missing shows.
//!
//! Registers hold tiles (the existing lanes, as in T1), shared memory holds elements at the byte offsets of the buffers' layouts
//! (the `shared` module). Element arithmetic is T1's own. What the program does not order or never wrote reads as *poison*: NaN, or the least
//! integer; and is a [`Finding`], so that it shows even where the value would not.
//!
//! ```text
//! let outcome = run(&kernel, &module, &inputs, Mode::Exact)?;
//! assert!(outcome.findings.is_empty());
//! compare(outcome.outputs, evaluate(&kernel, &inputs, Mode::Exact)?);
//! ```
//!
//! Invariants: a block sees only its own shared memory; the n-th acquire of a channel and the n-th wait have ring number n; an op of
//! iteration j sees only values of iteration j, carried ones aside.

mod block;
mod channels;
mod copies;
mod global;
mod items;
mod ops;
mod packed;
mod partials;
mod scans;
mod shared;
mod staged;
mod tiles;
mod work;

use super::ir::Module;
use crate::diagnostics::Span;
use crate::tile::eval::parts::{Frame, Machine, start};
use crate::tile::eval::{EvalError, Inputs, Mode, Outputs, with_machine};
use crate::tile::ir as t1;
use std::fmt;

/// Something that a schedule must not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub message: String,
    pub span: Span,
}

/// What an interpretation gives.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was written, as the tile evaluator gives it.
    pub outputs: Outputs,
    /// One per place in the program, in the order in which they came up.
    pub findings: Vec<Finding>,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq)]
pub enum Stop {
    /// The interpreter does not know this yet.
    NotInterpreted(String),
    /// The inputs do not fit, or the module is malformed.
    Eval(EvalError),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::NotInterpreted(what) => {
                write!(f, "the interpreter of the scheduled level does not know {what}")
            }
            Stop::Eval(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for Stop {}

impl From<EvalError> for Stop {
    fn from(e: EvalError) -> Stop {
        Stop::Eval(e)
    }
}

/// Runs a module in the form that it has. `ordered` says whether synchronisation has been derived, so that its absence counts.
///
/// # Errors
/// [`Stop`], where there is nothing to compare.
pub fn run(
    kernel: &t1::Kernel,
    module: &Module,
    inputs: &Inputs,
    mode: Mode,
    ordered: bool,
) -> Result<Outcome, Stop> {
    if let [_, other, ..] = &module.roles[..] {
        return Err(Stop::NotInterpreted(format!("a second role ({})", other.name)));
    }
    let tables = copies::Tables::of(kernel, module);
    let mut findings = Findings::default();
    let mut stop = None;
    let outputs = with_machine(kernel, inputs, mode, |machine: &Machine, entry: &Frame| {
        let mut shared = shared::Shared::new(module.shared_bytes, ordered);
        let mut workspace = work::Workspace::default();
        for (first, n, item) in items::of(machine, entry, module)? {
            let Some(frame) = start(machine, entry, n)? else { continue };
            if first {
                shared.reset();
            }
            let mut block = block::Block::new(
                machine,
                module,
                &tables,
                frame,
                &mut shared,
                &mut workspace,
                &mut findings,
            );
            block.item = item;
            match block.run() {
                Ok(()) | Err(block::Halt::Left) => {}
                Err(block::Halt::Eval(e)) => return Err(e),
                Err(block::Halt::Unknown(what)) => {
                    stop = Some(Stop::NotInterpreted(what));
                    return Ok(());
                }
                // The block's result is worthless; the finding says why.
                Err(block::Halt::Broken) => {}
            }
        }
        Ok(())
    })?;
    match stop {
        Some(stop) => Err(stop),
        None => Ok(Outcome { outputs, findings: findings.list }),
    }
}

/// One finding per place and kind.
#[derive(Debug, Default)]
struct Findings {
    list: Vec<Finding>,
}

/// More distinct findings help nobody.
const MOST_FINDINGS: usize = 32;

impl Findings {
    fn add(&mut self, message: String, span: Span) {
        let finding = Finding { message, span };
        if self.list.len() < MOST_FINDINGS && !self.list.contains(&finding) {
            self.list.push(finding);
        }
    }
}

#[cfg(test)]
mod tests;
