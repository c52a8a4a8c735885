//! The syntax tree: what the text says, before anything is known about types or axes.
//!
//! The tree follows the grammar of the language reference one production at a time. Parentheses leave no node (spans keep them), `where(c, x, y)`
//! is an ordinary call of the name `where`, and `else if` is an `else` block that holds one `if`.
//!
//! ```text
//! acc += a[i, k] @ b[j, k].T;
//!
//! Update { place: Name(acc), op: Add,
//!          value: Binary { op: MatMul, lhs: Index { base: Name(a), subscripts: [i, k] },
//!                          rhs: Field { base: Index { base: Name(b), subscripts: [j, k] }, field: T } } }
//! ```
//!
//! Invariants:
//! - every node has a span in the file it came from, and a parent's span holds its children's;
//! - every identifier, binding or use, has a [`NodeId`] of its own, by which [`Program::res`](super::Program::res) says what it means;
//! - a node named `Error` stands only where a diagnostic has been reported already: whoever meets one stays silent.

use crate::diagnostics::Span;
use std::fmt;
use std::sync::Arc;

/// Interned-enough text: cheap to clone, compares by content.
pub type Symbol = Arc<str>;

/// The number of one identifier in the text; unique within a [`Program`](super::Program), not stable between compilations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// One identifier as it stands in the text, binding or use.
#[derive(Clone)]
pub struct Ident {
    pub text: Symbol,
    pub span: Span,
    pub id: NodeId,
}

impl Ident {
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.text)
    }
}

/// `v.causal`: an item's name, perhaps reached through `import … as v`. The last identifier carries the resolution.
#[derive(Clone, Debug)]
pub struct Path {
    /// At least one.
    pub segments: Vec<Ident>,
    pub span: Span,
}

impl Path {
    /// The identifier that says which item is meant.
    pub fn last(&self) -> &Ident {
        self.segments.last().expect("the grammar yields no empty path")
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, s) in self.segments.iter().enumerate() {
            write!(f, "{}{s}", if n == 0 { "" } else { "." })?;
        }
        Ok(())
    }
}

// ---------------------------------------------------------------------------------------------------------------- items

/// One file: its items in order, and its `//;` lines.
#[derive(Clone, Debug, Default)]
pub struct File {
    pub items: Vec<Item>,
    pub directives: Vec<super::Directive>,
}

#[derive(Clone, Debug)]
pub enum Item {
    Import(Import),
    Const(Const),
    Fn(Function),
    Kernel(Kernel),
    Instance(Instance),
    Schedule(Schedule),
    /// Text that did not parse; `names` are the identifiers in it, which later passes treat as known. `body` is the block behind a broken head.
    Error {
        span: Span,
        names: Vec<Ident>,
        body: Option<Block>,
    },
}

impl Item {
    pub fn span(&self) -> Span {
        match self {
            Item::Import(i) => i.span,
            Item::Const(i) => i.span,
            Item::Fn(i) => i.span,
            Item::Kernel(i) => i.span,
            Item::Instance(i) => i.span,
            Item::Schedule(i) => i.span,
            Item::Error { span, .. } => *span,
        }
    }
}

/// `import "path.tw" as name;`
#[derive(Clone, Debug)]
pub struct Import {
    /// What stands between the quotes.
    pub path: Symbol,
    pub path_span: Span,
    pub alias: Option<Ident>,
    pub span: Span,
}

/// `const NF4: f16[16] = [-1, …];`
#[derive(Clone, Debug)]
pub struct Const {
    pub doc: Option<Symbol>,
    pub name: Ident,
    pub ty: Option<Type>,
    pub value: ConstValue,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum ConstValue {
    Scalar(Expr),
    /// `[a, b, …]`; rows of a table may nest.
    List {
        items: Vec<ConstValue>,
        span: Span,
    },
}

/// `fn f(x, j) using s: f32[N] -> f32 = e;`
#[derive(Clone, Debug)]
pub struct Function {
    pub doc: Option<Symbol>,
    pub name: Ident,
    pub params: Vec<Typed>,
    /// Explicit captures; see "Functions and kernels as parameters" in the language reference.
    pub using: Vec<Typed>,
    pub ret: Option<Type>,
    /// The statements before `value`; empty for `= e;`.
    pub stmts: Vec<Stmt>,
    pub value: Expr,
    /// Written `{ … }` rather than `= e;`.
    pub braced: bool,
    pub span: Span,
}

/// A name with an optional type: a function's parameter or capture.
#[derive(Clone, Debug)]
pub struct Typed {
    pub name: Ident,
    pub ty: Option<Type>,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub struct Kernel {
    pub doc: Option<Symbol>,
    pub name: Ident,
    pub generics: Vec<Generic>,
    pub params: Vec<Param>,
    /// What the author promises: the `where` after the parameters.
    pub promises: Vec<Expr>,
    pub body: Block,
    /// Just `kernel name<…>(…)` with its `where`, for labels that should not cover the body.
    pub header: Span,
    pub span: Span,
}

/// `kernel NAME = base<T = bf16, mask = causal>;`
#[derive(Clone, Debug)]
pub struct Instance {
    pub doc: Option<Symbol>,
    pub name: Ident,
    pub base: Path,
    pub settings: Vec<Setting>,
    pub span: Span,
}

/// `T = bf16` in an instance.
#[derive(Clone, Debug)]
pub struct Setting {
    pub name: Ident,
    pub value: Set,
    pub span: Span,
}

/// A parameter in `< >`.
#[derive(Clone, Debug)]
pub enum Generic {
    /// `T: f16 | bf16 = bf16`, `D: 32..=576 = 128`
    Value { name: Ident, alternatives: Vec<Set>, default: Option<Set>, span: Span },
    /// `fn mask(b, h, i, j) -> bool = always`
    Fn { name: Ident, params: Vec<Typed>, ret: Option<Type>, default: Atom, span: Span },
}

impl Generic {
    pub fn name(&self) -> &Ident {
        match self {
            Generic::Value { name, .. } | Generic::Fn { name, .. } => name,
        }
    }

    pub fn span(&self) -> Span {
        match self {
            Generic::Value { span, .. } | Generic::Fn { span, .. } => *span,
        }
    }
}

/// Values that a generic or `tune` parameter may take: one, or `a..=b step c`.
#[derive(Clone, Debug)]
pub struct Set {
    pub kind: SetKind,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum SetKind {
    One(Atom),
    /// `step` is `None` when not written (1).
    Span {
        lo: Atom,
        hi: Atom,
        step: Option<Number>,
    },
    Error,
}

/// A static word or number: a type, a function, a constant, another generic, or a literal.
#[derive(Clone, Debug)]
pub struct Atom {
    pub kind: AtomKind,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum AtomKind {
    Path(Path),
    Number(Number),
    Bool(bool),
}

/// How a kernel uses a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParamMode {
    /// Nothing written: read only.
    In,
    /// Write only.
    Out,
    InOut,
    /// Read only, stored as the compiler likes.
    Packed,
}

#[derive(Clone, Debug)]
pub struct Param {
    pub mode: ParamMode,
    pub name: Ident,
    /// With an empty shape: a scalar.
    pub ty: Type,
    pub attrs: Vec<Attr>,
    pub default: Option<Expr>,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub struct Attr {
    pub kind: AttrKind,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum AttrKind {
    /// In elements; `None` for `_`: given at launch.
    Strides(Vec<Option<Expr>>),
    /// In bytes.
    Align(Number),
    /// `in 0..NP`
    In(Expr),
    /// `ascending 0..T`
    Ascending(Expr),
}

/// `f32`, `T[M, K]`, `f32[i, j]`.
#[derive(Clone, Debug)]
pub struct Type {
    /// A type name or a generic parameter.
    pub name: Ident,
    /// Empty for a scalar. Entries are extents (tensors) or ranges and dimensions (tiles).
    pub shape: Vec<Expr>,
    pub span: Span,
}

// ----------------------------------------------------------------------------------------------------------- statements

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

// ---------------------------------------------------------------------------------------------------------- expressions

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
