//! Segments to machine code.
//!
//! A segment is compiled once, as a function of the frame, inside a loop over 8 chunks of 4 lanes: a register is then one
//! 128-bit value (`I32X4`, or two `I64X2`), lives in SSA inside a chunk and touches memory only where the segment begins (first use)
//! and ends (live-outs). Nothing is unrolled over lanes, so a PTX instruction costs a handful of CLIF instructions and no value
//! lives longer than one pass of the loop.
//!
//! ```text
//! add.s32 %r3, %r1, %r2;  setp.lt.s32 %p1, %r3, 7;
//!
//! loop(i, p1acc):   r1 = load.i32x4 frame+i+cell(r1)     r2 = ...      i = 0, 16, .., 112
//!                   r3 = iadd r1, r2
//!                   m  = icmp slt r3, splat 7             a mask: all ones or zero per lane
//!                   store r3, frame+i+cell(r3)            p1acc |= vhigh_bits(m) << i/4
//! exit:             store p1acc, frame+pred(p1)
//! ```
//!
//! **Divergent warps** run the same code: the caller saves the live-outs, lets all 32 lanes compute, and puts the old values
//! of the inactive lanes back. Lane-local code has no traps and no effects, so computing for a lane that is not there harms
//! nothing, and no second, masked version needs to be compiled for code that is seldom divergent.

mod emit;
mod machine;

use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::FunctionBuilderContext;
use rayon::prelude::*;

use super::launch::ExecError;
use super::program::Segment;
pub use machine::MachineCode;

/// Segments that go into one compiled function each; below this many instructions compiling on two threads gains nothing.
const PARALLEL_FROM: usize = 400;

fn internal(error: impl std::fmt::Display) -> ExecError {
    ExecError::Internal(format!("code generation: {error}"))
}

/// The machine this process runs on.
fn host() -> Result<OwnedTargetIsa, ExecError> {
    let mut flags = settings::builder();
    for (name, value) in [
        ("opt_level", "none"),
        ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
        ("regalloc_algorithm", "single_pass"),
        ("is_pic", "false"),
        ("unwind_info", "false"),
        ("enable_probestack", "false"),
    ] {
        flags.set(name, value).map_err(internal)?;
    }
    let isa = cranelift_native::builder().map_err(internal)?;
    isa.finish(settings::Flags::new(flags)).map_err(internal)
}

/// Whether compiled code can use the host's fused multiply-add.
pub fn has_fma() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    return true;
}

/// Compiles every segment.
///
/// # Errors
/// Only faults of the executor: whatever the decoder puts into a segment, this can compile.
pub fn compile(segments: &[Segment], register_cells: usize) -> Result<MachineCode, ExecError> {
    let isa = host()?;
    let code = |chunk: &[Segment]| -> Result<Vec<Vec<u8>>, ExecError> {
        let mut context = Context::new();
        let mut builder = FunctionBuilderContext::new();
        let mut out = Vec::with_capacity(chunk.len());
        for segment in chunk {
            context.clear();
            emit::segment(segment, register_cells, &*isa, &mut context.func, &mut builder)?;
            let compiled = context
                .compile(&*isa, &mut ControlPlane::default())
                .map_err(|e| internal(format!("{:?}", e.inner)))?;
            if !compiled.buffer.relocs().is_empty() {
                return Err(internal("a segment calls out of its code"));
            }
            out.push(compiled.code_buffer().to_vec());
        }
        Ok(out)
    };
    let instructions: usize = segments.iter().map(|s| s.code.len()).sum();
    let bodies: Vec<Vec<u8>> = if instructions < PARALLEL_FROM || segments.is_empty() {
        code(segments)?
    } else {
        let parts: Result<Vec<_>, _> = segments
            .par_chunks(segments.len().div_ceil(rayon::current_num_threads() * 2))
            .map(code)
            .collect();
        parts?.into_iter().flatten().collect()
    };
    MachineCode::load(&*isa, &bodies, register_cells)
}
