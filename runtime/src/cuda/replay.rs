//! A launch file on a GPU: what `exec --device cuda:N` does.
//!
//! Everything but addresses and driver calls is in [`LaunchPlan`]. Tensor maps are encoded by the driver, so that what runs is what any
//! CUDA program would have run, and the executor can be held against it.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use cudarc::driver::CudaStream;
use cudarc::driver::sys::{
    self, CUfunction_attribute, CUlaunchAttribute, CUlaunchAttributeID, CUlaunchAttributeValue,
    CUlaunchConfig, CUtensorMap, CUtensorMapDataType, CUtensorMapFloatOOBfill, CUtensorMapInterleave,
    CUtensorMapL2promotion, CUtensorMapSwizzle,
};

use super::device::{Device, DeviceTensor};
use super::error::{CudaError, code, hint, is_kernel_fault};
use super::module::{Function, Module};
use crate::launch::file::LoadedLaunch;
use crate::launch::plan::{EncodeTiled, LaunchPlan, PlanParam};

/// What a run gave; the buffers are in the `LoadedLaunch`.
#[derive(Clone, Copy, Debug)]
pub struct Replayed {
    /// The driver's compilation.
    pub compile_ms: f32,
    /// Between events around the launch.
    pub run_ms: f32,
}

/// Bytes of a parameter, where the driver can read them.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Cell([u8; 128]);

fn data_type(encode: &EncodeTiled) -> CUtensorMapDataType {
    use CUtensorMapDataType::*;
    match encode.data_type() {
        0 => CU_TENSOR_MAP_DATA_TYPE_UINT8,
        1 => CU_TENSOR_MAP_DATA_TYPE_UINT16,
        2 => CU_TENSOR_MAP_DATA_TYPE_UINT32,
        3 => CU_TENSOR_MAP_DATA_TYPE_INT32,
        4 => CU_TENSOR_MAP_DATA_TYPE_UINT64,
        5 => CU_TENSOR_MAP_DATA_TYPE_INT64,
        6 => CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
        7 => CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
        8 => CU_TENSOR_MAP_DATA_TYPE_FLOAT64,
        _ => CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
    }
}

/// A tensor map at `address`, made by the driver.
fn encode_map(encode: &EncodeTiled, address: u64) -> Result<[u8; 128], CudaError> {
    let swizzle = match encode.swizzle {
        1 => CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_32B,
        2 => CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_64B,
        3 => CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
        _ => CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_NONE,
    };
    let interleave = match encode.interleave {
        1 => CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_16B,
        2 => CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_32B,
        _ => CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
    };
    let fill = if encode.nan_fill {
        CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA
    } else {
        CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE
    };
    let mut map = CUtensorMap { opaque: [0; 16] };
    let promotion = CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_128B;
    // SAFETY: the lists have `rank` entries (strides one less, corners at least two less), as the driver expects, and outlive the call; the map is
    // ours; the address is only recorded.
    let status = unsafe {
        match &encode.window {
            None => sys::cuTensorMapEncodeTiled(
                &mut map,
                data_type(encode),
                encode.dims.len() as u32,
                ptr::with_exposed_provenance_mut::<c_void>(address as usize),
                encode.dims.as_ptr(),
                encode.strides.as_ptr(),
                encode.boxes.as_ptr(),
                encode.element_strides.as_ptr(),
                interleave,
                swizzle,
                promotion,
                fill,
            ),
            Some(window) => sys::cuTensorMapEncodeIm2col(
                &mut map,
                data_type(encode),
                encode.dims.len() as u32,
                ptr::with_exposed_provenance_mut::<c_void>(address as usize),
                encode.dims.as_ptr(),
                encode.strides.as_ptr(),
                window.lower.as_ptr(),
                window.upper.as_ptr(),
                window.channels,
                window.pixels,
                encode.element_strides.as_ptr(),
                interleave,
                swizzle,
                promotion,
                fill,
            ),
        }
    };
    status.result().map_err(|e| CudaError::driver("encode a tensor map", e))?;
    let mut bytes = [0; 128];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(map.opaque) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    Ok(bytes)
}

/// Runs a launch file on a GPU; its buffers hold the results afterwards.
///
/// # Errors
/// What the driver refused, or how the kernel failed.
pub fn replay(device: &Device, plan: &LaunchPlan, loaded: &mut LoadedLaunch) -> Result<Replayed, CudaError> {
    let start = std::time::Instant::now();
    let module = Module::load(device, &loaded.ptx, &plan.target)?;
    let function = module.function(&plan.entry, plan.shared_bytes)?;
    let compile_ms = start.elapsed().as_secs_f32() * 1e3;
    let stream = device.context().default_stream();
    let memory = loaded
        .buffers
        .iter()
        .map(|tensor| device.upload(&stream, tensor))
        .collect::<Result<Vec<DeviceTensor>, _>>()?;
    let mut cells = Vec::with_capacity(plan.params.len());
    for param in &plan.params {
        let address = |buffer: usize| memory.get(buffer).map_or(0, |m| m.address(&stream));
        let mut cell = Cell([0; 128]);
        match param {
            PlanParam::Address { buffer, offset } => {
                cell.0[..8].copy_from_slice(&(address(*buffer) + offset).to_le_bytes());
            }
            PlanParam::Map { buffer, encode } => {
                cell.0 = encode_map(encode, address(*buffer) + encode.offset)?;
            }
            PlanParam::Bytes(bytes) => cell.0[..bytes.len()].copy_from_slice(bytes),
        }
        cells.push(cell);
    }
    let run_ms = launch(&function, &stream, plan, &mut cells)?;
    for (buffer, memory) in loaded.buffers.iter_mut().zip(&memory) {
        *buffer = memory.download(&stream)?;
    }
    Ok(Replayed { compile_ms, run_ms })
}

/// Launches and waits; gives the milliseconds between events around the launch.
fn launch(
    function: &Function,
    stream: &Arc<CudaStream>,
    plan: &LaunchPlan,
    cells: &mut [Cell],
) -> Result<f32, CudaError> {
    let failure = |error: cudarc::driver::DriverError| {
        let (entry, code, hint) = (plan.entry.clone(), code(error.0), hint(error.0));
        if is_kernel_fault(error.0) {
            CudaError::KernelFailed { entry, code, hint }
        } else {
            CudaError::LaunchRefused { entry, grid: plan.grid, block: plan.block, code, hint }
        }
    };
    if plan.is_non_portable() {
        let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED;
        // SAFETY: the function belongs to a loaded module.
        unsafe { cudarc::driver::result::function::set_function_attribute(function.function, attribute, 1) }
            .map_err(|e| CudaError::driver("allow large clusters", e))?;
    }
    let mut value = CUlaunchAttributeValue { pad: [0; 64] };
    value.clusterDim.x = plan.cluster[0];
    value.clusterDim.y = plan.cluster[1];
    value.clusterDim.z = plan.cluster[2];
    let id = CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    let mut attributes = [CUlaunchAttribute { id, pad: [0; 4], value }];
    let config = CUlaunchConfig {
        gridDimX: plan.grid[0],
        gridDimY: plan.grid[1],
        gridDimZ: plan.grid[2],
        blockDimX: plan.block[0],
        blockDimY: plan.block[1],
        blockDimZ: plan.block[2],
        sharedMemBytes: plan.shared_bytes,
        hStream: stream.cu_stream(),
        attrs: attributes.as_mut_ptr(),
        numAttrs: u32::from(plan.has_clusters()),
    };
    let mut pointers: Vec<*mut c_void> = cells.iter_mut().map(|c| c.0.as_mut_ptr().cast()).collect();
    let event = |e| CudaError::driver("time the launch", e);
    let flags = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
    let start = stream.record_event(flags).map_err(event)?;
    // SAFETY: the function is loaded; attributes and parameters outlive the call, which copies them; every cell has at least as many bytes as
    // any parameter; addresses are uploads that live until the stream was waited for.
    let status =
        unsafe { sys::cuLaunchKernelEx(&config, function.function, pointers.as_mut_ptr(), ptr::null_mut()) };
    status.result().map_err(failure)?;
    let end = stream.record_event(flags).map_err(event)?;
    end.synchronize().map_err(failure)?;
    start.elapsed_ms(&end).map_err(event)
}
