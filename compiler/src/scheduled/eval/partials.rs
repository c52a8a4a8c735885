//! Reductions, and the partial results that warps exchange through shared memory.
//!
//! Which elements a warp holds is the only thing that this interpreter takes from a register layout. A reduction whose axes move
//! with some bits of the warp number is a tile *per combination of those bits*; `put.partials` stores what warp w has in the slot that its
//! bits of w number, and `get.partials` combines the slots.
//!
//! ```text
//! s[r by 2, c by 256] on four warps, c has both warp bits, 64 neighbours each
//! reduce max %s over c    4 tiles [r], one per warp         (mask 0b11)
//! put.partials            slot 0..4 of [4][2]               a warp a slot
//! get.partials            the maximum of four, on [r]
//! ```
//! What does not exist counts as the neutral element, here as in T1.

use super::block::{Block, Contents, Halt, Turn};
use super::copies::each;
use super::shared::Writer;
use super::staged::word;
use super::tiles::keys;
use crate::diagnostics::Span;
use crate::layout::{Axis, Dim};
use crate::scheduled::ir::*;
use crate::tile::eval::Values;
use crate::tile::eval::parts::{Tile, TileRef, reduce};
use crate::tile::ir as t1;
use std::sync::Arc;

/// What each warp made of its part of a tile.
#[derive(Clone)]
pub(super) struct Partials {
    /// The bits of the warp number that tell partial results apart.
    warps: u32,
    /// By those bits, squeezed together.
    parts: Arc<Vec<Tile>>,
}

/// Which warp's partial result each element of a tile goes into.
#[derive(Debug)]
pub(super) struct Shares {
    pub warps: u32,
    /// Static extents of the tile.
    extents: Vec<u32>,
    /// By element, row-major: the bits of its warp, squeezed together.
    of: Vec<u32>,
}

impl Shares {
    /// `None` where every warp reduces all that there is.
    pub fn of(module: &Module, x: ValId, axes: &[t1::AxisId]) -> Option<Shares> {
        let ValKind::Tile { axes: all, layout, .. } = &module.value(x).kind else { return None };
        let reduced: Vec<Axis> =
            all.iter().enumerate().filter(|(_, a)| axes.contains(a)).map(|(n, _)| Axis(n as u16)).collect();
        let bits = layout.size_in(Dim::Warp).max(1).trailing_zeros();
        let moves = |bit: &u32| {
            let to = layout.coords(&[(Dim::Warp, 1 << bit)]);
            to.iter().any(|(a, c)| *c != 0 && reduced.contains(a))
        };
        let warps = (0..bits).filter(moves).fold(0, |m, bit| m | 1 << bit);
        if warps == 0 {
            return None;
        }
        let extents: Vec<u32> = (0..all.len()).map(|n| layout.size_out(Axis(n as u16)).max(1)).collect();
        let mut of = vec![0; extents.iter().map(|n| *n as usize).product()];
        let sizes = [Dim::Reg, Dim::Lane, Dim::Warp].map(|d| (d, layout.size_in(d).max(1)));
        each(&sizes.map(|s| s.1), |at| {
            let from: Vec<(Dim, u32)> = sizes.iter().zip(at).map(|((d, _), c)| (*d, *c)).collect();
            let to = layout.coords(&from);
            let index = extents.iter().enumerate().fold(0, |index, (n, extent)| {
                let c = to.iter().find(|(a, _)| *a == Axis(n as u16)).map_or(0, |(_, c)| *c);
                index * *extent as usize + c as usize
            });
            of[index] = squeeze(at[2], warps);
        });
        Some(Shares { warps, extents, of })
    }
}

impl Shares {
    /// The warp, its bits squeezed together, that holds the element at these coordinates.
    pub fn warp_of(&self, at: &[u32]) -> u32 {
        self.of[at.iter().zip(&self.extents).fold(0, |i, (c, n)| i * *n as usize + *c as usize)]
    }
}

/// The bits of `number` where `mask` has ones, side by side.
pub(super) fn squeeze(number: u32, mask: u32) -> u32 {
    let ones = (0..32).filter(|bit| mask >> bit & 1 == 1);
    ones.enumerate().fold(0, |out, (n, bit)| out | (number >> bit & 1) << n)
}

/// Each warp's greatest element of each row, as a key, with its coordinate; -1 where it has none.
#[derive(Clone)]
pub(super) struct Extremes {
    /// The bits of the warp number that tell parts apart.
    warps: u32,
    /// Of the result.
    shape: Vec<usize>,
    /// By warp, its bits squeezed together: by row.
    parts: Arc<Vec<Vec<(i64, i64)>>>,
}

fn extremes(
    tile: &Tile,
    elem: t1::ElemType,
    shares: &Shares,
    axes: &[t1::AxisId],
    coordinates: &[i64],
    greatest: bool,
) -> Extremes {
    let kept = |d: &usize| !axes.contains(&tile.axes[*d]);
    let shape: Vec<usize> = (0..tile.axes.len()).filter(kept).map(|d| tile.shape[d]).collect();
    let rows: usize = shape.iter().product();
    let mut parts = vec![vec![(0, -1); rows]; 1 << shares.warps.count_ones()];
    let keys = keys(&tile.data, elem);
    let along = tile.axes.iter().position(|a| axes.contains(a));
    let static_shape: Vec<u32> = tile.shape.iter().map(|n| *n as u32).collect();
    let mut element = 0;
    each(&static_shape, |at| {
        let row = (0..at.len()).filter(kept).fold(0, |row, d| row * tile.shape[d] + at[d] as usize);
        let coordinate = along.and_then(|d| coordinates.get(at[d] as usize)).copied().unwrap_or(-1);
        if let Some(key) = keys[element] {
            let key = if greatest { key } else { !key };
            let best = &mut parts[shares.warp_of(at) as usize][row];
            if best.1 < 0 || key > best.0 || key == best.0 && coordinate < best.1 {
                *best = (key, coordinate);
            }
        }
        element += 1;
    });
    Extremes { warps: shares.warps, shape, parts: Arc::new(parts) }
}

/// Axis of the partial results while they are combined; no kernel has so many.
const PARTS: t1::AxisId = t1::AxisId(u32::MAX);

impl Block<'_, '_> {
    pub(super) fn reduce(
        &mut self,
        x: ValId,
        op: t1::ReduceOp,
        axes: &[t1::AxisId],
        turn: Option<Turn>,
        span: Span,
    ) -> Result<Contents, Halt> {
        let tile = self.tile(x, turn, span)?;
        let shape = self.shape(&tile.axes)?;
        self.fits(&tile, &tile.axes, &shape, span)?;
        let ValKind::Tile { elem, .. } = self.module.value(x).kind else {
            return Err(self.malformed("a reduction of what is no tile"));
        };
        let coordinates = match axes {
            [axis] => {
                let (lo, count) = self.axis(*axis)?;
                (lo..lo + count as i64).collect()
            }
            _ => Vec::new(),
        };
        let rounding = self.machine.rounding(elem);
        let Some(shares) = self.tables.shares.get(&(x, axes.to_vec())) else {
            let whole = reduce(op, &tile, elem, axes, &coordinates, rounding);
            return Ok(Contents::Tile(Arc::new(whole)));
        };
        if matches!(op, t1::ReduceOp::ArgMax | t1::ReduceOp::ArgMin) {
            let greatest = op == t1::ReduceOp::ArgMax;
            return Ok(Contents::Extremes(extremes(&tile, elem, shares, axes, &coordinates, greatest)));
        }
        // Elements of other warps count as nothing.
        let nothing = Tile { axes: axes.to_vec(), shape: vec![0; axes.len()], data: empty(&tile.data) };
        let neutral = reduce(op, &nothing, elem, axes, &[], rounding).data;
        let parts = (0..1 << shares.warps.count_ones())
            .map(|part| {
                let own = only(&tile, shares, part, &neutral);
                reduce(op, &own, elem, axes, &coordinates, rounding)
            })
            .collect();
        Ok(Contents::Partials(Partials { warps: shares.warps, parts: Arc::new(parts) }))
    }

    /// Every warp stores what it has in the slot that its bits of `warps` number.
    pub(super) fn put_partials(
        &mut self,
        op: &Op,
        buf: BufId,
        value: ValId,
        warps: u32,
        turn: Option<Turn>,
    ) -> Result<(), Halt> {
        let (own, parts) = match self.contents(value, turn, op.span)? {
            Contents::Tile(tile) => (0, Arc::new(vec![Tile::clone(&tile)])),
            Contents::Partials(p) => (p.warps, p.parts),
            Contents::Scanned(scanned) => return self.put_sums(op, buf, value, &scanned, warps),
            Contents::Extremes(e) => return self.put_extremes(op, buf, value, &e, warps),
        };
        let writer = Writer { by: u32::MAX - u32::from(buf.0), asynchronous: false, bytes: 4 };
        let mut problem = None;
        for warp in 0..self.module.role(op.role).warps {
            let part = &parts[squeeze(warp, own) as usize];
            for (element, position) in positions(self.extents(value), &part.shape).into_iter().enumerate() {
                let at = self.partial(buf, squeeze(warp, warps), position);
                let bits = word(&part.data, element);
                if let Err(p) = at.and_then(|at| self.shared.write(at, bits, writer)) {
                    problem = problem.or(Some(p));
                }
            }
        }
        self.problem(problem, op, buf);
        Ok(())
    }

    /// Every warp's greatest (or least) element of each row: its key, and after it its coordinate.
    fn put_extremes(
        &mut self,
        op: &Op,
        buf: BufId,
        value: ValId,
        e: &Extremes,
        warps: u32,
    ) -> Result<(), Halt> {
        let writer = Writer { by: u32::MAX - u32::from(buf.0), asynchronous: false, bytes: 8 };
        let mut problem = None;
        for warp in 0..self.module.role(op.role).warps {
            let (slot, part) = (squeeze(warp, warps), &e.parts[squeeze(warp, e.warps) as usize]);
            for (position, (key, at)) in positions(self.extents(value), &e.shape).into_iter().zip(part) {
                let to = self.partial(buf, slot, position);
                let written = to.and_then(|to| {
                    self.shared.write(to, *key as u64, writer)?;
                    self.shared.write(to + 8, *at as u64, writer)
                });
                problem = problem.or(written.err());
            }
        }
        self.problem(problem, op, buf);
        Ok(())
    }

    /// Where the extreme of all warps is; of equal ones the lower coordinate.
    fn get_extremes(&mut self, op: &Op, buf: BufId, warps: u32) -> Result<Tile, Halt> {
        let Some(result) = op.result else { return Err(self.malformed("partial results that make no tile")) };
        let (axes, _) = self.kind(result)?;
        let shape = self.shape(&axes)?;
        let (mut best, mut problem) = (Vec::new(), None);
        for position in positions(self.extents(result), &shape) {
            let mut found: Option<(i64, i64)> = None;
            for slot in 0..1 << warps.count_ones() {
                let from = self.partial(buf, slot, position);
                let pair =
                    from.and_then(|from| Ok((self.shared.read(from, 8)?, self.shared.read(from + 8, 8)?)));
                match pair {
                    Ok((key, at)) => {
                        let (key, at) = (key as i64, at as i64);
                        let wins = |(k, a): (i64, i64)| key > k || key == k && at < a;
                        if at >= 0 && found.is_none_or(wins) {
                            found = Some((key, at));
                        }
                    }
                    Err(p) => {
                        problem.get_or_insert(p);
                    }
                }
            }
            best.push(found.map_or(-1, |(_, at)| at));
        }
        self.problem(problem, op, buf);
        Ok(Tile { axes, shape, data: Values::Int(best) })
    }

    /// The slots of all warps, combined.
    pub(super) fn get_partials(
        &mut self,
        op: &Op,
        buf: BufId,
        how: t1::ReduceOp,
        warps: u32,
    ) -> Result<Tile, Halt> {
        if matches!(how, t1::ReduceOp::ArgMax | t1::ReduceOp::ArgMin) {
            return self.get_extremes(op, buf, warps);
        }
        let module = self.module;
        let Some((result, ValKind::Tile { axes, elem, .. })) = op.result.map(|r| (r, &module.value(r).kind))
        else {
            return Err(self.malformed("partial results that make no tile"));
        };
        let shape = self.shape(axes)?;
        let slots = 1usize << warps.count_ones();
        let (mut words, mut problem) = (Vec::new(), None);
        for slot in 0..slots {
            for position in positions(self.extents(result), &shape) {
                let at = self.partial(buf, slot as u32, position);
                words.push(at.and_then(|at| self.shared.read(at, 4)).map_err(|p| {
                    problem.get_or_insert(p);
                }));
            }
        }
        self.problem(problem, op, buf);
        let data = if elem.is_float() {
            Values::Float(words.into_iter().map(|w| w.map_or(f64::NAN, f64::from_bits)).collect())
        } else {
            Values::Int(words.into_iter().map(|w| w.map_or(i64::MIN, |w| w as i64)).collect())
        };
        let all = Tile { axes: [&[PARTS], &axes[..]].concat(), shape: [&[slots], &shape[..]].concat(), data };
        Ok(reduce(how, &all, *elem, &[PARTS], &[], self.machine.rounding(*elem)))
    }

    /// Static extents of a tile, as its layout has them.
    pub(super) fn extents(&self, v: ValId) -> Vec<u32> {
        self.module.layout(v).shape().iter().map(|(_, n)| n.next_power_of_two()).collect()
    }

    /// Where a slot of partial results has a position.
    pub(super) fn partial(
        &self,
        buf: BufId,
        slot: u32,
        position: u32,
    ) -> Result<u32, super::shared::Problem> {
        let b = self.module.buffer(buf);
        let [slots, positions] = b.shape[..] else { return Err(super::shared::Problem::Outside) };
        if slot >= slots || position >= positions {
            return Err(super::shared::Problem::Outside);
        }
        Ok(b.base + self.tables.offsets[buf.0 as usize][(slot * positions + position) as usize])
    }
}

/// The position of every existing element, in order: row-major over the padded extents.
pub(super) fn positions(padded: Vec<u32>, shape: &[usize]) -> Vec<u32> {
    let shape: Vec<u32> = shape.iter().map(|n| *n as u32).collect();
    let mut out = Vec::new();
    if shape.is_empty() {
        return vec![0];
    }
    each(&shape, |at| out.push(at.iter().zip(&padded).fold(0, |p, (c, n)| p * n + c)));
    out
}

fn empty(like: &Values) -> Values {
    match like {
        Values::Float(_) => Values::Float(Vec::new()),
        Values::Int(_) => Values::Int(Vec::new()),
    }
}

/// The tile with the neutral element wherever another warp's elements are.
fn only(tile: &TileRef, shares: &Shares, part: u32, neutral: &Values) -> Tile {
    let shape: Vec<u32> = tile.shape.iter().map(|n| *n as u32).collect();
    let mut other = Vec::with_capacity(tile.data.len());
    each(&shape, |at| {
        let index = at.iter().zip(&shares.extents).fold(0, |i, (c, n)| i * *n as usize + *c as usize);
        other.push(shares.of[index] != part);
    });
    let data = match (&tile.data, neutral) {
        (Values::Float(x), Values::Float(n)) => {
            Values::Float(x.iter().zip(other).map(|(x, o)| if o { n[0] } else { *x }).collect())
        }
        (Values::Int(x), n) => {
            let n = if let Values::Int(n) = n { n[0] } else { 0 };
            Values::Int(x.iter().zip(other).map(|(x, o)| if o { n } else { *x }).collect())
        }
        (x, _) => x.clone(),
    };
    Tile { axes: tile.axes.clone(), shape: tile.shape.clone(), data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_a_mask_stand_side_by_side() {
        assert_eq!(squeeze(0b1011, 0b1010), 0b11);
        assert_eq!(squeeze(0b0100, 0b1010), 0);
    }

    #[test]
    fn positions_leave_room_for_what_does_not_exist() {
        assert_eq!(positions(vec![4, 2], &[2, 2]), [0, 1, 2, 3]);
        assert_eq!(positions(vec![2, 4], &[2, 2]), [0, 1, 4, 5]);
        assert_eq!(positions(vec![], &[]), [0]);
    }
}
