//! What a machine may do differently and still be right, beyond small errors: which side of a jump a number falls on, and who comes first.
//!
//! **Jumps.** `floor(x * s) as i32` takes one of two neighbours; where `x * s` is within its own error of the boundary between them, either
//! is right. An error rule on the result alone would have to allow no unit or one everywhere. So the rule is applied to what was
//! rounded: a *jump* is a cast from float to integer (or `e8m0`), a `floor`, `ceil`, `round`, `trunc` of floats, a comparison of floats, which
//! jumps where their difference is zero, or `%` of floats, which jumps where their quotient is whole; its *slack* is how far the number before it may be off by the rule for results, `2 max|base − exact| + 1e-5 max(1, max|exact|)`, and zero where the plain
//! evaluation is exact. [`unrounded_and_slacks`] finds it for every jump of a kernel: one run in real arithmetic records what each jump saw and gave, one
//! in the kernel's types is given the recorded results (so that what an earlier jump decided does not count as an error of a later one)
//! and measures. Runs with every number moved by its slack, up and down, give the results between which a right one lies.
//!
//! Worked example: `x * s = 2.9999999`, slack 1e-5. `floor` gives 2, moved up 3, moved down 2: both 2 and 3 are right. At 2.5 only 2 is.
//!
//! **Picks.** Which of nearly equal elements `argmax`, `sort` and `topk` pick: see [`Picks`].
//!
//! **Order.** Instances, and lanes of a statement, combine into an element by `atomic` in any order; the old values that they see depend on it.
//! [`Order`] runs them in another; [`order_dependent`] says which tensors can show it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::error::EvalError;
use super::inputs::{Inputs, Outputs};
use super::memory::InstanceId;
pub use super::picks::Picks;
use super::picks::picked;
use super::values::{Tile, TileRef, Values};
use super::{Mode, evaluate_freely};
use crate::numeric::Format;
use crate::tile::ir::*;

/// In which order instances run, and lanes of an `atomic` combine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Ascending,
    Descending,
    /// In a fixed order without a pattern.
    Mixed,
}

impl Order {
    /// A permutation of `0..count`.
    pub(super) fn of(self, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..count).collect();
        match self {
            Order::Ascending => {}
            Order::Descending => all.reverse(),
            Order::Mixed => {
                all.sort_by_key(|&n| (n as u64 ^ 0x9e37).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29))
            }
        }
        all
    }
}

/// What a run does differently.
#[derive(Debug, Default)]
pub struct Freedom {
    pub order: Order,
    /// What is added to the number before a jump (a factor's excess over one where the jump goes to `e8m0`).
    pub moved: BTreeMap<ValueId, f64>,
    /// Rivals are picked of the elements that `moved` has slacks for.
    pub picks: Option<Picks>,
    pub(super) watch: Watch,
}

/// What a run writes down about jumps, or is given.
#[derive(Debug, Default)]
pub(super) enum Watch {
    #[default]
    No,
    Record(Mutex<Seen>),
    Replay(Seen, Mutex<Replayed>),
}

/// What a jump saw and gave, each time that an instance came by, in order.
type Seen = BTreeMap<(ValueId, u32), Vec<(Vec<f64>, Values)>>;

#[derive(Debug, Default)]
pub(super) struct Replayed {
    visits: BTreeMap<(ValueId, u32), usize>,
    /// Greatest error before the jump, and greatest number there.
    errors: BTreeMap<ValueId, (f64, f64)>,
}

/// Whether a value jumps where what it is computed from changes ever so little.
fn jumps(kernel: &Kernel, v: ValueId) -> bool {
    let float = |x: &ValueId| kernel.ty(*x).elem.is_float() && !is_scale(kernel.ty(*x).elem);
    match &kernel.value(v).op {
        Op::Cast(x) => float(x) && (!kernel.ty(v).elem.is_float() || is_scale(kernel.ty(v).elem)),
        Op::Unary(UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round | UnaryOp::Trunc, x) => float(x),
        Op::Compare(_, x, _) | Op::Binary(BinaryOp::Rem, x, _) => float(x),
        _ => picked(kernel, v).is_some(),
    }
}

/// Whether the jump `v` gives something else where the number before it is moved by the slack.
fn near(kernel: &Kernel, v: ValueId, x: f64, slack: f64) -> bool {
    let ty = kernel.ty(v);
    let (lo, hi) =
        if is_scale(ty.elem) { (x * (1.0 - slack), x * (1.0 + slack)) } else { (x - slack, x + slack) };
    match (&kernel.value(v).op, ty.elem.format()) {
        // Of `%`, the quotient.
        (Op::Unary(UnaryOp::Floor, _) | Op::Binary(..), _) => lo.floor() != hi.floor(),
        (Op::Unary(UnaryOp::Ceil, _), _) => lo.ceil() != hi.ceil(),
        (Op::Unary(UnaryOp::Trunc, _), _) => lo.trunc() != hi.trunc(),
        (Op::Unary(..), _) => lo.round_ties_even() != hi.round_ties_even(),
        (Op::Cast(_), Format::Int(f)) => f.round_f64(lo) != f.round_f64(hi),
        (Op::Cast(_), Format::Scale(s)) => s.round(lo) != s.round(hi),
        // Rivals are looked for where they are picked.
        (Op::Reduce { .. } | Op::Sort { .. } | Op::TopK { .. }, _) => true,
        // Of a comparison, the difference.
        _ => lo <= 0.0 && hi >= 0.0,
    }
}

fn is_scale(elem: ElemType) -> bool {
    matches!(elem.format(), Format::Scale(_))
}

impl Freedom {
    /// Nothing but another order.
    pub fn in_order(order: Order) -> Freedom {
        Freedom { order, ..Freedom::default() }
    }

    /// The number before a jump, moved.
    pub(super) fn before(&self, kernel: &Kernel, v: ValueId, x: &TileRef) -> TileRef {
        let (Some(&by), Values::Float(values)) = (self.moved.get(&v), &x.data) else { return x.clone() };
        let moved = match is_scale(kernel.ty(v).elem) {
            true => values.iter().map(|x| x * (1.0 + by)).collect(),
            false => values.iter().map(|x| x + by).collect(),
        };
        TileRef::new(Tile { axes: x.axes.clone(), shape: x.shape.clone(), data: Values::Float(moved) })
    }

    /// Whether a jump is moved or watched.
    pub(super) fn asks(&self, kernel: &Kernel, v: ValueId) -> bool {
        self.moved.contains_key(&v) || self.watches(kernel, v)
    }

    /// The rests `x % y` where the quotients, moved, are other whole numbers: there they start again from zero, or end at the divisor.
    pub(super) fn move_rests(&self, v: ValueId, given: &mut Values, quotients: &Values, divisors: &Values) {
        let (Some(&by), Values::Float(rests), Values::Float(quotients), Values::Float(divisors)) =
            (self.moved.get(&v), given, quotients, divisors)
        else {
            return;
        };
        for ((rest, q), y) in rests.iter_mut().zip(quotients).zip(divisors) {
            if rest.is_finite() && (q + by).floor() != q.floor() {
                *rest = if by > 0.0 { 0.0 } else { *y };
            }
        }
    }

    /// What is picked in the place of `given`: see [`Picks`].
    pub(super) fn picks(&self, kernel: &Kernel, v: ValueId, x: &Tile, lo: i64, given: Tile) -> Tile {
        let Some(picked) = picked(kernel, v) else { return given };
        match (&self.picks, self.moved.get(&v)) {
            (Some(picks), Some(slack)) => picks.others(&picked, x, lo, &given, *slack),
            _ => given,
        }
    }

    /// Whether jumps are written down or replayed.
    pub(super) fn watches(&self, kernel: &Kernel, v: ValueId) -> bool {
        !matches!(self.watch, Watch::No) && jumps(kernel, v)
    }

    /// What a jump gives: what was computed, or what is replayed. `x` is the tile before it.
    pub(super) fn after(
        &self,
        kernel: &Kernel,
        v: ValueId,
        me: InstanceId,
        x: &Tile,
        given: Values,
    ) -> Values {
        let (key, numbers) = ((v, me.0), x.floats());
        match &self.watch {
            Watch::No => given,
            Watch::Record(seen) => {
                let mut seen = seen.lock().unwrap_or_else(|p| p.into_inner());
                seen.entry(key).or_default().push((numbers.into_owned(), given.clone()));
                given
            }
            Watch::Replay(seen, replayed) => {
                let mut replayed = replayed.lock().unwrap_or_else(|p| p.into_inner());
                let visit = replayed.visits.entry(key).or_default();
                let recorded = seen.get(&key).and_then(|visits| visits.get(*visit));
                *visit += 1;
                match recorded {
                    Some((exact, result)) if exact.len() == numbers.len() && result.len() == given.len() => {
                        let (error, greatest) = replayed.errors.entry(v).or_default();
                        // A coordinate's range says nothing of what it was picked by.
                        let to = if picked(kernel, v).is_some() { ElemType::F64 } else { kernel.ty(v).elem };
                        measure(to, exact, &numbers, error, greatest);
                        result.clone()
                    }
                    _ => given,
                }
            }
        }
    }
}

/// Rests of a division as they were given, with their errors, but those that began anew elsewhere than the recorded ones.
pub(super) fn rests_of_one_quotient(given: Values, recorded: Values, divisors: &Values) -> Values {
    match (given, recorded, divisors) {
        (Values::Float(mut given), Values::Float(recorded), Values::Float(divisors)) => {
            for ((g, r), y) in given.iter_mut().zip(&recorded).zip(divisors) {
                if (*g - r).abs() > y.abs() / 2.0 {
                    *g = *r;
                }
            }
            Values::Float(given)
        }
        (_, recorded, _) => recorded,
    }
}

/// Takes the errors of `base` into account. Beyond the range of an integer type there is nothing to be off by.
fn measure(to: ElemType, exact: &[f64], base: &[f64], error: &mut f64, greatest: &mut f64) {
    let (least, most) = match to.format() {
        Format::Int(f) if f.signed() => (f.min() as f64 - 1.0, f.max() as f64 + 1.0),
        Format::Int(f) => (-1.0, f.max() as u64 as f64 + 1.0),
        _ => (f64::NEG_INFINITY, f64::INFINITY),
    };
    for (e, b) in exact.iter().zip(base) {
        let (e, b) = (e.clamp(least, most), b.clamp(least, most));
        if !e.is_finite() || !b.is_finite() {
            continue;
        }
        if is_scale(to) {
            if e != 0.0 {
                *error = error.max(((b - e) / e).abs());
            }
        } else {
            *error = error.max((b - e).abs());
            *greatest = greatest.max(e.abs());
        }
    }
}

/// The unrounded result, and how far the number before each jump may be off: of those jumps that some number is so near to. So most
/// programs have none, and nothing else to evaluate.
///
/// # Errors
/// Those of an evaluation.
pub fn unrounded_and_slacks(
    kernel: &Kernel,
    inputs: &Inputs,
) -> Result<(Outputs, BTreeMap<ValueId, f64>), EvalError> {
    let record = Freedom { watch: Watch::Record(Mutex::default()), ..Freedom::default() };
    let outputs = evaluate_freely(kernel, inputs, Mode::Unrounded, &record)?;
    let seen = match record.watch {
        Watch::Record(seen) => seen.into_inner().unwrap_or_else(|p| p.into_inner()),
        Watch::No | Watch::Replay(..) => Seen::new(),
    };
    if seen.is_empty() {
        return Ok((outputs, BTreeMap::new()));
    }
    let replay = Freedom { watch: Watch::Replay(seen, Mutex::default()), ..Freedom::default() };
    evaluate_freely(kernel, inputs, Mode::Typed, &replay)?;
    let Watch::Replay(seen, replayed) = replay.watch else { return Ok((outputs, BTreeMap::new())) };
    let errors = replayed.into_inner().unwrap_or_else(|p| p.into_inner()).errors;
    let off = errors.into_iter().filter(|(_, (error, _))| *error > 0.0);
    let mut slacks: BTreeMap<ValueId, f64> =
        off.map(|(v, (error, greatest))| (v, 2.0 * error + 1e-5 * greatest.max(1.0))).collect();
    slacks.retain(|v, slack| {
        let visits = seen.iter().filter(|((of, _), _)| of == v).flat_map(|(_, visits)| visits);
        visits.flat_map(|(exact, _)| exact).any(|x| near(kernel, *v, *x, *slack))
    });
    Ok((outputs, slacks))
}

/// The results between which a right one lies: every number before a jump moved by its slack, all down, all up, and every other
/// one the other way. Runs that break a rule of the program say nothing and are left out.
pub fn moved_results(kernel: &Kernel, inputs: &Inputs, slacks: &BTreeMap<ValueId, f64>) -> Vec<Outputs> {
    let slacks: BTreeMap<ValueId, f64> =
        slacks.iter().filter(|(v, _)| picked(kernel, **v).is_none()).map(|(v, s)| (*v, *s)).collect();
    let sides: &[[f64; 2]] = match slacks.len() {
        0 => &[],
        1 => &[[-1.0, -1.0], [1.0, 1.0]],
        _ => &[[-1.0, -1.0], [1.0, 1.0], [-1.0, 1.0], [1.0, -1.0]],
    };
    let run = |side: &[f64; 2]| {
        let moved = slacks.iter().enumerate().map(|(n, (&v, slack))| (v, slack * side[n % 2])).collect();
        evaluate_freely(kernel, inputs, Mode::Unrounded, &Freedom { moved, ..Freedom::default() }).ok()
    };
    sides.iter().filter_map(run).collect()
}

/// More rivals are not tried.
const RIVALS: usize = 64;

/// The results with other picks, one for each number of a rival; none where no pick has rivals.
pub fn picked_results(kernel: &Kernel, inputs: &Inputs, slacks: &BTreeMap<ValueId, f64>) -> Vec<Outputs> {
    let moved: BTreeMap<ValueId, f64> =
        slacks.iter().filter(|(v, _)| picked(kernel, **v).is_some()).map(|(v, s)| (*v, *s)).collect();
    let (mut results, mut most) = (Vec::new(), if moved.is_empty() { 0 } else { RIVALS });
    let mut which = 0;
    while which < most {
        let picks = Some(Picks { which, ..Picks::default() });
        let freedom = Freedom { moved: moved.clone(), picks, ..Freedom::default() };
        results.extend(evaluate_freely(kernel, inputs, Mode::Unrounded, &freedom).ok());
        let rivals = freedom.picks.map_or(0, Picks::rivals);
        if rivals <= 1 && which == 0 {
            return Vec::new();
        }
        most = rivals.min(RIVALS);
        which += 1;
    }
    results
}

/// Tensors that hold something computed from picks that have slacks, or placed by them.
pub fn pick_dependent(kernel: &Kernel, slacks: &BTreeMap<ValueId, f64>) -> Vec<TensorId> {
    reached(kernel, |v| slacks.contains_key(&v) && picked(kernel, v).is_some())
}

/// Tensors that hold something computed from the old value of an `atomic`, or placed by it, directly or by way of other tensors.
pub fn order_dependent(kernel: &Kernel) -> Vec<TensorId> {
    reached(kernel, |v| matches!(kernel.value(v).op, Op::AtomicOld))
}

/// Tensors that hold something computed from these values, or placed by them.
fn reached(kernel: &Kernel, from: impl Fn(ValueId) -> bool) -> Vec<TensorId> {
    let seed: Vec<bool> = (0..kernel.values.len()).map(|v| from(ValueId(v as u32))).collect();
    let mut spread =
        Spread { kernel, values: seed, tensors: vec![false; kernel.tensors.len()], changed: true };
    while std::mem::take(&mut spread.changed) {
        spread.block(&kernel.body, false);
    }
    (0..kernel.tensors.len()).filter(|&t| spread.tensors[t]).map(|t| TensorId(t as u32)).collect()
}

/// What has been reached so far.
struct Spread<'a> {
    kernel: &'a Kernel,
    values: Vec<bool>,
    tensors: Vec<bool>,
    changed: bool,
}

impl Spread<'_> {
    fn has(&self, v: ValueId) -> bool {
        self.values[v.0 as usize]
    }

    fn value(&mut self, v: ValueId, reached: bool) {
        let slot = &mut self.values[v.0 as usize];
        self.changed |= reached && !*slot;
        *slot |= reached;
    }

    fn tensor(&mut self, t: TensorId, reached: bool) {
        let slot = &mut self.tensors[t.0 as usize];
        self.changed |= reached && !*slot;
        *slot |= reached;
    }

    /// `under`: whether it depends on such a value that the block runs at all.
    fn block(&mut self, block: &Block, under: bool) {
        let kernel = self.kernel;
        for stmt in &block.stmts {
            match stmt {
                Stmt::Let(v) => {
                    let op = &kernel.value(*v).op;
                    // A tile's axes are part of it: one that is placed by such a value holds other elements.
                    let axes = kernel.ty(*v).axes.iter().map(|a| kernel.axis(*a));
                    let placed = axes.into_iter().any(|a| self.has(a.lo) || self.has(a.hi));
                    let read = matches!(op, Op::Read { tensor, .. } if self.tensors[tensor.0 as usize]);
                    let from = op.operands().iter().any(|x| self.has(*x));
                    self.value(*v, placed || read || from);
                }
                Stmt::Write(w) => {
                    let parts = w.ix.iter().chain([&w.value]).chain(&w.when);
                    let reached = under || parts.into_iter().any(|v| self.has(*v));
                    self.tensor(w.tensor, reached);
                }
                Stmt::Atomic(a) => {
                    let parts = a.ix.iter().chain([&a.value]).chain(&a.when);
                    let reached = under || parts.into_iter().any(|v| self.has(*v));
                    self.tensor(a.tensor, reached);
                }
                Stmt::For(l) => {
                    let l = kernel.loop_(*l);
                    let when = l.when.as_ref();
                    if let Some(when) = when {
                        self.block(&when.block, under);
                    }
                    let under = under
                        || self.has(l.lo)
                        || self.has(l.hi)
                        || when.is_some_and(|when| self.has(when.cond));
                    self.value(l.var, self.has(l.lo));
                    for c in &l.carried {
                        self.value(c.param, self.has(c.init) || self.has(c.next));
                    }
                    self.block(&l.body, under);
                    for c in &l.carried {
                        self.value(c.result, under || self.has(c.init) || self.has(c.next));
                    }
                }
                Stmt::If(i) => {
                    let i = kernel.if_(*i);
                    let under = under || self.has(i.cond);
                    self.block(&i.then_block, under);
                    self.block(&i.else_block, under);
                    for r in &i.results {
                        self.value(r.result, under || self.has(r.then_value) || self.has(r.else_value));
                    }
                }
            }
        }
    }
}
