//! Elementwise arithmetic: operators, comparisons, casts; literals take the other side's type, integers beside an `index` become one,
//! nothing else is converted.

use super::Elab;
use super::builder::round_to;
use super::value::{Binding, Static, Val};
use crate::diagnostics::{Diagnostic, Span, codes};
use crate::front::Res;
use crate::front::ast::{self, Expr, ExprKind};
use crate::tile::launch::{fold_cast, wrap};
use crate::tile::*;

/// Which element types an operation takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Compute integers, `index` and floats.
    Number,
    Float,
    /// Integers, storage ones included.
    Bits,
    /// Compute integers.
    Integer,
    Bool,
    /// Bits or `bool`.
    Logic,
}

impl Elab<'_> {
    pub(super) fn unary(
        &mut self,
        op: ast::UnaryOp,
        operand: &Expr,
        hint: Option<ElemType>,
        span: Span,
    ) -> Val {
        let v = self.expr(operand, hint);
        let (op, class) = match op {
            ast::UnaryOp::Neg => (UnaryOp::Neg, Class::Number),
            ast::UnaryOp::Not => (UnaryOp::Not, Class::Bool),
            ast::UnaryOp::BitNot => (UnaryOp::BitNot, Class::Bits),
        };
        self.unary_op(op, class, &v, operand.span, hint, span)
    }

    /// A unary operation or function on what an expression meant.
    pub(super) fn unary_op(
        &mut self,
        op: UnaryOp,
        class: Class,
        v: &Val,
        at: Span,
        hint: Option<ElemType>,
        span: Span,
    ) -> Val {
        if let Val::Static(s) = v {
            let operand = match (s.value, class) {
                (Const::Int(i), Class::Float) => Const::Float(i as f64),
                (c, _) => c,
            };
            let fits = !matches!((operand, class), (Const::Bool(_), c) if c != Class::Bool);
            if fits && let Some(c) = op.fold(operand) {
                return Val::Static(refit(c, s.ty));
            }
        }
        let Some(x) =
            self.value_of(v, if class == Class::Float { hint.or(Some(ElemType::F32)) } else { hint }, at)
        else {
            return Val::Poison;
        };
        if !self.require(op.name(), class, x, at) {
            return Val::Poison;
        }
        Val::Value(self.unary_value(op, x, span))
    }

    /// The operand's type is of the class; else an error that says what to do.
    pub(super) fn require(&mut self, op: &str, class: Class, x: ValueId, span: Span) -> bool {
        let elem = self.k.ty(x).elem;
        let integer = elem.is_integer();
        let ok = match class {
            Class::Number => elem.is_compute() && elem != ElemType::Bool,
            Class::Float => elem.is_compute() && elem.is_float(),
            Class::Bits => integer,
            Class::Integer => integer && elem.is_compute(),
            Class::Bool => elem == ElemType::Bool,
            Class::Logic => integer || elem == ElemType::Bool,
        };
        if ok {
            return true;
        }
        let v = Val::Value(x);
        match class {
            Class::Number | Class::Float | Class::Integer if !elem.is_compute() => {
                self.storage_arithmetic(op, elem, span);
            }
            Class::Number => self.needs(op, "numbers", &v, span, "convert it: `(…) as i32` is 0 or 1"),
            Class::Float => self.needs(op, "floats", &v, span, "convert it: `(…) as f32`"),
            Class::Bits | Class::Integer => {
                let help = if elem == ElemType::Bool {
                    "use `&&`, `||` and `!` on `bool`"
                } else {
                    "convert it: `(…) as i32`"
                };
                self.needs(op, "integers", &v, span, help);
            }
            Class::Bool => self.needs(op, "`bool`", &v, span, "compare it: `… != 0`"),
            Class::Logic => self.needs(op, "integers or `bool`", &v, span, "convert it: `(…) as i32`"),
        }
        false
    }

    pub(super) fn binary(
        &mut self,
        op: ast::BinaryOp,
        lhs: &Expr,
        rhs: &Expr,
        hint: Option<ElemType>,
        span: Span,
    ) -> Val {
        use ast::BinaryOp as B;
        if matches!(op, B::And | B::Or) {
            return self.logic(op, lhs, rhs, span);
        }
        let outer = if op.is_comparison() { None } else { hint };
        let shift = matches!(op, B::Shl | B::Shr);
        let (l, r) =
            if shift { (self.expr(lhs, outer), self.expr(rhs, None)) } else { self.both(lhs, rhs, outer) };
        if l.is_poison() || r.is_poison() {
            return Val::Poison;
        }
        if op.is_comparison() {
            return self.compare(op, (&l, lhs.span), (&r, rhs.span), span);
        }
        let (op, class) = match op {
            B::Add => (BinaryOp::Add, Class::Number),
            B::Sub => (BinaryOp::Sub, Class::Number),
            B::Mul => (BinaryOp::Mul, Class::Number),
            B::Div => (BinaryOp::Div, Class::Number),
            B::Rem => (BinaryOp::Rem, Class::Number),
            B::BitOr => (BinaryOp::Or, Class::Logic),
            B::BitXor => (BinaryOp::Xor, Class::Logic),
            B::BitAnd => (BinaryOp::And, Class::Logic),
            B::Shl => (BinaryOp::Shl, Class::Bits),
            _ => (BinaryOp::Shr, Class::Bits),
        };
        self.binary_op(op, class, (&l, lhs.span), (&r, rhs.span), outer, span)
    }

    /// Both operands, the one that is not a literal first, so that the literal learns its type.
    pub(super) fn both(&mut self, lhs: &Expr, rhs: &Expr, hint: Option<ElemType>) -> (Val, Val) {
        if self.weak(lhs) && !self.weak(rhs) {
            let r = self.expr(rhs, hint);
            let l = self.expr(lhs, self.hint_of(&r).or(hint));
            (l, r)
        } else {
            let l = self.expr(lhs, hint);
            let r = self.expr(rhs, self.hint_of(&l).or(hint));
            (l, r)
        }
    }

    /// Made of literals alone, so that its place decides its type.
    pub(super) fn weak(&self, e: &Expr) -> bool {
        match &e.kind {
            ExprKind::Number(_) | ExprKind::Inf => true,
            ExprKind::Unary { operand, .. } => self.weak(operand),
            ExprKind::Binary { op, lhs, rhs } => !op.is_comparison() && self.weak(lhs) && self.weak(rhs),
            ExprKind::Name(n) => match self.program.res(n) {
                Res::Local(l) => {
                    matches!(self.env.get(l.0 as usize), Some(Binding::Val(Val::Static(s))) if s.ty.is_none())
                }
                Res::Const(c) => self.program.constant(c).ty.is_none(),
                _ => false,
            },
            ExprKind::Call { callee, args } => {
                let ExprKind::Name(n) = &callee.kind else { return false };
                self.program.res(n) == Res::Builtin(crate::front::Builtin("where"))
                    && args.iter().skip(1).all(|a| self.weak(&a.value))
            }
            _ => false,
        }
    }

    /// A binary operation or two-argument function on what its operands meant.
    pub(super) fn binary_op(
        &mut self,
        op: BinaryOp,
        class: Class,
        l: (&Val, Span),
        r: (&Val, Span),
        hint: Option<ElemType>,
        span: Span,
    ) -> Val {
        let shift = matches!(op, BinaryOp::Shl | BinaryOp::Shr);
        if let (Val::Static(a), Val::Static(b)) = (l.0, r.0) {
            match self.fold(op, class, a, b, shift) {
                Folded::Value(s) => return Val::Static(s),
                Folded::Clash => {
                    self.type_clash(op.name(), l, r, span);
                    return Val::Poison;
                }
                Folded::No => {}
            }
        }
        if shift {
            let (Some(x), Some(y)) =
                (self.value_of(l.0, hint, l.1), self.value_of(r.0, Some(ElemType::I32), r.1))
            else {
                return Val::Poison;
            };
            let (a, b) = (self.require(op.name(), class, x, l.1), self.require(op.name(), class, y, r.1));
            return if a && b { Val::Value(self.binary_value(op, x, y, span)) } else { Val::Poison };
        }
        let Some((x, y)) = self.unify(op.name(), l, r, hint, span) else { return Val::Poison };
        if !self.require(op.name(), class, x, l.1) || !self.require(op.name(), class, y, r.1) {
            return Val::Poison;
        }
        Val::Value(self.binary_value(op, x, y, span))
    }

    /// Two operands brought to one type, or an error.
    pub(super) fn unify(
        &mut self,
        op: &str,
        l: (&Val, Span),
        r: (&Val, Span),
        hint: Option<ElemType>,
        span: Span,
    ) -> Option<(ValueId, ValueId)> {
        let free = |v: &Val| matches!(v, Val::Static(s) if s.ty.is_none());
        let x = if free(l.0) && !free(r.0) {
            let y = self.value_of(r.0, hint, r.1)?;
            let x = self.value_of(l.0, Some(self.k.ty(y).elem), l.1)?;
            (x, y)
        } else {
            // Two literals of which one is a float: the other serves as one.
            let both_hint = match (l.0, r.0) {
                (Val::Static(a), Val::Static(b)) if free(l.0) && free(r.0) => {
                    let float = |s: &Static| matches!(s.value, Const::Float(_));
                    if float(a) || float(b) {
                        hint.filter(|h| h.is_float()).or(Some(ElemType::F32))
                    } else {
                        hint
                    }
                }
                _ => hint,
            };
            let x = self.value_of(l.0, both_hint, l.1)?;
            let y = self.value_of(r.0, Some(self.k.ty(x).elem), r.1)?;
            (x, y)
        };
        let (a, b) = (self.k.ty(x.0).elem, self.k.ty(x.1).elem);
        if a == b {
            return Some(x);
        }
        if a == ElemType::Index && b.is_integer() {
            return Some((x.0, self.cast_value(x.1, ElemType::Index, r.1)));
        }
        if b == ElemType::Index && a.is_integer() {
            return Some((self.cast_value(x.0, ElemType::Index, l.1), x.1));
        }
        self.type_clash(op, (&Val::Value(x.0), l.1), (&Val::Value(x.1), r.1), span);
        None
    }

    fn fold(&self, op: BinaryOp, class: Class, a: &Static, b: &Static, shift: bool) -> Folded {
        let ty = match (a.ty, b.ty) {
            _ if shift => a.ty,
            (Some(x), Some(y)) if x == y => Some(x),
            (Some(x), Some(y))
                if x.is_integer() && y.is_integer() && (x == ElemType::Index || y == ElemType::Index) =>
            {
                Some(ElemType::Index)
            }
            (Some(_), Some(_)) => return Folded::Clash,
            (x, y) => x.or(y),
        };
        let bools = matches!(a.value, Const::Bool(_)) || matches!(b.value, Const::Bool(_));
        if bools && class != Class::Logic {
            return Folded::No;
        }
        // `1 / 2` where the place is a float type divides floats.
        let float = ty.is_some_and(ElemType::is_float);
        let lift = |c: Const| match c {
            Const::Int(v) if float => Const::Float(v as f64),
            c => c,
        };
        if ty.is_some_and(|t| !t.is_compute()) && class == Class::Number {
            return Folded::No;
        }
        match op.fold(lift(a.value), lift(b.value)) {
            Some(c) => Folded::Value(refit(c, ty)),
            None => Folded::No,
        }
    }

    pub(super) fn compare(&mut self, op: ast::BinaryOp, l: (&Val, Span), r: (&Val, Span), span: Span) -> Val {
        use ast::BinaryOp as B;
        let cmp = match op {
            B::Eq => CmpOp::Eq,
            B::Ne => CmpOp::Ne,
            B::Lt => CmpOp::Lt,
            B::Le => CmpOp::Le,
            B::Gt => CmpOp::Gt,
            _ => CmpOp::Ge,
        };
        // Static comparison of types, as in `if T == f16`.
        if let (Val::Type(a), Val::Type(b)) = (l.0, r.0)
            && matches!(cmp, CmpOp::Eq | CmpOp::Ne)
        {
            return Val::Static(Static::free(Const::Bool((a == b) == (cmp == CmpOp::Eq))));
        }
        if let (Val::Static(a), Val::Static(b)) = (l.0, r.0)
            && let Some(c) = cmp.fold(a.value, b.value)
        {
            return Val::Static(Static::free(Const::Bool(c)));
        }
        let Some((x, y)) = self.unify(cmp.name(), l, r, None, span) else { return Val::Poison };
        let elem = self.k.ty(x).elem;
        let equality = matches!(cmp, CmpOp::Eq | CmpOp::Ne);
        if !equality && (!elem.is_compute() || elem == ElemType::Bool) {
            if elem == ElemType::Bool {
                self.needs(
                    cmp.name(),
                    "numbers",
                    &Val::Value(x),
                    l.1,
                    "use `==`, `&&`, `||` and `!` on `bool`",
                );
            } else {
                self.storage_arithmetic(cmp.name(), elem, l.1);
            }
            return Val::Poison;
        }
        let axes = self.union(&[x, y]);
        Val::Value(self.emit(Op::Compare(cmp, x, y), TileType { elem: ElemType::Bool, axes }, span))
    }

    fn logic(&mut self, op: ast::BinaryOp, lhs: &Expr, rhs: &Expr, span: Span) -> Val {
        let (op, decides) = match op {
            ast::BinaryOp::And => (BinaryOp::And, false),
            _ => (BinaryOp::Or, true),
        };
        let name = if decides { "||" } else { "&&" };
        let l = self.expr(lhs, Some(ElemType::Bool));
        let r = self.expr(rhs, Some(ElemType::Bool));
        let known = |v: &Val| v.as_static().and_then(Static::as_bool);
        let mut values = Vec::new();
        for (v, at) in [(&l, lhs.span), (&r, rhs.span)] {
            match known(v) {
                Some(b) if b == decides => return Val::Static(Static::free(Const::Bool(decides))),
                Some(_) => {}
                None => {
                    let Some(x) = self.value_of(v, Some(ElemType::Bool), at) else { return Val::Poison };
                    if !self.require(name, Class::Bool, x, at) {
                        return Val::Poison;
                    }
                    values.push(x);
                }
            }
        }
        match values[..] {
            [] => Val::Static(Static::free(Const::Bool(!decides))),
            [x] => Val::Value(x),
            _ => Val::Value(self.binary_value(op, values[0], values[1], span)),
        }
    }

    pub(super) fn cast(&mut self, value: &Expr, ty: &ast::Ident, span: Span) -> Val {
        let to = self.elem_type(ty);
        let v = self.expr(value, None);
        let Some(to) = to else { return Val::Poison };
        self.cast_val(&v, to, value.span, span)
    }

    pub(super) fn cast_val(&mut self, v: &Val, to: ElemType, at: Span, span: Span) -> Val {
        if let Val::Static(s) = v {
            let from_bool = matches!(s.value, Const::Bool(_));
            let folded = match (s.value, to) {
                (Const::Int(i), t) if t.is_float() => Some(Const::Float(round_to(i as f64, t))),
                (Const::Float(f), t) if t.is_float() => Some(Const::Float(round_to(f, t))),
                (_, ElemType::Bipolar(_)) => None,
                (c, t) => fold_cast(t, c),
            };
            if let Some(c) = folded
                && !(from_bool && to == ElemType::Bool)
            {
                return Val::Static(Static { value: c, ty: Some(to), dim: s.dim.clone() });
            }
        }
        // A literal keeps its digits until the cast.
        let natural = match v {
            Val::Static(s) if matches!(s.value, Const::Float(_)) => Some(ElemType::F64),
            _ => None,
        };
        let Some(x) = self.value_of(v, natural, at) else { return Val::Poison };
        let from = self.k.ty(x).elem;
        if to == ElemType::Bool && from != ElemType::Bool {
            self.error(
                Diagnostic::error(codes::BAD_CAST, "a number does not become `bool` by `as`")
                    .label(at, format!("this is `{}`", self.value_type_text(x)))
                    .help("compare it: `… != 0`"),
            );
            return Val::Poison;
        }
        Val::Value(self.cast_value(x, to, span))
    }
}

enum Folded {
    Value(Static),
    Clash,
    No,
}

/// A folded number in its type: integers wrap; floats are real numbers until something rounds them.
fn refit(c: Const, ty: Option<ElemType>) -> Static {
    let value = match (c, ty) {
        (Const::Int(v), Some(t)) if t.is_float() => Const::Float(v as f64),
        (Const::Int(v), Some(t)) if t.is_integer() => Const::Int(wrap(v, t.bits(), t.is_signed())),
        (c, _) => c,
    };
    Static { value, ty, dim: None }
}
