//! Copies of operands that are contiguous along the axis that the result keeps: `a[k, i].T`, `b[k, j]`.
//!
//! Going along the contracted range, one coordinate is a whole row of memory, whose pitch only the launch knows. A thread copies a few
//! columns of a few rows: at 128×32 and 16-byte units, two rows 16 apart by two columns 64 apart. One pointer per operand walks down
//! the rows, by the same distance from row to row and from the last to the first of the next iteration; columns are immediates. So
//! an access costs no instruction of its own, and a row costs one: `mad.wide` adds a 64-bit product in a single instruction.
//!
//! A *rolled* copy (see [`copies`](super::copies)) goes down the rows in a loop, as many at a turn as the swizzle tells apart. Rows that are looked
//! up always do, where they are many.
//!
//! **The end of the contraction.** One predicate per row ignores its accesses: zeros are written, also in iterations past the last.
//!
//! **The end of the kept axis.** Rows must not be clamped as pointers are where k is contiguous, because a thread's columns share the
//! pointer. A predicate per column, computed before the loop, guards the access instead: what lies outside is not copied, so its place in every
//! slot is zeroed once, before the loop, that nothing uninitialised is ever read. What the result's columns get from there is dropped at the
//! write.

use super::copies::{in_flight, offset};
use super::elements::Element;
use super::ir::*;
use super::lower::Lower;
use super::tilemap::TileMap;
use crate::plan::Refusal;
use crate::scheduled::ir as t2;
use crate::tile::ir as t1;

/// What a copy across the contracted axis keeps in registers.
pub struct AcrossState {
    pub op: t2::OpKind,
    rows: Vec<Row>,
    /// Walks; at the start of a copy it is at the thread's first row of that iteration, column 0. Where rows are looked up, it stays at the column.
    pointer: Reg,
    step: Step,
    /// Coordinates that are computed row by row: the bytes that each is worth, and its tile.
    looked: Vec<(Reg, t2::ValId)>,
    axis: Option<t1::AxisId>,
    lo: t1::ValueId,
    /// The bits that change where elements change their sign.
    signs: Option<Reg>,
    /// Coordinates of the contracted range from this thread's first row on, counted down with the loop.
    pub k_left: Reg,
    by: u32,
}

/// Rows whose coordinates are looked up together: enough for their accesses to overlap, few enough to stay in registers.
const LOOKED_UP: usize = 4;

/// Bytes from one of a thread's rows to the next.
enum Step {
    /// Elements in a row (32 bits) times bytes.
    Product(Reg, i64),
    Bytes(Src),
    /// None: every row has its own pointer.
    Stay,
}

/// The accesses of a thread in one row.
struct Row {
    /// Distance along the contracted range from the thread's first row.
    k: u32,
    units: Vec<Unit>,
}

/// One access of a thread per iteration.
struct Unit {
    /// Holds where the column exists.
    inside: Reg,
    /// From the pointer.
    bytes: i32,
    to: Address,
}

/// Where a loop over the rows of a copy is.
struct RolledRows {
    /// Turns to come.
    count: Reg,
    /// Coordinates left from the turn's first row on.
    left: Reg,
    /// Coordinates that the turn's first row is beyond the first of all.
    further: Option<Reg>,
    /// Addresses in shared memory: where they were at first, and what moves.
    bases: Vec<(Reg, Reg)>,
}

impl RolledRows {
    fn place(&self, to: Address, slot: i32) -> Address {
        let base =
            self.bases.iter().find(|(from, _)| *from == to.base).map_or(to.base, |(_, moving)| *moving);
        Address { base, offset: to.offset + slot }
    }
}

/// Bytes of shared memory from each so many rows to the next, if these are translates of the first.
fn translates(rows: &[Row], together: usize) -> Option<i32> {
    let by = rows.get(together)?.units.first()?.to.offset - rows[0].units.first()?.to.offset;
    let follows = |(n, row): (usize, &Row)| {
        let down = (n / together) as i32 * by;
        row.units
            .iter()
            .zip(&rows[n % together].units)
            .all(|(u, v)| (u.bytes, u.to.base, u.to.offset) == (v.bytes, v.to.base, v.to.offset + down))
    };
    (rows.len().is_multiple_of(together) && rows.iter().enumerate().all(follows)).then_some(by)
}

impl Lower<'_> {
    /// Everything that is computed once for a copy, and the zeros of the columns that do not exist.
    pub fn prepare_across(&mut self, kind: &t2::OpKind, l: &t2::Loop) -> Result<AcrossState, Refusal> {
        let t2::OpKind::CopyIn { buf, tensor, ix, plan, map, negative, .. } = kind else {
            unreachable!("only copies are prepared");
        };
        let map = TileMap::of(map);
        let buffer = self.module.buffer(*buf).clone();
        let elem_bytes = buffer.elem.bits() / 8;
        // The buffer's axes are the kept and the contracted one; copies move down the one that is not contiguous, here called k.
        let turned = ix.last().is_some_and(|i| i.axis.is_some() && i.axis == buffer.axes.get(1).copied());
        let (outer, k) = match turned {
            false => (&map.axes[0], &map.axes[1]),
            true => (&map.axes[1], &map.axes[0]),
        };
        let place = |o: u32, k: u32| match turned {
            false => offset(&buffer.layout, o, k),
            true => offset(&buffer.layout, k, o),
        };
        let k_dim = ix.iter().position(|i| i.axis.is_some() && i.axis == l.axis());
        let outer_axis = ix.last().and_then(|i| i.axis);
        let (Some(k_dim), Some(outer_axis)) = (k_dim, outer_axis) else {
            unreachable!("the planner gives operands one kept and one contracted axis");
        };

        // The pointer: the tensor, every scalar subscript, the thread's first row and column.
        let pointer = self.scalars.pointer(*tensor)?;
        let mut pointer = self.offsets(*tensor, ix, pointer)?;
        let mut looked = Vec::new();
        for (dim, index) in ix.iter().enumerate() {
            if let Some(tile) = index.tile {
                looked.push((self.scalars.stride_bytes(&mut self.b, *tensor, dim)?, tile));
            }
        }
        let pitch = self.scalars.stride_bytes(&mut self.b, *tensor, k_dim)?;
        let lo = self.scalars.coordinate(&mut self.b, l.lo)?;
        let first_row = match (self.threads.linear(&mut self.b, &k.thread), lo) {
            (own, Src::Int(0)) => own,
            (Some(own), lo) => Some(self.b.add(own, lo)),
            (None, lo) => Some(self.b.mov(Class::B32, lo)),
        };
        if let Some(row) = first_row
            && looked.is_empty()
        {
            let row = self.b.widen(false, row);
            pointer = self.b.mad(IntTy::S64, row, pitch, pointer);
        }
        let column = self.axis_position(outer_axis, &outer.thread)?;
        let pointer = self.b.mad_wide(false, column, i64::from(elem_bytes), pointer);
        let hi = self.scalars.coordinate(&mut self.b, self.kernel.axis(outer_axis).hi)?;
        let hi = match hi {
            Src::Reg(hi) => hi,
            imm => self.b.mov(Class::B32, imm),
        };
        let columns_left = self.b.int(IntOp::Sub, IntTy::S32, hi, column);

        let columns: Vec<u32> = outer.thread.iter().zip(&k.thread).map(|(o, kk)| place(*o, *kk)).collect();
        let mut rows: Vec<Row> = Vec::new();
        let mut inside: Vec<(u32, Reg)> = Vec::new();
        for u in (0..map.registers).step_by((plan.unit() / elem_bytes) as usize) {
            let (o, kk) = (outer.register[u], k.register[u]);
            let inside = match inside.iter().find(|(c, _)| *c == o) {
                Some((_, p)) => *p,
                None => {
                    let p = self.b.set_int(Cmp::Gt, IntTy::S32, columns_left, i64::from(o));
                    inside.push((o, p));
                    p
                }
            };
            let mut to = self.threads.shared(&mut self.b, &columns, place(o, kk));
            to.offset += buffer.base as i32;
            let unit = Unit { inside, bytes: (o * elem_bytes) as i32, to };
            match rows.iter_mut().find(|r| r.k == kk) {
                Some(row) => row.units.push(unit),
                None => rows.push(Row { k: kk, units: vec![unit] }),
            }
        }
        rows.sort_by_key(|r| r.k);
        let apart = l.by / rows.len() as u32;
        if rows.iter().zip(0..).any(|(r, n)| r.k != n * apart) {
            unreachable!(
                "threads take the low bits of the contracted range, so a thread's rows are equally far apart"
            );
        }
        let step = match self.scalars.row_elements(*tensor, k_dim) {
            _ if !looked.is_empty() => Step::Stay,
            Some(Src::Reg(elements)) => Step::Product(elements, i64::from(apart * elem_bytes)),
            Some(Src::Int(elements)) => Step::Bytes((elements * i64::from(apart * elem_bytes)).into()),
            _ => Step::Bytes(self.b.int(IntOp::MulLo, IntTy::S64, pitch, i64::from(apart)).into()),
        };
        let k_left = self.k_left(l, &k.thread, None, *tensor, ix)?;
        let (op, by, axis, lo) = (kind.clone(), l.by, l.axis(), l.lo);
        let signs = negative.map(|v| self.sign_bits(v)).transpose()?;
        let state = AcrossState { op, rows, pointer, step, looked, axis, lo, signs, k_left, by };
        if let t2::CopyPlan::CpAsync { bytes } = *plan {
            self.zero_outside(&state, bytes, &buffer);
        }
        Ok(state)
    }

    /// Stores zeros where no copy will ever write.
    fn zero_outside(&mut self, state: &AcrossState, bytes: u32, buffer: &t2::Buffer) {
        let zero = self.b.mov(Class::B32, 0);
        let zeros = vec![zero; (bytes / 4) as usize];
        for slot in 0..buffer.slots {
            for u in state.rows.iter().flat_map(|r| &r.units) {
                let to = Address { offset: u.to.offset + (slot * buffer.slot_stride) as i32, ..u.to };
                self.b.guarded(Some((u.inside, false)), Op::StoreShared { a: zeros.clone(), to });
            }
        }
    }

    /// Emits the copy of the next iteration, which is `ahead` of the counters and `from_here` of the step, into ring slot `slot`.
    pub fn emit_across(
        &mut self,
        state: &AcrossState,
        ahead: u32,
        from_here: u32,
        slot: u32,
    ) -> Result<(), Refusal> {
        let t2::OpKind::CopyIn { buf, rolled, .. } = &state.op else {
            unreachable!("only copies are prepared");
        };
        let slot = (slot * self.module.buffer(*buf).slot_stride) as i32;
        let along = ahead * state.by;
        if !state.looked.is_empty() {
            // Unrolled, the assembler would look up all of a step's rows at once and run out of registers.
            let sizes = [LOOKED_UP, 2 * LOOKED_UP].into_iter();
            let mut sizes = sizes.filter_map(|n| translates(&state.rows, n).map(|by| (n, by)));
            if let Some((together, shared)) = sizes.next() {
                return self.rolled_lookups(state, together, shared, along, from_here, slot);
            }
            for rows in state.rows.chunks(LOOKED_UP) {
                let pointers = self.looked_up(state, rows, from_here, None)?;
                for (row, pointer) in rows.iter().zip(pointers) {
                    let past = self.outside(state.k_left, row.k + along);
                    self.copy_row(state, row, pointer, past, |to| Address { offset: to.offset + slot, ..to });
                }
            }
            return Ok(());
        }
        let mut sizes = [1, 2, 4, 8].into_iter().filter_map(|n| translates(&state.rows, n).map(|by| (n, by)));
        if let Some((together, shared)) = sizes.next().filter(|_| *rolled) {
            self.rolled_across(state, together, shared, along, slot);
            return Ok(());
        }
        for row in &state.rows {
            let past = self.outside(state.k_left, row.k + along);
            self.copy_row(state, row, state.pointer, past, |to| Address { offset: to.offset + slot, ..to });
            self.next_row(state);
        }
        Ok(())
    }

    /// The pointers of a step's rows where coordinates are looked up: what a step computes, but of a step to come, and `further` down its
    /// rows.
    fn looked_up(
        &mut self,
        state: &AcrossState,
        rows: &[Row],
        from_here: u32,
        further: Option<Reg>,
    ) -> Result<Vec<Reg>, Refusal> {
        let now = self.save();
        let caches = self.set_aside();
        if let Some(t1::AxisKind::Loop(id)) = state.axis.map(|a| self.kernel.axis(a).kind) {
            let at = match self.scalars.loop_at(id) {
                Some(at) => at,
                None => {
                    let lo = self.scalars.coordinate(&mut self.b, state.lo)?;
                    self.in_register(lo, Class::B32)
                }
            };
            if let Some(outside) = self.outside_loop.clone() {
                self.restore(outside);
            }
            let at = match from_here * state.by {
                0 => at,
                ahead => self.b.add(at, i64::from(ahead)),
            };
            let at = further.map_or(at, |by| self.b.add(at, by));
            self.scalars.enter_loop(id, at);
        }
        let mut coordinates = Vec::new();
        for (stride, tile) in &state.looked {
            let constants: Vec<u32> = rows.iter().map(|r| r.k).collect();
            coordinates.push((*stride, self.gathered(*tile, &constants)?));
        }
        let mut pointers = Vec::new();
        for n in 0..rows.len() {
            let mut pointer = state.pointer;
            for (stride, rows) in &coordinates {
                let at = self.b.widen(false, rows[n]);
                pointer = self.b.mad(IntTy::S64, at, *stride, pointer);
            }
            pointers.push(pointer);
        }
        self.restore(now);
        self.put_back(caches);
        Ok(pointers)
    }

    /// The rows as a loop, as many at a turn as the swizzle tells apart: beside the pointer, the rows left and the places in shared memory
    /// move.
    fn rolled_across(&mut self, state: &AcrossState, together: usize, shared: i32, along: u32, slot: i32) {
        let at = self.first_rows(state, together);
        self.b.open();
        for (n, row) in state.rows[..together].iter().enumerate() {
            if n > 0 {
                self.next_row(state);
            }
            let past = self.b.set_int(Cmp::Le, IntTy::S32, at.left, i64::from(row.k + along));
            self.copy_row(state, row, state.pointer, past, |to| at.place(to, slot));
        }
        let copy = self.b.close();
        self.b.open();
        self.next_row(state);
        self.next_rows(state, at, copy, shared, together);
    }

    /// As many rows as are looked up together as a loop: the coordinate from which they are counted moves.
    fn rolled_lookups(
        &mut self,
        state: &AcrossState,
        together: usize,
        shared: i32,
        along: u32,
        from_here: u32,
        slot: i32,
    ) -> Result<(), Refusal> {
        let mut at = self.first_rows(state, together);
        let further = self.b.mov(Class::B32, 0);
        at.further = Some(further);
        self.b.open();
        for rows in state.rows[..together].chunks(LOOKED_UP) {
            let pointers = self.looked_up(state, rows, from_here, Some(further))?;
            for (row, pointer) in rows.iter().zip(pointers) {
                let past = self.b.set_int(Cmp::Le, IntTy::S32, at.left, i64::from(row.k + along));
                self.copy_row(state, row, pointer, past, |to| at.place(to, slot));
            }
        }
        let copy = self.b.close();
        self.b.open();
        self.next_rows(state, at, copy, shared, together);
        Ok(())
    }

    /// What a loop over the rows counts, `together` at a time.
    fn first_rows(&mut self, state: &AcrossState, together: usize) -> RolledRows {
        let count = self.b.mov(Class::B32, (state.rows.len() / together) as i64);
        let left = self.b.mov(Class::B32, state.k_left);
        let mut bases: Vec<(Reg, Reg)> = Vec::new();
        for u in state.rows.iter().take(together).flat_map(|r| &r.units) {
            if !bases.iter().any(|(from, _)| *from == u.to.base) {
                bases.push((u.to.base, self.b.mov(Class::B32, u.to.base)));
            }
        }
        RolledRows { count, left, further: None, bases }
    }

    /// Closes the loop whose turns copy so many rows, `shared` bytes apart.
    fn next_rows(
        &mut self,
        state: &AcrossState,
        at: RolledRows,
        copy: Vec<Stmt>,
        shared: i32,
        together: usize,
    ) {
        let apart = together as i64 * i64::from(state.by) / state.rows.len() as i64;
        let mut moves: Vec<(Reg, i64)> = at.bases.iter().map(|(_, d)| (*d, i64::from(shared))).collect();
        moves.push((at.left, -apart));
        moves.extend(at.further.map(|d| (d, apart)));
        moves.push((at.count, -1));
        for (d, by) in moves {
            self.b.push(Op::Int { op: IntOp::Add, ty: IntTy::S32, d, a: d.into(), b: by.into() });
        }
        let advance = self.b.close();
        let name = format!("copy{}", at.count.0);
        let (left, copies) = (at.count, vec![copy]);
        self.b.stmt(Stmt::Loop(Loop { name, left, until: None, by: 1, copies, advance, rolled: true }));
    }

    /// The accesses of one row; `past` holds where it lies past the end.
    fn copy_row(
        &mut self,
        state: &AcrossState,
        row: &Row,
        pointer: Reg,
        past: Reg,
        to: impl Fn(Address) -> Address,
    ) {
        let t2::OpKind::CopyIn { plan, .. } = &state.op else {
            unreachable!("only copies are prepared");
        };
        let from = |u: &Unit| Address { base: pointer, offset: u.bytes };
        match *plan {
            t2::CopyPlan::CpAsync { bytes } => {
                for u in &row.units {
                    let op = Op::CpAsync { to: to(u.to), from: from(u), bytes, ignore: Some(past) };
                    self.b.guarded(Some((u.inside, true)), op);
                }
            }
            t2::CopyPlan::LoadStore { .. } => {
                for units in row.units.chunks(in_flight(*plan)) {
                    let loaded: Vec<Vec<Reg>> =
                        units.iter().map(|u| self.load_inside(*plan, u, past, from(u))).collect();
                    for (u, a) in units.iter().zip(loaded) {
                        let a = match state.signs {
                            Some(signs) => a.into_iter().map(|r| self.signed(r, signs)).collect(),
                            None => a,
                        };
                        self.b.push(Op::StoreShared { a, to: to(u.to) });
                    }
                }
            }
        }
    }

    /// The sign bits of two halves where the condition holds, else none.
    fn sign_bits(&mut self, negative: t1::ValueId) -> Result<Reg, Refusal> {
        let Element::Pred(p) = self.scalar_element(negative)? else {
            return Err(Refusal::construct(self.b.span, "a condition that is no bool"));
        };
        let d = self.b.reg(Class::B32);
        self.b.push(Op::Select { d, a: Src::Int(0x8000_8000), b: Src::Int(0), p });
        Ok(d)
    }

    /// A register of one half or two with these bits changed.
    fn signed(&mut self, r: Reg, signs: Reg) -> Reg {
        if self.b.class(r) == Class::B32 {
            return self.b.xor(r, signs);
        }
        let both = self.b.reg(Class::B32);
        self.b.push(Op::Join16 { d: both, lo: r, hi: r });
        let a = self.b.xor(both, signs);
        let (lo, hi) = (self.b.reg(Class::B16), self.b.reg(Class::B16));
        self.b.push(Op::Split16 { lo, hi, a });
        lo
    }

    /// Moves the pointer one row on.
    fn next_row(&mut self, state: &AcrossState) {
        let p = state.pointer;
        self.b.push(match state.step {
            Step::Stay => return,
            Step::Product(elements, bytes) => {
                Op::MadWide { signed: false, d: p, a: elements.into(), b: bytes.into(), c: p.into() }
            }
            Step::Bytes(bytes) => Op::Int { op: IntOp::Add, ty: IntTy::S64, d: p, a: p.into(), b: bytes },
        });
    }

    /// One access, zero outside.
    fn load_inside(&mut self, plan: t2::CopyPlan, u: &Unit, past: Reg, from: Address) -> Vec<Reg> {
        let d = self.zeros(plan);
        let here = self.b.reg(Class::Pred);
        self.b.push(Op::PredNot { d: here, a: past });
        let here = self.b.pred_and(here, u.inside);
        self.b.guarded(Some((here, true)), Op::LoadGlobal { d: d.clone(), from });
        d
    }
}
