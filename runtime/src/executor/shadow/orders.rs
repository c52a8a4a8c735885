//! Who is ordered after whom: what synchronisation publishes and acquires, fences, and epochs.

use super::clocks::{Knowledge, Published, VectorClock};
use super::global::{Foreign, GlobalAgent, GlobalShadow, Release, learn};
use super::{Acquire, Agent, AsyncAgent, Epoch, NOBODY, Shadow, Touch};

impl Shadow {
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

    /// The same of a relaxed arrive: only what is behind a memory fence. (What the other proxies may see adds nothing to that by itself.)
    pub fn publish_fenced(&self, warp: usize, into: &mut Published) {
        let (clock, foreign) = &self.released[warp];
        into.generic.join(clock);
        into.fenced.join(&self.fenced[warp]);
        into.released.join(clock);
        learn(&mut into.foreign, foreign);
        into.fenced_global.join(&self.fenced_global[warp]);
        into.mapped.join(&self.mapped[warp]);
        learn(&mut into.released_foreign, foreign);
    }

    /// `warp` goes on after a phase of the cluster's barrier.
    pub fn pass_cluster_barrier(&mut self, warp: usize, clock: &Published) {
        self.synchronise(warp, clock);
        self.cluster_phases[warp] += 1;
    }

    /// Phases of the cluster's barrier that `warp` has been through.
    pub fn cluster_phases(&self, warp: usize) -> u32 {
        self.cluster_phases[warp]
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

    /// Any memory fence by `warp`: its block sees it.
    pub fn near_fence(&mut self, warp: usize, acquire: bool, release: bool) {
        if acquire && self.waited[warp] != Published::default() {
            let waited = std::mem::take(&mut self.waited[warp]);
            self.acquire(warp, &waited);
        }
        if release {
            let (near, clock) = (&mut self.released_near[warp], &self.clocks[warp]);
            near.join(clock);
            self.clocks[warp].tick(warp);
        }
    }

    /// A relaxed wait for an mbarrier, or a relaxed load: what was published there is known after a fence.
    pub fn note_wait(&mut self, warp: usize, published: &Published) {
        self.waited[warp].join(published);
    }

    /// A relaxed arrival at an mbarrier: only what is behind a fence.
    pub fn publish_near(&self, warp: usize, into: &mut Published) {
        self.publish_fenced(warp, into);
        into.generic.join(&self.released_near[warp]);
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

    /// A strong load of shared memory meets what was released there: known now if it `acquires`, else after a fence.
    pub fn meet_strong(&mut self, warp: usize, offset: u32, acquires: bool) {
        let Some(here) = self.atomics.remove(&offset) else { return };
        if acquires {
            self.acquire(warp, &here);
        } else {
            self.note_wait(warp, &here);
        }
        self.atomics.insert(offset, here);
    }

    /// A strong store to shared memory: it hands on everything if it `releases`, else what is behind a fence.
    pub fn leave_strong(&mut self, warp: usize, offset: u32, releases: bool) {
        let mut here = self.atomics.remove(&offset).unwrap_or_default();
        if releases {
            self.publish(warp, &mut here);
            self.release(warp);
        } else {
            self.publish_near(warp, &mut here);
        }
        self.atomics.insert(offset, here);
    }

    /// An atomic access to shared memory hands clocks on to the next.
    pub fn exchange(&mut self, warp: usize, offset: u32) {
        let mut here = self.atomics.remove(&offset).unwrap_or_default();
        self.acquire(warp, &here);
        self.publish(warp, &mut here);
        self.atomics.insert(offset, here);
        self.release(warp);
    }

    /// A lane of `warp` stores into global memory.
    pub fn note_store(&mut self, warp: usize) {
        self.wrote[warp] = true;
    }

    /// What a warp knows, as an agent in global memory; `block` is the number of a block's warps.
    pub fn global_agent(&self, cluster: u32, agent: Agent, block: usize) -> GlobalAgent<'_> {
        let Agent { warp, lane, line } = agent;
        GlobalAgent {
            cluster,
            warp,
            lane: lane as u8,
            block: block.max(1),
            met: self.lanes_synced[warp],
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

    /// `warp` accesses the shared memory of block `rank`, which is not its own.
    pub fn note_remote(&mut self, rank: u32, warp: usize, line: u32) {
        let epoch = self.epoch(warp);
        self.remote.insert((rank, warp as u32), (epoch, line));
    }

    /// Whether `warp` knows that `warps`, another block's, have begun: it has heard of one, or been through the cluster's barrier.
    pub fn has_begun(&self, warp: usize, mut warps: std::ops::Range<usize>) -> bool {
        self.cluster_phases[warp] > 0 || warps.any(|other| self.clocks[warp].get(other) > 0)
    }

    /// Accesses to the shared memory of block `rank` that none of its own `warps` is ordered after: warp and line.
    pub fn remote_after(&self, rank: u32, warps: std::ops::Range<usize>) -> Vec<(usize, u32)> {
        let known = |who: usize, epoch| warps.clone().any(|warp| self.is_after(warp, who, epoch));
        let of_block = self.remote.iter().filter(|((to, _), _)| *to == rank);
        let late = of_block.filter(|((_, who), (epoch, _))| !known(*who as usize, *epoch));
        let mut late: Vec<_> = late.map(|((_, who), (_, line))| (*who as usize, *line)).collect();
        late.sort_unstable();
        late
    }

    /// Lines of the operations on their way to the shared memory of block `rank` that none of its `warps` waited for.
    pub fn arriving_after(&self, rank: u32, warps: std::ops::Range<usize>) -> Vec<u32> {
        let known = |agent: u16, epoch| warps.clone().any(|w| self.clocks[w].get(agent.into()) >= epoch);
        let of_block = self.arriving.iter().filter(|((to, _), _)| *to == rank);
        let late = of_block.filter(|((_, agent), (epoch, _))| !known(*agent, *epoch));
        let mut lines: Vec<u32> = late.map(|(_, (_, line))| *line).collect();
        lines.sort_unstable();
        lines
    }

    /// An operation of `epoch` is on its way to the shared memory of block `rank`.
    pub fn note_arriving(&mut self, rank: u32, epoch: Epoch, line: u32) {
        self.arriving.insert((rank, epoch.agent), (epoch.clock, line));
    }

    /// The lanes of `warp` have met: what one did, the others see.
    pub fn lanes_met(&mut self, warp: usize) {
        // Nothing of this epoch may be hidden: if a lane wrote in it, there must be a new one.
        if self.wrote[warp] || self.read[warp] {
            self.advance(warp);
        }
    }

    /// The lanes of `warp` execute something together: all are behind their loads.
    pub fn lanes_pass(&mut self, warp: usize) {
        if self.read[warp] {
            self.clocks[warp].tick(warp);
            self.reads_met[warp] = self.clocks[warp].get(warp);
            self.read[warp] = false;
        }
    }

    /// `warp` starts a new epoch (after an arrive, or when its lanes synchronised).
    pub fn advance(&mut self, warp: usize) {
        self.clocks[warp].tick(warp);
        self.lanes_synced[warp] = self.clocks[warp].get(warp);
        self.wrote[warp] = false;
        self.reads_met[warp] = self.lanes_synced[warp];
        self.read[warp] = false;
    }
}
