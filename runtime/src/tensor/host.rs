//! Tensors in host memory.
//!
//! Elements are codes of their type. Types of whole bytes may have any strides (in elements). Types below a byte are packed
//! densely along the last dimension, little-endian, and each row starts on a byte, so they are always row-major.
//!
//! Invariant: every element lies within `bytes`.

use thiserror::Error;
use tilewright_compiler::numeric::{IntFormat, Number, read_code, row_bytes, write_code};
use tilewright_compiler::tile::ElemType;

/// A tensor in host memory. Shape and strides are outermost first; strides count elements.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    elem: ElemType,
    shape: Vec<usize>,
    strides: Vec<usize>,
    bytes: Vec<u8>,
}

/// What a caller asked of a tensor that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TensorError {
    #[error("a tensor {elem}{shape:?} does not fit in this machine's memory")]
    TooLarge { elem: ElemType, shape: Vec<usize> },
    #[error("{elem}{shape:?} takes {want} elements, but {got} were given")]
    WrongCount { elem: ElemType, shape: Vec<usize>, want: usize, got: usize },
    #[error("transpose({}) is not an order of the axes 0..{rank}: name each of them once", join(.order))]
    NotAnOrder { order: Vec<usize>, rank: usize },
    #[error(
        "{elem} takes {} bits, and types below a byte are packed along the last dimension: a transposed view of one cannot be addressed; transpose the file itself",
        elem.bits()
    )]
    PackedView { elem: ElemType },
}

fn join(order: &[usize]) -> String {
    order.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

/// Row-major strides in elements.
pub fn dense_strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        // Sizes were checked when bytes were counted; a shape with a 0 may hold any other extent.
        strides[axis - 1] = usize::wrapping_mul(strides[axis], shape[axis].max(1));
    }
    strides
}

/// Number of elements and bytes of a dense tensor, if they can be counted.
fn sizes(elem: ElemType, shape: &[usize]) -> Option<(usize, usize)> {
    if shape.contains(&0) {
        return Some((0, 0));
    }
    let count = shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent))?;
    let row = shape.last().copied().unwrap_or(1);
    row.checked_mul(elem.bits() as usize)?;
    let bytes = (count / row).checked_mul(row_bytes(row, elem.bits()))?;
    (bytes <= isize::MAX as usize).then_some((count, bytes))
}

impl HostTensor {
    /// Dense, all bytes zero.
    pub fn zeros(elem: ElemType, shape: &[usize]) -> Result<HostTensor, TensorError> {
        let too_large = || TensorError::TooLarge { elem, shape: shape.to_vec() };
        let (_, len) = sizes(elem, shape).ok_or_else(too_large)?;
        // Asking first makes a size beyond memory an error instead of an abort; zeroed pages are then mapped lazily.
        Vec::<u8>::new().try_reserve_exact(len).map_err(|_| too_large())?;
        Ok(HostTensor { elem, shape: shape.to_vec(), strides: dense_strides(shape), bytes: vec![0; len] })
    }

    /// Dense, from its bytes.
    pub fn from_bytes(elem: ElemType, shape: &[usize], bytes: Vec<u8>) -> Result<HostTensor, TensorError> {
        let (_, len) =
            sizes(elem, shape).ok_or_else(|| TensorError::TooLarge { elem, shape: shape.to_vec() })?;
        if bytes.len() != len {
            let size = (elem.bits() as usize).div_ceil(8);
            return Err(TensorError::WrongCount {
                elem,
                shape: shape.to_vec(),
                want: len / size,
                got: bytes.len() / size,
            });
        }
        Ok(HostTensor { elem, shape: shape.to_vec(), strides: dense_strides(shape), bytes })
    }

    /// Dense, with elements in row-major order from a function of their position.
    pub fn from_codes(
        elem: ElemType,
        shape: &[usize],
        mut code: impl FnMut(usize) -> u64,
    ) -> Result<HostTensor, TensorError> {
        let mut tensor = HostTensor::zeros(elem, shape)?;
        let bits = elem.bits();
        let row = shape.last().copied().unwrap_or(1).max(1);
        let pitch = row_bytes(row, bits);
        let rows = tensor.numel() / row;
        for r in 0..rows {
            let line = &mut tensor.bytes[r * pitch..(r + 1) * pitch];
            for j in 0..row {
                write_code(line, j, bits, code(r * row + j));
            }
        }
        Ok(tensor)
    }

    /// Dense, from logical values in row-major order, rounded to the type.
    pub fn from_f64(elem: ElemType, shape: &[usize], values: &[f64]) -> Result<HostTensor, TensorError> {
        count_matches(elem, shape, values.len())?;
        let format = elem.format();
        HostTensor::from_codes(elem, shape, |at| format.encode_f64(values[at]))
    }

    /// Dense, from integers in row-major order (a `u64` by its bits), converted as `as` does.
    pub fn from_i64(elem: ElemType, shape: &[usize], values: &[i64]) -> Result<HostTensor, TensorError> {
        count_matches(elem, shape, values.len())?;
        let format = elem.format();
        let from = if elem == ElemType::Uint(64) { IntFormat::U64 } else { IntFormat::I64 };
        HostTensor::from_codes(elem, shape, |at| format.encode_int(values[at], from))
    }

    pub fn elem(&self) -> ElemType {
        self.elem
    }

    /// Outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// In elements, outermost first. For types below a byte: row-major as if rows had no padding.
    pub fn strides(&self) -> &[usize] {
        &self.strides
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same shape and strides over other bytes.
    ///
    /// # Panics
    /// Where their number differs.
    pub fn with_bytes(&self, bytes: Vec<u8>) -> HostTensor {
        assert_eq!(bytes.len(), self.bytes.len(), "bytes of another tensor");
        HostTensor { elem: self.elem, shape: self.shape.clone(), strides: self.strides.clone(), bytes }
    }

    /// The bytes themselves, for a launch that takes them and puts as many back.
    pub(crate) fn bytes_storage(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        if self.shape.contains(&0) { 0 } else { self.shape.iter().product() }
    }

    /// Row-major without gaps.
    pub fn is_dense(&self) -> bool {
        let dense = dense_strides(&self.shape);
        self.numel() == 0 || (0..self.shape.len()).all(|a| self.shape[a] == 1 || self.strides[a] == dense[a])
    }

    /// The same bytes with the axes in another order: axis `a` of the result is axis `order[a]` of this one.
    pub fn transposed(self, order: &[usize]) -> Result<HostTensor, TensorError> {
        let rank = self.shape.len();
        let mut seen = vec![false; rank];
        for &axis in order {
            match seen.get_mut(axis) {
                Some(flag) if !*flag => *flag = true,
                _ => return Err(TensorError::NotAnOrder { order: order.to_vec(), rank }),
            }
        }
        if order.len() != rank {
            return Err(TensorError::NotAnOrder { order: order.to_vec(), rank });
        }
        if !self.elem.bits().is_multiple_of(8) {
            return Err(TensorError::PackedView { elem: self.elem });
        }
        let pick = |from: &[usize]| order.iter().map(|&a| from[a]).collect();
        Ok(HostTensor {
            elem: self.elem,
            shape: pick(&self.shape),
            strides: pick(&self.strides),
            bytes: self.bytes,
        })
    }

    /// The first `extent` places along an axis (all, where it has fewer): the same bytes, seen in part.
    pub fn narrowed(mut self, axis: usize, extent: usize) -> Result<HostTensor, TensorError> {
        if !self.elem.bits().is_multiple_of(8) {
            return Err(TensorError::PackedView { elem: self.elem });
        }
        if let Some(own) = self.shape.get_mut(axis) {
            *own = extent.min(*own);
        }
        Ok(self)
    }

    /// Codes of all elements in row-major order.
    pub fn codes(&self) -> Vec<u64> {
        let mut codes = Vec::with_capacity(self.numel());
        self.for_each_row(|line, step| {
            let row = self.shape.last().copied().unwrap_or(1);
            codes.extend((0..row).map(|j| read_code(line, j * step, self.elem.bits())));
        });
        codes
    }

    /// Logical values in row-major order; integers as the nearest f64.
    pub fn to_f64(&self) -> Vec<f64> {
        let format = self.elem.format();
        let unsigned = self.elem == ElemType::Uint(64);
        let value = |code| match format.decode(code) {
            Number::Float(x) => x,
            Number::Int(v) if unsigned => v as u64 as f64,
            Number::Int(v) => v as f64,
        };
        self.codes().into_iter().map(value).collect()
    }

    /// Logical integers in row-major order (a `u64` by its bits; `bool` as 0 and 1); floats by nearest.
    pub fn to_i64(&self) -> Vec<i64> {
        let format = self.elem.format();
        let value = |code| match format.decode(code) {
            Number::Int(v) => v,
            Number::Float(x) => IntFormat::I64.round_f64(x),
        };
        self.codes().into_iter().map(value).collect()
    }

    /// The same elements, row-major without gaps.
    pub fn to_dense(&self) -> HostTensor {
        if self.is_dense() {
            return HostTensor { strides: dense_strides(&self.shape), ..self.clone() };
        }
        let size = (self.elem.bits() / 8) as usize;
        let mut bytes = Vec::with_capacity(self.numel() * size);
        self.for_each_row(|line, step| {
            for j in 0..self.shape.last().copied().unwrap_or(1) {
                bytes.extend_from_slice(&line[j * step * size..(j * step + 1) * size]);
            }
        });
        HostTensor { elem: self.elem, shape: self.shape.clone(), strides: dense_strides(&self.shape), bytes }
    }

    /// Each row (last dimension) in order, as the bytes from its first element on and the step between elements.
    fn for_each_row(&self, mut visit: impl FnMut(&[u8], usize)) {
        if self.numel() == 0 {
            return;
        }
        let bits = self.elem.bits() as usize;
        let outer = &self.shape[..self.shape.len().saturating_sub(1)];
        let step = self.strides.last().copied().unwrap_or(1);
        let pitch = row_bytes(self.shape.last().copied().unwrap_or(1), bits as u32);
        let mut index = vec![0; outer.len()];
        for row in 0..outer.iter().product::<usize>() {
            let start = if bits.is_multiple_of(8) {
                index.iter().zip(&self.strides).map(|(i, s)| i * s).sum::<usize>() * (bits / 8)
            } else {
                row * pitch
            };
            visit(&self.bytes[start..], step);
            for axis in (0..outer.len()).rev() {
                index[axis] += 1;
                if index[axis] < outer[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
    }
}

fn count_matches(elem: ElemType, shape: &[usize], got: usize) -> Result<(), TensorError> {
    let shape = shape.to_vec();
    match sizes(elem, &shape) {
        None => Err(TensorError::TooLarge { elem, shape }),
        Some((want, _)) if want != got => Err(TensorError::WrongCount { elem, shape, want, got }),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn elem(name: &str) -> ElemType {
        ElemType::from_name(name).expect(name)
    }

    #[test]
    fn rows_below_a_byte_start_on_bytes() {
        let t = HostTensor::from_i64(elem("u3"), &[2, 3], &[5, 6, 7, 1, 2, 3]).unwrap();
        assert_eq!(t.bytes(), [0b1111_0101, 0b1, 0b1101_0001, 0b0]);
        assert_eq!(t.to_i64(), [5, 6, 7, 1, 2, 3]);
    }

    #[test]
    fn a_transposed_view_shares_bytes() {
        let t = HostTensor::from_i64(elem("i32"), &[2, 3], &[0, 1, 2, 3, 4, 5]).unwrap();
        let v = t.clone().transposed(&[1, 0]).unwrap();
        assert_eq!((v.shape(), v.strides(), v.is_dense()), (&[3, 2][..], &[1, 3][..], false));
        assert_eq!(v.to_i64(), [0, 3, 1, 4, 2, 5]);
        assert_eq!(v.bytes(), t.bytes());
        let dense = v.to_dense();
        assert!(dense.is_dense());
        assert_eq!(dense.to_i64(), v.to_i64());
    }

    #[test]
    fn a_part_of_an_axis_is_a_view() {
        let t = HostTensor::from_i64(elem("i32"), &[2, 3], &[0, 1, 2, 3, 4, 5]).unwrap();
        let v = t.clone().narrowed(1, 2).unwrap();
        assert_eq!((v.to_i64(), v.strides(), v.is_dense()), (vec![0, 1, 3, 4], &[3, 1][..], false));
        assert_eq!((v.bytes(), v.to_dense().to_i64()), (t.bytes(), vec![0, 1, 3, 4]));
        assert_eq!(t.clone().narrowed(0, 9).unwrap(), t);
    }

    #[test]
    fn wrong_orders_are_refused() {
        let t = HostTensor::zeros(elem("f16"), &[2, 3]).unwrap();
        for order in [&[0][..], &[0, 0], &[0, 2], &[0, 1, 2]] {
            assert!(matches!(t.clone().transposed(order), Err(TensorError::NotAnOrder { .. })), "{order:?}");
        }
        let packed = HostTensor::zeros(elem("u4"), &[2, 3]).unwrap();
        assert!(matches!(packed.clone().narrowed(1, 2), Err(TensorError::PackedView { .. })));
        assert!(matches!(packed.transposed(&[1, 0]), Err(TensorError::PackedView { .. })));
    }

    #[test]
    fn absurd_sizes_are_errors() {
        for shape in [&[usize::MAX, 2][..], &[1 << 40, 1 << 40], &[usize::MAX]] {
            assert!(matches!(HostTensor::zeros(elem("f64"), shape), Err(TensorError::TooLarge { .. })));
        }
        assert_eq!(HostTensor::zeros(elem("f64"), &[usize::MAX, 0, 7]).unwrap().numel(), 0);
    }

    #[test]
    fn a_scalar_has_one_element() {
        let t = HostTensor::from_f64(elem("f32"), &[], &[1.5]).unwrap();
        assert_eq!((t.numel(), t.to_f64()), (1, vec![1.5]));
    }

    proptest! {
        #[test]
        fn integers_of_every_width_come_back(width in 1u8..=8, rows in 0usize..4, cols in 0usize..9, seed: u64) {
            for ty in [ElemType::Uint(width), ElemType::Int(width), ElemType::Bipolar(width)] {
                let format = ty.format();
                let values: Vec<i64> = (0..rows * cols)
                    .map(|at| match format.decode(seed.rotate_left(at as u32 * 7) & ((1 << width) - 1)) {
                        Number::Int(v) => v,
                        Number::Float(_) => unreachable!("an integer type"),
                    })
                    .collect();
                let t = HostTensor::from_i64(ty, &[rows, cols], &values).unwrap();
                prop_assert_eq!(t.to_i64(), values);
            }
        }
    }
}
