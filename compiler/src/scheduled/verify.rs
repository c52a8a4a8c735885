//! The invariants of T2, checked after every pass in tests and under `--verify-ir`.
//!
//! - T2.1 Every value has one producer (its clones in the prologue aside) and is used by its own role; a register tile's layout
//!   reaches every element of the tile.
//! - T2.2 Channels alternate: a loop that acquires commits, one that waits releases, once each per iteration; every buffer of the channel is
//!   filled between acquire and commit.
//! - T2.3 Accumulators are linear: each name is used by one op.
//! - T2.4 For every dependence inside a pipelined loop from u to v of one iteration: (stage, order) of v is not before u's.
//! - T2.5 A ring has a slot for every iteration between its copy and its last read: slots > stage of the last reader - stage of the copy.
//! - T2.7 Buffers lie inside the block's shared memory and do not overlap.
//! - T2.15 (expanded) No op has a stage left to place: every op in a loop names its iteration.

use super::ir::*;
use rustc_hash::FxHashMap;

/// Every violated invariant, in words. Empty: the module is well formed.
pub fn verify(module: &Module) -> Vec<String> {
    let mut v = Verify {
        module,
        errors: Vec::new(),
        producers: FxHashMap::default(),
        acc_uses: FxHashMap::default(),
    };
    v.nodes(&module.body);
    v.buffers();
    v.layouts();
    v.errors
}

struct Verify<'a> {
    module: &'a Module,
    errors: Vec<String>,
    producers: FxHashMap<ValId, (Option<At>, Iter)>,
    acc_uses: FxHashMap<ValId, u32>,
}

impl Verify<'_> {
    fn name(&self, v: ValId) -> &str {
        &self.module.value(v).name
    }

    fn nodes(&mut self, nodes: &[Node]) {
        for node in nodes {
            match node {
                Node::Op(op) => self.op(op, false),
                Node::Sync(_) => {}
                Node::Loop(l) => {
                    for c in &l.carry {
                        for v in [c.param, c.result] {
                            self.producers.insert(v, (None, Iter::None));
                        }
                    }
                    self.body(l);
                }
                Node::If(_) => self.if_(node, false),
            }
        }
    }

    fn if_(&mut self, node: &Node, in_loop: bool) {
        let Node::If(i) = node else { return };
        self.used("if", i.cond);
        for body in [&i.then_body, &i.else_body] {
            for node in body {
                match node {
                    Node::Op(op) => self.op(op, in_loop),
                    Node::If(_) => self.if_(node, in_loop),
                    Node::Sync(_) => {}
                    Node::Loop(_) => self.nodes(std::slice::from_ref(node)),
                }
            }
        }
        for m in &i.merges {
            self.used("if", m.then_value);
            self.used("if", m.else_value);
            self.producers.insert(m.result, (None, Iter::None));
        }
    }

    fn used(&mut self, by: &str, v: ValId) {
        if !self.producers.contains_key(&v) {
            self.errors.push(format!("T2.1: {by} uses %{} before it is made", self.name(v)));
        }
    }

    fn body(&mut self, l: &Loop) {
        let in_loop = !l.around_pipeline();
        for node in &l.body {
            match node {
                Node::Op(op) => self.op(op, in_loop),
                Node::Sync(_) => {}
                Node::Loop(_) => self.nodes(std::slice::from_ref(node)),
                Node::If(_) => self.if_(node, in_loop),
            }
        }
        // Around a pipeline stands its prologue, too, which takes what the pipeline hands back.
        if in_loop {
            self.channels(l);
        }
    }

    fn op(&mut self, op: &Op, in_loop: bool) {
        if self.module.form == Form::Expanded && in_loop && !matches!(op.iter, Iter::Step(_)) {
            self.errors.push(format!("T2.15: {} in a loop names no iteration", op.kind.label()));
        }
        for used in uses(&op.kind) {
            let Some((at, _)) = self.producers.get(&used) else {
                self.errors.push(format!(
                    "T2.1: {} uses %{} before it is made",
                    op.kind.label(),
                    self.name(used)
                ));
                continue;
            };
            let late = at.zip(op.at).is_some_and(|(u, v)| (v.stage, v.order) < (u.stage, u.order));
            if self.module.form == Form::Fused && late {
                self.errors.push(format!(
                    "T2.4: {} runs before %{} is made",
                    op.kind.label(),
                    self.name(used)
                ));
            }
        }
        if let OpKind::Mma { acc, .. } = op.kind
            && self.module.form == Form::Fused
        {
            let n = self.acc_uses.entry(acc).or_default();
            *n += 1;
            if *n > 1 {
                self.errors
                    .push(format!("T2.3: the accumulator %{} is used twice", self.module.value(acc).name));
            }
        }
        if let Some(r) = op.result {
            self.producers.insert(r, (op.at, op.iter));
        }
    }

    fn channels(&mut self, l: &Loop) {
        // Only a pipelined loop fills rings.
        if !l.body.iter().any(|n| {
            matches!(n, Node::Op(Op { kind: OpKind::CopyIn { .. } | OpKind::CopyPacked { .. }, .. }))
        }) {
            return;
        }
        for (i, chan) in self.module.channels.iter().enumerate() {
            let of = |k: &OpKind| match k {
                OpKind::Acquire { chan } | OpKind::Wait { chan } => chan.0 as usize == i,
                OpKind::Commit { chan, .. } | OpKind::Release { chan, .. } => chan.0 as usize == i,
                _ => false,
            };
            let ops: Vec<&Op> =
                l.body.iter().filter_map(|n| if let Node::Op(op) = n { Some(op) } else { None }).collect();
            // What is copied once is handed over before the loop.
            if !ops.iter().any(|o| of(&o.kind)) {
                continue;
            }
            let count = |label: &str| ops.iter().filter(|o| of(&o.kind) && o.kind.label() == label).count();
            for label in ["acquire", "commit", "wait", "release"] {
                if count(label) != 1 {
                    let n = count(label);
                    self.errors.push(format!(
                        "T2.2: {n} {label} of channel {} per iteration of {}",
                        chan.name, l.name
                    ));
                }
            }
            for buf in &chan.bufs {
                let filled = ops.iter().any(|o| matches!(o.kind, OpKind::CopyIn { buf: b, .. } | OpKind::CopyPacked { buf: b, .. } if b == *buf));
                if !filled {
                    self.errors.push(format!(
                        "T2.2: {} of channel {} is never filled",
                        self.module.buffer(*buf).name,
                        chan.name
                    ));
                }
            }
            let stage = |label: &str| {
                ops.iter().filter(|o| o.kind.label() == label).filter_map(|o| o.at).map(|a| a.stage).max()
            };
            if let (Some(copy), Some(last)) = (stage("copy.in"), stage("release"))
                && chan.slots <= last - copy
            {
                self.errors.push(format!(
                    "T2.5: channel {} has {} slots and spans {} stages",
                    chan.name,
                    chan.slots,
                    last - copy + 1
                ));
            }
        }
    }

    fn buffers(&mut self) {
        let mut spans: Vec<(u32, u32, &str)> = self
            .module
            .buffers
            .iter()
            .map(|b| (b.base, b.base + (b.slots - 1) * b.slot_stride + b.slot_bytes, b.name.as_str()))
            .collect();
        spans.sort_unstable();
        for (_, end, name) in &spans {
            if *end > self.module.shared_bytes {
                self.errors
                    .push(format!("T2.7: buffer {name} ends at byte {end} of {}", self.module.shared_bytes));
            }
        }
        for pair in self
            .module
            .buffers
            .iter()
            .enumerate()
            .flat_map(|(i, a)| self.module.buffers[i + 1..].iter().map(move |b| (a, b)))
        {
            let (a, b) = pair;
            let clash = (0..a.slots).any(|i| {
                (0..b.slots).any(|j| {
                    let (x, y) = (a.base + i * a.slot_stride, b.base + j * b.slot_stride);
                    x < y + b.slot_bytes && y < x + a.slot_bytes
                })
            });
            if clash {
                self.errors.push(format!("T2.7: buffers {} and {} overlap", a.name, b.name));
            }
        }
    }

    fn layouts(&mut self) {
        for v in &self.module.values {
            if let ValKind::Tile { layout, .. } = &v.kind
                && !layout.is_surjective()
            {
                self.errors.push(format!("T2.1: the layout of %{} does not reach the whole tile", v.name));
            }
        }
    }
}

/// The values that an op uses.
pub fn uses(kind: &OpKind) -> Vec<ValId> {
    match kind {
        OpKind::Acquire { .. }
        | OpKind::Wait { .. }
        | OpKind::AccNew { .. }
        | OpKind::GetPartials { .. }
        | OpKind::WorkLast { .. }
        | OpKind::ItemPart
        | OpKind::ItemDraw
        | OpKind::WorkGet { .. }
        | OpKind::Neutral { .. } => Vec::new(),
        OpKind::ItemTell { value, .. } | OpKind::AccFrom { value } => vec![*value],
        OpKind::ItemHear { of, .. } => vec![*of],
        OpKind::ItemDone { next } => next.iter().copied().collect(),
        OpKind::WorkPut { value, .. } => vec![*value],
        OpKind::Combine { x, y, .. } => vec![*x, *y],
        OpKind::ReadReg { ix, .. } => ix.iter().filter_map(|i| i.tile).collect(),
        OpKind::Reduce { x, .. }
        | OpKind::Spread { x }
        | OpKind::ReduceOwn { x, .. }
        | OpKind::Share { x }
        | OpKind::Total { x }
        | OpKind::Scan { x, .. }
        | OpKind::GetScan { x, .. } => vec![*x],
        OpKind::PutPartials { value, .. } | OpKind::PutTile { value, .. } => vec![*value],
        OpKind::SortKey { x, .. } => vec![*x],
        OpKind::Position { .. } => Vec::new(),
        OpKind::Rank { of, .. } | OpKind::GetRanked { of, .. } => vec![*of],
        OpKind::PutAt { value, rank, .. } => vec![*value, *rank],
        OpKind::GetTile { of, ix, .. } => {
            std::iter::once(*of).chain(ix.iter().filter_map(|i| i.tile)).collect()
        }
        OpKind::CopyIn { slot, ix, .. } => {
            std::iter::once(*slot).chain(ix.iter().filter_map(|i| i.tile)).collect()
        }
        OpKind::Load { slot, .. } | OpKind::Release { slot, .. } => vec![*slot],
        OpKind::CopyPacked { slot, .. } | OpKind::LoadPacked { slot, .. } => vec![*slot],
        OpKind::Commit { slot, after, .. } => std::iter::once(*slot).chain(after.iter().copied()).collect(),
        OpKind::Mma { a, b, acc, .. } => vec![*a, *b, *acc],
        OpKind::AccGet { acc } | OpKind::AccRenew { acc, .. } => vec![*acc],
        OpKind::Promote { total, acc, .. } => vec![*total, *acc],
        OpKind::Elementwise { args, .. } => args.clone(),
        OpKind::WriteReg { value, when, ix, .. } | OpKind::Atomic { value, when, ix, .. } => {
            std::iter::once(*value).chain(*when).chain(ix.iter().filter_map(|i| i.tile)).collect()
        }
    }
}
