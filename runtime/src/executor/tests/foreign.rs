//! PTX from Triton and nvcc: it must compute what its authors meant, and a broken copy must be found out.

use std::path::{Path, PathBuf};

use super::super::{self as executor, Launch, Options, Outcome};
use crate::launch::file::LaunchFile;
use crate::tensor::{NpyArray, NpyKind};

/// A folder beside the checkout, or `None` (said loudly) where there is none.
fn corpus(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(name);
    if !path.is_dir() {
        eprintln!("skipped: no {}", path.display());
        return None;
    }
    Some(path)
}

fn run(case: &Path, options: Options) -> (Outcome, tempfile::TempDir) {
    let out = tempfile::tempdir().expect("a temporary directory");
    let fail = |e: &dyn std::fmt::Display| -> ! { panic!("{}: {e}", case.display()) };
    let file = LaunchFile::read(&case.join("launch.json")).unwrap_or_else(|e| fail(&e));
    let mut loaded = file.load(case).unwrap_or_else(|e| fail(&e));
    let (ptx, args) = (loaded.ptx.clone(), loaded.args.clone());
    let outcome = loaded.with_buffers(|buffers| {
        executor::run(Launch {
            ptx: &ptx,
            entry: &file.kernel,
            grid: file.grid,
            block: file.block,
            cluster: file.cluster,
            shared_bytes: file.shared_bytes,
            args,
            buffers,
            options,
        })
    });
    let outcome = outcome.unwrap_or_else(|e| fail(&e));
    loaded.store_outputs(out.path()).unwrap_or_else(|e| fail(&e));
    (outcome, out)
}

fn values(array: &NpyArray) -> Vec<f64> {
    let size = array.ty.size;
    assert_eq!(array.ty.kind, NpyKind::Float);
    array
        .bytes
        .chunks_exact(size)
        .map(|b| match size {
            2 => half::f16::from_le_bytes([b[0], b[1]]).to_f64(),
            4 => f32::from_le_bytes([b[0], b[1], b[2], b[3]]).into(),
            _ => panic!("floats of {size} bytes"),
        })
        .collect()
}

/// Compares every output with the case's expectation under its tolerance.
fn compare(case: &Path, out: &Path) {
    let check = std::fs::read_to_string(case.join("check.json")).expect("check.json");
    let check: serde_json::Value = serde_json::from_str(&check).expect("check.json is JSON");
    for (name, tolerance) in check.as_object().expect("an object") {
        let tol = |key: &str| tolerance[key].as_f64().expect("a tolerance");
        let want = values(&NpyArray::read(&case.join("expected").join(name)).expect("expected array"));
        let got = values(&NpyArray::read(&out.join(name)).expect("output array"));
        assert_eq!(got.len(), want.len(), "{name}");
        for (i, (g, w)) in got.iter().zip(&want).enumerate() {
            let close =
                (g - w).abs() <= tol("atol") + tol("rtol") * w.abs() || g == w || (g.is_nan() && w.is_nan());
            assert!(close, "{}: {name}[{i}] is {g}, expected {w}", case.display());
        }
    }
}

fn check(name: &str) {
    let Some(folder) = corpus("foreign_ptx") else { return };
    let case = folder.join(name);
    // Eager, lazy, and lazy with the sanitizer; ten orders of warps and blocks. Statistics and a trace must not change anything.
    for seed in 0..10 {
        let plain = Options { seed, stats: seed == 1, trace: seed == 2, ..Options::default() };
        let lazy = Options { seed, lazy: true, ..Options::default() };
        for options in [plain, lazy, Options { sanitize: true, seed, ..Options::default() }] {
            let (report, out) = run(&case, options);
            assert_eq!(report.findings, [], "{name}, seed {seed}");
            compare(&case, out.path());
        }
    }
}

#[test]
fn nvcc_vadd() {
    check("nvcc_vadd_sm80");
}

#[test]
fn nvcc_reduce() {
    check("nvcc_reduce_sm80");
}

#[test]
fn nvcc_mma16816() {
    check("nvcc_mma16816_sm80");
}

#[test]
fn triton_softmax() {
    check("softmax_sm80");
}

#[test]
fn triton_gemm() {
    check("gemm_f16_sm80");
}

#[test]
fn triton_softmax_sm90() {
    check("softmax_sm90");
}

#[test]
fn triton_gemm_sm90() {
    check("gemm_f16_sm90");
}

#[test]
fn triton_gemm_tma() {
    check("gemm_tma_host_sm90");
}

#[test]
fn triton_attention() {
    check("attn_sm80");
}

fn broken(name: &str) {
    let Some(folder) = corpus("foreign_ptx_races") else { return };
    let case = folder.join(name);
    let verdict = std::fs::read_to_string(case.join("verdict.json")).expect("verdict.json");
    let verdict: serde_json::Value = serde_json::from_str(&verdict).expect("verdict.json is JSON");
    let mut wanted = vec![verdict["kind"].as_str().expect("a kind").to_string()];
    wanted.extend(
        verdict["accept"].as_array().into_iter().flatten().filter_map(|k| k.as_str().map(str::to_string)),
    );
    for seed in 0..10 {
        let (report, _out) = run(&case, Options { sanitize: true, seed, ..Options::default() });
        let kinds: Vec<&str> = report.findings.iter().map(|f| f.kind.name()).collect();
        assert!(
            kinds.iter().any(|k| wanted.iter().any(|w| w == k)),
            "{name}, seed {seed}: found {kinds:?}, wanted {wanted:?}"
        );
    }
}

#[test]
fn a_wait_for_too_few_groups_is_found() {
    broken("mma16816_wait_group_2");
}

#[test]
fn a_missing_barrier_is_found() {
    broken("reduce_no_barrier");
}

#[test]
fn a_transaction_that_never_comes_is_found() {
    broken("gemm_tma_host_expect_tx_doubled");
}

#[test]
fn a_missing_proxy_fence_is_found() {
    broken("gemm_tma_host_no_proxy_fence");
}
