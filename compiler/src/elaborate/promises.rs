//! Promises, and values that only the launch decides as expressions over dimensions and scalar parameters.

use super::Elab;
use super::arith::Class;
use crate::diagnostics::{Diagnostic, Span, codes};
use crate::front::ast::{self, Expr, ExprKind};
use crate::tile::*;

impl Elab<'_> {
    pub(super) fn promises(&mut self, kernel: &ast::Kernel) {
        for e in &kernel.promises {
            self.launch_only = true;
            let v = self.value(e, Some(ElemType::Bool));
            self.launch_only = false;
            let Some(v) = v else { continue };
            if !self.require("where", Class::Bool, v, e.span) {
                continue;
            }
            let Some(expr) = self.launch_of(v, e.span) else { continue };
            match expr.eval(&NoFacts) {
                Some(Const::Bool(true)) => {}
                Some(_) => {
                    let mut d =
                        Diagnostic::error(codes::BROKEN_PROMISE, format!("`{}` does not hold", expr_text(e)))
                            .label(e.span, "promised here");
                    for b in &self.k.binding {
                        d = d.note(format!("{} = {} ({})", b.name, b.value, b.from));
                    }
                    self.error(d);
                }
                None => self.k.promises.push(Promise {
                    expr,
                    text: expr_text(e),
                    origin: PromiseOrigin::Where,
                    span: e.span,
                }),
            }
        }
    }

    pub(super) fn launch_int(&mut self, e: &Expr) -> Option<LaunchExpr> {
        let v = self.index_scalar(e, "this")?;
        self.launch_of(v, e.span)
    }

    /// A value that only the launch decides, as an expression over dimensions and scalar parameters.
    pub(super) fn launch_of(&mut self, v: ValueId, span: Span) -> Option<LaunchExpr> {
        if let Some(x) = self.launch_expr(v) {
            return Some(x);
        }
        self.error(
            Diagnostic::error(codes::NOT_LAUNCH, "this must be known when the kernel is launched")
                .label(span, "depends on more than dimensions, scalar parameters and strides"),
        );
        None
    }

    fn launch_expr(&self, v: ValueId) -> Option<LaunchExpr> {
        if let Some(x) = self.strides.get(&v) {
            return Some(x.clone());
        }
        let sub = |x: &ValueId| self.launch_expr(*x).map(Box::new);
        let value = self.k.value(v);
        if !value.ty.is_scalar() {
            return None;
        }
        Some(match &value.op {
            Op::Const(c) => LaunchExpr::Const(*c),
            Op::Dim(d) => LaunchExpr::Dim(*d),
            Op::Param(s) => LaunchExpr::Scalar(*s),
            Op::Cast(x) => LaunchExpr::Cast(value.ty.elem, sub(x)?),
            Op::Unary(op, x) => LaunchExpr::Unary(*op, sub(x)?),
            Op::Binary(op, x, y) => LaunchExpr::Binary(*op, sub(x)?, sub(y)?),
            Op::Compare(op, x, y) => LaunchExpr::Compare(*op, sub(x)?, sub(y)?),
            Op::Select(c, x, y) => LaunchExpr::Select(sub(c)?, sub(x)?, sub(y)?),
            _ => return None,
        })
    }
}

/// A small expression as text, for shapes and promises. Operators are spaced, brackets set where needed.
pub(super) fn expr_text(e: &Expr) -> String {
    let sub = |e: &Expr| match &e.kind {
        ExprKind::Binary { .. } => format!("({})", expr_text(e)),
        _ => expr_text(e),
    };
    match &e.kind {
        ExprKind::Number(n) => n.text.to_string(),
        ExprKind::Inf => "inf".into(),
        ExprKind::Bool(b) => b.to_string(),
        ExprKind::Name(n) => n.to_string(),
        ExprKind::Unary { op, operand } => format!("{}{}", op.text(), sub(operand)),
        ExprKind::Binary { op, lhs, rhs } if op.is_comparison() => {
            format!("{} {} {}", expr_text(lhs), op.text(), expr_text(rhs))
        }
        ExprKind::Binary { op, lhs, rhs } => format!("{} {} {}", sub(lhs), op.text(), sub(rhs)),
        ExprKind::Cast { value, ty } => format!("{} as {ty}", sub(value)),
        ExprKind::Call { callee, args } => {
            let args: Vec<String> = args.iter().map(|a| expr_text(&a.value)).collect();
            format!("{}({})", expr_text(callee), args.join(", "))
        }
        ExprKind::Field { base, field } => format!("{}.{field}", expr_text(base)),
        _ => "…".into(),
    }
}
