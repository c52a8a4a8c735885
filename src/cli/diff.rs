//! What changed between two texts, as `diff -u` says it.

use similar::TextDiff;

/// A unified diff with three lines around each change; empty where the texts are equal.
pub fn unified(old: &str, new: &str, old_name: &str, new_name: &str) -> String {
    if old == new {
        return String::new();
    }
    // A text of hundreds of thousands of lines that has nothing in common must not take minutes.
    let limit = std::time::Duration::from_secs(5);
    let diff = TextDiff::configure().timeout(limit).diff_lines(old, new);
    diff.unified_diff().context_radius(3).header(old_name, new_name).to_string()
}

/// The same with a terminal's colours.
pub fn coloured(diff: &str) -> String {
    let paint = |line: &str| {
        let colour = match line.as_bytes().first() {
            _ if line.starts_with("---") || line.starts_with("+++") => "1",
            Some(b'+') => "32",
            Some(b'-') => "31",
            Some(b'@') => "36",
            _ => return format!("{line}\n"),
        };
        format!("\x1b[{colour}m{line}\x1b[0m\n")
    };
    diff.lines().map(paint).collect()
}
