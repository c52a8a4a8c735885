//! The tile evaluator: the meaning of every kernel that checks.
//!
//! [`evaluate`] runs a T1 kernel on dense arrays of logical values and gives what it wrote. There are three modes:
//!
//! - [`Mode::Exact`] is the meaning: real arithmetic in `f64`, rounded only at `as` and at stores; integers exactly, wrapping at their
//!   type. It is what `--device eval` gives.
//! - [`Mode::Unrounded`] is the same, but outputs are held as they were before the rounding of their store ([`store`]): the reference from
//!   which errors are measured.
//! - [`Mode::Typed`] is the *baseline* by whose error tolerances are scaled: every operation rounds to its declared type, and `@`, sums
//!   and scans accumulate in their result type in ascending order, as a plain framework evaluation would.
//!
//! Lanes past the end of a domain do not exist: tiles are stored at their short size ([`values`]), so nothing can read, write, sum or
//! multiply such a lane. Subscripts become offsets in [`place`]; tensors, and the rules about who may touch which element, are in
//! [`memory`]; one instance's statements in [`machine`]; the grid, threads and reductions across instances in [`grid`].
//!
//! Where several results are right (which side of `floor` a number falls on, in which order atomics combine), [`freedom`] gives others.
//!
//! A program can break a rule that only data decides (two lanes or instances write one element without `atomic`; an instance reads what
//! another writes): that is an [`EvalErrorKind::Fault`] with the statement's span, the same one on every run.
//!
//! Worked example: `c[i, j]` of a GEMM with M = 5 and BM = 4 has two instances along `i`; the second one's tile has one row, so
//! `a[i, k]` reads 1×BK elements, the product has one row, and one row is written.
//!
//! ```text
//! let inputs = Inputs::builder(&kernel).dim("M", 5).dim("N", 4).dim("K", 8)
//!     .tensor("a", Values::Float(a)).tensor("b", Values::Float(b)).build()?;
//! let c = evaluate(&kernel, &inputs, Mode::Exact)?.named(&kernel, "c");
//! ```
//!
//! Converting between logical values and bytes in memory is the runtime's work, with [`crate::numeric`].

mod elementwise;
mod error;
pub mod freedom;
mod grid;
mod inputs;
mod machine;
mod memory;
mod mma;
mod picks;
mod place;
mod reduce;
mod special;
mod store;
mod values;

pub use error::{EvalError, EvalErrorKind};
pub use inputs::{Inputs, InputsBuilder, Output, Outputs};
pub use values::Values;

/// What the scheduled level's interpreter shares: tiles, places, memory and the arithmetic on them.
pub(crate) mod parts {
    pub(crate) use super::elementwise::round;
    pub(crate) use super::grid::start;
    pub(crate) use super::machine::{Frame, Machine, combination, trips};
    pub(crate) use super::memory::InstanceId;
    pub(crate) use super::mma::{Accumulate, mma};
    pub(crate) use super::place::{Extent, OUTSIDE, Place};
    pub(crate) use super::reduce::{ignore_nan, least, reduce, scan};
    pub(crate) use super::values::{Tile, TileRef};
}

use std::sync::Arc;

use super::ir::*;
use freedom::Freedom;
use machine::{Frame, Machine};
use values::Tile;

/// How numbers are rounded on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only at `as` and stores.
    Exact,
    /// As `Exact`, but for the last rounding of what goes into an output.
    Unrounded,
    /// After every operation, to its type.
    Typed,
}

/// Runs a kernel.
///
/// Floating inputs are rounded to their types first, so a caller need not.
///
/// # Errors
/// [`EvalErrorKind::Input`] where the arguments do not fit the kernel, [`EvalErrorKind::Fault`] where the program breaks a rule on this
/// data, [`EvalErrorKind::Internal`] where the kernel is malformed.
pub fn evaluate(kernel: &Kernel, inputs: &Inputs, mode: Mode) -> Result<Outputs, EvalError> {
    evaluate_freely(kernel, inputs, mode, &Freedom::default())
}

/// Runs a kernel in another of the ways that are right, too.
///
/// # Errors
/// Those of [`evaluate`].
pub fn evaluate_freely(
    kernel: &Kernel,
    inputs: &Inputs,
    mode: Mode,
    freedom: &Freedom,
) -> Result<Outputs, EvalError> {
    let on = |threads: usize| {
        with_freedom(kernel, inputs, mode, freedom, |machine, entry| grid::run(machine, entry, threads))
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    match on(threads) {
        // Which of two instances comes second depends on the threads; the fault that is reported must not.
        Err(e) if e.kind == EvalErrorKind::Fault && threads > 1 => on(1),
        result => result,
    }
}

/// Sets a launch up, lets `run` run its instances, and gives what they wrote.
pub(crate) fn with_machine(
    kernel: &Kernel,
    inputs: &Inputs,
    mode: Mode,
    run: impl FnOnce(&Machine, &Frame) -> Result<(), EvalError>,
) -> Result<Outputs, EvalError> {
    with_freedom(kernel, inputs, mode, &Freedom::default(), run)
}

fn with_freedom(
    kernel: &Kernel,
    inputs: &Inputs,
    mode: Mode,
    freedom: &Freedom,
    run: impl FnOnce(&Machine, &Frame) -> Result<(), EvalError>,
) -> Result<Outputs, EvalError> {
    let memory = inputs::memory(kernel, inputs)?;
    let scalars: Vec<Arc<Tile>> = kernel
        .scalars
        .iter()
        .zip(&inputs.scalars)
        .map(|(s, &c)| {
            let mut tile = machine::constant(c);
            if s.elem.is_float() {
                tile.data = Values::Float(tile.floats().into_owned());
            }
            elementwise::round(&mut tile.data, s.elem);
            Arc::new(tile)
        })
        .collect();
    let machine = Machine {
        kernel,
        mode,
        freedom,
        dims: &inputs.dims,
        scalars: &scalars,
        memory: &memory,
        instances: &[],
    };
    let mut entry = Frame::new(kernel);
    machine.block(&mut entry, &kernel.entry)?;
    let instances = grid::instances(&machine, &entry)?;
    run(&Machine { instances: &instances, ..machine }, &entry)?;
    let tensors = kernel.tensors.iter().zip(memory).map(|(t, m)| {
        t.kind.writable().then(|| {
            let shape = m.shape.clone();
            let (mut values, written) = m.finish();
            store::round(mode, &mut values, t.elem);
            Output { shape, values, written }
        })
    });
    Ok(Outputs { tensors: tensors.collect() })
}

#[cfg(test)]
mod tests;
