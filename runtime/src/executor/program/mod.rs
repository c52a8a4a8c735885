//! A kernel after decoding: what the executor runs.
//!
//! A PTX entry becomes one flat list of [`Step`]s in reverse post-order of its blocks, so that "the lowest step first" is a
//! good reconvergence rule. Runs of lane-local instructions are *segments*, compiled by Cranelift; everything that looks at other
//! lanes, at memory, or that changes control is a step of its own, executed by Rust.
//!
//! ```text
//!   mov.u32 %r5, %tid.x;  mad.lo.s32 %r1, ...;  setp.ge.s32 %p1, %r1, %r2;      0  Segment(0)   3 instructions
//!   @%p1 bra DONE;                                                              1  Jump(5) guarded by %p1
//!   mul.wide.s32 ...; add.s64 ...;                                              2  Segment(1)
//!   ld.global.nc.f32 %f1, [%rd8];                                               3  Load
//!   ...
//! DONE: ret;                                                                    5  Exit
//! ```
//!
//! The lane-local instructions form a tiny language of their own ([`LaneOp`]): 32- and 64-bit integers, f32, f64 and
//! predicates, nothing else. PTX's many types are spelled in it by the decoder (`add.s16` is a 32-bit add and a mask), and
//! what it cannot say (`ex2`, `div`, f16 arithmetic, per-lane shift amounts) is a [`LaneCall`] on whole registers.
//!
//! # Invariants
//! - Jump targets are step numbers of block starts.
//! - The upper half of a cell that holds a 16-bit register is zero.
//! - Temporaries of the decoder are written before they are read in the same PTX instruction, so they are never live across one.

mod hopper;
mod lane;

pub use hopper::*;
pub use lane::*;

use super::finding::SourceLoc;
use super::frame::{PredId, R32, R64};

/// The windows of memory an instruction may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemSpace {
    Generic,
    Global,
    Shared,
    Local,
    /// Parameters and constants: one read-only window per launch.
    Param,
    Const,
}

/// What an address is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddrBase {
    R32(R32),
    R64(R64),
    /// A constant address.
    Abs,
}

/// Register (or nothing) plus bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addr {
    pub base: AddrBase,
    pub offset: i64,
}

/// One register of a load or store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemReg {
    R32(R32),
    R64(R64),
    /// `_`: loaded and dropped.
    None,
}

/// How a loaded element narrower than its register is extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extend {
    Zero,
    /// Sign-extended to 16 bits, zero above (an `s8` in a 16-bit register).
    Sign16,
    /// Sign-extended to the register.
    Sign,
}

/// How strong an access is. All but the first are strong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    Weak,
    /// Volatile, relaxed: it does not race with its like.
    Strong,
    /// It also acquires what was released where it reads.
    Acquire,
    /// It also releases what was done before it.
    Release,
}

/// Whom a strong access takes into account: its scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    Block,
    Cluster,
    #[default]
    Everybody,
}

/// `ld` and `st`, with vectors.
#[derive(Clone, Debug)]
pub struct MemAccess {
    pub space: MemSpace,
    pub addr: Addr,
    /// Bytes of one element: 1, 2, 4 or 8.
    pub bytes: u8,
    pub extend: Extend,
    pub order: Order,
    pub reach: Reach,
    /// What the address must be a multiple of, if of more than the bytes of the access: it is the first part of a wider one.
    pub align: u8,
    pub regs: Box<[MemReg]>,
}

/// `cp.async.{ca,cg}.shared.global`.
#[derive(Clone, Copy, Debug)]
pub struct CpAsync {
    pub dst: Addr,
    pub src: Addr,
    /// 4, 8 or 16.
    pub bytes: u8,
    /// Bytes to read; the rest is zero.
    pub src_size: Option<Val32>,
    /// `ignore-src`: read nothing where true.
    pub ignore: ValP,
}

/// `shfl.sync` modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShuffleMode {
    Up,
    Down,
    Bfly,
    Idx,
}

/// `shfl.sync`.
#[derive(Clone, Copy, Debug)]
pub struct Shuffle {
    pub mode: ShuffleMode,
    pub d: R32,
    pub p: Option<PredId>,
    pub a: R32,
    pub b: R32,
    pub c: R32,
    pub members: R32,
}

/// `vote.sync` modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteMode {
    All,
    Any,
    Uni,
    Ballot,
}

/// Cross-lane reductions of `redux.sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReduxOp {
    Add,
    MinS,
    MaxS,
    MinU,
    MaxU,
    And,
    Or,
    Xor,
    /// Of f32: numbers win over NaN, or lose.
    MinF,
    MaxF,
    MinNan,
    MaxNan,
}

/// Where a vote goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteDst {
    Pred(PredId),
    Reg(R32),
}

/// `ldmatrix` and `stmatrix`, m8n8 with 16-bit elements.
#[derive(Clone, Debug)]
pub struct MatrixAccess {
    pub addr: Addr,
    pub transposed: bool,
    /// 1, 2 or 4 registers.
    pub regs: Box<[R32]>,
}

/// A matrix multiplication: fragments in PTX's order.
#[derive(Clone, Debug)]
pub struct Mma {
    pub f: super::matrix::MmaFn,
    pub d: Box<[R32]>,
    pub a: Box<[R32]>,
    pub b: Box<[R32]>,
    pub c: Box<[R32]>,
    /// How D lies, which decides whether it can be written where it is.
    pub place: MmaPlace,
    /// Kernels that take operands which several instructions share only once.
    pub batch: Option<super::matrix::Batch>,
}

/// How the registers of D lie among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MmaPlace {
    /// Scattered, or shared with an operand.
    Anywhere,
    /// Neighbouring cells that no operand uses.
    Apart,
    /// Neighbouring cells that are C too, and no other operand uses.
    Accumulates,
}

impl Mma {
    /// A multiplication with these fragments.
    pub fn new(f: super::matrix::MmaFn, d: Box<[R32]>, a: Box<[R32]>, b: Box<[R32]>, c: Box<[R32]>) -> Mma {
        let neighbours = d.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0);
        let free = |operand: &[R32]| operand.iter().all(|r| !d.contains(r));
        let place = match neighbours && free(&a) && free(&b) {
            true if c == d => MmaPlace::Accumulates,
            true if free(&c) => MmaPlace::Apart,
            _ => MmaPlace::Anywhere,
        };
        Mma { f, d, a, b, c, place, batch: None }
    }
}

/// A multiplication of f64 matrices: fragments of 64-bit registers.
#[derive(Clone, Debug)]
pub struct MmaF64 {
    pub d: Box<[R64]>,
    pub a: Box<[R64]>,
    pub b: Box<[R64]>,
    pub c: Box<[R64]>,
}

/// Read-modify-writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtomicOp {
    And,
    Or,
    Xor,
    Exch,
    Cas,
    Add,
    Inc,
    Dec,
    MinS,
    MaxS,
    MinU,
    MaxU,
    AddF16x2,
    AddBf16x2,
    AddF16,
    AddBf16,
    AddF32,
    AddF64,
    /// Of one half or a pair, by width.
    MinF16,
    MaxF16,
    MinBf16,
    MaxBf16,
}

/// `atom` and `red`.
#[derive(Clone, Copy, Debug)]
pub struct Atomic {
    pub op: AtomicOp,
    pub space: MemSpace,
    pub addr: Addr,
    /// 2, 4, 8 or 16.
    pub bytes: u8,
    /// What the address must be a multiple of: more than `bytes` for the first of a vector.
    pub align: u8,
    pub reach: Reach,
    /// It orders what was done before it by itself, without a fence.
    pub releases: bool,
    /// It orders what is done after it by itself, without a fence.
    pub acquires: bool,
    pub d: MemReg,
    pub b: MemReg,
    pub c: MemReg,
    /// The high halves of `d`, `b` and `c` where there are 16 bytes.
    pub high: [MemReg; 3],
}

/// A function of the run-time system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostFunction {
    /// `int vprintf(const char *format, void *arguments)`
    Printf,
    /// `void __assertfail(message, file, line, function, size_t char_bytes)`
    AssertFail,
}

/// What such a function is given, or where its result goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostValue {
    Imm(u64),
    R32(R32),
    R64(R64),
    /// In the thread's local memory.
    Local {
        address: u64,
        bytes: u8,
    },
}

/// A call of the run-time system.
#[derive(Clone, Debug)]
pub struct HostCall {
    pub function: HostFunction,
    pub args: Box<[HostValue]>,
    pub result: Option<HostValue>,
}

/// `bar` and `barrier`.
#[derive(Clone, Copy, Debug)]
pub struct Barrier {
    pub id: Val32,
    /// Threads; `None`: all of the block.
    pub count: Option<Val32>,
    /// `arrive` does not wait.
    pub arrive_only: bool,
    /// Every thread of the warp executes it together.
    pub aligned: bool,
    pub reduce: Option<BarrierReduce>,
}

/// `bar.red`.
#[derive(Clone, Copy, Debug)]
pub struct BarrierReduce {
    pub op: BarrierReduceOp,
    pub src: ValP,
    pub dst: VoteDst,
}

/// What `bar.red` computes over all participating threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarrierReduceOp {
    Popc,
    And,
    Or,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum StepKind {
    /// Run compiled segment number so and so.
    Segment(u32),
    Call(LaneCall),
    Load(MemAccess),
    Store(MemAccess),
    CpAsync(CpAsync),
    CpAsyncCommit,
    /// Wait until at most so many groups are pending; `None`: for everything, committed or not.
    CpAsyncWait(Option<u32>),
    Barrier(Barrier),
    WarpSync(Val32),
    Shuffle(Shuffle),
    Vote {
        mode: VoteMode,
        dst: VoteDst,
        src: ValP,
        members: Val32,
    },
    Match {
        all: bool,
        d: R32,
        p: Option<PredId>,
        a: MemReg,
        members: Val32,
    },
    Redux {
        op: ReduxOp,
        d: R32,
        a: R32,
        members: Val32,
    },
    ActiveMask(R32),
    /// `%clock64`, or with `time` `%globaltimer`; of 32 bits the low ones.
    Clock {
        d: MemReg,
        time: bool,
    },
    Elect {
        d: Option<R32>,
        p: PredId,
        members: Val32,
    },
    LdMatrix(MatrixAccess),
    StMatrix(MatrixAccess),
    /// An 8x8 transpose of 16-bit elements between lanes.
    MovMatrix {
        d: R32,
        a: R32,
    },
    /// The whole warp has to be here.
    Converged,
    Mma(Box<Mma>),
    /// A matrix multiplication in f64.
    MmaF64(Box<MmaF64>),
    Atomic(Atomic),
    MbarInit {
        addr: Addr,
        space: MemSpace,
        count: Val32,
    },
    MbarInval {
        addr: Addr,
        space: MemSpace,
    },
    MbarArrive(MbarArrive),
    MbarTx(MbarTx),
    MbarWait(MbarWait),
    /// `cp.async.mbarrier.arrive`.
    CpAsyncArrive {
        addr: Addr,
        space: MemSpace,
        noinc: bool,
    },
    StoreAsync(Box<StoreAsync>),
    Bulk(Box<Bulk>),
    Tensor(Box<TensorCopy>),
    BulkCommit,
    /// Wait until at most so many groups are pending, or until their sources are read.
    BulkWait {
        newest: u32,
        read: bool,
    },
    /// `fence.proxy.async`, for shared memory, global memory or both.
    ProxyFence {
        shared: bool,
        global: bool,
    },
    /// A memory fence; other blocks see it if it reaches `far`.
    MemoryFence {
        acquire: bool,
        release: bool,
        far: bool,
    },
    /// `fence.proxy.tensormap::generic.acquire`.
    MapFence,
    /// `fence.mbarrier_init`: the cluster will see what mbarriers were initialised.
    InitFence,
    /// `setmaxnreg`: registers per thread from here on.
    SetMaxRegisters {
        dec: bool,
        registers: u32,
    },
    MapReplace(Box<MapReplace>),
    /// `tensormap.cp_fenceproxy`.
    MapCopy {
        dst: Addr,
        src: Addr,
    },
    Wgmma(Box<Wgmma>),
    WgmmaFence,
    WgmmaCommit,
    WgmmaWait(u32),
    ClusterArrive {
        aligned: bool,
        /// It orders nothing but what is behind a fence.
        relaxed: bool,
    },
    ClusterWait {
        aligned: bool,
    },
    /// To a step number; with a guard, a conditional branch.
    Jump(u32),
    /// To `targets[index]`.
    JumpTable {
        index: R32,
        targets: Box<[u32]>,
    },
    Host(Box<HostCall>),
    Exit,
    Trap,
    /// A memory fence, a hint, a prefetch: no effect on this machine.
    Nothing,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// Lanes where it takes effect; segments carry guards inside.
    pub guard: ValP,
    /// PTX line.
    pub line: u32,
    /// PTX instructions that it stands for.
    pub count: u32,
    pub kind: StepKind,
    /// Whether fragments of a warp may meet here.
    pub block_start: bool,
}

/// A special register or constant that lies in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CellInit {
    Const32(u32),
    Const64(u64),
    Tid(usize),
    Ctaid(usize),
    Ntid(usize),
    Nctaid(usize),
    ClusterId(usize),
    NclusterId(usize),
    /// Of the block within its cluster.
    ClusterCtaid(usize),
    ClusterNctaid(usize),
    ClusterRank,
    ClusterSize,
    LaneId,
    WarpId,
    NumWarps,
    LanemaskEq,
    LanemaskLe,
    LanemaskLt,
    LanemaskGe,
    LanemaskGt,
    DynamicShared,
    TotalShared,
}

/// A variable of the module in `.global` or `.const`: its bytes and its address in the launch's memory.
#[derive(Clone, Debug)]
pub struct ModuleData {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// A decoded kernel, ready to be compiled.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub name: String,
    pub steps: Vec<Step>,
    /// Lane-local instructions of each segment, with the registers that somebody reads afterwards.
    pub segments: Vec<Segment>,
    /// Register cells of a frame.
    pub cells: u32,
    pub predicates: u32,
    pub inits: Vec<(u32, CellInit)>,
    /// Statically declared shared memory.
    pub shared_static: u32,
    /// Bytes at its beginning that are CUDA's own, and zero.
    pub shared_reserved: u32,
    /// Start of dynamic shared memory (`shared_static` rounded up to its alignment).
    pub shared_dynamic_at: u32,
    /// Local memory of one thread.
    pub local_bytes: u32,
    /// Parameters: (offset, bytes), and the size of the block.
    pub params: Vec<(u32, u32)>,
    pub param_bytes: u32,
    /// Constant bank.
    pub constants: Vec<u8>,
    /// Module variables in global memory.
    pub globals: Vec<ModuleData>,
    /// Window number of the first of `globals`: the number of buffers of the launch.
    pub globals_base: usize,
    /// Source of PTX lines that have one, by line.
    pub locs: Vec<(u32, SourceLoc)>,
    /// Threads per block the entry insists on.
    pub reqntid: Option<[u32; 3]>,
    /// Blocks of a cluster that the entry insists on.
    pub cluster: Option<[u32; 3]>,
    /// Registers that some `wgmma` uses as D or A: (step, cell, written) of everything else that touches one, sorted by step.
    pub wgmma_touches: Vec<(u32, u32, bool)>,
    pub maxntid: Option<u32>,
    /// Registers per thread that the entry is compiled for, if it says so.
    pub maxnreg: Option<u32>,
    /// Opcode of each PTX line, for statistics: (line, mnemonic).
    pub mnemonics: Vec<(u32, String)>,
}

/// A maximal run of lane-local instructions.
#[derive(Clone, Debug, Default)]
pub struct Segment {
    pub code: Vec<LaneInst>,
    /// PTX lines of the instructions, for statistics.
    pub lines: Vec<u32>,
    pub live_out: LiveOut,
}

/// The registers that a segment writes and somebody reads later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveOut {
    pub r32: Vec<R32>,
    pub r64: Vec<R64>,
    pub preds: Vec<PredId>,
}

impl Program {
    /// PTX lines of the instructions that step `number` stands for.
    pub fn lines_of(&self, number: usize) -> Vec<u32> {
        match &self.steps[number].kind {
            StepKind::Segment(segment) => self.segments[*segment as usize].lines.clone(),
            // Of the steps of an instruction the last one counts.
            _ if self.steps[number].count == 0 => vec![],
            _ => vec![self.steps[number].line],
        }
    }

    /// The opcode of PTX line `line`, with its modifiers.
    pub fn mnemonic(&self, line: u32) -> Option<&str> {
        let at = self.mnemonics.binary_search_by_key(&line, |(l, _)| *l).ok()?;
        Some(&self.mnemonics[at].1)
    }

    /// Where PTX line `line` comes from.
    pub fn source_of(&self, line: u32) -> Option<SourceLoc> {
        let at = self.locs.partition_point(|(l, _)| *l <= line);
        at.checked_sub(1).map(|i| self.locs[i].1.clone())
    }
}
