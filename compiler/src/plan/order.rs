//! Tensors on whose accesses order counts: written by some thread, and read or written by another.
//!
//! Most kernels that write what they read do so element by element, each thread its own: `x[r, c] = f(x[r, c])`, in one loop or in several.
//! Nothing needs to be ordered there but the thread's own program. Two accesses go to the same threads if their subscripts have the same
//! digits: element (r, c) is then the same thread's in both. Where that is not so, or several threads hold the same element, accesses of
//! that tensor enter the derivation of synchronisation, as shared memory does.
//!
//! ```text
//! x[r, c] = x[r, c] * 2;            same place: nothing
//! x[r, c] = x[r, C - 1 - c];        another subscript: a barrier between the read and the write
//! b[r] = b[r] + sum(x[r, c] over c) b[r] is read by all threads of the row and written by one: a barrier
//! ```

use super::layouts::Layouts;
use crate::layout::{Dim, Layout};
use crate::scheduled::ir::Index;
use crate::tile::ir as t1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
    /// Combines; needs no order among its own kind.
    Atomic,
}

/// One access of global memory.
#[derive(Clone, Debug)]
pub struct Access {
    pub tensor: t1::TensorId,
    pub kind: Kind,
    /// What decides which thread has which element; `None` where that cannot be said.
    pub place: Option<Vec<Part>>,
}

/// How one dimension is subscripted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The same for all threads.
    Scalar,
    /// By an axis of that layout, moved by a scalar.
    Axis(Layout, Origin, Option<t1::ValueId>),
}

/// Which coordinates the lanes of an axis stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Tiles of this length, from 0.
    Tiles(u32),
    /// Wherever this axis is.
    Axis(t1::AxisId),
}

/// What decides which thread has which element of an access through a tile on these axes.
pub fn place(kernel: &t1::Kernel, layouts: &Layouts, ix: &[Index], axes: &[t1::AxisId]) -> Option<Vec<Part>> {
    if !spread_over_threads(layouts, axes) {
        return None;
    }
    ix.iter()
        .map(|i| match (i.tile, i.axis) {
            (Some(_), _) => None,
            (None, None) => Some(Part::Scalar),
            (None, Some(a)) => Some(Part::Axis(layouts.layout(&[a])?, origin(kernel, a), i.offset)),
        })
        .collect()
}

/// Whether every thread holds elements of its own.
pub fn spread_over_threads(layouts: &Layouts, axes: &[t1::AxisId]) -> bool {
    let Some(layout) = layouts.layout(axes) else { return false };
    let moves = |dim: Dim, bit: u32| layout.coords(&[(dim, 1 << bit)]).iter().any(|(_, c)| *c != 0);
    [Dim::Lane, Dim::Warp].into_iter().all(|dim| (0..layout.ins().bits(dim)).all(|bit| moves(dim, bit)))
}

fn origin(kernel: &t1::Kernel, a: t1::AxisId) -> Origin {
    let axis = kernel.axis(a);
    let lo = match kernel.value(axis.lo).op {
        t1::Op::LoopVar(l) => kernel.const_int(kernel.loop_(l).lo),
        t1::Op::GridVar(g) => kernel.const_int(kernel.grid_var(g).lo),
        _ => kernel.const_int(axis.lo),
    };
    match lo {
        Some(0) => Origin::Tiles(axis.extent),
        _ => Origin::Axis(a),
    }
}

/// The tensors among these accesses whose order counts.
pub fn ordered(accesses: &[Access]) -> Vec<t1::TensorId> {
    let mut tensors: Vec<t1::TensorId> = accesses.iter().map(|a| a.tensor).collect();
    tensors.sort_unstable();
    tensors.dedup();
    tensors.retain(|t| {
        let of: Vec<&Access> = accesses.iter().filter(|a| a.tensor == *t).collect();
        let all = |kind: Kind| of.iter().all(|a| a.kind == kind);
        let same = of[0].place.is_some() && of.iter().all(|a| a.place == of[0].place);
        // One write of its own in a loop writes other elements every time.
        of.len() > 1 && !all(Kind::Read) && !all(Kind::Atomic) && !same
    });
    tensors
}

/// Whether the kernel writes the tensor anywhere.
pub fn writes(kernel: &t1::Kernel, tensor: t1::TensorId) -> bool {
    fn block(kernel: &t1::Kernel, b: &t1::Block, tensor: t1::TensorId) -> bool {
        b.stmts.iter().any(|s| match s {
            t1::Stmt::Let(_) => false,
            t1::Stmt::Write(w) => w.tensor == tensor,
            t1::Stmt::Atomic(a) => a.tensor == tensor,
            t1::Stmt::For(l) => block(kernel, &kernel.loop_(*l).body, tensor),
            t1::Stmt::If(i) => {
                let i = kernel.if_(*i);
                block(kernel, &i.then_block, tensor) || block(kernel, &i.else_block, tensor)
            }
        })
    }
    block(kernel, &kernel.body, tensor)
}
