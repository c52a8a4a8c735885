//! Text to tokens.
//!
//! A token holds no text: it is a kind and a place, and the parser looks names and numbers up in the source. White space and `//` comments vanish here;
//! `///` comments are kept aside, by the token they precede; `//;` directives are read by [`directives`](super::directives).
//!
//! ```text
//! 0..16   1e-5   m max= x   i'
//! Number DotDot Number   Number   Name MaxAssign Name   Name Prime
//! ```
//!
//! Invariants: tokens ascend and do not overlap; whatever the input, lexing ends and every byte is in a token, in white space, in a comment, or in
//! something reported.

use super::directives;
use super::program::Directive;
use crate::diagnostics::{Diagnostic, Diagnostics, FileId, Span, codes};
use logos::Logos;

/// The kinds of token. Names of types are ordinary names to the grammar.
#[derive(Logos, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[logos(skip r"[ \t\r\n\u{feff}]+")]
pub enum Token {
    #[regex(r"//[^\n]*", priority = 1, allow_greedy = true)]
    Comment,
    #[regex(r"///[^\n]*", priority = 100, allow_greedy = true)]
    DocComment,
    #[regex(r"//;[^\n]*", priority = 100, allow_greedy = true)]
    Directive,

    #[regex(r"[A-Za-z_][A-Za-z0-9_]*", priority = 1)]
    Name,
    /// With whatever letters follow it, so that `12ab` and `0b2` are one mistake and not two tokens.
    #[regex(r"[0-9][0-9A-Za-z_]*(\.[0-9][0-9A-Za-z_]*)?")]
    #[regex(r"[0-9][0-9_]*(\.[0-9][0-9_]*)?[eE][+-]?[0-9][0-9A-Za-z_]*", priority = 10)]
    Number,
    #[regex("\"[^\"\n]*\"")]
    Text,

    #[token("import")]
    Import,
    #[token("as")]
    As,
    #[token("const")]
    Const,
    #[token("fn")]
    Fn,
    #[token("using")]
    Using,
    #[token("kernel")]
    Kernel,
    #[token("step")]
    Step,
    #[token("true")]
    True,
    #[token("false")]
    False,
    #[token("inf")]
    Inf,
    #[token("out")]
    Out,
    #[token("inout")]
    InOut,
    #[token("packed")]
    Packed,
    #[token("strides")]
    Strides,
    #[token("align")]
    Align,
    #[token("in")]
    In,
    #[token("ascending")]
    Ascending,
    #[token("distinct")]
    Distinct,
    #[token("where")]
    Where,
    #[token("let")]
    Let,
    #[token("mut")]
    Mut,
    #[token("temp")]
    Temp,
    #[token("tune")]
    Tune,
    #[token("grid")]
    Grid,
    #[token("over")]
    Over,
    #[token("when")]
    When,
    #[token("for")]
    For,
    #[token("if")]
    If,
    #[token("else")]
    Else,
    #[token("atomic")]
    Atomic,
    #[token("schedule")]
    Schedule,
    #[token("on")]
    On,
    #[token("by")]
    By,
    #[token("_")]
    Underscore,

    #[token("(")]
    LParen,
    #[token(")")]
    RParen,
    #[token("[")]
    LBracket,
    #[token("]")]
    RBracket,
    #[token("{")]
    LBrace,
    #[token("}")]
    RBrace,
    #[token(",")]
    Comma,
    #[token(";")]
    Semicolon,
    #[token(":")]
    Colon,
    #[token(".")]
    Dot,
    #[token("..")]
    DotDot,
    #[token("..=")]
    DotDotEq,
    #[token("'")]
    Prime,
    #[token("->")]
    Arrow,
    #[token("=")]
    Assign,
    #[token("==")]
    EqEq,
    #[token("!=")]
    NotEq,
    #[token("<")]
    Less,
    #[token("<=")]
    LessEq,
    #[token(">")]
    Greater,
    #[token(">=")]
    GreaterEq,
    #[token("+")]
    Plus,
    #[token("-")]
    Minus,
    #[token("*")]
    Star,
    #[token("/")]
    Slash,
    #[token("%")]
    Percent,
    #[token("@")]
    At,
    #[token("!")]
    Bang,
    #[token("~")]
    Tilde,
    #[token("&")]
    And,
    #[token("&&")]
    AndAnd,
    #[token("|")]
    Or,
    #[token("||")]
    OrOr,
    #[token("^")]
    Caret,
    #[token("<<")]
    Shl,
    #[token(">>")]
    Shr,
    #[token("+=")]
    AddAssign,
    #[token("-=")]
    SubAssign,
    #[token("*=")]
    MulAssign,
    #[token("max=")]
    MaxAssign,
    #[token("min=")]
    MinAssign,
    #[token("|=")]
    OrAssign,
    #[token("&=")]
    AndAssign,
    #[token("^=")]
    XorAssign,

    /// Stands for a statement, or the head of one, that did not parse. Made by [`repair`](super::repair), never by the lexer.
    BadStmt,
    /// The same for an item.
    BadItem,
    /// The same for an expression.
    BadExpr,
}

/// A token and its bytes in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tok {
    pub kind: Token,
    pub start: u32,
    pub end: u32,
}

/// What one file's text becomes.
#[derive(Debug, Default)]
pub struct Lexed {
    pub toks: Vec<Tok>,
    /// Doc comments: the byte at which the next token starts, the text, and where the comment stands.
    pub docs: Vec<(u32, String, Span)>,
    pub directives: Vec<Directive>,
}

/// Splits `text` into tokens; what is no token is reported and left out.
pub fn lex(file: FileId, text: &str, diagnostics: &mut Diagnostics) -> Lexed {
    let mut out = Lexed::default();
    let mut doc: Option<(String, Span)> = None;
    let mut bad: Option<Span> = None;
    // Tokens that start before this byte belong to something reported already.
    let mut skip = 0;
    for (token, range) in Token::lexer(text).spanned() {
        let span = Span::new(file, range.start, range.end);
        if range.start < skip {
            continue;
        }
        let Ok(kind) = token else {
            // Neighbouring bytes that are nothing make one report.
            bad = Some(match bad {
                Some(b) if b.end == span.start => b.to(span),
                Some(b) => {
                    out.toks.extend(unknown(b, text, diagnostics));
                    span
                }
                None => span,
            });
            if text[range.start..].starts_with('#') {
                skip = text[range.start..].find('\n').map_or(text.len(), |n| range.start + n);
            }
            if text[range.start..].starts_with('"') && text[..range.end].trim_end().ends_with(';') {
                let end = text[..range.end].trim_end().len() as u32;
                let string = Span { end: end - 1, ..span };
                out.toks.extend(unknown(string, text, diagnostics));
                out.toks.push(Tok { kind: Token::Semicolon, start: end - 1, end });
                bad = None;
            }
            continue;
        };
        if let Some(b) = bad.take() {
            out.toks.extend(unknown(b, text, diagnostics));
        }
        let slice = &text[range.clone()];
        if kind == Token::Slash && text[range.start..].starts_with("/*") {
            skip = text[range.start..].find("*/").map_or(text.len(), |n| range.start + n + 2);
            diagnostics.push(
                Diagnostic::error(codes::SYNTAX, "there are no comments between `/*` and `*/`")
                    .label(Span::new(file, range.start, skip), "")
                    .help("a comment starts with `//` and ends with its line"),
            );
            continue;
        }
        let mut tok = Tok { kind, start: span.start, end: span.end };
        match kind {
            Token::Comment => continue,
            Token::DocComment if slice.starts_with("////") => continue,
            Token::DocComment => {
                let line = slice[3..].strip_prefix(' ').unwrap_or(&slice[3..]).trim_end();
                doc = Some(match doc {
                    Some((text, at)) => (text + "\n" + line, at.to(span)),
                    None => (line.to_string(), span),
                });
                continue;
            }
            Token::Directive => {
                out.directives.extend(directives::read(slice, span, diagnostics));
                continue;
            }
            Token::Number => skip = check_number(slice, span, text, diagnostics),
            Token::Assign | Token::EqEq => {
                // `max==x` is a comparison, `max= =` would be nothing.
                if let Some(last) = out.toks.last_mut()
                    && matches!(last.kind, Token::MaxAssign | Token::MinAssign)
                    && last.end == tok.start
                    && kind == Token::Assign
                {
                    last.kind = Token::Name;
                    last.end -= 1;
                    tok = Tok { kind: Token::EqEq, start: tok.start - 1, end: tok.end };
                }
            }
            _ => {}
        }
        if let Some((text, at)) = doc.take() {
            out.docs.push((tok.start, text, at));
        }
        out.toks.push(tok);
    }
    if let Some(b) = bad {
        out.toks.extend(unknown(b, text, diagnostics));
    }
    if let Some((text, at)) = doc {
        out.docs.push((u32::MAX, text, at));
    }
    out
}

/// Reports a number that the pattern of tokens lets through and the language does not have; the byte at which to go on.
fn check_number(slice: &str, span: Span, text: &str, diagnostics: &mut Diagnostics) -> usize {
    let end = span.end as usize;
    if let Err(why) = number_value(slice) {
        diagnostics
            .push(Diagnostic::error(codes::BAD_NUMBER, format!("bad number `{slice}`")).label(span, why));
        return end;
    }
    let rest = &text.as_bytes()[end..];
    let points = rest.first() == Some(&b'.') && rest.get(1) != Some(&b'.');
    if !points || rest.get(1).is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_') {
        return end;
    }
    let whole = Span { end: span.end + 1, ..span };
    diagnostics.push(
        Diagnostic::error(codes::BAD_NUMBER, "a number has a digit on each side of its point")
            .label(whole, "no digit after the point")
            .replace(whole, format!("{slice}.0"), "write the zero"),
    );
    end + 1
}

/// The value of a number as spelled, or what is wrong with it.
pub fn number_value(slice: &str) -> Result<super::ast::NumberValue, String> {
    use super::ast::NumberValue;
    let digits: String = slice.chars().filter(|c| *c != '_').collect();
    let radix = |digits: &str, radix: u32, what: &str| {
        if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
            return Err(format!("not {what} number"));
        }
        u64::from_str_radix(digits, radix).map(NumberValue::Int).map_err(|_| "does not fit 64 bits".into())
    };
    if let Some(hex) = digits.strip_prefix("0x") {
        return radix(hex, 16, "a hexadecimal");
    }
    if let Some(binary) = digits.strip_prefix("0b") {
        return radix(binary, 2, "a binary");
    }
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        return radix(&digits, 10, "a decimal");
    }
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    match digits.parse::<f64>() {
        Ok(v) if plain && v.is_finite() => Ok(NumberValue::Float(v)),
        Ok(_) if plain => Err("does not fit 64 bits".into()),
        _ => Err("letters follow the digits; a number takes the type that its place asks for".into()),
    }
}

/// Characters that look like ones of the language, and what they stand for.
const LOOK_ALIKES: &[(char, &str, Token)] = &[
    ('−', "-", Token::Minus),
    ('–', "-", Token::Minus),
    ('—', "-", Token::Minus),
    ('×', "*", Token::Star),
    ('·', "*", Token::Star),
    ('≤', "<=", Token::LessEq),
    ('≥', ">=", Token::GreaterEq),
    ('≠', "!=", Token::NotEq),
    ('∞', "inf", Token::Inf),
    ('…', "..", Token::DotDot),
    ('’', "'", Token::Prime),
    ('′', "'", Token::Prime),
    ('→', "->", Token::Arrow),
];

/// Reports text that is no token: an open string, a comment of another language, a look-alike, or just an unknown character. The token, if any, is what
/// was probably meant, so that one wrong character makes one report.
fn unknown(span: Span, text: &str, diagnostics: &mut Diagnostics) -> Option<Tok> {
    let instead = |kind| Some(Tok { kind, start: span.start, end: span.end });
    let slice = &text[span.start as usize..span.end as usize];
    if slice.starts_with('"') {
        diagnostics.push(
            Diagnostic::error(codes::UNCLOSED, "this string is not closed")
                .label(Span { end: span.start + 1, ..span }, "opened here")
                .help("a string ends on its line, with `\"`"),
        );
        return instead(Token::Text);
    }
    let many = slice.chars().count() > 1;
    let shown: String = slice.chars().take(8).map(|c| c.escape_debug().to_string()).collect();
    let shown = shown.replace("\\'", "'").replace("\\\"", "\"");
    let message = format!("unknown character{} `{shown}`", if many { "s" } else { "" });
    let mut d = Diagnostic::error(codes::UNKNOWN_CHARACTER, message).label(span, "");
    let alike = LOOK_ALIKES.iter().find(|(c, ..)| slice == c.to_string());
    if let Some((_, ascii, _)) = alike {
        d = d.replace(span, *ascii, "write it in ASCII");
    } else if slice.chars().all(char::is_alphabetic) {
        d = d.help("names are made of the letters A to Z, digits and `_`");
    } else if slice == "#" {
        d = d.help("comments start with `//`");
    } else if slice.starts_with('?') {
        d = d
            .help("optional parameters are a later addition; there is no `? :` either: use `where(c, x, y)`");
    }
    diagnostics.push(d);
    match alike {
        Some((_, _, kind)) => instead(*kind),
        None if slice.chars().all(char::is_alphabetic) => instead(Token::Name),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Token> {
        let mut d = Diagnostics::default();
        let out = lex(FileId(0), text, &mut d);
        assert!(d.is_empty(), "{d:?}");
        out.toks.iter().map(|t| t.kind).collect()
    }

    #[test]
    fn points_and_ranges() {
        use Token::*;
        assert_eq!(kinds("0..16"), [Number, DotDot, Number]);
        assert_eq!(kinds("32..=576 step 16"), [Number, DotDotEq, Number, Step, Number]);
        assert_eq!(kinds("1e-5 0.5 1_000 0xff 1.5e+3"), [Number; 5]);
        assert_eq!(kinds("1e-5-x"), [Number, Minus, Name]);
        assert_eq!(kinds("x[.., d ^ 1]"), [Name, LBracket, DotDot, Comma, Name, Caret, Number, RBracket]);
        assert_eq!(kinds("q[i'].T"), [Name, LBracket, Name, Prime, RBracket, Dot, Name]);
    }

    #[test]
    fn operators_with_letters() {
        use Token::*;
        assert_eq!(kinds("top max= x"), [Name, MaxAssign, Name]);
        assert_eq!(kinds("top min=x"), [Name, MinAssign, Name]);
        assert_eq!(kinds("max==x"), [Name, EqEq, Name]);
        assert_eq!(kinds("xmax=x"), [Name, Assign, Name]);
        assert_eq!(kinds("max(m)"), [Name, LParen, Name, RParen]);
        assert_eq!(kinds("_ _x inf info"), [Underscore, Name, Inf, Name]);
    }

    #[test]
    fn comments_docs_and_directives() {
        let mut d = Diagnostics::default();
        let out = lex(FileId(0), "//; dims: M=5\n/// one\n/// two\nfn // no\n//// nor this\nx", &mut d);
        assert!(d.is_empty(), "{d:?}");
        assert_eq!(out.toks.len(), 2);
        assert_eq!(out.docs.len(), 1);
        assert_eq!((out.docs[0].0, out.docs[0].1.as_str()), (30, "one\ntwo"));
        assert_eq!(out.directives.len(), 1);
    }

    #[test]
    fn numbers_have_values() {
        use super::super::ast::NumberValue::*;
        assert_eq!(number_value("1_000"), Ok(Int(1000)));
        assert_eq!(number_value("0xff"), Ok(Int(255)));
        assert_eq!(number_value("0b101"), Ok(Int(5)));
        assert_eq!(number_value("1e-5"), Ok(Float(1e-5)));
        assert_eq!(number_value("18446744073709551615"), Ok(Int(u64::MAX)));
        assert!(number_value("18446744073709551616").is_err());
        assert!(number_value("12ab").is_err());
        assert!(number_value("0b2").is_err());
        assert!(number_value("0x").is_err());
        assert!(number_value("1e999").is_err());
    }
}
