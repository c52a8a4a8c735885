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
fn subscripts_in_another_order_are_warned_of() {
    let said = report(
        "kernel rows(x: f32[B, M, N], out y: f32[B, M, N]) {
    grid b over B, i over M by 32, j over N by 32;
    y[b, j, i] = x[i, b, j];
}
kernel fit(x: f32[N, N], y: f32[M, N], out z: f32[N, M]) {
    grid i over N by 32, m over M by 32;
    let j = i.lo..N by 32;
    z[i, m] = sum(x[j, i] + x[i, j] over j) + y[m, i];
}
kernel ends(x: f32[N], w: f32[3], out y: f32[N]) {
    grid i over N by 32;
    y[i] = w[2] * x[i] + w[3] * x[-1] + x[i - 1] + x[N - 1];
}
kernel small(out z: f32[4, 2]) {
    let i = 0..4;
    let j = 0..2;
    z[j, i] = 1;
}",
    );
    insta::assert_snapshot!(said);
}

/// Subscripts that a promise makes fit, and elements that another value of a generic has.
#[test]
fn subscripts_that_may_fit_are_not_warned_of() {
    let said = report(
        "kernel square(x: f32[M, N], out y: f32[M, N]) where M == N {
    grid i over M by 32, j over N by 32;
    y[i, j] = x[i, j] + x[j, i];
}
kernel guarded<C: 1..=4 = 2>(x: f32[N, C], out y: f32[N]) {
    grid i over N by 128;
    y[i] = x[i, 0] + where(2 < C, x[i, 2], 0.0);
}",
    );
    assert_eq!(said, "");
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
