//! The real assembler, where there is one: for `--emit cubin`. Nothing else needs it.

use std::path::{Path, PathBuf};
use std::process::Command;

use tilewright_compiler::target::Target;

use super::{Failure, Ui};

/// `ptxas` in TILEWRIGHT_CUDA_BIN, else on the PATH.
fn find() -> Option<PathBuf> {
    let folders = std::env::var_os("TILEWRIGHT_CUDA_BIN").map(PathBuf::from).into_iter();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let name = if cfg!(windows) { "ptxas.exe" } else { "ptxas" };
    folders.chain(std::env::split_paths(&path)).map(|folder| folder.join(name)).find(|p| p.is_file())
}

/// Assembles PTX into a file.
pub fn assemble(ui: &Ui, ptx: &str, target: Target, output: &Path) -> Result<(), Failure> {
    let ptxas = find().ok_or_else(|| {
        Failure::input("--emit cubin needs NVIDIA's assembler ptxas, which is neither on the PATH nor in TILEWRIGHT_CUDA_BIN")
            .help("`pip download nvidia-cuda-nvcc` has it; a GPU's driver compiles PTX by itself, so running needs no cubin")
    })?;
    let input = std::env::temp_dir().join(format!("tilewright-{}.ptx", std::process::id()));
    std::fs::write(&input, ptx)
        .map_err(|e| Failure::input(format!("cannot write {}: {e}", input.display())))?;
    let run = Command::new(&ptxas)
        .arg(format!("-arch={}", target.name()))
        .arg(&input)
        .arg("-o")
        .arg(output)
        .output();
    // A file left in the temporary folder harms nobody.
    let _ = std::fs::remove_file(&input);
    let run = run.map_err(|e| Failure::input(format!("cannot start {}: {e}", ptxas.display())))?;
    let said = String::from_utf8_lossy(&run.stderr);
    if run.status.success() {
        if !said.trim().is_empty() {
            ui.note(&format!("ptxas says:\n{}", said.trim()));
        }
        return Ok(());
    }
    Err(Failure::Bug(format!("{} refused our PTX for {}:\n{}", ptxas.display(), target.name(), said.trim())))
}
