//! What follows the contraction: elementwise ops in the accumulator's layout, reads into it, and the writes.
//!
//! Every tile value after the loop takes the accumulator's layout, restricted to its own axes: `bias[j]` lives on j alone, so
//! registers and lanes that differ in i only hold the same element. No conversion is ever needed.

use super::access::indices;
use super::contraction::Contraction;
use super::fragments::Tiling;
use super::refuse::Refusal;
use crate::scheduled::ir::*;
use crate::tile::ir as t1;
use rustc_hash::FxHashMap;

/// Appends the ops of everything that the kernel writes.
pub fn build(
    kernel: &t1::Kernel,
    c: &Contraction,
    tiling: &Tiling,
    variant: Variant,
    role: RoleId,
    module: &mut Module,
) -> Result<(), Refusal> {
    let get = module.body.iter().rev().find_map(|n| match n {
        Node::Op(Op { kind: OpKind::AccGet { .. }, result: Some(r), .. }) => Some(*r),
        _ => None,
    });
    let mut values = FxHashMap::default();
    values.extend(get.map(|g| (c.result, g)));
    let mut e = Epilogue { kernel, c, tiling, variant, role, module, values };
    for stmt in &kernel.body.stmts {
        if let t1::Stmt::Write(w) = stmt {
            e.write(w)?;
        }
    }
    Ok(())
}

struct Epilogue<'a> {
    kernel: &'a t1::Kernel,
    c: &'a Contraction,
    tiling: &'a Tiling,
    variant: Variant,
    role: RoleId,
    module: &'a mut Module,
    /// The register tile of every T1 tile value lowered so far.
    values: FxHashMap<t1::ValueId, ValId>,
}

impl Epilogue<'_> {
    fn push(&mut self, kind: OpKind, result: Option<ValId>, span: crate::diagnostics::Span) {
        self.module.body.push(Node::Op(Op {
            role: self.role,
            kind,
            result,
            at: None,
            iter: Iter::None,
            span,
        }));
    }

    fn write(&mut self, w: &t1::Write) -> Result<(), Refusal> {
        if w.when.is_some() {
            return Err(Refusal::construct(w.span, "a write with `when`"));
        }
        if !w.once_over.is_empty() {
            return Err(Refusal::construct(w.span, "a write that some grid variable does not reach"));
        }
        let ix = indices(self.kernel, w.tensor, &w.ix, w.span)?;
        let axes: Vec<t1::AxisId> = ix.iter().filter_map(|i| i.axis).collect();
        if axes.len() != 2 || !axes.contains(&self.c.m) || !axes.contains(&self.c.n) {
            return Err(Refusal::construct(w.span, "a write of something else than the whole result tile"));
        }
        super::cover::check(self.kernel, w.tensor, &ix, w.span)?;
        let value = self.value(w.value)?;
        let vec = self.vector(w.tensor, &ix);
        let (when, once) = (None, Vec::new());
        self.push(OpKind::WriteReg { tensor: w.tensor, ix, value, vec, when, once }, None, w.span);
        Ok(())
    }

    /// Elements per access: what the variant's alignment allows, if the last dimension is the contiguous one of the layout.
    fn vector(&self, tensor: t1::TensorId, ix: &[Index]) -> u32 {
        let bytes = self.kernel.tensor(tensor).elem.bits() / 8;
        let last_is_n = ix.last().is_some_and(|i| i.axis == Some(self.c.n) && i.offset.is_none());
        if last_is_n && bytes > 0 { (self.variant.alignment(bytes) / bytes).clamp(1, 8) } else { 1 }
    }

    fn value(&mut self, v: t1::ValueId) -> Result<ValId, Refusal> {
        if let Some(done) = self.values.get(&v) {
            return Ok(*done);
        }
        let value = self.kernel.value(v);
        let span = value.span;
        let kind = match &value.op {
            t1::Op::Reorder(x) => {
                let id = self.value(*x)?;
                self.values.insert(v, id);
                return Ok(id);
            }
            t1::Op::Read { tensor, ix } if !value.ty.is_scalar() => {
                let ix = indices(self.kernel, *tensor, ix, span)?;
                super::cover::check(self.kernel, *tensor, &ix, span)?;
                let vec = self.vector(*tensor, &ix);
                OpKind::ReadReg { tensor: *tensor, ix, vec, eager: false }
            }
            op if op.is_elementwise() => {
                super::elementwise::check(self.kernel, v)?;
                let mut args = Vec::new();
                for x in op.operands() {
                    if !super::access::launch_scalar(self.kernel, x) {
                        args.push(self.value(x)?);
                    }
                }
                OpKind::Elementwise { value: v, args }
            }
            t1::Op::Iota(_) => OpKind::Elementwise { value: v, args: Vec::new() },
            other => return Err(Refusal::construct(span, describe(other))),
        };
        if !value.ty.axes.iter().all(|a| *a == self.c.m || *a == self.c.n) {
            return Err(Refusal::construct(span, "a tile on axes other than the result's after the loop"));
        }
        let layout = self.tiling.accumulator_on(value.ty.axes.iter().map(|a| *a == self.c.m));
        let name = value.name.clone().unwrap_or_else(|| format!("v{}", v.0));
        let kind_of = ValKind::Tile { elem: value.ty.elem, axes: value.ty.axes.clone(), layout, acc: false };
        let id = self.module.new_value(kind_of, name);
        self.push(kind, Some(id), span);
        self.values.insert(v, id);
        Ok(id)
    }
}

/// What an op is called in a refusal.
pub fn describe(op: &t1::Op) -> &'static str {
    match op {
        t1::Op::Reduce { .. } => "a reduction of a tile",
        t1::Op::Scan { .. } => "a scan",
        t1::Op::TopK { .. } | t1::Op::Sort { .. } => "sorting",
        t1::Op::Mma { .. } => "`@` outside a loop over its contracted range",
        t1::Op::GridReduce { .. } => "a reduction over grid instances",
        t1::Op::TileRead { .. } => "a subscripted tile",
        t1::Op::LoopResult(..) => "the second result of a loop",
        _ => "this value",
    }
}
