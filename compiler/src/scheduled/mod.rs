//! T2, the scheduled level: T1's tile values with layouts, memory spaces, roles, channels and asynchronous tokens, and the place of
//! every op in its loop's pipeline. It does not know instructions.
//!
//! | file | holds |
//! | --- | --- |
//! | [`ir`] | the data structure |
//! | [`verify`] | its invariants |
//! | [`expand`] | stages become prologue and steady loop |
//! | [`accesses`] | how wide global memory is accessed |
//! | [`synchronise`] | the bridge to [`crate::sync`] |
//! | [`eval`] | the interpreter: every form runs |
//! | [`print`] | the text of `--emit scheduled` |

pub mod accesses;
pub mod eval;
pub mod expand;
pub mod ir;
pub mod print;
pub mod synchronise;
pub mod verify;
