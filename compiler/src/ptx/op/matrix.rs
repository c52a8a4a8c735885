//! Matrix instructions. Fragments are per lane: a register list here is one lane's share.

use super::{Instruction, Mnemonic, OpKind};
use crate::ptx::operand::{Address, Operand, OperandVisitor, RegId};
use crate::ptx::target::Requires;
use crate::ptx::types::{BoolOp, MatLayout, MatShape, Space, Type};

/// `ldmatrix.sync.aligned.m8n8.x4{.trans}.shared.b16 {…}, [a];`
#[derive(Clone, Debug, PartialEq)]
pub struct Ldmatrix {
    /// `M8n8` (sm_75), `M16n16`, `M8n16` (sm_100a).
    pub shape: MatShape,
    /// Transposed while loading.
    pub trans: bool,
    /// Shared or generic.
    pub space: Space,
    /// `b16`, `b8`.
    pub ty: Type,
    /// 1, 2 or 4 registers.
    pub dst: Box<[RegId]>,
    /// Each lane's row address.
    pub addr: Address,
}

/// `stmatrix.sync.aligned.m8n8.x4{.trans}.shared.b16 [a], {…};`
#[derive(Clone, Debug, PartialEq)]
pub struct Stmatrix {
    /// `M8n8` or `M16n8` (sm_100a).
    pub shape: MatShape,
    /// Transposed while storing.
    pub trans: bool,
    /// Shared or generic.
    pub space: Space,
    /// `b16`, `b8`.
    pub ty: Type,
    /// Each lane's row address.
    pub addr: Address,
    /// 1, 2 or 4 registers.
    pub src: Box<[RegId]>,
}

/// `movmatrix.sync.aligned.m8n8.trans.b16 d, a;`: an 8x8 transpose between lanes.
#[derive(Clone, Debug, PartialEq)]
pub struct Movmatrix {
    /// Written.
    pub dst: RegId,
    /// Read.
    pub src: RegId,
}

/// Sparsity of A: two of four are stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Sparsity {
    /// `.sp::ordered_metadata`.
    pub ordered: bool,
    /// The metadata register.
    pub metadata: RegId,
    /// Which threads' metadata counts.
    pub selector: u8,
}

/// `mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {d}, {a}, {b}, {c};`
#[derive(Clone, Debug, PartialEq)]
pub struct Mma {
    /// M, N and K.
    pub shape: MatShape,
    /// Storage order of A.
    pub a_layout: MatLayout,
    /// Storage order of B.
    pub b_layout: MatLayout,
    /// Clamp integer results.
    pub satfinite: bool,
    /// Type of D.
    pub dty: Type,
    /// Type of A.
    pub aty: Type,
    /// Type of B.
    pub bty: Type,
    /// Type of C.
    pub cty: Type,
    /// For `b1`: how bits are combined before `popc`.
    pub bit_op: Option<BoolOp>,
    /// `.kind::f8f6f4` (sm_120a).
    pub f8f6f4: bool,
    /// `mma.sp`.
    pub sparse: Option<Sparsity>,
    /// Written.
    pub d: Box<[RegId]>,
    /// Left factor.
    pub a: Box<[RegId]>,
    /// Right factor.
    pub b: Box<[RegId]>,
    /// Addend.
    pub c: Box<[RegId]>,
}

/// Where `wgmma` finds A.
#[derive(Clone, Debug, PartialEq)]
pub enum WgmmaA {
    /// A shared memory descriptor (64 bits).
    Desc(RegId),
    /// Four registers.
    Regs(Box<[RegId]>),
}

/// `wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {d}, a, b-desc, scale-d, …;`
///
/// D is read and written in place.
#[derive(Clone, Debug, PartialEq)]
pub struct Wgmma {
    /// 8 to 256 in steps of 8.
    pub n: u16,
    /// 32 bytes of K: 16, 8, 32 or 256 elements; twice that where A is sparse.
    pub k: u16,
    /// Type of D.
    pub dty: Type,
    /// Type of A.
    pub aty: Type,
    /// Type of B.
    pub bty: Type,
    /// Clamp integer results.
    pub satfinite: bool,
    /// The accumulator.
    pub d: Box<[RegId]>,
    /// A.
    pub a: WgmmaA,
    /// B's descriptor.
    pub b: RegId,
    /// `wgmma.mma_async.sp`: K has 64 bytes then, of which A stores half.
    pub sparse: Option<Sparsity>,
    /// A predicate register or literal: zero means D = A·B.
    pub scale_d: Operand,
    /// `imm-scale-a`, `imm-scale-b`: 1 or -1. Absent for integers and bits.
    pub scale: Option<(i8, i8)>,
    /// A is MN-major; present only for 16-bit types with A from a descriptor.
    pub trans_a: Option<bool>,
    /// B is MN-major; present only for 16-bit types.
    pub trans_b: Option<bool>,
}

/// Ordering and grouping of `wgmma`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WgmmaSync {
    /// `wgmma.fence.sync.aligned;`: register writes before it are seen by later `wgmma`s.
    Fence,
    /// `wgmma.commit_group.sync.aligned;`
    Commit,
    /// `wgmma.wait_group.sync.aligned n;`
    Wait(u32),
}

fn count_suffix(m: &mut Mnemonic<'_>, len: usize) {
    m.op(match len {
        1 => ".x1",
        2 => ".x2",
        _ => ".x4",
    });
}

impl Ldmatrix {
    /// `m8n8` of 16-bit elements from shared memory.
    pub fn new(trans: bool, dst: impl Into<Box<[RegId]>>, addr: Address) -> Ldmatrix {
        Ldmatrix { shape: MatShape::M8n8, trans, space: Space::Shared, ty: Type::B16, dst: dst.into(), addr }
    }
}

impl Instruction for Ldmatrix {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("ldmatrix.sync.aligned").m(self.shape);
        count_suffix(m, self.dst.len());
        m.flag(self.trans, ".trans").m(self.space).m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.defs(&self.dst);
        v.address(&self.addr);
    }
    fn requires(&self) -> Requires {
        if self.shape == MatShape::M8n8 { Requires::new(6, 5, 75) } else { Requires::arch(8, 6, 100) }
    }
    fn kind(&self) -> OpKind {
        OpKind::Matrix
    }
}

impl Instruction for Stmatrix {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("stmatrix.sync.aligned").m(self.shape);
        count_suffix(m, self.src.len());
        m.flag(self.trans, ".trans").m(self.space).m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.address(&self.addr);
        v.regs(&self.src);
    }
    fn requires(&self) -> Requires {
        if self.shape == MatShape::M8n8 { Requires::new(7, 8, 90) } else { Requires::arch(8, 6, 100) }
    }
    fn kind(&self) -> OpKind {
        OpKind::Matrix
    }
}

impl Instruction for Movmatrix {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("movmatrix.sync.aligned.m8n8.trans.b16");
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        v.reg(self.src);
    }
    fn requires(&self) -> Requires {
        Requires::new(7, 8, 75)
    }
    fn kind(&self) -> OpKind {
        OpKind::Matrix
    }
}

impl Mma {
    /// A dense `row.col` multiplication with `cty = dty`.
    pub fn new(
        shape: MatShape,
        (dty, aty, bty): (Type, Type, Type),
        d: impl Into<Box<[RegId]>>,
        a: impl Into<Box<[RegId]>>,
        b: impl Into<Box<[RegId]>>,
        c: impl Into<Box<[RegId]>>,
    ) -> Mma {
        let (a_layout, b_layout) = (MatLayout::Row, MatLayout::Col);
        let (d, a, b, c) = (d.into(), a.into(), b.into(), c.into());
        let (satfinite, bit_op, f8f6f4, sparse) = (false, None, false, None);
        Mma {
            shape,
            a_layout,
            b_layout,
            satfinite,
            dty,
            aty,
            bty,
            cty: dty,
            bit_op,
            f8f6f4,
            sparse,
            d,
            a,
            b,
            c,
        }
    }
}

impl Instruction for Mma {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op(match &self.sparse {
            None => "mma.sync.aligned",
            Some(Sparsity { ordered: false, .. }) => "mma.sp.sync.aligned",
            Some(_) => "mma.sp::ordered_metadata.sync.aligned",
        });
        m.m(self.shape)
            .m(self.a_layout)
            .m(self.b_layout)
            .flag(self.f8f6f4, ".kind::f8f6f4")
            .flag(self.satfinite, ".satfinite");
        m.m(self.dty).m(self.aty).m(self.bty).m(self.cty);
        if let Some(op) = self.bit_op {
            m.m(op).op(".popc");
        }
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.defs(&self.d);
        v.regs(&self.a);
        v.regs(&self.b);
        v.regs(&self.c);
        if let Some(sparse) = &self.sparse {
            v.reg(sparse.metadata);
            v.constant(&Operand::from(i32::from(sparse.selector)));
        }
    }
    fn requires(&self) -> Requires {
        use MatShape::*;
        if let Some(sparse) = &self.sparse {
            return Requires::new(7, 1, 80).and(Requires::new(8, 5, 80).when(sparse.ordered));
        }
        if self.f8f6f4 {
            return Requires::arch(8, 7, 120);
        }
        match (self.aty, self.shape) {
            (Type::E4m3 | Type::E5m2, M16n8k32) if self.dty == Type::F32 => Requires::new(8, 4, 89),
            (Type::E4m3 | Type::E5m2, _) => Requires::new(8, 7, 89),
            (Type::F64, M8n8k4) => Requires::new(7, 0, 80),
            (Type::F64, _) => Requires::new(7, 8, 90),
            (Type::B1, M8n8k128) => {
                Requires::new(7, 0, 75).and(Requires::new(7, 1, 80).when(self.bit_op == Some(BoolOp::And)))
            }
            (Type::B1, _) => {
                Requires::new(7, 0, 80).and(Requires::new(7, 1, 80).when(self.bit_op == Some(BoolOp::And)))
            }
            (Type::F16, M8n8k4) => Requires::new(6, 4, 70),
            (Type::F16, M16n8k8) | (_, M8n8k16 | M8n8k32) => Requires::new(6, 5, 75),
            _ => Requires::new(7, 0, 80),
        }
    }
    fn kind(&self) -> OpKind {
        OpKind::Matrix
    }
}

impl Instruction for Wgmma {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        let shape = format!(".m64n{}k{}", self.n, self.k);
        m.op("wgmma.mma_async")
            .flag(self.sparse.is_some(), ".sp")
            .op(".sync.aligned")
            .op(&shape)
            .m(self.dty)
            .m(self.aty)
            .m(self.bty);
        m.flag(self.aty == Type::B1, ".and.popc").flag(self.satfinite, ".satfinite");
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.open('{');
        self.d.iter().for_each(|reg| v.both(*reg));
        v.close('}');
        match &self.a {
            WgmmaA::Desc(desc) => v.reg(*desc),
            WgmmaA::Regs(regs) => v.regs(regs),
        }
        v.reg(self.b);
        if let Some(sparse) = &self.sparse {
            v.reg(sparse.metadata);
            v.constant(&Operand::from(i32::from(sparse.selector)));
        }
        v.value(&self.scale_d);
        if let Some((a, b)) = self.scale {
            v.constant(&Operand::from(i32::from(a)));
            v.constant(&Operand::from(i32::from(b)));
        }
        for trans in [self.trans_a, self.trans_b].into_iter().flatten() {
            v.constant(&Operand::from(i32::from(trans)));
        }
    }
    fn requires(&self) -> Requires {
        Requires::arch(8, 0, 90)
            .and(Requires::arch(8, 2, 90).when(self.sparse.is_some()))
            .and(Requires::arch(8, 4, 90).when(self.aty != self.bty && self.dty == Type::S32))
    }
    fn kind(&self) -> OpKind {
        OpKind::Async
    }
}

impl Instruction for WgmmaSync {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op(match self {
            WgmmaSync::Fence => "wgmma.fence.sync.aligned",
            WgmmaSync::Commit => "wgmma.commit_group.sync.aligned",
            WgmmaSync::Wait(_) => "wgmma.wait_group.sync.aligned",
        });
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        if let WgmmaSync::Wait(pending) = self {
            v.constant(&Operand::from(*pending));
        }
    }
    fn requires(&self) -> Requires {
        Requires::arch(8, 0, 90)
    }
    fn kind(&self) -> OpKind {
        OpKind::Async
    }
}
