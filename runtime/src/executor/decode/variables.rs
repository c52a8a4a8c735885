//! Where variables lie: shared and local ones in their windows, constants in one bank, module globals in windows of their own behind
//! the launch's buffers.

use tilewright_compiler::ptx::{Entry, Init, Linkage, Module, Space, Symbol, VarId, Variable};

use super::super::launch::ExecError;
use super::super::memory::{CONST_BASE, LOCAL_BASE, SHARED_BASE, buffer_address};
use super::super::program::ModuleData;

/// Most local memory of a thread that any GPU has.
const MAX_LOCAL: u32 = 512 * 1024;

/// Alignment of dynamic shared memory: what the widest swizzle needs.
const DYNAMIC_ALIGN: u32 = 1024;

/// Addresses of all variables, each in its own space.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    module: Vec<Option<u64>>,
    entry: Vec<Option<u64>>,
    pub(super) shared_static: u32,
    pub(super) shared_dynamic_at: u32,
    pub(super) local_bytes: u32,
    pub(super) constants: Vec<u8>,
    pub(super) globals: Vec<ModuleData>,
}

impl Variables {
    pub(super) fn of_module(&self, id: VarId) -> Option<u64> {
        self.module.get(id.0 as usize).copied().flatten()
    }

    pub(super) fn of_entry(&self, id: VarId) -> Option<u64> {
        self.entry.get(id.0 as usize).copied().flatten()
    }
}

fn too_big(variable: &Variable) -> ExecError {
    ExecError::Invalid { line: 0, message: format!("variable `{}` is too big", variable.name) }
}

/// Lays out the variables that `entry` can see.
pub(super) fn place(module: &Module, entry: &Entry, buffers: usize) -> Result<Variables, ExecError> {
    let mut v = Variables::default();
    let mut dynamic_align = 1u32;
    let mut dynamic: Vec<(bool, usize)> = Vec::new();
    let mut inits: Vec<(bool, usize, &Variable)> = Vec::new();
    for (of_entry, list) in [(false, &module.globals), (true, &entry.vars)] {
        for (index, variable) in list.iter().enumerate() {
            let align = variable.align.max(1);
            let bytes = u32::try_from(variable.bytes())
                .ok()
                .filter(|&b| b < 1 << 30)
                .ok_or_else(|| too_big(variable))?;
            let address = match variable.space {
                Space::Shared if variable.elements.is_none() || variable.linkage == Linkage::Extern => {
                    dynamic_align = dynamic_align.max(align);
                    dynamic.push((of_entry, index));
                    None
                }
                Space::Shared => {
                    let at = v.shared_static.next_multiple_of(align);
                    v.shared_static = at.checked_add(bytes).ok_or_else(|| too_big(variable))?;
                    Some(at.into())
                }
                Space::Local => {
                    let at = v.local_bytes.next_multiple_of(align);
                    v.local_bytes =
                        at.checked_add(bytes).filter(|&n| n <= MAX_LOCAL).ok_or_else(|| too_big(variable))?;
                    Some(at.into())
                }
                Space::Const => {
                    let at = v.constants.len().next_multiple_of(align as usize);
                    v.constants.resize(at + bytes as usize, 0);
                    inits.push((of_entry, index, variable));
                    Some(at as u64)
                }
                Space::Global if variable.linkage == Linkage::Extern => None,
                Space::Global => {
                    v.globals
                        .push(ModuleData { name: variable.name.to_string(), bytes: vec![0; bytes as usize] });
                    inits.push((of_entry, index, variable));
                    Some(buffer_address(buffers + v.globals.len() - 1, 0))
                }
                _ => None,
            };
            if of_entry { v.entry.push(address) } else { v.module.push(address) }
        }
    }
    v.local_bytes = v.local_bytes.next_multiple_of(16);
    let align = if dynamic.is_empty() && v.shared_static == 0 { 1 } else { dynamic_align.max(DYNAMIC_ALIGN) };
    v.shared_dynamic_at =
        if dynamic.is_empty() { v.shared_static } else { v.shared_static.next_multiple_of(align) };
    for (of_entry, index) in dynamic {
        let address = Some(v.shared_dynamic_at.into());
        if of_entry { v.entry[index] = address } else { v.module[index] = address }
    }
    for (of_entry, index, variable) in inits {
        initialise(&mut v, module, of_entry, index, variable);
    }
    Ok(v)
}

fn initialise(v: &mut Variables, module: &Module, of_entry: bool, index: usize, variable: &Variable) {
    let width = variable.ty.bytes() as usize;
    let mut bytes = Vec::with_capacity(variable.init.len() * width);
    for init in &variable.init {
        let value = match *init {
            Init::Bits(bits) => bits,
            Init::Address { symbol, offset, generic } => {
                let (address, space) = match symbol {
                    Symbol::Global(id) => {
                        (v.of_module(id), module.globals.get(id.0 as usize).map(|g| g.space))
                    }
                    Symbol::Local(id) => (v.of_entry(id), None),
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
    let address = if of_entry { v.entry[index] } else { v.module[index] };
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
