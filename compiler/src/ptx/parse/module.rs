//! What stands outside entries: headers, files, variables, and the heads of entries.

use rustc_hash::FxHashMap;

use super::cursor::Cursor;
use super::function::Signature;
use super::{Failure, MAX_ERRORS, ParseError, ParseErrorKind, Parsed};
use crate::ptx::module::{
    Entry, FileEntry, FuncId, Init, Launch, Linkage, Module, Param, Pointee, VarId, Variable,
};
use crate::ptx::operand::{Imm, Symbol};
use crate::ptx::target::{Isa, Target};
use crate::ptx::types::{Space, Spelled, Type};

/// The largest variable or parameter accepted, in elements: well above any machine's memory windows that are declared statically.
const MAX_ELEMENTS: u64 = 1 << 32;
/// A kernel's parameters fit into 32 764 bytes (PTX ISA 8.1).
const MAX_PARAM_ELEMENTS: u32 = 32_764;

pub(super) struct Parser<'a> {
    pub(super) cursor: Cursor<'a>,
    pub(super) errors: Vec<ParseError>,
    /// Variables of the module by name.
    pub(super) globals: FxHashMap<&'a str, VarId>,
    /// Device functions by name.
    pub(super) functions: FxHashMap<&'a str, FuncId>,
    /// What the functions take and return: of `module.functions`, which bodies do not see while they are read.
    pub(super) signatures: Vec<Signature>,
    /// The mnemonic being parsed, for messages.
    pub(super) instruction: &'a str,
    /// The entry or function whose body is being read.
    pub(super) within: Option<&'a str>,
}

pub(super) fn syntax(expected: &'static str, found: &str) -> Failure {
    Box::new(ParseErrorKind::Syntax { expected, found: format!("`{found}`") })
}

pub(super) fn unsupported(what: impl Into<String>) -> Failure {
    Box::new(ParseErrorKind::Unsupported { what: what.into() })
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Parser<'a> {
        Parser {
            cursor: Cursor::new(text),
            errors: Vec::new(),
            globals: FxHashMap::default(),
            functions: FxHashMap::default(),
            signatures: Vec::new(),
            instruction: "",
            within: None,
        }
    }

    #[allow(clippy::boxed_local, reason = "failures travel boxed and end here")]
    pub(super) fn report(&mut self, (line, column): (u32, u32), kind: Failure) {
        if self.errors.len() < MAX_ERRORS {
            let within = self.within.map(Box::from);
            self.errors.push(ParseError { line, column, kind: *kind, within });
        }
    }

    pub(super) fn module(&mut self) -> Module {
        let mut module = Module { version: Isa(0, 0), ..Module::new(Target::SM_80) };
        if let Err(kind) = self.header(&mut module) {
            let place = self.cursor.place();
            self.report(place, kind);
            return module;
        }
        while !self.cursor.at_end() {
            let (place, start) = (self.cursor.place(), self.cursor.pos());
            if let Err(kind) = self.item(&mut module) {
                self.report(place, kind);
                self.cursor.skip_statement();
            }
            if self.cursor.pos() == start && self.cursor.skip_block().is_err() {
                // A stray closing brace or the like: step over it so that the loop ends.
                self.cursor.eat(b'}');
                if self.cursor.pos() == start {
                    break;
                }
            }
        }
        module
    }

    /// `.version 8.0 .target sm_90a, debug .address_size 64`
    fn header(&mut self, module: &mut Module) -> Parsed<()> {
        if !self.cursor.eat_dotted(".version") {
            return Err(self.cursor.syntax("`.version`"));
        }
        let start = {
            self.cursor.blanks();
            self.cursor.pos()
        };
        self.cursor.literal()?;
        let text = self.cursor.slice_from(start);
        let (major, minor) = text.split_once('.').ok_or_else(|| syntax("a version like 8.0", text))?;
        module.version = match (major.parse(), minor.parse()) {
            (Ok(major), Ok(minor)) => Isa(major, minor),
            _ => return Err(syntax("a version like 8.0", text)),
        };
        if !self.cursor.eat_dotted(".target") {
            return Err(self.cursor.syntax("`.target`"));
        }
        let name = self.cursor.need_name()?;
        module.target = Target::parse(name).ok_or_else(|| syntax("a target like sm_80", name))?;
        while self.cursor.eat(b',') {
            self.cursor.need_name()?;
        }
        if self.cursor.eat_dotted(".address_size") {
            module.address_size = match self.cursor.integer()? {
                64 => 64,
                32 => return Err(unsupported("`.address_size 32`")),
                other => return Err(syntax("32 or 64", &other.to_string())),
            };
        }
        Ok(())
    }

    fn item(&mut self, module: &mut Module) -> Parsed<()> {
        let mut linkage = Linkage::Private;
        loop {
            let Some(word) = self.cursor.dotted() else {
                if self.cursor.eat(b';') {
                    return Ok(());
                }
                return Err(self.cursor.syntax("a directive"));
            };
            match word {
                ".visible" => linkage = Linkage::Visible,
                ".extern" => linkage = Linkage::Extern,
                ".weak" => linkage = Linkage::Weak,
                ".common" => linkage = Linkage::Common,
                ".entry" => {
                    let entry = self.entry(module, linkage)?;
                    module.entries.extend(entry);
                    return Ok(());
                }
                ".func" => return self.function(module, linkage),
                ".file" => return self.file(module),
                ".section" => {
                    // `.section .debug_str { … }`
                    if self.cursor.dotted().is_none() {
                        self.cursor.need_name()?;
                    }
                    return self.cursor.skip_block();
                }
                ".pragma" => {
                    self.cursor.string()?;
                    return self.cursor.expect(b';', "`;`");
                }
                ".loc" => {
                    self.location()?;
                    return Ok(());
                }
                ".alias" => return self.alias(module),
                _ => {
                    let space = Space::from_text(&word[1..]).ok_or_else(|| syntax("a directive", word))?;
                    let mut declared = Vec::new();
                    self.variables(space, linkage, |variable| declared.push(variable))?;
                    for (name, variable) in declared {
                        let id = VarId(module.globals.len() as u32);
                        match self.globals.get(name) {
                            // `.extern` first and the definition later is one variable.
                            Some(known) if module.globals[known.0 as usize].linkage == Linkage::Extern => {
                                module.globals[known.0 as usize] = variable;
                            }
                            Some(_) if variable.linkage == Linkage::Extern => {}
                            Some(_) => {
                                return Err(Box::new(ParseErrorKind::Redeclared { name: name.into() }));
                            }
                            None => {
                                self.globals.insert(name, id);
                                module.globals.push(variable);
                            }
                        }
                    }
                    return Ok(());
                }
            }
        }
    }

    /// `.file 1 "kernel.py"{, timestamp, size}`
    pub(super) fn file(&mut self, module: &mut Module) -> Parsed<()> {
        let number = self.cursor.unsigned("a file number")?;
        let path = self.cursor.string()?.into();
        while self.cursor.eat(b',') {
            self.cursor.integer()?;
        }
        module.files.push(FileEntry { number, path });
        Ok(())
    }

    /// Type, alignment and vector words of a declaration, in any order: (alignment, type, vector length).
    fn declared_type(&mut self) -> Parsed<(Option<u32>, Type, u64)> {
        let (mut align, mut vector) = (None, 1);
        loop {
            match self.cursor.dotted() {
                Some(".align") => align = Some(self.alignment()?),
                Some(".v2") => vector = 2,
                Some(".v4") => vector = 4,
                Some(word) => match Type::from_text(&word[1..]) {
                    Some(ty) if ty != Type::Pred => return Ok((align, ty, vector)),
                    _ => return Err(syntax("a type", word)),
                },
                None => return Err(self.cursor.syntax("a type")),
            }
        }
    }

    fn alignment(&mut self) -> Parsed<u32> {
        let align = self.cursor.unsigned("an alignment")?;
        if align.is_power_of_two() && align <= 1 << 16 {
            return Ok(align);
        }
        Err(syntax("a power of two up to 65536", &align.to_string()))
    }

    /// `.align 16 .b8 name[128] = {…}, other;` after its state space.
    pub(super) fn variables(
        &mut self,
        space: Space,
        linkage: Linkage,
        mut each: impl FnMut((&'a str, Variable)),
    ) -> Parsed<()> {
        let (align, ty, vector) = self.declared_type()?;
        loop {
            let name = self.cursor.need_name()?;
            let (mut elements, mut array, mut unsized_) = (vector, vector > 1, false);
            while self.cursor.eat(b'[') {
                array = true;
                if self.cursor.peek() == b']' {
                    unsized_ = true;
                } else {
                    let count = u64::try_from(self.cursor.integer()?).unwrap_or(u64::MAX);
                    elements = elements
                        .checked_mul(count)
                        .filter(|n| *n <= MAX_ELEMENTS)
                        .ok_or_else(|| syntax("a sane array size", name))?;
                }
                self.cursor.expect(b']', "`]`")?;
            }
            let init = if self.cursor.eat(b'=') { self.initialisers(ty)? } else { Vec::new() };
            if unsized_ && !init.is_empty() {
                elements = init.len() as u64;
                unsized_ = false;
            }
            if init.len() as u64 > elements {
                return Err(syntax("as many initial values as elements", name));
            }
            let elements = if unsized_ { None } else { Some(elements) };
            let natural = ty.bytes().saturating_mul(vector as u32);
            let variable = Variable {
                name: name.into(),
                linkage,
                space,
                align: align.unwrap_or(natural),
                ty,
                elements,
                array,
                init,
            };
            each((name, variable));
            if !self.cursor.eat(b',') {
                break;
            }
        }
        self.cursor.expect(b';', "`;`")
    }

    fn initialisers(&mut self, ty: Type) -> Parsed<Vec<Init>> {
        let mut values = Vec::new();
        let mut depth = 0u32;
        loop {
            while self.cursor.eat(b'{') {
                depth += 1;
            }
            if !(depth > 0 && self.cursor.peek() == b'}') {
                values.push(self.initialiser(ty)?);
            }
            while depth > 0 && self.cursor.eat(b'}') {
                depth -= 1;
            }
            if depth == 0 || !self.cursor.eat(b',') {
                break;
            }
        }
        if depth > 0 {
            return Err(self.cursor.syntax("`}`"));
        }
        Ok(values)
    }

    fn initialiser(&mut self, ty: Type) -> Parsed<Init> {
        let Some(name) = self.cursor.name() else {
            let bits = match self.cursor.literal()? {
                Imm::Int(value) if ty == Type::F64 => (value as f64).to_bits(),
                Imm::Int(value) if ty == Type::F32 => u64::from((value as f32).to_bits()),
                // Signed values are kept sign-extended, so that they print as they were written.
                Imm::Int(value) if ty.is_signed() => value as u64,
                imm => imm.bits(ty),
            };
            return Ok(Init::Bits(bits));
        };
        let generic = name == "generic";
        let name = if generic {
            self.cursor.expect(b'(', "`(`")?;
            let name = self.cursor.need_name()?;
            self.cursor.expect(b')', "`)`")?;
            name
        } else {
            name
        };
        // A table of them is there for all kernels of the file; who calls through it is another question.
        if let Some(&function) = self.functions.get(name) {
            return Ok(Init::Function(function));
        }
        let var = self
            .globals
            .get(name)
            .ok_or_else(|| Box::new(ParseErrorKind::Undeclared { name: name.into() }))?;
        let symbol = Symbol::Global(*var);
        let offset = match self.cursor.peek() {
            b'+' | b'-' => self.cursor.integer()?,
            _ => 0,
        };
        Ok(Init::Address { symbol, offset, generic })
    }

    /// Everything of an entry; `None` for a declaration without a body.
    fn entry(&mut self, module: &mut Module, linkage: Linkage) -> Parsed<Option<Entry>> {
        let name = self.cursor.need_name()?;
        if module.entries.iter().any(|entry| &*entry.name == name) {
            return Err(Box::new(ParseErrorKind::Redeclared { name: name.into() }));
        }
        let mut entry = Entry { linkage, ..Entry::new(name) };
        let mut params = FxHashMap::default();
        if self.cursor.eat(b'(') && !self.cursor.eat(b')') {
            loop {
                let (name, param) = self.param()?;
                if params.insert(name, entry.params.len() as u32).is_some() {
                    return Err(Box::new(ParseErrorKind::Redeclared { name: name.into() }));
                }
                entry.params.push(param);
                if !self.cursor.eat(b',') {
                    break;
                }
            }
            self.cursor.expect(b')', "`,` or `)`")?;
        }
        self.launch(&mut entry.launch)?;
        if self.cursor.eat(b';') {
            return Ok(None);
        }
        self.within = Some(name);
        let read = self.body(module, &mut entry, params, &[]);
        self.within = None;
        read.map(|()| Some(entry))
    }

    /// One parameter of a list.
    pub(super) fn param(&mut self) -> Parsed<(&'a str, Param)> {
        if !self.cursor.eat_dotted(".param") {
            return Err(self.cursor.syntax("`.param`"));
        }
        let (align, ty, vector) = self.declared_type()?;
        if vector != 1 {
            return Err(unsupported("a vector parameter"));
        }
        let pointee = if self.cursor.eat_dotted(".ptr") {
            let mut pointee = Pointee { space: Space::Generic, align: 4 };
            while let Some(word) = self.cursor.dotted() {
                match word {
                    ".align" => pointee.align = self.alignment()?,
                    _ => {
                        pointee.space =
                            Space::from_text(&word[1..]).ok_or_else(|| syntax("a state space", word))?
                    }
                }
            }
            Some(pointee)
        } else {
            None
        };
        let name = self.cursor.need_name()?;
        let array = if self.cursor.eat(b'[') {
            let elements =
                if self.cursor.peek() == b']' { 0 } else { self.cursor.unsigned("an array size")? };
            if elements > MAX_PARAM_ELEMENTS {
                return Err(syntax("at most 32764 bytes of parameters", name));
            }
            self.cursor.expect(b']', "`]`")?;
            Some(elements)
        } else {
            None
        };
        Ok((name, Param { name: name.into(), ty, align: align.unwrap_or(ty.bytes()), array, pointee }))
    }

    pub(super) fn launch(&mut self, launch: &mut Launch) -> Parsed<()> {
        while let Some(word) = self.cursor.dotted() {
            match word {
                ".maxntid" => launch.maxntid = Some(self.triple()?),
                ".reqntid" => launch.reqntid = Some(self.triple()?),
                ".reqnctapercluster" => launch.reqnctapercluster = Some(self.triple()?),
                ".minnctapersm" => launch.minnctapersm = Some(self.cursor.unsigned("a number of blocks")?),
                ".maxnctapersm" => launch.maxnctapersm = Some(self.cursor.unsigned("a number of blocks")?),
                ".maxnreg" => launch.maxnreg = Some(self.cursor.unsigned("a number of registers")?),
                ".maxclusterrank" => launch.maxclusterrank = Some(self.cursor.unsigned("a cluster size")?),
                ".explicitcluster" => launch.explicitcluster = true,
                ".noreturn" => launch.noreturn = true,
                ".pragma" => {
                    launch.pragmas.push(self.cursor.string()?.into());
                    self.cursor.expect(b';', "`;`")?;
                }
                _ => return Err(syntax("a performance directive or `{`", word)),
            }
        }
        Ok(())
    }

    fn triple(&mut self) -> Parsed<[u32; 3]> {
        let mut sizes = [1; 3];
        for (index, size) in sizes.iter_mut().enumerate() {
            if index > 0 && !self.cursor.eat(b',') {
                break;
            }
            *size = self.cursor.unsigned("a size")?;
        }
        Ok(sizes)
    }
}
