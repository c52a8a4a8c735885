//! An entry's body: scopes, declarations, labels and statements.
//!
//! Nested `{ }` scopes are flattened. A register or variable of an inner scope gets a name of its own where the plain one is taken;
//! labels are resolved when their scope closes, since a branch may run ahead of them, and what a scope does not bind goes to the
//! scope around it.

use rustc_hash::{FxHashMap, FxHashSet};

use super::mods::Mods;
use super::module::{Parser, syntax, unsupported};
use super::{Failure, ParseErrorKind, Parsed};
use crate::ptx::module::{
    Entry, Guard, Inst, Label, LabelId, Linkage, Loc, Module, ParamId, Reg, Stem, StemId, Stmt, VarId,
};
use crate::ptx::op::Op;
use crate::ptx::operand::{RegId, Symbol};
use crate::ptx::types::{Space, Spelled, Type};

/// What is known while an entry's body is read.
pub(super) struct Body<'a> {
    scopes: Vec<Scope<'a>>,
    params: FxHashMap<&'a str, u32>,
    /// Declared registers that have been used, and stems.
    pub(super) regs: Vec<Reg>,
    stems: Vec<Stem>,
    /// Every name that is taken in the flattened entry: stems, registers, variables, labels.
    taken: FxHashSet<Box<str>>,
    pub(super) vars: Vec<crate::ptx::module::Variable>,
    /// Labels seen so far, before those that are the same are merged.
    labels: Vec<Provisional<'a>>,
    tables: FxHashMap<&'a str, Box<[LabelId]>>,
    stmts: Vec<Stmt>,
    loc: Option<Loc>,
}

#[derive(Default)]
struct Scope<'a> {
    /// Registers already met in this scope, and variables.
    names: FxHashMap<&'a str, Named>,
    ranges: Vec<Range<'a>>,
    labels: FxHashMap<&'a str, LabelId>,
}

#[derive(Clone, Copy)]
enum Named {
    Reg(RegId),
    /// Declared alone and not used yet.
    Unused(Type),
    Var(VarId),
}

/// `.reg .b32 %r<10>;`
struct Range<'a> {
    stem: &'a str,
    ty: Type,
    count: u32,
    id: Option<StemId>,
}

struct Provisional<'a> {
    name: &'a str,
    bound: bool,
    /// The label of the scope around that this one turned out to be.
    same_as: Option<LabelId>,
    place: (u32, u32),
}

impl<'a> Body<'a> {
    pub(super) fn new(params: FxHashMap<&'a str, u32>) -> Body<'a> {
        Body {
            scopes: vec![Scope::default()],
            params,
            regs: Vec::new(),
            stems: Vec::new(),
            taken: FxHashSet::default(),
            vars: Vec::new(),
            labels: Vec::new(),
            tables: FxHashMap::default(),
            stmts: Vec::new(),
            loc: None,
        }
    }

    /// Declares the registers of a function's head.
    pub(super) fn formals(&mut self, formals: &[(&'a str, Type)]) -> Parsed<()> {
        for &(name, ty) in formals {
            if self.scope().names.insert(name, Named::Unused(ty)).is_some() {
                return Err(Box::new(ParseErrorKind::Redeclared { name: name.into() }));
            }
            self.register(name);
        }
        Ok(())
    }

    /// Hands the registers over.
    pub(super) fn into_registers(self, entry: &mut Entry) {
        entry.regs = self.regs;
        entry.stems = self.stems;
    }

    fn scope(&mut self) -> &mut Scope<'a> {
        self.scopes.last_mut().expect("the outermost scope is never popped before the body ends")
    }

    /// A name for the flattened entry: `name`, or with a number where that is taken.
    fn unique(&mut self, name: &str) -> Box<str> {
        let mut candidate: Box<str> = name.into();
        let mut number = 1;
        while self.taken.contains(&candidate) {
            // The underscore at the end keeps `%r_1_` from being read as register 1 of a stem.
            candidate = format!("{name}_s{number}_").into();
            number += 1;
        }
        self.taken.insert(candidate.clone());
        candidate
    }

    /// The register called `name`, if it is declared.
    pub(super) fn register(&mut self, name: &'a str) -> Option<RegId> {
        for depth in (0..self.scopes.len()).rev() {
            match self.scopes[depth].names.get(name) {
                Some(Named::Reg(reg)) => return Some(*reg),
                Some(Named::Unused(ty)) => {
                    let ty = *ty;
                    let text = self.unique(name);
                    let stem = StemId(self.stems.len() as u32);
                    self.stems.push(Stem { text });
                    return Some(self.add(depth, name, Reg { ty, stem, number: None }));
                }
                Some(Named::Var(_)) => return None,
                None => {}
            }
            let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
            // A stem may end in a digit itself, so every split is tried, the longest number first.
            for split in name.len() - digits..name.len() {
                let (stem, number) = name.split_at(split);
                if number.len() > 1 && number.starts_with('0') {
                    continue;
                }
                let Ok(number) = number.parse::<u32>() else { continue };
                let found = self.scopes[depth]
                    .ranges
                    .iter()
                    .position(|range| range.stem == stem && number < range.count);
                if let Some(index) = found {
                    return Some(self.ranged(depth, index, name, number));
                }
            }
        }
        None
    }

    fn ranged(&mut self, depth: usize, index: usize, name: &'a str, number: u32) -> RegId {
        let Range { stem, ty, id, .. } = self.scopes[depth].ranges[index];
        let stem = id.unwrap_or_else(|| {
            let text = self.unique(stem);
            self.stems.push(Stem { text });
            let id = StemId(self.stems.len() as u32 - 1);
            self.scopes[depth].ranges[index].id = Some(id);
            id
        });
        self.add(depth, name, Reg { ty, stem, number: Some(number) })
    }

    fn add(&mut self, depth: usize, name: &'a str, reg: Reg) -> RegId {
        let id = RegId(self.regs.len() as u32);
        self.regs.push(reg);
        self.scopes[depth].names.insert(name, Named::Reg(id));
        id
    }

    /// The variable or parameter called `name`.
    pub(super) fn symbol(&self, name: &str, globals: &FxHashMap<&'a str, VarId>) -> Option<Symbol> {
        for scope in self.scopes.iter().rev() {
            if let Some(Named::Var(var)) = scope.names.get(name) {
                return Some(Symbol::Local(*var));
            }
        }
        if let Some(param) = self.params.get(name) {
            return Some(Symbol::Param(ParamId(*param)));
        }
        globals.get(name).map(|var| Symbol::Global(*var))
    }

    /// A label by name, in this scope until it is known better.
    pub(super) fn label(&mut self, name: &'a str, place: (u32, u32)) -> LabelId {
        if let Some(label) = self.scope().labels.get(name) {
            return *label;
        }
        let id = LabelId(self.labels.len() as u32);
        self.labels.push(Provisional { name, bound: false, same_as: None, place });
        self.scope().labels.insert(name, id);
        id
    }

    pub(super) fn table(&self, name: &str) -> Option<Box<[LabelId]>> {
        self.tables.get(name).cloned()
    }

    /// Leaves a scope: labels that it did not bind are the surrounding scope's.
    fn close_scope(&mut self) {
        let Some(scope) = self.scopes.pop() else { return };
        let Some(outer) = self.scopes.last_mut() else { return };
        let mut open: Vec<_> =
            scope.labels.into_iter().filter(|(_, label)| !self.labels[label.0 as usize].bound).collect();
        open.sort_by_key(|(_, label)| *label);
        for (name, label) in open {
            match outer.labels.get(name) {
                Some(same) => self.labels[label.0 as usize].same_as = Some(*same),
                None => {
                    outer.labels.insert(name, label);
                }
            }
        }
    }

    fn resolve(&self, mut label: LabelId) -> LabelId {
        while let Some(same) = self.labels[label.0 as usize].same_as {
            label = same;
        }
        label
    }
}

impl<'a> Parser<'a> {
    /// `{ … }` of an entry or a function. `formals` are the registers that a function's head declares; they get the first numbers.
    pub(super) fn body(
        &mut self,
        module: &mut Module,
        entry: &mut Entry,
        params: FxHashMap<&'a str, u32>,
        formals: &[(&'a str, Type)],
    ) -> Parsed<()> {
        self.cursor.expect(b'{', "`{`")?;
        let mut body = Body::new(params);
        // Names of the module and of parameters are not for locals to take.
        body.taken.extend(self.globals.keys().map(|name| Box::from(*name)));
        body.taken.extend(entry.params.iter().map(|param| param.name.clone()));
        body.formals(formals)?;
        loop {
            let place = self.cursor.place();
            if self.cursor.at_end() {
                self.report(place, syntax("`}`", "the end of the file"));
                break;
            }
            if self.cursor.eat(b'{') {
                if body.scopes.len() > 256 {
                    return Err(unsupported("nesting deeper than 256 scopes"));
                }
                body.scopes.push(Scope::default());
            } else if self.cursor.eat(b'}') {
                if body.scopes.len() == 1 {
                    break;
                }
                body.close_scope();
            } else if let Err(kind) = self.statement(module, &mut body, place) {
                self.report(place, kind);
                self.cursor.skip_statement();
            }
        }
        self.finish(entry, body);
        Ok(())
    }

    fn statement(&mut self, module: &mut Module, body: &mut Body<'a>, place: (u32, u32)) -> Parsed<()> {
        match self.cursor.peek() {
            b';' => {
                self.cursor.eat(b';');
                return Ok(());
            }
            b'.' => return self.directive(module, body),
            b'@' => return self.instruction(body, place),
            _ => {}
        }
        let before = self.cursor.clone();
        let name = self.cursor.name().ok_or_else(|| self.cursor.syntax("a statement"))?;
        let colon = self.cursor.peek() == b':';
        if !colon {
            self.cursor.rewind(before);
            return self.instruction(body, place);
        }
        self.cursor.eat(b':');
        if self.cursor.peek() == b'.' {
            let before = self.cursor.clone();
            match self.cursor.dotted() {
                Some(".branchtargets") => return self.branch_targets(body, name),
                // Only a call through a register needs them, and that is refused where it stands.
                Some(".callprototype" | ".calltargets") => {
                    self.cursor.skip_statement();
                    return Ok(());
                }
                _ => self.cursor.rewind(before),
            }
        }
        let label = body.label(name, place);
        let known = &mut body.labels[label.0 as usize];
        if known.bound {
            return Err(Box::new(ParseErrorKind::Redeclared { name: name.into() }));
        }
        known.bound = true;
        body.stmts.push(Stmt::Label(label));
        Ok(())
    }

    fn branch_targets(&mut self, body: &mut Body<'a>, name: &'a str) -> Parsed<()> {
        let mut targets = Vec::new();
        loop {
            let place = self.cursor.place();
            let target = self.cursor.need_name()?;
            targets.push(body.label(target, place));
            if !self.cursor.eat(b',') {
                break;
            }
        }
        body.tables.insert(name, targets.into());
        self.cursor.expect(b';', "`;`")
    }

    fn directive(&mut self, module: &mut Module, body: &mut Body<'a>) -> Parsed<()> {
        let word = self.cursor.dotted().ok_or_else(|| self.cursor.syntax("a directive"))?;
        match word {
            ".reg" => self.registers(body),
            ".loc" => {
                body.loc = Some(self.location()?);
                Ok(())
            }
            ".file" => self.file(module),
            ".pragma" => {
                let text = self.cursor.string()?;
                body.stmts.push(Stmt::Pragma(text.into()));
                self.cursor.expect(b';', "`;`")
            }
            ".shared" | ".local" | ".const" | ".global" | ".param" => {
                let space = Space::from_text(&word[1..]).ok_or_else(|| syntax("a state space", word))?;
                let mut declared = Vec::new();
                self.variables(space, Linkage::Private, |variable| declared.push(variable))?;
                for (name, mut variable) in declared {
                    variable.name = body.unique(name);
                    let id = VarId(body.vars.len() as u32);
                    body.vars.push(variable);
                    if body.scope().names.insert(name, Named::Var(id)).is_some() {
                        return Err(Box::new(ParseErrorKind::Redeclared { name: name.into() }));
                    }
                }
                Ok(())
            }
            _ => Err(syntax("a statement", word)),
        }
    }

    /// `.reg .b32 %r<10>, %x;`
    fn registers(&mut self, body: &mut Body<'a>) -> Parsed<()> {
        let word = self.cursor.dotted().ok_or_else(|| self.cursor.syntax("a type"))?;
        if matches!(word, ".v2" | ".v4") {
            return Err(unsupported("a vector register"));
        }
        let ty = Type::from_word(word).ok_or_else(|| syntax("a register type", word))?;
        loop {
            let name = self.cursor.need_name()?;
            if self.cursor.eat(b'<') {
                let count = self.cursor.unsigned("a number of registers")?;
                self.cursor.expect(b'>', "`>`")?;
                if body.scope().ranges.iter().any(|range| range.stem == name) {
                    return Err(Box::new(ParseErrorKind::Redeclared { name: name.into() }));
                }
                body.scope().ranges.push(Range { stem: name, ty, count, id: None });
            } else if body.scope().names.insert(name, Named::Unused(ty)).is_some() {
                return Err(Box::new(ParseErrorKind::Redeclared { name: name.into() }));
            }
            if !self.cursor.eat(b',') {
                break;
            }
        }
        self.cursor.expect(b';', "`;`")
    }

    /// `1 37 13{, function_name label{+n}, inlined_at 1 38 33}`, without an end mark.
    pub(super) fn location(&mut self) -> Parsed<Loc> {
        let file = self.cursor.unsigned("a file number")?;
        let line = self.cursor.unsigned("a line")?;
        let column = self.cursor.unsigned("a column")?;
        while self.cursor.eat(b',') {
            match self.cursor.need_name()? {
                "function_name" => {
                    self.cursor.need_name()?;
                    if self.cursor.eat(b'+') {
                        self.cursor.integer()?;
                    }
                }
                "inlined_at" => {
                    for _ in 0..3 {
                        self.cursor.integer()?;
                    }
                }
                other => return Err(syntax("`function_name` or `inlined_at`", other)),
            }
        }
        Ok(Loc { file, line, column })
    }

    fn instruction(&mut self, body: &mut Body<'a>, place: (u32, u32)) -> Parsed<()> {
        self.instruction = "@";
        let guard = if self.cursor.eat(b'@') {
            let negated = self.cursor.eat(b'!');
            Some(Guard { reg: self.reg(body, Type::Pred)?, negated })
        } else {
            None
        };
        self.cursor.blanks();
        let start = self.cursor.pos();
        if self.cursor.name().is_none() {
            return Err(self.cursor.syntax("an instruction"));
        }
        let name = self.cursor.mnemonic(start);
        self.instruction = name;
        let op = self.operation(body, name)?;
        self.cursor.expect(b';', "`,` or `;`")?;
        body.stmts.push(Stmt::Inst(Inst { guard, op, ptx_line: place.0, loc: body.loc, comment: None }));
        Ok(())
    }

    fn operation(&mut self, body: &mut Body<'a>, name: &'a str) -> Parsed<Op> {
        let (head, mods) = Mods::new(name);
        let start = self.cursor.clone();
        let strict = self.operation_of(body, head, mods);
        match &strict {
            Err(error) if is_of_modifiers(error) && Mods::have_any_order(head) => {
                let end = std::mem::replace(&mut self.cursor, start);
                let loose = self.operation_of(body, head, mods.in_any_order());
                if loose.is_err() {
                    self.cursor = end;
                    return strict;
                }
                loose
            }
            _ => strict,
        }
    }

    fn operation_of(&mut self, body: &mut Body<'a>, head: &str, mods: Mods<'a>) -> Parsed<Op> {
        for family in [
            Parser::arithmetic as fn(&mut Self, &mut Body<'a>, &str, Mods<'a>) -> Parsed<Option<Op>>,
            Parser::data,
            Parser::memory,
            Parser::matrix,
            Parser::asynchronous,
            Parser::synchronisation,
        ] {
            if let Some(op) = family(self, body, head, mods)? {
                return Ok(op);
            }
        }
        Err(unknown(mods.name))
    }

    /// Merges labels, drops those that nobody branches to, numbers the rest by position, and hands everything to the entry.
    fn finish(&mut self, entry: &mut Entry, mut body: Body<'a>) {
        while body.scopes.len() > 1 {
            body.close_scope();
        }
        let mut used = vec![false; body.labels.len()];
        for stmt in &body.stmts {
            let Stmt::Inst(inst) = stmt else { continue };
            each_target(&inst.op, |label| used[body.resolve(label).0 as usize] = true);
        }
        for (index, label) in body.labels.iter().enumerate() {
            if used[index] && !label.bound && label.same_as.is_none() {
                self.report(label.place, Box::new(ParseErrorKind::Undeclared { name: label.name.into() }));
            }
        }
        let mut number = vec![LabelId(u32::MAX); body.labels.len()];
        let mut names = Vec::new();
        for stmt in &body.stmts {
            if let Stmt::Label(label) = stmt
                && used[label.0 as usize]
            {
                number[label.0 as usize] = LabelId(names.len() as u32);
                names.push(body.labels[label.0 as usize].name);
            }
        }
        let mut labels = Vec::with_capacity(names.len());
        for name in names {
            labels.push(Label { name: body.unique(name) });
        }
        let mut stmts = std::mem::take(&mut body.stmts);
        stmts.retain(|stmt| !matches!(stmt, Stmt::Label(label) if !used[label.0 as usize]));
        let renamed = |label: LabelId| number[body.resolve(label).0 as usize];
        for stmt in &mut stmts {
            match stmt {
                Stmt::Label(label) => *label = renamed(*label),
                Stmt::Inst(Inst { op: Op::Bra(bra), .. }) => bra.target = renamed(bra.target),
                Stmt::Inst(Inst { op: Op::BrxIdx(brx), .. }) => {
                    brx.targets.iter_mut().for_each(|target| *target = renamed(*target));
                }
                _ => {}
            }
        }
        entry.labels = labels;
        entry.body = stmts;
        entry.regs = body.regs;
        entry.stems = body.stems;
        entry.vars = body.vars;
    }
}

fn unknown(name: &str) -> Failure {
    Box::new(ParseErrorKind::UnknownInstruction { name: name.into() })
}

fn each_target(op: &Op, mut each: impl FnMut(LabelId)) {
    match op {
        Op::Bra(bra) => each(bra.target),
        Op::BrxIdx(brx) => brx.targets.iter().for_each(|target| each(*target)),
        _ => {}
    }
}

impl Type {
    /// The type of a register: `.b32`.
    pub(super) fn from_word(word: &str) -> Option<Type> {
        let ty = Type::from_text(word.strip_prefix('.')?)?;
        Some(ty).filter(|ty| !ty.is_packed() || matches!(ty, Type::F16x2 | Type::Bf16x2))
    }
}

fn is_of_modifiers(error: &ParseErrorKind) -> bool {
    use ParseErrorKind::{Illegal, MissingModifier, UnknownModifier};
    matches!(error, UnknownModifier { .. } | MissingModifier { .. } | Illegal { .. })
}
