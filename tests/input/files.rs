//! Tensors in files, from outside: both containers, both ways, views, and what is said where a file is not what it should be.

use super::kit::{Folder, GEMM, fails, fine};
use tilewright_compiler::tile::ElemType;
use tilewright_runtime::tensor::{FilePlace, HostTensor, load, store, store_all};

fn place(path: &str) -> FilePlace {
    FilePlace::parse(path).expect("a place").expect("a place")
}

fn tensor(elem: ElemType, shape: &[usize], step: usize) -> HostTensor {
    let values: Vec<f64> =
        (0..shape.iter().product()).map(|i: usize| ((i * step) % 17) as f64 / 8.0 - 1.0).collect();
    HostTensor::from_f64(elem, shape, &values).expect("a small tensor")
}

fn read(path: &str, elem: ElemType) -> HostTensor {
    let place = place(path);
    place.tensor(&place.read().expect("a file"), elem).expect("a tensor")
}

/// A kernel that copies its parameter; `strides` follows the parameter's type.
fn copy(folder: &Folder, strides: &str) -> String {
    let source = format!(
        "kernel copy<T: f16 | bf16 | f32 | e4m3>(x: T[M, N]{strides}, out y: T[M, N]) {{ grid i over M by 16, j over N by 16; y[i, j] = x[i, j]; }}"
    );
    folder.file("copy.tw", source)
}

#[test]
fn weights_come_from_safetensors_and_results_go_there() {
    let folder = Folder::new();
    let bf16 = ElemType::Bf16;
    let (a, b) = (tensor(bf16, &[9, 7], 3), tensor(bf16, &[5, 7], 5));
    let (weights, results) = (folder.arg("w.safetensors"), folder.arg("r.safetensors"));
    let places = [place(&format!("{weights}:layers.0.a")), place(&format!("{weights}:layers.0.b"))];
    store_all([("", &places[0], &a), ("", &places[1], &b)]).expect("written");
    let said = fine(&[
        "run",
        GEMM,
        "--device",
        "eval",
        "--arg",
        &format!("a={weights}:layers.0.a"),
        "--arg",
        &format!("b={weights}:layers.0.b"),
        "--out",
        &format!("c={results}"),
    ]);
    // The type came from the file.
    assert!(said.contains("a bf16[9, 7], b bf16[5, 7] -> c bf16[9, 5]"), "{said}");
    let c = read(&format!("{results}:c"), bf16);
    assert_eq!(c.shape(), [9, 5]);
    let (x, y) = (a.to_f64(), b.to_f64());
    let first: f64 = (0..7).map(|k| x[k] * y[k]).sum();
    assert!((c.to_f64()[0] - first).abs() <= 0.01 * first.abs().max(1.0));
    // The only tensor of a file needs no name, and .npy holds the same.
    let npy = folder.arg("c.npy");
    let source = copy(&folder, "");
    let (x, y) = (format!("x={results}"), format!("y={npy}"));
    fine(&["run", &source, "--device", "eval", "--arg", &x, "--out", &y]);
    assert_eq!(load(npy.as_ref(), bf16).expect("a file"), c);
}

#[test]
fn fp8_keeps_its_type_in_safetensors() {
    let folder = Folder::new();
    let (w, r) = (folder.arg("w.safetensors"), folder.arg("r.safetensors"));
    let x = tensor(ElemType::E4M3, &[3, 5], 3);
    store_all([("x", &place(&w), &x)]).expect("written");
    let source = copy(&folder, "");
    let said = fine(&[
        "run",
        &source,
        "--device",
        "eval",
        "--arg",
        &format!("x={w}"),
        "--out",
        &format!("y={r}:codes"),
    ]);
    assert!(said.contains("x e4m3[3, 5]"), "{said}");
    assert_eq!(read(&format!("{r}:codes"), ElemType::E4M3), x);
}

#[test]
fn views_of_either_container() {
    let folder = Folder::new();
    let x = tensor(ElemType::F16, &[3, 5], 2);
    let (npy, safe) = (folder.arg("x.npy"), folder.arg("x.safetensors"));
    store(&x, npy.as_ref()).expect("written");
    store_all([("x", &place(&safe), &x)]).expect("written");
    let want = x.transposed(&[1, 0]).expect("two axes").to_f64();
    let y = folder.arg("y.npy");
    let source = copy(&folder, " strides(_, _)");
    for from in [
        format!("{npy}:transpose(1,0)"),
        format!("{safe}:x:transpose(1,0)"),
        format!("{safe}:transpose(1,0)"),
    ] {
        fine(&[
            "run",
            &source,
            "--device",
            "eval",
            "--arg",
            &format!("x={from}"),
            "--out",
            &format!("y={y}"),
        ]);
        assert_eq!(load(y.as_ref(), ElemType::F16).expect("a file").to_f64(), want, "{from}");
    }
}

#[test]
fn views_that_the_declaration_does_not_allow() {
    let folder = Folder::new();
    let npy = folder.arg("x.npy");
    store(&tensor(ElemType::F16, &[3, 5], 2), npy.as_ref()).expect("written");
    let x = format!("x={npy}:transpose(1,0)");
    let refused = |strides: &str, x: &str| {
        let source = copy(&folder, strides);
        fails(1, &["run", &source, "--device", "eval", "--arg", x]).replace(&folder.arg(""), "")
    };
    assert_eq!(
        refused("", &x),
        "error: x must be dense row-major, but x.npy:transpose(1,0) has strides [1, 5] for shape [5, 3]; make it contiguous, or declare the parameter with strides(_, _)\n"
    );
    assert_eq!(
        refused(" strides(_, 1)", &x),
        "error: x has stride 1 along axis 1, but x.npy:transpose(1,0) has stride 5 there; make it contiguous, or declare that stride as `_`\n"
    );
    let wrong = format!("x={npy}:transpose(0,2)");
    assert_eq!(
        refused(" strides(_, _)", &wrong),
        "error: x: transpose(0, 2) is not an order of the axes 0..2: name each of them once\n"
    );
}

#[test]
fn fortran_order_is_the_same_array() {
    let folder = Folder::new();
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    let header = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }\n";
    file.extend_from_slice(&(header.len() as u16).to_le_bytes());
    file.extend_from_slice(header.as_bytes());
    // Columns first: [[0, 2, 4], [1, 3, 5]].
    file.extend((0..6).flat_map(|v| (v as f32).to_le_bytes()));
    let (x, y) = (folder.file("x.npy", file), folder.arg("y.npy"));
    for (strides, view, want) in [
        ("", "", [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]),
        (" strides(_, _)", ":transpose(1,0)", [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
    ] {
        let source = copy(&folder, strides);
        fine(&[
            "run",
            &source,
            "--device",
            "eval",
            "--arg",
            &format!("x={x}{view}"),
            "--out",
            &format!("y={y}"),
        ]);
        assert_eq!(load(y.as_ref(), ElemType::F32).expect("a file").to_f64(), want);
    }
}
