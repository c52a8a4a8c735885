//! One file per diagnostic, and the rendered text as a snapshot. Front-end and elaboration errors together, as `check` shows them.
//! A file may carry `//; set: T=f64`.

use super::*;
use crate::check::check;
use crate::front::DirectiveKind;
use std::path::Path;

/// All that `check` says about one file; with settings, what elaboration with them says.
fn report(text: &str) -> String {
    let mut sources = SourceMap::default();
    let (program, mut diagnostics) = check(&mut sources, &Memory::from([("test.tw", text)]), "test.tw");
    let sets: Vec<(String, String)> = program
        .directives
        .iter()
        .filter_map(|d| match &d.kind {
            DirectiveKind::Set(list) => Some(list.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    if !sets.is_empty() {
        diagnostics.append(elaborate(&program, "k", &Settings { sets, ..Settings::default() }).1);
    }
    diagnostics.render(&sources, false)
}

#[test]
fn every_wrong_program_says_what_is_wrong() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/elaborate/tests/wrong");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|e| e.expect("readable").path())
        .collect();
    files.sort();
    assert!(files.len() > 40);
    for file in files {
        let text = std::fs::read_to_string(&file).expect("readable");
        let report = report(&text);
        assert!(report.contains("error["), "{} is accepted", file.display());
        let name = file.file_stem().expect("a file").to_string_lossy().to_string();
        insta::assert_snapshot!(name, report);
    }
}
