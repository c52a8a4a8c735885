//! Vector clocks over the warps of a block.

/// One counter per warp.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VectorClock(Vec<u32>);

impl VectorClock {
    /// All zero.
    pub fn new(warps: usize) -> VectorClock {
        VectorClock(vec![0; warps])
    }

    #[inline]
    pub fn get(&self, warp: usize) -> u32 {
        self.0[warp]
    }

    /// Component-wise maximum.
    pub fn join(&mut self, other: &VectorClock) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine = (*mine).max(*theirs);
        }
    }

    pub fn tick(&mut self, warp: usize) {
        self.0[warp] += 1;
    }
}
