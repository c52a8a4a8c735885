//! Expressions: names, literals, fields, primes, and the dispatch to what the other files do.
//!
//! `hint` is the element type that the place asks for; only literals (and what is made of nothing but literals) look at it.

use super::Elab;
use super::value::{Binding, Static, Val};
use crate::diagnostics::{Diagnostic, Span, codes};
use crate::front::ast::{self, Expr, ExprKind, NumberValue};
use crate::front::{ConstId, Res};
use crate::tile::*;

impl Elab<'_> {
    /// What an expression means.
    pub(super) fn expr(&mut self, e: &Expr, hint: Option<ElemType>) -> Val {
        match &e.kind {
            ExprKind::Number(n) => Val::Static(Static::free(number(n))),
            ExprKind::Inf => Val::Static(Static::free(Const::Float(f64::INFINITY))),
            ExprKind::Bool(b) => Val::Static(Static::free(Const::Bool(*b))),
            ExprKind::Name(n) => self.name(n),
            ExprKind::Unary { op, operand } => self.unary(*op, operand, hint, e.span),
            ExprKind::Binary { op: ast::BinaryOp::MatMul, lhs, rhs } => self.matmul(lhs, rhs, e.span),
            ExprKind::Binary { op, lhs, rhs } => self.binary(*op, lhs, rhs, hint, e.span),
            ExprKind::Cast { value, ty } => self.cast(value, ty, e.span),
            ExprKind::Index { base, subscripts } => self.index_expr(base, subscripts, e.span),
            ExprKind::Field { base, field } => self.field(base, field, e.span),
            ExprKind::Prime(r) => match self.expr(r, None) {
                Val::Range(a) => Val::Range(self.primed(a)),
                Val::Poison => Val::Poison,
                other => {
                    self.wrong_kind(&other, r.span, "a range");
                    Val::Poison
                }
            },
            ExprKind::Call { callee, args } => self.call(callee, args, hint, e.span),
            ExprKind::Range { .. } | ExprKind::By { .. } => {
                self.error(
                    Diagnostic::error(codes::UNBOUND_RANGE, "a range must have a name before it can be used")
                        .label(e.span, "this range is not bound")
                        .note("an axis is the range that made it, so every range is bound exactly once")
                        .help("bind it first: `let r = lo..hi by N;`, and write `r` here"),
                );
                Val::Poison
            }
            ExprKind::Tuple(items) => Val::Tuple(items.iter().map(|i| self.expr(i, hint)).collect()),
            ExprKind::Atomic { place, op, value } => self.atomic_expr(place, *op, value, e.span),
            ExprKind::Error => Val::Poison,
        }
    }

    /// The expression as a value of the kernel; `None` after an error.
    pub(super) fn value(&mut self, e: &Expr, hint: Option<ElemType>) -> Option<ValueId> {
        let v = self.expr(e, hint);
        self.value_of(&v, hint, e.span)
    }

    pub(super) fn value_of(&mut self, v: &Val, hint: Option<ElemType>, span: Span) -> Option<ValueId> {
        match v {
            Val::Value(v) | Val::Sorted(v, _) => Some(*v),
            Val::Static(s) => self.materialize(s, hint, span),
            Val::Range(a) => Some(self.iota(*a)),
            Val::Poison => None,
            other => {
                self.wrong_kind(other, span, "a value");
                None
            }
        }
    }

    /// An integer scalar as an `index`: a bound, coordinate or dimension.
    pub(super) fn index_scalar(&mut self, e: &Expr, what: &str) -> Option<ValueId> {
        let v = self.index_value(e, what)?;
        if !self.k.ty(v).is_scalar() {
            let text = self.value_type_text(v);
            self.error(
                Diagnostic::error(codes::NOT_SCALAR, format!("{what} must be a scalar"))
                    .label(e.span, format!("this is `{text}`"))
                    .help("take one element of it, or reduce it; of a range, `r.lo` and `r.hi` are scalars"),
            );
            return None;
        }
        Some(v)
    }

    /// An integer scalar or tile, converted to `index`.
    pub(super) fn index_value(&mut self, e: &Expr, what: &str) -> Option<ValueId> {
        let val = self.expr(e, Some(ElemType::Index));
        let v = self.value_of(&val, Some(ElemType::Index), e.span)?;
        if !self.k.ty(v).elem.is_integer() {
            let is = self.describe(&val);
            let d = Diagnostic::error(codes::WRONG_OPERAND, format!("{what} must be an integer"))
                .label(e.span, format!("this is {is}"));
            // What a tensor of indices should have been from the start.
            let table = match &e.kind {
                ExprKind::Index { base, .. } if what == "a subscript" => {
                    match self.quietly(|elab| elab.expr(base, None)) {
                        Val::Tensor(t) => Some(self.k.tensor(t).clone()),
                        _ => None,
                    }
                }
                _ => None,
            };
            self.error(match table {
                Some(t) => d
                    .secondary(t.span, format!("`{}` is declared here, of `{}`", t.name, t.elem))
                    .help(format!("a tensor of indices is of integers: `{}: i32[…] in 0..N`", t.name)),
                None => d.help("convert it: `(…) as i32`"),
            });
            return None;
        }
        Some(self.cast_value(v, ElemType::Index, e.span))
    }

    /// What a name means here.
    pub(super) fn name(&mut self, n: &ast::Ident) -> Val {
        match self.program.res(n) {
            Res::Local(l) => match self.env.get(l.0 as usize).cloned().unwrap_or(Binding::Unbound) {
                Binding::Val(v) => v,
                Binding::Mut(m) => self.read_mut(m),
                Binding::Unbound => Val::Poison,
            },
            Res::Const(c) => self.file_const(c),
            Res::Fn(f) => Val::Function(f),
            Res::Builtin(b) => Val::Builtin(b.0),
            Res::Type => ElemType::from_name(n.as_str()).map_or(Val::Poison, Val::Type),
            Res::FloatsOf(_) => {
                self.error(
                    Diagnostic::error(codes::WRONG_KIND, format!("`{n}` is a set of types, not one type"))
                        .label(n.span, "several types")
                        .help("name one of them, such as `e4m3`"),
                );
                Val::Poison
            }
            Res::Unresolved | Res::Kernel(_) | Res::Instance(_) | Res::Module => Val::Poison,
        }
    }

    fn read_mut(&mut self, m: usize) -> Val {
        for l in self.loops.iter_mut() {
            if let Some(c) = l.carried.iter_mut().find(|c| c.var == m) {
                c.read = true;
            }
        }
        match &self.muts[m].state {
            Some((_, v)) => Val::Value(*v),
            None => Val::Poison,
        }
    }

    /// The type that an identifier names.
    pub(super) fn elem_type(&mut self, n: &ast::Ident) -> Option<ElemType> {
        match self.name(n) {
            Val::Type(t) => Some(t),
            Val::Poison => None,
            other => {
                self.wrong_kind(&other, n.span, "a type");
                None
            }
        }
    }

    fn field(&mut self, base: &Expr, field: &ast::Ident, span: Span) -> Val {
        // An item reached through `import … as v`.
        match self.program.res(field) {
            Res::Unresolved => {}
            _ => return self.name(field),
        }
        let v = self.expr(base, None);
        match (&v, field.as_str()) {
            (Val::Poison, _) => Val::Poison,
            (Val::Range(a), "lo") => Val::Value(self.k.axis(*a).lo),
            (Val::Range(a), "hi") => Val::Value(self.axis_end(*a, span)),
            (Val::Range(a), "size") => Val::Static(Static::int(self.k.axis(*a).extent.into())),
            (_, "lo" | "hi" | "size") => {
                self.wrong_kind(&v, base.span, "a range");
                Val::Poison
            }
            (_, "T") => {
                let Some(x) = self.value_of(&v, None, base.span) else { return Val::Poison };
                let ty = self.k.ty(x).clone();
                let n = ty.axes.len();
                if n < 2 {
                    self.error(
                        Diagnostic::error(
                            codes::BAD_TRANSPOSE,
                            "`.T` swaps the last two axes, and here are not two",
                        )
                        .label(base.span, format!("this is `{}`", self.type_text(&ty))),
                    );
                    return Val::Poison;
                }
                let mut axes = ty.axes;
                axes.swap(n - 1, n - 2);
                Val::Value(self.spread(x, &axes, span))
            }
            _ => {
                let is = self.describe(&v);
                self.error(
                    Diagnostic::error(codes::WRONG_KIND, format!("there is no field `{field}`"))
                        .label(field.span, "unknown field")
                        .secondary(base.span, format!("this is {is}"))
                        .note("a tile has `.T`; a range has `.lo`, `.hi` and `.size`"),
                );
                Val::Poison
            }
        }
    }

    /// A file constant: a static number, or a table as a tensor of the kernel.
    pub(super) fn file_const(&mut self, id: ConstId) -> Val {
        if let Some(v) = self.const_tensors.get(&id) {
            return v.clone();
        }
        // While it is being worked out it is poison, so that a constant that names itself ends.
        self.const_tensors.insert(id, Val::Poison);
        let c = self.program.constant(id);
        let v = match &c.value {
            ast::ConstValue::Scalar(e) => self.scalar_const(c, e),
            ast::ConstValue::List { .. } => self.table_const(c),
        };
        self.const_tensors.insert(id, v.clone());
        v
    }

    fn scalar_const(&mut self, c: &ast::Const, e: &Expr) -> Val {
        let ty = match &c.ty {
            Some(t) => match self.elem_type(&t.name) {
                Some(t) => Some(t),
                None => return Val::Poison,
            },
            None => None,
        };
        match self.expr(e, ty) {
            Val::Static(s) => {
                let dim = s.as_int().is_some().then(|| c.name.text.clone());
                let s = Static { ty: ty.or(s.ty), dim, ..s };
                // Refuses a number that its type cannot hold.
                match self.materialize(&s, None, e.span) {
                    Some(_) => Val::Static(s),
                    None => Val::Poison,
                }
            }
            Val::Poison => Val::Poison,
            _ => {
                self.not_static("a constant", e.span);
                Val::Poison
            }
        }
    }

    fn table_const(&mut self, c: &ast::Const) -> Val {
        let mut shape = Vec::new();
        let mut items = Vec::new();
        if !self.table_items(&c.value, 0, &mut shape, &mut items) {
            return Val::Poison;
        }
        let mut elem = None;
        if let Some(t) = &c.ty {
            elem = self.elem_type(&t.name);
            if elem.is_none() {
                return Val::Poison;
            }
            let declared: Vec<Option<i64>> =
                t.shape.iter().map(|e| self.expr(e, None).static_int()).collect();
            let agrees = declared.len() == shape.len()
                && declared.iter().zip(&shape).all(|(d, s)| *d == Some(*s as i64));
            if !agrees {
                let own: Vec<String> = shape.iter().map(|s| s.to_string()).collect();
                self.error(
                    Diagnostic::error(
                        codes::RANK,
                        format!("the table `{}` has another shape than its type", c.name),
                    )
                    .label(t.span, "declared here")
                    .note(format!("the values given are [{}]", own.join(", "))),
                );
                return Val::Poison;
            }
        }
        let any_float = items.iter().any(|(s, _): &(Static, Span)| matches!(s.value, Const::Float(_)));
        let elem = elem.unwrap_or(if any_float { ElemType::F32 } else { ElemType::I32 });
        let mut list = Vec::new();
        for (s, span) in &items {
            match self.materialize(&Static { ty: Some(elem), ..s.clone() }, None, *span) {
                Some(v) => {
                    if let Op::Const(c) = self.k.value(v).op {
                        list.push(c);
                    }
                }
                None => return Val::Poison,
            }
        }
        let entries: Vec<ShapeEntry> = shape
            .iter()
            .map(|n| ShapeEntry { extent: LaunchExpr::int(*n as i64), text: n.to_string(), span: c.span })
            .collect();
        self.entry_dims.push(vec![None; entries.len()]);
        self.k.tensors.push(Tensor {
            name: c.name.to_string(),
            elem,
            strides: vec![Stride::Dense; entries.len()],
            shape: entries,
            kind: TensorKind::Const(list),
            align: 16,
            holds: None,
            captured: false,
            span: c.name.span,
        });
        Val::Tensor(TensorId(self.k.tensors.len() as u32 - 1))
    }

    fn table_items(
        &mut self,
        v: &ast::ConstValue,
        depth: usize,
        shape: &mut Vec<usize>,
        out: &mut Vec<(Static, Span)>,
    ) -> bool {
        match v {
            ast::ConstValue::Scalar(e) => match self.expr(e, None) {
                Val::Static(s) if depth == shape.len() => {
                    out.push((s, e.span));
                    true
                }
                Val::Poison => false,
                Val::Static(_) => {
                    self.error(
                        Diagnostic::error(codes::RANK, "the rows of a table must have one length")
                            .label(e.span, "a number where a row is wanted"),
                    );
                    false
                }
                _ => {
                    self.not_static("an entry of a table", e.span);
                    false
                }
            },
            ast::ConstValue::List { items, span } => {
                if out.is_empty() && depth == shape.len() {
                    shape.push(items.len());
                }
                if shape.get(depth) != Some(&items.len()) {
                    self.error(
                        Diagnostic::error(codes::RANK, "the rows of a table must have one length")
                            .label(*span, format!("this row has {}", items.len())),
                    );
                    return false;
                }
                items.iter().all(|i| self.table_items(i, depth + 1, shape, out))
            }
        }
    }
}

fn number(n: &ast::Number) -> Const {
    match n.value {
        NumberValue::Int(v) => Const::Int(v.into()),
        NumberValue::Float(v) => Const::Float(v),
    }
}
