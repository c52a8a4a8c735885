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

use super::access::{self, launch_scalar};
use super::contraction::Contraction;
use super::cover;
use super::distribution::Distribution;
use super::elementwise;
use super::fragments::Tiling;
use super::knobs;
use super::layouts::Layouts;
use super::refuse::Refusal;
use crate::artifact::{ChosenBy, ScheduleItem};
use crate::diagnostics::Span;
use crate::layout::{Axis, SharedLayout};
use crate::scheduled::ir::*;
use crate::target::Target;
use crate::tile::ir as t1;
use rustc_hash::FxHashMap;

/// What a schedule decides for such a kernel.
#[derive(Clone, Debug)]
pub struct Knobs {
    pub warps: Option<u32>,
    pub by: ChosenBy,
}

/// Reads the schedule: `warps = N`.
pub fn read_schedule(kernel: &t1::Kernel, target: Target) -> Result<Knobs, Refusal> {
    let mut knobs = Knobs { warps: None, by: ChosenBy::Model };
    for item in &kernel.schedule {
        let path = item.path.join(".");
        let warps = match (&path[..], &item.value) {
            ("warps", Some(t1::ScheduleValue::Int(n))) => u32::try_from(*n).ok(),
            ("warps", Some(t1::ScheduleValue::Tuple(v))) => match v[..] {
                [t1::ScheduleValue::Int(a), t1::ScheduleValue::Int(b)] => {
                    u32::try_from(a.saturating_mul(b)).ok()
                }
                _ => None,
            },
            ("warps", _) => None,
            _ => {
                return Err(Refusal::schedule(
                    item.span,
                    format!("the schedule item `{path}` has no meaning for `{}` on {target}", kernel.name),
                    "what can be set here: a tune parameter, `warps = 4`",
                ));
            }
        };
        let Some(warps) = warps.filter(|n| n.is_power_of_two() && *n <= 32) else {
            return Err(Refusal::schedule(
                item.span,
                "`warps` takes a power of two, at most 32",
                "for example `warps = 4`",
            ));
        };
        knobs = Knobs { warps: Some(warps), by: knobs::chosen_by(item.from) };
    }
    Ok(knobs)
}

/// The schedule as `--emit schedule` prints it.
pub fn schedule_items(warps: u32, knobs: &Knobs) -> Vec<ScheduleItem> {
    vec![ScheduleItem { path: "warps".into(), value: warps.to_string(), chosen_by: knobs.by }]
}

/// Refuses tiles that the registers cannot hold: two of the largest, and what addresses and predicates take.
pub fn check_registers(
    kernel: &t1::Kernel,
    distribution: &Distribution,
    target: Target,
) -> Result<(), Refusal> {
    const REST: u32 = 40;
    let largest = distribution.largest_tile();
    let threads = distribution.warps * 32;
    let cap = target.register_limit().min(target.registers_per_sm() / threads / 8 * 8);
    if 2 * largest + REST <= cap {
        return Ok(());
    }
    Err(Refusal::schedule(
        kernel.span,
        format!(
            "this schedule wants about {} registers per thread; {threads} threads of {target} have {cap}",
            2 * largest + REST
        ),
        "a smaller tile, or another number of warps",
    )
    .note(format!("{largest} of them hold the largest tile, and two tiles live at a time")))
}

/// The fused module of one variant.
pub fn build(
    kernel: &t1::Kernel,
    distribution: &Distribution,
    variant: Variant,
    target: Target,
) -> Result<Module, Refusal> {
    let warps = distribution.warps;
    let role = Role {
        name: "all".into(),
        instances: 1,
        warps,
        registers: target.register_limit().min(target.registers_per_sm() / (warps * 32) / 8 * 8),
        active: Active::All,
    };
    let mut general = General {
        kernel,
        layouts: Layouts::Digits(distribution),
        variant,
        module: Module {
            name: kernel.name.clone(),
            variant,
            form: Form::Fused,
            roles: vec![role],
            buffers: Vec::new(),
            channels: Vec::new(),
            values: Vec::new(),
            body: Vec::new(),
            raster: Raster { group: 1 },
            shared_bytes: 0,
        },
        open: vec![Vec::new()],
        values: FxHashMap::default(),
        written: Vec::new(),
    };
    general.block(&kernel.body)?;
    general.finish(target)
}

/// Appends what follows a contraction: `value` is its result's register tile.
pub fn after_contraction(
    kernel: &t1::Kernel,
    c: &Contraction,
    value: ValId,
    tiling: &Tiling,
    mut module: Module,
    target: Target,
) -> Result<Module, Refusal> {
    let (variant, done) = (module.variant, std::mem::take(&mut module.body));
    let mut general = General {
        kernel,
        layouts: Layouts::Accumulator { tiling, m: c.m, n: c.n },
        variant,
        module,
        open: vec![done],
        values: FxHashMap::from_iter([(c.result, value)]),
        written: Vec::new(),
    };
    // What stands before the loop is lowered where it is used.
    let after = kernel.body.stmts.iter().skip_while(|s| !matches!(s, t1::Stmt::For(id) if *id == c.loop_id));
    general.statements(after.skip(1))?;
    general.finish(target)
}

struct General<'a> {
    kernel: &'a t1::Kernel,
    layouts: Layouts<'a>,
    variant: Variant,
    module: Module,
    /// The lists of ops being written, innermost last.
    open: Vec<Vec<Node>>,
    values: FxHashMap<t1::ValueId, ValId>,
    /// Tensors written so far: what is read from them now may come from another thread.
    written: Vec<t1::TensorId>,
}

impl General<'_> {
    fn finish(mut self, target: Target) -> Result<Module, Refusal> {
        self.module.body = self.open.pop().unwrap_or_default();
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

    fn push(&mut self, kind: OpKind, result: Option<ValId>, span: Span) {
        let op = Op { role: RoleId(0), kind, result, at: None, iter: Iter::None, span };
        if let Some(list) = self.open.last_mut() {
            list.push(Node::Op(op));
        }
    }

    /// A fresh register tile on these axes.
    fn tile(
        &mut self,
        elem: t1::ElemType,
        axes: &[t1::AxisId],
        name: impl Into<String>,
        span: Span,
    ) -> Result<ValId, Refusal> {
        let Some(layout) = self.layouts.layout(axes) else {
            return Err(Refusal::construct(span, "a tile on axes other than the product's after the loop"));
        };
        Ok(self.module.new_value(ValKind::Tile { elem, axes: axes.to_vec(), layout, acc: false }, name))
    }

    fn block(&mut self, block: &t1::Block) -> Result<(), Refusal> {
        self.statements(block.stmts.iter())
    }

    fn statements<'s>(&mut self, stmts: impl Iterator<Item = &'s t1::Stmt>) -> Result<(), Refusal> {
        for stmt in stmts {
            match stmt {
                t1::Stmt::Let(v) => {
                    if !launch_scalar(self.kernel, *v) && !self.only_subscript(*v) {
                        self.value(*v)?;
                    }
                }
                t1::Stmt::Write(w) => self.write(w)?,
                t1::Stmt::For(id) => self.for_(*id)?,
                t1::Stmt::If(id) => {
                    let span = self.kernel.if_(*id).span;
                    return Err(Refusal::construct(span, "`if` on a value known at launch"));
                }
                t1::Stmt::Atomic(a) => self.atomic(a)?,
            }
        }
        Ok(())
    }

    /// Coordinates that subscripts take directly need no registers of their own; where one is used otherwise it is made then.
    fn only_subscript(&self, v: t1::ValueId) -> bool {
        matches!(self.kernel.value(v).op, t1::Op::Iota(_))
    }

    fn for_(&mut self, id: t1::LoopId) -> Result<(), Refusal> {
        let l = self.kernel.loop_(id);
        let (over, by) = match l.axis {
            Some(axis) => (Over::Tiles(axis), self.kernel.axis(axis).extent),
            None => (Over::Coordinates(id), 1),
        };
        if l.rev {
            return Err(Refusal::construct(l.span, "a loop over `rev(…)`"));
        }
        if l.when.is_some() {
            return Err(Refusal::construct(l.span, "a loop with `when`"));
        }
        for bound in [l.lo, l.hi] {
            if !launch_scalar(self.kernel, bound) {
                return Err(Refusal::construct(l.span, "a loop whose bounds are data"));
            }
        }
        let mut carry = Vec::new();
        for c in &l.carried {
            let init = self.tile_of(c.init, c.result)?;
            let ty = self.kernel.ty(c.result).clone();
            let param = self.tile(ty.elem, &ty.axes, format!("{}.in", c.name), c.span)?;
            self.values.insert(c.param, param);
            carry.push((init, param));
        }
        self.open.push(Vec::new());
        self.block(&l.body)?;
        let mut done = Vec::new();
        for (c, (init, param)) in l.carried.iter().zip(carry) {
            let next = self.tile_of(c.next, c.result)?;
            let ty = self.kernel.ty(c.result).clone();
            let result = self.tile(ty.elem, &ty.axes, c.name.clone(), c.span)?;
            done.push((c.result, Carry { init, param, next, result }));
        }
        let body = self.open.pop().unwrap_or_default();
        let carry = done.iter().map(|(_, c)| *c).collect();
        self.values.extend(done.iter().map(|(v, c)| (*v, c.result)));
        let node = Node::Loop(Loop {
            name: l.name.clone(),
            over,
            lo: l.lo,
            hi: l.hi,
            by,
            carry,
            body,
            ahead: 0,
            unroll: 1,
        });
        if let Some(list) = self.open.last_mut() {
            list.push(node);
        }
        Ok(())
    }

    /// The value in the layout of `like`'s axes.
    fn tile_of(&mut self, v: t1::ValueId, like: t1::ValueId) -> Result<ValId, Refusal> {
        let id = self.value(v)?;
        let (have, want) = (self.kernel.ty(v).axes.clone(), self.kernel.ty(like).clone());
        if have == want.axes {
            return Ok(id);
        }
        let name = format!("{}.spread", self.module.value(id).name);
        let spread = self.tile(want.elem, &want.axes, name, self.kernel.value(v).span)?;
        self.push(OpKind::Spread { x: id }, Some(spread), self.kernel.value(v).span);
        Ok(spread)
    }

    fn subscripts(
        &mut self,
        tensor: t1::TensorId,
        ix: &[t1::ValueId],
        span: Span,
    ) -> Result<Vec<Index>, Refusal> {
        cover::strides(self.kernel, tensor, span)?;
        let mut out = Vec::new();
        for (dim, &v) in ix.iter().enumerate() {
            let mut index = match access::index(self.kernel, v) {
                Some(index) => index,
                None => Index { tile: Some(self.value(v)?), ..Index::default() },
            };
            index.checked = !cover::inside(self.kernel, tensor, dim, &index);
            out.push(index);
        }
        Ok(out)
    }

    /// Elements per access that the variant's alignment allows, where the last subscript is a range from an aligned start.
    fn vector(&self, tensor: t1::TensorId, ix: &[Index]) -> u32 {
        let bytes = self.kernel.tensor(tensor).elem.bits() / 8;
        match ix.last() {
            Some(Index { axis: Some(_), offset: None, checked: false, .. }) if bytes > 0 => {
                (self.variant.alignment(bytes) / bytes).max(1)
            }
            _ => 1,
        }
    }

    fn value(&mut self, v: t1::ValueId) -> Result<ValId, Refusal> {
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
                if self.written.contains(tensor) {
                    let name = &self.kernel.tensor(*tensor).name;
                    return Err(Refusal::construct(span, format!("reading `{name}` after writing it")));
                }
                let ix = self.subscripts(*tensor, ix, span)?;
                let vec = self.vector(*tensor, &ix);
                let eager = self.layouts.eager(&value.ty.axes);
                OpKind::ReadReg { tensor: *tensor, ix, vec, eager }
            }
            t1::Op::Reduce { op, x, axes } => return self.reduce(v, *op, *x, axes, name),
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
        if matches!(op, t1::ReduceOp::ArgMax | t1::ReduceOp::ArgMin) {
            return Err(Refusal::construct(span, "`argmax` and `argmin`"));
        }
        for elem in [value.ty.elem, self.kernel.ty(x).elem] {
            if !elementwise::holds(elem) {
                return Err(Refusal::construct(span, format!("a reduction of {elem}")));
            }
        }
        let x = self.value(x)?;
        let ty = value.ty.clone();
        let warps = self.layouts.warp_mask(axes);
        let kind = OpKind::Reduce { x, op, axes: axes.to_vec() };
        if warps == 0 {
            let id = self.tile(ty.elem, &ty.axes, name, span)?;
            self.push(kind, Some(id), span);
            self.values.insert(v, id);
            return Ok(id);
        }
        let part = self.tile(ty.elem, &ty.axes, format!("{name}.part"), span)?;
        self.push(kind, Some(part), span);
        let buf = self.partials(&name, part, warps.count_ones(), span)?;
        self.push(OpKind::PutPartials { buf, value: part, warps }, None, span);
        let id = self.tile(ty.elem, &ty.axes, name, span)?;
        self.push(OpKind::GetPartials { buf, op, warps }, Some(id), span);
        self.values.insert(v, id);
        Ok(id)
    }

    /// A buffer of 32-bit partial results: [warps, positions of the result tile].
    fn partials(&mut self, name: &str, like: ValId, warp_bits: u32, span: Span) -> Result<BufId, Refusal> {
        let positions: u32 =
            self.module.layout(like).shape().iter().map(|(_, n)| n.next_power_of_two()).product();
        let shape = vec![1 << warp_bits, positions];
        let layout = SharedLayout::row_major(&[(Axis(0), shape[0]), (Axis(1), shape[1])], 32)
            .map_err(|e| Refusal::construct(span, format!("partial results of this shape ({e})")))?;
        let slot_bytes = layout.bytes();
        let base = self.module.shared_bytes.next_multiple_of(16);
        self.module.shared_bytes = base + slot_bytes;
        self.module.buffers.push(Buffer {
            name: format!("{name}.partials"),
            elem: t1::ElemType::Uint(32),
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

    /// A value on all axes of the place that it goes to.
    fn on_place(&mut self, v: t1::ValueId, ix: &[t1::ValueId], span: Span) -> Result<ValId, Refusal> {
        let axes = self.kernel.subscript_axes(ix);
        let value = self.value(v)?;
        let ty = self.kernel.ty(v).clone();
        if ty.axes == axes {
            return Ok(value);
        }
        let name = format!("{}.spread", self.module.value(value).name);
        let spread = self.tile(ty.elem, &axes, name, span)?;
        self.push(OpKind::Spread { x: value }, Some(spread), span);
        Ok(spread)
    }

    fn atomic(&mut self, a: &t1::Atomic) -> Result<(), Refusal> {
        let elem = self.kernel.tensor(a.tensor).elem;
        if a.old.is_some() {
            return Err(Refusal::construct(a.span, "the old value of an `atomic`"));
        }
        let known = match elem {
            t1::ElemType::Int(32) | t1::ElemType::Uint(32) => true,
            t1::ElemType::F32 => a.op == t1::Combine::Add,
            _ => false,
        };
        if !known {
            return Err(Refusal::construct(a.span, format!("this `atomic` on {elem}")));
        }
        let ix = self.subscripts(a.tensor, &a.ix, a.span)?;
        let value = self.on_place(a.value, &a.ix, a.span)?;
        let when = match a.when {
            Some(c) => Some(self.value(c)?),
            None => None,
        };
        self.push(OpKind::Atomic { op: a.op, tensor: a.tensor, ix, value, when }, None, a.span);
        self.written.push(a.tensor);
        Ok(())
    }

    fn write(&mut self, w: &t1::Write) -> Result<(), Refusal> {
        let ix = self.subscripts(w.tensor, &w.ix, w.span)?;
        let value = self.on_place(w.value, &w.ix, w.span)?;
        let when = match w.when {
            Some(c) => Some(self.value(c)?),
            None => None,
        };
        let vec = if when.is_some() { 1 } else { self.vector(w.tensor, &ix) };
        let once = w.once_over.clone();
        self.push(OpKind::WriteReg { tensor: w.tensor, ix, value, vec, when, once }, None, w.span);
        self.written.push(w.tensor);
        Ok(())
    }
}
