//! From lengths to a work list. In order: tiles of queries and the keys they reach; the length of a piece; items and slots; items by
//! falling cost; blocks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU32;
use std::ops::Range;

/// One request of a batch; its last query stands at its last key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Queries: 1 where a token is decoded.
    pub queries: u32,
    /// Keys in the cache, the queries' own included.
    pub keys: u32,
}

/// Which keys a query may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    All,
    /// Up to its own.
    Causal,
    /// Its own and so many before it.
    Window {
        left: u32,
    },
}

/// How a tile's keys are cut in pieces that different blocks do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Not at all.
    None,
    /// Every so many keys, from the first that a tile sees: a request's pieces, and so its results' bits, do not depend on the other
    /// requests.
    Fixed(NonZeroU32),
    /// So that blocks get even work: the shortest pieces, in whole tiles of keys, of which the batch has no more than blocks.
    Balanced,
}

/// What does not change from batch to batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Queries of a tile: the kernel's BQ.
    pub query_tile: NonZeroU32,
    /// Keys of a step: the kernel's BKV.
    pub key_tile: NonZeroU32,
    pub reach: Reach,
    pub split: Split,
    /// Blocks that work at a time on one head: SMs × blocks per SM, divided by the heads that the grid has beside the work list.
    pub blocks: NonZeroU32,
    pub capacity: Capacity,
}

/// Lengths of the tensors: the most of each that any batch may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Queries of a batch, over all requests.
    pub rows: u32,
    pub items: u32,
    /// Partial results.
    pub slots: u32,
}

impl Capacity {
    /// Enough for every batch of at most so many requests, queries and keys a request, cut every `split` keys (0: not cut).
    pub fn for_fixed(query_tile: NonZeroU32, requests: u32, rows: u32, keys: u32, split: u32) -> Capacity {
        let pieces = if split == 0 { 1 } else { keys.div_ceil(split).max(1) };
        // Every request may end in a tile that is not full.
        let tiles = (rows / query_tile).saturating_add(requests).min(rows);
        Capacity { rows, items: tiles.saturating_mul(pieces), slots: rows.saturating_mul(pieces) }
    }
}

/// Why a batch cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error(
        "the batch has {wanted} {what}, and the plan was made for {capacity}; make it with a larger capacity"
    )]
    Capacity { what: &'static str, wanted: u64, capacity: u32 },
    #[error("{what} of {wanted} leaves the range of the 32-bit numbers that kernels read")]
    TooLarge { what: &'static str, wanted: u64 },
}

/// A work item: queries `q0..` of a tile, over keys `keys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    pub req: u32,
    /// The first row, among all queries of the batch.
    pub q0: u32,
    /// Rows: a tile's, or what is left of the request.
    pub rows: u32,
    pub keys: Range<u32>,
    /// The slot of row `q0`.
    pub part: u32,
    /// Which piece of its tile.
    pub piece: u32,
    pub cost: u64,
}

/// The work list of a batch as index tensors. Items are in order of falling cost, so that blocks that draw them one by one end together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Items that exist; the rest of each tensor are empty ones.
    pub items: usize,
    /// Slots that exist.
    pub slots: usize,
    /// Rows that exist.
    pub rows: usize,
    /// [items] The request.
    pub req: Vec<i32>,
    /// [items] The first row of the tile, among all queries of the batch.
    pub q0: Vec<i32>,
    /// [items] The first key.
    pub lo: Vec<i32>,
    /// [items] One past the last key.
    pub hi: Vec<i32>,
    /// [items] The slot of the first row's partial result; −1 for what does not exist.
    pub part: Vec<i32>,
    /// [rows + 1] Row r merges the slots `first[r]..first[r + 1]`.
    pub first: Vec<i32>,
    /// [slots] The item that leaves its result there.
    pub slot: Vec<i32>,
    /// [items] Items by block: block b does `turn[start[b]..start[b + 1]]`, in that order.
    pub turn: Vec<i32>,
    /// [blocks + 1]
    pub start: Vec<i32>,
}

impl Plan {
    /// The tensors by the names that kernels give them; each keeps its length and its memory from batch to batch.
    pub fn tensors(&self) -> [(&'static str, &[i32]); 9] {
        [
            ("req", &self.req),
            ("q0", &self.q0),
            ("lo", &self.lo),
            ("hi", &self.hi),
            ("part", &self.part),
            ("first", &self.first),
            ("slot", &self.slot),
            ("turn", &self.turn),
            ("start", &self.start),
        ]
    }
}

/// Plans batch after batch into the same memory.
#[derive(Clone, Debug)]
pub struct Planner {
    settings: Settings,
    plan: Plan,
    work: Vec<Work>,
}

/// A tile of queries and the keys that some of them see.
struct Tile {
    req: u32,
    q0: u32,
    rows: u32,
    keys: Range<u32>,
}

impl Planner {
    /// Allocates the tensors.
    ///
    /// # Errors
    /// [`PlanError::TooLarge`] where a capacity is no 32-bit number.
    pub fn new(settings: Settings) -> Result<Planner, PlanError> {
        let Capacity { rows, items, slots } = settings.capacity;
        for (what, wanted) in [("rows", rows), ("items", items), ("slots", slots)] {
            if i32::try_from(wanted).is_err() {
                return Err(PlanError::TooLarge { what, wanted: wanted.into() });
            }
        }
        let list = || vec![0; items as usize];
        let plan = Plan {
            req: list(),
            q0: list(),
            lo: list(),
            hi: list(),
            part: vec![-1; items as usize],
            first: vec![0; rows as usize + 1],
            slot: vec![0; slots as usize],
            turn: list(),
            start: vec![0; settings.blocks.get() as usize + 1],
            ..Plan::default()
        };
        Ok(Planner { settings, plan, work: Vec::new() })
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The last batch's plan; before the first one, one without items.
    pub fn last(&self) -> &Plan {
        &self.plan
    }

    /// The last batch's items, in the order of the tensors.
    pub fn work(&self) -> &[Work] {
        &self.work
    }

    /// Plans a batch. Where it does not fit, the tensors are as they were.
    ///
    /// # Errors
    /// [`PlanError`], where the batch has more rows, items or slots than the capacity, or a length that kernels cannot count.
    pub fn plan(&mut self, requests: &[Request]) -> Result<&Plan, PlanError> {
        let tiles = self.tiles(requests)?;
        let length = self.piece_length(&tiles);
        let (work, first) = self.cut(&tiles, length)?;
        self.work = work;
        // Ties in the order of requests, rows and keys: the same batch is the same list.
        self.work.sort_by_key(|w| (Reverse(w.cost), w.req, w.q0, w.keys.start));
        self.write(&first);
        self.deal();
        Ok(&self.plan)
    }

    /// Tiles of each request's own queries, from its first one on.
    fn tiles(&self, requests: &[Request]) -> Result<Vec<Tile>, PlanError> {
        let rows: u64 = requests.iter().map(|r| u64::from(r.queries)).sum();
        fits("queries", rows, self.settings.capacity.rows)?;
        let (step, mut tiles, mut row) = (self.settings.query_tile.get(), Vec::new(), 0);
        for (req, request) in requests.iter().enumerate() {
            if i32::try_from(request.keys).is_err() {
                return Err(PlanError::TooLarge { what: "a length", wanted: request.keys.into() });
            }
            for from in (0..request.queries).step_by(step as usize) {
                let rows = step.min(request.queries - from);
                let keys = self.reached(request, from, rows);
                tiles.push(Tile { req: req as u32, q0: row + from, rows, keys });
            }
            row += request.queries;
        }
        Ok(tiles)
    }

    /// Keys that some of `rows` queries from `from` on see, from the start of a step on.
    fn reached(&self, request: &Request, from: u32, rows: u32) -> Range<u32> {
        // Query i stands at i + keys − queries, which may be before the first key.
        let place = |i: u32| i64::from(i) + i64::from(request.keys) - i64::from(request.queries);
        let end = (place(from + rows - 1) + 1).clamp(0, request.keys.into()) as u32;
        let keys = match self.settings.reach {
            Reach::All => 0..request.keys,
            Reach::Causal => 0..end,
            Reach::Window { left } => {
                let start = (place(from) - i64::from(left)).clamp(0, end.into()) as u32;
                start - start % self.settings.key_tile..end
            }
        };
        if keys.is_empty() { 0..0 } else { keys }
    }

    /// Keys of a piece.
    fn piece_length(&self, tiles: &[Tile]) -> u32 {
        let (step, blocks) = (self.settings.key_tile.get(), u64::from(self.settings.blocks.get()));
        match self.settings.split {
            Split::None => u32::MAX,
            Split::Fixed(length) => length.get(),
            Split::Balanced => {
                let longest = tiles.iter().map(|t| t.keys.end - t.keys.start).max().unwrap_or(0);
                let pieces = |steps: u32| -> u64 {
                    let length = steps.saturating_mul(step);
                    tiles.iter().map(|t| u64::from(count(&t.keys, length))).sum()
                };
                // Fewer pieces as they grow: the shortest that are no more than blocks; none are cut if that is more already.
                let (mut few, mut many) = (longest.div_ceil(step).max(1), 0);
                while few - many > 1 {
                    let middle = many + (few - many) / 2;
                    if pieces(middle) <= blocks { few = middle } else { many = middle }
                }
                few.saturating_mul(step)
            }
        }
    }

    /// Items of every tile, and the first slot of every row.
    fn cut(&self, tiles: &[Tile], length: u32) -> Result<(Vec<Work>, Vec<u32>), PlanError> {
        let total = |each: &dyn Fn(&Tile) -> u64| tiles.iter().map(each).sum::<u64>();
        fits("items", total(&|t| count(&t.keys, length).into()), self.settings.capacity.items)?;
        let slots = total(&|t| u64::from(count(&t.keys, length)) * u64::from(t.rows));
        fits("partial results", slots, self.settings.capacity.slots)?;
        let (mut work, mut first, mut slot) = (Vec::new(), vec![0], 0);
        for tile in tiles {
            let pieces = count(&tile.keys, length);
            for piece in 0..pieces {
                let from = tile.keys.start + piece * length;
                let keys = from..from.saturating_add(length).min(tile.keys.end);
                let cost = self.cost(&keys);
                work.push(Work {
                    req: tile.req,
                    q0: tile.q0,
                    rows: tile.rows,
                    keys,
                    part: slot + piece,
                    piece,
                    cost,
                });
            }
            for _ in 0..tile.rows {
                slot += pieces;
                first.push(slot);
            }
        }
        Ok((work, first))
    }

    /// FlashInfer's measure: a query is read and written, a key is read; in whole steps.
    fn cost(&self, keys: &Range<u32>) -> u64 {
        let step = self.settings.key_tile.get();
        let steps = keys.end.div_ceil(step) - keys.start / step;
        2 * u64::from(self.settings.query_tile.get()) + u64::from(steps) * u64::from(step)
    }

    fn write(&mut self, first: &[u32]) {
        let plan = &mut self.plan;
        (plan.items, plan.rows) = (self.work.len(), first.len() - 1);
        plan.slots = first.last().map_or(0, |last| *last as usize);
        for at in 0..plan.req.len() {
            let numbers = match self.work.get(at) {
                Some(w) => [w.req, w.q0, w.keys.start, w.keys.end, w.part].map(|n| n as i32),
                None => [0, 0, 0, 0, -1],
            };
            [plan.req[at], plan.q0[at], plan.lo[at], plan.hi[at], plan.part[at]] = numbers;
        }
        plan.slot.fill(0);
        for (at, w) in self.work.iter().enumerate() {
            for row in w.q0..w.q0 + w.rows {
                plan.slot[(first[row as usize] + w.piece) as usize] = at as i32;
            }
        }
        for (at, slot) in plan.first.iter_mut().enumerate() {
            *slot = first.get(at).copied().unwrap_or(plan.slots as u32) as i32;
        }
    }

    /// Each item, the costliest first, to the block that has least.
    fn deal(&mut self) {
        let blocks = self.settings.blocks.get() as usize;
        let mut heap: BinaryHeap<Reverse<(u64, usize)>> = (0..blocks).map(|b| Reverse((0, b))).collect();
        let mut lists = vec![Vec::new(); blocks];
        for (at, work) in self.work.iter().enumerate() {
            if let Some(Reverse((load, block))) = heap.pop() {
                lists[block].push(at as i32);
                heap.push(Reverse((load + work.cost, block)));
            }
        }
        let mut at = 0;
        for (block, list) in lists.iter().enumerate() {
            self.plan.start[block] = at as i32;
            self.plan.turn[at..at + list.len()].copy_from_slice(list);
            at += list.len();
        }
        self.plan.start[blocks] = at as i32;
        self.plan.turn[at..].fill(0);
    }
}

/// Pieces of a length.
fn count(keys: &Range<u32>, length: u32) -> u32 {
    (keys.end - keys.start).div_ceil(length)
}

fn fits(what: &'static str, wanted: u64, capacity: u32) -> Result<(), PlanError> {
    match wanted <= u64::from(capacity) {
        true => Ok(()),
        false => Err(PlanError::Capacity { what, wanted, capacity }),
    }
}
