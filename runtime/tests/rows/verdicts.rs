//! Where several results are right, and where one that looks like them is not: rounding to integers within an error of the
//! boundary, and values that hang on the order in which atomics combine.

use tilewright_compiler::tile::Kernel;
use tilewright_runtime::launch::{Compared, DimValues, Filling, Meaning, Prepared, prepare};
use tilewright_runtime::tensor::HostTensor;

use super::holds;
use super::program::Program;

const TEXT: &str = include_str!("../../../tests/corpus/jumps.tw");

#[test]
fn jumps_hold() {
    for sets in ["", "BC=64", "warps=8"] {
        holds(TEXT, "quantise", sets, &[&[("R", 40), ("C", 2000)], &[("R", 3), ("C", 1)]]);
    }
    holds(TEXT, "cells", "", &[&[("N", 100_000)], &[("N", 3)]]);
}

#[test]
fn turns_hold_whoever_comes_first() {
    holds(TEXT, "turns", "", &[&[("N", 2000)], &[("N", 1)], &[("N", 65)]]);
}

/// A launch whose outputs are the evaluator's own, and the verdict when one tensor is replaced.
struct Judged {
    kernel: Kernel,
    meaning: Meaning,
    prepared: Prepared,
}

impl Judged {
    fn of(text: &str, kernel: &str, dims: &[(&str, i64)], x: &[f64]) -> Judged {
        let kernel = Program::compile(text, kernel, "").compiled.kernel;
        let given = dims.iter().map(|(name, v)| (name.to_string(), *v)).collect();
        let outside = DimValues { given, ..DimValues::default() };
        let mut prepared =
            prepare(&kernel, Vec::new(), &outside, Filling { seed: 5, poison: false }).expect("a launch");
        let tensor = &mut prepared.tensors[0];
        *tensor = HostTensor::from_f64(tensor.elem(), tensor.shape(), x).expect("a tensor");
        let meaning = Meaning::of(&kernel, &prepared).expect("a meaning");
        tilewright_runtime::launch::meaning::run_on_evaluator(&kernel, &mut prepared).expect("outputs");
        Judged { kernel, meaning, prepared }
    }

    /// Whether the outputs are right with these integers (or floats) in `name`.
    fn right(&self, name: &str, values: &[f64]) -> bool {
        let at = self.kernel.tensors.iter().position(|t| t.name == name).expect("a tensor");
        let mut tensors = self.prepared.tensors.clone();
        let (elem, shape) = (tensors[at].elem(), tensors[at].shape().to_vec());
        tensors[at] = if elem.is_float() {
            HostTensor::from_f64(elem, &shape, values).expect("a tensor")
        } else {
            let values: Vec<i64> = values.iter().map(|&v| v as i64).collect();
            HostTensor::from_i64(elem, &shape, &values).expect("a tensor")
        };
        self.meaning.judge(&self.kernel, &tensors).iter().all(|v| v.comparison.ok)
    }

    fn compared(&self, name: &str) -> Compared {
        let verdicts = self.meaning.judge(&self.kernel, &self.prepared.tensors);
        verdicts.iter().find(|v| v.name == name).expect("an output").compared
    }
}

/// `x * 0.1` is off by about 1e-8 in f32, so near 3 either side is right, and at 2.5 nothing but 2 is.
#[test]
fn either_side_within_the_error_of_a_boundary() {
    let text = "kernel steps(x: f32[N], out n: i32[N], out up: f32[N]) {
        grid i over N by 64;
        n[i] = floor(x[i] * 0.1) as i32;
        up[i] = ceil(x[i] * 0.1);
    }";
    let judged = Judged::of(text, "steps", &[("N", 4)], &[29.9999999, 25.0, -30.0000003, 0.7]);
    let n = |a: f64, b: f64, c: f64| judged.right("n", &[a, b, c, 0.0]);
    assert!(n(2.0, 2.0, -4.0) && n(3.0, 2.0, -3.0) && n(2.0, 2.0, -3.0));
    assert!(!n(4.0, 2.0, -3.0) && !n(1.0, 2.0, -3.0), "two units are wrong everywhere");
    assert!(!n(3.0, 3.0, -3.0) && !n(3.0, 1.0, -3.0), "one unit is wrong away from a boundary");
    assert!(judged.right("up", &[3.0, 3.0, -3.0, 1.0]) && judged.right("up", &[4.0, 3.0, -2.0, 1.0]));
    assert!(!judged.right("up", &[3.0, 2.0, -3.0, 1.0]) && !judged.right("up", &[3.0, 3.0, -3.0, 0.0]));
}

/// A difference that is rounding alone has no sign that a machine must agree with.
/// A rest starts again from zero where the quotient is whole, and on which side of that a number lies is its own error's to say.
#[test]
fn rests_start_again_at_whole_quotients() {
    let text = "kernel rests(x: f32[N], out r: f32[N]) {
        grid i over N by 64;
        r[i] = (x[i] * 0.1) % 1.5;
    }";
    let judged = Judged::of(text, "rests", &[("N", 3)], &[44.9999999, 25.0, -30.0000003]);
    let r = |a: f64, b: f64, c: f64| judged.right("r", &[a, b, c]);
    assert!(r(1.4999999, 1.0, 1.4999999) && r(0.0, 1.0, 0.0) && r(1e-7, 1.0, 0.0));
    assert!(!r(0.0, 0.0, 0.0) && !r(0.0, 1.1, 0.0), "away from a boundary there is one rest");
    assert!(!r(1.8, 1.0, 0.0) && !r(-0.3, 1.0, 0.0), "no rest is larger than the divisor, or negative");
    let exact = Judged::of(&text.replace("x[i] * 0.1", "x[i]"), "rests", &[("N", 3)], &[3.0, 25.0, 1e9]);
    assert!(exact.right("r", &[0.0, 1.0, 1.0]) && !exact.right("r", &[1.5, 1.0, 1.0]));
}

#[test]
fn comparisons_jump_where_the_difference_is_an_error() {
    let text = "kernel passed(x: f32[N], out m: bool[N], out n: i32[1]) {
        grid i over N by 64;
        let v = x[i] * 0.1 - 0.3;
        m[i] = v > 0.0;
        n[0] = sum(sum(where(v > 0.0, 1, 0) over i) over grid i);
    }";
    let judged = Judged::of(text, "passed", &[("N", 4)], &[3.0, 2.0, 4.0, 5.0]);
    assert!(judged.right("m", &[0.0, 0.0, 1.0, 1.0]) && judged.right("m", &[1.0, 0.0, 1.0, 1.0]));
    assert!(!judged.right("m", &[0.0, 1.0, 1.0, 1.0]) && !judged.right("m", &[0.0, 0.0, 0.0, 1.0]));
    assert!(judged.right("n", &[2.0]) && judged.right("n", &[3.0]) && !judged.right("n", &[4.0]));
}

/// Three of five elements are equal but for rounding: rivals for the first place and for the second.
#[test]
fn any_of_nearly_equal_elements_may_be_picked() {
    let text = "kernel pick(x: f32[R, C], w: f32[C], out at: i32[R], out back: f32[R], out best: f32[R, 2], out places: i32[R, 2],
                out sorted: i32[R, C]) {
        tune BC in {8};
        grid r over R;
        let c = 0..C by BC;
        let n = 0..2;
        let v = x[r, c] * 0.1 + 0.3;
        let a = argmax(v over c);
        at[r] = a as i32;
        back[r] = w[a];
        let (most, coordinates) = topk(v over c, n);
        best[r, n] = most;
        places[r, n] = coordinates as i32;
        let (_, order) = sort(v over c);
        sorted[r, c] = order as i32;
    }";
    let x = [1.0, 3.0, 2.999_999_8, 2.0, 3.000_000_2];
    let mut judged = Judged::of(text, "pick", &[("R", 1), ("C", 5)], &x);
    assert!(judged.right("at", &[1.0]) && judged.right("at", &[2.0]) && judged.right("at", &[4.0]));
    assert!(!judged.right("at", &[3.0]), "it lies between right ones, and is wrong");
    assert!(!judged.right("at", &[0.0]) && !judged.right("at", &[-1.0]));
    for (places, right) in [([1, 2], true), ([4, 1], true), ([2, 4], true), ([1, 3], false), ([3, 1], false)]
    {
        assert_eq!(judged.right("places", &places.map(f64::from)), right, "{places:?}");
    }
    assert!(judged.right("sorted", &[0.0, 3.0, 2.0, 1.0, 4.0]));
    assert!(judged.right("sorted", &[0.0, 3.0, 4.0, 2.0, 1.0]));
    assert!(!judged.right("sorted", &[3.0, 0.0, 2.0, 1.0, 4.0]));
    assert!(judged.right("best", &[0.6, 0.6]) && !judged.right("best", &[0.6, 0.5]));
    // What is looked up by a pick is one of what the rivals give, and nothing between.
    let w = judged.kernel.tensors.iter().position(|t| t.name == "w").expect("a tensor");
    let w = judged.prepared.tensors[w].to_f64();
    assert!([1, 2, 4].iter().all(|&c: &usize| judged.right("back", &[w[c]])));
    assert!(!judged.right("back", &[w[3]]) && !judged.right("back", &[(w[1] + w[2]) / 2.0]));
    // Apart by more than both are off there is one answer; and what is read as it is has no error.
    judged = Judged::of(text, "pick", &[("R", 1), ("C", 2)], &[3.0, 3.01]);
    assert!(judged.right("at", &[1.0]) && !judged.right("at", &[0.0]));
    let read = text.replace("x[r, c] * 0.1 + 0.3", "x[r, c]");
    judged = Judged::of(&read, "pick", &[("R", 1), ("C", 5)], &x);
    assert!(judged.right("at", &[4.0]) && !judged.right("at", &[1.0]));
}

#[test]
fn picks_of_nearly_equal_elements_hold() {
    holds(TEXT, "rivals", "", &[&[("R", 40), ("C", 60)], &[("R", 3), ("C", 1)]]);
}

/// What was read as it is has no error before it is rounded.
#[test]
fn an_exact_number_has_one_side() {
    let text = "kernel cut(x: f32[N], out n: i32[N]) { grid i over N by 64; n[i] = trunc(x[i]) as i32; }";
    let judged = Judged::of(text, "cut", &[("N", 2)], &[3.0, 2.9999998]);
    assert!(judged.right("n", &[3.0, 2.0]));
    assert!(!judged.right("n", &[2.0, 2.0]) && !judged.right("n", &[3.0, 3.0]));
}

#[test]
fn places_that_atomics_hand_out_are_compared_in_order() {
    let judged = Judged::of(TEXT, "turns", &[("N", 5)], &[1.0, 2.0, 3.0, 4.0, 5.0]);
    let how = ["next", "old", "who", "share"].map(|name| judged.compared(name));
    assert_eq!(how, [Compared::Elements, Compared::Sorted, Compared::Sorted, Compared::NotCompared]);
    assert!(
        judged.right("old", &[4.0, 0.0, 3.0, 1.0, 2.0]) && judged.right("who", &[1.0, 0.0, 3.0, 4.0, 2.0])
    );
    assert!(!judged.right("old", &[4.0, 0.0, 3.0, 1.0, 1.0]), "nobody has a turn twice");
    assert!(!judged.right("next", &[4.0]), "how many there were does not depend on the order");
    assert!(judged.right("share", &[0.0; 5]));
}
