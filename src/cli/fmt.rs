//! `tilewright fmt FILE...`

use std::io::Read;

use serde_json::json;
use tilewright_compiler::diagnostics::SourceMap;
use tilewright_compiler::front::SourceProvider;
use tilewright_compiler::front::format::format;

use super::source::{Files, readable};
use super::{Failure, Ui, diff, replace};

/// Write files in the one style; comments and the lines that you broke stay
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "The style decides spaces, indentation, empty lines (at most one) and trailing commas. Where a line ends inside \
a statement stays your choice, as long as it ends at a comma, an operator, a bracket or a clause; lines of more than 132 characters are \
broken. A file that does not parse is left as it is.

Examples:
  tilewright fmt gemm.tw                 rewrite the file
  tilewright fmt --check kernels/*.tw    for CI: names the files that are not in the style and ends with 1
  tilewright fmt --diff gemm.tw          show what would change, write nothing
  tilewright fmt - <gemm.tw              from stdin to stdout, for editors

Exit status: 0 fine, 1 a file does not parse, cannot be read or written, or (--check, --diff) is not in the style, 2 misuse."
)]
pub struct Args {
    /// The .tw files; - is stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Write nothing; name the files that would change
    #[arg(long)]
    check: bool,
    /// Write nothing; show what would change
    #[arg(long)]
    diff: bool,
    /// One object per file, one a line
    #[arg(long)]
    pub json: bool,
}

/// Formats every file, and fails after the last where one was wrong.
pub fn fmt(ui: &Ui, args: Args) -> Result<(), Failure> {
    let mut worst = 0;
    for path in &args.files {
        if let Err(failure) = one(ui, path, &args) {
            ui.failure(&failure);
            worst = worst.max(failure.status());
        }
    }
    if worst > 0 { Err(Failure::Reported(worst)) } else { Ok(()) }
}

fn one(ui: &Ui, path: &str, args: &Args) -> Result<(), Failure> {
    let stdin = path == "-";
    let name = if stdin { "<stdin>" } else { path };
    if !stdin {
        readable(path)?;
    }
    let text = read(path).map_err(|why| Failure::input(format!("cannot read {name}: {why}")))?;
    let mut sources = SourceMap::default();
    let done = format(&mut sources, name, &text).map_err(|d| Failure::Program(Box::new((d, sources))))?;
    let changed = done != text;
    let dry = args.check || args.diff;
    if ui.json {
        let mut object = json!({"file": name, "changed": changed});
        if stdin && !dry {
            object["text"] = json!(done);
        }
        if args.diff {
            object["diff"] = json!(diff::unified(&text, &done, name, name));
        }
        ui.object(&object);
    } else if args.diff {
        ui.diff(&diff::unified(&text, &done, name, name));
    } else if stdin && !dry {
        ui.print(&done);
    }
    if dry {
        if changed && !args.diff {
            ui.note(&format!("{name}: not in the style (tilewright fmt {path})"));
        }
        return if changed { Err(Failure::Reported(1)) } else { Ok(()) };
    }
    if changed && !stdin {
        replace::replace(path.as_ref(), &done)?;
        ui.note(&format!("{path}: written in the style"));
    }
    Ok(())
}

fn read(path: &str) -> Result<String, String> {
    if path != "-" {
        return Files.read(path);
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".into())
}
