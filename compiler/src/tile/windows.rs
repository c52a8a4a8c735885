//! Sums of a coordinate and a scalar that are only compared, as in the window `j >= i - w && j <= i + w`.
//!
//! Many callers mean "no window" by the greatest number that the scalar can be, and `i + 2147483647` is a coordinate that 32 bits do not hold.
//! It need not be one: a sum beyond them compares with a coordinate as the nearer end of the 32 bits does. So code computes such a sum
//! with saturation, and a launch takes what it comes to, as long as what it is compared with lies between the ends. That is exact for
//! one sum, not for a sum of such sums, and for nothing but comparisons; [`compared`] finds those that are both.

use super::ir::*;
use rustc_hash::FxHashMap;

/// The sums that code computes with saturation, and what each is compared with.
pub fn compared(kernel: &Kernel) -> FxHashMap<ValueId, Vec<ValueId>> {
    let sum = |v: &Value| {
        v.ty.elem == ElemType::Index
            && matches!(v.op, Op::Binary(BinaryOp::Add | BinaryOp::Sub, x, y) if scalar(kernel, x) || scalar(kernel, y))
    };
    let mut found: FxHashMap<ValueId, Vec<ValueId>> = FxHashMap::default();
    if !kernel.values.iter().any(sum) {
        return found;
    }
    let of = Users::of(kernel);
    for (n, _) in kernel.values.iter().enumerate().filter(|(_, v)| sum(v)) {
        let v = ValueId(n as u32);
        let mut with = Vec::new();
        if of.comparisons(kernel, v, &mut with) && !with.is_empty() {
            found.insert(v, with);
        }
    }
    found
}

/// Whether a value is a parameter, alike in all lanes: what callers choose freely.
fn scalar(kernel: &Kernel, v: ValueId) -> bool {
    match kernel.value(v).op {
        Op::Param(_) => true,
        Op::Broadcast(x) | Op::Cast(x) => scalar(kernel, x),
        _ => false,
    }
}

/// Who uses a value.
struct Users {
    values: Vec<Vec<ValueId>>,
    /// By something that is no value: a write, a bound, a loop.
    structure: Vec<bool>,
}

impl Users {
    fn of(kernel: &Kernel) -> Users {
        let count = kernel.values.len();
        let mut users = Users { values: vec![Vec::new(); count], structure: vec![false; count] };
        for (n, v) in kernel.values.iter().enumerate() {
            for x in v.op.operands() {
                users.values[x.0 as usize].push(ValueId(n as u32));
            }
        }
        let mut structure = |v: ValueId| users.structure[v.0 as usize] = true;
        for l in &kernel.loops {
            [l.lo, l.hi].into_iter().for_each(&mut structure);
            l.carried.iter().flat_map(|c| [c.init, c.next]).for_each(&mut structure);
        }
        for g in &kernel.grid {
            [g.lo, g.hi].into_iter().for_each(&mut structure);
        }
        for a in &kernel.axes {
            [a.lo, a.hi].into_iter().for_each(&mut structure);
        }
        for i in &kernel.ifs {
            i.results.iter().flat_map(|m| [m.then_value, m.else_value]).for_each(&mut structure);
        }
        let blocks = [&kernel.entry, &kernel.body].into_iter();
        let blocks = blocks
            .chain(kernel.loops.iter().map(|l| &l.body))
            .chain(kernel.ifs.iter().flat_map(|i| [&i.then_block, &i.else_block]));
        for stmt in blocks.flat_map(|b| &b.stmts) {
            match stmt {
                Stmt::Write(w) => w.ix.iter().copied().chain([w.value]).for_each(&mut structure),
                Stmt::Atomic(a) => a.ix.iter().copied().chain([a.value]).for_each(&mut structure),
                Stmt::Let(_) | Stmt::For(_) | Stmt::If(_) => {}
            }
        }
        users
    }

    /// Whether all uses of `v` are comparisons; with what goes to `with`.
    fn comparisons(&self, kernel: &Kernel, v: ValueId, with: &mut Vec<ValueId>) -> bool {
        !self.structure[v.0 as usize]
            && self.values[v.0 as usize].iter().all(|u| match kernel.value(*u).op {
                Op::Compare(_, x, y) => {
                    with.push(if x == v { y } else { x });
                    true
                }
                Op::Broadcast(_) | Op::Reorder(_) => self.comparisons(kernel, *u, with),
                _ => false,
            })
    }
}
