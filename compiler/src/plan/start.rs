//! Sums that start from something: `let mut acc: f32[i, j] = c[i, j] as f32;` or a bias.
//!
//! A matrix unit's accumulator starts from a constant. A declared sum may be reassociated, so what it starts from is added after the loop
//! instead, where its elements are in the registers that the result is in. T1 to T1, before the loop is cut or planned:
//! ```text
//! %acc.1 = broadcast %bias                          %acc.1 = broadcast 0.0
//! for k … carry %acc.2 = %acc.1 { … } -> %acc.4      for k … carry %acc.2 = %acc.1 { … } -> %acc.4
//! write c[i, j] = cast %acc.4                        %acc = %acc.4 + %bias        write c[i, j] = cast %acc
//! ```

use super::contraction;
use super::split::rename;
use crate::tile::ir as t1;
use t1::{BinaryOp, CarryKind, Combine, Const, Op, TileType, Value, ValueId};

/// The kernel whose loops around `@` start from constants; `None` where they do already.
pub fn apply(kernel: &t1::Kernel) -> Option<t1::Kernel> {
    if !contraction::any(kernel) {
        return None;
    }
    let mut changed = None;
    let loops: Vec<t1::LoopId> = kernel
        .body
        .stmts
        .iter()
        .filter_map(|s| if let t1::Stmt::For(l) = s { Some(*l) } else { None })
        .collect();
    for id in loops {
        for n in 0..kernel.loop_(id).carried.len() {
            let c = &kernel.loop_(id).carried[n];
            if c.kind == CarryKind::Assoc(Combine::Add) && contraction::constant(kernel, c.init).is_none() {
                from_zero(changed.get_or_insert_with(|| kernel.clone()), id, n);
            }
        }
    }
    changed
}

/// Carried variable `n` of a loop starts from zero, and what it started from is added behind the loop.
fn from_zero(kernel: &mut t1::Kernel, id: t1::LoopId, n: usize) {
    let c = kernel.loop_(id).carried[n].clone();
    let ty = kernel.ty(c.result).clone();
    let old = kernel.values.len();
    let mut value = |ty: TileType, op: Op, name: Option<String>| {
        kernel.values.push(Value { ty, op, span: c.span, name });
        ValueId(kernel.values.len() as u32 - 1)
    };
    let zero = if ty.elem.is_float() { Const::Float(0.0) } else { Const::Int(0) };
    let zero = value(TileType::scalar(ty.elem), Op::Const(zero), None);
    let zeros = value(ty.clone(), Op::Broadcast(zero), None);
    let sum = value(ty, Op::Binary(BinaryOp::Add, c.result, c.init), Some(c.name.clone()));
    kernel.loops[id.0 as usize].carried[n].init = zeros;
    rename(kernel, id, old, &[(c.result, sum)]);
    let stmts = &mut kernel.body.stmts;
    let at = stmts.iter().position(|s| matches!(s, t1::Stmt::For(l) if *l == id)).unwrap_or(stmts.len());
    let after = (at + 1).min(stmts.len());
    stmts.insert(after, t1::Stmt::Let(sum));
    stmts.splice(at..at, [t1::Stmt::Let(zero), t1::Stmt::Let(zeros)]);
}
