//! How many instances a grid has, before anyone has looked at data: what the host launches.
//!
//! | a range | blocks along it |
//! | --- | --- |
//! | from and to what the launch knows | exactly as many as tiles |
//! | to or from data or earlier grid variables | as many as promises allow; blocks past the end leave at once |
//! | `i over off[e]..off[e + 1] by B` inside `e over E`, `off` ascending to R | both together: at most `E + R / B` tiles, found by a search |
//!
//! The last row is what makes ragged batches cheap: the parts lie end to end, so however they are cut there are few tiles in all, where
//! every part alone could be R long. Worked example: 64 experts, 4096 rows, tiles of 64 rows: at most 128 tiles, not 64 · 64.

use super::refuse::Refusal;
use crate::tile::{ir as t1, multiples::is_multiple};
use t1::{BinaryOp, Const, ElemType, Holds, LaunchExpr, Op, ValueId};

/// How the blocks of one grid variable are counted.
#[derive(Clone, Debug, PartialEq)]
pub enum Extent {
    /// `hi - lo`, exactly.
    Exact(LaunchExpr),
    /// `hi - lo` is at most this.
    AtMost(LaunchExpr),
    /// Found together with the variable that names it.
    Carrier,
    /// This many tiles at most, over all values of `carrier`.
    Packed { carrier: t1::GridId, tiles: LaunchExpr },
}

/// The extent of every grid variable.
pub fn extents(kernel: &t1::Kernel) -> Result<Vec<Extent>, Refusal> {
    let mut out: Vec<Extent> = Vec::new();
    for (n, g) in kernel.grid.iter().enumerate() {
        if let Some((carrier, tiles)) = packed(kernel, n)
            && out.iter().all(|e| matches!(e, Extent::Exact(_)))
        {
            out[carrier.0 as usize] = Extent::Carrier;
            out.push(Extent::Packed { carrier, tiles });
            continue;
        }
        if let (Some(lo), Some(hi)) = (known(kernel, g.lo), known(kernel, g.hi)) {
            out.push(Extent::Exact(minus(hi, lo)));
            continue;
        }
        let (Some(lo), Some(hi)) = (least(kernel, g.lo), most(kernel, g.hi)) else {
            return Err(Refusal::construct(g.span, format!("the grid range `{}` of unknown length", g.name))
                .help("promise what the tensor of its bounds holds, as in `len: i32[B] in 0..=L` or `off: i32[E + 1] ascending 0..R`"));
        };
        out.push(Extent::AtMost(minus(hi, lo)));
    }
    Ok(out)
}

/// Tiles along an axis.
pub fn step(kernel: &t1::Kernel, g: &t1::GridVar) -> u32 {
    g.axis.map_or(1, |a| kernel.axis(a).extent)
}

fn minus(x: LaunchExpr, y: LaunchExpr) -> LaunchExpr {
    match y.eval_int(&t1::NoFacts) {
        Some(0) => x,
        _ => LaunchExpr::Binary(BinaryOp::Sub, Box::new(x), Box::new(y)),
    }
}

/// `hi - lo` as the launch can compute it.
pub fn between(kernel: &t1::Kernel, lo: ValueId, hi: ValueId) -> Option<LaunchExpr> {
    Some(minus(known(kernel, hi)?, known(kernel, lo)?))
}

/// A scalar as the launch can compute it.
pub fn known(kernel: &t1::Kernel, v: ValueId) -> Option<LaunchExpr> {
    Some(match &kernel.value(v).op {
        Op::Const(Const::Int(c)) => LaunchExpr::int(i64::try_from(*c).ok()?),
        Op::Dim(d) => LaunchExpr::Dim(*d),
        Op::Param(s) => LaunchExpr::Scalar(*s),
        Op::Cast(x) if kernel.ty(*x).elem.is_integer() => known(kernel, *x)?,
        Op::Binary(op, x, y) => {
            LaunchExpr::Binary(*op, Box::new(known(kernel, *x)?), Box::new(known(kernel, *y)?))
        }
        _ => return None,
    })
}

/// An upper bound of an integer scalar that the launch can compute.
fn most(kernel: &t1::Kernel, v: ValueId) -> Option<LaunchExpr> {
    if let Some(e) = known(kernel, v) {
        return Some(e);
    }
    let two = |op, x, y| LaunchExpr::Binary(op, Box::new(x), Box::new(y));
    match &kernel.value(v).op {
        Op::Cast(x) if kernel.ty(*x).elem.is_integer() => most(kernel, *x),
        Op::Read { tensor, .. } => match kernel.tensor(*tensor).holds.as_ref()? {
            Holds::In { hi, .. } | Holds::Ascending { hi, .. } => Some(hi.clone()),
        },
        Op::GridVar(g) => most(kernel, kernel.grid_var(*g).hi),
        Op::Binary(BinaryOp::Min, x, y) => match (most(kernel, *x), most(kernel, *y)) {
            (Some(x), Some(y)) => Some(two(BinaryOp::Min, x, y)),
            (x, y) => x.or(y),
        },
        Op::Binary(op @ (BinaryOp::Max | BinaryOp::Add), x, y) => {
            Some(two(*op, most(kernel, *x)?, most(kernel, *y)?))
        }
        Op::Binary(BinaryOp::Sub, x, y) => Some(minus(most(kernel, *x)?, least(kernel, *y)?)),
        Op::Binary(op @ (BinaryOp::Mul | BinaryOp::Div | BinaryOp::Cdiv), x, y)
            if not_negative(kernel, *x) && kernel.const_int(*y).is_some_and(|c| c > 0) =>
        {
            Some(two(*op, most(kernel, *x)?, known(kernel, *y)?))
        }
        _ => None,
    }
}

/// A lower bound of an integer scalar that the launch can compute.
fn least(kernel: &t1::Kernel, v: ValueId) -> Option<LaunchExpr> {
    known(kernel, v).or_else(|| not_negative(kernel, v).then(|| LaunchExpr::int(0)))
}

/// Whether an integer, or every element of an integer tile, is known to be at least 0. What is read outside a tensor is 0.
/// Scalars are computed in 64 bits.
pub fn not_negative(kernel: &t1::Kernel, v: ValueId) -> bool {
    at_least_zero(kernel, v, kernel.ty(v).is_scalar())
}

/// The same of a number that is held in 32 bits, with all that it is computed from.
pub fn not_negative_in_32_bits(kernel: &t1::Kernel, v: ValueId) -> bool {
    at_least_zero(kernel, v, false)
}

fn at_least_zero(kernel: &t1::Kernel, v: ValueId, wide: bool) -> bool {
    let not_negative = |x: ValueId| at_least_zero(kernel, x, wide);
    let both = |x: ValueId, y: ValueId| not_negative(x) && not_negative(y);
    match &kernel.value(v).op {
        Op::Const(Const::Int(c)) => *c >= 0,
        Op::Dim(_) => true,
        Op::Cast(_) if is_unsigned(kernel.ty(v).elem) => true,
        Op::Cast(x) => keeps(kernel, *x, v, wide) && not_negative(*x),
        Op::Read { tensor, .. } => {
            let t = kernel.tensor(*tensor);
            let from = |lo: &LaunchExpr| lo.eval_int(&t1::NoFacts).is_some_and(|c| c >= 0);
            match &t.holds {
                Some(Holds::In { lo, .. } | Holds::Ascending { lo, .. }) => from(lo),
                None => is_unsigned(t.elem),
            }
        }
        Op::Param(s) => {
            let s = kernel.scalar(*s);
            match &s.holds {
                Some(Holds::In { lo, .. } | Holds::Ascending { lo, .. }) => {
                    lo.eval_int(&t1::NoFacts).is_some_and(|c| c >= 0)
                }
                None => is_unsigned(s.elem),
            }
        }
        Op::Iota(a) => not_negative(kernel.axis(*a).lo),
        Op::Broadcast(x) => not_negative(*x),
        Op::GridVar(g) => not_negative(kernel.grid_var(*g).lo),
        Op::LoopVar(l) => not_negative(kernel.loop_(*l).lo),
        Op::Binary(BinaryOp::Max, x, y) => not_negative(*x) || not_negative(*y),
        // Signed types wrap.
        Op::Binary(BinaryOp::Add | BinaryOp::Mul, x, y) => {
            let ty = kernel.ty(v);
            (wide || ty.elem == ElemType::Index || is_unsigned(ty.elem)) && both(*x, *y)
        }
        Op::Binary(BinaryOp::Div | BinaryOp::Cdiv | BinaryOp::Rem | BinaryOp::Min, x, y) => both(*x, *y),
        Op::Binary(BinaryOp::Sub, ..) => backwards(kernel, v).is_some(),
        _ => false,
    }
}

/// n, where an integer is `n - 1 - x % n`: the coordinates of a part, from its end.
fn backwards(kernel: &t1::Kernel, v: ValueId) -> Option<LaunchExpr> {
    let Op::Binary(BinaryOp::Sub, last, at) = kernel.value(v).op else { return None };
    let Op::Binary(BinaryOp::Rem, _, n) = *through_cast(kernel, at) else { return None };
    let n = known(kernel, n)?;
    let before =
        |c: i64| LaunchExpr::Binary(BinaryOp::Sub, Box::new(n.clone()), Box::new(LaunchExpr::int(c)));
    let fits = match (kernel.const_int(last), n.eval_int(&t1::NoFacts)) {
        (Some(last), Some(n)) => n > 0 && last == n - 1,
        _ => known(kernel, last)? == before(1),
    };
    fits.then_some(n)
}

fn is_unsigned(elem: ElemType) -> bool {
    elem.is_integer() && !elem.is_signed()
}

/// Whether a cast of an integer that is not negative is that number still: the type holds whatever the other does, or what is promised of it.
fn keeps(kernel: &t1::Kernel, x: ValueId, cast: ValueId, wide: bool) -> bool {
    // Bits of the largest number. A coordinate has 31, and room for all of 64 where it is `wide`.
    let bits = |v: ValueId, coordinate: u32| match kernel.ty(v).elem {
        ElemType::Bool => Some(1),
        ElemType::Index => Some(coordinate),
        ElemType::Int(w) => Some(u32::from(w) - 1),
        ElemType::Uint(w) => Some(u32::from(w)),
        _ => None,
    };
    let room = bits(cast, if wide { 63 } else { 31 });
    let (Some(room), Some(wanted)) = (room, bits(x, 31)) else { return false };
    let holds = match &kernel.value(x).op {
        Op::Read { tensor, .. } => kernel.tensor(*tensor).holds.as_ref(),
        Op::Param(s) => kernel.scalar(*s).holds.as_ref(),
        _ => None,
    };
    // Sizes fit in 31 bits.
    let promised = holds.is_some_and(|holds| {
        let (Holds::In { hi, .. } | Holds::Ascending { hi, .. }) = holds;
        hi.eval_int(&t1::NoFacts).is_none_or(|n| n <= i32::MAX.into())
    });
    wanted <= room || promised && room >= 31
}

/// Whether an integer scalar is known to be at most this extent.
pub fn at_most(kernel: &t1::Kernel, v: ValueId, extent: &LaunchExpr) -> bool {
    if known(kernel, v).is_some_and(|e| covers(extent, &e)) {
        return true;
    }
    let constant = |e: &LaunchExpr| match e {
        LaunchExpr::Dim(d) => kernel.dim(*d).frozen,
        e => e.eval_int(&t1::NoFacts),
    };
    let number = match kernel.value(v).op {
        Op::Dim(d) => kernel.dim(d).frozen,
        _ => kernel.const_int(v),
    };
    if let (Some(c), Some(e)) = (number, constant(extent)) {
        return c <= e;
    }
    match &kernel.value(v).op {
        Op::Cast(x) => {
            keeps(kernel, *x, v, kernel.ty(v).is_scalar())
                && not_negative(kernel, *x)
                && at_most(kernel, *x, extent)
        }
        Op::Binary(BinaryOp::Min, x, y) => at_most(kernel, *x, extent) || at_most(kernel, *y, extent),
        Op::Binary(BinaryOp::Max, x, y) => at_most(kernel, *x, extent) && at_most(kernel, *y, extent),
        Op::Read { tensor, .. } => match &kernel.tensor(*tensor).holds {
            // What lies outside the tensor is 0, which no extent is below.
            Some(Holds::In { hi, .. } | Holds::Ascending { hi, .. }) => hi == extent,
            None => false,
        },
        Op::Param(s) => match &kernel.scalar(*s).holds {
            Some(Holds::In { hi, .. } | Holds::Ascending { hi, .. }) => hi == extent,
            None => false,
        },
        _ => false,
    }
}

/// Whether an extent is never less than another: itself, a multiple, more. No dimension is negative.
fn covers(extent: &LaunchExpr, e: &LaunchExpr) -> bool {
    fn not_negative(e: &LaunchExpr) -> bool {
        match e {
            LaunchExpr::Dim(_) => true,
            LaunchExpr::Binary(BinaryOp::Add | BinaryOp::Mul, x, y) => not_negative(x) && not_negative(y),
            e => e.eval_int(&t1::NoFacts).is_some_and(|c| c >= 0),
        }
    }
    let times = |c: &LaunchExpr, x: &LaunchExpr| {
        c.eval_int(&t1::NoFacts).is_some_and(|c| c >= 1) && not_negative(x) && covers(x, e)
    };
    extent == e
        || match extent {
            LaunchExpr::Binary(BinaryOp::Mul, x, y) => times(x, y) || times(y, x),
            LaunchExpr::Binary(BinaryOp::Add, x, y) => {
                covers(x, e) && not_negative(y) || covers(y, e) && not_negative(x)
            }
            _ => false,
        }
}

/// Whether an integer, or every element of an integer tile, is promised to be a coordinate below this extent.
pub fn below(kernel: &t1::Kernel, v: ValueId, extent: &LaunchExpr) -> bool {
    match &kernel.value(v).op {
        // A code of so many bits.
        Op::Cast(x)
            if matches!(kernel.ty(*x).elem, ElemType::Uint(w) if w < 32 && keeps(kernel, *x, v, kernel.ty(v).is_scalar())
            && extent.eval_int(&t1::NoFacts).is_some_and(|n| n >= 1 << w)) =>
        {
            true
        }
        Op::Cast(x) => keeps(kernel, *x, v, kernel.ty(v).is_scalar()) && below(kernel, *x, extent),
        // Of nothing but what is below 1, where the extent is 0.
        Op::Binary(BinaryOp::Rem, _, y) if known(kernel, *y).as_ref() == Some(extent) => true,
        Op::Binary(BinaryOp::Sub, ..) if backwards(kernel, v).as_ref() == Some(extent) => true,
        Op::Read { tensor, .. } => match &kernel.tensor(*tensor).holds {
            Some(Holds::In { hi, inclusive: false, .. }) => hi == extent && not_negative(kernel, v),
            _ => false,
        },
        Op::Param(s) => match &kernel.scalar(*s).holds {
            Some(Holds::In { hi, inclusive: false, .. }) => hi == extent && not_negative(kernel, v),
            _ => false,
        },
        _ => false,
    }
}

/// Whether a scalar is `g * (H / G) + r` with g below G and r below H / G, which is below H.
pub fn pair_below(kernel: &t1::Kernel, v: ValueId, extent: &LaunchExpr) -> bool {
    let split = |sum: ValueId, r: ValueId| {
        variable_below(kernel, r).is_some_and(|r| multiple_below(kernel, sum, &r, extent))
    };
    match *through_cast(kernel, v) {
        Op::Binary(BinaryOp::Add, x, y) => split(x, y) || split(y, x),
        _ => false,
    }
}

/// Whether an offset `g * (H / G)` and the coordinates of a range below H / G are together below H.
pub fn axis_pair_below(kernel: &t1::Kernel, offset: ValueId, axis: &t1::Axis, extent: &LaunchExpr) -> bool {
    let r = match axis.kind {
        t1::AxisKind::Grid(_) | t1::AxisKind::Loop(_) => variable_below(kernel, axis.lo),
        _ => known(kernel, axis.hi).filter(|_| kernel.const_int(axis.lo) == Some(0)),
    };
    r.is_some_and(|r| multiple_below(kernel, offset, &r, extent))
}

fn through_cast(kernel: &t1::Kernel, v: ValueId) -> &Op {
    match kernel.value(v).op {
        Op::Cast(x) if keeps(kernel, x, v, kernel.ty(v).is_scalar()) => &kernel.value(x).op,
        ref op => op,
    }
}

/// Where a variable that counts from zero ends.
fn variable_below(kernel: &t1::Kernel, v: ValueId) -> Option<LaunchExpr> {
    let (lo, hi) = match *through_cast(kernel, v) {
        Op::GridVar(g) => (kernel.grid_var(g).lo, kernel.grid_var(g).hi),
        Op::LoopVar(l) => (kernel.loop_(l).lo, kernel.loop_(l).hi),
        _ => return None,
    };
    known(kernel, hi).filter(|_| kernel.const_int(lo) == Some(0))
}

/// Whether a product `g * (H / G)`, with g below G, and anything below r are together below the extent, H.
fn multiple_below(kernel: &t1::Kernel, product: ValueId, r: &LaunchExpr, extent: &LaunchExpr) -> bool {
    let Op::Binary(BinaryOp::Mul, x, y) = *through_cast(kernel, product) else { return false };
    [(x, y), (y, x)].into_iter().any(|(g, c)| {
        let (Some(g), Some(c)) = (variable_below(kernel, g), known(kernel, c)) else { return false };
        let number = |e: &LaunchExpr| match e {
            LaunchExpr::Dim(d) => kernel.dim(*d).frozen,
            e => e.eval_int(&t1::NoFacts),
        };
        if let (Some(g), Some(c), Some(r), Some(h)) = (number(&g), number(&c), number(r), number(extent)) {
            return r <= c && g.checked_mul(c).is_some_and(|n| n <= h);
        }
        let LaunchExpr::Binary(BinaryOp::Div, whole, by) = &c else { return false };
        *r == c && g == **by && **whole == *extent
    })
}

/// Whether the subscript is `x / c` of a range's coordinates and below the extent: `K / c` where c divides K, or `cdiv(K, c)`.
pub fn group_below(kernel: &t1::Kernel, v: ValueId, extent: &LaunchExpr) -> bool {
    let Op::Binary(BinaryOp::Div, x, c) = kernel.value(v).op else { return false };
    let (Op::Iota(axis), Some(c)) = (&kernel.value(x).op, kernel.const_int(c).filter(|c| *c > 0)) else {
        return false;
    };
    groups_below(kernel, *axis, c, extent)
}

/// Whether a range's coordinates divided by c are below the extent.
pub fn groups_below(kernel: &t1::Kernel, axis: t1::AxisId, c: i64, extent: &LaunchExpr) -> bool {
    let axis = kernel.axis(axis);
    let start = match kernel.value(axis.lo).op {
        Op::GridVar(g) => kernel.grid_var(g).lo,
        Op::LoopVar(l) => kernel.loop_(l).lo,
        _ => axis.lo,
    };
    if let Some(groups) = extent.eval_int(&t1::NoFacts) {
        let whole = LaunchExpr::int(groups.saturating_mul(c));
        return not_negative(kernel, start) && at_most(kernel, axis.hi, &whole);
    }
    let LaunchExpr::Binary(op, whole, by) = extent else { return false };
    let divided = match op {
        BinaryOp::Cdiv => true,
        BinaryOp::Div => u32::try_from(c).is_ok_and(|c| is_multiple(kernel, axis.hi, c)),
        _ => false,
    };
    divided && **by == LaunchExpr::int(c) && not_negative(kernel, start) && at_most(kernel, axis.hi, whole)
}

/// The largest power of two up to 2^16 that is known to divide a scalar, given one for each dimension.
pub fn power_of_two_in(kernel: &t1::Kernel, v: ValueId, dim: &dyn Fn(t1::DimId) -> i64) -> i64 {
    const MOST: i64 = 1 << 16;
    let of = |c: i64| if c == 0 { MOST } else { (1 << c.trailing_zeros().min(16)).min(MOST) };
    match &kernel.value(v).op {
        Op::Const(Const::Int(c)) => of(*c as i64),
        Op::Dim(d) => kernel.dim(*d).frozen.map_or_else(|| dim(*d), of),
        Op::Cast(x) if kernel.ty(*x).elem.is_integer() => power_of_two_in(kernel, *x, dim),
        Op::Binary(BinaryOp::Mul, x, y) => {
            (power_of_two_in(kernel, *x, dim) * power_of_two_in(kernel, *y, dim)).min(MOST)
        }
        Op::Binary(BinaryOp::Add | BinaryOp::Sub | BinaryOp::Min | BinaryOp::Max, x, y) => {
            power_of_two_in(kernel, *x, dim).min(power_of_two_in(kernel, *y, dim))
        }
        Op::GridVar(g) => {
            let g = kernel.grid_var(*g);
            power_of_two_in(kernel, g.lo, dim).min(of(step(kernel, g).into()))
        }
        _ => 1,
    }
}

/// `off[e]..off[e + 1]` where `e` is an earlier variable that counts from 0, and `off` ascends: the most tiles that all values of
/// `e` have together.
fn packed(kernel: &t1::Kernel, n: usize) -> Option<(t1::GridId, LaunchExpr)> {
    let g = &kernel.grid[n];
    let (tensor, [lo]) = entry(kernel, g.lo)? else { return None };
    let (other, [hi]) = entry(kernel, g.hi)? else { return None };
    let Some(Holds::Ascending { lo: from, hi: to }) = &kernel.tensor(tensor).holds else { return None };
    let Op::GridVar(e) = kernel.value(*lo).op else { return None };
    let carrier = kernel.grid_var(e);
    let is_e = |v: ValueId| kernel.value(v).op == Op::GridVar(e);
    let next = match kernel.value(*hi).op {
        Op::Binary(BinaryOp::Add, x, y) => {
            is_e(x) && kernel.const_int(y) == Some(1) || is_e(y) && kernel.const_int(x) == Some(1)
        }
        _ => false,
    };
    if tensor != other || !next || carrier.axis.is_some() || kernel.const_int(carrier.lo) != Some(0) {
        return None;
    }
    let parts = known(kernel, carrier.hi)?;
    let by = LaunchExpr::int(step(kernel, g).into());
    let whole = LaunchExpr::Binary(BinaryOp::Div, Box::new(minus(to.clone(), from.clone())), Box::new(by));
    Some((e, LaunchExpr::Binary(BinaryOp::Add, Box::new(parts), Box::new(whole))))
}

/// The tensor element that a coordinate is.
fn entry(kernel: &t1::Kernel, v: ValueId) -> Option<(t1::TensorId, &[ValueId])> {
    match &kernel.value(v).op {
        Op::Cast(x) => entry(kernel, *x),
        Op::Read { tensor, ix } if kernel.ty(v).is_scalar() => Some((*tensor, ix)),
        _ => None,
    }
}

/// A launch expression as source would have it.
pub fn text(kernel: &t1::Kernel, e: &LaunchExpr) -> String {
    let inner = |e: &LaunchExpr| match e {
        LaunchExpr::Binary(BinaryOp::Cdiv | BinaryOp::Min | BinaryOp::Max, ..) => text(kernel, e),
        LaunchExpr::Binary(..) => format!("({})", text(kernel, e)),
        _ => text(kernel, e),
    };
    match e {
        LaunchExpr::Const(c) => crate::tile::print::const_text(*c),
        LaunchExpr::Dim(d) => kernel.dim(*d).name.clone(),
        LaunchExpr::Scalar(s) => kernel.scalar(*s).name.clone(),
        LaunchExpr::Cast(_, x) => text(kernel, x),
        LaunchExpr::Binary(op, x, y) => {
            let sign = match op {
                BinaryOp::Add => "+",
                BinaryOp::Sub => "-",
                BinaryOp::Mul => "*",
                BinaryOp::Div => "/",
                BinaryOp::Rem => "%",
                other => return format!("{}({}, {})", other.name(), text(kernel, x), text(kernel, y)),
            };
            format!("{} {sign} {}", inner(x), inner(y))
        }
        LaunchExpr::Stride(..) | LaunchExpr::Unary(..) | LaunchExpr::Compare(..) | LaunchExpr::Select(..) => {
            "…".into()
        }
    }
}
