//! What is computed once per module: where the elements of each buffer lie, and which of them a copy moves.

use super::partials::Shares;
use crate::layout::{Axis, Dim, Layout};
use crate::plan::access::launch_scalar;
use crate::scheduled::ir::*;
use crate::tile::ir as t1;
use rustc_hash::FxHashMap;

/// Offsets and masks of a module's buffers and copies.
#[derive(Debug)]
pub(super) struct Tables {
    /// By buffer: byte offset in a slot of every element, row-major.
    pub offsets: Vec<Vec<u32>>,
    /// By token of a copy: which elements its threads move, where that is not all of them.
    partial: FxHashMap<ValId, Vec<bool>>,
    /// By value of T1: whether it is computed where it is used, and not a value of T2.
    pub launch_scalars: Vec<bool>,
    /// By tile and reduced axes: which warp's partial result each element goes into.
    pub shares: FxHashMap<(ValId, Vec<t1::AxisId>), Shares>,
}

impl Tables {
    pub fn of(kernel: &t1::Kernel, module: &Module) -> Tables {
        let values = 0..kernel.values.len() as u32;
        let mut tables = Tables {
            offsets: module.buffers.iter().map(offsets).collect(),
            partial: FxHashMap::default(),
            launch_scalars: values.map(|v| launch_scalar(kernel, t1::ValueId(v))).collect(),
            shares: FxHashMap::default(),
        };
        tables.nodes(module, &module.body);
        tables
    }

    fn nodes(&mut self, module: &Module, nodes: &[Node]) {
        for node in nodes {
            match node {
                Node::Op(Op { kind: OpKind::CopyIn { buf, map, .. }, result: Some(token), .. }) => {
                    if !self.partial.contains_key(token) {
                        let moved = moved(map, &module.buffer(*buf).shape);
                        if moved.contains(&false) {
                            self.partial.insert(*token, moved);
                        }
                    }
                }
                Node::Op(Op { kind: OpKind::Reduce { x, axes, .. }, .. }) => {
                    let key = (*x, axes.clone());
                    if let Some(shares) = Shares::of(module, *x, axes) {
                        self.shares.insert(key, shares);
                    }
                }
                Node::Op(Op {
                    kind: OpKind::Scan { x, axis, .. } | OpKind::GetScan { x, axis, .. }, ..
                }) => {
                    if let Some(shares) = Shares::of(module, *x, &[*axis]) {
                        self.shares.insert((*x, vec![*axis]), shares);
                    }
                }
                Node::Loop(l) => self.nodes(module, &l.body),
                Node::If(i) => {
                    self.nodes(module, &i.then_body);
                    self.nodes(module, &i.else_body);
                }
                Node::Op(_) | Node::Sync(_) => {}
            }
        }
    }

    /// Whether the copy with this token moves the element.
    pub fn moves(&self, token: Option<ValId>, element: usize) -> bool {
        token.and_then(|t| self.partial.get(&t)).is_none_or(|mask| mask[element])
    }
}

fn offsets(buffer: &Buffer) -> Vec<u32> {
    let mut out = Vec::new();
    each(&buffer.shape, |at| {
        let coordinates: Vec<(Axis, u32)> =
            at.iter().enumerate().map(|(n, c)| (Axis(n as u16), *c)).collect();
        out.push(buffer.layout.offset(&coordinates));
    });
    out
}

/// The image of a copy's threads in the tile.
fn moved(map: &Layout, shape: &[u32]) -> Vec<bool> {
    let mut mask = vec![false; shape.iter().map(|n| *n as usize).product()];
    let sizes = [Dim::Reg, Dim::Lane, Dim::Warp].map(|d| (d, map.size_in(d)));
    each(&sizes.map(|s| s.1), |at| {
        let from: Vec<(Dim, u32)> = sizes.iter().zip(at).map(|((d, _), c)| (*d, *c)).collect();
        let to = map.coords(&from);
        let inside = shape.iter().enumerate().try_fold(0usize, |index, (n, extent)| {
            let c = to.iter().find(|(a, _)| *a == Axis(n as u16)).map_or(0, |(_, c)| *c);
            (c < *extent).then_some(index * *extent as usize + c as usize)
        });
        if let Some(index) = inside {
            mask[index] = true;
        }
    });
    mask
}

/// Visits all coordinates of a shape, the last axis fastest.
pub(super) fn each(shape: &[u32], mut visit: impl FnMut(&[u32])) {
    if shape.contains(&0) {
        return;
    }
    let mut at = vec![0; shape.len()];
    loop {
        visit(&at);
        let mut d = shape.len();
        loop {
            if d == 0 {
                return;
            }
            d -= 1;
            at[d] += 1;
            if at[d] < shape[d] {
                break;
            }
            at[d] = 0;
        }
    }
}
