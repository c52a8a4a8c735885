//! Modules, entries, variables, registers and statements.

use super::op::Op;
use super::operand::{RegId, Symbol};
use super::target::{Isa, Requires, Target};
use super::types::{Space, Type};

/// One PTX file.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    /// `.version`. The printer writes it as it is; [`Module::lower_version`] computes the least.
    pub version: Isa,
    /// `.target`.
    pub target: Target,
    /// `.address_size`: 64 (or 32, which is parsed but not run).
    pub address_size: u8,
    /// The `.file` table, in order of appearance.
    pub files: Vec<FileEntry>,
    /// Variables of the module, `.extern .shared` among them.
    pub globals: Vec<Variable>,
    /// Device functions, by [`FuncId`]: definitions, and declarations of what others define.
    pub functions: Vec<Function>,
    /// Kernels.
    pub entries: Vec<Entry>,
}

/// A place in [`Module::functions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FuncId(pub u32);

/// `.func (.param .b32 r) name (.param .b64 a) { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Name, linkage, registers and body as of a kernel. [`Entry::params`] holds the formal parameters in `.param` space, those
    /// for results first.
    pub code: Entry,
    /// Whether there is a body; otherwise it is declared only.
    pub defined: bool,
    /// What it returns.
    pub returns: Vec<Formal>,
    /// What it takes.
    pub inputs: Vec<Formal>,
    /// `.alias`: another name of that function.
    pub alias: Option<FuncId>,
}

/// Where a function finds a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formal {
    /// In `.param` space: one of the function's [`Entry::params`].
    Param(ParamId),
    /// In a register of its own.
    Reg(RegId),
}

/// `.file 1 "gemm.tw"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// The number that `.loc` uses.
    pub number: u32,
    /// The path as written.
    pub path: Box<str>,
}

/// A parameter's place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub u32);

/// A variable's place in [`Module::globals`] or [`Entry::vars`]; [`Symbol`] says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VarId(pub u32);

/// Who sees a module's variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Linkage {
    /// This module only.
    Private,
    /// `.extern`: defined elsewhere; `.extern .shared` is the dynamic shared memory.
    Extern,
    /// `.visible`.
    Visible,
    /// `.weak`.
    Weak,
    /// `.common`.
    Common,
}

/// A variable in `.shared`, `.global`, `.const` or `.local`.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// Its name.
    pub name: Box<str>,
    /// Who sees it.
    pub linkage: Linkage,
    /// Where it lives.
    pub space: Space,
    /// `.align`; the element's own size where nothing is written.
    pub align: u32,
    /// Its element type.
    pub ty: Type,
    /// Number of elements: `None` for `name[]`, whose size the launch decides.
    pub elements: Option<u64>,
    /// Whether it was declared as an array.
    pub array: bool,
    /// The initialiser of a `.global` or `.const` variable; the rest is zero.
    pub init: Vec<Init>,
}

impl Variable {
    /// Bytes; 0 for an unsized one.
    pub fn bytes(&self) -> u64 {
        self.elements.unwrap_or(0).saturating_mul(u64::from(self.ty.bytes()))
    }

    /// Dynamic shared memory: `.extern .shared .align 16 .b8 name[];`.
    pub fn dynamic_shared(name: &str, align: u32) -> Variable {
        Variable { linkage: Linkage::Extern, elements: None, ..Variable::shared(name, align, 0) }
    }

    /// Static shared memory: `.shared .align 16 .b8 name[bytes];`.
    pub fn shared(name: &str, align: u32, bytes: u64) -> Variable {
        Variable {
            name: name.into(),
            linkage: Linkage::Private,
            space: Space::Shared,
            align,
            ty: Type::B8,
            elements: Some(bytes),
            array: true,
            init: Vec::new(),
        }
    }
}

/// One element of an initialiser.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// A number, as the bits of the variable's type.
    Bits(u64),
    /// An address: `generic(sym) + offset`, or the address in its own space.
    Address {
        /// Whose.
        symbol: Symbol,
        /// Plus bytes.
        offset: i64,
        /// Whether it was taken with `generic()`.
        generic: bool,
    },
    /// The address of a function: an element of a table of virtual functions.
    Function(FuncId),
}

/// A kernel parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Its name.
    pub name: Box<str>,
    /// Its (element) type.
    pub ty: Type,
    /// `.align`, or the type's own.
    pub align: u32,
    /// The number of elements of an array parameter (a tensor map is `.b8 name[128]`).
    pub array: Option<u32>,
    /// `.ptr .global .align N`: what a pointer parameter points at.
    pub pointee: Option<Pointee>,
}

/// The promise on a pointer parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointee {
    /// The space it points into; generic if not said.
    pub space: Space,
    /// Its alignment.
    pub align: u32,
}

impl Param {
    /// A scalar or pointer parameter.
    pub fn scalar(name: &str, ty: Type) -> Param {
        Param { name: name.into(), ty, align: ty.bytes(), array: None, pointee: None }
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> u32 {
        self.ty.bytes().saturating_mul(self.array.unwrap_or(1))
    }
}

/// Performance directives between the parameter list and the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Launch {
    /// `.maxntid x, y, z`.
    pub maxntid: Option<[u32; 3]>,
    /// `.reqntid x, y, z`.
    pub reqntid: Option<[u32; 3]>,
    /// `.minnctapersm`.
    pub minnctapersm: Option<u32>,
    /// `.maxnctapersm`.
    pub maxnctapersm: Option<u32>,
    /// `.maxnreg`.
    pub maxnreg: Option<u32>,
    /// `.reqnctapercluster x, y, z`.
    pub reqnctapercluster: Option<[u32; 3]>,
    /// `.maxclusterrank`.
    pub maxclusterrank: Option<u32>,
    /// `.explicitcluster`.
    pub explicitcluster: bool,
    /// `.noreturn`.
    pub noreturn: bool,
    /// `.pragma` strings of the entry.
    pub pragmas: Vec<Box<str>>,
}

/// A name stem in an entry's table: `%r` of `%r1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StemId(pub u32);

/// The stem of a register name and, as parsed or built, the type its numbered registers are declared with.
#[derive(Clone, Debug, PartialEq)]
pub struct Stem {
    /// The text, `%` included.
    pub text: Box<str>,
}

/// A virtual register. It prints as its stem followed by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reg {
    /// Its declared type; [`Type::class`] is its size class.
    pub ty: Type,
    /// Its name's stem.
    pub stem: StemId,
    /// Its name's number; `None` for a register that is declared alone.
    pub number: Option<u32>,
}

/// A label of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LabelId(pub u32);

/// What a label is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its name, unique in the entry.
    pub name: Box<str>,
}

/// A kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its name.
    pub name: Box<str>,
    /// `.visible` or private.
    pub linkage: Linkage,
    /// Its parameters in order.
    pub params: Vec<Param>,
    /// Performance directives.
    pub launch: Launch,
    /// Name stems.
    pub stems: Vec<Stem>,
    /// Registers, by [`RegId`].
    pub regs: Vec<Reg>,
    /// `.shared`, `.local` (and `.param`) variables declared in the body.
    pub vars: Vec<Variable>,
    /// Labels, by [`LabelId`].
    pub labels: Vec<Label>,
    /// The body.
    pub body: Vec<Stmt>,
}

/// One statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Stmt {
    /// A branch target.
    Label(LabelId),
    /// An instruction.
    Inst(Inst),
    /// A comment on lines of its own, without its slashes. The parser does not keep any.
    Comment(Box<str>),
    /// `.pragma "…";` between instructions.
    Pragma(Box<str>),
}

/// The predicate under which an instruction takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Guard {
    /// The predicate register.
    pub reg: RegId,
    /// `@!`.
    pub negated: bool,
}

/// A place in source code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Loc {
    /// A number of [`Module::files`].
    pub file: u32,
    /// From 1.
    pub line: u32,
    /// From 1; 0 where unknown.
    pub column: u32,
}

/// An instruction with its guard and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Inst {
    /// `@p` or `@!p`.
    pub guard: Option<Guard>,
    /// What it does.
    pub op: Op,
    /// The line of the PTX file it was read from; 0 if it was built.
    pub ptx_line: u32,
    /// The source line that it implements.
    pub loc: Option<Loc>,
    /// A trailing comment, printed after `//`. The parser does not keep any.
    pub comment: Option<Box<str>>,
}

impl From<Op> for Inst {
    fn from(op: Op) -> Inst {
        Inst { guard: None, op, ptx_line: 0, loc: None, comment: None }
    }
}

impl Module {
    /// An empty module for `target`, with the least version that knows it.
    pub fn new(target: Target) -> Module {
        Module {
            version: target.floor(),
            target,
            address_size: 64,
            files: Vec::new(),
            globals: Vec::new(),
            functions: Vec::new(),
            entries: Vec::new(),
        }
    }

    /// The entry called `name`.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| &*entry.name == name)
    }

    /// Function `id`, behind its aliases.
    pub fn function(&self, id: FuncId) -> Option<&Function> {
        let function = self.functions.get(id.0 as usize)?;
        match function.alias {
            Some(id) => self.functions.get(id.0 as usize),
            None => Some(function),
        }
    }

    /// The bodies of kernels and functions.
    fn bodies(&self) -> impl Iterator<Item = &Entry> {
        self.functions.iter().map(|function| &function.code).chain(&self.entries)
    }

    /// What the instructions of all entries need together, the target's own floor included.
    pub fn requires(&self) -> Requires {
        let floor = Requires { isa: self.target.floor(), ..Requires::BASE };
        let insts = self.bodies().flat_map(Entry::insts).map(|inst| inst.op.requires());
        let directives = self.entries.iter().map(|entry| entry.launch.requires());
        insts.chain(directives).fold(floor, Requires::and)
    }

    /// Sets `.version` to the lowest that has everything used.
    pub fn lower_version(&mut self) {
        self.version = self.requires().isa;
    }

    /// Forgets PTX line numbers and comments: what is left is equal for equal programs.
    pub fn without_trivia(mut self) -> Module {
        for entry in self.functions.iter_mut().map(|function| &mut function.code).chain(&mut self.entries) {
            entry.body.retain(|stmt| !matches!(stmt, Stmt::Comment(_)));
            for stmt in &mut entry.body {
                if let Stmt::Inst(inst) = stmt {
                    inst.ptx_line = 0;
                    inst.comment = None;
                }
            }
        }
        self
    }
}

impl Launch {
    /// What the directives need: clusters are ISA 7.8 and sm_90.
    pub fn requires(&self) -> Requires {
        let cluster =
            self.reqnctapercluster.is_some() || self.maxclusterrank.is_some() || self.explicitcluster;
        Requires::new(7, 8, 90).when(cluster)
    }

    /// Threads in a block where the directives fix or bound them.
    pub fn max_threads(&self) -> Option<u32> {
        let [x, y, z] = self.reqntid.or(self.maxntid)?;
        x.checked_mul(y)?.checked_mul(z)
    }
}

impl Entry {
    /// An empty `.visible` entry.
    pub fn new(name: &str) -> Entry {
        Entry {
            name: name.into(),
            linkage: Linkage::Visible,
            params: Vec::new(),
            launch: Launch::default(),
            stems: Vec::new(),
            regs: Vec::new(),
            vars: Vec::new(),
            labels: Vec::new(),
            body: Vec::new(),
        }
    }

    /// The instructions in order.
    pub fn insts(&self) -> impl Iterator<Item = &Inst> {
        self.body.iter().filter_map(|stmt| match stmt {
            Stmt::Inst(inst) => Some(inst),
            _ => None,
        })
    }

    /// A register's declared type.
    pub fn reg_type(&self, reg: RegId) -> Type {
        self.regs[reg.index()].ty
    }

    /// A register's printed name.
    pub fn reg_name(&self, reg: RegId) -> String {
        let reg = self.regs[reg.index()];
        let stem = &self.stems[reg.stem.0 as usize].text;
        match reg.number {
            Some(number) => format!("{stem}{number}"),
            None => stem.to_string(),
        }
    }

    /// For each [`LabelId`] its place in [`Entry::body`]; `usize::MAX` for one that is nowhere.
    pub fn label_positions(&self) -> Vec<usize> {
        let mut positions = vec![usize::MAX; self.labels.len()];
        for (position, stmt) in self.body.iter().enumerate() {
            if let Stmt::Label(label) = stmt {
                positions[label.0 as usize] = position;
            }
        }
        positions
    }

    /// Byte offsets of the parameters in the parameter block, and its size: each at its alignment, in order.
    pub fn param_offsets(&self) -> (Vec<u32>, u32) {
        let mut end = 0u32;
        let offsets = self
            .params
            .iter()
            .map(|param| {
                let start = end.next_multiple_of(param.align.max(1));
                end = start.saturating_add(param.bytes());
                start
            })
            .collect();
        (offsets, end)
    }
}
