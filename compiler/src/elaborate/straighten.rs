//! Loops of exactly one trip become straight code, and what is then computed twice is computed once.
//!
//! **Why.** A row kernel reads its row once per loop: `for c … { ss += … } for c … { y[r, c] = … }`. With the row's length frozen and a
//! tile as long, each loop has one trip; both ranges are the same coordinates, so both reads are the same value, and the row stays in
//! registers between them.
//!
//! ```text
//! for c: axis c[1024] over 0..1000 carry ss { … read x[r, c] … }      axis c[1024] over 0..1000
//! for c: axis c[1024] over 0..1000 { … read x[r, c] … }          ⇒    … read x[r, c] …, once, and no loop
//! ```
//!
//! A loop `when false` goes, and what it carries is what it was before: so it is with a mask that shows nothing.
//!
//! Loops around `@` stay: they are pipelines, whatever their length. Two ranges become one axis only if both come from such loops, so
//! they never met in a tile. Reads are merged where nothing can have written in between: from parameters that are only read.

use super::tidy;
use crate::tile::*;
use rustc_hash::FxHashMap;

pub(super) fn straighten(mut kernel: Kernel) -> Kernel {
    let mut s = Straighten {
        same: (0..kernel.values.len() as u32).map(ValueId).collect(),
        axes: (0..kernel.axes.len() as u32).map(AxisId).collect(),
        ranges: FxHashMap::default(),
        changed: false,
    };
    let body = std::mem::take(&mut kernel.body);
    kernel.body = s.splice(&mut kernel, body);
    if !s.changed {
        return kernel;
    }
    let mut scopes = vec![FxHashMap::default()];
    for block in std::iter::once(&kernel.entry).chain(kernel.grid.iter().map(|g| &g.block)) {
        s.merge(&kernel, block, &mut scopes);
    }
    s.merge(&kernel, &kernel.body, &mut scopes);
    tidy::tidy_merged(kernel, s.same, s.axes)
}

type Key = (Op, ElemType, Vec<AxisId>);

struct Straighten {
    /// What each value stands for.
    same: Vec<ValueId>,
    axes: Vec<AxisId>,
    /// Axes of spliced loops by (extent, lo, hi).
    ranges: FxHashMap<(u32, i64, i64), AxisId>,
    changed: bool,
}

impl Straighten {
    fn splice(&mut self, k: &mut Kernel, block: Block) -> Block {
        let mut stmts = Vec::new();
        for stmt in block.stmts {
            match stmt {
                Stmt::For(id) if self.no_trip(k, id) => {}
                Stmt::For(id) => {
                    let body = std::mem::take(&mut k.loops[id.0 as usize].body);
                    let body = self.splice(k, body);
                    if self.one_trip(k, id, &body) {
                        stmts.extend(body.stmts);
                    } else {
                        k.loops[id.0 as usize].body = body;
                        stmts.push(stmt);
                    }
                }
                Stmt::If(id) => {
                    let i = &mut k.ifs[id.0 as usize];
                    let (a, b) = (std::mem::take(&mut i.then_block), std::mem::take(&mut i.else_block));
                    let (a, b) = (self.splice(k, a), self.splice(k, b));
                    let i = &mut k.ifs[id.0 as usize];
                    (i.then_block, i.else_block) = (a, b);
                    stmts.push(stmt);
                }
                other => stmts.push(other),
            }
        }
        Block { stmts }
    }

    /// Whether the loop's condition never holds; if so, its results stand for what it begins with.
    fn no_trip(&mut self, k: &Kernel, id: LoopId) -> bool {
        let l = k.loop_(id);
        if !l.when.as_ref().is_some_and(|w| k.value(w.cond).op == Op::Const(Const::Bool(false))) {
            return false;
        }
        for c in &l.carried {
            self.same[c.result.0 as usize] = c.init;
        }
        self.changed = true;
        true
    }

    /// Whether the loop runs its body exactly once; if so, its variable, state and range stand for what they are then.
    fn one_trip(&mut self, k: &mut Kernel, id: LoopId, body: &Block) -> bool {
        let l = k.loop_(id);
        let (Some(axis), Some(lo), Some(hi), None) = (l.axis, k.const_int(l.lo), k.const_int(l.hi), &l.when)
        else {
            return false;
        };
        let extent = k.axis(axis).extent;
        if hi <= lo || hi.saturating_sub(lo) > i64::from(extent) || multiplies(k, body) {
            return false;
        }
        self.same[l.var.0 as usize] = l.lo;
        for c in &l.carried {
            self.same[c.param.0 as usize] = c.init;
            self.same[c.result.0 as usize] = c.next;
        }
        let at = l.lo;
        match self.ranges.get(&(extent, lo, hi)) {
            Some(first) => self.axes[axis.0 as usize] = *first,
            None => {
                self.ranges.insert((extent, lo, hi), axis);
                let a = &mut k.axes[axis.0 as usize];
                (a.kind, a.lo) = (AxisKind::Let, at);
            }
        }
        self.changed = true;
        true
    }

    fn find(&self, mut v: ValueId) -> ValueId {
        while self.same[v.0 as usize] != v {
            v = self.same[v.0 as usize];
        }
        v
    }

    /// Values that were computed before, in a scope that is still open, stand for the first of them.
    fn merge(&mut self, k: &Kernel, block: &Block, scopes: &mut Vec<FxHashMap<Key, ValueId>>) {
        for stmt in &block.stmts {
            match stmt {
                Stmt::Let(v) => self.merge_value(k, *v, scopes),
                Stmt::For(id) => {
                    scopes.push(FxHashMap::default());
                    if let Some(w) = &k.loop_(*id).when {
                        self.merge(k, &w.block, scopes);
                    }
                    self.merge(k, &k.loop_(*id).body, scopes);
                    scopes.pop();
                }
                Stmt::If(id) => {
                    for branch in [&k.if_(*id).then_block, &k.if_(*id).else_block] {
                        scopes.push(FxHashMap::default());
                        self.merge(k, branch, scopes);
                        scopes.pop();
                    }
                }
                Stmt::Write(_) | Stmt::Atomic(_) => {}
            }
        }
    }

    fn merge_value(&mut self, k: &Kernel, v: ValueId, scopes: &mut [FxHashMap<Key, ValueId>]) {
        let value = k.value(v);
        if let Op::Read { tensor, .. } = &value.op
            && !matches!(k.tensor(*tensor).kind, TensorKind::In | TensorKind::Packed | TensorKind::Const(_))
        {
            return;
        }
        let op = tidy::renamed(&value.op, |x| self.find(x), |a| self.axes[a.0 as usize]);
        let axes = value.ty.axes.iter().map(|a| self.axes[a.0 as usize]).collect();
        let key = (op, value.ty.elem, axes);
        match scopes.iter().find_map(|s| s.get(&key)) {
            Some(first) => self.same[v.0 as usize] = *first,
            None => {
                if let Some(scope) = scopes.last_mut() {
                    scope.insert(key, v);
                }
            }
        }
    }
}

/// Whether a block contains `@`.
fn multiplies(k: &Kernel, block: &Block) -> bool {
    block.stmts.iter().any(|stmt| match stmt {
        Stmt::Let(v) => matches!(k.value(*v).op, Op::Mma { .. }),
        Stmt::For(id) => multiplies(k, &k.loop_(*id).body),
        Stmt::If(id) => multiplies(k, &k.if_(*id).then_block) || multiplies(k, &k.if_(*id).else_block),
        Stmt::Write(_) | Stmt::Atomic(_) => false,
    })
}
