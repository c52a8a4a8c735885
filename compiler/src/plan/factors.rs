//! Scalar factors side by side are one: `(x * scale) * LOG2E` multiplies once per element.
//!
//! The language lets a machine fold scalar factors of floats. T1 to T1, for products whose inner one is used nowhere else:
//! ```text
//! %9 = %8 * scale : f32[i, j]            %10 = scale * 1.4426950216293335 : f32
//! %z = %9 * 1.4426950216293335           %z = %8 * %10 : f32[i, j]
//! ```

use super::access::launch_scalar;
use crate::tile::ir as t1;
use t1::{BinaryOp, ElemType, Op, Stmt, TileType, Value, ValueId};

/// The kernel with its scalar factors folded; `None` where there are none to fold.
pub fn apply(kernel: &t1::Kernel) -> Option<t1::Kernel> {
    let mut users = vec![0u32; kernel.values.len()];
    kernel.values.iter().flat_map(|v| v.op.operands()).for_each(|x| users[x.0 as usize] += 1);
    let carried = kernel.loops.iter().flat_map(|l| &l.carried).flat_map(|c| [c.init, c.next]);
    let merged = kernel.ifs.iter().flat_map(|i| &i.results).flat_map(|r| [r.then_value, r.else_value]);
    carried.chain(merged).for_each(|x| users[x.0 as usize] += 1);
    for stmt in blocks(&mut kernel.clone()).flat_map(|b| &b.stmts) {
        match stmt {
            Stmt::Write(w) => users[w.value.0 as usize] += 1,
            Stmt::Atomic(a) => users[a.value.0 as usize] += 1,
            Stmt::Let(_) | Stmt::For(_) | Stmt::If(_) => {}
        }
    }
    let factor = |v: ValueId| -> Option<(ValueId, ValueId)> {
        let value = kernel.value(v);
        let Op::Binary(BinaryOp::Mul, x, y) = value.op else { return None };
        if value.ty.elem != ElemType::F32 || value.ty.is_scalar() {
            return None;
        }
        match (launch_scalar(kernel, x), launch_scalar(kernel, y)) {
            (false, true) => Some((x, y)),
            (true, false) => Some((y, x)),
            _ => None,
        }
    };
    let mut out: Option<t1::Kernel> = None;
    for n in 0..kernel.values.len() {
        let v = ValueId(n as u32);
        let Some((inner, b)) = factor(v) else { continue };
        let Some((x, a)) = factor(inner) else { continue };
        if users[inner.0 as usize] != 1 || kernel.ty(x) != kernel.ty(v) {
            continue;
        }
        let out = out.get_or_insert_with(|| kernel.clone());
        let span = kernel.value(v).span;
        let (ty, op) = (TileType::scalar(ElemType::F32), Op::Binary(BinaryOp::Mul, a, b));
        out.values.push(Value { ty, op, span, name: None });
        let both = ValueId(out.values.len() as u32 - 1);
        out.values[n].op = Op::Binary(BinaryOp::Mul, x, both);
        for block in blocks(out) {
            if let Some(at) = block.stmts.iter().position(|s| matches!(s, Stmt::Let(w) if *w == v)) {
                block.stmts.insert(at, Stmt::Let(both));
            }
        }
    }
    out
}

/// Every block of statements.
fn blocks(kernel: &mut t1::Kernel) -> impl Iterator<Item = &mut t1::Block> {
    let whens = kernel.grid_when.iter_mut().map(|w| &mut w.block);
    let loops = kernel.loops.iter_mut().flat_map(|l| {
        let when = l.when.iter_mut().map(|w| &mut w.block);
        std::iter::once(&mut l.body).chain(when)
    });
    let ifs = kernel.ifs.iter_mut().flat_map(|i| [&mut i.then_block, &mut i.else_block]);
    [&mut kernel.body, &mut kernel.entry].into_iter().chain(whens).chain(loops).chain(ifs)
}
