//! Persistent blocks: the loop around everything that computes a tile.
//!
//! The host launches as many blocks as the GPU holds; each goes from one *item* to the next. With `persistent`, block b of n takes the
//! tiles b, b + n, …. With stream-K the steps of all tiles are numbered through and shared out evenly: of T steps in all, block w
//! has those from `start(w) = w · (T / n) + min(w, T % n)` to `start(w + 1)`, and an item ends where a tile or the share does.
//!
//! Worked example: 3 tiles of 4 steps, 2 blocks. Block 0 has the steps 0 to 5: tile 0, and steps 0 and 1 of tile 1. Block 1 begins with steps
//! 2 and 3 of tile 1. Of a block's items only the first may begin inside a tile, and only the last may begin at a tile's start
//! without finishing it, so two parts of the workspace per block are enough: part 2w is for the former, 2w + 1 for the latter.
//!
//! With `persistent = dynamic` a block begins with the tile of its own number and draws the others from one counter of the launch: a draw gives
//! n plus what was there. The counter runs round at the number of tiles (`atom.inc`), and every launch draws exactly so often: once
//! for each of the tiles after the first n, and once more by each of the n blocks, which learns that there is none left. So it is zero again
//! when all blocks are done, and needs no one to clear it. One thread draws as a tile begins, and tells the others at its end.
//!
//! All of this is block-uniform arithmetic, once per item.

use super::elements::Element;
use super::grid::{Digit, ceil_div, mul};
use super::ir::*;
use super::lower::Lower;
use crate::artifact::{GridRange, Share as Shared, Workers};
use crate::plan::{Refusal, instances};
use crate::scheduled::ir as t2;
use crate::tile::ir as t1;

/// The steps that a block is at.
#[derive(Clone, Debug)]
pub struct Item {
    /// The tile's number.
    pub tile: Reg,
    /// The block's own number, and how many blocks there are.
    worker: Reg,
    share: Share,
    /// Steps of a tile, and of this item.
    steps: Reg,
    taken: Reg,
    /// The first block of the tile.
    owner: Option<Reg>,
}

/// What a block needs to draw a tile: how many there are of both.
#[derive(Clone, Copy, Debug)]
pub struct Draws {
    tiles: Reg,
    blocks: Reg,
    /// Which of the two words passes on this item's draw: bytes, 0 or 4.
    word: Reg,
    /// The first thread.
    one: Reg,
}

/// How steps are shared out: everybody has `least`, the first `more` blocks one in addition.
#[derive(Clone, Debug)]
struct Share {
    least: Reg,
    more: Reg,
}

impl Lower<'_> {
    /// The whole kernel as a loop over items; says how many blocks there are.
    pub fn items(&mut self, grid: &[Digit]) -> Result<Workers, Refusal> {
        self.b.comment("the block's share of the work");
        let worker = self.b.special(Special::CtaidX);
        let blocks = self.b.special(Special::NctaidX);
        let tiles = grid.iter().fold(Src::Int(1), |n, digit| match (n, digit.count) {
            (Src::Int(1), count) => count,
            (n, count) => mul(&mut self.b, n, count),
        });
        let tiles = self.b.mov(Class::B32, tiles);
        let occupancy = self.module.occupancy.unwrap_or(1);
        match self.module.dispatch {
            t2::Dispatch::Stream(stream) => self.stream(stream, grid, worker, blocks, tiles, occupancy),
            _ => {
                let at = self.b.mov(Class::B32, worker);
                let left = self.b.int(IntOp::Sub, IntTy::S32, tiles, worker);
                if self.module.dispatch == t2::Dispatch::Drawn {
                    let word = self.b.mov(Class::B32, 0);
                    let one = self.b.set_int(Cmp::Eq, IntTy::U32, self.threads.tid, 0);
                    self.draws = Some(Draws { tiles, blocks, word, one });
                }
                self.b.open();
                self.scalars.decode_grid(&mut self.b, at, grid, self.module.raster)?;
                self.body()?;
                let body = self.b.close();
                self.b.open();
                let share = match self.next_drawn()? {
                    None => {
                        let (a, b) = (at.into(), blocks.into());
                        self.b.push(Op::Int { op: IntOp::Add, ty: IntTy::S32, d: at, a, b });
                        self.next("tiles", left, blocks, body);
                        Shared::Turns
                    }
                    Some(next) => {
                        if let Some(Draws { word, .. }) = self.draws {
                            let (a, b) = (word.into(), Src::Int(4));
                            self.b.push(Op::Int { op: IntOp::Xor, ty: IntTy::B32, d: word, a, b });
                        }
                        let by = self.b.int(IntOp::Sub, IntTy::S32, next, at);
                        self.b.push(Op::Mov { d: at, a: next.into() });
                        self.next("tiles", left, by, body);
                        Shared::Drawn
                    }
                };
                Ok(Workers { per_sm: occupancy, share })
            }
        }
    }

    /// The tile that the item before has drawn.
    fn next_drawn(&mut self) -> Result<Option<Reg>, Refusal> {
        let next = self.module.body.iter().find_map(|n| match n {
            t2::Node::Op(t2::Op { kind: t2::OpKind::ItemDone { next }, .. }) => *next,
            _ => None,
        });
        let Some(next) = next else { return Ok(None) };
        let e = self.element(next, 0)?;
        let s = self.countable(e)?;
        Ok(Some(self.in_register(s, Class::B32)))
    }

    /// The first thread draws.
    pub fn emit_item_draw(&mut self, v: t2::ValId) -> Result<(), Refusal> {
        let Some(Draws { tiles, blocks, one, .. }) = self.draws else { return Ok(()) };
        self.b.comment("the next tile is drawn now and asked for later");
        let base = self.scalars.counters()?;
        let last = self.b.add(tiles, -1);
        let drawn = self.b.mov(Class::B32, 0);
        let at = Address { base, offset: 0 };
        self.b.guarded(Some((one, true)), Op::DrawGlobal { d: drawn, at, last });
        let next = self.b.add(drawn, blocks);
        self.elements.insert((v, 0), Element::Int(next.into()));
        Ok(())
    }

    /// Where this item's draw is passed on.
    fn word(&mut self, buf: t2::BufId) -> Option<(Address, Reg)> {
        let Draws { word, one, .. } = self.draws?;
        let shared = self.threads.shared(&mut self.b, &[], 0);
        let base = self.b.add(shared.base, word);
        Some((Address { base, offset: shared.offset + self.module.buffer(buf).base as i32 }, one))
    }

    pub fn emit_item_tell(&mut self, buf: t2::BufId, value: t2::ValId) -> Result<(), Refusal> {
        let e = self.element(value, 0)?;
        let s = self.countable(e)?;
        let a = vec![self.in_register(s, Class::B32)];
        if let Some((to, one)) = self.word(buf) {
            self.b.guarded(Some((one, true)), Op::StoreShared { a, to });
        }
        Ok(())
    }

    pub fn emit_item_hear(&mut self, buf: t2::BufId, v: t2::ValId) {
        let Some((from, _)) = self.word(buf) else { return };
        let d = self.b.reg(Class::B32);
        self.b.push(Op::LoadShared { d, from, bytes: 4 });
        self.elements.insert((v, 0), Element::Int(d.into()));
    }

    /// Ends the loop over items: its advance is being written.
    fn next(&mut self, name: &str, left: Reg, taken: Reg, body: Vec<Stmt>) {
        self.b.push(Op::Int { op: IntOp::Sub, ty: IntTy::S32, d: left, a: left.into(), b: taken.into() });
        let advance = self.b.close();
        self.b.stmt(Stmt::Loop(Loop {
            name: name.into(),
            left,
            until: None,
            by: 1,
            copies: vec![body],
            advance,
            rolled: true,
        }));
    }

    fn stream(
        &mut self,
        stream: t2::Stream,
        grid: &[Digit],
        worker: Reg,
        blocks: Reg,
        tiles: Reg,
        occupancy: u32,
    ) -> Result<Workers, Refusal> {
        let kernel = self.kernel;
        let l = kernel.loop_(stream.steps);
        let by = l.axis.map_or(1, |a| kernel.axis(a).extent);
        let lo = self.scalars.coordinate(&mut self.b, stream.lo)?;
        let hi = self.scalars.coordinate(&mut self.b, stream.hi)?;
        let (lo, hi) = (self.b.mov(Class::B32, lo), self.b.mov(Class::B32, hi));
        let extent = self.b.int(IntOp::Sub, IntTy::S32, hi, lo);
        let extent = self.b.int(IntOp::Max, IntTy::S32, extent, 0);
        let steps = ceil_div(&mut self.b, extent, by);
        // A tile without steps still wants its zeros written.
        let steps = self.b.int(IntOp::Max, IntTy::U32, steps, 1);
        let all = self.b.int(IntOp::MulLo, IntTy::U32, tiles, steps);
        let least = self.b.int(IntOp::Div, IntTy::U32, all, blocks);
        let more = self.b.int(IntOp::Rem, IntTy::U32, all, blocks);
        let extra = self.b.int(IntOp::Min, IntTy::U32, worker, more);
        let at = self.b.int(IntOp::MulLo, IntTy::U32, worker, least);
        let at = self.b.add(at, extra);
        let has_extra = self.b.set_int(Cmp::Lt, IntTy::U32, worker, more);
        let one_more = self.b.add(least, 1);
        let left = self.b.reg(Class::B32);
        self.b.push(Op::Select { d: left, a: one_more.into(), b: least.into(), p: has_extra });

        self.b.open();
        let tile = self.b.int(IntOp::Div, IntTy::U32, at, steps);
        let first = self.b.int(IntOp::Rem, IntTy::U32, at, steps);
        let ahead = self.b.int(IntOp::Sub, IntTy::U32, steps, first);
        let taken = self.b.int(IntOp::Min, IntTy::U32, ahead, left);
        self.item = Some(Item { tile, worker, share: Share { least, more }, steps, taken, owner: None });
        self.scalars.decode_grid(&mut self.b, tile, grid, self.module.raster)?;
        let skip = self.b.int(IntOp::MulLo, IntTy::U32, first, i64::from(by));
        let from = self.b.add(skip, lo);
        let length = self.b.int(IntOp::MulLo, IntTy::U32, taken, i64::from(by));
        let to = self.b.add(from, length);
        let to = self.b.int(IntOp::Min, IntTy::S32, to, hi);
        self.scalars.learn(l.lo, from);
        self.scalars.learn(l.hi, to);
        self.body()?;
        let body = self.b.close();
        self.b.open();
        self.b.push(Op::Int { op: IntOp::Add, ty: IntTy::S32, d: at, a: at.into(), b: taken.into() });
        self.next("items", left, taken, body);

        let extent = instances::between(kernel, stream.lo, stream.hi)
            .ok_or_else(|| Refusal::construct(l.span, "steps that only data counts"))?;
        let text = instances::text(kernel, &extent);
        let steps = GridRange { name: l.name.clone(), extent, text, by };
        Ok(Workers { per_sm: occupancy, share: Shared::Steps(steps) })
    }

    /// Whether the item is a part of its tile; which blocks have the others is known from here on.
    pub fn emit_item_part(&mut self, v: t2::ValId) -> Result<(), Refusal> {
        let (Some(item), Some(part)) = (self.item.clone(), self.streamed()) else { return Ok(()) };
        self.b.comment("a part of a tile is left for whoever finishes it");
        let p = self.b.set_int(Cmp::Ne, IntTy::U32, item.taken, item.steps);
        self.elements.insert((v, 0), Element::Pred(p));
        let from = self.b.int(IntOp::MulLo, IntTy::U32, item.tile, item.steps);
        let last = self.b.add(from, item.steps);
        let last = self.b.add(last, -1);
        let (owner, last) = (self.owner(&item.share, from), self.owner(&item.share, last));
        let end = self.b.add(last, 1);
        let g = self.kernel.grid_var(part);
        self.scalars.learn(g.lo, owner);
        self.scalars.learn(g.hi, end);
        self.item = Some(Item { owner: Some(owner), ..item });
        Ok(())
    }

    fn streamed(&self) -> Option<t1::GridId> {
        match self.module.dispatch {
            t2::Dispatch::Stream(stream) => Some(stream.part),
            t2::Dispatch::Each | t2::Dispatch::Persistent | t2::Dispatch::Drawn => None,
        }
    }

    /// The block that has a step.
    fn owner(&mut self, share: &Share, step: Reg) -> Reg {
        // The first blocks have `least + 1` steps each; no block is without one, or there would be fewer.
        let most = self.b.add(share.least, 1);
        let of_first = self.b.int(IntOp::MulLo, IntTy::U32, share.more, most);
        let among_first = self.b.set_int(Cmp::Lt, IntTy::U32, step, of_first);
        let early = self.b.int(IntOp::Div, IntTy::U32, step, most);
        let rest = self.b.int(IntOp::Sub, IntTy::U32, step, of_first);
        let late = self.b.int(IntOp::Div, IntTy::U32, rest, share.least);
        let late = self.b.add(late, share.more);
        let d = self.b.reg(Class::B32);
        self.b.push(Op::Select { d, a: early.into(), b: late.into(), p: among_first });
        d
    }

    /// The number of a block's part of the tile: of this block, or of the one at `at`.
    pub fn item_part(&mut self, at: Option<Src>) -> Reg {
        let Some(item) = self.item.clone() else { unreachable!("asked for where blocks share steps") };
        let block = match at {
            Some(at) => self.in_register(at, Class::B32),
            None => item.worker,
        };
        let twice = self.b.shift(block, 1);
        let Some(owner) = item.owner else { return twice };
        let next = self.b.add(twice, 1);
        let begins = self.b.set_int(Cmp::Eq, IntTy::U32, block, owner);
        let d = self.b.reg(Class::B32);
        self.b.push(Op::Select { d, a: next.into(), b: twice.into(), p: begins });
        d
    }
}
