//! Weights of any width, stored for the fragments that multiply them.

use crate::holds;
use crate::program::Program;
use tilewright_runtime::executor::Options;

fn program(weight: &str, sets: &str) -> Program {
    let text = format!(
        "kernel p<G: 16..=128 = 32>(x: f16[M, K], packed w: {weight}[N, K], s: f16[N, K / G], z: f16[N, K / G], out y: f16[M, N]) {{
             tune BM in {{64}}, BN in {{64, 128}}, BK in {{64, 32, 16}};
             grid i over M by BM, j over N by BN;
             let mut acc: f32[i, j] = 0;
             for k over K by BK {{ acc += x[i, k] @ ((w[j, k] as f16 - z[j, k / G]) * s[j, k / G]).T; }}
             y[i, j] = acc as f16;
         }}"
    );
    Program::compile(&text, "p", sets)
}

/// Every way that codes lie in words, with and without a sign, and floats of every width.
const TYPES: [&str; 20] = [
    "u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8", "i1", "i3", "i4", "i8", "b1", "b5", "b8", "e1m1", "e2m1",
    "e3m2", "e4m3", "e5m2",
];

#[test]
fn every_width_with_scales_and_zeros() {
    for weight in TYPES {
        let program = program(weight, "BK=64,BN=64,k.stages=2");
        // Ragged rows of both operands, a depth that is no multiple of the tile's.
        let ran =
            holds(&program, weight, &[("M", 3), ("N", 70), ("K", 160)], weight == "u3" || weight == "e2m1");
        assert!(ran > 0, "{weight}");
    }
}

/// bf16 beside zero points of bytes, which keep what is exact exact, and scales of the types that formats with two levels have.
#[test]
fn other_activations_zeros_and_scales() {
    let loop_ = |ty: &str, w: &str| {
        format!(
            "tune BM in {{64}}, BN in {{64}}, BK in {{64}};
             grid i over M by BM, j over N by BN;
             let mut acc: f32[i, j] = 0;
             for k over K by BK {{ acc += x[i, k] @ ({w}).T; }}
             y[i, j] = acc as {ty};"
        )
    };
    for (weight, ty, params, w) in [
        (
            "u4",
            "bf16",
            "z: u8[N, K / 32], s: bf16[N, K / 32],",
            "(w[j, k] as bf16 - (z[j, k / 32] as bf16)) * s[j, k / 32]",
        ),
        (
            "i7",
            "bf16",
            "z: bf16[N, K / 64], s: bf16[N, K / 64],",
            "(w[j, k] as bf16 - z[j, k / 64]) * s[j, k / 64]",
        ),
        (
            "u8",
            "f16",
            "z: u8[N, K / 128], s: f32[N, K / 128],",
            "(w[j, k] as f16 - (z[j, k / 128] as f16)) * (s[j, k / 128] as f16)",
        ),
        ("e2m1", "bf16", "e: e8m0[N, K / 32],", "w[j, k] as bf16 * (e[j, k / 32] as bf16)"),
        ("e4m3", "bf16", "e: e8m0[N, K / 32],", "w[j, k] as bf16 * (e[j, k / 32] as bf16)"),
        ("e2m1", "f16", "e: e4m3[N, K / 16],", "w[j, k] as f16 * (e[j, k / 16] as f16)"),
        ("e5m2", "bf16", "s: bf16[N],", "-(w[j, k] as bf16) * s[j]"),
        // Zero points of few bits, along groups and along rows; some in two bytes.
        (
            "u4",
            "f16",
            "z: u4[N, K / 32], s: f16[N, K / 32],",
            "(w[j, k] as f16 - (z[j, k / 32] as f16)) * s[j, k / 32]",
        ),
        (
            "i5",
            "f16",
            "z: i5[K / 32, N], s: f16[K / 32, N],",
            "(w[j, k] as f16 - (z[k / 32, j] as f16)) * s[k / 32, j]",
        ),
        (
            "b3",
            "bf16",
            "z: b3[N, K / 128], s: f32[N, K / 128],",
            "(w[j, k] as bf16 - (z[j, k / 128] as bf16)) * (s[j, k / 128] as bf16)",
        ),
        (
            "u3",
            "f16",
            "z: u3[N], s: f16[1, N, K / 64],",
            "(w[j, k] as f16 - (z[j] as f16)) * s[0, j, k / 64]",
        ),
        // Integers subtracted as integers, numbers, sums; f32.
        (
            "i4",
            "f16",
            "z: u7[N, K / 64], s: f16[N, K / 64],",
            "((w[j, k] as i32 - (z[j, k / 64] as i32)) as f16) * s[j, k / 64]",
        ),
        ("u4", "f16", "s: f16[N, K / 64],", "s[j, k / 64] * (w[j, k] as f16 - 8)"),
        (
            "i6",
            "f16",
            "z: f16[N, K / 64], s: f16[N, K / 64],",
            "w[j, k] as f16 * s[j, k / 64] - z[j, k / 64]",
        ),
        (
            "e3m2",
            "bf16",
            "z: f32[N, K / 64], s: f32[N, K / 64],",
            "((w[j, k] as f32 - z[j, k / 64]) * s[j, k / 64]) as bf16",
        ),
        // A scale for 64 × 128 weights.
        ("u5", "f16", "s: f32[cdiv(N, 64), cdiv(K, 128)],", "w[j, k] as f16 * (s[j / 64, k / 128] as f16)"),
    ] {
        let text = format!(
            "kernel p(x: {ty}[M, K], packed w: {weight}[N, K], {params} out y: {ty}[M, N]) {{ {} }}",
            loop_(ty, w)
        );
        let program = Program::compile(&text, "p", "");
        holds(&program, &format!("{weight} {ty}"), &[("M", 17), ("N", 72), ("K", 384)], true);
    }
}

/// A step of which a part is past the end, rings whose turns hold no whole groups, and blocks that share out steps.
#[test]
fn scales_are_those_of_their_step() {
    for (sets, k) in [
        ("G=32,BK=64,BN=64", 96),
        ("G=64,BK=32,BN=64,k.stages=3", 320),
        ("G=64,BK=32,BN=64,k.stages=5", 448),
        ("G=128,BK=32,BN=64,k.stages=4", 384),
        // Turns of 96, of which a group of 128 holds one and a third.
        ("G=128,BK=32,BN=64,k.stages=3", 512),
        ("G=64,BK=16,BN=64,k.stages=3", 320),
        ("G=128,BK=32,BN=64,k.split=stream", 640),
    ] {
        let mut program = program("i4", sets);
        program.sms = Some(3);
        holds(&program, sets, &[("M", 70), ("N", 72), ("K", k)], true);
    }
}

#[test]
fn groups_and_schedules() {
    for (weight, sets) in [
        ("u4", "G=128"),
        ("i4", "G=16,BK=32"),
        ("u5", "G=64,k.stages=4,BN=128"),
        ("u4", "G=32,warps=(1,4),BN=128"),
        ("i6", "G=32,k.split=stream"),
        ("e3m2", "G=64,k.split=2"),
    ] {
        let mut program = program(weight, sets);
        program.sms = Some(2);
        holds(&program, &format!("{weight} {sets}"), &[("M", 65), ("N", 130), ("K", 256)], true);
    }
}

/// Of every width: bytes of weights, which copies move 16 at a time, and none of them in another's way.
#[test]
fn weights_are_as_many_bytes_as_their_bits() {
    let text = |weight: &str| {
        format!(
            "kernel p(x: f16[M, K], packed w: {weight}[N, K], out y: f16[M, N]) {{
                 tune BM in {{64}}, BN in {{64, 128}}, BK in {{64}};
                 grid i over M by BM, j over N by BN;
                 let mut acc: f32[i, j] = 0;
                 for k over K by BK {{ acc += x[i, k] @ (w[j, k] as f16).T; }}
                 y[i, j] = acc as f16;
             }}"
        )
    };
    let types = [
        "u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8", "i3", "b1", "b6", "e1m1", "e2m1", "e2m2", "e3m2",
        "e3m3", "e4m3",
    ];
    for weight in types {
        let bits = u64::from(weight_bits(weight));
        let program = Program::compile(&text(weight), "p", "BN=64,warps=(2,2)");
        let recipe = &program.compiled.meta.launches[0].packed[0].1;
        assert_eq!(recipe.bytes(128, 256) as u64 * 8, 128 * 256 * bits, "{weight}");
        let counts = [256u64, 512].map(|k| {
            let options = Options { stats: true, ..Options::default() };
            let dims = [("M", 64), ("N", 64), ("K", k as i64)];
            let run = program.run("wide", &dims, options).expect("all is aligned");
            assert_eq!(run.stats[0].bank_conflicts(), 0, "{weight}");
            run.stats[0].clone()
        });
        // Whole tiles, one block: what is read of x and of w.
        let x = |k: u64| 64 * k * 2;
        for (k, count) in [256, 512].into_iter().zip(&counts) {
            assert_eq!(count.global_bytes_read, x(k) + 64 * k * bits / 8, "{weight} K = {k}");
        }
        // Every load from global memory is of 16 bytes a lane.
        let lines: Vec<&str> = program.compiled.ptx.lines().collect();
        let mut seen = 0;
        for count in &counts[1].global {
            let line = lines[count.line as usize - 1];
            if line.contains("st.global") {
                continue;
            }
            seen += 1;
            assert!(line.contains("cp.async") && line.contains("], 16"), "{weight}: {line}");
            assert_eq!(count.bytes % 16, 0, "{weight}: {line}");
        }
        assert!(seen >= 2, "{weight}");
    }
}

fn weight_bits(name: &str) -> u32 {
    let digits: Vec<u32> = name.chars().filter_map(|c| c.to_digit(10)).collect();
    if digits.len() == 2 { 1 + digits[0] + digits[1] } else { digits[0] }
}

#[test]
fn what_cannot_be_packed_is_refused() {
    use tilewright_compiler::compile::{Options, compile};
    use tilewright_compiler::diagnostics::SourceMap;
    use tilewright_compiler::front::Memory;
    use tilewright_compiler::target::Target;
    let refusal = |text: &str, sets: &[(&str, &str)]| {
        let mut sources = SourceMap::default();
        let mut options = Options::new(Target::Sm80);
        options.settings.sets = sets.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let refused = compile(&mut sources, &Memory::from([("p.tw", text)]), "p.tw", &options);
        refused.err().map(|d| d.render(&sources, false)).unwrap_or_default()
    };
    let example = include_str!("../../../dsl_examples/qgemm.tw");
    let message = refusal(example, &[("w.via", "direct")]);
    assert!(message.contains("packed tiles are copied as they are"), "{message}");
    // Dense bits are no operands; what the hint says to write is.
    let dense = |x: &str| {
        format!(
            "kernel p({x}[M, K], packed w: i4[N, K], out y: i32[M, N]) {{
                 tune BM in {{16}}, BN in {{64}}, BK in {{64}};
                 grid i over M by BM, j over N by BN;
                 let mut acc: i32[i, j] = 0;
                 for k over K by BK {{ acc += x[i, k] @ w[j, k].T; }}
                 y[i, j] = acc;
             }}"
        )
    };
    let message = refusal(&dense("x: u3"), &[]);
    assert!(
        message.contains("`@` of `x`, dense bits in memory") && message.contains("`packed x: u3[…]`"),
        "{message}"
    );
    assert_eq!(refusal(&dense("packed x: u3"), &[]), "");
}
