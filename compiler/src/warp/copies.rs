//! Copies from global to shared memory along the contracted axis; [`across`](super::across) holds the others.
//!
//! **Pointers.** A row that a thread copies keeps its 64-bit pointer for the whole loop; iterations are immediates, and all
//! pointers move once per turn of the unrolled loop. Rows past the end are clamped to the last one: what they hold is dropped at the
//! write. Where a thread would need more than four pointers (narrow copies, deep tiles), one pointer walks down the rows at each copy
//! instead, and rows past the end are ignored. A *rolled* copy walks in a loop: groups of accesses that are translates of one another,
//! by a constant distance in shared memory and in rows, are emitted once. Rows that are looked up (`x[src[i], k]`) are looked up once; where
//! they are many, their pointers are computed anew for each access. Rows that are computed and may lie outside (`x[l - 1, k]`) are tested at each access and
//! copied as zeros.
//!
//! **The end of the contraction.** A unit is wholly inside or outside, so one predicate per step tells, for all rows of an operand:
//! ignored units are zero-filled, also in iterations past the last.

use super::elements::Element;
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
    /// The numbers of rows that may lie outside of the tensor, and how many it has: those outside are zeros.
    tested: Option<(Vec<Reg>, Src)>,
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
    },
    /// Rows that are looked up, by number, the pointer that moves along them, and bytes from one row to the next.
    Gathered {
        rows: Vec<Reg>,
        start: Reg,
        pitch: Reg,
    },
}

/// How the groups of a rolled copy follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Groups {
    /// Accesses of one group.
    size: usize,
    count: usize,
    /// Rows (as constants) and distinct row constants from one group to the next.
    rows: u32,
    steps: usize,
    /// Bytes of shared memory.
    shared: i32,
}

/// Accesses in flight: enough to overlap, few enough to stay in registers.
const GROUP: usize = 8;

/// Splits the accesses, ordered by rows, into at least two equal translates.
fn groups(units: &[Unit]) -> Option<Groups> {
    let translates = |size: usize| {
        let (a, b) = (&units[0], &units[size]);
        let g = Groups {
            size,
            count: units.len() / size,
            rows: b.constant.checked_sub(a.constant)?,
            steps: b.row.checked_sub(a.row)?,
            shared: b.to.offset - a.to.offset,
        };
        let follows = |(i, u): (usize, &Unit)| {
            let (q, first) = (i / size, &units[i % size]);
            u.k == first.k
                && u.to.base == first.to.base
                && u.to.offset == first.to.offset + q as i32 * g.shared
                && u.constant == first.constant + q as u32 * g.rows
                && u.row == first.row + q * g.steps
        };
        units.iter().enumerate().all(follows).then_some(g)
    };
    // Of groups that all fit in flight the largest; where a swizzle tells more accesses apart than that, the smallest.
    let sizes = (1..=GROUP).rev().chain(GROUP + 1..=4 * GROUP);
    sizes.filter(|n| units.len().is_multiple_of(*n) && units.len() > *n).find_map(translates)
}

/// A pointer on its way down the rows, bytes from one row to the next, and the rows left from where it started.
struct Walk {
    pointer: Reg,
    pitch: Reg,
    left: Reg,
}

fn shifted(to: Address, by: i32) -> Address {
    Address { offset: to.offset + by, ..to }
}

/// Accesses through registers in flight at a time.
pub fn in_flight(plan: t2::CopyPlan) -> usize {
    if plan.unit() > 4 { GROUP / 2 } else { GROUP }
}

/// Byte offset of an element of a staged operand.
pub fn offset(layout: &SharedLayout, outer: u32, k: u32) -> u32 {
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
        let Some(outer_dim) = ix.iter().position(|i| i.axis.is_some() && i.axis != l.axis()) else {
            unreachable!("the planner gives operands one kept and one contracted axis");
        };
        let mut base = self.scalars.pointer(*tensor)?;
        base = self.offsets(*tensor, ix, base)?;
        let lo = self.scalars.coordinate(&mut self.b, l.lo)?;
        if lo != Src::Int(0) {
            base = self.b.mad_wide(false, lo, i64::from(elem_bytes), base);
        }
        let k_thread = self.threads.linear(&mut self.b, &k.thread);
        if let Some(k) = k_thread {
            base = self.b.mad_wide(false, k, i64::from(elem_bytes), base);
        }
        let kept = ix[outer_dim].axis;
        let k_left = self.k_left(l, &k.thread, kept, *tensor, ix)?;

        let pitch = self.scalars.stride_bytes(&mut self.b, *tensor, outer_dim)?;
        let Some(axis) = kept else {
            unreachable!("the kept dimension is subscripted by an axis");
        };
        let first = self.axis_position(axis, &outer.thread)?;
        let hi = self.scalars.coordinate(&mut self.b, self.kernel.axis(axis).hi)?;
        let last = match hi {
            Src::Int(n) => self.b.mov(Class::B32, n - 1),
            Src::Reg(r) => self.b.add(r, -1),
            other => self.b.mov(Class::B32, other),
        };
        let mut tested = None;
        let rows = if let Some(tile) = ix[outer_dim].tile {
            let mut rows = self.gathered(tile, &constants)?;
            if ix[outer_dim].checked {
                let extent = self.scalars.extent(&mut self.b, *tensor, outer_dim)?;
                tested = Some((rows.clone(), extent));
                if rows.len() <= MOST_POINTERS {
                    // A pointer into the tensor all the same.
                    let last = self.in_register(extent, Class::B32);
                    let last = self.b.add(last, -1);
                    rows = rows.into_iter().map(|r| self.b.int(IntOp::Min, IntTy::U32, r, last)).collect();
                }
            }
            if rows.len() <= MOST_POINTERS {
                let mut pointers = Vec::new();
                for row in rows {
                    let row = self.b.widen(false, row);
                    pointers.push(self.b.mad(IntTy::S64, row, pitch, base));
                }
                Rows::Pointers(pointers)
            } else {
                let start = self.b.mov(Class::B64, base);
                Rows::Gathered { rows, start, pitch }
            }
        } else if constants.len() <= MOST_POINTERS {
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
            Rows::Walk { start, pitch: pitch_step, left }
        };
        Ok(CopyState { op: kind.clone(), rows, units, k_left, elem_bytes, by: l.by, tested })
    }

    /// The rows that a lookup gives for these of the thread's rows.
    pub fn gathered(&mut self, tile: t2::ValId, constants: &[u32]) -> Result<Vec<Reg>, Refusal> {
        let map = self.map(tile);
        let span = self.b.span;
        let mut rows = Vec::new();
        for c in constants {
            let r = map.axes[0].register.iter().position(|x| x == c).unwrap_or(0);
            match self.element(tile, r)? {
                Element::Int(s) => rows.push(self.in_register(s, Class::B32)),
                _ => return Err(Refusal::construct(span, "a subscript that is no integer")),
            }
        }
        Ok(rows)
    }

    /// A pointer moved by the scalar part of every subscript.
    pub fn offsets(&mut self, tensor: t1::TensorId, ix: &[t2::Index], mut base: Reg) -> Result<Reg, Refusal> {
        for (dim, index) in ix.iter().enumerate() {
            if let Some(v) = index.offset {
                let at = self.scalars.index(&mut self.b, v)?;
                let stride = self.scalars.stride_bytes(&mut self.b, tensor, dim)?;
                base = self.b.mad(IntTy::S64, at, stride, base);
            }
        }
        Ok(base)
    }

    /// Whether the scalar subscripts that may leave the tensor are inside; `None` where none may.
    fn scalars_inside(&mut self, tensor: t1::TensorId, ix: &[t2::Index]) -> Result<Option<Reg>, Refusal> {
        let mut all = None;
        for (dim, index) in ix.iter().enumerate().filter(|(_, i)| i.checked && i.axis.is_none()) {
            let Some(v) = index.offset else { continue };
            let at = self.scalars.index(&mut self.b, v)?;
            let extent = match self.scalars.extent(&mut self.b, tensor, dim)? {
                Src::Reg(r) => self.b.widen(false, r).into(),
                imm => imm,
            };
            let p = self.b.set_int(Cmp::Lt, IntTy::U64, at, extent);
            all = Some(match all {
                None => p,
                Some(q) => self.b.pred_and(q, p),
            });
        }
        Ok(all)
    }

    /// `hi - lo` of the loop less the thread's own place; one register per distinct place. Where the operand's kept axis is empty, or a scalar
    /// subscript lies outside, there is nothing to copy, not even a last row for the others to be clamped to: nothing is left then.
    pub fn k_left(
        &mut self,
        l: &t2::Loop,
        columns: &[u32],
        kept: Option<t1::AxisId>,
        tensor: t1::TensorId,
        ix: &[t2::Index],
    ) -> Result<Reg, Refusal> {
        let kept = kept.filter(|a| self.may_be_empty(*a));
        let tested = ix.iter().enumerate().filter(|(_, i)| i.checked && i.axis.is_none());
        let tested = tested.filter_map(|(dim, i)| i.offset.map(|v| (tensor, dim, v))).collect();
        let key = (columns.to_vec(), kept, tested);
        if let Some((_, r)) = self.k_left.iter().find(|(k, _)| *k == key) {
            return Ok(*r);
        }
        let mut left = self.range_total(l)?;
        if let Some(p) = self.scalars_inside(tensor, ix)? {
            let here = self.b.reg(Class::B32);
            self.b.push(Op::Select { d: here, a: left.into(), b: Src::Int(0), p });
            left = here;
        }
        if let Some(axis) = kept {
            let (lo, hi) = (self.kernel.axis(axis).lo, self.kernel.axis(axis).hi);
            let (lo, hi) =
                (self.scalars.coordinate(&mut self.b, lo)?, self.scalars.coordinate(&mut self.b, hi)?);
            let hi = self.in_register(hi, Class::B32);
            let some = self.b.set_int(Cmp::Gt, IntTy::S32, hi, lo);
            let here = self.b.reg(Class::B32);
            self.b.push(Op::Select { d: here, a: left.into(), b: Src::Int(0), p: some });
            left = here;
        }
        let own = self.threads.linear(&mut self.b, columns);
        let left = match own {
            Some(k) => self.b.int(IntOp::Sub, IntTy::S32, left, k),
            None => self.b.mov(Class::B32, left),
        };
        self.k_left.push((key, left));
        Ok(left)
    }

    /// Whether a range may have no coordinate at all. Instances exist only for tiles that have some, trips of loops too.
    fn may_be_empty(&self, axis: t1::AxisId) -> bool {
        let a = self.kernel.axis(axis);
        match a.kind {
            t1::AxisKind::Grid(_) | t1::AxisKind::Loop(_) | t1::AxisKind::Dim => false,
            t1::AxisKind::Primed(of) => self.may_be_empty(of),
            t1::AxisKind::Let => match (self.kernel.const_int(a.lo), self.kernel.const_int(a.hi)) {
                (Some(lo), Some(hi)) => hi <= lo,
                _ => true,
            },
        }
    }

    fn clamped_row(&mut self, first: Reg, constant: u32, last: Reg) -> Reg {
        let row = if constant == 0 { first } else { self.b.add(first, i64::from(constant)) };
        self.b.int(IntOp::Min, IntTy::S32, row, last)
    }

    /// Emits a copy for the iteration `ahead` of the pointers, into ring slot `slot`.
    pub fn emit_copy(&mut self, state: &CopyState, ahead: u32, slot: u32) {
        let t2::OpKind::CopyIn { buf, plan, rolled, .. } = &state.op else {
            unreachable!("only copies are prepared");
        };
        let slot = (slot * self.module.buffer(*buf).slot_stride) as i32;
        let along = ahead * state.by;
        match (&state.rows, groups(&state.units).filter(|_| *rolled)) {
            (Rows::Walk { start, pitch, left, .. }, Some(groups)) => {
                let walk = Walk { pointer: *start, pitch: *pitch, left: *left };
                self.rolled_copy(state, *plan, groups, walk, along, slot);
            }
            (Rows::Walk { start, pitch, left, .. }, None) => {
                let mut walk = Walk { pointer: *start, pitch: *pitch, left: *left };
                self.copy_units(state, *plan, &state.units, Some(&mut walk), along, |to| shifted(to, slot));
            }
            (Rows::Pointers(_) | Rows::Gathered { .. }, _) => {
                self.copy_units(state, *plan, &state.units, None, along, |to| shifted(to, slot));
            }
        }
        // The walk starts one iteration further at the next copy. Moving it with every copy, and not once per turn, keeps the assembler
        // from computing all rows once per turn and holding them in registers.
        if let Rows::Walk { start, .. } | Rows::Gathered { start, .. } = &state.rows {
            let bytes = i64::from(state.by * state.elem_bytes);
            self.step(*start, IntTy::S64, bytes);
        }
    }

    /// The registers of one access through registers, zero where the access is ignored.
    pub fn zeros(&mut self, plan: t2::CopyPlan) -> Vec<Reg> {
        match plan.unit() {
            1 => vec![self.b.mov(Class::B8, 0)],
            2 => vec![self.b.mov(Class::B16, 0)],
            bytes => (0..bytes / 4).map(|_| self.b.mov(Class::B32, 0)).collect(),
        }
    }

    fn step(&mut self, d: Reg, ty: IntTy, by: impl Into<Src>) {
        self.b.push(Op::Int { op: IntOp::Add, ty, d, a: d.into(), b: by.into() });
    }

    /// Accesses in order; `walk` stands at the first one's row and is left at the last one's.
    fn copy_units(
        &mut self,
        state: &CopyState,
        plan: t2::CopyPlan,
        units: &[Unit],
        mut walk: Option<&mut Walk>,
        along: u32,
        to: impl Fn(Address) -> Address,
    ) {
        let first = units.first().map_or((0, 0), |u| (u.row, u.constant));
        let mut row = first.0;
        let mut source = |lower: &mut Self, u: &Unit| {
            if let Some(walk) = &mut walk {
                while row < u.row {
                    (row, walk.pointer) = (row + 1, lower.b.add(walk.pointer, walk.pitch));
                }
            }
            lower.source(state, u, along, first.1, walk.as_deref())
        };
        match plan {
            t2::CopyPlan::CpAsync { bytes } => {
                for u in units {
                    let (from, ignore) = source(self, u);
                    self.b.push(Op::CpAsync { to: to(u.to), from, bytes, ignore: Some(ignore) });
                }
            }
            t2::CopyPlan::LoadStore { .. } => {
                // A few loads in flight at a time: enough to overlap, few enough to stay in registers.
                for units in units.chunks(in_flight(plan)) {
                    let loaded: Vec<Vec<Reg>> = units
                        .iter()
                        .map(|u| {
                            let (from, ignore) = source(self, u);
                            let d = self.zeros(plan);
                            self.b.guarded(Some((ignore, false)), Op::LoadGlobal { d: d.clone(), from });
                            d
                        })
                        .collect();
                    for (u, a) in units.iter().zip(loaded) {
                        self.b.push(Op::StoreShared { a, to: to(u.to) });
                    }
                }
            }
        }
    }

    /// The groups as a loop: pointer, rows left and distance in shared memory move from group to group.
    fn rolled_copy(
        &mut self,
        state: &CopyState,
        plan: t2::CopyPlan,
        groups: Groups,
        walk: Walk,
        along: u32,
        slot: i32,
    ) {
        let count = self.b.mov(Class::B32, groups.count as i64);
        let mut at = Walk { pointer: self.b.mov(Class::B64, walk.pointer), ..walk };
        at.left = self.b.mov(Class::B32, walk.left);
        let (pointer, left) = (at.pointer, at.left);
        let first = &state.units[..groups.size];
        let mut bases: Vec<(Reg, Reg)> = Vec::new();
        for u in first {
            if !bases.iter().any(|(from, _)| *from == u.to.base) {
                bases.push((u.to.base, self.b.mov(Class::B32, u.to.base)));
            }
        }
        let moving = |to: Address| {
            let base = bases.iter().find(|(from, _)| *from == to.base).map_or(to.base, |(_, moving)| *moving);
            shifted(Address { base, ..to }, slot)
        };
        // Predicates computed before the loop do not hold in it, nor the other way round.
        let outside = std::mem::take(&mut self.outside);
        self.b.open();
        self.copy_units(state, plan, first, Some(&mut at), along, moving);
        let copy = self.b.close();
        self.outside = outside;
        self.b.open();
        let last = first.last().map_or(0, |u| u.row - first[0].row);
        for step in last..groups.steps {
            let to = if step + 1 == groups.steps { pointer } else { self.b.reg(Class::B64) };
            let (a, b) = (at.pointer.into(), walk.pitch.into());
            self.b.push(Op::Int { op: IntOp::Add, ty: IntTy::S64, d: to, a, b });
            at.pointer = to;
        }
        self.step(left, IntTy::S32, -i64::from(groups.rows));
        for (_, moving) in &bases {
            self.step(*moving, IntTy::S32, i64::from(groups.shared));
        }
        self.step(count, IntTy::S32, -1);
        let advance = self.b.close();
        let name = format!("copy{}", count.0);
        let copies = vec![copy];
        self.b.stmt(Stmt::Loop(Loop {
            name,
            left: count,
            until: None,
            by: 1,
            copies,
            advance,
            rolled: true,
        }));
    }

    /// Where a unit comes from, and the predicate under which it counts as zeros. A walk has reached the unit's row; its rows
    /// left count from the row constant `first` on.
    fn source(
        &mut self,
        state: &CopyState,
        u: &Unit,
        along: u32,
        first: u32,
        walk: Option<&Walk>,
    ) -> (Address, Reg) {
        let mut past = self.outside(state.k_left, u.k + along);
        if let Some((rows, extent)) = &state.tested {
            let ignore = self.b.reg(Class::Pred);
            self.b.push(Op::SetIntOr {
                cmp: Cmp::Ge,
                ty: IntTy::U32,
                d: ignore,
                a: rows[u.row].into(),
                b: *extent,
                or: past,
            });
            past = ignore;
        }
        match (&state.rows, walk) {
            (Rows::Pointers(p), _) => {
                let offset = ((u.k + along) * state.elem_bytes) as i32;
                (Address { base: p[u.row], offset }, past)
            }
            (Rows::Gathered { rows, start, pitch }, _) => {
                let row = self.b.widen(false, rows[u.row]);
                let base = self.b.mad(IntTy::S64, row, *pitch, *start);
                (Address { base, offset: (u.k * state.elem_bytes) as i32 }, past)
            }
            (Rows::Walk { .. }, Some(walk)) => {
                let ignore = self.b.reg(Class::Pred);
                let row = i64::from(u.constant - first);
                self.b.push(Op::SetIntOr {
                    cmp: Cmp::Lt,
                    ty: IntTy::S32,
                    d: ignore,
                    a: walk.left.into(),
                    b: row.into(),
                    or: past,
                });
                (Address { base: walk.pointer, offset: (u.k * state.elem_bytes) as i32 }, ignore)
            }
            (Rows::Walk { .. }, None) => unreachable!("walking rows are copied with a walk"),
        }
    }

    /// Whether the unit at `along` lies past the end; one predicate per distinct question within a straight line.
    pub fn outside(&mut self, k_left: Reg, along: u32) -> Reg {
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
}
