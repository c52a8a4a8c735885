//! Register tiles from and to global memory: runs of neighbours in one access, elements combined by atomics.

use super::elements::Element;
use super::ir::*;
use super::lower::Lower;
use super::tilemap::TileMap;
use crate::plan::Refusal;
use crate::scheduled::ir as t2;
use crate::tile::ir as t1;
use t1::ElemType;

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

    /// Loads the run of elements that holds register `r`.
    pub fn read_run(
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
}
