//! T1 to fused T2: macro-ops, access plans, layouts, buffers, channels and the place of every op in the pipeline.
//!
//! The pipeline of a contraction with S slots and a tile of k depth cut into n slices as deep as a matrix instruction (`kk`):
//! ```text
//! acquire, copy.in A, copy.in B, commit      stage 0      as soon as the step's first fragments are on their way
//! wait, load slice 0                         stage S-2    at the end of a step, for the next one: its latency hides behind
//!                                                         the last slice's matrix instructions
//! load slice kk, mma slice kk - 1            stage S-1    one slice ahead, through the step
//! release                                    stage S-1
//! ```
//! So every fragment has one copy, each step needs one wait and one barrier, and both stand where nobody waits long.

use super::contraction::Contraction;
use super::fragments::Tiling;
use super::general;
use super::items;
use super::knobs::{Knobs, Problem};
use super::layouts::Layouts;
use super::operand::{Major, Operand};
use super::refuse::Refusal;
use super::shared;
use crate::diagnostics::Span;
use crate::layout::Axis;
use crate::scheduled::ir::*;
use crate::target::Target;
use crate::tile::ir as t1;

/// The fused module of one variant.
pub fn build(
    kernel: &t1::Kernel,
    c: &Contraction,
    knobs: &Knobs,
    p: Problem,
    variant: Variant,
    target: Target,
) -> Result<Module, Refusal> {
    let Problem { bm, bn, bk, .. } = p;
    let (wm, wn) = knobs.warps_for(variant, p);
    let tiling = Tiling { bm, bn, bk, wm, wn, same: 1, atom: p.atom, interleave: c.b.major == Major::K };
    let role = RoleId(0);
    let warps = wm * wn;
    let math = Role {
        name: "math".into(),
        instances: 1,
        warps,
        registers: items::register_cap(warps, knobs.occupancy(), target),
        active: Active::All,
    };
    let mut module = Module {
        raster: Raster { group: knobs.raster, pair: pair(kernel, c) },
        dispatch: knobs.dispatch,
        occupancy: Some(knobs.occupancy()),
        evict: knobs.items.evict(),
        ..Module::new(&kernel.name, variant, math)
    };
    // Each column that a thread copies across k keeps a predicate through the loop, and a thread has seven.
    let columns = if c.a.major == Major::Outer { 2 } else { 4 };
    let mut stage = |name: &str, operand: &Operand, is_a: bool, columns: u32| {
        knobs.items.check_packed(kernel, operand)?;
        if operand.packed {
            return shared::packed_buffer(kernel, &mut module, name, operand, &tiling, is_a, knobs.stages);
        }
        let via = knobs.items.via(operand.tensor);
        shared::buffer(
            kernel,
            &mut module,
            name,
            operand,
            c.k,
            c.k,
            &tiling,
            is_a,
            knobs.stages,
            columns,
            variant,
            via,
        )
    };
    let a = stage("A", &c.a, true, 4)?;
    let b = stage("B", &c.b, false, columns)?;
    let mut c = c.clone();
    for (operand, staged) in [(&mut c.a, &a), (&mut c.b, &b)] {
        if let [(dim, v)] = operand.gather[..] {
            let layout = staged.map.reduce(Axis(1)).map_err(|e| shared::internal(kernel.span, e))?;
            let (with_rows, rows) = general::rows(kernel, v, operand.outer, &layout, module)?;
            (module, operand.ix[dim].tile) = (with_rows, Some(rows));
        }
    }
    let c = &c;
    let chan = ChanId(0);
    let bytes = module.buffers.iter().map(|b| b.slot_bytes).sum();
    module.channels.push(Channel {
        name: "ab".into(),
        bufs: [&a, &b].into_iter().flat_map(|s| std::iter::once(s).chain(&s.also)).map(|s| s.buf).collect(),
        slots: knobs.stages,
        from: role,
        to: vec![role],
        bytes,
    });
    let rolled = knobs.rolls(variant, p);
    let mut p = Pipeline { kernel, c, tiling, chan, role, knobs, rolled, module, ops: Vec::new() };
    let value = p.run(&a, &b)?;
    general::after_contraction(kernel, c, value, &tiling, p.module, target)
}

/// The grid variables that the product's ranges are of.
fn pair(kernel: &t1::Kernel, c: &Contraction) -> Option<(t1::GridId, t1::GridId)> {
    match (kernel.axis(c.m).kind, kernel.axis(c.n).kind) {
        (t1::AxisKind::Grid(m), t1::AxisKind::Grid(n)) if m.0 < n.0 => Some((m, n)),
        (t1::AxisKind::Grid(m), t1::AxisKind::Grid(n)) => Some((n, m)),
        _ => None,
    }
}

struct Pipeline<'a> {
    kernel: &'a t1::Kernel,
    c: &'a Contraction,
    tiling: Tiling,
    chan: ChanId,
    role: RoleId,
    knobs: &'a Knobs,
    /// Copies are loops: see [`Knobs::rolls`].
    rolled: bool,
    module: Module,
    ops: Vec<Node>,
}

impl Pipeline<'_> {
    fn op(&mut self, kind: OpKind, result: Option<ValId>, stage: u32, order: u32, span: Span) {
        let op = Op { role: self.role, kind, result, at: Some(At { stage, order }), iter: Iter::None, span };
        self.ops.push(Node::Op(op));
    }

    fn tile(
        &mut self,
        elem: t1::ElemType,
        axes: Vec<t1::AxisId>,
        layout: crate::layout::Layout,
        acc: bool,
        name: String,
    ) -> ValId {
        self.module.new_value(ValKind::Tile { elem, axes, layout, acc }, name)
    }

    /// Appends the loop; gives the product's register tile after it.
    fn run(&mut self, a: &shared::Staged, b: &shared::Staged) -> Result<ValId, Refusal> {
        let (c, l) = (self.c, self.kernel.loop_(self.c.loop_id));
        let t = self.tiling;
        let (last, slices) = (self.knobs.stages - 1, t.bk / t.atom.k());
        let acc_layout = t.accumulator();
        let acc_tile =
            |p: &mut Self, name: String| p.tile(t.atom.acc(), vec![c.m, c.n], acc_layout.clone(), true, name);
        let span = l.span;
        let fresh = |p: &mut Self, name: String, init: f64| {
            let v = acc_tile(p, name);
            p.straight(OpKind::AccNew { init }, v, span);
            v
        };
        let promote = self.knobs.promote;
        // What is added up elsewhere begins there.
        let start = if promote.is_some() { 0.0 } else { c.init };
        let init = fresh(self, format!("{}.0", c.name), start);
        let total_init = promote.map(|_| fresh(self, format!("{}.total.0", c.name), c.init));
        let param = acc_tile(self, c.name.clone());

        // Order of the ops of a step: 0 fragments of slice 1, 1 copies, then slice by slice.
        let slot = self.module.new_value(ValKind::Slot(self.chan), "s");
        self.op(OpKind::Acquire { chan: self.chan }, Some(slot), 0, 1, span);
        let mut tokens: Vec<ValId> = Vec::new();
        for (staged, operand, name) in [(a, &c.a, "ta"), (b, &c.b, "tb")] {
            tokens.push(self.copy(staged, operand, slot, name));
            for (staged, (_, other)) in staged.also.iter().zip(&operand.also) {
                tokens.push(self.copy(staged, other, slot, &format!("{name}.{}", other.name)));
            }
        }
        self.op(OpKind::Commit { chan: self.chan, slot, after: tokens }, None, 0, 1, span);

        let filled = self.module.new_value(ValKind::Slot(self.chan), "r");
        // With a single slice the next step's fragments may only come after this step's matrix instructions. Without overlap a step
        // loads its own first fragments.
        let (first_stage, first_order) =
            if self.knobs.overlap { (last - 1, (2 * slices - 1).max(3)) } else { (last, 0) };
        self.op(OpKind::Wait { chan: self.chan }, Some(filled), first_stage, first_order, span);
        let mut acc = param;
        // What is computed is whole: its loads come first in the step, and each part is computed where it is multiplied.
        let whole_a = self.compute(a, &c.a, filled, true, last)?;
        let whole_b = self.compute(b, &c.b, filled, false, last)?;
        let mut fragments = Vec::new();
        for kk in 0..slices {
            let (stage, order) = if kk == 0 { (first_stage, first_order) } else { (last, 2 * (kk - 1)) };
            let mut part = |staged, operand, whole, is_a| match whole {
                Some(whole) => (whole, kk * t.atom.k()),
                None => (self.load(staged, operand, filled, kk, is_a, stage, order), 0),
            };
            let fa = part(a, &c.a, whole_a, true);
            let fb = part(b, &c.b, whole_b, false);
            fragments.push((fa, fb));
        }
        for (kk, (fa, fb)) in (0u32..).zip(fragments) {
            let next = acc_tile(self, format!("{}.k{kk}", c.name));
            let kind = OpKind::Mma { atom: t.atom, a: fa.0, b: fb.0, acc, at: (fa.1, fb.1) };
            // The copies (order 1) go out before the first matrix instructions; the last slice's come after the next step's fragments.
            let order = match kk {
                0 => 2,
                _ if kk + 1 == slices => 2 * slices,
                _ => 2 * kk + 1,
            };
            self.op(kind, Some(next), last, order, self.kernel.loop_(c.loop_id).span);
            acc = next;
        }
        self.op(OpKind::Release { chan: self.chan, slot: filled }, None, last, (2 * slices).max(3), span);
        let mut carry = Vec::new();
        if let (Some(every), Some(init)) = (promote, total_init) {
            let (param, next, result) = (
                acc_tile(self, format!("{}.total", c.name)),
                acc_tile(self, format!("{}.total.next", c.name)),
                acc_tile(self, format!("{}.total.end", c.name)),
            );
            let order = (2 * slices).max(3);
            self.op(OpKind::Promote { total: param, acc, every }, Some(next), last, order, span);
            let renewed = acc_tile(self, format!("{}.next", c.name));
            self.op(OpKind::AccRenew { acc, every }, Some(renewed), last, order, span);
            acc = renewed;
            carry.push(Carry { init, param, next, result });
        }
        let result = acc_tile(self, format!("{}.end", c.name));
        carry.push(Carry { init, param, next: acc, result });
        let body = std::mem::take(&mut self.ops);
        self.module.body.push(Node::Loop(Loop {
            name: l.name.clone(),
            over: Over::Tiles(c.k),
            lo: l.lo,
            hi: l.hi,
            by: t.bk,
            rev: false,
            carry: carry.clone(),
            body,
            ahead: 0,
            unroll: self.knobs.unroll,
            full: None,
        }));
        let mut value = None;
        for Carry { result, .. } in carry {
            let value_of =
                |p: &mut Self, name| p.tile(t.atom.acc(), vec![c.m, c.n], acc_layout.clone(), false, name);
            let part = value_of(self, self.module.value(result).name.replace("end", "value"));
            self.straight(OpKind::AccGet { acc: result }, part, span);
            // What came after the last promotion is the rest.
            value = Some(match value {
                None => part,
                Some(x) => {
                    let both = value_of(self, format!("{}.sum", c.name));
                    self.straight(OpKind::Combine { op: t1::ReduceOp::Sum, x, y: part }, both, span);
                    both
                }
            });
        }
        value.ok_or_else(|| Refusal::construct(span, "a loop that carries nothing"))
    }

    /// An op outside the loop.
    fn straight(&mut self, kind: OpKind, result: ValId, span: Span) {
        let op = Op { role: self.role, kind, result: Some(result), at: None, iter: Iter::None, span };
        self.module.body.push(Node::Op(op));
    }

    fn copy(&mut self, staged: &shared::Staged, operand: &Operand, slot: ValId, name: &str) -> ValId {
        let class = match staged.plan {
            CopyPlan::CpAsync { .. } => TokClass::CpAsync,
            CopyPlan::LoadStore { .. } => TokClass::Immediate,
        };
        let token = self.module.new_value(ValKind::Tok(class), name);
        if operand.packed {
            let (buf, tensor, ix) = (staged.buf, operand.tensor, operand.ix.clone());
            let kind = OpKind::CopyPacked { slot, buf, tensor, ix, plan: staged.plan };
            self.op(kind, Some(token), 0, 1, self.kernel.tensor(operand.tensor).span);
            return token;
        }
        let kind = OpKind::CopyIn {
            slot,
            buf: staged.buf,
            tensor: operand.tensor,
            ix: operand.ix.clone(),
            plan: staged.plan,
            map: staged.map.clone(),
            rolled: self.rolled,
            negative: None,
        };
        self.op(kind, Some(token), 0, 1, self.kernel.tensor(operand.tensor).span);
        token
    }

    /// A computed operand: all of its step from shared memory, and the ops on that.
    fn compute(
        &mut self,
        staged: &shared::Staged,
        operand: &Operand,
        slot: ValId,
        is_a: bool,
        stage: u32,
    ) -> Result<Option<ValId>, Refusal> {
        let Some(computed) = operand.computed else { return Ok(None) };
        let (outer, k, tiling) = (operand.outer, self.c.k, self.tiling);
        let layouts = Layouts::Fragment { tiling: &tiling, is_a, outer, k };
        let axes = self.kernel.ty(computed.staged).axes.clone();
        let Some(layout) = layouts.layout(&axes) else {
            return Err(Refusal::construct(
                self.kernel.tensor(operand.tensor).span,
                "an operand on other axes",
            ));
        };
        let whole = self.tile(operand.elem, axes, layout, false, operand.name.clone());
        let kind = match operand.packed {
            true => OpKind::LoadPacked { slot, buf: staged.buf, tensor: operand.tensor },
            false => OpKind::Load { slot, buf: staged.buf, at: 0, size: tiling.bk, atom: staged.atom },
        };
        self.op(kind, Some(whole), stage, 0, self.kernel.tensor(operand.tensor).span);
        let mut all = vec![(computed.staged, whole)];
        for (staged, (read, other)) in staged.also.iter().zip(&operand.also) {
            let (axes, span) = (self.kernel.ty(*read).axes.clone(), self.kernel.tensor(other.tensor).span);
            let Some(layout) = layouts.layout(&axes) else {
                return Err(Refusal::construct(span, "an operand on other axes"));
            };
            let tile = self.tile(other.elem, axes, layout, false, other.name.clone());
            let kind = OpKind::LoadPacked { slot, buf: staged.buf, tensor: other.tensor };
            self.op(kind, Some(tile), stage, 0, span);
            all.push((*read, tile));
        }
        let (ops, value) = general::operand(self.kernel, computed, &all, layouts, &mut self.module)?;
        for op in ops {
            self.op(op.kind, op.result, stage, 0, op.span);
        }
        Ok(Some(value))
    }

    #[allow(clippy::too_many_arguments)]
    fn load(
        &mut self,
        staged: &shared::Staged,
        operand: &Operand,
        slot: ValId,
        kk: u32,
        is_a: bool,
        stage: u32,
        order: u32,
    ) -> ValId {
        let layout = if is_a { self.tiling.a_fragment() } else { self.tiling.b_fragment() };
        let name = format!("{}{kk}", if is_a { "fa" } else { "fb" });
        let value = self.tile(operand.value, vec![operand.outer, self.c.k], layout, false, name);
        let kind = OpKind::Load {
            slot,
            buf: staged.buf,
            at: kk * self.tiling.atom.k(),
            size: self.tiling.atom.k(),
            atom: staged.atom,
        };
        self.op(kind, Some(value), stage, order, self.kernel.loop_(self.c.loop_id).span);
        value
    }
}
