//! A product outside a loop becomes a loop over what it contracts: `x[i, :] @ w[j, :].T` with a static row, a low-rank correction behind a
//! product.
//!
//! Copies, rings and fragments are made for loops. T1 to T1, for products among the kernel's outermost statements whose contracted range is static. The
//! range is cut into tiles as long as a copy's rows are, and what the operands compute along it moves into the loop:
//! ```text
//! %1 = read x[i, D] : f16[i, D]          for D over 0..256 by 64 carry %4 = 0 (assoc +=) {
//! %2 = read w[j, D] : f16[j, D]              %1 = read x[i, D] : f16[i, D]    %2 = read w[j, D] : f16[j, D]
//! %3 = %1 @ %2 over D : f32[i, j]            %5 = %1 @ %2 over D : f32[i, j]  %6 = %4 + %5
//!                                            next %6
//!                                        } -> %3
//! ```

use crate::elaborate::renamed;
use crate::tile::ir as t1;
use rustc_hash::FxHashMap;
use t1::{
    Axis, AxisId, AxisKind, Carried, CarryKind, Combine, Const, ElemType, Op, Stmt, TileType, Value, ValueId,
};

/// Coordinates of a step: a line of memory of halves, and what a short range is rounded up to.
const STEP: [u32; 2] = [64, 32];

/// The kernel with such products in loops; `None` where it has none.
pub fn apply(kernel: &t1::Kernel) -> Option<t1::Kernel> {
    let alone: Vec<ValueId> = kernel.body.stmts.iter().filter_map(|s| alone(kernel, s)).collect();
    if alone.is_empty() {
        return None;
    }
    let mut out = kernel.clone();
    for v in alone {
        Wrap { kernel: &mut out }.run(v);
    }
    Some(out)
}

/// A product of tiles that memory holds, over a static range of its own.
fn alone(kernel: &t1::Kernel, stmt: &Stmt) -> Option<ValueId> {
    let Stmt::Let(v) = stmt else { return None };
    let Op::Mma { a, b, contract, .. } = kernel.value(*v).op else { return None };
    let axis = kernel.axis(contract);
    let own = matches!(axis.kind, AxisKind::Let | AxisKind::Dim)
        && kernel.const_int(axis.lo).is_some()
        && kernel.const_int(axis.hi).is_some();
    (own && [a, b].into_iter().all(|x| plain(kernel, x, contract))).then_some(*v)
}

/// Whether what a value computes along an axis can be computed anew, a part at a time.
fn plain(kernel: &t1::Kernel, v: ValueId, axis: AxisId) -> bool {
    let value = kernel.value(v);
    if !value.ty.axes.contains(&axis) {
        return true;
    }
    let simple = match &value.op {
        Op::Read { .. } | Op::Iota(_) | Op::Reorder(_) | Op::Broadcast(_) | Op::Cast(_) => true,
        op => op.is_elementwise(),
    };
    simple && value.op.operands().into_iter().all(|x| plain(kernel, x, axis))
}

struct Wrap<'a> {
    kernel: &'a mut t1::Kernel,
}

impl Wrap<'_> {
    fn run(&mut self, v: ValueId) {
        let product = self.kernel.value(v).clone();
        let Op::Mma { a, b, contract, ref batch } = product.op else { return };
        let old = self.kernel.axis(contract).clone();
        let id = t1::LoopId(self.kernel.loops.len() as u32);
        let index = TileType::scalar(ElemType::Index);
        let var = self.value(index, Op::LoopVar(id), product.span, Some(old.name.clone()));
        let extent = if old.extent > STEP[1] { STEP[0] } else { STEP[1] };
        let axis = AxisId(self.kernel.axes.len() as u32);
        self.kernel.axes.push(Axis { extent, lo: var, kind: AxisKind::Loop(id), ..old.clone() });

        // What the operands are made of along the range.
        let mut body = Vec::new();
        let mut new = FxHashMap::default();
        let (a, b) = (
            self.moved(a, contract, axis, &mut new, &mut body),
            self.moved(b, contract, axis, &mut new, &mut body),
        );
        let op = Op::Mma { a, b, contract: axis, batch: batch.clone() };
        let part = self.value(product.ty.clone(), op, product.span, product.name.clone());
        let param = self.value(product.ty.clone(), Op::LoopParam(id, 0), product.span, None);
        let sum = Op::Binary(t1::BinaryOp::Add, param, part);
        let next = self.value(product.ty.clone(), sum, product.span, product.name.clone());
        body.extend([Stmt::Let(part), Stmt::Let(next)]);

        let zero = match product.ty.elem.is_float() {
            true => Const::Float(0.0),
            false => Const::Int(0),
        };
        let zero = self.value(TileType::scalar(product.ty.elem), Op::Const(zero), product.span, None);
        let init = self.value(product.ty.clone(), Op::Broadcast(zero), product.span, None);
        // The product is what the loop leaves.
        self.kernel.values[v.0 as usize].op = Op::LoopResult(id, 0);
        self.kernel.loops.push(t1::Loop {
            name: old.name.clone(),
            var,
            axis: Some(axis),
            lo: old.lo,
            hi: old.hi,
            rev: false,
            when: None,
            carried: vec![Carried {
                name: product.name.clone().unwrap_or_else(|| old.name.clone()),
                init,
                param,
                next,
                result: v,
                kind: CarryKind::Assoc(Combine::Add),
                span: product.span,
            }],
            body: t1::Block { stmts: body },
            full: None,
            span: product.span,
        });
        let stmts = &mut self.kernel.body.stmts;
        if let Some(at) = stmts.iter().position(|s| matches!(s, Stmt::Let(x) if *x == v)) {
            stmts.splice(at..=at, [Stmt::Let(zero), Stmt::Let(init), Stmt::For(id)]);
        }
        self.tidy(contract);
    }

    fn value(
        &mut self,
        ty: TileType,
        op: Op,
        span: crate::diagnostics::Span,
        name: Option<String>,
    ) -> ValueId {
        self.kernel.values.push(Value { ty, op, span, name });
        ValueId(self.kernel.values.len() as u32 - 1)
    }

    /// The value along the loop's range, computed in its body.
    fn moved(
        &mut self,
        v: ValueId,
        from: AxisId,
        to: AxisId,
        new: &mut FxHashMap<ValueId, ValueId>,
        body: &mut Vec<Stmt>,
    ) -> ValueId {
        let value = self.kernel.value(v).clone();
        if !value.ty.axes.contains(&from) {
            return v;
        }
        if let Some(known) = new.get(&v) {
            return *known;
        }
        let operands: Vec<(ValueId, ValueId)> =
            value.op.operands().into_iter().map(|x| (x, self.moved(x, from, to, new, body))).collect();
        let operand = |x: ValueId| operands.iter().find(|(old, _)| *old == x).map_or(x, |(_, new)| *new);
        let axis = |a: AxisId| if a == from { to } else { a };
        let op = renamed(&value.op, operand, axis);
        let ty = TileType { axes: value.ty.axes.iter().map(|a| axis(*a)).collect(), ..value.ty.clone() };
        let copy = self.value(ty, op, value.span, value.name.clone());
        body.push(Stmt::Let(copy));
        new.insert(v, copy);
        copy
    }

    /// Drops what is computed along the whole range and no longer used.
    fn tidy(&mut self, axis: AxisId) {
        loop {
            let kernel = &*self.kernel;
            let along = |v: &ValueId| kernel.ty(*v).axes.contains(&axis);
            let mut used: Vec<ValueId> = Vec::new();
            let mut blocks = vec![&kernel.body];
            while let Some(block) = blocks.pop() {
                for stmt in &block.stmts {
                    match stmt {
                        Stmt::Let(v) => used.extend(kernel.value(*v).op.operands()),
                        Stmt::Write(w) => used.extend(w.ix.iter().copied().chain([w.value]).chain(w.when)),
                        Stmt::Atomic(a) => used.extend(a.ix.iter().copied().chain([a.value]).chain(a.when)),
                        Stmt::For(l) => {
                            let l = kernel.loop_(*l);
                            used.extend(l.carried.iter().flat_map(|c| [c.init, c.next]));
                            used.extend(l.when.iter().map(|w| w.cond));
                            blocks.extend(l.when.iter().map(|w| &w.block).chain([&l.body]));
                        }
                        Stmt::If(i) => {
                            let i = kernel.if_(*i);
                            used.push(i.cond);
                            used.extend(i.results.iter().flat_map(|r| [r.then_value, r.else_value]));
                            blocks.extend([&i.then_block, &i.else_block]);
                        }
                    }
                }
            }
            let keep = |s: &Stmt| !matches!(s, Stmt::Let(v) if along(v) && !used.contains(v));
            let kept: Vec<Stmt> = kernel.body.stmts.iter().filter(|s| keep(s)).cloned().collect();
            if kept.len() == kernel.body.stmts.len() {
                return;
            }
            self.kernel.body.stmts = kept;
        }
    }
}
