//! Verification finds what is wrong with a compiler that is made wrong on purpose, in each pass, and nothing where it is not.

mod faults;
mod faults_of_loops;
mod schedules;

use tilewright_compiler::diagnostics::SourceMap;
use tilewright_compiler::fault::{Fault, FaultKind};
use tilewright_compiler::front::{self, Memory, Program};
use tilewright_compiler::target::Target;
use tilewright_runtime::verify::{Freeze, Report, Settings, Subject, VerifyError, reproduce, verify};

struct File {
    root: &'static str,
    program: Program,
    sources: SourceMap,
}

fn load(root: &'static str, text: &'static str) -> File {
    let mut sources = SourceMap::default();
    let (program, diagnostics) = front::load(&mut sources, &Memory::from([(root, text)]), root);
    assert!(!diagnostics.has_errors(), "{}", diagnostics.render(&sources, false));
    File { root, program, sources }
}

fn gemm() -> File {
    load("gemm.tw", include_str!("../../../dsl_examples/gemm.tw"))
}

fn run(file: &File, kernel: &str, settings: &Settings) -> Result<Report, VerifyError> {
    verify(subject(file, kernel), settings, &mut |_| {})
}

fn subject<'a>(file: &'a File, kernel: &'a str) -> Subject<'a> {
    Subject { program: &file.program, sources: &file.sources, root: file.root, kernel, usual_dims: &[] }
}

/// A small tile and a ring of three, so that a case takes milliseconds. Most faults show at once, but a mask that is off by one shows only where
/// a tensor ends at one row of a tile, in one variant.
fn small() -> Settings {
    let tile = [("BM", "64"), ("BN", "64"), ("BK", "32"), ("k.stages", "3"), ("T", "f16")];
    // Other ways of copying would keep seeds from the common one.
    let sets = tile.into_iter().chain([("a.via", "cpasync"), ("b.via", "cpasync"), ("k.overlap", "true")]);
    Settings {
        seeds: 400,
        sets: sets.map(|(n, v)| (n.to_string(), v.to_string())).collect(),
        freeze: Freeze::Never,
        // What the verifiers would see is to be found by running.
        verify_ir: false,
        shrink: 0,
        ..Settings::default()
    }
}

#[test]
fn nothing_is_found_in_the_compiler_as_it_is() {
    let file = gemm();
    let settings = Settings { seeds: 5, targets: Target::ALL.into(), ..Settings::default() };
    let report = run(&file, "gemm", &settings).expect("the example is right");
    assert!(report.found.is_none(), "{:?}", report.found);
    for level in &report.levels {
        assert_eq!((level.cases, &level.not_run[..]), (5, &[][..]), "{:?}", level.level);
    }
}

#[test]
fn examples_without_products_are_compared_at_every_level() {
    let examples = [
        load("vector_add.tw", include_str!("../../../dsl_examples/vector_add.tw")),
        load("softmax.tw", include_str!("../../../dsl_examples/softmax.tw")),
        load("rmsnorm.tw", include_str!("../../../dsl_examples/rmsnorm.tw")),
        load("layernorm.tw", include_str!("../../../dsl_examples/layernorm.tw")),
        load("embedding.tw", include_str!("../../../dsl_examples/embedding.tw")),
        load("histogram.tw", include_str!("../../../dsl_examples/histogram.tw")),
    ];
    for file in &examples {
        let kernel = file.root.trim_end_matches(".tw");
        let report = run(file, kernel, &Settings { seeds: 4, ..Settings::default() });
        let report = report.unwrap_or_else(|e| panic!("{kernel}: {e:?}"));
        assert!(report.found.is_none(), "{kernel}: {:?}", report.found);
        for level in &report.levels {
            assert_eq!((level.cases, &level.not_run[..]), (4, &[][..]), "{kernel}: {:?}", level.level);
        }
    }
}

#[test]
fn a_program_that_has_no_code_yet_is_said_to_have_none() {
    let text = "kernel order(x: f32[N, M], out y: f32[N, M]) {
        tune B in {8};
        grid n over N;
        let m = 0..M by B;
        let s: f32[m] = x[n, m];
        y[n, m] = cumsum(s over m);
    }";
    let file = load("order.tw", text);
    let report = run(&file, "order", &Settings { seeds: 2, ..Settings::default() });
    let report = report.unwrap_or_else(|e| panic!("{e:?}"));
    for level in &report.levels {
        assert!(level.cases > 0 || !level.not_run.is_empty(), "{:?}", level.level);
    }
}

#[test]
fn what_the_user_got_wrong_is_not_a_bug_of_ours() {
    let file = gemm();
    let pair = |n: &str, v: &str| (n.to_string(), v.to_string());
    let impossible = Settings {
        sets: vec![pair("BM", "256"), pair("BN", "128"), pair("BK", "64"), pair("k.stages", "6")],
        ..Settings::default()
    };
    assert!(matches!(run(&file, "gemm", &impossible), Err(VerifyError::Program(_))));
    let unknown = Settings { dims: vec![("Q".into(), 3)], ..Settings::default() };
    assert!(matches!(run(&file, "gemm", &unknown), Err(VerifyError::Input(m)) if m.contains("M, K, N")));
}

#[test]
fn a_failing_case_is_shrunk_and_runs_again_from_its_folder() {
    let file = gemm();
    let fault = Some(Fault { kind: FaultKind::WrongInit, nth: 2 });
    let settings = Settings { fault, shrink: 60, sets: Vec::new(), ..small() };
    let found = run(&file, "gemm", &settings).expect("the example is right").found.expect("a planted fault");
    assert!(found.case.dims.iter().all(|(_, v)| *v <= 1), "{:?}", found.case);
    assert!(found.case.sets.is_empty(), "{:?}", found.case);

    let folder = tempfile::tempdir().unwrap();
    let subject = subject(&file, "gemm");
    let command = reproduce::write(subject, &settings, &found, folder.path()).unwrap();
    for name in ["README.txt", "gemm.tw", "LAUNCH.json", "gemm.ptx", "a.npy", "case.json"] {
        assert!(folder.path().join(name).exists(), "{name}");
    }
    assert!(command.starts_with("tilewright verify gemm.tw --kernel gemm --target sm_80 --set"), "{command}");
    assert!(command.contains("--set T=") && command.contains("--seeds 1"), "{command}");
    let again = run(&file, "gemm", &reproduce::again(&settings, &found)).expect("the example is right");
    assert!(again.found.is_some(), "{command}");
}
