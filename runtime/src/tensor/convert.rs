//! Between files and tensors: which type of a file stands for which element type.
//!
//! | element type | in .npy | accepted too | in .safetensors |
//! | --- | --- | --- | --- |
//! | f16, f32, f64; integers of 16 bits and more; bool | itself | | itself |
//! | bf16 | uint16 bits | `<V2` | BF16 |
//! | tf32; index | float32; int64 | | F32; I64 |
//! | e4m3, e5m2, e8m0 | uint8 codes | `V1` | F8_E4M3, F8_E5M2, F8_E8M0 |
//! | other floats below 16 bits | uint8 codes | `V1` | U8 codes |
//! | i1…i8, u1…u8 | int8, uint8 numbers | any integer type whose numbers fit | I8, U8 numbers |
//! | b1…b8 | int16 numbers | any integer type whose numbers fit | I16 numbers |
//!
//! A `.safetensors` type that NumPy has too is taken as `.npy` takes it, bits and codes included.

use std::path::Path;

use thiserror::Error;
use tilewright_compiler::numeric::{IntFormat, Number};
use tilewright_compiler::tile::ElemType;

use super::host::{HostTensor, TensorError};
use super::npy::{NpyArray, NpyError, NpyKind, NpyType};
use super::packed::PackError;
use super::safetensors::{SafeArray, SafeError};
use ::safetensors::tensor::Dtype;

/// Why a file's array is not a tensor of the wanted type.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error(transparent)]
    Npy(#[from] NpyError),
    #[error(transparent)]
    Safetensors(#[from] SafeError),
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error("{file} is no packed tensor: {source}")]
    Packed { file: String, source: PackError },
    #[error("{file} holds {got}, but {want} wants {expected}")]
    WrongType { file: String, got: String, want: ElemType, expected: String },
    #[error("{file} holds {value} at {index:?}, which is no {want} ({range})")]
    OutOfRange { file: String, value: i64, index: Vec<usize>, want: ElemType, range: String },
}

/// How a file stands for elements of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NpyAs {
    /// The type that is written.
    pub ty: NpyType,
    /// The file holds numbers and memory holds packed codes; else they are the same bytes.
    pub by_value: bool,
}

impl NpyAs {
    /// The NumPy side of an element type.
    pub fn of(elem: ElemType) -> NpyAs {
        let bytes = |kind, size| NpyAs { ty: NpyType { kind, size }, by_value: false };
        let value = |kind, size| NpyAs { ty: NpyType { kind, size }, by_value: true };
        match elem {
            ElemType::Bool => bytes(NpyKind::Bool, 1),
            ElemType::Index => bytes(NpyKind::Int, 8),
            ElemType::Int(w) if w > 8 => bytes(NpyKind::Int, usize::from(w / 8)),
            ElemType::Uint(w) if w > 8 => bytes(NpyKind::Uint, usize::from(w / 8)),
            ElemType::Int(_) => value(NpyKind::Int, 1),
            ElemType::Uint(_) => value(NpyKind::Uint, 1),
            ElemType::Bipolar(_) => value(NpyKind::Int, 2),
            ElemType::F16 => bytes(NpyKind::Float, 2),
            ElemType::Bf16 => bytes(NpyKind::Uint, 2),
            ElemType::F32 | ElemType::Tf32 => bytes(NpyKind::Float, 4),
            ElemType::F64 => bytes(NpyKind::Float, 8),
            // One code per byte in a file, dense bits in memory.
            ElemType::Small { .. } | ElemType::E8m0 => value(NpyKind::Uint, 1),
        }
    }

    /// In words, for messages.
    fn expected(self, elem: ElemType) -> String {
        match elem {
            ElemType::Bf16 => {
                "its bits as uint16 (in NumPy: x.view(np.uint16) of an ml_dtypes.bfloat16 array)".into()
            }
            ElemType::Small { .. } | ElemType::E8m0 => "its codes as uint8, one per element".into(),
            ElemType::Int(1..=8) | ElemType::Uint(1..=8) | ElemType::Bipolar(_) => {
                format!("numbers of an integer type, such as {}", self.ty)
            }
            _ => format!(
                "{} (in NumPy: x.astype(np.{}))",
                self.ty,
                if elem == ElemType::Bool { "bool_".into() } else { self.ty.to_string() }
            ),
        }
    }
}

/// Reads a `.npy` file as a tensor of `elem`.
pub fn load(path: &Path, elem: ElemType) -> Result<HostTensor, LoadError> {
    from_npy(&NpyArray::read(path)?, elem, &path.display().to_string())
}

/// Writes a tensor as a `.npy` file.
pub fn store(tensor: &HostTensor, path: &Path) -> Result<(), NpyError> {
    to_npy(tensor).write(path)
}

/// An array as a tensor of `elem`; `file` is for messages.
pub fn from_npy(array: &NpyArray, elem: ElemType, file: &str) -> Result<HostTensor, LoadError> {
    let expected = NpyAs::of(elem).expected(elem);
    from_array(array, elem, file, || LoadError::WrongType {
        file: file.into(),
        got: array.ty.to_string(),
        want: elem,
        expected,
    })
}

/// A tensor of a `.safetensors` file as a tensor of `elem`; `file` is for messages.
pub fn from_safetensors(array: &SafeArray, elem: ElemType, file: &str) -> Result<HostTensor, LoadError> {
    let expected = match elem {
        ElemType::Int(1..=8) | ElemType::Uint(1..=8) | ElemType::Bipolar(_) => {
            format!("numbers of an integer type, such as {}", dtype_of(elem))
        }
        ElemType::Small { .. } | ElemType::E8m0 if dtype_of(elem) == Dtype::U8 => {
            "its codes as U8, one per element".into()
        }
        _ => dtype_of(elem).to_string(),
    };
    let wrong =
        || LoadError::WrongType { file: file.into(), got: array.dtype.to_string(), want: elem, expected };
    match npy_type(array.dtype) {
        Some(ty) => {
            let array = NpyArray { ty, shape: array.shape.clone(), bytes: array.bytes.clone() };
            from_array(&array, elem, file, wrong)
        }
        None if elem_of_dtype(array.dtype) == Some(elem) => {
            Ok(HostTensor::from_bytes(elem, &array.shape, array.bytes.clone())?)
        }
        None => Err(wrong()),
    }
}

/// The element type that an array's type implies, if there is only one.
pub fn elem_of_npy(ty: NpyType) -> Option<ElemType> {
    match (ty.kind, ty.size) {
        (NpyKind::Bool, _) => Some(ElemType::Bool),
        (NpyKind::Float, 2) => Some(ElemType::F16),
        (NpyKind::Float, 4) => Some(ElemType::F32),
        (NpyKind::Float, _) => Some(ElemType::F64),
        // bf16 travels as its bits.
        (NpyKind::Uint | NpyKind::Void, 2) => Some(ElemType::Bf16),
        (NpyKind::Int, size @ 2..) => Some(ElemType::Int(8 * size as u8)),
        (NpyKind::Uint, size @ 4..) => Some(ElemType::Uint(8 * size as u8)),
        _ => None,
    }
}

/// The element type that a `.safetensors` type implies, if there is only one.
pub fn elem_of_dtype(dtype: Dtype) -> Option<ElemType> {
    match dtype {
        Dtype::BF16 => Some(ElemType::Bf16),
        Dtype::F8_E4M3 => Some(ElemType::E4M3),
        Dtype::F8_E5M2 => ElemType::small(5, 2),
        Dtype::F8_E8M0 => Some(ElemType::E8m0),
        // Here bf16 has a name of its own.
        Dtype::U16 => Some(ElemType::Uint(16)),
        other => elem_of_npy(npy_type(other)?),
    }
}

/// NumPy's type of the same elements. What neither NumPy nor the language has (`C64`, `F8_E4M3FNUZ`), or what is packed in a way of its own
/// (`F4`), has none.
fn npy_type(dtype: Dtype) -> Option<NpyType> {
    let (kind, size) = match dtype {
        Dtype::BOOL => (NpyKind::Bool, 1),
        Dtype::U8 => (NpyKind::Uint, 1),
        Dtype::I8 => (NpyKind::Int, 1),
        Dtype::I16 => (NpyKind::Int, 2),
        Dtype::U16 => (NpyKind::Uint, 2),
        Dtype::F16 => (NpyKind::Float, 2),
        Dtype::I32 => (NpyKind::Int, 4),
        Dtype::U32 => (NpyKind::Uint, 4),
        Dtype::F32 => (NpyKind::Float, 4),
        Dtype::F64 => (NpyKind::Float, 8),
        Dtype::I64 => (NpyKind::Int, 8),
        Dtype::U64 => (NpyKind::Uint, 8),
        _ => return None,
    };
    Some(NpyType { kind, size })
}

/// The type that stands for an element type in a `.safetensors` file; its elements are the bytes that a `.npy` file has.
fn dtype_of(elem: ElemType) -> Dtype {
    match elem {
        ElemType::Bf16 => Dtype::BF16,
        ElemType::E8m0 => Dtype::F8_E8M0,
        ElemType::Small { exponent: 4, mantissa: 3 } => Dtype::F8_E4M3,
        ElemType::Small { exponent: 5, mantissa: 2 } => Dtype::F8_E5M2,
        _ => match (NpyAs::of(elem).ty.kind, NpyAs::of(elem).ty.size) {
            (NpyKind::Bool, _) => Dtype::BOOL,
            (NpyKind::Int, 1) => Dtype::I8,
            (NpyKind::Int, 2) => Dtype::I16,
            (NpyKind::Int, 4) => Dtype::I32,
            (NpyKind::Int, _) => Dtype::I64,
            (NpyKind::Uint | NpyKind::Void, 1) => Dtype::U8,
            (NpyKind::Uint | NpyKind::Void, 2) => Dtype::U16,
            (NpyKind::Uint | NpyKind::Void, 4) => Dtype::U32,
            (NpyKind::Uint | NpyKind::Void, _) => Dtype::U64,
            (NpyKind::Float, 2) => Dtype::F16,
            (NpyKind::Float, 4) => Dtype::F32,
            (NpyKind::Float, _) => Dtype::F64,
        },
    }
}

/// What stands for a tensor in a `.safetensors` file; strides are undone.
pub fn to_safetensors(tensor: &HostTensor) -> SafeArray {
    let NpyArray { shape, bytes, .. } = to_npy(tensor);
    SafeArray { dtype: dtype_of(tensor.elem()), shape, bytes }
}

/// An array as a tensor of `elem`; `wrong` is the error where their types do not fit.
fn from_array(
    array: &NpyArray,
    elem: ElemType,
    file: &str,
    wrong: impl FnOnce() -> LoadError,
) -> Result<HostTensor, LoadError> {
    let side = NpyAs::of(elem);
    let got = array.ty;
    let codes_in_file = matches!(elem, ElemType::Bf16 | ElemType::Small { .. } | ElemType::E8m0);
    let opaque = codes_in_file && got.kind == NpyKind::Void && got.size == side.ty.size;
    if !side.by_value {
        if got != side.ty && !opaque {
            return Err(wrong());
        }
        let bytes = match elem {
            // Any nonzero byte is true; the kernels are promised 0 or 1.
            ElemType::Bool => array.bytes.iter().map(|&b| u8::from(b != 0)).collect(),
            _ => array.bytes.clone(),
        };
        return Ok(HostTensor::from_bytes(elem, &array.shape, bytes)?);
    }
    if codes_in_file {
        if got != side.ty && !opaque {
            return Err(wrong());
        }
        let most = 1i64 << elem.bits();
        if let Some(at) = array.bytes.iter().position(|&code| i64::from(code) >= most) {
            return Err(LoadError::OutOfRange {
                file: file.into(),
                value: array.bytes[at].into(),
                index: position(at, &array.shape),
                want: elem,
                range: format!("codes 0 to {}", most - 1),
            });
        }
        return Ok(HostTensor::from_codes(elem, &array.shape, |at| array.bytes[at].into())?);
    }
    if !matches!(got.kind, NpyKind::Int | NpyKind::Uint) {
        return Err(wrong());
    }
    let format = elem.format();
    let values: Vec<i64> = array.bytes.chunks_exact(got.size).map(|b| integer(b, got.kind)).collect();
    let holds = |v: i64| format.decode(format.encode_int(v, IntFormat::I64)) == Number::Int(v);
    if let Some(at) = values.iter().position(|&v| !holds(v)) {
        return Err(LoadError::OutOfRange {
            file: file.into(),
            value: values[at],
            index: position(at, &array.shape),
            want: elem,
            range: range_of(elem),
        });
    }
    Ok(HostTensor::from_i64(elem, &array.shape, &values)?)
}

/// The array that stands for a tensor in a file; strides are undone.
pub fn to_npy(tensor: &HostTensor) -> NpyArray {
    let elem = tensor.elem();
    let side = NpyAs::of(elem);
    let shape = tensor.shape().to_vec();
    if !side.by_value {
        return NpyArray { ty: side.ty, shape, bytes: tensor.to_dense().bytes().to_vec() };
    }
    let bytes = if matches!(elem, ElemType::Small { .. } | ElemType::E8m0) {
        tensor.codes().into_iter().map(|code| code as u8).collect()
    } else {
        tensor.to_i64().into_iter().flat_map(|v| v.to_le_bytes().into_iter().take(side.ty.size)).collect()
    };
    NpyArray { ty: side.ty, shape, bytes }
}

/// The numbers that an integer type of at most 8 bits holds, in words.
fn range_of(elem: ElemType) -> String {
    match elem {
        ElemType::Uint(w) => format!("0 to {}", (1i64 << w) - 1),
        ElemType::Int(w) => format!("{} to {}", -(1i64 << (w - 1)), (1i64 << (w - 1)) - 1),
        ElemType::Bipolar(w) => {
            let most = (1i64 << w) - 1;
            format!("odd numbers from {} to {most}", -most)
        }
        _ => "its own numbers".into(),
    }
}

fn integer(bytes: &[u8], kind: NpyKind) -> i64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    let v = i64::from_le_bytes(word);
    let unused = 64 - 8 * bytes.len() as u32;
    if kind == NpyKind::Int { (v << unused) >> unused } else { v }
}

/// The index of the `at`-th element in row-major order.
pub fn position(at: usize, shape: &[usize]) -> Vec<usize> {
    let mut rest = at;
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&extent| {
            let i = rest % extent.max(1);
            rest /= extent.max(1);
            i
        })
        .collect();
    index.reverse();
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elem(name: &str) -> ElemType {
        ElemType::from_name(name).expect(name)
    }

    fn array(kind: NpyKind, size: usize, shape: &[usize], bytes: &[u8]) -> NpyArray {
        NpyArray { ty: NpyType { kind, size }, shape: shape.to_vec(), bytes: bytes.to_vec() }
    }

    #[test]
    fn every_type_comes_back_from_its_file() {
        for name in [
            "bool", "index", "i1", "i4", "i8", "u1", "u3", "u8", "b1", "b8", "i16", "u16", "i32", "u64",
            "f16", "bf16", "f32", "f64", "tf32", "e4m3", "e5m2", "e2m1", "e3m2", "e8m0",
        ] {
            let ty = elem(name);
            let codes = 1u64 << ty.bits().min(8);
            let t = HostTensor::from_codes(ty, &[3, 5], |at| {
                (at as u64 * 37) % codes.min(if name == "bool" { 2 } else { codes })
            });
            let t = t.unwrap();
            let back = from_npy(&to_npy(&t), ty, "x.npy").unwrap();
            assert_eq!(back, t, "{name}");
        }
    }

    #[test]
    fn bf16_is_read_from_bits_and_from_ml_dtypes() {
        for kind in [NpyKind::Uint, NpyKind::Void] {
            let t = from_npy(&array(kind, 2, &[1], &[0x80, 0x3f]), elem("bf16"), "x.npy").unwrap();
            assert_eq!(t.to_f64(), [1.0]);
        }
    }

    #[test]
    fn messages_show_both_sides() {
        let message = |a: &NpyArray, ty| from_npy(a, elem(ty), "a.npy").unwrap_err().to_string();
        let f32s = array(NpyKind::Float, 4, &[1], &[0; 4]);
        assert_eq!(
            message(&f32s, "f16"),
            "a.npy holds float32, but f16 wants float16 (in NumPy: x.astype(np.float16))"
        );
        assert!(message(&f32s, "bf16").contains("its bits as uint16"));
        assert!(message(&f32s, "u4").contains("integer type"));
        let bytes = array(NpyKind::Uint, 1, &[2, 2], &[0, 7, 8, 0]);
        assert_eq!(message(&bytes, "u3"), "a.npy holds 8 at [1, 0], which is no u3 (0 to 7)");
        assert_eq!(
            message(&bytes, "b3"),
            "a.npy holds 0 at [0, 0], which is no b3 (odd numbers from -7 to 7)"
        );
        assert_eq!(message(&bytes, "e1m1"), "a.npy holds 8 at [1, 0], which is no e1m1 (codes 0 to 7)");
    }
}
