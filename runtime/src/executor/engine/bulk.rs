//! `cp.async.bulk` and `cp.async.bulk.tensor`: operands, checks and groups. Each active lane issues its own copy.

use super::super::finding::FindingKind;
use super::super::memory::tensor_map::{MAP_BYTES, Origin, TensorMap, replace};
use super::super::memory::{Place, SHARED_BASE, SHARED_RANK_BITS, place_global};
use super::super::program::{Addr, Bulk, BulkRoute, MapReplace, MemSpace, TensorCopy, TensorRoute, Val32};
use super::super::shadow::global::GlobalTouch;
use super::super::shadow::{Agent, AsyncAgent, Epoch, Touch};
use super::access::{Target, address_of, lanes_of};
use super::block::{Env, Stop};
use super::run::{val32, val64};
use super::transfer::{Pending, Transfer};
use super::warp::Warp;

/// Who issues, for messages and clocks.
#[derive(Clone, Copy)]
pub(super) struct Issuer {
    pub(super) warp: usize,
    pub(super) lane: usize,
    pub(super) line: u32,
}

impl Env<'_> {
    /// The place in the cluster's shared memory of `bytes` bytes at a shared or generic address.
    pub(super) fn shared_range(
        &mut self,
        who: Issuer,
        address: u64,
        bytes: u32,
        align: u64,
        what: &str,
    ) -> Result<u32, Stop> {
        if !address.is_multiple_of(align) {
            self.report(FindingKind::Misaligned, who.line, None, || {
                format!("warp {} lane {}: {what} at {address:#x}, no multiple of {align}", who.warp, who.lane)
            });
            return Err(Stop);
        }
        let window = address.checked_sub(SHARED_BASE).filter(|at| at >> 32 == 0).unwrap_or(address);
        match self.check_one(MemSpace::Shared, window, bytes.into()) {
            Some(Target::Shared(base)) => Ok(window.wrapping_sub(base) as u32),
            _ => {
                let place = self.describe(MemSpace::Shared, window, bytes.into());
                self.report(FindingKind::OutOfBounds, who.line, None, || {
                    format!("warp {} lane {}: {what} of {bytes} bytes at {place}", who.warp, who.lane)
                });
                Err(Stop)
            }
        }
    }

    /// The (destination, mbarrier) pairs of a load: one, or one in each block of the mask at the same offsets.
    fn destinations(
        &mut self,
        warp: &Warp,
        who: Issuer,
        (dst, mbar): (u64, u64),
        (bytes, align): (u32, u64),
        multicast: Option<Val32>,
    ) -> Result<Vec<(u32, u32)>, Stop> {
        let Some(mask) = multicast else {
            let to = self.shared_range(who, dst, bytes, align, "the destination of a bulk copy")?;
            let mbar = self.shared_range(who, mbar, 8, 8, "the mbarrier of a bulk copy")?;
            return Ok(vec![(to, mbar)]);
        };
        let mask = val32(&warp.frame, mask, who.lane) & 0xffff;
        let size = self.launch.cluster_size();
        if mask == 0 || mask >> size != 0 {
            self.report(FindingKind::BarrierMisuse, who.line, None, || {
                format!(
                    "warp {} lane {}: a multicast to blocks {mask:#x} of a cluster of {size}",
                    who.warp, who.lane
                )
            });
            return Err(Stop);
        }
        let own = (1u64 << SHARED_RANK_BITS) - 1;
        let mut all = Vec::new();
        for rank in (0..size as u64).filter(|rank| mask >> rank & 1 != 0) {
            let there = |at: u64| (at & own) | (rank + 1) << SHARED_RANK_BITS;
            let to = self.shared_range(who, there(dst), bytes, align, "the destination of a bulk copy")?;
            all.push((to, self.shared_range(who, there(mbar), 8, 8, "the mbarrier of a bulk copy")?));
        }
        Ok(all)
    }

    /// The bytes of a tensor map.
    fn map_bytes(&mut self, who: Issuer, address: u64) -> Result<[u8; MAP_BYTES], Stop> {
        let mut bytes = [0; MAP_BYTES];
        if !address.is_multiple_of(64) {
            self.report(FindingKind::Misaligned, who.line, None, || {
                format!(
                    "warp {} lane {}: a tensor map at {address:#x}, no multiple of 64",
                    who.warp, who.lane
                )
            });
            return Err(Stop);
        }
        match self.check_one(MemSpace::Generic, address, MAP_BYTES as u64) {
            Some(Target::Global(window, base)) => {
                let at = (window, address - base);
                self.touch_global((who.warp, who.lane, who.line), GlobalTouch::MapRead, at, MAP_BYTES as u64);
                self.launch.memory.read_block(window, address - base, &mut bytes);
            }
            Some(Target::Param(base)) => {
                let at = (address - base) as usize;
                bytes.copy_from_slice(&self.launch.params[at..at + MAP_BYTES]);
            }
            Some(Target::Const(base)) => {
                let at = (address - base) as usize;
                bytes.copy_from_slice(&self.launch.kernel.program.constants[at..at + MAP_BYTES]);
            }
            _ => {
                let place = self.describe(MemSpace::Generic, address, MAP_BYTES as u64);
                self.report(FindingKind::OutOfBounds, who.line, None, || {
                    format!("warp {} lane {}: no tensor map can be at {place}", who.warp, who.lane)
                });
                return Err(Stop);
            }
        }
        Ok(bytes)
    }

    fn tensor_map(&mut self, who: Issuer, address: u64) -> Result<TensorMap, Stop> {
        let bytes = self.map_bytes(who, address)?;
        TensorMap::decode(&bytes).map_err(|why| {
            self.report(FindingKind::BarrierMisuse, who.line, None, || {
                format!("warp {} lane {}: at {address:#x} is {why}", who.warp, who.lane)
            });
            Stop
        })
    }

    /// Tells the shadow that a copy may touch these bytes from now on.
    pub(super) fn start(&mut self, who: Issuer, touch: Touch, offset: u32, bytes: u32, what: &str) {
        if let (Touch::BulkWrite(epoch) | Touch::BulkReduce { epoch, .. }, Some(shadow)) =
            (touch, &mut self.shadow)
        {
            // Whoever waits for it is ordered after it; and it must be waited for.
            shadow.note_arriving(offset / self.stride as u32, epoch, who.line);
            let agent = Agent { warp: who.warp, lane: who.lane as u32, line: who.line };
            let fault = shadow.touch(agent, touch, offset, bytes);
            return self.report_fault(fault, who.warp, who.lane, who.line, what);
        }
        self.touch(who.warp, who.lane, who.line, touch, offset.into(), bytes, what);
    }

    /// The places in global memory that a transfer touches, with their bytes.
    fn global_ranges(&self, transfer: &Transfer) -> Vec<((usize, u64), u64)> {
        let mut ranges = Vec::new();
        let mut note = |address: u64, bytes: u64| {
            if let Place::Global { window, offset } = place_global(address) {
                ranges.push(((window, offset), bytes));
            }
        };
        match transfer {
            Transfer::Load { from, bytes, .. } => note(*from, (*bytes).into()),
            Transfer::Store { to, bytes, .. } => note(*to, (*bytes).into()),
            Transfer::TensorLoad { map, origin, .. } | Transfer::TensorStore { map, origin, .. } => {
                let step = u64::from(map.element_strides[0]);
                for (address, range) in (0..map.rows()).filter_map(|n| map.row(origin, n)) {
                    let elements = u64::from(range.end - range.start);
                    note(address, ((elements - 1) * step + 1) * map.ty.bytes() as u64);
                }
            }
            Transfer::Peer { .. } | Transfer::Registers { .. } | Transfer::Arrival { .. } => {}
        }
        // What lies outside of the buffer is found when the bytes move.
        ranges.retain(|&((window, offset), bytes)| self.launch.memory.contains(window, offset, bytes));
        ranges
    }

    /// What a transfer does to global memory: as if its issuer did it now.
    fn watch_global(&mut self, who: Issuer, transfer: &Transfer, epoch: Epoch) {
        let touch = match transfer {
            Transfer::Store { reduce: Some(_), .. } | Transfer::TensorStore { reduce: Some(_), .. } => {
                GlobalTouch::BulkReduce(epoch)
            }
            Transfer::Store { .. } | Transfer::TensorStore { .. } => GlobalTouch::BulkWrite(epoch),
            _ => GlobalTouch::BulkRead(epoch),
        };
        let ranges = self.global_ranges(transfer);
        self.touch_global_ranges((who.warp, who.lane, who.line), touch, transfer, &ranges);
    }

    /// Counts a transfer, and lets the tracer draw it.
    fn count_transfer(&mut self, who: Issuer, transfer: &Transfer) {
        let stores = matches!(transfer, Transfer::Store { .. } | Transfer::TensorStore { .. });
        let mut bytes = match transfer {
            Transfer::Peer { bytes, .. } => u64::from(*bytes),
            Transfer::Registers { data, .. } => data.len() as u64,
            _ => 0,
        };
        for ((_, offset), length) in self.global_ranges(transfer) {
            bytes += length;
            self.counters.bulk(offset, length, stores);
        }
        if let Some(tracer) = &mut self.tracer {
            tracer.bulk(who.warp, who.line, bytes, stores);
        }
    }

    /// Does it now, or leaves it for later.
    pub(super) fn submit(
        &mut self,
        who: Issuer,
        transfer: Transfer,
        epoch: Epoch,
        group: Option<u32>,
    ) -> Result<(), Stop> {
        self.effects += 1;
        if self.shadow.is_some() {
            self.watch_global(who, &transfer, epoch);
        }
        if self.counters.on() || self.tracer.is_some() {
            self.count_transfer(who, &transfer);
        }
        if self.lazy {
            let Issuer { warp, lane, line } = who;
            self.pending.push_back(Pending { transfer, line, warp, lane, group });
            return Ok(());
        }
        self.carry_out(who.line, &transfer)
    }

    /// The epochs of a bulk store, of its reads and of its writes, and its group.
    fn store_epoch(&mut self, warp: &mut Warp, who: Issuer) -> (Epoch, Epoch, u32) {
        let group = warp.bulk.issue(who.lane, who.line);
        let (warp, lane) = (who.warp as u32, who.lane as u32);
        let mut epoch = |key| {
            let agent = self.shadow.as_mut().map_or(0, |shadow| shadow.agent(key));
            Epoch { agent, clock: group + 1 }
        };
        (epoch(AsyncAgent::BulkGroups(warp, lane)), epoch(AsyncAgent::BulkWrites(warp, lane)), group)
    }

    pub(super) fn bulk(&mut self, warp: &mut Warp, line: u32, op: &Bulk, mask: u32) -> Result<(), Stop> {
        for lane in lanes_of(mask) {
            let who = Issuer { warp: warp.index, lane, line };
            let bytes = val32(&warp.frame, op.size, lane);
            let (dst, src) = (address_of(&warp.frame, op.dst, lane), address_of(&warp.frame, op.src, lane));
            if !bytes.is_multiple_of(16) {
                self.report(FindingKind::Misaligned, line, None, || {
                    format!(
                        "warp {} lane {lane}: a bulk copy of {bytes} bytes, no multiple of 16",
                        warp.index
                    )
                });
                return Err(Stop);
            }
            let global = if matches!(op.route, BulkRoute::Store) { dst } else { src };
            if !matches!(op.route, BulkRoute::Peer { .. }) && !global.is_multiple_of(16) {
                self.report(FindingKind::Misaligned, line, None, || {
                    format!(
                        "warp {} lane {lane}: a bulk copy at global address {global:#x}, no multiple of 16",
                        warp.index
                    )
                });
                return Err(Stop);
            }
            match op.route {
                BulkRoute::Load { mbar, multicast } => {
                    let mbar = address_of(&warp.frame, mbar, lane);
                    let to = self.destinations(warp, who, (dst, mbar), (bytes, 16), multicast)?;
                    let mut epoch = Epoch { agent: 0, clock: 0 };
                    for &(to, mbar) in &to {
                        epoch = self.completion_epoch(who.warp, lane, line, mbar)?;
                        self.start(who, Touch::BulkWrite(epoch), to, bytes, "a bulk copy's write");
                    }
                    self.submit(who, Transfer::Load { from: src, bytes, to }, epoch, None)?;
                }
                BulkRoute::Peer { mbar } => {
                    let mbar = address_of(&warp.frame, mbar, lane);
                    let from = self.shared_range(who, src, bytes, 16, "the source of a bulk copy")?;
                    let to = self.shared_range(who, dst, bytes, 16, "the destination of a bulk copy")?;
                    let mbar = self.shared_range(who, mbar, 8, 8, "the mbarrier of a bulk copy")?;
                    let epoch = self.completion_epoch(who.warp, lane, line, mbar)?;
                    self.start(who, Touch::BulkRead(epoch), from, bytes, "a bulk copy's read");
                    let touch = match op.reduce {
                        None => Touch::BulkWrite(epoch),
                        Some(_) => Touch::BulkReduce { epoch, proxy: true },
                    };
                    self.start(who, touch, to, bytes, "a bulk copy's write");
                    self.submit(
                        who,
                        Transfer::Peer { from, bytes, to, mbar, reduce: op.reduce },
                        epoch,
                        None,
                    )?;
                }
                BulkRoute::Store => {
                    let from = self.shared_range(who, src, bytes, 16, "the source of a bulk copy")?;
                    let (epoch, writes, group) = self.store_epoch(warp, who);
                    self.start(who, Touch::BulkRead(epoch), from, bytes, "a bulk copy's read");
                    let transfer = Transfer::Store { from, to: dst, bytes, reduce: op.reduce };
                    self.submit(who, transfer, writes, Some(group))?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn tensor_copy(
        &mut self,
        warp: &mut Warp,
        line: u32,
        op: &TensorCopy,
        mask: u32,
    ) -> Result<(), Stop> {
        for lane in lanes_of(mask) {
            let who = Issuer { warp: warp.index, lane, line };
            let address = address_of(&warp.frame, op.map, lane);
            let map = Box::new(self.tensor_map(who, address)?);
            if map.rank != op.coords.len() {
                let (rank, given) = (map.rank, op.coords.len());
                self.report(FindingKind::BarrierMisuse, line, None, || {
                    format!(
                        "warp {} lane {lane}: {given} coordinates for a tensor map of rank {rank}",
                        warp.index
                    )
                });
                return Err(Stop);
            }
            if map.window.is_some() != op.window.is_some() {
                let made = if map.window.is_some() { "im2col" } else { "tiles" };
                self.report(FindingKind::BarrierMisuse, line, None, || {
                    format!(
                        "warp {} lane {lane}: the tensor map was made for {made}, and the copy is not",
                        warp.index
                    )
                });
                return Err(Stop);
            }
            let mut origin = Origin::default();
            for (slot, &value) in origin.coords.iter_mut().zip(&op.coords) {
                *slot = val32(&warp.frame, value, lane) as i32;
            }
            for (slot, &value) in origin.offsets.iter_mut().zip(op.window.iter().flatten()) {
                *slot = val32(&warp.frame, value, lane) as u16;
            }
            let bytes = map.pitch() * map.rows();
            match op.route {
                TensorRoute::Prefetch => {}
                TensorRoute::Load { dst, mbar, multicast } => {
                    let at = (address_of(&warp.frame, dst, lane), address_of(&warp.frame, mbar, lane));
                    let to = self.destinations(warp, who, at, (bytes, 128), multicast)?;
                    let mut epoch = Epoch { agent: 0, clock: 0 };
                    for &(to, mbar) in &to {
                        epoch = self.completion_epoch(who.warp, lane, line, mbar)?;
                        self.start(who, Touch::BulkWrite(epoch), to, bytes, "a tensor copy's write");
                    }
                    self.submit(who, Transfer::TensorLoad { map, origin, to }, epoch, None)?;
                }
                TensorRoute::Store { src, reduce } => {
                    let src = address_of(&warp.frame, src, lane);
                    let from = self.shared_range(who, src, bytes, 128, "the source of a tensor copy")?;
                    let (epoch, writes, group) = self.store_epoch(warp, who);
                    // Rows outside of the tensor are not read.
                    let rows = if self.shadow.is_some() { map.rows() } else { 0 };
                    for number in (0..rows).filter(|&n| map.row(&origin, n).is_some()) {
                        let row = from + number * map.pitch();
                        self.start(who, Touch::BulkRead(epoch), row, map.row_bytes(), "a tensor copy's read");
                    }
                    self.submit(
                        who,
                        Transfer::TensorStore { map, origin, from, reduce },
                        writes,
                        Some(group),
                    )?;
                }
            }
        }
        Ok(())
    }

    /// `cp.async.bulk.wait_group`: all but the newest `newest` groups of each lane are done.
    ///
    /// With `read`, only their sources are read; what they write may take longer.
    pub(super) fn bulk_wait(
        &mut self,
        warp: &mut Warp,
        newest: u32,
        read: bool,
        mask: u32,
    ) -> Result<(), Stop> {
        for lane in lanes_of(mask) {
            let done = warp.bulk.wait(lane, newest);
            let due = |p: &Pending| {
                p.warp == warp.index && p.lane == lane && p.group.is_some_and(|group| group < done)
            };
            while let Some(at) = self.pending.iter().position(due) {
                if let Some(pending) = self.pending.remove(at) {
                    self.carry_out(pending.line, &pending.transfer)?;
                }
            }
            if let (Some(shadow), true) = (&mut self.shadow, done > 0) {
                let (index, lane) = (warp.index as u32, lane as u32);
                shadow.retire(warp.index, AsyncAgent::BulkGroups(index, lane), done);
                if !read {
                    shadow.retire(warp.index, AsyncAgent::BulkWrites(index, lane), done);
                }
            }
        }
        Ok(())
    }

    pub(super) fn map_replace(
        &mut self,
        warp: &Warp,
        line: u32,
        op: &MapReplace,
        mask: u32,
    ) -> Result<(), Stop> {
        for lane in lanes_of(mask) {
            let who = Issuer { warp: warp.index, lane, line };
            let address = address_of(&warp.frame, op.addr, lane);
            let (ord, value) = (val32(&warp.frame, op.ord, lane), val64(&warp.frame, op.value, lane));
            let mut bytes = [0; MAP_BYTES];
            match self.check_one(op.space, address, MAP_BYTES as u64) {
                Some(Target::Shared(base)) => {
                    let at = address.wrapping_sub(base) as usize;
                    self.touch(who.warp, lane, line, Touch::Write, at as u64, 128, "tensormap.replace");
                    bytes.copy_from_slice(&self.shared[at..at + MAP_BYTES]);
                    replace(&mut bytes, op.field, ord, value);
                    self.shared[at..at + MAP_BYTES].copy_from_slice(&bytes);
                }
                Some(Target::Global(window, base)) => {
                    let at = (window, address - base);
                    self.touch_global((who.warp, lane, line), GlobalTouch::Write, at, MAP_BYTES as u64);
                    self.launch.memory.read_block(window, address - base, &mut bytes);
                    replace(&mut bytes, op.field, ord, value);
                    self.launch.memory.write_block(window, address - base, &bytes);
                }
                _ => {
                    let place = self.describe(op.space, address, MAP_BYTES as u64);
                    self.report(FindingKind::OutOfBounds, line, None, || {
                        format!("warp {} lane {lane}: tensormap.replace at {place}", warp.index)
                    });
                    return Err(Stop);
                }
            }
        }
        self.effects += 1;
        Ok(())
    }

    /// `tensormap.cp_fenceproxy`: 128 bytes from shared to global memory, by the warp together.
    pub(super) fn map_copy(
        &mut self,
        warp: &Warp,
        line: u32,
        dst: Addr,
        src: Addr,
        mask: u32,
    ) -> Result<(), Stop> {
        let lane = mask.trailing_zeros() as usize;
        let who = Issuer { warp: warp.index, lane, line };
        let (dst, src) = (address_of(&warp.frame, dst, lane), address_of(&warp.frame, src, lane));
        let from = self.shared_range(who, src, MAP_BYTES as u32, 16, "a tensor map")? as usize;
        self.touch(who.warp, lane, line, Touch::Read, from as u64, 128, "tensormap.cp_fenceproxy");
        match self.check_one(MemSpace::Generic, dst, MAP_BYTES as u64) {
            Some(Target::Global(window, base)) => {
                self.touch_global((who.warp, lane, line), GlobalTouch::Write, (window, dst - base), 128);
                let bytes = &self.shared[from..from + MAP_BYTES];
                self.launch.memory.write_block(window, dst - base, bytes);
                // It is a release, too.
                if let Some(shadow) = &mut self.shadow {
                    shadow.memory_fence(warp.index, false, true);
                }
                self.effects += 1;
                Ok(())
            }
            _ => {
                let place = self.describe(MemSpace::Generic, dst, MAP_BYTES as u64);
                self.report(FindingKind::OutOfBounds, line, None, || {
                    format!("warp {} lane {lane}: tensormap.cp_fenceproxy to {place}", warp.index)
                });
                Err(Stop)
            }
        }
    }
}
