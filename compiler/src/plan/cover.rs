//! Whether existing lanes of an access lie inside the tensor without a check of their own.
//!
//! A lane of axis `i over M` exists iff its coordinate is below M, so `a[i, k]` with `a: T[M, K]` is in bounds wherever its lanes exist.
//! That is the common case and the one lowered today; computed coordinates need checks of their own.

use super::instances::{at_most, axis_pair_below, below, not_negative, pair_below};
use super::refuse::Refusal;
use crate::diagnostics::Span;
use crate::scheduled::ir::Index;
use crate::tile::{ir as t1, multiples::is_multiple, swapped};

/// Whether subscript `dim` stays inside the tensor wherever its lane exists.
pub fn inside(kernel: &t1::Kernel, tensor: t1::TensorId, dim: usize, index: &Index) -> bool {
    let extent = &kernel.tensor(tensor).shape[dim].extent;
    match (index.axis, index.offset, index.tile) {
        (Some(axis), None, None) => {
            let a = kernel.axis(axis);
            bounds(kernel, a.lo, a.hi, extent, axis_is_grid_or_loop(a))
        }
        (None, Some(scalar), None) => index.checked || scalar_inside(kernel, scalar, extent),
        (Some(axis), Some(o), None) => axis_pair_below(kernel, o, kernel.axis(axis), extent),
        _ => false,
    }
}

/// What is said of a subscript that could leave the tensor on an existing lane.
/// `at` is how the access looks to who copies it; the author's own subscripts are found by it.
pub fn may_leave(kernel: &t1::Kernel, tensor: t1::TensorId, dim: usize, at: &Index, span: Span) -> Refusal {
    let t = kernel.tensor(tensor);
    let read = kernel.values.iter().find_map(|v| match &v.op {
        t1::Op::Read { tensor: of, ix } if *of == tensor => {
            let same = match (at.axis, at.offset) {
                (Some(axis), None) => kernel.value(ix[dim]).op == t1::Op::Iota(axis),
                (None, Some(scalar)) => ix[dim] == scalar,
                _ => false,
            };
            same.then_some((ix, v.span))
        }
        _ => None,
    });
    let refusal = |span| {
        Refusal::construct(span, format!("subscript {dim} of `{}`, which may leave the tensor,", t.name))
    };
    let refusal = match read {
        Some((ix, span)) => {
            let label = swapped::misfit(kernel, tensor, dim, ix[dim]);
            let refusal = refusal(span).label(label.clone().unwrap_or_default());
            if let Some(swapped) = swapped::find(kernel, tensor, ix) {
                let mut refusal = refusal;
                refusal.notes = vec![
                    "the subscripts are in another order than the tensor's dimensions".into(),
                    "what lies outside a tensor reads as zero, as in `tilewright run --device eval`".into(),
                ];
                return refusal.help(swapped.meant);
            }
            if label.is_some() {
                return refusal
                    .note("copies to shared memory go along a range over the tensor's own dimension")
                    .help("if the two are one dimension, give them one name, and the launch sees to it that they agree");
            }
            refusal
        }
        None => refusal(span),
    };
    refusal
        .note("copies to shared memory go along a range over the tensor's own dimension, whose end is the tensor's")
        .help("shift the other dimension's subscript, which rows do one by one; or write it shifted in a kernel before this one")
}

/// Refuses strides that the emitter does not know: dense ones, and given ones in front of a last dimension of stride 1, it does.
pub fn strides(kernel: &t1::Kernel, tensor: t1::TensorId, span: Span) -> Result<(), Refusal> {
    let t = kernel.tensor(tensor);
    for (dim, stride) in t.strides.iter().enumerate() {
        let last = dim + 1 == t.strides.len();
        let ok = match stride {
            t1::Stride::Dense => true,
            t1::Stride::Given(e) => last && e.eval_int(&t1::NoFacts) == Some(1),
            t1::Stride::Free => !last,
        };
        if !ok {
            return Err(Refusal::construct(span, format!("stride {dim} of `{}`", t.name)));
        }
    }
    Ok(())
}

/// Whether neighbours along a tensor's last dimension are neighbours in memory.
pub fn unit_stride(kernel: &t1::Kernel, tensor: t1::TensorId, dim: usize) -> bool {
    let t = kernel.tensor(tensor);
    match t.strides.get(dim) {
        Some(t1::Stride::Dense) => dim + 1 == t.strides.len(),
        Some(t1::Stride::Given(e)) => e.eval_int(&t1::NoFacts) == Some(1),
        Some(t1::Stride::Free) | None => false,
    }
}

fn axis_is_grid_or_loop(a: &t1::Axis) -> bool {
    matches!(a.kind, t1::AxisKind::Grid(_) | t1::AxisKind::Loop(_))
}

/// A range whose domain starts at 0 or above (its own `lo` moves with the variable) and ends at the extent or below.
fn bounds(
    kernel: &t1::Kernel,
    lo: t1::ValueId,
    hi: t1::ValueId,
    extent: &t1::LaunchExpr,
    moving: bool,
) -> bool {
    let start = match kernel.value(lo).op {
        t1::Op::GridVar(g) if moving => kernel.grid_var(g).lo,
        t1::Op::LoopVar(l) if moving => kernel.loop_(l).lo,
        _ => lo,
    };
    not_negative(kernel, start) && at_most(kernel, hi, extent)
}

fn scalar_inside(kernel: &t1::Kernel, v: t1::ValueId, extent: &t1::LaunchExpr) -> bool {
    let v = match kernel.value(v).op {
        t1::Op::Cast(x) if kernel.ty(x).elem == t1::ElemType::Index => x,
        t1::Op::Cast(x) if matches!(kernel.value(x).op, t1::Op::Param(_)) => x,
        _ => v,
    };
    let (lo, hi) = match kernel.value(v).op {
        t1::Op::LoopVar(l) => (kernel.loop_(l).lo, kernel.loop_(l).hi),
        t1::Op::GridVar(g) => (kernel.grid_var(g).lo, kernel.grid_var(g).hi),
        // Checked at launch.
        t1::Op::Param(_) => return below(kernel, v, extent),
        _ => return pair_below(kernel, v, extent),
    };
    not_negative(kernel, lo) && at_most(kernel, hi, extent)
}

/// Whether every lane of the axis exists in every instance: a constant domain that its tiles divide.
pub fn always_full(kernel: &t1::Kernel, axis: t1::AxisId) -> bool {
    let a = kernel.axis(axis);
    let lo = match kernel.value(a.lo).op {
        t1::Op::GridVar(g) => kernel.grid_var(g).lo,
        t1::Op::LoopVar(l) => kernel.loop_(l).lo,
        _ => a.lo,
    };
    match (kernel.const_int(lo), kernel.const_int(a.hi)) {
        (Some(lo), Some(hi)) => hi > lo && (hi - lo) % i64::from(a.extent) == 0,
        // Steps of a loop begin and end at multiples of their length; those of the grid take instances that have nothing to do, too.
        _ => {
            matches!(a.kind, t1::AxisKind::Loop(_))
                && is_multiple(kernel, a.lo, a.extent)
                && is_multiple(kernel, a.hi, a.extent)
        }
    }
}
