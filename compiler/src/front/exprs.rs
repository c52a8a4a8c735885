//! Resolution of expressions, types and sets.

use super::ast::*;
use super::body::Body;
use super::builtins::{self, builtin};
use super::program::{LocalId, LocalKind, Res};
use crate::diagnostics::{Diagnostic, Span, codes, near_help};

/// What may follow a point: `x.T`, `r.lo`.
const FIELDS: &[&str] = &["T", "lo", "hi", "size"];

impl<'a> Body<'_, 'a> {
    /// Looks a name up and notes what it means. `None`: not found, and reported when the body ends, or bound just now as a dimension.
    fn name(&mut self, ident: &Ident) -> Option<Res> {
        let name = ident.as_str();
        let capture = self.capture_dims.iter().copied().find(|id| *self.local(*id).name == *name);
        let res = match self.lookup(name) {
            Some((id, _)) => Some(Res::Local(id)),
            None if self.binds == Some(LocalKind::CaptureDim) && capture.is_some() => capture.map(Res::Local),
            None => self.r.global(self.unit, name).map(|e| e.res),
        };
        match (res, self.binds) {
            (Some(res), _) => {
                self.r.resolutions[ident.id.0 as usize] = res;
                Some(res)
            }
            (None, Some(kind)) => {
                if self.is_tainted(name) {
                    return None;
                }
                let id = if kind == LocalKind::CaptureDim {
                    let owner = self.owner.unwrap_or(super::program::Owner::Broken);
                    let id = self.r.declare(ident, kind, owner);
                    self.capture_dims.push(id);
                    id
                } else {
                    self.declare(ident, kind)
                };
                Some(Res::Local(id))
            }
            (None, None) => {
                self.unknown.push(ident.clone());
                None
            }
        }
    }

    fn error(&mut self, d: Diagnostic) {
        self.r.diagnostics.push(d);
    }

    /// A value is wanted: a function, type or kernel is none.
    fn value_name(&mut self, ident: &Ident) {
        let Some(res) = self.name(ident) else { return };
        let (what, help) = match res {
            Res::Fn(_) | Res::Builtin(_) => ("a function", "call it: its arguments stand in `( )`"),
            Res::Local(id) if self.local(id).kind == LocalKind::GenericFn => {
                ("a function", "call it: its arguments stand in `( )`")
            }
            Res::Local(id) => return self.readable(ident, id, false),
            Res::Kernel(_) | Res::Instance(_) => ("a kernel", "a kernel is run, not used as a value"),
            Res::Module => ("an imported file", "its items are written `v.name`"),
            Res::Type | Res::FloatsOf(_) if ident.as_str() != "index" => {
                ("a type", "conversions are written `x as f32`")
            }
            Res::Type | Res::FloatsOf(_) => ("a type", "conversions are written `x as index`"),
            Res::Const(c) => return self.uses(Res::Const(c), ident.span),
            Res::Unresolved => return,
        };
        let d = Diagnostic::error(codes::NOT_A_VALUE, format!("`{ident}` is {what}, not a value"));
        self.error(d.label(ident.span, "a value must stand here").help(help));
    }

    /// An `out` parameter cannot be read.
    fn readable(&mut self, ident: &Ident, id: LocalId, update: bool) {
        if self.modes.get(&id) == Some(&ParamMode::Out) {
            let d = Diagnostic::error(codes::NOT_READABLE, format!("`{ident}` is an `out` parameter"))
                .label(ident.span, "read here")
                .secondary(self.local(id).span, "write only")
                .help("a parameter that is read and written is `inout`");
            self.error(match update {
                true => d.help("or sum up in a variable, `let mut acc: f32[…] = 0;`, and write that once"),
                false => d,
            });
        }
    }

    pub fn expr(&mut self, e: &'a Expr) {
        match &e.kind {
            ExprKind::Number(_) | ExprKind::Inf | ExprKind::Bool(_) | ExprKind::Error => {}
            ExprKind::Name(name) => self.value_name(name),
            ExprKind::Unary { operand, .. } => self.expr(operand),
            ExprKind::Binary { lhs, rhs, .. } => {
                self.expr(lhs);
                self.expr(rhs);
            }
            ExprKind::Cast { value, ty } => {
                self.expr(value);
                self.type_name(ty);
            }
            ExprKind::Index { base, subscripts } => {
                self.expr(base);
                self.subscripts(subscripts);
            }
            ExprKind::Field { base, field } => {
                if let Some(res) = self.module_item(base, field) {
                    match res {
                        Res::Const(_) => self.uses(res, field.span),
                        Res::Unresolved => {}
                        _ => {
                            let d =
                                Diagnostic::error(codes::NOT_A_VALUE, format!("`{field}` is not a value"));
                            self.error(d.label(e.span, "a value must stand here"));
                        }
                    }
                    return;
                }
                self.expr(base);
                if !FIELDS.contains(&field.as_str()) {
                    let d = Diagnostic::error(codes::UNKNOWN_FIELD, format!("there is no field `{field}`"))
                        .label(field.span, "the fields are `T`, `lo`, `hi` and `size`");
                    let d = match field.as_str() {
                        "shape" | "dim" | "len" => {
                            d.help("a range's extent is `r.size`; a dimension is its name")
                        }
                        "min" | "start" | "first" | "begin" => d.help("a range's first coordinate is `r.lo`"),
                        "max" | "end" | "last" | "stop" => {
                            d.help("one past a range's last coordinate is `r.hi`")
                        }
                        _ => near_help(d, field.span, field.as_str(), FIELDS.iter().copied()),
                    };
                    self.error(d);
                }
            }
            ExprKind::Prime(base) => self.expr(base),
            ExprKind::Call { callee, args } => self.call(e.span, callee, args),
            ExprKind::Range { lo, hi, .. } => {
                self.expr(lo);
                self.expr(hi);
            }
            ExprKind::By { domain, step } => {
                self.expr(domain);
                self.expr(step);
            }
            ExprKind::Tuple(items) => items.iter().for_each(|i| self.expr(i)),
            ExprKind::Atomic { place, value, .. } => {
                self.expr(value);
                self.place(place, false);
            }
        }
    }

    fn subscripts(&mut self, subscripts: &'a [Subscript]) {
        for s in subscripts {
            if let Subscript::Expr(e) = s {
                self.expr(e);
            }
        }
    }

    /// `v.item`, where `v` is an imported file; `None` where the base is anything else.
    fn module_item(&mut self, base: &'a Expr, field: &Ident) -> Option<Res> {
        let ExprKind::Name(name) = &base.kind else { return None };
        if self.lookup(name.as_str()).is_some() {
            return None;
        }
        let entry = self.r.units[self.unit].scope.get(&name.text).copied()?;
        let Some(module) = entry.module else {
            // An import that could not be read: whatever it holds is not known.
            return (entry.res == Res::Unresolved).then_some(Res::Unresolved);
        };
        self.r.resolutions[name.id.0 as usize] = Res::Module;
        let units = self.r.units;
        let own = &units[module].own;
        if let Some((_, res)) = own.iter().find(|(n, _)| n.text == field.text) {
            self.r.resolutions[field.id.0 as usize] = *res;
            return Some(*res);
        }
        if !self.r.is_tainted(module, field.as_str()) {
            let d = Diagnostic::error(
                codes::UNKNOWN_NAME,
                format!("`{}` has no item `{field}`", units[module].path),
            )
            .label(field.span, "not found there")
            .secondary(entry.span, "imported here");
            let names = own.iter().map(|(n, _)| n.as_str());
            self.error(near_help(d, field.span, field.as_str(), names));
        }
        Some(Res::Unresolved)
    }

    fn call(&mut self, span: Span, callee: &'a Expr, args: &'a [Arg]) {
        let (res, ident) = match &callee.kind {
            ExprKind::Name(name) => {
                // A function's name never binds a dimension.
                let binds = self.binds.take();
                let variable =
                    self.lookup(name.as_str()).is_some_and(|(id, _)| !self.arities.contains_key(&id));
                let res = match builtin(name.as_str()) {
                    // Variables may share a built-in function's name; only the function can be called.
                    Some(b) if variable => {
                        let res = Res::Builtin(super::Builtin(b.name));
                        self.r.resolutions[name.id.0 as usize] = res;
                        Some(res)
                    }
                    _ if builtins::LATER.contains(&name.as_str()) && self.lookup(name.as_str()).is_none() => {
                        return self.not_yet(name.span, &format!("`{name}`"));
                    }
                    _ => self.name(name),
                };
                self.binds = binds;
                (res, name)
            }
            ExprKind::Field { base, field } => match self.module_item(base, field) {
                Some(res) => (Some(res), field),
                None => {
                    let unknown = self.unknown.len();
                    self.expr(base);
                    if self.unknown.len() > unknown {
                        return self.args(args);
                    }
                    let d = Diagnostic::error(codes::NOT_A_VALUE, "values have no functions of their own")
                        .label(field.span, "called like a method");
                    self.error(d.help(format!("write `{field}(…)`, if there is such a function")));
                    (Some(Res::Unresolved), field)
                }
            },
            _ => return self.args(args),
        };
        let (what, arity, at) = match res.unwrap_or_default() {
            Res::Builtin(b) => {
                self.builtin_call(span, ident, b.0, args);
                return;
            }
            Res::Fn(id) => {
                self.uses(Res::Fn(id), ident.span);
                let f = &self.r.items.fns[id.0 as usize];
                ("function", f.params.len(), f.name.span)
            }
            Res::Local(id) if self.arities.contains_key(&id) => {
                let (arity, at) = self.arities[&id];
                ("generic function", arity, at)
            }
            Res::Unresolved => return self.args(args),
            other => {
                let d = Diagnostic::error(codes::NOT_A_VALUE, format!("`{ident}` is not a function"));
                let d = d.label(ident.span, "called here");
                let d = match other {
                    Res::Local(id) => {
                        let local = self.local(id);
                        d.secondary(local.span, local.kind.describe())
                            .help(format!("elements are written with brackets: `{ident}[…]`"))
                    }
                    Res::Type => d.help(format!("conversions are written `x as {ident}`")),
                    _ => d,
                };
                self.error(d);
                return self.args(args);
            }
        };
        if args.len() != arity {
            let d = Diagnostic::error(
                codes::ARITY,
                format!("`{ident}` takes {}, {} given", count(arity, "argument"), args.len()),
            );
            let d = d.label(span, count(args.len(), "argument"));
            self.error(d.secondary(at, format!("the {what} has {}", count(arity, "parameter"))));
        }
        if let Some(over) = args.iter().find_map(|a| a.over.as_ref()) {
            let d = Diagnostic::error(codes::BAD_OVER, format!("`{ident}` does not reduce"))
                .label(over.span, "`over` stands in reductions and scans only");
            self.error(d);
        }
        self.args(args);
    }

    fn args(&mut self, args: &'a [Arg]) {
        for a in args {
            self.expr(&a.value);
            if let Some(over) = &a.over {
                self.expr(&over.axes);
            }
        }
    }

    fn builtin_call(&mut self, span: Span, ident: &Ident, name: &str, args: &'a [Arg]) {
        let Some(b) = builtin(name) else { return };
        let over = args.iter().position(|a| a.over.is_some());
        let report = match over {
            Some(n) if n > 0 => args[n].over.as_ref().map(|o| {
                Diagnostic::error(codes::BAD_OVER, "`over` belongs to the first argument")
                    .label(o.span, "not to this one")
            }),
            Some(_) => match b.over {
                Some(n) if n == args.len() => None,
                Some(n) => Some(
                    Diagnostic::error(
                        codes::ARITY,
                        format!("`{name}` takes {}, {} given", count(n, "argument"), args.len()),
                    )
                    .label(span, count(args.len(), "argument")),
                ),
                None => args[0].over.as_ref().map(|o| {
                    Diagnostic::error(codes::BAD_OVER, format!("`{name}` does not reduce"))
                        .label(o.span, "`over` stands in reductions and scans only")
                }),
            },
            None => match b.plain {
                Some((lo, hi)) if (lo..=hi).contains(&args.len()) => None,
                Some((lo, hi)) => {
                    let wants =
                        if lo == hi { count(lo, "argument") } else { format!("{lo} or more arguments") };
                    Some(
                        Diagnostic::error(
                            codes::ARITY,
                            format!("`{name}` takes {wants}, {} given", args.len()),
                        )
                        .label(span, count(args.len(), "argument")),
                    )
                }
                None => Some(
                    Diagnostic::error(codes::BAD_OVER, format!("`{name}` needs the axes it goes over"))
                        .label(span, "no `over` here"),
                ),
            },
        };
        self.r.diagnostics.extend(report.map(|d| d.help(format!("it is written `{}`", b.form))));
        for (n, a) in args.iter().enumerate() {
            match &a.value.kind {
                // A type stands as the second argument of `bits`; a promise may speak of an `out` parameter.
                ExprKind::Name(ty) if name == "bits" && n == 1 => self.type_name(ty),
                ExprKind::Name(t) if name == "stride" && n == 0 => {
                    self.name(t);
                }
                _ => self.expr(&a.value),
            }
            if let Some(over) = &a.over {
                self.expr(&over.axes);
            }
        }
        let _ = ident;
    }

    /// What is written: a variable, an element of one, or, where `tuples` says so, several.
    pub fn place(&mut self, e: &'a Expr, tuples: bool) {
        match &e.kind {
            ExprKind::Name(name) => {
                if let Some(res) = self.name(name) {
                    self.writable(name, res, e.span);
                }
            }
            ExprKind::Index { base, subscripts } => {
                self.subscripts(subscripts);
                self.place(base, false);
            }
            ExprKind::Tuple(items) if tuples => items.iter().for_each(|i| self.place(i, true)),
            ExprKind::Error => {}
            _ => {
                self.expr(e);
                let d = Diagnostic::error(codes::BAD_PLACE, "cannot assign to this")
                    .label(e.span, "not a variable or an element");
                self.error(d.help("the left of an assignment is a name, `name[…]`, or a tuple of those"));
            }
        }
    }

    /// `place op= value` reads what it writes, unless it is `atomic`.
    pub fn update_reads(&mut self, place: &Expr) {
        match &place.kind {
            ExprKind::Index { base, .. } => self.update_reads(base),
            ExprKind::Name(name) => {
                if let Some((id, _)) = self.lookup(name.as_str()) {
                    self.readable(name, id, true);
                }
            }
            _ => {}
        }
    }

    fn writable(&mut self, name: &Ident, res: Res, at: Span) {
        let code = match res {
            Res::Local(id) if self.local(id).kind == LocalKind::Param => codes::NOT_WRITABLE,
            _ => codes::NOT_MUTABLE,
        };
        let d = Diagnostic::error(code, format!("`{name}` cannot be written")).label(at, "written here");
        let d = match res {
            Res::Local(id) => {
                let local = self.local(id);
                match (local.kind, self.modes.get(&id)) {
                    (LocalKind::LetMut | LocalKind::Temp, _) => return,
                    (LocalKind::Param, Some(ParamMode::Out | ParamMode::InOut)) => return,
                    (LocalKind::Param, None) => return,
                    (LocalKind::Param, Some(ParamMode::Packed)) => d
                        .secondary(local.span, "a packed parameter, which is only read")
                        .help("what is written is `out` or `inout`, and not `packed`"),
                    (LocalKind::Param, Some(_)) => {
                        let start = Span { end: local.span.start, ..local.span };
                        d.secondary(local.span, "a parameter that is only read").replace(
                            start,
                            "out ",
                            "write-only parameters are `out`, others `inout`",
                        )
                    }
                    (LocalKind::Let, _) => {
                        let start = Span { end: local.span.start, ..local.span };
                        d.secondary(local.span, "bound once, by `let`").replace(
                            start,
                            "mut ",
                            "a variable is `let mut`",
                        )
                    }
                    (kind, _) => d.secondary(local.span, format!("{}, which is fixed", kind.describe())),
                }
            }
            Res::Unresolved => return,
            Res::Const(c) => d.secondary(self.r.items.consts[c.0 as usize].name.span, "a constant"),
            _ => d.help("the left of an assignment is a variable or an element of one"),
        };
        self.error(d);
    }

    // ------------------------------------------------------------------------------------------------- types and sets

    pub fn ty(&mut self, ty: &'a Type) {
        self.type_name(&ty.name);
        ty.shape.iter().for_each(|e| self.expr(e));
    }

    pub fn type_name(&mut self, ident: &Ident) {
        let binds = self.binds;
        if binds == Some(LocalKind::Dim) {
            self.binds = None;
        }
        let found = self.name(ident);
        self.binds = binds;
        let d = Diagnostic::error(codes::NOT_A_VALUE, format!("`{ident}` is not a type"));
        match found {
            Some(Res::Type | Res::Unresolved) => {}
            Some(Res::Local(id)) => {
                let local = self.local(id);
                if !matches!(local.kind, LocalKind::Generic | LocalKind::Capture | LocalKind::CaptureDim) {
                    let d = d
                        .label(ident.span, "a type must stand here")
                        .secondary(local.span, local.kind.describe());
                    self.error(d);
                }
            }
            Some(Res::FloatsOf(n)) => {
                let d = d.label(ident.span, "every float of that width: a set, for `< >` only");
                self.error(d.help(format!("name its exponent and mantissa: `e{}m{}`", n / 2, n - 1 - n / 2)));
            }
            Some(_) => self.error(d.label(ident.span, "a type must stand here")),
            None => {
                // An unknown type reads better with types to choose from.
                if self.unknown.last().is_some_and(|u| u.id == ident.id) && !self.is_tainted(ident.as_str()) {
                    self.unknown.pop();
                    let d = Diagnostic::error(codes::UNKNOWN_NAME, format!("unknown type `{ident}`"))
                        .label(ident.span, "not a type");
                    let d = match ident.as_str() {
                        "int" | "int32" => d.replace(ident.span, "i32", "it is called `i32`"),
                        "float" | "float32" | "fp32" => d.replace(ident.span, "f32", "it is called `f32`"),
                        "half" | "float16" | "fp16" => d.replace(ident.span, "f16", "it is called `f16`"),
                        "bfloat16" => d.replace(ident.span, "bf16", "it is called `bf16`"),
                        "double" | "float64" => d.replace(ident.span, "f64", "it is called `f64`"),
                        "fp8" | "float8" => d.help("it is called `e4m3` or `e5m2`"),
                        name => {
                            let d = near_help(d, ident.span, name, TYPES.iter().copied());
                            if matches!(self.owner, Some(super::program::Owner::Fn(_)))
                                && self.r.kernel_names.contains(name)
                            {
                                d.help(format!("a kernel's type parameter is taken by `using {name}`"))
                            } else {
                                d
                            }
                        }
                    };
                    self.error(d);
                }
            }
        }
    }

    pub fn set(&mut self, set: &'a Set) {
        match &set.kind {
            SetKind::One(atom) => self.atom(atom),
            SetKind::Span { lo, hi, .. } => {
                self.atom(lo);
                self.atom(hi);
            }
            SetKind::Error => {}
        }
    }

    fn atom(&mut self, atom: &'a Atom) {
        if let AtomKind::Path(path) = &atom.kind {
            self.path(path);
        }
    }

    /// Resolves a dotted name.
    fn path(&mut self, path: &'a Path) -> Option<Res> {
        let [first, rest @ ..] = &path.segments[..] else { return None };
        if rest.is_empty() {
            return self.name(first);
        }
        if let Some(entry) = self.r.path(self.unit, path) {
            self.r.resolutions[path.last().id.0 as usize] = entry.res;
            return Some(entry.res);
        }
        if !self.is_tainted(first.as_str()) {
            let known = self.r.global(self.unit, first.as_str()).is_some();
            if !known
                || self.r.units[self.unit].scope.get(&first.text).is_some_and(|e| e.res != Res::Unresolved)
            {
                let d = Diagnostic::error(codes::UNKNOWN_NAME, format!("unknown name `{path}`"));
                let why = if known { "no such item there" } else { "nothing is imported under that name" };
                self.error(d.label(path.span, why));
            }
        }
        None
    }

    /// What fills a generic function: a function of its arity.
    pub fn function_atom(&mut self, atom: &'a Atom, generic: &Ident, arity: usize) {
        let AtomKind::Path(path) = &atom.kind else { return self.not_a_function(atom.span, generic) };
        match self.path(path) {
            Some(Res::Fn(id)) => {
                let f = &self.r.items.fns[id.0 as usize];
                if f.params.len() != arity {
                    let d = Diagnostic::error(
                        codes::ARITY,
                        format!(
                            "`{path}` takes {}, `{generic}` has {arity}",
                            count(f.params.len(), "argument")
                        ),
                    );
                    let d = d.label(
                        atom.span,
                        format!("a function of {} must stand here", count(arity, "argument")),
                    );
                    self.error(
                        d.secondary(f.name.span, "the function").secondary(generic.span, "the parameter"),
                    );
                }
            }
            Some(Res::Builtin(b)) => {
                let fits = builtins::builtin(b.0)
                    .and_then(|b| b.plain)
                    .is_some_and(|(lo, hi)| (lo..=hi).contains(&arity));
                if !fits {
                    self.not_a_function(atom.span, generic);
                }
            }
            Some(Res::Local(id)) if self.local(id).kind == LocalKind::GenericFn => {}
            Some(Res::Unresolved) | None => {}
            Some(_) => self.not_a_function(atom.span, generic),
        }
    }

    pub fn not_a_function(&mut self, span: Span, generic: &Ident) {
        let d = Diagnostic::error(codes::NOT_A_VALUE, format!("`{generic}` takes a function"))
            .label(span, "not a function that fits")
            .secondary(generic.span, "declared here");
        self.error(d);
    }
}

/// Types worth suggesting.
const TYPES: &[&str] = &[
    "f16", "bf16", "f32", "f64", "tf32", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "index",
    "bool", "e4m3", "e5m2", "e2m1", "e8m0",
];

/// "1 argument", "3 arguments".
fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
