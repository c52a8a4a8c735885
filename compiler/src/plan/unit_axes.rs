//! Ranges of one coordinate are that coordinate: `r over R by 1` becomes `r over R`.
//!
//! Sources are written for any size, and a tune parameter of 1 leaves tiles with an axis that has no second lane. Everything that plans
//! is simpler without it. T1 to T1:
//! ```text
//! grid r over 0..R by 1                 grid r over 0..R
//! %h = %g + r : index[r]                %h = %g + r : index
//! %q = read q[%h, i, D] : f16[r, i, D]  %q = read q[%h, i, D] : f16[i, D]
//! ```
//! The lane of such a range exists wherever its instance runs. Ranges along which something is reduced, contracted, scanned or sorted, and
//! those that subscript tiles, stay as they are.

use super::contraction;
use crate::tile::ir as t1;
use t1::{AxisId, AxisKind, Op};

/// The kernel without the grid's ranges of one coordinate; `None` where it has none.
pub fn apply(kernel: &t1::Kernel) -> Option<t1::Kernel> {
    // Elsewhere digits of one value cost nothing.
    if !contraction::any(kernel) {
        return None;
    }
    let mut kept = Vec::new();
    for v in &kernel.values {
        match &v.op {
            Op::Reduce { axes, .. } => kept.extend(axes),
            Op::Mma { contract, .. } => kept.push(*contract),
            Op::Scan { axis, .. } | Op::Sort { axis, .. } => kept.push(*axis),
            Op::TopK { axis, to, .. } => kept.extend([axis, to]),
            Op::TileRead { tile, .. } => kept.extend(&kernel.ty(*tile).axes),
            _ => {}
        }
    }
    kept.extend(kernel.axes.iter().filter_map(|a| match a.kind {
        AxisKind::Primed(of) => Some(of),
        _ => None,
    }));
    let unit = |a: AxisId| {
        let axis = kernel.axis(a);
        axis.extent == 1 && matches!(axis.kind, AxisKind::Grid(_)) && !kept.contains(&a)
    };
    let ranges: Vec<AxisId> = kernel.grid.iter().filter_map(|g| g.axis).filter(|a| unit(*a)).collect();
    if ranges.is_empty() {
        return None;
    }
    let mut out = kernel.clone();
    for g in &mut out.grid {
        g.axis = g.axis.filter(|a| !ranges.contains(a));
    }
    for v in &mut out.values {
        v.ty.axes.retain(|a| !ranges.contains(a));
        match &mut v.op {
            Op::Iota(a) if ranges.contains(a) => v.op = Op::Cast(kernel.axis(*a).lo),
            Op::Mma { batch, .. } => batch.retain(|a| !ranges.contains(a)),
            _ => {}
        }
    }
    Some(out)
}
