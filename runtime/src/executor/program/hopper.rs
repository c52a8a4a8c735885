//! Steps of sm_90: mbarriers, bulk copies, `wgmma`, clusters.

use super::super::frame::{PredId, R32, R64};
use super::super::matrix::{MmaFn, Warpgroup};
use super::{Addr, MemReg, MemSpace, Val32, Val64, ValP};

/// `mbarrier.arrive` and its kin.
#[derive(Clone, Copy, Debug)]
pub struct MbarArrive {
    pub addr: Addr,
    pub space: MemSpace,
    /// Arrivals; one with `expect`.
    pub count: Val32,
    /// Bytes to expect first.
    pub expect: Option<Val32>,
    /// It publishes only what is behind a fence.
    pub relaxed: bool,
    /// Later phases expect that many fewer.
    pub drop: bool,
    /// The phase token.
    pub token: Option<R64>,
}

/// `mbarrier.expect_tx`, `mbarrier.complete_tx`.
#[derive(Clone, Copy, Debug)]
pub struct MbarTx {
    pub complete: bool,
    pub addr: Addr,
    pub space: MemSpace,
    pub bytes: Val32,
}

/// What a wait waits for.
#[derive(Clone, Copy, Debug)]
pub enum MbarPhase {
    Parity(Val32),
    Token(Val64),
}

/// `mbarrier.test_wait`, `mbarrier.try_wait`.
#[derive(Clone, Copy, Debug)]
pub struct MbarWait {
    /// `try_wait`.
    pub suspend: bool,
    /// What was published is known after a fence only.
    pub relaxed: bool,
    pub d: PredId,
    pub addr: Addr,
    pub space: MemSpace,
    pub phase: MbarPhase,
}

/// Reductions of bulk copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkOp {
    Add,
    Min,
    Max,
    Inc,
    Dec,
    And,
    Or,
    Xor,
}

/// Elements of a bulk reduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkType {
    U8,
    U16,
    U32,
    S32,
    U64,
    S64,
    F16,
    Bf16,
    F32,
    F64,
}

impl BulkType {
    /// Of one element.
    pub fn bytes(self) -> usize {
        match self {
            BulkType::U8 => 1,
            BulkType::U16 | BulkType::F16 | BulkType::Bf16 => 2,
            BulkType::U32 | BulkType::S32 | BulkType::F32 => 4,
            BulkType::U64 | BulkType::S64 | BulkType::F64 => 8,
        }
    }
}

/// Where a bulk copy goes and who is told.
#[derive(Clone, Copy, Debug)]
pub enum BulkRoute {
    /// Global to shared memory, of every block of `multicast` where there is one.
    Load { mbar: Addr, multicast: Option<Val32> },
    /// Own shared memory to a block's of the cluster.
    Peer { mbar: Addr },
    /// Shared memory to global.
    Store,
}

/// `st.async` and `red.async`.
#[derive(Clone, Debug)]
pub struct StoreAsync {
    pub reduce: Option<(BulkOp, BulkType)>,
    /// Bytes of one element: 4 or 8.
    pub bytes: u8,
    pub regs: Box<[MemReg]>,
    pub addr: Addr,
    pub mbar: Addr,
}

/// `cp.async.bulk` and `cp.reduce.async.bulk`.
#[derive(Clone, Copy, Debug)]
pub struct Bulk {
    pub route: BulkRoute,
    pub reduce: Option<(BulkOp, BulkType)>,
    pub dst: Addr,
    pub src: Addr,
    pub size: Val32,
}

/// Direction of a tensor copy.
#[derive(Clone, Copy, Debug)]
pub enum TensorRoute {
    Load { dst: Addr, mbar: Addr, multicast: Option<Val32> },
    Store { src: Addr, reduce: Option<BulkOp> },
    Prefetch,
}

/// `cp.async.bulk.tensor`.
#[derive(Clone, Debug)]
pub struct TensorCopy {
    pub route: TensorRoute,
    pub map: Addr,
    /// Innermost first.
    pub coords: Box<[Val32]>,
    /// Of a window rather than a tile: offsets in the image, innermost first (none of a store).
    pub window: Option<Box<[Val32]>>,
}

/// A field of a tensor map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapField {
    Address,
    Rank,
    Box,
    Dim,
    Stride,
    ElementStride,
    Type,
    Interleave,
    Swizzle,
    Fill,
}

/// `tensormap.replace`.
#[derive(Clone, Copy, Debug)]
pub struct MapReplace {
    pub field: MapField,
    pub space: MemSpace,
    pub addr: Addr,
    pub ord: Val32,
    pub value: Val64,
}

/// Where `wgmma` finds A.
#[derive(Clone, Debug)]
pub enum WgmmaA {
    Desc(R64),
    Regs([R32; 4]),
}

/// `wgmma.mma_async`. A warp computes its own 16 of the 64 rows.
#[derive(Clone, Debug)]
pub struct Wgmma {
    /// The same multiplication for 8 columns, as `mma.sync`.
    pub tile: MmaFn,
    /// All columns at once, where this CPU has a kernel for the type.
    pub fast: Option<Warpgroup>,
    /// Metadata and selector of a sparse A, which `tile` takes behind it; K is twice as deep then.
    pub sparse: Option<[R32; 2]>,
    /// Columns.
    pub n: u16,
    /// Registers of D for 8 columns.
    pub per_tile: u8,
    pub d: Box<[R32]>,
    /// The registers of D are neighbours.
    pub contiguous: bool,
    pub a: WgmmaA,
    pub b: R64,
    pub scale_d: ValP,
    /// The product is subtracted.
    pub negate: bool,
    /// Bits of an element of A and B.
    pub bits: u8,
    pub trans_a: bool,
    pub trans_b: bool,
}

impl Wgmma {
    /// The registers it reads while it runs: those of A, and its metadata.
    pub fn reads(&self) -> impl Iterator<Item = R32> + '_ {
        let a: &[R32] = if let WgmmaA::Regs(regs) = &self.a { regs } else { &[] };
        a.iter().copied().chain(self.sparse.map(|[metadata, _]| metadata))
    }

    /// Pieces of 16 bytes of a column of B.
    pub fn chunks(&self) -> u32 {
        if self.sparse.is_some() { 4 } else { 2 }
    }
}
