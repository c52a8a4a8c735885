//! How a tensor is subscripted: per dimension one axis with unit step plus a scalar, or a scalar alone.
//!
//! That covers every access whose address is affine with unit coefficients: `a[i, k]`, `q[b, g * R + r, i, d]`, `x[i + 1]`.
//! Anything else (gathers, `k / 64`) is refused here by name, until the planner learns it.

use super::refuse::Refusal;
use crate::diagnostics::Span;
use crate::scheduled::ir::Index;
use crate::tile::ir as t1;

/// The subscripts of a read or write of `tensor` in that form.
pub fn indices(
    kernel: &t1::Kernel,
    tensor: t1::TensorId,
    ix: &[t1::ValueId],
    span: Span,
) -> Result<Vec<Index>, Refusal> {
    ix.iter()
        .map(|&v| {
            index(kernel, v).ok_or_else(|| {
                let name = &kernel.tensor(tensor).name;
                Refusal::construct(span, format!("the computed subscript of `{name}`"))
                    .note("subscripts of ranges and scalars, and their sums, are lowered today")
            })
        })
        .collect()
}

fn index(kernel: &t1::Kernel, v: t1::ValueId) -> Option<Index> {
    let value = kernel.value(v);
    if value.ty.is_scalar() {
        return Some(Index { axis: None, offset: Some(v) });
    }
    match &value.op {
        t1::Op::Iota(axis) => Some(Index { axis: Some(*axis), offset: None }),
        t1::Op::Cast(x) => index(kernel, *x),
        t1::Op::Binary(t1::BinaryOp::Add, x, y) => {
            let (x, y) = (index(kernel, *x)?, index(kernel, *y)?);
            match (x, y) {
                (Index { axis: Some(a), offset: None }, Index { axis: None, offset: Some(o) })
                | (Index { axis: None, offset: Some(o) }, Index { axis: Some(a), offset: None }) => {
                    Some(Index { axis: Some(a), offset: Some(o) })
                }
                _ => None,
            }
        }
        _ => None,
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
