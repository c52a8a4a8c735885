//! Hand-overs between roles, by memory barriers.
//!
//! Where a ring entry changes hands stands in the program ([`super::model::Hand`]): the schedule decided it, with a (stage, order) for
//! each of the four ends. What happens there follows from how the writer writes and the reader reads:
//!
//! | writer → reader | acquire | commit | wait | release |
//! | --- | --- | --- | --- | --- |
//! | TMA → any | wait empty, expect_tx | – | wait full | arrive empty |
//! | cp.async, st → generic | wait empty | arrive full, every thread | wait full | arrive empty |
//! | cp.async, st → wgmma, TMA | wait empty | fence.proxy.async, arrive full | wait full | arrive empty |
//!
//! The waits for FIFO groups, fences and barriers that must come *before* an arrive are ordinary obligations towards the hand-over (a
//! wgmma's reads must be complete before its slot is released, so `wgmma.wait_group n` is derived there).
//!
//! The proof of a channel is by ownership. A role owns entry n from its wait to its arrive. If each role touches an entry only while it
//! owns it, gives it away only when all that it did to it is complete and visible, and both count entries one by one, then the two roles' accesses
//! alternate as the barriers do, and every conflict between them is ordered. At the start the writer owns the first entry of each slot, so it
//! waits only from entry S on.

use super::error::SyncError;
use super::model::{ChannelId, Completion, GapId, HandEnd, OpId, RoleId};
use super::obligation::{Obligation, Passed};
use super::placed::{ObligationId, Placed, SyncOp};
use super::print;
use super::table::{Reach, Table};

/// Adds the pairs of accesses in different roles; each must be handed over by a channel.
pub(super) fn obligations(table: &Table, all: &mut Vec<Obligation>) -> Result<(), SyncError> {
    let sites = &table.sites;
    for (x, a) in sites.iter().enumerate().filter(|(_, s)| s.hand.is_none() && !s.in_registers()) {
        for (y, b) in sites.iter().enumerate().filter(|(_, s)| s.hand.is_none()) {
            let same = a.access.resource == b.access.resource;
            let resource = &table.program.resources[a.access.resource.index()];
            let instances = table.program.roles[a.role.index()].instances;
            let apart = a.role != b.role || (instances > 1 && !resource.per_instance);
            let touch = same || table.overlap(a.access.resource, b.access.resource);
            if !apart || !touch || !(a.writes() || b.writes()) {
                continue;
            }
            let ends =
                |from: RoleId, to: RoleId| (a.role, b.role) == (from, to) || (b.role, a.role) == (from, to);
            let channel = table.channel_of(a.access.resource).filter(|(_, c)| same && ends(c.from, c.to));
            if channel.is_none() {
                let access = |s: &super::table::Site| print::access(table.program, s.op, &s.access);
                return Err(SyncError::NoChannel(format!("{} and {}", access(a), access(b))));
            }
            all.push(Obligation {
                id: ObligationId(all.len() as u32),
                source: table.access(x),
                dest: table.access(y),
                reach: Reach::Block,
                advances: 0,
                sites: (x, y),
                steps: &[],
                passed: Passed(Vec::new()),
            });
        }
    }
    Ok(())
}

/// Whether transfers that count bytes fill the channel.
pub(super) fn by_bytes(table: &Table, channel: ChannelId) -> bool {
    let c = &table.program.channels[channel.index()];
    let fills = |s: &super::table::Site| s.role == c.from && c.resources.contains(&s.access.resource);
    table.sites.iter().any(|s| fills(s) && s.op.completion == Completion::Mbar)
}

/// The memory-barrier operations of one hand-over, in order.
pub(super) fn mechanism(
    table: &Table,
    gap: usize,
    obligations: &[Obligation],
) -> Result<Vec<Placed>, SyncError> {
    let Some((hand, _)) = table.hands[gap] else { return Ok(Vec::new()) };
    if !table.gaps[gap].allowed {
        return Err(SyncError::NoPlace(format!("{} is inside a macro-operation", hand.op.label)));
    }
    let (channel, ring) = (hand.channel, hand.ring);
    let bytes = table.program.channels[channel.index()].bytes;
    let transfers = by_bytes(table, channel);
    let ops = match hand.end {
        HandEnd::Acquire if transfers => {
            vec![SyncOp::WaitEmpty { channel, ring }, SyncOp::ExpectTx { channel, ring, bytes }]
        }
        HandEnd::Acquire => vec![SyncOp::WaitEmpty { channel, ring }],
        HandEnd::Commit if transfers => Vec::new(),
        HandEnd::Commit => vec![SyncOp::ArriveFull { channel, ring }],
        HandEnd::Wait => vec![SyncOp::WaitFull { channel, ring }],
        HandEnd::Release => vec![SyncOp::ArriveEmpty { channel, ring }],
    };
    let placed = |op| Placed {
        gap: GapId(gap as u32),
        op,
        obligations: serves(table, obligations, channel, filling(op)),
        order_only: false,
    };
    Ok(ops.into_iter().map(placed).collect())
}

/// Whether the operation belongs to the full barrier (or else to the empty one).
fn filling(op: SyncOp) -> bool {
    matches!(op, SyncOp::WaitFull { .. } | SyncOp::ArriveFull { .. } | SyncOp::ExpectTx { .. })
}

/// The obligations that one of the channel's two barriers discharges: writes before reads, or reads before the next writes.
fn serves(table: &Table, obligations: &[Obligation], channel: ChannelId, full: bool) -> Vec<ObligationId> {
    let c = &table.program.channels[channel.index()];
    let role = if full { c.from } else { c.to };
    obligations
        .iter()
        .filter(|o| o.reach == Reach::Block)
        .filter(|o| {
            let source = &table.sites[o.sites.0];
            source.role == role && c.resources.contains(&source.access.resource)
        })
        .map(|o| o.id)
        .collect()
}

/// Who owns which entries, and which numbers come next: a role's view of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Owned {
    /// Entries this role holds on every path, by offset as in the event table.
    held: u64,
    /// Entries whose bytes were announced.
    expected: u64,
    /// Offset of the next entry to take and to give; `None` where paths disagree.
    take: Option<i32>,
    give: Option<i32>,
}

/// What a role does wrong with a channel's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Misuse {
    /// It touches an entry that it has not waited for, or has given away.
    NotHeld,
    /// It starts a transfer whose bytes were not announced.
    NotExpected,
    /// It takes or gives entries out of order.
    OutOfOrder,
    /// It keeps an entry that the program says it gives away.
    Kept,
}

impl Owned {
    /// Before the first hand-over the writer holds every slot's first entry.
    pub fn start(slots: u32, writer: bool) -> Owned {
        let held = if writer { ((1 << slots) - 1) << slots } else { 0 };
        Owned { held, expected: 0, take: Some(0), give: Some(0) }
    }

    pub fn advance(&mut self) {
        self.held >>= 1;
        self.expected >>= 1;
        self.take = self.take.map(|n| n - 1);
        self.give = self.give.map(|n| n - 1);
    }

    /// Keeps what both paths agree on; says whether that is less.
    pub fn join(&mut self, other: &Owned) -> bool {
        let before = *self;
        self.held &= other.held;
        self.expected &= other.expected;
        self.take = self.take.filter(|n| other.take == Some(*n));
        self.give = self.give.filter(|n| other.give == Some(*n));
        before != *self
    }

    fn bit(slots: u32, ring: i32) -> u64 {
        1 << (ring + slots as i32)
    }

    pub fn take(&mut self, slots: u32, ring: i32) -> Result<(), Misuse> {
        if self.take != Some(ring) {
            return Err(Misuse::OutOfOrder);
        }
        self.take = Some(ring + 1);
        self.held |= Owned::bit(slots, ring);
        Ok(())
    }

    /// The place where an entry is taken, after what stands before it: without a wait the role must hold it already.
    pub fn taken(&mut self, slots: u32, ring: i32) -> Result<(), Misuse> {
        if self.take == Some(ring) {
            self.touch(slots, ring, false)?;
            self.take = Some(ring + 1);
        }
        Ok(())
    }

    pub fn expect(&mut self, slots: u32, ring: i32) {
        self.expected |= Owned::bit(slots, ring);
    }

    pub fn give(&mut self, slots: u32, ring: i32) -> Result<(), Misuse> {
        if self.give != Some(ring) {
            return Err(Misuse::OutOfOrder);
        }
        self.give = Some(ring + 1);
        self.touch(slots, ring, false)?;
        self.held &= !Owned::bit(slots, ring);
        self.expected &= !Owned::bit(slots, ring);
        Ok(())
    }

    /// An access to an entry; `transfer` if it reports its bytes to the full barrier.
    pub fn touch(&self, slots: u32, ring: i32, transfer: bool) -> Result<(), Misuse> {
        let bit = Owned::bit(slots, ring);
        if self.held & bit == 0 {
            Err(Misuse::NotHeld)
        } else if transfer && self.expected & bit == 0 {
            Err(Misuse::NotExpected)
        } else {
            Ok(())
        }
    }

    /// After the place where an entry is given away.
    pub fn given(&self, slots: u32, ring: i32) -> Result<(), Misuse> {
        if self.held & Owned::bit(slots, ring) == 0 { Ok(()) } else { Err(Misuse::Kept) }
    }
}

impl Table<'_> {
    /// The operation and which of its accesses a site is.
    pub fn access(&self, site: usize) -> (OpId, usize) {
        let op = self.sites[site].op;
        let first = self.sites[..site].iter().rposition(|s| !std::ptr::eq(s.op, op)).map_or(0, |f| f + 1);
        (op.id, site - first)
    }
}

impl std::fmt::Display for Misuse {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Misuse::NotHeld => "its role does not hold the entry",
            Misuse::NotExpected => "its bytes were not announced",
            Misuse::OutOfOrder => "entries are not handed over one by one",
            Misuse::Kept => "no arrive gives the entry away",
        })
    }
}
