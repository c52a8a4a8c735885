//! Why a launch is refused. Every variant is about the arguments, shows both sides, and says where each came from.

use thiserror::Error;
use tilewright_compiler::tile::ElemType;

use crate::tensor::TensorError;

/// A launch that cannot be.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum LaunchError {
    #[error("{kernel} has no parameter {name:?}{}; its parameters are {}", did_you_mean(.near), .known.join(", "))]
    UnknownParameter { kernel: String, name: String, near: Option<String>, known: Vec<String> },
    #[error("{kernel} has no dimension {name:?}{}; its dimensions are {}", did_you_mean(.near), .known.join(", "))]
    UnknownDimension { kernel: String, name: String, near: Option<String>, known: Vec<String> },
    #[error("{name} was not given: {kernel} wants {want}")]
    Missing { kernel: String, name: String, want: String },
    #[error("{name} is {want}, but {origin} is {got}")]
    WrongKind { name: String, want: String, origin: String, got: String },
    #[error("{name} has elements of type {want}, but {origin} has {got}")]
    WrongElement { name: String, want: ElemType, origin: String, got: ElemType },
    #[error("{name} has {want} dimensions [{shape}], but {origin} has shape {got:?}")]
    WrongRank { name: String, want: usize, shape: String, origin: String, got: Vec<usize> },
    #[error("{dim} is {first} in {first_origin} but {second} in {second_origin}")]
    DimensionClash { dim: String, first: i64, first_origin: String, second: i64, second_origin: String },
    #[error(
        "{name} has extent {text} along axis {axis}, but {origin} has {got} there, and no {dim} gives that"
    )]
    NotAffine { name: String, axis: usize, text: String, origin: String, got: i64, dim: String },
    #[error("{name} must have extent {text} = {want} along axis {axis}{facts}, but {origin} has {got}")]
    WrongExtent {
        name: String,
        axis: usize,
        text: String,
        want: i64,
        facts: String,
        origin: String,
        got: i64,
    },
    #[error("dimension {dim} has no value: give an argument that has it, or --dim {dim}=N")]
    Unbound { dim: String },
    #[error("{what} is negative: {value}{facts}")]
    Negative { what: String, value: i64, facts: String },
    #[error("{text} must hold{origin}, but it does not{facts}")]
    BrokenPromise { text: String, origin: String, facts: String },
    #[error(
        "{what} has no value for these arguments{facts}: it divides by zero or leaves the range of integers"
    )]
    NoValue { what: String, facts: String },
    #[error(
        "{name} must be dense row-major, but {origin} has strides {got:?} for shape {shape:?}; make it contiguous, or declare the parameter with strides({})",
        vec!["_"; .shape.len()].join(", ")
    )]
    NotDense { name: String, origin: String, shape: Vec<usize>, got: Vec<usize> },
    #[error(
        "{name} has stride {want} along axis {axis}, but {origin} has stride {got} there; make it contiguous, or declare that stride as `_`"
    )]
    WrongStride { name: String, axis: usize, want: i64, origin: String, got: usize },
    #[error("{name} is written, but {origin} has stride 0 along axis {axis}: several elements share memory")]
    Broadcast { name: String, axis: usize, origin: String },
    #[error(
        "{name} must start at a multiple of {want} bytes, but {origin} starts at {address:#x}; copy it, or declare the parameter with align({fits})"
    )]
    Misaligned { name: String, want: u32, origin: String, address: u64, fits: u64 },
    #[error(
        "{first} and {second} overlap in memory, and {written} is written: give each a tensor of its own"
    )]
    Overlap { first: String, second: String, written: String },
    #[error("{origin} has {len} bytes, but {name} reaches to byte {reach}")]
    TooShort { name: String, origin: String, len: u64, reach: u64 },
    #[error("{name} must hold numbers {range}, but {value} stands at {index:?} of {origin}")]
    OutOfRange { name: String, range: String, value: i64, index: Vec<usize>, origin: String },
    #[error("{name} must {rule}, but {origin} has {found}")]
    Promise { name: String, rule: String, origin: String, found: String },
    #[error("{name} = {value} does not fit in {elem}")]
    ScalarRange { name: String, value: String, elem: ElemType },
    #[error("{what} is {value}, more than the {most} that {limit}")]
    TooLarge { what: String, value: u64, most: u64, limit: String },
    #[error(
        "{what} is {value} for these arguments: coordinates are held in 32 bits (`--device eval` takes any)"
    )]
    Beyond { what: String, value: String },
    #[error("{name} must be a number {range}, but it is {value}")]
    ScalarPromise { name: String, range: String, value: String },
    #[error("no variant of {kernel} fits these arguments' addresses and strides (it has {}); align them to 16 bytes", .variants.join(", "))]
    NoVariant { kernel: String, variants: Vec<String> },
    #[error(
        "{name}: {origin} is packed for another schedule: {difference} (its recipe is {got:016x}, the kernel's {want:016x})"
    )]
    PackedForAnother { name: String, origin: String, difference: String, got: u64, want: u64 },
    #[error("{name} cannot be packed: {why}")]
    Unpackable { name: String, why: String },
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

fn did_you_mean(near: &Option<String>) -> String {
    near.as_ref().map(|n| format!(" (did you mean {n}?)")).unwrap_or_default()
}
