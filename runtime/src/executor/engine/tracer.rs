//! Recording a [`Trace`]: the clocks of the model that `executor/trace.rs` describes.
//!
//! Every event's moment follows from moments that are known when it is executed: its warp's clock, and the moments at which what it waited for
//! happened. The traced block runs the warp whose clock is behind (`Block::earliest_turn`), so that what warps share is given to who comes first.

use rustc_hash::FxHashMap;

use super::super::program::{MemSpace, Program, StepKind};
use super::super::stats::MatrixShape;
use super::super::trace::{Activity, Row, Slice, Trace};

const SHARED_LATENCY: u64 = 30;
const GLOBAL_LATENCY: u64 = 500;
const COPY_BYTES_PER_CYCLE: u64 = 32;
/// Fused multiply-adds in f16 that a tensor core does in a cycle, on Ampere; twice as many on Hopper.
const MULTIPLY_ADDS: u64 = 256;

/// Asynchronous work of a warp in groups: the moments at which committed groups are done.
#[derive(Clone, Debug, Default)]
struct Groups {
    done: Vec<u64>,
    open: u64,
}

impl Groups {
    fn add(&mut self, end: u64) {
        self.open = self.open.max(end);
    }

    fn commit(&mut self) {
        let before = self.done.last().copied().unwrap_or(0);
        self.done.push(self.open.max(before));
        self.open = 0;
    }

    /// When at most `newest` groups are left.
    fn wait(&self, newest: u32) -> u64 {
        let due = self.done.len().saturating_sub(newest as usize);
        due.checked_sub(1).map_or(0, |last| self.done[last])
    }

    fn wait_all(&self) -> u64 {
        self.open.max(self.wait(0))
    }
}

#[derive(Clone, Debug, Default)]
struct WarpClock {
    now: u64,
    /// When the last load's data are there.
    loaded: u64,
    copies: Groups,
    bulk: Groups,
    products: Groups,
    open: Option<Slice>,
    /// Since when, and at which line, it is at a barrier.
    arrived: Option<(u64, u32)>,
}

#[derive(Clone, Debug, Default)]
struct MbarrierClock {
    /// Of what has come in the current phase.
    open: u64,
    /// When each phase was complete.
    done: Vec<u64>,
}

/// The clocks of a cluster's blocks.
#[derive(Debug)]
pub struct Tracer {
    trace: Trace,
    warps: Vec<WarpClock>,
    warps_per_block: usize,
    tensor_cores: Vec<u64>,
    pipes: Vec<u64>,
    mbarriers: FxHashMap<u32, MbarrierClock>,
    barriers: FxHashMap<(usize, u32), u64>,
    cluster: u64,
    /// Cycles of a tensor core for each step that is a product.
    matrix_cycles: FxHashMap<u32, u64>,
    /// When the transfer that is being carried out is done.
    pub transfer_end: u64,
    /// The moment at which another warp that can go on is next.
    pub limit: u64,
}

impl Tracer {
    /// A warp's clock.
    #[inline]
    pub fn now(&self, warp: usize) -> u64 {
        self.warps[warp].now
    }

    pub fn new(program: &Program, blocks: Vec<[u32; 3]>, warps_per_block: usize) -> Tracer {
        let hopper = program.steps.iter().any(|s| matches!(s.kind, StepKind::Wgmma(_)));
        let rate = if hopper { 2 * MULTIPLY_ADDS } else { MULTIPLY_ADDS };
        let mut matrix_cycles = FxHashMap::default();
        for (number, step) in program.steps.iter().enumerate() {
            if let StepKind::Mma(_) | StepKind::MmaF64(_) | StepKind::Wgmma(_) = step.kind
                && let Some(shape) = program.mnemonic(step.line).and_then(MatrixShape::parse)
            {
                let cycles = shape.multiply_adds as f64 / (rate as f64 * shape.kind.speed());
                matrix_cycles.insert(number as u32, (cycles.ceil() as u64).max(1));
            }
        }
        let count = blocks.len();
        Tracer {
            trace: Trace { kernel: program.name.clone(), blocks, ..Trace::default() },
            warps: vec![WarpClock::default(); warps_per_block * count],
            warps_per_block,
            tensor_cores: vec![0; 4 * count],
            pipes: vec![0; count],
            mbarriers: FxHashMap::default(),
            barriers: FxHashMap::default(),
            cluster: 0,
            matrix_cycles,
            transfer_end: 0,
            limit: u64::MAX,
        }
    }

    fn place(&self, warp: usize) -> (usize, usize) {
        (warp / self.warps_per_block, warp % self.warps_per_block)
    }

    fn push(&mut self, slice: Slice) {
        if self.trace.slices.len() >= Trace::LIMIT {
            self.trace.truncated = true;
        } else {
            self.trace.slices.push(slice);
        }
    }

    fn close(&mut self, warp: usize) {
        if let Some(slice) = self.warps[warp].open.take() {
            self.push(slice);
        }
    }

    /// The warp does something for `cycles`.
    fn busy(&mut self, warp: usize, activity: Activity, line: u32, cycles: u64, instructions: u64) {
        let (block, in_block) = self.place(warp);
        let start = self.warps[warp].now;
        let end = start + cycles;
        self.warps[warp].now = end;
        if let Some(open) = &mut self.warps[warp].open
            && open.activity == activity
            && open.end == start
        {
            open.end = end;
            open.lines.1 = line;
            open.instructions += instructions;
            return;
        }
        self.close(warp);
        let name = activity.name().into();
        let row = Row::Warp(in_block);
        let slice =
            Slice { block, row, activity, name, start, end, lines: (line, line), instructions, source: None };
        self.warps[warp].open = Some(slice);
    }

    /// The warp cannot go on before `until`.
    fn wait(&mut self, warp: usize, until: u64, line: u32, what: &str) {
        let (block, in_block) = self.place(warp);
        let start = self.warps[warp].now;
        if until <= start {
            return;
        }
        self.close(warp);
        self.warps[warp].now = until;
        self.push(Slice {
            block,
            row: Row::Warp(in_block),
            activity: Activity::Wait,
            name: what.into(),
            start,
            end: until,
            lines: (line, line),
            instructions: 0,
            source: None,
        });
    }

    /// A step of a warp is executed.
    pub fn step(&mut self, program: &Program, warp: usize, at: u32) {
        let step = &program.steps[at as usize];
        let (line, count) = (step.line, u64::from(step.count));
        let loads = matches!(step.kind, StepKind::Load(_) | StepKind::LdMatrix(_));
        if !loads {
            self.wait(warp, self.warps[warp].loaded, line, "wait for loads");
        }
        match &step.kind {
            StepKind::Load(access) => {
                let latency = match access.space {
                    MemSpace::Global | MemSpace::Generic | MemSpace::Local => GLOBAL_LATENCY,
                    MemSpace::Shared => SHARED_LATENCY,
                    MemSpace::Param | MemSpace::Const => 0,
                };
                self.load(warp, line, latency);
            }
            StepKind::LdMatrix(_) => self.load(warp, line, SHARED_LATENCY),
            StepKind::Atomic(atomic) => {
                self.busy(warp, Activity::Store, line, 1, 1);
                let latency = if atomic.space == MemSpace::Shared { SHARED_LATENCY } else { GLOBAL_LATENCY };
                let clock = &mut self.warps[warp];
                clock.loaded = clock.loaded.max(clock.now + latency);
            }
            StepKind::Store(_) | StepKind::StMatrix(_) => self.busy(warp, Activity::Store, line, 1, 1),
            StepKind::Mma(_) | StepKind::MmaF64(_) => {
                let free = self.tensor_cores[self.core(warp)];
                let late = free.saturating_sub(self.warps[warp].now);
                self.busy(warp, Activity::Matrix, line, late + 1, 1);
                let start = self.warps[warp].now - 1;
                self.product(warp, at, line, start);
            }
            StepKind::Wgmma(_) => {
                self.busy(warp, Activity::Matrix, line, 1, 1);
                let start = self.warps[warp].now;
                let end = self.product(warp, at, line, start);
                self.warps[warp].products.add(end);
            }
            StepKind::WgmmaCommit => {
                self.busy(warp, Activity::Matrix, line, 1, 1);
                self.warps[warp].products.commit();
            }
            StepKind::WgmmaWait(newest) => {
                self.busy(warp, Activity::Synchronise, line, 1, 1);
                self.wait(warp, self.warps[warp].products.wait(*newest), line, "wgmma.wait_group");
            }
            StepKind::CpAsync(_) | StepKind::Bulk(_) | StepKind::Tensor(_) => {
                self.busy(warp, Activity::Copy, line, 1, 1);
            }
            StepKind::CpAsyncCommit => {
                self.busy(warp, Activity::Copy, line, 1, 1);
                self.warps[warp].copies.commit();
            }
            StepKind::CpAsyncWait(newest) => {
                self.busy(warp, Activity::Synchronise, line, 1, 1);
                let copies = &self.warps[warp].copies;
                let until = newest.map_or_else(|| copies.wait_all(), |newest| copies.wait(newest));
                self.wait(warp, until, line, "cp.async.wait_group");
            }
            StepKind::BulkCommit => {
                self.busy(warp, Activity::Copy, line, 1, 1);
                self.warps[warp].bulk.commit();
            }
            StepKind::BulkWait { newest, .. } => {
                self.busy(warp, Activity::Synchronise, line, 1, 1);
                self.wait(warp, self.warps[warp].bulk.wait(*newest), line, "cp.async.bulk.wait_group");
            }
            StepKind::Barrier(_)
            | StepKind::ClusterArrive { .. }
            | StepKind::ClusterWait { .. }
            | StepKind::MbarArrive(_)
            | StepKind::MbarTx(_)
            | StepKind::MbarInit { .. }
            | StepKind::MbarInval { .. }
            | StepKind::MbarWait(_)
            | StepKind::CpAsyncArrive { .. }
            | StepKind::WarpSync(_)
            | StepKind::ProxyFence { .. }
            | StepKind::MemoryFence { .. }
            | StepKind::MapFence
            | StepKind::WgmmaFence => self.busy(warp, Activity::Synchronise, line, 1, 1),
            _ => self.busy(warp, Activity::Compute, line, count.max(1), count),
        }
    }

    fn load(&mut self, warp: usize, line: u32, latency: u64) {
        self.busy(warp, Activity::Load, line, 1, 1);
        let clock = &mut self.warps[warp];
        clock.loaded = clock.loaded.max(clock.now + latency);
    }

    fn core(&self, warp: usize) -> usize {
        let (block, in_block) = self.place(warp);
        4 * block + in_block % 4
    }

    /// A product on the warp's tensor core, not before `start`; says when it is done.
    fn product(&mut self, warp: usize, at: u32, line: u32, start: u64) -> u64 {
        let core = self.core(warp);
        let cycles = self.matrix_cycles.get(&at).copied().unwrap_or(1);
        let start = start.max(self.tensor_cores[core]);
        let end = start + cycles;
        self.tensor_cores[core] = end;
        let (block, in_block) = self.place(warp);
        let row = Row::TensorCore(in_block % 4);
        let name = format!("warp {in_block}");
        // Products one behind the other are one slice.
        if let Some(last) =
            self.trace.slices.iter_mut().rev().take(64).find(|s| s.block == block && s.row == row)
            && last.end == start
            && last.name == name
        {
            last.end = end;
            last.lines.1 = line;
            last.instructions += 1;
            return end;
        }
        let (lines, activity) = ((line, line), Activity::Matrix);
        self.push(Slice { block, row, activity, name, start, end, lines, instructions: 1, source: None });
        end
    }

    /// `bytes` are on their way through the block's pipe.
    fn transfer(&mut self, warp: usize, line: u32, bytes: u64, name: &str) -> u64 {
        let (block, in_block) = self.place(warp);
        let issued = self.warps[warp].now;
        let start = issued.max(self.pipes[block]);
        self.pipes[block] = start + bytes.div_ceil(COPY_BYTES_PER_CYCLE);
        let end = self.pipes[block] + GLOBAL_LATENCY;
        // The copies of one group that a warp issues one after the other are one slice.
        let row = Row::Copies(in_block);
        if let Some(last) =
            self.trace.slices.iter_mut().rev().take(16).find(|s| s.block == block && s.row == row)
            && last.start + u64::from(line.abs_diff(last.lines.1)) * 16 + 16 >= issued
            && last.name == name
            && self.warps[warp].copies.open != 0
            && name == "cp.async"
        {
            last.end = end;
            last.lines.1 = line;
            last.instructions += 1;
            return end;
        }
        let (lines, activity) = ((line, line), Activity::Copy);
        let name = name.into();
        self.push(Slice {
            block,
            row,
            activity,
            name,
            start: issued,
            end,
            lines,
            instructions: 1,
            source: None,
        });
        end
    }

    pub fn cp_async(&mut self, warp: usize, line: u32, bytes: u64) {
        let end = self.transfer(warp, line, bytes, "cp.async");
        self.warps[warp].copies.add(end);
    }

    /// A bulk or tensor copy; what completes with it does so at `transfer_end`.
    pub fn bulk(&mut self, warp: usize, line: u32, bytes: u64, stores: bool) {
        let name = if stores { "bulk store" } else { "bulk load" };
        self.transfer_end = self.transfer(warp, line, bytes, name);
        if stores {
            self.warps[warp].bulk.add(self.transfer_end);
        }
    }

    /// `warp` arrives at the mbarrier at `offset`, with or behind its `cp.async` copies.
    pub fn mbarrier_arrive(&mut self, warp: usize, offset: u32, behind_copies: bool) {
        let clock = &self.warps[warp];
        let at = if behind_copies { clock.now.max(clock.copies.wait_all()) } else { clock.now };
        let bar = self.mbarriers.entry(offset).or_default();
        bar.open = bar.open.max(at);
    }

    /// Bytes of the current transfer complete on the mbarrier at `offset`.
    pub fn mbarrier_bytes(&mut self, offset: u32) {
        let bar = self.mbarriers.entry(offset).or_default();
        bar.open = bar.open.max(self.transfer_end);
    }

    pub fn mbarrier_phase(&mut self, offset: u32) {
        let bar = self.mbarriers.entry(offset).or_default();
        let before = bar.done.last().copied().unwrap_or(0);
        bar.done.push(bar.open.max(before));
        bar.open = 0;
    }

    /// A wait of `warp` for the last of `phases` completed phases succeeded.
    pub fn mbarrier_waited(&mut self, warp: usize, line: u32, offset: u32, phases: u64) {
        let done = self.mbarriers.get(&offset).map(|bar| &bar.done[..]).unwrap_or_default();
        let Some(&until) = (phases as usize).checked_sub(1).and_then(|last| done.get(last)) else { return };
        self.wait(warp, until, line, &format!("mbarrier {offset:#x}, phase {}", phases - 1));
    }

    pub fn barrier_arrive(&mut self, warp: usize, id: u32, line: u32) {
        let (block, _) = self.place(warp);
        let now = self.warps[warp].now;
        self.warps[warp].arrived = Some((now, line));
        let latest = self.barriers.entry((block, id)).or_default();
        *latest = (*latest).max(now);
    }

    /// Barrier `id` is complete: these warps go on.
    pub fn barrier_complete(&mut self, block: usize, id: u32, warps: &[usize]) {
        let until = self.barriers.remove(&(block, id)).unwrap_or(0);
        for &warp in warps {
            let line = self.warps[warp].arrived.take().map_or(0, |(_, line)| line);
            self.wait(warp, until, line, &format!("barrier {id}"));
        }
    }

    pub fn cluster_arrive(&mut self, warp: usize) {
        self.cluster = self.cluster.max(self.warps[warp].now);
    }

    pub fn cluster_complete(&mut self, warp: usize, line: u32) {
        self.wait(warp, self.cluster, line, "cluster barrier");
    }

    /// The whole of it.
    pub fn finish(mut self, program: &Program) -> Trace {
        (0..self.warps.len()).for_each(|warp| self.close(warp));
        let mut trace = self.trace;
        trace.slices.sort_by_key(|s| (s.start, s.block, s.row));
        for slice in &mut trace.slices {
            slice.source = program.source_of(slice.lines.0);
        }
        trace
    }
}
