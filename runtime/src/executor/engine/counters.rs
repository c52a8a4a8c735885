//! Counting: per-step numbers of one block, summed into [`Stats`] at the end.

use super::super::program::Program;
use super::super::stats::{MemoryCount, Stats};

/// Per-step counts. The vectors are empty when statistics are off.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    pub warp_instructions: u64,
    pub mma: u64,
    executions: Vec<u64>,
    shared: Vec<MemoryCount>,
    global: Vec<MemoryCount>,
    read: u64,
    written: u64,
    /// The step that is executed.
    current: usize,
}

impl Counters {
    pub fn new(steps: usize, on: bool) -> Counters {
        let n = if on { steps } else { 0 };
        Counters {
            executions: vec![0; n],
            shared: vec![MemoryCount::default(); n],
            global: vec![MemoryCount::default(); n],
            ..Counters::default()
        }
    }

    #[inline]
    pub fn on(&self) -> bool {
        !self.executions.is_empty()
    }

    #[inline]
    pub fn executed(&mut self, step: usize) {
        if let Some(count) = self.executions.get_mut(step) {
            *count += 1;
            self.current = step;
        }
    }

    /// A range of global memory that the bulk copy of the current step moves.
    pub fn bulk(&mut self, offset: u64, bytes: u64, writes: bool) {
        let Some(count) = self.global.get_mut(self.current) else { return };
        if bytes == 0 {
            return;
        }
        count.requests += 1;
        count.sectors += (offset + bytes - 1) / 32 - offset / 32 + 1;
        count.bytes += bytes;
        if writes {
            self.written += bytes;
        } else {
            self.read += bytes;
        }
    }

    /// A shared-memory access whose active lanes are `mask`.
    pub fn shared(&mut self, step: usize, offsets: &[u64; 32], mask: u32, bytes: u32) {
        let Some(count) = self.shared.get_mut(step) else { return };
        let (wavefronts, ideal) = wavefronts(offsets, mask, bytes);
        count.requests += 1;
        count.wavefronts += wavefronts;
        count.extra_wavefronts += wavefronts - ideal;
        count.bytes += u64::from(mask.count_ones() * bytes);
    }

    /// A global-memory access whose active lanes are `mask`; `lane_bytes` says how much a lane moves.
    pub fn global(
        &mut self,
        step: usize,
        addresses: &[u64; 32],
        mask: u32,
        lane_bytes: impl Fn(usize) -> u32,
        writes: bool,
    ) {
        let Some(count) = self.global.get_mut(step) else { return };
        let mut sectors = Vec::with_capacity(64);
        let mut bytes = 0u64;
        for lane in (0..32).filter(|lane| mask >> lane & 1 != 0) {
            let size = u64::from(lane_bytes(lane));
            if size == 0 {
                continue;
            }
            bytes += size;
            sectors.extend(addresses[lane] / 32..=(addresses[lane] + size - 1) / 32);
        }
        sectors.sort_unstable();
        sectors.dedup();
        count.requests += 1;
        count.sectors += sectors.len() as u64;
        count.bytes += bytes;
        if writes {
            self.written += bytes;
        } else {
            self.read += bytes;
        }
    }

    /// Adds another block's counts.
    pub fn merge(&mut self, other: &Counters) {
        self.warp_instructions += other.warp_instructions;
        self.mma += other.mma;
        self.read += other.read;
        self.written += other.written;
        for (mine, theirs) in self.executions.iter_mut().zip(&other.executions) {
            *mine += theirs;
        }
        for (mine, theirs) in
            self.shared.iter_mut().zip(&other.shared).chain(self.global.iter_mut().zip(&other.global))
        {
            mine.requests += theirs.requests;
            mine.wavefronts += theirs.wavefronts;
            mine.extra_wavefronts += theirs.extra_wavefronts;
            mine.sectors += theirs.sectors;
            mine.bytes += theirs.bytes;
        }
    }

    /// The report for `program`.
    pub fn report(self, program: &Program) -> Stats {
        let mut stats = Stats {
            warp_instructions: self.warp_instructions,
            mma: self.mma,
            global_bytes_read: self.read,
            global_bytes_written: self.written,
            ..Stats::default()
        };
        for (number, &count) in self.executions.iter().enumerate().filter(|(_, count)| **count > 0) {
            for line in program.lines_of(number) {
                if let Ok(at) = program.mnemonics.binary_search_by_key(&line, |(l, _)| *l) {
                    *stats.mix.entry(program.mnemonics[at].1.clone()).or_default() += count;
                }
            }
        }
        let used = |counts: Vec<MemoryCount>| {
            let with_line = counts.into_iter().enumerate().filter(|(_, c)| c.requests > 0);
            with_line.map(|(step, count)| MemoryCount { line: program.steps[step].line, ..count }).collect()
        };
        stats.shared = used(self.shared);
        stats.global = used(self.global);
        stats.count_tensor_ops();
        stats
    }
}

/// (wavefronts, wavefronts without conflicts) of a shared-memory access.
///
/// Up to 4 bytes a lane, 32 lanes are served together; with 8 bytes half a warp, with 16 a quarter. Each such phase takes as many
/// passes as the busiest of the 32 four-byte banks has *different* words to deliver: equal words are broadcast.
pub fn wavefronts(offsets: &[u64; 32], mask: u32, bytes: u32) -> (u64, u64) {
    let lanes_per_phase = match bytes {
        0..=4 => 32,
        5..=8 => 16,
        _ => 8,
    };
    let (mut total, mut ideal) = (0, 0);
    for first in (0..32).step_by(lanes_per_phase) {
        let mut words = [0u64; 64];
        let mut count = 0;
        for lane in (first..first + lanes_per_phase).filter(|lane| mask >> lane & 1 != 0) {
            for word in offsets[lane] / 4..(offsets[lane] + u64::from(bytes)).div_ceil(4) {
                if count < words.len() && !words[..count].contains(&word) {
                    words[count] = word;
                    count += 1;
                }
            }
        }
        if count == 0 {
            continue;
        }
        let mut banks = [0u64; 32];
        words[..count].iter().for_each(|word| banks[(word % 32) as usize] += 1);
        total += banks.into_iter().max().unwrap_or(1);
        ideal += (count as u64).div_ceil(32);
    }
    (total, ideal)
}

#[cfg(test)]
mod tests {
    use super::wavefronts;

    fn offsets(f: impl Fn(u64) -> u64) -> [u64; 32] {
        std::array::from_fn(|lane| f(lane as u64))
    }

    #[test]
    fn conflicts_are_counted_as_passes_over_the_banks() {
        assert_eq!(wavefronts(&offsets(|l| 4 * l), u32::MAX, 4), (1, 1), "one word per bank");
        assert_eq!(wavefronts(&offsets(|_| 64), u32::MAX, 4), (1, 1), "broadcast");
        assert_eq!(wavefronts(&offsets(|l| 128 * l), u32::MAX, 4), (32, 1), "a column");
        assert_eq!(wavefronts(&offsets(|l| 16 * l), u32::MAX, 16), (4, 4), "16 bytes a lane");
        assert_eq!(
            wavefronts(&offsets(|l| 64 * l), u32::MAX, 16),
            (16, 4),
            "rows of 64 bytes, four to a bank"
        );
        assert_eq!(wavefronts(&offsets(|l| 2 * l), u32::MAX, 2), (1, 1), "halves share words");
    }
}
