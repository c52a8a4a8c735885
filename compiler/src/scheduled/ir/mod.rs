//! T2's data structure.
//!
//! One structure serves three forms. *Fused*: one region, every op of a pipelined loop tagged with a role, a stage and an order;
//! this is what a person reads and pins. *Expanded*: prologue and steady loop explicit, every op knows which iteration it works
//! for; here waits have a meaning, and synchronisation is derived. (*Split*, one region per role, comes between the two; a
//! kernel with one role is its own split form.)
//!
//! A buffer is a ring of slots in shared memory. A channel is a hand-over of one ring entry of several buffers: the writer
//! `acquire`s, fills and `commit`s it, the reader `wait`s, reads and `release`s. Ring numbers are implicit: the n-th acquire pairs
//! with the n-th wait. Nothing in this level names a barrier until [`crate::sync`] has derived it.

mod body;
mod choices;
mod module;
mod op;
mod resources;

pub use body::{Carry, If, Loop, Merge, Node, Over, SyncNode, sync_ops};
pub use choices::{CopyPlan, Evict, LoadAtom, MmaAtom, MmaType, Via};
pub use module::{Dispatch, Form, Module, Raster, Stream, Variant};
pub use op::{At, Index, Iter, Op, OpKind};
pub use resources::{
    Active, BufId, Buffer, ChanId, Channel, Role, RoleId, TokClass, ValId, ValKind, Value, Work, WorkId,
};
