//! What an expression means while it is being elaborated.
//!
//! Most expressions are values of the kernel ([`Val::Value`]). Some are more than that and stay so until a value is wanted: a static number
//! keeps its freedom of type (a literal takes the type its place asks for), a range keeps its axis, a tensor is not read yet.
//! [`Val::Poison`] is what an error leaves behind: whoever meets one stays silent.

use crate::diagnostics::Span;
use crate::front::ast::Symbol;
use crate::front::{FnId, LocalId};
use crate::tile::{AxisId, Const, ElemType, TensorId, TileType, ValueId};

/// A number, or `true`/`false`, known at compile time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Static {
    pub value: Const,
    /// `None`: free, as a literal is. Integer constants serve as floats.
    pub ty: Option<ElemType>,
    /// The name under which it can be a dimension's axis: `D` for a generic parameter, constant or frozen dimension.
    pub dim: Option<Symbol>,
}

impl Static {
    pub fn free(value: Const) -> Static {
        Static { value, ty: None, dim: None }
    }

    pub fn int(value: i64) -> Static {
        Static::free(Const::Int(value.into()))
    }

    pub fn as_int(&self) -> Option<i64> {
        match self.value {
            Const::Int(v) => i64::try_from(v).ok(),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self.value {
            Const::Bool(b) => Some(b),
            _ => None,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Val {
    Value(ValueId),
    Static(Static),
    /// A bound range; as a value its coordinates.
    Range(AxisId),
    Tensor(TensorId),
    Type(ElemType),
    Function(FnId),
    Builtin(&'static str),
    Tuple(Vec<Val>),
    /// `sort(x over c)`: the values where one value is wanted, `(values, coordinates)` where a pair is.
    Sorted(ValueId, ValueId),
    Poison,
}

impl Val {
    pub fn is_poison(&self) -> bool {
        matches!(self, Val::Poison)
    }

    pub fn as_static(&self) -> Option<&Static> {
        match self {
            Val::Static(s) => Some(s),
            _ => None,
        }
    }

    pub fn static_int(&self) -> Option<i64> {
        self.as_static().and_then(Static::as_int)
    }
}

/// What a local name stands for.
#[derive(Clone, Debug)]
pub(super) enum Binding {
    /// Not met yet, or its definition was refused.
    Unbound,
    Val(Val),
    /// An index into the elaborator's variables.
    Mut(usize),
}

/// A `let mut`.
#[derive(Clone, Debug)]
pub(super) struct MutVar {
    pub name: Symbol,
    /// `None` after an error.
    pub state: Option<(TileType, ValueId)>,
    pub span: Span,
}

/// A function parameter of the kernel.
#[derive(Clone, Debug)]
pub(super) struct GenericFn {
    pub local: LocalId,
    pub name: Symbol,
    pub ret: Option<(ElemType, Span)>,
}
