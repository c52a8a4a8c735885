//! Short loops of constant length around `@` are written out: `for p over 2 { for q over 8 { acc += …p…q… } }` is sixteen products of one step.
//!
//! T1 to T1, innermost loops first. What does not depend on the loop is computed once:
//! ```text
//! for p over 0..2 carry %acc.2 = %acc.1 {          %1 = read w[j, k]
//!     %1 = read w[j, k]                            %2 = %1 >> 0  …  %acc.3 = %acc.1 + …
//!     %2 = %1 >> p  …  %acc.3 = %acc.2 + …         %4 = %1 >> 1  …  %acc.5 = %acc.3 + …
//!     next %acc.3                                  and %acc.5 for %acc.6
//! } -> %acc.6
//! ```

use super::contraction::multiplies;
use crate::elaborate::renamed;
use crate::tile::ir as t1;
use rustc_hash::FxHashMap;
use t1::{Const, LoopId, Op, Stmt, Value, ValueId};

/// Most trips of a loop that is written out, and of all loops in one another.
const MOST: i64 = 64;

/// The kernel with such loops written out; `None` where it has none.
pub fn apply(kernel: &t1::Kernel) -> Option<t1::Kernel> {
    let inner: Vec<LoopId> = (0..kernel.loops.len() as u32)
        .map(LoopId)
        .filter(|id| {
            let nested = |l: &t1::Loop| l.body.stmts.iter().any(|s| matches!(s, Stmt::For(x) if x == id));
            kernel.loops.iter().any(nested) && short(kernel, *id).is_some()
        })
        .collect();
    let products = |id: &LoopId| multiplies(kernel, &kernel.loop_(*id).body);
    if !inner.iter().any(products) {
        return None;
    }
    let mut out = kernel.clone();
    let mut left: Vec<LoopId> = inner.into_iter().filter(products).collect();
    // A loop that holds another waits until that is written out.
    while let Some(at) = left.iter().position(|id| plain(&out, *id)) {
        Unroll { kernel: &mut out, id: left.remove(at) }.run();
    }
    Some(out)
}

/// The coordinates of a loop of constant, short length.
fn short(kernel: &t1::Kernel, id: LoopId) -> Option<(i64, i64)> {
    let l = kernel.loop_(id);
    if l.axis.is_some() || l.when.is_some() || l.rev {
        return None;
    }
    let (lo, hi) = (kernel.const_int(l.lo)?, kernel.const_int(l.hi)?);
    (hi - lo <= MOST).then_some((lo, hi))
}

/// Whether a loop's body only computes.
fn plain(kernel: &t1::Kernel, id: LoopId) -> bool {
    kernel.loop_(id).body.stmts.iter().all(|s| matches!(s, Stmt::Let(_)))
}

struct Unroll<'a> {
    kernel: &'a mut t1::Kernel,
    id: LoopId,
}

impl Unroll<'_> {
    fn run(&mut self) {
        let Some((lo, hi)) = short(self.kernel, self.id) else { return };
        let l = self.kernel.loop_(self.id).clone();
        let mut stmts = Vec::new();
        let mut now: Vec<ValueId> = l.carried.iter().map(|c| c.init).collect();
        let varying = self.varying(&l);
        let kept = l.body.stmts.iter().filter(|s| !matches!(s, Stmt::Let(v) if varying.contains_key(v)));
        stmts.extend(kept.cloned());
        for at in lo..hi {
            let mut new: FxHashMap<ValueId, ValueId> = FxHashMap::default();
            let span = self.kernel.value(l.var).span;
            let ty = self.kernel.ty(l.var).clone();
            let here = self.push(Value { ty, op: Op::Const(Const::Int(at.into())), span, name: None });
            stmts.push(Stmt::Let(here));
            new.insert(l.var, here);
            new.extend(l.carried.iter().zip(&now).map(|(c, v)| (c.param, *v)));
            for stmt in &l.body.stmts {
                let Stmt::Let(v) = stmt else { continue };
                if !varying.contains_key(v) {
                    continue;
                }
                let value = self.kernel.value(*v).clone();
                let op = renamed(&value.op, |x| new.get(&x).copied().unwrap_or(x), |a| a);
                let copy = self.push(Value { op, ..value });
                stmts.push(Stmt::Let(copy));
                new.insert(*v, copy);
            }
            now = l.carried.iter().map(|c| new.get(&c.next).copied().unwrap_or(c.next)).collect();
        }
        let results: FxHashMap<ValueId, ValueId> = l.carried.iter().map(|c| c.result).zip(now).collect();
        self.replace(stmts, &results);
    }

    fn push(&mut self, value: Value) -> ValueId {
        self.kernel.values.push(value);
        ValueId(self.kernel.values.len() as u32 - 1)
    }

    /// The values of the body that are another in every trip.
    fn varying(&self, l: &t1::Loop) -> FxHashMap<ValueId, ()> {
        let mut found: FxHashMap<ValueId, ()> = FxHashMap::default();
        found.insert(l.var, ());
        found.extend(l.carried.iter().map(|c| (c.param, ())));
        for stmt in &l.body.stmts {
            let Stmt::Let(v) = stmt else { continue };
            if self.kernel.value(*v).op.operands().iter().any(|x| found.contains_key(x)) {
                found.insert(*v, ());
            }
        }
        found
    }

    /// Puts the statements in the loop's place, and its last values where its results were used.
    fn replace(&mut self, stmts: Vec<Stmt>, results: &FxHashMap<ValueId, ValueId>) {
        let id = self.id;
        let to = |v: &mut ValueId| *v = results.get(v).copied().unwrap_or(*v);
        for v in &mut self.kernel.values {
            v.op = renamed(&v.op, |x| results.get(&x).copied().unwrap_or(x), |a| a);
        }
        for l in &mut self.kernel.loops {
            l.carried.iter_mut().for_each(|c| {
                to(&mut c.next);
                to(&mut c.init);
            });
            if let Some(at) = l.body.stmts.iter().position(|s| matches!(s, Stmt::For(x) if *x == id)) {
                l.body.stmts.splice(at..=at, stmts.iter().cloned());
            }
        }
    }
}
