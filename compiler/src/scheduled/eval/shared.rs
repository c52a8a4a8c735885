//! A block's shared memory as T2 sees it: elements at byte offsets, each with what is known of it.
//!
//! A cell lies at the byte offset of an element and says how many bytes were written there, so that two layouts that disagree, or
//! buffers that overlap, show as *torn* reads. In the *ordered* form time matters: barriers cut it into epochs. What a thread writes
//! others may read one epoch later; what it reads others may overwrite one epoch later; and an asynchronous copy writes nothing
//! before a wait retires its group. Worked example, a ring entry from copy to reuse:
//!
//! ```text
//! copy.in      in flight: whoever reads now reads poison
//! wait_group   written in epoch 4: still poison for others
//! bar          epoch 5: whoever reads now reads the element, and leaves a note "read in epoch 5"
//! copy.in      in epoch 5: overwrites what may still be read. In epoch 6 it would be fine.
//! ```

use std::collections::VecDeque;

/// What is wrong with an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Problem {
    /// Read: nobody wrote it.
    Unwritten,
    /// Read: the copy that writes it has not been waited for.
    InFlight,
    /// Read: its writer has not passed a barrier since.
    Unpublished,
    /// Read: something of another size, or part of another element, lies there.
    Torn,
    /// Write: a copy to it is still in flight.
    OverInFlight,
    /// Write: others may still read what lies there.
    OverRead,
    /// Write: another operation wrote it, and no barrier came between.
    OverWrite,
    /// The offset is outside the block's shared memory.
    Outside,
}

impl Problem {
    pub fn words(self) -> &'static str {
        match self {
            Problem::Unwritten => "reads what nobody wrote",
            Problem::InFlight => "reads what a copy in flight has not been waited for",
            Problem::Unpublished => "reads what another thread wrote with no barrier since",
            Problem::Torn => "reads part of another element",
            Problem::OverInFlight => "writes where a copy is still in flight",
            Problem::OverRead => "overwrites what may still be read: no barrier since",
            Problem::OverWrite => "overwrites what another operation wrote with no barrier since",
            Problem::Outside => "leaves the block's shared memory",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Empty,
    InFlight,
    Written,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    bits: u64,
    bytes: u8,
    state: State,
    /// Epoch in which it was last written, and read; 0 for never.
    wrote: u32,
    read: u32,
    /// Which operation wrote it.
    by: u32,
}

const EMPTY: Cell = Cell { bits: 0, bytes: 0, state: State::Empty, wrote: 0, read: 0, by: 0 };

/// One element of an asynchronous copy.
#[derive(Clone, Copy, Debug)]
struct Landing {
    at: u32,
    bits: u64,
    bytes: u8,
    by: u32,
}

/// How an element is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writer {
    /// Names the operation: clones of one op are one writer.
    pub by: u32,
    /// Lands when its group is waited for.
    pub asynchronous: bool,
    /// Bytes of an element.
    pub bytes: u8,
}

/// The shared memory of one block.
#[derive(Debug)]
pub(super) struct Shared {
    cells: Vec<Cell>,
    /// Whether synchronisation is in the program, so that its absence means something.
    ordered: bool,
    epoch: u32,
    /// Copies since the last commit, and committed groups, oldest first.
    open: Vec<Landing>,
    groups: VecDeque<Vec<Landing>>,
}

impl Shared {
    pub fn new(bytes: u32, ordered: bool) -> Shared {
        Shared {
            cells: vec![EMPTY; bytes as usize],
            ordered,
            epoch: 1,
            open: Vec::new(),
            groups: VecDeque::new(),
        }
    }

    /// Another block begins.
    pub fn reset(&mut self) {
        self.cells.fill(EMPTY);
        self.epoch = 1;
        self.open.clear();
        self.groups.clear();
    }

    /// The block goes on to its next item: what lies here is free, unless something is still under way. The next item does not touch what
    /// lies at `told`.
    pub fn next_item(&mut self, told: &std::ops::Range<usize>) -> Result<(), Problem> {
        let (ordered, epoch) = (self.ordered, self.epoch);
        let busy = |cell: &Cell| match cell.state {
            State::InFlight => Some(Problem::OverInFlight),
            State::Empty => None,
            State::Written if cell.read == epoch => Some(Problem::OverRead),
            State::Written if cell.wrote == epoch => Some(Problem::OverWrite),
            State::Written => None,
        };
        let others = self.cells.iter().enumerate().filter(|(at, _)| !told.contains(at));
        let problem = if ordered { others.map(|(_, cell)| cell).find_map(busy) } else { None };
        self.cells.fill(EMPTY);
        self.open.clear();
        self.groups.clear();
        problem.map_or(Ok(()), Err)
    }

    /// The element of `bytes` bytes at `at`; its bits, and what is wrong with reading them.
    pub fn read(&mut self, at: u32, bytes: u8) -> Result<u64, Problem> {
        let (ordered, epoch) = (self.ordered, self.epoch);
        let cell = self.cells.get_mut(at as usize).ok_or(Problem::Outside)?;
        cell.read = epoch;
        match cell.state {
            State::Empty => Err(Problem::Unwritten),
            State::InFlight => Err(Problem::InFlight),
            State::Written if cell.bytes != bytes => Err(Problem::Torn),
            State::Written if ordered && cell.wrote == epoch => Err(Problem::Unpublished),
            State::Written => Ok(cell.bits),
        }
    }

    /// Writes an element, or sends it on its way.
    pub fn write(&mut self, at: u32, bits: u64, writer: Writer) -> Result<(), Problem> {
        let (ordered, epoch) = (self.ordered, self.epoch);
        let Some(cell) = self.cells.get_mut(at as usize) else { return Err(Problem::Outside) };
        let problem = match cell.state {
            State::InFlight => Some(Problem::OverInFlight),
            _ if ordered && cell.read == epoch => Some(Problem::OverRead),
            State::Written if ordered && cell.wrote == epoch && cell.by != writer.by => {
                Some(Problem::OverWrite)
            }
            _ => None,
        };
        if writer.asynchronous && ordered {
            cell.state = State::InFlight;
            self.open.push(Landing { at, bits, bytes: writer.bytes, by: writer.by });
        } else {
            self.land(Landing { at, bits, bytes: writer.bytes, by: writer.by });
        }
        problem.map_or(Ok(()), Err)
    }

    fn land(&mut self, l: Landing) {
        let epoch = self.epoch;
        for part in 0..u32::from(l.bytes) {
            // Every byte of the element is its own; the first carries the value.
            if let Some(cell) = self.cells.get_mut((l.at + part) as usize) {
                let bytes = if part == 0 { l.bytes } else { 0 };
                *cell = Cell {
                    bits: l.bits,
                    bytes,
                    state: State::Written,
                    wrote: epoch,
                    read: cell.read,
                    by: l.by,
                };
            }
        }
    }

    /// Copies issued since the last commit become a group.
    pub fn commit(&mut self) {
        self.groups.push_back(std::mem::take(&mut self.open));
    }

    /// Waits until at most `newest` groups are pending.
    pub fn wait(&mut self, newest: usize) {
        while self.groups.len() > newest {
            for landing in self.groups.pop_front().unwrap_or_default() {
                self.land(landing);
            }
        }
    }

    /// Now, in epochs.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether what threads did in an epoch is not ordered before what one of them does now.
    pub fn unordered(&self, since: u32) -> bool {
        self.ordered && since == self.epoch
    }

    /// All threads of the block meet.
    pub fn barrier(&mut self) {
        self.epoch += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(by: u32) -> Writer {
        Writer { by, asynchronous: true, bytes: 2 }
    }

    #[test]
    fn an_element_is_read_after_wait_and_barrier_and_overwritten_after_another() {
        let mut s = Shared::new(64, true);
        assert_eq!(s.read(4, 2), Err(Problem::Unwritten));
        s.barrier();
        s.write(4, 7, copy(1)).unwrap();
        s.commit();
        assert_eq!(s.read(4, 2), Err(Problem::InFlight));
        s.wait(0);
        assert_eq!(s.read(4, 2), Err(Problem::Unpublished));
        s.barrier();
        assert_eq!(s.read(4, 2), Ok(7));
        assert_eq!(s.write(4, 8, copy(1)), Err(Problem::OverRead));
        s.barrier();
        assert_eq!(s.write(4, 8, copy(1)), Err(Problem::OverInFlight));
    }

    #[test]
    fn only_the_oldest_groups_land() {
        let mut s = Shared::new(64, true);
        for n in 0..3 {
            s.write(4 * n, u64::from(n), copy(1)).unwrap();
            s.commit();
        }
        s.wait(2);
        s.barrier();
        assert_eq!((s.read(0, 2), s.read(4, 2)), (Ok(0), Err(Problem::InFlight)));
    }

    #[test]
    fn overlapping_elements_are_torn() {
        let mut s = Shared::new(64, false);
        let now = Writer { by: 1, asynchronous: false, bytes: 4 };
        s.write(0, 1, now).unwrap();
        s.write(2, 2, Writer { bytes: 2, ..now }).unwrap();
        assert_eq!((s.read(1, 2), s.read(2, 2)), (Err(Problem::Torn), Ok(2)));
        assert_eq!(s.read(64, 2), Err(Problem::Outside));
    }
}
