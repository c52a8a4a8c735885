//! Operands of `@` two elements at a time: a fragment's register holds two neighbours along k, and so does every step of computing it.
//!
//! What is elementwise on halves stays in halves, rounded as the language says; packed codes are unpacked two at a time
//! ([`super::unpack`]) and their missing factor and addend wait for what comes next. With `(w - z) * s`, where z and s are a group's:
//!
//! ```text
//! w unpacked            x = word & mask | magic                          w = x · m + c
//! z a small integer     d = fma(x, m, c − z), exact; d · s               c − z once for a group
//! z any half            fma(fma(x, m, c), s, −z · s)                     −z · s once for a group
//! w a float             d = fma(x, m, −z); d · s                         c = 0
//! ```
//! What no rule serves is computed element by element and packed.

use super::elements::Element;
use super::ir::*;
use super::lower::Lower;
use super::unpack::{self, Halves, twice};
use crate::packed::Form;
use crate::plan::Refusal;
use crate::plan::access::launch_scalar;
use crate::scheduled::ir as t2;
use crate::tile::ir as t1;
use t1::{BinaryOp, ElemType, UnaryOp};

/// The registers of the two elements.
type Two = (usize, usize);

fn half_of(elem: ElemType) -> Option<Half> {
    match elem {
        ElemType::F16 => Some(Half::F16),
        ElemType::Bf16 => Some(Half::Bf16),
        _ => None,
    }
}

impl Lower<'_> {
    /// The register of two elements of a tile of halves.
    pub fn pair(&mut self, v: t2::ValId, two: Two, half: Half) -> Result<Reg, Refusal> {
        let halves = self.halves(v, two, half)?;
        let x = unpack::finish(&mut self.b, half, halves);
        let key = self.pair_key(v, two);
        self.pairs.insert(key, Halves::plain(x));
        Ok(x)
    }

    fn pair_key(&mut self, v: t2::ValId, (a, b): Two) -> (t2::ValId, usize, usize) {
        (v, self.first_holder(v, a), self.first_holder(v, b))
    }

    fn halves(&mut self, v: t2::ValId, two: Two, half: Half) -> Result<Halves, Refusal> {
        let key = self.pair_key(v, two);
        if let Some(h) = self.pairs.get(&key) {
            return Ok(*h);
        }
        let h = match self.by_rule(v, two, half)? {
            Some(h) => h,
            None => Halves::plain(self.packed_elements(v, two, half)?),
        };
        self.pairs.insert(key, h);
        Ok(h)
    }

    /// Both elements computed on their own.
    fn packed_elements(&mut self, v: t2::ValId, (a, b): Two, half: Half) -> Result<Reg, Refusal> {
        let (_, first, second) = self.pair_key(v, (a, b));
        let lo = self.element(v, first)?;
        if first == second {
            return self.both_halves(lo, half);
        }
        let hi = self.element(v, second)?;
        let d = self.b.reg(Class::B32);
        match (self.made_of(lo, half), self.made_of(hi, half)) {
            (Some(lo), Some(hi)) => self.b.push(Op::Join16 { d, lo, hi }),
            _ => {
                let (lo, hi) = (self.unrounded(lo)?, self.unrounded(hi)?);
                self.b.push(Op::PackHalf { to: half, d, lo, hi });
            }
        }
        Ok(d)
    }

    /// One element in both halves.
    fn both_halves(&mut self, e: Element, half: Half) -> Result<Reg, Refusal> {
        let one = match self.made_of(e, half) {
            Some(one) => one,
            None => {
                let a = self.unrounded(e)?;
                let d = self.b.reg(Class::B16);
                self.b.push(Op::ToHalf { to: half, d, a });
                d
            }
        };
        let d = self.b.reg(Class::B32);
        self.b.push(Op::Join16 { d, lo: one, hi: one });
        Ok(d)
    }

    /// The half that an element was widened from.
    fn made_of(&self, e: Element, half: Half) -> Option<Reg> {
        match e {
            Element::F32(Src::Reg(r)) | Element::Half(_, Src::Reg(r)) => {
                self.b.half_of(r).filter(|(from, _)| *from == half).map(|(_, a)| a)
            }
            _ => None,
        }
    }

    /// An element as f32, whose rounding to the half is still to come.
    fn unrounded(&mut self, e: Element) -> Result<Src, Refusal> {
        match e {
            Element::Half(_, x) => Ok(x),
            other => self.float(other, self.b.span),
        }
    }

    fn by_rule(&mut self, v: t2::ValId, two: Two, half: Half) -> Result<Option<Halves>, Refusal> {
        if let Some(x) = self.halves_of_table(v, two, half) {
            return Ok(Some(Halves::plain(x)));
        }
        let Some(&t2::OpKind::Elementwise { value, args }) = self.producers.get(&v) else {
            return Ok(None);
        };
        let value = *value;
        if half_of(self.kernel.ty(value).elem) != Some(half) || launch_scalar(self.kernel, value) {
            return Ok(None);
        }
        match self.kernel.value(value).op.clone() {
            t1::Op::Cast(x) => self.converted(v, two, half, x, args),
            t1::Op::Broadcast(x) if half_of(self.kernel.ty(x).elem) == Some(half) => {
                Ok(Some(self.operand_halves(v, two, half, x, &mut args.iter())?))
            }
            t1::Op::Unary(UnaryOp::Neg, x) => {
                let h = self.operand_halves(v, two, half, x, &mut args.iter())?;
                let x = unpack::finish(&mut self.b, half, h);
                Ok(Some(Halves::plain(self.b.neg_halves(half, x))))
            }
            t1::Op::Binary(op @ (BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul), x, y) => {
                if op == BinaryOp::Mul
                    && let Some(h) = self.distributed(v, two, half, args)?
                {
                    return Ok(Some(h));
                }
                let mut tiles = args.iter();
                let a = self.operand_halves(v, two, half, x, &mut tiles)?;
                let b = self.operand_halves(v, two, half, y, &mut tiles)?;
                let b = unpack::finish(&mut self.b, half, b);
                Ok(Some(match op {
                    BinaryOp::Sub => self.difference(a, b, self.small_integer(y), half),
                    op => {
                        let a = unpack::finish(&mut self.b, half, a);
                        let d = match op {
                            BinaryOp::Add => self.b.add_halves(half, a, b),
                            _ => self.b.mul_halves(half, a, b),
                        };
                        Halves::plain(d)
                    }
                }))
            }
            _ => Ok(None),
        }
    }

    /// An operand of an elementwise operation: a launch scalar, or the next tile.
    fn operand_halves<'t>(
        &mut self,
        v: t2::ValId,
        two: Two,
        half: Half,
        x: t1::ValueId,
        tiles: &mut impl Iterator<Item = &'t t2::ValId>,
    ) -> Result<Halves, Refusal> {
        if !launch_scalar(self.kernel, x) {
            let Some(t) = tiles.next() else {
                unreachable!("one tile argument per operand that is no launch scalar")
            };
            let two = (self.counterpart(v, two.0, *t), self.counterpart(v, two.1, *t));
            return self.halves(*t, two, half);
        }
        if let Some(value) = self.constant(x) {
            return Ok(Halves::plain(self.b.mov(Class::B32, twice(half, value))));
        }
        let e = self.scalar_element(x)?;
        Ok(Halves::plain(self.both_halves(e, half)?))
    }

    fn constant(&self, x: t1::ValueId) -> Option<f64> {
        match self.kernel.value(x).op {
            t1::Op::Const(t1::Const::Float(f)) => Some(f),
            t1::Op::Const(t1::Const::Int(i)) => Some(i as f64),
            _ => None,
        }
    }

    /// `x as half`: packed codes are unpacked; what is such a half stays.
    fn converted(
        &mut self,
        v: t2::ValId,
        two: Two,
        half: Half,
        x: t1::ValueId,
        args: &[t2::ValId],
    ) -> Result<Option<Halves>, Refusal> {
        let &[t] = args else { return Ok(None) };
        let (a, b) = (self.counterpart(v, two.0, t), self.counterpart(v, two.1, t));
        if half_of(self.kernel.ty(x).elem) == Some(half) {
            return self.halves(t, (a, b), half).map(Some);
        }
        let Some(t2::OpKind::LoadPacked { tensor, .. }) = self.producers.get(&t) else { return Ok(None) };
        let recipe = self.recipe(*tensor);
        let wide = match recipe.form {
            Form::Magic { room } => room,
            Form::Float { mantissa } => mantissa,
            Form::Byte | Form::Planes | Form::Nibbles | Form::Codes => return Ok(None),
        };
        let own = if half == Half::F16 { 10 } else { 7 };
        if b != a + 1 || !a.is_multiple_of(2) || wide != own {
            return Ok(None);
        }
        let regs = self.fragment(t, recipe.words as usize);
        let (member, first, _) = recipe.member(a as u32);
        let words = &regs[first as usize..(first + recipe.placement.words) as usize];
        let kind = (recipe.elem, recipe.form, half);
        Ok(unpack::unpack(&mut self.b, &mut self.shifted, kind, member, words))
    }

    /// `a - b`. Where nothing is to be added to a but b, one instruction does both; so it does where b is a small integer, whose sum
    /// with what is to be added is exact.
    fn difference(&mut self, a: Halves, b: Reg, integer: Option<f64>, half: Half) -> Halves {
        let whole = if half == Half::F16 { 2048.0 } else { 256.0 };
        let exact = integer.is_some_and(|most| a.offset.abs() + most <= whole && a.offset.fract() == 0.0);
        if a.scale == 1.0 && a.offset == 0.0 {
            return Halves::plain(self.b.sub_halves(half, a.x, b));
        }
        if a.offset != 0.0 && !exact {
            let a = unpack::finish(&mut self.b, half, a);
            return Halves::plain(self.b.sub_halves(half, a, b));
        }
        let key = (b, a.offset.to_bits());
        let addend = match self.addends.get(&key) {
            Some(r) => *r,
            None => {
                let r = if a.offset == 0.0 {
                    self.b.neg_halves(half, b)
                } else {
                    let offset = unpack::constant(&mut self.b, half, a.offset);
                    self.b.sub_halves(half, offset, b)
                };
                self.addends.insert(key, r);
                r
            }
        };
        let scale = unpack::constant(&mut self.b, half, a.scale);
        Halves::plain(self.b.fma_halves(half, a.x, scale, addend))
    }

    /// The greatest magnitude of a half that was converted from an integer of at most eight bits.
    fn small_integer(&self, v: t1::ValueId) -> Option<f64> {
        match self.kernel.value(v).op {
            t1::Op::Broadcast(x) => self.small_integer(x),
            t1::Op::Cast(x) => match self.kernel.ty(x).elem {
                ElemType::Uint(w) | ElemType::Int(w) | ElemType::Bipolar(w) if w <= 8 => {
                    Some(f64::from(1u32 << w))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// `(a - b) * c` as `a · c − b · c`, where b and c are those of a group and a still wants an addend.
    fn distributed(
        &mut self,
        v: t2::ValId,
        two: Two,
        half: Half,
        args: &[t2::ValId],
    ) -> Result<Option<Halves>, Refusal> {
        let &[difference, c] = args else { return Ok(None) };
        let Some(&t2::OpKind::Elementwise { value, args }) = self.producers.get(&difference) else {
            return Ok(None);
        };
        let (t1::Op::Binary(BinaryOp::Sub, _, y), &[a, b]) = (&self.kernel.value(*value).op, &args[..])
        else {
            return Ok(None);
        };
        if self.small_integer(*y).is_some() {
            return Ok(None);
        }
        let at = |l: &mut Self, t: t2::ValId| (l.counterpart(v, two.0, t), l.counterpart(v, two.1, t));
        let (at_a, at_b, at_c) = (at(self, a), at(self, b), at(self, c));
        let shared = |l: &mut Self, t, two: Two| l.first_holder(t, two.0) == l.first_holder(t, two.1);
        if !shared(self, b, at_b) || !shared(self, c, at_c) {
            return Ok(None);
        }
        let a = self.halves(a, at_a, half)?;
        if a.offset == 0.0 {
            return Ok(None);
        }
        let (b, c) = (self.pair(b, at_b, half)?, self.pair(c, at_c, half)?);
        let product = match self.products.get(&(b, c)) {
            Some(r) => *r,
            None => {
                let minus = self.b.neg_halves(half, b);
                let r = self.b.mul_halves(half, minus, c);
                self.products.insert((b, c), r);
                r
            }
        };
        let a = unpack::finish(&mut self.b, half, a);
        Ok(Some(Halves::plain(self.b.fma_halves(half, a, c, product))))
    }
}
