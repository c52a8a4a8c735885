//! What a pipelined loop reads from global memory for a group of coordinates: scales and zero points, `s[j, k / G]`, `s[k / G, j]`.
//!
//! A row and a group have one element, whichever lanes of the step ask for it. Lanes that want the same ones share the work: each loads
//! one, and they hand them round by shuffles, two halves of two tensors in one register. What a step needs is loaded a step ahead and
//! taken over at its beginning: by then the memory has had a step's time to answer. Where a group lasts for several steps, those in its
//! middle do neither; and what is a row's alone, `s[j]`, is loaded before the loop.
//!
//! ```text
//! four columns a thread, lanes 4n … 4n + 3 the same       lane 4n + q loads s and z of column q
//! before the loop     row = min(its row, N − 1)           next = s[row, lo / G]
//! in a step           s0 … s3 = next of lanes q = 0 … 3;  next = s[row, min(k + BK, K − BK) / G]         … s0 …
//! ```
//! What the loop wants as halves only (`e[j, k / 32] as bf16`) is converted by the lane that loads it, before the others have it
//! ([`super::handing`]).
//!
//! Rows past the end read the last one again: what is multiplied with it is not stored. Groups past the end are zero bits where groups end
//! with the range, so that nothing past the end is masked for their sake ([`super::past`]); else the last group is read again.

use super::ir::*;
use super::lower::Lower;
use crate::plan::{Refusal, cover};
use crate::scheduled::ir as t2;
use crate::tile::{ir as t1, multiples::is_multiple};

/// A tile that is read ahead.
pub struct Grouped {
    /// What was read, or what that is converted to where nothing else is wanted of it.
    pub tile: t2::ValId,
    pub tensor: t1::TensorId,
    pub elem: t1::ElemType,
    /// Elements become these halves before they are handed round.
    pub to: Option<Half>,
    /// Where groups are; `None` where all steps have the same.
    pub along: Option<Along>,
    pub class: Class,
    pub chunks: Vec<Chunk>,
}

/// The groups of an axis.
pub struct Along {
    pub axis: t1::AxisId,
    /// The logarithm of their size.
    pub group: u32,
    /// Coordinates that what was read lasts: a step, or a group of several where turns of the loop hold whole groups.
    lasts: u32,
    /// The next group is so many bytes further; or bits, where they are dense along it.
    step: Src,
    /// Ranges end where groups do.
    whole: bool,
}

/// Elements of one group that lanes load for each other: 1, 2 or 4.
pub struct Chunk {
    /// The tile's registers that stand for them.
    pub registers: Vec<usize>,
    /// Where the lane's own is in the first group: its row, where bits are dense along groups.
    pointer: Reg,
    /// Groups from the step's first.
    pub ahead: u32,
    /// What was loaded; of elements that two bytes hold both.
    pub next: Vec<Reg>,
    /// The lowest bit of the lane's own in what was loaded, where bits are dense along rows.
    pub bit: Option<Reg>,
}

/// Rows of chunks, which tensors of one shape share: by axis and offsets.
type Rows = Vec<((t1::AxisId, Vec<u32>, Vec<u32>), Reg)>;

/// How a tensor is subscripted: by a row, by a group, and by what is the same for all.
struct Subscripts<'t> {
    /// Rows or, where `shared` is not zero, blocks of that many (as a logarithm).
    row: t1::AxisId,
    shared: u32,
    group: Option<(t1::AxisId, u32)>,
    /// Groups are along the last dimension.
    last: bool,
    /// Subscripts in front.
    fixed: &'t [t2::Index],
}

impl Lower<'_> {
    /// The tiles of a loop that can be read ahead, and what the loop keeps of them.
    pub fn prepare_grouped(&mut self, l: &t2::Loop) -> Result<Vec<Grouped>, Refusal> {
        let mut all = Vec::new();
        let mut rows = Rows::new();
        for node in &l.body {
            let t2::Node::Op(t2::Op {
                kind: t2::OpKind::ReadReg { tensor, ix, .. },
                result: Some(v),
                span,
                ..
            }) = node
            else {
                continue;
            };
            self.b.span = *span;
            if let Some(g) = self.grouped(l, *v, *tensor, ix, &mut rows)? {
                all.push(g);
            }
        }
        Ok(all)
    }

    /// What subscripts are, where they are a row's and a group's. Loops that know their full steps read plain ones ahead alone: their budget of registers
    /// has no room for others.
    fn subscripts<'t>(
        &self,
        l: &t2::Loop,
        tensor: t1::TensorId,
        ix: &'t [t2::Index],
    ) -> Option<Subscripts<'t>> {
        let t = self.kernel.tensor(tensor);
        let dense = t.strides.iter().all(|s| *s == t1::Stride::Dense);
        if t.kind != t1::TensorKind::In || !dense || ix.iter().any(|i| i.checked || i.shift > 0) {
            return None;
        }
        let row = |i: &t2::Index| {
            let found = match (i.axis, i.tile, i.offset) {
                (Some(axis), None, None) => (axis, 0),
                (_, Some(tile), None) => self.group_of(tile)?,
                _ => return None,
            };
            (Some(found.0) != l.axis()).then_some(found)
        };
        let group = |i: &t2::Index| self.group_of(i.tile?).filter(|(axis, _)| Some(*axis) == l.axis());
        let two = match ix {
            [fixed @ .., x, y] => match (row(x), group(y), group(x), row(y)) {
                (Some(r), Some(g), ..) => Some((r, g, true, fixed)),
                (.., Some(g), Some(r)) => Some((r, g, false, fixed)),
                _ => None,
            },
            _ => None,
        };
        let found = match (two, ix) {
            (Some(((row, shared), g, last, fixed)), _) => {
                Subscripts { row, shared, group: Some(g), last, fixed }
            }
            (None, [fixed @ .., r]) => {
                let (row, shared) = row(r)?;
                Subscripts { row, shared, group: None, last: false, fixed }
            }
            (None, []) => return None,
        };
        let fixed = |i: &t2::Index| {
            i.axis.is_none() && i.tile.is_none() && i.offset.is_none_or(|o| self.of_the_launch(o))
        };
        let plain = found.last && found.shared == 0 && found.fixed.is_empty() && t.elem.bits() >= 8;
        (found.fixed.iter().all(fixed) && (plain || l.full.is_none())).then_some(found)
    }

    /// A scalar that no loop changes.
    fn of_the_launch(&self, v: t1::ValueId) -> bool {
        match self.kernel.value(v).op {
            t1::Op::Const(_) | t1::Op::Dim(_) | t1::Op::GridVar(_) | t1::Op::Param(_) => true,
            t1::Op::Binary(_, x, y) => self.of_the_launch(x) && self.of_the_launch(y),
            t1::Op::Cast(x) => self.of_the_launch(x),
            _ => false,
        }
    }

    /// The axis and the logarithm of the groups of a tile `x / c`.
    fn group_of(&self, tile: t2::ValId) -> Option<(t1::AxisId, u32)> {
        let Some(&&t2::OpKind::Elementwise { value, .. }) = self.producers.get(&tile) else { return None };
        let log = self.grouping(value)?;
        let t1::Op::Binary(_, coordinates, _) = self.kernel.value(value).op else { return None };
        let t1::Op::Iota(axis) = self.kernel.value(coordinates).op else { return None };
        Some((axis, log))
    }

    fn grouped(
        &mut self,
        l: &t2::Loop,
        v: t2::ValId,
        tensor: t1::TensorId,
        ix: &[t2::Index],
        rows: &mut Rows,
    ) -> Result<Option<Grouped>, Refusal> {
        let Some(found) = self.subscripts(l, tensor, ix) else { return Ok(None) };
        let elem = self.kernel.tensor(tensor).elem;
        let bits = elem.bits();
        let (to, tile) = match self.converted_at_once(l, v) {
            Some((to, tile)) => (Some(to), tile),
            None => (None, v),
        };
        let dense = bits < 8;
        let class = match bits {
            1..=8 => Class::B8,
            16 => Class::B16,
            32 if elem == t1::ElemType::F32 => Class::F32,
            _ => return Ok(None),
        };
        // Groups of fewer have more bits than a coordinate counts.
        if dense && found.group.is_some_and(|(_, log)| log < 3) {
            return Ok(None);
        }
        let (_, axes) = self.tile(tile);
        let at = |a: t1::AxisId| axes.iter().position(|x| *x == a);
        let Some(outer) = at(found.row) else { return Ok(None) };
        let map = self.map(tile);
        let k = match found.group {
            None => None,
            Some((axis, log)) => match at(axis) {
                // No lane is in another group than its neighbours.
                Some(k) if map.axes[k].thread.iter().all(|bit| bit >> log == 0) && axis != found.row => {
                    Some(k)
                }
                _ => return Ok(None),
            },
        };
        // The two lowest bits of a lane's number choose among up to four.
        let thread = map.axes[outer].thread.clone();
        let shared = thread.iter().take(2).take_while(|bit| **bit == 0).count();
        let mut base = self.scalars.pointer(tensor)?;
        for (dim, i) in found.fixed.iter().enumerate() {
            let Some(offset) = i.offset else { continue };
            let stride = self.scalars.stride_bytes(&mut self.b, tensor, dim)?;
            let offset = self.scalars.index(&mut self.b, offset)?;
            base = self.b.mad(IntTy::S64, offset, stride, base);
        }
        let dims = ix.len();
        let line = match found.group {
            None => Src::Int(0),
            Some(_) => {
                let length = self.scalars.extent(&mut self.b, tensor, dims - 1)?;
                let length = self.in_register(length, Class::B32);
                self.bytes_of(length, bits).into()
            }
        };
        let ahead_of = |r: usize| match (k, found.group) {
            (Some(k), Some((_, log))) => map.axes[k].register[r] >> log,
            _ => 0,
        };
        let mut wanted: Vec<(u32, u32, usize)> = (0..map.registers)
            .filter(|r| self.first_holder(tile, *r) == *r)
            .map(|r| (ahead_of(r), map.axes[outer].register[r], r))
            .collect();
        wanted.sort_unstable();
        let mut chunks = Vec::new();
        while let Some(&(ahead, ..)) = wanted.first() {
            let same = wanted.iter().take_while(|w| w.0 == ahead).count();
            let offsets = |n: usize| wanted[..n].iter().map(|w| w.1).collect::<Vec<u32>>();
            let linear = |o: &[u32]| o.len() < 4 || o[3] - o[2] == o[1] - o[0];
            let n = [4, 2].into_iter().find(|n| *n <= same && *n <= 1 << shared && linear(&offsets(*n)));
            let n = n.unwrap_or(1);
            let row = self.chunk_row(found.row, &thread, offsets(n), rows)?;
            let row = self.b.shift(row, -(found.shared as i32));
            let (pointer, bit) = match (found.last, dense) {
                (true, _) => (self.b.mad_wide(false, row, line, base), None),
                (false, false) => (self.b.mad_wide(false, row, i64::from(bits / 8), base), None),
                (false, true) => {
                    let (pointer, bit) = self.byte_of(row, bits, base);
                    (pointer, Some(bit))
                }
            };
            let zero = if class == Class::F32 { Src::F32(0.0) } else { Src::Int(0) };
            let bytes = if dense && 8 % bits != 0 { 2 } else { 1 };
            let next = (0..bytes).map(|_| self.b.mov(class, zero)).collect();
            let registers = wanted.drain(..n).map(|w| w.2).collect();
            chunks.push(Chunk { registers, pointer, ahead, next, bit });
        }
        let along = found.group.map(|(axis, group)| {
            let hi = self.kernel.axis(axis).hi;
            let step = match (found.last, dense) {
                (true, false) => Src::Int(i64::from(bits / 8)),
                (true, true) => Src::Int(i64::from(bits)),
                (false, _) => line,
            };
            let whole = is_multiple(self.kernel, hi, 1 << group);
            Along { axis, group, lasts: self.lasts(l, axis, group), step, whole }
        });
        let zero = |along: &Along| along.whole || cover::always_full(self.kernel, along.axis);
        if along.as_ref().is_some_and(zero) {
            self.zero_past_end.extend([v, tile]);
        }
        Ok(Some(Grouped { tile, tensor, elem, to, along, class, chunks }))
    }

    /// Bytes of so many elements, 32 bits.
    fn bytes_of(&mut self, length: Reg, bits: u32) -> Reg {
        if bits >= 8 {
            return self.b.int(IntOp::MulLo, IntTy::U32, length, i64::from(bits / 8));
        }
        // Rows start on bytes; eight elements are as many bytes as one has bits.
        let eights = self.b.shift(length, -3);
        let rest = self.b.and(length, 7);
        let rest = self.b.mad(IntTy::S32, rest, i64::from(bits), Src::Int(7));
        let rest = self.b.shift(rest, -3);
        self.b.mad(IntTy::S32, eights, i64::from(bits), rest)
    }

    /// The byte where element `n` begins, and its lowest bit there.
    fn byte_of(&mut self, n: Reg, bits: u32, base: Reg) -> (Reg, Reg) {
        let eights = self.b.shift(n, -3);
        let in_eight = self.b.and(n, 7);
        let bit = self.b.int(IntOp::MulLo, IntTy::S32, in_eight, i64::from(bits));
        let byte = self.b.shift(bit, -3);
        let byte = self.b.mad(IntTy::S32, eights, i64::from(bits), byte);
        (self.b.mad_wide(false, byte, 1, base), self.b.and(bit, 7))
    }

    /// The halves that all uses of a tile in the loop want it as, and the tile of those.
    fn converted_at_once(&self, l: &t2::Loop, v: t2::ValId) -> Option<(Half, t2::ValId)> {
        let mut used = Vec::new();
        super::plain_loop::used_in(&l.body, &mut used);
        if used.iter().filter(|x| **x == v).count() != 1 {
            return None;
        }
        l.body.iter().find_map(|node| match node {
            t2::Node::Op(t2::Op {
                kind: t2::OpKind::Elementwise { value, args },
                result: Some(tile),
                ..
            }) if args[..] == [v] => {
                let t1::Op::Cast(_) = self.kernel.value(*value).op else { return None };
                let to = super::pairs::half_of(self.kernel.ty(*value).elem)?;
                Some((to, *tile))
            }
            _ => None,
        })
    }

    /// The row that a lane loads from, of those at these offsets from the lanes' common one.
    fn chunk_row(
        &mut self,
        axis: t1::AxisId,
        thread: &[u32],
        offsets: Vec<u32>,
        rows: &mut Rows,
    ) -> Result<Reg, Refusal> {
        let key = (axis, thread.to_vec(), offsets);
        if let Some((_, row)) = rows.iter().find(|(k, _)| *k == key) {
            return Ok(*row);
        }
        let offsets = &key.2;
        let mut columns = thread.to_vec();
        for bit in 0..offsets.len().trailing_zeros() as usize {
            columns[bit] = offsets[1 << bit] - offsets[0];
        }
        let position = self.axis_position(axis, &columns)?;
        let position = self.b.add(position, i64::from(offsets[0]));
        let hi = self.scalars.coordinate(&mut self.b, self.kernel.axis(axis).hi)?;
        let hi = self.in_register(hi, Class::B32);
        let last = self.b.add(hi, -1);
        let row = self.b.int(IntOp::Min, IntTy::S32, position, last);
        rows.push((key, row));
        Ok(row)
    }

    /// Coordinates that a group lasts in a loop; a step where groups do not begin with turns of the loop.
    fn lasts(&self, l: &t2::Loop, along: t1::AxisId, group: u32) -> u32 {
        let turn = l.by * l.unroll;
        let lasts = (1 << group).clamp(l.by, turn);
        let lo = self.kernel.axis(along).lo;
        let from = match self.kernel.value(lo).op {
            t1::Op::LoopVar(l) => self.kernel.loop_(l).lo,
            _ => lo,
        };
        let shared = matches!(self.module.dispatch, t2::Dispatch::Stream(_));
        // Groups and turns begin together where the one is so many of the other.
        let whole = turn.is_multiple_of(lasts) && (1u32 << group).is_multiple_of(lasts);
        let aligned = !shared && is_multiple(self.kernel, from, 1 << group) && whole;
        if aligned { lasts } else { l.by }
    }

    /// Those of the tiles that are read anew for copy `copy` of a loop.
    pub fn begin<'g>(&self, all: &'g [Grouped], l: &t2::Loop, copy: u32) -> Vec<&'g Grouped> {
        let anew = |along: &Along| (copy * l.by).is_multiple_of(along.lasts);
        all.iter().filter(|g| g.along.as_ref().is_some_and(anew)).collect()
    }

    /// What all steps have, before the first.
    pub fn read_before(&mut self, all: &[Grouped], when: Reg) -> Result<(), Refusal> {
        let fixed: Vec<&Grouped> = all.iter().filter(|g| g.along.is_none()).collect();
        for g in &fixed {
            for chunk in &g.chunks {
                self.load_chunk(g, chunk, chunk.pointer, 0, chunk.bit, Some(when));
            }
        }
        self.take_over(&fixed, None)
    }

    /// Loads for the step that begins at `at`, or for what comes `after` it; where `when` holds.
    pub fn read_ahead(
        &mut self,
        all: &[&Grouped],
        at: Reg,
        after: bool,
        when: Option<Reg>,
    ) -> Result<(), Refusal> {
        let mut firsts: Vec<((t1::AxisId, u32, u32), (Reg, Reg, Reg))> = Vec::new();
        let mut inside: Vec<((t1::AxisId, u32, u32, u32), Reg)> = Vec::new();
        for g in all {
            let Some(along) = &g.along else { continue };
            let axis = self.kernel.axis(along.axis);
            let full = cover::always_full(self.kernel, along.axis);
            let distance = if after { along.lasts } else { 0 };
            let key = (along.axis, along.group, distance);
            let (at, last, first) = match firsts.iter().find(|(k, _)| *k == key) {
                Some((_, known)) => *known,
                None => {
                    let hi = self.scalars.coordinate(&mut self.b, axis.hi)?;
                    let hi = self.in_register(hi, Class::B32);
                    // The last step's is as good as any other past the end.
                    let last = self.b.add(hi, -i64::from(if full { axis.extent } else { 1 }));
                    let at = if distance == 0 { at } else { self.b.add(at, i64::from(distance)) };
                    let at = self.b.int(IntOp::Min, IntTy::S32, at, last);
                    let first = self.b.shift(at, -(along.group as i32));
                    firsts.push((key, (at, last, first)));
                    (at, last, first)
                }
            };
            for chunk in &g.chunks {
                let mut guard = when;
                let (group, ahead) = match chunk.ahead {
                    0 => (first, 0),
                    n if full => (first, n),
                    n if along.whole => {
                        let key = (along.axis, along.group, distance, n);
                        let p = match inside.iter().find(|(k, _)| *k == key) {
                            Some((_, p)) => *p,
                            None => {
                                let position = self.b.add(at, i64::from(n << along.group));
                                let p = self.b.set_int(Cmp::Le, IntTy::S32, position, last);
                                inside.push((key, p));
                                p
                            }
                        };
                        for next in &chunk.next {
                            let zero = if g.class == Class::F32 { Src::F32(0.0) } else { Src::Int(0) };
                            self.b.push(Op::Mov { d: *next, a: zero });
                        }
                        guard = self.both(guard, Some(p));
                        (first, n)
                    }
                    n => {
                        let ahead = self.b.add(at, i64::from(n << along.group));
                        let ahead = self.b.int(IntOp::Min, IntTy::S32, ahead, last);
                        (self.b.shift(ahead, -(along.group as i32)), 0)
                    }
                };
                self.load_group(g, along, chunk, (group, ahead), guard);
            }
        }
        Ok(())
    }

    /// A lane's own of the group that is `ahead` of another.
    fn load_group(
        &mut self,
        g: &Grouped,
        along: &Along,
        chunk: &Chunk,
        (group, ahead): (Reg, u32),
        guard: Option<Reg>,
    ) {
        let dense = g.elem.bits() < 8 && chunk.bit.is_none();
        match along.step {
            Src::Int(bytes) if !dense => {
                let base = self.b.mad_wide(false, group, bytes, chunk.pointer);
                self.load_chunk(g, chunk, base, (i64::from(ahead) * bytes) as i32, chunk.bit, guard);
            }
            step => {
                let group = if ahead == 0 { group } else { self.b.add(group, i64::from(ahead)) };
                let (base, bit) = match dense {
                    true => {
                        let (base, bit) = self.byte_of(group, g.elem.bits(), chunk.pointer);
                        (base, Some(bit))
                    }
                    false => (self.b.mad_wide(false, group, step, chunk.pointer), chunk.bit),
                };
                self.load_chunk(g, chunk, base, 0, bit, guard);
            }
        }
    }

    /// The bytes that hold a lane's own; the second only where its bits reach into it.
    fn load_chunk(
        &mut self,
        g: &Grouped,
        chunk: &Chunk,
        base: Reg,
        offset: i32,
        bit: Option<Reg>,
        guard: Option<Reg>,
    ) {
        for (n, next) in (0..).zip(&chunk.next) {
            let reaches = bit
                .filter(|_| n > 0)
                .map(|bit| self.b.set_int(Cmp::Gt, IntTy::U32, bit, i64::from(8 - g.elem.bits())));
            let guard = self.both(guard, reaches);
            let from = Address { base, offset: offset + n };
            self.access(g.tensor, guard, Op::LoadGlobal { d: vec![*next], from });
        }
    }

    /// The lowest bit of a lane's own in what was loaded for the step that begins at `at`.
    pub fn lowest_bit(&mut self, g: &Grouped, chunk: &Chunk, at: Option<Reg>) -> Option<Reg> {
        match (chunk.bit, &g.along, at) {
            (Some(bit), ..) => Some(bit),
            (None, Some(along), Some(at)) if g.elem.bits() < 8 => {
                let group = self.b.shift(at, -(along.group as i32));
                let group = if chunk.ahead == 0 { group } else { self.b.add(group, i64::from(chunk.ahead)) };
                let bit = self.b.int(IntOp::MulLo, IntTy::S32, group, i64::from(g.elem.bits()));
                Some(self.b.and(bit, 7))
            }
            _ => None,
        }
    }
}
