//! Control flow and what changes how a warp is scheduled.

use super::{Instruction, Mnemonic, OpKind};
use crate::ptx::module::{FuncId, LabelId, VarId};
use crate::ptx::operand::{Imm, Operand, OperandVisitor, RegId, Symbol};
use crate::ptx::target::Requires;

/// `bra{.uni} target;`
#[derive(Clone, Debug, PartialEq)]
pub struct Bra {
    /// All active lanes are promised to go the same way.
    pub uniform: bool,
    /// Where to.
    pub target: LabelId,
}

/// `brx.idx{.uni} index, table;` with the table of `.branchtargets` resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct BrxIdx {
    /// All active lanes are promised to go the same way.
    pub uniform: bool,
    /// Which of the targets; out of range is undefined.
    pub index: RegId,
    /// The table.
    pub targets: Box<[LabelId]>,
}

/// `call{.uni} (results), function, (arguments);`
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// All active lanes are promised to call together.
    pub uniform: bool,
    /// What is called.
    pub function: FuncId,
    /// Where the results go.
    pub returns: Box<[Actual]>,
    /// The arguments.
    pub args: Box<[Actual]>,
}

/// What a call passes, or where a result of it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actual {
    /// A register.
    Reg(RegId),
    /// A variable in `.param` space of the caller.
    Param(VarId),
    /// A literal; an argument only.
    Imm(Imm),
    /// `_`: a result that nobody wants.
    Sink,
}

/// `ret{.uni};`: in an entry the same as `exit`.
#[derive(Clone, Debug, PartialEq)]
pub struct Ret {
    /// All active lanes are promised to return together.
    pub uniform: bool,
}

/// `exit;`
#[derive(Clone, Debug, PartialEq)]
pub struct Exit;

/// `trap;` or `brkpt;`
#[derive(Clone, Debug, PartialEq)]
pub struct Trap {
    /// `brkpt` instead.
    pub breakpoint: bool,
}

/// `nanosleep.u32 t;`
#[derive(Clone, Debug, PartialEq)]
pub struct Nanosleep {
    /// Nanoseconds.
    pub time: Operand,
}

/// `setmaxnreg.inc.sync.aligned.u32 n;`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setmaxnreg {
    /// `dec` instead of `inc`.
    pub dec: bool,
    /// Registers a thread, 24 to 256 in steps of 8.
    pub regs: u16,
}

/// `griddepcontrol.wait;` and `griddepcontrol.launch_dependents;`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GridDepControl {
    /// `wait` instead of `launch_dependents`.
    pub wait: bool,
}

impl Instruction for Bra {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("bra").flag(self.uniform, ".uni");
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.label(self.target);
    }
    fn kind(&self) -> OpKind {
        OpKind::Control
    }
}

impl Instruction for BrxIdx {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("brx.idx").flag(self.uniform, ".uni");
    }
    /// The table is printed by name before the instruction, so its labels are reported between `open('<')` and `close('>')`.
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.reg(self.index);
        v.open('<');
        self.targets.iter().for_each(|target| v.label(*target));
        v.close('>');
    }
    fn kind(&self) -> OpKind {
        OpKind::Control
    }
}

impl Instruction for Call {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("call").flag(self.uniform, ".uni");
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        if !self.returns.is_empty() {
            v.open('(');
            for actual in &self.returns {
                match *actual {
                    Actual::Reg(reg) => v.def(reg),
                    Actual::Param(var) => v.constant(&Operand::Sym(Symbol::Local(var), 0)),
                    Actual::Imm(_) | Actual::Sink => v.sink(),
                }
            }
            v.close(')');
        }
        v.function(self.function);
        if !self.args.is_empty() {
            v.open('(');
            for actual in &self.args {
                match *actual {
                    Actual::Reg(reg) => v.reg(reg),
                    Actual::Param(var) => v.constant(&Operand::Sym(Symbol::Local(var), 0)),
                    Actual::Imm(imm) => v.constant(&Operand::Imm(imm)),
                    Actual::Sink => v.sink(),
                }
            }
            v.close(')');
        }
    }
    fn kind(&self) -> OpKind {
        OpKind::Control
    }
}

impl Instruction for Ret {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("ret").flag(self.uniform, ".uni");
    }
    fn operands(&self, _v: &mut dyn OperandVisitor) {}
    fn kind(&self) -> OpKind {
        OpKind::Control
    }
}

impl Instruction for Exit {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("exit");
    }
    fn operands(&self, _v: &mut dyn OperandVisitor) {}
    fn kind(&self) -> OpKind {
        OpKind::Control
    }
}

impl Instruction for Trap {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op(if self.breakpoint { "brkpt" } else { "trap" });
    }
    fn operands(&self, _v: &mut dyn OperandVisitor) {}
    fn kind(&self) -> OpKind {
        OpKind::Control
    }
}

impl Instruction for Nanosleep {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op("nanosleep.u32");
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.value(&self.time);
    }
    fn kind(&self) -> OpKind {
        OpKind::Sync
    }
}

impl Instruction for Setmaxnreg {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op(if self.dec { "setmaxnreg.dec.sync.aligned.u32" } else { "setmaxnreg.inc.sync.aligned.u32" });
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.constant(&Operand::from(u32::from(self.regs)));
    }
    fn requires(&self) -> Requires {
        Requires::arch(8, 0, 90)
    }
    fn kind(&self) -> OpKind {
        OpKind::Sync
    }
}

impl Instruction for GridDepControl {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op(if self.wait { "griddepcontrol.wait" } else { "griddepcontrol.launch_dependents" });
    }
    fn operands(&self, _v: &mut dyn OperandVisitor) {}
    fn requires(&self) -> Requires {
        Requires::new(7, 8, 90)
    }
    fn kind(&self) -> OpKind {
        OpKind::Sync
    }
}
