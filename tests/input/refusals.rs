//! Input that is wrong, from outside: what each mistake is told, and how the command ends: 1 where a program, a file, a value or the
//! machine is at fault, 2 where the command line is. The whole text is a snapshot, so that it can be read as a user reads it.

use std::fmt::Write;
use std::process::Stdio;

use super::kit::{ATTENTION, Folder, GEMM, text, tilewright};
use tilewright_compiler::diagnostics::codes;
use tilewright_compiler::tile::ElemType;
use tilewright_runtime::tensor::{HostTensor, store};

const GATHER: &str = "kernel gather(x: f32[M], src: i32[N] in 0..M, off: i32[E + 1] ascending 0..N, s: f32, n: i32 = 3, out y: f32[N])
where N % 4 == 0 {
    grid i over N by 64;
    y[i] = x[src[i]] * s;
}
";

const TWO: &str = "kernel p(out y: f32[N]) { grid i over N by 64; y[i] = 1; }
kernel q(x: f32[N], out y: f32[N]) { grid i over N by 64; y[i - i] = x[i]; }
";

/// A generic that names dimensions: where its value is wrong, its name still is one.
const SLICES: &str = "kernel slices<D: 32..=64 = 32>(x: f32[M, D], out y: f32[M]) {
    grid i over M by 64;
    y[i] = sum(x[i, :] over D);
}
";

/// The naive softmax.
const OVERFLOW: &str = "kernel overflow(x: f32[N], out y: f32[N]) where N <= 64 {
    grid g over 1;
    let i = 0..N by 64;
    let e = exp(x[i] * 100);
    y[i] = e / sum(e over i);
}
";

fn folder() -> Folder {
    let folder = Folder::new();
    let save = |name: &str, elem: &str, shape: &[usize], values: &[f64]| {
        let elem = ElemType::from_name(elem).expect("a type");
        let values: Vec<f64> = values.iter().copied().cycle().take(shape.iter().product()).collect();
        let tensor = if elem.is_float() {
            HostTensor::from_f64(elem, shape, &values)
        } else {
            HostTensor::from_i64(elem, shape, &values.iter().map(|&v| v as i64).collect::<Vec<_>>())
        };
        store(&tensor.expect("a tensor"), &folder.path(name)).expect("a file");
    };
    save("a.npy", "f16", &[4, 8], &[1.0]);
    save("b9.npy", "f16", &[4, 9], &[1.0]);
    save("q5.npy", "f16", &[1, 5, 3, 32], &[1.0]);
    save("k2.npy", "f16", &[1, 2, 4, 32], &[1.0]);
    save("v64.npy", "f16", &[1, 5, 7, 64], &[1.0]);
    save("ids.npy", "f32", &[1, 3], &[1.0]);
    save("f32.npy", "f32", &[4, 8], &[1.0]);
    save("vector.npy", "f16", &[8], &[1.0]);
    save("far.npy", "i32", &[4], &[0.0, 5.0, 99.0, 2.0]);
    save("below.npy", "i32", &[4], &[0.0, -5.0, 1.0, 2.0]);
    save("wide.npy", "i64", &[4], &[0.0]);
    save("nan.npy", "f32", &[4], &[0.0, f64::NAN]);
    save("falls.npy", "i32", &[4], &[0.0, 3.0, 2.0, 4.0]);
    save("late.npy", "i32", &[4], &[1.0, 3.0, 3.0, 4.0]);
    let whole = std::fs::read(folder.path("a.npy")).expect("written above");
    folder.file("cut.npy", &whole[..140]);
    folder.file("empty.npy", "");
    folder.file("garbage.npy", (0..=255u8).collect::<Vec<_>>());
    folder.file("garbage.safetensors", (0..=255u8).collect::<Vec<_>>());
    folder.file("gather.tw", GATHER);
    folder.file("two.tw", TWO);
    folder.file("latin1.tw", b"// caf\xe9\n");
    folder.file("slices.tw", SLICES);
    folder.file("overflow.tw", OVERFLOW);
    save("large.npy", "f32", &[4], &[1.0, 2.0, 0.5, 3.0]);
    std::fs::create_dir(folder.path("folder.npy")).expect("a folder");
    folder
}

/// Runs each line in the folder; `GEMM` and `ATTENTION` are the examples, words are split at blanks.
fn refusals(status: i32, lines: &[&str]) -> String {
    let folder = folder();
    let mut said = String::new();
    for line in lines {
        let place = |word: &str| match word.split_once('=') {
            Some((name, path)) if folder.path(path.split(':').next().unwrap_or(path)).exists() => {
                format!("{name}={}", folder.arg(path))
            }
            _ if word == "GEMM" => GEMM.to_string(),
            _ if word == "ATTENTION" => ATTENTION.to_string(),
            _ if folder.path(word).exists() => folder.arg(word),
            _ => word.to_string(),
        };
        let args: Vec<String> = line.split(' ').map(place).collect();
        let output = tilewright(&args.iter().map(String::as_str).collect::<Vec<_>>());
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{line}\n{error}");
        let error =
            error.replace(&folder.arg(""), "").replace(GEMM, "gemm.tw").replace(ATTENTION, "attention.tw");
        writeln!(said, "$ tilewright {line}\n{error}").expect("a string");
    }
    said
}

/// Compares with `snapshots/NAME.snap`.
fn snapshot(name: &str, said: String) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, said));
}

#[test]
fn files_that_are_not_what_they_should_be() {
    snapshot(
        "files_that_are_not_what_they_should_be",
        refusals(
            1,
            &[
                "run GEMM --device eval --arg a=missing.npy",
                "run GEMM --device eval --arg a=folder.npy",
                "run GEMM --device eval --arg a=empty.npy",
                "run GEMM --device eval --arg a=cut.npy",
                "run GEMM --device eval --arg a=garbage.npy",
                "run GEMM --device eval --arg a=garbage.safetensors",
                "run GEMM --device eval --arg a=f32.npy",
                "run gather.tw --device eval --arg src=wide.npy",
                "run gather.tw --device eval --arg src=nan.npy",
                "check missing.tw",
                "check .",
                "check latin1.tw",
                "fmt latin1.tw",
            ],
        ),
    );
}

#[test]
fn shapes_and_values_that_do_not_fit() {
    snapshot(
        "shapes_and_values_that_do_not_fit",
        refusals(
            1,
            &[
                "run GEMM --device eval --arg a=vector.npy",
                "run GEMM --device eval --arg a=a.npy --arg b=b9.npy",
                "run GEMM --device eval --arg a=a.npy --dim K=9",
                "run GEMM --device eval --arg a=3",
                "run GEMM --device eval --arg c=c.npy",
                "run GEMM --device eval --arg q=3",
                "run GEMM --device eval --dim Q=3",
                "run GEMM --device eval --dim M=999999999999,N=9,K=9",
                "run gather.tw --device eval --arg src=far.npy --dim M=10",
                "run gather.tw --device eval --arg src=below.npy --dim M=10",
                "run gather.tw --device eval --arg src=far.npy --dim M=0",
                "run gather.tw --device eval --arg off=falls.npy --dim N=4",
                "run gather.tw --device eval --arg off=late.npy --dim N=4",
                "run gather.tw --device eval --dim N=6",
                "run gather.tw --device eval --arg n=99999999999",
                "run gather.tw --device eval --arg n=1.5",
                "run gather.tw --device eval --arg s=a.npy",
            ],
        ),
    );
}

#[test]
fn attention_that_does_not_fit() {
    snapshot(
        "attention_that_does_not_fit",
        refusals(
            1,
            &[
                "run ATTENTION --device eval --arg q=q5.npy --arg k=k2.npy",
                "run ATTENTION --device eval --dim HQ=2,HKV=4",
                "run ATTENTION --device eval --arg q=q5.npy --arg k=q5.npy --arg v=v64.npy",
                "run ATTENTION --device eval --set mask=document --arg dq=ids.npy",
                "compile ATTENTION --set D=31",
                "compile ATTENTION --set D=1024",
                "compile ATTENTION --set mask=casual",
                "compile ATTENTION --set mask=rectangular",
                "compile ATTENTION --set mask=softcap",
                "compile ATTENTION --set score=3",
                "compile ATTENTION --set BQ=256,BR=4",
            ],
        ),
    );
}

#[test]
fn kernels_and_settings_that_are_not_there() {
    snapshot(
        "kernels_and_settings_that_are_not_there",
        refusals(
            1,
            &[
                "run two.tw",
                "run two.tw --kernel r",
                "run two.tw --kernel q --device eval",
                "compile GEMM --set TT=f16",
                "compile GEMM --set T=f64",
                "compile GEMM --set T=int",
                "compile GEMM --set epilogue=nothing",
                "compile GEMM --set epilogue=plian",
                "compile GEMM --set K=64",
                "compile GEMM --set BM=96",
                "compile GEMM --set BM=256,BN=256",
                "compile GEMM --set k.stage=3",
                "compile GEMM --set foo=3",
                "compile GEMM --set q.stages=3",
                "compile GEMM --set ac.promote=4",
                "compile slices.tw --set D=31",
                "compile GEMM --set occupancy=true",
            ],
        ),
    );
}

/// `inf / inf` is the program's own, not a wrong result.
#[test]
fn overflow_is_the_programs() {
    let line = "run overflow.tw --device cpu --check --quiet --arg x=large.npy";
    snapshot("overflow_is_the_programs", refusals(1, &[line]));
}

/// The planner's words are tested beside it; here, that its refusals have a place and a hint.
#[test]
fn schedules_that_cannot_be() {
    for set in ["k.stages=99", "k.stages=none", "warps=(3,1)", "persistent=3"] {
        let said = refusals(1, &[&format!("compile GEMM --set {set}")]);
        assert!(
            said.contains("error[E0703]") && said.contains("gemm.tw:") && said.contains("help: "),
            "{said}"
        );
    }
}

#[test]
fn misuse_of_the_command_line() {
    snapshot(
        "misuse_of_the_command_line",
        refusals(
            2,
            &[
                "run GEMM --arg a=.",
                "run GEMM --arg a=a.npy:flip(0)",
                "run GEMM --arg a=a.npy --arg a=a.npy",
                "run GEMM --arg a",
                "run GEMM --dim M=3,M=4",
                "run GEMM --dim M=-3",
                "run GEMM --device tpu",
                "run GEMM --target sm_42",
                "run GEMM --out c=x.npy --out c=x.npy",
                "run GEMM --out c",
                "run GEMM --out c=o.txt",
            ],
        ),
    );
}

/// Scalars keep their promises, and coordinates stay within 32 bits.
#[test]
fn scalars_that_lead_too_far_are_refused() {
    let folder = Folder::new();
    let text =
        "kernel far(x: f32[N], at: i32 in 0..N, b: i32, lo: i64, hi: i64, out y: f32[N], out n: i64[N]) {
    grid i over N by 64;
    let mut s: i64 = 0;
    for t over lo..hi { s += 1; }
    y[i] = x[at] + x[(i + 1) * b];
    n[i] = s;
}
";
    let file = folder.file("far.tw", text);
    let run = |status: i32, values: [&str; 4]| {
        let mut args = vec!["run", &file, "--dim", "N=5", "--check"];
        let values: Vec<String> =
            ["at", "b", "lo", "hi"].iter().zip(values).map(|(n, v)| format!("{n}={v}")).collect();
        values.iter().for_each(|v| args.extend(["--arg", v]));
        let output = tilewright(&args);
        let said = text_of(&output);
        assert_eq!(output.status.code(), Some(status), "{args:?}\n{said}");
        said
    };
    run(0, ["4", "3", "0", "7"]);
    run(0, ["0", "-2", "4294967301", "4294967290"]);
    let said = run(1, ["5", "3", "0", "7"]);
    assert!(said.contains("at must be a number from 0 to 4 (N is 5), but it is 5"), "{said}");
    let said = run(1, ["-1", "3", "0", "7"]);
    assert!(said.contains("but it is -1"), "{said}");
    let said = run(1, ["0", "1073741824", "0", "7"]);
    assert!(said.contains("`(i + 1) * b` is 5368709120 for these arguments"), "{said}");
    let said = run(1, ["0", "1", "4294967290", "4294967301"]);
    assert!(said.contains("loop over `t` is 4294967"), "{said}");
}

/// The greatest number there is means "no window": what is only compared may lead beyond 32 bits.
#[test]
fn windows_without_an_end_are_taken() {
    let folder = Folder::new();
    let window = "kernel window(x: f32[M, N], left: i32, right: i32, out y: f32[M, N]) {
    grid i over M by 16, j over N by 64;
    y[i, j] = where(j >= i - left && j <= i + right, x[i, j], 0);
}
";
    let window = folder.file("window.tw", window);
    let (most, least) = ("2147483647", "-2147483648");
    for (left, right) in
        [(most, most), (most, "3"), ("3", most), (least, most), (most, least), ("-2147483600", most)]
    {
        let args = [format!("left={left}"), format!("right={right}")];
        let output = tilewright(&[
            "run",
            &window,
            "--check",
            "--sanitize",
            "--device",
            "cpu",
            "--dim",
            "M=70,N=90",
            "--arg",
            &args[0],
            "--arg",
            &args[1],
        ]);
        assert_eq!(output.status.code(), Some(0), "{args:?}\n{}", text_of(&output));
    }
    // A sum that leads to an element is none of these, nor is one of two such sums.
    let beyond = "kernel beyond(x: f32[M], far: i32, out y: f32[M]) {
    grid i over M by 16;
    y[i] = where(i + far > 3, x[i + far], 0) + where(i + far + far > 3, 1, 0);
}
";
    let beyond = folder.file("beyond.tw", beyond);
    let output =
        tilewright(&["run", &beyond, "--device", "cpu", "--dim", "M=70", "--arg", &format!("far={most}")]);
    assert_eq!(output.status.code(), Some(1), "{}", text_of(&output));
    assert!(text_of(&output).contains("coordinates are held in 32 bits"), "{}", text_of(&output));
}

/// Both streams of a run.
fn text_of(output: &std::process::Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// A disk that is full is the machine's fault, and is said with the path.
#[test]
fn a_full_disk_is_said() {
    if !std::path::Path::new("/dev/full").exists() {
        eprintln!("skipped: this machine has no /dev/full");
        return;
    }
    let refused = refusals(
        1,
        &[
            "compile GEMM -o /dev/full",
            "run GEMM --device eval --dim M=9,N=9,K=9 --out c=/dev/full",
            "layout spatial(8,4) --svg /dev/full",
            "run GEMM --device cpu --dim M=9,N=9,K=9 --save-launch /dev/full",
        ],
    );
    assert_eq!(refused.matches("cannot write /dev/full: ").count(), 4, "{refused}");
    for args in [&["compile", GEMM][..], &["layout", "spatial(8,4)"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("it is there");
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_tilewright"))
            .args(args)
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .expect("the binary starts");
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("cannot write the result: "), "{}", text(&output.stderr));
    }
    // Where nobody can be told, the status says all there is to say.
    for (status, args) in [
        (0, &["compile", GEMM, "--time-passes", "-o", "/dev/null"][..]),
        (1, &["layout", "foo"]),
        (1, &["check", "none.tw"]),
        (2, &["compile"]),
        (1, &["compile", GEMM, "--kernel", "none"]),
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("it is there");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tilewright"));
        let ended =
            command.args(args).stdout(Stdio::null()).stderr(full).status().expect("the binary starts");
        assert_eq!(ended.code(), Some(status), "{args:?}");
    }
}

/// Every code that a mistake can have stands in some snapshot of a rendered diagnostic.
#[test]
fn every_code_is_tested_as_rendered() {
    fn snapshots(folder: &std::path::Path, found: &mut String) {
        for entry in std::fs::read_dir(folder).expect("a folder of the checkout").flatten() {
            let path = entry.path();
            if path.is_dir() {
                snapshots(&path, found);
            } else if path.extension().is_some_and(|e| e == "snap") {
                *found += &std::fs::read_to_string(&path).unwrap_or_default();
            }
        }
    }
    let mut found = String::new();
    for folder in ["compiler/src", "compiler/tests", "runtime", "tests"] {
        snapshots(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    }
    // What is wrong with an argument is printed without its code, as the command line's other messages; bugs are ours.
    let elsewhere = [codes::BAD_ARGUMENT, codes::EVALUATOR_BUG, codes::INTERNAL];
    let missing: Vec<String> = codes::TABLE
        .iter()
        .filter(|e| !elsewhere.contains(&e.code) && !found.contains(&format!("[{}]", e.code)))
        .map(|e| format!("{} {}", e.code, e.name))
        .collect();
    assert!(missing.is_empty(), "no snapshot shows {missing:?}");
}
