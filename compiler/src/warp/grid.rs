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

/// One grid variable as a digit of a tile's number.
#[derive(Debug)]
pub struct Digit {
    extent: Extent,
    /// How many tiles there are: at most, where the host could only bound them.
    pub count: Src,
    step: u32,
}

/// What a search finds.
struct Found {
    value: Reg,
    tile: Reg,
}

impl Scalars<'_> {
    /// How many tiles there are along each variable, and the rule by which the host counts them.
    pub fn count_grid(&mut self, b: &mut Builder) -> Result<(Vec<Digit>, GridRule), Refusal> {
        let kernel = self.kernel;
        let mut ranges = Vec::new();
        let mut digits = Vec::new();
        for (g, extent) in kernel.grid.iter().zip(instances::extents(kernel)?) {
            let step = instances::step(kernel, g);
            let (e, by, count) = match &extent {
                Extent::Exact(e) => (e, step, self.tiles(b, g, step)?),
                Extent::AtMost(e) => {
                    let extent = self.launch_expr(b, e, g.span)?;
                    let extent = b.narrow(extent);
                    (e, step, Src::Reg(ceil_div(b, extent, step)))
                }
                Extent::Packed { tiles, .. } => {
                    let count = self.launch_expr(b, tiles, g.span)?;
                    (tiles, 1, Src::Reg(b.narrow(count)))
                }
                // One digit counts the tiles of both.
                Extent::Carrier => {
                    digits.push(Digit { extent, count: Src::Int(1), step: 1 });
                    continue;
                }
            };
            ranges.push(GridRange {
                name: g.name.clone(),
                text: instances::text(kernel, e),
                extent: e.clone(),
                by,
            });
            digits.push(Digit { extent, count, step });
        }
        Ok((digits, GridRule { ranges, workers: None }))
    }

    /// Decodes the number of a tile into grid coordinates.
    pub fn decode_grid(
        &mut self,
        b: &mut Builder,
        number: Reg,
        grid: &[Digit],
        raster: Raster,
    ) -> Result<(), Refusal> {
        let kernel = self.kernel;
        let counts: Vec<Src> = grid.iter().map(|d| d.count).collect();
        let tiles = digits(b, number, &counts, raster);
        self.grid.coordinates = tiles.clone();
        for (n, (g, digit)) in kernel.grid.iter().zip(grid).enumerate() {
            let mut tile = tiles[n];
            match digit.extent {
                Extent::Carrier => continue,
                Extent::Packed { carrier, .. } => {
                    let found = self.search(b, g, carrier, tile)?;
                    self.grid.coordinates[carrier.0 as usize] = found.value;
                    tile = found.tile;
                }
                Extent::Exact(_) | Extent::AtMost(_) => {}
            }
            let by = i64::from(digit.step);
            let mut at = if by == 1 { tile } else { b.int(IntOp::MulLo, IntTy::U32, tile, by) };
            match self.coordinate(b, g.lo)? {
                Src::Int(0) => {}
                lo => at = b.add(at, lo),
            }
            if matches!(digit.extent, Extent::AtMost(_)) {
                let hi = self.coordinate(b, g.hi)?;
                let past = b.set_int(Cmp::Ge, IntTy::S32, at, hi);
                b.guarded(Some((past, true)), Op::Exit);
            }
            self.grid.coordinates[n] = at;
        }
        self.grid.tiles = tiles.into_iter().zip(counts).collect();
        Ok(())
    }

    /// Which value of `carrier` has the tile numbered `tile` among the tiles of `g` over all values, and which of its own it is; a block
    /// past the last of them leaves.
    ///
    /// Every warp looks for itself, 32 values at a time: each lane counts the tiles of one value, a prefix sum over the warp says where
    /// they begin, and the one lane whose tiles include the number tells the others.
    fn search(
        &mut self,
        b: &mut Builder,
        g: &t1::GridVar,
        carrier: t1::GridId,
        tile: Reg,
    ) -> Result<Found, Refusal> {
        b.comment(format!("which {} this block works for", self.kernel.grid_var(carrier).name));
        let by = instances::step(self.kernel, g);
        let values = match self.coordinate(b, self.kernel.grid_var(carrier).hi)? {
            Src::Reg(r) => r,
            imm => b.mov(Class::B32, imm),
        };
        let last = b.add(values, -1);
        let tid = b.special(Special::TidX);
        let lane = b.and(tid, 31);
        let (left, at) = (b.mov(Class::B32, values), b.mov(Class::B32, lane));
        let (before, value, start) = (b.mov(Class::B32, 0), b.mov(Class::B32, -1), b.mov(Class::B32, 0));
        let known = self.known.clone();
        b.open();
        let inside = b.set_int(Cmp::Le, IntTy::S32, at, last);
        self.grid.coordinates[carrier.0 as usize] = b.int(IntOp::Min, IntTy::S32, at, last);
        let (lo, hi) = (self.coordinate(b, g.lo)?, self.coordinate(b, g.hi)?);
        let hi = match hi {
            Src::Reg(r) => r,
            imm => b.mov(Class::B32, imm),
        };
        let extent = b.int(IntOp::Sub, IntTy::S32, hi, lo);
        let extent = b.int(IntOp::Max, IntTy::S32, extent, 0);
        let count = ceil_div(b, extent, by);
        let none = b.mov(Class::B32, 0);
        let own = b.reg(Class::B32);
        b.push(Op::Select { d: own, a: count.into(), b: none.into(), p: inside });
        let mut sum = own;
        for distance in [1, 2, 4, 8, 16] {
            let other = b.reg(Class::B32);
            b.push(Op::ShuffleUp { d: other, a: sum, by: distance });
            let has = b.set_int(Cmp::Ge, IntTy::U32, lane, i64::from(distance));
            let more = b.reg(Class::B32);
            b.push(Op::Select { d: more, a: other.into(), b: none.into(), p: has });
            sum = b.add(sum, more);
        }
        // The tiles of this lane's value are those from `first` to `end`.
        let end = b.add(sum, before);
        let first = b.int(IntOp::Sub, IntTy::S32, end, own);
        let from = b.set_int(Cmp::Ge, IntTy::S32, tile, first);
        let to = b.set_int(Cmp::Lt, IntTy::S32, tile, end);
        let mine = b.pred_and(from, to);
        let who = b.reg(Class::B32);
        b.push(Op::Ballot { d: who, a: mine });
        let some = b.set_int(Cmp::Ne, IntTy::B32, who, 0);
        let which = b.reg(Class::B32);
        b.push(Op::HighestBit { d: which, a: who });
        for (d, a) in [(value, at), (start, first)] {
            let told = b.reg(Class::B32);
            b.push(Op::ShuffleFrom { d: told, a, lane: which.into() });
            b.guarded(Some((some, true)), Op::Mov { d, a: told.into() });
        }
        b.push(Op::ShuffleFrom { d: before, a: end, lane: Src::Int(31) });
        let copies = vec![b.close()];
        self.known = known;
        b.open();
        for (d, by) in [(left, -32), (at, 32)] {
            b.push(Op::Int { op: IntOp::Add, ty: IntTy::S32, d, a: d.into(), b: by.into() });
        }
        let advance = b.close();
        let name = format!("search_{}", g.name);
        b.stmt(Stmt::Loop(Loop { name, left, until: None, by: 32, copies, advance, rolled: true }));
        let nobody = b.set_int(Cmp::Lt, IntTy::S32, value, 0);
        b.guarded(Some((nobody, true)), Op::Exit);
        let tile = b.int(IntOp::Sub, IntTy::S32, tile, start);
        Ok(Found { value, tile })
    }

    /// How many instances differ in a variable only.
    pub fn instances(&mut self, b: &mut Builder, var: t1::GridId) -> Result<Src, Refusal> {
        let g = self.kernel.grid_var(var);
        self.tiles(b, g, instances::step(self.kernel, g))
    }

    /// Tiles along a range.
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

/// The digits of a tile's number, one per variable.
fn digits(b: &mut Builder, number: Reg, counts: &[Src], raster: Raster) -> Vec<Reg> {
    let mut pid = number;
    let n = counts.len();
    let mut tiles = vec![pid; n];
    // Outer variables are divided off from the inside out, so what a group of them takes together is known first.
    let pair = raster.pair.map(|(i, j)| (i.0 as usize, j.0 as usize));
    let outside = |v: &usize| pair.is_none_or(|(i, j)| *v != i && *v != j);
    let (single, others): (Vec<usize>, Vec<usize>) =
        (0..n).filter(outside).partition(|v| counts[*v] == Src::Int(1));
    for v in single {
        tiles[v] = b.mov(Class::B32, 0);
    }
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

pub(super) fn ceil_div(b: &mut Builder, x: Reg, by: u32) -> Reg {
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
        (x, Src::Int(1)) | (Src::Int(1), x) => x,
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
