//! f32 and f64 functions: division, roots, approximations, and the variants of minimum and maximum.
//!
//! The `.approx` functions are allowed an error by the ISA; here they are the host's correctly rounded or nearly correctly rounded
//! ones, so results are at least as good as a GPU's and differ from it in the last bits.

use super::super::frame::{Lanes32, Lanes64};
use super::super::program::Fn32;

macro_rules! f32s {
    ($($(#[$meta:meta])* $name:ident($a:ident, $b:ident, $c:ident) = $body:expr;)+) => { $(
        $(#[$meta])*
        pub fn $name(out: &mut Lanes32, a: &Lanes32, b: &Lanes32, c: &Lanes32) {
            super::tier::each(|lane| {
                let ($a, $b, $c) = (f32::from_bits(a[lane]), f32::from_bits(b[lane]), f32::from_bits(c[lane]));
                let _ = ($b, $c);
                let result: f32 = $body;
                out[lane] = result.to_bits();
            });
        }
    )+ };
}

macro_rules! f64s {
    ($($(#[$meta:meta])* $name:ident($a:ident, $b:ident) = $body:expr;)+) => { $(
        $(#[$meta])*
        pub fn $name(out: &mut Lanes64, a: &Lanes64, b: &Lanes64, _c: &Lanes64) {
            super::tier::each(|lane| {
                let ($a, $b) = (f64::from_bits(a[lane]), f64::from_bits(b[lane]));
                let _ = $b;
                let result: f64 = $body;
                out[lane] = result.to_bits();
            });
        }
    )+ };
}

f32s! {
    div(a, b, _c) = a / b;
    rcp(a, _b, _c) = 1.0 / a;
    sqrt(a, _b, _c) = a.sqrt();
    rsqrt(a, _b, _c) = (1.0 / f64::from(a).sqrt()) as f32;
    sin(a, _b, _c) = a.sin();
    cos(a, _b, _c) = a.cos();
    lg2(a, _b, _c) = a.log2();
    ex2(a, _b, _c) = a.exp2();
    tanh(a, _b, _c) = a.tanh();
    copysign(a, b, _c) = b.copysign(a);
    min_number(a, b, _c) = if a.is_nan() { b } else if b.is_nan() { a } else { lesser(a, b) };
    max_number(a, b, _c) = if a.is_nan() { b } else if b.is_nan() { a } else { -lesser(-a, -b) };
    min_nan(a, b, _c) = if a.is_nan() || b.is_nan() { CANONICAL } else { lesser(a, b) };
    max_nan(a, b, _c) = if a.is_nan() || b.is_nan() { CANONICAL } else { -lesser(-a, -b) };
    /// Clamp to 0..1; NaN becomes 0.
    saturate(a, _b, _c) = if a > 0.0 { a.min(1.0) } else { 0.0 };
    /// Negative values and -0 become 0, NaN stays.
    relu(a, _b, _c) = if a.is_nan() { CANONICAL } else if a > 0.0 { a } else { 0.0 };
    fma(a, b, c) = a.mul_add(b, c);
}

f64s! {
    div_f64(a, b) = a / b;
    rcp_f64(a, _b) = 1.0 / a;
    sqrt_f64(a, _b) = a.sqrt();
    rsqrt_f64(a, _b) = 1.0 / a.sqrt();
    copysign_f64(a, b) = b.copysign(a);
    rcp_ftz_f64(a, _b) = flushed(1.0 / flushed(a));
    rsqrt_ftz_f64(a, _b) = flushed(1.0 / flushed(a).sqrt());
    saturate_f64(a, _b) = if a > 0.0 { a.min(1.0) } else { 0.0 };
}

macro_rules! tests32 {
    ($($name:ident = $f:expr;)+) => { $(
        pub fn $name(a: &Lanes32, _: &Lanes32) -> u32 {
            (0..32).fold(0, |mask, lane| mask | u32::from($f(f32::from_bits(a[lane]))) << lane)
        }
    )+ };
}

tests32! {
    is_finite = f32::is_finite;
    is_infinite = f32::is_infinite;
    is_number = |x: f32| !x.is_nan();
    is_nan = f32::is_nan;
    is_normal = f32::is_normal;
    is_subnormal = f32::is_subnormal;
}

/// A function of f32 on two values of different lanes.
pub fn of_two(f: Fn32, a: u32, b: u32) -> u32 {
    let mut out = [0; 32];
    f(&mut out, &[a; 32], &[b; 32], &[0; 32]);
    out[0]
}

/// The NaN that PTX arithmetic yields.
pub const CANONICAL: f32 = f32::from_bits(0x7fff_ffff);

/// The lesser of two numbers, -0 below +0.
fn lesser(a: f32, b: f32) -> f32 {
    if a < b || (a == b && a.is_sign_negative()) { a } else { b }
}

/// Subnormals become zeros of their sign.
fn flushed(x: f64) -> f64 {
    if x.is_subnormal() { 0f64.copysign(x) } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(f: fn(&mut Lanes32, &Lanes32, &Lanes32, &Lanes32), a: f32, b: f32) -> f32 {
        let mut out = [0; 32];
        f(&mut out, &[a.to_bits(); 32], &[b.to_bits(); 32], &[0; 32]);
        f32::from_bits(out[7])
    }

    #[test]
    fn special_values() {
        assert_eq!(one(saturate, f32::NAN, 0.0), 0.0);
        assert_eq!(one(saturate, 7.0, 0.0), 1.0);
        assert!(one(min_nan, 1.0, f32::NAN).is_nan());
        assert!(one(min_nan, 0.0, -0.0).is_sign_negative());
        assert!(one(max_nan, -0.0, 0.0).is_sign_positive());
        assert_eq!(one(ex2, f32::NEG_INFINITY, 0.0), 0.0);
        assert_eq!(one(lg2, 0.0, 0.0), f32::NEG_INFINITY);
        assert_eq!(one(copysign, -1.0, 3.0), -3.0);
    }
}
