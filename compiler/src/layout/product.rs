//! Products and quotients.
//!
//! `a * b` replaces every element of `a` by a tile `b`: sizes multiply on every dimension and every axis, `a`'s digits
//! outside, `b`'s inside. (Odd digits stay outermost on each *input* whatever the order of factors; on an *axis* they
//! must be leftmost, or the product has no linear form.) Division undoes it: `(a * b).divide_right(&b) == a` and
//! `(a * b).divide_left(&a) == b`. A layout can be served by an instruction exactly if the instruction's atom divides it.

use std::ops::{Div, Mul};

use super::error::LayoutError;
use super::map::{LinearMap, OddDigit};
use super::space::{Label, Space};

impl<I: Label, O: Label> LinearMap<I, O> {
    /// `self * inner`: `self`'s digits outside, `inner`'s inside.
    pub fn product(&self, inner: &Self) -> Result<Self, LayoutError> {
        for &(axis, bits) in self.outs().fields() {
            if bits > 0 && inner.odd_out(axis) > 1 {
                return Err(LayoutError::OddInside { axis: axis.to_string() });
            }
        }
        let ins = Space::new(self.ins().fields().iter().chain(inner.ins().fields()).copied());
        let outs = Space::new(self.outs().fields().iter().chain(inner.outs().fields()).copied());
        if ins.total() > 64 || outs.total() > 64 {
            let bits = ins.total().max(outs.total());
            return Err(LayoutError::TooWide { what: "the product", bits });
        }
        let mut cols = Vec::with_capacity(ins.total() as usize);
        for &(dim, _) in ins.fields() {
            cols.extend(inner.cols_of(dim).iter().map(|&c| inner.outs().transfer(c, &outs, |_| 0)));
            let outer = self.cols_of(dim).iter();
            cols.extend(outer.map(|&c| self.outs().transfer(c, &outs, |axis| inner.outs().bits(axis))));
        }
        let odd = self.odd().iter().chain(inner.odd()).copied().collect();
        LinearMap::new(ins, outs, cols, odd)
    }

    /// `c` with `c * inner == self`.
    pub fn divide_right(&self, inner: &Self) -> Result<Self, LayoutError> {
        let (ins, outs) = self.quotient_spaces(inner)?;
        let odd = split_suffix(self.odd(), inner.odd())
            .ok_or_else(|| not_a_factor("its odd factors are not the inner ones"))?;
        let mut cols = Vec::with_capacity(ins.total() as usize);
        for &(dim, _) in self.ins().fields() {
            let (low, high) = self.cols_of(dim).split_at(inner.ins().bits(dim) as usize);
            for (bit, (&c, &expected)) in low.iter().zip(inner.cols_of(dim)).enumerate() {
                if c != inner.outs().transfer(expected, self.outs(), |_| 0) {
                    return Err(not_a_factor(&format!("{dim} bit {bit} moves something else")));
                }
            }
            for (bit, &c) in high.iter().enumerate() {
                let mut quotient = 0;
                for &(axis, _) in self.outs().fields() {
                    let (value, width) = (self.outs().get(c, axis), inner.outs().bits(axis));
                    if value & ((1 << width) - 1) != 0 {
                        let bit = bit as u32 + inner.ins().bits(dim);
                        return Err(not_a_factor(&format!(
                            "{dim} bit {bit} moves inside the divisor's tile"
                        )));
                    }
                    quotient |= outs.put(axis, value >> width);
                }
                cols.push(quotient);
            }
        }
        LinearMap::new(ins, outs, cols, odd)
    }

    /// `c` with `outer * c == self`.
    pub fn divide_left(&self, outer: &Self) -> Result<Self, LayoutError> {
        let (ins, outs) = self.quotient_spaces(outer)?;
        let odd = self
            .odd()
            .strip_prefix(outer.odd())
            .ok_or_else(|| not_a_factor("its odd factors are not the outer ones"))?
            .to_vec();
        let mut cols = Vec::with_capacity(ins.total() as usize);
        for &(dim, bits) in self.ins().fields() {
            let (low, high) = self.cols_of(dim).split_at((bits as u32 - outer.ins().bits(dim)) as usize);
            for (bit, (&c, &expected)) in high.iter().zip(outer.cols_of(dim)).enumerate() {
                if c != outer.outs().transfer(expected, self.outs(), |axis| outs.bits(axis)) {
                    return Err(not_a_factor(&format!("{dim} bit {} moves something else", low.len() + bit)));
                }
            }
            for (bit, &c) in low.iter().enumerate() {
                let inside = self.outs().transfer(c, &outs, |_| 0);
                if outs.transfer(inside, self.outs(), |_| 0) != c {
                    return Err(not_a_factor(&format!("{dim} bit {bit} moves outside the inner tile")));
                }
                cols.push(inside);
            }
        }
        for &(axis, bits) in outs.fields() {
            if bits == 0 && outer.outs().bits(axis) == 0 {
                continue;
            }
            if outer.outs().bits(axis) > 0 && odd.iter().any(|d| d.to == axis) {
                return Err(not_a_factor("an odd factor would end up inside"));
            }
        }
        LinearMap::new(ins, outs, cols, odd)
    }

    fn quotient_spaces(&self, by: &Self) -> Result<(Space<I>, Space<O>), LayoutError> {
        fn shrink<L: Label>(whole: &Space<L>, by: &Space<L>) -> Result<Space<L>, LayoutError> {
            for &(label, bits) in by.fields() {
                if bits as u32 > whole.bits(label) {
                    return Err(not_a_factor(&format!(
                        "it has {bits} bits of {label}, the dividend {}",
                        whole.bits(label)
                    )));
                }
            }
            Ok(Space::new(whole.fields().iter().map(|&(l, bits)| (l, bits - by.bits(l) as u8))))
        }
        Ok((shrink(self.ins(), by.ins())?, shrink(self.outs(), by.outs())?))
    }
}

fn split_suffix<I: Label, O: Label>(
    all: &[OddDigit<I, O>],
    inner: &[OddDigit<I, O>],
) -> Option<Vec<OddDigit<I, O>>> {
    all.strip_suffix(inner).map(<[_]>::to_vec)
}

fn not_a_factor(reason: &str) -> LayoutError {
    LayoutError::NotAFactor { reason: reason.to_string() }
}

impl<I: Label, O: Label> Mul for &LinearMap<I, O> {
    type Output = Result<LinearMap<I, O>, LayoutError>;

    fn mul(self, inner: Self) -> Self::Output {
        self.product(inner)
    }
}

impl<I: Label, O: Label> Div for &LinearMap<I, O> {
    type Output = Result<LinearMap<I, O>, LayoutError>;

    fn div(self, inner: Self) -> Self::Output {
        self.divide_right(inner)
    }
}
