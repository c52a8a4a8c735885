//! `k.split = 4` or `stream`: a loop that accumulates, cut into parts that run as instances of their own, or wherever a block's share ends.
//!
//! This is T1 to T1, before anything else is planned: what an author may write with `part` and `sum(… over grid s)` is what the plain source
//! becomes, and what follows knows one way only.
//! ```text
//! grid i over …, j over …;                        grid i over …, j over …, k_part over 4;
//! for k over K by BK { acc += a @ b; }            for k over part(K by BK, k_part, 4) { acc += a @ b; }
//! c[i, j] = acc as T;                             c[i, j] = sum(acc over grid k_part) as T;
//! ```
//! For `stream` there is one part as far as T1 is concerned, `k_part over 1`, which means the same; the [`Stream`] that comes with the
//! kernel tells the later levels that blocks share it, and bounds of the loop that are values of its own let them say how.
//!
//! Only declared reductions (`+=`, `max=`, …) may be cut, from a start that changes nothing: each part starts there.

use super::instances;
use super::refuse::Refusal;
use crate::artifact::{ChosenBy, ScheduleItem};
use crate::elaborate::renamed;
use crate::scheduled::ir::Stream;
use crate::tile::ir as t1;
use t1::{BinaryOp, Combine, Const, ElemType, Op, ReduceOp, TileType, Value, ValueId};

/// Most parts of a loop.
const MOST: i64 = 256;

/// A kernel with its loop cut.
#[derive(Clone, Debug)]
pub struct Cut {
    pub kernel: t1::Kernel,
    /// The schedule item that said so.
    pub item: ScheduleItem,
    /// Blocks share the loop's steps evenly.
    pub stream: Option<Stream>,
}

/// How a schedule cuts a loop.
#[derive(Clone, Copy)]
enum Parts {
    Fixed(i64),
    Stream,
}

/// The kernel with its loop cut; `None` where no schedule item says so.
pub fn apply(kernel: &t1::Kernel) -> Result<Option<Cut>, Refusal> {
    let Some(item) = kernel.schedule.iter().find(|i| i.path.len() == 2 && i.path[1] == "split") else {
        return Ok(None);
    };
    let path = item.path.join(".");
    let parts = match item.value {
        Some(t1::ScheduleValue::Int(n)) if (1..=MOST).contains(&n) => Parts::Fixed(n),
        Some(t1::ScheduleValue::Name(ref n)) if n == "stream" => Parts::Stream,
        _ => {
            return Err(Refusal::schedule(
                item.span,
                format!("`{path}` takes a number of parts from 1 to {MOST}, or `stream`"),
                format!("for example `{path} = 4`"),
            ));
        }
    };
    let chosen = ScheduleItem {
        path: path.clone(),
        value: match parts {
            Parts::Fixed(n) => n.to_string(),
            Parts::Stream => "stream".into(),
        },
        chosen_by: super::knobs::chosen_by(item.from),
    };
    let named = |s: &t1::Stmt| matches!(s, t1::Stmt::For(l) if kernel.loop_(*l).name == item.path[0]);
    let Some(at) = kernel.body.stmts.iter().position(named) else {
        return Err(Refusal::schedule(
            item.span,
            format!("`{}` is no loop outside others, so it cannot be split", item.path[0]),
            "only an outermost loop of the kernel can be cut into parts",
        ));
    };
    let t1::Stmt::For(id) = kernel.body.stmts[at] else { return Ok(None) };
    let mut cut = kernel.clone();
    cut.schedule.retain(|i| i.path != item.path);
    let stream = match parts {
        Parts::Fixed(1) => None,
        _ => {
            check(kernel, id).map_err(|(why, help)| Refusal::schedule(item.span, why, help))?;
            if matches!(parts, Parts::Stream) {
                check_stream(kernel, id).map_err(|(why, help)| Refusal::schedule(item.span, why, help))?;
            }
            Cutter { kernel: &mut cut, at, id }.cut(parts)
        }
    };
    Ok(Some(Cut { kernel: cut, item: chosen, stream }))
}

/// Why the steps of a loop cannot be shared evenly, and what to do.
fn check_stream(kernel: &t1::Kernel, id: t1::LoopId) -> Result<(), (String, &'static str)> {
    let l = kernel.loop_(id);
    if !super::contraction::any(kernel) {
        let why = format!("`{}.split = stream` is for loops around `@`", l.name);
        return Err((why, "a number of parts, as in `4`, works for any reduction"));
    }
    if instances::known(kernel, l.lo).is_none() || instances::known(kernel, l.hi).is_none() {
        let why = format!("the steps of `{}` cannot be shared out: not every tile has as many", l.name);
        return Err((why, "a number of parts, as in `4`"));
    }
    let this = |s: &t1::Stmt| matches!(s, t1::Stmt::For(other) if *other == id);
    if kernel.body.stmts.iter().take_while(|s| !this(s)).any(|s| !matches!(s, t1::Stmt::Let(_))) {
        let why = format!("the steps of `{}` cannot be shared out: something is written before it", l.name);
        return Err((why, "write behind the loop"));
    }
    if kernel.values.iter().any(|v| matches!(v.op, Op::GridReduce { .. })) {
        return Err((
            format!("`{}` cannot be split: the kernel reduces over the grid itself", l.name),
            "leave the loop whole",
        ));
    }
    let exact = |e: &instances::Extent| matches!(e, instances::Extent::Exact(_));
    if !instances::extents(kernel).is_ok_and(|all| all.iter().all(exact)) {
        let why =
            format!("the steps of `{}` cannot be shared out: data decides how many tiles there are", l.name);
        return Err((why, "a number of parts, as in `4`"));
    }
    Ok(())
}

/// What the schedule says of a loop that could be cut and is not.
pub fn whole(kernel: &t1::Kernel, id: t1::LoopId) -> Option<ScheduleItem> {
    let path = format!("{}.split", kernel.loop_(id).name);
    let cut = kernel.values.iter().any(|v| matches!(v.op, Op::GridReduce { .. }));
    (!cut && kernel.grid_when.is_none() && check(kernel, id).is_ok()).then(|| ScheduleItem {
        path,
        value: "1".into(),
        chosen_by: ChosenBy::Default,
    })
}

/// Why a loop cannot be cut, and what to do.
fn check(kernel: &t1::Kernel, id: t1::LoopId) -> Result<(), (String, &'static str)> {
    let l = kernel.loop_(id);
    if l.rev || l.when.is_some() {
        let why = format!("a loop with `when` or `rev` like `{}` cannot be split", l.name);
        return Err((why, "leave the loop whole"));
    }
    for c in &l.carried {
        let t1::CarryKind::Assoc(how) = c.kind else {
            return Err((
                format!("`{}` cannot be split: the order of `{}` is as written", l.name, c.name),
                "a variable that is only updated by `+=`, `max=` or `min=` may be reassociated",
            ));
        };
        if reduction(how).is_none() || !changes_nothing(kernel, how, c.init) {
            return Err((
                format!("`{}` cannot be split: `{}` does not start from a neutral element", l.name, c.name),
                "start from 0 for `+=`, and add the rest after the loop",
            ));
        }
    }
    let this = |s: &t1::Stmt| matches!(s, t1::Stmt::For(l) if *l == id);
    let before = kernel.body.stmts.iter().take_while(|s| !this(s));
    if before.into_iter().any(|s| matches!(s, t1::Stmt::Atomic(_) | t1::Stmt::If(_))) {
        let why = format!("`{}` cannot be split: every part would do what stands before it", l.name);
        return Err((why, "move `atomic` and `if` behind the loop"));
    }
    let effect = |s: &t1::Stmt| !matches!(s, t1::Stmt::Let(_) | t1::Stmt::For(_) | t1::Stmt::If(_));
    if l.body.stmts.iter().any(effect) {
        return Err((format!("`{}` cannot be split: its body writes", l.name), "leave the loop whole"));
    }
    Ok(())
}

fn changes_nothing(kernel: &t1::Kernel, how: Combine, v: ValueId) -> bool {
    match (&kernel.value(v).op, how) {
        (Op::Broadcast(x) | Op::Cast(x) | Op::Reorder(x), _) => changes_nothing(kernel, how, *x),
        (Op::Const(Const::Int(c)), Combine::Add) => *c == 0,
        (Op::Const(Const::Float(c)), Combine::Add) => *c == 0.0,
        (Op::Const(Const::Float(c)), Combine::Max) => *c == f64::NEG_INFINITY,
        (Op::Const(Const::Float(c)), Combine::Min) => *c == f64::INFINITY,
        _ => false,
    }
}

struct Cutter<'a> {
    kernel: &'a mut t1::Kernel,
    /// The loop's place in the body.
    at: usize,
    id: t1::LoopId,
}

impl Cutter<'_> {
    fn value(&mut self, ty: TileType, op: Op, name: Option<String>, out: &mut Vec<t1::Stmt>) -> ValueId {
        let span = self.kernel.loop_(self.id).span;
        self.kernel.values.push(Value { ty, op, span, name });
        let id = ValueId(self.kernel.values.len() as u32 - 1);
        out.push(t1::Stmt::Let(id));
        id
    }

    fn index(&mut self, op: Op, out: &mut Vec<t1::Stmt>) -> ValueId {
        self.value(TileType::scalar(ElemType::Index), op, None, out)
    }

    fn int(&mut self, n: i64, out: &mut Vec<t1::Stmt>) -> ValueId {
        self.index(Op::Const(Const::Int(n.into())), out)
    }

    fn cut(&mut self, parts: Parts) -> Option<Stream> {
        let l = self.kernel.loop_(self.id).clone();
        let (stream, parts) = match parts {
            Parts::Fixed(n) => (false, n),
            Parts::Stream => (true, 1),
        };
        let g = t1::GridId(self.kernel.grid.len() as u32);
        let mut entry = Vec::new();
        let (zero, one) = (self.int(0, &mut entry), self.int(1, &mut entry));
        let count = self.int(parts, &mut entry);
        let step = l.axis.map_or(1, |a| self.kernel.axis(a).extent);
        let step = self.int(step.into(), &mut entry);
        // The variable is defined by the grid, not by a statement.
        let var = self.index(Op::GridVar(g), &mut Vec::new());
        self.kernel.entry.stmts.extend(entry);
        self.kernel.grid.push(t1::GridVar {
            name: format!("{}_part", l.name),
            block: t1::Block::default(),
            var,
            axis: None,
            lo: zero,
            hi: count,
            span: l.span,
        });

        // Part s of n tiles is the tiles from n · s / parts to n · (s + 1) / parts.
        let mut before = Vec::new();
        let binary = |op, x, y| Op::Binary(op, x, y);
        let extent = match self.kernel.const_int(l.lo) {
            Some(0) => l.hi,
            _ => self.index(binary(BinaryOp::Sub, l.hi, l.lo), &mut before),
        };
        let extent = self.index(binary(BinaryOp::Max, extent, zero), &mut before);
        let tiles = self.index(binary(BinaryOp::Cdiv, extent, step), &mut before);
        let next = self.index(binary(BinaryOp::Add, var, one), &mut before);
        let [lo, hi] = [var, next].map(|s| {
            let scaled = self.index(binary(BinaryOp::Mul, tiles, s), &mut before);
            let tile = self.index(binary(BinaryOp::Div, scaled, count), &mut before);
            let from = self.index(binary(BinaryOp::Mul, tile, step), &mut before);
            match self.kernel.const_int(l.lo) {
                Some(0) => from,
                _ => self.index(binary(BinaryOp::Add, from, l.lo), &mut before),
            }
        });
        let hi = self.index(binary(BinaryOp::Min, hi, l.hi), &mut before);
        let stream = stream.then_some(Stream { part: g, steps: self.id, lo: l.lo, hi: l.hi });
        self.kernel.loops[self.id.0 as usize].lo = lo;
        self.kernel.loops[self.id.0 as usize].hi = hi;
        if let Some(axis) = l.axis {
            self.kernel.axes[axis.0 as usize].hi = hi;
        }

        let mut after = Vec::new();
        let mut whole = Vec::new();
        let old = self.kernel.values.len();
        for c in &l.carried {
            let t1::CarryKind::Assoc(how) = c.kind else { continue };
            let Some(op) = reduction(how) else { continue };
            let ty = self.kernel.ty(c.result).clone();
            let reduce = Op::GridReduce { op, x: c.result, vars: vec![g] };
            whole.push((c.result, self.value(ty, reduce, Some(c.name.clone()), &mut after)));
        }
        rename(self.kernel, self.id, old, &whole);
        for stmt in &mut self.kernel.body.stmts {
            if let t1::Stmt::Write(w) = stmt {
                w.once_over.push(g);
            }
        }
        let at = self.at;
        self.kernel.body.stmts.splice(at + 1..at + 1, after);
        self.kernel.body.stmts.splice(at..at, before);
        stream
    }
}

/// What used a loop's results uses other values: all that were there before value number `old`.
pub(super) fn rename(kernel: &mut t1::Kernel, id: t1::LoopId, old: usize, whole: &[(ValueId, ValueId)]) {
    let new = |v: ValueId| whole.iter().find(|(from, _)| *from == v).map_or(v, |(_, to)| *to);
    for value in &mut kernel.values[..old] {
        value.op = renamed(&value.op, new, |a| a);
    }
    for stmt in &mut kernel.body.stmts {
        match stmt {
            t1::Stmt::Write(w) => {
                w.ix.iter_mut().for_each(|v| *v = new(*v));
                w.value = new(w.value);
                w.when = w.when.map(new);
            }
            t1::Stmt::Atomic(a) => {
                a.ix.iter_mut().for_each(|v| *v = new(*v));
                a.value = new(a.value);
                a.when = a.when.map(new);
            }
            t1::Stmt::Let(_) | t1::Stmt::For(_) | t1::Stmt::If(_) => {}
        }
    }
    for (n, l) in kernel.loops.iter_mut().enumerate() {
        if n as u32 != id.0 {
            (l.lo, l.hi) = (new(l.lo), new(l.hi));
            for c in &mut l.carried {
                (c.init, c.next) = (new(c.init), new(c.next));
            }
        }
    }
}

/// The reduction that combines parts.
fn reduction(how: Combine) -> Option<ReduceOp> {
    match how {
        Combine::Add => Some(ReduceOp::Sum),
        Combine::Max => Some(ReduceOp::Max),
        Combine::Min => Some(ReduceOp::Min),
        Combine::And | Combine::Or | Combine::Xor => None,
    }
}
