//! Element types: every number format of the language, in one small value.
//!
//! *Compute* types may do everything. *Storage* types are read, written, cast, compared for equality and multiplied by `@`;
//! the integers among them also take bit operations and serve as subscripts. Spelling and meaning are language.md's "Types".
//!
//! Worked example: `ElemType::from_name("f6e2m3")` is `Small { exponent: 2, mantissa: 3 }`, printed `e2m3`, 6 bits, a storage
//! type; `e4m3` and `f8e4m3` are one type.

use std::fmt;

use crate::numeric::{BipolarFormat, FloatFormat, Format, IntFormat};

/// The type of one element of a tile, tensor or scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ElemType {
    /// `true` or `false`; one byte in memory.
    Bool,
    /// Coordinates and dimensions: a signed 64-bit integer.
    Index,
    /// Two's complement, 1..=8, 16, 32 or 64 bits.
    Int(u8),
    /// Unsigned, 1..=8, 16, 32 or 64 bits.
    Uint(u8),
    /// Bipolar, 1..=8 bits: bit k stands for +2^k where set and -2^k where clear.
    Bipolar(u8),
    F16,
    Bf16,
    F32,
    F64,
    /// f32 with 10 mantissa bits, stored in 32.
    Tf32,
    /// A float of 1 + exponent + mantissa = 3..=8 bits. `e4m3` and `e5m2` are OCP's; the others have neither inf nor NaN.
    Small {
        exponent: u8,
        mantissa: u8,
    },
    /// An unsigned power of two, bias 127; 255 is NaN.
    E8m0,
}

impl ElemType {
    /// OCP's e4m3.
    pub const E4M3: ElemType = ElemType::Small { exponent: 4, mantissa: 3 };
    /// OCP's e5m2.
    pub const E5M2: ElemType = ElemType::Small { exponent: 5, mantissa: 2 };
    pub const I32: ElemType = ElemType::Int(32);

    /// The type of that name in source text, if it is one (`i7`, `bf16`, `e4m3`, `f4e2m1`, `index`, …).
    pub fn from_name(name: &str) -> Option<ElemType> {
        Some(match name {
            "bool" => ElemType::Bool,
            "index" => ElemType::Index,
            "f16" => ElemType::F16,
            "bf16" => ElemType::Bf16,
            "f32" => ElemType::F32,
            "f64" => ElemType::F64,
            "tf32" => ElemType::Tf32,
            "e8m0" => ElemType::E8m0,
            _ => return Self::sized_from_name(name),
        })
    }

    fn sized_from_name(name: &str) -> Option<ElemType> {
        let width = |digits: &str| -> Option<u8> {
            let clean =
                !digits.is_empty() && !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
            if clean { digits.parse().ok() } else { None }
        };
        let rest = name.get(1..)?;
        match name.as_bytes()[0] {
            b'i' => width(rest).filter(|w| is_int_width(*w)).map(ElemType::Int),
            b'u' => width(rest).filter(|w| is_int_width(*w)).map(ElemType::Uint),
            b'b' => width(rest).filter(|w| (1..=8).contains(w)).map(ElemType::Bipolar),
            b'e' => {
                let (exponent, mantissa) = rest.split_once('m')?;
                let mantissa = if mantissa == "0" { 0 } else { width(mantissa)? };
                Self::small(width(exponent)?, mantissa)
            }
            b'f' => {
                let (bits, format) = rest.split_at(rest.find('e')?);
                let ty = Self::sized_from_name(format)?;
                (ty.bits() == u32::from(width(bits)?)).then_some(ty)
            }
            _ => None,
        }
    }

    /// The float with that many exponent and mantissa bits, if it has 3..=8 bits in all.
    pub fn small(exponent: u8, mantissa: u8) -> Option<ElemType> {
        let bits = 1 + u32::from(exponent) + u32::from(mantissa);
        (exponent >= 1 && (3..=8).contains(&bits)).then_some(ElemType::Small { exponent, mantissa })
    }

    /// Bits that one element takes in memory. `bool` takes a byte, `tf32` four.
    pub fn bits(self) -> u32 {
        match self {
            ElemType::Bool | ElemType::E8m0 => 8,
            ElemType::Int(w) | ElemType::Uint(w) | ElemType::Bipolar(w) => u32::from(w),
            ElemType::F16 | ElemType::Bf16 => 16,
            ElemType::F32 | ElemType::Tf32 => 32,
            ElemType::F64 | ElemType::Index => 64,
            ElemType::Small { exponent, mantissa } => 1 + u32::from(exponent) + u32::from(mantissa),
        }
    }

    /// What it can hold and how that is coded, for conversions. (Widths that no type of the language has,
    /// which only a malformed kernel could hold, count as the widest.)
    pub fn format(self) -> Format {
        match self {
            ElemType::Bool => Format::Bool,
            ElemType::Index => Format::INDEX,
            ElemType::Int(w) => IntFormat::new(true, w.into()).map_or(Format::INDEX, Format::Int),
            ElemType::Uint(w) => Format::Int(IntFormat::new(false, w.into()).unwrap_or(IntFormat::U64)),
            ElemType::Bipolar(w) => BipolarFormat::new(w.into()).map_or(Format::INDEX, Format::Bipolar),
            ElemType::F16 => Format::F16,
            ElemType::Bf16 => Format::BF16,
            ElemType::F32 => Format::F32,
            ElemType::F64 => Format::F64,
            ElemType::Tf32 => Format::TF32,
            ElemType::Small { exponent, mantissa } => {
                FloatFormat::small(exponent.into(), mantissa.into()).map_or(Format::F64, Format::Float)
            }
            ElemType::E8m0 => Format::E8M0,
        }
    }

    /// May do arithmetic.
    pub fn is_compute(self) -> bool {
        match self {
            ElemType::Bool
            | ElemType::Index
            | ElemType::F16
            | ElemType::Bf16
            | ElemType::F32
            | ElemType::F64 => true,
            ElemType::Int(w) | ElemType::Uint(w) => w >= 16,
            ElemType::Bipolar(_) | ElemType::Tf32 | ElemType::Small { .. } | ElemType::E8m0 => false,
        }
    }

    /// Floats of every width, `tf32` and `e8m0` included.
    pub fn is_float(self) -> bool {
        use ElemType::*;
        matches!(self, F16 | Bf16 | F32 | F64 | Tf32 | Small { .. } | E8m0)
    }

    /// Two's complement, unsigned and `index`; not bipolar ones.
    pub fn is_integer(self) -> bool {
        matches!(self, ElemType::Int(_) | ElemType::Uint(_) | ElemType::Index)
    }

    /// Integers of any kind that `@` takes: two's complement, unsigned, bipolar.
    pub fn is_mma_integer(self) -> bool {
        matches!(self, ElemType::Int(_) | ElemType::Uint(_) | ElemType::Bipolar(_))
    }

    /// Can hold a negative number.
    pub fn is_signed(self) -> bool {
        !matches!(self, ElemType::Uint(_) | ElemType::Bool | ElemType::E8m0)
    }
}

fn is_int_width(w: u8) -> bool {
    (1..=8).contains(&w) || w == 16 || w == 32 || w == 64
}

impl fmt::Display for ElemType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ElemType::Bool => f.write_str("bool"),
            ElemType::Index => f.write_str("index"),
            ElemType::Int(w) => write!(f, "i{w}"),
            ElemType::Uint(w) => write!(f, "u{w}"),
            ElemType::Bipolar(w) => write!(f, "b{w}"),
            ElemType::F16 => f.write_str("f16"),
            ElemType::Bf16 => f.write_str("bf16"),
            ElemType::F32 => f.write_str("f32"),
            ElemType::F64 => f.write_str("f64"),
            ElemType::Tf32 => f.write_str("tf32"),
            ElemType::Small { exponent, mantissa } => write!(f, "e{exponent}m{mantissa}"),
            ElemType::E8m0 => f.write_str("e8m0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ElemType;

    #[test]
    fn names_read_back() {
        for name in
            ["bool", "index", "i1", "i16", "u64", "b8", "f16", "bf16", "tf32", "e4m3", "e2m1", "e3m0", "e8m0"]
        {
            assert_eq!(ElemType::from_name(name).map(|t| t.to_string()).as_deref(), Some(name));
        }
        assert_eq!(ElemType::from_name("f6e2m3"), ElemType::small(2, 3));
        assert_eq!(ElemType::from_name("f8e4m3"), Some(ElemType::E4M3));
    }

    #[test]
    fn near_misses_are_not_types() {
        for name in
            ["", "i", "i9", "i0", "u08", "b16", "f8", "f5e4m3", "e0m3", "e7m1", "e1m0", "e4m", "float", "é1"]
        {
            assert_eq!(ElemType::from_name(name), None, "{name}");
        }
    }
}
