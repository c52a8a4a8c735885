//! Reductions over the grid: `sum(x over grid s)` without anyone waiting.
//!
//! Instances that differ only in `s` are a *group*. Each puts what the rest of the kernel still needs of it into its place in the
//! workspace and counts itself; all but the last to arrive leave, and the last goes on for the whole group. There every reduction is a loop
//! over the group's instances in ascending order, whoever came last: the same inputs give the same bits.
//!
//! ```text
//! c[i, j] = sum(acc over grid s)         work.put acc <- %acc
//!                                        work.last s                       // the others leave here
//!                                        for s over instances carry %total from the neutral element {
//!                                            %part = work.get acc
//!                                            %next = combine sum %total, %part
//!                                        }
//!                                        write.reg c[i, j] <- %total
//! ```
//! What is computed *after* a reduction and still differs between instances (`exp(m - max(m over grid n))`) is computed in the loop
//! that reduces it, or writes it, from what was put. A value *varies* if it depends on `s` other than through a reduction; it is
//! *late* if it depends on a reduction. Varying values that are not late are the ones that are put; launch scalars are computed again.

use super::access::launch_scalar;
use super::general::General;
use super::refuse::Refusal;
use crate::diagnostics::Span;
use crate::scheduled::ir::*;
use crate::tile::ir as t1;
use rustc_hash::FxHashMap;
use t1::{Op as T1, ValueId};

/// What a kernel's values have to do with the reduced grid variable.
pub(super) struct Survey<'a> {
    kernel: &'a t1::Kernel,
    var: t1::GridId,
    varies: FxHashMap<ValueId, bool>,
    late: FxHashMap<ValueId, bool>,
}

impl<'a> Survey<'a> {
    pub(super) fn new(kernel: &'a t1::Kernel, var: t1::GridId) -> Survey<'a> {
        Survey { kernel, var, varies: FxHashMap::default(), late: FxHashMap::default() }
    }

    /// Whether any value that `v` is computed from satisfies the question; loops and conditionals count as a whole.
    fn any(&mut self, v: ValueId, ask: fn(&mut Self, ValueId) -> bool) -> bool {
        let kernel = self.kernel;
        let operands = match kernel.value(v).op {
            T1::LoopResult(l, _) | T1::LoopParam(l, _) => {
                let l = kernel.loop_(l);
                let carried = l.carried.iter().flat_map(|c| [c.init, c.next]);
                [l.lo, l.hi].into_iter().chain(carried).chain(l.when.as_ref().map(|w| w.cond)).collect()
            }
            T1::IfResult(i, _) => {
                let i = kernel.if_(i);
                let results = i.results.iter().flat_map(|r| [r.then_value, r.else_value]);
                std::iter::once(i.cond).chain(results).collect()
            }
            T1::Iota(axis) => vec![kernel.axis(axis).lo, kernel.axis(axis).hi],
            ref op => op.operands(),
        };
        operands.into_iter().any(|x| ask(self, x))
    }

    fn varies(&mut self, v: ValueId) -> bool {
        if let Some(known) = self.varies.get(&v) {
            return *known;
        }
        // A recurrence leads back to its own parameter: what it depends on is found on the other ways.
        self.varies.insert(v, false);
        let varies = match self.kernel.value(v).op {
            T1::GridVar(g) => g == self.var,
            T1::GridReduce { .. } => false,
            T1::AtomicOld => true,
            _ => self.any(v, Self::varies),
        };
        self.varies.insert(v, varies);
        varies
    }

    fn late(&mut self, v: ValueId) -> bool {
        if let Some(known) = self.late.get(&v) {
            return *known;
        }
        self.late.insert(v, false);
        let late = matches!(self.kernel.value(v).op, T1::GridReduce { .. }) || self.any(v, Self::late);
        self.late.insert(v, late);
        late
    }

    /// The values of other instances that `v` is computed from.
    fn put(&mut self, v: ValueId, out: &mut Vec<ValueId>) {
        if !self.varies(v) || launch_scalar(self.kernel, v) || out.contains(&v) {
            return;
        }
        if !self.late(v) {
            if !matches!(self.kernel.value(v).op, T1::Iota(_)) {
                out.push(v);
            }
            return;
        }
        for x in self.kernel.value(v).op.operands() {
            self.put(x, out);
        }
    }
}

/// What a write stores and where.
fn written(w: &t1::Write) -> impl Iterator<Item = ValueId> {
    w.ix.iter().copied().chain([w.value]).chain(w.when)
}

/// The first reduction over the grid among these statements.
pub fn first(kernel: &t1::Kernel, stmts: &[&t1::Stmt]) -> Option<usize> {
    stmts.iter().position(|s| reduction(kernel, s).is_some())
}

fn reduction(kernel: &t1::Kernel, stmt: &t1::Stmt) -> Option<ValueId> {
    match stmt {
        t1::Stmt::Let(v) if matches!(kernel.value(*v).op, T1::GridReduce { .. }) => Some(*v),
        _ => None,
    }
}

impl General<'_> {
    /// The statements from a kernel's first reduction over the grid on.
    pub(super) fn across_grid(&mut self, stmts: &[&t1::Stmt]) -> Result<(), Refusal> {
        let kernel = self.kernel;
        let reductions: Vec<ValueId> = stmts.iter().filter_map(|s| reduction(kernel, s)).collect();
        let Some(var) = self.variable(&reductions)? else { return Ok(()) };
        if let Dispatch::Stream(stream) = self.module.dispatch
            && stream.part == var
        {
            return self.across_items(var, &reductions, stmts);
        }
        let mut survey = Survey::new(kernel, var);
        let span = kernel.value(reductions[0]).span;
        if kernel.grid_when.is_some() {
            return Err(Refusal::construct(span, "a reduction over a grid with `when`")
                .note("how many instances meet must be known before any of them runs")
                .help(
                    "without `when` on the grid: `where(c, x, 0)` makes an instance's part of a sum nothing",
                ));
        }

        use super::instances::Extent;
        if !matches!(super::instances::extents(kernel)?[var.0 as usize], Extent::Exact(_) | Extent::AtMost(_))
        {
            return Err(Refusal::construct(span, "a reduction over a range of a ragged grid")
                .note("how many instances meet must be known before any of them runs")
                .help("reduce over a variable from 0 to what the launch knows, with ragged loops inside"));
        }

        if kernel.grid.iter().any(|g| survey.varies(g.lo) || survey.varies(g.hi)) {
            return Err(Refusal::construct(
                span,
                "a reduction over a grid variable that other ranges depend on",
            )
            .note("the instances that meet must be the same for every value of the others")
            .help("let the range that depends on it be a loop in the instance"));
        }

        let mut put = Vec::new();
        for stmt in stmts {
            match stmt {
                t1::Stmt::Let(v) => {
                    if let T1::GridReduce { x, .. } = kernel.value(*v).op {
                        survey.put(x, &mut put);
                    }
                }
                t1::Stmt::Write(w) => written(w).for_each(|v| survey.put(v, &mut put)),
                t1::Stmt::Atomic(a) => {
                    return Err(Refusal::construct(a.span, "`atomic` after a reduction over the grid")
                        .note("one instance goes on for all that meet, so it would combine once, and not once for each")
                        .help("before the reduction, or in a kernel of its own"));
                }
                t1::Stmt::For(id) => {
                    return Err(Refusal::construct(
                        kernel.loop_(*id).span,
                        "a loop after a reduction over the grid",
                    )
                    .note("one instance goes on for all that meet, and has what they put into the workspace, not what they would read anew")
                    .help("write what was reduced, and loop in a kernel of its own that reads it"));
                }
                t1::Stmt::If(id) => {
                    return Err(Refusal::construct(
                        kernel.if_(*id).span,
                        "`if` after a reduction over the grid",
                    )
                    .note("one instance goes on for all that meet, so they must not go different ways")
                    .help("`where(c, x, y)` chooses values, `place = value when c;` what is written"));
                }
            }
        }
        if put.is_empty() {
            let name = &kernel.grid_var(var).name;
            return Err(Refusal::construct(
                span,
                format!("a reduction over the grid of what is the same for every `{name}`"),
            )
            .note("instances have nothing to hand over")
            .help("a sum of equal values is a multiplication; the others are the value itself"));
        }
        let mut places = Vec::new();
        for v in put {
            let value = self.value(v)?;
            let work = self.place(value);
            self.push(OpKind::WorkPut { work, value }, None, kernel.value(v).span);
            places.push((v, work));
        }
        self.push(OpKind::WorkLast { var }, None, span);

        let mut done: Vec<ValueId> = Vec::new();
        for stmt in stmts {
            match stmt {
                t1::Stmt::Let(v) if done.contains(v) => {}
                t1::Stmt::Let(v) if reductions.contains(v) => {
                    // All reductions whose operands are known by now share one loop.
                    let ready: Vec<ValueId> = reductions
                        .iter()
                        .copied()
                        .filter(|r| !done.contains(r) && self.ready(*r, &done))
                        .collect();
                    self.reduce_instances(var, &ready, &places, &mut survey)?;
                    done.extend(ready);
                }
                t1::Stmt::Let(v) => {
                    if !survey.varies(*v) {
                        self.statements(std::iter::once(*stmt))?;
                    }
                }
                t1::Stmt::Write(w) => {
                    // The group's last instance writes, whichever it is.
                    let w = t1::Write {
                        once_over: w.once_over.iter().copied().filter(|g| *g != var).collect(),
                        ..w.clone()
                    };
                    if written(&w).any(|v| survey.varies(v)) {
                        let around = self.enter(&places, &mut survey, w.span)?;
                        self.write(&w)?;
                        self.leave(around, var, "each", Vec::new());
                    } else {
                        self.write(&w)?;
                    }
                }
                t1::Stmt::Atomic(_) | t1::Stmt::For(_) | t1::Stmt::If(_) => {}
            }
        }
        Ok(())
    }

    /// The one variable that all reductions are over.
    fn variable(&self, reductions: &[ValueId]) -> Result<Option<t1::GridId>, Refusal> {
        let mut var = None;
        for v in reductions {
            let value = self.kernel.value(*v);
            let T1::GridReduce { op, vars, .. } = &value.op else { continue };
            if matches!(op, t1::ReduceOp::ArgMax | t1::ReduceOp::ArgMin) {
                return Err(Refusal::construct(
                    value.span,
                    "`argmax` and `argmin` over several grid variables at once",
                )
                .note("a place is one coordinate")
                .help("over one of them; the others as ranges of the tile or loops"));
            }
            let [one] = vars[..] else {
                return Err(Refusal::construct(
                    value.span,
                    "a reduction over several grid variables at once",
                )
                .note("instances that differ in one variable meet")
                .help("reduce over one of them, and loop over the others"));
            };
            if var.is_some_and(|v| v != one) {
                return Err(Refusal::construct(value.span, "reductions over different grid variables")
                    .note("the last instance of one reduction goes on for all that differ in its variable, so they cannot meet in another")
                    .help("give each a kernel of its own"));
            }
            var = Some(one);
        }
        Ok(var)
    }

    /// Whether everything that a reduction's operand needs of other reductions is done.
    fn ready(&self, reduction: ValueId, done: &[ValueId]) -> bool {
        fn known(kernel: &t1::Kernel, v: ValueId, done: &[ValueId]) -> bool {
            done.contains(&v)
                || !matches!(kernel.value(v).op, T1::GridReduce { .. })
                    && kernel.value(v).op.operands().into_iter().all(|x| known(kernel, x, done))
        }
        self.kernel.value(reduction).op.operands().into_iter().all(|x| known(self.kernel, x, done))
    }

    /// A place in every instance's part of the workspace for a register tile.
    pub(super) fn place(&mut self, value: ValId) -> WorkId {
        let registers = self.module.layout(value).size_in(crate::layout::Dim::Reg);
        let each = super::general::partial_bits(self.elem(value)) / 8;
        let width = registers.min(16 / each).next_power_of_two();
        let bytes = registers.next_multiple_of(width) * each * self.module.threads();
        let base = self.module.work.last().map_or(0, |w| w.base + w.bytes).next_multiple_of(16);
        let name = self.module.value(value).name.clone();
        self.module.work.push(Work { name, base, bytes, each, width });
        WorkId(self.module.work.len() as u16 - 1)
    }

    pub(super) fn reduce_instances(
        &mut self,
        var: t1::GridId,
        reductions: &[ValueId],
        places: &[(ValueId, WorkId)],
        survey: &mut Survey,
    ) -> Result<(), Refusal> {
        let kernel = self.kernel;
        let mut carry = Vec::new();
        for v in reductions {
            let value = kernel.value(*v);
            let T1::GridReduce { op, x, .. } = value.op else { continue };
            let name = value.name.clone().unwrap_or_else(|| format!("v{}", v.0));
            let ty = &value.ty;
            let init = self.tile(ty.elem, &ty.axes, format!("{name}.0"), value.span)?;
            self.push(OpKind::Neutral { op }, Some(init), value.span);
            let param = self.tile(ty.elem, &ty.axes, format!("{name}.in"), value.span)?;
            carry.push((*v, op, x, name, init, param));
        }
        let span = kernel.value(reductions[0]).span;
        let around = self.enter(places, survey, span)?;
        let mut results = Vec::new();
        let mut done = Vec::new();
        for (v, op, x, name, init, param) in carry {
            let value = kernel.value(v);
            let part = self.value(x)?;
            let next = self.tile(value.ty.elem, &value.ty.axes, format!("{name}.next"), value.span)?;
            self.push(OpKind::Combine { op, x: param, y: part }, Some(next), value.span);
            let result = self.tile(value.ty.elem, &value.ty.axes, name, value.span)?;
            results.push((v, result));
            done.push(Carry { init, param, next, result });
        }
        self.leave(around, var, "instances", done);
        self.values.extend(results);
        Ok(())
    }

    /// Opens a loop over the group's instances; what varies comes from the workspace there. Gives what is known outside.
    fn enter(
        &mut self,
        places: &[(ValueId, WorkId)],
        survey: &mut Survey,
        span: Span,
    ) -> Result<FxHashMap<ValueId, ValId>, Refusal> {
        let outside = self.values.clone();
        self.values.retain(|v, _| !survey.varies(*v));
        self.open.push(Vec::new());
        for (v, work) in places {
            let value = self.kernel.value(*v);
            let name = format!("{}.got", self.module.work[work.0 as usize].name);
            let got = self.tile(value.ty.elem, &value.ty.axes, name, span)?;
            self.push(OpKind::WorkGet { work: *work }, Some(got), span);
            self.values.insert(*v, got);
        }
        Ok(outside)
    }

    fn leave(&mut self, outside: FxHashMap<ValueId, ValId>, var: t1::GridId, name: &str, carry: Vec<Carry>) {
        self.values = outside;
        let body = self.open.pop().unwrap_or_default();
        let g = self.kernel.grid_var(var);
        let node = Node::Loop(Loop {
            name: format!("{}_{name}", g.name),
            over: Over::Instances(var),
            rev: false,
            lo: g.lo,
            hi: g.hi,
            by: g.axis.map_or(1, |a| self.kernel.axis(a).extent),
            carry,
            body,
            ahead: 0,
            unroll: 1,
            full: None,
        });
        if let Some(list) = self.open.last_mut() {
            list.push(node);
        }
    }
}
