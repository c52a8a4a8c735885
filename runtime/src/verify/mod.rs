//! Verification: every level of a kernel against its meaning, on random shapes, schedules, targets and inputs.
//!
//! A seed decides a [`Case`] alone: target, type parameters, tune parameters, schedule items, dimensions, inputs and the order in which warps run. The
//! case is compiled, its meaning taken from the tile evaluator (exactly, and in the kernel's own types for the bound), and then
//! ```text
//! T2 fused · T2 expanded · T2 ordered   by the interpreter of the scheduled level
//! PTX                                   by the executor, copies late, races and bounds checked
//! ```
//! must each give it and be silent. What is not so is a bug of ours. The case is shrunk (dimensions towards one, schedule towards the
//! default, seed kept) and written as a folder that `exec` and `verify` can run again.
//!
//! | file | holds |
//! | --- | --- |
//! | [`mod@case`] | what a seed decides |
//! | [`inputs`] | what its tensors and scalars hold |
//! | [`levels`] | running a case through the levels |
//! | [`shrink`] | the smallest case that still fails |
//! | [`reproduce`] | the folder |
//! | [`attention`] | attention kernels against a reference of their own |

pub mod attention;
pub mod case;
pub mod inputs;
pub mod levels;
pub mod reproduce;
pub mod shrink;

use std::time::{Duration, Instant};

use serde::Serialize;
use tilewright_compiler::diagnostics::{Diagnostics, SourceMap};
use tilewright_compiler::fault::Fault;
use tilewright_compiler::front::Program;
use tilewright_compiler::target::Target;

pub use case::Case;
pub use levels::{Failure, Level, Ran};

/// The kernel to verify.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub program: &'a Program,
    pub sources: &'a SourceMap,
    /// The file that was loaded.
    pub root: &'a str,
    pub kernel: &'a str,
    /// The file's `//; dims:` line, for kernels whose promises random dimensions do not find.
    pub usual_dims: &'a [(String, i64)],
}

/// Whether dimensions are compiled in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Freeze {
    /// In one case of four.
    #[default]
    Random,
    Always,
    Never,
}

/// What to try.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The first seed, and how many.
    pub first: u64,
    pub seeds: u64,
    /// Taken in turn.
    pub targets: Vec<Target>,
    /// `--set`: fixed in every case.
    pub sets: Vec<(String, String)>,
    /// `--dim`: likewise.
    pub dims: Vec<(String, i64)>,
    pub freeze: Freeze,
    /// Run the verifiers of the compiler's levels too.
    pub verify_ir: bool,
    /// What a launch on the executor may take: one that takes longer is taken for endless.
    pub patience: Duration,
    /// How many smaller cases are tried after a failure.
    pub shrink: usize,
    #[doc(hidden)]
    pub fault: Option<Fault>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            first: 0,
            seeds: 20,
            targets: vec![Target::Sm80],
            sets: Vec::new(),
            dims: Vec::new(),
            freeze: Freeze::Random,
            verify_ir: true,
            patience: Duration::from_secs(300),
            shrink: 200,
            fault: None,
        }
    }
}

/// Why nothing could be verified: the user's side.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The program is wrong, or breaks its own rules on these inputs.
    #[error("the program is wrong")]
    Program(Diagnostics),
    #[error("{0}")]
    Input(String),
    /// A bug of ours outside of what is compared.
    #[error("{0}")]
    Bug(String),
}

/// One seed that passed.
#[derive(Clone, Debug, Serialize)]
pub struct Seed {
    pub case: Case,
    /// The variant that ran, where one did.
    pub variant: Option<String>,
    pub milliseconds: f64,
}

/// What a level did over all seeds.
#[derive(Clone, Debug, Serialize)]
pub struct LevelSummary {
    pub level: Level,
    /// Cases that it agreed on.
    pub cases: usize,
    /// Why it did not run in others, each reason once.
    pub not_run: Vec<String>,
}

/// A case that fails, and the smallest like it.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    pub first: Case,
    pub case: Case,
    pub failure: Failure,
    /// Cases that were tried on the way.
    pub tried: usize,
}

/// What verification found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub seeds: Vec<Seed>,
    pub levels: Vec<LevelSummary>,
    /// Outputs that some seed compared otherwise than element by element, or not at all, each remark once.
    pub remarks: Vec<String>,
    pub found: Option<Found>,
    pub seconds: f64,
}

/// Verifies a kernel; stops at the first failure. `after` sees each seed as it passes.
///
/// # Errors
/// [`VerifyError`], where the program or the settings leave nothing to verify.
pub fn verify(
    subject: Subject<'_>,
    settings: &Settings,
    after: &mut dyn FnMut(&Seed),
) -> Result<Report, VerifyError> {
    let start = Instant::now();
    let mut report = Report {
        seeds: Vec::new(),
        levels: Level::ALL.map(LevelSummary::new).into(),
        remarks: Vec::new(),
        found: None,
        seconds: 0.0,
    };
    for seed in settings.first..settings.first.saturating_add(settings.seeds) {
        let began = Instant::now();
        let case = case::random(subject, settings, seed)?;
        let ran = levels::run(subject, settings, &case)?;
        report.count(&ran);
        if let Some(failure) = ran.failure {
            let shrunk = shrink::shrink(subject, settings, case.clone(), failure)?;
            report.found = Some(Found { first: case, ..shrunk });
            break;
        }
        let seed = Seed { case, variant: ran.variant, milliseconds: milliseconds(began.elapsed()) };
        after(&seed);
        report.seeds.push(seed);
    }
    report.seconds = start.elapsed().as_secs_f64();
    Ok(report)
}

fn milliseconds(d: Duration) -> f64 {
    (d.as_secs_f64() * 1e6).round() / 1e3
}

impl LevelSummary {
    fn new(level: Level) -> LevelSummary {
        LevelSummary { level, cases: 0, not_run: Vec::new() }
    }
}

impl Report {
    fn count(&mut self, ran: &Ran) {
        for remark in &ran.remarks {
            if !self.remarks.contains(remark) {
                self.remarks.push(remark.clone());
            }
        }
        for (level, why) in &ran.levels {
            let Some(summary) = self.levels.iter_mut().find(|s| s.level == *level) else { continue };
            match why {
                None => summary.cases += 1,
                Some(why) if !summary.not_run.contains(why) => summary.not_run.push(why.clone()),
                Some(_) => {}
            }
        }
    }
}
