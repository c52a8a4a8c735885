//! The instructions. One struct per family, one file per group; [`Op`] is their sum.
//!
//! | file | families |
//! | --- | --- |
//! | [`data`] | `mov`, packing, `cvt`, `cvta`, `mapa`, comparisons and selections |
//! | [`integer`] | integer arithmetic, logic, shifts, bit fields |
//! | [`video`] | arithmetic on parts of registers |
//! | [`float`] | floating-point arithmetic and approximations |
//! | [`memory`] | `ld`, `st`, `atom`, `red`, `prefetch`, cache policies |
//! | [`asynchronous`] | `cp.async`, `cp.async.bulk`, tensor copies, `tensormap` |
//! | [`remote`] | `st.async`, `red.async` |
//! | [`sync`] | `bar`, `barrier.cluster`, fences, mbarriers |
//! | [`warp`] | `shfl`, `vote`, `match`, `redux`, `elect` |
//! | [`matrix`] | `mma`, `ldmatrix`, `stmatrix`, `wgmma` |
//! | [`wmma`] | matrices of opaque layout |
//! | [`control`] | branches, exits, `setmaxnreg`, `nanosleep` |
//!
//! To add an instruction: a struct with its modifiers and operands, its `impl Instruction` beside it, a line in the table below and
//! its parse function; the printer, register analysis and version computation follow.

pub mod asynchronous;
pub mod control;
pub mod data;
pub mod float;
pub mod integer;
pub mod matrix;
pub mod memory;
pub mod remote;
pub mod sync;
pub mod video;
pub mod warp;
pub mod wmma;

pub use asynchronous::*;
pub use control::*;
pub use data::*;
pub use float::*;
pub use integer::*;
pub use matrix::*;
pub use memory::*;
pub use remote::*;
pub use sync::*;
pub use video::*;
pub use warp::*;
pub use wmma::*;

use super::operand::{OperandVisitor, RegId};
use super::target::Requires;
use super::types::Spelled;

/// Where an instruction may run: how the executor cuts the body into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpKind {
    /// Each lane for itself, registers only.
    Lane,
    /// Touches memory, returns when it is done.
    Memory,
    /// Reads other lanes' registers (`shfl`, `vote`, `redux`, `elect`).
    CrossLane,
    /// Whole-warp (or warpgroup) matrix instructions and their loads and stores.
    Matrix,
    /// Starts, groups or awaits asynchronous work (`cp.async`, bulk copies, `wgmma` groups).
    Async,
    /// Barriers, mbarriers and fences.
    Sync,
    /// Changes what runs next.
    Control,
}

/// What every instruction can say about itself.
pub trait Instruction {
    /// Writes the name with all modifiers.
    fn mnemonic(&self, m: &mut Mnemonic<'_>);
    /// Walks the operands in printed order.
    fn operands(&self, v: &mut dyn OperandVisitor);
    /// The least ISA version and architecture.
    fn requires(&self) -> Requires {
        Requires::BASE
    }
    /// Where it may run.
    fn kind(&self) -> OpKind;
}

/// Builds a mnemonic: `m.op("ld").m(Space::Global).m(Type::F32)` writes `ld.global.f32`.
#[derive(Debug)]
pub struct Mnemonic<'a> {
    out: &'a mut String,
}

impl<'a> Mnemonic<'a> {
    /// Appends to `out`.
    pub fn new(out: &'a mut String) -> Mnemonic<'a> {
        Mnemonic { out }
    }

    /// The first word, or a fixed run of modifiers with its own leading dot.
    pub fn op(&mut self, text: &str) -> &mut Self {
        self.out.push_str(text);
        self
    }

    /// A modifier; one spelled empty adds nothing.
    pub fn m(&mut self, modifier: impl Spelled) -> &mut Self {
        let text = modifier.text();
        if !text.is_empty() {
            self.out.push('.');
            self.out.push_str(text);
        }
        self
    }

    /// A modifier that may be absent.
    pub fn opt(&mut self, modifier: Option<impl Spelled>) -> &mut Self {
        match modifier {
            Some(modifier) => self.m(modifier),
            None => self,
        }
    }

    /// A fixed modifier (with its dot) if `present`.
    pub fn flag(&mut self, present: bool, text: &str) -> &mut Self {
        if present {
            self.out.push_str(text);
        }
        self
    }
}

macro_rules! ops {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => {
        /// One instruction with its modifiers and operands.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Op { $($(#[$meta])* $name($name)),+ }

        impl Op {
            fn instruction(&self) -> &dyn Instruction {
                match self { $(Op::$name(op) => op),+ }
            }
        }

        $(impl From<$name> for Op {
            fn from(op: $name) -> Op { Op::$name(op) }
        })+
    };
}

ops! {
    // data
    Mov, Pack, Unpack, Cvt, CvtPack, CvtPackInt, Cvta, IsSpace, Mapa, GetCtaRank, Setp, Set, Selp, Slct,
    // integer
    IntBinary, IntMad, IntUnary, Logic, Shift, Lop3, Prmt, Funnel, BitExtract, BitInsert, Sad, Dp4a, CarryChain, BitSearch, Video,
    // floating point
    FloatBinary, Fma, FloatUnary, Testp,
    // memory
    Ld, St, Atom, Prefetch, CreatePolicy, ApplyPriority,
    // asynchronous copies
    StoreAsync, CpAsync, CpAsyncGroup, CpAsyncMbarrier, CpBulk, CpBulkTensor, CpBulkPrefetch, CpBulkGroup, TensormapReplace,
    TensormapFence,
    // synchronisation
    Bar, BarWarp, BarrierCluster, Fence, MbarrierInit, MbarrierInval, MbarrierArrive, MbarrierTx, MbarrierWait, MbarrierPending,
    // warp
    Shfl, Vote, Activemask, Redux, MatchSync, ElectSync,
    // matrix
    Ldmatrix, Stmatrix, Movmatrix, Mma, Wgmma, WgmmaSync, WmmaLoad, WmmaStore, WmmaMma,
    // control
    Bra, BrxIdx, Call, Ret, Exit, Trap, Nanosleep, Setmaxnreg, GridDepControl,
}

impl Op {
    /// Writes the name with all modifiers to `out`.
    pub fn mnemonic(&self, out: &mut String) {
        self.instruction().mnemonic(&mut Mnemonic::new(out));
    }

    /// The name with all modifiers, as a new string.
    pub fn name(&self) -> String {
        let mut out = String::new();
        self.mnemonic(&mut out);
        out
    }

    /// Walks the operands in printed order.
    pub fn operands(&self, v: &mut dyn OperandVisitor) {
        self.instruction().operands(v);
    }

    /// The least ISA version and architecture.
    pub fn requires(&self) -> Requires {
        self.instruction().requires()
    }

    /// Where it may run.
    pub fn kind(&self) -> OpKind {
        self.instruction().kind()
    }

    /// The registers it writes, in printed order. Under a guard they keep their old value in the lanes that are off.
    pub fn defs(&self, each: impl FnMut(RegId)) {
        struct Defs<F>(F);
        impl<F: FnMut(RegId)> OperandVisitor for Defs<F> {
            fn def(&mut self, reg: RegId) {
                (self.0)(reg);
            }
            fn both(&mut self, reg: RegId) {
                (self.0)(reg);
            }
        }
        self.operands(&mut Defs(each));
    }

    /// The registers it reads, in printed order, address registers included and the guard not. `wgmma` and `mma` that accumulate in
    /// place report their accumulators as both.
    pub fn uses(&self, each: impl FnMut(RegId)) {
        struct Uses<F>(F);
        impl<F: FnMut(RegId)> OperandVisitor for Uses<F> {
            fn reg(&mut self, reg: RegId) {
                (self.0)(reg);
            }
            fn both(&mut self, reg: RegId) {
                (self.0)(reg);
            }
        }
        self.operands(&mut Uses(each));
    }
}
