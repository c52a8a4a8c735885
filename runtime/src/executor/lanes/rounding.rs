//! Arithmetic in every rounding mode: exact in wide integers, then rounded once.
//!
//! The host rounds to nearest, and so do f32 and f64 arithmetic elsewhere; `.rz`, `.rm` and `.rp`, and conversions that must not
//! round twice, come here. A finite number is taken apart into sign, integer and exponent; sums, products, quotients and roots of
//! those are exact but for one *sticky* bit that says whether something nonzero lies below.
//!
//! ```text
//! 1 + 2^-60 in f32, rounded up:   x = 2^126, e = -126, sticky      ->  0x3f80_0001
//! ```

use super::super::frame::{Lanes32, Lanes64};
use super::numbers::integral;

/// A binary floating-point format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Bits of the mantissa that are stored.
    mantissa: u32,
    /// Bits of the exponent.
    exponent: u32,
    /// What arithmetic yields for NaN.
    nan: u64,
}

pub const F16: Format = Format { mantissa: 10, exponent: 5, nan: 0x7fff };
pub const BF16: Format = Format { mantissa: 7, exponent: 8, nan: 0x7fff };
/// f32 with the lower 13 bits of the mantissa zero.
pub const TF32: Format = Format { mantissa: 10, exponent: 8, nan: 0x3ffff };
pub const F32: Format = Format { mantissa: 23, exponent: 8, nan: 0x7fff_ffff };
pub const F64: Format = Format { mantissa: 52, exponent: 11, nan: 0x7fff_ffff_ffff_ffff };

impl Format {
    fn bias(self) -> i32 {
        (1 << (self.exponent - 1)) - 1
    }

    fn infinity(self) -> u64 {
        ((1 << self.exponent) - 1) << self.mantissa
    }

    fn signed(self, negative: bool, magnitude: u64) -> u64 {
        magnitude | u64::from(negative) << (self.mantissa + self.exponent)
    }
}

/// `(-1)^negative * x * 2^e`, plus less than `2^e` where `sticky`.
#[derive(Clone, Copy, Debug)]
struct Exact {
    negative: bool,
    x: u128,
    e: i32,
    sticky: bool,
}

impl Exact {
    /// A finite number.
    fn of(value: f64) -> Exact {
        let bits = value.to_bits();
        let (field, fraction) = ((bits >> 52 & 0x7ff) as i32, bits & ((1 << 52) - 1));
        let x = if field == 0 { fraction } else { fraction | 1 << 52 };
        Exact { negative: value.is_sign_negative(), x: x.into(), e: field.max(1) - 1075, sticky: false }
    }

    /// The same value with the highest bit of `x` at bit 126.
    fn high(self) -> Exact {
        if self.x == 0 {
            return self;
        }
        let shift = self.x.leading_zeros() as i32 - 1;
        // What is taken apart here has at most 107 bits.
        Exact { x: self.x << shift.max(0), e: self.e - shift.max(0), ..self }
    }

    fn times(self, other: Exact) -> Exact {
        Exact {
            negative: self.negative != other.negative,
            x: self.x * other.x,
            e: self.e + other.e,
            sticky: false,
        }
    }

    /// Neither is sticky.
    fn plus(self, other: Exact) -> Exact {
        if self.x == 0 || other.x == 0 {
            return if self.x == 0 { other } else { self };
        }
        let (a, b) = (self.high(), other.high());
        let (mut a, mut b) = if (a.e, a.x) >= (b.e, b.x) { (a, b) } else { (b, a) };
        // Room for a carry; what is added has at most 107 bits, so none is lost.
        (a.x, a.e) = (a.x >> 1, a.e + 1);
        let by = (a.e - b.e) as u32;
        let sticky = by >= 128 || b.x & ((1u128 << by) - 1) != 0;
        b.x = if by >= 128 { 0 } else { b.x >> by };
        if a.negative == b.negative {
            Exact { x: a.x + b.x, sticky, ..a }
        } else {
            // Below `b.x` something more is taken away, so the integer part is one less and the rest is above it.
            Exact { x: a.x - b.x - u128::from(sticky), sticky, ..a }
        }
    }

    /// The bits in a format.
    fn round(self, f: Format, how: u8) -> u64 {
        let Exact { negative, x, e, sticky } = self;
        if x == 0 && !sticky {
            return f.signed(negative, 0);
        }
        let top = 127 - x.leading_zeros() as i32 + e;
        let least = 1 - f.bias() - f.mantissa as i32;
        let quantum = (top - f.mantissa as i32).max(least);
        let (kept, above, tie, rest) = match quantum - e {
            shift @ 1..=127 => {
                let (rest, half) = (x & ((1 << shift) - 1), 1u128 << (shift - 1));
                (
                    x >> shift,
                    rest > half || (rest == half && sticky),
                    rest == half && !sticky,
                    rest != 0 || sticky,
                )
            }
            shift if shift >= 128 => (0, false, false, true),
            shift => (x << -shift, false, false, sticky),
        };
        let up = match how {
            integral::NEAREST => above || (tie && kept & 1 == 1),
            integral::ZERO => false,
            integral::DOWN => negative && rest,
            _ => !negative && rest,
        };
        let kept = kept as u64 + u64::from(up);
        let bits = if quantum == least {
            kept
        } else {
            let field = (quantum + f.mantissa as i32 + f.bias()) as u64;
            match field >> f.exponent {
                0 => (field << f.mantissa) + (kept - (1 << f.mantissa)),
                _ => f.infinity(),
            }
        };
        if bits < f.infinity() {
            return f.signed(negative, bits);
        }
        let infinite = match how {
            integral::NEAREST => true,
            integral::ZERO => false,
            integral::DOWN => negative,
            _ => !negative,
        };
        f.signed(negative, f.infinity() - u64::from(!infinite))
    }
}

/// What is no finite number, in a format; what the host computed says which.
fn special(value: f64, f: Format) -> u64 {
    if value.is_nan() { f.nan } else { f.signed(value.is_sign_negative(), f.infinity()) }
}

/// `a * b + c`.
fn fma(a: f64, b: f64, c: f64, f: Format, how: u8) -> u64 {
    if !(a.is_finite() && b.is_finite() && c.is_finite()) {
        return special(a.mul_add(b, c), f);
    }
    let (product, addend) = (Exact::of(a).times(Exact::of(b)), Exact::of(c));
    let sum = product.plus(addend);
    if sum.x == 0 && !sum.sticky {
        // A sum that vanishes is +0, or -0 where rounding goes down; two zeros of one sign keep it.
        let same = product.negative == addend.negative && product.x == 0;
        return f.signed(if same { addend.negative } else { how == integral::DOWN }, 0);
    }
    sum.round(f, how)
}

/// `a / b`.
fn div(a: f64, b: f64, f: Format, how: u8) -> u64 {
    let quotient = a / b;
    if !(a.is_finite() && b.is_finite()) || b == 0.0 {
        return if quotient == 0.0 { f.signed(quotient.is_sign_negative(), 0) } else { special(quotient, f) };
    }
    let (a, b) = (Exact::of(a), Exact::of(b));
    // 127 bits over at most 53.
    let (dividend, divisor) = (a.high(), b.x);
    let (x, rest) = (dividend.x / divisor, dividend.x % divisor);
    Exact { negative: a.negative != b.negative, x, e: dividend.e - b.e, sticky: rest != 0 }.round(f, how)
}

fn sqrt(a: f64, f: Format, how: u8) -> u64 {
    if a == 0.0 || a.is_nan() || a < 0.0 || a.is_infinite() {
        let root = a.sqrt();
        return if root == 0.0 { f.signed(root.is_sign_negative(), 0) } else { special(root, f) };
    }
    let mut a = Exact::of(a).high();
    if a.e % 2 != 0 {
        (a.x, a.e) = (a.x >> 1, a.e + 1);
    }
    let x = a.x.isqrt();
    Exact { negative: false, x, e: a.e / 2, sticky: x * x != a.x }.round(f, how)
}

/// Which operation of f32 and f64.
pub mod operation {
    pub const ADD: u8 = 0;
    pub const SUB: u8 = 1;
    pub const MUL: u8 = 2;
    pub const DIV: u8 = 3;
    pub const FMA: u8 = 4;
    pub const RCP: u8 = 5;
    pub const SQRT: u8 = 6;
}

fn apply(op: u8, how: u8, [a, b, c]: [f64; 3], f: Format) -> u64 {
    match op {
        operation::ADD => fma(a, 1.0, b, f, how),
        operation::SUB => fma(a, 1.0, -b, f, how),
        // Adding a zero of the product's own sign changes nothing.
        operation::MUL => {
            let negative = a.is_sign_negative() != b.is_sign_negative();
            fma(a, b, if negative { -0.0 } else { 0.0 }, f, how)
        }
        operation::DIV => div(a, b, f, how),
        operation::FMA => fma(a, b, c, f, how),
        operation::RCP => div(1.0, a, f, how),
        _ => sqrt(a, f, how),
    }
}

/// An operation of f32.
pub fn f32s<const OP: u8, const HOW: u8>(out: &mut Lanes32, a: &Lanes32, b: &Lanes32, c: &Lanes32) {
    for lane in 0..32 {
        let operands = [a[lane], b[lane], c[lane]].map(|bits| f64::from(f32::from_bits(bits)));
        out[lane] = apply(OP, HOW, operands, F32) as u32;
    }
}

/// An operation of f64.
pub fn f64s<const OP: u8, const HOW: u8>(out: &mut Lanes64, a: &Lanes64, b: &Lanes64, c: &Lanes64) {
    for lane in 0..32 {
        out[lane] = apply(OP, HOW, [a[lane], b[lane], c[lane]].map(f64::from_bits), F64);
    }
}

/// Formats as constants that functions can be instantiated with.
pub mod target {
    pub const F16: u8 = 0;
    pub const BF16: u8 = 1;
    pub const TF32: u8 = 2;
    pub const F32: u8 = 3;
}

fn format(target: u8) -> Format {
    match target {
        target::F16 => F16,
        target::BF16 => BF16,
        target::TF32 => TF32,
        _ => F32,
    }
}

/// A number in a format of at most 32 bits; tf32 as the f32 that it is.
pub fn narrowed(value: f64, target: u8, how: u8) -> u32 {
    let f = format(target);
    let bits = if value.is_finite() { Exact::of(value).round(f, how) } else { special(value, f) };
    if target == target::TF32 { (bits as u32) << 13 } else { bits as u32 }
}

/// f32 to a narrower format.
pub fn from_f32<const TARGET: u8, const HOW: u8>(out: &mut Lanes32, a: &Lanes32, _: &Lanes32, _: &Lanes32) {
    for lane in 0..32 {
        out[lane] = narrowed(f32::from_bits(a[lane]).into(), TARGET, HOW);
    }
}

/// f64 to a narrower format.
pub fn from_f64<const TARGET: u8, const HOW: u8>(out: &mut Lanes32, a: &Lanes64) {
    for lane in 0..32 {
        out[lane] = narrowed(f64::from_bits(a[lane]), TARGET, HOW);
    }
}

fn integer(negative: bool, magnitude: u64, f: Format, how: u8) -> u64 {
    Exact { negative, x: magnitude.into(), e: 0, sticky: false }.round(f, how)
}

/// A 64-bit integer to a format of at most 32 bits.
pub fn from_int<const TARGET: u8, const HOW: u8, const SIGNED: bool>(out: &mut Lanes32, a: &Lanes64) {
    for lane in 0..32 {
        let negative = SIGNED && (a[lane] as i64) < 0;
        let magnitude = if negative { a[lane].wrapping_neg() } else { a[lane] };
        out[lane] = integer(negative, magnitude, format(TARGET), HOW) as u32;
    }
}

/// A 64-bit integer to f64.
pub fn int_to_f64<const HOW: u8, const SIGNED: bool>(
    out: &mut Lanes64,
    a: &Lanes64,
    _: &Lanes64,
    _: &Lanes64,
) {
    for lane in 0..32 {
        let negative = SIGNED && (a[lane] as i64) < 0;
        let magnitude = if negative { a[lane].wrapping_neg() } else { a[lane] };
        out[lane] = integer(negative, magnitude, F64, HOW);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Any bits, small numbers, subnormals and neighbours of powers of two alike.
    fn any_f64() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            any::<f32>().prop_map(f64::from),
            (-3i64..4, -1080i32..1024).prop_map(|(m, e)| m as f64 * 2f64.powi(e)),
            any::<u16>().prop_map(|m| f64::from_bits(m.into())),
        ]
    }

    fn any_f32() -> impl Strategy<Value = f32> {
        prop_oneof![
            any::<u32>().prop_map(f32::from_bits),
            any::<u16>().prop_map(|m| f32::from_bits(m.into()))
        ]
    }

    fn same(ours: u64, host: f64) -> bool {
        f64::from_bits(ours).to_bits() == host.to_bits() || (f64::from_bits(ours).is_nan() && host.is_nan())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        /// To nearest, the host knows.
        #[test]
        fn nearest_is_the_hosts(a in any_f64(), b in any_f64(), c in any_f64()) {
            let op = |op| apply(op, integral::NEAREST, [a, b, c], F64);
            prop_assert!(same(op(operation::ADD), a + b));
            prop_assert!(same(op(operation::SUB), a - b));
            prop_assert!(same(op(operation::MUL), a * b));
            prop_assert!(same(op(operation::DIV), a / b));
            prop_assert!(same(op(operation::FMA), a.mul_add(b, c)));
            prop_assert!(same(op(operation::RCP), 1.0 / a));
            prop_assert!(same(op(operation::SQRT), a.sqrt()));
            prop_assert!(same(u64::from(narrowed(a, target::F32, integral::NEAREST)) , f64::from_bits((a as f32).to_bits().into())) || a.is_nan());
        }

        /// Down and up are neighbours around the nearest, or all three are one; toward zero is the one nearer to it.
        #[test]
        fn directions_enclose(a in any_f32(), b in any_f32(), c in any_f32(), op in 0u8..7) {
            let operands = [a, b, c].map(f64::from);
            let how = |how| f32::from_bits(apply(op, how, operands, F32) as u32);
            let (nearest, zero, down, up) =
                (how(integral::NEAREST), how(integral::ZERO), how(integral::DOWN), how(integral::UP));
            if nearest.is_nan() {
                prop_assert!(zero.is_nan() && down.is_nan() && up.is_nan());
            } else if down == up {
                prop_assert!(down == nearest && zero == nearest);
            } else {
                prop_assert!(down.next_up() == up, "{down} {up}");
                prop_assert!(nearest == down || nearest == up);
                let inner = if up <= 0.0 { up } else { down };
                prop_assert_eq!(zero.to_bits() << 1, inner.to_bits() << 1);
            }
            // The exact product lies between.
            if op == operation::MUL && nearest.is_finite() {
                let exact = operands[0] * operands[1];
                prop_assert!(f64::from(down) <= exact && exact <= f64::from(up));
            }
        }

        #[test]
        fn integers_round_as_the_host_does(v in any::<u64>()) {
            prop_assert_eq!(integer(false, v, F32, integral::NEAREST) as u32, (v as f32).to_bits());
            prop_assert_eq!(integer(false, v, F64, integral::NEAREST), (v as f64).to_bits());
            let (down, up) = (integer(false, v, F32, integral::DOWN), integer(false, v, F32, integral::UP));
            let exact = |bits: u64| f32::from_bits(bits as u32) as u128;
            prop_assert!(exact(down) <= v.into() && exact(up) >= v.into());
        }
    }

    /// Every f16 and bf16 survives, and what lies between two goes where it should.
    #[test]
    fn halves_round_exhaustively() {
        for (target, up) in [
            (target::F16, (|bits| half::f16::from_bits(bits).to_f64()) as fn(u16) -> f64),
            (target::BF16, |bits| half::bf16::from_bits(bits).to_f64()),
        ] {
            for bits in 0..0x7fffu16 {
                let (low, high) = (up(bits), up(bits + 1));
                if !low.is_finite() || low.is_nan() {
                    continue;
                }
                let to = |value: f64, how| narrowed(value, target, how) as u16;
                for how in [integral::NEAREST, integral::ZERO, integral::DOWN, integral::UP] {
                    assert_eq!(to(low, how), bits);
                    assert_eq!(to(-low, how), bits | 0x8000);
                }
                if !high.is_finite() {
                    continue;
                }
                let middle = low + (high - low) / 2.0;
                let even = bits + bits % 2;
                assert_eq!(to(middle, integral::NEAREST), even);
                assert_eq!(to(middle.next_up(), integral::NEAREST), bits + 1);
                assert_eq!(to(middle.next_down(), integral::NEAREST), bits);
                assert_eq!(
                    (to(middle, integral::ZERO), to(middle, integral::DOWN), to(middle, integral::UP)),
                    (bits, bits, bits + 1)
                );
                assert_eq!(to(-middle, integral::DOWN), (bits + 1) | 0x8000);
            }
        }
    }
}
