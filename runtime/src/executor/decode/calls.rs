//! Parameters of calls, and the functions that a GPU's run-time system has: `vprintf` and `__assertfail`.

use tilewright_compiler::ptx::op::{Actual, Call};
use tilewright_compiler::ptx::{Symbol, Type};

use super::super::launch::ExecError;
use super::super::program::{
    Addr, AddrBase, Extend, HostCall, HostFunction, HostValue, IntBin, LaneOp, MemAccess, MemReg, MemSpace,
    Order, Reach, StepKind, Val32, Val64, ValP,
};
use super::emit::{Decoder, Home};
use super::flatten::Side;

type Result<T = ()> = std::result::Result<T, ExecError>;

impl Decoder<'_> {
    /// Copies a parameter of type `ty` between a call and a function.
    pub(super) fn parameter(&mut self, ty: Type, to: Side, from: Side) -> Result {
        match (to, from) {
            (Side::Local(address), _) => {
                let reg = match from {
                    Side::Reg(reg) => self.homes[reg.0],
                    Side::Imm(imm) if ty.bytes() == 8 => Home::R64(self.reg64(Val64::Imm(imm.bits(ty)))),
                    Side::Imm(imm) => Home::R32(self.reg32(Val32::Imm(imm.bits(ty) as u32))),
                    // Where both sides are in memory they are one variable.
                    Side::Local(_) => return Ok(()),
                };
                let access = self.in_local(ty, address, reg)?;
                self.step(StepKind::Store(access));
            }
            (Side::Reg(reg), Side::Local(address)) => {
                let access = self.in_local(ty, address, self.homes[reg.0])?;
                self.step(StepKind::Load(access));
            }
            (Side::Reg(reg), Side::Imm(imm)) => match self.homes[reg.0] {
                Home::R32(d) => self.lane(LaneOp::Mov32 { d, a: Val32::Imm(imm.bits(ty) as u32) }),
                Home::R64(d) => self.lane(LaneOp::Mov64 { d, a: Val64::Imm(imm.bits(ty)) }),
                Home::Pred(d) => self.lane(LaneOp::PredMov { d, a: ValP::Const(imm.bits(ty) != 0) }),
                Home::R128(..) => return self.unsupported("a literal of 128 bits"),
            },
            (Side::Reg(reg), Side::Reg(source)) => match (self.homes[reg.0], self.homes[source.0]) {
                (Home::R32(d), Home::R32(a)) if ty.bits() < 32 => {
                    let mask = Val32::Imm((1 << ty.bits()) - 1);
                    self.lane(LaneOp::Int32 { op: IntBin::And, d, a: Val32::Reg(a), b: mask });
                }
                (Home::R32(d), Home::R32(a)) => self.lane(LaneOp::Mov32 { d, a: Val32::Reg(a) }),
                (Home::R64(d), Home::R64(a)) => self.lane(LaneOp::Mov64 { d, a: Val64::Reg(a) }),
                (Home::R128(d, e), Home::R128(a, b)) => {
                    self.lane(LaneOp::Mov64 { d, a: Val64::Reg(a) });
                    self.lane(LaneOp::Mov64 { d: e, a: Val64::Reg(b) });
                }
                (Home::Pred(d), Home::Pred(a)) => self.lane(LaneOp::PredMov { d, a: ValP::Reg(a) }),
                _ => return self.invalid("a parameter of another width"),
            },
            (_, _) => return self.invalid("a parameter that cannot be passed"),
        }
        Ok(())
    }

    fn in_local(&self, ty: Type, address: u64, reg: Home) -> Result<MemAccess> {
        let regs: Box<[MemReg]> = match reg {
            Home::R32(r) => Box::new([MemReg::R32(r)]),
            Home::R64(r) => Box::new([MemReg::R64(r)]),
            Home::R128(a, b) => Box::new([MemReg::R64(a), MemReg::R64(b)]),
            Home::Pred(_) => return self.invalid("a predicate as a parameter in memory"),
        };
        Ok(MemAccess {
            space: MemSpace::Local,
            addr: Addr { base: AddrBase::Abs, offset: address as i64 },
            bytes: ty.bytes().min(8) as u8,
            extend: Extend::Zero,
            order: Order::Weak,
            reach: Reach::Everybody,
            align: 0,
            regs,
        })
    }

    /// A call of a function that the module only declares.
    pub(super) fn call_host(&mut self, op: &Call) -> Result {
        let module = self.flat.module;
        let name = module.functions.get(op.function.0 as usize).map_or("_", |f| &*f.code.name);
        let function = match name {
            "vprintf" => HostFunction::Printf,
            "__assertfail" => HostFunction::AssertFail,
            "malloc" | "free" => {
                return self.unsupported(&format!("`{name}`: there is no device heap"));
            }
            _ => return self.unsupported(&format!("`{name}` is declared here but has no body")),
        };
        let wanted = if function == HostFunction::Printf { 2 } else { 5 };
        if op.args.len() != wanted {
            return self.invalid(format!("`{name}` takes {wanted} arguments"));
        }
        let args = op.args.iter().map(|actual| self.host_value(*actual)).collect::<Result<Box<[_]>>>()?;
        let result = match op.returns.first() {
            None | Some(Actual::Sink) => None,
            Some(actual) => Some(self.host_value(*actual)?),
        };
        self.step(StepKind::Host(Box::new(HostCall { function, args, result })));
        Ok(())
    }

    fn host_value(&mut self, actual: Actual) -> Result<HostValue> {
        Ok(match actual {
            Actual::Imm(imm) => HostValue::Imm(imm.bits(Type::U64)),
            Actual::Reg(reg) => match self.home(reg) {
                Home::R32(r) => HostValue::R32(r),
                Home::R64(r) => HostValue::R64(r),
                _ => return self.invalid("such a parameter cannot be passed"),
            },
            Actual::Param(var) => {
                let unit = self.flat.scopes[self.scope].unit;
                let variable = &self.entry.vars[var.0 as usize];
                let address = self.variables.of_unit(unit, var);
                match (address, variable.bytes()) {
                    (Some(address), bytes @ (4 | 8)) => HostValue::Local { address, bytes: bytes as u8 },
                    _ => return self.invalid(format!("parameter `{}` of this size", variable.name)),
                }
            }
            Actual::Sink => return self.invalid("a parameter is missing"),
        })
    }

    /// Whether an address in `.param` space is one in local memory: a body's own variables, and what a function is given.
    pub(super) fn is_parameter_of_call(&self, symbol: Symbol) -> bool {
        match symbol {
            Symbol::Local(_) => true,
            Symbol::Param(_) => self.scope != 0,
            Symbol::Global(_) => false,
        }
    }
}
