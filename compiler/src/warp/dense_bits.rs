//! Tensors of elements that are no whole bytes: dense bits along the last dimension, rows on bytes ([`crate::numeric::storage`]).
//!
//! An element is read out of the one or two bytes that hold it. Bytes are never shared between threads when written: a thread writes runs of as many
//! neighbours as fill whole bytes, and the planner lets only ranges through that begin and end where bytes do, or with the row.
//!
//! ```text
//! u3, element 5 of a row: bits 15 to 17, byte 1 from bit 7 and byte 2       5 / 8 · 3 + (5 % 8 · 3) / 8 = 1,   (5 % 8 · 3) % 8 = 7
//! u4: runs of 2 elements, a byte each; u3: of 8 elements, three bytes; what lies past the end of a row is zero bits
//! ```

use super::elements::Element;
use super::ir::*;
use super::lower::Lower;
use crate::plan::Refusal;
use crate::plan::access::neighbours_of_bytes;
use crate::scheduled::ir as t2;
use crate::tile::ir as t1;
use t1::ElemType;

impl Lower<'_> {
    /// The element of a read at register `r`.
    pub fn read_bits(
        &mut self,
        tensor: t1::TensorId,
        ix: &[t2::Index],
        v: t2::ValId,
        r: usize,
    ) -> Result<Element, Refusal> {
        let t = self.kernel.tensor(tensor);
        let (elem, bits, span) = (t.elem, t.elem.bits(), t.span);
        let t2::ValKind::Tile { axes, .. } = &self.module.value(v).kind else {
            unreachable!("T2.1: a read makes a register tile");
        };
        let map = self.map(v);
        let mut guard = self.existing(axes, axes, &map, r)?;
        let inside = self.inside(tensor, ix, v, r)?;
        guard = self.both(guard, inside);
        // Whole bytes are where any element is.
        let (from, shift) = match bits {
            8 => (self.global_address(tensor, ix, v, r)?, None),
            _ => {
                let (from, shift) = self.place_of_bits(tensor, ix, v, r)?;
                (from, Some(shift))
            }
        };
        self.b.policy = self.policies.get(&tensor).copied();
        let mut word = self.byte_at(from, guard, span)?;
        if let Some(shift) = shift.filter(|_| 8 % bits != 0) {
            // A second byte, where the element reaches into it.
            let reaches = self.b.set_int(Cmp::Gt, IntTy::U32, shift, i64::from(8 - bits));
            let guard = self.both(guard, Some(reaches));
            let second = self.byte_at(Address { offset: from.offset + 1, ..from }, guard, span)?;
            let second = self.b.shift(second, 8);
            word = self.b.int(IntOp::Or, IntTy::B32, word, second);
        }
        self.b.policy = None;
        let down = match shift {
            None => word,
            Some(shift) => self.b.int(IntOp::Shr, IntTy::U32, word, shift),
        };
        Ok(match elem {
            ElemType::Bipolar(w) => {
                let code = self.b.and(down, (1 << bits) - 1);
                let twice = self.b.shift(code, 1);
                Element::Int(self.b.add(twice, 1 - (1 << w)).into())
            }
            _ => self.narrow_element(elem, bits, down, 0),
        })
    }

    fn byte_at(
        &mut self,
        from: Address,
        guard: Option<Reg>,
        span: crate::diagnostics::Span,
    ) -> Result<Reg, Refusal> {
        let loaded = self.loaded(ElemType::Uint(8), 1, from, guard, span)?;
        match loaded[..] {
            [Element::Int(s)] => Ok(self.in_register(s, Class::B32)),
            _ => unreachable!("a byte is loaded as an integer"),
        }
    }

    /// The first byte that has bits of an element, and which bit of it is the element's lowest.
    fn place_of_bits(
        &mut self,
        tensor: t1::TensorId,
        ix: &[t2::Index],
        v: t2::ValId,
        r: usize,
    ) -> Result<(Address, Reg), Refusal> {
        let bits = i64::from(self.kernel.tensor(tensor).elem.bits());
        let row = self.global_address(tensor, ix, v, r)?.base;
        let at = match ix.last() {
            Some(index) => self.subscript(index, v, r)?,
            None => Src::Int(0),
        };
        let at = self.in_register(at, Class::B32);
        // Eight elements are as many bytes as one has bits.
        let eights = self.b.shift(at, -3);
        let in_eight = self.b.and(at, 7);
        let bit = self.b.int(IntOp::MulLo, IntTy::S32, in_eight, bits);
        let base = self.b.mad_wide(false, eights, bits, row);
        let byte = self.b.shift(bit, -3);
        let byte = self.b.widen(false, byte);
        let base = self.b.int(IntOp::Add, IntTy::S64, base, byte);
        Ok((Address { base, offset: 0 }, self.b.and(bit, 7)))
    }

    /// Stores a register tile in runs of neighbours that fill bytes.
    pub fn write_bits(
        &mut self,
        tensor: t1::TensorId,
        ix: &[t2::Index],
        value: t2::ValId,
        always: Option<Reg>,
    ) -> Result<(), Refusal> {
        let t = self.kernel.tensor(tensor);
        let (elem, bits, span) = (t.elem, t.elem.bits(), t.span);
        let t2::ValKind::Tile { axes, .. } = &self.module.value(value).kind else {
            unreachable!("T2.1: only register tiles are written");
        };
        let map = self.map(value);
        let last = ix.last().and_then(|i| i.axis).and_then(|a| axes.iter().position(|x| *x == a));
        let wanted = neighbours_of_bytes(bits);
        let runs = map.runs(last.unwrap_or(0), wanted);
        if last.is_none() || runs.iter().any(|run| run.len() != wanted as usize) {
            let what = format!("writing {elem} where a thread has no {wanted} neighbours of a row");
            return Err(Refusal::construct(self.b.span, what));
        }
        for run in runs {
            let mut codes = Vec::new();
            for r in &run {
                let code = match self.element(value, *r)? {
                    Element::Int(s) | Element::Code(_, s) => self.in_register(s, Class::B32),
                    _ => return Err(Refusal::construct(span, format!("storing this as {elem}"))),
                };
                let code = self.b.and(code, (1 << bits) - 1);
                let exists = self.existing(axes, axes, &map, *r)?;
                let code = match exists {
                    None => code,
                    Some(p) => {
                        let d = self.b.reg(Class::B32);
                        self.b.push(Op::Select { d, a: code.into(), b: Src::Int(0), p });
                        d
                    }
                };
                codes.push((code, exists));
            }
            let inside = self.inside(tensor, ix, value, run[0])?;
            let always = self.both(always, inside);
            let (to, _) = self.place_of_bits(tensor, ix, value, run[0])?;
            for byte in 0..wanted * bits / 8 {
                // The elements that have bits in it; it is there if the first of them is.
                let first = (8 * byte / bits) as usize;
                let mut word: Option<Reg> = None;
                for (n, (code, _)) in (0..).zip(&codes).skip(first) {
                    let up = n * bits as i32 - 8 * byte as i32;
                    if up >= 8 {
                        break;
                    }
                    let part = self.b.shift(*code, up);
                    word = Some(match word {
                        None => part,
                        Some(w) => self.b.int(IntOp::Or, IntTy::B32, w, part),
                    });
                }
                let Some(word) = word else { unreachable!("every byte of a run has bits") };
                let a = self.packed(8, vec![word]);
                let guard = self.both(codes[first].1, always);
                let to = Address { offset: to.offset + byte as i32, ..to };
                self.access(tensor, guard, Op::StoreGlobal { a, to });
            }
        }
        Ok(())
    }
}
