//! Running the binary, for tests of the command line.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

pub const GEMM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dsl_examples/gemm.tw");
pub const ATTENTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dsl_examples/attention.tw");

pub fn tilewright(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tilewright"))
        .args(args)
        .env_remove("TILEWRIGHT_CUDA_BIN")
        .env("NO_COLOR", "1")
        .output()
        .expect("the binary starts")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Stdout of a run that must end well.
pub fn fine(args: &[&str]) -> String {
    let output = tilewright(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Stderr of a run that must end with this status.
pub fn fails(status: i32, args: &[&str]) -> String {
    let output = tilewright(args);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{args:?}\n{}{said}", text(&output.stdout));
    said
}

/// A temporary folder.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The path as an argument.
    pub fn arg(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), content).expect("a file");
        self.arg(name)
    }
}
