//! Shadow memory: what the sanitizer knows about each byte of the shared memory of a cluster's blocks.
//!
//! Three questions are answered at each access, none of which depends on the values that the run happened to see:
//!
//! 1. *Was it ever written?* (`uninitialized`)
//! 2. *Is an asynchronous operation on it still on its way?* (`async_in_flight`)
//! 3. *Is it ordered after the last conflicting access?* (`race`, or `proxy_fence`) by vector clocks in the FastTrack manner.
//!
//! **Clocks.** Warp `w` has a vector clock `C_w`; `C_w[w]` counts its own synchronisations. An access by `w` is
//! stamped with the *epoch* (w, C_w[w]); a later access by `v` is ordered after it iff `C_v[w] >=` that stamp. A barrier joins the
//! clocks of its participants and starts a new epoch in each:
//!
//! ```text
//! warp 0: st.shared [x]   stamp (0, 1)      bar.sync      C_0 = (2, 1)
//! warp 1:                                   bar.sync      C_1 = (1, 2)     ld.shared [x]:  C_1[0] = 1 >= 1, ordered
//! without the barrier:    C_1[0] = 0 < 1: race between the two lines
//! ```
//!
//! **Asynchronous agents.** What a warp only *starts* is done by somebody else, and is stamped with that agent's epoch, at issue: the
//! operation may happen at any time from then on, until somebody has waited for exactly that epoch.
//!
//! | agent | its operations | its epoch | who learns of it |
//! | --- | --- | --- | --- |
//! | an mbarrier | bulk copies that complete on it | the phase they complete | whoever waited for that phase |
//! | a thread's bulk groups | bulk stores: reads of shared memory | the group | that thread, by `cp.async.bulk.wait_group(.read)` |
//! | the same groups, again | bulk stores: writes to global memory | the group | that thread, by `cp.async.bulk.wait_group` |
//! | a warpgroup's `wgmma` groups | reads of shared operands | the group | its warps, by `wgmma.wait_group` |
//!
//! **Proxies.** Beside `C_w` a warp has `F_w`: what the async proxy may see on its behalf. `fence.proxy.async` by `w` sets `F_w` to `C_w`; every
//! synchronisation hands both on. An asynchronous *read* of something written by ordinary stores must be ordered in `F`; if it is in
//! `C` alone, a `fence.proxy.async` is missing.
//!
//! Global memory has an `F` of its own, which covers other clusters too, and what may be seen through tensor maps is a third proxy, which
//! `fence.proxy.tensormap::generic.acquire` fills.
//!
//! **Acquiring.** Strong accesses to global memory learn what was released there. A relaxed one only *notes* it; a fence makes it known. What a
//! relaxed atomic noted is known after a barrier of the block as well: that is how last-block reductions are commonly written.
//!
//! **Lanes.** What a lane stores, other *lanes* of the same warp see only after they have met: at a barrier (of the block or the warp), or at a
//! shuffle, vote or reduction. The same is true of a `cp.async` write, which happens when it is retired, by the waiting thread. Writes carry
//! their lane for that; stores of one instruction are not compared with each other. Loads carry their lane too, since what one lane reads
//! another may overwrite only when they have met; for that, any instruction will do that all lanes of a warp execute together (`mma`,
//! `ldmatrix`): nothing has to become visible.
//!
//! A [`Cell`] covers 4 bytes, the usual width. Accesses to part of one are exact too: the cell then splits into four.

mod cells;
mod clocks;
pub mod global;
mod orders;

pub use cells::SeenCells;
use cells::{Cell, FRESH, Read, VERSIONED};
pub use clocks::{Knowledge, Published, VectorClock};
use global::Foreign;

use rustc_hash::FxHashMap;

use super::finding::FindingKind;

/// Who accesses.
#[derive(Clone, Copy, Debug)]
pub struct Agent {
    pub warp: usize,
    pub lane: u32,
    /// PTX line.
    pub line: u32,
}

/// An asynchronous agent and one of its epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch {
    pub agent: u16,
    pub clock: u32,
}

/// What stands for an asynchronous agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AsyncAgent {
    /// The mbarrier at this offset.
    Mbarrier(u32),
    /// Bulk groups of a thread, warp and lane: their reads of shared memory.
    BulkGroups(u32, u32),
    /// The same groups' writes to global memory.
    BulkWrites(u32, u32),
    /// `wgmma` groups of a warpgroup, by its first warp.
    Wgmma(u32),
}

/// What is wrong with an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: FindingKind,
    /// Line of the earlier access, if there is one.
    pub other_line: Option<u32>,
    /// Warp of the earlier access.
    pub other_warp: Option<usize>,
    /// Whether the earlier access was a write.
    pub other_writes: bool,
    /// Offset of the first byte concerned.
    pub offset: u32,
}

/// No agent.
const NOBODY: u16 = u16::MAX;

/// When a warp knows what was released where it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquire {
    /// It acquires by itself.
    Now,
    /// A relaxed load: after a fence.
    AtFence,
    /// A relaxed atomic: after a fence or a barrier of the block.
    AtBarrier,
}

/// How an access touches memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// A read by the whole warp, or one that orders itself.
    Read,
    /// A load by one lane: other lanes of the warp may overwrite it when they have met.
    LaneRead,
    /// A volatile, relaxed or acquiring load: it does not race with its like, nor with atomics.
    StrongRead,
    Write,
    /// A volatile, relaxed or releasing store, likewise.
    StrongWrite,
    /// A store by one lane: other lanes of the warp see it when they have met.
    LaneWrite,
    /// The write of a retired `cp.async`, stamped with this epoch of the warp.
    AsyncWrite(u32),
    /// A read-modify-write; atomics do not race with each other.
    Atomic,
    /// A read through the async proxy that was started.
    BulkRead(Epoch),
    /// A write that was started, through whichever proxy: nothing is seen of what it overwrites.
    BulkWrite(Epoch),
    /// A read-modify-write that was started, through the async `proxy` or the generic one; it does not race with its like.
    BulkReduce {
        epoch: Epoch,
        proxy: bool,
    },
}

impl Touch {
    /// The epoch of an operation that is only started.
    fn epoch(self) -> Option<Epoch> {
        match self {
            Touch::BulkRead(epoch) | Touch::BulkWrite(epoch) | Touch::BulkReduce { epoch, .. } => Some(epoch),
            _ => None,
        }
    }

    fn only_reads(self) -> bool {
        matches!(self, Touch::Read | Touch::LaneRead | Touch::StrongRead | Touch::BulkRead(_))
    }

    /// Whether what was there before goes into it.
    fn reads(self) -> bool {
        self.only_reads() || matches!(self, Touch::Atomic | Touch::BulkReduce { .. })
    }

    /// Whether it does not race with its like.
    fn is_atomic(self) -> bool {
        matches!(self, Touch::Atomic | Touch::StrongRead | Touch::StrongWrite | Touch::BulkReduce { .. })
    }

    /// Whether it reads through the async proxy.
    fn reads_async(self) -> bool {
        matches!(self, Touch::BulkRead(_) | Touch::BulkReduce { proxy: true, .. })
    }
}

/// The shadow of one block's shared memory.
#[derive(Debug)]
pub struct Shadow {
    cells: Vec<Cell>,
    /// How often something other than a read happened, by KiB.
    versions: Vec<u64>,
    /// Cells of which parts were accessed by themselves, by byte.
    split: FxHashMap<u32, [Cell; 4]>,
    /// Reader sets of cells (by cell × 5 + byte, 4 for the whole) read by several agents since the last write.
    readers: FxHashMap<u32, Vec<Read>>,
    /// Line of the `cp.async` in flight to these 4 bytes, 0 for none.
    in_flight: Vec<u32>,
    /// `C` of each warp.
    clocks: Vec<VectorClock>,
    /// `F` of each warp.
    fenced: Vec<VectorClock>,
    /// What each warp knows of other clusters.
    foreign: Vec<Foreign>,
    /// `F` of each warp for global memory.
    fenced_global: Vec<Knowledge>,
    /// What each warp may see through tensor maps.
    mapped: Vec<Knowledge>,
    /// What relaxed loads, and relaxed atomics, of each warp noted and no fence has made known.
    noted: Vec<[Published; 2]>,
    /// What each warp has behind a memory fence.
    released: Vec<(VectorClock, Foreign)>,
    /// What each warp has behind any fence, if only for its own block.
    released_near: Vec<VectorClock>,
    /// What relaxed waits for mbarriers, and relaxed loads of shared memory, noted.
    waited: Vec<Published>,
    /// What atomics and strong stores on shared memory hand on, by offset.
    atomics: FxHashMap<u32, Published>,
    /// Numbers of the asynchronous agents.
    agents: FxHashMap<AsyncAgent, u16>,
    /// Who started the operations of an epoch of an agent: (warp, its epoch then).
    started: FxHashMap<Epoch, (usize, u32)>,
    /// Own clock of each warp when its lanes last synchronised with each other.
    lanes_synced: Vec<u32>,
    /// A lane has written since.
    wrote: Vec<bool>,
    /// Own clock of each warp when its lanes were last all behind their loads.
    reads_met: Vec<u32>,
    /// A lane has read since.
    read: Vec<bool>,
    /// The last access of each warp to the shared memory of another block of the cluster: (block, warp), epoch and line.
    remote: FxHashMap<(u32, u32), (u32, u32)>,
    /// The last operation on its way to the shared memory of a block, by block and agent: epoch and line.
    arriving: FxHashMap<(u32, u16), (u32, u32)>,
    /// Phases of the cluster's barrier that each warp has been through.
    cluster_phases: Vec<u32>,
}

impl Shadow {
    /// Shadow of `bytes` of shared memory that `warps` warps use.
    pub fn new(bytes: usize, warps: usize) -> Shadow {
        let clocks = (0..warps)
            .map(|w| {
                let mut clock = VectorClock::new(warps);
                clock.tick(w);
                clock
            })
            .collect();
        Shadow {
            cells: vec![FRESH; bytes.div_ceil(4)],
            versions: vec![0; bytes.div_ceil(VERSIONED)],
            split: FxHashMap::default(),
            readers: FxHashMap::default(),
            in_flight: vec![0; bytes.div_ceil(4)],
            fenced: vec![VectorClock::new(warps); warps],
            foreign: vec![Foreign::default(); warps],
            fenced_global: vec![Knowledge::default(); warps],
            mapped: vec![Knowledge::default(); warps],
            noted: vec![Default::default(); warps],
            released: vec![Default::default(); warps],
            released_near: vec![VectorClock::default(); warps],
            waited: vec![Published::default(); warps],
            atomics: FxHashMap::default(),
            agents: FxHashMap::default(),
            started: FxHashMap::default(),
            clocks,
            lanes_synced: vec![0; warps],
            wrote: vec![false; warps],
            reads_met: vec![0; warps],
            read: vec![false; warps],
            remote: FxHashMap::default(),
            arriving: FxHashMap::default(),
            cluster_phases: vec![0; warps],
        }
    }
}

#[cfg(test)]
mod tests;
