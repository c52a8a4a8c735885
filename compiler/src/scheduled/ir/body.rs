//! How ops follow one another: loops, branches, and the synchronisation between them.

use super::*;
use crate::diagnostics::Span;
use crate::sync::SyncOp;
use crate::tile::ir as t1;

/// What a loop counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Tiles of a range; the loop binds its axis.
    Tiles(t1::AxisId),
    /// Single coordinates.
    Coordinates(t1::LoopId),
    /// The values of a grid variable, in an instance that goes on for all that differ in it.
    Instances(t1::GridId),
}

/// A counted loop.
#[derive(Clone, Debug)]
pub struct Loop {
    pub name: String,
    pub over: Over,
    pub lo: t1::ValueId,
    pub hi: t1::ValueId,
    pub by: u32,
    /// The same trips, last first.
    pub rev: bool,
    /// Accumulators carried around: (before, inside at entry, at the back edge, after).
    pub carry: Vec<Carry>,
    pub body: Vec<Node>,
    /// Steps that the prologue runs ahead (expanded form).
    pub ahead: u32,
    /// Copies of the body in the emitted loop, so that slots and register copies are constants.
    pub unroll: u32,
    /// Steps in which conditions of the body need no testing.
    pub full: Option<t1::Full>,
}

#[derive(Clone, Copy, Debug)]
pub struct Carry {
    pub init: ValId,
    pub param: ValId,
    pub next: ValId,
    pub result: ValId,
}

/// One of two lists runs, the same for all threads of the block.
#[derive(Clone, Debug)]
pub struct If {
    /// A `bool` tile without axes.
    pub cond: ValId,
    pub then_body: Vec<Node>,
    pub else_body: Vec<Node>,
    pub merges: Vec<Merge>,
    pub span: Span,
}

/// A value that a conditional leaves: all three are tiles of one type.
#[derive(Clone, Copy, Debug)]
pub struct Merge {
    pub then_value: ValId,
    pub else_value: ValId,
    pub result: ValId,
}

/// A derived synchronisation op with the obligations that it serves.
#[derive(Clone, Debug)]
pub struct SyncNode {
    pub op: SyncOp,
    pub obligations: Vec<u32>,
}

#[derive(Clone, Debug)]
pub enum Node {
    Op(Op),
    Loop(Loop),
    If(If),
    Sync(SyncNode),
}

impl Loop {
    /// The range that the loop binds, if it runs over tiles of one.
    pub fn axis(&self) -> Option<t1::AxisId> {
        match self.over {
            Over::Tiles(axis) => Some(axis),
            Over::Coordinates(_) | Over::Instances(_) => None,
        }
    }

    /// Whether ops of it have places in a pipeline.
    pub fn is_pipeline(&self) -> bool {
        // What a pipeline in it runs ahead stands before that one.
        let placed = |op: &Op| op.at.is_some() && !matches!(op.iter, Iter::Const(_));
        self.body.iter().any(|n| matches!(n, Node::Op(op) if placed(op)))
    }

    /// Whether it is an ordinary loop around pipelines, each trip of which is straight code.
    pub fn around_pipeline(&self) -> bool {
        let filled = |n: &Node| matches!(n, Node::Loop(l) if l.is_pipeline() || l.around_pipeline());
        !self.is_pipeline() && self.body.iter().any(filled)
    }
}

/// Every synchronisation op of a body, in words and in order.
pub fn sync_ops(body: &[Node]) -> Vec<String> {
    let mut out = Vec::new();
    for node in body {
        match node {
            Node::Sync(s) => out.push(s.op.to_string()),
            Node::Loop(l) => out.extend(sync_ops(&l.body).into_iter().map(|s| format!("{}: {s}", l.name))),
            Node::If(i) => [&i.then_body, &i.else_body].into_iter().for_each(|b| out.extend(sync_ops(b))),
            Node::Op(_) => {}
        }
    }
    out
}
