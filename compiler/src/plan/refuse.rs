//! What the backend cannot lower, said plainly.

use crate::diagnostics::Span;

/// A program that checks, but that no schedule of today lowers; or a schedule that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub kind: RefusalKind,
    pub message: String,
    pub span: Span,
    pub notes: Vec<String>,
    pub help: Option<String>,
}

/// Whose move it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The backend does not lower this construct yet; the evaluator runs it.
    NotLowered,
    /// The schedule is impossible for this kernel and target.
    Schedule,
}

impl Refusal {
    /// A construct that only the evaluator runs so far.
    pub fn construct(span: Span, what: impl Into<String>) -> Refusal {
        Refusal {
            kind: RefusalKind::NotLowered,
            message: format!("{} cannot be lowered to PTX yet", what.into()),
            span,
            notes: vec!["the program is correct: `tilewright run --device eval` evaluates it".into()],
            help: None,
        }
    }

    /// A schedule that cannot be had.
    pub fn schedule(span: Span, message: impl Into<String>, help: impl Into<String>) -> Refusal {
        Refusal {
            kind: RefusalKind::Schedule,
            message: message.into(),
            span,
            notes: Vec::new(),
            help: Some(help.into()),
        }
    }

    pub fn note(mut self, note: impl Into<String>) -> Refusal {
        self.notes.push(note.into());
        self
    }
}
