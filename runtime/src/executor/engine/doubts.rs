//! Loads of shared memory that nobody wrote, and whether anything depends on them.
//!
//! To copy what nobody wrote is no fault: a merge reads one element beyond its run, and then does not look at it. So a plain load of such bytes
//! reports nothing at first. Instead the warp gets *twins*: copies of its registers in which those bytes have other values. Whatever the warp
//! computes, its twins compute too, by the same compiled code. Where a twin has something else in what leaves the registers or decides where
//! the warp goes (an address, a stored value, a condition), the bytes mattered, and the load is reported.
//!
//! ```text
//!                                        warp         twins
//! ld.shared.s32 %r1, [unwritten]         -1           2080340991, -67109889, 0
//! setp.lt.s32   %p1, %r1, %r2            true         false, true, true
//! and.pred      %p2, %p1, %p3            false        false, false, false        if %p3 is false
//! @%p2 bra      L                        all agree: nothing depends on the load
//! ```
//!
//! Three other values, large, small and zero beside all ones, so that minima, maxima and tests of flags tell them apart. What `ldmatrix`, atomics,
//! `wgmma` and bulk copies read is reported at once: little is computed of it that could not depend on it.

use super::super::finding::FindingKind;
use super::super::frame::{Frame, PredId, R32, R64, blend32, blend64};
use super::super::memory::LaneWords;
use super::super::program::{
    Addr, AddrBase, BulkRoute, HostValue, MbarPhase, MemAccess, MemReg, Order, Step, StepKind, TensorRoute,
    Val32, Val64, WgmmaA,
};
use super::super::shadow::{Agent, Touch};
use super::access::{lanes_of, put_loaded};
use super::block::Env;
use super::warp::Warp;

/// What unwritten words are in the twins. As halves and as floats these are large, very negative, and zero.
const OTHERS: [u32; 3] = [0x7bff_7bff, 0xfbff_fbff, 0];

/// What a warp's registers may depend on though nobody wrote it.
#[derive(Debug)]
pub struct Doubts {
    pub twins: [Frame; OTHERS.len()],
    loads: Vec<Doubtful>,
}

/// A load of unwritten bytes.
#[derive(Debug)]
struct Doubtful {
    line: u32,
    lanes: u32,
    regs: Box<[MemReg]>,
    /// Where the first of its lanes read.
    offset: u32,
}

/// Bytes that a lane loaded and nobody wrote: one bit each, and the offset of the first byte of the load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unwritten {
    lane: usize,
    bytes: u16,
    offset: u32,
}

/// A register that a step reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    R32(R32),
    R64(R64),
    Pred(PredId),
}

impl Place {
    fn of(reg: MemReg) -> Option<Place> {
        match reg {
            MemReg::R32(r) => Some(Place::R32(r)),
            MemReg::R64(r) => Some(Place::R64(r)),
            MemReg::None => None,
        }
    }

    /// The lanes where two frames differ.
    fn differs(self, a: &Frame, b: &Frame) -> u32 {
        let lanes = |differ: &dyn Fn(usize) -> bool| {
            (0..32).fold(0, |lanes, lane| lanes | u32::from(differ(lane)) << lane)
        };
        match self {
            Place::R32(r) => lanes(&|lane| a.r32(r)[lane] != b.r32(r)[lane]),
            Place::R64(r) => lanes(&|lane| a.r64(r)[lane] != b.r64(r)[lane]),
            Place::Pred(p) => a.pred(p) ^ b.pred(p),
        }
    }

    fn copy(self, from: &Frame, to: &mut Frame, mask: u32) {
        match self {
            Place::R32(r) => blend32(to.r32_mut(r), from.r32(r), mask),
            Place::R64(r) => blend64(to.r64_mut(r), from.r64(r), mask),
            Place::Pred(p) => to.set_pred(p, (to.pred(p) & !mask) | (from.pred(p) & mask)),
        }
    }
}

fn val32(value: Val32) -> Option<Place> {
    if let Val32::Reg(r) = value { Some(Place::R32(r)) } else { None }
}

fn val64(value: Val64) -> Option<Place> {
    if let Val64::Reg(r) = value { Some(Place::R64(r)) } else { None }
}

fn base(addr: Addr) -> Option<Place> {
    match addr.base {
        AddrBase::R32(r) => Some(Place::R32(r)),
        AddrBase::R64(r) => Some(Place::R64(r)),
        AddrBase::Abs => None,
    }
}

/// The registers on which the world outside of the registers, or the way of the warp, depends. Those of steps that only compute are none.
fn reads(kind: &StepKind) -> Vec<Place> {
    let mut places: Vec<Option<Place>> = Vec::new();
    match kind {
        StepKind::Load(access) => places.push(base(access.addr)),
        StepKind::Store(access) => {
            places.push(base(access.addr));
            places.extend(access.regs.iter().map(|&reg| Place::of(reg)));
        }
        StepKind::CpAsync(copy) => {
            places.extend([base(copy.dst), base(copy.src), copy.src_size.and_then(val32)]);
            places.push(copy.ignore.reg().map(Place::Pred));
        }
        StepKind::LdMatrix(access) => places.push(base(access.addr)),
        StepKind::StMatrix(access) => {
            places.push(base(access.addr));
            places.extend(access.regs.iter().map(|&r| Some(Place::R32(r))));
        }
        StepKind::Atomic(atomic) => {
            places.push(base(atomic.addr));
            places.extend([atomic.b, atomic.c, atomic.high[1], atomic.high[2]].map(Place::of));
        }
        StepKind::JumpTable { index, .. } => places.push(Some(Place::R32(*index))),
        StepKind::Barrier(barrier) => {
            places.extend([val32(barrier.id), barrier.count.and_then(val32)]);
            places.push(barrier.reduce.and_then(|reduce| reduce.src.reg()).map(Place::Pred));
        }
        StepKind::MbarInit { addr, count, .. } => places.extend([base(*addr), val32(*count)]),
        StepKind::MbarInval { addr, .. } | StepKind::CpAsyncArrive { addr, .. } => places.push(base(*addr)),
        StepKind::MbarArrive(op) => {
            places.extend([base(op.addr), val32(op.count), op.expect.and_then(val32)]);
        }
        StepKind::MbarTx(op) => places.extend([base(op.addr), val32(op.bytes)]),
        StepKind::MbarWait(op) => {
            let phase = match op.phase {
                MbarPhase::Parity(parity) => val32(parity),
                MbarPhase::Token(token) => val64(token),
            };
            places.extend([base(op.addr), phase]);
        }
        StepKind::StoreAsync(op) => {
            places.extend([base(op.addr), base(op.mbar)]);
            places.extend(op.regs.iter().map(|&reg| Place::of(reg)));
        }
        StepKind::Bulk(op) => {
            places.extend([base(op.dst), base(op.src), val32(op.size)]);
            match op.route {
                BulkRoute::Load { mbar, multicast } => {
                    places.extend([base(mbar), multicast.and_then(val32)]);
                }
                BulkRoute::Peer { mbar } => places.push(base(mbar)),
                BulkRoute::Store => {}
            }
        }
        StepKind::Tensor(op) => {
            places.push(base(op.map));
            places.extend(op.coords.iter().map(|&at| val32(at)));
            places.extend(op.window.iter().flatten().map(|&at| val32(at)));
            match op.route {
                TensorRoute::Load { dst, mbar, multicast } => {
                    places.extend([base(dst), base(mbar), multicast.and_then(val32)]);
                }
                TensorRoute::Store { src, .. } => places.push(base(src)),
                TensorRoute::Prefetch => {}
            }
        }
        StepKind::MapReplace(op) => places.extend([base(op.addr), val32(op.ord), val64(op.value)]),
        StepKind::MapCopy { dst, src } => places.extend([base(*dst), base(*src)]),
        StepKind::Wgmma(op) => {
            places.extend(op.reads().map(|r| Some(Place::R32(r))));
            places.push(Some(Place::R64(op.b)));
            places.push(op.scale_d.reg().map(Place::Pred));
            if let WgmmaA::Desc(desc) = op.a {
                places.push(Some(Place::R64(desc)));
            }
        }
        StepKind::Host(call) => places.extend(call.args.iter().map(|value| match value {
            HostValue::R32(r) => Some(Place::R32(*r)),
            HostValue::R64(r) => Some(Place::R64(*r)),
            HostValue::Imm(_) | HostValue::Local { .. } => None,
        })),
        _ => {}
    }
    places.into_iter().flatten().collect()
}

/// The registers that a step writes from elsewhere than registers, but for loads and reductions of barriers.
fn writes(kind: &StepKind) -> Vec<Place> {
    match kind {
        StepKind::LdMatrix(access) => access.regs.iter().map(|&r| Place::R32(r)).collect(),
        StepKind::Atomic(atomic) => [atomic.d, atomic.high[0]].into_iter().filter_map(Place::of).collect(),
        StepKind::MbarArrive(op) => op.token.map(Place::R64).into_iter().collect(),
        StepKind::MbarWait(op) => vec![Place::Pred(op.d)],
        StepKind::Host(call) => match call.result {
            Some(HostValue::R32(d)) => vec![Place::R32(d)],
            Some(HostValue::R64(d)) => vec![Place::R64(d)],
            _ => vec![],
        },
        StepKind::Wgmma(op) => op.d.iter().map(|&r| Place::R32(r)).collect(),
        _ => vec![],
    }
}

impl Warp {
    /// A load is done, and these bytes of it were `unwritten`.
    pub(super) fn doubt(
        &mut self,
        line: u32,
        access: &MemAccess,
        data: &LaneWords,
        unwritten: &[Unwritten],
        mask: u32,
    ) {
        if unwritten.is_empty() && self.doubts.is_none() {
            return;
        }
        let frame = &self.frame;
        let doubts = self.doubts.get_or_insert_with(|| {
            Box::new(Doubts { twins: std::array::from_fn(|_| frame.clone()), loads: Vec::new() })
        });
        for (twin, other) in doubts.twins.iter_mut().zip(OTHERS) {
            let mut data = *data;
            for part in unwritten {
                for byte in lanes_of(part.bytes.into()) {
                    let keep = !(0xff << (8 * (byte % 4)));
                    let word = &mut data[part.lane][byte / 4];
                    *word = (*word & keep) | (other & !keep);
                }
            }
            put_loaded(twin, access, &data, mask);
        }
        let Some(first) = unwritten.first() else { return };
        let lanes = unwritten.iter().fold(0, |lanes, part| lanes | 1 << part.lane);
        let offset = first.offset + first.bytes.trailing_zeros();
        match doubts.loads.iter_mut().find(|load| load.line == line) {
            Some(load) => load.lanes |= lanes,
            None => doubts.loads.push(Doubtful { line, lanes, regs: access.regs.clone(), offset }),
        }
    }
}

impl Env<'_> {
    /// Tells the shadow about a load from shared memory by one lane; says which bytes of it nobody wrote.
    pub(super) fn touch_load(
        &mut self,
        warp: usize,
        lane: usize,
        line: u32,
        order: Order,
        offset: u64,
        bytes: u32,
    ) -> Option<Unwritten> {
        self.note_remote(warp, line, offset);
        let shadow = self.shadow.as_mut()?;
        let offset = offset as u32;
        // As of stores: what is volatile orders itself.
        let touch = if order == Order::Weak { Touch::LaneRead } else { Touch::StrongRead };
        if order != Order::Weak {
            shadow.meet_strong(warp, offset, order == Order::Acquire);
        }
        let fault = shadow.touch(Agent { warp, lane: lane as u32, line }, touch, offset, bytes)?;
        if fault.kind == FindingKind::Uninitialized {
            return Some(Unwritten { lane, bytes: shadow.unwritten(offset, bytes), offset });
        }
        self.report_fault(Some(fault), warp, lane, line, "read");
        None
    }

    /// The lanes of `mask` come to a step whose guard holds in `active`: whether that, or what it does, depends on what nobody wrote.
    pub(super) fn weigh(&mut self, warp: &mut Warp, step: &Step, mask: u32, active: u32) {
        let Some(mut doubts) = warp.doubts.take() else { return };
        let guard = step.guard.reg().map(|p| (Place::Pred(p), mask));
        let places = reads(&step.kind).into_iter().map(|place| (place, active));
        for (place, lanes) in guard.into_iter().chain(places) {
            let apart = |lanes: u32, twin: &Frame| lanes | place.differs(&warp.frame, twin);
            let apart = doubts.twins.iter().fold(0, apart) & lanes;
            if apart == 0 {
                continue;
            }
            self.report_doubts(&doubts.loads, place, apart, warp.index, step.line);
            // It is known now.
            doubts.twins.iter_mut().for_each(|twin| place.copy(&warp.frame, twin, apart));
        }
        warp.doubts = Some(doubts);
    }

    /// What `place` holds in these lanes depends on one of the loads: on that into it, if there is one.
    fn report_doubts(&mut self, loads: &[Doubtful], place: Place, lanes: u32, warp: usize, line: u32) {
        let direct = |load: &&Doubtful| load.regs.iter().any(|&reg| Place::of(reg) == Some(place));
        let here = || loads.iter().filter(|load| load.lanes & lanes != 0);
        let guilty: Vec<&Doubtful> = match here().rev().find(direct) {
            Some(load) => vec![load],
            None => here().collect(),
        };
        for load in guilty {
            let (at, lane) = (self.shared_name(load.offset), (load.lanes & lanes).trailing_zeros());
            self.report(FindingKind::Uninitialized, load.line, None, || {
                format!("warp {warp} lane {lane}: read at {at}, which was never written; what PTX line {line} does depends on it")
            });
        }
    }

    /// The lanes of `mask` have executed a step: what it wrote from elsewhere is the same in all twins.
    pub(super) fn unite(&mut self, warp: &mut Warp, kind: &StepKind, mask: u32) {
        let Some(doubts) = &mut warp.doubts else { return };
        let mut places = writes(kind);
        if matches!(kind, StepKind::WgmmaWait(_)) {
            // Which sums have arrived is not said here: none of them is in doubt.
            places = self
                .launch
                .kernel
                .program
                .steps
                .iter()
                .flat_map(|step| match &step.kind {
                    wgmma @ StepKind::Wgmma(_) => writes(wgmma),
                    _ => vec![],
                })
                .collect();
        }
        for place in places {
            doubts.twins.iter_mut().for_each(|twin| place.copy(&warp.frame, twin, mask));
        }
    }
}
