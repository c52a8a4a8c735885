//! What the backend cannot lower, said plainly.

use crate::diagnostics::Span;
use crate::tile::ir as t1;

/// A program that checks, but that no schedule of today lowers; or a schedule that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub kind: RefusalKind,
    pub message: String,
    pub span: Span,
    /// Said at the place; may be empty.
    pub label: String,
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
            label: String::new(),
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
            label: String::new(),
            notes: Vec::new(),
            help: Some(help.into()),
        }
    }

    /// Says this at the place.
    pub fn label(mut self, label: impl Into<String>) -> Refusal {
        self.label = label.into();
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Refusal {
        self.help = Some(help.into());
        self
    }

    pub fn note(mut self, note: impl Into<String>) -> Refusal {
        self.notes.push(note.into());
        self
    }
}

/// What an op is called in a refusal.
pub fn describe(op: &t1::Op) -> &'static str {
    match op {
        t1::Op::Reduce { .. } => "a reduction of a tile",
        t1::Op::Scan { .. } => "a scan",
        t1::Op::TopK { .. } | t1::Op::Sort { .. } => "sorting",
        t1::Op::Mma { .. } => "`@` outside a loop over its contracted range",
        t1::Op::GridReduce { .. } => "a reduction over grid instances",
        t1::Op::TileRead { .. } => "a subscripted tile",
        t1::Op::LoopResult(..) => "the second result of a loop",
        _ => "this value",
    }
}
