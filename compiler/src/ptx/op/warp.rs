//! Instructions that read other lanes of the warp.

use super::{Instruction, Mnemonic, OpKind};
use crate::ptx::operand::{Dst, Operand, OperandVisitor, RegId};
use crate::ptx::target::Requires;
use crate::ptx::types::{Type, spelled};

spelled! {
    /// How `shfl` picks the source lane.
    ShflMode { Up = "up", Down = "down", Bfly = "bfly", Idx = "idx" }
}

spelled! {
    /// What `vote` answers.
    VoteMode { All = "all", Any = "any", Uni = "uni", Ballot = "ballot" }
}

spelled! {
    /// Reductions of `redux`.
    ReduxOp { Add = "add", Min = "min", Max = "max", And = "and", Or = "or", Xor = "xor" }
}

/// `shfl.sync.bfly.b32 d{|p}, a, b, c, mask;`
#[derive(Clone, Debug, PartialEq)]
pub struct Shfl {
    /// How the source lane is picked.
    pub mode: ShflMode,
    /// Written.
    pub dst: Dst,
    /// Whether the source lane was in range.
    pub pred: Option<Dst>,
    /// Each lane's value.
    pub a: Operand,
    /// Lane, distance or mask.
    pub b: Operand,
    /// Clamp (low five bits) and segment mask (bits 8 to 12).
    pub c: Operand,
    /// Lanes that take part.
    pub mask: Operand,
}

/// `vote.sync.ballot.b32 d, {!}a, mask;`, `vote.sync.any.pred p, a, mask;`
#[derive(Clone, Debug, PartialEq)]
pub struct Vote {
    /// What it answers.
    pub mode: VoteMode,
    /// A predicate, or 32 bits for `Ballot`.
    pub dst: RegId,
    /// Each lane's vote; a literal 0 or 1 is legal.
    pub src: Operand,
    /// Whether the votes are read negated.
    pub negated: bool,
    /// Lanes that take part.
    pub mask: Operand,
}

/// `activemask.b32 d;`
#[derive(Clone, Debug, PartialEq)]
pub struct Activemask {
    /// Written.
    pub dst: RegId,
}

/// `redux.sync.add.s32 d, a, mask;`
#[derive(Clone, Debug, PartialEq)]
pub struct Redux {
    /// The reduction.
    pub op: ReduxOp,
    /// `.abs` (f32).
    pub abs: bool,
    /// `.NaN` (f32).
    pub nan: bool,
    /// `s32 u32 b32 f32`.
    pub ty: Type,
    /// Written.
    pub dst: RegId,
    /// Each lane's value.
    pub src: Operand,
    /// Lanes that take part.
    pub mask: Operand,
}

/// `match.any.sync.b32 d, a, mask;`, `match.all.sync.b32 d{|p}, a, mask;`
#[derive(Clone, Debug, PartialEq)]
pub struct MatchSync {
    /// `match.all`.
    pub all: bool,
    /// `b32` or `b64`.
    pub ty: Type,
    /// 32 bits.
    pub dst: Dst,
    /// Whether all agree (`match.all`).
    pub pred: Option<Dst>,
    /// Each lane's value.
    pub src: Operand,
    /// Lanes that take part.
    pub mask: Operand,
}

/// `elect.sync d|p, mask;`
#[derive(Clone, Debug, PartialEq)]
pub struct ElectSync {
    /// The elected lane's number.
    pub dst: Dst,
    /// Whether this lane was elected.
    pub pred: RegId,
    /// Lanes that take part.
    pub mask: Operand,
}

impl Shfl {
    /// All 32 lanes, one segment, no out-of-range predicate.
    pub fn new(mode: ShflMode, dst: RegId, a: impl Into<Operand>, b: impl Into<Operand>) -> Shfl {
        let clamp = if mode == ShflMode::Up { 0 } else { 31 };
        let (a, b, c) = (a.into(), b.into(), Operand::from(clamp));
        Shfl { mode, dst: dst.into(), pred: None, a, b, c, mask: Operand::from(-1) }
    }
}

impl Instruction for Shfl {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("shfl.sync").m(self.mode).op(".b32");
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.dst(self.dst);
        if let Some(pred) = self.pred {
            v.pipe();
            v.dst(pred);
        }
        v.value(&self.a);
        v.value(&self.b);
        v.value(&self.c);
        v.value(&self.mask);
    }
    fn kind(&self) -> OpKind {
        OpKind::CrossLane
    }
}

impl Instruction for Vote {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("vote.sync").m(self.mode).m(if self.mode == VoteMode::Ballot { Type::B32 } else { Type::Pred });
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        if self.negated {
            v.not();
        }
        v.value(&self.src);
        v.value(&self.mask);
    }
    fn kind(&self) -> OpKind {
        OpKind::CrossLane
    }
}

impl Instruction for Activemask {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("activemask.b32");
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
    }
    fn kind(&self) -> OpKind {
        OpKind::CrossLane
    }
}

impl Instruction for Redux {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("redux.sync").m(self.op).flag(self.abs, ".abs").flag(self.nan, ".NaN").m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.src);
        v.value(&self.mask);
    }
    fn requires(&self) -> Requires {
        if self.ty == Type::F32 { Requires::arch(8, 6, 100) } else { Requires::new(7, 0, 80) }
    }
    fn kind(&self) -> OpKind {
        OpKind::CrossLane
    }
}

impl Instruction for MatchSync {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op(if self.all { "match.all.sync" } else { "match.any.sync" }).m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.dst(self.dst);
        if let Some(pred) = self.pred {
            v.pipe();
            v.dst(pred);
        }
        v.value(&self.src);
        v.value(&self.mask);
    }
    fn kind(&self) -> OpKind {
        OpKind::CrossLane
    }
}

impl Instruction for ElectSync {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("elect.sync");
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.dst(self.dst);
        v.pipe();
        v.def(self.pred);
        v.value(&self.mask);
    }
    fn requires(&self) -> Requires {
        Requires::new(8, 0, 90)
    }
    fn kind(&self) -> OpKind {
        OpKind::CrossLane
    }
}
