//! A warp's turn: executing steps until it must wait.

use super::super::codegen::MachineCode;
use super::super::finding::FindingKind;
use super::super::frame::{Frame, Lanes32, Lanes64, blend32, blend64};
use super::super::program::{LiveOut, Step, StepKind, Val32, Val64, ValP};
use super::block::{Env, Stop};
use super::meeting::{check_members, is_aligned, members, park, peers, report_divergence, wake_members};
use super::registers::Change;
use super::warp::{Fragment, Wait, Warp};

/// Backward jumps before other warps get a turn: spinning on a value that another warp will write must not starve that warp.
const QUANTUM: u32 = 20_000;
/// Looks at what others may change ([`Env::looks`]) that use a quantum up, if there is a backward jump after them.
const LOOKS: u32 = 16;

/// What is left of a turn.
struct Quantum {
    left: u32,
    look: u32,
    seen: u64,
}

impl Quantum {
    fn new(env: &Env<'_>) -> Quantum {
        // A turn of spinning costs much more when every look is recorded.
        let left = if env.shadow.is_some() { QUANTUM / 16 } else { QUANTUM };
        Quantum { left, look: left / LOOKS, seen: env.looks }
    }

    /// A backward jump; says whether it was the last one.
    fn spend(&mut self, env: &Env<'_>) -> bool {
        let looks = (env.looks - self.seen).min(u64::from(LOOKS)) as u32;
        self.seen = env.looks;
        self.left = self.left.saturating_sub(1 + looks * self.look);
        self.left == 0
    }
}

/// Why a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// No lane is left.
    Done,
    /// No fragment is ready.
    Waiting,
    /// The quantum is spent; the warp can go on.
    Quantum,
    /// This fragment executes a barrier.
    Barrier { fragment: usize, arrive_only: bool },
    /// This fragment arrives at, or waits for, the cluster barrier.
    Cluster { fragment: usize, wait: bool },
    /// This fragment waits for products of `wgmma`.
    Products { fragment: usize, newest: u32 },
}

/// The lanes where a predicate holds.
#[inline]
pub fn valp(frame: &Frame, p: ValP) -> u32 {
    match p {
        ValP::Const(true) => u32::MAX,
        ValP::Const(false) => 0,
        ValP::Reg(p) => frame.pred(p),
        ValP::Not(p) => !frame.pred(p),
    }
}

/// A 32-bit operand of one lane.
#[inline]
pub fn val32(frame: &Frame, v: Val32, lane: usize) -> u32 {
    match v {
        Val32::Imm(value) => value,
        Val32::Reg(r) => frame.r32(r)[lane],
    }
}

/// A 64-bit operand of one lane.
#[inline]
pub fn val64(frame: &Frame, v: Val64, lane: usize) -> u64 {
    match v {
        Val64::Imm(value) => value,
        Val64::Reg(r) => frame.r64(r)[lane],
    }
}

/// Runs fragments of `warp` until it must wait.
pub fn run_warp(env: &mut Env<'_>, warp: &mut Warp) -> Result<Turn, Stop> {
    let program = &env.launch.kernel.program;
    let mut quantum = Quantum::new(env);
    'fragment: loop {
        let Some(mut current) = warp.next_ready() else {
            return Ok(if warp.fragments.is_empty() { Turn::Done } else { Turn::Waiting });
        };
        let Fragment { mut mask, mut at, .. } = warp.fragments[current];
        loop {
            let Some(step) = program.steps.get(at as usize) else {
                env.report(FindingKind::Trap, 0, None, || "the kernel ran past its last instruction".into());
                return Err(Stop);
            };
            if warp.fragments.len() > 1 {
                // Somebody else may be here already, or be behind and come first.
                let parked_here = |f: &Fragment| f.at == at && matches!(f.wait, Wait::Members(_));
                if step.block_start || warp.fragments.iter().any(parked_here) {
                    warp.fragments[current].at = at;
                    warp.fragments[current].mask = mask;
                    current = warp.merge_into(current);
                    warp.fragments[current].wait = Wait::Ready;
                    mask = warp.fragments[current].mask;
                    if step.block_start && warp.next_ready() != Some(current) {
                        continue 'fragment;
                    }
                }
            }
            if let Some(tracer) = &env.tracer
                && tracer.now(warp.index) > tracer.limit
            {
                warp.fragments[current] = Fragment { mask, at, ..warp.fragments[current] };
                return Ok(Turn::Quantum);
            }
            if warp.wgmma.has_batch()
                && !matches!(step.kind, StepKind::Segment(_) | StepKind::Wgmma(_) | StepKind::WgmmaFence)
            {
                env.add_up(warp);
            }
            let mut active = mask & valp(&warp.frame, step.guard);
            env.counters.warp_instructions += u64::from(step.count);
            env.counters.executed(at as usize);
            if let Some(tracer) = &mut env.tracer {
                tracer.step(program, warp.index, at);
            }
            if env.tracks_wgmma() {
                env.check_registers(warp, at, step.line, active);
            }
            if warp.doubts.is_some() {
                env.weigh(warp, step, mask, active);
            }
            match &step.kind {
                StepKind::Segment(number) => {
                    let code = &env.launch.kernel.code;
                    let live_out = &program.segments[*number as usize].live_out;
                    segment(code, &mut warp.frame, *number, mask, live_out);
                    warp.twins(|twin| segment(code, twin, *number, mask, live_out));
                }
                StepKind::Mma(_) if active == u32::MAX && env.unwatched => {
                    let Some(run) = &env.launch.kernel.runs[at as usize] else {
                        execute(env, warp, step, at as usize, active)?;
                        at += 1;
                        continue;
                    };
                    run.execute(&mut warp.frame, &mut env.scratch);
                    env.counters.mma += run.len() as u64;
                    env.counters.warp_instructions += run.len() as u64 - 1;
                    at += run.len() as u32;
                    continue;
                }
                StepKind::Jump(target) => {
                    if active == mask {
                        if *target <= at && quantum.spend(env) {
                            warp.fragments[current].at = *target;
                            return rotate(env, warp, current, step);
                        }
                        at = *target;
                        continue;
                    }
                    if active != 0 {
                        mask &= !active;
                        warp.fragments[current] = Fragment::ready(mask, at + 1);
                        warp.fragments.push(Fragment::ready(active, *target));
                        if *target <= at && quantum.spend(env) {
                            let back = warp.fragments.len() - 1;
                            return rotate(env, warp, back, step);
                        }
                        continue 'fragment;
                    }
                }
                StepKind::JumpTable { index, targets } if active != 0 => {
                    if active == mask {
                        warp.fragments.swap_remove(current);
                    } else {
                        warp.fragments[current] = Fragment::ready(mask & !active, at + 1);
                    }
                    let index = *warp.frame.r32(*index);
                    let (mut left, mut backward) = (active, None);
                    while left != 0 {
                        let which = index[left.trailing_zeros() as usize];
                        let same = (0..32)
                            .filter(|&l| left >> l & 1 != 0 && index[l] == which)
                            .fold(0, |m, l| m | 1 << l);
                        left &= !same;
                        let Some(&target) = targets.get(which as usize) else {
                            let count = targets.len();
                            env.report(FindingKind::Trap, step.line, None, || {
                                format!("brx.idx with index {which}, but there are {count} targets")
                            });
                            return Err(Stop);
                        };
                        if target <= at {
                            backward = Some(warp.fragments.len());
                        }
                        warp.fragments.push(Fragment::ready(same, target));
                    }
                    if let Some(back) = backward
                        && quantum.spend(env)
                    {
                        return rotate(env, warp, back, step);
                    }
                    continue 'fragment;
                }
                StepKind::Exit => {
                    env.check_exit(warp, step.line, active);
                    warp.live &= !active;
                    mask &= !active;
                    if mask == 0 {
                        warp.fragments.swap_remove(current);
                        // Those who wait for lanes that are gone need not wait any more.
                        wake_members(env, warp, active);
                        continue 'fragment;
                    }
                    wake_members(env, warp, active);
                }
                StepKind::Trap if active != 0 => {
                    env.report(FindingKind::Trap, step.line, None, || {
                        format!("warp {} executed trap", warp.index)
                    });
                    return Err(Stop);
                }
                StepKind::Barrier(barrier)
                    if active != 0 && barrier.aligned && park(env, warp, current, mask, at, active) =>
                {
                    continue 'fragment;
                }
                StepKind::ClusterArrive { aligned: true, .. } | StepKind::ClusterWait { aligned: true }
                    if active != 0 && park(env, warp, current, mask, at, active) =>
                {
                    continue 'fragment;
                }
                StepKind::Barrier(barrier) if active != 0 => {
                    if active != mask {
                        // A guard that splits the warp: the lanes that are off go on by themselves.
                        warp.fragments.push(Fragment::ready(mask & !active, at + 1));
                    }
                    warp.fragments[current] = Fragment::ready(active, at);
                    return Ok(Turn::Barrier { fragment: current, arrive_only: barrier.arrive_only });
                }
                StepKind::ClusterArrive { aligned, .. } | StepKind::ClusterWait { aligned }
                    if active != 0 =>
                {
                    if *aligned && active != warp.live {
                        report_divergence(env, warp, step.line, active);
                    }
                    if active != mask {
                        warp.fragments.push(Fragment::ready(mask & !active, at + 1));
                    }
                    warp.fragments[current] = Fragment::ready(active, at);
                    let wait = matches!(step.kind, StepKind::ClusterWait { .. });
                    return Ok(Turn::Cluster { fragment: current, wait });
                }
                StepKind::MbarWait(wait) if active != 0 => {
                    let answer = env.mbar_wait(warp, step.line, at, wait, active)?;
                    let impatient = std::mem::take(&mut warp.fragments[current].impatient);
                    if let (Some(offset), false, false) = (answer.missing, impatient, answer.refused) {
                        warp.fragments[current] =
                            Fragment { wait: Wait::Mbarrier(offset), ..Fragment::ready(mask, at) };
                        continue 'fragment;
                    }
                    let complete = answer.complete;
                    let old = warp.frame.pred(wait.d);
                    warp.frame.set_pred(wait.d, (old & !active) | complete);
                    env.unite(warp, &step.kind, active);
                }
                kind if active == 0 => {
                    let _ = kind;
                }
                kind => {
                    if members(&warp.frame, kind, active.trailing_zeros() as usize).is_some() {
                        // Groups of lanes that name different members have nothing to do with each other.
                        let (mut left, mut early, mut awaited) = (active, 0, 0);
                        while left != 0 {
                            let first = left.trailing_zeros() as usize;
                            let group = peers(&warp.frame, kind, left);
                            left &= !group;
                            let named = members(&warp.frame, kind, first).unwrap_or_default();
                            let missing = named & warp.live & !active;
                            if missing & !mask != 0 {
                                early |= group;
                                awaited |= missing;
                            }
                        }
                        let waits =
                            |lanes| Fragment { wait: Wait::Members(awaited), ..Fragment::ready(lanes, at) };
                        if early == active {
                            warp.fragments[current] = waits(mask);
                            continue 'fragment;
                        }
                        if early != 0 {
                            mask &= !early;
                            active &= !early;
                            warp.fragments[current] = Fragment::ready(mask, at);
                            warp.fragments.push(waits(early));
                        }
                        if env.shadow.is_some() {
                            check_members(env, warp, kind, step.line, active);
                        }
                    }
                    if is_aligned(kind) && active != warp.live {
                        if park(env, warp, current, mask, at, active) {
                            continue 'fragment;
                        }
                        report_divergence(env, warp, step.line, active);
                    }
                    if let &StepKind::WgmmaWait(newest) = kind {
                        if active != mask {
                            warp.fragments.push(Fragment::ready(mask & !active, at + 1));
                        }
                        warp.fragments[current] = Fragment::ready(active, at);
                        if let Some(shadow) = &mut env.shadow {
                            shadow.lanes_pass(warp.index);
                        }
                        return Ok(Turn::Products { fragment: current, newest });
                    }
                    if matches!(
                        kind,
                        StepKind::Vote { .. }
                            | StepKind::Match { .. }
                            | StepKind::Redux { .. }
                            | StepKind::Elect { .. }
                    ) {
                        let mut left = active;
                        while left != 0 {
                            let group = peers(&warp.frame, kind, left);
                            left &= !group;
                            execute(env, warp, step, at as usize, group)?;
                        }
                    } else {
                        execute(env, warp, step, at as usize, active)?;
                    }
                }
            }
            at += 1;
        }
    }
}

/// The quantum is over: look at the clock, and let another fragment go first if there is one.
fn rotate(env: &mut Env<'_>, warp: &mut Warp, current: usize, step: &Step) -> Result<Turn, Stop> {
    if env.launch.deadline.is_some_and(|d| std::time::Instant::now() > d) {
        let index = warp.index;
        env.report(FindingKind::Timeout, step.line, None, || {
            format!("the time limit passed while warp {index} was in this loop")
        });
        return Err(Stop);
    }
    warp.yield_fragment(current);
    Ok(Turn::Quantum)
}

/// Lanes that are off compute too and get their old values back afterwards.
fn segment(code: &MachineCode, frame: &mut Frame, number: u32, mask: u32, live_out: &LiveOut) {
    if mask == u32::MAX {
        code.call(number, frame);
        return;
    }
    let old32: Vec<Lanes32> = live_out.r32.iter().map(|&r| *frame.r32(r)).collect();
    let old64: Vec<Lanes64> = live_out.r64.iter().map(|&r| *frame.r64(r)).collect();
    let old_preds: Vec<u32> = live_out.preds.iter().map(|&p| frame.pred(p)).collect();
    code.call(number, frame);
    for (&r, old) in live_out.r32.iter().zip(&old32) {
        blend32(frame.r32_mut(r), old, !mask);
    }
    for (&r, old) in live_out.r64.iter().zip(&old64) {
        blend64(frame.r64_mut(r), old, !mask);
    }
    for (&p, old) in live_out.preds.iter().zip(old_preds) {
        let new = frame.pred(p);
        frame.set_pred(p, (new & mask) | (old & !mask));
    }
}

/// Executes a step that is neither a segment nor control flow, for the lanes of `mask` (not empty).
fn execute(env: &mut Env<'_>, warp: &mut Warp, step: &Step, number: usize, mask: u32) -> Result<(), Stop> {
    if let Some(shadow) = &mut env.shadow
        && let StepKind::Shuffle(_)
        | StepKind::Vote { .. }
        | StepKind::Match { .. }
        | StepKind::Redux { .. }
        | StepKind::Elect { .. } = &step.kind
    {
        // The ISA promises no order of memory here, but kernels rely on the lanes having met.
        shadow.lanes_met(warp.index);
    } else if let Some(shadow) = &mut env.shadow
        && is_aligned(&step.kind)
    {
        shadow.lanes_pass(warp.index);
    }
    if super::plain::compute(&mut warp.frame, &step.kind, mask) {
        env.counters.mma += u64::from(matches!(step.kind, StepKind::Mma(_) | StepKind::MmaF64(_)));
        warp.twins(|twin| {
            super::plain::compute(twin, &step.kind, mask);
        });
        return Ok(());
    }
    match &step.kind {
        StepKind::Load(access) => env.load(warp, step.line, number, access, mask)?,
        StepKind::Store(access) => env.store(warp, step.line, number, access, mask)?,
        StepKind::CpAsync(copy) => env.cp_async(warp, step.line, number, copy, mask)?,
        StepKind::CpAsyncCommit => warp.copies.commit(mask),
        StepKind::CpAsyncWait(newest) => env.cp_async_wait(warp, *newest, mask)?,
        StepKind::LdMatrix(access) => env.ldmatrix(warp, step.line, number, access, mask)?,
        StepKind::StMatrix(access) => env.stmatrix(warp, step.line, number, access, mask)?,
        StepKind::Atomic(atomic) => env.atomic(warp, step.line, number, atomic, mask)?,
        StepKind::WarpSync(_) => {
            if let Some(shadow) = &mut env.shadow {
                shadow.advance(warp.index);
            }
        }
        &StepKind::MbarInit { addr, space, count } => {
            env.mbar_init(warp, step.line, space, addr, count, mask)?
        }
        &StepKind::MbarInval { addr, space } => env.mbar_inval(warp, step.line, space, addr, mask)?,
        StepKind::MbarArrive(op) => env.mbar_arrive(warp, step.line, op, mask)?,
        StepKind::MbarTx(op) => env.mbar_tx(warp, step.line, op, mask)?,
        &StepKind::CpAsyncArrive { addr, space, noinc } => {
            env.cp_async_arrive(warp, step.line, (space, addr, noinc), mask)?
        }
        StepKind::StoreAsync(op) => env.store_async(warp, step.line, op, mask)?,
        StepKind::Bulk(op) => env.bulk(warp, step.line, op, mask)?,
        StepKind::Tensor(op) => env.tensor_copy(warp, step.line, op, mask)?,
        StepKind::BulkCommit => warp.bulk.commit(mask),
        &StepKind::BulkWait { newest, read } => env.bulk_wait(warp, newest, read, mask)?,
        &StepKind::ProxyFence { shared, global } => {
            if let Some(shadow) = &mut env.shadow {
                shadow.proxy_fence(warp.index, shared, global);
            }
        }
        &StepKind::MemoryFence { acquire, release, far } => {
            if let Some(shadow) = &mut env.shadow {
                shadow.near_fence(warp.index, acquire, release);
                if far {
                    shadow.memory_fence(warp.index, acquire, release);
                }
            }
        }
        StepKind::MapFence => {
            if let Some(shadow) = &mut env.shadow {
                shadow.memory_fence(warp.index, true, false);
                shadow.map_fence(warp.index);
            }
        }
        StepKind::InitFence => env.announce_mbarriers(warp),
        &StepKind::SetMaxRegisters { dec, registers } => {
            if env.shadow.is_some() {
                let change = Change { line: step.line, dec, registers };
                let before = warp.registers.last().map(|c| c.registers).or(env.launch.kernel.program.maxnreg);
                env.check_change(warp.index, change, before);
                warp.registers.push(change);
            }
        }
        StepKind::MapReplace(op) => env.map_replace(warp, step.line, op, mask)?,
        &StepKind::Clock { d, time } => env.clock(warp, d, time, mask),
        &StepKind::MapCopy { dst, src } => env.map_copy(warp, step.line, dst, src, mask)?,
        StepKind::Wgmma(op) => env.wgmma(warp, step.line, number, op, mask)?,
        StepKind::WgmmaFence => warp.wgmma.fence(),
        StepKind::WgmmaCommit => warp.wgmma.commit(),
        StepKind::Host(call) => env.host_call(warp, step.line, call, mask)?,
        StepKind::WgmmaWait(_)
        | StepKind::MbarWait(_)
        | StepKind::ClusterArrive { .. }
        | StepKind::ClusterWait { .. }
        | StepKind::Segment(_)
        | StepKind::Jump(_)
        | StepKind::JumpTable { .. }
        | StepKind::Barrier(_)
        | StepKind::Exit
        | StepKind::Trap
        | StepKind::Converged
        | StepKind::Nothing
        | StepKind::Call(_)
        | StepKind::MovMatrix { .. }
        | StepKind::Mma(_)
        | StepKind::MmaF64(_)
        | StepKind::Shuffle(_)
        | StepKind::Vote { .. }
        | StepKind::Match { .. }
        | StepKind::Redux { .. }
        | StepKind::ActiveMask(_)
        | StepKind::Elect { .. } => {}
    }
    if warp.doubts.is_some() {
        env.unite(warp, &step.kind, mask);
    }
    Ok(())
}
