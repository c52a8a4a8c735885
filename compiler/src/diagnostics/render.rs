//! Diagnostics for people, in rustc's manner.

use super::{Diagnostic, Diagnostics, FileId, Severity, SourceFile, SourceMap, Span};
use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Patch, Renderer, Snippet};
use std::ops::Range;

/// Columns at which long lines are trimmed; fixed, so that output does not depend on the terminal.
const WIDTH: usize = 140;

impl Diagnostic {
    /// The text that a terminal shows, without a trailing line break; with ANSI colours when `colour` is set.
    pub fn render(&self, sources: &SourceMap, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() }.term_width(WIDTH);
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Note => Level::NOTE,
        };
        let code = self.code.to_string();
        let mut report = vec![];
        let mut main = Group::with_title(level.primary_title(self.message.as_str()).id(code));
        main = main.elements(self.snippets(sources));
        main = main.elements(self.notes.iter().map(|n| Element::from(Level::NOTE.message(n.as_str()))));
        for help in self.help.iter().filter(|h| h.replacement.is_none()) {
            main = main.element(Level::HELP.message(help.message.as_str()));
        }
        report.push(main);
        for help in &self.help {
            let Some(replacement) = &help.replacement else { continue };
            let Some(file) = sources.file(replacement.span.file) else { continue };
            let patch = Patch::new(range(file, replacement.span), replacement.text.as_str());
            report.push(
                Level::HELP
                    .secondary_title(help.message.as_str())
                    .element(Snippet::source(&*file.text).path(file.name.as_str()).patch(patch)),
            );
        }
        renderer.render(&report)
    }

    /// One snippet per file: the primary label's file first.
    fn snippets<'a>(&'a self, sources: &'a SourceMap) -> Vec<Element<'a>> {
        let mut order: Vec<FileId> = vec![];
        for label in self.labels.iter().filter(|l| l.primary).chain(&self.labels) {
            if !order.contains(&label.span.file) {
                order.push(label.span.file);
            }
        }
        let mut snippets = vec![];
        for id in order {
            let Some(file) = sources.file(id) else { continue };
            if file.text.is_empty() {
                snippets.push(Element::from(Origin::path(file.name.as_str()).line(1)));
                continue;
            }
            let annotations = self.labels.iter().filter(|l| l.span.file == id).map(|l| {
                let kind = if l.primary { AnnotationKind::Primary } else { AnnotationKind::Context };
                let annotation = kind.span(range(file, l.span));
                if l.text.is_empty() { annotation } else { annotation.label(l.text.as_str()) }
            });
            let snippet = Snippet::source(&*file.text).path(file.name.as_str()).annotations(annotations);
            snippets.push(Element::from(snippet));
        }
        snippets
    }
}

/// The span as bytes that surely lie within the file, on character boundaries.
fn range(file: &SourceFile, span: Span) -> Range<usize> {
    let clip = |byte: u32| {
        let mut byte = (byte as usize).min(file.text.len());
        while !file.text.is_char_boundary(byte) {
            byte -= 1;
        }
        byte
    };
    let (start, end) = (clip(span.start), clip(span.end));
    start..end.max(start)
}

impl Diagnostics {
    /// All of them, a blank line between, each ended by a line break.
    pub fn render(&self, sources: &SourceMap, colour: bool) -> String {
        let mut all: Vec<_> = self.iter().map(|d| d.render(sources, colour) + "\n").collect();
        if self.not_kept() > 0 {
            all.push(format!("… and {} more\n", self.not_kept()));
        }
        all.join("\n")
    }
}
