//! What happens in one place: an op, what it is, and when in a pipelined loop.

use super::*;
use crate::diagnostics::Span;
use crate::layout::Layout;
use crate::tile::ir as t1;

/// One tensor subscript of a copy or register access: coordinate = `axis` position + `offset` (a launch scalar), or the scalar alone, or the
/// elements of a computed integer tile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    pub axis: Option<t1::AxisId>,
    pub offset: Option<t1::ValueId>,
    pub tile: Option<ValId>,
    /// The coordinate may leave the tensor where the lane exists: reads give zero there, writes are dropped.
    pub checked: bool,
    /// Of the last subscript of a packed tensor: 2^shift neighbours along the axis share an element, as with `c[j, k / 8]`.
    pub shift: u32,
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
