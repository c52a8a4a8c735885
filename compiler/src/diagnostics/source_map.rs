//! The files of one compilation, and where in them a byte stands.

use super::{FileId, Span};
use std::sync::Arc;

/// One file's name and text.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// As the user gave it, and as diagnostics print it.
    pub name: String,
    pub text: Arc<str>,
    /// The byte at which each line starts; the first entry is 0.
    line_starts: Vec<u32>,
}

/// All files of one compilation, by [`FileId`].
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

/// A span as people count: lines and columns from 1, columns in characters, the end one past the last character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location<'a> {
    pub file: &'a str,
    pub line: usize,
    pub column: usize,
    pub end_line: usize,
    pub end_column: usize,
}

impl SourceMap {
    /// Adds a file; the same name twice is two files.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<Arc<str>>) -> FileId {
        let text = text.into();
        let starts = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(n, _)| n as u32 + 1);
        let line_starts = std::iter::once(0).chain(starts).collect();
        self.files.push(SourceFile { name: name.into(), text, line_starts });
        FileId(self.files.len() as u32 - 1)
    }

    /// The same files, with their names as seen from `folder`: `/home/a/k.tw` from `/home` is `a/k.tw`, and `/home/m.tw` from `/home/a` is `../m.tw`.
    /// Names that have no path from there stay as they are.
    pub fn seen_from(&self, folder: &str) -> SourceMap {
        let mut seen = self.clone();
        for file in &mut seen.files {
            if !file.name.starts_with('<') {
                file.name = relative(folder, &file.name);
            }
        }
        seen
    }

    /// Every file, in the order in which they were read.
    pub fn files(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter()
    }

    /// `None` for an id of another source map.
    pub fn file(&self, id: FileId) -> Option<&SourceFile> {
        self.files.get(id.0 as usize)
    }

    /// The text of a span; empty where the span does not fit the file.
    pub fn slice(&self, span: Span) -> &str {
        self.file(span.file).and_then(|f| f.text.get(span.start as usize..span.end as usize)).unwrap_or("")
    }

    /// Line and column, from 1, of a byte in a file; a byte past the end is the end.
    pub fn line_column(&self, file: FileId, byte: u32) -> (usize, usize) {
        let Some(f) = self.file(file) else { return (1, 1) };
        let mut byte = (byte as usize).min(f.text.len());
        while !f.text.is_char_boundary(byte) {
            byte -= 1;
        }
        let line = f.line_starts.partition_point(|s| *s as usize <= byte) - 1;
        let start = f.line_starts[line] as usize;
        (line + 1, f.text[start..byte].chars().count() + 1)
    }

    pub fn location(&self, span: Span) -> Location<'_> {
        let (line, column) = self.line_column(span.file, span.start);
        let (end_line, end_column) = self.line_column(span.file, span.end);
        let file = self.file(span.file).map_or("<unknown>", |f| f.name.as_str());
        Location { file, line, column, end_line, end_column }
    }
}

/// The path from a folder to a file, both as given by the user. Names only: the file system is not asked.
fn relative(folder: &str, path: &str) -> String {
    let parts = |p: &str| p.split('/').filter(|s| *s != ".").map(String::from).collect::<Vec<_>>();
    let (folder, path) = (if folder.is_empty() { vec![] } else { parts(folder) }, parts(path));
    let same = folder.iter().zip(&path).take_while(|(a, b)| a == b).count();
    let absolute = path.first().is_some_and(String::is_empty);
    if folder[same..].iter().any(|s| s == "..") || (absolute && same == 0) {
        return path.join("/");
    }
    let mut steps = vec!["..".to_string(); folder.len() - same];
    steps.extend_from_slice(&path[same..]);
    steps.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let mut map = SourceMap::default();
        let file = map.add("f.tw", "// Bᵀ x\nα + β");
        assert_eq!(map.line_column(file, 0), (1, 1));
        let x = map.file(file).unwrap().text.find('x').unwrap() as u32;
        assert_eq!(map.line_column(file, x), (1, 7));
        let at = map.location(Span::new(file, 10, 17));
        assert_eq!((at.line, at.column, at.end_line, at.end_column), (2, 1, 2, 6));
        assert_eq!(map.line_column(file, 1000), (2, 6), "past the end is the end");
        assert_eq!(map.slice(Span::new(file, 0, 2)), "//");
        assert_eq!(map.slice(Span::new(FileId(9), 0, 2)), "");
    }
}
