//! A kernel at one level, as text to keep beside its source and compare with: what `tilewright snapshot` writes, and what a Rust test gives to `insta`.
//!
//! ```
//! use tilewright_compiler::compile::Options;
//! use tilewright_compiler::passes::Level;
//! use tilewright_compiler::snapshot;
//! use tilewright_compiler::target::Target;
//!
//! let source = "
//!     kernel gemm(a: f16[M, K], b: f16[N, K], out c: f16[M, N]) {
//!         tune BM in {64}, BN in {64}, BK in {32};
//!         grid i over M by BM, j over N by BN;
//!         let mut acc: f32[i, j] = 0;
//!         for k over K by BK { acc += a[i, k] @ b[j, k].T; }
//!         c[i, j] = acc as f16;
//!     }";
//! let mut options = Options::new(Target::Sm80);
//! options.settings.sets.push(("k.stages".into(), "3".into()));
//! let ptx = snapshot(source, Level::Ptx, &options).unwrap();
//! assert!(ptx.contains("mma.sync"));
//! // In a test: insta::assert_snapshot!(ptx);
//! assert_eq!(ptx, snapshot(source, Level::Ptx, &options).unwrap());
//! ```
//!
//! Invariant: the text is a function of the source, the options and the compiler's version. File names in it are relative to the folder of the root
//! file; nothing in it depends on the machine, the time, or the order of a hash map.

use crate::compile::{Options, compile_program, default_kernel};
use crate::diagnostics::{Diagnostics, SourceMap};
use crate::elaborate::Settings;
use crate::front::{self, Memory, Program, SourceProvider};
use crate::passes::{Level, Timer};
use crate::{plan, tile};

/// Why there is no text; prints as the rendered diagnostics, so that `unwrap` in a test shows them.
#[derive(thiserror::Error)]
#[error("{0}")]
pub struct NoSnapshot(String);

impl std::fmt::Debug for NoSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\n{}", self.0)
    }
}

/// One level of the kernel that `options` names, else of the only one in `source`. Errors are those of the source, and of what cannot be
/// lowered.
pub fn snapshot(source: &str, level: Level, options: &Options) -> Result<String, NoSnapshot> {
    snapshot_of(&Memory::from([("kernel.tw", source)]), "kernel.tw", level, options)
}

/// The same for a file and what it imports. Without a kernel in `options`, the one named like the file, else the only one.
pub fn snapshot_of(
    provider: &dyn SourceProvider,
    root: &str,
    level: Level,
    options: &Options,
) -> Result<String, NoSnapshot> {
    let mut sources = SourceMap::default();
    let (program, diagnostics) = front::load(&mut sources, provider, root);
    let failed = |d: Diagnostics| NoSnapshot(d.render(&sources, false));
    if diagnostics.has_errors() {
        return Err(failed(diagnostics));
    }
    let mut texts = levels(&sources, &program, root, &[level], options).map_err(failed)?;
    Ok(texts.pop().unwrap_or_default())
}

/// Some levels of one kernel of a program that is loaded, in the order asked for; it is lowered only where a level needs it.
pub fn levels(
    sources: &SourceMap,
    program: &Program,
    root: &str,
    levels: &[Level],
    options: &Options,
) -> Result<Vec<String>, Diagnostics> {
    let name = match &options.kernel {
        Some(name) => name.clone(),
        None => default_kernel(program, root)?,
    };
    let lowers = |level: &Level| matches!(level, Level::Scheduled | Level::Warp | Level::Ptx);
    let compiled = if levels.iter().any(lowers) {
        let folder = root.rfind('/').map_or("", |n| &root[..n]);
        let options = Options { kernel: Some(name.clone()), dumps: true, ..options.clone() };
        Some(compile_program(&sources.seen_from(folder), program, root, &options, Timer::default())?)
    } else {
        None
    };
    let tile = match &compiled {
        Some(compiled) => compiled.dumps.tile.clone(),
        None => {
            let target = Some(options.target.name().into());
            let settings = Settings { target, ..options.settings.clone() };
            tile::print::print(&plan::model::elaborate(program, &name, settings, options.target)?)
        }
    };
    let text = |level: &Level| match (level, &compiled) {
        (Level::Ast, _) => front::print::program(program),
        (Level::Scheduled, Some(c)) => c.dumps.scheduled.clone(),
        (Level::Warp, Some(c)) => c.dumps.warp.clone(),
        (Level::Ptx, Some(c)) => c.ptx.clone(),
        _ => tile.clone(),
    };
    Ok(levels.iter().map(text).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Target;

    const BIAS: &str = "fn bias(x, j) using t: f32[N] = x + t[j];";
    const GEMM: &str = "import \"../lib/bias.tw\" as e;
kernel g<fn f(x, j) -> f32 = e.bias>(a: f16[M, K], b: f16[N, K], out c: f16[M, N]) {
    tune BM in {64}, BN in {64}, BK in {32};
    grid i over M by BM, j over N by BN;
    let mut acc: f32[i, j] = 0;
    for k over K by BK { acc += a[i, k] @ b[j, k].T; }
    c[i, j] = f(acc, j) as f16;
}
";

    #[test]
    fn where_the_files_are_does_not_matter() {
        let at = |folder: &str, lib: &str| {
            let root = format!("{folder}g.tw");
            let files = Memory::from([(root.clone(), GEMM), (format!("{lib}bias.tw"), BIAS)]);
            [Level::Ast, Level::Tile, Level::Scheduled, Level::Warp, Level::Ptx]
                .map(|l| snapshot_of(&files, &root, l, &Options::new(Target::Sm80)).unwrap())
        };
        let here = at("k/", "lib/");
        assert!(here[4].contains(".file 1 \"g.tw\""), "{}", &here[4][..600]);
        assert_eq!(here, at("/home/somebody/k/", "/home/somebody/lib/"));
        assert_eq!(here, at("../a/b/k/", "../a/b/lib/"));
        assert_eq!(here, at("", "../lib/"));
    }

    #[test]
    fn errors_are_shown_with_their_places() {
        let failed = snapshot("kernel k() { x = 1; }", Level::Tile, &Options::new(Target::Sm80)).unwrap_err();
        assert!(format!("{failed:?}").contains("kernel.tw:1:14"), "{failed}");
    }
}
