//! Where a checkpoint's tensors are: in one `.safetensors` file, in the shards that a `model.safetensors.index.json` names, or in all such files
//! of a folder. Only headers are read until a tensor is asked for.
//!
//! What a file's header says is checked by [`SafeFile`]. An index may name files of its own folder only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Format, ImportError};
use crate::tensor::{SafeArray, SafeFile};

/// The name that sharded checkpoints give their index.
const INDEX: &str = "model.safetensors.index.json";

/// An open checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    files: Vec<SafeFile>,
    /// Which file has a tensor.
    at: BTreeMap<String, usize>,
    /// `quantization_config` of the `config.json` beside the files, or their `quantize_config.json`.
    config: Value,
}

impl Checkpoint {
    /// Opens a file, an index or a folder.
    pub fn open(path: &Path) -> Result<Checkpoint, ImportError> {
        let about = fs::metadata(path).map_err(|source| ImportError::Read { path: path.into(), source })?;
        let (folder, paths) = if about.is_dir() {
            let index = path.join(INDEX);
            let paths = if index.is_file() { shards(&index)? } else { all_files(path)? };
            (path.to_path_buf(), paths)
        } else {
            let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
            let json = path.extension().is_some_and(|e| e == "json");
            (folder, if json { shards(path)? } else { vec![path.to_path_buf()] })
        };
        let mut files = Vec::new();
        let mut at = BTreeMap::new();
        for path in paths {
            let file = SafeFile::open(&path)?;
            for name in file.names() {
                if let Some(other) = at.insert(name.clone(), files.len())
                    && other != files.len()
                {
                    return Err(ImportError::Folder {
                        reason: format!("it has {name:?}, and so does another file of the checkpoint"),
                        path,
                        hint: "name one file, or the folder's model.safetensors.index.json".into(),
                    });
                }
            }
            files.push(file);
        }
        let read =
            |name: &str| -> Option<Value> { serde_json::from_slice(&fs::read(folder.join(name)).ok()?).ok() };
        // Older tools wrote a file of its own.
        let config = read("config.json").map(|config| config["quantization_config"].clone());
        let config = config.filter(Value::is_object).or_else(|| read("quantize_config.json"));
        let config = config.unwrap_or_default();
        Ok(Checkpoint { path: path.into(), files, at, config })
    }

    pub fn has(&self, tensor: &str) -> bool {
        self.at.contains_key(tensor)
    }

    /// Shape of a tensor, if it is there.
    pub fn shape(&self, tensor: &str) -> Option<&[usize]> {
        self.files[*self.at.get(tensor)?].facts(tensor).map(|(_, shape)| shape)
    }

    /// Reads a tensor.
    pub fn tensor(&mut self, name: &str) -> Result<SafeArray, ImportError> {
        match self.at.get(name) {
            Some(&at) => Ok(self.files[at].tensor(Some(name))?.1),
            None => {
                let near = tilewright_compiler::diagnostics::near(name, self.at.keys().map(String::as_str));
                let module = name.rsplit_once('.').map_or(name, |(module, _)| module);
                let beside: Vec<&str> =
                    self.at.keys().filter(|n| n.starts_with(module)).take(6).map(String::as_str).collect();
                let hint = match near {
                    Some(near) => format!("did you mean {near}?"),
                    None if beside.is_empty() => {
                        "is it in another file of the checkpoint? name the folder or the index".into()
                    }
                    None => format!(
                        "there are {}; is the rest in another file? name the folder or the index",
                        beside.join(", ")
                    ),
                };
                Err(ImportError::Tensor {
                    path: self.path.clone(),
                    tensor: name.into(),
                    reason: "there is no such tensor".into(),
                    hint,
                })
            }
        }
    }

    /// An error about a tensor.
    pub fn wrong(&self, tensor: &str, reason: impl Into<String>, hint: impl Into<String>) -> ImportError {
        let file = self.at.get(tensor).and_then(|&at| self.files.get(at));
        let path = file.map_or_else(|| self.path.clone(), |file| file.path().to_path_buf());
        ImportError::Tensor { path, tensor: tensor.into(), reason: reason.into(), hint: hint.into() }
    }

    /// The modules that have quantised weights, in order.
    pub fn modules(&self) -> Vec<String> {
        const MARKS: [&str; 4] = [".qweight", "_blocks", ".blocks", ".weight_packed"];
        let mut found = BTreeSet::new();
        for name in self.at.keys() {
            let marked = MARKS.iter().find_map(|mark| name.strip_suffix(mark));
            // ModelOpt calls packed nibbles `weight`; its second scale tells them from others.
            let modelopt = name.strip_suffix(".weight_scale_2");
            found.extend(marked.or(modelopt).map(String::from));
        }
        found.into_iter().collect()
    }

    /// A module's format, by the tensors that it has and their shapes.
    pub fn format_of(&self, module: &str) -> Result<Format, ImportError> {
        let shape = |suffix: &str| self.shape(&format!("{module}{suffix}"));
        let v2 = ["checkpoint_format", "quant_method"].iter().any(|key| self.config[*key] == "gptq_v2");
        if let (Some(&[_, columns]), Some(&[_, n])) = (shape(".qweight"), shape(".scales")) {
            return match columns {
                _ if columns == n && v2 => Ok(Format::GptqV2),
                _ if columns == n => Ok(Format::Gptq),
                _ if columns.checked_mul(8) == Some(n) => Ok(Format::Awq),
                _ => Err(self.wrong(
                    &format!("{module}.qweight"),
                    format!("it has {columns} columns and the scales {n}: neither GPTQ (as many) nor AWQ (an eighth)"),
                    "--format says which it is",
                )),
            };
        }
        if shape("_blocks").is_some() || shape(".blocks").is_some() {
            return Ok(Format::Mxfp4);
        }
        if shape(".weight_packed").is_some() || shape(".weight_scale_2").is_some() {
            return Ok(Format::Nvfp4);
        }
        let modules = self.modules();
        if modules.iter().any(|m| m == module) {
            let of =
                |name: &&String| name.strip_prefix(module).is_some_and(|rest| rest.starts_with(['.', '_']));
            let own: Vec<&str> = self.at.keys().filter(of).map(String::as_str).take(6).collect();
            return Err(ImportError::Tensor {
                path: self.path.clone(),
                tensor: module.into(),
                reason: "it has quantised weights, but not what tells their format".into(),
                hint: format!(
                    "it has {}; gptq and awq have .qweight and .scales of two dimensions, mxfp4 _blocks, nvfp4 .weight_packed or .weight_scale_2; --format says which it is",
                    own.join(", ")
                ),
            });
        }
        let near = tilewright_compiler::diagnostics::near(module, modules.iter().map(String::as_str));
        let hint = match (near, modules.len()) {
            (Some(near), _) => format!("did you mean {near}?"),
            (None, 0) => {
                "it has no quantised weights of a format that is known: gptq, awq, mxfp4, nvfp4".into()
            }
            (None, n) => format!(
                "its modules are {}{}",
                modules[..n.min(4)].join(", "),
                if n > 4 { ", …" } else { "" }
            ),
        };
        Err(ImportError::Tensor {
            path: self.path.clone(),
            tensor: module.into(),
            reason: "there is no module of that name with quantised weights".into(),
            hint,
        })
    }

    /// What the configuration says, where it is a whole number.
    pub fn configured(&self, key: &str) -> Option<usize> {
        self.config[key].as_u64().and_then(|n| usize::try_from(n).ok())
    }
}

/// The files that an index names.
fn shards(index: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let wrong = |reason: String| ImportError::Folder {
        path: index.into(),
        reason,
        hint: "an index has \"weight_map\": {\"TENSOR\": \"FILE.safetensors\", …}".into(),
    };
    let text = fs::read(index).map_err(|source| ImportError::Read { path: index.into(), source })?;
    let json: Value = serde_json::from_slice(&text).map_err(|e| wrong(format!("it is no JSON: {e}")))?;
    let map = json["weight_map"].as_object().ok_or_else(|| wrong("it has no weight_map".into()))?;
    let mut names = BTreeSet::new();
    for file in map.values() {
        let name = file.as_str().filter(|name| Path::new(name).file_name().is_some_and(|f| f == *name));
        names.insert(name.ok_or_else(|| wrong(format!("{file} is no name of a file in its folder")))?);
    }
    Ok(names.into_iter().map(|name| index.with_file_name(name)).collect())
}

fn all_files(folder: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let failed = |source| ImportError::Read { path: folder.into(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|e| e == "safetensors") {
            paths.push(path);
        }
    }
    paths.sort();
    match paths.is_empty() {
        true => Err(ImportError::Folder {
            path: folder.into(),
            reason: "it has no .safetensors files".into(),
            hint: "name the folder of a checkpoint, or one of its files".into(),
        }),
        false => Ok(paths),
    }
}
