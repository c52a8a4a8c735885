//! The tables of docs/executor.md are true.

use tilewright_compiler::ptx;

use super::super::{ExecError, decode};

/// The examples of the table under a heading.
fn examples(heading: &str) -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/executor.md");
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let section =
        text.split("\n## ").find(|s| s.starts_with(heading)).unwrap_or_else(|| panic!("no {heading:?}"));
    let rows = section.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    rows.filter_map(|row| {
        let cell = row.trim_end_matches(" |").rsplit_once(" | `")?.1;
        Some(cell.trim_end_matches('`').replace("\\|", "|"))
    })
    .collect()
}

/// Functions that the examples call; on one line.
const FUNCTIONS: &str = ".extern .func helper (); .extern .func (.param .b32 r) vprintf (.param .b64 f, .param .b64 a); \
     .func (.param .b32 r) twice (.param .b32 x) { ret; }";

fn decoded(instruction: &str) -> Result<(), String> {
    let table = if instruction.starts_with("brx") { "TABLE: .branchtargets L;\n" } else { "" };
    let text = format!(
        ".version 8.7\n.target sm_90a\n.address_size 64\n{FUNCTIONS}.visible .entry k(.param .u64 p)\n{{\n.reg .b32 %r<20>;\n.reg .b64 %rd<8>;\n\
         .reg .pred %p<4>;\n.reg .b16 %h<4>;\n.reg .f32 %f<8>; .reg .b128 %q<4>;\n{table}{instruction}\nL: ret;\n}}\n"
    );
    let module =
        ptx::parse(&text).map_err(|errors| format!("line {}: {}", errors[0].line, errors[0].kind))?;
    match decode::decode(&module, "k", 0) {
        Ok(_) => Ok(()),
        Err(error @ ExecError::Unsupported { .. }) => Err(error.to_string()),
        Err(error) => panic!("{instruction}: {error}"),
    }
}

#[test]
fn what_runs_is_accepted() {
    let all = examples("What runs");
    assert!(all.len() > 30, "{all:?}");
    for example in all {
        assert_eq!(decoded(&example), Ok(()), "{example}");
    }
}

#[test]
fn what_is_refused_is_refused_by_name_and_line() {
    let all = examples("What is refused");
    assert!(all.len() > 5, "{all:?}");
    for example in all {
        let error = decoded(&example).expect_err(&example);
        assert!(error.contains("line 11"), "{example}: {error}");
    }
}
