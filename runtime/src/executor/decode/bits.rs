//! Bytes, funnel shifts and bit fields. Where positions are known, and they nearly always are, these are a few lane operations; else calls.

use tilewright_compiler::ptx::{Operand, RegId, Type, op};

use super::super::lanes::integers;
use super::super::launch::ExecError;
use super::super::program::{Fn32, IntBin, LaneOp, Shift, Val32, Val64};
use super::emit::Decoder;

type Result<T = ()> = std::result::Result<T, ExecError>;

impl Decoder<'_> {
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
