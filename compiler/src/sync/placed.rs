//! What derivation gives back: synchronising operations, where they stand, and which obligations each discharges.

use std::fmt;

use super::model::{ChannelId, Class, GapId, Program, RoleId};
use super::obligation::Obligation;
use super::proof::Proof;

/// An obligation: an index into [`Synced::obligations`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObligationId(pub u32);

/// One synchronising operation, not yet an instruction. Each thread of the role instance runs it unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SyncOp {
    /// Waits until at most `newest` groups of the class that this thread committed are pending: `cp.async.wait_group`,
    /// `wgmma.wait_group`, `cp.async.bulk.wait_group(.read)`. For bulk classes only the elected thread runs it.
    WaitGroup { class: Class, newest: u8 },
    /// `fence.proxy.async`: this thread's generic accesses before it are ordered with async accesses after a hand-over.
    FenceProxyAsync,
    /// `wgmma.fence`: this thread's register accesses are ordered before the next `wgmma`.
    WgmmaFence,
    /// `bar.warp.sync` of the whole warp.
    BarWarp,
    /// A barrier of all `threads` of the role instance: `bar.sync id, threads`. `id` counts from 0 within the role and
    /// is the same for all instances; the lowering maps (role, instance, id) to one of the 16 hardware barriers.
    Bar { role: RoleId, id: u8, threads: u32 },
    /// Waits for the phase in which ring entry `counter + ring` of the channel became full: `mbarrier.try_wait`.
    WaitFull { channel: ChannelId, ring: i32 },
    /// Waits for the phase in which ring entry `counter + ring` was emptied of number `counter + ring - slots`.
    WaitEmpty { channel: ChannelId, ring: i32 },
    /// The elected producer announces the bytes of entry `counter + ring`: `mbarrier.arrive.expect_tx`.
    ExpectTx { channel: ChannelId, ring: i32, bytes: u32 },
    /// This role has filled entry `counter + ring` by generic writes or `cp.async`: every thread arrives on full.
    ArriveFull { channel: ChannelId, ring: i32 },
    /// This role has finished with entry `counter + ring`: one elected arrive per instance on empty.
    ArriveEmpty { channel: ChannelId, ring: i32 },
}

impl SyncOp {
    /// In words; `entry` names a channel's ring entry.
    pub(super) fn words(&self, entry: impl Fn(ChannelId, i32) -> String) -> String {
        match *self {
            SyncOp::WaitGroup { class, newest } => format!("wait_group {} {newest}", class.name()),
            SyncOp::FenceProxyAsync => "fence.proxy.async".into(),
            SyncOp::WgmmaFence => "wgmma.fence".into(),
            SyncOp::BarWarp => "bar.warp".into(),
            SyncOp::Bar { id, threads, .. } => format!("bar {id}, {threads}"),
            SyncOp::WaitFull { channel, ring } => format!("wait full {}", entry(channel, ring)),
            SyncOp::WaitEmpty { channel, ring } => format!("wait empty {}", entry(channel, ring)),
            SyncOp::ExpectTx { channel, ring, bytes } => {
                format!("expect_tx {}, {bytes}", entry(channel, ring))
            }
            SyncOp::ArriveFull { channel, ring } => format!("arrive full {}", entry(channel, ring)),
            SyncOp::ArriveEmpty { channel, ring } => format!("arrive empty {}", entry(channel, ring)),
        }
    }
}

/// Without the program at hand: channels by number, ring entries relative to the counter.
impl fmt::Display for SyncOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words(|channel, ring| format!("channel {} ring {ring:+}", channel.0)))
    }
}

/// A synchronising operation with its place and its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub gap: GapId,
    pub op: SyncOp,
    /// What would be unordered without it. Empty for order-only synchronisation.
    pub obligations: Vec<ObligationId>,
    /// Orders execution without protecting data (turns, conservative waits at exit): a mutation test that removes it
    /// must not expect a finding.
    pub order_only: bool,
}

/// A program with its synchronisation in place.
#[derive(Clone, Debug)]
pub struct Synced {
    /// The input with [`super::model::Node::Sync`] at the chosen gaps; the number is an index into `placed`.
    pub program: Program,
    /// In textual order; operations in one gap stand in the order in which they must run.
    pub placed: Vec<Placed>,
    /// Every pair that had to be ordered; [`ObligationId`] indexes it. [`super::print::explain`] puts one in words.
    pub obligations: Vec<Obligation>,
    pub proof: Proof,
}
