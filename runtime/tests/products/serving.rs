//! What serves requests: ragged batches, paged caches, keys cut over blocks, caches that grow.

use crate::holds;
use crate::program::Program;
use std::num::NonZeroU32;
use tilewright_runtime::executor::Options;
use tilewright_runtime::serving::{Capacity, Planner, Reach, Request, Settings, Split};
use tilewright_runtime::tensor::HostTensor;

const RAGGED: &str = include_str!("../../../dsl_examples/ragged_attention.tw");
const PAGED: &str = include_str!("../../../dsl_examples/paged_attention.tw");
const PLANNED: &str = include_str!("../../../dsl_examples/planned_attention.tw");
const ATTENTION: &str = include_str!("../../../dsl_examples/attention.tw");
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
        ("paged_decode", "CH=96,BKV=32,D=96,DV=64"),
        ("paged_decode", "CH=256,BKV=128"),
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

/// Keys and values of which all heads share one, and of which values are a part, as latent attention has them. What a step holds is two slots of
/// 32 keys: the first of the kernel's own sizes that shared memory has room for.
#[test]
fn latent_heads() {
    for (text, kernel, own) in [
        (PAGED, "paged_decode", &[("B", 2), ("P", 1), ("NP", 200), ("MP", 70)][..]),
        (PAGED, "paged_decode", &[("B", 2), ("P", 64), ("NP", 9), ("MP", 3)]),
        (PAGED, "paged_attention", &[("B", 2), ("P", 16), ("NP", 20), ("MP", 6), ("TQ", 5)]),
        (RAGGED, "ragged_causal", &[("B", 2), ("TQ", 5), ("TK", 90)]),
    ] {
        let program = Program::compile(text, kernel, "D=576,DV=512");
        let dims = [&[("HQ", 16), ("HKV", 1)][..], own].concat();
        assert!(holds(&program, kernel, &dims, true) > 0, "{kernel}");
    }
}

/// A page is filled from its end: slots count down.
#[test]
fn slots_backwards() {
    let backwards = PAGED.replace("[page, j % P, g, :]", "[page, P - 1 - j % P, g, :]");
    assert!(backwards != PAGED);
    for (kernel, own) in [("paged_attention", &[("TQ", 9)][..]), ("paged_decode", &[])] {
        let program = Program::compile(&backwards, kernel, "D=64");
        for (np, p, mp) in [(24, 16, 6), (40, 1, 13)] {
            let dims = [("B", 2), ("HQ", 4), ("HKV", 2), ("NP", np), ("P", p), ("MP", mp)];
            assert!(holds(&program, kernel, &[&dims[..], own].concat(), true) > 0);
        }
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

/// Tokens go to slots that no two of them share: of many slots some, or all in another order.
#[test]
fn paged_caches_grow() {
    let program = Program::compile(APPEND, "append_pages", "D=64");
    for (t, np, p) in [(20, 40, 5), (32, 2, 16), (0, 1, 1)] {
        let dims = [("T", t), ("HQ", 4), ("HKV", 2), ("L", 30), ("NP", np), ("P", p)];
        assert!(holds(&program, &format!("{t} {np} {p}"), &dims, true) > 0);
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

/// Inputs by name in place of the random ones.
fn given<'a>(
    values: &'a [(&'a str, Vec<f64>)],
) -> impl Fn(&tilewright_compiler::tile::ir::Kernel, &mut [HostTensor]) + 'a {
    move |kernel, tensors| {
        for (name, values) in values {
            let at = kernel.tensors.iter().position(|t| t.name == *name).expect("a parameter");
            let t = &tensors[at];
            tensors[at] = match t.elem().is_float() {
                true => HostTensor::from_f64(t.elem(), t.shape(), values),
                false => {
                    let whole: Vec<i64> = values.iter().map(|x| *x as i64).collect();
                    HostTensor::from_i64(t.elem(), t.shape(), &whole)
                }
            }
            .expect("a tensor");
        }
    }
}

/// What the widest variant that fits writes, as numbers of f32 or f16.
fn written(program: &Program, dims: &[(&str, i64)], values: &[(&str, Vec<f64>)]) -> Vec<Vec<f64>> {
    let by =
        |variant| program.run_edited(&program.compiled.ptx, variant, dims, Options::default(), given(values));
    let run = ["wide", "mid", "any"].into_iter().find_map(by).expect("a variant runs");
    assert!(run.wrong.is_empty() && run.findings.is_empty(), "{:?} {:?}", run.wrong, run.findings);
    let kernel = &program.compiled.kernel;
    let outputs = kernel.tensors.iter().filter(|t| t.kind.writable()).zip(run.written);
    let numbers = outputs.map(|(t, bytes)| {
        let n = bytes.len() * 8 / t.elem.bits() as usize;
        HostTensor::from_bytes(t.elem, &[n], bytes).expect("an output").to_f64()
    });
    numbers.collect()
}

fn noise(n: usize, seed: u32) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 22) / 512.0 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn close(x: &[f64], y: &[f64], what: &str) {
    assert_eq!(x.len(), y.len(), "{what}");
    let most = x.iter().zip(y).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
    assert!(most < 2e-3, "{what}: {most}");
}

/// The planner's items, done and merged, are attention over the batch; and a request's rows are the same bits whatever else is in it.
#[test]
fn planned_batches() {
    const ROWS: usize = 40;
    let some = |n: u32| NonZeroU32::new(n).expect("not zero");
    let attention = Program::compile(PLANNED, "planned_attention", "BQ=16,BR=1,BKV=32");
    let merge = Program::compile(PLANNED, "merge_parts", "");
    let direct = Program::compile(PAGED, "paged_attention", "BQ=16,BR=1,BKV=32");
    let q = noise(ROWS * 4 * 64, 1);
    let cache = |seed| noise(24 * 16 * 2 * 64, seed);
    let pages: Vec<f64> = (0..18).map(|n| f64::from((n * 7 + 3) % 24)).collect();
    let attend = |requests: &[Request; 3]| {
        let settings = Settings {
            query_tile: some(16),
            key_tile: some(32),
            reach: Reach::Causal,
            split: Split::Fixed(some(64)),
            blocks: some(4),
            capacity: Capacity { rows: ROWS as u32, items: 12, slots: 100 },
        };
        let mut planner = Planner::new(settings).expect("a planner");
        let plan = planner.plan(requests).expect("a plan").clone();
        let tensor = |name: &str| -> Vec<f64> {
            let (_, list) =
                plan.tensors().into_iter().find(|(n, _)| *n == name).expect("a tensor of the plan");
            list.iter().map(|x| f64::from(*x)).collect()
        };
        let mut cu = vec![0.0];
        requests.iter().for_each(|r| cu.push(cu[cu.len() - 1] + f64::from(r.queries)));
        let lens: Vec<f64> = requests.iter().map(|r| f64::from(r.keys)).collect();
        let inputs = [
            ("q", q.clone()),
            ("kc", cache(2)),
            ("vc", cache(3)),
            ("pages", pages.clone()),
            ("len", lens),
            ("cu", cu),
        ];
        let items = ["req", "q0", "lo", "hi"].map(|name| (name, tensor(name)));
        let shared = [("B", 3), ("HQ", 4), ("HKV", 2), ("TQ", ROWS as i64), ("NP", 24), ("P", 16), ("MP", 6)];
        let dims = [&shared[..], &[("W", 12), ("ROWS", 16)]].concat();
        let parts = written(&attention, &dims, &[&inputs[..], &items[..]].concat());
        let rest = [
            ("po", parts[0].clone()),
            ("pl", parts[1].clone()),
            ("q0", tensor("q0")),
            ("first", tensor("first")),
            ("slot", tensor("slot")),
        ];
        let dims = [("W", 12), ("ROWS", 16), ("HQ", 4), ("TQ", ROWS as i64), ("SLOTS", 100)];
        let merged = written(&merge, &dims, &rest);
        let queries: u32 = requests.iter().map(|r| r.queries).sum();
        let whole = written(&direct, &shared, &inputs);
        let rows = queries as usize * 4 * 64;
        close(&merged[0][..rows], &whole[0][..rows], "planned against direct");
        merged
    };
    let request = |queries, keys| Request { queries, keys };
    let one = attend(&[request(1, 90), request(20, 96), request(3, 40)]);
    let other = attend(&[request(1, 90), request(0, 0), request(17, 80)]);
    assert_eq!(one[0][..4 * 64], other[0][..4 * 64], "the first request's row does not depend on the others");
    assert!(one[0][4 * 64..] != other[0][4 * 64..]);
}

/// A shared prefix attended once with all queries, each request's own keys apart, and the two merged.
#[test]
fn cascades() {
    let (rows, prefix, own, heads) = (8, 70, 40, 2);
    let attention = Program::compile(ATTENTION, "attention", "D=64,BQ=64,BKV=32");
    let merge = Program::compile(MERGE, "merge_state", "");
    let q = noise(rows * heads * 64, 1);
    let (pk, pv) = (noise(heads * prefix * 64, 2), noise(heads * prefix * 64, 3));
    let (k, v) = (noise(rows * heads * own * 64, 4), noise(rows * heads * own * 64, 5));
    // From [rows, heads, ..] to [heads, rows, ..] and back.
    let turned = |x: &[f64], outer: usize, inner: usize, size: usize| -> Vec<f64> {
        let at = |n: usize| (n % outer * inner + n / outer) * size;
        (0..outer * inner).flat_map(|n| x[at(n)..at(n) + size].to_vec()).collect()
    };
    let run = |b: usize, s: usize, l: usize, q: Vec<f64>, k: Vec<f64>, v: Vec<f64>| {
        let n = |x: usize| x as i64;
        let dims = [("B", n(b)), ("HQ", n(heads)), ("HKV", n(heads)), ("S", n(s)), ("L", n(l))];
        written(&attention, &dims, &[("q", q), ("k", k), ("v", v)])
    };
    let shared = run(1, rows, prefix, turned(&q, rows, heads, 64), pk.clone(), pv.clone());
    let apart = run(rows, 1, own, q.clone(), k.clone(), v.clone());
    let states = [
        ("a", turned(&shared[0], heads, rows, 64)),
        ("lse_a", shared[1].clone()),
        ("b", apart[0].clone()),
        ("lse_b", turned(&apart[1], rows, heads, 1)),
    ];
    let merged = written(&merge, &[("N", rows as i64), ("H", heads as i64)], &states);
    // Every request with the prefix in front of its own keys.
    let both = |p: &[f64], x: &[f64]| -> Vec<f64> {
        let part = |n: usize| {
            let (head, own) = (n % heads * prefix * 64, n * own * 64..(n + 1) * own * 64);
            [&p[head..head + prefix * 64], &x[own]].concat()
        };
        (0..rows * heads).flat_map(part).collect()
    };
    let whole = run(rows, 1, prefix + own, q, both(&pk, &k), both(&pv, &v));
    close(&merged[0], &whole[0], "output");
    close(&merged[1], &turned(&whole[1], rows, heads, 1), "log-sum-exp");
}
