//! Calls expanded: one flat body out of a kernel and the functions that it calls.
//!
//! ```text
//!     call (%r3), twice, (%r1);          Move   twice.x = k.%r1
//!     st.global.b32 [%rd1], %r3;         Inst   twice's body, its labels renumbered, `ret` a jump to L9
//!                                        Label  L9
//!                                        Move   k.%r3 = twice.r
//!                                        Inst   st.global.b32 [%rd1], %r3
//! ```
//!
//! Expanded rather than called, so that blocks keep an order in which lanes that parted meet again, and liveness sees through
//! calls. Registers and variables of a function exist once, however often it is called: a lane is in one activation at a time.
//! Labels are new for every call, and a `.param` variable that is passed *is* the parameter. Recursion would need a stack and
//! is refused.

use rustc_hash::FxHashMap;
use tilewright_compiler::ptx::{
    Entry, Formal, FuncId, Guard, Imm, Inst, LabelId, Module, Op, ParamId, RegId, Stmt, Type, op::Actual,
};

use super::super::launch::ExecError;

/// Statements after expansion: what hundreds of thousands of lines of PTX have.
const MAX_PIECES: usize = 1 << 20;

/// A register: its number among those of all units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Reg(pub(super) usize);

/// A kernel or a function that it reaches.
#[derive(Debug)]
pub(super) struct Unit<'m> {
    pub(super) entry: &'m Entry,
    /// Number of its first register.
    pub(super) regs: usize,
}

/// One activation.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) unit: usize,
    /// Number of its first label.
    labels: u32,
    /// Addresses of `.param` parameters in local memory; of the kernel, empty.
    pub(super) params: Vec<u64>,
}

/// What a copy between a call and a function has on one side.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    Reg(Reg),
    Imm(Imm),
    /// Local memory.
    Local(u64),
}

/// One statement.
#[derive(Debug)]
pub(super) enum Piece<'m> {
    Label(u32),
    Inst {
        scope: usize,
        inst: &'m Inst,
    },
    /// A return, or a way round a call.
    Jump {
        line: u32,
        guard: Option<(Reg, bool)>,
        label: u32,
    },
    /// A parameter.
    Move {
        line: u32,
        ty: Type,
        to: Side,
        from: Side,
    },
}

/// Functions that are reached, each once, the kernel first.
#[derive(Debug)]
pub(super) struct Units<'m> {
    pub(super) list: Vec<Unit<'m>>,
    functions: FxHashMap<FuncId, usize>,
}

/// The whole.
#[derive(Debug)]
pub(super) struct Flat<'m> {
    pub(super) module: &'m Module,
    pub(super) units: Units<'m>,
    pub(super) scopes: Vec<Scope>,
    pub(super) pieces: Vec<Piece<'m>>,
    /// Labels of all activations, registers of all units.
    pub(super) labels: u32,
    pub(super) registers: usize,
}

fn refused<T>(inst: &Inst, why: String) -> Result<T, ExecError> {
    Err(ExecError::Unsupported { line: inst.ptx_line, instruction: inst.op.name(), why })
}

/// The function behind `id`, if this module has its body.
fn defined(module: &Module, id: FuncId) -> Option<FuncId> {
    let function = module.functions.get(id.0 as usize)?;
    let id = function.alias.unwrap_or(id);
    module.functions.get(id.0 as usize)?.defined.then_some(id)
}

impl<'m> Units<'m> {
    /// What `entry` reaches.
    pub(super) fn reached(module: &'m Module, entry: &'m Entry) -> Units<'m> {
        let mut units = Units { list: vec![Unit { entry, regs: 0 }], functions: FxHashMap::default() };
        let (mut next, mut regs) = (0, entry.regs.len());
        while let Some(unit) = units.list.get(next) {
            for inst in unit.entry.insts() {
                let Op::Call(call) = &inst.op else { continue };
                let Some(id) = defined(module, call.function) else { continue };
                if !units.functions.contains_key(&id) {
                    let code = &module.functions[id.0 as usize].code;
                    units.functions.insert(id, units.list.len());
                    units.list.push(Unit { entry: code, regs });
                    regs += code.regs.len();
                }
            }
            next += 1;
        }
        units
    }

    /// Registers of all units.
    pub(super) fn registers(&self) -> impl Iterator<Item = Type> {
        self.list.iter().flat_map(|unit| unit.entry.regs.iter().map(|reg| reg.ty))
    }
}

/// Expands `units` of `module`. `params` and `vars` say where a unit's own parameters and variables lie in local memory.
pub(super) fn flatten<'m>(
    module: &'m Module,
    units: Units<'m>,
    params: impl Fn(usize) -> Vec<u64>,
    vars: impl Fn(usize, usize) -> u64,
) -> Result<Flat<'m>, ExecError> {
    let entry = units.list[0].entry;
    let labels = entry.labels.len() as u32;
    let registers = units.registers().count();
    let scopes = vec![Scope { unit: 0, labels: 0, params: Vec::new() }];
    let mut expansion = Expansion {
        flat: Flat { module, units, scopes, pieces: Vec::new(), labels, registers },
        active: vec![0],
        params,
        vars,
    };
    expansion.body(0, None)?;
    Ok(expansion.flat)
}

struct Expansion<'m, P, V> {
    flat: Flat<'m>,
    /// Units of the calls that are being expanded, to tell recursion.
    active: Vec<usize>,
    params: P,
    vars: V,
}

impl<'m, P: Fn(usize) -> Vec<u64>, V: Fn(usize, usize) -> u64> Expansion<'m, P, V> {
    /// The body of `scope`; `end` is where `ret` goes, if not out of the kernel.
    fn body(&mut self, scope: usize, end: Option<u32>) -> Result<(), ExecError> {
        let entry = self.flat.units.list[self.flat.scopes[scope].unit].entry;
        for statement in &entry.body {
            match statement {
                Stmt::Label(label) => {
                    let label = self.flat.label(scope, *label);
                    self.flat.pieces.push(Piece::Label(label));
                }
                Stmt::Inst(inst) => self.instruction(scope, inst, end)?,
                Stmt::Comment(_) | Stmt::Pragma(_) => {}
            }
            if self.flat.pieces.len() > MAX_PIECES {
                return Err(ExecError::BadLaunch(format!(
                    "kernel `{}` has more than {MAX_PIECES} instructions once its calls are expanded",
                    self.flat.units.list[0].entry.name
                )));
            }
        }
        Ok(())
    }

    fn instruction(&mut self, scope: usize, inst: &'m Inst, end: Option<u32>) -> Result<(), ExecError> {
        match (&inst.op, end) {
            (Op::Ret(_), Some(end)) => {
                let guard = inst.guard.map(|g| (self.flat.reg(scope, g.reg), g.negated));
                self.flat.pieces.push(Piece::Jump { line: inst.ptx_line, guard, label: end });
            }
            (Op::Call(call), _) => {
                let Some(id) = defined(self.flat.module, call.function) else {
                    self.flat.pieces.push(Piece::Inst { scope, inst });
                    return Ok(());
                };
                let unit = self.flat.units.functions[&id];
                if self.active.contains(&unit) {
                    let name = &self.flat.units.list[unit].entry.name;
                    return refused(inst, format!("`{name}` calls itself, and recursion is not supported"));
                }
                self.active.push(unit);
                self.call(scope, inst, call, id, unit)?;
                self.active.pop();
            }
            _ => self.flat.pieces.push(Piece::Inst { scope, inst }),
        }
        Ok(())
    }

    fn call(
        &mut self,
        scope: usize,
        inst: &'m Inst,
        call: &tilewright_compiler::ptx::op::Call,
        id: FuncId,
        unit: usize,
    ) -> Result<(), ExecError> {
        let line = inst.ptx_line;
        let function = &self.flat.module.functions[id.0 as usize];
        // Where the function returns to, and where those go on who do not call it at all.
        let (after, round) = (self.flat.labels, self.flat.labels + 1);
        let labels = round + 1;
        self.flat.labels = labels + function.code.labels.len() as u32;
        if let Some(Guard { reg, negated }) = inst.guard {
            let guard = Some((self.flat.reg(scope, reg), !negated));
            self.flat.pieces.push(Piece::Jump { line, guard, label: round });
        }
        let mut params = (self.params)(unit);
        let caller = self.flat.scopes[scope].unit;
        let (mut before, mut behind) = (Vec::new(), Vec::new());
        let registers = self.flat.units.list[unit].regs;
        let pairs = [(&call.args, &function.inputs, false), (&call.returns, &function.returns, true)];
        for (actuals, formals, back) in pairs {
            for (actual, formal) in actuals.iter().zip(formals) {
                let outer = match *actual {
                    Actual::Reg(reg) => Side::Reg(self.flat.reg(scope, reg)),
                    Actual::Imm(imm) => Side::Imm(imm),
                    Actual::Param(var) => Side::Local((self.vars)(caller, var.0 as usize)),
                    Actual::Sink => continue,
                };
                let (inner, ty) = match (*formal, outer) {
                    (Formal::Param(ParamId(number)), Side::Local(address)) => {
                        params[number as usize] = address;
                        continue;
                    }
                    (Formal::Param(ParamId(number)), _) => {
                        (Side::Local(params[number as usize]), function.code.params[number as usize].ty)
                    }
                    (Formal::Reg(reg), _) => {
                        (Side::Reg(Reg(registers + reg.index())), function.code.reg_type(reg))
                    }
                };
                if back {
                    behind.push(Piece::Move { line, ty, to: outer, from: inner });
                } else {
                    before.push(Piece::Move { line, ty, to: inner, from: outer });
                }
            }
        }
        self.flat.pieces.append(&mut before);
        self.flat.scopes.push(Scope { unit, labels, params });
        self.body(self.flat.scopes.len() - 1, Some(after))?;
        self.flat.pieces.push(Piece::Label(after));
        self.flat.pieces.append(&mut behind);
        if inst.guard.is_some() {
            self.flat.pieces.push(Piece::Label(round));
        }
        Ok(())
    }
}

impl<'m> Flat<'m> {
    pub(super) fn entry(&self, scope: usize) -> &'m Entry {
        self.units.list[self.scopes[scope].unit].entry
    }

    /// A register of an activation.
    pub(super) fn reg(&self, scope: usize, reg: RegId) -> Reg {
        Reg(self.units.list[self.scopes[scope].unit].regs + reg.index())
    }

    /// A label of an activation.
    pub(super) fn label(&self, scope: usize, label: LabelId) -> u32 {
        self.scopes[scope].labels + label.0
    }

    /// Registers that `piece` writes.
    pub(super) fn defs(&self, piece: &Piece<'_>, mut each: impl FnMut(Reg)) {
        match piece {
            Piece::Inst { scope, inst } => inst.op.defs(|reg| each(self.reg(*scope, reg))),
            Piece::Move { to: Side::Reg(reg), .. } => each(*reg),
            _ => {}
        }
    }

    /// Registers that `piece` reads, its guard not among them.
    pub(super) fn uses(&self, piece: &Piece<'_>, mut each: impl FnMut(Reg)) {
        match piece {
            Piece::Inst { scope, inst } => inst.op.uses(|reg| each(self.reg(*scope, reg))),
            Piece::Move { from: Side::Reg(reg), .. } => each(*reg),
            _ => {}
        }
    }

    /// The guard of `piece`.
    pub(super) fn guard(&self, piece: &Piece<'_>) -> Option<Reg> {
        match piece {
            Piece::Inst { scope, inst } => inst.guard.map(|guard| self.reg(*scope, guard.reg)),
            Piece::Jump { guard, .. } => guard.map(|(reg, _)| reg),
            _ => None,
        }
    }

    /// Whether control may go elsewhere than to the next piece.
    pub(super) fn ends_block(&self, piece: &Piece<'_>) -> bool {
        match piece {
            Piece::Inst { inst, .. } => {
                matches!(inst.op, Op::Bra(_) | Op::BrxIdx(_) | Op::Ret(_) | Op::Exit(_))
            }
            Piece::Jump { .. } => true,
            _ => false,
        }
    }

    /// Whether `piece` ends the kernel for all who execute it.
    pub(super) fn exits(&self, piece: &Piece<'_>) -> bool {
        match piece {
            Piece::Inst { inst, .. } => inst.guard.is_none() && matches!(inst.op, Op::Ret(_) | Op::Exit(_)),
            _ => false,
        }
    }

    /// Labels that `piece` may jump to.
    pub(super) fn targets(&self, piece: &Piece<'_>) -> Vec<u32> {
        match piece {
            Piece::Inst { scope, inst } => match &inst.op {
                Op::Bra(bra) => vec![self.label(*scope, bra.target)],
                Op::BrxIdx(brx) => brx.targets.iter().map(|&l| self.label(*scope, l)).collect(),
                _ => Vec::new(),
            },
            Piece::Jump { label, .. } => vec![*label],
            _ => Vec::new(),
        }
    }
}
