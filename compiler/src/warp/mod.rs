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
//! | [`elements`] | elementwise work, element by element |
//! | [`places`], [`global`] | where elements are in global memory; reading and writing them |
//! | [`functions`] | functions that the machine has not, or only roughly |
//! | [`reductions`], [`plain_loop`], [`branches`] | kernels without matrix instructions |
//! | [`grid`], [`work`] | the block's place among instances; reductions across them |
//! | [`print`] | the text of `--emit warp` |

pub mod across;
pub mod address;
pub mod branches;
pub mod build;
pub mod copies;
pub mod elements;
pub mod functions;
pub mod global;
pub mod grid;
pub mod ir;
pub mod lower;
pub mod matrix;
pub mod places;
pub mod plain_loop;
pub mod print;
pub mod reductions;
pub mod scalars;
pub mod tilemap;
pub mod work;
