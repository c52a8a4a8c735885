//! Whole tiles in shared memory: look-ups by coordinate, and sorting by rank.
//!
//! `put.tile` stores every existing element at its position, row-major over extents padded to powers of two; `get.tile` reads the
//! elements that its subscripts name, zero outside the tile's existing lanes. For sorting the tile that is put is one of *keys*, integers that
//! ascend as the elements do: `rank` counts for each element how many of its row come before it (equal ones by coordinate), `put.at`
//! stores elements at their ranks, and `get.ranked` reads them in order.
//!
//! ```text
//! x = [3, NaN, 1]    keys k(3), greatest, k(1)    ranks [1, 2, 0]    put.at -> [1, 3, NaN]
//! ```
//! A key here is made of an `f64`'s bits where the machine's is made of an `f32`'s: it orders the same elements in the same way.

use super::block::{Block, Halt, Turn};
use super::copies::each;
use super::partials::positions;
use super::shared::{Problem, Writer};
use super::staged::word;
use crate::diagnostics::Span;
use crate::scheduled::ir::*;
use crate::tile::eval::Values;
use crate::tile::eval::parts::{Extent, OUTSIDE, Place, Tile};
use crate::tile::ir as t1;

impl Block<'_, '_> {
    /// Every existing element of a tile to its position.
    pub(super) fn put_tile(
        &mut self,
        op: &Op,
        buf: BufId,
        value: ValId,
        turn: Option<Turn>,
    ) -> Result<(), Halt> {
        let tile = self.tile(value, turn, op.span)?;
        let at = positions(self.extents(value), &tile.shape);
        self.store(op, buf, &tile.data, &at);
        Ok(())
    }

    /// The elements of `of` that the subscripts name.
    pub(super) fn get_tile(
        &mut self,
        op: &Op,
        buf: BufId,
        of: ValId,
        ix: &[Index],
        turn: Option<Turn>,
    ) -> Result<Tile, Halt> {
        let (axes, elem) = self.kind(of)?;
        let shape = self.shape(&axes)?;
        let mut extents = Extent::dense(&shape);
        for (extent, a) in extents.iter_mut().zip(&axes) {
            extent.lo = self.axis(*a)?.0;
        }
        let place = Place::new(&extents, &self.subscripts(ix, turn, op.span)?);
        let at = positions(self.extents(of), &shape);
        let wanted: Vec<Option<u32>> =
            place.offsets().into_iter().map(|o| (o != OUTSIDE).then(|| at[o])).collect();
        let data = self.fetch(op, buf, elem, &wanted, 0);
        self.on_own_axes(op, Tile { axes: place.axes, shape: place.shape, data })
    }

    /// Integers that ascend (or descend) as the elements do; NaNs last.
    pub(super) fn sort_key(
        &mut self,
        x: ValId,
        descending: bool,
        turn: Option<Turn>,
        span: Span,
    ) -> Result<Tile, Halt> {
        let (_, elem) = self.kind(x)?;
        let tile = self.tile(x, turn, span)?;
        let keys = keys(&tile.data, elem);
        let turned = |k: Option<i64>| k.map_or(i64::MAX, |k| if descending { !k } else { k });
        let data = Values::Int(keys.into_iter().map(turned).collect());
        Ok(Tile { axes: tile.axes.clone(), shape: tile.shape.clone(), data })
    }

    /// The coordinates of an axis on the result's axes.
    pub(super) fn position(&mut self, op: &Op, axis: t1::AxisId) -> Result<Tile, Halt> {
        let (lo, count) = self.axis(axis)?;
        let data = Values::Int((lo..lo + count as i64).collect());
        self.on_own_axes(op, Tile { axes: vec![axis], shape: vec![count], data })
    }

    /// For every element of `of`, whose keys the buffer holds, how many of its row come before it.
    pub(super) fn rank(&mut self, op: &Op, buf: BufId, of: ValId, axis: t1::AxisId) -> Result<Tile, Halt> {
        let (axes, elem) = self.kind(of)?;
        let shape = self.shape(&axes)?;
        let at: Vec<Option<u32>> = positions(self.extents(of), &shape).into_iter().map(Some).collect();
        let Values::Int(keys) = self.fetch(op, buf, elem, &at, 0) else {
            return Err(self.malformed("keys that are no integers"));
        };
        let Some(n) = axes.iter().position(|a| *a == axis) else {
            return Err(self.malformed("ranks along an axis that the tile lacks"));
        };
        let stride: usize = shape[n + 1..].iter().product();
        let ranks = (0..keys.len()).map(|e| {
            let own = e / stride % shape[n];
            let first = e - own * stride;
            let before = |j: &usize| {
                let other = keys[first + j * stride];
                other < keys[e] || other == keys[e] && *j < own
            };
            (0..shape[n]).filter(before).count() as i64
        });
        let data = Values::Int(ranks.collect());
        Ok(Tile { axes, shape, data })
    }

    /// Every existing element to the place that its rank says.
    pub(super) fn put_at(
        &mut self,
        op: &Op,
        buf: BufId,
        value: ValId,
        rank: ValId,
        axis: t1::AxisId,
        turn: Option<Turn>,
    ) -> Result<(), Halt> {
        let tile = self.tile(value, turn, op.span)?;
        let ranks = self.tile(rank, turn, op.span)?;
        let ranks = match ranks.spread(&tile.axes, &tile.shape) {
            Values::Int(ranks) => ranks,
            Values::Float(_) => return Err(self.malformed("ranks that are no integers")),
        };
        let Some(n) = tile.axes.iter().position(|a| *a == axis) else {
            return Err(self.malformed("ranks along an axis that the tile lacks"));
        };
        let padded = self.extents(value);
        let mut at = Vec::new();
        let shape: Vec<u32> = tile.shape.iter().map(|n| *n as u32).collect();
        each(&shape, |c| {
            let rank = ranks[at.len()] as u32;
            let moved = c.iter().enumerate().map(|(d, c)| if d == n { rank } else { *c });
            at.push(moved.zip(&padded).fold(0, |p, (c, n)| p * n + c));
        });
        self.store(op, buf, &tile.data, &at);
        Ok(())
    }

    /// What stands at the ranks that the lanes of `to` number.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn get_ranked(
        &mut self,
        op: &Op,
        buf: BufId,
        of: ValId,
        axis: t1::AxisId,
        to: t1::AxisId,
        part: t1::SortPart,
    ) -> Result<Tile, Halt> {
        let (axes, elem) = self.kind(of)?;
        let result: Vec<t1::AxisId> = axes.iter().map(|a| if *a == axis { to } else { *a }).collect();
        let (padded, shape) = (self.extents(of), self.shape(&result)?);
        let (_, count) = self.axis(axis)?;
        let Some(n) = axes.iter().position(|a| *a == axis) else {
            return Err(self.malformed("ranks along an axis that the tile lacks"));
        };
        let mut at = Vec::new();
        let static_shape: Vec<u32> = shape.iter().map(|n| *n as u32).collect();
        each(&static_shape, |c| {
            let there = (c[n] as usize) < count;
            at.push(there.then(|| c.iter().zip(&padded).fold(0, |p, (c, n)| p * n + c)));
        });
        let missing = match part {
            t1::SortPart::Coordinates => -1,
            t1::SortPart::Values => crate::tile::eval::parts::least(elem),
        };
        let data = self.fetch(op, buf, elem, &at, missing);
        self.on_own_axes(op, Tile { axes: result, shape, data })
    }

    /// Axes and element type of a register tile.
    pub(super) fn kind(&mut self, v: ValId) -> Result<(Vec<t1::AxisId>, t1::ElemType), Halt> {
        let module = self.module;
        match &module.value(v).kind {
            ValKind::Tile { axes, elem, .. } => Ok((axes.clone(), *elem)),
            _ => Err(self.malformed("a tile that is none")),
        }
    }

    /// Bytes that an element of a buffer of positions takes.
    fn position_bytes(&self, buf: BufId) -> u8 {
        match self.module.buffer(buf).elem {
            t1::ElemType::Int(64) | t1::ElemType::Uint(64) => 8,
            _ => 4,
        }
    }

    fn store(&mut self, op: &Op, buf: BufId, data: &Values, at: &[u32]) {
        let bytes = self.position_bytes(buf);
        let writer = Writer { by: u32::MAX - u32::from(buf.0), asynchronous: false, bytes };
        let mut problem = None;
        for (element, at) in at.iter().enumerate() {
            let written =
                self.partial(buf, 0, *at).and_then(|to| self.shared.write(to, word(data, element), writer));
            problem = problem.or(written.err());
        }
        self.problem(problem, op, buf);
    }

    /// The elements at these positions; what is nowhere is `missing` (of floats: zero, or -inf for the least).
    fn fetch(&mut self, op: &Op, buf: BufId, elem: t1::ElemType, at: &[Option<u32>], missing: i64) -> Values {
        let bytes = self.position_bytes(buf);
        let mut problem: Option<Problem> = None;
        let mut words = Vec::with_capacity(at.len());
        for at in at {
            let word = at.map(|at| self.partial(buf, 0, at).and_then(|from| self.shared.read(from, bytes)));
            problem = problem.or(word.and_then(Result::err));
            words.push(word.map(Result::ok));
        }
        self.problem(problem, op, buf);
        if elem.is_float() {
            let absent = if missing == 0 { 0.0 } else { f64::NEG_INFINITY };
            let float = |w: Option<Option<u64>>| w.map_or(absent, |w| w.map_or(f64::NAN, f64::from_bits));
            Values::Float(words.into_iter().map(float).collect())
        } else {
            let int = |w: Option<Option<u64>>| w.map_or(missing, |w| w.map_or(i64::MIN, |w| w as i64));
            Values::Int(words.into_iter().map(int).collect())
        }
    }
}

/// Integers that ascend as the elements do; nothing for a NaN.
pub(super) fn keys(data: &Values, elem: t1::ElemType) -> Vec<Option<i64>> {
    match data {
        Values::Float(x) => {
            let key = |v: &f64| {
                // -0 and 0 are equal. The bits of a float ascend with it once those of negative ones are turned round.
                let bits = (v + 0.0).to_bits() as i64;
                (!v.is_nan()).then_some(bits ^ ((bits >> 63) & i64::MAX))
            };
            x.iter().map(key).collect()
        }
        Values::Int(x) => {
            let unsigned = matches!(elem, t1::ElemType::Uint(64));
            x.iter().map(|v| Some(if unsigned { v ^ i64::MIN } else { *v })).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_ascend_as_elements_do() {
        let x = [f64::NEG_INFINITY, -2.0, -1e-300, 0.0, 1e-300, 3.0, f64::INFINITY];
        let k = keys(&Values::Float(x.to_vec()), t1::ElemType::F32);
        assert!(k.windows(2).all(|w| w[0] < w[1]), "{k:?}");
        let zeros = keys(&Values::Float(vec![0.0, -0.0, f64::NAN]), t1::ElemType::F32);
        assert!(zeros[0] == zeros[1] && zeros[2].is_none());
        let u = keys(&Values::Int(vec![0, i64::MAX, i64::MIN, -1]), t1::ElemType::Uint(64));
        assert!(u.windows(2).all(|w| w[0] < w[1]), "{u:?}");
    }
}
