//! Puts placements into the program, at their gaps.

use super::model::{GapId, Node, Program};
use super::placed::Placed;

/// The program with [`Node::Sync`] nodes; `placed` is in textual order.
pub(super) fn insert(program: &Program, placed: &[Placed]) -> Program {
    let mut cursor = Cursor { placed, next: 0, gap: 0 };
    let mut out = program.clone();
    for role in &mut out.roles {
        role.code = cursor.nodes(std::mem::take(&mut role.code));
    }
    out
}

struct Cursor<'a> {
    placed: &'a [Placed],
    next: usize,
    gap: u32,
}

impl Cursor<'_> {
    fn nodes(&mut self, nodes: Vec<Node>) -> Vec<Node> {
        let mut out = Vec::with_capacity(nodes.len() + 2);
        for mut node in nodes {
            self.gap(&mut out);
            match &mut node {
                Node::Loop(l) => l.body = self.nodes(std::mem::take(&mut l.body)),
                Node::Branch(arms) => {
                    arms.iter_mut().for_each(|arm| *arm = self.nodes(std::mem::take(arm)));
                }
                _ => {}
            }
            out.push(node);
        }
        self.gap(&mut out);
        out
    }

    fn gap(&mut self, out: &mut Vec<Node>) {
        while self.placed.get(self.next).is_some_and(|p| p.gap == GapId(self.gap)) {
            out.push(Node::Sync(self.next as u32));
            self.next += 1;
        }
        self.gap += 1;
    }
}
