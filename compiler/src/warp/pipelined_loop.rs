//! Pipelined loops: a body once per slot of the ring, so that every slot is a constant, and what is carried in registers from step to step.
//!
//! **Full steps.** Where a mask is affine, most steps have nothing to mask, and the planner says which (`full`). The loop then becomes up to three,
//! one behind the other, with the same counters, pointers and registers; copies run ahead across the seams:
//! ```text
//! while left > total - a        masked: a window's near edge
//! while left > total - b        full: conditions that hold are not computed, nor whether lanes exist
//! while left > 0                masked: what is left
//! ```
//! a and b are whole turns, so that the seam is at slot 0. What is masked may be done
//! without need; what is full may not be masked.

use super::build::Builder;
use super::elements::given;
use super::grouped::Grouped;
use super::ir::*;
use super::lower::{Copy, Lower, Saved};
use crate::plan::{Refusal, cover};
use crate::scheduled::ir as t2;
use crate::tile::ir as t1;

/// What the turns of a loop have in common.
#[derive(Clone, Copy)]
struct Step<'a> {
    l: &'a t2::Loop,
    left: Reg,
    grouped: &'a [Grouped],
    state: &'a [(t2::Carry, usize, Reg)],
    /// What was known before the loop.
    saved: &'a Saved,
}

/// A loop that fills a ring.
pub fn copies_in(l: &t2::Loop) -> bool {
    let copies =
        |kind: &t2::OpKind| matches!(kind, t2::OpKind::CopyIn { .. } | t2::OpKind::CopyPacked { .. });
    l.is_pipeline() && l.body.iter().any(|n| matches!(n, t2::Node::Op(op) if copies(&op.kind)))
}

/// The first loop of these that fills a ring.
pub fn filling(nodes: &[t2::Node]) -> Option<&t2::Loop> {
    nodes.iter().find_map(|n| match n {
        t2::Node::Loop(l) if copies_in(l) => Some(l),
        _ => None,
    })
}

/// Whether a node belongs to a loop that fills a ring: it is the loop, or runs ahead of it.
pub fn begins(node: &t2::Node) -> bool {
    match node {
        t2::Node::Op(op) => matches!(op.iter, t2::Iter::Const(_)),
        t2::Node::Loop(l) => copies_in(l),
        _ => false,
    }
}

/// A node that moves operands and multiplies them, whatever exists of them.
fn only_multiplies(node: &t2::Node) -> bool {
    use t2::OpKind::*;
    match node {
        t2::Node::Op(op) => matches!(
            op.kind,
            Acquire { .. }
                | CopyIn { .. }
                | Commit { .. }
                | Wait { .. }
                | Load { .. }
                | AccNew { .. }
                | AccFrom { .. }
                | Mma { .. }
                | AccGet { .. }
                | Release { .. }
        ),
        t2::Node::Sync(_) => true,
        t2::Node::Loop(_) | t2::Node::If(_) => false,
    }
}

/// A node that makes elements.
fn computes(node: &t2::Node) -> bool {
    use t2::OpKind::{Elementwise, LoadPacked, ReadReg, Spread};
    matches!(
        node,
        t2::Node::Op(t2::Op {
            kind: Elementwise { .. } | LoadPacked { .. } | ReadReg { .. } | Spread { .. },
            ..
        })
    )
}

impl Lower<'_> {
    /// `hi - lo` of the loop as a fresh register.
    pub fn loop_total(&mut self, l: &t2::Loop) -> Result<Reg, Refusal> {
        let hi = self.scalars.coordinate(&mut self.b, l.hi)?;
        let lo = self.scalars.coordinate(&mut self.b, l.lo)?;
        Ok(match (hi, lo) {
            (hi, Src::Int(0)) => self.b.mov(Class::B32, hi),
            (Src::Reg(hi), lo) => self.b.int(IntOp::Sub, IntTy::S32, hi, lo),
            (hi, lo) => {
                let hi = self.b.mov(Class::B32, hi);
                self.b.int(IntOp::Sub, IntTy::S32, hi, lo)
            }
        })
    }

    /// Coordinates of the loop's range from its start on: where the loop ends before the range does, copies go on.
    pub fn range_total(&mut self, l: &t2::Loop) -> Result<Reg, Refusal> {
        let shared = matches!(self.module.dispatch, t2::Dispatch::Stream(_));
        match l.axis().map(|a| self.kernel.axis(a).hi).filter(|hi| *hi != l.hi && !shared) {
            Some(hi) => self.loop_total(&t2::Loop { hi, ..l.clone() }),
            None => self.loop_total(l),
        }
    }

    pub fn emit_loop(&mut self, l: &t2::Loop) -> Result<(), Refusal> {
        let left = self.loop_total(l)?;
        let outside = self.outside_loop.take();
        let grouped = self.prepare_grouped(l)?;
        if !grouped.is_empty() {
            let some = self.b.set_int(Cmp::Gt, IntTy::S32, left, 0);
            let lo = self.scalars.coordinate(&mut self.b, l.lo)?;
            let lo = self.in_register(lo, Class::B32);
            self.read_before(&grouped, some)?;
            self.read_ahead(&grouped.iter().collect::<Vec<_>>(), lo, false, Some(some))?;
        }
        let state = self.carried_tiles(l)?;
        self.factors(&l.body)?;
        for node in &l.body {
            if let t2::Node::Op(t2::Op {
                kind: kind @ t2::OpKind::Load { .. }, result: Some(result), ..
            }) = node
            {
                self.prepare_load(kind, *result);
            }
        }
        let saved = self.save();
        self.outside_loop = Some(saved.clone());
        let step = Step { l, left, grouped: &grouped, state: &state, saved: &saved };
        let masks = |full: &&t1::Full| {
            grouped.is_empty()
                && !l.body.iter().all(only_multiplies)
                && !(full.holds.is_empty() && l.axis().is_some_and(|a| cover::always_full(self.kernel, a)))
        };
        if let Some(full) = l.full.as_ref().filter(masks) {
            let (first, last) = self.full_part(l, left, full)?;
            if let Some(until) = first {
                self.turns(&step, Some(until))?;
            }
            self.assumed.extend(full.holds.iter().copied());
            self.whole = l.axis();
            self.turns(&step, Some(last))?;
            self.assumed.clear();
            self.whole = None;
        }
        self.turns(&step, None)?;
        self.restore(saved);
        self.outside_loop = outside;
        for (c, r, reg) in state {
            let e = self.element_in(c.result, reg);
            self.elements.insert((c.result, r), e);
        }
        Ok(())
    }

    /// Computes the launch's scalars that a body uses: once, and not in every copy of it.
    fn factors(&mut self, body: &[t2::Node]) -> Result<(), Refusal> {
        for node in body {
            match node {
                t2::Node::Op(t2::Op { kind: t2::OpKind::Elementwise { value, .. }, .. }) => {
                    for x in self.kernel.value(*value).op.operands() {
                        let computed = self.kernel.ty(x).is_scalar() && given(self.kernel, x);
                        if computed && !matches!(self.kernel.value(x).op, t1::Op::Const(_) | t1::Op::Dim(_)) {
                            self.scalar_element(x)?;
                        }
                    }
                }
                t2::Node::If(i) => {
                    self.factors(&i.then_body)?;
                    self.factors(&i.else_body)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What is left where the turns that nothing masks begin, unless they do at once, and where they end.
    fn full_part(
        &mut self,
        l: &t2::Loop,
        total: Reg,
        full: &t1::Full,
    ) -> Result<(Option<Reg>, Reg), Refusal> {
        let turn = i64::from(l.unroll * l.by);
        let lo = self.scalars.coordinate(&mut self.b, l.lo)?;
        let b = &mut self.b;
        let whole_turns = |b: &mut Builder, n: Reg| {
            let odd = match turn.count_ones() {
                1 => b.int(IntOp::And, IntTy::B32, n, turn - 1),
                _ => b.int(IntOp::Rem, IntTy::S32, n, turn),
            };
            b.int(IntOp::Sub, IntTy::S32, n, odd)
        };
        let some = b.int(IntOp::Max, IntTy::S32, total, 0);
        let most = whole_turns(b, some);
        let mut begins = None;
        if let Some(from) = full.from {
            let from = self.scalars.coordinate(&mut self.b, from)?;
            let from = self.in_register(from, Class::B32);
            let b = &mut self.b;
            let past = b.int(IntOp::Sub, IntTy::S32, from, lo);
            let past = b.int(IntOp::Max, IntTy::S32, past, 0);
            let past = b.int(IntOp::Min, IntTy::S32, past, most);
            let past = b.add(past, turn - 1);
            begins = Some(whole_turns(b, past));
        }
        let to = self.scalars.coordinate(&mut self.b, full.to)?;
        let to = self.in_register(to, Class::B32);
        let b = &mut self.b;
        let end = b.int(IntOp::Sub, IntTy::S32, to, lo);
        let end = b.int(IntOp::Max, IntTy::S32, end, 0);
        let end = b.int(IntOp::Min, IntTy::S32, end, most);
        let mut end = whole_turns(b, end);
        let mut first = None;
        if let Some(begins) = begins {
            end = b.int(IntOp::Max, IntTy::S32, end, begins);
            first = Some(b.int(IntOp::Sub, IntTy::S32, total, begins));
        }
        Ok((first, b.int(IntOp::Sub, IntTy::S32, total, end)))
    }

    /// Turns of the loop: to its end, or whole ones until so much is left.
    fn turns(&mut self, step: &Step<'_>, until: Option<Reg>) -> Result<(), Refusal> {
        let Step { l, left, grouped, state, saved } = *step;
        let computes = l.body.iter().any(computes);
        let mut copies = Vec::new();
        for copy in 0..l.unroll {
            self.outside.clear();
            self.b.open();
            if computes {
                // What a step computes is the step's own.
                let fresh = self.begin(grouped, l, copy);
                self.enter_copy(saved, grouped, &fresh);
                let at = self.enter_step(l, left, copy)?;
                self.take_over(&fresh, at)?;
                if let Some(at) = at {
                    self.read_ahead(&fresh, at, true, None)?;
                }
            }
            for (c, r, reg) in state {
                let e = self.element_in(c.param, *reg);
                self.elements.insert((c.param, *r), e);
            }
            for node in &l.body {
                match node {
                    t2::Node::Op(op) => self.op(op, copy)?,
                    t2::Node::Sync(s) => self.sync(s),
                    t2::Node::If(i) => {
                        self.turn = copy;
                        self.emit_if(i)?;
                        self.turn = 0;
                    }
                    t2::Node::Loop(l) => {
                        let what = format!("the loop `{}` in a pipelined loop", l.name);
                        return Err(Refusal::construct(self.kernel.span, what));
                    }
                }
            }
            self.hand_on(state)?;
            copies.push(self.b.close());
        }
        // These turns may be none.
        self.restore(saved.clone());
        self.outside.clear();
        let advance = self.advance(l, left);
        let (name, by) = (l.name.clone(), l.by);
        self.b.stmt(Stmt::Loop(Loop { name, left, until, by, copies, advance, rolled: false }));
        Ok(())
    }

    /// What moves once per turn: counters, and the pointers of copies.
    fn advance(&mut self, l: &t2::Loop, left: Reg) -> Vec<Stmt> {
        let turn = l.unroll * l.by;
        self.b.open();
        let mut counters: Vec<Reg> = self.copies.iter().map(|(_, c)| c.k_left()).collect();
        counters.push(left);
        counters.sort_unstable();
        counters.dedup();
        for c in counters {
            let by = i64::from(turn);
            self.b.push(Op::Int { op: IntOp::Sub, ty: IntTy::S32, d: c, a: c.into(), b: by.into() });
        }
        let states = std::mem::take(&mut self.copies);
        for (_, state) in &states {
            match state {
                Copy::Along(state) => self.advance_copy(state, turn),
                Copy::Packed(state) => self.advance_packed(state, turn),
                Copy::Across(_) => {}
            }
        }
        self.copies = states;
        self.b.close()
    }

    /// Registers for what a pipelined loop carries beside accumulators, holding what it starts from.
    fn carried_tiles(&mut self, l: &t2::Loop) -> Result<Vec<(t2::Carry, usize, Reg)>, Refusal> {
        let accumulator =
            |v: t2::ValId| matches!(self.module.value(v).kind, t2::ValKind::Tile { acc: true, .. });
        let carries: Vec<t2::Carry> = l.carry.iter().copied().filter(|c| !accumulator(c.init)).collect();
        if carries.is_empty() {
            return Ok(Vec::new());
        }
        // What a step uses from outside is computed here, and what follows may use it, too.
        let (mut made, mut used) = (Vec::new(), Vec::new());
        super::plain_loop::made_in(&l.body, &mut made);
        super::plain_loop::used_in(&l.body, &mut used);
        made.extend(l.carry.iter().map(|c| c.param));
        for v in used.into_iter().filter(|v| !made.contains(v)) {
            self.force(v)?;
        }
        let mut state = Vec::new();
        for c in carries {
            for r in self.distinct(c.init) {
                let e = self.element(c.init, r)?;
                let (class, src) = self.held(e)?;
                state.push((c, r, self.b.mov(class, src)));
            }
        }
        Ok(state)
    }

    /// At the end of a step what is carried moves, all at once.
    pub fn hand_on(&mut self, state: &[(t2::Carry, usize, Reg)]) -> Result<(), Refusal> {
        let olds: Vec<Reg> = state.iter().map(|(_, _, r)| *r).collect();
        let mut moves = Vec::new();
        for (c, r, reg) in state {
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
        Ok(())
    }

    /// At the start of a copy only what held before the loop is known, and what groups have that go on from the copy before.
    fn enter_copy(&mut self, saved: &Saved, grouped: &[Grouped], fresh: &[&Grouped]) {
        let lasting =
            |v: t2::ValId| grouped.iter().any(|g| g.tile == v) && !fresh.iter().any(|g| g.tile == v);
        let mut elements = std::mem::take(&mut self.elements);
        elements.retain(|(v, _), _| lasting(*v));
        let mut pairs = std::mem::take(&mut self.pairs);
        pairs.retain(|(v, ..), _| lasting(*v));
        let (addends, products) = (std::mem::take(&mut self.addends), std::mem::take(&mut self.products));
        let mut integers = std::mem::take(&mut self.integers);
        integers.retain(|(v, ..), _| lasting(*v));
        self.restore(saved.clone());
        self.elements.extend(elements);
        self.integers = integers;
        (self.pairs, self.addends, self.products) = (pairs, addends, products);
    }

    /// The loop's coordinate in a copy of the step.
    fn enter_step(&mut self, l: &t2::Loop, left: Reg, copy: u32) -> Result<Option<Reg>, Refusal> {
        let Some(t1::AxisKind::Loop(id)) = l.axis().map(|a| self.kernel.axis(a).kind) else {
            return Ok(None);
        };
        let hi = self.scalars.coordinate(&mut self.b, l.hi)?;
        let hi = match hi {
            Src::Reg(hi) => hi,
            imm => self.b.mov(Class::B32, imm),
        };
        let at = self.b.int(IntOp::Sub, IntTy::S32, hi, left);
        let at = match copy * l.by {
            0 => at,
            ahead => self.b.add(at, i64::from(ahead)),
        };
        self.scalars.enter_loop(id, at);
        Ok(Some(at))
    }
}
