//! The closed vocabularies of PTX: types, state spaces and every modifier, each an enum with its spelling.
//!
//! `spelled!` ties a variant to its text in both directions, so the printer and the parser read one table. A variant may have
//! further spellings after `|`; they are accepted and never printed: `.shared::cta` is read as [`Space::Shared`]. The empty
//! spelling is "no modifier".

/// A modifier with a spelling (without its leading dot).
pub trait Spelled: Sized + Copy {
    /// The canonical spelling; empty where the modifier is expressed by its absence.
    fn text(self) -> &'static str;
    /// The variant that `text` spells.
    fn from_text(text: &str) -> Option<Self>;
}

macro_rules! spelled {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal $(| $alias:literal)*),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $crate::ptx::types::Spelled for $name {
            #[inline]
            fn text(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
            #[inline]
            fn from_text(text: &str) -> Option<Self> {
                match text { $($text $(| $alias)* => Some(Self::$variant),)+ _ => None }
            }
        }

        impl $name {
            /// Every variant, in declaration order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($crate::ptx::types::Spelled::text(*self))
            }
        }
    };
}
pub(crate) use spelled;

spelled! {
    /// Every type that stands in a declaration or on an instruction, packed and sub-byte ones included.
    Type {
        Pred = "pred",
        B1 = "b1", B8 = "b8", B16 = "b16", B32 = "b32", B64 = "b64", B128 = "b128",
        U4 = "u4", U8 = "u8", U16 = "u16", U32 = "u32", U64 = "u64",
        S4 = "s4", S8 = "s8", S16 = "s16", S32 = "s32", S64 = "s64",
        F16 = "f16", F16x2 = "f16x2", Bf16 = "bf16", Bf16x2 = "bf16x2", Tf32 = "tf32",
        F32 = "f32", F32x2 = "f32x2", F64 = "f64",
        U16x2 = "u16x2", S16x2 = "s16x2",
        E4m3 = "e4m3", E5m2 = "e5m2", E4m3x2 = "e4m3x2", E5m2x2 = "e5m2x2",
        E2m1x2 = "e2m1x2", E2m3x2 = "e2m3x2", E3m2x2 = "e3m2x2", Ue8m0x2 = "ue8m0x2",
        B8x16 = "b8x16",
    }
}

/// The size class of a register in the executor's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RegClass {
    /// One bit a lane.
    Pred,
    /// 16 bits (8-bit registers too).
    B16,
    /// 32 bits.
    B32,
    /// 64 bits.
    B64,
    /// 128 bits.
    B128,
}

/// How a type's bits are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TypeKind {
    /// One truth value.
    Pred,
    /// Bits without meaning.
    Bits,
    /// Two's complement or plain integers; packed ones too.
    Unsigned,
    /// Two's complement.
    Signed,
    /// Floating point, packed and tiny formats included.
    Float,
}

impl Type {
    /// Width in bits; packed types count all their elements, `pred` is 1.
    pub fn bits(self) -> u32 {
        use Type::*;
        match self {
            Pred | B1 => 1,
            U4 | S4 => 4,
            B8 | U8 | S8 | E4m3 | E5m2 | E2m1x2 => 8,
            B16 | U16 | S16 | F16 | Bf16 | E4m3x2 | E5m2x2 | E2m3x2 | E3m2x2 | Ue8m0x2 => 16,
            B32 | U32 | S32 | F32 | Tf32 | F16x2 | Bf16x2 | U16x2 | S16x2 => 32,
            B64 | U64 | S64 | F64 | F32x2 => 64,
            B128 | B8x16 => 128,
        }
    }

    /// Width in bytes; sub-byte types (and `pred`) count as one.
    pub fn bytes(self) -> u32 {
        self.bits().div_ceil(8)
    }

    /// How the bits are read.
    pub fn kind(self) -> TypeKind {
        use Type::*;
        match self {
            Pred => TypeKind::Pred,
            B1 | B8 | B16 | B32 | B64 | B128 | B8x16 => TypeKind::Bits,
            U4 | U8 | U16 | U32 | U64 | U16x2 => TypeKind::Unsigned,
            S4 | S8 | S16 | S32 | S64 | S16x2 => TypeKind::Signed,
            F16 | F16x2 | Bf16 | Bf16x2 | Tf32 | F32 | F32x2 | F64 | E4m3 | E5m2 | E4m3x2 | E5m2x2
            | E2m1x2 | E2m3x2 | E3m2x2 | Ue8m0x2 => TypeKind::Float,
        }
    }

    /// Whether it is a floating-point type.
    pub fn is_float(self) -> bool {
        self.kind() == TypeKind::Float
    }

    /// Whether it is a signed integer type.
    pub fn is_signed(self) -> bool {
        self.kind() == TypeKind::Signed
    }

    /// Whether it is an integer type with a sign rule (`u*`, `s*`).
    pub fn is_int(self) -> bool {
        matches!(self.kind(), TypeKind::Signed | TypeKind::Unsigned)
    }

    /// The register class that holds a value of this type.
    pub fn class(self) -> RegClass {
        match self {
            Type::Pred => RegClass::Pred,
            _ => match self.bits() {
                0..=16 => RegClass::B16,
                17..=32 => RegClass::B32,
                33..=64 => RegClass::B64,
                _ => RegClass::B128,
            },
        }
    }

    /// The element of a packed pair: `f16x2` is two `f16`.
    pub fn element(self) -> Type {
        match self {
            Type::F16x2 => Type::F16,
            Type::Bf16x2 => Type::Bf16,
            Type::F32x2 => Type::F32,
            Type::U16x2 => Type::U16,
            Type::S16x2 => Type::S16,
            Type::E4m3x2 => Type::E4m3,
            Type::E5m2x2 => Type::E5m2,
            other => other,
        }
    }

    /// Whether it holds two elements.
    pub fn is_packed(self) -> bool {
        self.element() != self || matches!(self, Type::E2m1x2 | Type::E2m3x2 | Type::E3m2x2 | Type::Ue8m0x2)
    }
}

impl RegClass {
    /// Bits a lane; a predicate has one.
    pub fn bits(self) -> u32 {
        match self {
            RegClass::Pred => 1,
            RegClass::B16 => 16,
            RegClass::B32 => 32,
            RegClass::B64 => 64,
            RegClass::B128 => 128,
        }
    }
}

spelled! {
    /// State spaces. `.shared` and `.shared::cta` are the same.
    Space {
        /// A generic address: the window is found at run time.
        Generic = "",
        Global = "global",
        Const = "const",
        Local = "local",
        Param = "param" | "param::entry" | "param::func",
        Shared = "shared" | "shared::cta",
        SharedCluster = "shared::cluster",
    }
}

spelled! {
    /// Rounding of floating-point results, `.approx` and `.full` included since they stand in the same place.
    Rounding {
        /// To nearest, ties to even.
        Rn = "rn", Rz = "rz", Rm = "rm", Rp = "rp", Rna = "rna", Rs = "rs",
        /// To an integral value, nearest even (and the other three directions).
        Rni = "rni", Rzi = "rzi", Rmi = "rmi", Rpi = "rpi",
        /// Fast, with the error bound the ISA document states.
        Approx = "approx",
        /// `div.full.f32`: full range, 2 ulp.
        Full = "full",
    }
}

spelled! {
    /// Comparisons of `setp` and `set`. `Lo, Ls, Hi, Hs` are the unsigned ones; the `…u` forms are true on NaN.
    CmpOp {
        Eq = "eq", Ne = "ne", Lt = "lt", Le = "le", Gt = "gt", Ge = "ge",
        Lo = "lo", Ls = "ls", Hi = "hi", Hs = "hs",
        Equ = "equ", Neu = "neu", Ltu = "ltu", Leu = "leu", Gtu = "gtu", Geu = "geu",
        Num = "num", Nan = "nan",
    }
}

spelled! {
    /// How `setp` and `set` combine the comparison with a third predicate; `and`, `or` and `xor` everywhere else too.
    BoolOp { And = "and", Or = "or", Xor = "xor" }
}

spelled! {
    /// Cache operators of loads, stores and `cp.async`.
    CacheOp {
        Default = "",
        /// Loads: all levels.
        Ca = "ca",
        /// Global level (L2) only.
        Cg = "cg", Cs = "cs", Lu = "lu",
        /// Loads: do not cache, fetch again.
        Cv = "cv",
        /// Stores: write back.
        Wb = "wb",
        /// Stores: write through.
        Wt = "wt",
    }
}

spelled! {
    /// L1 eviction hints.
    L1Evict {
        Default = "",
        Normal = "L1::evict_normal", Unchanged = "L1::evict_unchanged", First = "L1::evict_first", Last = "L1::evict_last",
        NoAllocate = "L1::no_allocate",
    }
}

spelled! {
    /// L2 eviction hints on the instruction itself.
    L2Evict { Default = "", Last = "L2::evict_last", Normal = "L2::evict_normal", First = "L2::evict_first" }
}

spelled! {
    /// L2 prefetch granularity hints.
    L2Prefetch { None = "", B64 = "L2::64B", B128 = "L2::128B", B256 = "L2::256B" }
}

spelled! {
    /// Memory ordering of an access. `Weak` is the default and is not printed.
    Semantics {
        Weak = "" | "weak", Volatile = "volatile", Relaxed = "relaxed", Acquire = "acquire", Release = "release",
        AcqRel = "acq_rel", Mmio = "mmio",
    }
}

spelled! {
    /// Scopes of the memory model.
    Scope { Cta = "cta", Cluster = "cluster", Gpu = "gpu", Sys = "sys" }
}

spelled! {
    /// A matrix operand's storage order.
    MatLayout { Row = "row", Col = "col" }
}

spelled! {
    /// Which half, or how wide, the product of an integer multiply is.
    MulMode { Lo = "lo", Hi = "hi", Wide = "wide" }
}

spelled! {
    /// Reductions and read-modify-writes of `atom` and `red`.
    AtomOp {
        And = "and", Or = "or", Xor = "xor", Cas = "cas", Exch = "exch", Add = "add", Inc = "inc", Dec = "dec", Min = "min",
        Max = "max",
    }
}

spelled! {
    /// Shapes of matrix instructions that are named on the instruction (`wgmma` carries its own N).
    MatShape {
        M8n8 = "m8n8", M16n8 = "m16n8", M16n16 = "m16n16", M8n16 = "m8n16",
        M8n8k4 = "m8n8k4", M8n8k16 = "m8n8k16", M8n8k32 = "m8n8k32", M8n8k128 = "m8n8k128",
        M16n8k4 = "m16n8k4", M16n8k8 = "m16n8k8", M16n8k16 = "m16n8k16", M16n8k32 = "m16n8k32", M16n8k64 = "m16n8k64",
        M16n8k128 = "m16n8k128", M16n8k256 = "m16n8k256",
        M16n16k16 = "m16n16k16", M8n32k16 = "m8n32k16", M32n8k16 = "m32n8k16", M16n16k8 = "m16n16k8",
    }
}

impl MatShape {
    /// (M, N, K); K is 0 for the shapes of `ldmatrix` and its kin.
    pub fn mnk(self) -> (u32, u32, u32) {
        use MatShape::*;
        match self {
            M8n8 => (8, 8, 0),
            M16n8 => (16, 8, 0),
            M16n16 => (16, 16, 0),
            M8n16 => (8, 16, 0),
            M8n8k4 => (8, 8, 4),
            M8n8k16 => (8, 8, 16),
            M8n8k32 => (8, 8, 32),
            M8n8k128 => (8, 8, 128),
            M16n8k4 => (16, 8, 4),
            M16n8k8 => (16, 8, 8),
            M16n8k16 => (16, 8, 16),
            M16n8k32 => (16, 8, 32),
            M16n8k64 => (16, 8, 64),
            M16n8k128 => (16, 8, 128),
            M16n8k256 => (16, 8, 256),
            M16n16k16 => (16, 16, 16),
            M8n32k16 => (8, 32, 16),
            M32n8k16 => (32, 8, 16),
            M16n16k8 => (16, 16, 8),
        }
    }
}
