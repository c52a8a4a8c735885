//! Faults in T1 that has been simplified: where loops begin and end, and what is said of their steps.

use super::FaultKind;
use super::plant::Plant;
use crate::diagnostics::Span;
use crate::passes::Pass;
use crate::tile::ir as t1;
use std::borrow::Cow;
use t1::{BinaryOp, Const, ElemType, Op, ReduceOp, Stmt, TileType, Value, ValueId};

impl Plant {
    /// After `before` has been simplified.
    pub fn tile(&mut self, before: &t1::Kernel, kernel: &mut Cow<'_, t1::Kernel>) {
        match self.kind(Pass::Plan) {
            Some(kind @ (FaultKind::LateStart | FaultKind::EarlyEnd | FaultKind::WideFull)) => {
                let loops = kernel.body.stmts.iter().filter_map(|s| match s {
                    Stmt::For(id) => Some(*id),
                    _ => None,
                });
                for id in loops.collect::<Vec<_>>() {
                    self.bounds(kind, before, kernel, id);
                }
            }
            Some(FaultKind::LastPlace) => self.last_place(kernel),
            _ => {}
        }
    }

    fn bounds(
        &mut self,
        kind: FaultKind,
        before: &t1::Kernel,
        kernel: &mut Cow<'_, t1::Kernel>,
        id: t1::LoopId,
    ) {
        let l = kernel.loop_(id).clone();
        let Some(by) = l.axis.map(|a| i64::from(kernel.axis(a).extent)) else { return };
        let old = before.loops.get(id.0 as usize);
        let moved = |bound: fn(&t1::Loop) -> ValueId| old.is_none_or(|old| bound(old) != bound(&l));
        match kind {
            FaultKind::LateStart if moved(|l| l.lo) && self.here() => {
                let lo = shifted(kernel.to_mut(), id, l.lo, by);
                kernel.to_mut().loops[id.0 as usize].lo = lo;
            }
            FaultKind::EarlyEnd if moved(|l| l.hi) && self.here() => {
                let hi = shifted(kernel.to_mut(), id, l.hi, -by);
                kernel.to_mut().loops[id.0 as usize].hi = hi;
            }
            FaultKind::WideFull => {
                let Some(full) = l.full else { return };
                if self.here() {
                    let to = shifted(kernel.to_mut(), id, full.to, by);
                    let to = before_loop(kernel.to_mut(), id, Op::Binary(BinaryOp::Min, to, l.hi));
                    if let Some(full) = &mut kernel.to_mut().loops[id.0 as usize].full {
                        full.to = to;
                    }
                }
                if let Some(from) = full.from
                    && self.here()
                {
                    let from = shifted(kernel.to_mut(), id, from, -by);
                    if let Some(full) = &mut kernel.to_mut().loops[id.0 as usize].full {
                        full.from = Some(from);
                    }
                }
            }
            _ => {}
        }
    }

    /// `min where(x == m, s, 2³¹ − 1) over grid s` becomes `max where(x == m, s, −1) over grid s`.
    fn last_place(&mut self, kernel: &mut Cow<'_, t1::Kernel>) {
        for n in 0..kernel.values.len() {
            let Op::GridReduce { op: ReduceOp::Min, x, .. } = kernel.values[n].op else { continue };
            let Op::Select(_, _, none) = kernel.value(x).op else { continue };
            if kernel.const_int(none) == Some(i32::MAX.into()) && self.here() {
                let values = &mut kernel.to_mut().values;
                values[none.0 as usize].op = Op::Const(Const::Int(-1));
                if let Op::GridReduce { op, .. } = &mut values[n].op {
                    *op = ReduceOp::Max;
                }
            }
        }
    }
}

/// A scalar and some more, made in front of the loop.
fn shifted(kernel: &mut t1::Kernel, id: t1::LoopId, x: ValueId, by: i64) -> ValueId {
    if let Some(x) = kernel.const_int(x) {
        return before_loop(kernel, id, Op::Const(Const::Int((x + by).into())));
    }
    let by = before_loop(kernel, id, Op::Const(Const::Int(by.into())));
    before_loop(kernel, id, Op::Binary(BinaryOp::Add, x, by))
}

fn before_loop(kernel: &mut t1::Kernel, id: t1::LoopId, op: Op) -> ValueId {
    kernel.values.push(Value {
        ty: TileType::scalar(ElemType::Index),
        op,
        span: Span::default(),
        name: None,
    });
    let v = ValueId(kernel.values.len() as u32 - 1);
    let stmts = &mut kernel.body.stmts;
    let at = stmts.iter().position(|s| matches!(s, Stmt::For(l) if *l == id)).unwrap_or(0);
    stmts.insert(at, Stmt::Let(v));
    v
}
