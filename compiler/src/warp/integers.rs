//! Integer arithmetic on elements: 32 bits, or 64 for `i64` and `u64`.
//!
//! Narrower integers are held in 32 bits as their own value, sign- or zero-extended; what may leave their range is wrapped back into it.
//! Division floors, and is total: `x / 0 == 0`, `x % 0 == x`.

use super::elements::Element;
use super::ir::*;
use super::lower::Lower;
use super::reductions::{class_of, int_ty};
use crate::tile::ir as t1;
use t1::{BinaryOp, ElemType, UnaryOp};

impl Lower<'_> {
    /// A 32-bit value brought into the range of a narrower type.
    pub fn wrapped(&mut self, s: Src, elem: ElemType) -> Src {
        let (bits, signed) = match elem {
            ElemType::Int(w) if w < 32 => (u32::from(w), true),
            ElemType::Uint(w) if w < 32 => (u32::from(w), false),
            _ => return s,
        };
        match s {
            Src::Int(v) if signed => Src::Int(v << (64 - bits) >> (64 - bits)),
            Src::Int(v) => Src::Int(v & ((1 << bits) - 1)),
            Src::Reg(r) if signed => {
                let up = self.b.shift(r, 32 - bits as i32);
                self.b.int(IntOp::Shr, IntTy::S32, up, i64::from(32 - bits)).into()
            }
            Src::Reg(r) => self.b.and(r, (1 << bits) - 1).into(),
            float => float,
        }
    }

    /// A result of arithmetic as an element of its type.
    fn integer(&mut self, s: Src, elem: ElemType) -> Element {
        if class_of(elem) == Class::B64 { Element::Long(s) } else { Element::Int(self.wrapped(s, elem)) }
    }

    /// A binary operation of integers; `None` for what integers do not have.
    pub fn integer_binary(&mut self, op: BinaryOp, x: Src, y: Src, elem: ElemType) -> Option<Element> {
        let ty = int_ty(elem);
        let class = ty.class();
        let bits = if class == Class::B64 { IntTy::B64 } else { IntTy::B32 };
        let x = self.in_register(x, class);
        if matches!(op, BinaryOp::Div | BinaryOp::Rem | BinaryOp::Cdiv) {
            let s = self.divided(op, x, y, ty);
            return Some(self.integer(s.into(), elem));
        }
        let (op, ty) = match op {
            BinaryOp::Shl | BinaryOp::Shr => {
                let by = match y {
                    Src::Reg(r) if self.b.class(r) == Class::B64 => Src::Reg(self.b.narrow(r)),
                    imm => imm,
                };
                let (op, ty) = if op == BinaryOp::Shl { (IntOp::Shl, bits) } else { (IntOp::Shr, ty) };
                let s = self.b.int(op, ty, x, by);
                return Some(self.integer(s.into(), elem));
            }
            BinaryOp::Add => (IntOp::Add, ty),
            BinaryOp::Sub => (IntOp::Sub, ty),
            BinaryOp::Mul => (IntOp::MulLo, ty),
            BinaryOp::Min => (IntOp::Min, ty),
            BinaryOp::Max => (IntOp::Max, ty),
            BinaryOp::And => (IntOp::And, bits),
            BinaryOp::Or => (IntOp::Or, bits),
            BinaryOp::Xor => (IntOp::Xor, bits),
            _ => return None,
        };
        let s = self.b.int(op, ty, x, y).into();
        // Only these can leave a narrower type's range.
        match op {
            IntOp::Add | IntOp::Sub | IntOp::MulLo => Some(self.integer(s, elem)),
            _ => Some(if class == Class::B64 { Element::Long(s) } else { Element::Int(s) }),
        }
    }

    /// Quotient rounded down (`Cdiv`: up) or remainder with the divisor's sign.
    fn divided(&mut self, op: BinaryOp, x: Reg, y: Src, ty: IntTy) -> Reg {
        let class = ty.class();
        let signed = matches!(ty, IntTy::S32 | IntTy::S64);
        if op == BinaryOp::Cdiv {
            // ceil(x / y) = floor((x - 1) / y) + 1 for a positive y, without a sign to change; in general floor of -x, negated.
            if !signed {
                let rest = self.divided(BinaryOp::Rem, x, y, ty);
                let quotient = self.divided(BinaryOp::Div, x, y, ty);
                let more = self.b.set_int(Cmp::Ne, ty, rest, 0);
                let total = self.non_zero(y, ty);
                let up = self.b.reg(class);
                self.b.push(Op::Select { d: up, a: Src::Int(1), b: Src::Int(0), p: more });
                let rounded = self.b.add(quotient, up);
                return self.where_total(total, rounded, Src::Int(0), class);
            }
            let zero = self.b.mov(class, 0);
            let minus = self.b.int(IntOp::Sub, ty, zero, x);
            let floor = self.divided(BinaryOp::Div, minus, y, ty);
            return self.b.int(IntOp::Sub, ty, zero, floor);
        }
        if let Src::Int(by) = y
            && by > 0
            && by.count_ones() == 1
        {
            return if op == BinaryOp::Div {
                self.b.int(IntOp::Shr, ty, x, i64::from(by.trailing_zeros()))
            } else {
                let bits = if class == Class::B64 { IntTy::B64 } else { IntTy::B32 };
                self.b.int(IntOp::And, bits, x, by - 1)
            };
        }
        let total = self.non_zero(y, ty);
        let quotient = self.b.int(IntOp::Div, ty, x, y);
        if op == BinaryOp::Div && !signed {
            return self.where_total(total, quotient, Src::Int(0), class);
        }
        let back = self.b.int(IntOp::MulLo, ty, quotient, y);
        let rest = self.b.int(IntOp::Sub, ty, x, back);
        let (mut quotient, mut rest) = (quotient, rest);
        if signed {
            // The machine rounds towards zero: a rest of another sign than the divisor's is one quotient too many.
            let y = self.in_register(y, class);
            let bits = if class == Class::B64 { IntTy::B64 } else { IntTy::B32 };
            let signs = self.b.int(IntOp::Xor, bits, rest, y);
            let other = self.b.set_int(Cmp::Lt, ty, signs, 0);
            let some = self.b.set_int(Cmp::Ne, ty, rest, 0);
            let wrong = self.b.pred_and(other, some);
            if op == BinaryOp::Div {
                let less = self.b.reg(class);
                self.b.push(Op::Select { d: less, a: Src::Int(1), b: Src::Int(0), p: wrong });
                quotient = self.b.int(IntOp::Sub, ty, quotient, less);
            } else {
                let more = self.b.reg(class);
                self.b.push(Op::Select { d: more, a: y.into(), b: Src::Int(0), p: wrong });
                rest = self.b.add(rest, more);
            }
        }
        match op {
            BinaryOp::Div => self.where_total(total, quotient, Src::Int(0), class),
            _ => self.where_total(total, rest, x.into(), class),
        }
    }

    /// Holds where the divisor is not 0; `None` where it never is.
    fn non_zero(&mut self, y: Src, ty: IntTy) -> Option<Reg> {
        match y {
            Src::Int(by) if by != 0 => None,
            _ => {
                let y = self.in_register(y, ty.class());
                Some(self.b.set_int(Cmp::Ne, ty, y, 0))
            }
        }
    }

    fn where_total(&mut self, total: Option<Reg>, value: Reg, other: Src, class: Class) -> Reg {
        let Some(p) = total else { return value };
        let d = self.b.reg(class);
        self.b.push(Op::Select { d, a: value.into(), b: other, p });
        d
    }

    /// A unary operation of integers; `None` for what integers do not have.
    pub fn integer_unary(&mut self, op: UnaryOp, x: Src, elem: ElemType) -> Option<Element> {
        let ty = int_ty(elem);
        let class = ty.class();
        let x = self.in_register(x, class);
        let bits = match elem {
            ElemType::Int(w) | ElemType::Uint(w) => i64::from(w),
            _ => 32,
        };
        let s: Src = match op {
            UnaryOp::Neg => {
                let zero = self.b.mov(class, 0);
                self.b.int(IntOp::Sub, ty, zero, x).into()
            }
            UnaryOp::Abs if !elem.is_signed() => x.into(),
            UnaryOp::Abs => {
                let zero = self.b.mov(class, 0);
                let minus = self.b.int(IntOp::Sub, ty, zero, x);
                self.b.int(IntOp::Max, ty, x, minus).into()
            }
            UnaryOp::BitNot => {
                let bits = if class == Class::B64 { IntTy::B64 } else { IntTy::B32 };
                self.b.int(IntOp::Xor, bits, x, -1).into()
            }
            UnaryOp::Popc | UnaryOp::Clz => {
                let own = if class == Class::B32 && bits < 32 { self.b.and(x, (1 << bits) - 1) } else { x };
                let d = self.b.reg(Class::B32);
                let op = if op == UnaryOp::Popc { Count::SetBits } else { Count::LeadingZeros };
                self.b.push(Op::Count { op, d, a: own });
                let counted = match op {
                    Count::LeadingZeros if bits < 32 => self.b.add(d, bits - 32),
                    _ => d,
                };
                if class == Class::B64 { self.b.widen(false, counted).into() } else { counted.into() }
            }
            UnaryOp::Ilog2 => {
                let d = self.b.reg(Class::B32);
                self.b.push(Op::Count { op: Count::LeadingZeros, d, a: x });
                let top = self.b.mov(Class::B32, if class == Class::B64 { 63 } else { 31 });
                let mut log = self.b.int(IntOp::Sub, IntTy::S32, top, d);
                if elem.is_signed() {
                    let p = self.b.set_int(Cmp::Ge, ty, x, 0);
                    log = self.where_total(Some(p), log, Src::Int(-1), Class::B32);
                }
                if class == Class::B64 { self.b.widen(true, log).into() } else { log.into() }
            }
            _ => return None,
        };
        Some(self.integer(s, elem))
    }
}
