//! f16 and bf16: conversions to and from f32, and arithmetic on single values and pairs.
//!
//! Sums and products of halves are exact in f32 or round there without harm (f32 has more than twice a half's digits plus two), so
//! one operation in f32 followed by one rounding is the correctly rounded result. `fma` goes through f64.

use half::{bf16, f16};

use super::super::frame::{Lanes32, Lanes64};

/// A 16-bit float.
trait Half: Copy {
    fn up(bits: u16) -> f32;
    fn down(value: f32) -> u16;
    fn down64(value: f64) -> u16;
}

impl Half for f16 {
    fn up(bits: u16) -> f32 {
        f16::from_bits(bits).to_f32()
    }
    fn down(value: f32) -> u16 {
        if value.is_nan() { 0x7fff } else { f16::from_f32(value).to_bits() }
    }
    fn down64(value: f64) -> u16 {
        if value.is_nan() { 0x7fff } else { f16::from_f64(value).to_bits() }
    }
}

impl Half for bf16 {
    fn up(bits: u16) -> f32 {
        f32::from_bits(u32::from(bits) << 16)
    }
    fn down(value: f32) -> u16 {
        if value.is_nan() { 0x7fff } else { bf16::from_f32(value).to_bits() }
    }
    fn down64(value: f64) -> u16 {
        if value.is_nan() { 0x7fff } else { bf16::from_f64(value).to_bits() }
    }
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
    mul_f16, mul_bf16, mul_f16x2, mul_bf16x2 = |a, b| a * b;
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
    f32_to_f16_rz(a, _b, _c) = f16_toward_zero(f32::from_bits(a)).into();
    f32_to_bf16_rz(a, _b, _c) = if f32::from_bits(a).is_nan() { 0x7fff } else { a >> 16 };
    /// `a` goes to the upper half.
    pack_f16x2(a, b, _c) = u32::from(f16::down(f32::from_bits(a))) << 16 | u32::from(f16::down(f32::from_bits(b)));
    pack_bf16x2(a, b, _c) = u32::from(bf16::down(f32::from_bits(a))) << 16 | u32::from(bf16::down(f32::from_bits(b)));
    pack_f16x2_rz(a, b, _c) = u32::from(f16_toward_zero(f32::from_bits(a))) << 16 | u32::from(f16_toward_zero(f32::from_bits(b)));
    pack_bf16x2_rz(a, b, _c) = (a & 0xffff_0000) | b >> 16;
    /// Nearest, ties away from zero: what `cvt.rna.tf32` wants.
    f32_to_tf32_rna(a, _b, _c) = if a & 0x7f80_0000 == 0x7f80_0000 { a } else { a.wrapping_add(0x1000) & 0xffff_e000 };
    /// Nearest even.
    f32_to_tf32_rn(a, _b, _c) =
        if a & 0x7f80_0000 == 0x7f80_0000 { a } else { a.wrapping_add(0x0fff + (a >> 13 & 1)) & 0xffff_e000 };
}

/// f64 to f16 in one rounding.
pub fn f64_to_f16(out: &mut Lanes32, a: &Lanes64) {
    for lane in 0..32 {
        out[lane] = f16::down64(f64::from_bits(a[lane])).into();
    }
}

fn f16_toward_zero(value: f32) -> u16 {
    let bits = f16::down(value);
    let back = f16::up(bits);
    if value.is_finite() && back.abs() > value.abs() { bits - 1 } else { bits }
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
        assert_eq!(one(f32_to_f16_rz, 65520f32.to_bits(), 0, 0), 0x7bff);
        assert_eq!(one(f32_to_f16, f32::NAN.to_bits(), 0, 0), 0x7fff);
        assert_eq!(one(pack_f16x2, 1f32.to_bits(), 2f32.to_bits(), 0), 0x3c00_4000);
        assert_eq!(one(f32_to_bf16, 0x3f80_8000, 0, 0), 0x3f80, "a tie goes to even");
        assert_eq!(one(f32_to_bf16, 0x3f81_8000, 0, 0), 0x3f82);
        assert_eq!(one(f32_to_tf32_rna, 0x3f80_1000, 0, 0), 0x3f80_2000);
        assert_eq!(one(f32_to_tf32_rn, 0x3f80_1000, 0, 0), 0x3f80_0000);
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
