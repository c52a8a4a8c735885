//! Expanded T2 with its synchronisation to T3.
//!
//! The order of the emitted code: parameters and the block's place; lane addresses and row pointers; the prologue's copies; the
//! accumulators; the loop, unrolled by the slots of the ring so that every slot is an immediate; then what follows.

use super::across::AcrossState;
use super::address::Threads;
use super::build::Builder;
use super::copies::CopyState;
use super::ir::*;
use super::packed::PackedState;
use super::pipelined_loop::{begins, copies_in, filling};
use super::scalars::Scalars;
use super::tilemap::TileMap;
use crate::artifact::{GridRule, ParamSlot};
use crate::plan::Refusal;
use crate::scheduled::ir as t2;
use crate::tile::ir as t1;
use rustc_hash::{FxHashMap, FxHashSet};
use std::rc::Rc;

/// One lowered variant.
#[derive(Debug)]
pub struct Lowered {
    pub kernel: Kernel,
    pub params: Vec<ParamSlot>,
    pub grid: GridRule,
}

/// Lowers one expanded, synchronised module; `entry` names the PTX entry.
pub fn lower(kernel: &t1::Kernel, module: &t2::Module, entry: &str) -> Result<Lowered, Refusal> {
    let mut b = Builder::new(kernel.span);
    b.comment("parameters, and the block's place in the grid");
    let mut scalars = Scalars::load(kernel, module, &mut b)?;
    let (digits, mut grid) = scalars.count_grid(&mut b)?;
    if module.dispatch == t2::Dispatch::Each {
        let number = b.special(Special::CtaidX);
        scalars.decode_grid(&mut b, number, &digits, module.raster)?;
    }
    let threads = Threads::new(&mut b);
    let mut lower = Lower {
        kernel,
        module,
        b,
        scalars,
        threads,
        registers: FxHashMap::default(),
        maps: FxHashMap::default(),
        producers: producers(&module.body, FxHashMap::default()),
        carried: carried(&module.body),
        k_left: Vec::new(),
        outside: Vec::new(),
        copies: Vec::new(),
        policies: FxHashMap::default(),
        matrix_rows: FxHashMap::default(),
        first_holders: FxHashMap::default(),
        counterparts: FxHashMap::default(),
        distinct: FxHashMap::default(),
        runs: FxHashMap::default(),
        parts_seen: FxHashMap::default(),
        windows: crate::tile::windows::compared(kernel),
        elements: FxHashMap::default(),
        scalar_elements: FxHashMap::default(),
        pairs: FxHashMap::default(),
        shifted: FxHashMap::default(),
        exchanged: FxHashMap::default(),
        looked: super::tables::Looked::default(),
        addends: FxHashMap::default(),
        products: FxHashMap::default(),
        integers: FxHashMap::default(),
        zero_past_end: FxHashSet::default(),
        past: FxHashMap::default(),
        totals: FxHashMap::default(),
        best: FxHashMap::default(),
        thread_bits: FxHashMap::default(),
        rows: FxHashMap::default(),
        exists: FxHashMap::default(),
        parts: FxHashMap::default(),
        item: None,
        draws: None,
        turn: 0,
        outside_loop: None,
        whole: None,
        assumed: FxHashSet::default(),
    };
    for (tensor, evict) in &module.evict {
        let d = lower.b.reg(Class::B64);
        lower.b.push(Op::Policy { d, evict: *evict });
        lower.policies.insert(*tensor, d);
    }
    match module.dispatch {
        t2::Dispatch::Each => lower.body()?,
        t2::Dispatch::Persistent | t2::Dispatch::Drawn => grid.workers = Some(lower.items(&digits)?),
        t2::Dispatch::Stream(_) => {
            // The parts of a tile are blocks' shares, and no range of the host's.
            grid.ranges.pop();
            grid.workers = Some(lower.items(&digits)?);
        }
    }
    let (classes, body) = lower.b.finish();
    let (params, tables) = (lower.scalars.params, lower.scalars.tables);
    Ok(Lowered {
        kernel: Kernel {
            entry: entry.into(),
            params,
            threads: module.threads(),
            min_blocks: module.occupancy,
            shared_bytes: module.shared_bytes,
            tables,
            classes,
            body,
        },
        params: lower.scalars.slots,
        grid,
    })
}

type Producers<'a> = FxHashMap<t2::ValId, &'a t2::OpKind>;

/// The op that makes each value.
fn producers<'a>(body: &'a [t2::Node], map: Producers<'a>) -> Producers<'a> {
    body.iter().fold(map, |mut map, node| match node {
        t2::Node::Op(op) => {
            map.extend(op.result.map(|r| (r, &op.kind)));
            map
        }
        t2::Node::Loop(l) => producers(&l.body, map),
        t2::Node::If(i) => producers(&i.else_body, producers(&i.then_body, map)),
        t2::Node::Sync(_) => map,
    })
}

/// Accumulators are linear: every name of one chain is the same registers. Maps each to the name at entry.
fn carried(body: &[t2::Node]) -> FxHashMap<t2::ValId, t2::ValId> {
    fn visit(nodes: &[t2::Node], map: &mut FxHashMap<t2::ValId, t2::ValId>) {
        for node in nodes {
            match node {
                t2::Node::Loop(l) => {
                    for c in &l.carry {
                        map.extend([(c.param, c.init), (c.next, c.init), (c.result, c.init)]);
                    }
                    visit(&l.body, map);
                }
                t2::Node::If(i) => {
                    visit(&i.then_body, map);
                    visit(&i.else_body, map);
                }
                t2::Node::Op(op) => {
                    if let (
                        t2::OpKind::Mma { acc, .. }
                        | t2::OpKind::AccRenew { acc, .. }
                        | t2::OpKind::Promote { total: acc, .. },
                        Some(r),
                    ) = (&op.kind, &op.result)
                    {
                        let root = map.get(acc).copied().unwrap_or(*acc);
                        map.insert(*r, root);
                    }
                }
                t2::Node::Sync(_) => {}
            }
        }
    }
    let mut map = FxHashMap::default();
    visit(body, &mut map);
    map
}

/// The registers of a copy, by which way it goes.
pub enum Copy {
    Along(CopyState),
    Across(AcrossState),
    Packed(PackedState),
}

impl Copy {
    pub fn k_left(&self) -> Reg {
        match self {
            Copy::Along(state) => state.k_left,
            Copy::Across(state) => state.k_left,
            Copy::Packed(state) => state.k_left,
        }
    }
}

/// What a counter of the coordinates that are left depends on: the thread's columns, the kept axis that may be empty, and the scalar
/// subscripts that may lie outside.
pub type CounterKey = (Vec<u32>, Option<t1::AxisId>, Vec<(t1::TensorId, usize, t1::ValueId)>);

pub struct Lower<'a> {
    pub kernel: &'a t1::Kernel,
    pub module: &'a t2::Module,
    pub b: Builder,
    pub scalars: Scalars<'a>,
    pub threads: Threads,
    /// Registers of fragments and accumulators.
    registers: FxHashMap<t2::ValId, Vec<Reg>>,
    maps: FxHashMap<t2::ValId, Rc<TileMap>>,
    pub producers: Producers<'a>,
    carried: FxHashMap<t2::ValId, t2::ValId>,
    pub k_left: Vec<(CounterKey, Reg)>,
    /// Predicates of the current straight line: (counter, threshold) and its register.
    pub outside: Vec<((Reg, u32), Reg)>,
    pub copies: Vec<(t2::BufId, Copy)>,
    /// L2 policies of tensors.
    pub policies: FxHashMap<t1::TensorId, Reg>,
    /// What the lanes address for each fragment.
    pub matrix_rows: FxHashMap<t2::ValId, Rc<TileMap>>,
    /// By register, the one that stands for all that hold the same element; and the register of another tile that holds what is at the same coordinates.
    pub first_holders: FxHashMap<t2::ValId, Rc<[usize]>>,
    pub counterparts: FxHashMap<(t2::ValId, t2::ValId), Vec<usize>>,
    /// By tile, a register for each element that a thread holds; and the registers that one access loads.
    pub distinct: FxHashMap<t2::ValId, Vec<usize>>,
    pub runs: FxHashMap<t2::ValId, Rc<super::global::Runs>>,
    /// Threads' parts of coordinates, numbered: what is looked up often is found by their numbers.
    pub parts_seen: FxHashMap<Vec<u32>, u32>,
    /// Sums that saturate.
    pub windows: FxHashMap<t1::ValueId, Vec<t1::ValueId>>,
    /// Elements computed so far after the loop.
    pub elements: FxHashMap<(t2::ValId, usize), super::elements::Element>,
    /// Scalars of the launch computed so far.
    pub scalar_elements: FxHashMap<t1::ValueId, super::elements::Element>,
    /// Two elements at a time, of operands of products: by tile and registers.
    pub pairs: FxHashMap<(t2::ValId, usize, usize), super::unpack::Halves>,
    pub shifted: super::unpack::Shifted,
    pub exchanged: super::bits::Exchanged,
    /// What tables gave in the step.
    pub looked: super::tables::Looked,
    /// What a difference adds, and products of two registers, each for a group.
    pub addends: FxHashMap<(Reg, u64), Reg>,
    pub products: FxHashMap<(Reg, Reg), Reg>,
    /// Integers of groups in both halves of a register, by tile and register.
    pub integers: FxHashMap<(t2::ValId, usize, Half), Reg>,
    /// Tiles of groups whose elements are zero bits past the end of the range.
    pub zero_past_end: FxHashSet<t2::ValId>,
    /// The greatest magnitude of tiles past the end of the contracted range, by what was found of them.
    pub past: FxHashMap<t2::ValId, Option<f64>>,
    /// Each warp's sums of the groups of a scan, by the group's first register.
    pub totals: FxHashMap<(t2::ValId, usize), Src>,
    /// The elements that coordinates belong to while an `argmax` is not complete.
    pub best: FxHashMap<(t2::ValId, usize), super::arguments::Best>,
    /// Predicates: the thread's number has this bit.
    pub thread_bits: FxHashMap<usize, Reg>,
    /// Row pointers and existence predicates after the loop.
    pub rows: FxHashMap<(t1::TensorId, super::places::Row), Reg>,
    pub exists: FxHashMap<(t1::AxisId, u32, u32), Reg>,
    /// The thread's addresses in the part of the instance that a loop is at.
    pub parts: FxHashMap<(t1::GridId, u32), Reg>,
    /// The steps that the block is at, where blocks share them.
    pub item: Option<super::items::Item>,
    pub draws: Option<super::items::Draws>,
    /// Which copy of a pipelined loop's body is being written, and what was known before the loop.
    pub turn: u32,
    pub outside_loop: Option<Saved>,
    /// In steps that are known to be full: the loop's range, whose lanes all exist, and the conditions that hold.
    pub whole: Option<t1::AxisId>,
    pub assumed: FxHashSet<t1::ValueId>,
}

/// What has been computed where: a body's own knowledge does not hold after it.
#[derive(Clone)]
pub struct Saved {
    scalars: super::scalars::Known,
    threads: super::address::Known,
    elements: FxHashMap<(t2::ValId, usize), super::elements::Element>,
    scalar_elements: FxHashMap<t1::ValueId, super::elements::Element>,
    rows: FxHashMap<(t1::TensorId, super::places::Row), Reg>,
    exists: FxHashMap<(t1::AxisId, u32, u32), Reg>,
    thread_bits: FxHashMap<usize, Reg>,
}

/// What pairs of elements have in common in a straight line.
pub struct Caches {
    pairs: FxHashMap<(t2::ValId, usize, usize), super::unpack::Halves>,
    shifted: super::unpack::Shifted,
    exchanged: super::bits::Exchanged,
    addends: FxHashMap<(Reg, u64), Reg>,
    products: FxHashMap<(Reg, Reg), Reg>,
    integers: FxHashMap<(t2::ValId, usize, Half), Reg>,
}

impl Lower<'_> {
    pub fn save(&self) -> Saved {
        Saved {
            scalars: self.scalars.known.clone(),
            threads: self.threads.known.clone(),
            elements: self.elements.clone(),
            scalar_elements: self.scalar_elements.clone(),
            rows: self.rows.clone(),
            exists: self.exists.clone(),
            thread_bits: self.thread_bits.clone(),
        }
    }

    pub fn restore(&mut self, saved: Saved) {
        self.scalars.known = saved.scalars;
        self.threads.known = saved.threads;
        (self.elements, self.rows, self.exists) = (saved.elements, saved.rows, saved.exists);
        (self.thread_bits, self.scalar_elements) = (saved.thread_bits, saved.scalar_elements);
        self.pairs.clear();
        self.shifted.clear();
        self.exchanged.clear();
        self.looked.clear();
        self.addends.clear();
        self.products.clear();
        self.integers.clear();
    }

    /// Takes what is only known of the current straight line; [`put_back`](Self::put_back) returns it.
    pub fn set_aside(&mut self) -> Caches {
        Caches {
            pairs: std::mem::take(&mut self.pairs),
            shifted: std::mem::take(&mut self.shifted),
            exchanged: std::mem::take(&mut self.exchanged),
            addends: std::mem::take(&mut self.addends),
            products: std::mem::take(&mut self.products),
            integers: std::mem::take(&mut self.integers),
        }
    }

    pub fn put_back(&mut self, caches: Caches) {
        (self.pairs, self.shifted, self.exchanged) = (caches.pairs, caches.shifted, caches.exchanged);
        (self.addends, self.products, self.integers) = (caches.addends, caches.products, caches.integers);
    }

    /// One item: the module's body.
    pub fn body(&mut self) -> Result<(), Refusal> {
        let module = self.module;
        let mut prepared = false;
        if let Some(l) = filling(&module.body) {
            self.prepare_loop(l)?;
            prepared = true;
        }
        let mut after_loop = false;
        let mut fresh = Vec::new();
        self.b.comment("prologue");
        for (n, node) in module.body.iter().enumerate() {
            if !prepared
                && begins(node)
                && let Some(l) = filling(&module.body[n..])
            {
                self.prepare_loop(l)?;
                prepared = true;
            }
            match node {
                // Cleared accumulators wait until the first copies are on their way.
                t2::Node::Op(op) if matches!(op.kind, t2::OpKind::AccNew { .. }) => fresh.push(op),
                t2::Node::Op(op) => {
                    if after_loop && matches!(op.kind, t2::OpKind::WriteReg { .. }) {
                        self.b.comment(format!("write {}", self.written(&op.kind)));
                    }
                    self.op(op, 0)?;
                }
                t2::Node::Sync(s) => self.sync(s),
                t2::Node::Loop(l) if !copies_in(l) => self.emit_plain_loop(l)?,
                t2::Node::If(i) => self.emit_if(i)?,
                t2::Node::Loop(l) => {
                    for op in fresh.drain(..) {
                        self.op(op, 0)?;
                    }
                    self.emit_loop(l)?;
                    self.leave_loop();
                    prepared = false;
                    after_loop = true;
                }
            }
        }
        Ok(())
    }

    /// Ops, loops and conditionals in a loop or conditional.
    pub fn nested(&mut self, nodes: &[t2::Node]) -> Result<(), Refusal> {
        let mut prepared = false;
        for (n, node) in nodes.iter().enumerate() {
            if !prepared
                && begins(node)
                && let Some(l) = filling(&nodes[n..])
            {
                self.prepare_loop(l)?;
                prepared = true;
            }
            match node {
                t2::Node::Op(op) => self.op(op, self.turn)?,
                t2::Node::Sync(s) => self.sync(s),
                t2::Node::Loop(l) if copies_in(l) => {
                    self.emit_loop(l)?;
                    self.leave_loop();
                    prepared = false;
                }
                t2::Node::Loop(l) => self.emit_plain_loop(l)?,
                t2::Node::If(i) => self.emit_if(i)?,
            }
        }
        Ok(())
    }

    /// What the copies of a loop keep.
    fn prepare_loop(&mut self, l: &t2::Loop) -> Result<(), Refusal> {
        self.b.comment("lane addresses and row pointers");
        for node in &l.body {
            let t2::Node::Op(t2::Op { kind, span, .. }) = node else { continue };
            self.b.span = *span;
            let (buf, state) = match kind {
                t2::OpKind::CopyIn { buf, ix, .. } => {
                    let along = ix.last().is_some_and(|i| i.axis.is_some() && i.axis == l.axis());
                    let state = match along {
                        true => Copy::Along(self.prepare_copy(kind, l)?),
                        false => Copy::Across(self.prepare_across(kind, l)?),
                    };
                    (*buf, state)
                }
                t2::OpKind::CopyPacked { buf, .. } => (*buf, Copy::Packed(self.prepare_packed(kind, l)?)),
                _ => continue,
            };
            self.copies.push((buf, state));
        }
        // Rows that were looked up have the layout of their copy; what follows the loop has another.
        self.rows.clear();
        self.exists.clear();
        Ok(())
    }

    /// Pointers and counters have moved with the loop: the next one has its own.
    fn leave_loop(&mut self) {
        self.copies.clear();
        self.k_left.clear();
    }

    fn written(&self, kind: &t2::OpKind) -> String {
        match kind {
            t2::OpKind::WriteReg { tensor, .. } => self.kernel.tensor(*tensor).name.clone(),
            _ => String::new(),
        }
    }

    /// Emits an op; `copy` is the position in the unrolled loop.
    pub fn op(&mut self, op: &t2::Op, copy: u32) -> Result<(), Refusal> {
        self.b.span = op.span;
        let ahead = match op.iter {
            t2::Iter::None => 0,
            t2::Iter::Const(n) => n,
            t2::Iter::Step(n) => copy + n,
        };
        match &op.kind {
            t2::OpKind::CopyIn { buf, tensor, .. } | t2::OpKind::CopyPacked { buf, tensor, .. } => {
                let slot = self.slot(*buf, ahead);
                if op.iter == t2::Iter::None {
                    return self.copy_once(&op.kind, *tensor);
                }
                self.b.policy = self.policies.get(tensor).copied();
                let states = std::mem::take(&mut self.copies);
                match states.iter().find(|(b, _)| b == buf) {
                    Some((_, Copy::Along(state))) => self.emit_copy(state, ahead, slot),
                    Some((_, Copy::Across(state))) => {
                        let from_here = ahead - copy;
                        self.emit_across(state, ahead, from_here, slot)?;
                    }
                    Some((_, Copy::Packed(state))) => self.emit_packed(state, ahead, slot),
                    None => unreachable!("every copy of the loop is prepared"),
                }
                self.copies = states;
                self.b.policy = None;
            }
            t2::OpKind::Commit { after, .. } => {
                let asynchronous = |t: &t2::ValId| {
                    matches!(self.module.value(*t).kind, t2::ValKind::Tok(t2::TokClass::CpAsync))
                };
                if after.iter().any(asynchronous) {
                    self.b.push(Op::CpAsyncCommit);
                }
            }
            t2::OpKind::LoadPacked { buf, tensor, .. } => {
                if let Some(result) = op.result {
                    let slot = self.slot(*buf, ahead);
                    self.load_packed(result, *buf, *tensor, slot);
                }
            }
            t2::OpKind::Load { buf, .. } => {
                if let Some(result) = op.result {
                    let slot = self.slot(*buf, ahead);
                    self.emit_load(&op.kind, result, slot);
                }
            }
            t2::OpKind::AccNew { init } => {
                if let Some(result) = op.result {
                    let n = self.map(result).registers;
                    for r in self.accumulator(result, n) {
                        let a = match self.b.class(r) {
                            Class::F32 => Src::F32(*init as f32),
                            _ => Src::Int(*init as i64),
                        };
                        self.b.push(Op::Mov { d: r, a });
                    }
                }
            }
            t2::OpKind::AccFrom { value } => {
                if let Some(result) = op.result {
                    let n = self.map(result).registers;
                    for (r, d) in self.accumulator(result, n).into_iter().enumerate() {
                        let q = self.counterpart(result, r, *value);
                        let e = self.element(*value, q)?;
                        let (_, a) = self.held(e)?;
                        self.b.push(Op::Mov { d, a });
                    }
                }
            }
            t2::OpKind::Mma { atom, a, b, acc, at } => self.emit_mma(*atom, (*a, at.0), (*b, at.1), *acc)?,
            t2::OpKind::Promote { total, acc, every } => {
                if (copy + 1).is_multiple_of(*every) {
                    let n = self.map(*acc).registers;
                    let (total, acc) = (self.accumulator(*total, n), self.accumulator(*acc, n));
                    for (d, b) in total.into_iter().zip(acc) {
                        self.b.push(Op::Float { op: FloatOp::Add, d, a: d.into(), b: b.into() });
                    }
                }
            }
            t2::OpKind::AccRenew { acc, every } => {
                if (copy + 1).is_multiple_of(*every) {
                    let n = self.map(*acc).registers;
                    for d in self.accumulator(*acc, n) {
                        self.b.push(Op::Mov { d, a: Src::F32(0.0) });
                    }
                }
            }
            t2::OpKind::WriteReg { .. } => self.emit_write(&op.kind)?,
            t2::OpKind::Atomic { op: how, tensor, ix, value, when } => {
                self.emit_atomic(*how, *tensor, ix, *value, *when, op.result)?;
            }
            t2::OpKind::ReadReg { eager: true, .. } => {
                if let Some(result) = op.result {
                    self.force(result)?;
                }
            }
            t2::OpKind::Reduce { x, op: how, axes, nan } => {
                if let Some(result) = op.result {
                    match how {
                        t1::ReduceOp::ArgMax | t1::ReduceOp::ArgMin => {
                            self.emit_arg_reduce(result, *x, *how, axes)?;
                        }
                        _ => self.emit_reduce(result, *x, *how, axes, *nan)?,
                    }
                }
            }
            t2::OpKind::ReduceOwn { x, axes } => {
                if let Some(result) = op.result {
                    self.emit_reduce_own(result, *x, axes)?;
                }
            }
            t2::OpKind::Total { x } => {
                if let Some(result) = op.result {
                    self.emit_total(result, *x)?;
                }
            }
            t2::OpKind::Scan { x, op: how, axis, rev } => {
                if let Some(result) = op.result {
                    self.emit_scan(result, *x, *how, *axis, *rev)?;
                }
            }
            t2::OpKind::Rank { buf, of, axis } => {
                if let Some(result) = op.result {
                    self.emit_rank(*buf, result, *of, *axis)?;
                }
            }
            t2::OpKind::PutAt { buf, value, rank, axis } => self.emit_put_at(*buf, *value, *rank, *axis)?,
            t2::OpKind::GetRanked { buf, of, axis, to, part } => {
                if let Some(result) = op.result {
                    self.emit_get_ranked(*buf, result, *of, *axis, *to, *part)?;
                }
            }
            t2::OpKind::PutTile { buf, value } => self.emit_put_tile(*buf, *value)?,
            t2::OpKind::GetTile { buf, of, ix } => {
                if let Some(result) = op.result {
                    self.emit_get_tile(*buf, result, *of, ix)?;
                }
            }
            t2::OpKind::GetScan { buf, x, op: how, axis, rev, warps } => {
                if let Some(result) = op.result {
                    self.emit_get_scan(*buf, result, *x, *how, *axis, *rev, *warps)?;
                }
            }
            t2::OpKind::PutPartials { buf, value, warps } => self.emit_put(*buf, *value, *warps)?,
            t2::OpKind::GetPartials { buf, op: how, warps } => {
                if let Some(result) = op.result {
                    self.emit_get(*buf, result, *how, *warps);
                }
            }
            t2::OpKind::WorkPut { work, value } => self.emit_work_put(*work, *value)?,
            t2::OpKind::WorkLast { var } => self.emit_work_last(*var, op.result)?,
            t2::OpKind::ItemDraw => {
                if let Some(result) = op.result {
                    self.emit_item_draw(result)?;
                }
            }
            t2::OpKind::ItemTell { buf, value } => self.emit_item_tell(*buf, *value)?,
            t2::OpKind::ItemHear { buf, .. } => {
                if let Some(result) = op.result {
                    self.emit_item_hear(*buf, result);
                }
            }
            t2::OpKind::ItemPart => {
                if let Some(result) = op.result {
                    self.emit_item_part(result)?;
                }
            }
            // Channels are implicit in slots and derived synchronisation; elements are computed where they are written.
            t2::OpKind::Acquire { .. }
            | t2::OpKind::Wait { .. }
            | t2::OpKind::Release { .. }
            | t2::OpKind::AccGet { .. }
            | t2::OpKind::ItemDone { .. }
            | t2::OpKind::Elementwise { .. }
            | t2::OpKind::Spread { .. }
            | t2::OpKind::Share { .. }
            | t2::OpKind::SortKey { .. }
            | t2::OpKind::Position { .. }
            | t2::OpKind::WorkGet { .. }
            | t2::OpKind::Neutral { .. }
            | t2::OpKind::Combine { .. }
            | t2::OpKind::ReadReg { .. } => {}
        }
        match op.result {
            Some(result) => self.publish(result),
            None => Ok(()),
        }
    }

    /// The slot of a ring for an iteration; the loop is unrolled by as many as it has, so that each is a constant.
    fn slot(&self, buf: t2::BufId, iteration: u32) -> u32 {
        iteration % self.module.buffer(buf).slots
    }

    /// A copy outside all loops: along the rows, as if they were a loop's only step.
    fn copy_once(&mut self, kind: &t2::OpKind, tensor: t1::TensorId) -> Result<(), Refusal> {
        let t2::OpKind::CopyIn { buf, ix, .. } = kind else {
            unreachable!("packed tiles are copied in loops");
        };
        let axes = &self.module.buffer(*buf).axes;
        let Some(rows) = axes.iter().copied().find(|a| ix.last().is_some_and(|i| i.axis != Some(*a))) else {
            unreachable!("a copy has rows and columns");
        };
        let axis = self.kernel.axis(rows);
        let l = t2::Loop {
            name: String::new(),
            over: t2::Over::Tiles(rows),
            lo: axis.lo,
            hi: axis.hi,
            by: self.module.buffer(*buf).shape[usize::from(axes[1] == rows)],
            rev: false,
            carry: Vec::new(),
            body: Vec::new(),
            ahead: 0,
            unroll: 1,
            full: None,
        };
        let counters = std::mem::take(&mut self.k_left);
        let state = self.prepare_across(kind, &l)?;
        self.b.policy = self.policies.get(&tensor).copied();
        self.emit_across(&state, 0, 0, 0)?;
        self.b.policy = None;
        self.k_left = counters;
        self.outside.clear();
        Ok(())
    }

    /// An access to a tensor in global memory, with the tensor's policy.
    pub fn access(&mut self, tensor: t1::TensorId, guard: Option<Reg>, op: Op) {
        self.b.policy = self.policies.get(&tensor).copied();
        self.b.guarded(guard.map(|g| (g, true)), op);
        self.b.policy = None;
    }

    pub fn sync(&mut self, s: &t2::SyncNode) {
        self.b.push(Op::Sync { op: s.op, obligations: s.obligations.clone() });
    }

    /// The layout of a register tile, as the emitter reads it.
    pub fn map(&mut self, v: t2::ValId) -> Rc<TileMap> {
        let layout = self.module.layout(v);
        self.maps.entry(v).or_insert_with(|| Rc::new(TileMap::of(layout))).clone()
    }

    /// The 32-bit registers of a fragment.
    pub fn fragment(&mut self, v: t2::ValId, n: usize) -> Vec<Reg> {
        if let Some(r) = self.registers.get(&v) {
            return r.clone();
        }
        let regs: Vec<Reg> = (0..n).map(|_| self.b.reg(Class::B32)).collect();
        self.registers.insert(v, regs.clone());
        regs
    }

    /// The registers of an accumulator, of its type, the same for every name of its chain.
    pub fn accumulator(&mut self, v: t2::ValId, n: usize) -> Vec<Reg> {
        let root = self.carried.get(&v).copied().unwrap_or(v);
        if let Some(r) = self.registers.get(&root) {
            return r.clone();
        }
        let class = match &self.module.value(root).kind {
            t2::ValKind::Tile { elem, .. } if !elem.is_float() => Class::B32,
            _ => Class::F32,
        };
        let regs: Vec<Reg> = (0..n).map(|_| self.b.reg(class)).collect();
        self.registers.insert(root, regs.clone());
        regs
    }
}
