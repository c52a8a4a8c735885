//! A failing case as a folder: the program, the PTX with its inputs (`exec` runs it), and how to run it again.
//!
//! ```text
//! tilewright-verify-gemm-7/
//!   README.txt        what was wrong, and the commands
//!   gemm.tw           the program with what it imports
//!   LAUNCH.json  gemm.ptx  a.npy  b.npy
//!   case.json         the case and the failure
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::levels::{self, Ran};
use super::{Found, Freeze, Settings, Subject, VerifyError};
use tilewright_compiler::tile::{BoundKind, BoundValue, ValueSource};

use crate::launch::file::{self, FileError};
use crate::launch::{Chosen, choose};

/// Why the folder could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReproduceError {
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

/// The command that runs a case again: everything that the seed drew is given.
pub fn command(subject: Subject<'_>, found: &Found, file: &str, schedule: &[(String, String)]) -> String {
    let case = &found.case;
    let mut words =
        vec!["tilewright".into(), "verify".into(), quoted(file), "--kernel".into(), subject.kernel.into()];
    words.extend(["--target".into(), case.target.name().into()]);
    for (name, value) in schedule {
        words.extend(["--set".into(), quoted(&format!("{name}={}", value.replace(' ', "")))]);
    }
    if !case.dims.is_empty() {
        let dims: Vec<String> = case.dims.iter().map(|(n, v)| format!("{n}={v}")).collect();
        words.extend(["--dim".into(), dims.join(",")]);
    }
    words.extend(["--freeze".into(), if case.frozen { "always" } else { "never" }.into()]);
    words.extend(["--first".into(), case.seed.to_string(), "--seeds".into(), "1".into()]);
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-=/+,:".contains(c);
    if word.chars().all(plain) { word.into() } else { format!("'{word}'") }
}

/// Writes the folder; gives the command.
pub fn write(
    subject: Subject<'_>,
    settings: &Settings,
    found: &Found,
    folder: &Path,
) -> Result<String, ReproduceError> {
    fs::create_dir_all(folder).map_err(|source| ReproduceError::Write { path: folder.into(), source })?;
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|source| ReproduceError::Write { path, source })
    };
    let ran = levels::run(subject, settings, &found.case)?;
    let main = copy_sources(subject, folder)?;
    save_launch(&ran, folder)?;
    let schedule = schedule(&ran, found);
    let command = command(subject, found, &main, &schedule);
    let details: Vec<String> = found.failure.details.iter().map(|d| format!("  {d}")).collect();
    let variant = found.failure.variant.as_deref().map(|v| format!(", variant {v}")).unwrap_or_default();
    put(
        "README.txt",
        &format!(
            "tilewright {} got this kernel wrong: a bug of tilewright, not of the program.\n\n\
             level: {}{variant}\n{}\n\n\
             In this folder:\n  {command}\n  tilewright exec LAUNCH.json --sanitize      (if it got as far as PTX)\n",
            env!("CARGO_PKG_VERSION"),
            found.failure.level.name(),
            details.join("\n")
        ),
    )?;
    let json = serde_json::to_string_pretty(found).unwrap_or_default();
    put("case.json", &(json + "\n"))?;
    Ok(command)
}

/// Everything in force, so that nothing is left to draw.
fn schedule(ran: &Ran, found: &Found) -> Vec<(String, String)> {
    let Some(compiled) = &ran.compiled else { return found.case.sets.clone() };
    let mut all = found.case.sets.clone();
    for item in compiled.meta.schedule.iter() {
        if !all.iter().any(|(n, _)| *n == item.path) {
            all.push((item.path.clone(), item.value.clone()));
        }
    }
    for b in &compiled.kernel.binding {
        if let (BoundKind::Generic, BoundValue::Type(t)) = (b.kind, &b.value)
            && !all.iter().any(|(n, _)| *n == b.name)
            && b.from != ValueSource::Instance
        {
            all.push((b.name.clone(), t.to_string()));
        }
    }
    all
}

/// The program's files, beside each other as they import one another; gives the root's new name.
fn copy_sources(subject: Subject<'_>, folder: &Path) -> Result<String, ReproduceError> {
    let root = Path::new(subject.root);
    let base = root.parent().unwrap_or(Path::new(""));
    let mut main = root.file_name().map_or_else(|| subject.root.into(), |n| n.to_string_lossy().into_owned());
    // What the compiler brings along is no file.
    for source in subject.sources.files().filter(|s| !s.name.starts_with('<')) {
        let path = Path::new(&*source.name);
        // What lies outside the root's folder keeps its file name only.
        let inside = path.strip_prefix(base).ok().filter(|p| p.is_relative() && !p.starts_with(".."));
        let name = inside.map(Path::to_path_buf).or_else(|| path.file_name().map(PathBuf::from));
        let Some(name) = name else { continue };
        if path == root {
            main = name.to_string_lossy().into_owned();
        }
        let to = folder.join(&name);
        let write = || {
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(&to, source.text.as_bytes())
        };
        write().map_err(|source| ReproduceError::Write { path: to.clone(), source })?;
    }
    Ok(main)
}

fn save_launch(ran: &Ran, folder: &Path) -> Result<(), ReproduceError> {
    let (Some(compiled), Some(prepared)) = (&ran.compiled, &ran.prepared) else { return Ok(()) };
    for (number, plan) in compiled.meta.launches.iter().enumerate() {
        if let Ok(Chosen::Launch { launch, .. }) =
            choose(&compiled.kernel, plan, &prepared.bound, prepared.sms(compiled.target))
        {
            file::save(folder, compiled, &launch, prepared, number)?;
        }
    }
    Ok(())
}

/// The settings that run a found case again, as its command does.
pub fn again(settings: &Settings, found: &Found) -> Settings {
    Settings {
        first: found.case.seed,
        seeds: 1,
        targets: vec![found.case.target],
        sets: found.case.sets.clone(),
        dims: found.case.dims.clone(),
        freeze: if found.case.frozen { Freeze::Always } else { Freeze::Never },
        ..settings.clone()
    }
}
