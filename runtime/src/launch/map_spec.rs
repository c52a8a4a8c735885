//! Tensor maps in launch files.
//!
//! ```json
//! {"tensormap": {"dtype": "f16", "shape": [256, 512], "strides_bytes": [1024], "box": [128, 64], "element_strides": [1, 1],
//!                "swizzle": "128B", "interleave": "none", "oob": "zero", "init": "a.npy"}}
//! {"tensormap": {"of": 0, "box": [128, 64], "swizzle": "128B"}}
//! {"tensormap": {"of": 0, "im2col": {"lower": [-1, -1], "upper": [-1, -1], "channels": 64, "pixels": 128}, "swizzle": "128B"}}
//! ```
//! Lists are outermost first, as shapes are; a map has one stride less than dimensions, since elements of the innermost are adjacent. The first
//! form brings a buffer of its own, the second is over the buffer of argument `of`, whose element type and shape it takes where it
//! does not say otherwise. A map with `im2col` has no `box`: its dimensions are images, one to three of an image, and channels, and the corners are those of
//! `cuTensorMapEncodeIm2col`, a number for each dimension of an image.

use serde::{Deserialize, Serialize};

use super::file::FileError;
use crate::executor::{ElementType, Swizzle, TensorMap, Window};
use crate::tensor::HostTensor;

/// A tensor map argument.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapSpec {
    /// The argument whose buffer it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<u64>>,
    /// Dense where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strides_bytes: Option<Vec<u64>>,
    #[serde(rename = "box", default, skip_serializing_if = "Vec::is_empty")]
    pub boxes: Vec<u32>,
    /// Instead of a box.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub im2col: Option<Box<Im2colSpec>>,
    /// All 1 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element_strides: Option<Vec<u32>>,
    /// `none`, `32B`, `64B`, `128B`.
    #[serde(default = "none")]
    pub swizzle: String,
    #[serde(default = "none")]
    pub interleave: String,
    /// `zero` or `nan`.
    #[serde(default = "zero")]
    pub oob: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<String>,
}

/// What copies of windows take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Im2colSpec {
    /// Where pixels begin.
    pub lower: Vec<i32>,
    /// How much further than the image they end.
    pub upper: Vec<i32>,
    /// Channels of a pixel.
    pub channels: u32,
    /// Pixels of a copy.
    pub pixels: u32,
}

fn none() -> String {
    "none".into()
}

fn zero() -> String {
    "zero".into()
}

/// How elements of a dtype are moved.
fn element(dtype: &str) -> Option<ElementType> {
    Some(match dtype {
        "f16" => ElementType::F16,
        "bf16" => ElementType::Bf16,
        "f32" | "tf32" => ElementType::F32,
        "f64" => ElementType::F64,
        "i8" | "u8" | "e4m3" | "e5m2" => ElementType::U8,
        "i16" | "u16" => ElementType::U16,
        "i32" => ElementType::S32,
        "u32" => ElementType::U32,
        "i64" => ElementType::S64,
        "u64" => ElementType::U64,
        _ => return None,
    })
}

impl MapSpec {
    /// The map over `buffer`, which is of type `dtype` where the map does not say its own.
    ///
    /// # Errors
    /// What is wrong with the map of argument `index`.
    pub fn make(&self, index: usize, dtype: &str, buffer: &HostTensor) -> Result<TensorMap, FileError> {
        let wrong = |message: String| FileError::BadMap { index, message };
        let dtype = self.dtype.as_deref().unwrap_or(dtype);
        let ty = element(dtype).ok_or_else(|| FileError::Dtype { index, dtype: dtype.into() })?;
        let shape: Vec<u64> = match &self.shape {
            Some(shape) => shape.clone(),
            None => buffer.shape().iter().map(|&n| n as u64).collect(),
        };
        let rank = shape.len();
        if rank == 0 || rank > 5 {
            return Err(wrong(format!("{rank} dimensions; it has 1 to 5")));
        }
        if shape.iter().any(|&n| n == 0 || n > 1 << 32) {
            return Err(wrong(format!("shape {shape:?}; extents are 1 to 2^32")));
        }
        let element_strides = self.element_strides.clone().unwrap_or_else(|| vec![1; rank]);
        let dense = || {
            let mut strides: Vec<u64> = shape[1..]
                .iter()
                .rev()
                .scan(ty.bytes() as u64, |stride, &n| {
                    *stride = stride.saturating_mul(n);
                    Some(*stride)
                })
                .collect();
            strides.reverse();
            strides
        };
        let strides = self.strides_bytes.clone().unwrap_or_else(dense);
        for (name, len, wanted) in [
            ("box", self.boxes.len(), if self.im2col.is_some() { 0 } else { rank }),
            ("element_strides", element_strides.len(), rank),
            ("strides_bytes", strides.len(), rank - 1),
        ] {
            if len != wanted {
                return Err(wrong(format!("{name} has {len} numbers; {wanted} belong to {rank} dimensions")));
            }
        }
        if self.boxes.iter().any(|&n| n == 0 || n > 256) {
            return Err(wrong(format!("box {:?}; extents are 1 to 256", self.boxes)));
        }
        if element_strides.iter().any(|&n| n == 0 || n > 8) {
            return Err(wrong(format!("element_strides {element_strides:?}; they are 1 to 8")));
        }
        if let Some(stride) = strides.iter().find(|&&s| !s.is_multiple_of(16) || s >= 1 << 40) {
            return Err(wrong(format!("a stride of {stride} bytes; it is a multiple of 16 below 2^40")));
        }
        let swizzle = match self.swizzle.as_str() {
            "none" => Swizzle::None,
            "32B" => Swizzle::Rows(32),
            "64B" => Swizzle::Rows(64),
            "128B" => Swizzle::Rows(128),
            other => return Err(wrong(format!("swizzle {other:?}; it is none, 32B, 64B or 128B"))),
        };
        if self.interleave != "none" {
            return Err(wrong(format!("interleave {:?}; only none is supported", self.interleave)));
        }
        let nan_fill = match self.oob.as_str() {
            "zero" => false,
            "nan" => true,
            other => return Err(wrong(format!("oob {other:?}; it is zero or nan"))),
        };
        let mut map = TensorMap {
            address: 0,
            ty,
            rank,
            dims: [1; 5],
            strides: [ty.bytes() as u64, 0, 0, 0, 0],
            boxes: [1; 5],
            element_strides: [1; 5],
            swizzle,
            interleave: 0,
            nan_fill,
            window: None,
        };
        if let Some(spec) = &self.im2col {
            let image = rank.saturating_sub(2);
            for (name, list) in [("lower", &spec.lower), ("upper", &spec.upper)] {
                if list.len() != image || image == 0 {
                    let len = list.len();
                    return Err(wrong(format!(
                        "im2col.{name} has {len} numbers; {image} belong to {rank} dimensions"
                    )));
                }
            }
            if spec.channels == 0 || spec.pixels == 0 {
                return Err(wrong("im2col takes at least one channel of one pixel".into()));
            }
            let mut window =
                Window { lower: [0; 3], upper: [0; 3], channels: spec.channels, pixels: spec.pixels };
            for (d, at) in (0..image.min(3)).rev().enumerate() {
                (window.lower[d], window.upper[d]) = (spec.lower[at], spec.upper[at]);
            }
            map.window = Some(window);
        }
        for (d, at) in (0..rank).rev().enumerate() {
            map.dims[d] = shape[at];
            map.boxes[d] = self.boxes.get(at).copied().unwrap_or(1);
            map.element_strides[d] = element_strides[at];
            if d > 0 {
                map.strides[d] = strides[at];
            }
        }
        map.check().map_err(wrong)?;
        let last = (0..rank)
            .fold(0u64, |end, d| end.saturating_add((map.dims[d] - 1).saturating_mul(map.strides[d])));
        let (needs, has) = (last.saturating_add(ty.bytes() as u64), buffer.bytes().len());
        if needs > has as u64 {
            return Err(wrong(format!("it covers {needs} bytes of a buffer of {has}")));
        }
        Ok(map)
    }
}
