//! The examples and the corpus: each kernel elaborates, verifies, and prints as its snapshot where one is kept.

use super::*;
use crate::elaborate::{check, kernel_names};
use std::path::{Path, PathBuf};

pub(super) fn programs() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for folder in ["dsl_examples", "tests/corpus"] {
        let entries = std::fs::read_dir(root.join(folder)).expect("the repository has this folder");
        files.extend(
            entries.map(|e| e.expect("readable").path()).filter(|p| p.extension().is_some_and(|e| e == "tw")),
        );
    }
    files.sort();
    assert!(files.len() > 15, "the corpus has gone: {files:?}");
    files
}

#[test]
fn every_program_of_the_corpus_checks_and_verifies() {
    for file in programs() {
        let text = std::fs::read_to_string(&file).expect("readable");
        let (sources, program, mut diagnostics) = program(&text);
        let expected =
            program.directives.iter().any(|d| matches!(d.kind, crate::front::DirectiveKind::Expect { .. }));
        if expected {
            continue;
        }
        diagnostics.append(check(&program, false));
        assert!(diagnostics.is_empty(), "{}:\n{}", file.display(), diagnostics.render(&sources, false));
        for name in kernel_names(&program) {
            kernel(&text, &name, &Settings::default());
        }
    }
}

fn example(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    std::fs::read_to_string(path).expect("readable")
}

#[test]
fn gemm_as_t1() {
    let text = example("dsl_examples/gemm.tw");
    insta::assert_snapshot!("gemm", kernel(&text, "gemm", &Settings::default()).to_string());
    insta::assert_snapshot!(
        "gemm_bias_gelu",
        kernel(&text, "gemm_bias_gelu", &Settings::default()).to_string()
    );
}

#[test]
fn attention_as_t1() {
    let text = example("dsl_examples/attention.tw");
    let settings = Settings { sets: vec![("BR".into(), "4".into())], ..Settings::default() };
    insta::assert_snapshot!("attention_causal", kernel(&text, "attention_causal", &settings).to_string());
    insta::assert_snapshot!(
        "attention_sink",
        kernel(&text, "attention_sink", &Settings::default()).to_string()
    );
}

#[test]
fn gated_linear_attention_as_t1() {
    let text = example("tests/corpus/linear_attention.tw");
    insta::assert_snapshot!("gla", kernel(&text, "gla", &Settings::default()).to_string());
}

#[test]
fn the_attention_example_is_the_reference_manuals() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/language.md");
    let Ok(manual) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: {} is not there", path.display());
        return;
    };
    let body = |text: &str| {
        let from = text.find("kernel attention<").expect("the kernel");
        let text = &text[from..];
        text[..text.find("\n}\n").expect("its end")].to_string()
    };
    assert_eq!(body(&example("dsl_examples/attention.tw")), body(&manual));
}
