//! The last step: drops what nothing uses, places the coordinates of primed axes, and numbers values in program order.
//!
//! Live is what an effect needs: operands of writes and atomics, and the bounds and conditions of the loops and `if`s around them. A carried
//! variable that comes back unchanged is its initial value. Loops and `if`s without effects and without live results go.

use crate::tile::*;
use rustc_hash::FxHashMap;

pub(super) fn tidy(kernel: Kernel, beside: FxHashMap<ValueId, Vec<ValueId>>) -> Kernel {
    let mut t = Tidy::new(kernel, beside);
    t.unchanged();
    t.mark();
    t.rebuild()
}

/// The same for a kernel in which some values and axes stand for others.
pub(super) fn tidy_merged(kernel: Kernel, same: Vec<ValueId>, same_axes: Vec<AxisId>) -> Kernel {
    let mut t = Tidy { same, same_axes, ..Tidy::new(kernel, FxHashMap::default()) };
    t.unchanged();
    t.mark();
    t.rebuild()
}

struct Tidy {
    k: Kernel,
    beside: FxHashMap<ValueId, Vec<ValueId>>,
    /// What a value stands for: itself, unless a carried variable does not change.
    same: Vec<ValueId>,
    same_axes: Vec<AxisId>,
    live: Vec<bool>,
    live_loops: Vec<bool>,
    live_ifs: Vec<bool>,
    live_axes: Vec<bool>,
    work: Vec<ValueId>,
}

impl Tidy {
    fn new(k: Kernel, beside: FxHashMap<ValueId, Vec<ValueId>>) -> Tidy {
        Tidy {
            same: (0..k.values.len() as u32).map(ValueId).collect(),
            same_axes: (0..k.axes.len() as u32).map(AxisId).collect(),
            live: vec![false; k.values.len()],
            live_loops: vec![false; k.loops.len()],
            live_ifs: vec![false; k.ifs.len()],
            live_axes: vec![false; k.axes.len()],
            work: Vec::new(),
            beside,
            k,
        }
    }

    fn find(&self, mut v: ValueId) -> ValueId {
        while self.same[v.0 as usize] != v {
            v = self.same[v.0 as usize];
        }
        v
    }

    /// Carried variables and `if` results that never change are their initial values.
    fn unchanged(&mut self) {
        loop {
            let mut changed = false;
            for l in 0..self.k.loops.len() {
                for c in 0..self.k.loops[l].carried.len() {
                    let c = &self.k.loops[l].carried[c];
                    let (init, param, next, result) =
                        (self.find(c.init), c.param, self.find(c.next), c.result);
                    if self.same[param.0 as usize] == param && (next == param || next == init) {
                        self.same[param.0 as usize] = init;
                        self.same[result.0 as usize] = init;
                        changed = true;
                    }
                }
            }
            for i in 0..self.k.ifs.len() {
                for r in 0..self.k.ifs[i].results.len() {
                    let r = &self.k.ifs[i].results[r];
                    let (t, e, result) = (self.find(r.then_value), self.find(r.else_value), r.result);
                    if t == e && self.same[result.0 as usize] == result {
                        self.same[result.0 as usize] = t;
                        changed = true;
                    }
                }
            }
            if !changed {
                return;
            }
        }
    }

    // -------------------------------------------------------------------------------------------------------- liveness

    fn need(&mut self, v: ValueId) {
        let v = self.find(v);
        if !self.live[v.0 as usize] {
            self.live[v.0 as usize] = true;
            self.work.push(v);
        }
    }

    fn need_axis(&mut self, a: AxisId) {
        let a = self.same_axes[a.0 as usize];
        if !self.live_axes[a.0 as usize] {
            self.live_axes[a.0 as usize] = true;
            let Axis { lo, hi, kind, .. } = *self.k.axis(a);
            self.need(lo);
            self.need(hi);
            if let AxisKind::Primed(of) = kind {
                self.need_axis(of);
            }
        }
    }

    fn mark(&mut self) {
        let k = self.k.clone();
        self.effects(&k, &k.body);
        for g in &k.grid {
            for v in [g.var, g.lo, g.hi] {
                self.need(v);
            }
            if let Some(a) = g.axis {
                self.need_axis(a);
            }
        }
        if let Some(w) = &k.grid_when {
            self.need(w.cond);
        }
        while let Some(v) = self.work.pop() {
            self.needed_by(&k, v);
        }
    }

    /// Marks what the effects of a block need; whether it has any.
    fn effects(&mut self, k: &Kernel, b: &Block) -> bool {
        let mut any = false;
        for s in &b.stmts {
            any |= match s {
                Stmt::Let(_) => false,
                Stmt::Write(w) => {
                    w.ix.iter().chain(&w.when).chain([&w.value]).for_each(|v| self.need(*v));
                    true
                }
                Stmt::Atomic(a) => {
                    a.ix.iter().chain(&a.when).chain([&a.value]).chain(&a.old).for_each(|v| self.need(*v));
                    true
                }
                Stmt::For(l) => {
                    let inner = self.effects(k, &k.loop_(*l).body);
                    if inner {
                        self.need_loop(k, *l);
                    }
                    inner
                }
                Stmt::If(i) => {
                    let (a, b) =
                        (self.effects(k, &k.if_(*i).then_block), self.effects(k, &k.if_(*i).else_block));
                    if a || b {
                        self.need_if(k, *i);
                    }
                    a || b
                }
            };
        }
        any
    }

    fn need_loop(&mut self, k: &Kernel, l: LoopId) {
        if std::mem::replace(&mut self.live_loops[l.0 as usize], true) {
            return;
        }
        let l = k.loop_(l);
        for v in [l.var, l.lo, l.hi] {
            self.need(v);
        }
        if let Some(a) = l.axis {
            self.need_axis(a);
        }
        if let Some(w) = &l.when {
            self.need(w.cond);
        }
    }

    fn need_if(&mut self, k: &Kernel, i: IfId) {
        if !std::mem::replace(&mut self.live_ifs[i.0 as usize], true) {
            self.need(k.if_(i).cond);
        }
    }

    fn needed_by(&mut self, k: &Kernel, v: ValueId) {
        let value = k.value(v);
        for a in &value.ty.axes {
            self.need_axis(*a);
        }
        for x in value.op.operands() {
            self.need(x);
        }
        match &value.op {
            Op::LoopVar(l) => self.need_loop(k, *l),
            Op::LoopParam(l, n) | Op::LoopResult(l, n) => {
                self.need_loop(k, *l);
                let c = &k.loop_(*l).carried[*n];
                for v in [c.init, c.param, c.next, c.result] {
                    self.need(v);
                }
            }
            Op::IfResult(i, n) => {
                self.need_if(k, *i);
                let r = &k.if_(*i).results[*n];
                self.need(r.then_value);
                self.need(r.else_value);
            }
            Op::Iota(a) => self.need_axis(*a),
            Op::Reduce { axes, .. } => axes.iter().for_each(|a| self.need_axis(*a)),
            Op::TopK { axis, to, .. } => {
                self.need_axis(*axis);
                self.need_axis(*to);
            }
            _ => {}
        }
    }

    // ---------------------------------------------------------------------------------------------------------- rebuild

    fn rebuild(self) -> Kernel {
        let number = |live: &[bool]| -> Vec<u32> {
            let mut next = 0;
            let take = |l: &bool| {
                let n = next;
                next += u32::from(*l);
                n
            };
            live.iter().map(take).collect()
        };
        let mut r = Rebuild {
            axes: number(&self.live_axes),
            loops: number(&self.live_loops),
            ifs: number(&self.live_ifs),
            values: vec![None; self.k.values.len()],
            order: Vec::new(),
            t: &self,
        };
        let entry = r.block(&self.k.entry);
        let mut grid = Vec::new();
        for g in &self.k.grid {
            let block = r.block(&g.block);
            r.define(g.var);
            grid.push((block, g));
        }
        let when = self.k.grid_when.as_ref().map(|w| (r.block(&w.block), w.cond));
        // Bodies of loops are walked where they stand, so that numbers follow the program.
        let mut loops: LoopBlocks = vec![None; self.k.loops.len()];
        let mut ifs: IfBlocks = vec![None; self.k.ifs.len()];
        let body = r.body(&self.k.body, &mut loops, &mut ifs);
        let mut k = Kernel {
            values: Vec::new(),
            axes: Vec::new(),
            loops: Vec::new(),
            ifs: Vec::new(),
            entry,
            grid: grid
                .into_iter()
                .map(|(block, g)| GridVar {
                    block,
                    var: r.v(g.var),
                    axis: g.axis.map(|a| r.a(a)),
                    lo: r.v(g.lo),
                    hi: r.v(g.hi),
                    name: g.name.clone(),
                    span: g.span,
                })
                .collect(),
            grid_when: when.map(|(block, cond)| When { block, cond: r.v(cond) }),
            body,
            ..Kernel { values: Vec::new(), ..self.k.clone() }
        };
        for v in &r.order {
            let old = self.k.value(*v);
            k.values.push(Value {
                ty: TileType { elem: old.ty.elem, axes: old.ty.axes.iter().map(|a| r.a(*a)).collect() },
                op: r.op(&old.op),
                span: old.span,
                name: old.name.clone(),
            });
        }
        for (a, live) in self.k.axes.iter().zip(&self.live_axes) {
            if *live {
                let kind = match a.kind {
                    AxisKind::Loop(l) => AxisKind::Loop(r.l(l)),
                    AxisKind::Primed(of) => AxisKind::Primed(r.a(of)),
                    other => other,
                };
                k.axes.push(Axis { lo: r.v(a.lo), hi: r.v(a.hi), kind, ..a.clone() });
            }
        }
        for (l, blocks) in self.k.loops.iter().zip(loops) {
            let Some((when, body)) = blocks else { continue };
            let carried = l.carried.iter().filter(|c| self.carried_lives(c));
            k.loops.push(Loop {
                name: l.name.clone(),
                var: r.v(l.var),
                axis: l.axis.map(|a| r.a(a)),
                lo: r.v(l.lo),
                hi: r.v(l.hi),
                rev: l.rev,
                when: when.zip(l.when.as_ref()).map(|(block, w)| When { block, cond: r.v(w.cond) }),
                carried: carried
                    .map(|c| Carried {
                        name: c.name.clone(),
                        init: r.v(c.init),
                        param: r.v(c.param),
                        next: r.v(c.next),
                        result: r.v(c.result),
                        kind: c.kind,
                        span: c.span,
                    })
                    .collect(),
                body,
                full: None,
                span: l.span,
            });
        }
        for (i, blocks) in self.k.ifs.iter().zip(ifs) {
            let Some((then_block, else_block)) = blocks else { continue };
            let results = i.results.iter().filter(|x| self.live[x.result.0 as usize]);
            k.ifs.push(If {
                cond: r.v(i.cond),
                then_block,
                else_block,
                results: results
                    .map(|x| IfResult {
                        name: x.name.clone(),
                        then_value: r.v(x.then_value),
                        else_value: r.v(x.else_value),
                        result: r.v(x.result),
                    })
                    .collect(),
                span: i.span,
            });
        }
        k
    }

    fn carried_lives(&self, c: &Carried) -> bool {
        self.live[c.param.0 as usize] || self.live[c.result.0 as usize]
    }
}

/// A loop's rebuilt `when` and body, by old loop; `None` where it went.
type LoopBlocks = Vec<Option<(Option<Block>, Block)>>;
/// A conditional's rebuilt branches.
type IfBlocks = Vec<Option<(Block, Block)>>;

struct Rebuild<'t> {
    t: &'t Tidy,
    axes: Vec<u32>,
    loops: Vec<u32>,
    ifs: Vec<u32>,
    values: Vec<Option<u32>>,
    /// Old values in their new order.
    order: Vec<ValueId>,
}

impl Rebuild<'_> {
    fn define(&mut self, v: ValueId) {
        if self.t.live[v.0 as usize] && self.values[v.0 as usize].is_none() {
            self.values[v.0 as usize] = Some(self.order.len() as u32);
            self.order.push(v);
        }
    }

    /// The new id. (A live value is always defined; the fallback keeps a bug here from being a panic: the verifier then sees it.)
    fn v(&self, v: ValueId) -> ValueId {
        ValueId(self.values[self.t.find(v).0 as usize].unwrap_or(u32::MAX))
    }

    fn a(&self, a: AxisId) -> AxisId {
        AxisId(self.axes[self.t.same_axes[a.0 as usize].0 as usize])
    }

    fn l(&self, l: LoopId) -> LoopId {
        LoopId(self.loops[l.0 as usize])
    }

    fn lets(&mut self, v: ValueId, out: &mut Vec<Stmt>) {
        if self.t.live[v.0 as usize] {
            self.define(v);
            out.push(Stmt::Let(self.v(v)));
        }
        if let Some(more) = self.t.beside.get(&v) {
            for v in more {
                self.lets(*v, out);
            }
        }
    }

    /// A block of nothing but `Let`.
    fn block(&mut self, b: &Block) -> Block {
        let mut stmts = Vec::new();
        for s in &b.stmts {
            if let Stmt::Let(v) = s {
                self.lets(*v, &mut stmts);
            }
        }
        Block { stmts }
    }

    fn body(&mut self, b: &Block, loops: &mut LoopBlocks, ifs: &mut IfBlocks) -> Block {
        let mut stmts = Vec::new();
        for s in &b.stmts {
            match s {
                Stmt::Let(v) => self.lets(*v, &mut stmts),
                Stmt::Write(w) => stmts.push(Stmt::Write(Write {
                    ix: w.ix.iter().map(|v| self.v(*v)).collect(),
                    value: self.v(w.value),
                    when: w.when.map(|v| self.v(v)),
                    ..w.clone()
                })),
                Stmt::Atomic(a) => {
                    if let Some(old) = a.old {
                        self.define(old);
                    }
                    stmts.push(Stmt::Atomic(Atomic {
                        ix: a.ix.iter().map(|v| self.v(*v)).collect(),
                        value: self.v(a.value),
                        when: a.when.map(|v| self.v(v)),
                        old: a.old.map(|v| self.v(v)),
                        ..a.clone()
                    }));
                }
                Stmt::For(id) => {
                    if !self.t.live_loops[id.0 as usize] {
                        continue;
                    }
                    let t = self.t;
                    let l = t.k.loop_(*id);
                    self.define(l.var);
                    for c in &l.carried {
                        self.define(c.param);
                    }
                    let when = l.when.as_ref().map(|w| self.block(&w.block));
                    let body = self.body(&l.body, loops, ifs);
                    loops[id.0 as usize] = Some((when, body));
                    for c in &l.carried {
                        self.define(c.result);
                    }
                    stmts.push(Stmt::For(self.l(*id)));
                }
                Stmt::If(id) => {
                    if !self.t.live_ifs[id.0 as usize] {
                        continue;
                    }
                    let t = self.t;
                    let i = t.k.if_(*id);
                    let then_block = self.body(&i.then_block, loops, ifs);
                    let else_block = self.body(&i.else_block, loops, ifs);
                    ifs[id.0 as usize] = Some((then_block, else_block));
                    for x in &i.results {
                        self.define(x.result);
                    }
                    stmts.push(Stmt::If(IfId(self.ifs[id.0 as usize])));
                }
            }
        }
        Block { stmts }
    }

    fn op(&self, op: &Op) -> Op {
        match op {
            Op::LoopVar(l) => Op::LoopVar(self.l(*l)),
            Op::LoopParam(l, n) => Op::LoopParam(self.l(*l), self.slot(*l, *n)),
            Op::LoopResult(l, n) => Op::LoopResult(self.l(*l), self.slot(*l, *n)),
            Op::IfResult(i, n) => {
                let before = &self.t.k.if_(*i).results[..*n];
                let slot = before.iter().filter(|r| self.t.live[r.result.0 as usize]).count();
                Op::IfResult(IfId(self.ifs[i.0 as usize]), slot)
            }
            other => renamed(other, |x| self.v(x), |a| self.a(a)),
        }
    }

    /// The new number of a carried variable.
    fn slot(&self, l: LoopId, n: usize) -> usize {
        self.t.k.loop_(l).carried[..n].iter().filter(|c| self.t.carried_lives(c)).count()
    }
}

/// An op with other operands and axes.
pub(crate) fn renamed(op: &Op, v: impl Fn(ValueId) -> ValueId, a: impl Fn(AxisId) -> AxisId) -> Op {
    let vs = |list: &[ValueId]| list.iter().map(|x| v(*x)).collect::<Vec<_>>();
    let axs = |list: &[AxisId]| list.iter().map(|x| a(*x)).collect::<Vec<_>>();
    match op {
        Op::Const(_)
        | Op::Param(_)
        | Op::Dim(_)
        | Op::GridVar(_)
        | Op::AtomicOld
        | Op::LoopVar(_)
        | Op::LoopParam(..)
        | Op::LoopResult(..)
        | Op::IfResult(..) => op.clone(),
        Op::Iota(x) => Op::Iota(a(*x)),
        Op::Cast(x) => Op::Cast(v(*x)),
        Op::Bits(x) => Op::Bits(v(*x)),
        Op::Broadcast(x) => Op::Broadcast(v(*x)),
        Op::Unary(o, x) => Op::Unary(*o, v(*x)),
        Op::Binary(o, x, y) => Op::Binary(*o, v(*x), v(*y)),
        Op::Compare(o, x, y) => Op::Compare(*o, v(*x), v(*y)),
        Op::Select(c, x, y) => Op::Select(v(*c), v(*x), v(*y)),
        Op::Fma(x, y, z) => Op::Fma(v(*x), v(*y), v(*z)),
        Op::Reorder(x) => Op::Reorder(v(*x)),
        Op::TileRead { tile, ix } => Op::TileRead { tile: v(*tile), ix: vs(ix) },
        Op::Reduce { op, x, axes } => Op::Reduce { op: *op, x: v(*x), axes: axs(axes) },
        Op::Scan { op, x, axis, rev } => Op::Scan { op: *op, x: v(*x), axis: a(*axis), rev: *rev },
        Op::TopK { x, axis, to, part } => Op::TopK { x: v(*x), axis: a(*axis), to: a(*to), part: *part },
        Op::Sort { x, axis, part } => Op::Sort { x: v(*x), axis: a(*axis), part: *part },
        Op::Mma { a: x, b: y, contract, batch } => {
            Op::Mma { a: v(*x), b: v(*y), contract: a(*contract), batch: axs(batch) }
        }
        Op::GridReduce { op, x, vars } => Op::GridReduce { op: *op, x: v(*x), vars: vars.clone() },
        Op::Read { tensor, ix } => Op::Read { tensor: *tensor, ix: vs(ix) },
    }
}
