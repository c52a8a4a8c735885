//! Instructions of sm_90: mbarriers, bulk copies, tensor maps, `wgmma`, clusters.

use tilewright_compiler::ptx::{Operand, Scope, Semantics, Space, Type, op};

use super::super::frame::R32;
use super::super::launch::ExecError;
use super::super::matrix::{self, MmaSum};
use super::super::memory::{SHARED_BASE, SHARED_RANK_BITS};
use super::super::program::{
    Bulk, BulkOp, BulkRoute, BulkType, CellInit, IntBin, IntCmp, LaneOp, MapField, MapReplace, MbarArrive,
    MbarPhase, MbarTx, MbarWait, Shift, StepKind, StoreAsync, TensorCopy, TensorRoute, Val32, Val64, ValP,
    Wgmma, WgmmaA,
};
use super::emit::Decoder;
use super::warp::{mma_input, mma_sum};

type Result<T = ()> = std::result::Result<T, ExecError>;

fn bulk_op(op: op::BulkReduce) -> BulkOp {
    match op {
        op::BulkReduce::Add => BulkOp::Add,
        op::BulkReduce::Min => BulkOp::Min,
        op::BulkReduce::Max => BulkOp::Max,
        op::BulkReduce::Inc => BulkOp::Inc,
        op::BulkReduce::Dec => BulkOp::Dec,
        op::BulkReduce::And => BulkOp::And,
        op::BulkReduce::Or => BulkOp::Or,
        op::BulkReduce::Xor => BulkOp::Xor,
    }
}

/// Bits of the rank in a shared address.
const RANK: u64 = 0xff << SHARED_RANK_BITS;

impl Decoder<'_> {
    pub(super) fn mbarrier_init(&mut self, op: &op::MbarrierInit) -> Result {
        let (addr, count) = (self.addr(&op.addr)?, self.v32(&op.count, Type::U32)?);
        self.step(StepKind::MbarInit { addr, space: self.space(op.space), count });
        Ok(())
    }

    pub(super) fn mbarrier_inval(&mut self, op: &op::MbarrierInval) -> Result {
        let addr = self.addr(&op.addr)?;
        self.step(StepKind::MbarInval { addr, space: self.space(op.space) });
        Ok(())
    }

    pub(super) fn mbarrier_arrive(&mut self, op: &op::MbarrierArrive) -> Result {
        let (count, expect) = match &op.arrive {
            op::Arrive::Count(None) => (Val32::Imm(1), None),
            op::Arrive::Count(Some(count)) | op::Arrive::NoComplete(count) => {
                (self.v32(count, Type::U32)?, None)
            }
            op::Arrive::ExpectTx(bytes) => (Val32::Imm(1), Some(self.v32(bytes, Type::U32)?)),
        };
        let token = op.state.and_then(|state| state.reg()).map(|reg| self.d64(reg)).transpose()?;
        let addr = self.addr(&op.addr)?;
        let space = self.space(op.space);
        let relaxed = op.sem == Semantics::Relaxed;
        let arrive = MbarArrive { addr, space, count, expect, relaxed, drop: op.drop, token };
        self.step(StepKind::MbarArrive(arrive));
        Ok(())
    }

    pub(super) fn mbarrier_tx(&mut self, op: &op::MbarrierTx) -> Result {
        let (addr, bytes) = (self.addr(&op.addr)?, self.v32(&op.bytes, Type::U32)?);
        let space = self.space(op.space);
        self.step(StepKind::MbarTx(MbarTx { complete: op.complete, addr, space, bytes }));
        Ok(())
    }

    pub(super) fn mbarrier_wait(&mut self, op: &op::MbarrierWait) -> Result {
        let phase = if op.parity {
            MbarPhase::Parity(self.v32(&op.phase, Type::U32)?)
        } else {
            MbarPhase::Token(self.v64(&op.phase, Type::B64)?)
        };
        let (d, addr) = (self.dp(op.dst)?, self.addr(&op.addr)?);
        self.step(StepKind::MbarWait(MbarWait {
            suspend: op.suspend,
            relaxed: op.sem == Semantics::Relaxed,
            d,
            addr,
            space: self.space(op.space),
            phase,
        }));
        Ok(())
    }

    /// The token's lower half is the pending count.
    pub(super) fn mbarrier_pending(&mut self, op: &op::MbarrierPending) -> Result {
        let (d, a) = (self.d32(op.dst)?, Val64::Reg(self.d64(op.state)?));
        self.lane(LaneOp::Low { d, a });
        Ok(())
    }

    pub(super) fn cp_async_mbarrier(&mut self, op: &op::CpAsyncMbarrier) -> Result {
        let addr = self.addr(&op.addr)?;
        self.step(StepKind::CpAsyncArrive { addr, space: self.space(op.space), noinc: op.noinc });
        Ok(())
    }

    fn multicast(&mut self, mask: Option<&Operand>) -> Result<Option<Val32>> {
        mask.map(|mask| self.v32(mask, Type::U16)).transpose()
    }

    fn bulk_reduction(&self, how: op::BulkReduce, ty: Type) -> Result<(BulkOp, BulkType)> {
        let ty = match ty {
            Type::F16 => BulkType::F16,
            Type::Bf16 => BulkType::Bf16,
            Type::F32 => BulkType::F32,
            Type::F64 => BulkType::F64,
            Type::U32 | Type::B32 => BulkType::U32,
            Type::S32 => BulkType::S32,
            Type::U64 | Type::B64 => BulkType::U64,
            Type::S64 => BulkType::S64,
            _ => return self.unsupported("a reduction of this type"),
        };
        Ok((bulk_op(how), ty))
    }

    pub(super) fn store_async(&mut self, op: &op::StoreAsync) -> Result {
        let reduce = op.reduce.map(|how| self.bulk_reduction(how, op.ty)).transpose()?;
        let regs = op.src.iter().map(|value| self.stored(value, op.ty)).collect::<Result<_>>()?;
        let (addr, mbar) = (self.addr(&op.addr)?, self.addr(&op.mbar)?);
        let bytes = op.ty.bytes() as u8;
        self.step(StepKind::StoreAsync(Box::new(StoreAsync { reduce, bytes, regs, addr, mbar })));
        Ok(())
    }

    pub(super) fn bulk(&mut self, op: &op::CpBulk) -> Result {
        let route = match &op.route {
            op::BulkRoute::Load { mbar, multicast, .. } => {
                BulkRoute::Load { mbar: self.addr(mbar)?, multicast: self.multicast(multicast.as_ref())? }
            }
            op::BulkRoute::Cluster { mbar } => BulkRoute::Peer { mbar: self.addr(mbar)? },
            op::BulkRoute::Store => BulkRoute::Store,
        };
        let reduce = op.reduce.map(|(how, ty)| self.bulk_reduction(how, ty)).transpose()?;
        if reduce.is_some() && matches!(route, BulkRoute::Load { .. }) {
            return self.invalid("a reduction goes to global memory or to another block");
        }
        let (dst, src) = (self.addr(&op.dst)?, self.addr(&op.src)?);
        let size = self.v32(&op.size, Type::U32)?;
        self.step(StepKind::Bulk(Box::new(Bulk { route, reduce, dst, src, size })));
        Ok(())
    }

    pub(super) fn bulk_tensor(&mut self, op: &op::CpBulkTensor) -> Result {
        let route = match &op.route {
            op::TensorRoute::Load { dst, mbar, multicast, .. } => TensorRoute::Load {
                dst: self.addr(dst)?,
                mbar: self.addr(mbar)?,
                multicast: self.multicast(multicast.as_ref())?,
            },
            op::TensorRoute::Store { src, reduce } => {
                TensorRoute::Store { src: self.addr(src)?, reduce: reduce.map(bulk_op) }
            }
            op::TensorRoute::Prefetch => TensorRoute::Prefetch,
        };
        let map = self.addr(&op.map)?;
        let coords = op.coords.iter().map(|c| self.v32(c, Type::S32)).collect::<Result<Box<[Val32]>>>()?;
        let window = match &op.mode {
            op::TensorMode::Tile => None,
            op::TensorMode::Im2colNoOffsets => Some(Box::from([])),
            op::TensorMode::Im2col(offsets) => {
                if offsets.len() + 2 != op.coords.len() {
                    return self
                        .invalid("there are as many offsets as dimensions, but for the first and last");
                }
                Some(offsets.iter().map(|c| self.v32(c, Type::U16)).collect::<Result<Box<[Val32]>>>()?)
            }
        };
        if window.is_some() && op.coords.len() < 3 {
            return self.invalid("im2col has 3 to 5 dimensions");
        }
        self.step(StepKind::Tensor(Box::new(TensorCopy { route, map, coords, window })));
        Ok(())
    }

    pub(super) fn bulk_group(&mut self, op: op::CpBulkGroup) -> Result {
        self.step(match op {
            op::CpBulkGroup::Commit => StepKind::BulkCommit,
            op::CpBulkGroup::Wait { pending, read } => StepKind::BulkWait { newest: pending, read },
        });
        Ok(())
    }

    pub(super) fn fence(&mut self, op: &op::Fence) -> Result {
        use op::{FenceProxy as P, FenceSem};
        let far = |scope: &Scope| *scope != Scope::Cta;
        self.step(match op {
            op::Fence::Proxy(P::Async) => StepKind::ProxyFence { shared: true, global: true },
            op::Fence::Proxy(P::AsyncShared | P::AsyncSharedCluster) => {
                StepKind::ProxyFence { shared: true, global: false }
            }
            op::Fence::Proxy(P::AsyncGlobal) => StepKind::ProxyFence { shared: false, global: true },
            op::Fence::Thread(sem, scope) => StepKind::MemoryFence {
                acquire: *sem != FenceSem::Release,
                release: *sem != FenceSem::Acquire,
                far: far(scope),
            },
            op::Fence::Membar(scope) | op::Fence::TensormapRelease(scope) => {
                StepKind::MemoryFence { acquire: true, release: true, far: far(scope) }
            }
            op::Fence::TensormapAcquire(..) => StepKind::MapFence,
            op::Fence::MbarrierInit => StepKind::InitFence,
            _ => StepKind::Nothing,
        });
        Ok(())
    }

    pub(super) fn setmaxnreg(&mut self, op: op::Setmaxnreg) -> Result {
        self.step(StepKind::SetMaxRegisters { dec: op.dec, registers: op.regs.into() });
        Ok(())
    }

    pub(super) fn tensormap_replace(&mut self, op: &op::TensormapReplace) -> Result {
        use op::TensormapField as F;
        let field = match op.field {
            F::GlobalAddress => MapField::Address,
            F::Rank => MapField::Rank,
            F::BoxDim => MapField::Box,
            F::GlobalDim => MapField::Dim,
            F::GlobalStride => MapField::Stride,
            F::ElementStride => MapField::ElementStride,
            F::Elemtype => MapField::Type,
            F::InterleaveLayout => MapField::Interleave,
            F::SwizzleMode => MapField::Swizzle,
            F::FillMode => MapField::Fill,
        };
        if field == MapField::Interleave
            && let Val32::Imm(1..) = self.v32(&op.value, Type::U32)?
        {
            return self.unsupported("interleaved tensor maps");
        }
        let ord = match &op.ord {
            Some(ord) => self.v32(ord, Type::U32)?,
            None => Val32::Imm(0),
        };
        let value = if op.ty.bits() == 64 {
            self.v64(&op.value, op.ty)?
        } else {
            let wide = self.t64();
            let a = self.v32(&op.value, op.ty)?;
            self.lane(LaneOp::Widen { signed: false, d: wide, a });
            Val64::Reg(wide)
        };
        let addr = self.addr(&op.addr)?;
        let replace = MapReplace { field, space: self.space(op.space), addr, ord, value };
        self.step(StepKind::MapReplace(Box::new(replace)));
        Ok(())
    }

    pub(super) fn tensormap_fence(&mut self, op: &op::TensormapFence) -> Result {
        let (dst, src) = (self.addr(&op.dst)?, self.addr(&op.src)?);
        self.step(StepKind::MapCopy { dst, src });
        Ok(())
    }

    pub(super) fn wgmma(&mut self, op: &op::Wgmma) -> Result {
        let (Some(a_type), Some(b_type)) = (mma_input(op.aty, None), mma_input(op.bty, None)) else {
            return self.unsupported("these operand types");
        };
        let sum = mma_sum(op.dty, op.satfinite);
        let (tile, fast, sparse) = match &op.sparse {
            None => (
                matrix::select(op.k.into(), a_type, b_type, sum),
                matrix::warpgroup(a_type, b_type, sum),
                None,
            ),
            Some(sparse) => {
                let found = matrix::sparse(op.k.into(), a_type, b_type, sum);
                if found.is_some_and(|(_, selectors)| sparse.selector >= selectors) {
                    return self.invalid("there is no such selector for this type");
                }
                let selector = R32(self.cell(CellInit::Const32(sparse.selector.into())));
                (found.map(|(f, _)| f), None, Some([self.d32(sparse.metadata)?, selector]))
            }
        };
        let Some(tile) = tile else {
            return self.unsupported("this combination of types and shape");
        };
        let per_tile = if sum == MmaSum::F16 { 2 } else { 4 };
        if op.d.len() * 8 != usize::from(op.n) * per_tile {
            return self.invalid("an accumulator of the wrong size");
        }
        let cells = |regs: &[_]| regs.iter().map(|&r| self.d32(r)).collect::<Result<Vec<R32>>>();
        let a = match &op.a {
            op::WgmmaA::Desc(r) => WgmmaA::Desc(self.d64(*r)?),
            op::WgmmaA::Regs(regs) => match <[R32; 4]>::try_from(cells(regs)?) {
                Ok(regs) => WgmmaA::Regs(regs),
                Err(_) => return self.invalid("A has four registers"),
            },
        };
        let (scale_a, scale_b) = op.scale.unwrap_or((1, 1));
        let d = cells(&op.d)?;
        let wgmma = Wgmma {
            contiguous: d.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0),
            tile,
            fast,
            sparse,
            n: op.n,
            per_tile: per_tile as u8,
            d: d.into(),
            a,
            b: self.d64(op.b)?,
            scale_d: self.vp(&op.scale_d)?,
            negate: scale_a * scale_b < 0,
            bits: op.aty.bits() as u8,
            trans_a: op.trans_a == Some(true),
            trans_b: op.trans_b == Some(true),
        };
        self.step(StepKind::Wgmma(Box::new(wgmma)));
        Ok(())
    }

    pub(super) fn wgmma_sync(&mut self, op: op::WgmmaSync) -> Result {
        self.step(match op {
            op::WgmmaSync::Fence => StepKind::WgmmaFence,
            op::WgmmaSync::Commit => StepKind::WgmmaCommit,
            op::WgmmaSync::Wait(n) => StepKind::WgmmaWait(n),
        });
        Ok(())
    }

    pub(super) fn barrier_cluster(&mut self, op: op::BarrierCluster) -> Result {
        let aligned = op.aligned;
        self.step(if op.wait {
            StepKind::ClusterWait { aligned }
        } else {
            StepKind::ClusterArrive { aligned, relaxed: op.sem == Semantics::Relaxed }
        });
        Ok(())
    }

    /// `(a & !rank) | (cta + 1) << 24`.
    pub(super) fn mapa(&mut self, op: &op::Mapa) -> Result {
        let cta = self.v32(&op.cta, Type::U32)?;
        let (next, high) = (self.t32(), self.t32());
        self.lane(LaneOp::Int32 { op: IntBin::Add, d: next, a: cta, b: Val32::Imm(1) });
        self.lane(LaneOp::Shift32 {
            op: Shift::Left,
            d: high,
            a: Val32::Reg(next),
            by: SHARED_RANK_BITS as u8,
        });
        if op.ty.bits() == 32 {
            let (a, low) = (self.v32(&op.src, op.ty)?, self.t32());
            self.lane(LaneOp::Int32 { op: IntBin::And, d: low, a, b: Val32::Imm(!(RANK as u32)) });
            let d = self.d32(op.dst)?;
            self.lane(LaneOp::Int32 { op: IntBin::Or, d, a: Val32::Reg(low), b: Val32::Reg(high) });
            return Ok(());
        }
        let (mut a, low, wide) = (self.v64(&op.src, op.ty)?, self.t64(), self.t64());
        if let (Operand::Sym(..), Space::Generic, Val64::Imm(at)) = (&op.src, op.space, a) {
            a = Val64::Imm(at + SHARED_BASE);
        }
        self.lane(LaneOp::Int64 { op: IntBin::And, d: low, a, b: Val64::Imm(!RANK) });
        self.lane(LaneOp::Widen { signed: false, d: wide, a: Val32::Reg(high) });
        let d = self.d64(op.dst)?;
        self.lane(LaneOp::Int64 { op: IntBin::Or, d, a: Val64::Reg(low), b: Val64::Reg(wide) });
        Ok(())
    }

    /// The rank in the address, or one's own.
    pub(super) fn getctarank(&mut self, op: &op::GetCtaRank) -> Result {
        let low = if op.ty.bits() == 32 {
            self.v32(&op.src, op.ty)?
        } else {
            let (a, low) = (self.v64(&op.src, op.ty)?, self.t32());
            self.lane(LaneOp::Low { d: low, a });
            Val32::Reg(low)
        };
        let (rank, less, p) = (self.t32(), self.t32(), self.tp());
        self.lane(LaneOp::Shift32 { op: Shift::RightU, d: rank, a: low, by: SHARED_RANK_BITS as u8 });
        self.lane(LaneOp::Cmp32 { cmp: IntCmp::Eq, d: p, a: Val32::Reg(rank), b: Val32::Imm(0) });
        self.lane(LaneOp::Int32 { op: IntBin::Sub, d: less, a: Val32::Reg(rank), b: Val32::Imm(1) });
        let own = R32(self.cell(CellInit::ClusterRank));
        let d = self.d32(op.dst)?;
        self.lane(LaneOp::Select32 { d, p: ValP::Reg(p), a: Val32::Reg(own), b: Val32::Reg(less) });
        Ok(())
    }

    /// Windows of generic addresses are told apart by their upper half.
    pub(super) fn isspacep(&mut self, op: &op::IsSpace) -> Result {
        let number = match op.space {
            Space::Shared | Space::SharedCluster => 1,
            Space::Local => 2,
            Space::Param => 3,
            Space::Const => 4,
            Space::Global => 5,
            Space::Generic => return self.invalid("a space is expected"),
        };
        let (d, a, high) = (self.dp(op.dst)?, Val64::Reg(self.d64(op.src)?), self.t32());
        if op.space == Space::Shared {
            // One's own shared memory has no rank.
            let window = self.t64();
            self.lane(LaneOp::Shift64 { op: Shift::RightU, d: window, a, by: SHARED_RANK_BITS as u8 });
            let number = Val64::Imm(SHARED_BASE >> SHARED_RANK_BITS);
            self.lane(LaneOp::Cmp64 { cmp: IntCmp::Eq, d, a: Val64::Reg(window), b: number });
            return Ok(());
        }
        self.lane(LaneOp::High { d: high, a });
        let cmp = if number == 5 { IntCmp::GeU } else { IntCmp::Eq };
        self.lane(LaneOp::Cmp32 { cmp, d, a: Val32::Reg(high), b: Val32::Imm(number) });
        Ok(())
    }
}
