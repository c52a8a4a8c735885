//! T3 as text (`--emit warp`): structured loops, obligations beside synchronisation.

use super::ir::*;
use std::fmt::Write;

/// The kernel as text.
pub fn print(kernel: &Kernel) -> String {
    let mut p = Printer { kernel, out: String::new() };
    let params: Vec<String> =
        kernel.params.iter().map(|(name, ty)| format!("{name}: {}", param_type(*ty))).collect();
    let _ = writeln!(
        p.out,
        "warp {}({}) threads={} shared={}",
        kernel.entry,
        params.join(", "),
        kernel.threads,
        kernel.shared_bytes
    );
    p.stmts(1, &kernel.body);
    p.out
}

fn param_type(ty: ParamTy) -> &'static str {
    match ty {
        ParamTy::Pointer { .. } => "ptr",
        ParamTy::U32 => "u32",
        ParamTy::U64 => "u64",
        ParamTy::F32 => "f32",
        ParamTy::B16 => "b16",
        ParamTy::S32 => "s32",
        ParamTy::U8 => "u8",
        ParamTy::S8 => "s8",
        ParamTy::U16 => "u16",
        ParamTy::S16 => "s16",
    }
}

struct Printer<'a> {
    kernel: &'a Kernel,
    out: String,
}

impl Printer<'_> {
    fn stmts(&mut self, indent: usize, stmts: &[Stmt]) {
        for stmt in stmts {
            match stmt {
                Stmt::Comment(text) => self.line(indent, &format!("// {text}")),
                Stmt::Inst(inst) => {
                    let guard = match inst.guard {
                        Some((p, true)) => format!("@{} ", self.reg(p)),
                        Some((p, false)) => format!("@!{} ", self.reg(p)),
                        None => String::new(),
                    };
                    let text = guard + &self.op(&inst.op);
                    self.line(indent, &text);
                }
                Stmt::Loop(l) => {
                    let head = format!(
                        "loop {} while {} > {} by {}{} {{",
                        l.name,
                        self.reg(l.left),
                        l.until.map_or("0".into(), |r| self.reg(r).to_string()),
                        l.by,
                        if l.rolled { " rolled" } else { "" }
                    );
                    self.line(indent, &head);
                    for (u, copy) in l.copies.iter().enumerate() {
                        if u > 0 {
                            let until = l.until.map_or(String::new(), |r| format!("{} + ", self.reg(r)));
                            let leave =
                                format!("leave if {} <= {until}{}", self.reg(l.left), u as u32 * l.by);
                            self.line(indent + 1, &leave);
                        }
                        if l.copies.len() > 1 {
                            self.line(indent + 1, &format!("// slot {u}"));
                        }
                        self.stmts(indent + 1, copy);
                    }
                    self.line(indent + 1, "// next turn");
                    self.stmts(indent + 1, &l.advance);
                    self.line(indent, "}");
                }
                Stmt::If(i) => {
                    self.line(indent, &format!("if {} {{", self.reg(i.cond)));
                    self.stmts(indent + 1, &i.then_body);
                    if !i.else_body.is_empty() {
                        self.line(indent, "} else {");
                        self.stmts(indent + 1, &i.else_body);
                    }
                    self.line(indent, "}");
                }
            }
        }
    }

    fn line(&mut self, indent: usize, text: &str) {
        let _ = writeln!(self.out, "{:indent$}{text}", "", indent = indent * 2);
    }

    fn reg(&self, r: Reg) -> String {
        let stem = match self.kernel.classes[r.0 as usize] {
            Class::Pred => "p",
            Class::B8 | Class::B16 => "h",
            Class::B32 => "r",
            Class::B64 => "d",
            Class::F32 => "f",
        };
        format!("%{stem}{}", r.0)
    }

    fn src(&self, s: Src) -> String {
        match s {
            Src::Reg(r) => self.reg(r),
            Src::Int(i) => i.to_string(),
            Src::F32(f) => format!("{f:?}"),
        }
    }

    fn regs(&self, regs: &[Reg]) -> String {
        match regs {
            [one] => self.reg(*one),
            many => format!("{{{}}}", many.iter().map(|r| self.reg(*r)).collect::<Vec<_>>().join(", ")),
        }
    }

    fn address(&self, a: Address) -> String {
        if a.offset == 0 {
            format!("[{}]", self.reg(a.base))
        } else {
            format!("[{} + {}]", self.reg(a.base), a.offset)
        }
    }

    fn op(&self, op: &Op) -> String {
        let r = |x: &Reg| self.reg(*x);
        let s = |x: &Src| self.src(*x);
        let sign = |signed: bool| if signed { "s" } else { "u" };
        match op {
            Op::Join32 { d, lo, hi } => format!("{} = {{{}, {}}}", r(d), r(lo), r(hi)),
            Op::Split32 { lo, hi, a } => format!("{{{}, {}}} = {}", r(lo), r(hi), r(a)),
            Op::Count { op, d, a } => {
                let name = if *op == Count::SetBits { "popc" } else { "clz" };
                format!("{} = {name} {}", r(d), r(a))
            }
            Op::Permute { d, a, b, select } => {
                let select = match select {
                    Src::Int(n) => format!("{n:#06x}"),
                    other => s(other),
                };
                format!("{} = permute {}, {}, {select}", r(d), s(a), s(b))
            }
            Op::Lop3 { d, a, b, c, table } => {
                format!("{} = lop3 {}, {}, {}, {table:#04x}", r(d), s(a), s(b), s(c))
            }
            Op::Halves { op, half, d, a, b } => {
                format!("{} = {}.{}x2 {}, {}", r(d), lower(op), lower(half), r(a), r(b))
            }
            Op::FmaHalves { half, d, a, b, c } => {
                format!("{} = fma.{}x2 {}, {}, {}", r(d), lower(half), r(a), r(b), r(c))
            }
            Op::NegHalves { half, d, a } => format!("{} = neg.{}x2 {}", r(d), lower(half), r(a)),
            Op::Special { d, from } => {
                format!("{} = {}", r(d), from.name())
            }
            Op::Param { d, index } => format!("{} = param {}", r(d), self.kernel.params[*index].0),
            Op::Table { d, index } => format!("{} = table {}", r(d), self.kernel.tables[*index].name),
            Op::SharedBase { d } => format!("{} = shared", r(d)),
            Op::Mov { d, a } => format!("{} = {}", r(d), s(a)),
            Op::Int { op, ty, d, a, b } => {
                format!("{} = {}.{} {}, {}", r(d), lower(op), lower(ty), s(a), s(b))
            }
            Op::Mad { ty, d, a, b, c } => {
                format!("{} = mad.{} {}, {}, {}", r(d), lower(ty), s(a), s(b), s(c))
            }
            Op::MadWide { signed, d, a, b, c } => {
                format!("{} = mad.wide.{}32 {}, {}, {}", r(d), sign(*signed), s(a), s(b), s(c))
            }
            Op::Widen { signed, d, a } => format!("{} = widen.{}32 {}", r(d), sign(*signed), r(a)),
            Op::Narrow { d, a } => format!("{} = narrow {}", r(d), r(a)),
            Op::SetInt { cmp, ty, d, a, b } => {
                format!("{} = set.{}.{} {}, {}", r(d), lower(cmp), lower(ty), s(a), s(b))
            }
            Op::SetIntOr { cmp, ty, d, a, b, or } => {
                format!("{} = {} | set.{}.{} {}, {}", r(d), r(or), lower(cmp), lower(ty), s(a), s(b))
            }
            Op::SetFloat { cmp, d, a, b } => format!("{} = set.{}.f32 {}, {}", r(d), lower(cmp), s(a), s(b)),
            Op::PredAnd { d, a, b } => format!("{} = {} & {}", r(d), r(a), r(b)),
            Op::PredOr { d, a, b } => format!("{} = {} | {}", r(d), r(a), r(b)),
            Op::PredXor { d, a, b } => format!("{} = {} ^ {}", r(d), r(a), r(b)),
            Op::PredNot { d, a } => format!("{} = !{}", r(d), r(a)),
            Op::Select { d, a, b, p } => format!("{} = {} ? {} : {}", r(d), r(p), s(a), s(b)),
            Op::Float { op, d, a, b } => format!("{} = {}.f32 {}, {}", r(d), lower(op), s(a), s(b)),
            Op::FloatFn { op, d, a } => format!("{} = {}.f32 {}", r(d), lower(op), s(a)),
            Op::Fma { d, a, b, c } => format!("{} = fma.f32 {}, {}, {}", r(d), s(a), s(b), s(c)),
            Op::IntToFloat { signed, d, a } => format!("{} = f32 of {}32 {}", r(d), sign(*signed), r(a)),
            Op::FloatToInt { signed, d, a } => format!("{} = {}32 of f32 {}", r(d), sign(*signed), r(a)),
            Op::PackHalf { to, d, lo, hi } => format!("{} = pack.{} {}, {}", r(d), lower(to), s(lo), s(hi)),
            Op::ToHalf { to, d, a } => format!("{} = {} of f32 {}", r(d), lower(to), s(a)),
            Op::FromHalf { from, d, a } => format!("{} = f32 of {} {}", r(d), lower(from), r(a)),
            Op::Join16 { d, lo, hi } => format!("{} = join {}, {}", r(d), r(lo), r(hi)),
            Op::Split16 { lo, hi, a } => format!("{}, {} = split {}", r(lo), r(hi), r(a)),
            Op::Policy { d, evict } => format!("{} = policy evict {}", self.reg(*d), evict.name()),
            Op::LoadGlobal { d, from } => format!("{} = ld.global {}", self.regs(d), self.address(*from)),
            Op::StoreGlobal { a, to } => format!("st.global {} <- {}", self.address(*to), self.regs(a)),
            Op::LoadShared { d, from, bytes } => {
                format!("{} = ld.shared.u{} {}", r(d), 8 * bytes, self.address(*from))
            }
            Op::LoadSharedWords { d, from } => {
                let d: Vec<String> = d.iter().map(&r).collect();
                format!("{} = ld.shared.u32 {}", d.join(", "), self.address(*from))
            }
            Op::RoundTf32 { d, a } => format!("{} = tf32 of f32 {}", r(d), r(a)),
            Op::DrawGlobal { d, at, last } => {
                format!("{} = draw.global {} up to {}", r(d), self.address(*at), r(last))
            }
            Op::CountGlobal { d, at } => format!("{} = count.global {}", r(d), self.address(*at)),
            Op::FenceGpu => "fence.gpu".into(),
            Op::MeetAny { d, a } => format!("{} = meet.any {}", r(d), r(a)),
            Op::Exit => "exit".into(),
            Op::RedGlobal { op, ty, a, to, old } => {
                let old = old.map_or(String::new(), |d| format!("{} = ", self.reg(d)));
                format!("{old}red.{}.{} {} <- {}", lower(op), lower(ty), self.address(*to), r(a))
            }
            Op::ShuffleUp { d, a, by } => format!("{} = shuffle.up {}, {by}", r(d), r(a)),
            Op::ShuffleFrom { d, a, lane } => format!("{} = shuffle.from {}, {}", r(d), r(a), s(lane)),
            Op::ShuffleWithin { d, a, lane, of } => {
                format!("{} = shuffle.from {}, {lane} of {of}", r(d), r(a))
            }
            Op::Ballot { d, a } => format!("{} = ballot {}", r(d), r(a)),
            Op::HighestBit { d, a } => format!("{} = highest.bit {}", r(d), r(a)),
            Op::ShuffleXor { d, a, mask } => format!("{} = shuffle.xor {}, {mask}", r(d), r(a)),
            Op::StoreShared { a, to } => format!("st.shared {} <- {}", self.address(*to), self.regs(a)),
            Op::CpAsync { to, from, bytes, ignore } => {
                let ignore = ignore.map_or(String::new(), |p| format!(" zero if {}", r(&p)));
                format!("cp.async.{bytes} {} <- {}{ignore}", self.address(*to), self.address(*from))
            }
            Op::CpAsyncCommit => "cp.async.commit".into(),
            Op::Ldmatrix { d, from, trans } => {
                let trans = if *trans { ".trans" } else { "" };
                format!("{} = ldmatrix.x{}{trans} {}", self.regs(d), d.len(), self.address(*from))
            }
            Op::Mma { atom, c, a, b } => {
                format!("{} += mma.{} {}, {}", self.regs(c), atom.name(), self.regs(a), self.regs(b))
            }
            Op::Sync { op, obligations } => {
                let ids: Vec<String> = obligations.iter().map(|o| format!("o{o}")).collect();
                format!("{op}  // {}", ids.join(" "))
            }
        }
    }
}

/// The variant's name in lower case, which is how dumps spell it.
fn lower(x: &impl std::fmt::Debug) -> String {
    format!("{x:?}").to_ascii_lowercase()
}
