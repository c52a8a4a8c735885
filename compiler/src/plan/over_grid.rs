//! Places of extremes over the grid as reductions that combine numbers. T1 to T1.
//!
//! They are two reductions: of two instances with the same extreme the first one counts, and where nothing is an extreme
//! (of NaNs) there is none.
//! ```text
//! %at = argmax %x over grid s               %m = max %x over grid s
//!                                           %f = min where(%x == %m, s, 2³¹ − 1) over grid s
//!                                           %at = where(%f == 2³¹ − 1, -1, %f)
//! ```

use super::monotone::push;
use crate::tile::ir as t1;
use t1::{CmpOp, Const, ElemType, GridId, Op, ReduceOp, Stmt, TileType, ValueId};

/// The kernel with plain reductions over its grid; `None` where they are.
pub fn apply(kernel: &t1::Kernel) -> Option<t1::Kernel> {
    if !kernel.body.stmts.iter().any(|s| place(kernel, s).is_some()) {
        return None;
    }
    let mut out = kernel.clone();
    let mut stmts = Vec::new();
    for stmt in std::mem::take(&mut out.body.stmts) {
        if let Some((v, op, x, var)) = place(&out, &stmt) {
            extremes(&mut out, v, (op, x, var), &mut stmts);
        }
        stmts.push(stmt);
    }
    out.body.stmts = stmts;
    Some(out)
}

/// `argmax` or `argmin` over one grid variable.
fn place(kernel: &t1::Kernel, stmt: &Stmt) -> Option<(ValueId, ReduceOp, ValueId, GridId)> {
    let Stmt::Let(v) = *stmt else { return None };
    match &kernel.value(v).op {
        Op::GridReduce { op: op @ (ReduceOp::ArgMax | ReduceOp::ArgMin), x, vars } => match vars[..] {
            [var] => Some((v, *op, *x, var)),
            _ => None,
        },
        _ => None,
    }
}

fn extremes(
    kernel: &mut t1::Kernel,
    v: ValueId,
    (op, x, var): (ReduceOp, ValueId, GridId),
    stmts: &mut Vec<Stmt>,
) {
    let ty = kernel.ty(x).clone();
    let of = |elem| TileType { elem, ..ty.clone() };
    let whole = |elem| TileType::scalar(elem);
    let mut make = |ty, op| {
        let v = push(kernel, ty, op);
        stmts.push(Stmt::Let(v));
        v
    };
    let i32 = ElemType::Int(32);
    let extreme = if op == ReduceOp::ArgMax { ReduceOp::Max } else { ReduceOp::Min };
    let m = make(ty.clone(), Op::GridReduce { op: extreme, x, vars: vec![var] });
    let hit = make(of(ElemType::Bool), Op::Compare(CmpOp::Eq, x, m));
    let at = kernel.grid_var(var).var;
    let mut make = |ty, op| {
        let v = push(kernel, ty, op);
        stmts.push(Stmt::Let(v));
        v
    };
    let at = make(whole(i32), Op::Cast(at));
    let none = make(whole(i32), Op::Const(Const::Int(i32::MAX.into())));
    let here = make(of(i32), Op::Select(hit, at, none));
    let first = make(of(i32), Op::GridReduce { op: ReduceOp::Min, x: here, vars: vec![var] });
    let nowhere = make(of(ElemType::Bool), Op::Compare(CmpOp::Eq, first, none));
    let minus = make(whole(i32), Op::Const(Const::Int(-1)));
    let found = make(of(i32), Op::Select(nowhere, minus, first));
    kernel.values[v.0 as usize].op = Op::Cast(found);
}
