//! From what a user gave to a launch that is complete: dimensions bound, inputs made, outputs allocated, everything checked.
//!
//! Example: `run gemm.tw --arg a=a.npy` with `a` of shape [33, 7]: M = 33 and K = 7 come from the file, N from the file's `//; dims:`
//! line, `b` is random, `c` is allocated.

use std::borrow::Cow;

use tilewright_compiler::artifact::LaunchPlan;
use tilewright_compiler::packed::Storage;
use tilewright_compiler::target::Target;
use tilewright_compiler::tile::{Const, DimId, Kernel, Param, TensorKind};

use super::bind::{Argument, Bound, bind, fill_scalars, find_param, place_arguments, shape_of};
use super::dims::{DEFAULT_DIM, DimFacts, DimOrigin, DimValues, Dims, bind_dims};
use super::error::LaunchError;
use super::generate::{check_values, random_scalar, random_tensor};
use super::signature::{Signature, TensorFacts};
use crate::tensor::{HostTensor, Made, PackedTensor, TensorError};

/// What a user gives for a parameter.
#[derive(Clone, Debug)]
pub enum Given {
    /// A tensor and how messages call it.
    Tensor(HostTensor, String),
    /// Weights that are packed already, and how messages call them.
    Packed(PackedTensor, String),
    Number(Const),
    /// Made here, from this seed.
    Random(u64),
}

/// A launch with its memory.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub bound: Bound,
    /// In the kernel's order: parameters, `temp`s and constants.
    pub tensors: Vec<HostTensor>,
    /// What was given packed, by the numbers of tensors, with its name for messages. In `tensors` stand zeros in its place, which cost no memory before
    /// they are touched: [`Prepared::logical`] has the values.
    pub packed: Vec<(usize, PackedTensor, String)>,
    /// SMs of the GPU that a CPU stands for, where that is not the target's usual one: kernels whose blocks stay launch as many as it holds.
    pub sms: Option<u32>,
    /// What was chosen for the user, each as a short phrase: `N from the file's dims line`.
    pub notes: Vec<String>,
}

impl Prepared {
    /// SMs of the GPU that a CPU stands for.
    pub fn sms(&self, target: Target) -> u32 {
        self.sms.unwrap_or_else(|| target.sms())
    }

    /// A tensor's logical values.
    pub fn logical(&self, tensor: usize) -> Result<Cow<'_, HostTensor>, TensorError> {
        match self.packed.iter().find(|(t, ..)| *t == tensor) {
            Some((_, packed, _)) => Ok(Cow::Owned(packed.unpack()?)),
            None => Ok(Cow::Borrowed(&self.tensors[tensor])),
        }
    }

    /// Packed tensors as the kernel reads them, by their numbers: those that were given so as they are, if their storage is the kernel's.
    pub fn packed_as(
        &self,
        kernel: &Kernel,
        plan: &LaunchPlan,
    ) -> Result<Vec<(usize, Cow<'_, [u8]>)>, LaunchError> {
        let stored = plan.packed.iter().map(|(t, recipe)| {
            let (t, storage) = (t.0 as usize, recipe.storage());
            let name = &kernel.tensors[t].name;
            match self.packed.iter().find(|(n, ..)| *n == t) {
                Some((_, packed, origin)) => {
                    fits(name, packed, origin, &storage)?;
                    Ok((t, Cow::Borrowed(packed.bytes())))
                }
                None => {
                    let packed = PackedTensor::pack(storage, &self.tensors[t], Made::default());
                    let packed = packed
                        .map_err(|e| LaunchError::Unpackable { name: name.clone(), why: e.to_string() })?;
                    Ok((t, Cow::Owned(packed.into_bytes())))
                }
            }
        });
        stored.collect()
    }
}

/// Refuses weights that are packed for another schedule, type or version of the compiler.
pub fn fits(name: &str, packed: &PackedTensor, origin: &str, storage: &Storage) -> Result<(), LaunchError> {
    match packed.fits(storage) {
        true => Ok(()),
        false => Err(LaunchError::PackedForAnother {
            name: name.into(),
            origin: origin.into(),
            difference: packed.storage().difference(storage),
            got: packed.hash(),
            want: storage.hash(),
        }),
    }
}

/// How to fill what was not given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filling {
    /// For inputs without a seed of their own.
    pub seed: u64,
    /// Fill outputs with bytes that no right result leaves, so that an element that was never written shows.
    pub poison: bool,
}

/// The dimensions of a launch, before anything is made: what a schedule may be chosen by.
pub fn dims_of(kernel: &Kernel, given: &[(String, Given)], outside: &DimValues) -> Result<Dims, LaunchError> {
    let signature = Signature::from(kernel);
    let argument = |(name, value): &(String, Given)| match value {
        Given::Tensor(tensor, origin) => {
            Some((name.clone(), Argument::Tensor(TensorFacts::of(tensor, origin.clone()))))
        }
        Given::Packed(packed, origin) => {
            Some((name.clone(), Argument::Tensor(TensorFacts::of_packed(packed, origin.clone()))))
        }
        Given::Number(value) => Some((name.clone(), Argument::Scalar(*value))),
        Given::Random(_) => None,
    };
    let arguments: Vec<_> = given.iter().filter_map(argument).collect();
    let (facts, scalars) = place_arguments(&signature, &arguments)?;
    let present: Vec<Option<&TensorFacts>> = facts.iter().map(Option::as_ref).collect();
    bind_dims(&signature, &present, &scalars, outside)
}

/// Completes a launch.
pub fn prepare(
    kernel: &Kernel,
    given: Vec<(String, Given)>,
    outside: &DimValues,
    filling: Filling,
) -> Result<Prepared, LaunchError> {
    let signature = Signature::from(kernel);
    let mut arguments = Vec::new();
    let mut seeds = vec![filling.seed; kernel.tensors.len()];
    let mut scalar_seeds = vec![filling.seed; kernel.scalars.len()];
    let mut tensors: Vec<Option<HostTensor>> = vec![None; kernel.tensors.len()];
    let mut packed: Vec<(usize, PackedTensor, String)> = Vec::new();
    for (name, value) in given {
        match (find_param(&signature, &name)?, value) {
            (Param::Tensor(t), Given::Tensor(tensor, origin)) => {
                arguments.push((name, Argument::Tensor(TensorFacts::of(&tensor, origin))));
                tensors[t.0 as usize] = Some(tensor);
            }
            (Param::Tensor(t), Given::Packed(tensor, origin)) => {
                arguments.push((name, Argument::Tensor(TensorFacts::of_packed(&tensor, origin.clone()))));
                packed.push((t.0 as usize, tensor, origin));
            }
            (Param::Scalar(_), Given::Packed(tensor, origin)) => {
                arguments.push((name, Argument::Tensor(TensorFacts::of_packed(&tensor, origin))));
            }
            // A tensor for a scalar: the binding says what is wrong with it.
            (Param::Scalar(_), Given::Tensor(tensor, origin)) => {
                arguments.push((name, Argument::Tensor(TensorFacts::of(&tensor, origin))));
            }
            (_, Given::Number(value)) => arguments.push((name, Argument::Scalar(value))),
            (Param::Tensor(t), Given::Random(seed)) => seeds[t.0 as usize] = seed,
            (Param::Scalar(s), Given::Random(seed)) => scalar_seeds[s.0 as usize] = seed,
        }
    }

    // What was given decides dimensions; dimensions decide the shapes of what was not.
    let (facts, scalars) = place_arguments(&signature, &arguments)?;
    let present: Vec<Option<&TensorFacts>> = facts.iter().map(Option::as_ref).collect();
    let dims = bind_dims(&signature, &present, &scalars, outside)?;
    let mut notes = dim_notes(kernel, &dims);
    let given_scalars: Vec<bool> = scalars.iter().map(Option::is_some).collect();
    let mut scalars = fill_scalars(&signature, &dims, scalars)?;
    for (at, scalar) in kernel.scalars.iter().enumerate() {
        if scalars[at].is_none() {
            let facts = DimFacts { dims: &dims, scalars: &scalars };
            let value = random_scalar(&signature, scalar, &facts, scalar_seeds[at])?;
            notes.push(format!("{} = {} (random)", scalar.name, super::bind::show(value)));
            scalars[at] = Some(value);
        }
        if let (false, Some(value)) = (given_scalars[at], scalars[at]) {
            arguments.push((scalar.name.clone(), Argument::Scalar(value)));
        }
    }
    let facts = DimFacts { dims: &dims, scalars: &scalars };
    room_for(kernel, &signature, &facts)?;
    for (at, tensor) in kernel.tensors.iter().enumerate() {
        if let Some(values) = &tensors[at] {
            let origin = present[at].map_or(tensor.name.as_str(), |f| &f.origin);
            check_values(&signature, tensor, &facts, values, origin)?;
            continue;
        }
        if let Some((_, packed, origin)) = packed.iter().find(|(t, ..)| *t == at) {
            if tensor.holds.is_some() {
                check_values(&signature, tensor, &facts, &packed.unpack()?, origin)?;
            }
            tensors[at] = Some(HostTensor::zeros(tensor.elem, packed.shape())?);
            continue;
        }
        let made = match &tensor.kind {
            TensorKind::In | TensorKind::InOut | TensorKind::Packed => {
                random_tensor(&signature, tensor, &facts, seeds[at])?
            }
            TensorKind::Out => {
                let zeros = HostTensor::zeros(tensor.elem, &shape_of(&signature, tensor, &facts)?)?;
                if filling.poison { zeros.with_bytes(vec![0xff; zeros.bytes().len()]) } else { zeros }
            }
            TensorKind::Temp { init } => {
                let zeros = HostTensor::zeros(tensor.elem, &shape_of(&signature, tensor, &facts)?)?;
                match init {
                    Some(value) => constant(tensor.elem, zeros.shape(), |_| Some(*value))?,
                    None => zeros,
                }
            }
            TensorKind::Const(values) => {
                let shape = shape_of(&signature, tensor, &facts)?;
                constant(tensor.elem, &shape, |at| values.get(at).copied())?
            }
        };
        if super::bind::is_parameter(tensor) {
            let facts = TensorFacts::of(&made, format!("the argument {}", tensor.name));
            arguments.push((tensor.name.clone(), Argument::Tensor(facts)));
        }
        tensors[at] = Some(made);
    }
    let known = DimValues {
        given: kernel.dims.iter().zip(dims.values()).map(|(d, v)| (d.name.clone(), v)).collect(),
        ..DimValues::default()
    };
    let bound = bind(&signature, &arguments, &known)?;
    // Every tensor was given or made above.
    let tensors = tensors.into_iter().flatten().collect();
    Ok(Prepared { bound, tensors, packed, sms: None, notes })
}

/// Refuses what would end in an abort for want of memory: asks for all of it at once, and gives it back. Each tensor may be there a second
/// time as 64-bit numbers, while it is made or evaluated.
fn room_for(kernel: &Kernel, signature: &Signature<'_>, facts: &DimFacts<'_>) -> Result<(), LaunchError> {
    let (mut bytes, mut largest) = (0usize, (0, None));
    for tensor in &kernel.tensors {
        let shape = shape_of(signature, tensor, facts)?;
        let empty = HostTensor::zeros(tensor.elem, &shape)?;
        let both = empty.bytes().len().saturating_add(empty.numel().saturating_mul(8));
        bytes = bytes.saturating_add(both);
        if both >= largest.0 {
            largest = (both, Some((tensor.elem, shape)));
        }
    }
    match (Vec::<u8>::new().try_reserve_exact(bytes), largest.1) {
        (Err(_), Some((elem, shape))) => Err(TensorError::TooLarge { elem, shape }.into()),
        _ => Ok(()),
    }
}

/// The dimensions that nothing of the user's fixed.
fn dim_notes(kernel: &Kernel, dims: &Dims) -> Vec<String> {
    let from = |wanted: &DimOrigin, words: &str| {
        let named = kernel.dims.iter().enumerate().filter(|(at, _)| dims.origin(DimId(*at as u32)) == wanted);
        let names: Vec<&str> = named.map(|(_, dim)| dim.name.as_str()).collect();
        (!names.is_empty()).then(|| format!("{} {words}", names.join(", ")))
    };
    let line = from(&DimOrigin::Directive, "from the file's `//; dims:` line");
    let default = from(&DimOrigin::Default, &format!("= {DEFAULT_DIM}, since nothing fixes it"));
    let promise = from(&DimOrigin::Promise, "as the kernel's `where` says");
    line.into_iter().chain(promise).chain(default).collect()
}

fn constant(
    elem: tilewright_compiler::tile::ElemType,
    shape: &[usize],
    value: impl Fn(usize) -> Option<Const>,
) -> Result<HostTensor, TensorError> {
    let format = elem.format();
    HostTensor::from_codes(elem, shape, |at| match value(at) {
        Some(Const::Float(x)) => format.encode_f64(x),
        Some(Const::Int(v)) => format.encode_int(v as i64, tilewright_compiler::numeric::IntFormat::I64),
        Some(Const::Bool(b)) => u64::from(b),
        None => 0,
    })
}
