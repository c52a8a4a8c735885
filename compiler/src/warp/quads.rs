//! Operands of `@` four bytes at a time: a fragment's register holds four neighbours along k.
//!
//! Packed codes that become bytes are unpacked four at once ([`super::unpack::unpack_bytes`]); what else is computed goes element by element, and four
//! are put together.

use super::elements::Element;
use super::ir::*;
use super::lower::Lower;
use super::unpack;
use crate::packed::Form;
use crate::plan::Refusal;
use crate::plan::access::launch_scalar;
use crate::scheduled::ir as t2;
use crate::tile::ir as t1;

impl Lower<'_> {
    /// The register of four elements of a tile of bytes.
    pub fn quad(&mut self, v: t2::ValId, four: [usize; 4]) -> Result<Reg, Refusal> {
        if let Some(d) = self.unpacked(v, four)? {
            return Ok(d);
        }
        if let Some(d) = self.bytes_of_table(v, four) {
            return Ok(d);
        }
        let span = self.b.span;
        let mut word: Option<Reg> = None;
        for (n, r) in (0..).zip(four) {
            let byte = match self.element(v, r)? {
                Element::Int(s) | Element::Code(_, s) => self.in_register(s, Class::B32),
                _ => return Err(Refusal::construct(span, "bytes of something that is no integer")),
            };
            // The last one's upper bits leave the register.
            let byte = if n < 3 { self.b.and(byte, 0xff) } else { byte };
            let moved = self.b.shift(byte, 8 * n);
            word = Some(match word {
                None => moved,
                Some(low) => self.b.int(IntOp::Or, IntTy::B32, low, moved),
            });
        }
        let Some(word) = word else { unreachable!("four elements make a register") };
        Ok(word)
    }

    /// Four codes of a packed tile that lie in one member, converted to bytes or bytes already.
    fn unpacked(&mut self, v: t2::ValId, four: [usize; 4]) -> Result<Option<Reg>, Refusal> {
        let packed = match self.producers.get(&v) {
            Some(t2::OpKind::LoadPacked { .. }) => v,
            Some(t2::OpKind::Elementwise { value, args }) => {
                let cast = matches!(self.kernel.value(*value).op, t1::Op::Cast(_));
                match args[..] {
                    [x] if cast && !launch_scalar(self.kernel, *value) => x,
                    _ => return Ok(None),
                }
            }
            _ => return Ok(None),
        };
        let Some(t2::OpKind::LoadPacked { tensor, .. }) = self.producers.get(&packed) else {
            return Ok(None);
        };
        let recipe = self.recipe(*tensor);
        let from = four.map(|r| self.counterpart(v, r, packed));
        let neighbours = from.iter().zip(from[0]..).all(|(r, n)| *r == n) && from[0].is_multiple_of(4);
        if recipe.form != Form::Byte || !neighbours {
            return Ok(None);
        }
        let regs = self.fragment(packed, recipe.words as usize);
        let (member, first, _) = recipe.member(from[0] as u32);
        let words = &regs[first as usize..(first + recipe.placement.words) as usize];
        Ok(unpack::unpack_bytes(&mut self.b, &mut self.shifted, recipe.elem, member, words))
    }
}
