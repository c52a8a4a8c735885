//! A quick part of FlashAttention's test grids (`cargo xtask attention-grid` has all of them), against a reference of its own.

use tilewright_compiler::target::Target;
use tilewright_runtime::verify::attention::{Case, Elem, Layout, Mask, Outcome, Place, Runner, Score};

const ATTENTION: &str = include_str!("../../../dsl_examples/attention.tw");

/// Two batches of four query heads and two of keys.
fn case(elem: Elem, (queries, keys): (usize, usize), (dim, value_dim): (usize, usize), mask: Mask) -> Case {
    Case {
        grid: "quick",
        elem,
        batch: 2,
        heads: 4,
        kv_heads: 2,
        queries,
        keys,
        dim,
        value_dim,
        mask,
        score: Score::Same,
        layout: Layout::Sequence,
        packed: false,
    }
}

fn judged(text: &str, case: &Case) -> Outcome {
    Runner::new(text, Target::Sm80).run(case, 7, Place::Cpu { sanitize: false }).expect("a verdict")
}

fn right(case: &Case) {
    let outcome = judged(ATTENTION, case);
    assert!(outcome.ok(), "{case}: {outcome:?}");
}

const WINDOW: Mask = Mask::Window { left: 11, right: 4 };

#[test]
fn every_head_dimension() {
    let dims = [32, 40, 64, 80, 96, 111, 128, 160, 192, 224, 256].map(|d| (d, d));
    let masks = [Mask::Causal, Mask::Full, WINDOW];
    for (n, dims) in dims.into_iter().chain([(192, 128), (64, 128)]).enumerate() {
        let elem = [Elem::F16, Elem::Bf16][n % 2];
        let layout = if dims.0 % 8 != 0 { Layout::Padded } else { Layout::Sequence };
        right(&Case { layout, batch: 1, kv_heads: 1, heads: 2, ..case(elem, (35, 70), dims, masks[n % 3]) });
    }
    // Rows that no 16-byte copy can follow.
    right(&Case { batch: 1, kv_heads: 4, ..case(Elem::F16, (20, 40), (111, 111), Mask::Causal) });
}

#[test]
fn every_mask_and_score() {
    let masks = [
        Mask::CausalWindow { left: 9 },
        Mask::CausalWindow { left: 0 },
        Mask::Window { left: 0, right: 100 },
        Mask::Chunked { chunk: 16 },
        Mask::CausalChunked { chunk: 33 },
        Mask::CausalChunked { chunk: 0 },
    ];
    for mask in masks {
        right(&Case { batch: 1, ..case(Elem::F16, (50, 70), (32, 32), mask) });
    }
    for score in [Score::Softcap { cap: 15.0 }, Score::Alibi, Score::SoftcapAlibi { cap: 50.0 }] {
        right(&Case { score, batch: 1, ..case(Elem::Bf16, (40, 70), (64, 64), Mask::Causal) });
    }
}

/// One query, one key, none that a query may see, heads beside positions, one head of keys for all, other memory.
#[test]
fn every_edge() {
    for (queries, keys) in [(1, 1), (1, 130), (70, 1), (70, 33), (3, 64)] {
        for mask in [Mask::Full, Mask::Causal, WINDOW] {
            right(&Case { batch: 1, ..case(Elem::F16, (queries, keys), (64, 64), mask) });
        }
    }
    for layout in [Layout::Beside, Layout::Heads] {
        right(&Case { layout, ..case(Elem::F16, (33, 65), (32, 32), Mask::Causal) });
    }
    for (heads, kv_heads) in [(6, 1), (6, 2)] {
        let few = case(Elem::Bf16, (5, 100), (64, 64), Mask::Causal);
        right(&Case { packed: true, heads, kv_heads, ..few });
    }
    // Rows that are held take most registers where there are many columns.
    let wide = [
        ((192, 192), Mask::CausalChunked { chunk: 33 }),
        ((192, 128), Mask::Causal),
        ((256, 256), Mask::Chunked { chunk: 16 }),
    ];
    for (dims, mask) in wide {
        right(&Case {
            batch: 1,
            packed: true,
            heads: 6,
            kv_heads: 1,
            ..case(Elem::F16, (5, 70), dims, mask)
        });
    }
}

/// A kernel that forgets one key of each query, or the logarithm, is found.
#[test]
fn the_rule_finds_what_is_wrong() {
    let case = Case { batch: 1, ..case(Elem::F16, (50, 70), (32, 32), Mask::Causal) };
    let forgets = ATTENTION.replace("j <= i + (L - S);", "j < i + (L - S);");
    assert!(forgets != ATTENTION);
    let outcome = judged(&forgets, &case);
    assert!(!outcome.o.ok && !outcome.lse.ok, "{outcome:?}");
    let base2 = ATTENTION.replace("(m + log2(l)) / LOG2E", "m + log2(l)");
    assert!(base2 != ATTENTION);
    let outcome = judged(&base2, &case);
    assert!(outcome.o.ok && !outcome.lse.ok, "{outcome:?}");
}
