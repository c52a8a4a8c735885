//! What can go wrong. None of it is the user's fault: the scheduler hands over programs that can be synchronised.

use std::fmt;

use super::channel::Misuse;
use super::model::{OpId, Program};
use super::table::Reach;

/// Derivation failed. All variants are bugs of the compiler.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    /// The scheduler's program breaks the model's rules.
    #[error("malformed event program: {0}")]
    Malformed(String),
    /// No gap between the two operations may hold synchronisation.
    #[error("no place to synchronise: {0}")]
    NoPlace(String),
    /// Two roles conflict on something that no channel hands over.
    #[error("no channel orders {0}")]
    NoChannel(String),
    /// The proof refused a placement.
    #[error("synchronisation is not complete: {0}")]
    Unproved(Violation),
}

/// Two conflicting accesses that nothing orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The earlier operation, in program order.
    pub source: OpId,
    /// The later operation, which must not start before the earlier one is complete and visible.
    pub dest: OpId,
    pub missing: Missing,
    /// In words, with labels and ring numbers.
    pub text: String,
}

/// What the later operation would have needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Missing {
    /// No commit closes the group of the earlier operation.
    Commit,
    /// The earlier operation may still be in flight.
    Completion,
    /// It is complete in its thread, but threads this far away do not know.
    Handover(Reach),
    /// A role misuses an entry of a channel.
    Channel(Misuse),
    /// Its generic writes are not ordered with asynchronous accesses.
    Fence,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Missing::Commit => "its group is never committed",
            Missing::Completion => "it may still be in flight",
            Missing::Handover(Reach::Warp) => "other lanes may not have done it yet",
            Missing::Handover(_) => "other warps may not have done it yet",
            Missing::Channel(misuse) => return misuse.fmt(f),
            Missing::Fence => "no proxy fence follows it",
        })
    }
}

impl Violation {
    /// With both operations' source spans, for a diagnostic.
    pub fn spans(&self, program: &Program) -> [Option<crate::diagnostics::Span>; 2] {
        [self.source, self.dest].map(|id| super::print::find_op(program, id).and_then(|op| op.span))
    }
}
