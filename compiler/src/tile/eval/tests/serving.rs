//! Programs of inference engines: paged and ragged attention pieces, split-KV merging, look-up tables, norms, transforms.

use super::super::*;
use super::kit::noise;
use super::source::*;
use crate::numeric::FloatFormat;

fn whole(seed: u64, len: usize, below: i64) -> Vec<i64> {
    noise(seed, len).iter().map(|x| ((x + 1.0) * 64.0) as i64 % below).collect()
}

#[test]
fn paged_int4_keys_with_zero_points_and_scales() {
    let kernel = kernel(
        "kernel scores<P: 4..=64 = 8, D: 8..=128 = 16>(
            q: f16[B, D], kc: u4[NP, P, D], kz: f16[NP, P], ks: f16[NP, P],
            pages: i32[B, MAXP] in 0..NP, len: i32[B] in 0..=MAXP * P, out s: f32[B, L],
        ) {
            grid b over B, j over 0..len[b] by 16;
            let pg = pages[b, j / P];
            let d = 0..D;
            let keys = (kc[pg, j % P, d] as f16 - kz[pg, j % P]) * ks[pg, j % P];
            s[b, j] = sum(keys as f32 * (q[b, d] as f32) over d);
        }",
        "scores",
        &[],
    );
    let (b, d, np, p, max, l) = (3, 16, 7, 8, 4, 32);
    let q = noise(1, b * d);
    let kc = whole(2, np * p * d, 16);
    let (kz, ks) = (noise(3, np * p), noise(4, np * p));
    let pages = whole(5, b * max, np as i64);
    let len = [20, 0, 32];
    let outputs = Launch::of(&kernel, &[("B", b), ("NP", np), ("MAXP", max), ("L", l)])
        .float("q", &q)
        .int("kc", &kc)
        .float("kz", &kz)
        .float("ks", &ks)
        .int("pages", &pages)
        .int("len", &len)
        .run(Mode::Exact)
        .expect("no fault");
    let s = outputs.named(&kernel, "s").expect("an output");
    let values = floats(s.values.clone());
    for at in 0..b * l {
        let (bb, j) = (at / l, at % l);
        assert_eq!(s.written[at], (j as i64) < len[bb]);
        if !s.written[at] {
            continue;
        }
        let row = pages[bb * max + j / p] as usize * p + j % p;
        let expected: f64 =
            (0..d).map(|c| (kc[row * d + c] as f64 - kz[row]) * ks[row] * q[bb * d + c]).sum();
        assert!((values[at] - expected).abs() < 1e-5, "{at}: {} is not {expected}", values[at]);
    }
}

#[test]
fn split_kv_partial_results_merge_over_the_grid() {
    let kernel = kernel(
        "kernel decode<D: 8..=128 = 16>(q: f32[B, D], k: f32[B, L, D], v: f32[B, L, D], len: i32[B] in 0..=L, out o: f32[B, D]) {
            tune CH in {16};
            grid b over B, n over cdiv(L, CH);
            let d = 0..D;
            let mut m: f32 = -inf;
            let mut l: f32 = 0;
            let mut acc: f32[d] = 0;
            for j over n * CH..min((n + 1) * CH, len[b] as index) by 8 {
                let s = sum(k[b, j, d] * q[b, d] over d);
                let m_new = max(m, max(s over j));
                let base = where(m_new == -inf, 0, m_new);
                let p = exp2(s - base);
                let alpha = exp2(m - base);
                l = l * alpha + sum(p over j);
                acc = acc * alpha + sum(p * v[b, j, d] over j);
                m = m_new;
            }
            let top = max(m over grid n);
            let w = exp2(m - where(top == -inf, 0, top));
            let total = sum(l * w over grid n);
            o[b, d] = where(total > 0, sum(acc * w over grid n) / total, 0);
        }",
        "decode",
        &[],
    );
    let (b, l, d) = (4, 50, 16);
    let (q, k, v) = (noise(1, b * d), noise(2, b * l * d), noise(3, b * l * d));
    let len = [50, 7, 0, 33];
    let o = Launch::of(&kernel, &[("B", b), ("L", l)])
        .float("q", &q)
        .float("k", &k)
        .float("v", &v)
        .int("len", &len)
        .exact("o");
    let mut expected = Vec::new();
    for bb in 0..b {
        let weight = |j: usize| (0..d).map(|c| k[(bb * l + j) * d + c] * q[bb * d + c]).sum::<f64>().exp2();
        let weights: Vec<f64> = (0..len[bb] as usize).map(weight).collect();
        let total: f64 = weights.iter().sum();
        for c in 0..d {
            let sum: f64 = weights.iter().enumerate().map(|(j, w)| w * v[(bb * l + j) * d + c]).sum();
            expected.push(if total > 0.0 { sum / total } else { 0.0 });
        }
    }
    assert_close(&floats(o), &expected, 1e-6);
}

#[test]
fn a_file_constant_is_a_look_up_table() {
    let kernel = kernel(
        "const CODES: f16[4] = [-1, -0.25, 0.5, 2];
        kernel table(c: u2[N, K], s: f16[N, K / 32], out y: f32[N, K]) {
            grid j over N by 8, k over K by 16;
            y[j, k] = (CODES[c[j, k]] * s[j, k / 32]) as f32;
        }",
        "table",
        &[],
    );
    let (n, k) = (5, 64);
    let (c, s) = (whole(1, n * k, 4), noise(2, n * k / 32));
    let y = Launch::of(&kernel, &[("N", n), ("K", k)]).int("c", &c).float("s", &s).exact("y");
    let expected: Vec<f64> =
        c.iter().enumerate().map(|(at, &c)| [-1.0, -0.25, 0.5, 2.0][c as usize] * s[at / 32]).collect();
    assert_eq!(floats(y), expected);
}

#[test]
fn rms_norm_to_fp8_in_two_loops() {
    let kernel = kernel(
        "kernel norm(x: bf16[N, C], w: bf16[C], out y: e4m3[N, C], out scale: f32[N]) {
            grid i over N by 4;
            let mut ss: f32[i] = 0;
            let mut top: f32[i] = 0;
            for c over C by 32 {
                let t = x[i, c] as f32 * (w[c] as f32);
                ss += sum(x[i, c] as f32 * (x[i, c] as f32) over c);
                top max= max(abs(t) over c);
            }
            let r = rsqrt(ss / (C as f32) + 1e-5);
            let s = max(top * r / 448, 1e-12);
            for c over C by 32 { y[i, c] = (x[i, c] as f32 * (w[c] as f32) * r / s) as e4m3; }
            scale[i] = s;
        }",
        "norm",
        &[],
    );
    let (n, c) = (6, 75);
    let (x, w) = (noise(1, n * c), noise(2, c));
    let outputs = Launch::of(&kernel, &[("N", n), ("C", c)])
        .float("x", &x)
        .float("w", &w)
        .run(Mode::Exact)
        .expect("no fault");
    let y = floats(outputs.named(&kernel, "y").expect("an output").values.clone());
    let scale = floats(outputs.named(&kernel, "scale").expect("an output").values.clone());
    for i in 0..n {
        let row = &x[i * c..][..c];
        let r = 1.0 / (row.iter().map(|v| v * v).sum::<f64>() / c as f64 + 1e-5).sqrt();
        let weighted: Vec<f64> = row.iter().zip(&w).map(|(x, w)| x * w).collect();
        let top = weighted.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        assert!((scale[i] - top * r / 448.0).abs() < 1e-6 * scale[i]);
        for (at, v) in weighted.iter().enumerate() {
            let exact = v * 448.0 / top;
            let got = y[i * c + at];
            // Rounded to one of the two neighbours in e4m3: within a step, which is at most 1/8 of the number.
            assert!((got - exact).abs() <= exact.abs() / 16.0 + 2f64.powi(-10), "{got} for {exact}");
            assert_eq!(FloatFormat::E4M3.round(got), got);
        }
    }
}

#[test]
fn the_hadamard_transform_of_the_prelude() {
    let kernel = kernel(
        "kernel hadamard<D: 16..=128 = 32>(x: f32[T, D], out y: f32[T, D]) {
            grid t over T by 4;
            let d = 0..D;
            y[t, d] = fwht(x[t, d], d, 16);
        }",
        "hadamard",
        &[],
    );
    let (t, d) = (3, 32);
    let x = noise(1, t * d);
    let y = Launch::of(&kernel, &[("T", t)]).float("x", &x).exact("y");
    let expected: Vec<f64> = (0..t * d)
        .map(|at| {
            let run = at / 16 * 16;
            (0..16)
                .map(|j| if ((at % 16) & j).count_ones() % 2 == 0 { x[run + j] } else { -x[run + j] })
                .sum()
        })
        .collect();
    assert_eq!(floats(y), expected);
}

#[test]
fn block_sparse_columns_from_a_list() {
    let kernel = kernel(
        "kernel sparse(a: f32[M, K], b: f32[K, N], ptr: i32[NB + 1] ascending 0..NNZ, col: i32[NNZ] in 0..cdiv(K, 16), out c: f32[M, N]) {
            grid i over M by 16, j over N by 16;
            let mut acc: f32[i, j] = 0;
            for t over ptr[i.lo / 16]..ptr[i.lo / 16 + 1] {
                let k = col[t] * 16..K by 16;
                acc += a[i, k] @ b[k, j];
            }
            c[i, j] = acc;
        }",
        "sparse",
        &[],
    );
    let (m, n, k) = (40, 20, 60);
    let (a, b) = (noise(1, m * k), noise(2, k * n));
    let (ptr, col) = ([0, 2, 2, 5], [3, 0, 1, 2, 3]);
    let c = Launch::of(&kernel, &[("M", m), ("N", n), ("K", k), ("NB", 3), ("NNZ", 5)])
        .float("a", &a)
        .float("b", &b)
        .int("ptr", &ptr)
        .int("col", &col)
        .exact("c");
    let expected: Vec<f64> = (0..m * n)
        .map(|at| {
            let (i, j) = (at / n, at % n);
            let blocks = &col[ptr[i / 16] as usize..ptr[i / 16 + 1] as usize];
            let present = |p: &usize| blocks.contains(&((p / 16) as i64));
            (0..k).filter(present).map(|p| a[i * k + p] * b[p * n + j]).sum()
        })
        .collect();
    assert_eq!(floats(c), expected);
}

#[test]
fn a_descending_loop_with_an_if_and_a_condition() {
    let kernel = kernel(
        "kernel walk(x: i32[N], out y: i32[3]) {
            let mut first: i32 = -1;
            let mut evens: i32 = 0;
            let mut order: i32 = 0;
            for n over rev(N) {
                if x[n] % 2 == 0 { evens += 1; } else { first = n as i32; }
                order = order * 10 + n as i32;
            }
            y[0] = first;
            y[1] = evens;
            y[2] = order;
        }",
        "walk",
        &[],
    );
    let y = Launch::of(&kernel, &[("N", 5)]).int("x", &[4, 3, -2, 7, 0]).exact("y");
    assert_eq!(ints(y), [1, 3, 43210]);
}

#[test]
fn two_instances_on_one_element_are_reported_with_the_statement() {
    let text = "kernel scatter(at: i32[N] in 0..N, out y: f32[N]) { grid i over N by 4; y[at[i]] = 1; }";
    let kernel = kernel(text, "scatter", &[]);
    let error = Launch::of(&kernel, &[("N", 8)])
        .int("at", &[0, 1, 2, 3, 4, 1, 6, 7])
        .run(Mode::Exact)
        .expect_err("1 is written twice");
    assert_eq!(error.to_string(), "two instances write y[1]: instance (i = 0) and instance (i = 4)");
    let span = error.span.expect("a statement");
    assert!(text[span.start as usize..span.end as usize].starts_with("y[at[i]]"));
    assert_eq!(error.diagnostic().code, crate::diagnostics::codes::ACCESS_CONFLICT);
}
