//! `mbarrier.*` and `cp.async.mbarrier.arrive`.

use super::super::super::{Arg, FindingKind, Options};
use super::{Hopper, POINTER, wait, words};

const INIT: &str = "setp.eq.u32 %p1, %t, 0;\nsetp.eq.u32 %p2, %w, 0;\n@%p1 mbarrier.init.shared::cta.b64 [%smem], COUNT;\nbar.sync 0;\n";

fn init(count: u32) -> String {
    INIT.replace("COUNT", &count.to_string())
}

/// Each thread's `%r1` to `%g0`.
const STORE: &str = "mad.wide.u32 %rd1, %t, 4, %g0;\nst.global.b32 [%rd1], %r1;\n";

/// A mailbox at 64: warp 0 writes what warp 1 reads.
fn handover() -> String {
    format!(
        "{}@!%p2 bra READ;\nmad.lo.u32 %r2, %t, 4, %smem;\nadd.u32 %r3, %t, 100;\nst.shared.b32 [%r2+64], %r3;\n\
         mbarrier.arrive.shared::cta.b64 _, [%smem];\nmov.u32 %r1, 0;\nbra DONE;\nREAD:\n{}and.b32 %r4, %t, 31;\n\
         mad.lo.u32 %r2, %r4, 4, %smem;\nld.shared.b32 %r1, [%r2+64];\nDONE:\n{STORE}",
        init(32),
        wait("%smem", "0", "W")
    )
}

#[test]
fn arrivals_hand_data_over() {
    let kernel = Hopper::new(&[POINTER], handover()).block(64);
    let out = kernel.run(&[Arg::buffer(0)], &[vec![0; 256]]);
    let want: Vec<u32> = (0..64).map(|t| if t < 32 { 0 } else { t - 32 + 100 }).collect();
    assert_eq!(words(&out[0]), want);
}

#[test]
fn reading_without_the_wait_is_a_race() {
    let body = handover().replace(&wait("%smem", "0", "W"), "");
    let found = Hopper::new(&[POINTER], body).block(64).kinds_any(&[Arg::buffer(0)], &[vec![0; 256]]);
    assert!(found.contains(&FindingKind::Race) || found.contains(&FindingKind::Uninitialized), "{found:?}");
}

#[test]
fn a_wait_may_return_false() {
    let body = handover().replace("@!%p19 bra W;\n", "");
    assert_ne!(body, handover());
    let found = Hopper::new(&[POINTER], body).block(64).kinds_any(&[Arg::buffer(0)], &[vec![0; 256]]);
    assert!(found.contains(&FindingKind::Race) || found.contains(&FindingKind::Uninitialized), "{found:?}");
}

#[test]
fn the_other_parity_of_a_fresh_mbarrier_has_passed() {
    let body = format!(
        "{}mbarrier.test_wait.parity.shared::cta.b64 %p3, [%smem], 1;\nselp.b32 %r1, 1, 0, %p3;\n{STORE}",
        init(1)
    );
    let out = Hopper::new(&[POINTER], body).run(&[Arg::buffer(0)], &[vec![0; 128]]);
    assert_eq!(words(&out[0]), [1; 32]);
}

#[test]
fn phases_count_arrivals_and_tokens_tell_them_apart() {
    // One thread arrives with counts; the token of the first arrival is waited for, and the pending count read from it.
    let body = format!(
        "{}mov.u32 %r1, 0;\n@!%p1 bra DONE;\nmbarrier.arrive.shared::cta.b64 %rd2, [%smem];\n\
         mbarrier.pending_count.b64 %r2, %rd2;\nmbarrier.test_wait.shared::cta.b64 %p3, [%smem], %rd2;\n\
         selp.b32 %r3, 10, 0, %p3;\nmbarrier.arrive.shared::cta.b64 %rd3, [%smem], 2;\n\
         mbarrier.test_wait.shared::cta.b64 %p3, [%smem], %rd2;\nselp.b32 %r4, 100, 0, %p3;\nadd.u32 %r1, %r2, %r3;\n\
         add.u32 %r1, %r1, %r4;\nDONE:\n{STORE}",
        init(3)
    );
    let out = Hopper::new(&[POINTER], body).run(&[Arg::buffer(0)], &[vec![0; 128]]);
    assert_eq!(words(&out[0])[0], 103, "3 pending before the first arrival, incomplete, complete");
}

#[test]
fn a_dropped_arrival_is_not_expected_again() {
    let body = format!(
        "{}mov.u32 %r1, 0;\n@!%p1 bra DONE;\nmbarrier.arrive_drop.shared::cta.b64 _, [%smem];\n\
         mbarrier.arrive.shared::cta.b64 _, [%smem];\n{}mbarrier.arrive.shared::cta.b64 _, [%smem];\n{}mov.u32 %r1, 7;\nDONE:\n{STORE}",
        init(2),
        wait("%smem", "0", "A"),
        wait("%smem", "1", "B"),
    );
    let out = Hopper::new(&[POINTER], body).run(&[Arg::buffer(0)], &[vec![0; 128]]);
    assert_eq!(words(&out[0])[0], 7);
}

#[test]
fn transactions_hold_a_phase_back() {
    let body = format!(
        "{}mov.u32 %r1, 0;\n@!%p1 bra DONE;\nmbarrier.arrive.expect_tx.shared::cta.b64 _, [%smem], 48;\n\
         mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%smem], 16;\nmbarrier.complete_tx.shared::cta.b64 [%smem], 60;\n\
         mbarrier.complete_tx.shared::cta.b64 [%smem], 4;\n{}mov.u32 %r1, 1;\nDONE:\n{STORE}",
        init(1),
        wait("%smem", "0", "A")
    );
    let out = Hopper::new(&[POINTER], body.clone()).run(&[Arg::buffer(0)], &[vec![0; 128]]);
    assert_eq!(words(&out[0])[0], 1);
    let short = body.replace("[%smem], 4;", "[%smem], 3;");
    assert_eq!(
        Hopper::new(&[POINTER], short).kinds(&[Arg::buffer(0)], &[vec![0; 128]]),
        [FindingKind::Deadlock]
    );
}

#[test]
fn misuse_is_reported() {
    let misuse = |body: String| Hopper::new(&[POINTER], body).kinds(&[Arg::buffer(0)], &[vec![0; 128]]);
    let twice = format!("{}@%p1 mbarrier.arrive.shared::cta.b64 _, [%smem], 2;", init(1));
    assert_eq!(misuse(twice), [FindingKind::BarrierMisuse]);
    let nothing = "mbarrier.arrive.shared::cta.b64 _, [%smem];";
    assert_eq!(misuse(nothing.into()), [FindingKind::BarrierMisuse]);
    assert_eq!(misuse(init(0)), [FindingKind::BarrierMisuse]);
    let unaligned = "mbarrier.init.shared::cta.b64 [%smem+4], 1;";
    assert_eq!(misuse(unaligned.into()), [FindingKind::Misaligned]);
    let dead = format!(
        "{}@%p1 mbarrier.inval.shared::cta.b64 [%smem];\n@%p1 mbarrier.arrive.shared::cta.b64 _, [%smem];",
        init(1)
    );
    assert_eq!(misuse(dead), [FindingKind::BarrierMisuse]);
}

#[test]
fn using_an_mbarrier_needs_a_barrier_after_its_init() {
    let body = init(64).replace("bar.sync 0;\n", "") + "mbarrier.arrive.shared::cta.b64 _, [%smem];\n";
    let mut buffers = [vec![0; 256]];
    let options = Options { sanitize: true, ..Options::default() };
    let outcome =
        Hopper::new(&[POINTER], body).block(64).outcome(vec![Arg::buffer(0)], &mut buffers, options);
    assert_eq!(outcome.findings.first().map(|f| f.kind), Some(FindingKind::Race));
}

#[test]
fn copies_arrive_when_they_are_done() {
    for (noinc, count) in [(".noinc", 32), ("", 1)] {
        // Without .noinc the arrivals are extra: thread 0's own completes the phase once the copies are there.
        let own = if noinc.is_empty() { "@%p1 mbarrier.arrive.shared::cta.b64 _, [%smem];\n" } else { "" };
        let body = format!(
            "{}@!%p2 bra READ;\nmad.wide.u32 %rd1, %t, 16, %g1;\nmad.lo.u32 %r2, %t, 16, %smem;\n\
             cp.async.cg.shared.global [%r2+64], [%rd1], 16;\ncp.async.mbarrier.arrive{noinc}.shared.b64 [%smem];\n{own}mov.u32 %r1, 0;\n\
             bra DONE;\nREAD:\n{}and.b32 %r4, %t, 31;\nmad.lo.u32 %r2, %r4, 16, %smem;\nld.shared.b32 %r1, [%r2+68];\nDONE:\n{STORE}",
            init(count),
            wait("%smem", "0", "W")
        );
        let source: Vec<u8> = (0..128u32).flat_map(u32::to_le_bytes).collect();
        let kernel = Hopper::new(&[POINTER, POINTER], body.clone()).block(64);
        let args = [Arg::buffer(0), Arg::buffer(1)];
        let out = kernel.run(&args, &[vec![0; 256], source.clone()]);
        let want: Vec<u32> = (0..64).map(|t| if t < 32 { 0 } else { 4 * (t - 32) + 1 }).collect();
        assert_eq!(words(&out[0]), want);
        let hasty = body.replace(&wait("%smem", "0", "W"), "");
        let kinds =
            Hopper::new(&[POINTER, POINTER], hasty).block(64).kinds_any(&args, &[vec![0; 256], source]);
        assert!(
            kinds.iter().any(|k| matches!(
                k,
                FindingKind::AsyncInFlight | FindingKind::Race | FindingKind::Uninitialized
            )),
            "{kinds:?}"
        );
    }
}

#[test]
fn the_first_of_two_stages_may_be_read_whichever_arrives_first() {
    // As in cuda::pipeline: warp 0 starts two stages, each of which arrives at its own mbarrier when its copies are done, in any order.
    let stage = |at: u32| {
        format!(
            "cp.async.ca.shared.global [%r2+{}], [%rd1+{at}], 4;\ncp.async.mbarrier.arrive.noinc.shared.b64 [%smem+{}];\n",
            64 + at,
            at / 16
        )
    };
    let body = |between: &str| {
        format!(
            "{}@%p1 mbarrier.init.shared::cta.b64 [%smem+8], 32;\nbar.sync 0;\nmov.u32 %r1, 0;\n@!%p2 bra READ;\n\
             mad.wide.u32 %rd1, %t, 4, %g1;\nmad.lo.u32 %r2, %t, 4, %smem;\n{}{}{between}bra DONE;\nREAD:\nand.b32 %r4, %t, 31;\n\
             mad.lo.u32 %r2, %r4, 4, %smem;\n{}ld.shared.b32 %r1, [%r2+64];\n{}ld.shared.b32 %r3, [%r2+192];\n\
             mad.lo.u32 %r1, %r3, 1000, %r1;\nDONE:\n{STORE}",
            init(32),
            stage(0),
            stage(128),
            wait("%smem", "0", "W"),
            wait("%smem+8", "0", "V"),
        )
    };
    let source: Vec<u8> = (0..64u32).flat_map(u32::to_le_bytes).collect();
    let args = [Arg::buffer(0), Arg::buffer(1)];
    let want: Vec<u32> = (0..64).map(|t| if t < 32 { 0 } else { t - 32 + 1000 * t }).collect();
    // The producer may wait for its copies too.
    for between in ["", "cp.async.wait_all;\n"] {
        let kernel = Hopper::new(&[POINTER, POINTER], body(between)).block(64);
        for seed in 0..12 {
            let mut buffers = [vec![0; 256], source.clone()];
            let options = Options { sanitize: true, seed, ..Options::default() };
            let outcome = kernel.outcome(args.to_vec(), &mut buffers, options);
            assert_eq!(outcome.findings, [], "seed {seed}, {between}");
            assert_eq!(words(&buffers[0]), want);
        }
    }
    let hasty = body("").replace(&wait("%smem", "0", "W"), "");
    let found = Hopper::new(&[POINTER, POINTER], hasty).block(64).kinds_any(&args, &[vec![0; 256], source]);
    assert!(found.contains(&FindingKind::AsyncInFlight), "{found:?}");
}

#[test]
fn nobody_arrives() {
    let body = format!("{}{}", init(2), wait("%smem", "0", "W"));
    let kernel = Hopper::new(&[POINTER], body);
    let mut buffers = [vec![0; 128]];
    let outcome = kernel.outcome(vec![Arg::buffer(0)], &mut buffers, Options::default());
    let [finding] = &outcome.findings[..] else { panic!("{:?}", outcome.findings) };
    assert_eq!(finding.kind, FindingKind::Deadlock);
    assert!(finding.message.contains("2 of 2 arrivals"), "{}", finding.message);
}

#[test]
fn relaxed_operations_order_what_is_behind_fences() {
    let kinds = |body: &str| {
        let body = body.to_string();
        Hopper::new(&[POINTER], body).block(64).kinds(&[Arg::buffer(0)], &[vec![0; 256]])
    };
    let arrive = "mbarrier.arrive.shared::cta";
    let relaxed = handover().replace(arrive, "mbarrier.arrive.relaxed.cta.shared::cta");
    assert_eq!(kinds(&relaxed), [FindingKind::Race]);
    let fenced = relaxed.replace("mbarrier.arrive", "fence.acq_rel.cta;\nmbarrier.arrive");
    assert_eq!(kinds(&fenced), []);
    let wait = "mbarrier.try_wait.parity";
    let relaxed = handover().replace(wait, "mbarrier.try_wait.parity.relaxed.cta");
    assert_eq!(kinds(&relaxed), [FindingKind::Race]);
    assert_eq!(kinds(&relaxed.replace("and.b32 %r4", "fence.acq_rel.cta;\nand.b32 %r4")), []);
}

#[test]
fn a_ring_without_waits_for_free_slots_overwrites_what_is_in_flight() {
    // Two loads into one place through one mbarrier: the second one may start when the first one was read.
    let turn = |number: u32, free: &str| {
        format!(
            "{free}@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%smem], 256;\n\
             @%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%smem+256], [%g0], 256, [%smem];\n{}",
            wait("%smem", &number.to_string(), &format!("W{number}"))
        )
    };
    let used = "ld.shared.b32 %r1, [%smem+256];\nbar.sync 0;\n";
    let body = |first: &str, free: &str| format!("{}{first}{}{STORE}", init(1), turn(1, free));
    let kinds = |body: String| {
        let buffers = [vec![0; 256], vec![1; 256]];
        Hopper::new(&[POINTER; 2], body).block(64).kinds(&[Arg::buffer(0), Arg::buffer(1)], &buffers)
    };
    let load = turn(0, "").replace("%g0", "%g1");
    assert_eq!(kinds(body(&load, used).replace("[%g0]", "[%g1]")), []);
    let hasty = load.replace(&wait("%smem", "0", "W0"), "");
    let found = kinds(body(&hasty, "mov.u32 %r1, 0;\n").replace("[%g0]", "[%g1]"));
    assert!(
        found.contains(&FindingKind::AsyncInFlight) && found.contains(&FindingKind::BarrierMisuse),
        "{found:?}"
    );
}

#[test]
fn more_bytes_than_are_expected_end_a_phase_too_soon() {
    let body = format!(
        "{}@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%smem], 128;\n\
         @%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%smem+256], [%g0], 256, [%smem];\n{}",
        init(1),
        wait("%smem", "0", "W")
    );
    let kinds = |body: &str| {
        let body = body.to_string();
        Hopper::new(&[POINTER], body).block(64).kinds(&[Arg::buffer(0)], &[vec![0; 256]])
    };
    assert_eq!(kinds(&body.replace("128;", "256;")), []);
    assert!(kinds(&body).contains(&FindingKind::BarrierMisuse));
}

#[test]
fn a_trace_ends_where_nobody_can_go_on() {
    let body = format!("{}{}", init(3), wait("%smem", "0", "W"));
    let kernel = Hopper::new(&[POINTER], body).block(256);
    let options =
        Options { trace: true, timeout: Some(std::time::Duration::from_secs(20)), ..Options::default() };
    let outcome = kernel.outcome(vec![Arg::buffer(0)], &mut [vec![0; 256]], options);
    let kinds: Vec<_> = outcome.findings.iter().map(|f| f.kind).collect();
    assert_eq!(kinds, [FindingKind::Deadlock]);
}

#[test]
fn a_ring_goes_round_in_any_order() {
    // Warp 0 writes, warps 1 and 2 read: full at 0 and 8 (32 arrivals), empty at 16 and 24 (a lane of each reader), slots from 64 on.
    let body = format!(
        "setp.eq.u32 %p1, %t, 0;\nand.b32 %r9, %t, 31;\nsetp.eq.u32 %p2, %r9, 0;\nsetp.eq.u32 %p3, %w, 0;\n\
         @%p1 mbarrier.init.shared::cta.b64 [%smem], 32;\n@%p1 mbarrier.init.shared::cta.b64 [%smem+8], 32;\n\
         @%p1 mbarrier.init.shared::cta.b64 [%smem+16], 2;\n@%p1 mbarrier.init.shared::cta.b64 [%smem+24], 2;\nbar.sync 0;\n\
         mov.b32 %r1, 0;\nmov.b32 %r2, 0;\n\
         NEXT: and.b32 %r3, %r2, 1;\nshl.b32 %r4, %r3, 3;\nadd.u32 %r4, %r4, %smem;\nadd.u32 %r5, %r4, 16;\nshr.u32 %r6, %r2, 1;\n\
         and.b32 %r6, %r6, 1;\nxor.b32 %r7, %r6, 1;\nshl.b32 %r8, %r3, 7;\nadd.u32 %r8, %r8, %smem;\nmad.lo.u32 %r8, %r9, 4, %r8;\n\
         @!%p3 bra READ;\n{}mad.lo.u32 %r10, %r2, 100, %r9;\nst.shared.b32 [%r8+64], %r10;\nmbarrier.arrive.shared::cta.b64 _, [%r4];\nbra ON;\n\
         READ:\n{}ld.shared.b32 %r10, [%r8+64];\nadd.u32 %r1, %r1, %r10;\nbar.warp.sync -1;\n\
         @%p2 mbarrier.arrive.shared::cta.b64 _, [%r5];\n\
         ON: add.u32 %r2, %r2, 1;\nsetp.lt.u32 %p4, %r2, 6;\n@%p4 bra NEXT;\n{STORE}",
        wait("%r5", "%r7", "A"),
        wait("%r4", "%r6", "B")
    );
    let kernel = Hopper::new(&[POINTER], body).block(96);
    let want: Vec<u32> = (0..96).map(|t| if t < 32 { 0 } else { 1500 + 6 * (t % 32) }).collect();
    for seed in 0..40 {
        let mut buffers = [vec![0; 384]];
        let options = Options { sanitize: true, seed, ..Options::default() };
        let outcome = kernel.outcome(vec![Arg::buffer(0)], &mut buffers, options);
        assert_eq!(outcome.findings, [], "seed {seed}");
        assert_eq!(words(&buffers[0]), want, "seed {seed}");
    }
}

#[test]
fn a_relaxed_wait_tells_phases_apart_and_orders_nothing() {
    let arrive = "mbarrier.arrive.shared::cta.b64 _, [%smem];\n";
    let relaxed = |text: String| text.replace("try_wait.parity", "try_wait.parity.relaxed.cta");
    let (first, second) = (wait("%smem", "0", "W0"), wait("%smem", "1", "W1"));
    let kinds = |body: &str| {
        let body = format!("{}{body}", init(64));
        Hopper::new(&[POINTER], body).block(64).kinds(&[Arg::buffer(0)], &[vec![0; 256]])
    };
    let first = relaxed(first);
    assert_eq!(kinds(&format!("{arrive}{first}{arrive}{second}")), []);
    assert_eq!(kinds(&format!("{arrive}{first}{arrive}{}", relaxed(second.clone()))), []);
    // One warp waits for all.
    let one = "setp.gt.u32 %p1, %t, 31;\n@%p1 bra MET;\n";
    assert_eq!(kinds(&format!("{arrive}{one}{first}MET:\nbar.sync 0;\n{arrive}{second}")), []);
    // Data that the others wrote before the first phase is no better ordered than it was.
    let (write, read) = (
        "shl.b32 %r4, %t, 2;\nadd.u32 %r5, %smem, %r4;\nst.shared.b32 [%r5+64], %t;\n",
        "xor.b32 %r4, %r4, 128;\nadd.u32 %r5, %smem, %r4;\nld.shared.b32 %r6, [%r5+64];\n",
    );
    assert_eq!(kinds(&format!("{write}{arrive}{first}{read}")), [FindingKind::Race]);
    assert_eq!(kinds(&format!("{write}{arrive}{}{read}", wait("%smem", "0", "W0"))), []);
}

#[test]
fn a_trace_wakes_whom_it_lets_go_on() {
    // Debug builds check that nobody is put on a list that a trace never reads. The warp that reaches the barrier last waits first.
    let body = format!(
        "{}@%p2 bra READ;\nmbarrier.arrive.shared::cta.b64 _, [%smem];\nbra DONE;\nREAD:\n{}DONE:\n",
        init(32),
        wait("%smem", "0", "W")
    );
    let kernel = Hopper::new(&[POINTER], body).block(64);
    let mut buffers = [vec![0; 256]];
    let options = Options { trace: true, ..Options::default() };
    let outcome = kernel.outcome(vec![Arg::buffer(0)], &mut buffers, options);
    assert_eq!(outcome.findings, []);
}
