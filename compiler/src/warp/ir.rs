//! T3's data structure: what one thread does, with structured control flow.
//!
//! Registers are virtual and typed by class. Loops are structured: `unroll` copies of the step, each with constant slots, leave at the
//! first copy whose step was the last. Synchronisation ops carry the ids of the obligations that they serve. Every op is one PTX
//! instruction (or a template); [`crate::ptx::select`] only flattens control flow and prints names.

use crate::diagnostics::Span;
use crate::scheduled::ir::{Evict, MmaAtom};
use crate::sync::SyncOp;
pub use crate::tile::ir::Combine;

/// A virtual register of a [`Kernel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reg(pub u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    Pred,
    /// A byte, in a register of 16 bits.
    B8,
    B16,
    B32,
    B64,
    F32,
}

/// An operand: a register, or an immediate of the instruction's type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Src {
    Reg(Reg),
    Int(i64),
    F32(f32),
}

impl From<Reg> for Src {
    fn from(r: Reg) -> Src {
        Src::Reg(r)
    }
}

impl From<i64> for Src {
    fn from(i: i64) -> Src {
        Src::Int(i)
    }
}

/// Integer types of instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntTy {
    B32,
    U32,
    S32,
    B64,
    U64,
    S64,
}

impl Class {
    /// Bytes of a register's value where it lies in memory.
    pub fn bytes(self) -> u32 {
        match self {
            Class::Pred | Class::B8 => 1,
            Class::B16 => 2,
            Class::B32 | Class::F32 => 4,
            Class::B64 => 8,
        }
    }
}

impl IntTy {
    pub fn class(self) -> Class {
        match self {
            IntTy::B32 | IntTy::U32 | IntTy::S32 => Class::B32,
            IntTy::B64 | IntTy::U64 | IntTy::S64 => Class::B64,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntOp {
    Add,
    Sub,
    /// Of 32 bits with a sign; what is beyond them is their nearer end.
    AddSat,
    SubSat,
    MulLo,
    Div,
    Rem,
    Min,
    Max,
    And,
    Or,
    Xor,
    Shl,
    Shr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatOp {
    Add,
    Sub,
    Mul,
    Min,
    Max,
    /// IEEE division, round to nearest.
    Div,
    /// Rounded on their own, never contracted with a neighbour: for code that computes what rounding lost.
    AddExactly,
    SubExactly,
    MulExactly,
}

/// Functions of one f32, in their approximate forms but for `Sqrt`, `Neg` and `Abs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatFn {
    Neg,
    Abs,
    Ex2,
    Lg2,
    Sqrt,
    Rsqrt,
    Tanh,
    Sin,
    Cos,
    Floor,
    Ceil,
    Round,
    Trunc,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cmp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    SetBits,
    LeadingZeros,
}

/// Types that memory combines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtomicTy {
    S32,
    U32,
    S64,
    U64,
    F32,
}

/// 16-bit float formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Half {
    F16,
    Bf16,
}

impl Half {
    pub fn name(self) -> &'static str {
        match self {
            Half::F16 => "f16",
            Half::Bf16 => "bf16",
        }
    }
}

/// Arithmetic on two halves at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalvesOp {
    Add,
    Sub,
    Mul,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    TidX,
    CtaidX,
    NctaidX,
}

impl Special {
    pub fn name(self) -> &'static str {
        match self {
            Special::TidX => "tid.x",
            Special::CtaidX => "ctaid.x",
            Special::NctaidX => "nctaid.x",
        }
    }
}

/// An address: a register plus a constant number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub base: Reg,
    pub offset: i32,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    Special {
        d: Reg,
        from: Special,
    },
    /// The kernel's parameter by position; pointers come out as global addresses.
    Param {
        d: Reg,
        index: usize,
    },
    /// An L2 policy for accesses to global memory.
    Policy {
        d: Reg,
        evict: Evict,
    },
    /// The address of a constant table, by number.
    Table {
        d: Reg,
        index: usize,
    },
    /// The address of the block's dynamic shared memory.
    SharedBase {
        d: Reg,
    },
    Mov {
        d: Reg,
        a: Src,
    },
    Int {
        op: IntOp,
        ty: IntTy,
        d: Reg,
        a: Src,
        b: Src,
    },
    /// `d = a * b + c`, all of type `ty`.
    Mad {
        ty: IntTy,
        d: Reg,
        a: Src,
        b: Src,
        c: Src,
    },
    /// 64-bit `d = a * b + c` of 32-bit `a`, `b`; `signed` says how they extend.
    MadWide {
        signed: bool,
        d: Reg,
        a: Src,
        b: Src,
        c: Src,
    },
    /// 32 to 64 bits.
    Widen {
        signed: bool,
        d: Reg,
        a: Reg,
    },
    /// 64 to 32 bits.
    Narrow {
        d: Reg,
        a: Reg,
    },
    SetInt {
        cmp: Cmp,
        ty: IntTy,
        d: Reg,
        a: Src,
        b: Src,
    },
    /// The comparison, or `or`.
    SetIntOr {
        cmp: Cmp,
        ty: IntTy,
        d: Reg,
        a: Src,
        b: Src,
        or: Reg,
    },
    SetFloat {
        cmp: Cmp,
        d: Reg,
        a: Src,
        b: Src,
    },
    PredAnd {
        d: Reg,
        a: Reg,
        b: Reg,
    },
    PredOr {
        d: Reg,
        a: Reg,
        b: Reg,
    },
    PredXor {
        d: Reg,
        a: Reg,
        b: Reg,
    },
    PredNot {
        d: Reg,
        a: Reg,
    },
    /// `p ? a : b` on registers of one class.
    Select {
        d: Reg,
        a: Src,
        b: Src,
        p: Reg,
    },
    Float {
        op: FloatOp,
        d: Reg,
        a: Src,
        b: Src,
    },
    FloatFn {
        op: FloatFn,
        d: Reg,
        a: Src,
    },
    Fma {
        d: Reg,
        a: Src,
        b: Src,
        c: Src,
    },
    IntToFloat {
        signed: bool,
        d: Reg,
        a: Reg,
    },
    /// Round to nearest even, saturating.
    FloatToInt {
        signed: bool,
        d: Reg,
        a: Reg,
    },
    /// Two f32 to one register of two halves, round to nearest even.
    PackHalf {
        to: Half,
        d: Reg,
        lo: Src,
        hi: Src,
    },
    /// One f32 to a 16-bit register.
    ToHalf {
        to: Half,
        d: Reg,
        a: Src,
    },
    FromHalf {
        from: Half,
        d: Reg,
        a: Reg,
    },
    /// A 32-bit register from two 16-bit ones, and back.
    Join16 {
        d: Reg,
        lo: Reg,
        hi: Reg,
    },
    Split16 {
        lo: Reg,
        hi: Reg,
        a: Reg,
    },
    /// A 64-bit register from two 32-bit ones, and back.
    Join32 {
        d: Reg,
        lo: Reg,
        hi: Reg,
    },
    Split32 {
        lo: Reg,
        hi: Reg,
        a: Reg,
    },
    /// Set bits, or leading zeros, of 32 or 64 bits, into 32.
    Count {
        op: Count,
        d: Reg,
        a: Reg,
    },
    /// Four bytes of `a` (0 to 3) and `b` (4 to 7), chosen by the nibbles of `select`, the lowest first.
    Permute {
        d: Reg,
        a: Src,
        b: Src,
        select: Src,
    },
    /// Bit by bit what the truth table says of the bits of `a` (its index' highest bit), `b` and `c`.
    Lop3 {
        d: Reg,
        a: Src,
        b: Src,
        c: Src,
        table: u8,
    },
    /// On both halves of a register.
    Halves {
        op: HalvesOp,
        half: Half,
        d: Reg,
        a: Reg,
        b: Reg,
    },
    /// `d = a * b + c`, rounded once, on both halves.
    FmaHalves {
        half: Half,
        d: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
    },
    NegHalves {
        half: Half,
        d: Reg,
        a: Reg,
    },
    /// `d.len()` consecutive elements of the registers' class.
    LoadGlobal {
        d: Vec<Reg>,
        from: Address,
    },
    StoreGlobal {
        a: Vec<Reg>,
        to: Address,
    },
    /// Combines into global memory, relaxed, visible to the whole GPU.
    RedGlobal {
        op: Combine,
        ty: AtomicTy,
        a: Reg,
        to: Address,
        /// What was there before.
        old: Option<Reg>,
    },
    /// Adds one to a word of global memory, relaxed, visible to the whole GPU; `d` is what was there.
    CountGlobal {
        d: Reg,
        at: Address,
    },
    /// The same, but after `last` comes zero.
    DrawGlobal {
        d: Reg,
        at: Address,
        last: Reg,
    },
    /// Orders what the thread knows before it with what it does after it, for the whole GPU.
    FenceGpu,
    /// All threads of the block meet; `d` says whether `a` holds in any.
    MeetAny {
        d: Reg,
        a: Reg,
    },
    /// The thread is done.
    Exit,
    StoreShared {
        a: Vec<Reg>,
        to: Address,
    },
    /// `bytes` (1, 2 or 4) into a 32-bit register, zero-extended; 8 into one of 64 bits.
    LoadShared {
        d: Reg,
        from: Address,
        bytes: u32,
    },
    /// One, two or four 32-bit words side by side.
    LoadSharedWords {
        d: Vec<Reg>,
        from: Address,
    },
    /// Rounds an f32 to tf32, ties away from zero; both are held as bits.
    RoundTf32 {
        d: Reg,
        a: Reg,
    },
    /// The value of the lane `by` below; lanes that have none keep their own. All lanes of the warp take part, here and below.
    ShuffleUp {
        d: Reg,
        a: Reg,
        by: u32,
    },
    /// The value of this lane.
    ShuffleFrom {
        d: Reg,
        a: Reg,
        lane: Src,
    },
    /// The value of one of `of` neighbouring lanes, the one of that number; `of` is a power of two.
    ShuffleWithin {
        d: Reg,
        a: Reg,
        lane: u32,
        of: u32,
    },
    /// Bit n says whether `a` holds in lane n.
    Ballot {
        d: Reg,
        a: Reg,
    },
    /// The number of the highest bit that is set; all ones where none is.
    HighestBit {
        d: Reg,
        a: Reg,
    },
    /// The value of the lane whose number differs in the bits of `mask`; all lanes of the warp take part.
    ShuffleXor {
        d: Reg,
        a: Reg,
        mask: u32,
    },
    /// Global to shared; `ignore` true copies nothing and writes zeros.
    CpAsync {
        to: Address,
        from: Address,
        bytes: u32,
        ignore: Option<Reg>,
    },
    CpAsyncCommit,
    Ldmatrix {
        d: Vec<Reg>,
        from: Address,
        trans: bool,
    },
    /// Accumulating in place into the four registers `c`.
    Mma {
        atom: MmaAtom,
        c: [Reg; 4],
        a: [Reg; 4],
        b: [Reg; 2],
    },
    Sync {
        op: SyncOp,
        obligations: Vec<u32>,
    },
}

/// One instruction.
#[derive(Clone, Debug, PartialEq)]
pub struct Inst {
    pub op: Op,
    /// Runs only where the predicate has this value.
    pub guard: Option<(Reg, bool)>,
    /// The L2 policy of an access to global memory.
    pub policy: Option<Reg>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Stmt {
    Inst(Inst),
    /// A heading in the printed code.
    Comment(String),
    Loop(Loop),
    If(If),
}

/// Each thread runs the one list or the other.
#[derive(Clone, Debug, PartialEq)]
pub struct If {
    pub cond: Reg,
    pub then_body: Vec<Stmt>,
    pub else_body: Vec<Stmt>,
}

/// `trip` steps, `copies.len()` of them per turn. Runs nothing where `skip` holds. After copy u the loop is left where `left` has at
/// most `(u + 1) * by` coordinates; after the last copy, `advance` runs and the loop goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct Loop {
    pub name: String,
    /// Coordinates still to do, counted down by `advance`; at most 0 at entry means no step (signed 32-bit).
    pub left: Reg,
    /// Until no more than this is left: whole turns. Without it, to the end.
    pub until: Option<Reg>,
    pub by: u32,
    pub copies: Vec<Vec<Stmt>>,
    /// Induction updates, once per turn.
    pub advance: Vec<Stmt>,
    /// The assembler must not unroll it further.
    pub rolled: bool,
}

/// A kernel parameter as PTX declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamTy {
    /// To memory aligned to so many bytes.
    Pointer {
        align: u32,
    },
    U32,
    U64,
    F32,
    B16,
    S32,
    /// Narrow integers, extended to 32 bits where they are loaded.
    U8,
    S8,
    U16,
    S16,
}

/// A constant array: its elements' codes, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub name: String,
    /// Bits of an element: 8, 16, 32 or 64.
    pub bits: u32,
    pub codes: Vec<u64>,
}

#[derive(Clone, Debug)]
pub struct Kernel {
    /// Name of the PTX entry.
    pub entry: String,
    pub params: Vec<(String, ParamTy)>,
    pub threads: u32,
    /// Tells the assembler how many blocks one SM shall hold: with one, it does not spill for the sake of a second.
    pub min_blocks: Option<u32>,
    pub shared_bytes: u32,
    /// Constants in global memory that come with the module.
    pub tables: Vec<Table>,
    pub classes: Vec<Class>,
    pub body: Vec<Stmt>,
}
