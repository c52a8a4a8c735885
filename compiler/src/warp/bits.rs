//! Operands of `@` 32 bits at a time: a fragment's register holds the same bit of 32 neighbours along k.
//!
//! Where in the register each neighbour's bit is does not matter, if both operands agree: neighbour 4i + j is at bit 8j + i ([`Form::lane_at`]).
//! Packed codes lie so in memory, plane by plane ([`Form::Planes`]), and cost nothing. Of bytes, eight words hold eight planes: what is word
//! i and bit q of byte j there is to be word q and bit i of byte j. Words and bits change places in three steps, each for one binary digit
//! of both, 48 instructions for eight planes.
//! ```text
//! words i and i + 4 of each four:    i:      b7 b6 b5 b4 b3 b2 b1 b0    becomes    B3 B2 B1 B0 b3 b2 b1 b0
//!                                    i + 4:  B7 B6 B5 B4 B3 B2 B1 B0               B7 B6 B5 B4 b7 b6 b5 b4
//! ```
//! and likewise by 2 and by 1.

use super::elements::Element;
use super::ir::*;
use super::lower::Lower;
use crate::packed::Form;
use crate::plan::Refusal;
use crate::scheduled::ir as t2;
use crate::tile::ir as t1;
use rustc_hash::FxHashMap;
use t1::{BinaryOp, Const, ElemType, Op as T1, ValueId};

/// The steps of the exchange: how far apart its words are, and the bits of the nearer one that stay.
pub const EXCHANGES: [(u32, i64); 3] = [(4, 0x0f0f_0f0f), (2, 0x3333_3333), (1, 0x5555_5555)];

/// `b ? a : c` bit by bit, as a truth table.
const CHOOSE: u8 = 0xe2;

/// Words of the exchange: by tile, its first register, steps done, and number.
pub type Exchanged = FxHashMap<(t2::ValId, usize, usize, u32), Reg>;

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
            let at = Form::Planes.lane_at(n);
            let Element::Int(s) = self.element(v, *r)? else {
                return Err(Refusal::construct(span, "bits of something that is no integer"));
            };
            let one = self.in_register(s, Class::B32);
            let one = self.b.and(one, 1);
            let moved = self.b.shift(one, at as i32);
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
                Some(self.exchanged(x, first, EXCHANGES.len(), bit))
            }
            _ => None,
        }
    }

    /// Word `n` of the eight from register `first` on, after so many steps of the exchange.
    fn exchanged(&mut self, x: t2::ValId, first: usize, steps: usize, n: u32) -> Reg {
        let Some(before) = steps.checked_sub(1) else {
            let words = self.map(x).registers / 4;
            return self.fragment(x, words)[first / 4 + n as usize];
        };
        if let Some(d) = self.exchanged.get(&(x, first, steps, n)) {
            return *d;
        }
        let (apart, mask) = EXCHANGES[before];
        let near = self.exchanged(x, first, before, n & !apart);
        let far = self.exchanged(x, first, before, n | apart);
        // Both at once: neither of the two before is needed any more.
        let up = self.b.shift(far, apart as i32);
        let down = self.b.shift(near, -(apart as i32));
        let pair = [self.b.lop3(near, mask, up, CHOOSE), self.b.lop3(down, mask, far, CHOOSE)];
        for (d, n) in pair.into_iter().zip([n & !apart, n | apart]) {
            self.exchanged.insert((x, first, steps, n), d);
        }
        pair[usize::from(n & apart != 0)]
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
