//! Programs of the language reference, from source, against straightforward Rust.

use super::super::*;
use super::kit::noise;
use super::source::*;
use crate::numeric::FloatFormat;

/// `Σ a[i, k] b[j, k]` with `a` of m rows and `b` of n.
fn product(a: &[f64], b: &[f64], m: usize, n: usize, k: usize) -> Vec<f64> {
    (0..m * n).map(|at| (0..k).map(|p| a[at / n * k + p] * b[at % n * k + p]).sum()).collect()
}

fn whole(seed: u64, len: usize, below: i64) -> Vec<i64> {
    noise(seed, len).iter().map(|x| ((x + 1.0) * 64.0) as i64 % below).collect()
}

#[test]
fn the_gemm_of_the_examples() {
    let text = include_str!("../../../../../dsl_examples/gemm.tw");
    let kernel = kernel(text, "gemm", &[("T", "bf16"), ("BM", "64"), ("BN", "64"), ("BK", "32")]);
    for (m, n, k) in [(100, 70, 50), (64, 64, 32), (3, 65, 0), (0, 5, 7), (1, 1, 1)] {
        let (a, b) = (noise(1, m * k), noise(2, n * k));
        let launch = Launch::of(&kernel, &[("M", m), ("N", n), ("K", k)]).float("a", &a).float("b", &b);
        let expected: Vec<f64> =
            product(&a, &b, m, n, k).iter().map(|&x| FloatFormat::BF16.round(x)).collect();
        assert_eq!(floats(launch.exact("c")), expected, "{m}x{n}x{k}");
    }
}

#[test]
fn a_gemm_with_an_epilogue_that_captures() {
    let text = include_str!("../../../../../dsl_examples/gemm.tw");
    let kernel = kernel(text, "gemm_bias_gelu", &[]);
    let (m, n, k) = (40, 30, 20);
    let (a, b, bias, res) = (noise(1, m * k), noise(2, n * k), noise(3, n), noise(4, m * n));
    let launch = Launch::of(&kernel, &[("M", m), ("N", n), ("K", k)])
        .float("a", &a)
        .float("b", &b)
        .float("bias", &bias)
        .float("res", &res);
    // Either definition of gelu is this within 1e-3.
    let gelu = |x: f64| x / 2.0 * (1.0 + (0.797_884_560_802_865_4 * (x + 0.044_715 * x * x * x)).tanh());
    let expected: Vec<f64> = product(&a, &b, m, n, k)
        .iter()
        .enumerate()
        .map(|(at, &x)| gelu(x + bias[at % n]) + res[at])
        .collect();
    assert_close(&floats(launch.exact("c")), &expected, 1e-3);
}

#[test]
fn online_softmax_over_wide_rows() {
    let kernel = kernel(
        "kernel softmax(x: f32[N, C], out y: f32[N, C]) {
            grid i over N by 8;
            let mut m: f32[i] = -inf;
            let mut l: f32[i] = 0;
            for c over C by 32 {
                let t = x[i, c];
                let m_new = max(m, max(t over c));
                l = l * exp(m - m_new) + sum(exp(t - m_new) over c);
                m = m_new;
            }
            for c over C by 32 { y[i, c] = exp(x[i, c] - m) / l; }
        }",
        "softmax",
        &[],
    );
    let (n, c) = (11, 70);
    let x = noise(9, n * c);
    let expected: Vec<f64> = x
        .chunks(c)
        .flat_map(|row| {
            let total: f64 = row.iter().map(|v| v.exp()).sum();
            row.iter().map(move |v| v.exp() / total)
        })
        .collect();
    let y = floats(Launch::of(&kernel, &[("N", n), ("C", c)]).float("x", &x).exact("y"));
    assert_close(&y, &expected, 1e-8);
}

#[test]
fn split_k_with_a_sum_over_the_grid() {
    let kernel = kernel(
        "kernel split(a: f16[M, K], b: f16[N, K], out c: f32[M, N]) {
            tune SPLIT in {3};
            grid i over M by 16, j over N by 16, s over SPLIT;
            let mut acc: f32[i, j] = 0;
            for k over part(K by 8, s, SPLIT) { acc += a[i, k] @ b[j, k].T; }
            c[i, j] = sum(acc over grid s);
        }",
        "split",
        &[],
    );
    for (m, n, k) in [(20, 17, 100), (16, 16, 24), (5, 3, 9), (4, 4, 0)] {
        let (a, b) = (noise(1, m * k), noise(2, n * k));
        let launch = Launch::of(&kernel, &[("M", m), ("N", n), ("K", k)]).float("a", &a).float("b", &b);
        assert_eq!(floats(launch.exact("c")), product(&a, &b, m, n, k), "{m}x{n}x{k}");
    }
}

#[test]
fn a_histogram_by_atomics() {
    let kernel = kernel(
        "kernel histogram(x: i32[N] in 0..B, inout h: i32[B]) {
            grid i over N by 16;
            atomic h[x[i]] += 1;
        }",
        "histogram",
        &[],
    );
    let x = whole(3, 100, 7);
    let launch = Launch::of(&kernel, &[("N", 100), ("B", 7)]).int("x", &x).int("h", &[0; 7]);
    let outputs = launch.run(Mode::Exact).expect("atomics are no fault");
    let expected: Vec<i64> = (0..7).map(|b| x.iter().filter(|&&v| v == b).count() as i64).collect();
    assert_eq!(outputs.named(&kernel, "h").expect("an output").values, Values::Int(expected));
}

#[test]
fn experts_with_ragged_offsets_and_gathered_rows() {
    let kernel = kernel(
        "kernel moe(x: f16[T, K], w: f16[E, N, K], off: i32[E + 1] ascending 0..P, src: i32[P] in 0..T, out y: f32[P, N]) {
            grid e over E, i over off[e]..off[e + 1] by 4, j over N by 16;
            let mut acc: f32[i, j] = 0;
            for k over K by 16 { acc += x[src[i], k] @ w[e, j, k].T; }
            y[i, j] = acc;
        }",
        "moe",
        &[],
    );
    let (t, k, e, n, p) = (6, 20, 4, 18, 13);
    let off = [0, 5, 5, 6, 13];
    let (x, w, src) = (noise(1, t * k), noise(2, e * n * k), whole(4, p, 6));
    let y = Launch::of(&kernel, &[("T", t), ("K", k), ("E", e), ("N", n), ("P", p)])
        .float("x", &x)
        .float("w", &w)
        .int("off", &off)
        .int("src", &src)
        .exact("y");
    let expected: Vec<f64> = (0..p * n)
        .map(|at| {
            let expert = off.iter().rposition(|&o| o as usize <= at / n).expect("off begins at 0");
            let row = &x[src[at / n] as usize * k..][..k];
            row.iter().zip(&w[(expert * n + at % n) * k..][..k]).map(|(a, b)| a * b).sum()
        })
        .collect();
    assert_eq!(floats(y), expected);
}

#[test]
fn rotary_embedding_reads_a_tile_by_coordinates() {
    let kernel = kernel(
        "kernel rotary<D: 8..=128 = 16>(x: f32[T, D], c: f32[T, D], s: f32[T, D], out y: f32[T, D]) {
            grid t over T by 4;
            let d = 0..D;
            let v = x[t, d];
            y[t, d] = v * c[t, d] + v[.., (d + D / 2) % D] * where(d < D / 2, -s[t, d], s[t, d]);
        }",
        "rotary",
        &[],
    );
    let (t, d) = (7, 16);
    let (x, c, s) = (noise(1, t * d), noise(2, t * d), noise(3, t * d));
    let y = Launch::of(&kernel, &[("T", t)]).float("x", &x).float("c", &c).float("s", &s).exact("y");
    let expected: Vec<f64> = (0..t * d)
        .map(|at| {
            let (row, col) = (at / d, at % d);
            let other = x[row * d + (col + d / 2) % d];
            x[at] * c[at] + other * if col < d / 2 { -s[at] } else { s[at] }
        })
        .collect();
    assert_eq!(floats(y), expected);
}

#[test]
fn bit_planes_make_an_integer_product() {
    let kernel = kernel(
        "kernel planes(x: i8[M, K], w: i2[N, K], out c: i32[M, N]) {
            grid i over M by 8, j over N by 8;
            let mut acc: i32[i, j] = 0;
            for k over K by 16 {
                for p over 2 { for q over 8 {
                    acc += ((((x[i, k] >> q) as u1) @ ((w[j, k] >> p) as u1).T) << (p + q)) * where((p == 1) != (q == 7), -1, 1);
                } }
            }
            c[i, j] = acc;
        }",
        "planes",
        &[],
    );
    let (m, n, k) = (9, 10, 21);
    let x: Vec<i64> = whole(1, m * k, 256).iter().map(|v| (v * 2 - 128).min(127)).collect();
    let w: Vec<i64> = whole(2, n * k, 4).iter().map(|v| v - 2).collect();
    let c = Launch::of(&kernel, &[("M", m), ("N", n), ("K", k)]).int("x", &x).int("w", &w).exact("c");
    let expected: Vec<i64> =
        (0..m * n).map(|at| (0..k).map(|p| x[at / n * k + p] * w[at % n * k + p]).sum()).collect();
    assert_eq!(ints(c), expected);
}

#[test]
fn mxfp4_weights_with_a_power_of_two_per_block() {
    let kernel = kernel(
        "kernel mx(a: bf16[M, K], w: e2m1[N, K], e: e8m0[N, K / 32], out c: f32[M, N]) {
            grid i over M by 16, j over N by 16;
            let mut acc: f32[i, j] = 0;
            for k over K by 64 { acc += a[i, k] @ (w[j, k] as bf16 * (e[j, k / 32] as bf16)).T; }
            c[i, j] = acc;
        }",
        "mx",
        &[],
    );
    let (m, n, k) = (5, 18, 96);
    let a = noise(1, m * k);
    let w: Vec<f64> = noise(2, n * k).iter().map(|x| FloatFormat::E2M1.round(x * 6.0)).collect();
    let e: Vec<f64> = whole(3, n * k / 32, 8).iter().map(|&x| 2f64.powi(x as i32 - 4)).collect();
    let scaled: Vec<f64> = w.iter().enumerate().map(|(at, x)| x * e[at / 32]).collect();
    let c = Launch::of(&kernel, &[("M", m), ("N", n), ("K", k)])
        .float("a", &a)
        .float("w", &w)
        .float("e", &e)
        .exact("c");
    assert_eq!(floats(c), product(&a, &scaled, m, n, k));
}

#[test]
fn causal_linear_attention_with_a_primed_axis_and_carried_state() {
    let kernel = kernel(
        "kernel linear<D: 8..=64 = 8>(q: f32[S, D], k: f32[S, D], v: f32[S, D], out o: f32[S, D]) {
            let d = 0..D;
            let e = 0..D;
            let mut st: f32[d, e] = 0;
            for i over S by 16 {
                let within = where(i' <= i, q[i, d] @ k[i', d].T, 0) @ v[i', e];
                o[i, e] = within + q[i, d] @ st;
                st += k[i, d].T @ v[i, e];
            }
        }",
        "linear",
        &[],
    );
    let (s, d) = (37, 8);
    let [q, k, v] = [1, 2, 3].map(|seed| noise(seed, s * d));
    let o = Launch::of(&kernel, &[("S", s)]).float("q", &q).float("k", &k).float("v", &v).exact("o");
    let row = |t: &[f64], i: usize| t[i * d..][..d].to_vec();
    let expected: Vec<f64> = (0..s * d)
        .map(|at| {
            let (i, e) = (at / d, at % d);
            let weight = |j| row(&q, i).iter().zip(row(&k, j)).map(|(a, b)| a * b).sum::<f64>();
            (0..=i).map(|j| weight(j) * v[j * d + e]).sum()
        })
        .collect();
    assert_close(&floats(o), &expected, 1e-6);
}

#[test]
fn routing_by_topk() {
    let kernel = kernel(
        "kernel route<E: 4..=64 = 8>(logits: f32[T, E], out at: i32[T, 3], out best: f32[T, 3]) {
            grid t over T by 4;
            let n = 0..3;
            let (v, c) = topk(logits[t, :] over E, n);
            at[t, n] = c as i32;
            best[t, n] = v;
        }",
        "route",
        &[],
    );
    let (t, e) = (10, 8);
    let logits = noise(7, t * e);
    let launch = Launch::of(&kernel, &[("T", t)]).float("logits", &logits);
    let outputs = launch.run(Mode::Exact).expect("no fault");
    let mut expected = (Vec::new(), Vec::new());
    for row in logits.chunks(e) {
        let mut order: Vec<usize> = (0..e).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
        expected.0.extend(order[..3].iter().map(|&c| c as i64));
        expected.1.extend(order[..3].iter().map(|&c| row[c]));
    }
    assert_eq!(outputs.named(&kernel, "at").expect("an output").values, Values::Int(expected.0));
    assert_eq!(outputs.named(&kernel, "best").expect("an output").values, Values::Float(expected.1));
}

/// One element of each output of `body`, where x is a third, in unrounded mode.
fn unrounded(body: &str) -> Vec<f64> {
    let text = format!(
        "kernel k(x: f32[N], out y: f16[N], out z: f32[N], inout t: f32[N]) {{ grid i over N by 4; {body} }}"
    );
    let kernel = kernel(&text, "k", &[]);
    let launch = Launch::of(&kernel, &[("N", 1)]).float("x", &[THIRD]).float("t", &[THIRD]);
    let outputs = launch.run(Mode::Unrounded).expect("no fault");
    ["y", "z", "t"]
        .map(|name| floats(outputs.named(&kernel, name).expect("an output").values.clone())[0])
        .to_vec()
}

/// As f32.
const THIRD: f64 = 0.333_333_343_267_440_8;

#[test]
fn only_the_last_rounding_is_left_out() {
    let f16 = |x: f64| FloatFormat::F16.round(x);
    let f32 = |x: f64| FloatFormat::F32.round(x);
    assert!(f16(THIRD) != THIRD && f32(THIRD) == THIRD && f32(THIRD * THIRD) != THIRD * THIRD);
    // A store rounds, too: f32 is one more type.
    let y = unrounded("y[i] = (x[i] * x[i]) as f16; z[i] = x[i] * x[i]; t[i] = 0;");
    assert_eq!(y[..2], [THIRD * THIRD, THIRD * THIRD]);
    // What is computed with was rounded as declared, and a widening cast rounds nothing.
    let y = unrounded("let h = x[i] as f16; y[i] = h + h; z[i] = h as f32; t[i] = 0;");
    assert_eq!(y[..2], [2.0 * f16(THIRD), f16(THIRD)]);
    // One cast, two uses: its store sees through it, the other use does not.
    let y = unrounded("let h = x[i] as f16; y[i] = h; z[i] = h as f32 * 2; t[i] = 0;");
    assert_eq!(y[..2], [THIRD, 2.0 * f16(THIRD)]);
    // Selection only moves.
    let y = unrounded("y[i] = where(i == 0, (x[i] / 2) as f16, 0); z[i] = 0; t[i] = 0;");
    assert_eq!(y[0], THIRD / 2.0);
    // What is read back is what memory holds.
    let y = unrounded("t[i] = x[i] * x[i]; z[i] = t[i] * 2; y[i] = 0;");
    assert_eq!(y[1..], [2.0 * f32(THIRD * THIRD), THIRD * THIRD]);
    // By way of an integer everything is rounded.
    let y = unrounded("z[i] = ((x[i] * 100) as i32) as f32; y[i] = 0; t[i] = 0;");
    assert_eq!(y[1], 33.0);
    // An atomic adds what the program says; its sum is not rounded again.
    let y = unrounded("atomic t[i] += (x[i] as f16) as f32; y[i] = 0; z[i] = 0;");
    assert_eq!(y[2], THIRD + f16(THIRD));
}

#[test]
fn a_cast_to_an_integer_is_never_left_out() {
    let text = "kernel k(x: f32[N], out y: i32[N], out z: i32[N]) {
        grid i over N by 4;
        y[i] = (x[i] * 100) as i32;
        z[i] = where(i == 0, (x[i] * 4) as i32, 7);
    }";
    let kernel = kernel(text, "k", &[]);
    for mode in [Mode::Exact, Mode::Unrounded, Mode::Typed] {
        let outputs =
            Launch::of(&kernel, &[("N", 2)]).float("x", &[THIRD, -THIRD]).run(mode).expect("no fault");
        let values = |name| &outputs.named(&kernel, name).expect("an output").values;
        assert_eq!(values("y"), &Values::Int(vec![33, -33]), "{mode:?}");
        assert_eq!(values("z"), &Values::Int(vec![1, 7]), "{mode:?}");
    }
}
