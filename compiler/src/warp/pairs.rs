//! Operands of `@` two elements at a time: a fragment's register holds two neighbours along k, and so does every step of computing it.
//!
//! What is elementwise on halves stays in halves, rounded as the language says; packed codes are unpacked two at a time
//! ([`super::unpack`]) and their missing factor and addend wait for what comes next. With `(w - z) * s`, where z and s are a group's:
//!
//! ```text
//! w unpacked            x = word & mask | magic                          w = x · m + c
//! z a small integer     d = fma(x, m, c − z), exact; d · s               c − z once for a group
//! z any half            fma(fma(x, m, c), s, −z · s)                     −z · s once for a group
//! z a number, 8         d = fma(x, m, c − 8); d · s                      where c − 8 is exact
//! w a float             d = fma(x, m, −z); d · s                         c = 0
//! w · s + b             fma(fma(x, m, c), s, b)
//! ```
//! Integers may be subtracted as integers first, `(w as i32 - z as i32) as f16`: so small ones have the same difference as halves.
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

pub fn half_of(elem: ElemType) -> Option<Half> {
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
                if op != BinaryOp::Mul
                    && let Some(h) = self.product_and(v, two, half, op, args)?
                {
                    return Ok(Some(h));
                }
                let mut tiles = args.iter();
                let a = self.operand_halves(v, two, half, x, &mut tiles)?;
                let number = self.constant(y).filter(|_| launch_scalar(self.kernel, y));
                if let Some(c) = number
                    && let Some(h) = moved(a, if op == BinaryOp::Sub { -c } else { c }, op, half)
                {
                    return Ok(Some(h));
                }
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

    pub fn constant(&self, x: t1::ValueId) -> Option<f64> {
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
        if let Some(h) = self.integer_difference(t, (a, b), half)? {
            return Ok(Some(h));
        }
        self.unpacked_halves(t, (a, b), half)
    }

    /// Two codes of a packed tile that are neighbours in a word.
    fn unpacked_halves(&mut self, t: t2::ValId, (a, b): Two, half: Half) -> Result<Option<Halves>, Refusal> {
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

    /// A packed code as f32, by way of the half that it is unpacked to beside its neighbour.
    pub fn unpacked_float(
        &mut self,
        v: t2::ValId,
        r: usize,
        value: t1::ValueId,
        args: &[t2::ValId],
    ) -> Result<Option<Element>, Refusal> {
        let (t1::Op::Cast(_), ElemType::F32, &[t]) =
            (&self.kernel.value(value).op, self.kernel.ty(value).elem, args)
        else {
            return Ok(None);
        };
        let at = self.counterpart(v, r, t);
        let key = (t, at & !1, at | 1);
        let both = match self.pairs.get(&key) {
            Some(h) => h.x,
            None => {
                let Some(h) = self.unpacked_halves(t, (at & !1, at | 1), Half::F16)? else { return Ok(None) };
                let x = unpack::finish(&mut self.b, Half::F16, h);
                self.pairs.insert(key, Halves::plain(x));
                x
            }
        };
        let (lo, hi) = (self.b.reg(Class::B16), self.b.reg(Class::B16));
        self.b.push(Op::Split16 { lo, hi, a: both });
        Ok(Some(Element::F32(
            self.b.widen_half(Half::F16, if at.is_multiple_of(2) { lo } else { hi }).into(),
        )))
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
            t1::Op::Binary(BinaryOp::Add | BinaryOp::Sub, x, c) => {
                let c = self.constant(c).filter(|c| c.fract() == 0.0)?;
                self.small_integer(x).map(|most| most + c.abs())
            }
            t1::Op::Cast(x) => match self.kernel.ty(x).elem {
                ElemType::Uint(w) | ElemType::Int(w) | ElemType::Bipolar(w) if w <= 8 => {
                    Some(f64::from(1u32 << w))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// `w as i32 - z as i32`, both of at most eight bits, whose difference halves have exactly, or round as it would be rounded.
    fn integer_difference(&mut self, t: t2::ValId, two: Two, half: Half) -> Result<Option<Halves>, Refusal> {
        let Some(&t2::OpKind::Elementwise { value, args }) = self.producers.get(&t) else { return Ok(None) };
        let t1::Op::Binary(BinaryOp::Sub, x, y) = self.kernel.value(*value).op else { return Ok(None) };
        let fits = matches!(self.kernel.ty(*value).elem, ElemType::Int(16..));
        let &[a, b] = &args[..] else { return Ok(None) };
        let (Some(from), Some(to)) = (self.widened(a), self.widened(b)) else { return Ok(None) };
        let packed = |l: &Self, t| matches!(l.producers.get(&t), Some(t2::OpKind::LoadPacked { .. }));
        if !fits || launch_scalar(self.kernel, x) || launch_scalar(self.kernel, y) || !packed(self, from) {
            return Ok(None);
        }
        let at = |l: &mut Self, t: t2::ValId| (l.counterpart(a, two.0, t), l.counterpart(a, two.1, t));
        let (at_from, at_to) = (at(self, from), at(self, to));
        if self.first_holder(to, at_to.0) != self.first_holder(to, at_to.1) {
            return Ok(None);
        }
        let Some(a) = self.unpacked_halves(from, at_from, half)? else { return Ok(None) };
        let holder = self.first_holder(to, at_to.0);
        let key = (to, holder, half);
        let b = match self.integers.get(&key) {
            Some(b) => *b,
            None => {
                let e = self.element(to, holder)?;
                let b = self.integer_halves(e, self.tile(to).0, half)?;
                self.integers.insert(key, b);
                b
            }
        };
        let most = self.tile(to).0.bits();
        Ok(Some(self.difference(a, b, Some(f64::from(1u32 << most)), half)))
    }

    /// An integer of at most eight bits in both halves. It is put into the mantissa of a number that is then subtracted.
    fn integer_halves(&mut self, e: Element, small: ElemType, half: Half) -> Result<Reg, Refusal> {
        if let (Element::Int(s), Half::F16) = (e, half) {
            let word = self.in_register(s, Class::B32);
            // What is signed lies above half of what the mantissa holds.
            let middle = if small.is_signed() { 512 } else { 0 };
            let moved = self.b.add(word, 0x6400 + middle);
            let both = self.permute(moved, Src::Int(0), Src::Int(0x1010));
            let less = unpack::constant(&mut self.b, half, 1024.0 + middle as f64);
            return Ok(self.b.sub_halves(half, both, less));
        }
        let (span, to) = (self.b.span, if half == Half::F16 { ElemType::F16 } else { ElemType::Bf16 });
        let e = self.cast(e, small, to, span)?;
        self.both_halves(e, half)
    }

    /// The tile of integers of at most eight bits that a tile of wider ones was converted from.
    fn widened(&self, t: t2::ValId) -> Option<t2::ValId> {
        let small = |t: t2::ValId| match self.module.value(t).kind {
            t2::ValKind::Tile { elem, .. } => elem.is_mma_integer() && elem.bits() <= 8,
            _ => false,
        };
        if small(t) {
            return Some(t);
        }
        let Some(&t2::OpKind::Elementwise { value, args }) = self.producers.get(&t) else { return None };
        let signed = matches!(self.kernel.ty(*value).elem, ElemType::Int(16..));
        match (&self.kernel.value(*value).op, &args[..]) {
            (t1::Op::Cast(_) | t1::Op::Broadcast(_), &[x]) if signed => self.widened(x),
            _ => None,
        }
    }

    /// `a · b + c` and `a · b − c`, in one instruction where the product is of this operand alone.
    fn product_and(
        &mut self,
        v: t2::ValId,
        two: Two,
        half: Half,
        op: BinaryOp,
        args: &[t2::ValId],
    ) -> Result<Option<Halves>, Refusal> {
        let orders = match (op, args) {
            (BinaryOp::Add, &[x, y]) => vec![(x, y), (y, x)],
            (BinaryOp::Sub, &[x, y]) => vec![(x, y)],
            _ => vec![],
        };
        for (product, c) in orders {
            let Some(&t2::OpKind::Elementwise { value, args }) = self.producers.get(&product) else {
                continue;
            };
            let (t1::Op::Binary(BinaryOp::Mul, ..), &[a, b]) = (&self.kernel.value(*value).op, &args[..])
            else {
                continue;
            };
            let at = |l: &mut Self, t: t2::ValId| (l.counterpart(v, two.0, t), l.counterpart(v, two.1, t));
            let (at_a, at_b, at_c) = (at(self, a), at(self, b), at(self, c));
            let (a, b) = (self.pair(a, at_a, half)?, self.pair(b, at_b, half)?);
            let mut addend = self.pair(c, at_c, half)?;
            if op == BinaryOp::Sub {
                addend = match self.addends.get(&(addend, 0)) {
                    Some(r) => *r,
                    None => {
                        let r = self.b.neg_halves(half, addend);
                        self.addends.insert((addend, 0), r);
                        r
                    }
                };
            }
            return Ok(Some(Halves::plain(self.b.fma_halves(half, a, b, addend))));
        }
        Ok(None)
    }

    /// `(a - b) * c` as `a · c − b · c`, where b and c are those of a group and a still wants an addend.
    fn distributed(
        &mut self,
        v: t2::ValId,
        two: Two,
        half: Half,
        args: &[t2::ValId],
    ) -> Result<Option<Halves>, Refusal> {
        let &[x, y] = args else { return Ok(None) };
        match self.distributed_over(v, two, half, (x, y))? {
            None => self.distributed_over(v, two, half, (y, x)),
            some => Ok(some),
        }
    }

    fn distributed_over(
        &mut self,
        v: t2::ValId,
        two: Two,
        half: Half,
        (difference, c): (t2::ValId, t2::ValId),
    ) -> Result<Option<Halves>, Refusal> {
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

/// Halves to which an integer is added, where what is to be added then is exact.
fn moved(a: Halves, c: f64, op: BinaryOp, half: Half) -> Option<Halves> {
    let whole = if half == Half::F16 { 2048.0 } else { 256.0 };
    let exact =
        a.offset != 0.0 && a.offset.fract() == 0.0 && c.fract() == 0.0 && a.offset.abs() + c.abs() <= whole;
    (op != BinaryOp::Mul && exact).then_some(Halves { offset: a.offset + c, ..a })
}
