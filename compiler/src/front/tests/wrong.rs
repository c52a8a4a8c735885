//! Wrong programs: one file per case in `wrong/`, the rendered diagnostics as its snapshot beside it.

use crate::diagnostics::SourceMap;
use crate::front::{Memory, load};
use std::path::Path;

#[test]
fn each_case_is_reported_as_its_snapshot_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/front/tests/wrong");
    let mut memory = Memory::default();
    let mut cases = vec![];
    for entry in std::fs::read_dir(&folder).expect("the folder of cases") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|e| e == "tw") {
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            memory.add(name.clone(), std::fs::read_to_string(&path).expect("readable"));
            cases.push(name);
        }
    }
    cases.sort();
    assert!(cases.len() > 20, "the cases are there");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("wrong");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for name in cases {
            let mut sources = SourceMap::default();
            let (_, diagnostics) = load(&mut sources, &memory, &name);
            insta::assert_snapshot!(name.trim_end_matches(".tw"), diagnostics.render(&sources, false));
        }
    });
}

#[test]
fn json_is_one_object_a_line() {
    let mut sources = SourceMap::default();
    let text = "fn f(x) = y;\nkernel k(out α: f32[N]) { }\n";
    let (_, diagnostics) = load(&mut sources, &Memory::from([("t.tw", text)]), "t.tw");
    insta::assert_snapshot!(diagnostics.to_json_lines(&sources));
}
