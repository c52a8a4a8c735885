//! `tilewright snapshot FILE...`
//!
//! One file per kernel, target and level, in a folder `snapshots` beside the source:
//!
//! ```text
//! gemm.tw
//! snapshots/gemm.gemm.sm_80.tile.snap               FILE.KERNEL.TARGET.LEVEL.snap
//! snapshots/gemm.gemm.sm_80.T=bf16,BM=64.ptx.snap   with --set and --dim, in the order of their names
//! ```
//!
//! A snapshot starts with lines that say what it is of, so that it can be told when that is gone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::json;
use tilewright_compiler::compile::Options;
use tilewright_compiler::diagnostics::{Diagnostics, codes};
use tilewright_compiler::elaborate::{self, Settings};
use tilewright_compiler::passes;
use tilewright_compiler::snapshot::levels;
use tilewright_compiler::target::Target;

use super::source::Loaded;
use super::{Failure, Ui, compile, diff, pipeline, replace, values};

/// Compare what the compiler makes of a file with golden files kept beside it
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Golden files are kept in a folder `snapshots` beside each source, one per kernel, target and level: commit them. \
They hold nothing but what follows from the source, the settings and the compiler's version: the same bytes on every machine.

Examples:
  tilewright snapshot kernels/*.tw --accept          write them, or bless what changed
  tilewright snapshot kernels/*.tw                   for CI: ends with 1 and a diff where something changed, is missing or gone
  tilewright snapshot gemm.tw --level ptx --target sm_80,sm_90a
  tilewright snapshot gemm.tw --kernel gemm --set T=bf16,BM=64 --dim K=512

Where the compiler has no code for a kernel yet, that is what is kept of its lower levels: the refusal. A snapshot whose kernel or file is gone is stale: that is reported, ends with 1, and --accept removes it. In Rust tests, `tilewright_compiler::snapshot` gives the same \
texts to `insta`.

Exit status: 0 all are the same (or accepted), 1 something differs, is missing, stale, or does not compile, 2 misuse."
)]
pub struct Args {
    /// The .tw files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// A kernel; repeats [default: every kernel and instance of the file]
    #[arg(long)]
    kernel: Vec<String>,
    /// Levels to keep
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Level::Tile, Level::Scheduled, Level::Ptx])]
    level: Vec<Level>,
    /// sm_80, sm_86, sm_89 or sm_90a; repeats or takes commas
    #[arg(long, value_delimiter = ',', default_value = "sm_80")]
    target: Vec<String>,
    /// A generic, function, tune parameter or schedule item, e.g. T=bf16, mask=causal, k.stages=4, warps=(2,2)
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Freeze a dimension
    #[arg(long, value_name = "NAME=N")]
    dim: Vec<String>,
    /// Write what differs or is missing, remove what is stale
    #[arg(long)]
    accept: bool,
    /// One object per snapshot, one a line
    #[arg(long)]
    pub json: bool,
}

/// `--level`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Level {
    /// T1: tile values on named axes
    Tile,
    /// T2: buffers, roles, stages, synchronisation
    Scheduled,
    /// T3: registers and addresses
    Warp,
    /// T4: the PTX
    Ptx,
}

impl Level {
    fn pass_level(self) -> passes::Level {
        match self {
            Level::Tile => passes::Level::Tile,
            Level::Scheduled => passes::Level::Scheduled,
            Level::Warp => passes::Level::Warp,
            Level::Ptx => passes::Level::Ptx,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Level::Tile => "tile",
            Level::Scheduled => "scheduled",
            Level::Warp => "warp",
            Level::Ptx => "ptx",
        }
    }
}

/// What became of the snapshots.
#[derive(Debug, Default)]
struct Tally {
    same: usize,
    differs: usize,
    missing: usize,
    accepted: usize,
    stale: usize,
    removed: usize,
}

struct Job<'a> {
    ui: &'a Ui,
    accept: bool,
    levels: Vec<Level>,
    targets: Vec<Target>,
    settings: Settings,
    /// `--set` and `--dim`, by name.
    spelled: String,
    tally: Tally,
    /// Folders whose stale files have been looked for, with the file.
    swept: BTreeSet<(PathBuf, String)>,
}

/// Compares, or accepts; fails where anything is not as it was.
pub fn snapshot(ui: &Ui, args: Args) -> Result<(), Failure> {
    let mut levels = args.level.clone();
    levels.sort();
    levels.dedup();
    let mut targets = args.target.iter().map(|t| compile::target(t)).collect::<Result<Vec<_>, _>>()?;
    targets.sort();
    targets.dedup();
    let settings =
        Settings { sets: values::sets(&args.set)?, dims: values::dims(&args.dim)?, ..Settings::default() };
    let mut spelled: Vec<String> = settings.sets.iter().map(|(n, v)| format!("{n}={v}")).collect();
    spelled.extend(settings.dims.iter().map(|(n, v)| format!("{n}={v}")));
    spelled.sort();
    let mut job = Job {
        ui,
        accept: args.accept,
        levels,
        targets,
        settings,
        spelled: spelled.join(","),
        tally: Tally::default(),
        swept: BTreeSet::new(),
    };
    let mut worst = 0;
    for path in &args.files {
        if let Err(failure) = job.file(path, &args.kernel) {
            ui.failure(&failure);
            worst = worst.max(failure.status());
        }
    }
    let t = &job.tally;
    let counts = [
        (t.same, "same"),
        (t.accepted, "accepted"),
        (t.differs, "different"),
        (t.missing, "missing"),
        (t.stale, "stale"),
        (t.removed, "removed"),
    ];
    let counts: Vec<String> =
        counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    if !counts.is_empty() {
        let hint = match (t.differs + t.missing, t.stale) {
            (0, 0) => "",
            (0, _) => "; of stale ones the kernel or the file is gone: --accept removes them",
            (_, 0) => "; --accept takes them as they are now",
            _ => {
                "; --accept takes them as they are now, and removes the stale ones, whose kernel or file is gone"
            }
        };
        ui.note(&format!("snapshots: {}{hint}", counts.join(", ")));
    }
    match worst.max(u8::from(t.differs + t.missing + t.stale > 0)) {
        0 => Ok(()),
        status => Err(Failure::Reported(status)),
    }
}

impl Job<'_> {
    fn file(&mut self, path: &str, asked: &[String]) -> Result<(), Failure> {
        let loaded = Loaded::read(self.ui, path)?;
        let all = elaborate::kernel_names(&loaded.program);
        let kernels = if asked.is_empty() {
            all.clone()
        } else {
            asked
                .iter()
                .map(|k| pipeline::kernel_name(&loaded, Some(k), path))
                .collect::<Result<Vec<_>, _>>()?
        };
        let mut worst = 0;
        for kernel in &kernels {
            for target in self.targets.clone() {
                if let Err(failure) = self.kernel(&loaded, path, kernel, target) {
                    self.ui.failure(&failure);
                    worst = worst.max(failure.status());
                }
            }
        }
        self.sweep(path, &all)?;
        if worst > 0 { Err(Failure::Reported(worst)) } else { Ok(()) }
    }

    /// Every level of one kernel for one target. Where the back end has no code for it yet, the levels above are kept all the same, and that
    /// it is refused, and why, is what is kept of the others: the day it changes, it shows.
    fn kernel(&mut self, loaded: &Loaded, path: &str, kernel: &str, target: Target) -> Result<(), Failure> {
        let settings = self.settings.clone();
        let options = Options { kernel: Some(kernel.into()), settings, ..Options::new(target) };
        let make = |wanted: &[Level]| {
            let wanted: Vec<passes::Level> = wanted.iter().map(|l| l.pass_level()).collect();
            levels(&loaded.sources, &loaded.program, path, &wanted, &options)
        };
        let tile = [Level::Tile];
        let (made, texts, failed) = match make(&self.levels) {
            Ok(texts) => (self.levels.clone(), texts, None),
            Err(why) if why.iter().all(|d| d.code == codes::NOT_LOWERED) => {
                let refusal = refusal(&why);
                let mut texts: Vec<String> = self.levels.iter().map(|_| refusal.clone()).collect();
                if self.levels.first() == Some(&Level::Tile)
                    && let Some(text) = make(&tile).ok().and_then(|texts| texts.into_iter().next())
                {
                    texts[0] = text;
                }
                (self.levels.clone(), texts, None)
            }
            Err(why) if self.levels.len() > 1 && self.levels.contains(&Level::Tile) => {
                (tile.to_vec(), make(&tile).unwrap_or_default(), Some(why))
            }
            Err(why) => (vec![], vec![], Some(why)),
        };
        for (level, text) in made.into_iter().zip(texts) {
            self.level(path, kernel, target, level, &text)?;
        }
        failed.map_or(Ok(()), |why| Err(loaded.failure(why)))
    }

    fn level(
        &mut self,
        path: &str,
        kernel: &str,
        target: Target,
        level: Level,
        text: &str,
    ) -> Result<(), Failure> {
        let (folder, stem, name) = places(path);
        let (target, level) = (target.name(), level.name());
        let none = self.spelled.is_empty();
        let settings = if none { "none" } else { &self.spelled };
        let text = format!(
            "---\nfile: {name}\nkernel: {kernel}\ntarget: {target}\nsettings: {settings}\nlevel: {level}\n---\n{}\n",
            text.trim_end_matches('\n'),
        );
        let settings = if none { String::new() } else { file_name(&self.spelled) };
        let snap = folder.join(format!("{stem}.{kernel}.{target}{settings}.{level}.snap"));
        let about = json!({"file": path, "kernel": kernel, "target": target, "level": level});
        self.compare(&snap, &text, about)
    }

    fn compare(&mut self, snap: &Path, text: &str, about: serde_json::Value) -> Result<(), Failure> {
        let old = match fs::read_to_string(snap) {
            // A checkout may have written other line ends.
            Ok(old) => Some(old.replace("\r\n", "\n")),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(Failure::input(format!("cannot read {}: {e}", snap.display()))),
        };
        if old.as_deref() == Some(text) {
            self.tally.same += 1;
            self.report(snap, "same", about, "");
            return Ok(());
        }
        if self.accept {
            if let Some(folder) = snap.parent() {
                fs::create_dir_all(folder)
                    .map_err(|e| Failure::input(format!("cannot make {}: {e}", folder.display())))?;
            }
            replace::replace(snap, text)?;
            self.tally.accepted += 1;
            self.report(snap, "accepted", about, "");
            return Ok(());
        }
        match old {
            Some(old) => {
                let shown = snap.display().to_string();
                self.tally.differs += 1;
                self.report(snap, "differs", about, &diff::unified(&old, text, &shown, "now"));
            }
            None => {
                self.tally.missing += 1;
                self.report(snap, "missing", about, "");
            }
        }
        Ok(())
    }

    fn report(&self, snap: &Path, state: &str, mut about: serde_json::Value, diff: &str) {
        if self.ui.json {
            about["snapshot"] = json!(snap);
            about["state"] = json!(state);
            if !diff.is_empty() {
                about["diff"] = json!(diff);
            }
            self.ui.object(&about);
            return;
        }
        if !diff.is_empty() {
            self.ui.diff(diff);
        }
        if state != "same" {
            self.ui.note(&format!("{}: {state}", snap.display()));
        }
    }

    /// Finds snapshots of kernels that the file no longer has, and of files that are gone.
    fn sweep(&mut self, path: &str, kernels: &[String]) -> Result<(), Failure> {
        let (folder, _, name) = places(path);
        if !self.swept.insert((folder.clone(), name.clone())) {
            return Ok(());
        }
        let Ok(entries) = fs::read_dir(&folder) else { return Ok(()) };
        let mut snaps: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
        snaps.retain(|p| p.extension().is_some_and(|e| e == "snap"));
        snaps.sort();
        for snap in snaps {
            let Ok(text) = fs::read_to_string(&snap) else { continue };
            let field = |key: &str| text.lines().take(7).find_map(|l| l.strip_prefix(key)).map(str::trim);
            let (Some(file), Some(kernel)) = (field("file:"), field("kernel:")) else { continue };
            let beside = folder.parent().unwrap_or(Path::new("")).join(file);
            let gone = if file == name { !kernels.iter().any(|k| k == kernel) } else { !beside.exists() };
            if !gone {
                continue;
            }
            let about = json!({"file": file, "kernel": kernel});
            if self.accept {
                fs::remove_file(&snap)
                    .map_err(|e| Failure::input(format!("cannot remove {}: {e}", snap.display())))?;
                self.tally.removed += 1;
                self.report(&snap, "removed", about, "");
            } else {
                self.tally.stale += 1;
                self.report(&snap, "stale", about, "");
            }
        }
        Ok(())
    }
}

/// What is kept of a level that there is no code for: no places, which would move with every line above.
fn refusal(why: &Diagnostics) -> String {
    let each = why.iter().map(|d| format!("refused: {}: {}", d.code, d.message));
    each.collect::<Vec<_>>().join("\n")
}

/// The folder of a source's snapshots, and its name without and with its ending.
fn places(path: &str) -> (PathBuf, String, String) {
    let path = Path::new(path);
    let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let folder = path.parent().unwrap_or(Path::new("")).join("snapshots");
    (folder, text(path.file_stem()), text(path.file_name()))
}

/// Settings as a part of a file's name, with its dot: characters that a file system may refuse become `-`, and what would be too long is
/// told apart by a hash (FNV-1a) instead.
fn file_name(settings: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || "._=,+-".contains(c);
    let plain: String = settings.chars().map(|c| if keep(c) { c } else { '-' }).collect();
    if plain.len() <= 80 {
        return format!(".{plain}");
    }
    let hash = settings
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    format!(".{}-{hash:016x}", &plain[..60])
}
