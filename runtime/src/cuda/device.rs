//! A GPU: finding it, what it can run, memory on it.

use std::sync::Arc;

use cudarc::driver::sys::CUdevice_attribute as Attribute;
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr, DriverError, result, sys};

use super::error::CudaError;
use crate::tensor::HostTensor;

/// A GPU with a context on it.
#[derive(Clone, Debug)]
pub struct Device {
    context: Arc<CudaContext>,
    name: String,
    capability: (u32, u32),
}

/// Whether this machine has a driver at all. Nothing of the driver may be called where it has not.
pub fn driver_is_present() -> bool {
    // SAFETY: the call loads the driver's library if it can be found, and nothing else.
    unsafe { sys::is_culib_present() }
}

impl Device {
    /// How many GPUs the driver sees.
    pub fn count() -> Result<usize, CudaError> {
        if !driver_is_present() {
            return Err(CudaError::NoDriver);
        }
        let count = result::init().and_then(|()| result::device::get_count());
        match count {
            Ok(count) => Ok(usize::try_from(count).unwrap_or(0)),
            Err(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => Ok(0),
            Err(error) => Err(CudaError::driver("start", error)),
        }
    }

    /// GPU number `ordinal`, in its primary context.
    pub fn open(ordinal: usize) -> Result<Device, CudaError> {
        match Device::count()? {
            0 => Err(CudaError::NoDevice),
            count if ordinal >= count => Err(CudaError::NoSuchDevice { asked: ordinal, count }),
            _ => {
                let context = CudaContext::new(ordinal).map_err(|e| CudaError::driver("open the GPU", e))?;
                Device::from_context(context)
            }
        }
    }

    /// The GPU of a caller's context.
    pub fn from_context(context: Arc<CudaContext>) -> Result<Device, CudaError> {
        let ask = |e| CudaError::driver("describe the GPU", e);
        let name = context.name().map_err(ask)?;
        let (major, minor) = context.compute_capability().map_err(ask)?;
        let capability = (major as u32, minor as u32);
        if capability.0 < 8 {
            return Err(CudaError::TooOld { device: name, major: capability.0, minor: capability.1 });
        }
        Ok(Device { context, name, capability })
    }

    pub fn context(&self) -> &Arc<CudaContext> {
        &self.context
    }

    /// As the driver calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Compute capability, e.g. (9, 0).
    pub fn capability(&self) -> (u32, u32) {
        self.capability
    }

    /// Shared memory that a block may ask for, in bytes.
    pub fn shared_limit(&self) -> Result<u32, CudaError> {
        let attribute = Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        let bytes =
            self.context.attribute(attribute).map_err(|e| CudaError::driver("describe the GPU", e))?;
        Ok(bytes as u32)
    }

    /// Streaming multiprocessors.
    pub fn sms(&self) -> Result<u32, CudaError> {
        let attribute = Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        let count =
            self.context.attribute(attribute).map_err(|e| CudaError::driver("describe the GPU", e))?;
        Ok(count as u32)
    }

    /// A copy of a host tensor.
    pub fn upload(&self, stream: &Arc<CudaStream>, tensor: &HostTensor) -> Result<DeviceTensor, CudaError> {
        // An empty tensor still has an address, so that a kernel's parameter is never null by accident.
        let bytes = if tensor.bytes().is_empty() { &[0][..] } else { tensor.bytes() };
        let memory = stream.clone_htod(bytes).map_err(|error| self.memory_error(error, bytes.len()))?;
        Ok(DeviceTensor { memory, like: tensor.with_bytes(vec![0; tensor.bytes().len()]) })
    }

    fn memory_error(&self, error: DriverError, want: usize) -> CudaError {
        if error.0 != sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            return CudaError::driver("copy to the device", error);
        }
        let (free, total) = self.context.mem_get_info().unwrap_or((0, 0));
        CudaError::OutOfMemory {
            device: self.name.clone(),
            want: want as u64,
            free: free as u64,
            total: total as u64,
        }
    }
}

/// A tensor in a GPU's memory.
#[derive(Debug)]
pub struct DeviceTensor {
    memory: CudaSlice<u8>,
    /// Shape and strides.
    like: HostTensor,
}

impl DeviceTensor {
    /// The first element's address.
    pub fn address(&self, stream: &CudaStream) -> u64 {
        let (address, _order) = self.memory.device_ptr(stream);
        address
    }

    /// Bytes that were allocated.
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// No bytes; never so, since an empty tensor still has an address.
    pub fn is_empty(&self) -> bool {
        self.memory.len() == 0
    }

    /// A copy on the host; waits for the stream.
    pub fn download(&self, stream: &Arc<CudaStream>) -> Result<HostTensor, CudaError> {
        let mut bytes =
            stream.clone_dtoh(&self.memory).map_err(|e| CudaError::driver("copy from the device", e))?;
        stream.synchronize().map_err(|e| CudaError::driver("wait for the device", e))?;
        bytes.truncate(self.like.bytes().len());
        Ok(self.like.with_bytes(bytes))
    }
}
