//! Builds an [`Entry`] instruction by instruction.
//!
//! ```
//! use tilewright_compiler::ptx::{Builder, Type, op::*};
//! let mut b = Builder::new("double");
//! let x = b.fresh(Type::B32);
//! let one = b.fresh(Type::B32);
//! b.push(Shift { op: ShiftOp::Shl, ty: Type::B32, dst: x, a: one.into(), b: 1.into() });
//! b.push(Ret { uniform: false });
//! let entry = b.finish();
//! assert_eq!(entry.reg_name(x), "%r1");
//! ```

use super::module::{
    Entry, Guard, Inst, Label, LabelId, Loc, Param, ParamId, Reg, Stem, StemId, Stmt, VarId, Variable,
};
use super::op::Op;
use super::operand::{RegId, Symbol};
use super::types::Type;

/// An entry under construction, with the guard and source place that the next instructions get.
#[derive(Debug)]
pub struct Builder {
    entry: Entry,
    /// Per stem asked for and type: the stem in the table and its last number. There are a handful, so a search beats a hash.
    counters: Vec<Counter>,
    guard: Option<Guard>,
    loc: Option<Loc>,
}

#[derive(Debug)]
struct Counter {
    asked: Box<str>,
    ty: Type,
    stem: StemId,
    last: u32,
}

/// The conventional stem of a type: `%r` for 32 bits, `%rd` for 64, `%f %fd` for floats, `%h` for halves, `%p` for predicates.
fn default_stem(ty: Type) -> &'static str {
    match ty {
        Type::Pred => "%p",
        Type::F32 => "%f",
        Type::F64 => "%fd",
        _ => match ty.bits() {
            0..=8 => "%b",
            9..=16 => "%h",
            17..=32 => "%r",
            33..=64 => "%rd",
            _ => "%rq",
        },
    }
}

impl Builder {
    /// An empty `.visible` entry.
    pub fn new(name: &str) -> Builder {
        Builder { entry: Entry::new(name), counters: Vec::new(), guard: None, loc: None }
    }

    /// The entry as it stands, for what has no method here (performance directives).
    pub fn entry_mut(&mut self) -> &mut Entry {
        &mut self.entry
    }

    /// A new register with its type's conventional stem.
    ///
    /// Registers are untyped in PTX up to their width, so integers and bits of one width share a stem and are declared `.b*`.
    pub fn fresh(&mut self, ty: Type) -> RegId {
        let declared = match ty {
            Type::Pred | Type::F32 | Type::F64 => ty,
            _ => match ty.bits() {
                // 8-bit registers cannot be computed with; a 16-bit one holds the value.
                0..=16 => Type::B16,
                17..=32 => Type::B32,
                33..=64 => Type::B64,
                _ => Type::B128,
            },
        };
        self.fresh_named(default_stem(declared), declared)
    }

    /// A new register whose name starts with `stem` (with its `%`), declared with exactly `ty`.
    pub fn fresh_named(&mut self, stem: &str, ty: Type) -> RegId {
        let place = self.counters.iter().position(|counter| counter.ty == ty && &*counter.asked == stem);
        let place = place.unwrap_or_else(|| {
            // The same stem at another type gets a distinct text, since `%r1` can be declared only once.
            let taken = self.counters.iter().any(|counter| &*counter.asked == stem);
            let text: Box<str> = if taken { format!("{stem}_{ty}_").into() } else { stem.into() };
            let id = StemId(self.entry.stems.len() as u32);
            self.entry.stems.push(Stem { text });
            self.counters.push(Counter { asked: stem.into(), ty, stem: id, last: 0 });
            self.counters.len() - 1
        });
        let counter = &mut self.counters[place];
        counter.last += 1;
        let (stem, number) = (counter.stem, Some(counter.last));
        let reg = RegId(self.entry.regs.len() as u32);
        self.entry.regs.push(Reg { ty, stem, number });
        reg
    }

    /// `n` new registers.
    pub fn fresh_many(&mut self, ty: Type, n: usize) -> Vec<RegId> {
        (0..n).map(|_| self.fresh(ty)).collect()
    }

    /// Declares a parameter.
    pub fn param(&mut self, param: Param) -> ParamId {
        self.entry.params.push(param);
        ParamId(self.entry.params.len() as u32 - 1)
    }

    /// Declares a `.shared` or `.local` variable in the body.
    pub fn var(&mut self, var: Variable) -> Symbol {
        self.entry.vars.push(var);
        Symbol::Local(VarId(self.entry.vars.len() as u32 - 1))
    }

    /// A new label, bound later by [`Builder::bind`]. Names must be unique in the entry; a taken one gets a number.
    pub fn label(&mut self, name: &str) -> LabelId {
        let id = LabelId(self.entry.labels.len() as u32);
        let taken = self.entry.labels.iter().any(|label| &*label.name == name);
        let name = if taken { format!("{name}_{}", id.0) } else { name.to_string() };
        self.entry.labels.push(Label { name: name.into() });
        id
    }

    /// Places a label here.
    pub fn bind(&mut self, label: LabelId) {
        self.entry.body.push(Stmt::Label(label));
    }

    /// Makes the next instructions conditional, until the next call.
    pub fn set_guard(&mut self, guard: Option<Guard>) {
        self.guard = guard;
    }

    /// Runs `body` under a guard and restores the previous one.
    pub fn guarded<R>(&mut self, reg: RegId, negated: bool, body: impl FnOnce(&mut Builder) -> R) -> R {
        let before = self.guard.replace(Guard { reg, negated });
        let result = body(self);
        self.guard = before;
        result
    }

    /// The source place of the next instructions.
    pub fn set_loc(&mut self, loc: Option<Loc>) {
        self.loc = loc;
    }

    /// Appends an instruction under the current guard and source place, and returns it for a comment.
    pub fn push(&mut self, op: impl Into<Op>) -> &mut Inst {
        let inst = Inst { guard: self.guard, op: op.into(), ptx_line: 0, loc: self.loc, comment: None };
        self.entry.body.push(Stmt::Inst(inst));
        match self.entry.body.last_mut() {
            Some(Stmt::Inst(inst)) => inst,
            _ => unreachable!("an instruction was pushed one line above"),
        }
    }

    /// A comment on lines of its own.
    pub fn comment(&mut self, text: &str) {
        self.entry.body.push(Stmt::Comment(text.into()));
    }

    /// How many statements there are so far.
    pub fn len(&self) -> usize {
        self.entry.body.len()
    }

    /// Whether there is no statement yet.
    pub fn is_empty(&self) -> bool {
        self.entry.body.is_empty()
    }

    /// The finished entry.
    pub fn finish(self) -> Entry {
        self.entry
    }
}
