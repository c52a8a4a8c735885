//! Whatever the input, the front end returns, its diagnostics render, and errors are said to be errors.

use super::load_text;
use proptest::prelude::*;

const WORDS: &[&str] = &[
    "import",
    "as",
    "const",
    "fn",
    "using",
    "kernel",
    "step",
    "true",
    "false",
    "inf",
    "out",
    "inout",
    "packed",
    "strides",
    "align",
    "in",
    "ascending",
    "where",
    "let",
    "mut",
    "temp",
    "tune",
    "grid",
    "over",
    "when",
    "for",
    "if",
    "else",
    "atomic",
    "schedule",
    "on",
    "by",
    "_",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ";",
    ":",
    ".",
    "..",
    "..=",
    "'",
    "->",
    "=",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "@",
    "!",
    "~",
    "&",
    "&&",
    "|",
    "||",
    "^",
    "<<",
    ">>",
    "+=",
    "max=",
    "|=",
    "x",
    "y",
    "i",
    "k",
    "M",
    "f16",
    "f32",
    "f6",
    "sum",
    "max",
    "topk",
    "rev",
    "part",
    "zeros",
    "gelu",
    "42",
    "0.5",
    "1e-5",
    "0.",
    "0xfg",
    "\"a.tw\"",
    "\"",
    "// c\n",
    "/// d\n",
    "//; dims: M=4\n",
    "//; x\n",
    "\n",
    "\n",
    "ᵀ",
    "−",
    "#",
    "sm_80",
    "stages",
    "T",
];

fn check(text: &str) {
    let (_, diagnostics, sources) = load_text(text);
    let rendered = diagnostics.render(&sources, false);
    let coloured = diagnostics.render(&sources, true);
    let json = diagnostics.to_json_lines(&sources);
    assert_eq!(json.lines().count(), diagnostics.len());
    assert_eq!(rendered.is_empty(), diagnostics.is_empty());
    assert!(coloured.len() >= rendered.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn token_soup(words in prop::collection::vec(prop::sample::select(WORDS), 0..60)) {
        check(&words.join(" "));
    }

    #[test]
    fn bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&String::from_utf8_lossy(&bytes));
    }

    /// A right program with a piece cut out, doubled or replaced.
    #[test]
    fn broken_programs(at in 0usize..2000, cut in 0usize..12, word in prop::sample::select(WORDS)) {
        let text = include_str!("../../../../dsl_examples/gemm.tw");
        let mut at = at % text.len();
        while !text.is_char_boundary(at) { at -= 1; }
        let mut end = (at + cut).min(text.len());
        while !text.is_char_boundary(end) { end -= 1; }
        check(&format!("{} {word} {}", &text[..at], &text[end.max(at)..]));
    }
}

#[test]
fn depth_is_bounded() {
    for (open, close) in
        [("(", ")"), ("-", ""), ("x[", "]"), ("f(", ")"), ("1 + ", ""), ("x.T @ ", ""), ("!", "")]
    {
        let text = format!("fn f(x) = {}x{};", open.repeat(20_000), close.repeat(20_000));
        let (_, diagnostics, _) = load_text(&text);
        assert!(diagnostics.has_errors(), "{open}");
    }
    let (_, diagnostics, _) =
        load_text(&format!("kernel k() {{ {} {} }}", "if true {".repeat(5000), "}".repeat(5000)));
    assert!(diagnostics.has_errors());
    let (_, diagnostics, _) =
        load_text(&format!("kernel k() {{ if true {{ }} {} }}", "else if true { }".repeat(5000)));
    assert!(diagnostics.has_errors());
    let (_, diagnostics, sources) =
        load_text(&format!("const X: i32[9000] = [{}];", "-1 + 2, ".repeat(9000)));
    assert!(!diagnostics.has_errors(), "long is not deep: {}", diagnostics.render(&sources, false));
}
