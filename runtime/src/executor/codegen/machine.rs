//! Executable memory: loading compiled segments and calling them.
//!
//! One of the few modules with `unsafe`. The argument: the bytes come from Cranelift, compiled by `emit` for the host's own
//! instruction set with the signature `fn(*mut u8)`; they have no relocations, so nothing outside of them is reached but the frame;
//! every frame offset in them was computed from the same register numbering that sizes the frames of that program.

use cranelift_codegen::isa::{OwnedTargetIsa, TargetIsa};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{Linkage, Module, default_libcall_names};

use super::super::frame::Frame;
use super::super::launch::ExecError;
use super::{emit, host, internal};

/// A compiled segment.
#[derive(Clone, Copy, Debug)]
pub struct SegmentFn {
    entry: unsafe extern "C" fn(*mut u8),
}

/// The compiled segments of one program; owns the memory they lie in.
pub struct MachineCode {
    functions: Vec<SegmentFn>,
    /// Register cells of the frames that this code was compiled for.
    cells: usize,
    /// `Some` until dropped.
    module: Option<JITModule>,
}

// SAFETY: after `load` the module is never touched again until `drop`; the functions are plain code in memory that is not
// writable any more and keep all their state in the frame they are given.
unsafe impl Send for MachineCode {}
// SAFETY: as above; `call` needs a `&mut Frame`, so two threads never share the data a segment works on.
unsafe impl Sync for MachineCode {}

impl std::fmt::Debug for MachineCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MachineCode({} segments)", self.functions.len())
    }
}

impl MachineCode {
    /// Puts compiled bodies into executable memory.
    pub(super) fn load(
        isa: &dyn TargetIsa,
        bodies: &[Vec<u8>],
        cells: usize,
    ) -> Result<MachineCode, ExecError> {
        let owner: OwnedTargetIsa = host()?;
        let mut module = JITModule::new(JITBuilder::with_isa(owner, default_libcall_names()));
        let signature = emit::signature(isa);
        let mut ids = Vec::with_capacity(bodies.len());
        for body in bodies {
            let id = module.declare_anonymous_function(&signature).map_err(internal)?;
            module.define_function_bytes(id, 16, body, &[]).map_err(internal)?;
            ids.push(id);
        }
        let _ = Linkage::Local;
        module.finalize_definitions().map_err(internal)?;
        let functions = ids
            .into_iter()
            .map(|id| {
                let pointer = module.get_finalized_function(id);
                // SAFETY: the pointer is the start of a finalized function with exactly this signature and calling convention
                // (`emit::signature` takes the host's default, which is `extern "C"`).
                let entry =
                    unsafe { std::mem::transmute::<*const u8, unsafe extern "C" fn(*mut u8)>(pointer) };
                SegmentFn { entry }
            })
            .collect();
        Ok(MachineCode { functions, cells, module: Some(module) })
    }

    /// Runs segment `number` on all 32 lanes of `frame`.
    ///
    /// # Panics
    /// If `frame` belongs to another program (a bug of the executor).
    #[inline]
    pub fn call(&self, number: u32, frame: &mut Frame) {
        assert_eq!(frame.register_cells(), self.cells, "frame of another program");
        let function = self.functions[number as usize];
        // SAFETY: see the module's comment; the frame is exclusively borrowed and has the size the code was compiled for
        // (checked above; predicates follow the register cells).
        unsafe { (function.entry)(frame.as_mut_ptr()) }
    }
}

impl Drop for MachineCode {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: `functions` is private, `SegmentFn` cannot be called from outside, and `self` is going away.
            unsafe { module.free_memory() }
        }
    }
}
