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
//! A `cp.async` write happens when it is retired, by the waiting thread, and PTX promises it to that thread alone: other *lanes* of
//! the same warp see it only after a barrier (of the block or the warp). Such writes carry their lane.
//!
//! A [`Cell`] covers 4 bytes, the usual width. Accesses to part of one are exact too: the cell then splits into four.

mod clocks;
pub mod global;

pub use clocks::{Knowledge, Published, VectorClock};
use global::{Foreign, GlobalAgent, GlobalShadow, Release, learn};

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

const NOBODY: u16 = u16::MAX;
/// `lane` of a write that is visible to the whole warp.
const ALL_LANES: u8 = u8::MAX;

/// What is known of 4 bytes (or of one byte of a split cell).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    write_clock: u32,
    write_line: u32,
    /// Reads since the last write, if there are no more than two agents.
    reads: [Read; 2],
    /// There are more, in the table of reader sets.
    many: bool,
    writer: u16,
    /// The lane that alone sees an asynchronous write.
    lane: u8,
    /// The last write was an atomic.
    atomic: bool,
    /// Bytes ever written, one bit each.
    written: u8,
}

/// A read by an agent at one of its epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Read {
    clock: u32,
    line: u32,
    agent: u16,
}

const NO_READ: Read = Read { clock: 0, line: 0, agent: NOBODY };

const FRESH: Cell = Cell {
    write_clock: 0,
    write_line: 0,
    reads: [NO_READ; 2],
    many: false,
    writer: NOBODY,
    lane: ALL_LANES,
    atomic: false,
    written: 0,
};

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
    Read,
    Write,
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

    fn is_atomic(self) -> bool {
        matches!(self, Touch::Atomic | Touch::BulkReduce { .. })
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
    /// What atomics on shared memory hand on, by offset.
    atomics: FxHashMap<u32, Published>,
    /// Numbers of the asynchronous agents.
    agents: FxHashMap<AsyncAgent, u16>,
    /// Who started the operations of an epoch of an agent: (warp, its epoch then).
    started: FxHashMap<Epoch, (usize, u32)>,
    /// Own clock of each warp when its lanes last synchronised with each other.
    lanes_synced: Vec<u32>,
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
            split: FxHashMap::default(),
            readers: FxHashMap::default(),
            in_flight: vec![0; bytes.div_ceil(4)],
            fenced: vec![VectorClock::new(warps); warps],
            foreign: vec![Foreign::default(); warps],
            fenced_global: vec![Knowledge::default(); warps],
            mapped: vec![Knowledge::default(); warps],
            noted: vec![Default::default(); warps],
            released: vec![Default::default(); warps],
            atomics: FxHashMap::default(),
            agents: FxHashMap::default(),
            started: FxHashMap::default(),
            clocks,
            lanes_synced: vec![0; warps],
        }
    }

    /// An access to `bytes` at `offset` (in range). Returns the first fault; the access is recorded either way.
    pub fn touch(&mut self, agent: Agent, touch: Touch, offset: u32, bytes: u32) -> Option<Fault> {
        self.start(agent, touch);
        self.touch_range(agent, touch, offset, bytes, &mut None)
    }

    /// Remembers who starts an asynchronous operation.
    fn start(&mut self, agent: Agent, touch: Touch) {
        if let Some(epoch) = touch.epoch() {
            let start = (agent.warp, self.epoch(agent.warp));
            self.started.insert(epoch, start);
            // Nobody meets operations from long ago: what came after them would have conflicted.
            self.started.remove(&Epoch { clock: epoch.clock.wrapping_sub(16), ..epoch });
        }
    }

    /// Accesses to 16 bytes at each of `offsets` by one instruction.
    pub fn touch_chunks(&mut self, agent: Agent, touch: Touch, offsets: &[u32]) -> Option<Fault> {
        self.start(agent, touch);
        let mut known = None;
        let mut fault = None;
        for &offset in offsets {
            let found = self.touch_range(agent, touch, offset, 16, &mut known);
            fault = fault.or(found);
        }
        fault
    }

    /// Neighbours in a long range are mostly in the same state and end in the same state: `known` is the last such pair.
    fn touch_range(
        &mut self,
        agent: Agent,
        touch: Touch,
        offset: u32,
        bytes: u32,
        known: &mut Option<(Cell, Cell)>,
    ) -> Option<Fault> {
        let mut fault = None;
        let (mut at, end) = (offset, offset + bytes);
        let plain = !matches!(touch, Touch::AsyncWrite(_)) && self.split.is_empty();
        while at < end {
            let cell = at / 4;
            if plain && at.is_multiple_of(4) && end - at >= 4 && self.in_flight[cell as usize] == 0 {
                let before = self.cells[cell as usize];
                match *known {
                    Some((from, to)) if from == before => self.cells[cell as usize] = to,
                    _ => {
                        let found = self.touch_cell(agent, touch, cell, 0, 4);
                        fault = fault.or(found);
                        let after = self.cells[cell as usize];
                        *known = (!before.many && !after.many).then_some((before, after));
                    }
                }
                at += 4;
                continue;
            }
            let stop = end.min((cell + 1) * 4);
            let found = self.touch_cell(agent, touch, cell, at % 4, stop - at);
            fault = fault.or(found);
            at = stop;
        }
        fault
    }

    /// A `cp.async` to `bytes` at `offset` was issued.
    pub fn issue(&mut self, agent: Agent, offset: u32, bytes: u32) -> Option<Fault> {
        let mut fault = None;
        for cell in offset / 4..(offset + bytes).div_ceil(4) {
            fault = fault.or_else(|| self.pending(cell));
            // The copy may write from now on: whoever used these bytes before must be ordered before the issue.
            fault = fault.or_else(|| self.conflicts(agent, cell));
            self.in_flight[cell as usize] = agent.line.max(1);
        }
        fault
    }

    /// The copy to `bytes` at `offset` is complete: it wrote, for the thread `agent` only.
    ///
    /// Its write is stamped with the warp's epoch, or with an earlier one.
    pub fn complete(&mut self, agent: Agent, offset: u32, bytes: u32, clock: Option<u32>) -> Option<Fault> {
        let clock = clock.unwrap_or_else(|| self.epoch(agent.warp));
        for cell in offset / 4..(offset + bytes).div_ceil(4) {
            self.in_flight[cell as usize] = 0;
        }
        self.touch(agent, Touch::AsyncWrite(clock), offset, bytes)
    }

    fn pending(&self, cell: u32) -> Option<Fault> {
        let line = self.in_flight[cell as usize];
        (line != 0).then_some(Fault {
            kind: FindingKind::AsyncInFlight,
            other_line: Some(line),
            other_warp: None,
            other_writes: true,
            offset: cell * 4,
        })
    }

    /// A conflict of a write by `agent` with what is recorded of a cell, without recording anything.
    fn conflicts(&self, agent: Agent, cell: u32) -> Option<Fault> {
        let parts = self.split.get(&cell);
        let whole = [self.cells[cell as usize]];
        let parts: &[Cell] = parts.map_or(&whole[..], |p| &p[..]);
        for (byte, part) in parts.iter().enumerate() {
            let key = if parts.len() == 1 { cell * 5 + 4 } else { cell * 5 + byte as u32 };
            let found = self
                .unordered_write(agent, part, Touch::Write)
                .or_else(|| self.unordered_read(agent, part, key));
            if let Some(conflict) = found {
                return Some(self.fault(agent, conflict, cell * 4));
            }
        }
        None
    }

    fn touch_cell(&mut self, agent: Agent, touch: Touch, cell: u32, first: u32, bytes: u32) -> Option<Fault> {
        let mut fault = None;
        if !matches!(touch, Touch::AsyncWrite(_)) {
            fault = self.pending(cell);
        }
        if bytes == 4 && !self.split.contains_key(&cell) {
            let mut state = self.cells[cell as usize];
            let found = self.touch_one(agent, touch, &mut state, cell * 5 + 4, 0b1111, cell * 4);
            self.cells[cell as usize] = state;
            return fault.or(found);
        }
        self.split(cell);
        for byte in first..first + bytes {
            let Some(parts) = self.split.get(&cell) else { break };
            let mut state = parts[byte as usize];
            let found = self.touch_one(agent, touch, &mut state, cell * 5 + byte, 1, cell * 4 + byte);
            if let Some(parts) = self.split.get_mut(&cell) {
                parts[byte as usize] = state;
            }
            fault = fault.or(found);
        }
        fault
    }

    /// Splits a cell into its bytes.
    fn split(&mut self, cell: u32) {
        if self.split.contains_key(&cell) {
            return;
        }
        let whole = self.cells[cell as usize];
        let parts = std::array::from_fn(|byte| Cell { written: whole.written >> byte & 1, ..whole });
        if let Some(set) = self.readers.remove(&(cell * 5 + 4)) {
            for byte in 0..4 {
                self.readers.insert(cell * 5 + byte, set.clone());
            }
        }
        self.split.insert(cell, parts);
    }

    fn touch_one(
        &mut self,
        agent: Agent,
        touch: Touch,
        state: &mut Cell,
        key: u32,
        bits: u8,
        offset: u32,
    ) -> Option<Fault> {
        let (who, clock) = match (touch.epoch(), touch) {
            (Some(epoch), _) => (epoch.agent, epoch.clock),
            (None, Touch::AsyncWrite(clock)) => (agent.warp as u16, clock),
            _ => (agent.warp as u16, self.clocks[agent.warp].get(agent.warp)),
        };
        let reads = matches!(touch, Touch::Read | Touch::BulkRead(_));
        let mut fault = None;
        if (reads || touch.is_atomic())
            && state.written & bits != bits
            && self.in_flight[(offset / 4) as usize] == 0
        {
            fault = Some(Fault {
                kind: FindingKind::Uninitialized,
                other_line: None,
                other_warp: None,
                other_writes: false,
                offset,
            });
        }
        let found = self
            .unordered_write(agent, state, touch)
            .or_else(|| if reads { None } else { self.unordered_read(agent, state, key) });
        if let Some(conflict) = found {
            fault = fault.or(Some(self.fault(agent, conflict, offset)));
        }
        if reads {
            self.record_read(agent, who, clock, state, key);
            return fault;
        }
        if state.many {
            self.readers.remove(&key);
            state.many = false;
        }
        state.reads = [NO_READ; 2];
        state.writer = who;
        state.write_clock = clock;
        state.write_line = agent.line;
        state.written |= bits;
        state.atomic = touch.is_atomic();
        state.lane = if matches!(touch, Touch::AsyncWrite(_)) { agent.lane as u8 } else { ALL_LANES };
        fault
    }

    fn record_read(&mut self, agent: Agent, who: u16, clock: u32, state: &mut Cell, key: u32) {
        let read = Read { clock, line: agent.line, agent: who };
        if !state.many {
            let own = state.reads.iter().position(|old| old.agent == who);
            // A read that this one is ordered after need not be remembered: who is ordered after this one is ordered after that.
            let free = || {
                state
                    .reads
                    .iter()
                    .position(|old| old.agent == NOBODY || self.is_ordered(agent, old.agent, old.clock))
            };
            if let Some(slot) = own.or_else(free) {
                state.reads[slot] = read;
                return;
            }
        }
        let set = self.readers.entry(key).or_default();
        if !state.many {
            set.clear();
            set.extend(state.reads);
            state.reads = [NO_READ; 2];
            state.many = true;
        }
        match set.iter_mut().find(|old| old.agent == who) {
            Some(old) => *old = read,
            None => set.push(read),
        }
    }

    fn is_async(&self, id: u16) -> bool {
        usize::from(id) >= self.clocks.len()
    }

    fn is_ordered(&self, agent: Agent, other: u16, clock: u32) -> bool {
        other as usize == agent.warp || self.clocks[agent.warp].get(other as usize) >= clock
    }

    /// The last write, if the access is not ordered after it.
    fn unordered_write(&self, agent: Agent, state: &Cell, touch: Touch) -> Option<Conflict> {
        if state.writer == NOBODY || (touch.is_atomic() && state.atomic) {
            return None;
        }
        let hidden = state.lane != ALL_LANES
            && state.writer as usize == agent.warp
            && u32::from(state.lane) != agent.lane
            && self.lanes_synced[agent.warp] <= state.write_clock;
        let conflict = Conflict {
            line: state.write_line,
            other: state.writer,
            clock: state.write_clock,
            writes: true,
            unfenced: false,
        };
        if hidden || !self.is_ordered(agent, state.writer, state.write_clock) {
            return Some(conflict);
        }
        let unfenced = touch.reads_async()
            && !self.is_async(state.writer)
            && self.fenced[agent.warp].get(state.writer as usize) < state.write_clock;
        unfenced.then_some(Conflict { unfenced: true, ..conflict })
    }

    /// A read since the last write that `agent` is not ordered after.
    fn unordered_read(&self, agent: Agent, state: &Cell, key: u32) -> Option<Conflict> {
        let unordered =
            |read: &&Read| read.agent != NOBODY && !self.is_ordered(agent, read.agent, read.clock);
        let found = if state.many {
            self.readers.get(&key)?.iter().find(unordered)
        } else {
            state.reads.iter().find(unordered)
        };
        found.map(|read| Conflict {
            line: read.line,
            other: read.agent,
            clock: read.clock,
            writes: false,
            unfenced: false,
        })
    }

    /// Whoever meets an asynchronous write, or is ordered after the start of an asynchronous read, lacks a wait for it. Whoever overwrites what
    /// such a read was to see, without being ordered after its start, lacks more than that.
    fn fault(&self, agent: Agent, conflict: Conflict, offset: u32) -> Fault {
        let asynchronous = self.is_async(conflict.other);
        let start = self.started.get(&Epoch { agent: conflict.other, clock: conflict.clock });
        let started = start.is_none_or(|&(warp, clock)| self.is_after(agent.warp, warp, clock));
        let kind = match (conflict.unfenced, asynchronous && (conflict.writes || started)) {
            (true, _) => FindingKind::ProxyFence,
            (false, true) => FindingKind::AsyncInFlight,
            (false, false) => FindingKind::Race,
        };
        Fault {
            kind,
            other_line: Some(conflict.line),
            other_warp: (!asynchronous).then_some(conflict.other as usize),
            other_writes: conflict.writes,
            offset,
        }
    }

    /// The number of an asynchronous agent.
    pub fn agent(&mut self, key: AsyncAgent) -> u16 {
        let next = (self.clocks.len() + self.agents.len()).min(usize::from(NOBODY) - 1) as u16;
        *self.agents.entry(key).or_insert(next)
    }

    /// `warp` waited for epoch `clock` of an asynchronous agent.
    pub fn retire(&mut self, warp: usize, key: AsyncAgent, clock: u32) {
        let agent = self.agent(key);
        self.clocks[warp].raise(usize::from(agent), clock);
    }

    /// Whether `warp` is ordered after epoch `clock` of warp `other`.
    pub fn is_after(&self, warp: usize, other: usize, clock: u32) -> bool {
        warp == other || self.clocks[warp].get(other) >= clock
    }

    /// The warp's current epoch.
    pub fn epoch(&self, warp: usize) -> u32 {
        self.clocks[warp].get(warp)
    }

    /// `fence.proxy.async` by `warp`, for shared memory, global memory or both.
    pub fn proxy_fence(&mut self, warp: usize, shared: bool, global: bool) {
        let clock = &self.clocks[warp];
        if shared {
            self.fenced[warp].join(clock);
        }
        if global {
            self.fenced_global[warp].own.join(clock);
            learn(&mut self.fenced_global[warp].foreign, &self.foreign[warp]);
        }
        // Later writes of the warp are not behind this fence.
        self.clocks[warp].tick(warp);
    }

    /// `fence.proxy.tensormap::generic.acquire` by `warp`.
    pub fn map_fence(&mut self, warp: usize) {
        self.mapped[warp].own.join(&self.clocks[warp]);
        learn(&mut self.mapped[warp].foreign, &self.foreign[warp]);
        self.clocks[warp].tick(warp);
    }

    /// The clocks of `warp` as an arrive publishes them.
    pub fn publish(&self, warp: usize, into: &mut Published) {
        into.generic.join(&self.clocks[warp]);
        into.fenced.join(&self.fenced[warp]);
        into.released.join(&self.released[warp].0);
        learn(&mut into.foreign, &self.foreign[warp]);
        into.fenced_global.join(&self.fenced_global[warp]);
        into.mapped.join(&self.mapped[warp]);
        learn(&mut into.released_foreign, &self.released[warp].1);
    }

    /// `warp` goes on after a synchronisation that published `clock`: it has seen all of that, and starts a new epoch.
    pub fn synchronise(&mut self, warp: usize, clock: &Published) {
        self.acquire(warp, clock);
        self.advance(warp);
    }

    /// `warp` has seen what was published; its epoch goes on.
    pub fn acquire(&mut self, warp: usize, clock: &Published) {
        self.clocks[warp].join(&clock.generic);
        self.fenced[warp].join(&clock.fenced);
        self.released[warp].0.join(&clock.released);
        learn(&mut self.foreign[warp], &clock.foreign);
        self.fenced_global[warp].join(&clock.fenced_global);
        self.mapped[warp].join(&clock.mapped);
        learn(&mut self.released[warp].1, &clock.released_foreign);
    }

    /// What relaxed atomics noted is known where the block's threads meet.
    pub fn meet(&mut self, warp: usize) {
        let noted = std::mem::take(&mut self.noted[warp][1]);
        self.acquire(warp, &noted);
    }

    /// A memory fence by `warp` that other blocks see.
    pub fn memory_fence(&mut self, warp: usize, acquire: bool, release: bool) {
        if acquire {
            for noted in std::mem::take(&mut self.noted[warp]) {
                self.acquire(warp, &noted);
            }
        }
        if !release {
            return;
        }
        let (clock, foreign) = &mut self.released[warp];
        clock.join(&self.clocks[warp]);
        learn(foreign, &self.foreign[warp]);
        self.clocks[warp].tick(warp);
    }

    /// An atomic (or strong) access to shared memory hands clocks on to the next.
    pub fn exchange(&mut self, warp: usize, offset: u32) {
        let mut here = self.atomics.remove(&offset).unwrap_or_default();
        self.acquire(warp, &here);
        self.publish(warp, &mut here);
        self.atomics.insert(offset, here);
        self.release(warp);
    }

    /// What `warp` knows, as an agent in global memory.
    pub fn global_agent(&self, cluster: u32, warp: usize, line: u32) -> GlobalAgent<'_> {
        GlobalAgent {
            cluster,
            warp,
            line,
            clock: &self.clocks[warp],
            foreign: &self.foreign[warp],
            fenced: &self.fenced_global[warp],
            mapped: &self.mapped[warp],
        }
    }

    /// `warp` meets what was released at an address of global memory: it knows that if it `acquires`, else it notes it.
    pub fn acquire_global(
        &mut self,
        global: &GlobalShadow,
        cluster: u32,
        warp: usize,
        at: (usize, u64),
        how: Acquire,
    ) {
        let mut release = Release::default();
        if !global.acquire(at.0, at.1, &mut release) {
            return;
        }
        let split = |mut known: Foreign| {
            let own = known.remove(&cluster).unwrap_or_default();
            Knowledge { own, foreign: known }
        };
        let seen = split(release.seen);
        let found = Published {
            generic: seen.own,
            foreign: seen.foreign,
            fenced_global: split(release.fenced),
            mapped: split(release.mapped),
            ..Published::default()
        };
        match how {
            Acquire::Now => self.acquire(warp, &found),
            Acquire::AtFence => self.noted[warp][0].join(&found),
            Acquire::AtBarrier => self.noted[warp][1].join(&found),
        }
    }

    /// `warp` releases at an address of global memory: everything, or what is behind its last fence.
    pub fn release_global(
        &mut self,
        global: &GlobalShadow,
        cluster: u32,
        warp: usize,
        at: (usize, u64),
        all: bool,
    ) {
        let with = |own: &VectorClock, foreign: &Foreign| {
            let mut known = foreign.clone();
            known.insert(cluster, own.clone());
            known
        };
        let (clock, foreign) = &self.released[warp];
        let seen = if all {
            with(&self.clocks[warp], &self.foreign[warp])
        } else if *clock != VectorClock::default() {
            with(clock, foreign)
        } else {
            return;
        };
        let proxy = |known: &Knowledge| with(&known.own, &known.foreign);
        let (fenced, mapped) = (proxy(&self.fenced_global[warp]), proxy(&self.mapped[warp]));
        global.release(at.0, at.1, &Release { seen, fenced, mapped });
        if all {
            self.clocks[warp].tick(warp);
        }
    }

    /// Whether `warp` is ordered after the start of an operation of an asynchronous agent.
    pub fn saw_start(&self, warp: usize, epoch: Epoch) -> bool {
        self.started.get(&epoch).is_none_or(|&(who, clock)| self.is_after(warp, who, clock))
    }

    /// Remembers that `warp` starts an operation that only touches global memory.
    pub fn note_start(&mut self, warp: usize, epoch: Epoch) {
        self.start(Agent { warp, lane: 0, line: 0 }, Touch::BulkRead(epoch));
    }

    /// `warp` published its clocks: what it does from now on is not covered.
    pub fn release(&mut self, warp: usize) {
        self.clocks[warp].tick(warp);
    }

    /// `warp` starts a new epoch (after an arrive, or when its lanes synchronised).
    pub fn advance(&mut self, warp: usize) {
        self.clocks[warp].tick(warp);
        self.lanes_synced[warp] = self.clocks[warp].get(warp);
    }
}

/// An earlier access that is not ordered before this one.
#[derive(Clone, Copy, Debug)]
struct Conflict {
    line: u32,
    other: u16,
    clock: u32,
    writes: bool,
    /// Ordered, but not across proxies.
    unfenced: bool,
}

#[cfg(test)]
mod tests;
