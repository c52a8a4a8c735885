//! Codebooks: constants and tensors that codes subscript, several packed tensors in one operand, on either side, and of several matrices.

use crate::holds;
use crate::program::Program;
use tilewright_runtime::executor::Options;

const TABLES: &str = "
    const T4: f16[4] = [-1.5, 0.25, 0.5, 3.0];
    const T5: f16[5] = [-1.5, 0.25, 0.5, 3.0, 7.0];
    const T8: f16[8] = [-1.5, 0.25, 0.5, 3.0, 7.0, -0.125, 0.0625, 9.0];
    const T16: f16[16] = [-1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0,
        0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0];
    const B16: bf16[16] = [-1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0,
        0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0];
    const F16: f32[16] = [-1.0, -0.7, -0.5, -0.4, -0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 1.0];
    const I4: i8[4] = [-100, -1, 3, 127];
    const B8: bf16[8] = [-1.5, 0.25, 0.5, 3.0, 7.0, -0.125, 0.0625, 9.0];
    const I16: i8[16] = [-128, -100, -50, -20, -9, -3, -1, 0, 1, 2, 4, 9, 21, 51, 101, 127];
    const U11: u8[11] = [0, 255, 3, 7, 128, 127, 64, 1, 2, 9, 200];
";

/// `y = x · wᵀ` with that for w, and such parameters.
fn source(x: &str, parameters: &str, w: &str) -> String {
    let sum = if matches!(x, "f16" | "bf16") { "f32" } else { "i32" };
    format!(
        "{TABLES} kernel p(x: {x}[M, K], {parameters}, out y: {sum}[M, N]) {{
             tune BM in {{16, 32, 64}}, BN in {{64, 128}}, BK in {{32, 64}};
             grid i over M by BM, j over N by BN;
             let mut acc: {sum}[i, j] = 0;
             for k over K by BK {{ acc += x[i, k] @ ({w}).T; }}
             y[i, j] = acc;
         }}"
    )
}

/// Aligned or not, a depth that tiles do not divide, nothing to add.
fn right(text: &str, what: &str, sets: &str) {
    let mut program = Program::compile(text, "p", sets);
    program.sms = Some(3);
    for (m, n, k) in [(33, 136, 192), (5, 70, 100), (3, 66, 0)] {
        let mut dims = vec![("M", m), ("N", n), ("K", k)];
        dims.extend(text.contains(", E]").then_some(("E", 3)));
        assert!(holds(&program, what, &dims, true) > 0, "{what}");
    }
}

#[test]
fn tables_of_any_length_and_codes_with_and_without_a_sign() {
    for (x, code, w) in [
        ("f16", "u2", "T4[c[j, k]]"),
        ("f16", "u3", "T5[c[j, k]]"),
        ("f16", "i3", "T5[c[j, k]]"),
        ("f16", "u4", "T16[c[j, k]]"),
        // What is below zero, or past the end, reads as zero.
        ("f16", "i4", "T16[c[j, k]]"),
        ("f16", "u4", "T5[c[j, k]]"),
        ("f16", "i4", "T16[(c[j, k] as i32) + 8]"),
        ("f16", "u4", "T16[15 - (c[j, k] as i32)]"),
        ("f16", "u8", "T16[c[j, k]]"),
        ("f16", "u4", "T16[c[j, k]] + (c[j, k] as f16)"),
        ("f16", "u4", "-T16[c[j, k]] * T8[c[j, k]]"),
        ("f16", "u4", "T16[c[j, k]] + T16[15 - (c[j, k] as i32)] * 3"),
        ("f16", "u4", "F16[c[j, k]] as f16"),
        ("bf16", "u4", "B16[c[j, k]]"),
        ("bf16", "i4", "B16[c[j, k]] + 1"),
        ("f16", "u1", "T4[(c[j, k] as i32) * 1 + 1]"),
        ("f16", "u1", "T4[(c[j, k] as i32) + 1]"),
        ("f16", "i2", "T4[(c[j, k] as i32) + 2]"),
        ("bf16", "u3", "B8[c[j, k]]"),
        ("bf16", "i3", "B8[3 - (c[j, k] as i32)] * B8[c[j, k]]"),
        ("f16", "u2", "T4[c[j, k]] * T4[3 - (c[j, k] as i32)]"),
        ("i8", "u2", "I4[c[j, k]]"),
        ("u8", "i3", "U11[(c[j, k] as i32) + 4]"),
        ("i8", "u4", "I16[c[j, k]]"),
        ("i8", "i4", "I16[(c[j, k] as i16) + 8]"),
        ("u8", "u4", "U11[c[j, k]]"),
    ] {
        let text = source(x, &format!("packed c: {code}[N, K]"), w);
        right(&text, &format!("{code} {w}"), "");
    }
    let text = source("f16", "packed c: u4[N, K]", "T16[c[j, k]]");
    for sets in ["BM=64,BN=128,BK=64,warps=(1,4)", "k.split=3", "BK=64,k.split=stream", "warps=(1,1)"] {
        right(&text, sets, sets);
    }
}

/// Sixteen values of two bytes stay in registers: nothing is loaded that a plain conversion would not load.
#[test]
fn a_small_table_is_not_in_memory() {
    let loads = |code: &str, w: &str| {
        let program = Program::compile(&source("f16", &format!("packed c: {code}[N, K]"), w), "p", "");
        let ptx = program.compiled.ptx;
        (ptx.matches("ld.global").count(), ptx.matches("prmt").count())
    };
    let (table, plain) = (loads("u4", "T16[c[j, k]]"), loads("u4", "c[j, k] as f16"));
    assert_eq!(table.0, plain.0);
    assert!(table.1 > plain.1);
    // Narrower codes take one permute for each byte of four values, and one for two halves.
    for (code, w) in [("u1", "T4[c[j, k]]"), ("i2", "T4[(c[j, k] as i32) + 2]"), ("u3", "T8[c[j, k]]")] {
        let narrow = loads(code, w);
        assert_eq!(narrow.0, loads(code, "c[j, k] as f16").0, "{code}");
        assert!(narrow.1 < table.1, "{code}: {} permutes, four bits {}", narrow.1, table.1);
    }
}

#[test]
fn tensors_are_codebooks_too() {
    for (parameters, w) in [
        ("packed c: u4[N, K], t: f16[16]", "t[c[j, k]]"),
        ("packed c: u3[N, K], t: f16[N, 8]", "t[j, c[j, k]]"),
        ("packed c: u4[N, K], t: f16[11]", "t[c[j, k]] * t[3]"),
        ("c: u8[N, K], t: f16[256]", "t[c[j, k]]"),
    ] {
        right(&source("f16", parameters, w), w, "");
    }
}

/// Two codebooks, a mask of one bit, a rest of a few: each packed tensor is staged on its own.
#[test]
fn several_packed_tensors_make_one_operand() {
    for (x, parameters, w) in [
        ("f16", "packed c: u4[N, K], packed d: u4[N, K]", "T16[c[j, k]] + T8[d[j, k]]"),
        ("f16", "packed c: u4[N, K], packed d: u2[N, K]", "T16[c[j, k]] * T4[d[j, k]]"),
        ("f16", "packed c: u4[N, K], packed d: u1[N, K]", "(c[j, k] as f16) * (d[j, k] as f16)"),
        (
            "f16",
            "packed c: e2m1[N, K], packed d: i3[N, K], packed e: u5[N, K]",
            "(c[j, k] as f16) + (d[j, k] as f16) * 0.125 + (e[j, k] as f16)",
        ),
        ("i8", "packed c: i4[N, K], packed d: i2[N, K]", "((c[j, k] as i16) * 4 + (d[j, k] as i16)) as i8"),
        ("f16", "c: i8[N, K], packed d: i4[N, K]", "(c[j, k] as f16) + (d[j, k] as f16) * 0.0625"),
    ] {
        right(&source(x, parameters, w), w, "");
    }
    let text = source("f16", "packed c: u4[N, K], packed d: u4[N, K]", "T16[c[j, k]] + T8[d[j, k]]");
    for sets in ["BM=64,BN=128,BK=64,warps=(1,4)", "k.split=2", "k.split=stream,k.stages=2"] {
        right(&text, sets, sets);
    }
    let scaled =
        source("f16", "packed c: u4[N, K], packed d: u2[N, K], s: f32[N, E]", "T16[c[j, k]] * T4[d[j, k]]")
            .replace(
                "acc += x[i, k] @ (T16[c[j, k]] * T4[d[j, k]]).T;",
                "acc += (x[i, k] @ (T16[c[j, k]] * T4[d[j, k]]).T) * s[j, 1];",
            );
    assert!(scaled.contains("s[j, 1]"));
    right(&scaled, "a loop of products", "");
}

/// Activations of a few bits: the left operand packed, beside packed weights and plain ones.
#[test]
fn left_operands_are_packed_as_well() {
    for (x, w, product, sum) in [
        ("packed x: i4[M, K]", "w: i8[N, K]", "(x[i, k] as i8) @ w[j, k].T", "i32"),
        ("packed x: u4[M, K]", "packed w: i4[N, K]", "(x[i, k] as u8) @ (w[j, k] as i8).T", "i32"),
        ("packed x: i3[M, K]", "packed w: i4[N, K]", "x[i, k] @ w[j, k].T", "i32"),
        ("packed x: e2m1[M, K]", "packed w: e2m1[N, K]", "(x[i, k] as f16) @ (w[j, k] as f16).T", "f32"),
        ("packed x: u4[M, K]", "w: f16[N, K]", "T16[x[i, k]] @ w[j, k].T", "f32"),
    ] {
        let text = format!(
            "{TABLES} kernel p({x}, {w}, out y: {sum}[M, N]) {{
                 tune BM in {{32, 64}}, BN in {{64, 128}}, BK in {{64}};
                 grid i over M by BM, j over N by BN;
                 let mut acc: {sum}[i, j] = 0;
                 for k over K by BK {{ acc += {product}; }}
                 y[i, j] = acc;
             }}"
        );
        for sets in ["BM=64,warps=(2,2)", "BN=128,warps=(1,4),k.split=2"] {
            right(&text, &format!("{x} {w} {sets}"), sets);
        }
    }
}

/// A matrix for each expert, of as many tiles as it has alone.
#[test]
fn packed_tensors_of_several_matrices() {
    let text = "kernel p(x: f16[S, K], packed w: u3[E, N, K], s: f16[E, N], src: i32[R] in 0..S, off: i32[E + 1] ascending 0..R, out y: f32[R, N]) {
        tune BM in {16, 32}, BN in {64, 128}, BK in {32, 64};
        grid e over E, i over off[e]..off[e + 1] by BM, j over N by BN;
        let mut acc: f32[i, j] = 0;
        for k over K by BK { acc += x[src[i], k] @ (w[e, j, k] as f16).T; }
        y[i, j] = acc * (s[e, j] as f32);
    }";
    for sets in ["", "BM=32,BN=128,BK=64"] {
        let program = Program::compile(text, "p", sets);
        for (s, e, n, k, r) in [(9, 5, 130, 72, 40), (7, 1, 64, 32, 3), (4, 3, 8, 8, 0)] {
            let dims = [("S", s), ("E", e), ("N", n), ("K", k), ("R", r)];
            assert!(holds(&program, sets, &dims, true) > 0);
        }
    }
    let text = "kernel p(x: f16[B, M, K], packed w: i4[B, H, N, K], out y: f32[B, H, M, N]) {
        tune BM in {32}, BN in {64}, BK in {32};
        grid b over B, h over H, i over M by BM, j over N by BN;
        let mut acc: f32[i, j] = 0;
        for k over K by BK { acc += x[b, i, k] @ (w[b, h, j, k] as f16).T; }
        y[b, h, i, j] = acc;
    }";
    let program = Program::compile(text, "p", "");
    let dims = [("B", 2), ("H", 3), ("M", 33), ("N", 70), ("K", 72)];
    assert!(holds(&program, "heads", &dims, true) > 0);
    // Whole tiles: exactly the bits of the codes.
    let (w, storage) = (&program.compiled.kernel.tensors[1], &program.compiled.meta.launches[0].packed[0]);
    assert_eq!((w.name.as_str(), storage.1.bytes(64, 64)), ("w", 64 * 64 / 2));
}

/// What would begin inside a tile is refused: the bytes there are another tile's.
#[test]
fn ranges_that_begin_inside_a_tile_are_refused() {
    use tilewright_compiler::compile::{Options, compile};
    use tilewright_compiler::diagnostics::SourceMap;
    use tilewright_compiler::front::Memory;
    use tilewright_compiler::target::Target;
    let refusal = |text: &str| {
        let mut sources = SourceMap::default();
        let refused =
            compile(&mut sources, &Memory::from([("p.tw", text)]), "p.tw", &Options::new(Target::Sm80));
        refused.err().map(|d| d.render(&sources, false)).unwrap_or_default()
    };
    let text = |grid: &str, k: &str, more: &str| {
        format!(
            "kernel p(x: f16[M, K], packed w: u4[N, K], {more}out y: f32[M, N]) {{
                 grid {grid};
                 let mut acc: f32[i, j] = 0;
                 for k over {k} by 32 {{ acc += x[i, k] @ (w[j, k] as f16).T; }}
                 y[i, j] = acc;
             }}"
        )
    };
    let rows = "i over M by 16, j over N by 64";
    assert_eq!(refusal(&text(rows, "K", "")), "");
    assert_eq!(refusal(&text(rows, "64..K", "")), "");
    let ragged = "off: i32[E + 1] ascending 0..N, ";
    for (grid, k, more) in [
        (rows, "16..K", ""),
        ("i over M by 16, j over 32..N by 64", "K", ""),
        ("e over E, j over off[e]..off[e + 1] by 64, i over M by 16", "K", ragged),
    ] {
        let message = refusal(&text(grid, k, more));
        assert!(message.contains("which may begin inside a tile"), "{message}");
    }
    // Tiles that matrix instructions fill up are not those of the range.
    let filled = "kernel p(x: f16[M, K], packed w: u4[N, K], s: f32[N], out y: f32[M, N]) {
        grid i over M by 16, j over N by 48;
        let mut acc: f32[i, j] = 0;
        for k over K by 64 { acc += (x[i, k] @ (w[j, k] as f16).T) * s[j]; }
        y[i, j] = acc;
    }";
    let message = refusal(filled);
    assert!(message.contains("in tiles of 48 rows"), "{message}");
}

/// Codes in nibbles, and tiles of left operands, are read without bank conflicts.
#[test]
fn tables_and_left_tiles_have_no_bank_conflicts() {
    let left = "kernel p(packed x: i4[M, K], packed w: i4[N, K], out y: i32[M, N]) {
        tune BM in {64}, BN in {64}, BK in {64};
        grid i over M by BM, j over N by BN;
        let mut acc: i32[i, j] = 0;
        for k over K by BK { acc += (x[i, k] as i8) @ (w[j, k] as i8).T; }
        y[i, j] = acc;
    }";
    let table = source("f16", "packed c: u4[N, K]", "T16[c[j, k]]");
    for (text, sets) in [(left, "warps=(2,2)"), (&table, "BM=64,BK=64,warps=(2,2)")] {
        let program = Program::compile(text, "p", sets);
        let options = Options { stats: true, ..Options::default() };
        let run = program.run("wide", &[("M", 64), ("N", 128), ("K", 256)], options).expect("all is aligned");
        assert_eq!(run.stats[0].bank_conflicts(), 0);
    }
}
