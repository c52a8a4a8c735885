//! What can go wrong on a GPU, in words a user can act on.

use cudarc::driver::DriverError;
use cudarc::driver::sys::CUresult;
use thiserror::Error;

/// A failure of a GPU, its driver, or of what we asked of them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CudaError {
    #[error(
        "there is no NVIDIA driver on this machine (libcuda was not found); --device cpu runs the same PTX on the CPU"
    )]
    NoDriver,
    #[error("there is an NVIDIA driver, but it sees no GPU; --device cpu runs the same PTX on the CPU")]
    NoDevice,
    #[error("there is no GPU number {asked}: the driver sees {count}, numbered from 0")]
    NoSuchDevice { asked: usize, count: usize },
    #[error("{device} has compute capability {major}.{minor}; code is made for 8.0 and later")]
    TooOld { device: String, major: u32, minor: u32 },
    #[error(
        "the driver of {device} refused the PTX (made for {target}){}",
        if .log.is_empty() { format!(": {code}") } else { format!("; it says:\n{log}") }
    )]
    PtxRefused { device: String, target: String, code: String, log: String },
    #[error("the PTX has no kernel named {entry:?}")]
    NoEntry { entry: String },
    #[error("{entry} wants {want} bytes of shared memory per block; {device} has {have}")]
    SharedMemory { entry: String, want: u32, have: u32, device: String },
    #[error("{device} is out of memory: {want} bytes were asked for, {free} of {total} are free")]
    OutOfMemory { device: String, want: u64, free: u64, total: u64 },
    #[error("the launch of {entry} with grid {grid:?} and block {block:?} was refused: {code} ({hint})")]
    LaunchRefused { entry: String, grid: [u32; 3], block: [u32; 3], code: String, hint: &'static str },
    #[error(
        "{entry} failed while it ran: {code} ({hint}); `exec --sanitize` on the saved launch (--save-launch) says where"
    )]
    KernelFailed { entry: String, code: String, hint: &'static str },
    #[error("{0} has no address: the launch needs one for every tensor parameter")]
    NoAddress(String),
    #[error("the driver failed to {doing}: {code} ({hint})")]
    Driver { doing: &'static str, code: String, hint: &'static str },
}

impl CudaError {
    /// A driver call that failed while `doing` something ("copy to the device").
    pub fn driver(doing: &'static str, error: DriverError) -> CudaError {
        CudaError::Driver { doing, code: code(error.0), hint: hint(error.0) }
    }
}

/// The driver's name of a result. Taken from the enum and not from the driver, which may be what is broken.
pub fn code(result: CUresult) -> String {
    format!("{result:?}")
}

/// What a result usually means.
pub fn hint(result: CUresult) -> &'static str {
    use CUresult::*;
    match result {
        CUDA_ERROR_INVALID_VALUE => "an argument is out of range",
        CUDA_ERROR_OUT_OF_MEMORY => "the GPU's memory is full",
        CUDA_ERROR_NO_DEVICE => "the driver sees no GPU",
        CUDA_ERROR_INVALID_PTX => "the PTX is not accepted for this GPU",
        CUDA_ERROR_UNSUPPORTED_PTX_VERSION => "the driver is older than the PTX version; update the driver",
        CUDA_ERROR_NO_BINARY_FOR_GPU => "the PTX is made for another GPU; choose another --target",
        CUDA_ERROR_JIT_COMPILER_NOT_FOUND => "the driver's PTX compiler is missing; reinstall the driver",
        CUDA_ERROR_ILLEGAL_ADDRESS => "an access outside of the buffers",
        CUDA_ERROR_MISALIGNED_ADDRESS => "an access whose address is no multiple of its size",
        CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES => "too many registers or threads for one block",
        CUDA_ERROR_LAUNCH_TIMEOUT => "the display's watchdog stopped it",
        CUDA_ERROR_LAUNCH_FAILED => "an exception on the device",
        CUDA_ERROR_ILLEGAL_INSTRUCTION => "an instruction that the GPU does not know",
        CUDA_ERROR_INVALID_CONTEXT | CUDA_ERROR_CONTEXT_IS_DESTROYED => "the CUDA context is gone",
        CUDA_ERROR_DEVICE_UNAVAILABLE => "another process holds the GPU exclusively",
        CUDA_ERROR_SYSTEM_DRIVER_MISMATCH => "driver and kernel module differ in version; reboot",
        CUDA_ERROR_STUB_LIBRARY => "libcuda is a stub for linking; put the real driver's first",
        CUDA_ERROR_ECC_UNCORRECTABLE => "a memory fault of the GPU",
        _ => "see the CUDA driver API's list of results",
    }
}

/// Results after which the context is unusable, because a kernel failed while it ran.
pub fn is_kernel_fault(result: CUresult) -> bool {
    use CUresult::*;
    matches!(
        result,
        CUDA_ERROR_ILLEGAL_ADDRESS
            | CUDA_ERROR_MISALIGNED_ADDRESS
            | CUDA_ERROR_LAUNCH_TIMEOUT
            | CUDA_ERROR_LAUNCH_FAILED
            | CUDA_ERROR_ILLEGAL_INSTRUCTION
            | CUDA_ERROR_HARDWARE_STACK_ERROR
            | CUDA_ERROR_INVALID_ADDRESS_SPACE
            | CUDA_ERROR_INVALID_PC
            | CUDA_ERROR_ASSERT
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_to_do() {
        assert!(CudaError::NoDriver.to_string().contains("--device cpu"));
        let refused = CudaError::PtxRefused {
            device: "NVIDIA A100".into(),
            target: "sm_90a".into(),
            code: code(CUresult::CUDA_ERROR_INVALID_PTX),
            log: "ptxas application ptx input, line 7; error : Unknown modifier".into(),
        };
        assert_eq!(
            refused.to_string(),
            "the driver of NVIDIA A100 refused the PTX (made for sm_90a); it says:\nptxas application ptx input, line 7; error : \
             Unknown modifier"
        );
        let error =
            CudaError::driver("copy to the device", DriverError(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS));
        assert_eq!(
            error.to_string(),
            "the driver failed to copy to the device: CUDA_ERROR_ILLEGAL_ADDRESS (an access outside of the buffers)"
        );
    }

    #[test]
    fn faults_of_a_kernel_are_told_from_refusals() {
        assert!(is_kernel_fault(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS));
        assert!(!is_kernel_fault(CUresult::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES));
    }
}
