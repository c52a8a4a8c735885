//! Verification of every example at every level, through the command line that users have.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps::root;

/// The programs that users copy.
fn examples(root: &Path, only: &str) -> Result<Vec<PathBuf>> {
    let folder = root.join("dsl_examples");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("no {}", folder.display()))? {
        let path = entry?.path();
        let wanted = path.file_name().is_some_and(|n| n.to_string_lossy().contains(only));
        if wanted && path.extension().is_some_and(|e| e == "tw") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Runs so many seeds of every kernel of every example whose name contains `only`, in release.
pub fn run(seeds: u64, only: &str) -> Result<()> {
    let root = root();
    let mut failed = Vec::new();
    let files = examples(&root, only)?;
    if files.is_empty() {
        bail!("no example is called like {only:?}");
    }
    for file in files {
        let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["run", "--quiet", "--release", "--bin", "tilewright", "--", "verify"])
            .arg(&file)
            .args(["--kernel", "all", "--seeds", &seeds.to_string()])
            .current_dir(&root)
            .status()
            .context("cannot run cargo")?;
        if !status.success() {
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("verification fails for {}", failed.join(", "));
    }
    Ok(())
}
