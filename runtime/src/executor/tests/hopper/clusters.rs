//! Clusters: ranks, distributed shared memory, barriers, multicast.

use super::super::super::{Arg, FindingKind, Options, run};
use super::{Hopper, POINTER, drain, pattern, wait, words};

const RANKS: &str = "mov.u32 %r1, %cluster_ctarank;\nmov.u32 %r2, %cluster_nctarank;\nmov.u32 %r3, %clusterid.x;\nmov.u32 %r4, %ctaid.x;\n";
const MEET: &str = "barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;\n";

/// `%r10` of thread 0 of each block to `%g0`.
const STORE: &str =
    "mad.wide.u32 %rd1, %r4, 4, %g0;\nsetp.eq.u32 %p5, %t, 0;\n@%p5 st.global.b32 [%rd1], %r10;\n";

#[test]
fn blocks_know_their_place() {
    let body = format!("{RANKS}mad.lo.u32 %r10, %r3, 100, %r1;\nmad.lo.u32 %r10, %r2, 1000, %r10;\n{STORE}");
    let out = Hopper::new(&[POINTER], body).clusters(6, 3).run(&[Arg::buffer(0)], &[vec![0; 24]]);
    assert_eq!(words(&out[0]), [3000, 3001, 3002, 3100, 3101, 3102]);
}

/// Each block puts its number where the next block of the cluster reads it.
fn ring() -> String {
    format!(
        "{RANKS}st.shared.b32 [%smem+64], %r4;\n{MEET}add.u32 %r5, %r1, 1;\nrem.u32 %r5, %r5, %r2;\n\
         mapa.shared::cluster.u32 %r6, %smem, %r5;\nld.shared::cluster.b32 %r10, [%r6+64];\ngetctarank.shared::cluster.u32 %r7, %r6;\n\
         mad.lo.u32 %r10, %r7, 100, %r10;\n{MEET}{STORE}"
    )
}

#[test]
fn shared_memory_of_others_is_read() {
    let out = Hopper::new(&[POINTER], ring()).clusters(8, 4).run(&[Arg::buffer(0)], &[vec![0; 32]]);
    assert_eq!(words(&out[0]), [101, 202, 303, 0, 105, 206, 307, 4]);
    // The same through generic addresses.
    let generic = ring()
        .replace(
            "mapa.shared::cluster.u32 %r6, %smem, %r5;",
            "cvt.u64.u32 %rd4, %smem;\ncvta.shared.u64 %rd4, %rd4;\nmapa.u64 %rd5, %rd4, %r5;",
        )
        .replace("ld.shared::cluster.b32 %r10, [%r6+64];", "ld.b32 %r10, [%rd5+64];")
        .replace("getctarank.shared::cluster.u32 %r7, %r6;", "getctarank.u64 %r7, %rd5;");
    let out = Hopper::new(&[POINTER], generic).clusters(8, 4).run(&[Arg::buffer(0)], &[vec![0; 32]]);
    assert_eq!(words(&out[0]), [101, 202, 303, 0, 105, 206, 307, 4]);
}

#[test]
fn it_needs_the_cluster_barrier() {
    let body = ring().replacen(MEET, "", 1);
    let kinds = Hopper::new(&[POINTER], body).clusters(4, 4).kinds_any(&[Arg::buffer(0)], &[vec![0; 16]]);
    assert!(kinds.iter().any(|k| matches!(k, FindingKind::Race | FindingKind::Uninitialized)), "{kinds:?}");
    let body = ring().replacen("barrier.cluster.wait.aligned;\n", "", 1);
    let kinds = Hopper::new(&[POINTER], body).clusters(4, 4).kinds_any(&[Arg::buffer(0)], &[vec![0; 16]]);
    assert!(!kinds.is_empty());
    let body = ring().replacen("barrier.cluster.arrive.aligned;\n", "", 1);
    let kinds = Hopper::new(&[POINTER], body).clusters(4, 4).kinds(&[Arg::buffer(0)], &[vec![0; 16]]);
    assert_eq!(kinds, [FindingKind::BarrierMisuse]);
}

#[test]
fn remote_mbarriers_are_arrived_at() {
    // Every block arrives at the mbarrier of block 0 of its cluster.
    let body = format!(
        "{RANKS}setp.eq.u32 %p1, %t, 0;\n@%p1 mbarrier.init.shared::cta.b64 [%smem], %r2;\nfence.mbarrier_init.release.cluster;\n{MEET}\
         mov.u32 %r6, 0;\nmapa.shared::cluster.u32 %r7, %smem, %r6;\n@%p1 mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r7];\n\
         mov.u32 %r10, 5;\nsetp.ne.u32 %p2, %r1, 0;\n@%p2 bra END;\n{}mov.u32 %r10, 9;\nEND:\n{MEET}{STORE}",
        wait("%smem", "0", "W")
    );
    let out = Hopper::new(&[POINTER], body).clusters(6, 3).run(&[Arg::buffer(0)], &[vec![0; 24]]);
    assert_eq!(words(&out[0]), [9, 5, 5, 9, 5, 5]);
}

#[test]
fn a_multicast_reaches_every_block_of_its_mask() {
    let body = format!(
        "{RANKS}setp.eq.u32 %p1, %t, 0;\n@%p1 mbarrier.init.shared::cta.b64 [%smem], 1;\nfence.mbarrier_init.release.cluster;\n\
         @%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%smem], 64;\n{MEET}setp.eq.u32 %p2, %r1, 0;\nand.pred %p2, %p1, %p2;\n\
         mov.b16 %h1, 7;\n\
         @%p2 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%smem+1024], [%g1], 64, [%smem], %h1;\n{}\
         mad.wide.u32 %rd6, %r4, 64, %g0;\nmov.b64 %g0, %rd6;\n{}{MEET}",
        wait("%smem", "0", "W"),
        drain(0, 1024, 64, 32)
    )
    .replacen("mov.u32 %r1", ".reg .b16 %h<4>;\nmov.u32 %r1", 1);
    let source = pattern(64, 8);
    let out = Hopper::new(&[POINTER, POINTER], body)
        .clusters(3, 3)
        .run(&[Arg::buffer(0), Arg::buffer(1)], &[vec![0; 192], source.clone()]);
    assert_eq!(out[0], source.repeat(3));
}

#[test]
fn launches_must_fit_their_clusters() {
    let kernel = Hopper::new(&[POINTER], RANKS);
    let text = kernel.text();
    let mut buffers = [vec![0; 16]];
    let mut launch = |grid: u32, cluster: u32, text: &str| {
        let result = run(super::Launch {
            ptx: text,
            entry: "k",
            grid: [grid, 1, 1],
            block: [32, 1, 1],
            cluster: [cluster, 1, 1],
            shared_bytes: 0,
            args: vec![Arg::buffer(0)],
            buffers: &mut buffers,
            options: Options::default(),
        });
        result.err().map(|e| e.to_string())
    };
    assert!(launch(6, 4, &text).is_some_and(|e| e.contains("divides the grid")));
    assert!(launch(32, 32, &text).is_some_and(|e| e.contains("1 to 16")));
    let fixed = text.replacen(")\n{", ")\n.reqnctapercluster 2, 1, 1\n{", 1);
    assert!(launch(4, 1, &fixed).is_some_and(|e| e.contains("requires clusters of [2, 1, 1]")));
    assert_eq!(launch(4, 2, &fixed), None);
}

#[test]
fn a_relaxed_arrival_orders_nothing_but_what_is_behind_a_fence() {
    let relaxed = MEET.replace("arrive.aligned", "arrive.relaxed.aligned");
    let kinds = |body: String| {
        let kernel = Hopper::new(&[POINTER], body).clusters(4, 4);
        let mut all = Vec::new();
        for seed in [0, 2, 9] {
            let mut buffers = [vec![0; 16]];
            let options = Options { sanitize: true, seed, ..Options::default() };
            let outcome = kernel.outcome(vec![Arg::buffer(0)], &mut buffers, options);
            all.extend(outcome.findings.iter().map(|f| f.kind));
        }
        all
    };
    assert!(kinds(ring().replacen(MEET, &relaxed, 1)).contains(&FindingKind::Race));
    let fenced = format!("fence.acq_rel.cluster;\n{relaxed}");
    assert_eq!(kinds(ring().replacen(MEET, &fenced, 1)), []);
    let near = format!("fence.acq_rel.cta;\n{relaxed}");
    assert!(kinds(ring().replacen(MEET, &near, 1)).contains(&FindingKind::Race));
    // Mbarriers have a fence of their own, which covers nothing else.
    let near = format!("fence.mbarrier_init.release.cluster;\n{relaxed}");
    assert!(kinds(ring().replacen(MEET, &near, 1)).contains(&FindingKind::Race));
    let shared = |fence: &str| {
        format!(
            "{RANKS}setp.eq.u32 %p1, %t, 0;\n@%p1 mbarrier.init.shared::cta.b64 [%smem], %r2;\n{fence}{relaxed}\
             mov.u32 %r6, 0;\nmapa.shared::cluster.u32 %r7, %smem, %r6;\n@%p1 mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r7];\n\
             setp.ne.u32 %p2, %r1, 0;\n@%p2 bra END;\n{}END:\n{MEET}",
            wait("%smem", "0", "W")
        )
    };
    assert_eq!(kinds(shared("fence.mbarrier_init.release.cluster;\n")), []);
    assert!(kinds(shared("")).contains(&FindingKind::Race));
}

#[test]
fn a_block_outlives_those_who_use_its_memory() {
    let kernel = |body: String| Hopper::new(&[POINTER], body).clusters(4, 4);
    let kinds = |body: String| kernel(body).kinds(&[Arg::buffer(0)], &[vec![0; 16]]);
    assert_eq!(kinds(ring()), []);
    let hasty = ring().replace(&format!("{MEET}{STORE}"), STORE);
    assert_eq!(kinds(hasty), [FindingKind::Race]);
    // Who writes into another block must know that it has begun, and be waited for.
    let push = |first: &str, last: &str| {
        format!(
            "{RANKS}{first}add.u32 %r5, %r1, 1;\nrem.u32 %r5, %r5, %r2;\nmapa.shared::cluster.u32 %r6, %smem, %r5;\n\
             st.shared::cluster.b32 [%r6+64], %r4;\n{last}mov.u32 %r10, 0;\n{STORE}"
        )
    };
    assert_eq!(kinds(push(MEET, MEET)), []);
    assert_eq!(kinds(push(MEET, "")), [FindingKind::Race]);
    assert_eq!(kinds(push("", MEET)), [FindingKind::Race]);
}
