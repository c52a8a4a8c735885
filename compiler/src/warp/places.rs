//! Where an element of a register tile is in global memory, and whether it is there at all.
//!
//! An element's coordinate is a thread part (XOR-linear in the thread's number, so computed once) plus a register part (a constant). Rows keep a
//! pointer each and columns are immediates of the access; subscripts that are tiles of their own are elements, looked up at the same
//! coordinates. Lanes past the end of a range do not exist; a *checked* coordinate may leave the tensor where its lane exists.

use super::elements::Element;
use super::ir::*;
use super::lower::Lower;
use super::tilemap::{Places, TileMap};
use crate::plan::{Refusal, cover};
use crate::scheduled::ir as t2;
use crate::tile::ir as t1;
use rustc_hash::FxHashMap;

/// What tells the pointer of one row from another's: per dimension axis, scalar, tile of coordinates, the register's part, and the
/// number of the threads'.
pub type Row = Vec<(Option<t1::AxisId>, Option<t1::ValueId>, Option<t2::ValId>, u32, u32)>;

impl Lower<'_> {
    /// The position `lo + thread part` of an axis, 32 bits.
    pub fn axis_position(&mut self, axis: t1::AxisId, columns: &[u32]) -> Result<Reg, Refusal> {
        let lo = self.scalars.coordinate(&mut self.b, self.kernel.axis(axis).lo)?;
        let own = self.threads.linear(&mut self.b, columns);
        Ok(match (lo, own) {
            (Src::Int(0), Some(own)) => own,
            (lo, Some(own)) => self.b.add(own, lo),
            (Src::Reg(lo), None) => lo,
            (lo, None) => self.b.mov(Class::B32, lo),
        })
    }

    /// Whether the lane exists on these of a tile's axes, at register `r`; `None` where it always does.
    pub fn existing(
        &mut self,
        wanted: &[t1::AxisId],
        axes: &[t1::AxisId],
        map: &TileMap,
        r: usize,
    ) -> Result<Option<Reg>, Refusal> {
        let mut all: Option<Reg> = None;
        for (axis, m) in axes.iter().zip(&map.axes).filter(|(a, _)| wanted.contains(a)) {
            let constant = m.register[r];
            let reach = m.thread.iter().sum::<u32>() + m.register.iter().max().copied().unwrap_or(0);
            let padded = reach >= self.kernel.axis(*axis).extent;
            if !padded && (self.whole == Some(*axis) || cover::always_full(self.kernel, *axis)) {
                continue;
            }
            // The same coordinate may be other threads' in another tile.
            let key = (*axis, constant, self.thread_number(&m.thread));
            let p = match self.exists.get(&key) {
                Some(p) => *p,
                None => {
                    let position = self.axis_position(*axis, &m.thread)?;
                    let mut hi = self.scalars.coordinate(&mut self.b, self.kernel.axis(*axis).hi)?;
                    if padded {
                        let lo = self.scalars.coordinate(&mut self.b, self.kernel.axis(*axis).lo)?;
                        let lo = self.in_register(lo, Class::B32);
                        let end = self.b.add(lo, i64::from(self.kernel.axis(*axis).extent));
                        hi = self.b.int(IntOp::Min, IntTy::S32, end, hi).into();
                    }
                    let hi = self.in_register(hi, Class::B32);
                    let left = self.b.int(IntOp::Sub, IntTy::S32, hi, position);
                    let p = self.b.set_int(Cmp::Gt, IntTy::S32, left, i64::from(constant));
                    self.exists.insert(key, p);
                    p
                }
            };
            all = self.both(all, Some(p));
        }
        Ok(all)
    }

    /// Whether checked subscripts stay inside the tensor at register `r` of tile `v`; `None` where none is checked.
    pub fn inside(
        &mut self,
        tensor: t1::TensorId,
        ix: &[t2::Index],
        v: t2::ValId,
        r: usize,
    ) -> Result<Option<Reg>, Refusal> {
        let mut all = None;
        for (dim, index) in ix.iter().enumerate().filter(|(_, i)| i.checked) {
            let at = self.subscript(index, v, r)?;
            let at = self.in_register(at, Class::B32);
            let extent = self.scalars.extent(&mut self.b, tensor, dim)?;
            // A negative coordinate is a large unsigned number.
            let p = self.b.set_int(Cmp::Lt, IntTy::U32, at, extent);
            all = self.both(all, Some(p));
        }
        Ok(all)
    }

    /// A subscript's coordinate at register `r` of tile `v`, 32 bits.
    pub fn subscript(&mut self, index: &t2::Index, v: t2::ValId, r: usize) -> Result<Src, Refusal> {
        if let Some(tile) = index.tile {
            let q = self.counterpart(v, r, tile);
            let span = self.b.span;
            return match self.element(tile, q)? {
                Element::Int(s) => Ok(s),
                _ => Err(Refusal::construct(span, "a subscript that is no integer")),
            };
        }
        let offset = match index.offset {
            Some(o) => Some(self.scalars.coordinate(&mut self.b, o)?),
            None => None,
        };
        let Some(axis) = index.axis else { return Ok(offset.unwrap_or(Src::Int(0))) };
        let map = self.map(v);
        let t2::ValKind::Tile { axes, .. } = &self.module.value(v).kind else {
            unreachable!("T2.1: only register tiles are read and written");
        };
        let Some(n) = axes.iter().position(|a| *a == axis) else { return Ok(Src::Int(0)) };
        let position = self.axis_position(axis, &map.axes[n].thread)?;
        let at = match map.axes[n].register[r] {
            0 => position,
            c => self.b.add(position, i64::from(c)),
        };
        Ok(match offset {
            Some(o) => self.b.add(at, o).into(),
            None => at.into(),
        })
    }

    /// The address of register `r`'s element; rows keep a pointer each, columns are immediates.
    pub fn global_address(
        &mut self,
        tensor: t1::TensorId,
        ix: &[t2::Index],
        v: t2::ValId,
        r: usize,
    ) -> Result<Address, Refusal> {
        let elem_bytes = self.kernel.tensor(tensor).elem.bits() / 8;
        let map = self.map(v);
        let t2::ValKind::Tile { axes, .. } = &self.module.value(v).kind else {
            unreachable!("T2.1: only register tiles are read and written");
        };
        let part =
            |i: &t2::Index| i.axis.and_then(|a| axes.iter().position(|x| *x == a)).map(|p| &map.axes[p]);
        // Columns are immediates only where neighbours are neighbours in memory.
        let unit = cover::unit_stride(self.kernel, tensor, ix.len().saturating_sub(1));
        let mut key: Row = Vec::with_capacity(ix.len());
        for (dim, i) in ix.iter().enumerate() {
            let register = match (i.tile, part(i)) {
                (Some(tile), _) => self.counterpart(v, r, tile) as u32,
                (None, Some(m)) if dim + 1 < ix.len() => m.register[r],
                (None, Some(m)) if !unit => m.register[r],
                _ => 0,
            };
            // A tile of coordinates says by itself how threads hold it.
            let threads = match (i.tile, part(i)) {
                (None, Some(m)) => self.thread_number(&m.thread),
                _ => u32::MAX,
            };
            key.push((i.axis, i.offset, i.tile, register, threads));
        }
        let key = (tensor, key);
        let base = match self.rows.get(&key) {
            Some(base) => *base,
            None => {
                let mut base = self.scalars.pointer(tensor)?;
                // What is the same in every step comes first, for the assembler to compute once.
                let steady = |i: &t2::Index| i.tile.is_some_and(|t| self.turning(t).is_some());
                let (first, then): (Vec<usize>, Vec<usize>) = (0..ix.len()).partition(|n| steady(&ix[*n]));
                for dim in first.into_iter().chain(then) {
                    base = self.along(tensor, dim, &ix[dim], v, r, base)?;
                }
                self.rows.insert(key, base);
                base
            }
        };
        let column = match ix.last() {
            Some(i) if i.tile.is_none() && unit => part(i).map_or(0, |m| m.register[r]),
            _ => 0,
        };
        Ok(Address { base, offset: (column * elem_bytes) as i32 })
    }

    /// The pointer moved along one dimension; along the last one without the register's own part, which is an immediate.
    fn along(
        &mut self,
        tensor: t1::TensorId,
        dim: usize,
        index: &t2::Index,
        v: t2::ValId,
        r: usize,
        base: Reg,
    ) -> Result<Reg, Refusal> {
        let elem_bytes = i64::from(self.kernel.tensor(tensor).elem.bits() / 8);
        let last =
            dim + 1 == self.kernel.tensor(tensor).shape.len() && cover::unit_stride(self.kernel, tensor, dim);
        let at = match (index.tile, index.axis) {
            (Some(_), _) => match self.subscript(index, v, r)? {
                Src::Int(0) => None,
                s => Some(self.in_register(s, Class::B32)),
            },
            (None, Some(axis)) => {
                let map = self.map(v);
                let t2::ValKind::Tile { axes, .. } = &self.module.value(v).kind else {
                    unreachable!("T2.1: only register tiles are read and written");
                };
                match axes.iter().position(|a| *a == axis).map(|n| &map.axes[n]) {
                    Some(m) => {
                        let position = self.axis_position(axis, &m.thread)?;
                        let c = if last { 0 } else { m.register[r] };
                        Some(if c == 0 { position } else { self.b.add(position, i64::from(c)) })
                    }
                    None => None,
                }
            }
            (None, None) => None,
        };
        let mut base = base;
        if last {
            if let Some(at) = at {
                base = self.b.mad_wide(true, at, elem_bytes, base);
            }
            if let Some(o) = index.offset {
                let o = self.scalars.index(&mut self.b, o)?;
                base = self.b.mad(IntTy::S64, o, elem_bytes, base);
            }
            return Ok(base);
        }
        if let (Some(at), None, Some(stride)) =
            (at, index.offset, self.scalars.static_stride_bytes(tensor, dim))
        {
            return Ok(self.b.mad_wide(true, at, stride, base));
        }
        for wide in [
            match at {
                Some(at) => Some(self.b.widen(true, at)),
                None => None,
            },
            match index.offset {
                Some(o) => Some(self.scalars.index(&mut self.b, o)?),
                None => None,
            },
        ]
        .into_iter()
        .flatten()
        {
            let stride = self.scalars.stride_bytes(&mut self.b, tensor, dim)?;
            base = self.b.mad(IntTy::S64, wide, stride, base);
        }
        Ok(base)
    }

    /// The register of tile `of` that holds the element at the coordinates of register `r` of tile `v`, whose axes include `of`'s.
    pub fn counterpart(&mut self, v: t2::ValId, r: usize, of: t2::ValId) -> usize {
        if v == of {
            return r;
        }
        if let Some(all) = self.counterparts.get(&(v, of)) {
            return all[r];
        }
        let (mv, mo) = (self.map(v), self.map(of));
        let axes = |id: t2::ValId| match &self.module.value(id).kind {
            t2::ValKind::Tile { axes, .. } => &axes[..],
            _ => &[],
        };
        let (av, ao) = (axes(v), axes(of));
        // Pairs of the same axis in both.
        let shared: Vec<(usize, usize)> = ao
            .iter()
            .enumerate()
            .filter_map(|(n, a)| av.iter().position(|x| x == a).map(|at| (at, n)))
            .collect();
        let (theirs, ours): (Vec<_>, Vec<_>) =
            shared.iter().map(|(at, n)| (&mo.axes[*n].register[..], &mv.axes[*at].register[..])).unzip();
        let places = Places::of(theirs.iter().copied().chain(ours.iter().copied()), shared.len());
        let mut first: FxHashMap<u64, usize> = FxHashMap::default();
        for q in 0..mo.registers {
            first.entry(places.at(&theirs, q)).or_insert(q);
        }
        let all: Vec<usize> =
            (0..mv.registers).map(|r| first.get(&places.at(&ours, r)).copied().unwrap_or(0)).collect();
        let found = all[r];
        self.counterparts.insert((v, of), all);
        found
    }

    /// The number of a thread part.
    fn thread_number(&mut self, thread: &[u32]) -> u32 {
        if let Some(number) = self.parts_seen.get(thread) {
            return *number;
        }
        let number = self.parts_seen.len() as u32;
        self.parts_seen.insert(thread.to_vec(), number);
        number
    }

    /// Threads that hold the same elements as another store them not.
    pub fn one_holder(&mut self, map: &TileMap) -> Option<Reg> {
        let idle = (0..map.axes.first().map_or(self.thread_bits(), |m| m.thread.len()))
            .filter(|b| map.axes.iter().all(|m| m.thread[*b] == 0))
            .fold(0, |mask, b| mask | 1 << b);
        self.first_of(idle)
    }

    /// Bits of a thread's number.
    fn thread_bits(&self) -> usize {
        self.module.threads().trailing_zeros() as usize
    }

    pub fn both(&mut self, p: Option<Reg>, q: Option<Reg>) -> Option<Reg> {
        match (p, q) {
            (Some(p), Some(q)) => Some(self.b.pred_and(p, q)),
            (p, q) => p.or(q),
        }
    }
}
