//! The driver: runs the passes of [`crate::passes`] in order.

use crate::artifact::{
    Compiled, Dumps, Guard, LaunchPlan, Levels, Meta, ScheduleItem, VariantMeta, Workspace,
};
use crate::diagnostics::{Diagnostic, Diagnostics, SourceMap, Span, codes};
use crate::elaborate::{self, Settings};
use crate::fault::{Fault, Plant};
use crate::front::{self, Program, SourceProvider};
use crate::passes::{Pass, Timer};
use crate::plan::{self, Refusal, RefusalKind};
use crate::scheduled::{self, ir::Dispatch, ir::Module};
use crate::target::Target;
use crate::tile::ir as t1;
use crate::{parallel, ptx, warp};
use std::fmt::Write;

/// What to compile, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The kernel or instance; without it the one that [`default_kernel`] finds.
    pub kernel: Option<String>,
    pub target: Target,
    /// `--set`, `--dim` and what is known of the launch. Its `target` is filled in from here.
    pub settings: Settings,
    /// Keep every level as text.
    pub dumps: bool,
    /// Run the verifiers after each pass; a violation is a compiler bug and reported as such.
    pub verify: bool,
    /// Keep the scheduled level in its forms, for [`crate::scheduled::eval`].
    pub levels: bool,
    /// How registers are judged; only calibration asks for [`plan::Registers::Unjudged`].
    #[doc(hidden)]
    pub registers: plan::Registers,
    /// Get one thing wrong on purpose: how tests try whether it is found.
    #[doc(hidden)]
    pub fault: Option<Fault>,
}

impl Options {
    pub fn new(target: Target) -> Options {
        Options {
            kernel: None,
            target,
            settings: Settings::default(),
            dumps: false,
            verify: cfg!(debug_assertions),
            levels: false,
            registers: plan::Registers::Calibrated,
            fault: None,
        }
    }
}

/// Compiles one kernel of `root`. With errors, the diagnostics say why; files read are added to `sources` for rendering.
pub fn compile(
    sources: &mut SourceMap,
    provider: &dyn SourceProvider,
    root: &str,
    options: &Options,
) -> Result<Compiled, Diagnostics> {
    let mut timer = Timer::default();
    let (program, diagnostics) = timer.time(Pass::Load, || front::load(sources, provider, root));
    if diagnostics.has_errors() {
        return Err(diagnostics);
    }
    compile_program(sources, &program, root, options, timer)
}

/// The kernel that a command means without `--kernel`: the one named like the file, else the only one.
pub fn default_kernel(program: &Program, root: &str) -> Result<String, Diagnostics> {
    let names = elaborate::kernel_names(program);
    let stem = root.rsplit(['/', '\\']).next().unwrap_or(root).trim_end_matches(".tw");
    if let Some(name) = names.iter().find(|n| *n == stem) {
        return Ok(name.clone());
    }
    match &names[..] {
        [one] => Ok(one.clone()),
        [] => Err(one_error(
            Diagnostic::error(codes::NO_KERNEL, format!("{root} has no kernel"))
                .label(Span::new(program.root, 0, 0), "nothing in this file starts with `kernel`"),
        )),
        many => {
            let d = Diagnostic::error(
                codes::NO_KERNEL,
                format!("{root} has {} kernels and none is named `{stem}`", many.len()),
            );
            let place = |name: &String| match program.kernel_named(name) {
                Some(k) => Some(program.kernel(k).name.span),
                None => program.instance_named(name).map(|i| program.instance(i).name.span),
            };
            let mut places = many.iter().filter_map(place);
            let d = match places.next() {
                Some(first) => places.fold(d.label(first, "one"), |d, at| d.secondary(at, "another")),
                None => d,
            };
            Err(one_error(d.help(format!("choose one with --kernel: {}", many.join(", ")))))
        }
    }
}

fn one_error(d: Diagnostic) -> Diagnostics {
    let mut all = Diagnostics::default();
    all.push(d);
    all
}

/// Compiles one kernel of a program that is loaded.
pub fn compile_program(
    sources: &SourceMap,
    program: &Program,
    root: &str,
    options: &Options,
    mut timer: Timer,
) -> Result<Compiled, Diagnostics> {
    let name = match &options.kernel {
        Some(name) => name.clone(),
        None => default_kernel(program, root)?,
    };
    let mut settings = options.settings.clone();
    settings.target = Some(options.target.name().into());
    let kernel =
        timer.time(Pass::Elaborate, || plan::model::elaborate(program, &name, settings, options.target))?;
    let refused = |r: Refusal| one_error(refusal(r, &kernel));

    let mut plant = Plant::new(options.fault);
    let mut started = timer.time(Pass::Plan, || plan::simplify::apply(&kernel, options.target));
    plant.tile(&kernel, &mut started);
    let started = &*started;
    let cut = timer.time(Pass::Plan, || plan::split::apply(started)).map_err(refused)?;
    let (lowered_kernel, split, stream) = match cut {
        Some(cut) => (cut.kernel, Some(cut.item), cut.stream),
        None => (started.clone(), None, None),
    };
    // The reduction over the grid is not the author's, but what the split came to.
    let parts =
        split.as_ref().filter(|item| item.value != "1").map(|item| (item.path.clone(), item.value.clone()));
    let refused = |r: Refusal| match (&parts, r.kind) {
        (Some((path, value)), RefusalKind::NotLowered) => refused(Refusal {
            help: Some(format!(
                "without `{path} = {value}`, which cuts the loop into a reduction over the grid, it may be"
            )),
            ..r
        }),
        _ => refused(r),
    };
    let mut planned = timer
        .time(Pass::Plan, || plan::plan(&lowered_kernel, stream, options.target, options.registers))
        .map_err(refused)?;
    // Loops that are not the author's have nothing to pin.
    planned.schedule.retain(|i| i.path.split_once('.').is_none_or(|(head, _)| named(&kernel, head)));
    if let Some(item) = split {
        planned.schedule.retain(|i| i.path != item.path);
        planned.schedule.push(item);
    }
    plant.scheduled(Pass::Plan, &lowered_kernel, &mut planned.modules);
    check(options, "plan", &planned.modules)?;
    // What has been passed on is kept only where somebody will look at it.
    let fused = if options.dumps || options.levels { planned.modules.clone() } else { Vec::new() };
    let mut expanded: Vec<Module> =
        timer.time(Pass::Expand, || planned.modules.into_iter().map(scheduled::expand::expand).collect());
    plant.scheduled(Pass::Expand, &lowered_kernel, &mut expanded);
    check(options, "expand", &expanded)?;
    let kept = if options.levels { expanded.clone() } else { Vec::new() };
    let mut synced = timer
        .time(Pass::Synchronise, || {
            let synced = parallel::each(expanded, scheduled::synchronise::synchronise);
            synced.into_iter().collect::<Result<Vec<Module>, _>>()
        })
        .map_err(|e| one_error(bug(format!("synchronisation: {e}"))))?;
    plant.scheduled(Pass::Synchronise, &lowered_kernel, &mut synced);
    let mut lowered = timer
        .time(Pass::Lower, || {
            let lowered = parallel::each(synced.iter().collect(), |m: &Module| {
                warp::lower::lower(&lowered_kernel, m, &format!("{}_{}", kernel.name, m.variant.name()))
            });
            lowered.into_iter().collect::<Result<Vec<_>, _>>()
        })
        .map_err(refused)?;
    lowered.iter_mut().for_each(|l| plant.warp(&mut l.kernel));
    let mut module = timer.time(Pass::Select, || {
        let entries: Vec<&warp::ir::Kernel> = lowered.iter().map(|l| &l.kernel).collect();
        ptx::select::select(&entries, options.target, sources)
    });
    plant.ptx(&mut module);
    let mut text = timer.time(Pass::Print, || ptx::print(&module));
    plant.text(&mut text);

    let mut dumps = Dumps::default();
    if options.dumps {
        dumps.tile = crate::tile::print::print(&kernel);
        for m in fused.iter().chain(&synced) {
            dumps.scheduled += &scheduled::print::print(m, &lowered_kernel);
            dumps.scheduled.push('\n');
        }
        for l in &lowered {
            let _ = writeln!(dumps.warp, "{}", warp::print::print(&l.kernel));
        }
    }
    let levels = match options.levels {
        true => fused
            .into_iter()
            .zip(kept)
            .zip(synced.iter().cloned())
            .map(|((fused, expanded), ordered)| Levels { fused, expanded, ordered })
            .collect(),
        false => Vec::new(),
    };
    // Variants differ in how they reach memory, not in what instances hand over: the largest part serves all.
    let part_bytes = synced.iter().map(Module::work_bytes).max().unwrap_or(0);
    let counts = |m: &Module| m.dispatch == Dispatch::Drawn;
    let workspace = (part_bytes > 0 || synced.iter().any(counts)).then_some(Workspace { part_bytes });
    // Every variant reads the same memory.
    let mut packed = synced.first().map_or(Vec::new(), |m| m.packed.clone());
    plant.recipes(&mut packed);
    let variants = synced.iter().zip(lowered).map(|(m, l)| variant(&kernel, m, l)).collect();
    let meta = Meta {
        kernel: kernel.name.clone(),
        target: options.target,
        parameters: bound(&kernel, false),
        schedule: bound(&kernel, true).into_iter().chain(planned.schedule).collect(),
        launches: vec![LaunchPlan { workspace, packed, variants }],
    };
    let (timings, places) = (timer.finish(), plant.places);
    Ok(Compiled {
        kernel,
        scheduled: lowered_kernel,
        target: options.target,
        ptx: text,
        module,
        meta,
        dumps,
        timings,
        levels,
        places,
    })
}

/// Whether a loop, value or tensor of the kernel has this name.
fn named(kernel: &t1::Kernel, name: &str) -> bool {
    kernel.loops.iter().any(|l| l.name == name)
        || kernel.tensors.iter().any(|t| t.name == name)
        || kernel.values.iter().any(|v| v.name.as_deref() == Some(name))
}

fn check(options: &Options, pass: &str, modules: &[Module]) -> Result<(), Diagnostics> {
    if !options.verify {
        return Ok(());
    }
    for m in modules {
        let errors = scheduled::verify::verify(m);
        if !errors.is_empty() {
            return Err(one_error(bug(format!(
                "after {pass}, variant {}: {}",
                m.variant.name(),
                errors.join("; ")
            ))));
        }
    }
    Ok(())
}

/// A diagnostic that says that the fault is the compiler's.
fn bug(what: String) -> Diagnostic {
    Diagnostic::error(codes::INTERNAL, format!("the compiler broke one of its own rules: {what}"))
        .note("this is a bug of the compiler, not of the program; please report it with the file and the command line")
}

fn refusal(r: Refusal, kernel: &t1::Kernel) -> Diagnostic {
    let code = match r.kind {
        RefusalKind::NotLowered => codes::NOT_LOWERED,
        RefusalKind::Schedule => codes::IMPOSSIBLE_SCHEDULE,
    };
    let span = if r.span == crate::diagnostics::Span::default() { kernel.span } else { r.span };
    let mut d = Diagnostic::error(code, r.message).label(span, r.label);
    for note in r.notes {
        d = d.note(note);
    }
    match r.help {
        Some(help) => d.help(help),
        None => d,
    }
}

/// The values of generics and functions, or of tune parameters.
fn bound(kernel: &t1::Kernel, tune: bool) -> Vec<ScheduleItem> {
    let wanted = kernel.binding.iter().filter(|b| (b.kind == t1::BoundKind::Tune) == tune);
    wanted
        .map(|b| ScheduleItem {
            path: b.name.clone(),
            value: match &b.value {
                t1::BoundValue::Type(t) => t.to_string(),
                t1::BoundValue::Int(i) => i.to_string(),
                t1::BoundValue::Bool(b) => b.to_string(),
                t1::BoundValue::Float(f) => f.to_string(),
                t1::BoundValue::Function(f) => f.clone(),
            },
            chosen_by: plan::knobs::chosen_by(b.from),
        })
        .collect()
}

fn variant(kernel: &t1::Kernel, m: &Module, l: warp::lower::Lowered) -> VariantMeta {
    let guards = kernel
        .params
        .iter()
        .filter_map(|p| match p {
            // Packed memory is the compiler's own.
            t1::Param::Tensor(t) if m.recipe(*t).is_some() => None,
            t1::Param::Tensor(t) => {
                let bytes = scheduled::accesses::widest(m, kernel, *t);
                Some(Guard { tensor: *t, bytes })
            }
            t1::Param::Scalar(_) => None,
        })
        .collect();
    VariantMeta {
        name: m.variant.name(),
        guards,
        entry: l.kernel.entry.clone(),
        grid: l.grid,
        block: [l.kernel.threads, 1, 1],
        cluster: [1, 1, 1],
        shared_bytes: l.kernel.shared_bytes,
        params: l.params,
        sync: scheduled::ir::sync_ops(&m.body),
    }
}
