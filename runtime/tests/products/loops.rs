//! Loops that do more with a product than add it up: scales per step, gated layers, planes of bits, attention.

use crate::holds;
use crate::program::Program;

const ATTENTION: &str = include_str!("../../../dsl_examples/attention.tw");
const PAGED: &str = include_str!("../../../dsl_examples/paged_attention.tw");
const W4A8: &str = include_str!("../../../dsl_examples/w4a8_gemm.tw");
const FP8: &str = include_str!("../../../dsl_examples/fp8_block_gemm.tw");
const NF4: &str = include_str!("../../../dsl_examples/nf4_gemm.tw");
const PLANES: &str = include_str!("../../../dsl_examples/bitplane_gemm.tw");

fn attention(kernel: &str, sets: &str, dims: [i64; 5], sanitize: bool) {
    let program = Program::compile(ATTENTION, kernel, sets);
    let [b, hq, hkv, s, l] = dims;
    let dims = [("B", b), ("HQ", hq), ("HKV", hkv), ("S", s), ("L", l)];
    assert!(holds(&program, &format!("{kernel} {sets}"), &dims, sanitize) > 0);
}

#[test]
fn attention_of_every_shape() {
    // Longer keys than queries and the other way round, one of each, whole tiles, no keys at all.
    for (s, l) in [(70, 90), (90, 70), (1, 1), (64, 64), (33, 128), (5, 0)] {
        attention("attention", "D=64,BKV=32", [1, 2, 1, s, l], s == 70);
        attention("attention_causal", "D=64,BKV=32", [1, 2, 1, s, l], s == 70);
    }
}

#[test]
fn attention_of_every_head_dimension() {
    for sets in ["D=32", "D=40", "D=80,DV=96", "D=111", "D=192,DV=128,BKV=64", "D=256,BKV=32", "D=128,T=bf16"]
    {
        attention("attention", sets, [1, 1, 1, 40, 75], false);
    }
}

/// Columns cut over warps that each compute all the scores; depths whose odd factor is unrolled.
#[test]
fn columns_cut_over_warps() {
    for sets in [
        "D=64,BQ=64,BKV=32,warps=(2,2)",
        "D=128,BQ=16,BKV=32,warps=(1,4)",
        "D=40,DV=512",
        "D=576,DV=512,T=bf16",
        "D=96,BKV=32",
        "D=160,DV=64",
    ] {
        let checked = matches!(sets, "D=576,DV=512,T=bf16" | "D=96,BKV=32");
        attention("attention_causal", sets, [1, 2, 1, 40, 125], checked);
    }
    let deep = Program::compile(ATTENTION, "attention", "D=576,DV=512");
    // 16 rows of q, and two slots each of 32 rows of k and v: nothing is rounded up to a power of two.
    assert_eq!(
        deep.compiled.meta.launches[0].variants[0].shared_bytes,
        2 * 16 * 576 + 2 * 2 * 32 * (576 + 512)
    );
}

/// What a row leaves, each thread writes one by one: it asks for no alignment, so a single query, too, is served by the widest variant.
#[test]
fn one_query_takes_the_wide_variant() {
    for (text, kernel, keys) in [(ATTENTION, "attention", "k"), (PAGED, "paged_attention", "kc")] {
        let program = Program::compile(text, kernel, "D=64");
        let wide = &program.compiled.meta.launches[0].variants[0];
        let named = |name: &str| {
            let named = wide.guards.iter().find(|g| program.compiled.kernel.tensor(g.tensor).name == name);
            named.map(|g| g.bytes)
        };
        assert_eq!((wide.name, named(keys), named("lse")), ("wide", Some(16), Some(4)), "{kernel}");
    }
}

/// Steps of every length that the example's own `tune` has: multiples of sixteen, whose odd factor is unrolled.
#[test]
fn steps_of_every_length() {
    for sets in [
        "D=64,BKV=48",
        "D=32,BKV=80,T=bf16",
        "D=64,BKV=96",
        "D=128,BKV=96",
        "D=40,BKV=112",
        "D=64,BKV=160",
        "D=64,BKV=192",
    ] {
        attention("attention_causal", sets, [1, 2, 1, 70, 90], sets == "D=64,BKV=48");
        attention("attention", sets, [1, 1, 1, 5, 400], sets == "D=64,BKV=96");
    }
    for (kernel, sets) in [
        ("attention_window", "D=64,BKV=48"),
        ("attention_document", "D=64,BKV=96"),
        ("attention_biased", "D=64,BKV=80"),
        ("attention_causal", "D=64,BKV=48,BQ=16,BR=4"),
        ("attention_causal", "D=64,BKV=96,warps=(4,2)"),
        ("attention_causal", "D=64,BKV=48,BQ=128,warps=(4,1)"),
    ] {
        attention(kernel, sets, [1, 4, 2, 70, 130], true);
    }
}

#[test]
fn query_heads_beside_positions() {
    for sets in ["D=64,BQ=16,BR=4", "D=64,BQ=16,BR=8", "D=64,BQ=64,BR=4", "D=256,BQ=16,BR=4"] {
        attention("attention_causal", sets, [2, 6, 2, 7, 70], sets.ends_with("BQ=16,BR=4"));
    }
}

#[test]
fn masks_scores_and_sinks() {
    attention("attention_document", "D=64", [2, 2, 1, 70, 90], true);
    attention("attention_softcap", "D=64", [1, 2, 1, 70, 90], false);
    attention("attention_sink", "D=64", [1, 2, 2, 70, 90], false);
}

/// A band: both ends of the loop are cut, and the trips that are left need no test. The same beside a condition that data decides.
#[test]
fn windows_cut_both_ends_of_the_loop() {
    let text = "
        kernel p<D: 32..=64 = 64, E: 32..=64 = 64>(x: f16[M, D], k: f16[L, D], v: f16[L, E], lens: i32[1] in 0..=L, out o: f32[M, E], out n: i32[M]) {
            grid i over M by 64;
            let mut acc: f32[i, E] = 0;
            let mut trips: i32[i] = 0;
            for j over L by 32 when j <= i + 3 && j > i - 40 && j < lens[0] {
                let s = where(j <= i + 3 && j > i - 40 && j < lens[0], x[i, :] @ k[j, :].T, 0);
                acc = acc * 0.5 + (s as f16) @ v[j, :];
                trips = trips + 1;
            }
            o[i, :] = acc;
            n[i] = trips;
        }";
    for (text, what) in [(text.to_string(), "three"), (text.replace(" && j < lens[0]", ""), "two")] {
        let program = Program::compile(&text, "p", "");
        for (m, l) in [(200, 200), (64, 500), (130, 40)] {
            assert!(holds(&program, what, &[("M", m), ("L", l)], l == 500) > 0);
        }
    }
}

#[test]
fn two_products_of_one_operand() {
    let text = "
        kernel p(x: f16[M, K], w: f16[N, K], g: f16[N, K], out y: f16[M, N]) {
            grid i over M by 64, j over N by 64;
            let mut up: f32[i, j] = 0;
            let mut gate: f32[i, j] = 0;
            for k over K by 32 {
                up += x[i, k] @ w[j, k].T;
                gate += x[i, k] @ g[j, k].T;
            }
            y[i, j] = (up * silu(gate)) as f16;
        }";
    let program = Program::compile(text, "p", "");
    for dims in [(64, 64, 64), (70, 33, 40), (1, 1, 1)] {
        let dims = [("M", dims.0), ("N", dims.1), ("K", dims.2)];
        assert!(holds(&program, "gated", &dims, true) > 0);
    }
}

#[test]
fn bytes_of_weights_of_every_width() {
    for weight in ["i1", "i2", "i3", "i4", "i5", "i6", "i7", "i8", "u1", "u4", "u7"] {
        let dims = [("M", 5), ("N", 70), ("K", 384)];
        for (kernel, sets) in [("w4a8_gemm", "BK=64,BN=64"), ("w4a8_channel", "BK=128,BN=128")] {
            let program = Program::compile(W4A8, kernel, &format!("W={weight},{sets}"));
            assert!(holds(&program, &format!("{kernel} {weight}"), &dims, weight == "i4") > 0);
        }
    }
}

#[test]
fn scales_of_blocks() {
    for (sets, dims) in
        [("BK=64", (70, 200, 300)), ("BK=128,BM=128", (1, 64, 128)), ("T=e5m2", (64, 128, 256))]
    {
        let (m, n, k) = dims;
        let blocks = |x: i64| (x + 127) / 128;
        let dims = [("M", m), ("N", n), ("K", k), ("KB", blocks(k)), ("NB", blocks(n))];
        assert!(holds(&Program::compile(FP8, "fp8_block_gemm", sets), sets, &dims, k == 300) > 0);
    }
}

#[test]
fn codebooks() {
    for sets in ["G=32", "G=64,BK=64", "G=128,BM=64,BN=128"] {
        let program = Program::compile(NF4, "nf4_gemm", sets);
        assert!(holds(&program, sets, &[("M", 3), ("N", 70), ("K", 384)], sets == "G=32") > 0);
    }
}

#[test]
fn planes_of_bits() {
    for sets in ["W=i2,P=2", "W=i1,P=1,Q=2", "W=i3,P=3,Q=4", "W=i4,P=4,Q=8"] {
        let program = Program::compile(PLANES, "bitplane_gemm", sets);
        assert!(holds(&program, sets, &[("M", 19), ("N", 70), ("K", 700)], sets == "W=i2,P=2") > 0);
    }
}

/// Zero points lie in the fragments' layout, scales in the accumulator's: one axis, but other threads.
#[test]
fn one_axis_in_two_layouts() {
    let text = "
        kernel p<G: 64..=128 = 64>(x: i8[M, K], packed w: u4[N, K], s: f16[N, K / G], z: i8[N, K / G], out y: f32[M, N]) {
            tune BK in {64};
            grid i over M by 16, j over N by 64;
            let mut acc: f32[i, j] = 0;
            for k over K by BK {
                let codes = ((w[j, k] as i16) - (z[j, k / G] as i16)) as i8;
                acc += ((x[i, k] @ codes.T) as f32) * (s[j, k.lo / G] as f32);
            }
            y[i, j] = acc;
        }";
    for sets in ["", "k.split=2"] {
        let program = Program::compile(text, "p", sets);
        for (m, n, k) in [(16, 33, 256), (5, 64, 128), (1, 1, 64)] {
            assert!(holds(&program, sets, &[("M", m), ("N", n), ("K", k)], true) > 0);
        }
    }
}

#[test]
fn rows_with_an_odd_factor() {
    attention("attention_causal", "D=72,BQ=192,BKV=32", [1, 1, 1, 200, 70], false);
}

/// The text of each loop over `j` of the wide variant, in order.
fn loops_of(program: &Program) -> Vec<String> {
    let ptx = &program.compiled.ptx;
    let entry =
        ptx.split(".entry ").find(|e| e.starts_with(&format!("{}_wide", program.compiled.kernel.name)));
    let lines: Vec<&str> = entry.expect("a wide variant").lines().collect();
    let at = |label: &str| lines.iter().position(|l| l.trim() == format!("{label}:"));
    let names = ["j", "j_2", "j_3"].into_iter();
    let found = names.filter_map(|n| Some((at(&format!("loop_{n}"))?, at(&format!("done_{n}"))?)));
    found.map(|(from, to)| lines[from..to].join("\n")).collect()
}

/// Steps that nothing masks have no masking code, and what guards against a row without keys is a maximum.
#[test]
fn full_steps_mask_nothing() {
    let window = ATTENTION.replace("j <= i + (L - S);", "j <= i + (L - S) && j > i + (L - S) - 100;");
    for (text, kernel, loops, full) in [
        (ATTENTION, "attention", 2, 0),
        (ATTENTION, "attention_causal", 2, 0),
        (&window, "attention_causal", 3, 1),
    ] {
        let program = Program::compile(text, kernel, "D=64,BQ=64,BKV=64");
        let texts = loops_of(&program);
        assert_eq!(texts.len(), loops, "{kernel}");
        let choices = |n: usize| texts[n].matches("selp.f32").count();
        assert_eq!(choices(full), 0, "{kernel}");
        assert!(choices(loops - 1) >= 2 * 32, "{kernel}");
        for (s, l) in [(500, 500), (70, 512), (64, 640), (300, 100)] {
            let dims = [("B", 1), ("HQ", 1), ("HKV", 1), ("S", s), ("L", l)];
            assert!(holds(&program, kernel, &dims, s == 70) > 0);
        }
    }
}

/// The factor goes behind the maximum, whatever its sign.
#[test]
fn factors_of_any_sign() {
    for scale in ["0.0 - 0.3", "0.0", "0.0 - 0.0", "1e-42", "3.0", "inf - inf"] {
        let text = ATTENTION.replace("1 / sqrt(D as f32)", scale);
        for (kernel, sets) in [("attention_causal", "D=64,BKV=32"), ("attention", "D=40,BQ=16,BR=4")] {
            let program = Program::compile(&text, kernel, sets);
            let dims = [("B", 1), ("HQ", 4), ("HKV", 1), ("S", 70), ("L", 90)];
            assert!(holds(&program, &format!("{kernel} {scale}"), &dims, false) > 0);
        }
    }
    // Of what is multiplied by the factor, only the maximum of a row enters a maximum.
    let program = Program::compile(ATTENTION, "attention", "D=64,BQ=64,BKV=64");
    let full = &loops_of(&program)[0];
    let words =
        |l: &str| l.replace([',', ';'], " ").split_whitespace().map(str::to_string).collect::<Vec<_>>();
    let lines: Vec<Vec<String>> = full.lines().map(words).collect();
    let of = |op: &'static str| lines.iter().filter(move |l| l.first().is_some_and(|w| w == op));
    let scaled: Vec<&String> = of("mul.f32").filter_map(|l| l.get(1)).collect();
    let maxima = of("max.f32").filter(|l| l[2..].iter().any(|w| scaled.contains(&w))).count();
    assert_eq!((maxima, of("max.f32").count() > 2 * 32), (2 * 2, true));
}
