//! Another way of rounding that the language allows: `(a - b) * c` of halves as `fma(a, c, -(b * c))`.
//!
//! What is computed for `@` may be computed so, where b and c are a group's zero point and scale. Errors of the one way are no measure of the
//! other's: with few results, the plain one may be right by luck. So whoever judges a result asks for both. T1 to T1:
//! ```text
//! %d = %w - %z                       %q = %z * %s
//! %v = %d * %s                       %n = - %q
//!                                    %v = fma %w, %s, %n
//! ```

use super::ir::*;
use rustc_hash::FxHashSet;

/// The kernel with its operands of products multiplied out; `None` where there are none to multiply out.
pub fn distributed(kernel: &Kernel) -> Option<Kernel> {
    let mut out: Option<Kernel> = None;
    for v in operands(kernel) {
        let Some((a, b, c)) = difference_times(kernel, v) else { continue };
        let out = out.get_or_insert_with(|| kernel.clone());
        let like = out.value(v).clone();
        let mut made = |op: Op| {
            out.values.push(Value { op, name: None, ..like.clone() });
            ValueId(out.values.len() as u32 - 1)
        };
        let product = made(Op::Binary(BinaryOp::Mul, b, c));
        let minus = made(Op::Unary(UnaryOp::Neg, product));
        out.values[v.0 as usize].op = Op::Fma(a, c, minus);
        let before = [Stmt::Let(product), Stmt::Let(minus)];
        let placed = put_before(&mut out.body, v, &before)
            || out.loops.iter_mut().any(|l| put_before(&mut l.body, v, &before));
        if !placed {
            // In a condition or a branch: too rare to be looked for.
            return None;
        }
    }
    out
}

/// What operands of products are computed from, element by element.
fn operands(kernel: &Kernel) -> Vec<ValueId> {
    let products = kernel.values.iter().filter_map(|v| match v.op {
        Op::Mma { a, b, .. } => Some([a, b]),
        _ => None,
    });
    let mut open: Vec<ValueId> = products.flatten().collect();
    let (mut seen, mut found) = (FxHashSet::default(), Vec::new());
    while let Some(v) = open.pop() {
        let op = &kernel.value(v).op;
        if seen.insert(v) && (op.is_elementwise() || matches!(op, Op::Reorder(_))) {
            found.push(v);
            open.extend(op.operands());
        }
    }
    found
}

/// a, b and c of `(a - b) * c`, all of one type of halves.
fn difference_times(kernel: &Kernel, v: ValueId) -> Option<(ValueId, ValueId, ValueId)> {
    let Op::Binary(BinaryOp::Mul, x, y) = kernel.value(v).op else { return None };
    let elem = kernel.ty(v).elem;
    let half = matches!(elem, ElemType::F16 | ElemType::Bf16);
    [(x, y), (y, x)].into_iter().filter(|_| half).find_map(|(difference, c)| {
        match kernel.value(difference).op {
            Op::Binary(BinaryOp::Sub, a, b) if kernel.ty(difference).elem == elem && !whole(kernel, b) => {
                Some((a, b, c))
            }
            _ => None,
        }
    })
}

/// Whether a half was converted from an integer: with whole numbers the difference stays what it is.
fn whole(kernel: &Kernel, v: ValueId) -> bool {
    match kernel.value(v).op {
        Op::Broadcast(x) | Op::Reorder(x) => whole(kernel, x),
        Op::Cast(x) => kernel.ty(x).elem.is_integer(),
        _ => false,
    }
}

fn put_before(block: &mut Block, v: ValueId, stmts: &[Stmt]) -> bool {
    let Some(at) = block.stmts.iter().position(|s| matches!(s, Stmt::Let(w) if *w == v)) else {
        return false;
    };
    block.stmts.splice(at..at, stmts.iter().cloned());
    true
}
