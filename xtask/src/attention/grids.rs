//! FlashAttention's own forward tests as cases: `test_flash_attn_output`, `_causal` and `_splitkv` of FA2, `test_flash_attn_output` of FA3.
//!
//! What they vary and nothing here answers to is left out, and [`LEFT_OUT`] says so. A window's width and a chunk's length are drawn from a
//! case's number, as theirs are drawn anew in each test.

use tilewright_runtime::tensor::random::Stream;
use tilewright_runtime::verify::attention::{Case, Elem, Layout, Mask, Score};

/// What the grids vary and these cases do not.
pub const LEFT_OUT: [&str; 7] = [
    "backward passes, and what belongs to them (deterministic)",
    "dropout",
    "fp8 (e4m3) operands",
    "FA3's qv",
    "numbers of splits other than 1",
    "a chunk together with a window",
    "query heads packed beside positions where values have 512 dimensions, which is refused for want of registers",
];

const ELEMS: [Elem; 2] = [Elem::F16, Elem::Bf16];
const HEADS: usize = 6;
/// mha, mqa, gqa
const KV_HEADS: [usize; 3] = [6, 1, 2];

/// Every case of every grid, in order.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    fa2(&mut cases);
    fa2_causal(&mut cases);
    fa2_split(&mut cases);
    fa3(&mut cases);
    cases
}

/// Rows of a number of bytes that no 16-byte copy can follow are padded by FlashAttention before it looks at them.
fn padded(dim: usize) -> Layout {
    if dim.is_multiple_of(8) { Layout::Sequence } else { Layout::Padded }
}

/// The mask of a test's two flags: a window that looks back only where it is causal.
fn mask(local: bool, causal: bool, keys: usize, number: usize) -> Mask {
    let width = |name| Stream::new(number as u64, name).integer(0, 0, keys as i64 - 1) as i32;
    match (local, causal) {
        (false, false) => Mask::Full,
        (false, true) => Mask::Causal,
        (true, false) => Mask::Window { left: width("left"), right: width("right") },
        (true, true) => Mask::CausalWindow { left: width("left") },
    }
}

const FLAGS: [bool; 2] = [false, true];

fn fa2(cases: &mut Vec<Case>) {
    let shapes = [
        (113, 203),
        (128, 217),
        (113, 211),
        (108, 256),
        (256, 512),
        (512, 256),
        (1024, 1024),
        (1023, 1024),
        (1024, 1023),
        (2048, 2048),
    ];
    for elem in ELEMS {
        for kv_heads in KV_HEADS {
            for (alibi, capped) in [(false, false), (false, true), (true, false), (true, true)] {
                for (local, causal) in [(false, false), (false, true), (true, false), (true, true)] {
                    for beside in FLAGS {
                        for dim in [32, 40, 59, 64, 96, 111, 128, 160, 192, 224, 256] {
                            for (queries, keys) in shapes {
                                cases.push(Case {
                                    grid: "fa2",
                                    elem,
                                    batch: 4,
                                    heads: HEADS,
                                    kv_heads,
                                    queries,
                                    keys,
                                    dim,
                                    value_dim: dim,
                                    mask: mask(local, causal, keys, cases.len()),
                                    score: match (alibi, capped) {
                                        (false, false) => Score::Same,
                                        (false, true) => Score::Softcap { cap: 50.0 },
                                        (true, false) => Score::Alibi,
                                        (true, true) => Score::SoftcapAlibi { cap: 50.0 },
                                    },
                                    layout: if beside { Layout::Beside } else { padded(dim) },
                                    packed: false,
                                });
                            }
                        }
                    }
                }
            }
        }
    }
}

fn fa2_causal(cases: &mut Vec<Case>) {
    let shapes = [
        (1, 239),
        (3, 799),
        (127, 512),
        (127, 513),
        (113, 203),
        (128, 217),
        (113, 211),
        (108, 256),
        (256, 512),
        (1023, 1024),
    ];
    for elem in ELEMS {
        for swapped in FLAGS {
            for local in FLAGS {
                for dim in [32, 40, 59, 64, 80, 96, 111, 128, 160, 192, 224, 256] {
                    for (queries, keys) in shapes {
                        let (queries, keys) = if swapped { (keys, queries) } else { (queries, keys) };
                        cases.push(Case {
                            grid: "fa2-causal",
                            elem,
                            batch: 4,
                            heads: HEADS,
                            kv_heads: HEADS,
                            queries,
                            keys,
                            dim,
                            value_dim: dim,
                            mask: mask(local, true, keys, cases.len()),
                            score: Score::Same,
                            layout: padded(dim),
                            packed: false,
                        });
                    }
                }
            }
        }
    }
}

fn fa2_split(cases: &mut Vec<Case>) {
    let shapes = [
        (3, 1024),
        (1, 339),
        (64, 800),
        (3, 799),
        (64, 2048),
        (16, 20000),
        (16, 100_000),
        (128, 128),
        (256, 256),
    ];
    for elem in ELEMS {
        for alibi in FLAGS {
            for (local, causal) in [(false, false), (false, true), (true, false), (true, true)] {
                for dim in [32, 40, 59, 64, 80, 96, 111, 128, 160, 192, 224, 256] {
                    for (queries, keys) in shapes {
                        cases.push(Case {
                            grid: "fa2-splitkv",
                            elem,
                            batch: 1,
                            heads: 12,
                            kv_heads: 12,
                            queries,
                            keys,
                            dim,
                            value_dim: dim,
                            mask: mask(local, causal, keys, cases.len()),
                            score: if alibi { Score::Alibi } else { Score::Same },
                            layout: padded(dim),
                            packed: false,
                        });
                    }
                }
            }
        }
    }
}

fn fa3(cases: &mut Vec<Case>) {
    let shapes = [
        (1, 1),
        (64, 128),
        (128, 192),
        (256, 256),
        (239, 1),
        (799, 3),
        (113, 203),
        (113, 128),
        (128, 217),
        (113, 211),
        (108, 256),
        (256, 512),
        (384, 256),
        (640, 128),
        (512, 256),
        (1024, 1024),
        (1023, 1024),
        (1024, 1023),
        (4096, 4096),
        (4224, 4224),
    ];
    let dims = [(64, 64), (64, 256), (64, 512), (96, 96), (128, 128), (192, 192), (192, 128), (256, 256)];
    // Full, causal, window, both; then runs of keys, without and with a causal mask.
    let masks = [(false, false, false), (false, true, false), (true, false, false), (true, true, false)];
    let chunks = [(false, false, true), (false, true, true)];
    for elem in ELEMS {
        for (kv_heads, packed) in [(6, false), (1, false), (1, true), (2, false), (2, true)] {
            for capped in FLAGS {
                for (local, causal, chunked) in masks.into_iter().chain(chunks) {
                    for (dim, value_dim) in dims {
                        if packed && value_dim > 256 {
                            continue;
                        }
                        for (queries, keys) in shapes {
                            let number = cases.len();
                            let chunk =
                                Stream::new(number as u64, "chunk").integer(0, 1, 2 * keys as i64) as i32;
                            cases.push(Case {
                                grid: "fa3",
                                elem,
                                batch: if keys > 2048 { 2 } else { 9 },
                                heads: HEADS,
                                kv_heads,
                                queries,
                                keys,
                                dim,
                                value_dim,
                                mask: match (chunked, causal) {
                                    (true, false) => Mask::Chunked { chunk },
                                    (true, true) => Mask::CausalChunked { chunk },
                                    (false, _) => mask(local, causal, keys, number),
                                },
                                score: if capped { Score::Softcap { cap: 15.0 } } else { Score::Same },
                                layout: Layout::Sequence,
                                packed,
                            });
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRIDS: [&str; 4] = ["fa2", "fa2-causal", "fa2-splitkv", "fa3"];

    #[test]
    fn the_grids_are_whole() {
        let cases = all();
        let count = |grid: &str| cases.iter().filter(|c| c.grid == grid).count();
        assert_eq!(GRIDS.map(count), [21_120, 960, 1_728, 18_240]);
        assert_eq!(GRIDS.map(count).iter().sum::<usize>(), cases.len());
        for case in &cases {
            assert!(case.heads.is_multiple_of(case.kv_heads), "{case}");
            if let Mask::Window { left, right } = case.mask {
                assert!(
                    (0..case.keys as i32).contains(&left) && (0..case.keys as i32).contains(&right),
                    "{case}"
                );
            }
        }
        // A name stands for a case in a file of results.
        let names: std::collections::HashSet<String> = cases.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), cases.len());
    }
}
