//! Two packed codes to two halves of a register, in few instructions.
//!
//! An integer is put into the mantissa of a power of two, a float's bits where the wider format has them
//! ([`crate::packed::placement`]); what is still missing then is a factor and an addend, exact in the format, which one `fma` applies
//! to both halves, or which meet with what comes next:
//!
//! ```text
//! u4 at bit 4, f16:   x = w & 0x00f0 | 0x6400 = 1024 + 16 · code         code = x / 16 − 64
//! e2m1, f16:          x = bits, whose exponent is read with bias 15      code = x · 2^14
//! ```
//! Infinities and NaNs of e4m3, and of e5m2 in bf16, belong at the wide format's greatest exponent. They are stored as the least magnitudes
//! ([`Form::coding`]), all others that much higher, so that one addition puts them there and carries out of the exponent for the others:
//!
//! ```text
//! e4m3, f16:   m = bits ^ 0x0080; y = m + 0x7f80 = NaN if m is 0, else 0x8000 + the magnitude's bits        x = sign, y below it
//! ```

use super::build::Builder;
use super::ir::*;
use crate::numeric::Format;
use crate::packed::{
    Form, Member,
    placement::{LANE, Piece},
};
use crate::tile::ir::ElemType;
use rustc_hash::FxHashMap;

/// Two halves in one register, each times `scale` plus `offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Halves {
    pub x: Reg,
    pub scale: f64,
    pub offset: f64,
}

impl Halves {
    pub fn plain(x: Reg) -> Halves {
        Halves { x, scale: 1.0, offset: 0.0 }
    }
}

/// Both halves the same.
pub fn twice(half: Half, value: f64) -> i64 {
    let format = match half {
        Half::F16 => Format::F16,
        Half::Bf16 => Format::BF16,
    };
    let bits = format.encode_f64(value);
    (bits << 16 | bits) as i64
}

/// Words shifted so far, which members share: by word and distance to the right.
pub type Shifted = FxHashMap<(Reg, i32), Reg>;

/// The halves that a member's codes are, of the words of its group; `None` for codes that the format does not take.
pub fn unpack(
    b: &mut Builder,
    shifted: &mut Shifted,
    (elem, form, half): (ElemType, Form, Half),
    member: &Member,
    words: &[Reg],
) -> Option<Halves> {
    let bias = match half {
        Half::F16 => 15,
        Half::Bf16 => 127,
    };
    let both = |mask: u32| i64::from(mask << LANE | mask);
    match form {
        Form::Byte | Form::Planes | Form::Nibbles | Form::Codes => None,
        Form::Magic { room } => {
            let (picked, mask) = pick(b, shifted, &member.pieces, words, LANE);
            let magic = f64::from(1u32 << room);
            let x = b.lop3(picked, both(mask), twice(half, magic), AND_OR);
            // The value of a code, and what each step of it is worth.
            let (step, least) = match elem {
                ElemType::Int(w) => (1.0, -f64::from(1u32 << (w - 1))),
                ElemType::Bipolar(w) => (2.0, 1.0 - f64::from(1u32 << w)),
                _ => (1.0, 0.0),
            };
            let scale = step / f64::from(1u32 << member.at);
            Some(Halves { x, scale, offset: least - magic * scale })
        }
        Form::Float { mantissa } => {
            let ElemType::Small { exponent, mantissa: m } = elem else { return None };
            let x = match form.coding(elem) {
                (0, _) => {
                    let (picked, mask) = pick(b, shifted, &member.pieces, words, LANE);
                    b.and(picked, both(mask))
                }
                (turn, flip) => {
                    let magnitude: Vec<Piece> = member
                        .pieces
                        .iter()
                        .map(|p| Piece { mask: p.mask & !SIGN, ..*p })
                        .filter(|p| p.mask != 0)
                        .collect();
                    let (picked, mask) = pick(b, shifted, &magnitude, words, LANE);
                    let last = mantissa - u32::from(m);
                    let magnitude = b.lop3(picked, both(mask), both((flip as u32) << last), AND_XOR);
                    // What the carry leaves is nothing but the sign's place.
                    let y = b.add(magnitude, both((1 << (LANE - 1)) - ((turn as u32) << last)));
                    let sign = member.pieces.iter().find(|p| p.mask & SIGN != 0)?;
                    let sign = moved(b, shifted, sign, words);
                    b.lop3(sign, y, both(SIGN), CHOOSE)
                }
            };
            let own = (1 << (exponent - 1)) - 1;
            Some(Halves { x, scale: f64::from(bias - own).exp2(), offset: 0.0 })
        }
    }
}

/// The same bits of every lane.
pub fn all_lanes(lane: u32, mask: u32) -> i64 {
    (0..32 / lane).fold(0, |all, n| all | i64::from(mask) << (n * lane))
}

/// The bytes that a member's codes are: two's complement, or without sign.
///
/// A code as it is stored is a number less the least one, so that one subtraction is left, which a set upper bit keeps inside its byte:
/// `(u | 0x80) − 8`, whose upper bit is then turned round, is `u − 8` in two's complement.
pub fn unpack_bytes(
    b: &mut Builder,
    shifted: &mut Shifted,
    elem: ElemType,
    member: &Member,
    words: &[Reg],
) -> Option<Reg> {
    let (picked, mask) = pick(b, shifted, &member.pieces, words, 8);
    let all = |mask: u32| all_lanes(8, mask);
    let (set, less) = match elem {
        ElemType::Uint(8) => return Some(picked),
        ElemType::Uint(_) => return Some(b.and(picked, all(mask))),
        ElemType::Int(8) => return Some(b.int(IntOp::Xor, IntTy::B32, picked, all(0x80))),
        ElemType::Int(w) => (0x80, 1 << (w - 1)),
        // Twice the code and one, less 2^w - 1 and one: seven bits are a byte without sign, whose upper bit is turned round.
        ElemType::Bipolar(7) => (1, 0),
        ElemType::Bipolar(w) if w < 7 => (0x81, 1 << w),
        _ => return None,
    };
    let high = b.lop3(picked, all(mask), all(set), AND_OR);
    let moved = match less {
        0 => high,
        less => b.add(high, -all(less)),
    };
    Some(b.int(IntOp::Xor, IntTy::B32, moved, all(0x80)))
}

/// `(a & b) | c`, `(a & b) ^ c`, and `c ? a : b` bit by bit, as truth tables.
const AND_OR: u8 = 0xea;
const AND_XOR: u8 = 0x6a;
const CHOOSE: u8 = 0xe4;

/// The sign of a half.
const SIGN: u32 = 1 << (LANE - 1);

/// A piece's word, shifted to where it belongs.
fn moved(b: &mut Builder, shifted: &mut Shifted, piece: &Piece, words: &[Reg]) -> Reg {
    let word = words[piece.word as usize];
    match piece.right {
        0 => word,
        right => *shifted.entry((word, right)).or_insert_with(|| b.shift(word, -right)),
    }
}

/// A register that holds the bits of all pieces where they belong, and other bits elsewhere; and which bits of a lane are theirs.
pub fn pick(
    b: &mut Builder,
    shifted: &mut Shifted,
    pieces: &[Piece],
    words: &[Reg],
    lane: u32,
) -> (Reg, u32) {
    let mut all: Option<(Reg, u32)> = None;
    for piece in pieces {
        let moved = moved(b, shifted, piece, words);
        all = Some(match all {
            None => (moved, piece.mask),
            Some((r, mask)) => {
                let own = all_lanes(lane, piece.mask);
                (b.lop3(moved, r, own, CHOOSE), mask | piece.mask)
            }
        });
    }
    let Some(all) = all else { unreachable!("every code has bits") };
    all
}

/// The halves themselves: at most one instruction.
pub fn finish(b: &mut Builder, half: Half, h: Halves) -> Reg {
    match (h.scale == 1.0, h.offset == 0.0) {
        (true, true) => h.x,
        (true, false) => {
            let offset = constant(b, half, h.offset);
            b.add_halves(half, h.x, offset)
        }
        (false, true) => {
            let scale = constant(b, half, h.scale);
            b.mul_halves(half, h.x, scale)
        }
        (false, false) => {
            let (scale, offset) = (constant(b, half, h.scale), constant(b, half, h.offset));
            b.fma_halves(half, h.x, scale, offset)
        }
    }
}

/// Both halves that value.
pub fn constant(b: &mut Builder, half: Half, value: f64) -> Reg {
    b.mov(Class::B32, twice(half, value))
}
