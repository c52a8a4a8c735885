//! Loops and conditionals of kernels without matrix instructions, and the scalars that they depend on.
//!
//! A loop or instance with `when` is the same with a conditional around its body: the condition is reduced to one bool over all
//! its elements, on which all threads of the block agree.
//!
//! ```text
//! for k over K by 32 when k >= lo { acc += … }
//!     for k in 0..K by 32 carry %acc { %c = >= … ; %some = reduce Any %c over k
//!                                      %next = if %some { … yield %acc.1 } else { yield %acc } }
//! ```
//! Bounds and positions that data decides (`off[b]..off[b + 1]`, `col[t] * 64..L by 64`) are tiles without axes; [`Module::uniforms`] says
//! which, so that addresses find them.

use super::access::structural;
use super::general::General;
use super::refuse::Refusal;
use crate::diagnostics::Span;
use crate::scheduled::ir::*;
use crate::tile::ir as t1;

impl General<'_> {
    fn open(&mut self) {
        self.ranks.clear();
        self.open.push(Vec::new());
    }

    fn close(&mut self) -> Vec<Node> {
        self.ranks.clear();
        self.open.pop().unwrap_or_default()
    }

    pub(super) fn node(&mut self, node: Node) {
        if let Some(list) = self.open.last_mut() {
            list.push(node);
        }
    }

    /// Makes sure that the structure's arithmetic finds this scalar.
    pub fn uniform(&mut self, v: t1::ValueId) -> Result<(), Refusal> {
        if structural(self.kernel, v) || !self.kernel.ty(v).is_scalar() {
            return Ok(());
        }
        let id = self.value(v)?;
        if !self.module.uniforms.contains(&(v, id)) {
            self.module.uniforms.push((v, id));
        }
        Ok(())
    }

    /// The whole kernel, of which instances that no element wants do not run.
    pub fn instance(&mut self) -> Result<(), Refusal> {
        let kernel = self.kernel;
        let Some(when) = &kernel.grid_when else { return self.body(kernel.body.stmts.iter()) };
        self.block(&when.block)?;
        let cond = self.some(when.cond)?;
        self.open();
        self.body(kernel.body.stmts.iter())?;
        let then_body = self.close();
        let span = kernel.span;
        self.node(Node::If(If { cond, then_body, else_body: Vec::new(), merges: Vec::new(), span }));
        Ok(())
    }

    /// Whether a condition holds for some element.
    pub(super) fn some(&mut self, cond: t1::ValueId) -> Result<ValId, Refusal> {
        let value = self.value(cond)?;
        let axes = self.kernel.ty(cond).axes.clone();
        if axes.is_empty() {
            return Ok(value);
        }
        let ty = t1::TileType::scalar(t1::ElemType::Bool);
        self.reduction(t1::ReduceOp::Any, value, &axes, ty, "some".into(), self.kernel.value(cond).span)
    }

    pub fn for_(&mut self, id: t1::LoopId) -> Result<(), Refusal> {
        if let Some(plan) = self.products.filter(|p| p.found.loops.contains(&id)) {
            return self.product_loop(plan, id);
        }
        let l = self.kernel.loop_(id);
        let (over, by) = match l.axis {
            Some(axis) => (Over::Tiles(axis), self.kernel.axis(axis).extent),
            None => (Over::Coordinates(id), 1),
        };
        self.uniform(l.lo)?;
        self.uniform(l.hi)?;
        let mut carry = Vec::new();
        for c in &l.carried {
            let init = self.tile_of(c.init, c.result)?;
            let ty = self.kernel.ty(c.result).clone();
            let param = self.tile(ty.elem, &ty.axes, format!("{}.in", c.name), c.span)?;
            self.values.insert(c.param, param);
            carry.push((init, param));
        }
        self.open();
        let mut when = None;
        if let Some(w) = &l.when {
            self.block(&w.block)?;
            when = Some(self.some(w.cond)?);
            self.open();
        }
        self.block(&l.body)?;
        let mut nexts = Vec::new();
        for c in &l.carried {
            nexts.push(self.tile_of(c.next, c.result)?);
        }
        if super::contraction::multiplies(self.kernel, &l.body) {
            // The rings of the loops in this one begin anew.
            self.push(OpKind::ItemDone { next: None }, None, l.span);
        }
        if let Some(cond) = when {
            let then_body = self.close();
            let mut merges = Vec::new();
            for ((c, next), (_, param)) in l.carried.iter().zip(&mut nexts).zip(&carry) {
                let ty = self.kernel.ty(c.result).clone();
                let result = self.tile(ty.elem, &ty.axes, format!("{}.next", c.name), c.span)?;
                merges.push(Merge { then_value: *next, else_value: *param, result });
                *next = result;
            }
            self.node(Node::If(If { cond, then_body, else_body: Vec::new(), merges, span: l.span }));
        }
        let mut done = Vec::new();
        for ((c, next), (init, param)) in l.carried.iter().zip(nexts).zip(carry) {
            let ty = self.kernel.ty(c.result).clone();
            let result = self.tile(ty.elem, &ty.axes, c.name.clone(), c.span)?;
            done.push((c.result, Carry { init, param, next, result }));
        }
        let body = self.close();
        let carry = done.iter().map(|(_, c)| *c).collect();
        self.values.extend(done.iter().map(|(v, c)| (*v, c.result)));
        self.node(Node::Loop(Loop {
            name: l.name.clone(),
            over,
            lo: l.lo,
            hi: l.hi,
            by,
            rev: l.rev,
            carry,
            body,
            ahead: 0,
            unroll: self.unroll.get(&l.name).copied().unwrap_or(1),
            full: None,
        }));
        Ok(())
    }

    pub fn if_(&mut self, id: t1::IfId) -> Result<(), Refusal> {
        let i = self.kernel.if_(id);
        let cond = self.value(i.cond)?;
        let mut arms = Vec::new();
        for (n, block) in [&i.then_block, &i.else_block].into_iter().enumerate() {
            self.open();
            self.block(block)?;
            let mut yields = Vec::new();
            for r in &i.results {
                yields.push(self.tile_of(if n == 0 { r.then_value } else { r.else_value }, r.result)?);
            }
            arms.push((self.close(), yields));
        }
        let (Some((else_body, else_values)), Some((then_body, then_values))) = (arms.pop(), arms.pop())
        else {
            unreachable!("two arms were made");
        };
        let mut merges = Vec::new();
        for ((r, then_value), else_value) in i.results.iter().zip(then_values).zip(else_values) {
            let ty = self.kernel.ty(r.result).clone();
            let result = self.tile(ty.elem, &ty.axes, r.name.clone(), i.span)?;
            merges.push(Merge { then_value, else_value, result });
            self.values.insert(r.result, result);
        }
        self.node(Node::If(If { cond, then_body, else_body, merges, span: i.span }));
        Ok(())
    }

    /// The value in the layout of `like`'s axes.
    pub fn tile_of(&mut self, v: t1::ValueId, like: t1::ValueId) -> Result<ValId, Refusal> {
        let id = self.value(v)?;
        let axes = self.kernel.ty(like).axes.clone();
        self.spread(id, v, &axes, self.kernel.value(v).span)
    }

    /// The tile of `v` on these axes.
    pub fn spread(
        &mut self,
        id: ValId,
        v: t1::ValueId,
        axes: &[t1::AxisId],
        span: Span,
    ) -> Result<ValId, Refusal> {
        let ty = self.kernel.ty(v).clone();
        if ty.axes == axes {
            return Ok(id);
        }
        let spread = self.tile(ty.elem, axes, format!("{}.spread", self.module.value(id).name), span)?;
        self.push(OpKind::Spread { x: id }, Some(spread), span);
        Ok(spread)
    }
}
