//! T1 as text: what `--emit tile` shows. One line per operation, axes by name, `let` names kept.
//!
//! A value prints as `%name` where one value has that `let` name, `%name.1`, `%name.2`, … where several do (a loop's state before, during and
//! after), and `%7` where it has none. Constants, dimensions, scalar parameters and coordinates print in place, so that subscripts
//! read as in the source. Axes of one name (two loops over `k`) become `k` and `k.2`. The text depends on nothing but the kernel.

use super::ir::*;
use std::collections::HashMap;
use std::fmt::{self, Write as _};

/// The kernel's text.
pub fn print(kernel: &Kernel) -> String {
    let mut p = Printer { k: kernel, names: Vec::new(), axes: Vec::new(), out: String::new(), indent: 0 };
    p.name_everything();
    // Writing to a String cannot fail.
    let _ = p.kernel();
    p.out
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(self))
    }
}

struct Printer<'a> {
    k: &'a Kernel,
    /// By value.
    names: Vec<String>,
    /// By axis.
    axes: Vec<String>,
    out: String,
    indent: usize,
}

impl Printer<'_> {
    fn name_everything(&mut self) {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for axis in &self.k.axes {
            let n = seen.entry(&axis.name).or_insert(0);
            *n += 1;
            self.axes.push(if *n == 1 { axis.name.clone() } else { format!("{}.{n}", axis.name) });
        }
        let mut total: HashMap<&str, usize> = HashMap::new();
        for v in self.k.values.iter().filter(|v| !Self::inline(v)) {
            if let Some(name) = &v.name {
                *total.entry(name).or_insert(0) += 1;
            }
        }
        let mut seen: HashMap<&str, usize> = HashMap::new();
        let mut numbered = 0;
        for v in &self.k.values {
            let text = match (&v.op, &v.name) {
                (Op::Const(c), _) => const_text(*c),
                (Op::Dim(d), _) => self.k.dim(*d).name.clone(),
                (Op::Param(s), _) => self.k.scalar(*s).name.clone(),
                (Op::Iota(a), _) => self.axes[a.0 as usize].clone(),
                (Op::GridVar(g), _) => {
                    let var = self.k.grid_var(*g);
                    var.axis.map_or_else(|| var.name.clone(), |a| format!("{}.lo", self.axes[a.0 as usize]))
                }
                (Op::LoopVar(l), _) => {
                    let l = self.k.loop_(*l);
                    l.axis.map_or_else(|| l.name.clone(), |a| format!("{}.lo", self.axes[a.0 as usize]))
                }
                (_, Some(name)) => {
                    let n = seen.entry(name).or_insert(0);
                    *n += 1;
                    if total[name.as_str()] == 1 { format!("%{name}") } else { format!("%{name}.{n}") }
                }
                (_, None) => {
                    numbered += 1;
                    format!("%{}", numbered - 1)
                }
            };
            self.names.push(text);
        }
    }

    /// Printed where it is used, without a line of its own.
    fn inline(v: &Value) -> bool {
        matches!(
            v.op,
            Op::Const(_) | Op::Dim(_) | Op::Param(_) | Op::Iota(_) | Op::GridVar(_) | Op::LoopVar(_)
        )
    }

    fn v(&self, v: ValueId) -> &str {
        self.names.get(v.0 as usize).map_or("%?", |s| s)
    }

    fn a(&self, a: AxisId) -> &str {
        self.axes.get(a.0 as usize).map_or("?", |s| s)
    }

    fn vs(&self, list: &[ValueId]) -> String {
        list.iter().map(|v| self.v(*v)).collect::<Vec<_>>().join(", ")
    }

    fn as_(&self, list: &[AxisId]) -> String {
        list.iter().map(|a| self.a(*a)).collect::<Vec<_>>().join(", ")
    }

    fn ty(&self, ty: &TileType) -> String {
        if ty.is_scalar() { ty.elem.to_string() } else { format!("{}[{}]", ty.elem, self.as_(&ty.axes)) }
    }

    fn line(&mut self, text: &str) {
        for _ in 0..self.indent {
            self.out.push_str("    ");
        }
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn kernel(&mut self) -> fmt::Result {
        let k = self.k;
        for line in k.doc.lines() {
            self.line(format!("/// {line}").trim_end());
        }
        self.line(&format!("kernel {}", k.name));
        self.indent = 1;
        for b in &k.binding {
            self.line(&format!("bind {} = {}  // {}", b.name, b.value, b.from));
        }
        for item in &k.schedule {
            self.line(&format!("schedule {item}  // {}", item.from));
        }
        for d in &k.dims {
            let mut text = format!("dim {} = ", d.name);
            match d.source {
                DimSource::Shape { tensor, axis, scale, offset } => {
                    let whole = format!("extent({}, {axis})", k.tensor(tensor).name);
                    match (scale, offset) {
                        (1, 0) => text.push_str(&whole),
                        (1, o) => write!(text, "{whole} - {o}")?,
                        (s, 0) => write!(text, "{whole} / {s}")?,
                        (s, o) => write!(text, "({whole} - {o}) / {s}")?,
                    }
                }
                DimSource::Scalar(s) => text.push_str(&k.scalar(s).name),
            }
            if let Some(v) = d.frozen {
                write!(text, " = {v}")?;
            }
            self.line(&text);
        }
        for p in &k.params {
            let text = match p {
                Param::Tensor(t) => self.tensor_text(*t),
                Param::Scalar(s) => self.scalar_text(*s),
            };
            self.line(&text);
        }
        for (n, t) in k.tensors.iter().enumerate() {
            if matches!(t.kind, TensorKind::Temp { .. } | TensorKind::Const(_)) {
                let text = self.tensor_text(TensorId(n as u32));
                self.line(&text);
            }
        }
        for p in &k.promises {
            let text = format!("where {}", p.text);
            self.line(&text);
        }
        for (n, a) in k.axes.iter().enumerate() {
            if matches!(a.kind, AxisKind::Dim | AxisKind::Let | AxisKind::Primed(_)) {
                let how = match a.kind {
                    AxisKind::Primed(of) => format!("the coordinates of {}", self.a(of)),
                    _ => format!("{}..{}", self.v(a.lo), self.v(a.hi)),
                };
                let text = format!("axis {}[{}] = {how}", self.axes[n], a.extent);
                self.line(&text);
            }
        }
        self.block(&k.entry);
        for g in &k.grid {
            self.block(&g.block);
            let text = format!("grid {}", self.range_text(&g.name, g.axis, g.lo, g.hi));
            self.line(&text);
        }
        if let Some(w) = &k.grid_when {
            self.when("grid", w);
        }
        self.block(&k.body);
        Ok(())
    }

    fn range_text(&self, name: &str, axis: Option<AxisId>, lo: ValueId, hi: ValueId) -> String {
        let (lo, hi) = (self.v(lo), self.v(hi));
        match axis {
            Some(a) => format!("{} over {lo}..{hi} by {}", self.a(a), self.k.axis(a).extent),
            None => format!("{name} over {lo}..{hi}"),
        }
    }

    fn tensor_text(&self, t: TensorId) -> String {
        let t = self.k.tensor(t);
        let shape = t.shape.iter().map(|s| s.text.as_str()).collect::<Vec<_>>().join(", ");
        let mode = match &t.kind {
            TensorKind::In => "param ",
            TensorKind::Out => "param out ",
            TensorKind::InOut => "param inout ",
            TensorKind::Packed => "param packed ",
            TensorKind::Temp { .. } => "temp ",
            TensorKind::Const(_) => "const ",
        };
        let mut text = format!("{mode}{}: {}[{shape}]", t.name, t.elem);
        if t.strides.iter().any(|s| *s != Stride::Dense) {
            let each: Vec<String> = t.strides.iter().map(|s| self.stride_text(s)).collect();
            text += &format!(" strides({})", each.join(", "));
        }
        if t.align != 16 && !matches!(t.kind, TensorKind::Const(_)) {
            text += &format!(" align({})", t.align);
        }
        text += &self.holds_text(&t.holds);
        if let TensorKind::Temp { init: Some(c) } = &t.kind {
            text += &format!(" = {}", const_text(*c));
        }
        if let TensorKind::Const(list) = &t.kind {
            let few: Vec<String> = list.iter().take(16).map(|c| const_text(*c)).collect();
            text += &format!(" = [{}{}]", few.join(", "), if list.len() > 16 { ", …" } else { "" });
        }
        if t.captured { text + "  // using" } else { text }
    }

    fn scalar_text(&self, s: ScalarId) -> String {
        let s = self.k.scalar(s);
        let mut text = format!("param {}: {}{}", s.name, s.elem, self.holds_text(&s.holds));
        if let Some(d) = &s.default {
            text += &format!(" = {}", self.launch(d));
        }
        if s.captured { text + "  // using" } else { text }
    }

    fn stride_text(&self, s: &Stride) -> String {
        match s {
            Stride::Dense => "dense".to_string(),
            Stride::Free => "_".to_string(),
            Stride::Given(e) => self.launch(e),
        }
    }

    fn holds_text(&self, h: &Option<Holds>) -> String {
        match h {
            None => String::new(),
            Some(Holds::In { lo, hi, inclusive, distinct }) => {
                let (how, to) =
                    (if *distinct { "distinct" } else { "in" }, if *inclusive { "=" } else { "" });
                format!(" {how} {}..{to}{}", self.launch(lo), self.launch(hi))
            }
            Some(Holds::Ascending { lo, hi }) => {
                format!(" ascending {}..{}", self.launch(lo), self.launch(hi))
            }
        }
    }

    fn launch(&self, e: &LaunchExpr) -> String {
        launch_text(self.k, e)
    }

    fn block(&mut self, block: &Block) {
        for s in &block.stmts {
            self.stmt(s);
        }
    }

    fn when(&mut self, of: &str, w: &When) {
        self.block(&w.block);
        let text = format!("{of} when {}", self.v(w.cond));
        self.line(&text);
    }

    fn stmt(&mut self, s: &Stmt) {
        match s {
            Stmt::Let(v) => {
                let value = self.k.value(*v);
                if !Self::inline(value) {
                    let text = format!("{} = {} : {}", self.v(*v), self.op(&value.op), self.ty(&value.ty));
                    self.line(&text);
                }
            }
            Stmt::Write(w) => {
                let mut text = format!(
                    "write {}[{}] = {}",
                    self.k.tensor(w.tensor).name,
                    self.vs(&w.ix),
                    self.v(w.value)
                );
                if let Some(c) = w.when {
                    text += &format!(" when {}", self.v(c));
                }
                if !w.once_over.is_empty() {
                    let names: Vec<&str> =
                        w.once_over.iter().map(|g| self.k.grid_var(*g).name.as_str()).collect();
                    text += &format!("  // once over {}", names.join(", "));
                }
                self.line(&text);
            }
            Stmt::Atomic(a) => {
                let mut text = String::new();
                if let Some(old) = a.old {
                    text += &format!("{} = ", self.v(old));
                }
                text += &format!(
                    "atomic {}[{}] {} {}",
                    self.k.tensor(a.tensor).name,
                    self.vs(&a.ix),
                    a.op,
                    self.v(a.value)
                );
                if let Some(c) = a.when {
                    text += &format!(" when {}", self.v(c));
                }
                self.line(&text);
            }
            Stmt::For(l) => self.for_(*l),
            Stmt::If(i) => self.if_(*i),
        }
    }

    fn for_(&mut self, l: LoopId) {
        let k = self.k;
        let l = k.loop_(l);
        let mut text = format!("for {}", self.range_text(&l.name, l.axis, l.lo, l.hi));
        if l.rev {
            text += " rev";
        }
        for c in &l.carried {
            let kind = match c.kind {
                CarryKind::Seq => "seq".to_string(),
                CarryKind::Assoc(op) => format!("assoc {op}"),
            };
            text += &format!(" carry {} = {} ({kind})", self.v(c.param), self.v(c.init));
        }
        self.line(&(text + " {"));
        self.indent += 1;
        if let Some(w) = &l.when {
            self.when("trip", w);
        }
        self.block(&l.body);
        if !l.carried.is_empty() {
            let next: Vec<&str> = l.carried.iter().map(|c| self.v(c.next)).collect();
            let text = format!("next {}", next.join(", "));
            self.line(&text);
        }
        self.indent -= 1;
        if l.carried.is_empty() {
            self.line("}");
        } else {
            let results: Vec<&str> = l.carried.iter().map(|c| self.v(c.result)).collect();
            let text = format!("}} -> {}", results.join(", "));
            self.line(&text);
        }
    }

    fn if_(&mut self, i: IfId) {
        let k = self.k;
        let i = k.if_(i);
        let text = format!("if {} {{", self.v(i.cond));
        self.line(&text);
        for (n, block) in [&i.then_block, &i.else_block].into_iter().enumerate() {
            if n == 1 {
                if block.stmts.is_empty() && i.results.is_empty() {
                    break;
                }
                self.line("} else {");
            }
            self.indent += 1;
            self.block(block);
            if !i.results.is_empty() {
                let list: Vec<&str> = i
                    .results
                    .iter()
                    .map(|r| self.v(if n == 0 { r.then_value } else { r.else_value }))
                    .collect();
                let text = format!("yield {}", list.join(", "));
                self.line(&text);
            }
            self.indent -= 1;
        }
        if i.results.is_empty() {
            self.line("}");
        } else {
            let list: Vec<&str> = i.results.iter().map(|r| self.v(r.result)).collect();
            let text = format!("}} -> {}", list.join(", "));
            self.line(&text);
        }
    }

    fn op(&self, op: &Op) -> String {
        match op {
            Op::Const(_) | Op::Dim(_) | Op::Param(_) | Op::Iota(_) | Op::GridVar(_) | Op::LoopVar(_) => {
                String::new() // printed in place
            }
            Op::LoopParam(..) => "loop parameter".to_string(),
            Op::LoopResult(..) => "loop result".to_string(),
            Op::IfResult(..) => "if result".to_string(),
            Op::AtomicOld => "old value".to_string(),
            Op::Reorder(x) => format!("reorder {}", self.v(*x)),
            Op::TileRead { tile, ix } => format!("{}[{}]", self.v(*tile), self.vs(ix)),
            Op::Reduce { op, x, axes } => format!("{op} {} over {}", self.v(*x), self.as_(axes)),
            Op::Scan { op, x, axis, rev } => {
                format!("{op} {} over {}{}", self.v(*x), self.a(*axis), if *rev { " rev" } else { "" })
            }
            Op::TopK { x, axis, to, part } => {
                format!("topk.{} {} over {} to {}", part_text(*part), self.v(*x), self.a(*axis), self.a(*to))
            }
            Op::Sort { x, axis, part } => {
                format!("sort.{} {} over {}", part_text(*part), self.v(*x), self.a(*axis))
            }
            Op::Mma { a, b, contract, batch } => {
                let batch =
                    if batch.is_empty() { String::new() } else { format!(" batch {}", self.as_(batch)) };
                format!("{} @ {} over {}{batch}", self.v(*a), self.v(*b), self.a(*contract))
            }
            Op::GridReduce { op, x, vars } => {
                let vars: Vec<&str> = vars.iter().map(|g| self.k.grid_var(*g).name.as_str()).collect();
                format!("{op} {} over grid {}", self.v(*x), vars.join(", "))
            }
            Op::Read { tensor, ix } => format!("read {}[{}]", self.k.tensor(*tensor).name, self.vs(ix)),
            elementwise => elementwise_text(elementwise, |x| self.v(x).to_string()),
        }
    }
}

/// An elementwise operation on operands that `name` names; empty for any other.
pub fn elementwise_text(op: &Op, mut name: impl FnMut(ValueId) -> String) -> String {
    let mut v = |x: &ValueId| name(*x);
    match op {
        Op::Cast(x) => format!("cast {}", v(x)),
        Op::Bits(x) => format!("bits {}", v(x)),
        Op::Broadcast(x) => format!("broadcast {}", v(x)),
        Op::Unary(op, x) if matches!(op, UnaryOp::Neg | UnaryOp::Not | UnaryOp::BitNot) => {
            format!("{}{}", op.name(), v(x))
        }
        Op::Unary(op, x) => format!("{} {}", op.name(), v(x)),
        Op::Binary(op, x, y) if op.is_infix() => format!("{} {} {}", v(x), op.name(), v(y)),
        Op::Binary(op, x, y) => format!("{} {}, {}", op.name(), v(x), v(y)),
        Op::Compare(op, x, y) => format!("{} {} {}", v(x), op.name(), v(y)),
        Op::Select(c, x, y) => format!("where {}, {}, {}", v(c), v(x), v(y)),
        Op::Fma(x, y, z) => format!("fma {}, {}, {}", v(x), v(y), v(z)),
        _ => String::new(),
    }
}

fn part_text(part: SortPart) -> &'static str {
    match part {
        SortPart::Values => "values",
        SortPart::Coordinates => "coordinates",
    }
}

/// A constant as it would be written: floats always have a point or an exponent.
pub fn const_text(c: Const) -> String {
    match c {
        Const::Bool(b) => b.to_string(),
        Const::Int(v) => v.to_string(),
        Const::Float(v) if v.is_nan() => "nan".to_string(),
        Const::Float(v) => format!("{v:?}"),
    }
}

/// A launch expression with the kernel's names.
pub fn launch_text(k: &Kernel, e: &LaunchExpr) -> String {
    let sub = |e: &LaunchExpr| match e {
        LaunchExpr::Binary(op, ..) if op.is_infix() => format!("({})", launch_text(k, e)),
        LaunchExpr::Compare(..) => format!("({})", launch_text(k, e)),
        _ => launch_text(k, e),
    };
    match e {
        LaunchExpr::Const(c) => const_text(*c),
        LaunchExpr::Dim(d) => k.dim(*d).name.clone(),
        LaunchExpr::Scalar(s) => k.scalar(*s).name.clone(),
        LaunchExpr::Stride(t, axis) => format!("stride({}, {axis})", k.tensor(*t).name),
        LaunchExpr::Unary(op, x) if matches!(op, UnaryOp::Neg | UnaryOp::Not | UnaryOp::BitNot) => {
            format!("{}{}", op.name(), sub(x))
        }
        LaunchExpr::Unary(op, x) => format!("{}({})", op.name(), launch_text(k, x)),
        LaunchExpr::Binary(op, x, y) if op.is_infix() => format!("{} {} {}", sub(x), op.name(), sub(y)),
        LaunchExpr::Binary(op, x, y) => {
            format!("{}({}, {})", op.name(), launch_text(k, x), launch_text(k, y))
        }
        LaunchExpr::Compare(op, x, y) => format!("{} {} {}", sub(x), op.name(), sub(y)),
        LaunchExpr::Select(c, x, y) => {
            format!("where({}, {}, {})", launch_text(k, c), launch_text(k, x), launch_text(k, y))
        }
        LaunchExpr::Cast(ty, x) => format!("{} as {ty}", sub(x)),
    }
}

impl fmt::Display for BoundValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BoundValue::Type(t) => t.fmt(f),
            BoundValue::Int(v) => v.fmt(f),
            BoundValue::Bool(v) => v.fmt(f),
            BoundValue::Float(v) => write!(f, "{v:?}"),
            BoundValue::Function(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ValueSource::Set => "set",
            ValueSource::Instance => "instance",
            ValueSource::Schedule => "schedule",
            ValueSource::Model => "model",
            ValueSource::Implied => "implied by the arguments",
            ValueSource::Default => "default",
        })
    }
}

impl fmt::Display for ScheduleItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path.join("."))?;
        match &self.value {
            Some(v) => write!(f, " = {v}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ScheduleValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScheduleValue::Int(v) => v.fmt(f),
            ScheduleValue::Bool(v) => v.fmt(f),
            ScheduleValue::Name(n) => f.write_str(n),
            ScheduleValue::Tuple(items) => {
                f.write_str("(")?;
                for (n, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if n == 0 { "" } else { ", " })?;
                }
                f.write_str(")")
            }
        }
    }
}
