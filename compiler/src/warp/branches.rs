//! Conditionals on values that all threads of the block agree on.
//!
//! What an arm uses from outside is computed before the branch, and what it computes is forgotten after it, but for the merged values:
//! those have registers of their own, which both arms set at their end. A barrier may stand in an arm: the block goes one way.

use super::elements::Element;
use super::ir::*;
use super::lower::Lower;
use crate::plan::Refusal;
use crate::scheduled::ir as t2;

impl Lower<'_> {
    pub fn emit_if(&mut self, i: &t2::If) -> Result<(), Refusal> {
        self.b.span = i.span;
        let arms = [&i.then_body, &i.else_body];
        let (mut made, mut used) = (Vec::new(), Vec::new());
        for body in arms {
            super::plain_loop::made_in(body, &mut made);
            super::plain_loop::used_in(body, &mut used);
        }
        used.extend(i.merges.iter().flat_map(|m| [m.then_value, m.else_value]));
        for v in used.into_iter().filter(|v| !made.contains(v)) {
            self.force(v)?;
        }
        let cond = match self.element(i.cond, 0)? {
            Element::Pred(p) => p,
            _ => return Err(Refusal::construct(i.span, "a condition that is no bool")),
        };
        let mut merged: Vec<(t2::Merge, usize, Reg)> = Vec::new();
        for m in &i.merges {
            let class = self.class_held(m.result);
            for r in self.distinct(m.result) {
                merged.push((*m, r, self.b.reg(class)));
            }
        }
        let mut bodies = Vec::new();
        for (n, body) in arms.into_iter().enumerate() {
            let saved = self.save();
            self.b.open();
            self.nested(body)?;
            let mut moves = Vec::new();
            for (m, r, d) in &merged {
                let e = self.element(if n == 0 { m.then_value } else { m.else_value }, *r)?;
                let (_, a) = self.held(e)?;
                moves.push(Op::Mov { d: *d, a });
            }
            moves.into_iter().for_each(|op| self.b.push(op));
            bodies.push(self.b.close());
            self.restore(saved);
        }
        if let (Some(else_body), Some(then_body)) = (bodies.pop(), bodies.pop()) {
            self.b.stmt(Stmt::If(If { cond, then_body, else_body }));
        }
        for (m, r, reg) in &merged {
            let e = self.element_in(m.result, *reg);
            self.elements.insert((m.result, *r), e);
        }
        for m in &i.merges {
            self.publish(m.result)?;
        }
        Ok(())
    }
}
