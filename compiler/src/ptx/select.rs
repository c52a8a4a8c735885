//! T3 to T4: one PTX instruction per op, control flow flattened, synchronisation spelled.
//!
//! Registers are numbered per class in order of first use, labels after the loop they belong to. `.version` is the lowest that has
//! everything used.

use super::op::*;
use super::{
    Address, Base, Entry, FileEntry, Guard, Imm, Inst, Label, LabelId, Loc, Module, Operand, Param, ParamId,
    Pointee, PredUse, Reg, RegId, Space, SpecialReg, Stem, StemId, Stmt, Symbol, Target, Type, VarId,
    Variable,
};
use crate::diagnostics::{SourceMap, Span};
use crate::scheduled::ir::{Evict, MmaType};
use crate::sync::{SyncOp, model::Class as SyncClass};
use crate::warp::ir as t3;

/// Alignment of the block's dynamic shared memory.
const SHARED_ALIGN: u32 = 1024;
const SHARED_NAME: &str = "tw_shared";

/// One module with an entry per variant.
pub fn select(kernels: &[&t3::Kernel], target: crate::target::Target, sources: &SourceMap) -> Module {
    let target = Target::parse(target.name()).unwrap_or(Target::SM_80);
    let mut module = Module::new(target);
    module.globals.push(Variable::dynamic_shared(SHARED_NAME, SHARED_ALIGN));
    let mut lines = Lines { sources, files: Vec::new() };
    for kernel in kernels {
        let mut s = Select::new(kernel, &mut lines);
        s.params();
        s.stmts(&kernel.body);
        s.push(Ret { uniform: false });
        module.entries.push(s.entry);
    }
    module.files = lines.files;
    module.lower_version();
    module
}

/// Source places for `.loc`.
struct Lines<'a> {
    sources: &'a SourceMap,
    files: Vec<FileEntry>,
}

impl Lines<'_> {
    fn loc(&mut self, span: Span) -> Option<Loc> {
        if span == Span::default() {
            return None;
        }
        let at = self.sources.location(span);
        let path = at.file;
        let number = match self.files.iter().find(|f| &*f.path == path) {
            Some(f) => f.number,
            None => {
                let number = self.files.len() as u32 + 1;
                self.files.push(FileEntry { number, path: path.into() });
                number
            }
        };
        Some(Loc { file: number, line: at.line as u32, column: at.column as u32 })
    }
}

struct Select<'a, 'b> {
    kernel: &'a t3::Kernel,
    lines: &'b mut Lines<'a>,
    entry: Entry,
    regs: Vec<Option<RegId>>,
    next: [u32; 5],
    guard: Option<Guard>,
    /// The L2 policy of the access being selected.
    policy: Option<RegId>,
    loc: Option<Loc>,
    span: Span,
}

fn class_index(class: t3::Class) -> usize {
    match class {
        t3::Class::Pred => 0,
        t3::Class::B8 | t3::Class::B16 => 1,
        t3::Class::B32 => 2,
        t3::Class::B64 => 3,
        t3::Class::F32 => 4,
    }
}

const STEMS: [(&str, Type); 5] =
    [("%p", Type::Pred), ("%h", Type::B16), ("%r", Type::B32), ("%rd", Type::B64), ("%f", Type::F32)];

impl<'a, 'b> Select<'a, 'b> {
    fn new(kernel: &'a t3::Kernel, lines: &'b mut Lines<'a>) -> Select<'a, 'b> {
        let mut entry = Entry::new(&kernel.entry);
        entry.launch.maxntid = Some([kernel.threads, 1, 1]);
        entry.launch.minnctapersm = kernel.min_blocks;
        entry.stems = STEMS.iter().map(|(text, _)| Stem { text: (*text).into() }).collect();
        Select {
            kernel,
            lines,
            entry,
            regs: vec![None; kernel.classes.len()],
            next: [1; 5],
            guard: None,
            policy: None,
            loc: None,
            span: Span::default(),
        }
    }

    fn params(&mut self) {
        for (name, ty) in &self.kernel.params {
            let ty_ = match ty {
                t3::ParamTy::Pointer { .. } | t3::ParamTy::U64 => Type::U64,
                t3::ParamTy::U32 => Type::U32,
                t3::ParamTy::S32 => Type::S32,
                t3::ParamTy::F32 => Type::F32,
                t3::ParamTy::B16 => Type::B16,
                t3::ParamTy::U8 => Type::U8,
                t3::ParamTy::S8 => Type::S8,
                t3::ParamTy::U16 => Type::U16,
                t3::ParamTy::S16 => Type::S16,
            };
            let mut param = Param::scalar(&format!("{}_{name}", self.kernel.entry), ty_);
            if let t3::ParamTy::Pointer { align } = *ty {
                param.pointee = Some(Pointee { space: Space::Global, align });
            }
            self.entry.params.push(param);
        }
    }

    fn fresh(&mut self, class: t3::Class) -> RegId {
        let i = class_index(class);
        let number = self.next[i];
        self.next[i] += 1;
        self.entry.regs.push(Reg { ty: STEMS[i].1, stem: StemId(i as u32), number: Some(number) });
        RegId(self.entry.regs.len() as u32 - 1)
    }

    fn reg(&mut self, r: t3::Reg) -> RegId {
        let i = r.0 as usize;
        match self.regs[i] {
            Some(id) => id,
            None => {
                let id = self.fresh(self.kernel.classes[i]);
                self.regs[i] = Some(id);
                id
            }
        }
    }

    fn regs(&mut self, regs: &[t3::Reg]) -> Box<[RegId]> {
        regs.iter().map(|r| self.reg(*r)).collect()
    }

    fn operands(&mut self, regs: &[t3::Reg]) -> Box<[Operand]> {
        regs.iter().map(|r| Operand::Reg(self.reg(*r))).collect()
    }

    fn src(&mut self, s: t3::Src) -> Operand {
        match s {
            t3::Src::Reg(r) => Operand::Reg(self.reg(r)),
            t3::Src::Int(i) => Operand::Imm(Imm::Int(i)),
            t3::Src::F32(f) => Operand::f32(f),
        }
    }

    fn address(&mut self, a: t3::Address) -> Address {
        Address::reg(self.reg(a.base), a.offset.into())
    }

    fn push(&mut self, op: impl Into<Op>) {
        self.entry.body.push(Stmt::Inst(Inst {
            guard: self.guard,
            op: op.into(),
            ptx_line: 0,
            loc: self.loc,
            comment: None,
        }));
    }

    /// A label of its own: the second of a name gets a number.
    fn label(&mut self, name: String) -> LabelId {
        let taken = |name: &str| self.entry.labels.iter().any(|l| &*l.name == name);
        let name = (1..)
            .map(|n| if n == 1 { name.clone() } else { format!("{name}_{n}") })
            .find(|n| !taken(n))
            .unwrap_or(name);
        self.entry.labels.push(Label { name: name.into() });
        LabelId(self.entry.labels.len() as u32 - 1)
    }

    fn stmts(&mut self, stmts: &[t3::Stmt]) {
        for stmt in stmts {
            match stmt {
                t3::Stmt::Comment(text) => self.entry.body.push(Stmt::Comment(text.as_str().into())),
                t3::Stmt::Inst(inst) => self.inst(inst),
                t3::Stmt::Loop(l) => self.emit_loop(l),
                t3::Stmt::If(i) => self.emit_if(i),
            }
        }
    }

    fn emit_if(&mut self, i: &t3::If) {
        let (otherwise, done) = (self.label("else".into()), self.label("end_if".into()));
        let cond = self.reg(i.cond);
        let skip = if i.else_body.is_empty() { done } else { otherwise };
        self.guard = Some(Guard { reg: cond, negated: true });
        self.push(Bra { uniform: false, target: skip });
        self.guard = None;
        self.stmts(&i.then_body);
        if !i.else_body.is_empty() {
            self.push(Bra { uniform: false, target: done });
            self.entry.body.push(Stmt::Label(otherwise));
            self.stmts(&i.else_body);
        }
        self.entry.body.push(Stmt::Label(done));
    }

    fn emit_loop(&mut self, l: &t3::Loop) {
        let (top, done) = (self.label(format!("loop_{}", l.name)), self.label(format!("done_{}", l.name)));
        self.leave(l, 0, done);
        self.entry.body.push(Stmt::Label(top));
        if l.rolled {
            self.entry.body.push(Stmt::Pragma("nounroll".into()));
        }
        for (u, copy) in l.copies.iter().enumerate() {
            if u > 0 {
                self.leave(l, u as i64 * i64::from(l.by), done);
            }
            if l.copies.len() > 1 {
                self.entry.body.push(Stmt::Comment(format!("{}: slot {u}", l.name).into()));
            }
            self.stmts(copy);
        }
        self.entry.body.push(Stmt::Comment(format!("{}: next turn", l.name).into()));
        self.stmts(&l.advance);
        let p = self.fresh(t3::Class::Pred);
        let left = self.reg(l.left);
        self.push(Setp::new(super::CmpOp::Gt, Type::S32, p, left, 0));
        self.branch(p, top);
        self.entry.body.push(Stmt::Label(done));
    }

    /// Leaves the loop where at most `done` coordinates were left when the turn began.
    fn leave(&mut self, l: &t3::Loop, done: i64, to: LabelId) {
        let p = self.fresh(t3::Class::Pred);
        let left = self.reg(l.left);
        self.push(Setp::new(super::CmpOp::Le, Type::S32, p, left, Operand::Imm(Imm::Int(done))));
        self.branch(p, to);
    }

    fn branch(&mut self, p: RegId, target: LabelId) {
        self.guard = Some(Guard { reg: p, negated: false });
        self.push(Bra { uniform: false, target });
        self.guard = None;
    }

    fn inst(&mut self, inst: &t3::Inst) {
        if inst.span != self.span {
            self.span = inst.span;
            self.loc = self.lines.loc(inst.span);
        }
        self.guard = inst.guard.map(|(p, holds)| Guard { reg: self.reg(p), negated: !holds });
        self.policy = inst.policy.map(|p| self.reg(p));
        self.op(&inst.op);
        self.guard = None;
        self.policy = None;
    }

    fn op(&mut self, op: &t3::Op) {
        match op {
            t3::Op::Special { .. }
            | t3::Op::Param { .. }
            | t3::Op::SharedBase { .. }
            | t3::Op::Mov { .. }
            | t3::Op::Widen { .. }
            | t3::Op::Narrow { .. }
            | t3::Op::Select { .. }
            | t3::Op::Join16 { .. }
            | t3::Op::Split16 { .. }
            | t3::Op::Join32 { .. }
            | t3::Op::Split32 { .. }
            | t3::Op::Count { .. }
            | t3::Op::Permute { .. } => self.data(op),
            t3::Op::Int { .. }
            | t3::Op::Mad { .. }
            | t3::Op::MadWide { .. }
            | t3::Op::SetInt { .. }
            | t3::Op::SetIntOr { .. }
            | t3::Op::PredAnd { .. }
            | t3::Op::PredOr { .. }
            | t3::Op::PredXor { .. }
            | t3::Op::PredNot { .. } => self.integer(op),
            t3::Op::SetFloat { .. }
            | t3::Op::Float { .. }
            | t3::Op::FloatFn { .. }
            | t3::Op::Fma { .. }
            | t3::Op::IntToFloat { .. }
            | t3::Op::FloatToInt { .. }
            | t3::Op::PackHalf { .. }
            | t3::Op::ToHalf { .. }
            | t3::Op::FromHalf { .. }
            | t3::Op::RoundTf32 { .. } => self.float(op),
            t3::Op::Policy { .. }
            | t3::Op::LoadGlobal { .. }
            | t3::Op::StoreGlobal { .. }
            | t3::Op::StoreShared { .. }
            | t3::Op::LoadShared { .. }
            | t3::Op::RedGlobal { .. }
            | t3::Op::CountGlobal { .. }
            | t3::Op::ShuffleXor { .. }
            | t3::Op::ShuffleUp { .. }
            | t3::Op::ShuffleFrom { .. }
            | t3::Op::Ballot { .. }
            | t3::Op::HighestBit { .. }
            | t3::Op::CpAsync { .. }
            | t3::Op::CpAsyncCommit
            | t3::Op::Ldmatrix { .. }
            | t3::Op::Mma { .. } => self.memory(op),
            t3::Op::Sync { op, .. } => self.sync(*op),
            t3::Op::FenceGpu => self.push(Fence::Thread(FenceSem::AcqRel, super::Scope::Gpu)),
            t3::Op::MeetAny { d, a } => {
                let (dst, src) = (self.reg(*d), self.reg(*a));
                let src = PredUse { reg: src, negated: false };
                let op = BarOp::Reduce { op: super::BoolOp::Or, dst, src };
                self.push(Bar { op, aligned: true, id: Operand::Imm(Imm::Int(0)), threads: None });
            }
            // Nobody stays behind: whole blocks leave, so what follows may count on all threads.
            t3::Op::Exit => self.push(Ret { uniform: false }),
        }
    }

    fn data(&mut self, op: &t3::Op) {
        match op {
            t3::Op::Special { d, from } => {
                let from = match from {
                    t3::Special::TidX => SpecialReg::TidX,
                    t3::Special::CtaidX => SpecialReg::CtaidX,
                };
                let dst = self.reg(*d);
                self.push(Mov { ty: Type::U32, dst, src: Operand::Special(from) });
            }
            t3::Op::Param { d, index } => {
                let dst = self.reg(*d);
                let symbol = Symbol::Param(ParamId(*index as u32));
                let (_, ty) = self.kernel.params[*index];
                let ptx_ty = self.entry.params[*index].ty;
                let addr = Address { base: Base::Sym(symbol), offset: 0 };
                self.push(Ld::new(Space::Param, ptx_ty, [dst], addr));
                if let t3::ParamTy::Pointer { .. } = ty {
                    self.push(Cvta { to: true, space: Space::Global, ty: Type::U64, dst, src: dst.into() });
                }
            }
            t3::Op::SharedBase { d } => {
                let dst = self.reg(*d);
                self.push(Mov { ty: Type::U32, dst, src: Operand::Sym(Symbol::Global(VarId(0)), 0) });
            }
            t3::Op::Mov { d, a } => {
                let ty = match self.kernel.classes[d.0 as usize] {
                    t3::Class::Pred => Type::Pred,
                    t3::Class::B8 | t3::Class::B16 => Type::B16,
                    t3::Class::B32 => Type::B32,
                    t3::Class::B64 => Type::B64,
                    t3::Class::F32 => Type::F32,
                };
                let (dst, src) = (self.reg(*d), self.src(*a));
                self.push(Mov { ty, dst, src });
            }
            t3::Op::Widen { signed, d, a } => {
                let (dst, src) = (self.reg(*d), self.reg(*a));
                let (to, from) = if *signed { (Type::S64, Type::S32) } else { (Type::U64, Type::U32) };
                self.push(Cvt::new(None, to, from, dst, src));
            }
            t3::Op::Narrow { d, a } => {
                let (dst, src) = (self.reg(*d), self.reg(*a));
                self.push(Cvt::new(None, Type::U32, Type::U64, dst, src));
            }
            t3::Op::Select { d, a, b, p } => {
                let ty = match self.kernel.classes[d.0 as usize] {
                    t3::Class::F32 => Type::F32,
                    t3::Class::B64 => Type::B64,
                    t3::Class::B8 | t3::Class::B16 => Type::B16,
                    t3::Class::B32 | t3::Class::Pred => Type::B32,
                };
                let (dst, a, b, p) = (self.reg(*d), self.src(*a), self.src(*b), self.reg(*p));
                self.push(Selp { ty, dst, a, b, p: p.into() });
            }
            t3::Op::Join16 { d, lo, hi } => {
                let (dst, srcs) = (self.reg(*d), self.operands(&[*lo, *hi]));
                self.push(Pack { ty: Type::B32, dst, srcs });
            }
            t3::Op::Split16 { lo, hi, a } => {
                let dsts = [self.reg(*lo).into(), self.reg(*hi).into()].into();
                let src = self.reg(*a).into();
                self.push(Unpack { ty: Type::B32, dsts, src });
            }
            t3::Op::Join32 { d, lo, hi } => {
                let (dst, srcs) = (self.reg(*d), self.operands(&[*lo, *hi]));
                self.push(Pack { ty: Type::B64, dst, srcs });
            }
            t3::Op::Split32 { lo, hi, a } => {
                let dsts = [self.reg(*lo).into(), self.reg(*hi).into()].into();
                let src = self.reg(*a).into();
                self.push(Unpack { ty: Type::B64, dsts, src });
            }
            t3::Op::Count { op, d, a } => {
                let op = match op {
                    t3::Count::SetBits => IntUnaryOp::Popc,
                    t3::Count::LeadingZeros => IntUnaryOp::Clz,
                };
                let wide = self.kernel.classes[a.0 as usize] == t3::Class::B64;
                let ty = if wide { Type::B64 } else { Type::B32 };
                let (dst, a) = (self.reg(*d), self.reg(*a).into());
                self.push(IntUnary { op, ty, dst, a });
            }
            t3::Op::Permute { d, a, b, select } => {
                let (dst, a, b) = (self.reg(*d), self.src(*a), self.src(*b));
                let c = Operand::Imm(Imm::Int(i64::from(*select)));
                self.push(Prmt { mode: PrmtMode::Default, dst, a, b, c });
            }
            _ => unreachable!("not a data op"),
        }
    }

    fn integer(&mut self, op: &t3::Op) {
        match op {
            t3::Op::Int { op, ty, d, a, b } => {
                let (dst, a, b) = (self.reg(*d), self.src(*a), self.src(*b));
                let bits = if ty.class() == t3::Class::B64 { Type::B64 } else { Type::B32 };
                let ty = int_type(*ty);
                let binary = match op {
                    t3::IntOp::Add => IntBinaryOp::Add,
                    t3::IntOp::Sub => IntBinaryOp::Sub,
                    t3::IntOp::MulLo => IntBinaryOp::MulLo,
                    t3::IntOp::Div => IntBinaryOp::Div,
                    t3::IntOp::Rem => IntBinaryOp::Rem,
                    t3::IntOp::Min => IntBinaryOp::Min,
                    t3::IntOp::Max => IntBinaryOp::Max,
                    t3::IntOp::And => {
                        return self.push(Logic { op: super::BoolOp::And, ty: bits, dst, a, b });
                    }
                    t3::IntOp::Or => return self.push(Logic { op: super::BoolOp::Or, ty: bits, dst, a, b }),
                    t3::IntOp::Xor => {
                        return self.push(Logic { op: super::BoolOp::Xor, ty: bits, dst, a, b });
                    }
                    t3::IntOp::Shl => return self.push(Shift { op: ShiftOp::Shl, ty: bits, dst, a, b }),
                    t3::IntOp::Shr => return self.push(Shift { op: ShiftOp::Shr, ty, dst, a, b }),
                };
                self.push(IntBinary::new(binary, ty, dst, a, b));
            }
            t3::Op::Mad { ty, d, a, b, c } => {
                let (dst, a, b, c) = (self.reg(*d), self.src(*a), self.src(*b), self.src(*c));
                self.push(IntMad {
                    mode: super::MulMode::Lo,
                    m24: false,
                    sat: false,
                    ty: int_type(*ty),
                    dst,
                    a,
                    b,
                    c,
                });
            }
            t3::Op::MadWide { signed, d, a, b, c } => {
                let (dst, a, b, c) = (self.reg(*d), self.src(*a), self.src(*b), self.src(*c));
                let ty = if *signed { Type::S32 } else { Type::U32 };
                self.push(IntMad { mode: super::MulMode::Wide, m24: false, sat: false, ty, dst, a, b, c });
            }
            t3::Op::SetInt { cmp, ty, d, a, b } => {
                let (dst, a, b) = (self.reg(*d), self.src(*a), self.src(*b));
                self.push(Setp::new(cmp_op(*cmp), int_type(*ty), dst, a, b));
            }
            t3::Op::SetIntOr { cmp, ty, d, a, b, or } => {
                let (dst, a, b, or) = (self.reg(*d), self.src(*a), self.src(*b), self.reg(*or));
                let combine = Some((super::BoolOp::Or, or.into()));
                self.push(Setp { combine, ..Setp::new(cmp_op(*cmp), int_type(*ty), dst, a, b) });
            }
            t3::Op::PredAnd { d, a, b } => self.pred(super::BoolOp::And, *d, *a, *b),
            t3::Op::PredOr { d, a, b } => self.pred(super::BoolOp::Or, *d, *a, *b),
            t3::Op::PredXor { d, a, b } => self.pred(super::BoolOp::Xor, *d, *a, *b),
            t3::Op::PredNot { d, a } => {
                let (dst, a) = (self.reg(*d), self.reg(*a).into());
                self.push(IntUnary { op: IntUnaryOp::Not, ty: Type::Pred, dst, a });
            }
            _ => unreachable!("not an integer op"),
        }
    }

    fn pred(&mut self, op: super::BoolOp, d: t3::Reg, a: t3::Reg, b: t3::Reg) {
        let (dst, a, b) = (self.reg(d), self.reg(a).into(), self.reg(b).into());
        self.push(Logic { op, ty: Type::Pred, dst, a, b });
    }

    fn float(&mut self, op: &t3::Op) {
        use super::Rounding;
        match op {
            t3::Op::SetFloat { cmp, d, a, b } => {
                let (dst, a, b) = (self.reg(*d), self.src(*a), self.src(*b));
                // `!=` is true on NaN, every other comparison false.
                let cmp = if *cmp == t3::Cmp::Ne { super::CmpOp::Neu } else { cmp_op(*cmp) };
                self.push(Setp::new(cmp, Type::F32, dst, a, b));
            }
            t3::Op::Float { op, d, a, b } => {
                let (dst, a, b) = (self.reg(*d), self.src(*a), self.src(*b));
                let (op, rnd) = match op {
                    t3::FloatOp::AddExactly => (FloatBinaryOp::Add, Some(Rounding::Rn)),
                    t3::FloatOp::SubExactly => (FloatBinaryOp::Sub, Some(Rounding::Rn)),
                    t3::FloatOp::MulExactly => (FloatBinaryOp::Mul, Some(Rounding::Rn)),
                    t3::FloatOp::Add => (FloatBinaryOp::Add, None),
                    t3::FloatOp::Sub => (FloatBinaryOp::Sub, None),
                    t3::FloatOp::Mul => (FloatBinaryOp::Mul, None),
                    t3::FloatOp::Min => (FloatBinaryOp::Min, None),
                    t3::FloatOp::Max => (FloatBinaryOp::Max, None),
                    t3::FloatOp::Div => (FloatBinaryOp::Div, Some(Rounding::Rn)),
                };
                self.push(FloatBinary { rnd, ..FloatBinary::new(op, Type::F32, dst, a, b) });
            }
            t3::Op::FloatFn { op, d, a } => {
                let (dst, a) = (self.reg(*d), self.src(*a));
                let (op, rnd) = match op {
                    t3::FloatFn::Neg => (FloatUnaryOp::Neg, None),
                    t3::FloatFn::Abs => (FloatUnaryOp::Abs, None),
                    t3::FloatFn::Ex2 => (FloatUnaryOp::Ex2, Some(Rounding::Approx)),
                    t3::FloatFn::Lg2 => (FloatUnaryOp::Lg2, Some(Rounding::Approx)),
                    t3::FloatFn::Sqrt => (FloatUnaryOp::Sqrt, Some(Rounding::Rn)),
                    t3::FloatFn::Rsqrt => (FloatUnaryOp::Rsqrt, Some(Rounding::Approx)),
                    t3::FloatFn::Tanh => (FloatUnaryOp::Tanh, Some(Rounding::Approx)),
                    t3::FloatFn::Sin => (FloatUnaryOp::Sin, Some(Rounding::Approx)),
                    t3::FloatFn::Cos => (FloatUnaryOp::Cos, Some(Rounding::Approx)),
                    t3::FloatFn::Floor => {
                        return self.push(Cvt::new(Some(Rounding::Rmi), Type::F32, Type::F32, dst, a));
                    }
                    t3::FloatFn::Ceil => {
                        return self.push(Cvt::new(Some(Rounding::Rpi), Type::F32, Type::F32, dst, a));
                    }
                    t3::FloatFn::Round => {
                        return self.push(Cvt::new(Some(Rounding::Rni), Type::F32, Type::F32, dst, a));
                    }
                    t3::FloatFn::Trunc => {
                        return self.push(Cvt::new(Some(Rounding::Rzi), Type::F32, Type::F32, dst, a));
                    }
                };
                self.push(FloatUnary { op, rnd, ftz: false, ty: Type::F32, dst, a });
            }
            t3::Op::Fma { d, a, b, c } => {
                let (dst, a, b, c) = (self.reg(*d), self.src(*a), self.src(*b), self.src(*c));
                self.push(Fma::new(Type::F32, dst, a, b, c));
            }
            t3::Op::IntToFloat { signed, d, a } => {
                let from = self.integer_type(*a, *signed);
                let (dst, a) = (self.reg(*d), self.reg(*a));
                self.push(Cvt::new(Some(Rounding::Rn), Type::F32, from, dst, a));
            }
            t3::Op::FloatToInt { signed, d, a } => {
                let to = self.integer_type(*d, *signed);
                let (dst, a) = (self.reg(*d), self.reg(*a));
                self.push(Cvt::new(Some(Rounding::Rni), to, Type::F32, dst, a));
            }
            t3::Op::PackHalf { to, d, lo, hi } => {
                let (dst, lo, hi) = (self.reg(*d), self.src(*lo), self.src(*hi));
                let dty = if *to == t3::Half::F16 { Type::F16x2 } else { Type::Bf16x2 };
                let rnd = Rounding::Rn;
                self.push(CvtPack { rnd, relu: false, satfinite: false, dty, sty: Type::F32, dst, hi, lo });
            }
            t3::Op::ToHalf { to, d, a } => {
                let (dst, a) = (self.reg(*d), self.src(*a));
                self.push(Cvt::new(Some(Rounding::Rn), half_type(*to), Type::F32, dst, a));
            }
            t3::Op::FromHalf { from: t3::Half::F16, d, a } => {
                let (dst, a) = (self.reg(*d), self.reg(*a));
                self.push(Cvt::new(None, Type::F32, Type::F16, dst, a));
            }
            t3::Op::FromHalf { from: t3::Half::Bf16, d, a } => {
                // A bf16 is the upper half of the f32 of the same value; `cvt.f32.bf16` is for sm_90 and later.
                let (dst, a) = (self.reg(*d), self.reg(*a));
                self.push(Pack { ty: Type::B32, dst, srcs: [Operand::Imm(Imm::Int(0)), a.into()].into() });
            }
            t3::Op::RoundTf32 { d, a } => {
                let (dst, a) = (self.reg(*d), self.reg(*a));
                self.push(Cvt::new(Some(Rounding::Rna), Type::Tf32, Type::F32, dst, a));
            }
            _ => unreachable!("not a floating-point op"),
        }
    }

    /// The integer type of a register's width.
    fn integer_type(&self, r: t3::Reg, signed: bool) -> Type {
        match (self.kernel.classes[r.0 as usize], signed) {
            (t3::Class::B64, true) => Type::S64,
            (t3::Class::B64, false) => Type::U64,
            (_, true) => Type::S32,
            (_, false) => Type::U32,
        }
    }

    fn memory(&mut self, op: &t3::Op) {
        match op {
            t3::Op::LoadGlobal { d, from } => {
                let ty = self.element_type(d);
                let (dst, addr) = (self.regs(d), self.address(*from));
                let policy = self.policy;
                self.push(Ld { policy, ..Ld::new(Space::Global, ty, dst.iter().copied(), addr) });
            }
            t3::Op::Policy { d, evict } => {
                let primary = Some(match evict {
                    Evict::First => Priority::EvictFirst,
                    Evict::Normal => Priority::EvictNormal,
                    Evict::Last => Priority::EvictLast,
                });
                let (kind, dst) = (PolicyKind::Fractional(Some(Operand::f32(1.0))), self.reg(*d));
                self.push(CreatePolicy { kind, primary, secondary: None, dst });
            }
            t3::Op::StoreGlobal { a, to } => self.store(Space::Global, a, *to),
            t3::Op::LoadShared { d, from, bytes } => {
                let ty = match bytes {
                    1 => Type::U8,
                    2 => Type::U16,
                    8 => Type::B64,
                    _ if self.kernel.classes[d.0 as usize] == t3::Class::F32 => Type::F32,
                    _ => Type::U32,
                };
                let (dst, addr) = (self.reg(*d), self.address(*from));
                self.push(Ld::new(Space::Shared, ty, [dst], addr));
            }
            t3::Op::StoreShared { a, to } => self.store(Space::Shared, a, *to),
            t3::Op::CountGlobal { d, at } => {
                let (dst, addr) = (self.reg(*d), self.address(*at));
                self.push(Atom {
                    sem: super::Semantics::Weak,
                    scope: None,
                    space: Space::Global,
                    op: super::AtomOp::Add,
                    noftz: false,
                    ty: Type::U32,
                    dst: Some([dst.into()].into()),
                    addr,
                    b: [Operand::Imm(Imm::Int(1))].into(),
                    c: None,
                    policy: None,
                });
            }
            t3::Op::RedGlobal { op, ty, a, to, old } => {
                let ty = match (op, ty) {
                    (
                        t3::Combine::And | t3::Combine::Or | t3::Combine::Xor,
                        t3::AtomicTy::S64 | t3::AtomicTy::U64,
                    ) => Type::B64,
                    (t3::Combine::And | t3::Combine::Or | t3::Combine::Xor, _) => Type::B32,
                    (_, t3::AtomicTy::F32) => Type::F32,
                    (_, t3::AtomicTy::S64) if *op != t3::Combine::Add => Type::S64,
                    (_, t3::AtomicTy::S64 | t3::AtomicTy::U64) => Type::U64,
                    (_, t3::AtomicTy::S32) if *op != t3::Combine::Add => Type::S32,
                    _ => Type::U32,
                };
                let op = match op {
                    t3::Combine::Add => super::AtomOp::Add,
                    t3::Combine::Max => super::AtomOp::Max,
                    t3::Combine::Min => super::AtomOp::Min,
                    t3::Combine::And => super::AtomOp::And,
                    t3::Combine::Or => super::AtomOp::Or,
                    t3::Combine::Xor => super::AtomOp::Xor,
                };
                let (b, addr) = (self.reg(*a), self.address(*to));
                let dst = old.map(|d| self.reg(d));
                self.push(Atom {
                    sem: super::Semantics::Weak,
                    scope: None,
                    space: Space::Global,
                    op,
                    noftz: false,
                    ty,
                    dst: dst.map(|d| [d.into()].into()),
                    addr,
                    b: [b.into()].into(),
                    c: None,
                    policy: None,
                });
            }
            t3::Op::ShuffleXor { d, a, mask } => {
                self.shuffle(ShflMode::Bfly, *d, *a, t3::Src::Int(i64::from(*mask)), 31);
            }
            t3::Op::ShuffleUp { d, a, by } => {
                self.shuffle(ShflMode::Up, *d, *a, t3::Src::Int(i64::from(*by)), 0);
            }
            t3::Op::ShuffleFrom { d, a, lane } => self.shuffle(ShflMode::Idx, *d, *a, *lane, 31),
            t3::Op::Ballot { d, a } => {
                let (dst, a) = (self.reg(*d), self.reg(*a));
                let mask = Operand::Imm(Imm::Int(0xffff_ffff));
                self.push(Vote { mode: VoteMode::Ballot, dst, src: a.into(), negated: false, mask });
            }
            t3::Op::HighestBit { d, a } => {
                let (dst, src) = (self.reg(*d), self.reg(*a));
                self.push(IntUnary { op: IntUnaryOp::Bfind, ty: Type::U32, dst, a: src.into() });
            }
            t3::Op::CpAsync { to, from, bytes, ignore } => {
                let (dst, src, policy) = (self.address(*to), self.address(*from), self.policy);
                let source = ignore.map_or(CpAsyncSource::Full, |p| CpAsyncSource::IgnoreIf(self.reg(p)));
                let cache = if *bytes == 16 { super::CacheOp::Cg } else { super::CacheOp::Ca };
                let prefetch = if *bytes == 16 { super::L2Prefetch::B128 } else { super::L2Prefetch::None };
                self.push(CpAsync { cache, prefetch, size: *bytes as u8, dst, src, source, policy });
            }
            t3::Op::CpAsyncCommit => self.push(CpAsyncGroup::Commit),
            t3::Op::Ldmatrix { d, from, trans } => {
                let (dst, addr) = (self.regs(d), self.address(*from));
                let shape = super::MatShape::M8n8;
                self.push(Ldmatrix { shape, trans: *trans, space: Space::Shared, ty: Type::B16, dst, addr });
            }
            t3::Op::Mma { atom, c, a, b } => {
                let (c, a, b) = (self.regs(c), self.regs(a), self.regs(b));
                let (shape, sum) = match atom.a {
                    MmaType::F16 | MmaType::Bf16 => (super::MatShape::M16n8k16, Type::F32),
                    MmaType::Tf32 => (super::MatShape::M16n8k8, Type::F32),
                    MmaType::S8 | MmaType::U8 => (super::MatShape::M16n8k32, Type::S32),
                };
                self.push(Mma {
                    shape,
                    a_layout: super::MatLayout::Row,
                    b_layout: super::MatLayout::Col,
                    satfinite: false,
                    dty: sum,
                    aty: matrix_type(atom.a),
                    bty: matrix_type(atom.b),
                    cty: sum,
                    bit_op: None,
                    f8f6f4: false,
                    sparse: None,
                    d: c.clone(),
                    a,
                    b,
                    c,
                });
            }
            _ => unreachable!("not a memory op"),
        }
    }

    fn store(&mut self, space: Space, a: &[t3::Reg], to: t3::Address) {
        let ty = self.element_type(a);
        let (src, addr, policy) = (self.operands(a), self.address(to), self.policy);
        self.push(St { policy, ..St::new(space, ty, addr, src.iter().copied()) });
    }

    fn element_type(&self, regs: &[t3::Reg]) -> Type {
        match regs.first().map(|r| self.kernel.classes[r.0 as usize]) {
            Some(t3::Class::B8) => Type::U8,
            Some(t3::Class::B16) => Type::B16,
            Some(t3::Class::B64) => Type::B64,
            Some(t3::Class::F32) => Type::F32,
            _ => Type::B32,
        }
    }

    /// A shuffle among all lanes; `clamp` is the last lane that may be a source.
    fn shuffle(&mut self, mode: ShflMode, d: t3::Reg, a: t3::Reg, b: t3::Src, clamp: i64) {
        let (dst, a, b) = (self.reg(d), self.reg(a), self.src(b));
        let (c, mask) = (Operand::Imm(Imm::Int(clamp)), Operand::Imm(Imm::Int(0xffff_ffff)));
        self.push(Shfl { mode, dst: dst.into(), pred: None, a: a.into(), b, c, mask });
    }

    fn sync(&mut self, op: SyncOp) {
        match op {
            SyncOp::WaitGroup { class: SyncClass::CpAsync, newest } => {
                self.push(CpAsyncGroup::Wait(newest.into()))
            }
            SyncOp::Bar { id, .. } => {
                self.push(Bar {
                    op: BarOp::Sync,
                    aligned: true,
                    id: Operand::Imm(Imm::Int(id.into())),
                    threads: None,
                });
            }
            SyncOp::BarWarp => self.push(BarWarp { mask: Operand::Imm(Imm::Int(0xffff_ffff)) }),
            other => unreachable!("sm_80 has no use for {other}"),
        }
    }
}

fn int_type(ty: t3::IntTy) -> Type {
    match ty {
        t3::IntTy::B32 => Type::B32,
        t3::IntTy::U32 => Type::U32,
        t3::IntTy::S32 => Type::S32,
        t3::IntTy::B64 => Type::B64,
        t3::IntTy::U64 => Type::U64,
        t3::IntTy::S64 => Type::S64,
    }
}

fn matrix_type(ty: MmaType) -> Type {
    match ty {
        MmaType::F16 => Type::F16,
        MmaType::Bf16 => Type::Bf16,
        MmaType::Tf32 => Type::Tf32,
        MmaType::S8 => Type::S8,
        MmaType::U8 => Type::U8,
    }
}

fn half_type(half: t3::Half) -> Type {
    match half {
        t3::Half::F16 => Type::F16,
        t3::Half::Bf16 => Type::Bf16,
    }
}

fn cmp_op(cmp: t3::Cmp) -> super::CmpOp {
    match cmp {
        t3::Cmp::Eq => super::CmpOp::Eq,
        t3::Cmp::Ne => super::CmpOp::Ne,
        t3::Cmp::Lt => super::CmpOp::Lt,
        t3::Cmp::Le => super::CmpOp::Le,
        t3::Cmp::Gt => super::CmpOp::Gt,
        t3::Cmp::Ge => super::CmpOp::Ge,
    }
}
