//! Divergence and reconvergence, loops, jump tables, barriers, deadlocks, and what is refused before the launch.

use std::time::Duration;

use super::super::{ExecError, FindingKind, Options};
use super::Kernel;

fn lanes(f: impl Fn(u32) -> u32) -> Vec<u32> {
    (0..32).map(f).collect()
}

#[test]
fn lanes_that_part_meet_again() {
    let body = "and.b32 %r1, %t, 1;\nsetp.eq.u32 %p1, %r1, 0;\n@%p1 bra EVEN;\nadd.s32 %d, %t, 100;\nbra JOIN;\n\
                EVEN: add.s32 %d, %t, 200;\nJOIN: activemask.b32 %r2;\nsetp.ne.s32 %p2, %r2, -1;\n@%p2 mov.b32 %d, 0;";
    assert_eq!(Kernel::new(body).run(&[]), lanes(|l| l + if l % 2 == 0 { 200 } else { 100 }));
}

#[test]
fn loops_with_a_trip_count_per_lane() {
    let body = "mov.b32 %r1, 0;\nLOOP: setp.ge.u32 %p1, %r1, %t;\n@%p1 bra DONE;\nadd.s32 %r1, %r1, 1;\nadd.s32 %d, %d, %r1;\n\
                bra LOOP;\nDONE: activemask.b32 %r2;\nsetp.ne.s32 %p2, %r2, -1;\n@%p2 mov.b32 %d, 777;";
    assert_eq!(Kernel::new(body).run(&[]), lanes(|l| l * (l + 1) / 2));
}

#[test]
fn jump_tables() {
    let body = "and.b32 %r1, %t, 3;\nTABLE: .branchtargets B0, B1, B2, B3;\nbrx.idx %r1, TABLE;\nB0: mov.b32 %d, 10;\nbra JOIN;\n\
                B1: mov.b32 %d, 11;\nbra JOIN;\nB2: mov.b32 %d, 12;\nbra JOIN;\nB3: mov.b32 %d, 13;\nJOIN:";
    assert_eq!(Kernel::new(body).run(&[]), lanes(|l| 10 + l % 4));
}

#[test]
fn segments_leave_lanes_alone_that_are_elsewhere() {
    // Registers of both widths and a predicate, changed in one half of the warp only.
    let body = "cvt.u64.u32 %rd5, %t;\nsetp.lt.u32 %p3, %t, 64;\nsetp.lt.u32 %p1, %t, 16;\n@%p1 bra SKIP;\n\
                add.s64 %rd5, %rd5, 1000;\nadd.s32 %d, %d, 5;\nsetp.gt.u32 %p3, %t, 64;\n\
                SKIP: cvt.u32.u64 %r1, %rd5;\nadd.s32 %d, %d, %r1;\n@%p3 add.s32 %d, %d, 7;";
    assert_eq!(Kernel::new(body).run(&[]), lanes(|l| if l < 16 { l + 7 } else { l + 1005 }));
}

#[test]
fn barriers_wait_for_all_that_are_left() {
    // Warp 1 leaves at once; warps 0 and 2 still meet.
    let body = "shr.u32 %r1, %t, 5;\nsetp.eq.u32 %p1, %r1, 1;\n@%p1 ret;\nmov.u32 %r2, cell;\nsetp.eq.u32 %p2, %t, 64;\n\
                @%p2 st.shared.b32 [%r2], 42;\nbar.sync 0;\nld.shared.b32 %d, [%r2];";
    let kernel = Kernel::new(body).module(".shared .align 4 .b8 cell[4];").block(96);
    for seed in 0..4 {
        let kernel = Kernel {
            options: Options { seed, sanitize: true, ..kernel.options.clone() },
            ..Kernel::new(body)
        };
        let kernel = kernel.module(".shared .align 4 .b8 cell[4];").block(96);
        let out = kernel.run(&[]);
        assert!(out[..32].iter().chain(&out[64..]).all(|&v| v == 42), "{out:?}");
    }
}

#[test]
fn named_barriers_between_a_producer_and_a_consumer() {
    let body = "shr.u32 %r1, %t, 5;\nmov.u32 %r2, cell;\nsetp.eq.u32 %p1, %r1, 1;\n@%p1 bra CONSUMER;\nst.shared.b32 [%r2], 9;\n\
                bar.arrive 3, 64;\nbra DONE;\nCONSUMER: bar.sync 3, 64;\nld.shared.b32 %d, [%r2];\nDONE:";
    let kernel = Kernel::new(body).module(".shared .align 4 .b8 cell[4];").block(64).sanitized();
    // All lanes of warp 0 store the same word: that is no race between warps.
    assert_eq!(kernel.run(&[])[32..], [9; 32]);
}

#[test]
fn barrier_reductions() {
    let body = "setp.lt.u32 %p1, %t, 40;\nbar.red.popc.u32 %d, 0, %p1;";
    assert_eq!(Kernel::new(body).block(64).run(&[]), vec![40; 64]);
}

#[test]
fn a_deadlock_is_reported_with_everybody_who_waits() {
    let body =
        "setp.lt.u32 %p1, %t, 32;\n@%p1 bra ONE;\nbar.sync 1, 64;\nbra DONE;\nONE: bar.sync 2, 64;\nDONE:";
    let kernel = Kernel::new(body).block(64);
    let (_, outcome) = kernel.try_run(&[]).expect("it starts");
    assert_eq!(outcome.findings.len(), 1);
    let finding = &outcome.findings[0];
    assert_eq!(finding.kind, FindingKind::Deadlock);
    let (first, second) = (kernel.line("bar.sync 2"), kernel.line("bar.sync 1"));
    assert!(finding.message.contains(&format!("barrier 2, PTX line {first}")), "{}", finding.message);
    assert!(finding.message.contains(&format!("barrier 1, PTX line {second}")), "{}", finding.message);
}

#[test]
fn misuse_of_barriers() {
    let kernel = Kernel::new("bar.sync 16;");
    assert_eq!(kernel.findings(), [(FindingKind::BarrierMisuse, kernel.line("bar.sync"), None)]);
    let kernel = Kernel::new("bar.sync 1, 33;");
    assert_eq!(kernel.findings()[0].0, FindingKind::BarrierMisuse);
}

#[test]
fn aligned_instructions_want_the_whole_warp() {
    let kernel = Kernel::new(
        "setp.lt.u32 %p1, %t, 16;\n@%p1 bra SKIP;\nbar.sync 0;\nbra DONE;\nSKIP: bar.sync 0;\nDONE:",
    );
    assert_eq!(kernel.findings()[0].0, FindingKind::Divergence);
}

#[test]
fn an_endless_loop_runs_into_the_time_limit() {
    let mut kernel = Kernel::new("LOOP: add.s32 %d, %d, 1;\nbra LOOP;");
    kernel.options.timeout = Some(Duration::from_millis(50));
    assert_eq!(kernel.findings()[0].0, FindingKind::Timeout);
}

#[test]
fn a_trap_is_a_finding() {
    let kernel = Kernel::new("setp.eq.u32 %p1, %t, 3;\n@%p1 trap;");
    assert_eq!(kernel.findings(), [(FindingKind::Trap, kernel.line("trap"), None)]);
}

#[test]
fn warps_that_spin_let_others_run() {
    let body = "shr.u32 %r1, %t, 5;\nmov.u32 %r2, flag;\nsetp.eq.u32 %p1, %r1, 1;\n@%p1 bra SETTER;\n\
                SPIN: atom.shared.add.u32 %r3, [%r2], 0;\nsetp.ne.u32 %p2, %r3, 5;\n@%p2 bra SPIN;\nmov.b32 %d, %r3;\nbra DONE;\n\
                SETTER: atom.shared.exch.b32 %r4, [%r2], 5;\nmov.b32 %d, 1;\nDONE:";
    let out = Kernel::new(body).module(".shared .align 4 .b8 flag[4];").block(64).run(&[]);
    assert_eq!(out[..32], [5; 32]);
}

#[test]
fn lanes_that_spin_let_lanes_of_their_own_warp_run() {
    let body = "mov.u32 %r2, flag;\nsetp.ge.u32 %p1, %t, 16;\n@%p1 bra SETTER;\n\
                SPIN: ld.volatile.shared.u32 %r3, [%r2];\nsetp.ne.u32 %p2, %r3, 5;\n@%p2 bra SPIN;\nmov.b32 %d, %r3;\nbra DONE;\n\
                SETTER: st.volatile.shared.b32 [%r2], 5;\nmov.b32 %d, 1;\nDONE:";
    let out = Kernel::new(body).module(".shared .align 4 .b8 flag[4];").run(&[]);
    assert_eq!((out[0], out[31]), (5, 1));
}

#[test]
fn what_cannot_be_run_is_refused_before_the_launch() {
    let kernel = Kernel::new("add.s32 %d, %a, %b;\nalloca.u64 %rd1, %rd2;");
    let error = kernel.try_run(&[]).expect_err("it is refused");
    assert_eq!(error.line(), Some(kernel.line("alloca")), "{error}");
    assert!(error.to_string().contains("alloca.u64"), "{error}");
    let kernel = Kernel { block: 1056, ..Kernel::new("") };
    assert!(matches!(kernel.try_run(&[]), Err(ExecError::BadLaunch(_))));
}

/// Any number may stand anywhere: the answer may be nonsense, an error or a finding, but never a panic.
#[test]
fn hostile_numbers_break_nothing() {
    let body = "mov.u32 %r1, buf;\nshl.b32 %r2, %t, 4;\nadd.s32 %r1, %r1, %r2;\nst.shared.v4.b32 [%r1+0], {%a, %b, %c, %t};\n\
                bar.sync 0, 32;\nld.shared.v2.b32 {%r3, %r4}, [%r1+8];\nbfe.u32 %r5, %a, 4, 8;\nbfe.s32 %r5, %a, %r5, 8;\n\
                bfi.b32 %r6, %a, %b, 8, 4;\nprmt.b32 %r7, %a, %b, 21520;\nshf.l.wrap.b32 %r8, %a, %b, 7;\nshl.b32 %r9, %a, 5;\n\
                shr.s64 %rd9, %rd1, 5;\ndiv.s32 %r10, %a, 7;\nrem.u32 %r11, %r10, 3;\nshfl.sync.bfly.b32 %r12, %t, 5, 31, -1;\n\
                shfl.sync.idx.b32 %r12, %t, 5, 31, -1;\nvote.sync.ballot.b32 %r13, 1, -1;\nredux.sync.add.s32 %r14, %t, -1;\n\
                cp.async.ca.shared.global [%r1+0], [%in+0], 4, 4;\ncp.async.commit_group;\ncp.async.wait_group 0;\n\
                atom.shared.inc.u32 %r15, [buf+16], 9;\natom.global.cas.b32 %r16, [%in+0], 1, 2;\nand.b32 %r17, %t, 1;\n\
                TABLE: .branchtargets B0, B1;\nbrx.idx %r17, TABLE;\nB0: add.s32 %d, %d, 1;\nB1: bar.red.popc.u32 %r18, 0, %p1;\n\
                mul24.lo.s32 %r19, %a, 9;\nlop3.b32 %r20, %a, %b, %c, 30;\nbar.warp.sync -1;";
    let bytes = body.as_bytes();
    let is_number =
        |i: usize| bytes[i].is_ascii_digit() && i > 0 && matches!(bytes[i - 1], b' ' | b'+' | b'-');
    let mut tried = 0;
    for start in (0..bytes.len()).filter(|&i| is_number(i)) {
        let end = (start..bytes.len()).find(|&i| !bytes[i].is_ascii_digit()).unwrap_or(bytes.len());
        for number in [
            "0",
            "1",
            "31",
            "33",
            "64",
            "255",
            "256",
            "2147483647",
            "2147483648",
            "4294967295",
            "9223372036854775807",
        ] {
            let changed = format!("{}{number}{}", &body[..start], &body[end..]);
            for sanitize in [false, true] {
                let mut kernel = Kernel::new(&changed).module(".shared .align 16 .b8 buf[512];");
                kernel.options.sanitize = sanitize;
                kernel.options.timeout = Some(Duration::from_secs(5));
                let _ = kernel.try_run(&[]);
                tried += 1;
            }
        }
    }
    assert!(tried > 500, "{tried}");
}

/// Loops that no unconditional branch closes: lanes part at the branch back, or it goes through a table.
#[test]
fn the_time_limit_ends_every_kind_of_loop() {
    let part = "AGAIN: add.u32 %d, %d, 1; xor.b32 %r1, %d, %t; and.b32 %r1, %r1, 1; setp.eq.u32 %p1, %r1, 0;\n\
                @%p1 bra AGAIN;\n@!%p1 bra AGAIN;";
    let table = "TABLE: .branchtargets AGAIN, OTHER;\nAGAIN: add.u32 %d, %d, 1; and.b32 %r1, %t, 1;\nOTHER: brx.idx %r1, TABLE;";
    let barriers = "AGAIN: barrier.cluster.arrive;\nbarrier.cluster.wait;\nbra AGAIN;";
    for (body, threads) in [(part, 64), (table, 64), (barriers, 32)] {
        let mut kernel = Kernel::new(body).block(threads);
        kernel.options.timeout = Some(std::time::Duration::from_millis(200));
        let kinds: Vec<_> = kernel.findings().into_iter().map(|f| f.0).collect();
        assert_eq!(kinds, [FindingKind::Timeout], "{body}");
    }
}

#[test]
fn a_guarded_jump_table_is_for_some_lanes() {
    let body = "TABLE: .branchtargets ONE, TWO;\nand.b32 %r1, %t, 1; setp.lt.u32 %p1, %t, 10; mov.b32 %d, 7;\n\
                @%p1 brx.idx %r1, TABLE;\nadd.u32 %d, %d, 100; bra END;\nONE: mov.b32 %d, 1; bra END;\nTWO: mov.b32 %d, 2;\nEND:";
    for (t, got) in Kernel::new(body).run(&[]).into_iter().enumerate() {
        assert_eq!(got, if t >= 10 { 107 } else { 1 + t as u32 % 2 }, "lane {t}");
    }
}

#[test]
fn a_member_mask_names_who_takes_part() {
    let kinds = |body: &str| {
        let kernel = Kernel::new(body).sanitized();
        kernel.findings().into_iter().map(|f| f.0).collect::<Vec<_>>()
    };
    let half = "setp.lt.u32 %p1, %t, 16;\n";
    let shuffle = "shfl.sync.bfly.b32 %d, %t, 1, 31, -1;";
    assert_eq!(kinds(&format!("{half}{shuffle}")), []);
    assert_eq!(kinds(&format!("{half}@%p1 {shuffle}")), [FindingKind::Divergence], "half of them are off");
    assert_eq!(
        kinds(&format!("{half}@%p1 bra OVER;\n{}\nOVER:", shuffle.replace("-1", "0xffff"))),
        [FindingKind::Divergence],
        "not in the mask"
    );
    // Each half by itself, at one place, and lanes that have left.
    let own = "selp.b32 %r1, 0xffff, 0xffff0000, %p1;\nshfl.sync.bfly.b32 %d, %t, 1, 31, %r1;";
    assert_eq!(kinds(&format!("{half}{own}")), []);
    assert_eq!(kinds(&format!("{half}@%p1 exit;\n{shuffle}")), []);
}

#[test]
fn groups_of_lanes_that_name_different_members_are_apart() {
    // Tiles of 8 lanes, as cooperative groups make them; lanes with equal `a` in a tile are a group of their own.
    let tiles = "and.b32 %r1, %t, 24;\nmov.b32 %r2, 255;\nshl.b32 %r2, %r2, %r1;\nsetp.gt.u32 %p1, %b, 40;\n";
    let input: Vec<[u32; 3]> = (0..32).map(|i| [i * i % 3, i * 37 % 64, 0]).collect();
    let (a, b) = (|l: u32| l * l % 3, |l: u32| l * 37 % 64);
    let tile = |l: u32| (l & 24)..(l & 24) + 8;
    let bits = |l: u32, f: &dyn Fn(u32) -> bool| tile(l).filter(|&m| f(m)).fold(0, |all, m| all | 1 << m);
    let run = |body: &str| Kernel::new(&format!("{tiles}{body}")).sanitized().run(&input);
    assert_eq!(run("vote.sync.ballot.b32 %d, %p1, %r2;"), lanes(|l| bits(l, &|m| b(m) > 40)));
    assert_eq!(
        run("vote.sync.any.pred %p2, %p1, %r2;\nselp.b32 %d, 1, 0, %p2;"),
        lanes(|l| tile(l).any(|m| b(m) > 40).into())
    );
    assert_eq!(run("match.any.sync.b32 %d, %a, %r2;"), lanes(|l| bits(l, &|m| a(m) == a(l))));
    assert_eq!(
        run("match.any.sync.b32 %r3, %a, %r2;\nredux.sync.add.s32 %d, %b, %r3;"),
        lanes(|l| tile(l).filter(|&m| a(m) == a(l)).map(b).sum())
    );
    assert_eq!(run("elect.sync %d|%p2, %r2;"), lanes(|l| l & 24));
    // A tile that is complete goes on while another still waits for lanes of its own.
    let late = "setp.eq.u32 %p2, %t, 3;\n@%p2 bra LATE;\nMEET: vote.sync.ballot.b32 %d, %p1, %r2;\nbra DONE;\n\
                LATE: add.u32 %r5, %t, 1;\nbra MEET;\nDONE:";
    assert_eq!(run(late), lanes(|l| bits(l, &|m| b(m) > 40)));
}

#[test]
fn lanes_come_back_to_a_barrier_by_a_loop() {
    // One lane looks again on its way back, behind the barrier where the others are already.
    let body = "mov.u32 %r1, 0;\nsetp.ne.u32 %p3, %t, 0;\n\
                L: setp.lt.u32 %p1, %r1, 3;\nbarrier.cta.red.or.aligned.pred %p2, 0, %p1;\n@!%p2 bra DONE;\nadd.u32 %d, %d, 1;\n\
                @%p3 bra L;\nld.acquire.gpu.global.b32 %r2, [%rd1];\nadd.u32 %r1, %r1, 1;\nbra L;\nDONE:";
    let body = body.replace("setp.lt.u32 %p1, %r1, 3;", "setp.lt.u32 %p1, %r1, 3;\nand.pred %p1, %p1, %p4;");
    let body = format!("setp.eq.u32 %p4, %t, 0;\n{body}");
    assert_eq!(Kernel::new(&body).block(64).run(&[]), [3; 64]);
    assert_eq!(Kernel::new(&body).block(64).sanitized().run(&[]), [3; 64]);
    // Lanes that could come back and leave instead.
    let never = "setp.lt.u32 %p1, %t, 16;\nL: add.u32 %d, %d, 1;\n@!%p1 bra NEXT;\nbar.sync 0;\nNEXT: setp.lt.u32 %p2, %d, 3;\n@%p2 bra L;";
    let kernel = Kernel::new(never).block(32);
    let kinds: Vec<_> = kernel.findings().into_iter().map(|f| (f.0, f.1)).collect();
    assert_eq!(kinds, [(FindingKind::Divergence, kernel.line("bar.sync"))]);
}

#[test]
fn clocks_go_on() {
    let body = "mov.u32 %r1, %clock;\nmov.u64 %rd5, %clock64;\nmov.u64 %rd6, %globaltimer;\n\
                L: mov.u32 %r2, %clock;\nsub.u32 %r3, %r2, %r1;\nmov.u64 %rd7, %globaltimer;\nsub.u64 %rd8, %rd7, %rd6;\nmov.u64 %rd9, %clock64;\n\
                setp.lt.u32 %p1, %r3, 1000;\nsetp.lt.or.u64 %p1, %rd8, 1000, %p1;\nsetp.le.or.u64 %p1, %rd9, %rd5, %p1;\n@%p1 bra L;\nmov.b32 %d, 1;";
    assert_eq!(Kernel::new(body).run(&[]), [1; 32]);
}

#[test]
fn lanes_that_never_come_back_to_a_barrier_are_named_when_the_time_is_up() {
    // One lane waits for what the others write behind the barrier where they wait for it.
    let body = "mov.u32 %r1, 0;\nmov.u64 %rd1, %out;\nst.relaxed.gpu.global.b32 [%out], 0;\nmov.u32 %r5, %t;\nsetp.eq.u32 %p1, %t, 0;\n\
                L: bar.sync 0;\nadd.u32 %r1, %r1, 1;\nsetp.ge.u32 %p2, %r1, 3;\n@%p2 bra OUT;\n@!%p1 bra L;\n\
                S: ld.relaxed.gpu.global.b32 %r2, [%rd1];\nsetp.eq.u32 %p3, %r2, 0;\n@%p3 bra S;\nbra L;\nOUT: st.relaxed.gpu.global.b32 [%out], 1;";
    for sanitize in [false, true] {
        let mut kernel = Kernel::new(body).block(64);
        kernel.options.sanitize = sanitize;
        kernel.options.timeout = Some(Duration::from_millis(200));
        let kinds: Vec<_> = kernel.findings().into_iter().map(|f| (f.0, f.1)).collect();
        assert!(kinds.contains(&(FindingKind::Divergence, kernel.line("bar.sync"))), "{kinds:?}");
        assert!(kinds.iter().any(|(kind, _)| *kind == FindingKind::Timeout), "{kinds:?}");
    }
}
