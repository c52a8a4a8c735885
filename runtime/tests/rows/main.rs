//! Kernels without matrix instructions on the executor: every variant right by the evaluator's verdict for ragged and empty shapes, and silent
//! under the sanitizer.

// Counts of conflicts and accesses are not asked for here.
#[allow(dead_code)]
#[path = "../products/program.rs"]
mod program;

mod lookups;
mod numbers;
mod scans;
mod structure;
mod types;
mod verdicts;

use program::Program;
use tilewright_runtime::executor::Options;

const VARIANTS: [&str; 3] = ["any", "mid", "wide"];

/// Runs every variant whose guards hold, under the sanitizer.
fn holds(text: &str, kernel: &str, sets: &str, shapes: &[&[(&str, i64)]]) {
    let program = Program::compile(text, kernel, sets);
    for dims in shapes {
        let mut ran = 0;
        for variant in VARIANTS {
            let options = Options { sanitize: true, ..Options::default() };
            let Some(run) = program.run(variant, dims, options) else { continue };
            assert!(run.findings.is_empty(), "{kernel} {sets} {variant} {dims:?}: {:?}", run.findings);
            assert!(run.stats.len() <= 1, "{kernel}: a kernel is one grid");
            assert!(run.wrong.is_empty(), "{kernel} {sets} {variant} {dims:?}: {:?}", run.wrong);
            ran += 1;
        }
        assert!(ran > 0, "{kernel} {sets} {dims:?}: no variant ran");
    }
}
