//! Product quantisation: neighbours along the contracted range share a code, `t[c[j, k / 8], k % 8]`, which chooses a row of a table.

use crate::holds;
use crate::program::Program;
use tilewright_runtime::executor::Options;

/// `y = x · wᵀ` with that for w, and such parameters.
fn source(x: &str, parameters: &str, w: &str, promise: &str) -> String {
    let sum = if matches!(x, "f16" | "bf16") { "f32" } else { "i32" };
    format!(
        "const B: bf16[4, 4] = [[1, -2, 3, -4], [0.5, 0, 0.25, 8], [-1, -1, 1, 1], [7, 6, 5, 4]];
         kernel p(x: {x}[M, K], {parameters}, out y: {sum}[M, N]){promise} {{
             tune BM in {{16, 32, 64}}, BN in {{64, 128}}, BK in {{32, 64}};
             grid i over M by BM, j over N by BN;
             let mut acc: {sum}[i, j] = 0;
             for k over K by BK {{ acc += x[i, k] @ ({w}).T; }}
             y[i, j] = acc;
         }}"
    )
}

/// Whole steps and parts of one; an odd number of rows; nothing to add.
fn right(text: &str, sets: &str) {
    let mut program = Program::compile(text, "p", sets);
    program.sms = Some(3);
    for (m, n, k) in [(33, 136, 192), (5, 71, 112), (3, 66, 0)] {
        assert!(holds(&program, text, &[("M", m), ("N", n), ("K", k)], true) > 0, "{text} {sets}");
    }
}

#[test]
fn neighbours_share_a_code() {
    for (x, parameters, w) in [
        ("f16", "packed c: u8[N, K / 2], t: f16[256, 2]", "t[c[j, k / 2], k % 2]"),
        ("f16", "packed c: u4[N, K / 4], t: f16[16, 4]", "t[c[j, k / 4], k % 4]"),
        ("f16", "packed c: u8[N, K / 8], t: f16[256, 8]", "t[c[j, k / 8], k % 8]"),
        ("bf16", "packed c: u8[N, K / 16], t: bf16[256, 16]", "t[c[j, k / 16], k % 16]"),
        ("bf16", "packed c: u2[N, K / 4]", "B[c[j, k / 4], k % 4]"),
        // Rows of the table are longer than a turn, and what is outside reads as zero.
        ("f16", "packed c: i4[N, K / 4], t: f16[12, 8]", "t[(c[j, k / 4] as i32) + 8, k % 4 + 2]"),
        ("i8", "packed c: u8[N, K / 4], t: i8[256, 4]", "t[c[j, k / 4], k % 4]"),
        ("f16", "packed c: u8[N, K / 8], t: e4m3[256, 8]", "t[c[j, k / 8], k % 8] as f16"),
        // Two codes, each for as many as it likes; a code that is a number.
        (
            "f16",
            "packed c: u8[N, K / 8], packed d: u4[N, K / 4], t: f16[256, 8], u: f16[16, 4]",
            "t[c[j, k / 8], k % 8] + u[d[j, k / 4], k % 4]",
        ),
        ("f16", "packed w: u4[N, K], packed z: u4[N, K / 16]", "(w[j, k] as f16) - (z[j, k / 16] as f16)"),
    ] {
        right(&source(x, parameters, w, ""), "");
    }
}

#[test]
fn in_every_schedule() {
    let text = source("f16", "packed c: u8[N, K / 8], t: f16[256, 8]", "t[c[j, k / 8], k % 8]", "");
    for sets in ["BM=64,BN=128,BK=64,warps=(1,4)", "BM=64,BN=64,warps=(2,2)", "k.split=3", "k.split=stream"] {
        right(&text, sets);
    }
    let left = "kernel p(packed c: u8[M, K / 8], t: f16[256, 8], w: f16[N, K], out y: f32[M, N]) {
        grid i over M by 64, j over N by 64;
        let mut acc: f32[i, j] = 0;
        for k over K by 32 { acc += t[c[i, k / 8], k % 8] @ w[j, k].T; }
        y[i, j] = acc;
    }";
    right(left, "");
}

/// Where the depth is a number, too; and of the steps of a `tune` block those are chosen that have whole groups.
#[test]
fn of_known_depth_and_whole_groups() {
    let known = source("f16", "packed c: u8[N, 24], t: f16[256, 8]", "t[c[j, k / 8], k % 8]", "")
        .replace("x: f16[M, K]", "x: f16[M, 192]")
        .replace("k over K", "k over 192");
    let program = Program::compile(&known, "p", "");
    assert!(holds(&program, "known", &[("M", 33), ("N", 71)], true) > 0);
    let groups = source(
        "f16",
        "packed w: u4[N, K], packed s: e4m3[N, K / 64]",
        "(w[j, k] as f16) * (s[j, k / 64] as f16)",
        "",
    );
    let program = Program::compile(&groups, "p", "");
    assert!(holds(&program, "groups", &[("M", 5), ("N", 71), ("K", 320)], true) > 0);
}

/// A code of eight bits for eight weights is a byte for eight weights, and two neighbours of a row are one load, that nothing masks.
#[test]
fn a_code_is_loaded_once_and_neighbours_together() {
    let text = source(
        "f16",
        "packed c: u8[N, K / 8], t: f16[256, 8]",
        "t[c[j, k / 8], k % 8]",
        " where K % 64 == 0",
    );
    let program = Program::compile(&text, "p", "BM=64,BN=64,BK=64,warps=(2,2)");
    let recipe = &program.compiled.meta.launches[0].packed[0].1;
    assert_eq!(recipe.bytes(128, 256 / 8), 128 * 256 / 8);
    let wide = program.compiled.ptx.split(".entry").find(|e| e.contains("p_wide")).expect("a wide variant");
    let loads: Vec<&str> = wide.lines().filter(|l| l.contains("ld.global")).collect();
    assert!(!loads.is_empty() && loads.iter().all(|l| l.trim().starts_with("ld.global.b32")), "{loads:?}");
    let bytes = [256, 512].map(|k| {
        let options = Options { stats: true, ..Options::default() };
        let run = program.run("wide", &[("M", 64), ("N", 64), ("K", k)], options).expect("all is aligned");
        assert_eq!(run.stats[0].bank_conflicts(), 0);
        let lines: Vec<&str> = program.compiled.ptx.lines().collect();
        let copies = run.stats[0].global.iter().filter(|c| lines[c.line as usize - 1].contains("cp.async"));
        copies.map(|c| c.bytes).sum::<u64>()
    });
    // Two more times 256 columns of x, and of codes.
    assert_eq!(bytes[1] - bytes[0], 64 * 256 * 2 + 64 * 256 / 8);
}
