//! From a bound launch to what a device is given: the first variant whose guards hold, its grid, its parameters.
//!
//! Worked example: a GEMM with K = 7 in f16. Rows of `a` are 14 bytes apart, so neither `wide` (16-byte accesses) nor `mid` (4-byte)
//! may run, and `any` does. At K = 72 all rows start at multiples of 16 bytes and `wide` is taken.

use tilewright_compiler::artifact::{GridRange, Guard, LaunchPlan, ParamSlot, Share, VariantMeta};
use tilewright_compiler::tile::{Const, ElemType, Kernel, LaunchFacts, reach};

use super::bind::{Bound, facts_of};
use super::device_launch::{DeviceLaunch, ParamValue, Scalar, WorkspaceBytes};
use super::error::LaunchError;
use super::signature::{Signature, TensorFacts};

/// Blocks that a grid may have along x (CUDA C++ Programming Guide, technical specifications).
const MAX_GRID_X: u64 = (1 << 31) - 1;

/// What one grid of a compiled kernel comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Chosen<'a> {
    /// Nothing is computed: some range of the grid is empty.
    Nothing,
    Launch {
        variant: &'a str,
        launch: DeviceLaunch,
    },
}

/// Chooses a variant for a bound launch and fills it in; `sms` are the SMs of the GPU, for kernels whose blocks stay.
pub fn choose<'a>(
    kernel: &Kernel,
    plan: &'a LaunchPlan,
    bound: &Bound,
    sms: u32,
) -> Result<Chosen<'a>, LaunchError> {
    let signature = Signature::from(kernel);
    if let Some(beyond) = reach::beyond(kernel, bound) {
        return Err(LaunchError::Beyond { what: beyond.what, value: beyond.value.to_string() });
    }
    let holds = |variant: &&VariantMeta| variant.guards.iter().all(|guard| guard_holds(guard, bound));
    let Some(variant) = plan.variants.iter().find(holds) else {
        return Err(LaunchError::NoVariant {
            kernel: kernel.name.clone(),
            variants: plan.variants.iter().map(|v| v.name.to_string()).collect(),
        });
    };
    let Some(Blocks { blocks, tiles }) = blocks(&signature, variant, bound, sms)? else {
        return Ok(Chosen::Nothing);
    };
    let (parts, counters) = match variant.grid.workers.as_ref().map(|w| &w.share) {
        Some(Share::Steps(_)) => (2 * blocks, tiles),
        Some(Share::Drawn) => (blocks, 1),
        Some(Share::Turns) | None => (blocks, blocks),
    };
    let params =
        variant.params.iter().map(|slot| param(&signature, slot, bound)).collect::<Result<_, _>>()?;
    Ok(Chosen::Launch {
        variant: variant.name,
        launch: DeviceLaunch {
            entry: variant.entry.clone(),
            grid: [blocks, 1, 1],
            block: variant.block,
            cluster: variant.cluster,
            shared_bytes: variant.shared_bytes,
            params,
            workspace: plan.workspace.map(|w| WorkspaceBytes {
                parts: u64::from(w.part_bytes) * u64::from(parts),
                counters: 4 * u64::from(counters),
            }),
        },
    })
}

/// The tensor's base and its rows start at multiples of the guard's bytes, and rows are as many whole accesses long.
fn guard_holds(guard: &Guard, bound: &Bound) -> bool {
    let Some(Some(facts)) = bound.tensors.get(guard.tensor.0 as usize) else { return true };
    // Nothing of an empty tensor is accessed.
    if facts.shape.contains(&0) {
        return true;
    }
    let bytes = u64::from(guard.bytes.max(1));
    // Byte by byte nothing is unaligned, whatever elements are made of.
    if bytes == 1 {
        return true;
    }
    // Memory that the launch places is aligned to 256 bytes.
    let base = facts.memory.is_none_or(|memory| memory.address % bytes == 0);
    // A row's length too, since an access at its end must not reach beyond it. For dense rows the strides say the same, but a
    // single row has no stride, and padded rows have another.
    let row = facts.shape.last().copied().unwrap_or(1) as u64;
    let length = row.checked_mul(facts.elem.bits().into()).is_some_and(|bits| bits % (8 * bytes) == 0);
    base && length && row_strides(facts).all(|stride| stride.is_some_and(|s| s % bytes == 0))
}

/// Byte distances between rows along every axis but the last that has more than one element; `None` where a distance is no whole
/// number of bytes.
fn row_strides(facts: &TensorFacts) -> impl Iterator<Item = Option<u64>> + '_ {
    let bits = u64::from(facts.elem.bits());
    let rows = facts.shape.len().saturating_sub(1);
    (0..rows).filter(|&axis| facts.shape[axis] > 1).map(move |axis| {
        let stride = (facts.strides[axis] as u64).checked_mul(bits)?;
        if bits.is_multiple_of(8) || stride.is_multiple_of(8) { Some(stride / 8) } else { None }
    })
}

/// What a grid comes to.
struct Blocks {
    blocks: u32,
    /// As many as blocks, unless those go from one to the next.
    tiles: u32,
}

/// `None` where some range is empty.
fn blocks(
    signature: &Signature<'_>,
    variant: &VariantMeta,
    bound: &Bound,
    sms: u32,
) -> Result<Option<Blocks>, LaunchError> {
    let along = |range: &GridRange| match range.extent.eval_int(bound) {
        Some(extent) => Ok(u64::try_from(extent).unwrap_or(0).div_ceil(u64::from(range.by.max(1)))),
        None => Err(LaunchError::NoValue {
            what: format!("the extent {} of the grid", range.text),
            facts: facts_of(signature, &range.extent, bound),
        }),
    };
    let mut tiles = 1u64;
    for range in &variant.grid.ranges {
        tiles = tiles.saturating_mul(along(range)?);
    }
    let mut work = tiles;
    if let Some(steps) = variant.grid.workers.as_ref().and_then(|w| w.steps()) {
        work = work.saturating_mul(along(steps)?.max(1));
    }
    if work > MAX_GRID_X {
        let what = if work == tiles { "blocks" } else { "steps" };
        return Err(LaunchError::TooLarge {
            what: format!("the number of {what} of {}", signature.name),
            value: work,
            most: MAX_GRID_X,
            limit: "one grid may have".into(),
        });
    }
    let blocks = match &variant.grid.workers {
        None => work,
        Some(workers) => work.min(u64::from(sms.max(1)) * u64::from(workers.per_sm)),
    };
    Ok((tiles > 0).then_some(Blocks { blocks: blocks as u32, tiles: tiles as u32 }))
}

fn param(signature: &Signature<'_>, slot: &ParamSlot, bound: &Bound) -> Result<ParamValue, LaunchError> {
    Ok(match slot {
        ParamSlot::Pointer(t) => ParamValue::Pointer(*t),
        ParamSlot::Workspace => ParamValue::Parts,
        ParamSlot::Counters => ParamValue::Counters,
        ParamSlot::Dim(d) => {
            let value = bound.dims.get(*d);
            let fits = u32::try_from(value).ok().filter(|v| *v < 1 << 31);
            let value = fits.ok_or_else(|| LaunchError::TooLarge {
                what: format!("dimension {}", signature.dims[d.0 as usize].name),
                value: value as u64,
                most: (1 << 31) - 1,
                limit: "a kernel's 32-bit coordinates can count".into(),
            })?;
            ParamValue::Number(Scalar::U32(value))
        }
        ParamSlot::Stride(t, axis) => {
            // Bound tensors have a stride for each axis of their declaration.
            let stride = bound.stride(*t, *axis).unwrap_or(0);
            ParamValue::Number(Scalar::U64(stride as u64))
        }
        ParamSlot::Scalar(s) => {
            let scalar = &signature.scalars[s.0 as usize];
            ParamValue::Number(scalar_value(scalar.elem, bound.scalars[s.0 as usize]))
        }
    })
}

/// A scalar argument in its own type's width.
fn scalar_value(elem: ElemType, value: Const) -> Scalar {
    use tilewright_compiler::numeric::IntFormat;
    let code = match value {
        Const::Float(x) => elem.format().encode_f64(x),
        Const::Int(v) => elem.format().encode_int(v as i64, IntFormat::I64),
        Const::Bool(b) => u64::from(b),
    };
    match elem.bits() {
        ..=8 => Scalar::U8(code as u8),
        9..=16 => Scalar::U16(code as u16),
        17..=32 => Scalar::U32(code as u32),
        _ => Scalar::U64(code),
    }
}

/// The parameter's name, for messages.
pub fn tensor_name(kernel: &Kernel, id: tilewright_compiler::tile::TensorId) -> String {
    kernel.tensors.get(id.0 as usize).map_or_else(|| format!("tensor {}", id.0), |t| t.name.clone())
}

/// Every tensor that a launch's parameters point to, in order.
pub fn pointers(launch: &DeviceLaunch) -> impl Iterator<Item = tilewright_compiler::tile::TensorId> + '_ {
    launch.params.iter().filter_map(|param| match param {
        ParamValue::Pointer(t) => Some(*t),
        ParamValue::Number(_) | ParamValue::Parts | ParamValue::Counters => None,
    })
}
