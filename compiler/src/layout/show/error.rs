//! Errors in layout expressions: where, what was expected, what may have been meant.

use std::fmt::Write as _;
use std::ops::Range;

/// A mistake in an expression. `span` is in bytes of the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExprError {
    pub message: String,
    pub span: Range<usize>,
    /// What could stand there instead.
    pub expected: Vec<String>,
    pub help: Vec<String>,
}

impl ExprError {
    pub(super) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        ExprError { message: message.into(), span, expected: Vec::new(), help: Vec::new() }
    }

    pub(super) fn expected(mut self, what: &[&str]) -> Self {
        self.expected.extend(what.iter().map(|s| s.to_string()));
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// The message, the expression with a caret under the mistake, and the hints.
    pub fn render(&self, text: &str) -> String {
        let mut out = format!("error: {}\n", self.message);
        let line_start = text[..self.span.start.min(text.len())].rfind('\n').map_or(0, |i| i + 1);
        let line = text[line_start..].lines().next().unwrap_or("");
        let before = text[line_start..self.span.start.min(text.len())].chars().count();
        let inside = text.get(self.span.clone()).map_or(1, |s| s.chars().count()).max(1);
        let _ = writeln!(out, "  | {line}\n  | {}{}", " ".repeat(before), "^".repeat(inside));
        if !self.expected.is_empty() {
            let _ = writeln!(out, "  = expected {}", self.expected.join(", "));
        }
        for help in &self.help {
            let _ = writeln!(out, "  = help: {help}");
        }
        out
    }
}

/// Names close to `name`, nearest first: at most a third of the letters differ, or one is the beginning of the other.
pub(super) fn near<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut scored: Vec<(usize, &str)> = known
        .map(|k| {
            let common = !name.is_empty() && (k.starts_with(name) || name.starts_with(k));
            (if common { 1 } else { distance(name, k) }, k)
        })
        .filter(|&(d, k)| d <= k.len().max(name.len()) / 3)
        .collect();
    scored.sort();
    scored.into_iter().map(|s| s.1).take(4).collect()
}

/// Edit distance by insertions, deletions and substitutions.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
