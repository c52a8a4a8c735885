//! Warps and stages of a loop of products: from the schedule, completed by rules, within the budgets.
//!
//! Warps stand along the rows, and along columns. Where a product's columns are what another contracts, warps beside each other compute the
//! same of it: worth its price only where the other's columns are too many for one warp. By default each has 16 rows, or 32 where at least
//! four warps are left and the accumulators fit: twice the rows for every fragment of a right operand.

use super::super::contraction::multiplies;
use super::super::fragments::Tiling;
use super::super::items::{self, Items, Pin, integer, printed, unknown};
use super::super::knobs::{bytes, chosen_by, read_warps};
use super::super::operand::{Major, Operand};
use super::super::refuse::Refusal;
use super::{Factor, Product, Products};
use crate::artifact::{ChosenBy, ScheduleItem};
use crate::scheduled::ir::{Dispatch, MmaType};
use crate::target::Target;
use crate::tile::ir as t1;

/// What a schedule decides.
#[derive(Clone, Debug)]
pub struct Knobs {
    pub warps: (u32, u32),
    /// Slots of each loop's ring.
    pub stages: Vec<u32>,
    pub dispatch: Dispatch,
    pub items: Items,
    pub printed: Vec<ScheduleItem>,
}

const STAGES: std::ops::RangeInclusive<u32> = 2..=4;

impl Knobs {
    /// Slots of a loop's ring.
    pub fn stages_of(&self, found: &Products, id: t1::LoopId) -> u32 {
        found.loops.iter().zip(&self.stages).find(|(l, _)| **l == id).map_or(2, |(_, n)| *n)
    }

    /// Blocks that one SM shall hold at least.
    pub fn occupancy(&self) -> u32 {
        self.items.occupancy.map_or(1, |(n, _)| n)
    }

    /// Refuses bytes of shared memory beyond the target's.
    pub fn check_shared(&self, kernel: &t1::Kernel, wanted: u32, target: Target) -> Result<(), Refusal> {
        if wanted <= target.shared_limit() {
            return Ok(());
        }
        let (wanted, limit) = (bytes(wanted.into()), bytes(target.shared_limit().into()));
        let message = format!("this schedule wants {wanted} of shared memory; {target} has {limit}");
        let fewer = self.stages.iter().any(|n| *n > 2);
        let help = if fewer { "fewer stages, or smaller tiles" } else { "smaller tiles" };
        Err(Refusal::schedule(kernel.span, message, help))
    }
}

/// How each product's tile is cut.
///
/// Columns that another product contracts are what every warp of a row of warps needs: each computes all of them for itself, and only the
/// columns of the other products are cut.
pub fn tilings(kernel: &t1::Kernel, found: &Products, (wm, wn): (u32, u32)) -> Vec<Tiling> {
    let interleave = !found.chained() && found.products.iter().all(|p| p.b.major == Major::K);
    let tiling = |p: &super::Product| {
        let (wn, same) = if found.contracted_again(p) { (1, wn) } else { (wn, 1) };
        let (bn, bk) = cover(kernel, found, p, (wm, wn, same));
        Tiling { bm: found.height(), bn, bk, wm, wn, same, atom: p.atom, interleave }
    };
    found.products.iter().map(tiling).collect()
}

/// Whether an operand is unpacked or computed on, or rows of it are held: that is done in slices whose number is a power of two.
fn deep(p: &Product) -> bool {
    let whole = |o: &Operand| o.packed || o.computed.is_some();
    let left = match &p.a {
        Factor::Staged(a) => whole(a),
        Factor::Held(_) => true,
        Factor::Tile(_) => false,
    };
    left || whole(&p.b)
}

/// Columns and depth of a product's tile, lanes that do not exist included: as few as give every thread something to copy. An odd factor
/// stays in registers, so it is the powers of two that count.
fn cover(kernel: &t1::Kernel, found: &Products, p: &Product, (wm, wn, same): (u32, u32, u32)) -> (u32, u32) {
    let (columns, depth) = (kernel.axis(p.n).extent, kernel.axis(p.k).extent);
    let threads = 32 * wm * wn * same;
    let multiples = |n: u32, least: u32| {
        let most = n.next_power_of_two().max(2 * least);
        let mut all: Vec<u32> = (least.trailing_zeros()..=most.trailing_zeros())
            .map(|bits| n.next_multiple_of(1 << bits))
            .collect();
        all.sort_unstable();
        all
    };
    // What a loop moves along is exactly a step.
    let steps = |axis: t1::AxisId| matches!(kernel.axis(axis).kind, t1::AxisKind::Loop(_));
    let depths = match (deep(p), steps(p.k)) {
        (_, true) => vec![depth],
        (true, _) => vec![depth.next_power_of_two()],
        _ => multiples(depth, p.atom.k()),
    };
    let exact = columns.is_power_of_two() || steps(p.n);
    let widths = if exact { vec![columns] } else { multiples(columns, 16 * wn) };
    let sizes = widths.iter().flat_map(|n| depths.iter().map(move |k| (*n, *k)));
    let least = sizes.clone().find(|size| fills(found, p, *size, threads));
    least.or_else(|| sizes.last()).unwrap_or((columns, depth))
}

/// Reads the schedule of a kernel for its loop of products.
pub fn read(kernel: &t1::Kernel, found: &Products, target: Target) -> Result<Knobs, Refusal> {
    // Loops of one name share what is said of it.
    let mut names: Vec<&str> = found.loops.iter().map(|l| &*kernel.loop_(*l).name).collect();
    names.dedup();
    let name = names[0];
    let staged: Vec<t1::TensorId> = found.staged().flat_map(|(_, _, o)| o.tensors()).collect();
    let mut items = Items::default();
    let mut warps: Option<Pin<(u32, u32)>> = None;
    let mut stages: Vec<(&str, Pin<u32>)> = Vec::new();
    let mut persistent = (Dispatch::Each, ChosenBy::Default);
    for item in &kernel.schedule {
        if items.take(kernel, item, &staged, target)? {
            continue;
        }
        let by = chosen_by(item.from);
        let path: Vec<&str> = item.path.iter().map(String::as_str).collect();
        match path[..] {
            ["warps"] => warps = Some((read_warps(item)?, by)),
            ["persistent"] => persistent = (items::read_persistent(kernel, item)?, by),
            [l, "stages"] if names.contains(&l) => {
                let n = integer(item, STAGES)?;
                stages.retain(|(name, _)| *name != l);
                stages.extend(names.iter().filter(|name| **name == l).map(|name| (*name, (n, by))));
            }
            _ => {
                let can = format!(
                    "`warps = (4, 1)`, `occupancy = 1`, `persistent`, `{name}.stages = 2`, and `via` and `evict` of a parameter"
                );
                return Err(unknown(kernel, item, target, &can));
            }
        }
    }
    for (_, _, operand) in found.staged().filter(|(_, _, o)| o.negative.is_some()) {
        items.through_registers(operand.tensor);
    }
    sizes(kernel, found)?;
    let (warps, warps_by) = match warps {
        Some((w, by)) => (w, by),
        None => (default_warps(kernel, found), ChosenBy::Model),
    };
    let cut = tilings(kernel, found, warps);
    let divides = cut.iter().all(splits);
    if divides && !all_fill(found, &cut) {
        return Err(Refusal::schedule(
            kernel.span,
            format!(
                "{} threads are more than the accesses that fill a tile of some operand",
                warps.0 * warps.1 * 32
            ),
            "fewer warps, or larger tiles",
        ));
    }
    if !divides {
        let (wm, wn) = warps;
        let refusal = Refusal::schedule(
            kernel.span,
            format!("warps = ({wm}, {wn}) do not divide this loop's products"),
            "each warp needs at least 16 rows and 16 columns, and as many as every other",
        );
        return Err(refusal);
    }
    let stages_of = |l: &str| {
        let pin = stages.iter().find(|(name, _)| *name == l);
        pin.map_or((2, ChosenBy::Default), |(_, pin)| *pin)
    };
    found.products.iter().for_each(|p| items.stream_weights(&p.b, found.height()));
    let estimate = register_estimate(kernel, found, &cut);
    let occupancy = items.occupancy.map_or(1, |(n, _)| n);
    let cap = items::register_cap(warps.0 * warps.1, occupancy, target);
    if estimate + MARGIN > cap {
        return Err(Refusal::schedule(
            kernel.span,
            format!(
                "this schedule wants about {estimate} registers per thread; {} threads of {target} have {cap}, too few to tell that it would not spill",
                warps.0 * warps.1 * 32
            ),
            "more warps or smaller tiles",
        ));
    }
    let by = |pin: Option<Pin<u32>>| pin.map_or(ChosenBy::Default, |(_, by)| by);
    let mut out = vec![
        printed("warps", format!("({}, {})", warps.0, warps.1), warps_by),
        printed("occupancy", occupancy, by(items.occupancy)),
        printed("persistent", items::persistence(persistent.0), persistent.1),
    ];
    for (n, l) in names.iter().enumerate().filter(|(n, l)| !names[..*n].contains(l)) {
        let (stages, by) = stages_of(names[n]);
        out.push(printed(format!("{l}.stages"), stages, by));
    }
    let mut tensors = staged;
    tensors.sort_unstable();
    tensors.dedup();
    out.extend(items.tensors(kernel, &tensors));
    let stages = found.loops.iter().map(|l| stages_of(&kernel.loop_(*l).name).0).collect();
    Ok(Knobs { warps, stages, dispatch: persistent.0, items, printed: out })
}

/// Refuses tiles that matrix instructions cannot cover.
fn sizes(kernel: &t1::Kernel, found: &Products) -> Result<(), Refusal> {
    for p in &found.products {
        let span = kernel.value(p.value).span;
        let k = kernel.axis(p.k);
        if !found.height().is_multiple_of(16) {
            return Err(Refusal::schedule(
                span,
                format!("this product has {} rows", found.height()),
                "rows must be a multiple of 16",
            ));
        }
        let (atom, step) = (p.atom.k(), matches!(k.kind, t1::AxisKind::Loop(_)));
        let (fits, sizes) = match (step && !deep(p), step || matches!(p.a, Factor::Tile(_))) {
            (true, _) => (k.extent.is_multiple_of(atom), format!("a multiple of {atom}")),
            (_, true) => (
                k.extent.is_power_of_two() && k.extent >= atom,
                format!("a power of two of at least {atom}, as operands that are computed on their way need"),
            ),
            _ => (k.extent.next_power_of_two() >= atom, format!("more than {}", atom / 2)),
        };
        if !fits {
            let message = format!("`{}` contracts {} elements", k.name, k.extent);
            return Err(Refusal::schedule(span, message, sizes));
        }
    }
    Ok(())
}

/// The largest power of two that divides a number.
fn power_of_two_in(n: u32) -> u32 {
    1 << n.trailing_zeros()
}

/// Whether a tile splits into matrix instructions on these warps.
fn splits(t: &Tiling) -> bool {
    power_of_two_in(t.bm) >= 16 * t.wm && power_of_two_in(t.bn) >= 16 * t.wn
}

/// Whether so many threads each have something to copy of a product's operands, in the widest accesses, at these columns and depth.
fn fills(found: &Products, p: &Product, (columns, depth): (u32, u32), threads: u32) -> bool {
    let full = |rows: u32, o: &Operand| {
        o.packed || threads <= power_of_two_in(rows) * power_of_two_in(depth) * o.elem.bits() / 128
    };
    let left = match &p.a {
        Factor::Staged(a) => full(found.height(), a),
        Factor::Tile(_) | Factor::Held(_) => true,
    };
    left && full(columns, &p.b)
}

/// The same of all products.
fn all_fill(found: &Products, cut: &[Tiling]) -> bool {
    let of = |(p, t): (&Product, &Tiling)| fills(found, p, (t.bn, t.bk), 32 * t.wm * t.wn * t.same);
    found.products.iter().zip(cut).all(of)
}

fn default_warps(kernel: &t1::Kernel, found: &Products) -> (u32, u32) {
    let powers = (0..5).flat_map(|m| (0..5).map(move |n| (1u32 << m, 1u32 << n)));
    let few = powers.filter(|w| w.0 * w.1 <= 16);
    let all: Vec<((u32, u32), Vec<Tiling>)> = few.map(|w| (w, tilings(kernel, found, w))).collect();
    let legal: Vec<&((u32, u32), Vec<Tiling>)> =
        all.iter().filter(|(_, cut)| cut.iter().all(splits)).collect();
    let fits = |cut: &[Tiling]| register_estimate(kernel, found, cut) <= ROOM && all_fill(found, cut);
    // What every warp of a row computes again is the last resort.
    let again = |cut: &[Tiling]| cut.iter().map(|t| t.same).max();
    let least = legal
        .iter()
        .filter(|(_, cut)| fits(cut))
        .min_by_key(|((m, n), cut)| (again(cut), 4u32.saturating_sub(m * n), m * n, m.max(n) / m.min(n)));
    let most = || legal.iter().filter(|(_, cut)| again(cut) == Some(1)).max_by_key(|((m, n), _)| m * n);
    least.or_else(most).map_or((1, 1), |(w, _)| *w)
}

/// Bytes of shared memory that the rings of all loops take, about: what is staged twice counts once.
pub fn shared_estimate(kernel: &t1::Kernel, found: &Products, knobs: &Knobs) -> u32 {
    let cut = tilings(kernel, found, knobs.warps);
    let mut seen = Vec::new();
    let mut total = 0;
    for (is_a, n, o) in found.staged().filter(|(_, _, o)| !o.packed) {
        if seen.contains(&(is_a, cut[n], o.tensor, &o.ix)) {
            continue;
        }
        seen.push((is_a, cut[n], o.tensor, &o.ix));
        let id = found.products[n].loop_id;
        let moves = o.ix.iter().any(|i| i.axis.is_some() && i.axis == kernel.loop_(id).axis);
        let slots = if moves { knobs.stages_of(found, id) } else { 1 };
        let rows = if is_a { cut[n].bm } else { cut[n].bn };
        total += slots * rows * cut[n].bk * o.elem.bits() / 8;
    }
    total
}

/// How far below the limit an estimate must be: what lies between has not been measured.
const MARGIN: u32 = 24;

/// Registers that a default leaves the assembler without spilling.
const ROOM: u32 = 231;

/// 32-bit registers per thread: what the loop carries, the largest sum that does not go into that, left operands that are held, two slices of
/// fragments, operands that are computed, addresses, lookups, what is read beside.
fn register_estimate(kernel: &t1::Kernel, found: &Products, cut: &[Tiling]) -> u32 {
    let extent = |a: t1::AxisId| kernel.axis(a).extent;
    let Some(wm) = cut.first().map(|t| t.wm) else { return 0 };
    let rows = found.height();
    // Elements of a tile in each thread, lanes that do not exist included.
    let share = |axes: &[t1::AxisId]| {
        let columns = found.products.iter().zip(cut).find(|(p, _)| axes.contains(&p.n));
        let kept = axes.iter().filter(|a| columns.is_none_or(|(p, _)| p.n != **a));
        let kept: u32 = kept.map(|a| extent(*a)).product();
        // A range of no product is cut like the first one's columns.
        let other = axes.iter().any(|a| found.others.iter().any(|(o, _)| o == a));
        let beside = if other { cut[0].wn } else { 1 };
        columns.map_or(kept / beside, |(_, t)| kept * t.bn / t.wn) / (32 * wm)
    };
    let carried: Vec<&t1::Carried> = kernel
        .loops
        .iter()
        .enumerate()
        .filter(|(n, l)| found.loops.contains(&t1::LoopId(*n as u32)) || multiplies(kernel, &l.body))
        .flat_map(|(_, l)| &l.carried)
        .collect();
    let kept: u32 = carried.iter().map(|c| share(&kernel.ty(c.result).axes).max(2)).sum();
    let own = found.products.iter().zip(cut).filter(|(p, _)| !carried.iter().any(|c| c.next == p.value));
    let sums = kept + own.map(|(_, t)| rows * (t.bn / t.wn) / (32 * wm)).max().unwrap_or(0);
    // The assembler loads the fragments of a wide slice piece by piece.
    let fragments = cut.iter().map(|t| rows / wm / 16 * 4 + t.bn / t.wn / 8 * 2).max().unwrap_or(0).min(40);
    // A thread that copies more than four units of an operand has addresses for the narrow ones; one that copies many, for more of them.
    let moving = |n: usize, o: &Operand| {
        let axis = kernel.loop_(found.products[n].loop_id).axis;
        !o.packed && o.ix.iter().any(|i| i.axis.is_some() && i.axis == axis)
    };
    let units = found.staged().filter(|(_, n, o)| moving(*n, o)).map(|(is_a, n, o)| {
        let t = &cut[n];
        let kept = if is_a { rows } else { t.bn };
        let odd = !kept.is_power_of_two() && !t.bk.is_power_of_two();
        (kept * t.bk * o.elem.bits() / 128 / (32 * t.wm * t.wn * t.same), odd)
    });
    let addresses = match units.max().unwrap_or((0, false)) {
        (0..=4, _) => 40,
        (5..=16, _) => 48,
        (17..=24, false) => 72,
        (_, false) => 96,
        (_, true) => 112,
    };
    // Odd factors have more constants than powers of two, and tiles of several rows a warp more of them.
    let odd = |a: t1::AxisId| !extent(a).is_power_of_two();
    let odd_step = found.loops.iter().any(|l| kernel.loop_(*l).axis.is_some_and(odd));
    let odd_any = odd_step || found.products.iter().any(|p| odd(p.n) || odd(p.k));
    let constants = match rows / wm / 16 {
        2 if odd_any => 32,
        3.. if odd_step => 32,
        _ if odd_step => 12,
        _ => 0,
    };
    // Coordinates that a step looks up for the next one: beside it the assembler wants them, and what they are computed from, all at once.
    let looks_up = found.staged().any(|(_, n, o)| !o.gather.is_empty() && moving(n, o));
    let lookups = if looks_up { 36 } else { 0 };
    let held = found.products.iter().zip(cut).filter(|(p, _)| p.held().is_some());
    let held: u32 = held.map(|(_, t)| rows * t.bk / 2 / (32 * wm)).sum();
    // Words of a computed operand, of which all are loaded before the first is multiplied. Packed ones become as many again while they are
    // unpacked; where single bits are multiplied, there are as many words of planes, and some on the way.
    let made = |left: bool| {
        let own = found.staged().filter(|(is_a, _, o)| *is_a == left && o.computed.is_some());
        own.map(|(_, n, o)| {
            let t = &cut[n];
            let words = if left { rows / wm } else { t.bn / t.wn } * t.bk * o.elem.bits() / (32 * 32);
            match (found.products[n].atom.a, o.packed) {
                (MmaType::B1, _) => words * 5 / 2,
                (_, true) => words * 2,
                (_, false) => words,
            }
        })
        .max()
        .unwrap_or(0)
    };
    let made = made(true) + made(false);
    // What is read for every score has addresses and values of its own; what is read for rows and columns of scores, of three or five tiles
    // of rows a warp, the assembler spreads over all of them.
    let staged = |t| found.staged().any(|(_, _, o)| o.tensor == t);
    let in_step = |a: &t1::AxisId| found.loops.iter().any(|l| kernel.loop_(*l).axis == Some(*a));
    let beside = |v: &&t1::Value| {
        matches!(v.op, t1::Op::Read { tensor, .. } if !staged(tensor)) && v.ty.axes.iter().any(in_step)
    };
    let read_axes = kernel.values.iter().filter(beside).map(|v| v.ty.axes.len()).max().unwrap_or(0);
    let odd = !(rows / wm / 16).max(1).is_power_of_two();
    let read = match read_axes {
        0 => 0,
        1 if !odd => 0,
        2 if !odd => 52,
        _ => 72,
    };
    // A quotient of every column of a step (which run of keys it is in) is kept for all rows. Beside rows that are held the estimate has room.
    let by_data = |v: &&t1::ValueId| match kernel.value(**v).op {
        t1::Op::Binary(t1::BinaryOp::Div | t1::BinaryOp::Rem, _, by) => {
            kernel.const_int(by).is_none() && kernel.ty(**v).axes.iter().any(in_step)
        }
        _ => false,
    };
    let deep = found.products.iter().any(|p| extent(p.k) > 128);
    let quotients = match found.computed.iter().any(|v| by_data(&v)) {
        true if held > 0 => 0,
        true if deep => 48,
        true => 40,
        false => 0,
    };
    sums + fragments + held + made + addresses + constants + lookups + read + quotients
}
