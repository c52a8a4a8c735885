//! Serving: what a host decides before attention over a batch of requests is launched.
//!
//! Requests of very different lengths keep a GPU busy only if its blocks get even work. [`Planner`] cuts each request in tiles of queries and
//! pieces of keys, and lists them as index tensors that a kernel reads (FlashInfer's idea: sorted by cost, dealt out by a heap of blocks).
//!
//! Worked example: tiles of 16 queries and 64 keys, pieces of 256 keys, no mask. Request 0 decodes one token at 600 keys, request 1
//! has 20 queries at 100 keys.
//! ```text
//! w  req  q0   lo..hi   part   rows
//! 0    0   0    0..256     0   0        the first of three pieces
//! 1    0   0  256..512     1   0
//! 2    0   0  512..600     2   0        the last one costs less
//! 3    1   1    0..100     3   1..17    a whole tile, one piece
//! 4    1  17    0..100    19   17..21   the rest of its queries
//! first = 0, 3, 4, 5, …, 23: row 0 merges slots 0, 1 and 2, row 5 has slot 7 alone
//! slot = 0, 1, 2, 3, 3, …, 4: what slot 5 holds, item 3 has left
//! ```
//! Rows are those of the ragged tensor of all queries. Row r of item w has the slot `part[w] + (first[r] − first[q0[w]])`, so the slots
//! `first[r]..first[r + 1]` hold the row's partial results in ascending order of their keys, and merging them in that order gives the same bits
//! whatever ran when. A row that sees no keys has no slots: what is merged of nothing is zero, with a log-sum-exp of −∞.
//!
//! Two promises:
//! - *Fixed capacity.* Tensors always have the lengths of [`Capacity`], whatever the batch, in memory that stays where it is: what does not exist is an
//!   empty item that writes nowhere (`lo == hi`, `part == −1`). So one captured CUDA graph, with the same pointers and the same grid,
//!   serves every batch that fits, and only the tensors' contents are copied again.
//! - *Independence of the batch.* With [`Split::Fixed`] a request's items depend on the request alone: results are the same bits in every batch.

mod planner;

pub use planner::{Capacity, Plan, PlanError, Planner, Reach, Request, Settings, Split, Work};

#[cfg(test)]
mod tests;
