//! Floating-point arithmetic.
//!
//! f32 and f64 additions, multiplications and fused multiply-adds are compiled; `.ftz` flushes operands before and the result
//! after. Halves, divisions and transcendental functions are calls.

use tilewright_compiler::ptx::{Operand, RegId, Rounding, Type, op};

use super::super::frame::R32;
use super::super::lanes::numbers::integral;
use super::super::lanes::rounding::{self, operation};
use super::super::lanes::{floats, halves};
use super::super::launch::ExecError;
use super::super::program::{FloatBin, Fn32, Fn64, IntBin, IntCmp, LaneCall, LaneOp, Val32, Val64};
use super::emit::Decoder;

type Result<T = ()> = std::result::Result<T, ExecError>;

/// A rounding other than to nearest.
fn direction(rnd: Option<Rounding>) -> Option<u8> {
    match rnd? {
        Rounding::Rz => Some(integral::ZERO),
        Rounding::Rm => Some(integral::DOWN),
        Rounding::Rp => Some(integral::UP),
        _ => None,
    }
}

fn is_f16(ty: Type) -> bool {
    matches!(ty, Type::F16 | Type::F16x2)
}

/// Instantiates `$f` for an operation and a direction that are only known now.
macro_rules! directed {
    ($f:ident, $op:expr, $how:expr) => {{
        macro_rules! by_direction {
            ($which:expr) => {
                match $how {
                    integral::ZERO => rounding::$f::<{ $which }, { integral::ZERO }>,
                    integral::DOWN => rounding::$f::<{ $which }, { integral::DOWN }>,
                    _ => rounding::$f::<{ $which }, { integral::UP }>,
                }
            };
        }
        match $op {
            operation::ADD => by_direction!(operation::ADD),
            operation::SUB => by_direction!(operation::SUB),
            operation::MUL => by_direction!(operation::MUL),
            operation::DIV => by_direction!(operation::DIV),
            operation::FMA => by_direction!(operation::FMA),
            operation::RCP => by_direction!(operation::RCP),
            _ => by_direction!(operation::SQRT),
        }
    }};
}

fn directed32(op: u8, how: u8) -> Fn32 {
    directed!(f32s, op, how)
}

fn directed64(op: u8, how: u8) -> Fn64 {
    directed!(f64s, op, how)
}

/// What Cranelift has an instruction for, rounded to nearest.
fn simple(op: &op::FloatBinary) -> Option<FloatBin> {
    use op::FloatBinaryOp as B;
    match op.op {
        B::Add => Some(FloatBin::Add),
        B::Sub => Some(FloatBin::Sub),
        B::Mul => Some(FloatBin::Mul),
        B::Min if !op.nan => Some(FloatBin::Min),
        B::Max if !op.nan => Some(FloatBin::Max),
        _ => None,
    }
}

impl Decoder<'_> {
    fn float32(&mut self, operand: &Operand, ftz: bool) -> Result<Val32> {
        let value = self.v32(operand, Type::F32)?;
        Ok(if ftz { self.flush(value) } else { value })
    }

    /// Flushes and clamps a result on its way into `d`.
    fn finish32(&mut self, d: R32, value: R32, ftz: bool, sat: bool, relu: bool) {
        let mut value = Val32::Reg(value);
        if ftz {
            value = self.flush(value);
        }
        if sat || relu {
            let t = self.t32();
            self.call32(if sat { floats::saturate } else { floats::relu }, t, &[value]);
            value = Val32::Reg(t);
        }
        self.lane(LaneOp::Mov32 { d, a: value });
    }

    /// Both halves of a register of two f32.
    fn pair(&mut self, operand: &Operand, ftz: bool) -> Result<[Val32; 2]> {
        let value = self.v64(operand, Type::F32x2)?;
        let (low, high) = (self.t32(), self.t32());
        self.lane(LaneOp::Low { d: low, a: value });
        self.lane(LaneOp::High { d: high, a: value });
        Ok([low, high].map(|half| if ftz { self.flush(Val32::Reg(half)) } else { Val32::Reg(half) }))
    }

    fn finish_pair(&mut self, dst: RegId, halves: [R32; 2], ftz: bool) -> Result {
        let d = self.d64(dst)?;
        let [lo, hi] = halves.map(Val32::Reg).map(|half| if ftz { self.flush(half) } else { half });
        self.lane(LaneOp::Pack { d, lo, hi });
        Ok(())
    }

    /// Without its sign.
    pub(super) fn magnitude(&mut self, value: Val32) -> R32 {
        let t = self.t32();
        self.lane(LaneOp::Int32 { op: IntBin::And, d: t, a: value, b: Val32::Imm(!(1 << 31)) });
        t
    }

    /// The operation on two f32, before flushing and clamping.
    fn binary32(&mut self, op: &op::FloatBinary, result: R32, a: Val32, b: Val32) {
        use op::FloatBinaryOp as B;
        match (simple(op), op.op, direction(op.rnd)) {
            (_, B::Add, Some(how)) => self.call32(directed32(operation::ADD, how), result, &[a, b]),
            (_, B::Sub, Some(how)) => self.call32(directed32(operation::SUB, how), result, &[a, b]),
            (_, B::Mul, Some(how)) => self.call32(directed32(operation::MUL, how), result, &[a, b]),
            (_, B::Div, Some(how)) => self.call32(directed32(operation::DIV, how), result, &[a, b]),
            (Some(kind), ..) => self.lane(LaneOp::F32 { op: kind, d: result, a, b }),
            (_, B::Min, _) => self.call32(floats::min_nan, result, &[a, b]),
            (_, B::Max, _) => self.call32(floats::max_nan, result, &[a, b]),
            (_, B::Copysign, _) => self.call32(floats::copysign, result, &[a, b]),
            _ => self.call32(floats::div, result, &[a, b]),
        }
    }

    /// The fused multiply-add of f32, before flushing and clamping.
    fn fma32(&mut self, rnd: Rounding, result: R32, [a, b, c]: [Val32; 3]) {
        if let Some(how) = direction(Some(rnd)) {
            self.call32(directed32(operation::FMA, how), result, &[a, b, c]);
        } else if crate::executor::codegen::has_fma() {
            self.lane(LaneOp::Fma32 { d: result, a, b, c });
        } else {
            self.call32(floats::fma, result, &[a, b, c]);
        }
    }

    pub(super) fn float_binary(&mut self, op: &op::FloatBinary) -> Result {
        use op::FloatBinaryOp as B;
        if op.xorsign_abs {
            return self.min_max_xorsign(op);
        }
        let (how, simple) = (direction(op.rnd), simple(op));
        match op.ty {
            Type::F32x2 => {
                let (a, b) = (self.pair(&op.a, op.ftz)?, self.pair(&op.b, op.ftz)?);
                let results = [0, 1].map(|half| {
                    let result = self.t32();
                    self.binary32(op, result, a[half], b[half]);
                    result
                });
                self.finish_pair(op.dst, results, op.ftz)?;
            }
            Type::F32 => {
                let (d, a, b) =
                    (self.d32(op.dst)?, self.float32(&op.a, op.ftz)?, self.float32(&op.b, op.ftz)?);
                let plain = !op.ftz && !op.sat;
                let result = if plain { d } else { self.t32() };
                match &op.third {
                    None => self.binary32(op, result, a, b),
                    Some(third) => {
                        let third = self.float32(third, op.ftz)?;
                        let [a, b, c] =
                            [a, b, third].map(|v| if op.abs { Val32::Reg(self.magnitude(v)) } else { v });
                        let t = self.t32();
                        self.binary32(op, t, a, b);
                        self.binary32(op, result, Val32::Reg(t), c);
                    }
                }
                if !plain {
                    self.finish32(d, result, op.ftz, op.sat, false);
                }
            }
            Type::F64 => {
                let (d, a, b) = (self.d64(op.dst)?, self.v64(&op.a, op.ty)?, self.v64(&op.b, op.ty)?);
                match (simple, op.op, how) {
                    (_, B::Add, Some(how)) => self.call64(directed64(operation::ADD, how), d, &[a, b]),
                    (_, B::Sub, Some(how)) => self.call64(directed64(operation::SUB, how), d, &[a, b]),
                    (_, B::Mul, Some(how)) => self.call64(directed64(operation::MUL, how), d, &[a, b]),
                    (_, B::Div, Some(how)) => self.call64(directed64(operation::DIV, how), d, &[a, b]),
                    (Some(kind), ..) => self.lane(LaneOp::F64 { op: kind, d, a, b }),
                    (_, B::Div, _) => self.call64(floats::div_f64, d, &[a, b]),
                    (_, B::Copysign, _) => self.call64(floats::copysign_f64, d, &[a, b]),
                    _ => return self.unsupported("this operation on f64"),
                }
            }
            ty => {
                use Type::{Bf16, Bf16x2, F16, F16x2};
                let f = match (op.op, op.nan, ty) {
                    (B::Add, _, F16) => halves::add_f16,
                    (B::Add, _, Bf16) => halves::add_bf16,
                    (B::Add, _, F16x2) => halves::add_f16x2,
                    (B::Add, _, Bf16x2) => halves::add_bf16x2,
                    (B::Sub, _, F16) => halves::sub_f16,
                    (B::Sub, _, Bf16) => halves::sub_bf16,
                    (B::Sub, _, F16x2) => halves::sub_f16x2,
                    (B::Sub, _, Bf16x2) => halves::sub_bf16x2,
                    (B::Mul, _, F16) => halves::mul_f16,
                    (B::Mul, _, Bf16) => halves::mul_bf16,
                    (B::Mul, _, F16x2) => halves::mul_f16x2,
                    (B::Mul, _, Bf16x2) => halves::mul_bf16x2,
                    (B::Min, false, F16) => halves::min_f16,
                    (B::Min, false, Bf16) => halves::min_bf16,
                    (B::Min, false, F16x2) => halves::min_f16x2,
                    (B::Min, false, Bf16x2) => halves::min_bf16x2,
                    (B::Min, true, F16) => halves::min_nan_f16,
                    (B::Min, true, Bf16) => halves::min_nan_bf16,
                    (B::Min, true, F16x2) => halves::min_nan_f16x2,
                    (B::Min, true, Bf16x2) => halves::min_nan_bf16x2,
                    (B::Max, false, F16) => halves::max_f16,
                    (B::Max, false, Bf16) => halves::max_bf16,
                    (B::Max, false, F16x2) => halves::max_f16x2,
                    (B::Max, false, Bf16x2) => halves::max_bf16x2,
                    (B::Max, true, F16) => halves::max_nan_f16,
                    (B::Max, true, Bf16) => halves::max_nan_bf16,
                    (B::Max, true, F16x2) => halves::max_nan_f16x2,
                    (B::Max, true, Bf16x2) => halves::max_nan_bf16x2,
                    _ => return self.unsupported("this operation on this type"),
                };
                let (a, b) = (self.half(&op.a, ty, op.ftz)?, self.half(&op.b, ty, op.ftz)?);
                let t = self.t32();
                self.call32(f, t, &[a, b]);
                self.finish_half(ty, op.dst, t, (op.ftz, op.sat, false))?;
            }
        }
        Ok(())
    }

    pub(super) fn fma(&mut self, op: &op::Fma) -> Result {
        let how = direction(Some(op.rnd));
        match op.ty {
            Type::F32x2 => {
                let [a, b, c] = [&op.a, &op.b, &op.c].map(|operand| self.pair(operand, op.ftz));
                let (a, b, c) = (a?, b?, c?);
                let results = [0, 1].map(|half| {
                    let result = self.t32();
                    self.fma32(op.rnd, result, [a[half], b[half], c[half]]);
                    result
                });
                self.finish_pair(op.dst, results, op.ftz)?;
            }
            Type::F32 => {
                let (a, b, c) = (
                    self.float32(&op.a, op.ftz)?,
                    self.float32(&op.b, op.ftz)?,
                    self.float32(&op.c, op.ftz)?,
                );
                let d = self.d32(op.dst)?;
                let plain = !op.ftz && !op.sat && !op.relu;
                let result = if plain { d } else { self.t32() };
                self.fma32(op.rnd, result, [a, b, c]);
                if !plain {
                    self.finish32(d, result, op.ftz, op.sat, op.relu);
                }
            }
            Type::F64 => {
                let (d, a, b, c) = (
                    self.d64(op.dst)?,
                    self.v64(&op.a, op.ty)?,
                    self.v64(&op.b, op.ty)?,
                    self.v64(&op.c, op.ty)?,
                );
                match how {
                    Some(how) => self.call64(directed64(operation::FMA, how), d, &[a, b, c]),
                    None if crate::executor::codegen::has_fma() => self.lane(LaneOp::Fma64 { d, a, b, c }),
                    None => self.call64(
                        rounding::f64s::<{ operation::FMA }, { integral::NEAREST }>,
                        d,
                        &[a, b, c],
                    ),
                }
            }
            ty => {
                let f = match ty {
                    Type::F16 => halves::fma_f16,
                    Type::Bf16 => halves::fma_bf16,
                    Type::F16x2 => halves::fma_f16x2,
                    Type::Bf16x2 => halves::fma_bf16x2,
                    _ => return self.unsupported("this type"),
                };
                let [a, b, c] = [&op.a, &op.b, &op.c].map(|operand| self.half(operand, ty, op.ftz));
                let t = self.t32();
                self.call32(f, t, &[a?, b?, c?]);
                self.finish_half(ty, op.dst, t, (op.ftz, op.sat, op.relu))?;
            }
        }
        Ok(())
    }

    /// A source of 16 bits, or a pair.
    fn half(&mut self, operand: &Operand, ty: Type, ftz: bool) -> Result<Val32> {
        let value = self.v32(operand, ty)?;
        if !ftz {
            return Ok(value);
        }
        let t = self.t32();
        self.call32(self.flush_half(ty), t, &[value]);
        Ok(Val32::Reg(t))
    }

    /// Flushes subnormal halves.
    pub(super) fn flush_half(&self, ty: Type) -> Fn32 {
        if is_f16(ty) { halves::flush_f16x2 } else { halves::flush_bf16x2 }
    }

    /// Flushes and clamps halves on their way into `dst`.
    pub(super) fn finish_half(
        &mut self,
        ty: Type,
        dst: RegId,
        value: R32,
        (ftz, sat, relu): (bool, bool, bool),
    ) -> Result {
        let d = self.d32(dst)?;
        let mut value = value;
        let of = |f16: Fn32, bf16: Fn32| if is_f16(ty) { f16 } else { bf16 };
        for (wanted, f) in [
            (ftz, of(halves::flush_f16x2, halves::flush_bf16x2)),
            (sat, of(halves::saturate_f16x2, halves::saturate_bf16x2)),
            (relu, of(halves::relu_f16x2, halves::relu_bf16x2)),
        ] {
            if wanted {
                let t = self.t32();
                self.call32(f, t, &[Val32::Reg(value)]);
                value = t;
            }
        }
        self.lane(LaneOp::Mov32 { d, a: Val32::Reg(value) });
        Ok(())
    }

    /// `min.xorsign.abs`: of the magnitudes, with the product's sign.
    fn min_max_xorsign(&mut self, op: &op::FloatBinary) -> Result {
        let ty = op.ty;
        let signs = match ty {
            Type::F32 => 1 << 31,
            Type::F16 | Type::Bf16 => 0x8000,
            Type::F16x2 | Type::Bf16x2 => 0x8000_8000,
            _ => return self.unsupported("`.xorsign.abs` of this type"),
        };
        let mut operands = [self.v32(&op.a, ty)?, self.v32(&op.b, ty)?];
        let sign = self.t32();
        self.lane(LaneOp::Int32 { op: IntBin::Xor, d: sign, a: operands[0], b: operands[1] });
        self.lane(LaneOp::Int32 { op: IntBin::And, d: sign, a: Val32::Reg(sign), b: Val32::Imm(signs) });
        for value in &mut operands {
            let t = self.t32();
            self.lane(LaneOp::Int32 { op: IntBin::And, d: t, a: *value, b: Val32::Imm(!signs) });
            *value = Val32::Reg(t);
            if op.ftz && ty != Type::F32 {
                self.call32(self.flush_half(ty), t, &[*value]);
            } else if op.ftz {
                self.lane(LaneOp::Flush32 { d: t, a: *value });
            }
        }
        let minimum = op.op == op::FloatBinaryOp::Min;
        let f: Fn32 = match (ty, minimum, op.nan) {
            (Type::F32, true, false) => floats::min_number,
            (Type::F32, false, false) => floats::max_number,
            (Type::F32, true, true) => floats::min_nan,
            (Type::F32, false, true) => floats::max_nan,
            (Type::F16 | Type::F16x2, true, false) => halves::min_f16x2,
            (Type::F16 | Type::F16x2, false, false) => halves::max_f16x2,
            (Type::F16 | Type::F16x2, true, true) => halves::min_nan_f16x2,
            (Type::F16 | Type::F16x2, false, true) => halves::max_nan_f16x2,
            (_, true, false) => halves::min_bf16x2,
            (_, false, false) => halves::max_bf16x2,
            (_, true, true) => halves::min_nan_bf16x2,
            (_, false, true) => halves::max_nan_bf16x2,
        };
        let (d, t) = (self.d32(op.dst)?, self.t32());
        self.call32(f, t, &operands);
        self.lane(LaneOp::Int32 { op: IntBin::Or, d, a: Val32::Reg(t), b: Val32::Reg(sign) });
        Ok(())
    }

    pub(super) fn float_unary(&mut self, op: &op::FloatUnary) -> Result {
        use op::FloatUnaryOp as U;
        match op.ty {
            Type::F32 => {
                let (d, a) = (self.d32(op.dst)?, self.float32(&op.a, op.ftz)?);
                match op.op {
                    U::Neg => self.lane(LaneOp::Int32 { op: IntBin::Xor, d, a, b: Val32::Imm(1 << 31) }),
                    U::Abs => self.lane(LaneOp::Int32 { op: IntBin::And, d, a, b: Val32::Imm(!(1 << 31)) }),
                    _ => {
                        let f = match op.op {
                            U::Rcp => floats::rcp,
                            U::Sqrt => floats::sqrt,
                            U::Rsqrt => floats::rsqrt,
                            U::Sin => floats::sin,
                            U::Cos => floats::cos,
                            U::Lg2 => floats::lg2,
                            U::Ex2 => floats::ex2,
                            _ => floats::tanh,
                        };
                        let f: Fn32 = match (op.op, direction(op.rnd)) {
                            (U::Rcp, Some(how)) => directed32(operation::RCP, how),
                            (U::Sqrt, Some(how)) => directed32(operation::SQRT, how),
                            (_, Some(_)) => return self.unsupported("this rounding"),
                            (_, None) => f,
                        };
                        if op.ftz {
                            let t = self.t32();
                            self.call32(f, t, &[a]);
                            self.lane(LaneOp::Flush32 { d, a: Val32::Reg(t) });
                        } else {
                            self.call32(f, d, &[a]);
                        }
                    }
                }
            }
            Type::F64 => {
                let (d, a) = (self.d64(op.dst)?, self.v64(&op.a, op.ty)?);
                match op.op {
                    U::Neg => self.lane(LaneOp::Int64 { op: IntBin::Xor, d, a, b: Val64::Imm(1 << 63) }),
                    U::Abs => self.lane(LaneOp::Int64 { op: IntBin::And, d, a, b: Val64::Imm(!(1 << 63)) }),
                    U::Rcp | U::Sqrt if direction(op.rnd).is_some() => {
                        let which = if op.op == U::Rcp { operation::RCP } else { operation::SQRT };
                        let how = direction(op.rnd).unwrap_or(integral::ZERO);
                        self.call64(directed64(which, how), d, &[a]);
                    }
                    U::Rcp if op.ftz => self.call64(floats::rcp_ftz_f64, d, &[a]),
                    U::Rsqrt if op.ftz => self.call64(floats::rsqrt_ftz_f64, d, &[a]),
                    U::Rcp => self.call64(floats::rcp_f64, d, &[a]),
                    U::Sqrt => self.call64(floats::sqrt_f64, d, &[a]),
                    U::Rsqrt => self.call64(floats::rsqrt_f64, d, &[a]),
                    _ => return self.unsupported("this function of f64"),
                }
            }
            ty @ (Type::F16 | Type::Bf16 | Type::F16x2 | Type::Bf16x2) => {
                let sign = if ty.is_packed() { 0x8000_8000 } else { 0x8000 };
                let (d, a) = (self.d32(op.dst)?, self.half(&op.a, ty, op.ftz)?);
                let f = match (op.op, ty) {
                    (U::Neg, _) => {
                        self.lane(LaneOp::Int32 { op: IntBin::Xor, d, a, b: Val32::Imm(sign) });
                        return Ok(());
                    }
                    (U::Abs, _) => {
                        self.lane(LaneOp::Int32 { op: IntBin::And, d, a, b: Val32::Imm(!sign) });
                        return Ok(());
                    }
                    (U::Ex2, Type::F16) => halves::ex2_f16,
                    (U::Ex2, Type::Bf16) => halves::ex2_bf16,
                    (U::Ex2, Type::F16x2) => halves::ex2_f16x2,
                    (U::Ex2, _) => halves::ex2_bf16x2,
                    (U::Tanh, Type::F16) => halves::tanh_f16,
                    (U::Tanh, Type::Bf16) => halves::tanh_bf16,
                    (U::Tanh, Type::F16x2) => halves::tanh_f16x2,
                    (U::Tanh, _) => halves::tanh_bf16x2,
                    _ => return self.unsupported("this function of halves"),
                };
                let t = self.t32();
                self.call32(f, t, &[a]);
                self.finish_half(ty, op.dst, t, (op.ftz, false, false))?;
            }
            _ => return self.unsupported("this type"),
        }
        Ok(())
    }

    pub(super) fn testp(&mut self, op: &op::Testp) -> Result {
        use op::TestpOp as T;
        if op.ty == Type::F64 {
            return self.testp_f64(op);
        }
        let f = match op.op {
            T::Finite => floats::is_finite,
            T::Infinite => floats::is_infinite,
            T::Number => floats::is_number,
            T::NotANumber => floats::is_nan,
            T::Normal => floats::is_normal,
            T::Subnormal => floats::is_subnormal,
        };
        let (d, a) = (self.dp(op.dst)?, self.v32(&op.a, op.ty)?);
        let a = self.reg32(a);
        self.call(LaneCall::Test { f, d, a, b: a });
        Ok(())
    }

    /// Magnitudes are ordered as their bits are.
    fn testp_f64(&mut self, op: &op::Testp) -> Result {
        use op::TestpOp as T;
        const INFINITY: u64 = 0x7ff << 52;
        const NORMAL: u64 = 1 << 52;
        let (d, a) = (self.dp(op.dst)?, self.v64(&op.a, op.ty)?);
        let (bits, above) = (self.t64(), self.t64());
        self.lane(LaneOp::Int64 { op: IntBin::And, d: bits, a, b: Val64::Imm(!(1 << 63)) });
        let (cmp, below, bound) = match op.op {
            T::Finite => (IntCmp::LtU, 0, INFINITY),
            T::Infinite => (IntCmp::Eq, 0, INFINITY),
            T::Number => (IntCmp::LeU, 0, INFINITY),
            T::NotANumber => (IntCmp::GtU, 0, INFINITY),
            T::Normal => (IntCmp::LtU, NORMAL, INFINITY - NORMAL),
            T::Subnormal => (IntCmp::LtU, 1, NORMAL - 1),
        };
        self.lane(LaneOp::Int64 { op: IntBin::Sub, d: above, a: Val64::Reg(bits), b: Val64::Imm(below) });
        self.lane(LaneOp::Cmp64 { cmp, d, a: Val64::Reg(above), b: Val64::Imm(bound) });
        Ok(())
    }
}
