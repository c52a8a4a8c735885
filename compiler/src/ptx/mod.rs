//! T4: typed PTX. One structure in both directions.
//!
//! The code emitter *builds* a [`Module`] (with [`Builder`]), the printer *prints* it, the parser *yields* it from any PTX text, and
//! the executor *runs* it. Nothing in it is a string that somebody has to take apart again: every modifier is an enum, every
//! register an id into its entry's table.
//!
//! ```text
//! .visible .entry k(.param .u64 k_a)         Entry { name: "k", params: [Param { ty: U64, .. }], .. }
//! {
//!     .reg .pred %p<2>; .reg .b32 %r<3>;     regs: RegId -> Reg { ty, stem, number }
//!     @%p1 add.s32 %r1, %r2, 7;              Stmt::Inst(Inst { guard: Some(Guard { reg: %p1, negated: false }),
//! }                                              op: Op::IntBinary(IntBinary { op: Add, ty: S32, dst: %r1, a: %r2, b: 7, .. }) })
//! ```
//!
//! An operation describes itself three times, in one place each:
//! - [`Op::mnemonic`] writes its name with all modifiers,
//! - [`Op::operands`] walks its operands in printed order, telling definitions from uses; the printer, [`Op::defs`] and
//!   [`Op::uses`] are all visitors of that walk, so they cannot disagree,
//! - [`Op::requires`] says which PTX ISA version and which architecture it needs. `.version` is the maximum over a module, because a
//!   driver compiles only the versions it knows.
//!
//! # Invariants
//! - Registers are unique in their entry: nested `{ .reg }` scopes have been flattened by renaming.
//! - A [`LabelId`] is bound by exactly one [`Stmt::Label`] in the body.
//! - `.shared` and `.shared::cta` mean the same window and are one value, [`Space::Shared`].
//! - Debug sections (`.section .debug_*`) are not kept; `.file` and `.loc` are.

mod builder;
mod module;
pub mod op;
mod operand;
mod parse;
mod print;
pub mod select;
mod target;
mod types;

pub use builder::Builder;
pub use module::{
    Entry, FileEntry, Formal, FuncId, Function, Guard, Init, Inst, Label, LabelId, Launch, Linkage, Loc,
    Module, Param, ParamId, Pointee, Reg, Stem, StemId, Stmt, VarId, Variable,
};
pub use op::Op;
pub use operand::{Address, Base, Dst, Imm, Operand, OperandVisitor, PredUse, RegId, SpecialReg, Symbol};
pub use parse::{ParseError, ParseErrorKind, parse, parse_partly};
pub use print::print;
pub use target::{Isa, Requires, Suffix, Target};
pub use types::*;
