//! Exact arithmetic of the number formats.
//!
//! The evaluator, the executor and the packer must agree about every bit, so the rules stand here once. A *format* says which
//! numbers a type can hold and how they are coded; converting is always one correctly rounded step from an exact source (an `f64`
//! or a 64-bit integer) to a code, so there is no double rounding. Example: `0.3` in four formats,
//!
//! | format | nearest | code |
//! | --- | --- | --- |
//! | `f16` | 0.300048828125 | `0x34cd` |
//! | `e4m3` | 0.3125 | `0x2a` |
//! | `e2m1` | 0.5 | `0x1` |
//! | `e8m0` | 0.25 (down) | `125` |
//!
//! Rules (the language reference, "What numbers mean"):
//! - floats round to nearest, ties to even (`tf32`: ties away; `e8m0`: down to a power of two);
//! - overflow is ±inf in `f16`, `bf16`, `tf32`, `f32`, `f64`; formats of at most 8 bits saturate, infinities included;
//! - NaN stays NaN where the format has one, else it becomes the greatest number;
//! - a float becomes an integer by nearest-even, saturating, NaN as 0; integers wrap.
//!
//! Logical values: floats are `f64`; integers, `bool` included, are `i64`, and a `u64` is kept as the `i64` of the same bits. Every
//! other integer type fits an `i64`, so only `u64` asks for care, and [`IntFormat`]'s operations take it.

mod bipolar;
mod float;
mod int;
mod scale;
mod slices;
mod storage;

pub use bipolar::BipolarFormat;
pub use float::FloatFormat;
pub use int::IntFormat;
pub use scale::ScaleFormat;
pub use slices::{
    bf16_from_f32, bf16_slice_from_f32, bf16_slice_to_f32, bf16_to_f32, f16_from_f32, f16_slice_from_f32,
    f16_slice_to_f32, f16_to_f32,
};
pub use storage::{read_code, row_bytes, write_code};

/// A number format: what an element type can hold and how memory codes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    Float(FloatFormat),
    /// `e8m0`: a power of two, the scale of a block.
    Scale(ScaleFormat),
    Int(IntFormat),
    /// `bN`: bit k is worth ±2^k.
    Bipolar(BipolarFormat),
    /// One byte in memory, 0 or 1.
    Bool,
}

/// A logical value of some format.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Float(f64),
    /// An integer or a `bool`; a `u64` by its bits.
    Int(i64),
}

impl Format {
    pub const F16: Format = Format::Float(FloatFormat::F16);
    pub const BF16: Format = Format::Float(FloatFormat::BF16);
    pub const F32: Format = Format::Float(FloatFormat::F32);
    pub const F64: Format = Format::Float(FloatFormat::F64);
    pub const TF32: Format = Format::Float(FloatFormat::TF32);
    pub const E4M3: Format = Format::Float(FloatFormat::E4M3);
    pub const E5M2: Format = Format::Float(FloatFormat::E5M2);
    pub const E8M0: Format = Format::Scale(ScaleFormat);
    /// Coordinates and dimensions: `i64`.
    pub const INDEX: Format = Format::Int(IntFormat::I64);

    /// Bits of one element in memory (`tf32`: 32, `bool`: 8).
    pub fn storage_bits(self) -> u32 {
        match self {
            Format::Float(f) => f.storage_bits(),
            Format::Scale(_) | Format::Bool => 8,
            Format::Int(i) => i.bits(),
            Format::Bipolar(b) => b.bits(),
        }
    }

    /// Whether logical values are `f64` (else `i64`).
    pub fn is_float(self) -> bool {
        matches!(self, Format::Float(_) | Format::Scale(_))
    }

    /// The number that `code` stands for, exactly. Bits above [`Self::storage_bits`] are ignored; a `bool` is true unless 0.
    pub fn decode(self, code: u64) -> Number {
        match self {
            Format::Float(f) => Number::Float(f.decode(code)),
            Format::Scale(s) => Number::Float(s.decode(code)),
            Format::Int(i) => Number::Int(i.wrap(code as i64)),
            Format::Bipolar(b) => Number::Int(b.decode(code)),
            Format::Bool => Number::Int((code & 0xff != 0) as i64),
        }
    }

    /// The code of a number that this format rounds to, for a float.
    pub fn encode_f64(self, x: f64) -> u64 {
        match self {
            Format::Float(f) => f.encode(x),
            Format::Scale(s) => s.encode(x),
            Format::Int(i) => i.encode(i.round_f64(x)),
            Format::Bipolar(b) => b.encode_f64(x),
            Format::Bool => (x != 0.0) as u64,
        }
    }

    /// The code of a number that this format converts to, for an integer of format `from` (which says whether it is a `u64`).
    pub fn encode_int(self, v: i64, from: IntFormat) -> u64 {
        match self {
            Format::Float(f) => f.encode(odd_f64(v, from, f)),
            Format::Scale(s) => s.encode(odd_f64(v, from, FloatFormat::F32)),
            Format::Int(i) => i.encode(v),
            Format::Bipolar(b) => b.encode(v),
            Format::Bool => (v != 0) as u64,
        }
    }

    /// `x as self` for a float.
    pub fn convert_f64(self, x: f64) -> Number {
        match self {
            Format::Float(f) => Number::Float(f.round(x)),
            Format::Scale(s) => Number::Float(s.round(x)),
            Format::Int(i) => Number::Int(i.round_f64(x)),
            other => other.decode(other.encode_f64(x)),
        }
    }

    /// `v as self` for an integer of format `from`, `bool` being [`IntFormat::U1`].
    pub fn convert_int(self, v: i64, from: IntFormat) -> Number {
        match self {
            Format::Float(f) => Number::Float(f.round(odd_f64(v, from, f))),
            Format::Int(i) => Number::Int(i.wrap(v)),
            other => other.decode(other.encode_int(v, from)),
        }
    }
}

/// An `f64` that rounds to `to` as the integer itself does. Integers beyond 2^53 are rounded *to odd* (the lowest bit remembers that
/// something was dropped), which leaves one correct rounding for any format with at most 51 bits of significand.
fn odd_f64(v: i64, from: IntFormat, to: FloatFormat) -> f64 {
    let unsigned = from == IntFormat::U64;
    let magnitude = if unsigned { v as u64 } else { v.unsigned_abs() };
    if magnitude <= 1 << 53 || to == FloatFormat::F64 {
        return from.to_f64(v);
    }
    let drop = 64 - 53 - magnitude.leading_zeros();
    let kept = magnitude >> drop;
    let sticky = (magnitude & ((1 << drop) - 1) != 0) as u64;
    let odd = (((kept | sticky) << drop) as f64).copysign(1.0);
    if !unsigned && v < 0 { -odd } else { odd }
}

#[cfg(test)]
mod tests;
