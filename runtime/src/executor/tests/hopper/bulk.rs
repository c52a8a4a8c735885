//! `cp.async.bulk` of plain bytes: loads, stores, reductions, groups.

use super::super::super::{Arg, FindingKind};
use super::{Hopper, POINTER, drain, fill, pattern, wait};

const BYTES: u32 = 512;

fn load() -> String {
    format!(
        "setp.eq.u32 %p1, %t, 0;\n@%p1 mbarrier.init.shared::cta.b64 [%smem], 1;\nbar.sync 0;\n\
         @%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%smem], {BYTES};\n\
         @%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%smem+1024], [%g0], {BYTES}, [%smem];\n{}{}",
        wait("%smem", "0", "W"),
        drain(1, 1024, BYTES, 64)
    )
}

fn buffers() -> Vec<Vec<u8>> {
    vec![pattern(BYTES as usize, 1), vec![0xee; BYTES as usize]]
}

const ARGS: [Arg; 2] = [Arg::Buffer { buffer: 0, offset: 0 }, Arg::Buffer { buffer: 1, offset: 0 }];

#[test]
fn a_load_brings_bytes_and_completes_them() {
    let out = Hopper::new(&[POINTER, POINTER], load()).block(64).run(&ARGS, &buffers());
    assert_eq!(out[1], out[0]);
}

#[test]
fn a_load_must_be_waited_for() {
    let hasty = load().replace(&wait("%smem", "0", "W"), "");
    let kinds = Hopper::new(&[POINTER, POINTER], hasty).block(64).kinds_any(&ARGS, &buffers());
    assert!(
        kinds.iter().any(|k| matches!(k, FindingKind::AsyncInFlight | FindingKind::Uninitialized)),
        "{kinds:?}"
    );
}

#[test]
fn a_phase_must_expect_all_that_comes() {
    // The same bytes in two copies, and a phase that expects both, or one of them.
    let half = |at: u32| {
        format!(
            "@%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%smem+{}], [%g0+{at}], {}, [%smem];\n",
            1024 + at,
            BYTES / 2
        )
    };
    let whole = format!(
        "@%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%smem+1024], [%g0], {BYTES}, [%smem];\n"
    );
    let both = load().replace(&whole, &(half(0) + &half(BYTES / 2)));
    let kernel = |body: String| Hopper::new(&[POINTER, POINTER], body).block(64);
    assert_eq!(kernel(both.clone()).run(&ARGS, &buffers())[1], buffers()[0]);
    let few = both.replace(&format!("_, [%smem], {BYTES};"), &format!("_, [%smem], {};", BYTES / 2));
    let kinds = kernel(few).kinds_any(&ARGS, &buffers());
    assert!(kinds.contains(&FindingKind::AsyncInFlight), "{kinds:?}");
    assert!(kinds.contains(&FindingKind::BarrierMisuse), "{kinds:?}");
}

#[test]
fn operands_are_checked() {
    let kinds = |from: &str, to: &str| {
        let body = load().replace(from, to);
        Hopper::new(&[POINTER, POINTER], body).block(64).kinds(&ARGS, &buffers())
    };
    assert_eq!(kinds("[%smem+1024], [%g0]", "[%smem+1032], [%g0]"), [FindingKind::Misaligned]);
    assert_eq!(kinds("[%smem+1024], [%g0]", "[%smem+1024], [%g0+8]"), [FindingKind::Misaligned]);
    assert_eq!(kinds("[%smem+1024], [%g0]", "[%smem+16384], [%g0]"), [FindingKind::OutOfBounds]);
    assert_eq!(kinds("[%smem+1024], [%g0]", "[%smem+1024], [%g0+16]"), [FindingKind::OutOfBounds]);
    assert_eq!(kinds("[%g0], 512, [%smem]", "[%g0], 512, [%smem+8]"), [FindingKind::BarrierMisuse]);
    assert_eq!(kinds("[%g0], 512, [%smem]", "[%g0], 256, [%smem]"), [FindingKind::Deadlock]);
}

fn store(op: &str) -> String {
    format!(
        "setp.eq.u32 %p1, %t, 0;\n{}fence.proxy.async.shared::cta;\nbar.sync 0;\n@!%p1 bra OVER;\n{op} [%g1], [%smem], {BYTES};\n\
         cp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;\nOVER:\nbar.sync 0;\nst.shared.b32 [%smem+2048], %t;\n",
        fill(0, 0, BYTES, 64)
    )
    .replace("st.shared.b32 [%smem+2048], %t;", "mad.lo.u32 %r9, %t, 4, %smem;\nst.shared.b32 [%r9], %t;")
}

const PLAIN: &str = "cp.async.bulk.global.shared::cta.bulk_group";

#[test]
fn a_store_takes_bytes() {
    let out = Hopper::new(&[POINTER, POINTER], store(PLAIN)).block(64).run(&ARGS, &buffers());
    assert_eq!(out[1], out[0]);
}

#[test]
fn a_store_needs_a_fence_and_its_source_a_wait() {
    let kinds = |body: String| Hopper::new(&[POINTER, POINTER], body).block(64).kinds(&ARGS, &buffers());
    assert_eq!(
        kinds(store(PLAIN).replace("fence.proxy.async.shared::cta;\n", "")),
        [FindingKind::ProxyFence]
    );
    let hasty = store(PLAIN).replacen("bar.sync 0;\n@!%p1", "@!%p1", 1);
    let found = Hopper::new(&[POINTER, POINTER], hasty).block(64).kinds_any(&ARGS, &buffers());
    assert!(found.contains(&FindingKind::Race), "{found:?}");
    // Overwritten and left behind without a wait.
    assert_eq!(kinds(store(PLAIN).replace("wait_group 0", "wait_group 1")), [FindingKind::AsyncInFlight]);
    assert_eq!(
        kinds(store(PLAIN).replace("cp.async.bulk.commit_group;\n", "")),
        [FindingKind::AsyncInFlight]
    );
    assert_eq!(kinds(store(PLAIN).replace("wait_group 0", "wait_group.read 0")), []);
}

#[test]
fn reductions_combine_elements() {
    let run = |op: &str| {
        let name = format!("cp.reduce.async.bulk.global.shared::cta.bulk_group.{op}");
        let old: Vec<u8> = pattern(BYTES as usize, 9).iter().map(|b| b & 0x3f).collect();
        let new: Vec<u8> = pattern(BYTES as usize, 4).iter().map(|b| b & 0x3f).collect();
        let out =
            Hopper::new(&[POINTER, POINTER], store(&name)).block(64).run(&ARGS, &[new.clone(), old.clone()]);
        (old, new, out[1].clone())
    };
    let elementwise = |op: &str, f: fn(u32, u32) -> u32| {
        let (old, new, out) = run(op);
        let want: Vec<u32> =
            super::words(&old).into_iter().zip(super::words(&new)).map(|(a, b)| f(a, b)).collect();
        assert_eq!(super::words(&out), want, "{op}");
    };
    elementwise("add.u32", u32::wrapping_add);
    elementwise("min.s32", |a, b| (a as i32).min(b as i32) as u32);
    elementwise("max.u32", u32::max);
    elementwise("xor.b32", |a, b| a ^ b);
    elementwise("add.f32", |a, b| (f32::from_bits(a) + f32::from_bits(b)).to_bits());
    elementwise("add.noftz.f16", |a, b| {
        let half = |x: u32, y: u32| {
            half::f16::from_bits(x as u16).to_f32() + half::f16::from_bits(y as u16).to_f32()
        };
        let bits = |x: f32| u32::from(half::f16::from_f32(x).to_bits());
        bits(half(a, b)) | bits(half(a >> 16, b >> 16)) << 16
    });
}

#[test]
fn a_block_does_not_end_while_something_is_on_its_way_to_it() {
    let careless = load().split("W:").next().unwrap_or_default().to_string();
    let kinds = Hopper::new(&[POINTER, POINTER], careless).block(64).kinds(&ARGS, &buffers());
    assert_eq!(kinds, [FindingKind::AsyncInFlight]);
}
