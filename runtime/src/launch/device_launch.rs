//! One grid as a device is given it: an entry, its shape, and its parameters' values, still without addresses.
//!
//! Addresses come last, because each device places memory in its own way: the executor in windows of a made-up address space, CUDA
//! where the driver puts it, a caller wherever its tensors are. Example, a GEMM of 257×130×72: entry `gemm_wide`, grid 6, block 128,
//! parameters `[Tensor(a), Tensor(b), Tensor(c), 257u32, 130u32, 72u32]`.

use tilewright_compiler::tile::TensorId;

/// One launch of one entry.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceLaunch {
    /// Name of the `.entry` in the PTX module.
    pub entry: String,
    /// Blocks in x, y, z; none is 0.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Blocks of a cluster; all 1 without clusters.
    pub cluster: [u32; 3],
    /// Dynamic shared memory of a block in bytes.
    pub shared_bytes: u32,
    /// In the order of the PTX parameters.
    pub params: Vec<ParamValue>,
    /// Bytes of the memory that the blocks share, where they do.
    pub workspace: Option<WorkspaceBytes>,
}

/// Global memory that whoever launches gives beside the tensors; both parts are aligned to 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkspaceBytes {
    /// Any initial value.
    pub parts: u64,
    /// Zero before the first launch, and again after each.
    pub counters: u64,
}

/// The value of one PTX parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum ParamValue {
    /// The address of a tensor's first element.
    Pointer(TensorId),
    /// The address of the workspace's parts.
    Parts,
    /// The address of the workspace's counters.
    Counters,
    /// A number, as its little-endian bytes in the parameter's own width (1, 2, 4 or 8).
    Number(Scalar),
}

/// A number that is passed by value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    I32(i32),
    I64(i64),
    F32(f32),
    F64(f64),
}

impl Scalar {
    /// Little-endian.
    pub fn bytes(self) -> Vec<u8> {
        match self {
            Scalar::U8(v) => v.to_le_bytes().to_vec(),
            Scalar::U16(v) => v.to_le_bytes().to_vec(),
            Scalar::U32(v) => v.to_le_bytes().to_vec(),
            Scalar::U64(v) => v.to_le_bytes().to_vec(),
            Scalar::I32(v) => v.to_le_bytes().to_vec(),
            Scalar::I64(v) => v.to_le_bytes().to_vec(),
            Scalar::F32(v) => v.to_le_bytes().to_vec(),
            Scalar::F64(v) => v.to_le_bytes().to_vec(),
        }
    }
}
