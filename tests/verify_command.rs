//! `tilewright verify`: a few seeds of every kernel that users copy, and how the command speaks.

use std::process::{Command, Output};

use serde_json::Value;

const GEMM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dsl_examples/gemm.tw");

fn tilewright(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tilewright"));
    command.args(args).env("NO_COLOR", "1").output().expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Stdout of a run that must end well.
fn fine(args: &[&str]) -> String {
    let output = tilewright(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Stderr of a run that must end with this status.
fn fails(status: i32, args: &[&str]) -> String {
    let output = tilewright(args);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{args:?}\n{}{said}", text(&output.stdout));
    said
}

/// Every level of what is lowered runs and agrees; where there is no code, the report says why.
#[test]
fn a_few_seeds_of_every_example_agree() {
    let folders = ["/dsl_examples", "/tests/corpus"].map(|f| env!("CARGO_MANIFEST_DIR").to_string() + f);
    let mut files: Vec<_> = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).expect("the programs"))
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "tw"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let file = file.display().to_string();
        let said = fine(&["verify", &file, "--kernel", "all", "--seeds", "3", "--json"]);
        for line in said.lines() {
            let report: Value = serde_json::from_str(line).expect("one object a kernel");
            assert_eq!(report["ok"], true, "{report}");
            let levels = report["levels"].as_array().expect("levels");
            let lowered = report["compared"] == true;
            for level in levels {
                let why = level["not_run"].as_array().map_or(0, Vec::len);
                assert_eq!(level["cases"].as_u64() > Some(0), lowered, "{file}: {report}");
                assert!(!lowered || why == 0, "{file}: {level}");
            }
        }
    }
}

#[test]
fn the_summary_has_levels_and_times() {
    let said = fine(&["verify", GEMM, "--seeds", "2", "--set", "BM=64,BN=64", "--target", "sm_80"]);
    for word in ["gemm: 2 seeds agree in", "ms a seed", "scheduled, fused", "PTX", "variants:"] {
        assert!(said.contains(word), "{word:?} is missing from\n{said}");
    }
}

/// Every element of `exp(1000 x)` that is large overflows f32, at every level and in the plain evaluation alike.
#[test]
fn what_overflows_the_programs_own_types_is_remarked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("overflow.tw");
    let program = "kernel overflow(x: f32[N], out y: f32[N]) where N <= 64 {
    grid g over 1;
    let i = 0..N by 64;
    let e = exp(x[i] * 1000);
    y[i] = e / sum(e over i);
}
";
    std::fs::write(&path, program).expect("a file");
    let said =
        fine(&["verify", &path.display().to_string(), "--seeds", "3", "--dim", "N=40", "--target", "sm_80"]);
    assert!(said.contains("y: its own types overflow in some elements"), "{said}");
}

/// The plain evaluation of one element may be right by luck: what the language lets operands be computed as is measured, too.
#[test]
fn few_results_are_no_reason_for_suspicion() {
    let qgemm = concat!(env!("CARGO_MANIFEST_DIR"), "/dsl_examples/qgemm.tw");
    let few =
        ["verify", qgemm, "--seeds", "40", "--dim", "M=1,N=1", "--set", "W=u4,G=16", "--target", "sm_80"];
    assert!(fine(&few).contains("40 seeds agree"));
}

#[test]
fn dimensions_and_settings_can_be_pinned() {
    let said = fine(&[
        "verify",
        GEMM,
        "--seeds",
        "2",
        "--first",
        "40",
        "--json",
        "--dim",
        "M=7,N=9,K=33",
        "--set",
        "T=bf16,BM=64,BN=64,BK=32,k.stages=2",
        "--freeze",
        "always",
    ]);
    let report: Value = serde_json::from_str(&said).expect("one object");
    for seed in report["seeds"].as_array().expect("seeds") {
        let case = &seed["case"];
        assert_eq!(case["dims"], serde_json::json!([["M", 7], ["K", 33], ["N", 9]]));
        assert_eq!(case["frozen"], true);
    }
    assert_eq!(report["seeds"][0]["case"]["seed"], 40);
}

#[test]
fn what_is_wrong_with_the_program_or_the_command_is_said() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let said = fails(1, &["verify", GEMM, "--kernel", "gemn"]);
    assert!(said.contains("did you mean gemm?"), "{said}");
    let said = fails(1, &["verify", GEMM, "--dim", "Q=3"]);
    assert!(said.contains("has no dimension \"Q\"; its dimensions are M, K, N"), "{said}");
    let said = fails(1, &["verify", GEMM, "--set", "BM=256,BN=128,BK=64,k.stages=6"]);
    assert!(said.contains("this schedule wants"), "{said}");
    let wrong = file("wrong.tw", "kernel k(x: f32[N], out y: f32[N]) { y[0] = x[i]; }");
    assert!(fails(1, &["verify", &wrong]).contains("wrong.tw:1:"));
    // Two instances write each element: a rule that only running shows.
    let races = file("one.tw", "kernel one(x: f32[N], out y: f32[N]) { grid i over N; y[i / 2] = x[i]; }");
    assert!(fails(1, &["verify", &races, "--dim", "N=9"]).contains("two instances write"));
    fails(2, &["verify", GEMM, "--seeds", "many"]);
    // One kernel's fault keeps no other from being verified.
    let three = file(
        "three.tw",
        "kernel a(x: f32[N], out y: f32[N]) { grid i over N by 64; y[i] = x[i]; }
kernel races(x: f32[N], out y: f32[N]) { grid i over N; y[i / 2] = x[i]; }
kernel z(x: f32[N], out y: f32[N]) { grid i over N by 64; y[i] = x[i] + 1; }
",
    );
    let output = tilewright(&["verify", &three, "--kernel", "all", "--seeds", "1", "--dim", "N=9"]);
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}{errors}");
    assert!(said.contains("a: 1 seeds agree") && said.contains("z: 1 seeds agree"), "{said}");
    assert!(
        errors.contains("two instances write") && errors.contains("2 of 3 kernels were verified"),
        "{errors}"
    );
}
