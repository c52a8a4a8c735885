//! Grids, loops and conditionals as SSA.
//!
//! A variable that a loop assigns is carried: a parameter at its start, the value at its end, a result after it. It is a declared
//! reduction where all that the loop does with it is one `op=`, read nowhere else in the loop, its `when` and inner loops included.

use super::Elab;
use super::arith::Class;
use super::scan_names::assigned;
use super::value::{Binding, Static, Val};
use crate::diagnostics::{Diagnostic, Span, codes};
use crate::front::LocalId;
use crate::front::ast::{self, Expr, Over};
use crate::tile::*;

/// A loop under construction.
pub(super) struct LoopState {
    pub carried: Vec<CarriedVar>,
}

/// What a loop does with a variable from outside.
pub(super) struct CarriedVar {
    pub var: usize,
    pub param: ValueId,
    pub read: bool,
    /// The operations of its updates; `None` in the list is an assignment or one that does not reduce.
    pub updates: Vec<Option<Combine>>,
}

impl Elab<'_> {
    // ----------------------------------------------------------------------------------------------------------- grid

    pub(super) fn grid(
        &mut self,
        vars: &[Over],
        when: Option<&Expr>,
        body: Option<&ast::Block>,
        span: Span,
        top: bool,
    ) {
        let misplaced = if !top || !self.calls.is_empty() {
            Some(("`grid` stands directly in a kernel's body", "not here"))
        } else if body.is_some() || self.grid_seen.is_some() {
            Some((
                "several grids in one kernel are a later addition",
                "one `grid …;` without a block is what there is now",
            ))
        } else if self.block.iter().any(|s| !matches!(s, Stmt::Let(_))) {
            Some(("only `let` may stand before `grid`", "move loops, `if`s and writes behind it"))
        } else {
            None
        };
        if let Some((message, label)) = misplaced {
            let mut d = Diagnostic::error(codes::MISPLACED, message).label(span, label);
            if let Some(first) = self.grid_seen.filter(|_| top) {
                d = d.secondary(first, "the first grid");
            }
            self.error(d);
            for v in vars {
                self.bind(&v.name, Binding::Val(Val::Poison));
            }
            if let Some(b) = body {
                self.stmts(&b.stmts, false);
            }
            return;
        }
        self.grid_seen = Some(span);
        let before = self.cut_block();
        self.k.entry.stmts.extend(before.stmts);
        for v in vars {
            let d = self.domain(&v.domain);
            let Some(d) = d else {
                self.bind(&v.name, Binding::Val(Val::Poison));
                continue;
            };
            let id = GridId(self.k.grid.len() as u32);
            let var = self.fresh(Op::GridVar(id), TileType::scalar(ElemType::Index), v.name.span);
            let block = self.cut_block();
            self.k.grid.push(GridVar {
                name: v.name.to_string(),
                block,
                var,
                axis: None,
                lo: d.lo,
                hi: d.hi,
                span: v.span,
            });
            let val = match d.by {
                None => Val::Value(var),
                Some(extent) => {
                    let axis = self.new_axis(Axis {
                        name: v.name.to_string(),
                        extent,
                        lo: var,
                        hi: d.hi,
                        kind: AxisKind::Grid(id),
                        span: v.span,
                    });
                    self.k.grid[id.0 as usize].axis = Some(axis);
                    Val::Range(axis)
                }
            };
            self.bind(&v.name, Binding::Val(val));
        }
        if let Some(w) = when
            && let Some(cond) = self.condition(w)
        {
            let block = self.cut_block();
            self.k.grid_when = Some(When { block, cond });
        }
    }

    /// A `when` of a loop or grid: `None` if always true or after an error.
    fn condition(&mut self, w: &Expr) -> Option<ValueId> {
        let v = self.expr(w, Some(ElemType::Bool));
        if v.as_static().and_then(Static::as_bool) == Some(true) {
            return None;
        }
        let c = self.value_of(&v, Some(ElemType::Bool), w.span)?;
        self.require("when", Class::Bool, c, w.span).then_some(c)
    }

    /// The variables among `locals` that exist now.
    fn outer_muts(&self, locals: &[LocalId]) -> Vec<usize> {
        locals
            .iter()
            .filter_map(|l| match self.env.get(l.0 as usize) {
                Some(Binding::Mut(m)) if self.muts[*m].state.is_some() => Some(*m),
                _ => None,
            })
            .collect()
    }

    pub(super) fn for_stmt(&mut self, var: &Over, when: Option<&Expr>, body: &ast::Block, span: Span) {
        let domain = self.domain(&var.domain);
        let carried = self.outer_muts(&assigned(self.program, &[body]));
        let id = LoopId(self.k.loops.len() as u32);
        let zero = self.index(0, span);
        let (lo, hi) = domain.as_ref().map_or((zero, zero), |d| (d.lo, d.hi));
        let index = TileType::scalar(ElemType::Index);
        let at = self.fresh(Op::LoopVar(id), index, var.name.span);
        self.k.loops.push(Loop {
            name: var.name.to_string(),
            var: at,
            axis: None,
            lo,
            hi,
            rev: domain.as_ref().is_some_and(|d| d.rev),
            when: None,
            carried: Vec::new(),
            body: Block::default(),
            full: None,
            span,
        });
        let mut inits = Vec::new();
        let mut state = LoopState { carried: Vec::new() };
        for (n, &m) in carried.iter().enumerate() {
            let Some((ty, init)) = self.muts[m].state.clone() else { continue };
            let name = self.muts[m].name.to_string();
            let param = self.fresh(Op::LoopParam(id, n), ty.clone(), self.muts[m].span);
            self.name_value(param, &name);
            self.muts[m].state = Some((ty, param));
            inits.push(init);
            state.carried.push(CarriedVar { var: m, param, read: false, updates: Vec::new() });
        }
        self.loops.push(state);
        let (block, loop_when) = self.in_block(|e| {
            let val = match &domain {
                None => Val::Poison,
                Some(d) => match d.by {
                    None => Val::Value(at),
                    Some(extent) => {
                        let axis = e.new_axis(Axis {
                            name: var.name.to_string(),
                            extent,
                            lo: at,
                            hi: d.hi,
                            kind: AxisKind::Loop(id),
                            span: var.span,
                        });
                        e.k.loops[id.0 as usize].axis = Some(axis);
                        Val::Range(axis)
                    }
                },
            };
            e.bind(&var.name, Binding::Val(val));
            let cond = when.and_then(|w| {
                let cond = e.condition(w);
                if e.block.iter().any(|s| !matches!(s, Stmt::Let(_))) {
                    e.error(
                        Diagnostic::error(
                            codes::MISPLACED,
                            "a `when` only looks: it has no effects and no loops",
                        )
                        .label(w.span, "this does more"),
                    );
                }
                cond
            });
            let loop_when = cond.map(|cond| When { block: e.cut_block(), cond });
            e.stmts(&body.stmts, false);
            loop_when
        });
        let state = self.loops.pop();
        let Some(state) = state else { return };
        let mut list = Vec::new();
        for (n, (c, init)) in state.carried.iter().zip(inits).enumerate() {
            let Some((ty, next)) = self.muts[c.var].state.clone() else { continue };
            let (name, declared) = (self.muts[c.var].name.to_string(), self.muts[c.var].span);
            let result = self.fresh(Op::LoopResult(id, n), ty.clone(), declared);
            self.name_value(result, &name);
            self.muts[c.var].state = Some((ty, result));
            list.push(Carried { name, init, param: c.param, next, result, kind: c.kind(), span: declared });
        }
        let l = &mut self.k.loops[id.0 as usize];
        l.carried = list;
        l.when = loop_when;
        l.body = block;
        self.block.push(Stmt::For(id));
    }

    pub(super) fn if_stmt(
        &mut self,
        cond: &Expr,
        then: &ast::Block,
        otherwise: Option<&ast::Block>,
        span: Span,
    ) {
        let v = self.expr(cond, Some(ElemType::Bool));
        if let Some(known) = v.as_static().and_then(Static::as_bool) {
            let taken = if known { Some(then) } else { otherwise };
            if let Some(b) = taken {
                self.stmts(&b.stmts, false);
            }
            return;
        }
        let c = self.value_of(&v, Some(ElemType::Bool), cond.span);
        let c = c.filter(|c| self.require("if", Class::Bool, *c, cond.span));
        if let Some(c) = c
            && !self.k.ty(c).is_scalar()
        {
            let text = self.value_type_text(c);
            self.error(
                Diagnostic::error(codes::NOT_SCALAR, "`if` takes a scalar")
                    .label(cond.span, format!("this is `{text}`"))
                    .help("choose per element with `where(c, x, y)`, or reduce it: `any(c over i)`"),
            );
        }
        let blocks: Vec<&ast::Block> = std::iter::once(then).chain(otherwise).collect();
        let changed = self.outer_muts(&assigned(self.program, &blocks));
        let before: Vec<_> = changed.iter().map(|m| self.muts[*m].state.clone()).collect();
        self.if_depth += 1;
        let (then_block, ()) = self.in_block(|e| e.stmts(&then.stmts, false));
        let after_then: Vec<_> = changed.iter().map(|m| self.muts[*m].state.clone()).collect();
        for (m, s) in changed.iter().zip(&before) {
            self.muts[*m].state = s.clone();
        }
        let (else_block, ()) = self.in_block(|e| {
            if let Some(b) = otherwise {
                e.stmts(&b.stmts, false);
            }
        });
        self.if_depth -= 1;
        // Without a condition there is no `if` that results could belong to; the error is reported.
        let Some(cond) = c else { return };
        let id = IfId(self.k.ifs.len() as u32);
        let mut results = Vec::new();
        for (m, then_state) in changed.iter().zip(after_then) {
            let (Some((ty, t)), Some((_, e))) = (then_state, self.muts[*m].state.clone()) else { continue };
            if t == e {
                continue;
            }
            let name = self.muts[*m].name.to_string();
            let result = self.fresh(Op::IfResult(id, results.len()), ty.clone(), self.muts[*m].span);
            self.name_value(result, &name);
            self.muts[*m].state = Some((ty, result));
            results.push(IfResult { name, then_value: t, else_value: e, result });
        }
        self.k.ifs.push(If { cond, then_block, else_block, results, span });
        self.block.push(Stmt::If(id));
    }
}

impl CarriedVar {
    fn kind(&self) -> CarryKind {
        match self.updates[..] {
            [Some(first), ..] if !self.read && self.updates.iter().all(|u| *u == Some(first)) => {
                CarryKind::Assoc(first)
            }
            _ => CarryKind::Seq,
        }
    }
}
