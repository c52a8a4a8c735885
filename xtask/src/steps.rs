//! Running steps one after the other, with a heading each and a summary at the end.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The workspace's root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// What has run, how long it took, and whether it was fine.
pub struct Steps {
    cuda_bin: Option<PathBuf>,
    done: Vec<(String, Duration, Result<()>)>,
}

impl Steps {
    pub fn new(cuda_bin: Option<PathBuf>) -> Steps {
        Steps { cuda_bin, done: Vec::new() }
    }

    /// Runs cargo; the tests find the assembler in `TILEWRIGHT_CUDA_BIN`.
    pub fn cargo(&mut self, name: &str, args: &[&str]) {
        let bin = self.cuda_bin.clone();
        self.step(name, || {
            let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            command.args(args).current_dir(root());
            if let Some(bin) = bin {
                command.env("TILEWRIGHT_CUDA_BIN", bin);
            }
            let status = command.status().with_context(|| format!("cannot run cargo {}", args.join(" ")))?;
            if !status.success() {
                bail!("cargo {} failed", args.join(" "));
            }
            Ok(())
        });
    }

    /// Runs one step, whatever came before.
    pub fn step(&mut self, name: &str, run: impl FnOnce() -> Result<()>) {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let result = run();
        if let Err(e) = &result {
            eprintln!("== {name}: FAILED: {e:#}");
        }
        self.done.push((name.into(), start.elapsed(), result));
    }

    /// The summary; an error if any step failed.
    pub fn finish(self) -> Result<()> {
        eprintln!("\n== summary");
        for (name, time, result) in &self.done {
            let word = if result.is_ok() { "ok" } else { "FAILED" };
            eprintln!("{word:>8}  {:>7.1} s  {name}", time.as_secs_f64());
        }
        let failed = self.done.iter().filter(|(_, _, r)| r.is_err()).count();
        if failed > 0 {
            bail!("{failed} of {} steps failed", self.done.len());
        }
        Ok(())
    }
}

/// Runs the tests with every snapshot accepted.
pub fn bless() -> Result<()> {
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["test", "--workspace"])
        .env("INSTA_UPDATE", "always")
        .current_dir(root())
        .status()?;
    if !status.success() {
        bail!("some tests fail for other reasons than snapshots");
    }
    Ok(())
}

/// Runs this very command line in release: for commands that compute much themselves.
pub fn again_in_release() -> Result<()> {
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["run", "--quiet", "--release", "--package", "xtask", "--"])
        .args(std::env::args_os().skip(1))
        .status()
        .context("cannot run cargo")?;
    // The command has said what is wrong.
    if !status.success() {
        std::process::exit(status.code().unwrap_or(1));
    }
    Ok(())
}

/// Tries this many changed programs; a failure prints the mutant.
pub fn fuzz(n: u64, seed: u64) -> Result<()> {
    // Programs of the language through the compiler, PTX through the executor.
    let targets: [&[&str]; 2] = [
        &["-p", "tilewright-compiler", "--test", "mutants", "--"],
        &["-p", "tilewright-runtime", "--lib", "--", "executor::tests::fuzz"],
    ];
    for target in targets {
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .arg("test")
            .args(target)
            .arg("--nocapture")
            .env("TILEWRIGHT_MUTANTS", n.to_string())
            .env("TILEWRIGHT_SEED", seed.to_string())
            .current_dir(root())
            .status()?;
        if !status.success() {
            bail!("some of {n} mutants of seed {seed} fail");
        }
    }
    Ok(())
}

/// All of `bench/gpu.sh` that needs no GPU, with the binary that the tests have just built.
pub fn dry_run_benches() -> Result<()> {
    let binary = target_dir().join("debug").join(format!("tilewright{}", std::env::consts::EXE_SUFFIX));
    let output = Command::new("sh")
        .arg("bench/gpu.sh")
        .arg("--dry-run")
        .env("TILEWRIGHT", binary)
        .current_dir(root())
        .output()
        .context("cannot run sh bench/gpu.sh --dry-run")?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("bench/gpu.sh --dry-run failed:\n{}", String::from_utf8_lossy(&said));
    }
    Ok(())
}
