//! Accesses to global memory as the sanitizer sees them.

use super::super::finding::FindingKind;
use super::super::memory::tensor_map::TensorMap;
use super::super::memory::{Place as Where, place_global, write_slice};
use super::super::program::{Order, Reach};
use super::super::shadow::global::{GlobalRace, GlobalTouch};
use super::super::shadow::{Acquire, Agent};
use super::block::Env;
use super::transfer::{Pending, Transfer};

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
        if let Some(race) = self.global_race((warp, lane, line), touch, at, bytes) {
            self.report_race((warp, lane, line), touch, at.0, race);
        }
    }

    /// Notes an access by one lane, and says with what it races.
    fn global_race(
        &mut self,
        (warp, lane, line): (usize, usize, u32),
        touch: GlobalTouch,
        at: Place,
        bytes: u64,
    ) -> Option<GlobalRace> {
        let (Some(shadow), Some(global)) = (&mut self.shadow, &self.launch.global_shadow) else {
            return None;
        };
        if let Some(epoch) = touch.epoch() {
            shadow.note_start(warp, epoch);
        }
        let agent = Agent { warp, lane: lane as u32, line };
        let agent = shadow.global_agent(self.number, agent, self.launch.block_warps());
        global.touch(&agent, touch, at.0, at.1, bytes)
    }

    /// The accesses of a bulk operation. Two stores of one block that put the same bytes in the same place do not race: compilers that
    /// cut a tile between warpgroups let them all store it where it cannot be cut.
    pub(super) fn touch_global_ranges(
        &mut self,
        who: (usize, usize, u32),
        touch: GlobalTouch,
        transfer: &Transfer,
        ranges: &[(Place, u64)],
    ) {
        let mut harmless = None;
        for &(at, bytes) in ranges {
            let Some(race) = self.global_race(who, touch, at, bytes) else { continue };
            let stores = matches!(touch, GlobalTouch::BulkWrite(_)) && race.other_writes;
            if stores && race.other_cluster == self.number {
                let same = *harmless.get_or_insert_with(|| self.is_stored_already(transfer, race.other_line));
                if same {
                    continue;
                }
            }
            self.report_race(who, touch, at.0, race);
        }
    }

    /// Whether the store of line `other` puts, or has put, the same bytes there.
    fn is_stored_already(&self, transfer: &Transfer, other: u32) -> bool {
        let Transfer::TensorStore { map, origin, from, reduce: None } = transfer else { return false };
        let data = self.staged(map, *from);
        let twin = |pending: &Pending| match &pending.transfer {
            Transfer::TensorStore { map: to, origin: at, from, reduce: None } => {
                pending.line == other && to == map && at == origin && self.staged(map, *from) == data
            }
            _ => false,
        };
        if self.pending.iter().any(twin) {
            return true;
        }
        let width = map.ty.bytes();
        let rows = data.chunks_exact(map.row_bytes().max(1) as usize).enumerate();
        map.element_strides[0] == 1
            && rows.filter_map(|(number, row)| Some((map.row(origin, number as u32)?, row))).all(
                |((address, range), row)| {
                    let row = &row[range.start as usize * width..range.end as usize * width];
                    let mut there = vec![0; row.len()];
                    let Where::Global { window, offset } = place_global(address) else {
                        return false;
                    };
                    let inside = self.launch.memory.contains(window, offset, row.len() as u64);
                    inside && {
                        self.launch.memory.read_block(window, offset, &mut there);
                        there == row
                    }
                },
            )
    }

    /// A box as it lies in shared memory, row after row.
    fn staged(&self, map: &TensorMap, from: u32) -> Vec<u8> {
        let mut data = Vec::new();
        for number in 0..map.rows() {
            let (base, end) = (from + number * map.pitch(), data.len() + map.row_bytes() as usize);
            for chunk in 0..map.row_bytes().div_ceil(16) {
                let at = map.swizzle.apply(base + 16 * chunk) as usize;
                data.extend_from_slice(&self.shared[at..at + 16]);
            }
            data.truncate(end);
        }
        data
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
        // All storing the same value by the same instruction is no race, nor by several of one block; compilers do that.
        if race.other_writes && (race.other_line == line || race.other_cluster == self.number) {
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
