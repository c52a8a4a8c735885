//! Which registers of a thread hold the same element, so that it is computed once.
//!
//! Registers at the same coordinates do. So do those whose coordinates a subscript brings together: with `s[j, k / 64]` and steps of k that
//! begin at multiples of 32, all of a thread's registers of a row share one scale. The one that stands for them is at the least coordinates, so that
//! it exists where any does.

use super::lower::Lower;
use crate::scheduled::ir as t2;
use crate::tile::{ir as t1, multiples::is_multiple};
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// Of each register, `width` numbers that tell its element from others of the thread.
struct Keys {
    width: usize,
    parts: Vec<u32>,
}

impl Lower<'_> {
    /// The register that stands for `r`.
    pub fn first_holder(&mut self, v: t2::ValId, r: usize) -> usize {
        self.holders(v)[r]
    }

    /// Of each register the one that stands for it.
    fn holders(&mut self, v: t2::ValId) -> Rc<[usize]> {
        if let Some(holders) = self.first_holders.get(&v) {
            return holders.clone();
        }
        let map = self.map(v);
        let keys = self.element_keys(v);
        let key = |r: usize| &keys.parts[r * keys.width..][..keys.width];
        let distance = |r: usize| map.axes.iter().map(|m| m.register[r]).sum::<u32>();
        let mut first: FxHashMap<&[u32], usize> = FxHashMap::default();
        for r in 0..map.registers {
            let holder = first.entry(key(r)).or_insert(r);
            if distance(r) < distance(*holder) {
                *holder = r;
            }
        }
        let holders: Rc<[usize]> = (0..map.registers).map(|r| first[key(r)]).collect();
        self.first_holders.insert(v, holders.clone());
        holders
    }

    /// Of each register what tells its element from others of the thread.
    fn element_keys(&mut self, v: t2::ValId) -> Keys {
        let map = self.map(v);
        let registers = 0..map.registers;
        let coordinates = || {
            let parts = registers.clone().flat_map(|r| map.axes.iter().map(move |m| m.register[r]));
            Keys { width: map.axes.len(), parts: parts.collect() }
        };
        match self.producers.get(&v) {
            Some(t2::OpKind::Elementwise { value, args }) => {
                if let t1::Op::Iota(_) = self.kernel.value(*value).op {
                    return coordinates();
                }
                if let Some(n) = self.turning(v) {
                    let place = |r| map.axes[0].register[r] & (n - 1);
                    return Keys { width: 1, parts: registers.map(place).collect() };
                }
                if let (Some(group), &[x]) = (self.grouping(*value), &args[..]) {
                    let of = self.map(x);
                    let group_of = |r| of.axes[0].register[self.counterpart(v, r, x)] >> group;
                    return Keys { width: 1, parts: registers.map(group_of).collect() };
                }
                let held: Vec<(t2::ValId, Rc<[usize]>)> =
                    args.iter().map(|x| (*x, self.holders(*x))).collect();
                let mut parts = Vec::with_capacity(map.registers * held.len());
                for r in registers {
                    parts.extend(held.iter().map(|(x, h)| h[self.counterpart(v, r, *x)] as u32));
                }
                Keys { width: held.len(), parts }
            }
            Some(t2::OpKind::ReadReg { ix, .. }) => {
                let (_, axes) = self.tile(v);
                let held: Vec<(Option<(t2::ValId, Rc<[usize]>)>, Option<usize>)> = ix
                    .iter()
                    .map(|index| {
                        let along = index.axis.and_then(|a| axes.iter().position(|x| *x == a));
                        (index.tile.map(|x| (x, self.holders(x))), along)
                    })
                    .filter(|(held, along)| held.is_some() || along.is_some())
                    .collect();
                let mut parts = Vec::with_capacity(map.registers * held.len());
                for r in registers {
                    parts.extend(held.iter().map(|(held, along)| match (held, along) {
                        (Some((x, h)), _) => h[self.counterpart(v, r, *x)] as u32,
                        (None, along) => along.map_or(0, |n| map.axes[n].register[r]),
                    }));
                }
                Keys { width: held.len(), parts }
            }
            Some(t2::OpKind::LoadPacked { tensor, .. }) => match self.module.recipe(*tensor) {
                Some(recipe) if recipe.shift > 0 => {
                    Keys { width: 1, parts: registers.map(|r| recipe.element(r)).collect() }
                }
                _ => coordinates(),
            },
            _ => coordinates(),
        }
    }

    /// For `x / c` of the coordinates x of a tile that begins at a multiple of c, or lies within one: the bits of x that do not matter.
    pub fn grouping(&self, value: t1::ValueId) -> Option<u32> {
        let (axis, shift) = self.kernel.shared_by_neighbours(value)?;
        let (axis, c) = (self.kernel.axis(axis), 1 << shift);
        let nested = axis.extent.is_multiple_of(c) || c.is_multiple_of(axis.extent);
        (nested && is_multiple(self.kernel, axis.lo, c.min(axis.extent))).then_some(shift)
    }
}
