//! Loads, stores, atomics and `cp.async`.

use tilewright_compiler::ptx::{Address, AtomOp, Base, Operand, RegClass, Scope, Semantics, Space, Type, op};

use super::super::launch::ExecError;
use super::super::program::{
    Addr, AddrBase, Atomic, AtomicOp, CpAsync, Extend, LaneOp, MemAccess, MemReg, MemSpace, Order, Reach,
    StepKind, Val32, Val64, ValP,
};
use super::emit::{Decoder, Home};

type Result<T = ()> = std::result::Result<T, ExecError>;

fn order(sem: Semantics) -> Order {
    match sem {
        Semantics::Weak => Order::Weak,
        Semantics::Volatile | Semantics::Relaxed | Semantics::Mmio => Order::Strong,
        Semantics::Acquire => Order::Acquire,
        Semantics::Release | Semantics::AcqRel => Order::Release,
    }
}

fn reach(scope: Option<Scope>) -> Reach {
    match scope {
        Some(Scope::Cta) => Reach::Block,
        Some(Scope::Cluster) => Reach::Cluster,
        _ => Reach::Everybody,
    }
}

/// An access of 32 bytes as two of 16.
fn parts(access: MemAccess) -> Vec<MemAccess> {
    let whole = access.regs.len() * usize::from(access.bytes);
    if whole <= 16 {
        return vec![access];
    }
    let (low, high) = access.regs.split_at(access.regs.len() / 2);
    let second = Addr { offset: access.addr.offset.wrapping_add(16), ..access.addr };
    vec![
        MemAccess { regs: low.into(), align: whole as u8, ..access.clone() },
        MemAccess { regs: high.into(), addr: second, ..access.clone() },
    ]
}

impl Decoder<'_> {
    pub(super) fn space(&self, space: Space) -> MemSpace {
        match space {
            Space::Generic => MemSpace::Generic,
            Space::Global => MemSpace::Global,
            Space::Const => MemSpace::Const,
            Space::Local => MemSpace::Local,
            Space::Param => MemSpace::Param,
            // Addresses of the block's own window are the same in the cluster's.
            Space::Shared | Space::SharedCluster => MemSpace::Shared,
        }
    }

    /// As [`Decoder::space`], of an address: a `.param` variable of a body and a function's parameters lie in local memory.
    fn space_of(&self, space: Space, addr: &Address) -> MemSpace {
        match (space, addr.base) {
            (Space::Param, Base::Sym(symbol)) if self.is_parameter_of_call(symbol) => MemSpace::Local,
            _ => self.space(space),
        }
    }

    /// Elements of 128 bits travel as two of 64. Global memory has accesses of 32 bytes (sm_100).
    fn element(&self, ty: Type, count: usize, space: Space) -> Result<u8> {
        let bytes = ty.bytes();
        let total = bytes as usize * count;
        let most = if space == Space::Global { 32 } else { 16 };
        if !matches!(bytes, 1 | 2 | 4 | 8 | 16) || total > most || ty == Type::Pred {
            return self.unsupported("accesses of this width");
        }
        Ok(bytes.min(8) as u8)
    }

    pub(super) fn ld(&mut self, op: &op::Ld) -> Result {
        let bytes = self.element(op.ty, op.dst.len(), op.space)?;
        let mut regs = Vec::new();
        let mut wide = false;
        for dst in &op.dst {
            match dst.reg().map(|reg| self.home(reg)) {
                None => regs.push(MemReg::None),
                Some(Home::R32(r)) => regs.push(MemReg::R32(r)),
                Some(Home::R64(r)) => regs.push(MemReg::R64(r)),
                Some(Home::R128(low, high)) => regs.extend([MemReg::R64(low), MemReg::R64(high)]),
                Some(Home::Pred(_)) => return self.invalid("a load into a predicate"),
            }
            wide |= dst.reg().is_some_and(|reg| self.entry.reg_type(reg).bits() >= 32);
        }
        let extend = match (op.ty.is_signed() && bytes < 8, wide) {
            (false, _) => Extend::Zero,
            (true, true) => Extend::Sign,
            (true, false) => Extend::Sign16,
        };
        let mut access = MemAccess {
            space: self.space_of(op.space, &op.addr),
            addr: self.addr(&op.addr)?,
            bytes,
            extend,
            order: if self.is_guess(op) { Order::Strong } else { order(op.sem) },
            reach: reach(op.scope),
            align: 0,
            regs: regs.into(),
        };
        if access.regs.len() * usize::from(bytes) > 16 {
            // The first part may load over the address of the second.
            access.addr = self.aside(access.addr);
        }
        parts(access).into_iter().for_each(|part| self.step(StepKind::Load(part)));
        Ok(())
    }

    /// The same address, from a register that nobody else writes.
    fn aside(&mut self, addr: Addr) -> Addr {
        let base = match addr.base {
            AddrBase::R64(r) => {
                let t = self.t64();
                self.lane(LaneOp::Mov64 { d: t, a: Val64::Reg(r) });
                AddrBase::R64(t)
            }
            AddrBase::R32(r) => {
                let t = self.t32();
                self.lane(LaneOp::Mov32 { d: t, a: Val32::Reg(r) });
                AddrBase::R32(t)
            }
            AddrBase::Abs => AddrBase::Abs,
        };
        Addr { base, ..addr }
    }

    /// A stored operand; literals get a cell.
    pub(super) fn stored(&mut self, operand: &Operand, ty: Type) -> Result<MemReg> {
        if let Operand::Reg(reg) = operand {
            return match self.home(*reg) {
                Home::R32(r) => Ok(MemReg::R32(r)),
                Home::R64(r) => Ok(MemReg::R64(r)),
                _ => self.invalid("this register cannot be stored here"),
            };
        }
        if ty.class() == RegClass::B64 {
            let value = self.v64(operand, ty)?;
            let reg = match value {
                Val64::Reg(r) => r,
                Val64::Imm(_) => self.reg64(value),
            };
            return Ok(MemReg::R64(reg));
        }
        let value = self.v32(operand, ty)?;
        Ok(MemReg::R32(self.reg32(value)))
    }

    pub(super) fn st(&mut self, op: &op::St) -> Result {
        let bytes = self.element(op.ty, op.src.len(), op.space)?;
        let mut regs = Vec::new();
        for src in &op.src {
            if let Some(Home::R128(low, high)) = src.reg().map(|reg| self.home(reg)) {
                regs.extend([MemReg::R64(low), MemReg::R64(high)]);
            } else {
                regs.push(self.stored(src, op.ty)?);
            }
        }
        let space = self.space_of(op.space, &op.addr);
        if space == MemSpace::Param {
            return self.invalid("a kernel's parameters cannot be written");
        }
        let access = MemAccess {
            space,
            addr: self.addr(&op.addr)?,
            bytes,
            extend: Extend::Zero,
            order: order(op.sem),
            reach: reach(op.scope),
            align: 0,
            regs: regs.into(),
        };
        parts(access).into_iter().for_each(|part| self.step(StepKind::Store(part)));
        Ok(())
    }

    pub(super) fn atom(&mut self, op: &op::Atom) -> Result {
        let ty = op.ty;
        let signed = ty.is_signed();
        let kind = match (op.op, ty) {
            (AtomOp::Add, Type::F32) => AtomicOp::AddF32,
            (AtomOp::Add, Type::F64) => AtomicOp::AddF64,
            (AtomOp::Add, Type::F16) => AtomicOp::AddF16,
            (AtomOp::Add, Type::Bf16) => AtomicOp::AddBf16,
            (AtomOp::Add, Type::F16x2) => AtomicOp::AddF16x2,
            (AtomOp::Add, Type::Bf16x2) => AtomicOp::AddBf16x2,
            (AtomOp::Min, Type::F16 | Type::F16x2) => AtomicOp::MinF16,
            (AtomOp::Max, Type::F16 | Type::F16x2) => AtomicOp::MaxF16,
            (AtomOp::Min, Type::Bf16 | Type::Bf16x2) => AtomicOp::MinBf16,
            (AtomOp::Max, Type::Bf16 | Type::Bf16x2) => AtomicOp::MaxBf16,
            (AtomOp::Min | AtomOp::Max, ty) if ty.is_float() => {
                return self.unsupported("this atomic on floats");
            }
            (AtomOp::Add, _) => AtomicOp::Add,
            (AtomOp::And, _) => AtomicOp::And,
            (AtomOp::Or, _) => AtomicOp::Or,
            (AtomOp::Xor, _) => AtomicOp::Xor,
            (AtomOp::Exch, _) => AtomicOp::Exch,
            (AtomOp::Cas, _) => AtomicOp::Cas,
            (AtomOp::Inc, _) => AtomicOp::Inc,
            (AtomOp::Dec, _) => AtomicOp::Dec,
            (AtomOp::Min, _) if signed => AtomicOp::MinS,
            (AtomOp::Max, _) if signed => AtomicOp::MaxS,
            (AtomOp::Min, _) => AtomicOp::MinU,
            (AtomOp::Max, _) => AtomicOp::MaxU,
        };
        let bytes = ty.bytes();
        if bytes == 16 && matches!(kind, AtomicOp::Exch | AtomicOp::Cas) {
            return self.atom_wide(op, kind);
        }
        if !matches!(bytes, 2 | 4 | 8) {
            return self.unsupported("atomics of this width");
        }
        let c = match &op.c {
            Some(c) => self.stored(c, ty)?,
            None => MemReg::None,
        };
        let addr = self.addr(&op.addr)?;
        let elements = op.b.len();
        // The elements of a vector are updated one by one. Old values wait aside until the last, since they may go to where the
        // operands or the address are.
        let mut moves = Vec::new();
        for (element, b) in op.b.iter().enumerate() {
            let wanted = op.dst.as_ref().and_then(|dst| dst.get(element)).and_then(|dst| dst.reg());
            let d = match wanted.map(|reg| self.home(reg)) {
                None => MemReg::None,
                Some(Home::R32(r)) if elements > 1 => {
                    let t = self.t32();
                    moves.push(LaneOp::Mov32 { d: r, a: Val32::Reg(t) });
                    MemReg::R32(t)
                }
                Some(Home::R32(r)) => MemReg::R32(r),
                Some(Home::R64(r)) if elements == 1 => MemReg::R64(r),
                Some(_) => return self.invalid("this register cannot hold the old value"),
            };
            let at = element as i64 * i64::from(bytes);
            let atomic = Atomic {
                op: kind,
                space: self.space(op.space),
                addr: Addr { offset: addr.offset.wrapping_add(at), ..addr },
                bytes: bytes as u8,
                align: if element == 0 { (bytes * elements as u32) as u8 } else { bytes as u8 },
                reach: reach(op.scope),
                releases: matches!(op.sem, Semantics::Release | Semantics::AcqRel),
                acquires: matches!(op.sem, Semantics::Acquire | Semantics::AcqRel),
                d,
                b: self.stored(b, ty)?,
                c,
                high: [MemReg::None; 3],
            };
            self.step(StepKind::Atomic(atomic));
        }
        moves.into_iter().for_each(|op| self.lane(op));
        Ok(())
    }

    /// An exchange of 128 bits: two registers of 64 for each operand.
    fn atom_wide(&mut self, op: &op::Atom, kind: AtomicOp) -> Result {
        let dst = op.dst.as_ref().and_then(|dst| dst.first()).and_then(|dst| dst.reg());
        let (d, d_high) = match dst.map(|reg| self.home(reg)) {
            None => (MemReg::None, MemReg::None),
            Some(Home::R128(low, high)) => (MemReg::R64(low), MemReg::R64(high)),
            Some(_) => return self.invalid("this register cannot hold the old value"),
        };
        let pair = |operand: Option<&Operand>| match operand.map(|operand| operand.reg()) {
            None => Ok((MemReg::None, MemReg::None)),
            Some(reg) => match reg.map(|reg| self.home(reg)) {
                Some(Home::R128(low, high)) => Ok((MemReg::R64(low), MemReg::R64(high))),
                _ => self.unsupported("a literal of 128 bits"),
            },
        };
        let ((b, b_high), (c, c_high)) = (pair(op.b.first())?, pair(op.c.as_ref())?);
        let atomic = Atomic {
            op: kind,
            space: self.space(op.space),
            addr: self.addr(&op.addr)?,
            bytes: 16,
            align: 16,
            reach: reach(op.scope),
            releases: matches!(op.sem, Semantics::Release | Semantics::AcqRel),
            acquires: matches!(op.sem, Semantics::Acquire | Semantics::AcqRel),
            d,
            b,
            c,
            high: [d_high, b_high, c_high],
        };
        self.step(StepKind::Atomic(atomic));
        Ok(())
    }

    pub(super) fn cp_async(&mut self, op: &op::CpAsync) -> Result {
        let (src_size, ignore) = match op.source {
            op::CpAsyncSource::Full => (None, ValP::Const(false)),
            op::CpAsyncSource::Bytes(size) => {
                let size = self.v32(&size, Type::U32)?;
                let size = match size {
                    Val32::Reg(r) if self.is_extra(r.0) => {
                        // A temporary is a copy of a wide register's low part.
                        let t = self.t32();
                        self.lane(LaneOp::Mov32 { d: t, a: size });
                        Val32::Reg(t)
                    }
                    size => size,
                };
                (Some(size), ValP::Const(false))
            }
            op::CpAsyncSource::IgnoreIf(p) => (None, ValP::Reg(self.dp(p)?)),
        };
        if !matches!(op.size, 4 | 8 | 16) {
            return self.invalid("a copy is 4, 8 or 16 bytes");
        }
        let copy =
            CpAsync { dst: self.addr(&op.dst)?, src: self.addr(&op.src)?, bytes: op.size, src_size, ignore };
        self.step(StepKind::CpAsync(copy));
        Ok(())
    }

    pub(super) fn cp_async_group(&mut self, op: op::CpAsyncGroup) -> Result {
        self.step(match op {
            op::CpAsyncGroup::Commit => StepKind::CpAsyncCommit,
            op::CpAsyncGroup::Wait(n) => StepKind::CpAsyncWait(Some(n)),
            op::CpAsyncGroup::WaitAll => StepKind::CpAsyncWait(None),
        });
        Ok(())
    }
}
