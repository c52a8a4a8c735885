//! What a pipelined loop reads from global memory for a group of coordinates: scales and zero points, `s[j, k / G]`.
//!
//! A row and a group have one element, whichever lanes of the step ask for it. Lanes that want the same ones share the work: each loads
//! one, and they hand them round by shuffles, two halves of two tensors in one register. What a step needs is loaded a step ahead and
//! taken over at its beginning: by then the memory has had a step's time to answer. Where a group lasts for several steps, those in its
//! middle do neither.
//!
//! ```text
//! four columns a thread, lanes 4n … 4n + 3 the same       lane 4n + q loads s and z of column q
//! before the loop     row = min(its row, N − 1)           next = s[row, lo / G]
//! in a step           s0 … s3 = next of lanes q = 0 … 3;  next = s[row, min(k + BK, K − BK) / G]         … s0 …
//! ```
//! Rows past the end read the last one again, steps past the end the last one's group: what is multiplied with it is not stored, or masked.

use super::ir::*;
use super::lower::Lower;
use crate::plan::{Refusal, cover};
use crate::scheduled::ir as t2;
use crate::tile::{ir as t1, multiples::is_multiple};

/// A tile that is read ahead.
pub struct Grouped {
    pub tile: t2::ValId,
    tensor: t1::TensorId,
    elem: t1::ElemType,
    /// The axis along which groups are, and the logarithm of their size.
    along: t1::AxisId,
    group: u32,
    /// Coordinates that what was read lasts: a step, or a group of several where turns of the loop hold whole groups.
    lasts: u32,
    class: Class,
    chunks: Vec<Chunk>,
}

/// Elements of one group that lanes load for each other: 1, 2 or 4.
struct Chunk {
    /// The tile's registers that stand for them.
    registers: Vec<usize>,
    /// Where the lane's own is in the first group.
    pointer: Reg,
    /// Groups from the step's first.
    ahead: u32,
    next: Reg,
}

/// Rows of chunks, which tensors of one shape share: by axis and offsets.
type Rows = Vec<((t1::AxisId, Vec<u32>, Vec<u32>), Reg)>;

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

    fn grouped(
        &mut self,
        l: &t2::Loop,
        v: t2::ValId,
        tensor: t1::TensorId,
        ix: &[t2::Index],
        rows: &mut Rows,
    ) -> Result<Option<Grouped>, Refusal> {
        let t = self.kernel.tensor(tensor);
        let class = match t.elem.bits() {
            8 => Class::B8,
            16 => Class::B16,
            32 if t.elem == t1::ElemType::F32 => Class::F32,
            _ => return Ok(None),
        };
        let ([row, group], t1::TensorKind::In, t1::Stride::Dense) = (ix, &t.kind, &t.strides[0]) else {
            return Ok(None);
        };
        let (Some(row), None, None, false) = (row.axis, row.tile, row.offset, row.checked) else {
            return Ok(None);
        };
        let (Some(tile), false, true) =
            (group.tile, group.checked, cover::unit_stride(self.kernel, tensor, 1))
        else {
            return Ok(None);
        };
        let Some(&&t2::OpKind::Elementwise { value, .. }) = self.producers.get(&tile) else {
            return Ok(None);
        };
        let (Some(log), t1::Op::Binary(_, coordinates, _)) =
            (self.grouping(value), &self.kernel.value(value).op)
        else {
            return Ok(None);
        };
        let t1::Op::Iota(along) = self.kernel.value(*coordinates).op else { return Ok(None) };
        let (_, axes) = self.tile(v);
        let at = |a: t1::AxisId| axes.iter().position(|x| *x == a);
        let (Some(outer), Some(k)) = (at(row), at(along)) else { return Ok(None) };
        let map = self.map(v);
        // No lane is in another group than its neighbours.
        if map.axes[k].thread.iter().any(|bit| bit >> log != 0) || row == along {
            return Ok(None);
        }
        // The two lowest bits of a lane's number choose among up to four.
        let thread = map.axes[outer].thread.clone();
        let shared = thread.iter().take(2).take_while(|bit| **bit == 0).count();
        let base = self.scalars.pointer(tensor)?;
        let length = self.scalars.extent(&mut self.b, tensor, 1)?;
        let bytes = i64::from(t.elem.bits() / 8);
        let length = self.in_register(length, Class::B32);
        let stride = self.b.int(IntOp::MulLo, IntTy::U32, length, bytes);
        let mut wanted: Vec<(u32, u32, usize)> = (0..map.registers)
            .filter(|r| self.first_holder(v, *r) == *r)
            .map(|r| (map.axes[k].register[r] >> log, map.axes[outer].register[r], r))
            .collect();
        wanted.sort_unstable();
        let mut chunks = Vec::new();
        while let Some(&(ahead, ..)) = wanted.first() {
            let same = wanted.iter().take_while(|w| w.0 == ahead).count();
            let offsets = |n: usize| wanted[..n].iter().map(|w| w.1).collect::<Vec<u32>>();
            let linear = |o: &[u32]| o.len() < 4 || o[3] - o[2] == o[1] - o[0];
            let n = [4, 2].into_iter().find(|n| *n <= same && *n <= 1 << shared && linear(&offsets(*n)));
            let n = n.unwrap_or(1);
            let row = self.chunk_row(row, &thread, offsets(n), rows)?;
            let pointer = self.b.mad_wide(false, row, stride, base);
            let zero = if class == Class::F32 { Src::F32(0.0) } else { Src::Int(0) };
            let next = self.b.mov(class, zero);
            let registers = wanted.drain(..n).map(|w| w.2).collect();
            chunks.push(Chunk { registers, pointer, ahead, next });
        }
        let lasts = self.lasts(l, along, log);
        Ok(Some(Grouped { tile: v, tensor, elem: t.elem, along, group: log, lasts, class, chunks }))
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
        let aligned = !shared && is_multiple(self.kernel, from, 1 << group) && turn.is_multiple_of(lasts);
        if aligned { lasts } else { l.by }
    }

    /// Those of the tiles that are read anew for copy `copy` of a loop.
    pub fn begin<'g>(&self, all: &'g [Grouped], l: &t2::Loop, copy: u32) -> Vec<&'g Grouped> {
        all.iter().filter(|g| (copy * l.by).is_multiple_of(g.lasts)).collect()
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
        for g in all {
            let axis = self.kernel.axis(g.along);
            let bytes = g.elem.bits() / 8;
            let full = crate::plan::cover::always_full(self.kernel, g.along);
            let distance = if after { g.lasts } else { 0 };
            let key = (g.along, g.group, distance);
            let (at, last, first) = match firsts.iter().find(|(k, _)| *k == key) {
                Some((_, known)) => *known,
                None => {
                    let hi = self.scalars.coordinate(&mut self.b, axis.hi)?;
                    let hi = self.in_register(hi, Class::B32);
                    // The last step's is as good as any other past the end.
                    let last = self.b.add(hi, -i64::from(if full { axis.extent } else { 1 }));
                    let at = if distance == 0 { at } else { self.b.add(at, i64::from(distance)) };
                    let at = self.b.int(IntOp::Min, IntTy::S32, at, last);
                    let first = self.b.shift(at, -(g.group as i32));
                    firsts.push((key, (at, last, first)));
                    (at, last, first)
                }
            };
            for chunk in &g.chunks {
                let (group, offset) = match (full, chunk.ahead) {
                    (_, 0) => (first, 0),
                    (true, n) => (first, (n * bytes) as i32),
                    (false, n) => {
                        let ahead = self.b.add(at, i64::from(n << g.group));
                        let ahead = self.b.int(IntOp::Min, IntTy::S32, ahead, last);
                        (self.b.shift(ahead, -(g.group as i32)), 0)
                    }
                };
                let base = self.b.mad_wide(false, group, i64::from(bytes), chunk.pointer);
                let from = Address { base, offset };
                self.access(g.tensor, when, Op::LoadGlobal { d: vec![chunk.next], from });
            }
        }
        Ok(())
    }

    /// At the beginning of a step, what was loaded for it becomes the tiles' elements.
    pub fn take_over(&mut self, all: &[&Grouped]) -> Result<(), Refusal> {
        let mut waiting: Vec<(&Grouped, &Chunk)> = Vec::new();
        for g in all {
            for chunk in &g.chunks {
                if chunk.registers.len() == 1 || g.class == Class::F32 {
                    self.take_alone(g, chunk)?;
                    continue;
                }
                let partner = waiting.iter().position(|(_, c)| c.registers.len() == chunk.registers.len());
                match partner {
                    Some(n) => {
                        let other = waiting.remove(n);
                        self.hand_round(&[other, (g, chunk)])?;
                    }
                    None => waiting.push((g, chunk)),
                }
            }
        }
        waiting.into_iter().try_for_each(|one| self.hand_round(&[one]))
    }

    fn take_alone(&mut self, g: &Grouped, chunk: &Chunk) -> Result<(), Refusal> {
        let many = chunk.registers.len() > 1;
        let own = self.b.mov(if many { Class::B32 } else { g.class }, chunk.next);
        for (lane, register) in (0..).zip(&chunk.registers) {
            let held = if many {
                let d = self.neighbour(own, lane, chunk.registers.len() as u32);
                self.b.mov(g.class, d)
            } else {
                own
            };
            self.taken(g, *register, held)?;
        }
        Ok(())
    }

    /// Elements of one or two chunks, in the halves of one register, to all lanes that share them.
    fn hand_round(&mut self, chunks: &[(&Grouped, &Chunk)]) -> Result<(), Refusal> {
        let (lo, hi) = (chunks[0].1.next, chunks[chunks.len() - 1].1.next);
        let n = chunks[0].1.registers.len();
        let own = self.b.reg(Class::B32);
        self.b.push(Op::Join16 { d: own, lo, hi });
        for lane in 0..n {
            let d = self.neighbour(own, lane as u32, n as u32);
            let (lo, hi) = (self.b.reg(Class::B16), self.b.reg(Class::B16));
            self.b.push(Op::Split16 { lo, hi, a: d });
            for ((g, chunk), half) in chunks.iter().zip([lo, hi]) {
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
        let span = self.kernel.tensor(g.tensor).span;
        let elements = self.loaded_as(g.elem, 1, vec![held], span)?;
        for e in elements {
            self.elements.insert((g.tile, register), e);
        }
        Ok(())
    }
}
