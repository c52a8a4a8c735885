//! One instance of a kernel: an environment of tiles, and the statements that fill it.
//!
//! Values are computed in program order, each once per visit; a loop's carried variables are handed on by reference. An axis has as many
//! lanes as exist where it is placed at that moment: `min(extent, hi - lo)`, read from the environment.

use std::sync::Arc;

use super::Mode;
use super::elementwise::{self, Lanes};
use super::error::EvalError;
use super::freedom::{Freedom, rests_of_one_quotient};
use super::memory::{Conflict, ConflictKind, InstanceId, Memory};
use super::mma::{Accumulate, mma};
use super::place::{Extent, Place};
use super::reduce::{self, Rounding};
use super::store;
use super::values::{Tile, TileRef, Values};
use crate::diagnostics::Span;
use crate::numeric::Format;
use crate::tile::ir::*;

/// What all instances of an evaluation share.
pub(crate) struct Machine<'a> {
    pub kernel: &'a Kernel,
    pub mode: Mode,
    pub freedom: &'a Freedom,
    pub dims: &'a [i64],
    pub scalars: &'a [TileRef],
    /// By tensor.
    pub memory: &'a [Memory],
    /// Coordinates of every instance, by id.
    pub instances: &'a [Vec<i64>],
}

/// What becomes of a value that goes to memory.
#[derive(Clone, Copy)]
enum Stored {
    AsItIs,
    /// An atomic computes with it, so a cast before it is not the last rounding.
    Combined,
}

/// One instance's environment.
#[derive(Clone)]
pub(crate) struct Frame {
    pub me: InstanceId,
    values: Vec<Option<TileRef>>,
}

impl Frame {
    pub fn new(kernel: &Kernel) -> Frame {
        Frame { me: InstanceId(0), values: vec![None; kernel.values.len()] }
    }

    pub fn get(&self, v: ValueId) -> Result<&TileRef, EvalError> {
        self.values[v.0 as usize]
            .as_ref()
            .ok_or_else(|| EvalError::internal(format!("value %{} is used before it is computed", v.0)))
    }

    pub fn set(&mut self, v: ValueId, tile: TileRef) {
        self.values[v.0 as usize] = Some(tile);
    }

    pub fn int(&self, v: ValueId) -> Result<i64, EvalError> {
        Ok(self.get(v)?.as_int())
    }

    pub fn set_int(&mut self, v: ValueId, x: i64) {
        self.set(v, Arc::new(Tile::int(x)));
    }

    fn all(&self, values: &[ValueId]) -> Result<Vec<TileRef>, EvalError> {
        values.iter().map(|&v| self.get(v).cloned()).collect()
    }
}

impl Machine<'_> {
    /// The coordinate of an axis' lane 0 and how many lanes exist.
    pub fn axis(&self, frame: &Frame, axis: AxisId) -> Result<(i64, usize), EvalError> {
        let a = self.kernel.axis(axis);
        let (lo, hi) = (frame.int(a.lo)?, frame.int(a.hi)?);
        let count = hi.saturating_sub(lo).clamp(0, a.extent.into());
        Ok((lo, count as usize))
    }

    fn shape(&self, frame: &Frame, axes: &[AxisId]) -> Result<Vec<usize>, EvalError> {
        axes.iter().map(|&a| Ok(self.axis(frame, a)?.1)).collect()
    }

    pub fn block(&self, frame: &mut Frame, block: &Block) -> Result<(), EvalError> {
        self.statements(frame, &block.stmts)
    }

    pub fn statements(&self, frame: &mut Frame, stmts: &[Stmt]) -> Result<(), EvalError> {
        for stmt in stmts {
            match stmt {
                Stmt::Let(v) => {
                    let tile = self.compute(frame, *v)?;
                    frame.set(*v, tile);
                }
                Stmt::Write(w) => self.write(frame, w)?,
                Stmt::Atomic(a) => self.atomic(frame, a)?,
                Stmt::For(l) => self.for_(frame, self.kernel.loop_(*l))?,
                Stmt::If(i) => self.if_(frame, self.kernel.if_(*i))?,
            }
        }
        Ok(())
    }

    /// Whether the condition holds for some element.
    pub fn when(&self, frame: &mut Frame, when: &When) -> Result<bool, EvalError> {
        self.block(frame, &when.block)?;
        Ok(frame.get(when.cond)?.any())
    }

    fn for_(&self, frame: &mut Frame, l: &Loop) -> Result<(), EvalError> {
        let step = l.axis.map_or(1, |a| self.kernel.axis(a).extent.into());
        let (lo, hi) = (frame.int(l.lo)?, frame.int(l.hi)?);
        let trips = trips(lo, hi, step);
        let mut carried =
            l.carried.iter().map(|c| frame.get(c.init).cloned()).collect::<Result<Vec<_>, _>>()?;
        for n in 0..trips {
            let n = if l.rev { trips - 1 - n } else { n };
            frame.set_int(l.var, lo + n * step);
            if let Some(when) = &l.when
                && !self.when(frame, when)?
            {
                continue;
            }
            for (c, tile) in l.carried.iter().zip(carried) {
                frame.set(c.param, tile);
            }
            self.block(frame, &l.body)?;
            carried = l.carried.iter().map(|c| frame.get(c.next).cloned()).collect::<Result<Vec<_>, _>>()?;
        }
        for (c, tile) in l.carried.iter().zip(carried) {
            frame.set(c.result, tile);
        }
        Ok(())
    }

    fn if_(&self, frame: &mut Frame, i: &If) -> Result<(), EvalError> {
        let then = frame.get(i.cond)?.any();
        self.block(frame, if then { &i.then_block } else { &i.else_block })?;
        for r in &i.results {
            let tile = frame.get(if then { r.then_value } else { r.else_value })?.clone();
            frame.set(r.result, tile);
        }
        Ok(())
    }

    pub fn compute(&self, frame: &Frame, v: ValueId) -> Result<TileRef, EvalError> {
        let Value { ty, op, .. } = self.kernel.value(v);
        let elem_of = |x: &ValueId| self.kernel.ty(*x).elem;
        // Ops that need neither a shape nor rounding first.
        match op {
            Op::Const(c) => return Ok(Arc::new(constant(*c))),
            Op::Param(s) => return Ok(self.scalars[s.0 as usize].clone()),
            Op::Dim(d) => return Ok(Arc::new(Tile::int(self.dims[d.0 as usize]))),
            Op::GridVar(_)
            | Op::LoopVar(_)
            | Op::LoopParam(..)
            | Op::LoopResult(..)
            | Op::IfResult(..)
            | Op::AtomicOld => return frame.get(v).cloned(),
            Op::GridReduce { .. } => {
                return Err(EvalError::internal("a reduction over the grid inside a loop or an if"));
            }
            Op::Read { tensor, ix } => return self.read(frame, v, *tensor, ix).map(Arc::new),
            Op::TileRead { tile, ix } => return self.tile_read(frame, *tile, ix).map(Arc::new),
            Op::Mma { a, b, contract, batch } => {
                let tile = self.mma(frame, ty, *a, *b, *contract, batch)?;
                return Ok(Arc::new(tile));
            }
            Op::Reduce { op, x, axes } => {
                let coordinates = match axes[..] {
                    [axis] => self.coordinates(frame, axis)?,
                    _ => Vec::new(),
                };
                let tile = frame.get(*x)?;
                let rounding = self.rounding(ty.elem);
                let lo = coordinates.first().copied().unwrap_or(0);
                let given = reduce::reduce(*op, tile, elem_of(x), axes, &coordinates, rounding);
                return Ok(Arc::new(self.pick(frame, v, tile, lo, given)));
            }
            Op::Scan { op, x, axis, rev } => {
                let tile = frame.get(*x)?;
                let rounding = self.rounding(ty.elem);
                return Ok(Arc::new(reduce::scan(*op, tile, ty.elem, *axis, *rev, rounding)));
            }
            Op::TopK { x, axis, to, part } => {
                let (lo, _) = self.axis(frame, *axis)?;
                let (_, keep) = self.axis(frame, *to)?;
                let tile = frame.get(*x)?;
                let given = reduce::topk(tile, elem_of(x), *axis, lo, *to, keep, *part);
                return Ok(Arc::new(self.pick(frame, v, tile, lo, given)));
            }
            Op::Sort { x, axis, part } => {
                let (lo, _) = self.axis(frame, *axis)?;
                let tile = frame.get(*x)?;
                let given = reduce::sort(tile, elem_of(x), *axis, lo, *part);
                return Ok(Arc::new(self.pick(frame, v, tile, lo, given)));
            }
            _ => {}
        }
        let shape = self.shape(frame, &ty.axes)?;
        let lanes = Lanes { axes: &ty.axes, shape: &shape };
        let before = |x: &TileRef| self.freedom.before(self.kernel, v, x);
        let mut data = match op {
            Op::Iota(axis) => Values::Int(self.coordinates(frame, *axis)?),
            Op::Broadcast(x) | Op::Reorder(x) => {
                let data = frame.get(*x)?.spread(&ty.axes, &shape);
                return Ok(Arc::new(Tile { axes: ty.axes.clone(), shape, data }));
            }
            Op::Cast(x) => elementwise::cast(&before(frame.get(*x)?), elem_of(x), ty.elem, lanes),
            Op::Bits(x) => elementwise::bits(frame.get(*x)?, elem_of(x), ty.elem, lanes),
            Op::Unary(o, x) => elementwise::unary(*o, ty.elem, &before(frame.get(*x)?), lanes),
            Op::Binary(o, x, y) => elementwise::binary(*o, ty.elem, frame.get(*x)?, frame.get(*y)?, lanes),
            Op::Compare(o, x, y) => {
                elementwise::compare(*o, elem_of(x), &before(frame.get(*x)?), frame.get(*y)?, lanes)
            }
            Op::Select(c, x, y) => {
                elementwise::select(frame.get(*c)?, frame.get(*x)?, frame.get(*y)?, ty.elem, lanes)
            }
            Op::Fma(x, y, z) => {
                elementwise::fma(frame.get(*x)?, frame.get(*y)?, frame.get(*z)?, ty.elem, lanes)
            }
            _ => return Err(EvalError::internal(format!("no rule for {op:?}"))),
        };
        if self.mode == Mode::Typed && matches!(op, Op::Unary(..) | Op::Binary(..) | Op::Fma(..)) {
            elementwise::round(&mut data, ty.elem);
        }
        let rests = match op {
            Op::Binary(BinaryOp::Rem, x, y) if ty.elem.is_float() && self.freedom.asks(self.kernel, v) => {
                let (x, y) = (frame.get(*x)?, frame.get(*y)?);
                let quotients = elementwise::binary(BinaryOp::Div, ElemType::F64, x, y, lanes);
                Some((quotients, y.spread(&ty.axes, &shape)))
            }
            _ => None,
        };
        if let Some((quotients, divisors)) = &rests {
            self.freedom.move_rests(v, &mut data, quotients, divisors);
        }
        if self.freedom.watches(self.kernel, v) {
            let before = |data: Values| Arc::new(Tile { axes: ty.axes.clone(), shape: shape.clone(), data });
            let before = match op {
                Op::Cast(x) | Op::Unary(_, x) => frame.get(*x)?.clone(),
                Op::Compare(_, x, y) => {
                    let (x, y) = (frame.get(*x)?, frame.get(*y)?);
                    before(elementwise::binary(BinaryOp::Sub, ElemType::F64, x, y, lanes))
                }
                _ => match &rests {
                    Some((quotients, _)) => before(quotients.clone()),
                    None => return Err(EvalError::internal(format!("{op:?} does not jump"))),
                },
            };
            let given = data.clone();
            data = self.freedom.after(self.kernel, v, frame.me, &before, data);
            if let Some((_, divisors)) = &rests {
                data = rests_of_one_quotient(given, data, divisors);
            }
        }
        Ok(Arc::new(Tile { axes: ty.axes.clone(), shape, data }))
    }

    /// Coordinates that are picked by comparing elements of `x`, from `lo` on: others where that is asked for, and watched.
    fn pick(&self, frame: &Frame, v: ValueId, x: &Tile, lo: i64, given: Tile) -> Tile {
        let mut given = self.freedom.picks(self.kernel, v, x, lo, given);
        if self.freedom.watches(self.kernel, v) {
            given.data = self.freedom.after(self.kernel, v, frame.me, x, given.data);
        }
        given
    }

    fn coordinates(&self, frame: &Frame, axis: AxisId) -> Result<Vec<i64>, EvalError> {
        let (lo, count) = self.axis(frame, axis)?;
        Ok((lo..lo + count as i64).collect())
    }

    pub fn rounding(&self, elem: ElemType) -> Rounding {
        match self.mode {
            Mode::Exact | Mode::Unrounded => Rounding::None,
            Mode::Typed => Rounding::To(elem.format()),
        }
    }

    fn mma(
        &self,
        frame: &Frame,
        ty: &TileType,
        a: ValueId,
        b: ValueId,
        contract: AxisId,
        batch: &[AxisId],
    ) -> Result<Tile, EvalError> {
        let how = match (ty.elem.is_float(), self.mode) {
            (false, _) => Accumulate::Int,
            (true, Mode::Typed) if ty.elem != ElemType::F64 => Accumulate::F32,
            (true, _) => Accumulate::F64,
        };
        let mut tile = mma(frame.get(a)?, frame.get(b)?, contract, batch, &ty.axes, how);
        if how == Accumulate::Int {
            elementwise::round(&mut tile.data, ty.elem);
        }
        Ok(tile)
    }

    fn tile_read(&self, frame: &Frame, tile: ValueId, ix: &[ValueId]) -> Result<Tile, EvalError> {
        let tile = frame.get(tile)?;
        let mut extents = Extent::dense(&tile.shape);
        for (extent, &axis) in extents.iter_mut().zip(&tile.axes) {
            extent.lo = self.axis(frame, axis)?.0;
        }
        let place = Place::new(&extents, &frame.all(ix)?);
        let data = match &tile.data {
            Values::Float(x) => Values::Float(place.load(x)),
            Values::Int(x) => Values::Int(place.load(x)),
        };
        Ok(Tile { axes: place.axes, shape: place.shape, data })
    }

    fn read(&self, frame: &Frame, v: ValueId, tensor: TensorId, ix: &[ValueId]) -> Result<Tile, EvalError> {
        let memory = &self.memory[tensor.0 as usize];
        let place = Place::new(memory.extents(), &frame.all(ix)?);
        let mut data = memory
            .read(&place, frame.me)
            .map_err(|c| self.conflict(c, tensor, frame.me, self.kernel.value(v).span))?;
        if memory.is_combined() || (self.mode == Mode::Unrounded && memory.is_written()) {
            elementwise::round(&mut data, self.kernel.tensor(tensor).elem);
        }
        Ok(Tile { axes: place.axes, shape: place.shape, data })
    }

    /// The lanes of a write or atomic, its values on them as memory keeps them, and its condition on them.
    fn place(
        &self,
        frame: &Frame,
        tensor: TensorId,
        ix: &[ValueId],
        value: ValueId,
        when: Option<ValueId>,
        stored: Stored,
    ) -> Result<(Place, Values, Option<Vec<i64>>), EvalError> {
        let place = Place::new(self.memory[tensor.0 as usize].extents(), &frame.all(ix)?);
        let elem = self.kernel.tensor(tensor).elem;
        let mut values = match (self.mode, stored) {
            (Mode::Unrounded, Stored::AsItIs) => self.unrounded(frame, value, &place.axes, &place.shape)?,
            _ => frame.get(value)?.spread(&place.axes, &place.shape),
        };
        store::round(self.mode, &mut values, elem);
        let enabled = match when {
            Some(c) => match frame.get(c)?.spread(&place.axes, &place.shape) {
                Values::Int(c) => Some(c),
                Values::Float(_) => return Err(EvalError::internal("a condition that is not bool")),
            },
            None => None,
        };
        Ok((place, values, enabled))
    }

    fn write(&self, frame: &Frame, w: &Write) -> Result<(), EvalError> {
        let (place, values, enabled) = self.place(frame, w.tensor, &w.ix, w.value, w.when, Stored::AsItIs)?;
        // Instances that differ only in variables on which this write does not depend count as one writer.
        let mine = &self.instances[frame.me.0 as usize];
        let same = |other: InstanceId| {
            let differs = |g: usize| mine[g] != self.instances[other.0 as usize][g];
            (0..mine.len()).all(|g| !differs(g) || w.once_over.contains(&GridId(g as u32)))
        };
        self.memory[w.tensor.0 as usize]
            .write(&place, &values, enabled.as_deref(), frame.me, &same)
            .map_err(|c| self.conflict(c, w.tensor, frame.me, w.span))
    }

    fn atomic(&self, frame: &mut Frame, a: &Atomic) -> Result<(), EvalError> {
        let (place, values, enabled) =
            self.place(frame, a.tensor, &a.ix, a.value, a.when, Stored::Combined)?;
        let elem = self.kernel.tensor(a.tensor).elem;
        let combine = combination(a.op, elem, self.mode);
        let mut old = self.memory[a.tensor.0 as usize]
            .combine(&place, &values, enabled.as_deref(), frame.me, self.freedom.order, &combine)
            .map_err(|c| self.conflict(c, a.tensor, frame.me, a.span))?;
        if let Some(v) = a.old {
            elementwise::round(&mut old, elem);
            let axes = &self.kernel.ty(v).axes;
            let shape = self.shape(frame, axes)?;
            let tile = Tile { axes: place.axes, shape: place.shape, data: old };
            let data = tile.spread(axes, &shape);
            frame.set(v, Arc::new(Tile { axes: axes.clone(), shape, data }));
        }
        Ok(())
    }

    pub fn conflict(&self, c: Conflict, tensor: TensorId, me: InstanceId, span: Span) -> EvalError {
        let t = self.kernel.tensor(tensor);
        let at: Vec<String> =
            self.memory[tensor.0 as usize].coordinates(c.offset).iter().map(usize::to_string).collect();
        let element = format!("{}[{}]", t.name, at.join(", "));
        let me = self.instance_name(me);
        let other = c.other.map_or("several others".to_string(), |o| self.instance_name(o));
        let message = match c.kind {
            ConflictKind::TwoLanes => format!("two lanes of one statement write {element} ({me})"),
            ConflictKind::TwoWriters => format!("two instances write {element}: {other} and {me}"),
            ConflictKind::WrittenAfterRead => format!("{me} writes {element}, which is read by {other}"),
            ConflictKind::ReadAfterWrite => format!("{me} reads {element}, which is written by {other}"),
            ConflictKind::AtomicAndPlain => {
                format!("{element} is written with and without `atomic`, by {other} and {me}")
            }
        };
        EvalError {
            other: Some((t.span, format!("{} is declared here", t.name))),
            ..EvalError::fault(message, span)
        }
    }

    fn instance_name(&self, id: InstanceId) -> String {
        let coordinates = &self.instances[id.0 as usize];
        let parts: Vec<String> =
            self.kernel.grid.iter().zip(coordinates).map(|(g, c)| format!("{} = {c}", g.name)).collect();
        if parts.is_empty() {
            "the only instance".to_string()
        } else {
            format!("instance ({})", parts.join(", "))
        }
    }
}

/// An atomic's operation on the words of memory. Integers wrap; floats round to their type in *typed* mode, and in *exact* mode only when the
/// element is next read or the launch ends, so that the order of the combinations does not show.
pub(crate) fn combination(op: Combine, elem: ElemType, mode: Mode) -> impl Fn(u64, u64) -> u64 {
    let (format, int) = (elem.format(), elementwise::int_format(elem));
    let float = elem.is_float();
    move |old, new| {
        if float {
            let (x, y) = (f64::from_bits(old), f64::from_bits(new));
            let combined = match op {
                Combine::Add => x + y,
                Combine::Max => x.max(y),
                Combine::Min => x.min(y),
                // On integers only, by the types of the language.
                Combine::And | Combine::Or | Combine::Xor => x,
            };
            return match format {
                Format::Float(f) if mode == Mode::Typed => f.round(combined).to_bits(),
                _ => combined.to_bits(),
            };
        }
        let (x, y) = (old as i64, new as i64);
        let combined = match op {
            Combine::Add => int.add(x, y),
            Combine::Max => {
                if int.cmp(y, x).is_gt() {
                    y
                } else {
                    x
                }
            }
            Combine::Min => {
                if int.cmp(y, x).is_lt() {
                    y
                } else {
                    x
                }
            }
            Combine::And => x & y,
            Combine::Or => x | y,
            Combine::Xor => x ^ y,
        };
        combined as u64
    }
}

/// How many steps lead from `lo` to below `hi`.
pub(crate) fn trips(lo: i64, hi: i64, step: i64) -> i64 {
    let length = (i128::from(hi) - i128::from(lo)).max(0);
    i64::try_from((length + i128::from(step) - 1) / i128::from(step.max(1))).unwrap_or(i64::MAX)
}

/// A constant as a scalar tile.
pub(crate) fn constant(c: Const) -> Tile {
    match c {
        Const::Bool(b) => Tile::int(b as i64),
        // A u64 keeps its bits.
        Const::Int(v) => Tile::int(v as i64),
        Const::Float(x) => Tile::float(x),
    }
}
