//! Source files: reading them, loading a program, finding the kernel that a command means.

use std::fs;

use tilewright_compiler::diagnostics::{Diagnostic, Diagnostics, SourceMap, Span, codes};
use tilewright_compiler::front::{self, DirectiveKind, Program, SourceProvider};

use super::{Failure, Ui};

/// Files of the file system.
pub struct Files;

impl SourceProvider for Files {
    fn read(&self, path: &str) -> Result<String, String> {
        fs::read(path)
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => "no such file".into(),
                std::io::ErrorKind::PermissionDenied => "you may not read it".into(),
                std::io::ErrorKind::IsADirectory => "it is a folder".into(),
                _ => error.to_string(),
            })
            .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".into()))
    }
}

/// Whether the file that a command names can be read; what is wrong with it as plainly as can be said. (The loader, which reads it again,
/// would report a missing root as a diagnostic without a place.)
pub fn readable(path: &str) -> Result<(), Failure> {
    let Err(why) = Files.read(path) else { return Ok(()) };
    let bytes = fs::read(path).unwrap_or_default();
    let Err(error) = std::str::from_utf8(&bytes) else {
        return Err(Failure::input(format!("cannot read {path}: {why}")));
    };
    // Up to the first wrong byte the text is the file's own, so places in it are right.
    let mut sources = SourceMap::default();
    let file = sources.add(path, String::from_utf8_lossy(&bytes).into_owned());
    let at = error.valid_up_to();
    let mut all = Diagnostics::default();
    all.push(
        Diagnostic::error(codes::UNKNOWN_CHARACTER, "the file is not UTF-8 text")
            .label(Span::new(file, at, at + '\u{fffd}'.len_utf8()), format!("the byte {:#04x}", bytes[at]))
            .help("save it as UTF-8"),
    );
    Err(Failure::Program(Box::new((all, sources))))
}

/// A program whose every name is known.
#[derive(Debug)]
pub struct Loaded {
    pub program: Program,
    pub sources: SourceMap,
}

impl Loaded {
    /// Reads a file and what it imports. Warnings are shown; errors are the result.
    pub fn read(ui: &Ui, path: &str) -> Result<Loaded, Failure> {
        readable(path)?;
        let mut sources = SourceMap::default();
        let (program, diagnostics) = front::load(&mut sources, &Files, path);
        if diagnostics.has_errors() {
            return Err(Failure::Program(Box::new((diagnostics, sources))));
        }
        ui.diagnostics(&diagnostics, &sources);
        Ok(Loaded { program, sources })
    }

    /// A failure with places in this program's source.
    pub fn failure(&self, diagnostics: Diagnostics) -> Failure {
        Failure::Program(Box::new((diagnostics, self.sources.clone())))
    }

    /// The `//; dims:` line.
    pub fn dims(&self) -> Vec<(String, i64)> {
        let mut dims = Vec::new();
        for directive in &self.program.directives {
            if let DirectiveKind::Dims(pairs) = &directive.kind {
                dims.extend(
                    pairs.iter().map(|(name, n)| (name.clone(), i64::try_from(*n).unwrap_or(i64::MAX))),
                );
            }
        }
        dims
    }
}
