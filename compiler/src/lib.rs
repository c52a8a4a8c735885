//! Tilewright's compiler: `.tw` source text in, PTX out.
//!
//! The folders are the pipeline, in this order:
//!
//! | folder | from | to |
//! | --- | --- | --- |
//! | [`front`] | source text | a checked syntax tree, and by elaboration the tile level (T1) |
//! | [`elaborate`] | a resolved syntax tree | T1: one kernel, bound and typed |
//! | [`tile`] | T1: tile values on named axes | its meaning: the evaluator |
//! | [`plan`] | T1 | T2: roles, access plans, layouts, buffers, channels |
//! | [`scheduled`] | T2 fused | T2 expanded: stages become prologue, steady loop and drain |
//! | [`sync`] | T2 expanded, without synchronisation | the same with waits and barriers, proved complete and irredundant |
//! | [`warp`] | T2 | T3: registers, addresses, predicates |
//! | [`ptx`] | T3 | T4: typed PTX, printed and parsed |
//!
//! [`layout`] is pure mathematics that depends on nothing else; [`numeric`] is the exact arithmetic of small number formats;
//! [`diagnostics`] is how every error reaches a person.

pub mod artifact;
pub mod check;
pub mod compile;
pub mod diagnostics;
pub mod elaborate;
#[doc(hidden)]
pub mod fault;
pub mod front;
pub mod layout;
pub mod numeric;
pub mod packed;
pub mod parallel;
pub mod passes;
pub mod plan;
pub mod ptx;
pub mod scheduled;
pub mod snapshot;
pub mod sync;
pub mod target;
pub mod templates;
pub mod tile;
pub mod warp;

pub use snapshot::snapshot;
