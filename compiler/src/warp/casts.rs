//! Conversions between element types, and the floats of at most eight bits, which the machine has not before sm_89.
//!
//! A small float of X exponent and Y mantissa bits, its sign aside, is the upper end of an f32 but for the bias: `code << (23 - Y)` is the f32 of
//! the value times 2^(bias - 127), and one multiplication puts that right, subnormals included. Back, rounding is an addition on the
//! bits; below the least normal number, adding a power of two whose last bit is worth one step makes the adder round.
//!
//! ```text
//! e4m3 1.25 = 0 0111 010    << 20 = 0 00000111 01000…    * 2^120 = 0 01111111 01000… = 1.25
//! ```

use super::elements::Element;
use super::ir::*;
use super::lower::Lower;
use super::reductions::class_of;
use crate::diagnostics::Span;
use crate::plan::Refusal;
use crate::tile::ir as t1;
use t1::ElemType;

/// The f32 of that power of two.
fn power(exponent: i32) -> Src {
    Src::F32((f64::from(exponent)).exp2() as f32)
}

impl Lower<'_> {
    /// `x as to`.
    pub fn cast(&mut self, e: Element, from: ElemType, to: ElemType, span: Span) -> Result<Element, Refusal> {
        if from == to {
            return Ok(e);
        }
        match to {
            ElemType::Bool => self.as_bool(e, span),
            ElemType::Tf32 => {
                let s = self.as_float(e, from, span)?;
                let a = self.in_register(s, Class::F32);
                let bits = self.b.reg(Class::B32);
                self.b.push(Op::RoundTf32 { d: bits, a });
                Ok(Element::F32(self.b.mov(Class::F32, bits).into()))
            }
            ElemType::Small { .. } | ElemType::E8m0 => {
                let s = self.as_float(e, from, span)?;
                let x = self.in_register(s, Class::F32);
                let code = if to == ElemType::E8m0 { self.encode_scale(x) } else { self.encode_small(x, to) };
                Ok(Element::Code(to, code.into()))
            }
            to if to.is_float() => {
                let s = self.as_float(e, from, span)?;
                Ok(match to {
                    ElemType::F16 => Element::Half(Half::F16, s),
                    ElemType::Bf16 => Element::Half(Half::Bf16, s),
                    _ => Element::F32(s),
                })
            }
            _ => self.as_integer(e, from, to, span),
        }
    }

    fn as_bool(&mut self, e: Element, span: Span) -> Result<Element, Refusal> {
        Ok(Element::Pred(match e {
            Element::Pred(p) => p,
            Element::Int(s) => {
                let a = self.in_register(s, Class::B32);
                self.b.set_int(Cmp::Ne, IntTy::B32, a, 0)
            }
            Element::Long(s) => {
                let a = self.in_register(s, Class::B64);
                self.b.set_int(Cmp::Ne, IntTy::B64, a, 0)
            }
            float => {
                let a = self.float(float, span)?;
                let d = self.b.reg(Class::Pred);
                self.b.push(Op::SetFloat { cmp: Cmp::Ne, d, a, b: Src::F32(0.0) });
                d
            }
        }))
    }

    /// The value as f32.
    fn as_float(&mut self, e: Element, from: ElemType, span: Span) -> Result<Src, Refusal> {
        let signed = from.is_signed();
        let convert = |l: &mut Self, s: Src, class: Class| {
            let a = l.in_register(s, class);
            let d = l.b.reg(Class::F32);
            l.b.push(Op::IntToFloat { signed, d, a });
            d.into()
        };
        match e {
            Element::Int(s) => Ok(convert(self, s, Class::B32)),
            Element::Long(s) => Ok(convert(self, s, Class::B64)),
            Element::Pred(p) => {
                let d = self.b.reg(Class::F32);
                self.b.push(Op::Select { d, a: Src::F32(1.0), b: Src::F32(0.0), p });
                Ok(d.into())
            }
            float => self.float(float, span),
        }
    }

    fn as_integer(
        &mut self,
        e: Element,
        from: ElemType,
        to: ElemType,
        span: Span,
    ) -> Result<Element, Refusal> {
        let wide = class_of(to) == Class::B64;
        match e {
            Element::Pred(p) => {
                let d = self.b.reg(class_of(to));
                self.b.push(Op::Select { d, a: Src::Int(1), b: Src::Int(0), p });
                Ok(if wide { Element::Long(d.into()) } else { Element::Int(d.into()) })
            }
            Element::Int(Src::Int(v)) if wide => Ok(Element::Long(Src::Int(v))),
            Element::Int(s) if wide => {
                let a = self.in_register(s, Class::B32);
                Ok(Element::Long(self.b.widen(from.is_signed(), a).into()))
            }
            Element::Int(s) => {
                let fits = matches!((from, to), (ElemType::Int(a), ElemType::Int(b)) | (ElemType::Uint(a), ElemType::Uint(b)) if a <= b)
                    || matches!((from, to), (ElemType::Uint(a), ElemType::Int(b)) if a < b);
                Ok(Element::Int(if fits { s } else { self.wrapped(s, to) }))
            }
            Element::Long(s) if wide => Ok(Element::Long(s)),
            Element::Long(s) => {
                let mut a = self.in_register(s, Class::B64);
                if to == ElemType::Index {
                    // A coordinate far outside stays outside.
                    let ty = if from.is_signed() { IntTy::S64 } else { IntTy::U64 };
                    a = self.b.int(IntOp::Min, ty, a, i64::from(i32::MAX));
                    if from.is_signed() {
                        a = self.b.int(IntOp::Max, ty, a, i64::from(i32::MIN));
                    }
                }
                let s = self.b.narrow(a).into();
                Ok(Element::Int(self.wrapped(s, to)))
            }
            float => {
                let s = self.float(float, span)?;
                let a = self.in_register(s, Class::F32);
                let d = self.b.reg(class_of(to));
                self.b.push(Op::FloatToInt { signed: to.is_signed(), d, a });
                if wide {
                    return Ok(Element::Long(d.into()));
                }
                let (ElemType::Int(w) | ElemType::Uint(w)) = to else { return Ok(Element::Int(d.into())) };
                if w >= 32 {
                    return Ok(Element::Int(d.into()));
                }
                if !to.is_signed() {
                    return Ok(Element::Int(self.b.int(IntOp::Min, IntTy::U32, d, (1 << w) - 1).into()));
                }
                let low = self.b.int(IntOp::Max, IntTy::S32, d, -1 << (w - 1));
                Ok(Element::Int(self.b.int(IntOp::Min, IntTy::S32, low, (1 << (w - 1)) - 1).into()))
            }
        }
    }

    /// A register's bits as f32, and back.
    pub fn float_of_bits(&mut self, bits: Reg) -> Reg {
        self.b.mov(Class::F32, bits)
    }

    pub fn bits_of_float(&mut self, s: Src) -> Reg {
        let a = self.in_register(s, Class::F32);
        self.b.mov(Class::B32, a)
    }

    /// The value of a code.
    pub fn decode(&mut self, elem: ElemType, code: Src) -> Src {
        let code = self.in_register(code, Class::B32);
        let ElemType::Small { exponent, mantissa } = elem else {
            // e8m0: a power of two is an f32's exponent; 0 is 2^-127, a subnormal f32, and 255 a NaN.
            let bits = self.b.shift(code, 23);
            let least = self.b.set_int(Cmp::Eq, IntTy::B32, code, 0);
            let bits = self.choose(least, Src::Int(0x0040_0000), bits.into());
            let nan = self.b.set_int(Cmp::Eq, IntTy::B32, code, 255);
            let bits = self.choose(nan, Src::Int(0x7fff_ffff), bits.into());
            return self.float_of_bits(bits).into();
        };
        let (x, y) = (i32::from(exponent), i32::from(mantissa));
        let size = self.b.and(code, (1 << (x + y)) - 1);
        let up = self.b.shift(size, 23 - y);
        let scaled = self.float_of_bits(up);
        let mut value = self.b.float(FloatOp::Mul, scaled, power(127 - bias(x)));
        match elem {
            ElemType::E4M3 => {
                let nan = self.b.set_int(Cmp::Eq, IntTy::B32, size, 0x7f);
                let bits = self.b.mov(Class::B32, value);
                let bits = self.choose(nan, Src::Int(0x7fff_ffff), bits.into());
                value = self.float_of_bits(bits);
            }
            ElemType::E5M2 => {
                // Beyond the greatest number: infinity and NaN, whose f32 have the same mantissa under all exponent bits.
                let special = self.b.set_int(Cmp::Ge, IntTy::U32, size, 0x7c);
                let all = self.b.int(IntOp::Or, IntTy::B32, up, 0x7f80_0000);
                let bits = self.b.mov(Class::B32, value);
                let bits = self.choose(special, all.into(), bits.into());
                value = self.float_of_bits(bits);
            }
            _ => {}
        }
        let sign = self.b.and(code, 1 << (x + y));
        let sign = self.b.shift(sign, 31 - x - y);
        let bits = self.b.mov(Class::B32, value);
        let bits = self.b.int(IntOp::Or, IntTy::B32, bits, sign);
        self.float_of_bits(bits).into()
    }

    fn choose(&mut self, p: Reg, a: Src, b: Src) -> Reg {
        let d = self.b.reg(Class::B32);
        self.b.push(Op::Select { d, a, b, p });
        d
    }

    /// The code of the nearest number, ties to even; beyond the greatest, that one; NaN where the type has one.
    fn encode_small(&mut self, x: Reg, elem: ElemType) -> Reg {
        let ElemType::Small { exponent, mantissa } = elem else { return x };
        let (xb, y) = (i32::from(exponent), i32::from(mantissa));
        let (greatest, greatest_code, nan) = match elem {
            ElemType::E4M3 => (448.0, 0x7e, 0x7f),
            ElemType::E5M2 => (57344.0, 0x7b, 0x7f),
            _ => {
                let code = (1i64 << (xb + y)) - 1;
                let top = (2.0 - (-f64::from(y)).exp2()) * f64::from((1 << xb) - 1 - bias(xb)).exp2();
                (top as f32, code, code)
            }
        };
        let bits = self.b.mov(Class::B32, x);
        let size = self.b.float_fn(FloatFn::Abs, x);
        let size = self.b.float(FloatOp::Min, size, Src::F32(greatest));
        // Normal numbers: add half a step less one, and one more where the last bit kept is set.
        let raw = self.b.mov(Class::B32, size);
        let last = self.b.shift(raw, y - 23);
        let last = self.b.and(last, 1);
        let rounded = self.b.add(raw, (1 << (22 - y)) - 1);
        let rounded = self.b.add(rounded, last);
        let normal = self.b.shift(rounded, y - 23);
        let normal = self.b.add(normal, -(i64::from(127 - bias(xb)) << y));
        // Below, one step is 2^(1 - bias - Y): a sum whose last bit is worth that.
        let magic = f64::from(1 - bias(xb) - y + 23).exp2() as f32;
        let sum = self.b.float(FloatOp::Add, size, Src::F32(magic));
        let small = self.b.mov(Class::B32, sum);
        let small = self.b.add(small, -i64::from(magic.to_bits()));
        let least = self.b.reg(Class::Pred);
        self.b.push(Op::SetFloat { cmp: Cmp::Lt, d: least, a: size.into(), b: power(1 - bias(xb)) });
        let code = self.choose(least, small.into(), normal.into());
        let code = self.b.int(IntOp::Min, IntTy::U32, code, greatest_code);
        let is_nan = self.b.reg(Class::Pred);
        self.b.push(Op::SetFloat { cmp: Cmp::Ne, d: is_nan, a: x.into(), b: x.into() });
        let code = self.choose(is_nan, Src::Int(nan), code.into());
        let sign = self.b.shift(bits, xb + y - 31);
        let sign = self.b.and(sign, 1 << (xb + y));
        self.b.int(IntOp::Or, IntTy::B32, code, sign)
    }

    /// The greatest power of two not above `x`; a NaN for negative numbers.
    fn encode_scale(&mut self, x: Reg) -> Reg {
        let bits = self.b.mov(Class::B32, x);
        let size = self.b.and(bits, 0x7fff_ffff);
        let exponent = self.b.shift(size, -23);
        let exponent = self.b.int(IntOp::Min, IntTy::U32, exponent, 254);
        let fine = self.b.reg(Class::Pred);
        self.b.push(Op::SetFloat { cmp: Cmp::Ge, d: fine, a: x.into(), b: Src::F32(0.0) });
        self.choose(fine, exponent.into(), Src::Int(255))
    }

    /// The bits of an element as an integer of the type's width, zero-extended to 32 bits or of 64.
    fn raw_bits(&mut self, e: Element, from: ElemType, span: Span) -> Result<Reg, Refusal> {
        Ok(match (e, from) {
            (Element::Int(s), _) => {
                let r = self.in_register(s, Class::B32);
                match from.bits() {
                    bits @ 1..32 => self.b.and(r, (1 << bits) - 1),
                    _ => r,
                }
            }
            (Element::Long(s), _) => self.in_register(s, Class::B64),
            (Element::Code(_, s), _) => self.in_register(s, Class::B32),
            (Element::Pred(p), _) => self.choose(p, Src::Int(1), Src::Int(0)),
            (float, ElemType::F16 | ElemType::Bf16) => {
                let a = self.float(float, span)?;
                let to = if from == ElemType::F16 { Half::F16 } else { Half::Bf16 };
                let d = self.b.reg(Class::B32);
                self.b.push(Op::PackHalf { to, d, lo: a, hi: Src::F32(0.0) });
                d
            }
            (float, _) => {
                let s = self.float(float, span)?;
                self.bits_of_float(s)
            }
        })
    }

    /// `bits(x, to)`.
    pub fn reinterpret(
        &mut self,
        e: Element,
        from: ElemType,
        to: ElemType,
        span: Span,
    ) -> Result<Element, Refusal> {
        let raw = self.raw_bits(e, from, span)?;
        Ok(match to {
            ElemType::F32 | ElemType::Tf32 => Element::F32(self.float_of_bits(raw).into()),
            ElemType::F16 | ElemType::Bf16 => {
                let from = if to == ElemType::F16 { Half::F16 } else { Half::Bf16 };
                let (lo, hi) = (self.b.reg(Class::B16), self.b.reg(Class::B16));
                self.b.push(Op::Split16 { lo, hi, a: raw });
                let d = self.b.reg(Class::F32);
                self.b.push(Op::FromHalf { from, d, a: lo });
                Element::F32(d.into())
            }
            ElemType::Small { .. } | ElemType::E8m0 => Element::Code(to, raw.into()),
            to if class_of(to) == Class::B64 => Element::Long(raw.into()),
            to => Element::Int(self.wrapped(raw.into(), to)),
        })
    }
}

/// Of a float with so many exponent bits.
fn bias(exponent: i32) -> i32 {
    (1 << (exponent - 1)) - 1
}
