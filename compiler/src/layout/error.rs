//! What can be wrong with a layout, in words for the person who wrote it.

use super::space::Dim;

/// An operation that has no answer. All of these are the caller's request, never a bug of the algebra.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    #[error("{what} needs {bits} bits; a layout has at most 64")]
    TooWide { what: &'static str, bits: u32 },
    #[error("{label} would count to 2^{bits} or more, and coordinates have 32 bits")]
    ExtentTooLarge { label: String, bits: u32 },
    #[error("an odd factor of {radix} is too large: 65535 at most")]
    OddTooLarge { radix: u32 },
    #[error("a layout with {inputs} input bits was given {columns} columns")]
    ColumnCount { inputs: u32, columns: usize },
    #[error("column {column} reaches beyond the {bits} output bits")]
    ColumnRange { column: usize, bits: u32 },
    #[error("an extent is zero")]
    ZeroExtent,
    #[error("a buffer of 2^{bits} bytes or more has no 32-bit offsets")]
    BufferTooLarge { bits: u32 },
    #[error("{radix} is not an odd digit: odd digits are odd and at least 3")]
    NotOdd { radix: u32 },
    #[error(
        "`{dim}` counts {extent}, which is not a power of two; only reg, loop, seg, inst and cta may hold an odd factor"
    )]
    OddOnPowerOfTwoDim { dim: Dim, extent: u32 },
    #[error(
        "the right factor has an odd extent on {axis} and the left factor divides {axis} too: an odd factor stands outermost, so write it leftmost"
    )]
    OddInside { axis: String },
    #[error("the odd factors of {label} do not match: {left} on the left, {right} on the right")]
    OddMismatch { label: String, left: u32, right: u32 },
    #[error("{label} is {left} bits wide on the left and {right} on the right")]
    WidthMismatch { label: String, left: u32, right: u32 },
    #[error("this layout is not invertible: {inputs} input bits, {outputs} output bits, rank {rank}")]
    NotInvertible { inputs: u32, outputs: u32, rank: u32 },
    #[error("this layout does not reach every element: rank {rank} of {outputs} bits")]
    NotSurjective { outputs: u32, rank: u32 },
    #[error("the divisor is not a factor: {reason}")]
    NotAFactor { reason: String },
    #[error("{axis} cannot be sliced off: an input bit moves along it and along another axis at once")]
    MixedAxis { axis: String },
    #[error("no axis {axis} here")]
    NoSuchAxis { axis: String },
    #[error("{what}")]
    Shape { what: String },
    #[error("elements of {bits} bits have no byte address; pack them into words first")]
    SubByte { bits: u32 },
    #[error(
        "a {bytes}-byte access needs {elements} consecutive elements of {axis} in a thread's first registers"
    )]
    VectorNotContiguous { bytes: u32, elements: u32, axis: String },
    #[error("{what} is not linear over the tile: {reason}")]
    NotLinear { what: String, reason: String },
    #[error("no shared layout serves all accessors: {reason}")]
    Unsolvable { reason: String },
}
