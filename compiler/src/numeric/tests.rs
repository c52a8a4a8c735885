//! Every code of every small format against brute force, and the 16-bit floats against the `half` crate.

use half::{bf16, f16};
use proptest::prelude::*;

use super::*;

/// All `fNeXmY` formats.
fn small_floats() -> impl Iterator<Item = (u32, u32, FloatFormat)> {
    (1..=7).flat_map(|e| (0..=6).filter_map(move |m| Some((e, m, FloatFormat::small(e, m)?))))
}

/// A code's value straight from the definition.
fn by_definition(exp_bits: u32, man_bits: u32, code: u64) -> f64 {
    let bias = (1 << (exp_bits - 1)) - 1;
    let exponent = (code >> man_bits & ((1 << exp_bits) - 1)) as i32;
    let fraction = (code & ((1 << man_bits) - 1)) as f64 / (1u64 << man_bits) as f64;
    let magnitude = if exponent == 0 {
        fraction * 2f64.powi(1 - bias)
    } else {
        (1.0 + fraction) * 2f64.powi(exponent - bias)
    };
    if code >> (exp_bits + man_bits) & 1 == 1 { -magnitude } else { magnitude }
}

fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

#[test]
fn small_floats_decode_by_the_definition_and_encode_back() {
    for (e, m, format) in small_floats() {
        let width = 1 + e + m;
        for code in 0..1u64 << width {
            let value = format.decode(code);
            let magnitude = code & ((1 << (e + m)) - 1);
            let expected = match (e, m) {
                (4, 3) if magnitude == 0x7f => f64::NAN,
                (5, 2) if magnitude == 0x7c => f64::INFINITY.copysign(by_definition(e, m, code)),
                (5, 2) if magnitude > 0x7c => f64::NAN,
                _ => by_definition(e, m, code),
            };
            assert!(same(value, expected), "e{e}m{m} code {code:#x}: {value} is not {expected}");
            if value.is_finite() {
                assert_eq!(format.encode(value), code, "e{e}m{m} {value}");
            }
        }
    }
}

/// Nearest by search over all finite codes, the even code at a tie, saturating.
fn nearest_code(format: FloatFormat, width: u32, x: f64) -> u64 {
    let sign = (x.is_sign_negative() as u64) << (width - 1);
    let finite = (0..1u64 << (width - 1)).filter(|&c| format.decode(c).is_finite());
    sign | finite
        .min_by(|&a, &b| {
            let distance = |c: u64| (format.decode(c) - x.abs()).abs();
            distance(a).total_cmp(&distance(b)).then((a % 2).cmp(&(b % 2)))
        })
        .expect("every format has finite codes")
}

#[test]
fn small_floats_round_to_the_nearest_code() {
    for (e, m, format) in small_floats() {
        let width = 1 + e + m;
        let values: Vec<f64> =
            (0..1u64 << (width - 1)).map(|c| format.decode(c)).filter(|v| v.is_finite()).collect();
        for pair in values.windows(2) {
            let middle = pair[0] / 2.0 + pair[1] / 2.0;
            for x in
                [pair[0], middle, middle.next_down(), middle.next_up(), pair[0] + (pair[1] - pair[0]) * 0.3]
            {
                for x in [x, -x] {
                    assert_eq!(format.encode(x), nearest_code(format, width, x), "e{e}m{m} of {x}");
                }
            }
        }
        let greatest = values[values.len() - 1];
        for beyond in [greatest * 1.5, 1e300, f64::INFINITY] {
            assert_eq!(format.round(beyond), greatest);
            assert_eq!(format.round(-beyond), -greatest);
        }
        let of_nan = format.round(f64::NAN);
        assert!(if format.has_nan() { of_nan.is_nan() } else { of_nan == greatest });
        assert!(same(format.round(-1e-300), -0.0));
    }
    assert_eq!(FloatFormat::E4M3.max(), 448.0);
    assert_eq!(FloatFormat::E5M2.max(), 57344.0);
    assert_eq!(FloatFormat::E2M1.max(), 6.0);
    assert_eq!(FloatFormat::small(8, 0), None);
    assert_eq!(FloatFormat::small(0, 3), None);
}

#[test]
fn e8m0_rounds_down_to_a_power_of_two() {
    let format = ScaleFormat;
    for code in 0..255 {
        let value = format.decode(code);
        assert_eq!(value, 2f64.powi(code as i32 - 127));
        assert_eq!(format.encode(value), code);
        assert_eq!(format.encode((value * 2.0).next_down()), code);
        assert_eq!(format.encode(value.next_down()), code.saturating_sub(1));
    }
    assert!(format.decode(255).is_nan() && format.round(f64::NAN).is_nan());
    assert!(format.round(-1.0).is_nan() && format.round(f64::NEG_INFINITY).is_nan());
    assert_eq!(format.encode(0.0), 0);
    assert_eq!(format.encode(-0.0), 0);
    assert_eq!(format.encode(f64::INFINITY), 254);
    assert_eq!(Format::E8M0.convert_int(-3, IntFormat::I32).encode_in(Format::E8M0), 255);
    assert_eq!(Format::E8M0.convert_int(i64::MAX, IntFormat::I64), Number::Float(2f64.powi(62)));
}

impl Number {
    fn encode_in(self, format: Format) -> u64 {
        match self {
            Number::Float(x) => format.encode_f64(x),
            Number::Int(v) => format.encode_int(v, IntFormat::I64),
        }
    }
}

#[test]
fn sixteen_bit_floats_agree_with_the_half_crate() {
    for code in 0..=u16::MAX {
        let (h, b) = (f16::from_bits(code), bf16::from_bits(code));
        assert!(same(FloatFormat::F16.decode(code as u64), h.to_f64()));
        assert!(same(FloatFormat::BF16.decode(code as u64), b.to_f64()));
        assert_eq!(
            f16_to_f32(code).to_bits(),
            h.to_f32().to_bits() & !quiet_bit(h.is_nan()) | f16_quiet(code, h)
        );
        assert_eq!(bf16_to_f32(code).to_bits(), (code as u32) << 16);
        if !h.is_nan() {
            assert_eq!(FloatFormat::F16.encode(h.to_f64()), code as u64);
            assert_eq!(f16_from_f32(h.to_f32()), code);
        }
        if !b.is_nan() {
            assert_eq!(FloatFormat::BF16.encode(b.to_f64()), code as u64);
            assert_eq!(bf16_from_f32(b.to_f32()), code);
        }
    }
}

/// `half` sets the quiet bit when it widens a NaN and we keep the payload: compare without that bit.
fn quiet_bit(nan: bool) -> u32 {
    if nan { 1 << 22 } else { 0 }
}

fn f16_quiet(code: u16, h: f16) -> u32 {
    if h.is_nan() { (code as u32 & 0x200) << 13 } else { 0 }
}

#[test]
fn sixteen_bit_floats_round_at_every_tie() {
    for (format, from_f32) in
        [(FloatFormat::F16, f16_from_f32 as fn(f32) -> u16), (FloatFormat::BF16, bf16_from_f32)]
    {
        let top = format.encode(format.max());
        for code in 0..top {
            let (low, high) = (format.decode(code), format.decode(code + 1));
            let middle = low / 2.0 + high / 2.0;
            let even = code + code % 2;
            for (x, expected) in [(middle, even), (middle.next_down(), code), (middle.next_up(), code + 1)] {
                assert_eq!(format.encode(x), expected, "{x}");
                assert_eq!(format.encode(-x), expected | 0x8000, "{x}");
            }
            let single = middle as f32;
            for (x, expected) in [(single, even), (single.next_down(), code), (single.next_up(), code + 1)] {
                if x as f64 == middle || x != single {
                    assert_eq!(from_f32(x) as u64, expected, "{x}");
                    assert_eq!(from_f32(-x) as u64, expected | 0x8000, "{x}");
                }
            }
        }
        let half_ulp_above = format.max() + (format.max() - format.decode(top - 1)) / 2.0;
        assert_eq!(format.round(half_ulp_above), f64::INFINITY);
        assert_eq!(format.round(half_ulp_above.next_down()), format.max());
        assert_eq!(from_f32(f32::NEG_INFINITY) as u64, format.encode(f64::NEG_INFINITY));
        assert_eq!(from_f32(f32::NAN), 0x7fff);
        assert_eq!(format.encode(f64::NAN), 0x7fff);
    }
}

#[test]
fn tf32_ties_go_away_from_zero() {
    let format = FloatFormat::TF32;
    let ulp = 2f64.powi(-10);
    assert_eq!(format.round(1.0 + ulp / 2.0), 1.0 + ulp);
    assert_eq!(format.round(-(1.0 + ulp / 2.0)), -(1.0 + ulp));
    assert_eq!(format.round((1.0 + ulp / 2.0).next_down()), 1.0);
    assert_eq!(format.round(f32::MAX as f64), f64::INFINITY);
    assert_eq!(format.encode(1.0), 1f32.to_bits() as u64);
    assert_eq!(format.storage_bits(), 32);
    assert_eq!(format.decode((1f32.to_bits() | 0x1fff) as u64), 1.0);
}

#[test]
fn rounding_once_differs_from_rounding_through_f32() {
    // 1 + 2^-11 + 2^-40 is above the tie in f16; through f32 it would be on it and go down.
    let x = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
    assert_eq!(f16::from_f32(x as f32).to_f64(), 1.0);
    assert_eq!(FloatFormat::F16.round(x), 1.0 + 2f64.powi(-10));
    // The same for an integer: 2^60 + 2^36 + 1 is just above an f32 tie, and not representable in f64.
    let v = (1i64 << 60) + (1 << 36) + 1;
    assert_eq!(Format::F32.convert_int(v, IntFormat::I64), Number::Float((v as f32) as f64));
    assert_ne!(v as f64 as f32, v as f32);
}

#[test]
fn bipolar_codes_are_odd_numbers() {
    for bits in 1..=8 {
        let format = BipolarFormat::new(bits).expect("1 to 8 bits");
        for code in 0..1u64 << bits {
            let value = format.decode(code);
            let by_bits: i64 = (0..bits).map(|k| if code >> k & 1 == 1 { 1 << k } else { -(1 << k) }).sum();
            assert_eq!(value, by_bits);
            assert_eq!(format.encode(value), code);
            assert_eq!(format.encode_f64(value as f64), code);
            assert_eq!(format.encode_f64(value as f64 + 0.99), code);
            assert_eq!(format.encode_f64(value as f64 - 1.0), code, "a tie goes up");
        }
        assert_eq!(format.decode(format.encode_f64(f64::INFINITY)), format.max());
        assert_eq!(format.decode(format.encode_f64(f64::NEG_INFINITY)), -format.max());
        assert_eq!(format.decode(format.encode(0)), 1);
        assert_eq!(format.decode(format.encode_f64(f64::NAN)), 1);
        assert_eq!(format.encode(format.max() + 2), 0, "integers wrap");
    }
    assert_eq!(BipolarFormat::new(9), None);
}

#[test]
fn integers_round_saturate_and_wrap() {
    let i8 = IntFormat::new(true, 8).expect("8 bits");
    let u3 = IntFormat::new(false, 3).expect("3 bits");
    assert_eq!([2.5, 3.5, -0.5, 200.0, -1e9, f64::NAN].map(|x| i8.round_f64(x)), [2, 4, 0, 127, -128, 0]);
    assert_eq!([7.4, 9.0, -3.0].map(|x| u3.round_f64(x)), [7, 7, 0]);
    assert_eq!([8, -1, 13].map(|v| u3.wrap(v)), [0, 7, 5]);
    assert_eq!([128, -129, 255].map(|v| i8.wrap(v)), [-128, 127, -1]);
    assert_eq!(IntFormat::U64.round_f64(1e30) as u64, u64::MAX);
    assert_eq!(IntFormat::U64.round_f64(2f64.powi(63)) as u64, 1 << 63);
    assert_eq!(IntFormat::I64.round_f64(1e30), i64::MAX);
    assert_eq!(Format::BF16.convert_int(-1, IntFormat::U64), Number::Float(2f64.powi(64)));
}

#[test]
fn integer_operations_of_eight_bits_by_brute_force() {
    for signed in [false, true] {
        let format = IntFormat::new(signed, 8).expect("8 bits");
        for a in format.min()..=format.max() {
            for b in format.min()..=format.max() {
                let (q, r) = match b {
                    0 => (0, a),
                    _ => ((a as f64 / b as f64).floor() as i64, a - b * (a as f64 / b as f64).floor() as i64),
                };
                assert_eq!(format.div(a, b), format.wrap(q), "{a} / {b}");
                assert_eq!(format.rem(a, b), r, "{a} % {b}");
                let shifted = if (0..8).contains(&b) { a << b } else { 0 };
                assert_eq!(format.shl(a, b), format.wrap(shifted), "{a} << {b}");
                let down = if (0..8).contains(&b) { a >> b } else { -((a < 0) as i64) };
                assert_eq!(format.shr(a, b), down, "{a} >> {b}");
                let up = if b == 0 { 0 } else { (a as f64 / b as f64).ceil() as i64 };
                assert_eq!(format.cdiv(a, b), format.wrap(up), "cdiv({a}, {b})");
            }
            assert_eq!(format.clz(a) as u32, (a as u8).leading_zeros());
            assert_eq!(format.popc(a) as u32, (a as u8).count_ones());
            assert_eq!(format.ilog2(a), if a > 0 { (a as f64).log2().floor() as i64 } else { -1 });
        }
    }
    let u64 = IntFormat::U64;
    assert_eq!(u64.div(-1, 10) as u64, u64::MAX / 10);
    assert_eq!(u64.rem(-1, 10) as u64, u64::MAX % 10);
    assert_eq!(u64.shr(-1, 63), 1);
    assert_eq!(u64.shr(-1, 64), 0);
    assert_eq!(u64.cmp(-1, 1), std::cmp::Ordering::Greater);
    assert_eq!(IntFormat::I64.div(i64::MIN, -1), i64::MIN);
}

#[test]
fn codes_of_any_width_lie_densely_in_a_row() {
    for bits in [1u32, 2, 3, 5, 6, 7, 8, 16, 32, 64] {
        let mask = u64::MAX >> (64 - bits);
        let codes: Vec<u64> = (0..13u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask).collect();
        let mut row = vec![0xff; row_bytes(codes.len(), bits)];
        for (i, &code) in codes.iter().enumerate() {
            write_code(&mut row, i, bits, code);
        }
        let back: Vec<u64> = (0..codes.len()).map(|i| read_code(&row, i, bits)).collect();
        assert_eq!(back, codes, "{bits} bits");
    }
    let mut row = [0; 2];
    [5, 6, 7].iter().enumerate().for_each(|(i, &c)| write_code(&mut row, i, 3, c));
    assert_eq!(row, [0b1111_0101, 0b1]);
}

proptest! {
    #[test]
    fn single_and_half_precision_agree_with_rust(bits: u64) {
        let x = f64::from_bits(bits);
        prop_assert!(same(FloatFormat::F32.decode(FloatFormat::F32.encode(x)), x as f32 as f64));
        let single = f32::from_bits(bits as u32);
        prop_assert_eq!(f16_from_f32(single) as u64, FloatFormat::F16.encode(single as f64));
        prop_assert_eq!(bf16_from_f32(single) as u64, FloatFormat::BF16.encode(single as f64));
    }

    #[test]
    fn rounding_a_slice_is_rounding_each(xs in prop::collection::vec(-20f64..20.0, 1..20), scale in -40i32..40) {
        let small = small_floats().map(|(_, _, f)| f);
        for format in small.chain([FloatFormat::F16, FloatFormat::BF16, FloatFormat::TF32, FloatFormat::F32]) {
            // Coarse numbers beside fine ones, so that ties occur.
            let mut all: Vec<f64> = xs.iter().flat_map(|x| [x * 2f64.powi(scale), x.round() / 16.0]).collect();
            let each: Vec<f64> = all.iter().map(|&x| format.round(x)).collect();
            format.round_slice(&mut all);
            prop_assert!(all.iter().zip(&each).all(|(a, b)| same(*a, *b)), "{:?}: {:?} {:?}", format, all, each);
        }
    }
}
