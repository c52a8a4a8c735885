//! `cp.async`: issue and retirement of asynchronous copies. How groups are counted is in `copies.rs`.

use super::super::finding::FindingKind;
use super::super::frame::Lanes64;
use super::super::memory::{Place, place_generic, place_global, write_halves, write_slice};
use super::super::program::{CpAsync, MemSpace, Order, Reach};
use super::super::shadow::{Agent, Published};
use super::access::{Target, Windows, addresses, lanes_of};
use super::block::{Env, Stop};
use super::copies::PendingCopy;
use super::run::{val32, valp};
use super::transfer::{Pending, Transfer};
use super::warp::Warp;

impl Env<'_> {
    pub(super) fn cp_async(
        &mut self,
        warp: &mut Warp,
        line: u32,
        number: usize,
        copy: &CpAsync,
        mask: u32,
    ) -> Result<(), Stop> {
        let to = addresses(&warp.frame, copy.dst);
        let from = addresses(&warp.frame, copy.src);
        let ignored = valp(&warp.frame, copy.ignore);
        let size = u32::from(copy.bytes);
        let mut src_bytes = [copy.bytes; 32];
        let mut reads = mask & !ignored;
        let mut whole = true;
        if copy.src_size.is_some() || reads != mask {
            for lane in lanes_of(mask) {
                if let Some(given) = copy.src_size {
                    src_bytes[lane] = val32(&warp.frame, given, lane).min(size) as u8;
                }
                if ignored >> lane & 1 != 0 {
                    src_bytes[lane] = 0;
                }
                if src_bytes[lane] == 0 {
                    reads &= !(1 << lane);
                } else {
                    whole &= u32::from(src_bytes[lane]) == size;
                }
            }
        }
        // Where one lane has a generic address, all must.
        let generic = matches!(place_generic(to[mask.trailing_zeros() as usize % 32]), Place::Shared(_));
        let space = if generic { MemSpace::Generic } else { MemSpace::Shared };
        let windows = self.check(warp.index, line, space, &to, mask, size, "cp.async destination")?;
        let Windows::One(Target::Shared(base)) = windows else {
            self.report(FindingKind::OutOfBounds, line, None, || {
                "cp.async to memory that is not shared".into()
            });
            return Err(Stop);
        };
        let source = self.check_sources(warp.index, line, &from, (reads, whole), &src_bytes, size)?;
        if self.counters.on() {
            let offsets = std::array::from_fn(|lane| to[lane].wrapping_sub(base));
            self.counters.shared(number, &offsets, mask, size);
            self.counters.global(number, &from, reads, |lane| u32::from(src_bytes[lane]), false);
        }
        if let Some(tracer) = &mut self.tracer {
            let bytes = lanes_of(reads).map(|lane| u64::from(src_bytes[lane])).sum();
            tracer.cp_async(warp.index, line, bytes);
        }
        if let (false, Some((window, first))) = (self.lazy, source) {
            self.effects += 1;
            let (memory, bytes) = (self.launch.memory, usize::from(copy.bytes));
            if bytes == 16 {
                let shared = &mut self.shared;
                let mut put =
                    |lane: usize, halves| write_halves(shared, to[lane].wrapping_sub(base) as usize, halves);
                memory.read_halves(window, reads, |lane| from[lane].wrapping_sub(first), &mut put);
                lanes_of(mask & !reads).for_each(|lane| put(lane, [0; 2]));
            } else {
                for lane in lanes_of(mask) {
                    let (at, offset) = (to[lane].wrapping_sub(base) as usize, from[lane].wrapping_sub(first));
                    let is_read = reads >> lane & 1 != 0;
                    if is_read {
                        // Pipelines walk along rows: what comes next is in the next line.
                        memory.prefetch(window, offset + 64);
                    }
                    let mut words = [0; 4];
                    if is_read {
                        memory.read(window, offset, bytes, &mut words);
                    }
                    write_slice(&mut self.shared, at, bytes, &words);
                }
            }
            self.changed_at(to.iter().map(|at| at.wrapping_sub(base) as usize), mask);
            return Ok(());
        }
        let pending = PendingCopy {
            line,
            mask,
            group: warp.copies.open_groups(),
            dst: std::array::from_fn(|lane| to[lane].wrapping_sub(base) as u32),
            number: 0,
            src: from,
            bytes: copy.bytes,
            src_bytes,
        };
        self.effects += 1;
        if !self.lazy {
            self.perform(&pending);
            return Ok(());
        }
        if let Some(shadow) = &mut self.shadow {
            let mut faults = Vec::new();
            for lane in lanes_of(mask) {
                let agent = Agent { warp: warp.index, lane: lane as u32, line };
                faults.extend(shadow.issue(agent, pending.dst[lane], size).map(|fault| (lane, fault)));
            }
            for (lane, fault) in faults {
                self.report_fault(Some(fault), warp.index, lane, line, "cp.async write");
            }
        }
        if self.shadow.is_some() {
            for lane in lanes_of(reads) {
                if let Place::Global { window, offset } = place_global(from[lane]) {
                    let bytes = u64::from(src_bytes[lane]);
                    let weak = (Order::Weak, Reach::Everybody);
                    self.read_global(warp.index, lane, line, weak, (window, offset), bytes);
                }
            }
        }
        warp.copies.push(pending);
        Ok(())
    }

    /// Sources of `cp.async` are aligned to the full size, and as many bytes as are read must be there.
    ///
    /// Where all lanes that read at all read everything from one buffer: its window and the address of its first byte.
    fn check_sources(
        &mut self,
        warp: usize,
        line: u32,
        from: &Lanes64,
        (reads, whole): (u32, bool),
        src_bytes: &[u8; 32],
        size: u32,
    ) -> Result<Option<(usize, u64)>, Stop> {
        if reads == 0 {
            return Ok(None);
        }
        if whole {
            let (low, high, any) = super::access::extent(from, reads);
            let ends = [low, high].map(|at| self.check_one(MemSpace::Global, at, size.into()));
            if let [Some(Target::Global(window, base)), Some(Target::Global(other, _))] = ends
                && window == other
                && any & u64::from(size - 1) == 0
            {
                return Ok(Some((window, base)));
            }
        }
        for lane in lanes_of(reads) {
            let bytes = u64::from(src_bytes[lane]);
            let inside =
                matches!(self.check_one(MemSpace::Global, from[lane], bytes), Some(Target::Global(..)));
            if !from[lane].is_multiple_of(u64::from(size)) {
                self.report(FindingKind::Misaligned, line, None, || {
                    format!("warp {warp} lane {lane}: cp.async of {size} bytes from address {:#x}, no multiple of {size}", from[lane])
                });
                return Err(Stop);
            }
            if !inside {
                let where_ = self.describe(MemSpace::Global, from[lane], bytes);
                self.report(FindingKind::OutOfBounds, line, None, || {
                    format!("warp {warp} lane {lane}: cp.async reads {bytes} bytes at {where_}")
                });
                return Err(Stop);
            }
        }
        Ok(None)
    }

    /// Moves the bytes of a copy; everything was checked at issue.
    fn perform(&mut self, copy: &PendingCopy) {
        for lane in lanes_of(copy.mask) {
            let mut words = [0; 4];
            let bytes = usize::from(copy.src_bytes[lane]);
            if bytes > 0
                && let Place::Global { window, offset } = place_global(copy.src[lane])
            {
                self.launch.memory.read(window, offset, bytes, &mut words);
                for byte in bytes..usize::from(copy.bytes) {
                    words[byte / 4] &= !(0xff << (8 * (byte % 4)));
                }
            }
            self.write_shared(copy.dst[lane] as usize, usize::from(copy.bytes), &words);
        }
    }

    /// `cp.async.wait_group` and `wait_all`: what is due happens now.
    pub(super) fn cp_async_wait(
        &mut self,
        warp: &mut Warp,
        newest: Option<u32>,
        mask: u32,
    ) -> Result<(), Stop> {
        if warp.copies.is_empty() {
            return Ok(());
        }
        let mut retired = std::mem::take(&mut self.retired);
        warp.copies.retire(mask, newest, &mut retired);
        for copy in retired.drain(..) {
            self.complete_copy(warp.index, &copy, None);
        }
        self.retired = retired;
        Ok(())
    }

    /// A copy happens. What it writes is stamped with the warp's epoch, or with an earlier one.
    ///
    /// An arrival that is still to come may answer for it as well, if a later one came first or its thread waited for its group: whoever
    /// waits for that one's phase knows no later epoch than its own, so the first arrival behind the copy stamps it.
    pub(super) fn complete_copy(&mut self, warp: usize, copy: &PendingCopy, clock: Option<u32>) {
        self.perform(copy);
        self.effects += 1;
        let mut faults = Vec::new();
        if let Some(shadow) = &mut self.shadow {
            let answers = |pending: &Pending| match &pending.transfer {
                Transfer::Arrival { mask, before, clock, .. }
                    if pending.warp == warp && copy.number < *before =>
                {
                    Some((*mask, *clock))
                }
                _ => None,
            };
            let answers: Vec<(u32, u32)> = self.pending.iter().filter_map(answers).collect();
            for lane in lanes_of(copy.mask) {
                let first = answers.iter().filter(|(mask, _)| mask >> lane & 1 != 0).map(|&(_, clock)| clock);
                let clock = first.chain(clock).min();
                let agent = Agent { warp, lane: lane as u32, line: copy.line };
                faults.extend(
                    shadow
                        .complete(agent, copy.dst[lane], copy.bytes.into(), clock)
                        .map(|fault| (lane, fault)),
                );
            }
        }
        for (lane, fault) in faults {
            self.report_fault(Some(fault), warp, lane, copy.line, "cp.async write");
        }
    }

    /// `cp.async.mbarrier.arrive` in lazy mode: the arrival comes after the copies that were issued before it.
    pub(super) fn defer_arrival(&mut self, warp: &Warp, line: u32, mask: u32, offsets: [u32; 32]) {
        let mut published = Published::default();
        let mut clock = 0;
        if let Some(shadow) = &mut self.shadow {
            shadow.publish(warp.index, &mut published);
            clock = shadow.epoch(warp.index);
            shadow.release(warp.index);
        }
        let transfer = Transfer::Arrival {
            mask,
            offsets: Box::new(offsets),
            before: warp.copies.issued(),
            clock,
            published: Box::new(published),
        };
        self.pending.push_back(Pending { transfer, line, warp: warp.index, lane: 0, group: None });
    }

    /// That arrival is due.
    pub(super) fn late_arrivals(&mut self, warp: &mut Warp, pending: &Pending) {
        let Transfer::Arrival { mask, offsets, before, clock, published } = &pending.transfer else { return };
        let mut retired = Vec::new();
        warp.copies.retire_older(*mask, *before, &mut retired);
        for copy in retired {
            self.complete_copy(warp.index, &copy, Some(*clock));
        }
        for lane in lanes_of(*mask) {
            self.late_arrival(lane, pending.line, offsets[lane], published);
        }
    }
}
