//! `tilewright layout EXPR`: an expression in, a table, a picture or JSON out.
//!
//! ```
//! use tilewright_compiler::layout::show;
//! let shown = show::parse_expr("spatial(2,2) * local(1,2)").unwrap();
//! let table = show::table(&shown).unwrap();
//! assert!(table.contains("t0:r0 t0:r1 t1:r0 t1:r1"), "{table}");
//! ```
//!
//! | expression | is |
//! | --- | --- |
//! | `spatial(8,4)`, `column_spatial(8,4)` | one element per thread, last (first) axis fastest |
//! | `local(2,1)`, `column_local(2,1)` | all elements in one thread's registers |
//! | `warps(2,2)`, `inst(3,1)`, `cta(2,1)`, `loop(4,1)`, `seg(2,1)` | the same for other dimensions |
//! | `replicated(lane, 4)` | copies |
//! | `mma.m16n8k16.A`, `ldmatrix.x4.trans`, `wgmma.C(m64n256)` | fragments (see [`NAMES`](super::atoms::NAMES)) |
//! | `a * b` | every element of `a` becomes a tile `b` |
//! | `a / b` | the `c` with `c * b = a`; `left_divide(a, b)`: the `c` with `b * c = a` |
//! | `interleave(a, axis, atoms)` | neighbouring atoms share a run: 4 atoms of mma.C give 8 adjacent columns |
//! | `permute(a, axis, 0, 3, 4, 1, 2)` | axis bit i goes to the i-th number |
//! | `transpose(a)`, `reduce(a, axis)`, `slice(a, axis)` | |
//! | `coalesced(rows, columns, vector, threads)` | the copy of a tile by consecutive threads |
//! | `(8,4):(4,1)`, `f16 (64,64):(64,1)` | memory: CuTe's shape:stride, in elements (of one byte without a type) |
//! | `row_major(f16, 64, 64)`, `column_major(…)` | memory |
//! | `swizzle(3,4,3) o row_major(f16, 64, 64)` | CuTe's swizzle, on byte offsets |
//! | `panels(f16, 128, 64, 128)` | what TMA and wgmma agree on: panels of 128 (64, 32) bytes |
//! | `shared(f16, 128, 64)` | the layout that serves 16-byte cp.async and ldmatrix without conflicts |

mod build;
mod cells;
mod error;
mod json;
mod parse;
mod svg;
mod table;

pub use error::ExprError;
pub use json::json;
pub use parse::parse_expr;
pub use svg::svg;
pub use table::table;

use super::map::Layout;
use super::shared::SharedLayout;

/// A value of the expression language that can be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Which thread and register holds which element. Axes are 0, 1, …
    Distributed(Layout),
    /// Where elements lie in memory.
    Memory(SharedLayout),
}

/// The layout is fine but has too many elements to be drawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{elements} elements are too many to draw ({limit} at most); slice the layout or ask for JSON")]
pub struct TooLarge {
    pub elements: u64,
    pub limit: u64,
}

#[cfg(test)]
mod tests;
