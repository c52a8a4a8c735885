//! The block's place in the grid: from the block's number to a tile of every grid variable.
//!
//! **Order.** Variables are digits of the block's number, the first slowest, but for a *rastered pair* (the two ranges of a product), which is
//! fastest: blocks go down the first of the two within a group of `raster.group` tiles of the second, so that neighbours in time share rows
//! and columns in L2.
//!
//! **Bounds.** Where the host could only bound a range, a block past its end leaves before it does anything else.

use super::build::Builder;
use super::ir::*;
use super::scalars::Scalars;
use crate::artifact::{GridRange, GridRule};
use crate::plan::Refusal;
use crate::plan::instances::{self, Extent};
use crate::scheduled::ir::Raster;
use crate::tile::ir as t1;

/// Where a block is.
#[derive(Debug, Default)]
pub struct Place {
    /// The coordinate of each grid variable, 32 bits.
    pub coordinates: Vec<Reg>,
    /// The tile's number along each variable, and how many there are: at most, where the host could only bound them.
    pub tiles: Vec<(Reg, Src)>,
}

impl Place {
    /// The number of the block's group among those that differ in `var` only.
    pub fn group(&self, b: &mut Builder, var: t1::GridId) -> Src {
        let others = self.tiles.iter().enumerate().filter(|(g, _)| *g != var.0 as usize);
        others.fold(Src::Int(0), |number, (_, (tile, count))| match (number, count) {
            (Src::Int(0), _) => Src::Reg(*tile),
            (number, count) => {
                let number = mul(b, number, *count);
                Src::Reg(b.add(*tile, number))
            }
        })
    }
}

impl Scalars<'_> {
    /// Decodes the block number into grid coordinates, and says how many blocks there are.
    pub fn decode_grid(&mut self, b: &mut Builder, raster: Raster) -> Result<GridRule, Refusal> {
        let kernel = self.kernel;
        let extents = instances::extents(kernel)?;
        let mut ranges = Vec::new();
        let mut counts = Vec::new();
        for (g, extent) in kernel.grid.iter().zip(&extents) {
            let by = instances::step(kernel, g);
            let (extent, by, count) = match extent {
                Extent::Exact(e) => {
                    let tiles = self.tiles(b, g, by)?;
                    (e.clone(), by, tiles)
                }
                Extent::AtMost(e) => {
                    let wide = self.launch_expr(b, e, g.span)?;
                    let extent = b.narrow(wide);
                    (e.clone(), by, Src::Reg(ceil_div(b, extent, by)))
                }
                Extent::Carrier | Extent::Packed { .. } => {
                    return Err(Refusal::construct(g.span, format!("the ragged grid range `{}`", g.name)));
                }
            };
            counts.push(count);
            ranges.push(GridRange {
                name: g.name.clone(),
                text: instances::text(kernel, &extent),
                extent,
                by,
            });
        }
        let tiles = digits(b, &counts, raster);
        for ((g, extent), (tile, by)) in
            kernel.grid.iter().zip(&extents).zip(tiles.iter().zip(ranges.iter().map(|r| r.by)))
        {
            let mut at = if by == 1 { *tile } else { b.int(IntOp::MulLo, IntTy::U32, *tile, i64::from(by)) };
            match self.coordinate(b, g.lo)? {
                Src::Int(0) => {}
                lo => at = b.add(at, lo),
            }
            if matches!(extent, Extent::AtMost(_)) {
                let hi = self.coordinate(b, g.hi)?;
                let past = b.set_int(Cmp::Ge, IntTy::S32, at, hi);
                b.guarded(Some((past, true)), Op::Exit);
            }
            self.grid.coordinates.push(at);
        }
        self.grid.tiles = tiles.into_iter().zip(counts).collect();
        Ok(GridRule { ranges })
    }

    /// Tiles along a range that the launch knows.
    fn tiles(&mut self, b: &mut Builder, g: &t1::GridVar, by: u32) -> Result<Src, Refusal> {
        Ok(match (self.coordinate(b, g.hi)?, self.coordinate(b, g.lo)?) {
            (Src::Int(hi), Src::Int(lo)) => Src::Int(((hi - lo).max(0) + i64::from(by) - 1) / i64::from(by)),
            (Src::Reg(hi), Src::Int(0)) => Src::Reg(ceil_div(b, hi, by)),
            (hi, lo) => {
                let hi = match hi {
                    Src::Reg(hi) => hi,
                    imm => b.mov(Class::B32, imm),
                };
                let extent = b.int(IntOp::Sub, IntTy::S32, hi, lo);
                Src::Reg(ceil_div(b, extent, by))
            }
        })
    }
}

/// The block number's digits, one per variable.
fn digits(b: &mut Builder, counts: &[Src], raster: Raster) -> Vec<Reg> {
    let mut pid = b.special(Special::CtaidX);
    let n = counts.len();
    let mut tiles = vec![pid; n];
    // Outer variables are divided off from the inside out, so what a group of them takes together is known first.
    let pair = raster.pair.map(|(i, j)| (i.0 as usize, j.0 as usize));
    let others: Vec<usize> = (0..n).filter(|v| pair.is_none_or(|(i, j)| *v != i && *v != j)).collect();
    if let Some((i, j)) = pair {
        let (ni, nj) = (counts[i], counts[j]);
        let inner = if others.is_empty() { None } else { Some(mul(b, ni, nj)) };
        let (outer, rest) = inner.map_or((pid, pid), |inner| div_rem(b, pid, inner));
        (tiles[i], tiles[j]) = rastered(b, rest, ni, nj, raster.group);
        pid = outer;
    }
    for (at, &v) in others.iter().enumerate().rev() {
        (pid, tiles[v]) = if at == 0 { (pid, pid) } else { div_rem(b, pid, counts[v]) };
    }
    tiles
}

fn ceil_div(b: &mut Builder, x: Reg, by: u32) -> Reg {
    if by == 1 {
        return x;
    }
    let up = b.int(IntOp::Add, IntTy::U32, x, i64::from(by) - 1);
    if by.is_power_of_two() {
        b.shift(up, -(by.trailing_zeros() as i32))
    } else {
        b.int(IntOp::Div, IntTy::U32, up, i64::from(by))
    }
}

pub(super) fn mul(b: &mut Builder, x: Src, y: Src) -> Src {
    match (x, y) {
        (Src::Int(x), Src::Int(y)) => Src::Int(x * y),
        (Src::Reg(x), y) | (y, Src::Reg(x)) => Src::Reg(b.int(IntOp::MulLo, IntTy::U32, x, y)),
        (x, _) => x,
    }
}

fn div_rem(b: &mut Builder, x: Reg, by: Src) -> (Reg, Reg) {
    (b.int(IntOp::Div, IntTy::U32, x, by), b.int(IntOp::Rem, IntTy::U32, x, by))
}

fn rastered(b: &mut Builder, pid: Reg, ni: Src, nj: Src, group: u32) -> (Reg, Reg) {
    let group = i64::from(group);
    let per_group = mul(b, ni, Src::Int(group));
    let (which, rest) = div_rem(b, pid, per_group);
    let first = b.int(IntOp::MulLo, IntTy::U32, which, group);
    let nj = match nj {
        Src::Reg(r) => r,
        imm => b.mov(Class::B32, imm),
    };
    let left = b.int(IntOp::Sub, IntTy::U32, nj, first);
    let width = b.int(IntOp::Min, IntTy::U32, left, group);
    let (i, j) = div_rem(b, rest, Src::Reg(width));
    let j = b.int(IntOp::Add, IntTy::U32, j, first);
    (i, j)
}
