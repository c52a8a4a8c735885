//! T2 as text (`--emit scheduled`).
//!
//! A tile prints as `%name`, as `%name.2`, `%name.3`, … where others have that name before it. Scalars that the launch and the loops
//! determine have no ops of their own: constants, dimensions and coordinates print in place, what is computed from them as a name without
//! `%`, which a `let` before the body explains. So the text leaves out nothing that the module computes.

use super::ir::*;
use crate::plan::access::launch_scalar;
use crate::tile::ir as t1;
use crate::tile::print::{const_text, elementwise_text};
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write;

/// The module as text; `kernel` supplies the names of axes, tensors and scalars.
pub fn print(module: &Module, kernel: &t1::Kernel) -> String {
    let mut p =
        Printer { module, kernel, names: names(module), scalars: RefCell::default(), out: String::new() };
    p.module();
    p.out
}

/// A name for every value, all different.
fn names(module: &Module) -> Vec<String> {
    let mut seen: FxHashMap<&str, usize> = FxHashMap::default();
    module
        .values
        .iter()
        .map(|v| {
            let n = seen.entry(&v.name).or_insert(0);
            *n += 1;
            if *n == 1 { v.name.clone() } else { format!("{}.{n}", v.name) }
        })
        .collect()
}

struct Printer<'a> {
    module: &'a Module,
    kernel: &'a t1::Kernel,
    /// By value.
    names: Vec<String>,
    /// Those computed from what the launch and the loops determine, as far as the text names them.
    scalars: RefCell<BTreeSet<t1::ValueId>>,
    out: String,
}

impl Printer<'_> {
    fn module(&mut self) {
        let m = self.module;
        let form = match m.form {
            Form::Fused => "fused",
            Form::Expanded => "expanded",
        };
        self.line(
            0,
            format_args!(
                "scheduled {} variant {} ({form}) raster=group{}",
                m.name,
                m.variant.name(),
                m.raster.group
            ),
        );
        match m.dispatch {
            Dispatch::Each => {}
            Dispatch::Persistent => self.line(1, format_args!("persistent")),
            Dispatch::Drawn => self.line(1, format_args!("persistent, tiles drawn")),
            Dispatch::Stream(s) => {
                let name = &self.kernel.loop_(s.steps).name;
                self.line(1, format_args!("stream {name} in {}..{}", self.scalar(s.lo), self.scalar(s.hi)));
            }
        }
        if let Some(n @ 2..) = m.occupancy {
            self.line(1, format_args!("occupancy {n}"));
        }
        for (tensor, evict) in &m.evict {
            let name = &self.kernel.tensor(*tensor).name;
            self.line(1, format_args!("evict {name} {}", evict.name()));
        }
        for r in &m.roles {
            let active = if r.active == Active::All { "all" } else { "elect" };
            self.line(
                1,
                format_args!(
                    "role {} inst={} warps={} active={active} regs<={}",
                    r.name, r.instances, r.warps, r.registers
                ),
            );
        }
        for b in &m.buffers {
            let shape: Vec<String> = b.shape.iter().map(u32::to_string).collect();
            self.line(
                1,
                format_args!(
                    "buf {}<{}>[{}][{}] @{}  // {} B a slot, slot 0 at byte {}, stride {}",
                    b.name,
                    b.elem,
                    b.slots,
                    shape.join(","),
                    b.layout_name,
                    b.slot_bytes,
                    b.base,
                    b.slot_stride
                ),
            );
        }
        for w in &m.work {
            self.line(
                1,
                format_args!("work {} // {} B at byte {} of {}", w.name, w.bytes, w.base, m.work_bytes()),
            );
        }
        for c in &m.channels {
            let bufs: Vec<&str> = c.bufs.iter().map(|b| m.buffer(*b).name.as_str()).collect();
            let to: Vec<&str> = c.to.iter().map(|r| m.role(*r).name.as_str()).collect();
            self.line(
                1,
                format_args!(
                    "chan {} {{ bufs=[{}] slots={} from={} to=[{}] share=none bytes={} }}",
                    c.name,
                    bufs.join(","),
                    c.slots,
                    m.role(c.from).name,
                    to.join(","),
                    c.bytes
                ),
            );
        }
        // The body says which scalars it names; they are explained before it.
        let head = std::mem::take(&mut self.out);
        self.nodes(1, &m.body);
        let body = std::mem::replace(&mut self.out, head);
        self.lets();
        self.out.push_str(&body);
    }

    fn lets(&mut self) {
        let mut texts = Vec::new();
        // Operands are older than what is computed from them, so each is met before it is passed.
        loop {
            let Some(v) = self.scalars.borrow_mut().pop_last() else { break };
            let value = self.kernel.value(v);
            let text = elementwise_text(&value.op, |x| self.scalar(x));
            texts.push(format!("let {} = {text} : {}", self.scalar_name(v), value.ty.elem));
        }
        for text in texts.iter().rev() {
            self.line(1, format_args!("{text}"));
        }
    }

    fn line(&mut self, indent: usize, text: std::fmt::Arguments) {
        let _ = writeln!(self.out, "{:indent$}{text}", "", indent = indent * 2);
    }

    fn nodes(&mut self, indent: usize, nodes: &[Node]) {
        for node in nodes {
            match node {
                Node::Op(op) => {
                    let text = self.op(op);
                    let place = match (self.module.form, op.at, op.iter) {
                        (Form::Fused, Some(at), _) => format!("@({},{})", at.stage, at.order),
                        (Form::Expanded, _, Iter::Const(n)) => format!("// iteration {n}"),
                        (Form::Expanded, _, Iter::Step(0)) => "// this step".into(),
                        (Form::Expanded, _, Iter::Step(n)) => format!("// step + {n}"),
                        _ => String::new(),
                    };
                    if place.is_empty() {
                        self.line(indent, format_args!("{text}"));
                    } else {
                        self.line(indent, format_args!("{text:<76} {place}"));
                    }
                }
                Node::Loop(l) => {
                    let carry: Vec<String> = l.carry.iter().map(|c| self.name(c.param)).collect();
                    let head = format!(
                        "for {} in {}{}..{} by {} unroll={} carry {}",
                        l.name,
                        if l.rev { "rev " } else { "" },
                        self.scalar(l.lo),
                        self.scalar(l.hi),
                        l.by,
                        l.unroll,
                        carry.join(", ")
                    );
                    self.line(indent, format_args!("{head} {{"));
                    self.nodes(indent + 1, &l.body);
                    self.line(indent, format_args!("}}"));
                }
                Node::If(i) => {
                    let merges: Vec<String> = i.merges.iter().map(|m| self.name(m.result)).collect();
                    let results = if merges.is_empty() { String::new() } else { merges.join(", ") + " = " };
                    self.line(indent, format_args!("{results}if {} {{", self.name(i.cond)));
                    let yields = |values: Vec<ValId>| {
                        values.into_iter().map(|v| self.name(v)).collect::<Vec<_>>().join(", ")
                    };
                    let arms = [
                        (&i.then_body, yields(i.merges.iter().map(|m| m.then_value).collect())),
                        (&i.else_body, yields(i.merges.iter().map(|m| m.else_value).collect())),
                    ];
                    for (n, (body, yields)) in arms.into_iter().enumerate() {
                        if n == 1 && body.is_empty() && yields.is_empty() {
                            continue;
                        }
                        if n == 1 {
                            self.line(indent, format_args!("}} else {{"));
                        }
                        self.nodes(indent + 1, body);
                        if !yields.is_empty() {
                            self.line(indent + 1, format_args!("yield {yields}"));
                        }
                    }
                    self.line(indent, format_args!("}}"));
                }
                Node::Sync(s) => {
                    let ids: Vec<String> = s.obligations.iter().map(|o| format!("o{o}")).collect();
                    self.line(indent, format_args!("{:<76} // {}", s.op.to_string(), ids.join(" ")));
                }
            }
        }
    }

    fn name(&self, id: ValId) -> String {
        self.names.get(id.0 as usize).map_or_else(String::new, |name| format!("%{name}"))
    }

    fn scalar_name(&self, id: t1::ValueId) -> String {
        match &self.kernel.value(id).name {
            Some(name) => format!("{name}.{}", id.0),
            None => format!("v{}", id.0),
        }
    }

    fn scalar(&self, id: t1::ValueId) -> String {
        let k = self.kernel;
        match &k.value(id).op {
            t1::Op::Const(c) => const_text(*c),
            t1::Op::Dim(d) => k.dim(*d).name.clone(),
            t1::Op::Param(s) => k.scalar(*s).name.clone(),
            t1::Op::GridVar(g) => k.grid_var(*g).name.clone(),
            t1::Op::LoopVar(l) => k.loop_(*l).name.clone(),
            op => {
                if op.is_elementwise() && launch_scalar(k, id) {
                    self.scalars.borrow_mut().insert(id);
                }
                self.scalar_name(id)
            }
        }
    }

    /// An elementwise op: `args` stand for its operands that are tiles, in order.
    fn elementwise(&self, id: t1::ValueId, args: &[ValId]) -> String {
        let k = self.kernel;
        let op = &k.value(id).op;
        if !op.is_elementwise() {
            return match op {
                t1::Op::Iota(a) => format!("iota {}", k.axis(*a).name),
                _ => format!("broadcast {}", self.scalar(id)),
            };
        }
        let mut args = args.iter();
        elementwise_text(op, |x| {
            let tile = if launch_scalar(k, x) { None } else { args.next() };
            tile.map_or_else(|| self.scalar(x), |t| self.name(*t))
        })
    }

    fn index(&self, ix: &[Index]) -> String {
        let parts: Vec<String> = ix
            .iter()
            .map(|i| match (i.axis, i.offset) {
                _ if i.tile.is_some() => i.tile.map_or(String::new(), |t| self.name(t)),
                (Some(a), None) if i.shift > 0 => format!("{} / {}", self.kernel.axis(a).name, 1 << i.shift),
                (Some(a), None) => self.kernel.axis(a).name.clone(),
                (Some(a), Some(o)) => format!("{} + {}", self.kernel.axis(a).name, self.scalar(o)),
                (None, Some(o)) => self.scalar(o),
                (None, None) => "0".into(),
            })
            .collect();
        parts.join(",")
    }

    fn op(&self, op: &Op) -> String {
        let m = self.module;
        let tensor = |t: &t1::TensorId| self.kernel.tensor(*t).name.clone();
        let body = match &op.kind {
            OpKind::Acquire { chan } => format!("acquire {}", m.channel(*chan).name),
            OpKind::Wait { chan } => format!("wait {}", m.channel(*chan).name),
            OpKind::CopyIn { slot, buf, tensor: t, ix, plan, rolled, negative, .. } => {
                let plan = match plan {
                    CopyPlan::CpAsync { bytes } => format!("cpasync{bytes}"),
                    CopyPlan::LoadStore { bytes } => format!("ldst{bytes}"),
                };
                format!(
                    "copy.in {}.{} <- {}[{}] plan={plan}{}{}",
                    self.name(*slot),
                    m.buffer(*buf).name,
                    tensor(t),
                    self.index(ix),
                    if *rolled { " rolled" } else { "" },
                    if negative.is_some() { " signed" } else { "" }
                )
            }
            OpKind::Commit { chan, slot, after } => {
                let after: Vec<String> = after.iter().map(|t| self.name(*t)).collect();
                format!("commit {} {} after {}", m.channel(*chan).name, self.name(*slot), after.join(","))
            }
            OpKind::Release { chan, slot } => {
                format!("release {} {}", m.channel(*chan).name, self.name(*slot))
            }
            OpKind::CopyPacked { slot, buf, tensor: t, ix, plan } => {
                let (slot, buf, ix) = (self.name(*slot), &m.buffer(*buf).name, self.index(ix));
                format!("copy.packed {slot}.{buf} <- {}[{ix}] by {}", tensor(t), plan.unit())
            }
            OpKind::LoadPacked { slot, buf, .. } => {
                format!("load.packed {}.{}", self.name(*slot), m.buffer(*buf).name)
            }
            OpKind::Load { slot, buf, at, size, atom } => {
                let atom = match atom {
                    LoadAtom::Ldmatrix { matrices, trans: false } => format!("ldmatrix.x{matrices}"),
                    LoadAtom::Ldmatrix { matrices, trans: true } => format!("ldmatrix.x{matrices}.trans"),
                    LoadAtom::Elements => "elements".into(),
                };
                format!(
                    "load {}.{}[:, {at}..{}] atom={atom}",
                    self.name(*slot),
                    m.buffer(*buf).name,
                    at + size
                )
            }
            OpKind::AccNew { init } => format!("acc.new {init}"),
            OpKind::AccFrom { value } => format!("acc.from {}", self.name(*value)),
            OpKind::Mma { atom, a, b, acc, .. } => {
                format!("mma {}, {}, {} atom={}", self.name(*a), self.name(*b), self.name(*acc), atom.name())
            }
            OpKind::Promote { total, acc, every } => {
                format!("promote {} + {} every={every}", self.name(*total), self.name(*acc))
            }
            OpKind::AccRenew { acc, every } => format!("acc.renew {} every={every}", self.name(*acc)),
            OpKind::AccGet { acc } => format!("acc.get {}", self.name(*acc)),
            OpKind::Elementwise { value, args } => self.elementwise(*value, args),
            OpKind::Reduce { x, op, axes, .. } => {
                let axes: Vec<&str> = axes.iter().map(|a| self.kernel.axis(*a).name.as_str()).collect();
                format!("reduce {op:?} {} over {}", self.name(*x), axes.join(", "))
            }
            OpKind::PutPartials { buf, value, warps } => {
                format!("put.partials {} <- {} warps={warps:#b}", m.buffer(*buf).name, self.name(*value))
            }
            OpKind::GetPartials { buf, op, warps } => {
                format!("get.partials {op:?} {} warps={warps:#b}", m.buffer(*buf).name)
            }
            OpKind::SortKey { x, descending } => {
                format!("sort.key {}{}", self.name(*x), if *descending { " descending" } else { "" })
            }
            OpKind::Position { axis } => format!("position {}", self.kernel.axis(*axis).name),
            OpKind::Rank { buf, axis, .. } => {
                format!("rank {} over {}", m.buffer(*buf).name, self.kernel.axis(*axis).name)
            }
            OpKind::PutAt { buf, value, rank, axis } => {
                let (rank, axis) = (self.name(*rank), &self.kernel.axis(*axis).name);
                format!("put.at {}[{axis} {rank}] <- {}", m.buffer(*buf).name, self.name(*value))
            }
            OpKind::GetRanked { buf, axis, to, .. } => {
                let (axis, to) = (&self.kernel.axis(*axis).name, &self.kernel.axis(*to).name);
                format!("get.ranked {} over {axis} by {to}", m.buffer(*buf).name)
            }
            OpKind::PutTile { buf, value } => {
                format!("put.tile {} <- {}", m.buffer(*buf).name, self.name(*value))
            }
            OpKind::GetTile { buf, ix, .. } => {
                format!("get.tile {}[{}]", m.buffer(*buf).name, self.index(ix))
            }
            OpKind::Scan { x, op, axis, rev } => {
                let rev = if *rev { "rev " } else { "" };
                format!("scan {op:?} {} over {rev}{}", self.name(*x), self.kernel.axis(*axis).name)
            }
            OpKind::GetScan { buf, x, op, axis, rev, warps } => {
                let rev = if *rev { "rev " } else { "" };
                let (of, axis) = (self.name(*x), &self.kernel.axis(*axis).name);
                format!("get.scan {op:?} {of}, {} over {rev}{axis} warps={warps:#b}", m.buffer(*buf).name)
            }
            OpKind::Atomic { op, tensor: t, ix, value, when } => {
                let when = when.map_or(String::new(), |c| format!(" when {}", self.name(c)));
                format!("atomic {op:?} {}[{}] <- {}{when}", tensor(t), self.index(ix), self.name(*value))
            }
            OpKind::Spread { x } => format!("spread {}", self.name(*x)),
            OpKind::Share { x } => format!("share {}", self.name(*x)),
            OpKind::Total { x } => format!("total {}", self.name(*x)),
            OpKind::ReduceOwn { x, axes } => {
                let axes: Vec<&str> = axes.iter().map(|a| &self.kernel.axis(*a).name[..]).collect();
                format!("reduce.own Sum {} over {}", self.name(*x), axes.join(", "))
            }
            OpKind::WorkPut { work, value } => {
                format!("work.put {} <- {}", m.work(*work).name, self.name(*value))
            }
            OpKind::WorkLast { var } => format!("work.last {}", self.kernel.grid_var(*var).name),
            OpKind::ItemPart | OpKind::ItemDraw | OpKind::ItemDone { next: None } => op.kind.label().into(),
            OpKind::ItemTell { buf, value } => {
                format!("item.tell {} <- {}", m.buffer(*buf).name, self.name(*value))
            }
            OpKind::ItemHear { buf, .. } => format!("item.hear {}", m.buffer(*buf).name),
            OpKind::ItemDone { next: Some(next) } => format!("item.done {}", self.name(*next)),
            OpKind::WorkGet { work } => format!("work.get {}", m.work(*work).name),
            OpKind::Neutral { op } => format!("neutral {op:?}"),
            OpKind::Combine { op, x, y } => {
                format!("combine {op:?} {}, {}", self.name(*x), self.name(*y))
            }
            OpKind::ReadReg { tensor: t, ix, vec, eager } => {
                let lazy = if *eager { "" } else { " lazy" };
                format!("read.reg {}[{}] vec={vec}{lazy}", tensor(t), self.index(ix))
            }
            OpKind::WriteReg { tensor: t, ix, value, vec, when, once } => {
                let when = when.map_or(String::new(), |c| format!(" when {}", self.name(c)));
                let once: Vec<&str> = once.iter().map(|g| self.kernel.grid_var(*g).name.as_str()).collect();
                let once =
                    if once.is_empty() { String::new() } else { format!(" once over {}", once.join(", ")) };
                let place = format!("{}[{}]", tensor(t), self.index(ix));
                format!("write.reg {place} <- {} vec={vec}{when}{once}", self.name(*value))
            }
        };
        match op.result {
            Some(r) => format!("{} = {body}{}", self.name(r), self.result_type(r)),
            None => body,
        }
    }

    fn result_type(&self, id: ValId) -> String {
        match &self.module.value(id).kind {
            ValKind::Tile { elem, axes, acc, .. } => {
                let axes: Vec<String> = axes
                    .iter()
                    .map(|a| format!("{}:{}", self.kernel.axis(*a).name, self.kernel.axis(*a).extent))
                    .collect();
                format!(" : {}<{elem}>[{}]", if *acc { "acc" } else { "val" }, axes.join(","))
            }
            ValKind::Slot(_) => String::new(),
            ValKind::Tok(TokClass::CpAsync) => " : tok<cpasync>".into(),
            ValKind::Tok(TokClass::Immediate) => " : tok<now>".into(),
        }
    }
}
