//! Schedules: which one of the source applies, and `--set` paths.
//!
//! Of the schedules for this kernel (in its body, or at file level with its name) and target, the first whose `when` holds wins. Items that name a
//! tune parameter bind it; the rest is handed to the planner, with what `--set` says on top.

use super::{Elab, Target};
use crate::diagnostics::{Diagnostic, codes, near};
use crate::front::ast::{self, Expr, ExprKind, NumberValue, Schedule, Stmt as Ast, StmtKind};
use crate::front::{Program, Res};
use crate::tile::*;

impl Elab<'_> {
    pub(super) fn bind_schedule(&mut self, target: &Target) {
        let kernel = self.program.kernel(target.kernel);
        let inside = kernel.body.stmts.iter().filter_map(|s| match &s.kind {
            StmtKind::Schedule(s) => Some(s),
            _ => None,
        });
        let program = self.program;
        let names: Vec<&str> = std::iter::once(kernel.name.as_str())
            .chain(target.instances.iter().map(|i| program.instance(*i).name.as_str()))
            .collect();
        // An instance's own schedules come before those of its base, those before the ones in the body.
        let mut all: Vec<&Schedule> = Vec::new();
        for name in names.iter().rev() {
            all.extend(
                program.schedules.iter().filter(|s| s.kernel.as_ref().is_some_and(|k| k.as_str() == *name)),
            );
        }
        all.extend(inside);
        let wanted = self.settings.target.clone();
        let chosen = all.iter().position(|s| {
            wanted.as_ref().is_some_and(|t| s.target.as_str() == t)
                && s.when.as_ref().is_none_or(|w| self.schedule_applies(w))
        });
        for (at, s) in all.into_iter().enumerate() {
            self.take_schedule(s, chosen == Some(at));
        }
        self.set_paths(kernel);
    }

    /// The condition over dimensions and constants holds; what is not known does not.
    fn schedule_applies(&mut self, w: &Expr) -> bool {
        let Some(v) = self.value(w, Some(ElemType::Bool)) else { return false };
        let Some(expr) = self.launch_of(v, w.span) else { return false };
        struct Likely<'a>(&'a Kernel, &'a super::Settings);
        impl LaunchFacts for Likely<'_> {
            fn dim(&self, dim: DimId) -> Option<i64> {
                let name = &self.0.dim(dim).name;
                self.1.likely_dims.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
            }
            fn scalar(&self, scalar: ScalarId) -> Option<Const> {
                let name = &self.0.scalar(scalar).name;
                self.1.likely_dims.iter().find(|(n, _)| n == name).map(|(_, v)| Const::Int((*v).into()))
            }
            fn stride(&self, _: TensorId, _: usize) -> Option<i64> {
                None
            }
        }
        expr.eval(&Likely(&self.k, self.settings)) == Some(Const::Bool(true))
    }

    /// Reads a schedule, and follows it if it applies.
    fn take_schedule(&mut self, s: &Schedule, applies: bool) {
        for item in &s.items {
            let path: Vec<String> = item.path.segments.iter().map(|i| i.to_string()).collect();
            let value = match &item.value {
                None => None,
                Some(e) => match self.schedule_value(e) {
                    Some(v) => Some(v),
                    None => continue,
                },
            };
            if let ([name], Some(v)) = (&path[..], &value)
                && self.is_tune(item.path.last())
            {
                let list = if applies { &mut self.schedule_tune } else { &mut self.idle_tune };
                list.push((name.clone(), v.clone(), item.span));
                continue;
            }
            if !applies {
                continue;
            }
            self.schedule_items.push(ScheduleItem {
                path,
                value,
                from: ValueSource::Schedule,
                span: item.span,
            });
        }
    }

    fn is_tune(&self, n: &ast::Ident) -> bool {
        match self.program.res(n) {
            Res::Local(l) => self.program.local(l).kind == crate::front::LocalKind::Tune,
            _ => false,
        }
    }

    /// Numbers, words and tuples; words are not resolved, as `static` or `stream` mean something only here.
    fn schedule_value(&mut self, e: &Expr) -> Option<ScheduleValue> {
        match &e.kind {
            ExprKind::Number(n) => match n.value {
                NumberValue::Int(v) => i64::try_from(v).ok().map(ScheduleValue::Int),
                NumberValue::Float(_) => {
                    self.error(
                        Diagnostic::error(codes::BAD_SETTING, "a schedule has no such value")
                            .label(e.span, "this is a fraction")
                            .help("a schedule's values are integers, `true` and `false`, words, and tuples of them"),
                    );
                    None
                }
            },
            ExprKind::Bool(b) => Some(ScheduleValue::Bool(*b)),
            ExprKind::Name(n) => match self.program.res(n) {
                Res::Unresolved | Res::Type => Some(ScheduleValue::Name(n.to_string())),
                _ => match self.expr(e, None) {
                    super::value::Val::Static(s) => s.as_int().map(ScheduleValue::Int),
                    _ => Some(ScheduleValue::Name(n.to_string())),
                },
            },
            ExprKind::Field { base, field } => match self.schedule_value(base)? {
                ScheduleValue::Name(n) => Some(ScheduleValue::Name(format!("{n}.{field}"))),
                _ => None,
            },
            ExprKind::Tuple(items) => items
                .iter()
                .map(|i| self.schedule_value(i))
                .collect::<Option<Vec<_>>>()
                .map(ScheduleValue::Tuple),
            ExprKind::Error => None,
            _ => match self.expr(e, None) {
                super::value::Val::Static(s) if s.as_int().is_some() => s.as_int().map(ScheduleValue::Int),
                super::value::Val::Poison => None,
                _ => {
                    self.not_static("a schedule's value", e.span);
                    None
                }
            },
        }
    }

    /// `--set` of what is neither a generic nor a tune parameter: paths of the schedule.
    fn set_paths(&mut self, kernel: &ast::Kernel) {
        let sets = self.settings.sets.clone();
        for (name, text) in &sets {
            if self.parameter_names(kernel).iter().any(|p| p == name) {
                continue;
            }
            let path: Vec<String> = name.split('.').map(|s| s.trim().to_string()).collect();
            let value = if text.trim().is_empty() || text.trim() == "true" && path.len() == 1 {
                None
            } else {
                Some(parse_schedule_value(text))
            };
            self.schedule_items.retain(|i| i.path != path);
            self.schedule_items.push(ScheduleItem {
                path,
                value,
                from: ValueSource::Set,
                span: kernel.name.span,
            });
        }
    }

    fn parameter_names(&self, kernel: &ast::Kernel) -> Vec<String> {
        let generics = kernel.generics.iter().map(|g| g.name().to_string());
        let tunes = kernel.body.stmts.iter().flat_map(|s| match &s.kind {
            StmtKind::Tune { entries, .. } => entries.iter().map(|t| t.name.to_string()).collect(),
            _ => Vec::new(),
        });
        generics.chain(tunes).collect()
    }

    /// Refuses `--set` and `--dim` of names that the kernel does not have.
    pub(super) fn check_settings(&mut self, kernel: &ast::Kernel) {
        let mut known = self.parameter_names(kernel);
        known.extend(KERNEL_ITEMS.iter().map(|s| s.to_string()));
        let named = path_names(self.program, kernel);
        let names: Vec<String> = named.iter().map(|(n, _)| n.clone()).collect();
        let items: Vec<ScheduleItem> =
            self.schedule_items.iter().filter(|i| i.from == ValueSource::Set).cloned().collect();
        for item in items {
            let text = item.path.join(".");
            let ok = match &item.path[..] {
                [one] => KERNEL_ITEMS.contains(&one.as_str()),
                // A row of `:` that a product contracts is a loop, called like the row's length.
                [name, setting] => {
                    let row = || kernel.generics.iter().any(|g| g.name().to_string() == *name);
                    (names.iter().any(|n| n == name) || row()) && NAME_ITEMS.contains(&setting.as_str())
                }
                _ => false,
            };
            if ok {
                continue;
            }
            let mut d = Diagnostic::error(
                codes::UNKNOWN_SCHEDULE_PATH,
                format!("`--set {text}` sets nothing that this kernel has"),
            )
            .label(kernel.name.span, "this kernel");
            let meant = match &item.path[..] {
                // Only names that such an item belongs to.
                [name, setting] if NAME_ITEMS.contains(&setting.as_str()) => {
                    let bearers = named.iter().filter(|(_, b)| b.has(setting)).map(|(n, _)| n.as_str());
                    near(name, bearers).map(|n| format!("{n}.{setting}"))
                }
                [name, setting] => near(setting, NAME_ITEMS.iter().copied()).map(|s| format!("{name}.{s}")),
                _ => near(&text, known.iter().map(String::as_str)).map(str::to_string),
            };
            if let Some(n) = meant {
                d = d.help(format!("did you mean `{n}`?"));
            }
            let dim = self.k.dims.iter().find(|d| d.name == text);
            if let (Some(dim), Some(value)) = (dim, self.setting(&text)) {
                d = d.secondary(dim.span, "a dimension").help(format!("freeze it: `--dim {text}={value}`"));
                self.error(d);
                continue;
            }
            let d = match &item.path[..] {
                [name, setting] if NAME_ITEMS.contains(&setting.as_str()) => d.note(format!(
                    "`{name}` is no {} of it; those are {}",
                    Bearer::of(setting).name(),
                    list(&named.iter().filter(|(_, b)| b.has(setting)).map(|(n, _)| n).collect::<Vec<_>>())
                )),
                [name, _] if names.iter().any(|n| n == name) => {
                    d.note(format!("a loop, variable or parameter has {}", NAME_ITEMS.join(", ")))
                }
                _ => d.note(format!("it has {}", known.join(", "))).note(format!(
                    "and, as in `--set k.stages=4`, of {}: {}",
                    names.join(", "),
                    NAME_ITEMS.join(", ")
                )),
            };
            self.error(d);
        }
        let dims = self.settings.dims.clone();
        for (name, value) in dims {
            let dim = self.k.dims.iter().find(|d| d.name == name).map(|d| d.span);
            match dim {
                None => {
                    let list: Vec<String> = self.k.dims.iter().map(|d| d.name.clone()).collect();
                    let mut d = Diagnostic::error(
                        codes::BAD_SETTING,
                        format!("`--dim {name}={value}`: the kernel has no dimension `{name}`"),
                    )
                    .label(kernel.name.span, "this kernel");
                    if !list.is_empty() {
                        d = d.note(format!("its dimensions are {}", list.join(", ")));
                    }
                    if let Some(meant) = near(&name, list.iter().map(String::as_str)) {
                        d = d.help(format!("did you mean `{meant}`?"));
                    }
                    self.error(d);
                }
                Some(span) if value < 0 => self.error(
                    Diagnostic::error(
                        codes::BAD_SETTING,
                        format!("`--dim {name}={value}`: a dimension is not negative"),
                    )
                    .label(span, "this dimension"),
                ),
                Some(_) => {}
            }
        }
    }
}

/// Settings of the kernel as a whole.
const KERNEL_ITEMS: &[&str] =
    &["warps", "consumers", "producer", "cluster", "persistent", "raster", "occupancy", "pingpong"];
/// Settings of loops, accumulators and parameters.
const NAME_ITEMS: &[&str] = &[
    "stages",
    "unroll",
    "split",
    "overlap",
    "order",
    "promote",
    "atom",
    "via",
    "evict",
    "multicast",
    "pack",
];

/// `4`, `true`, `stream`, `(2, 2)`.
fn parse_schedule_value(text: &str) -> ScheduleValue {
    let text = text.trim();
    if let Some(inner) = text.strip_prefix('(').and_then(|t| t.strip_suffix(')')) {
        return ScheduleValue::Tuple(
            inner.split(',').filter(|s| !s.trim().is_empty()).map(parse_schedule_value).collect(),
        );
    }
    match text {
        "true" => ScheduleValue::Bool(true),
        "false" => ScheduleValue::Bool(false),
        _ => text.parse().map_or_else(|_| ScheduleValue::Name(text.to_string()), ScheduleValue::Int),
    }
}

/// Names that a schedule's paths may start with: loop and grid variables, `let` names, parameters.
fn path_names(program: &Program, kernel: &ast::Kernel) -> Vec<(String, Bearer)> {
    fn walk(stmts: &[Ast], out: &mut Vec<(String, Bearer)>) {
        for s in stmts {
            match &s.kind {
                StmtKind::Let { pattern: ast::Pattern::Name(n), .. } => {
                    out.push((n.to_string(), Bearer::Variable));
                }
                StmtKind::Let { pattern: ast::Pattern::Tuple { names, .. }, .. } => {
                    out.extend(names.iter().flatten().map(|n| (n.to_string(), Bearer::Variable)));
                }
                StmtKind::For { var, body, .. } => {
                    out.push((var.name.to_string(), Bearer::Loop));
                    walk(&body.stmts, out);
                }
                StmtKind::If { then, otherwise, .. } => {
                    walk(&then.stmts, out);
                    if let Some(b) = otherwise {
                        walk(&b.stmts, out);
                    }
                }
                StmtKind::Grid { vars, .. } => {
                    out.extend(vars.iter().map(|v| (v.name.to_string(), Bearer::Grid)));
                }
                _ => {}
            }
        }
    }
    let mut out: Vec<_> = kernel.params.iter().map(|p| (p.name.to_string(), Bearer::Parameter)).collect();
    walk(&kernel.body.stmts, &mut out);
    // Captures are parameters too, whatever function brings them.
    let captures = program.fns.iter().flat_map(|f| f.using.iter());
    out.extend(captures.map(|c| (c.name.to_string(), Bearer::Parameter)));
    let mut seen = std::collections::BTreeSet::new();
    out.retain(|(name, _)| seen.insert(name.clone()));
    out
}

/// What a name is that schedule items hang on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bearer {
    Parameter,
    Variable,
    Loop,
    Grid,
}

impl Bearer {
    /// Whose the item is.
    fn of(setting: &str) -> Bearer {
        match setting {
            "promote" | "atom" => Bearer::Variable,
            "via" | "evict" | "multicast" | "pack" => Bearer::Parameter,
            _ => Bearer::Loop,
        }
    }

    fn has(self, setting: &str) -> bool {
        Bearer::of(setting) == self
    }

    fn name(self) -> &'static str {
        match self {
            Bearer::Parameter => "parameter",
            Bearer::Variable => "variable",
            Bearer::Loop | Bearer::Grid => "loop",
        }
    }
}

fn list(names: &[&String]) -> String {
    match names {
        [] => "none".into(),
        _ => names.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(", "),
    }
}
