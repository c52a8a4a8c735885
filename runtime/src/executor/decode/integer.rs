//! Integer arithmetic and shifts.
//!
//! 16-bit operations are done in 32 bits: operands are extended by their sign rule, the result is cut to 16 bits.

use tilewright_compiler::ptx::{MulMode, Operand, RegId, Type, op};

use super::super::frame::{R32, R64};
use super::super::lanes::integers;
use super::super::launch::ExecError;
use super::super::program::{Fn32, IntBin, IntCmp, LaneCall, LaneOp, Shift, Val32, Val64, ValP};
use super::emit::Decoder;

type Result<T = ()> = std::result::Result<T, ExecError>;

fn is_16(ty: Type) -> bool {
    ty.bits() == 16
}

impl Decoder<'_> {
    /// A source of a 16- or 32-bit integer instruction, extended to 32 bits.
    pub(super) fn int32(&mut self, operand: &Operand, ty: Type) -> Result<Val32> {
        let value = self.v32(operand, ty)?;
        Ok(if is_16(ty) && ty.is_signed() { self.sign_extend(value, 16) } else { value })
    }

    /// Writes a 32-bit result into a register of `ty`.
    fn put(&mut self, ty: Type, d: R32, value: Val32) {
        if is_16(ty) {
            self.lane(LaneOp::Int32 { op: IntBin::And, d, a: value, b: Val32::Imm(0xffff) });
        } else {
            self.lane(LaneOp::Mov32 { d, a: value });
        }
    }

    /// `f` into a temporary if the result must be cut to 16 bits, into the register itself otherwise.
    pub(super) fn into(&mut self, ty: Type, dst: RegId, f: impl FnOnce(&mut Self, R32)) -> Result {
        let d = self.d32(dst)?;
        if is_16(ty) {
            let t = self.t32();
            f(self, t);
            self.put(ty, d, Val32::Reg(t));
        } else {
            f(self, d);
        }
        Ok(())
    }

    pub(super) fn int_binary(&mut self, op: &op::IntBinary) -> Result {
        use op::IntBinaryOp as B;
        let (ty, signed) = (op.ty, op.ty.is_signed());
        if ty.is_packed() {
            let f: Fn32 = match (op.op, signed, op.relu) {
                (B::Add, ..) => integers::add_16x2,
                (B::Min, true, false) => integers::min_s16x2,
                (B::Min, true, true) => integers::min_relu_s16x2,
                (B::Min, false, _) => integers::min_u16x2,
                (B::Max, true, false) => integers::max_s16x2,
                (B::Max, true, true) => integers::max_relu_s16x2,
                (B::Max, false, _) => integers::max_u16x2,
                _ => return self.unsupported("this operation on packed integers"),
            };
            let (d, a, b) = (self.d32(op.dst)?, self.v32(&op.a, ty)?, self.v32(&op.b, ty)?);
            self.call32(f, d, &[a, b]);
            return Ok(());
        }
        if op.relu {
            let kind = match op.op {
                B::Min => IntBin::MinS,
                B::Max => IntBin::MaxS,
                _ => return self.unsupported("`.relu` here"),
            };
            if ty != Type::S32 {
                return self.unsupported("`.relu` of this width");
            }
            let (d, a, b) = (self.d32(op.dst)?, self.v32(&op.a, ty)?, self.v32(&op.b, ty)?);
            let value = self.int(kind, a, b);
            self.lane(LaneOp::Int32 { op: IntBin::MaxS, d, a: value, b: Val32::Imm(0) });
            return Ok(());
        }
        if op.sat {
            let f = match op.op {
                B::Add => integers::add_sat,
                B::Sub => integers::sub_sat,
                _ => return self.unsupported("saturation here"),
            };
            let (d, a, b) = (self.d32(op.dst)?, self.v32(&op.a, ty)?, self.v32(&op.b, ty)?);
            self.call32(f, d, &[a, b]);
            return Ok(());
        }
        let simple = match (op.op, signed) {
            (B::Add, _) => Some(IntBin::Add),
            (B::Sub, _) => Some(IntBin::Sub),
            (B::MulLo, _) => Some(IntBin::Mul),
            (B::Min, true) => Some(IntBin::MinS),
            (B::Min, false) => Some(IntBin::MinU),
            (B::Max, true) => Some(IntBin::MaxS),
            (B::Max, false) => Some(IntBin::MaxU),
            _ => None,
        };
        if ty.bits() == 64 {
            let (d, a, b) = (self.d64(op.dst)?, self.v64(&op.a, ty)?, self.v64(&op.b, ty)?);
            if let Some(kind) = simple {
                self.lane(LaneOp::Int64 { op: kind, d, a, b });
                return Ok(());
            }
            let f = match (op.op, signed) {
                (B::Div, true) => integers::div_s64,
                (B::Div, false) => integers::div_u64,
                (B::Rem, true) => integers::rem_s64,
                (B::Rem, false) => integers::rem_u64,
                (B::MulHi, true) => integers::mul_hi_s64,
                (B::MulHi, false) => integers::mul_hi_u64,
                _ => return self.unsupported("this operation on 64 bits"),
            };
            self.call64(f, d, &[a, b]);
            return Ok(());
        }
        let (a, b) = (self.int32(&op.a, ty)?, self.int32(&op.b, ty)?);
        if let Some(kind) = simple {
            return self.into(ty, op.dst, |d, r| d.lane(LaneOp::Int32 { op: kind, d: r, a, b }));
        }
        match op.op {
            B::MulWide if is_16(ty) => {
                let d = self.d32(op.dst)?;
                self.lane(LaneOp::Int32 { op: IntBin::Mul, d, a, b });
            }
            B::MulWide => {
                let d = self.d64(op.dst)?;
                self.lane(LaneOp::MulWide { signed, d, a, b });
            }
            B::MulHi if is_16(ty) => {
                let (product, d) = (self.t32(), self.d32(op.dst)?);
                self.lane(LaneOp::Int32 { op: IntBin::Mul, d: product, a, b });
                self.lane(LaneOp::Shift32 { op: Shift::RightU, d, a: Val32::Reg(product), by: 16 });
            }
            B::MulHi => {
                let d = self.d32(op.dst)?;
                let wide = self.product(signed, a, b);
                self.lane(LaneOp::High { d, a: Val64::Reg(wide) });
            }
            B::Mul24Lo => {
                let d = self.d32(op.dst)?;
                let (a, b) = (self.extend24(signed, a), self.extend24(signed, b));
                self.lane(LaneOp::Int32 { op: IntBin::Mul, d, a, b });
            }
            B::Mul24Hi => {
                let d = self.d32(op.dst)?;
                self.product24_high(signed, d, a, b);
            }
            B::Div | B::Rem => {
                let f = match (op.op, signed) {
                    (B::Div, true) => integers::div_s32,
                    (B::Div, false) => integers::div_u32,
                    (_, true) => integers::rem_s32,
                    (_, false) => integers::rem_u32,
                };
                return self.into(ty, op.dst, |d, r| d.call32(f, r, &[a, b]));
            }
            _ => return self.unsupported("this operation"),
        }
        Ok(())
    }

    fn product(&mut self, signed: bool, a: Val32, b: Val32) -> R64 {
        let wide = self.t64();
        self.lane(LaneOp::MulWide { signed, d: wide, a, b });
        wide
    }

    /// Bits 16 to 47 of the product of 24-bit numbers.
    fn product24_high(&mut self, signed: bool, d: R32, a: Val32, b: Val32) {
        let (a, b) = (self.extend24(signed, a), self.extend24(signed, b));
        let (wide, shifted) = (self.product(signed, a, b), self.t64());
        self.lane(LaneOp::Shift64 { op: Shift::RightU, d: shifted, a: Val64::Reg(wide), by: 16 });
        self.lane(LaneOp::Low { d, a: Val64::Reg(shifted) });
    }

    fn extend24(&mut self, signed: bool, value: Val32) -> Val32 {
        if signed { self.sign_extend(value, 24) } else { self.zero_extend(value, 24) }
    }

    pub(super) fn int_mad(&mut self, op: &op::IntMad) -> Result {
        let (ty, signed) = (op.ty, op.ty.is_signed());
        if op.sat || op.m24 && op.mode == MulMode::Hi {
            // High parts of 32 or 24 bits; `.sat` is for s32.
            let (d, a, b, c) =
                (self.d32(op.dst)?, self.v32(&op.a, ty)?, self.v32(&op.b, ty)?, self.v32(&op.c, ty)?);
            if op.mode != MulMode::Hi || ty.bits() != 32 {
                return self.unsupported("saturation here");
            }
            let high = self.t32();
            if op.m24 {
                self.product24_high(signed, high, a, b);
            } else {
                let wide = self.product(signed, a, b);
                self.lane(LaneOp::High { d: high, a: Val64::Reg(wide) });
            }
            if op.sat {
                self.call32(integers::add_sat, d, &[Val32::Reg(high), c]);
            } else {
                self.lane(LaneOp::Int32 { op: IntBin::Add, d, a: Val32::Reg(high), b: c });
            }
            return Ok(());
        }
        if ty.bits() == 64 {
            let (d, a, b, c) =
                (self.d64(op.dst)?, self.v64(&op.a, ty)?, self.v64(&op.b, ty)?, self.v64(&op.c, ty)?);
            let product = self.t64();
            match (op.mode, signed) {
                (MulMode::Lo, _) => self.lane(LaneOp::Int64 { op: IntBin::Mul, d: product, a, b }),
                (MulMode::Hi, true) => self.call64(integers::mul_hi_s64, product, &[a, b]),
                (MulMode::Hi, false) => self.call64(integers::mul_hi_u64, product, &[a, b]),
                (MulMode::Wide, _) => return self.invalid("no 128-bit products"),
            }
            self.lane(LaneOp::Int64 { op: IntBin::Add, d, a: Val64::Reg(product), b: c });
            return Ok(());
        }
        let (mut a, mut b) = (self.int32(&op.a, ty)?, self.int32(&op.b, ty)?);
        if op.m24 {
            (a, b) = (self.extend24(signed, a), self.extend24(signed, b));
        }
        match op.mode {
            MulMode::Wide if !is_16(ty) => {
                let (d, c) =
                    (self.d64(op.dst)?, self.v64(&op.c, if signed { Type::S64 } else { Type::U64 })?);
                let wide = self.product(signed, a, b);
                self.lane(LaneOp::Int64 { op: IntBin::Add, d, a: Val64::Reg(wide), b: c });
            }
            MulMode::Hi if !is_16(ty) => {
                let (d, c, high) = (self.d32(op.dst)?, self.v32(&op.c, ty)?, self.t32());
                let wide = self.product(signed, a, b);
                self.lane(LaneOp::High { d: high, a: Val64::Reg(wide) });
                self.lane(LaneOp::Int32 { op: IntBin::Add, d, a: Val32::Reg(high), b: c });
            }
            MulMode::Hi => {
                let c = self.v32(&op.c, ty)?;
                let (product, high) = (self.t32(), self.t32());
                self.lane(LaneOp::Int32 { op: IntBin::Mul, d: product, a, b });
                self.lane(LaneOp::Shift32 { op: Shift::RightU, d: high, a: Val32::Reg(product), by: 16 });
                self.into(ty, op.dst, |d, r| {
                    d.lane(LaneOp::Int32 { op: IntBin::Add, d: r, a: Val32::Reg(high), b: c });
                })?;
            }
            MulMode::Lo | MulMode::Wide => {
                let result = if op.mode == MulMode::Wide { Type::B32 } else { ty };
                let c = self.v32(&op.c, result)?;
                let product = self.t32();
                self.lane(LaneOp::Int32 { op: IntBin::Mul, d: product, a, b });
                self.into(result, op.dst, |d, r| {
                    d.lane(LaneOp::Int32 { op: IntBin::Add, d: r, a: Val32::Reg(product), b: c });
                })?;
            }
        }
        Ok(())
    }

    pub(super) fn int_unary(&mut self, op: &op::IntUnary) -> Result {
        use op::IntUnaryOp as U;
        let ty = op.ty;
        if ty == Type::Pred {
            let (d, a) = (self.dp(op.dst)?, self.vp(&op.a)?);
            if op.op != U::Not {
                return self.invalid("no such operation on predicates");
            }
            self.lane(LaneOp::PredMov { d, a: a.negated() });
            return Ok(());
        }
        if ty.bits() == 64 {
            let a = self.v64(&op.a, ty)?;
            match op.op {
                U::Neg | U::Abs => {
                    let (d, negative) = (self.d64(op.dst)?, self.t64());
                    self.lane(LaneOp::Int64 { op: IntBin::Sub, d: negative, a: Val64::Imm(0), b: a });
                    let kind = if op.op == U::Abs { IntBin::MaxS } else { IntBin::Or };
                    let other = if op.op == U::Abs { a } else { Val64::Imm(0) };
                    self.lane(LaneOp::Int64 { op: kind, d, a: Val64::Reg(negative), b: other });
                }
                U::Not => {
                    let d = self.d64(op.dst)?;
                    self.lane(LaneOp::Int64 { op: IntBin::Xor, d, a, b: Val64::Imm(u64::MAX) });
                }
                U::Cnot => {
                    let (d, p) = (self.d64(op.dst)?, self.tp());
                    self.lane(LaneOp::Cmp64 { cmp: IntCmp::Eq, d: p, a, b: Val64::Imm(0) });
                    self.lane(LaneOp::Select64 { d, p: ValP::Reg(p), a: Val64::Imm(1), b: Val64::Imm(0) });
                }
                U::Brev => {
                    let d = self.d64(op.dst)?;
                    self.call64(integers::brev64, d, &[a]);
                }
                U::Popc | U::Clz | U::Bfind | U::BfindShift => {
                    let f = match (op.op, ty.is_signed()) {
                        (U::Popc, _) => integers::popc64,
                        (U::Clz, _) => integers::clz64,
                        (U::Bfind, true) => integers::bfind_s64,
                        (U::Bfind, false) => integers::bfind_u64,
                        (_, true) => integers::bfind_shift_s64,
                        (_, false) => integers::bfind_shift_u64,
                    };
                    let (d, a) = (self.d32(op.dst)?, self.reg64(a));
                    self.call(LaneCall::Narrow { f, d, a });
                }
            }
            return Ok(());
        }
        let a = self.int32(&op.a, ty)?;
        match op.op {
            U::Neg => self.into(ty, op.dst, |d, r| {
                d.lane(LaneOp::Int32 { op: IntBin::Sub, d: r, a: Val32::Imm(0), b: a })
            }),
            U::Abs => {
                let negative = self.t32();
                self.lane(LaneOp::Int32 { op: IntBin::Sub, d: negative, a: Val32::Imm(0), b: a });
                self.into(ty, op.dst, |d, r| {
                    d.lane(LaneOp::Int32 { op: IntBin::MaxS, d: r, a, b: Val32::Reg(negative) })
                })
            }
            U::Not => self.into(ty, op.dst, |d, r| {
                d.lane(LaneOp::Int32 { op: IntBin::Xor, d: r, a, b: Val32::Imm(u32::MAX) })
            }),
            U::Cnot => {
                let (d, p) = (self.d32(op.dst)?, self.tp());
                self.lane(LaneOp::Cmp32 { cmp: IntCmp::Eq, d: p, a, b: Val32::Imm(0) });
                self.lane(LaneOp::Select32 { d, p: ValP::Reg(p), a: Val32::Imm(1), b: Val32::Imm(0) });
                Ok(())
            }
            U::Popc | U::Clz | U::Brev | U::Bfind | U::BfindShift => {
                let f = match (op.op, ty.is_signed()) {
                    (U::Popc, _) => integers::popc32,
                    (U::Clz, _) => integers::clz32,
                    (U::Brev, _) => integers::brev32,
                    (U::Bfind, true) => integers::bfind_s32,
                    (U::Bfind, false) => integers::bfind_u32,
                    (_, true) => integers::bfind_shift_s32,
                    (_, false) => integers::bfind_shift_u32,
                };
                let d = self.d32(op.dst)?;
                self.call32(f, d, &[a]);
                Ok(())
            }
        }
    }

    pub(super) fn shift(&mut self, op: &op::Shift) -> Result {
        let (bits, signed) = (op.ty.bits(), op.ty.is_signed());
        let kind = match (op.op, signed) {
            (op::ShiftOp::Shl, _) => Shift::Left,
            (op::ShiftOp::Shr, true) => Shift::RightS,
            (op::ShiftOp::Shr, false) => Shift::RightU,
        };
        let amount = self.v32(&op.b, Type::U32)?;
        if bits == 64 {
            let (d, a) = (self.d64(op.dst)?, self.v64(&op.a, op.ty)?);
            match amount {
                Val32::Imm(n) if n >= 64 && kind != Shift::RightS => {
                    self.lane(LaneOp::Mov64 { d, a: Val64::Imm(0) })
                }
                Val32::Imm(n) => self.lane(LaneOp::Shift64 { op: kind, d, a, by: n.min(63) as u8 }),
                Val32::Reg(b) => {
                    let f = match kind {
                        Shift::Left => integers::shl64,
                        Shift::RightU => integers::shr_u64,
                        Shift::RightS => integers::shr_s64,
                    };
                    let a = self.reg64(a);
                    self.call(LaneCall::Mixed64 { f, d, a, b });
                }
            }
            return Ok(());
        }
        let a = self.int32(&op.a, op.ty)?;
        self.into(op.ty, op.dst, |d, r| match amount {
            Val32::Imm(n) if n >= bits && kind != Shift::RightS => {
                d.lane(LaneOp::Mov32 { d: r, a: Val32::Imm(0) })
            }
            Val32::Imm(n) => d.lane(LaneOp::Shift32 { op: kind, d: r, a, by: n.min(31) as u8 }),
            Val32::Reg(_) => {
                // In 16 bits too: what is shifted beyond bit 15 is cut off, and zeros or signs come from above.
                let f = match kind {
                    Shift::Left => integers::shl32,
                    Shift::RightU => integers::shr_u32,
                    Shift::RightS => integers::shr_s32,
                };
                d.call32(f, r, &[a, amount]);
            }
        })
    }

    pub(super) fn int(&mut self, op: IntBin, a: Val32, b: Val32) -> Val32 {
        let d = self.t32();
        self.lane(LaneOp::Int32 { op, d, a, b });
        Val32::Reg(d)
    }
}
