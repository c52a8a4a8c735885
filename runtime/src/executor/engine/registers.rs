//! `setmaxnreg`: warpgroups give registers back and take them from the block's pool.
//!
//! Registers are not scarce here, so it changes nothing. What would hang or be undefined on hardware is found with the sanitizer: all four warps
//! of a warpgroup execute the same ones, `dec` does not raise and `inc` does not lower the number, and in the end the block has no more
//! registers than it started with (than a multiprocessor has, where the entry does not say `.maxnreg`).

use super::super::finding::FindingKind;
use super::block::{Block, Env};

/// One `setmaxnreg` of a warp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// PTX line.
    pub line: u32,
    pub dec: bool,
    /// Per thread, from then on.
    pub registers: u32,
}

impl Change {
    /// Whether another warp does the same, be it by another instruction: roles that share a warpgroup have code of their own.
    fn same(&self, other: &Change) -> bool {
        (self.dec, self.registers) == (other.dec, other.registers)
    }
}

/// Whether two warps do the same.
fn agree(mine: &[Change], theirs: &[Change]) -> bool {
    mine.len() == theirs.len() && mine.iter().zip(theirs).all(|(a, b)| a.same(b))
}

/// Registers of a multiprocessor.
const ALL: u32 = 65536;

impl Env<'_> {
    /// Looks at a change of a warp that had `before` registers, as far as that is known.
    pub(super) fn check_change(&mut self, warp: usize, change: Change, before: Option<u32>) {
        let Change { line, dec, registers } = change;
        let Some(before) = before else { return };
        if (dec && registers > before) || (!dec && registers < before) {
            let name = if dec { "dec" } else { "inc" };
            self.report(FindingKind::BarrierMisuse, line, None, || {
                format!("warp {warp}: setmaxnreg.{name} to {registers} registers, but it has {before}")
            });
        }
    }
}

impl Block<'_> {
    /// All warps are done: whether those of each warpgroup agreed, and whether the pool was large enough.
    pub(super) fn check_registers_at_end(&mut self) {
        if self.env.shadow.is_none() || self.warps.iter().all(|warp| warp.registers.is_empty()) {
            return;
        }
        let start = self.env.launch.kernel.program.maxnreg;
        for rank in 0..self.ctas.len() {
            let own: Vec<usize> = (0..self.warps.len()).filter(|&w| self.warps[w].rank == rank).collect();
            let Some(&first) = own.first() else { continue };
            self.enter(first);
            let mut last_change = None;
            let mut total = 0;
            for group in own.chunks(4) {
                let leader = self.warps[group[0]].registers.clone();
                let other = group.iter().find(|&&w| !agree(&leader, &self.warps[w].registers));
                if let Some(&other) = other {
                    let theirs = &self.warps[other].registers;
                    let at = leader.iter().zip(theirs).take_while(|(a, b)| a.same(b)).count();
                    let (mine, theirs) = (leader.get(at), theirs.get(at));
                    let line = mine.or(theirs).map_or(0, |change| change.line);
                    let second = mine.and(theirs).map(|change| change.line);
                    let leader = group[0];
                    self.env.report(FindingKind::BarrierMisuse, line, second, || {
                        format!("warps {leader} and {other} of a warpgroup do not execute the same setmaxnreg: all four have to")
                    });
                }
                let end = leader.last().map(|change| change.registers);
                last_change = leader.last().copied().or(last_change);
                // What never changed counts as what it started with, as far as that is known.
                total += 32 * group.len() as u32 * end.or(start).unwrap_or(24);
            }
            let pool = start.map_or(ALL, |each| (each * 32 * own.len() as u32).min(ALL));
            if let Some(change) = last_change
                && total > pool
            {
                self.env.report(FindingKind::BarrierMisuse, change.line, None, || {
                    format!("after all setmaxnreg the block has {total} registers, and its pool has {pool}: some setmaxnreg.inc waits for ever")
                });
            }
        }
    }
}
