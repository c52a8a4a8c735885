//! Products in every operand order, type and batching on the executor: right by the evaluator's verdict for every shape and variant, silent
//! under the sanitizer, free of bank conflicts; and with any one barrier or wait taken out, not silent.

mod computed;
mod flash_grid;
mod loops;
mod packed;
mod persistent;
mod program;
mod serving;
mod several;
mod tables;
mod templates;
mod variants;
mod vectors;

use program::Program;
use tilewright_runtime::executor::Options;

const LAYOUTS: &str = include_str!("../../../dsl_examples/gemm_layouts.tw");
const ORDERS: [&str; 4] = ["gemm_nn", "gemm_nt", "gemm_tn", "gemm_tt"];
const VARIANTS: [&str; 3] = ["any", "mid", "wide"];

/// Every variant that may run: how many did.
pub fn holds(program: &Program, what: &str, dims: &[(&str, i64)], sanitize: bool) -> usize {
    let mut ran = 0;
    for variant in VARIANTS {
        let options = Options { sanitize, strict: true, ..Options::default() };
        let Some(run) = program.run(variant, dims, options) else { continue };
        assert!(run.findings.is_empty(), "{what} {variant} {dims:?}: {:?}", run.findings);
        assert!(run.wrong.is_empty(), "{what} {variant} {dims:?}: {:?}", run.wrong);
        ran += 1;
    }
    ran
}

pub fn mnk(m: i64, n: i64, k: i64) -> [(&'static str, i64); 3] {
    [("M", m), ("N", n), ("K", k)]
}

/// Ragged, single, empty and unaligned; the multiples of 8 and 2 let the wider variants run.
const SHAPES: [(i64, i64, i64); 9] = [
    (1, 1, 1),
    (136, 144, 72),
    (128, 96, 200),
    (33, 205, 7),
    (6, 70, 50),
    (72, 64, 40),
    (8, 8, 0),
    (0, 8, 8),
    (65, 129, 33),
];

#[test]
fn every_order_of_every_shape_by_every_variant() {
    for kernel in ORDERS {
        let program = Program::compile(LAYOUTS, kernel, "BM=64,BN=64,BK=32");
        let mut ran = 0;
        for (m, n, k) in SHAPES {
            ran += holds(&program, kernel, &mnk(m, n, k), false);
        }
        assert_eq!(ran, 9 + 6 + 5, "{kernel}");
    }
}

#[test]
fn schedules_change_nothing() {
    let schedules = [
        "BM=128,BN=128,BK=32,warps=(2,2),k.stages=2",
        "BM=64,BN=192,BK=32,k.stages=5",
        "BM=64,BN=64,BK=64,k.stages=3,T=bf16",
        "BM=128,BN=64,BK=32,k.stages=6,raster=1",
        "BM=64,BN=128,BK=32,warps=(1,4),T=bf16",
        "BM=256,BN=64,BK=64,warps=(4,2)",
    ];
    for kernel in ["gemm_nn", "gemm_tn", "gemm_tt"] {
        for sets in schedules {
            let program = Program::compile(LAYOUTS, kernel, sets);
            let ran = holds(&program, &format!("{kernel} {sets}"), &mnk(136, 200, 168), false);
            assert_eq!(ran, 3);
        }
    }
}

/// From a bias, from what is there already, from integers; whole, in parts, and shared out.
#[test]
fn sums_start_from_data() {
    let text = |ty: &str, sum: &str, start: &str, cast: &str| {
        format!(
            "kernel p(a: {ty}[M, K], b: {ty}[N, K], bias: {sum}[N], inout c: {sum}[M, N]) {{
                 tune BM in {{64}}, BN in {{64}}, BK in {{32}};
                 grid i over M by BM, j over N by BN;
                 let mut acc: {sum}[i, j] = {start};
                 for k over K by BK {{ acc += a[i, k] @ b[j, k].T; }}
                 c[i, j] = acc{cast};
             }}"
        )
    };
    let there = text("f16", "f32", "c[i, j]", "");
    let bias = text("f16", "f32", "bias[j]", " * 2");
    let bytes = text("i8", "i32", "c[i, j] + bias[j]", "");
    for (text, sets) in [
        (&there, ""),
        (&there, "k.split=3"),
        (&there, "k.split=stream"),
        (&there, "persistent=dynamic,acc.promote=2"),
        (&bias, ""),
        (&bias, "k.split=2"),
        (&bytes, ""),
        (&bytes, "k.split=stream"),
    ] {
        let mut program = Program::compile(text, "p", sets);
        program.sms = Some(3);
        for (m, n, k) in [(72, 80, 0), (130, 70, 100), (64, 72, 416)] {
            holds(&program, &format!("{text} {sets}"), &mnk(m, n, k), k == 100);
        }
    }
}

/// What is written before the loop, under a condition of the launch before and behind it, and by a split whose parts all come by.
#[test]
fn what_stands_before_a_product_happens() {
    let text = "kernel p(a: f16[M, K], b: f16[N, K], x: f32[M, N], s: i32, inout c: f32[M, N], out d: f32[M, N], out e: f32[M, N]) {
        tune BM in {64}, BN in {64}, BK in {32};
        grid i over M by BM, j over N by BN;
        d[i, j] = x[i, j] * 2 + c[i, j];
        FIRST
        let mut acc: f32[i, j] = 0;
        for k over K by BK { acc += a[i, k] @ b[j, k].T; }
        e[i, j] = acc + x[i, j];
        LAST
    }";
    let first = "if s > 0 { c[i, j] = x[i, j]; }";
    let last = "if s > 1 { c[i, j] = acc; } else { c[i, j] += acc; }";
    let cases = [
        (text.replace("FIRST", first).replace("LAST", last), ""),
        (text.replace("FIRST", "").replace("LAST", "c[i, j] += acc;"), "k.split=3"),
        (text.replace("FIRST", "").replace("LAST", last), "persistent=dynamic"),
    ];
    for (text, sets) in cases {
        let mut program = Program::compile(&text, "p", sets);
        program.sms = Some(3);
        for (m, n, k) in [(72, 80, 0), (130, 70, 100)] {
            holds(&program, &format!("{text} {sets}"), &mnk(m, n, k), k == 100);
        }
    }
}

/// Parts of a product that meet in memory, in any order.
#[test]
fn products_are_added_by_atomics() {
    let text = "kernel p(a: f16[M, K], b: f16[N, K], inout c: f32[M, N], inout top: f32[1]) {
        tune BM in {64}, BN in {64}, BK in {32};
        grid i over M by BM, j over N by BN, s over 2;
        let mut acc: f32[i, j] = 0;
        for k over part(K by BK, s, 2) { acc += a[i, k] @ b[j, k].T; }
        atomic c[i, j] += acc;
        atomic top[0] max= max(acc over (i, j));
    }";
    for sets in ["", "warps=(1,4)", "persistent=dynamic"] {
        let mut program = Program::compile(text, "p", sets);
        program.sms = Some(3);
        for (m, n, k) in [(72, 80, 0), (130, 70, 100), (64, 72, 416)] {
            holds(&program, sets, &mnk(m, n, k), k == 100);
        }
    }
}

/// Every so many steps the accumulator is added to another: one step, as many as the ring has slots, and so many that the loop is unrolled
/// for it; with loops that end between two promotions, split ones too.
#[test]
fn promotions_lose_nothing() {
    let text = include_str!("../../../dsl_examples/gemm.tw");
    let sets = [
        "acc.promote=1",
        "acc.promote=3,k.stages=3",
        "acc.promote=4,k.stages=3",
        "acc.promote=2,k.split=3",
        "acc.promote=2,k.split=stream",
        "acc.promote=4,persistent=dynamic",
    ];
    for sets in sets {
        let mut program = Program::compile(text, "gemm", &format!("BM=64,BN=64,BK=32,{sets}"));
        program.sms = Some(3);
        for (m, n, k) in [(72, 80, 0), (72, 80, 40), (65, 129, 133), (64, 72, 416)] {
            holds(&program, sets, &mnk(m, n, k), k == 133);
        }
    }
}

#[test]
fn the_sanitizer_is_silent() {
    for kernel in ORDERS {
        let program = Program::compile(LAYOUTS, kernel, "BM=64,BN=64,BK=32,k.stages=3");
        for (m, n, k) in [(72, 80, 200), (5, 7, 33), (8, 8, 0), (8, 8, 8), (66, 70, 34)] {
            holds(&program, kernel, &mnk(m, n, k), true);
        }
    }
}

#[test]
fn the_wide_variant_has_no_bank_conflicts() {
    for kernel in ORDERS {
        for sets in ["BM=128,BN=128,BK=32", "BM=64,BN=128,BK=64", "BM=64,BN=192,BK=32", "BM=256,BN=128,BK=32"]
        {
            let program = Program::compile(LAYOUTS, kernel, sets);
            let options = Options { stats: true, ..Options::default() };
            let run = program.run("wide", &mnk(256, 192, 128), options).expect("all is aligned");
            let stats = &run.stats[0];
            assert!(stats.mma > 0);
            assert_eq!(stats.bank_conflicts(), 0, "{kernel} {sets}: {:?}", stats.shared);
        }
    }
}

#[test]
fn a_batch_of_products() {
    let text = include_str!("../../../dsl_examples/batched_gemm.tw");
    let program = Program::compile(text, "batched_gemm", "BM=64,BN=64,BK=32,k.stages=3");
    for (b, m, n, k) in [(3, 72, 80, 40), (1, 1, 1, 1), (5, 70, 33, 35), (0, 8, 8, 8), (2, 66, 130, 0)] {
        holds(&program, "batched_gemm", &[("B", b), ("M", m), ("N", n), ("K", k)], false);
    }
    holds(&program, "batched_gemm", &[("B", 2), ("M", 66), ("N", 70), ("K", 48)], true);
}

/// A product with operands of these types, stored as the letters say, in a source of its own.
fn product(order: &str, a: &str, b: &str, cast: &str, sum: &str) -> String {
    let (a_shape, a_read) = if order.starts_with('n') {
        ("M, K", format!("a[i, k]{cast}"))
    } else {
        ("K, M", format!("(a[k, i]{cast}).T"))
    };
    let (b_shape, b_read) = if order.ends_with('n') {
        ("K, N", format!("b[k, j]{cast}"))
    } else {
        ("N, K", format!("(b[j, k]{cast}).T"))
    };
    format!(
        "kernel p(a: {a}[{a_shape}], b: {b}[{b_shape}], out c: {sum}[M, N]) {{
             tune BM in {{64, 128, 16}}, BN in {{64, 128, 192, 16}}, BK in {{32, 64, 128, 16}};
             grid i over M by BM, j over N by BN;
             let mut acc: {sum}[i, j] = 0;
             for k over K by BK {{ acc += ({a_read}) @ ({b_read}); }}
             c[i, j] = acc;
         }}"
    )
}

const ALL_ORDERS: [&str; 4] = ["nn", "nt", "tn", "tt"];

#[test]
fn bytes_in_every_order() {
    let example = include_str!("../../../dsl_examples/gemm_s8.tw");
    let nt = Program::compile(example, "gemm_s8", "BM=64,BN=64,BK=64,k.stages=3");
    for (m, n, k) in SHAPES {
        holds(&nt, "gemm_s8", &mnk(m, n, k), false);
    }
    assert_eq!(holds(&nt, "gemm_s8", &mnk(80, 96, 208), true), 3);
    for (a, b) in [("i8", "i8"), ("u8", "i8"), ("u8", "u8")] {
        for order in ALL_ORDERS {
            // The depth of one instruction, and more than one slice.
            for sets in ["BM=64,BN=64,BK=32", "BM=64,BN=192,BK=64,k.stages=2"] {
                let program = Program::compile(&product(order, a, b, "", "i32"), "p", sets);
                let what = format!("{a} {b} {order} {sets}");
                let ran: usize = [(80, 208, 144), (68, 36, 52), (33, 67, 65), (1, 1, 1)]
                    .map(|(m, n, k)| holds(&program, &what, &mnk(m, n, k), k == 52))
                    .iter()
                    .sum();
                assert_eq!(ran, 3 + 2 + 1 + 1, "{what}");
            }
        }
    }
}

#[test]
fn tf32_in_every_order() {
    for order in ALL_ORDERS {
        for (stored, cast) in [("f32", " as tf32"), ("tf32", "")] {
            for sets in ["BM=64,BN=64,BK=32,k.stages=2", "BM=64,BN=64,BK=16"] {
                let program = Program::compile(&product(order, stored, stored, cast, "f32"), "p", sets);
                let what = format!("{stored} {order} {sets}");
                for (m, n, k) in [(72, 80, 100), (33, 67, 65), (1, 1, 1), (3, 5, 0)] {
                    holds(&program, &what, &mnk(m, n, k), k == 65);
                }
            }
        }
    }
}

#[test]
fn bytes_and_words_along_k_have_no_bank_conflicts() {
    for (types, cast, sum, sets) in [
        ("i8", "", "i32", "BM=128,BN=128,BK=64"),
        ("i8", "", "i32", "BM=64,BN=64,BK=128"),
        ("f32", " as tf32", "f32", "BM=128,BN=128,BK=16"),
        ("tf32", "", "f32", "BM=64,BN=64,BK=32"),
    ] {
        let program = Program::compile(&product("nt", types, types, cast, sum), "p", sets);
        let options = Options { stats: true, ..Options::default() };
        let run = program.run("wide", &mnk(128, 128, 256), options).expect("all is aligned");
        assert_eq!(run.stats[0].bank_conflicts(), 0, "{types} {sets}: {:?}", run.stats[0].shared);
    }
}

/// Lines of the entry that synchronise.
pub fn synchronisation(ptx: &str, entry: &str) -> Vec<usize> {
    let mut inside = false;
    let mut lines = Vec::new();
    for (n, line) in ptx.lines().enumerate() {
        if line.contains(".entry") {
            inside = line.contains(&format!("{entry}("));
        }
        let word = |w: &str| line.contains(w);
        if inside && (word("bar.sync") || word("barrier.sync") || word("cp.async.wait")) {
            lines.push(n);
        }
    }
    lines
}

#[test]
fn a_barrier_or_wait_less_is_seen() {
    let program = Program::compile(LAYOUTS, "gemm_tn", "BM=64,BN=64,BK=32,k.stages=3");
    for variant in ["wide", "any"] {
        let ptx = &program.compiled.ptx;
        let lines = synchronisation(ptx, &format!("gemm_tn_{variant}"));
        assert!(lines.len() > 2, "{variant}: {lines:?}");
        for line in lines {
            let kept = ptx.lines().enumerate().map(|(n, l)| if n == line { "" } else { l });
            let broken = kept.collect::<Vec<_>>().join("\n");
            let options = Options { sanitize: true, ..Options::default() };
            let run = program.run_text(&broken, variant, &mnk(64, 64, 288), options).expect("all is aligned");
            assert!(!run.findings.is_empty(), "{variant}: without line {} nothing was found", line + 1);
        }
    }
}

#[test]
fn parts_of_k_meet_in_one_launch() {
    let text = include_str!("../../../dsl_examples/gemm_splitk.tw");
    for sets in ["BM=64,BN=64,BK=32", "SPLIT=3,BM=64,BN=128,BK=32,T=bf16", "SPLIT=1,BM=64,BN=64,BK=64"] {
        let program = Program::compile(text, "gemm_splitk", sets);
        // More tiles than parts, fewer, none.
        for (m, n, k) in [(72, 80, 200), (65, 129, 330), (33, 67, 65), (1, 1, 1), (8, 8, 0), (0, 8, 8)] {
            holds(&program, sets, &mnk(m, n, k), k == 330);
        }
    }
}

#[test]
fn a_schedule_cuts_the_loop_of_a_plain_source() {
    let bias = "fn e(x, i, j) using bias: f32[N] = x + bias[j];
        kernel p(a: f16[M, K], b: f16[N, K], r: f16[M, N], out c: f16[M, N], out d: f32[M, N]) {
             tune BM in {64}, BN in {64}, BK in {32};
             grid i over M by BM, j over N by BN;
             let mut acc: f32[i, j] = 0;
             for k over K by BK { acc += a[i, k] @ b[j, k].T; }
             let y = e(acc, i, j);
             c[i, j] = (y + r[i, j] as f32) as f16;
             d[i, j] = y;
        }";
    let program = Program::compile(bias, "p", "k.split=3,k.stages=3");
    for (m, n, k) in [(72, 80, 200), (65, 129, 33), (3, 5, 0)] {
        holds(&program, "bias", &mnk(m, n, k), true);
    }
    assert!(program.compiled.meta.schedule_text().contains("k.split = 3;"));
    assert!(program.compiled.meta.launches[0].workspace.is_some());
    let whole = Program::compile(bias, "p", "k.split=1");
    assert!(whole.compiled.meta.launches[0].workspace.is_none());
    holds(&whole, "one part", &mnk(70, 40, 64), true);
    // Row kernels accumulate over loops too.
    let rows = "kernel p(x: f32[R, C], out y: f32[R], out z: f32[R]) {
             grid r over R by 4;
             let mut s: f32[r] = 0;
             let mut m: f32[r] = -inf;
             for c over C by 128 { s += sum(x[r, c] over c); m max= max(x[r, c] over c); }
             y[r] = s / (C as f32);
             z[r] = m;
        }";
    let rows = Program::compile(rows, "p", "c.split=4");
    for (r, c) in [(6, 1000), (1, 1), (4, 256), (3, 0)] {
        holds(&rows, "rows", &[("R", r), ("C", c)], true);
    }
}

#[test]
fn what_differs_between_instances_is_computed_by_the_last() {
    let text = include_str!("../../../tests/corpus/split_kv_merge.tw");
    let program = Program::compile(text, "split_kv", "");
    for (b, l) in [(3, 200), (1, 1), (2, 256), (5, 77)] {
        holds(&program, "split_kv", &[("B", b), ("L", l)], true);
    }
    // The maximum is reduced, then every instance's own distance from it is written.
    let own = "kernel p(x: f32[R, C], out y: f32[R], out z: f32[R, 8]) {
             grid r over R by 16, s over 8;
             let m = max(x[r, s * 4] , x[r, s * 4 + 1]);
             let top = max(m over grid s);
             y[r] = top;
             z[r, s] = m - top;
        }";
    let own = Program::compile(own, "p", "");
    holds(&own, "own", &[("R", 37), ("C", 64)], true);
}

#[test]
fn experts_take_their_rows() {
    let text = include_str!("../../../dsl_examples/moe_gemm.tw");
    let moe = |s, e, n, k, r| [("S", s), ("E", e), ("N", n), ("K", k), ("R", r)];
    let program = Program::compile(text, "moe_gemm", "BM=32,BN=64,BK=32,k.stages=3");
    let mut ran = 0;
    // More experts than a warp has lanes, more than rows, one, no rows.
    for dims in [
        moe(50, 5, 72, 72, 96),
        moe(9, 70, 40, 33, 200),
        moe(7, 40, 66, 20, 11),
        moe(1, 1, 1, 1, 1),
        moe(4, 3, 8, 8, 0),
    ] {
        ran += holds(&program, "moe_gemm", &dims, dims[1].1 == 70);
    }
    // Index tensors are read word by word, so their lengths keep no variant from running.
    assert_eq!(ran, 3 + 1 + 2 + 1 + 3);
    // Narrow copies of many rows compute their pointers anew.
    let tall = Program::compile(text, "moe_gemm", "BM=128,BN=64,BK=32,T=bf16");
    holds(&tall, "moe_gemm tall", &moe(300, 3, 70, 45, 400), true);
}

#[test]
fn ranges_that_data_bounds() {
    // Batches of different lengths, side by side in one tensor; only part of the grid's blocks have work.
    let text = "kernel p(x: f16[B, L, K], w: f16[N, K], len: i32[B] in 0..=L, out y: f32[B, L, N]) {
             tune BM in {32}, BN in {64}, BK in {32};
             grid b over B, i over 0..len[b] by BM, j over N by BN;
             let mut acc: f32[i, j] = 0;
             for k over K by BK { acc += x[b, i, k] @ w[j, k].T; }
             y[b, i, j] = acc;
        }";
    let program = Program::compile(text, "p", "");
    for (b, l) in [(4, 100), (1, 1), (3, 0)] {
        holds(&program, "lengths", &[("B", b), ("L", l), ("K", 48), ("N", 72)], true);
    }
    // Rows that lie end to end, without a product; and a range between two coordinates.
    let text = "kernel p(x: f32[R, C], off: i32[B + 1] ascending 0..R, out y: f32[R, C], out z: f32[R, C]) {
             grid h over 2, b over B, i over off[b]..off[b + 1] by 8, c over 3..C by 32;
             y[i, c] = x[i, c] * ((b + 1) as f32) when h == 0;
             z[i, c] = x[i, c] + ((b * 2) as f32) when h == 1;
        }";
    let program = Program::compile(text, "p", "");
    for (b, r) in [(5, 60), (40, 33), (1, 1), (2, 0)] {
        holds(&program, "end to end", &[("B", b), ("R", r), ("C", 70)], true);
    }
}

/// Rows are clamped to the last one; of none there is no last one.
#[test]
fn an_operand_without_rows_is_not_read() {
    let text = "kernel p(a: f16[M, K], b: f16[N, K], out v: f32[M], out s: f32[M]) where N <= 64 {
             tune BK in {32, 64};
             grid i over M by 64;
             let j = RANGE by 64;
             let mut acc: f32[i, j] = 0;
             for k over K by BK { acc += a[i, k] @ b[j, k].T; }
             v[i] = max(acc over j);
             s[i] = sum(acc over j);
        }";
    for (range, k) in [("0..N", 8), ("0..N", 7), ("8..N", 8)] {
        for sets in ["BK=32", "BK=64", "a.via=direct,b.via=direct"] {
            let program = Program::compile(&text.replace("RANGE", range), "p", sets);
            for (m, n) in [(4, 0), (70, 5), (0, 0)] {
                let ran = holds(&program, range, &mnk(m, n, k), true);
                assert!(ran > 0);
            }
        }
    }
}

#[test]
fn reductions_over_ranges_that_data_bounds() {
    // Only the instances that exist are counted: other blocks leave before.
    let text = "kernel p(x: f32[B, L], len: i32[B] in 0..=L, out y: f32[B]) {
             grid b over B, i over len[b] by 8;
             y[b] = max(max(x[b, i] over i) over grid i);
        }";
    let program = Program::compile(text, "p", "");
    for (b, l) in [(5, 60), (1, 1), (3, 8)] {
        holds(&program, "lengths", &[("B", b), ("L", l)], true);
    }
}
