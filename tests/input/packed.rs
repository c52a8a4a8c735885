//! Weights packed once and read many times, from outside: what `pack` writes, what `run` takes, and what both refuse.

use super::kit::{Folder, fails, fine, text, tilewright};
use serde_json::Value;
use tilewright_compiler::tile::ElemType;
use tilewright_runtime::tensor::{HostTensor, SafeFile, load, store};

const QGEMM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dsl_examples/qgemm.tw");

/// A folder with the weights `w.npy`: every code of the type, as far as there is room.
fn weights<const N: usize>(ty: &str, shape: [usize; N]) -> (Folder, HostTensor) {
    let folder = Folder::new();
    let elem = ElemType::from_name(ty).expect("a type");
    let codes = |at: usize| (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40 & ((1 << elem.bits()) - 1);
    let tensor = HostTensor::from_codes(elem, &shape, codes).expect("a tensor");
    store(&tensor, &folder.path("w.npy")).expect("written");
    (folder, tensor)
}

#[test]
fn weights_are_packed_once_and_read_as_they_are() {
    for (ty, bits, shape) in [("u4", 4, [128, 128]), ("i3", 3, [256, 64]), ("e3m2", 6, [128, 192])] {
        let (folder, tensor) = weights(ty, shape);
        let (w, packed, back) = (folder.arg("w.npy"), folder.arg("p.safetensors"), folder.arg("back.npy"));
        let sets = format!("W={ty},G=32,BM=16,BN=64,BK=32,warps=(1,2)");
        let said =
            fine(&["pack", QGEMM, "--set", &sets, "--arg", &format!("w={w}"), "-o", &packed, "--json"]);
        let report: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(report["packed"][0]["bits_per_weight"], f64::from(bits), "{said}");
        assert_eq!(report["packed"][0]["bytes"], shape[0] * shape[1] * bits as usize / 8);

        // The recipe is the one that `meta` tells.
        let meta = fine(&["compile", QGEMM, "--set", &sets, "--emit", "meta"]);
        let meta: Value = serde_json::from_str(&meta).expect("JSON");
        assert_eq!(
            meta["launches"][0]["variants"][0]["packed"][0]["hash"], report["packed"][0]["hash"],
            "{said}"
        );

        // Another M needs no other file, and the type follows from it.
        let (from, y) = (format!("w={packed}:w"), folder.arg("y.npy"));
        let pins = "G=32,BM=16,BN=64,BK=32,warps=(1,2)";
        let run = ["run", QGEMM, "--device", "cpu", "--set", pins, "--dim", "M=3", "--check", "--out"];
        let said = fine(&[&run[..], &[&format!("y={y}"), "--arg", &from]].concat());
        assert!(said.contains(&format!("w {ty}{shape:?}")) && said.contains("y: right"), "{said}");
        // The same result as from logical values, and in the program's meaning.
        let (logical, other) = (format!("w={w}"), folder.arg("other.npy"));
        fine(&[&run[..], &[&format!("y={other}"), "--arg", &logical, "--set", &format!("W={ty}")]].concat());
        assert_eq!(
            load(y.as_ref(), ElemType::F16).expect("y"),
            load(other.as_ref(), ElemType::F16).expect("y")
        );
        fine(&["run", QGEMM, "--device", "eval", "--set", pins, "--arg", &from]);

        fine(&["pack", "--unpack", &packed, "-o", &back]);
        assert_eq!(load(back.as_ref(), tensor.elem()).expect("unpacked"), tensor);
        // From a packed file to another schedule.
        let (again, set) = (folder.arg("again.safetensors"), format!("W={ty},BN=128,BK=64"));
        fine(&["pack", QGEMM, "--set", &set, "--arg", &from, "-o", &again]);
        fine(&["pack", "--unpack", &format!("{again}:w"), "-o", &back]);
        assert_eq!(load(back.as_ref(), tensor.elem()).expect("unpacked"), tensor);
    }
}

/// Matrices side by side, whose edges are filled up each for itself.
#[test]
fn experts_are_packed_one_after_the_other() {
    let (folder, tensor) = weights("i4", [3, 70, 40]);
    let source = folder.file(
        "experts.tw",
        "kernel experts(x: f16[M, K], packed w: i4[E, N, K], out y: f32[E, M, N]) {
             tune BM in {16}, BN in {64}, BK in {32};
             grid e over E, i over M by BM, j over N by BN;
             let mut acc: f32[i, j] = 0;
             for k over K by BK { acc += x[i, k] @ (w[e, j, k] as f16).T; }
             y[e, i, j] = acc;
         }",
    );
    let (w, packed, back) = (folder.arg("w.npy"), folder.arg("p.safetensors"), folder.arg("back.npy"));
    let said = fine(&["pack", &source, "--arg", &format!("w={w}"), "-o", &packed]);
    assert!(said.contains("w: i4[3, 70, 40] in 12288 bytes"), "{said}");
    let from = format!("w={packed}:w");
    let said =
        fine(&["run", &source, "--device", "cpu", "--dim", "M=5", "--check", "--sanitize", "--arg", &from]);
    assert!(said.contains("y: right"), "{said}");
    fine(&["pack", "--unpack", &packed, "-o", &back]);
    assert_eq!(load(back.as_ref(), tensor.elem()).expect("unpacked"), tensor);
}

#[test]
fn a_saved_launch_has_the_packed_bytes() {
    let (folder, _) = weights("u4", [64, 64]);
    let (packed, saved) = (folder.arg("p.safetensors"), folder.arg("saved"));
    let sets = "G=32,BM=16,BN=64,BK=32,warps=(1,1)";
    fine(&["pack", QGEMM, "--set", sets, "--arg", &format!("w={}", folder.arg("w.npy")), "-o", &packed]);
    fine(&[
        "run",
        QGEMM,
        "--device",
        "cpu",
        "--set",
        sets,
        "--arg",
        &format!("w={packed}"),
        "--save-launch",
        &saved,
    ]);
    let (_, array) = SafeFile::open(packed.as_ref()).expect("a file").tensor(None).expect("w");
    let stored = load(&folder.path("saved/w.npy"), ElemType::Uint(8)).expect("the saved bytes");
    assert_eq!(stored.bytes(), array.bytes);
}

#[test]
fn what_is_packed_otherwise_is_refused_with_what_to_write() {
    let (folder, _) = weights("u4", [128, 128]);
    let (w, packed) = (format!("w={}", folder.arg("w.npy")), folder.arg("p.safetensors"));
    let from = format!("w={packed}");
    fine(&["pack", QGEMM, "--set", "BM=16,BN=128,BK=64,warps=(1,4)", "--arg", &w, "-o", &packed]);
    let run = |sets: &str| {
        let said = fails(1, &["run", QGEMM, "--device", "cpu", "--set", sets, "--arg", &from]);
        said.replace(&packed, "p.safetensors").replace(&folder.arg("p"), "p").replace(QGEMM, "qgemm.tw")
    };
    let said = run("BM=16,BN=64,BK=64,warps=(1,4)");
    for part in [
        "w: p.safetensors is packed for another schedule: its tiles are 128x64, not 64x64 (its recipe is ",
        "help: run as it was packed for (qgemm on sm_80), with --set 'BN=128', or pack for this schedule: tilewright pack qgemm.tw ",
        "--target sm_80 --set 'BM=16,BN=64,BK=64,warps=(1,4)",
        "--arg w=p.safetensors -o p-2.safetensors",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(run("BM=16,BN=128,BK=64,warps=(1,2)").contains("its tiles are for 4 warps, not 2"));
    // As the first hint says.
    fine(&[
        "run",
        QGEMM,
        "--device",
        "cpu",
        "--set",
        "BN=128,BK=64,warps=(1,4)",
        "--dim",
        "M=5",
        "--arg",
        &from,
    ]);
    assert!(run("W=u3").contains("w has elements of type u3"));
}

#[test]
fn damaged_and_unfit_files_are_errors() {
    let (folder, _) = weights("u4", [64, 64]);
    let (w, packed) = (format!("w={}", folder.arg("w.npy")), folder.arg("p.safetensors"));
    fine(&["pack", QGEMM, "--arg", &w, "-o", &packed]);
    let whole = std::fs::read(&packed).expect("written");
    let changed = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = whole.windows(from.len()).position(|w| w == from.as_bytes()).expect(from);
        let mut file = whole.clone();
        file[at..at + from.len()].copy_from_slice(to.as_bytes());
        file
    };
    let shape = "\\\"shape\\\":[64,64]";
    for (name, bytes, expected) in [
        ("cut", whole[..whole.len() - 1].to_vec(), "the file is cut off or damaged"),
        ("other", changed(shape, "\\\"shape\\\":[64,99]"), "the file is damaged"),
        ("absurd", changed(shape, "\\\"shape\\\":[9e9,9]"), "`shape` is no list of numbers"),
        ("format", changed("\\\"format\\\":1", "\\\"format\\\":7"), "format 7"),
        ("hash", changed("\\\"hash\\\":\\\"", "\\\"hush\\\":\\\""), "its hash is not that of the storage"),
        ("type", changed("\\\"type\\\":\\\"u4", "\\\"type\\\":\\\"x4"), "no type of at most 8 bits"),
    ] {
        let path = folder.file(&format!("{name}.safetensors"), bytes);
        let said = fails(1, &["run", QGEMM, "--device", "cpu", "--arg", &format!("w={path}")]);
        assert!(said.contains(expected), "{name}: {said}");
    }
    let out = folder.arg("x.safetensors");
    let gemm = super::kit::GEMM;
    for (status, args, expected) in [
        (1, vec!["pack", QGEMM, "-o", &out], "no weights are given"),
        (1, vec!["pack", gemm, "-o", &out], "no `packed` parameter"),
        (2, vec!["pack", QGEMM, "--arg", &w, "-o", "x.npy"], "are written as PATH.safetensors"),
        (2, vec!["pack", "--unpack", "x.bin", "-o", "x.npy"], "a packed file is wanted"),
        (2, vec!["pack", "--unpack", &packed, "--dim", "M=3", "-o", "x.npy"], "no meaning with --unpack"),
    ] {
        let output = tilewright(&args);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(status) && said.contains(expected), "{args:?}: {said}");
    }
    let plain = folder.arg("w.npy");
    assert!(fails(1, &["pack", "--unpack", &plain, "-o", &out]).contains("is not packed"));
}
