//! Makes brackets balance before the grammar sees them.
//!
//! An open bracket is the mistake that derails a parser most, and the language makes it easy to place: no `;`, `{` or statement keyword ever stands
//! inside `( )` or `[ ]`, and no item begins at the left margin inside `{ }`. So the missing bracket is put in where it must have been, one report
//! says so, and the rest of the file parses as it should.
//!
//! ```text
//! let x = f(a, b;      ->   let x = f(a, b );     "`(` is not closed"
//! ```
//!
//! Invariant: in the result every bracket has its partner, and trees built from it are no deeper than [`MAX_DEPTH`] nodes, so that walking them by
//! recursion is safe; a file that is deeper is reported and yields no tokens.

use super::lexer::{Tok, Token};
use crate::diagnostics::{Diagnostic, Diagnostics, FileId, Span, codes};

/// Operators and brackets that may nest in one expression or block.
pub const MAX_DEPTH: usize = 256;

struct Open {
    tok: Tok,
    /// A `}` that closed an inner block from a line indented less than the block's first line.
    suspect: Option<(Tok, Tok)>,
}

struct Balance<'a> {
    file: FileId,
    text: &'a str,
    out: Vec<Tok>,
    stack: Vec<Open>,
    diagnostics: &'a mut Diagnostics,
}

fn closer(open: Token) -> Option<Token> {
    match open {
        Token::LParen => Some(Token::RParen),
        Token::LBracket => Some(Token::RBracket),
        Token::LBrace => Some(Token::RBrace),
        _ => None,
    }
}

fn text_of(kind: Token) -> &'static str {
    match kind {
        Token::LParen => "(",
        Token::RParen => ")",
        Token::LBracket => "[",
        Token::RBracket => "]",
        Token::LBrace => "{",
        _ => "}",
    }
}

/// The tokens with missing brackets put in and stray ones left out, each reported.
pub fn balance(file: FileId, text: &str, toks: &[Tok], diagnostics: &mut Diagnostics) -> Vec<Tok> {
    let mut b = Balance { file, text, out: Vec::with_capacity(toks.len()), stack: vec![], diagnostics };
    for &tok in toks {
        b.push(tok);
    }
    while !b.stack.is_empty() {
        b.close_top("the file ends here");
    }
    let Balance { out, .. } = b;
    match too_deep(&out) {
        None => out,
        Some((tok, long)) => {
            let span = Span::new(file, tok.start as usize, tok.end as usize);
            diagnostics.push(if long {
                Diagnostic::error(codes::TOO_DEEP, "this expression is too long")
                    .label(span, format!("more than {MAX_DEPTH} operators and brackets come before this"))
                    .help("name parts of it with `let`; what many terms have in common is a loop (`for k over K { acc += … }`) or `sum(… over k)`")
            } else {
                Diagnostic::error(codes::TOO_DEEP, "this is nested too deeply")
                    .label(span, format!("more than {MAX_DEPTH} operators and brackets around this"))
                    .help("name parts of it with `let`")
            });
            vec![]
        }
    }
}

impl Balance<'_> {
    fn span(&self, tok: Tok) -> Span {
        Span::new(self.file, tok.start as usize, tok.end as usize)
    }

    fn top(&self) -> Option<Token> {
        self.stack.last().map(|o| o.tok.kind)
    }

    fn push(&mut self, tok: Tok) {
        use Token::*;
        let after_over = self.out.last().is_some_and(|t| t.kind == Over);
        let ends_brackets = match tok.kind {
            Semicolon | LBrace | Let | For | If | Tune | Temp | Schedule | Import | Const | Kernel | Fn => {
                true
            }
            Grid => !after_over,
            _ => false,
        };
        if ends_brackets {
            while matches!(self.top(), Some(LParen | LBracket)) {
                self.close_top("must close before this");
            }
        }
        if matches!(tok.kind, Import | Const | Kernel | Fn) && self.indent(tok) == Some(0) {
            while self.top().is_some() {
                self.close_top("another item begins here");
            }
        }
        match tok.kind {
            LParen | LBracket | LBrace => self.stack.push(Open { tok, suspect: None }),
            RParen | RBracket | RBrace if !self.closes(tok) => return,
            _ => {}
        }
        self.out.push(tok);
    }

    /// Handles a closing bracket; false when it is stray and must be left out.
    fn closes(&mut self, tok: Tok) -> bool {
        let fits = |o: &Open| closer(o.tok.kind) == Some(tok.kind);
        // `)` and `]` never close across a brace.
        let reach =
            self.stack.iter().rev().take_while(|o| tok.kind == Token::RBrace || o.tok.kind != Token::LBrace);
        let Some(skipped) = reach.clone().position(fits) else {
            let mut d = Diagnostic::error(codes::UNCLOSED, format!("`{}` closes nothing", text_of(tok.kind)));
            d = match self.stack.last() {
                Some(o) if o.tok.kind != Token::LBrace => d
                    .label(self.span(tok), format!("expected `{}`", closer(o.tok.kind).map_or("", text_of)))
                    .secondary(self.span(o.tok), "to close this"),
                _ => d.label(self.span(tok), "no bracket is open here"),
            };
            self.diagnostics.push(d);
            return false;
        };
        for _ in 0..skipped {
            self.close_top("must close before this");
        }
        let open = self.stack.pop().expect("`position` found it");
        if tok.kind == Token::RBrace
            && let Some(outer) = self.stack.last_mut()
        {
            let (a, b) = (indent(self.text, open.tok.start), first_on_line(self.text, tok.start));
            let suspicious = matches!((a, b), (a, Some(b)) if b < a);
            outer.suspect = outer.suspect.or(open.suspect).or(suspicious.then_some((open.tok, tok)));
        }
        true
    }

    /// Reports the innermost open bracket and puts its partner in at the end of what came so far.
    fn close_top(&mut self, why: &str) {
        let Some(open) = self.stack.pop() else { return };
        let Some(kind) = closer(open.tok.kind) else { return };
        let end = self.out.last().map_or(open.tok.end, |t| t.end);
        let mut d = Diagnostic::error(codes::UNCLOSED, format!("`{}` is not closed", text_of(open.tok.kind)))
            .label(self.span(open.tok), "opened here");
        match open.suspect {
            Some((inner, close)) if kind == Token::RBrace => {
                d = d.secondary(self.span(inner), "this one, perhaps:").secondary(
                    self.span(close),
                    "it is closed here, where the indentation is another block's",
                );
            }
            _ if kind != Token::RBrace => {
                let at = Span::new(self.file, end as usize, end as usize);
                d = d.secondary(at, why).replace(at, text_of(kind), "close it");
            }
            _ => d = d.note(why),
        }
        self.diagnostics.push(d);
        self.out.push(Tok { kind, start: end, end });
    }

    /// Columns before `tok`, if it is the first thing on its line.
    fn indent(&self, tok: Tok) -> Option<usize> {
        first_on_line(self.text, tok.start)
    }
}

/// The indentation of the line that holds byte `at`.
fn indent(text: &str, at: u32) -> usize {
    let start = text[..at as usize].rfind('\n').map_or(0, |n| n + 1);
    text[start..].bytes().take_while(|b| matches!(b, b' ' | b'\t')).count()
}

/// The same, if `at` is where the line's text begins.
fn first_on_line(text: &str, at: u32) -> Option<usize> {
    let start = text[..at as usize].rfind('\n').map_or(0, |n| n + 1);
    text[start..at as usize].trim().is_empty().then(|| indent(text, at))
}

/// The token at which trees would become deeper than [`MAX_DEPTH`], and whether most of that is one chain of operators rather than brackets in brackets.
/// Counts from above: every operator, bracket and `else` of the segments still open.
fn too_deep(toks: &[Tok]) -> Option<(Tok, bool)> {
    use Token::*;
    let mut open: Vec<usize> = vec![0];
    let mut total = 0;
    for (n, tok) in toks.iter().enumerate() {
        let reset = match tok.kind {
            Comma | Semicolon => true,
            RBrace => toks.get(n + 1).is_none_or(|t| t.kind != Else),
            _ => false,
        };
        match tok.kind {
            LParen | LBracket | LBrace => {
                total += 1;
                *open.last_mut().expect("never empty") += 1;
                open.push(0);
            }
            RParen | RBracket | RBrace if open.len() > 1 => total -= open.pop().unwrap_or(0),
            Name | Number | Text | Comma | Semicolon => {}
            _ => {
                total += 1;
                *open.last_mut().expect("never empty") += 1;
            }
        }
        if reset {
            let last = open.last_mut().expect("never empty");
            total -= *last;
            *last = 0;
        }
        if total > MAX_DEPTH {
            let longest = open.iter().max().is_some_and(|n| *n > MAX_DEPTH / 2);
            return Some((*tok, longest));
        }
    }
    None
}
