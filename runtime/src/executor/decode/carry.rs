//! Additions and subtractions with carry: `add.cc`, `addc`, `subc`, `madc.hi.cc` and the rest.
//!
//! The carry is one predicate of the warp beside the registers. After a subtraction it is the borrow.

use tilewright_compiler::ptx::op::{CarryChain, CarryOp};

use super::super::frame::PredId;
use super::super::lanes::integers;
use super::super::launch::ExecError;
use super::super::program::{IntBin, IntCmp, LaneOp, PredBin, Val32, Val64, ValP};
use super::emit::Decoder;

type Result<T = ()> = std::result::Result<T, ExecError>;

impl Decoder<'_> {
    pub(super) fn carry_chain(&mut self, op: &CarryChain) -> Result {
        use CarryOp::{Addc, MadHi, MadLo, MadcHi, MadcLo, Sub, Subc};
        let subtract = matches!(op.op, Sub | Subc);
        let carried = matches!(op.op, Addc | Subc | MadcLo | MadcHi);
        let high = match op.op {
            MadLo | MadcLo => Some(false),
            MadHi | MadcHi => Some(true),
            _ => None,
        };
        let out = if op.ty.bits() == 64 {
            self.carry64(op, subtract, carried, high)?
        } else {
            self.carry32(op, subtract, carried, high)?
        };
        if op.cc {
            let d = self.carry();
            self.lane(LaneOp::PredMov { d, a: ValP::Reg(out) });
        }
        Ok(())
    }

    /// Carry out of `first`, or of the addition of the carry behind it.
    fn either(&mut self, first: PredId, second: PredId) {
        self.lane(LaneOp::Pred { op: PredBin::Or, d: first, a: ValP::Reg(first), b: ValP::Reg(second) });
    }

    fn carry32(
        &mut self,
        op: &CarryChain,
        subtract: bool,
        carried: bool,
        high: Option<bool>,
    ) -> Result<PredId> {
        let (mut a, mut b) = (self.v32(&op.a, op.ty)?, self.v32(&op.b, op.ty)?);
        if let (Some(high), Some(c)) = (high, &op.c) {
            let (wide, part) = (self.t64(), self.t32());
            self.lane(LaneOp::MulWide { signed: op.ty.is_signed(), d: wide, a, b });
            self.lane(match high {
                true => LaneOp::High { d: part, a: Val64::Reg(wide) },
                false => LaneOp::Low { d: part, a: Val64::Reg(wide) },
            });
            (a, b) = (Val32::Reg(part), self.v32(c, op.ty)?);
        }
        let way = if subtract { IntBin::Sub } else { IntBin::Add };
        let (mut sum, out) = (self.t32(), self.tp());
        self.lane(LaneOp::Int32 { op: way, d: sum, a, b });
        let (left, right) = if subtract { (a, b) } else { (Val32::Reg(sum), a) };
        self.lane(LaneOp::Cmp32 { cmp: IntCmp::LtU, d: out, a: left, b: right });
        if carried {
            let (one, next, more) = (self.t32(), self.t32(), self.tp());
            let p = ValP::Reg(self.carry());
            self.lane(LaneOp::Select32 { d: one, p, a: Val32::Imm(1), b: Val32::Imm(0) });
            self.lane(LaneOp::Int32 { op: way, d: next, a: Val32::Reg(sum), b: Val32::Reg(one) });
            let (left, right) = if subtract { (sum, one) } else { (next, sum) };
            let (a, b) = (Val32::Reg(left), Val32::Reg(right));
            self.lane(LaneOp::Cmp32 { cmp: IntCmp::LtU, d: more, a, b });
            self.either(out, more);
            sum = next;
        }
        let d = self.d32(op.dst)?;
        self.lane(LaneOp::Mov32 { d, a: Val32::Reg(sum) });
        Ok(out)
    }

    fn carry64(
        &mut self,
        op: &CarryChain,
        subtract: bool,
        carried: bool,
        high: Option<bool>,
    ) -> Result<PredId> {
        let (mut a, mut b) = (self.v64(&op.a, op.ty)?, self.v64(&op.b, op.ty)?);
        if let (Some(high), Some(c)) = (high, &op.c) {
            let part = self.t64();
            match (high, op.ty.is_signed()) {
                (false, _) => self.lane(LaneOp::Int64 { op: IntBin::Mul, d: part, a, b }),
                (true, true) => self.call64(integers::mul_hi_s64, part, &[a, b]),
                (true, false) => self.call64(integers::mul_hi_u64, part, &[a, b]),
            }
            (a, b) = (Val64::Reg(part), self.v64(c, op.ty)?);
        }
        let way = if subtract { IntBin::Sub } else { IntBin::Add };
        let (mut sum, out) = (self.t64(), self.tp());
        self.lane(LaneOp::Int64 { op: way, d: sum, a, b });
        let (left, right) = if subtract { (a, b) } else { (Val64::Reg(sum), a) };
        self.lane(LaneOp::Cmp64 { cmp: IntCmp::LtU, d: out, a: left, b: right });
        if carried {
            let (one, next, more) = (self.t64(), self.t64(), self.tp());
            let p = ValP::Reg(self.carry());
            self.lane(LaneOp::Select64 { d: one, p, a: Val64::Imm(1), b: Val64::Imm(0) });
            self.lane(LaneOp::Int64 { op: way, d: next, a: Val64::Reg(sum), b: Val64::Reg(one) });
            let (left, right) = if subtract { (sum, one) } else { (next, sum) };
            let (a, b) = (Val64::Reg(left), Val64::Reg(right));
            self.lane(LaneOp::Cmp64 { cmp: IntCmp::LtU, d: more, a, b });
            self.either(out, more);
            sum = next;
        }
        let d = self.d64(op.dst)?;
        self.lane(LaneOp::Mov64 { d, a: Val64::Reg(sum) });
        Ok(out)
    }
}
