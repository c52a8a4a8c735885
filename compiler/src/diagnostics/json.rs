//! Diagnostics for editors: one JSON object a line.

use super::{Diagnostic, Diagnostics, SourceMap};
use serde::Serialize;

#[derive(Serialize)]
struct JsonDiagnostic<'a> {
    code: String,
    severity: &'static str,
    message: &'a str,
    spans: Vec<JsonSpan<'a>>,
    notes: &'a [String],
    help: Vec<JsonHelp<'a>>,
}

#[derive(Serialize)]
struct JsonSpan<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
    label: &'a str,
    primary: bool,
}

#[derive(Serialize)]
struct JsonHelp<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    replacement: Option<&'a str>,
    /// What `replacement` stands in place of.
    #[serde(skip_serializing_if = "Option::is_none")]
    span: Option<JsonPlace<'a>>,
}

#[derive(Serialize)]
struct JsonPlace<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
}

impl Diagnostic {
    /// One JSON object, without a line break: `{"code", "severity", "message", "spans", "notes", "help"}`. Lines and columns count from 1, columns in
    /// characters, ends are one past the last character. A help with a `replacement` says in `span` what it replaces.
    pub fn to_json(&self, sources: &SourceMap) -> String {
        let spans = self.labels.iter().map(|l| {
            let at = sources.location(l.span);
            JsonSpan {
                file: at.file,
                line: at.line,
                column: at.column,
                end_line: at.end_line,
                end_column: at.end_column,
                label: &l.text,
                primary: l.primary,
            }
        });
        let help = self.help.iter().map(|h| JsonHelp {
            message: &h.message,
            replacement: h.replacement.as_ref().map(|r| r.text.as_str()),
            span: h.replacement.as_ref().map(|r| {
                let at = sources.location(r.span);
                JsonPlace {
                    file: at.file,
                    line: at.line,
                    column: at.column,
                    end_line: at.end_line,
                    end_column: at.end_column,
                }
            }),
        });
        let json = JsonDiagnostic {
            code: self.code.to_string(),
            severity: self.severity.text(),
            message: &self.message,
            spans: spans.collect(),
            notes: &self.notes,
            help: help.collect(),
        };
        serde_json::to_string(&json).expect("strings and numbers always serialize")
    }
}

impl Diagnostics {
    /// One object a line, each line ended.
    pub fn to_json_lines(&self, sources: &SourceMap) -> String {
        self.iter().map(|d| d.to_json(sources) + "\n").collect()
    }
}
