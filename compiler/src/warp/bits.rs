//! Operands of `@` 32 bits at a time: a fragment's register holds the same bit of 32 neighbours along k.
//!
//! Packed codes lie in planes, word by word ([`crate::packed::Form::Planes`]), so that a plane costs nothing. Of bytes that were staged a bit is
//! gathered four at a time: with one bit of each of four bytes left, a multiplication moves them side by side into the upper four.
//! ```text
//! (x >> q) & 0x01010101                                            b0 at bit 0, b1 at 8, b2 at 16, b3 at 24
//! · 0x10204080 = 2^28 + 2^21 + 2^14 + 2^7                          b0 at bit 28, b1 at 29, b2 at 30, b3 at 31; no carries from below
//! ```

use super::elements::Element;
use super::ir::*;
use super::lower::Lower;
use crate::packed::Form;
use crate::plan::Refusal;
use crate::scheduled::ir as t2;
use crate::tile::ir as t1;
use t1::{BinaryOp, Const, ElemType, Op as T1, ValueId};

/// The factor that moves the lowest bits of four bytes to the uppermost four.
pub const GATHER: i64 = 0x1020_4080;

/// `a | (b & c)` as a truth table.
const OR_AND: u8 = 0xf8;

impl Lower<'_> {
    /// The register of 32 elements of a tile of bits.
    pub fn bits(&mut self, v: t2::ValId, all: &[usize]) -> Result<Reg, Refusal> {
        if let Some((x, bit)) = self.bit_of(v) {
            let from: Vec<usize> = all.iter().map(|r| self.counterpart(v, *r, x)).collect();
            let neighbours = from.iter().zip(from[0]..).all(|(r, n)| *r == n) && from[0].is_multiple_of(32);
            if neighbours && let Some(d) = self.plane(x, bit, from[0]) {
                return Ok(d);
            }
        }
        let span = self.b.span;
        let mut word: Option<Reg> = None;
        for (n, r) in (0..).zip(all) {
            let Element::Int(s) = self.element(v, *r)? else {
                return Err(Refusal::construct(span, "bits of something that is no integer"));
            };
            let one = self.in_register(s, Class::B32);
            let one = self.b.and(one, 1);
            let moved = self.b.shift(one, n);
            word = Some(match word {
                None => moved,
                Some(low) => self.b.int(IntOp::Or, IntTy::B32, low, moved),
            });
        }
        let Some(word) = word else { unreachable!("32 elements make a register") };
        Ok(word)
    }

    /// The tile and the bit that `(x >> bit) as u1` is.
    fn bit_of(&self, v: t2::ValId) -> Option<(t2::ValId, u32)> {
        let (value, args) = self.elementwise_of(v)?;
        let T1::Cast(inner) = self.kernel.value(value).op else { return None };
        let [x] = args[..] else { return None };
        match self.elementwise_of(x) {
            Some((shift, args)) if shift == inner => {
                let T1::Binary(BinaryOp::Shr, _, by) = self.kernel.value(shift).op else { return None };
                let [x] = args[..] else { return None };
                Some((x, self.bit(by)?))
            }
            _ => Some((x, 0)),
        }
    }

    fn elementwise_of(&self, v: t2::ValId) -> Option<(ValueId, Vec<t2::ValId>)> {
        match *self.producers.get(&v)? {
            t2::OpKind::Elementwise { value, args } => Some((*value, args.clone())),
            _ => None,
        }
    }

    /// A constant distance.
    fn bit(&self, v: ValueId) -> Option<u32> {
        match self.kernel.value(v).op {
            T1::Const(Const::Int(c)) => u32::try_from(c).ok().filter(|c| *c < 8),
            T1::Cast(x) | T1::Broadcast(x) => self.bit(x),
            _ => None,
        }
    }

    /// A bit of 32 neighbours from register `first` on.
    fn plane(&mut self, x: t2::ValId, bit: u32, first: usize) -> Option<Reg> {
        match **self.producers.get(&x)? {
            t2::OpKind::LoadPacked { tensor, .. } => {
                let recipe = self.recipe(tensor);
                if recipe.form != Form::Planes || bit >= recipe.elem.bits() {
                    return None;
                }
                let regs = self.fragment(x, recipe.words as usize);
                let (member, group, _) = recipe.member(first as u32);
                let (word, _) = member.bits[bit as usize];
                Some(regs[(group + word) as usize])
            }
            t2::OpKind::Load { buf, .. } if self.module.buffer(buf).elem.bits() == 8 => {
                let n = self.map(x).registers / 4;
                let words = self.fragment(x, n)[first / 4..first / 4 + 8].to_vec();
                let mut all: Option<Reg> = None;
                for word in words {
                    let low = self.b.shift(word, -(bit as i32));
                    let ones = self.b.and(low, 0x0101_0101);
                    let up = self.b.int(IntOp::MulLo, IntTy::U32, ones, GATHER);
                    // The newest four are uppermost; those before move down, and what lay below the first falls out.
                    all = Some(match all {
                        None => up,
                        Some(before) => {
                            let moved = self.b.shift(before, -4);
                            self.b.lop3(moved, up, 0xf000_0000_i64, OR_AND)
                        }
                    });
                }
                all
            }
            _ => None,
        }
    }

    /// Whether lanes that do not exist are zero without being made so: what is staged is zero-filled, and shifts and conversions of
    /// integers keep that.
    pub fn zero_stays(&self, v: t2::ValId) -> bool {
        let kernel = self.kernel;
        match self.producers.get(&v) {
            Some(t2::OpKind::Load { .. }) => true,
            Some(t2::OpKind::LoadPacked { tensor, .. }) => {
                let recipe = self.recipe(*tensor);
                matches!(recipe.elem, ElemType::Uint(_)) || recipe.form == Form::Planes
            }
            Some(t2::OpKind::Elementwise { value, args }) => {
                let plain = match kernel.value(*value).op {
                    T1::Cast(x) => kernel.ty(x).elem.is_integer(),
                    T1::Binary(BinaryOp::Shr, x, _) => kernel.ty(x).elem.is_integer(),
                    _ => false,
                };
                matches!(args[..], [x] if plain && self.zero_stays(x))
            }
            _ => false,
        }
    }
}
