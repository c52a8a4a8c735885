//! Files and their items: follows imports, and says which name means which item in which file.
//!
//! Each file is read once, however often it is imported. A file's scope holds its own items and those of the files it imports without `as`; `import …
//! as v` puts one name, `v`, into the scope. Items of imported files' imports do not come along.

use super::ast::{self, Ident, Import, Item, Symbol};
use super::program::{ConstId, FnId, InstanceId, KernelId, Res};
use super::source::{SourceProvider, join};
use crate::diagnostics::{Diagnostic, Diagnostics, FileId, SourceMap, Span, codes};
use std::collections::{HashMap, HashSet};

/// The items of all files, by id.
#[derive(Debug, Default)]
pub struct Items {
    pub consts: Vec<ast::Const>,
    pub fns: Vec<ast::Function>,
    pub kernels: Vec<ast::Kernel>,
    pub instances: Vec<ast::Instance>,
    pub schedules: Vec<ast::Schedule>,
    /// Where each item stands: indices into the units.
    pub const_unit: Vec<usize>,
    pub fn_unit: Vec<usize>,
    pub kernel_unit: Vec<usize>,
    pub instance_unit: Vec<usize>,
    pub schedule_unit: Vec<usize>,
}

/// A name at file level.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub res: Res,
    /// Where it is defined.
    pub span: Span,
    /// For [`Res::Module`]: the unit it opens.
    pub module: Option<usize>,
}

/// One file.
#[derive(Debug)]
pub struct Unit {
    pub file: FileId,
    pub path: String,
    /// What the file defines itself.
    pub own: Vec<(Ident, Res)>,
    /// What names mean in it, imports included.
    pub scope: HashMap<Symbol, Entry>,
    /// With the unit each one opens, if it could be read.
    pub imports: Vec<(Import, Option<usize>)>,
    /// Broken items.
    pub errors: Vec<(Vec<Ident>, Option<ast::Block>)>,
    /// Names in text that did not parse: whoever misses one of these stays silent.
    pub tainted: HashSet<Symbol>,
    pub directives: Vec<super::Directive>,
}

pub struct Loaded {
    pub items: Items,
    /// The root first, the prelude last.
    pub units: Vec<Unit>,
    /// How many identifiers there are.
    pub ids: u32,
}

struct Loader<'a> {
    sources: &'a mut SourceMap,
    provider: &'a dyn SourceProvider,
    diagnostics: &'a mut Diagnostics,
    items: Items,
    units: Vec<Unit>,
    by_path: HashMap<String, usize>,
    /// The files being read, outermost first, with the import that led to each next one.
    trail: Vec<(String, Option<Span>)>,
    ids: u32,
}

/// Reads `root`, what it imports and the prelude.
pub fn load_all(
    sources: &mut SourceMap,
    provider: &dyn SourceProvider,
    root: &str,
    diagnostics: &mut Diagnostics,
) -> Loaded {
    let mut l = Loader {
        sources,
        provider,
        diagnostics,
        items: Items::default(),
        units: vec![],
        by_path: HashMap::new(),
        trail: vec![],
        ids: 0,
    };
    match l.provider.read(root) {
        Ok(text) => {
            l.file(root, text);
        }
        Err(why) => {
            let file = l.sources.add(root, "");
            let d = Diagnostic::error(codes::CANNOT_IMPORT, format!("cannot read `{root}`: {why}"));
            l.diagnostics.push(d.label(Span::new(file, 0, 0), ""));
            l.unit(root.to_string(), file, ast::File::default());
        }
    }
    let prelude = l.sources.add("<prelude>", include_str!("prelude.tw"));
    l.parse("<prelude>".into(), prelude);
    for n in 0..l.units.len() {
        l.scope(n);
    }
    Loaded { items: l.items, units: l.units, ids: l.ids }
}

impl Loader<'_> {
    /// Reads a file and, behind it, its imports.
    fn file(&mut self, path: &str, text: String) -> usize {
        let file = self.sources.add(path, text);
        let n = self.parse(path.to_string(), file);
        self.by_path.insert(path.to_string(), n);
        self.trail.push((path.to_string(), None));
        for k in 0..self.units[n].imports.len() {
            let import = self.units[n].imports[k].0.clone();
            self.trail.last_mut().expect("pushed above").1 = Some(import.span);
            self.units[n].imports[k].1 = self.import(path, &import);
        }
        self.trail.pop();
        n
    }

    fn import(&mut self, from: &str, import: &Import) -> Option<usize> {
        if !self.sources.slice(import.path_span).ends_with('"')
            || import.path_span.start + 1 == import.path_span.end
        {
            // An open string has been reported.
            return None;
        }
        let path = join(from, &import.path);
        if let Some(at) = self.trail.iter().position(|(p, _)| *p == path) {
            let chain: Vec<_> = self.trail[at..].iter().map(|(p, _)| format!("`{p}`")).collect();
            let mut d = Diagnostic::error(codes::IMPORT_CYCLE, "files import each other in a circle")
                .label(import.path_span, format!("`{path}` is being read already"));
            for (_, span) in self.trail[at..self.trail.len() - 1].iter() {
                d = d.secondary(span.unwrap_or(import.span), "imported from here");
            }
            self.diagnostics.push(d.note(format!("the circle: {}, `{path}`", chain.join(", "))));
            return None;
        }
        if let Some(n) = self.by_path.get(&path) {
            return Some(*n);
        }
        match self.provider.read(&path) {
            Ok(text) => Some(self.file(&path, text)),
            Err(why) => {
                // The place of `""` and of `"."` has no name of its own.
                let shown = if path.is_empty() { &*import.path } else { path.as_str() };
                let d = Diagnostic::error(codes::CANNOT_IMPORT, format!("cannot import `{shown}`"))
                    .label(import.path_span, why)
                    .note("paths are relative to the file that imports");
                self.diagnostics.push(d);
                None
            }
        }
    }

    fn parse(&mut self, path: String, file: FileId) -> usize {
        let text = self.sources.file(file).expect("just added").text.clone();
        let (parsed, ids) = super::parser::parse(file, &text, self.ids, self.diagnostics);
        self.ids = ids;
        self.unit(path, file, parsed)
    }

    /// Puts a file's items where they belong.
    fn unit(&mut self, path: String, file: FileId, parsed: ast::File) -> usize {
        let n = self.units.len();
        let mut unit = Unit {
            file,
            path,
            own: vec![],
            scope: HashMap::new(),
            imports: vec![],
            errors: vec![],
            tainted: HashSet::new(),
            directives: parsed.directives,
        };
        let i = &mut self.items;
        for item in parsed.items {
            match item {
                Item::Import(x) => unit.imports.push((x, None)),
                Item::Const(x) => {
                    unit.own.push((x.name.clone(), Res::Const(ConstId(i.consts.len() as u32))));
                    i.consts.push(x);
                    i.const_unit.push(n);
                }
                Item::Fn(x) => {
                    unit.own.push((x.name.clone(), Res::Fn(FnId(i.fns.len() as u32))));
                    i.fns.push(x);
                    i.fn_unit.push(n);
                }
                Item::Kernel(x) => {
                    unit.own.push((x.name.clone(), Res::Kernel(KernelId(i.kernels.len() as u32))));
                    i.kernels.push(x);
                    i.kernel_unit.push(n);
                }
                Item::Instance(x) => {
                    unit.own.push((x.name.clone(), Res::Instance(InstanceId(i.instances.len() as u32))));
                    i.instances.push(x);
                    i.instance_unit.push(n);
                }
                Item::Schedule(x) => {
                    i.schedules.push(x);
                    i.schedule_unit.push(n);
                }
                Item::Error { names, body, .. } => {
                    unit.tainted.extend(names.iter().map(|n| n.text.clone()));
                    unit.errors.push((names, body));
                }
            }
        }
        self.units.push(unit);
        n
    }

    /// Fills a file's scope: its own items, then what it imports.
    fn scope(&mut self, n: usize) {
        let mut names: Vec<(Symbol, Entry, Span)> = vec![];
        for (ident, res) in &self.units[n].own {
            let entry = Entry { res: *res, span: ident.span, module: None };
            names.push((ident.text.clone(), entry, ident.span));
        }
        let mut unknown_imports = false;
        for (import, target) in &self.units[n].imports {
            let Some(target) = *target else {
                unknown_imports |= import.alias.is_none();
                if let Some(alias) = &import.alias {
                    let entry = Entry { res: Res::Unresolved, span: alias.span, module: None };
                    names.push((alias.text.clone(), entry, alias.span));
                }
                continue;
            };
            match &import.alias {
                Some(alias) => {
                    let entry = Entry { res: Res::Module, span: alias.span, module: Some(target) };
                    names.push((alias.text.clone(), entry, alias.span));
                }
                None => {
                    for (ident, res) in &self.units[target].own {
                        let entry = Entry { res: *res, span: ident.span, module: None };
                        names.push((ident.text.clone(), entry, import.span));
                    }
                }
            }
        }
        let mut scope: HashMap<Symbol, Entry> = HashMap::new();
        for (name, entry, at) in names {
            match scope.get(&name) {
                // One file imported twice brings each item twice.
                Some(old) if old.span == entry.span => {}
                Some(old) => {
                    let d = Diagnostic::error(codes::DUPLICATE_NAME, format!("`{name}` is defined twice"));
                    let imported = at != entry.span;
                    let d =
                        d.label(at, if imported { "brought in again here" } else { "defined again here" });
                    let d = d.secondary(old.span, "first defined here");
                    let d = if imported {
                        d.secondary(entry.span, "the second definition")
                            .help("import with `as`: its names are then written `v.name`")
                    } else {
                        d
                    };
                    self.diagnostics.push(d);
                }
                None => {
                    scope.insert(name, entry);
                }
            }
        }
        self.units[n].scope = scope;
        if unknown_imports {
            // Any name might have come from the file that is missing.
            self.units[n].tainted.insert("*".into());
        }
    }
}
