//! The text with a position in it: blanks and comments, names and numbers. The only place that sees newlines, so line numbers are
//! kept here.

use super::{Failure, ParseErrorKind, Parsed};
use crate::ptx::operand::Imm;

#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    bytes: &'a [u8],
    pos: usize,
    line: u32,
    line_start: usize,
}

fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'$' | b'%')
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'%')
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Cursor<'a> {
        Cursor { text, bytes: text.as_bytes(), pos: 0, line: 1, line_start: 0 }
    }

    /// Line and column of the next byte that is neither blank nor comment.
    pub(super) fn place(&mut self) -> (u32, u32) {
        self.blanks();
        (self.line, (self.pos - self.line_start + 1) as u32)
    }

    pub(super) fn pos(&self) -> usize {
        self.pos
    }

    pub(super) fn at_end(&mut self) -> bool {
        self.blanks();
        self.pos >= self.bytes.len()
    }

    fn newline(&mut self) {
        self.line += 1;
        self.line_start = self.pos;
    }

    /// Skips blanks and comments.
    pub(super) fn blanks(&mut self) {
        while let Some(&byte) = self.bytes.get(self.pos) {
            match byte {
                b'\n' => {
                    self.pos += 1;
                    self.newline();
                }
                b' ' | b'\t' | b'\r' | 0x0c | 0x0b => self.pos += 1,
                b'/' if self.bytes.get(self.pos + 1) == Some(&b'/') => {
                    while self.bytes.get(self.pos).is_some_and(|byte| *byte != b'\n') {
                        self.pos += 1;
                    }
                }
                b'/' if self.bytes.get(self.pos + 1) == Some(&b'*') => {
                    self.pos += 2;
                    while self.pos < self.bytes.len() && !self.bytes[self.pos..].starts_with(b"*/") {
                        self.pos += 1;
                        if self.bytes[self.pos - 1] == b'\n' {
                            self.newline();
                        }
                    }
                    self.pos = (self.pos + 2).min(self.bytes.len());
                }
                _ => break,
            }
        }
    }

    /// The next byte after blanks, or 0 at the end.
    pub(super) fn peek(&mut self) -> u8 {
        self.blanks();
        self.bytes.get(self.pos).copied().unwrap_or(0)
    }

    /// The byte right here, or 0 at the end.
    pub(super) fn here(&self) -> u8 {
        self.bytes.get(self.pos).copied().unwrap_or(0)
    }

    /// Takes `byte` if it is next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte && self.pos < self.bytes.len();
        if found {
            self.pos += 1;
        }
        found
    }

    pub(super) fn expect(&mut self, byte: u8, expected: &'static str) -> Parsed<()> {
        if self.eat(byte) { Ok(()) } else { Err(self.syntax(expected)) }
    }

    /// "expected X, found what is here".
    pub(super) fn syntax(&mut self, expected: &'static str) -> Failure {
        self.blanks();
        let rest = &self.text[self.pos..];
        let end = rest
            .char_indices()
            .find(|(at, c)| *at >= 24 || c.is_whitespace() || *c == ';')
            .map_or(rest.len(), |(at, _)| at);
        let end = end.max(rest.chars().next().map_or(0, char::len_utf8));
        let found = if rest.is_empty() {
            "the end of the file".to_string()
        } else {
            format!("`{}`", rest[..end].escape_debug())
        };
        Box::new(ParseErrorKind::Syntax { expected, found })
    }

    /// A name, if one is next.
    pub(super) fn name(&mut self) -> Option<&'a str> {
        self.blanks();
        let start = self.pos;
        if !is_name_start(self.here()) {
            return None;
        }
        while is_name(self.here()) {
            self.pos += 1;
        }
        Some(&self.text[start..self.pos])
    }

    pub(super) fn need_name(&mut self) -> Parsed<&'a str> {
        self.name().ok_or_else(|| self.syntax("a name"))
    }

    /// A directive's or modifier's word with its leading dot, if one is next: `.b32`, `.ptr`.
    pub(super) fn dotted(&mut self) -> Option<&'a str> {
        if self.peek() != b'.' {
            return None;
        }
        let start = self.pos;
        self.pos += 1;
        while self.here().is_ascii_alphanumeric()
            || self.here() == b'_'
            || self.text[self.pos..].starts_with("::")
        {
            self.pos += if self.here() == b':' { 2 } else { 1 };
        }
        Some(&self.text[start..self.pos])
    }

    /// Takes `word` if it is next as a whole dotted word.
    pub(super) fn eat_dotted(&mut self, word: &str) -> bool {
        let before = self.clone();
        let found = self.dotted() == Some(word);
        if !found {
            *self = before;
        }
        found
    }

    /// The rest of a mnemonic whose first name has been taken at `start`: dots, `::` and names.
    pub(super) fn mnemonic(&mut self, start: usize) -> &'a str {
        while is_name(self.here()) || self.here() == b'.' || self.text[self.pos..].starts_with("::") {
            self.pos += if self.here() == b':' { 2 } else { 1 };
        }
        &self.text[start..self.pos]
    }

    /// `.x`, `.y` or `.z` right here.
    pub(super) fn component(&mut self) {
        if self.here() == b'.'
            && self.bytes.get(self.pos + 1).is_some_and(|byte| matches!(byte, b'x' | b'y' | b'z'))
        {
            self.pos += 2;
        }
    }

    pub(super) fn slice_from(&self, start: usize) -> &'a str {
        &self.text[start..self.pos]
    }

    pub(super) fn rewind(&mut self, before: Cursor<'a>) {
        *self = before;
    }

    /// A quoted string. Where it does not end on its line, nothing but the quote is taken.
    pub(super) fn string(&mut self) -> Parsed<&'a str> {
        self.expect(b'"', "a string")?;
        let rest = &self.text[self.pos..];
        let mut escaped = false;
        for (at, c) in rest.char_indices() {
            match c {
                '\n' => break,
                '"' if !escaped => {
                    self.pos += at + 1;
                    return Ok(&rest[..at]);
                }
                _ => escaped = c == '\\' && !escaped,
            }
        }
        Err(self.syntax("a string that ends on its line"))
    }

    /// Steps over one character, if there is one.
    fn step(&mut self) {
        self.pos += self.text[self.pos..].chars().next().map_or(0, char::len_utf8);
    }

    /// Whether a number starts here (its sign not counted).
    pub(super) fn digit_next(&mut self) -> bool {
        self.peek().is_ascii_digit()
    }

    /// A literal: decimal, `0x`, `0b`, octal, `0f`, `0d`, or decimal floating point, with an optional sign.
    pub(super) fn literal(&mut self) -> Parsed<Imm> {
        let negative = self.eat(b'-');
        if !negative {
            self.eat(b'+');
        }
        self.blanks();
        let start = self.pos;
        if !self.here().is_ascii_digit() {
            return Err(self.syntax("a number"));
        }
        while self.here().is_ascii_alphanumeric() || self.here() == b'.' {
            let exponent = matches!(self.here(), b'e' | b'E') && !self.text[start..].starts_with("0x");
            self.pos += 1;
            let hex_float =
                matches!(self.bytes.get(start + 1), Some(b'f' | b'F' | b'd' | b'D' | b'x' | b'X'));
            if exponent && !hex_float && matches!(self.here(), b'+' | b'-') {
                self.pos += 1;
            }
        }
        let text = &self.text[start..self.pos];
        number(text, negative).ok_or_else(|| {
            Box::new(ParseErrorKind::Syntax { expected: "a number", found: format!("`{text}`") })
        })
    }

    /// A literal that must be an integer.
    pub(super) fn integer(&mut self) -> Parsed<i64> {
        match self.literal()? {
            Imm::Int(value) => Ok(value),
            _ => Err(self.syntax("an integer")),
        }
    }

    pub(super) fn unsigned(&mut self, expected: &'static str) -> Parsed<u32> {
        let value = self.integer()?;
        u32::try_from(value)
            .map_err(|_| Box::new(ParseErrorKind::Syntax { expected, found: format!("`{value}`") }))
    }

    /// Skips to just behind the next `;` of this statement. Stops before a brace that is not part of an operand list, at the end
    /// and never in a string.
    pub(super) fn skip_statement(&mut self) {
        let mut depth = 0u32;
        loop {
            match self.peek() {
                0 if self.pos >= self.bytes.len() => return,
                b';' => {
                    self.pos += 1;
                    return;
                }
                b'{' => depth += 1,
                b'}' if depth == 0 => return,
                b'}' => depth -= 1,
                b'"' => {
                    // Whether or not it ends, the quote has been taken.
                    let _ = self.string();
                    continue;
                }
                _ => {}
            }
            self.step();
        }
    }

    /// Skips a `{ … }` block that is next, nested blocks and strings included.
    pub(super) fn skip_block(&mut self) -> Parsed<()> {
        self.expect(b'{', "`{`")?;
        let mut depth = 1u32;
        while depth > 0 {
            match self.peek() {
                0 if self.pos >= self.bytes.len() => return Err(self.syntax("`}`")),
                b'{' => depth += 1,
                b'}' => depth -= 1,
                b'"' => {
                    // Whether or not it ends, the quote has been taken.
                    let _ = self.string();
                    continue;
                }
                _ => {}
            }
            self.step();
        }
        Ok(())
    }
}

/// The value of a literal's text.
fn number(text: &str, negative: bool) -> Option<Imm> {
    let digits = |at: usize| text.get(at..).filter(|rest| !rest.is_empty());
    let prefix = text.as_bytes().get(1).map_or(0, |byte| byte.to_ascii_lowercase());
    if text.starts_with('0') && matches!(prefix, b'f' | b'd') {
        let rest = digits(2)?;
        let bits = u64::from_str_radix(rest, 16).ok()?;
        return match prefix {
            b'f' if rest.len() == 8 => Some(Imm::F32(bits as u32 ^ (u32::from(negative) << 31))),
            b'd' if rest.len() == 16 => Some(Imm::F64(bits ^ (u64::from(negative) << 63))),
            _ => None,
        };
    }
    if text.contains('.') || (prefix != b'x' && text.contains(['e', 'E'])) {
        let value: f64 = text.parse().ok()?;
        return Some(Imm::F64(if negative { -value } else { value }.to_bits()));
    }
    let text = text.strip_suffix(['U', 'u']).unwrap_or(text);
    let value = match prefix {
        b'x' => u64::from_str_radix(text.get(2..)?, 16),
        b'b' => u64::from_str_radix(text.get(2..)?, 2),
        _ if text.len() > 1 && text.starts_with('0') => u64::from_str_radix(&text[1..], 8),
        _ => text.parse(),
    };
    let value = value.ok()? as i64;
    Some(Imm::Int(if negative { value.wrapping_neg() } else { value }))
}
