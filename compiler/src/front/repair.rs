//! What to say about text that does not parse, and how to go on behind it.
//!
//! [`repair`] gets the token at which the grammar stopped and what it would have taken there. It reports one diagnostic and changes the token list so that
//! the next round gets further: the slips that have an obvious remedy (`;` left out, `=` for `==`, `in` for `over`, a keyword used as a name) are
//! remedied; anything else turns the statement, or the head of the loop or item, into one `BadStmt` or `BadItem`. The block behind a broken head
//! stays, so what is wrong inside it is found as well.
//!
//! Brackets balance when this runs, and every repair keeps them so.

use super::ast::Item;
use super::expected::{describe, found};
use super::lexer::{Tok, Token};
use crate::diagnostics::{Diagnostic, Diagnostics, FileId, Span, codes};

/// Where the grammar stopped.
pub struct Failure<'a> {
    pub file: FileId,
    pub text: &'a str,
    /// The token that does not fit; the number of tokens where the text ends too early.
    pub at: usize,
    /// What would fit, as the grammar spells it.
    pub expected: &'a [String],
}

impl Failure<'_> {
    fn takes(&self, token: &str) -> bool {
        self.expected.iter().any(|e| e.trim_matches('"') == token)
    }

    fn span_of(&self, tok: Tok) -> Span {
        Span::new(self.file, tok.start as usize, tok.end as usize)
    }

    fn slice(&self, tok: Tok) -> &str {
        &self.text[tok.start as usize..tok.end as usize]
    }
}

/// Reports the failure and changes `toks` so that it is gone.
pub fn repair(f: &Failure, toks: &mut Vec<Tok>, diagnostics: &mut Diagnostics) {
    if let Some(report) = remedy(f, toks) {
        diagnostics.extend(report);
        return;
    }
    let region = Region::around(f, toks);
    diagnostics.push(general(f, toks, &region));
    let (from, to) = (region.from, region.to);
    let kind = if region.item { Token::BadItem } else { Token::BadStmt };
    let start = toks.get(from).map_or(f.text.len() as u32, |t| t.start);
    let end = if to > from { toks[to - 1].end } else { start };
    toks.splice(from..to, [Tok { kind, start, end }]);
}

/// The slips whose remedy is obvious. Some with nothing in it where the mistake has been reported already.
fn remedy(f: &Failure, toks: &mut Vec<Tok>) -> Option<Option<Diagnostic>> {
    use Token::*;
    let at = f.at;
    let prev = at.checked_sub(1).map(|n| toks[n]);
    let this = toks.get(at).copied();
    let next = toks.get(at + 1).copied();
    let kind = this.map(|t| t.kind);

    // A function's block without its value.
    if kind == Some(RBrace) && f.takes("let") && f.takes("inf") {
        let this = this?;
        toks.insert(at, Tok { kind: BadExpr, start: this.start, end: this.start });
        if prev.is_some_and(|p| p.kind == BadStmt) {
            return Some(None);
        }
        let d = Diagnostic::error(codes::SYNTAX, "a function's block must end with its value");
        return Some(Some(
            d.label(f.span_of(this), "expected an expression before this")
                .help("the last thing in the block is an expression without `;`: `{ let y = x * x; y + 1 }`"),
        ));
    }
    if let (Some(this), Some(prev)) = (this, prev) {
        // A `;` behind a function's value.
        if this.kind == Semicolon && f.takes("}") && f.takes("+") && next.is_some_and(|n| n.kind == RBrace) {
            toks.remove(at);
            let d = Diagnostic::error(codes::SYNTAX, "the value of a function's block has no `;`");
            return Some(Some(d.label(f.span_of(this), "not here").replace(
                f.span_of(this),
                "",
                "leave it out",
            )));
        }
        if f.takes(";") {
            let gap = &f.text[prev.end as usize..this.start as usize];
            let stmt = matches!(
                this.kind,
                RBrace | Let | For | If | Tune | Grid | Temp | Schedule | Import | Const | Fn | Kernel
            );
            if (gap.contains('\n') && this.kind != LBrace) || stmt {
                let place = Span::new(f.file, prev.end as usize, prev.end as usize);
                toks.insert(at, Tok { kind: Semicolon, start: prev.end, end: prev.end });
                let d = Diagnostic::error(codes::MISSING_SEMICOLON, "missing `;`");
                return Some(Some(d.label(place, "expected `;` here").replace(place, ";", "add it")));
            }
        }
        let ends_value = matches!(prev.kind, Name | Number | RParen | RBracket | Prime | True | False | Inf);
        let over = f.takes("over") && f.expected.len() <= 2;
        if this.kind == Assign && ends_value && !f.takes("=") && !over && in_expression(toks, at) {
            toks[at].kind = EqEq;
            let d = Diagnostic::error(codes::ASSIGN_FOR_EQUAL, "`=` does not compare");
            return Some(Some(d.label(f.span_of(this), "an assignment cannot stand here").replace(
                f.span_of(this),
                "==",
                "to compare, write `==`",
            )));
        }
        if this.kind == EqEq && f.takes("=") && !f.takes("==") {
            toks[at].kind = Assign;
            let d = Diagnostic::error(codes::ASSIGN_FOR_EQUAL, "`==` does not assign");
            return Some(Some(d.label(f.span_of(this), "a comparison cannot stand here").replace(
                f.span_of(this),
                "=",
                "to assign, write `=`",
            )));
        }
        if matches!(this.kind, In | Assign | Colon)
            && f.takes("over")
            && !f.takes(";")
            && f.expected.len() <= 2
        {
            toks[at].kind = Over;
            let d =
                Diagnostic::error(codes::SYNTAX, format!("expected `over`, {}", found(f.text, Some(this))));
            return Some(Some(d.label(f.span_of(this), "").replace(
                f.span_of(this),
                "over",
                "a variable goes over its domain: `i over N by 64`",
            )));
        }
        if prev.kind == Dot && this.kind == Number && f.takes("NAME") {
            let point = Span::new(f.file, prev.start as usize, this.end as usize);
            toks.remove(at - 1);
            let d = Diagnostic::error(codes::BAD_NUMBER, "a number has a digit on each side of its point");
            let zero = format!("0.{}", f.slice(this));
            return Some(Some(d.label(point, "no digit before the point").replace(
                point,
                zero,
                "write the zero",
            )));
        }
    }
    let this = this?;
    if this.kind == Dot && f.takes("inf") && next.is_some_and(|n| n.kind == Number) {
        let number = next?;
        let point = Span::new(f.file, this.start as usize, number.end as usize);
        toks.remove(at);
        let d = Diagnostic::error(codes::BAD_NUMBER, "a number has a digit on each side of its point");
        let zero = format!("0.{}", f.slice(number));
        return Some(Some(d.label(point, "no digit before the point").replace(
            point,
            zero,
            "write the zero",
        )));
    }
    // A word of the grammar used as a name.
    let word = f.slice(this).bytes().all(|b| b.is_ascii_alphabetic()) && this.end > this.start;
    let starts = matches!(
        this.kind,
        Let | For
            | If
            | Else
            | Tune
            | Grid
            | Temp
            | Schedule
            | Import
            | Const
            | Fn
            | Kernel
            | When
            | Where
            | Over
    );
    let naming = !f.takes("inf") && f.takes("NAME") && f.expected.len() <= 5;
    if word && this.kind != Name && f.takes("NAME") && (naming || !starts) {
        let name = f.slice(this);
        if prev.is_some_and(|t| t.kind == Schedule) && name == "on" && next.is_some_and(|t| t.kind == Name) {
            let target = next.map_or("", |t| f.slice(t));
            let d = Diagnostic::error(codes::SYNTAX, "`on` stands between a kernel's name and a target")
                .label(f.span_of(this), "no kernel is named before it")
                .help(format!(
                    "inside a kernel `schedule {target} {{ … }}`; at file level `schedule KERNEL on {target} {{ … }}`"
                ));
            toks.remove(at);
            return Some(Some(d));
        }
        toks[at].kind = Name;
        let d = Diagnostic::error(codes::RESERVED_NAME, format!("`{name}` is a keyword"));
        return Some(Some(
            d.label(f.span_of(this), "cannot be a name").help(format!("another name will do: `{name}_`")),
        ));
    }
    None
}

/// Where the `=` at `at` stands: in the middle of an expression (a condition, arguments, a second `=`), where `==` was meant?
fn in_expression(toks: &[Tok], at: usize) -> bool {
    use Token::*;
    let mut depth = 0usize;
    for tok in toks[..at].iter().rev() {
        match tok.kind {
            RParen | RBracket => depth += 1,
            LParen | LBracket if depth == 0 => return true,
            LParen | LBracket => depth -= 1,
            _ if depth > 0 => {}
            If | When | Where | Over | Assign => return true,
            Semicolon | LBrace | RBrace | BadStmt | BadItem | Let | For | Const | Fn | In | Comma
            | Schedule => return false,
            _ => {}
        }
    }
    false
}

/// Whether what stands before `at` could have been meant as the left side of an assignment.
fn is_place(toks: &[Tok], region: &Region, at: usize) -> bool {
    let plain =
        |k| !matches!(k, Token::Let | Token::Const | Token::Fn | Token::Temp | Token::Tune | Token::Assign);
    !region.item
        && region.from < at
        && toks[region.from..at].iter().all(|t| plain(t.kind))
        && !in_expression(toks, at)
}

/// The tokens that a failure spoils.
struct Region {
    from: usize,
    to: usize,
    /// At file level, rather than in a block.
    item: bool,
}

impl Region {
    fn around(f: &Failure, toks: &[Tok]) -> Region {
        use Token::*;
        // The open blocks on the way to the failure: whether each is a schedule's, and where its current statement began.
        let mut blocks: Vec<(bool, usize)> = vec![];
        let mut start = 0;
        let mut sets = 0usize;
        for n in 0..f.at.min(toks.len()) {
            match toks[n].kind {
                LBrace if n > 0 && toks[n - 1].kind == In => sets += 1,
                RBrace if sets > 0 => sets -= 1,
                LBrace => {
                    blocks.push((toks[start].kind == Schedule, start));
                    start = n + 1;
                }
                RBrace => {
                    let (_, outer) = blocks.pop().unwrap_or((false, 0));
                    let goes_on = toks.get(n + 1).is_some_and(|t| t.kind == Else);
                    start = if goes_on { outer } else { n + 1 };
                }
                Semicolon | BadStmt | BadItem => start = n + 1,
                _ => {}
            }
        }
        let item = blocks.is_empty();
        let in_schedule = blocks.last().is_some_and(|b| b.0);
        // The braces of a value (`= if c { x }`) are no block; a broken schedule's would not parse as one.
        let head = toks.get(start).map(|t| t.kind);
        let value = matches!(head, Some(Let | Temp | Const | Fn | Name))
            && toks[start..f.at.min(toks.len())].iter().any(|t| t.kind == Assign);
        let swallow = in_schedule || value || head == Some(Schedule);
        let mut to = f.at.max(start);
        let mut depth = sets;
        while let Some(tok) = toks.get(to) {
            let first = to > f.at && first_on_line(f.text, *tok);
            match tok.kind {
                LBrace if depth == 0 && !swallow && toks[to.saturating_sub(1)].kind != In => break,
                LParen | LBracket | LBrace => depth += 1,
                RBrace if depth == 0 => break,
                RParen | RBracket | RBrace => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 && tok.kind == RBrace && head == Some(Schedule) && !in_schedule {
                        to += 1;
                        break;
                    }
                }
                Semicolon if depth == 0 => {
                    to += 1;
                    break;
                }
                Import | Const | Kernel | Fn if depth == 0 && item && first => break,
                Let | For | If | Tune | Grid | Temp | Schedule if depth == 0 && !item && first => break,
                _ => {}
            }
            to += 1;
        }
        // Never an empty region: the loop of repairs must get on.
        if to <= start {
            to = (start + 1).min(toks.len());
        }
        Region { from: start.min(to), to, item }
    }
}

fn first_on_line(text: &str, tok: Tok) -> bool {
    let start = text[..tok.start as usize].rfind('\n').map_or(0, |n| n + 1);
    text[start..tok.start as usize].trim().is_empty()
}

/// The report where no remedy is known: what could stand there, what does, and a hint where the mistake is a familiar one.
fn general(f: &Failure, toks: &[Tok], region: &Region) -> Diagnostic {
    use Token::*;
    let this = toks.get(f.at).copied();
    let prev = f.at.checked_sub(1).map(|n| toks[n]);
    let span = match (this, prev) {
        (Some(t), _) => f.span_of(t),
        (None, Some(p)) => Span::new(f.file, p.end as usize, p.end as usize),
        (None, None) => Span::new(f.file, 0, 0),
    };
    let kind = this.map(|t| t.kind);
    let place = f.takes("=") && f.takes("+=");
    if kind == Some(Semicolon) && region.from == f.at {
        return Diagnostic::error(codes::SYNTAX, "a `;` that ends nothing")
            .label(span, "nothing stands before it")
            .replace(span, "", "leave it out");
    }
    if kind == Some(Semicolon) && place {
        let whole = f.span_of(toks[region.from]).to(prev.map_or(span, |p| f.span_of(p)));
        return Diagnostic::error(codes::NOT_A_STATEMENT, "an expression alone is not a statement")
            .label(whole, "its value would be lost")
            .help("name it with `let`, or write it somewhere: `place = …;`");
    }
    if kind == Some(Assign) && toks.get(region.from).is_some_and(|t| t.kind == Atomic) {
        return Diagnostic::error(codes::BAD_PLACE, "`=` cannot be atomic")
            .label(span, "this overwrites, it does not combine")
            .note("atomic are `+=`, `max=`, `min=`, `&=`, `|=` and `^=`")
            .help("a plain write has no `atomic`: `place = value;`");
    }
    if kind == Some(Assign) && !f.takes("=") && is_place(toks, region, f.at) {
        let whole = f.span_of(toks[region.from]).to(prev.map_or(span, |p| f.span_of(p)));
        return Diagnostic::error(codes::BAD_PLACE, "cannot assign to this")
            .label(whole, "not a variable or an element")
            .help("the left of `=` is a name, `name[…]`, or a tuple of those");
    }
    let next = toks.get(f.at + 1).map(|t| t.kind);
    if place && next == Some(Assign) && matches!(kind, Some(Slash | Percent | At | Shl | Shr)) {
        let op = this.map_or("", |t| f.slice(t));
        return Diagnostic::error(codes::SYNTAX, format!("there is no `{op}=`"))
            .label(span, "not an assignment operator")
            .help(format!("write it out: `x = x {op} …;`"))
            .note("the assignment operators are `+= -= *= max= min= |= &= ^=`");
    }
    let what = describe(f.expected);
    let d = Diagnostic::error(codes::SYNTAX, format!("expected {what}, {}", found(f.text, this)));
    let first = toks.get(region.from).copied().filter(|_| region.from < f.at);
    let d = d.label(span, if this.is_some() { "unexpected" } else { "the text ends here" });
    match familiar(f, first, this, kind, next) {
        Some(help) => d.help(help),
        None => d,
    }
}

/// Hints for habits from other languages: by the word a statement starts with, or by what was found.
fn familiar(
    f: &Failure,
    first: Option<Tok>,
    this: Option<Tok>,
    kind: Option<Token>,
    next: Option<Token>,
) -> Option<&'static str> {
    use Token::*;
    let word = |t: Option<Tok>| t.filter(|t| t.kind == Name).map_or("", |t| f.slice(t));
    for start in [word(first), word(this)] {
        match start {
            "return" => {
                return Some("a function's value is the last expression of its block, without `return`");
            }
            "while" | "break" | "continue" => {
                return Some("`while` and `break` are later additions; `for … when c` skips tiles");
            }
            "var" | "auto" | "int" | "float" | "val" => {
                return Some("variables are bound with `let` or `let mut`");
            }
            "def" | "func" | "function" => return Some("functions are written `fn f(x) = …;`"),
            "elif" | "elseif" => return Some("write `else if`"),
            "struct" | "class" | "enum" | "use" | "pub" | "mod" => {
                return Some("a file holds `import`, `const`, `fn`, `kernel` and `schedule`");
            }
            _ => {}
        }
    }
    match word(this) {
        "and" => return Some("logical and is `&&`"),
        "or" => return Some("logical or is `||`"),
        "not" => return Some("logical not is `!`"),
        _ => {}
    }
    match kind? {
        If if f.takes("inf") => Some("`if` has no value: per element write `where(c, x, y)`"),
        Colon if next == Some(Colon) => Some("an imported name is written `v.name`"),
        Semicolon if f.takes("=") && first.is_some_and(|t| t.kind == Let) => {
            Some("a `let` needs a value; one number fills a tile: `let mut acc: f32[i, j] = 0;`")
        }
        LBrace | When if f.takes("on") && first.is_some_and(|t| t.kind == Schedule) => {
            Some("at file level a schedule names its kernel: `schedule KERNEL on sm_80 { … }`")
        }
        LBrace if first.is_some_and(|t| t.kind == Schedule) => Some(
            "a schedule names its target: in a kernel `schedule sm_80 { … }`, at file level `schedule KERNEL on sm_80 { … }`",
        ),
        LBrace if f.takes("inf") => {
            Some("blocks have no value; a list of values stands in `[ ]` and only in a `const`")
        }
        Star if this.is_some_and(|t| f.text[..t.start as usize].ends_with('*')) => {
            Some("there is no power operator: write `x * x`, or `exp2(y * log2(x))`")
        }
        Comma if first.is_some_and(|t| t.kind == For) => Some(
            "a `for` has one variable: one loop stands in the other, `for k over K by 32 { for l over L { … } }`",
        ),
        Plus | Minus if next == kind => Some("write `x += 1;`"),
        Fn | Kernel | Const | Import if f.takes("let") => {
            Some("items stand at file level, not inside a block")
        }
        RBracket if f.takes("inf") => Some("a whole axis is written `:`"),
        _ => None,
    }
}

/// Doc comments that no item follows.
pub fn stray_docs(items: &[Item], docs: &[(u32, String, Span)], diagnostics: &mut Diagnostics) {
    let starts: Vec<u32> = items.iter().map(|i| i.span().start).collect();
    for (at, _, span) in docs.iter().filter(|(at, ..)| !starts.contains(at)) {
        let d = Diagnostic::warning(codes::STRAY_DOC_COMMENT, "a doc comment that documents nothing");
        let why = if *at == u32::MAX { "the file ends behind it" } else { "no item follows" };
        diagnostics.push(d.label(*span, why).help("a comment that explains code starts with `//`"));
    }
}

/// The token at which the item that holds token `at` starts; brackets balance.
pub fn item_start(toks: &[Tok], at: usize) -> usize {
    let (mut depth, mut start) = (0usize, 0);
    for (n, tok) in toks[..at.min(toks.len())].iter().enumerate() {
        match tok.kind {
            Token::LBrace => depth += 1,
            Token::RBrace => {
                depth = depth.saturating_sub(1);
                // A set's braces (`in {…}`) stand inside other ones.
                if depth == 0 {
                    start = n + 1;
                }
            }
            Token::Semicolon if depth == 0 => start = n + 1,
            Token::BadItem => start = n,
            _ => {}
        }
    }
    start
}
