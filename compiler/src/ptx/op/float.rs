//! Floating-point arithmetic. Types are `f16 f16x2 bf16 bf16x2 f32 f32x2 f64` as each instruction allows.

use super::{Instruction, Mnemonic, OpKind};
use crate::ptx::operand::{Operand, OperandVisitor, RegId};
use crate::ptx::target::Requires;
use crate::ptx::types::{Rounding, Spelled, Type, spelled};

spelled! {
    /// Two-operand floating-point operations.
    FloatBinaryOp { Add = "add", Sub = "sub", Mul = "mul", Div = "div", Min = "min", Max = "max", Copysign = "copysign" }
}

spelled! {
    /// One-operand floating-point operations.
    FloatUnaryOp {
        Neg = "neg", Abs = "abs", Rcp = "rcp", Sqrt = "sqrt", Rsqrt = "rsqrt", Sin = "sin", Cos = "cos", Lg2 = "lg2", Ex2 = "ex2",
        Tanh = "tanh",
    }
}

spelled! {
    /// Questions of `testp`.
    TestpOp {
        Finite = "finite", Infinite = "infinite", Number = "number", NotANumber = "notanumber", Normal = "normal",
        Subnormal = "subnormal",
    }
}

/// `add{.rnd}{.ftz}{.sat}.f32 d, a, b;` and its kin.
#[derive(Clone, Debug, PartialEq)]
pub struct FloatBinary {
    /// Which.
    pub op: FloatBinaryOp,
    /// Rounding as written; absent means nearest even *and permission to contract into fma*. For `div` `.approx` or `.full` too.
    pub rnd: Option<Rounding>,
    /// Flush subnormals.
    pub ftz: bool,
    /// Clamp to 0..1.
    pub sat: bool,
    /// `min.NaN`, `max.NaN`: NaN wins.
    pub nan: bool,
    /// `min.xorsign.abs`.
    pub xorsign_abs: bool,
    /// Type.
    pub ty: Type,
    /// Written.
    pub dst: RegId,
    /// Left.
    pub a: Operand,
    /// Right.
    pub b: Operand,
    /// Of `min` and `max` of f32, one operand more (sm_100).
    pub third: Option<Operand>,
    /// With it: of the magnitudes.
    pub abs: bool,
}

/// `fma.rn{.ftz}{.sat}{.relu}.f32 d, a, b, c;` (`mad.rn.f32` is the same and read as it).
#[derive(Clone, Debug, PartialEq)]
pub struct Fma {
    /// Rounding.
    pub rnd: Rounding,
    /// Flush subnormals.
    pub ftz: bool,
    /// Clamp to 0..1.
    pub sat: bool,
    /// Negative results become 0.
    pub relu: bool,
    /// Type.
    pub ty: Type,
    /// Written.
    pub dst: RegId,
    /// Factor.
    pub a: Operand,
    /// Factor.
    pub b: Operand,
    /// Addend.
    pub c: Operand,
}

/// `ex2.approx.ftz.f32 d, a;` and its kin.
#[derive(Clone, Debug, PartialEq)]
pub struct FloatUnary {
    /// Which.
    pub op: FloatUnaryOp,
    /// `.approx` or a rounding; none for `neg` and `abs`.
    pub rnd: Option<Rounding>,
    /// Flush subnormals.
    pub ftz: bool,
    /// Type.
    pub ty: Type,
    /// Written.
    pub dst: RegId,
    /// Read.
    pub a: Operand,
}

/// `testp.finite.f32 p, a;`
#[derive(Clone, Debug, PartialEq)]
pub struct Testp {
    /// The question.
    pub op: TestpOp,
    /// `f32` or `f64`.
    pub ty: Type,
    /// Written.
    pub dst: RegId,
    /// Read.
    pub a: Operand,
}

impl FloatBinary {
    /// Without modifiers.
    pub fn new(
        op: FloatBinaryOp,
        ty: Type,
        dst: RegId,
        a: impl Into<Operand>,
        b: impl Into<Operand>,
    ) -> FloatBinary {
        let (a, b) = (a.into(), b.into());
        FloatBinary {
            op,
            rnd: None,
            ftz: false,
            sat: false,
            nan: false,
            xorsign_abs: false,
            ty,
            dst,
            a,
            b,
            third: None,
            abs: false,
        }
    }
}

impl Fma {
    /// `fma.rn.ty`.
    pub fn new(
        ty: Type,
        dst: RegId,
        a: impl Into<Operand>,
        b: impl Into<Operand>,
        c: impl Into<Operand>,
    ) -> Fma {
        Fma {
            rnd: Rounding::Rn,
            ftz: false,
            sat: false,
            relu: false,
            ty,
            dst,
            a: a.into(),
            b: b.into(),
            c: c.into(),
        }
    }
}

/// What the half types need for plain arithmetic.
fn half_requires(op: FloatBinaryOp, ty: Type) -> Requires {
    let bf16 = matches!(ty, Type::Bf16 | Type::Bf16x2);
    let half = bf16 || matches!(ty, Type::F16 | Type::F16x2);
    match op {
        _ if ty == Type::F32x2 => Requires::new(8, 6, 100),
        FloatBinaryOp::Min | FloatBinaryOp::Max => Requires::new(7, 0, 80).when(half),
        _ => Requires::new(7, 8, 90).when(bf16),
    }
}

impl Instruction for FloatBinary {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op(self.op.text()).opt(self.rnd).flag(self.ftz, ".ftz").flag(self.sat, ".sat");
        m.flag(self.nan, ".NaN").flag(self.xorsign_abs, ".xorsign.abs");
        m.flag(self.abs, ".abs").m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.a);
        v.value(&self.b);
        if let Some(third) = &self.third {
            v.value(third);
        }
    }
    fn requires(&self) -> Requires {
        let nan = Requires::new(7, 0, 80).when(self.nan);
        let xorsign = Requires::new(7, 2, 86).when(self.xorsign_abs);
        let third = Requires::new(8, 8, 100).when(self.third.is_some());
        half_requires(self.op, self.ty).and(nan).and(xorsign).and(third)
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for Fma {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("fma")
            .m(self.rnd)
            .flag(self.ftz, ".ftz")
            .flag(self.sat, ".sat")
            .flag(self.relu, ".relu")
            .m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.a);
        v.value(&self.b);
        v.value(&self.c);
    }
    fn requires(&self) -> Requires {
        if self.ty == Type::F32x2 {
            return Requires::new(8, 6, 100);
        }
        Requires::new(7, 0, 80).when(self.relu || matches!(self.ty, Type::Bf16 | Type::Bf16x2))
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for FloatUnary {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op(self.op.text()).opt(self.rnd).flag(self.ftz, ".ftz").m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.a);
    }
    fn requires(&self) -> Requires {
        let bf16 = matches!(self.ty, Type::Bf16 | Type::Bf16x2);
        match self.op {
            FloatUnaryOp::Ex2 | FloatUnaryOp::Tanh if bf16 => Requires::new(7, 8, 90),
            FloatUnaryOp::Ex2 | FloatUnaryOp::Tanh if self.ty != Type::F32 => Requires::new(7, 0, 75),
            FloatUnaryOp::Tanh => Requires::new(7, 0, 75),
            FloatUnaryOp::Abs if matches!(self.ty, Type::F16 | Type::F16x2) => Requires::new(6, 5, 75),
            _ => Requires::new(7, 0, 80).when(bf16),
        }
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for Testp {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("testp").m(self.op).m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.a);
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}
