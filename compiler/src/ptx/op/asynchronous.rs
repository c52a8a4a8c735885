//! Asynchronous copies: `cp.async` (per thread), `cp.async.bulk` and tensor copies (per block or cluster), tensor maps.

use super::{Instruction, Mnemonic, OpKind};
use crate::ptx::operand::{Address, Operand, OperandVisitor, RegId};
use crate::ptx::target::Requires;
use crate::ptx::types::{CacheOp, L2Prefetch, Scope, Space, Type, spelled};

/// How many source bytes a `cp.async` reads; the rest of `size` is filled with zeros.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CpAsyncSource {
    /// All of it.
    Full,
    /// This many bytes, in a register or literal; 0 reads nothing.
    Bytes(Operand),
    /// All, or nothing where the predicate holds (PTX 7.5).
    IgnoreIf(RegId),
}

/// `cp.async.cg.shared.global [d], [s], 16{, src};`
#[derive(Clone, Debug, PartialEq)]
pub struct CpAsync {
    /// `Ca` (4, 8, 16 bytes) or `Cg` (16 bytes).
    pub cache: CacheOp,
    /// Prefetch hint.
    pub prefetch: L2Prefetch,
    /// Bytes written: 4, 8 or 16.
    pub size: u8,
    /// Shared.
    pub dst: Address,
    /// Global.
    pub src: Address,
    /// How much is read.
    pub source: CpAsyncSource,
    /// `.L2::cache_hint` policy.
    pub policy: Option<RegId>,
}

/// Grouping of `cp.async`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpAsyncGroup {
    /// `cp.async.commit_group;`
    Commit,
    /// `cp.async.wait_group n;`: at most the `n` newest groups stay pending.
    Wait(u32),
    /// `cp.async.wait_all;`
    WaitAll,
}

/// `cp.async.mbarrier.arrive{.noinc}.shared.b64 [a];`
#[derive(Clone, Debug, PartialEq)]
pub struct CpAsyncMbarrier {
    /// The arrival is already in the expected count.
    pub noinc: bool,
    /// Shared or generic.
    pub space: Space,
    /// The mbarrier.
    pub addr: Address,
}

/// The shared window that a bulk copy names: here `.shared::cta` and `.shared::cluster` differ in what they need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BulkShared {
    /// `.shared::cta` (PTX 8.6 as a destination).
    Cta,
    /// `.shared::cluster`.
    Cluster,
}

spelled! {
    /// Reductions of `cp.reduce.async.bulk`.
    BulkReduce { Add = "add", Min = "min", Max = "max", Inc = "inc", Dec = "dec", And = "and", Or = "or", Xor = "xor" }
}

/// Where a bulk copy goes and what says that it is done.
#[derive(Clone, Debug, PartialEq)]
pub enum BulkRoute {
    /// Global to shared, `complete_tx` on an mbarrier; to every block of `multicast` at the same offset.
    Load {
        /// Destination window.
        to: BulkShared,
        /// The mbarrier.
        mbar: Address,
        /// 16-bit mask of cluster ranks.
        multicast: Option<Operand>,
    },
    /// This block's shared memory to another block's, `complete_tx` on an mbarrier beside the destination.
    Cluster {
        /// The mbarrier.
        mbar: Address,
    },
    /// Shared to global, `bulk_group`.
    Store,
}

/// `cp.async.bulk…` and `cp.reduce.async.bulk…` of plain bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct CpBulk {
    /// Where it goes.
    pub route: BulkRoute,
    /// Combine instead of overwrite, with the element type; `.noftz` is implied for half types where the ISA asks for it.
    pub reduce: Option<(BulkReduce, Type)>,
    /// Destination.
    pub dst: Address,
    /// Source.
    pub src: Address,
    /// Bytes, a multiple of 16.
    pub size: Operand,
    /// `.L2::cache_hint` policy.
    pub policy: Option<RegId>,
}

/// Which elements of a tensor a box means.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorMode {
    /// A box.
    Tile,
    /// Convolution windows, with offsets for loads.
    Im2col(Box<[Operand]>),
    /// `im2col_no_offs` (stores).
    Im2colNoOffsets,
}

/// Direction of a tensor copy.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorRoute {
    /// Global to shared.
    Load {
        /// Destination window.
        to: BulkShared,
        /// Destination.
        dst: Address,
        /// The mbarrier that gets `complete_tx`.
        mbar: Address,
        /// 16-bit mask of cluster ranks.
        multicast: Option<Operand>,
    },
    /// Shared to global, `bulk_group`.
    Store {
        /// Source.
        src: Address,
        /// Combine instead of overwrite.
        reduce: Option<BulkReduce>,
    },
    /// Into L2.
    Prefetch,
}

/// `cp.async.bulk.tensor.2d…`, `cp.reduce.async.bulk.tensor…`, `cp.async.bulk.prefetch.tensor…`.
#[derive(Clone, Debug, PartialEq)]
pub struct CpBulkTensor {
    /// Direction.
    pub route: TensorRoute,
    /// Mode.
    pub mode: TensorMode,
    /// Address of the 128-byte tensor map.
    pub map: Address,
    /// 1 to 5 coordinates, innermost first.
    pub coords: Box<[Operand]>,
    /// `.L2::cache_hint` policy.
    pub policy: Option<RegId>,
}

/// `cp.async.bulk.prefetch.L2.global [a], size;`
#[derive(Clone, Debug, PartialEq)]
pub struct CpBulkPrefetch {
    /// From.
    pub src: Address,
    /// Bytes.
    pub size: Operand,
    /// `.L2::cache_hint` policy.
    pub policy: Option<RegId>,
}

/// Grouping of bulk stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpBulkGroup {
    /// `cp.async.bulk.commit_group;`
    Commit,
    /// `cp.async.bulk.wait_group{.read} n;`
    Wait {
        /// At most this many newest groups stay pending.
        pending: u32,
        /// Only the reads of the source need to be done.
        read: bool,
    },
}

spelled! {
    /// Fields of a tensor map.
    TensormapField {
        GlobalAddress = "global_address", Rank = "rank", BoxDim = "box_dim", GlobalDim = "global_dim", GlobalStride = "global_stride",
        ElementStride = "element_stride", Elemtype = "elemtype", InterleaveLayout = "interleave_layout", SwizzleMode = "swizzle_mode",
        FillMode = "fill_mode",
    }
}

/// `tensormap.replace.tile.field.space.b1024.ty [a]{, ord}, value;`
#[derive(Clone, Debug, PartialEq)]
pub struct TensormapReplace {
    /// Which field.
    pub field: TensormapField,
    /// `Global`, `Shared` or generic.
    pub space: Space,
    /// `b32` or `b64`.
    pub ty: Type,
    /// The map.
    pub addr: Address,
    /// Which dimension, for the fields that have several.
    pub ord: Option<Operand>,
    /// The new value.
    pub value: Operand,
}

/// `tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release.scope.sync.aligned [d], [s], 128;`
#[derive(Clone, Debug, PartialEq)]
pub struct TensormapFence {
    /// Released to.
    pub scope: Scope,
    /// Global.
    pub dst: Address,
    /// Shared.
    pub src: Address,
}

impl CpAsync {
    /// A full copy of `size` bytes, `cg` where the size is 16 and `ca` otherwise.
    pub fn new(size: u8, dst: Address, src: Address) -> CpAsync {
        let cache = if size == 16 { CacheOp::Cg } else { CacheOp::Ca };
        CpAsync {
            cache,
            prefetch: L2Prefetch::None,
            size,
            dst,
            src,
            source: CpAsyncSource::Full,
            policy: None,
        }
    }
}

impl Instruction for CpAsync {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("cp.async")
            .m(self.cache)
            .op(".shared.global")
            .flag(self.policy.is_some(), ".L2::cache_hint")
            .m(self.prefetch);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.address(&self.dst);
        v.address(&self.src);
        v.constant(&Operand::from(i32::from(self.size)));
        match &self.source {
            CpAsyncSource::Full => {}
            CpAsyncSource::Bytes(bytes) => v.value(bytes),
            CpAsyncSource::IgnoreIf(pred) => v.reg(*pred),
        }
        if let Some(policy) = self.policy {
            v.reg(policy);
        }
    }
    fn requires(&self) -> Requires {
        Requires::new(7, 0, 80)
            .and(Requires::new(7, 4, 80).when(self.policy.is_some() || self.prefetch != L2Prefetch::None))
            .and(Requires::new(7, 5, 80).when(matches!(self.source, CpAsyncSource::IgnoreIf(_))))
    }
    fn kind(&self) -> OpKind {
        OpKind::Async
    }
}

impl Instruction for CpAsyncGroup {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op(match self {
            CpAsyncGroup::Commit => "cp.async.commit_group",
            CpAsyncGroup::Wait(_) => "cp.async.wait_group",
            CpAsyncGroup::WaitAll => "cp.async.wait_all",
        });
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        if let CpAsyncGroup::Wait(pending) = self {
            v.constant(&Operand::from(*pending));
        }
    }
    fn requires(&self) -> Requires {
        Requires::new(7, 0, 80)
    }
    fn kind(&self) -> OpKind {
        OpKind::Async
    }
}

impl Instruction for CpAsyncMbarrier {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("cp.async.mbarrier.arrive").flag(self.noinc, ".noinc").m(self.space).op(".b64");
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.address(&self.addr);
    }
    fn requires(&self) -> Requires {
        Requires::new(7, 0, 80)
    }
    fn kind(&self) -> OpKind {
        OpKind::Async
    }
}

impl BulkShared {
    fn text(self) -> &'static str {
        match self {
            BulkShared::Cta => ".shared::cta",
            BulkShared::Cluster => ".shared::cluster",
        }
    }

    fn destination_requires(self) -> Requires {
        Requires::new(8, 6, 90).when(self == BulkShared::Cta).and(Requires::new(8, 0, 90))
    }
}

const COMPLETE_TX: &str = ".mbarrier::complete_tx::bytes";

impl Instruction for CpBulk {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op(if self.reduce.is_some() { "cp.reduce.async.bulk" } else { "cp.async.bulk" });
        let mut multicast = false;
        match &self.route {
            BulkRoute::Load { to, multicast: mask, .. } => {
                m.op(to.text()).op(".global").op(COMPLETE_TX);
                multicast = mask.is_some();
            }
            BulkRoute::Cluster { .. } => {
                m.op(".shared::cluster.shared::cta").op(COMPLETE_TX);
            }
            BulkRoute::Store => {
                m.op(".global.shared::cta.bulk_group");
            }
        }
        m.flag(multicast, ".multicast::cluster").flag(self.policy.is_some(), ".L2::cache_hint");
        if let Some((op, ty)) = self.reduce {
            m.m(op).flag(op == BulkReduce::Add && matches!(ty, Type::F16 | Type::Bf16), ".noftz").m(ty);
        }
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.address(&self.dst);
        v.address(&self.src);
        v.value(&self.size);
        match &self.route {
            BulkRoute::Load { mbar, multicast, .. } => {
                v.address(mbar);
                if let Some(mask) = multicast {
                    v.value(mask);
                }
            }
            BulkRoute::Cluster { mbar } => v.address(mbar),
            BulkRoute::Store => {}
        }
        if let Some(policy) = self.policy {
            v.reg(policy);
        }
    }
    fn requires(&self) -> Requires {
        match &self.route {
            BulkRoute::Load { to, .. } => to.destination_requires(),
            _ => Requires::new(8, 0, 90),
        }
    }
    fn kind(&self) -> OpKind {
        OpKind::Async
    }
}

impl Instruction for CpBulkTensor {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op(match &self.route {
            TensorRoute::Prefetch => "cp.async.bulk.prefetch.tensor",
            TensorRoute::Store { reduce: Some(_), .. } => "cp.reduce.async.bulk.tensor",
            _ => "cp.async.bulk.tensor",
        });
        m.op(["", ".1d", ".2d", ".3d", ".4d", ".5d"].get(self.coords.len()).copied().unwrap_or(".5d"));
        let mut multicast = false;
        let mut completion = "";
        match &self.route {
            TensorRoute::Load { to, multicast: mask, .. } => {
                m.op(to.text()).op(".global");
                multicast = mask.is_some();
                completion = COMPLETE_TX;
            }
            TensorRoute::Store { reduce, .. } => {
                m.op(".global.shared::cta").opt(*reduce);
                completion = ".bulk_group";
            }
            TensorRoute::Prefetch => {
                m.op(".L2.global");
            }
        }
        m.op(match &self.mode {
            TensorMode::Tile => "",
            TensorMode::Im2col(_) => ".im2col",
            TensorMode::Im2colNoOffsets => ".im2col_no_offs",
        });
        m.op(completion)
            .flag(multicast, ".multicast::cluster")
            .flag(self.policy.is_some(), ".L2::cache_hint");
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        if let TensorRoute::Load { dst, .. } = &self.route {
            v.address(dst);
        }
        v.tensor(&self.map, &self.coords);
        match &self.route {
            TensorRoute::Load { mbar, .. } => v.address(mbar),
            TensorRoute::Store { src, .. } => v.address(src),
            TensorRoute::Prefetch => {}
        }
        if let TensorMode::Im2col(offsets) = &self.mode {
            v.values(offsets);
        }
        if let TensorRoute::Load { multicast: Some(mask), .. } = &self.route {
            v.value(mask);
        }
        if let Some(policy) = self.policy {
            v.reg(policy);
        }
    }
    fn requires(&self) -> Requires {
        match &self.route {
            TensorRoute::Load { to, .. } => to.destination_requires(),
            _ => Requires::new(8, 0, 90),
        }
    }
    fn kind(&self) -> OpKind {
        OpKind::Async
    }
}

impl Instruction for CpBulkPrefetch {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("cp.async.bulk.prefetch.L2.global").flag(self.policy.is_some(), ".L2::cache_hint");
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.address(&self.src);
        v.value(&self.size);
        if let Some(policy) = self.policy {
            v.reg(policy);
        }
    }
    fn requires(&self) -> Requires {
        Requires::new(8, 0, 90)
    }
    fn kind(&self) -> OpKind {
        OpKind::Async
    }
}

impl Instruction for CpBulkGroup {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        match self {
            CpBulkGroup::Commit => m.op("cp.async.bulk.commit_group"),
            CpBulkGroup::Wait { read, .. } => m.op("cp.async.bulk.wait_group").flag(*read, ".read"),
        };
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        if let CpBulkGroup::Wait { pending, .. } = self {
            v.constant(&Operand::from(*pending));
        }
    }
    fn requires(&self) -> Requires {
        Requires::new(8, 0, 90)
    }
    fn kind(&self) -> OpKind {
        OpKind::Async
    }
}

impl Instruction for TensormapReplace {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("tensormap.replace.tile").m(self.field);
        match self.space {
            Space::Shared => m.op(".shared::cta"),
            space => m.m(space),
        };
        m.op(".b1024").m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.address(&self.addr);
        if let Some(ord) = &self.ord {
            v.value(ord);
        }
        v.value(&self.value);
    }
    fn requires(&self) -> Requires {
        Requires::arch(8, 3, 90)
    }
    fn kind(&self) -> OpKind {
        OpKind::Memory
    }
}

impl Instruction for TensormapFence {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release")
            .m(self.scope)
            .op(".sync.aligned");
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.address(&self.dst);
        v.address(&self.src);
        v.constant(&Operand::from(128));
    }
    fn requires(&self) -> Requires {
        Requires::new(8, 3, 90)
    }
    fn kind(&self) -> OpKind {
        OpKind::Sync
    }
}
