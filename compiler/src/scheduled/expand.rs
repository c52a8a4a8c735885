//! Expansion: stages become prologue and steady loop (ir.md's rule for guarded roles).
//!
//! With D the largest stage, step t of a pipelined loop runs `{ op(j) : j = t - stage(op), 0 <= j < trip }` in ascending order.
//! Steps `0..D` become the prologue; the emitted loop runs the steps `D..trip + D`, one per iteration of the source loop, and every
//! op of it works for iteration `step + D - stage`. There is no drain: an op with a stage below D runs up to D iterations ahead,
//! past the last one, and must be *total* there: copies zero-fill what lies outside the tensor, hence also whole tiles past the
//! end, and fragments read those zeros. That is why a loop of one iteration, or of none, takes the tested path.
//!
//! A loop of which no op has a place, around one that is a pipeline, is straight code trip by trip: its ops name no iteration.
//!
//! For three slots (D = 2) and the ops `copy @(0,_)`, `load first @(1,_)`, `mma @(2,_)`:
//! ```text
//! step 0   copy 0
//! step 1   copy 1   load first 0
//! loop s   copy s+2 load first s+1   mma s        for s in 0..trip
//! ```

use super::ir::{Form, If, Iter, Loop, Module, Node, Op};

/// Expands every pipelined loop of a fused module.
pub fn expand(mut module: Module) -> Module {
    let body = std::mem::take(&mut module.body);
    for node in body {
        expand_node(node, &mut module.body);
    }
    module.form = Form::Expanded;
    module
}

/// No op asks for a place in a pipeline.
fn is_plain(l: &Loop) -> bool {
    all_plain(&l.body)
}

fn all_plain(nodes: &[Node]) -> bool {
    nodes.iter().all(|n| match n {
        Node::Op(op) => op.at.is_none(),
        Node::Loop(inner) => is_plain(inner),
        Node::If(i) => all_plain(&i.then_body) && all_plain(&i.else_body),
        Node::Sync(_) => true,
    })
}

/// No op of its own asks for a place in a pipeline, but a loop in it is one.
fn is_around(l: &Loop) -> bool {
    let own = |n: &Node| match n {
        Node::Loop(_) => true,
        other => all_plain(std::slice::from_ref(other)),
    };
    l.body.iter().all(own)
}

/// An ordinary loop around pipelines: each trip is straight code like a kernel's.
fn expand_in(mut l: Loop) -> Loop {
    let body = std::mem::take(&mut l.body);
    for node in body {
        expand_node(node, &mut l.body);
    }
    l
}

/// Every op works for the step's own iteration.
fn plain(mut l: Loop) -> Loop {
    this_step(&mut l.body);
    l
}

fn this_step(nodes: &mut [Node]) {
    for node in nodes {
        match node {
            Node::Op(op) => op.iter = Iter::Step(0),
            Node::Loop(inner) => this_step(&mut inner.body),
            Node::If(i) => [&mut i.then_body, &mut i.else_body].into_iter().for_each(|b| this_step(b)),
            Node::Sync(_) => {}
        }
    }
}

/// Expands the loops of a conditional that stands in no loop.
fn expand_if(mut i: If) -> If {
    for body in [&mut i.then_body, &mut i.else_body] {
        let mut out = Vec::new();
        for node in std::mem::take(body) {
            expand_node(node, &mut out);
        }
        *body = out;
    }
    i
}

fn expand_node(node: Node, out: &mut Vec<Node>) {
    match node {
        Node::Loop(l) if is_plain(&l) => out.push(Node::Loop(plain(l))),
        Node::Loop(l) if is_around(&l) => out.push(Node::Loop(expand_in(l))),
        Node::Loop(l) => expand_loop(l, out),
        Node::If(i) => out.push(Node::If(expand_if(i))),
        other => out.push(other),
    }
}

fn expand_loop(l: Loop, out: &mut Vec<Node>) {
    let mut nodes = l.body;
    let at = |node: &Node| match node {
        Node::Op(op) => op.at,
        // A conditional is of the last stage: what it decides, the step itself knows.
        Node::If(i) => i.then_body.iter().chain(&i.else_body).find_map(|n| match n {
            Node::Op(op) => op.at,
            _ => None,
        }),
        Node::Loop(_) | Node::Sync(_) => None,
    };
    // A stable sort: ops of one order keep the order of the text.
    nodes.sort_by_key(|node| at(node).map_or(0, |at| at.order));
    let stage = |node: &Node| at(node).map_or(0, |at| at.stage);
    let ahead = nodes.iter().map(stage).max().unwrap_or(0);
    for step in 0..ahead {
        for node in nodes.iter().filter(|node| stage(node) <= step) {
            if let Node::Op(op) = node {
                out.push(Node::Op(Op { iter: Iter::Const(step - stage(node)), ..op.clone() }));
            }
        }
    }
    let body = nodes
        .into_iter()
        .map(|node| {
            let iter = Iter::Step(ahead - stage(&node));
            match node {
                Node::Op(op) => Node::Op(Op { iter, ..op }),
                mut other => {
                    this_step(std::slice::from_mut(&mut other));
                    other
                }
            }
        })
        .collect();
    out.push(Node::Loop(Loop { body, ahead, ..l }));
}
