//! Blocks that run together: the blocks of a cluster, usually one.
//!
//! Their warps take turns; a turn ends where the warp must wait. Their shared memory is one array, a `stride` for each block, so that any
//! of them can reach it.
//!
//! **When nobody moves.** If a whole round passes in which no warp could move (or all of them only spun), then
//! 1. the oldest asynchronous operation that was put off is carried out;
//! 2. failing that, waits for mbarriers give up and return false, since a kernel may poll several of them;
//! 3. failing that too, it is a deadlock, and the report says who waits for what.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustc_hash::FxHashMap;

use super::super::finding::{Finding, FindingKind, Findings};
use super::super::frame::Frame;
use super::super::launch::Options;
use super::super::matrix::Scratch;
use super::super::memory::GlobalMemory;
use super::super::shadow::global::GlobalShadow;
use super::super::shadow::{Fault, Shadow};
use super::Kernel;
use super::access::PAGE;
use super::barriers::{BarrierState, ClusterBarrier};
use super::copies::PendingCopy;
use super::counters::Counters;
use super::mbarrier::Mbarrier;
use super::panels::Panels;
use super::run::Turn;
use super::tracer::Tracer;
use super::transfer::{Pending, Transfer};
use super::warp::{Wait, Warp};
use super::wgmma::SeenRead;

/// What all blocks of a launch share.
pub struct LaunchState<'l> {
    pub kernel: &'l Kernel,
    pub memory: &'l GlobalMemory<'l>,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    /// Blocks of a cluster in x, y, z.
    pub cluster: [u32; 3],
    pub params: &'l [u8],
    /// Bytes of shared memory of a block, static and dynamic.
    pub shared_bytes: usize,
    /// A warp's frame at the start: constants filled in, tid and ctaid not.
    pub frame: &'l Frame,
    pub options: &'l Options,
    /// With the sanitizer.
    pub global_shadow: Option<GlobalShadow>,
    pub started: Instant,
    pub deadline: Option<Instant>,
    /// Set when a block found something fatal: the others may stop.
    pub stop: &'l AtomicBool,
}

impl LaunchState<'_> {
    /// Blocks of a cluster.
    pub fn cluster_size(&self) -> usize {
        self.cluster.iter().product::<u32>() as usize
    }

    /// Warps of a block.
    pub fn block_warps(&self) -> usize {
        self.block.iter().product::<u32>().div_ceil(32) as usize
    }

    /// `%ctaid` of the first block of a cluster.
    pub fn first_block(&self, number: u32) -> [u32; 3] {
        let [gx, gy] = [0, 1].map(|d| (self.grid[d] / self.cluster[d]).max(1));
        let at = [number % gx, number / gx % gy, number / gx / gy];
        std::array::from_fn(|d| at[d].wrapping_mul(self.cluster[d]))
    }
}

/// What the steps of the blocks work on, beside the registers.
pub struct Env<'l> {
    pub launch: &'l LaunchState<'l>,
    /// Of the block whose warp is running.
    pub ctaid: [u32; 3],
    /// Number of the cluster.
    pub number: u32,
    /// Its rank in the cluster.
    pub rank: usize,
    /// Shared memory of all blocks, `stride` bytes each.
    pub shared: Vec<u8>,
    pub stride: usize,
    /// How often each KiB of it has changed.
    pub pages: Vec<u32>,
    pub local: Vec<u8>,
    pub shadow: Option<Shadow>,
    pub lazy: bool,
    pub findings: Findings,
    pub counters: Counters,
    /// By offset in shared memory.
    pub mbarriers: FxHashMap<u32, Mbarrier>,
    /// Epochs of mbarriers that were invalidated.
    pub dead_epochs: FxHashMap<u32, u32>,
    /// Mbarriers that completed a phase since anybody looked.
    pub completed: Vec<u32>,
    /// Asynchronous operations that were put off, oldest first.
    pub pending: VecDeque<Pending>,
    /// Unpacked operands of `wgmma`.
    pub panels: Panels,
    /// Of the block that is recorded.
    pub tracer: Option<Box<Tracer>>,
    /// Operands of runs of `mma`.
    pub scratch: Scratch,
    /// Nobody counts or watches single instructions.
    pub unwatched: bool,
    /// Counts everything that another warp might wait for.
    pub effects: u64,
    /// Whether lanes at one step may get to another by themselves.
    pub ways: FxHashMap<(u32, u32), bool>,
    /// Those effects that are arrivals at a barrier of the block.
    pub meetings: u64,
    /// Counts looks in vain: strong loads of what is in their register already, atomics that changed nothing. Who loops over them
    /// probably waits for another block.
    pub looks: u64,
    /// What the kernel printed.
    pub printed: String,
    /// Room for copies that are done.
    pub retired: Vec<PendingCopy>,
    /// What products of `wgmma` were seen to read.
    pub reads: Vec<SeenRead>,
    /// With the sanitizer, by rank: whether that block of the cluster has ended. Empty where there are no clusters.
    pub ended: Vec<bool>,
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
        let place = self.shared_name(fault.offset);
        self.report(fault.kind, line, fault.other_line, || {
            let at = format!("warp {warp} lane {lane}: {what} at {place}");
            match (fault.kind, fault.other_line) {
                (FindingKind::Race, Some(other)) => {
                    let how = if fault.other_writes { "write" } else { "read" };
                    if fault.other_warp == Some(warp) {
                        return format!("{at} is not ordered after the {how} by another lane at PTX line {other}: the lanes have not met between them");
                    }
                    let who = fault.other_warp.map_or(String::new(), |w| format!(" by warp {w}"));
                    format!("{at} is not ordered after the {how}{who} at PTX line {other}: no barrier between them")
                }
                (FindingKind::AsyncInFlight, Some(other)) => {
                    let how = if fault.other_writes { "writing" } else { "reading" };
                    format!("{at} while the asynchronous operation of PTX line {other} may still be {how} it: nobody on the way here waited for it")
                }
                (FindingKind::ProxyFence, Some(other)) => {
                    format!("{at} through the async proxy, but it was written by ordinary stores at PTX line {other}: fence.proxy.async is missing between them")
                }
                _ => format!("{at}, which was never written"),
            }
        });
    }
}

/// One block among those that run together.
#[derive(Debug)]
pub(super) struct Cta {
    pub(super) ctaid: [u32; 3],
    pub(super) barriers: [BarrierState; 16],
}

/// Memory of a block that is done, for the next one: allocating it anew means as many page faults.
#[derive(Debug, Default)]
pub(super) struct Storage {
    shared: Vec<u8>,
    local: Vec<u8>,
    frames: Vec<Frame>,
}

/// `bytes` bytes of 0xff, in old memory where there is some.
fn poisoned(mut old: Vec<u8>, bytes: usize) -> Vec<u8> {
    old.clear();
    old.resize(bytes, 0xff);
    old
}

/// Running blocks.
pub struct Block<'l> {
    pub env: Env<'l>,
    pub(super) warps: Vec<Warp>,
    pub(super) ctas: Vec<Cta>,
    pub(super) cluster: ClusterBarrier,
    /// Order of turns.
    order: Vec<usize>,
    /// Warps that an mbarrier has let go on since the last turn.
    woken: Vec<usize>,
    /// How often waits gave up since anything happened or somebody looked at what other blocks may change.
    polls: u32,
    random: u64,
}

/// How a time slice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Done,
    /// It can go on later.
    Paused,
}

/// Rounds without any effect after which other blocks get a turn.
const IDLE_ROUNDS: usize = 8;
/// Barriers that a warp passes in one turn.
const BARRIERS: usize = 256;
/// Times that waits give up, without any effect in between, before it is called a deadlock.
const POLLS: u32 = 3;

impl<'l> Block<'l> {
    /// The blocks of cluster number `cluster` (in x, y, z).
    pub(super) fn new(launch: &'l LaunchState<'l>, cluster: [u32; 3], storage: Storage) -> Block<'l> {
        let Storage { shared, local, mut frames } = storage;
        let [nx, ny, nz] = launch.block;
        let threads = nx as usize * ny as usize * nz as usize;
        let (warps, size) = (threads.div_ceil(32), launch.cluster_size());
        let program = &launch.kernel.program;
        let [cx, cy, cz] = launch.cluster;
        let ctas: Vec<Cta> = (0..size as u32)
            .map(|rank| Cta {
                ctaid: [
                    cluster[0] * cx + rank % cx,
                    cluster[1] * cy + rank / cx % cy,
                    cluster[2] * cz + rank / cx / cy,
                ],
                barriers: Default::default(),
            })
            .collect();
        let mut warp = |index: usize| {
            let (rank, in_block) = (index / warps, index % warps);
            let live = match threads - in_block * 32 {
                32.. => u32::MAX,
                lanes => (1 << lanes) - 1,
            };
            let mut frame = match frames.pop() {
                Some(mut frame) => {
                    frame.copy_from(launch.frame);
                    frame
                }
                None => launch.frame.clone(),
            };
            super::grid::fill_frame(&mut frame, program, launch, ctas[rank].ctaid, rank, in_block);
            Warp::new(index, rank, in_block, frame, live)
        };
        let all: Vec<Warp> = (0..warps * size).map(&mut warp).collect();
        let stride = launch.shared_bytes.next_multiple_of(PAGE);
        let sanitize = launch.options.sanitize;
        let mut shared = poisoned(shared, stride * size);
        let mut shadow = sanitize.then(|| Shadow::new(stride * size, warps * size));
        for reserved in (0..size).map(|rank| rank * stride..rank * stride + program.shared_reserved as usize)
        {
            shared[reserved.clone()].fill(0);
            shadow.iter_mut().for_each(|shadow| shadow.initialise(reserved.clone()));
        }
        let [gx, gy] = [0, 1].map(|d| launch.grid[d] / launch.cluster[d]);
        let linear =
            cluster[2].wrapping_mul(gy).wrapping_add(cluster[1]).wrapping_mul(gx).wrapping_add(cluster[0]);
        let number = u64::from(cluster[0]) << 32 | u64::from(cluster[1]) << 16 | u64::from(cluster[2]);
        let traced = launch.options.trace && cluster == [0; 3];
        let ctaids = || ctas.iter().map(|cta| cta.ctaid).collect();
        let tracer = traced.then(|| Box::new(Tracer::new(program, ctaids(), warps)));
        Block {
            env: Env {
                launch,
                ctaid: ctas[0].ctaid,
                number: linear,
                rank: 0,
                shared,
                stride: stride.max(1),
                pages: vec![0; (stride * size).div_ceil(PAGE)],
                local: poisoned(local, program.local_bytes as usize * warps * size * 32),
                shadow,
                lazy: launch.options.lazy || sanitize,
                findings: Findings::default(),
                counters: Counters::new(program.steps.len(), launch.options.stats),
                mbarriers: FxHashMap::default(),
                dead_epochs: FxHashMap::default(),
                completed: Vec::new(),
                pending: VecDeque::new(),
                panels: Panels::default(),
                unwatched: !sanitize && !launch.options.stats && !traced,
                tracer,
                scratch: Scratch::default(),
                effects: 0,
                meetings: 0,
                looks: 0,
                ways: FxHashMap::default(),
                printed: String::new(),
                retired: Vec::new(),
                reads: Vec::new(),
                ended: vec![false; if sanitize && size > 1 { size } else { 0 }],
            },
            order: (0..all.len()).collect(),
            woken: Vec::new(),
            polls: 0,
            warps: all,
            ctas,
            cluster: ClusterBarrier::default(),
            random: launch.options.seed.wrapping_add(number).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        }
    }

    /// What the next block can use again.
    pub(super) fn into_storage(self) -> Storage {
        let frames = self.warps.into_iter().map(|warp| warp.frame).collect();
        Storage { shared: self.env.shared, local: self.env.local, frames }
    }

    fn shuffle(&mut self) {
        if self.env.launch.options.seed == 0 {
            return;
        }
        for i in (1..self.order.len()).rev() {
            let other = self.draw(i + 1);
            self.order.swap(i, other);
        }
    }

    /// A random number below `n` (0 if there is none).
    fn draw(&mut self, n: usize) -> usize {
        self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.random >> 33) as usize % n.max(1)
    }

    /// What warp `index` does from now on is done by its block.
    pub(super) fn enter(&mut self, index: usize) {
        let rank = self.warps[index].rank;
        self.env.rank = rank;
        self.env.ctaid = self.ctas[rank].ctaid;
    }

    /// Runs until all is done or `rounds` rounds over the warps have passed.
    pub fn run(&mut self, rounds: usize) -> Result<Progress, Stop> {
        let mut idle = 0;
        for _ in 0..rounds {
            self.shuffle();
            let (before, looks, met) = (self.env.effects, self.env.looks, self.env.meetings);
            let mut moved = false;
            if self.env.tracer.is_some() {
                moved = self.earliest_turn()?;
            } else {
                for turn in 0..self.order.len() {
                    moved |= self.turn(self.order[turn])?;
                    moved |= self.woken_turns()?;
                }
            }
            if self.warps.iter().all(|w| w.fragments.is_empty()) {
                while self.force()? {}
                self.check_registers_at_end();
                return Ok(Progress::Done);
            }
            let looked = self.env.looks != looks;
            if looked {
                self.polls = 0;
            }
            if moved && self.env.effects != before {
                self.polls = 0;
                let in_vain = looked && self.env.effects - before == self.env.meetings - met;
                idle = if in_vain { idle + IDLE_ROUNDS / 2 } else { 0 };
            } else if self.force()? {
                self.polls = 0;
            } else if !moved {
                self.polls += 1;
                if self.polls > POLLS || !self.give_up_waiting() {
                    self.report_deadlock();
                    return Err(Stop);
                }
            } else {
                idle += if looked { IDLE_ROUNDS / 2 } else { 1 };
            }
            debug_assert!(
                self.env.tracer.is_none() || self.woken.is_empty(),
                "nobody looks at them in a trace"
            );
            self.check_limits()?;
            if idle >= IDLE_ROUNDS {
                break;
            }
        }
        Ok(Progress::Paused)
    }

    /// With the sanitizer and every other seed, who waited for an mbarrier goes on as soon as it may. Then it knows of nobody's work who
    /// was not waited for, which shows counts that are too small.
    fn woken_turns(&mut self) -> Result<bool, Stop> {
        let hasty = self.env.shadow.is_some() && self.env.launch.options.seed.is_multiple_of(2);
        let mut woken = std::mem::take(&mut self.woken);
        // Those whom these wake come in the next turn.
        let mut moved = false;
        for index in woken.drain(..).filter(|_| hasty) {
            moved |= self.turn(index)?;
        }
        Ok(moved)
    }

    /// The turn of the warp whose clock is behind all others that can go on, until it is not any more: what a trace shows of pipes and
    /// tensor cores that warps share depends on who comes first.
    fn earliest_turn(&mut self) -> Result<bool, Stop> {
        let Some(tracer) = &mut self.env.tracer else { return Ok(false) };
        let ready = self.warps.iter().filter(|w| w.next_ready().is_some());
        let mut clocks: Vec<(u64, usize)> = ready.map(|w| (tracer.now(w.index), w.index)).collect();
        clocks.sort_unstable();
        let Some(&(_, first)) = clocks.first() else { return Ok(false) };
        tracer.limit = clocks.get(1).map_or(u64::MAX, |&(now, _)| now);
        self.turn(first)
    }

    /// A warp's turn; says whether it could do anything.
    fn turn(&mut self, index: usize) -> Result<bool, Stop> {
        let mut moved = false;
        self.enter(index);
        let had_fragments = !self.warps[index].fragments.is_empty();
        // A loop of barriers that never wait must not keep the others, and the clock, from their turn.
        for _ in 0..BARRIERS {
            if self.warps[index].next_ready().is_none() {
                break;
            }
            moved = true;
            let turn = super::run::run_warp(&mut self.env, &mut self.warps[index]);
            if turn.is_err() && self.env.launch.deadline.is_some_and(|d| Instant::now() > d) {
                self.report_absent();
            }
            self.wake();
            match turn? {
                Turn::Done | Turn::Waiting => {}
                Turn::Quantum => break,
                Turn::Barrier { fragment, arrive_only } => self.arrive(index, fragment, arrive_only)?,
                Turn::Products { fragment, newest } => self.wait_for_products(index, fragment, newest)?,
                Turn::Cluster { fragment, wait } => self.cluster_barrier(index, fragment, wait)?,
            }
        }
        self.try_products(index)?;
        if had_fragments && self.warps[index].fragments.is_empty() {
            // A warp that left may be the one that a barrier of all threads was waiting for.
            let rank = self.warps[index].rank;
            (0..16).for_each(|id| self.try_complete(rank, id));
            self.try_complete_cluster();
            self.env.effects += 1;
            let own = self.warps.iter().filter(|w| w.rank == rank);
            if self.env.shadow.is_some() && own.clone().all(|w| w.fragments.is_empty()) {
                let first = own.map(|w| w.index).min().unwrap_or(0);
                self.env.block_ended(rank, first..first + self.warps.len() / self.ctas.len());
            }
        }
        Ok(moved)
    }

    /// Those who wait for an mbarrier that completed a phase look again.
    fn wake(&mut self) {
        for offset in self.env.completed.drain(..) {
            for warp in &mut self.warps {
                for fragment in &mut warp.fragments {
                    if fragment.wait == Wait::Mbarrier(offset) {
                        fragment.wait = Wait::Ready;
                        // In a trace clocks alone say whose turn it is.
                        if self.env.tracer.is_none() {
                            self.woken.push(warp.index);
                        }
                    }
                }
            }
        }
    }

    /// Carries out an operation that was put off, the oldest in the natural order, if there is one.
    fn force(&mut self) -> Result<bool, Stop> {
        // They may finish in any order.
        let at = match self.env.launch.options.seed {
            0 => 0,
            _ => self.draw(self.env.pending.len()),
        };
        let Some(pending) = self.env.pending.remove(at) else { return Ok(false) };
        self.enter(pending.warp);
        if matches!(pending.transfer, Transfer::Arrival { .. }) {
            self.env.late_arrivals(&mut self.warps[pending.warp], &pending);
        } else {
            self.env.carry_out(pending.line, &pending.transfer)?;
        }
        self.wake();
        Ok(true)
    }

    /// Waits for mbarriers return false.
    fn give_up_waiting(&mut self) -> bool {
        let mut any = false;
        for fragment in self.warps.iter_mut().flat_map(|w| &mut w.fragments) {
            if matches!(fragment.wait, Wait::Mbarrier(_)) {
                (fragment.wait, fragment.impatient, any) = (Wait::Ready, true, true);
            }
        }
        any
    }

    /// The time is up.
    fn report_absent(&mut self) {
        for index in 0..self.warps.len() {
            self.enter(index);
            super::meeting::report_absent(&mut self.env, &self.warps[index]);
        }
    }

    pub(super) fn check_limits(&mut self) -> Result<(), Stop> {
        if self.env.launch.deadline.is_some_and(|d| Instant::now() > d) {
            let at = self.warps.iter().flat_map(|w| &w.fragments).map(|f| f.at).next();
            let line = at.map_or(0, |at| self.line_of(at));
            self.report_absent();
            self.env.report(FindingKind::Timeout, line, None, || {
                "the time limit passed while this block was running".into()
            });
            return Err(Stop);
        }
        if self.env.launch.stop.load(Ordering::Relaxed) { Err(Stop) } else { Ok(()) }
    }

    pub(super) fn line_of(&self, step: u32) -> u32 {
        self.env.launch.kernel.program.steps.get(step as usize).map_or(0, |s| s.line)
    }
}
