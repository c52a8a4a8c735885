//! Products with a vector are sums: `a[i, k] @ x[k]` has no columns, and a matrix instruction would compute seven of eight for nothing.
//!
//! T1 to T1, wherever an operand of `@` keeps no axis of its own:
//! ```text
//! %p = %a @ %x over k : f32[i]          %a.w = cast %a : f32   %x.w = cast %x : f32   %m = %a.w * %x.w : f32[i, k]
//!                                       %p = sum %m over k : f32[i]
//! ```
//! Sums are of the product's own type, so it means the same.

use super::monotone::push;
use crate::tile::ir as t1;
use t1::{AxisId, BinaryOp, Op, ReduceOp, Stmt, TileType, ValueId};

/// The kernel with such products as sums; `None` where it has none.
pub fn apply(kernel: &t1::Kernel) -> Option<t1::Kernel> {
    let some = (0..kernel.values.len() as u32).any(|v| vector(kernel, ValueId(v)));
    if !some {
        return None;
    }
    let mut out = kernel.clone();
    let mut body = std::mem::take(&mut out.body);
    block(&mut out, &mut body);
    out.body = body;
    for n in 0..out.loops.len() {
        let mut body = std::mem::take(&mut out.loops[n].body);
        block(&mut out, &mut body);
        out.loops[n].body = body;
    }
    for n in 0..out.ifs.len() {
        let mut arms =
            (std::mem::take(&mut out.ifs[n].then_block), std::mem::take(&mut out.ifs[n].else_block));
        block(&mut out, &mut arms.0);
        block(&mut out, &mut arms.1);
        (out.ifs[n].then_block, out.ifs[n].else_block) = arms;
    }
    Some(out)
}

/// Whether a value is a product of which an operand is a vector.
fn vector(kernel: &t1::Kernel, v: ValueId) -> bool {
    let Op::Mma { a, b, contract, ref batch } = kernel.value(v).op else { return false };
    let keeps = |x: ValueId| kernel.ty(x).axes.iter().any(|axis| *axis != contract && !batch.contains(axis));
    !keeps(a) || !keeps(b)
}

fn block(kernel: &mut t1::Kernel, block: &mut t1::Block) {
    let mut stmts = Vec::with_capacity(block.stmts.len());
    for stmt in std::mem::take(&mut block.stmts) {
        if let Stmt::Let(v) = stmt
            && vector(kernel, v)
            && let Op::Mma { a, b, contract, .. } = kernel.value(v).op
        {
            let elem = kernel.ty(v).elem;
            let [a, b] = [a, b].map(|x| {
                let from = kernel.ty(x).clone();
                if from.elem == elem {
                    return x;
                }
                let wide = push(kernel, TileType { elem, ..from }, Op::Cast(x));
                stmts.push(Stmt::Let(wide));
                wide
            });
            let mut axes: Vec<AxisId> = kernel.ty(a).axes.clone();
            axes.extend(kernel.ty(b).axes.iter().filter(|x| !kernel.ty(a).axes.contains(x)));
            let product = push(kernel, TileType { elem, axes }, Op::Binary(BinaryOp::Mul, a, b));
            stmts.push(Stmt::Let(product));
            kernel.values[v.0 as usize].op =
                Op::Reduce { op: ReduceOp::Sum, x: product, axes: vec![contract] };
        }
        stmts.push(stmt);
    }
    block.stmts = stmts;
}
