//! How wide a module's accesses to each tensor are: what a launch must guarantee before it may run.
//!
//! A tensor that is only read element by element, such as the offsets of a ragged grid, asks for no alignment beyond its elements'.

use super::ir::{Module, Node, OpKind};
use crate::tile::ir as t1;

/// Bytes of the widest access to a tensor: at least an element.
pub fn widest(module: &Module, kernel: &t1::Kernel, tensor: t1::TensorId) -> u32 {
    let elem = (kernel.tensor(tensor).elem.bits() / 8).max(1);
    nodes(&module.body, tensor, elem).max(elem)
}

fn nodes(body: &[Node], tensor: t1::TensorId, elem: u32) -> u32 {
    let widest = body.iter().map(|node| match node {
        Node::Op(op) => match &op.kind {
            OpKind::CopyIn { tensor: t, plan, .. } if *t == tensor => plan.unit(),
            OpKind::ReadReg { tensor: t, vec, .. } | OpKind::WriteReg { tensor: t, vec, .. }
                if *t == tensor =>
            {
                // One instruction moves 16 bytes at most.
                (vec * elem).min(16)
            }
            _ => 0,
        },
        Node::Loop(l) => nodes(&l.body, tensor, elem),
        Node::If(i) => nodes(&i.then_body, tensor, elem).max(nodes(&i.else_body, tensor, elem)),
        Node::Sync(_) => 0,
    });
    widest.max().unwrap_or(0)
}
