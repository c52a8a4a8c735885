//! Sums of differences and of byte products, and searches for bits.

use tilewright_compiler::ptx::{MulMode, Type, op};

use super::super::lanes::integers;
use super::super::launch::ExecError;
use super::super::program::{Fn32, IntBin, LaneOp, Val64};
use super::emit::Decoder;

type Result<T = ()> = std::result::Result<T, ExecError>;

impl Decoder<'_> {
    pub(super) fn sad(&mut self, op: &op::Sad) -> Result {
        let (kind_max, kind_min) =
            if op.ty.is_signed() { (IntBin::MaxS, IntBin::MinS) } else { (IntBin::MaxU, IntBin::MinU) };
        if op.ty.bits() == 64 {
            let (d, a, b, c) = (
                self.d64(op.dst)?,
                self.v64(&op.a, op.ty)?,
                self.v64(&op.b, op.ty)?,
                self.v64(&op.c, op.ty)?,
            );
            let (most, least, distance) = (self.t64(), self.t64(), self.t64());
            self.lane(LaneOp::Int64 { op: kind_max, d: most, a, b });
            self.lane(LaneOp::Int64 { op: kind_min, d: least, a, b });
            let (x, y) = (Val64::Reg(most), Val64::Reg(least));
            self.lane(LaneOp::Int64 { op: IntBin::Sub, d: distance, a: x, b: y });
            self.lane(LaneOp::Int64 { op: IntBin::Add, d, a: Val64::Reg(distance), b: c });
            return Ok(());
        }
        let (a, b, c) = (self.int32(&op.a, op.ty)?, self.int32(&op.b, op.ty)?, self.v32(&op.c, op.ty)?);
        let (most, least) = (self.int(kind_max, a, b), self.int(kind_min, a, b));
        let distance = self.int(IntBin::Sub, most, least);
        self.into(op.ty, op.dst, |d, r| {
            d.lane(LaneOp::Int32 { op: IntBin::Add, d: r, a: distance, b: c });
        })
    }

    pub(super) fn dp4a(&mut self, op: &op::Dp4a) -> Result {
        let (a_signed, b_signed) = (op.aty.is_signed(), op.bty.is_signed());
        let f: Fn32 = match (op.half, a_signed, b_signed) {
            (None, false, false) => integers::dp4a::<false, false>,
            (None, false, true) => integers::dp4a::<false, true>,
            (None, true, false) => integers::dp4a::<true, false>,
            (None, true, true) => integers::dp4a::<true, true>,
            (Some(half), a, b) => {
                let high = half == MulMode::Hi;
                match (high, a, b) {
                    (false, false, false) => integers::dp2a::<false, false, false>,
                    (false, false, true) => integers::dp2a::<false, false, true>,
                    (false, true, false) => integers::dp2a::<false, true, false>,
                    (false, true, true) => integers::dp2a::<false, true, true>,
                    (true, false, false) => integers::dp2a::<true, false, false>,
                    (true, false, true) => integers::dp2a::<true, false, true>,
                    (true, true, false) => integers::dp2a::<true, true, false>,
                    (true, true, true) => integers::dp2a::<true, true, true>,
                }
            }
        };
        let (d, a, b) = (self.d32(op.dst)?, self.v32(&op.a, Type::B32)?, self.v32(&op.b, Type::B32)?);
        let c = self.v32(&op.c, Type::B32)?;
        self.call32(f, d, &[a, b, c]);
        Ok(())
    }

    /// `fns`, `szext`, `bmsk`.
    pub(super) fn bit_search(&mut self, op: &op::BitSearch) -> Result {
        use op::BitSearchOp as B;
        let f: Fn32 = match (op.op, op.wrap, op.signed) {
            (B::FindNthSet, ..) => integers::fns,
            (B::SignExtend, false, true) => integers::szext::<false, true>,
            (B::SignExtend, false, false) => integers::szext::<false, false>,
            (B::SignExtend, true, true) => integers::szext::<true, true>,
            (B::SignExtend, true, false) => integers::szext::<true, false>,
            (B::Mask, false, _) => integers::bmsk::<false>,
            (B::Mask, true, _) => integers::bmsk::<true>,
        };
        let (d, a, b) = (self.d32(op.dst)?, self.v32(&op.a, Type::B32)?, self.v32(&op.b, Type::B32)?);
        match &op.c {
            Some(c) => {
                let c = self.v32(c, Type::S32)?;
                self.call32(f, d, &[a, b, c]);
            }
            None => self.call32(f, d, &[a, b]),
        }
        Ok(())
    }
}
