//! Packed weights: the bytes that a kernel reads, and what they are, together in memory and in files.
//!
//! In a `.safetensors` file a packed tensor is bytes (U8, `[tiles along rows, tiles along k, bytes of a tile]`), and the file's metadata says under
//! `tilewright.packed.NAME` how they lie: the description that `compile --emit meta` prints, the logical shape, and what it was packed for. The
//! description holds a hash of itself, so a file is taken as it is by kernels with the same storage and refused by all others, and it can
//! be unpacked without the kernel.
//!
//! ```text
//! "tilewright.packed.w": {"format": 1, "shape": [256, 512], "storage": {"type": "u4", "tile": [128, 32], …, "hash": "0a1b…"},
//!                         "kernel": "qgemm", "target": "sm_80", "settings": {"BN": "128", "BK": "32", "warps": "(1, 4)", …}}
//! ```

use std::path::Path;

use ::safetensors::tensor::Dtype;
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use thiserror::Error;
use tilewright_compiler::artifact::Meta;
use tilewright_compiler::numeric::{read_code, row_bytes};
use tilewright_compiler::packed::Storage;

use super::host::{HostTensor, TensorError};
use super::safetensors::{self, SafeArray, SafeError};

/// The version of files that this writes and reads.
const FORMAT: u64 = 1;

/// What the names of descriptions in a file's metadata begin with.
pub const KEY: &str = "tilewright.packed.";

/// A tensor of two dimensions, or several such side by side, as a kernel reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct PackedTensor {
    storage: Storage,
    hash: u64,
    /// Rows and depth, and what is in front of them.
    shape: Vec<usize>,
    bytes: Vec<u8>,
    pub made: Made,
}

/// What a tensor was packed for; only messages read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    pub kernel: String,
    pub target: String,
    /// Generics, tune parameters and schedule items, by their paths.
    pub settings: Vec<(String, String)>,
}

impl From<&Meta> for Made {
    fn from(meta: &Meta) -> Made {
        let items = meta.parameters.iter().chain(&meta.schedule);
        Made {
            kernel: meta.kernel.clone(),
            target: meta.target.name().into(),
            settings: items.map(|i| (i.path.clone(), i.value.clone())).collect(),
        }
    }
}

/// Why a tensor cannot be packed, or a file is no packed tensor.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum PackError {
    #[error("{got} cannot be packed: tensors of at least two dimensions of {want} can")]
    Unfit { got: String, want: String },
    #[error("its description (metadata {KEY}…) is damaged: {0}")]
    Description(String),
    #[error("its description is of format {0}, and this version of tilewright reads {FORMAT}; pack it again")]
    Format(u64),
    #[error("it holds {got} bytes, but {shape:?} in that storage are {want}: the file is damaged")]
    Bytes { got: usize, want: usize, shape: Vec<usize> },
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl PackedTensor {
    /// Packs logical values. Strides do not matter.
    pub fn pack(storage: Storage, tensor: &HostTensor, made: Made) -> Result<PackedTensor, PackError> {
        let unfit = || PackError::Unfit {
            got: format!("{}{:?}", tensor.elem(), tensor.shape()),
            want: storage.elem.to_string(),
        };
        let Some((matrices, rows, depth)) = matrices(tensor.shape()) else { return Err(unfit()) };
        if tensor.elem() != storage.elem {
            return Err(unfit());
        }
        let bits = storage.elem.bits();
        let dense = tensor.to_dense();
        let pitch = row_bytes(depth, bits);
        let size = storage.bytes(rows, depth).and_then(|n| sized(n, matrices)).ok_or_else(unfit)?;
        let mut bytes = HostTensor::zeros(tilewright_compiler::tile::ElemType::Uint(8), &[size])?;
        let packer = storage.packer();
        let from = dense.bytes();
        let (high, across) = storage.tiles(rows, depth);
        let tiles = high * across;
        bytes.bytes_storage().par_chunks_mut(storage.tile_bytes()).enumerate().for_each(|(n, tile)| {
            let from = &from[n / tiles * rows * pitch..];
            packer.pack_nth(n % tiles, (rows, depth), |r, k| read_code(&from[r * pitch..], k, bits), tile);
        });
        let (bytes, shape) = (std::mem::take(bytes.bytes_storage()), tensor.shape().to_vec());
        Ok(PackedTensor { hash: storage.hash(), storage, shape, bytes, made })
    }

    /// The logical values.
    pub fn unpack(&self) -> Result<HostTensor, TensorError> {
        let Some((_, rows, depth)) = matrices(&self.shape) else {
            unreachable!("a packed tensor has rows and depth")
        };
        let elem = self.storage.elem;
        // A row of tiles at a time: its rows are nobody else's.
        let (tall, (_, across)) = (self.storage.tile.0 as usize, self.storage.tiles(rows, depth));
        let band = across * self.storage.tile_bytes();
        let packer = self.storage.packer();
        let mut tensor = HostTensor::zeros(elem, &self.shape)?;
        let pitch = row_bytes(depth, elem.bits());
        if self.shape.contains(&0) {
            return Ok(tensor);
        }
        let high = self.storage.tiles(rows, depth).0;
        let matrices =
            tensor.bytes_storage().par_chunks_mut(rows * pitch).zip(self.bytes.par_chunks(high * band));
        matrices.for_each(|(matrix, bytes)| {
            matrix.par_chunks_mut(tall * pitch).zip(bytes.par_chunks(band)).for_each(|(lines, band)| {
                let shape = (lines.len() / pitch, depth);
                for (n, tile) in band.chunks(self.storage.tile_bytes()).enumerate() {
                    packer.unpack_nth(n, shape, tile, |r, k, code| {
                        tilewright_compiler::numeric::write_code(
                            &mut lines[r * pitch..],
                            k,
                            elem.bits(),
                            code,
                        );
                    });
                }
            });
        });
        Ok(tensor)
    }

    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Of the storage: what a kernel must have to read this.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Of the logical tensor: rows and depth last.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// As a kernel reads them.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Whether a kernel with this storage reads it.
    pub fn fits(&self, storage: &Storage) -> bool {
        self.hash == storage.hash()
    }

    /// What a file's metadata says of it.
    fn describe(&self) -> String {
        let settings: Map<String, Value> =
            self.made.settings.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        json!({
            "format": FORMAT,
            "shape": self.shape,
            "storage": self.storage.to_json(),
            "kernel": self.made.kernel,
            "target": self.made.target,
            "settings": settings,
        })
        .to_string()
    }

    /// From a file's tensor and what its metadata says of it.
    pub fn from_file(array: SafeArray, description: &str) -> Result<PackedTensor, PackError> {
        let damaged = |what: &str| PackError::Description(what.into());
        let json: Value =
            serde_json::from_str(description).map_err(|e| PackError::Description(e.to_string()))?;
        match json["format"].as_u64() {
            Some(FORMAT) => {}
            Some(other) => return Err(PackError::Format(other)),
            None => return Err(damaged("`format` is no number")),
        }
        let extent = |n: &Value| n.as_u64().and_then(|n| usize::try_from(n).ok());
        let shape =
            json["shape"].as_array().map(|all| all.iter().map(extent).collect::<Option<Vec<usize>>>());
        let shape = shape.flatten().ok_or_else(|| damaged("`shape` is no list of numbers"))?;
        let Some((matrices, rows, depth)) = matrices(&shape) else {
            return Err(damaged("`shape` is not two numbers, or more"));
        };
        let storage =
            Storage::from_json(&json["storage"]).map_err(|e| PackError::Description(e.to_string()))?;
        let want = storage.bytes(rows, depth).and_then(|n| sized(n, matrices));
        let want = want.ok_or_else(|| damaged("`shape` is beyond all memory"))?;
        if array.dtype != Dtype::U8 || array.bytes.len() != want {
            return Err(PackError::Bytes { got: array.bytes.len(), want, shape });
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let settings = json["settings"].as_object().into_iter().flatten();
        let made = Made {
            kernel: text(&json["kernel"]),
            target: text(&json["target"]),
            settings: settings.map(|(name, value)| (name.clone(), text(value))).collect(),
        };
        Ok(PackedTensor { hash: storage.hash(), storage, shape, bytes: array.bytes, made })
    }
}

/// How many matrices a shape is, and the rows and depth of each; `None` below two dimensions, or where nobody could count them.
fn matrices(shape: &[usize]) -> Option<(usize, usize, usize)> {
    let (front, &[rows, depth]) = shape.split_last_chunk::<2>()?;
    Some((front.iter().try_fold(1usize, |n, e| n.checked_mul(*e))?, rows, depth))
}

/// Bytes of so many matrices.
fn sized(bytes: usize, matrices: usize) -> Option<usize> {
    bytes.checked_mul(matrices).filter(|n| *n <= isize::MAX as usize)
}

/// Writes packed tensors to one file.
pub fn write(path: &Path, tensors: Vec<(String, PackedTensor)>) -> Result<(), SafeError> {
    let describe = |(name, t): &(String, PackedTensor)| (format!("{KEY}{name}"), t.describe());
    let metadata = tensors.iter().map(describe).collect();
    let arrays: Vec<(String, SafeArray)> = tensors
        .into_iter()
        .map(|(name, t)| {
            let (front, tile) = t.shape.split_at(t.shape.len().saturating_sub(2));
            let (i, j) = t.storage.tiles(tile[0], tile[1]);
            let shape = front.iter().copied().chain([i, j, t.storage.tile_bytes()]).collect();
            (name, SafeArray { dtype: Dtype::U8, shape, bytes: t.bytes })
        })
        .collect();
    safetensors::write_with(path, &arrays, Some(metadata))
}
