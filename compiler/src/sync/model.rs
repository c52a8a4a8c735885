//! What synchronisation is derived for: the *event program* of one kernel.
//!
//! It is the expanded scheduled level with everything forgotten but the order of operations, what each touches, and
//! when each is complete. One sm_80 GEMM with S = 3 slots, as the expander writes it (`k` counts the steps):
//!
//! ```text
//! counter k;  A, B: shared rings of 3 slots, indexed by k
//! role math, 4 warps:
//!   copy A[k+0], B[k+0] (cp.async) ; commit cp.async        k is 0 here: ring numbers 0 and 1
//!   copy A[k+1], B[k+1] (cp.async) ; commit cp.async
//!   load A[k+0], B[k+0]                                     first k-slice of the first step
//!   loop {
//!     load A[k+0], B[k+0]                                   later k-slices of this step
//!     copy A[k+2], B[k+2] (cp.async) if k+2 is in range ; commit cp.async
//!     load A[k+1], B[k+1]                                   first k-slice of the next step
//!     advance k
//!   }
//!   end k
//! ```
//!
//! **Ring numbers.** An access names a resource and an *offset* from that resource's counter. Counters start at 0 and
//! move by [`Node::Advance`] alone, so "absolute n in the prologue", "step + d in the loop" and "trip + d after it" are
//! all the same `counter + d`, and persistence (a counter that runs on through an outer loop) needs nothing more. Ring
//! number n lives in slot n mod `slots`.
//!
//! **Gaps.** The places where synchronisation may stand are the gaps of each node list: before the first node, between
//! two, after the last. [`Node::NoGap`] forbids the gap in which it stands. Gaps are numbered over the whole program in
//! textual order ([`GapId`]).
//!
//! **Roles.** Each role runs its own code and counts for itself. What two roles share goes through a [`Channel`], and the schedule says where
//! its entries change hands ([`Node::Hand`], made by [`Program::hand`]): the writer acquires, fills and commits, the reader waits, reads and
//! releases. A channel inside one role needs no such nodes: there the accesses say it all.
//!
//! **Guards.** An operation that runs only for ring numbers in range says so ([`Guard`]), and the code says where the range ends
//! ([`Node::End`]). This is understood for accesses to rings of the guard's own counter; elsewhere a guarded operation counts as one
//! that runs, which is safe but may cost a wait.
//!
//! **Invariants** (checked by derivation): ids are unique and in range; a ring of more than one slot has a counter;
//! an operation with FIFO completion is followed by a commit of its class before anything depends on it (not
//! checked as such, but an uncommitted operation never completes, so that nothing could order it); all threads of a role
//! instance take every branch and every loop trip together.

use crate::diagnostics::Span;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u32);
        impl $name {
            /// As an index into the arena it belongs to.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

ids! {
    /// A role: an index into [`Program::roles`].
    RoleId,
    /// A resource: an index into [`Program::resources`].
    ResourceId,
    /// A step counter: an index into [`Program::counters`].
    CounterId,
    /// A hand-over between roles: an index into [`Program::channels`].
    ChannelId,
    /// An operation; chosen by the caller, unique in the program, meaningless here.
    OpId,
    /// A place where synchronisation may stand: gaps are numbered over all roles in textual order.
    GapId,
}

/// One kernel's roles with what they touch. See the module documentation for an example.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    pub name: String,
    pub roles: Vec<Role>,
    pub resources: Vec<Resource>,
    /// Names of the counters.
    pub counters: Vec<String>,
    pub channels: Vec<Channel>,
    /// Pairs of resources that share memory: every entry of one is taken to overlap every entry of the other.
    pub overlaps: Vec<(ResourceId, ResourceId)>,
}

/// Threads that run one code: the unit of program order is one *instance* of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub name: String,
    pub instances: u32,
    /// Warps of one instance, 32 threads each.
    pub warps: u32,
    pub code: Vec<Node>,
}

/// Something two operations can conflict on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    pub name: String,
    pub kind: ResourceKind,
    /// Entries of the ring: ring number n lives in entry n mod `slots`. 1 for a thing that is not a ring.
    pub slots: u32,
    /// What ring offsets are relative to. `None` only if `slots` is 1; then offsets are ignored.
    pub counter: Option<CounterId>,
    /// Each role instance has its own copy, so only accesses of one instance conflict.
    pub per_instance: bool,
}

/// What a resource is made of; decides which fence orders it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceKind {
    /// Shared memory.
    Slot,
    /// Accumulator registers of `wgmma`.
    Acc,
    /// A-operand registers of `wgmma`.
    AReg,
    /// Global memory.
    Gmem,
    /// A work counter or workspace in global memory, shared between blocks.
    Work,
    /// Memory barriers themselves (their initialisation).
    Mbar,
    /// The block's lifetime.
    Cta,
}

/// A hand-over of ring entries between two roles: the writer fills entry n, the reader empties it for n + slots. Each role counts
/// for itself; the n-th acquire pairs with the n-th wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    pub name: String,
    /// The resources handed over together; all have one counter and one slot count.
    pub resources: Vec<ResourceId>,
    pub from: RoleId,
    pub to: RoleId,
    /// Bytes of one entry, for transfers that count them.
    pub bytes: u32,
    /// The proxy by which the reader touches entries: asynchronous readers (`wgmma`, bulk stores) need the writer's fence.
    pub reader: Proxy,
}

/// Where in a role's code a ring entry changes hands. Between two roles these places come from the schedule; what stands there
/// is derived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hand {
    pub channel: ChannelId,
    pub end: HandEnd,
    /// The ring number is the channel's counter plus this.
    pub ring: i32,
    /// What the hand-over demands of the operations before it, in the form of an operation that conflicts with them.
    pub op: Op,
}

/// The four ends of a hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HandEnd {
    /// The writer takes an empty entry.
    Acquire,
    /// The writer gives the filled entry to the reader.
    Commit,
    /// The reader takes a filled entry.
    Wait,
    /// The reader gives the entry back.
    Release,
}

/// One step of a role's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Op(Op),
    /// All operations of this class that the thread has issued since the last commit become one group.
    Commit(Class),
    /// The counter grows by one.
    Advance(CounterId),
    /// The counter has reached the limit of the [`Guard`]s on it: guarded operations whose ring number is not below it
    /// did not run.
    End(CounterId),
    Loop(Loop),
    /// One of the arms runs; all threads of the role instance take the same one.
    Branch(Vec<Vec<Node>>),
    /// A ring entry changes hands between two roles.
    Hand(Hand),
    /// Forbids synchronisation in the gap where it stands (inside a macro-operation, inside a turn).
    NoGap,
    /// Placed by `derive`; an index into its placements. Not allowed in its input.
    Sync(u32),
}

/// A loop whose trip count is the same in all threads of the role instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loop {
    /// Printable, for example `k`.
    pub label: String,
    /// The least trip count: 0 if the loop may be skipped. Only the difference between 0 and 1 matters.
    pub min_trips: u32,
    pub body: Vec<Node>,
}

/// One macro-operation, with everything it touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    pub id: OpId,
    /// Printable, for example `copy A`.
    pub label: String,
    pub span: Option<Span>,
    pub threads: Threads,
    pub proxy: Proxy,
    pub completion: Completion,
    /// The operation runs only if this holds.
    pub guard: Option<Guard>,
    pub accesses: Vec<Access>,
}

/// Runs only while `counter + offset` is below the counter's value at the next [`Node::End`] of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    pub counter: CounterId,
    pub offset: i32,
}

/// One thing an operation touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    pub resource: ResourceId,
    /// The ring number is the resource's counter plus this.
    pub ring: i32,
    pub mode: Mode,
    pub part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    Read,
    Write,
}

/// Which thread touches which piece of the resource.
///
/// Two accesses with the same `Thread(m)` touch, in each thread, the same private piece: they never need another thread's
/// cooperation. The number stands for the map from threads to pieces; different maps conflict like [`Part::Any`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Any thread may touch any piece.
    Any,
    /// Each warp touches only its own piece, by this map.
    Warp(u32),
    /// Each thread touches only its own piece, by this map.
    Thread(u32),
}

/// Who issues an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Threads {
    All,
    /// One elected thread, always the same one of the role instance.
    Elect,
}

/// The path by which memory is reached (PTX ISA, "async proxy"). `cp.async` is generic; TMA, bulk copies and `wgmma` are async.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Proxy {
    Generic,
    Async,
}

/// When an operation's accesses are complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Completion {
    /// When the next operation of the thread is issued.
    Immediate,
    /// When a wait retires the group that the next commit closes; groups of one class retire in order, per thread.
    Fifo(Class),
    /// When the memory barrier it is bound to completes its phase.
    Mbar,
}

/// The kinds of asynchronous operations that complete in the order of their groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    CpAsync,
    Wgmma,
    /// Bulk stores, as readers of shared memory (`wait_group.read`).
    BulkRead,
    /// Bulk stores, as writers of global memory (`wait_group`).
    BulkWrite,
}

impl Class {
    pub const ALL: [Class; 4] = [Class::CpAsync, Class::Wgmma, Class::BulkRead, Class::BulkWrite];
}

impl Program {
    pub fn add_counter(&mut self, name: &str) -> CounterId {
        self.counters.push(name.into());
        CounterId(self.counters.len() as u32 - 1)
    }

    /// A shared-memory ring of `slots` entries indexed by `counter`.
    pub fn add_ring(&mut self, name: &str, slots: u32, counter: CounterId) -> ResourceId {
        self.add_resource(name, ResourceKind::Slot, slots, Some(counter))
    }

    /// A shared-memory buffer that is not a ring.
    pub fn add_buffer(&mut self, name: &str) -> ResourceId {
        self.add_resource(name, ResourceKind::Slot, 1, None)
    }

    pub fn add_resource(
        &mut self,
        name: &str,
        kind: ResourceKind,
        slots: u32,
        counter: Option<CounterId>,
    ) -> ResourceId {
        self.resources.push(Resource { name: name.into(), kind, slots, counter, per_instance: false });
        ResourceId(self.resources.len() as u32 - 1)
    }

    /// One end of a hand-over, as a node of the role at that end.
    pub fn hand(&self, id: u32, channel: ChannelId, end: HandEnd, ring: i32) -> Node {
        let c = &self.channels[channel.index()];
        let op = match end {
            HandEnd::Acquire => Op::new(id, "acquire"),
            HandEnd::Wait => Op::new(id, "wait"),
            // Every thread says that its own writes are there, ...
            HandEnd::Commit => {
                let op = Op { proxy: c.reader, ..Op::new(id, "commit") };
                c.resources.iter().fold(op, |op, r| op.reads(*r, ring))
            }
            // ... one thread that all reads are done.
            HandEnd::Release => {
                let op = Op { threads: Threads::Elect, ..Op::new(id, "release") };
                c.resources.iter().fold(op, |op, r| op.writes(*r, ring))
            }
        };
        Node::Hand(Hand { channel, end, ring, op })
    }

    /// Adds a role of one instance.
    pub fn add_role(&mut self, name: &str, warps: u32, code: Vec<Node>) -> RoleId {
        self.roles.push(Role { name: name.into(), instances: 1, warps, code });
        RoleId(self.roles.len() as u32 - 1)
    }
}

impl Op {
    /// An operation of all threads, generic and immediate, that touches nothing yet.
    pub fn new(id: u32, label: &str) -> Op {
        Op {
            id: OpId(id),
            label: label.into(),
            span: None,
            threads: Threads::All,
            proxy: Proxy::Generic,
            completion: Completion::Immediate,
            guard: None,
            accesses: Vec::new(),
        }
    }

    /// A `cp.async` copy: generic proxy, complete when its group is.
    pub fn cp_async(id: u32, label: &str) -> Op {
        Op { completion: Completion::Fifo(Class::CpAsync), ..Op::new(id, label) }
    }

    /// A `wgmma`: async proxy, complete when its group is.
    pub fn wgmma(id: u32, label: &str) -> Op {
        Op { completion: Completion::Fifo(Class::Wgmma), proxy: Proxy::Async, ..Op::new(id, label) }
    }

    /// A TMA or bulk load: one elected thread, async proxy, complete by a memory barrier.
    pub fn tma_load(id: u32, label: &str) -> Op {
        Op {
            completion: Completion::Mbar,
            proxy: Proxy::Async,
            threads: Threads::Elect,
            ..Op::new(id, label)
        }
    }

    /// The same, issued by one elected thread.
    pub fn elected(self) -> Op {
        Op { threads: Threads::Elect, ..self }
    }

    pub fn reads(self, resource: ResourceId, ring: i32) -> Op {
        self.touches(resource, ring, Mode::Read, Part::Any)
    }

    pub fn writes(self, resource: ResourceId, ring: i32) -> Op {
        self.touches(resource, ring, Mode::Write, Part::Any)
    }

    pub fn touches(mut self, resource: ResourceId, ring: i32, mode: Mode, part: Part) -> Op {
        self.accesses.push(Access { resource, ring, mode, part });
        self
    }

    pub fn guarded(mut self, counter: CounterId, offset: i32) -> Op {
        self.guard = Some(Guard { counter, offset });
        self
    }

    pub fn at(mut self, span: Span) -> Op {
        self.span = Some(span);
        self
    }
}

impl From<Op> for Node {
    fn from(op: Op) -> Node {
        Node::Op(op)
    }
}

impl Node {
    /// A loop that may be skipped.
    pub fn repeat(label: &str, body: Vec<Node>) -> Node {
        Node::Loop(Loop { label: label.into(), min_trips: 0, body })
    }
}
