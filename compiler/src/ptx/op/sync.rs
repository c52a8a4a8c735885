//! Synchronisation: barriers of the block, the warp and the cluster, fences, mbarriers.

use super::{Instruction, Mnemonic, OpKind};
use crate::ptx::operand::{Address, Dst, Operand, OperandVisitor, PredUse, RegId};
use crate::ptx::target::Requires;
use crate::ptx::types::{BoolOp, Scope, Semantics, Space, spelled};

/// What a named barrier does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BarOp {
    /// Arrive and wait.
    Sync,
    /// Arrive only.
    Arrive,
    /// Arrive, wait and combine a predicate of all threads (`and`, `or`) into `dst`.
    Reduce {
        /// `And` or `Or`.
        op: BoolOp,
        /// A predicate.
        dst: RegId,
        /// Each thread's contribution.
        src: PredUse,
    },
    /// Arrive, wait and count the threads whose predicate holds.
    Popc {
        /// 32 bits.
        dst: RegId,
        /// Each thread's contribution.
        src: PredUse,
    },
}

/// `bar.sync 0;` (which is `barrier.sync.aligned`) or, not aligned, `barrier.sync 0;`
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// What.
    pub op: BarOp,
    /// All threads of the warp execute it together.
    pub aligned: bool,
    /// Barrier number, 0..15.
    pub id: Operand,
    /// Number of threads that take part, a multiple of 32; absent: all of the block.
    pub threads: Option<Operand>,
}

/// `bar.warp.sync mask;`
#[derive(Clone, Debug, PartialEq)]
pub struct BarWarp {
    /// Lanes that take part.
    pub mask: Operand,
}

/// `barrier.cluster.arrive…` and `barrier.cluster.wait…`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierCluster {
    /// `wait` instead of `arrive`.
    pub wait: bool,
    /// `Weak`: not written, which is release on arrive and acquire on wait; `Relaxed` on arrive.
    pub sem: Semantics,
    /// All threads of the warp execute it together.
    pub aligned: bool,
}

spelled! {
    /// The order of a thread fence.
    FenceSem { Sc = "sc", AcqRel = "acq_rel", Acquire = "acquire", Release = "release" }
}

spelled! {
    /// Proxies that a proxy fence orders with the generic one.
    FenceProxy {
        Alias = "alias", Async = "async", AsyncGlobal = "async.global", AsyncShared = "async.shared::cta",
        AsyncSharedCluster = "async.shared::cluster",
    }
}

/// A fence.
#[derive(Clone, Debug, PartialEq)]
pub enum Fence {
    /// `fence.acq_rel.gpu;`
    Thread(FenceSem, Scope),
    /// `membar.gl;`: `fence.sc` of the same reach. `Gpu` prints as `gl`.
    Membar(Scope),
    /// `fence.proxy.async;`
    Proxy(FenceProxy),
    /// `fence.mbarrier_init.release.cluster;`
    MbarrierInit,
    /// `fence.proxy.tensormap::generic.release.gpu;`
    TensormapRelease(Scope),
    /// `fence.proxy.tensormap::generic.acquire.gpu [a], 128;`
    TensormapAcquire(Scope, Address),
}

/// `mbarrier.init.shared.b64 [a], count;`
#[derive(Clone, Debug, PartialEq)]
pub struct MbarrierInit {
    /// Shared or generic.
    pub space: Space,
    /// The mbarrier.
    pub addr: Address,
    /// Expected arrivals.
    pub count: Operand,
}

/// `mbarrier.inval.shared.b64 [a];`
#[derive(Clone, Debug, PartialEq)]
pub struct MbarrierInval {
    /// Shared or generic.
    pub space: Space,
    /// The mbarrier.
    pub addr: Address,
}

/// What an arrival does beside arriving.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrive {
    /// One arrival, or as many as the operand says.
    Count(Option<Operand>),
    /// `.expect_tx`: raises the transaction count by this many bytes, then arrives once.
    ExpectTx(Operand),
    /// `.noComplete`: must not be the last arrival of the phase.
    NoComplete(Operand),
}

/// `mbarrier.arrive…` and `mbarrier.arrive_drop…`
#[derive(Clone, Debug, PartialEq)]
pub struct MbarrierArrive {
    /// Also lowers the expected count of later phases.
    pub drop: bool,
    /// What else.
    pub arrive: Arrive,
    /// Ordering; `Weak`: not written, which is release.
    pub sem: Semantics,
    /// Scope; absent: cta.
    pub scope: Option<Scope>,
    /// `Shared`, `SharedCluster` (a remote mbarrier) or generic.
    pub space: Space,
    /// The phase token, `_`, or nothing written (only on `.shared::cluster`).
    pub state: Option<Dst>,
    /// The mbarrier.
    pub addr: Address,
}

/// `mbarrier.expect_tx…` and `mbarrier.complete_tx…`
#[derive(Clone, Debug, PartialEq)]
pub struct MbarrierTx {
    /// `complete_tx` instead of `expect_tx`.
    pub complete: bool,
    /// `Relaxed` or not written.
    pub sem: Semantics,
    /// Scope.
    pub scope: Option<Scope>,
    /// `Shared` or `SharedCluster`.
    pub space: Space,
    /// The mbarrier.
    pub addr: Address,
    /// Bytes.
    pub bytes: Operand,
}

/// `mbarrier.test_wait{.parity}…` and `mbarrier.try_wait{.parity}…`
#[derive(Clone, Debug, PartialEq)]
pub struct MbarrierWait {
    /// May suspend the thread (`try_wait`).
    pub suspend: bool,
    /// `phase` is a parity instead of a token.
    pub parity: bool,
    /// Ordering; `Weak`: not written, which is acquire.
    pub sem: Semantics,
    /// Scope; absent: cta.
    pub scope: Option<Scope>,
    /// Shared or generic.
    pub space: Space,
    /// A predicate: whether the phase is complete.
    pub dst: RegId,
    /// The mbarrier.
    pub addr: Address,
    /// Token or parity.
    pub phase: Operand,
    /// Suspend time hint in nanoseconds.
    pub hint: Option<Operand>,
}

/// `mbarrier.pending_count.b64 d, state;`
#[derive(Clone, Debug, PartialEq)]
pub struct MbarrierPending {
    /// 32 bits.
    pub dst: RegId,
    /// A phase token.
    pub state: RegId,
}

impl Bar {
    /// `bar.sync id;` of the whole block.
    pub fn sync(id: impl Into<Operand>) -> Bar {
        Bar { op: BarOp::Sync, aligned: true, id: id.into(), threads: None }
    }
}

impl Instruction for Bar {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        // `bar` is `barrier` with `.aligned` understood.
        m.op(if self.aligned { "bar" } else { "barrier" });
        match self.op {
            BarOp::Sync => m.op(".sync"),
            BarOp::Arrive => m.op(".arrive"),
            BarOp::Reduce { op, .. } => m.op(".red").m(op).op(".pred"),
            BarOp::Popc { .. } => m.op(".red.popc.u32"),
        };
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        if let BarOp::Reduce { dst, .. } | BarOp::Popc { dst, .. } = self.op {
            v.def(dst);
        }
        v.value(&self.id);
        if let Some(threads) = &self.threads {
            v.value(threads);
        }
        if let BarOp::Reduce { src, .. } | BarOp::Popc { src, .. } = self.op {
            v.pred(src);
        }
    }
    fn kind(&self) -> OpKind {
        OpKind::Sync
    }
}

impl Instruction for BarWarp {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("bar.warp.sync");
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.value(&self.mask);
    }
    fn kind(&self) -> OpKind {
        OpKind::Sync
    }
}

impl Instruction for BarrierCluster {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("barrier.cluster")
            .op(if self.wait { ".wait" } else { ".arrive" })
            .m(self.sem)
            .flag(self.aligned, ".aligned");
    }
    fn operands(&self, _v: &mut dyn OperandVisitor) {}
    fn requires(&self) -> Requires {
        Requires::new(7, 8, 90).and(Requires::new(8, 0, 90).when(self.sem != Semantics::Weak))
    }
    fn kind(&self) -> OpKind {
        OpKind::Sync
    }
}

impl Instruction for Fence {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        match self {
            Fence::Thread(sem, scope) => m.op("fence").m(*sem).m(*scope),
            Fence::Membar(Scope::Gpu) => m.op("membar.gl"),
            Fence::Membar(scope) => m.op("membar").m(*scope),
            Fence::Proxy(proxy) => m.op("fence.proxy").m(*proxy),
            Fence::MbarrierInit => m.op("fence.mbarrier_init.release.cluster"),
            Fence::TensormapRelease(scope) => m.op("fence.proxy.tensormap::generic.release").m(*scope),
            Fence::TensormapAcquire(scope, _) => m.op("fence.proxy.tensormap::generic.acquire").m(*scope),
        };
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        if let Fence::TensormapAcquire(_, addr) = self {
            v.address(addr);
            v.constant(&Operand::from(128));
        }
    }
    fn requires(&self) -> Requires {
        match self {
            Fence::Thread(sem, scope) => Requires::new(7, 8, 90)
                .when(*scope == Scope::Cluster)
                .and(Requires::new(8, 6, 90).when(matches!(sem, FenceSem::Acquire | FenceSem::Release))),
            Fence::Membar(_) => Requires::BASE,
            Fence::Proxy(FenceProxy::Alias) => Requires::new(7, 5, 75),
            Fence::Proxy(_) | Fence::MbarrierInit => Requires::new(8, 0, 90),
            Fence::TensormapRelease(_) | Fence::TensormapAcquire(..) => Requires::new(8, 3, 90),
        }
    }
    fn kind(&self) -> OpKind {
        OpKind::Sync
    }
}

impl Instruction for MbarrierInit {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("mbarrier.init").m(self.space).op(".b64");
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.address(&self.addr);
        v.value(&self.count);
    }
    fn requires(&self) -> Requires {
        Requires::new(7, 0, 80)
    }
    fn kind(&self) -> OpKind {
        OpKind::Sync
    }
}

impl Instruction for MbarrierInval {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("mbarrier.inval").m(self.space).op(".b64");
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.address(&self.addr);
    }
    fn requires(&self) -> Requires {
        Requires::new(7, 0, 80)
    }
    fn kind(&self) -> OpKind {
        OpKind::Sync
    }
}

impl Instruction for MbarrierArrive {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op(if self.drop { "mbarrier.arrive_drop" } else { "mbarrier.arrive" });
        m.op(match self.arrive {
            Arrive::Count(_) => "",
            Arrive::ExpectTx(_) => ".expect_tx",
            Arrive::NoComplete(_) => ".noComplete",
        });
        m.m(self.sem).opt(self.scope).m(self.space).op(".b64");
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        if let Some(state) = self.state {
            v.dst(state);
        }
        v.address(&self.addr);
        match &self.arrive {
            Arrive::Count(None) => {}
            Arrive::Count(Some(count)) | Arrive::ExpectTx(count) | Arrive::NoComplete(count) => {
                v.value(count)
            }
        }
    }
    fn requires(&self) -> Requires {
        Requires::new(7, 0, 80)
            .and(Requires::new(7, 1, 80).when(self.state == Some(Dst::Sink)))
            .and(Requires::new(7, 8, 80).when(matches!(self.arrive, Arrive::Count(Some(_)))))
            // A count without a token to give back: ptxas asks for sm_90.
            .and(
                Requires::new(7, 8, 90)
                    .when(matches!((self.arrive, self.state), (Arrive::Count(Some(_)), Some(Dst::Sink)))),
            )
            .and(Requires::new(8, 0, 90).when(
                matches!(self.arrive, Arrive::ExpectTx(_))
                    || self.space == Space::SharedCluster
                    || self.sem != Semantics::Weak
                    || self.scope.is_some(),
            ))
    }
    fn kind(&self) -> OpKind {
        OpKind::Sync
    }
}

impl Instruction for MbarrierTx {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op(if self.complete { "mbarrier.complete_tx" } else { "mbarrier.expect_tx" });
        m.m(self.sem).opt(self.scope).m(self.space).op(".b64");
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.address(&self.addr);
        v.value(&self.bytes);
    }
    fn requires(&self) -> Requires {
        Requires::new(8, 0, 90)
    }
    fn kind(&self) -> OpKind {
        OpKind::Sync
    }
}

impl Instruction for MbarrierWait {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op(if self.suspend { "mbarrier.try_wait" } else { "mbarrier.test_wait" });
        m.flag(self.parity, ".parity").m(self.sem).opt(self.scope).m(self.space).op(".b64");
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.address(&self.addr);
        v.value(&self.phase);
        if let Some(hint) = &self.hint {
            v.value(hint);
        }
    }
    fn requires(&self) -> Requires {
        Requires::new(7, 0, 80)
            .and(Requires::new(7, 1, 80).when(self.parity))
            .and(Requires::new(7, 8, 90).when(self.suspend))
            .and(Requires::new(8, 0, 90).when(self.sem != Semantics::Weak || self.scope.is_some()))
    }
    fn kind(&self) -> OpKind {
        OpKind::Sync
    }
}

impl Instruction for MbarrierPending {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("mbarrier.pending_count.b64");
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.reg(self.state);
    }
    fn requires(&self) -> Requires {
        Requires::new(7, 0, 80)
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}
