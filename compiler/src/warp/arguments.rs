//! `argmax` and `argmin`: reductions of pairs (element, coordinate).
//!
//! The better pair has the greater element, or an equal one at the lower coordinate. *Nothing* is the worst element at -1, and coordinates
//! compare as unsigned numbers, so that any element is better than nothing; a NaN is never better. The coordinates are
//! the tile's elements; the elements that they belong to are kept beside them until the reduction is complete.

use super::ir::*;
use super::lower::Lower;
use super::reductions::{LANE_BITS, class_of, neutral};
use crate::plan::Refusal;
use crate::scheduled::ir as t2;
use crate::tile::ir as t1;
use t1::{ElemType, ReduceOp};

const NOTHING: Src = Src::Int(-1);

/// An element and its coordinate.
#[derive(Clone, Copy, Debug)]
pub struct Best {
    pub elem: ElemType,
    pub value: Src,
    pub at: Src,
}

impl Lower<'_> {
    /// Registers and lanes of one warp.
    pub fn emit_arg_reduce(
        &mut self,
        result: t2::ValId,
        x: t2::ValId,
        op: ReduceOp,
        axes: &[t1::AxisId],
    ) -> Result<(), Refusal> {
        let map = self.map(x);
        let (elem, x_axes) = self.tile(x);
        let span = self.b.span;
        let [axis] = axes else {
            return Err(Refusal::construct(span, "`argmax` over several axes")
                .note("it gives the coordinate of one axis")
                .help("over one axis after the other: the extreme of the rest first"));
        };
        let n = x_axes.iter().position(|a| a == axis).unwrap_or(0);
        let mut registers = self.distinct(x);
        registers.sort_by_key(|q| map.axes[n].register[*q]);
        let mut best: Vec<(usize, Option<Best>)> =
            self.distinct(result).into_iter().map(|r| (r, None)).collect();
        for q in registers {
            let r = self.counterpart(x, q, result);
            let e = self.element(x, q)?;
            let value = self.countable(e)?;
            let position = self.axis_position(*axis, &map.axes[n].thread)?;
            let coordinate = match map.axes[n].register[q] {
                0 => position,
                c => self.b.add(position, i64::from(c)),
            };
            let exists = self.existing(axes, &x_axes, &map, q)?;
            let value = self.or_neutral(value, exists, op, elem);
            let at = match exists {
                Some(p) => {
                    let d = self.b.reg(Class::B32);
                    self.b.push(Op::Select { d, a: coordinate.into(), b: NOTHING, p });
                    d
                }
                None => coordinate,
            };
            let this = Best { elem, value, at: at.into() };
            let slot = best.iter().position(|(s, _)| *s == r).unwrap_or(0);
            let before = best[slot].1.unwrap_or(Best { elem, value: neutral(op, elem), at: NOTHING });
            best[slot].1 = Some(self.better(op, before, this));
        }
        let moves =
            |bit: usize| x_axes.iter().zip(&map.axes).any(|(a, m)| axes.contains(a) && m.thread[bit] != 0);
        let lanes: Vec<usize> = (0..LANE_BITS).filter(|b| moves(*b)).collect();
        for (r, found) in best {
            let mut found = found.unwrap_or(Best { elem, value: neutral(op, elem), at: NOTHING });
            for bit in &lanes {
                let (value, at) =
                    (self.in_register(found.value, class_of(elem)), self.in_register(found.at, Class::B32));
                let other = Best {
                    elem,
                    value: self.shuffle(value, 1 << bit).into(),
                    at: self.shuffle(at, 1 << bit).into(),
                };
                found = self.better(op, Best { value: value.into(), at: at.into(), ..found }, other);
            }
            self.keep(result, r, ElemType::Index, found.at);
            self.best.insert((result, r), found);
        }
        Ok(())
    }

    fn better(&mut self, op: ReduceOp, x: Best, y: Best) -> Best {
        let class = class_of(x.elem);
        let cmp = if op == ReduceOp::ArgMax { Cmp::Gt } else { Cmp::Lt };
        let (a, b) = (self.in_register(y.value, class), self.in_register(x.value, class));
        let beats = self.compare(cmp, x.elem, a, b);
        let equal = self.compare(Cmp::Eq, x.elem, a, b);
        let (at, before) = (self.in_register(y.at, Class::B32), x.at);
        let lower = self.b.set_int(Cmp::Lt, IntTy::U32, at, before);
        let tie = self.b.pred_and(equal, lower);
        let take = self.b.reg(Class::Pred);
        self.b.push(Op::PredOr { d: take, a: beats, b: tie });
        let (value, place) = (self.b.reg(class), self.b.reg(Class::B32));
        self.b.push(Op::Select { d: value, a: a.into(), b: b.into(), p: take });
        self.b.push(Op::Select { d: place, a: at.into(), b: before, p: take });
        Best { elem: x.elem, value: value.into(), at: place.into() }
    }

    fn compare(&mut self, cmp: Cmp, elem: ElemType, a: Reg, b: Reg) -> Reg {
        if elem.is_float() {
            let d = self.b.reg(Class::Pred);
            self.b.push(Op::SetFloat { cmp, d, a: a.into(), b: b.into() });
            return d;
        }
        self.b.set_int(cmp, super::reductions::int_ty(elem), a, b)
    }

    /// The calling warps' pairs, each by one thread: the element, and its coordinate 8 bytes on.
    pub fn emit_put_pairs(&mut self, buf: t2::BufId, value: t2::ValId, warps: u32) {
        let at = self.positions(value, warps, 16);
        let base = self.module.buffer(buf).base as i32;
        let first = self.first_of(at.idle);
        for r in self.distinct(value) {
            let Some(best) = self.best.get(&(value, r)).copied() else { continue };
            let mut to = self.threads.shared(&mut self.b, &at.columns, at.registers[r]);
            to.offset += base;
            let stored = self.in_register(best.value, class_of(best.elem));
            self.b.guarded(first.map(|p| (p, true)), Op::StoreShared { a: vec![stored], to });
            to.offset += 8;
            let stored = self.in_register(best.at, Class::B32);
            self.b.guarded(first.map(|p| (p, true)), Op::StoreShared { a: vec![stored], to });
        }
    }

    /// The best of all warps' pairs, for every thread.
    pub fn emit_get_pairs(
        &mut self,
        buf: t2::BufId,
        result: t2::ValId,
        op: ReduceOp,
        elem: ElemType,
        warps: u32,
    ) {
        let at = self.positions(result, warps, 16);
        let base = self.module.buffer(buf).base as i32;
        let mut columns = at.columns.clone();
        for (bit, c) in columns.iter_mut().enumerate().skip(LANE_BITS) {
            if warps >> (bit - LANE_BITS) & 1 == 1 {
                *c = 0;
            }
        }
        for r in self.distinct(result) {
            let mut found: Option<Best> = None;
            for w in 0..1 << warps.count_ones() {
                let mut from = self.threads.shared(&mut self.b, &columns, at.registers[r]);
                from.offset += base + (w * at.pitch) as i32;
                let class = class_of(elem);
                let (value, place) = (self.b.reg(class), self.b.reg(Class::B32));
                self.b.push(Op::LoadShared { d: value, from, bytes: class.bytes() });
                from.offset += 8;
                self.b.push(Op::LoadShared { d: place, from, bytes: 4 });
                let this = Best { elem, value: value.into(), at: place.into() };
                found = Some(match found {
                    Some(before) => self.better(op, before, this),
                    None => this,
                });
            }
            self.keep(result, r, ElemType::Index, found.map_or(NOTHING, |f| f.at));
        }
    }
}
