//! `wmma`: matrices whose fragments have no documented layout. What loads, multiplies and stores them agrees; programs see registers only.

use super::{Instruction, Mnemonic, OpKind};
use crate::ptx::operand::{Address, Operand, OperandVisitor, RegId};
use crate::ptx::target::Requires;
use crate::ptx::types::{BoolOp, MatLayout, MatShape, Space, Type, spelled};

spelled! {
    /// Which matrix of the product a fragment belongs to.
    WmmaMatrix {
        /// M by K.
        A = "a",
        /// K by N.
        B = "b",
        /// M by N, and D when it is stored.
        C = "c",
    }
}

/// Registers of a lane's fragment: 32-bit ones, of 64 bits for f64. The fragments of f16 factors have eight whatever the shape.
pub fn wmma_registers(matrix: WmmaMatrix, shape: MatShape, ty: Type) -> usize {
    let (m, n, k) = shape.mnk();
    let elements = match matrix {
        WmmaMatrix::A => m * k,
        WmmaMatrix::B => k * n,
        WmmaMatrix::C => m * n,
    };
    match (ty, matrix) {
        (Type::F16, WmmaMatrix::A | WmmaMatrix::B) => 8,
        (Type::F64, _) => elements as usize / 32,
        _ => (elements * ty.bits() / 1024) as usize,
    }
}

/// `wmma.load.a.sync.aligned.row.m16n16k16.global.f16 {r}, [p], stride;`
#[derive(Clone, Debug, PartialEq)]
pub struct WmmaLoad {
    /// Which matrix.
    pub matrix: WmmaMatrix,
    /// How it lies in memory.
    pub layout: MatLayout,
    /// M, N and K.
    pub shape: MatShape,
    /// Generic, global or shared.
    pub space: Space,
    /// Of an element.
    pub ty: Type,
    /// The fragment.
    pub dst: Box<[RegId]>,
    /// The first element; the same in all lanes.
    pub addr: Address,
    /// Elements from one row (column) to the next; without it they follow each other.
    pub stride: Option<Operand>,
}

/// `wmma.store.d.sync.aligned.row.m16n16k16.global.f32 [p], {r}, stride;`
#[derive(Clone, Debug, PartialEq)]
pub struct WmmaStore {
    /// How it lies in memory.
    pub layout: MatLayout,
    /// M, N and K.
    pub shape: MatShape,
    /// Generic, global or shared.
    pub space: Space,
    /// Of an element.
    pub ty: Type,
    /// The first element; the same in all lanes.
    pub addr: Address,
    /// The fragment.
    pub src: Box<[RegId]>,
    /// Elements from one row (column) to the next; without it they follow each other.
    pub stride: Option<Operand>,
}

/// `wmma.mma.sync.aligned.row.col.m16n16k16.f32.f32 {d}, {a}, {b}, {c};`
#[derive(Clone, Debug, PartialEq)]
pub struct WmmaMma {
    /// M, N and K.
    pub shape: MatShape,
    /// The layout that A was loaded with.
    pub a_layout: MatLayout,
    /// The layout that B was loaded with.
    pub b_layout: MatLayout,
    /// For bits: how they are combined.
    pub bit_op: Option<BoolOp>,
    /// Clamp results.
    pub satfinite: bool,
    /// Type of D.
    pub dty: Type,
    /// Type of A.
    pub aty: Type,
    /// Type of B.
    pub bty: Type,
    /// Type of C.
    pub cty: Type,
    /// Written.
    pub d: Box<[RegId]>,
    /// Left factor.
    pub a: Box<[RegId]>,
    /// Right factor.
    pub b: Box<[RegId]>,
    /// Addend.
    pub c: Box<[RegId]>,
}

fn requires(shape: MatShape, ty: Type) -> Requires {
    match (ty, shape) {
        (Type::Bf16 | Type::Tf32 | Type::F64, _) => Requires::new(7, 0, 80),
        (Type::S8 | Type::U8, _) => Requires::new(6, 3, 72),
        (Type::S4 | Type::U4 | Type::B1, _) => Requires::new(6, 3, 75),
        (_, MatShape::M16n16k16) => Requires::new(6, 0, 70),
        _ => Requires::new(6, 1, 70),
    }
}

impl Instruction for WmmaLoad {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("wmma.load").m(self.matrix).op(".sync.aligned");
        m.m(self.layout).m(self.shape).m(self.space).m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.defs(&self.dst);
        v.address(&self.addr);
        if let Some(stride) = &self.stride {
            v.value(stride);
        }
    }
    fn requires(&self) -> Requires {
        requires(self.shape, self.ty)
    }
    fn kind(&self) -> OpKind {
        OpKind::Matrix
    }
}

impl Instruction for WmmaStore {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("wmma.store.d.sync.aligned").m(self.layout).m(self.shape).m(self.space).m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.address(&self.addr);
        v.regs(&self.src);
        if let Some(stride) = &self.stride {
            v.value(stride);
        }
    }
    fn requires(&self) -> Requires {
        requires(self.shape, self.ty)
    }
    fn kind(&self) -> OpKind {
        OpKind::Matrix
    }
}

impl Instruction for WmmaMma {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("wmma.mma");
        if let Some(op) = self.bit_op {
            m.m(op).op(".popc");
        }
        m.op(".sync.aligned").m(self.a_layout).m(self.b_layout).m(self.shape);
        m.m(self.dty);
        if self.aty != Type::F16 {
            m.m(self.aty).m(self.bty);
        }
        m.m(self.cty).flag(self.satfinite, ".satfinite");
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.defs(&self.d);
        v.regs(&self.a);
        v.regs(&self.b);
        v.regs(&self.c);
    }
    fn requires(&self) -> Requires {
        requires(self.shape, self.aty).and(Requires::new(7, 1, 80).when(self.bit_op == Some(BoolOp::And)))
    }
    fn kind(&self) -> OpKind {
        OpKind::Matrix
    }
}
