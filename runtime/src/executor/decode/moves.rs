//! `mov`, packing, comparisons, selections and address conversions.

use tilewright_compiler::ptx::{BoolOp, CmpOp, Operand, RegClass, RegId, Space, Type, TypeKind, op};

use super::super::frame::PredId;
use super::super::lanes::halves;
use super::super::launch::ExecError;
use super::super::memory::{CONST_BASE, LOCAL_BASE, PARAM_BASE, SHARED_BASE};
use super::super::program::{FloatCmp, IntBin, IntCmp, LaneOp, PredBin, Shift, Val32, Val64, ValP};
use super::emit::{Decoder, Home};

type Result<T = ()> = std::result::Result<T, ExecError>;

pub(super) fn pred_bin(op: BoolOp) -> PredBin {
    match op {
        BoolOp::And => PredBin::And,
        BoolOp::Or => PredBin::Or,
        BoolOp::Xor => PredBin::Xor,
    }
}

fn int_cmp(cmp: CmpOp, signed: bool) -> Option<IntCmp> {
    Some(match (cmp, signed) {
        (CmpOp::Eq, _) => IntCmp::Eq,
        (CmpOp::Ne, _) => IntCmp::Ne,
        (CmpOp::Lt, true) => IntCmp::LtS,
        (CmpOp::Le, true) => IntCmp::LeS,
        (CmpOp::Gt, true) => IntCmp::GtS,
        (CmpOp::Ge, true) => IntCmp::GeS,
        (CmpOp::Lt | CmpOp::Lo, _) => IntCmp::LtU,
        (CmpOp::Le | CmpOp::Ls, _) => IntCmp::LeU,
        (CmpOp::Gt | CmpOp::Hi, _) => IntCmp::GtU,
        (CmpOp::Ge | CmpOp::Hs, _) => IntCmp::GeU,
        _ => return None,
    })
}

fn float_cmp(cmp: CmpOp) -> Option<FloatCmp> {
    Some(match cmp {
        CmpOp::Eq => FloatCmp::Eq,
        CmpOp::Ne => FloatCmp::Ne,
        CmpOp::Lt => FloatCmp::Lt,
        CmpOp::Le => FloatCmp::Le,
        CmpOp::Gt => FloatCmp::Gt,
        CmpOp::Ge => FloatCmp::Ge,
        CmpOp::Equ => FloatCmp::EqU,
        CmpOp::Neu => FloatCmp::NeU,
        CmpOp::Ltu => FloatCmp::LtU,
        CmpOp::Leu => FloatCmp::LeU,
        CmpOp::Gtu => FloatCmp::GtU,
        CmpOp::Geu => FloatCmp::GeU,
        CmpOp::Num => FloatCmp::Num,
        CmpOp::Nan => FloatCmp::Nan,
        _ => return None,
    })
}

impl Decoder<'_> {
    pub(super) fn mov(&mut self, op: &op::Mov) -> Result {
        self.copy(op.ty, op.dst, &op.src)
    }

    /// A copy of any width; the destination's register class decides.
    pub(super) fn copy(&mut self, ty: Type, dst: RegId, src: &Operand) -> Result {
        match self.home(dst) {
            Home::Pred(d) => {
                let a = self.vp(src)?;
                self.lane(LaneOp::PredMov { d, a });
            }
            Home::R32(d) => {
                let a = self.v32(src, if ty.bits() > 32 { Type::B32 } else { ty })?;
                self.lane(LaneOp::Mov32 { d, a });
            }
            Home::R64(d) => {
                let a = if ty.bits() <= 32 {
                    // A narrower literal or register into a wide register.
                    let low = self.v32(src, ty)?;
                    let wide = self.t64();
                    self.lane(LaneOp::Widen { signed: false, d: wide, a: low });
                    Val64::Reg(wide)
                } else {
                    self.v64(src, ty)?
                };
                self.lane(LaneOp::Mov64 { d, a });
            }
            Home::R128(low, high) => {
                let Operand::Reg(src) = src else { return self.unsupported("a 128-bit literal") };
                let Home::R128(a, b) = self.home(*src) else {
                    return self.invalid("a 128-bit register is expected");
                };
                self.lane(LaneOp::Mov64 { d: low, a: Val64::Reg(a) });
                self.lane(LaneOp::Mov64 { d: high, a: Val64::Reg(b) });
            }
        }
        Ok(())
    }

    pub(super) fn pack(&mut self, op: &op::Pack) -> Result {
        let part_bits = op.ty.bits() / op.srcs.len().max(1) as u32;
        match (self.home(op.dst), part_bits) {
            (Home::R32(d), 8 | 16) => {
                let ty = if part_bits == 16 { Type::B16 } else { Type::B8 };
                let mut sum = Val32::Imm(0);
                for (i, src) in op.srcs.iter().enumerate() {
                    let part = self.v32(src, ty)?;
                    let part = if part_bits == 8 { self.zero_extend(part, 8) } else { part };
                    let placed = self.shifted32(part, i as u32 * part_bits);
                    let next = self.t32();
                    self.lane(LaneOp::Int32 { op: IntBin::Or, d: next, a: sum, b: placed });
                    sum = Val32::Reg(next);
                }
                self.lane(LaneOp::Mov32 { d, a: sum });
            }
            (Home::R64(d), 32) if op.srcs.len() == 2 => {
                let (lo, hi) = (self.v32(&op.srcs[0], Type::B32)?, self.v32(&op.srcs[1], Type::B32)?);
                self.lane(LaneOp::Pack { d, lo, hi });
            }
            (Home::R64(d), 16) if op.srcs.len() == 4 => {
                let mut words = [Val32::Imm(0); 2];
                for (w, word) in words.iter_mut().enumerate() {
                    let (low, high) =
                        (self.v32(&op.srcs[2 * w], Type::B16)?, self.v32(&op.srcs[2 * w + 1], Type::B16)?);
                    let high = self.shifted32(high, 16);
                    let t = self.t32();
                    self.lane(LaneOp::Int32 { op: IntBin::Or, d: t, a: low, b: high });
                    *word = Val32::Reg(t);
                }
                self.lane(LaneOp::Pack { d, lo: words[0], hi: words[1] });
            }
            (Home::R128(low, high), 64) if op.srcs.len() == 2 => {
                let (a, b) = (self.v64(&op.srcs[0], Type::B64)?, self.v64(&op.srcs[1], Type::B64)?);
                self.lane(LaneOp::Mov64 { d: low, a });
                self.lane(LaneOp::Mov64 { d: high, a: b });
            }
            _ => return self.invalid("parts and destination do not fit together"),
        }
        Ok(())
    }

    fn shifted32(&mut self, value: Val32, by: u32) -> Val32 {
        match (value, by) {
            (_, 0) => value,
            (Val32::Imm(v), _) => Val32::Imm(v << by),
            _ => {
                let d = self.t32();
                self.lane(LaneOp::Shift32 { op: Shift::Left, d, a: value, by: by as u8 });
                Val32::Reg(d)
            }
        }
    }

    pub(super) fn unpack(&mut self, op: &op::Unpack) -> Result {
        let parts = op.dsts.len();
        let part_bits = op.ty.bits() / parts.max(1) as u32;
        let words: Vec<Val32> = match op.ty.bits() {
            16 | 32 => {
                let src = self.v32(&op.src, op.ty)?;
                // The source may be one of the destinations: work on a copy.
                let copy = self.t32();
                self.lane(LaneOp::Mov32 { d: copy, a: src });
                vec![Val32::Reg(copy)]
            }
            64 => {
                let src = self.v64(&op.src, op.ty)?;
                let (low, high) = (self.t32(), self.t32());
                self.lane(LaneOp::Low { d: low, a: src });
                self.lane(LaneOp::High { d: high, a: src });
                vec![Val32::Reg(low), Val32::Reg(high)]
            }
            128 if parts == 2 => {
                let Some(Home::R128(low, high)) = op.src.reg().map(|r| self.home(r)) else {
                    return self.invalid("a 128-bit register is expected");
                };
                for (dst, part) in op.dsts.iter().zip([low, high]) {
                    if let Some(reg) = dst.reg() {
                        let d = self.d64(reg)?;
                        self.lane(LaneOp::Mov64 { d, a: Val64::Reg(part) });
                    }
                }
                return Ok(());
            }
            _ => return self.unsupported("this width cannot be taken apart"),
        };
        for (i, dst) in op.dsts.iter().enumerate() {
            let Some(d) = self.dst32(*dst)? else { continue };
            let bit = i as u32 * part_bits;
            let Some(&word) = words.get(bit as usize / 32) else { return self.invalid("too many parts") };
            let within = bit % 32;
            match part_bits {
                32 => self.lane(LaneOp::Mov32 { d, a: word }),
                8 | 16 => {
                    let shifted = if within == 0 {
                        word
                    } else {
                        let t = self.t32();
                        self.lane(LaneOp::Shift32 { op: Shift::RightU, d: t, a: word, by: within as u8 });
                        Val32::Reg(t)
                    };
                    self.lane(LaneOp::Int32 {
                        op: IntBin::And,
                        d,
                        a: shifted,
                        b: Val32::Imm((1 << part_bits) - 1),
                    });
                }
                _ => return self.unsupported("parts of this width"),
            }
        }
        Ok(())
    }

    /// Generic addresses of the small windows are their offsets plus a base; global addresses are generic as they are.
    pub(super) fn cvta(&mut self, op: &op::Cvta) -> Result {
        let base = match op.space {
            Space::Shared | Space::SharedCluster => SHARED_BASE,
            Space::Local => LOCAL_BASE,
            Space::Param => PARAM_BASE,
            Space::Const => CONST_BASE,
            Space::Global | Space::Generic => 0,
        };
        if op.ty.bits() != 64 {
            return self.unsupported("addresses have 64 bits");
        }
        let (d, a) = (self.d64(op.dst)?, self.v64(&op.src, op.ty)?);
        let kind = if op.to { IntBin::Sub } else { IntBin::Add };
        match base {
            0 => self.lane(LaneOp::Mov64 { d, a }),
            base => self.lane(LaneOp::Int64 { op: kind, d, a, b: Val64::Imm(base) }),
        }
        Ok(())
    }

    /// Compares into a temporary predicate.
    fn compare(&mut self, cmp: CmpOp, ty: Type, ftz: bool, a: &Operand, b: &Operand) -> Result<PredId> {
        let p = self.tp();
        match (ty.kind(), ty.bits()) {
            (TypeKind::Float, 32) if ty == Type::F32 => {
                let Some(cmp) = float_cmp(cmp) else { return self.invalid("no such comparison of floats") };
                let (mut a, mut b) = (self.v32(a, ty)?, self.v32(b, ty)?);
                if ftz {
                    (a, b) = (self.flush(a), self.flush(b));
                }
                self.lane(LaneOp::CmpF32 { cmp, d: p, a, b });
            }
            (TypeKind::Float, 16) => {
                let Some(cmp) = float_cmp(cmp) else { return self.invalid("no such comparison of floats") };
                self.compare_halves(cmp, ty, (ftz, false), p, (a, b))?;
            }
            (TypeKind::Float, 64) => {
                let Some(cmp) = float_cmp(cmp) else { return self.invalid("no such comparison of floats") };
                let (a, b) = (self.v64(a, ty)?, self.v64(b, ty)?);
                self.lane(LaneOp::CmpF64 { cmp, d: p, a, b });
            }
            (TypeKind::Float | TypeKind::Pred, _) => return self.unsupported("comparisons of this type"),
            (kind, 64) => {
                let Some(cmp) = int_cmp(cmp, kind == TypeKind::Signed) else {
                    return self.invalid("no such comparison of integers");
                };
                let (a, b) = (self.v64(a, ty)?, self.v64(b, ty)?);
                self.lane(LaneOp::Cmp64 { cmp, d: p, a, b });
            }
            (kind, bits) => {
                let Some(cmp) = int_cmp(cmp, kind == TypeKind::Signed) else {
                    return self.invalid("no such comparison of integers");
                };
                let (mut a, mut b) = (self.v32(a, ty)?, self.v32(b, ty)?);
                if bits < 32 && kind == TypeKind::Signed {
                    (a, b) = (self.sign_extend(a, bits as u8), self.sign_extend(b, bits as u8));
                }
                self.lane(LaneOp::Cmp32 { cmp, d: p, a, b });
            }
        }
        Ok(p)
    }

    /// Compares halves, or the `upper` ones of pairs, into `p`.
    fn compare_halves(
        &mut self,
        cmp: FloatCmp,
        ty: Type,
        (ftz, upper): (bool, bool),
        p: PredId,
        (a, b): (&Operand, &Operand),
    ) -> Result {
        let widen = match (matches!(ty, Type::Bf16 | Type::Bf16x2), upper) {
            (true, false) => halves::bf16_to_f32,
            (true, true) => halves::upper_bf16_to_f32,
            (false, false) => halves::f16_to_f32,
            (false, true) => halves::upper_f16_to_f32,
        };
        let mut wide = [Val32::Imm(0); 2];
        for (wide, operand) in wide.iter_mut().zip([a, b]) {
            let mut value = self.v32(operand, ty)?;
            if ftz {
                let t = self.t32();
                self.call32(self.flush_half(ty), t, &[value]);
                value = Val32::Reg(t);
            }
            let t = self.t32();
            self.call32(widen, t, &[value]);
            *wide = Val32::Reg(t);
        }
        self.lane(LaneOp::CmpF32 { cmp, d: p, a: wide[0], b: wide[1] });
        Ok(())
    }

    /// Compares both halves of pairs: lower, upper.
    fn compare_pairs(
        &mut self,
        cmp: CmpOp,
        ty: Type,
        ftz: bool,
        a: &Operand,
        b: &Operand,
    ) -> Result<[PredId; 2]> {
        let Some(cmp) = float_cmp(cmp) else { return self.invalid("no such comparison of floats") };
        let both = [self.tp(), self.tp()];
        self.compare_halves(cmp, ty, (ftz, false), both[0], (a, b))?;
        self.compare_halves(cmp, ty, (ftz, true), both[1], (a, b))?;
        Ok(both)
    }

    fn combined(&mut self, value: ValP, third: Option<(BoolOp, ValP)>) -> ValP {
        let Some((how, c)) = third else { return value };
        let t = self.tp();
        self.lane(LaneOp::Pred { op: pred_bin(how), d: t, a: value, b: c });
        ValP::Reg(t)
    }

    pub(super) fn setp(&mut self, op: &op::Setp) -> Result {
        if op.ty.is_packed() {
            let both = self.compare_pairs(op.cmp, op.ty, op.ftz, &op.a, &op.b)?;
            let third =
                op.combine.map(|(how, c)| Ok::<_, ExecError>((how, self.pred_use(c)?))).transpose()?;
            let values = both.map(|p| self.combined(ValP::Reg(p), third));
            let second = op.dst2.map(|d| self.dst_pred(d)).transpose()?.flatten();
            for (d, a) in [self.dst_pred(op.dst)?, second].into_iter().zip(values) {
                if let Some(d) = d {
                    self.lane(LaneOp::PredMov { d, a });
                }
            }
            return Ok(());
        }
        let p = self.compare(op.cmp, op.ty, op.ftz, &op.a, &op.b)?;
        let third = op.combine.map(|(how, c)| Ok::<_, ExecError>((how, self.pred_use(c)?))).transpose()?;
        let (d, d2) = (self.dst_pred(op.dst)?, op.dst2.map(|d| self.dst_pred(d)).transpose()?.flatten());
        // The third predicate may be a destination too: both results first, then both writes.
        let mut results = Vec::new();
        for (dst, value) in [(d, ValP::Reg(p)), (d2, ValP::Not(p))] {
            let Some(dst) = dst else { continue };
            let value = match third {
                Some((how, c)) => {
                    let t = self.tp();
                    self.lane(LaneOp::Pred { op: pred_bin(how), d: t, a: value, b: c });
                    ValP::Reg(t)
                }
                None => value,
            };
            results.push((dst, value));
        }
        for (d, a) in results {
            self.lane(LaneOp::PredMov { d, a });
        }
        Ok(())
    }

    pub(super) fn set(&mut self, op: &op::Set) -> Result {
        let truth: u32 = match op.dty {
            Type::F32 => 1f32.to_bits(),
            Type::F16 | Type::F16x2 => 0x3c00,
            Type::Bf16 | Type::Bf16x2 => 0x3f80,
            Type::U16 | Type::S16 => 0xffff,
            Type::U32 | Type::S32 => u32::MAX,
            _ => return self.unsupported("`set` with these types"),
        };
        let third = op.combine.map(|(how, c)| Ok::<_, ExecError>((how, self.pred_use(c)?))).transpose()?;
        let d = self.d32(op.dst)?;
        if op.sty.is_packed() {
            if op.dty != op.sty {
                return self.unsupported("`set` with these types");
            }
            let both = self.compare_pairs(op.cmp, op.sty, op.ftz, &op.a, &op.b)?;
            let mut parts = [Val32::Imm(0); 2];
            for ((part, p), value) in parts.iter_mut().zip(both).zip([truth, truth << 16]) {
                let (p, t) = (self.combined(ValP::Reg(p), third), self.t32());
                self.lane(LaneOp::Select32 { d: t, p, a: Val32::Imm(value), b: Val32::Imm(0) });
                *part = Val32::Reg(t);
            }
            self.lane(LaneOp::Int32 { op: IntBin::Or, d, a: parts[0], b: parts[1] });
            return Ok(());
        }
        let p = self.compare(op.cmp, op.sty, op.ftz, &op.a, &op.b)?;
        let p = self.combined(ValP::Reg(p), third);
        self.lane(LaneOp::Select32 { d, p, a: Val32::Imm(truth), b: Val32::Imm(0) });
        Ok(())
    }

    pub(super) fn selp(&mut self, op: &op::Selp) -> Result {
        let p = self.pred_use(op.p)?;
        self.select(op.ty, op.dst, p, &op.a, &op.b)
    }

    fn select(&mut self, ty: Type, dst: RegId, p: ValP, a: &Operand, b: &Operand) -> Result {
        match ty.class() {
            RegClass::B16 | RegClass::B32 => {
                let (d, a, b) = (self.d32(dst)?, self.v32(a, ty)?, self.v32(b, ty)?);
                self.lane(LaneOp::Select32 { d, p, a, b });
            }
            RegClass::B64 => {
                let (d, a, b) = (self.d64(dst)?, self.v64(a, ty)?, self.v64(b, ty)?);
                self.lane(LaneOp::Select64 { d, p, a, b });
            }
            _ => return self.unsupported("a selection of this width"),
        }
        Ok(())
    }

    pub(super) fn slct(&mut self, op: &op::Slct) -> Result {
        let (p, mut c) = (self.tp(), self.v32(&op.c, op.cty)?);
        if op.cty == Type::F32 {
            if op.ftz {
                c = self.flush(c);
            }
            self.lane(LaneOp::CmpF32 { cmp: FloatCmp::Ge, d: p, a: c, b: Val32::Imm(0) });
        } else {
            self.lane(LaneOp::Cmp32 { cmp: IntCmp::GeS, d: p, a: c, b: Val32::Imm(0) });
        }
        self.select(op.dty, op.dst, ValP::Reg(p), &op.a, &op.b)
    }

    /// Flushes a subnormal f32.
    pub(super) fn flush(&mut self, a: Val32) -> Val32 {
        let d = self.t32();
        self.lane(LaneOp::Flush32 { d, a });
        Val32::Reg(d)
    }
}
