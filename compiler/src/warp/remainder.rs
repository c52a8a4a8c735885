//! `x % y` of floats: exact, whatever the quotient.
//!
//! Where the quotient is below 2²², its floor q is a number of f32, and `x - q·y`, by `fma`, has no rounding error: it is a multiple of
//! what the last digit of y stands for, and smaller than y. Division to nearest may round a quotient up to the next whole number, never down
//! below one, so q may be one too many: the rest then has the wrong sign, and adding y puts it right.
//!
//! ```text
//! 7 % 3      q = 2, 7 - 6 = 1               -7 % 3     q = -3, -7 + 9 = 2
//! 2^31 % 3   quotient too large: mantissa 2^23, exponents 8 - 0 - 22 apart … by integers
//! ```
//! Beyond, both are integers times powers of two: `x = m 2^(e + n)`, `y = k 2^e`, and the rest is `m 2^n mod k`, forty bits of n at a time in
//! 64-bit integers. Exponents of f32 lie less than 280 = 7 · 40 apart.

use super::ir::*;
use super::lower::Lower;

/// From here on the floor of a quotient may have lost digits.
const LARGE: f32 = 4_194_304.0;
/// Bits of the distance between the exponents that one step takes: a rest below 2²⁴ shifted by so many fits 64 bits.
const STEP: i64 = 40;
const STEPS: i64 = 7;

/// A float taken apart: its magnitude is `mantissa · 2^(exponent - 150)`.
struct Parts {
    bits: Reg,
    mantissa: Reg,
    exponent: Reg,
}

impl Lower<'_> {
    /// The rest of a floored division: of the divisor's sign, or zero. NaN where there is none, `x % inf` is x or infinite.
    pub fn remainder(&mut self, x: Src, y: Src) -> Reg {
        let (x, y) = (self.in_register(x, Class::F32), self.in_register(y, Class::F32));
        let quotient = self.b.float(FloatOp::Div, x, y);
        let whole = self.b.float_fn(FloatFn::Floor, quotient);
        let minus = self.b.float_fn(FloatFn::Neg, whole);
        let less = self.b.fma(minus, y, x);
        // Nothing of an infinite divisor is to be subtracted.
        let none = self.compared(Cmp::Eq, whole, 0.0);
        let rest = self.chosen(none, x, less);
        let wrong = self.of_other_sign(rest, y);
        let more = self.b.float(FloatOp::AddExactly, rest, y);
        let rest = self.chosen(wrong, more, rest);

        let [size, x_size, y_size] = [quotient, x, y].map(|r| self.b.float_fn(FloatFn::Abs, r));
        let large = self.compared(Cmp::Ge, size, LARGE);
        let finite = self.compared(Cmp::Lt, x_size, f32::INFINITY);
        let divides = self.compared(Cmp::Gt, y_size, 0.0);
        let far = self.b.pred_and(large, finite);
        let far = self.b.pred_and(far, divides);
        self.b.open();
        let by_integers = self.integer_remainder(x, y);
        self.b.push(Op::Mov { d: rest, a: by_integers.into() });
        let then_body = self.b.close();
        self.b.stmt(Stmt::If(If { cond: far, then_body, else_body: Vec::new() }));
        rest
    }

    fn compared(&mut self, cmp: Cmp, a: Reg, to: f32) -> Reg {
        let d = self.b.reg(Class::Pred);
        self.b.push(Op::SetFloat { cmp, d, a: a.into(), b: Src::F32(to) });
        d
    }

    fn chosen(&mut self, p: Reg, yes: impl Into<Src>, no: impl Into<Src>) -> Reg {
        let d = self.b.reg(Class::F32);
        self.b.push(Op::Select { d, a: yes.into(), b: no.into(), p });
        d
    }

    /// Whether a rest is not zero and has another sign than the divisor.
    fn of_other_sign(&mut self, rest: Reg, y: Reg) -> Reg {
        let (below, negative) = (self.compared(Cmp::Lt, rest, 0.0), self.compared(Cmp::Lt, y, 0.0));
        let some = self.compared(Cmp::Ne, rest, 0.0);
        let other = self.b.reg(Class::Pred);
        self.b.push(Op::PredXor { d: other, a: below, b: negative });
        self.b.pred_and(other, some)
    }

    fn taken_apart(&mut self, x: Reg) -> Parts {
        let bits = self.b.mov(Class::B32, x);
        let size = self.b.and(bits, 0x7fff_ffff);
        let exponent = self.b.shift(size, -23);
        let digits = self.b.and(size, 0x7f_ffff);
        let normal = self.b.set_int(Cmp::Ne, IntTy::B32, exponent, 0);
        let leading = self.b.reg(Class::B32);
        self.b.push(Op::Select { d: leading, a: Src::Int(1 << 23), b: Src::Int(0), p: normal });
        let mantissa = self.b.int(IntOp::Or, IntTy::B32, digits, leading);
        let exponent = self.b.int(IntOp::Max, IntTy::S32, exponent, 1);
        Parts { bits, mantissa, exponent }
    }

    /// The rest where |x| is a multiple of at least [`LARGE`] of |y|, both finite and y not 0.
    fn integer_remainder(&mut self, x: Reg, y: Reg) -> Reg {
        let (x, y) = (self.taken_apart(x), self.taken_apart(y));
        let apart = self.b.int(IntOp::Sub, IntTy::S32, x.exponent, y.exponent);
        let divisor = self.b.widen(false, y.mantissa);
        let rest = self.b.widen(false, x.mantissa);
        let count = self.b.mov(Class::B32, STEPS);
        self.b.open();
        let by = self.b.int(IntOp::Min, IntTy::S32, apart, STEP);
        let shifted = self.b.int(IntOp::Shl, IntTy::B64, rest, by);
        let modulo =
            |d, a: Reg| Op::Int { op: IntOp::Rem, ty: IntTy::U64, d, a: a.into(), b: divisor.into() };
        self.b.push(modulo(rest, shifted));
        let copies = vec![self.b.close()];
        self.b.open();
        for (d, by) in [(apart, Src::Reg(by)), (count, Src::Int(1))] {
            self.b.push(Op::Int { op: IntOp::Sub, ty: IntTy::S32, d, a: d.into(), b: by });
        }
        let advance = self.b.close();
        let name = format!("rest{}", count.0);
        self.b.stmt(Stmt::Loop(Loop {
            name,
            left: count,
            until: None,
            by: 1,
            copies,
            advance,
            rolled: true,
        }));

        // Floored: a rest of another sign is the divisor less the rest.
        let rest = self.b.narrow(rest);
        let signs = self.b.xor(x.bits, y.bits);
        let other = self.b.set_int(Cmp::Lt, IntTy::S32, signs, 0);
        let some = self.b.set_int(Cmp::Ne, IntTy::B32, rest, 0);
        let wrong = self.b.pred_and(other, some);
        let flipped = self.b.int(IntOp::Sub, IntTy::S32, y.mantissa, rest);
        let floored = self.b.reg(Class::B32);
        self.b.push(Op::Select { d: floored, a: flipped.into(), b: rest.into(), p: wrong });

        // By two powers of two that are normal numbers: all products but the last are exact, and that one is where it is a number of f32.
        let mut value = self.b.reg(Class::F32);
        self.b.push(Op::IntToFloat { signed: false, d: value, a: floored });
        let scale = self.b.add(y.exponent, -150);
        let half = self.b.int(IntOp::Shr, IntTy::S32, scale, 1);
        let other_half = self.b.int(IntOp::Sub, IntTy::S32, scale, half);
        for power in [half, other_half] {
            let field = self.b.add(power, 127);
            let bits = self.b.shift(field, 23);
            let factor = self.b.mov(Class::F32, bits);
            value = self.b.float(FloatOp::MulExactly, value, factor);
        }
        let sign = self.b.and(y.bits, 0x8000_0000);
        let bits = self.b.mov(Class::B32, value);
        let bits = self.b.int(IntOp::Or, IntTy::B32, bits, sign);
        self.b.mov(Class::F32, bits)
    }
}
