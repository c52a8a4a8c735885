//! Nothing that parses makes elaboration panic, and what it accepts verifies.

use super::*;
use crate::elaborate::{check, kernel_names};
use proptest::prelude::*;

const SEEDS: &[&str] = &[
    include_str!("../../../../dsl_examples/gemm.tw"),
    include_str!("../../../../dsl_examples/attention.tw"),
    include_str!("../../../../tests/corpus/linear_attention.tw"),
    include_str!("../../../../tests/corpus/split_kv_merge.tw"),
    include_str!("../../../../tests/corpus/moe_routing.tw"),
    include_str!("../../../../tests/corpus/paged.tw"),
];

/// Words and signs, so that what is changed mostly still parses.
fn tokens(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for c in text.chars() {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        match out.last_mut() {
            Some(last) if word(c) && last.chars().all(word) => last.push(c),
            _ => out.push(c.to_string()),
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn changed_programs_do_not_panic(
        seed in 0..SEEDS.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..3u8), 1..4),
    ) {
        let mut t = tokens(SEEDS[seed]);
        for (at, from, how) in changes {
            let (at, other) = (at.index(t.len()), t[from.index(t.len())].clone());
            match how {
                0 => t[at] = other,
                1 => { t.remove(at); }
                _ => t.insert(at, other),
            }
        }
        let text: String = t.concat();
        let (_, program, diagnostics) = program(&text);
        check(&program, diagnostics.has_errors());
        for name in kernel_names(&program) {
            let (kernel, _) = elaborate(&program, &name, &Settings::default());
            if let Some(k) = kernel.filter(|_| !diagnostics.has_errors()) {
                let findings = crate::tile::verify::verify(&k);
                prop_assert!(findings.is_empty(), "{findings:#?}\n{text}");
                let _ = k.to_string();
            }
        }
    }
}
