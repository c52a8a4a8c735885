//! Faults planted where loops of products are made: what they carry, which steps they take, what they copy by looking it up; and in
//! passes that make T1 plain before.

use super::faults::{plant_in_example, plant_up_to, with};
use super::{load, run};
use std::time::Duration;
use tilewright_compiler::fault::{Fault, FaultKind};
use tilewright_runtime::verify::{Level, Settings};

const ATTENTION: &str = include_str!("../../../dsl_examples/attention.tw");

/// A head dimension of 32, steps of 32 keys, tiles of 16 queries; one head.
fn small_attention() -> Settings {
    let dims = ["B", "HQ", "HKV"].map(|d| (d.to_string(), 1)).into();
    let sets = [("D", "32"), ("BQ", "16"), ("BR", "1"), ("BKV", "32")];
    Settings { dims, ..with(&sets) }
}

#[test]
fn faults_are_found_in_what_a_loop_of_products_carries() {
    let file = load("attention.tw", ATTENTION);
    let kinds = [
        FaultKind::EarlyEnd,
        FaultKind::WideFull,
        FaultKind::LostRescale,
        FaultKind::WrongPart,
        FaultKind::LostSign,
        FaultKind::WrongStage,
        FaultKind::DropWait,
        FaultKind::SkipShuffle,
        // A sum that starts from a sink is one lane's.
        FaultKind::LostMask,
    ];
    assert_eq!(plant_up_to(1, &file, "attention_sink", &small_attention(), &kinds), kinds);
}

/// A window has steps that a mask touches at both ends, and others between.
#[test]
fn faults_are_found_in_where_masks_begin_and_end() {
    let file = load("attention.tw", ATTENTION);
    let kinds = [FaultKind::LateStart, FaultKind::EarlyEnd, FaultKind::WideFull, FaultKind::WrongSeam];
    assert_eq!(plant_up_to(2, &file, "attention_window", &small_attention(), &kinds), kinds);
}

#[test]
fn faults_are_found_in_rows_that_are_looked_up() {
    let file = load("paged.tw", include_str!("../../../dsl_examples/paged_attention.tw"));
    let sets = [("T", "f16"), ("D", "32"), ("CH", "64"), ("BR", "16"), ("BKV", "32")];
    let dims = [("B", 2), ("HQ", 2), ("HKV", 1)].map(|(d, n)| (d.to_string(), n)).into();
    let settings = Settings { dims, ..with(&sets) };
    let kinds = [FaultKind::ExchangeAxes, FaultKind::WrongRow, FaultKind::LostPart, FaultKind::StuckCounter];
    assert_eq!(plant_up_to(1, &file, "paged_decode", &settings, &kinds), kinds);
}

/// What there was no loop for, and what was no sum.
#[test]
fn faults_are_found_in_what_simplifying_makes() {
    let alone = "kernel lone<D: 32..=128 = 96>(x: f16[M, D], w: f16[N, D], out y: f32[M, N]) {
        grid i over M by 16, j over N by 32;
        y[i, j] = x[i, :] @ w[j, :].T;
    }";
    let kinds = [FaultKind::LateStart, FaultKind::EarlyEnd, FaultKind::WrongSlice, FaultKind::LostPrologue];
    plant_in_example("lone", alone, &[], &kinds);
    let vectors = include_str!("../../../tests/corpus/vectors.tw");
    let kinds = [FaultKind::WrongCombination, FaultKind::SkipShuffle];
    plant_in_example("matrix_vector", vectors, &[("T", "f16")], &kinds);
    let places = include_str!("../../../tests/corpus/grid_reductions.tw");
    plant_in_example("places", places, &[], &[FaultKind::LastPlace, FaultKind::StuckCounter]);
}

/// Scales that lanes read for each other, and bits that the launch puts where they are not looked for.
#[test]
fn faults_are_found_in_scales_and_places_of_bits() {
    let text = include_str!("../../../dsl_examples/qgemm.tw");
    let kinds = [FaultKind::OtherPlaces, FaultKind::WrongLane];
    for w in ["u4", "e4m3"] {
        let sets = [("W", w), ("G", "32"), ("BM", "16"), ("BN", "64"), ("BK", "64")];
        plant_in_example("qgemm", text, &sets, &kinds);
    }
}

/// Elements of less than a byte that are not packed.
#[test]
fn faults_are_found_in_dense_bits() {
    let text = "kernel narrow(x: u4[R, C], out y: f32[R, C], out z: i3[R, C]) {
        grid r over R by 2, c over C by 64;
        y[r, c] = x[r, c] as f32;
        z[r, c] = (x[r, c] as i32 - 8) as i3;
    }";
    plant_in_example("narrow", text, &[], &[FaultKind::WrongShift, FaultKind::NegateGuard]);
}

#[test]
fn a_loop_without_end_is_found() {
    let text = "kernel sums(x: f32[R, C], out y: f32[R]) {
        grid r over R by 2;
        let mut total: f32[r] = 0;
        for c over C by 64 { total += sum(x[r, c] over c); }
        y[r] = total;
    }";
    let fault = Some(Fault { kind: FaultKind::LostAdvance, nth: 0 });
    let patience = Duration::from_millis(1500);
    let settings = Settings { fault, patience, ..with(&[]) };
    let report = run(&load("sums.tw", text), "sums", &settings).expect("the program is right");
    let failure = report.found.expect("a planted fault").failure;
    assert!(failure.level == Level::Ptx && failure.message.contains("time limit"), "{failure:?}");
}
