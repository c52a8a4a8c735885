//! Faults planted in every pass, in a product and in kernels without one: each is found.
//!
//! A kind that can happen in a program is tried at the first of its places and at two later ones, so that later copies of an unrolled loop
//! are among them. What the scheduled level can see has to be found there and not only by running PTX.

use super::{File, gemm, load, run, small};
use tilewright_compiler::artifact::Compiled;
use tilewright_compiler::compile::{Options, compile_program};
use tilewright_compiler::fault::{Fault, FaultKind};
use tilewright_compiler::passes::{Pass, Timer};
use tilewright_compiler::target::Target;
use tilewright_runtime::verify::{Level, Settings};

fn compiled(file: &File, kernel: &str, settings: &Settings, fault: Option<Fault>) -> Compiled {
    let mut options = Options::new(Target::Sm80);
    options.kernel = Some(kernel.into());
    options.settings.sets = settings.sets.clone();
    (options.verify, options.fault) = (false, fault);
    let compiled = compile_program(&file.sources, &file.program, file.root, &options, Timer::default());
    compiled.unwrap_or_else(|d| panic!("{}", d.render(&file.sources, false)))
}

/// Three places of a fault's kind, if there are so many, in what surely is the wide variant: the first of three, and they grow longer.
fn places(file: &File, kernel: &str, settings: &Settings, kind: FaultKind) -> Vec<usize> {
    let all = compiled(file, kernel, settings, Some(Fault { kind, nth: usize::MAX })).places;
    if all <= 3 {
        return (0..all).collect();
    }
    let mut places = vec![0, all / 12, all / 6];
    places.dedup();
    places
}

/// The first line of PTX that a fault changes.
fn changed(file: &File, kernel: &str, settings: &Settings, fault: Fault) -> String {
    let (right, wrong) =
        (compiled(file, kernel, settings, None).ptx, compiled(file, kernel, settings, Some(fault)).ptx);
    let line = right.lines().zip(wrong.lines()).enumerate().find(|(_, (r, w))| r != w);
    line.map_or("nothing".into(), |(n, (r, w))| format!("line {}: {} to {}", n + 1, r.trim(), w.trim()))
}

/// In kernels without products some guards are implied by others or by alignment, and one block more than needed has nothing to do: a
/// mask that is off by one, or a misprinted rounding of the grid, may mean nothing there.
const UNCERTAIN: [FaultKind; 2] = [FaultKind::MaskOffByOne, FaultKind::Misprint];

/// Kinds that are planted only where they are meant: most loops without end are as good as one, and so are most shifts.
const CHOSEN: [FaultKind; 2] = [FaultKind::LostAdvance, FaultKind::WrongShift];

/// Plants every kind but these; gives those that can happen, and fails where one is not found.
fn plant(file: &File, kernel: &str, settings: &Settings, but: &[FaultKind]) -> Vec<FaultKind> {
    let kinds: Vec<FaultKind> =
        FaultKind::ALL.iter().copied().filter(|k| !but.contains(k) && !CHOSEN.contains(k)).collect();
    plant_these(file, kernel, settings, &kinds)
}

/// Plants these kinds.
fn plant_these(file: &File, kernel: &str, settings: &Settings, kinds: &[FaultKind]) -> Vec<FaultKind> {
    plant_up_to(3, file, kernel, settings, kinds)
}

/// Plants these kinds, at so many places each at most: later ones are often in variants that run seldom.
pub fn plant_up_to(
    most: usize,
    file: &File,
    kernel: &str,
    settings: &Settings,
    kinds: &[FaultKind],
) -> Vec<FaultKind> {
    let (mut missed, mut tried) = (Vec::new(), Vec::new());
    for kind in kinds.iter().copied() {
        for nth in places(file, kernel, settings, kind).into_iter().take(most) {
            tried.push(kind);
            let planted = Settings { fault: Some(Fault { kind, nth }), ..settings.clone() };
            let report = run(file, kernel, &planted).expect("the program is right");
            let Some(found) = report.found else {
                let fault = Fault { kind, nth };
                missed.push(format!("{kind:?} {nth}: {}", changed(file, kernel, settings, fault)));
                continue;
            };
            let failure = &found.failure;
            eprintln!("{kind:?} {nth}: seed {}, {:?}: {}", found.case.seed, failure.level, failure.message);
            if kind.pass() <= Pass::Synchronise {
                assert_ne!(failure.level, Level::Ptx, "{kernel}, {kind:?} {nth}: {failure:?}");
            }
        }
    }
    assert!(missed.is_empty(), "{kernel}: not found: {missed:#?}");
    tried.dedup();
    tried
}

pub fn with(sets: &[(&str, &str)]) -> Settings {
    let sets = sets.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    Settings { sets, ..small() }
}

#[test]
fn faults_of_every_pass_are_found_in_a_product() {
    let tried = plant(&gemm(), "gemm", &small(), &[]);
    for kind in [FaultKind::ExchangeAxes, FaultKind::DropWait, FaultKind::ShiftSwizzle, FaultKind::Misprint] {
        assert!(tried.contains(&kind), "{kind:?} can happen nowhere");
    }
}

#[test]
fn faults_are_found_in_reductions_across_warps() {
    // Softmax is the same for any base: the maximum has to be seen by itself.
    let text = "kernel softmax(x: f32[R, C], out y: f32[R, C], out top: f32[R]) {
        tune BR in {2}, BC in {256};
        grid r over R by BR;
        let mut m: f32[r] = -inf;
        let mut l: f32[r] = 0;
        for c over C by BC {
            let s = x[r, c];
            let now = max(m, max(s over c));
            l = l * exp(m - now) + sum(exp(s - now) over c);
            m = now;
        }
        for c over C by BC { y[r, c] = exp(x[r, c] - m) / l; }
        top[r] = m;
    }";
    let file = load("softmax.tw", text);
    let tried = plant(&file, "softmax", &with(&[("warps", "4")]), &UNCERTAIN);
    for kind in [
        FaultKind::WrongCombination,
        FaultKind::SharedSlot,
        FaultKind::DropBarrier,
        FaultKind::SkipShuffle,
        FaultKind::WrongSlot,
        FaultKind::SwapElements,
        FaultKind::LostMask,
    ] {
        assert!(tried.contains(&kind), "{kind:?} can happen nowhere");
    }
}

#[test]
fn faults_are_found_in_gathers() {
    let file = load("embedding.tw", include_str!("../../../dsl_examples/embedding.tw"));
    let tried = plant(&file, "embedding", &with(&[("BN", "4"), ("BD", "128"), ("T", "f32")]), &UNCERTAIN);
    assert!(tried.contains(&FaultKind::ExchangeAxes) && tried.contains(&FaultKind::SwapElements));
}

#[test]
fn faults_are_found_in_atomics() {
    let file = load("histogram.tw", include_str!("../../../dsl_examples/histogram.tw"));
    let tried = plant(&file, "histogram", &with(&[("BLOCK", "512")]), &UNCERTAIN);
    assert!(tried.contains(&FaultKind::WrongCombination) && tried.contains(&FaultKind::NegateGuard));
}

#[test]
fn faults_are_found_in_conditions_and_in_what_one_instance_writes() {
    let text = "kernel some(x: f32[R, C], p: i32[R] in 0..4, inout y: f32[R, C], out top: f32[R]) {
        tune BR in {4}, BC in {64};
        grid r over R by BR, c over C by BC;
        y[r, c] = 0.0 - x[r, c] when p[r] > 1;
        top[r] = (p[r] as f32) * 2.0;
    }";
    let file = load("some.tw", text);
    let tried = plant(&file, "some", &with(&[]), &UNCERTAIN);
    assert!(
        tried.contains(&FaultKind::LostCondition) && tried.contains(&FaultKind::WrittenByAll),
        "{tried:?}"
    );
}

/// What only reductions over the grid have: parts that are put, counted and combined.
const OF_PARTS: [FaultKind; 5] = [
    FaultKind::LostPart,
    FaultKind::SkipPart,
    FaultKind::WrongCombination,
    FaultKind::DropFence,
    FaultKind::WrongCount,
];

#[test]
fn faults_are_found_in_reductions_over_the_grid() {
    let text = "kernel norms(x: f32[R, C], out y: f32[R], out top: f32[R]) {
        grid r over R by 4, c over C by 128;
        y[r] = sqrt(sum(sum(x[r, c] * x[r, c] over c) over grid c));
        top[r] = max(max(x[r, c] over c) over grid c);
    }";
    let file = load("norms.tw", text);
    // Beyond the end of a row stand zeros, of which the sum is the same.
    let but = [&UNCERTAIN[..], &[FaultKind::LostMask]].concat();
    let tried = plant(&file, "norms", &with(&[("warps", "4")]), &but);
    assert!(OF_PARTS.iter().all(|kind| tried.contains(kind)), "{tried:?}");
}

#[test]
fn faults_are_found_where_parts_of_a_product_meet() {
    let file = load("gemm_splitk.tw", include_str!("../../../dsl_examples/gemm_splitk.tw"));
    let settings = Settings { sets: [small().sets, with(&[("SPLIT", "4")]).sets].concat(), ..small() };
    let tried = plant_these(&file, "gemm_splitk", &settings, &OF_PARTS);
    assert_eq!(tried.len(), OF_PARTS.len(), "{tried:?}");
    // The plain product, cut by its schedule.
    let cut = Settings { sets: [small().sets, with(&[("k.split", "3")]).sets].concat(), ..small() };
    let tried = plant_these(&gemm(), "gemm", &cut, &OF_PARTS);
    assert_eq!(tried.len(), OF_PARTS.len(), "{tried:?}");
    // Shared out evenly: a tile may be one block's alone.
    let stream = Settings { sets: [small().sets, with(&[("k.split", "stream")]).sets].concat(), ..small() };
    let tried = plant_these(&gemm(), "gemm", &stream, &OF_PARTS);
    assert_eq!(tried.len(), OF_PARTS.len(), "{tried:?}");
}

/// What is drawn, and who knows of it when; and sums that are promoted.
#[test]
fn faults_are_found_where_tiles_are_drawn_and_sums_promoted() {
    let kinds = [FaultKind::DropWait, FaultKind::DropBarrier, FaultKind::WrongSlot, FaultKind::LatePromotion];
    let sets = with(&[("persistent", "dynamic"), ("acc.promote", "1")]).sets;
    let settings = Settings { sets: [small().sets, sets].concat(), ..small() };
    let tried = plant_these(&gemm(), "gemm", &settings, &kinds);
    assert_eq!(tried, kinds);
}

#[test]
fn faults_are_found_in_the_search_for_a_part_of_a_ragged_range() {
    let file = load("moe_gemm.tw", include_str!("../../../dsl_examples/moe_gemm.tw"));
    let small: Vec<_> = small().sets.into_iter().filter(|(n, _)| !n.contains('.')).collect();
    let settings = Settings { sets: small, ..with(&[]) };
    let kinds =
        [FaultKind::WrongSearch, FaultKind::ExchangeAxes, FaultKind::MaskOffByOne, FaultKind::InvertMask];
    let tried = plant_these(&file, "moe_gemm", &settings, &kinds);
    assert!(tried.contains(&FaultKind::WrongSearch) && tried.contains(&FaultKind::InvertMask), "{tried:?}");
}

/// What scans, the places of extremes, look-ups and ranks exchange between warps.
#[test]
fn faults_are_found_in_what_warps_exchange() {
    let scans = load("scans.tw", include_str!("../../../tests/corpus/scans.tw"));
    let exchanged =
        [FaultKind::SharedSlot, FaultKind::DropBarrier, FaultKind::SkipShuffle, FaultKind::WrongSlot];
    for (kernel, sets) in
        [("prefix", [("BC", "512"), ("warps", "4")]), ("extremes", [("BC", "512"), ("warps", "8")])]
    {
        let tried = plant_these(&scans, kernel, &with(&sets), &exchanged);
        assert_eq!(tried.len(), exchanged.len(), "{kernel}: {tried:?}");
    }
    let (barrier, slot) = (FaultKind::DropBarrier, FaultKind::WrongSlot);
    let tried = plant_these(
        &scans,
        "sorting",
        &with(&[("T", "f32"), ("BC", "64"), ("warps", "4")]),
        &[barrier, slot],
    );
    assert_eq!(tried, [barrier, slot]);
    let lookups = load("lookups.tw", include_str!("../../../tests/corpus/lookups.tw"));
    assert_eq!(
        plant_these(&lookups, "exchange", &with(&[("warps", "4")]), &[barrier, slot]),
        [barrier, slot]
    );
}

/// Plants these kinds in an example and wants each to happen somewhere.
pub fn plant_in_example(name: &str, text: &'static str, sets: &[(&str, &str)], kinds: &[FaultKind]) {
    let file = load("example.tw", text);
    assert_eq!(plant_these(&file, name, &with(sets), kinds), kinds, "{name}");
}

/// Packed words, masks that pick codes out of them, words and bits that change places, and tables in registers.
#[test]
fn faults_are_found_in_what_is_unpacked() {
    let (words, mask) = (FaultKind::SwapWords, FaultKind::WrongMask);
    let qgemm = include_str!("../../../dsl_examples/qgemm.tw");
    // Magic numbers, codes in pieces, and floats.
    for (w, kinds) in [("u4", &[words, mask][..]), ("i3", &[words, mask]), ("e4m3", &[words])] {
        let sets = [("W", w), ("G", "32"), ("BM", "16"), ("BN", "64"), ("BK", "64")];
        plant_in_example("qgemm", qgemm, &sets, kinds);
    }
    let w4a8 = include_str!("../../../dsl_examples/w4a8_gemm.tw");
    let sets = [("W", "i4"), ("G", "64"), ("BM", "16"), ("BN", "64"), ("BK", "64")];
    plant_in_example("w4a8_gemm", w4a8, &sets, &[words, mask]);
    let planes = include_str!("../../../dsl_examples/bitplane_gemm.tw");
    // With fewer than all eight planes some of what the exchange gives is not used.
    let sets = [("W", "i2"), ("P", "2"), ("Q", "8"), ("BM", "16"), ("BN", "32"), ("BK", "256")];
    plant_in_example("bitplane_gemm", planes, &sets, &[words, FaultKind::WrongExchange]);
    let nf4 = include_str!("../../../dsl_examples/nf4_gemm.tw");
    let sets = [("G", "32"), ("BM", "16"), ("BN", "64"), ("BK", "32")];
    plant_in_example("nf4_gemm", nf4, &sets, &[words, FaultKind::WrongEntry]);
}
