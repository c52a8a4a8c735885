//! Step 5: the proof. It shares the event table with derivation, and nothing else: not the requirement table, not the obligations.
//!
//! It runs the program with its synchronisation on *sets of accesses that may still be a danger*. For each access in the text it
//! keeps, as bits by ring number relative to the counter, the instances that
//!
//! | set | holds instances that | leaves by |
//! | --- | --- | --- |
//! | `fifo[0]` | were issued, in no group yet | a commit, to `fifo[1]` |
//! | `fifo[a]` | lie in a group with a − 1 newer ones | a commit, to `fifo[a+1]`; a wait for fewer |
//! | `warp`, `role` | are complete, but other lanes, other warps, may not know | the barrier of that reach |
//! | `unfenced` | are generic writes (or register uses) without a proxy fence (`wgmma.fence`) after them | the fence |
//! | `async_warp`, `async_role` | as `warp`, `role`, for asynchronous accesses: the barrier counts only after the fence | the barrier |
//!
//! An access is safe if no conflicting instance is in a set that matters to it. Paths join by union; every transfer acts on each
//! instance alone, so the sets are exact over all paths (not an over-approximation, while loop trips are independent), and an operation
//! that this proof needs is needed on the machine. Rings are bounded, so the fixpoint over loops ends.
//!
//! Worked GEMM, S = 3, at `load A[k+1]` in the loop: `copy A[k+2]` of this step is in `fifo[1]` at offset 2, the previous one at offset
//! 1 was in `fifo[2]` before `wait_group 1` moved it to `warp` and `role`, from where the barrier removed it; so nothing at offsets
//! ≡ 1 (mod 3) is left. Without the barrier, offset 1 stands in `role`: refused, with both operations named.

use super::error::{Missing, Violation};
use super::model::*;
use super::placed::{Placed, SyncOp};
use super::print;
use super::table::{Block, Conflict, Item, Reach, Site, Table};

/// What was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Conflicting pairs of accesses in the text that were found ordered.
    pub pairs: usize,
    /// Walks over loop bodies until nothing changed.
    pub passes: usize,
}

/// Groups are told apart up to this many newer ones.
const AGES: usize = 9;

/// Dangerous instances of one access in the text.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Danger {
    fifo: [u64; AGES],
    /// Bound to a memory barrier, not yet waited for.
    bound: u64,
    warp: u64,
    role: u64,
    unfenced: u64,
    async_warp: u64,
    async_role: u64,
}

impl Danger {
    fn each(&mut self) -> impl Iterator<Item = &mut u64> {
        self.fifo.iter_mut().chain([
            &mut self.bound,
            &mut self.warp,
            &mut self.role,
            &mut self.unfenced,
            &mut self.async_warp,
            &mut self.async_role,
        ])
    }

    fn join(&mut self, other: &Danger) -> bool {
        let before = *self;
        let mut theirs = *other;
        for (mine, theirs) in self.each().zip(theirs.each()) {
            *mine |= *theirs;
        }
        before != *self
    }

    /// Instances that have just completed in the issuing thread.
    fn complete(&mut self, bits: u64, site: &Site) {
        self.warp |= bits;
        self.role |= bits;
        // A read needs no proxy fence; what the async proxy did is known to it.
        let fence = site.in_registers() || (site.writes() && site.op.proxy == Proxy::Generic);
        if fence {
            self.unfenced |= bits;
        }
        self.async_warp |= bits;
        self.async_role |= bits;
    }
}

type State = Vec<Danger>;

/// Runs the proof of one placement.
pub(super) struct Prover<'t, 'p> {
    table: &'t Table<'p>,
    /// Per gap, what stands there.
    sync: Vec<Vec<SyncOp>>,
    /// Unordered pairs of sites, with what was missing and how many advances apart.
    violations: Vec<(usize, usize, Missing, i32)>,
    /// Stop at the first.
    first_only: bool,
    passes: usize,
}

impl<'t, 'p> Prover<'t, 'p> {
    pub fn new<'s>(table: &'t Table<'p>, placed: impl Iterator<Item = &'s Placed>) -> Prover<'t, 'p> {
        let mut sync = vec![Vec::new(); table.gaps.len()];
        for p in placed {
            if let Some(gap) = sync.get_mut(p.gap.index()) {
                gap.push(p.op);
            }
        }
        Prover { table, sync, violations: Vec::new(), first_only: true, passes: 0 }
    }

    /// The proof, or the first unordered pair.
    pub fn prove(mut self) -> Result<Proof, Violation> {
        self.run();
        match self.violations.first() {
            Some(&violation) => Err(self.describe(violation)),
            None => {
                let pairs = self.table.conflicts.iter().map(Vec::len).sum();
                Ok(Proof { pairs, passes: self.passes })
            }
        }
    }

    /// All unordered pairs of sites, each once.
    pub fn unordered(mut self) -> Vec<(usize, usize)> {
        self.first_only = false;
        self.run();
        let mut pairs: Vec<_> = self.violations.iter().map(|&(x, y, ..)| (x, y)).collect();
        pairs.sort_unstable();
        pairs.dedup();
        pairs
    }

    fn run(&mut self) {
        let table = self.table;
        for block in &table.roles {
            let mut state = vec![Danger::default(); table.sites.len()];
            self.block(block, &mut state);
        }
    }

    fn done(&self) -> bool {
        self.first_only && !self.violations.is_empty()
    }

    fn block(&mut self, block: &Block, state: &mut State) {
        for (gap, item) in &block.items {
            self.gap(*gap, state);
            self.item(item, state);
            if self.done() {
                return;
            }
        }
        self.gap(block.last, state);
    }

    fn item(&mut self, item: &Item, state: &mut State) {
        let sites = &self.table.sites;
        match item {
            Item::Op { op, first, count } => {
                for y in *first..first + count {
                    self.check(y, state);
                }
                for y in *first..first + count {
                    let (site, danger) = (&sites[y], &mut state[y]);
                    match op.completion {
                        Completion::Immediate => danger.complete(site.bit(), site),
                        Completion::Fifo(_) => danger.fifo[0] |= site.bit(),
                        Completion::Mbar => danger.bound |= site.bit(),
                    }
                }
            }
            Item::Commit(class) => {
                for (_, danger) in of_class(sites, state, *class) {
                    danger.fifo[AGES - 1] |= danger.fifo[AGES - 2];
                    danger.fifo.copy_within(0..AGES - 2, 1);
                    danger.fifo[0] = 0;
                }
            }
            Item::Advance(counter) => {
                for (site, danger) in sites.iter().zip(state).filter(|(s, _)| s.counter == Some(*counter)) {
                    danger.each().for_each(|mask| *mask = site.advanced(*mask));
                }
            }
            Item::End(counter) => {
                for (site, danger) in sites.iter().zip(state) {
                    let absent = site.beyond_end(*counter);
                    danger.each().for_each(|mask| *mask &= !absent);
                }
            }
            Item::Loop { min_trips, body } => self.trips(body, *min_trips, state),
            Item::Branch(arms) => {
                let before = state.clone();
                for (index, arm) in arms.iter().enumerate() {
                    let mut after = before.clone();
                    self.block(arm, &mut after);
                    if index == 0 {
                        *state = after;
                    } else {
                        join(state, &after);
                    }
                }
            }
            Item::Nothing => {}
        }
    }

    fn trips(&mut self, body: &Block, min_trips: u32, state: &mut State) {
        loop {
            self.passes += 1;
            let mut end = state.clone();
            self.block(body, &mut end);
            if self.done() {
                return;
            }
            if !join(state, &end) {
                if min_trips > 0 {
                    *state = end;
                }
                return;
            }
        }
    }

    fn gap(&mut self, gap: GapId, state: &mut State) {
        let sites = &self.table.sites;
        for &op in &self.sync[gap.index()] {
            match op {
                SyncOp::WaitGroup { class, newest } => {
                    for (site, danger) in of_class(sites, state, class) {
                        let mut retired = 0;
                        for group in danger.fifo.iter_mut().skip(usize::from(newest) + 1) {
                            retired |= std::mem::take(group);
                        }
                        danger.complete(retired, site);
                    }
                }
                SyncOp::FenceProxyAsync | SyncOp::WgmmaFence => {
                    for (site, danger) in sites.iter().zip(&mut *state) {
                        if site.in_registers() == (op == SyncOp::WgmmaFence) {
                            danger.unfenced = 0;
                        }
                    }
                }
                SyncOp::BarWarp => {
                    for danger in state.iter_mut() {
                        danger.warp = 0;
                        danger.async_warp &= danger.unfenced;
                    }
                }
                SyncOp::Bar { .. } => {
                    for danger in state.iter_mut() {
                        (danger.warp, danger.role) = (0, 0);
                        danger.async_warp &= danger.unfenced;
                        danger.async_role &= danger.unfenced;
                    }
                }
                // Between roles; see `channel`.
                SyncOp::WaitFull { .. }
                | SyncOp::WaitEmpty { .. }
                | SyncOp::ExpectTx { .. }
                | SyncOp::ArriveFull { .. }
                | SyncOp::ArriveEmpty { .. } => {}
            }
        }
    }

    fn check(&mut self, y: usize, state: &State) {
        let table = self.table;
        for conflict in &table.conflicts[y] {
            let (x, danger) = (conflict.with, &state[conflict.with]);
            let found = danger_to(&table.sites[x], &table.sites[y], conflict, danger);
            if let Some((missing, bits)) = found {
                // The nearest instance, for the message.
                let offset = 63 - bits.leading_zeros() as i32 - table.sites[x].slots as i32;
                self.violations.push((x, y, missing, table.sites[x].ring() - offset));
                if self.first_only {
                    return;
                }
            }
        }
    }

    fn describe(&self, (x, y, missing, apart): (usize, usize, Missing, i32)) -> Violation {
        let (source, dest) = (&self.table.sites[x], &self.table.sites[y]);
        let program = self.table.program;
        let when = match apart {
            0 => String::new(),
            1 => " (one step earlier)".into(),
            n => format!(" ({n} steps earlier)"),
        };
        let text = format!(
            "{}{when} is not ordered before {}: {missing}",
            print::access(program, source.op, &source.access),
            print::access(program, dest.op, &dest.access),
        );
        Violation { source: source.op.id, dest: dest.op.id, missing, text }
    }
}

/// The first set that makes access `y` unsafe, and the instances in it.
fn danger_to(x: &Site, y: &Site, conflict: &Conflict, danger: &Danger) -> Option<(Missing, u64)> {
    let Conflict { mask, reach, .. } = *conflict;
    let wgmma = Completion::Fifo(Class::Wgmma);
    // Matrix instructions on the same registers are ordered among themselves.
    let chained = x.in_registers() && x.op.completion == wgmma && y.op.completion == wgmma;
    let grouped = danger.fifo[1..].iter().fold(danger.bound, |all, group| all | group);
    let asynchronous = y.op.proxy == Proxy::Async;
    let (warp, role) =
        if asynchronous { (danger.async_warp, danger.async_role) } else { (danger.warp, danger.role) };
    let sets = [
        (Missing::Commit, danger.fifo[0], !chained),
        (Missing::Completion, grouped, !chained),
        (Missing::Fence, danger.unfenced, asynchronous && !(chained)),
        (Missing::Handover(Reach::Warp), warp, reach == Reach::Warp),
        (Missing::Handover(Reach::Role), role, reach == Reach::Role),
    ];
    sets.into_iter()
        .find_map(|(missing, set, matters)| (matters && set & mask != 0).then_some((missing, set & mask)))
}

fn of_class<'a, 'p>(
    sites: &'a [Site<'p>],
    state: &'a mut State,
    class: Class,
) -> impl Iterator<Item = (&'a Site<'p>, &'a mut Danger)> {
    sites.iter().zip(state).filter(move |(site, _)| site.op.completion == Completion::Fifo(class))
}

fn join(state: &mut State, other: &State) -> bool {
    let mut changed = false;
    for (mine, theirs) in state.iter_mut().zip(other) {
        changed |= mine.join(theirs);
    }
    changed
}
