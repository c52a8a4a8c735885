//! Whole-front-end tests: programs of the language reference load without a word; wrong ones say what is wrong.

mod never_panics;
mod programs;
mod round_trip;
mod wrong;

pub(crate) use programs::{ATTENTION, FRAGMENTS};

use super::{Memory, Program, load};
use crate::diagnostics::{Diagnostics, SourceMap};

/// Loads one text as `t.tw`.
fn load_text(text: &str) -> (Program, Diagnostics, SourceMap) {
    let mut sources = SourceMap::default();
    let (program, diagnostics) = load(&mut sources, &Memory::from([("t.tw", text)]), "t.tw");
    (program, diagnostics, sources)
}

/// Loads a text that must be right.
#[track_caller]
fn good(text: &str) -> Program {
    let (program, diagnostics, sources) = load_text(text);
    assert!(diagnostics.is_empty(), "{}", diagnostics.render(&sources, false));
    program
}
