//! Lane-local functions on whole registers: what PTX has and Cranelift's vectors lack.
//!
//! Each is a plain loop over 32 lanes with the instruction's exact semantics (shift amounts clamp, division by zero yields all
//! ones, conversions saturate), so each can be read beside the PTX ISA and tested by itself; the Rust compiler vectorises them.

pub mod bytes;
pub mod extent;
pub mod floats;
pub mod halves;
pub mod integers;
pub mod numbers;
pub mod rounding;
pub mod tier;
