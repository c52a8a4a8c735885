//! The evaluator against straightforward Rust: hand-built kernels for single operations and faults, source text for whole programs.

mod attention;
mod faults;
mod gemm;
mod grids;
mod kit;
mod lanes;
mod programs;
mod serving;
mod source;
