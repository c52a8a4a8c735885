//! PTX, compiled by the driver for one GPU.
//!
//! Modules are loaded by hand and not by cudarc's wrapper, because only `cuModuleLoadDataEx` gives the compiler's own words
//! when it refuses.

use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::Arc;

use cudarc::driver::sys::{CUfunction, CUfunction_attribute, CUjit_option, CUmodule};
use cudarc::driver::{CudaContext, result, sys};

use super::device::Device;
use super::error::{CudaError, code};

/// A PTX module on a GPU.
#[derive(Debug)]
pub struct Module {
    inner: Arc<Loaded>,
    device: Device,
}

/// The driver's handle, unloaded when the last function is gone.
#[derive(Debug)]
pub(super) struct Loaded {
    module: CUmodule,
    context: Arc<CudaContext>,
}

// SAFETY: the handle is only given to driver calls, which may come from any thread that binds the context first.
unsafe impl Send for Loaded {}
// SAFETY: as above; the handle is never changed.
unsafe impl Sync for Loaded {}

impl Drop for Loaded {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: loaded by `Module::load` and unloaded nowhere else. A failure leaves nothing to do.
            let _ = unsafe { result::module::unload(self.module) };
        }
    }
}

/// Bytes kept of the compiler's log; its first errors matter.
const LOG_BYTES: usize = 8192;

impl Module {
    /// Compiles PTX text for a GPU. `target` is what it was made for, for messages.
    pub fn load(device: &Device, ptx: &str, target: &str) -> Result<Module, CudaError> {
        let refused = |code: String, log: String| CudaError::PtxRefused {
            device: device.name().into(),
            target: target.into(),
            code,
            log,
        };
        let text =
            CString::new(ptx).map_err(|_| refused("the text holds a zero byte".into(), String::new()))?;
        device.context().bind_to_thread().map_err(|e| CudaError::driver("use the GPU", e))?;
        let mut log = vec![0u8; LOG_BYTES];
        let mut options =
            [CUjit_option::CU_JIT_ERROR_LOG_BUFFER, CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
        // The driver takes a number where an option is one, cast to a pointer.
        let mut values = [log.as_mut_ptr().cast::<c_void>(), ptr::without_provenance_mut(LOG_BYTES)];
        let mut module = ptr::null_mut();
        // SAFETY: `text` ends in a zero byte; both arrays have two entries; the log buffer has the size that is passed; all of
        // them outlive the call, which keeps no pointer.
        let status = unsafe {
            sys::cuModuleLoadDataEx(
                &mut module,
                text.as_ptr().cast(),
                options.len() as u32,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        if status.result().is_err() {
            return Err(refused(code(status), read_log(&log)));
        }
        let inner = Loaded { module, context: device.context().clone() };
        Ok(Module { inner: Arc::new(inner), device: device.clone() })
    }

    /// An entry of the module, allowed to use that much dynamic shared memory.
    pub fn function(&self, entry: &str, shared_bytes: u32) -> Result<Function, CudaError> {
        let missing = || CudaError::NoEntry { entry: entry.into() };
        let name = CString::new(entry).map_err(|_| missing())?;
        self.inner.context.bind_to_thread().map_err(|e| CudaError::driver("use the GPU", e))?;
        // SAFETY: the module is loaded, and stays so while `inner` lives.
        let function =
            unsafe { result::module::get_function(self.inner.module, name) }.map_err(|_| missing())?;
        let have = self.device.shared_limit()?;
        if shared_bytes > have {
            return Err(CudaError::SharedMemory {
                entry: entry.into(),
                want: shared_bytes,
                have,
                device: self.device.name().into(),
            });
        }
        // More than 48 KiB must be asked for.
        // SAFETY: the function was just found in a loaded module.
        unsafe {
            result::function::set_function_attribute(
                function,
                CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                shared_bytes as i32,
            )
        }
        .map_err(|e| CudaError::driver("reserve shared memory", e))?;
        Ok(Function { function, module: self.inner.clone(), entry: entry.into() })
    }
}

/// The log up to its first zero byte.
fn read_log(log: &[u8]) -> String {
    let end = log.iter().position(|&b| b == 0).unwrap_or(log.len());
    String::from_utf8_lossy(&log[..end]).trim().to_string()
}

/// A kernel that can be launched.
#[derive(Clone, Debug)]
pub struct Function {
    pub(super) function: CUfunction,
    pub(super) module: Arc<Loaded>,
    pub(super) entry: String,
}

// SAFETY: as for `Loaded`, which the handle belongs to and which lives as long.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

impl Function {
    /// Name of the `.entry`.
    pub fn entry(&self) -> &str {
        &self.entry
    }

    /// Bytes of local memory per thread: above 0, registers were spilled.
    pub fn local_bytes(&self) -> Result<u32, CudaError> {
        self.attribute(CUfunction_attribute::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES)
    }

    /// Registers per thread.
    pub fn registers(&self) -> Result<u32, CudaError> {
        self.attribute(CUfunction_attribute::CU_FUNC_ATTRIBUTE_NUM_REGS)
    }

    fn attribute(&self, attribute: CUfunction_attribute) -> Result<u32, CudaError> {
        self.module.context.bind_to_thread().map_err(|e| CudaError::driver("use the GPU", e))?;
        // SAFETY: the function's module is loaded while `module` lives.
        let value = unsafe { result::function::get_function_attribute(self.function, attribute) };
        value.map(|v| v as u32).map_err(|e| CudaError::driver("describe the kernel", e))
    }

    pub(super) fn context(&self) -> &Arc<CudaContext> {
        &self.module.context
    }
}

#[cfg(test)]
mod tests {
    use super::read_log;

    #[test]
    fn a_log_ends_at_its_zero_byte() {
        assert_eq!(read_log(b"line 7: error\n\0\0garbage"), "line 7: error");
        assert_eq!(read_log(b"full"), "full");
    }
}
