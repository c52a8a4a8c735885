//! Shadow memory: what the sanitizer knows about each byte of a block's shared memory.
//!
//! Three questions are answered at each access, none of which depends on the values that the run happened to see:
//!
//! 1. *Was it ever written?* (`uninitialized`)
//! 2. *Is an asynchronous copy into it still on its way?* (`async_in_flight`) A copy is in flight from its issue until a wait of the
//!    issuing thread retires it.
//! 3. *Is it ordered after the last conflicting access?* (`race`) by vector clocks in the FastTrack manner.
//!
//! **Clocks.** An agent is a warp. Warp `w` has a vector clock `C_w`; `C_w[w]` counts its own synchronisations. An access by `w` is
//! stamped with the *epoch* (w, C_w[w]); a later access by `v` is ordered after it iff `C_v[w] >=` that stamp. A barrier joins the
//! clocks of its participants and starts a new epoch in each:
//!
//! ```text
//! warp 0: st.shared [x]   stamp (0, 1)      bar.sync      C_0 = (2, 1)
//! warp 1:                                   bar.sync      C_1 = (1, 2)     ld.shared [x]:  C_1[0] = 1 >= 1, ordered
//! without the barrier:    C_1[0] = 0 < 1: race between the two lines
//! ```
//!
//! A `cp.async` write happens when it is retired, by the waiting thread, and PTX promises it to that thread alone: other *lanes* of
//! the same warp see it only after a barrier (of the block or the warp). Such writes carry their lane.
//!
//! A [`Cell`] covers 4 bytes, the usual width. Accesses to part of one are exact too: the cell then splits into four.

mod clocks;

pub use clocks::VectorClock;

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
/// `reader` of a cell whose readers are in the table of reader sets.
const MANY: u16 = u16::MAX - 1;
/// `lane` of a write that is visible to the whole warp.
const ALL_LANES: u8 = u8::MAX;

/// What is known of 4 bytes (or of one byte of a split cell).
#[derive(Clone, Copy, Debug)]
struct Cell {
    write_clock: u32,
    write_line: u32,
    read_clock: u32,
    /// Line of the last read; for `MANY` the key of the reader set is the cell's own number.
    read_line: u32,
    writer: u16,
    reader: u16,
    /// The lane that alone sees an asynchronous write.
    lane: u8,
    /// The last write was an atomic.
    atomic: bool,
    /// Bytes ever written, one bit each.
    written: u8,
}

const FRESH: Cell = Cell {
    write_clock: 0,
    write_line: 0,
    read_clock: 0,
    read_line: 0,
    writer: NOBODY,
    reader: NOBODY,
    lane: ALL_LANES,
    atomic: false,
    written: 0,
};

/// How an access touches memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    Read,
    Write,
    /// The write of a retired `cp.async`.
    AsyncWrite,
    /// A read-modify-write; atomics do not race with each other.
    Atomic,
}

/// The shadow of one block's shared memory.
#[derive(Debug)]
pub struct Shadow {
    cells: Vec<Cell>,
    /// Cells of which parts were accessed by themselves, by byte.
    split: FxHashMap<u32, [Cell; 4]>,
    /// Reader sets of cells (by cell × 5 + byte, 4 for the whole) read by several warps since the last write: (warp, clock, line).
    readers: FxHashMap<u32, Vec<(u16, u32, u32)>>,
    /// Line of the `cp.async` in flight to these 4 bytes, 0 for none.
    in_flight: Vec<u32>,
    clocks: Vec<VectorClock>,
    /// Own clock of each warp when its lanes last synchronised with each other.
    lanes_synced: Vec<u32>,
}

impl Shadow {
    /// Shadow of `bytes` of shared memory in a block of `warps` warps.
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
            clocks,
            lanes_synced: vec![0; warps],
        }
    }

    /// An access to `bytes` at `offset` (in range). Returns the first fault; the access is recorded either way.
    pub fn touch(&mut self, agent: Agent, touch: Touch, offset: u32, bytes: u32) -> Option<Fault> {
        let mut fault = None;
        let (mut at, end) = (offset, offset + bytes);
        while at < end {
            let cell = at / 4;
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
    pub fn complete(&mut self, agent: Agent, offset: u32, bytes: u32) -> Option<Fault> {
        for cell in offset / 4..(offset + bytes).div_ceil(4) {
            self.in_flight[cell as usize] = 0;
        }
        self.touch(agent, Touch::AsyncWrite, offset, bytes)
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
            let found =
                self.unordered_write(agent, part, false).or_else(|| self.unordered_read(agent, part, key));
            if let Some((line, warp, writes)) = found {
                return Some(race(line, warp, writes, cell * 4));
            }
        }
        None
    }

    fn touch_cell(&mut self, agent: Agent, touch: Touch, cell: u32, first: u32, bytes: u32) -> Option<Fault> {
        let mut fault = None;
        if touch != Touch::AsyncWrite {
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
        let own = self.clocks[agent.warp].get(agent.warp);
        let mut fault = None;
        if matches!(touch, Touch::Read | Touch::Atomic)
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
            .unordered_write(agent, state, touch == Touch::Atomic)
            .or_else(|| if touch == Touch::Read { None } else { self.unordered_read(agent, state, key) });
        if let Some((line, warp, writes)) = found {
            fault = fault.or(Some(race(line, warp, writes, offset)));
        }
        match touch {
            Touch::Read => self.record_read(agent, own, state, key),
            Touch::Write | Touch::AsyncWrite | Touch::Atomic => {
                if state.reader == MANY {
                    self.readers.remove(&key);
                }
                state.reader = NOBODY;
                state.writer = agent.warp as u16;
                state.write_clock = own;
                state.write_line = agent.line;
                state.written |= bits;
                state.atomic = touch == Touch::Atomic;
                state.lane = if touch == Touch::AsyncWrite { agent.lane as u8 } else { ALL_LANES };
            }
        }
        fault
    }

    fn record_read(&mut self, agent: Agent, own: u32, state: &mut Cell, key: u32) {
        let me = agent.warp as u16;
        if state.reader == NOBODY
            || state.reader == me
            || (state.reader != MANY && self.is_ordered(agent, state.reader, state.read_clock))
        {
            state.reader = me;
            state.read_clock = own;
            state.read_line = agent.line;
            return;
        }
        let set = self.readers.entry(key).or_default();
        if state.reader != MANY {
            set.clear();
            set.push((state.reader, state.read_clock, state.read_line));
            state.reader = MANY;
        }
        match set.iter_mut().find(|(warp, ..)| *warp == me) {
            Some(entry) => *entry = (me, own, agent.line),
            None => set.push((me, own, agent.line)),
        }
    }

    fn is_ordered(&self, agent: Agent, warp: u16, clock: u32) -> bool {
        warp as usize == agent.warp || self.clocks[agent.warp].get(warp as usize) >= clock
    }

    /// The last write, if `agent` is not ordered after it: (line, warp, true).
    fn unordered_write(&self, agent: Agent, state: &Cell, atomic: bool) -> Option<(u32, u16, bool)> {
        if state.writer == NOBODY || (atomic && state.atomic) {
            return None;
        }
        let hidden = state.lane != ALL_LANES
            && state.writer as usize == agent.warp
            && u32::from(state.lane) != agent.lane
            && self.lanes_synced[agent.warp] <= state.write_clock;
        (hidden || !self.is_ordered(agent, state.writer, state.write_clock)).then_some((
            state.write_line,
            state.writer,
            true,
        ))
    }

    /// A read since the last write that `agent` is not ordered after: (line, warp, false).
    fn unordered_read(&self, agent: Agent, state: &Cell, key: u32) -> Option<(u32, u16, bool)> {
        match state.reader {
            NOBODY => None,
            MANY => self
                .readers
                .get(&key)?
                .iter()
                .find(|&&(warp, clock, _)| !self.is_ordered(agent, warp, clock))
                .map(|&(warp, _, line)| (line, warp, false)),
            warp => {
                (!self.is_ordered(agent, warp, state.read_clock)).then_some((state.read_line, warp, false))
            }
        }
    }

    /// The clock of `warp` as it would be published by an arrive.
    pub fn publish(&self, warp: usize, into: &mut VectorClock) {
        into.join(&self.clocks[warp]);
    }

    /// `warp` goes on after a synchronisation that published `clock`: it has seen all of that, and starts a new epoch.
    pub fn synchronise(&mut self, warp: usize, clock: &VectorClock) {
        self.clocks[warp].join(clock);
        self.advance(warp);
    }

    /// `warp` starts a new epoch (after an arrive, or when its lanes synchronised).
    pub fn advance(&mut self, warp: usize) {
        self.clocks[warp].tick(warp);
        self.lanes_synced[warp] = self.clocks[warp].get(warp);
    }

    /// An empty clock for this block.
    pub fn empty_clock(&self) -> VectorClock {
        VectorClock::new(self.clocks.len())
    }
}

fn race(line: u32, warp: u16, writes: bool, offset: u32) -> Fault {
    Fault {
        kind: FindingKind::Race,
        other_line: Some(line),
        other_warp: Some(warp as usize),
        other_writes: writes,
        offset,
    }
}

#[cfg(test)]
mod tests;
