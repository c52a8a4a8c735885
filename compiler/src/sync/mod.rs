//! Deriving synchronisation.

pub mod model;
pub mod placed;

pub use model::Program;
pub use placed::{ObligationId, Placed, SyncOp, Synced};
