//! Races, copies in flight and unwritten memory: each fault is found, and its repaired twin is clean.

use super::super::FindingKind;
use super::Kernel;

const BUF: &str = ".shared .align 16 .b8 buf[2048];";
/// `%r1`: this thread's 4 bytes; `%r3`: those of the thread one warp further, around the block of 64.
const ADDRESSES: &str = "mov.u32 %r0, buf;\nshl.b32 %r2, %t, 2;\nadd.s32 %r1, %r0, %r2;\nxor.b32 %r2, %r2, 128;\nadd.s32 %r3, %r0, %r2;\n";
/// `%r1`: this thread's 16 bytes; `%r3`: those of the neighbouring lane; `%rd5`: a source.
const COPY: &str = "mov.u32 %r0, buf;\nshl.b32 %r2, %t, 4;\nadd.s32 %r1, %r0, %r2;\nxor.b32 %r2, %r2, 16;\nadd.s32 %r3, %r0, %r2;\n\
                    and.b32 %r4, %t, 7;\nmad.wide.u32 %rd5, %r4, 16, %rd1;\n";

/// The kinds of findings; a race may be told from both of its ends.
fn kinds(body: &str, block: u32) -> Vec<FindingKind> {
    let mut kinds: Vec<_> =
        Kernel::new(body).module(BUF).block(block).sanitized().findings().into_iter().map(|f| f.0).collect();
    kinds.dedup();
    kinds
}

#[test]
fn exchange_between_warps_needs_a_barrier() {
    let with = format!("{ADDRESSES}st.shared.b32 [%r1], %t;\nbar.sync 0;\nld.shared.b32 %d, [%r3];");
    assert_eq!(Kernel::new(&with).module(BUF).block(64).sanitized().run(&[])[..2], [32, 33]);
    let without = with.replace("bar.sync 0;\n", "");
    let kernel = Kernel::new(&without).module(BUF).block(64).sanitized();
    let findings = kernel.findings();
    let (load, store) = (kernel.line("ld.shared"), kernel.line("st.shared"));
    assert!(
        findings.contains(&(FindingKind::Race, load, Some(store)))
            || findings.contains(&(FindingKind::Race, store, Some(load))),
        "{findings:?}"
    );
}

#[test]
fn overwriting_what_others_read_needs_a_barrier() {
    let body = format!(
        "{ADDRESSES}st.shared.b32 [%r1], %t;\nbar.sync 0;\nld.shared.b32 %d, [%r3];\nst.shared.b32 [%r1], %d;"
    );
    assert_eq!(kinds(&body, 64), [FindingKind::Race]);
    let fixed = body.replace("%d, [%r3];\n", "%d, [%r3];\nbar.sync 0;\n");
    assert_eq!(kinds(&fixed, 64), []);
}

#[test]
fn unwritten_shared_memory_is_not_read() {
    assert_eq!(kinds(&format!("{ADDRESSES}ld.shared.b32 %d, [%r1];"), 32), [FindingKind::Uninitialized]);
}

/// Loads of what nobody wrote, into `%r5`, and then `uses`.
fn unwritten(uses: &str) -> Vec<(FindingKind, u32, Option<u32>)> {
    let body = format!("{ADDRESSES}setp.gt.u32 %p1, %t, 99;\nld.shared.b32 %r5, [%r1];\n{uses}");
    let kernel = Kernel::new(&body).module(BUF).sanitized();
    let load = kernel.line("ld.shared");
    let findings = kernel.findings();
    assert!(findings.iter().all(|f| (f.1, f.2) == (load, None)), "not at the load: {findings:?}");
    findings
}

#[test]
fn copies_of_what_nobody_wrote_may_be_made_and_not_used() {
    for harmless in [
        // Dropped, overwritten, or in an element of a vector that is not looked at.
        "",
        "mov.b32 %r5, 7;\nmov.b32 %d, %r5;",
        "st.shared.b32 [%r1], %t;\nld.shared.b32 %r5, [%r1];\nmov.b32 %d, %r5;",
        // As in a merge: what is beyond the end of a run is compared, and the answer is not taken.
        "setp.lt.s32 %p2, %r5, %t;\nand.pred %p2, %p2, %p1;\nselp.b32 %d, %r5, %t, %p2;\n@%p2 bra L;\nadd.s32 %d, %d, 1;\nL:",
        // Between lanes, and cut off there.
        "shfl.sync.bfly.b32 %r6, %r5, 1, 31, -1;\nand.b32 %d, %r6, 0;",
        "vote.sync.any.pred %p2, %p1, -1;\n@%p2 mov.b32 %d, %r5;",
    ] {
        assert_eq!(unwritten(harmless), [], "{harmless}");
    }
}

#[test]
fn nothing_may_depend_on_what_nobody_wrote() {
    for use_ in [
        "mov.b32 %d, %r5;",
        "max.f32 %d, %r5, %t;",
        "min.u32 %d, %r5, %t;",
        "min.s32 %d, %r5, -5;",
        "max.s32 %d, %r5, %t;",
        "shfl.sync.bfly.b32 %d, %r5, 1, 31, -1;",
        "redux.sync.add.s32 %d, %r5, -1;",
        // A condition, an address, an operand of an atomic, a count.
        "setp.eq.s32 %p2, %r5, 0;\n@%p2 bra L;\nmov.b32 %d, 1;\nL:",
        "setp.ne.s32 %p2, %r5, 0;\n@%p2 st.shared.b32 [%r1], %t;",
        "and.b32 %r5, %r5, 4;\nadd.u32 %r5, %r5, %r0;\nld.shared.b32 %r6, [%r5];",
        "red.global.add.u32 [%rd2], %r5;",
        "st.shared.b32 [%r1], %r5;",
    ] {
        assert_eq!(unwritten(use_).first().map(|f| f.0), Some(FindingKind::Uninitialized), "{use_}");
    }
}

#[test]
fn a_vector_is_in_doubt_where_nobody_wrote_it() {
    let body = |part: &str| {
        format!(
            "{COPY}st.shared.v2.b32 [%r1], {{%t, %t}};\nst.shared.b16 [%r1+8], 1;\n\
             ld.shared.v4.b32 {{%r5, %r6, %r7, %r8}}, [%r1];\nand.b32 %r9, %r7, 0xffff;\nmov.b32 %d, {part};"
        )
    };
    for (part, found) in [("%r5", false), ("%r6", false), ("%r7", true), ("%r8", true), ("%r9", false)] {
        let kinds = kinds(&body(part), 32);
        assert_eq!(kinds == [FindingKind::Uninitialized], found, "{part}: {kinds:?}");
    }
}

#[test]
fn a_copy_needs_a_commit_a_wait_and_a_barrier() {
    let copy = "cp.async.cg.shared.global [%r1], [%rd5], 16;\n";
    let full = format!(
        "{COPY}{copy}cp.async.commit_group;\ncp.async.wait_group 0;\nbar.sync 0;\nld.shared.b32 %d, [%r3];"
    );
    assert_eq!(kinds(&full, 32), []);
    assert_eq!(kinds(&full.replace("cp.async.wait_group 0;\n", ""), 32), [FindingKind::AsyncInFlight]);
    assert_eq!(kinds(&full.replace("cp.async.commit_group;\n", ""), 32), [FindingKind::AsyncInFlight]);
    // Another lane's copy, without a barrier: complete, but promised to the copying thread alone.
    assert_eq!(kinds(&full.replace("bar.sync 0;\n", ""), 32), [FindingKind::Race]);
    // One's own copy needs no barrier.
    assert_eq!(kinds(&full.replace("bar.sync 0;\n", "").replace("[%r3]", "[%r1]"), 32), []);
    assert_eq!(
        kinds(&full.replace("wait_group 0", "wait_all").replace("cp.async.commit_group;\n", ""), 32),
        []
    );
}

#[test]
fn a_lazy_copy_reads_its_source_when_it_is_waited_for() {
    // The source changes between issue and wait: legal for the copy to see the new value, and that is what lazy means.
    let body = format!(
        "{COPY}mov.b32 %r9, 1234;\ncp.async.ca.shared.global [%r1], [%rd5], 4;\ncp.async.commit_group;\nst.global.b32 [%rd5], %r9;\n\
         cp.async.wait_group 0;\nld.shared.b32 %d, [%r1];"
    );
    let kernel = Kernel::new(&body).module(BUF);
    assert_eq!(kernel.run(&[[7; 3]; 32]), [7; 32], "eager");
    let mut kernel = Kernel::new(&body).module(BUF);
    kernel.options.lazy = true;
    assert_eq!(kernel.run(&[[7; 3]; 32]), [1234; 32], "lazy");
}

#[test]
fn short_and_ignored_copies_fill_with_zeros_and_read_nothing() {
    let body = format!(
        "{COPY}setp.ge.u32 %p1, %t, 16;\nselp.b64 %rd6, 8, %rd5, %p1;\nand.b64 %rd6, %rd6, -16;\n\
         cp.async.cg.shared.global [%r1], [%rd6], 16, %p1;\ncp.async.wait_all;\nld.shared.b32 %d, [%r1+8];"
    );
    let got = Kernel::new(&body).module(BUF).sanitized().run(&[[5; 3]; 32]);
    assert_eq!(got, (0..32).map(|l| if l < 16 { 5 } else { 0 }).collect::<Vec<u32>>());
    let body = format!(
        "{COPY}cp.async.cg.shared.global [%r1], [%rd5], 16, 4;\ncp.async.wait_all;\nld.shared.v2.b32 {{%r5, %r6}}, [%r1];\nshl.b32 %r6, %r6, 16;\nor.b32 %d, %r5, %r6;"
    );
    assert_eq!(Kernel::new(&body).module(BUF).sanitized().run(&[[5; 3]; 32]), [5; 32]);
}

#[test]
fn a_slot_is_refilled_only_after_its_readers_are_done() {
    let copy = "cp.async.cg.shared.global [%r1], [%rd5], 16;\ncp.async.commit_group;\n";
    let wait = "cp.async.wait_group 0;\nbar.sync 0;\n";
    let body = format!(
        "{COPY}xor.b32 %r2, %r2, 512;\nadd.s32 %r3, %r0, %r2;\n{copy}{wait}ld.shared.b32 %d, [%r3];\nbar.sync 0;\n{copy}{wait}"
    );
    assert_eq!(kinds(&body, 64), []);
    let without = body.replacen("ld.shared.b32 %d, [%r3];\nbar.sync 0;\n", "ld.shared.b32 %d, [%r3];\n", 1);
    assert_eq!(kinds(&without, 64), [FindingKind::Race]);
}

#[test]
fn lanes_of_a_warp_must_meet_too() {
    let exchange = |meeting: &str, store: &str| {
        format!(
            "mov.u32 %r0, buf;\nshl.b32 %r2, %t, 2;\nadd.s32 %r1, %r0, %r2;\nxor.b32 %r2, %r2, 4;\nadd.s32 %r3, %r0, %r2;\n\
             {store}.shared.b32 [%r1], %t;\n{meeting}\nld.shared.b32 %d, [%r3];"
        )
    };
    let meetings =
        ["bar.warp.sync -1;", "shfl.sync.idx.b32 %r9, %t, 0, 31, -1;", "vote.sync.ballot.b32 %r9, %p1, -1;"];
    for meeting in meetings {
        assert_eq!(kinds(&exchange(meeting, "st"), 64), [], "{meeting}");
    }
    assert_eq!(kinds(&exchange("", "st"), 64), [FindingKind::Race]);
    // One's own word, and what is said to be volatile.
    assert_eq!(kinds(&exchange("", "st").replace("[%r3]", "[%r1]"), 64), []);
    assert_eq!(kinds(&exchange("", "st.volatile"), 64), []);
    // A warp meets anew for each store.
    let again = exchange("bar.warp.sync -1;", "st") + "\nst.shared.b32 [%r1], %d;\nld.shared.b32 %d, [%r3];";
    assert_eq!(kinds(&again, 64), [FindingKind::Race]);
}

#[test]
fn lanes_meet_before_they_overwrite_what_others_read() {
    // Everybody reads its neighbour's word and then overwrites its own.
    let exchange = |meeting: &str, store: &str| {
        format!(
            "mov.u32 %r0, buf;\nshl.b32 %r2, %t, 2;\nadd.s32 %r1, %r0, %r2;\nxor.b32 %r2, %r2, 4;\nadd.s32 %r3, %r0, %r2;\n\
             st.shared.b32 [%r1], %t;\nbar.warp.sync -1;\nld.shared.b32 %d, [%r3];\n{meeting}\n{store}"
        )
    };
    let store = "st.shared.b32 [%r1], %d;";
    let meetings = [
        "bar.warp.sync -1;",
        "bar.sync 0;",
        "shfl.sync.idx.b32 %r9, %t, 0, 31, -1;",
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f0, %f1, %f2, %f3}, {%r5, %r6}, {%r7}, {%f0, %f1, %f2, %f3};",
    ];
    for meeting in meetings {
        assert_eq!(kinds(&exchange(meeting, store), 64), [], "{meeting}");
    }
    assert_eq!(kinds(&exchange("", store), 64), [FindingKind::Race]);
    let copy = "and.b32 %r4, %t, 7;\nmad.wide.u32 %rd5, %r4, 16, %rd1;\n\
                cp.async.ca.shared.global [%r1], [%rd5], 4;\ncp.async.wait_all;";
    assert_eq!(kinds(&exchange("", copy), 64), [FindingKind::Race], "by a copy");
    assert_eq!(kinds(&exchange("bar.warp.sync -1;", copy), 64), []);
    // What only the lane itself has read, and a read that says it is volatile.
    assert_eq!(kinds(&exchange("", store).replace("[%r3]", "[%r1]"), 64), []);
    assert_eq!(kinds(&exchange("", store).replace("ld.shared", "ld.volatile.shared"), 64), []);
    // A word that several lanes have read, the one that overwrites it last.
    let shared_word = "mov.u32 %r0, buf;\nst.shared.b32 [%r0], 7;\nbar.warp.sync -1;\nld.shared.b32 %d, [%r0];\nMEET\n\
                       setp.eq.u32 %p1, %t, 31;\n@%p1 st.shared.b32 [%r0], %t;";
    assert_eq!(kinds(&shared_word.replace("MEET", ""), 32), [FindingKind::Race]);
    assert_eq!(kinds(&shared_word.replace("MEET", "bar.warp.sync -1;"), 32), []);
}

#[test]
fn lanes_meet_before_they_read_global_memory() {
    let body = "mad.wide.u32 %rd5, %t, 4, %rd2;\nst.global.b32 [%rd5], %t;\nbar.warp.sync -1;\nxor.b32 %r1, %t, 1;\n\
                mad.wide.u32 %rd6, %r1, 4, %rd2;\nld.global.b32 %d, [%rd6];\nbar.warp.sync -1;";
    assert_eq!(kinds(body, 32), []);
    assert_eq!(kinds(&body.replacen("bar.warp.sync -1;\n", "", 1), 32), [FindingKind::Race]);
    // Halves of a word by different lanes.
    let halves = "mad.wide.u32 %rd5, %t, 2, %rd2;\ncvt.u16.u32 %h1, %t;\nst.global.u16 [%rd5], %h1;\nld.global.u16 %h2, [%rd5];\n\
                  cvt.u32.u16 %d, %h2;\nbar.warp.sync -1;";
    assert_eq!(kinds(halves, 32), []);
}

#[test]
fn strong_accesses_to_shared_memory_hand_data_over() {
    // Warp 0 writes what warp 1 reads when it finds a flag raised.
    let handover = |store: &str, load: &str| {
        format!(
            "mov.u32 %r0, buf;\nsetp.eq.u32 %p1, %t, 0;\n@%p1 st.shared.b32 [%r0], 0;\nbar.sync 0;\n\
             setp.ge.u32 %p2, %t, 32;\nand.b32 %r4, %t, 31;\nmad.lo.u32 %r1, %r4, 4, %r0;\n@%p2 bra READ;\n\
             add.u32 %r2, %t, 5;\nst.shared.b32 [%r1+128], %r2;\nbar.warp.sync -1;\nmov.u32 %r3, 1;\n{store}\nbra DONE;\n\
             READ:\n{load}\nsetp.eq.u32 %p3, %r5, 0;\n@%p3 bra READ;\nAFTER\nld.shared.b32 %d, [%r1+128];\nDONE:"
        )
    };
    let found =
        |store: &str, load: &str, fence: &str| kinds(&handover(store, load).replace("AFTER", fence), 64);
    let acquire = "ld.acquire.cta.shared.u32 %r5, [%r0];";
    let relaxed = "ld.relaxed.cta.shared.u32 %r5, [%r0];";
    let volatile = "ld.volatile.shared.u32 %r5, [%r0];";
    let (fence, race) = ("fence.acq_rel.cta;", [FindingKind::Race]);
    for (raise, whole) in [
        ("@%p1 st.release.cta.shared.u32 [%r0], %r3;", true),
        ("@%p1 atom.or.acq_rel.cta.shared.b32 %r6, [%r0], %r3;", true),
        ("fence.acq_rel.cta;\n@%p1 st.relaxed.cta.shared.u32 [%r0], %r3;", true),
        ("membar.cta;\n@%p1 st.volatile.shared.u32 [%r0], %r3;", true),
        ("@%p1 st.relaxed.cta.shared.u32 [%r0], %r3;", false),
        ("@%p1 st.volatile.shared.u32 [%r0], %r3;", false),
    ] {
        assert_eq!(found(raise, acquire, "").is_empty(), whole, "{raise}");
        assert_eq!(found(raise, relaxed, fence).is_empty(), whole, "{raise}, fence");
        assert_eq!(found(raise, volatile, "membar.cta;").is_empty(), whole, "{raise}, membar");
        assert_eq!(found(raise, relaxed, ""), race, "{raise}, no fence");
        assert_eq!(found(raise, volatile, ""), race, "{raise}, no fence");
    }
    // A flag that is raised or looked at by plain accesses races itself.
    let plain = found("@%p1 st.shared.u32 [%r0], %r3;", acquire, "");
    assert!(plain.contains(&FindingKind::Race), "{plain:?}");
    let plain = found("@%p1 st.release.cta.shared.u32 [%r0], %r3;", "ld.shared.u32 %r5, [%r0];", "");
    assert!(plain.contains(&FindingKind::Race), "{plain:?}");
}
