//! Register tiles from and to global memory: runs of neighbours in one access, elements combined by atomics.

use super::elements::Element;
use super::ir::*;
use super::lower::Lower;
use super::tilemap::TileMap;
use crate::plan::Refusal;
use crate::scheduled::ir as t2;
use crate::tile::ir as t1;
use std::rc::Rc;
use t1::ElemType;

/// The accesses that load a tile: the registers of each, and which loads a register.
pub struct Runs {
    runs: Vec<Vec<usize>>,
    of: Vec<Option<usize>>,
}

impl Lower<'_> {
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
        let mut always = self.one_holder(&map);
        for g in once {
            let g = self.kernel.grid_var(*g);
            let at = self.scalars.coordinate(&mut self.b, g.var)?;
            let lo = self.scalars.coordinate(&mut self.b, g.lo)?;
            let at = self.in_register(at, Class::B32);
            let first = self.b.set_int(Cmp::Eq, IntTy::B32, at, lo);
            always = self.both(always, Some(first));
        }
        if !elem.bits().is_multiple_of(8) {
            return self.write_bits(*tensor, ix, *value, always);
        }
        let runs = map.runs(last.unwrap_or(0), if last.is_some() { most } else { 1 });
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
            self.access(*tensor, guard, Op::StoreGlobal { a, to });
        }
        Ok(())
    }

    /// Combines each element into global memory; every thread its own, equal ones once. `old` gets what was there.
    pub fn emit_atomic(
        &mut self,
        op: t1::Combine,
        tensor: t1::TensorId,
        ix: &[t2::Index],
        value: t2::ValId,
        when: Option<t2::ValId>,
        old: Option<t2::ValId>,
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
            let a = self.stored(elem, &[e], span)?[0];
            let class = self.b.class(a);
            let d =
                old.map(|_| self.b.mov(class, if class == Class::F32 { Src::F32(0.0) } else { Src::Int(0) }));
            let ty = match elem {
                ElemType::F32 => AtomicTy::F32,
                ElemType::Int(64) => AtomicTy::S64,
                ElemType::Uint(64) => AtomicTy::U64,
                e if e.is_signed() => AtomicTy::S32,
                _ => AtomicTy::U32,
            };
            if elem == ElemType::F32 && op != t1::Combine::Add {
                self.float_extreme(op, a, to, guard, d);
            } else {
                self.b.guarded(guard.map(|g| (g, true)), Op::RedGlobal { op, ty, a, to, old: d });
            }
            if let (Some(old), Some(d)) = (old, d) {
                let e = self.element_in(old, d);
                self.elements.insert((old, r), e);
            }
        }
        Ok(())
    }

    /// The greatest or least of floats as integers: those with a clear sign ascend as signed integers, the others descend as unsigned
    /// ones. A NaN changes nothing.
    fn float_extreme(&mut self, op: t1::Combine, a: Reg, to: Address, guard: Option<Reg>, old: Option<Reg>) {
        let number = self.b.reg(Class::Pred);
        self.b.push(Op::SetFloat { cmp: Cmp::Eq, d: number, a: a.into(), b: a.into() });
        let guard = self.both(guard, Some(number));
        let bits = self.b.mov(Class::B32, a);
        let before = old.map(|_| self.b.mov(Class::B32, 0));
        let other = if op == t1::Combine::Max { t1::Combine::Min } else { t1::Combine::Max };
        for (cmp, op, ty) in [(Cmp::Ge, op, AtomicTy::S32), (Cmp::Lt, other, AtomicTy::U32)] {
            let sign = self.b.set_int(cmp, IntTy::S32, bits, 0);
            let guard = self.both(guard, Some(sign));
            let op = Op::RedGlobal { op, ty, a: bits, to, old: before };
            self.b.guarded(guard.map(|g| (g, true)), op);
        }
        if let (Some(old), Some(before)) = (old, before) {
            self.b.push(Op::Mov { d: old, a: before.into() });
        }
    }

    /// The registers that one access each loads, of a tile read from a tensor; found once per tile.
    fn runs(&mut self, tensor: t1::TensorId, ix: &[t2::Index], v: t2::ValId, vec: u32) -> Rc<Runs> {
        if let Some(runs) = self.runs.get(&v) {
            return runs.clone();
        }
        let (_, axes) = self.tile(v);
        let map = self.map(v);
        let elem = self.kernel.tensor(tensor).elem;
        let last =
            ix.last().and_then(|i| self.neighbours_along(i)).and_then(|a| axes.iter().position(|x| *x == a));
        // One register per distinct element, so that runs see each once.
        let distinct = self.distinct(v);
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
        let mut of = vec![None; map.registers];
        let runs: Vec<Vec<usize>> =
            runs.iter().map(|run| run.iter().map(|q| distinct[*q]).collect()).collect();
        for (n, run) in runs.iter().enumerate() {
            run.iter().for_each(|r| of[*r] = Some(n));
        }
        let runs = Rc::new(Runs { runs, of });
        self.runs.insert(v, runs.clone());
        runs
    }

    /// The axis along which a subscript's coordinates are neighbours: its own, or that of `k % 8`.
    fn neighbours_along(&self, index: &t2::Index) -> Option<t1::AxisId> {
        let in_turns = |t| match self.producers.get(&t) {
            Some(t2::OpKind::Elementwise { value, .. }) => self.kernel.in_turns(*value).map(|(axis, _)| axis),
            _ => None,
        };
        index.axis.or_else(|| index.tile.and_then(in_turns))
    }

    /// Whether subscripts are inside only where lanes of this axis exist. Codes of a packed tile are codes beyond its tensor, too, and what they
    /// look up there is dropped like everything that such lanes have.
    fn bounds(&self, ix: &[t2::Index], axis: t1::AxisId) -> bool {
        ix.iter().any(|i| match i.tile {
            Some(tile) => self.tile(tile).1.contains(&axis) && !self.of_codes(tile),
            None => i.axis == Some(axis),
        })
    }

    /// Whether a tile is computed from packed codes and places in a turn alone.
    fn of_codes(&self, tile: t2::ValId) -> bool {
        match self.producers.get(&tile) {
            Some(t2::OpKind::LoadPacked { .. }) => true,
            Some(t2::OpKind::Elementwise { value, args }) => {
                let position = matches!(self.kernel.value(*value).op, t1::Op::Iota(_));
                self.turning(tile).is_some() || !position && args.iter().all(|x| self.of_codes(*x))
            }
            _ => false,
        }
    }

    /// Loads the run of elements that holds register `r`.
    pub fn read_run(
        &mut self,
        tensor: t1::TensorId,
        ix: &[t2::Index],
        v: t2::ValId,
        r: usize,
        vec: u32,
    ) -> Result<(), Refusal> {
        let t2::ValKind::Tile { axes, .. } = &self.module.value(v).kind else {
            unreachable!("T2.1: a read makes a register tile");
        };
        let elem = self.kernel.tensor(tensor).elem;
        let span = self.kernel.tensor(tensor).span;
        if !elem.bits().is_multiple_of(8) || matches!(elem, ElemType::Bipolar(_)) {
            let e = self.read_bits(tensor, ix, v, r)?;
            self.elements.insert((v, r), e);
            return Ok(());
        }
        let runs = self.runs(tensor, ix, v, vec);
        let Some(run) = runs.of[r].map(|n| &runs.runs[n]) else {
            unreachable!("the register that stands for others is the first of its element");
        };
        let map = self.map(v);
        let bounded: Vec<t1::AxisId> = axes.iter().copied().filter(|a| self.bounds(ix, *a)).collect();
        let mut guard = self.existing(&bounded, axes, &map, run[0])?;
        let inside = self.inside(tensor, ix, v, run[0])?;
        guard = self.both(guard, inside);
        let from = self.global_address(tensor, ix, v, run[0])?;
        self.b.policy = self.policies.get(&tensor).copied();
        let elements = self.loaded(elem, run.len(), from, guard, span)?;
        self.b.policy = None;
        for (q, e) in run.iter().zip(elements) {
            self.elements.insert((v, *q), e);
        }
        Ok(())
    }
}
