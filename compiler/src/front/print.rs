//! The syntax tree back to text, in one canonical form: `--emit ast`, and what a formatter starts from.
//!
//! Parsing the text gives the same tree again, spans aside; printing that gives the same text. Comments are not kept, doc comments and corpus directives
//! are. Parentheses stand where the tree needs them and nowhere else.
//!
//! ```text
//! kernel k(a:f32[M],out b:f32[M]){grid i over M by 64;b[i]=((a[i]*2)+1);}
//!
//! kernel k(a: f32[M], out b: f32[M]) {
//!     grid i over M by 64;
//!     b[i] = a[i] * 2 + 1;
//! }
//! ```

use super::ast::*;
use super::program::{Directive, DirectiveKind, Program};
use std::fmt::Display;

/// Longest line of a kernel's head before its parameters get lines of their own.
const WIDTH: usize = 110;

/// How tightly an expression binds; a child that binds less than its place asks for gets parentheses.
mod level {
    pub const EXPR: u8 = 0;
    pub const DOMAIN: u8 = 1;
    pub const OR: u8 = 2;
    pub const AND: u8 = 3;
    pub const CMP: u8 = 4;
    pub const BIT_OR: u8 = 5;
    pub const BIT_XOR: u8 = 6;
    pub const BIT_AND: u8 = 7;
    pub const SHIFT: u8 = 8;
    pub const SUM: u8 = 9;
    pub const PRODUCT: u8 = 10;
    pub const CAST: u8 = 11;
    pub const UNARY: u8 = 12;
    pub const POST: u8 = 13;
}

/// The root file of a program.
pub fn program(p: &Program) -> String {
    let mut items: Vec<(u32, String)> = vec![];
    let root = |span: crate::diagnostics::Span| span.file == p.root;
    let mut add = |span: crate::diagnostics::Span, text: String| {
        if root(span) {
            items.push((span.start, text));
        }
    };
    p.imports.iter().for_each(|i| add(i.span, import(i)));
    p.consts.iter().for_each(|c| add(c.span, constant(c)));
    p.fns.iter().for_each(|f| add(f.span, function(f)));
    p.kernels.iter().for_each(|k| add(k.span, kernel(k)));
    p.instances.iter().for_each(|i| add(i.span, instance(i)));
    p.schedules.iter().for_each(|s| add(s.span, file_schedule(s)));
    items.sort();
    join(&p.directives, items.into_iter().map(|(_, t)| t).collect())
}

/// A parsed file; items that did not parse are left out.
pub fn file(f: &File) -> String {
    let text = |item: &Item| {
        Some(match item {
            Item::Import(i) => import(i),
            Item::Const(c) => constant(c),
            Item::Fn(f) => function(f),
            Item::Kernel(k) => kernel(k),
            Item::Instance(i) => instance(i),
            Item::Schedule(s) => file_schedule(s),
            Item::Error { .. } => return None,
        })
    };
    join(&f.directives, f.items.iter().filter_map(text).collect())
}

/// Blank lines around what takes several lines; one-liners stand together.
fn join(directives: &[Directive], items: Vec<String>) -> String {
    let mut out: String = directives.iter().map(directive).collect();
    let mut previous: Option<&String> = None;
    for item in &items {
        if previous.is_some_and(|p| p.lines().count() > 1 || item.lines().count() > 1) {
            out.push('\n');
        }
        out.push_str(item);
        previous = Some(item);
    }
    out
}

fn directive(d: &Directive) -> String {
    let pairs = |p: &[(String, String)]| list(p.iter().map(|(n, v)| format!("{n}={v}")));
    match &d.kind {
        DirectiveKind::Dims(p) => format!("//; dims: {}\n", list(p.iter().map(|(n, v)| format!("{n}={v}")))),
        DirectiveKind::Set(p) => format!("//; set: {}\n", pairs(p)),
        DirectiveKind::Run(p) => format!("//; run: {}\n", pairs(p)),
        DirectiveKind::Expect { code, line, column } => {
            format!("//; expect: error {code} at {line}:{column}\n")
        }
    }
}

fn list(items: impl IntoIterator<Item = impl Display>) -> String {
    items.into_iter().map(|i| i.to_string()).collect::<Vec<_>>().join(", ")
}

/// ` word x`, or nothing.
fn clause<T>(word: &str, value: Option<&T>, show: impl Fn(&T) -> String) -> String {
    value.map_or(String::new(), |v| format!("{word}{}", show(v)))
}

fn doc(doc: &Option<Symbol>) -> String {
    let line = |l: &str| if l.is_empty() { "///\n".into() } else { format!("/// {l}\n") };
    doc.iter().flat_map(|d| d.split('\n')).map(line).collect()
}

// ---------------------------------------------------------------------------------------------------------------- items

fn import(i: &Import) -> String {
    format!("import \"{}\"{};\n", i.path, clause(" as ", i.alias.as_ref(), |a| a.to_string()))
}

fn constant(c: &Const) -> String {
    format!(
        "{}const {}{} = {};\n",
        doc(&c.doc),
        c.name,
        clause(": ", c.ty.as_ref(), ty),
        const_value(&c.value)
    )
}

fn const_value(v: &ConstValue) -> String {
    match v {
        ConstValue::Scalar(e) => expr(e),
        ConstValue::List { items, .. } => format!("[{}]", list(items.iter().map(const_value))),
    }
}

fn function(f: &Function) -> String {
    let mut out = format!("{}fn {}({})", doc(&f.doc), f.name, list(f.params.iter().map(typed)));
    if !f.using.is_empty() {
        out += &format!(" using {}", list(f.using.iter().map(typed)));
    }
    out += &clause(" -> ", f.ret.as_ref(), ty);
    if !f.braced {
        return out + &format!(" = {};\n", expr(&f.value));
    }
    out += " {\n";
    f.stmts.iter().for_each(|s| stmt(&mut out, s, 1));
    out + &format!("    {}\n}}\n", expr(&f.value))
}

fn typed(t: &Typed) -> String {
    format!("{}{}", t.name, clause(": ", t.ty.as_ref(), ty))
}

fn kernel(k: &Kernel) -> String {
    let mut out = format!("{}kernel {}", doc(&k.doc), k.name);
    if !k.generics.is_empty() {
        out += &format!("<{}>", list(k.generics.iter().map(generic)));
    }
    let params: Vec<String> = k.params.iter().map(param).collect();
    let promises = if k.promises.is_empty() {
        String::new()
    } else {
        format!(" where {}", list(k.promises.iter().map(expr)))
    };
    let one_line = format!("({}){promises} {{\n", params.join(", "));
    let head = out.lines().last().map_or(0, |l| l.chars().count());
    if head + one_line.chars().count() <= WIDTH || params.is_empty() {
        out += &one_line;
    } else {
        out += "(\n";
        params.iter().for_each(|p| out += &format!("    {p},\n"));
        out += &format!("){promises} {{\n");
    }
    k.body.stmts.iter().for_each(|s| stmt(&mut out, s, 1));
    out + "}\n"
}

fn generic(g: &Generic) -> String {
    match g {
        Generic::Value { name, alternatives, default, .. } => {
            let sets: Vec<String> = alternatives.iter().map(set).collect();
            let sets = if sets.is_empty() { String::new() } else { format!(": {}", sets.join(" | ")) };
            format!("{name}{sets}{}", clause(" = ", default.as_ref(), set))
        }
        Generic::Fn { name, params, ret, default, .. } => {
            let params = list(params.iter().map(typed));
            format!("fn {name}({params}){} = {}", clause(" -> ", ret.as_ref(), ty), atom(default))
        }
    }
}

fn set(s: &Set) -> String {
    match &s.kind {
        SetKind::One(a) => atom(a),
        SetKind::Span { lo, hi, step } => {
            format!("{}..={}{}", atom(lo), atom(hi), clause(" step ", step.as_ref(), |n| n.text.to_string()))
        }
        SetKind::Error => "_".into(),
    }
}

fn atom(a: &Atom) -> String {
    match &a.kind {
        AtomKind::Path(p) => p.to_string(),
        AtomKind::Number(n) => n.text.to_string(),
        AtomKind::Bool(b) => b.to_string(),
    }
}

fn param(p: &Param) -> String {
    let mode = match p.mode {
        ParamMode::In => "",
        ParamMode::Out => "out ",
        ParamMode::InOut => "inout ",
        ParamMode::Packed => "packed ",
    };
    let attrs: String = p.attrs.iter().map(|a| format!(" {}", attr(a))).collect();
    format!("{mode}{}: {}{attrs}{}", p.name, ty(&p.ty), clause(" = ", p.default.as_ref(), expr))
}

fn attr(a: &Attr) -> String {
    match &a.kind {
        AttrKind::Strides(s) => {
            format!("strides({})", list(s.iter().map(|s| s.as_ref().map_or("_".into(), expr))))
        }
        AttrKind::Align(n) => format!("align({})", n.text),
        AttrKind::In(e) => format!("in {}", expr(e)),
        AttrKind::Ascending(e) => format!("ascending {}", expr(e)),
        AttrKind::Distinct(e) => format!("distinct {}", expr(e)),
    }
}

fn instance(i: &Instance) -> String {
    let settings = list(i.settings.iter().map(|s| format!("{} = {}", s.name, set(&s.value))));
    format!("{}kernel {} = {}<{settings}>;\n", doc(&i.doc), i.name, i.base)
}

fn file_schedule(s: &Schedule) -> String {
    let mut out = String::new();
    schedule(&mut out, s, 0);
    out
}

fn ty(t: &Type) -> String {
    if t.shape.is_empty() {
        t.name.to_string()
    } else {
        format!("{}[{}]", t.name, list(t.shape.iter().map(expr)))
    }
}

// ----------------------------------------------------------------------------------------------------------- statements

fn block(out: &mut String, b: &Block, depth: usize) {
    if b.stmts.is_empty() {
        out.push_str("{ }");
        return;
    }
    out.push_str("{\n");
    b.stmts.iter().for_each(|s| stmt(out, s, depth + 1));
    out.push_str(&format!("{}}}", "    ".repeat(depth)));
}

fn over(o: &Over) -> String {
    format!("{} over {}", o.name, expr(&o.domain))
}

fn when(e: &Option<Expr>) -> String {
    clause(" when ", e.as_ref(), |e| at(e, level::OR))
}

fn stmt(out: &mut String, s: &Stmt, depth: usize) {
    out.push_str(&"    ".repeat(depth));
    match &s.kind {
        StmtKind::Let { mutable, pattern, ty: t, value } => {
            let pattern = match pattern {
                Pattern::Name(n) => n.to_string(),
                Pattern::Tuple { names, .. } => {
                    format!(
                        "({})",
                        list(names.iter().map(|n| n.as_ref().map_or("_".into(), |n| n.to_string())))
                    )
                }
            };
            let mutable = if *mutable { "mut " } else { "" };
            *out += &format!("let {mutable}{pattern}{} = {};", clause(": ", t.as_ref(), ty), expr(value));
        }
        StmtKind::Temp { name, ty: t, init } => {
            *out += &format!("temp {name}: {}{};", ty(t), clause(" = ", init.as_ref(), expr));
        }
        StmtKind::Tune { entries, constraints } => {
            let entry = |t: &Tune| match &t.choices {
                TuneChoices::List(l) => format!("{} in {{{}}}", t.name, list(l.iter().map(expr))),
                TuneChoices::Set(s) => format!("{} in {}", t.name, set(s)),
            };
            *out += &format!("tune {}", list(entries.iter().map(entry)));
            if !constraints.is_empty() {
                *out += &format!(" where {}", list(constraints.iter().map(expr)));
            }
            out.push(';');
        }
        StmtKind::Grid { vars, when: w, body } => {
            *out += &format!("grid {}{}", list(vars.iter().map(over)), when(w));
            match body {
                Some(b) => {
                    out.push(' ');
                    block(out, b, depth);
                }
                None => out.push(';'),
            }
        }
        StmtKind::For { var, when: w, body } => {
            *out += &format!("for {}{} ", over(var), when(w));
            block(out, body, depth);
        }
        StmtKind::If { .. } => if_stmt(out, &s.kind, depth),
        StmtKind::Assign { place, value, when: w } => {
            *out += &format!("{} = {}{};", at(place, level::POST), expr(value), when(w));
        }
        StmtKind::Update { atomic, place, op, value, when: w } => {
            let atomic = if *atomic { "atomic " } else { "" };
            *out += &format!("{atomic}{} {} {}{};", at(place, level::POST), op.text(), expr(value), when(w));
        }
        StmtKind::Schedule(inner) => {
            out.truncate(out.len() - 4 * depth);
            schedule(out, inner, depth);
            return;
        }
        StmtKind::Error { body, .. } => {
            *out += "// text that did not parse";
            if let Some(b) = body {
                b.stmts.iter().for_each(|s| {
                    out.push('\n');
                    stmt(out, s, depth + 1);
                });
            }
        }
    }
    out.push('\n');
}

fn if_stmt(out: &mut String, kind: &StmtKind, depth: usize) {
    let StmtKind::If { cond, then, otherwise } = kind else { return };
    *out += &format!("if {} ", at(cond, level::OR));
    block(out, then, depth);
    let Some(b) = otherwise else { return };
    out.push_str(" else ");
    match &b.stmts[..] {
        [Stmt { kind: inner @ StmtKind::If { .. }, .. }] => if_stmt(out, inner, depth),
        _ => block(out, b, depth),
    }
}

fn schedule(out: &mut String, s: &Schedule, depth: usize) {
    let indent = "    ".repeat(depth);
    let kernel = clause("", s.kernel.as_ref(), |k| format!("{k} on "));
    *out += &format!("{indent}schedule {kernel}{}{} {{", s.target, when(&s.when));
    if s.items.is_empty() {
        *out += " }\n";
        return;
    }
    out.push('\n');
    for i in &s.items {
        *out += &format!("{indent}    {}{};\n", i.path, clause(" = ", i.value.as_ref(), expr));
    }
    *out += &format!("{indent}}}\n");
}

// ---------------------------------------------------------------------------------------------------------- expressions

/// An expression as it stands where any may.
pub fn expr(e: &Expr) -> String {
    at(e, level::EXPR)
}

fn binary_level(op: BinaryOp) -> u8 {
    use BinaryOp::*;
    match op {
        Or => level::OR,
        And => level::AND,
        Eq | Ne | Lt | Le | Gt | Ge => level::CMP,
        BitOr => level::BIT_OR,
        BitXor => level::BIT_XOR,
        BitAnd => level::BIT_AND,
        Shl | Shr => level::SHIFT,
        Add | Sub => level::SUM,
        Mul | Div | Rem | MatMul => level::PRODUCT,
    }
}

/// An expression in a place that takes those of level `least` and tighter.
fn at(e: &Expr, least: u8) -> String {
    use level::*;
    let (own, text) = match &e.kind {
        ExprKind::Number(n) => (POST, n.text.to_string()),
        ExprKind::Inf => (POST, "inf".into()),
        ExprKind::Bool(b) => (POST, b.to_string()),
        ExprKind::Name(n) => (POST, n.to_string()),
        ExprKind::Error => (POST, "_".into()),
        ExprKind::Unary { op, operand } => (UNARY, format!("{}{}", op.text(), at(operand, UNARY))),
        ExprKind::Binary { op, lhs, rhs } => {
            let own = binary_level(*op);
            // Comparisons do not chain; all others associate to the left.
            let left = if op.is_comparison() { own + 1 } else { own };
            (own, format!("{} {} {}", at(lhs, left), op.text(), at(rhs, own + 1)))
        }
        ExprKind::Cast { value, ty } => (CAST, format!("{} as {ty}", at(value, CAST))),
        ExprKind::Index { base, subscripts } => {
            let one = |s: &Subscript| match s {
                Subscript::All(_) => ":".into(),
                Subscript::Rest(_) => "..".into(),
                Subscript::Expr(e) => expr(e),
            };
            (POST, format!("{}[{}]", at(base, POST), list(subscripts.iter().map(one))))
        }
        ExprKind::Field { base, field } => (POST, format!("{}.{field}", at(base, POST))),
        ExprKind::Prime(base) => (POST, format!("{}'", at(base, POST))),
        ExprKind::Call { callee, args } => {
            (POST, format!("{}({})", at(callee, POST), list(args.iter().map(arg))))
        }
        ExprKind::Range { lo, hi, inclusive } => {
            let dots = if *inclusive { "..=" } else { ".." };
            (DOMAIN, format!("{}{dots}{}", at(lo, OR), at(hi, OR)))
        }
        ExprKind::By { domain, step } => (EXPR, format!("{} by {}", at(domain, DOMAIN), at(step, OR))),
        ExprKind::Tuple(items) => (POST, format!("({})", list(items.iter().map(expr)))),
        ExprKind::Atomic { place, op, value } => {
            (EXPR, format!("atomic {} {} {}", at(place, POST), op.text(), at(value, OR)))
        }
    };
    if own < least { format!("({text})") } else { text }
}

fn arg(a: &Arg) -> String {
    let over = clause(" over ", a.over.as_ref(), |o| {
        format!("{}{}", if o.grid { "grid " } else { "" }, at(&o.axes, level::POST))
    });
    format!("{}{over}", expr(&a.value))
}
