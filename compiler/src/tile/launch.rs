//! What a kernel asks of its launch: parameters, dimensions, promises, and the small expressions over them.
//!
//! Everything here is known once the arguments are: the runtime binds dimensions from shapes, checks every shape entry and
//! promise, fills in defaults, and never looks at the kernel's body for it.
//!
//! Worked example, `kernel f(cu: i32[B + 1] ascending 0..T, x: f16[T, D], scale: f32 = 1 / sqrt(D as f32)) where D % 8 == 0`:
//! dimension `B` has source `Shape { tensor: cu, axis: 0, scale: 1, offset: 1 }` (an extent of 5 binds B = 4), `T` and `D` come
//! from `x`; `cu` holds `Ascending { 0, T }`; `scale` has a default over `D`; `where` is one [`Promise`].

use super::elem::ElemType;
use super::ops::{BinaryOp, CmpOp, UnaryOp};
use crate::diagnostics::Span;

/// A dimension: an index into [`Kernel::dims`](super::Kernel::dims).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DimId(pub u32);

/// A tensor (parameter, temp or file constant): an index into [`Kernel::tensors`](super::Kernel::tensors).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub u32);

/// A scalar parameter: an index into [`Kernel::scalars`](super::Kernel::scalars).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScalarId(pub u32);

/// A parameter in the order of the argument list, captures appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Param {
    Tensor(TensorId),
    Scalar(ScalarId),
}

/// A named size that the arguments bind.
#[derive(Clone, Debug)]
pub struct Dim {
    pub name: String,
    pub source: DimSource,
    /// The value that `--dim` froze; the body then has it as a constant and the launch checks it.
    pub frozen: Option<i64>,
    /// Where the name first stands.
    pub span: Span,
}

/// Where a dimension's value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum DimSource {
    /// `extent(tensor, axis) = scale * dim + offset`; a remainder is an error at launch.
    Shape { tensor: TensorId, axis: usize, scale: i64, offset: i64 },
    /// A scalar parameter that serves as a dimension.
    Scalar(ScalarId),
}

/// A tensor that the kernel sees.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub name: String,
    pub elem: ElemType,
    /// Outermost first.
    pub shape: Vec<ShapeEntry>,
    pub kind: TensorKind,
    /// One per dimension.
    pub strides: Vec<Stride>,
    /// Alignment of the base in bytes: 16 unless `align(n)` says otherwise.
    pub align: u32,
    /// What an index tensor promises about its values.
    pub holds: Option<Holds>,
    /// A parameter that came with a function's `using`.
    pub captured: bool,
    pub span: Span,
}

/// What a tensor is to the kernel.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorKind {
    In,
    Out,
    InOut,
    /// Read only; stored as the compiler likes.
    Packed,
    /// Provided by the runtime, filled with the constant (of the tensor's element type) before the launch.
    Temp {
        init: Option<Const>,
    },
    /// A file constant, row-major.
    Const(Vec<Const>),
}

impl TensorKind {
    /// The kernel may read it.
    pub fn readable(&self) -> bool {
        !matches!(self, TensorKind::Out)
    }

    /// The kernel may write it.
    pub fn writable(&self) -> bool {
        matches!(self, TensorKind::Out | TensorKind::InOut | TensorKind::Temp { .. })
    }
}

/// One entry of a shape.
#[derive(Clone, Debug)]
pub struct ShapeEntry {
    pub extent: LaunchExpr,
    /// As written, e.g. `B + 1` or `D`.
    pub text: String,
    pub span: Span,
}

/// The stride of one dimension, in elements.
#[derive(Clone, Debug, PartialEq)]
pub enum Stride {
    /// Row-major: the product of the extents after it.
    Dense,
    /// `_`: given at launch.
    Free,
    /// Written out; checked at launch.
    Given(LaunchExpr),
}

/// What an index tensor (or scalar) promises about its values. `hi` is excluded unless `inclusive`.
#[derive(Clone, Debug, PartialEq)]
pub enum Holds {
    /// `in lo..hi`, or `distinct lo..hi`: no number stands there twice.
    In { lo: LaunchExpr, hi: LaunchExpr, inclusive: bool, distinct: bool },
    /// `ascending lo..hi`: along the last dimension from lo to hi (both reached), never falling.
    Ascending { lo: LaunchExpr, hi: LaunchExpr },
}

/// A scalar parameter.
#[derive(Clone, Debug)]
pub struct Scalar {
    pub name: String,
    pub elem: ElemType,
    pub default: Option<LaunchExpr>,
    pub holds: Option<Holds>,
    pub captured: bool,
    pub span: Span,
}

/// A condition on the launch: checked by the runtime, used by the compiler.
#[derive(Clone, Debug)]
pub struct Promise {
    pub expr: LaunchExpr,
    /// As written (or `K / G is exact`).
    pub text: String,
    pub origin: PromiseOrigin,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromiseOrigin {
    /// The kernel's `where`.
    Where,
    /// A `/` in a shape, which must be exact.
    ExactDivision,
}

/// A typed constant; which variant goes with which element type is [`Const::fits`].
///
/// Equality and hashing are of bits: a NaN equals itself, 0.0 is not -0.0.
#[derive(Clone, Copy, Debug)]
pub enum Const {
    Bool(bool),
    /// Every integer type, `index` and bipolar ones.
    Int(i128),
    /// Every float type, already rounded to it.
    Float(f64),
}

impl Const {
    fn key(&self) -> (u8, i128) {
        match self {
            Const::Bool(b) => (0, i128::from(*b)),
            Const::Int(v) => (1, *v),
            Const::Float(v) => (2, i128::from(v.to_bits())),
        }
    }

    /// Whether a value of `elem` is held by this variant.
    pub fn fits(&self, elem: ElemType) -> bool {
        match self {
            Const::Bool(_) => elem == ElemType::Bool,
            Const::Int(_) => elem.is_integer() || matches!(elem, ElemType::Bipolar(_)),
            Const::Float(_) => elem.is_float(),
        }
    }
}

impl PartialEq for Const {
    fn eq(&self, other: &Const) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Const {}

impl std::hash::Hash for Const {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// An expression over launch facts. Integers are mathematical until they are stored; floats are f64.
#[derive(Clone, Debug, PartialEq)]
pub enum LaunchExpr {
    Const(Const),
    Dim(DimId),
    Scalar(ScalarId),
    /// The stride of a tensor's dimension in elements.
    Stride(TensorId, usize),
    Unary(UnaryOp, Box<LaunchExpr>),
    Binary(BinaryOp, Box<LaunchExpr>, Box<LaunchExpr>),
    Compare(CmpOp, Box<LaunchExpr>, Box<LaunchExpr>),
    Select(Box<LaunchExpr>, Box<LaunchExpr>, Box<LaunchExpr>),
    Cast(ElemType, Box<LaunchExpr>),
}

/// What a launch knows.
pub trait LaunchFacts {
    fn dim(&self, dim: DimId) -> Option<i64>;
    fn scalar(&self, scalar: ScalarId) -> Option<Const>;
    /// In elements.
    fn stride(&self, tensor: TensorId, axis: usize) -> Option<i64>;
}

/// No dimension, scalar or stride is known: evaluates what is constant.
pub struct NoFacts;

impl LaunchFacts for NoFacts {
    fn dim(&self, _: DimId) -> Option<i64> {
        None
    }
    fn scalar(&self, _: ScalarId) -> Option<Const> {
        None
    }
    fn stride(&self, _: TensorId, _: usize) -> Option<i64> {
        None
    }
}

impl LaunchExpr {
    pub fn int(value: i64) -> LaunchExpr {
        LaunchExpr::Const(Const::Int(value.into()))
    }

    /// The value under these facts; `None` if a fact is missing or an operation does not apply (integer overflow of 128 bits,
    /// a comparison of a boolean with a number).
    pub fn eval(&self, facts: &dyn LaunchFacts) -> Option<Const> {
        match self {
            LaunchExpr::Const(c) => Some(*c),
            LaunchExpr::Dim(d) => facts.dim(*d).map(|v| Const::Int(v.into())),
            LaunchExpr::Scalar(s) => facts.scalar(*s),
            LaunchExpr::Stride(t, axis) => facts.stride(*t, *axis).map(|v| Const::Int(v.into())),
            LaunchExpr::Unary(op, x) => op.fold(x.eval(facts)?),
            LaunchExpr::Binary(op, x, y) => op.fold(x.eval(facts)?, y.eval(facts)?),
            LaunchExpr::Compare(op, x, y) => op.fold(x.eval(facts)?, y.eval(facts)?).map(Const::Bool),
            LaunchExpr::Select(c, x, y) => match c.eval(facts)? {
                Const::Bool(true) => x.eval(facts),
                Const::Bool(false) => y.eval(facts),
                _ => None,
            },
            LaunchExpr::Cast(elem, x) => fold_cast(*elem, x.eval(facts)?),
        }
    }

    /// The value as an integer, if it is one that fits in 64 bits.
    pub fn eval_int(&self, facts: &dyn LaunchFacts) -> Option<i64> {
        match self.eval(facts)? {
            Const::Int(v) => i64::try_from(v).ok(),
            _ => None,
        }
    }
}

/// A cast between the three kinds of constants, in f64 and without rounding to narrow floats; integers wrap.
pub fn fold_cast(elem: ElemType, value: Const) -> Option<Const> {
    if elem == ElemType::Bool {
        return match value {
            Const::Bool(b) => Some(Const::Bool(b)),
            _ => None,
        };
    }
    if elem.is_float() {
        let v = match value {
            Const::Bool(b) => f64::from(u8::from(b)),
            Const::Int(v) => v as f64,
            Const::Float(v) => v,
        };
        return match elem {
            ElemType::F64 => Some(Const::Float(v)),
            ElemType::F32 => Some(Const::Float(f64::from(v as f32))),
            // Narrower formats are rounded by `numeric`, where their tables are; here only what they hold exactly.
            _ => (v == 0.0 || v.abs() == 1.0).then_some(Const::Float(v)),
        };
    }
    let bits = elem.bits();
    let signed = elem.is_signed();
    if matches!(elem, ElemType::Bipolar(_)) {
        return None;
    }
    let v = match value {
        Const::Bool(b) => i128::from(b),
        Const::Int(v) => v,
        Const::Float(v) => {
            let (least, most) = if signed {
                (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
            } else {
                (0, (1i128 << bits) - 1)
            };
            return Some(Const::Int((v.round_ties_even() as i128).clamp(least, most)));
        }
    };
    Some(Const::Int(wrap(v, bits, signed)))
}

/// `value` modulo 2^bits, read as signed or unsigned. `bits` is 1..=64.
pub fn wrap(value: i128, bits: u32, signed: bool) -> i128 {
    let low = value & ((1i128 << bits) - 1);
    if signed && (low >> (bits - 1)) & 1 == 1 { low - (1i128 << bits) } else { low }
}
