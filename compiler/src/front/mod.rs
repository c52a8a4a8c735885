//! The front end's first half: text to a syntax tree whose every name is known.
//!
//! ```text
//! text ── lexer ── tokens ── brackets, grammar, repair ── ast::File ── loader (imports) ── resolver ── Program
//! ```
//!
//! [`load`] does all of it and never fails: it returns a [`Program`] as complete as the text allows, and [`Diagnostics`] with everything that is wrong.
//! A program with errors must not be lowered; tools may still look at it. Types, axes and static values are the elaborator's business.
//!
//! ```
//! use tilewright_compiler::diagnostics::SourceMap;
//! use tilewright_compiler::front::{load, Memory, Res};
//!
//! let files = Memory::from([("k.tw", "fn twice(x) = x + x; kernel k(a: f32[N], out b: f32[N]) { grid i over N by 64; b[i] = twice(a[i]); }")]);
//! let mut sources = SourceMap::default();
//! let (program, diagnostics) = load(&mut sources, &files, "k.tw");
//! assert!(diagnostics.is_empty());
//! let kernel = program.kernel_named("k").unwrap();
//! assert_eq!(program.kernel(kernel).params[1].name.as_str(), "b");
//! ```
//!
//! Invariants:
//! - the compiler does no input or output: files come from a [`SourceProvider`];
//! - every identifier that means something has a [`Res`] in [`Program::res`]; [`Res::Unresolved`] stands for what has been reported, and for words whose
//!   meaning depends on a type (the field names `T`, `lo`, `hi`, `size`, a schedule's words);
//! - names of a kernel's captures are resolved inside the function, to [`LocalKind::Capture`]; that they agree with the kernel is checked where the
//!   function is used.

pub mod ast;
mod body;
mod brackets;
pub mod builtins;
mod directives;
mod expected;
mod exprs;
pub mod format;
mod lexer;
mod loader;
mod parser;
pub mod print;
mod program;
mod recursion;
mod repair;
mod resolve;
pub mod schedules;
mod source;

pub use program::{
    Builtin, ConstId, Directive, DirectiveKind, FnId, InstanceId, KernelId, Local, LocalId, LocalKind, Owner,
    Program, Res, ScheduleId,
};
pub use source::{Memory, SourceProvider};

use crate::diagnostics::{Diagnostics, SourceMap};

/// Reads `root` and what it imports, parses and resolves. Files are added to `sources`, so that the diagnostics can be rendered.
pub fn load(sources: &mut SourceMap, provider: &dyn SourceProvider, root: &str) -> (Program, Diagnostics) {
    let mut diagnostics = Diagnostics::default();
    let loaded = loader::load_all(sources, provider, root, &mut diagnostics);
    let program = resolve::resolve(loaded, &mut diagnostics);
    diagnostics.sort();
    (program, diagnostics)
}

#[cfg(test)]
pub(crate) mod tests;
