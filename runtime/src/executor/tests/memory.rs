//! Loads, stores, atomics and their checks.

use super::super::{Arg, FindingKind, Launch, Options, run};
use super::Kernel;

#[test]
fn vectors_and_narrow_types() {
    let body = "mov.u32 %r1, buf;\nshl.b32 %r2, %t, 4;\nadd.s32 %r1, %r1, %r2;\nst.shared.v4.b32 [%r1], {%a, %b, %c, %t};\n\
                ld.shared.v2.b32 {%r3, %r4}, [%r1+8];\nld.shared.u8 %r5, [%r1+5];\nld.shared.s16 %r6, [%r1+2];\n\
                xor.b32 %d, %r3, %r4;\nxor.b32 %d, %d, %r5;\nxor.b32 %d, %d, %r6;";
    let input: Vec<[u32; 3]> =
        (0..32).map(|i: u32| [i.wrapping_mul(0x9e37_79b9), i << 13 | 0xabc, !i]).collect();
    let got = Kernel::new(body).module(".shared .align 16 .b8 buf[512];").sanitized().run(&input);
    for (lane, ([a, b, c], got)) in input.into_iter().zip(got).enumerate() {
        let want = c ^ lane as u32 ^ (b >> 8 & 0xff) ^ ((a as i32 >> 16) as u32);
        assert_eq!(got, want, "lane {lane}");
    }
}

#[test]
fn generic_addresses_local_memory_and_constants() {
    let body = "mov.u32 %r1, buf;\ncvt.u64.u32 %rd5, %r1;\ncvta.shared.u64 %rd5, %rd5;\nmul.wide.u32 %rd6, %t, 4;\n\
                add.s64 %rd5, %rd5, %rd6;\nst.b32 [%rd5], %t;\nld.b32 %r2, [%rd5];\n\
                .local .align 8 .b8 stack[16];\nmov.u64 %rd7, stack;\nst.local.b32 [%rd7+4], %r2;\nld.local.b32 %r3, [stack+4];\n\
                ld.const.b32 %r4, [table+8];\nadd.s32 %d, %r3, %r4;";
    let module = ".shared .align 4 .b8 buf[128];\n.const .align 4 .b32 table[3] = {1, 2, 1000};";
    assert_eq!(Kernel::new(body).module(module).run(&[]), (1000..1032).collect::<Vec<u32>>());
}

#[test]
fn module_variables_in_global_memory() {
    let body = "mov.u64 %rd5, counter;\natom.global.add.u32 %r1, [%rd5], 1;\nld.global.b32 %r2, [%rd5];\nadd.s32 %d, %r1, %r2;";
    let got = Kernel::new(body).module(".global .align 4 .u32 counter = 100;").run(&[]);
    assert_eq!(got, (100..132).map(|old| old + 132).collect::<Vec<u32>>());
}

#[test]
fn accesses_outside_of_a_buffer_are_found() {
    for (body, kind) in [
        ("ld.global.b32 %d, [%in+400];", FindingKind::OutOfBounds),
        ("ld.global.b32 %d, [%rd1+-4];", FindingKind::OutOfBounds),
        ("mov.u64 %rd5, 64;\nld.global.b32 %d, [%rd5];", FindingKind::OutOfBounds),
        ("mov.u64 %rd5, -4;\nst.global.b32 [%rd5], 1;", FindingKind::OutOfBounds),
        ("mov.u32 %r5, 4096;\nst.shared.b32 [%r5], 1;", FindingKind::OutOfBounds),
        ("ld.global.b32 %d, [%in+2];", FindingKind::Misaligned),
        ("st.param.b32 [p_in], 1;", FindingKind::OutOfBounds),
        ("cp.async.ca.shared.global [0], [%in], 4;", FindingKind::OutOfBounds),
    ] {
        let kernel = Kernel::new(body);
        match kernel.try_run(&[]) {
            Ok((_, outcome)) => {
                let kinds: Vec<_> = outcome.findings.iter().map(|f| f.kind).collect();
                assert_eq!(kinds, [kind], "{body}");
                let line = kernel.line(body.lines().last().expect("a line"));
                assert_eq!(outcome.findings[0].line, line, "{body}");
            }
            // The parser may know better than to let a parameter be stored into.
            Err(error) => assert!(body.contains("st.param"), "{body}: {error}"),
        }
    }
}

#[test]
fn an_inactive_lane_may_hold_any_address() {
    let body = "mov.u64 %rd5, -1;\nsetp.lt.u32 %p1, %t, 4;\nselp.b64 %rd6, %in, %rd5, %p1;\n@%p1 ld.global.b32 %d, [%rd6];";
    let input: Vec<[u32; 3]> = (0..32).map(|i| [i + 50, 0, 0]).collect();
    let got = Kernel::new(body).run(&input);
    assert_eq!(got, (0..32).map(|l| if l < 4 { l + 50 } else { 0 }).collect::<Vec<u32>>());
}

#[test]
fn blocks_add_into_one_word() {
    let text = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 p) {\n.reg .b64 %rd<2>;\n.reg .b32 %r<4>;\n\
                ld.param.u64 %rd1, [p];\nmov.u32 %r1, %ctaid.x;\nred.global.add.u32 [%rd1], %r1;\nret;\n}";
    for seed in [0, 3] {
        let mut buffers = [vec![0; 4]];
        let outcome = run(Launch {
            ptx: text,
            entry: "k",
            grid: [50, 1, 1],
            block: [32, 1, 1],
            cluster: [1; 3],
            shared_bytes: 0,
            args: vec![Arg::buffer(0)],
            buffers: &mut buffers,
            options: Options { seed, stats: true, ..Options::default() },
        })
        .expect("it runs");
        assert_eq!(buffers[0], (32 * 49 * 50 / 2u32).to_le_bytes());
        assert_eq!(outcome.stats.warp_instructions, 50 * 4);
        assert_eq!(outcome.stats.mix.get("red.global.add.u32"), Some(&50));
    }
}

#[test]
fn bank_conflicts_and_sectors_are_counted() {
    let body = "mov.u32 %r1, buf;\nshl.b32 %r2, %t, 7;\nadd.s32 %r1, %r1, %r2;\nst.shared.b32 [%r1], %t;";
    let mut kernel = Kernel::new(body).module(".shared .align 16 .b8 buf[4096];");
    kernel.options.stats = true;
    let (_, outcome) = kernel.try_run(&[]).expect("it runs");
    let shared: Vec<_> =
        outcome.stats.shared.iter().map(|m| (m.line, m.wavefronts, m.extra_wavefronts)).collect();
    assert_eq!(shared, [(kernel.line("st.shared"), 32, 31)]);
    let stores = outcome.stats.global.last().expect("the store of the results");
    assert_eq!((stores.requests, stores.sectors, stores.bytes), (1, 4, 128));
}

#[test]
fn matrices_load_and_store_in_their_fragment_layout() {
    // Row r of matrix j holds 8 halves with the values 64 j + 8 r + c; stored by plain words, read by ldmatrix, in both forms.
    let body = "mov.u32 %r1, buf;\nshl.b32 %r2, %t, 4;\nadd.s32 %r3, %r1, %r2;\nshl.b32 %r4, %t, 3;\nshl.b32 %r5, %r4, 16;\n\
                or.b32 %r5, %r5, %r4;\nadd.s32 %r6, %r5, 0x00010000;\nadd.s32 %r7, %r6, 0x00020002;\nadd.s32 %r8, %r7, 0x00020002;\n\
                add.s32 %r9, %r8, 0x00020002;\nst.shared.v4.b32 [%r3], {%r6, %r7, %r8, %r9};\nbar.sync 0;\n";
    let plain = format!("{body}ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%r11, %r12, %r13, %d}}, [%r3];");
    let turned =
        format!("{body}ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {{%r11, %d, %r13, %r14}}, [%r3];");
    let module = ".shared .align 16 .b8 buf[512];";
    let element = |j: u32, r: u32, c: u32| 64 * j + 8 * r + c;
    let got = Kernel::new(&plain).module(module).sanitized().run(&[]);
    let want: Vec<u32> =
        (0..32).map(|l| element(3, l / 4, 2 * (l % 4)) | element(3, l / 4, 2 * (l % 4) + 1) << 16).collect();
    assert_eq!(got, want);
    let got = Kernel::new(&turned).module(module).sanitized().run(&[]);
    let want: Vec<u32> =
        (0..32).map(|l| element(1, 2 * (l % 4), l / 4) | element(1, 2 * (l % 4) + 1, l / 4) << 16).collect();
    assert_eq!(got, want);
}

#[test]
fn vectors_of_atomics_update_each_element() {
    // Two words a lane: old values come back over the operands.
    let body = "mad.wide.u32 %rd9, %t, 8, %rd8; mov.b32 %f1, %a; mov.b32 %f2, %b;
        red.global.add.v2.f32 [%rd9], {%f1, %f2}; red.global.gpu.relaxed.add.v2.f32 [%rd9], {%f1, %f2};
        atom.global.add.v2.f32 {%f2, %f1}, [%rd9], {%f1, %f2}; mov.b32 %r1, %f2; mov.b32 %r2, %f1;
        xor.b32 %d, %r1, %r2; ld.global.v2.b32 {%r3, %r4}, [%rd9]; xor.b32 %d, %d, %r3; shl.b32 %r4, %r4, 1; xor.b32 %d, %d, %r4;";
    let body = format!("mov.u64 %rd8, cells; {body}");
    let input: Vec<[u32; 3]> =
        (0..32).map(|i| [(i as f32).to_bits(), (0.5 * i as f32).to_bits(), 0]).collect();
    let got = Kernel::new(&body).module(".global .align 8 .b8 cells[256];").run(&input);
    for ([a, b, _], got) in input.iter().zip(got) {
        let (a, b) = (f32::from_bits(*a), f32::from_bits(*b));
        let want =
            (2.0 * a).to_bits() ^ (2.0 * b).to_bits() ^ (3.0 * a).to_bits() ^ ((3.0 * b).to_bits() << 1);
        assert_eq!(got, want, "{a}");
    }
    let odd =
        Kernel::new("mov.u64 %rd8, cells; add.u64 %rd8, %rd8, 4; red.global.add.v2.f32 [%rd8], {%f1, %f2};")
            .module(".global .align 8 .b8 cells[256];");
    assert_eq!(odd.findings()[0].0, FindingKind::Misaligned);
    let halves = "mov.u64 %rd8, cells; mad.wide.u32 %rd8, %t, 8, %rd8; mov.b32 {%h1, %h2}, %a; mov.b32 {%h3, %h4}, %b;
        red.global.max.noftz.v4.f16 [%rd8], {%h1, %h2, %h3, %h4}; red.global.min.noftz.v2.bf16x2 [%rd8], {%c, %c};
        ld.global.v2.b32 {%r1, %r2}, [%rd8]; shl.b32 %r2, %r2, 1; xor.b32 %d, %r1, %r2;";
    let input: Vec<[u32; 3]> = (0..32).map(|i| [0x3c00_bc00 + i, 0x4000_7e00, 0x7f80_7f80]).collect();
    let got = Kernel::new(halves).module(".global .align 8 .b8 cells[256];").run(&input);
    for ([a, ..], got) in input.iter().zip(got) {
        // Against zeros: negative values and NaN lose; +infinity of bf16 changes nothing.
        assert_eq!(got, (a & 0xffff_0000) ^ (0x4000_0000 << 1), "{a:#x}");
    }
}

#[test]
fn modifiers_of_atomics_come_in_any_order() {
    // The last two are what libcu++ writes for `cuda::atomic_ref`.
    for name in [
        "atom.relaxed.gpu.global.add",
        "atom.global.gpu.relaxed.add",
        "atom.global.relaxed.gpu.add",
        "atom.add.relaxed.gpu.global",
        "atom.add.acq_rel.gpu",
    ] {
        let body = format!("{name}.u32 %r1, [%rd2], 3;\nbar.warp.sync -1;\nld.global.b32 %d, [%rd2];");
        let kernel = Kernel::new(&body).sanitized();
        let (out, _) = kernel.try_run(&[]).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(out[5], 0xeeee_eeee_u32.wrapping_add(96), "{name}");
    }
    let twice = "atom.relaxed.gpu.add.relaxed.u32 %r1, [%rd2], 3;";
    assert!(Kernel::new(twice).try_run(&[]).is_err());
}

#[test]
fn sums_in_global_memory_flush_subnormal_numbers() {
    let body = "mov.b32 %r1, 0x00000003;\nst.global.b32 [%out], 0x80000001;\natom.global.add.f32 %f1, [%out], 0f00000003;\nld.global.b32 %d, [%out];";
    assert_eq!(Kernel::new(body).run(&[]), [0; 32]);
    let shared = "mov.b32 %r1, s;\nst.shared.b32 [%r1], 0x00000001;\nbar.warp.sync -1;\nsetp.eq.u32 %p1, %t, 0;\n@%p1 atom.shared.add.f32 %f1, [%r1], 0f00000003;\nbar.warp.sync -1;\nld.shared.b32 %d, [%r1];";
    assert_eq!(Kernel::new(shared).module(".shared .b32 s;").run(&[]), [4; 32]);
}

#[test]
fn modifiers_come_in_any_order() {
    let body = "st.global.release.gpu.b32 [%out], %t;\nld.global.acquire.gpu.b32 %r1, [%out];\nld.gpu.relaxed.global.u32 %r2, [%out];\n\
                ld.global.volatile.b32 %r3, [%out];\nfence.gpu.acq_rel;\ncvt.f32.rn.u32 %f1, %t;\nadd.ftz.rn.f32 %f1, %f1, 0f3f800000;\n\
                cvt.u32.rzi.f32 %r4, %f1;\nsetp.f32.gt %p1, %f1, 0f00000000;\nshfl.bfly.sync.b32 %r5, %t, 1, 31, -1;\n\
                add.u32 %d, %r1, %r2;\nadd.u32 %d, %d, %r3;\nadd.u32 %d, %d, %r4;\nadd.u32 %d, %d, %r5;\n@!%p1 mov.b32 %d, 0;";
    let expected: Vec<u32> = (0..32).map(|t| 4 * t + 1 + (t ^ 1)).collect();
    assert_eq!(Kernel::new(body).run(&[]), expected);
    assert!(Kernel::new("ld.global.b32.wrong %d, [%out];").try_run(&[]).is_err());
    assert!(Kernel::new("add.f32.f32 %f1, %f1, %f1;").try_run(&[]).is_err());
}
