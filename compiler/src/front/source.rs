//! Where files come from: the compiler itself reads none.

use std::collections::HashMap;

/// Gives the text of a file. Paths are the ones the user wrote: `root` as passed to [`load`](super::load), imports relative to the file that imports them,
/// joined with `/` and with `.` and `..` resolved.
pub trait SourceProvider {
    /// The text of `path`, or why there is none, in words that end a sentence: "no such file".
    fn read(&self, path: &str) -> Result<String, String>;
}

/// Files held in memory: for tests, and for callers that compile from a string.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    files: HashMap<String, String>,
}

impl Memory {
    pub fn add(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.files.insert(path.into(), text.into());
    }
}

impl<P: Into<String>, T: Into<String>, const N: usize> From<[(P, T); N]> for Memory {
    fn from(files: [(P, T); N]) -> Self {
        Memory { files: files.into_iter().map(|(p, t)| (p.into(), t.into())).collect() }
    }
}

impl SourceProvider for Memory {
    fn read(&self, path: &str) -> Result<String, String> {
        self.files.get(path).cloned().ok_or_else(|| "no such file".into())
    }
}

/// `path` as seen from the folder of `from`: `join("a/b.tw", "../c.tw") == "c.tw"`.
pub(super) fn join(from: &str, path: &str) -> String {
    let folder = from.rfind('/').map_or("", |n| &from[..n + 1]);
    let full = if path.starts_with('/') { path.to_string() } else { format!("{folder}{path}") };
    let mut parts: Vec<&str> = vec![];
    for part in full.split('/') {
        match part {
            "." => {}
            "" if !parts.is_empty() => {}
            ".." if parts.last().is_some_and(|p| *p != ".." && !p.is_empty()) => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::join;

    #[test]
    fn imports_are_relative_to_their_file() {
        assert_eq!(join("gemm.tw", "masks.tw"), "masks.tw");
        assert_eq!(join("a/b.tw", "./c.tw"), "a/c.tw");
        assert_eq!(join("a/b.tw", "../c.tw"), "c.tw");
        assert_eq!(join("b.tw", "../c.tw"), "../c.tw");
        assert_eq!(join("/x/b.tw", "d/c.tw"), "/x/d/c.tw");
        assert_eq!(join("/x/b.tw", "/y/c.tw"), "/y/c.tw");
    }
}
