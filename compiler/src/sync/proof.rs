//! Step 5: the proof. It shares the event table with derivation, and nothing else: not the requirement table, not the obligations.
//!
//! It runs the program with its synchronisation on *sets of accesses that may still be a danger*. For each access in the text it
//! keeps, as bits by ring number relative to the counter, the instances that
//!
//! | set | holds instances that | leaves by |
//! | --- | --- | --- |
//! | group 0 | were issued, in no group yet | a commit, to group 1 |
//! | group a | lie in a group with a − 1 newer ones | a commit, to group a + 1; a wait for fewer |
//! | `warp`, `role` | are complete, but other lanes, other warps, may not know | the barrier of that reach |
//! | `unfenced` | are generic writes (or register uses) without a proxy fence (`wgmma.fence`) after them | the fence |
//! | `async_warp`, `async_role` | as `warp`, `role`, for asynchronous accesses: the barrier counts only after the fence | the barrier |
//!
//! An access is safe if no conflicting instance is in a set that matters to it. Paths join by union; every transfer acts on each
//! instance alone, so the sets are exact over all paths (not an over-approximation, while loop trips are independent), and an operation
//! that this proof needs is needed on the machine. Rings are bounded, so the fixpoint over loops ends.
//!
//! Worked GEMM, S = 3, at `load A[k+1]` in the loop: `copy A[k+2]` of this step is in group 1 at offset 2, the previous one at offset
//! 1 was in group 2 before `wait_group 1` moved it to `warp` and `role`, from where the barrier removed it; so nothing at offsets
//! ≡ 1 (mod 3) is left. Without the barrier, offset 1 stands in `role`: refused, with both operations named.

use super::channel::{Misuse, Owned};
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

/// Dangerous instances of one access in the text: the sets of the module documentation, one mask each. The groups come first; the
/// constants name the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Danger([u64; AGES + 6]);

/// Bound to a memory barrier, not yet waited for.
const BOUND: usize = AGES;
const WARP: usize = AGES + 1;
const ROLE: usize = AGES + 2;
const UNFENCED: usize = AGES + 3;
const ASYNC_WARP: usize = AGES + 4;
const ASYNC_ROLE: usize = AGES + 5;

impl Danger {
    const NONE: Danger = Danger([0; AGES + 6]);

    fn join(&mut self, other: &Danger) -> bool {
        let mut new = 0;
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            new |= theirs & !*mine;
            *mine |= theirs;
        }
        new != 0
    }

    /// A barrier that reaches all lanes of a warp, or all warps.
    fn hand_over(&mut self, reach: Reach) {
        self.0[WARP] = 0;
        self.0[ASYNC_WARP] &= self.0[UNFENCED];
        if reach == Reach::Role {
            self.0[ROLE] = 0;
            self.0[ASYNC_ROLE] &= self.0[UNFENCED];
        }
    }

    /// Instances that have just completed in the issuing thread.
    fn complete(&mut self, bits: u64, site: &Site) {
        for set in [WARP, ROLE, ASYNC_WARP, ASYNC_ROLE] {
            self.0[set] |= bits;
        }
        // A read needs no proxy fence; what the async proxy did is known to it.
        let fence = site.in_registers() || (site.writes() && site.op.proxy == Proxy::Generic);
        if fence {
            self.0[UNFENCED] |= bits;
        }
    }
}

/// What is known at one point of one role.
#[derive(Clone)]
struct State {
    /// Per site.
    dangers: Vec<Danger>,
    /// Per channel.
    owned: Vec<Owned>,
}

/// A violation: two sites, what was missing, how many advances lie between.
type Found = (usize, usize, Missing, i32);

/// Runs the proof of one placement.
pub(super) struct Prover<'t, 'p> {
    table: &'t Table<'p>,
    /// Per gap, what stands there.
    sync: Vec<Vec<SyncOp>>,
    /// Unordered pairs of sites, with what was missing and how many advances apart.
    violations: Vec<Found>,
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
        for (index, block) in table.roles.iter().enumerate() {
            let start = |c: &Channel| Owned::start(table.ring_of(c).1, c.from.index() == index);
            let mut state = State {
                dangers: vec![Danger::NONE; table.sites.len()],
                owned: table.program.channels.iter().map(start).collect(),
            };
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
                    self.check_held(y, state);
                }
                for y in *first..first + count {
                    let (site, danger) = (&sites[y], &mut state.dangers[y]);
                    match op.completion {
                        Completion::Immediate => danger.complete(site.bit(), site),
                        Completion::Fifo(_) => danger.0[0] |= site.bit(),
                        Completion::Mbar => danger.0[BOUND] |= site.bit(),
                    }
                }
            }
            Item::Hand { hand, first } => self.handed(hand, *first, state),
            Item::Commit(class) => {
                for (_, danger) in of_class(sites, state, *class) {
                    danger.0[AGES - 1] |= danger.0[AGES - 2];
                    danger.0.copy_within(0..AGES - 2, 1);
                    danger.0[0] = 0;
                }
            }
            Item::Advance(counter) => {
                let moved = sites.iter().zip(&mut state.dangers).filter(|(s, _)| s.counter == Some(*counter));
                for (site, danger) in moved {
                    danger.0.iter_mut().for_each(|mask| *mask = site.advanced(*mask));
                }
                for (channel, owned) in self.table.program.channels.iter().zip(&mut state.owned) {
                    if self.table.ring_of(channel).0 == Some(*counter) {
                        owned.advance();
                    }
                }
            }
            Item::End(counter) => {
                for (site, danger) in sites.iter().zip(&mut state.dangers) {
                    let absent = site.beyond_end(*counter);
                    danger.0.iter_mut().for_each(|mask| *mask &= !absent);
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
        for nth in 0..self.sync[gap.index()].len() {
            let op = self.sync[gap.index()][nth];
            match op {
                SyncOp::WaitGroup { class, newest } => {
                    for (site, danger) in of_class(sites, state, class) {
                        let mut retired = 0;
                        for group in danger.0[..AGES].iter_mut().skip(usize::from(newest) + 1) {
                            retired |= std::mem::take(group);
                        }
                        danger.complete(retired, site);
                    }
                }
                SyncOp::FenceProxyAsync | SyncOp::WgmmaFence => {
                    for (site, danger) in sites.iter().zip(&mut state.dangers) {
                        if site.in_registers() == (op == SyncOp::WgmmaFence) {
                            danger.0[UNFENCED] = 0;
                        }
                    }
                }
                SyncOp::BarWarp => state.dangers.iter_mut().for_each(|danger| danger.hand_over(Reach::Warp)),
                SyncOp::Bar { .. } => {
                    state.dangers.iter_mut().for_each(|danger| danger.hand_over(Reach::Role))
                }
                SyncOp::WaitFull { channel, ring } | SyncOp::WaitEmpty { channel, ring } => {
                    self.take(channel, ring, state);
                }
                SyncOp::ExpectTx { channel, ring, .. } => {
                    let slots = self.table.ring_of(&self.table.program.channels[channel.index()]).1;
                    state.owned[channel.index()].expect(slots, ring);
                }
                SyncOp::ArriveFull { channel, ring } | SyncOp::ArriveEmpty { channel, ring } => {
                    self.give(gap, channel, ring, state);
                }
            }
        }
    }

    /// A role takes an entry: the other role has had it since, so nothing that this role did to the slot before is pending.
    fn take(&mut self, id: ChannelId, ring: i32, state: &mut State) {
        let channel = &self.table.program.channels[id.index()];
        let slots = self.table.ring_of(channel).1;
        if let Err(misuse) = state.owned[id.index()].take(slots, ring) {
            self.misused(channel, misuse);
        }
        for (site, danger) in self.table.sites.iter().zip(&mut state.dangers) {
            if channel.resources.contains(&site.access.resource) {
                let same = (0..64).filter(|bit| (bit - ring).rem_euclid(slots as i32) == 0);
                let mask = same.fold(0u64, |mask, bit| mask | 1 << bit);
                danger.0.iter_mut().for_each(|set| *set &= !mask);
            }
        }
    }

    /// A role gives an entry away, at the place of a hand-over, where all that it did to the entry must be complete.
    fn give(&mut self, gap: GapId, id: ChannelId, ring: i32, state: &mut State) {
        let channel = &self.table.program.channels[id.index()];
        let slots = self.table.ring_of(channel).1;
        let here = self.table.hands[gap.index()].filter(|(h, _)| h.channel == id && h.ring == ring);
        let given = state.owned[id.index()].give(slots, ring);
        match (here, given) {
            (Some((hand, first)), Ok(())) => {
                for y in first..first + hand.op.accesses.len() {
                    self.check(y, state);
                }
            }
            (_, given) => self.misused(channel, given.err().unwrap_or(Misuse::OutOfOrder)),
        }
    }

    /// At a hand-over, after what stands before it.
    fn handed(&mut self, hand: &Hand, first: usize, state: &mut State) {
        let channel = &self.table.program.channels[hand.channel.index()];
        let slots = self.table.ring_of(channel).1;
        let owned = &mut state.owned[hand.channel.index()];
        match hand.end {
            HandEnd::Acquire | HandEnd::Wait => {
                if let Err(misuse) = owned.taken(slots, hand.ring) {
                    self.misused(channel, misuse);
                }
            }
            // The transfers themselves arrive.
            HandEnd::Commit if super::channel::by_bytes(self.table, hand.channel) => {
                if let Err(misuse) = owned.give(slots, hand.ring) {
                    self.misused(channel, misuse);
                }
            }
            HandEnd::Commit | HandEnd::Release => {
                if let Err(misuse) = owned.given(slots, hand.ring) {
                    self.violations.push((first, first, Missing::Channel(misuse), 0));
                }
            }
        }
    }

    /// Entries of a channel between roles may be touched only while held.
    fn check_held(&mut self, y: usize, state: &State) {
        let site = &self.table.sites[y];
        let Some((id, _)) = self.table.channel_of(site.access.resource) else { return };
        let transfer = site.op.completion == Completion::Mbar;
        if let Err(misuse) = state.owned[id.index()].touch(site.slots, site.ring(), transfer) {
            self.violations.push((y, y, Missing::Channel(misuse), 0));
        }
    }

    /// A misuse at no particular access: reported at the first one of the channel.
    fn misused(&mut self, channel: &Channel, misuse: Misuse) {
        let touches = |s: &Site| channel.resources.contains(&s.access.resource);
        let y = self.table.sites.iter().position(touches).unwrap_or(0);
        self.violations.push((y, y, Missing::Channel(misuse), 0));
    }

    fn check(&mut self, y: usize, state: &State) {
        let table = self.table;
        for conflict in &table.conflicts[y] {
            let (x, danger) = (conflict.with, &state.dangers[conflict.with]);
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

    fn describe(&self, (x, y, missing, apart): Found) -> Violation {
        let (source, dest) = (&self.table.sites[x], &self.table.sites[y]);
        let program = self.table.program;
        if let Missing::Channel(misuse) = missing {
            let text = format!("{}: {misuse}", print::access(program, dest.op, &dest.access));
            return Violation { source: dest.op.id, dest: dest.op.id, missing, text };
        }
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
    // Nearly always nothing of it is pending.
    if danger.0.iter().fold(0, |all, set| all | set) & mask == 0 {
        return None;
    }
    let wgmma = Completion::Fifo(Class::Wgmma);
    // Matrix instructions on the same registers are ordered among themselves.
    let chained = x.in_registers() && x.op.completion == wgmma && y.op.completion == wgmma;
    let sets = &danger.0;
    let grouped = sets[1..=BOUND].iter().fold(0, |all, group| all | group);
    let asynchronous = y.op.proxy == Proxy::Async;
    let (warp, role) = if asynchronous { (ASYNC_WARP, ASYNC_ROLE) } else { (WARP, ROLE) };
    let sets = [
        (Missing::Commit, sets[0], !chained),
        (Missing::Completion, grouped, !chained),
        (Missing::Fence, sets[UNFENCED], asynchronous && !chained),
        (Missing::Handover(Reach::Warp), sets[warp], reach == Reach::Warp),
        (Missing::Handover(Reach::Role), sets[role], reach == Reach::Role),
    ];
    sets.into_iter()
        .find_map(|(missing, set, matters)| (matters && set & mask != 0).then_some((missing, set & mask)))
}

fn of_class<'a, 'p>(
    sites: &'a [Site<'p>],
    state: &'a mut State,
    class: Class,
) -> impl Iterator<Item = (&'a Site<'p>, &'a mut Danger)> {
    sites
        .iter()
        .zip(&mut state.dangers)
        .filter(move |(site, _)| site.op.completion == Completion::Fifo(class))
}

fn join(state: &mut State, other: &State) -> bool {
    let mut changed = false;
    for (mine, theirs) in state.dangers.iter_mut().zip(&other.dangers) {
        changed |= mine.join(theirs);
    }
    for (mine, theirs) in state.owned.iter_mut().zip(&other.owned) {
        changed |= mine.join(theirs);
    }
    changed
}
