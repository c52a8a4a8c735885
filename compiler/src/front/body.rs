//! Resolution inside one kernel, function or constant: bindings and statements. Expressions are next door, in [`exprs`](super::exprs).
//!
//! Scopes are a stack: parameters, then the body, then one per block. A name that is not found is kept until the body ends, so that the report can say
//! that it is bound further down, or in a block that is closed.

use super::ast::*;
use super::program::{KernelId, Local, LocalId, LocalKind, Owner, Res};
use super::resolve::Resolver;
use super::schedules;
use crate::diagnostics::{Diagnostic, Span, codes, near, near_help};
use std::collections::{HashMap, HashSet};

/// One kernel, function or constant being resolved.
pub struct Body<'r, 'a> {
    pub r: &'r mut Resolver<'a>,
    pub unit: usize,
    pub owner: Option<Owner>,
    item: Option<Res>,
    scopes: Vec<Vec<LocalId>>,
    /// Every binding of this body, closed scopes included.
    all: Vec<LocalId>,
    /// Names in the types of captures: seen there, and not in the body.
    pub capture_dims: Vec<LocalId>,
    tainted: HashSet<Symbol>,
    pub unknown: Vec<Ident>,
    /// What a name that means nothing becomes: a dimension, in the shapes of parameters and captures.
    pub binds: Option<LocalKind>,
    pub modes: HashMap<LocalId, ParamMode>,
    /// Arities of generic functions.
    pub arities: HashMap<LocalId, (usize, Span)>,
    schedules: Vec<&'a Schedule>,
    grid: Option<Span>,
    nesting: usize,
}

impl<'r, 'a> Body<'r, 'a> {
    pub fn new(r: &'r mut Resolver<'a>, unit: usize, owner: Option<Owner>) -> Self {
        Body {
            r,
            unit,
            owner,
            item: None,
            scopes: vec![vec![]],
            all: vec![],
            capture_dims: vec![],
            tainted: HashSet::new(),
            unknown: vec![],
            binds: None,
            modes: HashMap::new(),
            arities: HashMap::new(),
            schedules: vec![],
            grid: None,
            nesting: 0,
        }
    }

    /// Says which item this is the body of.
    pub fn item(&mut self, res: Res) {
        self.item = Some(res);
    }

    pub fn taint(&mut self, names: &[Ident]) {
        self.tainted.extend(names.iter().map(|n| n.text.clone()));
    }

    pub fn is_tainted(&self, name: &str) -> bool {
        self.tainted.contains(name) || self.r.is_tainted(self.unit, name)
    }

    /// Makes all names of a kernel that has been resolved visible.
    pub fn see_kernel(&mut self, kernel: KernelId) {
        let of_kernel = |l: &Local| l.owner == Owner::Kernel(kernel);
        let ids =
            (0..self.r.locals.len() as u32).map(LocalId).filter(|l| of_kernel(&self.r.locals[l.0 as usize]));
        self.all = ids.collect();
        self.scopes[0] = self.all.clone();
        self.tainted = self.r.kernel_taints.get(&kernel).cloned().unwrap_or_default();
    }

    pub fn local(&self, id: LocalId) -> &Local {
        &self.r.locals[id.0 as usize]
    }

    /// The binding of that name that is visible now, and how many scopes further out it is.
    pub fn lookup(&self, name: &str) -> Option<(LocalId, usize)> {
        for (depth, scope) in self.scopes.iter().rev().enumerate() {
            if let Some(id) = scope.iter().rev().find(|id| &*self.r.locals[id.0 as usize].name == name) {
                return Some((*id, depth));
            }
        }
        None
    }

    /// Names that could stand where one is missing.
    pub fn visible_names(&self) -> Vec<&str> {
        let locals = self.scopes.iter().flatten().map(|id| &*self.r.locals[id.0 as usize].name);
        locals.chain(self.r.global_names(self.unit)).collect()
    }

    pub fn push_scope(&mut self) {
        self.scopes.push(vec![]);
    }

    fn pop_scope(&mut self) {
        self.scopes.pop();
    }

    /// Binds a name, with the complaint that it is taken.
    pub fn bind(&mut self, ident: &Ident, kind: LocalKind) -> LocalId {
        self.r.reserved(ident, kind == LocalKind::GenericFn);
        let name = ident.as_str();
        if let Some((old, depth)) = self.lookup(name) {
            let (kind, span) = (self.local(old).kind, self.local(old).span);
            let d = if depth == 0 {
                Diagnostic::error(codes::DUPLICATE_NAME, format!("`{name}` is defined twice"))
                    .label(ident.span, "defined again here")
            } else {
                Diagnostic::error(codes::SHADOWING, format!("`{name}` is in use already"))
                    .label(ident.span, "would hide the other")
                    .note("nothing is shadowed, so that schedules and diagnostics can go by names")
            };
            self.r.diagnostics.push(d.secondary(span, format!("{} here", kind.describe())));
        } else if let Some(entry) =
            self.r.units[self.unit].scope.get(name).filter(|e| !super::resolve::is_kernel(e.res))
        {
            // Kernels are named where no local can stand, so they may share a name with one.
            let d = Diagnostic::error(codes::SHADOWING, format!("`{name}` is in use already"))
                .label(ident.span, "would hide the other")
                .secondary(entry.span, "defined at file level here")
                .note("nothing is shadowed, so that schedules and diagnostics can go by names");
            self.r.diagnostics.push(d);
        }
        self.declare(ident, kind)
    }

    pub fn declare(&mut self, ident: &Ident, kind: LocalKind) -> LocalId {
        let id = self.r.declare(ident, kind, self.owner.unwrap_or(Owner::Broken));
        self.scopes.last_mut().expect("one scope at least").push(id);
        self.all.push(id);
        id
    }

    /// A name in `using`: a constant of the file is just that, anything else comes from the kernel.
    pub fn capture(&mut self, ident: &Ident) {
        let entry = self.r.units[self.unit].scope.get(&ident.text).copied();
        match entry.map(|e| e.res) {
            Some(res @ Res::Const(_)) => self.r.resolutions[ident.id.0 as usize] = res,
            _ => {
                self.bind(ident, LocalKind::Capture);
            }
        }
    }

    /// The type of a capture: its names are the kernel's.
    pub fn capture_type(&mut self, ty: &'a Type) {
        self.binds = Some(LocalKind::CaptureDim);
        self.ty(ty);
        self.binds = None;
    }

    pub fn generic(&mut self, g: &'a Generic) {
        match g {
            Generic::Value { name, alternatives, default, .. } => {
                for set in alternatives.iter().chain(default) {
                    self.set(set);
                }
                self.bind(name, LocalKind::Generic);
            }
            Generic::Fn { name, params, ret, default, span } => {
                for ty in params.iter().filter_map(|p| p.ty.as_ref()).chain(ret) {
                    self.ty(ty);
                }
                self.function_atom(default, name, params.len());
                let id = self.bind(name, LocalKind::GenericFn);
                self.arities.insert(id, (params.len(), *span));
            }
        }
    }

    /// A parameter's type: names in its shape that mean nothing yet are dimensions.
    pub fn shape(&mut self, ty: &'a Type) {
        self.type_name(&ty.name);
        self.binds = Some(LocalKind::Dim);
        for e in &ty.shape {
            self.expr(e);
        }
        self.binds = None;
    }

    /// What stands behind a parameter's type, once all dimensions are known.
    pub fn attributes(&mut self, p: &'a Param) {
        if let Some((id, _)) = self.lookup(p.name.as_str()) {
            self.modes.insert(id, p.mode);
        }
        for attr in &p.attrs {
            match &attr.kind {
                AttrKind::Strides(entries) => entries.iter().flatten().for_each(|e| self.expr(e)),
                AttrKind::Align(_) => {}
                AttrKind::In(e) | AttrKind::Ascending(e) | AttrKind::Distinct(e) => self.expr(e),
            }
        }
        if let Some(e) = &p.default {
            self.expr(e);
        }
    }

    pub fn const_value(&mut self, value: &'a ConstValue) {
        match value {
            ConstValue::Scalar(e) => self.expr(e),
            ConstValue::List { items, .. } => items.iter().for_each(|i| self.const_value(i)),
        }
    }

    pub fn block(&mut self, block: &'a Block) {
        self.push_scope();
        self.stmts(&block.stmts);
        self.pop_scope();
    }

    pub fn stmts(&mut self, stmts: &'a [Stmt]) {
        for s in stmts {
            self.stmt(s);
        }
    }

    fn stmt(&mut self, s: &'a Stmt) {
        match &s.kind {
            StmtKind::Let { mutable, pattern, ty, value } => {
                if let Some(ty) = ty {
                    self.ty(ty);
                }
                self.expr(value);
                let kind = if *mutable { LocalKind::LetMut } else { LocalKind::Let };
                match pattern {
                    Pattern::Name(name) => {
                        self.bind(name, kind);
                    }
                    Pattern::Tuple { names, .. } => {
                        for name in names.iter().flatten() {
                            self.bind(name, kind);
                        }
                    }
                }
            }
            StmtKind::Temp { name, ty, init } => {
                self.not_yet(s.span, "`temp` tensors come with several grids in one kernel");
                self.ty(ty);
                init.iter().for_each(|e| self.expr(e));
                self.bind(name, LocalKind::Temp);
            }
            StmtKind::Tune { entries, constraints } => {
                for t in entries {
                    match &t.choices {
                        TuneChoices::List(list) => list.iter().for_each(|e| self.expr(e)),
                        TuneChoices::Set(set) => self.set(set),
                    }
                    self.bind(&t.name, LocalKind::Tune);
                }
                constraints.iter().for_each(|e| self.expr(e));
            }
            StmtKind::Grid { vars, when, body } => self.grid(s, vars, when.as_ref(), body.as_ref()),
            StmtKind::For { var, when, body } => {
                self.expr(&var.domain);
                self.push_scope();
                self.nesting += 1;
                self.bind(&var.name, LocalKind::LoopVar);
                when.iter().for_each(|e| self.expr(e));
                self.block(body);
                self.nesting -= 1;
                self.pop_scope();
            }
            StmtKind::If { cond, then, otherwise } => {
                self.expr(cond);
                self.nesting += 1;
                self.block(then);
                otherwise.iter().for_each(|b| self.block(b));
                self.nesting -= 1;
            }
            StmtKind::Assign { place, value, when } => {
                self.expr(value);
                self.place(place, true);
                when.iter().for_each(|e| self.expr(e));
            }
            StmtKind::Update { atomic, place, value, when, .. } => {
                self.expr(value);
                self.place(place, false);
                if !atomic {
                    self.update_reads(place);
                }
                when.iter().for_each(|e| self.expr(e));
            }
            StmtKind::Schedule(schedule) => {
                if let Some(kernel) = &schedule.kernel {
                    let d = Diagnostic::error(codes::SYNTAX, "a schedule inside a kernel does not name one")
                        .label(kernel.span, "leave this and `on` out");
                    self.r.diagnostics.push(d);
                }
                self.schedules.push(schedule);
            }
            StmtKind::Error { names, body } => {
                self.taint(names);
                body.iter().for_each(|b| self.block(b));
            }
        }
    }

    fn grid(&mut self, s: &'a Stmt, vars: &'a [Over], when: Option<&'a Expr>, body: Option<&'a Block>) {
        let head = vars.last().map_or(s.span, |v| s.span.to(v.span));
        let head = Span { end: vars.last().map_or(s.span.end, |v| v.span.end), ..head };
        if matches!(self.owner, Some(Owner::Fn(_))) {
            let d = Diagnostic::error(codes::SYNTAX, "a function has no grid");
            self.r.diagnostics.push(d.label(head, "a grid belongs to a kernel"));
        } else if body.is_some() {
            self.not_yet(head, "a grid with a block of its own");
        } else if self.nesting > 0 {
            self.not_yet(head, "a grid inside `for` or `if`");
        } else if let Some(first) = self.grid {
            let d = Diagnostic::error(codes::NOT_YET, "a kernel has one grid, for now")
                .label(head, "a second one")
                .secondary(first, "the first one");
            self.r
                .diagnostics
                .push(d.help("write all variables in one: `grid i over M by BM, j over N by BN;`"));
        }
        self.grid = self.grid.or(Some(head));
        if body.is_some() {
            self.push_scope();
        }
        for v in vars {
            self.expr(&v.domain);
            self.bind(&v.name, LocalKind::GridVar);
        }
        when.iter().for_each(|e| self.expr(e));
        if let Some(b) = body {
            self.block(b);
            self.pop_scope();
        }
    }

    pub fn not_yet(&mut self, span: Span, what: &str) {
        let d = Diagnostic::error(codes::NOT_YET, format!("not yet: {what}"));
        self.r.diagnostics.push(d.label(span, "a later addition to the language"));
    }

    // ------------------------------------------------------------------------------------------------------- schedules

    /// Checks the words of a schedule against the names of its kernel.
    pub fn schedule(&mut self, s: &'a Schedule) {
        if !schedules::TARGETS.contains(&s.target.as_str()) {
            let d = Diagnostic::error(codes::UNKNOWN_TARGET, format!("unknown target `{}`", s.target))
                .label(s.target.span, "not a target");
            let d = match near(s.target.as_str(), schedules::TARGETS.iter().copied()) {
                Some(name) => d.replace(s.target.span, name, format!("a similar one exists: `{name}`")),
                None => d.note(format!("the targets are {}", schedules::TARGETS.join(", "))),
            };
            self.r.diagnostics.push(d);
        }
        if let Some(when) = &s.when {
            self.expr(when);
        }
        for item in &s.items {
            self.schedule_item(item);
        }
    }

    /// Whether some function captures this name, and parameters have the setting.
    fn captured(&self, name: &str, setting: &str) -> bool {
        schedules::settings_of(LocalKind::Param).contains(&setting)
            && self.r.items.fns.iter().any(|f| f.using.iter().any(|c| c.name.as_str() == name))
    }

    fn schedule_item(&mut self, item: &'a ScheduleItem) {
        let head = &item.path.segments[0];
        let named: Vec<LocalId> =
            self.all.iter().copied().filter(|id| self.local(*id).name == head.text).collect();
        if let Some(first) = named.first() {
            self.r.resolutions[head.id.0 as usize] = Res::Local(*first);
        }
        let kinds: Vec<LocalKind> = named.iter().map(|id| self.local(*id).kind).collect();
        let settings: Vec<&str> = kinds.iter().flat_map(|k| schedules::settings_of(*k)).copied().collect();
        let report = match &item.path.segments[..] {
            [_] if kinds.contains(&LocalKind::Tune) => item.value.is_none().then(|| {
                Diagnostic::error(codes::UNKNOWN_SCHEDULE_PATH, format!("`{head}` needs a value"))
                    .label(item.span, format!("write `{head} = …;`"))
            }),
            [_] if schedules::KERNEL_SETTINGS.contains(&head.as_str()) => None,
            _ if kinds.is_empty() && self.is_tainted(head.as_str()) => None,
            [one] => {
                let d =
                    Diagnostic::error(codes::UNKNOWN_SCHEDULE_PATH, format!("a schedule cannot set `{one}`"));
                let tunes = self.all.iter().map(|id| self.local(*id)).filter(|l| l.kind == LocalKind::Tune);
                let words = tunes.map(|l| &*l.name).chain(schedules::KERNEL_SETTINGS.iter().copied());
                let d = match (kinds.first(), settings.is_empty()) {
                    (Some(kind), false) => d
                        .label(one.span, format!("{}, whose settings are paths", kind.describe()))
                        .help(format!(
                            "one of {}",
                            settings.iter().map(|s| format!("`{one}.{s}`")).collect::<Vec<_>>().join(", ")
                        )),
                    (Some(kind), true) => d.label(one.span, format!("{} has no settings", kind.describe())),
                    _ => near_help(
                        d.label(one.span, "no such setting or tune parameter"),
                        one.span,
                        one.as_str(),
                        words,
                    ),
                };
                Some(d)
            }
            // What a function captures may become a parameter of the kernel; which, instances say.
            [one, setting] if kinds.is_empty() && self.captured(one.as_str(), setting.as_str()) => None,
            [one, setting] if kinds.is_empty() => {
                let d = Diagnostic::error(codes::UNKNOWN_SCHEDULE_PATH, format!("the kernel has no `{one}`"))
                    .label(one.span, "not a loop, variable or parameter of it");
                let names: Vec<&str> = self
                    .all
                    .iter()
                    .map(|id| self.local(*id))
                    .filter(|l| schedules::settings_of(l.kind).contains(&setting.as_str()))
                    .map(|l| &*l.name)
                    .collect();
                Some(near_help(d, one.span, one.as_str(), names))
            }
            [one, setting] if !settings.contains(&setting.as_str()) => {
                let kind = kinds[0].describe();
                let d = Diagnostic::error(
                    codes::UNKNOWN_SCHEDULE_PATH,
                    format!("`{one}` has no setting `{setting}`"),
                )
                .label(setting.span, format!("`{one}` is {kind}"));
                Some(match near(setting.as_str(), settings.iter().copied()) {
                    Some(name) => d.replace(setting.span, name, format!("a similar one exists: `{name}`")),
                    None if settings.is_empty() => d,
                    None => {
                        let all: Vec<_> = settings.iter().map(|s| format!("`{s}`")).collect();
                        d.note(format!("{kind} has {}", all.join(", ")))
                    }
                })
            }
            [_, _] => None,
            _ => Some(
                Diagnostic::error(
                    codes::UNKNOWN_SCHEDULE_PATH,
                    format!("no setting is called `{}`", item.path),
                )
                .label(item.path.span, "a path is a name and one setting: `k.stages`"),
            ),
        };
        self.r.diagnostics.extend(report);
        if let Some(value) = &item.value {
            let any_word = item.path.last().as_str() == "atom" || item.path.last().as_str() == "order";
            self.schedule_value(value, any_word);
        }
    }

    /// A value: a word of the table, or an expression over constants.
    fn schedule_value(&mut self, e: &'a Expr, any_word: bool) {
        match &e.kind {
            ExprKind::Name(_) if any_word => {}
            ExprKind::Name(n) if schedules::VALUE_WORDS.contains(&n.as_str()) => {}
            ExprKind::Name(n)
                if self.lookup(n.as_str()).is_none() && self.r.global(self.unit, n.as_str()).is_none() =>
            {
                if !self.is_tainted(n.as_str()) {
                    let d =
                        Diagnostic::error(codes::UNKNOWN_SCHEDULE_PATH, format!("no value is called `{n}`"))
                            .label(n.span, "not a word that schedules know");
                    let words = schedules::VALUE_WORDS.iter().copied();
                    self.r.diagnostics.push(near_help(d, n.span, n.as_str(), words));
                }
            }
            ExprKind::Tuple(items) => items.iter().for_each(|i| self.schedule_value(i, any_word)),
            ExprKind::Field { .. } | ExprKind::Call { .. } if any_word => {}
            _ => self.expr(e),
        }
    }

    // -------------------------------------------------------------------------------------------------------- the end

    /// Checks what had to wait until every binding is known, and reports the names that were not found.
    pub fn finish(mut self) {
        let schedules = std::mem::take(&mut self.schedules);
        if !schedules.is_empty() {
            self.scopes[0] = self.all.clone();
            for s in schedules {
                self.schedule(s);
            }
        }
        let mut seen: HashSet<Symbol> = HashSet::new();
        for ident in std::mem::take(&mut self.unknown) {
            if !self.is_tainted(ident.as_str()) && seen.insert(ident.text.clone()) {
                let d = self.unknown_name(&ident);
                self.r.diagnostics.push(d);
            }
        }
        if let Some(Owner::Kernel(k)) = self.owner {
            let taints = std::mem::take(&mut self.tainted);
            self.r.kernel_taints.entry(k).or_default().extend(taints);
        }
    }

    fn unknown_name(&self, ident: &Ident) -> Diagnostic {
        let name = ident.as_str();
        let d = Diagnostic::error(codes::UNKNOWN_NAME, format!("unknown name `{name}`"));
        let in_fn = matches!(self.owner, Some(Owner::Fn(_)));
        let named = |id: &&LocalId| *self.local(**id).name == *name;
        if let Some(id) = self.capture_dims.iter().find(named) {
            let d = Diagnostic::error(codes::NOT_CAPTURED, format!("the function does not capture `{name}`"));
            return d
                .label(ident.span, "used here")
                .secondary(self.local(*id).span, "a dimension's name here, and not the function's own")
                .help(format!("list it: `using {name}, …`"));
        }
        if let Some(id) = self.all.iter().find(named) {
            let at = self.local(*id).span;
            if at.start > ident.span.start {
                return d
                    .label(ident.span, "used before it is bound")
                    .secondary(at, "bound here, further down");
            }
            let d = d
                .label(ident.span, "not visible here")
                .secondary(at, "bound in a block that is closed by then");
            return d.help("bind it before the block, with `let mut`, and assign inside");
        }
        if in_fn && self.r.kernel_names.contains(name) {
            let d = Diagnostic::error(codes::NOT_CAPTURED, format!("the function does not capture `{name}`"));
            return d
                .label(ident.span, "not a name of this function")
                .note("a function sees its own names, constants and other functions; the rest it takes by `using`")
                .help(format!("list it before `=` or `{{`: `using {name}`"));
        }
        let d = d.label(ident.span, "not found");
        if let Some(hint) = super::builtins::foreign(name) {
            return d.help(hint);
        }
        near_help(d, ident.span, name, self.visible_names())
    }

    /// Notes that the item being resolved uses another.
    pub fn uses(&mut self, res: Res, span: Span) {
        if let Some(item) = self.item {
            self.r.uses.push((item, res, span));
        }
    }
}
