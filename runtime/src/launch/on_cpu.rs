//! Launching on the CPU: the executor runs the PTX that a GPU would get.

use std::time::Duration;

use tilewright_compiler::artifact::Compiled;

use super::choose::{Chosen, choose};
use super::device_launch::{DeviceLaunch, ParamValue};
use super::error::LaunchError;
use super::prepare::Prepared;
use crate::executor::{self, Arg, ExecError, Finding, Options, Stats};
use crate::tensor::HostTensor;

/// What running on the CPU gave; the tensors are in the `Prepared`.
#[derive(Debug, Default)]
pub struct CpuRun {
    /// Variants taken, one per grid; empty where nothing had to run.
    pub variants: Vec<String>,
    /// Grids, in order.
    pub launches: Vec<DeviceLaunch>,
    pub findings: Vec<Finding>,
    /// One per grid, in order.
    pub stats: Vec<Stats>,
    pub compile_time: Duration,
    pub run_time: Duration,
}

/// Why it did not run.
#[derive(Debug, thiserror::Error)]
pub enum CpuError {
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error("the executor cannot run {entry}: {source}")]
    Exec { entry: String, source: ExecError },
    /// The next launch would begin where this one stopped.
    #[error("{entry} leaves a counter of its workspace at {value}: every launch must leave them zero")]
    Counter { entry: String, value: u32 },
}

/// Runs every grid of a compiled kernel.
pub fn run_on_cpu(
    compiled: &Compiled,
    prepared: &mut Prepared,
    options: &Options,
) -> Result<CpuRun, CpuError> {
    let mut result = CpuRun::default();
    for plan in &compiled.meta.launches {
        let Chosen::Launch { variant, launch } =
            choose(&compiled.kernel, plan, &prepared.bound, prepared.sms(compiled.target))?
        else {
            continue;
        };
        let stored: Vec<(usize, Vec<u8>)> = prepared
            .packed_as(&compiled.kernel, plan)?
            .into_iter()
            .map(|(t, b)| (t, b.into_owned()))
            .collect();
        let mut buffers: Vec<Vec<u8>> =
            prepared.tensors.iter_mut().map(|tensor| std::mem::take(tensor.bytes_storage())).collect();
        let mut logical = Vec::new();
        for (t, bytes) in stored {
            logical.push((t, std::mem::replace(&mut buffers[t], bytes)));
        }
        // The workspace follows the tensors: parts, then counters.
        let tensors = buffers.len();
        if let Some(w) = launch.workspace {
            buffers.extend([vec![0; w.parts as usize], vec![0; w.counters as usize]]);
        }
        let outcome = executor::run(executor::Launch {
            ptx: &compiled.ptx,
            entry: &launch.entry,
            grid: launch.grid,
            block: launch.block,
            cluster: launch.cluster,
            shared_bytes: launch.shared_bytes,
            args: arguments(&launch, tensors),
            buffers: &mut buffers,
            options: options.clone(),
        });
        for (t, bytes) in logical {
            buffers[t] = bytes;
        }
        let counters = if launch.workspace.is_some() { buffers.pop() } else { None };
        restore(&mut prepared.tensors, buffers);
        let outcome = outcome.map_err(|source| CpuError::Exec { entry: launch.entry.clone(), source })?;
        let words = counters.iter().flat_map(|c| c.chunks_exact(4));
        let left = words.map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])).find(|value| *value != 0);
        // What was found says more.
        if let (Some(value), []) = (left, &outcome.findings[..]) {
            return Err(CpuError::Counter { entry: launch.entry.clone(), value });
        }
        result.variants.push(variant.into());
        result.launches.push(launch);
        result.findings.extend(outcome.findings);
        result.stats.push(outcome.stats);
        result.compile_time += outcome.compile_time;
        result.run_time += outcome.run_time;
    }
    Ok(result)
}

fn restore(tensors: &mut [HostTensor], buffers: Vec<Vec<u8>>) {
    for (tensor, bytes) in tensors.iter_mut().zip(buffers) {
        *tensor.bytes_storage() = bytes;
    }
}

/// Parameters for the executor: buffers have the numbers of the kernel's tensors, the workspace's follow those.
pub fn arguments(launch: &DeviceLaunch, tensors: usize) -> Vec<Arg> {
    let arg = |param: &ParamValue| match param {
        ParamValue::Pointer(t) => Arg::buffer(t.0 as usize),
        ParamValue::Parts => Arg::buffer(tensors),
        ParamValue::Counters => Arg::buffer(tensors + 1),
        ParamValue::Number(scalar) => Arg::Scalar(scalar.bytes()),
    };
    launch.params.iter().map(arg).collect()
}
