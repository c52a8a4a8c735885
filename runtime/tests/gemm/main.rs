//! The example GEMM on the executor: right for every shape and variant, silent under the sanitizer, free of bank conflicts; and
//! with any one barrier or wait taken out of it, not silent.

mod kernel;
mod mutation;
mod rule;
mod strided;

use half::{bf16, f16};
use kernel::{Gemm, Shape};
use tilewright_runtime::launch::compare_floats;

/// The result is right by the rule of `run --check`, with a reference that does not come from the evaluator: the exact sum, and the f32 sum
/// rounded to the output's type as the baseline.
fn check(gemm: &Gemm, variant: &str, shape: Shape, sanitize: bool) {
    let run = gemm.run(variant, shape, sanitize);
    let what = format!("{variant} {shape:?} {}", gemm.dtype);
    assert!(run.findings.is_empty(), "{what}: {:?}", run.findings);
    let (mut exact, mut base) = (Vec::new(), Vec::new());
    for i in 0..shape.m {
        for j in 0..shape.n {
            let products = (0..shape.k).map(|k| (run.a[i * shape.k + k], run.b[j * shape.k + k]));
            exact.push(products.clone().map(|(x, y)| f64::from(x) * f64::from(y)).sum::<f64>());
            let sum = products.fold(0f32, |s, (x, y)| s + x * y);
            base.push(match gemm.dtype.as_str() {
                "f16" => f16::from_f32(sum).to_f64(),
                _ => bf16::from_f32(sum).to_f64(),
            });
        }
    }
    let out: Vec<f64> = run.c.iter().map(|&x| x.into()).collect();
    let comparison = compare_floats(&out, &exact, &base);
    assert!(comparison.ok, "{what}: {comparison:?}");
}

fn shapes() -> [Shape; 7] {
    [(1, 1, 1), (130, 140, 72), (128, 96, 200), (33, 205, 7), (5, 70, 51), (65, 64, 64), (3, 8, 0)]
        .map(|(m, n, k)| Shape { m, n, k })
}

#[test]
fn every_shape_by_every_variant_that_may_run_it() {
    let gemm = Gemm::compile(&[("BM", "64"), ("BN", "64"), ("BK", "32")]);
    for shape in shapes() {
        for variant in shape.variants() {
            check(&gemm, variant, shape, false);
        }
    }
}

#[test]
fn schedules_change_nothing() {
    let schedules: [&[(&str, &str)]; 7] = [
        &[("BM", "128"), ("BN", "128"), ("BK", "32"), ("warps", "(2,2)"), ("k.stages", "2")],
        &[("BM", "64"), ("BN", "192"), ("BK", "32"), ("k.stages", "5")],
        &[("BM", "64"), ("BN", "64"), ("BK", "64"), ("k.stages", "3"), ("T", "bf16")],
        &[("BM", "128"), ("BN", "64"), ("BK", "32"), ("k.stages", "6"), ("raster", "1")],
        // Narrow copies of these are loops.
        &[("BM", "256"), ("BN", "128"), ("BK", "32")],
        &[("BM", "128"), ("BN", "192"), ("BK", "64"), ("k.stages", "2")],
        &[("BM", "64"), ("BN", "128"), ("BK", "32"), ("warps", "(1,4)"), ("T", "bf16")],
    ];
    let shape = Shape { m: 140, n: 200, k: 168 };
    for sets in schedules {
        let gemm = Gemm::compile(sets);
        for variant in shape.variants() {
            check(&gemm, variant, shape, false);
        }
    }
}

#[test]
fn the_sanitizer_is_silent() {
    let gemm = Gemm::compile(&[("BM", "64"), ("BN", "64"), ("BK", "32"), ("k.stages", "3")]);
    for shape in [Shape { m: 70, n: 72, k: 200 }, Shape { m: 5, n: 7, k: 33 }, Shape { m: 8, n: 8, k: 0 }] {
        for variant in shape.variants() {
            check(&gemm, variant, shape, true);
        }
    }
}

#[test]
fn the_wide_variant_has_no_bank_conflicts() {
    for sets in [
        [("BM", "128"), ("BN", "128"), ("BK", "32")],
        [("BM", "64"), ("BN", "128"), ("BK", "64")],
        [("BM", "64"), ("BN", "192"), ("BK", "32")],
    ] {
        let gemm = Gemm::compile(&sets);
        let run = gemm.run("wide", Shape { m: 128, n: 192, k: 128 }, false);
        assert!(run.stats.mma > 0);
        assert_eq!(run.stats.bank_conflicts(), 0, "{sets:?}: {:?}", run.stats.shared);
    }
}
