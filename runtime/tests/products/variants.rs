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

/// What a mask says in constants: nothing is seen, then there are no steps; everything; or what stands beside it decides.
#[test]
fn masks_of_constants() {
    for (mask, steps) in [
        ("false", false),
        ("causal(b, h, i, j) && false", false),
        ("!true || false && causal(b, h, i, j)", false),
        ("true && true", true),
        ("true || causal(b, h, i, j)", true),
        ("true && causal(b, h, i, j)", true),
        ("false || causal(b, h, i, j)", true),
    ] {
        let text = format!("{ATTENTION}\nfn own(b, h, i, j) = {mask};");
        let program = Program::compile(&text, "attention", "D=32,mask=own");
        assert_eq!(program.compiled.ptx.contains("mma.sync"), steps, "{mask}");
        for (s, l) in [(40, 33), (20, 70)] {
            assert!(holds(&program, mask, &[("B", 1), ("HQ", 2), ("HKV", 1), ("S", s), ("L", l)], true) > 0);
        }
    }
}
