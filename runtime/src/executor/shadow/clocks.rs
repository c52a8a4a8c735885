//! Vector clocks over the agents of a cluster.
//!
//! Agents are numbered: first the warps, then asynchronous ones as they appear. A component that a clock does not have yet is 0.

use super::global::{Foreign, learn};

/// One counter per agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VectorClock(Vec<u32>);

impl VectorClock {
    /// All zero.
    pub fn new(agents: usize) -> VectorClock {
        VectorClock(vec![0; agents])
    }

    #[inline]
    pub fn get(&self, agent: usize) -> u32 {
        self.0.get(agent).copied().unwrap_or(0)
    }

    /// Raises a component to at least `value`.
    pub fn raise(&mut self, agent: usize, value: u32) {
        if self.0.len() <= agent {
            self.0.resize(agent + 1, 0);
        }
        self.0[agent] = self.0[agent].max(value);
    }

    /// Component-wise maximum.
    pub fn join(&mut self, other: &VectorClock) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine = (*mine).max(*theirs);
        }
    }

    pub fn tick(&mut self, agent: usize) {
        let next = self.get(agent) + 1;
        self.raise(agent, next);
    }
}

/// What has been seen, of the own cluster and of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Knowledge {
    pub own: VectorClock,
    pub foreign: Foreign,
}

impl Knowledge {
    pub fn join(&mut self, other: &Knowledge) {
        self.own.join(&other.own);
        learn(&mut self.foreign, &other.foreign);
    }

    /// Whether `agent` of a cluster (`None`: the own one) is known up to `clock`.
    pub fn covers(&self, cluster: Option<u32>, agent: usize, clock: u32) -> bool {
        match cluster {
            None => self.own.get(agent) >= clock,
            Some(cluster) => self.foreign.get(&cluster).is_some_and(|known| known.get(agent) >= clock),
        }
    }
}

/// What a synchronisation hands from those who release to those who acquire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// What the generic proxy has seen.
    pub generic: VectorClock,
    /// What the async proxy may see: all of it that was behind a proxy fence.
    pub fenced: VectorClock,
    /// What is known of other clusters.
    pub foreign: Foreign,
    /// What the async proxy may see of global memory.
    pub fenced_global: Knowledge,
    /// What may be seen through tensor maps of the maps themselves.
    pub mapped: Knowledge,
    /// What is behind a memory fence, here and of other clusters: what relaxed atomics release.
    pub released: VectorClock,
    pub released_foreign: Foreign,
}

impl Published {
    pub fn join(&mut self, other: &Published) {
        self.generic.join(&other.generic);
        self.fenced.join(&other.fenced);
        self.released.join(&other.released);
        learn(&mut self.foreign, &other.foreign);
        self.fenced_global.join(&other.fenced_global);
        self.mapped.join(&other.mapped);
        learn(&mut self.released_foreign, &other.released_foreign);
    }
}
