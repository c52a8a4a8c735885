//! Loops that no pipeline reaches into: one body, carried values in registers of their own.
//!
//! What the body uses from outside is computed before the loop; what it computes is forgotten after it, but for the carried values.
//! Those move at the end of a step, all at once: a carried value that becomes another's old value goes through a copy.

use super::elements::Element;
use super::ir::*;
use super::lower::Lower;
use crate::plan::Refusal;
use crate::scheduled::ir as t2;
use crate::scheduled::verify::uses;
use crate::tile::ir as t1;
use rustc_hash::FxHashMap;

/// Registers that a loop over instances carries at a time.
const PIECE: usize = 32;

impl Lower<'_> {
    /// A loop, or several in a row that carry a piece of the state each: where every element stands for itself, a loop over what other
    /// instances have put needs registers for a piece only, and the loads of one step are enough to hide their latency.
    pub fn emit_plain_loop(&mut self, l: &t2::Loop) -> Result<(), Refusal> {
        let mut carried: Vec<(t2::Carry, usize)> = Vec::new();
        for c in &l.carry {
            carried.extend(self.distinct(c.init).into_iter().map(|r| (*c, r)));
        }
        let instances = matches!(l.over, t2::Over::Instances(_));
        let piece = if instances && l.body.iter().all(element_by_element) { PIECE } else { carried.len() };
        if carried.len() <= piece {
            self.emit_piece(l, &l.name, &carried)?;
        } else {
            for (n, piece) in carried.chunks(piece).enumerate() {
                self.emit_piece(l, &format!("{}_{n}", l.name), piece)?;
            }
        }
        for c in &l.carry {
            self.publish(c.result)?;
        }
        Ok(())
    }

    /// The loop with only these elements of what it carries.
    fn emit_piece(
        &mut self,
        l: &t2::Loop,
        name: &str,
        carried: &[(t2::Carry, usize)],
    ) -> Result<(), Refusal> {
        let left = self.loop_total(l)?;
        let left = self.b.mov(Class::B32, left);
        let at = self.first_coordinate(l, left)?;
        let mut made = Vec::new();
        made_in(&l.body, &mut made);
        made.extend(l.carry.iter().map(|c| c.param));
        let mut used = Vec::new();
        used_in(&l.body, &mut used);
        used.extend(l.carry.iter().map(|c| c.next));
        for v in used.into_iter().filter(|v| !made.contains(v)) {
            self.force(v)?;
        }
        let mut state: Vec<(t2::Carry, usize, Reg)> = Vec::new();
        for (c, r) in carried {
            let e = self.element(c.init, *r)?;
            let (class, src) = self.held(e)?;
            state.push((*c, *r, self.b.mov(class, src)));
        }
        let (by, saved) = (i64::from(l.by), self.save());
        let step = if l.rev { -by } else { by };
        let mut copies = Vec::new();
        for copy in 0..l.unroll {
            if copy > 0 {
                self.restore(saved.clone());
            }
            copies.push(self.plain_step(l, &state, at)?);
            if copy + 1 < l.unroll
                && let Some(list) = copies.last_mut()
            {
                self.b.open();
                self.b.push(Op::Int { op: IntOp::Add, ty: IntTy::S32, d: at, a: at.into(), b: step.into() });
                list.extend(self.b.close());
            }
        }
        self.b.open();
        for (d, by) in [(left, -by * i64::from(l.unroll)), (at, step)] {
            self.b.push(Op::Int { op: IntOp::Add, ty: IntTy::S32, d, a: d.into(), b: by.into() });
        }
        let advance = self.b.close();
        self.restore(saved);
        self.b.stmt(Stmt::Loop(Loop {
            name: name.into(),
            left,
            until: None,
            by: l.by,
            copies,
            advance,
            // Unrolled, the parts of several instances would want registers at once.
            rolled: matches!(l.over, t2::Over::Instances(_)),
        }));
        for (c, r, reg) in state {
            let e = self.element_in(c.result, reg);
            self.elements.insert((c.result, r), e);
        }
        Ok(())
    }

    /// One copy of the body: the carried values' registers hold the step's, and after it the next one's.
    fn plain_step(
        &mut self,
        l: &t2::Loop,
        state: &[(t2::Carry, usize, Reg)],
        at: Reg,
    ) -> Result<Vec<Stmt>, Refusal> {
        for (c, r, reg) in state {
            let e = self.element_in(c.param, *reg);
            self.elements.insert((c.param, *r), e);
        }
        match l.over {
            t2::Over::Tiles(axis) => {
                if let t1::AxisKind::Loop(id) = self.kernel.axis(axis).kind {
                    self.scalars.enter_loop(id, at);
                }
            }
            t2::Over::Coordinates(id) => self.scalars.enter_loop(id, at),
            t2::Over::Instances(g) => {
                self.scalars.enter_instance(g, at);
                (self.rows, self.exists) = (FxHashMap::default(), FxHashMap::default());
                self.parts.clear();
            }
        }
        self.b.open();
        for c in &l.carry {
            self.publish(c.param)?;
        }
        self.nested(&l.body)?;
        self.hand_on(state)?;
        Ok(self.b.close())
    }

    /// The coordinate of the first trip: `lo`, or backwards the last multiple of the step above it; `left` is `hi - lo`.
    fn first_coordinate(&mut self, l: &t2::Loop, left: Reg) -> Result<Reg, Refusal> {
        let lo = self.scalars.coordinate(&mut self.b, l.lo)?;
        if !l.rev {
            return Ok(self.b.mov(Class::B32, lo));
        }
        let last = self.b.add(left, -1);
        let by = i64::from(l.by);
        let first = if l.by.is_power_of_two() {
            self.b.and(last, -by)
        } else {
            let over = self.b.int(IntOp::Rem, IntTy::S32, last, by);
            self.b.int(IntOp::Sub, IntTy::S32, last, over)
        };
        Ok(self.b.add(first, lo))
    }

    /// Computes every element of a tile here.
    pub fn force(&mut self, v: t2::ValId) -> Result<(), Refusal> {
        if matches!(self.module.value(v).kind, t2::ValKind::Tile { .. }) {
            for r in self.distinct(v) {
                self.element(v, r)?;
            }
        }
        Ok(())
    }

    /// Tells the scalars of the structure where the tile is that data decided; called where it is made.
    pub fn publish(&mut self, v: t2::ValId) -> Result<(), Refusal> {
        let module = self.module;
        for (scalar, _) in module.uniforms.iter().filter(|(_, of)| *of == v) {
            let span = self.kernel.value(*scalar).span;
            match self.element(v, 0)? {
                Element::Int(s) => {
                    let r = self.in_register(s, Class::B32);
                    self.scalars.learn(*scalar, r);
                }
                _ => return Err(Refusal::construct(span, "a bound or position that is no integer")),
            }
        }
        Ok(())
    }

    /// An element as what a register can hold across steps.
    pub fn held(&mut self, e: Element) -> Result<(Class, Src), Refusal> {
        let span = self.b.span;
        Ok(match e {
            Element::Int(s) | Element::Code(_, s) => (Class::B32, s),
            Element::Long(s) => (Class::B64, s),
            Element::Pred(p) => (Class::Pred, p.into()),
            float => (Class::F32, self.float(float, span)?),
        })
    }

    /// The class of a register that holds an element of the tile.
    pub fn class_held(&self, v: t2::ValId) -> Class {
        match &self.module.value(v).kind {
            t2::ValKind::Tile { elem: t1::ElemType::Bool, .. } => Class::Pred,
            t2::ValKind::Tile { elem: t1::ElemType::Small { .. } | t1::ElemType::E8m0, .. } => Class::B32,
            t2::ValKind::Tile { elem, .. } => super::reductions::class_of(*elem),
            _ => Class::B32,
        }
    }

    /// What [`held`](Self::held) put into a register, as an element of the tile.
    pub fn element_in(&self, v: t2::ValId, r: Reg) -> Element {
        match self.class_held(v) {
            Class::Pred => Element::Pred(r),
            Class::F32 => Element::F32(r.into()),
            Class::B64 => Element::Long(r.into()),
            Class::B8 | Class::B16 | Class::B32 => match &self.module.value(v).kind {
                t2::ValKind::Tile {
                    elem: elem @ (t1::ElemType::Small { .. } | t1::ElemType::E8m0), ..
                } => Element::Code(*elem, r.into()),
                _ => Element::Int(r.into()),
            },
        }
    }
}

/// Whether an op makes each element of its result from the same element of its operands, when it is asked for.
fn element_by_element(node: &t2::Node) -> bool {
    use t2::OpKind::{Combine, Elementwise, Share, Spread, WorkGet};
    let t2::Node::Op(op) = node else { return false };
    matches!(op.kind, Combine { .. } | Elementwise { .. } | Share { .. } | Spread { .. } | WorkGet { .. })
}

pub fn made_in(body: &[t2::Node], out: &mut Vec<t2::ValId>) {
    for node in body {
        match node {
            t2::Node::Op(op) => out.extend(op.result),
            t2::Node::Loop(l) => {
                made_in(&l.body, out);
                out.extend(l.carry.iter().flat_map(|c| [c.param, c.result]));
            }
            t2::Node::If(i) => {
                made_in(&i.then_body, out);
                made_in(&i.else_body, out);
                out.extend(i.merges.iter().map(|m| m.result));
            }
            t2::Node::Sync(_) => {}
        }
    }
}

pub fn used_in(body: &[t2::Node], out: &mut Vec<t2::ValId>) {
    for node in body {
        match node {
            t2::Node::Op(op) => out.extend(uses(&op.kind)),
            t2::Node::Loop(l) => {
                used_in(&l.body, out);
                out.extend(l.carry.iter().flat_map(|c| [c.init, c.next]));
            }
            t2::Node::If(i) => {
                out.push(i.cond);
                used_in(&i.then_body, out);
                used_in(&i.else_body, out);
                out.extend(i.merges.iter().flat_map(|m| [m.then_value, m.else_value]));
            }
            t2::Node::Sync(_) => {}
        }
    }
}
