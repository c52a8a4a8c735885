//! The layout algebra: which thread holds which element of a tile, and where it lies in memory.
//!
//! This module is mathematics. It knows no IR and no PTX, and depends on nothing else in the project.
//!
//! # A tile of 4×4 elements on four lanes
//!
//! Sixteen elements, four lanes, so each lane has four registers. Who holds what? One answer is `spatial(2,2) * local(2,2)`:
//! the lanes form a 2×2 grid, and each holds a block of 2×2 elements. Cells say lane and register:
//!
//! ```text
//!          column 0       1       2       3
//! row 0        t0:r0   t0:r1   t1:r0   t1:r1
//! row 1        t0:r2   t0:r3   t1:r2   t1:r3
//! row 2        t2:r0   t2:r1   t3:r0   t3:r1
//! row 3        t2:r2   t2:r3   t3:r2   t3:r3
//! ```
//! `local(2,2) * spatial(2,2)` deals the elements out the other way: neighbours go to different lanes, and the 2×2 blocks are
//! repeated by registers:
//!
//! ```text
//!          column 0       1       2       3
//! row 0        t0:r0   t1:r0   t0:r1   t1:r1
//! row 1        t2:r0   t3:r0   t2:r1   t3:r1
//! row 2        t0:r2   t1:r2   t0:r3   t1:r3
//! row 3        t2:r2   t3:r2   t2:r3   t3:r3
//! ```
//! In a product `a * b` every element of `a` is replaced by a tile `b`: the left factor chooses the tile, the right one the
//! place in it. `tilewright layout 'spatial(2,2) * local(2,2)'` prints such tables.
//!
//! # Bits
//!
//! Write the numbers in binary. In the first table register `r = r1 r0` and lane `l = l1 l0` hold the element of row `l1 r1` and
//! column `l0 r0`. Every input bit owns one bit of a coordinate, and the layout is nothing but that list:
//!
//! | input bit | r0 | r1 | l0 | l1 |
//! | --- | --- | --- | --- | --- |
//! | moves | column by 1 | row by 1 | column by 2 | row by 2 |
//!
//! Swizzled layouts fit too, if a bit may move several things at once and coordinates are added by XOR. Let `l1` move the row by
//! 2 *and* the column by 1:
//!
//! ```text
//!          column 0       1       2       3
//! row 0        t0:r0   t0:r1   t1:r0   t1:r1
//! row 1        t0:r2   t0:r3   t1:r2   t1:r3
//! row 2        t2:r1   t2:r0   t3:r1   t3:r0       row 2, column 0 is lane 2 (row 2, column 1), r0 (column 1): 1 xor 1 = 0
//! row 3        t2:r3   t2:r2   t3:r3   t3:r2
//! ```
//! This is a linear map over the field of two elements: a matrix with a column per input bit, and coordinates as rows. A
//! [`Layout`] stores the columns as `u64`s, all axes side by side in one word. Then
//!
//! - composition is matrix multiplication ([`LinearMap::then`]), and "who holds this element" is the inverse;
//! - an input bit that moves nothing is a broadcast: the copies of an element are the kernel ([`LinearMap::kernel`]);
//! - an instruction can serve a layout if its fragment divides it ([`LinearMap::divide_right`]);
//! - lanes hit different banks if the map to the bank bits is injective on them ([`banks`]);
//! - converting between layouts is one matrix, whose blocks say whether registers, shuffles or memory are needed ([`convert`]).
//!
//! # Odd digits
//!
//! Tiles of 96, 160 or 192 are common, and 3 is not a power of two. But 96 = 3·32, and instructions work on the 32. So a coordinate is
//! `odd · 2^k + low`: the low part is linear as above and the odd part is one digit outside, which an input (registers, loop
//! steps, segments, instances, CTAs) counts through unchanged. `local(3) * spatial(4)` on twelve elements:
//!
//! ```text
//! element   0  1  2  3   4  5  6  7   8  9 10 11
//! lane      0  1  2  3   0  1  2  3   0  1  2  3
//! register  0  0  0  0   1  1  1  1   2  2  2  2
//! ```
//! Odd digits are always outermost. `local(2) * local(3)` would put one inside and is an error; `local(3) * local(2)` is fine.
//!
//! # Memory
//!
//! A [`SharedLayout`] maps coordinates to byte offsets, linear again on the low part, with strides for outer digits. The element
//! at row r, column c of a 4×4 tile of 4-byte elements, row-major and with the row XORed into the column:
//!
//! ```text
//! row-major                 swizzled: 4·(c xor r) + 16·r
//!   0   4   8  12             0   4   8  12
//!  16  20  24  28            20  16  28  24
//!  32  36  40  44            40  44  32  36
//!  48  52  56  60            60  56  52  48
//! ```
//! Were there 4 banks, a column of the left table would lie in one of them, and each column of the right one in all four.
//! [`solve_shared`] finds such layouts for all who touch a buffer at once.
//!
//! # Conventions
//!
//! - [`Dim`]s are ordered from the lowest bits up: bit, reg, lane, warp, inst, cta, …; [`Axis`] 0 is the outermost (row-major).
//! - Registers count *elements*; two neighbouring 16-bit elements share a 32-bit register.
//! - Layouts are canonical: equal functions over equally named spaces compare equal.
//! - Everything fallible returns [`LayoutError`]; nothing here panics on any input. A map has at most 64 bits on either side.
//!
//! ```
//! use tilewright_compiler::layout::{Axis, Dim, local, spatial};
//! let blocks = spatial(&[2, 2])?.product(&local(&[2, 2])?)?;
//! assert_eq!(blocks.coords(&[(Dim::Lane, 1), (Dim::Reg, 2)]), [(Axis(0), 1), (Axis(1), 2)]);
//! // Who holds row 3, column 0?
//! let holder = blocks.inverse()?.coords(&[(Axis(0), 3), (Axis(1), 0)]);
//! assert!(holder.contains(&(Dim::Lane, 2)) && holder.contains(&(Dim::Reg, 2)));
//! // A 2x2 block per lane is divisible by a 1x2 vector, and what is left are its two rows.
//! assert_eq!(blocks.divide_right(&local(&[1, 2])?)?, spatial(&[2, 2])?.product(&local(&[2, 1])?)?);
//! # Ok::<(), tilewright_compiler::layout::LayoutError>(())
//! ```

pub mod atoms;
pub mod banks;
mod build;
pub mod convert;
mod describe;
mod error;
pub mod f2;
mod map;
mod ops;
pub mod panel;
mod product;
mod shared;
pub mod show;
mod solve;
mod space;

pub use build::{
    Order, coalesced, column_local, column_spatial, local, replicated, spatial, spread, spread_over,
};
pub use error::LayoutError;
pub use map::{Column, Layout, LinearMap, OddDigit, OffsetMap};
pub use ops::Vector;
pub use shared::{Access, AccessDigit, AddressTerm, OuterDigit, Place, SharedLayout, Swizzle};
pub use solve::{AccessKind, Accessor, SharedSolution, Wavefronts, solve_shared};
pub use space::{Axis, Dim, Label, Offset, Space};

#[cfg(test)]
mod tests;
