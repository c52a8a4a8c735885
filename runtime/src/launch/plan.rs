//! A launch file as a GPU gets it: every parameter's bytes, but for addresses, and every tensor map as the driver's encoder takes it.
//!
//! All of it is known without a GPU, and tested and shown (`exec --dry-run`) without one; `cuda/replay.rs` adds addresses and calls the driver.
//!
//! ```text
//! gemm: grid 4x8x1, block 384x1x1, cluster 1x1x1, 196672 bytes of dynamic shared memory
//!   0  tensor map of buffer 0 (f16): dims [1024, 1024], strides [2048], box [64, 128], element strides [1, 1], swizzle 128B, fill zero
//!   2  address of buffer 2, 2097152 bytes
//!   3  bytes 00 04 00 00
//! ```

use std::fmt;

use super::file::{LaunchFile, LoadedLaunch};
use crate::executor::{Arg, ElementType, Swizzle, TensorMap, Window};

/// What `cuTensorMapEncodeTiled` is asked for. Lists are innermost first, as the driver has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeTiled {
    pub ty: ElementType,
    /// Where the tensor starts in its buffer, in bytes.
    pub offset: u64,
    pub dims: Vec<u64>,
    /// Bytes; one less than dimensions, since elements of the innermost are adjacent.
    pub strides: Vec<u64>,
    pub boxes: Vec<u32>,
    pub element_strides: Vec<u32>,
    /// 0 for none, else 1, 2, 3 for 32, 64 and 128 bytes, as in the driver's enumeration.
    pub swizzle: u32,
    /// 0 for none, 1 and 2 for 16 and 32 bytes.
    pub interleave: u32,
    pub nan_fill: bool,
    /// `cuTensorMapEncodeIm2col` is asked instead; `boxes` do not count.
    pub window: Option<Window>,
}

impl EncodeTiled {
    /// The parameters for a map.
    pub fn of(map: &TensorMap) -> EncodeTiled {
        EncodeTiled {
            ty: map.ty,
            offset: map.address,
            dims: map.dims[..map.rank].to_vec(),
            strides: map.strides[1..map.rank].to_vec(),
            boxes: map.boxes[..map.rank].to_vec(),
            element_strides: map.element_strides[..map.rank].to_vec(),
            swizzle: match map.swizzle {
                Swizzle::Rows(32) => 1,
                Swizzle::Rows(64) => 2,
                Swizzle::Rows(128) => 3,
                _ => 0,
            },
            interleave: map.interleave,
            nan_fill: map.nan_fill,
            window: map.window,
        }
    }

    /// The number of the element type in the driver's `CUtensorMapDataType`, which is not PTX's.
    pub fn data_type(&self) -> u32 {
        match self.ty {
            ElementType::U8 => 0,
            ElementType::U16 => 1,
            ElementType::U32 => 2,
            ElementType::S32 => 3,
            ElementType::U64 => 4,
            ElementType::S64 => 5,
            ElementType::F16 => 6,
            ElementType::F32 => 7,
            ElementType::F64 => 8,
            ElementType::Bf16 => 9,
        }
    }
}

/// One parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanParam {
    /// The address of a buffer, and so many bytes in.
    Address { buffer: usize, offset: u64 },
    /// A tensor map over a buffer, 128 bytes by value.
    Map { buffer: usize, encode: EncodeTiled },
    /// A scalar's little-endian bytes.
    Bytes(Vec<u8>),
}

/// A launch but for addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchPlan {
    pub entry: String,
    pub target: String,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub cluster: [u32; 3],
    /// Dynamic, to be asked for before the launch.
    pub shared_bytes: u32,
    /// Bytes of each buffer.
    pub buffers: Vec<usize>,
    pub params: Vec<PlanParam>,
}

impl LaunchPlan {
    /// The plan of a launch file that was loaded.
    pub fn new(file: &LaunchFile, loaded: &LoadedLaunch) -> LaunchPlan {
        let param = |arg: &Arg| match arg {
            Arg::Buffer { buffer, offset } => PlanParam::Address { buffer: *buffer, offset: *offset },
            Arg::TensorMap { map, buffer } => {
                PlanParam::Map { buffer: *buffer, encode: EncodeTiled::of(map) }
            }
            Arg::Scalar(bytes) => PlanParam::Bytes(bytes.clone()),
        };
        LaunchPlan {
            entry: file.kernel.clone(),
            target: file.target.clone(),
            grid: file.grid,
            block: file.block,
            cluster: file.cluster,
            shared_bytes: file.shared_bytes,
            buffers: loaded.buffers.iter().map(|b| b.bytes().len()).collect(),
            params: loaded.args.iter().map(param).collect(),
        }
    }

    /// Whether the launch names clusters.
    pub fn has_clusters(&self) -> bool {
        self.cluster != [1; 3]
    }

    /// Whether clusters are larger than every GPU of the architecture can place.
    pub fn is_non_portable(&self) -> bool {
        self.cluster.iter().map(|&n| u64::from(n)).product::<u64>() > 8
    }
}

impl fmt::Display for LaunchPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |v: [u32; 3]| format!("{}x{}x{}", v[0], v[1], v[2]);
        write!(
            f,
            "{}: grid {}, block {}, cluster {}, {} bytes of dynamic shared memory",
            self.entry,
            size(self.grid),
            size(self.block),
            size(self.cluster),
            self.shared_bytes
        )?;
        for (number, param) in self.params.iter().enumerate() {
            write!(f, "\n{number:>3}  ")?;
            match param {
                PlanParam::Address { buffer, offset } => {
                    let bytes = self.buffers.get(*buffer).copied().unwrap_or(0);
                    write!(f, "address of buffer {buffer}, {bytes} bytes")?;
                    if *offset != 0 {
                        write!(f, ", plus {offset}")?;
                    }
                }
                PlanParam::Bytes(bytes) => {
                    let hex: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
                    write!(f, "bytes {}", hex.join(" "))?;
                }
                PlanParam::Map { buffer, encode } => {
                    let swizzle = ["none", "32B", "64B", "128B"][encode.swizzle.min(3) as usize];
                    let ty = format!("{:?}", encode.ty).to_lowercase();
                    let image = encode.dims.len().saturating_sub(2).min(3);
                    let box_ = match &encode.window {
                        None => format!("box {:?}", encode.boxes),
                        Some(Window { lower, upper, channels, pixels }) => {
                            let (lower, upper) = (&lower[..image], &upper[..image]);
                            format!("im2col {lower:?} to {upper:?}, {channels} channels of {pixels} pixels")
                        }
                    };
                    write!(
                        f,
                        "tensor map of buffer {buffer} ({ty}): dims {:?}, strides {:?}, {box_}, element strides {:?}, swizzle {swizzle}, fill {}",
                        encode.dims,
                        encode.strides,
                        encode.element_strides,
                        if encode.nan_fill { "nan" } else { "zero" }
                    )?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_what_the_driver_takes() {
        let json = r#"{"ptx": "k.ptx", "kernel": "k", "target": "sm_90a", "grid": [2, 1, 1], "block": [128, 1, 1], "cluster": [2, 1, 1], "shared_bytes": 1024,
            "args": [{"tensormap": {"dtype": "bf16", "shape": [3, 100, 128], "strides_bytes": [25600, 256], "box": [1, 64, 32],
                      "element_strides": [1, 2, 1], "swizzle": "64B", "oob": "nan", "init": "zeros"}}, {"f32": 0.5}, {"null": true}]}"#;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("k.ptx"), "").unwrap();
        let file: LaunchFile = serde_json::from_str(json).unwrap();
        let plan = LaunchPlan::new(&file, &file.load(folder.path()).unwrap());
        let PlanParam::Map { encode, .. } = &plan.params[0] else { panic!("{:?}", plan.params) };
        assert_eq!((encode.data_type(), encode.swizzle, encode.nan_fill), (9, 2, true));
        assert_eq!((&encode.dims[..], &encode.strides[..]), (&[128, 100, 3][..], &[256, 25600][..]));
        assert_eq!((&encode.boxes[..], &encode.element_strides[..]), (&[32, 64, 1][..], &[1, 2, 1][..]));
        assert_eq!(plan.params[1], PlanParam::Bytes(vec![0, 0, 0, 63]));
        assert!(plan.has_clusters() && !plan.is_non_portable());
        let text = plan.to_string();
        assert!(
            text.contains("tensor map of buffer 0 (bf16): dims [128, 100, 3], strides [256, 25600]"),
            "{text}"
        );
        assert!(text.ends_with("bytes 00 00 00 00 00 00 00 00"), "{text}");
    }

    #[test]
    fn maps_of_windows_have_corners_instead_of_a_box() {
        let json = |map: &str| {
            format!(
                r#"{{"ptx": "k.ptx", "kernel": "k", "target": "sm_90a", "grid": [1, 1, 1], "block": [128, 1, 1], "cluster": [1, 1, 1], "shared_bytes": 0,
                "args": [{{"tensormap": {{"dtype": "f16", "shape": [2, 14, 12, 64], "init": "zeros", "element_strides": [1, 2, 1, 1], {map}}}}}]}}"#
            )
        };
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("k.ptx"), "").unwrap();
        let load = |map: &str| {
            let file: LaunchFile = serde_json::from_str(&json(map)).unwrap();
            file.load(folder.path()).map(|loaded| LaunchPlan::new(&file, &loaded)).map_err(|e| e.to_string())
        };
        let plan = load(r#""im2col": {"lower": [-1, -2], "upper": [-3, -4], "channels": 64, "pixels": 128}, "swizzle": "128B""#).unwrap();
        let PlanParam::Map { encode, .. } = &plan.params[0] else { panic!("{:?}", plan.params) };
        // Innermost first: width, then height.
        let window = Window { lower: [-2, -1, 0], upper: [-4, -3, 0], channels: 64, pixels: 128 };
        assert_eq!(encode.window, Some(window));
        assert_eq!(
            (&encode.dims[..], &encode.element_strides[..]),
            (&[64, 12, 14, 2][..], &[1, 1, 2, 1][..])
        );
        for (map, message) in [
            (
                r#""im2col": {"lower": [-1], "upper": [0], "channels": 64, "pixels": 1}"#,
                "im2col.lower has 1 numbers; 2 belong",
            ),
            (
                r#""im2col": {"lower": [0, 0], "upper": [0, 0], "channels": 64, "pixels": 1025}"#,
                "at most 256 and 1024",
            ),
            (r#""im2col": {"lower": [0, 0], "upper": [-14, 0], "channels": 64, "pixels": 1}"#, "is empty"),
            (
                r#""im2col": {"lower": [-200, 0], "upper": [0, 0], "channels": 64, "pixels": 1}"#,
                "at least -128",
            ),
            (
                r#""box": [1, 1, 1, 64], "im2col": {"lower": [0, 0], "upper": [0, 0], "channels": 64, "pixels": 1}"#,
                "box has 4 numbers; 0 belong",
            ),
            (r#""swizzle": "none""#, "box has 0 numbers; 4 belong"),
        ] {
            let error = load(map).expect_err(map);
            assert!(error.contains(message), "{map}: {error}");
        }
    }
}
