//! What computed operands read beside what is staged, as the budget of registers counts it.
//!
//! ```text
//! (w[j, k] as f16 - z[j, k / 32]) * s[j, k / 32]      steps of 64: four values of a column in a step
//! (w[j, k] as f16) * s[j, g[k]]                       a value for each weight, by data of its coordinate; g, too
//! t[c[j, k / 8], k % 8]                               a value for each weight, by its own code
//! ```

use super::contraction::Contraction;
use super::operand::{Operand, looks_up, small_table};
use crate::packed::Toward;
use crate::tile::ir as t1;
use rustc_hash::FxHashSet;

/// What computed operands read where it is used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reads {
    /// Of each operand, how many reads find every element by its code, in memory.
    pub by_codes: (u32, u32),
    /// How many find what every coordinate's data says: scales in act-order.
    pub by_data: u32,
    /// Scales and zero points of a column in a step.
    pub scales: u32,
}

/// What the operands of a product read beside what is staged, in steps of that depth.
pub fn reads(kernel: &t1::Kernel, c: &Contraction, bk: u32) -> Reads {
    let (mut found, mut seen) = (Reads::default(), FxHashSet::default());
    found.by_codes =
        (of(kernel, &c.a, c.k, bk, &mut found, &mut seen), of(kernel, &c.b, c.k, bk, &mut found, &mut seen));
    found
}

/// Adds what an operand reads, and gives how much of that its codes look up.
fn of(
    kernel: &t1::Kernel,
    operand: &Operand,
    k: t1::AxisId,
    bk: u32,
    found: &mut Reads,
    seen: &mut FxHashSet<t1::ValueId>,
) -> u32 {
    let own: Vec<t1::TensorId> = operand.tensors().collect();
    let in_registers = |t: t1::TensorId| operand.toward == Toward::Table && small_table(kernel, t);
    let group = |x: t1::ValueId| match kernel.value(x).op {
        t1::Op::Binary(t1::BinaryOp::Div, x, by) if matches!(kernel.value(x).op, t1::Op::Iota(_)) => {
            u32::try_from(kernel.const_int(by)?).ok()
        }
        _ => None,
    };
    let mut by_codes = 0;
    let mut open: Vec<t1::ValueId> = operand.computed.iter().map(|made| made.value).collect();
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
        if looks_up(kernel, ix, k) {
            by_codes += u32::from(!in_registers(*tensor));
            open.extend(ix);
            continue;
        }
        match ix.iter().copied().find(|x| kernel.ty(*x).axes.contains(&k)) {
            Some(x) => match group(x) {
                Some(group) => found.scales += bk.div_ceil(group.max(1)),
                None => found.by_data += u32::from(data(kernel, x)),
            },
            None if !kernel.ty(v).is_scalar() => found.scales += 1,
            None => {}
        }
    }
    by_codes
}

/// Whether data decides a subscript.
fn data(kernel: &t1::Kernel, v: t1::ValueId) -> bool {
    match &kernel.value(v).op {
        t1::Op::Read { .. } => true,
        op => op.is_elementwise() && op.operands().into_iter().any(|x| data(kernel, x)),
    }
}
