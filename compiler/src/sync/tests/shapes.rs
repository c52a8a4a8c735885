//! One small program for each shape that kernels are made of, and each row of the requirement table: what is derived stands in the
//! snapshot, and the oracle agrees that it is complete and that nothing is superfluous.

use super::super::model::*;
use super::super::{Missing, SyncError, derive, print, prove};
use super::kernels::gemm;
use super::oracle;

fn program() -> Program {
    Program { name: "shape".into(), ..Program::default() }
}

/// Derives, asks the oracle, and prints.
fn derived(program: &Program) -> String {
    let synced = derive(program).unwrap();
    oracle::check(&synced, 8, 2000).unwrap_or_else(|e| panic!("{e}\n{}", print::synced(&synced)));
    print::synced(&synced)
}

#[test]
fn registers_staged_through_one_slot() {
    // ld.global runs ahead in registers; one slot, so a step needs a barrier on each side of the store.
    let mut p = program();
    let a = p.add_buffer("A");
    let body = vec![
        Op::new(0, "ld.global").into(),
        Op::new(1, "store A").writes(a, 0).into(),
        Op::new(2, "load A").reads(a, 0).into(),
        Op::new(3, "mma").into(),
    ];
    p.add_role("math", 4, vec![Node::repeat("k", body)]);
    insta::assert_snapshot!(derived(&p), @"
    role math: 4 warps
      loop k
        ld.global
        bar 0, 128  // load A before store A
        store A: writes A
        bar 0, 128  // store A before load A
        load A: reads A
        mma
    ");
}

#[test]
fn registers_staged_through_two_slots() {
    let mut p = program();
    let k = p.add_counter("k");
    let a = p.add_ring("A", 2, k);
    let body = vec![
        Op::new(0, "ld.global").into(),
        Op::new(1, "load A").reads(a, 0).into(),
        Op::new(2, "mma").into(),
        Op::new(3, "store A").writes(a, 1).into(),
        Node::Advance(k),
    ];
    p.add_role("math", 4, vec![Op::new(4, "store A").writes(a, 0).into(), Node::repeat("k", body)]);
    insta::assert_snapshot!(derived(&p));
}

#[test]
fn epilogue_staged_in_the_ring() {
    for guarded in [true, false] {
        let mut p = gemm(3, guarded);
        let c = p.add_buffer("C");
        p.overlaps = vec![(ResourceId(0), c), (ResourceId(1), c)];
        p.roles[0].code.push(Op::new(200, "store C").writes(c, 0).into());
        p.roles[0].code.push(Op::new(201, "load C").reads(c, 0).into());
        let text = derived(&p);
        insta::assert_snapshot!(if guarded { "epilogue_guarded" } else { "epilogue_total" }, text);
    }
}

#[test]
fn epilogue_by_sub_tiles_reuses_its_buffer() {
    let mut p = program();
    let c = p.add_buffer("C");
    let body = vec![
        Op::new(0, "stmatrix C").writes(c, 0).into(),
        Op::new(1, "lds C").reads(c, 0).into(),
        Op::new(2, "st.global").into(),
    ];
    p.add_role("math", 8, vec![Node::repeat("e", body)]);
    insta::assert_snapshot!(derived(&p));
}

#[test]
fn reduction_across_warps() {
    // Row maxima, then row sums, through one small buffer, once per step.
    let mut p = program();
    let r = p.add_buffer("R");
    let body = vec![
        Op::new(0, "put max").writes(r, 0).into(),
        Op::new(1, "get max").reads(r, 0).into(),
        Op::new(2, "put sum").writes(r, 0).into(),
        Op::new(3, "get sum").reads(r, 0).into(),
    ];
    p.add_role("math", 4, vec![Node::repeat("j", body)]);
    insta::assert_snapshot!(derived(&p));
}

#[test]
fn no_loop() {
    let mut p = program();
    let a = p.add_buffer("A");
    let code = vec![
        Op::cp_async(0, "copy A").writes(a, 0).into(),
        Node::Commit(Class::CpAsync),
        Op::new(1, "load A").reads(a, 0).into(),
    ];
    p.add_role("math", 4, code);
    insta::assert_snapshot!(derived(&p), @"
    role math: 4 warps
      copy A: writes A (cp.async)
      commit cp.async
      wait_group cp.async 0  // copy A before load A
      bar 0, 128  // copy A before load A
      load A: reads A
    ");
}

#[test]
fn nothing_to_order() {
    let mut p = program();
    p.add_role("math", 4, vec![Op::new(0, "read").into(), Op::new(1, "write").into()]);
    assert!(derive(&p).unwrap().placed.is_empty());
}

#[test]
fn own_pieces_need_no_barrier() {
    let mut p = program();
    let a = p.add_buffer("A");
    let b = p.add_buffer("B");
    let code = vec![
        Op::cp_async(0, "copy A").touches(a, 0, Mode::Write, Part::Thread(0)).into(),
        Node::Commit(Class::CpAsync),
        Op::new(1, "use A").touches(a, 0, Mode::Read, Part::Thread(0)).into(),
        Op::new(2, "put B").touches(b, 0, Mode::Write, Part::Warp(0)).into(),
        Op::new(3, "get B").touches(b, 0, Mode::Read, Part::Warp(0)).into(),
    ];
    p.add_role("math", 4, code);
    insta::assert_snapshot!(derived(&p));
}

#[test]
fn a_single_warp_needs_no_block_barrier() {
    let mut p = gemm(3, true);
    p.roles[0].warps = 1;
    assert!(!derived(&p).contains("bar 0"), "{}", derived(&p));
}

#[test]
fn wgmma_from_registers_staged_shared_memory() {
    // Generic writes to shared memory, a fence, a barrier, wgmma; two slots; accumulator read at the end.
    let mut p = program();
    let k = p.add_counter("k");
    let b = p.add_ring("B", 2, k);
    let acc = p.add_resource("acc", ResourceKind::Acc, 1, None);
    let code = vec![
        Op::new(0, "clear").writes(acc, 0).into(),
        Node::repeat(
            "k",
            vec![
                Op::new(1, "store B").writes(b, 0).into(),
                Op::wgmma(2, "wgmma").reads(b, 0).touches(acc, 0, Mode::Write, Part::Any).into(),
                Node::Commit(Class::Wgmma),
                Node::Advance(k),
            ],
        ),
        Op::new(3, "get").reads(acc, 0).into(),
    ];
    p.add_role("math", 4, code);
    insta::assert_snapshot!(derived(&p));
}

#[test]
fn cp_async_feeds_wgmma() {
    let mut p = program();
    let k = p.add_counter("k");
    let a = p.add_ring("A", 4, k);
    let acc = p.add_resource("acc", ResourceKind::Acc, 1, None);
    let copy = |id, n| [Node::Op(Op::cp_async(id, "copy A").writes(a, n)), Node::Commit(Class::CpAsync)];
    let mut code: Vec<Node> = [copy(0, 0), copy(1, 1)].into_iter().flatten().collect();
    let mut body: Vec<Node> = copy(2, 2).into();
    body.push(Op::wgmma(3, "wgmma").reads(a, 0).touches(acc, 0, Mode::Write, Part::Any).into());
    body.push(Node::Commit(Class::Wgmma));
    body.push(Node::Advance(k));
    code.push(Node::repeat("k", body));
    code.push(Op::new(4, "get").reads(acc, 0).into());
    p.add_role("math", 4, code);
    insta::assert_snapshot!(derived(&p));
}

#[test]
fn registers_in_flight_are_packed_again() {
    // A from registers, two copies: the wait leaves the newest group in flight.
    let mut p = program();
    let k = p.add_counter("kk");
    let a = p.add_resource("a", ResourceKind::AReg, 2, Some(k));
    let body = vec![
        Op::new(0, "pack").writes(a, 0).into(),
        Op::wgmma(1, "wgmma").reads(a, 0).into(),
        Node::Commit(Class::Wgmma),
        Node::Advance(k),
    ];
    p.add_role("math", 4, vec![Node::repeat("kk", body)]);
    insta::assert_snapshot!(derived(&p));
}

#[test]
fn bulk_store_from_a_staged_tile() {
    // Two slots; the elected thread stores a slot while the next one is written.
    let mut p = program();
    let e = p.add_counter("e");
    let c = p.add_ring("C", 2, e);
    let store = Op {
        threads: Threads::Elect,
        proxy: Proxy::Async,
        completion: Completion::Fifo(Class::BulkRead),
        ..Op::new(1, "bulk store C").reads(c, 0)
    };
    let body = vec![
        Op::new(0, "stmatrix C").writes(c, 0).into(),
        store.into(),
        Node::Commit(Class::BulkRead),
        Node::Advance(e),
    ];
    p.add_role("math", 4, vec![Node::repeat("e", body)]);
    insta::assert_snapshot!(derived(&p));
}

#[test]
fn forbidden_gaps_stay_free() {
    let mut p = program();
    let a = p.add_buffer("A");
    let put = |id| Node::Op(Op::new(id, "put A").writes(a, 0));
    p.add_role("math", 4, vec![put(0), Op::new(1, "turn").into(), Node::NoGap, put(2)]);
    insta::assert_snapshot!(derived(&p), @"
    role math: 4 warps
      put A: writes A
      bar 0, 128  // put A before put A
      turn
      --
      put A: writes A
    ");
    p.roles[0].code = vec![put(0), Node::NoGap, put(2)];
    let error = derive(&p).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no place to synchronise: put A must be complete and visible to all warps before put A"
    );
}

#[test]
fn an_uncommitted_copy_is_refused() {
    let mut p = program();
    let a = p.add_buffer("A");
    let code = vec![Op::cp_async(0, "copy A").writes(a, 0).into(), Op::new(1, "load A").reads(a, 0).into()];
    p.add_role("math", 4, code);
    assert!(matches!(derive(&p), Err(SyncError::NoPlace(_))));
    let Err(SyncError::Unproved(v)) = prove(&p, &[]) else { panic!("nothing orders them") };
    assert_eq!(v.missing, Missing::Commit);
}

#[test]
fn the_proof_refuses_broken_placements_and_says_why() {
    let p = gemm(3, true);
    let synced = derive(&p).unwrap();
    assert!(prove(&p, &synced.placed).is_ok());
    let refusals: Vec<String> = (0..synced.placed.len())
        .map(|i| {
            let mut rest = synced.placed.clone();
            let gone = rest.remove(i).op.text(&p);
            format!("without {gone}: {}", prove(&p, &rest).unwrap_err())
        })
        .collect();
    insta::assert_snapshot!(refusals.join("\n"));
    // A barrier before its wait, or somewhere else, is no barrier.
    let mut swapped = synced.placed.clone();
    swapped.swap(2, 3);
    assert!(prove(&p, &swapped).is_err());
    for gap in 0..40 {
        let mut moved = synced.placed.clone();
        moved[3].gap = GapId(gap);
        let proved = prove(&p, &moved).is_ok();
        assert_eq!(proved, gap == synced.placed[3].gap.0, "barrier moved to gap {gap}");
    }
}

#[test]
fn obligations_in_words() {
    let p = gemm(3, true);
    let synced = derive(&p).unwrap();
    let words: Vec<String> = synced.obligations.iter().map(|o| print::explain(&p, o)).collect();
    insta::assert_snapshot!(words.join("\n"));
}
