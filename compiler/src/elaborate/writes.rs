//! Who writes what: no two instances of the grid may write one element with values of their own.
//!
//! Every value depends on some grid variables. A write whose value depends on one on which neither its place, nor the domains around it, nor its
//! conditions depend is an error; one in which nothing depends on a variable happens once for all its values.

use super::Elab;
use crate::diagnostics::{Diagnostic, codes};
use crate::tile::*;

/// A set of grid variables, by bit.
type Vars = u64;

impl Elab<'_> {
    /// Checks all writes and notes which of them happen once.
    pub(super) fn check_writes(&mut self) {
        let n = self.k.grid.len();
        if n == 0 {
            return;
        }
        if n > 64 {
            let span = self.k.grid[64].span;
            self.error(
                Diagnostic::error(codes::MISPLACED, "a grid has at most 64 variables")
                    .label(span, "one too many"),
            );
            return;
        }
        let depends = Depends::of(&self.k);
        let grid_when = self.k.grid_when.as_ref().map_or(0, |w| depends.values[w.cond.0 as usize]);
        let mut body = std::mem::take(&mut self.k.body);
        self.check_block(&mut body, grid_when, &depends);
        self.k.body = body;
    }

    fn check_block(&mut self, block: &mut Block, around: Vars, d: &Depends) {
        for s in &mut block.stmts {
            match s {
                Stmt::Write(w) => self.check_write(w, around, d),
                Stmt::For(l) => {
                    let l = *l;
                    let at = l.0 as usize;
                    let inner = around | d.trips(&self.k.loops[at]);
                    let mut body = std::mem::take(&mut self.k.loops[at].body);
                    self.check_block(&mut body, inner, d);
                    self.k.loops[at].body = body;
                }
                Stmt::If(i) => {
                    let at = i.0 as usize;
                    let inner = around | d.values[self.k.ifs[at].cond.0 as usize];
                    for then in [true, false] {
                        let i = &mut self.k.ifs[at];
                        let mut b = std::mem::take(if then { &mut i.then_block } else { &mut i.else_block });
                        self.check_block(&mut b, inner, d);
                        let i = &mut self.k.ifs[at];
                        *(if then { &mut i.then_block } else { &mut i.else_block }) = b;
                    }
                }
                Stmt::Let(_) | Stmt::Atomic(_) => {}
            }
        }
    }

    fn check_write(&mut self, w: &mut Write, around: Vars, d: &Depends) {
        let place = w.ix.iter().chain(&w.when).fold(around, |v, x| v | d.values[x.0 as usize]);
        let value = d.values[w.value.0 as usize];
        let all = if self.k.grid.len() == 64 { Vars::MAX } else { (1 << self.k.grid.len()) - 1 };
        let clash = value & !place;
        if clash == 0 {
            let vars = (0..self.k.grid.len() as u32).filter(|g| all & !place & (1 << g) != 0);
            w.once_over = vars.map(GridId).collect();
            return;
        }
        let vars: Vec<&GridVar> =
            self.k.grid.iter().enumerate().filter(|(g, _)| clash & (1 << g) != 0).map(|(_, v)| v).collect();
        let names: Vec<&str> = vars.iter().map(|v| v.name.as_str()).collect();
        let list = names.join("`, `");
        let count = match &vars[..] {
            [one] => instances(&self.k, one)
                .map_or_else(|| "several instances write".into(), |n| format!("{n} instances write")),
            _ => "several instances write".to_string(),
        };
        let over = if names.len() == 1 { names[0].to_string() } else { format!("({})", names.join(", ")) };
        let mut e = Diagnostic::error(codes::SAME_ELEMENT, format!("{count} the same element"))
            .label(w.span, format!("the value depends on `{list}`, the place does not"));
        for v in &vars {
            e = e.secondary(v.span, format!("one instance per `{}`", v.name));
        }
        let e = e
            .help(format!("combine them first: `sum(… over grid {over})`"))
            .help("or write to a place of their own, or combine in memory with `atomic … += …`");
        self.error(e);
    }
}

/// How many values a grid variable takes, where static.
fn instances(k: &Kernel, v: &GridVar) -> Option<i64> {
    let by = v.axis.map_or(1, |a| i64::from(k.axis(a).extent));
    let (lo, hi) = (k.const_int(v.lo)?, k.const_int(v.hi)?);
    let n = hi.checked_sub(lo)?.checked_add(by - 1)? / by;
    (n > 1).then_some(n)
}

/// On which grid variables each value depends.
struct Depends {
    values: Vec<Vars>,
}

impl Depends {
    fn of(k: &Kernel) -> Depends {
        let mut d = Depends { values: vec![0; k.values.len()] };
        // Loops feed values back, so go round until nothing changes: sets only grow, so this ends.
        loop {
            let mut changed = false;
            for n in 0..k.values.len() {
                let now = d.value(k, n) | d.values[n];
                changed |= now != d.values[n];
                d.values[n] = now;
            }
            for a in k.loops.iter().flat_map(|l| atomics(&l.body)).chain(atomics(&k.body)).chain(
                k.ifs.iter().flat_map(|i| atomics(&i.then_block).into_iter().chain(atomics(&i.else_block))),
            ) {
                if let Some(old) = a.old {
                    // What was there before depends on who came before.
                    let all = if k.grid.len() == 64 { Vars::MAX } else { (1 << k.grid.len()) - 1 };
                    changed |= d.values[old.0 as usize] != all;
                    d.values[old.0 as usize] = all;
                }
            }
            if !changed {
                return d;
            }
        }
    }

    fn get(&self, v: ValueId) -> Vars {
        self.values[v.0 as usize]
    }

    fn axis(&self, k: &Kernel, a: AxisId) -> Vars {
        self.get(k.axis(a).lo) | self.get(k.axis(a).hi)
    }

    /// What decides which trips a loop makes.
    fn trips(&self, l: &Loop) -> Vars {
        self.get(l.lo) | self.get(l.hi) | l.when.as_ref().map_or(0, |w| self.get(w.cond))
    }

    fn value(&self, k: &Kernel, n: usize) -> Vars {
        let v = &k.values[n];
        let own = v.op.operands().iter().fold(0, |all, x| all | self.get(*x));
        match &v.op {
            Op::GridVar(g) => {
                let var = k.grid_var(*g);
                (1 << g.0) | self.get(var.lo) | self.get(var.hi)
            }
            Op::LoopVar(l) => self.trips(k.loop_(*l)),
            Op::LoopParam(l, n) | Op::LoopResult(l, n) => {
                let l = k.loop_(*l);
                l.carried.get(*n).map_or(0, |c| self.get(c.init) | self.get(c.next)) | self.trips(l)
            }
            Op::IfResult(i, n) => {
                let i = k.if_(*i);
                self.get(i.cond)
                    | i.results.get(*n).map_or(0, |r| self.get(r.then_value) | self.get(r.else_value))
            }
            Op::Iota(a) => self.axis(k, *a),
            // Which lanes exist decides what is summed.
            Op::Reduce { axes, .. } => axes.iter().fold(own, |all, a| all | self.axis(k, *a)),
            Op::Mma { contract, .. } => own | self.axis(k, *contract),
            Op::GridReduce { vars, .. } => own & !vars.iter().fold(0, |all, g| all | (1 << g.0)),
            _ => own,
        }
    }
}

fn atomics(b: &Block) -> Vec<&Atomic> {
    b.stmts
        .iter()
        .filter_map(|s| match s {
            Stmt::Atomic(a) => Some(a),
            _ => None,
        })
        .collect()
}
