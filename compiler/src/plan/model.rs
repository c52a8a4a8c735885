//! The performance model: which tune parameters to take where neither the author nor a schedule nor the cache says.
//!
//! A tile of bm × bn × bk is judged by what bounds it: matrix instructions per SM, the bytes that L2 must deliver per multiply (64 multiplies
//! per element are enough), and how many warps are resident to hide latency; then by how many waves of blocks the grid takes. Dimensions
//! that the launch fixes count as they are, others as 4096. These are predictions: `meta` says `model`, and a measurement wins over them.

use super::knobs::{self, Pins, Problem};
use super::products;
use super::row_knobs;
use super::simplify;
use super::{contraction, operand};
use crate::diagnostics::Diagnostics;
use crate::elaborate::{self, Settings, Tuning};
use crate::front::Program;
use crate::target::Target;
use crate::tile::ir as t1;
use crate::tile::verify::MAX_TILE;

/// At most this many combinations are looked at.
const MOST: usize = 4096;

/// At most so many are elaborated one by one.
const MOST_TRIED: usize = 64;

/// Elaborates a kernel with the model's choice for the tune parameters that nothing else decides.
pub fn elaborate(
    program: &Program,
    name: &str,
    settings: Settings,
    target: Target,
) -> Result<t1::Kernel, Diagnostics> {
    let first = bound(program, name, &settings)?;
    if !settings.model.is_empty()
        || !first.binding.iter().any(|b| b.kind == t1::BoundKind::Tune && b.from == t1::ValueSource::Default)
    {
        return Ok(first);
    }
    let (space, _) = elaborate::tune_space(program, name, &settings, MOST);
    if contraction::any(&first) && products::wanted(&simplify::apply(&first, target)) {
        // The first values that fit and compute nothing twice.
        let with = |t: &Tuning| bound(program, name, &Settings { model: t.clone(), ..settings.clone() });
        let others = space.iter().take(MOST_TRIED).filter_map(|t| with(t).ok());
        let all = std::iter::once(first.clone()).chain(others);
        let mut fitting = all.filter_map(|k| products::fits(&k, target).map(|same| (same, k)));
        let Some(next) = fitting.next() else { return Ok(first) };
        let again = (next.0 > 1).then(|| fitting.find(|(same, _)| *same == 1)).flatten();
        return Ok(again.unwrap_or(next).1);
    }
    let best = match contraction::any(&first) {
        true => choose(program, name, &settings, target, &space),
        false => return rows(program, name, settings, target, first, &space),
    };
    match best {
        // What else it sets may be something that cannot be: the first values can.
        Some(best) => bound(program, name, &Settings { model: best.clone(), ..settings }).or(Ok(first)),
        None => Ok(first),
    }
}

/// A kernel without `@`: whole rows where their lengths are known, else the defaults; where these do not fit beside what is pinned, the first
/// values that do.
fn rows(
    program: &Program,
    name: &str,
    settings: Settings,
    target: Target,
    first: t1::Kernel,
    space: &[Tuning],
) -> Result<t1::Kernel, Diagnostics> {
    let with = |t: &Tuning| bound(program, name, &Settings { model: t.clone(), ..settings.clone() });
    let wanted = whole_rows(&first, space).and_then(|best| with(best).ok()).unwrap_or_else(|| first.clone());
    let fits = |k: &t1::Kernel| row_knobs::fits(k, target);
    if fits(&wanted) {
        return Ok(wanted);
    }
    if fits(&first) {
        return Ok(first);
    }
    let others = space.iter().take(MOST_TRIED).filter_map(|t| with(t).ok());
    Ok(others.into_iter().find(fits).unwrap_or(wanted))
}

fn bound(program: &Program, name: &str, settings: &Settings) -> Result<t1::Kernel, Diagnostics> {
    let (kernel, diagnostics) = elaborate::elaborate(program, name, settings);
    kernel.ok_or(diagnostics)
}

/// The combination with the least predicted time, if the kernel is one that the model knows.
fn choose<'a>(
    program: &Program,
    name: &str,
    settings: &Settings,
    target: Target,
    space: &'a [Tuning],
) -> Option<&'a Tuning> {
    // Which parameter sizes which axis is read off one elaboration in which their values differ.
    let distinct = |t: &Tuning| {
        let mut values: Vec<i64> = t.iter().filter_map(|(_, v)| int(v)).collect();
        values.sort_unstable();
        values.dedup();
        values.len()
    };
    let usable = |t: &Tuning| t.iter().filter_map(|(_, v)| int(v)).all(|n| lanes(n).is_some());
    let probe =
        space.iter().max_by_key(|t| (usable(t), distinct(t), std::cmp::Reverse(position(space, t))))?;
    let kernel = bound(program, name, &Settings { model: probe.clone(), ..settings.clone() }).ok()?;
    let kernel = simplify::apply(&kernel, target).into_owned();
    let c = contraction::find(&kernel).ok()??;
    operand::check(&kernel, &c.a, kernel.span).ok()?;
    let size = |axis: t1::AxisId| {
        let extent = i64::from(kernel.axis(axis).extent);
        let name = probe.iter().find(|(_, v)| int(v) == Some(extent)).map(|(n, _)| n.clone());
        move |t: &Tuning| {
            name.as_ref()
                .and_then(|n| t.iter().find(|(m, _)| m == n))
                .and_then(|(_, v)| int(v))
                .unwrap_or(extent)
        }
    };
    // What the schedule pins narrows the choice: a tile must be legal beside it.
    let pins = Pins::of(&kernel, &c);
    let (bm, bn, bk) = (size(c.m), size(c.n), size(c.k));
    let (m, n) = (extent(&kernel, settings, c.m), extent(&kernel, settings, c.n));
    space
        .iter()
        .filter_map(|t| {
            let p = Problem::of(&kernel, &c, tile(bm(t), bn(t), bk(t))?);
            Some((cost(p, pins, m, n, target)?, t))
        })
        .min_by(|x, y| x.0.total_cmp(&y.0))
        .map(|(_, t)| t)
}

/// The size of a range, if it may have it: a value of a tune parameter may be anything.
fn lanes(n: i64) -> Option<u32> {
    u32::try_from(n).ok().filter(|n| (1..=MAX_TILE).contains(&u64::from(*n)))
}

/// The sizes of a contraction of which each tile may exist.
fn tile(bm: i64, bn: i64, bk: i64) -> Option<(u32, u32, u32)> {
    let (bm, bn, bk) = (lanes(bm)?, lanes(bn)?, lanes(bk)?);
    let exists = |x: u32, y: u32| u64::from(x) * u64::from(y) <= MAX_TILE;
    (exists(bm, bn) && exists(bm, bk) && exists(bn, bk)).then_some((bm, bn, bk))
}

/// Tiles that hold what loops of a known length run over, so that it stays in registers: for each such loop the least value of
/// the parameter that sizes its range and is enough.
fn whole_rows<'a>(first: &t1::Kernel, space: &'a [Tuning]) -> Option<&'a Tuning> {
    let default = |name: &str| {
        let b = first.bound(name)?;
        (b.from == t1::ValueSource::Default).then_some(&b.value)
    };
    let mut wanted: Vec<(String, i64)> = Vec::new();
    for l in &first.loops {
        let (Some(axis), Some(lo), Some(hi)) = (l.axis, first.const_int(l.lo), first.const_int(l.hi)) else {
            continue;
        };
        let extent = i64::from(first.axis(axis).extent);
        let sizes = |b: &&t1::Bound| {
            b.kind == t1::BoundKind::Tune
                && b.from == t1::ValueSource::Default
                && int(&b.value) == Some(extent)
        };
        if hi - lo > extent
            && let Some(b) = first.binding.iter().find(sizes)
        {
            wanted.push((b.name.clone(), hi - lo));
        }
    }
    if wanted.is_empty() {
        return None;
    }
    let enough = |t: &&Tuning| {
        t.iter().all(|(name, value)| {
            let least = wanted.iter().filter(|(n, _)| n == name).map(|(_, w)| *w).max();
            match least {
                Some(least) => int(value).is_some_and(|v| v >= least && lanes(v).is_some()),
                None => default(name).is_none_or(|d| d == value),
            }
        })
    };
    let size = |t: &&Tuning| t.iter().filter_map(|(_, v)| int(v)).map(i128::from).sum::<i128>();
    space.iter().filter(enough).min_by_key(size)
}

fn position(space: &[Tuning], t: &Tuning) -> usize {
    space.iter().position(|x| std::ptr::eq(x, t)).unwrap_or(0)
}

fn int(v: &t1::BoundValue) -> Option<i64> {
    match v {
        t1::BoundValue::Int(i) => Some(*i),
        _ => None,
    }
}

/// How long the result's axis is: what is frozen or likely, else 4096.
fn extent(kernel: &t1::Kernel, settings: &Settings, axis: t1::AxisId) -> f64 {
    let value = match kernel.value(kernel.axis(axis).hi).op {
        t1::Op::Const(t1::Const::Int(c)) => Some(c as i64),
        t1::Op::Dim(d) => {
            let d = kernel.dim(d);
            d.frozen.or_else(|| settings.likely_dims.iter().find(|(n, _)| *n == d.name).map(|(_, v)| *v))
        }
        _ => None,
    };
    value.unwrap_or(4096).max(1) as f64
}

/// Relative time per coordinate of the contracted range; `None` where the tile cannot be had.
fn cost(p: Problem, pins: Pins, m: f64, n: f64, target: Target) -> Option<f64> {
    let chosen = knobs::legal(p, pins, target)?;
    let sms = match target {
        Target::Sm80 => 108.0,
        Target::Sm86 => 84.0,
        Target::Sm89 => 128.0,
        Target::Sm90a => 132.0,
    };
    let (bm, bn) = (f64::from(p.bm), f64::from(p.bn));
    let intensity = (bm * bn / (bm + bn)).min(64.0);
    let warps = f64::from(chosen.blocks_per_sm * chosen.warps);
    let efficiency = intensity / (intensity + 16.0) * (warps / 8.0).min(1.0).sqrt();
    let tiles = (m / bm).ceil() * (n / bn).ceil();
    // Blocks beyond what the grid can use do not share an SM.
    let blocks = f64::from(chosen.blocks_per_sm).min((tiles / sms).ceil());
    let waves = (tiles / (sms * blocks)).ceil();
    Some(waves * blocks * bm * bn / efficiency)
}
