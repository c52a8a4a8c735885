//! Blocks that go from tile to tile, and those that share the steps of tiles (stream-K).

use crate::program::Program;
use crate::{holds, mnk, synchronisation};
use tilewright_runtime::executor::Options;

const GEMM: &str = include_str!("../../../dsl_examples/gemm.tw");
const BATCHED: &str = include_str!("../../../dsl_examples/batched_gemm.tw");

/// Two outputs, two captures.
const FUSED: &str = "fn e(x, i, j) using bias: f32[N] = x + bias[j];
    kernel p(a: f16[M, K], b: f16[N, K], r: f16[M, N], out c: f16[M, N], out d: f32[M, N]) {
         tune BM in {64}, BN in {64}, BK in {32};
         grid i over M by BM, j over N by BN;
         let mut acc: f32[i, j] = 0;
         for k over K by BK { acc += a[i, k] @ b[j, k].T; }
         let y = e(acc, i, j);
         c[i, j] = (y + r[i, j] as f32) as f16;
         d[i, j] = y;
    }";

/// One block for everything, a few that go on, and more than there are tiles.
const SMS: [u32; 5] = [1, 2, 3, 7, 108];

#[test]
fn blocks_share_steps_whatever_their_number() {
    let sets = "BM=64,BN=64,BK=32,k.split=stream,k.stages=3";
    for (text, kernel) in [(GEMM, "gemm"), (FUSED, "p")] {
        let mut program = Program::compile(text, kernel, sets);
        assert!(program.compiled.meta.schedule_text().contains("k.split = stream;"));
        for sms in SMS {
            program.sms = Some(sms);
            // Few steps and many tiles, one tile of many steps, no steps, no tiles.
            for (m, n, k) in [(130, 200, 96), (9, 17, 600), (72, 80, 0), (0, 8, 8)] {
                holds(&program, &format!("{kernel}, {sms} SMs"), &mnk(m, n, k), sms == 3 || k == 600);
            }
        }
    }
}

#[test]
fn blocks_take_tile_after_tile() {
    for (given, printed) in [("static", "static"), ("true", "static"), ("dynamic", "dynamic")] {
        let mut program = Program::compile(GEMM, "gemm", &format!("BM=64,BN=64,BK=32,persistent={given}"));
        let schedule = program.compiled.meta.schedule_text();
        assert!(schedule.contains(&format!("persistent = {printed};")), "{schedule}");
        assert_eq!(program.compiled.meta.launches[0].workspace.is_some(), given == "dynamic");
        for sms in SMS {
            program.sms = Some(sms);
            for (m, n, k) in [(130, 200, 96), (72, 80, 0), (0, 8, 8)] {
                holds(&program, &format!("{sms} SMs"), &mnk(m, n, k), sms == 2);
            }
        }
    }
}

/// Elementwise work, and a row that several warps hold.
#[test]
fn rows_too_are_taken_one_after_another() {
    let programs = [
        ("vector_add", include_str!("../../../dsl_examples/vector_add.tw"), vec![("N", 9000)]),
        ("softmax", include_str!("../../../dsl_examples/softmax.tw"), vec![("R", 9), ("C", 300)]),
    ];
    for (kernel, text, dims) in programs {
        for persistent in ["static", "dynamic"] {
            let mut program = Program::compile(text, kernel, &format!("warps=4,persistent={persistent}"));
            for sms in [1, 2, 108] {
                program.sms = Some(sms);
                holds(&program, &format!("{kernel} {persistent}, {sms} SMs"), &dims, true);
            }
        }
    }
}

#[test]
fn batches_and_two_blocks_per_sm() {
    for sets in
        ["k.split=stream,occupancy=2", "persistent=true,occupancy=2", "persistent=dynamic,occupancy=2"]
    {
        let sets = format!("BM=64,BN=64,BK=32,{sets}");
        let mut program = Program::compile(BATCHED, "batched_gemm", &sets);
        program.sms = Some(2);
        holds(&program, &sets, &[("B", 3), ("M", 70), ("N", 66), ("K", 130)], true);
    }
}

#[test]
fn the_grid_is_what_the_gpu_holds() {
    let mut program = Program::compile(GEMM, "gemm", "BM=64,BN=64,BK=32,k.split=stream");
    for (sms, blocks) in [(2, 2), (108, 12)] {
        program.sms = Some(sms);
        // Four tiles of three steps.
        let run = program.run("wide", &mnk(128, 128, 96), Options::default()).expect("all is aligned");
        assert_eq!(run.blocks, blocks, "{sms} SMs");
    }
}

#[test]
fn the_order_of_warps_and_blocks_changes_no_bit() {
    let mut program = Program::compile(GEMM, "gemm", "BM=64,BN=64,BK=32,k.split=stream");
    program.sms = Some(5);
    let bits = |seed| {
        let options = Options { seed, ..Options::default() };
        program.run("wide", &mnk(128, 136, 416), options).expect("all is aligned").written
    };
    let first = bits(0);
    for seed in 1..6 {
        assert!(bits(seed) == first, "seed {seed}");
    }
}

/// Without barriers of their own in the body, items follow each other as closely as they can.
#[test]
fn a_draw_is_told_behind_a_barrier() {
    let text = include_str!("../../../dsl_examples/vector_add.tw");
    let mut program = Program::compile(text, "vector_add", "warps=4,persistent=dynamic");
    program.sms = Some(2);
    let ptx = program.compiled.ptx.clone();
    let lines = synchronisation(&ptx, "vector_add_wide");
    assert_eq!(lines.len(), 1, "between telling and hearing, and nowhere else");
    let kept = ptx.lines().enumerate().map(|(n, l)| if n == lines[0] { "" } else { l });
    let broken = kept.collect::<Vec<_>>().join("\n");
    let options = Options { sanitize: true, ..Options::default() };
    let run = program.run_text(&broken, "wide", &[("N", 16384)], options).expect("all is aligned");
    assert!(!run.findings.is_empty());
}

#[test]
fn a_barrier_or_wait_less_is_seen() {
    for (sets, variant) in [
        ("k.split=stream", "wide"),
        ("k.split=stream", "any"),
        ("persistent=true", "wide"),
        ("persistent=dynamic", "wide"),
        ("persistent=dynamic", "any"),
    ] {
        let mut program = Program::compile(GEMM, "gemm", &format!("BM=64,BN=64,BK=32,k.stages=3,{sets}"));
        program.sms = Some(2);
        let ptx = program.compiled.ptx.clone();
        let lines = synchronisation(&ptx, &format!("gemm_{variant}"));
        for line in lines {
            let kept = ptx.lines().enumerate().map(|(n, l)| if n == line { "" } else { l });
            let broken = kept.collect::<Vec<_>>().join("\n");
            let options = Options { sanitize: true, ..Options::default() };
            let run =
                program.run_text(&broken, variant, &mnk(64, 192, 288), options).expect("all is aligned");
            assert!(
                !run.findings.is_empty(),
                "{sets} {variant}: without line {} nothing was found",
                line + 1
            );
        }
    }
}
