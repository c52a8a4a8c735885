//! The program as text, and obligations in words.
//!
//! While a counter's value is known (before the first loop that advances it) ring numbers are printed as numbers, then relative
//! to the counter:
//!
//! ```text
//! role math: 4 warps
//!   copy A[0], B[0]  cp.async
//!   commit cp.async
//!   ...
//!   loop k
//!     wait_group cp.async 1  // copy A, copy B before load A, load B
//!     bar 0, 128
//!     load A[k+1], B[k+1]
//! ```

use std::fmt::Write;

use super::model::*;
use super::obligation::Obligation;
use super::placed::{SyncOp, Synced};
use super::requirement::Step;
use super::table::Reach;

/// The operation with this id.
pub fn find_op(program: &Program, id: OpId) -> Option<&Op> {
    fn find(nodes: &[Node], id: OpId) -> Option<&Op> {
        nodes.iter().find_map(|node| match node {
            Node::Op(op) => (op.id == id).then_some(op),
            Node::Hand(hand) => (hand.op.id == id).then_some(&hand.op),
            Node::Loop(l) => find(&l.body, id),
            Node::Branch(arms) => arms.iter().find_map(|arm| find(arm, id)),
            _ => None,
        })
    }
    program.roles.iter().find_map(|role| find(&role.code, id))
}

fn offset(base: &str, offset: i32) -> String {
    match offset {
        0 => base.into(),
        _ => format!("{base}{offset:+}"),
    }
}

/// `A[k+2]`, or `C` for what is no ring.
fn entry(program: &Program, access: &Access, base: impl Fn(CounterId, i32) -> String) -> String {
    let resource = &program.resources[access.resource.index()];
    match resource.counter {
        Some(counter) => format!("{}[{}]", resource.name, base(counter, access.ring)),
        None => resource.name.clone(),
    }
}

/// `copy A[k+2]`: the operation's label with what one of its accesses touches.
pub(super) fn access(program: &Program, op: &Op, access: &Access) -> String {
    let what = entry(program, access, |counter, ring| offset(&program.counters[counter.index()], ring));
    match op.label.strip_suffix(program.resources[access.resource.index()].name.as_str()) {
        Some(verb) => format!("{verb}{what}"),
        None => format!("{} {what}", op.label),
    }
}

/// An obligation in words: `copy A[k+2] (cp.async) must be complete and visible to all warps before load A[k+1], 1 step later`.
pub fn explain(program: &Program, o: &Obligation) -> String {
    let side = |(id, index): (OpId, usize)| {
        let op = find_op(program, id)?;
        Some((op, op.accesses.get(index)?))
    };
    let (Some((x, xa)), Some((y, ya))) = (side(o.source), side(o.dest)) else {
        return "operations that are not in this program".into();
    };
    let class = o.wait().map_or(String::new(), |class| format!(" ({})", class.name()));
    let fence = if o.needs(Step::FenceProxyAsync) || o.needs(Step::WgmmaFence) { ", fenced" } else { "" };
    let seen = match (xa.mode, o.reach) {
        (_, Reach::Thread) => "must be complete in its thread".into(),
        (_, Reach::Block) => "must be handed over by its channel".into(),
        (mode, reach) => {
            let by = if reach == Reach::Warp { "its warp" } else { "all warps" };
            match mode {
                Mode::Write => format!("must be complete{fence} and visible to {by}"),
                Mode::Read => format!("must be done in {by}"),
            }
        }
    };
    let verb = if ya.mode == Mode::Write && xa.mode == Mode::Read { " overwrites it" } else { "" };
    let later = match o.advances {
        0 => String::new(),
        1 => ", 1 step later".into(),
        n => format!(", {n} steps later"),
    };
    format!("{}{class} {seen} before {}{verb}{later}", access(program, x, xa), access(program, y, ya))
}

impl Class {
    /// As in the instruction names.
    pub fn name(self) -> &'static str {
        match self {
            Class::CpAsync => "cp.async",
            Class::Wgmma => "wgmma",
            Class::BulkRead => "bulk.read",
            Class::BulkWrite => "bulk",
        }
    }
}

impl SyncOp {
    /// As it is printed in dumps, ring numbers relative to their counter.
    pub fn text(&self, program: &Program) -> String {
        self.text_at(program, |counter, ring| offset(&program.counters[counter.index()], ring))
    }

    fn text_at(&self, program: &Program, number: impl Fn(CounterId, i32) -> String) -> String {
        self.words(|channel, ring| {
            let channel = &program.channels[channel.index()];
            let counter = channel.resources.first().and_then(|r| program.resources[r.index()].counter);
            format!("{}[{}]", channel.name, counter.map_or(String::new(), |c| number(c, ring)))
        })
    }
}

/// The program as text.
pub fn program(program: &Program) -> String {
    Printer { program, synced: None, counters: vec![Some(0); program.counters.len()], out: String::new() }
        .print()
}

/// The program with its synchronisation, each with the pairs of operations that it orders.
pub fn synced(synced: &Synced) -> String {
    let program = &synced.program;
    let counters = vec![Some(0); program.counters.len()];
    Printer { program, synced: Some(synced), counters, out: String::new() }.print()
}

struct Printer<'a> {
    program: &'a Program,
    synced: Option<&'a Synced>,
    /// Each counter's value where it is known.
    counters: Vec<Option<i32>>,
    out: String,
}

impl Printer<'_> {
    fn print(mut self) -> String {
        for role in &self.program.roles {
            self.counters.fill(Some(0));
            let many =
                if role.instances > 1 { format!("{} instances of ", role.instances) } else { String::new() };
            let plural = if role.warps == 1 { "warp" } else { "warps" };
            self.line(0, &format!("role {}: {many}{} {plural}", role.name, role.warps));
            self.nodes(&role.code, 1);
        }
        self.out
    }

    fn line(&mut self, depth: usize, text: &str) {
        let _ = writeln!(self.out, "{:1$}{text}", "", 2 * depth);
    }

    fn nodes(&mut self, nodes: &[Node], depth: usize) {
        for node in nodes {
            match node {
                Node::Op(op) => {
                    let text = self.op(op);
                    self.line(depth, &text);
                }
                Node::Commit(class) => self.line(depth, &format!("commit {}", class.name())),
                Node::Advance(counter) => {
                    let value = &mut self.counters[counter.index()];
                    *value = value.map(|v| v + 1);
                    let name = &self.program.counters[counter.index()];
                    self.line(depth, &format!("advance {name}"));
                }
                Node::End(counter) => {
                    let name = &self.program.counters[counter.index()];
                    self.line(depth, &format!("end {name}"));
                }
                Node::Loop(l) => {
                    let least = if l.min_trips > 0 { ", at least once" } else { "" };
                    self.line(depth, &format!("loop {}{least}", l.label));
                    self.forget(&l.body);
                    self.nodes(&l.body, depth + 1);
                    self.forget(&l.body);
                }
                Node::Branch(arms) => {
                    for (index, arm) in arms.iter().enumerate() {
                        self.line(depth, if index == 0 { "either" } else { "or" });
                        self.nodes(arm, depth + 1);
                    }
                    arms.iter().for_each(|arm| self.forget(arm));
                }
                Node::Hand(hand) => {
                    let channel = &self.program.channels[hand.channel.index()];
                    let base =
                        channel.resources.first().and_then(|r| self.program.resources[r.index()].counter);
                    let ring = base.map_or(String::new(), |c| self.ring(c, hand.ring));
                    self.line(depth, &format!("{} {}[{ring}]", hand.op.label, channel.name));
                }
                Node::NoGap => self.line(depth, "--"),
                Node::Sync(index) => self.sync(*index, depth),
            }
        }
    }

    /// Counters that the code moves are no longer known.
    fn forget(&mut self, nodes: &[Node]) {
        for node in nodes {
            match node {
                Node::Advance(counter) => self.counters[counter.index()] = None,
                Node::Loop(l) => self.forget(&l.body),
                Node::Branch(arms) => arms.iter().for_each(|arm| self.forget(arm)),
                _ => {}
            }
        }
    }

    /// A ring number, absolute where the counter is known.
    fn ring(&self, counter: CounterId, ring: i32) -> String {
        match self.counters[counter.index()] {
            Some(value) => (value + ring).to_string(),
            None => offset(&self.program.counters[counter.index()], ring),
        }
    }

    fn op(&self, op: &Op) -> String {
        let ring = |counter, ring| self.ring(counter, ring);
        let mut text = op.label.clone();
        for (index, access) in op.accesses.iter().enumerate() {
            let mode = if access.mode == Mode::Read { "reads" } else { "writes" };
            let shown = index > 0 && op.accesses[index - 1].mode == access.mode;
            let sep = if index == 0 { ": " } else { ", " };
            let mode = if shown { String::new() } else { format!("{mode} ") };
            let _ = write!(text, "{sep}{mode}{}", entry(self.program, access, ring));
        }
        match op.completion {
            Completion::Immediate => {}
            Completion::Fifo(class) => text += &format!(" ({})", class.name()),
            Completion::Mbar => text += " (mbarrier)",
        }
        if let Some(guard) = op.guard {
            text += &format!(" if {} in range", ring(guard.counter, guard.offset));
        }
        text
    }

    fn sync(&mut self, index: u32, depth: usize) {
        let Some(synced) = self.synced else {
            return self.line(depth, &format!("sync {index}"));
        };
        let placed = &synced.placed[index as usize];
        let mut why: Vec<String> = Vec::new();
        for id in &placed.obligations {
            let o = &synced.obligations[id.0 as usize];
            let label = |id: OpId| find_op(self.program, id).map_or("?", |op| op.label.as_str());
            let pair = format!("{} before {}", label(o.source.0), label(o.dest.0));
            if !why.contains(&pair) {
                why.push(pair);
            }
        }
        let why = if placed.order_only { "order only".into() } else { why.join("; ") };
        let text = placed.op.text_at(self.program, |counter, ring| self.ring(counter, ring));
        self.line(depth, &format!("{text}  // {why}"));
    }
}
