//! What serves requests: ragged batches, paged caches, keys cut over blocks, caches that grow.

use crate::holds;
use crate::program::Program;
use tilewright_runtime::executor::Options;
use tilewright_runtime::tensor::HostTensor;

const RAGGED: &str = include_str!("../../../dsl_examples/ragged_attention.tw");
const PAGED: &str = include_str!("../../../dsl_examples/paged_attention.tw");
const MERGE: &str = include_str!("../../../dsl_examples/merge_state.tw");
const APPEND: &str = include_str!("../../../dsl_examples/append_kv.tw");

#[test]
fn ragged_batches() {
    for (kernel, sets) in [
        ("ragged_attention", "BQ=64,BKV=32"),
        ("ragged_causal", "BQ=16,BKV=64,D=80"),
        ("ragged_attention", "mask=window,BQ=64,BKV=64,T=bf16"),
    ] {
        let program = Program::compile(RAGGED, kernel, sets);
        for (tq, tk) in [(150, 170), (1, 300), (64, 0), (0, 10)] {
            let dims = [("B", 3), ("HQ", 4), ("HKV", 2), ("TQ", tq), ("TK", tk)];
            assert!(holds(&program, &format!("{kernel} {sets}"), &dims, tq == 150) > 0);
        }
    }
}

/// Pages of one token, of an odd number of tokens, and longer than a tile.
#[test]
fn pages_of_any_size() {
    for (kernel, sets) in [
        ("paged_attention", "BQ=16,BR=4,BKV=64"),
        ("paged_attention", "BQ=64,BR=1,BKV=32,mask=window"),
        ("paged_decode", "CH=64,BKV=32"),
        ("paged_decode", "CH=96,BKV=64,D=96,DV=64"),
    ] {
        let program = Program::compile(PAGED, kernel, sets);
        for (p, mp) in [(1, 90), (5, 17), (16, 6), (128, 1), (16, 0)] {
            let mut dims = vec![("B", 3), ("HQ", 6), ("HKV", 2), ("NP", 24), ("P", p), ("MP", mp)];
            dims.extend((kernel == "paged_attention").then_some(("TQ", 40)));
            assert!(holds(&program, &format!("{kernel} {sets}"), &dims, p == 5) > 0);
        }
    }
}

/// What a request does not own is never read: not a page that nobody lists, not the rest of its last page.
#[test]
fn foreign_keys_are_never_read() {
    let dims = [("B", 2), ("HQ", 4), ("HKV", 2), ("TQ", 9), ("NP", 12), ("P", 16), ("MP", 4)];
    for kernel in ["paged_attention", "paged_decode"] {
        let program = Program::compile(PAGED, kernel, "");
        let dims: Vec<_> =
            dims.iter().copied().filter(|(d, _)| kernel == "paged_attention" || *d != "TQ").collect();
        let run =
            program.run_edited(&program.compiled.ptx, "wide", &dims, Options::default(), |k, tensors| {
                let at = |name: &str| k.tensors.iter().position(|t| t.name == name).expect("a parameter");
                // Eleven tokens of request 0 in pages 3 and 7, forty of request 1 from page 4 on.
                let pages = [3, 7, 0, 0, 4, 5, 6, 0];
                let lens = [27, 40];
                tensors[at("pages")] =
                    HostTensor::from_i64(tensors[at("pages")].elem(), &[2, 4], &pages).expect("a table");
                tensors[at("len")] =
                    HostTensor::from_i64(tensors[at("len")].elem(), &[2], &lens).expect("lengths");
                let owned = |page: usize, slot: usize| {
                    (0..2).any(|b| {
                        (0..lens[b] as usize)
                            .any(|j| pages[4 * b + j / 16] as usize == page && j % 16 == slot)
                    })
                };
                for name in ["kc", "vc"] {
                    let t = &tensors[at(name)];
                    let row = t.numel() / (12 * 16);
                    let value = |(n, x): (usize, f64)| {
                        let slot = n / row;
                        if owned(slot / 16, slot % 16) { x } else { f64::NAN }
                    };
                    let values: Vec<f64> = t.to_f64().into_iter().enumerate().map(value).collect();
                    assert!(values.iter().any(|x| x.is_nan()) && values.iter().any(|x| !x.is_nan()));
                    tensors[at(name)] = HostTensor::from_f64(t.elem(), t.shape(), &values).expect("a cache");
                }
            });
        let run = run.expect("the variant runs");
        assert_eq!((run.wrong, run.findings.len()), (Vec::<String>::new(), 0), "{kernel}");
        let halves = run.written[0].chunks(2).map(|c| u16::from_le_bytes([c[0], c[1]]));
        assert_eq!(halves.filter(|h| h & 0x7c00 == 0x7c00).count(), 0, "{kernel}: NaN in the output");
    }
}

#[test]
fn states_merge() {
    let program = Program::compile(MERGE, "merge_state", "BN=16");
    assert!(holds(&program, "merge", &[("N", 70), ("H", 4)], true) > 0);
    let program = Program::compile(MERGE, "merge_state", "BN=4,T=f32,D=128");
    assert!(holds(&program, "merge", &[("N", 5), ("H", 1)], true) > 0);
}

#[test]
fn caches_grow() {
    for sets in ["D=64", "D=80,E=bf16"] {
        let program = Program::compile(APPEND, "append_kv", sets);
        for t in [20, 1, 0] {
            let dims = [("T", t), ("HQ", 4), ("HKV", 2), ("L", 30), ("B", 3)];
            assert!(holds(&program, sets, &dims, true) > 0);
        }
    }
}

/// A scalar that data decides, as the subscript of an operand: inside by promise, or else tested, and zero outside.
#[test]
fn operands_that_data_chooses() {
    for promise in [" in 0..E", ""] {
        let text = format!(
            "kernel p(x: f16[M, K], w: f16[E, N, K], expert: i32[1]{promise}, out y: f32[M, N]) {{
                grid i over M by 64, j over N by 64;
                let mut acc: f32[i, j] = 0;
                for k over K by 32 {{ acc += x[i, k] @ w[expert[0], j, k].T; }}
                y[i, j] = acc;
            }}"
        );
        let program = Program::compile(&text, "p", "");
        for e in [5, 1] {
            let dims = [("M", 70), ("N", 40), ("K", 72), ("E", e)];
            assert!(holds(&program, promise, &dims, true) > 0);
        }
    }
}
