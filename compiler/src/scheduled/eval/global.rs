//! Global memory: which lanes subscripts address, and what reads, writes and atomics do there.
//!
//! Memory and its rules are the tile evaluator's: two lanes or instances on one element are a finding here as they are a fault there.
//! `y[n, at[i]] = v when c` addresses the lanes of n × i, takes v and c spread on them, and leaves alone where c is false.

use super::block::{Block, Halt, Turn};
use crate::diagnostics::Span;
use crate::scheduled::ir::*;
use crate::tile::eval::Values;
use crate::tile::eval::parts::{InstanceId, Place, Tile, TileRef, combination, round};
use crate::tile::ir as t1;
use std::sync::Arc;

/// What a write or an atomic hands to memory.
struct Stored {
    place: Place,
    values: Values,
    /// By lane, where there is a condition.
    enabled: Option<Vec<i64>>,
}

impl<'a> Block<'a, '_> {
    /// The lanes that subscripts address, at the place where their axes stand.
    pub(super) fn subscript(
        &mut self,
        tensor: t1::TensorId,
        ix: &[Index],
        turn: Option<Turn>,
        span: Span,
    ) -> Result<Place, Halt> {
        let tiles = self.subscripts(ix, turn, span)?;
        Ok(Place::new(self.machine.memory[tensor.0 as usize].extents(), &tiles))
    }

    /// One tile of coordinates per subscript.
    pub(super) fn subscripts(
        &mut self,
        ix: &[Index],
        turn: Option<Turn>,
        span: Span,
    ) -> Result<Vec<TileRef>, Halt> {
        let mut tiles = Vec::new();
        for index in ix {
            if let Some(tile) = index.tile {
                tiles.push(self.tile(tile, turn, span)?);
                continue;
            }
            let offset = match index.offset {
                Some(v) => self.int(v)?,
                None => 0,
            };
            tiles.push(Arc::new(match index.axis {
                None => Tile::int(offset),
                Some(a) => {
                    let (lo, count) = self.axis(a)?;
                    let from = (lo + offset) >> index.shift;
                    let count = count.div_ceil(1 << index.shift);
                    let data = Values::Int((from..from + count as i64).collect());
                    Tile { axes: vec![a], shape: vec![count], data }
                }
            }));
        }
        Ok(tiles)
    }

    pub(super) fn read(&mut self, tensor: t1::TensorId, place: &Place, span: Span) -> Result<Values, Halt> {
        let memory = &self.machine.memory[tensor.0 as usize];
        match memory.read(place, self.frame.me) {
            Ok(values) => Ok(values),
            Err(c) => {
                self.find(self.machine.conflict(c, tensor, self.frame.me, span).message, span);
                Err(Halt::Broken)
            }
        }
    }

    /// The lanes of a write or atomic, its values on them and its condition on them.
    #[allow(clippy::too_many_arguments)]
    fn stored(
        &mut self,
        tensor: t1::TensorId,
        ix: &[Index],
        value: ValId,
        when: Option<ValId>,
        turn: Option<Turn>,
        span: Span,
    ) -> Result<Stored, Halt> {
        let place = self.subscript(tensor, ix, turn, span)?;
        let mut values = self.on_lanes(value, &place, turn, span)?;
        round(&mut values, self.machine.kernel.tensor(tensor).elem);
        let enabled = match when {
            None => None,
            Some(c) => match self.on_lanes(c, &place, turn, span)? {
                Values::Int(c) => Some(c),
                Values::Float(_) => return Err(self.malformed("a condition that is not bool")),
            },
        };
        Ok(Stored { place, values, enabled })
    }

    /// A tile on the lanes of a place.
    fn on_lanes(&mut self, v: ValId, place: &Place, turn: Option<Turn>, span: Span) -> Result<Values, Halt> {
        let tile = self.tile(v, turn, span)?;
        if let Some(a) = tile.axes.iter().find(|a| !place.axes.contains(a)) {
            let name = &self.machine.kernel.axis(*a).name;
            self.find(format!("a write of a tile along `{name}` to a place without it"), span);
            return Err(Halt::Broken);
        }
        self.fits(&tile, &place.axes, &place.shape, span)?;
        Ok(tile.spread(&place.axes, &place.shape))
    }

    /// Instances that differ only along `once` write the same, and count as one writer.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn write(
        &mut self,
        tensor: t1::TensorId,
        ix: &[Index],
        value: ValId,
        when: Option<ValId>,
        once: &[t1::GridId],
        turn: Option<Turn>,
        span: Span,
    ) -> Result<(), Halt> {
        let Stored { place, values, enabled } = self.stored(tensor, ix, value, when, turn, span)?;
        let mine = &self.machine.instances[self.frame.me.0 as usize];
        let same = |other: InstanceId| {
            let theirs = &self.machine.instances[other.0 as usize];
            (0..mine.len()).all(|g| mine[g] == theirs[g] || once.contains(&t1::GridId(g as u32)))
        };
        let me = self.frame.me;
        let memory = &self.machine.memory[tensor.0 as usize];
        if let Err(c) = memory.write(&place, &values, enabled.as_deref(), me, &same) {
            self.find(self.machine.conflict(c, tensor, me, span).message, span);
            return Err(Halt::Broken);
        }
        Ok(())
    }

    /// What was there before, on the lanes of the place.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn atomic(
        &mut self,
        op: t1::Combine,
        tensor: t1::TensorId,
        ix: &[Index],
        value: ValId,
        when: Option<ValId>,
        turn: Option<Turn>,
        span: Span,
    ) -> Result<Tile, Halt> {
        let Stored { place, values, enabled } = self.stored(tensor, ix, value, when, turn, span)?;
        let me = self.frame.me;
        let combine = combination(op, self.machine.kernel.tensor(tensor).elem, self.machine.mode);
        let memory = &self.machine.memory[tensor.0 as usize];
        let order = self.machine.freedom.order;
        match memory.combine(&place, &values, enabled.as_deref(), me, order, &combine) {
            Ok(mut old) => {
                round(&mut old, self.machine.kernel.tensor(tensor).elem);
                Ok(Tile { axes: place.axes, shape: place.shape, data: old })
            }
            Err(c) => {
                self.find(self.machine.conflict(c, tensor, me, span).message, span);
                Err(Halt::Broken)
            }
        }
    }
}
