//! Schedule parameters of kernels without matrix instructions: warps, unrolling, and what every kernel has; and whether their tiles fit
//! the registers.

use super::distribution::Distribution;
use super::items::{self, Items, Pin, printed};
use super::knobs;
use super::refuse::Refusal;
use crate::artifact::{ChosenBy, ScheduleItem};
use crate::scheduled::ir::Dispatch;
use crate::target::Target;
use crate::tile::ir as t1;

/// What a schedule decides for such a kernel.
#[derive(Clone, Debug)]
pub struct Knobs {
    pub warps: Option<Pin<u32>>,
    /// How blocks come by instances.
    pub dispatch: Pin<Dispatch>,
    /// Copies of the bodies of loops, by name.
    pub unroll: Vec<(String, Pin<u32>)>,
    pub items: Items,
}

/// Most copies of a loop's body.
const UNROLL: u32 = 8;

/// Reads the schedule.
pub fn read_schedule(kernel: &t1::Kernel, target: Target) -> Result<Knobs, Refusal> {
    let dispatch = (Dispatch::Each, ChosenBy::Default);
    let mut knobs = Knobs { warps: None, dispatch, unroll: Vec::new(), items: Items::default() };
    for item in &kernel.schedule {
        if knobs.items.take(kernel, item, &[], target)? {
            continue;
        }
        let by = knobs::chosen_by(item.from);
        let path: Vec<&str> = item.path.iter().map(String::as_str).collect();
        match path[..] {
            ["warps"] => knobs.warps = Some((read_warps(item)?, by)),
            ["persistent"] => knobs.dispatch = (items::read_persistent(kernel, item)?, by),
            [l, "unroll"] if kernel.loops.iter().any(|x| x.name == l) => {
                let n = items::integer(item, 1..=UNROLL)?;
                knobs.unroll.retain(|(name, _)| name != l);
                knobs.unroll.push((l.to_string(), (n, by)));
            }
            _ => {
                let can = "`warps = 4`, `occupancy = 2`, `persistent`, `unroll` and `split` of a loop, and `via` and `evict` of a parameter";
                return Err(items::unknown(kernel, item, target, can));
            }
        }
    }
    Ok(knobs)
}

/// A number of warps, or a grid of them.
fn read_warps(item: &t1::ScheduleItem) -> Result<u32, Refusal> {
    let warps = match &item.value {
        Some(t1::ScheduleValue::Int(n)) => u32::try_from(*n).ok(),
        Some(t1::ScheduleValue::Tuple(v)) => match v[..] {
            [t1::ScheduleValue::Int(a), t1::ScheduleValue::Int(b)] => u32::try_from(a.saturating_mul(b)).ok(),
            _ => None,
        },
        _ => None,
    };
    let warps = warps.filter(|n| n.is_power_of_two() && *n <= 32);
    warps.ok_or_else(|| items::wrong(item, "a power of two, at most 32", "4"))
}

/// The schedule as `--emit schedule` prints it; `occupancy` is what the modules have.
pub fn schedule_items(
    kernel: &t1::Kernel,
    warps: u32,
    occupancy: Option<u32>,
    knobs: &Knobs,
) -> Vec<ScheduleItem> {
    let by = |pin: Option<Pin<u32>>, otherwise| pin.map_or(otherwise, |(_, by)| by);
    let mut out = vec![printed("warps", warps, by(knobs.warps, ChosenBy::Model))];
    out.extend(occupancy.map(|n| printed("occupancy", n, by(knobs.items.occupancy, ChosenBy::Default))));
    out.push(printed("persistent", items::persistence(knobs.dispatch.0), knobs.dispatch.1));
    // Loops of functions that were inlined have no names that a schedule could use.
    let own = |l: &&t1::Loop| {
        let (all, l) = (kernel.span, l.span);
        all.file == l.file && all.start <= l.start && l.end <= all.end
    };
    let mut names: Vec<&String> = kernel.loops.iter().filter(own).map(|l| &l.name).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let (n, by) = knobs.unroll_of(name).unwrap_or((1, ChosenBy::Default));
        out.push(printed(format!("{name}.unroll"), n, by));
    }
    out.extend(knobs.items.tensors(kernel, &[]));
    out
}

impl Knobs {
    pub fn unroll_of(&self, name: &str) -> Option<Pin<u32>> {
        self.unroll.iter().find(|(l, _)| l == name).map(|(_, pin)| *pin)
    }
}

/// The distribution for the schedule's number of warps, else for the first that the registers allow.
pub fn distribute(
    kernel: &t1::Kernel,
    warps: Option<u32>,
    occupancy: u32,
    target: Target,
) -> Result<Distribution, Refusal> {
    let first = Distribution::of(kernel, warps);
    let refused = match check_registers(kernel, &first, occupancy, target) {
        Ok(()) => return Ok(first),
        Err(refused) => refused,
    };
    let others = if warps.is_some() { Vec::new() } else { first.candidates() };
    let fits = |d: &Distribution| check_registers(kernel, d, occupancy, target).is_ok();
    others.into_iter().map(|n| Distribution::of(kernel, Some(n))).find(fits).ok_or(refused)
}

/// Whether the registers hold a kernel's tiles; yes where the schedule itself is amiss, which is not theirs to say.
pub fn fits(kernel: &t1::Kernel, target: Target) -> bool {
    let Ok(knobs) = read_schedule(kernel, target) else { return true };
    let blocks = knobs.items.occupancy.map_or(1, |(n, _)| n);
    distribute(kernel, knobs.warps.map(|(n, _)| n), blocks, target).is_ok()
}

/// Refuses tiles that the registers cannot hold.
fn check_registers(
    kernel: &t1::Kernel,
    distribution: &Distribution,
    occupancy: u32,
    target: Target,
) -> Result<(), Refusal> {
    let largest = distribution.largest_tile();
    let wanted = distribution.register_estimate(kernel);
    let threads = distribution.warps * 32;
    let cap = items::register_cap(distribution.warps, occupancy, target);
    if wanted <= cap {
        return Ok(());
    }
    Err(Refusal::schedule(
        kernel.span,
        format!(
            "this schedule wants about {wanted} registers per thread; {threads} threads of {target} have {cap}"
        ),
        "a smaller tile, or another number of warps",
    )
    .note(format!("{largest} of them hold the largest tile, and at least two tiles live at a time")))
}
