//! Integer functions.

use super::super::frame::{Lanes32, Lanes64};

macro_rules! lanes32 {
    ($($(#[$meta:meta])* $name:ident($a:ident, $b:ident, $c:ident) = $body:expr;)+) => { $(
        $(#[$meta])*
        pub fn $name(out: &mut Lanes32, a: &Lanes32, b: &Lanes32, c: &Lanes32) {
            super::tier::each(|lane| {
                let ($a, $b, $c) = (a[lane], b[lane], c[lane]);
                let _ = ($b, $c);
                out[lane] = $body;
            });
        }
    )+ };
}

macro_rules! lanes64 {
    ($($(#[$meta:meta])* $name:ident($a:ident, $b:ident, $c:ident) = $body:expr;)+) => { $(
        $(#[$meta])*
        pub fn $name(out: &mut Lanes64, a: &Lanes64, b: &Lanes64, c: &Lanes64) {
            super::tier::each(|lane| {
                let ($a, $b, $c) = (a[lane], b[lane], c[lane]);
                let _ = ($b, $c);
                out[lane] = $body;
            });
        }
    )+ };
}

fn nth_set(mask: u32, base: u32, offset: i32) -> u32 {
    if base > 31 {
        return u32::MAX;
    }
    if offset == 0 {
        return if mask >> base & 1 == 1 { base } else { u32::MAX };
    }
    let set = |bit: &u32| mask >> bit & 1 == 1;
    let skip = offset.unsigned_abs() as usize - 1;
    let found =
        if offset > 0 { (base..32).filter(set).nth(skip) } else { (0..=base).rev().filter(set).nth(skip) };
    found.unwrap_or(u32::MAX)
}

/// How `vmad` is done; it travels above the 32 bits of the addend.
#[derive(Clone, Copy, Debug)]
pub struct VideoMad {
    /// One is added.
    pub one: bool,
    /// The product's bits are inverted: with `one`, its negation.
    pub product: bool,
    /// The addend's bits are inverted.
    pub addend: bool,
    /// The sum is a signed number.
    pub signed: bool,
    /// The result is clamped to 32 bits.
    pub sat: bool,
    /// Bits by which the sum is shifted right.
    pub scale: u8,
}

impl VideoMad {
    /// As a number below 2^32.
    pub fn code(self) -> u64 {
        let flags = [self.one, self.product, self.addend, self.signed, self.sat];
        flags
            .iter()
            .enumerate()
            .fold(u64::from(self.scale) << 8, |code, (bit, &flag)| code | u64::from(flag) << bit)
    }

    fn of(code: u64) -> VideoMad {
        let flag = |bit: u32| code >> bit & 1 == 1;
        let scale = (code >> 8) as u8;
        VideoMad { one: flag(0), product: flag(1), addend: flag(2), signed: flag(3), sat: flag(4), scale }
    }
}

/// `vmad` of extended operands; `c` is the addend and, above it, how.
pub fn vmad(out: &mut Lanes64, a: &Lanes64, b: &Lanes64, c: &Lanes64) {
    for lane in 0..32 {
        let how = VideoMad::of(c[lane] >> 32);
        let mut product = i128::from(a[lane] as i64) * i128::from(b[lane] as i64);
        if how.product {
            product = !product;
        }
        let addend = c[lane] as u32 ^ if how.addend { u32::MAX } else { 0 };
        let addend = if how.signed { i128::from(addend as i32) } else { i128::from(addend) };
        let sum = (product + addend + i128::from(how.one)) >> how.scale;
        let (least, most) =
            if how.signed { (i128::from(i32::MIN), i128::from(i32::MAX)) } else { (0, i128::from(u32::MAX)) };
        out[lane] = if how.sat { sum.clamp(least, most) } else { sum } as u64;
    }
}

/// `szext`: the low `b` bits of `a`, extended.
pub fn szext<const WRAP: bool, const SIGNED: bool>(out: &mut Lanes32, a: &Lanes32, b: &Lanes32, _: &Lanes32) {
    for lane in 0..32 {
        let bits = if WRAP { b[lane] & 31 } else { b[lane].min(32) };
        out[lane] = match 32 - bits {
            32 => 0,
            cut if SIGNED => ((a[lane] << cut) as i32 >> cut) as u32,
            cut => a[lane] << cut >> cut,
        };
    }
}

/// `cvt.pack.sat`: `a` and `b` clamped to `BITS` bits, `b` lowest, the low bits of `c` above them.
pub fn pack<const BITS: u32, const SIGNED: bool>(out: &mut Lanes32, a: &Lanes32, b: &Lanes32, c: &Lanes32) {
    let (low, high) =
        if SIGNED { (-1i32 << (BITS - 1), (1 << (BITS - 1)) - 1) } else { (0, (1 << BITS) - 1) };
    let clamped = |value: u32| (value as i32).clamp(low, high) as u32 & ((1 << BITS) - 1);
    for lane in 0..32 {
        let above = c[lane].checked_shl(2 * BITS).unwrap_or(0);
        out[lane] = clamped(b[lane]) | clamped(a[lane]) << BITS | above;
    }
}

/// `bmsk`: `b` ones from bit `a` on.
pub fn bmsk<const WRAP: bool>(out: &mut Lanes32, a: &Lanes32, b: &Lanes32, _: &Lanes32) {
    for lane in 0..32 {
        let (from, count) = if WRAP { (a[lane] & 31, b[lane] & 31) } else { (a[lane], b[lane].min(32)) };
        let ones = ((1u64 << count) - 1) as u32;
        out[lane] = ones.checked_shl(from).unwrap_or(0);
    }
}

macro_rules! narrow {
    ($($(#[$meta:meta])* $name:ident($a:ident) = $body:expr;)+) => { $(
        $(#[$meta])*
        pub fn $name(out: &mut Lanes32, a: &Lanes64) {
            for lane in 0..32 {
                let $a = a[lane];
                out[lane] = $body;
            }
        }
    )+ };
}

/// Each half of two words.
fn pairs(a: u32, b: u32, f: impl Fn(u16, u16) -> u16) -> u32 {
    u32::from(f(a as u16, b as u16)) | u32::from(f((a >> 16) as u16, (b >> 16) as u16)) << 16
}

lanes32! {
    add_16x2(a, b, _c) = pairs(a, b, u16::wrapping_add);
    min_u16x2(a, b, _c) = pairs(a, b, u16::min);
    max_u16x2(a, b, _c) = pairs(a, b, u16::max);
    min_s16x2(a, b, _c) = pairs(a, b, |x, y| (x as i16).min(y as i16) as u16);
    max_s16x2(a, b, _c) = pairs(a, b, |x, y| (x as i16).max(y as i16) as u16);
    min_relu_s16x2(a, b, _c) = pairs(a, b, |x, y| (x as i16).min(y as i16).max(0) as u16);
    max_relu_s16x2(a, b, _c) = pairs(a, b, |x, y| (x as i16).max(y as i16).max(0) as u16);
    /// The bit of `a` that is the `c`-th set one from bit `b` on (upwards for positive `c`, downwards for negative, `b` itself for 0).
    fns(a, b, c) = nth_set(a, b, c as i32);
    add_sat(a, b, _c) = (a as i32).saturating_add(b as i32) as u32;
    sub_sat(a, b, _c) = (a as i32).saturating_sub(b as i32) as u32;
    /// Division by zero: the ISA leaves it open; GPUs yield all ones.
    div_u32(a, b, _c) = a.checked_div(b).unwrap_or(u32::MAX);
    div_s32(a, b, _c) = if b == 0 { u32::MAX } else { (a as i32).wrapping_div(b as i32) as u32 };
    rem_u32(a, b, _c) = a.checked_rem(b).unwrap_or(a);
    rem_s32(a, b, _c) = if b == 0 { a } else { (a as i32).wrapping_rem(b as i32) as u32 };
    shl32(a, b, _c) = a.checked_shl(b).unwrap_or(0);
    shr_u32(a, b, _c) = a.checked_shr(b).unwrap_or(0);
    shr_s32(a, b, _c) = ((a as i32) >> b.min(31)) as u32;
    popc32(a, _b, _c) = a.count_ones();
    clz32(a, _b, _c) = a.leading_zeros();
    brev32(a, _b, _c) = a.reverse_bits();
    bfind_u32(a, _b, _c) = 31u32.wrapping_sub(a.leading_zeros());
    bfind_s32(a, _b, _c) = 31u32.wrapping_sub(sign_folded(a).leading_zeros());
    bfind_shift_u32(a, _b, _c) = if a == 0 { u32::MAX } else { a.leading_zeros() };
    bfind_shift_s32(a, _b, _c) = match sign_folded(a) { 0 => u32::MAX, x => x.leading_zeros() };
    shf_l_clamp(a, b, c) = high_word(join(a, b) << c.min(32));
    shf_l_wrap(a, b, c) = high_word(join(a, b) << (c & 31));
    shf_r_clamp(a, b, c) = (join(a, b) >> c.min(32)) as u32;
    shf_r_wrap(a, b, c) = (join(a, b) >> (c & 31)) as u32;
    bfe_u32(a, b, c) = extract(a.into(), b, c, 32, false) as u32;
    bfe_s32(a, b, c) = extract(a.into(), b, c, 32, true) as u32;
    /// `c` holds the position in bits 0-7 and the length in bits 8-15.
    bfi32(a, b, c) = insert(a.into(), b.into(), c, 32) as u32;
    prmt(a, b, c) = permute(a, b, [c & 15, c >> 4 & 15, c >> 8 & 15, c >> 12 & 15]);
    prmt_f4e(a, b, c) = { let s = c & 3; permute(a, b, [s, s + 1, s + 2, s + 3]) };
    prmt_b4e(a, b, c) = { let s = c & 3; permute(a, b, [s, (s + 7) & 7, (s + 6) & 7, (s + 5) & 7]) };
    prmt_rc8(a, b, c) = { let s = c & 3; permute(a, b, [s; 4]) };
    prmt_ecl(a, b, c) = { let s = c & 3; permute(a, b, [s, s.max(1), s.max(2), 3]) };
    prmt_ecr(a, b, c) = { let s = c & 3; permute(a, b, [0, s.min(1), s.min(2), s]) };
    prmt_rc16(a, b, c) = { let s = 2 * (c & 1); permute(a, b, [s, s + 1, s, s + 1]) };
}

lanes64! {
    div_u64(a, b, _c) = a.checked_div(b).unwrap_or(u64::MAX);
    div_s64(a, b, _c) = if b == 0 { u64::MAX } else { (a as i64).wrapping_div(b as i64) as u64 };
    rem_u64(a, b, _c) = a.checked_rem(b).unwrap_or(a);
    rem_s64(a, b, _c) = if b == 0 { a } else { (a as i64).wrapping_rem(b as i64) as u64 };
    mul_hi_u64(a, b, _c) = ((u128::from(a) * u128::from(b)) >> 64) as u64;
    mul_hi_s64(a, b, _c) = ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64;
    brev64(a, _b, _c) = a.reverse_bits();
    bfe_u64(a, b, c) = extract(a, b as u32, c as u32, 64, false);
    bfe_s64(a, b, c) = extract(a, b as u32, c as u32, 64, true);
    bfi64(a, b, c) = insert(a, b, c as u32, 64);
}

narrow! {
    popc64(a) = a.count_ones();
    clz64(a) = a.leading_zeros();
    bfind_u64(a) = 63u32.wrapping_sub(a.leading_zeros());
    bfind_s64(a) = 63u32.wrapping_sub(sign_folded64(a).leading_zeros());
    bfind_shift_u64(a) = if a == 0 { u32::MAX } else { a.leading_zeros() };
    bfind_shift_s64(a) = match sign_folded64(a) { 0 => u32::MAX, x => x.leading_zeros() };
}

/// Shifts of 64-bit values by per-lane amounts; amounts of 64 and more shift everything out.
pub fn shl64(out: &mut Lanes64, a: &Lanes64, b: &Lanes32) {
    super::tier::each(|lane| {
        out[lane] = a[lane].checked_shl(b[lane]).unwrap_or(0);
    });
}

pub fn shr_u64(out: &mut Lanes64, a: &Lanes64, b: &Lanes32) {
    super::tier::each(|lane| {
        out[lane] = a[lane].checked_shr(b[lane]).unwrap_or(0);
    });
}

pub fn shr_s64(out: &mut Lanes64, a: &Lanes64, b: &Lanes32) {
    super::tier::each(|lane| {
        out[lane] = ((a[lane] as i64) >> b[lane].min(63)) as u64;
    });
}

fn sign_folded(a: u32) -> u32 {
    if (a as i32) < 0 { !a } else { a }
}

fn sign_folded64(a: u64) -> u64 {
    if (a as i64) < 0 { !a } else { a }
}

fn join(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn high_word(value: u64) -> u32 {
    (value >> 32) as u32
}

/// `bfe`: bits beyond the value read as the sign (or zero), by the ISA's pseudo-code.
fn extract(a: u64, pos: u32, len: u32, bits: u32, signed: bool) -> u64 {
    let (pos, len, msb) = (pos & 255, len & 255, bits - 1);
    let whole = u64::MAX >> (64 - bits);
    let ones = if len >= 64 { u64::MAX } else { (1 << len) - 1 };
    let (inside, value) = if pos > msb { (0, 0) } else { (ones & (whole >> pos), a >> pos) };
    let negative = signed && len > 0 && a >> (pos + len - 1).min(msb) & 1 != 0;
    ((value & inside) | if negative { !inside } else { 0 }) & whole
}

fn insert(a: u64, b: u64, field: u32, bits: u32) -> u64 {
    let (pos, len) = (field & 255, field >> 8 & 255);
    if pos >= bits || len == 0 {
        return b;
    }
    let ones = if len >= 64 { u64::MAX } else { (1 << len) - 1 };
    let mask = ones << pos;
    (b & !mask) | ((a << pos) & mask)
}

/// `prmt`: each selector picks a byte of `b:a`; its top bit replicates the byte's sign.
fn permute(a: u32, b: u32, selectors: [u32; 4]) -> u32 {
    let bytes = join(a, b).to_le_bytes();
    let picked = selectors.map(|s| {
        let byte = bytes[(s & 7) as usize];
        if s & 8 != 0 { ((byte as i8) >> 7) as u8 } else { byte }
    });
    u32::from_le_bytes(picked)
}

/// Element `i` of `bits` bits, extended.
fn element<const SIGNED: bool>(word: u32, i: u32, bits: u32) -> i32 {
    let up = word << (32 - bits * (i + 1));
    if SIGNED { up as i32 >> (32 - bits) } else { (up >> (32 - bits)) as i32 }
}

/// `dp4a`: four products of bytes and an addend, wrapping.
pub fn dp4a<const A: bool, const B: bool>(out: &mut Lanes32, a: &Lanes32, b: &Lanes32, c: &Lanes32) {
    super::tier::each(|lane| {
        let products = (0..4).map(|i| element::<A>(a[lane], i, 8).wrapping_mul(element::<B>(b[lane], i, 8)));
        out[lane] = products.fold(c[lane], |sum, product| sum.wrapping_add(product as u32));
    });
}

/// `dp2a`: two products of a half and a byte of the lower or upper half of `b`.
pub fn dp2a<const HIGH: bool, const A: bool, const B: bool>(
    out: &mut Lanes32,
    a: &Lanes32,
    b: &Lanes32,
    c: &Lanes32,
) {
    let first = if HIGH { 2 } else { 0 };
    for lane in 0..32 {
        let products =
            (0..2).map(|i| element::<A>(a[lane], i, 16).wrapping_mul(element::<B>(b[lane], first + i, 8)));
        out[lane] = products.fold(c[lane], |sum, product| sum.wrapping_add(product as u32));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(f: fn(&mut Lanes32, &Lanes32, &Lanes32, &Lanes32), a: u32, b: u32, c: u32) -> u32 {
        let mut out = [0; 32];
        f(&mut out, &[a; 32], &[b; 32], &[c; 32]);
        out[31]
    }

    #[test]
    fn shifts_clamp() {
        assert_eq!(one(shl32, 1, 31, 0), 1 << 31);
        assert_eq!(one(shl32, 1, 32, 0), 0);
        assert_eq!(one(shr_s32, 0x8000_0000, 40, 0), u32::MAX);
        assert_eq!(one(shf_l_wrap, 0x8000_0000, 1, 33), 3);
        assert_eq!(one(shf_l_clamp, 0x1234, 1, 40), 0x1234);
        assert_eq!(one(shf_r_wrap, 0x10, 0x3, 4), 0x3000_0001);
    }

    #[test]
    fn division_by_zero_does_not_trap() {
        assert_eq!(one(div_u32, 7, 0, 0), u32::MAX);
        assert_eq!(one(div_s32, i32::MIN as u32, u32::MAX, 0), i32::MIN as u32);
        assert_eq!(one(rem_s32, (-7i32) as u32, 3, 0), (-1i32) as u32);
    }

    #[test]
    fn bit_fields() {
        assert_eq!(one(bfe_u32, 0xabcd_1234, 8, 8), 0x12);
        assert_eq!(one(bfe_s32, 0x0000_0080, 0, 8), 0xffff_ff80);
        assert_eq!(one(bfe_s32, 0x8000_0000, 28, 8), 0xffff_fff8);
        assert_eq!(one(bfi32, 0xff, 0, 4 | 4 << 8), 0xf0);
        assert_eq!(one(bfind_s32, u32::MAX, 0, 0), u32::MAX);
        assert_eq!(one(bfind_u32, 0x100, 0, 0), 8);
    }

    #[test]
    fn byte_permutation() {
        assert_eq!(one(prmt, 0x3322_1100, 0x7766_5544, 0x7531), 0x7755_3311);
        assert_eq!(one(prmt, 0x80, 0, 0x0008), 0x8080_80ff);
        assert_eq!(one(prmt, 0x3322_1100, 0x7766_5544, 0x5410), 0x5544_1100);
    }
}
