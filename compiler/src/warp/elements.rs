//! What follows the loop, element by element: each stored run of elements is computed where it is stored, so that few values live
//! at a time. Floats of every width are f32 in registers; a conversion to a narrower type rounds when its result is used, by the
//! store's own conversion where that is the only use.

use super::ir::*;
use super::lower::Lower;
use super::tilemap::TileMap;
use crate::plan::Refusal;
use crate::plan::access::launch_scalar;
use crate::scheduled::ir as t2;
use crate::tile::ir as t1;
use t1::{BinaryOp, CmpOp, ElemType, UnaryOp};

/// One element in registers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Element {
    F32(Src),
    /// An f32 that counts as rounded to the format.
    Half(Half, Src),
    Int(Src),
    Pred(Reg),
}

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

    /// Stores a register tile, in runs of neighbours along the last subscript.
    pub fn emit_write(&mut self, kind: &t2::OpKind) -> Result<(), Refusal> {
        let t2::OpKind::WriteReg { tensor, ix, value, vec, when, once } = kind else {
            unreachable!("called for writes");
        };
        let t2::ValKind::Tile { axes, .. } = &self.module.value(*value).kind else {
            unreachable!("T2.1: only register tiles are written");
        };
        let map = self.map(*value);
        let last = ix.last().and_then(|i| i.axis).and_then(|a| axes.iter().position(|x| *x == a));
        let elem = self.kernel.tensor(*tensor).elem;
        let most = (16 / (elem.bits() / 8).max(1)).min(*vec);
        let runs = map.runs(last.unwrap_or(0), if last.is_some() { most } else { 1 });
        let mut always = self.one_holder(&map);
        for g in once {
            let g = self.kernel.grid_var(*g);
            let at = self.scalars.coordinate(&mut self.b, g.var)?;
            let lo = self.scalars.coordinate(&mut self.b, g.lo)?;
            let at = self.in_register(at, Class::B32);
            let first = self.b.set_int(Cmp::Eq, IntTy::B32, at, lo);
            always = self.both(always, Some(first));
        }
        for run in runs {
            let elements =
                run.iter().map(|r| self.element(*value, *r)).collect::<Result<Vec<_>, Refusal>>()?;
            let mut guard = self.existing(axes, axes, &map, run[0])?;
            guard = self.both(guard, always);
            if let Some(c) = when {
                let r = self.counterpart(*value, run[0], *c);
                if let Element::Pred(p) = self.element(*c, r)? {
                    guard = self.both(guard, Some(p));
                }
            }
            let inside = self.inside(*tensor, ix, *value, run[0])?;
            guard = self.both(guard, inside);
            let to = self.global_address(*tensor, ix, *value, run[0])?;
            let a = self.stored(elem, &elements, self.kernel.tensor(*tensor).span)?;
            self.b.guarded(guard.map(|g| (g, true)), Op::StoreGlobal { a, to });
        }
        Ok(())
    }

    /// Threads that hold the same elements as another store them not.
    fn one_holder(&mut self, map: &TileMap) -> Option<Reg> {
        let idle = (0..map.axes.first().map_or(self.thread_bits(), |m| m.thread.len()))
            .filter(|b| map.axes.iter().all(|m| m.thread[*b] == 0))
            .fold(0, |mask, b| mask | 1 << b);
        self.first_of(idle)
    }

    /// Combines each element into global memory; every thread its own, equal ones once.
    pub fn emit_atomic(
        &mut self,
        op: t1::Combine,
        tensor: t1::TensorId,
        ix: &[t2::Index],
        value: t2::ValId,
        when: Option<t2::ValId>,
    ) -> Result<(), Refusal> {
        let t2::ValKind::Tile { axes, .. } = &self.module.value(value).kind else {
            unreachable!("T2.1: only register tiles are written");
        };
        let elem = self.kernel.tensor(tensor).elem;
        let span = self.kernel.tensor(tensor).span;
        let map = self.map(value);
        let holder = self.one_holder(&map);
        for r in self.distinct(value) {
            let e = self.element(value, r)?;
            let mut guard = self.existing(axes, axes, &map, r)?;
            guard = self.both(guard, holder);
            if let Some(c) = when {
                let q = self.counterpart(value, r, c);
                if let Element::Pred(p) = self.element(c, q)? {
                    guard = self.both(guard, Some(p));
                }
            }
            let inside = self.inside(tensor, ix, value, r)?;
            guard = self.both(guard, inside);
            let to = self.global_address(tensor, ix, value, r)?;
            let a = self.stored(elem, &[e], span)?;
            let ty = match elem {
                ElemType::F32 => AtomicTy::F32,
                e if e.is_signed() => AtomicTy::S32,
                _ => AtomicTy::U32,
            };
            self.b.guarded(guard.map(|g| (g, true)), Op::RedGlobal { op, ty, a: a[0], to });
        }
        Ok(())
    }

    fn both(&mut self, p: Option<Reg>, q: Option<Reg>) -> Option<Reg> {
        match (p, q) {
            (Some(p), Some(q)) => Some(self.b.pred_and(p, q)),
            (p, q) => p.or(q),
        }
    }

    /// Bits of a thread's number.
    fn thread_bits(&self) -> usize {
        self.module.threads().trailing_zeros() as usize
    }

    /// The register of tile `of` that holds the element at the coordinates of register `r` of tile `v`, whose axes include `of`'s.
    pub fn counterpart(&mut self, v: t2::ValId, r: usize, of: t2::ValId) -> usize {
        if v == of {
            return r;
        }
        let (mv, mo) = (self.map(v), self.map(of));
        let axes = |id: t2::ValId| match &self.module.value(id).kind {
            t2::ValKind::Tile { axes, .. } => &axes[..],
            _ => &[],
        };
        let (av, ao) = (axes(v), axes(of));
        let wanted: Vec<(usize, u32)> = ao
            .iter()
            .enumerate()
            .filter_map(|(n, a)| av.iter().position(|x| x == a).map(|at| (n, mv.axes[at].register[r])))
            .collect();
        (0..mo.registers).find(|q| wanted.iter().all(|(n, c)| mo.axes[*n].register[*q] == *c)).unwrap_or(0)
    }

    /// Elements as registers of the tensor's type.
    fn stored(
        &mut self,
        elem: ElemType,
        elements: &[Element],
        span: crate::diagnostics::Span,
    ) -> Result<Vec<Reg>, Refusal> {
        let half = match elem {
            ElemType::F16 => Some(Half::F16),
            ElemType::Bf16 => Some(Half::Bf16),
            ElemType::F32 | ElemType::Int(32) | ElemType::Uint(32) => None,
            other => return Err(Refusal::construct(span, format!("storing {other}"))),
        };
        if let Some(to) = half {
            let src = |e: &Element| match *e {
                Element::F32(s) | Element::Half(_, s) | Element::Int(s) => s,
                Element::Pred(r) => Src::Reg(r),
            };
            if let [one] = elements {
                let d = self.b.reg(Class::B16);
                self.b.push(Op::ToHalf { to, d, a: src(one) });
                return Ok(vec![d]);
            }
            return Ok(elements
                .chunks(2)
                .map(|pair| {
                    let d = self.b.reg(Class::B32);
                    self.b.push(Op::PackHalf { to, d, lo: src(&pair[0]), hi: src(&pair[1]) });
                    d
                })
                .collect());
        }
        elements
            .iter()
            .map(|e| match *e {
                Element::F32(s) => Ok(self.in_register(s, Class::F32)),
                Element::Half(..) => {
                    let s = self.float(*e, span)?;
                    Ok(self.in_register(s, Class::F32))
                }
                Element::Int(s) => Ok(self.in_register(s, Class::B32)),
                Element::Pred(_) => Err(Refusal::construct(span, "storing bool")),
            })
            .collect()
    }

    pub fn in_register(&mut self, s: Src, class: Class) -> Reg {
        match s {
            Src::Reg(r) => r,
            imm => self.b.mov(class, imm),
        }
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
            if !padded && self.always_full(*axis) {
                continue;
            }
            let key = (*axis, constant, true);
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

    /// Whether every lane of the axis exists in every instance: a constant domain that its tiles divide.
    fn always_full(&self, axis: t1::AxisId) -> bool {
        let a = self.kernel.axis(axis);
        let lo = match self.kernel.value(a.lo).op {
            t1::Op::GridVar(g) => self.kernel.grid_var(g).lo,
            t1::Op::LoopVar(l) => self.kernel.loop_(l).lo,
            _ => a.lo,
        };
        match (self.kernel.const_int(lo), self.kernel.const_int(a.hi)) {
            (Some(lo), Some(hi)) => hi > lo && (hi - lo) % i64::from(a.extent) == 0,
            _ => false,
        }
    }

    /// Whether checked subscripts stay inside the tensor at register `r` of tile `v`; `None` where none is checked.
    fn inside(
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
    fn subscript(&mut self, index: &t2::Index, v: t2::ValId, r: usize) -> Result<Src, Refusal> {
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
    fn global_address(
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
        let mut key: Vec<(usize, u32)> = Vec::new();
        for (dim, i) in ix.iter().enumerate() {
            match (i.tile, part(i)) {
                (Some(tile), _) => key.push((dim, self.counterpart(v, r, tile) as u32)),
                (None, Some(m)) if dim + 1 < ix.len() => key.push((dim, m.register[r])),
                _ => {}
            }
        }
        let base = match self.rows.get(&(tensor, key.clone())) {
            Some(base) => *base,
            None => {
                let mut base = self.scalars.pointer(tensor)?;
                for (dim, index) in ix.iter().enumerate() {
                    base = self.along(tensor, dim, index, v, r, base)?;
                }
                self.rows.insert((tensor, key), base);
                base
            }
        };
        let column = match ix.last() {
            Some(i) if i.tile.is_none() => part(i).map_or(0, |m| m.register[r]),
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
        let last = dim + 1 == self.kernel.tensor(tensor).shape.len();
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

    /// The element in register `r` of a tile; elements that several registers share are computed once.
    pub fn element(&mut self, v: t2::ValId, r: usize) -> Result<Element, Refusal> {
        let map = self.map(v);
        let r = (0..=r).find(|q| map.axes.iter().all(|m| m.register[*q] == m.register[r])).unwrap_or(r);
        if let Some(e) = self.elements.get(&(v, r)) {
            return Ok(*e);
        }
        let Some(kind) = self.producers.get(&v).cloned() else {
            unreachable!("T2.1: every value has one producer");
        };
        let e = match &kind {
            t2::OpKind::AccGet { acc } => {
                let x = self.accumulator(*acc, map.registers)[r];
                if self.b.class(x) == Class::F32 { Element::F32(x.into()) } else { Element::Int(x.into()) }
            }
            t2::OpKind::Spread { x } => {
                let q = self.counterpart(v, r, *x);
                self.element(*x, q)?
            }
            t2::OpKind::Elementwise { value, .. } if launch_scalar(self.kernel, *value) => {
                self.scalar_element(*value)?
            }
            t2::OpKind::Elementwise { value, args } => {
                let mut tiles = args.iter();
                let mut operands = Vec::new();
                for x in self.kernel.value(*value).op.operands() {
                    operands.push(if launch_scalar(self.kernel, x) {
                        self.scalar_element(x)?
                    } else {
                        match tiles.next() {
                            Some(t) => {
                                let q = self.counterpart(v, r, *t);
                                self.element(*t, q)?
                            }
                            None => unreachable!("one tile argument per operand that is no launch scalar"),
                        }
                    });
                }
                self.elementwise(*value, &operands, v, r)?
            }
            t2::OpKind::ReadReg { tensor, ix, vec, .. } => {
                self.read_run(*tensor, ix, v, &map, r, *vec)?;
                self.elements[&(v, r)]
            }
            other => unreachable!("{} makes no register tile after the loop", other.label()),
        };
        self.elements.insert((v, r), e);
        Ok(e)
    }

    /// Loads the run of elements that holds register `r`.
    fn read_run(
        &mut self,
        tensor: t1::TensorId,
        ix: &[t2::Index],
        v: t2::ValId,
        map: &TileMap,
        r: usize,
        vec: u32,
    ) -> Result<(), Refusal> {
        let t2::ValKind::Tile { axes, .. } = &self.module.value(v).kind else {
            unreachable!("T2.1: a read makes a register tile");
        };
        let axes = axes.clone();
        let elem = self.kernel.tensor(tensor).elem;
        let span = self.kernel.tensor(tensor).span;
        let last = ix.last().and_then(|i| i.axis).and_then(|a| axes.iter().position(|x| *x == a));
        // One register per distinct element, so that runs see each once.
        let distinct: Vec<usize> = (0..map.registers)
            .filter(|q| !(0..*q).any(|p| map.axes.iter().all(|m| m.register[p] == m.register[*q])))
            .collect();
        let small = TileMap {
            axes: map
                .axes
                .iter()
                .map(|m| super::tilemap::AxisMap {
                    thread: m.thread.clone(),
                    register: distinct.iter().map(|q| m.register[*q]).collect(),
                })
                .collect(),
            registers: distinct.len(),
        };
        let most = (16 / (elem.bits() / 8).max(1)).min(vec);
        let runs = small.runs(last.unwrap_or(0), if last.is_some() { most } else { 1 });
        let Some(run) = runs.iter().find(|run| run.iter().any(|q| distinct[*q] == r)) else {
            unreachable!("runs cover every register");
        };
        let run: Vec<usize> = run.iter().map(|q| distinct[*q]).collect();
        let mut guard = self.existing(&axes, &axes, map, run[0])?;
        let inside = self.inside(tensor, ix, v, run[0])?;
        guard = self.both(guard, inside);
        let from = self.global_address(tensor, ix, v, run[0])?;
        let half = match elem {
            ElemType::F16 => Some(Half::F16),
            ElemType::Bf16 => Some(Half::Bf16),
            ElemType::F32 | ElemType::Int(32) | ElemType::Uint(32) => None,
            other => return Err(Refusal::construct(span, format!("reading {other} in an epilogue"))),
        };
        let class = match (half, run.len()) {
            (Some(_), 1) => Class::B16,
            (Some(_), _) => Class::B32,
            (None, _) if elem == ElemType::F32 => Class::F32,
            (None, _) => Class::B32,
        };
        let count = if half.is_some() { run.len().div_ceil(2) } else { run.len() };
        let d: Vec<Reg> = (0..count)
            .map(|_| self.b.mov(class, if class == Class::F32 { Src::F32(0.0) } else { Src::Int(0) }))
            .collect();
        self.b.guarded(guard.map(|g| (g, true)), Op::LoadGlobal { d: d.clone(), from });
        let Some(half) = half else {
            for (q, d) in run.iter().zip(d) {
                let e = if elem == ElemType::F32 { Element::F32(d.into()) } else { Element::Int(d.into()) };
                self.elements.insert((v, *q), e);
            }
            return Ok(());
        };
        let mut halves = Vec::new();
        if run.len() == 1 {
            halves.push(d[0]);
        } else {
            for a in d {
                let (lo, hi) = (self.b.reg(Class::B16), self.b.reg(Class::B16));
                self.b.push(Op::Split16 { lo, hi, a });
                halves.extend([lo, hi]);
            }
        }
        for (q, a) in run.iter().zip(halves) {
            let d = self.b.reg(Class::F32);
            self.b.push(Op::FromHalf { from: half, d, a });
            self.elements.insert((v, *q), Element::F32(d.into()));
        }
        Ok(())
    }

    fn scalar_element(&mut self, v: t1::ValueId) -> Result<Element, Refusal> {
        let value = self.kernel.value(v);
        match &value.op {
            t1::Op::Const(t1::Const::Float(f)) => Ok(Element::F32(Src::F32(*f as f32))),
            t1::Op::Const(t1::Const::Int(i)) if value.ty.elem.is_float() => {
                Ok(Element::F32(Src::F32(*i as f32)))
            }
            t1::Op::Const(t1::Const::Int(i)) => Ok(Element::Int(Src::Int(*i as i64))),
            t1::Op::Param(s) => match (self.scalars.scalar_param(*s), value.ty.elem) {
                (Some(r), ElemType::F32) => Ok(Element::F32(r.into())),
                (Some(r), ElemType::Int(32) | ElemType::Uint(32)) => Ok(Element::Int(r.into())),
                _ => Err(Refusal::construct(value.span, format!("a scalar of type {}", value.ty.elem))),
            },
            op if op.is_elementwise() => {
                crate::plan::elementwise::check(self.kernel, v)?;
                let operands = op
                    .operands()
                    .into_iter()
                    .map(|x| self.scalar_element(x))
                    .collect::<Result<Vec<_>, _>>()?;
                self.compute(v, &operands)
            }
            _ if value.ty.elem == ElemType::Index => {
                let s = self.scalars.coordinate(&mut self.b, v)?;
                Ok(Element::Int(s))
            }
            _ => Err(Refusal::construct(value.span, "this scalar")),
        }
    }

    fn elementwise(
        &mut self,
        v: t1::ValueId,
        operands: &[Element],
        tile: t2::ValId,
        r: usize,
    ) -> Result<Element, Refusal> {
        if let t1::Op::Iota(axis) = self.kernel.value(v).op {
            let map = self.map(tile);
            let position = self.axis_position(axis, &map.axes[0].thread)?;
            let c = map.axes[0].register[r];
            let at = if c == 0 { position } else { self.b.add(position, i64::from(c)) };
            return Ok(Element::Int(at.into()));
        }
        self.compute(v, operands)
    }

    /// A float operand as f32, rounded where a conversion said so.
    pub fn float(&mut self, e: Element, span: crate::diagnostics::Span) -> Result<Src, Refusal> {
        match e {
            Element::F32(s) => Ok(s),
            Element::Half(half, s) => {
                let h = self.b.reg(Class::B16);
                self.b.push(Op::ToHalf { to: half, d: h, a: s });
                let d = self.b.reg(Class::F32);
                self.b.push(Op::FromHalf { from: half, d, a: h });
                Ok(d.into())
            }
            Element::Int(_) | Element::Pred(_) => Err(Refusal::construct(span, "this mixture of types")),
        }
    }

    fn compute(&mut self, v: t1::ValueId, operands: &[Element]) -> Result<Element, Refusal> {
        let value = self.kernel.value(v);
        let (elem, span) = (value.ty.elem, value.span);
        let op = value.op.clone();
        let mismatch = || Refusal::construct(span, "this elementwise operation");
        match op {
            t1::Op::Broadcast(_) => Ok(operands[0]),
            t1::Op::Cast(x) => self.cast(operands[0], self.kernel.ty(x).elem, elem, span),
            t1::Op::Unary(op, _) => self.unary(op, operands[0], elem, span),
            t1::Op::Fma(..) => {
                let (x, y, z) = (
                    self.float(operands[0], span)?,
                    self.float(operands[1], span)?,
                    self.float(operands[2], span)?,
                );
                Ok(Element::F32(self.b.fma(x, y, z).into()))
            }
            t1::Op::Binary(op, ..) => self.binary(op, operands[0], operands[1], elem, span),
            t1::Op::Compare(op, x, _) => {
                let cmp = match op {
                    CmpOp::Eq => Cmp::Eq,
                    CmpOp::Ne => Cmp::Ne,
                    CmpOp::Lt => Cmp::Lt,
                    CmpOp::Le => Cmp::Le,
                    CmpOp::Gt => Cmp::Gt,
                    CmpOp::Ge => Cmp::Ge,
                };
                match (operands[0], operands[1]) {
                    (Element::Int(x_src), Element::Int(y)) => {
                        let ty = if self.kernel.ty(x).elem.is_signed() { IntTy::S32 } else { IntTy::U32 };
                        let x = self.in_register(x_src, Class::B32);
                        Ok(Element::Pred(self.b.set_int(cmp, ty, x, y)))
                    }
                    (x, y) => {
                        let (x, y) = (self.float(x, span)?, self.float(y, span)?);
                        let d = self.b.reg(Class::Pred);
                        self.b.push(Op::SetFloat { cmp, d, a: x, b: y });
                        Ok(Element::Pred(d))
                    }
                }
            }
            t1::Op::Select(..) => {
                let Element::Pred(p) = operands[0] else { return Err(mismatch()) };
                match (operands[1], operands[2]) {
                    (Element::Int(a), Element::Int(b)) => {
                        let d = self.b.reg(Class::B32);
                        self.b.push(Op::Select { d, a, b, p });
                        Ok(Element::Int(d.into()))
                    }
                    (a, b) => {
                        let (a, b) = (self.float(a, span)?, self.float(b, span)?);
                        let d = self.b.reg(Class::F32);
                        self.b.push(Op::Select { d, a, b, p });
                        Ok(Element::F32(d.into()))
                    }
                }
            }
            _ => Err(mismatch()),
        }
    }

    fn cast(
        &mut self,
        e: Element,
        from: ElemType,
        to: ElemType,
        span: crate::diagnostics::Span,
    ) -> Result<Element, Refusal> {
        let half = match to {
            ElemType::F16 => Some(Half::F16),
            ElemType::Bf16 => Some(Half::Bf16),
            _ => None,
        };
        match (e, to) {
            (Element::Int(s), t) if t.is_float() => {
                let a = self.in_register(s, Class::B32);
                let d = self.b.reg(Class::F32);
                self.b.push(Op::IntToFloat { signed: from.is_signed(), d, a });
                Ok(half.map_or(Element::F32(d.into()), |h| Element::Half(h, d.into())))
            }
            (Element::Int(s), _) => Ok(Element::Int(s)),
            (e, t) if t.is_float() => {
                let s = self.float(e, span)?;
                Ok(half.map_or(Element::F32(s), |h| Element::Half(h, s)))
            }
            (e, ElemType::Int(32) | ElemType::Uint(32)) => {
                let s = self.float(e, span)?;
                let a = self.in_register(s, Class::F32);
                let d = self.b.reg(Class::B32);
                self.b.push(Op::FloatToInt { signed: to.is_signed(), d, a });
                Ok(Element::Int(d.into()))
            }
            _ => Err(Refusal::construct(span, format!("the conversion of {from} to {to}"))),
        }
    }

    fn unary(
        &mut self,
        op: UnaryOp,
        e: Element,
        elem: ElemType,
        span: crate::diagnostics::Span,
    ) -> Result<Element, Refusal> {
        match (op, e) {
            (UnaryOp::Not, Element::Pred(a)) => {
                let d = self.b.reg(Class::Pred);
                self.b.push(Op::PredNot { d, a });
                return Ok(Element::Pred(d));
            }
            (UnaryOp::Neg, Element::Int(s)) => {
                let zero = self.b.mov(Class::B32, 0);
                return Ok(Element::Int(self.b.int(IntOp::Sub, IntTy::S32, zero, s).into()));
            }
            (UnaryOp::Abs, Element::Int(s)) => {
                let a = self.in_register(s, Class::B32);
                if !elem.is_signed() {
                    return Ok(Element::Int(a.into()));
                }
                let zero = self.b.mov(Class::B32, 0);
                let n = self.b.int(IntOp::Sub, IntTy::S32, zero, a);
                return Ok(Element::Int(self.b.int(IntOp::Max, IntTy::S32, a, n).into()));
            }
            (UnaryOp::BitNot, Element::Int(s)) => {
                let a = self.in_register(s, Class::B32);
                return Ok(Element::Int(self.b.xor(a, -1).into()));
            }
            _ => {}
        }
        let x = self.float(e, span)?;
        let ln2 = Src::F32(std::f32::consts::LN_2);
        let f = match op {
            UnaryOp::Neg => FloatFn::Neg,
            UnaryOp::Abs => FloatFn::Abs,
            UnaryOp::Exp2 => FloatFn::Ex2,
            UnaryOp::Log2 => FloatFn::Lg2,
            UnaryOp::Sqrt => FloatFn::Sqrt,
            UnaryOp::Rsqrt => FloatFn::Rsqrt,
            UnaryOp::Floor => FloatFn::Floor,
            UnaryOp::Ceil => FloatFn::Ceil,
            UnaryOp::Round => FloatFn::Round,
            UnaryOp::Trunc => FloatFn::Trunc,
            UnaryOp::Exp | UnaryOp::Erf | UnaryOp::Tanh => {
                let x = self.in_register(x, Class::F32);
                let y = match op {
                    UnaryOp::Exp => self.exp(x),
                    UnaryOp::Erf => self.erf(x),
                    _ => self.tanh(x),
                };
                return Ok(Element::F32(y.into()));
            }
            UnaryOp::Log => {
                let log = self.b.float_fn(FloatFn::Lg2, x);
                return Ok(Element::F32(self.b.float(FloatOp::Mul, log, ln2).into()));
            }
            _ => return Err(Refusal::construct(span, format!("`{}`", op.name()))),
        };
        Ok(Element::F32(self.b.float_fn(f, x).into()))
    }

    /// Quotient and remainder by a positive constant, rounded down.
    fn floored(&mut self, x: Reg, by: i64, ty: IntTy) -> (Reg, Reg) {
        if by.count_ones() == 1 {
            let quotient = self.b.int(IntOp::Shr, ty, x, i64::from(by.trailing_zeros()));
            return (quotient, self.b.and(x, by - 1));
        }
        let q = self.b.int(IntOp::Div, ty, x, by);
        let back = self.b.int(IntOp::MulLo, ty, q, by);
        let rest = self.b.int(IntOp::Sub, ty, x, back);
        if ty == IntTy::U32 {
            return (q, rest);
        }
        // The machine rounds towards zero: where that leaves a negative rest, the quotient is one less.
        let negative = self.b.int(IntOp::Shr, IntTy::S32, rest, 31);
        let q = self.b.add(q, negative);
        let up = self.b.and(negative, by);
        (q, self.b.add(rest, up))
    }

    fn binary(
        &mut self,
        op: BinaryOp,
        x: Element,
        y: Element,
        elem: ElemType,
        span: crate::diagnostics::Span,
    ) -> Result<Element, Refusal> {
        let refuse = || Refusal::construct(span, format!("`{}` of {elem}", op.name()));
        match (x, y) {
            (Element::Pred(a), Element::Pred(b)) => {
                let d = self.b.reg(Class::Pred);
                self.b.push(match op {
                    BinaryOp::And | BinaryOp::Min => Op::PredAnd { d, a, b },
                    BinaryOp::Or | BinaryOp::Max => Op::PredOr { d, a, b },
                    BinaryOp::Xor => Op::PredXor { d, a, b },
                    _ => return Err(refuse()),
                });
                Ok(Element::Pred(d))
            }
            (Element::Int(x), Element::Int(y)) => {
                let ty = if elem.is_signed() { IntTy::S32 } else { IntTy::U32 };
                if let (BinaryOp::Div | BinaryOp::Rem, Src::Int(by)) = (op, y) {
                    let x = self.in_register(x, Class::B32);
                    let (quotient, rest) = self.floored(x, by, ty);
                    return Ok(Element::Int(if op == BinaryOp::Div { quotient } else { rest }.into()));
                }
                let (op, ty) = match op {
                    BinaryOp::Shl => (IntOp::Shl, IntTy::B32),
                    BinaryOp::Shr => (IntOp::Shr, ty),
                    BinaryOp::Add => (IntOp::Add, ty),
                    BinaryOp::Sub => (IntOp::Sub, ty),
                    BinaryOp::Mul => (IntOp::MulLo, ty),
                    BinaryOp::Min => (IntOp::Min, ty),
                    BinaryOp::Max => (IntOp::Max, ty),
                    BinaryOp::And => (IntOp::And, IntTy::B32),
                    BinaryOp::Or => (IntOp::Or, IntTy::B32),
                    BinaryOp::Xor => (IntOp::Xor, IntTy::B32),
                    _ => return Err(refuse()),
                };
                let x = self.in_register(x, Class::B32);
                Ok(Element::Int(self.b.int(op, ty, x, y).into()))
            }
            (x, y) => {
                let (x, y) = (self.float(x, span)?, self.float(y, span)?);
                let op = match op {
                    BinaryOp::Add => FloatOp::Add,
                    BinaryOp::Sub => FloatOp::Sub,
                    BinaryOp::Mul => FloatOp::Mul,
                    BinaryOp::Min => FloatOp::Min,
                    BinaryOp::Max => FloatOp::Max,
                    BinaryOp::Div => FloatOp::Div,
                    _ => return Err(refuse()),
                };
                Ok(Element::F32(self.b.float(op, x, y).into()))
            }
        }
    }
}
