//! Launching on a GPU with tensors that live on the host: copy there, run, copy back.

use tilewright_compiler::artifact::Compiled;
use tilewright_compiler::tile::{ElemType, TensorKind};

use super::choose::{Chosen, choose, tensor_name};
use super::device_launch::{DeviceLaunch, ParamValue};
use super::error::LaunchError;
use super::prepare::Prepared;
use crate::cuda::{CudaError, Device, DeviceTensor, Module};
use crate::tensor::HostTensor;

/// What running on a GPU gave; the tensors are in the `Prepared`.
#[derive(Debug, Default)]
pub struct CudaRun {
    pub variants: Vec<String>,
    pub launches: Vec<DeviceLaunch>,
    /// Of the first launch, after compilation, in milliseconds.
    pub run_ms: f32,
    /// Of the driver's compilation, in milliseconds.
    pub compile_ms: f32,
}

/// Why it did not run.
#[derive(Debug, thiserror::Error)]
pub enum CudaRunError {
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error(transparent)]
    Cuda(#[from] CudaError),
}

/// Bytes as a tensor of their own.
fn raw(bytes: Vec<u8>) -> Result<HostTensor, LaunchError> {
    let size = bytes.len();
    HostTensor::from_bytes(ElemType::Uint(8), &[size], bytes).map_err(|_| LaunchError::TooLarge {
        what: "the memory of a launch".into(),
        value: size as u64,
        most: usize::MAX as u64,
        limit: "a tensor can have".into(),
    })
}

/// Runs every grid of a compiled kernel on the device's default stream.
pub fn run_on_cuda(
    device: &Device,
    compiled: &Compiled,
    prepared: &mut Prepared,
) -> Result<CudaRun, CudaRunError> {
    let start = std::time::Instant::now();
    let module = Module::load(device, &compiled.ptx, compiled.target.name())?;
    let mut result = CudaRun { compile_ms: start.elapsed().as_secs_f32() * 1e3, ..CudaRun::default() };
    let stream = device.context().default_stream();
    // What is packed goes there as it is read, launch by launch.
    let nothing = raw(Vec::new())?;
    let read_packed = |t: usize| compiled.kernel.tensors[t].kind == TensorKind::Packed;
    let memory = prepared
        .tensors
        .iter()
        .enumerate()
        .map(|(t, tensor)| device.upload(&stream, if read_packed(t) { &nothing } else { tensor }))
        .collect::<Result<Vec<DeviceTensor>, _>>()?;
    for plan in &compiled.meta.launches {
        let mut packed = Vec::new();
        for (t, bytes) in prepared.packed_as(&compiled.kernel, plan)? {
            packed.push((t, device.upload(&stream, &raw(bytes.into_owned())?)?));
        }
        let Chosen::Launch { variant, launch } =
            choose(&compiled.kernel, plan, &prepared.bound, device.sms()?)?
        else {
            continue;
        };
        let zeros = |bytes: u64| raw(vec![0; bytes as usize]);
        let workspace = match launch.workspace {
            Some(w) => Some((
                device.upload(&stream, &zeros(w.parts)?)?,
                device.upload(&stream, &zeros(w.counters)?)?,
            )),
            None => None,
        };
        let address = |p: &ParamValue| match p {
            ParamValue::Pointer(t) => {
                let own = packed.iter().find(|(n, _)| *n == t.0 as usize).map(|(_, memory)| memory);
                own.or_else(|| memory.get(t.0 as usize)).map(|m| m.address(&stream))
            }
            ParamValue::Parts => workspace.as_ref().map(|(parts, _)| parts.address(&stream)),
            ParamValue::Counters => workspace.as_ref().map(|(_, counters)| counters.address(&stream)),
            ParamValue::Number(_) => None,
        };
        let function = module.function(&launch.entry, launch.shared_bytes)?;
        let ms = function.time(&stream, &launch, || {
            // SAFETY: every address is an upload of the bound tensor, as large as its shape and strides say, and lives until
            // the end of this function, which waits for the stream.
            unsafe { function.launch(&stream, &launch, address, |t| tensor_name(&compiled.kernel, t)) }
        })?;
        function.wait(&stream, &launch)?;
        result.run_ms += ms;
        result.variants.push(variant.into());
        result.launches.push(launch);
    }
    for (at, tensor) in compiled.kernel.tensors.iter().enumerate() {
        if tensor.kind.writable() {
            prepared.tensors[at] = memory[at].download(&stream)?;
        }
    }
    Ok(result)
}
