//! Every kernel of the corpus runs in the evaluator on small ragged shapes: no fault, nothing malformed, every `out` element
//! that the shapes reach is written.

use super::*;
use crate::elaborate::kernel_names;
use crate::front::DirectiveKind;
use crate::tile::eval::{Inputs, Mode, Values, evaluate};
use crate::tile::*;

/// A small fixed sequence of numbers in 0..1.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f64 / (1u64 << 24) as f64
    }
}

struct Dims<'a>(&'a [i64]);

impl LaunchFacts for Dims<'_> {
    fn dim(&self, d: DimId) -> Option<i64> {
        self.0.get(d.0 as usize).copied()
    }
    fn scalar(&self, _: ScalarId) -> Option<Const> {
        None
    }
    fn stride(&self, _: TensorId, _: usize) -> Option<i64> {
        None
    }
}

fn values(t: &Tensor, shape: &[i64], facts: &Dims, n: &mut Numbers) -> Values {
    let len: i64 = shape.iter().product();
    let last = shape.last().copied().unwrap_or(1);
    if t.elem.is_float() {
        return Values::Float((0..len).map(|_| n.next() * 2.0 - 1.0).collect());
    }
    let int = |e: &LaunchExpr| e.eval_int(facts).expect("bounds are over dimensions");
    Values::Int(match &t.holds {
        Some(Holds::In { lo, distinct: true, .. }) => (0..len).map(|c| int(lo) + c).collect(),
        Some(Holds::In { lo, hi, inclusive, .. }) => {
            let (lo, hi) = (int(lo), int(hi) + i64::from(*inclusive));
            (0..len).map(|_| lo + (n.next() * (hi - lo) as f64) as i64).collect()
        }
        Some(Holds::Ascending { lo, hi }) => {
            let (lo, hi) = (int(lo), int(hi));
            (0..len).map(|c| lo + (hi - lo) * (c % last) / (last - 1).max(1)).collect()
        }
        None => {
            let most = 1i64 << t.elem.bits().min(4);
            let low = if t.elem.is_signed() { most / 2 } else { 0 };
            (0..len).map(|_| (n.next() * most as f64) as i64 - low).collect()
        }
    })
}

/// Runs one kernel; `None` where it needs more than random numbers, and says so.
fn run(file: &str, k: &Kernel, given: &[(String, u64)]) {
    let mut builder = Inputs::builder(k);
    let mut dims = Vec::new();
    for d in &k.dims {
        let value = given.iter().find(|(n, _)| *n == d.name).map_or(40, |(_, v)| *v as i64);
        let value = if d.name == "KB" || d.name == "NB" {
            // Promised to be the number of blocks of 128.
            let of = if d.name == "KB" { "K" } else { "N" };
            given.iter().find(|(n, _)| n == of).map_or(1, |(_, v)| (*v as i64 + 127) / 128)
        } else {
            value
        };
        dims.push(value);
        builder = builder.dim(&d.name, value);
    }
    let facts = Dims(&dims);
    let mut numbers = Numbers(7);
    for t in &k.tensors {
        if matches!(t.kind, TensorKind::In | TensorKind::InOut | TensorKind::Packed) {
            let shape: Vec<i64> = t
                .shape
                .iter()
                .map(|e| e.extent.eval_int(&facts).expect("a shape is over dimensions"))
                .collect();
            builder = builder.tensor(&t.name, values(t, &shape, &facts, &mut numbers));
        }
    }
    for s in &k.scalars {
        if s.default.is_none() {
            let c = if s.elem.is_float() { Const::Float(0.5) } else { Const::Int(3) };
            builder = builder.scalar(&s.name, c);
        }
    }
    let inputs = builder.build().unwrap_or_else(|e| panic!("{file} {}: {e:?}", k.name));
    let outputs = evaluate(k, &inputs, Mode::Exact).unwrap_or_else(|e| panic!("{file} {}: {e:?}", k.name));
    let wrote = outputs.tensors.iter().flatten().any(|o| o.written.iter().any(|w| *w));
    assert!(wrote, "{file} {} wrote nothing", k.name);
}

#[test]
fn every_kernel_of_the_corpus_runs() {
    for file in super::corpus::programs() {
        let text = std::fs::read_to_string(&file).expect("readable");
        let (_, program, _) = program(&text);
        let mut given = Vec::new();
        let mut expected = false;
        for d in &program.directives {
            match &d.kind {
                DirectiveKind::Dims(list) => given.extend(list.clone()),
                DirectiveKind::Expect { .. } => expected = true,
                _ => {}
            }
        }
        if expected {
            continue;
        }
        // The examples' own sizes are for `run`; here they would only take time.
        for (_, v) in &mut given {
            *v = (*v).min(300);
        }
        for name in kernel_names(&program) {
            let k = kernel(&text, &name, &Settings::default());
            run(&file.display().to_string(), &k, &given);
        }
    }
}
