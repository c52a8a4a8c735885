//! What one lane loaded for others ([`super::grouped`]), handed round: two chunks in the halves of one register.
//!
//! ```text
//! e[j, k / 32] as bf16, four rows      own = lane's code as bf16         once instead of four times
//!                                      r0 … r3 = own of lanes 0 … 3
//! u4 zero points to f16                own = (word >> bit & 15 | 0x6400) − 1024        no conversion of an integer
//! ```

use super::elements::Element;
use super::grouped::{Chunk, Grouped};
use super::ir::*;
use super::lower::Lower;
use super::unpack;
use crate::plan::Refusal;
use crate::tile::ir as t1;
use t1::ElemType;

/// `(a & b) ^ c` as a truth table.
const AND_XOR: u8 = 0x6a;

impl Lower<'_> {
    /// At the beginning of a step, at `at`, what was loaded for it becomes the tiles' elements.
    pub fn take_over(&mut self, all: &[&Grouped], at: Option<Reg>) -> Result<(), Refusal> {
        let mut waiting: Vec<(&Grouped, &Chunk, Reg)> = Vec::new();
        for g in all {
            for chunk in &g.chunks {
                let own = self.own(g, chunk, at)?;
                let n = chunk.registers.len();
                if n == 1 {
                    let own = self.b.mov(self.b.class(own), own);
                    self.taken(g, chunk.registers[0], own)?;
                    continue;
                }
                if self.b.class(own) == Class::F32 {
                    self.hand_round_words(g, chunk, own)?;
                    continue;
                }
                match waiting.iter().position(|(_, c, _)| c.registers.len() == n) {
                    Some(at) => {
                        let other = waiting.remove(at);
                        self.hand_round(&[other, (g, chunk, own)])?;
                    }
                    None => waiting.push((g, chunk, own)),
                }
            }
        }
        waiting.into_iter().try_for_each(|one| self.hand_round(&[one]))
    }

    /// What a lane loaded: as it lies in memory, or the half that is wanted of it.
    fn own(&mut self, g: &Grouped, chunk: &Chunk, at: Option<Reg>) -> Result<Reg, Refusal> {
        let word = match self.lowest_bit(g, chunk, at) {
            None => None,
            Some(bit) => {
                let mut word = self.word_of(chunk.next[0]);
                if let Some(second) = chunk.next.get(1) {
                    let second = self.word_of(*second);
                    let second = self.b.shift(second, 8);
                    word = self.b.int(IntOp::Or, IntTy::B32, word, second);
                }
                Some(self.b.int(IntOp::Shr, IntTy::U32, word, bit))
            }
        };
        let Some(half) = g.to else {
            return Ok(match word {
                None => chunk.next[0],
                Some(word) => self.low_half(word),
            });
        };
        let bits = g.elem.bits();
        if let (Half::F16, 1..=8, true) = (half, bits, g.elem.is_mma_integer()) {
            let word = match word {
                Some(word) => word,
                None => self.word_of(chunk.next[0]),
            };
            return Ok(self.half_of_code(g.elem, word));
        }
        let e = self.element_of(g, chunk.next[0], word)?;
        let to = if half == Half::F16 { ElemType::F16 } else { ElemType::Bf16 };
        let span = self.b.span;
        let e = self.cast(e, g.elem, to, span)?;
        let a = match e {
            Element::F32(Src::Reg(r)) if self.b.half_of(r).is_some_and(|(from, _)| from == half) => {
                return Ok(self.b.half_of(r).map_or(r, |(_, a)| a));
            }
            Element::Half(_, s) => s,
            other => self.float(other, span)?,
        };
        let d = self.b.reg(Class::B16);
        self.b.push(Op::ToHalf { to: half, d, a });
        Ok(d)
    }

    /// An integer of at most eight bits as f16: put into the mantissa of 1024, which is then subtracted.
    fn half_of_code(&mut self, elem: ElemType, word: Reg) -> Reg {
        let bits = elem.bits();
        let mask = (1i64 << bits) - 1;
        let magic = 0x6400;
        let (x, less) = match elem {
            ElemType::Int(_) => {
                let sign = 1i64 << (bits - 1);
                (self.b.lop3(word, mask, magic ^ sign, AND_XOR), 1024.0 + sign as f64)
            }
            ElemType::Bipolar(_) => {
                let twice = self.b.shift(word, 1);
                (self.b.lop3(twice, mask << 1, magic, AND_XOR), 1024.0 + mask as f64)
            }
            _ => (self.b.lop3(word, mask, magic, AND_XOR), 1024.0),
        };
        let less = unpack::constant(&mut self.b, Half::F16, less);
        let d = self.b.sub_halves(Half::F16, x, less);
        self.low_half(d)
    }

    /// A register of at most 16 bits, zero-extended.
    fn word_of(&mut self, lo: Reg) -> Reg {
        let (hi, d) = (self.b.mov(Class::B16, 0), self.b.reg(Class::B32));
        self.b.push(Op::Join16 { d, lo, hi });
        d
    }

    fn low_half(&mut self, a: Reg) -> Reg {
        let (lo, hi) = (self.b.reg(Class::B16), self.b.reg(Class::B16));
        self.b.push(Op::Split16 { lo, hi, a });
        lo
    }

    /// The element that a register holds as it lies in memory, or at the lower end of a word.
    fn element_of(&mut self, g: &Grouped, held: Reg, word: Option<Reg>) -> Result<Element, Refusal> {
        let bits = g.elem.bits();
        if let ElemType::Bipolar(w) = g.elem {
            let word = match word {
                Some(word) => word,
                None => self.word_of(held),
            };
            let code = self.b.and(word, (1 << bits) - 1);
            let twice = self.b.shift(code, 1);
            return Ok(Element::Int(self.b.add(twice, 1 - (1 << w)).into()));
        }
        match word {
            Some(word) => Ok(self.narrow_element(g.elem, bits, word, 0)),
            None => {
                let span = self.kernel.tensor(g.tensor).span;
                Ok(self.loaded_as(g.elem, 1, vec![held], span)?[0])
            }
        }
    }

    /// Elements of 32 bits, each by a shuffle of its own.
    fn hand_round_words(&mut self, g: &Grouped, chunk: &Chunk, own: Reg) -> Result<(), Refusal> {
        let own = self.b.mov(Class::B32, own);
        for (lane, register) in (0..).zip(&chunk.registers) {
            let d = self.neighbour(own, lane, chunk.registers.len() as u32);
            let held = self.b.mov(g.class, d);
            self.taken(g, *register, held)?;
        }
        Ok(())
    }

    /// Elements of one or two chunks, in the halves of one register, to all lanes that share them.
    fn hand_round(&mut self, chunks: &[(&Grouped, &Chunk, Reg)]) -> Result<(), Refusal> {
        let (lo, hi) = (chunks[0].2, chunks[chunks.len() - 1].2);
        let n = chunks[0].1.registers.len();
        let own = self.b.reg(Class::B32);
        self.b.push(Op::Join16 { d: own, lo, hi });
        for lane in 0..n {
            let d = self.neighbour(own, lane as u32, n as u32);
            let (lo, hi) = (self.b.reg(Class::B16), self.b.reg(Class::B16));
            self.b.push(Op::Split16 { lo, hi, a: d });
            for ((g, chunk, _), half) in chunks.iter().zip([lo, hi]) {
                self.taken(g, chunk.registers[lane], half)?;
            }
        }
        Ok(())
    }

    fn neighbour(&mut self, a: Reg, lane: u32, of: u32) -> Reg {
        let d = self.b.reg(Class::B32);
        self.b.push(Op::ShuffleWithin { d, a, lane, of });
        d
    }

    fn taken(&mut self, g: &Grouped, register: usize, held: Reg) -> Result<(), Refusal> {
        let e = match g.to {
            Some(half) => Element::F32(self.b.widen_half(half, held).into()),
            None if g.elem.bits() < 8 => {
                let word = self.word_of(held);
                self.element_of(g, held, Some(word))?
            }
            None => self.element_of(g, held, None)?,
        };
        self.elements.insert((g.tile, register), e);
        Ok(())
    }
}
