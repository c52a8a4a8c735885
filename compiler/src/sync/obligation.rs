//! Steps 1 and 3: which pairs of accesses need ordering, where between them synchronisation can stand, and how many newer groups a
//! wait standing there may leave pending.
//!
//! From each access x the analysis follows the code forwards, through loops, and remembers for every gap whether *every* path
//! from x to here has passed it, and with how many commits of x's class behind it at the last pass (the fewest over all
//! paths). Where it meets an access y that conflicts, the gaps passed are the places where one synchronisation orders the pair.
//! Conflicts depend on how often the counter advanced since x, so facts are kept per number of advances: exactly up to a limit,
//! then modulo the slots.
//!
//! In the worked GEMM (S = 3), from `copy A[k+2]` in the loop: two advances later `load A[k+0]` meets it, one advance later
//! `load A[k+1]` does. Between copy and that load one whole step has been passed, so all of the loop's gaps can hold the
//! barrier; the one right before the load has seen this step's commit and the next step's, hence `wait_group 1`; the one at the top of
//! the step has seen one, hence only `wait_group 0` would do there.

use super::model::{Class, Completion, CounterId, HandEnd, OpId};
use super::placed::ObligationId;
use super::requirement::{Row, Step, requirement};
use super::table::{Block, Item, Reach, Site, Table};

/// An access `source` that must be complete, and visible where needed, before `dest` is issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obligation {
    pub id: ObligationId,
    /// The operation and which of its accesses.
    pub source: (OpId, usize),
    pub dest: (OpId, usize),
    pub reach: Reach,
    /// How often the resource's counter advances between the two at the least.
    pub advances: u32,
    /// Sites in the event table.
    pub(super) sites: (usize, usize),
    pub(super) steps: &'static [Step],
    /// Per gap of the program: where synchronisation could stand.
    pub(super) passed: Passed,
}

impl Obligation {
    pub(super) fn wait(&self) -> Option<Class> {
        self.steps.iter().find_map(|s| if let Step::Wait(class) = s { Some(*class) } else { None })
    }

    pub(super) fn needs(&self, step: Step) -> bool {
        self.steps.contains(&step)
    }

    /// If all of this obligation's steps can stand in the gap: the most groups a wait there may leave pending (0 if there is
    /// nothing to wait for).
    pub(super) fn fits(&self, gap: usize) -> Option<u8> {
        let commits = self.passed.0[gap].checked_sub(1)?;
        match self.wait() {
            None => Some(0),
            // Without a commit the operation is in no group yet.
            Some(_) => commits.checked_sub(1),
        }
    }
}

/// Per gap: 0 if some path has not passed it, else one more than the commits seen at the last pass (capped).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Passed(pub Vec<u8>);

/// A wait can leave at most 7 groups pending, so eight commits are as good as more.
const MAX_COMMITS: u8 = 8;

/// What is known on every path from the source to a point, for one number of advances.
#[derive(Clone)]
struct Fact {
    advances: u32,
    commits: u8,
    passed: Passed,
}

impl Fact {
    /// Keeps what both know; says whether that is less than `self` knew.
    fn meet(&mut self, other: &Fact) -> bool {
        let mut less = other.commits < self.commits;
        self.commits = self.commits.min(other.commits);
        for (mine, theirs) in self.passed.0.iter_mut().zip(&other.passed.0) {
            less |= *theirs < *mine;
            *mine = (*mine).min(*theirs);
        }
        less
    }
}

/// Facts by number of advances, at most one for each.
type Facts = Vec<Fact>;

/// Joins `new` into `facts` and returns what changed.
fn merge(facts: &mut Facts, new: Facts) -> Facts {
    let mut changed = Facts::new();
    for fact in new {
        match facts.iter_mut().find(|f| f.advances == fact.advances) {
            Some(old) => {
                if old.meet(&fact) {
                    changed.push(old.clone());
                }
            }
            None => {
                facts.push(fact.clone());
                changed.push(fact);
            }
        }
    }
    changed
}

/// One source's walk through its role.
struct Walk<'t, 'p> {
    table: &'t Table<'p>,
    source: usize,
    /// Where counts of advances become residues.
    exact: u32,
    found: Vec<Found>,
}

struct Found {
    dest: usize,
    reach: Reach,
    row: &'static Row,
    advances: u32,
    passed: Passed,
}

/// All obligations of the program within its roles, in textual order of their sources.
pub(super) fn obligations(table: &Table) -> Vec<Obligation> {
    let mut all = Vec::new();
    for source in 0..table.sites.len() {
        let site = &table.sites[source];
        // Only pairs that need something are worth a walk.
        let relevant = |y: usize| {
            let y_conflicts = table.conflicts[y].iter().find(|c| c.with == source);
            y_conflicts.is_some_and(|c| needs_anything(site, &table.sites[y], c.reach))
        };
        if !(0..table.sites.len()).any(relevant) {
            continue;
        }
        let mut exact = site.ring().unsigned_abs().max(site.access.ring.unsigned_abs()) + 1;
        if let Some(guard) = site.op.guard {
            exact = exact.max(guard.offset.unsigned_abs() + 1);
        }
        let mut walk = Walk { table, source, exact, found: Vec::new() };
        walk.start(&table.roles[site.role.index()]);
        for found in walk.found {
            all.push(Obligation {
                id: ObligationId(all.len() as u32),
                source: table.access(source),
                dest: table.access(found.dest),
                reach: found.reach,
                advances: found.advances,
                sites: (source, found.dest),
                steps: found.row.steps,
                passed: found.passed,
            });
        }
    }
    all
}

/// Whether the pair needs more than program order.
fn needs_anything(source: &Site, dest: &Site, reach: Reach) -> bool {
    requirement(source, dest)
        .is_some_and(|row| row.steps.iter().any(|s| *s != Step::Handover || reach != Reach::Thread))
}

impl Walk<'_, '_> {
    fn site(&self) -> &Site<'_> {
        &self.table.sites[self.source]
    }

    /// Finds the source in the block and walks on from there; returns the facts at the block's end, `None` if the source is not in it.
    fn start(&mut self, block: &Block) -> Option<Facts> {
        for (index, (_, item)) in block.items.iter().enumerate() {
            let facts = match item {
                Item::Op { first, count, .. } if (*first..first + count).contains(&self.source) => {
                    let passed = Passed(vec![0; self.table.gaps.len()]);
                    Some(vec![Fact { advances: 0, commits: 0, passed }])
                }
                Item::Loop { body, .. } => self.start(body).map(|end| self.repeat(body, end)),
                Item::Branch(arms) => arms.iter().find_map(|arm| self.start(arm)),
                _ => None,
            };
            if let Some(facts) = facts {
                return Some(self.block_from(block, index + 1, facts));
            }
        }
        None
    }

    /// All trips of a loop that is entered with `head`; returns the facts after any number of them.
    fn repeat(&mut self, body: &Block, mut head: Facts) -> Facts {
        let mut changed = head.clone();
        while !changed.is_empty() {
            let end = self.block_from(body, 0, changed);
            changed = merge(&mut head, end);
        }
        head
    }

    fn block_from(&mut self, block: &Block, from: usize, mut facts: Facts) -> Facts {
        for (gap, item) in &block.items[from..] {
            self.pass(gap.index(), &mut facts);
            facts = self.item(item, facts);
        }
        self.pass(block.last.index(), &mut facts);
        facts
    }

    fn pass(&self, gap: usize, facts: &mut Facts) {
        for fact in facts {
            fact.passed.0[gap] = 1 + fact.commits;
        }
    }

    fn item(&mut self, item: &Item, mut facts: Facts) -> Facts {
        match item {
            Item::Op { first, count, .. } => {
                for dest in *first..first + count {
                    self.meet_access(dest, &facts);
                }
            }
            Item::Hand { hand, first } => {
                for dest in *first..*first + hand.op.accesses.len() {
                    self.meet_access(dest, &facts);
                }
                // The other role has had the entry since, so what was pending on it when it was given away is complete.
                if hand.end == HandEnd::Acquire || hand.end == HandEnd::Wait {
                    let site = self.site();
                    let channel = &self.table.program.channels[hand.channel.index()];
                    if channel.resources.contains(&site.access.resource) {
                        let apart = hand.ring - site.ring();
                        let slots = site.slots as i32;
                        facts.retain(|fact| (fact.advances as i32 + apart).rem_euclid(slots) != 0);
                    }
                }
            }
            Item::Commit(class) => {
                if self.site().op.completion == Completion::Fifo(*class) {
                    for fact in &mut facts {
                        fact.commits = (fact.commits + 1).min(MAX_COMMITS);
                    }
                }
            }
            Item::Advance(counter) => self.advance(*counter, &mut facts),
            Item::End(counter) => {
                let site = self.site();
                if let Some(guard) = site.op.guard.filter(|g| g.counter == *counter) {
                    facts
                        .retain(|fact| site.counter != Some(*counter) || fact.advances as i32 > guard.offset);
                }
            }
            Item::Loop { min_trips, body } => {
                if *min_trips == 0 {
                    facts = self.repeat(body, facts);
                } else {
                    let first = self.block_from(body, 0, facts);
                    facts = self.repeat(body, first);
                }
            }
            Item::Branch(arms) => {
                let mut after = Facts::new();
                for arm in arms {
                    let end = self.block_from(arm, 0, facts.clone());
                    merge(&mut after, end);
                }
                facts = after;
            }
            Item::Nothing => {}
        }
        facts
    }

    fn advance(&self, counter: CounterId, facts: &mut Facts) {
        let site = self.site();
        if site.counter != Some(counter) {
            return;
        }
        for fact in facts.iter_mut() {
            fact.advances += 1;
            if fact.advances >= self.exact + site.slots {
                fact.advances -= site.slots;
            }
        }
        // Two facts may have met in one residue.
        for fact in std::mem::take(facts) {
            merge(facts, vec![fact]);
        }
    }

    fn meet_access(&mut self, dest: usize, facts: &Facts) {
        let table = self.table;
        let Some(conflict) = table.conflicts[dest].iter().find(|c| c.with == self.source) else { return };
        let (site, other) = (&table.sites[self.source], &table.sites[dest]);
        let Some(row) = requirement(site, other) else { return };
        if !needs_anything(site, other, conflict.reach) {
            return;
        }
        let same_ring = site.access.resource == other.access.resource && site.counter.is_some();
        for fact in facts {
            let apart = fact.advances as i32 + other.ring() - site.ring();
            if same_ring && apart.rem_euclid(site.slots as i32) != 0 {
                continue;
            }
            let known = self.found.iter_mut().find(|f| f.dest == dest);
            match known {
                Some(found) => {
                    found.advances = found.advances.min(fact.advances);
                    for (mine, theirs) in found.passed.0.iter_mut().zip(&fact.passed.0) {
                        *mine = (*mine).min(*theirs);
                    }
                }
                None => self.found.push(Found {
                    dest,
                    reach: conflict.reach,
                    row,
                    advances: fact.advances,
                    passed: fact.passed.clone(),
                }),
            }
        }
    }
}
