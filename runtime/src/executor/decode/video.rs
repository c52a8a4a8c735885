//! Video instructions, written out as what they are: parts taken, sums in 64 bits (one value) or 32 (values side by side), clamps, merges.

use tilewright_compiler::ptx::{CmpOp, Type, op};

use super::super::frame::R32;
use super::super::lanes::integers;
use super::super::launch::ExecError;
use super::super::program::{IntBin, IntCmp, LaneCall, LaneOp, Shift, Val32, Val64, ValP};
use super::emit::Decoder;
use op::{Part, VideoOp, VideoSecond};

type Result<T = ()> = std::result::Result<T, ExecError>;

/// The least and the greatest number of `bits`.
fn range(signed: bool, bits: u32) -> (i64, i64) {
    if signed { (-1 << (bits - 1), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
}

fn comparison(cmp: Option<CmpOp>) -> IntCmp {
    match cmp {
        Some(CmpOp::Eq) => IntCmp::Eq,
        Some(CmpOp::Ne) => IntCmp::Ne,
        Some(CmpOp::Lt) => IntCmp::LtS,
        Some(CmpOp::Le) => IntCmp::LeS,
        Some(CmpOp::Gt) => IntCmp::GtS,
        _ => IntCmp::GeS,
    }
}

impl Decoder<'_> {
    pub(super) fn video(&mut self, op: &op::Video) -> Result {
        if op.lanes == 1 { self.video_one(op) } else { self.video_many(op) }
    }

    fn shifted(&mut self, kind: Shift, a: Val32, by: u32) -> Val32 {
        if by == 0 {
            return a;
        }
        let d = self.t32();
        self.lane(LaneOp::Shift32 { op: kind, d, a, by: by as u8 });
        Val32::Reg(d)
    }

    /// `bits` of `value` from bit `at`, extended to 32.
    fn field(&mut self, value: Val32, signed: bool, at: u32, bits: u32) -> Val32 {
        let up = self.shifted(Shift::Left, value, 32 - bits - at);
        self.shifted(if signed { Shift::RightS } else { Shift::RightU }, up, 32 - bits)
    }

    fn int64(&mut self, op: IntBin, a: Val64, b: Val64) -> Val64 {
        let d = self.t64();
        self.lane(LaneOp::Int64 { op, d, a, b });
        Val64::Reg(d)
    }

    /// The part of a source, extended to 64 bits.
    fn video_operand(&mut self, source: &op::VideoSource, ty: Type) -> Result<Val64> {
        let (value, signed) = (self.v32(&source.value, Type::B32)?, ty.is_signed());
        let part = match source.part {
            Part::Half(n) => self.field(value, signed, 16 * u32::from(n), 16),
            Part::Byte(n) => self.field(value, signed, 8 * u32::from(n), 8),
            _ => value,
        };
        let d = self.t64();
        self.lane(LaneOp::Widen { signed, d, a: part });
        Ok(Val64::Reg(d))
    }

    fn video_one(&mut self, op: &op::Video) -> Result {
        if op.op == VideoOp::Mad {
            return self.video_mad(op);
        }
        let (a, b) = (self.video_operand(&op.a, op.aty)?, self.video_operand(&op.b, op.bty)?);
        let mut result = match op.op {
            VideoOp::Add => self.int64(IntBin::Add, a, b),
            VideoOp::Sub => self.int64(IntBin::Sub, a, b),
            VideoOp::Min => self.int64(IntBin::MinS, a, b),
            VideoOp::Max => self.int64(IntBin::MaxS, a, b),
            VideoOp::AbsDiff => {
                let (most, least) = (self.int64(IntBin::MaxS, a, b), self.int64(IntBin::MinS, a, b));
                self.int64(IntBin::Sub, most, least)
            }
            VideoOp::Set => {
                let (p, d) = (self.tp(), self.t64());
                self.lane(LaneOp::Cmp64 { cmp: comparison(op.cmp), d: p, a, b });
                self.lane(LaneOp::Select64 { d, p: ValP::Reg(p), a: Val64::Imm(1), b: Val64::Imm(0) });
                Val64::Reg(d)
            }
            _ => {
                let amount = match op.wrap {
                    true => self.int64(IntBin::And, b, Val64::Imm(31)),
                    false => self.int64(IntBin::MinU, b, Val64::Imm(32)),
                };
                let (low, d, a) = (self.t32(), self.t64(), self.reg64(a));
                self.lane(LaneOp::Low { d: low, a: amount });
                let f = if op.op == VideoOp::Shl { integers::shl64 } else { integers::shr_s64 };
                self.call(LaneCall::Mixed64 { f, d, a, b: low });
                Val64::Reg(d)
            }
        };
        if op.sat {
            let bits = match op.part {
                Part::Half(_) => 16,
                Part::Byte(_) => 8,
                _ => 32,
            };
            let (least, most) = range(op.ty.is_signed(), bits);
            if op.op == VideoOp::Shl && !op.aty.is_signed() {
                // All 64 bits may be in use; nothing is negative.
                result = self.int64(IntBin::MinU, result, Val64::Imm(most as u64));
            } else {
                result = self.int64(IntBin::MaxS, result, Val64::Imm(least as u64));
                result = self.int64(IntBin::MinS, result, Val64::Imm(most as u64));
            }
        }
        let (d, low) = (self.d32(op.dst)?, self.t32());
        self.lane(LaneOp::Low { d: low, a: result });
        let low = Val32::Reg(low);
        let c = match &op.c {
            Some(c) => self.v32(&c.value, Type::B32)?,
            None => Val32::Imm(0),
        };
        let signed = op.ty.is_signed();
        match (op.second, op.part) {
            (Some(second), _) => {
                let kind = match (second, signed) {
                    (VideoSecond::Add, _) => IntBin::Add,
                    (VideoSecond::Min, true) => IntBin::MinS,
                    (VideoSecond::Min, false) => IntBin::MinU,
                    (VideoSecond::Max, true) => IntBin::MaxS,
                    (VideoSecond::Max, false) => IntBin::MaxU,
                };
                self.lane(LaneOp::Int32 { op: kind, d, a: low, b: c });
            }
            (None, Part::Half(n)) => self.merged(d, low, c, 16 * u32::from(n), 16),
            (None, Part::Byte(n)) => self.merged(d, low, c, 8 * u32::from(n), 8),
            (None, _) => self.lane(LaneOp::Mov32 { d, a: low }),
        }
        Ok(())
    }

    /// `c` with `bits` from bit `at` replaced by `value`.
    fn merged(&mut self, d: R32, value: Val32, c: Val32, at: u32, bits: u32) {
        let mask = ((1 << bits) - 1) << at;
        let moved = self.shifted(Shift::Left, value, at);
        let new = self.int(IntBin::And, moved, Val32::Imm(mask));
        let old = self.int(IntBin::And, c, Val32::Imm(!mask));
        self.lane(LaneOp::Int32 { op: IntBin::Or, d, a: new, b: old });
    }

    /// `vmad`: the sum may have more than 64 bits, so a function does it.
    fn video_mad(&mut self, op: &op::Video) -> Result {
        let (a, b) = (self.video_operand(&op.a, op.aty)?, self.video_operand(&op.b, op.bty)?);
        let Some(third) = op.c else { return self.invalid("three operands are expected") };
        let negated = op.a.negated != op.b.negated;
        let signed = op.aty.is_signed() || op.bty.is_signed() || negated || third.negated;
        let how = integers::VideoMad {
            one: op.plus_one || negated || third.negated,
            product: negated,
            addend: third.negated && !negated && !op.plus_one,
            signed,
            sat: op.sat,
            scale: op.scale,
        };
        let c = self.v32(&third.value, Type::B32)?;
        let wide = self.t64();
        self.lane(LaneOp::Widen { signed: false, d: wide, a: c });
        let c = self.int64(IntBin::Or, Val64::Reg(wide), Val64::Imm(how.code() << 32));
        let (d, sum) = (self.d32(op.dst)?, self.t64());
        self.call64(integers::vmad, sum, &[a, b, c]);
        self.lane(LaneOp::Low { d, a: Val64::Reg(sum) });
        Ok(())
    }

    fn video_many(&mut self, op: &op::Video) -> Result {
        let lanes = u32::from(op.lanes);
        let bits = 32 / lanes;
        let (d, a, b) =
            (self.d32(op.dst)?, self.v32(&op.a.value, Type::B32)?, self.v32(&op.b.value, Type::B32)?);
        let Some(third) = op.c else { return self.invalid("three operands are expected") };
        let c = self.v32(&third.value, Type::B32)?;
        let (Part::Picks(left), Part::Picks(right), Part::Mask(mask)) = (op.a.part, op.b.part, op.part)
        else {
            return self.invalid("these parts are not for values side by side");
        };
        let add = op.second == Some(VideoSecond::Add);
        let keep =
            (0..lanes).filter(|&n| mask >> n & 1 == 0).map(|n| (u32::MAX >> (32 - bits)) << (n * bits));
        let kept: u32 = keep.fold(0, |all, one| all | one);
        let mut sum = if add { c } else { self.int(IntBin::And, c, Val32::Imm(kept)) };
        for n in (0..lanes).filter(|&n| mask >> n & 1 == 1) {
            let mut pick = |pick: u8, ty: Type| {
                let from = if u32::from(pick) < lanes { a } else { b };
                self.field(from, ty.is_signed(), u32::from(pick) % lanes * bits, bits)
            };
            let (x, y) = (pick(left[n as usize], op.aty), pick(right[n as usize], op.bty));
            let mut t = match op.op {
                VideoOp::Add => self.int(IntBin::Add, x, y),
                VideoOp::Sub => self.int(IntBin::Sub, x, y),
                VideoOp::Min => self.int(IntBin::MinS, x, y),
                VideoOp::Max => self.int(IntBin::MaxS, x, y),
                VideoOp::AbsDiff => {
                    let (most, least) = (self.int(IntBin::MaxS, x, y), self.int(IntBin::MinS, x, y));
                    self.int(IntBin::Sub, most, least)
                }
                VideoOp::Average => {
                    // Halves are rounded away from zero.
                    let sum = self.int(IntBin::Add, x, y);
                    let sign = self.shifted(Shift::RightS, sum, 31);
                    let one = self.int(IntBin::Add, sign, Val32::Imm(1));
                    let sum = self.int(IntBin::Add, sum, one);
                    self.shifted(Shift::RightS, sum, 1)
                }
                _ => {
                    let (p, d) = (self.tp(), self.t32());
                    self.lane(LaneOp::Cmp32 { cmp: comparison(op.cmp), d: p, a: x, b: y });
                    self.lane(LaneOp::Select32 { d, p: ValP::Reg(p), a: Val32::Imm(1), b: Val32::Imm(0) });
                    Val32::Reg(d)
                }
            };
            if op.sat {
                let (least, most) = range(op.ty.is_signed(), bits);
                t = self.int(IntBin::MaxS, t, Val32::Imm(least as u32));
                t = self.int(IntBin::MinS, t, Val32::Imm(most as u32));
            }
            sum = if add {
                self.int(IntBin::Add, sum, t)
            } else {
                let low = self.int(IntBin::And, t, Val32::Imm(u32::MAX >> (32 - bits)));
                let there = self.shifted(Shift::Left, low, n * bits);
                self.int(IntBin::Or, sum, there)
            };
        }
        self.lane(LaneOp::Mov32 { d, a: sum });
        Ok(())
    }
}
