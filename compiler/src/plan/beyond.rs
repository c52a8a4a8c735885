//! What a tile holds where a loop's range has ended.
//!
//! The last step of a loop has lanes that do not exist, and every reduction along its range must leave them out: for attention a selection for the maximum,
//! one for the sum and one for the product of each element. One at the root does for all three, because what follows from -inf vanishes by
//! itself:
//! ```text
//! %u = max %x over j                          %t = where(j < L, %x, -inf)      %u = max %t over j
//! %s = %x * c     %p = exp2(%s - base)        %s = %t * c                      %p = exp2(%s - base)        0 beyond L
//! ```
//! Whether lanes exist is an affine condition like others, so the steps in which it always holds do not compute it at all.

use super::contraction::constant;
use super::cover::always_full;
use super::monotone::{insert, push};
use crate::tile::ir as t1;
use t1::{AxisId, BinaryOp, CmpOp, ElemType, Op, ReduceOp, Stmt, TileType, UnaryOp, Value, ValueId};

/// The kernel with what is masked anyway, or enters a maximum, masked at its root; `None` where there is nothing of the kind.
pub fn apply(kernel: &t1::Kernel) -> Option<t1::Kernel> {
    if !super::products::wanted(kernel) {
        return None;
    }
    let mut out: Option<t1::Kernel> = None;
    for n in 0..kernel.loops.len() {
        let l = &kernel.loops[n];
        // Lanes that pad a tile to a power of two are no coordinates of the range. What a product has as columns is exactly a step.
        let exact = |a: AxisId| kernel.axis(a).extent.is_power_of_two() || columns(kernel, &l.body, a);
        let ends = |a: &AxisId| !always_full(kernel, *a) && exact(*a);
        let Some(axis) = l.axis.filter(|a| !l.rev && ends(a)) else { continue };
        for stmt in &l.body.stmts {
            if let Stmt::Let(v) = stmt
                && let Op::Reduce { op: ReduceOp::Max, x, axes } = &kernel.value(*v).op
                && axes.contains(&axis)
                && kernel.ty(*x).elem == ElemType::F32
                && made_in(&l.body, *x)
            {
                mask(out.get_or_insert_with(|| kernel.clone()), n, axis, *x);
            }
        }
    }
    out
}

/// Whether an axis is one of a product of the block.
fn columns(kernel: &t1::Kernel, block: &t1::Block, axis: AxisId) -> bool {
    block.stmts.iter().any(|s| {
        matches!(s, Stmt::Let(v) if matches!(kernel.value(*v).op, Op::Mma { .. }) && kernel.ty(*v).axes.contains(&axis))
    })
}

fn made_in(block: &t1::Block, v: ValueId) -> bool {
    block.stmts.iter().any(|s| matches!(s, Stmt::Let(w) if *w == v))
}

fn mask(kernel: &mut t1::Kernel, at: usize, axis: AxisId, x: ValueId) {
    let hi = kernel.axis(axis).hi;
    let tile = |elem, axes: Vec<AxisId>| TileType { elem, axes };
    let position = push(kernel, tile(ElemType::Index, vec![axis]), Op::Iota(axis));
    let exists = push(kernel, tile(ElemType::Bool, vec![axis]), Op::Compare(CmpOp::Lt, position, hi));
    let mut made = vec![position, exists];
    if let Op::Select(c, y, least) = kernel.value(x).op
        && constant(kernel, least) == Some(f64::NEG_INFINITY)
    {
        let axes = kernel.ty(x).axes.iter().copied().filter(|a| *a == axis || kernel.ty(c).axes.contains(a));
        let both = tile(ElemType::Bool, axes.collect());
        let both = push(kernel, both, Op::Binary(BinaryOp::And, exists, c));
        kernel.values[x.0 as usize].op = Op::Select(both, y, least);
        made.push(both);
        return before(kernel, at, x, made);
    }
    let least = push(kernel, TileType::scalar(ElemType::F32), Op::Const(t1::Const::Float(f64::NEG_INFINITY)));
    // What was `x` is new, so that all that used it uses what is masked.
    let Value { ty, op, span, name } = kernel.value(x).clone();
    kernel.values.push(Value { ty, op, span, name });
    let plain = ValueId(kernel.values.len() as u32 - 1);
    kernel.values[x.0 as usize].op = Op::Select(exists, plain, least);
    made.extend([least, plain]);
    before(kernel, at, x, made);
}

/// Puts values in front of the statement that makes `v`.
fn before(kernel: &mut t1::Kernel, at: usize, v: ValueId, made: Vec<ValueId>) {
    insert(kernel, t1::LoopId(at as u32), v, made.into_iter().map(Stmt::Let).collect());
}

/// What lanes beyond the end of a range hold, if all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    Zero,
    NegativeInfinity,
}

/// What a tile holds where `axis` has ended, as far as its computation says.
pub fn beyond(kernel: &t1::Kernel, v: ValueId, axis: AxisId) -> Option<Beyond> {
    use Beyond::{NegativeInfinity, Zero};
    match kernel.value(v).op {
        Op::Select(c, _, other) if implies_existence(kernel, c, axis) => match constant(kernel, other)? {
            0.0 => Some(Zero),
            f64::NEG_INFINITY => Some(NegativeInfinity),
            _ => None,
        },
        Op::Broadcast(x) | Op::Reorder(x) => beyond(kernel, x, axis),
        Op::Cast(x) if kernel.ty(v).elem.is_float() => beyond(kernel, x, axis),
        Op::Unary(UnaryOp::Exp | UnaryOp::Exp2, x) => {
            (beyond(kernel, x, axis)? == NegativeInfinity).then_some(Zero)
        }
        Op::Binary(BinaryOp::Mul, x, y) if positive(kernel, y) => {
            beyond(kernel, x, axis).filter(|b| *b == NegativeInfinity)
        }
        Op::Binary(BinaryOp::Sub, x, y) if never_negative_infinity(kernel, y) => {
            beyond(kernel, x, axis).filter(|b| *b == NegativeInfinity)
        }
        _ => None,
    }
}

fn implies_existence(kernel: &t1::Kernel, c: ValueId, axis: AxisId) -> bool {
    match kernel.value(c).op {
        Op::Broadcast(x) | Op::Reorder(x) => implies_existence(kernel, x, axis),
        Op::Binary(BinaryOp::And, x, y) => {
            implies_existence(kernel, x, axis) || implies_existence(kernel, y, axis)
        }
        Op::Compare(CmpOp::Lt, x, hi) => hi == kernel.axis(axis).hi && kernel.value(x).op == Op::Iota(axis),
        _ => false,
    }
}

/// Greater than 0; or NaN, of which every sum is NaN.
fn positive(kernel: &t1::Kernel, v: ValueId) -> bool {
    let above = |v: ValueId| constant(kernel, v).is_some_and(|c| c > 0.0);
    match kernel.value(v).op {
        Op::Select(c, least, x) => above(least) && kernel.value(c).op == Op::Compare(CmpOp::Lt, x, least),
        _ => above(v),
    }
}

/// `where(x == -inf, c, x)`, `max(x, c)`.
fn never_negative_infinity(kernel: &t1::Kernel, v: ValueId) -> bool {
    let least = |v: ValueId| constant(kernel, v) == Some(f64::NEG_INFINITY);
    match kernel.value(v).op {
        Op::Broadcast(x) | Op::Reorder(x) => never_negative_infinity(kernel, x),
        Op::Select(c, y, x) => {
            let finite = constant(kernel, y).is_some_and(f64::is_finite);
            let guards = match kernel.value(c).op {
                Op::Compare(CmpOp::Eq, a, b) => a == x && least(b) || b == x && least(a),
                _ => false,
            };
            finite && guards
        }
        Op::Binary(BinaryOp::Max, x, y) => {
            [x, y].into_iter().any(|v| constant(kernel, v).is_some_and(f64::is_finite))
        }
        _ => constant(kernel, v).is_some_and(f64::is_finite),
    }
}
