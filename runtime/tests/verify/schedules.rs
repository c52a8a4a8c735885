//! What a schedule pins changes how a kernel runs, and not what it computes.

use super::{File, gemm, load, run};
use tilewright_runtime::verify::{Freeze, Settings};

/// A few seeds with these settings, every level compared.
fn right(file: &File, kernel: &str, sets: &[(&str, &str)]) {
    let sets: Vec<_> = sets.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    let settings = Settings { seeds: 6, sets: sets.clone(), freeze: Freeze::Never, ..Settings::default() };
    let report = run(file, kernel, &settings).unwrap_or_else(|e| panic!("{kernel} {sets:?}: {e:?}"));
    assert!(report.found.is_none(), "{kernel} {sets:?}: {:?}", report.found);
}

const TILE: [(&str, &str); 4] = [("BM", "64"), ("BN", "64"), ("BK", "32"), ("k.stages", "3")];

#[test]
fn a_product_is_the_same_by_every_schedule() {
    let file = gemm();
    for more in [
        &[("k.unroll", "6"), ("occupancy", "2")][..],
        &[("k.overlap", "false")],
        &[("k.overlap", "false"), ("BK", "32"), ("a.via", "direct")],
        &[("a.via", "direct"), ("b.via", "direct"), ("acc.atom", "m16n8k16.f16")],
        &[("b.via", "direct"), ("b.evict", "last"), ("c.evict", "first")],
    ] {
        let own = |n: &str| more.iter().any(|(m, _)| *m == n);
        let sets: Vec<_> = TILE.into_iter().filter(|(n, _)| !own(n)).chain(more.iter().copied()).collect();
        right(&file, "gemm", &[&sets[..], &[("T", "f16")]].concat());
    }
}

#[test]
fn operands_across_the_contracted_range_go_by_either_way() {
    let file = load("gemm_layouts.tw", include_str!("../../../dsl_examples/gemm_layouts.tw"));
    let ways = [("a.via", "direct"), ("b.via", "direct"), ("k.overlap", "false"), ("T", "f16")];
    for kernel in ["gemm_nn", "gemm_tt"] {
        right(&file, kernel, &[&TILE[..], &ways].concat());
    }
}

#[test]
fn rows_are_the_same_by_every_schedule() {
    let file = load("softmax.tw", include_str!("../../../dsl_examples/softmax.tw"));
    for more in [
        &[("c.unroll", "3")][..],
        &[("c.unroll", "2"), ("occupancy", "2"), ("x.evict", "last"), ("y.evict", "first")],
        &[("warps", "8"), ("x.via", "direct")],
    ] {
        right(&file, "softmax", &[&[("BR", "2"), ("BC", "256")], more].concat());
    }
}
