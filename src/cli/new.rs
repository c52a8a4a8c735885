//! `tilewright new NAME`

use std::path::{Path, PathBuf};

use tilewright_compiler::diagnostics::SourceMap;
use tilewright_compiler::front::{self, Memory};

use super::{Failure, Ui, replace};

/// Write a first kernel to start from: a commented GEMM with an epilogue of your own
#[derive(Debug, clap::Args)]
#[command(after_long_help = "The file compiles and runs as it is; its comments explain what each line does.

Examples:
  tilewright new scores                  writes scores.tw with a kernel `scores`
  tilewright new kernels/scores.tw
  tilewright new scores --force          writes over a file that exists

Exit status: 0 fine, 1 the file exists or cannot be written, 2 the name cannot name a kernel.")]
pub struct Args {
    /// The kernel's name, or the path of its file
    #[arg(value_name = "NAME")]
    name: String,
    /// Write over a file that exists
    #[arg(long)]
    force: bool,
}

/// The file; `NAME` becomes the kernel's name.
const TEMPLATE: &str = include_str!("new_kernel.tw");

/// Writes the file and says what to do next.
pub fn new(ui: &Ui, args: Args) -> Result<(), Failure> {
    let stem = args.name.strip_suffix(".tw").unwrap_or(&args.name);
    let path = PathBuf::from(format!("{stem}.tw"));
    let kernel = Path::new(stem).file_name().unwrap_or_default().to_string_lossy().replace('-', "_");
    let text = TEMPLATE.replace("NAME", &kernel);
    // Whatever the parser does not take as a name, be it a keyword, a type or `2x`, cannot be one.
    let (_, wrong) =
        front::load(&mut SourceMap::default(), &Memory::from([("new.tw", text.as_str())]), "new.tw");
    if wrong.has_errors() || !kernel.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(Failure::Usage(format!(
            "`{kernel}` cannot name a kernel: names are letters, digits and `_`, no keyword, and not a name that the file uses"
        )));
    }
    if path.exists() && !args.force {
        return Err(Failure::input(format!("{} exists", path.display())).help("--force writes over it"));
    }
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .map_err(|e| Failure::input(format!("cannot make {}: {e}", folder.display())))?;
    }
    replace::replace(&path, &text)?;
    let shown = path.display();
    let next = [
        (format!("run {shown} --check"), "run it on this machine, compare with its meaning"),
        (format!("run {shown} --check --kernel {kernel}_bias"), "the same for the instance"),
        (format!("compile {shown} -o {kernel}.ptx"), "PTX for sm_80; --target names others"),
        (format!("compile {shown} --emit schedule"), "what the compiler chose"),
        (format!("snapshot {shown} --accept"), "golden files for your CI"),
    ];
    let width = next.iter().map(|(command, _)| command.chars().count()).max().unwrap_or(0);
    let lines: Vec<String> =
        next.iter().map(|(command, what)| format!("\n  tilewright {command:width$}   {what}")).collect();
    ui.note(&format!("wrote {shown}; next:{}", lines.concat()));
    Ok(())
}
