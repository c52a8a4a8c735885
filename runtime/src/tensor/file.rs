//! Tensors in files of either container: where one is, what it says of itself, and how it becomes a tensor of a kernel's type.
//!
//! ```text
//! a.npy                                  the array
//! a.npy:transpose(0,2,1,3)               a view of it, axes in that order: for parameters that declare `strides`
//! w.safetensors:layer.0.weight           one tensor (without a name: the only one)
//! w.safetensors:q_proj:transpose(1,0)    a view of it
//! ```

use std::fmt;
use std::path::{Path, PathBuf};

use super::convert::{
    LoadError, elem_of_dtype, elem_of_npy, from_npy, from_safetensors, to_npy, to_safetensors,
};
use super::host::HostTensor;
use super::npy::NpyArray;
use super::packed::{self, PackedTensor};
use super::safetensors::{self, SafeArray, SafeFile};
use tilewright_compiler::tile::ElemType;

/// A tensor's place in a file, as a command line spells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePlace {
    pub path: PathBuf,
    /// In a `.safetensors` file: which of its tensors.
    pub tensor: Option<String>,
    /// Axes in their new order.
    pub transpose: Option<Vec<usize>>,
}

impl FilePlace {
    /// Reads a place; `None` where the text names no file of either kind.
    ///
    /// # Errors
    /// What is wrong with the part after the path, in words.
    pub fn parse(text: &str) -> Option<Result<FilePlace, String>> {
        const VIEW: &str = "transpose(…), e.g. transpose(0,2,1,3)";
        let places = [".npy", ".safetensors"].map(|suffix| after_suffix(text, suffix));
        // The name of a tensor may end like a file's.
        let (path, rest) = places.into_iter().flatten().min_by_key(|(path, _)| path.len())?;
        let (rest, view) = match rest.rsplit_once(':') {
            Some((rest, view)) if view.starts_with("transpose(") => (rest, Some(view)),
            _ => (rest, None),
        };
        let mut tensor = None;
        if let Some(name) = rest.strip_prefix(':') {
            if path.ends_with(".npy") {
                return Some(Err(format!("after PATH.npy: comes {VIEW}")));
            }
            if name.is_empty() {
                return Some(Err("after PATH.safetensors: comes the name of a tensor".into()));
            }
            tensor = Some(name.to_string());
        }
        let order = |view: &str| {
            let axes = view.strip_prefix("transpose(").and_then(|v| v.strip_suffix(')'))?;
            axes.split(',').map(|axis| axis.trim().parse().ok()).collect::<Option<Vec<usize>>>()
        };
        let transpose = match view.map(order) {
            Some(None) => return Some(Err(format!("the axes in their new order are wanted: {VIEW}"))),
            Some(order) => order,
            None => None,
        };
        Some(Ok(FilePlace { path: path.into(), tensor, transpose }))
    }

    fn is_safetensors(&self) -> bool {
        self.path.extension().is_some_and(|e| e == "safetensors")
    }

    /// Reads what is there, not yet transposed.
    pub fn read(&self) -> Result<Stored, LoadError> {
        match self.is_safetensors() {
            true => {
                let mut file = SafeFile::open(&self.path)?;
                let (name, array) = file.tensor(self.tensor.as_deref())?;
                match file.metadata(&format!("{}{name}", packed::KEY)) {
                    None => Ok(Stored::Safetensors(array)),
                    Some(description) => match PackedTensor::from_file(array, description) {
                        Ok(packed) => Ok(Stored::Packed(Box::new(packed))),
                        Err(source) => Err(LoadError::Packed { file: self.to_string(), source }),
                    },
                }
            }
            false => Ok(Stored::Npy(NpyArray::read(&self.path)?)),
        }
    }

    /// What was read here, as a tensor of `elem`; a view where the place says so.
    pub fn tensor(&self, stored: &Stored, elem: ElemType) -> Result<HostTensor, LoadError> {
        let origin = self.to_string();
        let tensor = match stored {
            Stored::Npy(array) => from_npy(array, elem, &origin)?,
            Stored::Safetensors(array) => from_safetensors(array, elem, &origin)?,
            Stored::Packed(packed) if packed.storage().elem != elem => {
                return Err(LoadError::WrongType {
                    file: origin,
                    got: format!("packed {}", packed.storage().elem),
                    want: elem,
                    expected: "another type, packed or not".into(),
                });
            }
            Stored::Packed(packed) => packed.unpack()?,
        };
        match &self.transpose {
            Some(order) => Ok(tensor.transposed(order)?),
            None => Ok(tensor),
        }
    }

    /// The shape after transposition, where the order fits it.
    pub fn shape(&self, stored: &Stored) -> Option<Vec<usize>> {
        let shape = stored.shape();
        match &self.transpose {
            Some(order) => order.iter().map(|&axis| shape.get(axis).copied()).collect(),
            None => Some(shape.to_vec()),
        }
    }
}

/// As the command line spells it, for messages: `w.safetensors:q_proj`.
impl fmt::Display for FilePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(name) = &self.tensor {
            write!(f, ":{name}")?;
        }
        match &self.transpose {
            Some(order) => {
                let axes: Vec<String> = order.iter().map(usize::to_string).collect();
                write!(f, ":transpose({})", axes.join(","))
            }
            None => Ok(()),
        }
    }
}

/// `text` up to and with the suffix, where the suffix ends it or a colon follows; and the rest.
fn after_suffix<'a>(text: &'a str, suffix: &str) -> Option<(&'a str, &'a str)> {
    let ends = text.match_indices(suffix).map(|(at, found)| at + found.len());
    let mut ends =
        ends.filter(|&end| end > suffix.len() && (end == text.len() || text[end..].starts_with(':')));
    ends.next().map(|end| text.split_at(end))
}

/// What a file holds.
#[derive(Clone, Debug)]
pub enum Stored {
    Npy(NpyArray),
    Safetensors(SafeArray),
    /// Weights that a kernel reads as they are.
    Packed(Box<PackedTensor>),
}

impl Stored {
    pub fn shape(&self) -> &[usize] {
        match self {
            Stored::Npy(array) => &array.shape,
            Stored::Safetensors(array) => &array.shape,
            Stored::Packed(packed) => packed.shape(),
        }
    }

    /// The element type, where the file leaves no doubt; a byte may be an integer of any small width, or a code.
    pub fn elem(&self) -> Option<ElemType> {
        match self {
            Stored::Npy(array) => elem_of_npy(array.ty),
            Stored::Safetensors(array) => elem_of_dtype(array.dtype),
            Stored::Packed(packed) => Some(packed.storage().elem),
        }
    }
}

/// Writes tensors to their places, those that share a `.safetensors` file together. A tensor without a name in its place takes the one
/// beside it.
pub fn store_all<'a>(
    outputs: impl IntoIterator<Item = (&'a str, &'a FilePlace, &'a HostTensor)>,
) -> Result<(), LoadError> {
    let mut shared: Vec<(&Path, Vec<(String, SafeArray)>)> = Vec::new();
    for (name, place, tensor) in outputs {
        if !place.is_safetensors() {
            to_npy(tensor).write(&place.path)?;
            continue;
        }
        let name = place.tensor.clone().unwrap_or_else(|| name.to_string());
        let entry = (name, to_safetensors(tensor));
        match shared.iter_mut().find(|(path, _)| *path == place.path) {
            Some((_, entries)) => entries.push(entry),
            None => shared.push((&place.path, vec![entry])),
        }
    }
    for (path, entries) in shared {
        safetensors::write(path, &entries)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str, tensor: Option<&str>, transpose: Option<&[usize]>) -> FilePlace {
        FilePlace {
            path: path.into(),
            tensor: tensor.map(String::from),
            transpose: transpose.map(<[usize]>::to_vec),
        }
    }

    #[test]
    fn places_are_read() {
        let read = |text: &str| FilePlace::parse(text).expect(text).expect(text);
        assert_eq!(read("x=y,z.npy"), place("x=y,z.npy", None, None));
        assert_eq!(read("d/x.npy:transpose(0, 2,1)"), place("d/x.npy", None, Some(&[0, 2, 1])));
        assert_eq!(read("w.safetensors"), place("w.safetensors", None, None));
        assert_eq!(read("w.safetensors:a.b:c"), place("w.safetensors", Some("a.b:c"), None));
        assert_eq!(read("w.safetensors:a:transpose(1,0)"), place("w.safetensors", Some("a"), Some(&[1, 0])));
        assert_eq!(read("w.safetensors:transpose(1,0)"), place("w.safetensors", None, Some(&[1, 0])));
        assert_eq!(read("w.safetensors:x.npy"), place("w.safetensors", Some("x.npy"), None));
        for text in ["3", "a.bin", ".npy", "x.npy.gz", "random:3"] {
            assert_eq!(FilePlace::parse(text), None, "{text}");
        }
        for text in ["x.npy:flip(0)", "x.npy:transpose(a)", "x.npy:transpose(1", "w.safetensors:"] {
            assert!(FilePlace::parse(text).expect(text).is_err(), "{text}");
        }
    }

    #[test]
    fn tensors_of_every_type_share_a_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("all.safetensors");
        let names = [
            "bool", "index", "i4", "u3", "b3", "i8", "u8", "i16", "u32", "i64", "f16", "bf16", "f32", "f64",
            "tf32", "e4m3", "e5m2", "e2m1", "e8m0",
        ];
        let place = |name: &str| FilePlace { path: path.clone(), tensor: Some(name.into()), transpose: None };
        let all: Vec<_> = names
            .iter()
            .map(|name| {
                let elem = ElemType::from_name(name).expect(name);
                let most = if *name == "bool" { 2 } else { 1 << elem.bits().min(7) };
                (
                    *name,
                    place(name),
                    HostTensor::from_codes(elem, &[3, 5], |at| at as u64 * 37 % most).expect(name),
                )
            })
            .collect();
        store_all(all.iter().map(|(name, place, tensor)| (*name, place, tensor))).expect("written");
        for (name, place, tensor) in &all {
            let stored = place.read().expect(name);
            assert_eq!(place.tensor(&stored, tensor.elem()).expect(name), *tensor, "{name}");
        }
    }
}
