//! The evaluator on hand-built kernels, against straightforward Rust.

mod attention;
mod faults;
mod gemm;
mod grids;
mod kit;
mod lanes;
mod programs;
mod serving;
mod source;
