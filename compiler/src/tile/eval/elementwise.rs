//! Operations lane by lane.
//!
//! Floats are computed in `f64` and, in *typed* mode, rounded to the result's type; integers wrap at their width in both modes.
//! The operation is chosen once per tile, so that each loop over lanes is a plain one.

use std::borrow::Cow;

use super::special::erf;
use super::values::{Operand, Tile, Values, map1, map2, map3};
use crate::numeric::{Format, IntFormat, Number};
use crate::tile::ir::{AxisId, BinaryOp, CmpOp, ElemType, UnaryOp};
use crate::tile::ops::float_rem;

/// The axes of a result and how many lanes of each exist.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lanes<'a> {
    pub axes: &'a [AxisId],
    pub shape: &'a [usize],
}

impl Lanes<'_> {
    pub fn count(self) -> usize {
        self.shape.iter().product()
    }

    fn floats<'t>(self, x: &'t Tile) -> Operand<'t, f64> {
        Operand::new(x.floats(), x, self.axes, self.shape)
    }

    fn ints<'t>(self, x: &'t Tile) -> Operand<'t, i64> {
        Operand::new(x.ints(), x, self.axes, self.shape)
    }
}

/// The arithmetic of an integer-like type: `bool` is one bit, bipolar numbers never leave 16.
pub(super) fn int_format(elem: ElemType) -> IntFormat {
    match elem.format() {
        Format::Int(f) => f,
        Format::Bool => IntFormat::U1,
        Format::Bipolar(_) => IntFormat::I16,
        Format::Float(_) | Format::Scale(_) => IntFormat::I64,
    }
}

/// Rounds (or wraps) every element to its type.
pub(crate) fn round(values: &mut Values, elem: ElemType) {
    match (values, elem.format()) {
        (Values::Float(x), Format::Float(f)) => f.round_slice(x),
        (Values::Float(x), Format::Scale(s)) => x.iter_mut().for_each(|v| *v = s.round(*v)),
        (Values::Int(x), Format::Int(f)) => x.iter_mut().for_each(|v| *v = f.wrap(*v)),
        (Values::Int(x), Format::Bipolar(b)) => x.iter_mut().for_each(|v| *v = b.decode(b.encode(*v))),
        (Values::Int(x), Format::Bool) => x.iter_mut().for_each(|v| *v = (*v != 0) as i64),
        // A kind that does not fit its type cannot come from a verified kernel.
        _ => {}
    }
}

/// `x as to`.
pub(super) fn cast(x: &Tile, from: ElemType, to: ElemType, lanes: Lanes) -> Values {
    let (count, format) = (lanes.count(), to.format());
    if let Values::Float(_) = x.data {
        let x = lanes.floats(x);
        return match format {
            Format::Float(_) | Format::Scale(_) => {
                let mut values = Values::Float(map1(&x, count, |v| v));
                round(&mut values, to);
                values
            }
            Format::Int(f) => Values::Int(map1(&x, count, |v| f.round_f64(v))),
            other => Values::Int(map1(&x, count, |v| as_int(other.convert_f64(v)))),
        };
    }
    let (x, source) = (lanes.ints(x), int_format(from));
    match format {
        Format::Int(f) => Values::Int(map1(&x, count, |v| f.wrap(v))),
        f if f.is_float() => Values::Float(map1(&x, count, |v| as_float(f.convert_int(v, source)))),
        f => Values::Int(map1(&x, count, |v| as_int(f.convert_int(v, source)))),
    }
}

/// The bits of `x` read as another type.
pub(super) fn bits(x: &Tile, from: ElemType, to: ElemType, lanes: Lanes) -> Values {
    let (count, from, format) = (lanes.count(), from.format(), to.format());
    let codes = match &x.data {
        Values::Float(_) => map1(&lanes.floats(x), count, |v| from.encode_f64(v)),
        Values::Int(_) => map1(&lanes.ints(x), count, |v| from.encode_int(v, IntFormat::I64)),
    };
    if format.is_float() {
        Values::Float(codes.into_iter().map(|c| as_float(format.decode(c))).collect())
    } else {
        Values::Int(codes.into_iter().map(|c| as_int(format.decode(c))).collect())
    }
}

fn as_float(x: Number) -> f64 {
    match x {
        Number::Float(x) => x,
        Number::Int(v) => v as f64,
    }
}

fn as_int(x: Number) -> i64 {
    match x {
        Number::Int(v) => v,
        Number::Float(x) => x as i64,
    }
}

pub(super) fn unary(op: UnaryOp, elem: ElemType, x: &Tile, lanes: Lanes) -> Values {
    use UnaryOp::*;
    let count = lanes.count();
    if elem.is_float() {
        let x = lanes.floats(x);
        macro_rules! each {
            ($f:expr) => {
                Values::Float(map1(&x, count, $f))
            };
        }
        return match op {
            Neg => each!(|v: f64| -v),
            Abs => each!(f64::abs),
            Floor => each!(f64::floor),
            Ceil => each!(f64::ceil),
            Round => each!(f64::round_ties_even),
            Trunc => each!(f64::trunc),
            Exp => each!(f64::exp),
            Exp2 => each!(f64::exp2),
            Log => each!(f64::ln),
            Log2 => each!(f64::log2),
            Sqrt => each!(f64::sqrt),
            Rsqrt => each!(|v: f64| 1.0 / v.sqrt()),
            Tanh => each!(f64::tanh),
            Erf => each!(erf),
            Sin => each!(f64::sin),
            Cos => each!(f64::cos),
            // Integer operations; a verified kernel has them on integers only.
            Not | BitNot | Popc | Clz | Ilog2 => each!(|v: f64| v),
        };
    }
    let (x, f) = (lanes.ints(x), int_format(elem));
    macro_rules! each {
        ($f:expr) => {
            Values::Int(map1(&x, count, $f))
        };
    }
    match op {
        Neg => each!(|v| f.neg(v)),
        Not => each!(|v| (v == 0) as i64),
        BitNot => each!(|v| f.not(v)),
        Abs => each!(|v| f.abs(v)),
        Popc => each!(|v| f.popc(v)),
        Clz => each!(|v| f.clz(v)),
        Ilog2 => each!(|v| f.ilog2(v)),
        Floor | Ceil | Round | Trunc | Exp | Exp2 | Log | Log2 | Sqrt | Rsqrt | Tanh | Erf | Sin | Cos => {
            each!(|v| v)
        }
    }
}

pub(super) fn binary(op: BinaryOp, elem: ElemType, x: &Tile, y: &Tile, lanes: Lanes) -> Values {
    use BinaryOp::*;
    let count = lanes.count();
    if elem.is_float() {
        let (x, y) = (lanes.floats(x), lanes.floats(y));
        macro_rules! each {
            ($f:expr) => {
                Values::Float(map2(&x, &y, count, $f))
            };
        }
        return match op {
            Add => each!(|a: f64, b: f64| a + b),
            Sub => each!(|a: f64, b: f64| a - b),
            Mul => each!(|a: f64, b: f64| a * b),
            Div => each!(|a: f64, b: f64| a / b),
            Rem => each!(float_rem),
            Cdiv => each!(|a: f64, b: f64| (a / b).ceil()),
            // These return the other operand where one is a NaN.
            Min => each!(f64::min),
            Max => each!(f64::max),
            And | Or | Xor | Shl | Shr => each!(|a: f64, _| a),
        };
    }
    let (x, y, f) = (lanes.ints(x), lanes.ints(y), int_format(elem));
    macro_rules! each {
        ($f:expr) => {
            Values::Int(map2(&x, &y, count, $f))
        };
    }
    match op {
        Add => each!(|a, b| f.add(a, b)),
        Sub => each!(|a, b| f.sub(a, b)),
        Mul => each!(|a, b| f.mul(a, b)),
        Div => each!(|a, b| f.div(a, b)),
        Rem => each!(|a, b| f.rem(a, b)),
        Cdiv => each!(|a, b| f.cdiv(a, b)),
        Min => each!(|a, b| if f.cmp(b, a).is_lt() { b } else { a }),
        Max => each!(|a, b| if f.cmp(b, a).is_gt() { b } else { a }),
        And => each!(|a, b| a & b),
        Or => each!(|a, b| a | b),
        Xor => each!(|a, b| a ^ b),
        Shl => each!(|a, b| f.shl(a, b)),
        Shr => each!(|a, b| f.shr(a, b)),
    }
}

pub(super) fn compare(op: CmpOp, elem: ElemType, x: &Tile, y: &Tile, lanes: Lanes) -> Values {
    fn each<T: Copy + PartialOrd>(op: CmpOp, x: &Operand<T>, y: &Operand<T>, count: usize) -> Values {
        Values::Int(match op {
            CmpOp::Eq => map2(x, y, count, |a, b| (a == b) as i64),
            CmpOp::Ne => map2(x, y, count, |a, b| (a != b) as i64),
            CmpOp::Lt => map2(x, y, count, |a, b| (a < b) as i64),
            CmpOp::Le => map2(x, y, count, |a, b| (a <= b) as i64),
            CmpOp::Gt => map2(x, y, count, |a, b| (a > b) as i64),
            CmpOp::Ge => map2(x, y, count, |a, b| (a >= b) as i64),
        })
    }
    let count = lanes.count();
    if elem.is_float() {
        each(op, &lanes.floats(x), &lanes.floats(y), count)
    } else if int_format(elem) == IntFormat::U64 {
        let unsigned = |t: &Tile| {
            let bits: Vec<u64> = t.ints().iter().map(|&v| v as u64).collect();
            let spread = Operand::new(Cow::Borrowed(&bits[..]), t, lanes.axes, lanes.shape);
            Operand::Each(Cow::<[u64]>::Owned(map1(&spread, count, |v| v)))
        };
        each(op, &unsigned(x), &unsigned(y), count)
    } else {
        each(op, &lanes.ints(x), &lanes.ints(y), count)
    }
}

pub(super) fn select(c: &Tile, x: &Tile, y: &Tile, elem: ElemType, lanes: Lanes) -> Values {
    let (c, count) = (lanes.ints(c), lanes.count());
    if elem.is_float() {
        let pick = |c: i64, a: f64, b: f64| if c != 0 { a } else { b };
        Values::Float(map3(&c, &lanes.floats(x), &lanes.floats(y), count, pick))
    } else {
        let pick = |c: i64, a: i64, b: i64| if c != 0 { a } else { b };
        Values::Int(map3(&c, &lanes.ints(x), &lanes.ints(y), count, pick))
    }
}

/// `x * y + z`
pub(super) fn fma(x: &Tile, y: &Tile, z: &Tile, elem: ElemType, lanes: Lanes) -> Values {
    let count = lanes.count();
    if elem.is_float() {
        let mul_add = |a: f64, b: f64, c: f64| a.mul_add(b, c);
        Values::Float(map3(&lanes.floats(x), &lanes.floats(y), &lanes.floats(z), count, mul_add))
    } else {
        let f = int_format(elem);
        let mul_add = |a, b, c| f.add(f.mul(a, b), c);
        Values::Int(map3(&lanes.ints(x), &lanes.ints(y), &lanes.ints(z), count, mul_add))
    }
}
