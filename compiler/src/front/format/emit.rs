//! Tokens to lines: indentation, spaces and comments, for given line breaks.
//!
//! A line's indentation follows from what it continues: a statement stands four columns inside its block; the rest of one four more; what stands in
//! brackets that end their line four more than that line; in brackets that do not, below their first token.
//!
//! ```text
//! kernel k<A: 1..=8 = 1,
//!          B: 1..=8 = 2>(
//!     a: f32[N],
//! ) {
//!     let x = a
//!         + b;
//! }
//! ```

use super::breaks::Breaks;
use super::pieces::{Comment, Group, Piece, Pieces, Role, spaced};
use crate::front::lexer::Token;
use std::fmt::Write;

const STEP: usize = 4;

/// Where a token came to stand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    pub column: usize,
    len: usize,
    /// Where it would stand if a line began with it.
    pub indent: usize,
}

impl Place {
    pub fn end(&self) -> usize {
        self.column + self.len
    }
}

/// One line of output.
#[derive(Debug, Default)]
pub struct Line {
    /// With its indentation, without a comment behind it.
    pub text: String,
    /// In characters.
    pub width: usize,
    /// The tokens on it; none on a line of comment.
    pub first: usize,
    pub last: usize,
    pub code: bool,
    /// The comment behind the code: gap and column in the source, and its text.
    comment: Option<(usize, usize, String)>,
}

/// A bracket that is open.
struct Held {
    /// Where lines inside start.
    base: usize,
    /// Where a line with its closing bracket starts.
    home: usize,
    /// It ends its line, so its closing bracket starts one.
    spread: bool,
}

struct Emitter<'a, 't> {
    all: &'a [Piece<'t>],
    breaks: &'a Breaks,
    lines: Vec<Line>,
    places: Vec<Place>,
    held: Vec<Held>,
    /// The statement goes on over more than one line outside of any bracket.
    continued: bool,
    /// No line is being written.
    fresh: bool,
    /// The indentation of the line, or of the one with the bracket that it started in and that has been closed on it.
    home: usize,
}

/// All lines, and where each token stands.
pub fn emit(pieces: &Pieces<'_>, breaks: &Breaks) -> (Vec<Line>, Vec<Place>) {
    let all = &pieces.all;
    let mut e = Emitter {
        all,
        breaks,
        lines: vec![],
        places: Vec::with_capacity(all.len()),
        held: vec![],
        continued: false,
        fresh: true,
        home: 0,
    };
    for i in 0..all.len() {
        e.token(i);
    }
    e.comments(&pieces.tail, 0, true);
    (e.lines, e.places)
}

impl Emitter<'_, '_> {
    fn token(&mut self, i: usize) {
        let piece = &self.all[i];
        let previous = i.checked_sub(1).map(|p| &self.all[p]);
        let opens_block = matches!(piece.role, Role::Open(Group::Block(_)));
        let closes_block = matches!(piece.role, Role::Close(Group::Block(_)));
        let starts = piece.starts == i;
        let indent = self.indent(i);

        let nothing_inside = piece.partner + 1 == i && piece.comments.is_empty();
        let structural = match piece.role {
            Role::Close(Group::Block(_)) => self.breaks.open_blocks[piece.partner],
            Role::Close(_) => !nothing_inside && self.held.last().is_some_and(|h| h.spread),
            _ if starts => piece.block.is_none_or(|open| self.breaks.open_blocks[open]),
            Role::Open(Group::Block(_)) => self.continued,
            _ => false,
        };
        let breaks = structural || self.breaks.before[i] || !piece.comments.is_empty();
        // A comma behind the last of what has lines of its own.
        if let Role::Close(group) = piece.role
            && breaks
            && !nothing_inside
            && self.takes_comma(piece.partner, group)
            && let Some(line) = self.lines.last_mut()
        {
            line.text.push(',');
            line.width += 1;
        }
        let inside = match piece.role {
            Role::Close(Group::Block(_)) => STEP * (piece.depth + 1),
            Role::Close(_) => self.held.last().map_or(indent, |h| h.base),
            _ => indent,
        };
        let may_blank = starts || previous.is_some_and(|p| p.role == Role::Comma);
        self.comments(&piece.comments, inside, may_blank || closes_block);

        if let Role::Close(group) = piece.role
            && !matches!(group, Group::Block(_))
            && let Some(held) = self.held.pop()
        {
            self.home = held.home;
        }
        if breaks || self.fresh {
            if breaks && piece.blank && may_blank {
                self.blank();
            }
            if !starts && !closes_block && !opens_block && self.held.is_empty() && piece.kind != Token::Else {
                self.continued |= !matches!(piece.role, Role::Close(_));
            }
            self.begin(i, indent);
        } else if previous.is_some_and(|p| spaced(p, piece)) {
            self.write(" ");
        }
        if starts || opens_block || closes_block {
            self.continued = false;
        }
        let column = self.lines.last().map_or(0, |l| l.width);
        self.write(piece.text);
        let len = piece.text.chars().count();
        self.places.push(Place { column, len, indent });
        if let Some(line) = self.lines.last_mut() {
            line.last = i;
        }
        if let Role::Open(group) = piece.role
            && !matches!(group, Group::Block(_))
        {
            let spread = self.breaks.before.get(i + 1).copied().unwrap_or(false);
            let home = self.home;
            let base = if spread { home + STEP } else { column + len };
            self.held.push(Held { base, home, spread });
        }
    }

    /// Where a line that begins with token `i` starts.
    fn indent(&self, i: usize) -> usize {
        let piece = &self.all[i];
        let block = STEP * piece.depth;
        match (self.held.last(), piece.role) {
            (Some(held), Role::Close(_)) => held.home,
            (Some(held), _) => {
                let first = matches!(self.all[i - 1].role, Role::Comma | Role::Open(_));
                held.base + if held.spread && !first { STEP } else { 0 }
            }
            (None, Role::Close(_) | Role::Open(Group::Block(_))) => block,
            (None, _) if piece.starts == i || piece.kind == Token::Else => block,
            (None, _) => block + STEP,
        }
    }

    fn takes_comma(&self, open: usize, group: Group) -> bool {
        match group {
            Group::Block(_) => false,
            Group::Paren => self.all[open].count > 0,
            _ => self.all[open - 1].kind != Token::Align,
        }
    }

    /// Writes comments: the first behind the code if it stood there, the others on lines of their own.
    fn comments(&mut self, comments: &[Comment<'_>], indent: usize, may_blank: bool) {
        for c in comments {
            let behind = !c.own_line && self.lines.last().is_some_and(|l| l.code && l.comment.is_none());
            self.fresh = true;
            if behind && let Some(line) = self.lines.last_mut() {
                line.comment = Some((c.gap.max(1), c.column, c.text.to_string()));
                continue;
            }
            if c.blank && may_blank {
                self.blank();
            }
            let text = format!("{}{}", " ".repeat(indent), c.text);
            self.lines.push(Line { width: text.chars().count(), text, ..Line::default() });
        }
    }

    /// An empty line, but not at the start of the file or of a bracket.
    fn blank(&mut self) {
        let Some(last) = self.lines.last() else { return };
        let opens = last.code && last.comment.is_none() && matches!(self.all[last.last].role, Role::Open(_));
        if !opens && !last.text.is_empty() {
            self.lines.push(Line::default());
        }
    }

    fn begin(&mut self, i: usize, indent: usize) {
        self.fresh = false;
        self.home = indent;
        let text = " ".repeat(indent);
        self.lines.push(Line { width: indent, text, first: i, last: i, code: true, comment: None });
    }

    fn write(&mut self, text: &str) {
        if let Some(line) = self.lines.last_mut() {
            line.text.push_str(text);
            line.width += text.chars().count();
        }
    }
}

/// The text. Comments behind the code of neighbouring lines that stood below each other still do; others keep their distance.
pub fn join(lines: &[Line]) -> String {
    let mut out = String::new();
    let mut from = 0;
    while from < lines.len() {
        let Some((_, column, _)) = &lines[from].comment else {
            let _ = writeln!(out, "{}", lines[from].text);
            from += 1;
            continue;
        };
        let same = |l: &&Line| l.comment.as_ref().is_some_and(|(_, c, _)| c == column);
        let run = &lines[from..from + lines[from..].iter().take_while(same).count()];
        let gap = run.iter().filter_map(|l| l.comment.as_ref()).map(|(gap, ..)| *gap).min().unwrap_or(1);
        let widest = run.iter().map(|l| l.width).max().unwrap_or(0);
        for line in run {
            if let Some((_, _, text)) = &line.comment {
                let pad = " ".repeat(widest + gap - line.width);
                let _ = writeln!(out, "{}{pad}{text}", line.text);
            }
        }
        from += run.len();
    }
    out
}
