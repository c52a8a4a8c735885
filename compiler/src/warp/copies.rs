//! Copies from global to shared memory, and fragment loads from shared memory.
//!
//! **Pointers.** A row that a thread copies keeps its 64-bit pointer for the whole loop; iterations are immediates, and all
//! pointers move once per turn of the unrolled loop. Rows past the end are clamped to the last one: what they hold is dropped at the
//! write. Where a thread would need more than four pointers (narrow copies, deep tiles), one pointer walks down the rows at each copy
//! instead, and rows past the end are ignored.
//!
//! **The end of the contraction.** A unit is wholly inside or outside, so one predicate per step tells, for all rows of an operand:
//! ignored units are zero-filled, also in iterations past the last.

use super::ir::*;
use super::lower::Lower;
use super::tilemap::TileMap;
use crate::layout::{Axis, SharedLayout};
use crate::plan::Refusal;
use crate::scheduled::ir as t2;
use crate::tile::ir as t1;

/// Above this many rows per thread, one pointer walks.
const MOST_POINTERS: usize = 4;

/// What a copy keeps in registers across iterations.
pub struct CopyState {
    pub op: t2::OpKind,
    rows: Rows,
    units: Vec<Unit>,
    /// Coordinates of the contracted range from this thread's first on, counted down with the loop.
    pub k_left: Reg,
    elem_bytes: u32,
    by: u32,
}

/// One access of a thread per iteration.
struct Unit {
    row: usize,
    /// Of the row.
    constant: u32,
    /// Distance along the contracted range from the thread's first unit.
    k: u32,
    to: Address,
}

enum Rows {
    Pointers(Vec<Reg>),
    /// The first row's pointer, bytes from one row constant to the next, and how many rows are left from the first on.
    Walk {
        start: Reg,
        pitch: Reg,
        left: Reg,
        constants: Vec<u32>,
    },
}

/// Byte offset of an element of a staged operand.
fn offset(layout: &SharedLayout, outer: u32, k: u32) -> u32 {
    layout.offset(&[(Axis(0), outer), (Axis(1), k)])
}

impl Lower<'_> {
    /// Everything that is computed once for a copy.
    pub fn prepare_copy(&mut self, kind: &t2::OpKind, l: &t2::Loop) -> Result<CopyState, Refusal> {
        let t2::OpKind::CopyIn { buf, tensor, ix, plan, map, .. } = kind else {
            unreachable!("only copies are prepared");
        };
        let map = TileMap::of(map);
        let buffer = self.module.buffer(*buf).clone();
        let elem_bytes = buffer.elem.bits() / 8;
        let (outer, k) = (&map.axes[0], &map.axes[1]);

        let mut constants: Vec<u32> = Vec::new();
        let mut units = Vec::new();
        let columns: Vec<u32> =
            outer.thread.iter().zip(&k.thread).map(|(r, c)| offset(&buffer.layout, *r, *c)).collect();
        for u in (0..map.registers).step_by((plan.unit() / elem_bytes) as usize) {
            let (r, c) = (outer.register[u], k.register[u]);
            let row = constants.iter().position(|x| *x == r).unwrap_or_else(|| {
                constants.push(r);
                constants.len() - 1
            });
            let mut to = self.threads.shared(&mut self.b, &columns, offset(&buffer.layout, r, c));
            to.offset += buffer.base as i32;
            units.push(Unit { row, constant: r, k: c, to });
        }

        // The base: the tensor, plus every scalar subscript, plus the thread's own place in the contracted range.
        let k_dim = ix.iter().position(|i| i.axis == Some(l.axis));
        let outer_dim = ix.iter().position(|i| i.axis.is_some_and(|a| a != l.axis));
        let (Some(k_dim), Some(outer_dim)) = (k_dim, outer_dim) else {
            unreachable!("the planner gives operands one kept and one contracted axis");
        };
        let mut base = self.scalars.pointer(*tensor)?;
        for (dim, index) in ix.iter().enumerate().filter(|(d, _)| *d != k_dim && *d != outer_dim) {
            if let Some(v) = index.offset {
                let at = self.scalars.index(&mut self.b, v)?;
                let stride = self.scalars.stride_bytes(&mut self.b, *tensor, dim)?;
                base = self.b.mad(IntTy::S64, at, stride, base);
            }
        }
        let lo = self.scalars.coordinate(&mut self.b, l.lo)?;
        if lo != Src::Int(0) {
            base = self.b.mad_wide(false, lo, i64::from(elem_bytes), base);
        }
        let k_thread = self.threads.linear(&mut self.b, &k.thread);
        if let Some(k) = k_thread {
            base = self.b.mad_wide(false, k, i64::from(elem_bytes), base);
        }
        let k_left = self.k_left(l, &k.thread)?;

        let pitch = self.scalars.stride_bytes(&mut self.b, *tensor, outer_dim)?;
        let axis = ix[outer_dim].axis.unwrap_or(l.axis);
        let first = self.axis_position(axis, &outer.thread)?;
        let hi = self.scalars.coordinate(&mut self.b, self.kernel.axis(axis).hi)?;
        let last = match hi {
            Src::Int(n) => self.b.mov(Class::B32, n - 1),
            Src::Reg(r) => self.b.add(r, -1),
            other => self.b.mov(Class::B32, other),
        };
        let rows = if constants.len() <= MOST_POINTERS {
            let mut pointers = Vec::new();
            for c in constants {
                let row = self.clamped_row(first, c, last);
                let row = self.b.widen(false, row);
                pointers.push(self.b.mad(IntTy::S64, row, pitch, base));
            }
            Rows::Pointers(pointers)
        } else {
            constants.sort_unstable();
            let step = constants[1] - constants[0];
            let pitch_step = self.b.int(IntOp::MulLo, IntTy::S64, pitch, i64::from(step));
            let row = self.b.widen(false, first);
            let start = self.b.mad(IntTy::S64, row, pitch, base);
            let left = self.b.int(IntOp::Sub, IntTy::S32, last, first);
            for u in &mut units {
                u.row = constants.iter().position(|c| *c == u.constant).unwrap_or(0);
            }
            units.sort_by_key(|u| (u.row, u.k));
            Rows::Walk { start, pitch: pitch_step, left, constants }
        };
        Ok(CopyState { op: kind.clone(), rows, units, k_left, elem_bytes, by: l.by })
    }

    /// `hi - lo` of the loop less the thread's own place; one register per distinct place.
    fn k_left(&mut self, l: &t2::Loop, columns: &[u32]) -> Result<Reg, Refusal> {
        if let Some((_, r)) = self.k_left.iter().find(|(c, _)| c == columns) {
            return Ok(*r);
        }
        let total = self.loop_total(l)?;
        let own = self.threads.linear(&mut self.b, columns);
        let left = match own {
            Some(k) => self.b.int(IntOp::Sub, IntTy::S32, total, k),
            None => self.b.mov(Class::B32, total),
        };
        self.k_left.push((columns.to_vec(), left));
        Ok(left)
    }

    fn clamped_row(&mut self, first: Reg, constant: u32, last: Reg) -> Reg {
        let row = if constant == 0 { first } else { self.b.add(first, i64::from(constant)) };
        self.b.int(IntOp::Min, IntTy::S32, row, last)
    }

    /// Emits a copy for the iteration `ahead` of the pointers, into ring slot `slot`.
    pub fn emit_copy(&mut self, state: &CopyState, ahead: u32, slot: u32) {
        let t2::OpKind::CopyIn { buf, plan, .. } = &state.op else {
            unreachable!("only copies are prepared");
        };
        let stride = self.module.buffer(*buf).slot_stride;
        let along = ahead * state.by;
        let mut walk = None;
        let to = |u: &Unit| Address { offset: u.to.offset + (slot * stride) as i32, ..u.to };
        match *plan {
            t2::CopyPlan::CpAsync { bytes } => {
                for u in &state.units {
                    let (from, ignore) = self.source(state, u, along, &mut walk);
                    self.b.push(Op::CpAsync { to: to(u), from, bytes, ignore: Some(ignore) });
                }
            }
            t2::CopyPlan::LoadStore { .. } => {
                // A few loads in flight at a time: enough to overlap, few enough to stay in registers.
                for units in state.units.chunks(8) {
                    let loaded: Vec<Reg> = units
                        .iter()
                        .map(|u| {
                            let (from, ignore) = self.source(state, u, along, &mut walk);
                            let d = self.b.mov(Class::B16, 0);
                            self.b.guarded(Some((ignore, false)), Op::LoadGlobal { d: vec![d], from });
                            d
                        })
                        .collect();
                    for (u, d) in units.iter().zip(loaded) {
                        self.b.push(Op::StoreShared { a: vec![d], to: to(u) });
                    }
                }
            }
        }
        // The walk starts one iteration further at the next copy. Moving it with every copy, and not once per turn, keeps the assembler
        // from computing all rows once per turn and holding them in registers.
        if let Rows::Walk { start, .. } = &state.rows {
            let bytes = i64::from(state.by * state.elem_bytes);
            self.b.push(Op::Int {
                op: IntOp::Add,
                ty: IntTy::S64,
                d: *start,
                a: (*start).into(),
                b: bytes.into(),
            });
        }
    }

    /// Where a unit comes from, and the predicate under which it counts as zeros. `walk` is the row that the walking pointer
    /// has reached.
    fn source(
        &mut self,
        state: &CopyState,
        u: &Unit,
        along: u32,
        walk: &mut Option<(usize, Reg)>,
    ) -> (Address, Reg) {
        let past = self.outside(state.k_left, u.k + along);
        match &state.rows {
            Rows::Pointers(p) => {
                let offset = ((u.k + along) * state.elem_bytes) as i32;
                (Address { base: p[u.row], offset }, past)
            }
            Rows::Walk { start, pitch, left, constants } => {
                let mut at = walk.unwrap_or((0, *start));
                while at.0 < u.row {
                    at = (at.0 + 1, self.b.add(at.1, *pitch));
                }
                *walk = Some(at);
                let ignore = self.b.reg(Class::Pred);
                let row = i64::from(constants[u.row]);
                self.b.push(Op::SetIntOr {
                    cmp: Cmp::Lt,
                    ty: IntTy::S32,
                    d: ignore,
                    a: (*left).into(),
                    b: row.into(),
                    or: past,
                });
                (Address { base: at.1, offset: (u.k * state.elem_bytes) as i32 }, ignore)
            }
        }
    }

    /// Whether the unit at `along` lies past the end; one predicate per distinct question within a straight line.
    fn outside(&mut self, k_left: Reg, along: u32) -> Reg {
        if let Some((_, p)) = self.outside.iter().find(|(key, _)| *key == (k_left, along)) {
            return *p;
        }
        let p = self.b.set_int(Cmp::Le, IntTy::S32, k_left, i64::from(along));
        self.outside.push(((k_left, along), p));
        p
    }

    /// Moves the row pointers of a copy by `coordinates` of the contracted range; a walking pointer has moved already.
    pub fn advance_copy(&mut self, state: &CopyState, coordinates: u32) {
        let bytes = i64::from(coordinates * state.elem_bytes);
        if let Rows::Pointers(pointers) = &state.rows {
            for p in pointers.clone() {
                self.b.push(Op::Int { op: IntOp::Add, ty: IntTy::S64, d: p, a: p.into(), b: bytes.into() });
            }
        }
    }

    /// Loads a fragment by `ldmatrix.x4` from ring slot `slot`.
    ///
    /// The fragment's layout gives the addresses: within 8×8 matrices, lane bits 0-1 and the element pair run along the contracted
    /// axis (checked by the layout's construction), lane bits 2-4 are the matrix row, and the two register bits above the pair
    /// number the four matrices; so address lane bits 0-2 take the columns of lane bits 2-4 and lane bits 3-4 those of the registers.
    pub fn emit_load(&mut self, kind: &t2::OpKind, result: t2::ValId, slot: u32) {
        let t2::OpKind::Load { buf, at, .. } = kind else {
            unreachable!("called for fragment loads");
        };
        let map = self.map(result);
        let buffer = self.module.buffer(*buf);
        let (outer, k) = (&map.axes[0], &map.axes[1]);
        let at_coords = |o: u32, kk: u32| offset(&buffer.layout, o, kk);
        let mut columns: Vec<u32> = (2..5).map(|bit| at_coords(outer.thread[bit], k.thread[bit])).collect();
        columns.extend([2usize, 4].map(|r| at_coords(outer.register[r], k.register[r])));
        columns.extend((5..outer.thread.len()).map(|bit| at_coords(outer.thread[bit], k.thread[bit])));
        let base = (buffer.base + slot * buffer.slot_stride) as i32;
        let regs = self.fragment(result, map.registers / 2);
        for m in 0..map.registers / 8 {
            let constant = at_coords(outer.register[8 * m], k.register[8 * m] + at);
            let mut from = self.threads.shared(&mut self.b, &columns, constant);
            from.offset += base;
            let d = regs[4 * m..4 * m + 4].to_vec();
            self.b.push(Op::Ldmatrix { d, from, trans: false });
        }
    }

    /// `acc += a · bᵀ`, atom by atom; columns go back and forth so that neighbours share an operand.
    pub fn emit_mma(&mut self, a: t2::ValId, b: t2::ValId, acc: t2::ValId) {
        let (ma, mb, mc) = (self.map(a), self.map(b), self.map(acc));
        let half = match &self.module.value(a).kind {
            t2::ValKind::Tile { elem: t1::ElemType::Bf16, .. } => Half::Bf16,
            _ => Half::F16,
        };
        let fa = self.fragment(a, ma.registers / 2);
        let fb = self.fragment(b, mb.registers / 2);
        let fc = self.accumulator(acc, mc.registers);
        let row_of = |r: u32| (0..ma.registers / 8).find(|m| ma.axes[0].register[8 * m] == r);
        let column_of = |c: u32| (0..mb.registers / 4).find(|n| mb.axes[0].register[4 * n] == c);
        let mut atoms: Vec<(usize, usize, usize)> = Vec::new();
        for g in 0..mc.registers / 4 {
            let (Some(m), Some(n)) =
                (row_of(mc.axes[0].register[4 * g]), column_of(mc.axes[1].register[4 * g]))
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
            self.b.push(Op::Mma { half, c, a, b });
        }
    }
}
