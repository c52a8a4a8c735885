//! Variants of attention, each a function of `dsl_examples/attention.tw` that a setting names: masks, scores, and both.

use crate::holds;
use crate::program::Program;

const ATTENTION: &str = include_str!("../../../dsl_examples/attention.tw");

/// More queries than keys, so that some see nothing; and the other way round.
fn variant(sets: &str) {
    let program = Program::compile(ATTENTION, "attention", &format!("D=32,{sets}"));
    for (s, l) in [(40, 33), (20, 70)] {
        let dims = [("B", 1), ("HQ", 2), ("HKV", 1), ("S", s), ("L", l)];
        assert!(holds(&program, sets, &dims, l == 70) > 0);
    }
}

#[test]
fn masks() {
    for mask in
        ["window", "causal_window", "chunked", "causal_chunked", "prefix", "causal_document", "allowed"]
    {
        variant(&format!("mask={mask}"));
    }
}

#[test]
fn scores() {
    for sets in ["score=alibi", "score=biased,T=bf16", "mask=causal,score=softcap_alibi"] {
        variant(sets);
    }
}
