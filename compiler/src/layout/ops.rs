//! Composition, inverses, and taking axes apart.

use super::error::LayoutError;
use super::f2;
use super::map::{Layout, LinearMap, OddDigit};
use super::space::{Axis, Dim, Label, Space};

impl<I: Label, O: Label> LinearMap<I, O> {
    /// `outer ∘ self`: first `self`, then `outer`. Labels and widths in the middle must agree, and so must odd factors.
    pub fn then<P: Label>(&self, outer: &LinearMap<O, P>) -> Result<LinearMap<I, P>, LayoutError> {
        let labels = self.outs().fields().iter().chain(outer.ins().fields()).map(|f| f.0);
        for label in labels {
            let (left, right) = (self.outs().bits(label), outer.ins().bits(label));
            if left != right {
                return Err(LayoutError::WidthMismatch { label: label.to_string(), left, right });
            }
        }
        let cols = self.cols().iter().map(|&c| f2::apply(outer.cols(), c)).collect();
        let odd = self.chain_odd(outer)?;
        LinearMap::new(self.ins().clone(), outer.outs().clone(), cols, odd)
    }

    /// Odd digits are only passed on: the k-th digit on a label here is the k-th digit on that label there.
    pub(super) fn chain_odd<P: Label>(
        &self,
        outer: &LinearMap<O, P>,
    ) -> Result<Vec<OddDigit<I, P>>, LayoutError> {
        let mut odd = Vec::new();
        for (i, d) in outer.odd().iter().enumerate() {
            let rank = outer.odd()[..i].iter().filter(|e| e.from == d.from).count();
            let mine = self.odd().iter().filter(|e| e.to == d.from).nth(rank);
            match mine {
                Some(m) if m.radix == d.radix => {
                    odd.push(OddDigit { radix: d.radix, from: m.from, to: d.to });
                }
                _ => {
                    return Err(LayoutError::OddMismatch {
                        label: d.from.to_string(),
                        left: self.odd_out(d.from),
                        right: outer.odd_in(d.from),
                    });
                }
            }
        }
        for d in self.odd() {
            let (left, right) = (self.odd_out(d.to), outer.odd_in(d.to));
            if left != right {
                return Err(LayoutError::OddMismatch { label: d.to.to_string(), left, right });
            }
        }
        // Digits that share an input keep that input's order of significance.
        odd.sort_by_key(|d| self.odd().iter().position(|e| e.from == d.from && e.radix == d.radix));
        Ok(odd)
    }

    /// The inverse of a bijection.
    pub fn inverse(&self) -> Result<LinearMap<O, I>, LayoutError> {
        if self.ins().total() != self.outs().total() || self.rank() != self.outs().total() {
            return Err(LayoutError::NotInvertible {
                inputs: self.ins().total(),
                outputs: self.outs().total(),
                rank: self.rank(),
            });
        }
        self.pseudo_inverse()
    }

    /// For every element one place that holds it; free inputs (broadcasts) are zero. `self ∘ pseudo_inverse` is the
    /// identity.
    pub fn pseudo_inverse(&self) -> Result<LinearMap<O, I>, LayoutError> {
        let cols = f2::right_inverse(self.cols(), self.outs().total())
            .ok_or_else(|| LayoutError::NotSurjective { outputs: self.outs().total(), rank: self.rank() })?;
        let odd = self.odd().iter().map(|d| OddDigit { radix: d.radix, from: d.to, to: d.from }).collect();
        LinearMap::new(self.outs().clone(), self.ins().clone(), cols, odd)
    }

    /// Basis of the input indices that change nothing: the copies.
    pub fn kernel(&self) -> Vec<u64> {
        f2::kernel(self.cols())
    }

    /// Basis of the elements that are reached.
    pub fn image(&self) -> Vec<u64> {
        f2::Echelon::of(self.cols().iter().copied()).vectors().collect()
    }

    /// Basis of the elements that the inputs in `labels` reach on their own.
    pub fn image_of(&self, labels: &[I]) -> Vec<u64> {
        let cols = labels.iter().flat_map(|&l| self.cols_of(l).iter().copied());
        f2::Echelon::of(cols).vectors().collect()
    }

    /// Basis of what both maps reach (outputs must be the same space).
    pub fn intersect(&self, other: &Self) -> Vec<u64> {
        f2::intersect(self.cols(), other.cols())
    }

    /// Unit vectors that complete the image to the whole tile.
    pub fn complement(&self) -> Vec<u64> {
        f2::complement(self.cols(), self.outs().total())
    }
}

impl Layout {
    /// The layout of a sum (or maximum …) along `axis`: the axis is gone, inputs that moved along it hold copies.
    ///
    /// Odd digits on the axis stay as copies in the sense that the input counts fewer distinct values: they are dropped.
    pub fn reduce(&self, axis: Axis) -> Result<Layout, LayoutError> {
        self.without(axis, None)
    }

    /// The layout of `x[.., 0, ..]`: the axis is gone, and so are the input bits that moved along it.
    pub fn slice(&self, axis: Axis) -> Result<Layout, LayoutError> {
        let mask = self.outs().mask(axis);
        if self.cols().iter().any(|&c| c & mask != 0 && c & !mask != 0) {
            return Err(LayoutError::MixedAxis { axis: axis.to_string() });
        }
        self.without(axis, Some(mask))
    }

    fn without(&self, axis: Axis, drop_moving: Option<u64>) -> Result<Layout, LayoutError> {
        if !self.outs().has(axis) {
            return Err(LayoutError::NoSuchAxis { axis: axis.to_string() });
        }
        let keep = |c: u64| drop_moving.is_none_or(|mask| c & mask == 0);
        let outs = Space::new(self.outs().fields().iter().filter(|f| f.0 != axis).copied());
        let ins = Space::new(
            self.ins()
                .fields()
                .iter()
                .map(|&(d, _)| (d, self.cols_of(d).iter().filter(|&&c| keep(c)).count() as u8)),
        );
        let cols = self.cols().iter().filter(|&&c| keep(c));
        let cols = cols.map(|&c| self.outs().transfer(c, &outs, |_| 0)).collect();
        let odd = self.odd().iter().filter(|d| d.to != axis).copied().collect();
        LinearMap::new(ins, outs, cols, odd)
    }

    /// Splits `axis` in two: `inner` takes the low `inner_bits` bits, `outer` the rest and the odd factor.
    pub fn split_axis(
        &self,
        axis: Axis,
        outer: Axis,
        inner: Axis,
        inner_bits: u32,
    ) -> Result<Layout, LayoutError> {
        let bits = self.outs().bits(axis);
        if !self.outs().has(axis) {
            return Err(LayoutError::NoSuchAxis { axis: axis.to_string() });
        }
        if inner_bits > bits {
            return Err(LayoutError::WidthMismatch {
                label: axis.to_string(),
                left: bits,
                right: inner_bits,
            });
        }
        let fields = self.outs().fields().iter().filter(|f| f.0 != axis).copied();
        let outs = Space::new(fields.chain([(outer, (bits - inner_bits) as u8), (inner, inner_bits as u8)]));
        if outs.fields().len() != self.outs().fields().len() + 1 {
            return Err(LayoutError::Shape { what: format!("{outer} or {inner} is in use already") });
        }
        let cols = self.cols().iter().map(|&c| {
            let value = self.outs().get(c, axis);
            let rest = self.outs().transfer(c & !self.outs().mask(axis), &outs, |_| 0);
            let (low, high) = (outs.put(inner, value), outs.put(outer, value >> inner_bits));
            // `axis` itself may live on as one of the two; its old value must not leak into the new field.
            rest & !outs.mask(inner) & !outs.mask(outer) | low | high
        });
        let odd = self.odd().iter().map(|d| OddDigit { to: if d.to == axis { outer } else { d.to }, ..*d });
        LinearMap::new(self.ins().clone(), outs.clone(), cols.collect(), odd.collect())
    }

    /// Joins two axes into one of extent `outer · inner`; only `outer` may have an odd factor.
    pub fn merge_axes(&self, outer: Axis, inner: Axis, into: Axis) -> Result<Layout, LayoutError> {
        if self.odd_out(inner) > 1 {
            return Err(LayoutError::OddInside { axis: inner.to_string() });
        }
        for axis in [outer, inner] {
            if !self.outs().has(axis) {
                return Err(LayoutError::NoSuchAxis { axis: axis.to_string() });
            }
        }
        let (high, low) = (self.outs().bits(outer), self.outs().bits(inner));
        let others = self.outs().fields().iter().filter(|f| f.0 != outer && f.0 != inner);
        let outs = Space::new(others.clone().copied().chain([(into, (high + low) as u8)]));
        if outs.fields().len() + 1 != self.outs().fields().len() {
            return Err(LayoutError::Shape { what: format!("{into} is in use already") });
        }
        let cols = self.cols().iter().map(|&c| {
            let rest = others.clone().fold(0, |acc, &(a, _)| acc | outs.put(a, self.outs().get(c, a)));
            rest | outs.put(into, self.outs().get(c, outer) << low | self.outs().get(c, inner))
        });
        let odd = self.odd().iter().map(|d| OddDigit { to: if d.to == outer { into } else { d.to }, ..*d });
        LinearMap::new(self.ins().clone(), outs.clone(), cols.collect(), odd.collect())
    }

    /// Which run of consecutive elements along `axis` a thread holds in its registers.
    pub fn vector_along(&self, axis: Axis) -> Vector {
        let regs = self.cols_of(Dim::Reg);
        let mut bits = Vec::new();
        for b in 0..self.outs().bits(axis) {
            let unit = self.outs().put(axis, 1 << b);
            match regs.iter().position(|&c| c == unit) {
                Some(at) => bits.push(at as u32),
                None => break,
            }
        }
        Vector { reg_bits: bits }
    }
}

/// A run of `2^n` consecutive elements in one thread's registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vector {
    /// Which register bits step through the run, lowest element bit first.
    pub reg_bits: Vec<u32>,
}

impl Vector {
    /// Elements in the run; 1 means none are adjacent.
    pub fn elements(&self) -> u32 {
        1 << self.reg_bits.len()
    }

    /// Register (relative to the run's first) of element `i` of the run.
    pub fn register(&self, i: u32) -> u32 {
        self.reg_bits.iter().enumerate().fold(0, |acc, (bit, &r)| acc | (i >> bit & 1) << r)
    }
}
