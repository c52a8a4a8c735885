//! Finding the contraction: a loop over ranges that carries accumulators `acc += a @ b`.
//!
//! The planner asks for what it needs and nothing more: one loop in the kernel's body whose carried states are all declared sums
//! of one product each, operands read straight from 16-bit float tensors. What stands before and after the loop is free.

use super::access;
use super::operand::{Operand, operand};
use super::refuse::Refusal;
use crate::diagnostics::Span;
use crate::scheduled::ir::MmaAtom;
use crate::tile::ir as t1;

/// `for k … { acc += a[m, k] @ b[n, k].T }`, with the operands stored either way round.
#[derive(Clone, Debug)]
pub struct Contraction {
    pub loop_id: t1::LoopId,
    /// The T1 value after the loop.
    pub result: t1::ValueId,
    pub name: String,
    pub a: Operand,
    pub b: Operand,
    pub atom: MmaAtom,
    pub m: t1::AxisId,
    pub n: t1::AxisId,
    pub k: t1::AxisId,
    /// The constant that the accumulator starts from.
    pub init: f64,
}

/// Whether the kernel multiplies tiles at all.
pub fn any(kernel: &t1::Kernel) -> bool {
    kernel.values.iter().any(|v| matches!(v.op, t1::Op::Mma { .. }))
}

/// The contraction of a kernel, `None` if its body has no loop.
pub fn find(kernel: &t1::Kernel) -> Result<Option<Contraction>, Refusal> {
    let mut found = None;
    for stmt in &kernel.body.stmts {
        match stmt {
            t1::Stmt::Let(_) | t1::Stmt::Write(_) | t1::Stmt::Atomic(_) => {}
            t1::Stmt::For(id) if found.is_none() && multiplies(kernel, &kernel.loop_(*id).body) => {
                found = Some(contraction(kernel, *id)?)
            }
            t1::Stmt::For(id) => {
                return Err(Refusal::construct(kernel.loop_(*id).span, "a second loop in a kernel with `@`")
                    .note("what is around the product's loop stays in the lanes and registers that have the product")
                    .help("give it a kernel of its own that writes what it computes, and read that here"));
            }
            // Neither branch may multiply or loop.
            t1::Stmt::If(id) => {
                let i = kernel.if_(*id);
                let plain = |b: &t1::Block| !multiplies(kernel, b) && !loops(b);
                if !plain(&i.then_block) || !plain(&i.else_block) {
                    return Err(Refusal::construct(i.span, "`if` around a loop in a kernel with `@`")
                        .note("the loop's ring is filled before it, whatever the condition says")
                        .help("a loop without trips does nothing: bounds that depend on the condition; `where(c, x, y)` chooses values, `place = value when c;` what is written"));
                }
            }
        }
    }
    Ok(found)
}

fn loops(block: &t1::Block) -> bool {
    block.stmts.iter().any(|s| matches!(s, t1::Stmt::For(_) | t1::Stmt::If(_)))
}

/// Whether a block multiplies tiles.
pub(super) fn multiplies(kernel: &t1::Kernel, block: &t1::Block) -> bool {
    block.stmts.iter().any(|s| match s {
        t1::Stmt::Let(v) => matches!(kernel.value(*v).op, t1::Op::Mma { .. }),
        t1::Stmt::For(l) => multiplies(kernel, &kernel.loop_(*l).body),
        t1::Stmt::If(i) => {
            multiplies(kernel, &kernel.if_(*i).then_block) || multiplies(kernel, &kernel.if_(*i).else_block)
        }
        t1::Stmt::Write(_) | t1::Stmt::Atomic(_) => false,
    })
}

fn contraction(kernel: &t1::Kernel, id: t1::LoopId) -> Result<Contraction, Refusal> {
    let l = kernel.loop_(id);
    let Some(k) = l.axis else {
        return Err(Refusal::construct(l.span, format!("the loop over single coordinates `{}`", l.name))
            .note("a matrix instruction contracts tiles")
            .help(format!("`for {} over … by 32` visits tiles", l.name)));
    };
    if l.when.is_some() {
        return Err(Refusal::construct(l.span, "a loop with `when`"));
    }
    for stmt in &l.body.stmts {
        if !matches!(stmt, t1::Stmt::Let(_)) {
            return Err(Refusal::construct(l.span, "a loop around `@` that writes, branches or loops")
                .note("its copies run ahead of what it computes, so a step is straight code that adds up")
                .help("write behind the loop, or in a loop of its own; `where(c, x, y)` chooses values"));
        }
    }
    let [carried] = &l.carried[..] else {
        return Err(Refusal::construct(
            l.span,
            format!("a loop that carries {} values instead of one", l.carried.len()),
        ));
    };
    // The order of a declared reduction's steps means nothing, that of a recurrence's is the text's.
    if l.rev && carried.kind != t1::CarryKind::Assoc(t1::Combine::Add) {
        return Err(Refusal::construct(l.span, "a loop over `rev(…)` around `@`")
            .note("copies run ahead of a loop in ascending order only")
            .help("`acc += a @ b` leaves the order of the steps open"));
    }
    let product = match kernel.value(carried.next).op {
        t1::Op::Binary(t1::BinaryOp::Add, x, y) if x == carried.param => Some(y),
        t1::Op::Binary(t1::BinaryOp::Add, x, y) if y == carried.param => Some(x),
        _ => None,
    };
    let Some((a, b, contract, batch)) = product.and_then(|p| mma(kernel, p)) else {
        return Err(Refusal::construct(carried.span, format!("the recurrence of `{}`", carried.name))
            .note("a loop that carries `acc += a @ b` is lowered today"));
    };
    if !batch.is_empty() {
        return Err(batched(kernel.value(carried.next).span));
    }
    if contract != k {
        return Err(Refusal::construct(carried.span, "a product that does not contract the loop's range")
            .note("the loop brings the next tiles of what is contracted into shared memory")
            .help(
                "contract the loop's own range, as in `for k over K by 32 { acc += a[i, k] @ b[j, k].T; }`",
            ));
    }
    let Some(init) = constant(kernel, carried.init) else {
        return Err(Refusal::construct(
            carried.span,
            format!("`{}` starting from something else than a constant", carried.name),
        ));
    };
    let a = operand(kernel, a, k, None)?;
    let b = operand(kernel, b, k, None)?;
    if let Some(o) = [&a, &b].into_iter().find(|o| o.gather.len() > 1) {
        return Err(access::computed(kernel, o.tensor, l.span));
    }
    if a.ty.bits() != b.ty.bits() {
        return Err(mixed(carried.span, a.value, b.value));
    }
    Ok(Contraction {
        loop_id: id,
        result: carried.result,
        name: carried.name.clone(),
        m: a.outer,
        n: b.outer,
        atom: MmaAtom { a: a.ty, b: b.ty },
        a,
        b,
        k,
        init,
    })
}

/// Strips reorderings: the order of axes is a matter of types, not of data.
pub(super) fn strip(kernel: &t1::Kernel, mut v: t1::ValueId) -> t1::ValueId {
    while let t1::Op::Reorder(x) = kernel.value(v).op {
        v = x;
    }
    v
}

fn mma(
    kernel: &t1::Kernel,
    v: t1::ValueId,
) -> Option<(t1::ValueId, t1::ValueId, t1::AxisId, Vec<t1::AxisId>)> {
    match &kernel.value(strip(kernel, v)).op {
        t1::Op::Mma { a, b, contract, batch } => {
            Some((strip(kernel, *a), strip(kernel, *b), *contract, batch.clone()))
        }
        _ => None,
    }
}

/// The constant that a tile holds everywhere, if it is one.
pub fn constant(kernel: &t1::Kernel, v: t1::ValueId) -> Option<f64> {
    match &kernel.value(v).op {
        t1::Op::Broadcast(x) | t1::Op::Reorder(x) | t1::Op::Cast(x) => constant(kernel, *x),
        t1::Op::Const(t1::Const::Float(f)) => Some(*f),
        t1::Op::Const(t1::Const::Int(i)) => Some(*i as f64),
        _ => None,
    }
}

/// What is said of a product for each coordinate of a range inside one tile.
pub(super) fn batched(span: Span) -> Refusal {
    Refusal::construct(span, "a product with batch axes inside one tile")
        .note("a matrix instruction multiplies one pair of matrices")
        .help("visit the batch by single coordinates: `grid b over B` in place of `grid b over B by 2`")
}

/// What is said of operands of two sizes.
pub(super) fn mixed(span: Span, a: t1::ElemType, b: t1::ElemType) -> Refusal {
    Refusal::construct(span, format!("`@` of {a} and {b}"))
        .note("a matrix instruction takes elements of one size")
        .help("convert the narrower side, as in `(b[j, k] as f16)`")
}
