//! The real assembler, fetched from PyPI into a folder under the target directory. It needs no GPU.
//!
//! The packages are NVIDIA's, under the CUDA Toolkit's licence; they are downloaded for testing and never committed.

use crate::steps::target_dir;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

pub const VERSION: &str = "13.5.37";
const PACKAGES: [&str; 3] = ["nvidia-cuda-nvcc", "nvidia-cuda-nvdisasm", "nvidia-cuda-cuobjdump"];

/// The folder with `ptxas` and `nvdisasm`: `TILEWRIGHT_CUDA_BIN` where that is set, else fetched once.
pub fn fetch() -> Result<PathBuf> {
    if let Some(bin) = std::env::var_os("TILEWRIGHT_CUDA_BIN") {
        let bin = PathBuf::from(bin);
        if bin.join("ptxas").exists() {
            return Ok(bin);
        }
        bail!("TILEWRIGHT_CUDA_BIN is {}, where there is no ptxas", bin.display());
    }
    let folder = target_dir().join("cuda").join(VERSION);
    let bin = folder.join("nvidia/cu13/bin");
    if bin.join("ptxas").exists() && bin.join("nvdisasm").exists() {
        return Ok(bin);
    }
    eprintln!("xtask: fetching ptxas {VERSION} into {} (52 MB, once)", folder.display());
    let python = ["python3", "python"]
        .into_iter()
        .find(|p| Command::new(p).arg("--version").output().is_ok_and(|o| o.status.success()))
        .context("no python3 on PATH")?;
    let status = Command::new(python)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--upgrade",
            "--target",
        ])
        .arg(&folder)
        .args(PACKAGES.map(|p| format!("{p}=={VERSION}")))
        .env("PIP_ROOT_USER_ACTION", "ignore")
        .status()
        .context("cannot run pip")?;
    if !status.success() || !bin.join("ptxas").exists() {
        bail!("pip could not install {} {VERSION}", PACKAGES.join(", "));
    }
    Ok(bin)
}

/// What `ptxas -v` said of one file.
#[derive(Clone, Debug, Default)]
pub struct Assembled {
    /// Most registers of any entry.
    pub registers: u32,
    /// Bytes of spill stores and loads of each entry.
    pub spills: Vec<(String, u32)>,
    /// Warnings, and errors if it failed.
    pub complaints: Vec<String>,
}

impl Assembled {
    /// Bytes spilled by the entries whose name ends so; every entry's ends in nothing.
    pub fn spilled(&self, ending: &str) -> u32 {
        self.spills.iter().filter(|(e, _)| e.ends_with(ending)).map(|(_, b)| b).sum()
    }
}

/// Assembles a file; the cubin goes to `out`.
pub fn ptxas(bin: &Path, ptx: &Path, arch: &str, out: &Path) -> Result<Assembled> {
    let output = Command::new(bin.join("ptxas"))
        .args(["-v", &format!("-arch={arch}")])
        .arg(ptx)
        .arg("-o")
        .arg(out)
        .output()
        .context("cannot run ptxas")?;
    let text = String::from_utf8_lossy(&output.stderr);
    let mut result = Assembled::default();
    for line in text.lines() {
        let number_before = |word: &str| {
            line.find(word)
                .and_then(|at| line[..at].split_whitespace().last())
                .and_then(|n| n.parse::<u32>().ok())
        };
        if let Some(entry) = line.split("entry function '").nth(1).and_then(|l| l.split('\'').next()) {
            result.spills.push((entry.to_string(), 0));
        }
        if let Some((_, bytes)) = result.spills.last_mut() {
            *bytes += number_before(" bytes spill stores").unwrap_or(0);
            *bytes += number_before(" bytes spill loads").unwrap_or(0);
        }
        result.registers = result.registers.max(number_before(" registers").unwrap_or(0));
        if line.contains("warning") || line.contains("error") || line.contains("fatal") {
            result.complaints.push(line.to_string());
        }
    }
    if !output.status.success() && result.complaints.is_empty() {
        result.complaints.push(text.trim().to_string());
    }
    Ok(result)
}
