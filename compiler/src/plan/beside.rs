//! What computed operands read beside what is staged, as the budget of registers counts it.
//!
//! ```text
//! (w[j, k] as f16 - z[j, k / 32]) * s[j, k / 32]      steps of 64: four values of a column in a step
//! (w[j, k] as f16) * s[j, g[k]]                       a value for each weight, looked up; so is g
//! ```

use super::contraction::Contraction;
use crate::tile::ir as t1;
use rustc_hash::FxHashSet;

/// What computed operands read beside what is staged, for an element or a column: how many of the reads find each coordinate's element along what is
/// contracted by data, and how many values the others have in a step of that depth.
pub fn reads(kernel: &t1::Kernel, c: &Contraction, bk: u32) -> (u32, u32) {
    let (mut seen, mut looked_up, mut scales) = (FxHashSet::default(), 0, 0);
    for o in [&c.a, &c.b] {
        let own: Vec<t1::TensorId> = o.tensors().collect();
        let mut open: Vec<t1::ValueId> = o.computed.iter().map(|made| made.value).collect();
        while let Some(v) = open.pop() {
            if !seen.insert(v) {
                continue;
            }
            let t1::Op::Read { tensor, ix } = &kernel.value(v).op else {
                open.extend(kernel.value(v).op.operands());
                continue;
            };
            if own.contains(tensor) {
                continue;
            }
            let group = |x: t1::ValueId| match kernel.value(x).op {
                t1::Op::Binary(t1::BinaryOp::Div, x, by) if matches!(kernel.value(x).op, t1::Op::Iota(_)) => {
                    u32::try_from(kernel.const_int(by)?).ok()
                }
                _ => None,
            };
            let along = ix.iter().copied().find(|x| kernel.ty(*x).axes.contains(&c.k));
            match along {
                // What codes look up, for a row and a coordinate, is counted by `lookups`.
                Some(x) if kernel.ty(x).axes.len() > 1 => {}
                Some(x) => match group(x) {
                    Some(group) => scales += bk.div_ceil(group.max(1)),
                    None => looked_up += u32::from(data(kernel, x)),
                },
                None if !kernel.ty(v).is_scalar() => scales += 1,
                None => {}
            }
        }
    }
    (looked_up, scales)
}

/// Whether data decides a subscript.
fn data(kernel: &t1::Kernel, v: t1::ValueId) -> bool {
    match &kernel.value(v).op {
        t1::Op::Read { .. } => true,
        op => op.is_elementwise() && op.operands().into_iter().any(|x| data(kernel, x)),
    }
}
