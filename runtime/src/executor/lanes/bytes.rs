//! Conversions to and from pairs of 8-bit floats.
//!
//! e4m3 has 3 bits of mantissa, no infinity, and NaN only as all ones; e5m2 is the upper half of an f16. Conversions to them round to nearest even
//! and saturate (`.satfinite`, which PTX requires): 448 and 57344 are the largest; NaN stays NaN.

use super::super::frame::Lanes32;

/// An f32 as an 8-bit float with `MANTISSA` bits of mantissa.
fn narrow<const MANTISSA: u32>(x: f32, relu: bool) -> u32 {
    if x.is_nan() {
        return 0x7f;
    }
    if relu && x < 0.0 {
        return 0;
    }
    let (bias, largest) = if MANTISSA == 3 { (7, 0x7e) } else { (15, 0x7b) };
    let (sign, magnitude) = (x.to_bits() >> 24 & 0x80, x.abs());
    let least_normal = f32::from_bits((128 - bias) << 23);
    let code = if magnitude >= least_normal {
        let (bits, cut) = (magnitude.to_bits(), 23 - MANTISSA);
        let rounded = bits + (1 << (cut - 1)) - 1 + (bits >> cut & 1);
        (rounded >> cut) - ((127 - bias) << MANTISSA)
    } else {
        // Steps of the smallest subnormal; the largest of them rolls over into the first normal.
        let steps = magnitude * f32::from_bits((127 + bias - 1 + MANTISSA) << 23);
        steps.round_ties_even() as u32
    };
    sign | code.min(largest)
}

/// The value of an 8-bit float.
fn widen<const MANTISSA: u32>(code: u32) -> f32 {
    if MANTISSA == 2 {
        return half::f16::from_bits((code << 8) as u16).to_f32();
    }
    let (exponent, mantissa) = (code >> 3 & 15, code & 7);
    let magnitude = match (exponent, mantissa) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa as f32 / 512.0,
        _ => f32::from_bits((exponent + 120) << 23 | mantissa << 20),
    };
    if code & 0x80 != 0 { -magnitude } else { magnitude }
}

/// `cvt.rn.satfinite{.relu}.e?m?x2.f32 d, a, b`: `a` goes to the upper byte.
pub fn from_f32<const MANTISSA: u32, const RELU: bool>(
    out: &mut Lanes32,
    a: &Lanes32,
    b: &Lanes32,
    _: &Lanes32,
) {
    for lane in 0..32 {
        let byte = |word: u32| narrow::<MANTISSA>(f32::from_bits(word), RELU);
        out[lane] = byte(a[lane]) << 8 | byte(b[lane]);
    }
}

/// `cvt.rn.satfinite{.relu}.e?m?x2.f16x2 d, a`.
pub fn from_f16x2<const MANTISSA: u32, const RELU: bool>(
    out: &mut Lanes32,
    a: &Lanes32,
    _: &Lanes32,
    _: &Lanes32,
) {
    for lane in 0..32 {
        let byte = |bits: u32| narrow::<MANTISSA>(half::f16::from_bits(bits as u16).to_f32(), RELU);
        out[lane] = byte(a[lane] >> 16) << 8 | byte(a[lane]);
    }
}

/// `cvt.rn{.relu}.f16x2.e?m?x2 d, a`.
pub fn to_f16x2<const MANTISSA: u32, const RELU: bool>(
    out: &mut Lanes32,
    a: &Lanes32,
    _: &Lanes32,
    _: &Lanes32,
) {
    for lane in 0..32 {
        let half = |code: u32| {
            let value = widen::<MANTISSA>(code & 0xff);
            if value.is_nan() {
                return 0x7fff;
            }
            let value = if RELU { value.max(0.0) } else { value };
            u32::from(half::f16::from_f32(value).to_bits())
        };
        out[lane] = half(a[lane] >> 8) << 16 | half(a[lane]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nearest finite value by search, ties to the even code.
    fn nearest<const MANTISSA: u32>(x: f32) -> u32 {
        let largest = if MANTISSA == 3 { 0x7e } else { 0x7b };
        let distance = |code: u32| (f64::from(widen::<MANTISSA>(code)) - f64::from(x.abs())).abs();
        let best =
            (0..=largest).min_by(|&p, &q| distance(p).total_cmp(&distance(q)).then((p & 1).cmp(&(q & 1))));
        best.unwrap_or(0) | x.to_bits() >> 24 & 0x80
    }

    #[test]
    fn every_half_becomes_the_nearest_byte() {
        for bits in 0..=u16::MAX {
            let x = half::f16::from_bits(bits).to_f32();
            if x.is_nan() {
                assert_eq!((narrow::<3>(x, false), narrow::<2>(x, true)), (0x7f, 0x7f));
                continue;
            }
            if x.is_infinite() {
                assert_eq!((narrow::<3>(x, false) & 0x7f, narrow::<2>(x, false) & 0x7f), (0x7e, 0x7b));
                continue;
            }
            assert_eq!(narrow::<3>(x, false), nearest::<3>(x), "{x} as e4m3");
            assert_eq!(narrow::<2>(x, false), nearest::<2>(x), "{x} as e5m2");
        }
        assert_eq!(narrow::<3>(f32::INFINITY, false), 0x7e);
        assert_eq!(narrow::<3>(-1e9, true), 0);
        // Halfway between two values, and just beside it.
        assert_eq!(narrow::<3>(f32::from_bits(1.0625f32.to_bits()), false), 0x38);
        assert_eq!(narrow::<3>(f32::from_bits(1.0625f32.to_bits() + 1), false), 0x39);
    }

    #[test]
    fn every_byte_has_its_value() {
        // 2^(e - bias) (1 + m / 2^M), written out.
        for code in 0..=255u32 {
            let (e, m) = ((code >> 3 & 15) as i32, f64::from(code & 7));
            let sign = if code & 0x80 != 0 { -1.0 } else { 1.0 };
            let want = if e == 0 { m / 8.0 * 2f64.powi(-6) } else { (1.0 + m / 8.0) * 2f64.powi(e - 7) };
            let got = f64::from(widen::<3>(code));
            assert!(got == sign * want || (code & 0x7f == 0x7f && got.is_nan()), "{code:#x}");
            let value = widen::<2>(code);
            assert!(value.is_nan() || value.is_infinite() || narrow::<2>(value, false) == code);
        }
        let mut out = [0; 32];
        to_f16x2::<3, false>(&mut out, &[0xb87f; 32], &[0; 32], &[0; 32]);
        assert_eq!(out[0], 0xbc00_7fff);
        to_f16x2::<2, true>(&mut out, &[0xbc3c; 32], &[0; 32], &[0; 32]);
        assert_eq!(out[0], 0x0000_3c00);
    }
}
