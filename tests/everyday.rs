//! The commands of every day: fmt, new, snapshot, completions, man, and the options that all commands share.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const GEMM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dsl_examples/gemm.tw");
/// A kernel of one small schedule, so that its snapshots are short.
const SMALL: &str = "kernel small(a: f16[M, K], b: f16[N, K], out c: f16[M, N]) {
    tune BM in {64}, BN in {64}, BK in {32};
    grid i over M by BM, j over N by BN;
    let mut acc: f32[i, j] = 0;
    for k over K by BK { acc += a[i, k] @ b[j, k].T; }
    c[i, j] = acc as f16;
}
";

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tilewright"));
    command.args(args).current_dir(folder).env_remove("NO_COLOR").env_remove("TILEWRIGHT_CUDA_BIN");
    command
}

/// Status, stdout and stderr.
fn run(folder: &Path, args: &[&str]) -> (i32, String, String) {
    read(command(folder, args).output().expect("the binary starts"))
}

fn read(output: Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// Stdout of a run that must end with this status.
#[track_caller]
fn ends(status: i32, folder: &Path, args: &[&str]) -> String {
    let (got, out, err) = run(folder, args);
    assert_eq!(got, status, "{args:?}\n{out}{err}");
    out
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    folder
}

fn text(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn fmt_writes_checks_and_shows() {
    let dir =
        folder(&[("a.tw", "fn f(x)=x+1 ; // one\n"), ("b.tw", "fn g(x) = x;\n"), ("bad.tw", "fn f(x) = ;")]);
    let at = dir.path();
    let (status, _, said) = run(at, &["fmt", "--check", "a.tw", "b.tw"]);
    assert_eq!(status, 1);
    assert!(said.contains("a.tw: not in the style") && !said.contains("b.tw"), "{said}");
    let diff = ends(1, at, &["fmt", "--diff", "a.tw"]);
    assert!(diff.contains("-fn f(x)=x+1 ; // one\n+fn f(x) = x + 1; // one\n"), "{diff}");
    let object: Value =
        serde_json::from_str(&ends(1, at, &["fmt", "--check", "--json", "a.tw"])).expect("JSON");
    assert_eq!((&object["file"], &object["changed"]), (&Value::from("a.tw"), &Value::from(true)));
    assert!(text(at.join("a.tw")).starts_with("fn f(x)=x"), "--check and --diff write nothing");
    ends(0, at, &["fmt", "a.tw", "b.tw"]);
    assert_eq!(text(at.join("a.tw")), "fn f(x) = x + 1; // one\n");
    ends(0, at, &["fmt", "--check", "a.tw", "b.tw"]);
    let (status, _, said) = run(at, &["fmt", "bad.tw", "none.tw"]);
    assert_eq!(status, 1);
    assert!(said.contains("bad.tw:1:11") && said.contains("cannot read none.tw"), "{said}");
    assert_eq!(text(at.join("bad.tw")), "fn f(x) = ;");
    assert_eq!(fs::read_dir(at).expect("the folder").count(), 3, "no temporary file stays");
}

#[test]
fn fmt_is_a_filter() {
    let dir = folder(&[]);
    let mut child = command(dir.path(), &["fmt", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    child.stdin.take().expect("a pipe").write_all(b"fn f(x)=x ;").expect("written");
    let (status, out, err) = read(child.wait_with_output().expect("it ends"));
    assert_eq!((status, out.as_str()), (0, "fn f(x) = x;\n"), "{err}");
}

#[test]
fn a_new_kernel_checks_compiles_and_is_in_the_style() {
    let dir = folder(&[]);
    let at = dir.path();
    let (status, _, said) = run(at, &["new", "deep/my-scores"]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("tilewright run deep/my-scores.tw --check"), "{said}");
    let file = "deep/my-scores.tw";
    assert!(text(at.join(file)).contains("kernel my_scores<"));
    ends(0, at, &["check", file]);
    ends(0, at, &["fmt", "--check", file]);
    for kernel in ["my_scores", "my_scores_bias"] {
        assert!(ends(0, at, &["compile", file, "--kernel", kernel]).contains("mma.sync"));
        ends(
            0,
            at,
            &["run", file, "--kernel", kernel, "--check", "--device", "cpu", "--dim", "M=65,N=40,K=33"],
        );
    }
    let (status, _, said) = run(at, &["new", file]);
    assert_eq!(status, 1);
    assert!(said.contains("exists") && said.contains("--force"), "{said}");
    ends(0, at, &["new", file, "--force"]);
    for bad in ["for", "2x", "f16", "a b", "plain", "x.y"] {
        let (status, _, said) = run(at, &["new", bad]);
        assert_eq!(status, 2, "{bad}: {said}");
    }
}

#[test]
fn snapshots_are_blessed_compared_and_swept() {
    let dir = folder(&[("small.tw", SMALL)]);
    let at = dir.path();
    let (status, _, said) = run(at, &["snapshot", "small.tw"]);
    assert_eq!(status, 1);
    assert!(said.contains("small.small.sm_80.ptx.snap: missing") && said.contains("3 missing"), "{said}");
    assert!(!at.join("snapshots").exists(), "nothing is written without --accept");
    ends(0, at, &["snapshot", "small.tw", "--accept"]);
    ends(0, at, &["snapshot", "small.tw"]);
    ends(0, at, &["snapshot", "small.tw", "--level", "tile", "--set", "BK=32", "--dim", "K=512", "--accept"]);
    assert!(at.join("snapshots/small.small.sm_80.BK=32,K=512.tile.snap").exists());

    // A change is shown, and blessed.
    fs::write(at.join("small.tw"), SMALL.replace("acc as", "(acc + 1) as")).expect("written");
    let (status, out, said) = run(at, &["snapshot", "small.tw"]);
    assert_eq!(status, 1, "{said}");
    assert!(out.contains("--- snapshots/small.small.sm_80.tile.snap") && out.contains("\n+"), "{out}");
    assert!(said.contains("3 different"), "{said}");
    let (_, coloured, _) = run(at, &["snapshot", "small.tw", "--color", "always"]);
    assert!(coloured.contains("\x1b[32m+"), "{coloured}");
    let lines = ends(1, at, &["snapshot", "small.tw", "--json"]);
    let objects: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert!(objects.iter().all(|o| o["state"] == "differs" && o["diff"].is_string()), "{lines}");
    ends(0, at, &["snapshot", "small.tw", "--accept"]);
    ends(0, at, &["snapshot", "small.tw"]);

    // A kernel that is gone leaves stale files.
    fs::write(at.join("small.tw"), SMALL.replace("kernel small", "kernel other")).expect("written");
    let (status, _, said) = run(at, &["snapshot", "small.tw"]);
    assert_eq!(status, 1);
    assert!(said.contains("small.small.sm_80.tile.snap: stale") && said.contains("4 stale"), "{said}");
    ends(0, at, &["snapshot", "small.tw", "--accept"]);
    let mut left: Vec<String> = fs::read_dir(at.join("snapshots"))
        .expect("the folder")
        .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    left.sort();
    let names = ["ptx", "scheduled", "tile"].map(|l| format!("small.other.sm_80.{l}.snap"));
    assert_eq!(left, names);

    // Nothing else has to be wrong for a stale file to be.
    let two = format!("{SMALL}{}", SMALL.replace("kernel small", "kernel other"));
    fs::write(at.join("small.tw"), two).expect("written");
    ends(0, at, &["snapshot", "small.tw", "--accept"]);
    fs::write(at.join("small.tw"), SMALL).expect("written");
    let (status, _, said) = run(at, &["snapshot", "small.tw"]);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("3 same, 3 stale") && said.contains("--accept removes them"), "{said}");
}

#[test]
fn snapshots_are_the_same_bytes_everywhere() {
    let lib = "fn bias(x, j) using t: f32[N] = x + t[j];\n";
    let root = SMALL
        .replace("kernel small(", "import \"../lib/e.tw\" as e;\nkernel small<fn f(x, j) -> f32 = e.bias>(")
        .replace("acc as", "f(acc, j) as");
    let files = [("k/small.tw", root.as_str()), ("lib/e.tw", lib)];
    let (one, two) = (folder(&files), folder(&files));
    ends(0, one.path(), &["snapshot", "k/small.tw", "--level", "tile,scheduled,warp,ptx", "--accept"]);
    let root = two.path().join("k/small.tw").display().to_string();
    ends(0, Path::new("/"), &["snapshot", &root, "--level", "tile,scheduled,warp,ptx", "--accept"]);
    for level in ["tile", "scheduled", "warp", "ptx"] {
        let name = format!("k/snapshots/small.small.sm_80.{level}.snap");
        let (a, b) = (text(one.path().join(&name)), text(two.path().join(&name)));
        assert_eq!(a, b, "{level}");
        for path in [one.path(), two.path()] {
            assert!(!a.contains(&path.display().to_string()), "{level} names a folder of this machine");
        }
    }
}

#[test]
fn a_kernel_that_cannot_be_compiled_is_reported_and_the_others_go_on() {
    let two = SMALL.to_string() + "kernel wide(x: f32[N], out y: f32[N]) {\n    y[0] = nothing;\n}\n";
    let dir = folder(&[("bad.tw", &two), ("small.tw", SMALL)]);
    let (status, _, said) =
        run(dir.path(), &["snapshot", "bad.tw", "small.tw", "--accept", "--level", "ptx"]);
    assert_eq!(status, 1);
    assert!(said.contains("bad.tw:9:12") && said.contains("1 accepted"), "{said}");
}

/// The golden files of a kernel without code say so, whatever lines it stands on; the day there is code, they differ.
#[test]
fn a_kernel_that_has_no_code_yet_is_kept_as_refused() {
    let refused = "kernel later(x: f64[N], out y: f64[N]) { grid i over N by 64; y[i] = exp(x[i]); }\n";
    let dir = folder(&[("later.tw", refused)]);
    let at = dir.path();
    ends(0, at, &["snapshot", "later.tw", "--accept"]);
    assert!(text(at.join("snapshots/later.later.sm_80.tile.snap")).contains("exp"));
    let kept = text(at.join("snapshots/later.later.sm_80.ptx.snap"));
    assert!(kept.contains("\nrefused: E0901: "), "{kept}");
    fs::write(at.join("later.tw"), format!("// A line above.\n{refused}")).expect("written");
    ends(0, at, &["snapshot", "later.tw"]);
    fs::write(at.join("later.tw"), refused.replace("f64", "f32")).expect("written");
    let shown = ends(1, at, &["snapshot", "later.tw", "--level", "ptx"]);
    assert!(shown.contains("-refused: E0901") && shown.contains("+.version"), "{shown}");
}

/// A reader that takes ten lines and goes away changes nothing about the verdict.
#[test]
fn a_closed_pipe_does_not_hide_that_snapshots_differ() {
    let dir = folder(&[("small.tw", SMALL)]);
    ends(0, dir.path(), &["snapshot", "small.tw", "--accept"]);
    fs::write(dir.path().join("small.tw"), SMALL.replace("acc as", "(acc + 1) as")).expect("written");
    let mut child = command(dir.path(), &["snapshot", "small.tw"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
}

#[test]
fn completions_and_pages_know_the_commands() {
    let dir = folder(&[]);
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = ends(0, dir.path(), &["completions", shell]);
        for word in ["snapshot", "compile", "sm_80"] {
            // Targets are free text; what is checked is that commands and their options are there.
            assert!(word == "sm_80" || script.contains(word), "{shell} does not know {word}");
        }
    }
    let page = ends(0, dir.path(), &["man", "fmt"]);
    assert!(page.contains(".TH") && page.contains("Exit status"), "{page}");
    assert_eq!(run(dir.path(), &["man", "nothing"]).0, 2);
    ends(0, dir.path(), &["man", "--out-dir", "pages"]);
    for page in ["tilewright.1", "tilewright-snapshot.1"] {
        assert!(dir.path().join("pages").join(page).exists(), "{page}");
    }
}

#[test]
fn every_command_has_help_with_examples() {
    let dir = folder(&[]);
    let help = ends(0, dir.path(), &["--help"]);
    let list = help.split("Commands:").nth(1).and_then(|t| t.split("Options:").next()).expect("a list");
    let commands: Vec<&str> = list
        .lines()
        .filter(|l| l.starts_with("  ") && !l.starts_with("   "))
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    assert!(commands.len() >= 9, "{help}");
    for command in commands.iter().filter(|c| **c != "help") {
        let help = ends(0, dir.path(), &[command, "--help"]);
        assert!(help.contains("Examples:"), "{command} has no examples:\n{help}");
    }
    let version = ends(0, dir.path(), &["--version"]);
    assert!(version.contains("sm_80") && version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    for target in tilewright_compiler::target::Target::ALL {
        assert!(version.contains(target.name()), "{version}");
    }
    assert_eq!(ends(0, dir.path(), &["-V"]).lines().count(), 1);
}

#[test]
fn colour_is_asked_for() {
    let dir = folder(&[("bad.tw", "fn f(x) = ;")]);
    let escapes = |args: &[&str]| run(dir.path(), args).2.contains('\x1b');
    assert!(!escapes(&["check", "bad.tw"]), "stderr is a pipe");
    assert!(escapes(&["check", "bad.tw", "--color", "always"]));
    assert!(!escapes(&["check", "bad.tw", "--color", "never"]));
    assert!(escapes(&["check", "--color=always"]), "misuse");
    assert!(!escapes(&["check", "--color=never"]));
    let help = ends(0, dir.path(), &["--help", "--color=always"]);
    assert!(help.contains('\x1b'), "{help}");
    // Quiet: the result and errors are all there is.
    let (status, out, err) = run(dir.path(), &["check", GEMM, "--quiet"]);
    assert_eq!((status, out.as_str(), err.as_str()), (0, "", ""));
}

/// What `--emit schedule` prints pins the same choice: pasted into the file, into the kernel, or given by `--set`.
#[test]
fn a_printed_schedule_gives_the_same_code() {
    let source = fs::read_to_string(GEMM).expect("the example");
    let code = |ptx: &str| -> Vec<String> {
        ptx.lines().filter(|l| !l.trim_start().starts_with(".loc")).map(String::from).collect()
    };
    let dir = folder(&[("gemm.tw", &source)]);
    let at = dir.path();
    for extra in [&[][..], &["--set", "BM=64,BN=64,k.stages=3"], &["--target", "sm_86"]] {
        let compile = |more: &[&str]| ends(0, at, &[&["compile", "gemm.tw"], extra, more].concat());
        let schedule = compile(&["--emit", "schedule"]);
        let ptx = code(&compile(&[]));
        let target: &[&str] = if extra.contains(&"--target") { extra } else { &[] };

        // At file level.
        fs::write(at.join("gemm.tw"), format!("{source}\n{schedule}")).expect("written");
        let again = ends(0, at, &[&["compile", "gemm.tw"], target].concat());
        assert!(code(&again) == ptx, "pasted into the file:\n{schedule}");
        ends(0, at, &["check", "gemm.tw"]);

        // In the kernel, without its name.
        let inner = schedule.replacen("schedule gemm on ", "schedule ", 1);
        let with = source.replacen("as T;\n}", &format!("as T;\n{inner}}}"), 1);
        assert_ne!(with, source);
        fs::write(at.join("gemm.tw"), with).expect("written");
        let again = ends(0, at, &[&["compile", "gemm.tw"], target].concat());
        assert!(code(&again) == ptx, "pasted into the kernel:\n{inner}");

        // As settings.
        fs::write(at.join("gemm.tw"), &source).expect("written");
        let items = schedule.lines().filter_map(|l| l.trim().strip_suffix(';'));
        let sets: Vec<String> = items.map(|i| i.replace(' ', "")).collect();
        let sets = sets.join(",");
        let again = ends(0, at, &[&["compile", "gemm.tw", "--set", &sets], target].concat());
        assert!(code(&again) == ptx, "--set {sets}");
    }
}

/// The same for every example that has PTX today, by its own settings.
#[test]
fn every_schedule_reads_back() {
    use tilewright_compiler::compile::{Options, compile};
    use tilewright_compiler::diagnostics::SourceMap;
    use tilewright_compiler::elaborate::kernel_names;
    use tilewright_compiler::front::{Memory, load};
    use tilewright_compiler::target::Target;

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dsl_examples");
    let mut compared = 0;
    for entry in fs::read_dir(&folder).expect("the examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|e| e != "tw") {
            continue;
        }
        let source = text(path.clone());
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let files = |text: &str| Memory::from([(name.clone(), text.to_string())]);
        let (program, _) = load(&mut SourceMap::default(), &files(&source), &name);
        for kernel in kernel_names(&program) {
            let options = Options { kernel: Some(kernel.clone()), ..Options::new(Target::Sm80) };
            let make = |text: &str| compile(&mut SourceMap::default(), &files(text), &name, &options);
            let Ok(first) = make(&source) else { continue };
            let schedule = first.meta.schedule_text();
            let again = make(&format!("{source}\n{schedule}"))
                .unwrap_or_else(|d| panic!("{kernel}: what was printed is refused\n{schedule}{d:?}"));
            let code = |ptx: &str| -> Vec<String> {
                ptx.lines().filter(|l| !l.trim_start().starts_with(".loc")).map(String::from).collect()
            };
            assert!(code(&first.ptx) == code(&again.ptx), "{kernel} differs with\n{schedule}");
            assert_eq!(again.meta.schedule_text(), schedule, "{kernel}");
            compared += 1;
        }
    }
    assert!(compared > 0, "no example compiles");
}
