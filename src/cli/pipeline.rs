//! The compiler's passes, as the commands use them: diagnostics become failures that know their source.

use tilewright_compiler::artifact::Compiled;
use tilewright_compiler::diagnostics::{Diagnostic, Diagnostics, codes};
use tilewright_compiler::elaborate::{self, Settings};
use tilewright_compiler::passes::Timer;
use tilewright_compiler::target::Target;
use tilewright_compiler::tile::Kernel;

use super::Failure;
use super::source::Loaded;

/// What to compile.
pub struct Job<'a> {
    pub name: &'a str,
    pub settings: Settings,
    pub target: Target,
    /// Keep T2 and T3 as text.
    pub dumps: bool,
    /// Run the verifiers.
    pub verify: bool,
}

/// The kernel that a command means: the one asked for, else the one named like the file, else the only one.
pub fn kernel_name(loaded: &Loaded, asked: Option<&str>, path: &str) -> Result<String, Failure> {
    if let Some(name) = asked {
        return Ok(name.into());
    }
    let names = elaborate::kernel_names(&loaded.program);
    let stem = path.rsplit(['/', '\\']).next().unwrap_or(path).trim_end_matches(".tw");
    match (names.iter().find(|n| *n == stem), &names[..]) {
        (Some(name), _) => Ok(name.clone()),
        (None, [one]) => Ok(one.clone()),
        (None, []) => Err(Failure::input(format!("{path} has no kernel"))),
        (None, many) => {
            Err(Failure::input(format!("{path} has {} kernels, and none is named {stem}", many.len()))
                .help(format!("choose one with --kernel: {}", many.join(", "))))
        }
    }
}

/// A kernel bound and typed.
pub fn elaborate(
    loaded: &Loaded,
    name: &str,
    settings: &Settings,
    target: Target,
) -> Result<Kernel, Failure> {
    let settings = Settings { target: Some(target.name().into()), ..settings.clone() };
    match elaborate::elaborate(&loaded.program, name, &settings) {
        (Some(kernel), _) => Ok(kernel),
        (None, diagnostics) => Err(loaded.failure(diagnostics)),
    }
}

/// A kernel compiled to PTX.
pub fn compile(loaded: &Loaded, path: &str, job: Job<'_>, timer: Timer) -> Result<Compiled, Failure> {
    let _ = (path, job.name, &job.settings, job.target, job.dumps, job.verify, timer);
    let mut all = Diagnostics::default();
    all.push(Diagnostic::error(
        codes::BAD_ARGUMENT,
        "the back end is not connected; `--device eval` runs the program",
    ));
    Err(loaded.failure(all))
}
