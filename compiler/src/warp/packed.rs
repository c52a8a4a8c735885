//! Packed operands: tiles copied byte for byte, and each thread's own words out of them.
//!
//! A tile is contiguous in global and in shared memory, so a thread's accesses are `16 · threads` bytes apart, and tiles follow one another along
//! k. Tiles past the end of k are zero-filled. A thread reads its words chunk by chunk, neighbours side by side: whole rows of banks, so that
//! nothing conflicts.

use super::elements::Element;
use super::ir::*;
use super::lower::Lower;
use crate::packed::{Form, Recipe};
use crate::plan::Refusal;
use crate::scheduled::ir::{self as t2, Index};
use crate::tile::ir as t1;
use t1::ElemType;

/// What a copy of packed tiles keeps in registers across iterations.
pub struct PackedState {
    buf: t2::BufId,
    /// The thread's first byte of the tile that iteration 0 copies.
    from: Reg,
    /// Its place in the buffer.
    to: Address,
    /// How many accesses, and whether the thread has a part in the last.
    accesses: u32,
    last: Option<Reg>,
    /// Coordinates of the contracted range that are left, counted down with the loop.
    pub k_left: Reg,
    /// Bytes of a tile, and its depth.
    tile: u32,
    by: u32,
}

/// Bytes of one access.
const UNIT: u32 = 16;

/// `c ? a : b` bit by bit.
const CHOOSE: u8 = 0xe4;

impl Lower<'_> {
    /// Everything that is computed once for a copy.
    pub fn prepare_packed(&mut self, kind: &t2::OpKind, l: &t2::Loop) -> Result<PackedState, Refusal> {
        let t2::OpKind::CopyPacked { buf, tensor, ix, .. } = kind else {
            unreachable!("called for copies of packed tiles");
        };
        let recipe = self.recipe(*tensor);
        let Some((leading, [Index { axis: Some(kept), .. }, _])) = ix.split_last_chunk::<2>() else {
            unreachable!("the planner reads packed tensors by two ranges at least");
        };
        // The tile's number: its row of tiles, and its place in it; whole tiles for every coordinate in front.
        let row = self.scalars.coordinate(&mut self.b, self.kernel.axis(*kept).lo)?;
        let mut row = self.quotient(row, recipe.tile.0);
        let last = leading.len();
        if let Some(in_front) = self.in_front(*tensor, leading)? {
            let rows = self.scalars.extent(&mut self.b, *tensor, last)?;
            let rows = self.in_register(rows, Class::B32);
            let high = self.b.add(rows, i64::from(recipe.tile.0) - 1);
            let high = self.quotient(high.into(), recipe.tile.0);
            row = self.b.mad(IntTy::U32, in_front, high, row);
        }
        let depth = self.scalars.extent(&mut self.b, *tensor, last + 1)?;
        let depth = self.in_register(depth, Class::B32);
        let along = self.b.add(depth, i64::from(recipe.tile.1) - 1);
        let along = self.quotient(along.into(), recipe.tile.1);
        let lo = self.scalars.coordinate(&mut self.b, l.lo)?;
        let lo = self.quotient(lo, recipe.tile.1 << recipe.shift);
        let number = self.b.int(IntOp::MulLo, IntTy::U32, row, along);
        let number = self.b.add(number, lo);
        let base = self.scalars.pointer(*tensor)?;
        let from = self.b.mad_wide(false, number, i64::from(recipe.tile_bytes()), base);
        let tid = self.threads.tid;
        let from = self.b.mad_wide(false, tid, i64::from(UNIT), from);

        let threads = self.module.threads();
        let accesses = recipe.tile_bytes().div_ceil(UNIT * threads);
        let rest = recipe.tile_bytes() / UNIT - (accesses - 1) * threads;
        let last = (rest < threads).then(|| self.b.set_int(Cmp::Lt, IntTy::U32, tid, i64::from(rest)));
        let columns: Vec<u32> = (0..threads.trailing_zeros()).map(|b| UNIT << b).collect();
        let mut to = self.threads.shared(&mut self.b, &columns, 0);
        to.offset += self.module.buffer(*buf).base as i32;
        let k_left = self.k_left(l, &[], Some(*kept), *tensor, ix)?;
        Ok(PackedState { buf: *buf, from, to, accesses, last, k_left, tile: recipe.tile_bytes(), by: l.by })
    }

    /// The number of the matrix that scalar subscripts choose, row-major; `None` without any.
    fn in_front(&mut self, tensor: t1::TensorId, leading: &[Index]) -> Result<Option<Reg>, Refusal> {
        let mut number: Option<Reg> = None;
        for (dim, index) in leading.iter().enumerate() {
            let at = match index.offset {
                Some(o) => self.scalars.coordinate(&mut self.b, o)?,
                None => Src::Int(0),
            };
            let at = self.in_register(at, Class::B32);
            number = Some(match number {
                None => at,
                Some(before) => {
                    let extent = self.scalars.extent(&mut self.b, tensor, dim)?;
                    self.b.mad(IntTy::U32, before, extent, at)
                }
            });
        }
        Ok(number)
    }

    pub fn recipe(&self, tensor: t1::TensorId) -> Recipe {
        match self.module.recipe(tensor) {
            Some(recipe) => recipe.clone(),
            None => unreachable!("the planner gives packed operands a recipe"),
        }
    }

    /// A coordinate divided by a size.
    fn quotient(&mut self, x: Src, by: u32) -> Reg {
        let x = self.in_register(x, Class::B32);
        match by.is_power_of_two() {
            true => self.b.shift(x, -(by.trailing_zeros() as i32)),
            false => self.b.int(IntOp::Div, IntTy::U32, x, i64::from(by)),
        }
    }

    /// Emits a copy for the iteration `ahead` of the pointer, into ring slot `slot`.
    pub fn emit_packed(&mut self, state: &PackedState, ahead: u32, slot: u32) {
        let slot = (slot * self.module.buffer(state.buf).slot_stride) as i32;
        let ignore = self.outside(state.k_left, ahead * state.by);
        for n in 0..state.accesses {
            let distance = (n * UNIT * self.module.threads()) as i32;
            let from = Address { base: state.from, offset: (ahead * state.tile) as i32 + distance };
            let to = Address { offset: state.to.offset + slot + distance, ..state.to };
            let guard = state.last.filter(|_| n + 1 == state.accesses).map(|p| (p, true));
            self.b.guarded(guard, Op::CpAsync { to, from, bytes: UNIT, ignore: Some(ignore) });
        }
    }

    /// Moves the pointer on by a turn of the loop.
    pub fn advance_packed(&mut self, state: &PackedState, turn: u32) {
        let by = i64::from(turn / state.by) * i64::from(state.tile);
        let d = state.from;
        self.b.push(Op::Int { op: IntOp::Add, ty: IntTy::S64, d, a: d.into(), b: by.into() });
    }

    /// A thread's words, chunk after chunk.
    pub fn load_packed(&mut self, result: t2::ValId, buf: t2::BufId, tensor: t1::TensorId, slot: u32) {
        let recipe = self.recipe(tensor);
        let buffer = self.module.buffer(buf);
        let base = (buffer.base + slot * buffer.slot_stride) as i32;
        let regs = self.fragment(result, recipe.words as usize);
        for chunk in recipe.chunks() {
            let (first, n) = chunk;
            // Lanes that share elements read the same, and so do warps along the other axis of the result.
            let lanes = recipe.lanes.count_ones();
            let told_apart = |b: u32| recipe.lanes >> b & 1 == 1;
            let before = |b: u32| (recipe.lanes & ((1 << b) - 1)).count_ones();
            let mut columns: Vec<u32> =
                (0..5).map(|b| if told_apart(b) { (4 * n) << before(b) } else { 0 }).collect();
            columns.extend(std::iter::repeat_n(0, recipe.same.trailing_zeros() as usize));
            columns.extend((lanes..recipe.threads.trailing_zeros()).map(|b| (4 * n) << b));
            let mut from = self.threads.shared(&mut self.b, &columns, 0);
            from.offset += base + recipe.chunk_offset(chunk) as i32;
            let d = regs[first as usize..(first + n) as usize].to_vec();
            self.b.push(Op::LoadSharedWords { d, from });
        }
    }

    /// An element of a packed tile, put together bit by bit where its bits are apart.
    pub fn packed_element(
        &mut self,
        v: t2::ValId,
        tensor: t1::TensorId,
        r: usize,
    ) -> Result<Element, Refusal> {
        let recipe = self.recipe(tensor);
        let regs = self.fragment(v, recipe.words as usize);
        let (member, first, lane) = recipe.member(recipe.element(r));
        let mut code: Option<Reg> = None;
        let mut b = 0;
        while b < member.bits.len() {
            let (word, bit) = member.bits[b];
            let follows = |n: &usize| member.bits.get(b + n) == Some(&(word, bit + *n as u32));
            let run = (1..).take_while(follows).count() + 1;
            let (word, bit) = (regs[(first + word) as usize], bit + lane);
            let down = self.b.shift(word, b as i32 - bit as i32);
            let field = match bit as usize + run == 32 && b == 0 {
                true => down,
                false => self.b.and(down, ((1 << run) - 1) << b),
            };
            code = Some(match code {
                None => field,
                Some(low) => self.b.int(IntOp::Or, IntTy::B32, low, field),
            });
            b += run;
        }
        let Some(code) = code else { unreachable!("every code has bits") };
        Ok(match recipe.elem {
            ElemType::Uint(_) => Element::Int(code.into()),
            ElemType::Int(w) => {
                let stored = match recipe.form {
                    Form::Planes => self.b.int(IntOp::Xor, IntTy::B32, code, 1i64 << (w - 1)),
                    _ => code,
                };
                Element::Int(self.b.add(stored, -(1 << (w - 1))).into())
            }
            ElemType::Bipolar(w) => {
                let twice = self.b.shift(code, 1);
                Element::Int(self.b.add(twice, 1 - (1 << w)).into())
            }
            other => {
                let (turn, flip) = recipe.form.coding(other);
                if turn == 0 {
                    return Ok(Element::Code(other, code.into()));
                }
                let sign = 1i64 << (other.bits() - 1);
                let less = self.b.int(IntOp::Xor, IntTy::B32, code, flip as i64);
                let less = self.b.add(less, -(turn as i64));
                // The sign is the code's own, the rest wrapped.
                Element::Code(other, self.b.lop3(code, less, sign, CHOOSE).into())
            }
        })
    }
}
