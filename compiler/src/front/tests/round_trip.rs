//! Printing a tree and parsing it again gives the same tree and the same text.

use super::load_text;
use super::programs::{ATTENTION, FRAGMENTS, GEMM};
use crate::diagnostics::{Diagnostics, FileId};
use crate::front::{parser::parse, print};
use proptest::prelude::*;

/// The tree without its spans.
fn shape(text: &str) -> (String, String) {
    let mut diagnostics = Diagnostics::default();
    let (file, _) = parse(FileId(0), text, 0, &mut diagnostics);
    assert!(!diagnostics.has_errors(), "{text}\n{diagnostics:?}");
    let mut debug = format!("{:?}", file.items);
    while let Some(at) = debug.find("Span { file:") {
        let end = debug[at..].find(" }").expect("spans are closed") + at + 2;
        debug.replace_range(at..end, "");
    }
    (debug, print::file(&file))
}

#[track_caller]
fn check(text: &str) {
    let (tree, printed) = shape(text);
    let (again, reprinted) = shape(&printed);
    assert_eq!(tree, again, "{printed}");
    assert_eq!(printed, reprinted);
}

#[test]
fn programs() {
    check(GEMM);
    check(ATTENTION);
    check(include_str!("../prelude.tw"));
    check(
        "//; dims: M=4, N=5\n//; run: seed=3\nimport \"a.tw\"; import \"b.tw\" as b;\n/// doc\n///\n/// more\nkernel k = b.k<m = b.f, D = 3, T = f16>; schedule k on sm_80 { }",
    );
    FRAGMENTS.iter().for_each(|f| check(f));
}

#[test]
fn gemm_reads_well() {
    let (program, ..) = load_text(GEMM);
    insta::assert_snapshot!(print::program(&program));
}

/// Expressions written with all their parentheses.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec!["x", "y", "3", "0.5", "inf", "true", "k"]).prop_map(String::from);
    leaf.prop_recursive(5, 40, 3, |inner| {
        let ops = "|| && == != < <= > >= | ^ & << >> + - * / % @".split(' ').collect::<Vec<_>>();
        prop_oneof![
            (inner.clone(), prop::sample::select(ops), inner.clone())
                .prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            (prop::sample::select(vec!["-", "!", "~"]), inner.clone())
                .prop_map(|(op, a)| format!("({op}{a})")),
            inner.clone().prop_map(|a| format!("({a} as f16)")),
            inner.clone().prop_map(|a| format!("({a}).T")),
            inner.clone().prop_map(|a| format!("({a})'")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[{b}, :, ..]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}..{b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} by {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("f({a} over k, {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}, {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("where({a}, {b}, 0)")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("(atomic x[{a}] max= {b})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn expressions(e in expression()) {
        check(&format!("fn f(x, y, k) = {e};"));
    }
}
