//! Operands on their way: copies from global to shared memory, fragments out of it, and the products of fragments.

use super::block::{Block, Halt, Turn};
use super::copies::each;
use super::shared::{Problem, Writer};
use crate::scheduled::ir::*;
use crate::tile::eval::parts::{Accumulate, Tile, mma, round};
use crate::tile::eval::{Mode, Values};
use crate::tile::ir as t1;

impl Block<'_, '_> {
    pub(super) fn mma(
        &mut self,
        op: &Op,
        [a, b]: [(ValId, u32); 2],
        depth: u32,
        acc: ValId,
        turn: Option<Turn>,
    ) -> Result<Tile, Halt> {
        let ((a, from_a), (b, from_b)) = (a, b);
        let (a, b) = (self.tile(a, turn, op.span)?, self.tile(b, turn, op.span)?);
        let acc = self.tile(acc, turn, op.span)?;
        let shared: Vec<t1::AxisId> = a.axes.iter().copied().filter(|x| b.axes.contains(x)).collect();
        let contract = shared.iter().copied().find(|x| !acc.axes.contains(x));
        let Some(contract) = contract else {
            return Err(self.malformed("a product without a contracted axis"));
        };
        let (a, b) = (part(&a, contract, from_a, depth), part(&b, contract, from_b, depth));
        let sizes = |t: &Tile, x: t1::AxisId| t.axes.iter().position(|y| *y == x).map(|at| t.shape[at]);
        if let Some(x) = shared.iter().find(|x| sizes(&a, **x) != sizes(&b, **x)) {
            let name = &self.machine.kernel.axis(*x).name;
            self.find(format!("a product of tiles of other lengths along `{name}`"), op.span);
            return Err(Halt::Broken);
        }
        let batch: Vec<t1::AxisId> = shared.into_iter().filter(|x| *x != contract).collect();
        let how = match (&acc.data, self.machine.mode) {
            (Values::Int(_), _) => Accumulate::Int,
            (_, Mode::Typed) => Accumulate::F32,
            (_, Mode::Exact | Mode::Unrounded) => Accumulate::F64,
        };
        let product = mma(&a, &b, contract, &batch, &acc.axes, how);
        let elem = match op.result.map(|r| &self.module.value(r).kind) {
            Some(ValKind::Tile { elem, .. }) => *elem,
            _ => return Err(self.malformed("a product that is no tile")),
        };
        let mut data = match (&acc.data, &product.data) {
            (Values::Float(x), Values::Float(y)) if x.len() == y.len() => {
                Values::Float(x.iter().zip(y).map(|(x, y)| x + y).collect())
            }
            (Values::Int(x), Values::Int(y)) if x.len() == y.len() => {
                Values::Int(x.iter().zip(y).map(|(x, y)| x.wrapping_add(*y)).collect())
            }
            _ => return Err(self.malformed("an accumulator of another shape than the product")),
        };
        if how != Accumulate::F64 {
            round(&mut data, elem);
        }
        Ok(Tile { axes: acc.axes.clone(), shape: acc.shape.clone(), data })
    }

    /// Byte offset of a slot of a buffer.
    pub(super) fn base(&self, buf: BufId, ring: i64) -> u32 {
        let b = self.module.buffer(buf);
        b.base + (ring.rem_euclid(i64::from(b.slots.max(1))) as u32) * b.slot_stride
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn copy_in(
        &mut self,
        op: &Op,
        slot: ValId,
        buf: BufId,
        tensor: t1::TensorId,
        ix: &[Index],
        negative: Option<t1::ValueId>,
        turn: Option<Turn>,
    ) -> Result<(), Halt> {
        let signs = match negative {
            Some(v) if self.int(v)? != 0 => 1 << 63,
            _ => 0u64,
        };
        let ring = self.slot(slot, turn, op.span)?;
        let base = self.base(buf, ring);
        let module = self.module;
        let buffer = module.buffer(buf);
        let place = self.subscript(tensor, ix, turn, op.span)?;
        if place.axes.len() != buffer.shape.len() {
            return Err(self.malformed("a copy of another rank than its buffer"));
        }
        let data = self.read(tensor, &place, op.span)?;
        // The tensor may have its axes in another order than the buffer.
        let order: Option<Vec<usize>> =
            place.axes.iter().map(|a| buffer.axes.iter().position(|b| a == b)).collect();
        let Some(order) = order else { return Err(self.malformed("a copy of other axes than its buffer's")) };
        let asynchronous =
            op.result.is_some_and(|t| matches!(module.value(t).kind, ValKind::Tok(TokClass::CpAsync)));
        let writer = Writer {
            by: op.result.map_or(u32::MAX, |t| t.0),
            asynchronous,
            bytes: (buffer.elem.bits() / 8) as u8,
        };
        let (mut element, mut problem) = (0, None);
        each(&buffer.shape, |at| {
            let index = order.iter().zip(&place.shape).try_fold(0usize, |index, (axis, n)| {
                let c = at[*axis] as usize;
                (c < *n).then_some(index * n + c)
            });
            // What lies outside is zero-filled.
            let bits = index.map_or(0, |i| word(&data, i) ^ signs);
            if self.tables.moves(op.result, element) {
                let to = base + self.tables.offsets[buf.0 as usize][element];
                if let Err(p) = self.shared.write(to, bits, writer) {
                    problem = problem.or(Some(p));
                }
            }
            element += 1;
        });
        self.problem(problem, op, buf);
        Ok(())
    }

    pub(super) fn load(
        &mut self,
        op: &Op,
        slot: ValId,
        buf: BufId,
        at: u32,
        size: u32,
        turn: Option<Turn>,
    ) -> Result<Tile, Halt> {
        let ring = self.slot(slot, turn, op.span)?;
        let base = self.base(buf, ring);
        let module = self.module;
        let buffer = module.buffer(buf);
        let Some(ValKind::Tile { axes, elem, .. }) = op.result.map(|r| &module.value(r).kind) else {
            return Err(self.malformed("a load that makes no tile"));
        };
        let mut shape = self.shape(axes)?;
        let Some(last) = shape.last_mut() else { return Err(self.malformed("a load of a scalar")) };
        *last = last.saturating_sub(at as usize).min(size as usize);
        if shape.len() != buffer.shape.len() || shape.iter().zip(&buffer.shape).any(|(n, e)| *n > *e as usize)
        {
            return Err(self.malformed("a load of another shape than its buffer"));
        }
        let bytes = (buffer.elem.bits() / 8) as u8;
        let offsets = &self.tables.offsets[buf.0 as usize];
        let (mut words, mut problem) = (Vec::new(), None);
        let last = shape.len() - 1;
        let mut read = buffer.shape.clone();
        read[last] = size.min(read[last].saturating_sub(at));
        // Threads read the whole slice, whatever exists of it: what is poison there is a fault, though no value shows it.
        each(&read, |c| {
            let element = c.iter().zip(&buffer.shape).enumerate().fold(0usize, |index, (n, (c, extent))| {
                index * *extent as usize + *c as usize + if n == last { at as usize } else { 0 }
            });
            let word = self.shared.read(base + offsets[element], bytes).map_err(|p| {
                problem.get_or_insert(p);
            });
            if c.iter().zip(&shape).all(|(c, n)| (*c as usize) < *n) {
                words.push(word);
            }
        });
        self.problem(problem, op, buf);
        let mut data = if buffer.elem.is_float() {
            Values::Float(words.into_iter().map(|w| w.map_or(f64::NAN, f64::from_bits)).collect())
        } else {
            Values::Int(words.into_iter().map(|w| w.map_or(i64::MIN, |w| w as i64)).collect())
        };
        if *elem != buffer.elem {
            round(&mut data, *elem);
        }
        Ok(Tile { axes: axes.clone(), shape, data })
    }

    pub(super) fn problem(&mut self, problem: Option<Problem>, op: &Op, buf: BufId) {
        if let Some(problem) = problem {
            let name = &self.module.buffer(buf).name;
            let what = op.result.map_or(op.kind.label().to_string(), |r| {
                format!("%{} = {}", self.module.value(r).name, op.kind.label())
            });
            self.find(format!("`{what}` on {name} {}", problem.words()), op.span);
        }
    }
}

/// The part of a tile from `from` along an axis, `size` long or as long as it is.
fn part(tile: &Tile, axis: t1::AxisId, from: u32, size: u32) -> Tile {
    let Some(at) = tile.axes.iter().position(|a| *a == axis) else { return tile.clone() };
    let (from, n) = (from as usize, tile.shape[at]);
    let kept = (from + size as usize).min(n).saturating_sub(from);
    let inner: usize = tile.shape[at + 1..].iter().product();
    let outer: usize = tile.shape[..at].iter().product();
    let runs = (0..outer).map(|o| (o * n + from) * inner).map(|start| start..start + kept * inner);
    let data = match &tile.data {
        Values::Float(x) => {
            Values::Float(runs.filter(|r| !r.is_empty()).flat_map(|r| x[r].to_vec()).collect())
        }
        Values::Int(x) => Values::Int(runs.filter(|r| !r.is_empty()).flat_map(|r| x[r].to_vec()).collect()),
    };
    let mut shape = tile.shape.clone();
    shape[at] = kept;
    Tile { axes: tile.axes.clone(), shape, data }
}

pub(super) fn word(values: &Values, at: usize) -> u64 {
    match values {
        Values::Float(x) => x[at].to_bits(),
        Values::Int(x) => x[at] as u64,
    }
}
