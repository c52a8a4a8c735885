//! A launch: parameters, frames and blocks over worker threads.
//!
//! Blocks are started in order of their index. A worker runs a block for a slice of rounds; a block that is not done by
//! then goes to the back of the queue, so that blocks which wait for each other through global memory make progress as long as
//! no more of them are needed at once than a GPU would hold.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::super::finding::Findings;
use super::super::frame::{Frame, R32, R64};
use super::super::launch::{Arg, ExecError, Options, Outcome};
use super::super::memory::tensor_map::TensorMap;
use super::super::memory::{GlobalMemory, buffer_address};
use super::super::program::{CellInit, Program};
use super::super::shadow::global::GlobalShadow;
use super::super::trace::Trace;
use super::Kernel;
use super::block::{Block, LaunchState, Progress, Storage};
use super::counters::Counters;

/// Multiprocessors of a large GPU, each of which holds two blocks if their shared memory fits.
const MULTIPROCESSORS: usize = 132;
/// Most blocks along y and z, and along x, that a GPU launches.
const MAX_GRID: u32 = 65_535;
const MAX_GRID_X: u32 = i32::MAX as u32;
/// Local memory of all blocks that are alive, in bytes: more would exhaust this machine and not the kernel.
const MAX_LOCAL: usize = 4 << 30;
/// Rounds over a block's warps in one slice.
const SLICE: usize = 4096;
/// Most shared memory any GPU gives a block.
const MAX_SHARED: u32 = 227 * 1024;
/// Most blocks of a cluster that any GPU runs.
const MAX_CLUSTER: u64 = 16;

fn bad(message: String) -> ExecError {
    ExecError::BadLaunch(message)
}

/// The bytes of the parameter block.
fn parameters(program: &Program, args: &[Arg], buffers: &[Vec<u8>]) -> Result<Vec<u8>, ExecError> {
    if args.len() != program.params.len() {
        let (name, wants, has) = (&program.name, program.params.len(), args.len());
        return Err(bad(format!("kernel `{name}` has {wants} parameters, the launch gives {has}")));
    }
    let mut block = vec![0u8; program.param_bytes as usize];
    for (number, (arg, &(offset, bytes))) in args.iter().zip(&program.params).enumerate() {
        let value = match arg {
            Arg::Buffer { buffer, offset } => {
                if *buffer >= buffers.len() {
                    return Err(bad(format!(
                        "argument {number} names buffer {buffer}, but there are {}",
                        buffers.len()
                    )));
                }
                buffer_address(*buffer, *offset).to_le_bytes().to_vec()
            }
            Arg::Scalar(bytes) => bytes.clone(),
            Arg::TensorMap { map, buffer } => {
                if *buffer >= buffers.len() {
                    return Err(bad(format!(
                        "argument {number} is a tensor map of buffer {buffer}, but there are {}",
                        buffers.len()
                    )));
                }
                let map = TensorMap { address: buffer_address(*buffer, map.address), ..map.clone() };
                map.check().map_err(|why| bad(format!("argument {number} is {why}")))?;
                map.encode().to_vec()
            }
        };
        if value.len() != bytes as usize {
            return Err(bad(format!(
                "argument {number} has {} bytes, parameter {number} of `{}` has {bytes}",
                value.len(),
                program.name
            )));
        }
        block[offset as usize..(offset + bytes) as usize].copy_from_slice(&value);
    }
    Ok(block)
}

fn check_shape(
    program: &Program,
    grid: [u32; 3],
    block: [u32; 3],
    cluster: [u32; 3],
    shared: u64,
) -> Result<(), ExecError> {
    let threads = block.iter().fold(1u64, |p, &n| p.saturating_mul(n.into()));
    if threads == 0 || threads > 1024 || block[2] > 64 {
        return Err(bad(format!(
            "a block of {block:?} threads: a block has 1 to 1024 threads, at most 64 in z"
        )));
    }
    if grid[0] > MAX_GRID_X || grid[1] > MAX_GRID || grid[2] > MAX_GRID {
        return Err(bad(format!(
            "a grid of {grid:?} blocks: a GPU launches at most {MAX_GRID_X} along x and {MAX_GRID} along y and z"
        )));
    }
    let size = cluster.iter().fold(1u64, |p, &n| p.saturating_mul(n.into()));
    if size == 0 || size > MAX_CLUSTER || (0..3).any(|d| !grid[d].is_multiple_of(cluster[d].max(1))) {
        return Err(bad(format!(
            "clusters of {cluster:?} blocks in a grid of {grid:?}: a cluster has 1 to {MAX_CLUSTER} blocks and divides the grid"
        )));
    }
    if let Some(required) = program.cluster
        && required != cluster
    {
        return Err(bad(format!(
            "kernel `{}` requires clusters of {required:?} blocks, the launch has {cluster:?}",
            program.name
        )));
    }
    if let Some(required) = program.reqntid
        && required != block
    {
        return Err(bad(format!(
            "kernel `{}` requires blocks of {required:?} threads, the launch has {block:?}",
            program.name
        )));
    }
    if let Some(max) = program.maxntid
        && threads > u64::from(max)
    {
        return Err(bad(format!(
            "kernel `{}` allows blocks of at most {max} threads, the launch has {threads}",
            program.name
        )));
    }
    if shared > u64::from(MAX_SHARED) {
        return Err(bad(format!(
            "a block needs {shared} bytes of shared memory; no GPU has more than {MAX_SHARED}"
        )));
    }
    Ok(())
}

/// Fills the cells of constants and of special registers that are equal in all warps of a launch.
fn template(
    program: &Program,
    grid: [u32; 3],
    block: [u32; 3],
    cluster: [u32; 3],
    (dynamic, total): (u32, u32),
) -> Frame {
    let mut frame = Frame::new(program.cells as usize, program.predicates as usize);
    let warps = block.iter().product::<u32>().div_ceil(32);
    for &(cell, init) in &program.inits {
        let uniform = match init {
            CellInit::Const32(value) => value,
            CellInit::Const64(value) => {
                *frame.r64_mut(R64(cell)) = [value; 32];
                continue;
            }
            CellInit::Ntid(axis) => block[axis],
            CellInit::Nctaid(axis) => grid[axis],
            CellInit::NclusterId(axis) => grid[axis] / cluster[axis],
            CellInit::ClusterNctaid(axis) => cluster[axis],
            CellInit::ClusterSize => cluster.iter().product(),
            CellInit::NumWarps => warps,
            CellInit::DynamicShared => dynamic,
            CellInit::TotalShared => total,
            CellInit::LaneId => {
                *frame.r32_mut(R32(cell)) = std::array::from_fn(|lane| lane as u32);
                continue;
            }
            CellInit::LanemaskEq => {
                *frame.r32_mut(R32(cell)) = std::array::from_fn(|lane| 1 << lane);
                continue;
            }
            CellInit::LanemaskLt => {
                *frame.r32_mut(R32(cell)) = std::array::from_fn(|lane| (1 << lane) - 1);
                continue;
            }
            CellInit::LanemaskLe => {
                *frame.r32_mut(R32(cell)) = std::array::from_fn(|lane| ((2u64 << lane) - 1) as u32);
                continue;
            }
            CellInit::LanemaskGe => {
                *frame.r32_mut(R32(cell)) = std::array::from_fn(|lane| !((1u32 << lane) - 1));
                continue;
            }
            CellInit::LanemaskGt => {
                *frame.r32_mut(R32(cell)) = std::array::from_fn(|lane| !(((2u64 << lane) - 1) as u32));
                continue;
            }
            CellInit::Tid(_)
            | CellInit::Ctaid(_)
            | CellInit::WarpId
            | CellInit::ClusterId(_)
            | CellInit::ClusterCtaid(_)
            | CellInit::ClusterRank => continue,
        };
        *frame.r32_mut(R32(cell)) = [uniform; 32];
    }
    frame
}

/// Fills what differs between warps and blocks.
pub(super) fn fill_frame(
    frame: &mut Frame,
    program: &Program,
    launch: &LaunchState<'_>,
    ctaid: [u32; 3],
    rank: usize,
    warp: usize,
) {
    let cluster = launch.cluster;
    let [nx, ny, _] = launch.block;
    for &(cell, init) in &program.inits {
        let value = match init {
            CellInit::Ctaid(axis) => [ctaid[axis]; 32],
            CellInit::WarpId => [warp as u32; 32],
            CellInit::ClusterId(axis) => [ctaid[axis] / cluster[axis]; 32],
            CellInit::ClusterCtaid(axis) => [ctaid[axis] % cluster[axis]; 32],
            CellInit::ClusterRank => [rank as u32; 32],
            CellInit::Tid(axis) => std::array::from_fn(|lane| {
                let linear = warp as u32 * 32 + lane as u32;
                match axis {
                    0 => linear % nx,
                    1 => linear / nx % ny,
                    _ => linear / nx / ny,
                }
            }),
            _ => continue,
        };
        *frame.r32_mut(R32(cell)) = value;
    }
}

/// Order in which blocks start: their index, or a permutation by seed (an affine one, so that nothing is stored).
fn block_number(index: u64, blocks: u64, seed: u64) -> u64 {
    if seed == 0 || blocks < 2 {
        return index;
    }
    let gcd = |mut a: u64, mut b: u64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let mut factor = (seed | 1) % blocks;
    while gcd(factor, blocks) != 1 {
        factor = (factor + 1) % blocks;
    }
    ((u128::from(index) * u128::from(factor) + u128::from(seed)) % u128::from(blocks)) as u64
}

/// Clusters (blocks, where there are none) that are alive at once: as many as a large GPU holds.
fn resident(shared: usize, local: usize, cluster: usize, threads: usize) -> usize {
    let per_multiprocessor = if 2 * shared > MAX_SHARED as usize { 1 } else { 2 };
    let clusters = MULTIPROCESSORS * per_multiprocessor / cluster.max(1);
    clusters.min(MAX_LOCAL / (local * cluster).max(1)).max(threads)
}

struct Queue<'l> {
    next: u64,
    paused: VecDeque<Box<Block<'l>>>,
    spare: Vec<Storage>,
    running: usize,
    findings: Findings,
    counters: Counters,
    /// What was printed, by the number of the block (of the first of its cluster).
    printed: Vec<(u32, String)>,
    trace: Option<Trace>,
}

/// Runs `kernel`. `compile_time` of the outcome is left zero.
///
/// # Errors
/// [`ExecError::BadLaunch`] if the launch does not fit the kernel.
pub fn launch(
    kernel: &Kernel,
    grid: [u32; 3],
    block: [u32; 3],
    cluster: [u32; 3],
    shared_bytes: u32,
    args: &[Arg],
    buffers: &mut [Vec<u8>],
    options: &Options,
) -> Result<Outcome, ExecError> {
    let started = Instant::now();
    if options.trace && (options.sanitize || options.lazy) {
        return Err(bad("a trace shows asynchronous work that is done at issue; it excludes the lazy model and the sanitizer".into()));
    }
    let program = &kernel.program;
    let shared = u64::from(program.shared_dynamic_at.max(program.shared_static)) + u64::from(shared_bytes);
    check_shape(program, grid, block, cluster, shared)?;
    let params = parameters(program, args, buffers)?;
    let own: Vec<_> = program.globals.iter().map(|data| (data.name.clone(), data.bytes.clone())).collect();
    if program.globals_base != buffers.len() && !own.is_empty() {
        return Err(ExecError::Internal("module variables were placed for another number of buffers".into()));
    }
    let memory = GlobalMemory::new(buffers, &own);
    // What CUDA keeps for itself is not counted.
    let total = shared as u32 - program.shared_reserved;
    let frame = template(program, grid, block, cluster, (shared_bytes, total));
    let stop = AtomicBool::new(false);
    let state = LaunchState {
        kernel,
        memory: &memory,
        grid,
        block,
        cluster,
        params: &params,
        shared_bytes: shared as usize,
        frame: &frame,
        options,
        global_shadow: options.sanitize.then(|| GlobalShadow::new(memory.sizes())),
        started,
        deadline: options.timeout.map(|t| started + t),
        stop: &stop,
    };
    let blocks = (0..3).map(|d| u64::from(grid[d] / cluster[d])).product::<u64>();
    let queue = Mutex::new(Queue {
        next: 0,
        paused: VecDeque::new(),
        spare: Vec::new(),
        running: 0,
        findings: Findings::default(),
        counters: Counters::new(program.steps.len(), options.stats),
        printed: Vec::new(),
        trace: None,
    });
    let local = program.local_bytes as usize * block.iter().product::<u32>() as usize;
    let size = cluster.iter().product::<u32>() as usize;
    // Each thread has a block's memory.
    let most = (MAX_LOCAL / (local * size).max(1)).clamp(1, 1024);
    let threads = options
        .threads
        .unwrap_or_else(rayon::current_num_threads)
        .clamp(1, (blocks.clamp(1, 1024) as usize).min(most));
    let resident = resident(shared as usize, local, size, threads);
    if threads == 1 {
        work(&state, &queue, blocks, resident);
    } else {
        rayon::scope(|scope| {
            (0..threads).for_each(|_| scope.spawn(|_| work(&state, &queue, blocks, resident)))
        });
    }
    let Queue { findings, counters, mut printed, trace, .. } =
        queue.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    memory.finish();
    printed.sort_by_key(|(number, _)| *number);
    Ok(Outcome {
        findings: findings.into_vec(),
        stats: counters.report(program),
        trace,
        compile_time: std::time::Duration::ZERO,
        run_time: started.elapsed(),
        printed: printed.into_iter().map(|(_, text)| text).collect(),
    })
}

/// One worker: takes blocks until none is left.
fn work<'l>(state: &'l LaunchState<'l>, queue: &Mutex<Queue<'l>>, blocks: u64, resident: usize) {
    let lock = || queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // Making a block takes a while; nobody else has to wait for that.
    enum Next<'l> {
        Fresh([u32; 3], Storage),
        Paused(Box<Block<'l>>),
    }
    loop {
        let next = {
            let mut queue = lock();
            if state.stop.load(Ordering::Relaxed) {
                return;
            }
            let fresh = queue.next < blocks && queue.running + queue.paused.len() < resident;
            let next = if fresh {
                let number = block_number(queue.next, blocks, state.options.seed);
                queue.next += 1;
                let [gx, gy] = [0, 1].map(|d| u64::from(state.grid[d] / state.cluster[d]));
                let cluster = [(number % gx) as u32, (number / gx % gy) as u32, (number / gx / gy) as u32];
                Next::Fresh(cluster, queue.spare.pop().unwrap_or_default())
            } else {
                match queue.paused.pop_front() {
                    Some(block) => Next::Paused(block),
                    None => return,
                }
            };
            queue.running += 1;
            next
        };
        let mut block = match next {
            Next::Fresh(cluster, storage) => Box::new(Block::new(state, cluster, storage)),
            Next::Paused(block) => block,
        };
        // A block that is quickly done looks at the clock no more often than this.
        let result = block.check_limits().and_then(|()| block.run(SLICE));
        let mut queue = lock();
        queue.running -= 1;
        match result {
            Ok(Progress::Paused) => queue.paused.push_back(block),
            Ok(Progress::Done) | Err(_) => {
                queue.counters.merge(&block.env.counters);
                if let Some(tracer) = block.env.tracer.take() {
                    queue.trace = Some(tracer.finish(&state.kernel.program));
                }
                queue.findings.merge(std::mem::take(&mut block.env.findings));
                if !block.env.printed.is_empty() {
                    queue.printed.push((block.env.number, std::mem::take(&mut block.env.printed)));
                }
                if result.is_err() {
                    state.stop.store(true, Ordering::Relaxed);
                }
                queue.spare.push(block.into_storage());
            }
        }
    }
}
