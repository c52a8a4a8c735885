//! The `.safetensors` container: a length, a JSON header with each tensor's type, shape and place, then all elements, row-major and
//! little-endian.
//!
//! Weights come in files of many gigabytes, and a launch wants one tensor of them: only the header and that tensor's bytes are read. The
//! header is checked (by the `safetensors` crate: places follow each other without gaps, sizes are those of the shapes) and compared with
//! the file's length before anything is allocated, so a hostile header is an error and never an abort.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use ::safetensors::tensor::{Dtype, Metadata, TensorView, serialize};
use thiserror::Error;

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafeArray {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// Why a tensor cannot be read or written. Each is the file's fault, the caller's or the system's.
#[derive(Debug, Error)]
pub enum SafeError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is not a .safetensors file: {reason}", path.display())]
    NotSafetensors { path: PathBuf, reason: String },
    #[error("{} says it holds {want} bytes of elements but has {got}: the file is cut off or damaged", path.display())]
    WrongLength { path: PathBuf, want: u64, got: u64 },
    #[error("{} has no tensor {name:?}; {}", path.display(), known(.names, .near))]
    NoSuchTensor { path: PathBuf, name: String, near: Option<String>, names: Vec<String> },
    #[error("{} holds {} tensors: say which, as {}:NAME; {}", path.display(), .names.len(), path.display(), known(.names, &None))]
    WhichTensor { path: PathBuf, names: Vec<String> },
    #[error("{} cannot hold this: {reason}", path.display())]
    Unwritable { path: PathBuf, reason: String },
}

/// `did you mean "a"? it has "a", "b" and 3 more`
fn known(names: &[String], near: &Option<String>) -> String {
    const SHOWN: usize = 8;
    let list: Vec<String> = names.iter().take(SHOWN).map(|name| format!("{name:?}")).collect();
    let more = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let near = near.as_ref().map_or(String::new(), |near| format!("did you mean {near:?}? "));
    if names.is_empty() { "it has none".into() } else { format!("{near}it has {}{more}", list.join(", ")) }
}

/// The longest header that is believed; the crate's own limit.
const MAX_HEADER: u64 = 100_000_000;

impl SafeArray {
    /// Reads the tensor of that name; without a name, the only one.
    pub fn read(path: &Path, name: Option<&str>) -> Result<SafeArray, SafeError> {
        Ok(SafeFile::open(path)?.tensor(name)?.1)
    }
}

/// An open file: its header is read and its length checked.
#[derive(Debug)]
pub struct SafeFile {
    path: PathBuf,
    file: File,
    header: Metadata,
    /// Where elements begin.
    start: u64,
}

impl SafeFile {
    /// Opens a file and reads its header.
    pub fn open(path: &Path) -> Result<SafeFile, SafeError> {
        let failed = |source| SafeError::Read { path: path.into(), source };
        let not = |reason: String| SafeError::NotSafetensors { path: path.into(), reason };
        let mut file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        let mut word = [0; 8];
        file.read_exact(&mut word)
            .map_err(|_| not("it is shorter than the 8 bytes that every such file begins with".into()))?;
        let header_len = u64::from_le_bytes(word);
        let Some(elements) = len.checked_sub(8).and_then(|rest| rest.checked_sub(header_len)) else {
            return Err(not("its header is cut off, or its first 8 bytes are no length".into()));
        };
        if header_len > MAX_HEADER {
            return Err(not(format!("its header would be {header_len} bytes long")));
        }
        let mut header = vec![0; header_len as usize];
        file.read_exact(&mut header).map_err(failed)?;
        let header: Metadata =
            serde_json::from_slice(&header).map_err(|e| not(format!("its header is wrong: {e}")))?;
        let want = header.data_len() as u64;
        if want != elements {
            return Err(SafeError::WrongLength { path: path.into(), want, got: elements });
        }
        Ok(SafeFile { path: path.into(), file, header, start: 8 + header_len })
    }

    /// As messages call it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of its tensors, in order.
    pub fn names(&self) -> Vec<String> {
        let mut names = self.header.offset_keys();
        names.sort();
        names
    }

    /// What the file says beside its tensors.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.header.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// Type and shape of a tensor.
    pub fn facts(&self, name: &str) -> Option<(Dtype, &[usize])> {
        self.header.info(name).map(|info| (info.dtype, &info.shape[..]))
    }

    /// Reads the tensor of that name; without a name, the only one. Gives its name, too.
    pub fn tensor(&mut self, name: Option<&str>) -> Result<(String, SafeArray), SafeError> {
        let path = || self.path.clone();
        let failed = |source| SafeError::Read { path: path(), source };
        let name = match name {
            Some(name) => name.to_string(),
            None => match &self.header.offset_keys()[..] {
                [only] => only.clone(),
                _ => return Err(SafeError::WhichTensor { path: path(), names: self.names() }),
            },
        };
        let Some(info) = self.header.info(&name) else {
            let names = self.names();
            let near = tilewright_compiler::diagnostics::near(&name, names.iter().map(String::as_str));
            let near = near.map(String::from);
            return Err(SafeError::NoSuchTensor { path: path(), name, near, names });
        };
        let (start, end) = info.data_offsets;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(end - start).map_err(|_| failed(io::ErrorKind::OutOfMemory.into()))?;
        bytes.resize(end - start, 0);
        let array = SafeArray { dtype: info.dtype, shape: info.shape.clone(), bytes: Vec::new() };
        let mut read = || {
            self.file.seek(SeekFrom::Start(self.start + start as u64))?;
            self.file.read_exact(&mut bytes)
        };
        match read() {
            Ok(()) => Ok((name, SafeArray { bytes, ..array })),
            Err(source) => Err(SafeError::Read { path: self.path.clone(), source }),
        }
    }
}

/// Writes a file with these tensors.
pub fn write(path: &Path, tensors: &[(String, SafeArray)]) -> Result<(), SafeError> {
    write_with(path, tensors, None)
}

/// Writes a file with these tensors, and words beside them.
pub fn write_with(
    path: &Path,
    tensors: &[(String, SafeArray)],
    metadata: Option<HashMap<String, String>>,
) -> Result<(), SafeError> {
    let unwritable = |reason: String| SafeError::Unwritable { path: path.into(), reason };
    let views = tensors
        .iter()
        .map(|(name, t)| Ok((name.as_str(), TensorView::new(t.dtype, t.shape.clone(), &t.bytes)?)))
        .collect::<Result<Vec<_>, ::safetensors::SafeTensorError>>()
        .map_err(|e| unwritable(e.to_string()))?;
    let file = serialize(views, metadata).map_err(|e| unwritable(e.to_string()))?;
    fs::write(path, file).map_err(|source| SafeError::Write { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn two() -> Vec<(String, SafeArray)> {
        let a = SafeArray { dtype: Dtype::BF16, shape: vec![2, 1], bytes: vec![0, 1, 2, 3] };
        let b = SafeArray { dtype: Dtype::F8_E4M3, shape: vec![0], bytes: vec![] };
        vec![("layer.0/a:x".into(), a), ("b".into(), b)]
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    #[test]
    fn what_is_written_reads_back() {
        let folder = folder();
        let path = folder.path().join("x.safetensors");
        write(&path, &two()).expect("written");
        for (name, tensor) in two() {
            assert_eq!(SafeArray::read(&path, Some(&name)).expect("read"), tensor);
        }
        write(&path, &two()[..1]).expect("written");
        assert_eq!(SafeArray::read(&path, None).expect("the only one"), two()[0].1);
    }

    #[test]
    fn names_are_listed() {
        let folder = folder();
        let path = folder.path().join("x.safetensors");
        write(&path, &two()).expect("written");
        let said = |name| {
            let error = SafeArray::read(&path, name).expect_err("no such tensor").to_string();
            error.replace(&folder.path().display().to_string(), "")
        };
        assert_eq!(
            said(Some("layer.0/a.x")),
            "/x.safetensors has no tensor \"layer.0/a.x\"; did you mean \"layer.0/a:x\"? it has \"b\", \"layer.0/a:x\""
        );
        assert_eq!(
            said(None),
            "/x.safetensors holds 2 tensors: say which, as /x.safetensors:NAME; it has \"b\", \"layer.0/a:x\""
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let folder = folder();
        let path = folder.path().join("x.safetensors");
        let mut whole = Vec::new();
        let header = br#"{"a":{"dtype":"F16","shape":[3],"data_offsets":[0,6]}}"#;
        whole.extend_from_slice(&(header.len() as u64).to_le_bytes());
        whole.extend_from_slice(header);
        whole.extend_from_slice(&[0; 6]);
        let overlong = [&whole[..], &[0]].concat();
        let absurd = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
        let text = [&16u64.to_le_bytes()[..], b"not JSON at all "].concat();
        let wrong_size = String::from_utf8_lossy(&whole).replace("[3]", "[9]").into_bytes();
        for (file, expected) in [
            (&whole[..4], "shorter than the 8 bytes"),
            (&whole[..20], "cut off"),
            (&whole[..whole.len() - 1], "6 bytes of elements but has 5"),
            (&overlong, "6 bytes of elements but has 7"),
            (&absurd, "no length"),
            (&text, "its header is wrong"),
            (&wrong_size, "its header is wrong"),
        ] {
            fs::write(&path, file).expect("a file");
            let said = SafeArray::read(&path, Some("a")).expect_err(expected).to_string();
            assert!(said.contains(expected), "{said:?} does not say {expected:?}");
        }
        assert!(
            SafeArray::read(&folder.path().join("none"), None)
                .expect_err("none")
                .to_string()
                .contains("cannot read")
        );
    }

    proptest! {
        #[test]
        fn damage_is_an_error_and_never_a_panic(at in 0usize..120, value: u8, keep in 0usize..160) {
            let folder = folder();
            let path = folder.path().join("x.safetensors");
            write(&path, &two()).expect("written");
            let mut file = fs::read(&path).expect("written");
            let at = at % file.len();
            file[at] = value;
            file.truncate(keep);
            fs::write(&path, &file).expect("a file");
            let _ = SafeArray::read(&path, Some("b"));
        }
    }
}
