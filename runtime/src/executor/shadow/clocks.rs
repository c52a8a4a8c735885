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

/// What a synchronisation hands from those who release to those who acquire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// What the generic proxy has seen.
    pub generic: VectorClock,
    /// What the async proxy may see: all of it that was behind a proxy fence.
    pub fenced: VectorClock,
    /// What is known of other clusters.
    pub foreign: Foreign,
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
        learn(&mut self.released_foreign, &other.released_foreign);
    }
}
