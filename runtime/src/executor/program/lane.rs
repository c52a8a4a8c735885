//! The language of lane-local instructions: what segments are made of, and calls on whole registers.
//!
//! 32- and 64-bit integers, f32, f64 and predicates, nothing else. A narrower value lies zero-extended in a 32-bit register.

use super::super::frame::{Lanes32, Lanes64, PredId, R32, R64};

/// A 32-bit source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Val32 {
    Reg(R32),
    Imm(u32),
}

/// A 64-bit source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Val64 {
    Reg(R64),
    Imm(u64),
}

/// A predicate source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValP {
    Reg(PredId),
    Not(PredId),
    Const(bool),
}

impl ValP {
    pub const ALWAYS: ValP = ValP::Const(true);

    /// The register behind it.
    pub fn reg(self) -> Option<PredId> {
        match self {
            ValP::Reg(p) | ValP::Not(p) => Some(p),
            ValP::Const(_) => None,
        }
    }

    /// Its logical negation.
    pub fn negated(self) -> ValP {
        match self {
            ValP::Reg(p) => ValP::Not(p),
            ValP::Not(p) => ValP::Reg(p),
            ValP::Const(value) => ValP::Const(!value),
        }
    }
}

/// Integer operations of 32 or 64 bits a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntBin {
    Add,
    Sub,
    Mul,
    And,
    Or,
    Xor,
    MinS,
    MaxS,
    MinU,
    MaxU,
}

/// Shifts by a constant smaller than the width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    Left,
    RightU,
    RightS,
}

/// Integer comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntCmp {
    Eq,
    Ne,
    LtS,
    LeS,
    GtS,
    GeS,
    LtU,
    LeU,
    GtU,
    GeU,
}

/// Floating-point comparisons; the `U` forms are true if an operand is NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatCmp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    EqU,
    NeU,
    LtU,
    LeU,
    GtU,
    GeU,
    Num,
    Nan,
}

/// Floating-point operations, rounded to nearest even.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatBin {
    Add,
    Sub,
    Mul,
    /// The number if one operand is NaN; -0 below +0.
    Min,
    Max,
}

/// Operations on predicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PredBin {
    And,
    Or,
    Xor,
}

/// One lane-local operation that Cranelift compiles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LaneOp {
    Mov32 {
        d: R32,
        a: Val32,
    },
    Mov64 {
        d: R64,
        a: Val64,
    },
    Int32 {
        op: IntBin,
        d: R32,
        a: Val32,
        b: Val32,
    },
    Int64 {
        op: IntBin,
        d: R64,
        a: Val64,
        b: Val64,
    },
    Shift32 {
        op: Shift,
        d: R32,
        a: Val32,
        by: u8,
    },
    Shift64 {
        op: Shift,
        d: R64,
        a: Val64,
        by: u8,
    },
    /// 32 × 32 → 64 bits.
    MulWide {
        signed: bool,
        d: R64,
        a: Val32,
        b: Val32,
    },
    /// 32 → 64 bits.
    Widen {
        signed: bool,
        d: R64,
        a: Val32,
    },
    /// The low 32 bits.
    Low {
        d: R32,
        a: Val64,
    },
    /// The high 32 bits.
    High {
        d: R32,
        a: Val64,
    },
    /// `hi:lo`.
    Pack {
        d: R64,
        lo: Val32,
        hi: Val32,
    },
    F32 {
        op: FloatBin,
        d: R32,
        a: Val32,
        b: Val32,
    },
    Fma32 {
        d: R32,
        a: Val32,
        b: Val32,
        c: Val32,
    },
    /// Four bytes of `b:a`, by number: 0 to 3 are those of `a`.
    Bytes {
        d: R32,
        a: Val32,
        b: Val32,
        pick: [u8; 4],
    },
    /// Subnormals become zeros of their sign.
    Flush32 {
        d: R32,
        a: Val32,
    },
    F64 {
        op: FloatBin,
        d: R64,
        a: Val64,
        b: Val64,
    },
    Fma64 {
        d: R64,
        a: Val64,
        b: Val64,
        c: Val64,
    },
    Cmp32 {
        cmp: IntCmp,
        d: PredId,
        a: Val32,
        b: Val32,
    },
    Cmp64 {
        cmp: IntCmp,
        d: PredId,
        a: Val64,
        b: Val64,
    },
    CmpF32 {
        cmp: FloatCmp,
        d: PredId,
        a: Val32,
        b: Val32,
    },
    CmpF64 {
        cmp: FloatCmp,
        d: PredId,
        a: Val64,
        b: Val64,
    },
    PredMov {
        d: PredId,
        a: ValP,
    },
    Pred {
        op: PredBin,
        d: PredId,
        a: ValP,
        b: ValP,
    },
    Select32 {
        d: R32,
        p: ValP,
        a: Val32,
        b: Val32,
    },
    Select64 {
        d: R64,
        p: ValP,
        a: Val64,
        b: Val64,
    },
}

/// A lane operation and the predicate under which it takes effect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LaneInst {
    pub guard: ValP,
    pub op: LaneOp,
}

/// A function of up to three 32-bit registers.
pub type Fn32 = fn(&mut Lanes32, &Lanes32, &Lanes32, &Lanes32);
/// A function of up to three 64-bit registers.
pub type Fn64 = fn(&mut Lanes64, &Lanes64, &Lanes64, &Lanes64);

/// A function on whole registers; unused operands are an arbitrary register.
#[derive(Clone, Copy, Debug)]
pub enum LaneCall {
    C32 {
        f: Fn32,
        d: R32,
        a: R32,
        b: R32,
        c: R32,
    },
    C64 {
        f: Fn64,
        d: R64,
        a: R64,
        b: R64,
        c: R64,
    },
    /// 64-bit source, 32-bit (or narrower) result.
    Narrow {
        f: fn(&mut Lanes32, &Lanes64),
        d: R32,
        a: R64,
    },
    /// 32-bit (or narrower) source, 64-bit result.
    Widen {
        f: fn(&mut Lanes64, &Lanes32),
        d: R64,
        a: R32,
    },
    /// A 64-bit value and a 32-bit one, such as a shift amount.
    Mixed64 {
        f: fn(&mut Lanes64, &Lanes64, &Lanes32),
        d: R64,
        a: R64,
        b: R32,
    },
    /// A predicate from one register's bits (`testp`).
    Test {
        f: fn(&Lanes32, &Lanes32) -> u32,
        d: PredId,
        a: R32,
        b: R32,
    },
}
