//! `bN`: bipolar integers, bit k is worth ±2^k.
//!
//! Code u (N bits) is worth 2u - (2^N - 1): the odd numbers from -(2^N - 1) to 2^N - 1. `b1` is {-1, 1}; `b2` is {-3, -1, 1, 3}.
//! The language leaves open where a number between two odd ones goes; here it goes up, so that 0 becomes +1.

/// A bipolar format of 1…8 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BipolarFormat {
    bits: u8,
}

impl BipolarFormat {
    /// `bN`, or nothing where N is not 1…8.
    pub fn new(bits: u32) -> Option<BipolarFormat> {
        (1..=8).contains(&bits).then_some(BipolarFormat { bits: bits as u8 })
    }

    pub fn bits(self) -> u32 {
        self.bits as u32
    }

    /// The greatest number, 2^N - 1; the least is its negative.
    pub fn max(self) -> i64 {
        (1 << self.bits) - 1
    }

    /// What the low N bits of `code` stand for.
    pub fn decode(self, code: u64) -> i64 {
        2 * (code as i64 & self.max()) - self.max()
    }

    /// The code of `v`, wrapping like every conversion between integers; an even `v` goes up to the next odd number.
    pub fn encode(self, v: i64) -> u64 {
        ((v.wrapping_add(self.max() + 1) >> 1) & self.max()) as u64
    }

    /// The code of the number nearest to `x`, saturating; ties go up and NaN counts as 0.
    pub fn encode_f64(self, x: f64) -> u64 {
        if x.is_nan() {
            return self.encode(0);
        }
        let max = self.max() as f64;
        // floor((x + 2^N) / 2), exactly: the halving is, and the floor is taken before a sum could round.
        let below = ((x.clamp(-max, max) / 2.0).floor()) as i64 * 2;
        let odd = below + 1;
        // x lies in [below, below + 2): its nearest odd number is below + 1, the tie at `below` included.
        self.encode(odd.clamp(-self.max(), self.max()))
    }
}
