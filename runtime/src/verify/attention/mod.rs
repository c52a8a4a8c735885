//! Attention kernels against a reference of their own, by FlashAttention's rule.
//!
//! The evaluator gives the meaning of any program, but not that a program is attention. Here stands what attention is, in plain Rust, once
//! exactly and once as PyTorch's eager attention rounds ([`reference`](mod@reference)); a kernel's outputs must keep
//! ```text
//! max|o − exact|   ≤ 2 · max|eager − exact| + 1e-5
//! max|lse − exact| ≤ 2 · max|eager − exact| + 1e-5 · max(1, max|exact|)     eager in f32: scores are sums of many terms
//! ```
//! Example: at 113 queries by 203 keys of f16, eager attention is off by 4e-4, a right kernel by 3e-4; a kernel that forgets one key of
//! each query is off by 5e-2.
//!
//! | file | holds |
//! | --- | --- |
//! | [`reference`](mod@reference) | attention, exactly and eagerly |
//! | [`case`](mod@case) | one attention: shapes, type, mask, score, memory |
//! | [`run`](mod@run) | compiling, launching and judging a case |

pub mod case;
pub mod reference;
pub mod run;

pub use case::{Case, Elem, Layout, Mask, Score};
pub use reference::{At, Attention, Problem};
pub use run::{Outcome, Place, RunError, Runner};
