//! Rules that only data decides: each fault is reported, with its statement and both sides, and what is no fault is not.

use super::super::*;
use super::kit::*;

/// `grid i over N by 4;  y[at[i]] = x[i]`
fn scatter() -> Kernel {
    let mut k = Kit::new();
    let n = k.dim("N");
    let at = k.tensor("at", ElemType::I32, &[n], TensorKind::In);
    let y = k.tensor("y", F32, &[n], TensorKind::Out);
    let i = k.grid_by("i", n, 4);
    let ii = k.iota(i);
    let to = k.read(at, &[ii]);
    let one = k.float(1.0);
    k.write(y, &[to], one);
    k.finish()
}

fn scattered(at: &[i64]) -> Result<Vec<bool>, EvalError> {
    let kernel = scatter();
    let inputs = Inputs::builder(&kernel)
        .dim("N", at.len() as i64)
        .tensor("at", Values::Int(at.to_vec()))
        .build()
        .expect("complete");
    let outputs = evaluate(&kernel, &inputs, Mode::Exact)?;
    Ok(outputs.named(&kernel, "y").expect("an output").written.clone())
}

fn write_span(kernel: &Kernel) -> Option<crate::diagnostics::Span> {
    kernel.body.stmts.iter().find_map(|s| match s {
        Stmt::Write(w) => Some(w.span),
        _ => None,
    })
}

#[test]
fn a_permutation_is_no_fault() {
    assert_eq!(scattered(&[4, 2, 0, 1, 3, 5]), Ok(vec![true; 6]));
}

#[test]
fn writes_outside_are_dropped_and_may_coincide() {
    let written = scattered(&[-1, -1, 6, 1, 6, 0]);
    assert_eq!(written, Ok(vec![true, true, false, false, false, false]));
}

#[test]
fn two_lanes_on_one_element() {
    let error = scattered(&[3, 1, 3, 0, 2]).expect_err("3 twice in one tile");
    assert_eq!(error.kind, EvalErrorKind::Fault);
    assert_eq!(error.to_string(), "two lanes of one statement write y[3] (instance (i = 0))");
    assert_eq!(error.span, write_span(&scatter()));
}

#[test]
fn two_instances_on_one_element() {
    // 64 instances on several threads: the report is the same every time.
    let mut at: Vec<i64> = (0..256).collect();
    at[200] = 17;
    at[230] = 18;
    for _ in 0..10 {
        let error = scattered(&at).expect_err("17 twice");
        assert_eq!(error.to_string(), "two instances write y[17]: instance (i = 16) and instance (i = 200)");
    }
}

/// `grid i over N by 2;  h[i] = h[i - shift] + 1`
fn shifted(shift: i64) -> Result<Outputs, EvalError> {
    let mut k = Kit::new();
    let n = k.dim("N");
    let h = k.tensor("h", F32, &[n], TensorKind::InOut);
    let i = k.grid_by("i", n, 2);
    let ii = k.iota(i);
    let by = k.int(shift);
    let from = k.binary(BinaryOp::Sub, ii, by);
    let x = k.read(h, &[from]);
    let one = k.float(1.0);
    let x = k.binary(BinaryOp::Add, x, one);
    k.write(h, &[ii], x);
    let kernel = k.finish();
    let inputs = Inputs::builder(&kernel)
        .dim("N", 6)
        .tensor("h", Values::Float(vec![0.0; 6]))
        .build()
        .expect("complete");
    evaluate(&kernel, &inputs, Mode::Exact)
}

#[test]
fn an_instance_may_update_its_own_elements_only() {
    let outputs = shifted(0).expect("its own");
    assert_eq!(outputs.tensors[0].as_ref().expect("inout").values, Values::Float(vec![1.0; 6]));
    // Instance 2 reads h[1], which instance 0 has written.
    let error = shifted(1).expect_err("its neighbour's");
    assert_eq!(error.to_string(), "instance (i = 2) reads h[1], which is written by instance (i = 0)");
    // Instance 0 reads h[2], which instance 2 writes afterwards.
    let error = shifted(-1).expect_err("its neighbour's");
    assert_eq!(error.to_string(), "instance (i = 2) writes h[2], which is read by instance (i = 0)");
    assert_eq!(error.kind, EvalErrorKind::Fault);
}

#[test]
fn a_statement_may_overwrite_an_earlier_one() {
    let mut k = Kit::new();
    let n = k.dim("N");
    let y = k.tensor("y", F32, &[n], TensorKind::Out);
    let i = k.grid_by("i", n, 2);
    let ii = k.iota(i);
    let (one, two) = (k.float(1.0), k.float(2.0));
    k.write(y, &[ii], one);
    k.write(y, &[ii], two);
    let kernel = k.finish();
    let inputs = Inputs::builder(&kernel).dim("N", 5).build().expect("complete");
    let outputs = evaluate(&kernel, &inputs, Mode::Exact).expect("order is given");
    assert_eq!(outputs.tensors[0].as_ref().expect("out").values, Values::Float(vec![2.0; 5]));
}
