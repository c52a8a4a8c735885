//! How a tensor is subscripted: per dimension one axis with unit step plus a scalar, or a scalar alone.
//!
//! That covers every access whose address is affine with unit coefficients: `a[i, k]`, `q[b, g * R + r, i, d]`, `x[i + 1]`.
//! Anything else (gathers, `k / 64`) is refused here by name, until the planner learns it.

use super::instances::power_of_two_in;
use super::refuse::Refusal;
use crate::diagnostics::Span;
use crate::scheduled::ir::Index;
use crate::tile::ir as t1;
use rustc_hash::{FxHashMap, FxHashSet};

/// Refuses a subscript of an operand.
pub fn computed(kernel: &t1::Kernel, tensor: t1::TensorId, span: Span) -> Refusal {
    let name = &kernel.tensor(tensor).name;
    Refusal::construct(span, format!("the computed subscript of `{name}`"))
        .note("subscripts of ranges, of scalars, and their sums, are lowered today, and coordinates along one range, as in `x[src[i], k]`")
        .help("look the elements up in a kernel before this one that writes them in order")
}

/// A subscript in that form.
pub fn index(kernel: &t1::Kernel, v: t1::ValueId) -> Option<Index> {
    let value = kernel.value(v);
    if value.ty.is_scalar() {
        return launch_scalar(kernel, v).then(|| Index { offset: Some(v), ..Index::default() });
    }
    match &value.op {
        t1::Op::Iota(axis) => Some(Index { axis: Some(*axis), ..Index::default() }),
        t1::Op::Cast(x) => index(kernel, *x),
        t1::Op::Binary(t1::BinaryOp::Add, x, y) => {
            let (x, y) = (index(kernel, *x)?, index(kernel, *y)?);
            match (x.axis, x.offset, y.axis, y.offset) {
                (Some(a), None, None, Some(o)) | (None, Some(o), Some(a), None) => {
                    Some(Index { axis: Some(a), offset: Some(o), ..Index::default() })
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// Whether a scalar is computed from what the launch and the structure give alone: constants, parameters, dimensions, grid and
/// loop variables. Such scalars are computed where they are used; others (loads, reductions) are values of T2.
pub fn launch_scalar(kernel: &t1::Kernel, v: t1::ValueId) -> bool {
    fn visit(kernel: &t1::Kernel, v: t1::ValueId, seen: &mut FxHashMap<t1::ValueId, bool>) -> bool {
        if let Some(known) = seen.get(&v) {
            return *known;
        }
        let value = kernel.value(v);
        let known = value.ty.is_scalar()
            && match &value.op {
                t1::Op::Const(_)
                | t1::Op::Param(_)
                | t1::Op::Dim(_)
                | t1::Op::GridVar(_)
                | t1::Op::LoopVar(_) => true,
                op => op.is_elementwise() && op.operands().into_iter().all(|x| visit(kernel, x, seen)),
            };
        seen.insert(v, known);
        known
    }
    kernel.ty(v).is_scalar() && visit(kernel, v, &mut FxHashMap::default())
}

/// Whether the structure's own arithmetic (64 bits, once per block) computes a scalar; others are tiles without axes.
pub fn structural(kernel: &t1::Kernel, v: t1::ValueId) -> bool {
    use t1::BinaryOp::{Add, Cdiv, Div, Max, Min, Mul, Rem, Sub};
    let elem = kernel.ty(v).elem;
    match &kernel.value(v).op {
        t1::Op::Const(t1::Const::Int(_)) | t1::Op::Dim(_) | t1::Op::GridVar(_) | t1::Op::LoopVar(_) => true,
        // What nobody writes can be read where it is wanted.
        t1::Op::Read { tensor, ix } => {
            let t = kernel.tensor(*tensor);
            matches!(t.elem, t1::ElemType::Int(32) | t1::ElemType::Uint(32))
                && !t.kind.writable()
                && ix.iter().all(|x| structural(kernel, *x))
        }
        t1::Op::Param(_) => matches!(elem, t1::ElemType::Int(32) | t1::ElemType::Uint(32)),
        t1::Op::Cast(x) => {
            elem == t1::ElemType::Index && kernel.ty(*x).elem.is_integer() && structural(kernel, *x)
        }
        t1::Op::Binary(Add | Sub | Mul | Min | Max, x, y) => structural(kernel, *x) && structural(kernel, *y),
        t1::Op::Binary(Div | Cdiv | Rem, x, y) => {
            elem == t1::ElemType::Index
                && [*x, *y]
                    .into_iter()
                    .all(|v| super::instances::not_negative(kernel, v) && structural(kernel, v))
        }
        _ => false,
    }
}

/// The dimension that `axis` subscripts, if exactly one does.
pub fn dim_of_axis(ix: &[Index], axis: t1::AxisId) -> Option<usize> {
    let mut dims = ix.iter().enumerate().filter(|(_, i)| i.axis == Some(axis)).map(|(d, _)| d);
    match (dims.next(), dims.next()) {
        (Some(d), None) => Some(d),
        _ => None,
    }
}

/// Whether runs of n neighbours along an axis, from multiples of n on, all have the same of a value.
pub fn steady(kernel: &t1::Kernel, v: t1::ValueId, axis: t1::AxisId, n: u32) -> bool {
    let (mut open, mut seen) = (vec![v], FxHashSet::default());
    while let Some(v) = open.pop() {
        let value = kernel.value(v);
        if !value.ty.axes.contains(&axis) || !seen.insert(v) {
            continue;
        }
        if kernel.shared_by_neighbours(v).is_some_and(|(_, shift)| (1u32 << shift).is_multiple_of(n)) {
            continue;
        }
        match &value.op {
            t1::Op::Iota(_) => return false,
            t1::Op::Read { .. } | t1::Op::Reorder(_) => {}
            op if op.is_elementwise() => {}
            _ => return false,
        }
        open.extend(value.op.operands());
    }
    true
}

/// Neighbours along a row that fill whole bytes, of so many bits each.
pub fn neighbours_of_bytes(bits: u32) -> u32 {
    8 >> bits.trailing_zeros().min(3)
}

/// Elements per access along the last dimension of a tensor, at most `most` (a power of two): every tile of the range starts at a multiple
/// of them, and so does its end, given rows whose length is a multiple of `most`.
pub fn vector(kernel: &t1::Kernel, tensor: t1::TensorId, axis: t1::AxisId, most: u32) -> u32 {
    let row = kernel.tensor(tensor).shape.last().map(|e| e.extent.clone());
    let dim = |d: t1::DimId| if row == Some(t1::LaunchExpr::Dim(d)) { i64::from(most) } else { 1 };
    let a = kernel.axis(axis);
    let step = i64::from(a.extent);
    let start = match kernel.value(a.lo).op {
        t1::Op::GridVar(g) => power_of_two_in(kernel, kernel.grid_var(g).lo, &dim).min(step & -step),
        t1::Op::LoopVar(l) => power_of_two_in(kernel, kernel.loop_(l).lo, &dim).min(step & -step),
        _ => power_of_two_in(kernel, a.lo, &dim),
    };
    start.min(power_of_two_in(kernel, a.hi, &dim)).clamp(1, i64::from(most.max(1))) as u32
}
