//! Diagnostics: spans, errors with codes, notes and help, rendered for people or as JSON.

mod span;

pub use span::{FileId, Span};
