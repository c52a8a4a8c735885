//! Which known name was probably meant.

use super::Diagnostic;
use super::Span;

/// The candidate nearest to `wanted`, if one is near enough to be worth saying: one edit in short names, a third of the letters in longer ones;
/// a difference in case alone always counts.
pub fn near<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = match wanted.chars().count() {
        0 | 1 => 0,
        2..=5 => 1,
        n => n / 3,
    };
    candidates
        .into_iter()
        .filter(|c| *c != wanted)
        .filter_map(|c| {
            if c.eq_ignore_ascii_case(wanted) && wanted.len() > 1 {
                return Some((0, c));
            }
            let d = distance(wanted, c);
            (d <= limit).then_some((d, c))
        })
        // Of equally near ones, the one that only goes on longer.
        .min_by_key(|(d, c)| (*d, !c.starts_with(wanted), *c))
        .map(|(_, c)| c)
}

/// `diagnostic`, with a replacement for `span` where a near name exists.
pub fn near_help<'a>(
    diagnostic: Diagnostic,
    span: Span,
    wanted: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Diagnostic {
    match near(wanted, candidates) {
        Some(name) => diagnostic.replace(span, name, format!("a similar name exists: `{name}`")),
        None => diagnostic,
    }
}

/// Edits (insert, delete, change, swap of neighbours) from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > 8 {
        return usize::MAX;
    }
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut best = change.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        assert_eq!(near("acd", ["acc", "b"]), Some("acc"));
        assert_eq!(near("sigmiod", ["sigmoid", "silu"]), Some("sigmoid"));
        assert_eq!(near("sm_90", ["sm_80", "sm_90a"]), Some("sm_90a"));
        assert_eq!(near("bm", ["BM", "BN"]), Some("BM"));
        assert_eq!(near("x", ["y", "z"]), None, "a one-letter name is like every other");
        assert_eq!(near("epilogue", ["mask", "score"]), None);
    }
}
