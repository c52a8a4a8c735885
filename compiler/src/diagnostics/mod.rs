//! Diagnostics: how every error reaches a person.
//!
//! A pass that finds something wrong builds a [`Diagnostic`] and pushes it into [`Diagnostics`]; it goes on where it can, so that a file's errors are
//! all reported at once. Codes come from one table, [`codes`]. Rendering is separate: [`Diagnostics::render`] for people, in rustc's manner, and
//! [`Diagnostics::to_json_lines`] for editors.
//!
//! ```
//! use tilewright_compiler::diagnostics::{codes, Diagnostic, Diagnostics, SourceMap, Span};
//!
//! let mut sources = SourceMap::default();
//! let file = sources.add("k.tw", "let acc = acd;");
//! let mut diagnostics = Diagnostics::default();
//! diagnostics.push(
//!     Diagnostic::error(codes::UNKNOWN_NAME, "unknown name `acd`")
//!         .label(Span::new(file, 10, 13), "not found here")
//!         .replace(Span::new(file, 10, 13), "acc", "a similar name exists"),
//! );
//! assert!(diagnostics.has_errors());
//! assert!(diagnostics.render(&sources, false).contains("k.tw:1:11"));
//! ```
//!
//! Invariants: a diagnostic has at most one message line, no trailing full stop; the first primary label is where an editor jumps to; whoever reports an
//! error sees to it that the same mistake is not reported again further down.

pub mod codes;
mod json;
mod near;
mod render;
mod source_map;
mod span;

pub use codes::Code;
pub use near::{near, near_help};
pub use source_map::{Location, SourceFile, SourceMap};
pub use span::{FileId, Span};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The program is refused.
    Error,
    /// The program is accepted and probably not what its author wants.
    Warning,
    /// Something worth knowing.
    Note,
}

impl Severity {
    /// As printed: `error`.
    pub fn text(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// A place in the source with a word on what is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    pub span: Span,
    /// May be empty: the caret alone.
    pub text: String,
    /// The place of the mistake, rather than a place that explains it.
    pub primary: bool,
}

/// What to write instead.
#[derive(Clone, Debug, PartialEq)]
pub struct Help {
    pub message: String,
    /// Exact new text for a span, where the help is that sure.
    pub replacement: Option<Replacement>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Replacement {
    pub span: Span,
    pub text: String,
}

/// One thing to tell the author.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    pub code: Code,
    pub severity: Severity,
    pub message: String,
    pub labels: Vec<Label>,
    pub notes: Vec<String>,
    pub help: Vec<Help>,
}

impl Diagnostic {
    pub fn new(code: Code, severity: Severity, message: impl Into<String>) -> Self {
        Diagnostic { code, severity, message: message.into(), labels: vec![], notes: vec![], help: vec![] }
    }

    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, message)
    }

    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, message)
    }

    /// Adds the place of the mistake (`^^^`).
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into(), primary: true });
        self
    }

    /// Adds a place that explains it (`---`).
    pub fn secondary(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into(), primary: false });
        self
    }

    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(Help { message: text.into(), replacement: None });
        self
    }

    /// Help that an editor can apply: `new` in place of `span`.
    pub fn replace(mut self, span: Span, new: impl Into<String>, message: impl Into<String>) -> Self {
        self.help.push(Help {
            message: message.into(),
            replacement: Some(Replacement { span, text: new.into() }),
        });
        self
    }

    /// The first primary label's span, else the first label's.
    pub fn primary_span(&self) -> Option<Span> {
        self.labels.iter().find(|l| l.primary).or(self.labels.first()).map(|l| l.span)
    }
}

/// So many are kept; a file with more mistakes is no file of this language, and nobody reads on.
const MOST: usize = 256;

/// A sink that collects diagnostics, and counts those beyond [`MOST`].
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    /// Errors and others that are not kept.
    more: (usize, usize),
}

impl Diagnostics {
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let error = diagnostic.severity == Severity::Error;
        if self.list.len() < MOST {
            self.list.push(diagnostic);
        } else if error {
            self.more.0 += 1;
        } else {
            self.more.1 += 1;
        }
    }

    /// Pushes all of them.
    pub fn extend(&mut self, diagnostics: impl IntoIterator<Item = Diagnostic>) {
        diagnostics.into_iter().for_each(|d| self.push(d));
    }

    /// Takes all of `other`'s.
    pub fn append(&mut self, other: Diagnostics) {
        self.extend(other.list);
        self.more.0 += other.more.0;
        self.more.1 += other.more.1;
    }

    pub fn has_errors(&self) -> bool {
        self.more.0 > 0 || self.list.iter().any(|d| d.severity == Severity::Error)
    }

    /// How many errors, warnings and notes not counted.
    pub fn error_count(&self) -> usize {
        self.more.0 + self.list.iter().filter(|d| d.severity == Severity::Error).count()
    }

    /// How many are not kept.
    pub fn not_kept(&self) -> usize {
        self.more.0 + self.more.1
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// Orders by place in the source (file, line, column), keeping the order of those at one place.
    pub fn sort(&mut self) {
        self.list.sort_by_key(|d| d.primary_span().unwrap_or_default());
    }
}
