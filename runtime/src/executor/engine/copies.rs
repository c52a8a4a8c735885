//! `cp.async`: copies from global to shared memory that complete when somebody waits.
//!
//! PTX counts groups per *thread*: a commit closes the group of every thread that executes it, and `wait_group N` returns when
//! at most the N newest groups of the executing thread are pending. In *eager* mode the copy is done at issue and the queue
//! stays empty. In *lazy* mode the copy is done as late as the program allows: when a wait of the thread that issued it retires
//! its group. A program that forgot the wait, or waits for too few groups, then reads what was there before.

/// The bytes one warp instruction copies, by lane.
#[derive(Clone, Debug)]
pub struct PendingCopy {
    /// PTX line of the `cp.async`.
    pub line: u32,
    /// How many the warp issued before it; the queue fills it in.
    pub number: u64,
    /// Lanes whose copy is pending.
    pub mask: u32,
    /// The group of each lane's copy, in that lane's count of groups.
    pub group: [u32; 32],
    /// Offset in shared memory.
    pub dst: [u32; 32],
    /// Address in global memory.
    pub src: [u64; 32],
    /// Bytes written.
    pub bytes: u8,
    /// Bytes read; the rest of `bytes` is zero.
    pub src_bytes: [u8; 32],
}

/// The pending copies of a warp, oldest first.
#[derive(Clone, Debug, Default)]
pub struct CopyQueue {
    pending: Vec<PendingCopy>,
    /// Groups that each lane has committed.
    committed: [u32; 32],
    issued: u64,
}

impl CopyQueue {
    /// Groups committed so far, by lane: the number of the group that is open now.
    pub fn open_groups(&self) -> [u32; 32] {
        self.committed
    }

    pub fn push(&mut self, copy: PendingCopy) {
        self.pending.push(PendingCopy { number: self.issued, ..copy });
        self.issued += 1;
    }

    /// Copies issued so far.
    pub fn issued(&self) -> u64 {
        self.issued
    }

    /// `cp.async.commit_group` by the lanes of `mask`.
    pub fn commit(&mut self, mask: u32) {
        for lane in 0..32 {
            self.committed[lane] += mask >> lane & 1;
        }
    }

    /// Removes what a wait by the lanes of `mask` retires: all but the `newest` newest committed groups (and the open one), or
    /// everything if `newest` is `None`. Oldest first; each of them in `retired` has a mask of the retired lanes.
    pub fn retire(&mut self, mask: u32, newest: Option<u32>, retired: &mut Vec<PendingCopy>) {
        let committed = self.committed;
        let due = |copy: &PendingCopy, lane: usize| match newest {
            None => true,
            Some(n) => copy.group[lane].saturating_add(n) < committed[lane],
        };
        self.take(mask, due, retired);
    }

    /// Removes the copies by the lanes of `mask` in front of copy number `before`.
    pub fn retire_older(&mut self, mask: u32, before: u64, retired: &mut Vec<PendingCopy>) {
        self.take(mask, |copy, _| copy.number < before, retired);
    }

    fn take(&mut self, mask: u32, due: impl Fn(&PendingCopy, usize) -> bool, retired: &mut Vec<PendingCopy>) {
        self.pending.retain_mut(|copy| {
            let mut done = 0u32;
            for lane in 0..32 {
                let bit = 1 << lane;
                if copy.mask & mask & bit != 0 && due(copy, lane) {
                    done |= bit;
                }
            }
            if done != 0 {
                let mut part = copy.clone();
                part.mask = done;
                retired.push(part);
                copy.mask &= !done;
            }
            copy.mask != 0
        });
    }

    /// Whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(queue: &CopyQueue, line: u32, mask: u32) -> PendingCopy {
        let group = queue.open_groups();
        PendingCopy {
            line,
            number: 0,
            mask,
            group,
            dst: [0; 32],
            src: [0; 32],
            bytes: 16,
            src_bytes: [16; 32],
        }
    }

    #[test]
    fn a_wait_leaves_the_newest_groups() {
        let mut queue = CopyQueue::default();
        for line in 1..=3 {
            queue.push(copy(&queue, line, u32::MAX));
            queue.commit(u32::MAX);
        }
        let mut lines = |newest: u32| {
            let mut copies = Vec::new();
            queue.retire(u32::MAX, Some(newest), &mut copies);
            copies.iter().map(|c| c.line).collect::<Vec<_>>()
        };
        assert_eq!(lines(2), [1]);
        assert_eq!(lines(1), [2]);
        assert_eq!(lines(1), [0u32; 0]);
        assert_eq!(lines(0), [3]);
        assert!(queue.is_empty());
    }

    #[test]
    fn lanes_count_their_own_groups_and_open_ones_need_wait_all() {
        let mut queue = CopyQueue::default();
        queue.push(copy(&queue, 1, 0b11));
        queue.commit(0b01); // lane 1 has not committed
        let mut retired = Vec::new();
        queue.retire(0b11, Some(0), &mut retired);
        assert_eq!((retired.len(), retired[0].mask), (1, 0b01));
        queue.retire(0b11, None, &mut retired);
        assert_eq!((retired.len(), retired[1].mask), (2, 0b10));
    }
}
