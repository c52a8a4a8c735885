//! What can go wrong while evaluating.

use std::fmt;

use crate::diagnostics::{Diagnostic, Span, codes};

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvalErrorKind {
    /// The arguments do not fit the kernel: the caller's.
    Input,
    /// The program breaks a rule that only data decides: two lanes or instances write one element, or an instance reads what another
    /// writes. The author's.
    Fault,
    /// The kernel is malformed: a bug of ours.
    Internal,
}

/// An evaluation that has no result.
#[derive(Clone, Debug, PartialEq)]
pub struct EvalError {
    pub kind: EvalErrorKind,
    pub message: String,
    /// The statement or value at fault, if one is.
    pub span: Option<Span>,
    /// The other side, e.g. where the value that was read is written, with what it is.
    pub other: Option<(Span, String)>,
}

impl EvalError {
    /// As a diagnostic with its spans.
    pub fn diagnostic(&self) -> Diagnostic {
        let code = match self.kind {
            EvalErrorKind::Input => codes::BAD_ARGUMENT,
            EvalErrorKind::Fault => codes::ACCESS_CONFLICT,
            EvalErrorKind::Internal => codes::EVALUATOR_BUG,
        };
        let mut diagnostic = Diagnostic::error(code, self.to_string());
        if let Some(span) = self.span {
            diagnostic = diagnostic.label(span, "here");
        }
        if let Some((span, text)) = &self.other {
            diagnostic = diagnostic.secondary(*span, text.clone());
        }
        match self.kind {
            EvalErrorKind::Fault => diagnostic
                .note("an element may be written by one lane of one instance, and read by no other instance; `atomic` combines"),
            _ => diagnostic,
        }
    }

    pub(crate) fn input(message: String, span: Option<Span>) -> EvalError {
        EvalError { kind: EvalErrorKind::Input, message, span, other: None }
    }

    pub(crate) fn fault(message: String, span: Span) -> EvalError {
        EvalError { kind: EvalErrorKind::Fault, message, span: Some(span), other: None }
    }

    pub(crate) fn internal(message: impl Into<String>) -> EvalError {
        EvalError { kind: EvalErrorKind::Internal, message: message.into(), span: None, other: None }
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            EvalErrorKind::Internal => write!(f, "internal error of the evaluator: {}", self.message),
            _ => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for EvalError {}
