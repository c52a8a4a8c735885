//! Two's-complement integers of 1…64 bits: wrapping arithmetic as the language defines it.
//!
//! Values are `i64`; a `u64` is the `i64` of the same bits. Every operation takes wrapped values and gives a wrapped value. Division
//! floors: `-1 / 64 == -1`, `-1 % 64 == 63`; `x / 0 == 0`, `x % 0 == x`.

use std::cmp::Ordering;

/// A signed or unsigned integer format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IntFormat {
    signed: bool,
    bits: u8,
}

impl IntFormat {
    pub const I16: IntFormat = IntFormat { signed: true, bits: 16 };
    pub const I32: IntFormat = IntFormat { signed: true, bits: 32 };
    pub const I64: IntFormat = IntFormat { signed: true, bits: 64 };
    pub const U1: IntFormat = IntFormat { signed: false, bits: 1 };
    pub const U8: IntFormat = IntFormat { signed: false, bits: 8 };
    pub const U16: IntFormat = IntFormat { signed: false, bits: 16 };
    pub const U32: IntFormat = IntFormat { signed: false, bits: 32 };
    pub const U64: IntFormat = IntFormat { signed: false, bits: 64 };

    /// An integer of `bits` bits, or nothing where that is not 1…64.
    pub fn new(signed: bool, bits: u32) -> Option<IntFormat> {
        (1..=64).contains(&bits).then_some(IntFormat { signed, bits: bits as u8 })
    }

    pub fn signed(self) -> bool {
        self.signed
    }

    pub fn bits(self) -> u32 {
        self.bits as u32
    }

    /// The least value.
    pub fn min(self) -> i64 {
        if self.signed { i64::MIN >> (64 - self.bits) } else { 0 }
    }

    /// The greatest value (a `u64`'s by its bits, −1).
    pub fn max(self) -> i64 {
        match (self.signed, self.bits) {
            (true, n) => i64::MAX >> (64 - n),
            (false, 64) => -1,
            (false, n) => (1 << n) - 1,
        }
    }

    fn is_u64(self) -> bool {
        !self.signed && self.bits == 64
    }

    /// The value with the same low bits.
    pub fn wrap(self, v: i64) -> i64 {
        let unused = 64 - self.bits as u32;
        if self.signed { (v << unused) >> unused } else { ((v as u64) << unused >> unused) as i64 }
    }

    /// The value's bits in memory.
    pub fn encode(self, v: i64) -> u64 {
        v as u64 & (u64::MAX >> (64 - self.bits))
    }

    /// Nearest `f64` (exact up to 2^53).
    pub fn to_f64(self, v: i64) -> f64 {
        if self.is_u64() { v as u64 as f64 } else { v as f64 }
    }

    /// Nearest integer, ties to even, saturating; NaN is 0.
    pub fn round_f64(self, x: f64) -> i64 {
        let nearest = x.round_ties_even();
        if self.is_u64() {
            // Rust's casts saturate and take NaN to 0.
            nearest as u64 as i64
        } else {
            (nearest as i64).clamp(self.min(), self.max())
        }
    }

    pub fn add(self, a: i64, b: i64) -> i64 {
        self.wrap(a.wrapping_add(b))
    }

    pub fn sub(self, a: i64, b: i64) -> i64 {
        self.wrap(a.wrapping_sub(b))
    }

    pub fn mul(self, a: i64, b: i64) -> i64 {
        self.wrap(a.wrapping_mul(b))
    }

    /// Quotient rounded down; 0 where `b` is 0.
    pub fn div(self, a: i64, b: i64) -> i64 {
        if b == 0 {
            return 0;
        }
        if self.is_u64() {
            return (a as u64 / b as u64) as i64;
        }
        let (q, r) = (a.wrapping_div(b), a.wrapping_rem(b));
        self.wrap(if r != 0 && (r < 0) != (b < 0) { q - 1 } else { q })
    }

    /// What [`Self::div`] leaves, with the divisor's sign; `a` where `b` is 0.
    pub fn rem(self, a: i64, b: i64) -> i64 {
        if b == 0 {
            return a;
        }
        if self.is_u64() {
            return (a as u64 % b as u64) as i64;
        }
        let r = a.wrapping_rem(b);
        if r != 0 && (r < 0) != (b < 0) { r + b } else { r }
    }

    /// Quotient rounded up; 0 where `b` is 0.
    pub fn cdiv(self, a: i64, b: i64) -> i64 {
        let q = self.div(a, b);
        if self.rem(a, b) != 0 && b != 0 { self.add(q, 1) } else { q }
    }

    /// `a << by`: 0 from the width on, and for a negative count (which is a great unsigned one).
    pub fn shl(self, a: i64, by: i64) -> i64 {
        if (0..self.bits as i64).contains(&by) { self.wrap(a << by) } else { 0 }
    }

    /// `a >> by`, arithmetic for signed formats: from the width on 0, or the sign.
    pub fn shr(self, a: i64, by: i64) -> i64 {
        let by = if (0..self.bits as i64).contains(&by) { by as u32 } else { 64 };
        match (self.is_u64(), by) {
            (true, 64) => 0,
            (true, n) => ((a as u64) >> n) as i64,
            (false, n) => a >> n.min(63),
        }
    }

    pub fn cmp(self, a: i64, b: i64) -> Ordering {
        if self.is_u64() { (a as u64).cmp(&(b as u64)) } else { a.cmp(&b) }
    }

    pub fn neg(self, a: i64) -> i64 {
        self.wrap(a.wrapping_neg())
    }

    pub fn not(self, a: i64) -> i64 {
        self.wrap(!a)
    }

    /// |a|; the least value is its own.
    pub fn abs(self, a: i64) -> i64 {
        if self.signed { self.wrap(a.wrapping_abs()) } else { a }
    }

    /// Set bits.
    pub fn popc(self, a: i64) -> i64 {
        self.encode(a).count_ones() as i64
    }

    /// Leading zero bits within the format's width.
    pub fn clz(self, a: i64) -> i64 {
        self.encode(a).leading_zeros() as i64 - (64 - self.bits as i64)
    }

    /// The greatest e with 2^e ≤ a, or −1 where a ≤ 0.
    pub fn ilog2(self, a: i64) -> i64 {
        if self.signed && a <= 0 { -1 } else { 63 - (a as u64).leading_zeros() as i64 }
    }
}
