//! Tilewright's runtime: tensors and files, the CPU executor for PTX, and the CUDA launch path.

pub mod cuda;
pub mod executor;
pub mod launch;
pub mod tensor;
