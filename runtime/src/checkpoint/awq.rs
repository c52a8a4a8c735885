//! AWQ, as AutoAWQ's GEMM version stores it: 4 bits, nibbles of a word in the order 0, 2, 4, 6, 1, 3, 5, 7 of eight neighbours along N.
//!
//! `qweight` is [K, N / 8] and `qzeros` [K / G, N / 8], both with that order; zero points are stored as they are. `scales` is [K / G, N].

use ::safetensors::tensor::Dtype;

use super::{Checkpoint, Format, ImportError, Matrix, Module, bias, matrix, scales, whole};
use crate::tensor::SafeArray;

/// Which nibble of a word is column c of its eight: the inverse of 0, 2, 4, 6, 1, 3, 5, 7.
const NIBBLE: [u32; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

fn code(words: &[u32], matrix: &Matrix, row: usize, column: usize) -> u32 {
    words[row * matrix.cols + column / 8] >> (4 * NIBBLE[column % 8]) & 15
}

/// Reads a module.
pub fn import(from: &mut Checkpoint, module: &str) -> Result<Module, ImportError> {
    let ints = [Dtype::I32, Dtype::U32];
    let qweight = matrix(from, module, ".qweight", &ints)?;
    let qzeros = matrix(from, module, ".qzeros", &ints)?;
    let scale = matrix(from, module, ".scales", &[Dtype::F16, Dtype::BF16, Dtype::F32])?;
    let (k, groups, n) = (qweight.rows, scale.rows, scale.cols);
    for (m, rows) in [(&qweight, k), (&qzeros, groups)] {
        if m.cols.checked_mul(8) != Some(n) || m.rows != rows {
            let reason = format!("its shape [{}, {}] does not fit scales [{groups}, {n}]", m.rows, m.cols);
            let hint = "AWQ has qweight [K, N / 8], qzeros [K / G, N / 8] and scales [K / G, N], of 4 bits";
            return Err(from.wrong(&m.tensor, reason, hint));
        }
    }
    if groups == 0 || n == 0 || k == 0 || k % groups != 0 {
        let reason = format!("its {k} rows are not divided evenly by {groups} groups");
        return Err(from.wrong(&qweight.tensor, reason, "AWQ's scales are [K / G, N]"));
    }
    if let Some(said) = from.configured("bits").or(from.configured("w_bit")).filter(|said| *said != 4) {
        return Err(from.wrong(&qweight.tensor, format!("config.json says {said} bits"), "AWQ has 4 bits"));
    }
    let words = qweight.words();
    let mut w = Vec::with_capacity(n * k);
    for column in 0..n {
        w.extend((0..k).map(|row| code(&words, &qweight, row, column) as u8));
    }
    let words = qzeros.words();
    let places = (0..n).flat_map(|column| (0..groups).map(move |g| (g, column)));
    let mut tensors = vec![
        ("w", SafeArray { dtype: Dtype::U8, shape: vec![n, k], bytes: w }),
        ("s", scales(from, &scale)?),
        ("z", whole([n, groups], places.map(|(g, column)| code(&words, &qzeros, g, column)))),
    ];
    bias(from, module, &mut tensors)?;
    let (name, weight) = (module.to_string(), "u4".to_string());
    Ok(Module {
        name,
        format: Format::Awq,
        weight,
        shape: [n, k],
        group: k / groups,
        notes: Vec::new(),
        tensors,
    })
}
