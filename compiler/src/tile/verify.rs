//! The verifier of T1. Elaboration must never produce what it refuses: a finding is a bug of ours, not the user's.
//!
//! Invariants, by number (those of the IR reference, and where they are checked):
//! - **T1.1** Operand types and axes fit the operation: elementwise operands are on subsets of the result's axes, reductions drop
//!   exactly their axes, `@` contracts one axis that both have, a read's axes are those of its subscripts in order of first appearance.
//! - **T1.2** An axis has 1..=2^20 lanes, a tile at most 2^20 elements; a type's axes are distinct.
//! - **T1.3** Subscripts are integers, one per dimension; an axis is used only where its `lo` and `hi` are defined.
//! - **T1.4** A carried variable has one type at entry, parameter, back edge and result; so have an `if`'s results.
//! - **T1.5** Only statements have effects: a `when`, the entry block and the grid's bounds write nothing.
//! - **T1.6** The parameter of an `assoc` loop variable is used only as the left operand of its own combination, or handed through an inner `if` or
//!   `assoc` loop of the same operation.
//! - **T1.7** (Segments of a loop: ordered, disjoint, covering.) T1 has none before mask analysis; nothing to check yet.
//! - **T1.8** Each written element has one writer in the grid: elaboration refuses what it can decide, the evaluator reports the rest. Here:
//!   writes go to writable tensors, and no write depends on a grid variable that its place does not (see [`Write::once_over`]).
//! - **T1.9** Every value has a span inside a file (not the default one) unless it is a scalar that the launch or structure gives.
//! - **Order** Every value is defined exactly once, before its uses, in a block that encloses them.

use super::ir::*;

/// All violations, as text; empty is well.
pub fn verify(kernel: &Kernel) -> Vec<String> {
    let mut v = Verifier {
        k: kernel,
        defined: vec![0; kernel.values.len()],
        live: vec![false; kernel.values.len()],
        scope: Vec::new(),
        findings: Vec::new(),
    };
    v.ids();
    if v.findings.is_empty() {
        v.kernel();
    }
    v.findings
}

/// Most elements of a tile and lanes of an axis.
pub const MAX_TILE: u64 = 1 << 20;

struct Verifier<'a> {
    k: &'a Kernel,
    /// How often each value was defined.
    defined: Vec<u32>,
    live: Vec<bool>,
    /// Values to un-define when the block ends.
    scope: Vec<ValueId>,
    findings: Vec<String>,
}

impl Verifier<'_> {
    fn fail(&mut self, rule: &str, text: String) {
        self.findings.push(format!("{rule}: {text}"));
    }

    fn show(&self, v: ValueId) -> String {
        let value = self.k.value(v);
        let name = value.name.as_deref().unwrap_or("");
        format!("%{}{}{name} = {:?}", v.0, if name.is_empty() { "" } else { " " }, value.op)
    }

    /// Every id is inside its arena, so that nothing after this can panic.
    fn ids(&mut self) {
        let k = self.k;
        let values = k.values.len() as u32;
        let ok = |v: ValueId| v.0 < values;
        let axis_ok = |a: &AxisId| (a.0 as usize) < k.axes.len();
        let grid_ok = |g: &GridId| (g.0 as usize) < k.grid.len();
        let mut bad = Vec::new();
        for (n, v) in k.values.iter().enumerate() {
            let mut good = v.op.operands().iter().all(|x| ok(*x)) && v.ty.axes.iter().all(axis_ok);
            good &= match &v.op {
                Op::Param(s) => (s.0 as usize) < k.scalars.len(),
                Op::Dim(d) => (d.0 as usize) < k.dims.len(),
                Op::GridVar(g) => grid_ok(g),
                Op::LoopVar(l) => (l.0 as usize) < k.loops.len(),
                Op::LoopParam(l, n) | Op::LoopResult(l, n) => {
                    k.loops.get(l.0 as usize).is_some_and(|l| *n < l.carried.len())
                }
                Op::IfResult(i, n) => k.ifs.get(i.0 as usize).is_some_and(|i| *n < i.results.len()),
                Op::Iota(a) => axis_ok(a),
                Op::Reduce { axes, .. } => axes.iter().all(axis_ok),
                Op::Scan { axis, .. } | Op::Sort { axis, .. } => axis_ok(axis),
                Op::TopK { axis, to, .. } => axis_ok(axis) && axis_ok(to),
                Op::Mma { contract, batch, .. } => axis_ok(contract) && batch.iter().all(axis_ok),
                Op::GridReduce { vars, .. } => vars.iter().all(grid_ok),
                Op::Read { tensor, .. } => (tensor.0 as usize) < k.tensors.len(),
                _ => true,
            };
            if !good {
                bad.push(format!("%{n}: an id outside its arena"));
            }
        }
        for a in &k.axes {
            if !ok(a.lo) || !ok(a.hi) {
                bad.push(format!("axis {}: bounds outside the arena", a.name));
            }
        }
        for text in bad {
            self.fail("ids", text);
        }
    }

    fn kernel(&mut self) {
        let k = self.k;
        for a in &k.axes {
            if a.extent == 0 || u64::from(a.extent) > MAX_TILE {
                self.fail("T1.2", format!("axis {} has {} lanes", a.name, a.extent));
            }
            for bound in [a.lo, a.hi] {
                if *k.ty(bound) != TileType::scalar(ElemType::Index) {
                    self.fail("T1.3", format!("axis {}: a bound is not a scalar index", a.name));
                }
            }
        }
        self.pure_block(&k.entry, "the entry block");
        for (n, g) in k.grid.iter().enumerate() {
            self.pure_block(&g.block, "a grid bound");
            self.use_(g.lo);
            self.use_(g.hi);
            self.define(g.var);
            if k.value(g.var).op != Op::GridVar(GridId(n as u32)) {
                self.fail("Order", format!("grid {}: its variable is {}", g.name, self.show(g.var)));
            }
        }
        if let Some(w) = &k.grid_when {
            self.when(w);
        }
        self.block(&k.body);
        for n in 0..k.values.len() {
            if self.defined[n] != 1 {
                self.fail(
                    "Order",
                    format!("defined {} times: {}", self.defined[n], self.show(ValueId(n as u32))),
                );
            }
        }
    }

    fn define(&mut self, v: ValueId) {
        self.defined[v.0 as usize] += 1;
        self.live[v.0 as usize] = true;
        self.scope.push(v);
    }

    fn use_(&mut self, v: ValueId) {
        if !self.live[v.0 as usize] {
            self.fail("Order", format!("used before its definition or outside its block: {}", self.show(v)));
        }
    }

    fn use_axes(&mut self, axes: &[AxisId]) {
        for a in axes {
            let axis = self.k.axis(*a);
            if !self.live[axis.lo.0 as usize] || !self.live[axis.hi.0 as usize] {
                self.fail("T1.3", format!("axis {} is used where its bounds are not defined", axis.name));
            }
        }
    }

    /// Runs `f` and un-defines what it defined.
    fn scoped(&mut self, f: impl FnOnce(&mut Self)) {
        let mark = self.scope.len();
        f(self);
        for v in self.scope.drain(mark..) {
            self.live[v.0 as usize] = false;
        }
    }

    fn pure_block(&mut self, block: &Block, what: &str) {
        if block.stmts.iter().any(|s| !matches!(s, Stmt::Let(_))) {
            self.fail("T1.5", format!("{what} has an effect or control flow"));
        }
        self.block(block);
    }

    fn when(&mut self, w: &When) {
        self.pure_block(&w.block, "a `when`");
        self.use_(w.cond);
        if self.k.ty(w.cond).elem != ElemType::Bool {
            self.fail("T1.1", format!("a `when` is not bool: {}", self.show(w.cond)));
        }
    }

    fn block(&mut self, block: &Block) {
        for s in &block.stmts {
            match s {
                Stmt::Let(v) => self.let_(*v),
                Stmt::Write(w) => {
                    self.place(w.tensor, &w.ix, w.value, w.when);
                    for g in &w.once_over {
                        if g.0 as usize >= self.k.grid.len() {
                            self.fail("T1.8", "a write's `once_over` names no grid variable".to_string());
                        }
                    }
                }
                Stmt::Atomic(a) => {
                    self.place(a.tensor, &a.ix, a.value, a.when);
                    if let Some(old) = a.old {
                        if self.k.value(old).op != Op::AtomicOld {
                            self.fail("Order", format!("an atomic's old value is {}", self.show(old)));
                        }
                        self.define(old);
                    }
                }
                Stmt::For(l) => self.for_(*l),
                Stmt::If(i) => self.if_(*i),
            }
        }
    }

    fn place(&mut self, tensor: TensorId, ix: &[ValueId], value: ValueId, when: Option<ValueId>) {
        let k = self.k;
        let Some(t) = k.tensors.get(tensor.0 as usize) else {
            return self.fail("ids", "a write to no tensor".to_string());
        };
        if !t.kind.writable() {
            self.fail("T1.8", format!("a write to {}, which is read only", t.name));
        }
        self.subscripts(&t.name, t.shape.len(), ix);
        self.use_(value);
        let axes = k.subscript_axes(ix);
        if k.ty(value).elem != t.elem {
            self.fail("T1.1", format!("{} of {} stored {}", t.name, t.elem, self.show(value)));
        }
        for v in [Some(value), when].into_iter().flatten() {
            if !subset(&k.ty(v).axes, &axes) {
                self.fail(
                    "T1.1",
                    format!("write to {}: axes beyond the place's in {}", t.name, self.show(v)),
                );
            }
        }
        if let Some(c) = when {
            self.use_(c);
            if k.ty(c).elem != ElemType::Bool {
                self.fail("T1.1", format!("a write's condition is not bool: {}", self.show(c)));
            }
        }
    }

    fn subscripts(&mut self, of: &str, rank: usize, ix: &[ValueId]) {
        if ix.len() != rank {
            self.fail("T1.3", format!("{of} has {rank} dimensions and {} subscripts", ix.len()));
        }
        for x in ix {
            self.use_(*x);
            if !self.k.ty(*x).elem.is_integer() {
                self.fail("T1.3", format!("{of}: a subscript that is no integer: {}", self.show(*x)));
            }
        }
    }

    fn for_(&mut self, id: LoopId) {
        let k = self.k;
        let Some(l) = k.loops.get(id.0 as usize) else {
            return self.fail("ids", "a loop that is none".to_string());
        };
        self.use_(l.lo);
        self.use_(l.hi);
        for c in &l.carried {
            self.use_(c.init);
        }
        self.scoped(|s| {
            s.define(l.var);
            for c in &l.carried {
                s.define(c.param);
            }
            if let Some(w) = &l.when {
                s.when(w);
            }
            s.block(&l.body);
            for c in &l.carried {
                s.use_(c.next);
            }
        });
        for (n, c) in l.carried.iter().enumerate() {
            self.define(c.result);
            let ty = k.ty(c.param);
            if [c.init, c.next, c.result].iter().any(|v| k.ty(*v) != ty) {
                self.fail("T1.4", format!("{} changes its type in loop {}", c.name, l.name));
            }
            if k.value(c.param).op != Op::LoopParam(id, n) || k.value(c.result).op != Op::LoopResult(id, n) {
                self.fail("Order", format!("{}: parameter or result of another loop", c.name));
            }
            if let CarryKind::Assoc(op) = c.kind {
                self.assoc(c.param, op);
            }
        }
        if k.value(l.var).op != Op::LoopVar(id) {
            self.fail("Order", format!("loop {}: its variable is {}", l.name, self.show(l.var)));
        }
    }

    /// T1.6: follows the reduction's value from `param` through its updates.
    fn assoc(&mut self, param: ValueId, op: Combine) {
        let k = self.k;
        for (n, v) in k.values.iter().enumerate() {
            if !v.op.operands().contains(&param) {
                continue;
            }
            let own = match v.op {
                Op::Binary(b, x, y) => b == op.binary() && x == param && y != param,
                _ => false,
            };
            if !own {
                self.fail(
                    "T1.6",
                    format!("a declared reduction is read by {}", self.show(ValueId(n as u32))),
                );
            }
        }
    }

    fn if_(&mut self, id: IfId) {
        let k = self.k;
        let Some(i) = k.ifs.get(id.0 as usize) else {
            return self.fail("ids", "an if that is none".to_string());
        };
        self.use_(i.cond);
        if *k.ty(i.cond) != TileType::scalar(ElemType::Bool) {
            self.fail("T1.1", format!("an `if` on what is not a scalar bool: {}", self.show(i.cond)));
        }
        for (block, then) in [(&i.then_block, true), (&i.else_block, false)] {
            self.scoped(|s| {
                s.block(block);
                for r in &i.results {
                    s.use_(if then { r.then_value } else { r.else_value });
                }
            });
        }
        for (n, r) in i.results.iter().enumerate() {
            self.define(r.result);
            let ty = k.ty(r.result);
            if k.ty(r.then_value) != ty || k.ty(r.else_value) != ty {
                self.fail("T1.4", format!("{} has different types in the branches of an if", r.name));
            }
            if k.value(r.result).op != Op::IfResult(id, n) {
                self.fail("Order", format!("{}: result of another if", r.name));
            }
        }
    }

    fn let_(&mut self, v: ValueId) {
        let k = self.k;
        let value = k.value(v);
        for x in value.op.operands() {
            self.use_(x);
        }
        self.use_axes(&value.ty.axes);
        let axes = &value.ty.axes;
        let elements: u64 = axes.iter().fold(1, |n, a| n.saturating_mul(u64::from(k.axis(*a).extent)));
        if elements > MAX_TILE {
            self.fail("T1.2", format!("{elements} elements in {}", self.show(v)));
        }
        if (1..axes.len()).any(|n| axes[..n].contains(&axes[n])) {
            self.fail("T1.2", format!("one axis twice in {}", self.show(v)));
        }
        let given = matches!(
            value.op,
            Op::Const(_) | Op::Param(_) | Op::Dim(_) | Op::Iota(_) | Op::Binary(..) | Op::Cast(_)
        );
        if !given && value.span == Default::default() {
            self.fail("T1.9", format!("no span: {}", self.show(v)));
        }
        if let Some(text) = self.signature(v) {
            self.fail("T1.1", format!("{text}: {} : {:?}", self.show(v), value.ty));
        }
        self.define(v);
    }

    /// What is wrong with the operation's types, if anything.
    fn signature(&self, v: ValueId) -> Option<&'static str> {
        let k = self.k;
        let Value { ty, op, .. } = k.value(v);
        let wrong = |cond: bool, text: &'static str| if cond { Some(text) } else { None };
        let t = |x: &ValueId| k.ty(*x);
        let int = |x: &ValueId| t(x).elem.is_integer();
        if op.is_elementwise() && op.operands().iter().any(|x| !subset(&t(x).axes, &ty.axes)) {
            return Some("an operand has an axis that the result lacks");
        }
        match op {
            Op::Const(c) => wrong(!c.fits(ty.elem) || !ty.is_scalar(), "a constant of another kind"),
            Op::Param(s) => wrong(*ty != TileType::scalar(k.scalar(*s).elem), "not the parameter's type"),
            Op::Dim(_) => wrong(*ty != TileType::scalar(ElemType::Index), "not a scalar index"),
            Op::GridVar(_)
            | Op::LoopVar(_)
            | Op::LoopParam(..)
            | Op::LoopResult(..)
            | Op::IfResult(..)
            | Op::AtomicOld => Some("defined by a statement of its own"),
            Op::Iota(a) => wrong(ty.elem != ElemType::Index || ty.axes != [*a], "not the axis' coordinates"),
            Op::Cast(_) => None,
            Op::Bits(x) => wrong(t(x).elem.bits() != ty.elem.bits(), "another width"),
            Op::Broadcast(x) => wrong(t(x).elem != ty.elem, "another element type"),
            Op::Unary(_, x) => wrong(t(x).elem != ty.elem, "another element type"),
            Op::Binary(o, x, y) => {
                let shift = matches!(o, BinaryOp::Shl | BinaryOp::Shr) && int(x) && int(y);
                wrong(t(x).elem != ty.elem || (t(y).elem != ty.elem && !shift), "operands of other types")
            }
            Op::Compare(_, x, y) => {
                wrong(t(x).elem != t(y).elem || ty.elem != ElemType::Bool, "operands of other types")
            }
            Op::Select(c, x, y) => wrong(
                t(c).elem != ElemType::Bool || t(x).elem != ty.elem || t(y).elem != ty.elem,
                "operands of other types",
            ),
            Op::Fma(x, y, z) => {
                wrong([x, y, z].iter().any(|x| t(x).elem != ty.elem), "operands of other types")
            }
            Op::Reorder(x) => {
                let same = t(x).axes.len() == ty.axes.len() && subset(&t(x).axes, &ty.axes);
                wrong(t(x).elem != ty.elem || !same, "not a reordering")
            }
            Op::TileRead { tile, ix } => {
                let wanted = k.subscript_axes(ix);
                let bad = ix.len() != t(tile).axes.len() || ty.axes != wanted || ty.elem != t(tile).elem;
                wrong(bad || !ix.iter().all(int), "an in-tile read of another type")
            }
            Op::Reduce { op, x, axes } => {
                let kept: Vec<AxisId> = t(x).axes.iter().copied().filter(|a| !axes.contains(a)).collect();
                let elem = match op {
                    ReduceOp::ArgMax | ReduceOp::ArgMin => ElemType::Index,
                    _ => t(x).elem,
                };
                wrong(
                    kept != ty.axes || elem != ty.elem || !subset(axes, &t(x).axes),
                    "a reduction of another type",
                )
            }
            Op::Scan { x, axis, .. } => {
                wrong(t(x) != ty || !ty.axes.contains(axis), "a scan of another type")
            }
            Op::TopK { x, axis, to, part } => {
                let wanted: Vec<AxisId> =
                    t(x).axes.iter().map(|a| if a == axis { *to } else { *a }).collect();
                wrong(wanted != ty.axes || !part_type(*part, t(x).elem, ty.elem), "a topk of another type")
            }
            Op::Sort { x, part, .. } => {
                wrong(t(x).axes != ty.axes || !part_type(*part, t(x).elem, ty.elem), "a sort of another type")
            }
            Op::Mma { a, b, contract, batch } => {
                let (ta, tb) = (t(a), t(b));
                let both = ta.axes.contains(contract) && tb.axes.contains(contract);
                let mut wanted: Vec<AxisId> = ta.axes.iter().copied().filter(|x| x != contract).collect();
                let shared: Vec<AxisId> = wanted.iter().copied().filter(|x| tb.axes.contains(x)).collect();
                for x in &tb.axes {
                    if x != contract && !wanted.contains(x) {
                        wanted.push(*x);
                    }
                }
                wrong(!both || wanted != ty.axes || shared != *batch, "a product on other axes")
            }
            Op::GridReduce { op, x, .. } => {
                let elem = if matches!(op, ReduceOp::ArgMax | ReduceOp::ArgMin) {
                    ElemType::Index
                } else {
                    t(x).elem
                };
                wrong(t(x).axes != ty.axes || elem != ty.elem, "a reduction of another type")
            }
            Op::Read { tensor, ix } => {
                let tensor = k.tensor(*tensor);
                let bad = ix.len() != tensor.shape.len()
                    || ty.elem != tensor.elem
                    || ty.axes != k.subscript_axes(ix);
                wrong(bad || !ix.iter().all(int), "a read of another type")
                    .or_else(|| wrong(!tensor.kind.readable(), "a read of an `out` parameter"))
            }
        }
    }
}

fn part_type(part: SortPart, x: ElemType, result: ElemType) -> bool {
    match part {
        SortPart::Values => result == x,
        SortPart::Coordinates => result == ElemType::Index,
    }
}

fn subset(inner: &[AxisId], outer: &[AxisId]) -> bool {
    inner.iter().all(|a| outer.contains(a))
}
