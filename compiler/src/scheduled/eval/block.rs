//! One block: the values in its registers, the entries of its channels, and the ops that move them.

use super::Findings;
use super::copies::{Tables, each};
use super::shared::{Problem, Shared, Writer};
use crate::diagnostics::Span;
use crate::scheduled::ir::*;
use crate::sync::SyncOp;
use crate::sync::model::Class;
use crate::tile::eval::parts::{
    Accumulate, Frame, InstanceId, Machine, Place, Tile, TileRef, mma, round, trips,
};
use crate::tile::eval::{EvalError, Mode, Values};
use crate::tile::ir as t1;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Why a block stops.
pub(super) enum Halt {
    Eval(EvalError),
    /// An op that this interpreter does not know.
    Unknown(String),
    /// The schedule is so wrong that there is nothing to go on with; the finding is made.
    Broken,
}

impl From<EvalError> for Halt {
    fn from(e: EvalError) -> Halt {
        Halt::Eval(e)
    }
}

/// What stands in a value's registers: the newest iteration's tile.
struct Held {
    tile: TileRef,
    /// The iteration that made it; `None` where that does not matter (carried values, values outside loops).
    iteration: Option<i64>,
}

/// How far a channel has come.
#[derive(Default)]
struct Hands {
    acquired: i64,
    committed: i64,
    waited: i64,
    released: i64,
}

pub(super) struct Block<'a, 'm> {
    machine: &'a Machine<'m>,
    module: &'a Module,
    tables: &'a Tables,
    frame: Frame,
    shared: &'a mut Shared,
    findings: &'a mut Findings,
    tiles: FxHashMap<ValId, Held>,
    /// Ring numbers of slots, by iteration.
    slots: FxHashMap<(ValId, i64), i64>,
    hands: Vec<Hands>,
}

impl<'a, 'm> Block<'a, 'm> {
    pub fn new(
        machine: &'a Machine<'m>,
        module: &'a Module,
        tables: &'a Tables,
        frame: Frame,
        shared: &'a mut Shared,
        findings: &'a mut Findings,
    ) -> Block<'a, 'm> {
        let hands = module.channels.iter().map(|_| Hands::default()).collect();
        Block {
            machine,
            module,
            tables,
            frame,
            shared,
            findings,
            tiles: FxHashMap::default(),
            slots: FxHashMap::default(),
            hands,
        }
    }

    pub fn run(&mut self) -> Result<(), Halt> {
        self.nodes(&self.module.body)
    }

    fn nodes(&mut self, nodes: &'a [Node]) -> Result<(), Halt> {
        for (at, node) in nodes.iter().enumerate() {
            match node {
                Node::Op(op) => {
                    let iteration = match op.iter {
                        Iter::None => None,
                        // Of the loop that this op prepares.
                        Iter::Const(n) | Iter::Step(n) => {
                            let next = nodes[at..]
                                .iter()
                                .find_map(|n| if let Node::Loop(l) = n { Some(l) } else { None });
                            if let Some(l) = next {
                                self.place(l, i64::from(n))?;
                            }
                            Some(i64::from(n))
                        }
                    };
                    self.op(op, iteration)?;
                }
                Node::Sync(s) => self.sync(&s.op)?,
                Node::Loop(l) => self.loop_(l)?,
                Node::If(i) => self.if_(i, None)?,
            }
        }
        Ok(())
    }

    /// One arm; in a loop, every op of it works for `iteration`.
    fn if_(&mut self, i: &'a If, iteration: Option<i64>) -> Result<(), Halt> {
        let cond = self.tile(i.cond, iteration, i.span)?;
        let yes = matches!(&cond.data, Values::Int(v) if v.first().is_some_and(|c| *c != 0));
        for node in if yes { &i.then_body } else { &i.else_body } {
            match node {
                Node::Op(op) => self.op(op, iteration)?,
                Node::Sync(s) => self.sync(&s.op)?,
                Node::Loop(l) => self.loop_(l)?,
                Node::If(inner) => self.if_(inner, iteration)?,
            }
        }
        for m in &i.merges {
            let tile = self.tile(if yes { m.then_value } else { m.else_value }, iteration, i.span)?;
            self.tiles.insert(m.result, Held { tile, iteration });
        }
        Ok(())
    }

    fn loop_(&mut self, l: &'a Loop) -> Result<(), Halt> {
        let (lo, hi) = (self.int(l.lo)?, self.int(l.hi)?);
        for c in &l.carry {
            let tile = self.tile(c.init, None, Span::default())?;
            self.tiles.insert(c.param, Held { tile, iteration: None });
        }
        let count = trips(lo, hi, i64::from(l.by));
        for trip in 0..count {
            let step = if l.rev { count - 1 - trip } else { trip };
            for node in &l.body {
                match node {
                    Node::Op(op) => {
                        let iteration = step + if let Iter::Step(n) = op.iter { i64::from(n) } else { 0 };
                        self.place(l, iteration)?;
                        self.op(op, Some(iteration))?;
                    }
                    Node::Sync(s) => self.sync(&s.op)?,
                    Node::Loop(inner) => {
                        self.place(l, step)?;
                        self.loop_(inner)?;
                    }
                    Node::If(i) => {
                        self.place(l, step)?;
                        self.if_(i, Some(step))?;
                    }
                }
            }
            for c in &l.carry {
                let tile = self.tile(c.next, None, Span::default())?;
                self.tiles.insert(c.param, Held { tile, iteration: None });
            }
        }
        for c in &l.carry {
            let tile = self.tile(c.param, None, Span::default())?;
            self.tiles.insert(c.result, Held { tile, iteration: None });
        }
        Ok(())
    }

    /// Moves the loop's range to an iteration.
    fn place(&mut self, l: &Loop, iteration: i64) -> Result<(), Halt> {
        let lo = self.int(l.lo)?;
        let kernel = self.machine.kernel;
        let variable = match l.over {
            Over::Tiles(axis) => kernel.axis(axis).lo,
            Over::Coordinates(id) => kernel.loop_(id).var,
            Over::Instances(g) => kernel.grid_var(g).var,
        };
        self.frame.set_int(variable, lo + iteration * i64::from(l.by));
        Ok(())
    }

    fn sync(&mut self, op: &SyncOp) -> Result<(), Halt> {
        match *op {
            SyncOp::WaitGroup { class: Class::CpAsync, newest } => self.shared.wait(newest.into()),
            SyncOp::Bar { threads, .. } => {
                if threads != self.module.threads() {
                    let all = self.module.threads();
                    self.find(format!("a barrier of {threads} threads in a block of {all}"), Span::default());
                }
                self.shared.barrier();
            }
            other => return Err(Halt::Unknown(format!("`{other}`"))),
        }
        Ok(())
    }

    fn find(&mut self, message: String, span: Span) {
        self.findings.add(message, span);
    }

    fn op(&mut self, op: &'a Op, iteration: Option<i64>) -> Result<(), Halt> {
        let span = op.span;
        match &op.kind {
            OpKind::Acquire { chan } | OpKind::Wait { chan } => self.take(op, *chan, iteration),
            OpKind::Commit { chan, slot, after } => {
                let n = self.slot(*slot, iteration, span)?;
                let hands = &mut self.hands[chan.0 as usize];
                let expected = std::mem::replace(&mut hands.committed, n + 1);
                if expected != n {
                    self.find(format!("commit of ring entry {n} where {expected} is due"), span);
                }
                let asynchronous =
                    |t: &ValId| matches!(self.module.value(*t).kind, ValKind::Tok(TokClass::CpAsync));
                if after.iter().any(asynchronous) {
                    self.shared.commit();
                }
                Ok(())
            }
            OpKind::Release { chan, slot } => {
                let n = self.slot(*slot, iteration, span)?;
                let hands = &mut self.hands[chan.0 as usize];
                let expected = std::mem::replace(&mut hands.released, n + 1);
                if expected != n {
                    self.find(format!("release of ring entry {n} where {expected} is due"), span);
                }
                Ok(())
            }
            OpKind::CopyIn { slot, buf, tensor, ix, .. } => {
                self.copy_in(op, *slot, *buf, *tensor, ix, iteration)
            }
            OpKind::Load { slot, buf, at, size, .. } => {
                let tile = self.load(op, *slot, *buf, *at, *size, iteration)?;
                self.hold(op, tile, iteration);
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
                self.hold(op, Tile { axes: axes.clone(), shape, data }, iteration);
                Ok(())
            }
            OpKind::Mma { a, b, acc, .. } => {
                let tile = self.mma(op, *a, *b, *acc, iteration)?;
                self.hold(op, tile, iteration);
                Ok(())
            }
            OpKind::AccGet { acc } => {
                let tile = self.tile(*acc, iteration, span)?;
                if let Some(result) = op.result {
                    self.tiles.insert(result, Held { tile, iteration });
                }
                Ok(())
            }
            OpKind::Elementwise { value, args } => {
                let tile = self.elementwise(*value, args, iteration, span)?;
                if let Some(result) = op.result {
                    self.tiles.insert(result, Held { tile, iteration });
                }
                Ok(())
            }
            OpKind::ReadReg { tensor, ix, .. } => {
                let place = self.subscript(*tensor, ix, iteration, span)?;
                let data = self.read(*tensor, &place, span)?;
                self.hold(op, Tile { axes: place.axes, shape: place.shape, data }, iteration);
                Ok(())
            }
            OpKind::WriteReg { when: Some(_), .. } => Err(Halt::Unknown("`write.reg … when`".into())),
            OpKind::WriteReg { tensor, ix, value, .. } => self.write(*tensor, ix, *value, iteration, span),
            // Ops that planning learns before this interpreter does.
            #[allow(unreachable_patterns)]
            other => Err(Halt::Unknown(format!("`{}`", other.label()))),
        }
    }

    fn malformed(&mut self, what: &str) -> Halt {
        self.find(format!("malformed: {what}"), Span::default());
        Halt::Broken
    }

    /// An acquire or wait: the next ring entry, if it is free or filled.
    fn take(&mut self, op: &Op, chan: ChanId, iteration: Option<i64>) -> Result<(), Halt> {
        let slots = i64::from(self.module.channel(chan).slots);
        let hands = &mut self.hands[chan.0 as usize];
        let (n, problem) = if matches!(op.kind, OpKind::Acquire { .. }) {
            let n = hands.acquired;
            hands.acquired += 1;
            (
                n,
                (n - slots >= hands.released)
                    .then(|| format!("acquire of ring entry {n} before {} is released", n - slots)),
            )
        } else {
            let n = hands.waited;
            hands.waited += 1;
            (n, (n >= hands.committed).then(|| format!("wait for ring entry {n} before it is committed")))
        };
        if let Some(problem) = problem {
            self.find(problem, op.span);
        }
        if let Some(result) = op.result {
            self.slots.insert((result, iteration.unwrap_or(0)), n);
        }
        Ok(())
    }

    fn slot(&mut self, slot: ValId, iteration: Option<i64>, span: Span) -> Result<i64, Halt> {
        let iteration = iteration.unwrap_or(0);
        match self.slots.get(&(slot, iteration)) {
            Some(n) => Ok(*n),
            None => {
                let name = &self.module.value(slot).name;
                self.find(
                    format!("%{name} of iteration {iteration} is used before its channel gives it"),
                    span,
                );
                Err(Halt::Broken)
            }
        }
    }

    fn hold(&mut self, op: &Op, tile: Tile, iteration: Option<i64>) {
        if let Some(result) = op.result {
            self.tiles.insert(result, Held { tile: Arc::new(tile), iteration });
        }
    }

    /// The tile in a value's registers, which must be of this iteration.
    fn tile(&mut self, v: ValId, iteration: Option<i64>, span: Span) -> Result<TileRef, Halt> {
        let Some(held) = self.tiles.get(&v) else {
            let name = &self.module.value(v).name;
            self.find(format!("%{name} is used before it is made"), span);
            return Err(Halt::Broken);
        };
        let tile = held.tile.clone();
        if let (Some(made), Some(wanted)) = (held.iteration, iteration)
            && made != wanted
        {
            let name = &self.module.value(v).name;
            self.find(
                format!("the registers of %{name} hold another iteration's value ({})", made - wanted),
                span,
            );
        }
        Ok(tile)
    }

    /// A scalar of T1, computed where the range stands now.
    fn int(&mut self, v: t1::ValueId) -> Result<i64, Halt> {
        self.scalar(v)?;
        Ok(self.frame.int(v)?)
    }

    fn scalar(&mut self, v: t1::ValueId) -> Result<(), Halt> {
        let value = self.machine.kernel.value(v);
        match &value.op {
            // Set by the launch, the grid or the loop.
            t1::Op::GridVar(_) | t1::Op::LoopVar(_) => return Ok(()),
            t1::Op::LoopParam(..) | t1::Op::LoopResult(..) | t1::Op::IfResult(..) | t1::Op::AtomicOld => {
                return Err(Halt::Unknown("a scalar that the kernel computes in a loop or `if`".into()));
            }
            _ => {}
        }
        for x in value.op.operands() {
            self.scalar(x)?;
        }
        let tile = self.machine.compute(&self.frame, v)?;
        self.frame.set(v, tile);
        Ok(())
    }

    /// The coordinate of an axis' lane 0 and how many lanes exist, here and now.
    fn axis(&mut self, a: t1::AxisId) -> Result<(i64, usize), Halt> {
        let axis = self.machine.kernel.axis(a);
        self.scalar(axis.lo)?;
        self.scalar(axis.hi)?;
        Ok(self.machine.axis(&self.frame, a)?)
    }

    fn shape(&mut self, axes: &[t1::AxisId]) -> Result<Vec<usize>, Halt> {
        axes.iter().map(|a| Ok(self.axis(*a)?.1)).collect()
    }

    /// The lanes that subscripts address, at the place where their axes stand.
    fn subscript(
        &mut self,
        tensor: t1::TensorId,
        ix: &[Index],
        iteration: Option<i64>,
        span: Span,
    ) -> Result<Place, Halt> {
        let mut tiles = Vec::new();
        for index in ix {
            if let Some(tile) = index.tile {
                tiles.push(self.tile(tile, iteration, span)?);
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
                    let from = lo + offset;
                    let data = Values::Int((from..from + count as i64).collect());
                    Tile { axes: vec![a], shape: vec![count], data }
                }
            }));
        }
        Ok(Place::new(self.machine.memory[tensor.0 as usize].extents(), &tiles))
    }

    fn read(&mut self, tensor: t1::TensorId, place: &Place, span: Span) -> Result<Values, Halt> {
        let memory = &self.machine.memory[tensor.0 as usize];
        match memory.read(place, self.frame.me) {
            Ok(values) => Ok(values),
            Err(c) => {
                self.find(self.machine.conflict(c, tensor, self.frame.me, span).message, span);
                Err(Halt::Broken)
            }
        }
    }

    fn write(
        &mut self,
        tensor: t1::TensorId,
        ix: &[Index],
        value: ValId,
        iteration: Option<i64>,
        span: Span,
    ) -> Result<(), Halt> {
        let place = self.subscript(tensor, ix, iteration, span)?;
        let tile = self.tile(value, iteration, span)?;
        if let Some(a) = tile.axes.iter().find(|a| !place.axes.contains(a)) {
            let name = &self.machine.kernel.axis(*a).name;
            self.find(format!("a write of a tile along `{name}` to a place without it"), span);
            return Err(Halt::Broken);
        }
        self.fits(&tile, &place.axes, &place.shape, span)?;
        let mut values = tile.spread(&place.axes, &place.shape);
        round(&mut values, self.machine.kernel.tensor(tensor).elem);
        let once_over = self.once_over(tensor, span);
        let mine = &self.machine.instances[self.frame.me.0 as usize];
        let same = |other: InstanceId| {
            let theirs = &self.machine.instances[other.0 as usize];
            (0..mine.len()).all(|g| mine[g] == theirs[g] || once_over.contains(&t1::GridId(g as u32)))
        };
        let me = self.frame.me;
        let memory = &self.machine.memory[tensor.0 as usize];
        if let Err(c) = memory.write(&place, &values, None, me, &same) {
            self.find(self.machine.conflict(c, tensor, me, span).message, span);
            return Err(Halt::Broken);
        }
        Ok(())
    }

    /// Whether a tile is as long as its axes are here and now.
    fn fits(&mut self, tile: &Tile, axes: &[t1::AxisId], shape: &[usize], span: Span) -> Result<(), Halt> {
        let other = tile.axes.iter().zip(&tile.shape).find(|(a, n)| {
            let here = axes.iter().position(|b| b == *a).map(|at| shape[at]);
            here.is_some_and(|here| here != **n)
        });
        match other {
            None => Ok(()),
            Some((a, n)) => {
                let name = &self.machine.kernel.axis(*a).name;
                self.find(format!("a tile with {n} lanes along `{name}` where there are others"), span);
                Err(Halt::Broken)
            }
        }
    }

    /// Grid variables on which the program's own write at this place does not depend.
    fn once_over(&self, tensor: t1::TensorId, span: Span) -> Vec<t1::GridId> {
        let writes = self.machine.kernel.body.stmts.iter().filter_map(|s| match s {
            t1::Stmt::Write(w) if w.tensor == tensor && w.span == span => Some(w.once_over.clone()),
            _ => None,
        });
        writes.flatten().collect()
    }

    fn elementwise(
        &mut self,
        value: t1::ValueId,
        args: &[ValId],
        iteration: Option<i64>,
        span: Span,
    ) -> Result<TileRef, Halt> {
        let kernel = self.machine.kernel;
        let mut args = args.iter();
        for x in kernel.value(value).op.operands() {
            if kernel.ty(x).is_scalar() {
                self.scalar(x)?;
            } else if let Some(arg) = args.next() {
                let tile = self.tile(*arg, iteration, span)?;
                let shape = self.shape(&tile.axes)?;
                self.fits(&tile, &tile.axes, &shape, span)?;
                self.frame.set(x, tile);
            } else {
                return Err(self.malformed("an elementwise op with too few operands"));
            }
        }
        for a in &kernel.ty(value).axes {
            self.axis(*a)?;
        }
        Ok(self.machine.compute(&self.frame, value)?)
    }

    fn mma(&mut self, op: &Op, a: ValId, b: ValId, acc: ValId, iteration: Option<i64>) -> Result<Tile, Halt> {
        let (a, b) = (self.tile(a, iteration, op.span)?, self.tile(b, iteration, op.span)?);
        let acc = self.tile(acc, iteration, op.span)?;
        let shared: Vec<t1::AxisId> = a.axes.iter().copied().filter(|x| b.axes.contains(x)).collect();
        let contract = shared.iter().copied().find(|x| !acc.axes.contains(x));
        let Some(contract) = contract else {
            return Err(self.malformed("a product without a contracted axis"));
        };
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
    fn base(&self, buf: BufId, ring: i64) -> u32 {
        let b = self.module.buffer(buf);
        b.base + (ring.rem_euclid(i64::from(b.slots.max(1))) as u32) * b.slot_stride
    }

    fn copy_in(
        &mut self,
        op: &Op,
        slot: ValId,
        buf: BufId,
        tensor: t1::TensorId,
        ix: &[Index],
        iteration: Option<i64>,
    ) -> Result<(), Halt> {
        let ring = self.slot(slot, iteration, op.span)?;
        let base = self.base(buf, ring);
        let module = self.module;
        let buffer = module.buffer(buf);
        let place = self.subscript(tensor, ix, iteration, op.span)?;
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
            let bits = index.map_or(0, |i| word(&data, i));
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

    fn load(
        &mut self,
        op: &Op,
        slot: ValId,
        buf: BufId,
        at: u32,
        size: u32,
        iteration: Option<i64>,
    ) -> Result<Tile, Halt> {
        let ring = self.slot(slot, iteration, op.span)?;
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

    fn problem(&mut self, problem: Option<Problem>, op: &Op, buf: BufId) {
        if let Some(problem) = problem {
            let name = &self.module.buffer(buf).name;
            let what = op.result.map_or(op.kind.label().to_string(), |r| {
                format!("%{} = {}", self.module.value(r).name, op.kind.label())
            });
            self.find(format!("`{what}` on {name} {}", problem.words()), op.span);
        }
    }
}

fn word(values: &Values, at: usize) -> u64 {
    match values {
        Values::Float(x) => x[at].to_bits(),
        Values::Int(x) => x[at] as u64,
    }
}
