//! What each op does, by its kind.

use super::block::{Block, Contents, Halt, Turn};
use crate::scheduled::ir::*;
use crate::tile::eval::Values;
use crate::tile::eval::parts::Tile;
use crate::tile::ir as t1;

/// A `bool` without axes.
fn flag(holds: bool) -> Tile {
    Tile { axes: Vec::new(), shape: Vec::new(), data: Values::Int(vec![i64::from(holds)]) }
}

impl<'a> Block<'a, '_> {
    pub(super) fn op(&mut self, op: &'a Op, turn: Option<Turn>) -> Result<(), Halt> {
        let span = op.span;
        match &op.kind {
            OpKind::Acquire { chan } | OpKind::Wait { chan } => self.take(op, *chan, turn),
            OpKind::Commit { chan, slot, after } => self.commit(*chan, *slot, after, turn, span),
            OpKind::Release { chan, slot } => self.release(*chan, *slot, turn, span),
            OpKind::CopyIn { slot, buf, tensor, ix, negative, .. } => {
                self.copy_in(op, *slot, *buf, *tensor, ix, *negative, turn)
            }
            OpKind::CopyPacked { slot, buf, tensor, ix, .. } => {
                self.copy_packed(op, *slot, *buf, *tensor, ix, turn)
            }
            OpKind::LoadPacked { slot, buf, tensor } => {
                let tile = self.load_packed(op, *slot, *buf, *tensor, turn)?;
                self.hold(op, tile, turn);
                Ok(())
            }
            OpKind::Load { slot, buf, at, size, .. } => {
                let tile = self.load(op, *slot, *buf, *at, *size, turn)?;
                self.hold(op, tile, turn);
                Ok(())
            }
            OpKind::AccNew { init } => {
                let Some(ValKind::Tile { elem, axes, .. }) = op.result.map(|r| &self.module.value(r).kind)
                else {
                    return Err(self.malformed("an accumulator that is no tile"));
                };
                let shape = self.shape(axes)?;
                let count = shape.iter().product();
                let data = if elem.is_float() {
                    Values::Float(vec![*init; count])
                } else {
                    Values::Int(vec![*init as i64; count])
                };
                self.hold(op, Tile { axes: axes.clone(), shape, data }, turn);
                Ok(())
            }
            OpKind::Mma { atom, a, b, acc, at } => {
                let parts = [(*a, at.0), (*b, at.1)];
                let tile = self.mma(op, parts, atom.k(), *acc, turn)?;
                self.hold(op, tile, turn);
                Ok(())
            }
            OpKind::Promote { total, acc, every } => {
                if turn.is_some_and(|t| (t.n + 1) % i64::from(*every) == 0) {
                    let tile = self.combine(op, t1::ReduceOp::Sum, *total, *acc, turn)?;
                    self.hold(op, tile, turn);
                } else {
                    let tile = self.tile(*total, turn, span)?;
                    self.put(op.result, Contents::Tile(tile), turn);
                }
                Ok(())
            }
            OpKind::AccRenew { acc, every } => {
                let tile = self.tile(*acc, turn, span)?;
                if turn.is_some_and(|t| (t.n + 1) % i64::from(*every) == 0) {
                    let data = match &tile.data {
                        Values::Float(x) => Values::Float(vec![0.0; x.len()]),
                        Values::Int(x) => Values::Int(vec![0; x.len()]),
                    };
                    self.hold(op, Tile { data, ..Tile::clone(&tile) }, turn);
                } else {
                    self.put(op.result, Contents::Tile(tile), turn);
                }
                Ok(())
            }
            OpKind::AccGet { acc } | OpKind::AccFrom { value: acc } => {
                let tile = self.tile(*acc, turn, span)?;
                self.put(op.result, Contents::Tile(tile), turn);
                Ok(())
            }
            OpKind::Elementwise { value, args } => {
                let tile = self.elementwise(*value, args, turn, span)?;
                self.full_step(*value, &tile, span)?;
                self.put(op.result, Contents::Tile(tile), turn);
                Ok(())
            }
            OpKind::ReduceOwn { x, axes } => {
                let what = self.reduce(*x, t1::ReduceOp::Sum, axes, turn, span)?;
                self.put(op.result, what, turn);
                Ok(())
            }
            // A share stands for what it becomes.
            OpKind::Spread { x } | OpKind::Share { x } | OpKind::Total { x } => {
                let tile = self.spread(op, *x, turn)?;
                self.hold(op, tile, turn);
                Ok(())
            }
            OpKind::Reduce { x, op: how, axes, .. } => {
                let what = self.reduce(*x, *how, axes, turn, span)?;
                self.put(op.result, what, turn);
                Ok(())
            }
            OpKind::PutPartials { buf, value, warps } => self.put_partials(op, *buf, *value, *warps, turn),
            OpKind::GetPartials { buf, op: how, warps } => {
                let tile = self.get_partials(op, *buf, *how, *warps)?;
                self.hold(op, tile, turn);
                Ok(())
            }
            OpKind::ReadReg { tensor, ix, .. } => {
                let place = self.subscript(*tensor, ix, turn, span)?;
                let data = self.read(*tensor, &place, span)?;
                let read = Tile { axes: place.axes, shape: place.shape, data };
                let tile = self.on_own_axes(op, read)?;
                self.hold(op, tile, turn);
                Ok(())
            }
            OpKind::WriteReg { tensor, ix, value, when, once, .. } => {
                self.write(*tensor, ix, *value, *when, once, turn, span)
            }
            OpKind::Atomic { op: how, tensor, ix, value, when } => {
                let old = self.atomic(*how, *tensor, ix, *value, *when, turn, span)?;
                if op.result.is_some() {
                    let old = self.on_own_axes(op, old)?;
                    self.hold(op, old, turn);
                }
                Ok(())
            }
            OpKind::Scan { x, op: how, axis, rev } => {
                let what = self.scan(*x, *how, *axis, *rev, turn, span)?;
                self.put(op.result, what, turn);
                Ok(())
            }
            OpKind::GetScan { buf, x, op: how, axis, rev, .. } => {
                let tile = self.get_scan(op, *buf, *x, *how, *axis, *rev, turn)?;
                self.hold(op, tile, turn);
                Ok(())
            }
            OpKind::PutTile { buf, value } => self.put_tile(op, *buf, *value, turn),
            OpKind::GetTile { buf, of, ix } => {
                let tile = self.get_tile(op, *buf, *of, ix, turn)?;
                self.hold(op, tile, turn);
                Ok(())
            }
            OpKind::SortKey { x, descending } => {
                let tile = self.sort_key(*x, *descending, turn, span)?;
                self.hold(op, tile, turn);
                Ok(())
            }
            OpKind::Position { axis } => {
                let tile = self.position(op, *axis)?;
                self.hold(op, tile, turn);
                Ok(())
            }
            OpKind::Rank { buf, of, axis } => {
                let tile = self.rank(op, *buf, *of, *axis)?;
                self.hold(op, tile, turn);
                Ok(())
            }
            OpKind::PutAt { buf, value, rank, axis } => self.put_at(op, *buf, *value, *rank, *axis, turn),
            OpKind::GetRanked { buf, of, axis, to, part } => {
                let tile = self.get_ranked(op, *buf, *of, *axis, *to, *part)?;
                self.hold(op, tile, turn);
                Ok(())
            }
            OpKind::WorkPut { work, value } => {
                let tile = self.tile(*value, turn, span)?;
                self.work_put(*work, tile)
            }
            OpKind::WorkLast { var } => match (self.work_last(*var), op.result) {
                (true, None) => Err(Halt::Left),
                (false, None) => Ok(()),
                (more, Some(_)) => {
                    self.hold(op, flag(more), turn);
                    Ok(())
                }
            },
            OpKind::ItemPart => {
                self.hold(op, flag(self.item_part()), turn);
                Ok(())
            }
            // Which tile it is decides what the block does next, which is not the block's to know.
            OpKind::ItemDraw => {
                self.hold(op, Tile { data: Values::Int(vec![0]), ..flag(true) }, turn);
                Ok(())
            }
            OpKind::ItemTell { buf, value } => self.put_tile(op, *buf, *value, turn),
            OpKind::ItemHear { buf, of } => {
                let tile = self.get_tile(op, *buf, *of, &[], turn)?;
                self.hold(op, tile, turn);
                Ok(())
            }
            OpKind::ItemDone { next } => {
                if let Some(next) = next {
                    self.tile(*next, turn, span)?;
                }
                let told = self.module.told().map(|buf| self.module.buffer(buf));
                let told = told.map_or(0..0, |b| b.base as usize..(b.base + b.slot_bytes) as usize);
                if let Err(problem) = self.shared.next_item(&told) {
                    self.find(format!("the next item {}", problem.words()), span);
                }
                self.begin_anew();
                Ok(())
            }
            OpKind::WorkGet { work } => {
                let tile = self.work_get(*work, op)?;
                self.put(op.result, Contents::Tile(tile), turn);
                Ok(())
            }
            OpKind::Neutral { op: how } => {
                let tile = self.neutral(op, *how)?;
                self.hold(op, tile, turn);
                Ok(())
            }
            OpKind::Combine { op: how, x, y } => {
                let tile = self.combine(op, *how, *x, *y, turn)?;
                self.hold(op, tile, turn);
                Ok(())
            }
            // Ops that planning learns before this interpreter does.
            #[allow(unreachable_patterns)]
            other => Err(Halt::Unknown(format!("`{}`", other.label()))),
        }
    }
}
