//! Operands of `@` as the matrix unit takes them: floats of at most 8 bits become halves, integers of fewer than 8 bits become bytes.
//!
//! Both conversions are exact, so the product means the same. T1 to T1:
//! ```text
//! %p = %a @ %b over k     a, b: e4m3        %a.w = cast %a : f16   %b.w = cast %b : f16   %p = %a.w @ %b.w over k
//! ```
//! Targets with an fp8 unit take e4m3 and e5m2 as they are, and single bits are bits where a tile is deep enough for their matrix
//! instruction.
//!
//! Every float of at most 8 bits with up to 5 bits of exponent is an f16 (e5m2's infinities and NaNs included); the others are bf16s.

use super::contraction::strip;
use crate::target::Target;
use crate::tile::ir as t1;
use t1::{ElemType, Op, Stmt, TileType, Value, ValueId};

/// The kernel with its narrow operands widened; `None` where it has none.
pub fn apply(kernel: &t1::Kernel, target: Target) -> Option<t1::Kernel> {
    let narrow = |v: &Value| match v.op {
        Op::Mma { a, b, contract, .. } => {
            !taken(kernel, a, b, contract, target)
                && [a, b].into_iter().any(|x| wide(kernel.ty(x).elem).is_some())
        }
        _ => false,
    };
    if !kernel.values.iter().any(narrow) {
        return None;
    }
    let mut out = kernel.clone();
    let mut body = std::mem::take(&mut out.body);
    block(&mut out, &mut body, target);
    out.body = body;
    for n in 0..out.loops.len() {
        let mut body = std::mem::take(&mut out.loops[n].body);
        block(&mut out, &mut body, target);
        out.loops[n].body = body;
    }
    for n in 0..out.ifs.len() {
        let mut arms =
            (std::mem::take(&mut out.ifs[n].then_block), std::mem::take(&mut out.ifs[n].else_block));
        block(&mut out, &mut arms.0, target);
        block(&mut out, &mut arms.1, target);
        (out.ifs[n].then_block, out.ifs[n].else_block) = arms;
    }
    Some(out)
}

/// Whether the target's matrix unit multiplies these as they are.
fn taken(kernel: &t1::Kernel, a: ValueId, b: ValueId, contract: t1::AxisId, target: Target) -> bool {
    // What is packed is unpacked to halves in any case.
    let packed = |x: ValueId| match kernel.value(strip(kernel, x)).op {
        Op::Read { tensor, .. } => kernel.tensor(tensor).kind == t1::TensorKind::Packed,
        _ => false,
    };
    let all = |f: &dyn Fn(ElemType) -> bool| [a, b].into_iter().all(|x| f(kernel.ty(x).elem));
    let fp8 = |elem: ElemType| matches!(elem, ElemType::E4M3 | ElemType::E5M2);
    let bits = |elem: ElemType| elem == ElemType::Uint(1);
    target == Target::Sm89 && all(&fp8) && !packed(a) && !packed(b)
        || kernel.axis(contract).extent.is_multiple_of(256) && all(&bits)
}

/// The type that the matrix unit takes in place of this one.
fn wide(elem: ElemType) -> Option<ElemType> {
    match elem {
        ElemType::Small { exponent, .. } if exponent <= 5 => Some(ElemType::F16),
        ElemType::Small { .. } => Some(ElemType::Bf16),
        ElemType::Int(w) if w < 8 => Some(ElemType::Int(8)),
        ElemType::Uint(w) if w < 8 => Some(ElemType::Uint(8)),
        ElemType::Bipolar(w) if w < 8 => Some(ElemType::Int(8)),
        _ => None,
    }
}

fn block(kernel: &mut t1::Kernel, block: &mut t1::Block, target: Target) {
    let mut stmts = Vec::with_capacity(block.stmts.len());
    for stmt in std::mem::take(&mut block.stmts) {
        if let Stmt::Let(v) = stmt
            && let Op::Mma { a, b, contract, batch } = kernel.value(v).op.clone()
            && !taken(kernel, a, b, contract, target)
        {
            let [a, b] = [a, b].map(|x| match wide(kernel.ty(x).elem) {
                Some(elem) => {
                    let cast = widened(kernel, x, elem);
                    stmts.push(Stmt::Let(cast));
                    cast
                }
                None => x,
            });
            kernel.values[v.0 as usize].op = Op::Mma { a, b, contract, batch };
        }
        stmts.push(stmt);
    }
    block.stmts = stmts;
}

fn widened(kernel: &mut t1::Kernel, x: ValueId, elem: ElemType) -> ValueId {
    let ty = TileType { elem, axes: kernel.ty(x).axes.clone() };
    let span = kernel.value(x).span;
    kernel.values.push(Value { ty, op: Op::Cast(x), span, name: None });
    ValueId(kernel.values.len() as u32 - 1)
}
