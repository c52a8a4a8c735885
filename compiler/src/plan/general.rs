//! Kernels without matrix instructions: elementwise work, reductions, loops, gathers. T1 statement by statement to T2.
//!
//! Every tile lives in registers, in the layout that its axes' [`Distribution`] gives; no value is ever converted. A reduction along
//! axes whose digits include warp bits is cut in three (pass 9 of ir.md): each warp reduces what it holds, the partial results go to shared memory,
//! and every thread combines them in the order of warps. The barrier in between is derived, as everywhere.
//!
//! ```text
//! m = max(s over c)      %m.part = reduce max %s      put.partials m <- %m.part      %m = get.partials m
//! ```
//! Launch scalars are not values of T2: they are computed where they are used. Scalars that are read or reduced are tiles without axes.

use super::access::{launch_scalar, structural};
use super::across_grid;
use super::contraction::Contraction;
use super::distribution::Distribution;
use super::elementwise;
use super::fragments::Tiling;
use super::items;
use super::knobs;
use super::layouts::Layouts;
use super::monotone;
use super::operand::Computed;
use super::order::{self, Access};
use super::products::pipeline::Plan;
use super::refuse::Refusal;
use super::row_knobs::Knobs;
use crate::diagnostics::Span;
use crate::layout::{Axis, Dim, Layout, SharedLayout};
use crate::scheduled::ir::*;
use crate::target::Target;
use crate::tile::ir as t1;
use rustc_hash::FxHashMap;

/// The fused module of one variant.
pub fn build(
    kernel: &t1::Kernel,
    distribution: &Distribution,
    knobs: &Knobs,
    variant: Variant,
    target: Target,
) -> Result<Module, Refusal> {
    let warps = distribution.warps;
    let pinned = knobs.items.occupancy.map(|(n, _)| n);
    let role = Role {
        name: "all".into(),
        instances: 1,
        warps,
        registers: items::register_cap(warps, pinned.unwrap_or(1), target),
        active: Active::All,
    };
    let module = Module {
        raster: Raster { group: 1, pair: last_two(kernel) },
        dispatch: knobs.dispatch.0,
        occupancy: pinned,
        evict: knobs.items.evict(),
        ..Module::new(&kernel.name, variant, role)
    };
    let mut general = General::new(kernel, Layouts::Digits(distribution), module);
    general.unroll = knobs.unroll.iter().map(|(l, (n, _))| (l.clone(), *n)).collect();
    general.outside()?;
    general.instance()?;
    let mut module = general.finish(target)?;
    match pinned {
        Some(n) => items::check_occupancy(kernel, n, warps, module.shared_bytes, target)?,
        // Left alone, the assembler aims at more resident blocks than large tiles allow, and spills for their sake.
        None if holds_large_tiles(&module) => module.occupancy = Some(1),
        None => {}
    }
    Ok(module)
}

/// Some tile takes more than eight registers of each thread.
fn holds_large_tiles(module: &Module) -> bool {
    module.values.iter().any(|v| match &v.kind {
        ValKind::Tile { layout, .. } => layout.size_in(Dim::Reg) > 8,
        ValKind::Slot(_) | ValKind::Tok(_) => false,
    })
}

/// The last two grid variables.
fn last_two(kernel: &t1::Kernel) -> Option<(t1::GridId, t1::GridId)> {
    let n = kernel.grid.len() as u32;
    (n >= 2).then(|| (t1::GridId(n - 2), t1::GridId(n - 1)))
}

/// Appends what follows a contraction: `value` is its result's register tile.
pub fn after_contraction(
    kernel: &t1::Kernel,
    c: &Contraction,
    value: ValId,
    tiling: &Tiling,
    module: Module,
    target: Target,
) -> Result<Module, Refusal> {
    let mut general = General::new(kernel, Layouts::Accumulator { tiling, m: c.m, n: c.n }, module);
    general.values.insert(c.result, value);
    let at = kernel.body.stmts.iter().position(|s| matches!(s, t1::Stmt::For(id) if *id == c.loop_id));
    let (before, rest) = kernel.body.stmts.split_at(at.unwrap_or(0));
    // What stands before the loop is lowered where it is used; what it writes is written behind the loop, all in order.
    let writes = before.iter().any(|s| !matches!(s, t1::Stmt::Let(_)));
    let written =
        |t: t1::TensorId| !matches!(kernel.tensor(t).kind, t1::TensorKind::In | t1::TensorKind::Packed);
    if let Some(t) = [c.a.tensor, c.b.tensor].into_iter().find(|t| writes && written(*t)) {
        let t = kernel.tensor(t);
        return Err(Refusal::construct(t.span, format!("`@` of `{}`, which may be written before", t.name))
            .help("write after the loop, or into another tensor"));
    }
    let before = if writes { before } else { &[] };
    general.body(before.iter().chain(rest.iter().skip(1)))?;
    general.finish(target)
}

/// Appends the computation of a gathered operand's rows: `layout` says which thread copies which.
pub fn rows(
    kernel: &t1::Kernel,
    v: t1::ValueId,
    axis: t1::AxisId,
    layout: &Layout,
    module: Module,
) -> Result<(Module, ValId), Refusal> {
    let mut general = General::new(kernel, Layouts::Rows { layout, axis, eager: true }, module);
    let rows = general.value(v)?;
    general.module.body = general.open.pop().unwrap_or_default();
    Ok((general.module, rows))
}

/// The ops that compute the coordinates at which a step's copy reads, in order, and their tile. A module that is refused is lost.
pub fn rows_in_step(
    kernel: &t1::Kernel,
    v: t1::ValueId,
    layouts: Layouts<'_>,
    module: &mut Module,
) -> Result<(Vec<Op>, ValId), Refusal> {
    let mut general = General::lent(kernel, layouts, module);
    let done = std::mem::take(&mut general.open[0]);
    let value = general.value(v)?;
    let ops = general.straight(done, module, v, "subscripts of an operand of `@` that loop or branch")?;
    Ok((ops, value))
}

/// The ops that compute an operand of a product, in order, and its tile; `staged` are the tiles of what is read from shared memory, by the
/// reads that they stand for. A module that is refused is lost.
pub fn operand(
    kernel: &t1::Kernel,
    computed: Computed,
    staged: &[(t1::ValueId, ValId)],
    layouts: Layouts<'_>,
    module: &mut Module,
) -> Result<(Vec<Op>, ValId), Refusal> {
    let mut general = General::lent(kernel, layouts, module);
    let done = std::mem::take(&mut general.open[0]);
    general.values.extend(staged.iter().copied());
    let value = general.value(computed.value)?;
    let ops = general.straight(done, module, computed.value, "an operand of `@` that loops or branches")?;
    let shared = |op: &Op| {
        matches!(op.kind, OpKind::PutTile { .. } | OpKind::PutPartials { .. } | OpKind::PutAt { .. })
    };
    if let Some(op) = ops.iter().find(|op| shared(op)) {
        return Err(Refusal::construct(op.span, "an operand of `@` that threads must exchange elements for"));
    }
    Ok((ops, value))
}

/// A module being built.
pub struct General<'a> {
    pub(super) kernel: &'a t1::Kernel,
    pub(super) layouts: Layouts<'a>,
    pub(super) variant: Variant,
    pub(super) module: Module,
    /// The lists of ops being written, innermost last.
    pub(super) open: Vec<Vec<Node>>,
    pub(super) values: FxHashMap<t1::ValueId, ValId>,
    /// Every access to global memory so far.
    pub(super) accesses: Vec<Access>,
    /// Copies of the bodies of loops, by name, where there is more than one.
    pub(super) unroll: FxHashMap<String, u32>,
    /// Ranks known in the list of ops that is being written: tile, axis, descending.
    pub(super) ranks: Vec<(t1::ValueId, t1::AxisId, bool, ValId)>,
    /// The loop around products, where there is one.
    pub(super) products: Option<Plan<'a>>,
}

impl<'a> General<'a> {
    /// What goes on writing a module's body.
    pub(super) fn new(kernel: &'a t1::Kernel, layouts: Layouts<'a>, mut module: Module) -> General<'a> {
        let (variant, done) = (module.variant, std::mem::take(&mut module.body));
        General {
            kernel,
            layouts,
            variant,
            module,
            open: vec![done],
            values: FxHashMap::default(),
            accesses: Vec::new(),
            unroll: FxHashMap::default(),
            ranks: Vec::new(),
            products: None,
        }
    }

    /// The same for a module that is another's, who has an empty one meanwhile.
    fn lent(kernel: &'a t1::Kernel, layouts: Layouts<'a>, module: &mut Module) -> General<'a> {
        let empty = Module::empty(module.variant);
        General::new(kernel, layouts, std::mem::replace(module, empty))
    }
}

impl General<'_> {
    /// Gives the module back, which goes on with the ops `done`; the ops that were written for a value, none of which may loop or branch.
    fn straight(
        mut self,
        done: Vec<Node>,
        module: &mut Module,
        v: t1::ValueId,
        otherwise: &str,
    ) -> Result<Vec<Op>, Refusal> {
        let nodes = self.open.pop().unwrap_or_default();
        self.module.body = done;
        let straight = |node| match node {
            Node::Op(op) => Some(op),
            Node::Loop(_) | Node::If(_) | Node::Sync(_) => None,
        };
        let ops: Option<Vec<Op>> = nodes.into_iter().map(straight).collect();
        *module = self.module;
        ops.ok_or_else(|| Refusal::construct(self.kernel.value(v).span, otherwise))
    }

    /// A kernel's outermost statements.
    pub(super) fn body<'s>(&mut self, stmts: impl Iterator<Item = &'s t1::Stmt>) -> Result<(), Refusal> {
        let stmts: Vec<&t1::Stmt> = stmts.collect();
        let cut = across_grid::first(self.kernel, &stmts).unwrap_or(stmts.len());
        self.statements(stmts[..cut].iter().copied())?;
        self.across_grid(&stmts[cut..])
    }

    pub(super) fn finish(mut self, target: Target) -> Result<Module, Refusal> {
        match self.module.dispatch {
            Dispatch::Each => {}
            Dispatch::Persistent | Dispatch::Stream(_) => {
                self.push(OpKind::ItemDone { next: None }, None, self.kernel.span);
            }
            Dispatch::Drawn => self.drawn()?,
        }
        self.module.body = self.open.pop().unwrap_or_default();
        self.module.ordered = order::ordered(&self.accesses);
        if let (Layouts::Accumulator { .. } | Layouts::Products { .. }, Some(t)) =
            (self.layouts, self.module.ordered.first())
        {
            let t = self.kernel.tensor(*t);
            return Err(Refusal::construct(
                t.span,
                format!("reading or writing `{}` where it was written before", t.name),
            ));
        }
        if let Some(plan) = self.products {
            plan.knobs.check_shared(self.kernel, self.module.shared_bytes, target)?;
        }
        if self.module.shared_bytes <= target.shared_limit() {
            return Ok(self.module);
        }
        Err(Refusal::schedule(
            self.kernel.span,
            format!(
                "partial results take {} of shared memory; {target} has {}",
                knobs::bytes(self.module.shared_bytes.into()),
                knobs::bytes(target.shared_limit().into())
            ),
            "fewer warps, or smaller tiles",
        ))
    }

    /// The item's tile is the counter's: one thread draws the next before anything else, so that the answer is there in time, and the
    /// others learn it through shared memory.
    fn drawn(&mut self) -> Result<(), Refusal> {
        let (elem, span) = (t1::ElemType::Int(32), self.kernel.span);
        let own = self.tile(elem, &[], "next.own", span)?;
        let draw = Op {
            role: RoleId(0),
            kind: OpKind::ItemDraw,
            result: Some(own),
            at: None,
            iter: Iter::None,
            span,
        };
        if let Some(body) = self.open.first_mut() {
            body.insert(0, Node::Op(draw));
        }
        let buf = self.partials("next", elem, partial_bits(elem), &[2], 0, span)?;
        self.push(OpKind::ItemTell { buf, value: own }, None, span);
        let next = self.tile(elem, &[], "next", span)?;
        self.push(OpKind::ItemHear { buf, of: own }, Some(next), span);
        self.push(OpKind::ItemDone { next: Some(next) }, None, span);
        Ok(())
    }

    pub(super) fn push(&mut self, kind: OpKind, result: Option<ValId>, span: Span) {
        let op = Op { role: RoleId(0), kind, result, at: None, iter: Iter::None, span };
        if let Some(list) = self.open.last_mut() {
            list.push(Node::Op(op));
        }
    }

    /// A fresh register tile on these axes, whose places are known from here on.
    pub(super) fn tile(
        &mut self,
        elem: t1::ElemType,
        axes: &[t1::AxisId],
        name: impl Into<String>,
        span: Span,
    ) -> Result<ValId, Refusal> {
        for a in axes {
            let (lo, hi) = (self.kernel.axis(*a).lo, self.kernel.axis(*a).hi);
            self.uniform(lo)?;
            self.uniform(hi)?;
        }
        let Some(layout) = self.layouts.layout(axes) else {
            let names: Vec<&str> = axes.iter().map(|a| self.kernel.axis(*a).name.as_str()).collect();
            let what =
                format!("a tile on `[{}]` beside a product that lacks some of these axes", names.join(", "));
            return Err(Refusal::construct(span, what)
                .note("what is computed beside a product stays in the lanes and registers that have the product")
                .help("compute it in a kernel before this one, or write the product and go on in a kernel behind it"));
        };
        Ok(self.module.new_value(ValKind::Tile { elem, axes: axes.to_vec(), layout, acc: false }, name))
    }

    /// Coordinates that the launch and the grid decide, but in more than the structure's own arithmetic.
    fn outside(&mut self) -> Result<(), Refusal> {
        let kernel = self.kernel;
        self.block(&kernel.entry)?;
        for g in &kernel.grid {
            self.block(&g.block)?;
        }
        Ok(())
    }

    pub(super) fn block(&mut self, block: &t1::Block) -> Result<(), Refusal> {
        self.statements(block.stmts.iter())
    }

    pub(super) fn statements<'s>(
        &mut self,
        stmts: impl Iterator<Item = &'s t1::Stmt>,
    ) -> Result<(), Refusal> {
        for stmt in stmts {
            match stmt {
                t1::Stmt::Let(v) => {
                    let coordinate = self.kernel.ty(*v).elem == t1::ElemType::Index;
                    let elsewhere = structural(self.kernel, *v)
                        || launch_scalar(self.kernel, *v) && !coordinate
                        || matches!(self.kernel.value(*v).op, t1::Op::Iota(_));
                    // Coordinates that subscripts take directly need no registers of their own, nor do scalars that the launch
                    // decides; where one is used otherwise it is made then.
                    if !elsewhere {
                        self.value(*v)?;
                    }
                }
                t1::Stmt::Write(w) => self.write(w)?,
                t1::Stmt::For(id) => self.for_(*id)?,
                t1::Stmt::If(id) => self.if_(*id)?,
                t1::Stmt::Atomic(a) => self.atomic(a)?,
            }
        }
        Ok(())
    }

    pub(super) fn value(&mut self, v: t1::ValueId) -> Result<ValId, Refusal> {
        if let Some(done) = self.values.get(&v) {
            return Ok(*done);
        }
        let value = self.kernel.value(v);
        let span = value.span;
        let name = value.name.clone().unwrap_or_else(|| format!("v{}", v.0));
        let kind = match &value.op {
            _ if launch_scalar(self.kernel, v) => OpKind::Elementwise { value: v, args: Vec::new() },
            t1::Op::Reorder(x) => {
                let x = self.value(*x)?;
                OpKind::Spread { x }
            }
            t1::Op::Read { tensor, ix } => {
                let ix = self.subscripts(*tensor, ix, span)?;
                let vec = match self.layouts.layout(&value.ty.axes) {
                    Some(layout) => self
                        .vector(*tensor, &ix, &value.ty.axes, &layout)
                        .max(self.vector_in_turns(*tensor, v, &layout)),
                    None => 1,
                };
                // What a later write may change is read where it stands.
                let eager = self.layouts.eager(&value.ty.axes)
                    || matches!(self.layouts, Layouts::Digits(_)) && order::writes(self.kernel, *tensor);
                self.access(*tensor, &ix, &value.ty.axes, order::Kind::Read);
                OpKind::ReadReg { tensor: *tensor, ix, vec, eager }
            }
            t1::Op::Reduce { op, x, axes } => return self.reduce(v, *op, *x, axes, name),
            t1::Op::Scan { .. } => return self.scan(v, name),
            t1::Op::Sort { x, axis, part } => return self.sorted(v, *x, *axis, *axis, *part, name),
            t1::Op::TopK { x, axis, to, part } => return self.sorted(v, *x, *axis, *to, *part, name),
            t1::Op::TileRead { tile, ix } => return self.lookup(v, *tile, ix, name),
            t1::Op::Iota(_) => OpKind::Elementwise { value: v, args: Vec::new() },
            op if op.is_elementwise() => {
                elementwise::check(self.kernel, v)?;
                let mut args = Vec::new();
                for x in op.operands() {
                    if !launch_scalar(self.kernel, x) {
                        args.push(self.value(x)?);
                    }
                }
                OpKind::Elementwise { value: v, args }
            }
            other => return Err(Refusal::construct(span, super::refuse::describe(other))),
        };
        let ty = value.ty.clone();
        let id = self.tile(ty.elem, &ty.axes, name, span)?;
        self.push(kind, Some(id), span);
        self.values.insert(v, id);
        Ok(id)
    }

    fn reduce(
        &mut self,
        v: t1::ValueId,
        op: t1::ReduceOp,
        x: t1::ValueId,
        axes: &[t1::AxisId],
        name: String,
    ) -> Result<ValId, Refusal> {
        let value = self.kernel.value(v);
        let span = value.span;
        for elem in [value.ty.elem, self.kernel.ty(x).elem] {
            if !elementwise::holds(elem) {
                return Err(Refusal::construct(span, format!("a reduction of {elem}")));
            }
        }
        let (x, ty) = (self.value(x)?, value.ty.clone());
        let nan = op == t1::ReduceOp::Max && monotone::ignored_if_nan(self.kernel, v);
        let id = self.reduction_of(op, x, axes, ty, name, span, nan)?;
        self.values.insert(v, id);
        Ok(id)
    }

    /// A reduction of a tile to type `ty`; across warps by way of partial results.
    pub(super) fn reduction(
        &mut self,
        op: t1::ReduceOp,
        x: ValId,
        axes: &[t1::AxisId],
        ty: t1::TileType,
        name: String,
        span: Span,
    ) -> Result<ValId, Refusal> {
        self.reduction_of(op, x, axes, ty, name, span, false)
    }

    #[allow(clippy::too_many_arguments)]
    fn reduction_of(
        &mut self,
        op: t1::ReduceOp,
        x: ValId,
        axes: &[t1::AxisId],
        ty: t1::TileType,
        name: String,
        span: Span,
        nan: bool,
    ) -> Result<ValId, Refusal> {
        let warps = self.layouts.warp_mask(axes);
        let kind = OpKind::Reduce { x, op, axes: axes.to_vec(), nan: nan && warps == 0 };
        if warps == 0 {
            let id = self.tile(ty.elem, &ty.axes, name, span)?;
            self.push(kind, Some(id), span);
            return Ok(id);
        }
        let part = self.tile(ty.elem, &ty.axes, format!("{name}.part"), span)?;
        self.push(kind, Some(part), span);
        let elem = match op {
            t1::ReduceOp::ArgMax | t1::ReduceOp::ArgMin => self.elem(x),
            _ => ty.elem,
        };
        let bits = match op {
            t1::ReduceOp::ArgMax | t1::ReduceOp::ArgMin => 128,
            _ => partial_bits(elem),
        };
        let buf = self.partials(&name, elem, bits, &[self.positions(part)], warps, span)?;
        self.push(OpKind::PutPartials { buf, value: part, warps }, None, span);
        let id = self.tile(ty.elem, &ty.axes, name, span)?;
        self.push(OpKind::GetPartials { buf, op, warps }, Some(id), span);
        Ok(id)
    }

    /// `cumsum` and `cummax`; across warps by way of each warp's sums.
    fn scan(&mut self, v: t1::ValueId, name: String) -> Result<ValId, Refusal> {
        let value = self.kernel.value(v);
        let (span, ty) = (value.span, value.ty.clone());
        let t1::Op::Scan { op, x, axis, rev } = value.op else { unreachable!("called for scans") };
        let Layouts::Digits(distribution) = self.layouts else {
            return Err(Refusal::construct(span, "a scan of what a product gave")
                .note("an accumulator's columns lie on lanes in an order that scans do not know")
                .help("write the product, and scan it in a kernel of its own"));
        };
        if !elementwise::holds(ty.elem) {
            return Err(Refusal::construct(span, format!("a scan of {}", ty.elem)));
        }
        let x = self.value(x)?;
        let warps = distribution.warp_mask(&[axis]);
        let groups = distribution.groups(axis);
        let own = self.tile(
            ty.elem,
            &ty.axes,
            if warps == 0 { name.clone() } else { name.clone() + ".own" },
            span,
        )?;
        self.push(OpKind::Scan { x, op, axis, rev }, Some(own), span);
        let id = if warps == 0 {
            own
        } else {
            let others: Vec<t1::AxisId> = ty.axes.iter().copied().filter(|a| *a != axis).collect();
            let shape: Vec<u32> = others
                .iter()
                .map(|a| self.kernel.axis(*a).extent.next_power_of_two())
                .chain([groups.next_power_of_two()])
                .collect();
            let buf = self.partials(&name, ty.elem, partial_bits(ty.elem), &shape, warps, span)?;
            self.push(OpKind::PutPartials { buf, value: own, warps }, None, span);
            let id = self.tile(ty.elem, &ty.axes, name, span)?;
            self.push(OpKind::GetScan { buf, x: own, op, axis, rev, warps }, Some(id), span);
            id
        };
        self.values.insert(v, id);
        Ok(id)
    }

    /// The element type of a register tile.
    pub(super) fn elem(&self, v: ValId) -> t1::ElemType {
        match &self.module.value(v).kind {
            ValKind::Tile { elem, .. } => *elem,
            other => unreachable!("{other:?} is no register tile"),
        }
    }

    /// Elements of a tile, with every axis padded to a power of two.
    pub(super) fn positions(&self, v: ValId) -> u32 {
        self.module.layout(v).shape().iter().map(|(_, n)| n.next_power_of_two()).product()
    }

    /// A buffer of partial results of so many bits: per warp (a mask of warp bits says how many) as many as `shape` has elements.
    pub(super) fn partials(
        &mut self,
        name: &str,
        elem: t1::ElemType,
        bits: u32,
        shape: &[u32],
        warps: u32,
        span: Span,
    ) -> Result<BufId, Refusal> {
        let shape = vec![1 << warps.count_ones(), shape.iter().product()];
        let layout = SharedLayout::row_major(&[(Axis(0), shape[0]), (Axis(1), shape[1])], bits)
            .map_err(|e| Refusal::construct(span, format!("partial results of this shape ({e})")))?;
        let slot_bytes = layout.bytes();
        let base = self.module.shared_bytes.next_multiple_of(16);
        self.module.shared_bytes = base + slot_bytes;
        self.module.buffers.push(Buffer {
            name: format!("{name}.partials"),
            elem,
            axes: Vec::new(),
            slots: 1,
            shape,
            layout,
            layout_name: "rows".into(),
            slot_bytes,
            base,
            slot_stride: slot_bytes,
        });
        Ok(BufId(self.module.buffers.len() as u16 - 1))
    }
}

/// Bits of a partial result in shared memory.
pub(super) fn partial_bits(elem: t1::ElemType) -> u32 {
    match elem {
        t1::ElemType::Int(64) | t1::ElemType::Uint(64) => 64,
        _ => 32,
    }
}
