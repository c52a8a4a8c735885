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
        let distance = |r: usize| map.axes.iter().map(|m| m.register[r]).sum::<u32>();
        let mut first: FxHashMap<&[u32], usize> = FxHashMap::default();
        for (r, key) in keys.iter().enumerate() {
            let holder = first.entry(key).or_insert(r);
            if distance(r) < distance(*holder) {
                *holder = r;
            }
        }
        let holders: Rc<[usize]> = keys.iter().map(|key| first[&key[..]]).collect();
        self.first_holders.insert(v, holders.clone());
        holders
    }

    /// Of each register what tells its element from others of the thread.
    fn element_keys(&mut self, v: t2::ValId) -> Vec<Vec<u32>> {
        let map = self.map(v);
        let coordinates = |r: usize| map.axes.iter().map(|m| m.register[r]).collect::<Vec<u32>>();
        let registers = 0..map.registers;
        match self.producers.get(&v).cloned() {
            Some(t2::OpKind::Elementwise { value, args }) => {
                if let t1::Op::Iota(_) = self.kernel.value(value).op {
                    return registers.map(coordinates).collect();
                }
                if let (Some(group), [x]) = (self.grouping(value), &args[..]) {
                    let x = *x;
                    let of = self.map(x);
                    return registers
                        .map(|r| vec![of.axes[0].register[self.counterpart(v, r, x)] >> group])
                        .collect();
                }
                let held: Vec<(t2::ValId, Rc<[usize]>)> =
                    args.iter().map(|x| (*x, self.holders(*x))).collect();
                registers
                    .map(|r| held.iter().map(|(x, h)| h[self.counterpart(v, r, *x)] as u32).collect())
                    .collect()
            }
            Some(t2::OpKind::ReadReg { ix, .. }) => {
                let (_, axes) = self.tile(v);
                let mut keys = vec![Vec::new(); map.registers];
                for index in &ix {
                    let held = index.tile.map(|x| (x, self.holders(x)));
                    let along = index.axis.and_then(|a| axes.iter().position(|x| *x == a));
                    for (r, key) in keys.iter_mut().enumerate() {
                        match (&held, along) {
                            (Some((x, h)), _) => key.push(h[self.counterpart(v, r, *x)] as u32),
                            (None, Some(n)) => key.push(map.axes[n].register[r]),
                            (None, None) => {}
                        }
                    }
                }
                keys
            }
            _ => registers.map(coordinates).collect(),
        }
    }

    /// For `x / c` of the coordinates x of a tile that begins at a multiple of c, or lies within one: the bits of x that do not matter.
    pub fn grouping(&self, value: t1::ValueId) -> Option<u32> {
        let t1::Op::Binary(t1::BinaryOp::Div, x, c) = self.kernel.value(value).op else { return None };
        let t1::Op::Iota(axis) = self.kernel.value(x).op else { return None };
        let c = u32::try_from(self.kernel.const_int(c)?).ok().filter(|c| c.is_power_of_two())?;
        let axis = self.kernel.axis(axis);
        let nested = c.is_multiple_of(axis.extent) || axis.extent.is_multiple_of(c);
        (nested && is_multiple(self.kernel, axis.lo, c.min(axis.extent))).then(|| c.trailing_zeros())
    }
}
