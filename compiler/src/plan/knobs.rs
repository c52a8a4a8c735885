//! Schedule parameters of an sm_80-style kernel: read from the schedule, completed by rules, checked against the target.
//!
//! Budgets (ir.md section 6): shared memory is counted exactly; registers are estimated per thread as accumulators + two sets of
//! fragments + addresses. An estimate of at most the thread's limit less 24 is legal, one above the limit is refused, and what lies between is
//! settled by the [`calibration`](super::calibration) table.

use super::beside::{self, Reads};
use super::calibration::{self, Judgement, Registers, judge};
use super::contraction::Contraction;
use super::items::{self, Items, flag, integer, printed, unknown, wrong};
use super::operand::{Major, Operand};
use super::refuse::Refusal;
use crate::artifact::{ChosenBy, ScheduleItem};
use crate::packed::group_values;
use crate::scheduled::ir::{Dispatch, MmaAtom, Stream, Variant, Via};
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
    /// Copies of the loop's body, a multiple of the stages.
    pub unroll: u32,
    /// A step loads the next one's first fragments.
    pub overlap: bool,
    /// After so many steps the matrix unit's accumulator is added to another and begins anew.
    pub promote: Option<u32>,
    /// How blocks come by tiles.
    pub dispatch: Dispatch,
    /// What is said of any kernel.
    pub items: Items,
    /// As `--emit schedule` prints them.
    pub printed: Vec<ScheduleItem>,
}

/// Sizes that the rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Problem {
    pub bm: u32,
    pub bn: u32,
    pub bk: u32,
    /// The matrix instruction.
    pub atom: MmaAtom,
    /// How the operands lie.
    pub order: (Major, Major),
    /// More follows the loop than a cast and the write.
    pub fused: bool,
    /// A schedule sends an operand through registers.
    pub direct: bool,
    /// An operand is stored for a number of warps.
    pub packed: bool,
    /// Elements of each operand that fill a thread's words exactly, where it is packed.
    pub groups: (u32, u32),
    /// Bits in shared memory of an element of each operand.
    pub bits: (u32, u32),
    /// Neighbours along the contracted range that share an element of a packed tensor: a step has whole such runs.
    pub run: u32,
    /// Bytes in memory of the narrowest element that is copied.
    pub narrowest: u32,
    /// There is a second accumulator: see [`Knobs::promote`].
    pub promoted: bool,
    /// What computed operands read where it is used.
    pub reads: Reads,
}

impl Problem {
    /// Bytes of an operand's element.
    pub fn elem_bytes(self) -> u32 {
        self.atom.a.bits() / 8
    }

    /// A tile of a kernel's contraction.
    pub fn of(kernel: &t1::Kernel, c: &Contraction, (bm, bn, bk): (u32, u32, u32)) -> Problem {
        let own: Vec<t1::TensorId> = [&c.a, &c.b].into_iter().flat_map(Operand::tensors).collect();
        let more = |v: &t1::Value| match &v.op {
            _ if v.ty.is_scalar() => false,
            t1::Op::Read { tensor, .. } => !own.contains(tensor),
            t1::Op::Unary(..) | t1::Op::Select(..) | t1::Op::Compare(..) | t1::Op::Fma(..) => true,
            t1::Op::GridReduce { .. } => true,
            _ => false,
        };
        let fused = kernel.values.iter().any(more);
        let packed = [&c.a, &c.b].into_iter().any(|o| o.packed || !o.also.is_empty());
        // Registers of a fragment that share an element: of the bits of k the lowest are a register's, the next two the lane's.
        let together = |o: &Operand| {
            let (shift, own) = (o.shift(), (32 / c.atom.a.bits()).trailing_zeros());
            shift.min(own) + shift.saturating_sub(own + 2)
        };
        let group = |o: &Operand| {
            let values = |o: &Operand| group_values(o.elem, o.toward) << together(o);
            o.parts().filter(|o| o.packed).map(values).max().unwrap_or(1)
        };
        let groups = (group(&c.a), group(&c.b));
        // A computed operand counts as what it becomes.
        let bits = |o: &Operand| {
            let stored = |o: &Operand| (o.elem.bits() >> o.shift()).max(1);
            let own = if o.packed { stored(o) } else { c.atom.a.bits() };
            own + o.also.iter().map(|(_, o)| stored(o)).sum::<u32>()
        };
        let bits = (bits(&c.a), bits(&c.b));
        let each = [&c.a, &c.b].into_iter().flat_map(Operand::parts);
        let run = each.map(|o| 1 << o.shift()).max().unwrap_or(1);
        let copied = [&c.a, &c.b].into_iter().filter(|o| !o.packed).map(|o| o.elem.bits() / 8);
        let narrowest = copied.min().unwrap_or(c.atom.a.bits() / 8).max(1);
        let order = (c.a.major, c.b.major);
        let promoted = Pins::of(kernel, c).promote.is_some();
        Problem {
            bm,
            bn,
            bk,
            atom: c.atom,
            order,
            fused,
            direct: false,
            packed,
            groups,
            bits,
            run,
            narrowest,
            promoted,
            reads: beside::reads(kernel, c, bk),
        }
    }

    /// Bytes of one ring entry: a slot of each operand.
    pub fn stage_bytes(self) -> u32 {
        self.bk * (self.bm * self.bits.0 + self.bn * self.bits.1) / 8
    }
}

impl Knobs {
    /// Blocks that one SM shall hold at least.
    pub fn occupancy(&self) -> u32 {
        self.items.occupancy.map_or(1, |(n, _)| n)
    }

    /// Every variant must be had so many times on one SM.
    fn check_occupancy(&self, kernel: &t1::Kernel, p: Problem, target: Target) -> Result<(), Refusal> {
        let occupancy = self.occupancy();
        if occupancy == 1 {
            return Ok(());
        }
        for variant in Variant::ALL {
            let (wm, wn) = self.warps_for(variant, p);
            items::check_occupancy(kernel, occupancy, wm * wn, p.stage_bytes() * self.stages, target)?;
            let cap = items::register_cap(wm * wn, occupancy, target);
            let estimate = register_estimate(p, (wm, wn));
            let judged = judge(estimate, cap);
            if judged != Judgement::Legal {
                let threads = wm * wn * 32;
                let why = match judged {
                    Judgement::Uncertain => {
                        "so near that only a measurement could tell, and there are none of several blocks on an SM"
                    }
                    _ => "too many",
                };
                return Err(Refusal::schedule(
                    kernel.span,
                    format!(
                        "occupancy = {occupancy} leaves a thread {cap} registers, and this schedule wants about {estimate}: {why}"
                    ),
                    "more warps, a smaller tile, or fewer blocks on an SM",
                )
                .note(format!("blocks of the {} variant have {threads} threads", variant.name())));
            }
        }
        Ok(())
    }

    /// Whether the estimate of registers says neither yes nor no.
    pub fn uncertain(&self, p: Problem, target: Target) -> bool {
        let cap = items::register_cap(self.warps.0 * self.warps.1, 1, target);
        judge(register_estimate(p, self.warps), cap) == Judgement::Uncertain
    }

    /// Warps of a variant: narrow copies take registers and issue slots, so the narrow variants of a large tile have twice the warps
    /// where the tile divides; the wide one has what the schedule says.
    pub fn warps_for(&self, variant: Variant, p: Problem) -> (u32, u32) {
        let (wm, wn) = self.warps;
        let doubled = if p.bm / wm > p.bn / wn { (2 * wm, wn) } else { (wm, 2 * wn) };
        let copies = p.bm.max(p.bn) * p.bk * p.elem_bytes() / 4 / (wm * wn * 32);
        let crowded = variant != Variant::Wide && (accumulators(p, self.warps) > 96 || copies > 16);
        if crowded && !p.packed && wm * wn <= 4 && divides(p, doubled) { doubled } else { self.warps }
    }

    /// Whether a variant's copies are loops of their own. Narrow copies are many per thread, and the assembler keeps the address of
    /// each in a register as long as it can: beside more than 64 accumulators, or with more than 48 accesses in a turn of the unrolled
    /// loop, it would spill. Single bytes are so many that they always roll.
    pub fn rolls(&self, variant: Variant, p: Problem) -> bool {
        let warps = self.warps_for(variant, p);
        let unit = variant.alignment(p.elem_bytes()).max(1);
        let accesses = p.stage_bytes() / unit / (warps.0 * warps.1 * 32) * self.unroll;
        let bytes = p.elem_bytes() == 1 && variant == Variant::Any;
        // Sixteen warps have half the registers each.
        let most = if warps.0 * warps.1 > 8 { 16 } else { 48 };
        variant != Variant::Wide && (bytes || accumulators(p, warps) > 64 || accesses > most)
    }
}

const RASTER: u32 = 8;
const STAGES: std::ops::RangeInclusive<u32> = 2..=6;
/// Most copies of the loop's body.
const UNROLL: u32 = 12;

/// Reads the schedule of `kernel` for its contraction.
pub fn read(
    kernel: &t1::Kernel,
    c: &Contraction,
    p: Problem,
    stream: Option<Stream>,
    target: Target,
    registers: Registers,
) -> Result<Knobs, Refusal> {
    let loop_name = &kernel.loop_(c.loop_id).name;
    let staged: Vec<t1::TensorId> = [&c.a, &c.b].into_iter().flat_map(Operand::tensors).collect();
    let (mut warps, mut stages, mut raster, mut unroll, mut overlap) = (None, None, None, None, None);
    let (mut items, mut atom) = (Items::default(), ChosenBy::Default);
    let mut promote = (None, ChosenBy::Default);
    let mut persistent = (Dispatch::Each, ChosenBy::Default);
    for item in &kernel.schedule {
        let by = source(item.from);
        if items.take(kernel, item, &staged, target)? {
            continue;
        }
        let path: Vec<&str> = item.path.iter().map(String::as_str).collect();
        match path[..] {
            ["warps"] => warps = Some((read_warps(item)?, by)),
            ["raster"] => raster = Some((integer(item, 1..=64)?, by)),
            ["persistent"] => persistent = (items::read_persistent(kernel, item)?, by),
            [l, "stages"] if l == loop_name => stages = Some((integer(item, STAGES)?, by)),
            [l, "unroll"] if l == loop_name => unroll = Some((item, integer(item, 2..=UNROLL)?, by)),
            [l, "overlap"] if l == loop_name => overlap = Some((flag(item)?, by)),
            [acc, "promote"] if acc == c.name => {
                promote = (read_promote(item)?, by);
                if promote.0.is_some() && !p.atom.acc().is_float() {
                    return Err(Refusal::schedule(
                        item.span,
                        format!(
                            "`{}.promote` of an accumulator of {}, which adds exactly",
                            c.name,
                            p.atom.acc()
                        ),
                        "leave it",
                    ));
                }
            }
            [acc, "atom"] if acc == c.name => {
                let only = p.atom.name();
                if !matches!(&item.value, Some(t1::ScheduleValue::Name(n)) if *n == only) {
                    return Err(wrong(item, &format!("`{only}`, which multiplies these types"), &only));
                }
                atom = by;
            }
            _ => {
                let can = format!(
                    "`warps = (2, 2)`, `raster = {RASTER}`, `occupancy = 1`, `persistent`, `{loop_name}.stages = 3`, `{loop_name}.unroll = 3`, \
                     `{loop_name}.split = 4`, `{loop_name}.overlap = true`, `{}.promote = 4`, `{}.atom = {}`, and `via` and `evict` of a parameter",
                    c.name,
                    c.name,
                    p.atom.name()
                );
                return Err(unknown(kernel, item, target, &can));
            }
        }
    }
    // Rows that were looked up and the addresses of parts live through the loop, which no measured class has both of.
    let gathered = [&c.a, &c.b].iter().any(|o| !o.gather.is_empty());
    let parts = kernel.values.iter().any(|v| matches!(v.op, t1::Op::GridReduce { .. }));
    let dispatch = stream.map_or(persistent.0, Dispatch::Stream);
    // So do what an epilogue needs and where a block stands among its tiles; parts of sums were measured with an epilogue's needs.
    let stays = matches!(dispatch, Dispatch::Persistent | Dispatch::Drawn) && p.fused;
    // Nothing has been measured of other computed operands than packed weights.
    let computed = c.a.computed.is_some() || c.b.computed.is_some() && !c.b.packed || !c.b.also.is_empty();
    // Nor of them where blocks share out steps.
    let shared = p.packed && matches!(dispatch, Dispatch::Stream(_));
    let direct = staged.iter().any(|t| items.via(*t) == Via::Direct)
        || gathered && parts
        || stays
        || computed
        || shared
        || p.reads.by_data > 0;
    let p = Problem { direct, ..p };
    items.stream_weights(&c.b, p.bm);
    let pins = Pins {
        warps: warps.map(|(w, _)| w),
        stages: stages.map(|(n, _)| n),
        unroll: unroll.map(|(_, n, _)| n),
        promote: promote.0,
    };
    let (stages, stages_by) = stages.unwrap_or((pins.stages(p, target), ChosenBy::Model));
    let (warps, warps_by) = match warps {
        Some(w) => w,
        None => (default_warps(p, stages).ok_or_else(|| no_warps(kernel, p))?, ChosenBy::Model),
    };
    check_warps(kernel, p, warps)?;
    let (unroll, unroll_by) = match unroll {
        Some((item, n, _)) if n % stages != 0 => {
            let takes = format!("a multiple of the {stages} stages, so that every slot is a constant");
            return Err(wrong(item, &takes, &stages.to_string()));
        }
        Some((item, n, _)) if n % pins.every() != 0 => {
            let takes = format!("a multiple of the {} steps of `{}.promote`", pins.every(), c.name);
            return Err(wrong(item, &takes, &lcm(stages, pins.every()).to_string()));
        }
        Some((_, n, by)) => (n, by),
        None => (lcm(stages, pins.every()), ChosenBy::Default),
    };
    if unroll > UNROLL {
        return Err(Refusal::schedule(
            kernel.span,
            format!(
                "`{}.promote = {}` beside {stages} stages unrolls the loop {unroll} times; {UNROLL} is the most",
                c.name,
                pins.every()
            ),
            format!("`{loop_name}.stages` that divide {}", pins.every()),
        ));
    }
    let (raster, raster_by) = raster.unwrap_or((RASTER, ChosenBy::Default));
    let (overlap, overlap_by) = overlap.unwrap_or((true, ChosenBy::Default));
    let mut knobs = Knobs {
        warps,
        stages,
        raster,
        unroll,
        overlap,
        promote: promote.0,
        dispatch,
        items,
        printed: Vec::new(),
    };
    check_shared(kernel, p, stages, target)?;
    if registers == Registers::Calibrated {
        check_registers(kernel, p, warps, stages, target)?;
        knobs.check_occupancy(kernel, p, target)?;
    }
    let occupancy_by = knobs.items.occupancy.map_or(ChosenBy::Default, |(_, by)| by);
    knobs.printed = vec![
        printed("warps", format!("({}, {})", warps.0, warps.1), warps_by),
        printed("raster", raster, raster_by),
        printed("occupancy", knobs.occupancy(), occupancy_by),
        printed("persistent", items::persistence(persistent.0), persistent.1),
        printed(format!("{loop_name}.stages"), stages, stages_by),
        printed(format!("{loop_name}.unroll"), unroll, unroll_by),
        printed(format!("{loop_name}.overlap"), overlap, overlap_by),
        printed(
            format!("{}.promote", c.name),
            promote.0.map_or("false".to_string(), |n| n.to_string()),
            promote.1,
        ),
        printed(format!("{}.atom", c.name), p.atom.name(), atom),
    ];
    knobs.printed.extend(knobs.items.tensors(kernel, &staged));
    Ok(knobs)
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

/// Steps between two promotions; `false` is none.
fn read_promote(item: &t1::ScheduleItem) -> Result<Option<u32>, Refusal> {
    match item.value {
        Some(t1::ScheduleValue::Bool(false)) => Ok(None),
        Some(t1::ScheduleValue::Int(n)) if (1..=i128::from(UNROLL)).contains(&n.into()) => Ok(Some(n as u32)),
        _ => Err(wrong(item, &format!("a number of steps from 1 to {UNROLL}, or `false`"), "4")),
    }
}

fn lcm(a: u32, b: u32) -> u32 {
    let mut common = (a, b);
    while common.1 > 0 {
        common = (common.1, common.0 % common.1);
    }
    a / common.0 * b
}

pub(super) fn read_warps(item: &t1::ScheduleItem) -> Result<(u32, u32), Refusal> {
    let warp = |v: &t1::ScheduleValue| match v {
        t1::ScheduleValue::Int(n) if (1..=16).contains(n) && (*n as u32).is_power_of_two() => Some(*n as u32),
        _ => None,
    };
    let pair = match &item.value {
        Some(t1::ScheduleValue::Tuple(v)) if v.len() == 2 => warp(&v[0]).zip(warp(&v[1])),
        _ => None,
    };
    pair.filter(|(m, n)| m * n <= 16).ok_or_else(|| {
        wrong(item, "two powers of two, at most 16 warps in all", "(2, 2)")
            .note("the first is warps along the rows of the tile, the second along its columns")
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

/// Whether every thread of so many warps has something to copy, of each operand, in the widest accesses, and of packed ones whole words.
fn fills(p: Problem, (wm, wn): (u32, u32)) -> bool {
    let whole = |extent: u32, warps: u32, group: u32| (extent * p.bk / (32 * warps)).is_multiple_of(group);
    wm * wn * 32 <= p.bm.min(p.bn) * p.bk * p.narrowest.min(p.elem_bytes()) / 16
        && whole(p.bm, wm, p.groups.0)
        && whole(p.bn, wn, p.groups.1)
}

/// The fewest warps, at least four, whose accumulators fit beside the fragments; among those the squarest warp tile. Of tiles that are
/// too small for four, as many warps as have something to copy.
fn default_warps(p: Problem, stages: u32) -> Option<(u32, u32)> {
    let fit = |p: Problem, warps| fills(p, warps) && registers_fit(p, warps, stages);
    // Where no number of warps fits, the budget says so, with the warps that divide the tile.
    squarest(p, fit).or_else(|| squarest(p, fills)).or_else(|| squarest(p, |_, _| true))
}

/// What a schedule pins of what the model would choose; anything that it says amiss is refused when it is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pins {
    warps: Option<(u32, u32)>,
    stages: Option<u32>,
    unroll: Option<u32>,
    promote: Option<u32>,
}

impl Pins {
    /// What `kernel` pins for its contraction.
    pub fn of(kernel: &t1::Kernel, c: &Contraction) -> Pins {
        let loop_name = &kernel.loop_(c.loop_id).name;
        let mut pins = Pins::default();
        for item in &kernel.schedule {
            let path: Vec<&str> = item.path.iter().map(String::as_str).collect();
            match path[..] {
                ["warps"] => pins.warps = read_warps(item).ok(),
                [l, "stages"] if l == loop_name => pins.stages = integer(item, STAGES).ok(),
                [l, "unroll"] if l == loop_name => pins.unroll = integer(item, 2..=UNROLL).ok(),
                [acc, "promote"] if acc == c.name => pins.promote = read_promote(item).ok().flatten(),
                _ => {}
            }
        }
        pins
    }

    /// Steps that one promotion takes together.
    fn every(self) -> u32 {
        self.promote.unwrap_or(1)
    }

    /// Slots of the ring: what is pinned, else the usual number, or what divides a pinned `unroll` and is unrolled with promotions.
    fn stages(self, p: Problem, target: Target) -> u32 {
        let usual = default_stages(p, target);
        let divides = |n: &u32| {
            self.unroll.is_none_or(|unroll| unroll.is_multiple_of(*n)) && lcm(*n, self.every()) <= UNROLL
        };
        let near = (2..=usual).rev().chain(usual + 1..=*STAGES.end()).find(divides);
        self.stages.or(near).unwrap_or(usual)
    }
}

fn squarest(p: Problem, fits: impl Fn(Problem, (u32, u32)) -> bool) -> Option<(u32, u32)> {
    let powers = (0..5).flat_map(|m| (0..5).map(move |n| (1u32 << m, 1u32 << n)));
    powers.filter(|(wm, wn)| wm * wn <= 16 && divides(p, (*wm, *wn)) && fits(p, (*wm, *wn))).min_by_key(
        |(wm, wn)| {
            let (warps, tm, tn) = (wm * wn, p.bm / wm, p.bn / wn);
            // Warps along the rows would each unpack the same.
            let shape = if p.packed { *wm } else { tm.max(tn) * 16 / tm.min(tn) };
            (4u32.saturating_sub(warps), warps, shape)
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

/// The schedule of a tile, as far as it is not pinned the default one, if it fits the target's budgets.
pub fn legal(p: Problem, pins: Pins, target: Target) -> Option<Legal> {
    let stages = pins.stages(p, target);
    let (wm, wn) = match pins.warps {
        Some(warps) => warps,
        None => default_warps(p, stages)?,
    };
    if !divides(p, (wm, wn)) || !fills(p, (wm, wn)) || !p.bk.is_multiple_of(p.run) {
        return None;
    }
    let shared = p.stage_bytes() * stages;
    let registers = register_estimate(p, (wm, wn));
    let warps = wm * wn;
    let fits = shared <= target.shared_limit() && registers_fit(p, (wm, wn), stages);
    let blocks_per_sm =
        (target.shared_limit() / shared.max(1)).min(target.registers_per_sm() / (registers * warps * 32));
    (fits && blocks_per_sm > 0).then_some(Legal { warps, blocks_per_sm })
}

/// What a tile's sizes must be, as far as they are not.
fn sizes(p: Problem) -> Vec<String> {
    let mut out = Vec::new();
    for (what, n) in [("rows", p.bm), ("columns", p.bn)] {
        if n % 16 != 0 {
            out.push(format!("its {n} {what} are no multiple of 16"));
        }
    }
    if !p.bk.is_power_of_two() || p.bk < p.atom.k() {
        let k = p.atom.k();
        out.push(format!(
            "its depth of {} is no power of two from {k} on, as the rings of this target need",
            p.bk
        ));
    }
    out
}

fn no_warps(kernel: &t1::Kernel, p: Problem) -> Refusal {
    let refusal = Refusal::schedule(
        kernel.span,
        format!(
            "a tile of {}×{}×{} cannot be computed by m16n8k{} matrix instructions with whole ldmatrix loads",
            p.bm,
            p.bn,
            p.bk,
            p.atom.k()
        ),
        format!(
            "rows and columns of the tile must be multiples of 16, its depth a power of two of at least {}",
            p.atom.k()
        ),
    );
    sizes(p).into_iter().fold(refusal, Refusal::note)
}

fn check_warps(kernel: &t1::Kernel, p: Problem, warps: (u32, u32)) -> Result<(), Refusal> {
    if divides(p, warps) {
        return Ok(());
    }
    let (wm, wn) = warps;
    if !sizes(p).is_empty() {
        return Err(no_warps(kernel, p));
    }
    let refusal = Refusal::schedule(
        kernel.span,
        format!("warps = ({wm}, {wn}) do not divide a tile of {}×{}×{}", p.bm, p.bn, p.bk),
        "each warp needs at least 16 rows and 16 columns, and as many as every other",
    );
    let odd = [("rows", p.bm, wm), ("columns", p.bn, wn)].into_iter().filter(|(_, n, w)| n % (16 * w) != 0);
    Err(odd.fold(refusal, |r, (what, n, w)| {
        r.note(format!("{n} {what} are no multiple of {} = 16 × {w}", 16 * w))
    }))
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
    // What elements look up is on its way while others are multiplied: by a sweep of `pq_gemm`, a register and a quarter each.
    let on_the_way = (p.reads.by_codes.0 * wm + p.reads.by_codes.1 * wn) * p.bk / 32 * 5 / 4;
    if p.packed {
        // What is unpacked lives from one matrix instruction to the next, and each thread has an address or two of the packed tiles.
        let units = p.bm * p.bk * p.elem_bytes() / 16 / (warps.0 * warps.1 * 32);
        // The assembler wants all that a step looks up at once.
        let looked_up = p.reads.by_data * wn * p.bk / 32;
        // What is measured are up to four scales beside codes of less than a byte.
        let scales =
            if p.reads.scales > 4 || p.reads.scales >= 2 && p.bits.1.max(p.bits.0 % 16) >= 8 { 8 } else { 0 };
        let copies = if units > 4 { 16 } else { 0 };
        let rest = 2 * (wm / 16 * 4) + wn / 8 * 2 + 32 + copies + on_the_way + looked_up + scales;
        return (accumulators(p, warps) * (1 + u32::from(p.promoted)) + rest).next_multiple_of(4);
    }
    let fragments = 2 * (wm / 16 * 4 + wn / 8 * 2);
    // A thread that copies more than four rows of an operand walks a pointer under a predicate per row.
    let units = p.bm.max(p.bn) * p.bk * p.elem_bytes() / 16 / (warps.0 * warps.1 * 32);
    let addresses = 4 + 8 + 6 + 10 + if units > 4 { 24 } else { 0 };
    // Four accesses of sixteen bytes on their way.
    let rest = fragments + addresses + on_the_way + if p.direct { 16 } else { 0 };
    (accumulators(p, warps) * (1 + u32::from(p.promoted)) + rest + rest / 10).next_multiple_of(8)
}

/// Whether the assembler finds registers for this, for the most that any target gives a thread of so many warps.
fn registers_fit(p: Problem, warps: (u32, u32), stages: u32) -> bool {
    let cap = items::register_cap(warps.0 * warps.1, 1, Target::Sm80);
    match judge(register_estimate(p, warps), cap) {
        Judgement::Legal => true,
        Judgement::TooMany => false,
        Judgement::Uncertain => calibration::settled(&calibration::class(p, warps, stages)) == Some(true),
    }
}

fn check_registers(
    kernel: &t1::Kernel,
    p: Problem,
    warps: (u32, u32),
    stages: u32,
    target: Target,
) -> Result<(), Refusal> {
    let threads = warps.0 * warps.1 * 32;
    let cap = items::register_cap(warps.0 * warps.1, 1, target);
    let estimate = register_estimate(p, warps);
    if registers_fit(p, warps, stages) {
        return Ok(());
    }
    let class = calibration::class(p, warps, stages);
    let refusal = Refusal::schedule(
        kernel.span,
        format!("this schedule wants about {estimate} registers per thread; {threads} threads of {target} have {cap}"),
        "more warps or a smaller tile: each thread holds tile rows × tile columns / threads accumulators",
    )
    .note(format!("{} of them hold the accumulator of a {}×{} tile", accumulators(p, warps), p.bm, p.bn));
    Err(match judge(estimate, cap) {
        Judgement::Uncertain if calibration::settled(&class).is_some() => {
            refusal.note(format!("so near the limit measurements decide, and this spilled: {class}"))
        }
        Judgement::Uncertain => {
            refusal.note(format!("so near the limit measurements decide, and there is none of this: {class}"))
        }
        _ => refusal,
    })
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
        let atom = MmaAtom { a: MmaType::F16, b: MmaType::F16 };
        Problem {
            bm,
            bn,
            bk,
            atom,
            order: (Major::K, Major::K),
            fused: false,
            direct: false,
            packed: false,
            groups: (1, 1),
            bits: (16, 16),
            run: 1,
            narrowest: 2,
            promoted: false,
            reads: Reads::default(),
        }
    }

    /// 32 columns of 32 deep are 32 elements a thread where one warp has them all, a group of 3-bit codes, and 16 on two.
    #[test]
    fn threads_hold_whole_groups_of_packed_codes() {
        let p = Problem { packed: true, bits: (16, 3), ..problem(32, 32, 32) };
        assert_eq!(squarest(p, fills), Some((2, 2)));
        assert_eq!(squarest(Problem { groups: (1, 32), ..p }, fills), Some((2, 1)));
    }

    #[test]
    fn warps_are_few_and_square() {
        assert_eq!(default_warps(problem(128, 128, 32), 3), Some((2, 2)));
        assert_eq!(default_warps(problem(64, 64, 32), 3), Some((2, 2)));
        assert_eq!(default_warps(problem(256, 128, 32), 3), Some((4, 2)));
        assert_eq!(default_warps(problem(64, 256, 32), 3), Some((1, 8)));
        assert_eq!(default_warps(problem(128, 192, 32), 3), Some((2, 4)));
        assert_eq!(default_warps(problem(24, 64, 32), 3), None);
    }

    #[test]
    fn bytes_are_grouped() {
        assert_eq!(bytes(524_320), "524 320 B");
        assert_eq!(bytes(12), "12 B");
    }
}
