//! T2 as text (`--emit scheduled`).

use super::ir::*;
use crate::tile::ir as t1;
use std::fmt::Write;

/// The module as text; `kernel` supplies the names of axes, tensors and scalars.
pub fn print(module: &Module, kernel: &t1::Kernel) -> String {
    let mut p = Printer { module, kernel, out: String::new() };
    p.module();
    p.out
}

struct Printer<'a> {
    module: &'a Module,
    kernel: &'a t1::Kernel,
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
        self.nodes(1, &m.body);
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
        format!("%{}", self.module.value(id).name)
    }

    fn scalar(&self, id: t1::ValueId) -> String {
        let k = self.kernel;
        match &k.value(id).op {
            t1::Op::Const(c) => crate::tile::print::const_text(*c),
            t1::Op::Dim(d) => k.dim(*d).name.clone(),
            t1::Op::Param(s) => k.scalar(*s).name.clone(),
            t1::Op::GridVar(g) => k.grid_var(*g).name.clone(),
            t1::Op::LoopVar(l) => k.loop_(*l).name.clone(),
            _ => k.value(id).name.clone().unwrap_or_else(|| format!("v{}", id.0)),
        }
    }

    fn index(&self, ix: &[Index]) -> String {
        let parts: Vec<String> = ix
            .iter()
            .map(|i| match (i.axis, i.offset) {
                _ if i.tile.is_some() => i.tile.map_or(String::new(), |t| self.name(t)),
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
            OpKind::Elementwise { value, args } => {
                let args: Vec<String> = args.iter().map(|a| self.name(*a)).collect();
                format!("{} {}", elementwise_name(self.kernel, *value), args.join(", "))
            }
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

/// An elementwise op in T1's words.
fn elementwise_name(k: &t1::Kernel, v: t1::ValueId) -> String {
    let value = k.value(v);
    match &value.op {
        t1::Op::Cast(_) => format!("cast<{}>", value.ty.elem),
        t1::Op::Bits(_) => format!("bits<{}>", value.ty.elem),
        t1::Op::Broadcast(_) => "broadcast".into(),
        t1::Op::Unary(op, _) => op.name().into(),
        t1::Op::Binary(op, ..) => op.name().into(),
        t1::Op::Compare(op, ..) => op.name().into(),
        t1::Op::Select(..) => "select".into(),
        t1::Op::Fma(..) => "fma".into(),
        t1::Op::Iota(a) => format!("iota {}", k.axis(*a).name),
        _ => "elementwise".into(),
    }
}
