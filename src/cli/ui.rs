//! Where words go: results to stdout, everything else to stderr; with `--json`, objects to stdout, one a line.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use tilewright_compiler::diagnostics::{Code, Diagnostic, Diagnostics, SourceMap, codes};

use super::panic::REPORT;

/// `--color`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// Where it is a terminal and NO_COLOR is not set
    Auto,
    Always,
    Never,
}

/// How a command ends when it does not succeed.
#[derive(Debug)]
pub enum Failure {
    /// Already reported; ends with this status.
    Reported(u8),
    /// Diagnostics with places in the source.
    Program(Box<(Diagnostics, SourceMap)>),
    /// The input, the arguments or the machine: what, and what to do about it.
    Input { code: Code, message: String, help: Option<String> },
    /// The command line.
    Usage(String),
    /// We are wrong.
    Bug(String),
}

impl Failure {
    /// The arguments do not fit, or the machine lacks something.
    pub fn input(message: impl ToString) -> Failure {
        Failure::Input { code: codes::BAD_ARGUMENT, message: message.to_string(), help: None }
    }

    /// Adds what to do about it.
    pub fn help(self, text: impl Into<String>) -> Failure {
        match self {
            Failure::Input { code, message, .. } => Failure::Input { code, message, help: Some(text.into()) },
            other => other,
        }
    }

    /// The process's exit status.
    pub fn status(&self) -> u8 {
        match self {
            Failure::Reported(status) => *status,
            Failure::Input { .. } => 1,
            // A diagnostic that the compiler raises against itself.
            Failure::Program(both)
                if both.0.iter().any(|d| matches!(d.code, codes::INTERNAL | codes::EVALUATOR_BUG)) =>
            {
                3
            }
            Failure::Program(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Bug(_) => 3,
        }
    }
}

/// Whether the reader of stdout has gone away.
static READER_GONE: AtomicBool = AtomicBool::new(false);

/// Output, as the user wants it.
#[derive(Clone, Copy, Debug)]
pub struct Ui {
    /// On stderr.
    pub colour: bool,
    /// On stdout.
    pub colour_out: bool,
    pub quiet: bool,
    pub json: bool,
}

impl Ui {
    pub fn new(colour: Colour, quiet: bool, json: bool) -> Ui {
        // https://no-color.org: set and not empty.
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let on = |terminal: bool| match colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => terminal && wanted,
        };
        let (err, out) = (std::io::stderr().is_terminal(), std::io::stdout().is_terminal());
        Ui { colour: on(err), colour_out: on(out), quiet, json }
    }

    /// A result, to stdout. Once its reader has gone away nothing more is written, but the command goes on to its end, for the exit status is
    /// its too (`tilewright snapshot FILE | head`); a result that cannot be written otherwise is a failure.
    pub fn print(&self, text: &str) {
        if READER_GONE.load(Ordering::Relaxed) {
            return;
        }
        let mut out = std::io::stdout().lock();
        let newline: &[u8] = if text.ends_with('\n') || text.is_empty() { b"" } else { b"\n" };
        let written =
            out.write_all(text.as_bytes()).and_then(|()| out.write_all(newline)).and_then(|()| out.flush());
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => READER_GONE.store(true, Ordering::Relaxed),
            Err(error) => {
                self.err(&format!("error: cannot write the result: {error}"));
                std::process::exit(1);
            }
        }
    }

    /// A unified diff, to stdout.
    pub fn diff(&self, diff: &str) {
        if self.colour_out {
            self.print(&super::diff::coloured(diff));
        } else {
            self.print(diff);
        }
    }

    /// One JSON object, to stdout.
    pub fn object(&self, value: &serde_json::Value) {
        self.print(&value.to_string());
    }

    /// A remark, to stderr, unless `--quiet`.
    pub fn note(&self, text: &str) {
        if !self.quiet && !self.json {
            self.err(text);
        }
    }

    /// To stderr, whatever `--quiet` says.
    pub fn err(&self, text: &str) {
        // A closed stderr leaves nobody to tell.
        let _ = writeln!(std::io::stderr().lock(), "{}", text.trim_end_matches('\n'));
    }

    /// Diagnostics, rendered or as JSON.
    pub fn diagnostics(&self, diagnostics: &Diagnostics, sources: &SourceMap) {
        if diagnostics.is_empty() {
            return;
        }
        if self.json {
            self.print(&diagnostics.to_json_lines(sources));
        } else {
            self.err(&diagnostics.render(sources, self.colour));
        }
    }

    /// How a command failed.
    pub fn failure(&self, failure: &Failure) {
        let sources = SourceMap::default();
        let plain = |code: Code, message: &str, help: Option<&str>, note: Option<&str>| {
            let mut d = Diagnostic::error(code, message);
            if let Some(note) = note {
                d = d.note(note);
            }
            if let Some(help) = help {
                d = d.help(help);
            }
            let mut all = Diagnostics::default();
            all.push(d);
            if self.json {
                self.print(&all.to_json_lines(&sources));
                return;
            }
            let (red, bold, end) =
                if self.colour { ("\x1b[1;31m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
            self.err(&format!("{red}error{end}{bold}: {message}{end}"));
            for (what, text) in [("help", help), ("note", note)] {
                if let Some(text) = text {
                    self.err(&format!("  = {bold}{what}{end}: {text}"));
                }
            }
        };
        match failure {
            Failure::Reported(_) => {}
            Failure::Program(both) => self.diagnostics(&both.0, &both.1),
            Failure::Input { code, message, help } => plain(*code, message, help.as_deref(), None),
            Failure::Usage(message) => {
                plain(
                    codes::BAD_ARGUMENT,
                    message,
                    Some("`tilewright --help` and `tilewright COMMAND --help` list what there is"),
                    None,
                );
            }
            Failure::Bug(message) => plain(codes::INTERNAL, message, None, Some(REPORT)),
        }
    }
}
