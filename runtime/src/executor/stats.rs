//! What a launch cost, in the units that GPU profilers use.
//!
//! Counts are exact properties of the executed instruction stream (they do not depend on timing): warp instructions by
//! opcode, *wavefronts* of shared-memory accesses (the passes over the 32 banks that an access needs; one is ideal for up to
//! 128 bytes) and 32-byte *sectors* of global accesses.

use std::collections::BTreeMap;

/// Counts of one memory instruction (one PTX line).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MemoryCount {
    /// PTX line, from 1.
    pub line: u32,
    /// Warp instructions with at least one active lane.
    pub requests: u64,
    /// Shared memory: wavefronts needed.
    pub wavefronts: u64,
    /// Shared memory: wavefronts beyond what the access width makes unavoidable, that is bank conflicts.
    pub extra_wavefronts: u64,
    /// Global memory: 32-byte sectors touched.
    pub sectors: u64,
    /// Bytes moved by active lanes.
    pub bytes: u64,
}

/// Counts of one launch. With `Options::stats` off only `warp_instructions` and `mma` are filled.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    pub warp_instructions: u64,
    /// Matrix instructions issued.
    pub mma: u64,
    /// Warp instructions by opcode with its modifiers.
    pub mix: BTreeMap<String, u64>,
    /// Shared-memory instructions (ld, st, ldmatrix, stmatrix, the writing side of cp.async) by PTX line.
    pub shared: Vec<MemoryCount>,
    /// Global-memory instructions by PTX line.
    pub global: Vec<MemoryCount>,
    pub global_bytes_read: u64,
    pub global_bytes_written: u64,
}

impl Stats {
    /// Bank conflicts of the whole launch.
    pub fn bank_conflicts(&self) -> u64 {
        self.shared.iter().map(|m| m.extra_wavefronts).sum()
    }
}
