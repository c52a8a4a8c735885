//! Launching: from arguments to what a device is given.
//!
//! ```text
//! arguments --bind--> Bound (dims, scalars, strides, all checked) --choose--> one variant: grid, block, parameters --> a device
//! ```
//!
//! | file | holds |
//! | --- | --- |
//! | [`signature`] | what a kernel asks for, what an argument is |
//! | [`dims`] | values of dimensions from shapes |
//! | [`bind`](mod@bind) | every check that shapes, strides and addresses decide |
//! | [`generate`] | random inputs, checks of what index tensors hold |
//! | [`prepare`](mod@prepare) | all of it together, with host memory |
//! | [`choose`](mod@choose) | the variant for these arguments, its grid and parameters |
//! | [`device_launch`] | what a device is given |
//! | [`on_cpu`], [`on_cuda`] | running it |
//! | [`meaning`], [`compare`] | what should come out; when a result is right |
//! | [`file`](mod@file) | LAUNCH.json, the form that `exec` reads |
//! | [`map_spec`] | tensor maps in it |
//! | [`error`] | why a launch is refused |
//!
//! A host tensor's memory is placed by whoever launches, so only caller-placed memory (device pointers) is checked for alignment
//! and overlap.

pub mod bind;
pub mod choose;
pub mod compare;
pub mod device_launch;
pub mod dims;
pub mod error;
pub mod file;
pub mod generate;
pub mod map_spec;
pub mod meaning;
pub mod on_cpu;
pub mod on_cuda;
pub mod plan;
pub mod prepare;
pub mod signature;

pub use bind::{Argument, Bound, bind};
pub use choose::{Chosen, choose};
pub use compare::{Comparison, compare_floats, compare_integers, compare_within};
pub use device_launch::{DeviceLaunch, ParamValue, Scalar};
pub use dims::{DEFAULT_DIM, DimOrigin, DimValues, Dims};
pub use error::LaunchError;
pub use file::LaunchFile;
pub use meaning::{Compared, Meaning, Verdict};
pub use prepare::{Filling, Given, Prepared, prepare};
pub use signature::{Memory, Signature, TensorFacts};

#[cfg(test)]
mod tests;
