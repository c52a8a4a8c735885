//! Tilewright's runtime: tensors and files, the CPU executor for PTX, the CUDA launch path, work lists for batches of requests, and
//! verification of every level of the compiler.

pub mod checkpoint;
pub mod cuda;
pub mod executor;
pub mod launch;
pub mod serving;
pub mod tensor;
pub mod verify;
