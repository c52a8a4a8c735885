//! Calls: built-in functions, `where`, and the inlining of functions with their captures.

use super::Elab;
use super::arith::Class;
use super::reduce::reduce_op;
use super::value::{Binding, Static, Val};
use crate::diagnostics::{Diagnostic, Span, codes};
use crate::front::ast::{Arg, Expr, ExprKind};
use crate::front::{FnId, Res};
use crate::tile::*;

/// Functions may call functions this deep; the resolver refuses recursion.
const MAX_INLINE: usize = 64;
/// So many calls may be inlined into one kernel, and so many values may it have where one is: a function that calls another twice, which
/// calls another twice, and so on, would never end.
const MAX_CALLS: usize = 1 << 14;
const MAX_VALUES: usize = 1 << 17;

impl Elab<'_> {
    pub(super) fn call(&mut self, callee: &Expr, args: &[Arg], hint: Option<ElemType>, span: Span) -> Val {
        let f = match &callee.kind {
            ExprKind::Name(n) => self.name(n),
            _ => self.expr(callee, None),
        };
        match f {
            Val::Function(f) => {
                let signature = match &callee.kind {
                    ExprKind::Name(n) => match self.program.res(n) {
                        Res::Local(l) => self.generic_fns.iter().find(|g| g.local == l).cloned(),
                        _ => None,
                    },
                    _ => None,
                };
                let given: Vec<(Val, Span)> = args.iter().map(|a| (self.argument(a), a.span)).collect();
                let v = self.inline(f, given, hint.or(signature.as_ref().and_then(|s| Some(s.ret?.0))), span);
                match signature.and_then(|s| s.ret.map(|r| (s.name, r))) {
                    Some((name, (elem, declared))) => {
                        // The function's own place, where the parameter of the kernel takes what it must not give.
                        let (value, what) = {
                            let f = self.program.function(f);
                            (f.value.span, format!("`{}`, which stands for `{name}`,", f.name))
                        };
                        self.calls.push((name, span));
                        let v = self.returned(v, elem, value, declared, &what);
                        self.calls.pop();
                        v
                    }
                    None => v,
                }
            }
            Val::Builtin(name) => self.builtin(name, args, hint, callee.span, span),
            Val::Poison => {
                for a in args {
                    self.expr(&a.value, None);
                }
                Val::Poison
            }
            other => {
                let is = self.describe(&other);
                self.error(
                    Diagnostic::error(codes::WRONG_KIND, "only functions can be called")
                        .label(callee.span, format!("this is {is}"))
                        .help("elements are read with brackets: `x[i]`"),
                );
                Val::Poison
            }
        }
    }

    fn argument(&mut self, a: &Arg) -> Val {
        if let Some(over) = &a.over {
            self.error(
                Diagnostic::error(codes::BAD_REDUCTION, "`over` belongs to reductions and scans")
                    .label(over.span, "this function has none"),
            );
        }
        self.expr(&a.value, None)
    }

    /// A result brought to a declared element type.
    fn returned(&mut self, v: Val, elem: ElemType, at: Span, declared: Span, what: &str) -> Val {
        if let Val::Static(s) = &v
            && s.ty.is_none()
        {
            return match self.materialize(s, Some(elem), at) {
                Some(x) if self.k.ty(x).elem == elem => {
                    let value = match (s.value, elem.is_float()) {
                        (Const::Int(v), true) => Const::Float(v as f64),
                        (c, _) => c,
                    };
                    Val::Static(Static { value, ty: Some(elem), dim: s.dim.clone() })
                }
                Some(x) => self.return_clash(x, elem, at, declared, what),
                None => Val::Poison,
            };
        }
        let Some(x) = self.value_of(&v, Some(elem), at) else { return Val::Poison };
        let own = self.k.ty(x).elem;
        if own == elem {
            return v;
        }
        if elem == ElemType::Index && own.is_integer() {
            return Val::Value(self.cast_value(x, elem, at));
        }
        self.return_clash(x, elem, at, declared, what)
    }

    fn return_clash(&mut self, x: ValueId, elem: ElemType, at: Span, declared: Span, what: &str) -> Val {
        let (text, own) = (self.value_type_text(x), self.k.ty(x).elem);
        let help = match (own, elem) {
            (_, ElemType::Bool) => "a condition is a comparison: `… > 0`, `… != 0`".to_string(),
            (ElemType::Bool, _) => "choose a number by the condition: `where(…, x, y)`".to_string(),
            _ => format!("end the function with `… as {elem}`"),
        };
        self.error(
            Diagnostic::error(
                codes::BAD_RETURN,
                format!("{what} must return `{elem}`, and this returns `{text}`"),
            )
            .label(at, format!("returns `{text}`"))
            .secondary(declared, "declared here")
            .help(help),
        );
        Val::Poison
    }

    /// The body of a function with its parameters bound.
    fn inline(&mut self, id: FnId, args: Vec<(Val, Span)>, hint: Option<ElemType>, span: Span) -> Val {
        let f = self.program.function(id);
        if args.len() != f.params.len() {
            let (takes, given) = (f.params.len(), args.len());
            self.error(
                Diagnostic::error(codes::ARITY, format!("`{}` takes {takes} arguments, not {given}", f.name))
                    .label(span, format!("{given} given"))
                    .secondary(f.name.span, "declared here"),
            );
            return Val::Poison;
        }
        if self.calls.len() >= MAX_INLINE {
            self.error(
                Diagnostic::error(
                    codes::RECURSION,
                    format!("functions call each other more than {MAX_INLINE} deep"),
                )
                .label(span, "this call"),
            );
            return Val::Poison;
        }
        self.inlined += 1;
        if self.inlined > MAX_CALLS || self.k.values.len() > MAX_VALUES {
            if !std::mem::replace(&mut self.inlined_too_much, true) {
                let (deep, kernel) = (self.calls.len(), self.k.name.clone());
                self.error(
                    Diagnostic::error(codes::TOO_DEEP, format!("`{kernel}` is too much code once its functions are inlined"))
                        .label(span, format!("the call at which it is given up, {deep} functions deep"))
                        .note(format!("at most {MAX_CALLS} calls are inlined, and {MAX_VALUES} values made"))
                        .help("functions that each call the next twice double with every one: keep the result of a call with `let`"),
                );
            }
            return Val::Poison;
        }
        if f.name.as_str() == "fwht" && f.name.span.file == self.program.prelude && !self.fits_fwht(&args) {
            return Val::Poison;
        }
        self.calls.push((f.name.text.clone(), span));
        self.bind_captures(f);
        for (p, (v, at)) in f.params.iter().zip(args) {
            let v = match &p.ty {
                Some(t) => self.typed_argument(v, t, at, p.name.as_str()),
                None => v,
            };
            self.bind(&p.name, Binding::Val(v));
        }
        let ret = f.ret.as_ref().and_then(|t| Some((self.elem_type(&t.name)?, t.span)));
        self.stmts(&f.stmts, false);
        let v = self.expr(&f.value, ret.map(|r| r.0).or(hint));
        let v = match ret {
            Some((elem, declared)) => {
                self.returned(v, elem, f.value.span, declared, &format!("`{}`", f.name))
            }
            None => v,
        };
        self.calls.pop();
        v
    }

    /// The one rule of the prelude's functions that their text cannot state: `fwht(x, d, n)` goes over whole runs of a power of two.
    fn fits_fwht(&mut self, args: &[(Val, Span)]) -> bool {
        let [_, (d, d_at), (n, n_at)] = args else { return true };
        let (&Val::Range(axis), Some(n)) = (d, n.static_int()) else { return true };
        let extent = i64::from(self.k.axis(axis).extent);
        if n > 0 && n & (n - 1) == 0 && extent % n == 0 {
            return true;
        }
        self.error(
            Diagnostic::error(codes::BAD_EXTENT, format!("`fwht` cannot go over runs of {n}"))
                .label(*n_at, "not a power of two that divides the range")
                .secondary(*d_at, format!("{extent} lanes")),
        );
        false
    }

    /// An argument where the parameter has a type: the element type, and the axes if it names any.
    fn typed_argument(&mut self, v: Val, t: &crate::front::ast::Type, at: Span, name: &str) -> Val {
        let Some(elem) = self.elem_type(&t.name) else { return Val::Poison };
        if let Val::Static(s) = &v
            && s.ty.is_none()
            && t.shape.is_empty()
        {
            return self.returned(v, elem, at, t.span, &format!("the argument `{name}`"));
        }
        let Some(x) = self.value_of(&v, Some(elem), at) else { return Val::Poison };
        let own = self.k.ty(x).clone();
        if own.elem != elem && !(elem == ElemType::Index && own.elem.is_integer()) {
            self.error(
                Diagnostic::error(
                    codes::TYPE_MISMATCH,
                    format!("`{name}` is `{elem}` and the argument is `{}`", own.elem),
                )
                .label(at, format!("this is `{}`", self.type_text(&own)))
                .secondary(t.span, "declared here")
                .help(format!("convert it: `(…) as {elem}`")),
            );
            return Val::Poison;
        }
        if !t.shape.is_empty() {
            let Some(wanted) = self.tile_type(t) else { return Val::Poison };
            if self.extra_axes(x, &wanted.axes, at, &format!("`{name}`"), t.span) {
                return Val::Poison;
            }
            let x = self.spread(x, &wanted.axes, at);
            return Val::Value(x);
        }
        if own.elem != elem { Val::Value(self.cast_value(x, elem, at)) } else { v }
    }

    // -------------------------------------------------------------------------------------------------------- built-ins

    fn builtin(
        &mut self,
        name: &'static str,
        args: &[Arg],
        hint: Option<ElemType>,
        callee: Span,
        span: Span,
    ) -> Val {
        let over = args.iter().any(|a| a.over.is_some());
        let needs_over = matches!(
            name,
            "sum" | "any" | "all" | "argmax" | "argmin" | "cumsum" | "cummax" | "topk" | "sort"
        );
        if needs_over || (over && reduce_op(name).is_some()) {
            return self.over_call(name, args, hint, span);
        }
        if over {
            for a in args {
                self.argument(a);
            }
            return Val::Poison;
        }
        let arg = |n: usize| &args[n].value;
        let arity = |e: &mut Self, wanted: usize| {
            if args.len() == wanted {
                return true;
            }
            e.error(
                Diagnostic::error(
                    codes::ARITY,
                    format!("`{name}` takes {wanted} argument(s), not {}", args.len()),
                )
                .label(span, format!("{} given", args.len())),
            );
            false
        };
        if let Some((op, class)) = unary_builtin(name) {
            if !arity(self, 1) {
                return Val::Poison;
            }
            let hint = if class == Class::Float { hint.filter(|h| h.is_float()) } else { hint };
            let v = self.expr(arg(0), hint);
            return self.unary_op(op, class, &v, arg(0).span, hint, span);
        }
        match name {
            "min" | "max" | "cdiv" => {
                let many = name != "cdiv" && args.len() > 2;
                if !many && !arity(self, 2) {
                    return Val::Poison;
                }
                let (op, class) = match name {
                    "min" => (BinaryOp::Min, Class::Number),
                    "max" => (BinaryOp::Max, Class::Number),
                    _ => (BinaryOp::Cdiv, Class::Integer),
                };
                let (l, r) = self.both(arg(0), arg(1), hint);
                if l.is_poison() || r.is_poison() {
                    return Val::Poison;
                }
                let mut v = self.binary_op(op, class, (&l, arg(0).span), (&r, arg(1).span), hint, span);
                for more in &args[2..] {
                    let next = self.expr(&more.value, self.hint_of(&v).or(hint));
                    if v.is_poison() || next.is_poison() {
                        return Val::Poison;
                    }
                    v = self.binary_op(op, class, (&v, span), (&next, more.span), hint, span);
                }
                v
            }
            "where" => {
                if !arity(self, 3) {
                    return Val::Poison;
                }
                self.where_call(arg(0), arg(1), arg(2), hint, span)
            }
            "clamp" => {
                if !arity(self, 3) {
                    return Val::Poison;
                }
                let x = self.expr(arg(0), hint);
                let inner = self.hint_of(&x).or(hint);
                let (lo, hi) = (self.expr(arg(1), inner), self.expr(arg(2), inner));
                if x.is_poison() || lo.is_poison() || hi.is_poison() {
                    return Val::Poison;
                }
                let v = self.binary_op(
                    BinaryOp::Max,
                    Class::Number,
                    (&x, arg(0).span),
                    (&lo, arg(1).span),
                    hint,
                    span,
                );
                if v.is_poison() {
                    return v;
                }
                self.binary_op(BinaryOp::Min, Class::Number, (&v, span), (&hi, arg(2).span), hint, span)
            }
            "fma" => {
                if !arity(self, 3) {
                    return Val::Poison;
                }
                self.fma(arg(0), arg(1), arg(2), hint, span)
            }
            "bits" => {
                if !arity(self, 2) {
                    return Val::Poison;
                }
                self.bits(arg(0), arg(1), span)
            }
            "stride" => self.stride(args, span),
            "rev" | "part" => {
                self.error(
                    Diagnostic::error(codes::BAD_DOMAIN, format!("`{name}` makes a domain, not a value"))
                        .label(span, "used as a value")
                        .help(format!("it stands after `over`: `for k over {name}(…)`")),
                );
                Val::Poison
            }
            _ => {
                self.error(
                    Diagnostic::error(codes::NOT_YET, format!("`{name}` is a later addition"))
                        .label(callee, "not there yet"),
                );
                Val::Poison
            }
        }
    }

    fn where_call(&mut self, c: &Expr, x: &Expr, y: &Expr, hint: Option<ElemType>, span: Span) -> Val {
        let cond = self.expr(c, Some(ElemType::Bool));
        let (a, b) = self.both(x, y, hint);
        if cond.is_poison() || a.is_poison() || b.is_poison() {
            return Val::Poison;
        }
        if let Some(known) = cond.as_static().and_then(Static::as_bool)
            && let (Val::Static(p), Val::Static(q)) = (&a, &b)
        {
            return Val::Static(if known { p.clone() } else { q.clone() });
        }
        let bools = |v: &Val| matches!(v, Val::Static(s) if s.as_bool().is_some());
        let hint = if bools(&a) || bools(&b) { Some(ElemType::Bool) } else { hint };
        let Some((a, b)) = self.unify("where", (&a, x.span), (&b, y.span), hint, span) else {
            return Val::Poison;
        };
        if let Some(known) = cond.as_static().and_then(Static::as_bool) {
            let axes = self.union(&[a, b]);
            let chosen = if known { a } else { b };
            return Val::Value(self.spread(chosen, &axes, span));
        }
        let Some(cond) = self.value_of(&cond, Some(ElemType::Bool), c.span) else { return Val::Poison };
        if !self.require("where", Class::Bool, cond, c.span) {
            return Val::Poison;
        }
        let axes = self.union(&[a, b, cond]);
        let elem = self.k.ty(a).elem;
        Val::Value(self.emit(Op::Select(cond, a, b), TileType { elem, axes }, span))
    }

    fn fma(&mut self, x: &Expr, y: &Expr, z: &Expr, hint: Option<ElemType>, span: Span) -> Val {
        let a = self.expr(x, hint);
        let inner = self.hint_of(&a).or(hint).or(Some(ElemType::F32));
        let (b, c) = (self.expr(y, inner), self.expr(z, inner));
        if a.is_poison() || b.is_poison() || c.is_poison() {
            return Val::Poison;
        }
        let Some((p, q)) = self.unify("fma", (&a, x.span), (&b, y.span), inner, span) else {
            return Val::Poison;
        };
        let Some((p, r)) = self.unify("fma", (&Val::Value(p), x.span), (&c, z.span), inner, span) else {
            return Val::Poison;
        };
        if !self.require("fma", Class::Float, p, x.span) {
            return Val::Poison;
        }
        let axes = self.union(&[p, q, r]);
        let elem = self.k.ty(p).elem;
        Val::Value(self.emit(Op::Fma(p, q, r), TileType { elem, axes }, span))
    }

    fn bits(&mut self, x: &Expr, t: &Expr, span: Span) -> Val {
        let v = self.value(x, None);
        let to = match self.expr(t, None) {
            Val::Type(t) => Some(t),
            Val::Poison => None,
            other => {
                self.wrong_kind(&other, t.span, "a type");
                None
            }
        };
        let (Some(v), Some(to)) = (v, to) else { return Val::Poison };
        let own = self.k.ty(v).clone();
        if own.elem.bits() != to.bits() || own.elem == ElemType::Bool || to == ElemType::Bool {
            self.error(
                Diagnostic::error(
                    codes::BAD_CAST,
                    "`bits` reads the same bits as another type of the same width",
                )
                .label(x.span, format!("`{}` has {} bits", own.elem, own.elem.bits()))
                .label(t.span, format!("`{to}` has {} bits", to.bits()))
                .help(format!("`as {to}` converts the number instead")),
            );
            return Val::Poison;
        }
        if own.elem == to {
            return Val::Value(v);
        }
        Val::Value(self.emit(Op::Bits(v), TileType { elem: to, axes: own.axes }, span))
    }

    /// `stride(t, d)` in a promise: stands for itself until the promise is read back.
    fn stride(&mut self, args: &[Arg], span: Span) -> Val {
        let [t, d] = args else {
            self.error(
                Diagnostic::error(codes::ARITY, "`stride` takes a tensor and the number of a dimension")
                    .label(span, "here"),
            );
            return Val::Poison;
        };
        if !self.launch_only {
            self.error(
                Diagnostic::error(
                    codes::MISPLACED,
                    "`stride` stands in the `where` of a kernel's parameters",
                )
                .label(span, "not here"),
            );
            return Val::Poison;
        }
        let tensor = match self.expr(&t.value, None) {
            Val::Tensor(t) => t,
            Val::Poison => return Val::Poison,
            other => {
                self.wrong_kind(&other, t.span, "a tensor");
                return Val::Poison;
            }
        };
        let rank = self.k.tensor(tensor).shape.len();
        let axis = self
            .expr(&d.value, None)
            .static_int()
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| *n < rank);
        let Some(axis) = axis else {
            let name = self.k.tensor(tensor).name.clone();
            self.error(
                Diagnostic::error(codes::RANK, format!("`{name}` has {rank} dimensions, numbered from 0"))
                    .label(d.span, "no such dimension"),
            );
            return Val::Poison;
        };
        let phantom = Op::Dim(DimId(u32::MAX - self.strides.len() as u32));
        let v = self.fresh(phantom, TileType::scalar(ElemType::Index), span);
        self.block.push(Stmt::Let(v));
        self.strides.insert(v, LaunchExpr::Stride(tensor, axis));
        Val::Value(v)
    }
}

fn unary_builtin(name: &str) -> Option<(UnaryOp, Class)> {
    use UnaryOp::*;
    Some(match name {
        "abs" => (Abs, Class::Number),
        "floor" => (Floor, Class::Float),
        "ceil" => (Ceil, Class::Float),
        "round" => (Round, Class::Float),
        "trunc" => (Trunc, Class::Float),
        "exp" => (Exp, Class::Float),
        "exp2" => (Exp2, Class::Float),
        "log" => (Log, Class::Float),
        "log2" => (Log2, Class::Float),
        "sqrt" => (Sqrt, Class::Float),
        "rsqrt" => (Rsqrt, Class::Float),
        "tanh" => (Tanh, Class::Float),
        "erf" => (Erf, Class::Float),
        "sin" => (Sin, Class::Float),
        "cos" => (Cos, Class::Float),
        "popc" => (Popc, Class::Bits),
        "clz" => (Clz, Class::Bits),
        "ilog2" => (Ilog2, Class::Bits),
        _ => return None,
    })
}
