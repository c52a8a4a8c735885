//! `check`: everything that the text alone decides, said at once.
//!
//! The front end reports what is wrong with words and names; the elaborator then goes through every kernel that is left, as far as it can be read, and
//! reports types, axes and static values. What an error leaves behind is silent further down, and a place that has been complained about already is not
//! complained about twice.

use crate::diagnostics::{Diagnostics, SourceMap, Span};
use crate::elaborate;
use crate::front::{self, Program, SourceProvider};

/// Loads `root` and checks all that it defines, in the order of the text.
pub fn check(sources: &mut SourceMap, provider: &dyn SourceProvider, root: &str) -> (Program, Diagnostics) {
    let (program, mut diagnostics) = front::load(sources, provider, root);
    let taken: Vec<Span> =
        diagnostics.iter().flat_map(|d| d.labels.iter().filter(|l| l.primary).map(|l| l.span)).collect();
    let overlaps = |a: Span, b: Span| a.file == b.file && a.start <= b.end && b.start <= a.end;
    for d in elaborate::check(&program, diagnostics.has_errors()).iter() {
        let known = d.primary_span().is_some_and(|at| taken.iter().any(|t| overlaps(at, *t)));
        if !known {
            diagnostics.push(d.clone());
        }
    }
    diagnostics.sort();
    (program, diagnostics)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::Memory;
    use proptest::prelude::*;

    fn run(text: &str) -> String {
        let mut sources = SourceMap::default();
        let (_, diagnostics) = check(&mut sources, &Memory::from([("t.tw", text)]), "t.tw");
        diagnostics.render(&sources, false)
    }

    /// Codes and lines, in order.
    fn codes(text: &str) -> Vec<(String, usize)> {
        let mut sources = SourceMap::default();
        let (_, diagnostics) = check(&mut sources, &Memory::from([("t.tw", text)]), "t.tw");
        diagnostics
            .iter()
            .map(|d| (d.code.to_string(), d.primary_span().map_or(0, |s| sources.location(s).line)))
            .collect()
    }

    #[test]
    fn what_an_unknown_name_leaves_behind_is_no_kernel() {
        let found = codes(
            "kernel c(x: f32[R, C], kind: i32[R] in 0..3, out y: f32[R, C], twice: i32) {
                 grid r over R;
                 for c over C by 8 {
                     let mut v = x[r, c];
                     if t { } else if kind[r] == 1 { let m = max(v over c); v = v - m; }
                     if twice == 1 { v = v + 1.0; }
                     y[r, c] = v;
                 }
             }",
        );
        assert_eq!(found, [("E0101".to_string(), 5)]);
    }

    #[test]
    fn names_and_axes_are_reported_together() {
        let found = codes(
            "kernel a(x: f32[M, K], out y: f32[M]) {
                 grid i over M by 64;
                 let k = 0..64;
                 y[i] = x[i, k];
             }
             kernel b(x: f32[M], out y: f32[M]) {
                 grid i over M by 64;
                 let t = unknown + 1;
                 let z = x[i] +;
                 y[i] = t;
                 y[i] = x[i] as f16;
             }",
        );
        let expected = [("E0301", 4), ("E0101", 8), ("E0001", 9), ("E0201", 11)];
        assert_eq!(found, expected.map(|(c, l)| (c.to_string(), l)));
    }

    #[test]
    fn programs_of_the_reference_check() {
        let prelude = "kernel p(a: f32[M, 64], out b: f32[M, 64]) { grid i over M by 64; let d = 0..64; let x = a[i, d];
            b[i, d] = sigmoid(x) + silu(x) + gelu(x) + gelu_tanh(x) + softplus(x) * LN2 + fwht(x, d, 64) / PI; }";
        // The prelude's constants are literals with names: they take the type of what they meet.
        let narrow = "kernel h(a: f16[M], b: f64[M], out c: f16[M], out d: f64[M]) { grid i over M by 64;
            c[i] = gelu(a[i]) * PI; d[i] = gelu(b[i]) * LOG2E; }";
        let mut wrong = String::new();
        for text in [front::tests::ATTENTION, prelude, narrow].iter().chain(front::tests::FRAGMENTS) {
            wrong += &run(text);
        }
        assert!(wrong.is_empty(), "{wrong}");
    }

    #[test]
    fn errors_of_words_and_names_bring_no_others() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/front/tests/wrong");
        let mut memory = Memory::default();
        let mut names = vec![];
        for entry in std::fs::read_dir(folder).expect("the folder of cases").flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|e| e == "tw") {
                let name = path.file_name().expect("a file").to_string_lossy().into_owned();
                memory.add(name.clone(), std::fs::read_to_string(&path).expect("readable"));
                names.push(name);
            }
        }
        names.sort();
        let mut more = vec![];
        for name in names {
            let mut sources = SourceMap::default();
            let (_, before) = front::load(&mut sources, &memory, &name);
            let mut sources = SourceMap::default();
            let (_, after) = check(&mut sources, &memory, &name);
            let new = after.iter().filter(|d| !before.iter().any(|b| b == *d));
            more.extend(new.map(|d| (name.trim_end_matches(".tw").to_string(), d.code.to_string())));
        }
        // These are mistakes of their own, which only types and axes show.
        let own = [
            ("duplicates", "E0402"),
            ("duplicates", "E0402"),
            ("numbers", "E0304"),
            ("open_bracket", "E0304"),
            ("writes", "E0209"),
        ];
        assert_eq!(more, own.map(|(n, c)| (n.to_string(), c.to_string())));
    }

    /// Functions that call the next twice, forty deep: a million million calls, were they all inlined.
    #[test]
    fn calls_that_double_end_with_one_error() {
        let mut text = String::from("fn step0(x) = x + 1.0;\n");
        for n in 1..40 {
            text += &format!("fn step{n}(x) = step{0}(x) + step{0}(x * 2.0);\n", n - 1);
        }
        text += "kernel k(x: f32[M], out y: f32[M]) { grid i over M by 64; y[i] = step39(x[i]); }";
        let start = std::time::Instant::now();
        let found = codes(&text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, "E0013");
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    }

    #[test]
    fn a_hundred_thousand_stray_braces_are_counted() {
        let start = std::time::Instant::now();
        let said = run(&"}\n".repeat(100_000));
        assert!(said.ends_with("… and 99744 more\n"), "{}", &said[said.len() - 200..]);
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

        /// A right program with a piece cut out or moved: whatever is said, something is returned.
        #[test]
        fn never_panics(at in 0usize..2000, cut in 0usize..20, to in 0usize..2000) {
            let text = include_str!("../../dsl_examples/gemm.tw");
            let at_boundary = |mut n: usize| { while !text.is_char_boundary(n) { n -= 1; } n };
            let (at, to) = (at_boundary(at % text.len()), at_boundary(to % text.len()));
            let end = at_boundary((at + cut).min(text.len())).max(at);
            let mut moved = text.to_string();
            moved.insert_str(to, &text[at..end]);
            run(&moved);
            run(&format!("{}{}", &text[..at], &text[end..]));
        }
    }
}
