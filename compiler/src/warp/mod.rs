//! T3, the warp level: what one thread does. Registers, addresses, predicates; structured control flow; synchronisation with its reasons.
//!
//! | file | holds |
//! | --- | --- |
//! | [`ir`] | the data structure |
//! | [`build`] | the builder |
//! | [`lower`] | T2 to T3, in order |
//! | [`scalars`] | parameters, strides, the block's place in the grid |
//! | [`tilemap`], [`address`] | layouts as thread columns and register constants; addresses from them |
//! | [`copies`], [`across`] | copies to shared memory, along and across the contracted axis |
//! | [`matrix`] | fragments, matrix instructions |
//! | [`elements`], [`integers`], [`casts`] | elementwise work, element by element; integers; conversions |
//! | [`sharing`], [`grouped`], [`handing`] | which registers hold the same element; scales of groups, read a step ahead and handed round |
//! | [`past`] | what operands of products hold past the end of a range |
//! | [`packed`], [`unpack`] | packed operands; their codes to halves and bytes |
//! | [`tables`] | codebooks of few values, looked up in registers |
//! | [`pairs`], [`quads`], [`bits`] | operands of products two elements at a time, four, and 32 |
//! | [`places`], [`global`], [`packing`] | where elements are in global memory; reading and writing them, several at a time |
//! | [`functions`] | functions that the machine has not, or only roughly |
//! | [`reductions`], [`arguments`], [`scans`] | along lanes: sums and their kin, `argmax`, running sums |
//! | [`lookups`], [`sorting`] | tiles subscripted by coordinates, and by rank |
//! | [`plain_loop`], [`branches`] | structure without a pipeline |
//! | [`grid`], [`work`] | the block's place among instances; reductions across them |
//! | [`print`] | the text of `--emit warp` |

pub mod across;
pub mod address;
pub mod arguments;
pub mod bits;
pub mod branches;
pub mod build;
pub mod casts;
pub mod copies;
mod dense_bits;
pub mod elements;
pub mod functions;
pub mod global;
pub mod grid;
pub mod grouped;
mod handing;
pub mod integers;
pub mod ir;
pub mod items;
pub mod lookups;
pub mod lower;
pub mod matrix;
pub mod packed;
pub mod packing;
pub mod pairs;
mod past;
pub mod pipelined_loop;
pub mod places;
mod plain_loop;
pub mod print;
pub mod quads;
pub mod reductions;
pub mod remainder;
pub mod scalars;
pub mod scans;
pub mod sharing;
pub mod sorting;
pub mod tables;
pub mod tilemap;
pub mod unpack;
pub mod work;
