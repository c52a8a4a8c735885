//! Data movement between registers: `mov`, packing, conversions, address spaces, comparisons and selections.

use super::{Instruction, Mnemonic, OpKind};
use crate::ptx::operand::{Dst, Operand, OperandVisitor, PredUse, RegId};
use crate::ptx::target::Requires;
use crate::ptx::types::{BoolOp, CmpOp, Rounding, Space, Type, TypeKind};

/// `mov.type d, a;` from a register, literal, special register or symbol address.
#[derive(Clone, Debug, PartialEq)]
pub struct Mov {
    /// Type of the copy.
    pub ty: Type,
    /// Written.
    pub dst: RegId,
    /// Read.
    pub src: Operand,
}

/// `mov.b64 d, {a, b};`: the first source is the lowest part.
#[derive(Clone, Debug, PartialEq)]
pub struct Pack {
    /// `b16` of bytes, `b32` of halves or bytes, `b64` of words or halves, `b128` of two 64-bit words.
    pub ty: Type,
    /// Written.
    pub dst: RegId,
    /// 2 or 4 parts, low first.
    pub srcs: Box<[Operand]>,
}

/// `mov.b64 {a, b}, s;`: the first destination receives the lowest part.
#[derive(Clone, Debug, PartialEq)]
pub struct Unpack {
    /// Type of the source.
    pub ty: Type,
    /// 2 or 4 parts, low first.
    pub dsts: Box<[Dst]>,
    /// Read.
    pub src: Operand,
}

/// `cvt{.rnd}{.ftz}{.sat}{.relu}{.satfinite}.dty.sty d, a;`
#[derive(Clone, Debug, PartialEq)]
pub struct Cvt {
    /// Rounding where the conversion loses bits.
    pub rnd: Option<Rounding>,
    /// Flush subnormal f32 to zero.
    pub ftz: bool,
    /// Clamp to the destination's range (floats: to 0..1).
    pub sat: bool,
    /// Negative results become 0.
    pub relu: bool,
    /// Overflow becomes the largest finite value (fp8, tf32, f16).
    pub satfinite: bool,
    /// Destination type.
    pub dty: Type,
    /// Source type.
    pub sty: Type,
    /// Written.
    pub dst: RegId,
    /// Read.
    pub src: Operand,
}

/// `cvt.pack.sat.s8.s32.b32 d, a, b, c;`: two clamped integers, `b` lowest, and what is left of the word from `c`.
#[derive(Clone, Debug, PartialEq)]
pub struct CvtPackInt {
    /// Clamped to signed integers.
    pub signed: bool,
    /// Bits of each: 2, 4, 8 or 16.
    pub bits: u8,
    /// Written.
    pub dst: RegId,
    /// Upper.
    pub a: Operand,
    /// Lower.
    pub b: Operand,
    /// Its low bits become the bits above; none with 16.
    pub c: Option<Operand>,
}

/// `cvt.rn.f16x2.f32 d, a, b;`: two sources into one packed pair, **`a` in the upper half**.
#[derive(Clone, Debug, PartialEq)]
pub struct CvtPack {
    /// Rounding.
    pub rnd: Rounding,
    /// Negative results become 0.
    pub relu: bool,
    /// Overflow becomes the largest finite value.
    pub satfinite: bool,
    /// Packed destination type.
    pub dty: Type,
    /// Type of each source.
    pub sty: Type,
    /// Written.
    pub dst: RegId,
    /// Goes to the upper half.
    pub hi: Operand,
    /// Goes to the lower half.
    pub lo: Operand,
}

/// `cvta{.to}.space.u64 d, a;`
#[derive(Clone, Debug, PartialEq)]
pub struct Cvta {
    /// From generic into `space` instead of out of it.
    pub to: bool,
    /// The space.
    pub space: Space,
    /// `u32` or `u64`.
    pub ty: Type,
    /// Written.
    pub dst: RegId,
    /// Read.
    pub src: Operand,
}

/// `isspacep.space p, a;`
#[derive(Clone, Debug, PartialEq)]
pub struct IsSpace {
    /// The space asked for.
    pub space: Space,
    /// Written.
    pub dst: RegId,
    /// A generic address.
    pub src: RegId,
}

/// `mapa{.shared::cluster}.u32 d, a, cta;`: the same shared address in another block of the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapa {
    /// `SharedCluster`: shared-window addresses; `Generic`: generic ones.
    pub space: Space,
    /// `u32` or `u64`.
    pub ty: Type,
    /// Written.
    pub dst: RegId,
    /// Register or shared variable.
    pub src: Operand,
    /// Rank of the block.
    pub cta: Operand,
}

/// `getctarank{.shared::cluster}.u32 d, a;`
#[derive(Clone, Debug, PartialEq)]
pub struct GetCtaRank {
    /// As for [`Mapa`].
    pub space: Space,
    /// Type of the address.
    pub ty: Type,
    /// Written.
    pub dst: RegId,
    /// An address.
    pub src: Operand,
}

/// `setp.cmp{.bool}{.ftz}.type p{|q}, a, b{, {!}c};`
#[derive(Clone, Debug, PartialEq)]
pub struct Setp {
    /// The comparison.
    pub cmp: CmpOp,
    /// Combined with a third predicate.
    pub combine: Option<(BoolOp, PredUse)>,
    /// Flush subnormal inputs.
    pub ftz: bool,
    /// Type compared.
    pub ty: Type,
    /// Receives the result.
    pub dst: Dst,
    /// Receives the negated comparison (combined with the same third predicate); for `f16x2` the upper element's result.
    pub dst2: Option<Dst>,
    /// Left.
    pub a: Operand,
    /// Right.
    pub b: Operand,
}

/// `set.cmp{.bool}{.ftz}.dty.sty d, a, b{, {!}c};`: all ones or 1.0 for true.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// The comparison.
    pub cmp: CmpOp,
    /// Combined with a predicate.
    pub combine: Option<(BoolOp, PredUse)>,
    /// Flush subnormal inputs.
    pub ftz: bool,
    /// Type of the result: integers get all ones, floats 1.0.
    pub dty: Type,
    /// Type compared.
    pub sty: Type,
    /// Written.
    pub dst: RegId,
    /// Left.
    pub a: Operand,
    /// Right.
    pub b: Operand,
}

/// `selp.type d, a, b, p;`
#[derive(Clone, Debug, PartialEq)]
pub struct Selp {
    /// Type copied.
    pub ty: Type,
    /// Written.
    pub dst: RegId,
    /// If `p`.
    pub a: Operand,
    /// If not `p`.
    pub b: Operand,
    /// The choice.
    pub p: PredUse,
}

/// `slct{.ftz}.dty.{s32|f32} d, a, b, c;`: `c >= 0 ? a : b`.
#[derive(Clone, Debug, PartialEq)]
pub struct Slct {
    /// Flush a subnormal `c`.
    pub ftz: bool,
    /// Type copied.
    pub dty: Type,
    /// Type of `c`.
    pub cty: Type,
    /// Written.
    pub dst: RegId,
    /// If `c >= 0`.
    pub a: Operand,
    /// If not.
    pub b: Operand,
    /// The choice.
    pub c: Operand,
}

impl Instruction for Mov {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("mov").m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.src);
    }
    fn requires(&self) -> Requires {
        use crate::ptx::SpecialReg as S;
        match self.src {
            Operand::Special(
                S::ClusteridX
                | S::ClusteridY
                | S::ClusteridZ
                | S::NclusteridX
                | S::NclusteridY
                | S::NclusteridZ
                | S::ClusterCtaidX
                | S::ClusterCtaidY
                | S::ClusterCtaidZ
                | S::ClusterNctaidX
                | S::ClusterNctaidY
                | S::ClusterNctaidZ
                | S::ClusterCtarank
                | S::ClusterNctarank
                | S::IsExplicitCluster,
            ) => Requires::new(7, 8, 90),
            Operand::Special(S::AggrSmemSize) => Requires::new(8, 1, 90),
            Operand::Special(
                S::ReservedBegin | S::ReservedEnd | S::ReservedCap | S::Reserved0 | S::Reserved1,
            ) => Requires::new(7, 6, 80),
            _ => Requires::new(8, 3, 70).when(self.ty == Type::B128),
        }
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for Pack {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("mov").m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.values(&self.srcs);
    }
    fn requires(&self) -> Requires {
        Requires::new(8, 3, 70).when(self.ty == Type::B128)
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for Unpack {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("mov").m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.open('{');
        self.dsts.iter().for_each(|dst| v.dst(*dst));
        v.close('}');
        v.value(&self.src);
    }
    fn requires(&self) -> Requires {
        Requires::new(8, 3, 70)
            .when(self.ty == Type::B128)
            .and(Requires::new(7, 1, 75).when(self.dsts.contains(&Dst::Sink)))
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

/// What a conversion between `dty` and `sty` needs (PTX ISA, notes of `cvt`).
fn cvt_requires(dty: Type, sty: Type, rnd: Option<Rounding>, relu: bool, satfinite: bool) -> Requires {
    use Type::*;
    let either = |tys: &[Type]| tys.contains(&dty) || tys.contains(&sty);
    if either(&[E2m1x2, E2m3x2, E3m2x2, Ue8m0x2]) {
        return Requires::arch(8, 6, 100);
    }
    if either(&[E4m3x2, E5m2x2]) {
        // bf16x2 sources came much later than f16x2 and f32 ones.
        return if either(&[Bf16x2]) { Requires::arch(9, 1, 100) } else { Requires::new(8, 1, 89) };
    }
    if dty == Tf32 {
        return match rnd {
            Some(Rounding::Rna) if !satfinite => Requires::new(7, 0, 80),
            Some(Rounding::Rna) => Requires::new(8, 1, 80),
            _ => Requires::new(7, 8, 90).and(Requires::new(8, 6, 90).when(satfinite)),
        };
    }
    if either(&[Bf16]) {
        // Only f32 -> bf16 is old; bf16 from and to everything else is sm_90.
        return if dty == Bf16 && sty == F32 {
            Requires::new(7, 0, 80)
        } else if sty == Bf16 && dty == F32 {
            Requires::new(7, 1, 80)
        } else {
            Requires::new(7, 8, 90)
        };
    }
    let packed = matches!(dty, F16x2 | Bf16x2);
    Requires::new(7, 0, 80).when(packed || relu).and(Requires::new(8, 1, 80).when(satfinite))
}

impl Instruction for Cvt {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("cvt").opt(self.rnd);
        if self.dty == Type::Tf32 || self.dty.is_packed() {
            m.flag(self.satfinite, ".satfinite").flag(self.relu, ".relu");
        } else {
            m.flag(self.relu, ".relu").flag(self.satfinite, ".satfinite");
        }
        m.flag(self.ftz, ".ftz").flag(self.sat, ".sat").m(self.dty).m(self.sty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.src);
    }
    fn requires(&self) -> Requires {
        cvt_requires(self.dty, self.sty, self.rnd, self.relu, self.satfinite)
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for CvtPackInt {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op(if self.signed { "cvt.pack.sat.s" } else { "cvt.pack.sat.u" });
        m.op(match self.bits {
            2 => "2.s32",
            4 => "4.s32",
            8 => "8.s32",
            _ => "16.s32",
        });
        m.flag(self.c.is_some(), ".b32");
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
        Requires::new(6, 5, 75)
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for CvtPack {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("cvt").m(self.rnd);
        m.flag(self.satfinite, ".satfinite").flag(self.relu, ".relu").m(self.dty).m(self.sty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.hi);
        v.value(&self.lo);
    }
    fn requires(&self) -> Requires {
        cvt_requires(self.dty, self.sty, Some(self.rnd), self.relu, self.satfinite && self.dty.bits() == 32)
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for Cvta {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("cvta").flag(self.to, ".to").m(self.space).m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.src);
    }
    fn requires(&self) -> Requires {
        Requires::new(7, 7, 75)
            .when(self.space == Space::Param)
            .and(Requires::new(7, 8, 90).when(self.space == Space::SharedCluster))
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for IsSpace {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("isspacep").m(self.space);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.reg(self.src);
    }
    fn requires(&self) -> Requires {
        Requires::new(7, 7, 75)
            .when(self.space == Space::Param)
            .and(Requires::new(7, 8, 90).when(self.space == Space::SharedCluster))
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for Mapa {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("mapa").m(self.space).m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.src);
        v.value(&self.cta);
    }
    fn requires(&self) -> Requires {
        Requires::new(7, 8, 90)
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for GetCtaRank {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("getctarank").m(self.space).m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.src);
    }
    fn requires(&self) -> Requires {
        Requires::new(7, 8, 90)
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for Setp {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("setp").m(self.cmp).opt(self.combine.map(|(op, _)| op)).flag(self.ftz, ".ftz").m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.dst(self.dst);
        if let Some(dst) = self.dst2 {
            v.pipe();
            v.dst(dst);
        }
        v.value(&self.a);
        v.value(&self.b);
        if let Some((_, pred)) = self.combine {
            v.pred(pred);
        }
    }
    fn requires(&self) -> Requires {
        Requires::new(7, 8, 90).when(matches!(self.ty, Type::Bf16 | Type::Bf16x2))
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for Set {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("set")
            .m(self.cmp)
            .opt(self.combine.map(|(op, _)| op))
            .flag(self.ftz, ".ftz")
            .m(self.dty)
            .m(self.sty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.a);
        v.value(&self.b);
        if let Some((_, pred)) = self.combine {
            v.pred(pred);
        }
    }
    fn requires(&self) -> Requires {
        let bf16 = |ty| matches!(ty, Type::Bf16 | Type::Bf16x2);
        Requires::new(7, 8, 90).when(bf16(self.dty) || bf16(self.sty))
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for Selp {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("selp").m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.value(&self.a);
        v.value(&self.b);
        v.pred(self.p);
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for Slct {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("slct").flag(self.ftz, ".ftz").m(self.dty).m(self.cty);
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

impl Cvt {
    /// A conversion with no modifiers but rounding.
    pub fn new(rnd: Option<Rounding>, dty: Type, sty: Type, dst: RegId, src: impl Into<Operand>) -> Cvt {
        Cvt { rnd, ftz: false, sat: false, relu: false, satfinite: false, dty, sty, dst, src: src.into() }
    }
}

impl Setp {
    /// `setp.cmp.ty dst, a, b;`. Unsigned integers use `lt`, `le`, `gt`, `ge` like all others.
    pub fn new(cmp: CmpOp, ty: Type, dst: RegId, a: impl Into<Operand>, b: impl Into<Operand>) -> Setp {
        debug_assert!(ty.kind() != TypeKind::Pred);
        Setp { cmp, combine: None, ftz: false, ty, dst: dst.into(), dst2: None, a: a.into(), b: b.into() }
    }
}
