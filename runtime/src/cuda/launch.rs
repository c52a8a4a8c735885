//! Launching on a stream, and timing.

use std::sync::Arc;

use cudarc::driver::{CudaStream, DriverError, result, sys};
use tilewright_compiler::tile::TensorId;

use super::error::{CudaError, code, hint, is_kernel_fault};
use super::module::Function;
use super::params::Params;
use crate::launch::{DeviceLaunch, ParamValue};

impl Function {
    /// Queues a launch on a stream of the function's context; does not wait for it.
    ///
    /// `address` gives the address of each tensor parameter and of the workspace on the device, `name` its name for messages.
    ///
    /// # Safety
    /// Each address must be memory of this context, as large as the bound launch says (`Bound` checks it where lengths are given),
    /// and must stay so until the stream has passed the launch; what the kernel writes must not be used elsewhere meanwhile.
    pub unsafe fn launch(
        &self,
        stream: &CudaStream,
        launch: &DeviceLaunch,
        address: impl Fn(&ParamValue) -> Option<u64>,
        name: impl Fn(TensorId) -> String,
    ) -> Result<(), CudaError> {
        let mut params = Params::new(launch, address, name)?;
        let mut pointers = params.pointers();
        self.context().bind_to_thread().map_err(|e| CudaError::driver("use the GPU", e))?;
        let triple = |v: [u32; 3]| (v[0], v[1], v[2]);
        // SAFETY: the function is loaded; the driver copies the parameters, whose cells hold at least as many bytes as the entry
        // declares, before the call returns; the memory behind the addresses is the caller's promise.
        let queued = unsafe {
            result::launch_kernel(
                self.function,
                triple(launch.grid),
                triple(launch.block),
                launch.shared_bytes,
                stream.cu_stream(),
                &mut pointers,
            )
        };
        queued.map_err(|error| self.failure(launch, error))
    }

    /// Waits for a stream, naming this kernel if it is what failed.
    pub fn wait(&self, stream: &CudaStream, launch: &DeviceLaunch) -> Result<(), CudaError> {
        stream.synchronize().map_err(|error| self.failure(launch, error))
    }

    /// Milliseconds between two events around `work` on a stream; waits for it.
    pub fn time(
        &self,
        stream: &Arc<CudaStream>,
        launch: &DeviceLaunch,
        work: impl FnOnce() -> Result<(), CudaError>,
    ) -> Result<f32, CudaError> {
        let event = |e| CudaError::driver("time the launch", e);
        let flags = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let start = stream.record_event(flags).map_err(event)?;
        work()?;
        let end = stream.record_event(flags).map_err(event)?;
        end.synchronize().map_err(|error| self.failure(launch, error))?;
        start.elapsed_ms(&end).map_err(event)
    }

    fn failure(&self, launch: &DeviceLaunch, error: DriverError) -> CudaError {
        let (entry, code, hint) = (self.entry.clone(), code(error.0), hint(error.0));
        if is_kernel_fault(error.0) {
            CudaError::KernelFailed { entry, code, hint }
        } else {
            CudaError::LaunchRefused { entry, grid: launch.grid, block: launch.block, code, hint }
        }
    }
}
