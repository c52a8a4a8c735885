//! The printer: one pass into one `String`.
//!
//! ```text
//!     .loc    1 12 5
//! $L_loop:
//!     ld.shared.v4.b32        {%r1, %r2, %r3, %r4}, [%r9+2048];       // A, step 0
//!     @%p1 bra                $L_loop;
//! ```
//!
//! Registers are declared per stem, `.reg .b32 %r<N>;` with the smallest N. `.loc` is written when it changes. Output depends on
//! the module alone, and parsing it gives the same module back (comments aside).

use std::fmt::Write;

use super::module::{
    Entry, Formal, FuncId, Function, Init, Inst, LabelId, Linkage, Loc, Module, Param, Stmt, Variable,
};
use super::op::Op;
use super::operand::{Address, Base, Imm, Operand, OperandVisitor, RegId, Symbol};
use super::types::{Space, Spelled, Type, TypeKind};
use crate::parallel;

/// Column where operands start, and where trailing comments start.
const OPERANDS: usize = 32;
const COMMENTS: usize = 80;

/// The module as PTX text.
pub fn print(module: &Module) -> String {
    let mut out = String::with_capacity(1024);
    header(module, &mut out);
    // All are declared before the first is defined, so that each may call every other.
    for function in &module.functions {
        out.push('\n');
        let mut printer = Printer::new(module, &function.code, &mut out);
        printer.function_head(function);
        printer.out.push_str(";\n");
    }
    for function in &module.functions {
        if let Some(FuncId(target)) = function.alias {
            let target = module.functions.get(target as usize).map_or("_", |f| &*f.code.name);
            let _ = writeln!(out, "\n.alias {}, {target};", function.code.name);
        }
    }
    for function in module.functions.iter().filter(|function| function.defined) {
        out.push('\n');
        let mut printer = Printer::new(module, &function.code, &mut out);
        printer.function_head(function);
        printer.out.push('\n');
        let formals = function.inputs.iter().chain(&function.returns);
        let own = formals.filter_map(|formal| match formal {
            Formal::Reg(reg) => Some(*reg),
            Formal::Param(_) => None,
        });
        printer.body(&own.collect::<Vec<_>>());
    }
    let texts = parallel::each(module.entries.iter().collect(), |entry: &Entry| {
        let mut text = String::with_capacity(1024 + 96 * entry.body.len());
        text.push('\n');
        Printer::new(module, entry, &mut text).entry();
        text
    });
    texts.iter().for_each(|text| out.push_str(text));
    out
}

fn header(module: &Module, out: &mut String) {
    let _ = writeln!(out, ".version {}", module.version);
    let _ = writeln!(out, ".target {}", module.target);
    let _ = writeln!(out, ".address_size {}", module.address_size);
    if !module.files.is_empty() {
        out.push('\n');
    }
    for file in &module.files {
        let _ = writeln!(out, ".file {} \"{}\"", file.number, file.path);
    }
    if !module.globals.is_empty() {
        out.push('\n');
    }
    for variable in &module.globals {
        declare(variable, module, out);
    }
}

fn linkage(linkage: Linkage) -> &'static str {
    match linkage {
        Linkage::Private => "",
        Linkage::Extern => ".extern ",
        Linkage::Visible => ".visible ",
        Linkage::Weak => ".weak ",
        Linkage::Common => ".common ",
    }
}

/// `.extern .shared .align 16 .b8 smem[];`
fn declare(variable: &Variable, module: &Module, out: &mut String) {
    let _ = write!(out, "{}.{} ", linkage(variable.linkage), variable.space);
    if variable.align != variable.ty.bytes() {
        let _ = write!(out, ".align {} ", variable.align);
    }
    let _ = write!(out, ".{} {}", variable.ty, variable.name);
    match (variable.array, variable.elements) {
        (true, Some(elements)) => {
            let _ = write!(out, "[{elements}]");
        }
        (true, None) => out.push_str("[]"),
        (false, _) => {}
    }
    if !variable.init.is_empty() {
        out.push_str(" = ");
        if variable.array {
            out.push('{');
        }
        for (index, init) in variable.init.iter().enumerate() {
            if index > 0 {
                out.push_str(", ");
            }
            initialiser(*init, variable.ty, module, out);
        }
        if variable.array {
            out.push('}');
        }
    }
    out.push_str(";\n");
}

fn initialiser(init: Init, ty: Type, module: &Module, out: &mut String) {
    let _ = match init {
        Init::Bits(bits) if ty == Type::F32 => write!(out, "{}", Imm::F32(bits as u32)),
        Init::Bits(bits) if ty == Type::F64 => write!(out, "{}", Imm::F64(bits)),
        Init::Bits(bits) if ty.kind() == TypeKind::Signed => write!(out, "{}", bits as i64),
        Init::Bits(bits) => write!(out, "{bits}"),
        Init::Function(id) => {
            let name = module.functions.get(id.0 as usize).map_or("_", |function| &*function.code.name);
            write!(out, "{name}")
        }
        Init::Address { symbol, offset, generic } => {
            let name = match symbol {
                Symbol::Global(var) => module.globals.get(var.0 as usize).map_or("_", |var| &*var.name),
                _ => "_",
            };
            let (open, close) = if generic { ("generic(", ")") } else { ("", "") };
            match offset {
                0 => write!(out, "{open}{name}{close}"),
                _ => write!(out, "{open}{name}{close}+{offset}"),
            }
        }
    };
}

/// Prints one entry; also the visitor that writes operands.
struct Printer<'a> {
    module: &'a Module,
    entry: &'a Entry,
    out: &'a mut String,
    /// Whether the next operand needs a separator.
    separate: bool,
    /// Inside the brackets of an address, whose register is printed at its end.
    in_address: bool,
    tables: u32,
    names: Names,
}

/// The registers' names, side by side: each is written once and copied wherever it is used.
struct Names {
    text: String,
    ends: Vec<usize>,
}

impl Names {
    fn of(entry: &Entry) -> Names {
        let mut names = Names { text: String::new(), ends: Vec::with_capacity(entry.regs.len()) };
        for reg in &entry.regs {
            names.text.push_str(&entry.stems[reg.stem.0 as usize].text);
            if let Some(number) = reg.number {
                decimal(u64::from(number), &mut names.text);
            }
            names.ends.push(names.text.len());
        }
        names
    }

    fn get(&self, reg: RegId) -> &str {
        let start = reg.index().checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[reg.index()]]
    }
}

/// Decimal digits without the formatting machinery.
fn decimal(mut value: u64, out: &mut String) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len() - 1;
    while value > 9 {
        digits[at] += (value % 10) as u8;
        value /= 10;
        at -= 1;
    }
    digits[at] += value as u8;
    out.push_str(str::from_utf8(&digits[at..]).unwrap_or_default());
}

impl<'a> Printer<'a> {
    fn new(module: &'a Module, entry: &'a Entry, out: &'a mut String) -> Printer<'a> {
        Printer { module, entry, out, separate: false, in_address: false, tables: 0, names: Names::of(entry) }
    }

    fn entry(&mut self) {
        let entry = self.entry;
        let _ = write!(self.out, "{}.entry {}(", linkage(entry.linkage), entry.name);
        for (index, param) in entry.params.iter().enumerate() {
            self.out.push_str(if index == 0 { "\n" } else { ",\n" });
            self.out.push_str("    ");
            self.param(param);
        }
        self.out.push_str(if entry.params.is_empty() { ")\n" } else { "\n)\n" });
        self.launch();
        self.body(&[]);
    }

    /// `.visible .func (.param .b32 r) name (.reg .b32 a)`
    fn function_head(&mut self, function: &Function) {
        let code = self.entry;
        let _ = write!(self.out, "{}.func ", linkage(code.linkage));
        if !function.returns.is_empty() {
            self.formals(&function.returns);
            self.out.push(' ');
        }
        self.out.push_str(&code.name);
        self.out.push(' ');
        self.formals(&function.inputs);
        if code.launch.noreturn {
            self.out.push_str(" .noreturn");
        }
    }

    fn formals(&mut self, formals: &[Formal]) {
        self.out.push('(');
        for (index, formal) in formals.iter().enumerate() {
            if index > 0 {
                self.out.push_str(", ");
            }
            match *formal {
                Formal::Param(param) => self.param(&self.entry.params[param.0 as usize]),
                Formal::Reg(reg) => {
                    let _ = write!(self.out, ".reg .{} ", self.entry.reg_type(reg));
                    self.reg_name(reg);
                }
            }
        }
        self.out.push(')');
    }

    /// Everything between braces; `declared` are registers that the head has declared.
    fn body(&mut self, declared: &[RegId]) {
        let entry = self.entry;
        self.out.push_str("{\n");
        self.registers(declared);
        for variable in &entry.vars {
            self.out.push_str("    ");
            declare(variable, self.module, self.out);
        }
        let mut loc = None;
        for stmt in &entry.body {
            self.statement(stmt, &mut loc);
        }
        self.out.push_str("}\n");
    }

    fn param(&mut self, param: &Param) {
        self.out.push_str(".param ");
        if param.align != param.ty.bytes() {
            let _ = write!(self.out, ".align {} ", param.align);
        }
        let _ = write!(self.out, ".{} ", param.ty);
        if let Some(pointee) = param.pointee {
            self.out.push_str(".ptr ");
            if pointee.space != Space::Generic {
                let _ = write!(self.out, ".{} ", pointee.space);
            }
            let _ = write!(self.out, ".align {} ", pointee.align);
        }
        self.out.push_str(&param.name);
        if let Some(elements) = param.array {
            let _ = write!(self.out, "[{elements}]");
        }
    }

    fn launch(&mut self) {
        let launch = &self.entry.launch;
        let triples = [
            (".maxntid", launch.maxntid),
            (".reqntid", launch.reqntid),
            (".reqnctapercluster", launch.reqnctapercluster),
        ];
        if launch.explicitcluster {
            self.out.push_str(".explicitcluster\n");
        }
        for (name, value) in triples {
            if let Some([x, y, z]) = value {
                let _ = writeln!(self.out, "{name} {x}, {y}, {z}");
            }
        }
        let scalars = [
            (".minnctapersm", launch.minnctapersm),
            (".maxnctapersm", launch.maxnctapersm),
            (".maxnreg", launch.maxnreg),
            (".maxclusterrank", launch.maxclusterrank),
        ];
        for (name, value) in scalars {
            if let Some(value) = value {
                let _ = writeln!(self.out, "{name} {value}");
            }
        }
        if launch.noreturn {
            self.out.push_str(".noreturn\n");
        }
        for pragma in &launch.pragmas {
            let _ = writeln!(self.out, ".pragma \"{pragma}\";");
        }
    }

    /// One `.reg` line a numbered stem, one a lone register, in order of first use.
    fn registers(&mut self, declared: &[RegId]) {
        let mut stems: Vec<Option<(Type, Option<u32>)>> = vec![None; self.entry.stems.len()];
        for (index, reg) in self.entry.regs.iter().enumerate() {
            if declared.contains(&RegId(index as u32)) {
                continue;
            }
            let seen = &mut stems[reg.stem.0 as usize];
            let highest = seen.and_then(|(_, highest)| highest).max(reg.number);
            *seen = Some((reg.ty, highest));
        }
        for (stem, seen) in self.entry.stems.iter().zip(stems) {
            let Some((ty, highest)) = seen else { continue };
            let _ = match highest {
                Some(highest) => {
                    writeln!(self.out, "    .reg .{ty} {}<{}>;", stem.text, u64::from(highest) + 1)
                }
                None => writeln!(self.out, "    .reg .{ty} {};", stem.text),
            };
        }
    }

    fn statement(&mut self, stmt: &Stmt, loc: &mut Option<Loc>) {
        match stmt {
            Stmt::Label(label) => {
                self.out.push('\n');
                self.out.push_str(&self.entry.labels[label.0 as usize].name);
                self.out.push_str(":\n");
            }
            Stmt::Comment(text) => {
                for line in text.lines() {
                    self.out.push_str("    // ");
                    self.out.push_str(line);
                    self.out.push('\n');
                }
            }
            Stmt::Pragma(text) => {
                let _ = writeln!(self.out, "    .pragma \"{text}\";");
            }
            Stmt::Inst(inst) => {
                if inst.loc != *loc
                    && let Some(here) = inst.loc
                {
                    let _ = writeln!(self.out, "    .loc    {} {} {}", here.file, here.line, here.column);
                    *loc = inst.loc;
                }
                self.inst(inst);
            }
        }
    }

    fn inst(&mut self, inst: &Inst) {
        let table = match &inst.op {
            Op::BrxIdx(brx) => Some(self.table(&brx.targets)),
            _ => None,
        };
        let line = self.out.len();
        self.out.push_str("    ");
        if let Some(guard) = inst.guard {
            self.out.push_str(if guard.negated { "@!" } else { "@" });
            self.reg_name(guard.reg);
            self.out.push(' ');
        }
        inst.op.mnemonic(self.out);
        let bare = self.out.len();
        self.pad(line, OPERANDS);
        let start = self.out.len();
        self.separate = false;
        inst.op.operands(self);
        if let Some(table) = table {
            let _ = write!(self.out, ", $L_table_{table}");
        }
        if self.out.len() == start {
            self.out.truncate(bare);
        }
        self.out.push(';');
        if let Some(comment) = &inst.comment {
            self.pad(line, COMMENTS);
            self.out.push_str("// ");
            self.out.push_str(&comment.replace('\n', " "));
        }
        self.out.push('\n');
    }

    /// `.branchtargets` of a `brx.idx`, named by its number.
    fn table(&mut self, targets: &[LabelId]) -> u32 {
        self.tables += 1;
        let _ = write!(self.out, "$L_table_{}:\n    .branchtargets ", self.tables);
        for (index, target) in targets.iter().enumerate() {
            if index > 0 {
                self.out.push_str(", ");
            }
            self.out.push_str(&self.entry.labels[target.0 as usize].name);
        }
        self.out.push_str(";\n");
        self.tables
    }

    /// Blanks up to `column` of the line that starts at byte `line`, at least one.
    fn pad(&mut self, line: usize, column: usize) {
        const BLANKS: &str =
            "                                                                                ";
        let used = self.out.len() - line;
        let want = column.saturating_sub(used).max(1);
        self.out.push_str(&BLANKS[..want]);
    }

    fn reg_name(&mut self, reg: RegId) {
        self.out.push_str(self.names.get(reg));
    }

    fn int(&mut self, value: i64) {
        if value < 0 {
            self.out.push('-');
        }
        decimal(value.unsigned_abs(), self.out);
    }

    fn symbol(&mut self, symbol: Symbol) {
        let name = match symbol {
            Symbol::Param(param) => &self.entry.params[param.0 as usize].name,
            Symbol::Global(var) => &self.module.globals[var.0 as usize].name,
            Symbol::Local(var) => &self.entry.vars[var.0 as usize].name,
        };
        self.out.push_str(name);
    }

    /// What stands inside an address's brackets.
    fn location(&mut self, address: &Address) {
        match address.base {
            Base::Reg(reg) => self.reg_name(reg),
            Base::Sym(symbol) => self.symbol(symbol),
            Base::Absolute => return self.int(address.offset),
        }
        if address.offset != 0 {
            self.out.push('+');
            self.int(address.offset);
        }
    }

    fn separator(&mut self) {
        if self.separate {
            self.out.push_str(", ");
        }
        self.separate = true;
    }
}

impl OperandVisitor for Printer<'_> {
    fn def(&mut self, reg: RegId) {
        self.separator();
        self.reg_name(reg);
    }

    fn sink(&mut self) {
        self.separator();
        self.out.push('_');
    }

    fn reg(&mut self, reg: RegId) {
        if !self.in_address {
            self.separator();
            self.reg_name(reg);
        }
    }

    fn both(&mut self, reg: RegId) {
        self.def(reg);
    }

    fn constant(&mut self, operand: &Operand) {
        self.separator();
        match operand {
            Operand::Reg(reg) => self.reg_name(*reg),
            Operand::Imm(Imm::Int(value)) => self.int(*value),
            Operand::Imm(imm) => {
                let _ = write!(self.out, "{imm}");
            }
            Operand::Sym(symbol, offset) => {
                self.symbol(*symbol);
                if *offset != 0 {
                    self.out.push('+');
                    self.int(i64::from(*offset));
                }
            }
            Operand::Special(special) => self.out.push_str(special.text()),
        }
    }

    fn not(&mut self) {
        self.separator();
        self.out.push('!');
        self.separate = false;
    }

    fn minus(&mut self) {
        self.separator();
        self.out.push('-');
        self.separate = false;
    }

    fn suffix(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn label(&mut self, label: LabelId) {
        if !self.in_address {
            self.separator();
            self.out.push_str(&self.entry.labels[label.0 as usize].name);
        }
    }

    fn function(&mut self, function: FuncId) {
        self.separator();
        self.out.push_str(self.module.functions.get(function.0 as usize).map_or("_", |f| &*f.code.name));
    }

    fn address_begin(&mut self) {
        self.separator();
        self.in_address = true;
    }

    fn address_end(&mut self, address: &Address) {
        self.in_address = false;
        self.out.push('[');
        self.location(address);
        self.out.push(']');
    }

    fn open(&mut self, bracket: char) {
        if bracket == '<' {
            // A branch table is printed by name; its labels are skipped.
            self.in_address = true;
            return;
        }
        self.separator();
        self.out.push(bracket);
        self.separate = false;
    }

    fn close(&mut self, bracket: char) {
        if bracket == '>' {
            self.in_address = false;
            return;
        }
        self.out.push(bracket);
        self.separate = true;
    }

    fn pipe(&mut self) {
        self.out.push('|');
        self.separate = false;
    }

    fn tensor_begin(&mut self) {
        self.in_address = true;
    }

    fn tensor_end(&mut self, map: &Address) {
        self.in_address = false;
        self.location(map);
        self.separate = true;
    }
}
