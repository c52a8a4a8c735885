//! A warp: registers, live lanes and the fragments they are in.
//!
//! Lanes that are at one place form a *fragment* (mask, step). A warp starts as one fragment; a divergent branch splits it. The
//! fragment with the lowest step runs first, and fragments that meet at a step merge. Steps are in reverse post-order of the
//! control-flow graph, so a join point has a higher number than everything that leads to it, and whoever arrives first waits
//! there only by not being the lowest. A fragment that spins lets the others go first after a quantum, so lanes of one warp may
//! wait for each other. No post-dominators are needed, so unstructured code and jump tables are nothing special.

use super::super::frame::Frame;
use super::copies::CopyQueue;
use super::doubts::Doubts;
use super::groups::BulkGroups;
use super::registers::Change;
use super::wgmma::WgmmaQueue;

/// What a fragment waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Nothing: it can run.
    Ready,
    /// At barrier number so and so.
    Barrier(u32),
    /// At an instruction with a member mask: for these lanes.
    Members(u32),
    /// For a phase of the mbarrier at this offset.
    Mbarrier(u32),
    /// At `barrier.cluster.wait`.
    Cluster,
    /// At `wgmma.wait_group newest`, until all warps of the warpgroup have started `due` products.
    Wgmma { newest: u32, due: u64 },
}

/// Lanes at one step.
#[derive(Clone, Copy, Debug)]
pub struct Fragment {
    pub mask: u32,
    pub at: u32,
    pub wait: Wait,
    /// It has spent a quantum in a loop: the others go first.
    pub yielded: bool,
    /// Waits for an mbarrier give up and say so: nobody else could go on.
    pub impatient: bool,
    /// It waits for lanes that have to come back to where it is, by a loop.
    pub back: bool,
}

impl Fragment {
    /// Lanes that can run.
    pub fn ready(mask: u32, at: u32) -> Fragment {
        Fragment { mask, at, wait: Wait::Ready, yielded: false, impatient: false, back: false }
    }
}

/// One warp.
#[derive(Debug)]
pub struct Warp {
    /// Its number among the warps of the cluster: its number in the block where there are no clusters.
    pub index: usize,
    /// The rank of its block in the cluster.
    pub rank: usize,
    /// Its number in the block.
    pub in_block: usize,
    pub frame: Frame,
    /// Lanes that exist and have not exited.
    pub live: u32,
    pub fragments: Vec<Fragment>,
    /// `cp.async` operations on their way.
    pub copies: CopyQueue,
    /// Groups of bulk stores.
    pub bulk: BulkGroups,
    /// `wgmma` operations on their way.
    pub wgmma: WgmmaQueue,
    /// Waits for mbarriers that returned false at once and have not succeeded since: step, mbarrier, phase.
    pub refused: Vec<(u32, u32, u64)>,
    /// Lanes that arrived at the cluster barrier.
    pub cluster_arrived: u32,
    /// Lanes that arrived there and have not waited since.
    pub cluster_entered: u32,
    /// What `setmaxnreg` did, for the sanitizer.
    pub registers: Vec<Change>,
    /// With the sanitizer: registers that may hold what nobody wrote.
    pub doubts: Option<Box<Doubts>>,
}

impl Warp {
    /// A warp at the entry of the kernel, whose lanes `live` exist.
    pub fn new(index: usize, rank: usize, in_block: usize, frame: Frame, live: u32) -> Warp {
        Warp {
            index,
            rank,
            in_block,
            frame,
            live,
            fragments: vec![Fragment::ready(live, 0)],
            copies: CopyQueue::default(),
            bulk: BulkGroups::default(),
            wgmma: WgmmaQueue::default(),
            refused: Vec::new(),
            cluster_arrived: 0,
            cluster_entered: 0,
            registers: Vec::new(),
            doubts: None,
        }
    }

    /// Does to the twins of the frame what was done to it, where there are any.
    #[inline]
    pub fn twins(&mut self, act: impl FnMut(&mut Frame)) {
        if let Some(doubts) = &mut self.doubts {
            doubts.twins.iter_mut().for_each(act);
        }
    }

    /// The ready fragment with the lowest step; fragments that yielded come after all others.
    pub fn next_ready(&self) -> Option<usize> {
        let ready = (0..self.fragments.len()).filter(|&i| self.fragments[i].wait == Wait::Ready);
        ready.min_by_key(|&i| (self.fragments[i].yielded, self.fragments[i].at))
    }

    /// Whether some lanes are still on their way to where fragment `current` is: spinning, or waiting for an mbarrier. Hardware lets lanes
    /// meet again before what the whole warp executes together, and so do the fragments here.
    pub fn is_ahead(&self, current: usize, active: u32, at: u32) -> bool {
        let comes = |f: &Fragment| f.at < at && matches!(f.wait, Wait::Ready | Wait::Mbarrier(_));
        let others = self.fragments.iter().enumerate().filter(|(number, _)| *number != current);
        active != self.live && others.map(|(_, f)| f).any(comes)
    }

    /// Fragment `current` has spent its quantum. When all that are ready have, everybody starts afresh.
    pub fn yield_fragment(&mut self, current: usize) {
        self.fragments[current].yielded = true;
        if self.fragments.iter().all(|f| f.yielded || f.wait != Wait::Ready) {
            self.fragments.iter_mut().for_each(|f| f.yielded = false);
        }
    }

    /// Merges fragments that are at the same step into fragment `current`; returns its new index.
    ///
    /// A fragment that waits there for members absorbs the newcomers: whether they are complete is decided again.
    pub fn merge_into(&mut self, current: usize) -> usize {
        let mut current = current;
        let mut other = 0;
        while other < self.fragments.len() {
            let (a, b) = (self.fragments[current], self.fragments[other]);
            let meets = other != current
                && a.at == b.at
                && !matches!(b.wait, Wait::Barrier(_) | Wait::Cluster | Wait::Wgmma { .. });
            if meets {
                self.fragments[current].mask |= b.mask;
                self.fragments.swap_remove(other);
                if current == self.fragments.len() {
                    current = other;
                    // The fragment that was swapped into `other` is `current` itself; go on behind it.
                }
            } else {
                other += 1;
            }
        }
        current
    }
}
