//! Lists of expected tokens in words: "an expression or `)`" rather than forty spellings.

use super::lexer::{Tok, Token};

/// Every kind of token, as the grammar spells it.
#[rustfmt::skip]
pub const SPELLINGS: &[(Token, &str)] = &[
    (Token::Name, "NAME"),
    (Token::Number, "NUMBER"),
    (Token::Text, "TEXT"),
    (Token::Import, "import"),
    (Token::As, "as"),
    (Token::Const, "const"),
    (Token::Fn, "fn"),
    (Token::Using, "using"),
    (Token::Kernel, "kernel"),
    (Token::Step, "step"),
    (Token::True, "true"),
    (Token::False, "false"),
    (Token::Inf, "inf"),
    (Token::Out, "out"),
    (Token::InOut, "inout"),
    (Token::Packed, "packed"),
    (Token::Strides, "strides"),
    (Token::Align, "align"),
    (Token::In, "in"),
    (Token::Ascending, "ascending"),
    (Token::Distinct, "distinct"),
    (Token::Where, "where"),
    (Token::Let, "let"),
    (Token::Mut, "mut"),
    (Token::Temp, "temp"),
    (Token::Tune, "tune"),
    (Token::Grid, "grid"),
    (Token::Over, "over"),
    (Token::When, "when"),
    (Token::For, "for"),
    (Token::If, "if"),
    (Token::Else, "else"),
    (Token::Atomic, "atomic"),
    (Token::Schedule, "schedule"),
    (Token::On, "on"),
    (Token::By, "by"),
    (Token::Underscore, "_"),
    (Token::LParen, "("),
    (Token::RParen, ")"),
    (Token::LBracket, "["),
    (Token::RBracket, "]"),
    (Token::LBrace, "{"),
    (Token::RBrace, "}"),
    (Token::Comma, ","),
    (Token::Semicolon, ";"),
    (Token::Colon, ":"),
    (Token::Dot, "."),
    (Token::DotDot, ".."),
    (Token::DotDotEq, "..="),
    (Token::Prime, "'"),
    (Token::Arrow, "->"),
    (Token::Assign, "="),
    (Token::EqEq, "=="),
    (Token::NotEq, "!="),
    (Token::Less, "<"),
    (Token::LessEq, "<="),
    (Token::Greater, ">"),
    (Token::GreaterEq, ">="),
    (Token::Plus, "+"),
    (Token::Minus, "-"),
    (Token::Star, "*"),
    (Token::Slash, "/"),
    (Token::Percent, "%"),
    (Token::At, "@"),
    (Token::Bang, "!"),
    (Token::Tilde, "~"),
    (Token::And, "&"),
    (Token::AndAnd, "&&"),
    (Token::Or, "|"),
    (Token::OrOr, "||"),
    (Token::Caret, "^"),
    (Token::Shl, "<<"),
    (Token::Shr, ">>"),
    (Token::AddAssign, "+="),
    (Token::SubAssign, "-="),
    (Token::MulAssign, "*="),
    (Token::MaxAssign, "max="),
    (Token::MinAssign, "min="),
    (Token::OrAssign, "|="),
    (Token::AndAssign, "&="),
    (Token::XorAssign, "^="),
];

const STARTS_EXPRESSION: &[&str] =
    &["NAME", "NUMBER", "inf", "true", "false", "where", "(", "-", "!", "~", "atomic", "BAD_EXPR"];
const STARTS_STATEMENT: &[&str] = &["let", "temp", "tune", "grid", "for", "if", "schedule", "BAD_STMT"];
const STARTS_ITEM: &[&str] = &["import", "const", "fn", "kernel", "schedule", "BAD_ITEM"];
const OPERATORS: &[&str] = &[
    "||", "&&", "==", "!=", "<", "<=", ">", ">=", "|", "^", "&", "<<", ">>", "+", "-", "*", "/", "%", "@",
    "as", "..", "..=", "by", "[", ".", "'", "(",
];
const ASSIGNS: &[&str] = &["+=", "-=", "*=", "max=", "min=", "|=", "&=", "^="];

/// What the grammar would take, as a phrase that follows "expected".
pub fn describe(expected: &[String]) -> String {
    let mut left: Vec<&str> = expected.iter().map(|e| e.trim_matches('"')).collect();
    let mut words: Vec<String> = vec![];
    let mut group = |left: &mut Vec<&str>, needs: &[&str], members: &[&[&str]], word: &str| {
        if needs.iter().all(|n| left.contains(n)) {
            left.retain(|e| !members.iter().any(|m| m.contains(e)));
            words.push(word.into());
        }
    };
    let statements = left.contains(&"let") && left.contains(&"for");
    if statements && left.contains(&"inf") {
        group(
            &mut left,
            &["let"],
            &[STARTS_STATEMENT, STARTS_EXPRESSION],
            "a statement, or the function's value",
        );
    }
    group(&mut left, &["let", "for"], &[STARTS_STATEMENT, STARTS_EXPRESSION], "a statement");
    group(
        &mut left,
        &["kernel", "import"],
        &[STARTS_ITEM],
        "an item (`fn`, `kernel`, `const`, `import` or `schedule`)",
    );
    group(&mut left, &["NUMBER", "inf"], &[STARTS_EXPRESSION], "an expression");
    group(&mut left, &["+", "*"], &[OPERATORS], "an operator");
    group(
        &mut left,
        &["+=", "max="],
        &[ASSIGNS, &["["], &["."], &["'"], &["("]],
        "an assignment operator such as `+=`",
    );
    left.retain(|e| !matches!(*e, "BAD_STMT" | "BAD_ITEM" | "BAD_EXPR"));
    // Closing tokens first: they say most about what is missing.
    left.sort_by_key(|e| (!matches!(*e, ")" | "]" | "}" | ";" | ","), *e));
    words.extend(left.iter().map(|e| match *e {
        "NAME" => "a name".into(),
        "NUMBER" => "a number".into(),
        "TEXT" => "a file name in quotes".into(),
        other => format!("`{other}`"),
    }));
    match words.len() {
        0 => "something else".into(),
        1 => words.remove(0),
        n if n <= 7 => {
            let last = words.pop().unwrap_or_default();
            format!("{} or {last}", words.join(", "))
        }
        _ => format!("{}, …", words[..6].join(", ")),
    }
}

/// What stands there instead: "found `x`".
pub fn found(text: &str, tok: Option<Tok>) -> String {
    let Some(tok) = tok else { return "found the end of the file".into() };
    let slice = &text[tok.start as usize..tok.end as usize];
    match tok.kind {
        Token::BadItem | Token::BadStmt | Token::BadExpr => "found text that does not parse".into(),
        Token::Name => format!("found the name `{slice}`"),
        Token::Number => format!("found the number `{slice}`"),
        Token::Text => "found a string".into(),
        _ if slice.is_empty() => "found a missing bracket".into(),
        _ if slice.bytes().all(|b| b.is_ascii_alphabetic()) => format!("found the keyword `{slice}`"),
        _ => format!("found `{slice}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::describe;

    #[test]
    fn groups_become_words() {
        let list = |words: &[&str]| describe(&words.iter().map(|w| w.to_string()).collect::<Vec<_>>());
        assert_eq!(list(&["NUMBER", "NAME", "\"inf\"", "\"(\"", "\")\""]), "an expression or `)`");
        assert_eq!(list(&["\"+\"", "\"*\"", "\"@\"", "\";\""]), "an operator or `;`");
        assert_eq!(list(&["NAME"]), "a name");
        assert_eq!(list(&["\",\"", "\"]\"", "NAME"]), "`,`, `]` or a name");
    }
}
