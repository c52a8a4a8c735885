//! The command line from outside: what it prints, what it writes, how it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use tilewright_compiler::tile::ElemType;
use tilewright_runtime::tensor::{HostTensor, load, store};

const GEMM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dsl_examples/gemm.tw");

fn tilewright(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tilewright"))
        .args(args)
        .env_remove("TILEWRIGHT_CUDA_BIN")
        .env("NO_COLOR", "1")
        .output()
        .expect("the binary starts")
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

/// The object on stdout of a run that must end with this status.
fn refused(status: i32, args: &[&str]) -> Value {
    let output = tilewright(args);
    assert_eq!(output.status.code(), Some(status), "{args:?}\n{}", text(&output.stderr));
    let said = text(&output.stdout);
    serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"))
}

fn json(args: &[&str]) -> Value {
    let said = fine(args);
    serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"))
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, content: &str) -> String {
        fs::write(self.path(name), content).expect("a file");
        self.path(name).display().to_string()
    }

    /// An f16 tensor whose element number i is (i·step mod 17) / 8 − 1.
    fn tensor(&self, name: &str, shape: &[usize], step: usize) -> (String, HostTensor) {
        let values: Vec<f64> =
            (0..shape.iter().product()).map(|i: usize| ((i * step) % 17) as f64 / 8.0 - 1.0).collect();
        let tensor = HostTensor::from_f64(ElemType::F16, shape, &values).expect("a small tensor");
        store(&tensor, &self.path(name)).expect("a file");
        (self.path(name).display().to_string(), tensor)
    }
}

/// a · bᵀ in f64.
fn product(a: &HostTensor, b: &HostTensor) -> Vec<f64> {
    let (m, k, n) = (a.shape()[0], a.shape()[1], b.shape()[0]);
    let (a, b) = (a.to_f64(), b.to_f64());
    (0..m * n).map(|at| (0..k).map(|x| a[at / n * k + x] * b[at % n * k + x]).sum()).collect()
}

fn close(got: &Path, want: &[f64]) {
    let got = load(got, ElemType::F16).expect("the output").to_f64();
    assert_eq!(got.len(), want.len());
    for (at, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= 1e-3 * w.abs().max(1.0), "element {at} is {g}, not {w}");
    }
}

#[test]
fn help_lists_the_commands_and_gives_examples() {
    let help = fine(&["--help"]);
    for word in ["check", "compile", "run", "verify", "exec", "layout", "Examples:", "Exit status:"] {
        assert!(help.contains(word), "{word} is missing from\n{help}");
    }
    for command in ["check", "compile", "run", "verify", "exec", "layout"] {
        assert!(fine(&[command, "--help"]).contains("Examples:"), "{command}");
    }
}

#[test]
fn misuse_ends_with_two() {
    for args in [
        &["frobnicate"][..],
        &["run"],
        &["run", GEMM, "--device", "tpu"],
        &["run", GEMM, "--dim", "M=-1"],
        &["run", GEMM, "--set", "=3"],
        &["run", GEMM, "--arg", "a=file.bin"],
        &["compile", GEMM, "--target", "sm_42"],
        &["compile", GEMM, "--emit", "llvm"],
        &["compile", GEMM, "--emit", "cubin"],
        &["compile", GEMM, "--set", "BM=64,BM=128"],
        &["compile", GEMM, "--dim", "M=1", "--dim", "M=2"],
        &["run", GEMM, "--device", "eval", "--check"],
        &["run", GEMM, "--device", "eval", "--sanitize"],
        &["run", GEMM, "--device", "eval", "--save-launch", "nowhere"],
        &["run", GEMM, "--device", "cuda:0", "--sanitize"],
    ] {
        let said = fails(2, args);
        assert!(said.starts_with("error: "), "{args:?}: {said}");
    }
}

#[test]
fn errors_of_a_program_have_places_and_end_with_one() {
    let folder = Folder::new();
    let file = folder.file(
        "bad.tw",
        "kernel k(a: f32[N], out b: f32[N]) {\n    grid i over N by 64;\n    b[i] = aa[i];\n}\n",
    );
    let said = fails(1, &["check", &file]);
    assert!(said.contains("bad.tw:3:12") && said.contains("aa") && said.contains('^'), "{said}");
    let output = tilewright(&["check", "--json", &file]);
    assert_eq!(output.status.code(), Some(1));
    let line = text(&output.stdout);
    let object: Value = serde_json::from_str(line.lines().next().expect("a line")).expect(&line);
    assert_eq!(object["severity"], "error");
    assert_eq!(object["spans"][0]["line"], 3);
    assert!(object["code"].as_str().is_some_and(|c| c.starts_with('E')), "{object}");
    assert!(fails(1, &["check", "no_such_file.tw"]).contains("cannot read no_such_file.tw: no such file"));
}

#[test]
fn checking_names_the_kernels() {
    let output = tilewright(&["check", GEMM]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("gemm, gemm_bias_gelu"), "{}", text(&output.stderr));
    assert_eq!(text(&tilewright(&["check", "-q", GEMM]).stderr), "");
}

#[test]
fn the_evaluator_runs_files_in_and_out() {
    let folder = Folder::new();
    let (a_path, a) = folder.tensor("a.npy", &[33, 7], 3);
    let (b_path, b) = folder.tensor("b.npy", &[20, 7], 5);
    let c = folder.path("c.npy");
    let said = fine(&[
        "run",
        GEMM,
        "--device",
        "eval",
        "--arg",
        &format!("a={a_path}"),
        "--arg",
        &format!("b={b_path}"),
        "--out",
        &format!("c={}", c.display()),
    ]);
    assert!(said.contains("a f16[33, 7], b f16[20, 7] -> c f16[33, 20]"), "{said}");
    close(&c, &product(&a, &b));
}

#[test]
fn open_dimensions_take_the_files_line_and_it_is_said() {
    let object = json(&["run", GEMM, "--device", "eval", "--json", "--dim", "M=5,K=3"]);
    assert_eq!(object["dims"], serde_json::json!({"M": 5, "N": 384, "K": 3}));
    assert_eq!(object["chosen"], serde_json::json!(["N from the file's `//; dims:` line"]));
    assert_eq!(object["outputs"][0]["shape"], serde_json::json!([5, 384]));
}

#[test]
fn arguments_that_disagree_show_both_sides() {
    let folder = Folder::new();
    let (a, _) = folder.tensor("a.npy", &[4, 72], 3);
    let (b, _) = folder.tensor("b.npy", &[4, 64], 3);
    let (a, b) = (format!("a={a}"), format!("b={b}"));
    let said = fails(1, &["run", GEMM, "--device", "eval", "--arg", &a, "--arg", &b]);
    assert!(said.contains("K is 72 in a (axis 1 of ") && said.contains("but 64 in b (axis 1 of "), "{said}");
    let said = fails(1, &["run", GEMM, "--device", "eval", "--arg", &a, "--dim", "K=64"]);
    assert!(said.contains("but 64 in --dim"), "{said}");
    let said = fails(1, &["run", GEMM, "--device", "eval", "--arg", "x=1"]);
    assert!(said.contains("no parameter \"x\""), "{said}");
    let said = fails(1, &["run", GEMM, "--device", "eval", "--out", "a=x.npy"]);
    assert!(said.contains("does not write a") && said.contains("it writes c"), "{said}");
    let said = fails(1, &["run", GEMM, "--device", "eval", "--arg", "a=missing.npy"]);
    assert!(said.contains("cannot read missing.npy"), "{said}");
}

/// More bytes than 64-bit systems have addresses for, so that none promises them.
#[test]
fn what_does_not_fit_in_memory_is_refused() {
    let dims = "M=140737488355328,N=64,K=1";
    for device in ["cpu", "eval"] {
        let said = fails(1, &["run", GEMM, "--device", device, "--dim", dims]);
        assert!(said.contains("does not fit in this machine's memory"), "{device}: {said}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tilewright"));
    let output = command.args(["compile", GEMM]).stdout(full).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot write the result"), "{}", text(&output.stderr));
}

#[test]
fn an_unknown_kernel_suggests_a_known_one() {
    let said = fails(1, &["run", GEMM, "--kernel", "gem"]);
    assert!(said.contains("has no kernel `gem`") && said.contains("did you mean gemm?"), "{said}");
    let said = fails(1, &["compile", GEMM, "--kernel", "softmax"]);
    assert!(said.contains("it has gemm, gemm_bias_gelu"), "{said}");
}

#[test]
fn what_cannot_be_lowered_still_has_a_meaning() {
    let output =
        tilewright(&["run", GEMM, "--kernel", "gemm_bias_gelu", "--device", "cpu", "--dim", "M=3,N=4"]);
    let said = text(&output.stderr);
    assert!(
        output.status.success() || (output.status.code() == Some(1) && said.contains("--device eval")),
        "{said}"
    );
    let object =
        json(&["run", GEMM, "--kernel", "gemm_bias_gelu", "--device", "eval", "--json", "--dim", "M=3,N=4"]);
    assert_eq!(object["outputs"][0]["shape"], serde_json::json!([3, 4]));
}

#[test]
fn a_bf16_file_implies_the_type() {
    let folder = Folder::new();
    let tensor =
        HostTensor::from_f64(ElemType::Bf16, &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).expect("small");
    store(&tensor, &folder.path("a.npy")).expect("a file");
    let a = format!("a={}", folder.path("a.npy").display());
    let object = json(&["run", GEMM, "--device", "eval", "--json", "--dim", "N=4", "--arg", &a]);
    assert_eq!(object["outputs"][0]["dtype"], "bf16");
    let object = json(&["run", GEMM, "--device", "cpu", "--json", "--dim", "N=4", "--arg", &a]);
    assert_eq!(object["chosen_by"]["T"], "arguments", "{object}");
}

#[test]
fn transposed_views_need_strides() {
    let folder = Folder::new();
    let (x, tensor) = folder.tensor("x.npy", &[3, 5], 2);
    let source = |strides: &str| {
        format!(
            "kernel k(x: f16[M, N]{strides}, out y: f16[M, N]) {{ grid i over M by 16, j over N by 16; y[i, j] = x[i, j]; }}"
        )
    };
    let dense = folder.file("dense.tw", &source(""));
    let free = folder.file("free.tw", &source(" strides(_, _)"));
    let x = format!("x={x}:transpose(1,0)");
    let said = fails(1, &["run", &dense, "--device", "eval", "--arg", &x]);
    assert!(said.contains("must be dense row-major") && said.contains("strides [1, 5]"), "{said}");
    let y = folder.path("y.npy");
    fine(&["run", &free, "--device", "eval", "--arg", &x, "--out", &format!("y={}", y.display())]);
    let want = tensor.transposed(&[1, 0]).expect("two axes").to_f64();
    assert_eq!(load(&y, ElemType::F16).expect("the output").to_f64(), want);
}

#[test]
fn a_missing_gpu_is_said_plainly() {
    if tilewright_runtime::cuda::driver_is_present() {
        eprintln!("skipped: this machine has a driver");
        return;
    }
    let said = fails(1, &["run", GEMM, "--device", "cuda:0"]);
    assert!(said.contains("there is no NVIDIA driver") && said.contains("--device cpu"), "{said}");
}

#[test]
fn every_level_is_printed() {
    for (level, word) in [
        ("ast", "kernel gemm<"),
        ("tile", "read a[i, k]"),
        ("scheduled", "cpasync"),
        ("ptx", ".entry"),
        ("schedule", "schedule gemm on sm_80 {"),
    ] {
        let said = fine(&["compile", GEMM, "--emit", level]);
        assert!(said.contains(word), "{level} has no {word:?}:\n{}", &said[..said.len().min(600)]);
    }
    assert!(!fine(&["compile", GEMM, "--emit", "warp"]).is_empty());
    let meta: Value = serde_json::from_str(&fine(&["compile", GEMM, "--emit", "meta"])).expect("JSON");
    for key in ["kernel", "target", "schedule", "chosen_by", "launches"] {
        assert!(!meta[key].is_null(), "{key} is missing from {meta}");
    }
    for key in [
        "guard",
        "entry",
        "grid",
        "block",
        "cluster",
        "shared_bytes",
        "params",
        "tensor_maps",
        "packed",
        "sync",
    ] {
        assert!(!meta["launches"][0]["variants"][0][key].is_null(), "{key} is missing from {meta}");
    }
}

#[test]
fn an_emitted_schedule_is_source() {
    let folder = Folder::new();
    let schedule = fine(&["compile", GEMM, "--emit", "schedule"]);
    let source = fs::read_to_string(GEMM).expect("the example");
    let pinned = folder.file("gemm.tw", &format!("{source}\n{schedule}"));
    assert_eq!(fine(&["compile", &pinned, "--emit", "schedule"]), schedule);
}

#[test]
fn times_and_outputs() {
    let folder = Folder::new();
    let ptx = folder.path("gemm.ptx").display().to_string();
    let printed = tilewright(&["compile", GEMM, "-o", "-"]);
    assert!(String::from_utf8_lossy(&printed.stdout).contains(".visible .entry"));
    let output = tilewright(&["compile", GEMM, "--time-passes", "-o", &ptx]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
    for word in ["load", "elaborate", "print", "total", " ms"] {
        assert!(text(&output.stderr).contains(word), "{word}: {}", text(&output.stderr));
    }
    assert!(fs::read_to_string(ptx).expect("PTX").contains(".version"));
    let object = json(&["compile", GEMM, "--json", "--emit", "meta"]);
    assert_eq!((&object["kernel"], &object["emit"]), (&Value::from("gemm"), &Value::from("meta")));
    assert!(object["passes"][0]["ms"].is_number() && object["meta"]["launches"].is_array(), "{object}");
}

#[test]
fn a_missing_assembler_is_said_plainly() {
    let folder = Folder::new();
    let output = Command::new(env!("CARGO_BIN_EXE_tilewright"))
        .args(["compile", GEMM, "--emit", "cubin", "-o", &folder.path("x.cubin").display().to_string()])
        .env("TILEWRIGHT_CUDA_BIN", folder.path(""))
        .env("PATH", folder.path(""))
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("needs NVIDIA's assembler ptxas"), "{}", text(&output.stderr));
}

#[test]
fn layouts_are_shown_and_drawn() {
    let folder = Folder::new();
    assert!(fine(&["layout", "spatial(2,2) * local(1,2)"]).contains("t0:r0 t0:r1 t1:r0 t1:r1"));
    let svg = folder.path("x.svg");
    fine(&["layout", "mma.m16n8k16.A", "--svg", &svg.display().to_string()]);
    assert!(fs::read_to_string(svg).expect("a picture").contains("<svg"));
    assert!(json(&["layout", "spatial(8,4)", "--json"]).is_object());
    let said = fails(1, &["layout", "spatail(8,4)"]);
    assert!(said.contains('^') && said.contains("spatial"), "{said}");
}

#[test]
fn a_bad_launch_file_is_said_plainly() {
    let folder = Folder::new();
    let file = folder.file("LAUNCH.json", "{\"ptx\": \"k.ptx\"}");
    assert!(fails(1, &["exec", &file]).contains("missing field"));
    assert!(fails(1, &["exec", "none.json"]).contains("cannot read none.json"));
    assert!(fails(2, &["exec", &file, "--timeout"]).contains("error: "));
}

/// A launch of a kernel with a loop that ends where `n` is not 0, and an access at offset `n`.
fn small_launch(folder: &Folder, kernel: &str, n: u32) -> String {
    let ptx = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry store(.param .u64 p, .param .u32 n) {\n\
               .reg .b32 %r<2>; .reg .b64 %rd<3>;\nld.param.u64 %rd0, [p];\nld.param.u32 %r0, [n];\ncvt.u64.u32 %rd1, %r0;\n\
               add.u64 %rd0, %rd0, %rd1;\nst.global.b32 [%rd0], %r0;\nret;\n}\n\
               .visible .entry forever(.param .u64 p, .param .u32 n) {\nL: bra L;\n}\n\
               .visible .entry quick(.param .u64 p, .param .u32 n) {\nret;\n}\n";
    folder.file("small.ptx", ptx);
    let grid = if kernel == "quick" { 2_000_000_000 } else { 1 };
    let json = format!(
        "{{\"ptx\": \"small.ptx\", \"kernel\": \"{kernel}\", \"target\": \"sm_80\", \"grid\": [{grid}, 1, 1], \"block\": [32, 1, 1], \"args\": [{{\"buffer\": \
         {{\"dtype\": \"u32\", \"shape\": [4], \"init\": \"zeros\"}}}}, {{\"u32\": {n}}}]}}"
    );
    folder.file("small.json", &json)
}

#[test]
fn exec_says_what_it_found_in_one_object() {
    let folder = Folder::new();
    let clean = json(&["exec", &small_launch(&folder, "store", 8), "--json"]);
    assert_eq!((&clean["ok"], &clean["findings"]), (&true.into(), &serde_json::json!([])), "{clean}");
    assert!(clean["time_ms"].is_number() && clean["stats"].is_object(), "{clean}");
    assert_eq!(clean["warp_instructions"], 6);
    let found = refused(1, &["exec", &small_launch(&folder, "store", 16), "--json"]);
    assert_eq!(found["findings"][0]["kind"], "out_of_bounds", "{found}");
    assert_eq!((&found["findings"][0]["line"], &found["ok"]), (&10.into(), &false.into()), "{found}");
    let none = refused(1, &["exec", &small_launch(&folder, "nothing", 0), "--json"]);
    assert_eq!((&none["ok"], &none["findings"]), (&false.into(), &serde_json::json!([])), "{none}");
    assert!(none["error"]["message"].as_str().is_some_and(|m| m.contains("no entry `nothing`")), "{none}");
}

#[test]
fn exec_gives_up_when_the_time_is_over() {
    let folder = Folder::new();
    // A loop without end, and more blocks than anybody can wait for, each of them quick.
    for kernel in ["forever", "quick"] {
        let said = refused(1, &["exec", &small_launch(&folder, kernel, 0), "--json", "--timeout", "0.2"]);
        assert_eq!(
            (&said["error"]["kind"], &said["findings"]),
            (&"timeout".into(), &serde_json::json!([])),
            "{said}"
        );
    }
}

#[test]
fn exec_counts_and_draws() {
    let folder = Folder::new();
    let saved = folder.path("saved").display().to_string();
    fine(&["run", GEMM, "--device", "cpu", "--dim", "M=128,N=128,K=128", "--save-launch", &saved]);
    let launch = folder.path("saved").join("LAUNCH.json").display().to_string();
    let object = json(&["exec", &launch, "--stats", "--gpu", "h100", "--json"]);
    let stats = &object["stats"];
    assert!(stats["tensor_ops"]["f16"].as_u64().is_some_and(|ops| ops >= 2 * 128 * 128 * 128), "{object}");
    assert_eq!(
        (&stats["roofline"]["gpu"], &stats["bank_conflicts"]),
        (&"h100".into(), &0.into()),
        "{object}"
    );
    let (trace, picture) = (folder.path("t.json"), folder.path("t.svg"));
    let chrome = trace.display().to_string();
    json(&["exec", &launch, "--trace", &chrome, "--json"]);
    let chrome: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(trace).expect("a trace")).expect("JSON");
    let names: Vec<&str> =
        chrome["traceEvents"].as_array().into_iter().flatten().filter_map(|e| e["name"].as_str()).collect();
    for name in ["matrix", "cp.async", "cp.async.wait_group", "thread_name"] {
        assert!(names.contains(&name), "no {name} in the trace");
    }
    fine(&["exec", &launch, "--trace", &picture.display().to_string(), "--cycles", "0..4000"]);
    assert!(fs::read_to_string(picture).expect("a picture").contains("tensor core 3"));
    assert!(fails(2, &["exec", &launch, "--stats", "--gpu", "abacus"]).contains("a100, h100"));
}

#[test]
fn exec_plans_for_a_gpu_without_one() {
    let folder = Folder::new();
    let launch = small_launch(&folder, "store", 8);
    let said = fine(&["exec", &launch, "--device", "cuda:0", "--dry-run"]);
    assert!(said.contains("address of buffer 0, 16 bytes") && said.contains("bytes 08 00 00 00"), "{said}");
    assert!(fails(2, &["exec", &launch, "--device", "tpu"]).contains("it is cpu or cuda:N"));
    assert!(fails(2, &["exec", &launch, "--device", "cuda:0", "--sanitize"]).contains("no meaning"));
}

#[test]
fn the_ptx_gives_what_the_program_means() {
    let shapes =
        ["M=1,N=1,K=1", "M=257,N=130,K=72", "M=128,N=96,K=1000", "M=33,N=1025,K=7", "M=5,N=700,K=513"];
    for (shape, ty) in shapes.iter().zip(["f16", "bf16", "f16", "bf16", "f16"]) {
        let set = format!("T={ty}");
        let object =
            json(&["run", GEMM, "--device", "cpu", "--check", "--json", "--dim", shape, "--set", &set]);
        assert_eq!(object["ok"], true, "{shape} {ty}: {object}");
        assert_eq!(object["findings"], serde_json::json!([]), "{shape} {ty}");
    }
}

#[test]
fn empty_dimensions_give_empty_or_zero_results() {
    for (shape, launches) in [("M=0,N=5,K=7", 0), ("M=5,N=0,K=7", 0), ("M=5,N=6,K=0", 1), ("M=0,N=0,K=0", 0)]
    {
        let object = json(&["run", GEMM, "--device", "cpu", "--check", "--json", "--dim", shape]);
        assert_eq!(object["ok"], true, "{shape}: {object}");
        assert_eq!(object["launches"].as_array().map(Vec::len), Some(launches), "{shape}: {object}");
    }
}

/// They mean something, so the command does its work; and nobody means it.
#[test]
fn subscripts_in_another_order_are_warned_of() {
    let folder = Folder::new();
    let file = folder.path("turned.tw");
    let text = "kernel turned(x: f32[M, N], out y: f32[M, N]) { grid i over M by 32, j over N by 32; y[i, j] = x[j, i]; }";
    fs::write(&file, text).expect("writable");
    let file = file.display().to_string();
    for command in [&["check", &file][..], &["compile", &file], &["run", &file, "--dim", "M=3,N=5"]] {
        let ran = tilewright(command);
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success(), "{command:?}: {said}");
        assert!(said.contains("probably meant: `x[i, j]`"), "{command:?}: {said}");
    }
}

#[test]
fn a_saved_launch_runs_again() {
    let folder = Folder::new();
    let saved = folder.path("saved").display().to_string();
    let c = folder.path("c.npy");
    let out = format!("c={}", c.display());
    let dims = "M=70,N=40,K=24";
    fine(&["run", GEMM, "--device", "cpu", "--dim", dims, "--save-launch", &saved, "--out", &out]);
    let launch = folder.path("saved").join("LAUNCH.json").display().to_string();
    let results = folder.path("results").display().to_string();
    let object = json(&["exec", &launch, "--sanitize", "--json", "--out-dir", &results]);
    assert_eq!(object["ok"], true, "{object}");
    let again = folder.path("results").join("c_out.npy");
    assert_eq!(fs::read(again).expect("the output"), fs::read(c).expect("the output"));
    let said = fine(&["run", GEMM, "--device", "cpu", "--dim", "M=0,N=4,K=4", "--save-launch", &saved]);
    assert!(said.contains("no launch was saved: the grid is empty"), "{said}");
}
