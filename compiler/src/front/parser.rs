//! Tokens to a syntax tree: what the grammar's actions need, and the loop that reports every mistake of a file.
//!
//! The generated parser stops at its first error. [`parse`] then asks [`repair`](super::repair) to report the mistake and to change the token list so that
//! it is gone (a missing `;` put in, a statement that cannot be read replaced by one `BadStmt` token), and parses again. Each round removes or
//! settles at least one token of the text, so the loop ends; correct files are parsed once.
//!
//! Invariant: the result is complete for what is right in the file, whatever is wrong elsewhere in it.

use super::ast::*;
use super::lexer::{Lexed, Tok, Token, lex, number_value};
use super::{brackets, repair};
use crate::diagnostics::{Diagnostic, Diagnostics, FileId, Span, codes};
use lalrpop_util::{ParseError, lalrpop_mod};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

lalrpop_mod!(
    #[allow(clippy::all, clippy::pedantic, unused_imports, unused_qualifications, dead_code)]
    grammar,
    "/grammar.rs"
);

/// How often a file is parsed again before the rest of it is given up.
const MAX_ROUNDS: usize = 200;

/// How often the list of expected tokens is worked out exactly; afterwards the parser's own, shorter one does.
const EXACT_ROUNDS: usize = 20;

/// What the grammar's actions work with.
pub struct Cx<'s> {
    pub file: FileId,
    pub text: &'s str,
    /// The tokens being parsed, repairs included.
    pub toks: &'s [Tok],
    /// The tokens as they stand in the text.
    original: &'s [Tok],
    docs: &'s HashMap<u32, Symbol>,
    next_id: Cell<u32>,
    /// What the actions report; dropped when the parse fails and is tried again.
    reports: RefCell<Vec<Diagnostic>>,
}

impl<'s> Cx<'s> {
    /// The bytes of tokens `l..r`; an empty list is the empty place before token `l`.
    pub fn span(&self, l: usize, r: usize) -> Span {
        let end = |n: usize| self.toks.get(n).map_or(self.text.len(), |t| t.end as usize);
        let start = self.toks.get(l).map_or(self.text.len(), |t| t.start as usize);
        if r <= l {
            Span::new(self.file, start, start)
        } else {
            Span::new(self.file, start, end(r - 1).max(start))
        }
    }

    /// A token's text; empty for one that is only tried out behind the last.
    fn slice(&self, at: usize) -> &'s str {
        let Some(t) = self.toks.get(at) else { return "" };
        &self.text[t.start as usize..t.end as usize]
    }

    fn new_ident(&self, text: &str, span: Span) -> Ident {
        let id = NodeId(self.next_id.get());
        self.next_id.set(id.0 + 1);
        Ident { text: text.into(), span, id }
    }

    pub fn ident(&self, at: usize) -> Ident {
        self.new_ident(self.slice(at), self.span(at, at + 1))
    }

    pub fn number(&self, at: usize) -> Number {
        let text = self.slice(at);
        // What is wrong with a number has been reported by the lexer.
        let value = number_value(text).unwrap_or(NumberValue::Int(0));
        Number { value, text: text.into(), span: self.span(at, at + 1) }
    }

    /// Without the quotes.
    pub fn string(&self, at: usize) -> Symbol {
        self.slice(at).trim_matches('"').into()
    }

    /// The doc comment before the item that starts at token `at`.
    pub fn doc(&self, at: usize) -> Option<Symbol> {
        self.docs.get(&self.toks.get(at)?.start).cloned()
    }

    /// The names in the text that the bad token at `at` stands for.
    pub fn names_in(&self, at: usize) -> Vec<Ident> {
        let Some(bad) = self.toks.get(at) else { return vec![] };
        let from = self.original.partition_point(|t| t.start < bad.start);
        let inside = self.original[from..].iter().take_while(|t| t.end <= bad.end);
        inside
            .filter(|t| t.kind == Token::Name)
            .map(|t| {
                let span = Span::new(self.file, t.start as usize, t.end as usize);
                self.new_ident(&self.text[t.start as usize..t.end as usize], span)
            })
            .collect()
    }

    pub fn expr(&self, l: usize, r: usize, kind: ExprKind) -> Expr {
        Expr { kind, span: self.span(l, r) }
    }

    pub fn call(&self, l: usize, m: usize, r: usize, name: Ident, args: Vec<Arg>) -> Expr {
        let callee = Box::new(self.expr(l, m, ExprKind::Name(name)));
        self.expr(l, r, ExprKind::Call { callee, args })
    }

    /// `(x)` is x, with the parentheses in its span; `(x, y)` is a tuple.
    pub fn parens(&self, l: usize, r: usize, mut items: Vec<Expr>) -> Expr {
        match items.len() {
            1 => Expr { span: self.span(l, r), kind: items.remove(0).kind },
            _ => self.expr(l, r, ExprKind::Tuple(items)),
        }
    }

    /// `lhs op rhs`, where `lhs` must not be a comparison without parentheses.
    pub fn comparison(&self, l: usize, r: usize, lhs: Expr, (op, at): (BinaryOp, usize), rhs: Expr) -> Expr {
        // Parentheses are part of an expression's span, so a parenthesised comparison ends after its right side.
        if let ExprKind::Binary { op: inner, lhs: first, rhs: middle } = &lhs.kind
            && inner.is_comparison()
            && middle.span.end == lhs.span.end
        {
            let whole = self.span(l, r);
            let text = |span: Span| &self.text[span.start as usize..span.end as usize];
            // The sides too, where they are short.
            let all = whole.end - whole.start <= 60 && !text(whole).contains('\n');
            let side = |span: Span| if all { text(span) } else { "…" };
            let (first, middle, last) = (side(first.span), text(middle.span), side(rhs.span));
            self.reports.borrow_mut().push(
                Diagnostic::error(codes::CHAINED_COMPARISON, "comparisons do not chain")
                    .label(self.span(at, at + 1), "a second comparison")
                    .secondary(lhs.span, "this is already one")
                    .help(format!(
                        "compare twice: `{first} {} {middle} && {middle} {} {last}`",
                        inner.text(),
                        op.text()
                    )),
            );
            // As if it had been written right, so that nobody complains of comparing a `bool`.
            let second = Expr { kind: ExprKind::Error, span: rhs.span };
            return self.expr(
                l,
                r,
                ExprKind::Binary { op: BinaryOp::And, lhs: Box::new(lhs), rhs: Box::new(second) },
            );
        }
        self.expr(l, r, ExprKind::Binary { op, lhs: Box::new(lhs), rhs: Box::new(rhs) })
    }
}

/// Parses the tokens `from..to`, and `last` behind them. An error is the token's number and what the generated parser says it expected.
fn run(cx: &Cx, from: usize, to: usize, last: Option<Token>) -> Result<Vec<Item>, (usize, Vec<String>)> {
    let stream = cx.toks[from..to].iter().map(|t| t.kind).chain(last).enumerate();
    let stream = stream.map(|(n, kind)| Ok::<_, ()>((from + n, kind, from + n + 1)));
    grammar::FileParser::new().parse(cx, stream).map_err(|e| match e {
        ParseError::UnrecognizedToken { token: (at, ..), expected } => (at, expected),
        ParseError::UnrecognizedEof { expected, .. } => (to + usize::from(last.is_some()), expected),
        // The lexer hands over no errors, and the grammar takes every list of items to its end.
        _ => (to, vec![]),
    })
}

/// Every token that could stand at `at`. The generated parser's own list is taken after it has reduced what it could, and lacks, say, the operators after
/// an expression; so each kind of token is tried there.
fn expected_at(cx: &Cx, at: usize) -> Vec<String> {
    let from = repair::item_start(cx.toks, at);
    let fits = |kind: Token| match run(cx, from, at, Some(kind)) {
        Ok(_) => true,
        Err((failed, _)) => failed > at,
    };
    super::expected::SPELLINGS.iter().filter(|(kind, _)| fits(*kind)).map(|(_, s)| s.to_string()).collect()
}

/// Parses one file. Identifiers are numbered from `first_id` on; the next free number is returned.
pub fn parse(file: FileId, text: &str, first_id: u32, diagnostics: &mut Diagnostics) -> (File, u32) {
    let Lexed { toks: original, docs, directives } = lex(file, text, diagnostics);
    let doc_texts: HashMap<u32, Symbol> = docs.iter().map(|(at, t, _)| (*at, t.as_str().into())).collect();
    let mut toks = brackets::balance(file, text, &original, diagnostics);
    let mut rounds = 0;
    loop {
        let cx = Cx {
            file,
            text,
            toks: &toks,
            original: &original,
            docs: &doc_texts,
            next_id: Cell::new(first_id),
            reports: RefCell::default(),
        };
        let (at, claimed) = match run(&cx, 0, toks.len(), None) {
            Ok(items) => {
                for report in cx.reports.into_inner() {
                    diagnostics.push(report);
                }
                repair::stray_docs(&items, &docs, diagnostics);
                return (File { items, directives }, cx.next_id.get());
            }
            Err(failure) => failure,
        };
        let expected = if rounds < EXACT_ROUNDS { expected_at(&cx, at) } else { claimed };
        rounds += 1;
        if rounds > MAX_ROUNDS {
            return (File { items: vec![], directives }, first_id);
        }
        repair::repair(&repair::Failure { file, text, at, expected: &expected }, &mut toks, diagnostics);
    }
}
