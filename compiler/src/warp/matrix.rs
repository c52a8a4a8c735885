//! Fragments from shared memory, and the matrix instructions on them.
//!
//! A fragment's layout gives the addresses of its `ldmatrix`es ([`crate::layout::atoms::matrix_rows`]): lane `8j + r` addresses row r of
//! matrix j. Rows run along whichever axis the operand's buffer is contiguous in; where that is the kept axis, `.trans` turns each 8×8
//! matrix so that the registers hold the same as ever. It does so with 16-bit elements only: others come one by one.

use super::copies::offset;
use super::elements::Element;
use super::ir::*;
use super::lower::Lower;
use super::tilemap::TileMap;
use crate::packed::Form;
use crate::plan::Refusal;
use crate::plan::beyond::Beyond;
use crate::plan::shared::fragment_rows;
use crate::scheduled::ir as t2;
use crate::tile::{ir as t1, multiples::is_multiple};
use std::rc::Rc;

impl Lower<'_> {
    /// Loads a fragment from ring slot `slot`, rounding its elements where they want another type than they have in memory.
    pub fn emit_load(&mut self, kind: &t2::OpKind, result: t2::ValId, slot: u32) {
        let t2::OpKind::Load { buf, at, atom, .. } = kind else {
            unreachable!("called for fragment loads");
        };
        let regs = match atom {
            t2::LoadAtom::Ldmatrix { trans, .. } => self.load_matrices(result, *buf, *at, *trans, slot),
            t2::LoadAtom::Elements => self.load_elements(result, *buf, *at, slot),
        };
        let rounded = matches!(&self.module.value(result).kind,
            t2::ValKind::Tile { elem: t1::ElemType::Tf32, .. } if self.module.buffer(*buf).elem == t1::ElemType::F32);
        if rounded {
            for r in regs {
                self.b.push(Op::RoundTf32 { d: r, a: r });
            }
        }
    }

    /// By `ldmatrix.x4`.
    fn load_matrices(
        &mut self,
        result: t2::ValId,
        buf: t2::BufId,
        at: u32,
        trans: bool,
        slot: u32,
    ) -> Vec<Reg> {
        let rows = self.matrix_rows(result, buf, trans);
        let buffer = self.module.buffer(buf);
        let (outer, k) = (&rows.axes[0], &rows.axes[1]);
        let columns: Vec<u32> =
            outer.thread.iter().zip(&k.thread).map(|(o, kk)| offset(&buffer.layout, *o, *kk)).collect();
        let base = (buffer.base + slot * buffer.slot_stride) as i32;
        // A row is 16 bytes; what is left of the registers numbers the instructions.
        let per_row = (16 * 8 / buffer.elem.bits()) as usize;
        let instructions = rows.registers / per_row;
        let regs = self.fragment(result, 4 * instructions);
        for (m, d) in regs.chunks(4).enumerate() {
            let constant = offset(&buffer.layout, outer.register[per_row * m], k.register[per_row * m] + at);
            let mut from = self.threads.shared(&mut self.b, &columns, constant);
            from.offset += base;
            self.b.push(Op::Ldmatrix { d: d.to_vec(), from, trans });
        }
        regs
    }

    /// Computes what the lanes address, which is the same in every step.
    pub fn prepare_load(&mut self, kind: &t2::OpKind, result: t2::ValId) {
        let t2::OpKind::Load { buf, at, atom: t2::LoadAtom::Ldmatrix { trans, .. }, .. } = kind else {
            return;
        };
        let rows = self.matrix_rows(result, *buf, *trans);
        let buffer = self.module.buffer(*buf);
        let (outer, k) = (&rows.axes[0], &rows.axes[1]);
        let columns: Vec<u32> =
            outer.thread.iter().zip(&k.thread).map(|(o, kk)| offset(&buffer.layout, *o, *kk)).collect();
        let per_row = (16 * 8 / buffer.elem.bits()) as usize;
        for m in 0..rows.registers / per_row {
            let constant = offset(&buffer.layout, outer.register[per_row * m], k.register[per_row * m] + at);
            self.threads.shared(&mut self.b, &columns, constant);
        }
    }

    /// Element by element, or neighbours together; what makes a register is put together by shifts.
    fn load_elements(&mut self, result: t2::ValId, buf: t2::BufId, at: u32, slot: u32) -> Vec<Reg> {
        let map = self.map(result);
        let buffer = self.module.buffer(buf);
        let (outer, k) = (&map.axes[0], &map.axes[1]);
        let columns: Vec<u32> =
            outer.thread.iter().zip(&k.thread).map(|(o, kk)| offset(&buffer.layout, *o, *kk)).collect();
        let base = (buffer.base + slot * buffer.slot_stride) as i32;
        let bits = buffer.elem.bits();
        let packed = (32 / bits) as usize;
        let places: Vec<u32> = outer
            .register
            .iter()
            .zip(&k.register)
            .map(|(outer, k)| offset(&buffer.layout, *outer, *k + at))
            .collect();
        let regs = self.fragment(result, map.registers / packed);
        for (r, d) in regs.iter().enumerate() {
            let mut word: Option<Reg> = None;
            let place = |e: usize| places[packed * r + e];
            // As many as are neighbours in every thread: no thread's part moves the bits in which they differ.
            let together = |n: usize| {
                let bytes = n as u32 * bits / 8;
                let neighbours = |e: usize| (place(e) ^ place(e / n * n)) == (e % n) as u32 * bits / 8;
                columns.iter().all(|c| c % bytes == 0)
                    && (0..packed).all(|e| neighbours(e) && place(e / n * n) % bytes == 0)
            };
            let run = (1..=packed).rev().filter(|n| n.is_power_of_two()).find(|n| together(*n)).unwrap_or(1);
            for e in (0..packed).step_by(run) {
                let mut from = self.threads.shared(&mut self.b, &columns, place(e));
                from.offset += base;
                let last = e + run == packed;
                let x = if packed == run { *d } else { self.b.reg(Class::B32) };
                self.b.push(Op::LoadShared { d: x, from, bytes: run as u32 * bits / 8 });
                if packed == run {
                    continue;
                }
                let high = self.b.shift(x, (e as u32 * bits) as i32);
                word = match word {
                    None => Some(high),
                    Some(low) => {
                        let to = if last { *d } else { self.b.reg(Class::B32) };
                        let (a, b) = (low.into(), high.into());
                        self.b.push(Op::Int { op: IntOp::Or, ty: IntTy::B32, d: to, a, b });
                        Some(to)
                    }
                };
            }
        }
        regs
    }

    /// What each lane addresses for a fragment, by value and cached.
    fn matrix_rows(&mut self, fragment: t2::ValId, buf: t2::BufId, trans: bool) -> Rc<TileMap> {
        if let Some(rows) = self.matrix_rows.get(&fragment) {
            return rows.clone();
        }
        let Some(access) =
            fragment_rows(self.module.layout(fragment), self.module.buffer(buf).elem.bits(), trans)
        else {
            unreachable!("the planner gives ldmatrix to fragments that it serves");
        };
        let rows = Rc::new(TileMap::of(&access.rows));
        self.matrix_rows.insert(fragment, rows.clone());
        rows
    }

    /// `acc += a · bᵀ`, atom by atom; columns go back and forth so that neighbours share an operand. Of each operand the part that
    /// begins at a coordinate along k.
    pub fn emit_mma(
        &mut self,
        atom: t2::MmaAtom,
        a: (t2::ValId, u32),
        b: (t2::ValId, u32),
        acc: t2::ValId,
    ) -> Result<(), Refusal> {
        let mc = self.map(acc);
        // Elements of A and B in a thread for one instruction: four and two registers.
        let packed = (32 / atom.a.bits()) as usize;
        let (ea, eb) = (4 * packed, 2 * packed);
        // Past the end of k one of the two has zeros: what is copied, or masked.
        let copied = matches!(self.producers.get(&b.0), Some(t2::OpKind::Load { .. }));
        let (fa, rows, ra) = self.factor(atom, a, acc, copied)?;
        let (fb, columns, rb) = self.factor(atom, b, acc, true)?;
        let fc = self.accumulator(acc, mc.registers);
        let row_of = |r: u64| (0..ra.len() / ea).find(|m| ra[ea * m] == r);
        let column_of = |c: u64| (0..rb.len() / eb).find(|n| rb[eb * n] == c);
        let mut atoms: Vec<(usize, usize, usize)> = Vec::new();
        for g in 0..mc.registers / 4 {
            let (Some(m), Some(n)) =
                (row_of(place(&mc, &rows, 4 * g)), column_of(place(&mc, &columns, 4 * g)))
            else {
                unreachable!("fragments and accumulator come from one tiling");
            };
            atoms.push((m, n, g));
        }
        atoms.sort_by_key(|&(m, n, _)| (m, if m % 2 == 0 { n as i64 } else { -(n as i64) }));
        for (m, n, g) in atoms {
            let c = [fc[4 * g], fc[4 * g + 1], fc[4 * g + 2], fc[4 * g + 3]];
            let a = [fa[4 * m], fa[4 * m + 1], fa[4 * m + 2], fa[4 * m + 3]];
            let b = [fb[2 * n], fb[2 * n + 1]];
            self.b.push(Op::Mma { atom, c, a, b });
        }
        Ok(())
    }

    /// The registers of an operand's part, which of the accumulator's axes it keeps, and where along those each element is. Where the
    /// other operand is `zero` past the end of what is contracted, any numbers will do there.
    fn factor(
        &mut self,
        atom: t2::MmaAtom,
        (v, at): (t2::ValId, u32),
        acc: t2::ValId,
        zero: bool,
    ) -> Result<(Vec<Reg>, Vec<usize>, Vec<u64>), Refusal> {
        let map = self.map(v);
        let packed = (32 / atom.a.bits()) as usize;
        let (t2::ValKind::Tile { axes, .. }, t2::ValKind::Tile { axes: kept, .. }) =
            (&self.module.value(v).kind, &self.module.value(acc).kind)
        else {
            unreachable!("T2.1: operands are register tiles");
        };
        // What the accumulator has not is contracted.
        let k = axes.iter().position(|a| !kept.contains(a)).unwrap_or(0);
        let outer: Vec<usize> = (0..axes.len()).filter(|n| *n != k).collect();
        let keeps: Vec<usize> =
            outer.iter().filter_map(|n| kept.iter().position(|a| *a == axes[*n])).collect();
        if matches!(self.producers.get(&v), Some(t2::OpKind::Load { .. })) {
            let registers = self.fragment(v, map.registers / packed);
            let places = (0..map.registers).map(|r| place(&map, &outer, r)).collect();
            return Ok((registers, keeps, places));
        }
        let half = match atom.a {
            t2::MmaType::Bf16 => Half::Bf16,
            _ => Half::F16,
        };
        // The part's elements are neighbours: the slice is the highest digit.
        let mine: Vec<usize> =
            (0..map.registers).filter(|r| map.axes[k].register[*r] / atom.k() == at / atom.k()).collect();
        let nothing = zero && self.past_the_end(v).is_some();
        let mut registers = Vec::new();
        for together in mine.chunks(packed) {
            let d = match *together {
                [a, b] => self.pair(v, (a, b), half)?,
                [a, b, c, d] => self.quad(v, [a, b, c, d])?,
                _ => self.bits(v, together)?,
            };
            registers.push(match nothing {
                true => d,
                false => self.existing_parts(v, axes[k], axes, &map, together, d)?,
            });
        }
        Ok((registers, keeps, mine.iter().map(|r| place(&map, &outer, *r)).collect()))
    }

    /// Lanes that do not exist add nothing, whatever they would be computed to; they are the last of a register's.
    #[allow(clippy::too_many_arguments)]
    fn existing_parts(
        &mut self,
        v: t2::ValId,
        k: t1::AxisId,
        axes: &[t1::AxisId],
        map: &TileMap,
        together: &[usize],
        d: Reg,
    ) -> Result<Reg, Refusal> {
        if together.len() == 32 && self.zero_stays(v) {
            return Ok(d);
        }
        if self.beyond(v, k) == Some(Beyond::Zero) {
            return Ok(d);
        }
        let mut d = d;
        let lane = |n: usize| match together.len() {
            32 => 1u32 << Form::Planes.lane_at(n as u32),
            count => (u32::MAX >> (32 - 32 / count)) << (n * 32 / count),
        };
        // A register that lies in the range whole, or not at all.
        let (range, n) = (self.kernel.axis(k), together.len() as u32);
        let all_or_none = range.extent.is_multiple_of(n)
            && [range.lo, range.hi].iter().all(|end| is_multiple(self.kernel, *end, n));
        let tested = if all_or_none { 1 } else { together.len() };
        for (n, r) in together.iter().enumerate().take(tested).rev() {
            let Some(p) = self.existing(&[k], axes, map, *r)? else { continue };
            // Without this lane and those above it.
            let below = (0..n).fold(0, |mask, n| mask | lane(n));
            let less = if n == 0 { Src::Int(0) } else { self.b.and(d, i64::from(below)).into() };
            let kept = self.b.reg(Class::B32);
            self.b.push(Op::Select { d: kept, a: d.into(), b: less, p });
            d = kept;
        }
        Ok(d)
    }

    /// An element of a tile that was loaded from shared memory.
    pub fn loaded_element(&mut self, v: t2::ValId, buf: t2::BufId, r: usize) -> Result<Element, Refusal> {
        let elem = self.module.buffer(buf).elem;
        let bits = elem.bits();
        let packed = (32 / bits) as usize;
        let n = self.map(v).registers / packed;
        let word = self.fragment(v, n)[r / packed];
        let from = (r % packed) as u32 * bits;
        let half = match elem {
            t1::ElemType::F16 => Half::F16,
            t1::ElemType::Bf16 => Half::Bf16,
            _ => return Ok(self.narrow_element(elem, bits, word, from)),
        };
        let (lo, hi) = (self.b.reg(Class::B16), self.b.reg(Class::B16));
        self.b.push(Op::Split16 { lo, hi, a: word });
        let d = self.b.widen_half(half, if from == 0 { lo } else { hi });
        Ok(Element::F32(d.into()))
    }
}

/// Where a register's element is along some of a tile's axes, in one number.
fn place(map: &TileMap, axes: &[usize], r: usize) -> u64 {
    axes.iter().fold(0, |at, n| at << 20 | u64::from(map.axes[*n].register[r]))
}
