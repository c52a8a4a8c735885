//! Items: what stands at file level, and the types and sets in their heads.

use super::{Block, Expr, Ident, Number, Path, Schedule, Stmt, Symbol};
use crate::diagnostics::Span;

/// One file: its items in order, and its `//;` lines.
#[derive(Clone, Debug, Default)]
pub struct File {
    pub items: Vec<Item>,
    pub directives: Vec<crate::front::Directive>,
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
    /// `distinct 0..NP`
    Distinct(Expr),
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
