//! Ranks: how many elements of its row come before an element, and what stands at a rank.
//!
//! Keys are integers that ascend in the wanted order: a float's bits ascend with it once those of negative numbers are turned round; -0 is 0,
//! and a NaN comes last. The loop over the row loads one key per row that the thread holds elements of, and every lane of a row loads the
//! same address.

use super::elements::Element;
use super::ir::*;
use super::lower::Lower;
use super::reductions::{class_of, neutral};
use crate::plan::Refusal;
use crate::scheduled::ir as t2;
use crate::tile::ir as t1;
use t1::{ElemType, ReduceOp, SortPart};

impl Lower<'_> {
    /// The key of one element.
    pub fn sort_key(&mut self, x: t2::ValId, r: usize, descending: bool) -> Result<Element, Refusal> {
        let (elem, _) = self.tile(x);
        let e = self.element(x, r)?;
        let turn = |l: &mut Self, key: Reg| {
            let ty = if l.b.class(key) == Class::B64 { IntTy::B64 } else { IntTy::B32 };
            if descending { l.b.int(IntOp::Xor, ty, key, -1) } else { key }
        };
        if !elem.is_float() {
            let s = self.countable(e)?;
            let class = class_of(elem);
            let mut key = self.in_register(s, class);
            if matches!(elem, ElemType::Uint(32 | 64)) {
                let (ty, top) = match class {
                    Class::B64 => (IntTy::B64, i64::MIN),
                    _ => (IntTy::B32, 0x8000_0000),
                };
                key = self.b.int(IntOp::Xor, ty, key, top);
            }
            let key = turn(self, key).into();
            return Ok(if class == Class::B64 { Element::Long(key) } else { Element::Int(key) });
        }
        let span = self.b.span;
        let s = self.float(e, span)?;
        let plus = self.in_register(s, Class::F32);
        let plus = self.b.float(FloatOp::AddExactly, plus, Src::F32(0.0));
        let bits = self.b.mov(Class::B32, plus);
        let sign = self.b.int(IntOp::Shr, IntTy::S32, bits, 31);
        let flip = self.b.and(sign, 0x7fff_ffff);
        let key = self.b.xor(bits, flip);
        let key = turn(self, key);
        let nan = self.b.reg(Class::Pred);
        self.b.push(Op::SetFloat { cmp: Cmp::Ne, d: nan, a: plus.into(), b: plus.into() });
        let d = self.b.reg(Class::B32);
        self.b.push(Op::Select { d, a: Src::Int(i64::from(i32::MAX)), b: key.into(), p: nan });
        Ok(Element::Int(d.into()))
    }

    /// How many lanes of an axis exist, 32 bits.
    fn existing_lanes(&mut self, axis: t1::AxisId) -> Result<Reg, Refusal> {
        let a = self.kernel.axis(axis);
        let lo = self.scalars.coordinate(&mut self.b, a.lo)?;
        let hi = self.scalars.coordinate(&mut self.b, a.hi)?;
        let hi = self.in_register(hi, Class::B32);
        let left = match lo {
            Src::Int(0) => hi,
            lo => self.b.int(IntOp::Sub, IntTy::S32, hi, lo),
        };
        Ok(self.b.int(IntOp::Min, IntTy::S32, left, i64::from(a.extent)))
    }

    /// For every element of `of`, whose keys the buffer holds, how many of its row come before it.
    pub fn emit_rank(
        &mut self,
        buf: t2::BufId,
        result: t2::ValId,
        of: t2::ValId,
        axis: t1::AxisId,
    ) -> Result<(), Refusal> {
        let (elem, axes) = self.tile(of);
        let (map, class) = (self.map(of), class_of(elem));
        let ty = if class == Class::B64 { IntTy::S64 } else { IntTy::S32 };
        let n = axes.iter().position(|a| *a == axis).unwrap_or(0);
        let at = self.positions(of, 0, class.bytes());
        let along = &map.axes[n];
        let shift = self.shifts(of, elem)[n];
        let extent = self.kernel.axis(axis).extent.next_power_of_two() - 1;
        let row_columns: Vec<u32> = at.columns.iter().map(|c| c & !(extent << shift)).collect();
        let base = self.module.buffer(buf).base as i32;
        let own = self.threads.linear(&mut self.b, &along.thread);
        let own = match own {
            Some(own) => own,
            None => self.b.mov(Class::B32, 0),
        };
        // Rows: what stays of a position without the ranked axis.
        let mut rows: Vec<(Address, Vec<(Reg, Reg, Reg)>)> = Vec::new();
        let mut ranks = Vec::new();
        for r in self.distinct(of) {
            let mut row =
                self.threads.shared(&mut self.b, &row_columns, at.registers[r] & !(extent << shift));
            row.offset += base;
            let e = self.element(of, r)?;
            let (_, s) = self.held(e)?;
            let key = self.in_register(s, class);
            let c = match along.register[r] {
                0 => own,
                c => self.b.add(own, i64::from(c)),
            };
            let rank = self.b.mov(Class::B32, 0);
            ranks.push((r, rank));
            match rows.iter_mut().find(|(at, _)| *at == row) {
                Some((_, elements)) => elements.push((key, c, rank)),
                None => rows.push((row, vec![(key, c, rank)])),
            }
        }
        let count = self.existing_lanes(axis)?;
        let left = self.b.mov(Class::B32, count);
        let (j, moved) = (self.b.mov(Class::B32, 0), self.b.mov(Class::B32, 0));
        self.b.open();
        for (row, elements) in &rows {
            let from = Address { base: self.b.add(row.base, moved), offset: row.offset };
            let other = self.b.reg(class);
            self.b.push(Op::LoadShared { d: other, from, bytes: class.bytes() });
            for (key, c, rank) in elements {
                let less = self.b.set_int(Cmp::Lt, ty, other, *key);
                let equal = self.b.set_int(Cmp::Eq, ty, other, *key);
                let lower = self.b.set_int(Cmp::Lt, IntTy::S32, j, *c);
                let tie = self.b.pred_and(equal, lower);
                let before = self.b.reg(Class::Pred);
                self.b.push(Op::PredOr { d: before, a: less, b: tie });
                let more =
                    Op::Int { op: IntOp::Add, ty: IntTy::S32, d: *rank, a: (*rank).into(), b: Src::Int(1) };
                self.b.guarded(Some((before, true)), more);
            }
        }
        let copies = vec![self.b.close()];
        self.b.open();
        for (d, by) in [(left, -1), (j, 1), (moved, 1i64 << shift)] {
            self.b.push(Op::Int { op: IntOp::Add, ty: IntTy::S32, d, a: d.into(), b: by.into() });
        }
        let advance = self.b.close();
        let name = format!("rank{}", result.0);
        self.b.stmt(Stmt::Loop(Loop { name, left, until: None, by: 1, copies, advance, rolled: false }));
        for (r, rank) in ranks {
            self.elements.insert((result, r), Element::Int(rank.into()));
        }
        Ok(())
    }

    /// Each existing element of a tile to the place that its rank says.
    pub fn emit_put_at(
        &mut self,
        buf: t2::BufId,
        value: t2::ValId,
        rank: t2::ValId,
        axis: t1::AxisId,
    ) -> Result<(), Refusal> {
        let (elem, axes) = self.tile(value);
        let n = axes.iter().position(|a| *a == axis).unwrap_or(0);
        let at = self.positions(value, 0, Self::slot_bytes(elem));
        let shift = self.shifts(value, elem)[n];
        let extent = self.kernel.axis(axis).extent.next_power_of_two() - 1;
        let row_columns: Vec<u32> = at.columns.iter().map(|c| c & !(extent << shift)).collect();
        let (base, map) = (self.module.buffer(buf).base as i32, self.map(value));
        let first = self.first_of(at.idle);
        for r in self.distinct(value) {
            let e = self.element(value, r)?;
            let (class, s) = match e {
                Element::Pred(_) => (Class::B32, self.countable(e)?),
                other => self.held(other)?,
            };
            let stored = self.in_register(s, class);
            let q = self.counterpart(value, r, rank);
            let Element::Int(place) = self.element(rank, q)? else {
                unreachable!("ranks are integers of 32 bits");
            };
            let place = self.in_register(place, Class::B32);
            let place = self.b.shift(place, shift as i32);
            let mut to = self.threads.shared(&mut self.b, &row_columns, at.registers[r] & !(extent << shift));
            to.base = self.b.add(to.base, place);
            to.offset += base;
            let exists = self.existing(&[axis], &axes, &map, r)?;
            let guard = self.both(exists, first);
            self.b.guarded(guard.map(|g| (g, true)), Op::StoreShared { a: vec![stored], to });
        }
        Ok(())
    }

    /// What stands at the ranks that the lanes of `to` number; beyond the row's end nothing does.
    #[allow(clippy::too_many_arguments)]
    pub fn emit_get_ranked(
        &mut self,
        buf: t2::BufId,
        result: t2::ValId,
        of: t2::ValId,
        axis: t1::AxisId,
        to: t1::AxisId,
        part: SortPart,
    ) -> Result<(), Refusal> {
        let (elem, axes) = self.tile(of);
        let (_, result_axes) = self.tile(result);
        let shifts = self.shifts(of, elem);
        let base = self.module.buffer(buf).base as i32;
        let map = self.map(result);
        let class = class_of(elem);
        let missing = match part {
            SortPart::Coordinates => Src::Int(-1),
            SortPart::Values => neutral(ReduceOp::Max, elem),
        };
        let count = self.existing_lanes(axis)?;
        for r in self.distinct(result) {
            let (mut columns, mut constant) = (vec![0; self.module.threads().trailing_zeros() as usize], 0);
            let mut inside = None;
            for (n, a) in axes.iter().enumerate() {
                let wanted = if *a == axis { to } else { *a };
                let Some(m) = result_axes.iter().position(|b| *b == wanted).map(|at| &map.axes[at]) else {
                    continue;
                };
                for (column, c) in columns.iter_mut().zip(&m.thread) {
                    *column |= c << shifts[n];
                }
                constant |= m.register[r] << shifts[n];
                if *a == axis {
                    let own = self.threads.linear(&mut self.b, &m.thread);
                    let own = match own {
                        Some(own) => own,
                        None => self.b.mov(Class::B32, 0),
                    };
                    let lane = self.b.add(own, i64::from(m.register[r]));
                    inside = Some(self.b.set_int(Cmp::Lt, IntTy::S32, lane, count));
                }
            }
            let mut from = self.threads.shared(&mut self.b, &columns, constant);
            from.offset += base;
            let d = self.b.mov(class, missing);
            let load = Op::LoadShared { d, from, bytes: class.bytes() };
            self.b.guarded(inside.map(|p| (p, true)), load);
            let e = self.element_in(of, d);
            self.elements.insert((result, r), e);
        }
        Ok(())
    }
}
