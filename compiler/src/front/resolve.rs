//! Names to meanings, item by item.
//!
//! A name is looked up among the bindings of its kernel or function from the inside out, then in its file's scope, then among the built-in functions,
//! the type names and the prelude. Nothing hides anything: a binding whose name is visible already is an error that shows both places.
//!
//! ```text
//! kernel k<T: f16 | bf16>(a: T[M, K], …) { grid i over M by 64; for k over K by 32 { … a[i, k] … } }
//!          Generic        Param Dim Dim        GridVar  Dim         LoopVar
//! ```
//!
//! Dimensions bind themselves: a name in a parameter's shape that means nothing else is a new dimension. In a function only its own names are visible;
//! what it takes from its kernel it lists in `using`.
//!
//! Statements and expressions are resolved by [`body`](super::body).

use super::ast::*;
use super::body::Body;
use super::builtins;
use super::loader::{Entry, Items, Loaded, Unit};
use super::program::{ConstId, FnId, InstanceId, KernelId};
use super::program::{Local, LocalId, LocalKind, Owner, Program, Res};
use crate::diagnostics::{Diagnostic, Diagnostics, Span, codes, near, near_help};
use crate::tile::ElemType;
use std::collections::{HashMap, HashSet};

/// What resolution writes, and the items it reads.
pub struct Resolver<'a> {
    pub items: &'a Items,
    pub units: &'a [Unit],
    pub locals: Vec<Local>,
    pub resolutions: Vec<Res>,
    pub diagnostics: &'a mut Diagnostics,
    /// Names that kernels of these files have: what a function that misses one may want to capture.
    pub kernel_names: HashSet<Symbol>,
    /// Names in parts of kernels that did not parse.
    pub kernel_taints: HashMap<KernelId, HashSet<Symbol>>,
    /// Calls and other uses of one item inside another, for the check against recursion.
    pub uses: Vec<(Res, Res, Span)>,
}

/// Resolves everything and puts the program together.
pub fn resolve(loaded: Loaded, diagnostics: &mut Diagnostics) -> Program {
    let Loaded { items, units, ids } = loaded;
    let mut r = Resolver {
        items: &items,
        units: &units,
        locals: vec![],
        resolutions: vec![Res::Unresolved; ids as usize],
        diagnostics,
        kernel_names: HashSet::new(),
        kernel_taints: HashMap::new(),
        uses: vec![],
    };
    r.all();
    let Resolver { locals, resolutions, .. } = r;
    let names = root_names(&units);
    Program {
        root: units[0].file,
        prelude: units[units.len() - 1].file,
        imports: units.iter().flat_map(|u| u.imports.iter().map(|(i, _)| i.clone())).collect(),
        consts: items.consts,
        fns: items.fns,
        kernels: items.kernels,
        instances: items.instances,
        schedules: items.schedules,
        directives: units.into_iter().next().map(|u| u.directives).unwrap_or_default(),
        locals,
        resolutions,
        names,
    }
}

/// The names of the root file's scope, `v.name` for what it imports `as v`, and the prelude's.
fn root_names(units: &[Unit]) -> HashMap<String, Res> {
    let mut names = HashMap::new();
    let prelude = units.last().into_iter().flat_map(|u| &u.scope);
    for (name, entry) in prelude.chain(&units[0].scope) {
        names.insert(name.to_string(), entry.res);
        for (field, res) in entry.module.into_iter().flat_map(|m| &units[m].own) {
            names.insert(format!("{name}.{field}"), *res);
        }
    }
    names
}

impl<'a> Resolver<'a> {
    fn all(&mut self) {
        for unit in self.units {
            let prelude = std::ptr::eq(unit, self.units.last().expect("the prelude"));
            for (ident, res) in &unit.own {
                self.resolutions[ident.id.0 as usize] = *res;
                if !prelude {
                    self.reserved(ident, true);
                }
            }
        }
        for (n, c) in self.items.consts.iter().enumerate() {
            let unit = self.items.const_unit[n];
            let mut body = Body::new(self, unit, None);
            body.item(Res::Const(ConstId(n as u32)));
            if let Some(ty) = &c.ty {
                body.ty(ty);
            }
            body.const_value(&c.value);
            body.finish();
        }
        // Kernels first: their names are what functions may capture.
        for (n, k) in self.items.kernels.iter().enumerate() {
            self.kernel(KernelId(n as u32), k);
        }
        for (n, f) in self.items.fns.iter().enumerate() {
            self.function(FnId(n as u32), f);
        }
        for (n, i) in self.items.instances.iter().enumerate() {
            self.instance(InstanceId(n as u32), i);
        }
        for unit in 0..self.units.len() {
            for (names, block) in &self.units[unit].errors {
                let Some(block) = block else { continue };
                let mut body = Body::new(self, unit, Some(Owner::Broken));
                body.taint(names);
                body.block(block);
                body.finish();
            }
        }
        for (n, s) in self.items.schedules.iter().enumerate() {
            self.file_schedule(self.items.schedule_unit[n], s);
        }
        super::recursion::check(self);
    }

    /// Type names belong to the language, and functions (`callable`) cannot take a built-in one's name. Anything else can: `cos[t, d]` reads a
    /// parameter, `cos(x)` calls.
    pub fn reserved(&mut self, ident: &Ident, callable: bool) {
        let name = ident.as_str();
        let what = if is_type_name(name) {
            "the name of a type"
        } else if callable && builtins::builtin(name).is_some() {
            "a built-in function"
        } else if callable && builtins::LATER.contains(&name) {
            "kept for a later built-in function"
        } else {
            return;
        };
        let mut d = Diagnostic::error(codes::RESERVED_NAME, format!("`{name}` is {what}"))
            .label(ident.span, "cannot be given to anything else");
        let letter = name.starts_with(['i', 'u', 'b', 'e', 'f']) && name[1..].parse::<u8>().is_ok();
        if letter {
            d = d.help(format!("a letter will do: `{}a`", &name[..1]));
        }
        self.diagnostics.push(d);
    }

    /// What a name means at file level and outside; locals come first and are the body's business.
    pub fn global(&self, unit: usize, name: &str) -> Option<Entry> {
        if let Some(entry) = self.units[unit].scope.get(name) {
            return Some(*entry);
        }
        let plain = |res| Some(Entry { res, span: Span::default(), module: None });
        if let Some(b) = builtins::builtin(name) {
            return plain(Res::Builtin(super::Builtin(b.name)));
        }
        if ElemType::from_name(name).is_some() {
            return plain(Res::Type);
        }
        if let Some(bits) = family(name) {
            return plain(Res::FloatsOf(bits));
        }
        self.units.last().and_then(|u| u.scope.get(name)).copied()
    }

    /// Whether a missing name is the consequence of something reported already.
    pub fn is_tainted(&self, unit: usize, name: &str) -> bool {
        let t = &self.units[unit].tainted;
        t.contains(name) || t.contains("*")
    }

    /// All names visible at file level, for suggestions.
    pub fn global_names(&self, unit: usize) -> Vec<&'a str> {
        let units = self.units;
        let own = units[unit].scope.keys().map(|k| &**k);
        let prelude = units.last().into_iter().flat_map(|u| u.scope.keys().map(|k| &**k));
        own.chain(prelude).chain(builtins::BUILTINS.iter().map(|b| b.name)).collect()
    }

    pub fn declare(&mut self, ident: &Ident, kind: LocalKind, owner: Owner) -> LocalId {
        let id = LocalId(self.locals.len() as u32);
        self.locals.push(Local { name: ident.text.clone(), kind, span: ident.span, owner });
        self.resolutions[ident.id.0 as usize] = Res::Local(id);
        id
    }

    fn function(&mut self, id: FnId, f: &'a Function) {
        let unit = self.items.fn_unit[id.0 as usize];
        let mut body = Body::new(self, unit, Some(Owner::Fn(id)));
        body.item(Res::Fn(id));
        for p in &f.params {
            body.bind(&p.name, LocalKind::FnParam);
        }
        for c in &f.using {
            body.capture(&c.name);
        }
        for c in &f.using {
            if let Some(ty) = &c.ty {
                body.capture_type(ty);
            }
        }
        for p in &f.params {
            if let Some(ty) = &p.ty {
                body.ty(ty);
            }
        }
        if let Some(ty) = &f.ret {
            body.ty(ty);
        }
        body.push_scope();
        body.stmts(&f.stmts);
        body.expr(&f.value);
        body.finish();
    }

    fn kernel(&mut self, id: KernelId, k: &'a Kernel) {
        let unit = self.items.kernel_unit[id.0 as usize];
        let mut body = Body::new(self, unit, Some(Owner::Kernel(id)));
        for g in &k.generics {
            body.generic(g);
        }
        for p in &k.params {
            body.bind(&p.name, LocalKind::Param);
        }
        for p in &k.params {
            body.shape(&p.ty);
        }
        for p in &k.params {
            body.attributes(p);
        }
        for w in &k.promises {
            body.expr(w);
        }
        body.push_scope();
        body.stmts(&k.body.stmts);
        body.finish();
        let names = self.locals.iter().filter(|l| l.owner == Owner::Kernel(id));
        self.kernel_names.extend(names.map(|l| l.name.clone()));
    }

    /// The kernel at the root of a chain of instances.
    pub fn root_kernel(&self, res: Res) -> Option<KernelId> {
        let mut res = res;
        for _ in 0..=self.items.instances.len() {
            match res {
                Res::Kernel(k) => return Some(k),
                Res::Instance(i) => {
                    let unit = self.items.instance_unit[i.0 as usize];
                    res = self.path(unit, &self.items.instances[i.0 as usize].base)?.res;
                }
                _ => return None,
            }
        }
        None
    }

    /// What a dotted name means, without reporting.
    pub fn path(&self, unit: usize, path: &Path) -> Option<Entry> {
        let mut entry = self.global(unit, path.segments[0].as_str())?;
        for segment in &path.segments[1..] {
            entry = *self.units[entry.module?].scope.get(segment.as_str())?;
        }
        Some(entry)
    }

    fn instance(&mut self, id: InstanceId, i: &'a Instance) {
        let unit = self.items.instance_unit[id.0 as usize];
        let entry = self.path(unit, &i.base);
        let Some(entry) = entry else {
            if !self.is_tainted(unit, i.base.segments[0].as_str()) {
                let kernels =
                    self.units[unit].scope.iter().filter(|(_, e)| is_kernel(e.res)).map(|(n, _)| &**n);
                let d = Diagnostic::error(codes::UNKNOWN_NAME, format!("unknown kernel `{}`", i.base))
                    .label(i.base.span, "not found in this file or its imports");
                self.diagnostics.push(near_help(d, i.base.span, &i.base.to_string(), kernels));
            }
            return;
        };
        self.resolutions[i.base.last().id.0 as usize] = entry.res;
        let Some(kernel) = self.root_kernel(entry.res) else {
            let why = if is_kernel(entry.res) { "an instance of itself" } else { "not a kernel" };
            let d = Diagnostic::error(codes::NOT_A_VALUE, format!("`{}` is {why}", i.base));
            self.diagnostics.push(d.label(i.base.span, "a kernel must stand here"));
            return;
        };
        let kernel = &self.items.kernels[kernel.0 as usize];
        let mut seen: HashMap<&str, Span> = HashMap::new();
        for s in &i.settings {
            if let Some(first) = seen.insert(s.name.as_str(), s.name.span) {
                self.diagnostics.push(
                    Diagnostic::error(codes::DUPLICATE_NAME, format!("`{}` is set twice", s.name))
                        .label(s.name.span, "set again here")
                        .secondary(first, "first set here"),
                );
            }
            let generic = kernel.generics.iter().find(|g| g.name().text == s.name.text);
            let Some(generic) = generic else {
                let d = Diagnostic::error(
                    codes::UNKNOWN_GENERIC,
                    format!("kernel `{}` has no generic parameter `{}`", kernel.name, s.name),
                );
                let mut d = d.label(s.name.span, "not among them").secondary(kernel.header, "the kernel");
                let names = kernel.generics.iter().map(|g| g.name().as_str());
                if near(s.name.as_str(), names.clone()).is_some() {
                    d = near_help(d, s.name.span, s.name.as_str(), names);
                } else {
                    let all: Vec<_> = names.map(|n| format!("`{n}`")).collect();
                    let none = "it has none: generic parameters stand in `< >` after its name".to_string();
                    d = d.note(if all.is_empty() { none } else { format!("it has {}", all.join(", ")) });
                }
                self.diagnostics.push(d);
                continue;
            };
            self.resolutions[s.name.id.0 as usize] = self.resolutions[generic.name().id.0 as usize];
            let mut body = Body::new(self, unit, None);
            match generic {
                Generic::Value { .. } => body.set(&s.value),
                Generic::Fn { params, name, .. } => match &s.value.kind {
                    SetKind::One(atom) => body.function_atom(atom, name, params.len()),
                    _ => body.not_a_function(s.value.span, name),
                },
            }
            body.finish();
        }
    }

    fn file_schedule(&mut self, unit: usize, s: &'a Schedule) {
        let Some(name) = &s.kernel else { return };
        let entry = self.units[unit].scope.get(&name.text).copied();
        let Some(entry) = entry.filter(|e| is_kernel(e.res)) else {
            if !self.is_tainted(unit, name.as_str()) {
                let kernels =
                    self.units[unit].scope.iter().filter(|(_, e)| is_kernel(e.res)).map(|(n, _)| &**n);
                let d = Diagnostic::error(codes::UNKNOWN_NAME, format!("no kernel is named `{name}`"))
                    .label(name.span, "a schedule at file level names a kernel");
                self.diagnostics.push(near_help(d, name.span, name.as_str(), kernels));
            }
            return;
        };
        self.resolutions[name.id.0 as usize] = entry.res;
        let Some(kernel) = self.root_kernel(entry.res) else { return };
        let mut body = Body::new(self, unit, Some(Owner::Kernel(kernel)));
        body.see_kernel(kernel);
        body.schedule(s);
        body.finish();
    }
}

pub fn is_kernel(res: Res) -> bool {
    matches!(res, Res::Kernel(_) | Res::Instance(_))
}

/// Whether a name belongs to a type, or to the family of floats of one width.
pub fn is_type_name(name: &str) -> bool {
    ElemType::from_name(name).is_some() || family(name).is_some()
}

/// `f6`: every float of six bits.
fn family(name: &str) -> Option<u8> {
    match name.as_bytes() {
        [b'f', d @ b'3'..=b'8'] => Some(d - b'0'),
        _ => None,
    }
}
