//! Fast conversions between `f32` and the 16-bit floats, one number or a slice at a time.
//!
//! Each is a handful of integer operations and selects without branches, so the slice loops vectorise. They give the same bits as
//! [`FloatFormat`](super::FloatFormat) (tested on every code): nearest-even, overflow to ±inf, NaN to `0x7fff`. Widening keeps a
//! NaN's sign and payload.

/// The `f32` that an `f16` code stands for.
#[inline]
pub fn f16_to_f32(code: u16) -> f32 {
    let magnitude = (code as u32 & 0x7fff) << 13;
    // As f32 bits the exponent is 112 too small; the product is exact and makes subnormals normal.
    let scaled = (f32::from_bits(magnitude) * f32::from_bits((112 + 127) << 23)).to_bits();
    let bits = if magnitude >= 0x7c00 << 13 { magnitude | 0x7f80_0000 } else { scaled };
    f32::from_bits(bits | (code as u32 & 0x8000) << 16)
}

/// The `f16` code nearest to `x`.
#[inline]
pub fn f16_from_f32(x: f32) -> u16 {
    let bits = x.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    // Subnormal f16: the quantum of f32 between 0.5 and 1 is 2^-24, that of f16's subnormals, so the addition rounds.
    let tiny = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let rebias = magnitude.wrapping_sub(112 << 23);
    let normal = rebias.wrapping_add(0xfff + (rebias >> 13 & 1)) >> 13;
    let code = if magnitude < 0x3880_0000 {
        tiny
    } else if magnitude < 0x4780_0000 {
        normal
    } else {
        0x7c00
    };
    let signed = code as u16 | (bits >> 16 & 0x8000) as u16;
    if magnitude > 0x7f80_0000 { 0x7fff } else { signed }
}

/// The `f32` that a `bf16` code stands for.
#[inline]
pub fn bf16_to_f32(code: u16) -> f32 {
    f32::from_bits((code as u32) << 16)
}

/// The `bf16` code nearest to `x`.
#[inline]
pub fn bf16_from_f32(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
    if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fff } else { rounded }
}

macro_rules! slice_conversion {
    ($(#[$doc:meta])* $name:ident, $from:ty => $to:ty, $one:ident) => {
        $(#[$doc])*
        ///
        /// # Panics
        /// Where the lengths differ.
        pub fn $name(from: &[$from], to: &mut [$to]) {
            assert_eq!(from.len(), to.len(), "conversion between slices of different lengths");
            for (x, y) in from.iter().zip(to) {
                *y = $one(*x);
            }
        }
    };
}

slice_conversion!(
    /// [`f16_to_f32`] of every element.
    f16_slice_to_f32, u16 => f32, f16_to_f32);
slice_conversion!(
    /// [`f16_from_f32`] of every element.
    f16_slice_from_f32, f32 => u16, f16_from_f32);
slice_conversion!(
    /// [`bf16_to_f32`] of every element.
    bf16_slice_to_f32, u16 => f32, bf16_to_f32);
slice_conversion!(
    /// [`bf16_from_f32`] of every element.
    bf16_slice_from_f32, f32 => u16, bf16_from_f32);
