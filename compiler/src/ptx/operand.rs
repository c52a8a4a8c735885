//! Operands: registers, immediates, symbols, special registers and addresses, and the visitor that walks them.

use std::fmt;

use super::module::{FuncId, LabelId, ParamId, VarId};
use super::types::{Type, spelled};

/// A register of one entry: an index into [`Entry::regs`](super::Entry::regs).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegId(pub u32);

impl RegId {
    /// The index into the register table.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A destination that may be thrown away: `_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dst {
    /// Written here.
    Reg(RegId),
    /// Not wanted.
    Sink,
}

impl Dst {
    /// The register, if there is one.
    pub fn reg(self) -> Option<RegId> {
        match self {
            Dst::Reg(reg) => Some(reg),
            Dst::Sink => None,
        }
    }
}

impl From<RegId> for Dst {
    fn from(reg: RegId) -> Dst {
        Dst::Reg(reg)
    }
}

/// A predicate read as a source, possibly negated: `!%p1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PredUse {
    /// The predicate register.
    pub reg: RegId,
    /// Whether it is read negated.
    pub negated: bool,
}

impl From<RegId> for PredUse {
    fn from(reg: RegId) -> PredUse {
        PredUse { reg, negated: false }
    }
}

/// A literal. Floating-point literals are kept as bits: what is printed is what was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Imm {
    /// An integer; unsigned 64-bit literals above `i64::MAX` wrap.
    Int(i64),
    /// `0fXXXXXXXX`.
    F32(u32),
    /// `0dXXXXXXXXXXXXXXXX`.
    F64(u64),
}

impl Imm {
    /// The bits that a register of type `ty` receives, in the low `ty.bits()` bits.
    ///
    /// Integers are truncated for integer and bit types (a float type reads an integer literal as bits, which is what `mov.b16
    /// %h, 0x3C00` and `mov.f32 %f, 0f…` mean); `F64` narrows by rounding for `f32`.
    pub fn bits(self, ty: Type) -> u64 {
        let raw = match (self, ty) {
            (Imm::Int(value), _) => value as u64,
            (Imm::F32(bits), Type::F64) => f64::from(f32::from_bits(bits)).to_bits(),
            (Imm::F32(bits), _) => u64::from(bits),
            (Imm::F64(bits), Type::F32) => u64::from((f64::from_bits(bits) as f32).to_bits()),
            (Imm::F64(bits), _) => bits,
        };
        match ty.bits() {
            64.. => raw,
            bits => raw & ((1 << bits) - 1),
        }
    }
}

/// Something with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Symbol {
    /// A kernel parameter.
    Param(ParamId),
    /// A variable of the module: [`Module::globals`](super::Module::globals).
    Global(VarId),
    /// A variable of the entry: [`Entry::vars`](super::Entry::vars).
    Local(VarId),
}

/// A source operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// A register.
    Reg(RegId),
    /// A literal.
    Imm(Imm),
    /// The address of a symbol plus bytes, in the symbol's own space.
    Sym(Symbol, i32),
    /// A special register; only `mov` (and `cvt`) read those.
    Special(SpecialReg),
}

impl Operand {
    /// The register, if it is one.
    pub fn reg(self) -> Option<RegId> {
        match self {
            Operand::Reg(reg) => Some(reg),
            _ => None,
        }
    }

    /// An f32 literal.
    pub fn f32(value: f32) -> Operand {
        Operand::Imm(Imm::F32(value.to_bits()))
    }
}

impl From<RegId> for Operand {
    fn from(reg: RegId) -> Operand {
        Operand::Reg(reg)
    }
}

impl From<i64> for Operand {
    fn from(value: i64) -> Operand {
        Operand::Imm(Imm::Int(value))
    }
}

impl From<i32> for Operand {
    fn from(value: i32) -> Operand {
        Operand::Imm(Imm::Int(value.into()))
    }
}

impl From<u32> for Operand {
    fn from(value: u32) -> Operand {
        Operand::Imm(Imm::Int(value.into()))
    }
}

/// What an address starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Base {
    /// A register of 32 or 64 bits.
    Reg(RegId),
    /// A symbol.
    Sym(Symbol),
    /// Nothing: an absolute address.
    Absolute,
}

/// `[base + offset]`, offset in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// Register, symbol or nothing.
    pub base: Base,
    /// Bytes added to it.
    pub offset: i64,
}

impl Address {
    /// `[reg + offset]`.
    pub fn reg(reg: RegId, offset: i64) -> Address {
        Address { base: Base::Reg(reg), offset }
    }

    /// `[symbol + offset]`.
    pub fn sym(symbol: Symbol, offset: i64) -> Address {
        Address { base: Base::Sym(symbol), offset }
    }
}

impl From<RegId> for Address {
    fn from(reg: RegId) -> Address {
        Address::reg(reg, 0)
    }
}

/// Sees an operation's operands in printed order. Every method has a default that does nothing, so a visitor names only what it
/// looks at.
pub trait OperandVisitor {
    /// A register that is written.
    fn def(&mut self, _reg: RegId) {}
    /// `_` in place of a written register.
    fn sink(&mut self) {}
    /// A register that is read.
    fn reg(&mut self, _reg: RegId) {}
    /// A register that is read and written in place (`wgmma` accumulators).
    fn both(&mut self, _reg: RegId) {}
    /// A source operand that is not a register.
    fn constant(&mut self, _operand: &Operand) {}
    /// A negated predicate follows.
    fn not(&mut self) {}
    /// A negated number follows.
    fn minus(&mut self) {}
    /// What is written right behind the previous operand: `.h1`.
    fn suffix(&mut self, _text: &str) {}
    /// A branch target.
    fn label(&mut self, _label: LabelId) {}
    /// A function that is called.
    fn function(&mut self, _function: FuncId) {}
    /// The map inside a tensor operand's brackets begins; like an address, without brackets of its own.
    fn tensor_begin(&mut self) {}
    /// The map ends.
    fn tensor_end(&mut self, _map: &Address) {}
    /// The address begins; its register is reported by [`OperandVisitor::reg`] and what is added to it by
    /// [`OperandVisitor::address_end`].
    fn address_begin(&mut self) {}
    /// The address ends.
    fn address_end(&mut self, _address: &Address) {}
    /// `{`, or `[` of a tensor operand.
    fn open(&mut self, _bracket: char) {}
    /// The matching close.
    fn close(&mut self, _bracket: char) {}
    /// The next operand is joined to the previous one by `|` instead of `, `.
    fn pipe(&mut self) {}
}

/// Shorthands over the raw visitor methods.
impl dyn OperandVisitor + '_ {
    /// A destination or `_`.
    pub fn dst(&mut self, dst: Dst) {
        match dst {
            Dst::Reg(reg) => self.def(reg),
            Dst::Sink => self.sink(),
        }
    }

    /// A source operand.
    pub fn value(&mut self, operand: &Operand) {
        match operand {
            Operand::Reg(reg) => self.reg(*reg),
            other => self.constant(other),
        }
    }

    /// An address.
    pub fn address(&mut self, address: &Address) {
        self.address_begin();
        if let Base::Reg(reg) = address.base {
            self.reg(reg);
        }
        self.address_end(address);
    }

    /// `[map, {coordinates}]`.
    pub fn tensor(&mut self, map: &Address, coords: &[Operand]) {
        self.open('[');
        self.tensor_begin();
        if let Base::Reg(reg) = map.base {
            self.reg(reg);
        }
        self.tensor_end(map);
        self.values(coords);
        self.close(']');
    }

    /// A predicate, possibly negated.
    pub fn pred(&mut self, pred: PredUse) {
        if pred.negated {
            self.not();
        }
        self.reg(pred.reg);
    }

    /// `{…}` of written registers.
    pub fn defs(&mut self, regs: &[RegId]) {
        self.open('{');
        regs.iter().for_each(|reg| self.def(*reg));
        self.close('}');
    }

    /// `{…}` of read registers.
    pub fn regs(&mut self, regs: &[RegId]) {
        self.open('{');
        regs.iter().for_each(|reg| self.reg(*reg));
        self.close('}');
    }

    /// `{…}` of source operands.
    pub fn values(&mut self, operands: &[Operand]) {
        self.open('{');
        operands.iter().for_each(|operand| self.value(operand));
        self.close('}');
    }
}

spelled! {
    /// Special registers.
    SpecialReg {
        TidX = "%tid.x", TidY = "%tid.y", TidZ = "%tid.z",
        NtidX = "%ntid.x", NtidY = "%ntid.y", NtidZ = "%ntid.z",
        CtaidX = "%ctaid.x", CtaidY = "%ctaid.y", CtaidZ = "%ctaid.z",
        NctaidX = "%nctaid.x", NctaidY = "%nctaid.y", NctaidZ = "%nctaid.z",
        LaneId = "%laneid", WarpId = "%warpid", NwarpId = "%nwarpid",
        SmId = "%smid", NsmId = "%nsmid", GridId = "%gridid",
        LanemaskEq = "%lanemask_eq", LanemaskLe = "%lanemask_le", LanemaskLt = "%lanemask_lt", LanemaskGe = "%lanemask_ge",
        LanemaskGt = "%lanemask_gt",
        Clock = "%clock", ClockHi = "%clock_hi", Clock64 = "%clock64",
        Globaltimer = "%globaltimer", GlobaltimerLo = "%globaltimer_lo", GlobaltimerHi = "%globaltimer_hi",
        ClusteridX = "%clusterid.x", ClusteridY = "%clusterid.y", ClusteridZ = "%clusterid.z",
        NclusteridX = "%nclusterid.x", NclusteridY = "%nclusterid.y", NclusteridZ = "%nclusterid.z",
        ClusterCtaidX = "%cluster_ctaid.x", ClusterCtaidY = "%cluster_ctaid.y", ClusterCtaidZ = "%cluster_ctaid.z",
        ClusterNctaidX = "%cluster_nctaid.x", ClusterNctaidY = "%cluster_nctaid.y", ClusterNctaidZ = "%cluster_nctaid.z",
        ClusterCtarank = "%cluster_ctarank", ClusterNctarank = "%cluster_nctarank", IsExplicitCluster = "%is_explicit_cluster",
        DynamicSmemSize = "%dynamic_smem_size", TotalSmemSize = "%total_smem_size", AggrSmemSize = "%aggr_smem_size",
        ReservedBegin = "%reserved_smem_offset_begin", ReservedEnd = "%reserved_smem_offset_end", ReservedCap = "%reserved_smem_offset_cap",
        Reserved0 = "%reserved_smem_offset_0", Reserved1 = "%reserved_smem_offset_1",
        Envreg1 = "%envreg1", Envreg2 = "%envreg2",
    }
}

impl SpecialReg {
    /// Its width: most are 32 bits.
    pub fn ty(self) -> Type {
        match self {
            SpecialReg::Clock64 | SpecialReg::Globaltimer | SpecialReg::GridId => Type::U64,
            SpecialReg::IsExplicitCluster => Type::Pred,
            _ => Type::U32,
        }
    }
}

impl fmt::Display for Imm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Imm::Int(value) => write!(f, "{value}"),
            Imm::F32(bits) => write!(f, "0f{bits:08X}"),
            Imm::F64(bits) => write!(f, "0d{bits:016X}"),
        }
    }
}
