//! `e8m0`: the scale of a block, a power of two.
//!
//! Code c is 2^(c - 127), and 255 is NaN; there is no sign and no zero. Conversion goes *down* to a power of two, so that a scale
//! made from a block's greatest element never overflows what it scales; 0 gives the least power, a negative number NaN.

use super::float::power_of_two;

/// `e8m0`; it has no parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScaleFormat;

const NAN: u64 = 255;

impl ScaleFormat {
    /// 2^(code - 127), or NaN for 255. Bits above the eighth are ignored.
    pub fn decode(self, code: u64) -> f64 {
        match code & 0xff {
            NAN => f64::NAN,
            c => power_of_two(c as i32 - 127),
        }
    }

    /// The greatest power of two that is not above `x`, within 2^-127 … 2^127.
    pub fn encode(self, x: f64) -> u64 {
        if x.is_nan() || x < 0.0 {
            return NAN;
        }
        // A subnormal f64 has the stored exponent 0 and clamps to the least power like every other small number.
        let exponent = (x.abs().to_bits() >> 52) as i64 - 1023;
        (exponent + 127).clamp(0, 254) as u64
    }

    /// `x as e8m0`.
    pub fn round(self, x: f64) -> f64 {
        self.decode(self.encode(x))
    }
}
