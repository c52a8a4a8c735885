//! Accesses to global memory as the sanitizer sees them.

use super::super::finding::FindingKind;
use super::super::memory::write_slice;
use super::super::program::{Order, Reach};
use super::super::shadow::global::{GlobalRace, GlobalTouch};
use super::super::shadow::{Acquire, Agent};
use super::block::Env;

/// A place in global memory: window and offset.
type Place = (usize, u64);

impl Env<'_> {
    /// An access by one lane.
    pub(super) fn touch_global(
        &mut self,
        (warp, lane, line): (usize, usize, u32),
        touch: GlobalTouch,
        at: Place,
        bytes: u64,
    ) {
        let (Some(shadow), Some(global)) = (&mut self.shadow, &self.launch.global_shadow) else { return };
        if let Some(epoch) = touch.epoch() {
            shadow.note_start(warp, epoch);
        }
        let agent = Agent { warp, lane: lane as u32, line };
        let agent = shadow.global_agent(self.number, agent, self.launch.block_warps());
        if let Some(race) = global.touch(&agent, touch, at.0, at.1, bytes) {
            self.report_race((warp, lane, line), touch, at.0, race);
        }
    }

    fn report_race(
        &mut self,
        (warp, lane, line): (usize, usize, u32),
        touch: GlobalTouch,
        window: usize,
        race: GlobalRace,
    ) {
        let (own, launch) = (self.number, self.launch);
        // Who overwrites what a copy was to read, without being ordered after its start, lacks more than a wait.
        let saw_start = self.shadow.as_ref().is_none_or(|shadow| shadow.saw_start(warp, race.other));
        let kind = match race.kind {
            FindingKind::AsyncInFlight if !race.other_writes && !saw_start => FindingKind::Race,
            kind => kind,
        };
        self.report(kind, line, Some(race.other_line), || {
            let what = match (touch, touch.writes()) {
                (GlobalTouch::MapRead, _) => "use of a tensor map",
                (_, false) => "read",
                (_, true) => "write",
            };
            let how = if race.other_writes { "write" } else { "read" };
            let place = format!("{} at offset {}", launch.memory.name(window), race.offset);
            match (kind, touch) {
                (FindingKind::AsyncInFlight, _) => {
                    return format!("warp {warp} lane {lane}: {what} of {place} while the asynchronous {how} of PTX line {} may still be going on: nobody on the way here waited for it", race.other_line);
                }
                (FindingKind::ProxyFence, GlobalTouch::MapRead) => {
                    return format!("warp {warp} lane {lane}: {what} at {place}, which was changed at PTX line {}: fence.proxy.tensormap::generic.acquire is missing between them", race.other_line);
                }
                (FindingKind::ProxyFence, _) => {
                    return format!("warp {warp} lane {lane}: {what} of {place} through the async proxy, but it was written by ordinary stores at PTX line {}: fence.proxy.async is missing between them", race.other_line);
                }
                _ => {}
            }
            let warp_name = if kind == FindingKind::Race { format!("warp {}", race.other.agent) } else { "a bulk copy".into() };
            let who = if race.other_cluster == own {
                warp_name
            } else {
                format!("{warp_name} of block {:?}", launch.first_block(race.other_cluster))
            };
            format!(
                "warp {warp} lane {lane}: {what} of {} at offset {} is not ordered after the {how} by {who} at PTX line {}",
                launch.memory.name(window),
                race.offset,
                race.other_line
            )
        });
    }

    /// Meets what was released at a place. After an update this comes once more: whoever updated it in between had released before.
    pub(super) fn acquire_global(&mut self, warp: usize, at: Place, how: Acquire) {
        if let (Some(shadow), Some(global)) = (&mut self.shadow, &self.launch.global_shadow) {
            shadow.acquire_global(global, self.number, warp, at, how);
        }
    }

    fn release_global(&mut self, warp: usize, order: Order, at: Place) {
        if let (Some(shadow), Some(global)) = (&mut self.shadow, &self.launch.global_shadow) {
            shadow.release_global(global, self.number, warp, at, order == Order::Release);
        }
    }

    pub(super) fn read_global(
        &mut self,
        warp: usize,
        lane: usize,
        line: u32,
        (order, reach): (Order, Reach),
        at: Place,
        bytes: u64,
    ) {
        let touch = match order {
            Order::Weak => GlobalTouch::Read,
            Order::Strong | Order::Release => {
                self.acquire_global(warp, at, Acquire::AtFence);
                GlobalTouch::StrongRead(reach)
            }
            Order::Acquire => {
                self.acquire_global(warp, at, Acquire::Now);
                GlobalTouch::StrongRead(reach)
            }
        };
        self.touch_global((warp, lane, line), touch, at, bytes);
    }

    pub(super) fn write_global(
        &mut self,
        warp: usize,
        lane: usize,
        line: u32,
        (order, reach): (Order, Reach),
        at: Place,
        (data, bytes): (&[u32; 4], usize),
    ) {
        if order != Order::Weak {
            return self.atomic_global(warp, lane, line, (order, reach), at, bytes as u64);
        }
        let (Some(shadow), Some(global)) = (&mut self.shadow, &self.launch.global_shadow) else { return };
        shadow.note_store(warp);
        let agent = Agent { warp, lane: lane as u32, line };
        let agent = shadow.global_agent(self.number, agent, self.launch.block_warps());
        let Some(race) = global.touch(&agent, GlobalTouch::Write, at.0, at.1, bytes as u64) else { return };
        // All storing the same value by the same instruction is no race; compilers do that.
        if race.other_writes && race.other_line == line {
            let mut new = vec![0; bytes];
            write_slice(&mut new, 0, bytes, data);
            let mut old = vec![0; bytes];
            self.launch.memory.read_block(at.0, at.1, &mut old);
            if old == new {
                return;
            }
        }
        self.report_race((warp, lane, line), GlobalTouch::Write, at.0, race);
    }

    /// An atomic, or a strong store.
    pub(super) fn atomic_global(
        &mut self,
        warp: usize,
        lane: usize,
        line: u32,
        (order, reach): (Order, Reach),
        at: Place,
        bytes: u64,
    ) {
        self.touch_global((warp, lane, line), GlobalTouch::StrongWrite(reach), at, bytes);
        self.release_global(warp, order, at);
    }
}
