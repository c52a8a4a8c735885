//! A unit test of a kernel that somebody wrote by hand, in plain `cargo test`: no GPU, no CUDA.
//!
//! `cargo test --example test_a_kernel` runs it. The kernel sums the squares of its input: each block a part by shuffles and shared memory, all
//! blocks together by an atomic. The test says three things that a run on a GPU does not: the sum is right for every order of warps that was
//! tried, nothing races, and removing the barrier *is* found.

#[cfg(test)]
use tilewright_runtime::executor::FindingKind;
use tilewright_runtime::executor::{Arg, Launch, Options, Outcome, run};

const PTX: &str = r"
.version 8.0
.target sm_80
.address_size 64

.visible .entry sum_of_squares(.param .u64 x, .param .u32 n, .param .u64 sum)
{
    .reg .pred %p<3>;
    .reg .b32 %r<12>;
    .reg .f32 %f<6>;
    .reg .b64 %rd<6>;
    .shared .align 4 .b8 parts[16];

    ld.param.u64 %rd0, [x];
    ld.param.u32 %r0, [n];
    ld.param.u64 %rd1, [sum];
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r2, %ntid.x;
    mov.u32 %r3, %tid.x;
    mad.lo.u32 %r4, %r1, %r2, %r3;
    mov.f32 %f0, 0f00000000;
    setp.ge.u32 %p0, %r4, %r0;
    @%p0 bra LOADED;
    mul.wide.u32 %rd2, %r4, 4;
    add.u64 %rd2, %rd0, %rd2;
    ld.global.f32 %f0, [%rd2];
    mul.f32 %f0, %f0, %f0;
LOADED:
    mov.u32 %r5, 16;
FOLD:
    shfl.sync.bfly.b32 %f1, %f0, %r5, 31, -1;
    add.f32 %f0, %f0, %f1;
    shr.u32 %r5, %r5, 1;
    setp.ne.u32 %p1, %r5, 0;
    @%p1 bra FOLD;
    // One lane of each of the four warps leaves its part.
    mov.u32 %r6, parts;
    shr.u32 %r7, %r3, 5;
    shl.b32 %r7, %r7, 2;
    add.u32 %r8, %r6, %r7;
    and.b32 %r9, %r3, 31;
    setp.eq.u32 %p1, %r9, 0;
    @%p1 st.shared.f32 [%r8], %f0;
    bar.sync 0;
    setp.ne.u32 %p2, %r3, 0;
    @%p2 bra DONE;
    ld.shared.v4.f32 {%f1, %f2, %f3, %f4}, [%r6];
    add.f32 %f1, %f1, %f2;
    add.f32 %f3, %f3, %f4;
    add.f32 %f1, %f1, %f3;
    red.global.add.f32 [%rd1], %f1;
DONE:
    ret;
}
";

/// The sum of squares of `x`, by the kernel.
fn sum_of_squares(ptx: &str, x: &[f32], options: Options) -> (f32, Outcome) {
    let mut buffers = vec![x.iter().flat_map(|v| v.to_le_bytes()).collect(), vec![0; 4]];
    let outcome = run(Launch {
        ptx,
        entry: "sum_of_squares",
        grid: [x.len().div_ceil(128) as u32, 1, 1],
        block: [128, 1, 1],
        cluster: [1, 1, 1],
        shared_bytes: 0,
        args: vec![Arg::buffer(0), Arg::i32(x.len() as i32), Arg::buffer(1)],
        buffers: &mut buffers,
        options,
    })
    .expect("the kernel can be launched");
    (f32::from_le_bytes([buffers[1][0], buffers[1][1], buffers[1][2], buffers[1][3]]), outcome)
}

fn main() {
    let x: Vec<f32> = (1..=1000).map(|v| v as f32).collect();
    let (sum, outcome) = sum_of_squares(PTX, &x, Options { sanitize: true, ..Options::default() });
    println!("the sum of the squares of 1 to 1000 is {sum}; {} findings", outcome.findings.len());
    let broken = PTX.replace("bar.sync 0;", "");
    for finding in sum_of_squares(&broken, &x, Options { sanitize: true, ..Options::default() }).1.findings {
        println!("without the barrier: {finding}");
    }
}

#[test]
fn the_sum_is_right_in_any_order_and_nothing_races() {
    // Whole numbers below 2^24, so that f32 sums them exactly in every order.
    let x: Vec<f32> = (0..300).map(|v| (v % 7) as f32).collect();
    let want: f32 = x.iter().map(|v| v * v).sum();
    for seed in 0..5 {
        let options = Options { sanitize: true, seed, ..Options::default() };
        let (sum, outcome) = sum_of_squares(PTX, &x, options);
        assert_eq!(outcome.findings, []);
        assert_eq!(sum, want, "seed {seed}");
    }
}

#[test]
fn the_barrier_is_needed() {
    let options = Options { sanitize: true, ..Options::default() };
    let (_, outcome) = sum_of_squares(&PTX.replace("bar.sync 0;", ""), &[1.0; 128], options);
    let kinds: Vec<FindingKind> = outcome.findings.iter().map(|f| f.kind).collect();
    assert!(kinds.iter().any(|k| matches!(k, FindingKind::Race | FindingKind::Uninitialized)), "{kinds:?}");
}
