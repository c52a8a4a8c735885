//! T2's data structure.
//!
//! One structure serves three forms. *Fused*: one region, every op of a pipelined loop tagged with a role, a stage and an order;
//! this is what a person reads and pins. *Expanded*: prologue and steady loop explicit, every op knows which iteration it works
//! for; here waits have a meaning, and synchronisation is derived. (*Split*, one region per role, comes between the two; a
//! kernel with one role is its own split form.)
//!
//! A buffer is a ring of slots in shared memory. A channel is a hand-over of one ring entry of several buffers: the writer
//! `acquire`s, fills and `commit`s it, the reader `wait`s, reads and `release`s. Ring numbers are implicit: the n-th acquire pairs
//! with the n-th wait. Nothing in this level names a barrier until [`crate::sync`] has derived it.

use crate::diagnostics::Span;
use crate::layout::Layout;
use crate::packed::Recipe;
use crate::sync::SyncOp;
use crate::tile::ir as t1;

/// Which of a module's roles; a role instance is the unit of program order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoleId(pub u16);
/// Which ring of shared-memory slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufId(pub u16);
/// Which channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChanId(pub u16);
/// Which place in an instance's part of the workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkId(pub u16);
/// A value of T2 (a register tile, a slot, a token).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValId(pub u32);

/// Which threads of a role take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Active {
    All,
    /// One elected thread.
    Elect,
}

/// A group of warps that runs one program.
#[derive(Clone, Debug)]
pub struct Role {
    pub name: String,
    /// Instances, each with its own place in the tile.
    pub instances: u32,
    /// Warps of one instance.
    pub warps: u32,
    /// 32-bit registers per thread that the budget allows.
    pub registers: u32,
    pub active: Active,
}

impl Role {
    /// Threads of one instance.
    pub fn threads(&self) -> u32 {
        self.warps * 32
    }
}

/// A ring of equal tiles in shared memory.
#[derive(Clone, Debug)]
pub struct Buffer {
    pub name: String,
    pub elem: t1::ElemType,
    pub slots: u32,
    /// What each axis of `layout` stands for, axis 0 first; for an operand the kept axis, then the contracted one; none for partial results.
    pub axes: Vec<t1::AxisId>,
    /// Static extent of each.
    pub shape: Vec<u32>,
    /// Element coordinates to byte offset inside a slot.
    pub layout: crate::layout::SharedLayout,
    /// The layout in words, for dumps.
    pub layout_name: String,
    /// Bytes of one slot.
    pub slot_bytes: u32,
    /// Byte offset of slot 0 in the block's shared memory.
    pub base: u32,
    /// Bytes from one slot to the next.
    pub slot_stride: u32,
}

/// A place in every instance's part of the workspace (global memory) that holds one register tile as the threads have it: register
/// `r` of thread `t` is place `r % width` of the thread's `width` places in row `r / width`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    pub name: String,
    /// Byte offset in the instance's part.
    pub base: u32,
    pub bytes: u32,
    /// Bytes of a register: 4 or 8.
    pub each: u32,
    /// Registers that one access moves: 1, 2 or 4.
    pub width: u32,
}

impl Work {
    /// Bytes that one access moves.
    pub fn access(&self) -> u32 {
        self.each * self.width
    }
}

/// A hand-over of ring entries from one role to others.
#[derive(Clone, Debug)]
pub struct Channel {
    pub name: String,
    pub bufs: Vec<BufId>,
    pub slots: u32,
    pub from: RoleId,
    pub to: Vec<RoleId>,
    /// Payload of one ring entry.
    pub bytes: u32,
}

/// When an asynchronous op is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokClass {
    /// In order per issuing thread, by `cp.async` groups.
    CpAsync,
    /// At once: the op is not asynchronous.
    Immediate,
}

/// What a T2 value is.
#[derive(Clone, Debug)]
pub enum ValKind {
    /// A tile in a role's registers. Columns of `layout`: (register, lane, warp) to tile axes, in elements.
    Tile {
        elem: t1::ElemType,
        axes: Vec<t1::AxisId>,
        layout: Layout,
        acc: bool,
    },
    /// One ring entry of a channel.
    Slot(ChanId),
    Tok(TokClass),
}

#[derive(Clone, Debug)]
pub struct Value {
    pub kind: ValKind,
    pub name: String,
}

/// How a tile travels from global to shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyPlan {
    /// `cp.async` in units of 4, 8 or 16 bytes; what lies outside is zero-filled by the ignore-src predicate.
    CpAsync { bytes: u32 },
    /// Loads into registers, then stores to shared memory, in units of this many bytes.
    LoadStore { bytes: u32 },
}

impl CopyPlan {
    /// Bytes that one access moves.
    pub fn unit(self) -> u32 {
        match self {
            CopyPlan::CpAsync { bytes } | CopyPlan::LoadStore { bytes } => bytes,
        }
    }
}

/// How a schedule wants a tensor to travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// `cp.async`, where accesses have at least four bytes.
    CpAsync,
    /// Loads into registers and stores out of them.
    Direct,
}

impl Via {
    pub fn name(self) -> &'static str {
        match self {
            Via::CpAsync => "cpasync",
            Via::Direct => "direct",
        }
    }
}

/// When a tensor's lines leave L2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evict {
    First,
    Normal,
    Last,
}

impl Evict {
    pub const ALL: [Evict; 3] = [Evict::First, Evict::Normal, Evict::Last];

    pub fn name(self) -> &'static str {
        match self {
            Evict::First => "first",
            Evict::Normal => "normal",
            Evict::Last => "last",
        }
    }
}

/// How a fragment comes out of shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadAtom {
    /// `ldmatrix` of this many matrices of 8 rows of 16 bytes; `trans` where the kept axis is the contiguous one.
    Ldmatrix { matrices: u32, trans: bool },
    /// Element by element, where `ldmatrix` cannot transpose: bytes and words whose kept axis is the contiguous one.
    Elements,
}

/// Element types of a matrix instruction's operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MmaType {
    F16,
    Bf16,
    Tf32,
    S8,
    U8,
    E4m3,
    E5m2,
    /// Single bits, of which both must be set.
    B1,
}

impl MmaType {
    /// As PTX spells it.
    pub fn name(self) -> &'static str {
        match self {
            MmaType::F16 => "f16",
            MmaType::Bf16 => "bf16",
            MmaType::Tf32 => "tf32",
            MmaType::S8 => "s8",
            MmaType::U8 => "u8",
            MmaType::E4m3 => "e4m3",
            MmaType::E5m2 => "e5m2",
            MmaType::B1 => "b1",
        }
    }

    /// Bits that an element takes in a register.
    pub fn bits(self) -> u32 {
        match self {
            MmaType::F16 | MmaType::Bf16 => 16,
            MmaType::Tf32 => 32,
            MmaType::S8 | MmaType::U8 | MmaType::E4m3 | MmaType::E5m2 => 8,
            MmaType::B1 => 1,
        }
    }
}

/// A matrix instruction `mma.sync.aligned.m16n8kK.row.col`, in which four 32-bit registers of a thread hold A, two hold B and four the
/// sum, whatever the types: so K is 256 bits' worth of elements.
///
/// | A, B | K | sum |
/// | --- | --- | --- |
/// | f16, bf16 (both the same) | 16 | f32 |
/// | tf32 | 8 | f32 |
/// | s8, u8 (in any combination) | 32 | s32 |
/// | e4m3, e5m2 (in any combination; from sm_89 on) | 32 | f32 |
/// | b1 (`and`, then `popc`) | 256 | s32 |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MmaAtom {
    pub a: MmaType,
    pub b: MmaType,
}

impl MmaAtom {
    /// Depth of one instruction.
    pub fn k(self) -> u32 {
        256 / self.a.bits()
    }

    /// Type of the sum.
    pub fn acc(self) -> t1::ElemType {
        match self.a {
            MmaType::F16 | MmaType::Bf16 | MmaType::Tf32 | MmaType::E4m3 | MmaType::E5m2 => t1::ElemType::F32,
            MmaType::S8 | MmaType::U8 | MmaType::B1 => t1::ElemType::Int(32),
        }
    }

    /// `m16n8k16.f16`; both types where they differ.
    pub fn name(self) -> String {
        let (k, a, b) = (self.k(), self.a.name(), self.b.name());
        if a == b { format!("m16n8k{k}.{a}") } else { format!("m16n8k{k}.{a}.{b}") }
    }
}

/// One tensor subscript of a copy or register access: coordinate = `axis` position + `offset` (a launch scalar), or the scalar alone, or the
/// elements of a computed integer tile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    pub axis: Option<t1::AxisId>,
    pub offset: Option<t1::ValueId>,
    pub tile: Option<ValId>,
    /// The coordinate may leave the tensor where the lane exists: reads give zero there, writes are dropped.
    pub checked: bool,
}

#[derive(Clone, Debug)]
pub enum OpKind {
    /// Take the next free ring entry for writing; yields a slot.
    Acquire {
        chan: ChanId,
    },
    /// Fill `buf` of the slot from `tensor`; `map` says which (register step, lane, warp) moves which unit. `rolled`: the accesses of a
    /// thread are a loop of their own, for few registers at the price of a few instructions per access. Under the condition `negative`, a scalar,
    /// elements change their sign: only what goes through registers can.
    CopyIn {
        slot: ValId,
        buf: BufId,
        tensor: t1::TensorId,
        ix: Vec<Index>,
        plan: CopyPlan,
        map: Layout,
        rolled: bool,
        negative: Option<t1::ValueId>,
    },
    /// Fill `buf` of the slot with one tile of a packed tensor, as it lies in memory.
    CopyPacked {
        slot: ValId,
        buf: BufId,
        tensor: t1::TensorId,
        ix: Vec<Index>,
        plan: CopyPlan,
    },
    /// Hand the entry over once the tokens are complete.
    Commit {
        chan: ChanId,
        slot: ValId,
        after: Vec<ValId>,
    },
    /// Take the next filled entry for reading; yields a slot.
    Wait {
        chan: ChanId,
    },
    /// Give the entry back.
    Release {
        chan: ChanId,
        slot: ValId,
    },
    /// Read a fragment: positions `at..at + size` of the buffer's contraction axis. Where the result's element type is another than
    /// the buffer's, each element is rounded to it.
    Load {
        slot: ValId,
        buf: BufId,
        at: u32,
        size: u32,
        atom: LoadAtom,
    },
    /// A thread's own elements of a packed tile, all of them.
    LoadPacked {
        slot: ValId,
        buf: BufId,
        tensor: t1::TensorId,
    },
    /// A fresh accumulator holding a constant.
    AccNew {
        init: f64,
    },
    /// A fresh accumulator that starts from a tile.
    AccFrom {
        value: ValId,
    },
    /// `acc' = a · bᵀ + acc` by matrix instructions, over one atom's depth of each operand: a fragment of just that, or all of a computed
    /// operand, of which `at` says where along k the part begins. The accumulator is linear.
    Mma {
        atom: MmaAtom,
        a: ValId,
        b: ValId,
        acc: ValId,
        at: (u32, u32),
    },
    /// After every `every`-th iteration the sum of `total` and `acc`, else `total` as it is. In the same registers as `total`, which is linear.
    Promote {
        total: ValId,
        acc: ValId,
        every: u32,
    },
    /// After every `every`-th iteration an accumulator of zeros, else `acc` as it is. In the same registers, too.
    AccRenew {
        acc: ValId,
        every: u32,
    },
    /// The accumulator's value; implies that everything issued on it is complete.
    AccGet {
        acc: ValId,
    },
    /// The T1 op of `value`, element by element, over tiles of one layout.
    Elementwise {
        value: t1::ValueId,
        args: Vec<ValId>,
    },
    /// Combines the elements that differ along `axes` and stand in one warp, by registers and shuffles. Where no warp bit moves along
    /// `axes` that is the reduction; else one partial result per warp.
    Reduce {
        x: ValId,
        op: t1::ReduceOp,
        axes: Vec<t1::AxisId>,
        /// Whether a maximum of nothing but NaNs may be one, because what uses it ignores them.
        nan: bool,
    },
    /// One partial result per warp to shared memory; `warps` masks the bits of the warp number that number the partial results.
    PutPartials {
        buf: BufId,
        value: ValId,
        warps: u32,
    },
    /// The partial results combined in ascending order of warps, to every thread.
    GetPartials {
        buf: BufId,
        op: t1::ReduceOp,
        warps: u32,
    },
    /// The running reduction along one axis, by registers and shuffles. Where warp bits move along the axis, that of each warp alone;
    /// [`PutPartials`](OpKind::PutPartials) then hands on its sums.
    Scan {
        x: ValId,
        op: t1::ScanOp,
        axis: t1::AxisId,
        rev: bool,
    },
    /// The running reduction, from the warps' own `x` and the sums of all warps.
    GetScan {
        buf: BufId,
        x: ValId,
        op: t1::ScanOp,
        axis: t1::AxisId,
        rev: bool,
        warps: u32,
    },
    /// A whole tile to shared memory.
    PutTile {
        buf: BufId,
        value: ValId,
    },
    /// Elements of the tile `of`, which the buffer holds, at these coordinates; zero outside its existing lanes.
    GetTile {
        buf: BufId,
        of: ValId,
        ix: Vec<Index>,
    },
    /// Sums of what each thread holds along these axes: its share. What shares become is their sum over the lanes that hold the same element, so they
    /// may be added to one another and multiplied by what is no share.
    ReduceOwn {
        x: ValId,
        axes: Vec<t1::AxisId>,
    },
    /// A tile as shares: the first of the lanes that hold an element has it.
    Share {
        x: ValId,
    },
    /// What shares become.
    Total {
        x: ValId,
    },
    /// Integers that ascend as the elements do, or descend; NaNs last.
    SortKey {
        x: ValId,
        descending: bool,
    },
    /// The coordinates of an axis, on the result's axes.
    Position {
        axis: t1::AxisId,
    },
    /// For every element of `of`, whose keys the buffer holds, how many along the axis come before it.
    Rank {
        buf: BufId,
        of: ValId,
        axis: t1::AxisId,
    },
    /// A tile to shared memory, each element at its rank along the axis.
    PutAt {
        buf: BufId,
        value: ValId,
        rank: ValId,
        axis: t1::AxisId,
    },
    /// What stands at the ranks that `to` counts in the place of the axis; beyond the end -inf or the least, at -1.
    GetRanked {
        buf: BufId,
        of: ValId,
        axis: t1::AxisId,
        to: t1::AxisId,
        part: t1::SortPart,
    },
    /// Global memory to registers in the layout of the result; `eager`: all of it here, so that the accesses overlap, and not where
    /// an element is first used.
    ReadReg {
        tensor: t1::TensorId,
        ix: Vec<Index>,
        vec: u32,
        eager: bool,
    },
    /// Registers to global memory, `vec` elements an access, where `when` holds, by the first instance along each of `once`.
    WriteReg {
        tensor: t1::TensorId,
        ix: Vec<Index>,
        value: ValId,
        vec: u32,
        when: Option<ValId>,
        once: Vec<t1::GridId>,
    },
    /// Combines registers into global memory, element by element, in no particular order; a result is what was there before, known
    /// to the first holder of each element.
    Atomic {
        op: t1::Combine,
        tensor: t1::TensorId,
        ix: Vec<Index>,
        value: ValId,
        when: Option<ValId>,
    },
    /// The same elements on more axes.
    Spread {
        x: ValId,
    },
    /// A register tile to the calling instance's part of the workspace.
    WorkPut {
        work: WorkId,
        value: ValId,
    },
    /// Counts the instances that differ only in a grid variable, once each has put everything. Without a result all but the last to
    /// arrive leave; with one it tells whether others are still to come.
    WorkLast {
        var: t1::GridId,
    },
    /// Whether the block's item is only a part of its tile's steps (stream-K): a `bool` without axes.
    ItemPart,
    /// Draws the block's next tile from the launch's counter: its number, an `i32` without axes that only the first thread knows.
    ItemDraw,
    /// What one thread has drawn, to all. The buffer has two words, which take turns: an item's word is written again by the item after the
    /// next, and a barrier of the next one, between its own telling and hearing, comes between. So it is no part of what `item.done` waits for.
    ItemTell {
        buf: BufId,
        value: ValId,
    },
    ItemHear {
        buf: BufId,
        of: ValId,
    },
    /// The item is done: whatever the block's shared memory holds, the next one may overwrite. `next` is the tile that the block goes
    /// on with, where it has drawn one.
    ItemDone {
        next: Option<ValId>,
    },
    /// What the instance that the loop around is at has put.
    WorkGet {
        work: WorkId,
    },
    /// The element that changes nothing, everywhere.
    Neutral {
        op: t1::ReduceOp,
    },
    /// Two tiles of one layout, element by element.
    Combine {
        op: t1::ReduceOp,
        x: ValId,
        y: ValId,
    },
}

impl OpKind {
    /// The op's name in dumps.
    pub fn label(&self) -> &'static str {
        match self {
            OpKind::Acquire { .. } => "acquire",
            OpKind::CopyIn { .. } => "copy.in",
            OpKind::CopyPacked { .. } => "copy.packed",
            OpKind::LoadPacked { .. } => "load.packed",
            OpKind::Commit { .. } => "commit",
            OpKind::Wait { .. } => "wait",
            OpKind::Release { .. } => "release",
            OpKind::Load { .. } => "load",
            OpKind::AccNew { .. } => "acc.new",
            OpKind::AccFrom { .. } => "acc.from",
            OpKind::Mma { .. } => "mma",
            OpKind::Promote { .. } => "promote",
            OpKind::AccRenew { .. } => "acc.renew",
            OpKind::AccGet { .. } => "acc.get",
            OpKind::Elementwise { .. } => "elementwise",
            OpKind::Reduce { .. } => "reduce",
            OpKind::PutPartials { .. } => "put.partials",
            OpKind::GetPartials { .. } => "get.partials",
            OpKind::SortKey { .. } => "sort.key",
            OpKind::Position { .. } => "position",
            OpKind::Rank { .. } => "rank",
            OpKind::PutAt { .. } => "put.at",
            OpKind::GetRanked { .. } => "get.ranked",
            OpKind::PutTile { .. } => "put.tile",
            OpKind::GetTile { .. } => "get.tile",
            OpKind::Scan { .. } => "scan",
            OpKind::GetScan { .. } => "get.scan",
            OpKind::Atomic { .. } => "atomic",
            OpKind::Spread { .. } => "spread",
            OpKind::ReduceOwn { .. } => "reduce.own",
            OpKind::Share { .. } => "share",
            OpKind::Total { .. } => "total",
            OpKind::WorkPut { .. } => "work.put",
            OpKind::WorkLast { .. } => "work.last",
            OpKind::ItemPart => "item.part",
            OpKind::ItemDraw => "item.draw",
            OpKind::ItemTell { .. } => "item.tell",
            OpKind::ItemHear { .. } => "item.hear",
            OpKind::ItemDone { .. } => "item.done",
            OpKind::WorkGet { .. } => "work.get",
            OpKind::Neutral { .. } => "neutral",
            OpKind::Combine { .. } => "combine",
            OpKind::ReadReg { .. } => "read.reg",
            OpKind::WriteReg { .. } => "write.reg",
        }
    }
}

/// Place of an op in a pipelined loop: iteration j runs it in step j + stage; ops of one step run by ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    pub stage: u32,
    pub order: u32,
}

/// The iteration that an expanded op works for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Iter {
    /// Not in a loop.
    None,
    /// Exactly this one (prologue).
    Const(u32),
    /// The steady loop's step plus this offset.
    Step(u32),
}

#[derive(Clone, Debug)]
pub struct Op {
    pub role: RoleId,
    pub kind: OpKind,
    pub result: Option<ValId>,
    pub at: Option<At>,
    pub iter: Iter,
    pub span: Span,
}

/// What a loop counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Tiles of a range; the loop binds its axis.
    Tiles(t1::AxisId),
    /// Single coordinates.
    Coordinates(t1::LoopId),
    /// The values of a grid variable, in an instance that goes on for all that differ in it.
    Instances(t1::GridId),
}

/// A counted loop.
#[derive(Clone, Debug)]
pub struct Loop {
    pub name: String,
    pub over: Over,
    pub lo: t1::ValueId,
    pub hi: t1::ValueId,
    pub by: u32,
    /// The same trips, last first.
    pub rev: bool,
    /// Accumulators carried around: (before, inside at entry, at the back edge, after).
    pub carry: Vec<Carry>,
    pub body: Vec<Node>,
    /// Steps that the prologue runs ahead (expanded form).
    pub ahead: u32,
    /// Copies of the body in the emitted loop, so that slots and register copies are constants.
    pub unroll: u32,
    /// Steps in which conditions of the body need no testing.
    pub full: Option<t1::Full>,
}

#[derive(Clone, Copy, Debug)]
pub struct Carry {
    pub init: ValId,
    pub param: ValId,
    pub next: ValId,
    pub result: ValId,
}

/// One of two lists runs, the same for all threads of the block.
#[derive(Clone, Debug)]
pub struct If {
    /// A `bool` tile without axes.
    pub cond: ValId,
    pub then_body: Vec<Node>,
    pub else_body: Vec<Node>,
    pub merges: Vec<Merge>,
    pub span: Span,
}

/// A value that a conditional leaves: all three are tiles of one type.
#[derive(Clone, Copy, Debug)]
pub struct Merge {
    pub then_value: ValId,
    pub else_value: ValId,
    pub result: ValId,
}

/// A derived synchronisation op with the obligations that it serves.
#[derive(Clone, Debug)]
pub struct SyncNode {
    pub op: SyncOp,
    pub obligations: Vec<u32>,
}

#[derive(Clone, Debug)]
pub enum Node {
    Op(Op),
    Loop(Loop),
    If(If),
    Sync(SyncNode),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Fused,
    Expanded,
}

/// How grid instances map to blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raster {
    /// Blocks that are neighbours in launch order share this many tiles of the first grid range, so that their operands meet in L2.
    pub group: u32,
    /// The two ranges that `group` speaks of; the others are outside them.
    pub pair: Option<(t1::GridId, t1::GridId)>,
}

/// How blocks come by their work. What a module's body computes is one *item*: a tile, or some steps of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dispatch {
    /// A block for every instance of the grid.
    Each,
    /// As many blocks as the GPU holds at once; block b of n takes the instances b, b + n, b + 2n, …
    Persistent,
    /// The same blocks; each begins with the instance of its own number, and draws the next from a counter when it begins one.
    Drawn,
    /// The same blocks, but what they share evenly is the steps of all instances in a row.
    Stream(Stream),
}

/// Stream-K: with 3 tiles of 4 steps and 2 blocks, block 0 takes tile 0 and the first half of tile 1, block 1 the rest.
///
/// An item's steps are those from `lo` to `hi` of the loop; `part` is a grid variable of one value, in whose place the blocks that share a
/// tile are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    pub part: t1::GridId,
    /// The loop that is shared out: its bounds inside an item are values of their own.
    pub steps: t1::LoopId,
    /// Where all of a tile's steps begin and end.
    pub lo: t1::ValueId,
    pub hi: t1::ValueId,
}

/// Which facts about a launch a module relies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Variant {
    /// Bases and row strides are multiples of 16 bytes.
    Wide,
    /// Multiples of 4 bytes.
    Mid,
    /// Anything.
    Any,
}

impl Variant {
    pub const ALL: [Variant; 3] = [Variant::Wide, Variant::Mid, Variant::Any];

    pub fn name(self) -> &'static str {
        match self {
            Variant::Wide => "wide",
            Variant::Mid => "mid",
            Variant::Any => "any",
        }
    }

    /// Bytes that bases and row strides are multiples of, given the element's own size.
    pub fn alignment(self, elem_bytes: u32) -> u32 {
        match self {
            Variant::Wide => 16,
            Variant::Mid => 4.max(elem_bytes),
            Variant::Any => elem_bytes,
        }
    }
}

/// One scheduled variant of a kernel.
#[derive(Clone, Debug)]
pub struct Module {
    pub name: String,
    pub variant: Variant,
    pub form: Form,
    pub roles: Vec<Role>,
    pub buffers: Vec<Buffer>,
    pub channels: Vec<Channel>,
    pub values: Vec<Value>,
    pub body: Vec<Node>,
    pub raster: Raster,
    pub dispatch: Dispatch,
    /// Blocks that one SM shall hold at least; without it the assembler decides.
    pub occupancy: Option<u32>,
    /// Tensors with a priority of their own in L2.
    pub evict: Vec<(t1::TensorId, Evict)>,
    pub shared_bytes: u32,
    /// Scalars of T1 that data decides and that bounds, positions of axes or subscripts need, with the tile (without axes) that
    /// holds each.
    pub uniforms: Vec<(t1::ValueId, ValId)>,
    /// Places in every instance's part of the workspace; empty without reductions over the grid.
    pub work: Vec<Work>,
    /// How packed tensors lie in memory.
    pub packed: Vec<(t1::TensorId, Recipe)>,
    /// Tensors that threads read and write at places that other threads wrote or read: the order of their accesses counts.
    pub ordered: Vec<t1::TensorId>,
}

impl Loop {
    /// The range that the loop binds, if it runs over tiles of one.
    pub fn axis(&self) -> Option<t1::AxisId> {
        match self.over {
            Over::Tiles(axis) => Some(axis),
            Over::Coordinates(_) | Over::Instances(_) => None,
        }
    }

    /// Whether ops of it have places in a pipeline.
    pub fn is_pipeline(&self) -> bool {
        // What a pipeline in it runs ahead stands before that one.
        let placed = |op: &Op| op.at.is_some() && !matches!(op.iter, Iter::Const(_));
        self.body.iter().any(|n| matches!(n, Node::Op(op) if placed(op)))
    }

    /// Whether it is an ordinary loop around pipelines, each trip of which is straight code.
    pub fn around_pipeline(&self) -> bool {
        let filled = |n: &Node| matches!(n, Node::Loop(l) if l.is_pipeline() || l.around_pipeline());
        !self.is_pipeline() && self.body.iter().any(filled)
    }
}

impl Module {
    /// A fused module of one role that computes nothing yet.
    pub fn new(name: &str, variant: Variant, role: Role) -> Module {
        Module { name: name.into(), roles: vec![role], ..Module::empty(variant) }
    }

    /// Nothing: what stands in a module's place while another hand works on it.
    pub fn empty(variant: Variant) -> Module {
        Module {
            name: String::new(),
            variant,
            form: Form::Fused,
            roles: Vec::new(),
            buffers: Vec::new(),
            channels: Vec::new(),
            values: Vec::new(),
            body: Vec::new(),
            raster: Raster { group: 1, pair: None },
            dispatch: Dispatch::Each,
            occupancy: None,
            evict: Vec::new(),
            shared_bytes: 0,
            uniforms: Vec::new(),
            work: Vec::new(),
            packed: Vec::new(),
            ordered: Vec::new(),
        }
    }

    /// How a packed tensor lies in memory.
    pub fn recipe(&self, tensor: t1::TensorId) -> Option<&Recipe> {
        self.packed.iter().find(|(t, _)| *t == tensor).map(|(_, recipe)| recipe)
    }

    /// The buffer that passes on what is drawn, if tiles are.
    pub fn told(&self) -> Option<BufId> {
        self.body.iter().find_map(|n| match n {
            Node::Op(Op { kind: OpKind::ItemTell { buf, .. }, .. }) => Some(*buf),
            _ => None,
        })
    }

    pub fn value(&self, id: ValId) -> &Value {
        &self.values[id.0 as usize]
    }

    pub fn buffer(&self, id: BufId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }

    pub fn channel(&self, id: ChanId) -> &Channel {
        &self.channels[id.0 as usize]
    }

    pub fn role(&self, id: RoleId) -> &Role {
        &self.roles[id.0 as usize]
    }

    /// Threads of a block: the sum over role instances.
    pub fn threads(&self) -> u32 {
        self.roles.iter().map(|r| r.instances * r.threads()).sum()
    }

    pub fn work(&self, id: WorkId) -> &Work {
        &self.work[id.0 as usize]
    }

    /// Bytes of one instance's part of the workspace, a multiple of 16.
    pub fn work_bytes(&self) -> u32 {
        self.work.last().map_or(0, |w| w.base + w.bytes).next_multiple_of(16)
    }

    /// The layout of a register tile.
    pub fn layout(&self, id: ValId) -> &Layout {
        match &self.value(id).kind {
            ValKind::Tile { layout, .. } => layout,
            other => unreachable!("{other:?} is no register tile: T2.1"),
        }
    }

    pub fn new_value(&mut self, kind: ValKind, name: impl Into<String>) -> ValId {
        self.values.push(Value { kind, name: name.into() });
        ValId(self.values.len() as u32 - 1)
    }
}

/// Every synchronisation op of a body, in words and in order.
pub fn sync_ops(body: &[Node]) -> Vec<String> {
    let mut out = Vec::new();
    for node in body {
        match node {
            Node::Sync(s) => out.push(s.op.to_string()),
            Node::Loop(l) => out.extend(sync_ops(&l.body).into_iter().map(|s| format!("{}: {s}", l.name))),
            Node::If(i) => [&i.then_body, &i.else_body].into_iter().for_each(|b| out.extend(sync_ops(b))),
            Node::Op(_) => {}
        }
    }
    out
}
