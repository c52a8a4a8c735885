//! `wgmma`: matrix products of a warpgroup on operands in shared memory.
//!
//! D = A·B + D with 64 rows. Each of the four warps has 16 of the rows, in the fragment layout of `mma.m16n8` repeated over the columns, so
//! every warp computes its own part, whenever it gets there:
//!
//! ```text
//! warp w of the warpgroup:   A rows 16w .. 16w+16  (descriptor, or its own registers)     D tile j = registers 4j .. 4j+4
//!                            B columns 8j .. 8j+8, for all j                               (f16 sums: 2j, 2j+1)
//! ```
//!
//! **Descriptors** (64 bits): start address, leading and stride offsets in 16 bytes, swizzle mode in the top two bits. With W bytes of swizzle
//! and T elements in 16 bytes, element (r, k) of a K-major operand lies at (r/8)·stride + (r%8)·W + k; one that is MN-major at
//! (r/(W/2))·leading + r%(W/2) + (k/8)·stride + (k%8)·W; the swizzle then permutes by address. Without swizzle the pieces
//! are 8 rows of 16 bytes.
//!
//! **Lazy mode.** The product happens when a `wgmma.wait_group` retires its group: operands are read as they are then. With the sanitizer,
//! registers of D must not be touched, and those of A not written, in between; and writes to them before a `wgmma` need a `wgmma.fence`.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::super::finding::FindingKind;
use super::super::frame::Lanes32;
use super::super::matrix::{Operand, Spread, Warpgroup};
use super::super::memory::tensor_map::Swizzle;
use super::super::program::{Step, StepKind, Wgmma, WgmmaA};
use super::super::shadow::{Agent, AsyncAgent, Epoch, SeenCells, Touch};
use super::access::PAGE;
use super::block::{Block, Env, Stop};
use super::panels::PanelKey;
use super::run::valp;
use super::warp::{Fragment, Wait, Warp};

/// A product that was started.
#[derive(Clone, Copy, Debug)]
struct Product {
    step: usize,
    a: u64,
    b: u64,
    /// D is not added.
    fresh: bool,
    group: u32,
    /// Its number among the products of its warp.
    number: u64,
    /// It was carried out when another warp of the warpgroup waited for it.
    done: bool,
}

/// The products of a warp that nobody has waited for.
#[derive(Clone, Debug, Default)]
pub struct WgmmaQueue {
    pending: Vec<Product>,
    committed: u32,
    /// Products so far, and how many of them there were at the last commits, and at the end of the last group that was waited for.
    issued: u64,
    commits: VecDeque<u64>,
    waited: u64,
    /// Registers of some `wgmma` that were written since the last `wgmma.fence`, with the PTX line.
    unfenced: FxHashMap<u32, u32>,
    /// There was a `wgmma.fence`.
    fenced: bool,
    /// Eager products that are still to be added up.
    batch: Batch,
}

/// Products with the same sums, one after the other: operands are unpacked when each is issued, the sums loaded and stored once for all of them.
/// They are added up before anything else than lane-local code happens in the warp, so nobody can tell the difference.
#[derive(Clone, Default)]
struct Batch {
    /// Step of the first: all have its type and sums.
    step: usize,
    fresh: bool,
    count: usize,
    rows: Vec<Operand>,
    /// Their panels, by number.
    panels: [usize; MAX_BATCH],
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Batch({} products)", self.count)
    }
}

/// A read of B that the sanitizer has seen: by whom (the warpgroup's agent), and what it found.
#[derive(Debug)]
pub struct SeenRead {
    key: (Epoch, usize, u64, usize),
    cells: SeenCells,
}

/// Reads that are remembered.
const SEEN: usize = 16;

/// Products of a batch at most: fewer than the panels that are kept.
const MAX_BATCH: usize = 8;

impl WgmmaQueue {
    /// `wgmma.fence`.
    pub fn fence(&mut self) {
        self.unfenced.clear();
        self.fenced = true;
    }

    /// `wgmma.commit_group`.
    pub fn commit(&mut self) {
        self.committed += 1;
        self.commits.push_back(self.issued);
    }

    /// `wgmma.wait_group newest`: how many of the products must be done.
    fn due(&mut self, newest: u32) -> u64 {
        while self.commits.len() > newest as usize {
            self.waited = self.commits.pop_front().unwrap_or(self.waited);
        }
        self.waited
    }

    /// Whether the warp has got as far as product `number`.
    pub(super) fn has_issued(&self, number: u64) -> bool {
        self.issued >= number
    }

    /// Whether products are still to be added up.
    #[inline]
    pub fn has_batch(&self) -> bool {
        self.batch.count != 0
    }
}

impl Batch {
    /// Whether a product can join.
    fn takes(&self, steps: &[Step], op: &Wgmma, product: Product) -> bool {
        let StepKind::Wgmma(first) = &steps[self.step].kind else { return self.count == 0 };
        let like = |a: &Warpgroup, b: &Warpgroup| a.k == b.k && std::ptr::fn_addr_eq(a.multiply, b.multiply);
        self.count == 0
            || (self.count < MAX_BATCH
                && !product.fresh
                && first.d == op.d
                && first.fast.as_ref().zip(op.fast.as_ref()).is_some_and(|(a, b)| like(a, b)))
    }

    fn add(&mut self, fast: &Warpgroup, a: &[Lanes32; 4], panel: usize, product: Product) {
        if self.count == 0 {
            (self.step, self.fresh) = (product.step, product.fresh);
        }
        if self.rows.len() == self.count {
            self.rows.push(Spread::zero());
        }
        (fast.spread)(a, &mut self.rows[self.count]);
        self.panels[self.count] = panel;
        self.count += 1;
    }
}

/// Where an operand lies.
#[derive(Clone, Copy, Debug)]
struct Matrix {
    start: u32,
    leading: u32,
    stride: u32,
    swizzle: Swizzle,
    /// MN-major.
    transposed: bool,
}

impl Matrix {
    fn new(descriptor: u64, transposed: bool) -> Matrix {
        let field = |shift: u32| ((descriptor >> shift) as u32 & 0x3fff) << 4;
        let swizzle = match descriptor >> 62 {
            0 => Swizzle::None,
            1 => Swizzle::Rows(128),
            2 => Swizzle::Rows(64),
            _ => Swizzle::Rows(32),
        };
        Matrix { start: field(0), leading: field(16), stride: field(32), swizzle, transposed }
    }

    /// Address of the 16 bytes number `chunk` along K of row `row` (K-major).
    fn along_k(&self, row: u32, chunk: u32) -> u32 {
        let offset = match self.swizzle.span() {
            None => row / 8 * self.stride + row % 8 * 16 + chunk * self.leading,
            // Only the sparse forms reach past a narrow span.
            Some(span) => {
                let per = span / 16;
                row / 8 * self.stride + row % 8 * span + chunk / per * self.leading + chunk % per * 16
            }
        };
        self.swizzle.apply(self.start + offset)
    }

    /// Address of the 8 elements from row `row` on, at `k` (MN-major, 16 bits).
    fn along_mn(&self, row: u32, k: u32) -> u32 {
        let offset = match self.swizzle.span() {
            None => row / 8 * self.stride + k / 8 * self.leading + k % 8 * 16,
            Some(span) => {
                let wide = span / 2;
                row / wide * self.leading + row % wide * 2 + k / 8 * self.stride + k % 8 * span
            }
        };
        self.swizzle.apply(self.start + offset)
    }

    /// The addresses of the 8 times 16 bytes of an 8x8 block (of 16-bit elements; twice as many of 8 bits): rows from `row`, 16 bytes of K
    /// number `chunk`.
    fn block(&self, row: u32, chunk: u32) -> [u32; 8] {
        std::array::from_fn(|i| {
            let i = i as u32;
            if self.transposed { self.along_mn(row, 8 * chunk + i) } else { self.along_k(row + i, chunk) }
        })
    }

    /// The two blocks of 16 bytes of K of 8 rows into `pair`, where they lie in rows of a swizzle and in `shared`: what most products read.
    fn pair(&self, shared: &[u8], row: u32, pair: [&mut Lanes32; 2]) -> Option<()> {
        let span = self.swizzle.span().filter(|_| !self.transposed)?;
        let base = self.start.wrapping_add(row / 8 * self.stride);
        let lines = shared.get(..(base as usize + 7 * span as usize + 32).next_multiple_of(128))?;
        let mut pair = pair;
        for r in 0..8 {
            let at = base + r * span;
            for (chunk, register) in pair.iter_mut().enumerate() {
                let from = self.swizzle.apply(at + 16 * chunk as u32) as usize;
                let bytes: &[u8; 16] = lines.get(from..)?.first_chunk()?;
                let words = &mut register.as_chunks_mut::<4>().0[r as usize];
                *words = std::array::from_fn(|i| {
                    let at = 4 * i;
                    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
                });
            }
        }
        Some(())
    }

    /// The two blocks, wherever they lie.
    fn both(&self, shared: &[u8], row: u32, [low, high]: [&mut Lanes32; 2]) -> Result<(), u32> {
        if self.pair(shared, row, [&mut *low, &mut *high]).is_none() {
            *low = self.register(shared, row, 0)?;
            *high = self.register(shared, row, 1)?;
        }
        Ok(())
    }

    /// The lines of 128 bytes that a tile of 8 rows lies in: first byte and last.
    fn lines(&self, row: u32) -> (u32, u32) {
        if let (Some(span), false) = (self.swizzle.span(), self.transposed) {
            let base = self.start.wrapping_add(row / 8 * self.stride);
            return (base & !127, base.wrapping_add(7 * span + 31) | 127);
        }
        // A tile lies between its first and last lines; swizzles stay within 128 bytes.
        let ends = [0, 1].map(|chunk| self.block(row, chunk)).map(|b| [b[0], b[7]]);
        let all = ends.as_flattened();
        let low = all.iter().min().copied().unwrap_or(0) & !127;
        (low, all.iter().max().copied().unwrap_or(0) | 127)
    }

    /// A block as an `mma` fragment register: lane l has word l%4 of row l/4.
    fn register(&self, shared: &[u8], row: u32, chunk: u32) -> Result<Lanes32, u32> {
        let mut out = [0; 32];
        let bytes = |address: u32| -> Result<&[u8; 16], u32> {
            let found = shared.get(address as usize..).and_then(|rest| rest.first_chunk::<16>());
            found.ok_or(address)
        };
        if self.transposed {
            for k in 0..8 {
                let halves = bytes(self.along_mn(row, 8 * chunk + k))?.as_chunks::<2>().0;
                for (row, half) in halves.iter().enumerate() {
                    out[4 * row + k as usize / 2] |= u32::from(u16::from_le_bytes(*half)) << (16 * (k % 2));
                }
            }
            return Ok(out);
        }
        for (r, words) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let read = bytes(self.along_k(row + r as u32, chunk))?.as_chunks::<4>().0;
            for (word, four) in words.iter_mut().zip(read) {
                *word = u32::from_le_bytes(*four);
            }
        }
        Ok(out)
    }
}

impl Block<'_> {
    /// Warp `index` is at `wgmma.wait_group newest`. What it waits for are products of the whole warpgroup: it goes on when the other warps
    /// have started theirs. That is why one thread of a warpgroup may tell the producer that a slot is free.
    pub(super) fn wait_for_products(
        &mut self,
        index: usize,
        fragment: usize,
        newest: u32,
    ) -> Result<(), Stop> {
        let due = self.warps[index].wgmma.due(newest);
        self.warps[index].fragments[fragment].wait = Wait::Wgmma { newest, due };
        self.try_products(index)
    }

    /// Lets those warps of the warpgroup of warp `index` go on that wait for nobody any more.
    pub(super) fn try_products(&mut self, index: usize) -> Result<(), Stop> {
        let warp = &self.warps[index];
        let first = index - warp.in_block % 4;
        let end = (index - warp.in_block + self.env.launch.block_warps()).min(first + 4);
        for waiting in first..end {
            let waits = |f: &Fragment| matches!(f.wait, Wait::Wgmma { .. });
            let Some(fragment) = self.warps[waiting].fragments.iter().position(waits) else { continue };
            let Wait::Wgmma { newest, due } = self.warps[waiting].fragments[fragment].wait else { continue };
            let ready = |w: &Warp| w.wgmma.has_issued(due) || w.fragments.is_empty();
            if !self.warps[first..end].iter().all(ready) {
                continue;
            }
            for warp in &mut self.warps[first..end] {
                self.env.carry_out_products(warp, due)?;
            }
            let warp = &mut self.warps[waiting];
            self.env.wgmma_wait(warp, newest)?;
            let Fragment { mask, at, .. } = warp.fragments[fragment];
            if warp.doubts.is_some() {
                self.env.unite(warp, &self.env.launch.kernel.program.steps[at as usize].kind, mask);
            }
            warp.fragments[fragment] = Fragment::ready(mask, at + 1);
        }
        Ok(())
    }
}

/// The agent that reads a warp's operands. A product belongs to all four warps: whoever has waited for it knows that all of it is done.
fn warpgroup(warp: &Warp) -> AsyncAgent {
    AsyncAgent::Wgmma((warp.index - warp.in_block % 4) as u32)
}

/// Most columns over 8.
const MAX_TILES: usize = 32;

impl Env<'_> {
    /// Whether registers of `wgmma` have to be watched.
    #[inline]
    pub(super) fn tracks_wgmma(&self) -> bool {
        self.shadow.is_some() && !self.launch.kernel.program.wgmma_touches.is_empty()
    }

    /// Looks at the registers that step `at` touches.
    pub(super) fn check_registers(&mut self, warp: &mut Warp, at: u32, line: u32, active: u32) {
        let program = &self.launch.kernel.program;
        let touches = &program.wgmma_touches;
        let first = touches.partition_point(|&(step, ..)| step < at);
        if active == 0 {
            return;
        }
        for &(_, cell, writes) in touches[first..].iter().take_while(|&&(step, ..)| step == at) {
            if writes {
                warp.wgmma.unfenced.insert(cell, line);
            }
            let in_flight = warp.wgmma.pending.iter().find(|product| {
                let StepKind::Wgmma(op) = &program.steps[product.step].kind else { return false };
                op.d.iter().any(|r| r.0 == cell) || (writes && op.reads().any(|r| r.0 == cell))
            });
            if let Some(product) = in_flight {
                let other = program.steps[product.step].line;
                let index = warp.index;
                self.report(FindingKind::AsyncInFlight, line, Some(other), || {
                    let how = if writes { "writes" } else { "reads" };
                    format!("warp {index}: this {how} a register of the wgmma of PTX line {other}, which may still be running: its group was not waited for")
                });
                return;
            }
        }
    }

    pub(super) fn wgmma(
        &mut self,
        warp: &mut Warp,
        line: u32,
        number: usize,
        op: &Wgmma,
        mask: u32,
    ) -> Result<(), Stop> {
        self.counters.mma += 1;
        let lane = mask.trailing_zeros() as usize;
        let b = warp.frame.r64(op.b)[lane];
        let a = match &op.a {
            WgmmaA::Desc(r) => warp.frame.r64(*r)[lane],
            WgmmaA::Regs(_) => 0,
        };
        let fresh = valp(&warp.frame, op.scale_d) >> lane & 1 == 0;
        let (group, issued) = (warp.wgmma.committed, warp.wgmma.issued);
        let product = Product { step: number, a, b, fresh, group, number: issued, done: false };
        warp.wgmma.issued += 1;
        if !self.lazy {
            if !warp.wgmma.batch.takes(&self.launch.kernel.program.steps, op, product) {
                self.add_up(warp);
            }
            return self.multiply(warp, op, product);
        }
        if self.shadow.is_some() {
            self.watch(warp, line, op, product);
        }
        warp.wgmma.pending.push(product);
        self.effects += 1;
        Ok(())
    }

    /// Tells the shadow what a product reads, and looks for registers that were written without a fence.
    fn watch(&mut self, warp: &Warp, line: u32, op: &Wgmma, product: Product) {
        let unfenced = op.d.iter().copied().chain(op.reads()).find_map(|r| warp.wgmma.unfenced.get(&r.0));
        if let Some(&other) = unfenced {
            self.report(FindingKind::Race, line, Some(other), || {
                format!("warp {}: a register of this wgmma was written at PTX line {other}: wgmma.fence is missing between them", warp.index)
            });
        }
        if !warp.wgmma.fenced {
            self.report(FindingKind::Race, line, None, || {
                format!("warp {}: the first wgmma of the kernel has no wgmma.fence before it", warp.index)
            });
        }
        let base = (self.rank * self.stride) as u32;
        let mut chunks = Vec::with_capacity(1024);
        if matches!(op.a, WgmmaA::Desc(_)) {
            let a = Matrix::new(product.a, op.trans_a);
            let row = 16 * (warp.in_block as u32 % 4);
            for (row, chunk) in [(row, 0), (row, 1), (row + 8, 0), (row + 8, 1)] {
                chunks.extend(a.block(row, chunk));
            }
        }
        let limit = self.launch.shared_bytes as u32;
        let place = |chunks: &mut Vec<u32>| {
            chunks.retain(|&at| at + 16 <= limit);
            chunks.iter_mut().for_each(|at| *at += base);
        };
        place(&mut chunks);
        let Some(shadow) = &mut self.shadow else { return };
        let agent = shadow.agent(warpgroup(warp));
        let epoch = Epoch { agent, clock: product.group + 1 };
        let (who, touch) = (Agent { warp: warp.index, lane: 0, line }, Touch::BulkRead(epoch));
        let mut fault = shadow.touch_chunks(who, touch, &chunks);
        // The other warps of the warpgroup read the same B.
        let key = (epoch, self.rank, product.b, product.step);
        let known =
            self.reads.iter().any(|seen| seen.key == key && shadow.sees_again(who, touch, &seen.cells));
        if !known {
            chunks.clear();
            let b = Matrix::new(product.b, op.trans_b);
            for tile in 0..u32::from(op.n) / 8 {
                for chunk in 0..op.chunks() {
                    chunks.extend(b.block(8 * tile, chunk));
                }
            }
            place(&mut chunks);
            fault = fault.or(shadow.touch_chunks(who, touch, &chunks));
            if self.reads.len() == SEEN {
                self.reads.remove(0);
            }
            self.reads.push(SeenRead { key, cells: shadow.seen(&chunks) });
        }
        self.report_fault(fault, warp.index, 0, line, "a wgmma's read");
    }

    /// The first `due` products of a warp happen, at the latest.
    fn carry_out_products(&mut self, warp: &mut Warp, due: u64) -> Result<(), Stop> {
        let program = &self.launch.kernel.program;
        for at in 0..warp.wgmma.pending.len() {
            let product = warp.wgmma.pending[at];
            if product.number >= due {
                break;
            }
            if let (StepKind::Wgmma(op), false) = (&program.steps[product.step].kind, product.done) {
                self.multiply(warp, op, product)?;
                warp.wgmma.pending[at].done = true;
            }
        }
        Ok(())
    }

    /// `wgmma.wait_group`: all but the newest `newest` groups are done.
    fn wgmma_wait(&mut self, warp: &mut Warp, newest: u32) -> Result<(), Stop> {
        self.effects += 1;
        if !self.lazy {
            return Ok(());
        }
        let done = warp.wgmma.committed.saturating_sub(newest);
        warp.wgmma.pending.retain(|product| product.group >= done);
        if let Some(shadow) = &mut self.shadow {
            shadow.retire(warp.index, warpgroup(warp), done);
        }
        Ok(())
    }

    /// The product itself.
    fn multiply(&mut self, warp: &mut Warp, op: &Wgmma, product: Product) -> Result<(), Stop> {
        let outside = |env: &mut Self, address: u32| {
            let line = env.launch.kernel.program.steps[product.step].line;
            let bytes = env.launch.shared_bytes;
            env.report(FindingKind::OutOfBounds, line, None, || {
                format!(
                    "a wgmma's descriptor reaches shared offset {address:#x}; the block has {bytes} bytes"
                )
            });
            Stop
        };
        let base = self.rank * self.stride;
        let own = base..base + self.launch.shared_bytes;
        let mut a = [[0; 32]; 4];
        match &op.a {
            WgmmaA::Regs(regs) => {
                a.iter_mut().zip(regs).for_each(|(slot, &r)| *slot = *warp.frame.r32(r));
            }
            WgmmaA::Desc(_) => {
                let matrix = Matrix::new(product.a, op.trans_a);
                let row = 16 * (warp.in_block as u32 % 4);
                for half in 0..2 {
                    let (row, shared) = (row + 8 * half, &self.shared[own.clone()]);
                    let (low, high) = a.split_at_mut(2);
                    matrix
                        .both(shared, row, [&mut low[half as usize], &mut high[half as usize]])
                        .map_err(|at| outside(self, at))?;
                }
            }
        }
        if op.negate {
            let signs = match op.bits {
                8 => 0x8080_8080,
                16 => 0x8000_8000,
                _ => 0x8000_0000,
            };
            a.as_flattened_mut().iter_mut().for_each(|word| *word ^= signs);
        }
        let matrix = Matrix::new(product.b, op.trans_b);
        let tiles = usize::from(op.n) / 8;
        if let Some(fast) = &op.fast {
            let key = PanelKey { rank: self.rank, descriptor: product.b, step: product.step };
            let shared = &self.shared[own];
            let unpack = |data: &mut Vec<f32>| {
                data.resize(tiles * fast.k * 8, 0.0);
                let (mut low, mut high) = (u32::MAX, 0);
                let mut b = [[0; 32]; 2];
                for (tile, columns) in data.chunks_exact_mut(fast.k * 8).enumerate() {
                    let row = 8 * tile as u32;
                    let (first, last) = matrix.lines(row);
                    (low, high) = (low.min(first), high.max(last));
                    let [left, right] = &mut b;
                    matrix.both(shared, row, [left, right])?;
                    (fast.unpack)(&b, columns);
                }
                Ok((((base + low as usize) / PAGE), (base + high as usize) / PAGE + 1))
            };
            let panel = self.panels.get(key, &self.pages, unpack).map_err(|at| outside(self, at))?;
            warp.wgmma.batch.add(fast, &a, panel, product);
            // A traced warp may lose its turn anywhere, and panels do not outlive a turn.
            let more = fast.merges && op.contiguous && !self.lazy && self.tracer.is_none();
            if !more {
                self.add_up(warp);
            }
            return Ok(());
        }
        let metadata = op.sparse.map(|registers| registers.map(|r| *warp.frame.r32(r)));
        let mut copy;
        let contiguous = op.contiguous;
        let d: &mut [Lanes32] = if contiguous {
            warp.frame.range_mut(op.d[0], op.d.len())
        } else {
            copy = op.d.iter().map(|&r| *warp.frame.r32(r)).collect::<Vec<_>>();
            &mut copy
        };
        {
            let mut left: Vec<&Lanes32> = a.iter().collect();
            left.extend(metadata.iter().flatten());
            let per = usize::from(op.per_tile);
            for (tile, d) in d.chunks_exact_mut(per).enumerate().take(MAX_TILES) {
                let shared = &self.shared[own.clone()];
                let row = 8 * tile as u32;
                let b = (0..op.chunks()).map(|chunk| matrix.register(shared, row, chunk));
                let b: Vec<Lanes32> = match b.collect() {
                    Ok(b) => b,
                    Err(at) => return Err(outside(self, at)),
                };
                let mut c = [[0; 32]; 4];
                if !product.fresh {
                    c[..per].copy_from_slice(d);
                }
                let c = [&c[0], &c[1], &c[2], &c[3]];
                (op.tile)(d, &left, &b.iter().collect::<Vec<_>>(), &c[..per]);
            }
        }
        if !contiguous {
            let values = d.to_vec();
            for (&r, value) in op.d.iter().zip(values) {
                *warp.frame.r32_mut(r) = value;
            }
        }
        Ok(())
    }

    /// Adds up the products of the batch.
    pub(super) fn add_up(&mut self, warp: &mut Warp) {
        let batch = &mut warp.wgmma.batch;
        let count = std::mem::take(&mut batch.count);
        let StepKind::Wgmma(op) = &self.launch.kernel.program.steps[batch.step].kind else { return };
        let (Some(fast), 1..) = (&op.fast, count) else { return };
        let rows = batch.rows.iter().zip(&batch.panels).take(count);
        let products: Vec<(&Operand, &[f32])> =
            rows.map(|(rows, &panel)| (rows, self.panels.data(panel))).collect();
        if op.contiguous {
            return (fast.multiply)(warp.frame.range_mut(op.d[0], op.d.len()), &products, batch.fresh);
        }
        let mut d: Vec<Lanes32> = op.d.iter().map(|&r| *warp.frame.r32(r)).collect();
        (fast.multiply)(&mut d, &products, batch.fresh);
        for (&r, value) in op.d.iter().zip(&d) {
            *warp.frame.r32_mut(r) = *value;
        }
    }

    /// Lanes leave: what they started and never waited for may still use the block's memory.
    pub(super) fn check_exit(&mut self, warp: &Warp, line: u32, active: u32) {
        if self.shadow.is_none() {
            return;
        }
        let unfinished =
            super::access::lanes_of(active).find_map(|lane| Some((lane, warp.bulk.unfinished(lane)?)));
        if let Some((lane, other)) = unfinished {
            self.report(FindingKind::AsyncInFlight, line, Some(other), || {
                format!(
                    "warp {} lane {lane} exits while the bulk store of PTX line {other} may still be reading shared memory: its group was not waited for",
                    warp.index
                )
            });
        }
    }
}
