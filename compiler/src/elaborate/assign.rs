//! Assignments: variables get their next value, tensor elements are written, read and written, or combined atomically.

use super::Elab;
use super::arith::Class;
use super::subscript::Place;

use super::value::{Binding, Static, Val};
use crate::diagnostics::{Diagnostic, Span, codes};
use crate::front::Res;
use crate::front::ast::{Expr, ExprKind, UpdateOp};
use crate::tile::*;

impl Elab<'_> {
    // ----------------------------------------------------------------------------------------------------- assignment

    pub(super) fn assign(&mut self, place: &Expr, value: &Expr, when: Option<&Expr>, span: Span) {
        match &place.kind {
            ExprKind::Index { base, subscripts } => {
                let place = self.tensor_place(base, subscripts, place.span, false);
                let elem = place.as_ref().map(|p| self.k.tensor(p.tensor).elem);
                let v = self.value(value, elem);
                let when = self.place_condition(when, place.as_ref());
                let (Some(place), Some(v), Some(when)) = (place, v, when) else { return };
                self.write(place, v, value.span, when, span);
            }
            ExprKind::Tuple(places) => {
                let v = self.expr(value, None);
                self.no_when(when);
                let parts = self.parts(v, places.len(), place.span, value.span);
                for (p, v) in places.iter().zip(parts) {
                    self.assign_part(p, &v, value.span, span);
                }
            }
            _ => {
                let Some(m) = self.variable(place) else {
                    self.value(value, None);
                    return;
                };
                self.no_when(when);
                let hint = self.muts[m].state.as_ref().map(|(t, _)| t.elem);
                let v = self.expr(value, hint);
                self.set_variable(m, &v, value.span, None);
            }
        }
    }

    fn assign_part(&mut self, place: &Expr, v: &Val, at: Span, span: Span) {
        if let ExprKind::Index { base, subscripts } = &place.kind {
            let Some(place) = self.tensor_place(base, subscripts, place.span, false) else { return };
            let elem = self.k.tensor(place.tensor).elem;
            if let Some(v) = self.value_of(v, Some(elem), at) {
                self.write(place, v, at, None, span);
            }
        } else if let Some(m) = self.variable(place) {
            self.set_variable(m, v, at, None);
        }
    }

    fn no_when(&mut self, when: Option<&Expr>) {
        if let Some(w) = when {
            self.expr(w, Some(ElemType::Bool));
            self.error(
                Diagnostic::error(codes::MISPLACED, "`when` belongs to writes of tensor elements")
                    .label(w.span, "a variable has all its lanes")
                    .help("write `x = where(condition, new, x);`"),
            );
        }
    }

    /// The variable that a place names; `None` after an error.
    fn variable(&mut self, place: &Expr) -> Option<usize> {
        let ExprKind::Name(n) = &place.kind else {
            let v = self.expr(place, None);
            if !v.is_poison() {
                self.error(
                    Diagnostic::error(codes::BAD_PLACE, "this cannot be assigned")
                        .label(place.span, "only variables and tensor elements can stand here"),
                );
            }
            return None;
        };
        let binding = match self.program.res(n) {
            Res::Local(l) => self.env.get(l.0 as usize).cloned().unwrap_or(Binding::Unbound),
            Res::Unresolved => return None,
            _ => Binding::Val(Val::Builtin("")),
        };
        match binding {
            Binding::Mut(m) => Some(m),
            Binding::Unbound | Binding::Val(Val::Poison) => None,
            Binding::Val(v) => {
                let mut d = Diagnostic::error(codes::NOT_MUTABLE, format!("`{n}` cannot be assigned"))
                    .label(n.span, "assigned here");
                if let Res::Local(l) = self.program.res(n) {
                    let local = self.program.local(l);
                    d = d.secondary(local.span, format!("it is {}", local.kind.describe()));
                }
                d = match v {
                    Val::Tensor(_) => d.help(format!("write its elements: `{n}[…] = …;`")),
                    _ => d.help(format!("declare it `let mut {n}`")),
                };
                self.error(d);
                None
            }
        }
    }

    /// Gives a variable its next value. `op`: how an `op=` combined.
    fn set_variable(&mut self, m: usize, v: &Val, at: Span, op: Option<Option<Combine>>) {
        for l in self.loops.iter_mut() {
            if let Some(c) = l.carried.iter_mut().find(|c| c.var == m) {
                c.updates.push(op.flatten());
            }
        }
        let Some((ty, _)) = self.muts[m].state.clone() else {
            self.value_of(v, None, at);
            return;
        };
        let Some(x) = self.value_of(v, Some(ty.elem), at) else { return };
        let (name, declared) = (self.muts[m].name.clone(), self.muts[m].span);
        if let Some(x) = self.store_value(x, ty.elem, &ty.axes, at, &format!("`{name}`"), declared) {
            let x = self.spread(x, &ty.axes, at);
            self.name_value(x, &name);
            self.muts[m].state = Some((ty, x));
        }
    }

    pub(super) fn update(
        &mut self,
        atomic: bool,
        place: &Expr,
        op: UpdateOp,
        value: &Expr,
        when: Option<&Expr>,
        span: Span,
    ) {
        if atomic {
            self.atomic(place, op, value, when, span, false);
            return;
        }
        let (binary, class, combine) = update_op(op);
        if let ExprKind::Index { base, subscripts } = &place.kind {
            let target = self.tensor_place(base, subscripts, place.span, true);
            let elem = target.as_ref().map(|p| self.k.tensor(p.tensor).elem);
            let v = self.value(value, elem);
            let when = self.place_condition(when, target.as_ref());
            let (Some(target), Some(v), Some(when)) = (target, v, when) else { return };
            let ty = TileType { elem: self.k.tensor(target.tensor).elem, axes: target.axes.clone() };
            let old =
                self.emit(Op::Read { tensor: target.tensor, ix: target.ix.clone() }, ty.clone(), place.span);
            let name = self.k.tensor(target.tensor).name.clone();
            let Some(v) =
                self.store_value(v, ty.elem, &ty.axes, value.span, &format!("`{name}`"), place.span)
            else {
                return;
            };
            if self.require(op.text(), class, v, value.span) {
                let new = self.binary_value(binary, old, v, span);
                let new = self.spread(new, &ty.axes, span);
                self.write(target, new, value.span, when, span);
            }
            return;
        }
        let Some(m) = self.variable(place) else {
            self.value(value, None);
            return;
        };
        self.no_when(when);
        let state = self.muts[m].state.clone();
        let v = self.value(value, state.as_ref().map(|(t, _)| t.elem));
        // The value may have changed the variable's meaning: not by itself, but loops in it cannot exist, so the state stands.
        let (Some((ty, old)), Some(v)) = (state, v) else {
            return self.set_variable(m, &Val::Poison, value.span, Some(combine));
        };
        let (name, declared) = (self.muts[m].name.clone(), self.muts[m].span);
        let Some(v) = self.store_value(v, ty.elem, &ty.axes, value.span, &format!("`{name}`"), declared)
        else {
            return;
        };
        if self.require(op.text(), class, v, value.span) {
            let new = self.emit(Op::Binary(binary, old, v), ty, span);
            self.set_variable(m, &Val::Value(new), value.span, Some(combine));
        }
    }

    pub(super) fn atomic_expr(&mut self, place: &Expr, op: UpdateOp, value: &Expr, span: Span) -> Val {
        self.atomic(place, op, value, None, span, true).map_or(Val::Poison, Val::Value)
    }

    fn atomic(
        &mut self,
        place: &Expr,
        op: UpdateOp,
        value: &Expr,
        when: Option<&Expr>,
        span: Span,
        wants_old: bool,
    ) -> Option<ValueId> {
        let ExprKind::Index { base, subscripts } = &place.kind else {
            self.value(value, None);
            self.error(
                Diagnostic::error(codes::BAD_PLACE, "`atomic` combines into elements of a tensor")
                    .label(place.span, "this is no tensor element")
                    .help("without `atomic`, `x += …` changes a variable"),
            );
            return None;
        };
        if self.launch_only {
            self.not_static("a promise", span);
            return None;
        }
        let target = self.tensor_place(base, subscripts, place.span, wants_old);
        let elem = target.as_ref().map(|p| self.k.tensor(p.tensor).elem);
        let v = self.value(value, elem);
        let when = self.place_condition(when, target.as_ref());
        let (target, v, when) = (target?, v?, when?);
        let (_, class, combine) = update_op(op);
        let Some(combine) = combine.or((op == UpdateOp::Xor).then_some(Combine::Xor)) else {
            self.error(
                Diagnostic::error(codes::BAD_PLACE, format!("`{}` cannot be atomic", op.text()))
                    .label(span, "here")
                    .note("atomic are `+=`, `max=`, `min=`, `&=`, `|=` and `^=`"),
            );
            return None;
        };
        let tensor = self.k.tensor(target.tensor);
        let (name, elem) = (tensor.name.clone(), tensor.elem);
        if !tensor.kind.readable() {
            let d = Diagnostic::error(
                codes::NOT_READABLE,
                format!("`{name}` is `out`: there is nothing to combine with"),
            )
            .label(place.span, "read and written here")
            .secondary(tensor.span, "declared here")
            .help("declare it `inout`: what it holds before is combined, too");
            self.error(d);
            return None;
        }
        let v = self.store_value(v, elem, &target.axes, value.span, &format!("`{name}`"), place.span)?;
        if !self.require(op.text(), class, v, value.span) {
            return None;
        }
        let ty = TileType { elem, axes: target.axes.clone() };
        let old = wants_old.then(|| self.fresh(Op::AtomicOld, ty, span));
        self.block.push(Stmt::Atomic(Atomic {
            op: combine,
            tensor: target.tensor,
            ix: target.ix,
            value: v,
            when,
            old,
            span,
        }));
        old
    }

    /// A place's `when`: `Some(None)` if there is none, `None` after an error.
    fn place_condition(&mut self, when: Option<&Expr>, place: Option<&Place>) -> Option<Option<ValueId>> {
        let Some(w) = when else { return Some(None) };
        let v = self.expr(w, Some(ElemType::Bool));
        if v.as_static().and_then(Static::as_bool) == Some(true) {
            return Some(None);
        }
        let c = self.value_of(&v, Some(ElemType::Bool), w.span)?;
        if !self.require("when", Class::Bool, c, w.span) {
            return None;
        }
        let place = place?;
        if self.extra_axes(c, &place.axes, w.span, "the place", place.span) { None } else { Some(Some(c)) }
    }

    fn write(&mut self, place: Place, v: ValueId, at: Span, when: Option<ValueId>, span: Span) {
        let tensor = self.k.tensor(place.tensor);
        let (name, elem) = (tensor.name.clone(), tensor.elem);
        let Some(value) = self.store_value(v, elem, &place.axes, at, &format!("`{name}`"), place.span) else {
            return;
        };
        self.block.push(Stmt::Write(Write {
            tensor: place.tensor,
            ix: place.ix,
            value,
            when,
            once_over: Vec::new(),
            span,
        }));
    }
}

fn update_op(op: UpdateOp) -> (BinaryOp, Class, Option<Combine>) {
    match op {
        UpdateOp::Add => (BinaryOp::Add, Class::Number, Some(Combine::Add)),
        UpdateOp::Sub => (BinaryOp::Sub, Class::Number, None),
        UpdateOp::Mul => (BinaryOp::Mul, Class::Number, None),
        UpdateOp::Max => (BinaryOp::Max, Class::Number, Some(Combine::Max)),
        UpdateOp::Min => (BinaryOp::Min, Class::Number, Some(Combine::Min)),
        UpdateOp::Or => (BinaryOp::Or, Class::Logic, Some(Combine::Or)),
        UpdateOp::And => (BinaryOp::And, Class::Logic, Some(Combine::And)),
        UpdateOp::Xor => (BinaryOp::Xor, Class::Logic, None),
    }
}
