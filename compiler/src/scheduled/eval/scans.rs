//! Scans: the running reduction of a tile, and of what each warp holds of it.
//!
//! Where no bit of the warp number moves along the scanned axis, `scan` is the scan. Else the axis falls into *groups* (coordinates that agree above
//! the bits that threads move), each warp scans its own elements of each group, `put.partials` stores the sum of each warp and
//! group, and `get.scan` adds to every element what lies before it: earlier groups whole, and of its own group the earlier warps.
//!
//! ```text
//! c by 512 on two warps, neighbours 0..128 and 128..256 of each group of 256
//! scan             warp 0: c 0..128 and 256..384, each from its own start; warp 1 the others
//! put.partials     [warp][group]: s00 s01 / s10 s11
//! get.scan         in group 1 of warp 1: s00 + s10 + s01 + own
//! ```

use super::block::{Block, Contents, Halt, Turn};
use super::partials::{positions, squeeze};
use super::shared::{Problem, Writer};
use super::staged::word;
use crate::diagnostics::Span;
use crate::layout::{Axis, Dim};
use crate::scheduled::ir::*;
use crate::tile::eval::Values;
use crate::tile::eval::parts::{Tile, TileRef, combination, ignore_nan, least, scan};
use crate::tile::ir as t1;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What each warp made of its elements along a scanned axis.
#[derive(Clone)]
pub(super) struct Scanned {
    /// The bits of the warp number that move along the axis.
    warps: u32,
    /// Every element's sum from the start of its warp's part of its group.
    own: TileRef,
    /// By row, group and warp (its bits squeezed together).
    sums: Arc<BTreeMap<(u32, u32, u32), u64>>,
}

/// Coordinates of a scanned axis that agree from this bit on are one group.
pub(super) fn group_bits(module: &Module, x: ValId, axis: t1::AxisId) -> u32 {
    let ValKind::Tile { axes, layout, .. } = &module.value(x).kind else { return 0 };
    let Some(at) = axes.iter().position(|a| *a == axis) else { return 0 };
    let moves = |d: Dim| {
        let bits = layout.size_in(d).max(1).trailing_zeros();
        (0..bits).fold(0, |all, bit| {
            let to = layout.coords(&[(d, 1 << bit)]);
            all | to.iter().find(|(a, _)| *a == Axis(at as u16)).map_or(0, |(_, c)| *c)
        })
    };
    32 - (moves(Dim::Lane) | moves(Dim::Warp)).leading_zeros()
}

/// Where one element of a tile stands with respect to a scanned axis.
struct Stand {
    /// Position of its other coordinates, over padded extents.
    row: u32,
    coordinate: u32,
    warp: u32,
}

impl Block<'_, '_> {
    pub(super) fn scan(
        &mut self,
        x: ValId,
        how: t1::ScanOp,
        axis: t1::AxisId,
        rev: bool,
        turn: Option<Turn>,
        span: Span,
    ) -> Result<Contents, Halt> {
        let tile = self.tile(x, turn, span)?;
        let (_, elem) = self.kind(x)?;
        let Some(shares) = self.tables.shares.get(&(x, vec![axis])) else {
            let whole = scan(how, &tile, elem, axis, rev, self.machine.rounding(elem));
            return Ok(Contents::Tile(Arc::new(whole)));
        };
        let warps = shares.warps;
        let stands = self.stands(x, &tile, axis);
        let below = group_bits(self.module, x, axis);
        let add = combination(combine(how), elem, self.machine.mode);
        let mut data = tile.data.clone();
        ignore_nan(how, &mut data);
        let mut words: Vec<u64> = (0..data.len()).map(|n| word(&data, n)).collect();
        let mut sums: BTreeMap<(u32, u32, u32), u64> = BTreeMap::new();
        for n in in_order(&stands, rev) {
            let s = &stands[n];
            let sum = sums.entry((s.row, s.coordinate >> below, s.warp));
            words[n] = *sum.and_modify(|before| *before = add(*before, words[n])).or_insert(words[n]);
        }
        let own = Tile { axes: tile.axes.clone(), shape: tile.shape.clone(), data: values(words, elem) };
        Ok(Contents::Scanned(Scanned { warps, own: Arc::new(own), sums: Arc::new(sums) }))
    }

    /// Each warp's sum of each group.
    pub(super) fn put_sums(
        &mut self,
        op: &Op,
        buf: BufId,
        value: ValId,
        scanned: &Scanned,
        warps: u32,
    ) -> Result<(), Halt> {
        let (axes, elem) = self.kind(value)?;
        let Some((groups, rows)) = self.groups(buf, value, &axes) else {
            return Err(self.malformed("sums of a scan in a buffer of another size"));
        };
        let writer = Writer { by: u32::MAX - u32::from(buf.0), asynchronous: false, bytes: bytes(elem) };
        let nothing = neutral(elem, self.scan_of(buf));
        let mut problem = None;
        for warp in 0..self.module.role(op.role).warps {
            let (slot, own) = (squeeze(warp, warps), squeeze(warp, scanned.warps));
            for row in 0..rows {
                for group in 0..groups {
                    let sum = scanned.sums.get(&(row, group, own)).copied().unwrap_or(nothing);
                    let at = self.partial(buf, slot, row * groups + group);
                    let written = at.and_then(|at| self.shared.write(at, sum, writer));
                    problem = problem.or(written.err());
                }
            }
        }
        self.problem(problem, op, buf);
        Ok(())
    }

    /// The scan of all warps.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn get_scan(
        &mut self,
        op: &Op,
        buf: BufId,
        x: ValId,
        how: t1::ScanOp,
        axis: t1::AxisId,
        rev: bool,
        turn: Option<Turn>,
    ) -> Result<Tile, Halt> {
        let (axes, elem) = self.kind(x)?;
        let Contents::Scanned(scanned) = self.contents(x, turn, op.span)? else {
            return Err(self.malformed("a scan across warps of what one warp holds"));
        };
        let Some((groups, _)) = self.groups(buf, x, &axes) else {
            return Err(self.malformed("sums of a scan in a buffer of another size"));
        };
        let stands = self.stands(x, &scanned.own, axis);
        let below = group_bits(self.module, x, axis);
        let slots = self.module.buffer(buf).shape[0];
        let add = combination(combine(how), elem, self.machine.mode);
        let mut problem: Option<Problem> = None;
        let mut before: BTreeMap<(u32, u32, u32), u64> = BTreeMap::new();
        let mut rows: Vec<u32> = stands.iter().map(|s| s.row).collect();
        rows.sort_unstable();
        rows.dedup();
        for row in rows {
            let mut sum = neutral(elem, how);
            let turned = |n: u32, all: u32| if rev { all - 1 - n } else { n };
            for group in (0..groups).map(|n| turned(n, groups)) {
                for slot in (0..slots).map(|n| turned(n, slots)) {
                    before.insert((row, group, slot), sum);
                    let at = self.partial(buf, slot, row * groups + group);
                    match at.and_then(|at| self.shared.read(at, bytes(elem))) {
                        Ok(part) => sum = add(sum, part),
                        Err(p) => {
                            problem.get_or_insert(p);
                        }
                    }
                }
            }
        }
        self.problem(problem, op, buf);
        let words = stands.iter().enumerate().map(|(n, s)| {
            let own = word(&scanned.own.data, n);
            before.get(&(s.row, s.coordinate >> below, s.warp)).map_or(own, |before| add(*before, own))
        });
        let data = values(words.collect(), elem);
        self.on_own_axes(op, Tile { axes: scanned.own.axes.clone(), shape: scanned.own.shape.clone(), data })
    }

    /// How many groups and rows the buffer of a tile's sums holds.
    fn groups(&self, buf: BufId, v: ValId, axes: &[t1::AxisId]) -> Option<(u32, u32)> {
        let (axis, _) = self.reader(buf)?;
        let n = axes.iter().position(|a| *a == axis)?;
        let padded = self.extents(v);
        let rows: u32 = padded.iter().enumerate().filter(|(d, _)| *d != n).map(|(_, e)| *e).product();
        let [_, positions] = self.module.buffer(buf).shape[..] else { return None };
        (rows > 0 && positions.is_multiple_of(rows)).then_some((positions / rows, rows))
    }

    /// The op that reads a buffer of sums.
    fn reader(&self, buf: BufId) -> Option<(t1::AxisId, t1::ScanOp)> {
        fn find(nodes: &[Node], buf: BufId) -> Option<(t1::AxisId, t1::ScanOp)> {
            nodes.iter().find_map(|n| match n {
                Node::Op(Op { kind: OpKind::GetScan { buf: b, axis, op, .. }, .. }) if *b == buf => {
                    Some((*axis, *op))
                }
                Node::Loop(l) => find(&l.body, buf),
                Node::If(i) => find(&i.then_body, buf).or_else(|| find(&i.else_body, buf)),
                Node::Op(_) | Node::Sync(_) => None,
            })
        }
        find(&self.module.body, buf)
    }

    fn scan_of(&self, buf: BufId) -> t1::ScanOp {
        self.reader(buf).map_or(t1::ScanOp::Sum, |(_, op)| op)
    }

    /// Every existing element of a tile, row-major.
    fn stands(&self, v: ValId, tile: &Tile, axis: t1::AxisId) -> Vec<Stand> {
        let padded = self.extents(v);
        let at = tile.axes.iter().position(|a| *a == axis).unwrap_or(0);
        let shares = self.tables.shares.get(&(v, vec![axis]));
        let decode = |position: u32| {
            let (mut left, mut coordinates) = (position, vec![0; padded.len()]);
            for d in (0..padded.len()).rev() {
                coordinates[d] = left % padded[d];
                left /= padded[d];
            }
            let others = coordinates.iter().zip(&padded).enumerate().filter(|(d, _)| *d != at);
            Stand {
                row: others.fold(0, |row, (_, (c, n))| row * n + c),
                coordinate: coordinates[at],
                warp: shares.map_or(0, |s| s.warp_of(&coordinates)),
            }
        };
        positions(padded.clone(), &tile.shape).into_iter().map(decode).collect()
    }
}

/// Elements in the order of a scan.
fn in_order(stands: &[Stand], rev: bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..stands.len()).collect();
    order.sort_by_key(|n| stands[*n].coordinate);
    if rev {
        order.reverse();
    }
    order
}

fn combine(op: t1::ScanOp) -> t1::Combine {
    match op {
        t1::ScanOp::Sum => t1::Combine::Add,
        t1::ScanOp::Max => t1::Combine::Max,
    }
}

fn bytes(elem: t1::ElemType) -> u8 {
    if matches!(elem, t1::ElemType::Int(64) | t1::ElemType::Uint(64)) { 8 } else { 4 }
}

fn neutral(elem: t1::ElemType, op: t1::ScanOp) -> u64 {
    match (op, elem.is_float()) {
        (t1::ScanOp::Sum, true) => 0.0f64.to_bits(),
        (t1::ScanOp::Sum, false) => 0,
        (t1::ScanOp::Max, true) => f64::NEG_INFINITY.to_bits(),
        (t1::ScanOp::Max, false) => least(elem) as u64,
    }
}

fn values(words: Vec<u64>, elem: t1::ElemType) -> Values {
    if elem.is_float() {
        Values::Float(words.into_iter().map(f64::from_bits).collect())
    } else {
        Values::Int(words.into_iter().map(|w| w as i64).collect())
    }
}
