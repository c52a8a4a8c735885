//! Weights of any width, stored for the fragments that multiply them.

use crate::holds;
use crate::program::Program;
use tilewright_runtime::executor::Options;

fn program(weight: &str, sets: &str) -> Program {
    let text = format!(
        "kernel p<G: 16..=128 = 32>(x: f16[M, K], packed w: {weight}[N, K], s: f16[N, K / G], z: f16[N, K / G], out y: f16[M, N]) {{
             tune BM in {{64}}, BN in {{64, 128}}, BK in {{64, 32}};
             grid i over M by BM, j over N by BN;
             let mut acc: f32[i, j] = 0;
             for k over K by BK {{ acc += x[i, k] @ ((w[j, k] as f16 - z[j, k / G]) * s[j, k / G]).T; }}
             y[i, j] = acc as f16;
         }}"
    );
    Program::compile(&text, "p", sets)
}

/// One of every combination of planes, with and without a sign, and floats of every width.
const TYPES: [&str; 17] = [
    "u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8", "i1", "i3", "i4", "i8", "e1m1", "e2m1", "e3m2", "e4m3",
    "e5m2",
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

#[test]
fn weights_are_as_many_bytes_as_their_bits() {
    for (weight, bits) in [("u1", 1), ("i3", 3), ("u4", 4), ("e3m2", 6), ("u7", 7), ("i8", 8)] {
        let program = program(weight, "BK=64,BN=64,warps=(2,2)");
        let ptx = &program.compiled.ptx;
        let options = Options { stats: true, ..Options::default() };
        let run = program.run("wide", &[("M", 64), ("N", 128), ("K", 256)], options).expect("all is aligned");
        // Storage by the recipe, and what the launch does with it.
        let w = program.compiled.kernel.tensors.iter().position(|t| t.name == "w").expect("a weight");
        let recipe = &program.compiled.meta.launches[0].packed[0];
        assert_eq!(recipe.0.0 as usize, w);
        assert_eq!(recipe.1.bytes(128, 256) * 8, 128 * 256 * bits);
        assert!(!ptx.contains("ld.global.v4"), "weights go through shared memory");
        assert_eq!(run.stats[0].bank_conflicts(), 0, "{weight}");
    }
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
    let text = "kernel p(packed w: u4[M, K], x: f16[N, K], out y: f32[M, N]) {
             tune BM in {64}, BN in {64}, BK in {32};
             grid i over M by BM, j over N by BN;
             let mut acc: f32[i, j] = 0;
             for k over K by BK { acc += (w[i, k] as f16) @ x[j, k].T; }
             y[i, j] = acc;
         }";
    let message = refusal(text, &[]);
    assert!(message.contains("as the left operand"), "{message}");
    let example = include_str!("../../../dsl_examples/qgemm.tw");
    let message = refusal(example, &[("w.via", "direct")]);
    assert!(message.contains("packed tiles are copied as they are"), "{message}");
}
