//! Where variables lie: shared and local ones in their windows, constants in one bank, module globals in windows of their own behind
//! the launch's buffers.

use tilewright_compiler::ptx::{
    Entry, Init, Linkage, Module, Operand, OperandVisitor, Space, SpecialReg, Symbol, VarId, Variable,
};

use super::super::launch::ExecError;
use super::super::memory::{CONST_BASE, LOCAL_BASE, SHARED_BASE, buffer_address};
use super::super::program::ModuleData;
use super::flatten::Units;

/// Most local memory of a thread that any GPU has.
const MAX_LOCAL: u32 = 512 * 1024;

/// Where functions would lie: in no window of memory.
const FUNCTION_BASE: u64 = 5 << 32;

/// Alignment of dynamic shared memory: what the widest swizzle needs.
const DYNAMIC_ALIGN: u32 = 1024;

/// Addresses of all variables, each in its own space.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    module: Vec<Option<u64>>,
    /// Of the kernel and of each function that it reaches.
    units: Vec<Vec<Option<u64>>>,
    /// `.param` parameters of functions, where a call does not put a variable in their place.
    params: Vec<Vec<u64>>,
    /// The first bytes of shared memory that are no variable's.
    pub(super) shared_reserved: u32,
    pub(super) shared_static: u32,
    pub(super) shared_dynamic_at: u32,
    pub(super) local_bytes: u32,
    pub(super) constants: Vec<u8>,
    pub(super) globals: Vec<ModuleData>,
    /// Where the workspace of the grid lies, if somebody asks.
    pub(super) grid_workspace: u64,
}

impl Variables {
    pub(super) fn of_module(&self, id: VarId) -> Option<u64> {
        self.module.get(id.0 as usize).copied().flatten()
    }

    pub(super) fn of_unit(&self, unit: usize, id: VarId) -> Option<u64> {
        self.units.get(unit)?.get(id.0 as usize).copied().flatten()
    }

    /// Addresses of a function's `.param` parameters in local memory.
    pub(super) fn params(&self, unit: usize) -> Vec<u64> {
        self.params.get(unit).cloned().unwrap_or_default()
    }
}

fn too_big(variable: &Variable) -> ExecError {
    ExecError::Invalid { line: 0, message: format!("variable `{}` is too big", variable.name) }
}

/// Shared memory that CUDA keeps for itself, in kernels that ask where it lies: at the beginning, as on hardware. How much of it is whose is not
/// documented; here the two parts are halves.
pub(super) const RESERVED_SHARED: u32 = 1024;

/// Bytes of what `%envreg1` and `%envreg2` (the high and the low half of its address) point to in a cooperative launch: zeros, in which
/// CUDA's cooperative groups count the blocks that have come to `grid.sync()`.
const GRID_WORKSPACE: usize = 64;

/// Whether a body reads one of these special registers.
fn asks_for(entry: &Entry, registers: &[SpecialReg]) -> bool {
    struct Asks<'r>(&'r [SpecialReg], bool);
    impl OperandVisitor for Asks<'_> {
        fn constant(&mut self, operand: &Operand) {
            self.1 |= matches!(operand, Operand::Special(special) if self.0.contains(special));
        }
    }
    let mut asks = Asks(registers, false);
    entry.insts().for_each(|inst| inst.op.operands(&mut asks));
    asks.1
}

/// Takes `bytes` of local memory.
fn local(end: &mut u32, align: u32, bytes: u32) -> Option<u64> {
    let at = end.checked_next_multiple_of(align.max(1))?;
    *end = at.checked_add(bytes).filter(|&n| n <= MAX_LOCAL)?;
    Some(at.into())
}

/// Lays out the variables that a kernel and its functions can see. `units` are their bodies.
pub(super) fn place(module: &Module, units: &Units<'_>, buffers: usize) -> Result<Variables, ExecError> {
    let mut v = Variables::default();
    use SpecialReg as S;
    let ask = |registers: &[S]| units.list.iter().any(|unit| asks_for(unit.entry, registers));
    if ask(&[S::Envreg1, S::Envreg2]) {
        v.globals.push(ModuleData { name: "%envreg".into(), bytes: vec![0; GRID_WORKSPACE] });
        v.grid_workspace = buffer_address(buffers, 0);
    }
    if ask(&[S::ReservedBegin, S::ReservedEnd, S::ReservedCap, S::Reserved0, S::Reserved1]) {
        v.shared_reserved = RESERVED_SHARED;
        v.shared_static = RESERVED_SHARED;
    }
    let mut dynamic_align = 1u32;
    let mut dynamic: Vec<(Option<usize>, usize)> = Vec::new();
    let mut inits: Vec<(Option<usize>, usize, &Variable)> = Vec::new();
    let lists = units.list.iter().enumerate().map(|(unit, body)| (Some(unit), &body.entry.vars));
    for (unit, list) in std::iter::once((None, &module.globals)).chain(lists) {
        let mut addresses = Vec::with_capacity(list.len());
        for (index, variable) in list.iter().enumerate() {
            let align = variable.align.max(1);
            let bytes = u32::try_from(variable.bytes())
                .ok()
                .filter(|&b| b < 1 << 30)
                .ok_or_else(|| too_big(variable))?;
            let address = match variable.space {
                Space::Shared if variable.elements.is_none() || variable.linkage == Linkage::Extern => {
                    dynamic_align = dynamic_align.max(align);
                    dynamic.push((unit, index));
                    None
                }
                Space::Shared => {
                    let at = v.shared_static.next_multiple_of(align);
                    v.shared_static = at.checked_add(bytes).ok_or_else(|| too_big(variable))?;
                    Some(at.into())
                }
                // What a body declares in `.param` space is there for calls.
                Space::Local | Space::Param => {
                    Some(local(&mut v.local_bytes, align, bytes).ok_or_else(|| too_big(variable))?)
                }
                Space::Const => {
                    let at = v.constants.len().next_multiple_of(align as usize);
                    v.constants.resize(at + bytes as usize, 0);
                    inits.push((unit, index, variable));
                    Some(at as u64)
                }
                Space::Global if variable.linkage == Linkage::Extern => None,
                Space::Global => {
                    v.globals
                        .push(ModuleData { name: variable.name.to_string(), bytes: vec![0; bytes as usize] });
                    inits.push((unit, index, variable));
                    Some(buffer_address(buffers + v.globals.len() - 1, 0))
                }
                _ => None,
            };
            addresses.push(address);
        }
        match unit {
            None => v.module = addresses,
            Some(_) => v.units.push(addresses),
        }
    }
    v.params.push(Vec::new());
    for unit in &units.list[1..] {
        let mut addresses = Vec::new();
        for param in &unit.entry.params {
            let at = local(&mut v.local_bytes, param.align.max(8), param.bytes());
            addresses
                .push(at.ok_or_else(|| ExecError::BadLaunch("the parameters of calls are too big".into()))?);
        }
        v.params.push(addresses);
    }
    v.local_bytes = v.local_bytes.next_multiple_of(16);
    let align = if dynamic.is_empty() && v.shared_static == 0 { 1 } else { dynamic_align.max(DYNAMIC_ALIGN) };
    v.shared_dynamic_at =
        if dynamic.is_empty() { v.shared_static } else { v.shared_static.next_multiple_of(align) };
    for (unit, index) in dynamic {
        let address = Some(v.shared_dynamic_at.into());
        match unit {
            Some(unit) => v.units[unit][index] = address,
            None => v.module[index] = address,
        }
    }
    for (unit, index, variable) in inits {
        initialise(&mut v, module, unit, index, variable);
    }
    Ok(v)
}

fn initialise(v: &mut Variables, module: &Module, unit: Option<usize>, index: usize, variable: &Variable) {
    let width = variable.ty.bytes() as usize;
    let mut bytes = Vec::with_capacity(variable.init.len() * width);
    for init in &variable.init {
        let value = match *init {
            Init::Bits(bits) => bits,
            // Nothing lies there: it can be compared, and calls through registers are refused.
            Init::Function(id) => FUNCTION_BASE + 16 * (1 + u64::from(id.0)),
            Init::Address { symbol, offset, generic } => {
                let (address, space) = match symbol {
                    Symbol::Global(id) => {
                        (v.of_module(id), module.globals.get(id.0 as usize).map(|g| g.space))
                    }
                    Symbol::Local(id) => (unit.and_then(|unit| v.of_unit(unit, id)), None),
                    Symbol::Param(_) => (None, None),
                };
                let base = match (generic, space) {
                    (true, Some(Space::Const)) => CONST_BASE,
                    (true, Some(Space::Shared)) => SHARED_BASE,
                    (true, Some(Space::Local)) => LOCAL_BASE,
                    _ => 0,
                };
                address.unwrap_or(0).wrapping_add(base).wrapping_add_signed(offset)
            }
        };
        bytes.extend_from_slice(&value.to_le_bytes()[..width.min(8)]);
    }
    let address = unit.map_or(&v.module, |unit| &v.units[unit])[index];
    let Some(address) = address else { return };
    if variable.space == Space::Const {
        let at = address as usize;
        let n = bytes.len().min(v.constants.len().saturating_sub(at));
        v.constants[at..at + n].copy_from_slice(&bytes[..n]);
    } else if let Some(data) = v.globals.iter_mut().find(|g| *g.name == *variable.name) {
        let n = bytes.len().min(data.bytes.len());
        data.bytes[..n].copy_from_slice(&bytes[..n]);
    }
}
