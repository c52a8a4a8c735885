//! Attention as the language reference has it, with its masks, against softmax written out.

use super::super::*;
use super::kit::noise;
use super::source::*;
use crate::numeric::FloatFormat;

const ATTENTION: &str = "
fn always(b, h, i, j) = true;
fn same(s, b, h, i, j) = s;
fn no_sink(h) = -inf;
fn causal(b, h, i, j) using S, L = j <= i + (L - S);
fn document(b, h, i, j) using dq: i32[B, S], dk: i32[B, L] = dq[b, i] == dk[b, j];
fn softcap(s, b, h, i, j) using cap: f32 = cap * tanh(s / cap);
fn learned(h) using sink_logit: f32[HQ] = sink_logit[h];
kernel attention<T: f16 | bf16, D: 32..=576 = 128, DV: 32..=512 = D, fn mask(b, h, i, j) -> bool = always,
                 fn score(s, b, h, i, j) -> f32 = same, fn sink(h) -> f32 = no_sink>(
    q: T[B, HQ, S, D] strides(_, _, _, 1), k: T[B, HKV, L, D] strides(_, _, _, 1), v: T[B, HKV, L, DV] strides(_, _, _, 1),
    out o: T[B, HQ, S, DV] strides(_, _, _, 1), out lse: f32[B, HQ, S], scale: f32 = 1 / sqrt(D as f32),
) where HQ % HKV == 0 {
    tune BQ in {64, 128, 192, 16}, BR in {1, 4, 8, 16}, BKV in 32..=256 step 16 where BQ * BR <= 256;
    let R = HQ / HKV;
    grid b over B, g over HKV, r over R by BR, i over S by BQ;
    let h = g * R + r;
    let mut m: f32[r, i] = sink(h) * LOG2E;
    let mut l: f32[r, i] = where(m > -inf, 1, 0);
    let mut acc: f32[r, i, DV] = 0;
    for j over L by BKV when mask(b, h, i, j) {
        let z = score((q[b, h, i, :] @ k[b, g, j, :].T) * scale, b, h, i, j) * LOG2E;
        let s: f32[r, i, j] = where(mask(b, h, i, j), z, -inf);
        let m_new = max(m, max(s over j));
        let base = where(m_new == -inf, 0, m_new);
        let p = exp2(s - base);
        let alpha = exp2(m - base);
        l = l * alpha + sum(p over j);
        acc = acc * alpha + (p as T) @ v[b, g, j, :];
        m = m_new;
    }
    o[b, h, i, :] = where(l > 0, acc / l, 0) as T;
    lse[b, h, i] = where(l > 0, (m + log2(l)) / LOG2E, -inf);
}
";

struct Shape {
    b: usize,
    hq: usize,
    hkv: usize,
    s: usize,
    l: usize,
    d: usize,
}

impl Shape {
    fn dims(&self) -> [(&'static str, usize); 5] {
        [("B", self.b), ("HQ", self.hq), ("HKV", self.hkv), ("S", self.s), ("L", self.l)]
    }
}

/// Softmax attention, one query at a time: outputs and logarithms of the sums.
fn reference(
    shape: &Shape,
    [q, k, v]: [&[f64]; 3],
    mask: impl Fn(usize, usize, usize) -> bool,
    score: impl Fn(f64) -> f64,
    sink: impl Fn(usize) -> f64,
) -> (Vec<f64>, Vec<f64>) {
    let Shape { b, hq, hkv, s, l, d } = *shape;
    let (mut o, mut lse) = (Vec::new(), Vec::new());
    for at in 0..b * hq * s {
        let (bb, h, i) = (at / s / hq, at / s % hq, at % s);
        let g = h / (hq / hkv);
        let row = |t: &'_ [f64], j: usize| t[((bb * hkv + g) * l + j) * d..][..d].to_vec();
        let query = &q[at * d..][..d];
        let visible: Vec<usize> = (0..l).filter(|&j| mask(bb, i, j)).collect();
        let weights: Vec<f64> = visible
            .iter()
            .map(|&j| {
                let dot: f64 = query.iter().zip(row(k, j)).map(|(a, b)| a * b).sum();
                score(dot * (1.0 / (d as f64).sqrt()) as f32 as f64).exp()
            })
            .collect();
        let total = weights.iter().sum::<f64>() + sink(h).exp();
        for c in 0..d {
            let sum: f64 = visible.iter().zip(&weights).map(|(&j, w)| w * row(v, j)[c]).sum();
            o.push(if total > 0.0 { sum / total } else { 0.0 });
        }
        lse.push(if total > 0.0 { total.ln() } else { f64::NEG_INFINITY });
    }
    (o, lse)
}

fn check(
    shape: Shape,
    sets: &[(&str, &str)],
    more: impl Fn(Launch<'_>) -> Launch<'_>,
    mask: impl Fn(usize, usize, usize) -> bool,
    score: impl Fn(f64) -> f64,
    sink: impl Fn(usize) -> f64,
) {
    let d = shape.d.to_string();
    let sets = [sets, &[("D", d.as_str()), ("BQ", "16"), ("BKV", "32")]].concat();
    let kernel = kernel(ATTENTION, "attention", &sets);
    let sizes = [shape.hq * shape.s, shape.hkv * shape.l, shape.hkv * shape.l];
    let [q, k, v] = [0, 1, 2].map(|n| noise(n as u64 + 5, shape.b * sizes[n] * shape.d));
    let launch = Launch::of(&kernel, &shape.dims()).float("q", &q).float("k", &k).float("v", &v);
    let outputs = more(launch).run(Mode::Exact).expect("no fault");
    let output = |name| floats(outputs.named(&kernel, name).expect("an output").values.clone());
    let (o, lse) = reference(&shape, [&q, &k, &v], mask, score, sink);
    // The program rounds the weights to f16 before the second product, and its outputs.
    assert_close(&output("o"), &o, 2e-3);
    assert_close(&output("lse"), &lse, 1e-6);
}

const SMALL: Shape = Shape { b: 2, hq: 4, hkv: 2, s: 21, l: 37, d: 32 };

#[test]
fn without_a_mask() {
    check(SMALL, &[], |l| l, |_, _, _| true, |s| s, |_| f64::NEG_INFINITY);
}

#[test]
fn causal_with_packed_heads() {
    let visible = |_, i: usize, j: usize| j <= i + 16;
    check(SMALL, &[("mask", "causal"), ("BR", "4")], |l| l, visible, |s| s, |_| f64::NEG_INFINITY);
}

#[test]
fn causal_where_the_first_queries_see_nothing() {
    // L < S: query i sees keys up to i - 16.
    let shape = Shape { s: 37, l: 21, ..SMALL };
    let visible = |_, i: usize, j: usize| j + 16 <= i;
    check(shape, &[("mask", "causal")], |l| l, visible, |s| s, |_| f64::NEG_INFINITY);
}

#[test]
fn by_document_with_softcap() {
    let dq: Vec<i64> = (0..2 * 21).map(|n| n % 21 / 6).collect();
    let dk: Vec<i64> = (0..2 * 37).map(|n| n % 37 / 9).collect();
    let visible = |b: usize, i: usize, j: usize| dq[b * 21 + i] == dk[b * 37 + j];
    check(
        SMALL,
        &[("mask", "document"), ("score", "softcap")],
        |l| l.int("dq", &dq).int("dk", &dk).scalar("cap", 0.5),
        visible,
        |s| 0.5 * (s / 0.5).tanh(),
        |_| f64::NEG_INFINITY,
    );
}

#[test]
fn with_a_learned_sink() {
    let logits = [0.25, -0.5, 1.0, 0.0];
    check(
        SMALL,
        &[("sink", "learned")],
        |l| l.float("sink_logit", &logits),
        |_, _, _| true,
        |s| s,
        |h| logits[h],
    );
}

#[test]
fn typed_mode_is_near_and_not_the_same() {
    let kernel = kernel(ATTENTION, "attention", &[("D", "32"), ("BQ", "16"), ("T", "bf16")]);
    let shape = SMALL;
    let sizes = [shape.hq * shape.s, shape.hkv * shape.l, shape.hkv * shape.l];
    let [q, k, v] = [0, 1, 2].map(|n| noise(n as u64 + 5, shape.b * sizes[n] * shape.d));
    let run = |mode| {
        let launch = Launch::of(&kernel, &shape.dims()).float("q", &q).float("k", &k).float("v", &v);
        let outputs = launch.run(mode).expect("no fault");
        floats(outputs.named(&kernel, "lse").expect("an output").values.clone())
    };
    let (exact, typed) = (run(Mode::Exact), run(Mode::Typed));
    assert_close(&typed, &exact, 1e-5);
    assert_ne!(typed, exact);
    assert!(typed.iter().all(|&x| FloatFormat::F32.round(x) == x));
}
