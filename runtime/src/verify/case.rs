//! What a seed decides: a kernel bound to types, a tile and a schedule that are legal, and dimensions.
//!
//! Legal is what the compiler accepts: combinations are drawn from the `tune` lists and from [`alternatives`] of the schedule's items, and
//! those that it refuses are drawn again. Dimensions are drawn around the tiles of the ranges that run over them: nothing, one, a tile and
//! its neighbours, multiples of eight (so that the wide variant runs), anything; deep enough for a ring to come round.
//!
//! ```text
//! seed 7: sm_86, T=bf16 BM=64 BN=192 BK=32 warps=(2, 4) k.stages=5, M=65 N=192 K=232
//! ```

use serde::Serialize;
use tilewright_compiler::artifact::{ChosenBy, Compiled};
use tilewright_compiler::compile::{Options, compile_program};
use tilewright_compiler::diagnostics::codes;
use tilewright_compiler::elaborate::{self, Settings as Elaboration};
use tilewright_compiler::passes::Timer;
use tilewright_compiler::plan::alternatives::alternatives;
use tilewright_compiler::plan::model;
use tilewright_compiler::target::Target;
use tilewright_compiler::tile::{AxisKind, Const, DimId, Kernel, LaunchExpr, Op};

use super::inputs::launch;
use super::{Freeze, Settings, Subject, VerifyError};
use crate::launch::DimValues;
use crate::launch::dims::DimFacts;
use crate::launch::prepare::dims_of;
use crate::tensor::random::Stream;

/// One thing to verify; a seed decides it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Case {
    /// Also of the inputs, and of the order in which warps run.
    pub seed: u64,
    #[serde(serialize_with = "target_name")]
    pub target: Target,
    /// Type parameters, tune parameters and schedule items that are set, the user's first.
    pub sets: Vec<(String, String)>,
    /// Every dimension.
    pub dims: Vec<(String, i64)>,
    /// Whether they are compiled in.
    pub frozen: bool,
}

fn target_name<S: serde::Serializer>(target: &Target, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(target.name())
}

/// What compiling a case gives.
#[derive(Debug)]
pub enum Compilation {
    Done(Box<Compiled>),
    /// The schedule is not legal: why.
    Refused(String),
    /// The back end has no code for the program: why. The kernel is bound.
    NotLowered(Box<Kernel>, String),
    /// A verifier or pass of ours found itself wrong.
    Bug(String),
}

/// How often something is drawn again before the default is taken.
const DRAWS: usize = 24;

/// Draws of dimensions: promises may be rare to meet.
const DIM_DRAWS: usize = 400;

/// The most that the dimensions may come to when multiplied: multiply-adds of a contraction, roughly, or elements, each of which every level
/// computes one by one.
fn most_work(kernel: &Kernel) -> i64 {
    let multiplies = kernel.values.iter().any(|v| matches!(v.op, Op::Mma { .. }));
    if multiplies { 6 << 20 } else { 1 << 19 }
}

/// A stream of choices.
struct Choices {
    stream: Stream,
    next: u64,
}

impl Choices {
    /// Uniform in `lo..=hi`.
    fn int(&mut self, lo: i64, hi: i64) -> i64 {
        self.next += 1;
        self.stream.integer(self.next, lo, hi)
    }

    fn one_in(&mut self, n: i64) -> bool {
        self.int(1, n) == 1
    }

    fn of<'t, T>(&mut self, list: &'t [T]) -> Option<&'t T> {
        let last = list.len().checked_sub(1)?;
        list.get(self.int(0, last as i64) as usize)
    }
}

/// Draws the case of a seed.
pub fn random(subject: Subject<'_>, settings: &Settings, seed: u64) -> Result<Case, VerifyError> {
    let mut choices = Choices { stream: Stream::new(seed, "verify"), next: 0 };
    let targets = settings.targets.len().max(1) as u64;
    let target = settings.targets.get((seed % targets) as usize).copied().unwrap_or(Target::Sm80);
    let plain = Case { seed, target, sets: settings.sets.clone(), dims: Vec::new(), frozen: false };
    let case = schedule(subject, settings, plain, &mut choices)?;
    let kernel = bound(subject, settings, &case)?;
    let mut case = Case { dims: dimensions(&kernel, subject, settings, &case, &mut choices)?, ..case };
    case.frozen = match settings.freeze {
        Freeze::Always => true,
        Freeze::Never => false,
        Freeze::Random => choices.one_in(4),
    };
    if case.frozen && settings.freeze == Freeze::Random {
        // A dimension that is known may make a schedule illegal, or a program one that has no code yet.
        case.frozen =
            matches!(compile(subject, settings, &case)?, Compilation::Done(_) | Compilation::Bug(_));
    }
    Ok(case)
}

/// Types, tune parameters and schedule items: the first draw that the compiler accepts.
fn schedule(
    subject: Subject<'_>,
    settings: &Settings,
    plain: Case,
    choices: &mut Choices,
) -> Result<Case, VerifyError> {
    let mut base = plain;
    let types = elaborate::type_space(subject.program, subject.kernel, &elaboration(&base));
    let mut names: Vec<&String> = types.iter().map(|(n, _)| n).collect();
    names.dedup();
    for name in names {
        let values: Vec<&(String, String)> = types.iter().filter(|(n, _)| n == name).collect();
        // The default is one alternative more.
        let drawn = choices.int(-1, values.len() as i64 - 1);
        if let Some(pair) = usize::try_from(drawn).ok().and_then(|n| values.get(n)) {
            base.sets.push((*pair).clone());
        }
    }
    let (space, diagnostics) =
        elaborate::tune_space(subject.program, subject.kernel, &elaboration(&base), 1 << 14);
    if diagnostics.has_errors() {
        return Err(VerifyError::Program(diagnostics));
    }
    for _ in 0..DRAWS {
        let mut drawn = base.clone();
        if let Some(tuning) = choices.of(&space) {
            for (name, value) in tuning {
                if !drawn.sets.iter().any(|(set, _)| set == name) {
                    drawn.sets.push((name.clone(), value.to_string()));
                }
            }
        }
        let compiled = match compile(subject, settings, &drawn) {
            // A value that the program cannot have; where the defaults are no better, they say so.
            Err(VerifyError::Program(_)) => continue,
            other => other?,
        };
        match compiled {
            Compilation::Refused(_) => {}
            Compilation::NotLowered(..) | Compilation::Bug(_) => return Ok(drawn),
            Compilation::Done(compiled) => {
                return items(subject, settings, drawn, &compiled, choices);
            }
        }
    }
    Ok(base)
}

/// Schedule items that nobody set, each at its own value or another.
fn items(
    subject: Subject<'_>,
    settings: &Settings,
    case: Case,
    compiled: &Compiled,
    choices: &mut Choices,
) -> Result<Case, VerifyError> {
    let open: Vec<(String, Vec<String>)> = compiled
        .meta
        .schedule
        .iter()
        .filter(|item| !matches!(item.chosen_by, ChosenBy::Set | ChosenBy::Schedule))
        .map(|item| (item.path.clone(), alternatives(&item.path, &item.value)))
        .collect();
    for _ in 0..DRAWS {
        let mut drawn = case.clone();
        for (path, values) in &open {
            if !choices.one_in(3)
                && let Some(value) = choices.of(values)
            {
                drawn.sets.push((path.clone(), value.clone()));
            }
        }
        if !matches!(compile(subject, settings, &drawn)?, Compilation::Refused(_)) {
            return Ok(drawn);
        }
    }
    Ok(case)
}

/// The elaboration settings of a case.
pub fn elaboration(case: &Case) -> Elaboration {
    Elaboration {
        sets: case.sets.clone(),
        dims: if case.frozen { case.dims.clone() } else { Vec::new() },
        likely_dims: case.dims.clone(),
        target: Some(case.target.name().into()),
        ..Elaboration::default()
    }
}

/// Compiles a case, keeping the scheduled level.
pub fn compile(subject: Subject<'_>, settings: &Settings, case: &Case) -> Result<Compilation, VerifyError> {
    let options = Options {
        kernel: Some(subject.kernel.into()),
        settings: elaboration(case),
        levels: true,
        verify: settings.verify_ir,
        fault: settings.fault,
        ..Options::new(case.target)
    };
    match compile_program(subject.sources, subject.program, subject.root, &options, Timer::default()) {
        Ok(compiled) => Ok(Compilation::Done(Box::new(compiled))),
        Err(diagnostics) => {
            let Some(error) = diagnostics.iter().next().cloned() else {
                return Ok(Compilation::Bug("a compilation failed without a reason".into()));
            };
            if error.code == codes::NOT_LOWERED {
                let kernel = bound(subject, settings, case)?;
                Ok(Compilation::NotLowered(Box::new(kernel), error.message))
            } else if error.code == codes::IMPOSSIBLE_SCHEDULE {
                // What the user fixed cannot be drawn again.
                if case.sets.len() <= settings.sets.len() && !case.frozen {
                    return Err(VerifyError::Program(diagnostics));
                }
                Ok(Compilation::Refused(error.message))
            } else if error.code == codes::INTERNAL {
                Ok(Compilation::Bug(error.message))
            } else {
                Err(VerifyError::Program(diagnostics))
            }
        }
    }
}

fn bound(subject: Subject<'_>, _: &Settings, case: &Case) -> Result<Kernel, VerifyError> {
    model::elaborate(subject.program, subject.kernel, elaboration(case), case.target)
        .map_err(VerifyError::Program)
}

/// Dimensions that the kernel's promises allow.
fn dimensions(
    kernel: &Kernel,
    subject: Subject<'_>,
    settings: &Settings,
    case: &Case,
    choices: &mut Choices,
) -> Result<Vec<(String, i64)>, VerifyError> {
    for (name, _) in &settings.dims {
        if !kernel.dims.iter().any(|d| d.name == *name) {
            let known: Vec<&str> = kernel.dims.iter().map(|d| d.name.as_str()).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            let message = format!("{} has no dimension {name:?}; its dimensions are {known}", kernel.name);
            return Err(VerifyError::Input(message));
        }
    }
    let tiles: Vec<Tiles> = (0..kernel.dims.len()).map(|d| Tiles::of(kernel, DimId(d as u32))).collect();
    // Rows of one alignment, so that each variant is one that a launch would take.
    let unit = [8, 8, 8, 2, 1, 1][choices.int(0, 5) as usize];
    let mut why = String::new();
    for draw in 0..DIM_DRAWS {
        let mut dims: Vec<(String, i64)> = Vec::new();
        for (dim, tiles) in kernel.dims.iter().zip(&tiles) {
            let given = settings.dims.iter().find(|(n, _)| *n == dim.name).map(|(_, v)| *v);
            let usual = subject.usual_dims.iter().find(|(n, _)| *n == dim.name).map(|(_, v)| *v);
            let value = match (given.or(dim.frozen), usual) {
                (Some(value), _) => value,
                // Where drawing does not meet the promises, the author's own dimensions do.
                (None, Some(value)) if draw + 1 == DIM_DRAWS => value,
                (None, Some(value)) if draw > DIM_DRAWS / 2 && choices.one_in(2) => value,
                // An equation among the promises may give it.
                _ if draw % 2 == 1 && choices.one_in(3) => continue,
                _ if tiles.rows => next_multiple(tiles.draw(choices), unit),
                _ => tiles.draw(choices),
            };
            dims.push((dim.name.clone(), value));
        }
        if draw + 1 < DIM_DRAWS {
            limit(&mut dims, settings, kernel);
        }
        // What the author calls usual may be more.
        let most = most_work(kernel) * if draw + 1 < DIM_DRAWS { 2 } else { 64 };
        match complete(kernel, case, dims, most) {
            Ok(dims) => return Ok(dims),
            Err(error) => why = error,
        }
    }
    let message = format!("no dimensions were found that keep the promises of {}: {why}", kernel.name);
    Err(VerifyError::Input(message))
}

/// All dimensions, if a launch with those given is possible; cheap checks first.
fn complete(
    kernel: &Kernel,
    case: &Case,
    given: Vec<(String, i64)>,
    most: i64,
) -> Result<Vec<(String, i64)>, String> {
    let outside = DimValues { given, directive: Vec::new(), fill: true };
    let bound = dims_of(kernel, &[], &outside).map_err(|e| e.to_string())?;
    let scalars = vec![None; kernel.scalars.len()];
    let facts = DimFacts { dims: &bound, scalars: &scalars };
    if let Some(broken) = kernel.promises.iter().find(|p| p.expr.eval(&facts) == Some(Const::Bool(false))) {
        return Err(format!("{} must hold", broken.text));
    }
    let all: Vec<(String, i64)> =
        kernel.dims.iter().zip(bound.values()).map(|(d, v)| (d.name.clone(), v)).collect();
    if work(&all) > most {
        return Err("the launch would be too large".into());
    }
    launch(kernel, &Case { dims: all.clone(), ..case.clone() }).map_err(|e| e.to_string())?;
    Ok(all)
}

fn next_multiple(n: i64, of: i64) -> i64 {
    (n + of - 1) / of * of
}

fn work(dims: &[(String, i64)]) -> i64 {
    dims.iter().fold(1i64, |work, (_, v)| work.saturating_mul((*v).max(1)))
}

/// Halves the greatest of the dimensions that are free until the launch is small.
fn limit(dims: &mut [(String, i64)], settings: &Settings, kernel: &Kernel) {
    while work(dims) > most_work(kernel) {
        let fixed = |n: &str| {
            settings.dims.iter().any(|(g, _)| g == n)
                || kernel.dims.iter().any(|d| d.name == n && d.frozen.is_some())
        };
        let greatest = dims.iter_mut().filter(|(n, _)| !fixed(n)).max_by_key(|(_, v)| *v);
        match greatest {
            // Multiples of eight stay such.
            Some((_, v)) if *v > 16 && *v % 8 == 0 => *v = *v / 16 * 8,
            Some((_, v)) if *v > 1 => *v /= 2,
            _ => return,
        }
    }
}

/// The tiles in which a dimension is walked.
struct Tiles {
    /// The greatest of them; 1 where single coordinates, or nothing, run over it.
    extent: i64,
    /// Whether a loop does.
    looped: bool,
    /// Whether it is the length of a tensor's rows.
    rows: bool,
}

impl Tiles {
    fn of(kernel: &Kernel, dim: DimId) -> Tiles {
        let over = |v| matches!(kernel.value(v).op, Op::Dim(d) if d == dim);
        let axes = kernel.axes.iter().filter(|a| over(a.hi));
        let length = |e: &LaunchExpr| matches!(e, LaunchExpr::Dim(d) if *d == dim);
        let rows = kernel.tensors.iter().any(|t| t.shape.last().is_some_and(|e| length(&e.extent)));
        let mut tiles = Tiles { extent: 1, looped: false, rows };
        for axis in axes {
            tiles.extent = tiles.extent.max(axis.extent.into());
            tiles.looped |= matches!(axis.kind, AxisKind::Loop(_));
        }
        tiles
    }

    fn draw(&self, choices: &mut Choices) -> i64 {
        let e = self.extent;
        if e == 1 {
            return match choices.int(0, 15) {
                0 => 0,
                1..=4 => 1,
                _ => choices.int(1, 6),
            };
        }
        match choices.int(0, 19) {
            0 => 0,
            1 => 1,
            2 => e - 1,
            3 => e,
            4 => e + 1,
            5..=8 => 8 * choices.int(1, (2 * e / 8).max(1)),
            9 | 10 => 2 * choices.int(1, e),
            11..=13 if self.looped => 8 * choices.int(1, (9 * e / 8).max(1)),
            16..=18 => e * choices.int(1, if self.looped { 8 } else { 2 }),
            14 if self.looped => choices.int(3 * e, 9 * e),
            _ => choices.int(1, 2 * e + e / 4),
        }
    }
}
