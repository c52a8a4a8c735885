//! The workspace of reductions over the grid: blocks run one after another, in ascending order of instances, and what they put stays.
//!
//! The last block of a group to run is the one that goes on; it finds what every other has put by the coordinate that its loop is at.

use super::block::{Block, Halt, Turn};
use crate::scheduled::ir::*;
use crate::tile::eval::Values;
use crate::tile::eval::parts::{Tile, TileRef, reduce};
use crate::tile::ir as t1;
use rustc_hash::FxHashMap;

/// What blocks have left behind.
#[derive(Default)]
pub(super) struct Workspace {
    /// By the other coordinates of the instance, its own along the reduced variable, and the place.
    parts: FxHashMap<(Vec<i64>, i64, WorkId), TileRef>,
    /// The epoch in which the block that runs has put something.
    put: Option<u32>,
    /// Instances of a group that have counted themselves.
    counted: FxHashMap<Vec<i64>, usize>,
}

/// Axis of two tiles while they are combined; no kernel has so many.
const PARTS: t1::AxisId = t1::AxisId(u32::MAX);

impl Block<'_, '_> {
    /// Whether the item is only a part of its tile's steps.
    pub(super) fn item_part(&self) -> bool {
        self.item.is_some_and(|item| item.of > 1)
    }

    /// The coordinates of an instance without the reduced variable.
    fn group(&self, instance: usize, var: t1::GridId) -> Vec<i64> {
        let all = self.machine.instances[instance].iter().enumerate();
        all.filter(|(g, _)| *g != var.0 as usize).map(|(_, at)| *at).collect()
    }

    fn own(&self) -> usize {
        self.frame.me.0 as usize
    }

    /// The variable that the module reduces over.
    fn reduced(&mut self) -> Result<t1::GridId, Halt> {
        if let Dispatch::Stream(stream) = self.module.dispatch {
            return Ok(stream.part);
        }
        let last = self.module.body.iter().find_map(|n| match n {
            Node::Op(Op { kind: OpKind::WorkLast { var }, .. }) => Some(*var),
            _ => None,
        });
        last.ok_or_else(|| self.malformed("a workspace that nobody counts"))
    }

    pub(super) fn work_put(&mut self, work: WorkId, value: TileRef) -> Result<(), Halt> {
        let var = self.reduced()?;
        let at = match self.item {
            Some(item) => item.number,
            None => self.machine.instances[self.own()][var.0 as usize],
        };
        let group = self.group(self.own(), var);
        self.workspace.put = Some(self.shared.epoch());
        self.workspace.parts.insert((group, at, work), value);
        Ok(())
    }

    /// Counts the block; whether there are more of its group to come.
    pub(super) fn work_last(&mut self, var: t1::GridId) -> bool {
        if self.workspace.put.take().is_some_and(|epoch| self.shared.unordered(epoch)) {
            let what = "one thread counts what all have put with no barrier since".to_string();
            self.find(what, crate::diagnostics::Span::default());
        }
        let group = self.group(self.own(), var);
        let all = match self.item {
            Some(item) => item.of as usize,
            None => (0..self.machine.instances.len()).filter(|n| self.group(*n, var) == group).count(),
        };
        let counted = self.workspace.counted.entry(group).or_default();
        *counted += 1;
        *counted < all
    }

    pub(super) fn work_get(&mut self, work: WorkId, op: &Op) -> Result<TileRef, Halt> {
        let var = self.reduced()?;
        let at = self.frame.int(self.machine.kernel.grid_var(var).var)?;
        let group = self.group(self.own(), var);
        match self.workspace.parts.get(&(group, at, work)) {
            Some(tile) => Ok(tile.clone()),
            None => {
                let name = &self.module.work(work).name;
                self.find(format!("{name} of an instance that has put none"), op.span);
                Err(Halt::Broken)
            }
        }
    }

    /// The tile of an op's result that changes nothing.
    pub(super) fn neutral(&mut self, op: &Op, how: t1::ReduceOp) -> Result<Tile, Halt> {
        let Some(ValKind::Tile { elem, axes, .. }) = op.result.map(|r| &self.module.value(r).kind) else {
            return Err(self.malformed("a neutral value that is no tile"));
        };
        let shape = self.shape(axes)?;
        let nothing = Tile {
            axes: [&[PARTS], &axes[..]].concat(),
            shape: [&[0], &shape[..]].concat(),
            data: Values::zeros(elem.is_float(), 0),
        };
        Ok(reduce(how, &nothing, *elem, &[PARTS], &[], self.machine.rounding(*elem)))
    }

    /// Two tiles, element by element.
    pub(super) fn combine(
        &mut self,
        op: &Op,
        how: t1::ReduceOp,
        x: ValId,
        y: ValId,
        turn: Option<Turn>,
    ) -> Result<Tile, Halt> {
        let (x, y) = (self.tile(x, turn, op.span)?, self.tile(y, turn, op.span)?);
        let Some(ValKind::Tile { elem, axes, .. }) = op.result.map(|r| &self.module.value(r).kind) else {
            return Err(self.malformed("a combination that is no tile"));
        };
        if x.shape != y.shape {
            return Err(self.malformed("a combination of tiles of different sizes"));
        }
        let data = match (&x.data, &y.data) {
            (Values::Float(x), Values::Float(y)) => Values::Float([&x[..], &y[..]].concat()),
            _ => Values::Int([x.ints(), y.ints()].concat()),
        };
        let both = Tile { axes: [&[PARTS], &axes[..]].concat(), shape: [&[2], &x.shape[..]].concat(), data };
        Ok(reduce(how, &both, *elem, &[PARTS], &[], self.machine.rounding(*elem)))
    }
}
