//! f16 and bf16: conversions to and from f32, and arithmetic on single values and pairs.
//!
//! Sums and products of halves are exact in f32 or round there without harm (f32 has more than twice a half's digits plus two), so
//! one operation in f32 followed by one rounding is the correctly rounded result. `fma` goes through f64.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::super::frame::Lanes32;

/// A 16-bit float.
trait Half: Copy {
    /// The bits of the exponent.
    const EXPONENT: u16;
    fn up(bits: u16) -> f32;
    fn down(value: f32) -> u16;
    fn down64(value: f64) -> u16;
}

impl Half for f16 {
    const EXPONENT: u16 = 0x7c00;
    fn up(bits: u16) -> f32 {
        f16::from_bits(bits).to_f32()
    }
    fn down(value: f32) -> u16 {
        if value.is_nan() { 0x7fff } else { f16::from_f32(value).to_bits() }
    }
    fn down64(value: f64) -> u16 {
        Self::down(to_odd(value))
    }
}

impl Half for bf16 {
    const EXPONENT: u16 = 0x7f80;
    fn up(bits: u16) -> f32 {
        f32::from_bits(u32::from(bits) << 16)
    }
    fn down(value: f32) -> u16 {
        if value.is_nan() { 0x7fff } else { bf16::from_f32(value).to_bits() }
    }
    fn down64(value: f64) -> u16 {
        Self::down(to_odd(value))
    }
}

/// f64 to f32 rounded to odd, after which one more rounding to a half is as if there had been only that one.
fn to_odd(value: f64) -> f32 {
    let nearest = value as f32;
    let back = f64::from(nearest);
    if back == value || value.is_nan() {
        return nearest;
    }
    let toward_zero = nearest.to_bits() - u32::from(back.abs() > value.abs());
    f32::from_bits(toward_zero | 1)
}

/// Products of bf16 may fall below the least f32, where they would be rounded twice.
fn product(a: f32, b: f32) -> f32 {
    let product = a * b;
    if product.abs() < f32::MIN_POSITIVE { to_odd(f64::from(a) * f64::from(b)) } else { product }
}

/// Subnormals become zeros of their sign.
fn flush<T: Half>(bits: u16) -> u16 {
    if bits & T::EXPONENT == 0 { bits & 0x8000 } else { bits }
}

/// Each half of a word.
fn both(word: u32, f: impl Fn(u16) -> u16) -> u32 {
    u32::from(f(word as u16)) | u32::from(f((word >> 16) as u16)) << 16
}

/// Clamped to 0..1; NaN becomes 0.
fn saturate<T: Half>(bits: u16) -> u16 {
    let value = T::up(bits);
    if value > 0.0 { T::down(value.min(1.0)) } else { 0 }
}

/// Infinities become the largest number.
fn finite<T: Half>(bits: u16) -> u16 {
    if bits & 0x7fff == T::EXPONENT { bits - 1 } else { bits }
}

fn single<T: Half>(a: u32, b: u32, f: impl Fn(f32, f32) -> f32) -> u32 {
    T::down(f(T::up(a as u16), T::up(b as u16))).into()
}

fn pair<T: Half>(a: u32, b: u32, f: impl Fn(f32, f32) -> f32) -> u32 {
    single::<T>(a & 0xffff, b & 0xffff, &f) | single::<T>(a >> 16, b >> 16, &f) << 16
}

fn fma_one<T: Half>(a: u32, b: u32, c: u32) -> u32 {
    let up = |bits: u32| f64::from(T::up(bits as u16));
    T::down64(up(a).mul_add(up(b), up(c))).into()
}

fn fma_pair<T: Half>(a: u32, b: u32, c: u32) -> u32 {
    fma_one::<T>(a & 0xffff, b & 0xffff, c & 0xffff) | fma_one::<T>(a >> 16, b >> 16, c >> 16) << 16
}

/// The number if one operand is NaN; -0 below +0.
fn min_number(a: f32, b: f32) -> f32 {
    if a.is_nan() {
        b
    } else if b.is_nan() || a < b || (a == b && a.is_sign_negative()) {
        a
    } else {
        b
    }
}

fn min_nan(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() { f32::NAN } else { min_number(a, b) }
}

fn max_number(a: f32, b: f32) -> f32 {
    -min_number(-a, -b)
}

fn max_nan(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() { f32::NAN } else { max_number(a, b) }
}

/// `fma.relu`: negative results and NaN... NaN stays, by the ISA.
fn relu_bits<T: Half>(bits: u32) -> u32 {
    let one = |bits: u32| if T::up(bits as u16) < 0.0 || bits == 0x8000 { 0 } else { bits };
    one(bits & 0xffff) | one(bits >> 16) << 16
}

macro_rules! lanes {
    ($($(#[$meta:meta])* $name:ident($a:ident, $b:ident, $c:ident) = $body:expr;)+) => { $(
        $(#[$meta])*
        pub fn $name(out: &mut Lanes32, a: &Lanes32, b: &Lanes32, c: &Lanes32) {
            for lane in 0..32 {
                let ($a, $b, $c) = (a[lane], b[lane], c[lane]);
                let _ = ($b, $c);
                out[lane] = $body;
            }
        }
    )+ };
}

macro_rules! arithmetic {
    ($($f16:ident, $bf16:ident, $f16x2:ident, $bf16x2:ident = $f:expr;)+) => { $(
        lanes! {
            $f16(a, b, _c) = single::<f16>(a, b, $f);
            $bf16(a, b, _c) = single::<bf16>(a, b, $f);
            $f16x2(a, b, _c) = pair::<f16>(a, b, $f);
            $bf16x2(a, b, _c) = pair::<bf16>(a, b, $f);
        }
    )+ };
}

arithmetic! {
    add_f16, add_bf16, add_f16x2, add_bf16x2 = |a, b| a + b;
    sub_f16, sub_bf16, sub_f16x2, sub_bf16x2 = |a, b| a - b;
    mul_f16, mul_bf16, mul_f16x2, mul_bf16x2 = product;
    min_f16, min_bf16, min_f16x2, min_bf16x2 = min_number;
    max_f16, max_bf16, max_f16x2, max_bf16x2 = max_number;
    min_nan_f16, min_nan_bf16, min_nan_f16x2, min_nan_bf16x2 = min_nan;
    max_nan_f16, max_nan_bf16, max_nan_f16x2, max_nan_bf16x2 = max_nan;
    ex2_f16, ex2_bf16, ex2_f16x2, ex2_bf16x2 = |a: f32, _b| a.exp2();
    tanh_f16, tanh_bf16, tanh_f16x2, tanh_bf16x2 = |a: f32, _b| a.tanh();
}

lanes! {
    fma_f16(a, b, c) = fma_one::<f16>(a, b, c);
    fma_bf16(a, b, c) = fma_one::<bf16>(a, b, c);
    fma_f16x2(a, b, c) = fma_pair::<f16>(a, b, c);
    fma_bf16x2(a, b, c) = fma_pair::<bf16>(a, b, c);
    relu_f16x2(a, _b, _c) = relu_bits::<f16>(a);
    relu_bf16x2(a, _b, _c) = relu_bits::<bf16>(a);
    f16_to_f32(a, _b, _c) = f16::up(a as u16).to_bits();
    bf16_to_f32(a, _b, _c) = (a & 0xffff) << 16;
    f32_to_f16(a, _b, _c) = f16::down(f32::from_bits(a)).into();
    f32_to_bf16(a, _b, _c) = bf16::down(f32::from_bits(a)).into();
    /// `a` goes to the upper half.
    pack_bf16x2(a, b, _c) = u32::from(bf16::down(f32::from_bits(a))) << 16 | u32::from(bf16::down(f32::from_bits(b)));
    /// Two results into one word, the first into its upper half.
    join(a, b, _c) = a << 16 | b & 0xffff;
    flush_f16x2(a, _b, _c) = both(a, flush::<f16>);
    flush_bf16x2(a, _b, _c) = both(a, flush::<bf16>);
    saturate_f16x2(a, _b, _c) = both(a, saturate::<f16>);
    saturate_bf16x2(a, _b, _c) = both(a, saturate::<bf16>);
    finite_f16x2(a, _b, _c) = both(a, finite::<f16>);
    finite_bf16x2(a, _b, _c) = both(a, finite::<bf16>);
    /// tf32 lies in f32.
    finite_tf32(a, _b, _c) = if a & 0x7fff_ffff == 0x7f80_0000 { a - 0x2000 } else { a };
    relu_tf32(a, _b, _c) = if a >> 31 == 1 && a & 0x7fff_ffff <= 0x7f80_0000 { 0 } else { a };
    upper_f16_to_f32(a, _b, _c) = f16::up((a >> 16) as u16).to_bits();
    upper_bf16_to_f32(a, _b, _c) = a & 0xffff_0000;
    /// Nearest, ties away from zero: what `cvt.rna.tf32` wants.
    f32_to_tf32_rna(a, _b, _c) = if a & 0x7f80_0000 == 0x7f80_0000 { a } else { a.wrapping_add(0x1000) & 0xffff_e000 };
}

/// All lanes at once: the conversion of slices uses what the processor has.
fn down_all(values: &Lanes32) -> [u16; 32] {
    let floats = values.map(f32::from_bits);
    let mut out = [f16::ZERO; 32];
    out.convert_from_f32_slice(&floats);
    std::array::from_fn(|lane| if floats[lane].is_nan() { 0x7fff } else { out[lane].to_bits() })
}

/// Two f32 as f16: `a` above `b`.
pub fn pack_f16x2(d: &mut Lanes32, a: &Lanes32, b: &Lanes32, _c: &Lanes32) {
    let (high, low) = (down_all(a), down_all(b));
    *d = std::array::from_fn(|lane| u32::from(high[lane]) << 16 | u32::from(low[lane]));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(f: fn(&mut Lanes32, &Lanes32, &Lanes32, &Lanes32), a: u32, b: u32, c: u32) -> u32 {
        let mut out = [0; 32];
        f(&mut out, &[a; 32], &[b; 32], &[c; 32]);
        out[0]
    }

    #[test]
    fn conversions_round_once() {
        assert_eq!(one(f32_to_f16, 1.0f32.to_bits(), 0, 0), 0x3c00);
        assert_eq!(one(f32_to_f16, 65520f32.to_bits(), 0, 0), 0x7c00);
        assert_eq!(one(f32_to_f16, f32::NAN.to_bits(), 0, 0), 0x7fff);
        assert_eq!(one(pack_f16x2, 1f32.to_bits(), 2f32.to_bits(), 0), 0x3c00_4000);
        assert_eq!(one(f32_to_bf16, 0x3f80_8000, 0, 0), 0x3f80, "a tie goes to even");
        assert_eq!(one(f32_to_bf16, 0x3f81_8000, 0, 0), 0x3f82);
        assert_eq!(one(f32_to_tf32_rna, 0x3f80_1000, 0, 0), 0x3f80_2000);
    }

    /// Products and sums of f16 against one exact rounding, where they would be rounded twice.
    #[test]
    fn nothing_is_rounded_twice() {
        use super::super::{
            numbers::integral::NEAREST,
            rounding::{narrowed, target},
        };
        let mut state = 1u64;
        for _ in 0..400_000 {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let [a, b, c] = [state >> 16, state >> 32, state >> 48].map(|bits| bits as u16);
            let f16s = [a, b, c].map(|bits| f64::from(f16::up(bits)));
            let exact = f16s[0] * f16s[1] + f16s[2];
            // Sums of such are exact in f64 where they do not span too much.
            if exact - f16s[2] == f16s[0] * f16s[1] && exact - f16s[0] * f16s[1] == f16s[2] {
                assert_eq!(
                    one(fma_f16, a.into(), b.into(), c.into()),
                    narrowed(exact, target::F16, NEAREST),
                    "{a:#x} {b:#x} {c:#x}"
                );
            }
            let bf16s = [a, b].map(|bits| f64::from(bf16::up(bits)));
            let product = narrowed(bf16s[0] * bf16s[1], target::BF16, NEAREST);
            assert_eq!(one(mul_bf16, a.into(), b.into(), 0), product, "{a:#x} {b:#x}");
        }
    }

    #[test]
    fn pairs_are_two_values() {
        assert_eq!(one(add_f16x2, 0x3c00_4000, 0x3c00_3c00, 0), 0x4000_4200);
        assert_eq!(one(fma_f16x2, 0x4000_4000, 0x4000_3c00, 0x3c00_0000), 0x4500_4000);
        assert_eq!(one(max_f16, 0x7fff, 0x3c00, 0), 0x3c00);
        assert_eq!(one(max_nan_f16, 0x7fff, 0x3c00, 0), 0x7fff);
        assert_eq!(one(relu_f16x2, 0xbc00_3c00, 0, 0), 0x0000_3c00);
    }
}
