//! The `.npy` container (NumPy's NEP 1): a magic string, a header that is a Python dictionary, then the elements.
//!
//! Read by hand: a header is three keys, and a hostile one (a shape whose product overflows, a length beyond the file) must be an
//! error and never an abort. What comes out is row-major and little-endian whatever the file's order; kinds that no kernel takes
//! (complex, strings, records, Python objects) are refused by name.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// An array as NumPy sees it, row-major, little-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NpyArray {
    pub ty: NpyType,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// An element type of NumPy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NpyType {
    pub kind: NpyKind,
    /// Bytes of an element: 1, 2, 4 or 8.
    pub size: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NpyKind {
    Bool,
    Int,
    Uint,
    Float,
    /// Opaque bytes; ml_dtypes writes bf16 as `<V2`.
    Void,
}

impl fmt::Display for NpyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            NpyKind::Bool => f.write_str("bool"),
            NpyKind::Int => write!(f, "int{}", self.size * 8),
            NpyKind::Uint => write!(f, "uint{}", self.size * 8),
            NpyKind::Float => write!(f, "float{}", self.size * 8),
            NpyKind::Void => write!(f, "void{}", self.size * 8),
        }
    }
}

/// Why a file is not an array that we can read. Each is the file's fault or the system's, never ours.
#[derive(Debug, Error)]
pub enum NpyError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is not a .npy file: {reason}", path.display())]
    NotNpy { path: PathBuf, reason: String },
    #[error("{} holds elements of NumPy type {descr:?}; bool, integers and floats of 16, 32 and 64 bits can be read", path.display())]
    Unreadable { path: PathBuf, descr: String },
    #[error("{} says it holds {want} bytes of elements but has {got}: the file is cut off or damaged", path.display())]
    WrongLength { path: PathBuf, want: usize, got: usize },
}

impl NpyArray {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<NpyArray, NpyError> {
        let file = fs::read(path).map_err(|source| NpyError::Read { path: path.into(), source })?;
        NpyArray::parse(&file, path)
    }

    /// Reads a file's contents; `path` is for messages.
    pub fn parse(file: &[u8], path: &Path) -> Result<NpyArray, NpyError> {
        let not_npy = |reason: &str| NpyError::NotNpy { path: path.into(), reason: reason.into() };
        let rest =
            file.strip_prefix(b"\x93NUMPY").ok_or_else(|| not_npy("it does not start with \\x93NUMPY"))?;
        let (length_bytes, rest) = match rest {
            [1, _, rest @ ..] => (2, rest),
            [2 | 3, _, rest @ ..] => (4, rest),
            _ => return Err(not_npy("its format version is none of 1, 2, 3")),
        };
        let cut = || not_npy("its header is cut off");
        let (length, rest) = rest.split_at_checked(length_bytes).ok_or_else(cut)?;
        let length = length.iter().rev().fold(0usize, |n, &b| n << 8 | usize::from(b));
        let (header, elements) = rest.split_at_checked(length).ok_or_else(cut)?;
        let header = std::str::from_utf8(header).map_err(|_| not_npy("its header is not text"))?;
        let header =
            Header::parse(header).map_err(|reason| NpyError::NotNpy { path: path.into(), reason })?;

        let Some((ty, big_endian)) = parse_descr(&header.descr) else {
            return Err(NpyError::Unreadable { path: path.into(), descr: header.descr });
        };
        let want = if header.shape.contains(&0) {
            Some(0)
        } else {
            header.shape.iter().try_fold(ty.size, |n, &extent| n.checked_mul(extent))
        };
        let want = want.ok_or_else(|| not_npy("its shape has more elements than fit in memory"))?;
        if want != elements.len() {
            return Err(NpyError::WrongLength { path: path.into(), want, got: elements.len() });
        }
        let mut bytes = elements.to_vec();
        if big_endian {
            bytes.chunks_exact_mut(ty.size).for_each(<[u8]>::reverse);
        }
        if header.fortran_order && header.shape.len() > 1 {
            bytes = to_row_major(&bytes, &header.shape, ty.size);
        }
        Ok(NpyArray { ty, shape: header.shape, bytes })
    }

    /// Writes a file (format version 1, C order).
    pub fn write(&self, path: &Path) -> Result<(), NpyError> {
        fs::write(path, self.to_file()).map_err(|source| NpyError::Write { path: path.into(), source })
    }

    /// The file's contents.
    pub fn to_file(&self) -> Vec<u8> {
        let kind = match self.ty.kind {
            NpyKind::Bool => 'b',
            NpyKind::Int => 'i',
            NpyKind::Uint => 'u',
            NpyKind::Float => 'f',
            NpyKind::Void => 'V',
        };
        let order = if self.ty.size == 1 { '|' } else { '<' };
        let shape: String = self.shape.iter().map(|extent| format!("{extent}, ")).collect();
        let shape = match self.shape.len() {
            1 => shape.trim_end().to_string(),
            _ => shape.trim_end_matches(", ").to_string(),
        };
        let mut header = format!(
            "{{'descr': '{order}{kind}{}', 'fortran_order': False, 'shape': ({shape}), }}",
            self.ty.size
        );
        // Elements start at a multiple of 64 bytes: magic, version and length take 10, the header ends in a newline.
        let padding = (64 - (10 + header.len() + 1) % 64) % 64;
        header.extend(std::iter::repeat_n(' ', padding));
        header.push('\n');
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend_from_slice(&(header.len() as u16).to_le_bytes());
        file.extend_from_slice(header.as_bytes());
        file.extend_from_slice(&self.bytes);
        file
    }
}

/// `<f2` and the like: the type, and whether its bytes are big-endian.
fn parse_descr(descr: &str) -> Option<(NpyType, bool)> {
    let mut chars = descr.chars();
    let order = chars.next()?;
    let kind = match chars.next()? {
        'b' => NpyKind::Bool,
        'i' => NpyKind::Int,
        'u' => NpyKind::Uint,
        'f' => NpyKind::Float,
        'V' => NpyKind::Void,
        _ => return None,
    };
    let size = match chars.as_str() {
        "1" => 1,
        "2" => 2,
        "4" => 4,
        "8" => 8,
        _ => return None,
    };
    let known = match kind {
        NpyKind::Bool => size == 1,
        NpyKind::Float => size > 1,
        NpyKind::Int | NpyKind::Uint | NpyKind::Void => true,
    };
    let big_endian = match order {
        '<' | '|' | '=' => false,
        '>' => true,
        _ => return None,
    };
    known.then_some((NpyType { kind, size }, big_endian))
}

/// Elements in Fortran order, put in row-major order.
fn to_row_major(bytes: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = size;
    for extent in shape {
        strides.push(stride);
        stride *= extent.max(&1);
    }
    let mut index = vec![0; shape.len()];
    for _ in 0..bytes.len() / size {
        let at: usize = index.iter().zip(&strides).map(|(i, s)| i * s).sum();
        out.extend_from_slice(&bytes[at..at + size]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    out
}

struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    /// Reads `{'descr': '<f2', 'fortran_order': False, 'shape': (3, 4), }`, keys in any order.
    fn parse(text: &str) -> Result<Header, String> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        let mut rest = text.trim().strip_prefix('{').ok_or("its header is not a dictionary")?;
        loop {
            rest = rest.trim_start();
            if rest.starts_with('}') {
                break;
            }
            let (key, after) = quoted(rest).ok_or("its header is not a dictionary of named fields")?;
            let value =
                after.trim_start().strip_prefix(':').ok_or("a key of its header has no value")?.trim_start();
            let end;
            match key {
                "descr" => match quoted(value) {
                    Some((text, after)) => (descr, end) = (Some(text.to_string()), after),
                    // A record: kept as text for the message.
                    None if value.starts_with('[') => {
                        let close = value.rfind(']').ok_or("a list in its header does not end")?;
                        (descr, end) = (Some(value[..=close].to_string()), &value[close + 1..]);
                    }
                    None => return Err("its 'descr' is no string".into()),
                },
                "fortran_order" => {
                    let (flag, word) =
                        if value.starts_with("True") { (true, "True") } else { (false, "False") };
                    end = value.strip_prefix(word).ok_or("its 'fortran_order' is neither True nor False")?;
                    fortran_order = Some(flag);
                }
                "shape" => {
                    let (tuple, after) = value
                        .strip_prefix('(')
                        .and_then(|v| v.split_once(')'))
                        .ok_or("its 'shape' is no tuple")?;
                    let extents = tuple.split(',').map(str::trim).filter(|extent| !extent.is_empty());
                    // Python 2 wrote long integers with an L.
                    let extents = extents.map(|extent| extent.trim_end_matches('L').parse::<usize>());
                    shape =
                        Some(extents.collect::<Result<_, _>>().map_err(|_| "its 'shape' holds no sizes")?);
                    end = after;
                }
                other => return Err(format!("its header has an unknown field {other:?}")),
            }
            rest = end.trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest);
            if rest.is_empty() {
                return Err("its header does not end".into());
            }
        }
        match (descr, fortran_order, shape) {
            (Some(descr), Some(fortran_order), Some(shape)) => Ok(Header { descr, fortran_order, shape }),
            _ => Err("its header lacks one of 'descr', 'fortran_order', 'shape'".into()),
        }
    }
}

/// A string in either kind of quotes, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(file: &[u8]) -> Result<NpyArray, NpyError> {
        NpyArray::parse(file, Path::new("x.npy"))
    }

    fn file(header: &str, elements: &[u8]) -> Vec<u8> {
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend_from_slice(&(header.len() as u16).to_le_bytes());
        file.extend_from_slice(header.as_bytes());
        file.extend_from_slice(elements);
        file
    }

    #[test]
    fn what_is_written_reads_back() {
        for shape in [vec![], vec![3], vec![2, 3], vec![0, 4]] {
            let ty = NpyType { kind: NpyKind::Uint, size: 2 };
            let count: usize = shape.iter().product();
            let array = NpyArray { ty, shape, bytes: (0..count * 2).map(|b| b as u8).collect() };
            let file = array.to_file();
            assert_eq!((file.len() - array.bytes.len()) % 64, 0);
            assert_eq!(parse(&file).unwrap(), array);
        }
    }

    #[test]
    fn the_header_is_numpys_own() {
        let ty = NpyType { kind: NpyKind::Float, size: 2 };
        let one = NpyArray { ty, shape: vec![2], bytes: vec![0; 4] }.to_file();
        assert!(one[10..].starts_with(b"{'descr': '<f2', 'fortran_order': False, 'shape': (2,), }"));
        let two = NpyArray { ty, shape: vec![2, 1], bytes: vec![0; 4] }.to_file();
        assert!(two[10..].starts_with(b"{'descr': '<f2', 'fortran_order': False, 'shape': (2, 1), }"));
    }

    #[test]
    fn fortran_order_and_big_endian_are_undone() {
        let f = file(
            "{'descr': '>u2', 'fortran_order': True, 'shape': (2, 3), }\n",
            &[0, 1, 0, 4, 0, 2, 0, 5, 0, 3, 0, 6],
        );
        let array = parse(&f).unwrap();
        assert_eq!(array.bytes, [1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases: [(Vec<u8>, &str); 6] = [
            (b"PK\x03\x04".to_vec(), "not a .npy file: it does not start with"),
            (file("{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}", &[0; 8]), "NumPy type \"<c8\""),
            (
                file("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (1,)}", &[0; 4]),
                "('x', '<f4')",
            ),
            (
                file("{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}", &[0; 8]),
                "12 bytes of elements but has 8",
            ),
            (
                file("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 99999999999)}", &[]),
                "more elements than fit",
            ),
            (file("{'descr': '<f4', 'shape': (3,)}", &[0; 12]), "lacks one of"),
        ];
        for (file, expected) in cases {
            let message = parse(&file).unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} does not say {expected:?}");
        }
    }

    proptest! {
        #[test]
        fn damage_is_an_error_and_never_a_panic(at in 0usize..80, value: u8, keep in 0usize..200) {
            let mut f = file("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }          \n", &[0; 24]);
            f[at] = value;
            f.truncate(keep);
            let _ = parse(&f);
        }

        #[test]
        fn any_header_text_is_read_or_refused(text in "[\\{\\}'a-z_:<>,\\(\\)0-9 é]{0,60}") {
            let _ = parse(&file(&text, &[0; 8]));
        }
    }
}
