//! The maximum of scaled products is the scaled maximum of the products.
//!
//! Softmax subtracts the greatest of `(q @ k) * c` from each: with the factor under the maximum, every element is multiplied once for that and
//! once more, in effect, for the difference; behind it, difference and product are one instruction, `fma(x, c, -m)`. Rounding is monotone, so nothing
//! changes, provided that c is positive. A scalar that the launch gives may be negative: then the left operand changes its sign on its way to shared memory,
//! which is exact, costs nothing in the loop, and leaves a positive factor. T1 to T1:
//! ```text
//! %x = %q @ %k                                 %q' = %q * where(c < 0, -1, 1)       %x = %q' @ %k
//! %z = %x * c                                  %z = %x * |c|
//! %s = where(mask, %z, -inf)                   %t = where(mask, %x, -inf)           %s = %t * |c|
//! %m = max %s over j                           %u = max %t over j                   %m = %u * |c|
//! ```
//! The greatest so far is then subtracted, unless it is -inf: `where(m == -inf, 0, m)` is `max(m, lowest)` where all that it is subtracted from is at
//! most m, because -inf less anything finite is -inf. And a maximum of nothing but NaNs needs no test where another maximum ignores it.
//!
//! |c| is at least the smallest number above 0, so that -inf stays what it is; of that, no finite product comes to anything. A factor of NaN
//! makes everything NaN, as it did, but for what is masked in sums that are NaN anyway. Only products are turned whose left operand is the same in every step and is
//! used for this one product.

use super::access::launch_scalar;
use super::contraction::{constant, strip};
use super::products::{moves, wanted};
use crate::tile::ir as t1;
use t1::{
    BinaryOp, CmpOp, Const, ElemType, Op, ReduceOp, ScheduleValue, Stmt, TileType, UnaryOp, Value, ValueId,
};

/// The kernel with its factors behind its maxima; `None` where there are none to move.
pub fn apply(kernel: &t1::Kernel) -> Option<t1::Kernel> {
    if !wanted(kernel) {
        return None;
    }
    let mut out: Option<t1::Kernel> = None;
    for n in 0..kernel.loops.len() {
        let id = t1::LoopId(n as u32);
        for stmt in &kernel.loops[n].body.stmts {
            if let Stmt::Let(v) = stmt
                && let Some(found) = find(kernel, id, *v)
            {
                rewrite(out.get_or_insert_with(|| kernel.clone()), id, &found);
            }
        }
    }
    out
}

/// `max(where(mask, (a @ b) * factor, -inf))`.
struct Scaled {
    /// The maximum.
    max: ValueId,
    axes: Vec<t1::AxisId>,
    /// Where what is not masked is chosen.
    masked: Option<(ValueId, ValueId)>,
    /// The scaled product, the product, its left operand and the factor.
    scaled: ValueId,
    product: ValueId,
    a: ValueId,
    factor: ValueId,
}

fn find(kernel: &t1::Kernel, id: t1::LoopId, max: ValueId) -> Option<Scaled> {
    let Op::Reduce { op: ReduceOp::Max, x, ref axes } = kernel.value(max).op else { return None };
    let (masked, scaled) = match kernel.value(x).op {
        Op::Select(c, z, least) if constant(kernel, least) == Some(f64::NEG_INFINITY) => (Some((x, c)), z),
        _ => (None, x),
    };
    let Op::Binary(BinaryOp::Mul, x, y) = kernel.value(scaled).op else { return None };
    let (product, factor) = if launch_scalar(kernel, y) { (x, y) } else { (y, x) };
    let Op::Mma { a, .. } = kernel.value(product).op else { return None };
    let users = |x: ValueId| {
        (0..kernel.values.len() as u32)
            .map(ValueId)
            .filter(move |v| kernel.value(*v).op.operands().contains(&x))
    };
    let carried = |x: ValueId| kernel.loops.iter().flat_map(|l| &l.carried).any(|c| c.next == x);
    // What nobody uses was folded into something else.
    let once =
        !carried(product) && users(product).all(|v| v == scaled || !carried(v) && users(v).next().is_none());
    let shape = kernel.ty(scaled) == kernel.ty(product) && kernel.ty(product).elem == ElemType::F32;
    let Op::Read { tensor, .. } = kernel.value(strip(kernel, a)).op else { return None };
    let fits = once
        && shape
        && launch_scalar(kernel, factor)
        && matches!(kernel.ty(a).elem, ElemType::F16 | ElemType::Bf16)
        && !moves(kernel, id, a)
        && !pinned(kernel, tensor);
    fits.then(|| Scaled { max, axes: axes.clone(), masked, scaled, product, a, factor })
}

/// Whether the schedule wants the tensor copied as it is.
fn pinned(kernel: &t1::Kernel, tensor: t1::TensorId) -> bool {
    let name = &kernel.tensor(tensor).name;
    kernel
        .schedule
        .iter()
        .any(|i| i.path == [name.as_str(), "via"] && i.value != Some(ScheduleValue::Name("direct".into())))
}

fn rewrite(kernel: &mut t1::Kernel, id: t1::LoopId, found: &Scaled) {
    let factor = found.factor;
    let ty = kernel.ty(factor).clone();
    let mut before = Vec::new();
    let mut scalar = |kernel: &mut t1::Kernel, ty: TileType, op: Op| {
        let v = push(kernel, ty, op);
        before.push(Stmt::Let(v));
        v
    };
    let float = |x: f64| Op::Const(Const::Float(x));
    let zero = scalar(kernel, ty.clone(), float(0.0));
    let negative = scalar(kernel, TileType::scalar(ElemType::Bool), Op::Compare(CmpOp::Lt, factor, zero));
    let opposite = scalar(kernel, ty.clone(), Op::Unary(UnaryOp::Neg, factor));
    let size = scalar(kernel, ty.clone(), Op::Select(negative, opposite, factor));
    let least = scalar(kernel, ty.clone(), float(f64::from(f32::from_bits(1))));
    let small = scalar(kernel, TileType::scalar(ElemType::Bool), Op::Compare(CmpOp::Lt, size, least));
    let size = scalar(kernel, ty, Op::Select(small, least, size));
    let elem = TileType::scalar(kernel.ty(found.a).elem);
    let (minus, plus) = (scalar(kernel, elem.clone(), float(-1.0)), scalar(kernel, elem.clone(), float(1.0)));
    let sign = scalar(kernel, elem, Op::Select(negative, minus, plus));
    let turned = scalar(kernel, kernel.ty(found.a).clone(), Op::Binary(BinaryOp::Mul, found.a, sign));
    if let Op::Mma { a, .. } = &mut kernel.values[found.product.0 as usize].op {
        *a = turned;
    }
    insert(kernel, id, found.product, before);

    let times = Op::Binary(BinaryOp::Mul, found.product, size);
    kernel.values[found.scaled.0 as usize].op = times;
    let plain = match found.masked {
        None => found.product,
        Some((masked, cond)) => {
            let Op::Select(_, _, least) = kernel.value(masked).op else { unreachable!("found as a choice") };
            let ty = kernel.ty(masked).clone();
            let plain = push(kernel, ty, Op::Select(cond, found.product, least));
            kernel.values[masked.0 as usize].op = Op::Binary(BinaryOp::Mul, plain, size);
            insert(kernel, id, masked, vec![Stmt::Let(plain)]);
            plain
        }
    };
    guarded(kernel, found);
    let ty = kernel.ty(found.max).clone();
    let greatest = push(kernel, ty, Op::Reduce { op: ReduceOp::Max, x: plain, axes: found.axes.clone() });
    kernel.values[found.max.0 as usize].op = Op::Binary(BinaryOp::Mul, greatest, size);
    insert(kernel, id, found.max, vec![Stmt::Let(greatest)]);
}

/// `where(m == -inf, 0, m)` becomes `max(m, lowest)` where m is the greatest of what it is subtracted from.
fn guarded(kernel: &mut t1::Kernel, found: &Scaled) {
    let values = kernel.values.len() as u32;
    let is_max = |v: ValueId, x: ValueId| match kernel.value(v).op {
        Op::Binary(BinaryOp::Max, a, b) => a == x || b == x,
        _ => false,
    };
    let Some(m) = (0..values).map(ValueId).find(|v| is_max(*v, found.max)) else { return };
    let Op::Binary(_, x, y) = kernel.value(m).op else { return };
    let before = if x == found.max { y } else { x };
    let least = |v: ValueId| constant(kernel, v) == Some(f64::NEG_INFINITY);
    let guards = |v: ValueId| match kernel.value(v).op {
        Op::Select(c, zero, other) if other == m && constant(kernel, zero) == Some(0.0) => {
            matches!(kernel.value(c).op, Op::Compare(CmpOp::Eq, a, b) if a == m && least(b) || b == m && least(a))
        }
        _ => false,
    };
    let Some(base) = (0..values).map(ValueId).find(|v| guards(*v)) else { return };
    let whole = found.masked.map_or(found.scaled, |(masked, _)| masked);
    let below = |v: ValueId| v == before || v == whole;
    let subtracted = |v: &Value| match v.op {
        Op::Binary(BinaryOp::Sub, x, y) if y == base => x != base && below(x),
        ref op => !op.operands().contains(&base),
    };
    let carried = kernel.loops.iter().flat_map(|l| &l.carried).any(|c| c.next == base);
    if carried || !kernel.values.iter().all(subtracted) {
        return;
    }
    let lowest = push(kernel, TileType::scalar(ElemType::F32), Op::Const(Const::Float(f64::from(f32::MIN))));
    kernel.values[base.0 as usize].op = Op::Binary(BinaryOp::Max, m, lowest);
    if let Some(at) =
        kernel.loops.iter().position(|l| l.body.stmts.iter().any(|s| matches!(s, Stmt::Let(v) if *v == base)))
    {
        insert(kernel, t1::LoopId(at as u32), base, vec![Stmt::Let(lowest)]);
    }
}

/// Whether a value enters nothing but a maximum with what is never NaN, through positive factors at most.
pub fn ignored_if_nan(kernel: &t1::Kernel, v: ValueId) -> bool {
    let carried = |v: ValueId| kernel.loops.iter().flat_map(|l| &l.carried).find(|c| c.param == v);
    // A maximum, from one step to the next, that began as a number.
    let number = |v: ValueId| {
        carried(v).is_some_and(|c| {
            matches!(kernel.value(c.next).op, Op::Binary(BinaryOp::Max, a, b) if a == v || b == v)
                && constant(kernel, c.init).is_some_and(|c| !c.is_nan())
        })
    };
    let mut users = kernel.values.iter().enumerate().filter(|(_, u)| u.op.operands().contains(&v)).peekable();
    let leaves = kernel.loops.iter().flat_map(|l| &l.carried).any(|c| c.next == v);
    users.peek().is_some()
        && !leaves
        && users.all(|(n, u)| match u.op {
            Op::Binary(BinaryOp::Max, x, y) => number(if x == v { y } else { x }),
            Op::Binary(BinaryOp::Mul, ..) => ignored_if_nan(kernel, ValueId(n as u32)),
            _ => false,
        })
}

/// A new value, in no statement yet.
pub fn push(kernel: &mut t1::Kernel, ty: TileType, op: Op) -> ValueId {
    kernel.values.push(Value { ty, op, span: crate::diagnostics::Span::default(), name: None });
    ValueId(kernel.values.len() as u32 - 1)
}

/// Puts statements in front of the one that makes `v`.
pub fn insert(kernel: &mut t1::Kernel, id: t1::LoopId, v: ValueId, stmts: Vec<Stmt>) {
    let body = &mut kernel.loops[id.0 as usize].body.stmts;
    let at = body.iter().position(|s| matches!(s, Stmt::Let(w) if *w == v)).unwrap_or(0);
    body.splice(at..at, stmts);
}

/// The condition under which a left operand changes its sign, and what it is without: what [`apply`] has made.
pub fn turned(kernel: &t1::Kernel, a: ValueId) -> Option<(ValueId, ValueId)> {
    let Op::Binary(BinaryOp::Mul, x, sign) = kernel.value(a).op else { return None };
    let Op::Select(negative, minus, plus) = kernel.value(sign).op else { return None };
    let signs = constant(kernel, minus) == Some(-1.0) && constant(kernel, plus) == Some(1.0);
    (launch_scalar(kernel, sign) && signs).then(|| (negative, strip(kernel, x)))
}
