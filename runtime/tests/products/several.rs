//! Loops around products that are not alone: one after the other, in ordinary loops, beside loops without products; products outside loops; rows that are
//! shifted.

use crate::holds;
use crate::program::Program;

fn check(what: &str, text: &str, dims: &[&[(&str, i64)]]) {
    let program = Program::compile(text, "p", "");
    for (n, dims) in dims.iter().enumerate() {
        assert!(holds(&program, what, dims, n == 0) > 0, "{what} {dims:?}");
    }
}

/// Sizes of M, N and K: ragged, whole, single, empty.
const MNK: [&[(&str, i64)]; 5] = [
    &[("M", 70), ("N", 136), ("K", 50)],
    &[("M", 128), ("N", 64), ("K", 96)],
    &[("M", 1), ("N", 1), ("K", 1)],
    &[("M", 65), ("N", 72), ("K", 0)],
    &[("M", 5), ("N", 0), ("K", 40)],
];

#[test]
fn one_loop_after_the_other() {
    let text = "
        kernel p(x: f16[M, K], w1: f16[N, K], w3: f16[N, K], out y: f16[M, N]) {
            grid i over M by 64, j over N by 64;
            let mut g: f32[i, j] = 0;
            for k over K by 32 { g += x[i, k] @ w1[j, k].T; }
            let mut u: f32[i, j] = 0;
            for k over K by 32 { u += x[i, k] @ w3[j, k].T; }
            y[i, j] = (silu(g) * u) as f16;
        }";
    check("gated", text, &MNK);
}

/// A low-rank correction: the second product has a static range and no loop.
#[test]
fn a_product_behind_a_loop() {
    let text = "
        kernel p(x: f16[M, K], w: f16[N, K], xa: f16[M, 16], lb: f16[N, 16], out y: f16[M, N], al: f32 = 2) {
            grid i over M by 64, j over N by 64;
            let mut acc: f32[i, j] = 0;
            for k over K by 32 { acc += x[i, k] @ w[j, k].T; }
            let r = 0..16;
            acc += al * (xa[i, r] @ lb[j, r].T);
            y[i, j] = acc as f16;
        }";
    check("lora", text, &MNK);
}

/// The hidden layer stays in registers: what is added up is a product of what the step's first product gave.
#[test]
fn a_product_of_a_product() {
    for hidden in ["gelu(x[i, d] @ w[h, d].T)", "max(x[i, d] @ w[h, d].T + bias[h], 0.0)"] {
        let text = format!(
            "kernel p(x: f16[M, 64], w: f16[H, 64], bias: f32[H], v: f16[48, H], out y: f16[M, 48]) {{
                 grid i over M by 64;
                 let d = 0..64;
                 let o = 0..48 by 64;
                 let mut acc: f32[i, o] = 0;
                 for h over H by 32 {{ acc += ({hidden} as f16) @ v[o, h].T; }}
                 y[i, o] = acc as f16;
             }}"
        );
        check(
            hidden,
            &text,
            &[
                &[("M", 70), ("H", 136)],
                &[("M", 64), ("H", 64)],
                &[("M", 1), ("H", 1)],
                &[("M", 5), ("H", 0)],
            ],
        );
    }
}

#[test]
fn products_without_loops() {
    for k in [16, 50, 64, 200] {
        let text = format!(
            "kernel p<K: 16..=256 = {k}>(a: f16[M, K], b: f16[N, K], out c: f32[M, N]) {{
                 grid i over M by 64, j over N by 64;
                 c[i, j] = a[i, :] @ b[j, :].T;
             }}"
        );
        check(&format!("K = {k}"), &text, &[&[("M", 70), ("N", 72)], &[("M", 1), ("N", 64)]]);
    }
}

/// Each tile of columns is computed and reduced before the next.
#[test]
fn loops_around_loops() {
    let text = "
        kernel p(a: f16[M, K], b: f16[N, K], out at: i32[M], out v: f32[M]) {
            grid i over M by 64;
            let mut best: f32[i] = -inf;
            let mut arg: i32[i] = -1;
            for j over N by 64 {
                let mut acc: f32[i, j] = 0;
                for k over K by 32 { acc += a[i, k] @ b[j, k].T; }
                let m = max(acc over j);
                let am = argmax(acc over j);
                arg = where(m > best, am as i32, arg);
                best = max(best, m);
            }
            at[i] = arg;
            v[i] = best;
        }";
    check("best column", text, &MNK);
}

#[test]
fn loops_without_products_beside_one() {
    let text = "
        kernel p(a: f16[M, K], b: f16[N, K], out c: f32[M, N], out rs: f32[M]) {
            grid i over M by 64;
            let mut s: f32[i] = 0;
            for k over K by 32 { s += sum(a[i, k] as f32 over k); }
            rs[i] = s;
            for j over N by 64 {
                let mut acc: f32[i, j] = 0;
                for k over K by 32 { acc += a[i, k] @ b[j, k].T; }
                c[i, j] = acc;
            }
        }";
    check("sums of rows", text, &MNK);
}

/// Taps of a filter: a loop around the loop, and rows that leave the image.
#[test]
fn taps() {
    let text = "
        kernel p(x: f16[B, L, CI], w: f16[3, CO, CI], bias: f32[CO], out y: f16[B, L, CO]) {
            grid b over B, l over L by 64, o over CO by 64;
            let mut acc: f32[l, o] = 0;
            for t over 3 {
                for c over CI by 32 { acc += x[b, l + t - 1, c] @ w[t, o, c].T; }
            }
            y[b, l, o] = max(acc + bias[o], 0) as f16;
        }";
    let dims: [&[(&str, i64)]; 3] = [
        &[("B", 2), ("L", 50), ("CI", 40), ("CO", 48)],
        &[("B", 1), ("L", 130), ("CI", 64), ("CO", 64)],
        &[("B", 1), ("L", 1), ("CI", 5), ("CO", 3)],
    ];
    check("one dimension", text, &dims);
    let text = "
        kernel p(x: f16[B, H, W, CI], w: f16[3, 3, CI, CO], out y: f16[B, H, W, CO]) {
            grid b over B, h over H, l over W by 16, o over CO by 64;
            let mut acc: f32[l, o] = 0;
            for r over 3 { for s over 3 {
                for c over CI by 32 { acc += x[b, h + r - 1, l + s - 1, c] @ w[r, s, c, o]; }
            } }
            y[b, h, l, o] = acc as f16;
        }";
    let dims: [&[(&str, i64)]; 2] = [
        &[("B", 2), ("H", 3), ("W", 11), ("CI", 40), ("CO", 48)],
        &[("B", 1), ("H", 2), ("W", 33), ("CI", 32), ("CO", 64)],
    ];
    check("two dimensions", text, &dims);
}

#[test]
fn rows_that_leave_the_tensor_are_zero() {
    for row in ["l - 3", "l + 70", "l * 2 + 1", "60 - l"] {
        let text = format!(
            "kernel p(x: f16[L, K], w: f16[N, K], out y: f32[L, N]) {{
                 grid l over L by 64, j over N by 64;
                 let mut acc: f32[l, j] = 0;
                 for k over K by 32 {{ acc += x[{row}, k] @ w[j, k].T; }}
                 y[l, j] = acc;
             }}"
        );
        let dims: [&[(&str, i64)]; 3] = [
            &[("L", 70), ("N", 72), ("K", 50)],
            &[("L", 130), ("N", 64), ("K", 64)],
            &[("L", 1), ("N", 9), ("K", 7)],
        ];
        check(row, &text, &dims);
    }
    // A table that promises nothing, and heads side by side in one matrix.
    let text = "
        kernel p(x: f16[S, K], w: f16[N, K], src: i32[T], out y: f32[T, N]) {
            grid t over T by 64, j over N by 64;
            let mut acc: f32[t, j] = 0;
            for k over K by 32 { acc += x[src[t], k] @ w[j, k].T; }
            y[t, j] = acc;
        }";
    check("gather", text, &[&[("S", 60), ("T", 90), ("N", 72), ("K", 50)]]);
    let text = "
        kernel p(x: f16[B, S, HD], w: f16[HD, HD], out q: f16[B, H, S, 32]) {
            grid b over B, s over S by 16, h over H;
            let d = 0..32;
            let mut acc: f32[s, d] = 0;
            for k over HD by 32 { acc += x[b, s, k] @ w[h * 32 + d, k].T; }
            q[b, h, s, d] = acc as f16;
        }";
    check("heads", text, &[&[("B", 2), ("S", 30), ("HD", 96), ("H", 3)]]);
}

#[test]
fn tiles_that_no_element_wants() {
    let text = "
        kernel p(a: f16[M, K], out g: f32[M, M]) {
            grid i over M by 64, j over M by 64 when j <= i;
            let mut acc: f32[i, j] = 0;
            for k over K by 32 { acc += a[i, k] @ a[j, k].T; }
            g[i, j] = acc when j <= i;
        }";
    check(
        "lower triangle",
        text,
        &[&[("M", 200), ("K", 100)], &[("M", 64), ("K", 32)], &[("M", 7), ("K", 0)]],
    );
}
