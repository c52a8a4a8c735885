//! T1, the tile level: typed tile values on named axes, structured loops, global tensors; no memory spaces, no threads.
//!
//! | file | holds |
//! | --- | --- |
//! | [`elem`] | element types |
//! | [`ops`] | elementwise operations, reductions, their names and constant folding |
//! | [`launch`] | parameters, dimensions, promises and the expressions over them |
//! | [`ir`] | the kernel: values, axes, loops, statements |
//! | [`affine`] | subscripts as affine forms over axes |
//! | [`distribute`] | another way of rounding that the language allows |
//! | [`reach`] | how far the coordinates of a launch go |
//! | [`swapped`] | subscripts in another order than the dimensions |
//! | [`windows`] | sums of coordinates and scalars that are only compared |
//! | [`print`](mod@print) | T1 as text |
//! | [`verify`](mod@verify) | the invariants |
//! | [`eval`] | what a kernel means: the evaluator |
//!
//! Start with [`ir`]'s comment.

pub mod affine;
pub mod distribute;
pub mod elem;
pub mod eval;
pub mod ir;
pub mod launch;
pub mod multiples;
pub mod ops;
pub mod print;
pub mod reach;
pub mod swapped;
pub mod verify;
pub mod windows;

pub use ir::*;
