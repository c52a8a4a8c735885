//! Memory, lanes and the matrix unit.

use super::*;

impl Select<'_, '_> {
    pub(super) fn memory(&mut self, op: &t3::Op) {
        match op {
            t3::Op::LoadGlobal { d, from } => {
                let ty = self.element_type(d);
                let (dst, addr) = (self.regs(d), self.address(*from));
                let policy = self.policy;
                self.push(Ld { policy, ..Ld::new(Space::Global, ty, dst.iter().copied(), addr) });
            }
            t3::Op::Policy { d, evict } => {
                let primary = Some(match evict {
                    Evict::First => Priority::EvictFirst,
                    Evict::Normal => Priority::EvictNormal,
                    Evict::Last => Priority::EvictLast,
                });
                let (kind, dst) = (PolicyKind::Fractional(Some(Operand::f32(1.0))), self.reg(*d));
                self.push(CreatePolicy { kind, primary, secondary: None, dst });
            }
            t3::Op::StoreGlobal { a, to } => self.store(Space::Global, a, *to),
            t3::Op::LoadShared { d, from, bytes } => {
                let ty = match bytes {
                    1 => Type::U8,
                    2 => Type::U16,
                    8 => Type::B64,
                    _ if self.kernel.classes[d.0 as usize] == t3::Class::F32 => Type::F32,
                    _ => Type::U32,
                };
                let (dst, addr) = (self.reg(*d), self.address(*from));
                self.push(Ld::new(Space::Shared, ty, [dst], addr));
            }
            t3::Op::LoadSharedWords { d, from } => {
                let dst: Vec<_> = d.iter().map(|r| self.reg(*r)).collect();
                let addr = self.address(*from);
                self.push(Ld::new(Space::Shared, Type::U32, dst, addr));
            }
            t3::Op::StoreShared { a, to } => self.store(Space::Shared, a, *to),
            t3::Op::CountGlobal { d, at } | t3::Op::DrawGlobal { d, at, .. } => {
                let (dst, addr) = (self.reg(*d), self.address(*at));
                let (how, by) = match op {
                    t3::Op::DrawGlobal { last, .. } => {
                        (crate::ptx::AtomOp::Inc, Operand::Reg(self.reg(*last)))
                    }
                    _ => (crate::ptx::AtomOp::Add, Operand::Imm(Imm::Int(1))),
                };
                self.push(Atom {
                    sem: crate::ptx::Semantics::Weak,
                    scope: None,
                    space: Space::Global,
                    op: how,
                    noftz: false,
                    ty: Type::U32,
                    dst: Some([dst.into()].into()),
                    addr,
                    b: [by].into(),
                    c: None,
                    policy: None,
                });
            }
            t3::Op::RedGlobal { op, ty, a, to, old } => {
                let ty = match (op, ty) {
                    (
                        t3::Combine::And | t3::Combine::Or | t3::Combine::Xor,
                        t3::AtomicTy::S64 | t3::AtomicTy::U64,
                    ) => Type::B64,
                    (t3::Combine::And | t3::Combine::Or | t3::Combine::Xor, _) => Type::B32,
                    (_, t3::AtomicTy::F32) => Type::F32,
                    (_, t3::AtomicTy::S64) if *op != t3::Combine::Add => Type::S64,
                    (_, t3::AtomicTy::S64 | t3::AtomicTy::U64) => Type::U64,
                    (_, t3::AtomicTy::S32) if *op != t3::Combine::Add => Type::S32,
                    _ => Type::U32,
                };
                let op = match op {
                    t3::Combine::Add => crate::ptx::AtomOp::Add,
                    t3::Combine::Max => crate::ptx::AtomOp::Max,
                    t3::Combine::Min => crate::ptx::AtomOp::Min,
                    t3::Combine::And => crate::ptx::AtomOp::And,
                    t3::Combine::Or => crate::ptx::AtomOp::Or,
                    t3::Combine::Xor => crate::ptx::AtomOp::Xor,
                };
                let (b, addr) = (self.reg(*a), self.address(*to));
                let dst = old.map(|d| self.reg(d));
                self.push(Atom {
                    sem: crate::ptx::Semantics::Weak,
                    scope: None,
                    space: Space::Global,
                    op,
                    noftz: false,
                    ty,
                    dst: dst.map(|d| [d.into()].into()),
                    addr,
                    b: [b.into()].into(),
                    c: None,
                    policy: None,
                });
            }
            t3::Op::ShuffleXor { d, a, mask } => {
                self.shuffle(ShflMode::Bfly, *d, *a, t3::Src::Int(i64::from(*mask)), 31);
            }
            t3::Op::ShuffleUp { d, a, by } => {
                self.shuffle(ShflMode::Up, *d, *a, t3::Src::Int(i64::from(*by)), 0);
            }
            t3::Op::ShuffleFrom { d, a, lane } => self.shuffle(ShflMode::Idx, *d, *a, *lane, 31),
            t3::Op::ShuffleWithin { d, a, lane, of } => {
                // The upper byte keeps the bits of the lane's own number that tell its neighbourhood from others.
                let clamp = (32 - of) << 8 | 31;
                self.shuffle(ShflMode::Idx, *d, *a, t3::Src::Int(i64::from(*lane)), clamp.into());
            }
            t3::Op::Ballot { d, a } => {
                let (dst, a) = (self.reg(*d), self.reg(*a));
                let mask = Operand::Imm(Imm::Int(0xffff_ffff));
                self.push(Vote { mode: VoteMode::Ballot, dst, src: a.into(), negated: false, mask });
            }
            t3::Op::HighestBit { d, a } => {
                let (dst, src) = (self.reg(*d), self.reg(*a));
                self.push(IntUnary { op: IntUnaryOp::Bfind, ty: Type::U32, dst, a: src.into() });
            }
            t3::Op::CpAsync { to, from, bytes, ignore } => {
                let (dst, src, policy) = (self.address(*to), self.address(*from), self.policy);
                let source = ignore.map_or(CpAsyncSource::Full, |p| CpAsyncSource::IgnoreIf(self.reg(p)));
                let cache = if *bytes == 16 { crate::ptx::CacheOp::Cg } else { crate::ptx::CacheOp::Ca };
                let prefetch =
                    if *bytes == 16 { crate::ptx::L2Prefetch::B128 } else { crate::ptx::L2Prefetch::None };
                self.push(CpAsync { cache, prefetch, size: *bytes as u8, dst, src, source, policy });
            }
            t3::Op::CpAsyncCommit => self.push(CpAsyncGroup::Commit),
            t3::Op::Ldmatrix { d, from, trans } => {
                let (dst, addr) = (self.regs(d), self.address(*from));
                let shape = crate::ptx::MatShape::M8n8;
                self.push(Ldmatrix { shape, trans: *trans, space: Space::Shared, ty: Type::B16, dst, addr });
            }
            t3::Op::Mma { atom, c, a, b } => {
                let (c, a, b) = (self.regs(c), self.regs(a), self.regs(b));
                let (shape, sum) = match atom.a {
                    MmaType::F16 | MmaType::Bf16 => (crate::ptx::MatShape::M16n8k16, Type::F32),
                    MmaType::Tf32 => (crate::ptx::MatShape::M16n8k8, Type::F32),
                    MmaType::S8 | MmaType::U8 => (crate::ptx::MatShape::M16n8k32, Type::S32),
                    MmaType::E4m3 | MmaType::E5m2 => (crate::ptx::MatShape::M16n8k32, Type::F32),
                    MmaType::B1 => (crate::ptx::MatShape::M16n8k256, Type::S32),
                };
                self.push(Mma {
                    shape,
                    a_layout: crate::ptx::MatLayout::Row,
                    b_layout: crate::ptx::MatLayout::Col,
                    satfinite: false,
                    dty: sum,
                    aty: matrix_type(atom.a),
                    bty: matrix_type(atom.b),
                    cty: sum,
                    bit_op: (atom.a == MmaType::B1).then_some(crate::ptx::BoolOp::And),
                    f8f6f4: false,
                    sparse: None,
                    d: c.clone(),
                    a,
                    b,
                    c,
                });
            }
            _ => unreachable!("not a memory op"),
        }
    }

    pub(super) fn store(&mut self, space: Space, a: &[t3::Reg], to: t3::Address) {
        let ty = self.element_type(a);
        let (src, addr, policy) = (self.operands(a), self.address(to), self.policy);
        self.push(St { policy, ..St::new(space, ty, addr, src.iter().copied()) });
    }

    pub(super) fn element_type(&self, regs: &[t3::Reg]) -> Type {
        match regs.first().map(|r| self.kernel.classes[r.0 as usize]) {
            Some(t3::Class::B8) => Type::U8,
            Some(t3::Class::B16) => Type::B16,
            Some(t3::Class::B64) => Type::B64,
            Some(t3::Class::F32) => Type::F32,
            _ => Type::B32,
        }
    }

    /// A shuffle among all lanes; `clamp` is the last lane that may be a source.
    pub(super) fn shuffle(&mut self, mode: ShflMode, d: t3::Reg, a: t3::Reg, b: t3::Src, clamp: i64) {
        let (dst, a, b) = (self.reg(d), self.reg(a), self.src(b));
        let (c, mask) = (Operand::Imm(Imm::Int(clamp)), Operand::Imm(Imm::Int(0xffff_ffff)));
        self.push(Shfl { mode, dst: dst.into(), pred: None, a: a.into(), b, c, mask });
    }
}
