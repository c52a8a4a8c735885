//! Binary floating-point formats: sign, exponent, mantissa.
//!
//! A code is `sign | exponent | mantissa`, and codes of one sign count upward through the values: that is why rounding up is adding
//! one to the code, the carry into the exponent included. With `emin = 1 - bias` and m mantissa bits, code c (without its sign) is
//! worth `c · 2^(emin - m)` below the first normal number and `(2^m + c mod 2^m) · 2^(c div 2^m - 1 + emin - m)` from there on.
//! Example, e2m1 (bias 1): codes 0…7 are 0, 0.5, 1, 1.5, 2, 3, 4, 6.

/// What the codes above the finite numbers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Specials {
    /// The greatest exponent is infinity (mantissa 0) and NaN, as in IEEE 754.
    Ieee,
    /// Only the code of all ones is NaN; no infinity (OCP e4m3).
    NanOnly,
    /// Every code is a finite number.
    None,
}

/// A format `sign, exp_bits, man_bits` with bias `2^(exp_bits - 1) - 1` and subnormal numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FloatFormat {
    exp_bits: u8,
    man_bits: u8,
    /// Low bits of the stored word that are zero: 13 for `tf32`, which lives in 32 bits.
    pad_bits: u8,
    specials: Specials,
    /// A number beyond the greatest becomes the greatest instead of infinity.
    saturates: bool,
    /// Ties go away from zero instead of to even.
    ties_away: bool,
}

const fn ieee(exp_bits: u8, man_bits: u8) -> FloatFormat {
    FloatFormat {
        exp_bits,
        man_bits,
        pad_bits: 0,
        specials: Specials::Ieee,
        saturates: false,
        ties_away: false,
    }
}

impl FloatFormat {
    pub const F16: FloatFormat = ieee(5, 10);
    pub const BF16: FloatFormat = ieee(8, 7);
    pub const F32: FloatFormat = ieee(8, 23);
    pub const F64: FloatFormat = ieee(11, 52);
    pub const TF32: FloatFormat = FloatFormat { pad_bits: 13, ties_away: true, ..ieee(8, 10) };
    /// OCP: NaN (`0x7f`, `0xff`), no infinity, greatest 448.
    pub const E4M3: FloatFormat = FloatFormat { specials: Specials::NanOnly, saturates: true, ..ieee(4, 3) };
    /// OCP: infinity and NaN, greatest finite 57344, to which `as` saturates.
    pub const E5M2: FloatFormat = FloatFormat { saturates: true, ..ieee(5, 2) };
    pub const E2M1: FloatFormat = FloatFormat { specials: Specials::None, saturates: true, ..ieee(2, 1) };
    pub const E2M3: FloatFormat = FloatFormat { specials: Specials::None, saturates: true, ..ieee(2, 3) };
    pub const E3M2: FloatFormat = FloatFormat { specials: Specials::None, saturates: true, ..ieee(3, 2) };

    /// The storage type `fNeXmY` with N = 1 + X + Y, or nothing where N is not 3…8 or X is 0.
    pub fn small(exp_bits: u32, man_bits: u32) -> Option<FloatFormat> {
        let width = 1 + exp_bits + man_bits;
        match (exp_bits, man_bits) {
            (4, 3) => Some(Self::E4M3),
            (5, 2) => Some(Self::E5M2),
            (1.., _) if (3..=8).contains(&width) => Some(FloatFormat {
                specials: Specials::None,
                saturates: true,
                ..ieee(exp_bits as u8, man_bits as u8)
            }),
            _ => None,
        }
    }

    pub fn exp_bits(self) -> u32 {
        self.exp_bits as u32
    }

    /// Stored mantissa bits, without the hidden one.
    pub fn man_bits(self) -> u32 {
        self.man_bits as u32
    }

    pub fn bias(self) -> i32 {
        (1 << (self.exp_bits - 1)) - 1
    }

    /// Bits of one element in memory.
    pub fn storage_bits(self) -> u32 {
        1 + self.exp_bits() + self.man_bits() + self.pad_bits as u32
    }

    pub fn has_inf(self) -> bool {
        self.specials == Specials::Ieee
    }

    pub fn has_nan(self) -> bool {
        self.specials != Specials::None
    }

    /// The least exponent of a normal number; subnormals share it.
    fn emin(self) -> i32 {
        1 - self.bias()
    }

    /// The code of the greatest finite number, without padding.
    fn max_code(self) -> u64 {
        let all = (1u64 << (self.exp_bits + self.man_bits)) - 1;
        match self.specials {
            Specials::Ieee => all - (1 << self.man_bits),
            Specials::NanOnly => all - 1,
            Specials::None => all,
        }
    }

    /// The greatest finite number.
    pub fn max(self) -> f64 {
        self.decode(self.max_code() << self.pad_bits)
    }

    /// The least positive number.
    pub fn min_positive(self) -> f64 {
        self.decode(1 << self.pad_bits)
    }

    /// The number that a code stands for, exactly. NaNs lose their payload.
    pub fn decode(self, code: u64) -> f64 {
        let m = self.man_bits as u32;
        let field_bits = self.exp_bits as u32 + m;
        let code = code >> self.pad_bits;
        let magnitude = code & ((1u64 << field_bits) - 1);
        let negative = (code >> field_bits) & 1 == 1;
        let value = if magnitude > self.max_code() {
            let is_inf = self.specials == Specials::Ieee && magnitude == self.max_code() + 1;
            if is_inf { f64::INFINITY } else { f64::NAN }
        } else if self.exp_bits == 11 {
            f64::from_bits(magnitude)
        } else {
            let exponent = magnitude >> m;
            let mantissa = magnitude & ((1 << m) - 1);
            if exponent == 0 {
                // The quantum is a normal f64 in every format but f64 itself, so the product is exact.
                mantissa as f64 * power_of_two(self.emin() - m as i32)
            } else {
                let biased = (exponent as i32 - self.bias() + 1023) as u64;
                f64::from_bits(biased << 52 | mantissa << (52 - m))
            }
        };
        if negative { -value } else { value }
    }

    /// The code of the number nearest to `x`. NaN becomes the positive NaN with all mantissa bits set, as PTX's `cvt` makes it.
    pub fn encode(self, x: f64) -> u64 {
        let m = self.man_bits as u32;
        let sign = (x.to_bits() >> 63) << (self.exp_bits as u32 + m);
        if x.is_nan() {
            let all = (1u64 << (self.exp_bits as u32 + m)) - 1;
            let code = if self.specials == Specials::None { self.max_code() } else { all };
            return code << self.pad_bits;
        }
        let code =
            self.magnitude(x.abs()).min(if self.saturates { self.max_code() } else { self.max_code() + 1 });
        (sign | code) << self.pad_bits
    }

    /// The code to which `x >= 0` rounds if exponents had no end.
    fn magnitude(self, x: f64) -> u64 {
        let bits = x.to_bits();
        if self.exp_bits == 11 {
            return bits;
        }
        if x.is_infinite() {
            return self.max_code() + 1;
        }
        let m = self.man_bits as i32;
        let stored = (bits >> 52) as i32;
        let fraction = bits & ((1 << 52) - 1);
        let (e, significand) =
            if stored == 0 { (-1022, fraction) } else { (stored - 1023, fraction | 1 << 52) };
        // x = significand · 2^(e - 52); the quantum at x is 2^(scale - m).
        let scale = e.max(self.emin());
        let drop = 52 - m + (scale - e);
        // significand < 2^53, so from here on x is below half a quantum.
        if drop > 53 {
            return 0;
        }
        let quotient = significand >> drop;
        let rest = significand & ((1 << drop) - 1);
        let half = 1u64 << (drop - 1);
        let code = (((scale - self.emin()) as u64) << m) + quotient;
        // Parity of the code, not of the significand: it is the same but for formats without mantissa, where it still
        // alternates.
        let up = rest > half || (rest == half && (self.ties_away || code & 1 == 1));
        code + up as u64
    }

    /// The number nearest to `x`.
    pub fn round(self, x: f64) -> f64 {
        match (self.exp_bits, self.man_bits) {
            (11, _) => x,
            (8, 23) => x as f32 as f64,
            _ => self.decode(self.encode(x)),
        }
    }

    /// Rounds every element; the loop is short for numbers in the format's normal range.
    pub fn round_slice(self, xs: &mut [f64]) {
        match (self.exp_bits, self.man_bits) {
            (11, _) => {}
            (8, 23) => xs.iter_mut().for_each(|x| *x = *x as f32 as f64),
            _ => {
                let drop = 52 - self.man_bits as u32;
                let (low, high) = (power_of_two(self.emin()), self.max());
                let keep = !((1u64 << drop) - 1);
                let even = !self.ties_away as u64;
                for x in xs {
                    let magnitude = x.abs();
                    if magnitude >= low && magnitude <= high && self.man_bits > 0 {
                        let bits = x.to_bits();
                        // Half a unit, less one where the last kept bit is 0 and ties go to even.
                        let bump = (1u64 << (drop - 1)) - even * (1 - (bits >> drop & 1));
                        *x = f64::from_bits((bits + bump) & keep);
                    } else {
                        *x = self.round(*x);
                    }
                }
            }
        }
    }
}

/// 2^e for e in the range of normal `f64`s.
pub(super) fn power_of_two(e: i32) -> f64 {
    f64::from_bits(((e + 1023) as u64) << 52)
}
