//! Integer arithmetic, logic, shifts and bit fields.
//!
//! 16-bit operations are done in 32 bits: operands are extended by their sign rule, the result is cut to 16 bits.

use tilewright_compiler::ptx::{BoolOp, MulMode, Operand, RegId, Type, op};

use super::super::frame::{R32, R64};
use super::super::lanes::integers;
use super::super::launch::ExecError;
use super::super::program::{Fn32, IntBin, IntCmp, LaneCall, LaneOp, Shift, Val32, Val64, ValP};
use super::emit::Decoder;
use super::moves::pred_bin;

type Result<T = ()> = std::result::Result<T, ExecError>;

/// Operations that `table2` takes, by truth table.
const TABLE_COST: [u8; 16] = [0, 2, 2, 1, 2, 1, 1, 2, 1, 2, 0, 2, 0, 2, 1, 0];

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

    pub(super) fn logic(&mut self, op: &op::Logic) -> Result {
        if op.ty == Type::Pred {
            let (d, a, b) = (self.dp(op.dst)?, self.vp(&op.a)?, self.vp(&op.b)?);
            self.lane(LaneOp::Pred { op: pred_bin(op.op), d, a, b });
            return Ok(());
        }
        let kind = match op.op {
            BoolOp::And => IntBin::And,
            BoolOp::Or => IntBin::Or,
            BoolOp::Xor => IntBin::Xor,
        };
        if op.ty.bits() == 64 {
            let (d, a, b) = (self.d64(op.dst)?, self.v64(&op.a, op.ty)?, self.v64(&op.b, op.ty)?);
            self.lane(LaneOp::Int64 { op: kind, d, a, b });
        } else {
            let (d, a, b) = (self.d32(op.dst)?, self.v32(&op.a, op.ty)?, self.v32(&op.b, op.ty)?);
            self.lane(LaneOp::Int32 { op: kind, d, a, b });
        }
        Ok(())
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

    pub(super) fn lop3(&mut self, op: &op::Lop3) -> Result {
        let (a, b, c) =
            (self.v32(&op.a, Type::B32)?, self.v32(&op.b, Type::B32)?, self.v32(&op.c, Type::B32)?);
        let result = self.table3(op.lut, [a, b, c]);
        let d = self.dst32(op.dst)?;
        if let Some((how, p, q)) = op.pred {
            let (p, q, nonzero) = (self.dp(p)?, self.pred_use(q)?, self.tp());
            self.lane(LaneOp::Cmp32 { cmp: IntCmp::Ne, d: nonzero, a: result, b: Val32::Imm(0) });
            self.lane(LaneOp::Pred { op: pred_bin(how), d: p, a: ValP::Reg(nonzero), b: q });
        }
        if let Some(d) = d {
            self.lane(LaneOp::Mov32 { d, a: result });
        }
        Ok(())
    }

    /// The function of three bits whose truth table is `lut` (index 4·a + 2·b + c): that of two bits where the third one is set, and where it
    /// is not, put together in the cheapest way. The third one is whichever makes that cheapest.
    fn table3(&mut self, lut: u8, operands: [Val32; 3]) -> Val32 {
        // The truth tables of the other two operands, with operand `which` set and not.
        let halves = |which: usize| {
            let mut tables = [0u8; 2];
            let mut seen = [0; 2];
            for index in 0..8u8 {
                let side = usize::from(index >> (2 - which) & 1);
                tables[side] |= (lut >> index & 1) << seen[side];
                seen[side] += 1;
            }
            tables
        };
        let cost = |which: usize| {
            let [low, high] = halves(which);
            let (two, three) = (TABLE_COST[usize::from(low)], TABLE_COST[usize::from(high)]);
            match (low, high) {
                _ if low == high => two,
                _ if low == !high & 15 => two + 1,
                (0, _) | (_, 15) => 1 + two + three,
                (_, 0) | (15, _) => 2 + two + three,
                _ => 3 + two + three,
            }
        };
        let which = (0..3).min_by_key(|&which| cost(which)).unwrap_or(0);
        let [low, high] = halves(which);
        let p = operands[which];
        let [q, r] = [[1, 2], [0, 2], [0, 1]][which].map(|number: usize| operands[number]);
        let f = self.table2(low, q, r);
        if low == high {
            return f;
        }
        if low == !high & 15 {
            return self.int(IntBin::Xor, p, f);
        }
        let g = self.table2(high, q, r);
        match (low, high) {
            (0, _) => self.int(IntBin::And, p, g),
            (_, 15) => self.int(IntBin::Or, p, f),
            (_, 0) => {
                let not = self.int(IntBin::Xor, p, Val32::Imm(u32::MAX));
                self.int(IntBin::And, not, f)
            }
            (15, _) => {
                let not = self.int(IntBin::Xor, p, Val32::Imm(u32::MAX));
                self.int(IntBin::Or, not, g)
            }
            _ => {
                let difference = self.int(IntBin::Xor, f, g);
                let chosen = self.int(IntBin::And, difference, p);
                self.int(IntBin::Xor, chosen, f)
            }
        }
    }

    pub(super) fn int(&mut self, op: IntBin, a: Val32, b: Val32) -> Val32 {
        let d = self.t32();
        self.lane(LaneOp::Int32 { op, d, a, b });
        Val32::Reg(d)
    }

    /// The function of two bits whose truth table is the low four bits of `table` (index 2·b + c).
    fn table2(&mut self, table: u8, b: Val32, c: Val32) -> Val32 {
        let ones = Val32::Imm(u32::MAX);
        let inverted = |d: &mut Self, value: Val32| d.int(IntBin::Xor, value, ones);
        match table & 15 {
            0b0000 => Val32::Imm(0),
            0b1111 => ones,
            0b1100 => b,
            0b1010 => c,
            0b0011 => inverted(self, b),
            0b0101 => inverted(self, c),
            0b1000 => self.int(IntBin::And, b, c),
            0b1110 => self.int(IntBin::Or, b, c),
            0b0110 => self.int(IntBin::Xor, b, c),
            0b0111 => {
                let both = self.int(IntBin::And, b, c);
                inverted(self, both)
            }
            0b0001 => {
                let any = self.int(IntBin::Or, b, c);
                inverted(self, any)
            }
            0b1001 => {
                let differ = self.int(IntBin::Xor, b, c);
                inverted(self, differ)
            }
            0b0100 => {
                let not_c = inverted(self, c);
                self.int(IntBin::And, b, not_c)
            }
            0b0010 => {
                let not_b = inverted(self, b);
                self.int(IntBin::And, not_b, c)
            }
            0b1101 => {
                let not_c = inverted(self, c);
                self.int(IntBin::Or, b, not_c)
            }
            _ => {
                let not_b = inverted(self, b);
                self.int(IntBin::Or, not_b, c)
            }
        }
    }

    pub(super) fn prmt(&mut self, op: &op::Prmt) -> Result {
        use op::PrmtMode as M;
        // The usual case: known bytes, no signs.
        if let (M::Default, Val32::Imm(select)) = (op.mode, self.v32(&op.c, Type::B32)?)
            && select & 0x8888 == 0
        {
            let (d, a, b) = (self.d32(op.dst)?, self.v32(&op.a, Type::B32)?, self.v32(&op.b, Type::B32)?);
            let pick = [0, 4, 8, 12].map(|at| (select >> at & 7) as u8);
            self.lane(LaneOp::Bytes { d, a, b, pick });
            return Ok(());
        }
        let f = match op.mode {
            M::Default => integers::prmt,
            M::F4e => integers::prmt_f4e,
            M::B4e => integers::prmt_b4e,
            M::Rc8 => integers::prmt_rc8,
            M::Ecl => integers::prmt_ecl,
            M::Ecr => integers::prmt_ecr,
            M::Rc16 => integers::prmt_rc16,
        };
        self.three32(f, op.dst, &op.a, &op.b, &op.c)
    }

    pub(super) fn funnel(&mut self, op: &op::Funnel) -> Result {
        use op::{FunnelDir as D, FunnelMode as M};
        if let Val32::Imm(by) = self.v32(&op.c, Type::U32)? {
            let by = if op.mode == M::Wrap { by & 31 } else { by.min(32) };
            let (d, low, high) =
                (self.d32(op.dst)?, self.v32(&op.a, Type::B32)?, self.v32(&op.b, Type::B32)?);
            // Left by n is right by 32 - n.
            let right = if op.dir == D::Left { 32 - by } else { by };
            if right % 32 == 0 {
                self.lane(LaneOp::Mov32 { d, a: if right == 0 { low } else { high } });
                return Ok(());
            }
            let (below, above) = (self.t32(), self.t32());
            self.lane(LaneOp::Shift32 { op: Shift::RightU, d: below, a: low, by: right as u8 });
            self.lane(LaneOp::Shift32 { op: Shift::Left, d: above, a: high, by: 32 - right as u8 });
            self.lane(LaneOp::Int32 { op: IntBin::Or, d, a: Val32::Reg(below), b: Val32::Reg(above) });
            return Ok(());
        }
        let f = match (op.dir, op.mode) {
            (D::Left, M::Clamp) => integers::shf_l_clamp,
            (D::Left, M::Wrap) => integers::shf_l_wrap,
            (D::Right, M::Clamp) => integers::shf_r_clamp,
            (D::Right, M::Wrap) => integers::shf_r_wrap,
        };
        self.three32(f, op.dst, &op.a, &op.b, &op.c)
    }

    fn three32(&mut self, f: Fn32, dst: RegId, a: &Operand, b: &Operand, c: &Operand) -> Result {
        let (d, ty) = (self.d32(dst)?, Type::B32);
        let operands = [self.v32(a, ty)?, self.v32(b, ty)?, self.v32(c, ty)?];
        self.call32(f, d, &operands);
        Ok(())
    }

    pub(super) fn bit_extract(&mut self, op: &op::BitExtract) -> Result {
        let (pos, len) = (self.v32(&op.pos, Type::U32)?, self.v32(&op.len, Type::U32)?);
        if op.ty.bits() == 64 {
            let (d, a) = (self.d64(op.dst)?, self.v64(&op.a, op.ty)?);
            let f = if op.ty.is_signed() { integers::bfe_s64 } else { integers::bfe_u64 };
            let (pos, len) = (self.widened(pos), self.widened(len));
            self.call64(f, d, &[a, pos, len]);
            return Ok(());
        }
        let (d, a) = (self.d32(op.dst)?, self.v32(&op.a, op.ty)?);
        if let (Val32::Imm(pos), Val32::Imm(len)) = (pos, len)
            && len > 0
            && pos.saturating_add(len) <= 32
        {
            // The usual case, a field inside the word, is two shifts.
            let up = 32 - (pos + len);
            let t = self.t32();
            self.lane(LaneOp::Shift32 { op: Shift::Left, d: t, a, by: up as u8 });
            let kind = if op.ty.is_signed() { Shift::RightS } else { Shift::RightU };
            self.lane(LaneOp::Shift32 { op: kind, d, a: Val32::Reg(t), by: (up + pos) as u8 });
            return Ok(());
        }
        let f = if op.ty.is_signed() { integers::bfe_s32 } else { integers::bfe_u32 };
        self.call32(f, d, &[a, pos, len]);
        Ok(())
    }

    fn widened(&mut self, value: Val32) -> Val64 {
        match value {
            Val32::Imm(v) => Val64::Imm(v.into()),
            value => {
                let d = self.t64();
                self.lane(LaneOp::Widen { signed: false, d, a: value });
                Val64::Reg(d)
            }
        }
    }

    pub(super) fn bit_insert(&mut self, op: &op::BitInsert) -> Result {
        let (pos, len) = (self.v32(&op.pos, Type::U32)?, self.v32(&op.len, Type::U32)?);
        // Four operands: position and length travel in one word.
        let (pos, len) = (self.zero_extend(pos, 8), self.zero_extend(len, 8));
        if let (Val32::Imm(at @ 0..32), Val32::Imm(len @ 1..), 32) = (pos, len, op.ty.bits()) {
            let ones = (((1u64 << len.min(32)) - 1) << at) as u32;
            let (d, a, b) = (self.d32(op.dst)?, self.v32(&op.a, op.ty)?, self.v32(&op.b, op.ty)?);
            let moved = self.t32();
            self.lane(LaneOp::Shift32 { op: Shift::Left, d: moved, a, by: at as u8 });
            let field = self.int(IntBin::And, Val32::Reg(moved), Val32::Imm(ones));
            let rest = self.int(IntBin::And, b, Val32::Imm(!ones));
            self.lane(LaneOp::Int32 { op: IntBin::Or, d, a: field, b: rest });
            return Ok(());
        }
        let field = match (pos, len) {
            (Val32::Imm(pos), Val32::Imm(len)) => Val32::Imm(pos | len << 8),
            _ => {
                let shifted = self.t32();
                self.lane(LaneOp::Shift32 { op: Shift::Left, d: shifted, a: len, by: 8 });
                self.int(IntBin::Or, pos, Val32::Reg(shifted))
            }
        };
        if op.ty.bits() == 64 {
            let (d, a, b) = (self.d64(op.dst)?, self.v64(&op.a, op.ty)?, self.v64(&op.b, op.ty)?);
            let field = self.widened(field);
            self.call64(integers::bfi64, d, &[a, b, field]);
        } else {
            let (d, a, b) = (self.d32(op.dst)?, self.v32(&op.a, op.ty)?, self.v32(&op.b, op.ty)?);
            self.call32(integers::bfi32, d, &[a, b, field]);
        }
        Ok(())
    }
}
