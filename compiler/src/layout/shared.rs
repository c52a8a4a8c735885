//! Shared-memory layouts: where the element at given coordinates lies, in bytes from the buffer's start.
//!
//! The power-of-two part is linear (so every XOR swizzle is one); odd factors, panels and paddings are *outer digits* with
//! a stride of their own: `offset = map(low bits of each axis) + Σ digit · stride`. A tile of 96×32 f16, say, is a linear map
//! of 32×32 elements (2048 bytes) and one digit `row / 32` of stride 2048.
//!
//! An [`Access`] is such a layout seen by threads: composed with a (reg, lane, warp) → coordinates layout. It is what
//! address code is generated from: each input bit contributes an XOR or, where nothing else touches the same address
//! bits, an addition that can become an immediate.

use super::banks;
use super::error::LayoutError;
use super::f2;
use super::map::{Layout, LinearMap, OffsetMap, odd_and_bits};
use super::space::{Axis, Dim, Offset, Space, ones};

/// The part of an axis above the linear map: `digit = coordinate >> bits(axis)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OuterDigit {
    pub axis: Axis,
    pub extent: u32,
    /// Bytes from one value of the digit to the next.
    pub stride: u32,
}

/// Coordinates of elements → byte offset.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SharedLayout {
    map: LinearMap<Axis, Offset>,
    outer: Vec<OuterDigit>,
    elem_bytes: u32,
    bytes: u32,
    align: u32,
}

impl SharedLayout {
    /// `map` sends the low bits of each axis to bytes; `outer` holds at most one digit per axis. Elements must not overlap:
    /// the map is injective and each stride leaves room (checked for the linear part only: strides may interleave).
    pub fn new(
        map: LinearMap<Axis, Offset>,
        outer: Vec<OuterDigit>,
        elem_bytes: u32,
    ) -> Result<Self, LayoutError> {
        if !elem_bytes.is_power_of_two() || elem_bytes > 16 {
            return Err(LayoutError::SubByte { bits: elem_bytes * 8 });
        }
        if !map.is_injective() {
            let (inputs, outputs) = (map.ins().total(), map.outs().total());
            return Err(LayoutError::NotInvertible { inputs, outputs, rank: map.rank() });
        }
        let mut last = map.cols().iter().fold(0, |a, c| a | c) + elem_bytes as u64;
        for (i, digit) in outer.iter().enumerate() {
            if digit.extent == 0 || outer[..i].iter().any(|d| d.axis == digit.axis) {
                return Err(LayoutError::Shape { what: format!("{} has two outer digits", digit.axis) });
            }
            last += (digit.extent as u64 - 1) * digit.stride as u64;
        }
        let bytes = u32::try_from(last).map_err(|_| LayoutError::BufferTooLarge { bits: last.ilog2() })?;
        // Address bits that several coordinates move are XORed; adding the base must not carry into them. (Hardware that swizzles
        // absolute addresses wants more: see `aligned_to`.)
        let xored = map.cols().iter().fold((0, 0), |(once, twice), c| (once | c, twice | once & c)).1;
        let align = (1u32 << (64 - xored.leading_zeros())).max(16);
        Ok(SharedLayout { map, outer, elem_bytes, bytes, align })
    }

    /// Row-major: the last axis is contiguous. Odd factors become outer digits.
    pub fn row_major(shape: &[(Axis, u32)], elem_bits: u32) -> Result<Self, LayoutError> {
        let elem_bytes = elem_bytes(elem_bits)?;
        let mut at = elem_bytes.trailing_zeros();
        let (mut fields, mut starts, mut odd) = (Vec::new(), Vec::new(), Vec::new());
        for &(axis, extent) in shape.iter().rev() {
            let (radix, bits) = odd_and_bits(extent)?;
            fields.push((axis, bits as u8));
            starts.push((axis, at));
            at += bits;
            odd.push((axis, radix));
        }
        if at > 31 {
            return Err(LayoutError::BufferTooLarge { bits: at });
        }
        let ins = Space::new(fields.iter().copied());
        let start = |axis| starts.iter().find(|s| s.0 == axis).map_or(0, |s| s.1);
        let cols = ins.fields().iter().flat_map(|&(axis, bits)| {
            let start = start(axis);
            (0..bits).map(move |b| 1u64 << (start + b as u32))
        });
        let map = LinearMap::new(ins.clone(), Space::new([(Offset, at as u8)]), cols.collect(), Vec::new())?;
        let mut stride = 1u64 << at;
        let mut outer = Vec::new();
        for (axis, extent) in odd.into_iter().filter(|o| o.1 > 1) {
            let narrow =
                u32::try_from(stride).map_err(|_| LayoutError::BufferTooLarge { bits: stride.ilog2() })?;
            outer.push(OuterDigit { axis, extent, stride: narrow });
            stride *= extent as u64;
        }
        SharedLayout::new(map, outer, elem_bytes)
    }

    /// The same places after `swizzle` has moved bytes about within the linear part.
    pub fn swizzled(&self, swizzle: &Swizzle) -> Result<Self, LayoutError> {
        let bits = self.map.outs().total();
        let cols: Vec<u64> = self.map.cols().iter().map(|&c| swizzle.apply(c)).collect();
        let needed = cols.iter().map(|c| 64 - c.leading_zeros()).max().unwrap_or(0).max(bits);
        let outs = Space::new([(Offset, needed as u8)]);
        let map = LinearMap::new(self.map.ins().clone(), outs, cols, Vec::new())?;
        SharedLayout::new(map, self.outer.clone(), self.elem_bytes)
    }

    /// The same layout with a stricter base alignment (a power of two of bytes).
    pub fn aligned_to(mut self, bytes: u32) -> Self {
        self.align = self.align.max(bytes.next_power_of_two());
        self
    }

    /// Low coordinate bits → byte offset, the linear part.
    pub fn map(&self) -> &LinearMap<Axis, Offset> {
        &self.map
    }

    pub fn outer(&self) -> &[OuterDigit] {
        &self.outer
    }

    pub fn elem_bytes(&self) -> u32 {
        self.elem_bytes
    }

    /// Size of the buffer in bytes.
    pub fn bytes(&self) -> u32 {
        self.bytes
    }

    /// What the base address must be a multiple of, in bytes.
    pub fn align(&self) -> u32 {
        self.align
    }

    /// Extent of an axis.
    pub fn extent(&self, axis: Axis) -> u32 {
        self.digit(axis).map_or(1, |d| d.extent) << self.map.ins().bits(axis)
    }

    /// Axes and extents in reading order.
    pub fn shape(&self) -> Vec<(Axis, u32)> {
        let mut axes: Vec<Axis> = self.map.ins().fields().iter().map(|f| f.0).collect();
        axes.extend(self.outer.iter().map(|d| d.axis));
        axes.sort();
        axes.dedup();
        axes.into_iter().map(|a| (a, self.extent(a))).collect()
    }

    fn digit(&self, axis: Axis) -> Option<&OuterDigit> {
        self.outer.iter().find(|d| d.axis == axis)
    }

    /// Byte offset of an element. Axes that are not mentioned are at zero.
    pub fn offset(&self, at: &[(Axis, u32)]) -> u32 {
        let ins = self.map.ins();
        let low = at.iter().fold(0, |acc, &(axis, c)| acc | ins.put(axis, c as u64));
        let outer = at.iter().map(|&(axis, c)| {
            self.digit(axis).map_or(0, |d| ((c >> ins.bits(axis)) % d.extent.max(1)).wrapping_mul(d.stride))
        });
        self.map.apply_bits(low) as u32 + outer.sum::<u32>()
    }

    /// What the threads of `layout` address. `layout` may cover a part of the tile from the origin (fewer bits on an axis).
    pub fn access(&self, layout: &Layout) -> Result<Access, LayoutError> {
        let (tile, mem) = (layout.outs(), self.map.ins());
        for &(axis, _) in tile.fields() {
            if layout.size_out(axis) > self.extent(axis).max(1) {
                let (left, right) = (layout.size_out(axis), self.extent(axis));
                return Err(LayoutError::Shape {
                    what: format!("the access covers {left} elements of {axis}, the buffer holds {right}"),
                });
            }
        }
        let cols = layout.cols().iter().map(|&c| f2::apply(self.map.cols(), tile.transfer(c, mem, |_| 0)));
        let mut digits = Vec::new();
        for (i, &c) in layout.cols().iter().enumerate() {
            let Some((dim, bit)) = layout.ins().locate(i as u32) else { continue };
            for digit in &self.outer {
                let above = tile.get(c, digit.axis) >> mem.bits(digit.axis);
                if above == 0 {
                    continue;
                }
                let unit = above * digit.stride as u64;
                let others = layout.cols().iter().enumerate().filter(|&(j, _)| j != i);
                if others.fold(0, |acc, (_, &o)| acc | (tile.get(o, digit.axis) >> mem.bits(digit.axis)))
                    & above
                    != 0
                {
                    return Err(LayoutError::NotLinear {
                        what: format!("the access along {}", digit.axis),
                        reason: "two input bits move one outer digit".into(),
                    });
                }
                digits.push(AccessDigit { dim, place: Place::Bit(bit), count: 2, stride: unit as u32 });
            }
        }
        // Odd digits: the innermost on an axis steps by 2^bits elements, the next by that times the radix.
        for (i, d) in layout.odd().iter().enumerate() {
            let inner: u32 =
                layout.odd()[i + 1..].iter().filter(|e| e.to == d.to).map(|e| e.radix as u32).product();
            let inner_in: u32 =
                layout.odd()[i + 1..].iter().filter(|e| e.from == d.from).map(|e| e.radix as u32).product();
            let (have, want) = (tile.bits(d.to), mem.bits(d.to));
            let Some(outer) = self.digit(d.to).filter(|_| have >= want) else {
                return Err(LayoutError::NotLinear {
                    what: format!("the factor {} on {}", d.radix, d.to),
                    reason: format!("the buffer is linear over {} elements of it", 1u64 << want),
                });
            };
            let stride = (inner << (have - want)).wrapping_mul(outer.stride);
            let place = Place::Odd { inner: inner_in };
            digits.push(AccessDigit { dim: d.from, place, count: d.radix as u32, stride });
        }
        let map = LinearMap::new(layout.ins().clone(), self.map.outs().clone(), cols.collect(), Vec::new())?;
        Ok(Access { map, digits })
    }
}

/// CuTe's `Swizzle<b, m, s>` on byte offsets: bits `m..m+b` ^= bits `m+s..m+s+b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Swizzle {
    pub bits: u32,
    pub base: u32,
    pub shift: u32,
}

impl Swizzle {
    pub fn new(bits: u32, base: u32, shift: u32) -> Result<Self, LayoutError> {
        if shift < bits || base + shift + bits > 31 {
            return Err(LayoutError::Shape {
                what: format!(
                    "swizzle({bits},{base},{shift}): the shift must be at least the number of bits, and all within 31 bits"
                ),
            });
        }
        Ok(Swizzle { bits, base, shift })
    }

    pub fn apply(&self, offset: u64) -> u64 {
        offset ^ (offset >> (self.base + self.shift) & ones(self.bits)) << self.base
    }
}

/// A byte offset as a function of (reg, lane, warp, …): XOR of the map's columns plus the digits' strides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    pub map: OffsetMap,
    pub digits: Vec<AccessDigit>,
}

/// An additive part of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessDigit {
    pub dim: Dim,
    pub place: Place,
    /// Values of the digit: 0..count.
    pub count: u32,
    pub stride: u32,
}

/// Where in its dimension's index a digit sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A bit of the power-of-two part.
    Bit(u32),
    /// An odd digit: `(index >> bits(dim)) / inner % count`.
    Odd { inner: u32 },
}

/// How one input bit or digit enters an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressTerm {
    pub dim: Dim,
    pub place: Place,
    pub count: u32,
    pub bytes: u32,
    /// Whether no other input touches these address bits, so that the term may be added (and be an immediate) instead of
    /// XORed into the register.
    pub add: bool,
}

impl Access {
    /// Byte offset for the given inputs.
    pub fn offset(&self, at: &[(Dim, u32)]) -> u32 {
        let ins = self.map.ins();
        let low = at.iter().fold(0, |acc, &(dim, v)| acc | ins.put(dim, v as u64));
        let mut offset = self.map.apply_bits(low) as u32;
        for d in &self.digits {
            let value = at.iter().find(|a| a.0 == d.dim).map_or(0, |a| a.1);
            let digit = match d.place {
                Place::Bit(b) => value >> b & 1,
                Place::Odd { inner } => (value >> ins.bits(d.dim)) / inner.max(1) % d.count,
            };
            offset += digit * d.stride;
        }
        offset
    }

    /// Every input bit that moves the address, and how. A bit that moves free address bits and contested ones contributes two
    /// terms. As long as `layout` moves each coordinate bit by one input, XORs concern bits below [`SharedLayout::align`] only, so
    /// they may be applied to `base + added terms` too.
    pub fn terms(&self) -> Vec<AddressTerm> {
        let mut terms = Vec::new();
        for (i, &c) in self.map.cols().iter().enumerate() {
            let Some((dim, bit)) = self.map.ins().locate(i as u32) else { continue };
            let others = self.map.cols().iter().enumerate().filter(|&(j, _)| j != i);
            let contested = others.fold(0, |acc, (_, &o)| acc | o) & c;
            let place = Place::Bit(bit);
            for (bytes, add) in [(c & !contested, true), (contested, false)] {
                if bytes != 0 {
                    terms.push(AddressTerm { dim, place, count: 2, bytes: bytes as u32, add });
                }
            }
        }
        terms.extend(self.digits.iter().map(|d| AddressTerm {
            dim: d.dim,
            place: d.place,
            count: d.count,
            bytes: d.stride,
            add: true,
        }));
        terms
    }

    /// The distinct XOR constants that the inputs in `dims` need over a base that holds all the rest: one address register
    /// each (zero included), everything else is immediates.
    pub fn xor_constants(&self, dims: &[Dim]) -> Vec<u32> {
        let xors = self.terms().into_iter().filter(|t| !t.add && dims.contains(&t.dim));
        let mut constants = vec![0u32];
        for term in xors {
            let more: Vec<u32> = constants.iter().map(|c| c ^ term.bytes).collect();
            constants.extend(more);
        }
        constants.sort_unstable();
        constants.dedup();
        constants
    }

    /// Wavefronts of one warp instruction, exact for linear accesses and, by counting all instructions and taking the worst,
    /// for lanes that run through outer digits.
    pub fn wavefronts(&self, vector_bytes: u32) -> u32 {
        if !self.digits.iter().any(|d| d.dim == Dim::Lane) {
            return banks::instruction_wavefronts(&self.map, vector_bytes);
        }
        let lanes = 1u32 << self.map.ins().bits(Dim::Lane).min(5);
        let at = |lane| Some(self.offset(&[(Dim::Lane, lane)]));
        banks::wavefronts(&(0..lanes).map(at).collect::<Vec<_>>(), vector_bytes)
    }
}

pub(super) fn elem_bytes(elem_bits: u32) -> Result<u32, LayoutError> {
    if elem_bits < 8 || !elem_bits.is_power_of_two() || elem_bits > 128 {
        return Err(LayoutError::SubByte { bits: elem_bits });
    }
    Ok(elem_bits / 8)
}
