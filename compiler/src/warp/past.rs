//! What an operand of a product holds past the end of the contracted range.
//!
//! Lanes there do not exist and must add nothing. Where the other operand has zeros, it is enough that this one has numbers: zero times a number is
//! nothing. Packed tiles are filled up with zero bits past the end of their tensor (where the range ends before it, they hold its codes), what is staged
//! as it is with zeros, and scales of groups past the end are not loaded
//! ([`super::grouped`]), so that weights of a few bits are seldom masked:
//!
//! ```text
//! (w[j, k] as f16 - z[j, k / 32]) * s[j, k / 32]      |w| <= 16, z = s = 0      at most 0, which f16 has: no mask
//! w[j, k] as f16 * s[j]                               s may be infinite, and infinity times zero is no number: masked
//! ```

use super::lower::Lower;
use crate::numeric::Number;
use crate::plan::access::launch_scalar;
use crate::plan::instances;
use crate::scheduled::ir as t2;
use crate::tile::ir as t1;
use std::ops::Neg;
use t1::{BinaryOp, ElemType, UnaryOp};

/// The greatest number of a type; `None` for those without one.
fn greatest(elem: ElemType) -> Option<f64> {
    Some(match elem {
        ElemType::F16 => 65504.0,
        ElemType::Bf16 => (2.0 - 7f64.neg().exp2()) * 127f64.exp2(),
        ElemType::F32 => f64::from(f32::MAX),
        ElemType::Int(w) | ElemType::Uint(w) | ElemType::Bipolar(w) => f64::from(w).exp2(),
        ElemType::Index => 64f64.exp2(),
        // All numbers of such types are far less.
        ElemType::Small { .. } | ElemType::E8m0 => f64::from(f32::MAX),
        _ => return None,
    })
}

/// The greatest number of a type of at most eight bits; `None` where a code is infinite, or no number.
fn greatest_code(elem: ElemType) -> Option<f64> {
    let format = elem.format();
    (0..1u64 << elem.bits()).try_fold(0.0, |most: f64, code| match format.decode(code) {
        Number::Float(x) if x.is_finite() => Some(most.max(x.abs())),
        Number::Int(x) => Some(most.max((x as f64).abs())),
        Number::Float(_) => None,
    })
}

/// Whether every code of a type is a number.
fn only_numbers(elem: ElemType) -> bool {
    match elem {
        ElemType::E4M3 | ElemType::E5M2 => false,
        ElemType::Small { .. } => true,
        elem => elem.is_mma_integer(),
    }
}

impl Lower<'_> {
    /// The greatest magnitude that a tile may have past the end of the contracted range; `None` where it may be infinite, or no number.
    pub fn past_the_end(&mut self, v: t2::ValId) -> Option<f64> {
        if let Some(known) = self.past.get(&v) {
            return *known;
        }
        let found = self.found_past_the_end(v);
        self.past.insert(v, found);
        found
    }

    fn found_past_the_end(&mut self, v: t2::ValId) -> Option<f64> {
        match *self.producers.get(&v)? {
            t2::OpKind::Load { .. } => match self.tile(v).0 {
                // Zero bits are the least of such numbers.
                elem @ ElemType::Bipolar(_) => greatest(elem),
                _ => Some(0.0),
            },
            t2::OpKind::LoadPacked { tensor, .. } => match self.kernel.tensor(*tensor).elem {
                elem if elem.is_mma_integer() => greatest(elem),
                _ if self.ends_with_tensor(v, *tensor) => Some(0.0),
                elem => greatest_code(elem),
            },
            t2::OpKind::ReadReg { tensor, .. } => {
                let t = self.kernel.tensor(*tensor);
                match &t.kind {
                    t1::TensorKind::Const(list) => {
                        let all = list.iter().map(|c| match c {
                            t1::Const::Float(x) => Some(x.abs()),
                            t1::Const::Int(n) => Some((*n as f64).abs()),
                            t1::Const::Bool(_) => None,
                        });
                        let all: Vec<f64> = all.collect::<Option<_>>()?;
                        let most = all.iter().copied().fold(0.0, f64::max);
                        all.iter().all(|x| x.is_finite()).then_some(most)
                    }
                    _ if self.zero_past_end.contains(&v) => match t.elem {
                        ElemType::Bipolar(_) => greatest(t.elem),
                        ElemType::E8m0 => Some(1.0),
                        _ => Some(0.0),
                    },
                    _ if only_numbers(t.elem) => greatest(t.elem),
                    _ => None,
                }
            }
            t2::OpKind::Spread { x } => self.past_the_end(*x),
            t2::OpKind::Elementwise { value, args } => self.computed_past_the_end(*value, args),
            _ => None,
        }
    }

    /// Whether the last range of a packed tile ends where the tensor does.
    fn ends_with_tensor(&self, v: t2::ValId, tensor: t1::TensorId) -> bool {
        let (_, axes) = self.tile(v);
        let end = axes.last().and_then(|a| instances::known(self.kernel, self.kernel.axis(*a).hi));
        let length = self.kernel.tensor(tensor).shape.last().map(|e| &e.extent);
        end.is_some() && end.as_ref() == length
    }

    fn computed_past_the_end(&mut self, value: t1::ValueId, args: &[t2::ValId]) -> Option<f64> {
        let v = self.kernel.value(value);
        let most = greatest(v.ty.elem)?;
        // What is below zero is no such scale.
        if v.ty.elem == ElemType::E8m0 {
            return None;
        }
        if v.ty.elem.is_mma_integer() || v.ty.elem == ElemType::Index {
            return Some(most);
        }
        let mut tiles = args.iter();
        let mut operands = Vec::new();
        for x in v.op.operands() {
            operands.push(if launch_scalar(self.kernel, x) {
                self.constant(x).filter(|c| c.is_finite()).map(f64::abs)
            } else {
                self.past_the_end(*tiles.next()?)
            });
        }
        let size = match (&v.op, &operands[..]) {
            (t1::Op::Broadcast(_) | t1::Op::Reorder(_) | t1::Op::Cast(_), [x]) => (*x)?,
            (t1::Op::Unary(UnaryOp::Neg | UnaryOp::Abs, _), [x]) => (*x)?,
            (t1::Op::Binary(BinaryOp::Add | BinaryOp::Sub, ..), [x, y]) => (*x)? + (*y)?,
            (t1::Op::Binary(BinaryOp::Mul, ..), [x, y]) => (*x)? * (*y)?,
            (t1::Op::Binary(BinaryOp::Min | BinaryOp::Max, ..), [x, y]) => (*x)?.max((*y)?),
            (t1::Op::Select(..), [_, x, y]) => (*x)?.max((*y)?),
            _ => return None,
        };
        (size <= most).then_some(size)
    }
}
