//! Kernels of several roles, and their oracle: a simulator that runs all warps of all roles with what each of them *knows*.
//!
//! Every access of every warp gets a number when it is issued. A warp knows a number when that access is complete and ordered before it:
//! its own at once, or by the wait for its group; others' through a barrier or a memory barrier that a knowing warp has arrived at.
//! An access is a race if a conflicting one was issued before it and is not known. Which accesses are ordered does not depend on the
//! schedule (counts are fixed), so one schedule decides; a simulation that gets stuck is a deadlock.

use std::collections::{BTreeMap, BTreeSet};

use super::super::model::*;
use super::super::{Missing, SyncError, SyncOp, Synced, derive, print, prove};
use super::oracle::{Step, trace};

type Set = BTreeSet<usize>;

#[derive(Default)]
struct Agent<'a> {
    /// Role instance, over all roles.
    instance: usize,
    elected: bool,
    steps: Vec<Step<'a>>,
    at: usize,
    /// Complete and visible to generic accesses, and to asynchronous ones.
    known: Set,
    ready: Set,
    own: Set,
    open: Vec<(Class, usize)>,
    groups: Vec<(Class, Vec<usize>)>,
    /// Waiting at a barrier.
    arrived: bool,
}

/// One phase of a memory barrier.
#[derive(Default)]
struct Phase {
    arrivals: u32,
    known: Set,
    ready: Set,
}

/// An issued access.
struct Issued {
    instance: usize,
    step: usize,
    access: Access,
    ring: i64,
    generic_write: bool,
}

struct Machine<'a> {
    program: &'a Program,
    agents: Vec<Agent<'a>>,
    issued: Vec<Issued>,
    full: BTreeMap<(u32, i64), Phase>,
    empty: BTreeMap<(u32, i64), Phase>,
    /// Collective operations are one access of all warps.
    collective: BTreeMap<(usize, usize, usize), usize>,
}

/// A race or a deadlock with every loop taking `trips` trips.
fn simulate(program: &Program, sync: &dyn Fn(u32) -> Option<SyncOp>, trips: u32) -> Option<String> {
    let mut agents = Vec::new();
    let mut instance = 0;
    for role in &program.roles {
        for _ in 0..role.instances {
            for warp in 0..role.warps.min(2) {
                let steps = trace(program, role, sync, trips);
                agents.push(Agent { instance, elected: warp == 0, steps, ..Agent::default() });
            }
            instance += 1;
        }
    }
    let mut machine = Machine {
        program,
        agents,
        issued: Vec::new(),
        full: BTreeMap::new(),
        empty: BTreeMap::new(),
        collective: BTreeMap::new(),
    };
    loop {
        let mut moved = false;
        for a in 0..machine.agents.len() {
            while machine.agents[a].at < machine.agents[a].steps.len() {
                match machine.step(a) {
                    Ok(true) => moved = true,
                    Ok(false) => break,
                    Err(race) => return Some(race),
                }
            }
        }
        if machine.agents.iter().all(|a| a.at == a.steps.len()) {
            return None;
        }
        if !moved {
            return Some("deadlock".into());
        }
    }
}

impl<'a> Machine<'a> {
    /// Runs one step of an agent; false if it has to wait.
    fn step(&mut self, a: usize) -> Result<bool, String> {
        let steps = std::mem::take(&mut self.agents[a].steps);
        let at = self.agents[a].at;
        let went = match &steps[at] {
            Step::Op(op, rings) => self.op(a, at, op, rings).map(|()| true),
            Step::Commit(class) => {
                let agent = &mut self.agents[a];
                let (mine, rest) = agent.open.drain(..).partition(|(c, _)| c == class);
                agent.open = rest;
                let mine: Vec<(Class, usize)> = mine;
                agent.groups.push((*class, mine.into_iter().map(|(_, id)| id).collect()));
                Ok(true)
            }
            Step::Sync(op, entry) => Ok(self.sync(a, *op, *entry)),
        };
        self.agents[a].steps = steps;
        if went == Ok(true) {
            self.agents[a].at += 1;
        }
        went
    }

    fn op(&mut self, a: usize, step: usize, op: &Op, rings: &[i64]) -> Result<(), String> {
        if op.threads == Threads::Elect && !self.agents[a].elected {
            return Ok(());
        }
        for (access, &ring) in op.accesses.iter().zip(rings) {
            let resource = &self.program.resources[access.resource.index()];
            if matches!(resource.kind, ResourceKind::Acc | ResourceKind::AReg) {
                continue;
            }
            for (id, x) in self.issued.iter().enumerate() {
                let agent = &self.agents[a];
                let same_op = x.instance == agent.instance && x.step == step;
                let meets = x.access.resource == access.resource
                    && (x.ring - ring) % i64::from(resource.slots) == 0
                    && (x.access.mode == Mode::Write || access.mode == Mode::Write)
                    && (!resource.per_instance || x.instance == agent.instance);
                let known =
                    if op.proxy == Proxy::Async && x.generic_write { &agent.ready } else { &agent.known };
                if meets && !same_op && !known.contains(&id) {
                    return Err(format!(
                        "{} {}[{ring}] meets access {id} at [{}]",
                        op.label, resource.name, x.ring
                    ));
                }
            }
            self.issue(a, step, op, access, ring);
        }
        Ok(())
    }

    fn issue(&mut self, a: usize, step: usize, op: &Op, access: &Access, ring: i64) {
        let generic_write = op.proxy == Proxy::Generic && access.mode == Mode::Write;
        let agent = &mut self.agents[a];
        let fresh = self.issued.len();
        let wgmma = op.completion == Completion::Fifo(Class::Wgmma);
        let key = (agent.instance, step, access.resource.index());
        let id = if wgmma { *self.collective.entry(key).or_insert(fresh) } else { fresh };
        if id == fresh {
            self.issued.push(Issued { instance: agent.instance, step, access: *access, ring, generic_write });
        }
        agent.own.insert(id);
        match op.completion {
            Completion::Immediate => {
                agent.known.insert(id);
                if !generic_write {
                    agent.ready.insert(id);
                }
            }
            Completion::Fifo(class) => agent.open.push((class, id)),
            Completion::Mbar => {
                let channel =
                    self.program.channels.iter().position(|c| c.resources.contains(&access.resource));
                let phase = self.full.entry((channel.unwrap() as u32, ring)).or_default();
                phase.known.insert(id);
                phase.ready.insert(id);
            }
        }
    }

    fn sync(&mut self, a: usize, op: SyncOp, entry: i64) -> bool {
        let channel = |c: ChannelId| &self.program.channels[c.index()];
        match op {
            SyncOp::WaitGroup { class, newest } => {
                let issued = &self.issued;
                let agent = &mut self.agents[a];
                let count = agent.groups.iter().filter(|g| g.0 == class).count();
                let mut retire = count.saturating_sub(newest.into());
                for (c, group) in &mut agent.groups {
                    if *c == class && retire > 0 {
                        retire -= 1;
                        for id in group.drain(..) {
                            agent.known.insert(id);
                            if !issued[id].generic_write {
                                agent.ready.insert(id);
                            }
                        }
                    }
                }
            }
            SyncOp::FenceProxyAsync => {
                let agent = &mut self.agents[a];
                let fenced: Vec<usize> = agent.own.intersection(&agent.known).copied().collect();
                agent.ready.extend(fenced);
            }
            SyncOp::WgmmaFence | SyncOp::BarWarp => {}
            SyncOp::Bar { .. } => return self.bar(a),
            SyncOp::ExpectTx { channel: c, .. } => {
                if self.agents[a].elected {
                    self.full.entry((c.0, entry)).or_default().arrivals += 1;
                }
            }
            SyncOp::ArriveFull { channel: c, .. } => self.arrive(a, c, entry, true),
            SyncOp::ArriveEmpty { channel: c, .. } => {
                if self.agents[a].elected {
                    self.arrive(a, c, entry, false);
                }
            }
            SyncOp::WaitFull { channel: c, .. } => {
                let from = &self.program.roles[channel(c).from.index()];
                let bytes = self.transfers(channel(c));
                let needed = if bytes { from.instances } else { from.instances * from.warps.min(2) };
                return self.wait(a, (c.0, entry), needed, true);
            }
            SyncOp::WaitEmpty { channel: c, .. } => {
                let resource = channel(c).resources[0];
                let slots = i64::from(self.program.resources[resource.index()].slots);
                let needed = self.program.roles[channel(c).to.index()].instances;
                // The first round finds every slot empty.
                return entry < slots || self.wait(a, (c.0, entry - slots), needed, false);
            }
        }
        true
    }

    fn transfers(&self, channel: &Channel) -> bool {
        fn any(nodes: &[Node], resource: ResourceId) -> bool {
            nodes.iter().any(|n| match n {
                Node::Op(op) => {
                    op.completion == Completion::Mbar && op.accesses.iter().any(|a| a.resource == resource)
                }
                Node::Loop(l) => any(&l.body, resource),
                _ => false,
            })
        }
        any(&self.program.roles[channel.from.index()].code, channel.resources[0])
    }

    fn arrive(&mut self, a: usize, c: ChannelId, entry: i64, full: bool) {
        let barriers = if full { &mut self.full } else { &mut self.empty };
        let phase = barriers.entry((c.0, entry)).or_default();
        phase.arrivals += 1;
        phase.known.extend(&self.agents[a].known);
        phase.ready.extend(&self.agents[a].ready);
    }

    fn wait(&mut self, a: usize, key: (u32, i64), needed: u32, full: bool) -> bool {
        let barriers = if full { &self.full } else { &self.empty };
        let Some(phase) = barriers.get(&key).filter(|p| p.arrivals >= needed) else { return false };
        self.agents[a].known.extend(&phase.known);
        self.agents[a].ready.extend(&phase.ready);
        true
    }

    fn bar(&mut self, a: usize) -> bool {
        let instance = self.agents[a].instance;
        self.agents[a].arrived = true;
        let members: Vec<usize> =
            (0..self.agents.len()).filter(|&b| self.agents[b].instance == instance).collect();
        if !members.iter().all(|&b| self.agents[b].arrived) {
            return false;
        }
        let known: Set = members.iter().flat_map(|&b| self.agents[b].known.clone()).collect();
        let ready: Set = members.iter().flat_map(|&b| self.agents[b].ready.clone()).collect();
        for b in members {
            let agent = &mut self.agents[b];
            agent.arrived = false;
            agent.known.clone_from(&known);
            agent.ready.clone_from(&ready);
            if b != a {
                agent.at += 1;
            }
        }
        true
    }
}

/// Complete for every trip count; incomplete for some when any one operation is missing.
fn check(synced: &Synced, max_trips: u32) {
    let text = print::synced(synced);
    let find = |sync: &dyn Fn(u32) -> Option<SyncOp>| {
        (0..=max_trips).find_map(|trips| simulate(&synced.program, sync, trips))
    };
    let placed = &synced.placed;
    assert_eq!(find(&|i| Some(placed[i as usize].op)), None, "{text}");
    for (index, p) in placed.iter().enumerate() {
        let race = find(&|i| (i as usize != index).then(|| placed[i as usize].op));
        assert!(race.is_some() || unseen(synced, index), "{:?} is redundant\n{text}", p.op);
        assert!(!p.obligations.is_empty(), "{:?} names no obligation\n{text}", p.op);
        let rest: Vec<_> =
            placed.iter().enumerate().filter(|(i, _)| *i != index).map(|(_, p)| p.clone()).collect();
        let bare = without_sync(&synced.program);
        assert!(prove(&bare, &rest).is_err(), "the proof does not miss {:?}\n{text}", p.op);
    }
}

/// What this simulator cannot miss: it follows no registers, and nobody waits for the last entries' release (a persistent kernel's next
/// tile would).
fn unseen(synced: &Synced, index: usize) -> bool {
    let placed = &synced.placed[index];
    let last = synced.placed.iter().rposition(|p| matches!(p.op, SyncOp::ArriveEmpty { .. }));
    let drains =
        synced.program.roles[1].code.iter().any(|n| matches!(n, Node::Sync(i) if *i as usize == index));
    let registers = placed.obligations.iter().any(|id| {
        let o = &synced.obligations[id.0 as usize];
        let op = print::find_op(&synced.program, o.source.0).unwrap();
        let resource = op.accesses[o.source.1].resource;
        synced.program.resources[resource.index()].kind == ResourceKind::Acc
    });
    registers || (drains && last == Some(index))
}

fn without_sync(program: &Program) -> Program {
    fn strip(nodes: &mut Vec<Node>) {
        nodes.retain(|n| !matches!(n, Node::Sync(_)));
        for node in nodes {
            match node {
                Node::Loop(l) => strip(&mut l.body),
                Node::Branch(arms) => arms.iter_mut().for_each(strip),
                _ => {}
            }
        }
    }
    let mut bare = program.clone();
    bare.roles.iter_mut().for_each(|r| strip(&mut r.code));
    bare
}

#[derive(Clone, Copy, PartialEq)]
enum Writer {
    Tma,
    CpAsync,
    Store,
}

/// A warp-specialised GEMM: a producer role fills a ring, `instances` consumers read it by wgmma (releasing one step late) or by
/// ldmatrix (releasing in the same step).
fn specialised(writer: Writer, wgmma: bool, slots: u32, instances: u32) -> Program {
    let mut p = Program { name: "specialised".into(), ..Program::default() };
    let k = p.add_counter("k");
    let a = p.add_ring("A", slots, k);
    let b = p.add_ring("B", slots, k);
    let acc = p.add_resource("acc", ResourceKind::Acc, 1, None);
    let reader = if wgmma { Proxy::Async } else { Proxy::Generic };
    p.channels.push(Channel {
        name: "ab".into(),
        resources: vec![a, b],
        from: RoleId(0),
        to: RoleId(1),
        bytes: 49152,
        reader,
    });
    let ab = ChannelId(0);
    let fill = |op: Op| Node::Op(op.writes(a, 0).writes(b, 0));
    let mut body = vec![p.hand(0, ab, HandEnd::Acquire, 0)];
    match writer {
        Writer::Tma => body.push(fill(Op::tma_load(1, "tma load"))),
        Writer::Store => body.push(fill(Op::new(1, "store"))),
        Writer::CpAsync => {
            body.push(fill(Op::cp_async(1, "copy")));
            body.push(Node::Commit(Class::CpAsync));
        }
    }
    body.push(p.hand(2, ab, HandEnd::Commit, 0));
    body.push(Node::Advance(k));
    p.add_role("load", 4, vec![Node::repeat("k", body)]);

    let mut code = vec![Op::new(10, "clear").writes(acc, 0).into()];
    let wait = |p: &Program, id, ring| p.hand(id, ab, HandEnd::Wait, ring);
    if wgmma {
        // Peeled once, so that step k releases the entry of step k - 1.
        let mma = |id| {
            Node::Op(Op::wgmma(id, "wgmma").reads(a, 0).reads(b, 0).touches(acc, 0, Mode::Write, Part::Any))
        };
        let commit = || Node::Commit(Class::Wgmma);
        let steady =
            vec![wait(&p, 13, 0), mma(14), commit(), p.hand(15, ab, HandEnd::Release, -1), Node::Advance(k)];
        code.extend([wait(&p, 11, 0), mma(12), commit(), Node::Advance(k)]);
        code.push(Node::repeat("k", steady));
        code.push(p.hand(16, ab, HandEnd::Release, -1));
        code.push(Op::new(17, "get").reads(acc, 0).into());
    } else {
        let body = vec![
            wait(&p, 13, 0),
            Op::new(14, "ldmatrix").reads(a, 0).reads(b, 0).into(),
            p.hand(15, ab, HandEnd::Release, 0),
            Node::Advance(k),
        ];
        code.push(Node::repeat("k", body));
    }
    let math = p.add_role("math", 4, code);
    p.roles[math.index()].instances = instances;
    if wgmma {
        // The consumer's peeled step needs an entry: the producer runs one step more.
        let first = p.roles[0].code[0].clone();
        let Node::Loop(l) = first else { unreachable!("the producer is one loop") };
        p.roles[0].code.splice(0..0, l.body);
    }
    p
}

#[test]
fn tma_feeds_two_wgmma_consumers() {
    let synced = derive(&specialised(Writer::Tma, true, 4, 2)).unwrap();
    insta::assert_snapshot!(print::synced(&synced));
}

#[test]
fn every_writer_and_reader() {
    for writer in [Writer::Tma, Writer::CpAsync, Writer::Store] {
        for wgmma in [false, true] {
            for slots in 1 + u32::from(wgmma)..=4 {
                for instances in 1..=2 {
                    let synced = derive(&specialised(writer, wgmma, slots, instances)).unwrap();
                    check(&synced, 2 * slots + 2);
                }
            }
        }
    }
}

#[test]
fn stores_to_wgmma_fence_on_the_writers_side() {
    let synced = derive(&specialised(Writer::Store, true, 2, 1)).unwrap();
    insta::assert_snapshot!(print::synced(&synced));
}

#[test]
fn roles_without_a_channel_are_refused() {
    let mut p = Program::default();
    let a = p.add_buffer("A");
    p.add_role("one", 1, vec![Op::new(0, "put A").writes(a, 0).into()]);
    p.add_role("two", 1, vec![Op::new(1, "get A").reads(a, 0).into()]);
    assert_eq!(derive(&p).unwrap_err().to_string(), "no channel orders put A and get A");
}

#[test]
fn touching_an_entry_after_its_release_is_refused() {
    let mut p = specialised(Writer::Tma, false, 2, 1);
    let Node::Loop(l) = &mut p.roles[1].code[1] else { unreachable!("the consumer's loop") };
    l.body.swap(1, 2);
    let Err(SyncError::Unproved(v)) = derive(&p) else { panic!("the entry is not held") };
    assert!(matches!(v.missing, Missing::Channel(_)), "{v}");
    insta::assert_snapshot!(v.to_string(), @"ldmatrix A[k]: its role does not hold the entry");
}
