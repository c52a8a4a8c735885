//! What the front end yields: all items of all files, and what each name means.

use super::ast::{self, Ident, NodeId, Symbol};
use crate::diagnostics::{FileId, Span};
use std::collections::HashMap;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {
        $($(#[$doc])* #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)] pub struct $name(pub u32);)*
    };
}

ids! {
    /// A file constant.
    ConstId
    /// A function at file level, the prelude's included.
    FnId
    KernelId
    /// `kernel NAME = base<…>;`
    InstanceId
    /// A schedule at file level.
    ScheduleId
    /// A binding inside a kernel or function: a parameter, dimension, loop variable, …
    LocalId
}

/// All that was loaded. Ids index the vectors.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The file that was asked for.
    pub root: FileId,
    /// The file of what every program has, written in the language itself.
    pub prelude: FileId,
    /// Of all files.
    pub imports: Vec<ast::Import>,
    pub consts: Vec<ast::Const>,
    pub fns: Vec<ast::Function>,
    pub kernels: Vec<ast::Kernel>,
    pub instances: Vec<ast::Instance>,
    /// Those at file level; `kernel` names the kernel or instance. Those inside a kernel stand in its body.
    pub schedules: Vec<ast::Schedule>,
    /// The root file's `//;` lines.
    pub directives: Vec<Directive>,
    pub(super) locals: Vec<Local>,
    pub(super) resolutions: Vec<Res>,
    pub(super) names: HashMap<String, Res>,
}

/// What an identifier means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Res {
    /// Nothing: reported already, or a word whose meaning its place decides (a field, a schedule's word).
    #[default]
    Unresolved,
    /// A binding inside this kernel or function; also what a binding's own identifier resolves to.
    Local(LocalId),
    Const(ConstId),
    Fn(FnId),
    Kernel(KernelId),
    Instance(InstanceId),
    /// `import … as v`: the `v`.
    Module,
    Builtin(Builtin),
    /// A type name such as `f16`; `ElemType::from_name` reads it.
    Type,
    /// In a set: every small float of that many bits (`f6`).
    FloatsOf(u8),
}

/// A function that the compiler knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Builtin(pub &'static str);

/// A binding inside a kernel or function.
#[derive(Clone, Debug)]
pub struct Local {
    pub name: Symbol,
    pub kind: LocalKind,
    /// Where it is bound (a dimension: where it first stands in a shape).
    pub span: Span,
    pub owner: Owner,
}

/// Where a local belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    Kernel(KernelId),
    Fn(FnId),
    /// An item whose head did not parse.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LocalKind {
    /// A name first seen in the shape of a parameter: bound by the arguments.
    Dim,
    /// A kernel's parameter in `( )`.
    Param,
    /// A generic parameter that is a type, number or bool.
    Generic,
    /// A generic parameter that is a function.
    GenericFn,
    Tune,
    GridVar,
    LoopVar,
    Let,
    LetMut,
    Temp,
    /// A function's parameter.
    FnParam,
    /// A name in a function's `using`.
    Capture,
    /// A name that stands only in the type of a capture: a dimension (or the type's name itself) that the kernel has.
    CaptureDim,
}

impl LocalKind {
    /// As diagnostics say it: "a loop variable".
    pub fn describe(self) -> &'static str {
        match self {
            LocalKind::Dim => "a dimension",
            LocalKind::Param => "a parameter",
            LocalKind::Generic => "a generic parameter",
            LocalKind::GenericFn => "a function parameter of the kernel",
            LocalKind::Tune => "a tune parameter",
            LocalKind::GridVar => "a grid variable",
            LocalKind::LoopVar => "a loop variable",
            LocalKind::Let => "a `let`",
            LocalKind::LetMut => "a `let mut`",
            LocalKind::Temp => "a temporary tensor",
            LocalKind::FnParam => "a parameter of the function",
            LocalKind::Capture => "a captured name",
            LocalKind::CaptureDim => "a dimension of a captured name",
        }
    }
}

/// A corpus directive: one `//;` line.
#[derive(Clone, Debug, PartialEq)]
pub struct Directive {
    pub kind: DirectiveKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum DirectiveKind {
    /// `dims: M=512, N=384`
    Dims(Vec<(String, u64)>),
    /// `set: T=bf16, warps=(2,2)`
    Set(Vec<(String, String)>),
    /// `run: seed=3`
    Run(Vec<(String, String)>),
    /// `expect: error E0123 at 4:7`; line and column from 1.
    Expect { code: String, line: usize, column: usize },
}

impl Program {
    /// What an identifier means.
    pub fn res(&self, ident: &Ident) -> Res {
        self.resolutions.get(ident.id.0 as usize).copied().unwrap_or_default()
    }

    /// The same by number.
    pub fn res_of(&self, id: NodeId) -> Res {
        self.resolutions.get(id.0 as usize).copied().unwrap_or_default()
    }

    /// What a name, dotted where it is imported `as`, means at file level in the root file: how the command line names functions and constants. The
    /// prelude's names included.
    pub fn item_named(&self, name: &str) -> Res {
        self.names.get(name).copied().unwrap_or_default()
    }

    pub fn local(&self, id: LocalId) -> &Local {
        &self.locals[id.0 as usize]
    }

    /// How many locals there are; ids run from 0, so a table may be a vector.
    pub fn local_count(&self) -> usize {
        self.locals.len()
    }

    pub fn constant(&self, id: ConstId) -> &ast::Const {
        &self.consts[id.0 as usize]
    }

    pub fn function(&self, id: FnId) -> &ast::Function {
        &self.fns[id.0 as usize]
    }

    pub fn kernel(&self, id: KernelId) -> &ast::Kernel {
        &self.kernels[id.0 as usize]
    }

    pub fn instance(&self, id: InstanceId) -> &ast::Instance {
        &self.instances[id.0 as usize]
    }

    /// The kernel of that name, the root file's first.
    pub fn kernel_named(&self, name: &str) -> Option<KernelId> {
        self.kernels.iter().position(|k| k.name.as_str() == name).map(|n| KernelId(n as u32))
    }

    /// The instance of that name, the root file's first.
    pub fn instance_named(&self, name: &str) -> Option<InstanceId> {
        self.instances.iter().position(|k| k.name.as_str() == name).map(|n| InstanceId(n as u32))
    }

    /// Names of the kernels and instances that the root file itself defines, in the order of the text.
    pub fn entry_names(&self) -> Vec<&str> {
        let kernels = self.kernels.iter().map(|k| (k.name.span, k.name.as_str()));
        let instances = self.instances.iter().map(|i| (i.name.span, i.name.as_str()));
        let mut all: Vec<_> = kernels.chain(instances).filter(|(s, _)| s.file == self.root).collect();
        all.sort();
        all.into_iter().map(|(_, n)| n).collect()
    }
}
