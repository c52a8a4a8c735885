//! Statements and schedules.

use super::{Expr, Ident, Path, Set, Type};
use crate::diagnostics::Span;

#[derive(Clone, Debug)]
pub struct Block {
    pub stmts: Vec<Stmt>,
    /// With the braces.
    pub span: Span,
}

#[derive(Clone, Debug)]
pub struct Stmt {
    pub kind: StmtKind,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum StmtKind {
    Let {
        mutable: bool,
        pattern: Pattern,
        ty: Option<Type>,
        value: Expr,
    },
    Temp {
        name: Ident,
        ty: Type,
        init: Option<Expr>,
    },
    Tune {
        entries: Vec<Tune>,
        constraints: Vec<Expr>,
    },
    Grid {
        vars: Vec<Over>,
        when: Option<Expr>,
        /// `grid … { }`: marked *later* in the reference.
        body: Option<Block>,
    },
    For {
        var: Over,
        when: Option<Expr>,
        body: Block,
    },
    If {
        cond: Expr,
        then: Block,
        otherwise: Option<Block>,
    },
    /// `place = value when c;` (a tuple of places for `(m, l) = f(m, l);`)
    Assign {
        place: Expr,
        value: Expr,
        when: Option<Expr>,
    },
    /// `atomic place op= value when c;`
    Update {
        atomic: bool,
        place: Expr,
        op: UpdateOp,
        value: Expr,
        when: Option<Expr>,
    },
    Schedule(Schedule),
    /// Text that did not parse, with the identifiers in it and, for a broken header, the block that followed.
    Error {
        names: Vec<Ident>,
        body: Option<Block>,
    },
}

#[derive(Clone, Debug)]
pub enum Pattern {
    Name(Ident),
    /// `None` for `_`.
    Tuple {
        names: Vec<Option<Ident>>,
        span: Span,
    },
}

/// `i over M by BM`: a loop or grid variable and its domain.
#[derive(Clone, Debug)]
pub struct Over {
    pub name: Ident,
    /// With [`ExprKind::By`] outermost (inside `rev`, `part` too) the variable is a range, else a scalar.
    pub domain: Expr,
    pub span: Span,
}

/// `BM in {64, 128}` or `BKV in 32..=256 step 16`.
#[derive(Clone, Debug)]
pub struct Tune {
    pub name: Ident,
    pub choices: TuneChoices,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum TuneChoices {
    List(Vec<Expr>),
    Set(Set),
}

#[derive(Clone, Debug)]
pub struct Schedule {
    /// The kernel's name, at file level.
    pub kernel: Option<Ident>,
    /// `sm_90a`
    pub target: Ident,
    pub when: Option<Expr>,
    pub items: Vec<ScheduleItem>,
    pub span: Span,
}

/// `k.stages = 4;` or `persistent;`
#[derive(Clone, Debug)]
pub struct ScheduleItem {
    pub path: Path,
    pub value: Option<Expr>,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpdateOp {
    Add,
    Sub,
    Mul,
    Max,
    Min,
    Or,
    And,
    Xor,
}

impl UpdateOp {
    /// As written: `+=`.
    pub fn text(self) -> &'static str {
        match self {
            UpdateOp::Add => "+=",
            UpdateOp::Sub => "-=",
            UpdateOp::Mul => "*=",
            UpdateOp::Max => "max=",
            UpdateOp::Min => "min=",
            UpdateOp::Or => "|=",
            UpdateOp::And => "&=",
            UpdateOp::Xor => "^=",
        }
    }
}
