//! The ops of a loop of products.
//!
//! ```text
//! before   copy q; wait                    what does not change from step to step
//! step     copies of step + S - 1          stage 0
//!          wait                            stage S - 1: one barrier a step, which also frees the slot that is copied into next
//!          load, mma, … in the text's order
//! ```
//! The copies of a step are issued behind its wait, when every warp has left the step before.

use super::super::fragments::Tiling;
use super::super::general::{self, General};
use super::super::items;
use super::super::layouts::Layouts;
use super::super::operand::Operand;
use super::super::refuse::Refusal;
use super::super::shared::{self, Staged};
use super::knobs::{self, Knobs};
use super::{Factor, Product, Products};
use crate::diagnostics::Span;
use crate::layout::{Axis, Dim, Layout};
use crate::scheduled::ir::*;
use crate::target::Target;
use crate::tile::ir as t1;

/// What the ops of a loop of products are made from.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    pub found: &'a Products,
    pub tilings: &'a [Tiling],
    pub knobs: &'a Knobs,
}

/// The fused module of one variant.
pub fn build(
    kernel: &t1::Kernel,
    found: &Products,
    knobs: &Knobs,
    variant: Variant,
    target: Target,
) -> Result<Module, Refusal> {
    let warps = knobs.warps.0 * knobs.warps.1;
    let tilings = knobs::tilings(kernel, found, knobs.warps);
    let role = Role {
        name: "math".into(),
        instances: 1,
        warps,
        registers: items::register_cap(warps, knobs.occupancy(), target),
        active: Active::All,
    };
    let module = Module {
        dispatch: knobs.dispatch,
        occupancy: Some(knobs.occupancy()),
        evict: knobs.items.evict(),
        ..Module::new(&kernel.name, variant, role)
    };
    let layouts = Layouts::Products { products: found, tilings: &tilings };
    let mut general = General::new(kernel, layouts, module);
    general.products = Some(Plan { found, tilings: &tilings, knobs });
    general.instance()?;
    general.finish(target)
}

/// An operand on its way: its buffer, and the slot that holds what a step reads.
#[derive(Clone)]
struct Arrived {
    staged: Staged,
    slot: ValId,
}

impl General<'_> {
    /// A loop of products.
    pub(in super::super) fn product_loop(&mut self, plan: Plan<'_>, id: t1::LoopId) -> Result<(), Refusal> {
        let kernel = self.kernel;
        let l = kernel.loop_(id);
        let stages = plan.knobs.stages_of(plan.found, id);
        let (Some(axis), last) = (l.axis, stages - 1) else {
            return Err(Refusal::construct(l.span, "a loop over single coordinates around `@`"));
        };
        self.uniform(l.lo)?;
        self.uniform(l.hi)?;
        if let Some(full) = &l.full {
            full.from.into_iter().chain([full.to]).try_for_each(|v| self.uniform(v))?;
        }
        // Operands by product: left, right.
        let mut arrived: Vec<[Option<Arrived>; 2]> =
            plan.found.products.iter().map(|_| [None, None]).collect();
        let mut ring: Vec<(usize, usize, Staged, &Operand, Option<Vec<Index>>)> = Vec::new();
        let mut again: Vec<(usize, usize, usize)> = Vec::new();
        let own = |(_, n, _): &(bool, usize, &Operand)| plan.found.products[*n].loop_id == id;
        for (is_a, n, operand) in plan.found.staged().filter(own) {
            // Read by several products, copied once.
            let same = |(before_a, m, o): &(bool, usize, &Operand)| {
                *before_a == is_a
                    && *m < n
                    && plan.tilings[*m] == plan.tilings[n]
                    && (o.tensor, &o.ix, &o.gather, o.outer, o.toward, o.negative)
                        == (
                            operand.tensor,
                            &operand.ix,
                            &operand.gather,
                            operand.outer,
                            operand.toward,
                            operand.negative,
                        )
                    && o.also.is_empty()
                    && operand.also.is_empty()
            };
            if let Some((_, m, _)) = plan.found.staged().filter(own).find(same) {
                again.push((n, usize::from(!is_a), m));
                continue;
            }
            let moving = operand.ix.iter().any(|i| i.axis == Some(axis));
            let side = usize::from(!is_a);
            let name = &kernel.tensor(operand.tensor).name;
            let along = operand.down(Some(axis), plan.found.products[n].k);
            let slots = if moving { stages } else { 1 };
            let staged = self.stage(plan, operand, n, is_a, along, slots, name)?;
            match moving {
                true => {
                    // Rows that stay the same are known before the loop.
                    let rows = !operand.gather.is_empty() && operand.gather_axis() == Some(operand.outer);
                    let ix = match rows && along != operand.outer {
                        true => Some(self.looked_up(&staged, operand, operand.outer)?),
                        false => None,
                    };
                    ring.push((n, side, staged, operand, ix));
                }
                false => {
                    let ix = self.looked_up(&staged, operand, along)?;
                    let slot = self.once(&staged, operand, ix)?;
                    arrived[n][side] = Some(Arrived { staged, slot });
                }
            }
        }
        for v in plan.found.products.iter().filter(|p| p.loop_id == id).filter_map(Product::held) {
            self.value(v)?;
        }
        let mut carry = Vec::new();
        for c in &l.carried {
            let mut init = self.tile_of(c.init, c.result)?;
            let ty = kernel.ty(c.result).clone();
            if self.shared_sum(id, c).is_some() {
                let share = self.tile(ty.elem, &ty.axes, format!("{}.share", c.name), c.span)?;
                self.push(OpKind::Share { x: init }, Some(share), c.span);
                init = share;
            }
            let param = self.tile(ty.elem, &ty.axes, format!("{}.in", c.name), c.span)?;
            self.values.insert(c.param, param);
            carry.push((init, param));
        }
        // What a step computes is the step's own: without trips it is never made.
        let outside = self.values.clone();
        self.open.push(Vec::new());
        let chan = ChanId(self.module.channels.len() as u16);
        self.module.channels.push(Channel {
            name: l.name.clone(),
            bufs: ring.iter().flat_map(|(_, _, s, ..)| bufs(s)).collect(),
            slots: stages,
            from: RoleId(0),
            to: vec![RoleId(0)],
            bytes: ring
                .iter()
                .flat_map(|(_, _, s, ..)| bufs(s))
                .map(|b| self.module.buffer(b).slot_bytes)
                .sum(),
        });
        let slot = self.module.new_value(ValKind::Slot(chan), "s");
        self.staged_op(OpKind::Acquire { chan }, Some(slot), 0, 1, l.span);
        let mut tokens = Vec::new();
        for (_, _, staged, operand, known) in &ring {
            let from = self.open.last().map_or(0, Vec::len);
            let ix = match known {
                Some(ix) => ix.clone(),
                None => self.looked_up(staged, operand, axis)?,
            };
            if let Some(ops) = self.open.last_mut() {
                place(&mut ops[from..], At { stage: 0, order: 1 });
            }
            for (staged, operand, ix) in everything(staged, operand, ix) {
                let token = self.module.new_value(ValKind::Tok(class(staged.plan)), "t");
                let span = kernel.tensor(operand.tensor).span;
                self.staged_op(copy(slot, staged, operand, ix), Some(token), 0, 1, span);
                tokens.push(token);
            }
        }
        self.staged_op(OpKind::Commit { chan, slot, after: tokens }, None, 0, 1, l.span);
        let filled = self.module.new_value(ValKind::Slot(chan), "r");
        self.staged_op(OpKind::Wait { chan }, Some(filled), last, 0, l.span);
        for (n, side, staged, ..) in ring {
            arrived[n][side] = Some(Arrived { staged, slot: filled });
        }
        for (n, side, m) in again {
            arrived[n][side] = arrived[m][side].clone();
        }
        let mut when = None;
        if let Some(w) = &l.when {
            self.step(plan, id, &w.block, &arrived)?;
            when = Some(self.some(w.cond)?);
            self.open.push(Vec::new());
        }
        self.step(plan, id, &l.body, &arrived)?;
        let mut nexts = Vec::new();
        for c in &l.carried {
            nexts.push(self.tile_of(c.next, c.result)?);
        }
        if let Some(cond) = when {
            let then_body = self.open.pop().unwrap_or_default();
            let mut merges = Vec::new();
            for ((c, next), (_, param)) in l.carried.iter().zip(&mut nexts).zip(&carry) {
                let ty = kernel.ty(c.result).clone();
                let result = self.tile(ty.elem, &ty.axes, format!("{}.next", c.name), c.span)?;
                merges.push(Merge { then_value: *next, else_value: *param, result });
                *next = result;
            }
            self.node(Node::If(If { cond, then_body, else_body: Vec::new(), merges, span: l.span }));
        }
        self.push(OpKind::Release { chan, slot: filled }, None, l.span);
        let mut body = self.open.pop().unwrap_or_default();
        place(&mut body, At { stage: last, order: 2 });
        let mut done = Vec::new();
        for ((c, next), (init, param)) in l.carried.iter().zip(nexts).zip(carry) {
            let ty = kernel.ty(c.result).clone();
            let result = self.tile(ty.elem, &ty.axes, c.name.clone(), c.span)?;
            done.push(Carry { init, param, next, result });
        }
        self.values = outside;
        self.values.extend(l.carried.iter().zip(&done).map(|(c, d)| (c.result, d.result)));
        self.node(Node::Loop(Loop {
            name: l.name.clone(),
            over: Over::Tiles(axis),
            lo: l.lo,
            hi: l.hi,
            by: kernel.axis(axis).extent,
            rev: false,
            carry: done,
            body,
            ahead: 0,
            unroll: stages,
            full: l.full.clone().filter(|_| self.module.variant == Variant::Wide),
        }));
        for c in &l.carried {
            if self.shared_sum(id, c).is_none() {
                continue;
            }
            let ty = kernel.ty(c.result).clone();
            let x = self.value(c.result)?;
            let total = self.tile(ty.elem, &ty.axes, c.name.clone(), c.span)?;
            self.push(OpKind::Total { x }, Some(total), c.span);
            self.values.insert(c.result, total);
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn stage(
        &mut self,
        plan: Plan<'_>,
        operand: &Operand,
        n: usize,
        is_a: bool,
        along: t1::AxisId,
        slots: u32,
        name: &str,
    ) -> Result<Staged, Refusal> {
        let variant = self.module.variant;
        plan.knobs.items.check_packed(self.kernel, operand)?;
        if operand.packed {
            let t = self.kernel.tensor(operand.tensor);
            if along != plan.found.products[n].k || slots == 1 {
                return Err(Refusal::construct(
                    t.span,
                    format!("`packed {}` along another range than the loop's", t.name),
                )
                .note("a packed tensor is copied tile by tile along the range that is contracted")
                .help("contract the range that the loop is over"));
            }
            let tiling = &plan.tilings[n];
            return shared::packed_buffer(self.kernel, &mut self.module, name, operand, tiling, is_a, slots);
        }
        shared::buffer(
            self.kernel,
            &mut self.module,
            name,
            operand,
            plan.found.products[n].k,
            along,
            &plan.tilings[n],
            is_a,
            slots,
            4,
            variant,
            plan.knobs.items.via(operand.tensor),
        )
    }

    /// What a step computes.
    fn step(
        &mut self,
        plan: Plan<'_>,
        id: t1::LoopId,
        block: &t1::Block,
        arrived: &[[Option<Arrived>; 2]],
    ) -> Result<(), Refusal> {
        let mut read = Read::default();
        for stmt in &block.stmts {
            let t1::Stmt::Let(v) = stmt else {
                let span = match stmt {
                    t1::Stmt::For(id) => self.kernel.loop_(*id).span,
                    t1::Stmt::If(id) => self.kernel.if_(*id).span,
                    _ => self.kernel.span,
                };
                return Err(Refusal::construct(span, "a loop around `@` that writes, branches or loops")
                    .note("its copies run ahead of what it computes, so a step is straight code")
                    .help(
                        "write behind the loop, or in a loop of its own; `where(c, x, y)` chooses values",
                    ));
            };
            let carried = &self.kernel.loop_(id).carried;
            if let t1::Op::Reduce { x, ref axes, .. } = self.kernel.value(*v).op
                && carried.iter().any(|c| self.shared_sum(id, c) == Some(*v))
            {
                let value = self.kernel.value(*v);
                let x = self.value(x)?;
                let share = self.tile(value.ty.elem, &value.ty.axes, format!("v{}", v.0), value.span)?;
                self.push(OpKind::ReduceOwn { x, axes: axes.clone() }, Some(share), value.span);
                self.values.insert(*v, share);
                continue;
            }
            match plan.found.products.iter().position(|p| p.value == *v) {
                Some(n) => self.product(plan, n, &arrived[n], &mut read)?,
                None if plan.found.computed.contains(v) => self.statements(std::iter::once(stmt))?,
                None => {}
            }
        }
        Ok(())
    }

    /// The sum that a carried value takes in, where its lanes may each keep a share until the loop is over: `l = l * alpha + sum(p over j)`, with
    /// `l` and the sum used for nothing else.
    fn shared_sum(&self, id: t1::LoopId, c: &t1::Carried) -> Option<t1::ValueId> {
        let kernel = self.kernel;
        let users = |x: t1::ValueId| {
            let body = kernel.loop_(id).body.stmts.iter();
            let used =
                body.filter(|s| matches!(s, t1::Stmt::Let(v) if kernel.value(*v).op.operands().contains(&x)));
            used.count() + kernel.loop_(id).carried.iter().filter(|c| c.next == x).count()
        };
        let t1::Op::Binary(t1::BinaryOp::Add, x, y) = kernel.value(c.next).op else { return None };
        let kept = |v: t1::ValueId| match kernel.value(v).op {
            _ if v == c.param => true,
            t1::Op::Binary(t1::BinaryOp::Mul, x, y) => (x == c.param) != (y == c.param) && users(v) == 1,
            _ => false,
        };
        let (old, sum) = if kept(x) { (x, y) } else { (y, x) };
        let t1::Op::Reduce { op: t1::ReduceOp::Sum, ref axes, .. } = kernel.value(sum).op else {
            return None;
        };
        let fits = kept(old)
            && users(c.param) == 1
            && users(sum) == 1
            && kernel.ty(c.result).elem == t1::ElemType::F32
            && self.layouts.warp_mask(axes) == 0;
        fits.then_some(sum)
    }

    /// The subscripts of a copy: what is computed or looked up along the range that it goes along is computed here, by the threads that copy.
    fn looked_up(
        &mut self,
        staged: &Staged,
        operand: &Operand,
        along: t1::AxisId,
    ) -> Result<Vec<Index>, Refusal> {
        let mut ix = operand.ix.clone();
        if operand.gather.is_empty() {
            return Ok(ix);
        }
        let other = Axis(u16::from(along == operand.outer));
        let internal = |e| shared::internal(self.kernel.span, e);
        // A tile's only axis is its first.
        let layout = staged.map.reduce(other).and_then(|l| l.rename_outs(|_| Axis(0))).map_err(internal)?;
        let layouts = Layouts::Rows { layout: &layout, axis: along, eager: false };
        for (dim, v) in &operand.gather {
            let (ops, tile) = general::rows_in_step(self.kernel, *v, layouts, &mut self.module)?;
            ops.into_iter().for_each(|op| self.node(Node::Op(op)));
            ix[*dim].tile = Some(tile);
        }
        Ok(ix)
    }

    fn staged_op(&mut self, kind: OpKind, result: Option<ValId>, stage: u32, order: u32, span: Span) {
        let op = Op { role: RoleId(0), kind, result, at: Some(At { stage, order }), iter: Iter::None, span };
        self.node(Node::Op(op));
    }

    /// Copies an operand that is the same in every step.
    fn once(&mut self, staged: &Staged, operand: &Operand, ix: Vec<Index>) -> Result<ValId, Refusal> {
        let (name, span) = {
            let t = self.kernel.tensor(operand.tensor);
            (t.name.clone(), t.span)
        };
        let chan = ChanId(self.module.channels.len() as u16);
        self.module.channels.push(Channel {
            name,
            bufs: bufs(staged).collect(),
            slots: 1,
            from: RoleId(0),
            to: vec![RoleId(0)],
            bytes: bufs(staged).map(|b| self.module.buffer(b).slot_bytes).sum(),
        });
        let slot = self.module.new_value(ValKind::Slot(chan), "s");
        self.push(OpKind::Acquire { chan }, Some(slot), span);
        let mut after = Vec::new();
        for (staged, operand, ix) in everything(staged, operand, ix) {
            let token = self.module.new_value(ValKind::Tok(class(staged.plan)), "t");
            self.push(copy(slot, staged, operand, ix), Some(token), span);
            after.push(token);
        }
        self.push(OpKind::Commit { chan, slot, after }, None, span);
        let filled = self.module.new_value(ValKind::Slot(chan), "r");
        self.push(OpKind::Wait { chan }, Some(filled), span);
        Ok(filled)
    }

    /// One product: fragments and matrix instructions, slice by slice, each slice's fragments ahead of the matrix instructions before it.
    fn product(
        &mut self,
        plan: Plan<'_>,
        n: usize,
        arrived: &[Option<Arrived>; 2],
        read: &mut Read,
    ) -> Result<(), Refusal> {
        let p = &plan.found.products[n];
        let t = plan.tilings[n];
        let value = self.kernel.value(p.value);
        let (span, axes) = (value.span, value.ty.axes.clone());
        let name = value.name.clone().unwrap_or_else(|| format!("v{}", p.value.0));
        let elem = p.atom.acc();
        let layout = self.layouts.layout(&axes);
        let Some(layout) = layout else {
            return Err(Refusal::construct(span, "a product on other axes than its operands'"));
        };
        let fresh = |g: &mut Self, name: String, acc: bool| {
            let kind = ValKind::Tile { elem, axes: axes.clone(), layout: layout.clone(), acc };
            g.module.new_value(kind, name)
        };
        let mut acc = fresh(self, format!("{name}.0"), true);
        match p.start {
            None => self.push(OpKind::AccNew { init: 0.0 }, Some(acc), span),
            Some(from) => {
                let value = self.tile_of(from, p.value)?;
                self.push(OpKind::AccFrom { value }, Some(acc), span);
            }
        }
        let a = match &p.a {
            Factor::Staged(a) => Side::Staged(a, &arrived[0]),
            Factor::Tile(v) | Factor::Held(v) => Side::Tile(self.value(*v)?),
        };
        let b = Side::Staged(&p.b, &arrived[1]);
        let whole = [self.in_registers(p, &t, &a, true, read)?, self.in_registers(p, &t, &b, false, read)?];
        let slices = t.bk.min(self.kernel.axis(p.k).extent.next_multiple_of(p.atom.k())) / p.atom.k();
        let mut parts = Vec::new();
        for kk in 0..slices {
            let at = kk * p.atom.k();
            let fa = self.part(p, &t, &a, whole[0], at, true);
            let fb = self.part(p, &t, &b, whole[1], at, false);
            parts.push((fa, fb));
            // The fragments of the next slice come before the matrix instructions of this one.
            if kk > 0 {
                let next = fresh(self, format!("{name}.k{kk}"), true);
                acc = self.multiply(p, parts[kk as usize - 1], acc, next, span);
            }
        }
        if let Some(part) = parts.last() {
            let next = fresh(self, format!("{name}.end"), true);
            acc = self.multiply(p, *part, acc, next, span);
        }
        let result = fresh(self, name, false);
        self.push(OpKind::AccGet { acc }, Some(result), span);
        self.values.insert(p.value, result);
        Ok(())
    }

    fn multiply(
        &mut self,
        p: &Product,
        (a, b): ((ValId, u32), (ValId, u32)),
        acc: ValId,
        next: ValId,
        span: Span,
    ) -> ValId {
        let kind = OpKind::Mma { atom: p.atom, a: a.0, b: b.0, acc, at: (a.1, b.1) };
        self.push(kind, Some(next), span);
        next
    }

    /// An operand that is computed on its way, or in registers already.
    fn in_registers(
        &mut self,
        p: &Product,
        t: &Tiling,
        side: &Side<'_>,
        is_a: bool,
        read: &mut Read,
    ) -> Result<Option<ValId>, Refusal> {
        let (operand, arrived) = match side {
            Side::Tile(v) => return Ok(Some(*v)),
            Side::Staged(operand, Some(arrived)) => (operand, arrived),
            Side::Staged(_, None) => unreachable!("every staged operand has arrived"),
        };
        let Some(computed) = operand.computed else { return Ok(None) };
        let layouts = Layouts::Fragment { tiling: t, is_a, outer: operand.outer, k: p.k };
        let members = std::iter::once((computed.staged, &arrived.staged, &**operand))
            .chain(arrived.staged.also.iter().zip(&operand.also).map(|(s, (value, o))| (*value, s, o)));
        let mut all = Vec::new();
        for (value, staged, operand) in members {
            let tile = self.read_whole(value, operand, (arrived.slot, staged), t.bk, layouts, read)?;
            all.push((value, tile));
        }
        let tiles = || all.iter().map(|(_, tile)| *tile);
        if let Some((.., made)) =
            read.made.iter().find(|(v, of, _)| *v == computed.value && tiles().eq(of.iter().copied()))
        {
            return Ok(Some(*made));
        }
        let (ops, made) = general::operand(self.kernel, computed, &all, layouts, &mut self.module)?;
        ops.into_iter().for_each(|op| self.node(Node::Op(op)));
        read.made.push((computed.value, tiles().collect(), made));
        Ok(Some(made))
    }

    /// All of a staged operand in registers: once in a step, where these are few.
    fn read_whole(
        &mut self,
        value: t1::ValueId,
        operand: &Operand,
        (slot, staged): (ValId, &Staged),
        size: u32,
        layouts: Layouts<'_>,
        read: &mut Read,
    ) -> Result<ValId, Refusal> {
        let (span, axes) = (self.kernel.value(value).span, self.kernel.ty(value).axes.clone());
        let Some(layout) = layouts.layout(&axes) else {
            return Err(Refusal::construct(span, "an operand on other axes"));
        };
        let buf = staged.buf;
        let before = read.tiles.iter().find(|(s, b, of, _)| (*s, *b) == (slot, buf) && *of == layout);
        if let Some((.., tile)) = before {
            return Ok(*tile);
        }
        let kind = ValKind::Tile { elem: operand.elem, axes, layout: layout.clone(), acc: false };
        let tile = self.module.new_value(kind, operand.name.clone());
        let load = match operand.packed {
            true => OpKind::LoadPacked { slot, buf, tensor: operand.tensor },
            false => OpKind::Load { slot, buf, at: 0, size, atom: staged.atom },
        };
        self.push(load, Some(tile), span);
        let words = layout.size_in(Dim::Reg) * operand.elem.bits() / 32;
        if words <= HELD_WORDS {
            read.tiles.push((slot, buf, layout, tile));
        }
        Ok(tile)
    }

    /// An operand's slice that begins at `at`.
    fn part(
        &mut self,
        p: &Product,
        t: &Tiling,
        side: &Side<'_>,
        whole: Option<ValId>,
        at: u32,
        is_a: bool,
    ) -> (ValId, u32) {
        if let Some(whole) = whole {
            return (whole, at);
        }
        let Side::Staged(operand, Some(arrived)) = side else {
            unreachable!("every staged operand has arrived");
        };
        let layout = if is_a { t.a_fragment() } else { t.b_fragment() };
        let axes = vec![operand.outer, p.k];
        let kind = ValKind::Tile { elem: operand.value, axes, layout, acc: false };
        let id = self.module.new_value(kind, format!("{}.{at}", operand.name));
        let load = OpKind::Load {
            slot: arrived.slot,
            buf: arrived.staged.buf,
            at,
            size: p.atom.k(),
            atom: arrived.staged.atom,
        };
        self.push(load, Some(id), self.kernel.tensor(operand.tensor).span);
        (id, 0)
    }
}

/// Registers of a tile that stays in them for several products: the planes made of one are as many again. A larger one is read anew.
const HELD_WORDS: u32 = 32;

/// What a step has in registers of operands that are computed on their way: several products take what one has read and made.
#[derive(Default)]
struct Read {
    tiles: Vec<(ValId, BufId, Layout, ValId)>,
    /// Of a value, from these tiles.
    made: Vec<(t1::ValueId, Vec<ValId>, ValId)>,
}

/// Where an operand is.
enum Side<'a> {
    Staged(&'a Operand, &'a Option<Arrived>),
    Tile(ValId),
}

/// Gives every op that has none its place in the pipeline.
fn place(nodes: &mut [Node], at: At) {
    for node in nodes {
        match node {
            Node::Op(op) => {
                op.at.get_or_insert(at);
            }
            Node::If(i) => {
                place(&mut i.then_body, at);
                place(&mut i.else_body, at);
            }
            Node::Loop(l) => place(&mut l.body, at),
            Node::Sync(_) => {}
        }
    }
}

fn class(plan: CopyPlan) -> TokClass {
    match plan {
        CopyPlan::CpAsync { .. } => TokClass::CpAsync,
        CopyPlan::LoadStore { .. } => TokClass::Immediate,
    }
}

/// The buffers of an operand.
fn bufs(staged: &Staged) -> impl Iterator<Item = BufId> {
    std::iter::once(staged).chain(&staged.also).map(|s| s.buf)
}

/// An operand, whose copy reads at `ix`, and what else it is computed from.
fn everything<'a>(
    staged: &'a Staged,
    operand: &'a Operand,
    ix: Vec<Index>,
) -> impl Iterator<Item = (&'a Staged, &'a Operand, Vec<Index>)> {
    let others = staged.also.iter().zip(&operand.also).map(|(staged, (_, o))| (staged, o, o.ix.clone()));
    std::iter::once((staged, operand, ix)).chain(others)
}

/// The copy of an operand. Narrow accesses are so many that they are a loop of their own.
fn copy(slot: ValId, staged: &Staged, operand: &Operand, ix: Vec<Index>) -> OpKind {
    if operand.packed {
        let (buf, tensor) = (staged.buf, operand.tensor);
        return OpKind::CopyPacked { slot, buf, tensor, ix, plan: staged.plan };
    }
    OpKind::CopyIn {
        slot,
        buf: staged.buf,
        tensor: operand.tensor,
        ix,
        plan: staged.plan,
        map: staged.map.clone(),
        rolled: staged.plan.unit() < 4,
        negative: operand.negative,
    }
}
