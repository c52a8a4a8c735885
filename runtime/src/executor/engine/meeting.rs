//! Instructions that lanes execute together: those with a member mask, and `.aligned` ones, which need the whole warp.
//!
//! Hardware lets lanes that parted meet again before such an instruction, if they are on their way there. So does this: whoever is there first
//! is parked, unless the others cannot come any more.
//!
//! ```text
//! L:  bar.red.and.pred %p2, 0, %p1;       lanes 1 to 31 are here again first
//!     @!%p2 bra DONE;
//!     @%p3 bra L;
//!     ld.acquire.gpu.b32 %r1, [%rd1];     lane 0 is here, behind the barrier, and comes
//!     bra L;
//! ```

use super::super::finding::FindingKind;
use super::super::frame::Frame;
use super::super::program::{Program, StepKind, Val32, ValP};
use super::access::lanes_of;
use super::block::Env;
use super::run::val32;
use super::warp::{Fragment, Wait, Warp};

/// Whether an instruction needs the whole warp together.
pub(super) fn is_aligned(kind: &StepKind) -> bool {
    matches!(
        kind,
        StepKind::LdMatrix(_)
            | StepKind::StMatrix(_)
            | StepKind::MovMatrix { .. }
            | StepKind::Converged
            | StepKind::Mma(_)
            | StepKind::MmaF64(_)
            | StepKind::Wgmma(_)
            | StepKind::WgmmaFence
            | StepKind::WgmmaCommit
            | StepKind::WgmmaWait(_)
            | StepKind::SetMaxRegisters { .. }
            | StepKind::MapCopy { .. }
    )
}

/// The lanes that must meet at a step with a member mask.
pub(super) fn members(frame: &Frame, kind: &StepKind, lane: usize) -> Option<u32> {
    Some(match kind {
        StepKind::Shuffle(s) => frame.r32(s.members)[lane],
        StepKind::Vote { members, .. }
        | StepKind::Match { members, .. }
        | StepKind::Redux { members, .. }
        | StepKind::Elect { members, .. }
        | StepKind::WarpSync(members) => val32(frame, *members, lane),
        _ => return None,
    })
}

/// Those of `lanes`, of which there are some, that name the same members as the first of them.
pub(super) fn peers(frame: &Frame, kind: &StepKind, lanes: u32) -> u32 {
    let named = match kind {
        StepKind::Shuffle(s) => s.members,
        StepKind::Vote { members: Val32::Reg(r), .. }
        | StepKind::Match { members: Val32::Reg(r), .. }
        | StepKind::Redux { members: Val32::Reg(r), .. }
        | StepKind::Elect { members: Val32::Reg(r), .. }
        | StepKind::WarpSync(Val32::Reg(r)) => *r,
        _ => return lanes,
    };
    let named = frame.r32(named);
    let first = named[lanes.trailing_zeros() as usize];
    named.iter().enumerate().fold(0, |all, (lane, &mask)| all | u32::from(mask == first) << lane) & lanes
}

/// Whoever executes an instruction with a member mask is in it, and so are all that are in it, unless they have left.
pub(super) fn check_members(env: &mut Env<'_>, warp: &Warp, kind: &StepKind, line: u32, active: u32) {
    let named = |lane: usize| members(&warp.frame, kind, lane).unwrap_or(u32::MAX);
    let strangers =
        lanes_of(active).filter(|&lane| named(lane) >> lane & 1 == 0).fold(0, |m, lane| m | 1 << lane);
    let absent = lanes_of(active).fold(0, |m, lane| m | named(lane)) & warp.live & !active;
    let index = warp.index;
    if strangers != 0 {
        env.report(FindingKind::Divergence, line, None, || {
            format!("warp {index}: lanes {strangers:#010x} execute this and are not in its member mask")
        });
    } else if absent != 0 {
        env.report(FindingKind::Divergence, line, None, || {
            format!("warp {index}: lanes {absent:#010x} are in the member mask and do not execute this: its predicate is false there")
        });
    }
}

pub(super) fn report_divergence(env: &mut Env<'_>, warp: &Warp, line: u32, active: u32) {
    let (index, live) = (warp.index, warp.live);
    env.report(FindingKind::Divergence, line, None, || {
        format!(
            "warp {index}: lanes {active:#010x} execute an aligned instruction while lanes {:#010x} are elsewhere",
            live & !active
        )
    });
}

/// Where the lanes `active` of fragment `current` are alone at an instruction for the whole warp: parks them if the others may still come.
pub(super) fn park(
    env: &mut Env<'_>,
    warp: &mut Warp,
    current: usize,
    mask: u32,
    at: u32,
    active: u32,
) -> bool {
    if active == warp.live {
        return false;
    }
    let back = !warp.is_ahead(current, active, at);
    if back {
        let others = warp.fragments.iter().enumerate().filter(|(number, _)| *number != current);
        let mut moving = others.filter(|(_, f)| matches!(f.wait, Wait::Ready | Wait::Mbarrier(_)));
        let launch = env.launch;
        let program = &launch.kernel.program;
        let ways = &mut env.ways;
        if !moving.any(|(_, f)| *ways.entry((f.at, at)).or_insert_with(|| leads(program, f.at, at))) {
            return false;
        }
    }
    let missing = warp.live & !active;
    warp.fragments[current] = Fragment { wait: Wait::Members(missing), back, ..Fragment::ready(mask, at) };
    true
}

/// The time is up: lanes that were to come back to an aligned instruction, where others of `warp` wait for them, go round elsewhere.
pub(super) fn report_absent(env: &mut Env<'_>, warp: &Warp) {
    for f in warp.fragments.iter().filter(|f| f.back) {
        let Wait::Members(missing) = f.wait else { continue };
        let line = env.launch.kernel.program.steps.get(f.at as usize).map_or(0, |step| step.line);
        let (index, here, away) = (warp.index, f.mask, missing & warp.live);
        env.report(FindingKind::Divergence, line, None, || {
            format!("warp {index}: lanes {here:#010x} wait at an aligned instruction for lanes {away:#010x}, which had not come when the time was up")
        });
    }
}

/// Whether lanes at step `from` may get to step `to` without the rest of their warp.
fn leads(program: &Program, from: u32, to: u32) -> bool {
    let (mut seen, mut left) = (vec![false; program.steps.len()], vec![from]);
    while let Some(at) = left.pop() {
        let Some(step) = program.steps.get(at as usize) else { continue };
        if at == to {
            return true;
        }
        if std::mem::replace(&mut seen[at as usize], true) {
            continue;
        }
        let always = step.guard == ValP::ALWAYS;
        let goes_on = match &step.kind {
            StepKind::Jump(target) => {
                left.push(*target);
                !always
            }
            StepKind::JumpTable { targets, .. } => {
                left.extend(targets.iter());
                !always
            }
            StepKind::Exit | StepKind::Trap => !always,
            StepKind::Barrier(barrier) => !(always && barrier.aligned),
            StepKind::ClusterArrive { aligned, .. } | StepKind::ClusterWait { aligned } => {
                !(always && *aligned)
            }
            kind => !(always && is_aligned(kind)),
        };
        if goes_on {
            left.push(at + 1);
        }
    }
    false
}

/// Lanes `gone` have left: those who wait for them need not wait any more.
pub(super) fn wake_members(env: &mut Env<'_>, warp: &mut Warp, gone: u32) {
    for number in 0..warp.fragments.len() {
        let f = warp.fragments[number];
        let Wait::Members(missing) = f.wait else { continue };
        if f.back && missing & gone != 0 {
            // They could have come back and did not.
            let line = env.launch.kernel.program.steps[f.at as usize].line;
            report_divergence(env, warp, line, f.mask);
        }
        warp.fragments[number].wait = Wait::Ready;
    }
}
