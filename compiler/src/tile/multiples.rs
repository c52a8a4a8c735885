//! Which coordinates are multiples of a number, whatever the launch: by constants, promises and the steps of loops.
//!
//! Worked example: `where K % 64 == 0` (which `K / 64` in a shape says as well) and `for k over K by 32`: K is a multiple of 32, and so
//! is every `k.lo`.

use super::ir::{BinaryOp, Const, Kernel, LaunchExpr, Op, ValueId};
use super::ops::CmpOp;

/// Whether the scalar is a multiple of `n` in every launch.
pub fn is_multiple(kernel: &Kernel, v: ValueId, n: u32) -> bool {
    if n == 1 {
        return true;
    }
    let both = |x: ValueId, y: ValueId| is_multiple(kernel, x, n) && is_multiple(kernel, y, n);
    match kernel.value(v).op {
        Op::Const(Const::Int(c)) => c.rem_euclid(i128::from(n)) == 0,
        Op::Dim(d) if kernel.dim(d).frozen.is_some_and(|size| size % i64::from(n) == 0) => true,
        Op::Dim(d) => kernel.promises.iter().any(|p| divides(&p.expr, &LaunchExpr::Dim(d), n)),
        Op::LoopVar(l) => {
            let l = kernel.loop_(l);
            let step = l.axis.map_or(1, |a| kernel.axis(a).extent);
            step.is_multiple_of(n) && is_multiple(kernel, l.lo, n)
        }
        Op::Binary(BinaryOp::Mul, x, y) => is_multiple(kernel, x, n) || is_multiple(kernel, y, n),
        Op::Binary(BinaryOp::Add | BinaryOp::Sub | BinaryOp::Min | BinaryOp::Max, x, y) => both(x, y),
        _ => false,
    }
}

/// Whether the promise says that `x` is a multiple of `n`: `x % c == 0`, with c a multiple of n.
fn divides(promise: &LaunchExpr, x: &LaunchExpr, n: u32) -> bool {
    match promise {
        LaunchExpr::Compare(CmpOp::Eq, rest, zero) => match (&**rest, &**zero) {
            (LaunchExpr::Binary(BinaryOp::Rem, y, c), LaunchExpr::Const(Const::Int(0))) => {
                matches!(**c, LaunchExpr::Const(Const::Int(c)) if c > 0 && c % i128::from(n) == 0)
                    && **y == *x
            }
            _ => false,
        },
        LaunchExpr::Binary(BinaryOp::And, p, q) => divides(p, x, n) || divides(q, x, n),
        _ => false,
    }
}
