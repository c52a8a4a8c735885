//! Which registers hold a tile: one layout per set of axes, for all statements of a region.
//!
//! Two sources decide. Without a matrix instruction the digits of a [`Distribution`] do. After one, its accumulator does: `bias[j]` takes
//! the accumulator's layout restricted to j, so registers and lanes that differ in i only hold the same element. Either way values on
//! the same axes have the same layout, and no conversion is ever needed.

use super::distribution::Distribution;
use super::fragments::{Part, Tiling};
use super::products::Products;
use crate::layout::{Axis, Dim, Layout};
use crate::tile::ir as t1;

/// Registers that the tiles of one read may take before its accesses are left to where their elements are used.
const MOST_EAGER: u32 = 64;

/// Where the layouts of a region's tiles come from.
#[derive(Clone, Copy, Debug)]
pub enum Layouts<'a> {
    Digits(&'a Distribution),
    /// The accumulator of a product on axes `m` and `n`.
    Accumulator {
        tiling: &'a Tiling,
        m: t1::AxisId,
        n: t1::AxisId,
    },
    /// All of an operand that is computed from fragments, on its kept axis and k.
    Fragment {
        tiling: &'a Tiling,
        is_a: bool,
        outer: t1::AxisId,
        k: t1::AxisId,
    },
    /// The accumulators of several products: that of each, and what they share of it.
    Products {
        products: &'a Products,
        tilings: &'a [Tiling],
    },
    /// The rows that threads copy: coordinates of one axis in the layout of the copy.
    Rows {
        layout: &'a Layout,
        axis: t1::AxisId,
        /// Before a loop, rather than in its steps.
        eager: bool,
    },
}

impl Layouts<'_> {
    /// The layout of a tile on these axes, in this order; `None` for axes that the region does not have.
    pub fn layout(&self, axes: &[t1::AxisId]) -> Option<Layout> {
        match self {
            Layouts::Digits(d) => Some(d.layout(axes)),
            Layouts::Accumulator { tiling, m, n } => {
                let known = axes.iter().all(|a| a == m || a == n);
                known.then(|| tiling.accumulator_on(axes.iter().map(|a| a == m)))
            }
            Layouts::Fragment { tiling, is_a, outer, k } => {
                let known = axes.iter().all(|a| a == outer || a == k);
                let axes: Vec<bool> = axes.iter().map(|a| a == outer).collect();
                known.then(|| match is_a {
                    true => tiling.a_part(tiling.bk, &axes),
                    false => tiling.b_part(tiling.bk, &axes),
                })
            }
            Layouts::Products { products, tilings } => {
                let column = axes.iter().position(|a| products.products.iter().any(|p| p.n == *a));
                let of = |n: t1::AxisId| products.products.iter().position(|p| p.n == n);
                let tiling = &tilings[column.and_then(|c| of(axes[c])).unwrap_or(0)];
                let kept = |a: &t1::AxisId| products.part(*a);
                if let Some(p) = products
                    .products
                    .iter()
                    .position(|p| p.held().is_some() && axes.contains(&p.k) && column.is_none())
                {
                    let k = products.products[p].k;
                    let parts = axes.iter().map(|a| if *a == k { Some(None) } else { kept(a).map(Some) });
                    return Some(tilings[p].a_of(tilings[p].bk, &parts.collect::<Option<Vec<_>>>()?));
                }
                // A range that no product has, in the place of columns.
                let other = |a: &t1::AxisId| products.others.iter().find(|(o, n)| o == a && tiling.holds(*n));
                let beside = axes.iter().position(|a| column.is_none() && other(a).is_some());
                let column = column.or(beside);
                let wide = beside.and_then(|c| other(&axes[c])).map(|(_, n)| Tiling { bn: *n, ..*tiling });
                let tiling = wide.as_ref().unwrap_or(tiling);
                let part = |a: &t1::AxisId| match *a {
                    a if column.is_some_and(|c| axes[c] == a) => Some(Part::Column),
                    a => kept(&a),
                };
                let parts = axes.iter().map(part).collect::<Option<Vec<Part>>>()?;
                Some(tiling.accumulator_of(&parts))
            }
            Layouts::Rows { layout, axis, .. } => match axes {
                [] => layout.reduce(Axis(0)).ok(),
                [one] if one == axis => Some((*layout).clone()),
                _ => None,
            },
        }
    }

    /// Which bits of the warp number move along any of these axes.
    pub fn warp_mask(&self, axes: &[t1::AxisId]) -> u32 {
        match self {
            Layouts::Digits(d) => d.warp_mask(axes),
            Layouts::Accumulator { .. }
            | Layouts::Fragment { .. }
            | Layouts::Products { .. }
            | Layouts::Rows { .. } => {
                let Some(layout) = self.layout(axes) else { return 0 };
                let moves = |w: &u32| layout.coords(&[(Dim::Warp, 1 << w)]).iter().any(|(_, c)| *c != 0);
                (0..layout.ins().bits(Dim::Warp)).filter(moves).fold(0, |mask, w| mask | 1 << w)
            }
        }
    }

    /// Whether a read of a tile on these axes should be issued where it stands, so that its accesses overlap. Beside an accumulator
    /// there are no registers for that.
    pub fn eager(&self, axes: &[t1::AxisId]) -> bool {
        match self {
            Layouts::Digits(d) => d.registers_of(axes) <= MOST_EAGER,
            Layouts::Accumulator { .. } | Layouts::Fragment { .. } | Layouts::Products { .. } => false,
            Layouts::Rows { eager, .. } => *eager,
        }
    }
}
