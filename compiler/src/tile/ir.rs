//! The types of T1: a kernel of tile values on named axes, bound to one set of parameters.
//!
//! **The idea.** A [`Kernel`] is one bound instance: generics, tune parameters and function parameters are gone (the record of
//! what they were is [`Kernel::binding`]), functions are inlined, static `if`s are decided. What is left is a straight SSA
//! program: an arena of pure [`Value`]s, and [`Block`]s of statements that say in which order they are computed and where
//! effects happen. Only statements have effects.
//!
//! **Axes.** A value's type is an element type and a list of [`AxisId`]s; a scalar has none. An [`Axis`] is `extent` lanes
//! (static: the tile size) placed at run time: lane `c` is coordinate `lo + c` and *exists* iff `c < extent` and `lo + c < hi`. Lanes that
//! do not exist hold nothing: they are not read, written, summed or multiplied. Elementwise operands have subsets of the
//! result's axes and broadcast by name; `.T` only reorders the list of the type ([`Op::Reorder`]).
//!
//! **Order.** Every value is defined exactly once: by one [`Stmt::Let`], or as the variable, parameter or result of a loop, `if`,
//! grid or atomic. Definitions dominate uses. [`Kernel::entry`] holds what only the launch decides (constants, dimensions,
//! scalar parameters, the bounds of dimension axes); then each grid variable in order, with its own [`Block`] of bounds that may use earlier
//! grid variables; then [`Kernel::body`].
//!
//! Worked example: the GEMM of language.md at BM = BN = 128, BK = 32 prints as
//! ```text
//! grid i: axis i[128] over 0..M
//! grid j: axis j[128] over 0..N
//! %acc.0 = broadcast 0.0 : f32[i, j]
//! for k: axis k[32] over 0..K carry acc (assoc +=) from %acc.0 {
//!     %8 = read a[i, k] : f16[i, k]
//!     %9 = read b[j, k] : f16[j, k]
//!     …
//! ```
//!
//! Invariants are those of [`verify`](super::verify).

pub use super::elem::ElemType;
pub use super::launch::{
    Const, Dim, DimId, DimSource, Holds, LaunchExpr, LaunchFacts, NoFacts, Param, Promise, PromiseOrigin,
    Scalar, ScalarId, ShapeEntry, Stride, Tensor, TensorId, TensorKind,
};
pub use super::ops::{BinaryOp, CmpOp, Combine, ReduceOp, ScanOp, UnaryOp};
use crate::diagnostics::Span;

/// A value: an index into [`Kernel::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

/// An axis: an index into [`Kernel::axes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AxisId(pub u32);

/// A loop: an index into [`Kernel::loops`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LoopId(pub u32);

/// A conditional: an index into [`Kernel::ifs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IfId(pub u32);

/// A grid variable: an index into [`Kernel::grid`], outermost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GridId(pub u32);

/// One bound instance of a kernel. See the module's comment.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub name: String,
    /// The `///` lines before it, without the slashes.
    pub doc: String,
    pub span: Span,
    /// Every generic, function and tune parameter with its value and where that came from, in source order.
    pub binding: Vec<Bound>,
    /// What the schedule and `--set` ask for beyond tune parameters, for the planner.
    pub schedule: Vec<ScheduleItem>,
    pub dims: Vec<Dim>,
    pub tensors: Vec<Tensor>,
    pub scalars: Vec<Scalar>,
    /// Arguments in order, captures appended.
    pub params: Vec<Param>,
    pub promises: Vec<Promise>,
    pub values: Vec<Value>,
    pub axes: Vec<Axis>,
    pub loops: Vec<Loop>,
    pub ifs: Vec<If>,
    /// Computed once per launch.
    pub entry: Block,
    /// Outermost first. Empty: one instance.
    pub grid: Vec<GridVar>,
    /// Instances for which no element satisfies this do not run.
    pub grid_when: Option<When>,
    pub body: Block,
}

/// A pure value.
#[derive(Clone, Debug)]
pub struct Value {
    pub ty: TileType,
    pub op: Op,
    pub span: Span,
    /// The `let` name that it was bound to, if any; a loop's carried variable keeps its name on parameter, next and result.
    pub name: Option<String>,
}

/// Element type and axes; no axes is a scalar. Axes are distinct.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TileType {
    pub elem: ElemType,
    pub axes: Vec<AxisId>,
}

impl TileType {
    pub fn scalar(elem: ElemType) -> TileType {
        TileType { elem, axes: Vec::new() }
    }

    pub fn is_scalar(&self) -> bool {
        self.axes.is_empty()
    }
}

/// A range as a value: a named axis of `extent` lanes placed at `lo`.
#[derive(Clone, Debug)]
pub struct Axis {
    /// As in source: `i`, `i'`, `D`.
    pub name: String,
    /// Static number of lanes, 1..=2^20.
    pub extent: u32,
    /// The coordinate of lane 0: a scalar `index`.
    pub lo: ValueId,
    /// End of the *domain*, excluded: a scalar `index`. Lane `c < extent` exists iff `lo + c < hi`. (Source's `r.hi` is
    /// `min(lo + extent, hi)`.) For a loop or grid axis this does not change while the variable runs.
    pub hi: ValueId,
    pub kind: AxisKind,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AxisKind {
    /// A grid variable's range.
    Grid(GridId),
    /// A loop variable's range.
    Loop(LoopId),
    /// A whole static dimension (`:`), from 0.
    Dim,
    /// `let r = lo..hi by N;`
    Let,
    /// `r'`: the coordinates of another axis on an axis of its own.
    Primed(AxisId),
}

/// A grid variable: one coordinate of the instance.
#[derive(Clone, Debug)]
pub struct GridVar {
    pub name: String,
    /// Computes `lo` and `hi`; may use earlier grid variables.
    pub block: Block,
    /// The variable: `Op::GridVar`, a scalar `index`. Runs over `lo, lo + step, …` below `hi`, where step is the axis' extent or 1.
    pub var: ValueId,
    /// A range (`by N`), or a scalar coordinate.
    pub axis: Option<AxisId>,
    pub lo: ValueId,
    pub hi: ValueId,
    pub span: Span,
}

/// A condition with the statements that compute it. The condition may be a tile: it holds if it does for *some* element.
#[derive(Clone, Debug)]
pub struct When {
    pub block: Block,
    pub cond: ValueId,
}

/// A counted loop.
#[derive(Clone, Debug)]
pub struct Loop {
    /// The variable's name, which schedules use.
    pub name: String,
    /// `Op::LoopVar`, a scalar `index`: the coordinate, or the `lo` of the current range.
    pub var: ValueId,
    /// A range per trip (`by N`), or `None`: a scalar per trip. Step is the axis' extent, or 1.
    pub axis: Option<AxisId>,
    pub lo: ValueId,
    /// Excluded; `hi <= lo` is no trip.
    pub hi: ValueId,
    /// The same trips, last first.
    pub rev: bool,
    /// Trips in which it holds for no element are skipped. Its block is in the body's scope: what it computes the body may use.
    pub when: Option<When>,
    pub carried: Vec<Carried>,
    pub body: Block,
    /// What a pass found out, and the text never says.
    pub full: Option<Full>,
    pub span: Span,
}

/// In trips whose range lies in `from..to` every lane of the range exists, and these conditions of the body hold for every element.
#[derive(Clone, Debug)]
pub struct Full {
    /// A scalar `index`; `None`: from the start of the loop.
    pub from: Option<ValueId>,
    /// Excluded.
    pub to: ValueId,
    pub holds: Vec<ValueId>,
}

/// State that a loop carries.
#[derive(Clone, Debug)]
pub struct Carried {
    pub name: String,
    /// Before the loop.
    pub init: ValueId,
    /// `Op::LoopParam`: at the start of a trip.
    pub param: ValueId,
    /// At the end of a trip; defined in the body (or `param` itself, or an outer value).
    pub next: ValueId,
    /// `Op::LoopResult`: after the loop.
    pub result: ValueId,
    pub kind: CarryKind,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CarryKind {
    /// Order as written.
    Seq,
    /// A declared reduction: each update is `param op x` (possibly several in a chain, possibly inside an `if` or inner loop), nothing else
    /// reads the parameter. A schedule may reassociate.
    Assoc(Combine),
}

/// A conditional on a scalar.
#[derive(Clone, Debug)]
pub struct If {
    /// A scalar `bool`.
    pub cond: ValueId,
    pub then_block: Block,
    pub else_block: Block,
    pub results: Vec<IfResult>,
    pub span: Span,
}

/// A variable that a conditional changes.
#[derive(Clone, Debug)]
pub struct IfResult {
    pub name: String,
    pub then_value: ValueId,
    pub else_value: ValueId,
    /// `Op::IfResult`.
    pub result: ValueId,
}

/// Statements in order.
#[derive(Clone, Debug, Default)]
pub struct Block {
    pub stmts: Vec<Stmt>,
}

#[derive(Clone, Debug)]
pub enum Stmt {
    /// Computes a value.
    Let(ValueId),
    Write(Write),
    Atomic(Atomic),
    For(LoopId),
    If(IfId),
}

/// `tensor[ix] = value when c`. The lanes are the union of the subscripts' axes in order of first appearance; the axes of
/// `value` and `when` are among them, missing ones broadcast. Elements outside the tensor are dropped.
#[derive(Clone, Debug)]
pub struct Write {
    pub tensor: TensorId,
    /// One integer scalar or tile per dimension.
    pub ix: Vec<ValueId>,
    pub value: ValueId,
    /// A `bool`.
    pub when: Option<ValueId>,
    /// Grid variables on which neither the place nor its conditions or domains depend, so that each of their values
    /// writes the same elements with the same value: such a write happens once.
    pub once_over: Vec<GridId>,
    pub span: Span,
}

/// `atomic tensor[ix] op= value when c`.
#[derive(Clone, Debug)]
pub struct Atomic {
    pub op: Combine,
    pub tensor: TensorId,
    pub ix: Vec<ValueId>,
    pub value: ValueId,
    pub when: Option<ValueId>,
    /// As an expression: the value before (`Op::AtomicOld`), on all the place's axes; zero where nothing was combined.
    pub old: Option<ValueId>,
    pub span: Span,
}

/// What a value is. Operands come before results in program order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    // Scalars that the launch or the structure gives.
    Const(Const),
    /// A scalar parameter.
    Param(ScalarId),
    /// A dimension, as `index`.
    Dim(DimId),
    GridVar(GridId),
    LoopVar(LoopId),
    LoopParam(LoopId, usize),
    LoopResult(LoopId, usize),
    IfResult(IfId, usize),
    /// The old value of a [`Stmt::Atomic`] that names this value.
    AtomicOld,
    /// The coordinates `lo, lo + 1, …` of an axis: `index[axis]`.
    Iota(AxisId),

    // Elementwise: operands' axes are subsets of the result's.
    /// To the result's element type.
    Cast(ValueId),
    /// Reinterprets bits; both element types have one width.
    Bits(ValueId),
    /// The same elements on more axes.
    Broadcast(ValueId),
    Unary(UnaryOp, ValueId),
    Binary(BinaryOp, ValueId, ValueId),
    /// To `bool`.
    Compare(CmpOp, ValueId, ValueId),
    /// Condition, where true, where false.
    Select(ValueId, ValueId, ValueId),
    /// `a * b + c`
    Fma(ValueId, ValueId, ValueId),

    // Shape.
    /// The same axes in the order of the result's type.
    Reorder(ValueId),
    /// The tile read as a function of coordinates: one integer subscript per axis of `tile`, in its order. The result's
    /// axes are those of the subscripts in order of first appearance. Outside the tile's existing lanes: zero or `false`.
    TileRead {
        tile: ValueId,
        ix: Vec<ValueId>,
    },

    // Across lanes.
    Reduce {
        op: ReduceOp,
        x: ValueId,
        axes: Vec<AxisId>,
    },
    Scan {
        op: ScanOp,
        x: ValueId,
        axis: AxisId,
        rev: bool,
    },
    /// The greatest `to.extent` elements along `axis`, descending, on axis `to` in its place; missing ones are -inf (or the least) at -1.
    TopK {
        x: ValueId,
        axis: AxisId,
        to: AxisId,
        part: SortPart,
    },
    /// Ascending along `axis`; ties go to the lower coordinate.
    Sort {
        x: ValueId,
        axis: AxisId,
        part: SortPart,
    },
    /// Contracts axis `contract` of `a` and `b`; `batch` are the other axes that both have. Result axes: those of `a` in order, then those of `b`
    /// that are new, both without `contract`.
    Mma {
        a: ValueId,
        b: ValueId,
        contract: AxisId,
        batch: Vec<AxisId>,
    },
    /// Reduces across the instances that differ in these grid variables, in ascending order; every one of them has the result.
    GridReduce {
        op: ReduceOp,
        x: ValueId,
        vars: Vec<GridId>,
    },

    // Memory.
    /// One integer scalar or tile per dimension. Outside the tensor: zero or `false`.
    Read {
        tensor: TensorId,
        ix: Vec<ValueId>,
    },
}

/// Which of the two results of `topk` and `sort`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SortPart {
    Values,
    /// Where they were, as `index`.
    Coordinates,
}

/// A generic, function or tune parameter and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    pub name: String,
    pub kind: BoundKind,
    pub value: BoundValue,
    pub from: ValueSource,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundKind {
    Generic,
    Function,
    Tune,
}

#[derive(Clone, Debug, PartialEq)]
pub enum BoundValue {
    Type(ElemType),
    Int(i64),
    Bool(bool),
    Float(f64),
    /// A function's (dotted) name.
    Function(String),
}

/// Where a parameter's value came from, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueSource {
    /// `--set`, or the settings of a caller.
    Set,
    /// An instance (`kernel NAME = base<…>`).
    Instance,
    /// A `schedule` of the source.
    Schedule,
    /// The tuning cache or the model, as the caller said.
    Model,
    /// What the arguments' types imply.
    Implied,
    /// The default written in `< >`, or the first value of a `tune` or of the alternatives.
    Default,
}

/// `path = value;` or `path;` of a schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleItem {
    /// `["k", "stages"]`
    pub path: Vec<String>,
    /// `None`: a flag such as `persistent;`.
    pub value: Option<ScheduleValue>,
    pub from: ValueSource,
    /// In the source; the kernel's own for `--set`.
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ScheduleValue {
    Int(i64),
    Bool(bool),
    Name(String),
    Tuple(Vec<ScheduleValue>),
}

impl Kernel {
    pub fn value(&self, v: ValueId) -> &Value {
        &self.values[v.0 as usize]
    }

    pub fn ty(&self, v: ValueId) -> &TileType {
        &self.values[v.0 as usize].ty
    }

    pub fn axis(&self, a: AxisId) -> &Axis {
        &self.axes[a.0 as usize]
    }

    pub fn tensor(&self, t: TensorId) -> &Tensor {
        &self.tensors[t.0 as usize]
    }

    pub fn scalar(&self, s: ScalarId) -> &Scalar {
        &self.scalars[s.0 as usize]
    }

    pub fn dim(&self, d: DimId) -> &Dim {
        &self.dims[d.0 as usize]
    }

    pub fn loop_(&self, l: LoopId) -> &Loop {
        &self.loops[l.0 as usize]
    }

    pub fn if_(&self, i: IfId) -> &If {
        &self.ifs[i.0 as usize]
    }

    pub fn grid_var(&self, g: GridId) -> &GridVar {
        &self.grid[g.0 as usize]
    }

    /// The constant integer that a value is, if it is one.
    pub fn const_int(&self, v: ValueId) -> Option<i64> {
        match self.value(v).op {
            Op::Const(Const::Int(c)) => i64::try_from(c).ok(),
            _ => None,
        }
    }

    /// For `x / 2^s` of the coordinates x of a range: the range, and s.
    pub fn shared_by_neighbours(&self, v: ValueId) -> Option<(AxisId, u32)> {
        let Op::Binary(BinaryOp::Div, x, c) = self.value(v).op else { return None };
        let Op::Iota(axis) = self.value(x).op else { return None };
        let c = u32::try_from(self.const_int(c)?).ok().filter(|c| c.is_power_of_two())?;
        Some((axis, c.trailing_zeros()))
    }

    /// For `x % n`, n a power of two, of the coordinates x of a range: the range, and n.
    pub fn in_turns(&self, v: ValueId) -> Option<(AxisId, u32)> {
        let Op::Binary(BinaryOp::Rem, x, c) = self.value(v).op else { return None };
        let Op::Iota(axis) = self.value(x).op else { return None };
        let c = u32::try_from(self.const_int(c)?).ok().filter(|c| c.is_power_of_two())?;
        Some((axis, c))
    }

    /// The value of a tune or generic parameter.
    pub fn bound(&self, name: &str) -> Option<&Bound> {
        self.binding.iter().find(|b| b.name == name)
    }

    /// The lanes of a subscripted place or read: the union of the subscripts' axes in order of first appearance.
    pub fn subscript_axes(&self, ix: &[ValueId]) -> Vec<AxisId> {
        let mut axes = Vec::new();
        for &x in ix {
            for &a in &self.ty(x).axes {
                if !axes.contains(&a) {
                    axes.push(a);
                }
            }
        }
        axes
    }
}

impl Op {
    /// The values that this one is computed from, in order. (A loop's, conditional's or atomic's results have none here: see those.)
    pub fn operands(&self) -> Vec<ValueId> {
        match self {
            Op::Const(_)
            | Op::Param(_)
            | Op::Dim(_)
            | Op::GridVar(_)
            | Op::LoopVar(_)
            | Op::LoopParam(..)
            | Op::LoopResult(..)
            | Op::IfResult(..)
            | Op::AtomicOld
            | Op::Iota(_) => Vec::new(),
            Op::Cast(x) | Op::Bits(x) | Op::Broadcast(x) | Op::Unary(_, x) | Op::Reorder(x) => vec![*x],
            Op::Reduce { x, .. }
            | Op::Scan { x, .. }
            | Op::TopK { x, .. }
            | Op::Sort { x, .. }
            | Op::GridReduce { x, .. } => vec![*x],
            Op::Binary(_, x, y) | Op::Compare(_, x, y) => vec![*x, *y],
            Op::Select(x, y, z) | Op::Fma(x, y, z) => vec![*x, *y, *z],
            Op::TileRead { tile, ix } => std::iter::once(*tile).chain(ix.iter().copied()).collect(),
            Op::Mma { a, b, .. } => vec![*a, *b],
            Op::Read { ix, .. } => ix.clone(),
        }
    }

    /// Computed lane by lane from operands of the same lane.
    pub fn is_elementwise(&self) -> bool {
        matches!(
            self,
            Op::Cast(_)
                | Op::Bits(_)
                | Op::Broadcast(_)
                | Op::Unary(..)
                | Op::Binary(..)
                | Op::Compare(..)
                | Op::Select(..)
                | Op::Fma(..)
        )
    }
}
