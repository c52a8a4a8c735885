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

impl Lower<'_> {
    pub fn emit_plain_loop(&mut self, l: &t2::Loop) -> Result<(), Refusal> {
        let left = self.loop_total(l)?;
        let left = self.b.mov(Class::B32, left);
        let lo = self.scalars.coordinate(&mut self.b, l.lo)?;
        let at = self.b.mov(Class::B32, lo);
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
        for c in &l.carry {
            for r in self.distinct(c.init) {
                let e = self.element(c.init, r)?;
                let (class, src) = self.held(e)?;
                let reg = self.b.mov(class, src);
                self.elements.insert((c.param, r), element_in(class, reg));
                state.push((*c, r, reg));
            }
        }
        let saved = self.save();
        match l.over {
            t2::Over::Tiles(axis) => {
                if let t1::AxisKind::Loop(id) = self.kernel.axis(axis).kind {
                    self.scalars.enter_loop(id, at);
                }
            }
            t2::Over::Coordinates(id) => self.scalars.enter_loop(id, at),
            t2::Over::Instances(g) => self.scalars.enter_instance(g, at),
        }
        self.b.open();
        for node in &l.body {
            match node {
                t2::Node::Op(op) => self.op(op, 0)?,
                t2::Node::Sync(s) => self.sync(s),
                t2::Node::Loop(inner) => self.emit_plain_loop(inner)?,
            }
        }
        let olds: Vec<Reg> = state.iter().map(|(_, _, r)| *r).collect();
        let mut moves = Vec::new();
        for (c, r, reg) in &state {
            let e = self.element(c.next, *r)?;
            let (class, mut src) = self.held(e)?;
            if let Src::Reg(s) = src
                && s != *reg
                && olds.contains(&s)
            {
                src = self.b.mov(class, s).into();
            }
            moves.push((*reg, src));
        }
        for (d, a) in moves {
            if a != Src::Reg(d) {
                self.b.push(Op::Mov { d, a });
            }
        }
        let copies = vec![self.b.close()];
        self.b.open();
        for (d, by) in [(left, -i64::from(l.by)), (at, i64::from(l.by))] {
            self.b.push(Op::Int { op: IntOp::Add, ty: IntTy::S32, d, a: d.into(), b: by.into() });
        }
        let advance = self.b.close();
        self.restore(saved);
        self.b.stmt(Stmt::Loop(Loop {
            name: l.name.clone(),
            left,
            by: l.by,
            copies,
            advance,
            rolled: false,
        }));
        for (c, r, reg) in state {
            let class = self.b.class(reg);
            self.elements.insert((c.result, r), element_in(class, reg));
        }
        Ok(())
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

    /// An element as what a register can hold across steps.
    fn held(&mut self, e: Element) -> Result<(Class, Src), Refusal> {
        let span = self.b.span;
        Ok(match e {
            Element::Int(s) => (Class::B32, s),
            Element::Pred(p) => (Class::Pred, p.into()),
            float => (Class::F32, self.float(float, span)?),
        })
    }
}

fn element_in(class: Class, r: Reg) -> Element {
    match class {
        Class::Pred => Element::Pred(r),
        Class::F32 => Element::F32(r.into()),
        Class::B8 | Class::B16 | Class::B32 | Class::B64 => Element::Int(r.into()),
    }
}

fn made_in(body: &[t2::Node], out: &mut Vec<t2::ValId>) {
    for node in body {
        match node {
            t2::Node::Op(op) => out.extend(op.result),
            t2::Node::Loop(l) => {
                made_in(&l.body, out);
                out.extend(l.carry.iter().flat_map(|c| [c.param, c.result]));
            }
            t2::Node::Sync(_) => {}
        }
    }
}

fn used_in(body: &[t2::Node], out: &mut Vec<t2::ValId>) {
    for node in body {
        match node {
            t2::Node::Op(op) => out.extend(uses(&op.kind)),
            t2::Node::Loop(l) => {
                used_in(&l.body, out);
                out.extend(l.carry.iter().flat_map(|c| [c.init, c.next]));
            }
            t2::Node::Sync(_) => {}
        }
    }
}
