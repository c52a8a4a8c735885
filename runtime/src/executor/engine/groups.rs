//! Groups of bulk stores: PTX counts them per thread, and a wait leaves the newest ones pending.

/// The bulk groups of a warp's threads.
#[derive(Clone, Debug, Default)]
pub struct BulkGroups {
    committed: [u32; 32],
    /// Groups that a wait has retired.
    waited: [u32; 32],
    /// The last store: its group plus one (0: none) and its PTX line.
    last: [(u32, u32); 32],
}

impl BulkGroups {
    /// A store by `lane`: its group.
    pub fn issue(&mut self, lane: usize, line: u32) -> u32 {
        self.last[lane] = (self.committed[lane] + 1, line);
        self.committed[lane]
    }

    /// `commit_group` by the lanes of `mask`.
    pub fn commit(&mut self, mask: u32) {
        for lane in 0..32 {
            self.committed[lane] += mask >> lane & 1;
        }
    }

    /// `wait_group newest` by `lane`: the number of groups that are done.
    pub fn wait(&mut self, lane: usize, newest: u32) -> u32 {
        let done = self.committed[lane].saturating_sub(newest);
        self.waited[lane] = self.waited[lane].max(done);
        done
    }

    /// PTX line of a store by `lane` that nobody waited for.
    pub fn unfinished(&self, lane: usize) -> Option<u32> {
        let (group, line) = self.last[lane];
        (group > self.waited[lane]).then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::BulkGroups;

    #[test]
    fn a_wait_leaves_the_newest_groups() {
        let mut groups = BulkGroups::default();
        assert_eq!(groups.issue(3, 10), 0);
        groups.commit(1 << 3);
        assert_eq!(groups.issue(3, 11), 1);
        groups.commit(1 << 3);
        assert_eq!((groups.wait(3, 1), groups.unfinished(3)), (1, Some(11)));
        assert_eq!((groups.wait(3, 0), groups.unfinished(3)), (2, None));
        assert_eq!((groups.wait(0, 0), groups.unfinished(0)), (0, None));
    }
}
