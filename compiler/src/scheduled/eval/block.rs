//! One block: the values in its registers, the entries of its channels, and the ops that move them.

use super::Findings;
use super::channels::Hands;
use super::copies::Tables;
use super::partials::{Extremes, Partials};
use super::scans::Scanned;
use super::shared::Shared;
use super::work::Workspace;
use crate::diagnostics::Span;
use crate::scheduled::ir::*;
use crate::sync::SyncOp;
use crate::sync::model::Class;
use crate::tile::eval::EvalError;
use crate::tile::eval::parts::{Frame, Machine, Tile, TileRef, trips};
use crate::tile::ir as t1;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Why a block stops.
pub(super) enum Halt {
    Eval(EvalError),
    /// An op that this interpreter does not know.
    Unknown(String),
    /// The instance is done: another one of its group goes on.
    Left,
    /// The schedule is so wrong that there is nothing to go on with; the finding is made.
    Broken,
}

impl From<EvalError> for Halt {
    fn from(e: EvalError) -> Halt {
        Halt::Eval(e)
    }
}

/// One iteration of one loop, by the loop's variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub of: t1::ValueId,
    pub n: i64,
}

/// What stands in a value's registers: the newest iteration's tile.
struct Held {
    what: Contents,
    /// The iteration that made it; `None` where that does not matter (carried values, values outside loops).
    turn: Option<Turn>,
}

/// A tile, or what each warp made of its part of one.
#[derive(Clone)]
pub(super) enum Contents {
    Tile(TileRef),
    Partials(Partials),
    Extremes(Extremes),
    Scanned(Scanned),
}

/// Steps of a tile that one block takes: the `number`-th of so many items.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub number: i64,
    pub of: i64,
    /// The loop's bounds.
    pub lo: i64,
    pub hi: i64,
}

impl Item {
    /// The item's own value of a bound.
    fn bound(self, kernel: &t1::Kernel, module: &Module, v: t1::ValueId) -> Option<i64> {
        let Dispatch::Stream(stream) = module.dispatch else { return None };
        let (steps, part) = (kernel.loop_(stream.steps), kernel.grid_var(stream.part));
        let known = [(steps.lo, self.lo), (steps.hi, self.hi), (part.lo, 0), (part.hi, self.of)];
        known.into_iter().find(|(bound, _)| *bound == v).map(|(_, at)| at)
    }
}

pub(super) struct Block<'a, 'm> {
    pub(super) machine: &'a Machine<'m>,
    pub(super) module: &'a Module,
    pub(super) tables: &'a Tables,
    pub(super) frame: Frame,
    pub(super) shared: &'a mut Shared,
    pub(super) workspace: &'a mut Workspace,
    findings: &'a mut Findings,
    tiles: FxHashMap<ValId, Held>,
    /// Ring numbers of slots, by iteration.
    pub(super) slots: FxHashMap<(ValId, i64), i64>,
    pub(super) hands: Vec<Hands>,
    /// The part of its tile that the block is at, where blocks share steps.
    pub(super) item: Option<Item>,
    /// What planning says of the steps of the loop that the block is in.
    full: Option<(&'a Loop, &'a t1::Full)>,
}

impl<'a, 'm> Block<'a, 'm> {
    pub fn new(
        machine: &'a Machine<'m>,
        module: &'a Module,
        tables: &'a Tables,
        frame: Frame,
        shared: &'a mut Shared,
        workspace: &'a mut Workspace,
        findings: &'a mut Findings,
    ) -> Block<'a, 'm> {
        let hands = module.channels.iter().map(|_| Hands::default()).collect();
        Block {
            machine,
            module,
            tables,
            frame,
            shared,
            workspace,
            findings,
            tiles: FxHashMap::default(),
            slots: FxHashMap::default(),
            hands,
            item: None,
            full: None,
        }
    }

    pub fn run(&mut self) -> Result<(), Halt> {
        self.nodes(&self.module.body)
    }

    fn nodes(&mut self, nodes: &'a [Node]) -> Result<(), Halt> {
        for (at, node) in nodes.iter().enumerate() {
            match node {
                Node::Op(op) => {
                    let turn = match op.iter {
                        Iter::None => None,
                        // Of the loop that this op prepares.
                        Iter::Const(n) | Iter::Step(n) => {
                            let next = nodes[at..]
                                .iter()
                                .find_map(|n| if let Node::Loop(l) = n { Some(l) } else { None });
                            match next {
                                Some(l) => Some(self.place(l, i64::from(n))?),
                                None => return Err(self.malformed("a prologue without its loop")),
                            }
                        }
                    };
                    self.op(op, turn)?;
                }
                Node::Sync(s) => self.sync(&s.op)?,
                Node::Loop(l) => self.loop_(l)?,
                Node::If(i) => self.if_(i, None)?,
            }
        }
        Ok(())
    }

    /// One arm; in a loop, every op of it works for `turn`.
    fn if_(&mut self, i: &'a If, turn: Option<Turn>) -> Result<(), Halt> {
        let yes = self.tile(i.cond, turn, i.span)?.any();
        let body = if yes { &i.then_body } else { &i.else_body };
        if turn.is_none() {
            self.nodes(body)?;
        }
        for node in body.iter().filter(|_| turn.is_some()) {
            match node {
                Node::Op(op) => self.op(op, turn)?,
                Node::Sync(s) => self.sync(&s.op)?,
                Node::Loop(l) => self.loop_(l)?,
                Node::If(inner) => self.if_(inner, turn)?,
            }
        }
        for m in &i.merges {
            let tile = self.tile(if yes { m.then_value } else { m.else_value }, turn, i.span)?;
            self.put(Some(m.result), Contents::Tile(tile), turn);
        }
        Ok(())
    }

    fn loop_(&mut self, l: &'a Loop) -> Result<(), Halt> {
        let (lo, hi) = (self.int(l.lo)?, self.int(l.hi)?);
        self.hand_on(l, |c| (c.init, c.param))?;
        let count = trips(lo, hi, i64::from(l.by));
        let around = std::mem::replace(&mut self.full, l.full.as_ref().map(|full| (l, full)));
        for trip in 0..count {
            let step = if l.rev { count - 1 - trip } else { trip };
            if l.around_pipeline() {
                // Each trip is like a kernel of its own.
                self.place(l, step)?;
                self.nodes(&l.body)?;
                self.hand_on(l, |c| (c.next, c.param))?;
                continue;
            }
            for node in &l.body {
                match node {
                    Node::Op(op) => {
                        let n = step + if let Iter::Step(n) = op.iter { i64::from(n) } else { 0 };
                        let turn = self.place(l, n)?;
                        self.op(op, Some(turn))?;
                    }
                    Node::Sync(s) => self.sync(&s.op)?,
                    Node::Loop(inner) => {
                        self.place(l, step)?;
                        self.loop_(inner)?;
                    }
                    Node::If(i) => {
                        let turn = self.place(l, step)?;
                        self.if_(i, Some(turn))?;
                    }
                }
            }
            self.hand_on(l, |c| (c.next, c.param))?;
        }
        self.full = around;
        self.hand_on(l, |c| (c.param, c.result))
    }

    /// What is said of full steps has to be so: code for them tests neither these conditions nor whether lanes exist.
    pub(super) fn full_step(&mut self, value: t1::ValueId, tile: &Tile, span: Span) -> Result<(), Halt> {
        let Some((l, full)) = self.full.filter(|(_, full)| full.holds.contains(&value)) else {
            return Ok(());
        };
        let Some(axis) = l.axis() else { return Ok(()) };
        let (at, lanes) = self.axis(axis)?;
        let from = full.from.map(|from| self.int(from)).transpose()?;
        let by = i64::from(l.by);
        if from.is_some_and(|from| at < from) || at + by > self.int(full.to)? {
            return Ok(());
        }
        if (lanes as i64) < by || !tile.all() {
            let name = &l.name;
            let what = format!("the step of `{name}` at {at} is said to need no masking, and does");
            self.find(what, span);
        }
        Ok(())
    }

    /// Carried values move all at once: one's successor may be another's predecessor.
    fn hand_on(&mut self, l: &Loop, of: impl Fn(&Carry) -> (ValId, ValId)) -> Result<(), Halt> {
        let mut moved = Vec::with_capacity(l.carry.len());
        for (from, to) in l.carry.iter().map(of) {
            moved.push((to, self.tile(from, None, Span::default())?));
        }
        for (to, tile) in moved {
            self.tiles.insert(to, Held { what: Contents::Tile(tile), turn: None });
        }
        Ok(())
    }

    /// Moves the loop's range to an iteration.
    fn place(&mut self, l: &Loop, n: i64) -> Result<Turn, Halt> {
        let lo = self.int(l.lo)?;
        let kernel = self.machine.kernel;
        let of = match l.over {
            Over::Tiles(axis) => kernel.axis(axis).lo,
            Over::Coordinates(id) => kernel.loop_(id).var,
            Over::Instances(g) => kernel.grid_var(g).var,
        };
        self.frame.set_int(of, lo + n * i64::from(l.by));
        Ok(Turn { of, n })
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
            // What stays inside a warp needs no more than this; that it does stay there is for the executor to find.
            SyncOp::BarWarp => self.shared.barrier(),
            other => return Err(Halt::Unknown(format!("`{other}`"))),
        }
        Ok(())
    }

    pub(super) fn find(&mut self, message: String, span: Span) {
        self.findings.add(message, span);
    }

    pub(super) fn malformed(&mut self, what: &str) -> Halt {
        self.find(format!("malformed: {what}"), Span::default());
        Halt::Broken
    }

    pub(super) fn hold(&mut self, op: &Op, tile: Tile, turn: Option<Turn>) {
        self.put(op.result, Contents::Tile(Arc::new(tile)), turn);
    }

    pub(super) fn put(&mut self, result: Option<ValId>, what: Contents, turn: Option<Turn>) {
        if let Some(result) = result {
            self.tiles.insert(result, Held { what, turn });
        }
    }

    /// The tile in a value's registers, which must be of this iteration.
    pub(super) fn tile(&mut self, v: ValId, turn: Option<Turn>, span: Span) -> Result<TileRef, Halt> {
        if let Contents::Tile(tile) = self.contents(v, turn, span)? {
            return Ok(tile);
        }
        let name = &self.module.value(v).name;
        self.find(format!("%{name} is a partial result per warp and is used as a whole"), span);
        Err(Halt::Broken)
    }

    pub(super) fn contents(&mut self, v: ValId, turn: Option<Turn>, span: Span) -> Result<Contents, Halt> {
        let Some(held) = self.tiles.get(&v) else {
            let name = &self.module.value(v).name;
            self.find(format!("%{name} is used before it is made"), span);
            return Err(Halt::Broken);
        };
        let what = held.what.clone();
        // A value of another loop, around this one or before it, has the iteration that it had.
        if let (Some(made), Some(wanted)) = (held.turn, turn)
            && made.of == wanted.of
            && made.n != wanted.n
        {
            let name = &self.module.value(v).name;
            self.find(
                format!("the registers of %{name} hold another iteration's value ({})", made.n - wanted.n),
                span,
            );
        }
        Ok(what)
    }

    /// A scalar of T1, computed where the range stands now.
    pub(super) fn int(&mut self, v: t1::ValueId) -> Result<i64, Halt> {
        self.scalar(v)?;
        Ok(self.frame.int(v)?)
    }

    fn scalar(&mut self, v: t1::ValueId) -> Result<(), Halt> {
        // An item has bounds of its own.
        if let Some(at) = self.item.and_then(|item| item.bound(self.machine.kernel, self.module, v)) {
            self.frame.set_int(v, at);
            return Ok(());
        }
        // What data decides stands in registers, from where the structure takes it.
        let held = self.module.uniforms.iter().rev().find(|(u, id)| *u == v && self.tiles.contains_key(id));
        if let Some((_, id)) = held {
            let tile = self.tile(*id, None, Span::default())?;
            self.frame.set(v, tile);
            return Ok(());
        }
        let value = self.machine.kernel.value(v);
        match &value.op {
            // Set by the launch, the grid or the loop.
            t1::Op::GridVar(_) | t1::Op::LoopVar(_) => return Ok(()),
            t1::Op::LoopParam(..) | t1::Op::LoopResult(..) | t1::Op::IfResult(..) | t1::Op::AtomicOld => {
                return Err(self.malformed("a scalar of a loop or `if` that no register holds"));
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
    pub(super) fn axis(&mut self, a: t1::AxisId) -> Result<(i64, usize), Halt> {
        let axis = self.machine.kernel.axis(a);
        self.scalar(axis.lo)?;
        self.scalar(axis.hi)?;
        Ok(self.machine.axis(&self.frame, a)?)
    }

    pub(super) fn shape(&mut self, axes: &[t1::AxisId]) -> Result<Vec<usize>, Halt> {
        axes.iter().map(|a| Ok(self.axis(*a)?.1)).collect()
    }

    /// Whether a tile is as long as its axes are here and now.
    pub(super) fn fits(
        &mut self,
        tile: &Tile,
        axes: &[t1::AxisId],
        shape: &[usize],
        span: Span,
    ) -> Result<(), Halt> {
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

    pub(super) fn elementwise(
        &mut self,
        value: t1::ValueId,
        args: &[ValId],
        turn: Option<Turn>,
        span: Span,
    ) -> Result<TileRef, Halt> {
        let kernel = self.machine.kernel;
        let mut args = args.iter();
        for x in kernel.value(value).op.operands() {
            if self.tables.launch_scalars[x.0 as usize] {
                self.scalar(x)?;
            } else if let Some(arg) = args.next() {
                let tile = self.tile(*arg, turn, span)?;
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

    /// The same elements on more axes.
    pub(super) fn spread(&mut self, op: &Op, x: ValId, turn: Option<Turn>) -> Result<Tile, Halt> {
        let tile = self.tile(x, turn, op.span)?;
        self.on_own_axes(op, Tile::clone(&tile))
    }

    /// A tile on the axes, and in the order, that an op's result declares.
    pub(super) fn on_own_axes(&mut self, op: &Op, tile: Tile) -> Result<Tile, Halt> {
        let module = self.module;
        let Some(ValKind::Tile { axes, .. }) = op.result.map(|r| &module.value(r).kind) else {
            return Err(self.malformed("registers that hold no tile"));
        };
        if tile.axes.iter().any(|a| !axes.contains(a)) {
            return Err(self.malformed("a tile on fewer axes than it has"));
        }
        let shape = self.shape(axes)?;
        self.fits(&tile, axes, &shape, op.span)?;
        Ok(Tile { axes: axes.clone(), data: tile.spread(axes, &shape), shape })
    }
}
