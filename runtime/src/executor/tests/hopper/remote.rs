//! `st.async` and `red.async` between the blocks of a cluster.

use super::super::super::{Arg, FindingKind};
use super::{Hopper, POINTER, drain, wait, words};

const MEET: &str = "barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;\n";

/// Each block clears 512 bytes and expects `bytes`; `send` goes to the block of rank `%r5` at `%r6`, whose mbarrier is `%r7`; then everybody waits and shows
/// what came.
fn exchange(bytes: u32, send: &str) -> String {
    format!(
        "mov.u32 %r1, %cluster_ctarank;\nmov.u32 %r2, %cluster_nctarank;\nmov.u32 %r4, %ctaid.x;\n\
         mov.b32 %r8, 0;\nmad.lo.u32 %r9, %t, 16, %smem;\nst.shared.v4.b32 [%r9+64], {{%r8, %r8, %r8, %r8}};\n\
         setp.eq.u32 %p1, %t, 0;\n@%p1 mbarrier.init.shared::cta.b64 [%smem], 1;\n@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%smem], {bytes};\n\
         fence.mbarrier_init.release.cluster;\n{MEET}\
         add.u32 %r5, %r1, 1;\nrem.u32 %r5, %r5, %r2;\nmapa.shared::cluster.u32 %r6, %smem, %r5;\nmov.u32 %r7, %r6;\n{send}{}\
         mad.wide.u32 %rd6, %r4, 512, %g0;\nmov.b64 %g0, %rd6;\n{}{MEET}",
        wait("%smem", "0", "W"),
        drain(0, 64, 512, 32)
    )
}

fn run(body: String, blocks: u32) -> Vec<u32> {
    let kernel = Hopper::new(&[POINTER], body).clusters(blocks, blocks);
    words(&kernel.run(&[Arg::buffer(0)], &[vec![0; 512 * blocks as usize]])[0])
}

#[test]
fn registers_arrive_at_the_next_block() {
    for (form, width, values) in [
        ("b32", 1, "%r10"),
        ("v2.b32", 2, "{%r10, %r11}"),
        ("v4.u32", 4, "{%r10, %r11, %r12, %r13}"),
        ("b64", 2, "%rd8"),
        ("v2.u64", 4, "{%rd8, %rd9}"),
    ] {
        let send = format!(
            "mad.lo.u32 %r10, %r4, 1000, %t;\nadd.u32 %r11, %r10, 100;\nadd.u32 %r12, %r10, 200;\nadd.u32 %r13, %r10, 300;\n\
             mov.b64 %rd8, {{%r10, %r11}};\nmov.b64 %rd9, {{%r12, %r13}};\nmad.lo.u32 %r6, %t, {}, %r6;\n\
             st.async.shared::cluster.mbarrier::complete_tx::bytes.{form} [%r6+64], {values}, [%r7];\n",
            4 * width
        );
        let got = run(exchange(128 * width, &send), 3);
        let mut want = vec![0; 3 * 128];
        for (block, want) in want.chunks_exact_mut(128).enumerate() {
            let from = (block as u32 + 2) % 3;
            for (i, word) in want[..32 * width as usize].iter_mut().enumerate() {
                let (t, part) = (i as u32 / width, i as u32 % width);
                *word = from * 1000 + t + 100 * part;
            }
        }
        assert_eq!(got, want, "{form}");
    }
}

#[test]
fn reductions_combine_what_all_send() {
    let ops: [(&str, fn(u32, u32) -> u32); 8] = [
        ("add.u32", u32::wrapping_add),
        ("add.s32", u32::wrapping_add),
        ("min.u32", u32::min),
        ("max.s32", |a, b| (a as i32).max(b as i32) as u32),
        ("or.b32", |a, b| a | b),
        ("xor.b32", |a, b| a ^ b),
        ("and.b32", |a, b| a & b),
        ("inc.u32", |a, b| if a >= b { 0 } else { a + 1 }),
    ];
    for (op, model) in ops {
        // All lanes of both blocks to the same place of block 0.
        let send = format!(
            "mov.u32 %r5, 0;\nmapa.shared::cluster.u32 %r6, %smem, %r5;\nmad.lo.u32 %r10, %r4, 32, %t;\nadd.u32 %r10, %r10, 100;\n\
             red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.{op} [%r6+64], %r10, [%r6];\n\
             setp.ne.u32 %p2, %r1, 0;\n@%p2 bra LAST;\n"
        );
        let body = exchange(256, &send);
        // Only block 0 waits; the other one has nothing to expect.
        let body =
            body.replace(MEET, "CUT").replacen("CUT", MEET, 1).replace("CUT", &format!("LAST:\n{MEET}"));
        let body = body.replace(", 256;\nfence", ", %r15;\nfence").replacen(
            "setp.eq.u32 %p1, %t, 0;",
            "setp.eq.u32 %p1, %r1, 0;\nselp.b32 %r15, 256, 0, %p1;\nsetp.eq.u32 %p1, %t, 0;",
            1,
        );
        let got = run(body, 2);
        let want = (0..64).fold(0, |sum, i| model(sum, 100 + i));
        if op.starts_with("inc") {
            // Its result depends on the order.
            assert!(got[0] <= 64, "{op}: {}", got[0]);
        } else {
            assert_eq!(got[0], want, "{op}");
        }
        assert!(got[1..].iter().all(|&word| word == 0), "{op}");
    }
}

#[test]
fn what_is_sent_must_be_waited_for() {
    let send = "mad.lo.u32 %r6, %t, 4, %r6;\nst.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [%r6+64], %t, [%r7];\n";
    let body = exchange(128, send).replace(&wait("%smem", "0", "W"), "");
    let kernel = Hopper::new(&[POINTER], body).clusters(2, 2);
    let found = kernel.kinds_any(&[Arg::buffer(0)], &[vec![0; 1024]]);
    assert!(found.contains(&FindingKind::AsyncInFlight), "{found:?}");
    // Two stores to one place race; two reductions do not (above).
    let clash = send.replace("mad.lo.u32 %r6, %t, 4, %r6;\n", "");
    let kernel = Hopper::new(&[POINTER], exchange(128, &clash)).clusters(2, 2);
    let found = kernel.kinds_any(&[Arg::buffer(0)], &[vec![0; 1024]]);
    assert!(found.contains(&FindingKind::AsyncInFlight), "{found:?}");
}
