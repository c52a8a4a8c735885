//! Schedule parameters of an sm_80-style kernel: read from the schedule, completed by rules, checked against the target.
//!
//! Budgets (ir.md section 6): shared memory is counted exactly; registers are estimated per thread as accumulators + two sets of
//! fragments + addresses. An estimate of at most the thread's limit less 16 is legal, one above is refused. It is an estimate: the assembler
//! check tries it on a list of schedules, and nothing settles yet what lies close to the limit.

use super::refuse::Refusal;
use crate::artifact::{ChosenBy, ScheduleItem};
use crate::scheduled::ir::{MmaAtom, Variant};
use crate::target::Target;
use crate::tile::ir as t1;

/// What a schedule decides for a contraction on sm_80.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knobs {
    /// Warps along the first and second axis of the result.
    pub warps: (u32, u32),
    /// Slots of the ring, 2 to 6.
    pub stages: u32,
    /// Tiles of the first grid range that neighbouring blocks share.
    pub raster: u32,
    /// As `--emit schedule` prints them.
    pub items: Vec<ScheduleItem>,
}

/// Sizes that the rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Problem {
    pub bm: u32,
    pub bn: u32,
    pub bk: u32,
    /// The matrix instruction.
    pub atom: MmaAtom,
}

impl Problem {
    /// Bytes of an operand's element.
    pub fn elem_bytes(self) -> u32 {
        self.atom.a.bits() / 8
    }

    /// Bytes of one ring entry: a slot of each operand.
    pub fn stage_bytes(self) -> u32 {
        (self.bm + self.bn) * self.bk * self.elem_bytes()
    }
}

impl Knobs {
    /// Warps of a variant: narrow copies take registers and issue slots, so the narrow variants of a large tile have twice the warps
    /// where the tile divides; the wide one has what the schedule says.
    pub fn warps_for(&self, variant: Variant, p: Problem) -> (u32, u32) {
        let (wm, wn) = self.warps;
        let doubled = if p.bm / wm > p.bn / wn { (2 * wm, wn) } else { (wm, 2 * wn) };
        let copies = p.bm.max(p.bn) * p.bk * p.elem_bytes() / 4 / (wm * wn * 32);
        let crowded = variant != Variant::Wide && (accumulators(p, self.warps) > 96 || copies > 16);
        if crowded && wm * wn <= 4 && divides(p, doubled) { doubled } else { self.warps }
    }

    /// Whether a variant's copies are loops of their own. Narrow copies are many per thread, and the assembler keeps the address of
    /// each in a register as long as it can: beside more than 64 accumulators, or with more than 48 accesses in a turn of the unrolled
    /// loop, it would spill. Single bytes are so many that they always roll.
    pub fn rolls(&self, variant: Variant, p: Problem) -> bool {
        let warps = self.warps_for(variant, p);
        let unit = variant.alignment(p.elem_bytes()).max(1);
        let accesses = p.stage_bytes() / unit / (warps.0 * warps.1 * 32) * self.stages;
        let bytes = p.elem_bytes() == 1 && variant == Variant::Any;
        // Sixteen warps have half the registers each.
        let most = if warps.0 * warps.1 > 8 { 16 } else { 48 };
        variant != Variant::Wide && (bytes || accumulators(p, warps) > 64 || accesses > most)
    }
}

const RASTER: u32 = 8;
const STAGES: std::ops::RangeInclusive<u32> = 2..=6;

/// Reads the schedule of `kernel` for its contraction loop `loop_name`.
pub fn read(kernel: &t1::Kernel, loop_name: &str, p: Problem, target: Target) -> Result<Knobs, Refusal> {
    let mut warps = None;
    let mut stages = None;
    let mut raster = None;
    for item in &kernel.schedule {
        let path = item.path.join(".");
        let by = source(item.from);
        if path == "warps" {
            warps = Some((read_warps(item)?, by));
        } else if path == "raster" {
            raster = Some((read_int(item, 1..=64)?, by));
        } else if item.path.len() == 2 && item.path[0] == loop_name && item.path[1] == "stages" {
            stages = Some((read_int(item, STAGES)?, by));
        } else {
            return Err(Refusal::schedule(
                item.span,
                format!("the schedule item `{path}` has no meaning for `{}` on {target}", kernel.name),
                format!(
                    "what can be set here: a tune parameter, `warps = (2, 2)`, `raster = {RASTER}`, `{loop_name}.stages = 3`"
                ),
            ));
        }
    }
    let (warps, warps_by) = match warps {
        Some(w) => w,
        None => (default_warps(p).ok_or_else(|| no_warps(kernel, p))?, ChosenBy::Model),
    };
    check_warps(kernel, p, warps)?;
    let (stages, stages_by) = match stages {
        Some(s) => s,
        None => (default_stages(p, target), ChosenBy::Model),
    };
    let (raster, raster_by) = raster.unwrap_or((RASTER, ChosenBy::Default));
    check_shared(kernel, p, stages, target)?;
    check_registers(kernel, p, warps, target)?;
    let item = |path: String, value: String, chosen_by| ScheduleItem { path, value, chosen_by };
    let items = vec![
        item("warps".into(), format!("({}, {})", warps.0, warps.1), warps_by),
        item("raster".into(), raster.to_string(), raster_by),
        item(format!("{loop_name}.stages"), stages.to_string(), stages_by),
    ];
    Ok(Knobs { warps, stages, raster, items })
}

fn source(from: t1::ValueSource) -> ChosenBy {
    match from {
        t1::ValueSource::Set | t1::ValueSource::Instance => ChosenBy::Set,
        t1::ValueSource::Schedule => ChosenBy::Schedule,
        t1::ValueSource::Model => ChosenBy::Model,
        t1::ValueSource::Implied => ChosenBy::Arguments,
        t1::ValueSource::Default => ChosenBy::Default,
    }
}

/// Where a tune parameter's or generic's value came from, in the words of `meta`.
pub fn chosen_by(from: t1::ValueSource) -> ChosenBy {
    source(from)
}

fn read_int(item: &t1::ScheduleItem, range: std::ops::RangeInclusive<u32>) -> Result<u32, Refusal> {
    let path = item.path.join(".");
    match item.value {
        Some(t1::ScheduleValue::Int(n)) if u32::try_from(n).is_ok_and(|n| range.contains(&n)) => Ok(n as u32),
        _ => Err(Refusal::schedule(
            item.span,
            format!("`{path}` takes an integer from {} to {}", range.start(), range.end()),
            format!("for example `{path} = {}`", range.start().max(&2)),
        )),
    }
}

fn read_warps(item: &t1::ScheduleItem) -> Result<(u32, u32), Refusal> {
    let warp = |v: &t1::ScheduleValue| match v {
        t1::ScheduleValue::Int(n) if (1..=16).contains(n) && (*n as u32).is_power_of_two() => Some(*n as u32),
        _ => None,
    };
    let pair = match &item.value {
        Some(t1::ScheduleValue::Tuple(v)) if v.len() == 2 => warp(&v[0]).zip(warp(&v[1])),
        _ => None,
    };
    pair.filter(|(m, n)| m * n <= 16).ok_or_else(|| {
        Refusal::schedule(
            item.span,
            "`warps` takes two powers of two, at most 16 warps in all",
            "for example `warps = (2, 2)`: two warps along the rows of the tile, two along its columns",
        )
    })
}

/// Whether a tile splits into matrix instructions with whole ldmatrix.x4 loads on every warp.
fn divides(p: Problem, (wm, wn): (u32, u32)) -> bool {
    // Warps take power-of-two digits only: an odd digit of the tile stays in registers.
    let pow2 = |n: u32| 1 << n.trailing_zeros();
    pow2(p.bm) >= 16 * wm && pow2(p.bn) >= 16 * wn && p.bk >= p.atom.k() && p.bk.is_power_of_two()
}

fn accumulators(p: Problem, warps: (u32, u32)) -> u32 {
    p.bm * p.bn / (warps.0 * warps.1 * 32)
}

/// The fewest warps, at least four, whose accumulators fit beside the fragments; among those the squarest warp tile.
fn default_warps(p: Problem) -> Option<(u32, u32)> {
    // Where no number of warps fits, the budget says so, with the warps that divide the tile.
    squarest(p, registers_fit).or_else(|| squarest(p, |_, _| true))
}

fn squarest(p: Problem, fits: impl Fn(Problem, (u32, u32)) -> bool) -> Option<(u32, u32)> {
    let powers = (0..5).flat_map(|m| (0..5).map(move |n| (1u32 << m, 1u32 << n)));
    powers.filter(|(wm, wn)| wm * wn <= 16 && divides(p, (*wm, *wn)) && fits(p, (*wm, *wn))).min_by_key(
        |(wm, wn)| {
            let (warps, tm, tn) = (wm * wn, p.bm / wm, p.bn / wn);
            (4u32.saturating_sub(warps), warps, tm.max(tn) * 16 / tm.min(tn))
        },
    )
}

fn default_stages(p: Problem, target: Target) -> u32 {
    // Enough loads in flight to cover a trip to DRAM: about 48 KiB ahead, at least three slots, as shared memory allows.
    let fit = target.shared_limit() / p.stage_bytes();
    (48 * 1024 / p.stage_bytes() + 1).clamp(3, 4).min(fit).max(2)
}

/// What a tile gets by default, for the model.
#[derive(Clone, Copy, Debug)]
pub struct Legal {
    pub warps: u32,
    /// Blocks that registers and shared memory let one SM hold.
    pub blocks_per_sm: u32,
}

/// The default schedule of a tile, if it fits the target's budgets.
pub fn legal(p: Problem, target: Target) -> Option<Legal> {
    let (wm, wn) = default_warps(p)?;
    let stages = default_stages(p, target);
    let shared = p.stage_bytes() * stages;
    let registers = register_estimate(p, (wm, wn));
    let warps = wm * wn;
    let fits = shared <= target.shared_limit() && registers_fit(p, (wm, wn));
    let blocks_per_sm =
        (target.shared_limit() / shared.max(1)).min(target.registers_per_sm() / (registers * warps * 32));
    (fits && blocks_per_sm > 0).then_some(Legal { warps, blocks_per_sm })
}

fn register_cap(warps: u32, target: Target) -> u32 {
    target.register_limit().min(target.registers_per_sm() / (warps * 32) / 8 * 8)
}

fn no_warps(kernel: &t1::Kernel, p: Problem) -> Refusal {
    Refusal::schedule(
        kernel.span,
        format!(
            "a tile of {}×{}×{} does not divide into m16n8k{} matrix instructions with whole ldmatrix loads",
            p.bm,
            p.bn,
            p.bk,
            p.atom.k()
        ),
        format!(
            "rows and columns of the tile must be multiples of 16, its depth a power of two of at least {}",
            p.atom.k()
        ),
    )
}

fn check_warps(kernel: &t1::Kernel, p: Problem, warps: (u32, u32)) -> Result<(), Refusal> {
    if divides(p, warps) {
        return Ok(());
    }
    Err(Refusal::schedule(
        kernel.span,
        format!("warps = ({}, {}) do not divide a tile of {}×{}×{}", warps.0, warps.1, p.bm, p.bn, p.bk),
        format!(
            "each warp needs at least 16 rows and 16 columns, and the depth must be a multiple of {}",
            p.atom.k()
        ),
    ))
}

fn check_shared(kernel: &t1::Kernel, p: Problem, stages: u32, target: Target) -> Result<(), Refusal> {
    let wanted = u64::from(p.stage_bytes()) * u64::from(stages);
    if wanted <= u64::from(target.shared_limit()) {
        return Ok(());
    }
    let fit = target.shared_limit() / p.stage_bytes();
    let help = if fit >= 2 {
        format!("{fit} stages of this tile fit")
    } else {
        "no ring of this tile fits: take a smaller one".into()
    };
    Err(Refusal::schedule(
        kernel.span,
        format!(
            "this schedule wants {} of shared memory; {target} has {}",
            bytes(wanted),
            bytes(target.shared_limit().into())
        ),
        help,
    )
    .note(format!("{stages} stages of {}", bytes(p.stage_bytes().into()))))
}

/// 32-bit registers per thread that a schedule is expected to need.
pub fn register_estimate(p: Problem, warps: (u32, u32)) -> u32 {
    let (wm, wn) = (p.bm / warps.0, p.bn / warps.1);
    let fragments = 2 * (wm / 16 * 4 + wn / 8 * 2);
    // A thread that copies more than four rows of an operand walks a pointer under a predicate per row.
    let units = p.bm.max(p.bn) * p.bk * p.elem_bytes() / 16 / (warps.0 * warps.1 * 32);
    let addresses = 4 + 8 + 6 + 10 + if units > 4 { 24 } else { 0 };
    let rest = fragments + addresses;
    (accumulators(p, warps) + rest + rest / 10).next_multiple_of(8)
}

/// Legal by the estimate, for the most registers that any target gives a thread of so many warps.
fn registers_fit(p: Problem, warps: (u32, u32)) -> bool {
    register_estimate(p, warps) + 16 <= register_cap(warps.0 * warps.1, Target::Sm80)
}

fn check_registers(
    kernel: &t1::Kernel,
    p: Problem,
    warps: (u32, u32),
    target: Target,
) -> Result<(), Refusal> {
    let threads = warps.0 * warps.1 * 32;
    let cap = register_cap(warps.0 * warps.1, target);
    let estimate = register_estimate(p, warps);
    if registers_fit(p, warps) {
        return Ok(());
    }
    Err(Refusal::schedule(
        kernel.span,
        format!("this schedule wants about {estimate} registers per thread; {threads} threads of {target} have {cap}"),
        "more warps or a smaller tile: each thread holds tile rows × tile columns / threads accumulators",
    )
    .note(format!("{} of them hold the accumulator of a {}×{} tile", accumulators(p, warps), p.bm, p.bn)))
}

/// A byte count with thin groups of three digits, as in "524 320 B".
pub fn bytes(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(c);
    }
    out + " B"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduled::ir::MmaType;

    fn problem(bm: u32, bn: u32, bk: u32) -> Problem {
        Problem { bm, bn, bk, atom: MmaAtom { a: MmaType::F16, b: MmaType::F16 } }
    }

    #[test]
    fn warps_are_few_and_square() {
        assert_eq!(default_warps(problem(128, 128, 32)), Some((2, 2)));
        assert_eq!(default_warps(problem(64, 64, 32)), Some((2, 2)));
        assert_eq!(default_warps(problem(256, 128, 32)), Some((4, 2)));
        assert_eq!(default_warps(problem(64, 256, 32)), Some((1, 8)));
        assert_eq!(default_warps(problem(128, 192, 32)), Some((2, 4)));
        assert_eq!(default_warps(problem(24, 64, 32)), None);
    }

    #[test]
    fn bytes_are_grouped() {
        assert_eq!(bytes(524_320), "524 320 B");
        assert_eq!(bytes(12), "12 B");
    }
}
