//! Memory: loads, stores, atomics, prefetches and cache policies.

use super::{Instruction, Mnemonic, OpKind};
use crate::ptx::operand::{Address, Dst, Operand, OperandVisitor, RegId};
use crate::ptx::target::Requires;
use crate::ptx::types::{
    AtomOp, CacheOp, L1Evict, L2Evict, L2Prefetch, Scope, Semantics, Space, Type, spelled,
};

/// `ld.global.nc.L1::no_allocate.v4.b32 {…}, [a];`
#[derive(Clone, Debug, PartialEq)]
pub struct Ld {
    /// Ordering.
    pub sem: Semantics,
    /// With `relaxed` and `acquire`.
    pub scope: Option<Scope>,
    /// Where from.
    pub space: Space,
    /// `.nc`: read-only for the whole kernel.
    pub nc: bool,
    /// Cache operator.
    pub cache: CacheOp,
    /// Eviction hint.
    pub l1: L1Evict,
    /// Eviction hint.
    pub l2: L2Evict,
    /// Prefetch hint.
    pub prefetch: L2Prefetch,
    /// Type of each element.
    pub ty: Type,
    /// 1, 2, 4 or 8 destinations.
    pub dst: Box<[Dst]>,
    /// From here.
    pub addr: Address,
    /// `.L2::cache_hint` policy.
    pub policy: Option<RegId>,
}

/// `st.shared.v4.b32 [a], {…};`
#[derive(Clone, Debug, PartialEq)]
pub struct St {
    /// Ordering.
    pub sem: Semantics,
    /// With `relaxed` and `release`.
    pub scope: Option<Scope>,
    /// Where to.
    pub space: Space,
    /// Cache operator.
    pub cache: CacheOp,
    /// Eviction hint.
    pub l1: L1Evict,
    /// Eviction hint.
    pub l2: L2Evict,
    /// Type of each element.
    pub ty: Type,
    /// To here.
    pub addr: Address,
    /// 1, 2, 4 or 8 sources.
    pub src: Box<[Operand]>,
    /// `.L2::cache_hint` policy.
    pub policy: Option<RegId>,
}

/// `atom…` or, without a destination, `red…`.
#[derive(Clone, Debug, PartialEq)]
pub struct Atom {
    /// Ordering; `Weak` here means "not written", which is relaxed.
    pub sem: Semantics,
    /// Scope; absent means gpu.
    pub scope: Option<Scope>,
    /// Where.
    pub space: Space,
    /// What.
    pub op: AtomOp,
    /// `.noftz` of the half types.
    pub noftz: bool,
    /// Type of each element.
    pub ty: Type,
    /// The old values, or nothing for `red`.
    pub dst: Option<Box<[Dst]>>,
    /// Where exactly.
    pub addr: Address,
    /// The operand (for `cas` the expected value); more than one for `.v2 .v4 .v8`.
    pub b: Box<[Operand]>,
    /// The new value of `cas`.
    pub c: Option<Operand>,
    /// `.L2::cache_hint` policy.
    pub policy: Option<RegId>,
}

spelled! {
    /// What `prefetch` brings where.
    PrefetchTo {
        L1 = "L1", L2 = "L2", L2EvictLast = "L2::evict_last", L2EvictNormal = "L2::evict_normal",
        /// A tensor map, for later bulk tensor copies.
        Tensormap = "tensormap",
        /// `prefetchu.L1`.
        Uniform = "uniform",
    }
}

/// `prefetch{.space}.level [a];`
#[derive(Clone, Debug, PartialEq)]
pub struct Prefetch {
    /// Space of the address.
    pub space: Space,
    /// What and how far.
    pub to: PrefetchTo,
    /// Where.
    pub addr: Address,
}

spelled! {
    /// Priorities of `createpolicy`.
    Priority {
        EvictLast = "L2::evict_last", EvictNormal = "L2::evict_normal", EvictFirst = "L2::evict_first",
        EvictUnchanged = "L2::evict_unchanged",
    }
}

/// Which accesses a cache policy covers.
#[derive(Clone, Debug, PartialEq)]
pub enum PolicyKind {
    /// A fraction of all, as an f32 literal; absent: all.
    Fractional(Option<Operand>),
    /// A window: `[a], primary_size, total_size`.
    Range(Address, Operand, Operand),
    /// `createpolicy.cvt.L2` from an access property.
    Convert(Operand),
}

/// `createpolicy.fractional.L2::evict_last.b64 d, 1.0;`
#[derive(Clone, Debug, PartialEq)]
pub struct CreatePolicy {
    /// Which accesses.
    pub kind: PolicyKind,
    /// Their priority; none for `cvt`.
    pub primary: Option<Priority>,
    /// Priority of the rest.
    pub secondary: Option<Priority>,
    /// Written.
    pub dst: RegId,
}

/// `applypriority.global.L2::evict_normal [a], 128;` or `discard.global.L2 [a], 128;`
#[derive(Clone, Debug, PartialEq)]
pub struct ApplyPriority {
    /// `discard` instead.
    pub discard: bool,
    /// Global or generic.
    pub space: Space,
    /// Where; 128 bytes.
    pub addr: Address,
}

fn vector_suffix(m: &mut Mnemonic<'_>, len: usize) {
    match len {
        2 => m.op(".v2"),
        4 => m.op(".v4"),
        8 => m.op(".v8"),
        _ => m,
    };
}

/// What ordering, hints and spaces of a plain access need.
fn access_requires(
    space: Space,
    l1: L1Evict,
    l2: L2Evict,
    hint: bool,
    elements: usize,
    ty: Type,
) -> Requires {
    let bits = elements as u32 * ty.bits();
    Requires::new(7, 4, 75)
        .when(l1 != L1Evict::Default || l2 != L2Evict::Default)
        .and(Requires::new(7, 4, 80).when(hint))
        .and(Requires::new(7, 8, 90).when(space == Space::SharedCluster))
        .and(Requires::new(8, 3, 75).when(ty == Type::B128))
        .and(Requires::new(8, 8, 100).when(bits == 256 || (l2 != L2Evict::Default && l1 == L1Evict::Default)))
}

impl Instruction for Ld {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("ld")
            .m(self.sem)
            .flag(self.sem == Semantics::Mmio, ".relaxed")
            .opt(self.scope)
            .m(self.space)
            .m(self.cache)
            .flag(self.nc, ".nc")
            .m(self.l1)
            .m(self.l2);
        m.flag(self.policy.is_some(), ".L2::cache_hint").m(self.prefetch);
        vector_suffix(m, self.dst.len());
        m.m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        match &*self.dst {
            [dst] => v.dst(*dst),
            many => {
                v.open('{');
                many.iter().for_each(|dst| v.dst(*dst));
                v.close('}');
            }
        }
        v.address(&self.addr);
        if let Some(policy) = self.policy {
            v.reg(policy);
        }
    }
    fn requires(&self) -> Requires {
        access_requires(self.space, self.l1, self.l2, self.policy.is_some(), self.dst.len(), self.ty)
            .and(Requires::new(7, 4, 75).when(self.prefetch != L2Prefetch::None))
            .and(Requires::new(7, 4, 80).when(self.prefetch == L2Prefetch::B256))
            .and(Requires::new(8, 2, 75).when(self.sem == Semantics::Mmio))
            .and(Requires::new(7, 8, 90).when(self.scope == Some(Scope::Cluster)))
            .and(Requires::new(7, 1, 75).when(self.dst.contains(&Dst::Sink)))
    }
    fn kind(&self) -> OpKind {
        OpKind::Memory
    }
}

impl Instruction for St {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("st")
            .m(self.sem)
            .flag(self.sem == Semantics::Mmio, ".relaxed")
            .opt(self.scope)
            .m(self.space)
            .m(self.cache)
            .m(self.l1)
            .m(self.l2);
        m.flag(self.policy.is_some(), ".L2::cache_hint");
        vector_suffix(m, self.src.len());
        m.m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.address(&self.addr);
        match &*self.src {
            [src] => v.value(src),
            many => v.values(many),
        }
        if let Some(policy) = self.policy {
            v.reg(policy);
        }
    }
    fn requires(&self) -> Requires {
        access_requires(self.space, self.l1, self.l2, self.policy.is_some(), self.src.len(), self.ty)
            .and(Requires::new(8, 2, 75).when(self.sem == Semantics::Mmio))
            .and(Requires::new(7, 8, 90).when(self.scope == Some(Scope::Cluster)))
    }
    fn kind(&self) -> OpKind {
        OpKind::Memory
    }
}

impl Instruction for Atom {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op(if self.dst.is_some() { "atom" } else { "red" })
            .m(self.sem)
            .opt(self.scope)
            .m(self.space)
            .m(self.op);
        m.flag(self.noftz, ".noftz").flag(self.policy.is_some(), ".L2::cache_hint");
        vector_suffix(m, self.b.len());
        m.m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        match self.dst.as_deref() {
            None => {}
            Some([dst]) => v.dst(*dst),
            Some(many) => {
                v.open('{');
                many.iter().for_each(|dst| v.dst(*dst));
                v.close('}');
            }
        }
        v.address(&self.addr);
        match &*self.b {
            [b] => v.value(b),
            many => v.values(many),
        }
        if let Some(c) = &self.c {
            v.value(c);
        }
        if let Some(policy) = self.policy {
            v.reg(policy);
        }
    }
    fn requires(&self) -> Requires {
        let bf16 = matches!(self.ty, Type::Bf16 | Type::Bf16x2);
        Requires::new(7, 4, 80)
            .when(self.policy.is_some())
            .and(
                Requires::new(7, 8, 90)
                    .when(bf16 || self.space == Space::SharedCluster || self.scope == Some(Scope::Cluster)),
            )
            .and(Requires::new(8, 1, 90).when(self.b.len() > 1))
            .and(Requires::new(8, 3, 90).when(self.ty == Type::B128))
    }
    fn kind(&self) -> OpKind {
        OpKind::Memory
    }
}

impl Instruction for Prefetch {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        match self.to {
            PrefetchTo::Uniform => m.op("prefetchu.L1"),
            to => m.op("prefetch").m(self.space).m(to),
        };
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.address(&self.addr);
    }
    fn requires(&self) -> Requires {
        match self.to {
            PrefetchTo::Tensormap => Requires::new(8, 0, 90),
            PrefetchTo::L2EvictLast | PrefetchTo::L2EvictNormal => Requires::new(7, 4, 80),
            _ => Requires::BASE,
        }
    }
    fn kind(&self) -> OpKind {
        OpKind::Memory
    }
}

impl Instruction for CreatePolicy {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op(match self.kind {
            PolicyKind::Fractional(_) => "createpolicy.fractional",
            PolicyKind::Range(..) => "createpolicy.range.global",
            PolicyKind::Convert(_) => "createpolicy.cvt.L2",
        });
        m.opt(self.primary).opt(self.secondary).op(".b64");
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        match &self.kind {
            PolicyKind::Fractional(None) => {}
            PolicyKind::Fractional(Some(fraction)) => v.value(fraction),
            PolicyKind::Range(addr, primary, total) => {
                v.address(addr);
                v.value(primary);
                v.value(total);
            }
            PolicyKind::Convert(property) => v.value(property),
        }
    }
    fn requires(&self) -> Requires {
        Requires::new(7, 4, 80)
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}

impl Instruction for ApplyPriority {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op(if self.discard { "discard" } else { "applypriority" }).m(self.space);
        m.op(if self.discard { ".L2" } else { ".L2::evict_normal" });
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.address(&self.addr);
        v.constant(&Operand::from(128));
    }
    fn requires(&self) -> Requires {
        Requires::new(7, 4, 80)
    }
    fn kind(&self) -> OpKind {
        OpKind::Memory
    }
}

impl Ld {
    /// A weak load of `dst.len()` elements without hints.
    pub fn new(space: Space, ty: Type, dst: impl IntoIterator<Item = RegId>, addr: Address) -> Ld {
        let dst = dst.into_iter().map(Dst::Reg).collect();
        let (sem, scope, cache) = (Semantics::Weak, None, CacheOp::Default);
        let (l1, l2, prefetch) = (L1Evict::Default, L2Evict::Default, L2Prefetch::None);
        Ld { sem, scope, space, nc: false, cache, l1, l2, prefetch, ty, dst, addr, policy: None }
    }
}

impl St {
    /// A weak store of `src.len()` elements without hints.
    pub fn new<S: Into<Operand>>(
        space: Space,
        ty: Type,
        addr: Address,
        src: impl IntoIterator<Item = S>,
    ) -> St {
        let src = src.into_iter().map(Into::into).collect();
        let (sem, scope, cache) = (Semantics::Weak, None, CacheOp::Default);
        St {
            sem,
            scope,
            space,
            cache,
            l1: L1Evict::Default,
            l2: L2Evict::Default,
            ty,
            addr,
            src,
            policy: None,
        }
    }
}
