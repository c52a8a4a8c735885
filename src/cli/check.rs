//! `tilewright check FILE...`

use tilewright_compiler::diagnostics::SourceMap;
use tilewright_compiler::elaborate;

use super::source::{Files, readable};
use super::{Failure, Ui};

/// Parse, resolve, and check types, axes and shapes; every error of a file at once
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilewright check gemm.tw
  tilewright check --json src/*.tw      one object per diagnostic, for editors")]
pub struct Args {
    /// The .tw files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Diagnostics as JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// Checks every file, and fails after the last where one was wrong.
pub fn check(ui: &Ui, args: Args) -> Result<(), Failure> {
    let mut worst = 0;
    for path in &args.files {
        if let Err(failure) = check_file(ui, path) {
            ui.failure(&failure);
            worst = worst.max(failure.status());
        }
    }
    if worst > 0 { Err(Failure::Reported(worst)) } else { Ok(()) }
}

fn check_file(ui: &Ui, path: &str) -> Result<(), Failure> {
    readable(path)?;
    let mut sources = SourceMap::default();
    let (program, diagnostics) = tilewright_compiler::check::check(&mut sources, &Files, path);
    if diagnostics.has_errors() {
        return Err(Failure::Program(Box::new((diagnostics, sources))));
    }
    ui.diagnostics(&diagnostics, &sources);
    let kernels = elaborate::kernel_names(&program);
    let list = if kernels.is_empty() { "no kernels".into() } else { kernels.join(", ") };
    ui.note(&format!("{path}: fine ({list})"));
    Ok(())
}
