//! Faults in what planning and the passes behind it make: T2, T3, PTX and its text.

use super::{Fault, FaultKind};
use crate::packed::Recipe;
use crate::passes::Pass;
use crate::ptx;
use crate::scheduled::ir as t2;
use crate::sync::SyncOp;
use crate::tile::ir as t1;
use crate::warp::bits::EXCHANGES;
use crate::warp::ir as t3;

/// Spoils the output of each pass in turn, where its fault belongs there.
#[derive(Debug, Default)]
pub(crate) struct Plant {
    fault: Option<Fault>,
    /// Places seen so far where the fault can happen.
    pub places: usize,
    /// The register in which instances are counted, and the address of what counts them.
    counted: Option<t3::Reg>,
    counter: Option<t3::Address>,
    /// Where the copy before reads.
    copied: Option<t3::Address>,
    /// What the loop of products carries that is being looked at.
    carried: Vec<t2::ValId>,
}

impl Plant {
    pub fn new(fault: Option<Fault>) -> Plant {
        Plant { fault, ..Plant::default() }
    }

    pub(super) fn kind(&self, pass: Pass) -> Option<FaultKind> {
        self.fault.map(|f| f.kind).filter(|k| k.pass() == pass)
    }

    /// Whether this place is the one.
    pub(super) fn here(&mut self) -> bool {
        let here = self.fault.is_some_and(|f| f.nth == self.places);
        self.places += 1;
        here
    }

    /// After a pass that makes T2.
    pub fn scheduled(&mut self, pass: Pass, kernel: &t1::Kernel, modules: &mut [t2::Module]) {
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
            self.nodes(kind, kernel, &mut body, false);
            module.body = body;
        }
    }

    fn nodes(&mut self, kind: FaultKind, kernel: &t1::Kernel, nodes: &mut Vec<t2::Node>, in_loop: bool) {
        let before = std::mem::take(nodes);
        for mut node in before {
            let keep = match &mut node {
                t2::Node::Loop(l) => {
                    let instances = matches!(l.over, t2::Over::Instances(_));
                    if kind == FaultKind::SkipPart && instances && self.here() {
                        l.by *= 2;
                    }
                    self.carried = l.carry.iter().filter(|_| l.is_pipeline()).map(|c| c.param).collect();
                    self.nodes(kind, kernel, &mut l.body, true);
                    self.carried.clear();
                    true
                }
                t2::Node::If(i) => {
                    self.nodes(kind, kernel, &mut i.then_body, in_loop);
                    self.nodes(kind, kernel, &mut i.else_body, in_loop);
                    true
                }
                t2::Node::Op(op) => self.op(kind, kernel, op, in_loop),
                t2::Node::Sync(s) => self.sync(kind, &mut s.op),
            };
            if keep {
                nodes.push(node);
            }
        }
    }

    /// Whether the op stays.
    fn op(&mut self, kind: FaultKind, kernel: &t1::Kernel, op: &mut t2::Op, in_loop: bool) -> bool {
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
            (FaultKind::LostRescale, OpKind::Elementwise { value, args }) => {
                let old = args.iter().copied().find(|x| self.carried.contains(x));
                if let (Some(x), t1::Op::Binary(t1::BinaryOp::Mul, ..)) = (old, &kernel.value(*value).op)
                    && self.here()
                {
                    op.kind = OpKind::Spread { x };
                }
            }
            (FaultKind::WrongPart, OpKind::Mma { at, .. }) if *at != (0, 0) && self.here() => *at = (0, 0),
            (FaultKind::LostSign, OpKind::CopyIn { negative, .. }) if negative.is_some() && self.here() => {
                *negative = None
            }
            (FaultKind::LostDone, OpKind::ItemDone { .. }) => return !self.here(),
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
                t3::Stmt::Inst(t3::Inst { op: t3::Op::StoreGlobal { to, .. }, .. })
                    if kind == FaultKind::StuckCounter && self.counter == Some(*to) && self.here() =>
                {
                    *stmt = t3::Stmt::Comment(String::new());
                }
                t3::Stmt::Inst(inst) => self.inst(kind, &mut inst.op),
                t3::Stmt::Loop(l) => {
                    if kind == FaultKind::WrongSeam && l.until.is_some() && self.here() {
                        l.until = None;
                    }
                    if kind == FaultKind::LostAdvance && self.here() {
                        let left = t3::Src::Reg(l.left);
                        l.advance.retain(|s| match s {
                            t3::Stmt::Inst(t3::Inst { op: t3::Op::Int { d, a, .. }, .. }) => {
                                *d != l.left || *a != left
                            }
                            _ => true,
                        });
                    }
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
            (FaultKind::StuckCounter, Op::CountGlobal { at, .. }) => self.counter = Some(*at),
            (FaultKind::WrongRow, Op::CpAsync { from, .. }) => {
                let own = *from;
                if let Some(before) = self.copied.filter(|before| before.base != own.base)
                    && self.here()
                {
                    *from = before;
                }
                self.copied = Some(own);
            }
            (FaultKind::WrongShift, Op::Int { op: IntOp::Shl | IntOp::Shr, b: Src::Int(n), .. })
                if self.here() =>
            {
                *n += 1
            }
            (FaultKind::WrongLane, Op::ShuffleWithin { lane, of, .. }) if *of > 1 && self.here() => {
                *lane ^= 1
            }
            (FaultKind::LostMask, Op::Select { a: a @ Src::Reg(_), b: b @ Src::F32(_), .. })
                if matches!(*b, Src::F32(x) if x == 0.0 || x == f32::NEG_INFINITY) && self.here() =>
            {
                *b = *a
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

    /// The places of packed bits, as the launch is told of them.
    pub fn recipes(&mut self, packed: &mut [(t1::TensorId, Recipe)]) {
        if self.kind(Pass::Lower) != Some(FaultKind::OtherPlaces) {
            return;
        }
        let members = packed.iter_mut().flat_map(|(_, recipe)| &mut recipe.placement.members);
        for member in members.filter(|m| m.bits.len() > 1) {
            if self.here() {
                member.bits.swap(0, 1);
            }
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
