//! Checkpoints of other tools, from outside: small ones are made here bit by bit as their formats say, imported, run, and compared with weights
//! dequantised here.

use super::kit::{Folder, fails, fine};
use serde_json::json;
use tilewright_compiler::tile::ElemType;
use tilewright_runtime::tensor::{FilePlace, HostTensor};

const QGEMM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dsl_examples/qgemm.tw");

/// A `.safetensors` file from names, types, shapes and bytes.
fn safetensors(tensors: &[(&str, &str, &[usize], Vec<u8>)]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut at = 0;
    for (name, dtype, shape, bytes) in tensors {
        header.insert(
            (*name).into(),
            json!({"dtype": dtype, "shape": shape, "data_offsets": [at, at + bytes.len()]}),
        );
        at += bytes.len();
    }
    let header = json!(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    tensors.iter().for_each(|(_, _, _, bytes)| file.extend(bytes));
    file
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// Numbers as f16, which holds those of these tests.
fn halves(values: &[f64]) -> Vec<u8> {
    let tensor = HostTensor::from_f64(ElemType::F16, &[values.len()], values).expect("a tensor");
    tensor.bytes().to_vec()
}

fn read(path: &str, name: &str, elem: &str) -> HostTensor {
    let place = FilePlace::parse(&format!("{path}:{name}")).expect("a place").expect("a place");
    let elem = ElemType::from_name(elem).expect("a type");
    place.tensor(&place.read().expect("read"), elem).expect("a tensor")
}

/// A pseudo-random number below `most`.
fn number(seed: usize, most: usize) -> usize {
    (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % most
}

/// Sets `bits` bits of a stream of 32-bit words, bit by bit.
fn put(words: &mut [u32], stride: usize, at: usize, bits: usize, value: usize) {
    for b in 0..bits {
        let bit = at * bits + b;
        words[bit / 32 * stride] |= ((value >> b & 1) as u32) << (bit % 32);
    }
}

const K: usize = 128;
const N: usize = 64;
const GROUP: usize = 32;

fn code(k: usize, n: usize, bits: usize) -> usize {
    number(k * N + n + 7, 1 << bits)
}

/// Zero points reach both ends: 0 is the one that format 1 stores as all ones.
fn zero(g: usize, n: usize, bits: usize) -> usize {
    match n {
        0 => 0,
        1 => (1 << bits) - 1,
        _ => number(g * N + n + 99, 1 << bits),
    }
}

fn scale(g: usize, n: usize) -> f64 {
    (1 + number(g * N + n + 5, 31)) as f64 / 64.0
}

/// Group of each k; with act-order every group has its k anywhere.
fn group_of(k: usize, act_order: bool) -> usize {
    if act_order { (k * 5 % K) / GROUP } else { k / GROUP }
}

fn gptq(bits: usize, v1: bool, act_order: bool, with_index: bool) -> Vec<u8> {
    let groups = K / GROUP;
    let mut qweight = vec![0; K * bits / 32 * N];
    for k in 0..K {
        for n in 0..N {
            put(&mut qweight[n..], N, k, bits, code(k, n, bits));
        }
    }
    let across = N * bits / 32;
    let mut qzeros = vec![0; groups * across];
    for g in 0..groups {
        for n in 0..N {
            let stored =
                if v1 { (zero(g, n, bits) + (1 << bits) - 1) % (1 << bits) } else { zero(g, n, bits) };
            put(&mut qzeros[g * across..], 1, n, bits, stored);
        }
    }
    let scales: Vec<f64> = (0..groups).flat_map(|g| (0..N).map(move |n| scale(g, n))).collect();
    let index: Vec<u32> = (0..K).map(|k| group_of(k, act_order) as u32).collect();
    let mut tensors: Vec<(&str, &str, &[usize], Vec<u8>)> = Vec::new();
    let (weight_shape, zero_shape) = ([K * bits / 32, N], [groups, across]);
    tensors.push(("m.q.qweight", "I32", &weight_shape, words(&qweight)));
    tensors.push(("m.q.qzeros", "I32", &zero_shape, words(&qzeros)));
    tensors.push(("m.q.scales", "F16", &[K / GROUP, N], halves(&scales)));
    tensors.push(("m.q.bias", "F16", &[N], halves(&[0.5; N])));
    if with_index {
        tensors.push(("m.q.g_idx", "I32", &[K], words(&index)));
    }
    safetensors(&tensors)
}

/// (w - z) * s of the imported tensors, by (n, k).
fn dequantised(path: &str, weight: &str) -> Vec<f64> {
    let [w, s, z] =
        [("w", weight), ("s", "f16"), ("z", "f16")].map(|(name, ty)| read(path, &format!("m.q.{name}"), ty));
    assert_eq!((w.shape(), s.shape(), z.shape()), (&[N, K][..], &[N, K / GROUP][..], &[N, K / GROUP][..]));
    let (w, s, z) = (w.to_f64(), s.to_f64(), z.to_f64());
    (0..N * K)
        .map(|at| {
            let group = at / K * (K / GROUP) + at % K / GROUP;
            (w[at] - z[group]) * s[group]
        })
        .collect()
}

fn expected(n: usize, k: usize, bits: usize, act_order: bool) -> f64 {
    let g = group_of(k, act_order);
    (code(k, n, bits) as f64 - zero(g, n, bits) as f64) * scale(g, n)
}

#[test]
fn gptq_of_every_width_and_both_formats() {
    for bits in [2, 3, 4, 8] {
        for (v1, with_index) in [(true, true), (false, false)] {
            let folder = Folder::new();
            let file = folder.file("model.safetensors", gptq(bits, v1, false, with_index));
            let out = folder.arg("out.safetensors");
            if v1 {
                fine(&["import", &file, "-o", &out]);
            } else {
                // What the configuration beside the file says counts, and so does --format.
                let config = json!({"quantization_config": {"quant_method": "gptq", "bits": bits, "checkpoint_format": "gptq_v2"}});
                folder.file("config.json", config.to_string());
                fine(&["import", &folder.arg(""), "-o", &out]);
                std::fs::remove_file(folder.path("config.json")).expect("it was there");
                let other = folder.arg("other.safetensors");
                fine(&["import", &file, "--format", "gptq_v2", "-o", &other]);
                assert_eq!(std::fs::read(&out).expect("out"), std::fs::read(&other).expect("other"));
            }
            let got = dequantised(&out, &format!("u{bits}"));
            for at in 0..N * K {
                assert_eq!(got[at], expected(at / K, at % K, bits, false), "{bits} {v1} {at}");
            }
            assert_eq!(read(&out, "m.q.bias", "f16").to_f64(), [0.5; N]);
        }
    }
}

#[test]
fn act_order_is_kept_or_sorted_away() {
    let folder = Folder::new();
    let file = folder.file("model.safetensors", gptq(4, true, true, true));
    let out = folder.arg("out.safetensors");
    let said = fine(&["import", &file, "--module", "m.q", "-o", &out]);
    assert!(said.contains("m.q: gptq, w u4[64, 128], groups of 32 (.w, .s, .z, .g, .bias)"), "{said}");
    let (w, g) = (read(&out, "m.q.w", "u4").to_i64(), read(&out, "m.q.g", "i32").to_i64());
    let (s, z) = (read(&out, "m.q.s", "f16").to_f64(), read(&out, "m.q.z", "f16").to_f64());
    for (n, k) in (0..N).flat_map(|n| (0..K).map(move |k| (n, k))) {
        let group = n * (K / GROUP) + g[k] as usize;
        assert_eq!((w[n * K + k] as f64 - z[group]) * s[group], expected(n, k, 4, true));
    }

    fine(&["import", &file, "--act-order", "permute", "-o", &out]);
    let perm = read(&out, "m.q.perm", "i32").to_i64();
    let got = dequantised(&out, "u4");
    for (n, at) in (0..N).flat_map(|n| (0..K).map(move |at| (n, at))) {
        assert_eq!(got[n * K + at], expected(n, perm[at] as usize, 4, true));
    }
}

fn awq() -> Vec<u8> {
    const ORDER: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];
    let pack = |value: &dyn Fn(usize, usize) -> usize, rows: usize| -> Vec<u8> {
        let word = |row: usize, c: usize| {
            ORDER
                .iter()
                .enumerate()
                .fold(0u32, |word, (i, o)| word | (value(row, 8 * c + o) as u32) << (4 * i))
        };
        words(&(0..rows).flat_map(|row| (0..N / 8).map(move |c| word(row, c))).collect::<Vec<_>>())
    };
    let scales: Vec<f64> = (0..K / GROUP).flat_map(|g| (0..N).map(move |n| scale(g, n))).collect();
    safetensors(&[
        ("m.q.qweight", "I32", &[K, N / 8], pack(&|k, n| code(k, n, 4), K)),
        ("m.q.qzeros", "I32", &[K / GROUP, N / 8], pack(&|g, n| zero(g, n, 4), K / GROUP)),
        ("m.q.scales", "F16", &[K / GROUP, N], halves(&scales)),
    ])
}

#[test]
fn awq_is_imported_packed_and_run() {
    let folder = Folder::new();
    let file = folder.file("model.safetensors", awq());
    // By an index, as large checkpoints come.
    let index =
        json!({"weight_map": {"m.q.qweight": "model.safetensors", "m.q.scales": "model.safetensors"}});
    let index = folder.file("model.safetensors.index.json", index.to_string());
    let (out, packed) = (folder.arg("out.safetensors"), folder.arg("packed.safetensors"));
    let said = fine(&["import", &index, "-o", &out]);
    assert!(said.contains("m.q: awq, w u4[64, 128], groups of 32"), "{said}");
    let got = dequantised(&out, "u4");
    for at in 0..N * K {
        assert_eq!(got[at], expected(at / K, at % K, 4, false));
    }
    let arg = |name: &str| format!("{name}={out}:m.q.{name}");
    let sets = "G=32,BM=16,BN=64,BK=32,warps=(1,2)";
    fine(&["pack", QGEMM, "--set", sets, "--arg", &arg("w"), "-o", &packed]);
    let (w, y, x) = (format!("w={packed}:w"), format!("y={}", folder.arg("y.npy")), folder.arg("x.npy"));
    let ones = HostTensor::from_f64(ElemType::F16, &[2, K], &[1.0; 2 * K]).expect("x");
    tilewright_runtime::tensor::store(&ones, x.as_ref()).expect("written");
    let x = format!("x={x}");
    fine(&[
        "run",
        QGEMM,
        "--device",
        "cpu",
        "--check",
        "--set",
        sets,
        "--arg",
        &w,
        "--arg",
        &arg("s"),
        "--arg",
        &arg("z"),
        "--arg",
        &x,
        "--out",
        &y,
    ]);
    let y =
        tilewright_runtime::tensor::load(folder.path("y.npy").as_ref(), ElemType::F16).expect("y").to_f64();
    for n in 0..N {
        let sum: f64 = (0..K).map(|k| expected(n, k, 4, false)).sum();
        assert!((y[n] - sum).abs() <= 0.5 + 2e-3 * sum.abs(), "{n}: {} and {sum}", y[n]);
    }
    let _ = file;
}

#[test]
fn mxfp4_and_nvfp4_blocks() {
    let folder = Folder::new();
    let (experts, groups) = (2, K / 32);
    let byte = |at: usize| number(at, 256) as u8;
    let blocks: Vec<u8> = (0..experts * N * groups * 16).map(byte).collect();
    let scales: Vec<u8> = (0..experts * N * groups).map(|at| 120 + number(at, 12) as u8).collect();
    let file = safetensors(&[
        ("e.up_blocks", "U8", &[experts, N, groups, 16], blocks.clone()),
        ("e.up_scales", "U8", &[experts, N, groups], scales.clone()),
    ]);
    let (file, out) = (folder.file("mx.safetensors", file), folder.arg("out.safetensors"));
    fine(&["import", &file, "-o", &out]);
    // Of e2m1, by hand.
    let value = |code: u8| {
        let magnitude = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0][usize::from(code & 7)];
        if code & 8 == 0 { magnitude } else { -magnitude }
    };
    for expert in 0..experts {
        let w = read(&out, &format!("e.up.{expert}.w"), "e2m1").to_f64();
        let e = read(&out, &format!("e.up.{expert}.e"), "e8m0").to_f64();
        for at in 0..N * K {
            let all = expert * N * K + at;
            let byte = blocks[all / 2];
            let code = if all.is_multiple_of(2) { byte & 15 } else { byte >> 4 };
            assert_eq!(
                w[at] * e[at / 32],
                value(code) * (f64::from(scales[all / 32]) - 127.0).exp2(),
                "{at}"
            );
        }
    }

    let (bytes, one) = ((0..N * K / 2).map(byte).collect::<Vec<u8>>(), vec![0x38; N * K / 16]);
    for (names, stored, want) in [
        (["a.weight", "a.weight_scale", "a.weight_scale_2"], 0.25f32, 0.25),
        (["a.weight_packed", "a.weight_scale", "a.weight_global_scale"], 4.0, 0.25),
    ] {
        let file = safetensors(&[
            (names[0], "U8", &[N, K / 2], bytes.clone()),
            (names[1], "F8_E4M3", &[N, K / 16], one.clone()),
            (names[2], "F32", &[1], stored.to_le_bytes().to_vec()),
        ]);
        let file = folder.file("nv.safetensors", file);
        fine(&["import", &file, "-o", &out]);
        let w = read(&out, "a.w", "e2m1").to_f64();
        assert!(
            (0..N * K)
                .all(|at| w[at] == value(if at % 2 == 0 { bytes[at / 2] & 15 } else { bytes[at / 2] >> 4 }))
        );
        assert_eq!(read(&out, "a.e", "e4m3").to_f64()[5], 1.0);
        assert_eq!(read(&out, "a.scale", "f32").to_f64(), [want]);
    }
}

#[test]
fn what_is_wrong_is_said_with_file_tensor_reason_and_hint() {
    let folder = Folder::new();
    let ints = |n: usize| words(&vec![0; n]);
    let scales = || halves(&[1.0; 4 * 64]);
    let whole = gptq(4, true, false, true);
    let zeros: (&str, &str, &[usize], Vec<u8>) = ("q.qzeros", "I32", &[4, 8], ints(32));
    let weight: (&str, &str, &[usize], Vec<u8>) = ("q.qweight", "I32", &[16, 64], ints(16 * 64));
    let scale: (&str, &str, &[usize], Vec<u8>) = ("q.scales", "F16", &[4, 64], scales());
    let index = |values: &[u32], len: usize| -> Vec<u8> {
        words(&values.iter().copied().cycle().take(len).collect::<Vec<_>>())
    };
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("missing", safetensors(&[weight.clone(), scale.clone()]), "q.qzeros: there is no such tensor"),
        (
            "scales",
            safetensors(std::slice::from_ref(&weight)),
            "q: it has quantised weights, but not what tells their format",
        ),
        (
            "type",
            safetensors(&[weight.clone(), ("q.qzeros", "F32", &[4, 8], ints(32)), scale.clone()]),
            "q.qzeros: it has type F32, not I32 or U32",
        ),
        (
            "rank",
            safetensors(&[weight.clone(), ("q.qzeros", "I32", &[32], ints(32)), scale.clone()]),
            "q.qzeros: it has shape [32], not two dimensions",
        ),
        (
            "bits",
            safetensors(&[weight.clone(), ("q.qzeros", "I32", &[4, 10], ints(40)), scale.clone()]),
            "does not fit scales [4, 64] for any number of bits",
        ),
        (
            "groups",
            safetensors(&[
                weight.clone(),
                ("q.qzeros", "I32", &[5, 8], ints(40)),
                ("q.scales", "F16", &[5, 64], halves(&[1.0; 320])),
            ]),
            "not divided evenly by 5 groups",
        ),
        (
            "index",
            safetensors(&[
                weight.clone(),
                zeros.clone(),
                scale.clone(),
                ("q.g_idx", "I32", &[128], index(&[0, 1, 9], 128)),
            ]),
            "q.g_idx: it names group 9 at [2], and there are 4",
        ),
        (
            "negative",
            safetensors(&[
                weight.clone(),
                zeros.clone(),
                scale.clone(),
                ("q.g_idx", "I32", &[128], index(&[u32::MAX], 128)),
            ]),
            "q.g_idx: it names group -1",
        ),
        (
            "short",
            safetensors(&[
                weight.clone(),
                zeros.clone(),
                scale.clone(),
                ("q.g_idx", "I32", &[64], index(&[0], 64)),
            ]),
            "but there are 128 weights along k",
        ),
        (
            "infinite",
            safetensors(&[
                weight.clone(),
                zeros.clone(),
                ("q.scales", "F32", &[4, 64], words(&[0x7f00_0000; 256])),
            ]),
            "q.scales: the scale at [0, 0] is no finite number",
        ),
        (
            "columns",
            safetensors(&[("q.qweight", "I32", &[16, 60], ints(960)), zeros.clone(), scale.clone()]),
            "neither GPTQ (as many) nor AWQ (an eighth)",
        ),
        (
            "awq",
            safetensors(&[("q.qweight", "I32", &[30, 8], ints(240)), zeros.clone(), scale.clone()]),
            "its 30 rows are not divided evenly by 4 groups",
        ),
        (
            "empty",
            safetensors(&[
                ("q.qweight", "I32", &[0, 0], vec![]),
                ("q.qzeros", "I32", &[0, 0], vec![]),
                ("q.scales", "F16", &[0, 0], vec![]),
            ]),
            "does not fit scales [0, 0]",
        ),
        (
            "blocks",
            safetensors(&[
                ("q_blocks", "U8", &[4, 2, 15], vec![0; 120]),
                ("q_scales", "U8", &[4, 2], vec![0; 8]),
            ]),
            "q_blocks: its shape [4, 2, 15] does not fit scales [4, 2]",
        ),
        (
            "scales",
            safetensors(&[("q_blocks", "U8", &[16], vec![0; 16]), ("q_scales", "U8", &[], vec![0])]),
            "q_scales: it has shape []",
        ),
        (
            "global",
            safetensors(&[
                ("q.weight_packed", "U8", &[2, 16], vec![0; 32]),
                ("q.weight_scale", "F8_E4M3", &[2, 2], vec![0; 4]),
                ("q.weight_global_scale", "F32", &[1], vec![0; 4]),
            ]),
            "0 is no scale",
        ),
        ("plain", safetensors(&[("a", "U8", &[4], vec![0; 4])]), "has no quantised weights"),
        ("cut", whole[..whole.len() - 9].to_vec(), "the file is cut off or damaged"),
    ];
    let out = folder.arg("out.safetensors");
    for (name, bytes, expected) in cases {
        let path = folder.file(&format!("{name}.safetensors"), bytes);
        let said = fails(1, &["import", &path, "-o", &out]);
        assert!(said.contains(expected) && said.contains(&format!("{name}.safetensors")), "{name}: {said}");
        assert!(said.contains("help: ") || name == "cut", "{name}: {said}");
        assert!(!folder.path("out.safetensors").exists(), "{name}");
    }
    let path = folder.file("whole.safetensors", whole);
    assert!(fails(1, &["import", &path, "--module", "m.k", "-o", &out]).contains("did you mean m.q?"));
    assert!(
        fails(1, &["import", &path, "--format", "awq", "-o", &out]).contains("AWQ has qweight [K, N / 8]")
    );
    for map in
        [json!({"weight_map": {"a": "../whole.safetensors"}}), json!({"weight_map": {"a": 3}}), json!([])]
    {
        let index = folder.file("index.json", map.to_string());
        fails(1, &["import", &index, "-o", &out]);
    }
    fails(1, &["import", &folder.arg("none"), "-o", &out]);
    fails(2, &["import", &path, "-o", "x.npy"]);
}
