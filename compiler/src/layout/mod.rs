//! The layout algebra.

pub mod atoms;
pub mod banks;
mod build;
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
