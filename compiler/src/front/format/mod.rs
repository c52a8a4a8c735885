//! `tilewright fmt`: a file in the one style.
//!
//! The style is that of the language reference. The formatter decides spaces, indentation, empty lines (at most one, none at the ends of a block) and
//! trailing commas; where a line ends inside a statement is the author's choice, as long as it ends at a comma, an operator, a bracket or a clause
//! and fits [`WIDTH`]; longer lines are broken. Comments stay between the tokens where they were.
//!
//! ```text
//! text ── parser (errors end it) ── pieces: tokens, roles, comments ── breaks ⇄ emit: lines, until all fit ── text
//! ```
//!
//! ```
//! use tilewright_compiler::diagnostics::SourceMap;
//! use tilewright_compiler::front::format::format;
//!
//! let text = "fn f(x)=x*-2 ;// twice\nkernel k(a:f32[N],out b:f32[N]){grid i over N by 64;b[i]=f( a[i] );}";
//! let pretty = format(&mut SourceMap::default(), "k.tw", text).unwrap();
//! assert_eq!(pretty, "\
//! fn f(x) = x * -2; // twice
//! kernel k(a: f32[N], out b: f32[N]) {
//!     grid i over N by 64;
//!     b[i] = f(a[i]);
//! }
//! ");
//! assert_eq!(format(&mut SourceMap::default(), "k.tw", &pretty).unwrap(), pretty);
//! ```
//!
//! Invariants: what is returned has the tokens of the text in their order, but for commas before closing brackets, and its comments in theirs (this is
//! checked on every call); formatting it again changes nothing.

mod breaks;
mod emit;
mod pieces;

use super::lexer::Token;
use super::parser::parse;
use crate::diagnostics::{Diagnostic, Diagnostics, SourceMap, Span, codes};
use breaks::Breaks;

/// Longest line, in characters; a comment behind the code may go past it.
pub const WIDTH: usize = 132;

/// The text in the one style, or why it does not parse. `name` is what the diagnostics call the file; imports are not read.
pub fn format(sources: &mut SourceMap, name: &str, text: &str) -> Result<String, Diagnostics> {
    let file = sources.add(name, text);
    let mut diagnostics = Diagnostics::default();
    parse(file, text, 0, &mut diagnostics);
    if diagnostics.has_errors() {
        diagnostics.sort();
        return Err(diagnostics);
    }
    let done = lay_out(text);
    if essence(text) != essence(&done) {
        let mut all = Diagnostics::default();
        all.push(
            Diagnostic::error(codes::INTERNAL, "the formatter lost or moved a part of this file")
                .label(Span::new(file, 0, 0), "")
                .note("nothing was written; this is a bug of the compiler, please report it with the file"),
        );
        return Err(all);
    }
    Ok(done)
}

fn lay_out(text: &str) -> String {
    let pieces = pieces::read(text);
    let mut breaks = Breaks::read(&pieces.all);
    loop {
        let (lines, places) = emit::emit(&pieces, &breaks);
        let mut changed = false;
        for line in lines.iter().filter(|l| l.code && l.width > WIDTH) {
            changed |= breaks.relieve(&pieces.all, line, &places);
        }
        if !changed {
            return emit::join(&lines);
        }
    }
}

/// What formatting must keep: the tokens without commas before closing brackets, and the comments.
fn essence(text: &str) -> (Vec<(Token, &str)>, Vec<&str>) {
    let pieces = pieces::read(text);
    let comments = pieces.all.iter().flat_map(|p| &p.comments).chain(&pieces.tail);
    (pieces.all.iter().map(|p| (p.kind, p.text)).collect(), comments.map(|c| c.text).collect())
}

#[cfg(test)]
mod tests;
