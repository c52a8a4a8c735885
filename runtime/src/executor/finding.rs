//! What a launch can be accused of.
//!
//! A finding names one fault of the *kernel* (or of the way it was launched): its kind, the PTX line it happened at, the
//! other line of a pair (a race has two ends), and, where the PTX has `.loc`, the source line behind it. Faults that cost
//! nothing to see (bounds, alignment, deadlock, divergence) are found in every launch; races, asynchronous copies in flight
//! and uninitialised reads need `sanitize`.
//!
//! A loop that races at one pair of lines races thousands of times; [`Findings`] keeps one per (kind, line, other line) and
//! stops at [`Findings::LIMIT`].

use std::fmt;

/// The kinds of faults, in the words that `exec --json` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Two accesses to the same bytes, at least one a write, with no synchronisation between.
    Race,
    /// Generic-proxy and async-proxy accesses without the proxy fence between.
    ProxyFence,
    /// Bytes touched while an asynchronous operation on them may still be running.
    AsyncInFlight,
    /// An access outside of everything that the launch was given.
    OutOfBounds,
    /// An address that is no multiple of the access size.
    Misaligned,
    /// Something depends on a read of shared memory that nobody wrote.
    Uninitialized,
    /// Every warp of a block waits for something that cannot happen any more.
    Deadlock,
    /// A barrier used with changing or impossible thread counts.
    BarrierMisuse,
    /// An `.aligned` instruction executed by part of a warp while its other lanes are alive.
    Divergence,
    /// The kernel executed `trap`.
    Trap,
    /// The time limit of the launch passed.
    Timeout,
}

impl FindingKind {
    /// The name as printed in JSON.
    pub fn name(self) -> &'static str {
        match self {
            FindingKind::Race => "race",
            FindingKind::ProxyFence => "proxy_fence",
            FindingKind::AsyncInFlight => "async_in_flight",
            FindingKind::OutOfBounds => "out_of_bounds",
            FindingKind::Misaligned => "misaligned",
            FindingKind::Uninitialized => "uninitialized",
            FindingKind::Deadlock => "deadlock",
            FindingKind::BarrierMisuse => "barrier_misuse",
            FindingKind::Divergence => "divergence",
            FindingKind::Trap => "trap",
            FindingKind::Timeout => "timeout",
        }
    }

    /// Whether this is why a launch ended, and no fault that the executor looks for: `exec --json` gives it as `error`.
    pub fn ends_launch(self) -> bool {
        matches!(self, FindingKind::Trap | FindingKind::Timeout)
    }

    /// Whether the block that did this cannot go on in a meaningful way.
    pub fn is_fatal(self) -> bool {
        matches!(
            self,
            FindingKind::OutOfBounds
                | FindingKind::Misaligned
                | FindingKind::Deadlock
                | FindingKind::Trap
                | FindingKind::Timeout
        )
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where in the kernel's own source a PTX line comes from (`.loc`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct SourceLoc {
    pub file: String,
    pub line: u32,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    pub kind: FindingKind,
    /// PTX line (from 1) of the access or instruction that completed the fault; 0 if there is none.
    pub line: u32,
    /// PTX line of the earlier access of a pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_line: Option<u32>,
    /// One or more sentences: who (block, warp, lane), what, which address.
    pub message: String,
    /// Source of `line`, if the PTX says it.
    pub source: Option<SourceLoc>,
    /// `%ctaid` of the block.
    pub block: [u32; 3],
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at PTX line {}: {}", self.kind, self.line, self.message)?;
        if let Some(source) = &self.source {
            write!(f, " ({}:{})", source.file, source.line)?;
        }
        Ok(())
    }
}

/// A set of findings without repetitions.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    list: Vec<Finding>,
    seen: rustc_hash::FxHashSet<(FindingKind, u32, Option<u32>)>,
}

impl Findings {
    /// More distinct findings than this help nobody.
    pub const LIMIT: usize = 64;

    /// Keeps `make()` unless the same fault between the same lines is known already.
    pub fn add(
        &mut self,
        kind: FindingKind,
        line: u32,
        other_line: Option<u32>,
        make: impl FnOnce() -> Finding,
    ) {
        if self.list.len() < Self::LIMIT && self.seen.insert((kind, line, other_line)) {
            self.list.push(make());
        }
    }

    /// Adds what another block found.
    pub fn merge(&mut self, other: Findings) {
        for finding in other.list {
            self.add(finding.kind, finding.line, finding.other_line, || finding.clone());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn as_slice(&self) -> &[Finding] {
        &self.list
    }

    /// The findings by block; those of one block in the order in which they happened.
    pub fn into_vec(mut self) -> Vec<Finding> {
        self.list.sort_by_key(|f| f.block);
        self.list
    }
}
