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

use super::access::{self, launch_scalar, structural};
use super::across_grid;
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
            raster: Raster { group: 1, pair: last_two(kernel) },
            shared_bytes: 0,
            uniforms: Vec::new(),
            work: Vec::new(),
        },
        open: vec![Vec::new()],
        values: FxHashMap::default(),
        written: Vec::new(),
    };
    general.outside()?;
    general.instance()?;
    general.finish(target)
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
    general.body(after.skip(1))?;
    general.finish(target)
}

/// A module being built.
pub struct General<'a> {
    pub(super) kernel: &'a t1::Kernel,
    layouts: Layouts<'a>,
    variant: Variant,
    pub(super) module: Module,
    /// The lists of ops being written, innermost last.
    pub(super) open: Vec<Vec<Node>>,
    pub(super) values: FxHashMap<t1::ValueId, ValId>,
    /// Tensors written so far: what is read from them now may come from another thread.
    written: Vec<t1::TensorId>,
}

impl General<'_> {
    /// A kernel's outermost statements.
    pub(super) fn body<'s>(&mut self, stmts: impl Iterator<Item = &'s t1::Stmt>) -> Result<(), Refusal> {
        let stmts: Vec<&t1::Stmt> = stmts.collect();
        let cut = across_grid::first(self.kernel, &stmts).unwrap_or(stmts.len());
        self.statements(stmts[..cut].iter().copied())?;
        self.across_grid(&stmts[cut..])
    }

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
            return Err(Refusal::construct(span, "a tile on axes other than the product's after the loop"));
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
                    let elsewhere = launch_scalar(self.kernel, *v)
                        && (!coordinate || structural(self.kernel, *v))
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
            if let Some(o) = index.offset {
                self.uniform(o)?;
            }
            if let Some(a) = index.axis {
                self.uniform(self.kernel.axis(a).lo)?;
            }
            index.checked = !cover::inside(self.kernel, tensor, dim, &index);
            out.push(index);
        }
        Ok(out)
    }

    /// Elements per access that the variant's alignment allows, where the last subscript is a range from an aligned start.
    fn vector(&self, tensor: t1::TensorId, ix: &[Index]) -> u32 {
        let bytes = self.kernel.tensor(tensor).elem.bits() / 8;
        match ix.last() {
            Some(Index { axis: Some(axis), offset: None, checked: false, .. }) if bytes > 0 => {
                access::vector(self.kernel, tensor, *axis, (self.variant.alignment(bytes) / bytes).max(1))
            }
            _ => 1,
        }
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
        let (x, ty) = (self.value(x)?, value.ty.clone());
        let id = self.reduction(op, x, axes, ty, name, span)?;
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
        let warps = self.layouts.warp_mask(axes);
        let kind = OpKind::Reduce { x, op, axes: axes.to_vec() };
        if warps == 0 {
            let id = self.tile(ty.elem, &ty.axes, name, span)?;
            self.push(kind, Some(id), span);
            return Ok(id);
        }
        let part = self.tile(ty.elem, &ty.axes, format!("{name}.part"), span)?;
        self.push(kind, Some(part), span);
        let buf = self.partials(&name, part, warps.count_ones(), span)?;
        self.push(OpKind::PutPartials { buf, value: part, warps }, None, span);
        let id = self.tile(ty.elem, &ty.axes, name, span)?;
        self.push(OpKind::GetPartials { buf, op, warps }, Some(id), span);
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
        self.spread(value, v, &axes, span)
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

    pub(super) fn write(&mut self, w: &t1::Write) -> Result<(), Refusal> {
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
