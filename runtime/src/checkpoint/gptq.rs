//! GPTQ, as AutoGPTQ and GPTQModel store it.
//!
//! A column of `qweight` is the codes of one output channel along k, as a stream of bits from the lowest bit of the first word on; with 3 bits a
//! code may begin in one word and end in the next. `qzeros` is the same along N, for each group. Format 1 stores a zero point less one,
//! modulo 2^bits, so that 0 is stored as all ones; format 2 stores it as it is. `g_idx` names each k's group; without act-order it is
//! k / G, and may be absent.

use ::safetensors::tensor::Dtype;

use super::{ActOrder, Checkpoint, Format, ImportError, Matrix, Module, bias, matrix, scales, whole};
use crate::tensor::SafeArray;

/// Code `at` of a stream whose word `i` is `word(i)`.
fn code(word: impl Fn(usize) -> u32, at: usize, bits: usize) -> u32 {
    let (first, shift) = (at * bits / 32, at * bits % 32);
    let mut value = word(first) >> shift;
    if shift + bits > 32 {
        value |= word(first + 1) << (32 - shift);
    }
    value & ((1 << bits) - 1)
}

/// Reads a module.
pub fn import(
    from: &mut Checkpoint,
    module: &str,
    format: Format,
    act_order: ActOrder,
) -> Result<Module, ImportError> {
    let ints = [Dtype::I32, Dtype::U32];
    let qweight = matrix(from, module, ".qweight", &ints)?;
    let qzeros = matrix(from, module, ".qzeros", &ints)?;
    let scale = matrix(from, module, ".scales", &[Dtype::F16, Dtype::BF16, Dtype::F32])?;
    let (groups, n) = (scale.rows, scale.cols);
    let bits = bits(from, &qweight, &qzeros, &scale)?;
    let k = qweight.rows * 32 / bits;
    if qweight.cols != n || n == 0 || groups == 0 || k == 0 {
        let reason =
            format!("its shape [{}, {}] does not fit scales [{groups}, {n}]", qweight.rows, qweight.cols);
        return Err(from.wrong(
            &qweight.tensor,
            reason,
            "GPTQ has qweight [K * bits / 32, N] and scales [K / G, N]",
        ));
    }
    let (index, group) = groups_of(from, module, k, groups)?;
    let ordered = index.iter().enumerate().all(|(k, g)| k / group == *g);
    let mut notes = Vec::new();
    // The order in which weights leave: k of each.
    let mut order: Vec<usize> = (0..k).collect();
    let mut tensors = Vec::new();
    let ints = |values: Vec<usize>| SafeArray {
        dtype: Dtype::I32,
        shape: vec![values.len()],
        bytes: values.iter().flat_map(|v| (*v as i32).to_le_bytes()).collect(),
    };
    if !ordered {
        match act_order {
            ActOrder::Keep => {
                notes.push("its groups are out of order (act-order): index scales and zero points by g[k], or import with --act-order permute".into());
                tensors.push(("g", ints(index.clone())));
            }
            ActOrder::Permute => {
                order.sort_by_key(|k| index[*k]);
                let even = order.iter().enumerate().all(|(at, k)| at / group == index[*k]);
                if !even {
                    let reason = format!("its groups have different sizes, not {group} each");
                    return Err(from.wrong(
                        &format!("{module}.g_idx"),
                        reason,
                        "import with --act-order keep",
                    ));
                }
                notes.push("its weights are sorted by group (act-order): give x with its columns in the order of perm".into());
                tensors.push(("perm", ints(order.clone())));
            }
        }
    }
    let words = qweight.words();
    let mut w = Vec::with_capacity(n * k);
    for column in 0..n {
        w.extend(order.iter().map(|k| code(|i| words[i * n + column], *k, bits) as u8));
    }
    let w = SafeArray { dtype: Dtype::U8, shape: vec![n, k], bytes: w };
    let words = qzeros.words();
    let zero = |g: usize, column: usize| {
        let stored = code(|i| words[g * qzeros.cols + i], column, bits);
        if format == Format::Gptq { (stored + 1) & ((1 << bits) - 1) } else { stored }
    };
    let z = whole(
        [n, groups],
        (0..n).flat_map(|column| (0..groups).map(move |g| (g, column))).map(|(g, c)| zero(g, c)),
    );
    let s = scales(from, &scale)?;
    tensors.splice(0..0, [("w", w), ("s", s), ("z", z)]);
    bias(from, module, &mut tensors)?;
    Ok(Module {
        name: module.into(),
        format,
        weight: format!("u{bits}"),
        shape: [n, k],
        group,
        notes,
        tensors,
    })
}

/// Bits of a code: what zero points and the configuration say.
fn bits(from: &Checkpoint, qweight: &Matrix, qzeros: &Matrix, scale: &Matrix) -> Result<usize, ImportError> {
    let refuse = |tensor: &str, reason: String| {
        Err(from.wrong(
            tensor,
            reason,
            "GPTQ has 2, 3, 4 or 8 bits, qzeros [K / G, N * bits / 32], qweight [K * bits / 32, N]",
        ))
    };
    let fits = |bits: &usize| scale.cols.checked_mul(*bits) == qzeros.cols.checked_mul(32);
    let Some(bits) = [2, 3, 4, 8].into_iter().find(fits).filter(|_| qzeros.rows == scale.rows) else {
        let reason = format!(
            "its shape [{}, {}] does not fit scales [{}, {}] for any number of bits",
            qzeros.rows, qzeros.cols, scale.rows, scale.cols
        );
        return refuse(&qzeros.tensor, reason);
    };
    if let Some(said) = from.configured("bits").filter(|said| *said != bits) {
        return refuse(
            &qzeros.tensor,
            format!("its shape is that of {bits} bits, but config.json says {said}"),
        );
    }
    if qweight.rows.checked_mul(32).is_none_or(|total| total % bits != 0) {
        return refuse(
            &qweight.tensor,
            format!("its {} rows hold no whole number of codes of {bits} bits", qweight.rows),
        );
    }
    Ok(bits)
}

/// Each k's group, and how many k a group has.
fn groups_of(
    from: &mut Checkpoint,
    module: &str,
    k: usize,
    groups: usize,
) -> Result<(Vec<usize>, usize), ImportError> {
    let name = format!("{module}.g_idx");
    let group = k.div_ceil(groups);
    if !from.has(&name) {
        if !k.is_multiple_of(groups) {
            let reason =
                format!("its {k} weights are not divided evenly by {groups} groups, and there is no g_idx");
            return Err(from.wrong(&format!("{module}.qweight"), reason, "scales are [K / G, N]"));
        }
        return Ok(((0..k).map(|k| k / group).collect(), group));
    }
    let array = from.tensor(&name)?;
    let refuse = |reason: String| Err(from.wrong(&name, reason, "g_idx is an I32 [K] of groups"));
    if array.dtype != Dtype::I32 || array.shape != [k] {
        return refuse(format!("it is {} {:?}, but there are {k} weights along k", array.dtype, array.shape));
    }
    let mut index = Vec::with_capacity(k);
    for (at, b) in array.bytes.chunks_exact(4).enumerate() {
        let g = i32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        match usize::try_from(g).ok().filter(|g| *g < groups) {
            Some(g) => index.push(g),
            None => return refuse(format!("it names group {g} at [{at}], and there are {groups}")),
        }
    }
    Ok((index, group))
}
