//! From expanded T2 to an event program and back: where derived synchronisation enters the module.
//!
//! Every op becomes one operation of the event program, with what it touches in shared memory; ops that touch only registers
//! keep their place and touch nothing. Ring entries are named relative to the loop's step counter, which the loop advances once per
//! step: `Iter::Const(n)` before the loop and `Iter::Step(n)` in it are both `counter + n`.

use super::ir::{BufId, Iter, Module, Node, Op, OpKind, SyncNode, TokClass, ValKind};
use crate::sync::{self, model as event};

/// Derives synchronisation for an expanded module, proves it, and puts it in place.
pub fn synchronise(mut module: Module) -> Result<Module, sync::SyncError> {
    let (told, body) = (module.told(), std::mem::take(&mut module.body));
    let mut walk = Walk::new(&module, told);
    let code = walk.nodes(body);
    let Walk { mut program, ops, .. } = walk;
    let role = module.roles.first().map_or(("block", 1), |r| (r.name.as_str(), r.warps));
    program.add_role(role.0, role.1, code);
    let synced = sync::derive(&program)?;
    let mut ops: Vec<Option<Node>> = ops.into_iter().map(Some).collect();
    let code = synced.program.roles.first().map(|r| r.code.as_slice()).unwrap_or_default();
    module.body = rebuild(code, &synced, &mut ops);
    Ok(module)
}

struct Walk<'a> {
    /// Without its body.
    module: &'a Module,
    told: Option<BufId>,
    program: sync::Program,
    rings: Vec<event::ResourceId>,
    /// By place: what different threads put into two places needs no order.
    works: Vec<event::ResourceId>,
    counter: event::CounterId,
    /// Global memory in which order counts.
    globals: Vec<(crate::tile::ir::TensorId, event::ResourceId)>,
    /// The T2 node of every operation id, and of every loop and commit by the id that it took.
    ops: Vec<Node>,
}

impl<'a> Walk<'a> {
    fn new(module: &'a Module, told: Option<BufId>) -> Walk<'a> {
        let mut program = sync::Program { name: module.name.clone(), ..Default::default() };
        let counter = program.add_counter("step");
        let rings = module.buffers.iter().map(|b| program.add_ring(&b.name, b.slots, counter)).collect();
        let work = |w: &super::ir::Work| program.add_resource(&w.name, event::ResourceKind::Work, 1, None);
        let works = module.work.iter().map(work).collect();
        let globals = module
            .ordered
            .iter()
            .map(|t| {
                let name = format!("tensor {}", t.0);
                (*t, program.add_resource(&name, event::ResourceKind::Gmem, 1, None))
            })
            .collect();
        Walk { module, told, program, rings, works, counter, globals, ops: Vec::new() }
    }

    fn global(&self, tensor: crate::tile::ir::TensorId) -> Option<event::ResourceId> {
        self.globals.iter().find(|(t, _)| *t == tensor).map(|(_, r)| *r)
    }

    fn nodes(&mut self, nodes: Vec<Node>) -> Vec<event::Node> {
        let mut out = Vec::new();
        for node in nodes {
            match node {
                Node::Op(op) => self.op(op, &mut out),
                Node::Loop(mut l) => {
                    let (name, body) = (l.name.clone(), std::mem::take(&mut l.body));
                    let id = self.take(Node::Loop(l));
                    let mut body = self.nodes(body);
                    body.push(event::Node::Advance(self.counter));
                    out.push(event::Op::new(id, &format!("for {name}")).into());
                    out.push(event::Node::NoGap);
                    out.push(event::Node::repeat(&name, body));
                }
                Node::If(mut i) => {
                    let arms = [std::mem::take(&mut i.then_body), std::mem::take(&mut i.else_body)];
                    let id = self.take(Node::If(i));
                    let arms = arms.into_iter().map(|arm| self.nodes(arm)).collect();
                    out.push(event::Op::new(id, "if").into());
                    out.push(event::Node::NoGap);
                    out.push(event::Node::Branch(arms));
                }
                // The input of derivation has none.
                Node::Sync(_) => {}
            }
        }
        out
    }

    fn take(&mut self, node: Node) -> u32 {
        self.ops.push(node);
        self.ops.len() as u32 - 1
    }

    fn op(&mut self, op: Op, out: &mut Vec<event::Node>) {
        let id = self.ops.len() as u32;
        let ring = match op.iter {
            Iter::None => 0,
            Iter::Const(n) | Iter::Step(n) => n as i32,
        };
        let m = self.module;
        match &op.kind {
            OpKind::CopyIn { buf, .. } | OpKind::CopyPacked { buf, .. } => {
                let label = format!("copy {}", m.buffer(*buf).name);
                let asynchronous =
                    op.result.is_some_and(|t| matches!(m.value(t).kind, ValKind::Tok(TokClass::CpAsync)));
                let event =
                    if asynchronous { event::Op::cp_async(id, &label) } else { event::Op::new(id, &label) };
                out.push(event.writes(self.rings[buf.0 as usize], ring).at(op.span).into());
            }
            OpKind::Load { buf, at, size, .. } => {
                let label = format!("load {}[{at}..{}]", m.buffer(*buf).name, at + size);
                out.push(
                    event::Op::new(id, &label).reads(self.rings[buf.0 as usize], ring).at(op.span).into(),
                );
            }
            OpKind::LoadPacked { buf, .. } => {
                let label = format!("load {}", m.buffer(*buf).name);
                out.push(
                    event::Op::new(id, &label).reads(self.rings[buf.0 as usize], ring).at(op.span).into(),
                );
            }
            OpKind::PutPartials { buf, .. }
            | OpKind::PutTile { buf, .. }
            | OpKind::PutAt { buf, .. }
            | OpKind::ItemTell { buf, .. } => {
                let label = format!("put {}", m.buffer(*buf).name);
                let event = event::Op::new(id, &label).writes(self.rings[buf.0 as usize], ring);
                out.push(event.at(op.span).into());
            }
            OpKind::GetPartials { buf, .. }
            | OpKind::GetScan { buf, .. }
            | OpKind::GetTile { buf, .. }
            | OpKind::ItemHear { buf, .. }
            | OpKind::Rank { buf, .. }
            | OpKind::GetRanked { buf, .. } => {
                let label = format!("get {}", m.buffer(*buf).name);
                let event = event::Op::new(id, &label).reads(self.rings[buf.0 as usize], ring);
                out.push(event.at(op.span).into());
            }
            // Who puts is all threads, who counts is one of them; then the block has met.
            OpKind::WorkPut { work, .. } => {
                let label = format!("put {}", m.work(*work).name);
                out.push(
                    event::Op::new(id, &label).writes(self.works[work.0 as usize], 0).at(op.span).into(),
                );
            }
            OpKind::WorkLast { .. } => {
                let event = event::Op::new(id, "last").elected();
                let event = self.works.iter().fold(event, |event, work| event.reads(*work, 0));
                out.push(event.at(op.span).into());
            }
            // Whatever the next item does with shared memory comes after all that this one does.
            OpKind::ItemDone { .. } => {
                let mut event = event::Op::new(id, "next item");
                let told = self.told.map(|told| told.0 as usize);
                let all = self.rings.iter().zip(&m.buffers).enumerate();
                for (_, (ring, buffer)) in all.filter(|(n, _)| Some(*n) != told) {
                    for slot in 0..buffer.slots {
                        event = event.writes(*ring, slot as i32);
                    }
                }
                out.push(event.at(op.span).into());
            }
            OpKind::ReadReg { tensor, .. } if self.global(*tensor).is_some() => {
                let mut event = event::Op::new(id, "read.reg");
                if let Some(memory) = self.global(*tensor) {
                    event = event.reads(memory, 0);
                }
                out.push(event.at(op.span).into());
            }
            OpKind::WriteReg { tensor, .. } | OpKind::Atomic { tensor, .. }
                if self.global(*tensor).is_some() =>
            {
                let mut event = event::Op::new(id, op.kind.label());
                if let Some(memory) = self.global(*tensor) {
                    event = event.writes(memory, 0);
                }
                out.push(event.at(op.span).into());
            }
            OpKind::Commit { after, .. } => {
                out.push(event::Op::new(id, "commit").into());
                let asynchronous =
                    after.iter().any(|t| matches!(m.value(*t).kind, ValKind::Tok(TokClass::CpAsync)));
                if asynchronous {
                    out.push(event::Node::NoGap);
                    out.push(event::Node::Commit(event::Class::CpAsync));
                }
            }
            other => out.push(event::Op::new(id, other.label()).into()),
        }
        self.ops.push(Node::Op(op));
    }
}

fn rebuild(code: &[event::Node], synced: &sync::Synced, ops: &mut [Option<Node>]) -> Vec<Node> {
    let mut out = Vec::new();
    let mut pending: Option<Node> = None;
    for node in code {
        match node {
            event::Node::Op(op) => match ops.get_mut(op.id.0 as usize).and_then(Option::take) {
                Some(node @ (Node::Loop(_) | Node::If(_))) => pending = Some(node),
                Some(node) => out.push(node),
                None => {}
            },
            event::Node::Loop(l) => {
                if let Some(Node::Loop(mut t2)) = pending.take() {
                    t2.body = rebuild(&l.body, synced, ops);
                    out.push(Node::Loop(t2));
                }
            }
            event::Node::Branch(arms) => {
                if let (Some(Node::If(mut t2)), [yes, no]) = (pending.take(), &arms[..]) {
                    t2.then_body = rebuild(yes, synced, ops);
                    t2.else_body = rebuild(no, synced, ops);
                    out.push(Node::If(t2));
                }
            }
            event::Node::Sync(n) => {
                let placed = &synced.placed[*n as usize];
                let obligations = placed.obligations.iter().map(|o| o.0).collect();
                out.push(Node::Sync(SyncNode { op: placed.op, obligations }));
            }
            event::Node::Commit(_) | event::Node::Advance(_) | event::Node::End(_) | event::Node::NoGap => {}
            event::Node::Hand(_) => unreachable!("the walk builds no hand-overs"),
        }
    }
    out
}
