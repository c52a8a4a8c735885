//! Instances: dependent domains, conditions, reductions across them, atomics.

use super::super::*;
use super::kit::*;

fn floats(outputs: &Outputs, kernel: &Kernel, name: &str) -> Vec<f64> {
    match &outputs.named(kernel, name).expect("an output").values {
        Values::Float(x) => x.clone(),
        Values::Int(x) => x.iter().map(|&v| v as f64).collect(),
    }
}

/// `y[i] = sum(x[i, k] over k)`, split over `s`: `grid i over M by 4, s over 3; for k over s * 8..min(s * 8 + 8, K) by 4`.
fn split_sum() -> Kernel {
    let mut k = Kit::new();
    let (m, kk) = (k.dim("M"), k.dim("K"));
    let x = k.tensor("x", F32, &[m, kk], TensorKind::In);
    let y = k.tensor("y", F32, &[m], TensorKind::Out);
    let i = k.grid_by("i", m, 4);
    let three = k.int(3);
    let (s, _) = k.grid("s", three, 0);
    let ii = k.iota(i);
    let eight = k.int(8);
    let zero = k.float(0.0);
    let acc = k.broadcast(zero, &[i]);
    let base = k.binary(BinaryOp::Mul, s, eight);
    let rest = k.binary(BinaryOp::Sub, kk, base);
    let length = k.binary(BinaryOp::Min, rest, eight);
    let acc = k.for_("k", length, 4, &[acc], |k, _, axis, state| {
        let index = k.iota(axis.expect("a range"));
        let index = k.binary(BinaryOp::Add, index, base);
        let x = k.read(x, &[ii, index]);
        let sum = k.reduce(ReduceOp::Sum, x, &[axis.expect("a range")]);
        vec![k.binary(BinaryOp::Add, state[0], sum)]
    })[0];
    let total = k.grid_reduce(ReduceOp::Sum, acc, &[GridId(1)]);
    k.write_when(y, &[ii], total, None, &[GridId(1)]);
    k.finish()
}

#[test]
fn a_sum_over_the_grid_reaches_every_instance() {
    let kernel = split_sum();
    for (m, kk) in [(4, 24), (6, 19), (1, 3), (5, 0)] {
        let x = noise(3, m * kk);
        let inputs = Inputs::builder(&kernel)
            .dim("M", m as i64)
            .dim("K", kk as i64)
            .tensor("x", Values::Float(x.clone()))
            .build()
            .expect("complete");
        for mode in [Mode::Exact, Mode::Typed] {
            let y = floats(&evaluate(&kernel, &inputs, mode).expect("no fault"), &kernel, "y");
            let expected: Vec<f64> = (0..m).map(|i| x[i * kk..(i + 1) * kk].iter().sum()).collect();
            assert_eq!(y, expected, "{m}x{kk}");
        }
    }
}

#[test]
fn atomics_count_a_histogram_and_give_old_values() {
    let mut k = Kit::new();
    let (n, bins) = (k.dim("N"), k.dim("BINS"));
    let x = k.tensor("x", ElemType::I32, &[n], TensorKind::In);
    let h = k.tensor("h", ElemType::I32, &[bins], TensorKind::InOut);
    let rank = k.tensor("rank", ElemType::I32, &[n], TensorKind::Out);
    let i = k.grid_by("i", n, 4);
    let ii = k.iota(i);
    let v = k.read(x, &[ii]);
    let one = k.let_(ElemType::I32, &[], Op::Const(Const::Int(1)));
    let old = k.atomic(Combine::Add, h, &[v], one, true).expect("asked for");
    k.write(rank, &[ii], old);
    let kernel = k.finish();
    let data: Vec<i64> = vec![2, 0, 2, 5, 2, 9, -1, 0, 2];
    let inputs = Inputs::builder(&kernel)
        .dim("N", data.len() as i64)
        .dim("BINS", 6)
        .tensor("x", Values::Int(data))
        .tensor("h", Values::Int(vec![10, 0, 0, 0, 0, 0]))
        .build()
        .expect("complete");
    let outputs = evaluate(&kernel, &inputs, Mode::Exact).expect("atomics are no fault");
    assert_eq!(floats(&outputs, &kernel, "h"), [12.0, 0.0, 4.0, 0.0, 0.0, 1.0]);
    // In the evaluator's order; 9 and -1 are outside and combine with nothing.
    assert_eq!(floats(&outputs, &kernel, "rank"), [0.0, 10.0, 1.0, 0.0, 2.0, 0.0, 0.0, 11.0, 3.0]);
}

#[test]
fn later_grid_domains_use_earlier_variables() {
    // grid e over E, i over off[e]..off[e + 1] by 4;  y[i] = e
    let mut k = Kit::new();
    let (e_dim, t) = (k.dim("E"), k.dim("T"));
    let one = k.int(1);
    let e_plus = k.binary(BinaryOp::Add, e_dim, one);
    let off = k.tensor("off", I, &[e_plus], TensorKind::In);
    let y = k.tensor("y", I, &[t], TensorKind::Out);
    let (e, _) = k.grid("e", e_dim, 0);
    let lo = k.read(off, &[e]);
    let next = k.binary(BinaryOp::Add, e, one);
    let hi = k.read(off, &[next]);
    let (_, i) = k.grid_from("i", lo, hi, 4);
    let ii = k.iota(i.expect("a range"));
    k.write(y, &[ii], e);
    let kernel = k.finish();
    let inputs = Inputs::builder(&kernel)
        .dim("E", 4)
        .dim("T", 12)
        .tensor("off", Values::Int(vec![0, 5, 5, 6, 12]))
        .build()
        .expect("complete");
    let outputs = evaluate(&kernel, &inputs, Mode::Exact).expect("the runs are disjoint");
    assert_eq!(floats(&outputs, &kernel, "y"), [0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0]);
}

/// `grid i over N by 4, j over N by 4 when j <= i;  c[i, j] = 1`, and the sum over visited tiles of a loop `for j … when j <= i`.
#[test]
fn only_instances_and_tiles_in_which_the_condition_holds_run() {
    let mut k = Kit::new();
    let n = k.dim("N");
    let c = k.tensor("c", F32, &[n, n], TensorKind::Out);
    let d = k.tensor("d", F32, &[n, n], TensorKind::Out);
    let i = k.grid_by("i", n, 4);
    let j = k.grid_by("j", n, 4);
    let (ci, cj) = (k.iota(i), k.iota(j));
    let below = k.compare(CmpOp::Le, cj, ci);
    k.grid_when(below);
    let (ii, jj) = (k.iota(i), k.iota(j));
    let one = k.float(1.0);
    k.write(c, &[ii, jj], one);
    let zero = k.float(0.0);
    let count = k.for_when(
        "k",
        n,
        4,
        &[zero],
        |k, _, axis| {
            let index = k.iota(axis.expect("a range"));
            Some(k.compare(CmpOp::Lt, index, ii))
        },
        |k, _, _, state| {
            let one = k.float(1.0);
            vec![k.binary(BinaryOp::Add, state[0], one)]
        },
    )[0];
    k.write(d, &[ii, jj], count);
    let kernel = k.finish();
    let inputs = Inputs::builder(&kernel).dim("N", 10).build().expect("complete");
    let outputs = evaluate(&kernel, &inputs, Mode::Exact).expect("no fault");
    let c = outputs.named(&kernel, "c").expect("an output");
    let d = floats(&outputs, &kernel, "d");
    for at in 0..100 {
        let (i, j) = (at / 10 / 4, at % 10 / 4);
        assert_eq!(c.written[at], j <= i);
        assert_eq!(d[at], if j <= i { (i + 1) as f64 } else { 0.0 });
    }
}

#[test]
fn atomic_sums_round_once_in_exact_mode_and_each_time_in_typed_mode() {
    // Four instances add 2^24, 1, 1 and 1 to one f32.
    let mut k = Kit::new();
    let n = k.dim("N");
    let x = k.tensor("x", F32, &[n], TensorKind::In);
    let one = k.int(1);
    let y = k.tensor("y", F32, &[one], TensorKind::InOut);
    let (i, _) = k.grid("i", n, 0);
    let v = k.read(x, &[i]);
    let zero = k.int(0);
    k.atomic(Combine::Add, y, &[zero], v, false);
    let kernel = k.finish();
    let big = 16_777_216.0;
    let inputs = Inputs::builder(&kernel)
        .dim("N", 4)
        .tensor("x", Values::Float(vec![big, 1.0, 1.0, 1.0]))
        .tensor("y", Values::Float(vec![0.0]))
        .build()
        .expect("complete");
    let y = |mode| floats(&evaluate(&kernel, &inputs, mode).expect("atomics are no fault"), &kernel, "y");
    assert_eq!(y(Mode::Exact), [big + 4.0], "2^24 + 3 is a tie between + 2 and + 4");
    assert_eq!(y(Mode::Typed), [big]);
}
