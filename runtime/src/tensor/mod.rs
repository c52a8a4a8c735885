//! Tensors on the host, the files that hold them, and the random numbers that fill them.
//!
//! A [`HostTensor`] is bytes as a kernel sees them: the element type's codes, little-endian, with strides in elements. An
//! [`NpyArray`] is what a `.npy` file holds, in NumPy's types. The two differ where NumPy has no such type: bf16 travels as
//! uint16 bits, floats of at most 8 bits as uint8 codes, small integers as the numbers themselves. Worked example: the file
//! `np.array([[5, 6, 7]], dtype=np.uint8)` read as `u3` is one row of 9 bits, bytes `0b11_110_101, 0b1`.
//!
//! | file | holds |
//! | --- | --- |
//! | [`host`] | tensors in memory: elements, strides, packing below a byte |
//! | [`npy`] | the `.npy` container: header and bytes |
//! | [`safetensors`] | the `.safetensors` container: one tensor of a file |
//! | [`convert`] | between files and tensors, type by type |
//! | [`file`](mod@file) | a tensor's place in a file of either kind |
//! | [`packed`] | packed weights, in memory and in files |
//! | [`random`] | the generator behind `random:SEED`, the same on every machine |

pub mod convert;
pub mod file;
pub mod host;
pub mod npy;
pub mod packed;
pub mod random;
pub mod safetensors;

pub use convert::{LoadError, NpyAs, load, store};
pub use file::{FilePlace, Stored, store_all};
pub use host::{HostTensor, TensorError, dense_strides};
pub use npy::{NpyArray, NpyError, NpyKind, NpyType};
pub use packed::{Made, PackError, PackedTensor};
pub use safetensors::{SafeArray, SafeError, SafeFile};
