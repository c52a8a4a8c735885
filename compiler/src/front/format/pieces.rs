//! A file as the formatter sees it: its tokens, what each is there for, and the comments in front of it.
//!
//! The parser has found no error when this is called, so one look to the left says what a token means: `-` after an operand is subtraction, `<` in
//! the head of a kernel opens its generics, `{` after `in` lists values, `where` after an operand starts a clause.
//!
//! Invariant: no comment is lost, doubled, or moved past another token than a `,` or `;`.

use crate::diagnostics::{Diagnostics, FileId};
use crate::front::lexer::{Tok, Token, lex};
use logos::Logos;

/// What a pair of brackets holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// `{ … }` around statements.
    Block(BlockKind),
    /// `f(…)`, and the parameters of a declaration.
    Call,
    /// `(…)` around an expression, a tuple or a pattern.
    Paren,
    /// `x[…]`
    Index,
    /// `[…]`, the rows of a constant.
    List,
    /// `<…>`, generics or their settings.
    Angle,
    /// `{…}`, the values of a tune parameter.
    Values,
}

/// Whose block it is; says which blocks may stand on one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    Kernel,
    Fn,
    Schedule,
    Plain,
}

/// What a token is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Names, numbers and keywords: what a space separates.
    Word,
    Open(Group),
    Close(Group),
    /// An operator between two operands, and how tightly it binds.
    Binary(u8),
    Prefix,
    /// `. .. ..=`
    Tight,
    Prime,
    Comma,
    Semicolon,
    /// `:` of a type, or alone in a subscript.
    Colon,
    /// `=` and its relatives.
    Assign,
    /// `where`, `when`, `using` at the start of a clause.
    Clause,
}

/// One comment.
#[derive(Clone, Debug)]
pub struct Comment<'t> {
    pub text: &'t str,
    /// Nothing but white space stands before it on its line.
    pub own_line: bool,
    /// An empty line stands before it.
    pub blank: bool,
    /// Characters between the token before it and the comment, where they share a line.
    pub gap: usize,
    /// Its column in the source.
    pub column: usize,
    doc: bool,
}

/// One token.
#[derive(Clone, Debug)]
pub struct Piece<'t> {
    pub kind: Token,
    pub text: &'t str,
    pub role: Role,
    /// The source has a line break before it (and behind its comments).
    pub newline: bool,
    /// The source has an empty line there.
    pub blank: bool,
    /// In front of it, in order.
    pub comments: Vec<Comment<'t>>,
    /// The other bracket of a pair; itself for everything else.
    pub partner: usize,
    /// The first token of its statement or item.
    pub starts: usize,
    /// How many blocks it is in. A block's own brackets are outside of it.
    pub depth: usize,
    /// The opening bracket of the innermost of them.
    pub block: Option<usize>,
    /// Of an opening bracket: how many statements, or commas, stand directly in it.
    pub count: usize,
}

/// All of a file.
#[derive(Clone, Debug, Default)]
pub struct Pieces<'t> {
    pub all: Vec<Piece<'t>>,
    /// The comments behind the last token.
    pub tail: Vec<Comment<'t>>,
}

/// Reads a file that parses.
pub fn read(text: &str) -> Pieces<'_> {
    let mut pieces = gather(text);
    tidy(&mut pieces);
    assign(&mut pieces.all);
    pieces
}

/// Tokens with the comments and line breaks between them.
fn gather(text: &str) -> Pieces<'_> {
    let toks = lex(FileId(0), text, &mut Diagnostics::default()).toks;
    let is_comment = |k: &Token| matches!(k, Token::Comment | Token::DocComment | Token::Directive);
    let comments = Token::lexer(text).spanned().filter_map(|(k, range)| Some((k.ok()?, range)));
    let mut comments = comments.filter(|(k, _)| is_comment(k)).peekable();
    let mut out = Pieces::default();
    // Where the last token or comment ends.
    let mut end = 0;
    let sentinel = Tok { kind: Token::BadItem, start: text.len() as u32, end: text.len() as u32 };
    let breaks = |from: usize, to: usize| text[from..to].matches('\n').count();
    for tok in toks.iter().chain(std::iter::once(&sentinel)) {
        let mut mine = vec![];
        while let Some((kind, range)) = comments.next_if(|(_, r)| r.start <= tok.start as usize) {
            let lines = breaks(end, range.start);
            let line = text[..range.start].rfind('\n').map_or(0, |n| n + 1);
            mine.push(Comment {
                text: text[range.clone()].trim_end(),
                own_line: lines > 0 || out.all.is_empty(),
                blank: lines > 1,
                gap: text[end..range.start].chars().count(),
                column: text[line..range.start].chars().count(),
                doc: kind == Token::DocComment,
            });
            end = range.end;
        }
        let (start, stop) = (tok.start as usize, tok.end as usize);
        if tok.kind == Token::BadItem {
            out.tail = mine;
            break;
        }
        let lines = breaks(end, start);
        out.all.push(Piece {
            kind: tok.kind,
            text: &text[start..stop],
            role: Role::Word,
            newline: lines > 0,
            blank: lines > 1,
            comments: mine,
            partner: 0,
            starts: 0,
            depth: 0,
            block: None,
            count: 0,
        });
        end = stop;
    }
    out
}

/// Takes commas before a closing bracket away, and comments out of the gap before `,` and `;`: they go behind it.
fn tidy(pieces: &mut Pieces<'_>) {
    let closes = |k: Token| matches!(k, Token::RParen | Token::RBracket | Token::RBrace | Token::Greater);
    let old = std::mem::take(&mut pieces.all);
    let next: Vec<Option<Token>> = old.iter().skip(1).map(|p| Some(p.kind)).chain([None]).collect();
    let mut held: Vec<Comment<'_>> = vec![];
    let mut newline = false;
    for (mut piece, next) in old.into_iter().zip(next) {
        piece.comments.splice(0..0, held.drain(..));
        piece.newline |= std::mem::take(&mut newline);
        let plain = piece.comments.iter().all(|c| !c.doc);
        match piece.kind {
            Token::Comma if next.is_some_and(closes) => {
                held = piece.comments;
                newline = piece.newline;
                continue;
            }
            Token::Comma | Token::Semicolon if plain => held = std::mem::take(&mut piece.comments),
            _ => {}
        }
        if piece.kind == Token::Comma {
            newline = piece.newline;
        }
        pieces.all.push(piece);
    }
    pieces.tail.splice(0..0, held);
}

fn ends_operand(p: &Piece<'_>) -> bool {
    match p.role {
        Role::Close(Group::Block(_)) => false,
        Role::Close(_) | Role::Prime => true,
        Role::Word => {
            use Token::*;
            matches!(p.kind, Name | Number | Text | True | False | Inf | Underscore)
        }
        _ => false,
    }
}

/// Finds out roles, partners, statements and depths.
fn assign(all: &mut [Piece<'_>]) {
    // Open brackets: where, and the statement around them.
    let mut open: Vec<usize> = vec![];
    let mut blocks: Vec<usize> = vec![];
    let mut starts = 0;
    let mut fresh = true;
    for i in 0..all.len() {
        let kind = all[i].kind;
        let top = open.last().map(|o| all[*o].role);
        let in_block = matches!(top, None | Some(Role::Open(Group::Block(_))));
        if fresh && !matches!(kind, Token::RBrace | Token::Else) {
            starts = i;
            if let Some(o) = open.last() {
                all[*o].count += 1;
            }
        }
        fresh = false;
        let role = role(all, i, starts, top);
        all[i].role = role;
        all[i].partner = i;
        match role {
            Role::Open(group) => {
                open.push(i);
                place(&mut all[i], &blocks, starts);
                if matches!(group, Group::Block(_)) {
                    blocks.push(i);
                    fresh = true;
                }
                continue;
            }
            Role::Close(group) => {
                if let Some(o) = open.pop() {
                    all[o].partner = i;
                    all[i].partner = o;
                    starts = all[o].starts;
                }
                if matches!(group, Group::Block(_)) {
                    blocks.pop();
                    fresh = true;
                }
            }
            Role::Semicolon if in_block => fresh = true,
            Role::Comma => {
                if let Some(o) = open.last() {
                    all[*o].count += usize::from(!matches!(all[*o].role, Role::Open(Group::Block(_))));
                }
            }
            _ => {}
        }
        place(&mut all[i], &blocks, starts);
    }
}

fn place(piece: &mut Piece<'_>, blocks: &[usize], starts: usize) {
    piece.depth = blocks.len();
    piece.block = blocks.last().copied();
    piece.starts = starts;
}

fn role(all: &[Piece<'_>], i: usize, starts: usize, top: Option<Role>) -> Role {
    use Token::*;
    let previous = i.checked_sub(1).map(|p| &all[p]);
    let operand = previous.is_some_and(ends_operand);
    let after = |kinds: &[Token]| previous.is_some_and(|p| kinds.contains(&p.kind));
    let binary = |precedence| if operand { Role::Binary(precedence) } else { Role::Prefix };
    match all[i].kind {
        LParen if after(&[Name, Strides, Align]) => Role::Open(Group::Call),
        LParen if previous.is_some_and(|p| p.role == Role::Close(Group::Angle)) => Role::Open(Group::Call),
        LParen if after(&[Where]) && previous.is_some_and(|p| p.role == Role::Word) => {
            Role::Open(Group::Call)
        }
        LParen => Role::Open(Group::Paren),
        LBracket if operand => Role::Open(Group::Index),
        LBracket => Role::Open(Group::List),
        LBrace if after(&[In]) => Role::Open(Group::Values),
        LBrace => Role::Open(Group::Block(match all[starts].kind {
            Kernel => BlockKind::Kernel,
            Fn => BlockKind::Fn,
            Schedule => BlockKind::Schedule,
            _ => BlockKind::Plain,
        })),
        Less if all[starts].kind == Kernel
            && all[starts..i].iter().all(|p| matches!(p.kind, Kernel | Name | Dot | Assign)) =>
        {
            Role::Open(Group::Angle)
        }
        Greater if top == Some(Role::Open(Group::Angle)) => Role::Close(Group::Angle),
        RParen | RBracket | RBrace => match top {
            Some(Role::Open(group)) => Role::Close(group),
            _ => Role::Word,
        },
        Where if operand => Role::Clause,
        When | Using => Role::Clause,
        OrOr => binary(1),
        AndAnd => binary(2),
        EqEq | NotEq | Less | LessEq | Greater | GreaterEq => binary(3),
        Or => binary(4),
        Caret => binary(5),
        And => binary(6),
        Shl | Shr => binary(7),
        Plus | Minus => binary(8),
        Star | Slash | Percent | At => binary(9),
        Bang | Tilde => Role::Prefix,
        Dot | DotDot | DotDotEq => Role::Tight,
        Prime => Role::Prime,
        Comma => Role::Comma,
        Semicolon => Role::Semicolon,
        Colon => Role::Colon,
        Assign | AddAssign | SubAssign | MulAssign | MaxAssign | MinAssign | OrAssign | AndAssign
        | XorAssign => Role::Assign,
        _ => Role::Word,
    }
}

/// Whether a space stands between two tokens of one line.
pub fn spaced(previous: &Piece<'_>, next: &Piece<'_>) -> bool {
    match (previous.role, next.role) {
        (Role::Open(Group::Block(_)), _) | (_, Role::Close(Group::Block(_))) => true,
        (Role::Open(_) | Role::Prefix, _) | (_, Role::Close(_)) => false,
        (_, Role::Comma | Role::Semicolon | Role::Prime) => false,
        (_, Role::Open(Group::Call | Group::Index | Group::Angle)) => false,
        (Role::Comma, _) => true,
        (Role::Tight, _) | (_, Role::Tight | Role::Colon) => false,
        _ => true,
    }
}
