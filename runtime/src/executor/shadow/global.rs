//! Shadow of global memory: races within and between blocks.
//!
//! All blocks of a launch share it. An access is stamped with (cluster, warp, epoch of that warp); a later one is ordered after it
//! - in the same cluster, if the warp's own clock says so;
//! - in another cluster, if a chain of releases and acquires through atomics has brought that cluster's clock along: a warp's
//!   [`Foreign`] knowledge.
//!
//! ```text
//! block 0: st [x]; membar.gl; atom [flag]      publishes {block 0: C}  at flag
//! block 1: atom [flag]; ld [x]                 knows     {block 0: C}: ordered
//! ```
//! *Strong* accesses (atomics, volatile, relaxed and stronger) do not race with each other if their scopes include both sides. A release order, or a fence before a relaxed one,
//! makes it release; an acquire order, or a fence after a relaxed one, makes it acquire.
//!
//! What bulk copies do carries the epoch of the asynchronous agent that does it. What they read must be ordered in the async proxy's eyes, too,
//! and tensor maps in those of the proxy that reads them.
//!
//! A cell covers 4 bytes and knows which of them the last write touched. It keeps the last write and two reads by different warps, so
//! that of very many readers one that races may be forgotten; what it reports is always a race.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

use rustc_hash::FxHashMap;

use super::Epoch;
use super::clocks::{Knowledge, VectorClock};
use crate::executor::finding::FindingKind;
use crate::executor::program::Reach;

/// What is known of other clusters, by their number.
pub type Foreign = FxHashMap<u32, VectorClock>;

/// Takes over what `from` knows.
pub fn learn(into: &mut Foreign, from: &Foreign) {
    for (cluster, clock) in from {
        into.entry(*cluster).or_default().join(clock);
    }
}

/// Who accessed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamp {
    /// Number of the cluster plus one; 0: nobody.
    cluster: u32,
    clock: u32,
    line: u32,
    /// A warp, or an asynchronous agent.
    agent: u16,
    /// Bytes of the cell that were touched.
    bytes: u8,
    /// The lane that did it, or `ALL_LANES`.
    lane: u8,
    kind: Kind,
}

/// The lane of what several lanes did, or what is known to all of them.
const ALL_LANES: u8 = u8::MAX;

/// What an access was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Weak,
    /// It takes those into account that its scope reaches.
    Strong(Reach),
    /// By an asynchronous agent.
    Bulk,
    /// A reduction by one.
    BulkStrong,
}

impl Kind {
    /// Whom it takes into account.
    fn reach(self) -> Option<Reach> {
        match self {
            Kind::Strong(reach) => Some(reach),
            Kind::BulkStrong => Some(Reach::Everybody),
            Kind::Weak | Kind::Bulk => None,
        }
    }

    fn is_bulk(self) -> bool {
        matches!(self, Kind::Bulk | Kind::BulkStrong)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    write: Stamp,
    reads: [Stamp; 2],
}

/// Bytes of memory of one page of cells.
const PAGE: usize = 1024;
/// Pages that are kept at most: 2 GiB of shadow. What lies beyond is not watched.
const MAX_PAGES: usize = 1 << 17;

/// What a release hands on, by cluster: what was seen, by the generic proxy, the async proxy, and the one of tensor maps.
#[derive(Clone, Debug, Default)]
pub struct Release {
    pub seen: Foreign,
    pub fenced: Foreign,
    pub mapped: Foreign,
}

type Page = Mutex<Box<[Cell; PAGE / 4]>>;

/// The shadow of all buffers of a launch.
#[derive(Debug)]
pub struct GlobalShadow {
    windows: Vec<Box<[OnceLock<Page>]>>,
    pages: AtomicUsize,
    /// What was released at each address, by window and offset.
    released: Mutex<FxHashMap<(usize, u64), Release>>,
    /// Held while an atomic is noted here and carried out: whose stamp is last is who came last.
    atomics: Mutex<()>,
}

/// How an access touches memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobalTouch {
    Read,
    Write,
    /// A volatile or relaxed (or stronger) load.
    StrongRead(Reach),
    /// A strong store, or an atomic.
    StrongWrite(Reach),
    /// A bulk copy's.
    BulkRead(Epoch),
    BulkWrite(Epoch),
    /// A bulk reduction.
    BulkReduce(Epoch),
    /// A tensor map, by the copy that uses it.
    MapRead,
}

impl GlobalTouch {
    pub fn writes(self) -> bool {
        use GlobalTouch as T;
        matches!(self, T::Write | T::StrongWrite(_) | T::BulkWrite(_) | T::BulkReduce(_))
    }

    fn kind(self) -> Kind {
        match self {
            GlobalTouch::Read | GlobalTouch::Write | GlobalTouch::MapRead => Kind::Weak,
            GlobalTouch::StrongRead(reach) | GlobalTouch::StrongWrite(reach) => Kind::Strong(reach),
            GlobalTouch::BulkRead(_) | GlobalTouch::BulkWrite(_) => Kind::Bulk,
            GlobalTouch::BulkReduce(_) => Kind::BulkStrong,
        }
    }

    /// The epoch of the asynchronous agent that does it.
    pub fn epoch(self) -> Option<Epoch> {
        match self {
            GlobalTouch::BulkRead(epoch) | GlobalTouch::BulkWrite(epoch) | GlobalTouch::BulkReduce(epoch) => {
                Some(epoch)
            }
            _ => None,
        }
    }
}

/// Who accesses, and what it knows.
#[derive(Clone, Copy, Debug)]
pub struct GlobalAgent<'a> {
    /// Number of its cluster.
    pub cluster: u32,
    /// Number of the warp in the cluster.
    pub warp: usize,
    pub lane: u8,
    /// Warps of a block.
    pub block: usize,
    /// Own clock when the lanes of the warp last met.
    pub met: u32,
    pub line: u32,
    pub clock: &'a VectorClock,
    pub foreign: &'a Foreign,
    /// What the async proxy may see.
    pub fenced: &'a Knowledge,
    /// What may be seen through tensor maps.
    pub mapped: &'a Knowledge,
}

/// An access that is not ordered after an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalRace {
    /// `Race`; `ProxyFence` if only a proxy fence is missing; `AsyncInFlight` if the earlier one is a bulk copy's.
    pub kind: FindingKind,
    pub other_line: u32,
    /// The earlier access was a write.
    pub other_writes: bool,
    /// Number of its cluster.
    pub other_cluster: u32,
    /// Its warp, or the asynchronous agent.
    pub other: Epoch,
    /// Offset of the cell.
    pub offset: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl GlobalAgent<'_> {
    fn is_ordered_after(&self, stamp: &Stamp) -> bool {
        if stamp.cluster == self.cluster + 1 {
            return (!stamp.kind.is_bulk() && usize::from(stamp.agent) == self.warp)
                || self.clock.get(stamp.agent.into()) >= stamp.clock;
        }
        let known = self.foreign.get(&(stamp.cluster - 1));
        known.is_some_and(|clock| clock.get(stamp.agent.into()) >= stamp.clock)
    }

    /// The scope that has both this and that in it.
    fn distance(&self, stamp: &Stamp) -> Reach {
        if stamp.cluster != self.cluster + 1 {
            Reach::Everybody
        } else if stamp.kind.is_bulk() || usize::from(stamp.agent) / self.block == self.warp / self.block {
            Reach::Block
        } else {
            Reach::Cluster
        }
    }

    /// The race of an access to the bytes `bytes` with an earlier one.
    #[inline]
    fn race(
        &self,
        touch: GlobalTouch,
        stamp: &Stamp,
        bytes: u8,
        writes: bool,
        offset: u64,
    ) -> Option<GlobalRace> {
        // Mostly nobody has been there.
        if stamp.cluster == 0 || stamp.bytes & bytes == 0 {
            return None;
        }
        self.race_with(touch, stamp, writes, offset)
    }

    fn race_with(&self, touch: GlobalTouch, stamp: &Stamp, writes: bool, offset: u64) -> Option<GlobalRace> {
        let kind = touch.kind();
        let apart = kind.reach().min(stamp.kind.reach()).is_some_and(|reach| reach >= self.distance(stamp))
            // What one agent does, it does in some order.
            || (stamp.kind.is_bulk()
                && stamp.cluster == self.cluster + 1
                && touch.epoch().is_some_and(|epoch| epoch.agent == stamp.agent));
        if apart {
            return None;
        }
        let own = stamp.cluster == self.cluster + 1;
        // What another lane of the warp stored, if they have not met since; stores of one instruction are not compared.
        let hidden = writes
            && own
            && stamp.kind == Kind::Weak
            && usize::from(stamp.agent) == self.warp
            && stamp.lane != ALL_LANES
            && stamp.lane != self.lane
            && self.met <= stamp.clock
            && !(touch.writes() && stamp.line == self.line);
        let kind = if hidden || !self.is_ordered_after(stamp) {
            if stamp.kind.is_bulk() && own { FindingKind::AsyncInFlight } else { FindingKind::Race }
        } else {
            let cluster = (!own).then(|| stamp.cluster - 1);
            let covered = |known: &Knowledge| known.covers(cluster, stamp.agent.into(), stamp.clock);
            match touch {
                GlobalTouch::BulkRead(_) if writes && !stamp.kind.is_bulk() && !covered(self.fenced) => {
                    FindingKind::ProxyFence
                }
                GlobalTouch::MapRead if writes && !covered(self.mapped) => FindingKind::ProxyFence,
                _ => return None,
            }
        };
        Some(GlobalRace {
            kind,
            other_line: stamp.line,
            other_writes: writes,
            other_cluster: stamp.cluster - 1,
            other: Epoch { agent: stamp.agent, clock: stamp.clock },
            offset,
        })
    }
}

impl Cell {
    fn touch(
        &mut self,
        who: &GlobalAgent<'_>,
        touch: GlobalTouch,
        bytes: u8,
        offset: u64,
    ) -> Option<GlobalRace> {
        let own = Epoch { agent: who.warp as u16, clock: who.clock.get(who.warp) };
        let Epoch { agent, clock } = touch.epoch().unwrap_or(own);
        let lane = who.lane;
        let stamp =
            Stamp { cluster: who.cluster + 1, clock, line: who.line, agent, bytes, lane, kind: touch.kind() };
        let mut race = who.race(touch, &self.write, bytes, true, offset);
        let same = |other: &Stamp| Stamp { bytes, lane, line: stamp.line, ..*other } == stamp;
        if touch.writes() {
            for read in &self.reads {
                race = race.or_else(|| who.race(touch, read, bytes, false, offset));
            }
            let merged = if same(&self.write) { self.write.bytes & !bytes } else { 0 };
            let lane = if merged == 0 || self.write.lane == lane { lane } else { ALL_LANES };
            self.write = Stamp { bytes: bytes | merged, lane, ..stamp };
            for read in &mut self.reads {
                read.bytes &= !bytes;
                if read.bytes == 0 {
                    *read = Stamp::default();
                }
            }
        } else {
            let last = self.reads[0];
            if last.cluster != stamp.cluster || last.agent != stamp.agent {
                self.reads[1] = last;
            }
            let merged = if same(&self.reads[0]) { self.reads[0].bytes } else { 0 };
            self.reads[0] = Stamp { bytes: bytes | merged, ..stamp };
        }
        race
    }
}

impl GlobalShadow {
    /// Shadow of windows of these sizes.
    pub fn new(windows: impl Iterator<Item = u64>) -> GlobalShadow {
        let pages = |bytes: u64| (0..(bytes as usize).div_ceil(PAGE)).map(|_| OnceLock::new()).collect();
        GlobalShadow {
            windows: windows.map(pages).collect(),
            pages: AtomicUsize::new(0),
            released: Mutex::default(),
            atomics: Mutex::default(),
        }
    }

    /// Until the guard is dropped nobody else's atomic comes between what is noted and what is done. Without it a block that updates first
    /// might be noted last, and look as if it raced with what the last one does next.
    pub fn one_atomic(&self) -> MutexGuard<'_, ()> {
        lock(&self.atomics)
    }

    fn page(&self, window: usize, number: usize) -> Option<&Page> {
        let slot = self.windows.get(window)?.get(number)?;
        if slot.get().is_none() && self.pages.fetch_add(1, Ordering::Relaxed) >= MAX_PAGES {
            return None;
        }
        Some(slot.get_or_init(|| Mutex::new(Box::new([Cell::default(); PAGE / 4]))))
    }

    /// An access to `bytes` at `offset` of `window`: the first race, if there is one.
    pub fn touch(
        &self,
        who: &GlobalAgent<'_>,
        touch: GlobalTouch,
        window: usize,
        offset: u64,
        bytes: u64,
    ) -> Option<GlobalRace> {
        let mut race = None;
        let (mut at, end) = (offset, offset + bytes);
        while at < end {
            let number = at as usize / PAGE;
            let stop = end.min((number as u64 + 1) * PAGE as u64);
            let Some(page) = self.page(window, number) else {
                at = stop;
                continue;
            };
            let mut page = lock(page);
            while at < stop {
                let first = at % 4;
                let next = stop.min(at - first + 4);
                let mask = ((1u32 << (next - at)) - 1) << first;
                let cell = &mut page[at as usize % PAGE / 4];
                let found = cell.touch(who, touch, mask as u8, at);
                race = race.or(found);
                at = next;
            }
        }
        race
    }

    /// What was released at an address; says whether anything was.
    pub fn acquire(&self, window: usize, offset: u64, into: &mut Release) -> bool {
        let released = lock(&self.released);
        let Some(found) = released.get(&(window, offset)) else { return false };
        *into = found.clone();
        true
    }

    /// A release at an address.
    pub fn release(&self, window: usize, offset: u64, release: &Release) {
        let mut released = lock(&self.released);
        let here = released.entry((window, offset)).or_default();
        learn(&mut here.seen, &release.seen);
        learn(&mut here.fenced, &release.fenced);
        learn(&mut here.mapped, &release.mapped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(warp: usize, value: u32) -> VectorClock {
        let mut clock = VectorClock::default();
        clock.raise(warp, value);
        clock
    }

    fn agent<'a>(cluster: u32, clock: &'a VectorClock, foreign: &'a Foreign) -> GlobalAgent<'a> {
        static NOTHING: OnceLock<Knowledge> = OnceLock::new();
        let none = NOTHING.get_or_init(Knowledge::default);
        let (block, met, lane) = (1, 1, 0);
        let (line, fenced, mapped) = (cluster + 1, none, none);
        GlobalAgent { cluster, warp: 0, lane, block, met, line, clock, foreign, fenced, mapped }
    }

    #[test]
    fn blocks_are_ordered_by_what_they_release_and_acquire() {
        let shadow = GlobalShadow::new([64, 8].into_iter());
        let (one, nothing) = (clock(0, 1), Foreign::default());
        assert_eq!(shadow.touch(&agent(0, &one, &nothing), GlobalTouch::Write, 0, 0, 16), None);
        let race = shadow.touch(&agent(1, &one, &nothing), GlobalTouch::Read, 0, 8, 4);
        assert_eq!(race.map(|r| (r.other_line, r.other_writes, r.offset)), Some((1, true, 8)));
        let seen: Foreign = [(0, one.clone())].into_iter().collect();
        shadow.release(1, 0, &Release { seen, ..Release::default() });
        let mut known = Release::default();
        assert!(shadow.acquire(1, 0, &mut known));
        assert_eq!(shadow.touch(&agent(1, &one, &known.seen), GlobalTouch::Read, 0, 0, 8), None);
        // A bulk copy sees what is behind a proxy fence.
        let bulk = GlobalTouch::BulkRead(Epoch { agent: 9, clock: 1 });
        let race = shadow.touch(&agent(1, &one, &known.seen), bulk, 0, 0, 4);
        assert_eq!(race.map(|r| r.kind), Some(FindingKind::ProxyFence));
        let fenced = Knowledge { foreign: known.seen.clone(), ..Knowledge::default() };
        let who = GlobalAgent { fenced: &fenced, ..agent(1, &one, &known.seen) };
        assert_eq!(shadow.touch(&who, bulk, 0, 0, 4), None);
        let race = shadow.touch(&agent(2, &one, &nothing), GlobalTouch::Write, 0, 0, 4);
        assert_eq!(race.map(|r| r.other_writes), Some(true));
    }

    #[test]
    fn neighbouring_bytes_and_strong_accesses_do_not_race() {
        let shadow = GlobalShadow::new([64].into_iter());
        let (one, nothing) = (clock(0, 1), Foreign::default());
        assert_eq!(shadow.touch(&agent(0, &one, &nothing), GlobalTouch::Write, 0, 0, 2), None);
        assert_eq!(shadow.touch(&agent(1, &one, &nothing), GlobalTouch::Write, 0, 2, 2), None);
        let all = Reach::Everybody;
        assert_eq!(shadow.touch(&agent(0, &one, &nothing), GlobalTouch::StrongWrite(all), 0, 8, 4), None);
        assert_eq!(shadow.touch(&agent(1, &one, &nothing), GlobalTouch::StrongRead(all), 0, 8, 4), None);
        let near = GlobalTouch::StrongRead(Reach::Cluster);
        assert!(shadow.touch(&agent(1, &one, &nothing), near, 0, 8, 4).is_some(), "a scope that ends before");
        assert!(shadow.touch(&agent(1, &one, &nothing), GlobalTouch::Read, 0, 8, 4).is_some());
        assert!(shadow.touch(&agent(2, &one, &nothing), GlobalTouch::Write, 0, 2, 1).is_some());
    }
}
