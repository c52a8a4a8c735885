//! Expressions.

use super::{Ident, Symbol, UpdateOp};
use crate::diagnostics::Span;

#[derive(Clone, Debug)]
pub struct Expr {
    pub kind: ExprKind,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum ExprKind {
    Number(Number),
    Inf,
    Bool(bool),
    Name(Ident),
    Unary {
        op: UnaryOp,
        operand: Box<Expr>,
    },
    Binary {
        op: BinaryOp,
        lhs: Box<Expr>,
        rhs: Box<Expr>,
    },
    /// `x as T`
    Cast {
        value: Box<Expr>,
        ty: Ident,
    },
    /// `t[i, :, ..]`
    Index {
        base: Box<Expr>,
        subscripts: Vec<Subscript>,
    },
    /// `x.T`, `r.lo`, or `v.NAME` where `v` is an import: then `field` resolves to the item.
    Field {
        base: Box<Expr>,
        field: Ident,
    },
    /// `r'`
    Prime(Box<Expr>),
    /// `f(x over k, n)`; the callee is a `Name` or a `Field`.
    Call {
        callee: Box<Expr>,
        args: Vec<Arg>,
    },
    /// `lo..hi`, or `lo..=hi`.
    Range {
        lo: Box<Expr>,
        hi: Box<Expr>,
        inclusive: bool,
    },
    /// `domain by step`
    By {
        domain: Box<Expr>,
        step: Box<Expr>,
    },
    /// Two or more.
    Tuple(Vec<Expr>),
    /// `atomic place += value` as a value: what was there before.
    Atomic {
        place: Box<Expr>,
        op: UpdateOp,
        value: Box<Expr>,
    },
    Error,
}

#[derive(Clone, Debug)]
pub enum Subscript {
    /// `:`
    All(Span),
    /// `..`
    Rest(Span),
    Expr(Expr),
}

impl Subscript {
    pub fn span(&self) -> Span {
        match self {
            Subscript::All(s) | Subscript::Rest(s) => *s,
            Subscript::Expr(e) => e.span,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Arg {
    pub value: Expr,
    pub over: Option<ArgOver>,
    pub span: Span,
}

/// `over k`, `over (i, j)`, `over rev(k)`, `over grid s`.
#[derive(Clone, Debug)]
pub struct ArgOver {
    pub grid: bool,
    pub axes: Expr,
    pub span: Span,
}

/// A literal, with its spelling.
#[derive(Clone, Debug)]
pub struct Number {
    pub value: NumberValue,
    /// As written: `0xff`, `1_000`.
    pub text: Symbol,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NumberValue {
    Int(u64),
    /// Written with a point or an exponent.
    Float(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    /// `-`
    Neg,
    /// `!`
    Not,
    /// `~`
    BitNot,
}

impl UnaryOp {
    pub fn text(self) -> &'static str {
        match self {
            UnaryOp::Neg => "-",
            UnaryOp::Not => "!",
            UnaryOp::BitNot => "~",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `||` and `&&`
    Or,
    And,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    BitOr,
    BitXor,
    BitAnd,
    Shl,
    Shr,
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    /// `@`
    MatMul,
}

impl BinaryOp {
    pub fn text(self) -> &'static str {
        match self {
            BinaryOp::Or => "||",
            BinaryOp::And => "&&",
            BinaryOp::Eq => "==",
            BinaryOp::Ne => "!=",
            BinaryOp::Lt => "<",
            BinaryOp::Le => "<=",
            BinaryOp::Gt => ">",
            BinaryOp::Ge => ">=",
            BinaryOp::BitOr => "|",
            BinaryOp::BitXor => "^",
            BinaryOp::BitAnd => "&",
            BinaryOp::Shl => "<<",
            BinaryOp::Shr => ">>",
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Rem => "%",
            BinaryOp::MatMul => "@",
        }
    }

    /// One of the six comparisons.
    pub fn is_comparison(self) -> bool {
        use BinaryOp::*;
        matches!(self, Eq | Ne | Lt | Le | Gt | Ge)
    }
}
