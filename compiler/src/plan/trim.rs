//! Loops with `when` run only where they must: what a condition on affine coordinates says of a tile bounds the loop.
//!
//! A trip whose condition holds for no element is skipped, and of most masks it can be said beforehand which trips those are. T1 to T1:
//! ```text
//! for j over 0..L by 64 when j <= i + (L - S)          for j over 0..min(L, min(i.lo + 128, S) - 1 + (L - S) + 1) by 64
//! … when j > i - w && j <= i                           for j over max(0, i.lo - w + 1) / 64 * 64..…
//! ```
//! A comparison bounds j by an affine form, of which the tile's rows decide the extreme; `&&` takes both bounds, `||` the weaker of two.
//! Where every trip that is left has an element for which the condition holds, the condition goes. So it is
//! - where only one side is bounded: the first (or last) coordinate of a trip and the same corner of the tile satisfy all at once;
//! - in a band `i + a <= j <= i + b`, because j - i takes every value between its extremes on a tile.
//!
//! Elsewhere it stays, and is tested. The range's own end stays where it was: lanes beyond the new end exist, and the body masks them.

use crate::tile::affine::Affine;
use crate::tile::ir as t1;
use t1::{AxisId, BinaryOp, CmpOp, Const, ElemType, Op, TileType, Value, ValueId};

/// The kernel with its conditional loops cut to size; `None` where that changes nothing.
pub fn apply(kernel: &t1::Kernel) -> Option<t1::Kernel> {
    let mut out: Option<t1::Kernel> = None;
    for n in 0..kernel.body.stmts.len() {
        let t1::Stmt::For(id) = kernel.body.stmts[n] else { continue };
        let l = kernel.loop_(id);
        let (Some(when), Some(axis), false) = (&l.when, l.axis, l.rev) else { continue };
        // Parts of a loop are counted before anything is cut away; a conditional loop cannot be split.
        let parts = |i: &t1::ScheduleItem| {
            i.path == [l.name.as_str(), "split"] && i.value != Some(t1::ScheduleValue::Int(1))
        };
        if kernel.schedule.iter().any(parts) {
            continue;
        }
        let Some(mask) = mask(kernel, id, axis, when.cond) else { continue };
        let out = out.get_or_insert_with(|| kernel.clone());
        let mut build = Build { kernel: out, made: Vec::new() };
        let by = i64::from(kernel.axis(axis).extent);
        let hi = mask.upper.as_ref().map(|u| {
            let last = build.bound(u, true);
            let end = build.sum(last, 1);
            build.binary(BinaryOp::Min, end, l.hi)
        });
        let lo = mask.lower.as_ref().map(|b| {
            let first = build.bound(b, false);
            let past = build.binary(BinaryOp::Sub, first, l.lo);
            let zero = build.int(0);
            let past = build.binary(BinaryOp::Max, past, zero);
            let by = build.int(by);
            let steps = build.binary(BinaryOp::Div, past, by);
            let skipped = build.binary(BinaryOp::Mul, steps, by);
            match kernel.const_int(l.lo) {
                Some(0) => skipped,
                _ => build.binary(BinaryOp::Add, l.lo, skipped),
            }
        });
        let made = std::mem::take(&mut build.made);
        let at = out.body.stmts.iter().position(|s| matches!(s, t1::Stmt::For(l) if *l == id)).unwrap_or(n);
        out.body.stmts.splice(at..at, made.into_iter().map(t1::Stmt::Let));
        let l = &mut out.loops[id.0 as usize];
        (l.hi, l.lo) = (hi.unwrap_or(l.hi), lo.unwrap_or(l.lo));
        if mask.exact()
            && let Some(when) = l.when.take()
        {
            l.body.stmts.splice(0..0, when.block.stmts);
        }
    }
    out
}

/// The kernel with what is said of the trips of its loops of products in which nothing needs masking: none if nothing is.
///
/// ```text
/// for j over 0..L by 64 … where(j <= i + (L - S), z, -inf)        full: 0 .. min(L, i.lo + (L - S) + 1)
/// for j … where(j <= i && j > i - w, z, -inf)                     full: last i - w + 1 .. min(L, i.lo + 1)
/// ```
pub fn full(kernel: &t1::Kernel) -> Option<t1::Kernel> {
    if !super::products::wanted(kernel) {
        return None;
    }
    let mut out: Option<t1::Kernel> = None;
    for n in 0..kernel.body.stmts.len() {
        let t1::Stmt::For(id) = kernel.body.stmts[n] else { continue };
        let l = kernel.loop_(id);
        let (Some(axis), false) = (l.axis, l.rev) else { continue };
        let stmts = l.when.iter().flat_map(|w| &w.block.stmts).chain(&l.body.stmts);
        let compared = |s: &t1::Stmt| match s {
            t1::Stmt::Let(v) => match kernel.value(*v).op {
                Op::Compare(op, x, y) => Some((*v, compare(kernel, id, axis, op, x, y)?)),
                _ => None,
            },
            _ => None,
        };
        let found: Vec<(ValueId, Mask)> = stmts.filter_map(compared).collect();
        let found: Vec<_> =
            found.into_iter().filter(|(_, m)| m.lower.is_none() || m.upper.is_none()).collect();
        let out = out.get_or_insert_with(|| kernel.clone());
        let mut build = Build { kernel: out, made: Vec::new() };
        let mut to = build.kernel.axis(axis).hi;
        let mut from = None;
        for (_, mask) in &found {
            if let Some(u) = &mask.upper {
                let last = build.bound(u, false);
                let end = build.sum(last, 1);
                to = build.binary(BinaryOp::Min, to, end);
            }
            if let Some(b) = &mask.lower {
                let first = build.bound(b, true);
                from = Some(match from {
                    None => first,
                    Some(other) => build.binary(BinaryOp::Max, other, first),
                });
            }
        }
        let made = std::mem::take(&mut build.made);
        let at = out.body.stmts.iter().position(|s| matches!(s, t1::Stmt::For(l) if *l == id)).unwrap_or(n);
        out.body.stmts.splice(at..at, made.into_iter().map(t1::Stmt::Let));
        let holds = found.into_iter().map(|(v, _)| v).collect();
        out.loops[id.0 as usize].full = Some(t1::Full { from, to, holds });
    }
    out
}

/// A bound of the loop's coordinate.
#[derive(Clone, Debug)]
enum Bound {
    Form(Affine),
    /// The lesser, or the greater, of two.
    Least(Box<Bound>, Box<Bound>),
    Greatest(Box<Bound>, Box<Bound>),
}

/// What a condition says of the coordinate, both ends included.
#[derive(Clone, Debug, Default)]
struct Mask {
    lower: Option<Bound>,
    upper: Option<Bound>,
    /// The axes' part of every form, of each side.
    lowers: Vec<Vec<(AxisId, i64)>>,
    uppers: Vec<Vec<(AxisId, i64)>>,
    /// Something was not understood, or does not combine.
    loose: bool,
}

impl Mask {
    /// Every trip inside the bounds has an element for which the condition holds.
    fn exact(&self) -> bool {
        let all: Vec<_> = self.lowers.iter().chain(&self.uppers).collect();
        let one_sided = self.lowers.is_empty() || self.uppers.is_empty();
        !self.loose && if one_sided { corner(&all) } else { all.windows(2).all(|w| w[0] == w[1]) }
    }
}

/// Whether all forms have their extremes in one corner of the tile.
fn corner(forms: &[&Vec<(AxisId, i64)>]) -> bool {
    let signs: Vec<(AxisId, i64)> =
        forms.iter().flat_map(|f| f.iter().map(|(a, c)| (*a, c.signum()))).collect();
    signs.iter().all(|(a, s)| signs.iter().all(|(b, t)| a != b || s == t))
}

/// What the condition says, if anything.
fn mask(kernel: &t1::Kernel, id: t1::LoopId, axis: AxisId, cond: ValueId) -> Option<Mask> {
    let found = visit(kernel, id, axis, cond);
    let bounds = found.lower.is_some() || found.upper.is_some();
    (bounds || found.exact()).then_some(found)
}

fn visit(kernel: &t1::Kernel, id: t1::LoopId, axis: AxisId, cond: ValueId) -> Mask {
    let unknown = Mask { loose: true, ..Mask::default() };
    match kernel.value(cond).op {
        Op::Broadcast(x) | Op::Reorder(x) | Op::Cast(x) if kernel.ty(x).elem == ElemType::Bool => {
            visit(kernel, id, axis, x)
        }
        Op::Const(Const::Bool(true)) => Mask::default(),
        Op::Binary(BinaryOp::And, x, y) => {
            let (x, y) = (visit(kernel, id, axis, x), visit(kernel, id, axis, y));
            Mask {
                lower: both(x.lower, y.lower, Bound::Greatest),
                upper: both(x.upper, y.upper, Bound::Least),
                lowers: [x.lowers, y.lowers].concat(),
                uppers: [x.uppers, y.uppers].concat(),
                loose: x.loose || y.loose,
            }
        }
        Op::Binary(BinaryOp::Or, x, y) => {
            let (x, y) = (visit(kernel, id, axis, x), visit(kernel, id, axis, y));
            // Two ranges that begin at one end, or end at one, are a range.
            let prefix = [&x, &y].iter().all(|m| m.lowers.is_empty() && m.upper.is_some());
            let suffix = [&x, &y].iter().all(|m| m.uppers.is_empty() && m.lower.is_some());
            let pair = |a: Option<Bound>, b: Option<Bound>, how: fn(Box<Bound>, Box<Bound>) -> Bound| {
                a.zip(b).map(|(a, b)| how(Box::new(a), Box::new(b)))
            };
            Mask {
                lower: pair(x.lower, y.lower, Bound::Least),
                upper: pair(x.upper, y.upper, Bound::Greatest),
                lowers: [x.lowers, y.lowers].concat(),
                uppers: [x.uppers, y.uppers].concat(),
                loose: x.loose || y.loose || !(prefix || suffix),
            }
        }
        Op::Compare(op, x, y) => compare(kernel, id, axis, op, x, y).unwrap_or(unknown),
        _ => unknown,
    }
}

fn both(x: Option<Bound>, y: Option<Bound>, how: fn(Box<Bound>, Box<Bound>) -> Bound) -> Option<Bound> {
    match (x, y) {
        (Some(x), Some(y)) => Some(how(Box::new(x), Box::new(y))),
        (x, y) => x.or(y),
    }
}

/// `x op y` as bounds of the coordinate of `axis`.
fn compare(
    kernel: &t1::Kernel,
    id: t1::LoopId,
    axis: AxisId,
    op: CmpOp,
    x: ValueId,
    y: ValueId,
) -> Option<Mask> {
    let difference = kernel.affine(x)?.add(&kernel.affine(y)?.scale(-1)?)?;
    let one = difference.coefficient(axis);
    if one.abs() != 1 || difference.scalars.iter().any(|(v, _)| !outside(kernel, id, *v)) {
        return None;
    }
    // difference = one * j + rest, compared with 0.
    let rest = Affine {
        axes: difference.axes.iter().copied().filter(|(a, _)| *a != axis).collect(),
        ..difference.clone()
    };
    // j op' edge.
    let edge = rest.scale(-one)?;
    let op = if one == 1 { op } else { mirrored(op) };
    let shifted = |by: i64| edge.add(&Affine::constant(by));
    let (lower, upper) = match op {
        CmpOp::Le => (None, Some(edge.clone())),
        CmpOp::Lt => (None, Some(shifted(-1)?)),
        CmpOp::Ge => (Some(edge.clone()), None),
        CmpOp::Gt => (Some(shifted(1)?), None),
        CmpOp::Eq => (Some(edge.clone()), Some(edge.clone())),
        CmpOp::Ne => return None,
    };
    Some(Mask {
        lowers: lower.iter().map(|f| f.axes.clone()).collect(),
        uppers: upper.iter().map(|f| f.axes.clone()).collect(),
        lower: lower.map(Bound::Form),
        upper: upper.map(Bound::Form),
        loose: false,
    })
}

/// The comparison with its sides exchanged.
fn mirrored(op: CmpOp) -> CmpOp {
    match op {
        CmpOp::Lt => CmpOp::Gt,
        CmpOp::Le => CmpOp::Ge,
        CmpOp::Gt => CmpOp::Lt,
        CmpOp::Ge => CmpOp::Le,
        CmpOp::Eq | CmpOp::Ne => op,
    }
}

/// Whether a scalar is the same in every trip.
fn outside(kernel: &t1::Kernel, id: t1::LoopId, v: ValueId) -> bool {
    match &kernel.value(v).op {
        Op::LoopVar(l) | Op::LoopParam(l, _) => *l != id,
        Op::Iota(_) | Op::IfResult(..) | Op::AtomicOld | Op::Mma { .. } => false,
        op => op.operands().into_iter().all(|x| outside(kernel, id, x)),
    }
}

/// New scalars.
struct Build<'a> {
    kernel: &'a mut t1::Kernel,
    made: Vec<ValueId>,
}

impl Build<'_> {
    fn value(&mut self, op: Op) -> ValueId {
        let span = crate::diagnostics::Span::default();
        self.kernel.values.push(Value { ty: TileType::scalar(ElemType::Index), op, span, name: None });
        let id = ValueId(self.kernel.values.len() as u32 - 1);
        self.made.push(id);
        id
    }

    fn int(&mut self, c: i64) -> ValueId {
        self.value(Op::Const(Const::Int(c.into())))
    }

    fn binary(&mut self, op: BinaryOp, x: ValueId, y: ValueId) -> ValueId {
        self.value(Op::Binary(op, x, y))
    }

    fn sum(&mut self, x: ValueId, by: i64) -> ValueId {
        match by {
            0 => x,
            by => {
                let by = self.int(by);
                self.binary(BinaryOp::Add, x, by)
            }
        }
    }

    fn times(&mut self, x: ValueId, by: i64) -> ValueId {
        match by {
            1 => x,
            by => {
                let by = self.int(by);
                self.binary(BinaryOp::Mul, x, by)
            }
        }
    }

    /// The extreme of a bound over the tile: the greatest for the end of the loop, the least for its start.
    fn bound(&mut self, b: &Bound, greatest: bool) -> ValueId {
        let (op, x, y) = match b {
            Bound::Form(form) => return self.extreme(form, greatest),
            Bound::Least(x, y) => (BinaryOp::Min, x, y),
            Bound::Greatest(x, y) => (BinaryOp::Max, x, y),
        };
        let (x, y) = (self.bound(x, greatest), self.bound(y, greatest));
        self.binary(op, x, y)
    }

    fn extreme(&mut self, form: &Affine, greatest: bool) -> ValueId {
        let mut total: Option<ValueId> = None;
        let mut terms = Vec::new();
        for (a, c) in &form.axes {
            let axis = self.kernel.axis(*a).clone();
            let at = if (*c > 0) == greatest {
                let end = self.sum(axis.lo, i64::from(axis.extent));
                let end = self.binary(BinaryOp::Min, end, axis.hi);
                self.sum(end, -1)
            } else {
                axis.lo
            };
            terms.push((at, *c));
        }
        for (v, c) in &form.scalars {
            let index = self.kernel.ty(*v).elem == ElemType::Index;
            terms.push((if index { *v } else { self.value(Op::Cast(*v)) }, *c));
        }
        for (v, c) in terms {
            let term = self.times(v, c);
            total = Some(match total {
                None => term,
                Some(x) => self.binary(BinaryOp::Add, x, term),
            });
        }
        match total {
            None => self.int(form.constant),
            Some(x) => self.sum(x, form.constant),
        }
    }
}
