//! Parameters with `strides`: random transposed views give what their contiguous copies give, by the evaluator for every rank and order,
//! and from the PTX, sanitized, for the orders that keep rows contiguous.

use proptest::prelude::*;
use tilewright_compiler::artifact::Compiled;
use tilewright_compiler::compile::{Options, compile};
use tilewright_compiler::diagnostics::SourceMap;
use tilewright_compiler::elaborate::{Settings, elaborate};
use tilewright_compiler::front::{Memory, load};
use tilewright_compiler::target::Target;
use tilewright_compiler::tile::{ElemType, Kernel};
use tilewright_runtime::executor;
use tilewright_runtime::launch::meaning::run_on_evaluator;
use tilewright_runtime::launch::on_cpu::run_on_cpu;
use tilewright_runtime::launch::{DimValues, Filling, Given, Meaning, Prepared, prepare};
use tilewright_runtime::tensor::HostTensor;

/// `y = x` over as many dimensions.
fn copy(rank: usize) -> Kernel {
    let list = |f: &dyn Fn(usize) -> String| (0..rank).map(f).collect::<Vec<_>>().join(", ");
    let (dims, free, names) = (list(&|n| format!("D{n}")), list(&|_| "_".into()), list(&|n| format!("r{n}")));
    let grid = list(&|n| format!("r{n} over D{n} by 4"));
    let text = format!(
        "kernel copy(x: f16[{dims}] strides({free}), out y: f16[{dims}]) {{ grid {grid}; y[{names}] = x[{names}]; }}"
    );
    let mut sources = SourceMap::default();
    let (program, diagnostics) = load(&mut sources, &Memory::from([("copy.tw", text.as_str())]), "copy.tw");
    assert!(!diagnostics.has_errors(), "{}", diagnostics.render(&sources, false));
    let (kernel, diagnostics) = elaborate(&program, "copy", &Settings::default());
    assert!(!diagnostics.has_errors(), "{}", diagnostics.render(&sources, false));
    kernel.expect("no errors, so a kernel")
}

fn launch(kernel: &Kernel, given: &[(&str, &HostTensor)]) -> Prepared {
    let given = given
        .iter()
        .map(|(name, tensor)| (name.to_string(), Given::Tensor((*tensor).clone(), name.to_string())))
        .collect();
    let filling = Filling { seed: 0, poison: true };
    prepare(kernel, given, &DimValues::default(), filling).expect("a launch")
}

/// A tensor of this shape, and an order of its axes.
fn view() -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
    prop::collection::vec(0usize..7, 1..=4).prop_flat_map(|shape| {
        let order: Vec<usize> = (0..shape.len()).collect();
        (Just(shape), Just(order).prop_shuffle())
    })
}

fn numbered(shape: &[usize], step: usize) -> HostTensor {
    let values: Vec<f64> =
        (0..shape.iter().product()).map(|at: usize| ((at * step) % 31) as f64 / 8.0 - 2.0).collect();
    HostTensor::from_f64(ElemType::F16, shape, &values).expect("a small tensor")
}

fn batched() -> Compiled {
    let text = "kernel batched(a: f16[B, M, K] strides(_, _, 1), b: f16[B, N, K] strides(_, _, 1), out c: f16[B, M, N]) {
        tune BM in {64}, BN in {64}, BK in {32};
        grid h over B, i over M by BM, j over N by BN;
        let mut acc: f32[i, j] = 0;
        for k over K by BK { acc += a[h, i, k] @ b[h, j, k].T; }
        c[h, i, j] = acc as f16;
    }";
    let mut sources = SourceMap::default();
    match compile(&mut sources, &Memory::from([("b.tw", text)]), "b.tw", &Options::new(Target::Sm80)) {
        Ok(compiled) => compiled,
        Err(d) => panic!("{}", d.render(&sources, false)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_view_is_read_in_its_own_coordinates((shape, order) in view()) {
        let kernel = copy(shape.len());
        let x = numbered(&shape, 7).transposed(&order).expect("an order");
        let mut prepared = launch(&kernel, &[("x", &x)]);
        run_on_evaluator(&kernel, &mut prepared).expect("a meaning");
        prop_assert_eq!(prepared.tensors[1].shape(), x.shape());
        prop_assert_eq!(prepared.tensors[1].to_f64(), x.to_f64());
        // Axis by axis: the element at an index of the view is the file's at that index, moved back.
        let dense = numbered(&shape, 7).to_f64();
        for (at, value) in x.to_f64().into_iter().enumerate() {
            let mut rest = at;
            let mut index = vec![0; shape.len()];
            for axis in (0..shape.len()).rev() {
                index[order[axis]] = rest % x.shape()[axis];
                rest /= x.shape()[axis];
            }
            let place = index.iter().zip(&shape).fold(0, |n, (i, extent)| n * extent + i);
            prop_assert_eq!(value, dense[place]);
        }
    }
}

#[test]
fn the_ptx_reads_views_as_it_reads_their_copies() {
    let compiled = batched();
    let kernel = &compiled.kernel;
    // Rows of 16, of 2 and of 1 element, so that each variant runs.
    for (b, m, n, k) in [(3, 70, 33, 48), (2, 5, 66, 26), (1, 9, 9, 17), (4, 1, 1, 1)] {
        let outputs: Vec<HostTensor> = [[0, 1, 2], [1, 0, 2]]
            .iter()
            .map(|order| {
                let moved = |x: HostTensor| {
                    let file = x.transposed(order).expect("an order").to_dense();
                    file.transposed(order).expect("an order")
                };
                let (x, y) = (moved(numbered(&[b, m, k], 5)), moved(numbered(&[b, n, k], 11)));
                let mut prepared = launch(kernel, &[("a", &x), ("b", &y)]);
                let meaning = Meaning::of(kernel, &prepared).expect("a meaning");
                let options = executor::Options { sanitize: true, ..executor::Options::default() };
                let run = run_on_cpu(&compiled, &mut prepared, &options).expect("a run");
                assert!(run.findings.is_empty(), "{:?}", run.findings);
                for verdict in meaning.judge(kernel, &prepared.tensors) {
                    assert!(verdict.comparison.ok, "{b} {m} {n} {k} {order:?}: {:?}", verdict.comparison);
                }
                prepared.tensors[2].clone()
            })
            .collect();
        assert_eq!(outputs[0], outputs[1]);
    }
}
