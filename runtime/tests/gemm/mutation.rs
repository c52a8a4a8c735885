//! Deleting any one barrier or wait from the PTX must be seen by the sanitizer.

use crate::kernel::{Gemm, Shape};

/// Lines of the entry that synchronise.
fn synchronisation(ptx: &str, entry: &str) -> Vec<usize> {
    let mut inside = false;
    let mut lines = Vec::new();
    for (n, line) in ptx.lines().enumerate() {
        if line.contains(".entry") {
            inside = line.contains(&format!("{entry}("));
        }
        if inside
            && (line.contains("bar.sync") || line.contains("barrier.sync") || line.contains("cp.async.wait"))
        {
            lines.push(n);
        }
    }
    lines
}

fn without_line(ptx: &str, skip: usize) -> String {
    ptx.lines()
        .enumerate()
        .map(|(n, l)| if n == skip { "\n".to_string() } else { format!("{l}\n") })
        .collect()
}

fn mutate(sets: &[(&str, &str)], variant: &str, shape: Shape) {
    let gemm = Gemm::compile(sets);
    let whole = gemm.run(variant, shape, true);
    assert!(whole.findings.is_empty(), "{variant}: {:?}", whole.findings);
    let lines = synchronisation(&gemm.compiled.ptx, &gemm.variant(variant).entry);
    // A barrier for the prologue and one per copy of the step, and as many waits where copies are asynchronous.
    assert!(lines.len() > 2, "{variant}: {lines:?}");
    for line in lines {
        let broken = without_line(&gemm.compiled.ptx, line);
        let run = gemm.run_text(&broken, variant, shape, true);
        let text = gemm.compiled.ptx.lines().nth(line).unwrap_or_default().trim().to_string();
        assert!(
            !run.findings.is_empty(),
            "{variant}: without `{text}` (line {}) nothing was found",
            line + 1
        );
    }
}

const SMALL: [(&str, &str); 3] = [("BM", "64"), ("BN", "64"), ("BK", "32")];

/// Enough steps for every copy of the unrolled step to come round twice.
const SHAPE: Shape = Shape { m: 64, n: 64, k: 32 * 9 };

#[test]
fn wide_three_stages() {
    mutate(&[&SMALL[..], &[("k.stages", "3")]].concat(), "wide", SHAPE);
}

#[test]
fn wide_two_stages() {
    mutate(&[&SMALL[..], &[("k.stages", "2")]].concat(), "wide", SHAPE);
}

#[test]
fn mid_four_stages() {
    mutate(&[&SMALL[..], &[("k.stages", "4")]].concat(), "mid", SHAPE);
}

#[test]
fn any_three_stages() {
    mutate(&[&SMALL[..], &[("k.stages", "3")]].concat(), "any", SHAPE);
}
