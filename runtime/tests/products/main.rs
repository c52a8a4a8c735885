//! Products in every operand order, type and batching on the executor: right by the evaluator's verdict for every shape and variant, silent
//! under the sanitizer, free of bank conflicts; and with any one barrier or wait taken out, not silent.

mod program;

use program::Program;
use tilewright_runtime::executor::Options;

const LAYOUTS: &str = include_str!("../../../dsl_examples/gemm_layouts.tw");
const ORDERS: [&str; 4] = ["gemm_nn", "gemm_nt", "gemm_tn", "gemm_tt"];
const VARIANTS: [&str; 3] = ["any", "mid", "wide"];

/// Every variant that may run: how many did.
fn holds(program: &Program, what: &str, dims: &[(&str, i64)], sanitize: bool) -> usize {
    let mut ran = 0;
    for variant in VARIANTS {
        let options = Options { sanitize, ..Options::default() };
        let Some(run) = program.run(variant, dims, options) else { continue };
        assert!(run.findings.is_empty(), "{what} {variant} {dims:?}: {:?}", run.findings);
        assert!(run.wrong.is_empty(), "{what} {variant} {dims:?}: {:?}", run.wrong);
        ran += 1;
    }
    ran
}

fn mnk(m: i64, n: i64, k: i64) -> [(&'static str, i64); 3] {
    [("M", m), ("N", n), ("K", k)]
}

/// Ragged, single, empty and unaligned; the multiples of 8 and 2 let the wider variants run.
const SHAPES: [(i64, i64, i64); 9] = [
    (1, 1, 1),
    (136, 144, 72),
    (128, 96, 200),
    (33, 205, 7),
    (6, 70, 50),
    (72, 64, 40),
    (8, 8, 0),
    (0, 8, 8),
    (65, 129, 33),
];

#[test]
fn every_order_of_every_shape_by_every_variant() {
    for kernel in ORDERS {
        let program = Program::compile(LAYOUTS, kernel, "BM=64,BN=64,BK=32");
        let mut ran = 0;
        for (m, n, k) in SHAPES {
            ran += holds(&program, kernel, &mnk(m, n, k), false);
        }
        assert_eq!(ran, 9 + 6 + 5, "{kernel}");
    }
}

#[test]
fn schedules_change_nothing() {
    let schedules = [
        "BM=128,BN=128,BK=32,warps=(2,2),k.stages=2",
        "BM=64,BN=192,BK=32,k.stages=5",
        "BM=64,BN=64,BK=64,k.stages=3,T=bf16",
        "BM=128,BN=64,BK=32,k.stages=6,raster=1",
        "BM=64,BN=128,BK=32,warps=(1,4),T=bf16",
        "BM=256,BN=64,BK=64,warps=(4,2)",
    ];
    for kernel in ["gemm_nn", "gemm_tn", "gemm_tt"] {
        for sets in schedules {
            let program = Program::compile(LAYOUTS, kernel, sets);
            let ran = holds(&program, &format!("{kernel} {sets}"), &mnk(136, 200, 168), false);
            assert_eq!(ran, 3);
        }
    }
}

#[test]
fn the_sanitizer_is_silent() {
    for kernel in ORDERS {
        let program = Program::compile(LAYOUTS, kernel, "BM=64,BN=64,BK=32,k.stages=3");
        for (m, n, k) in [(72, 80, 200), (5, 7, 33), (8, 8, 0), (8, 8, 8), (66, 70, 34)] {
            holds(&program, kernel, &mnk(m, n, k), true);
        }
    }
}

#[test]
fn the_wide_variant_has_no_bank_conflicts() {
    for kernel in ORDERS {
        for sets in ["BM=128,BN=128,BK=32", "BM=64,BN=128,BK=64", "BM=64,BN=192,BK=32", "BM=256,BN=128,BK=32"]
        {
            let program = Program::compile(LAYOUTS, kernel, sets);
            let options = Options { stats: true, ..Options::default() };
            let run = program.run("wide", &mnk(256, 192, 128), options).expect("all is aligned");
            let stats = &run.stats[0];
            assert!(stats.mma > 0);
            assert_eq!(stats.bank_conflicts(), 0, "{kernel} {sets}: {:?}", stats.shared);
        }
    }
}

/// Lines of the entry that synchronise.
fn synchronisation(ptx: &str, entry: &str) -> Vec<usize> {
    let mut inside = false;
    let mut lines = Vec::new();
    for (n, line) in ptx.lines().enumerate() {
        if line.contains(".entry") {
            inside = line.contains(&format!("{entry}("));
        }
        let word = |w: &str| line.contains(w);
        if inside && (word("bar.sync") || word("barrier.sync") || word("cp.async.wait")) {
            lines.push(n);
        }
    }
    lines
}

#[test]
fn a_barrier_or_wait_less_is_seen() {
    let program = Program::compile(LAYOUTS, "gemm_tn", "BM=64,BN=64,BK=32,k.stages=3");
    for variant in ["wide", "any"] {
        let ptx = &program.compiled.ptx;
        let lines = synchronisation(ptx, &format!("gemm_tn_{variant}"));
        assert!(lines.len() > 2, "{variant}: {lines:?}");
        for line in lines {
            let kept = ptx.lines().enumerate().map(|(n, l)| if n == line { "" } else { l });
            let broken = kept.collect::<Vec<_>>().join("\n");
            let options = Options { sanitize: true, ..Options::default() };
            let run = program.run_text(&broken, variant, &mnk(64, 64, 288), options).expect("all is aligned");
            assert!(!run.findings.is_empty(), "{variant}: without line {} nothing was found", line + 1);
        }
    }
}
