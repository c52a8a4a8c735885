//! The builder that lowering writes T3 with.

use super::ir::*;
use crate::diagnostics::Span;
use rustc_hash::FxHashMap;

/// Appends instructions to the innermost open list of statements.
#[derive(Debug)]
pub struct Builder {
    pub classes: Vec<Class>,
    open: Vec<Vec<Stmt>>,
    /// The source that following instructions come from.
    pub span: Span,
    /// The L2 policy of the accesses to global memory that follow.
    pub policy: Option<Reg>,
    /// The halves that f32 registers were made of.
    halves_of: FxHashMap<Reg, (Half, Reg)>,
}

impl Builder {
    pub fn new(span: Span) -> Builder {
        Builder {
            classes: Vec::new(),
            open: vec![Vec::new()],
            span,
            policy: None,
            halves_of: FxHashMap::default(),
        }
    }

    /// The finished statements; every opened list must have been closed.
    pub fn finish(mut self) -> (Vec<Class>, Vec<Stmt>) {
        let body = self.open.pop().unwrap_or_default();
        (self.classes, body)
    }

    /// Starts a list of its own, for a loop's copy.
    pub fn open(&mut self) {
        self.open.push(Vec::new());
    }

    /// Ends the innermost list and hands it out.
    pub fn close(&mut self) -> Vec<Stmt> {
        self.open.pop().unwrap_or_default()
    }

    pub fn reg(&mut self, class: Class) -> Reg {
        self.classes.push(class);
        Reg(self.classes.len() as u32 - 1)
    }

    pub fn class(&self, r: Reg) -> Class {
        self.classes[r.0 as usize]
    }

    pub fn stmt(&mut self, stmt: Stmt) {
        match self.open.last_mut() {
            Some(list) => list.push(stmt),
            None => self.open.push(vec![stmt]),
        }
    }

    pub fn comment(&mut self, text: impl Into<String>) {
        self.stmt(Stmt::Comment(text.into()));
    }

    pub fn push(&mut self, op: Op) {
        self.guarded(None, op);
    }

    pub fn guarded(&mut self, guard: Option<(Reg, bool)>, op: Op) {
        let global = matches!(op, Op::LoadGlobal { .. } | Op::StoreGlobal { .. } | Op::CpAsync { .. });
        let (span, policy) = (self.span, self.policy.filter(|_| global));
        self.stmt(Stmt::Inst(Inst { op, guard, policy, span }));
    }

    pub fn special(&mut self, from: Special) -> Reg {
        let d = self.reg(Class::B32);
        self.push(Op::Special { d, from });
        d
    }

    pub fn mov(&mut self, class: Class, a: impl Into<Src>) -> Reg {
        let d = self.reg(class);
        self.push(Op::Mov { d, a: a.into() });
        d
    }

    pub fn int(&mut self, op: IntOp, ty: IntTy, a: impl Into<Src>, b: impl Into<Src>) -> Reg {
        let d = self.reg(ty.class());
        self.push(Op::Int { op, ty, d, a: a.into(), b: b.into() });
        d
    }

    pub fn add(&mut self, a: Reg, b: impl Into<Src>) -> Reg {
        let ty = if self.class(a) == Class::B64 { IntTy::S64 } else { IntTy::S32 };
        self.int(IntOp::Add, ty, a, b)
    }

    pub fn and(&mut self, a: Reg, mask: i64) -> Reg {
        self.int(IntOp::And, IntTy::B32, a, mask)
    }

    pub fn xor(&mut self, a: Reg, b: impl Into<Src>) -> Reg {
        self.int(IntOp::Xor, IntTy::B32, a, b)
    }

    /// `a << by`, or `a >> -by` where `by` is negative.
    pub fn shift(&mut self, a: Reg, by: i32) -> Reg {
        match by {
            0 => a,
            1.. => self.int(IntOp::Shl, IntTy::B32, a, i64::from(by)),
            _ => self.int(IntOp::Shr, IntTy::U32, a, i64::from(-by)),
        }
    }

    pub fn mad_wide(&mut self, signed: bool, a: impl Into<Src>, b: impl Into<Src>, c: impl Into<Src>) -> Reg {
        let d = self.reg(Class::B64);
        self.push(Op::MadWide { signed, d, a: a.into(), b: b.into(), c: c.into() });
        d
    }

    pub fn mad(&mut self, ty: IntTy, a: impl Into<Src>, b: impl Into<Src>, c: impl Into<Src>) -> Reg {
        let d = self.reg(ty.class());
        self.push(Op::Mad { ty, d, a: a.into(), b: b.into(), c: c.into() });
        d
    }

    pub fn widen(&mut self, signed: bool, a: Reg) -> Reg {
        let d = self.reg(Class::B64);
        self.push(Op::Widen { signed, d, a });
        d
    }

    pub fn narrow(&mut self, a: Reg) -> Reg {
        let d = self.reg(Class::B32);
        self.push(Op::Narrow { d, a });
        d
    }

    pub fn set_int(&mut self, cmp: Cmp, ty: IntTy, a: impl Into<Src>, b: impl Into<Src>) -> Reg {
        let d = self.reg(Class::Pred);
        self.push(Op::SetInt { cmp, ty, d, a: a.into(), b: b.into() });
        d
    }

    pub fn pred_and(&mut self, a: Reg, b: Reg) -> Reg {
        let d = self.reg(Class::Pred);
        self.push(Op::PredAnd { d, a, b });
        d
    }

    pub fn float(&mut self, op: FloatOp, a: impl Into<Src>, b: impl Into<Src>) -> Reg {
        let d = self.reg(Class::F32);
        self.push(Op::Float { op, d, a: a.into(), b: b.into() });
        d
    }

    pub fn float_fn(&mut self, op: FloatFn, a: impl Into<Src>) -> Reg {
        let d = self.reg(Class::F32);
        self.push(Op::FloatFn { op, d, a: a.into() });
        d
    }

    pub fn fma(&mut self, a: impl Into<Src>, b: impl Into<Src>, c: impl Into<Src>) -> Reg {
        let d = self.reg(Class::F32);
        self.push(Op::Fma { d, a: a.into(), b: b.into(), c: c.into() });
        d
    }

    /// Bit by bit by a truth table.
    pub fn lop3(&mut self, a: impl Into<Src>, b: impl Into<Src>, c: impl Into<Src>, table: u8) -> Reg {
        let d = self.reg(Class::B32);
        self.push(Op::Lop3 { d, a: a.into(), b: b.into(), c: c.into(), table });
        d
    }

    pub fn add_halves(&mut self, half: Half, a: Reg, b: Reg) -> Reg {
        self.halves(HalvesOp::Add, half, a, b)
    }

    pub fn sub_halves(&mut self, half: Half, a: Reg, b: Reg) -> Reg {
        self.halves(HalvesOp::Sub, half, a, b)
    }

    pub fn mul_halves(&mut self, half: Half, a: Reg, b: Reg) -> Reg {
        self.halves(HalvesOp::Mul, half, a, b)
    }

    fn halves(&mut self, op: HalvesOp, half: Half, a: Reg, b: Reg) -> Reg {
        let d = self.reg(Class::B32);
        self.push(Op::Halves { op, half, d, a, b });
        d
    }

    pub fn fma_halves(&mut self, half: Half, a: Reg, b: Reg, c: Reg) -> Reg {
        let d = self.reg(Class::B32);
        self.push(Op::FmaHalves { half, d, a, b, c });
        d
    }

    pub fn neg_halves(&mut self, half: Half, a: Reg) -> Reg {
        let d = self.reg(Class::B32);
        self.push(Op::NegHalves { half, d, a });
        d
    }

    /// A half as f32.
    pub fn widen_half(&mut self, from: Half, a: Reg) -> Reg {
        let d = self.reg(Class::F32);
        self.push(Op::FromHalf { from, d, a });
        self.halves_of.insert(d, (from, a));
        d
    }

    /// The half that an f32 was made of.
    pub fn half_of(&self, r: Reg) -> Option<(Half, Reg)> {
        self.halves_of.get(&r).copied()
    }
}
