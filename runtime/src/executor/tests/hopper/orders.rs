//! Pairs: a clean kernel, and the same with one thing missing that orders it. The clean one is silent, the other one is found by its kind.

use super::super::super::{Arg, FindingKind};
use super::{Hopper, POINTER, drain, fill, pattern, wait};

const BAR: &str = "bar.sync 0;\n";

/// Runs `kernel` as it is, and with each of the replacements, which must give one of the kinds.
#[track_caller]
fn pairs(kernel: &Hopper, buffers: &[Vec<u8>], broken: &[(&str, &str, &[FindingKind])]) {
    let args: Vec<Arg> = (0..buffers.len()).map(Arg::buffer).collect();
    assert_eq!(kernel.kinds(&args, buffers), [], "clean\n{}", kernel.text());
    for (from, to, kinds) in broken {
        assert!(kernel.body.contains(from), "no {from:?} in\n{}", kernel.body);
        let body = kernel.body.replacen(from, to, 1);
        let kernel = Hopper { body, params: kernel.params.clone(), ..*kernel };
        let found = kernel.kinds_any(&args, buffers);
        assert!(found.iter().any(|k| kinds.contains(k)), "{found:?} without {from:?}\n{}", kernel.text());
    }
}

/// Thread 0 brings 256 bytes of `%g<param>` to `%smem + at`; everybody waits for the mbarrier at `%smem + 8192 + 8 * number`.
fn load(param: usize, at: u32, number: u32) -> String {
    let bar = 8192 + 8 * number;
    format!(
        "setp.ne.u32 %p0, %t, 0;\n@%p0 bra LOADED{number};\nmbarrier.arrive.expect_tx.shared::cta.b64 _, [%smem+{bar}], 256;\n\
         cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%smem+{at}], [%g{param}], 256, [%smem+{bar}];\n\
         LOADED{number}:\nadd.u32 %r500, %smem, {bar};\n{}",
        wait("%r500", "0", &format!("HERE{number}"))
    )
}

fn barriers(count: u32) -> String {
    let inits: String = (0..count)
        .map(|n| format!("@%p0 mbarrier.init.shared::cta.b64 [%smem+{}], 1;\n", 8192 + 8 * n))
        .collect();
    format!("setp.eq.u32 %p0, %t, 0;\n{inits}fence.mbarrier_init.release.cluster;\nbar.sync 0;\n")
        .replace("@!%p0", "@%p0")
}

#[test]
fn bulk_loads_of_what_the_kernel_wrote_need_a_proxy_fence() {
    // Every thread writes its word of buffer 0; thread 0 loads all of them back.
    let fence = "fence.proxy.async.global;\n";
    let body = format!(
        "{}mad.wide.u32 %rd0, %t, 4, %g0;\nst.global.b32 [%rd0], %t;\n{fence}{BAR}{}{}",
        barriers(1),
        load(0, 0, 0),
        drain(1, 0, 256, 64)
    );
    let kernel = Hopper::new(&[POINTER, POINTER], body).block(64);
    let missing: &[FindingKind] = &[FindingKind::ProxyFence];
    let ordered = format!("{fence}{BAR}");
    pairs(
        &kernel,
        &[vec![0; 256], vec![0; 256]],
        &[
            (fence, "", missing),
            (fence, "fence.proxy.async.shared::cta;\n", missing),
            (&ordered, fence, &[FindingKind::Race]),
        ],
    );
    // The reader's fence, behind the barrier, serves as well.
    let reader = kernel.body.replacen(&ordered, &format!("{BAR}{fence}"), 1);
    let kernel = Hopper { body: reader, ..Hopper::new(&[POINTER, POINTER], "") }.block(64);
    pairs(&kernel, &[vec![0; 256], vec![0; 256]], &[(fence, "", missing)]);
}

#[test]
fn what_bulk_stores_write_is_there_after_a_full_wait() {
    let (issue, finish) = (
        "setp.ne.u32 %p0, %t, 0;\n@%p0 bra STORED;\ncp.async.bulk.global.shared::cta.bulk_group [%g1], [%smem], 256;\n\
         cp.async.bulk.commit_group;\n",
        "cp.async.bulk.wait_group 0;\n",
    );
    let body = format!(
        "{}fence.proxy.async.shared::cta;\n{BAR}{issue}{finish}STORED:\n{BAR}mad.wide.u32 %rd0, %t, 4, %g1;\nld.global.b32 %r0, [%rd0];\n\
         mad.wide.u32 %rd1, %t, 4, %g2;\nst.global.b32 [%rd1], %r0;\n",
        fill(0, 0, 256, 64)
    );
    let kernel = Hopper::new(&[POINTER; 3], body).block(64);
    let in_flight: &[FindingKind] = &[FindingKind::AsyncInFlight];
    pairs(
        &kernel,
        &[pattern(256, 3), vec![0; 256], vec![0; 256]],
        &[
            (finish, "cp.async.bulk.wait_group.read 0;\n", in_flight),
            (finish, "", in_flight),
            ("STORED:\nbar.sync 0;\n", "STORED:\n", &[FindingKind::Race, FindingKind::AsyncInFlight]),
        ],
    );
}

#[test]
fn a_loaded_source_may_be_overwritten_after_the_wait() {
    let body = format!(
        "{}{}mad.wide.u32 %rd0, %t, 4, %g0;\nst.global.b32 [%rd0], %t;\n{}",
        barriers(1),
        load(0, 0, 0),
        drain(1, 0, 256, 64)
    );
    let kernel = Hopper::new(&[POINTER, POINTER], body).block(64);
    let hasty = wait("%r500", "0", "HERE0");
    let store = "mad.wide.u32 %rd0, %t, 4, %g0;\nst.global.b32 [%rd0], %t;\n";
    let (before, after) = (format!("{hasty}{store}"), format!("{store}{hasty}"));
    pairs(
        &kernel,
        &[pattern(256, 4), vec![0; 256]],
        &[(&before, &after, &[FindingKind::AsyncInFlight, FindingKind::Race])],
    );
}

#[test]
fn a_flag_between_blocks_needs_a_release_and_an_acquire() {
    // Block 0 writes buffer 0 and raises the flag in buffer 1; block 1 waits for it and copies to buffer 2.
    let body = "mov.u32 %r0, %ctaid.x;\nsetp.ne.u32 %p0, %r0, 0;\nmad.wide.u32 %rd0, %t, 4, %g0;\n@%p0 bra READER;\n\
                st.global.b32 [%rd0], %t;\nbar.sync 0;\nsetp.ne.u32 %p1, %t, 0;\n@%p1 bra DONE;\nfence.acq_rel.gpu;\n\
                st.relaxed.gpu.global.b32 [%g1], 1;\nbra DONE;\nREADER:\nsetp.ne.u32 %p1, %t, 0;\n@%p1 bra SEEN;\n\
                SPIN:\nld.relaxed.gpu.global.b32 %r1, [%g1];\nsetp.eq.u32 %p2, %r1, 0;\n@%p2 bra SPIN;\nfence.acq_rel.gpu;\n\
                SEEN:\nbar.sync 0;\nld.global.b32 %r2, [%rd0];\nmad.wide.u32 %rd1, %t, 4, %g2;\nst.global.b32 [%rd1], %r2;\nDONE:\n";
    let kernel = Hopper::new(&[POINTER; 3], body).block(64).clusters(2, 1);
    let race: &[FindingKind] = &[FindingKind::Race];
    let buffers = [vec![0; 256], vec![0; 16], vec![0; 256]];
    pairs(
        &kernel,
        &buffers,
        &[
            ("fence.acq_rel.gpu;\nst.relaxed", "st.relaxed", race),
            ("fence.acq_rel.gpu;\nst.relaxed", "fence.acq_rel.cta;\nst.relaxed", race),
            ("@%p2 bra SPIN;\nfence.acq_rel.gpu;\n", "@%p2 bra SPIN;\n", race),
            ("@%p0 bra READER;\nst.global", "@%p0 bra SEEN;\nst.global", race),
        ],
    );
    let acquiring = body.replacen("ld.relaxed", "ld.acquire", 1).replacen(
        "@%p2 bra SPIN;\nfence.acq_rel.gpu;\n",
        "@%p2 bra SPIN;\n",
        1,
    );
    let releasing = acquiring.replacen("fence.acq_rel.gpu;\nst.relaxed", "st.release", 1);
    let kernel = Hopper { body: releasing, ..Hopper::new(&[POINTER; 3], "") }.block(64).clusters(2, 1);
    pairs(&kernel, &buffers, &[("ld.acquire", "ld.relaxed", race), ("st.release", "st.relaxed", race)]);
}

#[test]
fn the_last_block_sums_what_all_have_written() {
    // Each of four blocks writes its part and counts itself; the last one adds the parts up.
    let body = "mov.u32 %r0, %ctaid.x;\nshl.b32 %r1, %r0, 5;\nadd.u32 %r1, %r1, %t;\nmad.wide.u32 %rd0, %r1, 4, %g0;\nst.global.b32 [%rd0], %r1;\n\
                membar.gl;\nbar.sync 0;\nsetp.ne.u32 %p0, %t, 0;\nmov.u32 %r2, 0;\n@%p0 bra COUNTED;\natom.global.add.u32 %r2, [%g1], 1;\n\
                st.shared.b32 [%smem], %r2;\nCOUNTED:\nbar.sync 0;\nld.shared.b32 %r3, [%smem];\nsetp.ne.u32 %p1, %r3, 3;\n@%p1 bra DONE;\n\
                membar.gl;\nmad.wide.u32 %rd1, %t, 4, %g0;\nld.global.b32 %r4, [%rd1];\nld.global.b32 %r5, [%rd1+128];\nld.global.b32 %r6, [%rd1+256];\n\
                ld.global.b32 %r7, [%rd1+384];\nadd.u32 %r4, %r4, %r5;\nadd.u32 %r6, %r6, %r7;\nadd.u32 %r4, %r4, %r6;\nmad.wide.u32 %rd2, %t, 4, %g2;\n\
                st.global.b32 [%rd2], %r4;\nDONE:\n";
    let kernel = Hopper::new(&[POINTER; 3], body).block(32).clusters(4, 1);
    let race: &[FindingKind] = &[FindingKind::Race];
    let buffers = [vec![0; 512], vec![0; 16], vec![0; 128]];
    pairs(
        &kernel,
        &buffers,
        &[
            ("membar.gl;\nbar.sync 0;\nsetp.ne", "bar.sync 0;\nsetp.ne", race),
            ("membar.gl;\nbar.sync 0;\nsetp.ne", "membar.cta;\nbar.sync 0;\nsetp.ne", race),
            (
                "atom.global.add.u32 %r2, [%g1], 1;",
                "ld.global.b32 %r2, [%g1];\nadd.u32 %r9, %r2, 1;\nst.global.b32 [%g1], %r9;",
                race,
            ),
        ],
    );
    // The atomic that counts, a barrier, and then the parts: what many kernels rely on is no finding.
    let common = body.replacen("@%p1 bra DONE;\nmembar.gl;\n", "@%p1 bra DONE;\n", 1);
    pairs(&Hopper { body: common, ..Hopper::new(&[POINTER; 3], "") }.block(32).clusters(4, 1), &buffers, &[]);
}

#[test]
fn fragments_are_loaded_after_a_barrier() {
    let body = format!(
        "{}shl.b32 %r0, %t, 4;\nxor.b32 %r0, %r0, 512;\nadd.u32 %r0, %r0, %smem;\nldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%r1, %r2, %r3, %r4}}, [%r0];\n\
         mad.wide.u32 %rd0, %t, 4, %g1;\nst.global.b32 [%rd0], %r1;\n",
        fill(0, 0, 1024, 64) + BAR
    );
    let kernel = Hopper::new(&[POINTER, POINTER], body).block(64);
    pairs(
        &kernel,
        &[pattern(1024, 1), vec![0; 256]],
        &[(BAR, "", &[FindingKind::Race, FindingKind::Uninitialized])],
    );
}

#[test]
fn a_barrier_for_more_threads_than_come_is_a_deadlock() {
    let body = "setp.ge.u32 %p0, %t, 64;\nmov.u32 %r0, 64;\n@%p0 bra REST;\nbarrier.sync 1, %r0;\nREST:\nbar.sync 0;\n";
    let kernel = Hopper::new(&[POINTER], body).block(96);
    let differs = "shl.b32 %r0, %w, 5;\nadd.u32 %r0, %r0, 64;\n";
    pairs(
        &kernel,
        &[vec![0; 16]],
        &[
            ("mov.u32 %r0, 64;\n", "mov.u32 %r0, 96;\n", &[FindingKind::Deadlock]),
            ("mov.u32 %r0, 64;\n", differs, &[FindingKind::BarrierMisuse]),
        ],
    );
}

#[test]
fn a_map_made_on_the_device_needs_its_fence() {
    // The map in buffer 0 is pointed at buffer 1 by thread 0, and used by it.
    let fence = "fence.proxy.tensormap::generic.acquire.gpu [%g0], 128;\n";
    let body = format!(
        "{}setp.ne.u32 %p1, %t, 0;\n@%p1 bra DONE;\ntensormap.replace.tile.global_address.global.b1024.b64 [%g0], %g1;\n{fence}\
         mov.u32 %r0, 0;\nmbarrier.arrive.expect_tx.shared::cta.b64 _, [%smem+8192], 256;\n\
         cp.async.bulk.tensor.1d.shared::cluster.global.mbarrier::complete_tx::bytes [%smem], [%g0, {{%r0}}], [%smem+8192];\n\
         add.u32 %r500, %smem, 8192;\n{}DONE:\n",
        barriers(1),
        wait("%r500", "0", "HERE")
    );
    let map = super::super::super::TensorMap {
        address: 0,
        ty: super::super::super::launch::ElementType::F32,
        rank: 1,
        dims: [64, 1, 1, 1, 1],
        strides: [4, 0, 0, 0, 0],
        boxes: [64, 1, 1, 1, 1],
        element_strides: [1; 5],
        swizzle: super::super::super::launch::Swizzle::None,
        interleave: 0,
        nan_fill: false,
        window: None,
    };
    let kernel = Hopper::new(&[POINTER, POINTER], body).block(32);
    pairs(&kernel, &[map.encode().to_vec(), pattern(256, 1)], &[(fence, "", &[FindingKind::ProxyFence])]);
}
