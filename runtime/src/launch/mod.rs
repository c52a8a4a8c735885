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
//! | [`generate`] | random inputs, empty outputs |
//! | [`compare`] | when a result is right |
//! | [`error`] | why a launch is refused |
//!
//! A host tensor's memory is placed by whoever launches, so only caller-placed memory (device pointers) is checked for alignment
//! and overlap.

pub mod bind;
pub mod compare;
pub mod dims;
pub mod error;
pub mod generate;
pub mod signature;

pub use bind::{Argument, Bound, bind};
pub use compare::{Comparison, compare_floats, compare_integers};
pub use dims::{DEFAULT_DIM, DimOrigin, DimValues, Dims};
pub use error::LaunchError;
pub use signature::{Memory, Signature, TensorFacts};

#[cfg(test)]
mod tests;
