//! The evaluator on hand-built kernels, against straightforward Rust.

mod faults;
mod gemm;
mod grids;
mod kit;
mod lanes;
