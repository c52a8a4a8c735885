//! Launching on NVIDIA GPUs through the driver, which compiles our PTX itself: neither nvcc nor ptxas is needed to run.
//!
//! The driver is loaded when it is first asked for, so a machine without one builds and runs everything else; asking there is
//! [`CudaError::NoDriver`]. Everything that needs no device (parameters, messages, the choice of a target) is separate from the
//! calls into the driver, which only four files make.
//!
//! | file | holds | calls the driver |
//! | --- | --- | --- |
//! | [`error`] | every failure, in words | |
//! | [`params`] | parameters as the driver wants them | |
//! | [`device`] | a GPU: its name, what it can run, its memory | yes |
//! | [`module`] | PTX, compiled by the driver | yes |
//! | [`launch`] | launching on a stream, timing | yes |
//! | [`replay`] | launch files: tensor maps, clusters | yes |
//!
//! A caller with a context, a stream and device pointers of its own uses [`Device::from_context`], [`Module::load`] and
//! [`Function::launch`]; `examples/caller_stream.rs` shows it.

pub mod device;
pub mod error;
pub mod launch;
pub mod module;
pub mod params;
pub mod replay;

pub use cudarc;
pub use device::{Device, DeviceTensor, driver_is_present};
pub use error::CudaError;
pub use module::{Function, Module};
