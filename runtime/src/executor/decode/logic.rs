//! Logic: `and`, `or`, `xor`, and functions of three bits by truth table.

use tilewright_compiler::ptx::{BoolOp, Type, op};

use super::super::launch::ExecError;
use super::super::program::{IntBin, IntCmp, LaneOp, Val32, ValP};
use super::emit::Decoder;
use super::moves::pred_bin;

type Result<T = ()> = std::result::Result<T, ExecError>;

/// Operations that `table2` takes, by truth table.
const TABLE_COST: [u8; 16] = [0, 2, 2, 1, 2, 1, 1, 2, 1, 2, 0, 2, 0, 2, 1, 0];

impl Decoder<'_> {
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
}
