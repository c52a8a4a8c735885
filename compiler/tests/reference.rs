//! The examples of the language reference and the example programs check without a complaint.

use std::path::{Path, PathBuf};
use tilewright_compiler::diagnostics::SourceMap;
use tilewright_compiler::elaborate;
use tilewright_compiler::front::{Memory, load};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the compiler lies in the workspace").to_path_buf()
}

fn check(name: &str, text: &str) {
    let files = Memory::from([("example.tw", text)]);
    let mut sources = SourceMap::default();
    let (program, mut diagnostics) = load(&mut sources, &files, "example.tw");
    if !diagnostics.has_errors() {
        diagnostics = elaborate::check(&program, false);
    }
    assert!(!diagnostics.has_errors(), "{name}:\n{}", diagnostics.render(&sources, false));
    assert!(!elaborate::kernel_names(&program).is_empty(), "{name} has no kernel");
}

#[test]
fn examples_of_the_reference() {
    let text = std::fs::read_to_string(root().join("docs/language.md")).expect("the reference is in docs");
    let examples: Vec<&str> =
        text.split("```tw\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 2, "the reference has fenced examples marked `tw`");
    for (n, example) in examples.into_iter().enumerate() {
        check(&format!("example {}", n + 1), example);
    }
}

/// Every code that a diagnostic can have is in some snapshot of rendered text, so that each mistake which the reference names has been
/// read by somebody. Not there: our own bugs, and what is said of files and values, whose text has no code (`tests/input`).
#[test]
fn every_diagnostic_has_a_rendered_text() {
    use tilewright_compiler::diagnostics::codes::{BAD_ARGUMENT, Code, EVALUATOR_BUG, INTERNAL, TABLE};
    fn texts(folder: &Path, out: &mut String) {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("target") {
                texts(&path, out);
            } else if path.extension().is_some_and(|e| e == "snap") {
                out.push_str(&std::fs::read_to_string(&path).expect("readable"));
            }
        }
    }
    let mut all = String::new();
    ["compiler", "tests"].iter().for_each(|folder| texts(&root().join(folder), &mut all));
    let counts = |c: &Code| !matches!(*c, BAD_ARGUMENT | EVALUATOR_BUG | INTERNAL);
    let codes = TABLE.iter().map(|e| e.code);
    let missing: Vec<String> =
        codes.filter(|c| counts(c) && !all.contains(&format!("[{c}]"))).map(|c| c.to_string()).collect();
    assert!(missing.is_empty(), "no snapshot shows {missing:?}");
}

#[test]
fn example_programs() {
    let mut seen = 0;
    for entry in std::fs::read_dir(root().join("dsl_examples")).expect("the examples are there").flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|e| e == "tw") {
            check(&path.display().to_string(), &std::fs::read_to_string(&path).expect("readable"));
            seen += 1;
        }
    }
    assert!(seen >= 2, "gemm.tw and attention.tw at least");
}
