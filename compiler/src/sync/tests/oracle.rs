//! A brute-force oracle: runs a program with its synchronisation concretely, every choice of trip counts and arms in turn, and looks
//! for two conflicting accesses that some schedule could run in either order.
//!
//! It has four threads in two warps (two in one warp for a role of one warp), pieces of memory instead of maps, real ring numbers
//! instead of offsets, and the definition of each synchronising operation on positions in the trace. Control flow is uniform, so all
//! threads of a role run one trace, and a pair is ordered if and only if the positions say so:
//! `x` completes at its own position or at the wait that retires its group; then a fence if one is needed; then, for other threads, a
//! barrier; all before `y`.

use super::super::model::*;
use super::super::{SyncOp, Synced};

/// One operation of the trace, with its ring numbers.
pub enum Step<'a> {
    Op(&'a Op, Vec<i64>),
    Commit(Class),
    /// And the number of the entry, if it belongs to a channel.
    Sync(SyncOp, i64),
}

/// Trip counts and arms, enumerated like the digits of a number, then at random.
#[derive(Default)]
struct Choices {
    digits: Vec<(u32, u32)>,
    next: usize,
    /// The state of the generator, once choices are random.
    random: Option<u64>,
    /// All loops take this many trips.
    fixed: Option<u32>,
    last: u32,
}

impl Choices {
    fn choose(&mut self, low: u32, high: u32) -> u32 {
        if let Some(trips) = self.fixed {
            return trips.clamp(low, high);
        }
        if let Some(state) = &mut self.random {
            *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let roll = (*state >> 33) as u32;
            // Runs of equal choices are likely: skipping an inner loop many times in a row is what shows some races.
            if !roll.is_multiple_of(4) && (low..=high).contains(&self.last) {
                return self.last;
            }
            self.last = low + (roll >> 2) % (high - low + 1);
            return self.last;
        }
        if self.next == self.digits.len() {
            self.digits.push((low, high));
        }
        self.next += 1;
        self.digits[self.next - 1].0
    }

    /// Goes to the next combination; false after the last.
    fn advance(&mut self) -> bool {
        self.next = 0;
        while let Some((value, high)) = self.digits.pop() {
            if value < high {
                self.digits.push((value + 1, high));
                return true;
            }
        }
        false
    }
}

struct Tracer<'a> {
    program: &'a Program,
    sync: &'a dyn Fn(u32) -> Option<SyncOp>,
    max_trips: u32,
    depth: u32,
    counters: Vec<i64>,
    steps: Vec<Step<'a>>,
    /// Guarded operations: position, counter, the number that must stay below the limit.
    guards: Vec<(usize, CounterId, i64)>,
    skipped: Vec<usize>,
}

impl<'a> Tracer<'a> {
    fn new(program: &'a Program, sync: &'a dyn Fn(u32) -> Option<SyncOp>, max_trips: u32) -> Tracer<'a> {
        Tracer {
            program,
            sync,
            max_trips,
            depth: 0,
            counters: vec![0; program.counters.len()],
            steps: Vec::new(),
            guards: Vec::new(),
            skipped: Vec::new(),
        }
    }

    fn nodes(&mut self, nodes: &'a [Node], choices: &mut Choices) {
        for node in nodes {
            match node {
                Node::Op(op) => {
                    let ring = |a: &Access| match self.program.resources[a.resource.index()].counter {
                        Some(c) => self.counters[c.index()] + i64::from(a.ring),
                        None => 0,
                    };
                    if let Some(g) = op.guard {
                        let number = self.counters[g.counter.index()] + i64::from(g.offset);
                        self.guards.push((self.steps.len(), g.counter, number));
                    }
                    self.steps.push(Step::Op(op, op.accesses.iter().map(ring).collect()));
                }
                Node::Commit(class) => self.steps.push(Step::Commit(*class)),
                Node::Advance(counter) => self.counters[counter.index()] += 1,
                Node::End(counter) => {
                    let limit = self.counters[counter.index()];
                    let skipped = self.guards.iter().filter(|g| g.1 == *counter && g.2 >= limit).map(|g| g.0);
                    self.skipped.extend(skipped);
                    self.guards.retain(|g| g.1 != *counter);
                }
                Node::Loop(l) => {
                    // What matters of an inner loop is none, one, and another trip.
                    let most = if self.depth == 0 { self.max_trips } else { 2 };
                    if self.depth == 0 {
                        choices.last = u32::MAX;
                    }
                    self.depth += 1;
                    for _ in 0..choices.choose(l.min_trips.min(1), most) {
                        self.nodes(&l.body, choices);
                    }
                    self.depth -= 1;
                }
                Node::Branch(arms) => {
                    let arm = choices.choose(0, arms.len() as u32 - 1);
                    self.nodes(&arms[arm as usize], choices);
                }
                Node::NoGap => {}
                Node::Hand(_) => {}
                Node::Sync(index) => {
                    if let Some(op) = (self.sync)(*index) {
                        let number = self.entry(op);
                        self.steps.push(Step::Sync(op, number));
                    }
                }
            }
        }
    }
}

impl Tracer<'_> {
    fn entry(&self, op: SyncOp) -> i64 {
        let (channel, ring) = match op {
            SyncOp::WaitFull { channel, ring }
            | SyncOp::WaitEmpty { channel, ring }
            | SyncOp::ExpectTx { channel, ring, .. }
            | SyncOp::ArriveFull { channel, ring }
            | SyncOp::ArriveEmpty { channel, ring } => (channel, ring),
            _ => return 0,
        };
        let resource = self.program.channels[channel.index()].resources[0];
        let counter = self.program.resources[resource.index()].counter.unwrap();
        self.counters[counter.index()] + i64::from(ring)
    }
}

/// What a role runs if every loop takes `trips` trips.
pub fn trace<'a>(
    program: &'a Program,
    role: &'a Role,
    sync: &'a dyn Fn(u32) -> Option<SyncOp>,
    trips: u32,
) -> Vec<Step<'a>> {
    let mut tracer = Tracer::new(program, sync, trips);
    tracer.nodes(&role.code, &mut Choices { fixed: Some(trips), ..Choices::default() });
    tracer.steps
}

const LANES: u32 = 2;

struct Threads {
    warps: u32,
}

impl Threads {
    fn count(&self) -> u32 {
        self.warps * LANES
    }

    /// The pieces that thread `t` touches, as a mask; 0 if it takes no part.
    fn pieces(&self, kind: ResourceKind, op: &Op, part: Part, t: u32) -> u32 {
        let all = (1 << self.count()) - 1;
        if matches!(kind, ResourceKind::Acc | ResourceKind::AReg) {
            return 1 << t;
        }
        match (op.threads, part) {
            (super::super::model::Threads::Elect, _) => {
                if t == 0 {
                    all
                } else {
                    0
                }
            }
            (_, Part::Any) => all,
            // Off by one warp, so that it disagrees with every map of threads.
            (_, Part::Warp(map)) => ((1 << LANES) - 1) << (LANES * ((t / LANES + map + 1) % self.warps)),
            (_, Part::Thread(map)) => 1 << ((t + map) % self.count()),
        }
    }

    /// (same thread, same warp, other warp): can two accesses meet on one piece so?
    fn relations(&self, kinds: [ResourceKind; 2], ops: [&Op; 2], parts: [Part; 2], alias: bool) -> [bool; 3] {
        let mut found = [false; 3];
        for t in 0..self.count() {
            for u in 0..self.count() {
                let (a, b) =
                    (self.pieces(kinds[0], ops[0], parts[0], t), self.pieces(kinds[1], ops[1], parts[1], u));
                if (alias && a != 0 && b != 0) || a & b != 0 {
                    let relation = if t == u {
                        0
                    } else if t / LANES == u / LANES {
                        1
                    } else {
                        2
                    };
                    found[relation] = true;
                }
            }
        }
        found
    }
}

/// The first race of one trace, in words.
fn race(program: &Program, role: &Role, tracer: &Tracer) -> Option<String> {
    let steps = &tracer.steps;
    let threads = Threads { warps: role.warps.min(2) };
    let next = |from: usize, to: usize, wanted: &dyn Fn(SyncOp) -> bool| {
        (from..to).find(|&i| matches!(&steps[i], Step::Sync(op, _) if wanted(*op)))
    };
    let skipped = |i: usize| tracer.skipped.contains(&i);
    for (j, step) in steps.iter().enumerate() {
        let Step::Op(y, y_rings) = step else { continue };
        if skipped(j) {
            continue;
        }
        for (i, earlier) in steps[..j].iter().enumerate() {
            let Step::Op(x, x_rings) = earlier else { continue };
            if skipped(i) {
                continue;
            }
            // When x is complete in its thread.
            let complete = match x.completion {
                Completion::Immediate => Some(i + 1),
                Completion::Mbar => None,
                Completion::Fifo(class) => {
                    let mut newer = None;
                    (i..j).find(|&p| match &steps[p] {
                        Step::Commit(c) if *c == class => {
                            newer = Some(newer.map_or(0, |n: u32| n + 1));
                            false
                        }
                        Step::Sync(SyncOp::WaitGroup { class: c, newest }, _) if *c == class => {
                            newer.is_some_and(|n| n >= u32::from(*newest))
                        }
                        _ => false,
                    })
                }
            };
            for (xa, xr) in x.accesses.iter().zip(x_rings) {
                for (ya, yr) in y.accesses.iter().zip(y_rings) {
                    if xa.mode == Mode::Read && ya.mode == Mode::Read {
                        continue;
                    }
                    let resource = |a: &Access| &program.resources[a.resource.index()];
                    let same = xa.resource == ya.resource;
                    let slots = i64::from(resource(xa).slots);
                    let alias = program.overlaps.iter().any(|&(a, b)| {
                        (a, b) == (xa.resource, ya.resource) || (b, a) == (xa.resource, ya.resource)
                    });
                    if !(same && (xr - yr) % slots == 0 || !same && alias) {
                        continue;
                    }
                    let kinds = [resource(xa).kind, resource(ya).kind];
                    let registers = matches!(kinds[0], ResourceKind::Acc | ResourceKind::AReg);
                    let wgmma = Completion::Fifo(Class::Wgmma);
                    if registers && x.completion == wgmma && y.completion == wgmma {
                        continue;
                    }
                    let relations = threads.relations(kinds, [x, y], [xa.part, ya.part], !same);
                    let fence = if registers {
                        (y.completion == wgmma).then_some(SyncOp::WgmmaFence)
                    } else {
                        (xa.mode == Mode::Write && x.proxy == Proxy::Generic && y.proxy == Proxy::Async)
                            .then_some(SyncOp::FenceProxyAsync)
                    };
                    let ready = complete.and_then(|c| match fence {
                        Some(fence) => next(c, j, &|op| op == fence),
                        None => Some(c),
                    });
                    let ordered = [
                        ready.is_some(),
                        ready.is_some_and(|c| {
                            next(c, j, &|op| matches!(op, SyncOp::BarWarp | SyncOp::Bar { .. })).is_some()
                        }),
                        ready.is_some_and(|c| next(c, j, &|op| matches!(op, SyncOp::Bar { .. })).is_some()),
                    ];
                    if (0..3).any(|r| relations[r] && !ordered[r]) {
                        return Some(format!(
                            "{} {:?}[{xr}] at {i} and {} {:?}[{yr}] at {j}",
                            x.label, xa.resource, y.label, ya.resource
                        ));
                    }
                }
            }
        }
    }
    None
}

/// The first race over all trip counts up to `max_trips` and all arms, random ones after `limit` combinations; `sync` says what each
/// [`Node::Sync`] is, `None` to leave it out.
pub fn find_race(
    program: &Program,
    sync: &dyn Fn(u32) -> Option<SyncOp>,
    max_trips: u32,
    limit: usize,
) -> Option<String> {
    for role in &program.roles {
        let mut choices = Choices::default();
        for trace in 0..2 * limit {
            if trace == limit {
                choices.random = Some(1);
            }
            let mut tracer = Tracer::new(program, sync, max_trips);
            tracer.nodes(&role.code, &mut choices);
            if let Some(text) = race(program, role, &tracer) {
                return Some(text);
            }
            if choices.random.is_none() && !choices.advance() {
                break;
            }
        }
    }
    None
}

/// A result must have no race; without any one of its operations, or with a weaker wait, it must have one.
pub fn check(synced: &Synced, max_trips: u32, limit: usize) -> Result<(), String> {
    let placed = &synced.placed;
    let all = |i: u32| Some(placed[i as usize].op);
    if let Some(race) = find_race(&synced.program, &all, max_trips, limit) {
        return Err(format!("race: {race}"));
    }
    for (index, p) in placed.iter().enumerate() {
        let without = |i: u32| (i as usize != index).then(|| placed[i as usize].op);
        if !p.order_only && find_race(&synced.program, &without, max_trips, limit).is_none() {
            return Err(format!("{:?} in {:?} is redundant", p.op, p.gap));
        }
        if p.obligations.is_empty() != p.order_only {
            return Err(format!("{:?} in {:?} names no obligation", p.op, p.gap));
        }
        if let SyncOp::WaitGroup { class, newest } = p.op
            && newest < 7
        {
            let weaker = SyncOp::WaitGroup { class, newest: newest + 1 };
            let weakened = |i: u32| Some(if i as usize == index { weaker } else { placed[i as usize].op });
            if find_race(&synced.program, &weakened, max_trips, limit).is_none() {
                return Err(format!("{:?} in {:?} waits for too much", p.op, p.gap));
            }
        }
    }
    Ok(())
}
