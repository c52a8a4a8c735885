//! Writing a file so that it is there whole or not at all: a full disk or a killed process leaves what was there before.

use std::fs;
use std::io::Write;
use std::path::Path;

use super::Failure;

/// Writes `text` to `path`, through a file beside it. Links are followed, permissions kept.
pub fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::input(format!("cannot write {}: {e}", path.display()));
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let Some(name) = real.file_name() else {
        return Err(Failure::input(format!("cannot write {}: it is a folder", path.display())));
    };
    let beside = real.with_file_name(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
    let written = fs::File::create(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        if let Ok(old) = fs::metadata(&real) {
            file.set_permissions(old.permissions())?;
        }
        fs::rename(&beside, &real)
    });
    if written.is_err() {
        // Nothing is lost where it was never made.
        let _ = fs::remove_file(&beside);
    }
    written.map_err(failed)
}
