//! Mbarriers: phases, arrivals, transaction bytes.
//!
//! An mbarrier is 64 opaque bits of shared memory. What it holds is kept beside the memory, by its offset:
//!
//! ```text
//! init(2)                pending 2   tx 0       phase 0
//! arrive.expect_tx(64)   pending 1   tx 64
//! arrive                 pending 0   tx 64
//! 64 bytes arrive        pending 0   tx 0   ->  phase 1, pending 2: whoever waits for parity 0 goes on
//! ```
//!
//! A wait parks its fragment until the phase is complete. `try_wait` and `test_wait` may also return false; they do where nobody else
//! could go on any more (see `block.rs`), since a kernel might do something useful then, and in lazy mode once at each place before they park,
//! since a kernel that does not try again is wrong.
//!
//! With the sanitizer a phase carries the clocks of those who arrived, and is an epoch of the agent that stands for the
//! bulk copies which complete in it.

use super::super::finding::FindingKind;
use super::super::frame::blend64;
use super::super::program::{Addr, MbarArrive, MbarPhase, MbarTx, MbarWait, MemSpace, Val32};
use super::super::shadow::{AsyncAgent, Epoch, Published, Shadow, Touch};
use super::access::{Target, addresses, lanes_of};
use super::block::{Env, Stop};
use super::run::val32;
use super::transfer::{Pending, Transfer};
use super::warp::Warp;

/// Most arrivals and transaction bytes that an mbarrier counts.
const MAX_COUNT: i64 = (1 << 20) - 1;

/// One mbarrier.
#[derive(Clone, Debug, Default)]
pub struct Mbarrier {
    /// Arrivals that a phase takes.
    pub expected: u32,
    /// Arrivals that the current phase still waits for.
    pub pending: u32,
    /// Bytes that it still waits for; negative where they came before they were expected.
    pub tx: i64,
    /// Phases completed.
    pub phase: u64,
    /// PTX line of the last change.
    pub line: u32,
    /// Who initialised it: warp, its epoch, PTX line.
    made: (usize, u32, u32),
    /// `fence.mbarrier_init` announced it: who has been through more phases of the cluster barrier knows of it.
    announced: Option<u32>,
    /// Completed phases over all initialisations: the agent's epoch.
    epoch: u32,
    /// Relaxed waits that saw one of the last two phases complete: its epoch, the warp and the warp's epoch. They order no data, and a
    /// phase that was seen was seen.
    seen: Vec<(u32, usize, u32)>,
    /// What those who arrived in the current phase publish.
    open: Published,
    /// What was published by completed phases.
    done: Published,
}

/// What a wait says.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Lanes whose phase is complete.
    pub complete: u32,
    /// An mbarrier that some other lane waits for.
    pub missing: Option<u32>,
    /// It says so at once, without waiting.
    pub refused: bool,
}

impl Mbarrier {
    /// Completes the phase if nothing is missing.
    fn settle(&mut self) -> bool {
        if self.pending != 0 || self.tx != 0 {
            return false;
        }
        self.phase += 1;
        self.epoch += 1;
        self.pending = self.expected;
        true
    }

    fn is_complete(&self, parity: u64) -> bool {
        self.phase & 1 != parity & 1
    }
}

impl Env<'_> {
    /// The offset of the mbarrier that each lane of `mask` names.
    fn mbarrier_offsets(
        &mut self,
        warp: &Warp,
        line: u32,
        space: MemSpace,
        addr: Addr,
        mask: u32,
    ) -> Result<[u32; 32], Stop> {
        let at = addresses(&warp.frame, addr);
        let windows = self.check(warp.index, line, space, &at, mask, 8, "mbarrier operation")?;
        let mut offsets = [0; 32];
        for lane in lanes_of(mask) {
            let Target::Shared(base) = windows.of(lane) else {
                self.report(FindingKind::OutOfBounds, line, None, || {
                    format!("warp {}: an mbarrier outside of shared memory", warp.index)
                });
                return Err(Stop);
            };
            offsets[lane] = at[lane].wrapping_sub(base) as u32;
        }
        Ok(offsets)
    }

    /// The mbarrier at `offset`, if one was initialised there.
    fn mbarrier(&mut self, warp: usize, lane: usize, line: u32, offset: u32) -> Result<&mut Mbarrier, Stop> {
        if !self.mbarriers.contains_key(&offset) {
            let at = self.shared_name(offset);
            self.report(FindingKind::BarrierMisuse, line, None, || {
                format!("warp {warp} lane {lane}: no mbarrier was initialised at {at}")
            });
            return Err(Stop);
        }
        self.touch(warp, lane, line, Touch::Atomic, offset.into(), 8, "mbarrier operation");
        let (made, announced) =
            self.mbarriers.get(&offset).map_or(((warp, 0, 0), None), |bar| (bar.made, bar.announced));
        let (maker, epoch, made_at) = made;
        let unknown = |shadow: &Shadow| {
            !shadow.is_after(warp, maker, epoch)
                && announced.is_none_or(|phases| shadow.cluster_phases(warp) <= phases)
        };
        if self.shadow.as_ref().is_some_and(unknown) {
            let at = self.shared_name(offset);
            self.report(FindingKind::Race, line, Some(made_at), || {
                format!("warp {warp} lane {lane}: this use of the mbarrier at {at} is not ordered after its initialisation by warp {maker} at PTX line {made_at}")
            });
        }
        Ok(self.mbarriers.entry(offset).or_default())
    }

    /// How messages name a place in shared memory.
    pub(super) fn shared_name(&self, offset: u32) -> String {
        let (block, offset) = (offset as usize / self.stride, offset as usize % self.stride);
        if self.launch.cluster_size() == 1 {
            format!("shared offset {offset}")
        } else {
            format!("shared offset {offset} of block {block} of the cluster")
        }
    }

    pub(super) fn mbar_init(
        &mut self,
        warp: &Warp,
        line: u32,
        space: MemSpace,
        addr: Addr,
        count: Val32,
        mask: u32,
    ) -> Result<(), Stop> {
        let offsets = self.mbarrier_offsets(warp, line, space, addr, mask)?;
        for lane in lanes_of(mask) {
            let (offset, expected) = (offsets[lane], val32(&warp.frame, count, lane));
            if expected == 0 || i64::from(expected) > MAX_COUNT {
                self.report(FindingKind::BarrierMisuse, line, None, || {
                    format!("warp {} lane {lane}: an mbarrier for {expected} arrivals; it counts 1 to {MAX_COUNT}", warp.index)
                });
                return Err(Stop);
            }
            self.touch(warp.index, lane, line, Touch::Write, offset.into(), 8, "mbarrier.init");
            let old = self.mbarriers.get(&offset).map(|old| old.epoch);
            let epoch = old.or(self.dead_epochs.get(&offset).copied()).map_or(0, |epoch| epoch + 1);
            let made = (warp.index, self.shadow.as_ref().map_or(0, |shadow| shadow.epoch(warp.index)), line);
            let bar = Mbarrier { expected, pending: expected, line, made, epoch, ..Mbarrier::default() };
            self.mbarriers.insert(offset, bar);
        }
        Ok(())
    }

    /// `fence.mbarrier_init`: what this warp initialised is known to all that go through the cluster's barrier after it, even if the
    /// arrival there is relaxed.
    pub(super) fn announce_mbarriers(&mut self, warp: &Warp) {
        let Some(shadow) = &mut self.shadow else { return };
        let phases = shadow.cluster_phases(warp.index) + u32::from(warp.cluster_arrived != 0);
        for (&offset, bar) in &mut self.mbarriers {
            if bar.made.0 == warp.index && bar.announced.is_none() {
                bar.announced = Some(phases);
                shadow.forget(offset, 8);
            }
        }
    }

    pub(super) fn mbar_inval(
        &mut self,
        warp: &Warp,
        line: u32,
        space: MemSpace,
        addr: Addr,
        mask: u32,
    ) -> Result<(), Stop> {
        let offsets = self.mbarrier_offsets(warp, line, space, addr, mask)?;
        for lane in lanes_of(mask) {
            self.mbarrier(warp.index, lane, line, offsets[lane])?;
            self.touch(warp.index, lane, line, Touch::Write, offsets[lane].into(), 8, "mbarrier.inval");
            // Its epochs go on should there be an mbarrier again.
            let epoch = self.mbarriers.remove(&offsets[lane]).map_or(0, |old| old.epoch);
            self.dead_epochs.insert(offsets[lane], epoch);
        }
        Ok(())
    }

    /// Lets whoever waits for the mbarrier look again if its phase is complete now.
    fn settle(&mut self, offset: u32) {
        let Some(bar) = self.mbarriers.get_mut(&offset) else { return };
        let before = bar.phase;
        while bar.settle() {
            let published = std::mem::take(&mut bar.open);
            bar.done.join(&published);
            if let Some(shadow) = &mut self.shadow {
                let agent = shadow.agent(AsyncAgent::Mbarrier(offset));
                bar.done.generic.raise(usize::from(agent), bar.epoch);
            }
            if let Some(tracer) = &mut self.tracer {
                tracer.mbarrier_phase(offset);
            }
            self.completed.push(offset);
            // A phase that takes no arrivals (all were dropped) must not go on for ever.
            if bar.expected == 0 {
                break;
            }
        }
        let (completes, line) = (bar.phase != before, bar.line);
        if completes && self.shadow.is_some() {
            self.check_late_copies(offset, line);
        }
    }

    /// A parity tells a phase from the one before it, not from the one before that. Who waits for a phase and cannot know that the one before
    /// is complete would have gone on two phases earlier, too: more arrive than the mbarrier counts, or the waits got out of step.
    fn check_parity(&mut self, warp: usize, lane: usize, line: u32, offset: u32, epoch: u32) {
        let Some(shadow) = &mut self.shadow else { return };
        let agent = shadow.agent(AsyncAgent::Mbarrier(offset));
        let mut seen = self.mbarriers.get(&offset).into_iter().flat_map(|bar| &bar.seen);
        if shadow.is_after(warp, agent.into(), epoch - 1)
            || seen.any(|&(phase, who, at)| phase + 1 >= epoch && shadow.is_after(warp, who, at))
        {
            return;
        }
        let at = self.shared_name(offset);
        self.report(FindingKind::BarrierMisuse, line, None, || {
            format!("warp {warp} lane {lane}: this wait at the mbarrier at {at} cannot tell its phase from the last but one: two phases have completed and nothing on the way here waited for the first")
        });
    }

    /// Copies that count on a phase which is complete without them: whoever waited for it goes on while they are going on.
    fn check_late_copies(&mut self, offset: u32, arrival: u32) {
        let counts_on = |pending: &&Pending| match &pending.transfer {
            Transfer::TensorLoad { to, .. } | Transfer::Load { to, .. } => {
                to.iter().any(|&(_, mbar)| mbar == offset)
            }
            Transfer::Peer { mbar, .. } | Transfer::Registers { mbar, .. } => *mbar == offset,
            _ => false,
        };
        let Some(copy) = self.pending.iter().find(counts_on).map(|copy| copy.line) else { return };
        let at = self.shared_name(offset);
        self.report(FindingKind::AsyncInFlight, copy, Some(arrival), || {
            format!("this copy is still going on when those go on who waited for the mbarrier at {at}")
        });
        self.report(FindingKind::BarrierMisuse, copy, Some(arrival), || {
            format!("the phase of the mbarrier at {at} is complete without the bytes of this copy: fewer were expected than come")
        });
    }

    /// `count` arrivals of one thread.
    fn arrive_at(
        &mut self,
        warp: usize,
        lane: usize,
        line: u32,
        offset: u32,
        (count, relaxed): (u32, bool),
    ) -> Result<(), Stop> {
        let bar = self.mbarrier(warp, lane, line, offset)?;
        if count > bar.pending {
            let (pending, expected) = (bar.pending, bar.expected);
            self.report(FindingKind::BarrierMisuse, line, None, || {
                format!(
                    "warp {warp} lane {lane}: {count} arrivals at an mbarrier whose phase waits for {pending} of {expected}"
                )
            });
            if self.shadow.is_none() {
                return Err(Stop);
            }
            // What comes of it is found as well.
            self.effects += 1;
            return Ok(());
        }
        bar.pending -= count;
        bar.line = line;
        self.effects += 1;
        if let Some(tracer) = &mut self.tracer {
            tracer.mbarrier_arrive(warp, offset, false);
        }
        if let (Some(shadow), Some(bar)) = (&mut self.shadow, self.mbarriers.get_mut(&offset)) {
            if relaxed {
                shadow.publish_near(warp, &mut bar.open);
            } else {
                shadow.publish(warp, &mut bar.open);
            }
        }
        Ok(())
    }

    /// Raises the transaction count by `bytes` (lowers it where negative) without completing the phase.
    fn expect_bytes(
        &mut self,
        warp: usize,
        lane: usize,
        line: u32,
        offset: u32,
        bytes: i64,
    ) -> Result<(), Stop> {
        let bar = self.mbarrier(warp, lane, line, offset)?;
        bar.tx += bytes;
        bar.line = line;
        if bar.tx.abs() > MAX_COUNT {
            let tx = bar.tx;
            self.report(FindingKind::BarrierMisuse, line, None, || {
                format!("warp {warp} lane {lane}: the mbarrier's transaction count is {tx}; it counts to {MAX_COUNT}")
            });
            return Err(Stop);
        }
        self.effects += 1;
        Ok(())
    }

    /// `bytes` of a bulk copy have arrived.
    pub(super) fn complete_bytes(&mut self, offset: u32, bytes: u32) {
        if let Some(bar) = self.mbarriers.get_mut(&offset) {
            bar.tx -= i64::from(bytes);
            self.effects += 1;
            if bar.tx < 0 && bar.pending == 0 {
                let (line, missing) = (bar.line, -bar.tx);
                let at = self.shared_name(offset);
                self.report(FindingKind::BarrierMisuse, line, None, || {
                    format!(
                        "{missing} bytes more arrive at the mbarrier at {at} than its phase expects: it may be complete while a copy is still going on"
                    )
                });
            }
            if let Some(tracer) = &mut self.tracer {
                tracer.mbarrier_bytes(offset);
            }
            self.settle(offset);
        }
    }

    /// Where a bulk copy that was just issued completes: the agent's current phase. Checks that there is an mbarrier.
    pub(super) fn completion_epoch(
        &mut self,
        warp: usize,
        lane: usize,
        line: u32,
        offset: u32,
    ) -> Result<Epoch, Stop> {
        let clock = self.mbarrier(warp, lane, line, offset)?.epoch + 1;
        let agent = self.shadow.as_mut().map_or(0, |shadow| shadow.agent(AsyncAgent::Mbarrier(offset)));
        Ok(Epoch { agent, clock })
    }

    pub(super) fn mbar_arrive(
        &mut self,
        warp: &mut Warp,
        line: u32,
        op: &MbarArrive,
        mask: u32,
    ) -> Result<(), Stop> {
        let offsets = self.mbarrier_offsets(warp, line, op.space, op.addr, mask)?;
        let mut tokens = [0u64; 32];
        for lane in lanes_of(mask) {
            let offset = offsets[lane];
            if let Some(bytes) = op.expect {
                let bytes = val32(&warp.frame, bytes, lane);
                self.expect_bytes(warp.index, lane, line, offset, bytes.into())?;
            }
            let count = val32(&warp.frame, op.count, lane);
            let bar = self.mbarrier(warp.index, lane, line, offset)?;
            tokens[lane] = bar.phase << 32 | u64::from(bar.pending);
            if op.drop {
                bar.expected = bar.expected.saturating_sub(count);
            }
            self.arrive_at(warp.index, lane, line, offset, (count, op.relaxed))?;
            self.settle(offset);
        }
        if let Some(shadow) = &mut self.shadow {
            shadow.release(warp.index);
        }
        if let Some(token) = op.token {
            blend64(warp.frame.r64_mut(token), &tokens, mask);
        }
        Ok(())
    }

    pub(super) fn mbar_tx(&mut self, warp: &Warp, line: u32, op: &MbarTx, mask: u32) -> Result<(), Stop> {
        let offsets = self.mbarrier_offsets(warp, line, op.space, op.addr, mask)?;
        for lane in lanes_of(mask) {
            let bytes = i64::from(val32(&warp.frame, op.bytes, lane));
            let change = if op.complete { -bytes } else { bytes };
            self.expect_bytes(warp.index, lane, line, offsets[lane], change)?;
            if op.complete {
                self.settle(offsets[lane]);
            }
        }
        Ok(())
    }

    /// Tests the phases that the lanes of `mask` ask for.
    ///
    /// In lazy mode the first test for a phase at each place returns false, unless the warp has learnt in another way that it is complete: it
    /// might have completed a moment later.
    pub(super) fn mbar_wait(
        &mut self,
        warp: &mut Warp,
        line: u32,
        at: u32,
        op: &MbarWait,
        mask: u32,
    ) -> Result<Answer, Stop> {
        let offsets = self.mbarrier_offsets(warp, line, op.space, op.addr, mask)?;
        let mut answer = Answer { complete: 0, missing: None, refused: false };
        let mut acquired = None;
        // Lanes that ask for the same get the same answer.
        let before = warp.refused.clone();
        let mut last: Option<(u32, u64, bool)> = None;
        for lane in lanes_of(mask) {
            let offset = offsets[lane];
            let phase = match op.phase {
                MbarPhase::Parity(parity) => u64::from(val32(&warp.frame, parity, lane)) & 1,
                MbarPhase::Token(token) => super::run::val64(&warp.frame, token, lane) >> 32,
            };
            if let Some((same, asked, done)) = last
                && (same, asked) == (offset, phase)
                && self.shadow.is_none()
            {
                answer.complete |= u32::from(done) << lane;
                continue;
            }
            let bar = self.mbarrier(warp.index, lane, line, offset)?;
            let (epoch, phases) = (bar.epoch, bar.phase);
            let mut done = match op.phase {
                MbarPhase::Parity(_) => bar.is_complete(phase),
                MbarPhase::Token(_) => bar.phase & 0xffff_ffff != phase,
            };
            let key = (at, offset, phase);
            if self.lazy && op.suspend && !before.contains(&key) {
                if let (Some(shadow), true) = (&mut self.shadow, done) {
                    let agent = shadow.agent(AsyncAgent::Mbarrier(offset));
                    done = shadow.is_after(warp.index, agent.into(), epoch);
                }
                if !done {
                    if !warp.refused.contains(&key) {
                        warp.refused.push(key);
                    }
                    answer.refused = true;
                }
            }
            last = Some((offset, phase, done));
            if !done {
                answer.missing = Some(offset);
                continue;
            }
            warp.refused.retain(|old| *old != key);
            answer.complete |= 1 << lane;
            if acquired == Some(offset) {
                continue;
            }
            acquired = Some(offset);
            if let Some(tracer) = &mut self.tracer {
                tracer.mbarrier_waited(warp.index, line, offset, phases);
            }
            if phases >= 2 && !op.relaxed && matches!(op.phase, MbarPhase::Parity(_)) {
                self.check_parity(warp.index, lane, line, offset, epoch);
            }
            if let (Some(shadow), Some(bar)) = (&mut self.shadow, self.mbarriers.get_mut(&offset)) {
                if op.relaxed {
                    shadow.note_wait(warp.index, &bar.done);
                    bar.seen.retain(|&(phase, ..)| phase + 1 >= epoch);
                    if !bar.seen.iter().any(|&(phase, who, _)| (phase, who) == (epoch, warp.index)) {
                        bar.seen.push((epoch, warp.index, shadow.epoch(warp.index)));
                    }
                } else {
                    shadow.acquire(warp.index, &bar.done);
                }
            }
        }
        if let (Some(shadow), true) = (&mut self.shadow, answer.complete != 0) {
            shadow.advance(warp.index);
        }
        Ok(answer)
    }

    /// What a deadlock report says of an mbarrier.
    pub(super) fn describe_mbarrier(&self, offset: u32) -> String {
        let at = self.shared_name(offset);
        match self.mbarriers.get(&offset) {
            Some(bar) => format!(
                "the mbarrier at {at} (phase {}: {} of {} arrivals and {} bytes are missing; last changed at PTX line {})",
                bar.phase, bar.pending, bar.expected, bar.tx, bar.line
            ),
            None => format!("the mbarrier at {at}, which is gone"),
        }
    }

    /// `cp.async.mbarrier.arrive` by the lanes of `mask`; in lazy mode the arrival comes when the copies are done.
    pub(super) fn cp_async_arrive(
        &mut self,
        warp: &mut Warp,
        line: u32,
        (space, addr, noinc): (MemSpace, Addr, bool),
        mask: u32,
    ) -> Result<(), Stop> {
        let offsets = self.mbarrier_offsets(warp, line, space, addr, mask)?;
        for lane in lanes_of(mask) {
            let bar = self.mbarrier(warp.index, lane, line, offsets[lane])?;
            if !noinc {
                bar.pending += 1;
            }
        }
        self.effects += 1;
        if self.lazy {
            self.defer_arrival(warp, line, mask, offsets);
            return Ok(());
        }
        for lane in lanes_of(mask) {
            if let Some(tracer) = &mut self.tracer {
                tracer.mbarrier_arrive(warp.index, offsets[lane], true);
            }
            self.arrive_at(warp.index, lane, line, offsets[lane], (1, false))?;
            self.settle(offsets[lane]);
        }
        Ok(())
    }

    /// The copies in front of a `cp.async.mbarrier.arrive` are done: it arrives, on behalf of the thread as it was at issue.
    pub(super) fn late_arrival(&mut self, lane: usize, line: u32, offset: u32, published: &Published) {
        let Some(bar) = self.mbarriers.get_mut(&offset) else { return };
        if bar.pending == 0 {
            self.report(FindingKind::BarrierMisuse, line, None, || {
                format!("lane {lane}: a cp.async arrival at an mbarrier whose phase waits for none")
            });
            return;
        }
        bar.pending -= 1;
        bar.line = line;
        bar.open.join(published);
        self.effects += 1;
        self.settle(offset);
    }
}
