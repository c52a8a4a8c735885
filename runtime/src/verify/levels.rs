//! Running a case: its meaning, the three forms of the scheduled level, and the PTX.

use serde::Serialize;
use tilewright_compiler::artifact::{Compiled, LaunchPlan};
use tilewright_compiler::diagnostics::Diagnostics;
use tilewright_compiler::scheduled::eval::{self as scheduled, Stop};
use tilewright_compiler::scheduled::ir::Module;
use tilewright_compiler::tile::eval::{EvalErrorKind, Inputs, Mode, Outputs, Values};
use tilewright_compiler::tile::{Kernel, TensorKind};

use super::case::{self, Case, Compilation};
use super::{Settings, Subject, VerifyError};
use crate::executor::Options;
use crate::launch::meaning::inputs;
use crate::launch::on_cpu::{CpuError, run_on_cpu};
use crate::launch::{Meaning, Prepared, Verdict, choose};
use crate::tensor::HostTensor;
use crate::tensor::random::Stream;

/// A level that is compared with the meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The compiler's own verifiers and proofs.
    Compiler,
    Fused,
    Expanded,
    Ordered,
    Ptx,
}

impl Level {
    pub const ALL: [Level; 5] = [Level::Compiler, Level::Fused, Level::Expanded, Level::Ordered, Level::Ptx];

    /// As reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Compiler => "compiler",
            Level::Fused => "scheduled, fused",
            Level::Expanded => "scheduled, expanded",
            Level::Ordered => "scheduled, with synchronisation",
            Level::Ptx => "PTX",
        }
    }
}

/// How a level is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    pub level: Level,
    pub variant: Option<String>,
    /// One sentence.
    pub message: String,
    /// Everything that was found, in order.
    pub details: Vec<String>,
}

/// What running a case gave.
#[derive(Debug)]
pub struct Ran {
    /// The variant that ran; `None` where nothing did.
    pub variant: Option<String>,
    /// Levels that were compared: `None` for agreement, else why one did not run.
    pub levels: Vec<(Level, Option<String>)>,
    /// Outputs that are compared otherwise than element by element, or not at all.
    pub remarks: Vec<String>,
    pub failure: Option<Failure>,
    /// What was compiled and launched, for a reproducer.
    pub compiled: Option<Box<Compiled>>,
    /// As it was before anything ran.
    pub prepared: Option<Box<Prepared>>,
}

impl Ran {
    fn empty() -> Ran {
        Ran {
            variant: None,
            levels: Vec::new(),
            remarks: Vec::new(),
            failure: None,
            compiled: None,
            prepared: None,
        }
    }
}

/// Runs a case through every level until one is wrong.
///
/// # Errors
/// [`VerifyError`], where the program itself is at fault.
pub fn run(subject: Subject<'_>, settings: &Settings, case: &Case) -> Result<Ran, VerifyError> {
    let mut ran = Ran::empty();
    let compiled = match case::compile(subject, settings, case)? {
        Compilation::Done(compiled) => compiled,
        Compilation::NotLowered(kernel, why) => {
            // The program still has to have a meaning.
            meaning(&kernel, &launch(&kernel, case)?)?;
            for level in Level::ALL {
                ran.levels.push((level, Some(why.clone())));
            }
            return Ok(ran);
        }
        Compilation::Refused(why) => return Err(VerifyError::Input(why)),
        Compilation::Bug(message) => {
            ran.failure = Some(Failure {
                level: Level::Compiler,
                variant: None,
                details: vec![message.clone()],
                message,
            });
            return Ok(ran);
        }
    };
    ran.levels.push((Level::Compiler, None));
    let prepared = launch(&compiled.kernel, case)?;
    let meaning = meaning(&compiled.kernel, &prepared)?;
    let remarks = meaning.remarks(&compiled.kernel).into_iter();
    ran.remarks = remarks.map(|(name, remark)| format!("{name}: {remark}")).collect();
    ran.prepared = Some(Box::new(prepared.clone()));
    let compiled = one_variant(compiled, &prepared, case)?;
    let plan = compiled.meta.launches.first();
    ran.variant = plan.and_then(|plan| plan.variants.first()).map(|v| v.name.to_string());
    if let Some((level, details)) = compare(&compiled, prepared, (settings, case), &meaning, &mut ran)? {
        ran.failure = Some(failure(level, ran.variant.clone(), details));
    }
    ran.compiled = Some(compiled);
    Ok(ran)
}

/// Level after level until one is wrong: that one, and how.
fn compare(
    compiled: &Compiled,
    prepared: Prepared,
    (settings, case): (&Settings, &Case),
    meaning: &Meaning,
    ran: &mut Ran,
) -> Result<Option<(Level, Vec<String>)>, VerifyError> {
    let given = inputs(&compiled.kernel, &prepared);
    if let Some(scheduled) = compiled.levels.first() {
        let forms = [
            (Level::Fused, &scheduled.fused, false),
            (Level::Expanded, &scheduled.expanded, false),
            (Level::Ordered, &scheduled.ordered, true),
        ];
        for (level, module, ordered) in forms {
            match form(&compiled.scheduled, module, &given, ordered, meaning, &prepared)? {
                Form::Agrees => ran.levels.push((level, None)),
                Form::NotRun(why) => ran.levels.push((level, Some(why))),
                Form::Wrong(details) => return Ok(Some((level, details))),
            }
        }
    }
    let options = Options {
        sanitize: true,
        strict: true,
        lazy: true,
        seed: case.seed,
        timeout: Some(settings.patience),
        ..Options::default()
    };
    let details = ptx(compiled, prepared, &options, meaning, &mut ran.remarks)?;
    if !details.is_empty() {
        return Ok(Some((Level::Ptx, details)));
    }
    ran.levels.push((Level::Ptx, None));
    Ok(None)
}

fn failure(level: Level, variant: Option<String>, details: Vec<String>) -> Failure {
    Failure { level, variant, message: details.first().cloned().unwrap_or_default(), details }
}

fn launch(kernel: &Kernel, case: &Case) -> Result<Prepared, VerifyError> {
    let mut prepared = super::inputs::launch(kernel, case).map_err(|e| VerifyError::Input(e.to_string()))?;
    // So few that blocks go on to other tiles, and as many as a GPU has.
    let sms = [1, 2, 3, 7, 108];
    let draw = Stream::new(case.seed, "sms").integer(0, 0, sms.len() as i64 - 1) as usize;
    prepared.sms = sms.get(draw).copied();
    Ok(prepared)
}

fn meaning(kernel: &Kernel, prepared: &Prepared) -> Result<Meaning, VerifyError> {
    Meaning::of(kernel, prepared).map_err(|e| match e.kind {
        EvalErrorKind::Fault => {
            let mut all = Diagnostics::default();
            all.push(e.diagnostic());
            VerifyError::Program(all)
        }
        EvalErrorKind::Input => VerifyError::Input(e.to_string()),
        EvalErrorKind::Internal => VerifyError::Bug(e.to_string()),
    })
}

/// The compiled kernel with only one of the variants that may run on these arguments: the seed chooses, so that the
/// narrow ones get their share where the wide one could run.
fn one_variant(
    mut compiled: Box<Compiled>,
    prepared: &Prepared,
    case: &Case,
) -> Result<Box<Compiled>, VerifyError> {
    let Some(plan) = compiled.meta.launches.first() else { return Ok(compiled) };
    let fits = |n: &usize| {
        let alone = LaunchPlan { variants: vec![plan.variants[*n].clone()], ..plan.clone() };
        choose(&compiled.kernel, &alone, &prepared.bound, prepared.sms(compiled.target)).is_ok()
    };
    let fitting: Vec<usize> = (0..plan.variants.len()).filter(fits).collect();
    if fitting.is_empty() || compiled.meta.launches.len() > 1 {
        return Ok(compiled);
    }
    // Half of the cases take the variant that a launch would.
    let draw = Stream::new(case.seed, "variant").integer(0, 0, 2 * fitting.len() as i64 - 1) as usize;
    let chosen = fitting.get(draw).copied().unwrap_or(fitting[0]);
    let plan = &mut compiled.meta.launches[0];
    plan.variants = vec![plan.variants[chosen].clone()];
    if let Some(levels) = compiled.levels.get(chosen).cloned() {
        compiled.levels = vec![levels];
    }
    Ok(compiled)
}

enum Form {
    Agrees,
    NotRun(String),
    Wrong(Vec<String>),
}

/// Runs one form of the scheduled level and compares.
fn form(
    kernel: &Kernel,
    module: &Module,
    given: &Inputs,
    ordered: bool,
    meaning: &Meaning,
    prepared: &Prepared,
) -> Result<Form, VerifyError> {
    let outcome = match scheduled::run(kernel, module, given, Mode::Exact, ordered) {
        Ok(outcome) => outcome,
        Err(stop @ Stop::NotInterpreted(_)) => return Ok(Form::NotRun(stop.to_string())),
        // The meaning was found with the same inputs, so the module is at fault.
        Err(stop @ Stop::Eval(_)) => return Ok(Form::Wrong(vec![stop.to_string()])),
    };
    let mut details: Vec<String> = outcome.findings.into_iter().map(|f| f.message).collect();
    let tensors = tensors(kernel, &outcome.outputs, prepared)?;
    details.extend(mismatches(&meaning.judge(kernel, &tensors)));
    Ok(if details.is_empty() { Form::Agrees } else { Form::Wrong(details) })
}

/// What an interpretation wrote, as a launch leaves it; an element of an `out` tensor that was not written is a NaN or all ones.
fn tensors(kernel: &Kernel, outputs: &Outputs, prepared: &Prepared) -> Result<Vec<HostTensor>, VerifyError> {
    let mut tensors = prepared.tensors.clone();
    for (at, output) in outputs.tensors.iter().enumerate() {
        let Some(output) = output else { continue };
        let tensor = &kernel.tensors[at];
        let poison = tensor.kind == TensorKind::Out;
        let made = match &output.values {
            Values::Float(x) => {
                let kept = x.iter().zip(&output.written);
                let values: Vec<f64> = kept.map(|(v, w)| if poison && !w { f64::NAN } else { *v }).collect();
                HostTensor::from_f64(tensor.elem, &output.shape, &values)
            }
            Values::Int(x) => {
                let kept = x.iter().zip(&output.written);
                let values: Vec<i64> = kept.map(|(v, w)| if poison && !w { -1 } else { *v }).collect();
                HostTensor::from_i64(tensor.elem, &output.shape, &values)
            }
        };
        tensors[at] = made.map_err(|e| VerifyError::Input(e.to_string()))?;
    }
    Ok(tensors)
}

fn mismatches(verdicts: &[Verdict]) -> Vec<String> {
    let wrong = verdicts.iter().filter(|v| !v.comparison.ok);
    wrong
        .map(|v| {
            let c = &v.comparison;
            let worst = c.worst.map(|w| {
                let index: Vec<String> = crate::tensor::convert::position(w.at, &v.shape)
                    .iter()
                    .map(ToString::to_string)
                    .collect();
                format!(", worst at [{}]: {} where {} is right", index.join(", "), w.got, w.want)
            });
            format!(
                "{}: {} of {} elements are wrong (error {:.3e}, allowed {:.3e}){}",
                v.name,
                c.wrong,
                c.count,
                c.max_error,
                c.bound,
                worst.unwrap_or_default()
            )
        })
        .collect()
}

/// Runs the PTX with everything checked and compares; gives what is wrong.
fn ptx(
    compiled: &Compiled,
    mut prepared: Prepared,
    options: &Options,
    meaning: &Meaning,
    remarks: &mut Vec<String>,
) -> Result<Vec<String>, VerifyError> {
    let run = match run_on_cpu(compiled, &mut prepared, options) {
        Ok(run) => run,
        Err(CpuError::Launch(error)) => return Err(VerifyError::Input(error.to_string())),
        // The PTX is ours.
        Err(error @ (CpuError::Exec { .. } | CpuError::Counter { .. })) => {
            return Ok(vec![error.to_string()]);
        }
    };
    let mut details: Vec<String> = run.findings.iter().map(ToString::to_string).collect();
    let verdicts = meaning.judge(&compiled.kernel, &prepared.tensors);
    details.extend(mismatches(&verdicts));
    remarks.extend(verdicts.iter().filter_map(Verdict::overflow_remark));
    Ok(details)
}
