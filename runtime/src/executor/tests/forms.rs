//! Every form of every instruction of PTX ISA 8.8 that an assembler takes for sm_90a: each is decoded, or refused before the launch
//! with its line, and what the printer makes of it is read back as the same.
//!
//! `forms.txt` has one a line, `family<TAB>instruction`; lines that begin with `-` are those that are refused. NVIDIA's assembler has
//! accepted all of them. A form that changes sides fails the test, so the file says what the executor runs.

use tilewright_compiler::ptx;

use super::super::{ExecError, decode};

const FORMS: &str = include_str!("forms.txt");

const HEAD: &str = ".version 8.8\n.target sm_90a\n.address_size 64\n.extern .func helper ();
.func (.param .b32 r) twice (.param .b32 x) { .reg .b32 %r1; ld.param.b32 %r1, [x]; st.param.b32 [r], %r1; ret; }
.global .align 16 .b8 gv[256];
.shared .align 16 .b8 sv[1024];
.const .align 16 .b8 cv[256];
.visible .entry k(.param .u64 p)
{
.reg .b32 %r<128>; .reg .b64 %rd<40>; .reg .f32 %f<128>; .reg .f64 %fd<40>; .reg .b16 %h<40>; .reg .b8 %c<8>; .reg .pred %p<8>; .reg .b128 %q<4>;
proto: .callprototype (.param .b32 _) _ (.param .b32 _);
TABLE: .branchtargets L, M;
";

/// Why it is refused, if it is.
fn refused(instruction: &str) -> Option<String> {
    let line = HEAD.lines().count() as u32 + 1;
    let text = format!("{HEAD}{instruction}\nM:\nL: ret;\n}}\n");
    let module = match ptx::parse(&text) {
        Ok(module) => module,
        Err(errors) => {
            assert_eq!(errors[0].line, line, "{instruction}: {}", errors[0]);
            return Some(errors[0].kind.to_string());
        }
    };
    // What is printed reads as the same again.
    let printed = ptx::print(&module);
    let again =
        ptx::parse(&printed).unwrap_or_else(|errors| panic!("{instruction}: {}\n{printed}", errors[0]));
    assert_eq!(ptx::print(&again), printed, "{instruction}");
    match decode::decode(&module, "k", 0) {
        Ok(_) => None,
        Err(ExecError::Unsupported { line: at, instruction: name, why }) => {
            assert_eq!(at, line, "{instruction}: {why}");
            Some(format!("`{name}`: {why}"))
        }
        Err(other) => Some(format!("! {other}")),
    }
}

#[test]
fn each_form_runs_or_is_refused_as_the_list_says() {
    let mut wrong = Vec::new();
    let mut counts = [0usize; 2];
    for row in FORMS.lines() {
        let (family, instruction) = row.split_once('\t').unwrap_or_else(|| panic!("{row}"));
        let listed = family.starts_with('-');
        let why = refused(instruction);
        counts[usize::from(why.is_some())] += 1;
        if why.is_some() != listed {
            wrong.push(format!("{family}\t{instruction}\t{}", why.unwrap_or_else(|| "it runs".into())));
        }
    }
    eprintln!("{} forms run, {} are refused", counts[0], counts[1]);
    assert!(wrong.is_empty(), "{} forms:\n{}", wrong.len(), wrong.join("\n"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/executor.md");
    let docs = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let said = format!("({}, in `executor/tests/forms.txt`): {} run.", counts[0] + counts[1], counts[0]);
    assert!(docs.contains(&said), "docs/executor.md should say {said:?}");
}
