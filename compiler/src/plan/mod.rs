//! Planning: T1 to T2. Which matrix instructions, who copies what and how, which layouts, which buffers and channels, and the place
//! of every op in its loop's pipeline.
//!
//! | file | decides |
//! | --- | --- |
//! | [`simplify`] | T1 in fewer forms: [`unit_axes`], [`over_grid`], [`vectors`], [`one_step`], [`unroll`], [`factors`], [`trim`], [`widen`], [`start`] |
//! | [`split`] | loops cut into parts, T1 to T1 |
//! | [`contraction`] | what the loop computes |
//! | [`operand`] | what travels through shared memory for a product, and what is computed of it |
//! | [`instances`] | how many blocks the host launches |
//! | [`access`], [`cover`] | how tensors are subscripted, and that lanes stay inside |
//! | [`knobs`] | warps, stages, raster: from the schedule, completed by rules, within the budgets |
//! | [`beside`] | what operands read beside what is staged, for the budget of registers |
//! | [`calibration`] | which register estimates near the limit are good |
//! | [`items`] | what a schedule says of any kernel: occupancy, and how each tensor travels |
//! | [`alternatives`] | what else a schedule item could be, for those who try |
//! | [`model`] | tune parameters, where nothing else does |
//! | [`products`] | loops around several products: what is multiplied, warps, the ops of a step |
//! | [`fragments`] | register layouts: anchors of the matrix instructions |
//! | [`shared`] | copies and the shared-memory layout that suits every accessor |
//! | [`build`] | the pipeline |
//! | [`row_knobs`] | warps and the rest, for kernels without matrix instructions |
//! | [`general`], [`structure`], [`sorting`] | statements without matrix instructions, one by one |
//! | [`memory`], [`elementwise`] | what they read and write, and which values registers hold |
//! | [`across_grid`], [`stream`] | reductions over grid instances, and over the items of a tile |
//! | [`layouts`], [`distribution`] | which registers their tiles live in |
//! | [`refuse`] | how a program or schedule is refused |

pub mod access;
pub mod across_grid;
pub mod alternatives;
mod beside;
pub mod beyond;
pub mod build;
pub mod calibration;
pub mod contraction;
pub mod cover;
pub mod distribution;
pub mod elementwise;
pub mod factors;
pub mod fragments;
pub mod general;
pub mod instances;
pub mod items;
pub mod knobs;
pub mod layouts;
pub mod memory;
pub mod model;
mod monotone;
pub mod one_step;
pub mod operand;
pub mod order;
pub mod over_grid;
pub mod products;
pub mod refuse;
pub mod row_knobs;
pub mod shared;
pub mod simplify;
pub mod sorting;
pub mod split;
pub mod start;
pub mod stream;
pub mod structure;
pub mod trim;
pub mod unit_axes;
pub mod unroll;
pub mod vectors;
pub mod widen;

pub use calibration::Registers;
pub use refuse::{Refusal, RefusalKind};

use crate::artifact::ScheduleItem;
use crate::scheduled::ir::{Module, Stream, Variant};
use crate::target::Target;
use crate::tile::ir as t1;
use crate::tile::reach;

/// A planned kernel: one fused module per variant, and the schedule that they share.
#[derive(Clone, Debug)]
pub struct Planned {
    pub modules: Vec<Module>,
    pub schedule: Vec<ScheduleItem>,
}

/// Plans every variant of a kernel; `stream` is the loop whose steps blocks share evenly.
pub fn plan(
    kernel: &t1::Kernel,
    stream: Option<Stream>,
    target: Target,
    registers: Registers,
) -> Result<Planned, Refusal> {
    if let Some(beyond) = reach::beyond(kernel, &t1::NoFacts) {
        return Err(Refusal::construct(beyond.span, format!("{}, which is {},", beyond.what, beyond.value))
            .note("coordinates are held in 32 bits"));
    }
    if !contraction::any(kernel) {
        return plan_general(kernel, target);
    }
    if products::wanted(kernel) {
        return plan_products(kernel, target);
    }
    let Some(c) = contraction::find(kernel)? else {
        return Err(Refusal::construct(kernel.span, "`@` outside a loop over its contracted range"));
    };
    for operand in [&c.a, &c.b] {
        let span = kernel.loop_(c.loop_id).span;
        operand::check(kernel, operand, span)?;
    }
    let extent = |a| kernel.axis(a).extent;
    let problem = knobs::Problem::of(kernel, &c, (extent(c.m), extent(c.n), extent(c.k)));
    let knobs = knobs::read(kernel, &c, problem, stream, target, registers)?;
    let modules = Variant::ALL
        .into_iter()
        .map(|variant| build::build(kernel, &c, &knobs, problem, variant, target))
        .collect::<Result<Vec<_>, _>>()?;
    let schedule = knobs.printed.into_iter().chain(split::whole(kernel, c.loop_id)).collect();
    Ok(Planned { modules, schedule })
}

/// The class of a kernel's contraction where only the calibration table can say whether its schedule fits the registers.
pub fn uncertain(kernel: &t1::Kernel, target: Target) -> Option<String> {
    let c = contraction::find(kernel).ok()??;
    let extent = |a| kernel.axis(a).extent;
    let problem = knobs::Problem::of(kernel, &c, (extent(c.m), extent(c.n), extent(c.k)));
    let knobs = knobs::read(kernel, &c, problem, None, target, Registers::Unjudged).ok()?;
    knobs.uncertain(problem, target).then(|| calibration::class(problem, knobs.warps, knobs.stages))
}

/// A kernel whose loop does more than add up one product.
fn plan_products(kernel: &t1::Kernel, target: Target) -> Result<Planned, Refusal> {
    let found = products::find(kernel)?;
    let knobs = products::knobs::read(kernel, &found, target)?;
    let modules = Variant::ALL
        .into_iter()
        .map(|variant| products::pipeline::build(kernel, &found, &knobs, variant, target))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Planned { modules, schedule: knobs.printed })
}

/// A kernel without matrix instructions.
fn plan_general(kernel: &t1::Kernel, target: Target) -> Result<Planned, Refusal> {
    let knobs = row_knobs::read_schedule(kernel, target)?;
    let blocks = knobs.items.occupancy.map_or(1, |(n, _)| n);
    let distribution = row_knobs::distribute(kernel, knobs.warps.map(|(n, _)| n), blocks, target)?;
    let modules = Variant::ALL
        .into_iter()
        .map(|variant| general::build(kernel, &distribution, &knobs, variant, target))
        .collect::<Result<Vec<_>, _>>()?;
    let occupancy = modules.first().and_then(|m| m.occupancy);
    let schedule = row_knobs::schedule_items(kernel, distribution.warps, occupancy, &knobs);
    Ok(Planned { modules, schedule })
}
