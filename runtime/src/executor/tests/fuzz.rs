//! Mutated PTX: whatever it says, the answer is an outcome or an error, never a panic, a hang or an access outside of the buffers.
//!
//! Each mutant is one program of the corpus with a few edits: lines dropped, doubled or swapped, numbers replaced by awkward ones,
//! words replaced by words of other lines, bytes changed. `cargo xtask fuzz` runs many (`TILEWRIGHT_MUTANTS`, `TILEWRIGHT_SEED`);
//! the ordinary test runs a few.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::super::{Arg, Launch, Options, run};

const HEAD: &str = ".version 8.8
.target sm_90a
.address_size 64
.extern .func (.param .b32 r) vprintf (.param .b64 f, .param .b64 a);
.func (.param .b32 r) twice (.param .b32 x) { .reg .b32 %r1; ld.param.b32 %r1, [x]; add.u32 %r1, %r1, %r1; st.param.b32 [r], %r1; ret; }
.func (.reg .u32 s) more (.reg .u32 a) { call (s), twice, (a); add.u32 s, s, 1; ret; }
.global .align 16 .b8 gv[256] = {37, 100, 10, 0};
.shared .align 128 .b8 sv[1024];
.const .align 16 .b8 cv[256];
.visible .entry k(.param .u64 p, .param .u64 q)
{
.reg .b32 %r<128>; .reg .b64 %rd<40>; .reg .f32 %f<128>; .reg .f64 %fd<40>; .reg .b16 %h<40>; .reg .pred %p<8>; .reg .b128 %q<4>;
.local .align 16 .b8 depot[64];
TABLE: .branchtargets L, M;
ld.param.u64 %rd1, [p];
ld.param.u64 %rd2, [q];
cvta.to.global.u64 %rd1, %rd1;
mov.u32 %r1, %tid.x;
mov.u32 %r9, sv;
setp.lt.u32 %p1, %r1, 20;
mov.u32 %r2, 3;
";

const TAIL: &str = "
L:
st.global.u32 [%rd2], %r1;
M:
ret;
}
";

/// Bodies with loops, divergence, barriers, asynchronous copies, matrices, calls.
const BODIES: &[&str] = &[
    "mov.u32 %r3, 0;\nLOOP:\nadd.u32 %r3, %r3, 1;\nsetp.lt.u32 %p2, %r3, 10;\n@%p2 bra LOOP;\n@%p1 bra L;\nbrx.idx %r2, TABLE;",
    "call (%r3), more, (%r1);\n@%p1 call (%r4), twice, (%r3);\nmov.u64 %rd3, gv;\nmov.u64 %rd4, depot;\ncvta.local.u64 %rd4, %rd4;\nst.local.u32 [depot], %r1;\ncall (%r5), vprintf, (%rd3, %rd4);",
    "shl.b32 %r3, %r1, 4;\nadd.u32 %r3, %r3, %r9;\nmad.wide.u32 %rd3, %r1, 16, %rd1;\ncp.async.cg.shared.global [%r3], [%rd3], 16, %r2;\ncp.async.commit_group;\ncp.async.wait_group 0;\nbar.sync 0;\nldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r10, %r11, %r12, %r13}, [%r3];\nmma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f0, %f1, %f2, %f3}, {%r10, %r11, %r12, %r13}, {%r10, %r11}, {%f0, %f1, %f2, %f3};",
    "setp.eq.u32 %p3, %r1, 0;\n@%p3 mbarrier.init.shared::cta.b64 [%r9], 1;\nbar.sync 0;\nadd.u32 %r8, %r9, 128;\n@%p3 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r9], 64;\n@%p3 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r8], [%rd1], 64, [%r9];\nWAIT:\nmbarrier.try_wait.parity.shared::cta.b64 %p2, [%r9], 0;\n@!%p2 bra WAIT;\nld.shared.v4.u32 {%r10, %r11, %r12, %r13}, [%r8];",
    "mov.b64 %rd5, 0x4000004000010000;\nwgmma.fence.sync.aligned;\nwgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%f0, %f1, %f2, %f3}, %rd5, %rd5, %p1, 1, -1, 0, 1;\nwgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\nshfl.sync.bfly.b32 %r3|%p2, %r1, 16, 31, -1;\nvote.sync.ballot.b32 %r4, %p1, -1;\nredux.sync.add.s32 %r5, %r3, -1;\nelect.sync %r6|%p4, -1;",
    "add.cc.u32 %r3, %r1, %r2;\nmadc.hi.cc.u32 %r4, %r1, %r2, %r3;\nred.global.add.v4.f32 [%rd1], {%f1, %f2, %f3, %f4};\natom.global.add.noftz.v2.bf16x2 {%r5, %r6}, [%rd1], {%r5, %r6};\natom.shared.cas.b32 %r7, [%r9], %r1, %r2;\ncvt.rm.f16.f32 %h1, %f1;\nfma.rp.f64 %fd1, %fd2, %fd3, %fd4;\nfns.b32 %r3, %r1, %r2, %r4;\nszext.wrap.s32 %r3, %r1, %r2;\nbfi.b64 %rd6, %rd5, %rd4, %r1, %r2;",
    "cp.async.bulk.tensor.2d.shared::cta.global.mbarrier::complete_tx::bytes [%r9], [%rd1, {%r2, %r3}], [%r9];\ntensormap.replace.tile.box_dim.shared::cta.b1024.b32 [%r9], 1, %r1;\ncp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;\nbarrier.cluster.arrive;\nbarrier.cluster.wait;\nmapa.shared::cluster.u32 %r7, %r9, 0;\nld.shared::cluster.u32 %r7, [%r7];",
];

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) as usize % n.max(1)
    }
}

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "31",
    "32",
    "33",
    "64",
    "127",
    "128",
    "255",
    "256",
    "4095",
    "65536",
    "2147483647",
    "-2147483648",
    "4294967295",
    "0x7fffffffffffffff",
    "0xffffffffffffffff",
    "-9223372036854775808",
    "3.5",
    "0f7F800000",
    "1048576",
    "7",
    "15",
    "17",
];

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || "%_.:$".contains(c)
}

/// The words of a line, as ranges.
fn words(line: &str) -> Vec<std::ops::Range<usize>> {
    let mut out = Vec::new();
    let mut start = None;
    for (at, c) in line.char_indices().chain([(line.len(), ' ')]) {
        match (is_word(c), start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                out.push(from..at);
                start = None;
            }
            _ => {}
        }
    }
    out
}

fn mutate(text: &str, rng: &mut Rng) -> String {
    let mut lines: Vec<String> = text.lines().map(String::from).collect();
    for _ in 0..1 + rng.below(4) {
        let at = rng.below(lines.len());
        let found = words(&lines[at]);
        match rng.below(9) {
            0 => {
                lines.remove(at);
            }
            1 => {
                let line = lines[at].clone();
                lines.insert(rng.below(lines.len()), line);
            }
            2 => {
                let other = rng.below(lines.len());
                lines.swap(at, other);
            }
            3..=5 if !found.is_empty() => {
                // A number, or a word of another line.
                let range = found[rng.below(found.len())].clone();
                let other = lines[rng.below(lines.len())].clone();
                let kind = |word: &str| word.trim_end_matches(|c: char| c.is_ascii_digit()).to_string();
                let mine = kind(&lines[at][range.clone()]);
                let alike = rng.below(4) > 0;
                let mut theirs = words(&other);
                theirs.retain(|range| !alike || kind(&other[range.clone()]) == mine);
                let number = lines[at][range.clone()].starts_with(|c: char| c.is_ascii_digit());
                let new = match theirs.len() {
                    n if n > 0 && !(number && rng.below(3) > 0) => {
                        other[theirs[rng.below(n)].clone()].to_string()
                    }
                    _ if number || !alike => NUMBERS[rng.below(NUMBERS.len())].to_string(),
                    _ => continue,
                };
                lines[at].replace_range(range, &new);
            }
            6 if !found.is_empty() => {
                // One modifier less, or one of another instruction.
                let range = found[0].clone();
                let parts: Vec<&str> = lines[at][range.clone()].split('.').collect();
                let drop = rng.below(parts.len());
                let kept: Vec<&str> =
                    parts.iter().enumerate().filter(|(i, _)| *i != drop).map(|(_, p)| *p).collect();
                let new = kept.join(".");
                lines[at].replace_range(range, &new);
            }
            7 if !found.is_empty() => {
                let range = found[rng.below(found.len())].clone();
                lines[at].replace_range(range, NUMBERS[rng.below(NUMBERS.len())]);
            }
            _ if !lines[at].is_empty() => {
                let byte = rng.below(lines[at].len());
                let new = char::from(b' ' + rng.below(95) as u8).to_string();
                if lines[at].is_char_boundary(byte) && lines[at].is_char_boundary(byte + 1) {
                    lines[at].replace_range(byte..byte + 1, &new);
                }
            }
            _ => {}
        }
        if lines.is_empty() {
            break;
        }
    }
    lines.join("\n")
}

#[test]
fn mutants_break_nothing() {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
    };
    let (count, seed) = (number("TILEWRIGHT_MUTANTS", 600), number("TILEWRIGHT_SEED", 1));
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut ran, mut refused) = (0u64, 0u64);
    for number in 0..count {
        let original = format!("{HEAD}{}{TAIL}", BODIES[number as usize % BODIES.len()]);
        let text = match number {
            n if n < BODIES.len() as u64 => original,
            _ if rng.below(4) == 0 => mutate(&original, &mut rng),
            _ => {
                // Declarations stay, bodies are mixed.
                let other = BODIES[rng.below(BODIES.len())];
                let body = BODIES[number as usize % BODIES.len()];
                let both = if rng.below(2) == 0 { format!("{body}\n{other}") } else { body.to_string() };
                format!("{HEAD}{}{TAIL}", mutate(&both, &mut rng))
            }
        };
        let mut buffers = [vec![1u8; 4096], vec![2u8; 512]];
        let options = Options {
            sanitize: rng.below(2) == 0,
            seed: rng.below(3) as u64,
            timeout: Some(Duration::from_millis(300)),
            threads: Some(1),
            ..Options::default()
        };
        let started = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| {
            run(Launch {
                ptx: &text,
                entry: "k",
                grid: [2, 1, 1],
                block: [128, 1, 1],
                cluster: [1; 3],
                shared_bytes: 2048,
                args: vec![Arg::buffer(0), Arg::buffer(1)],
                buffers: &mut buffers,
                options,
            })
        }));
        match result {
            Ok(Ok(_)) => ran += 1,
            Ok(Err(super::super::ExecError::Internal(message))) => {
                panic!("mutant {number} of seed {seed}: an internal error: {message}\n{text}")
            }
            Ok(Err(error)) => {
                refused += 1;
                assert!(number >= BODIES.len() as u64, "a program of the corpus is refused: {error}\n{text}");
            }
            Err(_) => panic!("mutant {number} of seed {seed} panics:\n{text}"),
        }
        let took = started.elapsed();
        assert!(took < Duration::from_secs(20), "mutant {number} of seed {seed} takes {took:?}:\n{text}");
    }
    eprintln!("{ran} mutants ran, {refused} were refused");
    assert!(count < 100 || ran > count / 10, "hardly any mutant runs: {ran} of {count}");
}
