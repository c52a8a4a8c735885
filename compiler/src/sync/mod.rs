//! Pass 14: deriving synchronisation.
//!
//! No pass before this one names a barrier, a wait or a fence. Here they follow from what operations touch: wherever two accesses of
//! different threads, or of one asynchronous operation and anything, conflict on the same memory, something must order them.
//!
//! | file | step |
//! | --- | --- |
//! | [`model`] | the input: the expanded program as events, with rings and gaps |
//! | `table` | accesses, numbered gaps, conflicting pairs: what derivation and proof share |
//! | `requirement` | what each kind of conflict needs, as data |
//! | `obligation` | which pairs need ordering, where synchronisation may stand, FIFO counts |
//! | `channel` | hand-overs between roles by memory barriers |
//! | `placement`, `stab` | the fewest places that serve all |
//! | `proof` | an independent check, by abstract interpretation |
//! | `irredundant` | drops what the proof can do without, and says what each remaining one is for |
//! | [`mod@print`] | programs and obligations as text |
//!
//! The worked example, an sm_80 GEMM with S = 3 slots (see [`model`] for the input). Copies of ring number n must have arrived, in all
//! warps, before loads of ring number n; loads of n must be done in all warps before the copy of n + 3 overwrites the slot. In the loop, both are
//! served by one barrier, right before the first loads of the next step, behind a wait that leaves the newest S − 2 = 1 groups in
//! flight; one more pair stands before the loop:
//!
//! ```text
//! role math: 4 warps
//!   copy: writes A[0], B[0] (cp.async)          loop k
//!   commit cp.async                               load rest: reads A[k], B[k]
//!   copy: writes A[1], B[1] (cp.async)            copy: writes A[k+2], B[k+2] (cp.async)
//!   commit cp.async                               commit cp.async
//!   wait_group cp.async 1                         wait_group cp.async 1
//!   bar 0, 128                                    bar 0, 128
//!   load first: reads A[0], B[0]                  load first: reads A[k+1], B[k+1]
//! ```
//!
//! Invariants of a result: the proof accepts it; it refuses it as soon as any one synchronisation is taken out (unless that is marked
//! order-only) or any wait is weakened; every synchronisation names the obligations that fail without it.

mod channel;
mod error;
mod insert;
mod irredundant;
pub mod model;
mod obligation;
mod placed;
mod placement;
pub mod print;
mod proof;
mod requirement;
mod stab;
mod table;
#[cfg(test)]
mod tests;

pub use channel::Misuse;
pub use error::{Missing, SyncError, Violation};
pub use model::Program;
pub use obligation::Obligation;
pub use placed::{ObligationId, Placed, SyncOp, Synced};
pub use proof::Proof;
pub use table::Reach;

use proof::Prover;
use table::Table;

/// Derives, proves and thins out the synchronisation of a program that has none.
pub fn derive(program: &Program) -> Result<Synced, SyncError> {
    let table = Table::new(program)?;
    let mut obligations = obligation::obligations(&table);
    channel::obligations(&table, &mut obligations)?;
    let placed = placement::place(&table, &obligations)?;
    Prover::new(&table, placed.iter()).prove().map_err(SyncError::Unproved)?;
    let placed = irredundant::irredundant(&table, &obligations, placed);
    let proof = Prover::new(&table, placed.iter()).prove().map_err(SyncError::Unproved)?;
    Ok(Synced { program: insert::insert(program, &placed), placed, obligations, proof })
}

/// Proves that a placement orders every conflicting pair of accesses, whoever placed it.
pub fn prove(program: &Program, placed: &[Placed]) -> Result<Proof, SyncError> {
    let table = Table::new(program)?;
    Prover::new(&table, placed.iter()).prove().map_err(SyncError::Unproved)
}
