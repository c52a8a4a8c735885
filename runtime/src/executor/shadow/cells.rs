//! What is known of each byte of shared memory, and what an access finds there.

use super::super::finding::FindingKind;
use super::{Agent, Epoch, Fault, NOBODY, Shadow, Touch};

/// Bytes of shared memory whose changes are counted together.
pub(super) const VERSIONED: usize = 1024;

/// `lane` of a write that is visible to the whole warp.
const ALL_LANES: u8 = u8::MAX;

/// What is known of 4 bytes (or of one byte of a split cell).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    write_clock: u32,
    write_line: u32,
    /// Reads since the last write, if there are no more agents than this.
    reads: [Read; READERS],
    /// There are more, in the table of reader sets.
    many: bool,
    writer: u16,
    /// The lane that alone sees the write until the lanes of its warp have met.
    lane: u8,
    /// The last write was an atomic or another strong one.
    atomic: bool,
    /// Bytes ever written, one bit each.
    written: u8,
}

/// A read by an agent at one of its epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read {
    clock: u32,
    line: u32,
    agent: u16,
    /// The lane of a load; [`SEVERAL`] if there are more that have not met since, [`ALL_LANES`] of a read by the whole warp.
    lane: u8,
    /// Strong: atomics and strong stores do not race with it.
    strong: bool,
}

/// `lane` of reads by several lanes.
const SEVERAL: u8 = u8::MAX - 1;

/// Agents whose reads have room in a cell: the warps of the usual block, so that a cell is a line of the cache.
const READERS: usize = 4;

const NO_READ: Read = Read { clock: 0, line: 0, agent: NOBODY, lane: ALL_LANES, strong: false };

pub(super) const FRESH: Cell = Cell {
    write_clock: 0,
    write_line: 0,
    reads: [NO_READ; READERS],
    many: false,
    writer: NOBODY,
    lane: ALL_LANES,
    atomic: false,
    written: 0,
};

/// The states of the cells of some chunks after a read of them, each once, and when they were that.
#[derive(Clone, Debug)]
pub struct SeenCells {
    states: Vec<Cell>,
    lines: std::ops::Range<usize>,
    version: u64,
}

/// States that are worth remembering.
const FEW: usize = 8;

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

/// The first of two faults, unless it is a read of what nobody wrote: nothing may come of that.
fn graver(first: Option<Fault>, second: Option<Fault>) -> Option<Fault> {
    let slight = |fault: &Fault| fault.kind == FindingKind::Uninitialized;
    if first.as_ref().is_some_and(|fault| !slight(fault)) {
        first
    } else {
        second.filter(|f| first.is_none() || !slight(f)).or(first)
    }
}

impl Shadow {
    /// An access to `bytes` at `offset` (in range). Returns the first fault; the access is recorded either way.
    pub fn touch(&mut self, agent: Agent, touch: Touch, offset: u32, bytes: u32) -> Option<Fault> {
        self.start(agent, touch);
        self.touch_range(agent, touch, offset, bytes, &mut None)
    }

    /// Remembers who starts an asynchronous operation.
    pub(super) fn start(&mut self, agent: Agent, touch: Touch) {
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
            fault = graver(fault, found);
        }
        fault
    }

    /// What is known of `chunks` of 16 bytes, which were just read.
    pub fn seen(&self, chunks: &[u32]) -> SeenCells {
        let (low, high) =
            chunks.iter().fold((u32::MAX, 0), |(low, high), &at| (low.min(at), high.max(at + 15)));
        let lines = if low > high { 0..0 } else { low as usize / VERSIONED..high as usize / VERSIONED + 1 };
        let mut states: Vec<Cell> = Vec::new();
        for cell in chunks.iter().flat_map(|at| at / 4..at / 4 + 4) {
            let state = self.cells[cell as usize];
            if states.last() != Some(&state) && !states.contains(&state) {
                states.push(state);
            }
            if states.len() > FEW {
                break;
            }
        }
        SeenCells { states, version: self.version(&lines), lines }
    }

    /// Whether a read of the same cells by `agent`, for the same epoch, would find nothing wrong and change nothing.
    pub fn sees_again(&self, agent: Agent, touch: Touch, seen: &SeenCells) -> bool {
        seen.states.len() <= FEW
            && self.split.is_empty()
            && self.version(&seen.lines) == seen.version
            && seen.states.iter().all(|state| {
                state.written == 0b1111 && !state.many && self.unordered_write(agent, state, touch).is_none()
            })
    }

    fn version(&self, lines: &std::ops::Range<usize>) -> u64 {
        self.versions[lines.clone()].iter().sum()
    }

    /// Something other than a read happened to these bytes.
    fn note_change(&mut self, offset: u32, bytes: u32) {
        let last = (offset + bytes.max(1) - 1) as usize / VERSIONED;
        self.versions[offset as usize / VERSIONED..=last].iter_mut().for_each(|version| *version += 1);
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
        if !touch.only_reads() {
            self.note_change(offset, bytes);
        }
        let mut fault = None;
        let (mut at, end) = (offset, offset + bytes);
        let plain = self.split.is_empty();
        while at < end {
            let cell = at / 4;
            if plain && at.is_multiple_of(4) && end - at >= 4 && self.in_flight[cell as usize] == 0 {
                let before = self.cells[cell as usize];
                match *known {
                    Some((from, to)) if from == before => self.cells[cell as usize] = to,
                    _ => {
                        let found = self.touch_cell(agent, touch, cell, 0, 4);
                        fault = graver(fault, found);
                        let after = self.cells[cell as usize];
                        *known = (!before.many && !after.many).then_some((before, after));
                    }
                }
                at += 4;
                continue;
            }
            let stop = end.min((cell + 1) * 4);
            let found = self.touch_cell(agent, touch, cell, at % 4, stop - at);
            fault = graver(fault, found);
            at = stop;
        }
        fault
    }

    /// Those of `bytes` bytes at `offset` (16 at most) that nobody has written and nothing is on its way to, one bit each.
    pub fn unwritten(&self, offset: u32, bytes: u32) -> u16 {
        let fresh = |at: u32| {
            let (cell, byte) = (at / 4, at % 4);
            let written = match self.split.get(&cell) {
                Some(parts) => parts[byte as usize].written & 1,
                None => self.cells[cell as usize].written >> byte & 1,
            };
            written == 0 && self.in_flight[cell as usize] == 0
        };
        (0..bytes.min(16)).fold(0, |bits, at| bits | u16::from(fresh(offset + at)) << at)
    }

    /// These bytes (whole words) hold something from the beginning.
    pub fn initialise(&mut self, bytes: std::ops::Range<usize>) {
        self.cells[bytes.start / 4..bytes.end / 4].iter_mut().for_each(|cell| cell.written = 0b1111);
    }

    /// What was done to `bytes` at `offset` is ordered before everything from now on.
    pub fn forget(&mut self, offset: u32, bytes: u32) {
        self.note_change(offset, bytes);
        for cell in offset / 4..(offset + bytes).div_ceil(4) {
            let written = self.cells[cell as usize].written;
            self.cells[cell as usize] = Cell { written, ..FRESH };
            if let Some(parts) = self.split.get_mut(&cell) {
                parts.iter_mut().for_each(|part| *part = Cell { written: part.written, ..FRESH });
            }
            (0..5).for_each(|byte| drop(self.readers.remove(&(cell * 5 + byte))));
        }
    }

    /// A `cp.async` to `bytes` at `offset` was issued.
    pub fn issue(&mut self, agent: Agent, offset: u32, bytes: u32) -> Option<Fault> {
        self.note_change(offset, bytes);
        let mut fault = None;
        // Neighbours are mostly in the same state.
        let mut clean: Option<Cell> = None;
        for cell in offset / 4..(offset + bytes).div_ceil(4) {
            fault = fault.or_else(|| self.pending(cell));
            let state = self.cells[cell as usize];
            if clean != Some(state) {
                // The copy may write from now on: whoever used these bytes before must be ordered before the issue.
                fault = fault.or_else(|| self.conflicts(agent, cell));
                clean = (fault.is_none() && !state.many && self.split.is_empty()).then_some(state);
            }
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
                .or_else(|| self.unordered_read(agent, part, key, Touch::LaneWrite));
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
            return graver(fault, found);
        }
        self.split(cell);
        for byte in first..first + bytes {
            let Some(parts) = self.split.get(&cell) else { break };
            let mut state = parts[byte as usize];
            let found = self.touch_one(agent, touch, &mut state, cell * 5 + byte, 1, cell * 4 + byte);
            if let Some(parts) = self.split.get_mut(&cell) {
                parts[byte as usize] = state;
            }
            fault = graver(fault, found);
        }
        fault
    }

    /// Splits a cell into its bytes.
    fn split(&mut self, cell: u32) {
        if self.split.contains_key(&cell) {
            return;
        }
        let whole = self.cells[cell as usize];
        let mut parts = [whole; 4];
        for (byte, part) in parts.iter_mut().enumerate() {
            part.written = whole.written >> byte & 1;
        }
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
        let reads = touch.only_reads();
        let mut fault = None;
        if touch.reads() && state.written & bits != bits && self.in_flight[(offset / 4) as usize] == 0 {
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
            .or_else(|| if reads { None } else { self.unordered_read(agent, state, key, touch) });
        if let Some(conflict) = found {
            fault = Some(self.fault(agent, conflict, offset));
        }
        if reads {
            let lane = if touch == Touch::LaneRead { agent.lane as u8 } else { ALL_LANES };
            self.read[agent.warp] |= touch == Touch::LaneRead;
            self.record_read(
                agent,
                Read { clock, line: agent.line, agent: who, lane, strong: touch.is_atomic() },
                state,
                key,
            );
            return fault;
        }
        if state.many {
            self.readers.remove(&key);
            state.many = false;
        }
        state.reads = [NO_READ; READERS];
        state.writer = who;
        state.write_clock = clock;
        state.write_line = agent.line;
        state.written |= bits;
        state.atomic = touch.is_atomic();
        state.lane = match touch {
            Touch::AsyncWrite(_) | Touch::LaneWrite => agent.lane as u8,
            _ => ALL_LANES,
        };
        self.wrote[agent.warp] |= touch == Touch::LaneWrite;
        fault
    }

    /// `read` after `old`, both by the same agent: other lanes that have not met since are remembered.
    fn joined(&self, old: Read, read: Read) -> Read {
        let lane = match self.reads_met.get(usize::from(old.agent)) {
            Some(&met) if old.lane != ALL_LANES && met <= old.clock && old.lane != read.lane => SEVERAL,
            _ => read.lane,
        };
        // What was read weakly in this epoch stays so.
        Read { lane, strong: read.strong && (old.strong || old.clock != read.clock), ..read }
    }

    fn record_read(&mut self, agent: Agent, read: Read, state: &mut Cell, key: u32) {
        let who = read.agent;
        if !state.many {
            let own = state.reads.iter().position(|old| old.agent == who);
            // A read that this one is ordered after need not be remembered: who is ordered after this one is ordered after that.
            let free = || {
                state
                    .reads
                    .iter()
                    .position(|old| old.agent == NOBODY || self.is_ordered(agent, old.agent, old.clock))
            };
            if let Some(slot) = own {
                state.reads[slot] = self.joined(state.reads[slot], read);
                return;
            }
            if let Some(slot) = free() {
                state.reads[slot] = read;
                return;
            }
        }
        let known = self.readers.get(&key).and_then(|set| set.iter().find(|old| old.agent == who));
        let read = known.filter(|_| state.many).map_or(read, |&old| self.joined(old, read));
        let set = self.readers.entry(key).or_default();
        if !state.many {
            set.clear();
            set.extend(state.reads);
            state.reads = [NO_READ; READERS];
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
            && !(touch == Touch::LaneWrite && state.write_line == agent.line)
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

    /// A read since the last write that a write by `agent` is not ordered after; of other lanes of its own warp too, if a lane writes.
    fn unordered_read(&self, agent: Agent, state: &Cell, key: u32, touch: Touch) -> Option<Conflict> {
        let unordered = |read: &&Read| {
            let other_lane = touch == Touch::LaneWrite
                && usize::from(read.agent) == agent.warp
                && read.lane != ALL_LANES
                && u32::from(read.lane) != agent.lane
                && self.reads_met[agent.warp] <= read.clock;
            let strong = read.strong && touch.is_atomic();
            read.agent != NOBODY && !strong && (other_lane || !self.is_ordered(agent, read.agent, read.clock))
        };
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
}
