//! Text to values: a lexer of six tokens and a recursive descent of three levels.
//!
//! ```text
//! expr   = product { ("o" | "∘") product }            composition, binds loosest, right to left
//! product = term { ("*" | "/") term }
//! term   = "(" expr ")" | [type] shape ":" stride | name [ "(" arguments ")" ]
//! ```
//! A parenthesis whose first word is a number opens a CuTe shape, any other an expression.

use std::ops::Range;

use super::Shown;
use super::build::{Argument, DIMS, FUNCTIONS, TYPES, Value, call, compose, memory_from_modes, type_bits};
use super::error::{ExprError, near};
use crate::layout::atoms;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Name(String),
    Number(u32),
    Symbol(char),
}

/// A CuTe tuple: `8` or `((2,4),8)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tuple {
    Leaf(u32),
    Node(Vec<Tuple>),
}

/// Deeper nesting than this is refused, so that no input can exhaust the stack.
const DEPTH: u32 = 64;

/// Reads a layout expression.
pub fn parse_expr(text: &str) -> Result<Shown, ExprError> {
    let mut parser = Parser { tokens: lex(text)?, at: 0, end: text.len(), depth: 0 };
    let (value, span) = parser.expr()?;
    if let Some((token, span)) = parser.tokens.get(parser.at) {
        let found = describe(token);
        return Err(ExprError::new(span.clone(), format!("{found} does not continue the expression"))
            .expected(&["`*`", "`/`", "`o`", "the end"]));
    }
    match value {
        Value::Layout(layout) => {
            layout.split_threads().map(Shown::Distributed).map_err(|e| ExprError::new(span, e.to_string()))
        }
        Value::Memory(memory) => Ok(Shown::Memory(memory)),
        Value::Swizzle(_) => Err(ExprError::new(span, "a swizzle alone has no elements to show")
            .help("compose it with a memory layout: `swizzle(3,4,3) o row_major(f16, 64, 64)`")),
    }
}

fn lex(text: &str) -> Result<Vec<(Token, Range<usize>)>, ExprError> {
    let mut tokens = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some(&(start, c)) = chars.peek() {
        if c.is_whitespace() {
            chars.next();
            continue;
        }
        if c.is_ascii_alphanumeric() || c == '_' {
            let mut end = start;
            // A dot joins the words of an atom's name.
            while let Some(&(i, c)) = chars.peek() {
                if !(c.is_ascii_alphanumeric() || c == '_' || c == '.') {
                    break;
                }
                end = i + c.len_utf8();
                chars.next();
            }
            let word = &text[start..end];
            let token = if c.is_ascii_digit() {
                let number = word.parse::<u32>().map_err(|_| {
                    ExprError::new(start..end, format!("`{word}` is not a number from 0 to {}", u32::MAX))
                })?;
                Token::Number(number)
            } else {
                Token::Name(word.to_string())
            };
            tokens.push((token, start..end));
            continue;
        }
        let end = start + c.len_utf8();
        match c {
            '(' | ')' | ',' | ':' | '*' | '/' => tokens.push((Token::Symbol(c), start..end)),
            '∘' => tokens.push((Token::Name("o".into()), start..end)),
            _ => {
                let spelled = if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
                return Err(ExprError::new(start..end, format!("`{spelled}` has no meaning here"))
                    .expected(&["a name", "a number", "`(`", "`)`", "`,`", "`:`", "`*`", "`/`", "`o`"]));
            }
        }
        chars.next();
    }
    Ok(tokens)
}

fn describe(token: &Token) -> String {
    match token {
        Token::Name(n) => format!("`{n}`"),
        Token::Number(n) => format!("`{n}`"),
        Token::Symbol(c) => format!("`{c}`"),
    }
}

struct Parser {
    tokens: Vec<(Token, Range<usize>)>,
    at: usize,
    end: usize,
    depth: u32,
}

type Spanned<T> = (T, Range<usize>);

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|t| &t.0)
    }

    fn span(&self) -> Range<usize> {
        self.tokens.get(self.at).map_or(self.end..self.end, |t| t.1.clone())
    }

    fn eat(&mut self, symbol: char) -> bool {
        let found = self.peek() == Some(&Token::Symbol(symbol));
        self.at += usize::from(found);
        found
    }

    fn need(&mut self, symbol: char) -> Result<Range<usize>, ExprError> {
        let span = self.span();
        if self.eat(symbol) { Ok(span) } else { Err(self.unexpected(&[&format!("`{symbol}`")])) }
    }

    fn unexpected(&self, expected: &[&str]) -> ExprError {
        let message = match self.peek() {
            Some(token) => format!("{} does not fit here", describe(token)),
            None => "the expression ends too early".to_string(),
        };
        ExprError::new(self.span(), message).expected(expected)
    }

    fn expr(&mut self) -> Result<Spanned<Value>, ExprError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(ExprError::new(self.span(), format!("more than {DEPTH} levels of nesting")));
        }
        let (left, left_span) = self.product()?;
        let result = if self.peek() == Some(&Token::Name("o".into())) {
            self.at += 1;
            let (right, right_span) = self.expr()?;
            let span = left_span.start..right_span.end;
            (compose(left, right).map_err(|e| e.at(span.clone()))?, span)
        } else {
            (left, left_span)
        };
        self.depth -= 1;
        Ok(result)
    }

    fn product(&mut self) -> Result<Spanned<Value>, ExprError> {
        let (mut left, mut span) = self.term()?;
        loop {
            let operator = match self.peek() {
                Some(Token::Symbol(c @ ('*' | '/'))) => *c,
                _ => return Ok((left, span)),
            };
            self.at += 1;
            let (right, right_span) = self.term()?;
            let whole = span.start..right_span.end;
            let (Value::Layout(a), Value::Layout(b)) = (&left, &right) else {
                return Err(ExprError::new(
                    whole,
                    format!("`{operator}` works on distributed layouts, and one of these lies in memory"),
                )
                .help("`o` composes: `swizzle(3,4,3) o row_major(f16, 64, 64)`"));
            };
            let result = if operator == '*' { a * b } else { a / b };
            left = Value::Layout(result.map_err(|e| ExprError::new(whole.clone(), e.to_string()))?);
            span = whole;
        }
    }

    fn term(&mut self) -> Result<Spanned<Value>, ExprError> {
        let start = self.span();
        match self.peek() {
            Some(Token::Symbol('(')) if !self.opens_tuple() => {
                self.at += 1;
                let (value, _) = self.expr()?;
                let end = self.need(')')?;
                Ok((value, start.start..end.end))
            }
            Some(Token::Symbol('(') | Token::Number(_)) => self.cute(8, start),
            Some(Token::Name(name)) => {
                let name = name.clone();
                self.at += 1;
                self.named(&name, start)
            }
            _ => Err(self.unexpected(&[
                "a layout such as `spatial(8,4)`",
                "an atom such as `mma.m16n8k16.A`",
                "`(8,4):(4,1)`",
            ])),
        }
    }

    /// Whether the parentheses ahead hold numbers: a CuTe shape and not a parenthesised expression.
    fn opens_tuple(&self) -> bool {
        let mut ahead = self.tokens[self.at..].iter().map(|t| &t.0);
        matches!(ahead.find(|t| **t != Token::Symbol('(')), Some(Token::Number(_)))
    }

    fn named(&mut self, name: &str, start: Range<usize>) -> Result<Spanned<Value>, ExprError> {
        if name == "wgmma.C" {
            self.need('(')?;
            let shape = match self.peek() {
                Some(Token::Name(s)) => s.clone(),
                _ => return Err(self.unexpected(&["a shape such as `m64n128`"])),
            };
            self.at += 1;
            let span = start.start..self.need(')')?.end;
            return self.atom(&format!("wgmma.C({shape})"), span);
        }
        if let Some(bits) = type_bits(name) {
            return self.cute(bits, start);
        }
        if FUNCTIONS.contains(&name) {
            let arguments = self.arguments()?;
            let span = start.start..self.tokens[self.at - 1].1.end;
            return Ok((call(name, &arguments, span.clone())?, span));
        }
        self.atom(name, start)
    }

    fn atom(&self, name: &str, span: Range<usize>) -> Result<Spanned<Value>, ExprError> {
        match atoms::named(name) {
            Some(Ok(layout)) => Ok((Value::Layout(layout), span)),
            Some(Err(error)) => Err(ExprError::new(span, error.to_string())),
            None => {
                let dims = DIMS.iter().map(|d| &d.0);
                let known = FUNCTIONS.iter().chain(atoms::NAMES).chain(dims).chain(TYPES).copied();
                let close = near(name, known);
                let error = ExprError::new(span, format!("no layout is called `{name}`"));
                Err(if close.is_empty() {
                    error.help("functions: ".to_string() + &FUNCTIONS.join(", ")).help("atoms: mma.m16n8k16.A, ldmatrix.x4, stmatrix.x4.trans, wgmma.C(m64n256), wgmma.A and their relatives")
                } else {
                    error.help(format!(
                        "did you mean {}?",
                        close.iter().map(|c| format!("`{c}`")).collect::<Vec<_>>().join(" or ")
                    ))
                })
            }
        }
    }

    fn arguments(&mut self) -> Result<Vec<Spanned<Argument>>, ExprError> {
        self.need('(')?;
        let mut arguments = Vec::new();
        while !self.eat(')') {
            let span = self.span();
            let ends = matches!(self.tokens.get(self.at + 1).map(|t| &t.0), Some(Token::Symbol(',' | ')')));
            match self.peek() {
                Some(&Token::Number(n)) if ends => {
                    self.at += 1;
                    arguments.push((Argument::Number(n), span));
                }
                Some(Token::Name(word)) if ends && Argument::is_word(word) => {
                    let word = word.clone();
                    self.at += 1;
                    arguments.push((Argument::Word(word), span));
                }
                Some(_) => {
                    let (value, span) = self.expr()?;
                    arguments.push((Argument::Value(Box::new(value)), span));
                }
                None => return Err(self.unexpected(&["an argument", "`)`"])),
            }
            if self.peek() != Some(&Token::Symbol(')')) && !self.eat(',') {
                return Err(self.unexpected(&["`,`", "`)`"]));
            }
        }
        Ok(arguments)
    }

    fn cute(&mut self, elem_bits: u32, start: Range<usize>) -> Result<Spanned<Value>, ExprError> {
        let shape = self.tuple()?;
        if !self.eat(':') {
            return Err(self.unexpected(&["`:` and the strides"]).help(format!(
                "a memory layout is shape:stride, as in `(8,4):(4,1)`; types are {}",
                TYPES.join(", ")
            )));
        }
        let stride = self.tuple()?;
        let span = start.start..self.tokens[self.at - 1].1.end;
        memory_from_modes(&shape, &stride, elem_bits)
            .map(|memory| (Value::Memory(memory), span.clone()))
            .map_err(|what| ExprError::new(span, what))
    }

    fn tuple(&mut self) -> Result<Tuple, ExprError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(ExprError::new(self.span(), format!("more than {DEPTH} levels of nesting")));
        }
        let result = match self.peek() {
            Some(&Token::Number(n)) => {
                self.at += 1;
                Tuple::Leaf(n)
            }
            Some(Token::Symbol('(')) => {
                self.at += 1;
                let mut modes = vec![self.tuple()?];
                while self.eat(',') {
                    modes.push(self.tuple()?);
                }
                self.need(')')?;
                Tuple::Node(modes)
            }
            _ => return Err(self.unexpected(&["a number", "`(`"])),
        };
        self.depth -= 1;
        Ok(result)
    }
}
