//! Products: ragged, empty, typed.

use super::super::*;
use super::kit::*;
use crate::numeric::FloatFormat;

/// The GEMM of the language reference: `c = a · bᵀ`, f16 in, f32 sums, `c` of type `out`.
pub fn gemm(bm: u32, bn: u32, bk: u32, out: ElemType) -> Kernel {
    let mut k = Kit::new();
    let (m, n, kk) = (k.dim("M"), k.dim("N"), k.dim("K"));
    let a = k.tensor("a", ElemType::F16, &[m, kk], TensorKind::In);
    let b = k.tensor("b", ElemType::F16, &[n, kk], TensorKind::In);
    let c = k.tensor("c", out, &[m, n], TensorKind::Out);
    let i = k.grid_by("i", m, bm);
    let j = k.grid_by("j", n, bn);
    let (ii, jj) = (k.iota(i), k.iota(j));
    let zero = k.float(0.0);
    let acc = k.broadcast(zero, &[i, j]);
    let acc = k.for_("k", kk, bk, &[acc], |k, _, axis, state| {
        let index = k.iota(axis.expect("a range"));
        let x = k.read(a, &[ii, index]);
        let y = k.read(b, &[jj, index]);
        let y = k.transpose(y);
        let p = k.mma(F32, x, y);
        vec![k.binary(BinaryOp::Add, state[0], p)]
    })[0];
    let result = k.cast(out, acc);
    k.write(c, &[ii, jj], result);
    k.finish()
}

pub fn run(kernel: &Kernel, m: usize, n: usize, k: usize, mode: Mode) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let (a, b) = (noise(1, m * k), noise(2, n * k));
    let inputs = Inputs::builder(kernel)
        .dim("M", m as i64)
        .dim("N", n as i64)
        .dim("K", k as i64)
        .tensor("a", Values::Float(a.clone()))
        .tensor("b", Values::Float(b.clone()))
        .build()
        .expect("all arguments are given");
    let outputs = evaluate(kernel, &inputs, mode).expect("no fault");
    let c = outputs.named(kernel, "c").expect("an output");
    assert!(c.written.iter().all(|&w| w), "every element is written");
    assert_eq!(c.shape, [m, n]);
    match &c.values {
        Values::Float(c) => (a, b, c.clone()),
        Values::Int(_) => panic!("floats"),
    }
}

#[test]
fn exact_products_of_all_sizes() {
    for (m, n, k) in [(8, 8, 8), (5, 7, 3), (1, 1, 1), (9, 4, 17), (3, 3, 0), (0, 4, 4), (4, 0, 4)] {
        let kernel = gemm(4, 8, 8, F32);
        let (a, b, c) = run(&kernel, m, n, k, Mode::Exact);
        for at in 0..m * n {
            let exact: f64 = (0..k).map(|p| a[at / n * k + p] * b[at % n * k + p]).sum();
            // Sums of few multiples of 2^-12 are exact in f64, and in f32.
            assert_eq!(c[at], exact, "{m}x{n}x{k} at {at}");
        }
    }
}

#[test]
fn the_store_rounds_to_its_type() {
    let kernel = gemm(4, 8, 8, ElemType::F16);
    let (a, b, c) = run(&kernel, 6, 9, 33, Mode::Exact);
    for at in 0..6 * 9 {
        let exact: f64 = (0..33).map(|p| a[at / 9 * 33 + p] * b[at % 9 * 33 + p]).sum();
        assert_eq!(c[at], FloatFormat::F16.round(exact));
    }
}

#[test]
fn typed_sums_ascend_in_f32() {
    let kernel = gemm(4, 4, 4, F32);
    // 2^24 + 1 + 1: each 1 is lost in f32, and would not be in f64. f16 holds 2^12 and 1.
    let big = 4096.0;
    let inputs = Inputs::builder(&kernel)
        .dim("M", 1)
        .dim("N", 1)
        .dim("K", 3)
        .tensor("a", Values::Float(vec![big, 1.0, 1.0]))
        .tensor("b", Values::Float(vec![big, 1.0, 1.0]))
        .build()
        .expect("all arguments are given");
    let c = |mode| {
        let outputs = evaluate(&kernel, &inputs, mode).expect("no fault");
        outputs.named(&kernel, "c").expect("an output").values.clone()
    };
    assert_eq!(c(Mode::Exact), Values::Float(vec![big * big + 2.0]));
    assert_eq!(c(Mode::Typed), Values::Float(vec![big * big]));
}

#[test]
fn lanes_past_the_end_hold_nothing_even_where_memory_holds_nan() {
    // K = 5 in a tensor of rows of 5: the next row begins with NaN, which a read past the end would meet.
    let kernel = gemm(4, 4, 4, F32);
    let mut a = vec![1.0; 10];
    a[5] = f64::NAN;
    let inputs = Inputs::builder(&kernel)
        .dim("M", 2)
        .dim("N", 1)
        .dim("K", 5)
        .tensor("a", Values::Float(a))
        .tensor("b", Values::Float(vec![1.0; 5]))
        .build()
        .expect("all arguments are given");
    let outputs = evaluate(&kernel, &inputs, Mode::Exact).expect("no fault");
    match &outputs.named(&kernel, "c").expect("an output").values {
        Values::Float(c) => assert!(c[0] == 5.0 && c[1].is_nan()),
        Values::Int(_) => panic!("floats"),
    }
}

#[test]
fn arguments_that_do_not_fit_are_refused() {
    let kernel = gemm(4, 4, 4, F32);
    let builder = || Inputs::builder(&kernel).dim("M", 2).dim("N", 1).dim("K", 5);
    let short = builder().tensor("a", Values::Float(vec![0.0; 9])).tensor("b", Values::Float(vec![0.0; 5]));
    let error = evaluate(&kernel, &short.build().expect("complete"), Mode::Exact).expect_err("too short");
    assert_eq!(error.kind, EvalErrorKind::Input);
    assert_eq!(error.to_string(), "a wants 10 floats (shape [2, 5]), 9 were given");
    assert_eq!(builder().dim("Q", 1).build().expect_err("unknown").to_string(), "hand has no dimension Q");
    assert_eq!(
        Inputs::builder(&kernel).build().expect_err("missing").to_string(),
        "no value for dimension M"
    );
    let none = evaluate(&kernel, &builder().build().expect("complete"), Mode::Exact).expect_err("no tensors");
    assert_eq!(none.to_string(), "no value for a");
}

#[test]
fn the_reference_is_not_rounded_by_the_last_cast() {
    let kernel = gemm(4, 8, 8, ElemType::F16);
    let (a, b, c) = run(&kernel, 6, 9, 33, Mode::Unrounded);
    let exact = |at: usize| -> f64 { (0..33).map(|p| a[at / 9 * 33 + p] * b[at % 9 * 33 + p]).sum() };
    assert!((0..6 * 9).all(|at| c[at] == exact(at)));
    assert!((0..6 * 9).any(|at| c[at] != FloatFormat::F16.round(exact(at))), "some element needs rounding");
}
