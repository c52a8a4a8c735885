//! The compiler's passes, as the commands use them: diagnostics become failures that know their source.

use tilewright_compiler::artifact::Compiled;
use tilewright_compiler::compile::{Options, compile_program, default_kernel};
use tilewright_compiler::diagnostics::near;
use tilewright_compiler::elaborate::{self, Settings};
use tilewright_compiler::passes::Timer;
use tilewright_compiler::plan;
use tilewright_compiler::target::Target;
use tilewright_compiler::tile::Kernel;

use super::source::Loaded;
use super::{Failure, Ui};

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
    let Some(name) = asked else {
        return default_kernel(&loaded.program, path).map_err(|d| loaded.failure(d));
    };
    let names = elaborate::kernel_names(&loaded.program);
    if names.iter().any(|n| n == name) {
        return Ok(name.into());
    }
    let unknown = Failure::input(format!("{path} has no kernel `{name}`"));
    Err(match near(name, names.iter().map(String::as_str)) {
        Some(meant) => unknown.help(format!("did you mean {meant}?")),
        None => unknown.help(format!("it has {}", names.join(", "))),
    })
}

/// A kernel bound and typed, with the model's choice of tune parameters.
pub fn elaborate(
    loaded: &Loaded,
    name: &str,
    settings: &Settings,
    target: Target,
) -> Result<Kernel, Failure> {
    let settings = Settings { target: Some(target.name().into()), ..settings.clone() };
    plan::model::elaborate(&loaded.program, name, settings, target).map_err(|d| loaded.failure(d))
}

/// Says what is probably not meant, though it has a meaning.
pub fn warn(ui: &Ui, loaded: &Loaded, kernel: &Kernel) {
    ui.diagnostics(&tilewright_compiler::tile::swapped::warnings(kernel), &loaded.sources);
}

/// A kernel compiled to PTX.
pub fn compile(loaded: &Loaded, path: &str, job: Job<'_>, timer: Timer) -> Result<Compiled, Failure> {
    let options = Options {
        kernel: Some(job.name.into()),
        settings: job.settings,
        dumps: job.dumps,
        verify: job.verify,
        ..Options::new(job.target)
    };
    compile_program(&loaded.sources, &loaded.program, path, &options, timer).map_err(|d| loaded.failure(d))
}
