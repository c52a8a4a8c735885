//! The event table: the one thing that derivation and proof share.
//!
//! It flattens a [`Program`] into *sites* (one per access of each operation in the text), keeps the block structure with
//! numbered gaps, and says which pairs of sites conflict and how far apart the threads of a pair are. It holds no opinion on
//! what synchronisation does.
//!
//! A pending access is remembered by its ring number relative to the counter, as a bit: offset `o` is bit `o + slots`. When the
//! counter advances, all bits move down by one, and a bit that falls out at the bottom re-enters `slots` higher, because all that
//! matters of an old ring number is the slot it lives in. So a mask stays exact for conflicts however long a loop runs.

use super::error::SyncError;
use super::model::*;

/// Offsets beyond this, and rings of more slots, do not fit the masks.
pub(super) const MAX_OFFSET: i32 = 24;

#[derive(Debug)]
pub(super) struct Table<'p> {
    pub program: &'p Program,
    pub roles: Vec<Block<'p>>,
    pub gaps: Vec<Gap>,
    pub sites: Vec<Site<'p>>,
    /// Per gap: the hand-over that it stands before.
    pub hands: Vec<Option<(&'p Hand, usize)>>,
    /// Per site y: the sites x of the same role that conflict with it, whatever their order.
    pub conflicts: Vec<Vec<Conflict>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    pub role: RoleId,
    /// Loops around it.
    pub depth: u32,
    pub allowed: bool,
    /// It does not stand behind an operation that touches something: here a run of accesses begins, or nothing is near.
    pub fresh: bool,
}

/// A node list with the gap before each node and the one after the last.
#[derive(Debug)]
pub(super) struct Block<'p> {
    pub items: Vec<(GapId, Item<'p>)>,
    pub last: GapId,
}

#[derive(Debug)]
pub(super) enum Item<'p> {
    /// An operation with its sites, `sites[first..first + count]`.
    Op {
        op: &'p Op,
        first: usize,
        count: usize,
    },
    Commit(Class),
    Advance(CounterId),
    End(CounterId),
    Loop {
        min_trips: u32,
        body: Block<'p>,
    },
    Branch(Vec<Block<'p>>),
    /// A hand-over; its sites say what must be complete before it.
    Hand {
        hand: &'p Hand,
        first: usize,
    },
    /// A marker without effect.
    Nothing,
}

/// One access of one operation in the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site<'p> {
    pub role: RoleId,
    /// The gap right before the operation.
    pub gap: GapId,
    pub op: &'p Op,
    /// If this stands for a hand-over.
    pub hand: Option<HandEnd>,
    pub access: Access,
    pub kind: ResourceKind,
    pub slots: u32,
    pub counter: Option<CounterId>,
}

/// A conflicting site, and which of its pending bits conflict.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conflict {
    pub with: usize,
    pub mask: u64,
    pub reach: Reach,
}

/// How far apart the threads of a conflicting pair can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// The same thread.
    Thread,
    /// Lanes of one warp.
    Warp,
    /// Any two threads of the role instance.
    Role,
    /// Threads of different role instances.
    Block,
}

impl Site<'_> {
    /// Registers of a thread, which only matrix instructions touch asynchronously.
    pub fn in_registers(&self) -> bool {
        matches!(self.kind, ResourceKind::Acc | ResourceKind::AReg)
    }

    pub fn writes(&self) -> bool {
        self.access.mode == Mode::Write
    }

    /// The ring offset, 0 for what is no ring.
    pub fn ring(&self) -> i32 {
        if self.counter.is_some() { self.access.ring } else { 0 }
    }

    /// The bit of a fresh access.
    pub fn bit(&self) -> u64 {
        1 << (self.ring() + self.slots as i32)
    }

    /// Pending bits after the counter advanced.
    pub fn advanced(&self, mask: u64) -> u64 {
        mask >> 1 | (mask & 1) << (self.slots - 1)
    }

    /// Pending bits whose operation did not run, when the guard's counter has reached its limit.
    pub fn beyond_end(&self, counter: CounterId) -> u64 {
        match self.op.guard {
            Some(guard) if guard.counter == counter && self.counter == Some(counter) => {
                // An instance with pending offset o was guarded by counter + o + (guard offset - ring offset). Negative offsets
                // may have wrapped, so they are kept.
                let least = ((self.ring() - guard.offset).max(0) + self.slots as i32).min(63);
                u64::MAX << least
            }
            _ => 0,
        }
    }
}

impl<'p> Table<'p> {
    pub fn new(program: &'p Program) -> Result<Table<'p>, SyncError> {
        check(program)?;
        let mut table = Table {
            program,
            roles: Vec::new(),
            gaps: Vec::new(),
            sites: Vec::new(),
            hands: Vec::new(),
            conflicts: Vec::new(),
        };
        for (index, role) in program.roles.iter().enumerate() {
            let block = table.block(RoleId(index as u32), &role.code, 0)?;
            table.roles.push(block);
        }
        table.conflicts = (0..table.sites.len())
            .map(|y| (0..table.sites.len()).filter_map(|x| table.conflict(x, y)).collect())
            .collect();
        Ok(table)
    }

    fn gap(&mut self, role: RoleId, depth: u32, allowed: bool, fresh: bool) -> GapId {
        self.gaps.push(Gap { role, depth, allowed, fresh });
        self.hands.push(None);
        GapId(self.gaps.len() as u32 - 1)
    }

    fn block(&mut self, role: RoleId, nodes: &'p [Node], depth: u32) -> Result<Block<'p>, SyncError> {
        let mut items = Vec::with_capacity(nodes.len());
        let (mut allowed, mut fresh) = (true, true);
        for node in nodes {
            allowed &= !matches!(node, Node::NoGap);
            let gap = self.gap(role, depth, allowed, fresh);
            allowed = !matches!(node, Node::NoGap);
            fresh = !matches!(node, Node::Op(op) if !op.accesses.is_empty());
            items.push((gap, self.item(role, gap, node, depth)?));
        }
        let last = self.gap(role, depth, allowed, fresh);
        Ok(Block { items, last })
    }

    fn item(&mut self, role: RoleId, gap: GapId, node: &'p Node, depth: u32) -> Result<Item<'p>, SyncError> {
        Ok(match node {
            Node::Op(op) => {
                let first = self.sites_of(role, gap, op, None)?;
                Item::Op { op, first, count: op.accesses.len() }
            }
            Node::Hand(hand) => {
                let first = self.sites_of(role, gap, &hand.op, Some(hand.end))?;
                self.hands[gap.index()] = Some((hand, first));
                Item::Hand { hand, first }
            }
            Node::Commit(class) => Item::Commit(*class),
            Node::Advance(counter) => Item::Advance(*counter),
            Node::End(counter) => Item::End(*counter),
            Node::Loop(l) => {
                Item::Loop { min_trips: l.min_trips, body: self.block(role, &l.body, depth + 1)? }
            }
            Node::Branch(arms) => {
                Item::Branch(arms.iter().map(|arm| self.block(role, arm, depth)).collect::<Result<_, _>>()?)
            }
            Node::NoGap => Item::Nothing,
            Node::Sync(_) => return Err(SyncError::Malformed("synchronisation is already in place".into())),
        })
    }

    /// Appends the sites of an operation; returns the first.
    fn sites_of(
        &mut self,
        role: RoleId,
        gap: GapId,
        op: &'p Op,
        hand: Option<HandEnd>,
    ) -> Result<usize, SyncError> {
        let first = self.sites.len();
        for &access in &op.accesses {
            let resource = self.program.resources.get(access.resource.index()).ok_or_else(|| {
                SyncError::Malformed(format!("{} touches a resource that does not exist", op.label))
            })?;
            if resource.counter.is_some() && access.ring.abs() > MAX_OFFSET {
                return Err(SyncError::Malformed(format!("{}: ring offset {}", op.label, access.ring)));
            }
            let Resource { kind, slots, counter, .. } = *resource;
            self.sites.push(Site { role, gap, op, hand, access, kind, slots, counter });
        }
        Ok(first)
    }

    /// Whether an earlier access at `x` can conflict with a later one at `y`, both in one role instance.
    fn conflict(&self, x: usize, y: usize) -> Option<Conflict> {
        let (a, b) = (&self.sites[x], &self.sites[y]);
        // A hand-over waits for operations, nothing waits for it; and it does not wait for transfers that report to its barrier.
        let reported = b.hand.is_some() && a.op.completion == Completion::Mbar;
        if a.role != b.role || !(a.writes() || b.writes()) || a.hand.is_some() || reported {
            return None;
        }
        let mask = if a.access.resource == b.access.resource {
            let slots = a.slots as i32;
            (0..64).filter(|bit| (bit - b.ring()).rem_euclid(slots) == 0).fold(0, |mask, bit| mask | 1 << bit)
        } else if self.overlap(a.access.resource, b.access.resource) {
            u64::MAX
        } else {
            return None;
        };
        Some(Conflict { with: x, mask, reach: self.reach(a, b) })
    }

    /// The channel that hands this resource over.
    pub fn channel_of(&self, resource: ResourceId) -> Option<(ChannelId, &'p Channel)> {
        let at = self.program.channels.iter().position(|c| c.resources.contains(&resource))?;
        Some((ChannelId(at as u32), &self.program.channels[at]))
    }

    /// The counter and slots of a channel.
    pub fn ring_of(&self, channel: &Channel) -> (Option<CounterId>, u32) {
        let first = channel.resources.first().map(|r| &self.program.resources[r.index()]);
        first.map_or((None, 1), |r| (r.counter, r.slots))
    }

    pub fn overlap(&self, a: ResourceId, b: ResourceId) -> bool {
        self.program.overlaps.iter().any(|&pair| pair == (a, b) || pair == (b, a))
    }

    fn reach(&self, a: &Site, b: &Site) -> Reach {
        if a.in_registers() || (a.op.threads == Threads::Elect && b.op.threads == Threads::Elect) {
            return Reach::Thread;
        }
        // Every thread commits for itself; a `wgmma` is one operation of all threads, and complete for all when it is for one.
        let wgmma = Completion::Fifo(Class::Wgmma);
        if b.hand == Some(HandEnd::Commit) || (b.hand.is_some() && a.op.completion == wgmma) {
            return Reach::Thread;
        }
        // An operation of one elected thread does not touch every thread's piece, so the maps say nothing.
        let same_map = a.access.resource == b.access.resource
            && a.access.part == b.access.part
            && a.op.threads == b.op.threads;
        match a.access.part {
            Part::Thread(_) if same_map => Reach::Thread,
            Part::Warp(_) if same_map => Reach::Warp,
            _ if self.program.roles[a.role.index()].warps == 1 => Reach::Warp,
            _ => Reach::Role,
        }
    }
}

/// What the model's documentation demands of a program.
fn check(program: &Program) -> Result<(), SyncError> {
    let wrong = |text: String| Err(SyncError::Malformed(text));
    for resource in &program.resources {
        let fits = (1..=MAX_OFFSET as u32).contains(&resource.slots);
        if !fits || (resource.slots > 1 && resource.counter.is_none()) {
            return wrong(format!(
                "{}: {} slots, counter {:?}",
                resource.name, resource.slots, resource.counter
            ));
        }
        if resource.counter.is_some_and(|c| c.index() >= program.counters.len()) {
            return wrong(format!("{}: no such counter", resource.name));
        }
    }
    for &(a, b) in &program.overlaps {
        if a.index().max(b.index()) >= program.resources.len() {
            return wrong("an overlap names a resource that does not exist".into());
        }
    }
    for channel in &program.channels {
        let ring = |r: &ResourceId| program.resources.get(r.index()).map(|r| (r.counter, r.slots));
        let first = channel.resources.first().and_then(ring);
        if first.is_none_or(|r| r.0.is_none()) || channel.resources.iter().any(|r| ring(r) != first) {
            return wrong(format!("{}: its resources are not rings of one counter", channel.name));
        }
    }
    for role in &program.roles {
        if role.warps == 0 || role.instances == 0 {
            return wrong(format!("role {} has no warps", role.name));
        }
    }
    Ok(())
}
