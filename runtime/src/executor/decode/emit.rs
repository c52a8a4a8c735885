//! What decoding emits with: registers, operands, temporaries and constants.

use rustc_hash::{FxHashMap, FxHashSet};
use tilewright_compiler::ptx::{
    Address, Base, Dst, Entry, Imm, Inst, LabelId, Op, Operand, RegClass, RegId, SpecialReg, Symbol, Type, op,
};

use super::super::frame::{PredId, R32, R64};
use super::super::launch::ExecError;
use super::super::program::{
    Addr, AddrBase, CellInit, Fn32, Fn64, LaneCall, LaneInst, LaneOp, MemReg, StepKind, Val32, Val64, ValP,
};
use super::Item;
use super::flatten::{Flat, Reg};
use super::variables::{RESERVED_SHARED, Variables};

/// Where a PTX register lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    Pred(PredId),
    /// 16 or 32 bits.
    R32(R32),
    R64(R64),
    /// 128 bits: two 64-bit registers, low first.
    R128(R64, R64),
}

/// State of decoding one entry.
pub(super) struct Decoder<'m> {
    pub(super) flat: &'m Flat<'m>,
    /// The activation that the current instruction belongs to, and whose body it stands in.
    pub(super) scope: usize,
    pub(super) entry: &'m Entry,
    pub(super) variables: &'m Variables,
    /// By [`Reg`].
    pub(super) homes: Vec<Home>,
    /// Carry or borrow of the last `.cc` instruction, once there is one.
    carry: PredId,
    /// First cell and first predicate that are no PTX register.
    extra_cells: u32,
    extra_preds: u32,
    pub(super) next_cell: u32,
    pub(super) next_pred: u32,
    cells: FxHashMap<CellInit, u32>,
    /// Temporaries of the current instruction are taken from these in order.
    temps32: Vec<R32>,
    temps64: Vec<R64>,
    temps_pred: Vec<PredId>,
    used: (usize, usize, usize),
    guard: ValP,
    line: u32,
    name: String,
    items: Vec<Item>,
    /// Loads that loops of `atom.cas` begin with.
    pub(super) guesses: FxHashSet<*const op::Ld>,
    /// PTX register of each cell (of the first one of a wide register).
    pub(super) by_cell: Vec<Option<usize>>,
    /// PTX register of each predicate.
    pub(super) by_pred: Vec<usize>,
}

impl<'m> Decoder<'m> {
    pub(super) fn new(flat: &'m Flat<'m>, variables: &'m Variables) -> Result<Decoder<'m>, ExecError> {
        let (mut cell, mut pred) = (0u32, 0u32);
        let mut place = |ty: Type| {
            let at = cell;
            match ty.class() {
                RegClass::Pred => {
                    pred += 1;
                    Home::Pred(PredId(pred - 1))
                }
                RegClass::B16 | RegClass::B32 => {
                    cell += 1;
                    Home::R32(R32(at))
                }
                RegClass::B64 => {
                    cell += 2;
                    Home::R64(R64(at))
                }
                RegClass::B128 => {
                    cell += 4;
                    Home::R128(R64(at), R64(at + 2))
                }
            }
        };
        // Accumulators of `wgmma` first, so that each is one run of cells.
        let mut homes: Vec<Option<Home>> = vec![None; flat.registers];
        for unit in &flat.units.list {
            for inst in unit.entry.insts() {
                let Op::Wgmma(op) = &inst.op else { continue };
                for reg in &op.d {
                    let home = &mut homes[unit.regs + reg.index()];
                    home.get_or_insert_with(|| place(unit.entry.regs[reg.index()].ty));
                }
            }
        }
        let types = flat.units.registers();
        let homes: Vec<Home> =
            homes.into_iter().zip(types).map(|(home, ty)| home.unwrap_or_else(|| place(ty))).collect();
        let entry = flat.entry(0);
        if cell > 1 << 18 {
            return Err(ExecError::Invalid {
                line: 0,
                message: format!("entry `{}` declares too many registers", entry.name),
            });
        }
        Ok(Decoder {
            flat,
            scope: 0,
            entry,
            variables,
            homes,
            carry: PredId(pred),
            extra_cells: cell,
            extra_preds: pred + 1,
            next_cell: cell,
            next_pred: pred + 1,
            cells: FxHashMap::default(),
            temps32: Vec::new(),
            temps64: Vec::new(),
            temps_pred: Vec::new(),
            used: (0, 0, 0),
            guard: ValP::ALWAYS,
            line: 0,
            name: String::new(),
            items: Vec::new(),
            guesses: super::guesses::guesses(flat),
            by_cell: Vec::new(),
            by_pred: Vec::new(),
        })
    }

    /// Starts an instruction of an activation.
    pub(super) fn begin(&mut self, scope: usize, inst: &Inst) {
        self.scope = scope;
        self.entry = self.flat.entry(scope);
        self.used = (0, 0, 0);
        self.line = inst.ptx_line;
        self.name.clear();
        inst.op.mnemonic(&mut self.name);
        self.guard = ValP::ALWAYS;
        let Some(guard) = inst.guard else { return };
        let Home::Pred(p) = self.home(guard.reg) else { return };
        let value = if guard.negated { ValP::Not(p) } else { ValP::Reg(p) };
        let mut overwritten = false;
        inst.op.defs(|reg| overwritten |= reg == guard.reg);
        if overwritten {
            // Several items may follow, and the first must not change the guard of the second.
            let copy = self.tp();
            self.lane(LaneOp::PredMov { d: copy, a: value });
            self.guard = ValP::Reg(copy);
        } else {
            self.guard = value;
        }
    }

    /// A step that the expansion of calls put in.
    pub(super) fn begin_call(&mut self, line: u32, guard: Option<(Reg, bool)>) {
        self.used = (0, 0, 0);
        self.line = line;
        self.name = "call".into();
        self.guard = match guard.map(|(reg, negated)| (self.homes[reg.0], negated)) {
            Some((Home::Pred(p), true)) => ValP::Not(p),
            Some((Home::Pred(p), false)) => ValP::Reg(p),
            _ => ValP::ALWAYS,
        };
    }

    /// The predicate that holds the carry.
    pub(super) fn carry(&self) -> PredId {
        self.carry
    }

    /// Ends an instruction.
    pub(super) fn finish(&mut self) -> Vec<Item> {
        std::mem::take(&mut self.items)
    }

    /// The constants and special registers that have cells.
    pub(super) fn inits(&self) -> Vec<(u32, CellInit)> {
        let mut inits: Vec<_> = self.cells.iter().map(|(&init, &cell)| (cell, init)).collect();
        inits.sort_by_key(|(cell, _)| *cell);
        inits
    }

    pub(super) fn unsupported<T>(&self, why: &str) -> Result<T, ExecError> {
        Err(ExecError::Unsupported { line: self.line, instruction: self.name.clone(), why: why.into() })
    }

    pub(super) fn invalid<T>(&self, message: impl std::fmt::Display) -> Result<T, ExecError> {
        Err(ExecError::Invalid { line: self.line, message: format!("`{}`: {message}", self.name) })
    }

    /// Whether cell (or predicate) is a decoder's temporary: not a PTX register.
    pub(super) fn is_extra(&self, cell: u32) -> bool {
        cell >= self.extra_cells
    }

    pub(super) fn is_extra_pred(&self, p: PredId) -> bool {
        p.0 >= self.extra_preds
    }

    /// A lane operation under the instruction's guard; temporaries are written in all lanes.
    pub(super) fn lane(&mut self, op: LaneOp) {
        let temporary = match super::blocks::lane_def(&op) {
            super::blocks::Def::Cell32(R32(cell)) | super::blocks::Def::Cell64(R64(cell)) => {
                self.is_extra(cell)
            }
            super::blocks::Def::Pred(p) => self.is_extra_pred(p),
        };
        let guard = if temporary { ValP::ALWAYS } else { self.guard };
        self.items.push(Item::Lane(LaneInst { guard, op }));
    }

    /// A step under the instruction's guard.
    pub(super) fn step(&mut self, kind: StepKind) {
        self.items.push(Item::Step { guard: self.guard, kind });
    }

    /// A call under the guard, unless it writes a temporary.
    pub(super) fn call(&mut self, call: LaneCall) {
        let temporary = match call {
            LaneCall::C32 { d, .. } | LaneCall::Narrow { d, .. } => self.is_extra(d.0),
            LaneCall::C64 { d, .. } | LaneCall::Widen { d, .. } | LaneCall::Mixed64 { d, .. } => {
                self.is_extra(d.0)
            }
            LaneCall::Test { d, .. } => self.is_extra_pred(d),
        };
        let guard = if temporary { ValP::ALWAYS } else { self.guard };
        self.items.push(Item::Step { guard, kind: StepKind::Call(call) });
    }

    pub(super) fn call32(&mut self, f: Fn32, d: R32, a: &[Val32]) {
        let mut regs = [R32(0); 3];
        for (slot, &value) in regs.iter_mut().zip(a) {
            *slot = self.reg32(value);
        }
        let first = regs[0];
        if a.len() < 2 {
            regs[1] = first;
        }
        if a.len() < 3 {
            regs[2] = first;
        }
        self.call(LaneCall::C32 { f, d, a: regs[0], b: regs[1], c: regs[2] });
    }

    pub(super) fn call64(&mut self, f: Fn64, d: R64, a: &[Val64]) {
        let mut regs = [R64(0); 3];
        for (slot, &value) in regs.iter_mut().zip(a) {
            *slot = self.reg64(value);
        }
        let first = regs[0];
        if a.len() < 2 {
            regs[1] = first;
        }
        if a.len() < 3 {
            regs[2] = first;
        }
        self.call(LaneCall::C64 { f, d, a: regs[0], b: regs[1], c: regs[2] });
    }

    pub(super) fn t32(&mut self) -> R32 {
        if self.used.0 == self.temps32.len() {
            self.temps32.push(R32(self.next_cell));
            self.next_cell += 1;
        }
        self.used.0 += 1;
        self.temps32[self.used.0 - 1]
    }

    pub(super) fn t64(&mut self) -> R64 {
        if self.used.1 == self.temps64.len() {
            self.temps64.push(R64(self.next_cell));
            self.next_cell += 2;
        }
        self.used.1 += 1;
        self.temps64[self.used.1 - 1]
    }

    pub(super) fn tp(&mut self) -> PredId {
        if self.used.2 == self.temps_pred.len() {
            self.temps_pred.push(PredId(self.next_pred));
            self.next_pred += 1;
        }
        self.used.2 += 1;
        self.temps_pred[self.used.2 - 1]
    }

    /// The cell of a constant or special register.
    pub(super) fn cell(&mut self, init: CellInit) -> u32 {
        let next = &mut self.next_cell;
        *self.cells.entry(init).or_insert_with(|| {
            let cell = *next;
            *next += if matches!(init, CellInit::Const64(_)) { 2 } else { 1 };
            cell
        })
    }

    /// A register holding the value; literals get a cell.
    pub(super) fn reg32(&mut self, value: Val32) -> R32 {
        match value {
            Val32::Reg(r) => r,
            Val32::Imm(bits) => R32(self.cell(CellInit::Const32(bits))),
        }
    }

    pub(super) fn reg64(&mut self, value: Val64) -> R64 {
        match value {
            Val64::Reg(r) => r,
            Val64::Imm(bits) => R64(self.cell(CellInit::Const64(bits))),
        }
    }

    pub(super) fn home(&self, reg: RegId) -> Home {
        self.homes[self.flat.reg(self.scope, reg).0]
    }

    /// A destination of up to 32 bits.
    pub(super) fn d32(&self, reg: RegId) -> Result<R32, ExecError> {
        match self.home(reg) {
            Home::R32(r) => Ok(r),
            _ => self.invalid(format!("{} is not a 16- or 32-bit register", self.entry.reg_name(reg))),
        }
    }

    pub(super) fn d64(&self, reg: RegId) -> Result<R64, ExecError> {
        match self.home(reg) {
            Home::R64(r) => Ok(r),
            _ => self.invalid(format!("{} is not a 64-bit register", self.entry.reg_name(reg))),
        }
    }

    pub(super) fn dp(&self, reg: RegId) -> Result<PredId, ExecError> {
        match self.home(reg) {
            Home::Pred(p) => Ok(p),
            _ => self.invalid(format!("{} is not a predicate", self.entry.reg_name(reg))),
        }
    }

    /// A source of at most 32 bits, as its cell has it.
    pub(super) fn v32(&mut self, operand: &Operand, ty: Type) -> Result<Val32, ExecError> {
        match *operand {
            Operand::Reg(reg) => match self.home(reg) {
                Home::R32(r) => Ok(Val32::Reg(r)),
                Home::R64(r) => {
                    // A wider register read through a narrower type: its low part.
                    let low = self.t32();
                    self.lane(LaneOp::Low { d: low, a: Val64::Reg(r) });
                    Ok(Val32::Reg(low))
                }
                _ => self.invalid(format!("{} is not a register of 32 bits", self.entry.reg_name(reg))),
            },
            Operand::Imm(imm) => Ok(Val32::Imm(imm.bits(ty) as u32)),
            Operand::Sym(symbol, offset) => {
                let address = self.symbol(symbol)?.wrapping_add_signed(offset.into());
                Ok(Val32::Imm(address as u32))
            }
            Operand::Special(special) => self.special(special),
        }
    }

    /// A 64-bit source.
    pub(super) fn v64(&mut self, operand: &Operand, ty: Type) -> Result<Val64, ExecError> {
        match *operand {
            Operand::Reg(reg) => Ok(Val64::Reg(self.d64(reg)?)),
            Operand::Imm(imm) => Ok(Val64::Imm(imm.bits(ty))),
            Operand::Sym(symbol, offset) => {
                Ok(Val64::Imm(self.symbol(symbol)?.wrapping_add_signed(offset.into())))
            }
            Operand::Special(SpecialReg::Clock64) => Ok(Val64::Reg(self.clock(false))),
            Operand::Special(SpecialReg::Globaltimer) => Ok(Val64::Reg(self.clock(true))),
            Operand::Special(special) => {
                let value = self.special(special)?;
                let wide = self.t64();
                self.lane(LaneOp::Widen { signed: false, d: wide, a: value });
                Ok(Val64::Reg(wide))
            }
        }
    }

    /// A predicate source; literals 0 and 1 are legal in some places.
    pub(super) fn vp(&mut self, operand: &Operand) -> Result<ValP, ExecError> {
        match *operand {
            Operand::Reg(reg) => Ok(ValP::Reg(self.dp(reg)?)),
            Operand::Imm(Imm::Int(value)) => Ok(ValP::Const(value != 0)),
            Operand::Special(SpecialReg::IsExplicitCluster) => Ok(ValP::Const(false)),
            _ => self.invalid("a predicate is expected"),
        }
    }

    pub(super) fn pred_use(&self, p: tilewright_compiler::ptx::PredUse) -> Result<ValP, ExecError> {
        let reg = self.dp(p.reg)?;
        Ok(if p.negated { ValP::Not(reg) } else { ValP::Reg(reg) })
    }

    /// The address of a symbol in its own space.
    fn symbol(&self, symbol: Symbol) -> Result<u64, ExecError> {
        match symbol {
            Symbol::Param(id) => match self.flat.scopes[self.scope].params.get(id.0 as usize) {
                Some(&address) => Ok(address),
                None => Ok(self.entry.param_offsets().0[id.0 as usize].into()),
            },
            Symbol::Global(id) => {
                self.variables.of_module(id).map_or_else(|| self.invalid("a variable without an address"), Ok)
            }
            Symbol::Local(id) => {
                let unit = self.flat.scopes[self.scope].unit;
                self.variables
                    .of_unit(unit, id)
                    .map_or_else(|| self.invalid("a variable without an address"), Ok)
            }
        }
    }

    /// A special register (of 32 bits).
    fn special(&mut self, special: SpecialReg) -> Result<Val32, ExecError> {
        use SpecialReg::*;
        let init = match special {
            TidX => CellInit::Tid(0),
            TidY => CellInit::Tid(1),
            TidZ => CellInit::Tid(2),
            NtidX => CellInit::Ntid(0),
            NtidY => CellInit::Ntid(1),
            NtidZ => CellInit::Ntid(2),
            CtaidX => CellInit::Ctaid(0),
            CtaidY => CellInit::Ctaid(1),
            CtaidZ => CellInit::Ctaid(2),
            NctaidX => CellInit::Nctaid(0),
            NctaidY => CellInit::Nctaid(1),
            NctaidZ => CellInit::Nctaid(2),
            LaneId => CellInit::LaneId,
            WarpId => CellInit::WarpId,
            NwarpId => CellInit::NumWarps,
            LanemaskEq => CellInit::LanemaskEq,
            LanemaskLe => CellInit::LanemaskLe,
            LanemaskLt => CellInit::LanemaskLt,
            LanemaskGe => CellInit::LanemaskGe,
            LanemaskGt => CellInit::LanemaskGt,
            DynamicSmemSize => CellInit::DynamicShared,
            TotalSmemSize | AggrSmemSize => CellInit::TotalShared,
            ClusteridX => CellInit::ClusterId(0),
            ClusteridY => CellInit::ClusterId(1),
            ClusteridZ => CellInit::ClusterId(2),
            NclusteridX => CellInit::NclusterId(0),
            NclusteridY => CellInit::NclusterId(1),
            NclusteridZ => CellInit::NclusterId(2),
            ClusterCtaidX => CellInit::ClusterCtaid(0),
            ClusterCtaidY => CellInit::ClusterCtaid(1),
            ClusterCtaidZ => CellInit::ClusterCtaid(2),
            ClusterCtarank => CellInit::ClusterRank,
            ClusterNctaidX => CellInit::ClusterNctaid(0),
            ClusterNctaidY => CellInit::ClusterNctaid(1),
            ClusterNctaidZ => CellInit::ClusterNctaid(2),
            ClusterNctarank => CellInit::ClusterSize,
            Clock | Clock64 => return Ok(self.low_of_clock(false)),
            Globaltimer | GlobaltimerLo => return Ok(self.low_of_clock(true)),
            ClockHi | GlobaltimerHi => {
                let (wide, high) = (self.clock(special == GlobaltimerHi), self.t32());
                self.lane(LaneOp::High { d: high, a: Val64::Reg(wide) });
                return Ok(Val32::Reg(high));
            }
            // A machine with one multiprocessor.
            SmId | GridId => return Ok(Val32::Imm(0)),
            NsmId => return Ok(Val32::Imm(1)),
            ReservedBegin | Reserved0 => return Ok(Val32::Imm(0)),
            Reserved1 => return Ok(Val32::Imm(RESERVED_SHARED / 2)),
            ReservedEnd | ReservedCap => return Ok(Val32::Imm(RESERVED_SHARED)),
            Envreg1 => return Ok(Val32::Imm((self.variables.grid_workspace >> 32) as u32)),
            Envreg2 => return Ok(Val32::Imm(self.variables.grid_workspace as u32)),
            IsExplicitCluster => return self.invalid("a predicate where a number is expected"),
        };
        Ok(Val32::Reg(R32(self.cell(init))))
    }

    /// What a clock shows now.
    fn clock(&mut self, time: bool) -> R64 {
        let d = self.t64();
        self.step(StepKind::Clock { d: MemReg::R64(d), time });
        d
    }

    fn low_of_clock(&mut self, time: bool) -> Val32 {
        let d = self.t32();
        self.step(StepKind::Clock { d: MemReg::R32(d), time });
        Val32::Reg(d)
    }

    /// An address in memory.
    pub(super) fn addr(&mut self, address: &Address) -> Result<Addr, ExecError> {
        Ok(match address.base {
            Base::Reg(reg) => match self.home(reg) {
                Home::R32(r) => Addr { base: AddrBase::R32(r), offset: address.offset },
                Home::R64(r) => Addr { base: AddrBase::R64(r), offset: address.offset },
                _ => return self.invalid(format!("{} cannot hold an address", self.entry.reg_name(reg))),
            },
            Base::Sym(symbol) => Addr {
                base: AddrBase::Abs,
                offset: self.symbol(symbol)?.wrapping_add_signed(address.offset) as i64,
            },
            Base::Absolute => Addr { base: AddrBase::Abs, offset: address.offset },
        })
    }

    /// The register of a destination, if it is wanted.
    pub(super) fn dst32(&self, dst: Dst) -> Result<Option<R32>, ExecError> {
        dst.reg().map(|reg| self.d32(reg)).transpose()
    }

    pub(super) fn dst_pred(&self, dst: Dst) -> Result<Option<PredId>, ExecError> {
        dst.reg().map(|reg| self.dp(reg)).transpose()
    }

    /// Sign-extends a 16-bit (or 8-bit) value to 32 bits.
    pub(super) fn sign_extend(&mut self, value: Val32, bits: u8) -> Val32 {
        if let Val32::Imm(v) = value {
            let shift = 32 - u32::from(bits);
            return Val32::Imm(((v << shift) as i32 >> shift) as u32);
        }
        let (up, down) = (self.t32(), self.t32());
        self.lane(LaneOp::Shift32 { op: super::super::program::Shift::Left, d: up, a: value, by: 32 - bits });
        self.lane(LaneOp::Shift32 {
            op: super::super::program::Shift::RightS,
            d: down,
            a: Val32::Reg(up),
            by: 32 - bits,
        });
        Val32::Reg(down)
    }

    /// Keeps the low `bits` bits.
    pub(super) fn zero_extend(&mut self, value: Val32, bits: u8) -> Val32 {
        let mask = (1u32 << bits) - 1;
        if let Val32::Imm(v) = value {
            return Val32::Imm(v & mask);
        }
        let d = self.t32();
        self.lane(LaneOp::Int32 { op: super::super::program::IntBin::And, d, a: value, b: Val32::Imm(mask) });
        Val32::Reg(d)
    }

    /// Number of a label, as the target of a jump until blocks are placed.
    pub(super) fn label(&self, label: LabelId) -> u32 {
        self.flat.label(self.scope, label)
    }
}
