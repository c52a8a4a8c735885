//! Warps and stages of a loop of products: from the schedule, completed by rules, within the budgets.
//!
//! Warps stand along the rows; where no product's columns are contracted by another, they may stand along columns too. By default each
//! has 16 rows, or 32 where at least four warps are left and the accumulators fit: twice the rows for every fragment of a right operand.

use super::super::contraction::{Major, Operand, multiplies};
use super::super::fragments::Tiling;
use super::super::items::{self, Items, Pin, integer, printed, unknown};
use super::super::knobs::{bytes, chosen_by, read_warps};
use super::super::refuse::Refusal;
use super::{Factor, Products};
use crate::artifact::{ChosenBy, ScheduleItem};
use crate::scheduled::ir::Dispatch;
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
}

/// Columns of a tile, lanes that do not exist included: enough of them in powers of two that every thread has something to copy.
fn columns(extent: u32) -> u32 {
    if extent.is_power_of_two() { extent } else { extent.next_multiple_of(32) }
}

/// How each product's tile is cut.
pub fn tilings(kernel: &t1::Kernel, found: &Products, (wm, wn): (u32, u32)) -> Vec<Tiling> {
    let extent = |a: t1::AxisId| kernel.axis(a).extent;
    let tiling = |p: &super::Product| Tiling {
        bm: found.height(),
        bn: columns(extent(p.n)),
        bk: extent(p.k).next_power_of_two(),
        wm,
        wn,
        atom: p.atom,
        interleave: !found.chained() && found.products.iter().all(|p| p.b.major == Major::K),
    };
    found.products.iter().map(tiling).collect()
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
    let divides = tilings(kernel, found, warps).iter().all(|t| splits(t, found.chained()));
    if divides && !fills(kernel, found, warps) {
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
        return Err(match found.chained() && wn > 1 {
            true => {
                refusal.note("columns of one product are what another contracts: warps stand along rows only")
            }
            false => refusal,
        });
    }
    let stages_of = |l: &str| {
        let pin = stages.iter().find(|(name, _)| *name == l);
        pin.map_or((2, ChosenBy::Default), |(_, pin)| *pin)
    };
    found.products.iter().for_each(|p| items.stream_weights(&p.b, found.height()));
    let estimate = register_estimate(kernel, found, warps);
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
        let chained = matches!(p.a, Factor::Tile(_)) || matches!(k.kind, t1::AxisKind::Loop(_));
        if chained && !k.extent.is_power_of_two() || k.extent.next_power_of_two() < p.atom.k() {
            return Err(Refusal::schedule(
                span,
                format!("`{}` contracts {} elements", k.name, k.extent),
                format!("a power of two of at least {}, as the rings of this target need", p.atom.k()),
            ));
        }
    }
    Ok(())
}

/// Whether a tile splits into matrix instructions on these warps.
fn splits(t: &Tiling, chained: bool) -> bool {
    let pow2 = |n: u32| 1 << n.trailing_zeros();
    pow2(t.bm) >= 16 * t.wm && pow2(t.bn) >= 16 * t.wn && !(chained && t.wn > 1)
}

/// Whether every thread has something to copy of each operand, in the widest accesses.
fn fills(kernel: &t1::Kernel, found: &Products, (wm, wn): (u32, u32)) -> bool {
    found.staged().filter(|(_, _, o)| !o.packed).all(|(is_a, n, o)| {
        let p = &found.products[n];
        let rows = if is_a { found.height() } else { columns(kernel.axis(p.n).extent) };
        // An odd factor stays in registers.
        let rows = 1 << rows.trailing_zeros();
        wm * wn * 32 <= rows * kernel.axis(p.k).extent.next_power_of_two() * o.elem.bits() / 128
    })
}

fn default_warps(kernel: &t1::Kernel, found: &Products) -> (u32, u32) {
    let powers = (0..5).flat_map(|m| (0..5).map(move |n| (1u32 << m, 1u32 << n)));
    let legal = |w: &(u32, u32)| {
        w.0 * w.1 <= 16 && tilings(kernel, found, *w).iter().all(|t| splits(t, found.chained()))
    };
    let fits = |w: &(u32, u32)| register_estimate(kernel, found, *w) <= ROOM && fills(kernel, found, *w);
    let all: Vec<(u32, u32)> = powers.filter(legal).collect();
    let least = |list: Vec<(u32, u32)>| {
        list.into_iter().min_by_key(|(m, n)| (4u32.saturating_sub(m * n), m * n, m.max(n) / m.min(n)))
    };
    least(all.iter().copied().filter(fits).collect())
        .or_else(|| all.iter().copied().max_by_key(|(m, n)| m * n))
        .unwrap_or((1, 1))
}

/// How far below the limit an estimate must be: what lies between has not been measured.
const MARGIN: u32 = 24;

/// Registers that a default leaves the assembler without spilling.
const ROOM: u32 = 232;

/// 32-bit registers per thread: what the loop carries, the largest sum that does not go into that, left operands that are held, two slices of
/// fragments, addresses.
fn register_estimate(kernel: &t1::Kernel, found: &Products, (wm, wn): (u32, u32)) -> u32 {
    let extent = |a: t1::AxisId| kernel.axis(a).extent;
    let threads = wm * wn * 32;
    let rows = found.height();
    let carried: Vec<&t1::Carried> = kernel
        .loops
        .iter()
        .enumerate()
        .filter(|(n, l)| found.loops.contains(&t1::LoopId(*n as u32)) || multiplies(kernel, &l.body))
        .flat_map(|(_, l)| &l.carried)
        .collect();
    let tile = |v: t1::ValueId| kernel.ty(v).axes.iter().map(|a| extent(*a)).product::<u32>();
    let kept: u32 = carried.iter().map(|c| (tile(c.result) / threads).max(2)).sum();
    let own = found.products.iter().filter(|p| !carried.iter().any(|c| c.next == p.value));
    let sums = kept + own.map(|p| rows * extent(p.n) / threads).max().unwrap_or(0);
    // The assembler loads the fragments of a wide slice piece by piece.
    let fragments = found
        .products
        .iter()
        .map(|p| rows / wm / 16 * 4 + extent(p.n) / wn / 8 * 2)
        .max()
        .unwrap_or(0)
        .min(40);
    // A thread that copies more than four units of an operand has addresses for the narrow ones.
    let moving = |n: usize, o: &Operand| {
        let axis = kernel.loop_(found.products[n].loop_id).axis;
        !o.packed && o.ix.iter().any(|i| i.axis.is_some() && i.axis == axis)
    };
    let units = found.staged().filter(|(_, n, o)| moving(*n, o)).map(|(is_a, n, o)| {
        let p = &found.products[n];
        let kept = if is_a { rows } else { columns(extent(p.n)) };
        kept * extent(p.k).next_power_of_two() * o.elem.bits() / 128 / threads
    });
    let addresses = if units.max().unwrap_or(0) > 4 { 48 } else { 40 };
    let held: u32 =
        found.products.iter().filter(|p| p.held().is_some()).map(|p| rows * extent(p.k) / 2 / threads).sum();
    sums + fragments + held + addresses
}

/// Bytes of shared memory beyond the target's.
pub fn check_shared(kernel: &t1::Kernel, wanted: u32, stages: u32, target: Target) -> Result<(), Refusal> {
    if wanted <= target.shared_limit() {
        return Ok(());
    }
    Err(Refusal::schedule(
        kernel.span,
        format!(
            "this schedule wants {} of shared memory; {target} has {}",
            bytes(wanted.into()),
            bytes(target.shared_limit().into())
        ),
        if stages > 2 { "fewer stages, or smaller tiles" } else { "smaller tiles" },
    ))
}
