//! Floating-point arithmetic.
//!
//! f32 and f64 additions, multiplications and fused multiply-adds are compiled; `.ftz` flushes operands before and the result
//! after. Halves, divisions and transcendental functions are calls.

use tilewright_compiler::ptx::{Operand, Rounding, Type, op};

use super::super::frame::R32;
use super::super::lanes::{floats, halves};
use super::super::launch::ExecError;
use super::super::program::{FloatBin, IntBin, LaneCall, LaneOp, Val32, Val64};
use super::emit::Decoder;

type Result<T = ()> = std::result::Result<T, ExecError>;

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

    pub(super) fn float_binary(&mut self, op: &op::FloatBinary) -> Result {
        use op::FloatBinaryOp as B;
        if op.xorsign_abs {
            return self.unsupported("`.xorsign.abs`");
        }
        let rz = match op.rnd {
            None | Some(Rounding::Rn | Rounding::Approx | Rounding::Full) => false,
            Some(Rounding::Rz) if op.ty == Type::F32 => true,
            Some(_) => return self.unsupported("this rounding"),
        };
        let simple = match op.op {
            B::Add => Some(FloatBin::Add),
            B::Sub => Some(FloatBin::Sub),
            B::Mul => Some(FloatBin::Mul),
            B::Min if !op.nan => Some(FloatBin::Min),
            B::Max if !op.nan => Some(FloatBin::Max),
            _ => None,
        };
        match op.ty {
            Type::F32 => {
                let (d, a, b) =
                    (self.d32(op.dst)?, self.float32(&op.a, op.ftz)?, self.float32(&op.b, op.ftz)?);
                let plain = !op.ftz && !op.sat;
                let result = if plain { d } else { self.t32() };
                match (simple, op.op) {
                    (Some(kind), _) if !rz => self.lane(LaneOp::F32 { op: kind, d: result, a, b }),
                    (_, B::Add) => self.call32(floats::add_rz, result, &[a, b]),
                    (_, B::Sub) => {
                        let negated = self.t32();
                        self.lane(LaneOp::Int32 {
                            op: IntBin::Xor,
                            d: negated,
                            a: b,
                            b: Val32::Imm(1 << 31),
                        });
                        self.call32(floats::add_rz, result, &[a, Val32::Reg(negated)]);
                    }
                    (_, B::Mul) => self.call32(floats::mul_rz, result, &[a, b]),
                    (_, B::Div) if rz => return self.unsupported("division rounded toward zero"),
                    (_, B::Div) => self.call32(floats::div, result, &[a, b]),
                    (_, B::Min) => self.call32(floats::min_nan, result, &[a, b]),
                    (_, B::Max) => self.call32(floats::max_nan, result, &[a, b]),
                    (_, B::Copysign) => self.call32(floats::copysign, result, &[a, b]),
                }
                if !plain {
                    self.finish32(d, result, op.ftz, op.sat, false);
                }
            }
            Type::F64 => {
                let (d, a, b) = (self.d64(op.dst)?, self.v64(&op.a, op.ty)?, self.v64(&op.b, op.ty)?);
                match (simple, op.op) {
                    (Some(kind), _) => self.lane(LaneOp::F64 { op: kind, d, a, b }),
                    (_, B::Div) => self.call64(floats::div_f64, d, &[a, b]),
                    (_, B::Copysign) => self.call64(floats::copysign_f64, d, &[a, b]),
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
                if op.sat || op.ftz {
                    return self.unsupported("`.sat` and `.ftz` on halves");
                }
                let (d, a, b) = (self.d32(op.dst)?, self.v32(&op.a, ty)?, self.v32(&op.b, ty)?);
                self.call32(f, d, &[a, b]);
            }
        }
        Ok(())
    }

    pub(super) fn fma(&mut self, op: &op::Fma) -> Result {
        if op.rnd != Rounding::Rn {
            return self.unsupported("this rounding");
        }
        match op.ty {
            Type::F32 => {
                let (a, b, c) = (
                    self.float32(&op.a, op.ftz)?,
                    self.float32(&op.b, op.ftz)?,
                    self.float32(&op.c, op.ftz)?,
                );
                let d = self.d32(op.dst)?;
                let plain = !op.ftz && !op.sat && !op.relu;
                let result = if plain { d } else { self.t32() };
                if crate::executor::codegen::has_fma() {
                    self.lane(LaneOp::Fma32 { d: result, a, b, c });
                } else {
                    self.call32(floats::fma, result, &[a, b, c]);
                }
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
                if !crate::executor::codegen::has_fma() {
                    return self.unsupported("f64 fma on a host without one");
                }
                self.lane(LaneOp::Fma64 { d, a, b, c });
            }
            ty => {
                let f = match ty {
                    Type::F16 => halves::fma_f16,
                    Type::Bf16 => halves::fma_bf16,
                    Type::F16x2 => halves::fma_f16x2,
                    Type::Bf16x2 => halves::fma_bf16x2,
                    _ => return self.unsupported("this type"),
                };
                if op.sat || op.ftz {
                    return self.unsupported("`.sat` and `.ftz` on halves");
                }
                let (d, a, b, c) =
                    (self.d32(op.dst)?, self.v32(&op.a, ty)?, self.v32(&op.b, ty)?, self.v32(&op.c, ty)?);
                if op.relu {
                    let t = self.t32();
                    self.call32(f, t, &[a, b, c]);
                    let relu = if matches!(ty, Type::F16 | Type::F16x2) {
                        halves::relu_f16x2
                    } else {
                        halves::relu_bf16x2
                    };
                    self.call32(relu, d, &[Val32::Reg(t)]);
                } else {
                    self.call32(f, d, &[a, b, c]);
                }
            }
        }
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
                        if !matches!(op.rnd, None | Some(Rounding::Rn | Rounding::Approx)) {
                            return self.unsupported("this rounding");
                        }
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
                    U::Rcp => self.call64(floats::rcp_f64, d, &[a]),
                    U::Sqrt => self.call64(floats::sqrt_f64, d, &[a]),
                    U::Rsqrt => self.call64(floats::rsqrt_f64, d, &[a]),
                    _ => return self.unsupported("this function of f64"),
                }
            }
            ty @ (Type::F16 | Type::Bf16 | Type::F16x2 | Type::Bf16x2) => {
                let sign = if ty.is_packed() { 0x8000_8000 } else { 0x8000 };
                let (d, a) = (self.d32(op.dst)?, self.v32(&op.a, ty)?);
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
                self.call32(f, d, &[a]);
            }
            _ => return self.unsupported("this type"),
        }
        Ok(())
    }

    pub(super) fn testp(&mut self, op: &op::Testp) -> Result {
        use op::TestpOp as T;
        if op.ty != Type::F32 {
            return self.unsupported("this type");
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
}
