//! Lists of expected tokens in words: "an expression or `)`" rather than forty spellings.

use super::lexer::{Tok, Token};

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
