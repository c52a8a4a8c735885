//! Domains: what `for`, `grid` and `let` ranges go over.
//!
//! A domain is an integer `n` (`0..n`), `lo..hi`, or a range (its sub-ranges); `by N` cuts it; `rev` reverses the trips and `part(D, s, n)` takes
//! the s-th of n nearly equal runs of whole tiles, which is only other bounds.

use super::Elab;
use super::value::Val;
use crate::diagnostics::{Diagnostic, Span, codes};
use crate::front::ast::{Expr, ExprKind};
use crate::front::{Builtin, Res};
use crate::tile::*;

/// A domain: `lo..hi`, cut into ranges of `by` lanes or visited by scalars.
pub(super) struct Domain {
    pub lo: ValueId,
    pub hi: ValueId,
    pub by: Option<u32>,
    pub rev: bool,
}

impl Elab<'_> {
    pub(super) fn domain(&mut self, e: &Expr) -> Option<Domain> {
        match &e.kind {
            ExprKind::By { domain, step } => {
                let d = self.domain(domain);
                let step = self.step(step);
                let (mut d, step) = (d?, step?);
                if d.by.is_some() {
                    self.error(
                        Diagnostic::error(codes::BAD_DOMAIN, "a domain is cut once")
                            .label(e.span, "`by` again here"),
                    );
                    return None;
                }
                d.by = Some(step);
                Some(d)
            }
            ExprKind::Range { lo, hi, inclusive } => {
                let (l, h) = (self.index_scalar(lo, "a bound"), self.index_scalar(hi, "a bound"));
                let (lo, mut hi) = (l?, h?);
                if *inclusive {
                    let one = self.index(1, e.span);
                    hi = self.binary_value(BinaryOp::Add, hi, one, e.span);
                }
                Some(Domain { lo, hi, by: None, rev: false })
            }
            ExprKind::Call { callee, args } if self.domain_function(callee).is_some() => {
                let name = self.domain_function(callee)?;
                let wanted = if name == "rev" { 1 } else { 3 };
                if args.len() != wanted {
                    self.error(
                        Diagnostic::error(codes::ARITY, format!("`{name}` takes {wanted} argument(s)"))
                            .label(e.span, format!("{} given", args.len()))
                            .help(if name == "rev" { "`rev(K by BK)`" } else { "`part(K by BK, s, n)`" }),
                    );
                    return None;
                }
                if name == "rev" {
                    let d = self.domain(&args[0].value)?;
                    return Some(Domain { rev: !d.rev, ..d });
                }
                let d = self.domain(&args[0].value);
                let s = self.index_scalar(&args[1].value, "the number of the part");
                let n = self.index_scalar(&args[2].value, "the number of parts");
                self.part(d?, s?, n?, e.span)
            }
            _ => self.whole_domain(e),
        }
    }

    fn domain_function(&self, callee: &Expr) -> Option<&'static str> {
        let ExprKind::Name(n) = &callee.kind else { return None };
        match self.program.res(n) {
            Res::Builtin(Builtin(name @ ("rev" | "part"))) => Some(name),
            _ => None,
        }
    }

    /// A range's own extent, or `0..n`.
    fn whole_domain(&mut self, e: &Expr) -> Option<Domain> {
        let v = self.expr(e, Some(ElemType::Index));
        if let Val::Range(a) = v {
            let (lo, hi) = (self.k.axis(a).lo, self.axis_end(a, e.span));
            return Some(Domain { lo, hi, by: None, rev: false });
        }
        let hi = self.value_of(&v, Some(ElemType::Index), e.span)?;
        let ty = self.k.ty(hi).clone();
        if !ty.is_scalar() || !ty.elem.is_integer() {
            self.error(
                Diagnostic::error(codes::BAD_DOMAIN, "this is no domain")
                    .label(e.span, format!("this is `{}`", self.type_text(&ty)))
                    .note("a domain is a dimension or integer scalar `n` (from 0), `lo..hi`, or a range"),
            );
            return None;
        }
        let hi = self.cast_value(hi, ElemType::Index, e.span);
        let lo = self.index(0, e.span);
        Some(Domain { lo, hi, by: None, rev: false })
    }

    /// `by N`: static, at least 1.
    fn step(&mut self, e: &Expr) -> Option<u32> {
        match self.expr(e, None) {
            Val::Static(s) if s.as_int().is_some() => self.lanes(s.as_int()?, e.span),
            Val::Poison => None,
            Val::Static(_) => {
                self.error(
                    Diagnostic::error(codes::BAD_DOMAIN, "`by` takes an integer")
                        .label(e.span, "not an integer"),
                );
                None
            }
            _ => {
                self.not_static("a range's size", e.span);
                None
            }
        }
    }

    /// Part `s` of `n`: of `t` tiles those from `t * s / n` up to `t * (s + 1) / n`.
    fn part(&mut self, d: Domain, s: ValueId, n: ValueId, span: Span) -> Option<Domain> {
        use BinaryOp::*;
        let by = self.index(d.by.unwrap_or(1).into(), span);
        let (zero, one) = (self.index(0, span), self.index(1, span));
        let length = self.binary_value(Sub, d.hi, d.lo, span);
        let tiles = self.binary_value(Cdiv, length, by, span);
        let tiles = self.binary_value(Max, tiles, zero, span);
        let edge = |e: &mut Self, s: ValueId| {
            let before = e.binary_value(Mul, tiles, s, span);
            let before = e.binary_value(Div, before, n, span);
            let offset = e.binary_value(Mul, before, by, span);
            e.binary_value(Add, offset, d.lo, span)
        };
        let next = self.binary_value(Add, s, one, span);
        let lo = edge(self, s);
        let end = edge(self, next);
        let hi = self.binary_value(Min, end, d.hi, span);
        // The end of the domain, not of the part, is where lanes stop to exist: but parts are whole tiles, so it is the same.
        Some(Domain { lo, hi, ..d })
    }

    /// `let r = lo..hi by N;`: the first range of a domain.
    pub(super) fn let_range(&mut self, name: &str, e: &Expr, span: Span) -> Val {
        let Some(d) = self.domain(e) else { return Val::Poison };
        if d.rev {
            self.error(
                Diagnostic::error(
                    codes::BAD_DOMAIN,
                    "a `let` binds the first range of a domain; `rev` has no meaning here",
                )
                .label(e.span, "reversed"),
            );
            return Val::Poison;
        }
        let extent = match d.by {
            Some(by) => by,
            None => match self.static_distance(d.lo, d.hi) {
                Some(n) => match self.lanes(n, e.span) {
                    Some(n) => n,
                    None => return Val::Poison,
                },
                None => {
                    self.error(
                        Diagnostic::error(
                            codes::NOT_STATIC,
                            "the size of a range must be known at compile time",
                        )
                        .label(e.span, "the difference of these bounds is known only at launch or later")
                        .help("say how many lanes it has at most: `lo..hi by 64`"),
                    );
                    return Val::Poison;
                }
            },
        };
        let axis = Axis { name: name.to_string(), extent, lo: d.lo, hi: d.hi, kind: AxisKind::Let, span };
        Val::Range(self.new_axis(axis))
    }
}
