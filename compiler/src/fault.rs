//! Planted faults: the compiler made wrong on purpose, one place at a time, to try whether verification finds it.
//!
//! Each kind belongs to a pass and spoils what that pass has just made, in the way in which the pass could have got it wrong. `nth`
//! chooses among the places where it can happen. Only tests of the verification ask for one; there is no option for it.
//!
//! ```text
//! Fault { kind: FaultKind::DropWait, nth: 0 }     the first wait that synchronisation derived is lost
//! ```

use crate::passes::Pass;
use crate::ptx;
use crate::scheduled::ir as t2;
use crate::sync::SyncOp;
use crate::tile::ir as t1;
use crate::warp::bits::EXCHANGES;
use crate::warp::ir as t3;

/// One planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    pub kind: FaultKind,
    /// Which of the places where the kind can happen, over all variants.
    pub nth: usize,
}

/// What a pass gets wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// Plan: two axes of an access change places.
    ExchangeAxes,
    /// Plan: a fragment is loaded from the neighbouring slice of the contracted range.
    WrongSlice,
    /// Plan: an accumulator starts one too high.
    WrongInit,
    /// Plan: the entries of a ring overlap.
    OverlappingSlots,
    /// Plan: a reduction or an atomic combines by another operation.
    WrongCombination,
    /// Plan: the partial results of two warps share a slot.
    SharedSlot,
    /// Plan: a write or atomic forgets its condition.
    LostCondition,
    /// Plan: every instance writes what one should.
    WrittenByAll,
    /// Plan: an accumulator begins anew only after every second promotion.
    LatePromotion,
    /// Plan: what an instance has is not put into the workspace.
    LostPart,
    /// Plan: the combination of instances leaves out every other one.
    SkipPart,
    /// Expand: a copy in the steady loop works for the next iteration.
    WrongStage,
    /// Expand: an op of the prologue is missing.
    LostPrologue,
    /// Synchronise: a wait is missing.
    DropWait,
    /// Synchronise: a wait leaves one more group pending.
    LateWait,
    /// Synchronise: a barrier is missing.
    DropBarrier,
    /// Lower: two registers of a fragment change places.
    SwapFragments,
    /// Lower: two registers of a store to global memory change places.
    SwapElements,
    /// Lower: a step of a reduction across lanes combines what a lane has with itself.
    SkipShuffle,
    /// Lower: a partial result is stored or loaded one place beside its own.
    WrongSlot,
    /// Lower: the constant of a swizzled address lies one bit higher.
    ShiftSwizzle,
    /// Lower: a load from shared memory takes the neighbouring place.
    WrongOffset,
    /// Lower: a comparison that guards an edge takes one more.
    MaskOffByOne,
    /// Lower: a comparison that guards an edge is its opposite.
    InvertMask,
    /// Lower: an instance counts itself without making known what it has put, or goes on without knowing what others have.
    DropFence,
    /// Lower: the first instance to count itself goes on for all, and not the last.
    WrongCount,
    /// Lower: the search for a part of a ragged range adds up other lanes.
    WrongSearch,
    /// Lower: two words of a packed tile change places.
    SwapWords,
    /// Lower: a mask that picks codes out of words is one bit off.
    WrongMask,
    /// Lower: where words and bits change places, the other half of the bits stays.
    WrongExchange,
    /// Lower: bytes of a table change places.
    WrongEntry,
    /// Select: a guard holds where it should not.
    NegateGuard,
    /// Print: a number is off by one.
    Misprint,
}

impl FaultKind {
    pub const ALL: [FaultKind; 33] = [
        FaultKind::ExchangeAxes,
        FaultKind::WrongSlice,
        FaultKind::WrongInit,
        FaultKind::OverlappingSlots,
        FaultKind::WrongCombination,
        FaultKind::SharedSlot,
        FaultKind::LostCondition,
        FaultKind::WrittenByAll,
        FaultKind::LatePromotion,
        FaultKind::LostPart,
        FaultKind::SkipPart,
        FaultKind::WrongStage,
        FaultKind::LostPrologue,
        FaultKind::DropWait,
        FaultKind::LateWait,
        FaultKind::DropBarrier,
        FaultKind::SwapFragments,
        FaultKind::SwapElements,
        FaultKind::SkipShuffle,
        FaultKind::WrongSlot,
        FaultKind::ShiftSwizzle,
        FaultKind::WrongOffset,
        FaultKind::MaskOffByOne,
        FaultKind::InvertMask,
        FaultKind::DropFence,
        FaultKind::WrongCount,
        FaultKind::WrongSearch,
        FaultKind::SwapWords,
        FaultKind::WrongMask,
        FaultKind::WrongExchange,
        FaultKind::WrongEntry,
        FaultKind::NegateGuard,
        FaultKind::Misprint,
    ];

    /// The pass that gets it wrong.
    pub fn pass(self) -> Pass {
        use FaultKind::*;
        match self {
            ExchangeAxes | WrongSlice | WrongInit | OverlappingSlots => Pass::Plan,
            WrongCombination | SharedSlot | LostCondition | WrittenByAll => Pass::Plan,
            LostPart | SkipPart | LatePromotion => Pass::Plan,
            WrongStage | LostPrologue => Pass::Expand,
            DropWait | LateWait | DropBarrier => Pass::Synchronise,
            SwapFragments | ShiftSwizzle | WrongOffset | MaskOffByOne => Pass::Lower,
            SwapElements | SkipShuffle | WrongSlot | InvertMask => Pass::Lower,
            DropFence | WrongCount | WrongSearch => Pass::Lower,
            SwapWords | WrongMask | WrongExchange | WrongEntry => Pass::Lower,
            NegateGuard => Pass::Select,
            Misprint => Pass::Print,
        }
    }
}

/// Spoils the output of each pass in turn, where its fault belongs there.
#[derive(Debug, Default)]
pub(crate) struct Plant {
    fault: Option<Fault>,
    /// Places seen so far where the fault can happen.
    pub places: usize,
    /// The register in which instances are counted.
    counted: Option<t3::Reg>,
}

impl Plant {
    pub fn new(fault: Option<Fault>) -> Plant {
        Plant { fault, places: 0, counted: None }
    }

    fn kind(&self, pass: Pass) -> Option<FaultKind> {
        self.fault.map(|f| f.kind).filter(|k| k.pass() == pass)
    }

    /// Whether this place is the one.
    fn here(&mut self) -> bool {
        let here = self.fault.is_some_and(|f| f.nth == self.places);
        self.places += 1;
        here
    }

    /// After a pass that makes T2.
    pub fn scheduled(&mut self, pass: Pass, modules: &mut [t2::Module]) {
        let Some(kind) = self.kind(pass) else { return };
        for module in modules {
            if kind == FaultKind::OverlappingSlots {
                for b in module.buffers.iter_mut().filter(|b| b.slots > 1) {
                    if self.here() {
                        b.slot_stride /= 2;
                    }
                }
                continue;
            }
            let mut body = std::mem::take(&mut module.body);
            self.nodes(kind, &mut body, false);
            module.body = body;
        }
    }

    fn nodes(&mut self, kind: FaultKind, nodes: &mut Vec<t2::Node>, in_loop: bool) {
        let before = std::mem::take(nodes);
        for mut node in before {
            let keep = match &mut node {
                t2::Node::Loop(l) => {
                    let instances = matches!(l.over, t2::Over::Instances(_));
                    if kind == FaultKind::SkipPart && instances && self.here() {
                        l.by *= 2;
                    }
                    self.nodes(kind, &mut l.body, true);
                    true
                }
                t2::Node::If(i) => {
                    self.nodes(kind, &mut i.then_body, in_loop);
                    self.nodes(kind, &mut i.else_body, in_loop);
                    true
                }
                t2::Node::Op(op) => self.op(kind, op, in_loop),
                t2::Node::Sync(s) => self.sync(kind, &mut s.op),
            };
            if keep {
                nodes.push(node);
            }
        }
    }

    /// Whether the op stays.
    fn op(&mut self, kind: FaultKind, op: &mut t2::Op, in_loop: bool) -> bool {
        use t2::OpKind;
        match (kind, &mut op.kind) {
            (
                FaultKind::ExchangeAxes,
                OpKind::CopyIn { ix, .. }
                | OpKind::ReadReg { ix, .. }
                | OpKind::WriteReg { ix, .. }
                | OpKind::Atomic { ix, .. },
            ) => {
                let moves = |n: &usize| ix[*n].axis.is_some() || ix[*n].tile.is_some();
                let with_axis: Vec<usize> = (0..ix.len()).filter(moves).collect();
                if let [first, .., last] = with_axis[..]
                    && self.here()
                {
                    ix.swap(first, last);
                }
            }
            (FaultKind::WrongSlice, OpKind::Load { at, size, .. }) if self.here() => {
                *at ^= *size;
            }
            (FaultKind::WrongInit, OpKind::AccNew { init }) if self.here() => {
                *init += 1.0;
            }
            (FaultKind::WrongCombination, OpKind::Reduce { op, .. }) if self.here() => {
                *op = match op {
                    t1::ReduceOp::Sum => t1::ReduceOp::Max,
                    t1::ReduceOp::Max => t1::ReduceOp::Min,
                    _ => t1::ReduceOp::Sum,
                }
            }
            (FaultKind::WrongCombination, OpKind::Combine { op, .. }) if self.here() => {
                *op = if *op == t1::ReduceOp::Max { t1::ReduceOp::Min } else { t1::ReduceOp::Max }
            }
            (FaultKind::LatePromotion, OpKind::AccRenew { every, .. }) if self.here() => *every *= 2,
            (FaultKind::LostPart, OpKind::WorkPut { .. }) => return !self.here(),
            (FaultKind::WrongCombination, OpKind::Atomic { op, .. }) if self.here() => {
                *op = if *op == t1::Combine::Max { t1::Combine::Add } else { t1::Combine::Max }
            }
            (
                FaultKind::SharedSlot,
                OpKind::PutPartials { warps, .. } | OpKind::GetPartials { warps, .. },
            ) if self.here() => *warps &= *warps - 1,
            (FaultKind::LostCondition, OpKind::WriteReg { when, .. } | OpKind::Atomic { when, .. })
                if when.is_some() && self.here() =>
            {
                *when = None
            }
            (FaultKind::WrittenByAll, OpKind::WriteReg { once, .. }) if !once.is_empty() && self.here() => {
                once.clear()
            }
            (FaultKind::WrongStage, OpKind::CopyIn { .. }) if in_loop => {
                if let t2::Iter::Step(n) = &mut op.iter
                    && self.here()
                {
                    *n += 1;
                }
            }
            (FaultKind::LostPrologue, OpKind::CopyIn { .. } | OpKind::Load { .. })
                if matches!(op.iter, t2::Iter::Const(_)) =>
            {
                return !self.here();
            }
            _ => {}
        }
        true
    }

    /// Whether the synchronising op stays.
    fn sync(&mut self, kind: FaultKind, op: &mut SyncOp) -> bool {
        match (kind, op) {
            (FaultKind::DropWait, SyncOp::WaitGroup { .. }) => !self.here(),
            (FaultKind::LateWait, SyncOp::WaitGroup { newest, .. }) => {
                if self.here() {
                    *newest += 1;
                }
                true
            }
            (FaultKind::DropBarrier, SyncOp::Bar { .. }) => !self.here(),
            _ => true,
        }
    }

    /// After lowering.
    pub fn warp(&mut self, kernel: &mut t3::Kernel) {
        if let Some(kind) = self.kind(Pass::Lower) {
            self.stmts(kind, &mut kernel.body);
        }
    }

    fn stmts(&mut self, kind: FaultKind, stmts: &mut [t3::Stmt]) {
        for stmt in stmts {
            match stmt {
                t3::Stmt::Inst(t3::Inst { op: t3::Op::FenceGpu, .. })
                    if kind == FaultKind::DropFence && self.here() =>
                {
                    *stmt = t3::Stmt::Comment(String::new());
                }
                t3::Stmt::Inst(inst) => self.inst(kind, &mut inst.op),
                t3::Stmt::Loop(l) => {
                    for copy in &mut l.copies {
                        self.stmts(kind, copy);
                    }
                    self.stmts(kind, &mut l.advance);
                }
                t3::Stmt::If(i) => {
                    self.stmts(kind, &mut i.then_body);
                    self.stmts(kind, &mut i.else_body);
                }
                t3::Stmt::Comment(_) => {}
            }
        }
    }

    fn inst(&mut self, kind: FaultKind, op: &mut t3::Op) {
        use t3::{Cmp, IntOp, Op, Src};
        match (kind, op) {
            (FaultKind::SwapFragments, Op::Ldmatrix { d, .. }) if d.len() > 1 && self.here() => d.swap(0, 1),
            // What is loaded may go into a sum, where order means nothing.
            (FaultKind::SwapElements, Op::StoreGlobal { a, .. }) if a.len() > 1 && self.here() => {
                a.swap(0, 1)
            }
            (FaultKind::SkipShuffle, Op::ShuffleXor { mask, .. }) if self.here() => *mask = 0,
            (FaultKind::WrongSlot, Op::LoadShared { from: at, .. } | Op::StoreShared { to: at, .. })
                if self.here() =>
            {
                at.offset ^= 4
            }
            (FaultKind::ShiftSwizzle, Op::Int { op: IntOp::Xor, b: Src::Int(c), .. }) if self.here() => {
                *c *= 2
            }
            (FaultKind::WrongCount, Op::CountGlobal { d, .. }) => self.counted = Some(*d),
            (FaultKind::WrongCount, Op::SetInt { cmp: Cmp::Eq, a, b, .. })
                if self.counted.is_some_and(|d| *a == d.into()) && self.here() =>
            {
                *b = Src::Int(0)
            }
            (FaultKind::WrongSearch, Op::ShuffleUp { by, .. }) if self.here() => *by += 1,
            (FaultKind::SwapWords, Op::LoadSharedWords { d, .. }) if d.len() > 1 && self.here() => {
                d.swap(0, 1)
            }
            (FaultKind::WrongMask, Op::Lop3 { b: Src::Int(mask), .. }) if self.here() => {
                *mask = i64::from((*mask as u32).rotate_left(1));
            }
            (FaultKind::WrongExchange, Op::Lop3 { b: Src::Int(mask), .. })
                if EXCHANGES.iter().any(|(_, m)| m == mask) && self.here() =>
            {
                *mask = !*mask & i64::from(u32::MAX);
            }
            // The bytes of a table are constants; others are chosen by one.
            (
                FaultKind::WrongEntry,
                Op::Permute { a: Src::Int(bytes), b: Src::Int(_), select: Src::Reg(_), .. },
            ) if *bytes != 0 && self.here() => {
                *bytes = i64::from((*bytes as u32).rotate_left(8));
            }
            (FaultKind::WrongOffset, Op::Ldmatrix { from, .. }) if self.here() => from.offset ^= 16,
            (
                FaultKind::MaskOffByOne | FaultKind::InvertMask,
                Op::SetInt { cmp, .. } | Op::SetIntOr { cmp, .. },
            ) => {
                let by_one = kind == FaultKind::MaskOffByOne;
                let wrong = match cmp {
                    Cmp::Lt => {
                        if by_one {
                            Cmp::Le
                        } else {
                            Cmp::Ge
                        }
                    }
                    Cmp::Le => {
                        if by_one {
                            Cmp::Lt
                        } else {
                            Cmp::Gt
                        }
                    }
                    Cmp::Gt => {
                        if by_one {
                            Cmp::Ge
                        } else {
                            Cmp::Le
                        }
                    }
                    Cmp::Ge => {
                        if by_one {
                            Cmp::Gt
                        } else {
                            Cmp::Lt
                        }
                    }
                    Cmp::Eq | Cmp::Ne => return,
                };
                if self.here() {
                    *cmp = wrong;
                }
            }
            _ => {}
        }
    }

    /// After selection.
    pub fn ptx(&mut self, module: &mut ptx::Module) {
        if self.kind(Pass::Select) != Some(FaultKind::NegateGuard) {
            return;
        }
        for entry in &mut module.entries {
            for stmt in &mut entry.body {
                // Which of several threads stores the partial result that all of them hold means nothing; and any lane's fence is taken for
                // its warp's.
                if let ptx::Stmt::Inst(ptx::Inst { guard: Some(guard), op, .. }) = stmt
                    && !matches!(op, ptx::Op::St(st) if st.space == ptx::Space::Shared)
                    && !matches!(op, ptx::Op::Fence(_))
                    && self.here()
                {
                    guard.negated = !guard.negated;
                }
            }
        }
    }

    /// After printing.
    pub fn text(&mut self, text: &mut String) {
        if self.kind(Pass::Print) != Some(FaultKind::Misprint) {
            return;
        }
        let mut lines: Vec<String> = text.lines().map(String::from).collect();
        for line in &mut lines {
            let Some((start, end)) = line.strip_suffix(';').and_then(|l| l.rsplit_once(", ")) else {
                continue;
            };
            let arithmetic = start.trim_start().starts_with("add.") || start.trim_start().starts_with("shl.");
            if let (true, Ok(n)) = (arithmetic, end.parse::<i64>())
                && self.here()
            {
                *line = format!("{start}, {};", n + 1);
            }
        }
        *text = lines.join("\n") + "\n";
    }
}
