//! Kernels written out by hand, with what must be derived for them.

use super::super::model::*;
use super::super::{SyncOp, derive, print};

/// An sm_80 GEMM of `slots` slots: copies run `slots - 1` steps ahead, the first k-slice of a step is loaded in the step before.
pub fn gemm(slots: u32, guarded: bool) -> Program {
    let mut p = Program { name: "gemm".into(), ..Program::default() };
    let k = p.add_counter("k");
    let a = p.add_ring("A", slots, k);
    let b = p.add_ring("B", slots, k);
    let copy = |id, ring| {
        let op = Op::cp_async(id, "copy").writes(a, ring).writes(b, ring);
        if guarded { op.guarded(k, ring) } else { op }
    };
    let load = |id, label, ring| Op::new(id, label).reads(a, ring).reads(b, ring);
    let ahead = slots as i32 - 1;
    let mut code: Vec<Node> = Vec::new();
    for n in 0..ahead {
        code.push(copy(n as u32, n).into());
        code.push(Node::Commit(Class::CpAsync));
    }
    code.push(load(100, "load first", 0).into());
    code.push(Node::repeat(
        "k",
        vec![
            load(101, "load rest", 0).into(),
            copy(102, ahead).into(),
            Node::Commit(Class::CpAsync),
            Op::new(103, "mma").into(),
            load(104, "load first", 1).into(),
            Node::Advance(k),
        ],
    ));
    code.push(Node::End(k));
    p.add_role("math", 4, code);
    p
}

#[test]
fn gemm_with_three_slots() {
    let synced = derive(&gemm(3, true)).unwrap();
    insta::assert_snapshot!(print::synced(&synced));
}

#[test]
fn gemm_needs_one_pair_a_step_with_the_greatest_count() {
    for slots in 2..=6 {
        for guarded in [false, true] {
            let synced = derive(&gemm(slots, guarded)).unwrap();
            let ops: Vec<SyncOp> = synced.placed.iter().map(|p| p.op).collect();
            let wait = SyncOp::WaitGroup { class: Class::CpAsync, newest: slots as u8 - 2 };
            let bar = SyncOp::Bar { role: RoleId(0), id: 0, threads: 128 };
            assert_eq!(ops, [wait, bar, wait, bar], "{slots} slots:\n{}", print::synced(&synced));
        }
    }
}

/// The variant for any alignment: stores from registers, nothing to wait for, so that the barrier could stand anywhere in the step.
#[test]
fn a_barrier_stands_between_macro_operations() {
    let mut p = Program { name: "any".into(), ..Program::default() };
    let k = p.add_counter("k");
    let (a, b) = (p.add_ring("A", 4, k), p.add_ring("B", 4, k));
    let pair = |id, label: &str, ring, write| {
        let op = |id, r| {
            let op = Op::new(id, label);
            Node::Op(if write { op.writes(r, ring) } else { op.reads(r, ring) })
        };
        [op(id, a), op(id + 1, b)]
    };
    let mark = |id, label: &str| Node::Op(Op::new(id, label));
    let mut code: Vec<Node> = Vec::new();
    for n in 0..3 {
        code.extend(pair(2 * n, "store", n as i32, true));
    }
    code.push(mark(10, "wait"));
    code.extend(pair(11, "load first", 0, false));
    let mut body: Vec<Node> = pair(13, "load rest", 0, false).into();
    body.push(mark(15, "acquire"));
    body.extend(pair(16, "store", 3, true));
    body.extend([mark(18, "commit"), mark(19, "mma"), mark(20, "wait")]);
    body.extend(pair(21, "load first", 1, false));
    body.extend([mark(23, "mma"), Node::Advance(k)]);
    code.push(Node::repeat("k", body));
    p.add_role("math", 8, code);
    insta::assert_snapshot!(print::synced(&derive(&p).unwrap()));
}
