//! The example GEMM on the executor: right for every shape and variant, silent under the sanitizer, free of bank conflicts; and
//! with any one barrier or wait taken out of it, not silent.

mod kernel;
mod mutation;

use half::{bf16, f16};
use kernel::{Gemm, Shape};

/// Max error of FlashAttention's rule with the f32 sum as the baseline: one rounding to the output type each way.
fn check(gemm: &Gemm, variant: &str, shape: Shape, sanitize: bool) {
    let run = gemm.run(variant, shape, sanitize);
    let what = format!("{variant} {shape:?} {}", gemm.dtype);
    assert!(run.findings.is_empty(), "{what}: {:?}", run.findings);
    let (mut base_error, mut error, mut largest) = (0f64, 0f64, 1f64);
    for i in 0..shape.m {
        for j in 0..shape.n {
            let products = (0..shape.k).map(|k| (run.a[i * shape.k + k], run.b[j * shape.k + k]));
            let exact: f64 = products.clone().map(|(x, y)| f64::from(x) * f64::from(y)).sum();
            let sum = products.fold(0f32, |s, (x, y)| s + x * y);
            let base =
                if gemm.dtype == "f16" { f16::from_f32(sum).to_f64() } else { bf16::from_f32(sum).to_f64() };
            base_error = base_error.max((base - exact).abs());
            error = error.max((f64::from(run.c[i * shape.n + j]) - exact).abs());
            largest = largest.max(exact.abs());
        }
    }
    assert!(error <= 2.0 * base_error + 1e-5 * largest, "{what}: error {error:e}, baseline {base_error:e}");
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
    let schedules: [&[(&str, &str)]; 5] = [
        &[("BM", "128"), ("BN", "128"), ("BK", "32"), ("warps", "(2,2)"), ("k.stages", "2")],
        &[("BM", "64"), ("BN", "192"), ("BK", "32"), ("k.stages", "5")],
        &[("BM", "64"), ("BN", "64"), ("BK", "64"), ("k.stages", "3"), ("T", "bf16")],
        &[("BM", "128"), ("BN", "64"), ("BK", "32"), ("k.stages", "6"), ("raster", "1")],
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
