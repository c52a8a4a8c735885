//! What a schedule chooses among, each from a small set: copies, ways, policies, fragments, matrix instructions.

use crate::tile::ir as t1;

/// How a tile travels from global to shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyPlan {
    /// `cp.async` in units of 4, 8 or 16 bytes; what lies outside is zero-filled by the ignore-src predicate.
    CpAsync { bytes: u32 },
    /// Loads into registers, then stores to shared memory, in units of this many bytes.
    LoadStore { bytes: u32 },
}

impl CopyPlan {
    /// Bytes that one access moves.
    pub fn unit(self) -> u32 {
        match self {
            CopyPlan::CpAsync { bytes } | CopyPlan::LoadStore { bytes } => bytes,
        }
    }
}

/// How a schedule wants a tensor to travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// `cp.async`, where accesses have at least four bytes.
    CpAsync,
    /// Loads into registers and stores out of them.
    Direct,
}

impl Via {
    pub fn name(self) -> &'static str {
        match self {
            Via::CpAsync => "cpasync",
            Via::Direct => "direct",
        }
    }
}

/// When a tensor's lines leave L2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evict {
    First,
    Normal,
    Last,
}

impl Evict {
    pub const ALL: [Evict; 3] = [Evict::First, Evict::Normal, Evict::Last];

    pub fn name(self) -> &'static str {
        match self {
            Evict::First => "first",
            Evict::Normal => "normal",
            Evict::Last => "last",
        }
    }
}

/// How a fragment comes out of shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadAtom {
    /// `ldmatrix` of this many matrices of 8 rows of 16 bytes; `trans` where the kept axis is the contiguous one.
    Ldmatrix { matrices: u32, trans: bool },
    /// Element by element, where `ldmatrix` cannot transpose: bytes and words whose kept axis is the contiguous one.
    Elements,
}

/// Element types of a matrix instruction's operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MmaType {
    F16,
    Bf16,
    Tf32,
    S8,
    U8,
    E4m3,
    E5m2,
    /// Single bits, of which both must be set.
    B1,
}

impl MmaType {
    /// As PTX spells it.
    pub fn name(self) -> &'static str {
        match self {
            MmaType::F16 => "f16",
            MmaType::Bf16 => "bf16",
            MmaType::Tf32 => "tf32",
            MmaType::S8 => "s8",
            MmaType::U8 => "u8",
            MmaType::E4m3 => "e4m3",
            MmaType::E5m2 => "e5m2",
            MmaType::B1 => "b1",
        }
    }

    /// Bits that an element takes in a register.
    pub fn bits(self) -> u32 {
        match self {
            MmaType::F16 | MmaType::Bf16 => 16,
            MmaType::Tf32 => 32,
            MmaType::S8 | MmaType::U8 | MmaType::E4m3 | MmaType::E5m2 => 8,
            MmaType::B1 => 1,
        }
    }
}

/// A matrix instruction `mma.sync.aligned.m16n8kK.row.col`, in which four 32-bit registers of a thread hold A, two hold B and four the
/// sum, whatever the types: so K is 256 bits' worth of elements.
///
/// | A, B | K | sum |
/// | --- | --- | --- |
/// | f16, bf16 (both the same) | 16 | f32 |
/// | tf32 | 8 | f32 |
/// | s8, u8 (in any combination) | 32 | s32 |
/// | e4m3, e5m2 (in any combination; from sm_89 on) | 32 | f32 |
/// | b1 (`and`, then `popc`) | 256 | s32 |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MmaAtom {
    pub a: MmaType,
    pub b: MmaType,
}

impl MmaAtom {
    /// Depth of one instruction.
    pub fn k(self) -> u32 {
        256 / self.a.bits()
    }

    /// Type of the sum.
    pub fn acc(self) -> t1::ElemType {
        match self.a {
            MmaType::F16 | MmaType::Bf16 | MmaType::Tf32 | MmaType::E4m3 | MmaType::E5m2 => t1::ElemType::F32,
            MmaType::S8 | MmaType::U8 | MmaType::B1 => t1::ElemType::Int(32),
        }
    }

    /// `m16n8k16.f16`; both types where they differ.
    pub fn name(self) -> String {
        let (k, a, b) = (self.k(), self.a.name(), self.b.name());
        if a == b { format!("m16n8k{k}.{a}") } else { format!("m16n8k{k}.{a}.{b}") }
    }
}
