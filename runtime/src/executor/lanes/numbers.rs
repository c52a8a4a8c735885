//! Conversions between integers and floats, and rounding to integral values.
//!
//! Float to integer saturates and takes NaN to 0. Integer to float rounds to nearest even, as the host does.

use super::super::frame::{Lanes32, Lanes64};

/// A rounding to integral values, as a constant that functions can be instantiated with.
pub mod integral {
    pub const NEAREST: u8 = 0;
    pub const ZERO: u8 = 1;
    pub const DOWN: u8 = 2;
    pub const UP: u8 = 3;
}

fn round<const HOW: u8>(value: f64) -> f64 {
    match HOW {
        integral::NEAREST => value.round_ties_even(),
        integral::ZERO => value.trunc(),
        integral::DOWN => value.floor(),
        _ => value.ceil(),
    }
}

/// Rounded to an integral value and clamped to `bits` signed or unsigned bits; the result is cut to those bits.
fn to_integer<const HOW: u8, const BITS: u32, const SIGNED: bool>(value: f64) -> u64 {
    let value = round::<HOW>(value);
    if SIGNED {
        let (low, high) = (i64::MIN >> (64 - BITS), i64::MAX >> (64 - BITS));
        let bits = (value as i64).clamp(low, high) as u64;
        if BITS < 32 { bits & ((1 << BITS) - 1) } else { bits }
    } else {
        (value as u64).min(u64::MAX >> (64 - BITS))
    }
}

/// f32 to an integer of at most 32 bits.
pub fn f32_to_int<const HOW: u8, const BITS: u32, const SIGNED: bool>(
    out: &mut Lanes32,
    a: &Lanes32,
    _: &Lanes32,
    _: &Lanes32,
) {
    for lane in 0..32 {
        out[lane] = to_integer::<HOW, BITS, SIGNED>(f32::from_bits(a[lane]).into()) as u32;
    }
}

/// f32 to a 64-bit integer.
pub fn f32_to_int64<const HOW: u8, const SIGNED: bool>(out: &mut Lanes64, a: &Lanes32) {
    for lane in 0..32 {
        out[lane] = to_integer::<HOW, 64, SIGNED>(f32::from_bits(a[lane]).into());
    }
}

/// f64 to an integer of at most 32 bits.
pub fn f64_to_int<const HOW: u8, const BITS: u32, const SIGNED: bool>(out: &mut Lanes32, a: &Lanes64) {
    for lane in 0..32 {
        out[lane] = to_integer::<HOW, BITS, SIGNED>(f64::from_bits(a[lane])) as u32;
    }
}

/// f64 to a 64-bit integer.
pub fn f64_to_int64<const HOW: u8, const SIGNED: bool>(
    out: &mut Lanes64,
    a: &Lanes64,
    _: &Lanes64,
    _: &Lanes64,
) {
    for lane in 0..32 {
        out[lane] = to_integer::<HOW, 64, SIGNED>(f64::from_bits(a[lane]));
    }
}

/// f32 rounded to an integral f32.
pub fn f32_round<const HOW: u8>(out: &mut Lanes32, a: &Lanes32, _: &Lanes32, _: &Lanes32) {
    for lane in 0..32 {
        out[lane] = (round::<HOW>(f32::from_bits(a[lane]).into()) as f32).to_bits();
    }
}

/// f64 rounded to an integral f64.
pub fn f64_round<const HOW: u8>(out: &mut Lanes64, a: &Lanes64, _: &Lanes64, _: &Lanes64) {
    for lane in 0..32 {
        out[lane] = round::<HOW>(f64::from_bits(a[lane])).to_bits();
    }
}

/// At most 24 significant bits; what is cut off sets the lowest one that is kept.
fn sticky(magnitude: u32) -> u32 {
    if magnitude < 1 << 24 {
        return magnitude;
    }
    (magnitude & !0xff) | u32::from(magnitude & 0xff != 0) << 8
}

/// Integers on their way to a half: as f32 would round them, but to odd.
pub fn u32_sticky(out: &mut Lanes32, a: &Lanes32, _: &Lanes32, _: &Lanes32) {
    for lane in 0..32 {
        out[lane] = sticky(a[lane]);
    }
}

/// The same with a sign.
pub fn s32_sticky(out: &mut Lanes32, a: &Lanes32, _: &Lanes32, _: &Lanes32) {
    for lane in 0..32 {
        let value = a[lane] as i32;
        let magnitude = sticky(value.unsigned_abs());
        out[lane] = if value < 0 { magnitude.wrapping_neg() } else { magnitude };
    }
}

pub fn s32_to_f32(out: &mut Lanes32, a: &Lanes32, _: &Lanes32, _: &Lanes32) {
    for lane in 0..32 {
        out[lane] = (a[lane] as i32 as f32).to_bits();
    }
}

pub fn u32_to_f32(out: &mut Lanes32, a: &Lanes32, _: &Lanes32, _: &Lanes32) {
    for lane in 0..32 {
        out[lane] = (a[lane] as f32).to_bits();
    }
}

pub fn s64_to_f32(out: &mut Lanes32, a: &Lanes64) {
    for lane in 0..32 {
        out[lane] = (a[lane] as i64 as f32).to_bits();
    }
}

pub fn u64_to_f32(out: &mut Lanes32, a: &Lanes64) {
    for lane in 0..32 {
        out[lane] = (a[lane] as f32).to_bits();
    }
}

pub fn s32_to_f64(out: &mut Lanes64, a: &Lanes32) {
    for lane in 0..32 {
        out[lane] = f64::from(a[lane] as i32).to_bits();
    }
}

pub fn u32_to_f64(out: &mut Lanes64, a: &Lanes32) {
    for lane in 0..32 {
        out[lane] = f64::from(a[lane]).to_bits();
    }
}

pub fn s64_to_f64(out: &mut Lanes64, a: &Lanes64, _: &Lanes64, _: &Lanes64) {
    for lane in 0..32 {
        out[lane] = (a[lane] as i64 as f64).to_bits();
    }
}

pub fn u64_to_f64(out: &mut Lanes64, a: &Lanes64, _: &Lanes64, _: &Lanes64) {
    for lane in 0..32 {
        out[lane] = (a[lane] as f64).to_bits();
    }
}

pub fn f32_to_f64(out: &mut Lanes64, a: &Lanes32) {
    for lane in 0..32 {
        out[lane] = f64::from(f32::from_bits(a[lane])).to_bits();
    }
}

pub fn f64_to_f32(out: &mut Lanes32, a: &Lanes64) {
    for lane in 0..32 {
        out[lane] = (f64::from_bits(a[lane]) as f32).to_bits();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded<const HOW: u8, const BITS: u32, const SIGNED: bool>(value: f32) -> u32 {
        let mut out = [0; 32];
        f32_to_int::<HOW, BITS, SIGNED>(&mut out, &[value.to_bits(); 32], &[0; 32], &[0; 32]);
        out[5]
    }

    #[test]
    fn float_to_integer_saturates() {
        assert_eq!(rounded::<{ integral::NEAREST }, 32, true>(2.5), 2);
        assert_eq!(rounded::<{ integral::UP }, 32, true>(2.1), 3);
        assert_eq!(rounded::<{ integral::ZERO }, 32, true>(-2.9), -2i32 as u32);
        assert_eq!(rounded::<{ integral::ZERO }, 32, true>(1e20), i32::MAX as u32);
        assert_eq!(rounded::<{ integral::ZERO }, 32, false>(-1.0), 0);
        assert_eq!(rounded::<{ integral::ZERO }, 32, true>(f32::NAN), 0);
        assert_eq!(rounded::<{ integral::ZERO }, 8, true>(-300.0), 0x80);
        assert_eq!(rounded::<{ integral::ZERO }, 16, false>(1e9), 0xffff);
    }
}
