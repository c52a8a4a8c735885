//! Tiles as functions of coordinates: `x[.., d ^ 1]`, `g[i.hi - 1, :]`, `q[i', :]`.
//!
//! The tile goes to shared memory element by element, rows of power-of-two lengths, so that an address is a sum of bits; every thread
//! then looks up the coordinates that it wants. Neighbours in registers are one access, both ways. A coordinate outside the tile's existing lanes
//! reads as zero; where a subscript is an axis of the tile itself, or has the same bounds, nothing can be outside.

use super::elements::Element;
use super::ir::*;
use super::lower::Lower;
use super::reductions::class_of;
use crate::plan::Refusal;
use crate::scheduled::ir as t2;
use crate::tile::ir as t1;
use t1::ElemType;

/// A subscript as the address needs it.
enum Coordinate {
    /// The lanes of an axis with the tile's own bounds: its thread part, and a constant.
    Own { columns: Vec<u32>, constant: u32 },
    /// Any coordinate, counted from the tile's first.
    Any(Reg),
}

impl Lower<'_> {
    /// Bytes that an element takes in shared memory.
    pub fn slot_bytes(elem: ElemType) -> u32 {
        if elem.is_float() { 4 } else { class_of(elem).bytes() }
    }

    /// Bits that each axis' coordinate moves up, and padded extents.
    pub fn shifts(&self, v: t2::ValId, elem: ElemType) -> Vec<u32> {
        let shape = self.module.layout(v).shape();
        let mut shift = Self::slot_bytes(elem).trailing_zeros();
        let mut shifts = vec![0; shape.len()];
        for (n, (_, extent)) in shape.iter().enumerate().rev() {
            shifts[n] = shift;
            shift += extent.next_power_of_two().trailing_zeros();
        }
        shifts
    }

    /// A whole tile to shared memory, by the first holder of each element.
    pub fn emit_put_tile(&mut self, buf: t2::BufId, value: t2::ValId) -> Result<(), Refusal> {
        let (elem, axes) = self.tile(value);
        let bytes = Self::slot_bytes(elem);
        let at = self.positions(value, 0, bytes);
        let base = self.module.buffer(buf).base as i32;
        let first = self.first_of(at.idle);
        let map = self.map(value);
        let distinct = self.distinct(value);
        let runs = if distinct.len() == map.registers && !axes.is_empty() {
            map.runs(axes.len() - 1, 16 / bytes)
        } else {
            distinct.into_iter().map(|r| vec![r]).collect()
        };
        for run in runs {
            let mut stored = Vec::new();
            for r in &run {
                let e = self.element(value, *r)?;
                let (class, s) = match e {
                    Element::Pred(_) => (Class::B32, self.countable(e)?),
                    other => self.held(other)?,
                };
                stored.push(self.in_register(s, class));
            }
            let mut to = self.threads.shared(&mut self.b, &at.columns, at.registers[run[0]]);
            to.offset += base;
            self.b.guarded(first.map(|p| (p, true)), Op::StoreShared { a: stored, to });
        }
        Ok(())
    }

    /// Elements of the tile `of`, at the coordinates that the subscripts have.
    pub fn emit_get_tile(
        &mut self,
        buf: t2::BufId,
        result: t2::ValId,
        of: t2::ValId,
        ix: &[t2::Index],
    ) -> Result<(), Refusal> {
        let (elem, axes) = self.tile(of);
        let shifts = self.shifts(of, elem);
        let base = self.module.buffer(buf).base as i32;
        let class = match elem {
            ElemType::Bool | ElemType::Small { .. } | ElemType::E8m0 => Class::B32,
            e => class_of(e),
        };
        for r in self.distinct(result) {
            let mut guard = None;
            let (mut columns, mut constant) = (vec![0; self.module.threads().trailing_zeros() as usize], 0);
            let mut rest: Option<Reg> = None;
            for (n, index) in ix.iter().enumerate() {
                match self.coordinate_in(axes[n], index, result, r, &mut guard)? {
                    Coordinate::Own { columns: own, constant: c } => {
                        for (column, c) in columns.iter_mut().zip(own) {
                            *column |= c << shifts[n];
                        }
                        constant |= c << shifts[n];
                    }
                    Coordinate::Any(c) => {
                        let moved = self.b.shift(c, shifts[n] as i32);
                        rest = Some(match rest {
                            Some(sum) => self.b.add(sum, moved),
                            None => moved,
                        });
                    }
                }
            }
            let mut from = self.threads.shared(&mut self.b, &columns, constant);
            if let Some(rest) = rest {
                from.base = self.b.add(from.base, rest);
            }
            from.offset += base;
            let d = match guard {
                Some(_) => self.b.mov(class, if class == Class::F32 { Src::F32(0.0) } else { Src::Int(0) }),
                None => self.b.reg(class),
            };
            let bytes = class.bytes();
            self.b.guarded(guard.map(|g| (g, true)), Op::LoadShared { d, from, bytes });
            let e = match elem {
                ElemType::Bool => Element::Pred(self.b.set_int(Cmp::Ne, IntTy::B32, d, 0)),
                _ => self.element_in(of, d),
            };
            self.elements.insert((result, r), e);
        }
        Ok(())
    }

    /// One subscript of a tile at register `r` of the result; what must hold for it to be inside joins `guard`.
    fn coordinate_in(
        &mut self,
        axis: t1::AxisId,
        index: &t2::Index,
        result: t2::ValId,
        r: usize,
        guard: &mut Option<Reg>,
    ) -> Result<Coordinate, Refusal> {
        let (_, result_axes) = self.tile(result);
        let bounds = |l: &Self, a: t1::AxisId| {
            let a = l.kernel.axis(a);
            (a.lo, a.hi, a.extent)
        };
        if let (Some(a), None, None) = (index.axis, index.offset, index.tile)
            && bounds(self, a) == bounds(self, axis)
            && let Some(n) = result_axes.iter().position(|x| *x == a)
        {
            let map = self.map(result);
            return Ok(Coordinate::Own {
                columns: map.axes[n].thread.clone(),
                constant: map.axes[n].register[r],
            });
        }
        let at = self.subscript(index, result, r)?;
        let at = self.in_register(at, Class::B32);
        let (lo, hi) = (self.kernel.axis(axis).lo, self.kernel.axis(axis).hi);
        let lo = self.scalars.coordinate(&mut self.b, lo)?;
        let hi = self.scalars.coordinate(&mut self.b, hi)?;
        let relative = match lo {
            Src::Int(0) => at,
            lo => self.b.int(IntOp::Sub, IntTy::S32, at, lo),
        };
        let hi = self.in_register(hi, Class::B32);
        let left = match lo {
            Src::Int(0) => hi,
            lo => self.b.int(IntOp::Sub, IntTy::S32, hi, lo),
        };
        let left = self.b.int(IntOp::Min, IntTy::S32, left, i64::from(self.kernel.axis(axis).extent));
        let left = self.b.int(IntOp::Max, IntTy::S32, left, 0);
        // A negative coordinate is a large unsigned number.
        let inside = self.b.set_int(Cmp::Lt, IntTy::U32, relative, left);
        *guard = self.both(*guard, Some(inside));
        Ok(Coordinate::Any(relative))
    }
}
