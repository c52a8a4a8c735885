//! One block (CTA): its warps, its shared memory and its barriers.
//!
//! Warps take turns; a turn ends where the warp must wait. When a whole round passes in which no warp could move, the
//! block is deadlocked, and the report says who waits for what.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::super::finding::{Finding, FindingKind, Findings};
use super::super::frame::Frame;
use super::super::launch::Options;
use super::super::memory::GlobalMemory;
use super::super::program::{BarrierReduce, BarrierReduceOp, StepKind, VoteDst};
use super::super::shadow::{Fault, Shadow, VectorClock};
use super::Kernel;
use super::counters::Counters;
use super::run::{Turn, valp};
use super::warp::{Wait, Warp};

/// What all blocks of a launch share.
pub struct LaunchState<'l> {
    pub kernel: &'l Kernel,
    pub memory: &'l GlobalMemory<'l>,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub params: &'l [u8],
    /// Bytes of shared memory of a block, static and dynamic.
    pub shared_bytes: usize,
    /// A warp's frame at the start: constants filled in, tid and ctaid not.
    pub frame: &'l Frame,
    pub options: &'l Options,
    pub deadline: Option<Instant>,
    /// Set when a block found something fatal: the others may stop.
    pub stop: &'l AtomicBool,
}

/// What the steps of one block work on, beside the registers.
pub struct Env<'l> {
    pub launch: &'l LaunchState<'l>,
    pub ctaid: [u32; 3],
    pub shared: Vec<u8>,
    pub local: Vec<u8>,
    pub shadow: Option<Shadow>,
    pub lazy: bool,
    pub findings: Findings,
    pub counters: Counters,
}

/// The block cannot go on: a fatal finding was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop;

impl Env<'_> {
    /// Reports a fault of the kernel at PTX line `line`.
    pub fn report(
        &mut self,
        kind: FindingKind,
        line: u32,
        other_line: Option<u32>,
        message: impl FnOnce() -> String,
    ) {
        let (block, program) = (self.ctaid, &self.launch.kernel.program);
        self.findings.add(kind, line, other_line, || Finding {
            kind,
            line,
            other_line,
            message: message(),
            source: program.source_of(line),
            block,
        });
    }

    /// Reports what the shadow said about an access.
    pub fn report_fault(&mut self, fault: Option<Fault>, warp: usize, lane: usize, line: u32, what: &str) {
        let Some(fault) = fault else { return };
        self.report(fault.kind, line, fault.other_line, || {
            let at = format!("warp {warp} lane {lane}: {what} of shared memory at offset {}", fault.offset);
            match (fault.kind, fault.other_line) {
                (FindingKind::Race, Some(other)) => {
                    let how = if fault.other_writes { "write" } else { "read" };
                    let who = fault.other_warp.map_or(String::new(), |w| format!(" by warp {w}"));
                    format!("{at} is not ordered after the {how}{who} at PTX line {other}: no barrier between them")
                }
                (FindingKind::AsyncInFlight, Some(other)) => {
                    format!("{at} while the cp.async of PTX line {other} to it may be in flight: its group was not waited for")
                }
                _ => format!("{at}, which was never written"),
            }
        });
    }
}

/// One of the sixteen named barriers.
#[derive(Clone, Debug, Default)]
struct BarrierState {
    /// Threads that arrived in this phase, by the rule of the barrier (whole warps, or lanes).
    arrived: u32,
    /// Lanes that arrived.
    lanes: u32,
    /// Thread count of this phase, if one was given.
    count: Option<u32>,
    /// PTX line of the first arrival of this phase.
    line: u32,
    clock: Option<VectorClock>,
    /// `bar.red`: population count so far, and over how many lanes.
    votes: u32,
}

/// A running block.
pub struct Block<'l> {
    pub env: Env<'l>,
    warps: Vec<Warp>,
    barriers: [BarrierState; 16],
    /// Order of turns.
    order: Vec<usize>,
    random: u64,
}

/// How a block's time slice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Done,
    /// It can go on later.
    Paused,
}

impl<'l> Block<'l> {
    pub fn new(launch: &'l LaunchState<'l>, ctaid: [u32; 3]) -> Block<'l> {
        let [nx, ny, nz] = launch.block;
        let threads = nx as usize * ny as usize * nz as usize;
        let warps = threads.div_ceil(32);
        let program = &launch.kernel.program;
        let warp = |index: usize| {
            let live = match threads - index * 32 {
                32.. => u32::MAX,
                lanes => (1 << lanes) - 1,
            };
            let mut frame = launch.frame.clone();
            super::grid::fill_frame(&mut frame, program, launch, ctaid, index);
            Warp::new(index, frame, live)
        };
        Block {
            env: Env {
                launch,
                ctaid,
                shared: vec![0xff; launch.shared_bytes],
                local: vec![0xff; program.local_bytes as usize * warps * 32],
                shadow: launch.options.sanitize.then(|| Shadow::new(launch.shared_bytes, warps)),
                lazy: launch.options.lazy || launch.options.sanitize,
                findings: Findings::default(),
                counters: Counters::new(program.steps.len(), launch.options.stats),
            },
            warps: (0..warps).map(warp).collect(),
            barriers: Default::default(),
            order: (0..warps).collect(),
            random: launch
                .options
                .seed
                .wrapping_add(u64::from(ctaid[0]) << 32 | u64::from(ctaid[1]))
                .wrapping_mul(0x9e37_79b9_7f4a_7c15),
        }
    }

    fn shuffle(&mut self) {
        if self.env.launch.options.seed == 0 {
            return;
        }
        for i in (1..self.order.len()).rev() {
            self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            self.order.swap(i, (self.random >> 33) as usize % (i + 1));
        }
    }

    /// Runs until the block is done or `rounds` rounds over its warps have passed.
    pub fn run(&mut self, rounds: usize) -> Result<Progress, Stop> {
        for _ in 0..rounds {
            self.shuffle();
            let mut moved = false;
            for turn in 0..self.order.len() {
                let index = self.order[turn];
                while self.warps[index].next_ready().is_some() {
                    moved = true;
                    match super::run::run_warp(&mut self.env, &mut self.warps[index])? {
                        Turn::Done | Turn::Waiting => {}
                        Turn::Quantum => break,
                        Turn::Barrier { fragment, arrive_only } => {
                            self.arrive(index, fragment, arrive_only)?
                        }
                    }
                }
                if self.warps[index].fragments.is_empty() {
                    // A warp that left may be the one that a barrier of all threads was waiting for.
                    (0..16).for_each(|id| self.try_complete(id));
                }
            }
            if self.warps.iter().all(|w| w.fragments.is_empty()) {
                return Ok(Progress::Done);
            }
            if !moved {
                self.report_deadlock();
                return Err(Stop);
            }
            if self.env.launch.deadline.is_some_and(|d| Instant::now() > d) {
                let line = self
                    .warps
                    .iter()
                    .flat_map(|w| &w.fragments)
                    .map(|f| self.line_of(f.at))
                    .next()
                    .unwrap_or(0);
                self.env.report(FindingKind::Timeout, line, None, || {
                    "the time limit passed while this block was running".into()
                });
                return Err(Stop);
            }
            if self.env.launch.stop.load(Ordering::Relaxed) {
                return Err(Stop);
            }
        }
        Ok(Progress::Paused)
    }

    fn line_of(&self, step: u32) -> u32 {
        self.env.launch.kernel.program.steps.get(step as usize).map_or(0, |s| s.line)
    }

    /// Fragment `fragment` of warp `index` is at a barrier instruction.
    fn arrive(&mut self, index: usize, fragment: usize, arrive_only: bool) -> Result<(), Stop> {
        let program = &self.env.launch.kernel.program;
        let warp = &mut self.warps[index];
        let f = warp.fragments[fragment];
        let step = &program.steps[f.at as usize];
        let StepKind::Barrier(barrier) = &step.kind else { return Ok(()) };
        let lane = f.mask.trailing_zeros() as usize;
        let value = |v| super::run::val32(&warp.frame, v, lane);
        let (id, count) = (value(barrier.id), barrier.count.map(value));
        let line = step.line;
        if id > 15 || count.is_some_and(|n| n == 0 || n % 32 != 0) {
            self.env.report(FindingKind::BarrierMisuse, line, None, || match count {
                Some(n) if id <= 15 => {
                    format!("barrier {id} is used with {n} threads, which is no positive multiple of 32")
                }
                _ => format!("there is no barrier {id}; barriers are numbered 0 to 15"),
            });
            return Err(Stop);
        }
        if barrier.aligned && f.mask != warp.live {
            let (mask, live) = (f.mask, warp.live);
            self.env.report(FindingKind::Divergence, line, None, || {
                format!("warp {index}: lanes {mask:#010x} execute an aligned barrier while lanes {:#010x} are elsewhere", live & !mask)
            });
        }
        let state = &mut self.barriers[id as usize];
        if state.lanes > 0 && state.count != count {
            let (first, before) = (state.line, state.count);
            let say = |n: Option<u32>| n.map_or("all threads".to_string(), |n| format!("{n} threads"));
            self.env.report(FindingKind::BarrierMisuse, line, Some(first), || {
                format!(
                    "barrier {id} is used for {} here and for {} at PTX line {first} in the same phase",
                    say(count),
                    say(before)
                )
            });
            return Err(Stop);
        }
        if state.lanes == 0 {
            *state = BarrierState { line, count, ..BarrierState::default() };
        }
        state.lanes += f.mask.count_ones();
        state.arrived += if f.mask == warp.live { 32 } else { f.mask.count_ones() };
        if let Some(reduce) = &barrier.reduce {
            state.votes += (valp(&warp.frame, reduce.src) & f.mask).count_ones();
        }
        if let Some(shadow) = &mut self.env.shadow {
            let clock = state.clock.get_or_insert_with(|| shadow.empty_clock());
            shadow.publish(index, clock);
            if arrive_only {
                shadow.advance(index);
            }
        }
        if arrive_only {
            warp.fragments[fragment].at += 1;
        } else {
            warp.fragments[fragment].wait = Wait::Barrier(id);
        }
        if let Some(n) = count
            && self.barriers[id as usize].arrived > n
        {
            let arrived = self.barriers[id as usize].arrived;
            self.env.report(FindingKind::BarrierMisuse, line, None, || {
                format!("{arrived} threads arrived at barrier {id}, which is for {n}")
            });
            return Err(Stop);
        }
        self.try_complete(id as usize);
        Ok(())
    }

    /// Releases barrier `id` if everybody whom it waits for has arrived.
    fn try_complete(&mut self, id: usize) {
        let state = &self.barriers[id];
        if state.lanes == 0 {
            return;
        }
        let complete = match state.count {
            Some(n) => state.arrived >= n,
            None => state.lanes >= self.warps.iter().map(|w| w.live.count_ones()).sum(),
        };
        if !complete {
            return;
        }
        let state = std::mem::take(&mut self.barriers[id]);
        let program = &self.env.launch.kernel.program;
        for warp in &mut self.warps {
            let mut released = false;
            for number in 0..warp.fragments.len() {
                let f = warp.fragments[number];
                if f.wait != Wait::Barrier(id as u32) {
                    continue;
                }
                if let StepKind::Barrier(super::super::program::Barrier { reduce: Some(reduce), .. }) =
                    &program.steps[f.at as usize].kind
                {
                    write_reduction(&mut warp.frame, reduce, f.mask, state.votes, state.lanes);
                }
                warp.fragments[number].wait = Wait::Ready;
                warp.fragments[number].at += 1;
                released = true;
            }
            if let (true, Some(shadow), Some(clock)) = (released, &mut self.env.shadow, &state.clock) {
                shadow.synchronise(warp.index, clock);
            }
        }
    }

    fn report_deadlock(&mut self) {
        let mut lines = Vec::new();
        let mut waits = Vec::new();
        for warp in &self.warps {
            for f in &warp.fragments {
                let line = self.line_of(f.at);
                lines.push(line);
                waits.push(match f.wait {
                    Wait::Barrier(id) => {
                        let state = &self.barriers[id as usize];
                        let wanted = state.count.map_or("all threads of the block".to_string(), |n| format!("{n} threads"));
                        format!(
                            "warp {} (lanes {:#010x}) waits at barrier {id}, PTX line {line}: {} lanes of {wanted} have arrived",
                            warp.index, f.mask, state.lanes
                        )
                    }
                    Wait::Members(mask) => format!(
                        "warp {} (lanes {:#010x}) waits at PTX line {line} for lanes {mask:#010x}, which are elsewhere",
                        warp.index, f.mask
                    ),
                    Wait::Ready => format!("warp {} is ready at PTX line {line}", warp.index),
                });
            }
        }
        let line = lines.first().copied().unwrap_or(0);
        self.env.report(FindingKind::Deadlock, line, None, || {
            format!("nobody in the block can go on: {}", waits.join("; "))
        });
    }
}

fn write_reduction(frame: &mut Frame, reduce: &BarrierReduce, mask: u32, votes: u32, lanes: u32) {
    let truth = match reduce.op {
        BarrierReduceOp::Popc => votes != 0,
        BarrierReduceOp::And => votes == lanes,
        BarrierReduceOp::Or => votes != 0,
    };
    match reduce.dst {
        VoteDst::Reg(d) => super::super::frame::blend32(frame.r32_mut(d), &[votes; 32], mask),
        VoteDst::Pred(p) => {
            let old = frame.pred(p);
            frame.set_pred(p, (old & !mask) | if truth { mask } else { 0 });
        }
    }
}
