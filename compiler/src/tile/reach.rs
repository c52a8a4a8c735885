//! How far the coordinates of a launch go: loop bounds, range ends and index tiles, as far as they follow from what the launch knows.
//!
//! Code for the targets of today holds coordinates in 32 bits. Extents are checked where dimensions are bound; what a kernel computes from them and
//! from its scalars is checked here, by intervals: of `x[(i + 1) * b]` with `i` in 0..5 and `b = 2^30` the subscript goes from 2^30 to 5 · 2^30, which
//! is too far. What depends on data has no interval, and is not looked at; nor are the sums of [`windows`].

use super::ir::*;
use super::windows;
use crate::diagnostics::Span;

/// A coordinate that 32 bits do not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beyond {
    /// As a message begins: `the end of the loop over t`.
    pub what: String,
    pub value: i128,
    pub span: Span,
}

/// The least and the greatest value that something may have.
type Interval = (i128, i128);

const LEAST: i128 = i32::MIN as i128;
const GREATEST: i128 = i32::MAX as i128;

/// The first coordinate that 32 bits do not hold, by these facts.
pub fn beyond(kernel: &Kernel, facts: &dyn LaunchFacts) -> Option<Beyond> {
    let mut reach = Reach { kernel, facts, known: vec![None; kernel.values.len()] };
    for l in &kernel.loops {
        let name = &l.name;
        if let Some(b) =
            reach.bounds(l.lo, l.hi, l.span, &|end| format!("the {end} of the loop over `{name}`"))
        {
            return Some(b);
        }
    }
    for g in &kernel.grid {
        let name = &g.name;
        if let Some(b) =
            reach.bounds(g.lo, g.hi, g.span, &|end| format!("the {end} of the grid range `{name}`"))
        {
            return Some(b);
        }
    }
    for a in kernel.axes.iter().filter(|a| matches!(a.kind, AxisKind::Let)) {
        let name = &a.name;
        if let Some(b) = reach.bounds(a.lo, a.hi, a.span, &|end| format!("the {end} of the range `{name}`")) {
            return Some(b);
        }
    }
    let windows = windows::compared(kernel);
    let between = |(lo, hi): Interval| LEAST < lo && hi < GREATEST;
    for (n, v) in kernel.values.iter().enumerate() {
        // Saturated, a sum compares as it would with any coordinate between the ends.
        let window = windows.get(&ValueId(n as u32));
        if window.is_some_and(|with| with.iter().all(|x| reach.of(*x, 0).is_some_and(between))) {
            continue;
        }
        let computed = matches!(v.op, Op::Binary(..)) && v.ty.elem == ElemType::Index && !v.ty.is_scalar();
        let interval = if computed { reach.of(ValueId(n as u32), 0) } else { None };
        if let Some(value) = interval.and_then(outside) {
            return Some(Beyond {
                what: format!("`{}`", text(kernel, ValueId(n as u32), 0)),
                value,
                span: v.span,
            });
        }
    }
    None
}

/// What of an interval lies outside 32 bits, if something does.
fn outside((lo, hi): Interval) -> Option<i128> {
    [hi, lo].into_iter().find(|v| !(LEAST..=GREATEST).contains(v))
}

struct Reach<'a> {
    kernel: &'a Kernel,
    facts: &'a dyn LaunchFacts,
    /// By value; the inner `None` where nothing is known.
    known: Vec<Option<Option<Interval>>>,
}

/// Deeper expressions have no interval.
const DEPTH: usize = 200;

impl Reach<'_> {
    fn bounds(
        &mut self,
        lo: ValueId,
        hi: ValueId,
        span: Span,
        what: &dyn Fn(&str) -> String,
    ) -> Option<Beyond> {
        let (first, end) = (self.of(lo, 0), self.of(hi, 0));
        if let (Some(first), Some(end)) = (first, end)
            && end.1 <= first.0
        {
            // Nothing is visited, however far away.
            return None;
        }
        for (interval, name) in [(first, "start"), (end, "end")] {
            if let Some(value) = interval.and_then(outside) {
                return Some(Beyond { what: what(name), value, span });
            }
        }
        let length = end?.1 - first?.0;
        (length > GREATEST).then(|| Beyond { what: what("length"), value: length, span })
    }

    fn of(&mut self, v: ValueId, depth: usize) -> Option<Interval> {
        if let Some(known) = self.known[v.0 as usize] {
            return known;
        }
        let interval = if depth < DEPTH { self.compute(v, depth + 1) } else { None };
        self.known[v.0 as usize] = Some(interval);
        interval
    }

    fn compute(&mut self, v: ValueId, depth: usize) -> Option<Interval> {
        let kernel = self.kernel;
        let value = kernel.value(v);
        let exactly = |n: i128| Some((n, n));
        match &value.op {
            Op::Const(Const::Int(c)) => exactly(*c),
            Op::Dim(d) => exactly(i128::from(kernel.dim(*d).frozen.or_else(|| self.facts.dim(*d))?)),
            Op::Param(s) => match self.facts.scalar(*s)? {
                Const::Int(c) => exactly(c),
                Const::Bool(_) | Const::Float(_) => None,
            },
            Op::GridVar(g) => {
                let g = kernel.grid_var(*g);
                self.within(g.lo, g.hi, depth)
            }
            Op::LoopVar(l) => {
                let l = kernel.loop_(*l);
                self.within(l.lo, l.hi, depth)
            }
            Op::Iota(axis) => {
                let axis = kernel.axis(*axis);
                let (lo, last) = self.within(axis.lo, axis.hi, depth)?;
                let start = self.of(axis.lo, depth)?;
                Some((lo, last.min(start.1 + i128::from(axis.extent) - 1).max(lo)))
            }
            Op::Broadcast(x) | Op::Reorder(x) => self.of(*x, depth),
            Op::Cast(x) => {
                let inner = self.of(*x, depth)?;
                let bits = value.ty.elem.bits();
                let range = match (value.ty.elem.is_integer(), value.ty.elem.is_signed()) {
                    (false, _) => return None,
                    (true, true) => (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1),
                    (true, false) => (0, (1i128 << bits) - 1),
                };
                // What wraps may be anything.
                (range.0 <= inner.0 && inner.1 <= range.1).then_some(inner)
            }
            Op::Read { tensor, .. } => match kernel.tensor(*tensor).holds.as_ref()? {
                Holds::In { lo, hi, .. } | Holds::Ascending { lo, hi } => {
                    let (lo, hi) = (lo.eval_int(self.facts)?, hi.eval_int(self.facts)?);
                    // Zero where nothing is read.
                    Some((i128::from(lo).min(0), i128::from(hi).max(0)))
                }
            },
            Op::Select(_, x, y) => {
                let (x, y) = (self.of(*x, depth)?, self.of(*y, depth)?);
                Some((x.0.min(y.0), x.1.max(y.1)))
            }
            Op::Binary(op, x, y) if value.ty.elem.is_integer() => {
                let (x, y) = (self.of(*x, depth)?, self.of(*y, depth)?);
                combined(*op, x, y)
            }
            _ => None,
        }
    }

    /// The coordinates from `lo` to before `hi`.
    fn within(&mut self, lo: ValueId, hi: ValueId, depth: usize) -> Option<Interval> {
        let (lo, hi) = (self.of(lo, depth)?, self.of(hi, depth)?);
        Some((lo.0, (hi.1 - 1).max(lo.0)))
    }
}

fn combined(op: BinaryOp, x: Interval, y: Interval) -> Option<Interval> {
    let all = |f: &dyn Fn(i128, i128) -> Option<i128>| {
        let corners = [f(x.0, y.0)?, f(x.0, y.1)?, f(x.1, y.0)?, f(x.1, y.1)?];
        Some((corners.into_iter().min()?, corners.into_iter().max()?))
    };
    match op {
        BinaryOp::Add => all(&i128::checked_add),
        BinaryOp::Sub => all(&i128::checked_sub),
        BinaryOp::Mul => all(&i128::checked_mul),
        BinaryOp::Min => all(&|a, b| Some(a.min(b))),
        BinaryOp::Max => all(&|a, b| Some(a.max(b))),
        BinaryOp::Div if y.0 > 0 => all(&|a, b| Some(a.div_euclid(b))),
        BinaryOp::Cdiv if y.0 > 0 => all(&|a, b| Some(-(-a).div_euclid(b))),
        BinaryOp::Rem if y.0 > 0 => Some((0, (y.1 - 1).min(if x.0 >= 0 { x.1 } else { y.1 - 1 }))),
        _ => None,
    }
}

/// An index expression about as its source has it.
fn text(kernel: &Kernel, v: ValueId, depth: usize) -> String {
    let value = kernel.value(v);
    if depth > 6 {
        return "…".into();
    }
    match &value.op {
        Op::Const(Const::Int(c)) => c.to_string(),
        Op::Dim(d) => kernel.dim(*d).name.clone(),
        Op::Param(s) => kernel.scalar(*s).name.clone(),
        Op::Iota(a) => kernel.axis(*a).name.clone(),
        Op::GridVar(g) => kernel.grid_var(*g).name.clone(),
        Op::LoopVar(l) => kernel.loop_(*l).name.clone(),
        Op::Cast(x) | Op::Broadcast(x) | Op::Reorder(x) => text(kernel, *x, depth),
        Op::Binary(op, x, y) => {
            let inner = |x: ValueId| match kernel.value(x).op {
                Op::Binary(op, ..) if op.is_infix() => format!("({})", text(kernel, x, depth + 1)),
                _ => text(kernel, x, depth + 1),
            };
            match op.is_infix() {
                true => format!("{} {} {}", inner(*x), op.name(), inner(*y)),
                false => {
                    format!("{}({}, {})", op.name(), text(kernel, *x, depth + 1), text(kernel, *y, depth + 1))
                }
            }
        }
        _ => value.name.clone().unwrap_or_else(|| "…".into()),
    }
}
