//! `a @ b`: contracts the last axis of `a`; every other axis that both have is batch; the contracted one must come first among `b`'s
//! axes that are not batch; the rest are kept, `a`'s first.

use super::Elab;
use super::value::Val;
use crate::diagnostics::{Diagnostic, Span, codes};
use crate::front::ast::Expr;
use crate::tile::*;

impl Elab<'_> {
    pub(super) fn matmul(&mut self, lhs: &Expr, rhs: &Expr, span: Span) -> Val {
        let a = self.value(lhs, None);
        let b = self.value(rhs, None);
        let (Some(a), Some(b)) = (a, b) else { return Val::Poison };
        let elem = self.matmul_type((a, lhs.span), (b, rhs.span));
        let axes = self.matmul_axes((a, lhs.span), (b, rhs.span), span);
        let (Some(elem), Some((contract, batch, axes))) = (elem, axes) else { return Val::Poison };
        Val::Value(self.emit(Op::Mma { a, b, contract, batch }, TileType { elem, axes }, span))
    }

    /// The element type of the product.
    fn matmul_type(&mut self, a: (ValueId, Span), b: (ValueId, Span)) -> Option<ElemType> {
        let (x, y) = (self.k.ty(a.0).elem, self.k.ty(b.0).elem);
        let small_float = |t: ElemType| t.is_float() && t.bits() <= 8;
        if x.is_mma_integer() && y.is_mma_integer() {
            return Some(ElemType::I32);
        }
        if x.is_float() && (x == y || (small_float(x) && small_float(y))) {
            return Some(if x == ElemType::F64 { ElemType::F64 } else { ElemType::F32 });
        }
        let mut d = Diagnostic::error(codes::MATMUL_TYPES, "`@` cannot multiply these types")
            .label(a.1, format!("this is `{}`", self.value_type_text(a.0)))
            .label(b.1, format!("this is `{}`", self.value_type_text(b.0)))
            .note("both sides have one type; only integers, and floats of at most 8 bits, may be mixed among themselves");
        if x.is_float() || y.is_float() {
            let to = if x.is_float() && !small_float(x) {
                x
            } else if y.is_float() {
                y
            } else {
                x
            };
            d = d.help(format!("convert one side: `(… as {to})`"));
        }
        self.error(d);
        None
    }

    fn matmul_axes(
        &mut self,
        a: (ValueId, Span),
        b: (ValueId, Span),
        span: Span,
    ) -> Option<(AxisId, Vec<AxisId>, Vec<AxisId>)> {
        let (xs, ys) = (self.k.ty(a.0).axes.clone(), self.k.ty(b.0).axes.clone());
        let _ = span;
        let Some(&contract) = xs.last() else {
            self.matmul_error(
                a,
                b,
                "`@` needs an axis to contract, and the left side is a scalar",
                &[],
                "multiply with `*`",
            );
            return None;
        };
        let name = self.k.axis(contract).name.clone();
        if !ys.contains(&contract) {
            let twin = ys.iter().copied().find(|y| self.k.axis(*y).name == name);
            let shared: Vec<AxisId> = xs.iter().copied().filter(|x| ys.contains(x)).collect();
            if let Some(twin) = twin {
                let message = format!("the two sides of `@` have two different axes named `{name}`");
                self.matmul_error(
                    a,
                    b,
                    &message,
                    &[contract, twin],
                    &format!("read both sides with the same range `{name}`"),
                );
            } else if let [only] = shared[..] {
                let other = self.k.axis(only).name.clone();
                let message = format!(
                    "`@` contracts the last axis of its left side, `{name}`, which the right side lacks"
                );
                let help = format!(
                    "both have `{other}`: if that is to be summed, make it last on the left, with `.T` or by the order of subscripts"
                );
                self.matmul_error(a, b, &message, &[contract], &help);
            } else {
                let message = format!(
                    "`@` contracts the last axis of its left side, `{name}`, which the right side lacks"
                );
                self.matmul_error(
                    a,
                    b,
                    &message,
                    &[contract],
                    &format!("read the right side with the range `{name}` too"),
                );
            }
            return None;
        }
        let batch: Vec<AxisId> = xs.iter().copied().filter(|x| *x != contract && ys.contains(x)).collect();
        let first = ys.iter().copied().find(|y| !batch.contains(y));
        if first != Some(contract) {
            let message = format!("the contracted axis `{name}` must come first on the right of `@`");
            let untransposed = match self.k.value(b.0).op {
                Op::Reorder(x) => self.k.ty(x).axes.iter().copied().find(|y| !batch.contains(y)),
                _ => None,
            };
            let help = match untransposed == Some(contract) {
                true => "it does without the `.T` on the right side",
                false => "transpose the right side: `….T`",
            };
            self.matmul_error(a, b, &message, &[contract], help);
            return None;
        }
        let mut axes: Vec<AxisId> = xs.iter().copied().filter(|x| *x != contract).collect();
        for y in ys {
            if y != contract && !axes.contains(&y) {
                axes.push(y);
            }
        }
        Some((contract, batch, axes))
    }

    fn matmul_error(
        &mut self,
        a: (ValueId, Span),
        b: (ValueId, Span),
        message: &str,
        axes: &[AxisId],
        help: &str,
    ) {
        let d = Diagnostic::error(codes::MATMUL_AXES, message)
            .label(a.1, format!("this is `{}`", self.value_type_text(a.0)))
            .label(b.1, format!("this is `{}`", self.value_type_text(b.0)));
        let d = self.label_axes(d, axes);
        self.error(d.help(help));
    }
}
