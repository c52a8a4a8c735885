//! T3 to T4: one PTX instruction per op, control flow flattened, synchronisation spelled.
//!
//! Registers are numbered per class in order of first use, labels after the loop they belong to. `.version` is the lowest that has
//! everything used. [`values`] and [`memory`] hold one arm per op; what stands here is control flow and names.

mod memory;
mod values;

use super::op::*;
use super::{
    Address, Base, Entry, FileEntry, Guard, Imm, Init, Inst, Label, LabelId, Linkage, Loc, Module, Operand,
    Param, ParamId, Pointee, PredUse, Reg, RegId, Space, SpecialReg, Stem, StemId, Stmt, Symbol, Target,
    Type, VarId, Variable,
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
        let tables = kernel.tables.iter().map(|t| table(&mut module, t)).collect();
        let mut s = Select::new(kernel, &mut lines);
        s.tables = tables;
        s.params();
        s.stmts(&kernel.body);
        s.push(Ret { uniform: false });
        module.entries.push(s.entry);
    }
    module.files = lines.files;
    module.lower_version();
    module
}

/// The place of a constant among the module's variables; all variants share it.
fn table(module: &mut Module, t: &t3::Table) -> usize {
    let name = format!("tw_{}", t.name);
    if let Some(at) = module.globals.iter().position(|v| *v.name == *name) {
        return at;
    }
    let ty = match t.bits {
        8 => Type::U8,
        16 => Type::U16,
        32 => Type::U32,
        _ => Type::U64,
    };
    module.globals.push(Variable {
        name: name.into(),
        linkage: Linkage::Private,
        space: Space::Global,
        align: 16,
        ty,
        elements: Some(t.codes.len() as u64),
        array: true,
        init: t.codes.iter().map(|c| Init::Bits(*c)).collect(),
    });
    module.globals.len() - 1
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
    /// Constants' places among the module's variables.
    tables: Vec<usize>,
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
            tables: Vec::new(),
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

    /// A constant in a register.
    fn bits32(&mut self, bits: u32) -> Operand {
        let dst = self.fresh(t3::Class::B32);
        self.push(Mov { ty: Type::B32, dst, src: Operand::Imm(Imm::Int(bits.into())) });
        dst.into()
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
        let otherwise = self.label("else".into());
        let done = self.label("end_if".into());
        let cond = self.reg(i.cond);
        if i.then_body.is_empty() {
            self.branch(cond, done);
            self.stmts(&i.else_body);
            self.entry.body.push(Stmt::Label(done));
            return;
        }
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
        let end = l.until.map_or(Operand::Imm(Imm::Int(0)), |r| Operand::Reg(self.reg(r)));
        self.push(Setp::new(super::CmpOp::Gt, Type::S32, p, left, end));
        self.branch(p, top);
        self.entry.body.push(Stmt::Label(done));
    }

    /// Leaves the loop where at most `done` coordinates were left when the turn began. Whole turns are tested within, too: without a seam between
    /// the copies the assembler mixes their instructions, and runs out of registers.
    fn leave(&mut self, l: &t3::Loop, done: i64, to: LabelId) {
        let p = self.fresh(t3::Class::Pred);
        let left = self.reg(l.left);
        let end = match (l.until.map(|r| self.reg(r)), done) {
            (None, done) => Operand::Imm(Imm::Int(done)),
            (Some(until), 0) => Operand::Reg(until),
            (Some(until), done) => {
                let d = self.fresh(t3::Class::B32);
                self.push(IntBinary::new(IntBinaryOp::Add, Type::S32, d, until, done));
                Operand::Reg(d)
            }
        };
        self.push(Setp::new(super::CmpOp::Le, Type::S32, p, left, end));
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
            | t3::Op::Table { .. }
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
            | t3::Op::Lop3 { .. }
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
            | t3::Op::Halves { .. }
            | t3::Op::FmaHalves { .. }
            | t3::Op::NegHalves { .. }
            | t3::Op::PackHalf { .. }
            | t3::Op::ToHalf { .. }
            | t3::Op::FromHalf { .. }
            | t3::Op::RoundTf32 { .. } => self.float(op),
            t3::Op::Policy { .. }
            | t3::Op::LoadGlobal { .. }
            | t3::Op::StoreGlobal { .. }
            | t3::Op::StoreShared { .. }
            | t3::Op::LoadShared { .. }
            | t3::Op::LoadSharedWords { .. }
            | t3::Op::RedGlobal { .. }
            | t3::Op::CountGlobal { .. }
            | t3::Op::DrawGlobal { .. }
            | t3::Op::ShuffleXor { .. }
            | t3::Op::ShuffleUp { .. }
            | t3::Op::ShuffleFrom { .. }
            | t3::Op::ShuffleWithin { .. }
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
        MmaType::E4m3 => Type::E4m3,
        MmaType::E5m2 => Type::E5m2,
        MmaType::B1 => Type::B1,
    }
}

fn half_type(half: t3::Half) -> Type {
    match half {
        t3::Half::F16 => Type::F16,
        t3::Half::Bf16 => Type::Bf16,
    }
}

/// Two of them in a register.
fn halves_type(half: t3::Half) -> Type {
    match half {
        t3::Half::F16 => Type::F16x2,
        t3::Half::Bf16 => Type::Bf16x2,
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
