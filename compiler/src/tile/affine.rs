//! Index values as affine forms over axes: what the planner needs to see in a subscript.
//!
//! A subscript such as `g * R + r` or `j - 1 + cu[b]` is computed by ordinary operations on values. This module reads it back as
//! `constant + Σ coefficient · coordinate(axis) + Σ coefficient · scalar`, where a coordinate is `Iota(axis)` (that is `lo + lane`)
//! and a scalar is any value without axes that is not itself such a sum (a dimension, a grid variable, a loaded number).
//!
//! Worked example: with `r` a range by 4 and `g` a scalar grid variable, `g * R + r` where `R = HQ / HKV` is a product of two scalars, hence
//! an opaque scalar `%12`: the form is `1·r + 1·%12`. `r / 4` is not affine: `None`.
//!
//! Invariants: terms are sorted by id, no coefficient is zero, so two forms are equal iff they are the same sum.

use super::ir::*;

/// `constant + Σ coefficient · coordinate(axis) + Σ coefficient · scalar`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Affine {
    /// Coordinates, by axis.
    pub axes: Vec<(AxisId, i64)>,
    /// Opaque scalars, by value.
    pub scalars: Vec<(ValueId, i64)>,
    pub constant: i64,
}

impl Affine {
    pub fn constant(constant: i64) -> Affine {
        Affine { constant, ..Affine::default() }
    }

    pub fn axis(axis: AxisId) -> Affine {
        Affine { axes: vec![(axis, 1)], ..Affine::default() }
    }

    pub fn scalar(value: ValueId) -> Affine {
        Affine { scalars: vec![(value, 1)], ..Affine::default() }
    }

    /// Neither axes nor scalars.
    pub fn as_constant(&self) -> Option<i64> {
        (self.axes.is_empty() && self.scalars.is_empty()).then_some(self.constant)
    }

    /// Exactly the coordinate of one axis.
    pub fn as_axis(&self) -> Option<AxisId> {
        match self.axes[..] {
            [(axis, 1)] if self.scalars.is_empty() && self.constant == 0 => Some(axis),
            _ => None,
        }
    }

    /// How far the form moves with one step along `axis`.
    pub fn coefficient(&self, axis: AxisId) -> i64 {
        self.axes.iter().find(|(a, _)| *a == axis).map_or(0, |(_, c)| *c)
    }

    /// The part that all lanes share: scalars and constant.
    pub fn without_axes(&self) -> Affine {
        Affine { axes: Vec::new(), scalars: self.scalars.clone(), constant: self.constant }
    }

    /// `None` on overflow.
    pub fn add(&self, other: &Affine) -> Option<Affine> {
        Some(Affine {
            axes: merge(&self.axes, &other.axes)?,
            scalars: merge(&self.scalars, &other.scalars)?,
            constant: self.constant.checked_add(other.constant)?,
        })
    }

    /// `None` on overflow.
    pub fn scale(&self, by: i64) -> Option<Affine> {
        if by == 0 {
            return Some(Affine::constant(0));
        }
        fn terms<K: Copy>(list: &[(K, i64)], by: i64) -> Option<Vec<(K, i64)>> {
            list.iter().map(|(k, c)| Some((*k, c.checked_mul(by)?))).collect()
        }
        Some(Affine {
            axes: terms(&self.axes, by)?,
            scalars: terms(&self.scalars, by)?,
            constant: self.constant.checked_mul(by)?,
        })
    }
}

fn merge<K: Copy + Ord>(x: &[(K, i64)], y: &[(K, i64)]) -> Option<Vec<(K, i64)>> {
    let mut out: Vec<(K, i64)> = x.to_vec();
    for (key, c) in y {
        match out.binary_search_by_key(key, |(k, _)| *k) {
            Ok(at) => out[at].1 = out[at].1.checked_add(*c)?,
            Err(at) => out.insert(at, (*key, *c)),
        }
    }
    out.retain(|(_, c)| *c != 0);
    Some(out)
}

impl Kernel {
    /// The affine form of an integer value, or `None` where it is not affine in its axes. A scalar always has one (at worst itself).
    ///
    /// Forms are of mathematical integers; narrow types that wrap are followed only through casts that widen to `index`.
    pub fn affine(&self, value: ValueId) -> Option<Affine> {
        let v = self.value(value);
        let opaque = || v.ty.is_scalar().then(|| Affine::scalar(value));
        let by_parts = match &v.op {
            Op::Const(Const::Int(c)) => i64::try_from(*c).ok().map(Affine::constant),
            Op::Iota(axis) => Some(Affine::axis(*axis)),
            _ if v.ty.elem != ElemType::Index => None,
            Op::Broadcast(x) | Op::Reorder(x) => self.affine(*x),
            Op::Unary(UnaryOp::Neg, x) => self.affine(*x).and_then(|x| x.scale(-1)),
            Op::Binary(BinaryOp::Add, x, y) => self.affine_pair(*x, *y).and_then(|(x, y)| x.add(&y)),
            Op::Binary(BinaryOp::Sub, x, y) => {
                self.affine_pair(*x, *y).and_then(|(x, y)| x.add(&y.scale(-1)?))
            }
            Op::Binary(BinaryOp::Mul, x, y) => {
                self.affine_pair(*x, *y).and_then(|(x, y)| match (x.as_constant(), y.as_constant()) {
                    (Some(c), _) => y.scale(c),
                    (_, Some(c)) => x.scale(c),
                    _ => None,
                })
            }
            Op::Binary(BinaryOp::Shl, x, y) => match self.affine(*y).and_then(|y| y.as_constant()) {
                Some(by) if (0..62).contains(&by) => self.affine(*x).and_then(|x| x.scale(1 << by)),
                _ => None,
            },
            Op::Cast(x) if self.ty(*x).is_scalar() || matches!(self.value(*x).op, Op::Const(_)) => {
                self.affine(*x)
            }
            _ => None,
        };
        by_parts.or_else(opaque)
    }

    fn affine_pair(&self, x: ValueId, y: ValueId) -> Option<(Affine, Affine)> {
        Some((self.affine(x)?, self.affine(y)?))
    }

    /// The affine form of each subscript of a read, write, atomic or in-tile read.
    pub fn affine_subscripts(&self, ix: &[ValueId]) -> Vec<Option<Affine>> {
        ix.iter().map(|&x| self.affine(x)).collect()
    }
}
