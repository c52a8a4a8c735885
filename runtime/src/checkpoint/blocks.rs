//! Floats of 4 bits with block scales: MXFP4 as gpt-oss's checkpoints have it, and NVFP4 as ModelOpt and compressed-tensors store it.
//!
//! Two codes of e2m1 share a byte, the first in its low half. MXFP4: `X_blocks` U8 [.., N, K / 32, 16] and `X_scales` U8 [.., N, K / 32] of e8m0; what
//! stands before N counts experts, and each becomes a module of its own, `X.0`, `X.1`, …. NVFP4: bytes [N, K / 2], e4m3 scales [N, K / 16], and an f32
//! for the tensor, which ModelOpt multiplies by (`weight_scale_2`) and compressed-tensors divides by (`weight_global_scale`).

use ::safetensors::tensor::Dtype;

use super::{Checkpoint, Format, ImportError, Module, bias, matrix};
use crate::tensor::SafeArray;

/// Codes of bytes, the low half first.
fn nibbles(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|b| [b & 15, b >> 4]).collect()
}

/// Reads a tensor and, if it has them, its experts one by one.
pub fn mxfp4(from: &mut Checkpoint, module: &str) -> Result<Vec<Module>, ImportError> {
    let dot = if from.has(&format!("{module}.blocks")) { "." } else { "_" };
    let (b, s) = (format!("{module}{dot}blocks"), format!("{module}{dot}scales"));
    let (blocks, scales) = (from.tensor(&b)?, from.tensor(&s)?);
    let hint = "MXFP4 has U8 blocks [.., N, K / 32, 16] and U8 scales [.., N, K / 32]";
    for (name, array) in [(&b, &blocks), (&s, &scales)] {
        if !matches!(array.dtype, Dtype::U8 | Dtype::F8_E8M0) {
            return Err(from.wrong(name, format!("it has type {}, not U8", array.dtype), hint));
        }
    }
    let Some((&[n, groups], experts)) = scales.shape.split_last_chunk::<2>().map(|(e, last)| (last, e))
    else {
        return Err(from.wrong(&s, format!("it has shape {:?}", scales.shape), hint));
    };
    if blocks.shape.split_last() != Some((&16, &scales.shape[..])) {
        let reason = format!("its shape {:?} does not fit scales {:?}", blocks.shape, scales.shape);
        return Err(from.wrong(&b, reason, hint));
    }
    if n == 0 || groups == 0 {
        return Err(from.wrong(&s, format!("it has shape {:?}: there is nothing in it", scales.shape), hint));
    }
    let count: usize = experts.iter().product();
    let mut modules = Vec::new();
    for expert in 0..count {
        let size = n * groups;
        let w = nibbles(&blocks.bytes[16 * expert * size..16 * (expert + 1) * size]);
        let e = scales.bytes[expert * size..(expert + 1) * size].to_vec();
        modules.push(Module {
            name: if experts.is_empty() { module.into() } else { format!("{module}.{expert}") },
            format: Format::Mxfp4,
            weight: "e2m1".into(),
            shape: [n, 32 * groups],
            group: 32,
            notes: Vec::new(),
            tensors: vec![
                ("w", SafeArray { dtype: Dtype::U8, shape: vec![n, 32 * groups], bytes: w }),
                ("e", SafeArray { dtype: Dtype::F8_E8M0, shape: vec![n, groups], bytes: e }),
            ],
        });
    }
    Ok(modules)
}

/// Reads a module.
pub fn nvfp4(from: &mut Checkpoint, module: &str) -> Result<Module, ImportError> {
    let packed = from.has(&format!("{module}.weight_packed"));
    let (weight, global) =
        if packed { (".weight_packed", ".weight_global_scale") } else { (".weight", ".weight_scale_2") };
    let w = matrix(from, module, weight, &[Dtype::U8])?;
    let e = matrix(from, module, ".weight_scale", &[Dtype::F8_E4M3])?;
    let (n, groups) = (e.rows, e.cols);
    let k = groups.checked_mul(16).filter(|k| w.rows == n && w.cols.checked_mul(2) == Some(*k));
    let Some(k) = k else {
        let reason = format!("its shape [{}, {}] does not fit scales [{n}, {groups}]", w.rows, w.cols);
        return Err(from.wrong(
            &w.tensor,
            reason,
            "NVFP4 has U8 weights [N, K / 2] and E4M3 scales [N, K / 16]",
        ));
    };
    let name = format!("{module}{global}");
    let array = from.tensor(&name)?;
    let value = match (array.dtype, &array.bytes[..]) {
        (Dtype::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
        _ => {
            let reason = format!("it is {} {:?}, not one F32", array.dtype, array.shape);
            return Err(from.wrong(&name, reason, "NVFP4 has one scale for the tensor"));
        }
    };
    let scale = if packed { 1.0 / value } else { value };
    if !scale.is_finite() || scale == 0.0 {
        return Err(from.wrong(
            &name,
            format!("{value} is no scale"),
            "it must be a finite number other than 0",
        ));
    }
    let mut tensors = vec![
        ("w", SafeArray { dtype: Dtype::U8, shape: vec![n, k], bytes: nibbles(&w.array.bytes) }),
        ("e", SafeArray { dtype: Dtype::F8_E4M3, shape: vec![n, groups], bytes: e.array.bytes }),
        ("scale", SafeArray { dtype: Dtype::F32, shape: vec![1], bytes: scale.to_le_bytes().to_vec() }),
    ];
    bias(from, module, &mut tensors)?;
    let notes = vec![format!("the tensor's scale is {scale}: --arg scale={scale}")];
    let (name, weight) = (module.to_string(), "e2m1".to_string());
    Ok(Module { name, format: Format::Nvfp4, weight, shape: [n, k], group: 16, notes, tensors })
}
