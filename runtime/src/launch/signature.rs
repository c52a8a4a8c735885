//! The two sides of a launch: what the kernel asks for, and what an argument is.

use tilewright_compiler::tile::{Dim, ElemType, Kernel, Param, Promise, Scalar, Tensor};

use crate::tensor::{HostTensor, PackedTensor, dense_strides};

/// What a kernel asks of a launch; its body does not matter here.
#[derive(Clone, Copy, Debug)]
pub struct Signature<'a> {
    pub name: &'a str,
    pub dims: &'a [Dim],
    pub tensors: &'a [Tensor],
    pub scalars: &'a [Scalar],
    /// In the order of the argument list, captures appended.
    pub params: &'a [Param],
    pub promises: &'a [Promise],
}

impl<'a> From<&'a Kernel> for Signature<'a> {
    fn from(kernel: &'a Kernel) -> Self {
        Signature {
            name: &kernel.name,
            dims: &kernel.dims,
            tensors: &kernel.tensors,
            scalars: &kernel.scalars,
            params: &kernel.params,
            promises: &kernel.promises,
        }
    }
}

impl Signature<'_> {
    /// The parameters' names in order.
    pub fn param_names(&self) -> Vec<&str> {
        let name = |param: &Param| match param {
            Param::Tensor(t) => self.tensors[t.0 as usize].name.as_str(),
            Param::Scalar(s) => self.scalars[s.0 as usize].name.as_str(),
        };
        self.params.iter().map(name).collect()
    }
}

/// What is known about an argument's memory, wherever it lives.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorFacts {
    /// How messages call it: `a.npy`, or `the argument a`.
    pub origin: String,
    pub elem: ElemType,
    /// Outermost first.
    pub shape: Vec<usize>,
    /// In elements, outermost first.
    pub strides: Vec<usize>,
    /// Address of the first element where the kernel runs. Addresses of host tensors whose memory the launch places are
    /// aligned to 256 bytes and never overlap.
    pub memory: Option<Memory>,
}

/// A piece of memory that the caller placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub address: u64,
    /// Bytes that may be touched from there, if known.
    pub len: Option<u64>,
}

impl TensorFacts {
    /// Facts about a host tensor.
    pub fn of(tensor: &HostTensor, origin: impl Into<String>) -> TensorFacts {
        TensorFacts {
            origin: origin.into(),
            elem: tensor.elem(),
            shape: tensor.shape().to_vec(),
            strides: tensor.strides().to_vec(),
            memory: None,
        }
    }

    /// Facts about packed weights: of the logical tensor.
    pub fn of_packed(packed: &PackedTensor, origin: impl Into<String>) -> TensorFacts {
        TensorFacts {
            origin: origin.into(),
            elem: packed.storage().elem,
            shape: packed.shape().to_vec(),
            strides: dense_strides(packed.shape()),
            memory: None,
        }
    }

    /// Bytes from the first element's first byte to the last element's last; `None` where that overflows.
    pub fn reach(&self) -> Option<u64> {
        if self.shape.contains(&0) {
            return Some(0);
        }
        let bits = u64::from(self.elem.bits());
        if !bits.is_multiple_of(8) {
            let row = self.shape.last().copied().unwrap_or(1) as u64;
            let rows = self.shape.iter().rev().skip(1).try_fold(1u64, |n, &e| n.checked_mul(e as u64))?;
            return rows.checked_mul(row.checked_mul(bits)?.div_ceil(8));
        }
        let last = self.shape.iter().zip(&self.strides).try_fold(0u64, |sum, (&extent, &stride)| {
            sum.checked_add((extent as u64 - 1).checked_mul(stride as u64)?)
        })?;
        last.checked_add(1)?.checked_mul(bits / 8)
    }
}
