//! Statements: variables, loops and conditionals as SSA, grid variables, writes.
//!
//! A variable that a loop assigns is carried: a parameter at its start, the value at its end, a result after it. It is a declared
//! reduction where all that the loop does with it is one `op=`, read nowhere else in the loop, its `when` and inner loops included.

use super::Elab;
use super::value::{Binding, MutVar, Val};
use crate::diagnostics::{Diagnostic, Span, codes};
use crate::front::Res;
use crate::front::ast::{self, Expr, ExprKind, Pattern, Stmt as Ast, StmtKind};
use crate::tile::*;

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
    pub(super) fn parts(&mut self, v: Val, n: usize, names: Span, at: Span) -> Vec<Val> {
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
            let x = self.value_of(v, None, at)?;
            return Some((self.k.ty(x).clone(), x));
        };
        let x = self.value_of(v, ty.as_ref().map(|t| t.elem), at);
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
    pub(super) fn store_value(
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
                // Sums of products are kept as `@` gives them.
                if matches!(self.k.value(x).op, Op::Mma { .. }) && self.muts.iter().any(|m| m.span == place) {
                    d = d.help(format!(
                        "or sum up in what `@` gives, `{own}`, and convert where the sum is written"
                    ));
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

    fn temp(&mut self, name: &ast::Ident, ty: &ast::Type, init: Option<&Expr>, span: Span) {
        let Some(t) = self.temp_tensor(name, ty, init, span) else {
            return self.bind(name, Binding::Val(Val::Poison));
        };
        self.bind(name, Binding::Val(Val::Tensor(t)));
    }
}
