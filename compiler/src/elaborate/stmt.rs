//! Statements: variables, loops and conditionals as SSA, grid variables, writes.
//!
//! A variable that a loop assigns is carried: a parameter at its start, the value at its end, a result after it. It is a declared
//! reduction where all that the loop does with it is one `op=`, read nowhere else in the loop, its `when` and inner loops included.

use super::Elab;
use super::arith::Class;
use super::scan_names::assigned;
use super::value::{Binding, MutVar, Static, Val};
use crate::diagnostics::{Diagnostic, Span, codes};
use crate::front::ast::{self, Expr, ExprKind, Over, Pattern, Stmt as Ast, StmtKind, UpdateOp};
use crate::front::{LocalId, Res};
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
    pub(super) fn kernel_body(&mut self, body: &ast::Block) {
        self.stmts(&body.stmts, true);
        let block = self.cut_block();
        self.k.body = block;
    }

    /// `top`: directly in a kernel's body, where `grid` may stand.
    pub(super) fn stmts(&mut self, stmts: &[Ast], top: bool) {
        for s in stmts {
            self.stmt(s, top);
        }
    }

    fn stmt(&mut self, s: &Ast, top: bool) {
        match &s.kind {
            StmtKind::Let { mutable, pattern, ty, value } => {
                self.let_stmt(*mutable, pattern, ty.as_ref(), value)
            }
            StmtKind::Temp { name, ty, init } => self.temp(name, ty, init.as_ref(), s.span),
            StmtKind::Tune { .. } | StmtKind::Schedule(_) => {
                if !top {
                    self.error(
                        Diagnostic::error(
                            codes::MISPLACED,
                            "`tune` and `schedule` stand directly in a kernel's body",
                        )
                        .label(s.span, "not here"),
                    );
                }
            }
            StmtKind::Grid { vars, when, body } => self.grid(vars, when.as_ref(), body.as_ref(), s.span, top),
            StmtKind::For { var, when, body } => self.for_stmt(var, when.as_ref(), body, s.span),
            StmtKind::If { cond, then, otherwise } => self.if_stmt(cond, then, otherwise.as_ref(), s.span),
            StmtKind::Assign { place, value, when } => self.assign(place, value, when.as_ref(), s.span),
            StmtKind::Update { atomic, place, op, value, when } => {
                self.update(*atomic, place, *op, value, when.as_ref(), s.span);
            }
            StmtKind::Error { body, .. } => {
                if let Some(b) = body {
                    self.stmts(&b.stmts, false);
                }
            }
        }
    }

    pub(super) fn bind(&mut self, name: &ast::Ident, b: Binding) {
        if let Res::Local(l) = self.program.res(name)
            && let Some(slot) = self.env.get_mut(l.0 as usize)
        {
            *slot = b;
        }
    }

    // ----------------------------------------------------------------------------------------------------------- let

    fn let_stmt(&mut self, mutable: bool, pattern: &Pattern, ty: Option<&ast::Type>, value: &Expr) {
        match pattern {
            Pattern::Name(n) => {
                let ranges = matches!(value.kind, ExprKind::Range { .. } | ExprKind::By { .. });
                if ranges && !mutable && ty.is_none() {
                    let v = self.let_range(n.as_str(), value, n.span.to(value.span));
                    self.bind(n, Binding::Val(v));
                    return;
                }
                let ty_given = ty.is_some();
                let ty = ty.map(|t| (self.tile_type(t), t.span));
                let hint = ty.as_ref().and_then(|(t, _)| t.as_ref()).map(|t| t.elem);
                let v = self.expr(value, hint);
                self.bind_value(n, mutable, v, ty, ty_given, value.span);
            }
            Pattern::Tuple { names, span } => {
                if let Some(t) = ty {
                    self.error(
                        Diagnostic::error(codes::BAD_TUPLE, "a tuple of names takes no type")
                            .label(t.span, "leave this out"),
                    );
                }
                let v = self.expr(value, None);
                let parts = self.parts(v, names.len(), *span, value.span);
                for (n, v) in names.iter().zip(parts) {
                    if let Some(n) = n {
                        self.bind_value(n, mutable, v, None, false, value.span);
                    }
                }
            }
        }
    }

    /// A value taken apart into `n`.
    fn parts(&mut self, v: Val, n: usize, names: Span, at: Span) -> Vec<Val> {
        let items = match v {
            Val::Tuple(items) => items,
            Val::Sorted(v, at) => vec![Val::Value(v), Val::Value(at)],
            Val::Poison => return vec![Val::Poison; n],
            other => {
                let is = self.describe(&other);
                self.error(
                    Diagnostic::error(codes::BAD_TUPLE, "only a tuple can be taken apart")
                        .label(at, format!("this is {is}"))
                        .secondary(names, format!("{n} names")),
                );
                return vec![Val::Poison; n];
            }
        };
        if items.len() != n {
            self.error(
                Diagnostic::error(codes::BAD_TUPLE, format!("{n} names for {} values", items.len()))
                    .label(names, format!("{n} names"))
                    .secondary(at, format!("{} values", items.len())),
            );
            return vec![Val::Poison; n];
        }
        items
    }

    fn bind_value(
        &mut self,
        n: &ast::Ident,
        mutable: bool,
        v: Val,
        ty: Option<(Option<TileType>, Span)>,
        ty_given: bool,
        at: Span,
    ) {
        if !mutable && !ty_given {
            if let Val::Value(x) | Val::Sorted(x, _) = v {
                self.name_value(x, n.as_str());
            }
            if matches!(v, Val::Type(_) | Val::Builtin(_) | Val::Function(_) | Val::Tensor(_)) {
                self.wrong_kind(&v, at, "a value");
                return self.bind(n, Binding::Val(Val::Poison));
            }
            return self.bind(n, Binding::Val(v));
        }
        let state = self.typed_value(n.as_str(), n.span, &v, ty, at);
        if let Some((_, x)) = &state {
            self.name_value(*x, n.as_str());
        }
        let binding = if mutable {
            self.muts.push(MutVar { name: n.text.clone(), state, span: n.span });
            Binding::Mut(self.muts.len() - 1)
        } else {
            Binding::Val(state.map_or(Val::Poison, |(_, x)| Val::Value(x)))
        };
        self.bind(n, binding);
    }

    /// The value brought to a declared type, or with its own.
    fn typed_value(
        &mut self,
        name: &str,
        name_span: Span,
        v: &Val,
        ty: Option<(Option<TileType>, Span)>,
        at: Span,
    ) -> Option<(TileType, ValueId)> {
        let Some((ty, ty_span)) = ty else {
            let x = self.to_value(v, None, at)?;
            return Some((self.k.ty(x).clone(), x));
        };
        let x = self.to_value(v, ty.as_ref().map(|t| t.elem), at);
        let ty = ty?;
        let Some(x) = x else {
            // The variable is usable all the same: its type is known.
            let zero = self.zero(ty.elem, ty_span);
            let x = self.spread(zero, &ty.axes, ty_span);
            return Some((ty, x));
        };
        let stored = self.store_value(x, ty.elem, &ty.axes, at, &format!("`{name}`"), name_span.to(ty_span));
        let x = match stored {
            Some(x) => self.spread(x, &ty.axes, at),
            None => {
                let zero = self.zero(ty.elem, ty_span);
                self.spread(zero, &ty.axes, ty_span)
            }
        };
        Some((ty, x))
    }

    pub(super) fn zero(&mut self, elem: ElemType, span: Span) -> ValueId {
        let c = match elem {
            ElemType::Bool => Const::Bool(false),
            e if e.is_float() => Const::Float(0.0),
            _ => Const::Int(0),
        };
        self.constant(c, elem, span)
    }

    /// Checks that a value may be stored in a place: equal types, axes among the place's.
    fn store_value(
        &mut self,
        x: ValueId,
        elem: ElemType,
        axes: &[AxisId],
        at: Span,
        what: &str,
        place: Span,
    ) -> Option<ValueId> {
        let own = self.k.ty(x).elem;
        let mut x = x;
        if own != elem {
            if elem == ElemType::Index && own.is_integer() {
                x = self.cast_value(x, ElemType::Index, at);
            } else {
                let mut d = Diagnostic::error(
                    codes::TYPE_MISMATCH,
                    format!("{what} is `{elem}` and the value is `{own}`"),
                )
                .label(at, format!("this is `{}`", self.value_type_text(x)))
                .secondary(place, format!("{what} is `{elem}`"))
                .note("nothing is converted silently");
                if elem != ElemType::Bool {
                    d = d.help(format!("convert it: `(…) as {elem}`"));
                }
                self.error(d);
                self.extra_axes(x, axes, at, what, place);
                return None;
            }
        }
        if self.extra_axes(x, axes, at, what, place) { None } else { Some(x) }
    }

    /// A tile type: each entry a range, or a dimension meaning all of it.
    pub(super) fn tile_type(&mut self, t: &ast::Type) -> Option<TileType> {
        let elem = self.elem_type(&t.name);
        let mut axes = Vec::new();
        let mut ok = true;
        for e in &t.shape {
            match self.type_axis(e) {
                Some(a) if axes.contains(&a) => {
                    self.error(
                        Diagnostic::error(codes::NOT_AN_AXIS, "an axis stands twice in a type")
                            .label(e.span, "again here")
                            .help("for products of a range with itself, write `i'`"),
                    );
                    ok = false;
                }
                Some(a) => axes.push(a),
                None => ok = false,
            }
        }
        ok.then_some(TileType { elem: elem?, axes })
    }

    fn type_axis(&mut self, e: &Expr) -> Option<AxisId> {
        let v = self.expr(e, None);
        match &v {
            Val::Value(x) if matches!(self.k.value(*x).op, Op::Dim(_)) => {
                let Op::Dim(d) = self.k.value(*x).op else { return None };
                let (name, declared) = (self.k.dim(d).name.clone(), self.k.dim(d).span);
                self.error(
                    Diagnostic::error(
                        codes::NOT_STATIC,
                        format!("the dimension `{name}` is known only at launch; a tile's size is static"),
                    )
                    .label(e.span, "in the type of a tile")
                    .secondary(declared, "bound by the arguments")
                    .help(format!(
                        "use a range over it: `… over {name} by 64`; or freeze it: `--dim {name}=…`"
                    )),
                );
                None
            }
            Val::Static(s) if s.dim.is_none() => {
                self.error(
                    Diagnostic::error(
                        codes::UNNAMED_DIMENSION,
                        "an entry of a tile's type is an axis, and a number has no name",
                    )
                    .label(e.span, "this is a number")
                    .help("bind a range: `let d = 0..64;`, and write `d` here"),
                );
                None
            }
            _ => self.over_axis(e),
        }
    }

    // ----------------------------------------------------------------------------------------------------- assignment

    fn assign(&mut self, place: &Expr, value: &Expr, when: Option<&Expr>, span: Span) {
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
            if let Some(v) = self.to_value(v, Some(elem), at) {
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
            self.to_value(v, None, at);
            return;
        };
        let Some(x) = self.to_value(v, Some(ty.elem), at) else { return };
        let (name, declared) = (self.muts[m].name.clone(), self.muts[m].span);
        if let Some(x) = self.store_value(x, ty.elem, &ty.axes, at, &format!("`{name}`"), declared) {
            let x = self.spread(x, &ty.axes, at);
            self.name_value(x, &name);
            self.muts[m].state = Some((ty, x));
        }
    }

    fn update(
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
    fn place_condition(
        &mut self,
        when: Option<&Expr>,
        place: Option<&super::subscript::Place>,
    ) -> Option<Option<ValueId>> {
        let Some(w) = when else { return Some(None) };
        let v = self.expr(w, Some(ElemType::Bool));
        if v.as_static().and_then(Static::as_bool) == Some(true) {
            return Some(None);
        }
        let c = self.to_value(&v, Some(ElemType::Bool), w.span)?;
        if !self.require("when", Class::Bool, c, w.span) {
            return None;
        }
        let place = place?;
        if self.extra_axes(c, &place.axes, w.span, "the place", place.span) { None } else { Some(Some(c)) }
    }

    fn write(
        &mut self,
        place: super::subscript::Place,
        v: ValueId,
        at: Span,
        when: Option<ValueId>,
        span: Span,
    ) {
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

    fn temp(&mut self, name: &ast::Ident, ty: &ast::Type, init: Option<&Expr>, span: Span) {
        let Some(t) = self.temp_tensor(name, ty, init, span) else {
            return self.bind(name, Binding::Val(Val::Poison));
        };
        self.bind(name, Binding::Val(Val::Tensor(t)));
    }

    // ----------------------------------------------------------------------------------------------------------- grid

    fn grid(&mut self, vars: &[Over], when: Option<&Expr>, body: Option<&ast::Block>, span: Span, top: bool) {
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
        let c = self.to_value(&v, Some(ElemType::Bool), w.span)?;
        self.require("when", Class::Bool, c, w.span).then_some(c)
    }

    // ----------------------------------------------------------------------------------------------------- loops and ifs

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

    fn for_stmt(&mut self, var: &Over, when: Option<&Expr>, body: &ast::Block, span: Span) {
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

    fn if_stmt(&mut self, cond: &Expr, then: &ast::Block, otherwise: Option<&ast::Block>, span: Span) {
        let v = self.expr(cond, Some(ElemType::Bool));
        if let Some(known) = v.as_static().and_then(Static::as_bool) {
            let taken = if known { Some(then) } else { otherwise };
            if let Some(b) = taken {
                self.stmts(&b.stmts, false);
            }
            return;
        }
        let c = self.to_value(&v, Some(ElemType::Bool), cond.span);
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
        let Some(cond) = c else { return };
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
