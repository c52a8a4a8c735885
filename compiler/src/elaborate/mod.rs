//! Elaboration: from a resolved syntax tree to T1, one bound instance of one kernel.
//!
//! ```text
//! Program ── bind (generics, schedule, tune) ── header (dimensions, parameters, promises) ── body ── writes, tidy ── tile::Kernel
//! ```
//!
//! [`elaborate`] binds every generic and tune parameter ([`Settings`] say how), decides static `if`s, inlines functions (their `using`
//! captures become parameters), and gives every expression its type and axes. [`check`] does so for every kernel and instance of a
//! program and for each alternative of its type parameters. [`tune_space`] lists the legal combinations of tune parameters.
//!
//! Worked example: in `acc += a[i, k] @ b[j, k].T` the subscripts `i`, `k` are ranges, so `a[i, k]` is a read of type `f16[i, k]`; `.T`
//! reorders `f16[j, k]` to `f16[k, j]`; `@` contracts `k`, the last axis on its left and the first on its right, into `f32[i, j]`; these
//! are `acc`'s own axes, so the sum is elementwise, and as the loop reads `acc` nowhere else it is a declared reduction.
//!
//! Invariants:
//! - elaboration never panics and goes on after an error: what an error leaves is poison, and poison is silent;
//! - what it returns satisfies [`tile::verify`](crate::tile::verify::verify); with errors it returns no kernel;
//! - the result is a function of the program and the settings alone.

mod arith;
mod assign;
mod bind;
mod builder;
mod calls;
mod captures;
mod control;
mod domain;
mod errors;
mod expr;
mod header;
mod matmul;
mod promises;
mod reduce;
mod scan_names;
mod schedule;
mod stmt;
mod straighten;
mod subscript;
mod tidy;

pub(crate) use tidy::renamed;
mod tune;
mod value;
mod writes;

use crate::diagnostics::{Diagnostic, Diagnostics, Span, codes, near_help};
use crate::front::ast::Symbol;
use crate::front::{ConstId, InstanceId, KernelId, Program};
use crate::tile::*;
use rustc_hash::{FxHashMap, FxHashSet};
use value::{Binding, GenericFn, MutVar, Val};

/// What decides the values of generics, tune parameters and dimensions.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `--set NAME=VALUE`: generics, functions, tune parameters and schedule paths.
    pub sets: Vec<(String, String)>,
    /// `--dim M=512`: frozen dimensions.
    pub dims: Vec<(String, i64)>,
    /// Dimensions that this launch is likely to have: they choose among schedules by `when`, and freeze nothing.
    pub likely_dims: Vec<(String, i64)>,
    /// `sm_90a`; schedules for other targets are left out.
    pub target: Option<String>,
    /// What the tuning cache or the model chose for tune parameters; weaker than `sets` and schedules.
    pub model: Vec<(String, BoundValue)>,
    /// What is known of the arguments; they imply generics that nothing sets.
    pub arguments: Vec<Argument>,
}

/// What is known of one argument.
#[derive(Clone, Debug, Default)]
pub struct Argument {
    pub name: String,
    pub elem: Option<ElemType>,
    pub shape: Option<Vec<i64>>,
    /// Where it is from, for messages: a file.
    pub origin: Option<String>,
}

/// The kernel of that name (or instance of a kernel), bound. `None` exactly if there are errors.
pub fn elaborate(program: &Program, name: &str, settings: &Settings) -> (Option<Kernel>, Diagnostics) {
    let Some(target) = Target::named(program, name) else {
        let names = kernel_names(program);
        let mut d = Diagnostic::error(codes::UNKNOWN_NAME, format!("there is no kernel `{name}`"));
        if !names.is_empty() {
            d = d.note(format!("kernels here: {}", names.join(", ")));
        }
        let d = near_help(d, Span::default(), name, names.iter().map(String::as_str));
        let mut diagnostics = Diagnostics::default();
        diagnostics.push(d);
        return (None, diagnostics);
    };
    let mut e = Elab::new(program, settings);
    e.run(&target);
    e.finish()
}

/// Every kernel and instance of the root file and what it imports, with default settings and with each alternative of each type
/// parameter in turn; and every constant, whether or not a kernel uses it. An error is reported once. `broken`: the front end has reported errors
/// already, so what they left behind is looked at, but makes no kernel.
pub fn check(program: &Program, broken: bool) -> Diagnostics {
    let mut all = Diagnostics::default();
    let mut seen = FxHashSet::default();
    let defaults = Settings::default();
    for name in kernel_names(program) {
        let Some(target) = Target::named(program, &name) else { continue };
        let mut e = Elab::new(program, &defaults);
        e.broken = broken;
        e.run(&target);
        let alternatives = e.type_alternatives(&target);
        let (kernel, diagnostics) = e.finish();
        let wrong = diagnostics.has_errors();
        take_new(&mut all, &mut seen, diagnostics);
        if let Some(kernel) = kernel {
            take_new(&mut all, &mut seen, crate::tile::swapped::warnings(&kernel));
        }
        if wrong {
            continue;
        }
        for (generic, value) in alternatives {
            let settings = Settings { sets: vec![(generic, value)], ..Settings::default() };
            let mut e = Elab::new(program, &settings);
            e.broken = broken;
            e.run(&target);
            take_new(&mut all, &mut seen, e.finish().1);
        }
    }
    let mut e = Elab::new(program, &defaults);
    for number in 0..program.consts.len() {
        e.file_const(ConstId(number as u32));
    }
    take_new(&mut all, &mut seen, e.diags);
    all.sort();
    all
}

fn take_new(all: &mut Diagnostics, seen: &mut FxHashSet<(codes::Code, Option<Span>)>, more: Diagnostics) {
    for d in more.iter() {
        if seen.insert((d.code, d.primary_span())) {
            all.push(d.clone());
        }
    }
}

/// One combination of tune parameters.
pub type Tuning = Vec<(String, BoundValue)>;

/// All combinations of tune parameters that the kernel's lists and constraints allow under `settings` (what they set is fixed), in order, the default first if it is
/// legal. At most `limit` of them.
pub fn tune_space(
    program: &Program,
    name: &str,
    settings: &Settings,
    limit: usize,
) -> (Vec<Tuning>, Diagnostics) {
    let Some(target) = Target::named(program, name) else { return elaborate_error(program, name, settings) };
    let mut e = Elab::new(program, settings);
    let space = e.tune_combinations(&target, limit);
    (space, e.diags)
}

/// The other alternatives of each type parameter that `settings` leave open, as settings: `[("T", "bf16")]` for `T: f16 | bf16`.
pub fn type_space(program: &Program, name: &str, settings: &Settings) -> Vec<(String, String)> {
    let Some(target) = Target::named(program, name) else { return Vec::new() };
    let mut e = Elab::new(program, settings);
    e.run(&target);
    let mut all = e.type_alternatives(&target);
    all.retain(|(name, _)| !settings.sets.iter().any(|(set, _)| set == name));
    all
}

fn elaborate_error(program: &Program, name: &str, settings: &Settings) -> (Vec<Tuning>, Diagnostics) {
    (Vec::new(), elaborate(program, name, settings).1)
}

/// Names of kernels and instances, in order.
pub fn kernel_names(program: &Program) -> Vec<String> {
    let kernels = program.kernels.iter().map(|k| k.name.to_string());
    kernels.chain(program.instances.iter().map(|i| i.name.to_string())).collect()
}

/// A kernel, perhaps through instances.
pub(crate) struct Target {
    kernel: KernelId,
    /// Outermost first; their settings win over those of the later ones.
    instances: Vec<InstanceId>,
    name: Symbol,
}

impl Target {
    fn named(program: &Program, name: &str) -> Option<Target> {
        use crate::front::Res;
        if let Some(kernel) = program.kernel_named(name) {
            let name = program.kernel(kernel).name.text.clone();
            return Some(Target { kernel, instances: Vec::new(), name });
        }
        let mut at = program.instance_named(name)?;
        let name = program.instance(at).name.text.clone();
        let mut instances = Vec::new();
        loop {
            if instances.contains(&at) {
                return None; // instances of each other: the resolver has said so
            }
            instances.push(at);
            match program.res(program.instance(at).base.last()) {
                Res::Kernel(kernel) => return Some(Target { kernel, instances, name }),
                Res::Instance(next) => at = next,
                _ => return None,
            }
        }
    }
}

/// One elaboration.
pub(crate) struct Elab<'p> {
    program: &'p Program,
    settings: &'p Settings,
    diags: Diagnostics,
    reported: FxHashSet<(codes::Code, Option<Span>, String)>,
    /// The kernel being built.
    k: Kernel,
    entry: Vec<Stmt>,
    block: Vec<Stmt>,
    entry_cse: FxHashMap<(Op, TileType), ValueId>,
    cse: FxHashMap<(Op, TileType), ValueId>,
    cse_log: Vec<(Op, TileType)>,
    /// Coordinates, by axis.
    iotas: Vec<ValueId>,
    dim_axes: FxHashMap<(Symbol, u32), AxisId>,
    primes: FxHashMap<AxisId, AxisId>,
    /// Values to define right after another one: coordinates of primed axes.
    beside: FxHashMap<ValueId, Vec<ValueId>>,
    /// By local.
    env: Vec<Binding>,
    muts: Vec<MutVar>,
    generic_fns: Vec<GenericFn>,
    /// What the kernel has by name: dimensions, parameters, generics, constants; captures agree with these.
    names: FxHashMap<Symbol, (Val, Span)>,
    const_tensors: FxHashMap<ConstId, Val>,
    /// Per tensor and dimension: name and size, where static.
    entry_dims: Vec<Vec<Option<(Symbol, i64)>>>,
    /// `stride(t, d)` in promises, by the phantom value that stands for it.
    strides: FxHashMap<ValueId, LaunchExpr>,
    /// `where` conditions and the like may use `stride`.
    launch_only: bool,
    /// Loops being built, outermost first.
    loops: Vec<control::LoopState>,
    if_depth: usize,
    grid_seen: Option<Span>,
    /// Functions being inlined: their names and the calls.
    calls: Vec<(Symbol, Span)>,
    /// Calls inlined so far, and whether that was said to be too many.
    inlined: usize,
    inlined_too_much: bool,
    schedule_items: Vec<ScheduleItem>,
    /// Values of tune parameters from a schedule.
    schedule_tune: Vec<(String, ScheduleValue, Span)>,
    /// The same of schedules that do not apply: they must be right, too.
    idle_tune: Vec<(String, ScheduleValue, Span)>,
    /// The front end has reported errors; the kernel would have holes.
    broken: bool,
}

impl<'p> Elab<'p> {
    fn new(program: &'p Program, settings: &'p Settings) -> Elab<'p> {
        Elab {
            program,
            settings,
            diags: Diagnostics::default(),
            reported: FxHashSet::default(),
            k: Kernel {
                name: String::new(),
                doc: String::new(),
                span: Span::default(),
                binding: Vec::new(),
                schedule: Vec::new(),
                dims: Vec::new(),
                tensors: Vec::new(),
                scalars: Vec::new(),
                params: Vec::new(),
                promises: Vec::new(),
                values: Vec::new(),
                axes: Vec::new(),
                loops: Vec::new(),
                ifs: Vec::new(),
                entry: Block::default(),
                grid: Vec::new(),
                grid_when: None,
                body: Block::default(),
            },
            entry: Vec::new(),
            block: Vec::new(),
            entry_cse: FxHashMap::default(),
            cse: FxHashMap::default(),
            cse_log: Vec::new(),
            iotas: Vec::new(),
            dim_axes: FxHashMap::default(),
            primes: FxHashMap::default(),
            beside: FxHashMap::default(),
            env: vec![Binding::Unbound; program.local_count()],
            muts: Vec::new(),
            generic_fns: Vec::new(),
            names: FxHashMap::default(),
            const_tensors: FxHashMap::default(),
            entry_dims: Vec::new(),
            strides: FxHashMap::default(),
            launch_only: false,
            loops: Vec::new(),
            if_depth: 0,
            grid_seen: None,
            calls: Vec::new(),
            inlined: 0,
            inlined_too_much: false,
            schedule_items: Vec::new(),
            schedule_tune: Vec::new(),
            idle_tune: Vec::new(),
            broken: false,
        }
    }

    fn run(&mut self, target: &Target) {
        let kernel = self.program.kernel(target.kernel);
        self.k.name = target.name.to_string();
        self.k.span = kernel.span;
        let doc = target.instances.first().and_then(|i| self.program.instance(*i).doc.clone());
        self.k.doc = doc.or(kernel.doc.clone()).map(|d| d.to_string()).unwrap_or_default();
        self.bind_generics(target);
        self.header(kernel);
        self.bind_schedule(target);
        self.bind_tune(kernel);
        self.promises(kernel);
        self.check_settings(kernel);
        self.kernel_body(&kernel.body);
    }

    fn finish(mut self) -> (Option<Kernel>, Diagnostics) {
        if self.diags.has_errors() {
            self.diags.sort();
            return (None, self.diags);
        }
        self.k.schedule = std::mem::take(&mut self.schedule_items);
        let mut entry = std::mem::take(&mut self.entry);
        entry.extend(std::mem::take(&mut self.k.entry.stmts));
        self.k.entry.stmts = entry;
        self.check_writes();
        if self.diags.has_errors() {
            self.diags.sort();
            return (None, self.diags);
        }
        if self.broken {
            return (None, self.diags);
        }
        let beside = std::mem::take(&mut self.beside);
        let kernel = straighten::straighten(tidy::tidy(self.k, beside));
        (Some(kernel), self.diags)
    }

    /// Runs `f` and forgets what it reports: for looking at what will be, or has been, looked at in earnest.
    fn quietly<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> R {
        let diags = std::mem::take(&mut self.diags);
        let reported = self.reported.clone();
        let result = f(self);
        self.diags = diags;
        self.reported = reported;
        result
    }

    /// Reports, with the calls that led here, and only once.
    fn error(&mut self, mut d: Diagnostic) {
        for (name, span) in self.calls.iter().rev().take(4) {
            d = d.secondary(*span, format!("in this use of `{name}`"));
        }
        if self.reported.insert((d.code, d.primary_span(), d.message.clone())) {
            self.diags.push(d);
        }
    }
}

#[cfg(test)]
mod tests;
