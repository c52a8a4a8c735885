//! Integer arithmetic, logic, shifts and bit fields.

use super::{Instruction, Mnemonic, OpKind};
use crate::ptx::operand::{Dst, Operand, OperandVisitor, PredUse, RegId};
use crate::ptx::target::Requires;
use crate::ptx::types::{BoolOp, MulMode, Type, spelled};

spelled! {
    /// Two-operand integer operations.
    IntBinaryOp {
        Add = "add", Sub = "sub", MulLo = "mul.lo", MulHi = "mul.hi",
        /// The result is twice as wide as `ty`.
        MulWide = "mul.wide",
        Mul24Lo = "mul24.lo", Mul24Hi = "mul24.hi", Div = "div", Rem = "rem", Min = "min", Max = "max",
    }
}

spelled! {
    /// One-operand integer operations. `popc`, `clz` and `bfind` write 32 bits whatever they read.
    IntUnaryOp {
        Neg = "neg", Abs = "abs", Not = "not", Cnot = "cnot", Popc = "popc", Clz = "clz", Brev = "brev", Bfind = "bfind",
        BfindShift = "bfind.shiftamt",
    }
}

spelled! {
    /// `shl` and `shr`; the amount is unsigned and clamps at the width. `shr.s*` is arithmetic.
    ShiftOp { Shl = "shl", Shr = "shr" }
}

spelled! {
    /// Byte selection modes of `prmt`; the default takes a selector of four nibbles.
    PrmtMode { Default = "", F4e = "f4e", B4e = "b4e", Rc8 = "rc8", Ecl = "ecl", Ecr = "ecr", Rc16 = "rc16" }
}

spelled! {
    /// Direction of a funnel shift.
    FunnelDir { Left = "l", Right = "r" }
}

spelled! {
    /// Amounts above 32: clamp at 32 or use the low five bits.
    FunnelMode { Clamp = "clamp", Wrap = "wrap" }
}

spelled! {
    /// Searches for bits, extensions and masks of a number of bits that is an operand.
    BitSearchOp { FindNthSet = "fns", SignExtend = "szext", Mask = "bmsk" }
}

spelled! {
    /// Additions of a carry chain.
    CarryOp { Add = "add", Addc = "addc", Sub = "sub", Subc = "subc", MadLo = "mad.lo", MadHi = "mad.hi", MadcLo = "madc.lo", MadcHi = "madc.hi" }
}

/// `add.s32 d, a, b;` and its kin.
#[derive(Clone, Debug, PartialEq)]
pub struct IntBinary {
    /// Which.
    pub op: IntBinaryOp,
    /// `add.sat.s32`, `sub.sat.s32`.
    pub sat: bool,
    /// `min.relu`, `max.relu`.
    pub relu: bool,
    /// Type of the sources.
    pub ty: Type,
    /// Written; twice as wide for `mul.wide`.
    pub dst: RegId,
    /// Left.
    pub a: Operand,
    /// Right.
    pub b: Operand,
}

/// `mad.lo.s32 d, a, b, c;`, `mad24.lo` never (see [`IntBinaryOp::Mul24Lo`]).
#[derive(Clone, Debug, PartialEq)]
pub struct IntMad {
    /// Which part of the product.
    pub mode: MulMode,
    /// `mad24`: the factors are 24 bits.
    pub m24: bool,
    /// `mad.hi.sat.s32`.
    pub sat: bool,
    /// Type of the factors.
    pub ty: Type,
    /// Written; twice as wide for `wide`.
    pub dst: RegId,
    /// Factor.
    pub a: Operand,
    /// Factor.
    pub b: Operand,
    /// Addend, as wide as `dst`.
    pub c: Operand,
}

/// `neg.s32 d, a;` and its kin.
#[derive(Clone, Debug, PartialEq)]
pub struct IntUnary {
    /// Which.
    pub op: IntUnaryOp,
    /// Type of the source.
    pub ty: Type,
    /// Written.
    pub dst: RegId,
    /// Read.
    pub a: Operand,
}

/// `and.b32 d, a, b;`, predicates included.
#[derive(Clone, Debug, PartialEq)]
pub struct Logic {
    /// Which.
    pub op: BoolOp,
    /// `pred`, `b16`, `b32`, `b64`.
    pub ty: Type,
    /// Written.
    pub dst: RegId,
    /// Left.
    pub a: Operand,
    /// Right.
    pub b: Operand,
}

/// `shl.b32 d, a, n;`
#[derive(Clone, Debug, PartialEq)]
pub struct Shift {
    /// Which.
    pub op: ShiftOp,
    /// Type shifted; decides whether `shr` copies the sign.
    pub ty: Type,
    /// Written.
    pub dst: RegId,
    /// Shifted.
    pub a: Operand,
    /// Amount, 32 bits.
    pub b: Operand,
}

/// `lop3.b32 d, a, b, c, lut;` or `lop3.or.b32 d|p, a, b, c, lut, q;`
#[derive(Clone, Debug, PartialEq)]
pub struct Lop3 {
    /// `p = (d != 0) op q` where present.
    pub pred: Option<(BoolOp, RegId, PredUse)>,
    /// Written; `_` where only the predicate is wanted.
    pub dst: Dst,
    /// Bit 2 of the table index.
    pub a: Operand,
    /// Bit 1.
    pub b: Operand,
    /// Bit 0.
    pub c: Operand,
    /// The truth table: `(0xF0 op 0xCC op 0xAA)`.
    pub lut: u8,
}

/// `prmt.b32{.mode} d, a, b, c;`
#[derive(Clone, Debug, PartialEq)]
pub struct Prmt {
    /// Selection mode.
    pub mode: PrmtMode,
    /// Written.
    pub dst: RegId,
    /// Bytes 0..3.
    pub a: Operand,
    /// Bytes 4..7.
    pub b: Operand,
    /// Selector.
    pub c: Operand,
}

/// `shf.l.wrap.b32 d, a, b, c;`: `b:a` shifted by `c`.
#[derive(Clone, Debug, PartialEq)]
pub struct Funnel {
    /// Direction.
    pub dir: FunnelDir,
    /// What amounts above 32 do.
    pub mode: FunnelMode,
    /// Written.
    pub dst: RegId,
    /// Low word.
    pub a: Operand,
    /// High word.
    pub b: Operand,
    /// Amount.
    pub c: Operand,
}

/// `bfe.u32 d, a, pos, len;`
#[derive(Clone, Debug, PartialEq)]
pub struct BitExtract {
    /// `u32 u64 s32 s64`.
    pub ty: Type,
    /// Written.
    pub dst: RegId,
    /// From.
    pub a: Operand,
    /// First bit, 0..255.
    pub pos: Operand,
    /// Number of bits, 0..255.
    pub len: Operand,
}

/// `bfi.b32 d, a, b, pos, len;`: `a`'s low bits into `b`.
#[derive(Clone, Debug, PartialEq)]
pub struct BitInsert {
    /// `b32 b64`.
    pub ty: Type,
    /// Written.
    pub dst: RegId,
    /// Inserted.
    pub a: Operand,
    /// Into.
    pub b: Operand,
    /// First bit.
    pub pos: Operand,
    /// Number of bits.
    pub len: Operand,
}

/// `sad.s32 d, a, b, c;`: `c + |a - b|`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sad {
    /// Type.
    pub ty: Type,
    /// Written.
    pub dst: RegId,
    /// Left.
    pub a: Operand,
    /// Right.
    pub b: Operand,
    /// Addend.
    pub c: Operand,
}

/// `dp4a.aty.bty d, a, b, c;` and `dp2a.{lo,hi}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dp4a {
    /// `None`: dp4a; `Some(Lo | Hi)`: dp2a with that half of `b`.
    pub half: Option<MulMode>,
    /// `u32` or `s32`.
    pub aty: Type,
    /// `u32` or `s32`.
    pub bty: Type,
    /// Written.
    pub dst: RegId,
    /// Packed.
    pub a: Operand,
    /// Packed.
    pub b: Operand,
    /// Addend.
    pub c: Operand,
}

/// `fns.b32`, `szext.clamp.s32`, `bmsk.wrap.b32`.
#[derive(Clone, Debug, PartialEq)]
pub struct BitSearch {
    /// Which.
    pub op: BitSearchOp,
    /// `.wrap` instead of `.clamp`.
    pub wrap: bool,
    /// `szext.s32`.
    pub signed: bool,
    /// Written.
    pub dst: RegId,
    /// The mask of `fns`, the value of `szext`, the position of `bmsk`.
    pub a: Operand,
    /// The base of `fns`, the width of the others.
    pub b: Operand,
    /// The offset of `fns`.
    pub c: Option<Operand>,
}

/// `add.cc`, `addc`, `madc.hi.cc`...: extended precision through the condition-code carry.
#[derive(Clone, Debug, PartialEq)]
pub struct CarryChain {
    /// Which.
    pub op: CarryOp,
    /// Whether it writes the carry.
    pub cc: bool,
    /// `u32 s32 u64 s64`.
    pub ty: Type,
    /// Written.
    pub dst: RegId,
    /// Left.
    pub a: Operand,
    /// Right.
    pub b: Operand,
    /// Addend of the `mad` forms.
    pub c: Option<Operand>,
}

impl IntBinary {
    /// Without `.sat` and `.relu`.
    pub fn new(
        op: IntBinaryOp,
        ty: Type,
        dst: RegId,
        a: impl Into<Operand>,
        b: impl Into<Operand>,
    ) -> IntBinary {
        IntBinary { op, sat: false, relu: false, ty, dst, a: a.into(), b: b.into() }
    }
}

impl Instruction for IntBinary {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        use crate::ptx::types::Spelled;
        m.op(self.op.text());
        // `min.relu.s16x2`, but `min.s16x2.relu` was never legal; `add.sat.s32`.
        m.flag(self.sat, ".sat").flag(self.relu, ".relu").m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.a);
        v.value(&self.b);
    }
    fn requires(&self) -> Requires {
        Requires::new(8, 0, 90).when(self.relu || matches!(self.ty, Type::U16x2 | Type::S16x2))
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for IntMad {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op(if self.m24 { "mad24" } else { "mad" }).m(self.mode).flag(self.sat, ".sat").m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.a);
        v.value(&self.b);
        v.value(&self.c);
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for IntUnary {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        use crate::ptx::types::Spelled;
        m.op(self.op.text()).m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.a);
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for Logic {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        use crate::ptx::types::Spelled;
        m.op(self.op.text()).m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.a);
        v.value(&self.b);
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for Shift {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        use crate::ptx::types::Spelled;
        m.op(self.op.text()).m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.a);
        v.value(&self.b);
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for Lop3 {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("lop3").opt(self.pred.map(|(op, ..)| op)).op(".b32");
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.dst(self.dst);
        if let Some((_, p, _)) = self.pred {
            v.pipe();
            v.def(p);
        }
        v.value(&self.a);
        v.value(&self.b);
        v.value(&self.c);
        v.constant(&Operand::from(i32::from(self.lut)));
        if let Some((_, _, q)) = self.pred {
            v.pred(q);
        }
    }
    fn requires(&self) -> Requires {
        Requires::new(8, 2, 75).when(self.pred.is_some())
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for Prmt {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("prmt.b32").m(self.mode);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.a);
        v.value(&self.b);
        v.value(&self.c);
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for Funnel {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("shf").m(self.dir).m(self.mode).op(".b32");
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.a);
        v.value(&self.b);
        v.value(&self.c);
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for BitExtract {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("bfe").m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.a);
        v.value(&self.pos);
        v.value(&self.len);
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for BitInsert {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("bfi").m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.a);
        v.value(&self.b);
        v.value(&self.pos);
        v.value(&self.len);
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for Sad {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("sad").m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.a);
        v.value(&self.b);
        v.value(&self.c);
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for Dp4a {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op(if self.half.is_some() { "dp2a" } else { "dp4a" }).opt(self.half).m(self.aty).m(self.bty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.a);
        v.value(&self.b);
        v.value(&self.c);
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for BitSearch {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        use crate::ptx::types::Spelled;
        m.op(self.op.text());
        if self.op != BitSearchOp::FindNthSet {
            m.op(if self.wrap { ".wrap" } else { ".clamp" });
        }
        m.op(match (self.op, self.signed) {
            (BitSearchOp::SignExtend, true) => ".s32",
            (BitSearchOp::SignExtend, false) => ".u32",
            _ => ".b32",
        });
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.a);
        v.value(&self.b);
        if let Some(c) = &self.c {
            v.value(c);
        }
    }
    fn requires(&self) -> Requires {
        match self.op {
            BitSearchOp::FindNthSet => Requires::BASE,
            _ => Requires::new(7, 6, 70),
        }
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for CarryChain {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        use crate::ptx::types::Spelled;
        m.op(self.op.text()).flag(self.cc, ".cc").m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.a);
        v.value(&self.b);
        if let Some(c) = &self.c {
            v.value(c);
        }
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}
