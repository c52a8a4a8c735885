//! The head of a kernel: dimensions, parameters, captures, temporaries, promises.
//!
//! Dimensions come first: a name that stands alone in a shape is bound by that extent, else one that stands in an affine entry (`B + 1`).
//! What is left over nothing binds. Then every shape entry, default and promise becomes a [`LaunchExpr`].

use super::Elab;
use super::promises::expr_text;
use super::value::{Binding, Static, Val};
use crate::diagnostics::{Diagnostic, Span, codes};
use crate::front::ast::{self, Attr, AttrKind, Expr, ExprKind, ParamMode};
use crate::front::{LocalId, LocalKind, Res};
use crate::tile::*;

/// `scale * name + offset`
struct AffineName<'e> {
    name: &'e ast::Ident,
    scale: i64,
    offset: i64,
}

impl Elab<'_> {
    pub(super) fn header(&mut self, kernel: &ast::Kernel) {
        // Ids first: dimensions speak of tensors and tensors of dimensions. By order and not by name: two of one name have been reported,
        // and are two.
        let mut declared = Vec::new();
        for p in &kernel.params {
            let val = if p.ty.shape.is_empty() { self.declare_scalar(p) } else { self.declare_tensor(p) };
            self.names.insert(p.name.text.clone(), (val.clone(), p.name.span));
            self.bind(&p.name, Binding::Val(val.clone()));
            declared.push((p, val));
        }
        for pass in [false, true] {
            for (p, val) in &declared {
                if let Val::Tensor(t) = val {
                    self.bind_dims(&p.ty.shape, *t, pass);
                }
            }
        }
        for (p, val) in declared {
            match val {
                Val::Tensor(t) => self.finish_tensor(t, &p.ty.shape, &p.attrs),
                Val::Value(v) => {
                    if let Op::Param(s) = self.k.value(v).op {
                        self.finish_scalar(s, p);
                    }
                }
                _ => {}
            }
        }
    }

    fn declare_scalar(&mut self, p: &ast::Param) -> Val {
        let Some(elem) = self.elem_type(&p.ty.name) else { return Val::Poison };
        if p.mode != ParamMode::In {
            self.error(
                Diagnostic::error(
                    codes::BAD_PARAMETER,
                    format!("`{}` is a scalar: it can only be read", p.name),
                )
                .label(p.span, "declared here")
                .help(format!("to write one number, take a tensor: `{}: {elem}[1]`", p.name)),
            );
            return Val::Poison;
        }
        self.k.scalars.push(Scalar {
            name: p.name.to_string(),
            elem,
            default: None,
            holds: None,
            captured: false,
            span: p.span,
        });
        let id = ScalarId(self.k.scalars.len() as u32 - 1);
        self.k.params.push(Param::Scalar(id));
        Val::Value(self.param_value(id, p.name.span))
    }

    fn declare_tensor(&mut self, p: &ast::Param) -> Val {
        let Some(elem) = self.elem_type(&p.ty.name) else { return Val::Poison };
        let kind = match p.mode {
            ParamMode::In => TensorKind::In,
            ParamMode::Out => TensorKind::Out,
            ParamMode::InOut => TensorKind::InOut,
            ParamMode::Packed => TensorKind::Packed,
        };
        if let Some(d) = &p.default {
            self.error(
                Diagnostic::error(codes::BAD_PARAMETER, "only scalars have defaults")
                    .label(d.span, "on a tensor here"),
            );
        }
        let t = self.push_tensor(p.name.as_str(), elem, kind, p.ty.shape.len(), p.span);
        self.k.params.push(Param::Tensor(t));
        Val::Tensor(t)
    }

    pub(super) fn push_tensor(
        &mut self,
        name: &str,
        elem: ElemType,
        kind: TensorKind,
        rank: usize,
        span: Span,
    ) -> TensorId {
        self.k.tensors.push(Tensor {
            name: name.to_string(),
            elem,
            shape: Vec::new(),
            kind,
            strides: vec![Stride::Dense; rank],
            align: 16,
            holds: None,
            captured: false,
            span,
        });
        self.entry_dims.push(vec![None; rank]);
        TensorId(self.k.tensors.len() as u32 - 1)
    }

    /// An unbound dimension's local.
    pub(super) fn unbound_dim(&self, n: &ast::Ident) -> Option<LocalId> {
        let Res::Local(l) = self.program.res(n) else { return None };
        let dim = matches!(self.program.local(l).kind, LocalKind::Dim | LocalKind::CaptureDim);
        (dim && matches!(self.env.get(l.0 as usize), Some(Binding::Unbound))).then_some(l)
    }

    /// Binds the names of a shape that its extents give: plain names, or affine entries.
    pub(super) fn bind_dims(&mut self, shape: &[Expr], t: TensorId, affine: bool) {
        for (axis, e) in shape.iter().enumerate() {
            let found = match &e.kind {
                ExprKind::Name(n) => Some(AffineName { name: n, scale: 1, offset: 0 }),
                _ if affine => self.affine_name(e),
                _ => None,
            };
            if let Some(AffineName { name, scale, offset }) = found
                && self.unbound_dim(name).is_some()
            {
                self.new_dim(name, DimSource::Shape { tensor: t, axis, scale, offset });
            }
        }
    }

    fn new_dim(&mut self, name: &ast::Ident, source: DimSource) {
        let frozen = self.settings.dims.iter().rev().find(|(n, _)| n == name.as_str()).map(|(_, v)| *v);
        self.k.dims.push(Dim { name: name.to_string(), source, frozen, span: name.span });
        let id = DimId(self.k.dims.len() as u32 - 1);
        let val = match frozen {
            Some(v) => Val::Static(Static {
                value: Const::Int(v.into()),
                ty: Some(ElemType::Index),
                dim: Some(name.text.clone()),
            }),
            None => Val::Value(self.dim_value(id, name.span)),
        };
        self.names.insert(name.text.clone(), (val.clone(), name.span));
        self.bind(name, Binding::Val(val));
    }

    /// `scale * n + offset` with one unbound dimension `n`.
    fn affine_name<'e>(&mut self, e: &'e Expr) -> Option<AffineName<'e>> {
        match &e.kind {
            ExprKind::Name(n) => self.unbound_dim(n).map(|_| AffineName { name: n, scale: 1, offset: 0 }),
            ExprKind::Binary { op, lhs, rhs } => {
                let (inner, constant, right) = match (self.mentions_unbound(lhs), self.mentions_unbound(rhs))
                {
                    (true, false) => (self.affine_name(lhs)?, self.quiet_int(rhs)?, true),
                    (false, true) => (self.affine_name(rhs)?, self.quiet_int(lhs)?, false),
                    _ => return None,
                };
                let AffineName { name, scale, offset } = inner;
                let (scale, offset) = match op {
                    ast::BinaryOp::Add => (scale, offset.checked_add(constant)?),
                    ast::BinaryOp::Sub if right => (scale, offset.checked_sub(constant)?),
                    ast::BinaryOp::Mul => (scale.checked_mul(constant)?, offset.checked_mul(constant)?),
                    _ => return None,
                };
                (scale != 0).then_some(AffineName { name, scale, offset })
            }
            _ => None,
        }
    }

    fn mentions_unbound(&self, e: &Expr) -> bool {
        match &e.kind {
            ExprKind::Name(n) => self.unbound_dim(n).is_some(),
            ExprKind::Binary { lhs, rhs, .. } => self.mentions_unbound(lhs) || self.mentions_unbound(rhs),
            ExprKind::Unary { operand, .. } => self.mentions_unbound(operand),
            ExprKind::Call { args, .. } => args.iter().any(|a| self.mentions_unbound(&a.value)),
            _ => false,
        }
    }

    /// A static integer, without complaint where it is none.
    fn quiet_int(&mut self, e: &Expr) -> Option<i64> {
        self.quietly(|s| s.expr(e, None).static_int())
    }

    /// Reports names in a shape that nothing binds.
    pub(super) fn bound_names(&mut self, e: &Expr) -> bool {
        match &e.kind {
            ExprKind::Name(n) => {
                let Some(l) = self.unbound_dim(n) else { return true };
                self.error(
                    Diagnostic::error(codes::UNBOUND_DIMENSION, format!("nothing says how large `{n}` is"))
                        .label(n.span, "this dimension")
                        .note("a dimension is bound where it stands alone in a shape, or in an affine entry such as `n + 1` or `2 * n`")
                        .help(format!("give `{n}` an entry of its own in some parameter's shape, or make it a scalar parameter `{n}: i64`")),
                );
                self.env[l.0 as usize] = Binding::Val(Val::Poison);
                false
            }
            ExprKind::Binary { lhs, rhs, .. } => {
                let l = self.bound_names(lhs);
                self.bound_names(rhs) && l
            }
            ExprKind::Unary { operand, .. } => self.bound_names(operand),
            ExprKind::Call { args, .. } => {
                let unbound = args.iter().filter(|a| !self.bound_names(&a.value)).count();
                unbound == 0
            }
            _ => true,
        }
    }

    pub(super) fn finish_tensor(&mut self, t: TensorId, shape: &[Expr], attrs: &[Attr]) {
        for (n, e) in shape.iter().enumerate() {
            let extent = if self.bound_names(e) { self.extent(e) } else { None };
            if let Val::Static(s) = self.quiet(e)
                && let (Some(dim), Some(v)) = (&s.dim, s.as_int())
            {
                self.entry_dims[t.0 as usize][n] = Some((dim.clone(), v));
            }
            let extent = extent.unwrap_or_else(|| LaunchExpr::int(1));
            let entry = ShapeEntry { extent, text: expr_text(e), span: e.span };
            self.k.tensors[t.0 as usize].shape.push(entry);
        }
        for a in attrs {
            self.attribute(t, shape.len(), a);
        }
    }

    fn quiet(&mut self, e: &Expr) -> Val {
        self.quietly(|s| s.expr(e, Some(ElemType::Index)))
    }

    /// A shape entry; its divisions must be exact.
    pub(super) fn extent(&mut self, e: &Expr) -> Option<LaunchExpr> {
        let v = self.index_scalar(e, "a shape entry")?;
        let x = self.launch_of(v, e.span)?;
        self.exact_divisions(e);
        if let Some(n) = x.eval_int(&NoFacts)
            && n < 0
        {
            self.error(
                Diagnostic::error(codes::BAD_EXTENT, format!("a dimension cannot be {n}"))
                    .label(e.span, "negative"),
            );
            return None;
        }
        Some(x)
    }

    fn exact_divisions(&mut self, e: &Expr) {
        let ExprKind::Binary { op, lhs, rhs } = &e.kind else { return };
        self.exact_divisions(lhs);
        self.exact_divisions(rhs);
        if *op != ast::BinaryOp::Div {
            return;
        }
        let (Some(l), Some(r)) =
            (self.index_scalar(lhs, "a shape entry"), self.index_scalar(rhs, "a shape entry"))
        else {
            return;
        };
        let (Some(l), Some(r)) = (self.launch_of(l, lhs.span), self.launch_of(r, rhs.span)) else { return };
        let rest = LaunchExpr::Binary(BinaryOp::Rem, Box::new(l), Box::new(r));
        match rest.eval_int(&NoFacts) {
            Some(0) => {}
            Some(_) => self.error(
                Diagnostic::error(codes::INEXACT_DIVISION, "`/` in a shape must be exact")
                    .label(e.span, format!("{} leaves a remainder", expr_text(e)))
                    .help(format!("`cdiv({}, {})` rounds up", expr_text(lhs), expr_text(rhs))),
            ),
            None => {
                let expr = LaunchExpr::Compare(CmpOp::Eq, Box::new(rest), Box::new(LaunchExpr::int(0)));
                let text = format!("{} % {} == 0", expr_text(lhs), expr_text(rhs));
                if !self.k.promises.iter().any(|p| p.expr == expr) {
                    self.k.promises.push(Promise {
                        expr,
                        text,
                        origin: PromiseOrigin::ExactDivision,
                        span: e.span,
                    });
                }
            }
        }
    }

    fn attribute(&mut self, t: TensorId, rank: usize, a: &Attr) {
        match &a.kind {
            AttrKind::Strides(list) => {
                if list.len() != rank {
                    let name = self.k.tensor(t).name.clone();
                    self.error(
                        Diagnostic::error(
                            codes::RANK,
                            format!("{} strides for {rank} dimensions", list.len()),
                        )
                        .label(a.span, format!("`{name}` has {rank} dimensions"))
                        .help("`_` stands for a stride given at launch"),
                    );
                    return;
                }
                let strides: Vec<Stride> = list
                    .iter()
                    .map(|s| match s {
                        None => Stride::Free,
                        Some(e) => self.launch_int(e).map_or(Stride::Free, Stride::Given),
                    })
                    .collect();
                for (stride, e) in strides.iter().zip(list) {
                    if let (Stride::Given(LaunchExpr::Const(Const::Int(v @ ..0))), Some(e)) = (stride, e) {
                        self.error(
                            Diagnostic::error(codes::BAD_PARAMETER, "a stride is not negative")
                                .label(e.span, format!("this is {v}"))
                                .help("`rev(D)` visits a domain backwards"),
                        );
                    }
                }
                self.k.tensors[t.0 as usize].strides = strides;
            }
            AttrKind::Align(n) => {
                let ok = match n.value {
                    ast::NumberValue::Int(v) if v.is_power_of_two() && v <= 1 << 20 => Some(v as u32),
                    _ => None,
                };
                match ok {
                    Some(v) => self.k.tensors[t.0 as usize].align = v,
                    None => self.error(
                        Diagnostic::error(codes::BAD_PARAMETER, "an alignment is a power of two, in bytes")
                            .label(n.span, "not this"),
                    ),
                }
            }
            AttrKind::In(_) | AttrKind::Ascending(_) | AttrKind::Distinct(_) => {
                let elem = self.k.tensor(t).elem;
                if let Some(h) = self.holds(a, elem) {
                    self.k.tensors[t.0 as usize].holds = Some(h);
                }
            }
        }
    }

    fn holds(&mut self, a: &Attr, elem: ElemType) -> Option<Holds> {
        let (AttrKind::In(e) | AttrKind::Ascending(e) | AttrKind::Distinct(e)) = &a.kind else { return None };
        if !elem.is_integer() {
            self.error(
                Diagnostic::error(
                    codes::BAD_PARAMETER,
                    format!("only integers are indices; this is `{elem}`"),
                )
                .label(a.span, "promised here"),
            );
            return None;
        }
        let ExprKind::Range { lo, hi, inclusive } = &e.kind else {
            self.error(
                Diagnostic::error(codes::BAD_DOMAIN, "a promise about indices is a range: `in 0..N`")
                    .label(e.span, "not a range"),
            );
            return None;
        };
        let (l, h) = (self.launch_int(lo), self.launch_int(hi));
        let (lo, hi) = (l?, h?);
        Some(match &a.kind {
            AttrKind::Ascending(_) => Holds::Ascending { lo, hi },
            kind => {
                let distinct = matches!(kind, AttrKind::Distinct(_));
                Holds::In { lo, hi, inclusive: *inclusive, distinct }
            }
        })
    }

    fn finish_scalar(&mut self, s: ScalarId, p: &ast::Param) {
        let elem = self.k.scalar(s).elem;
        for a in &p.attrs {
            if matches!(a.kind, AttrKind::In(_)) {
                let h = self.holds(a, elem);
                self.k.scalars[s.0 as usize].holds = h;
            } else {
                self.error(
                    Diagnostic::error(
                        codes::BAD_PARAMETER,
                        "a scalar has neither strides nor alignment, and does not ascend",
                    )
                    .label(a.span, "not on a scalar"),
                );
            }
        }
        if let Some(d) = &p.default {
            let Some(v) = self.value(d, Some(elem)) else { return };
            if self.k.ty(v).elem != elem {
                self.error(
                    Diagnostic::error(
                        codes::TYPE_MISMATCH,
                        format!("`{}` is `{elem}` and its default is `{}`", p.name, self.k.ty(v).elem),
                    )
                    .label(d.span, format!("this is `{}`", self.value_type_text(v)))
                    .secondary(p.ty.span, format!("declared `{elem}`"))
                    .help(format!("convert it: `(…) as {elem}`")),
                );
                return;
            }
            let default = self.launch_of(v, d.span);
            if let Some(expr) = &default
                && let Some(later) = first_scalar_from(expr, s)
            {
                let name = &self.k.scalar(later).name;
                let what = if later == s { "itself".into() } else { format!("`{name}`, which comes later") };
                self.error(
                    Diagnostic::error(
                        codes::BAD_PARAMETER,
                        format!("the default of `{}` uses {what}", p.name),
                    )
                    .label(d.span, "used here")
                    .help("a default may use dimensions and the scalars before it"),
                );
                return;
            }
            self.k.scalars[s.0 as usize].default = default;
        }
    }

    pub(super) fn temp_tensor(
        &mut self,
        name: &ast::Ident,
        ty: &ast::Type,
        init: Option<&Expr>,
        span: Span,
    ) -> Option<TensorId> {
        let elem = self.elem_type(&ty.name)?;
        if ty.shape.is_empty() {
            self.error(
                Diagnostic::error(codes::BAD_PARAMETER, "a `temp` is a tensor")
                    .label(ty.span, "this type has no shape")
                    .help(format!("for one number per instance: `let mut {name}: {elem} = 0;`")),
            );
            return None;
        }
        let init = match init {
            None => None,
            Some(e) => match self.expr(e, Some(elem)) {
                Val::Static(s) => {
                    let v = self.materialize(&s, Some(elem), e.span)?;
                    match self.k.value(v).op {
                        Op::Const(c) if self.k.ty(v).elem == elem => Some(c),
                        _ => {
                            self.type_clash(
                                "=",
                                (&Val::Static(Static { ty: Some(elem), ..s.clone() }), ty.span),
                                (&Val::Value(v), e.span),
                                span,
                            );
                            return None;
                        }
                    }
                }
                Val::Poison => return None,
                _ => {
                    self.not_static("what a `temp` is filled with", e.span);
                    return None;
                }
            },
        };
        let t = self.push_tensor(name.as_str(), elem, TensorKind::Temp { init }, ty.shape.len(), span);
        self.finish_tensor(t, &ty.shape, &[]);
        Some(t)
    }
}

/// A scalar that an expression uses and that is not before `s`.
fn first_scalar_from(expr: &LaunchExpr, s: ScalarId) -> Option<ScalarId> {
    let of = |x: &LaunchExpr| first_scalar_from(x, s);
    match expr {
        LaunchExpr::Scalar(used) => (*used >= s).then_some(*used),
        LaunchExpr::Const(_) | LaunchExpr::Dim(_) | LaunchExpr::Stride(..) => None,
        LaunchExpr::Unary(_, x) | LaunchExpr::Cast(_, x) => of(x),
        LaunchExpr::Binary(_, x, y) | LaunchExpr::Compare(_, x, y) => of(x).or_else(|| of(y)),
        LaunchExpr::Select(x, y, z) => of(x).or_else(|| of(y)).or_else(|| of(z)),
    }
}
