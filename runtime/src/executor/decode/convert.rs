//! `cvt`: between integers, between floats, and from one to the other.

use tilewright_compiler::ptx::{Operand, Rounding, Type, op};

use super::super::frame::R32;
use super::super::lanes::numbers::{self, integral};
use super::super::lanes::rounding::{self, target};
use super::super::lanes::{bytes, floats, halves, integers};
use super::super::launch::ExecError;
use super::super::program::{Fn32, Fn64, IntBin, LaneCall, LaneOp, Val32, Val64};
use super::emit::{Decoder, Home};

type Result<T = ()> = std::result::Result<T, ExecError>;
type Narrow = fn(&mut [u32; 32], &[u64; 32]);

fn integral_how(rnd: Option<Rounding>) -> Option<u8> {
    Some(match rnd? {
        Rounding::Rni | Rounding::Rn => integral::NEAREST,
        Rounding::Rzi | Rounding::Rz => integral::ZERO,
        Rounding::Rmi | Rounding::Rm => integral::DOWN,
        Rounding::Rpi | Rounding::Rp => integral::UP,
        _ => return None,
    })
}

/// Instantiates a function for a rounding that is only known now.
macro_rules! by_rounding {
    ($how:expr, rounding, $f:ident $(<$first:tt>)? $(, $generic:tt)*) => {
        match $how {
            integral::NEAREST => rounding::$f::<$($first,)? { integral::NEAREST } $(, $generic)*>,
            integral::ZERO => rounding::$f::<$($first,)? { integral::ZERO } $(, $generic)*>,
            integral::DOWN => rounding::$f::<$($first,)? { integral::DOWN } $(, $generic)*>,
            _ => rounding::$f::<$($first,)? { integral::UP } $(, $generic)*>,
        }
    };
    ($how:expr, $f:ident $(, $generic:tt)*) => {
        match $how {
            integral::NEAREST => numbers::$f::<{ integral::NEAREST } $(, $generic)*>,
            integral::ZERO => numbers::$f::<{ integral::ZERO } $(, $generic)*>,
            integral::DOWN => numbers::$f::<{ integral::DOWN } $(, $generic)*>,
            _ => numbers::$f::<{ integral::UP } $(, $generic)*>,
        }
    };
}

fn f32_to_int(how: u8, ty: Type) -> Fn32 {
    match (ty.bits(), ty.is_signed()) {
        (8, true) => by_rounding!(how, f32_to_int, 8, true),
        (8, false) => by_rounding!(how, f32_to_int, 8, false),
        (16, true) => by_rounding!(how, f32_to_int, 16, true),
        (16, false) => by_rounding!(how, f32_to_int, 16, false),
        (_, true) => by_rounding!(how, f32_to_int, 32, true),
        (_, false) => by_rounding!(how, f32_to_int, 32, false),
    }
}

fn f64_to_int(how: u8, ty: Type) -> Narrow {
    match (ty.bits(), ty.is_signed()) {
        (8, true) => by_rounding!(how, f64_to_int, 8, true),
        (8, false) => by_rounding!(how, f64_to_int, 8, false),
        (16, true) => by_rounding!(how, f64_to_int, 16, true),
        (16, false) => by_rounding!(how, f64_to_int, 16, false),
        (_, true) => by_rounding!(how, f64_to_int, 32, true),
        (_, false) => by_rounding!(how, f64_to_int, 32, false),
    }
}

fn is_int_like(ty: Type) -> bool {
    !ty.is_float() && ty != Type::Pred
}

impl Decoder<'_> {
    pub(super) fn cvt(&mut self, op: &op::Cvt) -> Result {
        let (dty, sty) = (op.dty, op.sty);
        if dty.is_packed() || sty.is_packed() {
            return self.byte_pair(op);
        }
        match (is_int_like(dty), is_int_like(sty)) {
            (true, true) => self.int_to_int(op),
            (false, true) => self.int_to_float(op),
            (true, false) => self.float_to_int(op),
            (false, false) => self.float_to_float(op),
        }
    }

    /// A source integer of at most 32 bits, extended to 32 by its sign rule.
    fn int_source(&mut self, operand: &Operand, ty: Type) -> Result<Val32> {
        let value = self.v32(operand, ty)?;
        Ok(match (ty.bits(), ty.is_signed()) {
            (bits @ (8 | 16), true) => self.sign_extend(value, bits as u8),
            (bits @ (8 | 16), false) => self.zero_extend(value, bits as u8),
            _ => value,
        })
    }

    fn int_to_int(&mut self, op: &op::Cvt) -> Result {
        let (dty, sty) = (op.dty, op.sty);
        if op.sat && dty.bits() < 64 && sty.bits() <= 32 {
            return self.saturating(op);
        }
        if op.sat && !(dty.bits() >= sty.bits() && dty.is_signed() == sty.is_signed()) {
            return self.saturating_wide(op);
        }
        let source = if sty.bits() == 64 {
            let wide = self.v64(&op.src, sty)?;
            if let Home::R64(d) = self.home(op.dst)
                && dty.bits() == 64
            {
                self.lane(LaneOp::Mov64 { d, a: wide });
                return Ok(());
            }
            let low = self.t32();
            self.lane(LaneOp::Low { d: low, a: wide });
            Val32::Reg(low)
        } else {
            self.int_source(&op.src, sty)?
        };
        match self.home(op.dst) {
            Home::R64(d) => {
                let signed = if dty.bits() < 64 { dty.is_signed() } else { sty.is_signed() };
                let source = if dty.bits() < 32 { self.cut(source, dty) } else { source };
                self.lane(LaneOp::Widen { signed, d, a: source });
            }
            Home::R32(d) => {
                // A destination wider than its type is sign- or zero-extended, but 16-bit registers stay zero above.
                let wide_register = self.entry.reg_type(op.dst).bits() == 32;
                let value = if dty.bits() < 32 { self.cut(source, dty) } else { source };
                if wide_register {
                    self.lane(LaneOp::Mov32 { d, a: value });
                } else {
                    self.lane(LaneOp::Int32 { op: IntBin::And, d, a: value, b: Val32::Imm(0xffff) });
                }
            }
            _ => return self.invalid("a conversion into this register"),
        }
        Ok(())
    }

    /// The low bits that `ty` has, extended to 32 by its sign rule.
    fn cut(&mut self, value: Val32, ty: Type) -> Val32 {
        if ty.is_signed() {
            self.sign_extend(value, ty.bits() as u8)
        } else {
            self.zero_extend(value, ty.bits() as u8)
        }
    }

    fn saturating(&mut self, op: &op::Cvt) -> Result {
        let (dty, sty) = (op.dty, op.sty);
        let source = self.int_source(&op.src, sty)?;
        let bits = dty.bits();
        let (low, high): (i64, i64) =
            if dty.is_signed() { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) };
        let t = self.t32();
        if sty.is_signed() {
            let clamped = self.t32();
            let low = low.max(i32::MIN.into()) as i32 as u32;
            let high = high.min(i32::MAX.into()) as i32 as u32;
            self.lane(LaneOp::Int32 { op: IntBin::MaxS, d: clamped, a: source, b: Val32::Imm(low) });
            self.lane(LaneOp::Int32 { op: IntBin::MinS, d: t, a: Val32::Reg(clamped), b: Val32::Imm(high) });
        } else {
            self.lane(LaneOp::Int32 { op: IntBin::MinU, d: t, a: source, b: Val32::Imm(high as u32) });
        }
        let d = self.d32(op.dst)?;
        let mask = if self.entry.reg_type(op.dst).bits() <= 16 { 0xffff } else { u32::MAX };
        self.lane(LaneOp::Int32 { op: IntBin::And, d, a: Val32::Reg(t), b: Val32::Imm(mask) });
        Ok(())
    }

    /// From or to 64 bits: clamped as a 64-bit integer.
    fn saturating_wide(&mut self, op: &op::Cvt) -> Result {
        let (dty, sty) = (op.dty, op.sty);
        let source = self.int_as_64(&op.src, sty)?;
        let bits = dty.bits();
        let most = if dty.is_signed() { i64::MAX as u64 >> (64 - bits) } else { u64::MAX >> (64 - bits) };
        let least = if dty.is_signed() { (i64::MIN >> (64 - bits)) as u64 } else { 0 };
        let (low, value) = (self.t64(), self.t64());
        if sty.is_signed() {
            self.lane(LaneOp::Int64 { op: IntBin::MaxS, d: low, a: source, b: Val64::Imm(least) });
            // A bound above what is signed bounds nothing.
            let most = most.min(i64::MAX as u64);
            self.lane(LaneOp::Int64 { op: IntBin::MinS, d: value, a: Val64::Reg(low), b: Val64::Imm(most) });
        } else {
            self.lane(LaneOp::Int64 { op: IntBin::MinU, d: value, a: source, b: Val64::Imm(most) });
        }
        match self.home(op.dst) {
            Home::R64(d) => self.lane(LaneOp::Mov64 { d, a: Val64::Reg(value) }),
            Home::R32(d) => {
                let low = self.t32();
                self.lane(LaneOp::Low { d: low, a: Val64::Reg(value) });
                let mask = if self.entry.reg_type(op.dst).bits() <= 16 { 0xffff } else { u32::MAX };
                self.lane(LaneOp::Int32 { op: IntBin::And, d, a: Val32::Reg(low), b: Val32::Imm(mask) });
            }
            _ => return self.invalid("a conversion into this register"),
        }
        Ok(())
    }

    /// An integer of any width, extended to 64 bits.
    fn int_as_64(&mut self, operand: &Operand, ty: Type) -> Result<Val64> {
        if ty.bits() == 64 {
            return self.v64(operand, ty);
        }
        let (value, wide) = (self.int_source(operand, ty)?, self.t64());
        self.lane(LaneOp::Widen { signed: ty.is_signed(), d: wide, a: value });
        Ok(Val64::Reg(wide))
    }

    fn int_to_float(&mut self, op: &op::Cvt) -> Result {
        let (dty, sty) = (op.dty, op.sty);
        let signed = sty.is_signed();
        let common = matches!(op.rnd, None | Some(Rounding::Rn)) && !op.sat;
        if !(common && (sty.bits() < 64 || matches!(dty, Type::F32 | Type::F64))) {
            return self.int_to_float_exactly(op);
        }
        if dty == Type::F64 {
            let d = self.d64(op.dst)?;
            if sty.bits() == 64 {
                let a = self.v64(&op.src, sty)?;
                self.call64(if signed { numbers::s64_to_f64 } else { numbers::u64_to_f64 }, d, &[a]);
            } else {
                let a = self.int_source(&op.src, sty)?;
                let (f, a) = (if signed { numbers::s32_to_f64 } else { numbers::u32_to_f64 }, self.reg32(a));
                self.call(LaneCall::Widen { f, d, a });
            }
            return Ok(());
        }
        let d = self.d32(op.dst)?;
        let single = if dty == Type::F32 { d } else { self.t32() };
        if sty.bits() == 64 {
            let a = self.v64(&op.src, sty)?;
            let (f, a) =
                (if signed { numbers::s64_to_f32 } else { numbers::u64_to_f32 } as Narrow, self.reg64(a));
            self.call(LaneCall::Narrow { f, d: single, a });
        } else {
            let mut a = self.int_source(&op.src, sty)?;
            if dty != Type::F32 && sty.bits() == 32 {
                // f32 holds 24 bits of a 32-bit integer: the rest becomes one bit below, so that rounding once more is right.
                let sticky = self.t32();
                self.call32(if signed { numbers::s32_sticky } else { numbers::u32_sticky }, sticky, &[a]);
                a = Val32::Reg(sticky);
            }
            self.call32(if signed { numbers::s32_to_f32 } else { numbers::u32_to_f32 }, single, &[a]);
        }
        match dty {
            Type::F32 => {}
            Type::F16 => self.call32(halves::f32_to_f16, d, &[Val32::Reg(single)]),
            Type::Bf16 => self.call32(halves::f32_to_bf16, d, &[Val32::Reg(single)]),
            _ => return self.unsupported("this destination type"),
        }
        Ok(())
    }

    /// In any rounding, through 64 bits.
    fn int_to_float_exactly(&mut self, op: &op::Cvt) -> Result {
        let how = integral_how(op.rnd).unwrap_or(integral::NEAREST);
        let signed = op.sty.is_signed();
        let source = self.int_as_64(&op.src, op.sty)?;
        if op.dty == Type::F64 {
            let d = self.d64(op.dst)?;
            let f: Fn64 = if signed {
                by_rounding!(how, rounding, int_to_f64, true)
            } else {
                by_rounding!(how, rounding, int_to_f64, false)
            };
            let value = self.t64();
            self.call64(f, value, &[source]);
            if op.sat {
                self.call64(floats::saturate_f64, d, &[Val64::Reg(value)]);
            } else {
                self.lane(LaneOp::Mov64 { d, a: Val64::Reg(value) });
            }
            return Ok(());
        }
        let f: Narrow = match (op.dty, signed) {
            (Type::F16, true) => by_rounding!(how, rounding, from_int<{ target::F16 }>, true),
            (Type::F16, false) => by_rounding!(how, rounding, from_int<{ target::F16 }>, false),
            (Type::Bf16, true) => by_rounding!(how, rounding, from_int<{ target::BF16 }>, true),
            (Type::Bf16, false) => by_rounding!(how, rounding, from_int<{ target::BF16 }>, false),
            (Type::F32, true) => by_rounding!(how, rounding, from_int<{ target::F32 }>, true),
            (Type::F32, false) => by_rounding!(how, rounding, from_int<{ target::F32 }>, false),
            _ => return self.unsupported("this destination type"),
        };
        let (value, a) = (self.t32(), self.reg64(source));
        self.call(LaneCall::Narrow { f, d: value, a });
        self.finish_float(op, value)
    }

    /// Clamps a converted value of 16 or 32 bits on its way into the destination.
    fn finish_float(&mut self, op: &op::Cvt, value: R32) -> Result {
        let d = self.d32(op.dst)?;
        let mut value = value;
        let f: [Option<Fn32>; 3] = match op.dty {
            Type::F16 => [
                op.satfinite.then_some(halves::finite_f16x2 as Fn32),
                op.sat.then_some(halves::saturate_f16x2),
                op.relu.then_some(halves::relu_f16x2),
            ],
            Type::Bf16 => [
                op.satfinite.then_some(halves::finite_bf16x2 as Fn32),
                op.sat.then_some(halves::saturate_bf16x2),
                op.relu.then_some(halves::relu_bf16x2),
            ],
            Type::Tf32 => [
                op.satfinite.then_some(halves::finite_tf32 as Fn32),
                None,
                op.relu.then_some(halves::relu_tf32),
            ],
            _ => [None, op.sat.then_some(floats::saturate as Fn32), op.relu.then_some(floats::relu)],
        };
        for f in f.into_iter().flatten() {
            let t = self.t32();
            self.call32(f, t, &[Val32::Reg(value)]);
            value = t;
        }
        self.lane(LaneOp::Mov32 { d, a: Val32::Reg(value) });
        Ok(())
    }

    /// A source of f32 or narrower as f32.
    fn as_f32(&mut self, operand: &Operand, ty: Type, ftz: bool) -> Result<Val32> {
        let value = self.v32(operand, ty)?;
        let widen = match ty {
            Type::F32 => return Ok(if ftz { self.flush(value) } else { value }),
            Type::F16 => halves::f16_to_f32,
            Type::Bf16 => halves::bf16_to_f32,
            _ => return self.unsupported("this source type"),
        };
        let t = self.t32();
        self.call32(widen, t, &[value]);
        Ok(Val32::Reg(t))
    }

    fn float_to_int(&mut self, op: &op::Cvt) -> Result {
        let (dty, sty) = (op.dty, op.sty);
        let Some(how) = integral_how(op.rnd) else { return self.unsupported("this rounding") };
        let signed = dty.is_signed();
        if sty == Type::F64 {
            let a = self.v64(&op.src, sty)?;
            if dty.bits() == 64 {
                let d = self.d64(op.dst)?;
                let f = if signed {
                    by_rounding!(how, f64_to_int64, true)
                } else {
                    by_rounding!(how, f64_to_int64, false)
                };
                self.call64(f, d, &[a]);
            } else {
                let (d, a) = (self.d32(op.dst)?, self.reg64(a));
                self.call(LaneCall::Narrow { f: f64_to_int(how, dty), d, a });
            }
            return Ok(());
        }
        let a = self.as_f32(&op.src, sty, op.ftz)?;
        if dty.bits() == 64 {
            let (d, a) = (self.d64(op.dst)?, self.reg32(a));
            let f: fn(&mut [u64; 32], &[u32; 32]) = if signed {
                by_rounding!(how, f32_to_int64, true)
            } else {
                by_rounding!(how, f32_to_int64, false)
            };
            self.call(LaneCall::Widen { f, d, a });
        } else {
            let d = self.d32(op.dst)?;
            self.call32(f32_to_int(how, dty), d, &[a]);
        }
        Ok(())
    }

    fn float_to_float(&mut self, op: &op::Cvt) -> Result {
        let (dty, sty) = (op.dty, op.sty);
        let integer = matches!(op.rnd, Some(Rounding::Rni | Rounding::Rzi | Rounding::Rmi | Rounding::Rpi));
        let how = integral_how(op.rnd).unwrap_or(integral::NEAREST);
        if sty == Type::F64 {
            let a = self.v64(&op.src, sty)?;
            if dty == Type::F64 {
                let (d, mut value) = (self.d64(op.dst)?, a);
                if integer {
                    let t = self.t64();
                    let f = by_rounding!(how, f64_round);
                    self.call64(f, t, &[value]);
                    value = Val64::Reg(t);
                }
                if op.sat {
                    self.call64(floats::saturate_f64, d, &[value]);
                } else {
                    self.lane(LaneOp::Mov64 { d, a: value });
                }
                return Ok(());
            }
            let f: Narrow = match dty {
                Type::F32 if how == integral::NEAREST => numbers::f64_to_f32,
                Type::F32 => by_rounding!(how, rounding, from_f64<{ target::F32 }>),
                Type::F16 => by_rounding!(how, rounding, from_f64<{ target::F16 }>),
                Type::Bf16 => by_rounding!(how, rounding, from_f64<{ target::BF16 }>),
                _ => return self.unsupported("this conversion from f64"),
            };
            let (a, mut value) = (self.reg64(a), self.t32());
            self.call(LaneCall::Narrow { f, d: value, a });
            if op.ftz && dty == Type::F32 {
                let t = self.t32();
                self.lane(LaneOp::Flush32 { d: t, a: Val32::Reg(value) });
                value = t;
            }
            return self.finish_float(op, value);
        }
        let mut a = self.as_f32(&op.src, sty, op.ftz)?;
        if integer {
            let t = self.t32();
            let f: Fn32 = by_rounding!(how, f32_round);
            self.call32(f, t, &[a]);
            a = Val32::Reg(t);
        }
        let value = self.t32();
        match (dty, op.rnd) {
            (Type::F64, _) => {
                let (d, a, wide) = (self.d64(op.dst)?, self.reg32(a), self.t64());
                self.call(LaneCall::Widen { f: numbers::f32_to_f64, d: wide, a });
                if op.sat {
                    self.call64(floats::saturate_f64, d, &[Val64::Reg(wide)]);
                } else {
                    self.lane(LaneOp::Mov64 { d, a: Val64::Reg(wide) });
                }
                return Ok(());
            }
            (Type::F32, _) => {
                let d = self.d32(op.dst)?;
                self.clamp_into(op, d, a);
                return Ok(());
            }
            (Type::Tf32, Some(Rounding::Rna)) => self.call32(halves::f32_to_tf32_rna, value, &[a]),
            (_, Some(Rounding::Rna | Rounding::Rs)) => return self.unsupported("this rounding"),
            (Type::F16, _) if integer || how == integral::NEAREST => {
                self.call32(halves::f32_to_f16, value, &[a]);
            }
            (Type::Bf16, _) if integer || how == integral::NEAREST => {
                self.call32(halves::f32_to_bf16, value, &[a]);
            }
            _ => {
                let f: Fn32 = match dty {
                    Type::F16 => by_rounding!(how, rounding, from_f32<{ target::F16 }>),
                    Type::Bf16 => by_rounding!(how, rounding, from_f32<{ target::BF16 }>),
                    Type::Tf32 => by_rounding!(how, rounding, from_f32<{ target::TF32 }>),
                    _ => return self.unsupported("this destination type"),
                };
                self.call32(f, value, &[a]);
            }
        }
        self.finish_float(op, value)
    }

    fn clamp_into(&mut self, op: &op::Cvt, d: R32, value: Val32) {
        if op.sat || op.relu {
            self.call32(if op.sat { floats::saturate } else { floats::relu }, d, &[value]);
        } else {
            self.lane(LaneOp::Mov32 { d, a: value });
        }
    }

    /// Between pairs of halves and pairs of 8-bit floats.
    fn byte_pair(&mut self, op: &op::Cvt) -> Result {
        let f: Fn32 = match (op.dty, op.sty, op.relu) {
            (Type::E4m3x2, Type::F16x2, false) => bytes::from_f16x2::<3, false>,
            (Type::E4m3x2, Type::F16x2, true) => bytes::from_f16x2::<3, true>,
            (Type::E5m2x2, Type::F16x2, false) => bytes::from_f16x2::<2, false>,
            (Type::E5m2x2, Type::F16x2, true) => bytes::from_f16x2::<2, true>,
            (Type::F16x2, Type::E4m3x2, false) => bytes::to_f16x2::<3, false>,
            (Type::F16x2, Type::E4m3x2, true) => bytes::to_f16x2::<3, true>,
            (Type::F16x2, Type::E5m2x2, false) => bytes::to_f16x2::<2, false>,
            (Type::F16x2, Type::E5m2x2, true) => bytes::to_f16x2::<2, true>,
            _ => return self.unsupported("conversions of these packed pairs"),
        };
        let (d, a) = (self.d32(op.dst)?, self.v32(&op.src, op.sty)?);
        self.call32(f, d, &[a]);
        Ok(())
    }

    pub(super) fn cvt_pack(&mut self, op: &op::CvtPack) -> Result {
        let bytes: Option<Fn32> = match (op.dty, op.sty, op.relu) {
            (Type::E4m3x2, Type::F32, false) => Some(bytes::from_f32::<3, false>),
            (Type::E4m3x2, Type::F32, true) => Some(bytes::from_f32::<3, true>),
            (Type::E5m2x2, Type::F32, false) => Some(bytes::from_f32::<2, false>),
            (Type::E5m2x2, Type::F32, true) => Some(bytes::from_f32::<2, true>),
            _ => None,
        };
        if let (Some(f), true) = (bytes, op.satfinite && op.rnd == Rounding::Rn) {
            let (d, hi, lo) = (self.d32(op.dst)?, self.v32(&op.hi, Type::F32)?, self.v32(&op.lo, Type::F32)?);
            self.call32(f, d, &[hi, lo]);
            return Ok(());
        }
        if op.sty != Type::F32 {
            return self.unsupported("this pair");
        }
        let (d, hi, lo) = (self.d32(op.dst)?, self.v32(&op.hi, Type::F32)?, self.v32(&op.lo, Type::F32)?);
        let f16 = match op.dty {
            Type::F16x2 => true,
            Type::Bf16x2 => false,
            _ => return self.unsupported("this pair"),
        };
        let mut value = self.t32();
        match (f16, op.rnd) {
            (true, Rounding::Rn) => self.call32(halves::pack_f16x2, value, &[hi, lo]),
            (false, Rounding::Rn) => self.call32(halves::pack_bf16x2, value, &[hi, lo]),
            (_, Rounding::Rz) => {
                let f: Fn32 = if f16 {
                    rounding::from_f32::<{ target::F16 }, { integral::ZERO }>
                } else {
                    rounding::from_f32::<{ target::BF16 }, { integral::ZERO }>
                };
                let (upper, lower) = (self.t32(), self.t32());
                self.call32(f, upper, &[hi]);
                self.call32(f, lower, &[lo]);
                self.call32(halves::join, value, &[Val32::Reg(upper), Val32::Reg(lower)]);
            }
            _ => return self.unsupported("this rounding"),
        }
        let of = |a: Fn32, b: Fn32| if f16 { a } else { b };
        for (wanted, f) in [
            (op.satfinite, of(halves::finite_f16x2, halves::finite_bf16x2)),
            (op.relu, of(halves::relu_f16x2, halves::relu_bf16x2)),
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

    pub(super) fn cvt_pack_int(&mut self, op: &op::CvtPackInt) -> Result {
        let f: Fn32 = match (op.bits, op.signed) {
            (2, true) => integers::pack::<2, true>,
            (2, false) => integers::pack::<2, false>,
            (4, true) => integers::pack::<4, true>,
            (4, false) => integers::pack::<4, false>,
            (8, true) => integers::pack::<8, true>,
            (8, false) => integers::pack::<8, false>,
            (_, true) => integers::pack::<16, true>,
            (_, false) => integers::pack::<16, false>,
        };
        let c = match &op.c {
            Some(c) => self.v32(c, Type::B32)?,
            None => Val32::Imm(0),
        };
        let (d, a, b) = (self.d32(op.dst)?, self.v32(&op.a, Type::S32)?, self.v32(&op.b, Type::S32)?);
        self.call32(f, d, &[a, b, c]);
        Ok(())
    }

    /// A cache policy is an opaque number here.
    pub(super) fn create_policy(&mut self, dst: tilewright_compiler::ptx::RegId) -> Result {
        let d = self.d64(dst)?;
        self.lane(LaneOp::Mov64 { d, a: Val64::Imm(0) });
        Ok(())
    }
}
