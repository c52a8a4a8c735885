//! The whole of `run --check` on the GEMM: random inputs, the PTX on the executor, and the evaluator's verdict by the one error rule, on
//! ragged and empty shapes, in both types, under several schedules. A schedule may change no result beyond the order of additions, so
//! the rule has to hold for each of them; that it can fail is shown by moving single elements by one unit.

use tilewright_compiler::tile::ElemType;
use tilewright_runtime::executor::Options;
use tilewright_runtime::launch::on_cpu::run_on_cpu;
use tilewright_runtime::launch::{DimValues, Filling, Meaning, Prepared, prepare};
use tilewright_runtime::tensor::HostTensor;

use crate::kernel::Gemm;

const SHAPES: [(i64, i64, i64); 10] = [
    (1, 1, 1),
    (257, 130, 72),
    (128, 96, 1000),
    (33, 1025, 7),
    (5, 700, 513),
    (512, 384, 256),
    (0, 40, 24),
    (40, 0, 24),
    (40, 24, 0),
    (0, 0, 0),
];

const SCHEDULES: [&[(&str, &str)]; 4] = [
    &[("BM", "64"), ("BN", "64"), ("BK", "32")],
    &[("BM", "128"), ("BN", "128"), ("BK", "32"), ("warps", "(2,2)"), ("k.stages", "2")],
    &[("BM", "64"), ("BN", "192"), ("BK", "32"), ("k.stages", "5")],
    &[("BM", "128"), ("BN", "64"), ("BK", "64"), ("warps", "(4,1)"), ("k.stages", "3"), ("raster", "1")],
];

/// Inputs from `seed`, run; the evaluator's answers and what the PTX left.
fn launch(gemm: &Gemm, (m, n, k): (i64, i64, i64), seed: u64) -> (Meaning, Prepared) {
    let given = [("M", m), ("N", n), ("K", k)].map(|(name, v)| (name.to_string(), v)).to_vec();
    let outside = DimValues { given, ..DimValues::default() };
    let kernel = &gemm.compiled.kernel;
    let mut prepared =
        prepare(kernel, Vec::new(), &outside, Filling { seed, poison: true }).expect("a launch");
    let meaning = Meaning::of(kernel, &prepared).expect("a meaning");
    run_on_cpu(&gemm.compiled, &mut prepared, &Options::default()).expect("a run");
    (meaning, prepared)
}

fn holds(dtype: &str) {
    for sets in SCHEDULES {
        let gemm = Gemm::compile(&[sets, &[("T", dtype)]].concat());
        for (seed, shape) in SHAPES.into_iter().enumerate() {
            let (meaning, prepared) = launch(&gemm, shape, seed as u64);
            for verdict in meaning.judge(&gemm.compiled.kernel, &prepared.tensors) {
                assert!(verdict.comparison.ok, "{dtype} {shape:?} {sets:?}: {:?}", verdict.comparison);
                assert_eq!(verdict.comparison.count as i64, shape.0 * shape.1);
            }
        }
    }
}

#[test]
fn the_rule_holds_in_f16() {
    holds("f16");
}

#[test]
fn the_rule_holds_in_bf16() {
    holds("bf16");
}

/// Two units in the last place of the greatest element are more than the rule allows, wherever they are: the baseline is off by half
/// a unit at most, so a result may be off by one, and the element was right to half a unit before. Where the baseline is exact,
/// nothing is allowed but the absolute term.
#[test]
fn a_result_that_is_off_fails() {
    for dtype in ["f16", "bf16"] {
        let elem = ElemType::from_name(dtype).expect("a type");
        let gemm = Gemm::compile(&[SCHEDULES[0], &[("T", dtype)]].concat());
        let kernel = &gemm.compiled.kernel;
        let (meaning, prepared) = launch(&gemm, (33, 70, 96), 3);
        let c = kernel.tensors.iter().position(|t| t.name == "c").expect("the output");
        let right = prepared.tensors[c].to_f64();
        let judge = |values: &[f64]| {
            let mut tensors = prepared.tensors.clone();
            tensors[c] = HostTensor::from_f64(elem, &[33, 70], values).expect("a tensor");
            meaning.judge(kernel, &tensors).remove(0).comparison
        };
        assert!(judge(&right).ok);
        let greatest =
            (0..right.len()).max_by(|&x, &y| right[x].abs().total_cmp(&right[y].abs())).unwrap_or(0);
        let smallest =
            (0..right.len()).min_by(|&x, &y| right[x].abs().total_cmp(&right[y].abs())).unwrap_or(0);
        let unit = unit(dtype, right[greatest]);
        for at in [greatest, smallest] {
            for by in [-2.0 * unit, 2.0 * unit] {
                let mut values = right.clone();
                values[at] += by;
                let verdict = judge(&values);
                assert_eq!((verdict.ok, verdict.worst.map(|w| w.at)), (false, Some(at)), "{dtype} {by}");
            }
        }
        // An empty sum is exactly zero.
        let (meaning, prepared) = launch(&gemm, (1, 1, 0), 0);
        let mut tensors = prepared.tensors.clone();
        tensors[c] = HostTensor::from_f64(elem, &[1, 1], &[1e-4]).expect("a tensor");
        assert!(!meaning.judge(kernel, &tensors)[0].comparison.ok);
    }
}

/// The distance between neighbours at the magnitude of `x`.
fn unit(dtype: &str, x: f64) -> f64 {
    let bits = if dtype == "f16" { 10 } else { 7 };
    (x.abs().log2().floor() - f64::from(bits)).exp2()
}
