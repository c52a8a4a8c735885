//! Values on the command line: `--set`, `--dim` and `--arg`.
//!
//! `--set` and `--dim` repeat, or take commas outside parentheses: `--set T=bf16,warps=(2,2)` is two settings. An argument's value is a
//! number, `random[:SEED]`, or a place in a file as [`FilePlace`] spells it.

use tilewright_compiler::tile::Const;
use tilewright_runtime::tensor::FilePlace;

use super::Failure;

/// `NAME=VALUE` pairs of an option that repeats and takes commas, each name once.
pub fn pairs(option: &str, texts: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let mut all = Vec::new();
    for text in texts {
        for part in split(text) {
            let Some((name, value)) = part.split_once('=') else {
                return Err(Failure::Usage(format!("{option} {part}: expected NAME=VALUE")));
            };
            let (name, value) = (name.trim(), value.trim());
            if name.is_empty() || value.is_empty() {
                return Err(Failure::Usage(format!("{option} {part}: expected NAME=VALUE")));
            }
            if let Some((_, before)) = all.iter().find(|(known, _)| known == name) {
                return Err(Failure::Usage(format!(
                    "{option}: {name} is given twice, as {before} and as {value}"
                )));
            }
            all.push((name.to_string(), value.to_string()));
        }
    }
    Ok(all)
}

/// `--set`; an item without a value is a flag (`persistent`), which the schedule writes in the same way.
pub fn sets(texts: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let spelled: Vec<String> = texts
        .iter()
        .flat_map(|text| split(text))
        .map(|part| if part.contains('=') { part.to_string() } else { format!("{part}=true") })
        .collect();
    pairs("--set", &spelled)
}

/// `--dim`
pub fn dims(texts: &[String]) -> Result<Vec<(String, i64)>, Failure> {
    let number = |(name, value): (String, String)| match value.replace('_', "").parse::<i64>() {
        Ok(n) if n >= 0 => Ok((name, n)),
        _ => Err(Failure::Usage(format!("--dim {name}={value}: a dimension is a whole number, 0 or more"))),
    };
    pairs("--dim", texts)?.into_iter().map(number).collect()
}

/// Parts between commas that are outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0usize, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// What `--arg NAME=VALUE` says.
#[derive(Clone, Debug, PartialEq)]
pub enum ArgValue {
    Number(Const),
    File(FilePlace),
    Random(Option<u64>),
}

/// `--arg`: one pair each (a path may hold commas).
pub fn argument(text: &str) -> Result<(String, ArgValue), Failure> {
    let wrong = |why: &str| Failure::Usage(format!("--arg {text}: {why}"));
    let (name, value) = text.split_once('=').ok_or_else(|| wrong("expected NAME=VALUE"))?;
    let (name, value) = (name.trim().to_string(), value.trim());
    let parsed = if value == "random" {
        ArgValue::Random(None)
    } else if let Some(seed) = value.strip_prefix("random:") {
        ArgValue::Random(Some(seed.parse().map_err(|_| wrong("the seed of random:SEED is a whole number"))?))
    } else if let Some(place) = FilePlace::parse(value) {
        ArgValue::File(place.map_err(|why| wrong(&why))?)
    } else {
        ArgValue::Number(number(value).ok_or_else(|| {
            wrong("the value is none of: a number, PATH.npy, PATH.safetensors:TENSOR, a path and :transpose(…), random, random:SEED")
        })?)
    };
    Ok((name, parsed))
}

/// A number as the language writes it, with a sign.
fn number(text: &str) -> Option<Const> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let plain = digits.replace('_', "");
    let integer = match plain.get(..2) {
        Some("0x") => i128::from_str_radix(&plain[2..], 16).ok(),
        Some("0b") => i128::from_str_radix(&plain[2..], 2).ok(),
        _ if plain.bytes().all(|b| b.is_ascii_digit()) => plain.parse().ok(),
        _ => None,
    };
    match (integer, digits) {
        (Some(v), _) => Some(Const::Int(sign * v)),
        (None, "true") => Some(Const::Bool(true)),
        (None, "false") => Some(Const::Bool(false)),
        (None, "inf" | "nan") => text.parse().ok().map(Const::Float),
        (None, _) if plain.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
            plain.parse::<f64>().ok().map(|x| Const::Float(sign as f64 * x))
        }
        _ => None,
    }
}

/// Whether a path says nothing about a format: no ending, or something that is there and is no plain file.
fn plain_name(path: &str) -> bool {
    let path = std::path::Path::new(path);
    path.extension().is_none() || path.metadata().is_ok_and(|about| !about.is_file() && !about.is_dir())
}

/// `--out NAME=PATH`; two of them may share a `.safetensors` file, under different names.
pub fn outputs(texts: &[String]) -> Result<Vec<(String, FilePlace)>, Failure> {
    let mut all: Vec<(String, FilePlace)> = Vec::new();
    for text in texts {
        let wrong = |why: &str| Failure::Usage(format!("--out {text}: {why}"));
        let pair = text.split_once('=').map(|(name, path)| (name.trim(), path.trim()));
        let (name, path) = pair
            .filter(|(name, path)| !name.is_empty() && !path.is_empty())
            .ok_or_else(|| wrong("expected NAME=PATH.npy or NAME=PATH.safetensors[:TENSOR]"))?;
        let place = match FilePlace::parse(path) {
            Some(place) => place.map_err(|why| wrong(&why))?,
            // Devices and pipes have no such names: /dev/stdout is written as .npy, and so is a file without an ending.
            None if plain_name(path) => FilePlace { path: path.into(), tensor: None, transpose: None },
            None => return Err(wrong("results are written as PATH.npy or PATH.safetensors[:TENSOR]")),
        };
        if place.transpose.is_some() {
            return Err(wrong("a result is written as it is; transpose(…) is for --arg"));
        }
        let clash = |(other_name, other): &&(String, FilePlace)| {
            let called = |name: &str, place: &FilePlace| place.tensor.clone().unwrap_or_else(|| name.into());
            let shared = place.path.extension().is_some_and(|e| e == "safetensors");
            other.path == place.path && (!shared || called(other_name, other) == called(name, &place))
        };
        if let Some((other, _)) = all.iter().find(clash) {
            return Err(wrong(&format!("{other} goes there already")));
        }
        all.push((name.to_string(), place));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets_of(texts: &[&str]) -> Vec<(String, String)> {
        sets(&texts.iter().map(|t| t.to_string()).collect::<Vec<_>>()).unwrap()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn commas_split_outside_parentheses() {
        assert_eq!(
            sets_of(&["T=bf16, warps=(2,2)", "k.stages=4", "persistent"]),
            [pair("T", "bf16"), pair("warps", "(2,2)"), pair("k.stages", "4"), pair("persistent", "true")]
        );
        assert!(matches!(sets(&["=3".into()]), Err(Failure::Usage(_))));
        assert!(matches!(sets(&["BM=64".into(), "BN=64,BM=128".into()]), Err(Failure::Usage(_))));
    }

    #[test]
    fn dimensions_are_whole_numbers() {
        assert_eq!(dims(&["M=1_024,N=0".into()]).unwrap(), [("M".into(), 1024), ("N".into(), 0)]);
        for bad in ["M=-1", "M=x", "M", "M=1.5", "M=", "M=1,M=2"] {
            assert!(matches!(dims(&[bad.into()]), Err(Failure::Usage(_))), "{bad}");
        }
    }

    #[test]
    fn arguments_of_every_kind() {
        let value = |text: &str| argument(text).unwrap().1;
        assert_eq!(value("n=-3"), ArgValue::Number(Const::Int(-3)));
        assert_eq!(value("n=0x1f"), ArgValue::Number(Const::Int(31)));
        assert_eq!(value("s=0.5"), ArgValue::Number(Const::Float(0.5)));
        assert_eq!(value("s=-1e-3"), ArgValue::Number(Const::Float(-1e-3)));
        assert_eq!(value("s=-inf"), ArgValue::Number(Const::Float(f64::NEG_INFINITY)));
        assert_eq!(value("a=random:7"), ArgValue::Random(Some(7)));
        let file = |path: &str, tensor: Option<&str>, transpose| {
            ArgValue::File(FilePlace { path: path.into(), tensor: tensor.map(String::from), transpose })
        };
        assert_eq!(value("a=x=y,z.npy"), file("x=y,z.npy", None, None));
        assert_eq!(value("a=d/x.npy:transpose(0, 2,1)"), file("d/x.npy", None, Some(vec![0, 2, 1])));
        assert_eq!(value("a=w.safetensors:q.w"), file("w.safetensors", Some("q.w"), None));
        for bad in [
            "a",
            "a=",
            "a=file.bin",
            "a=random:x",
            "a=x.npy:flip(0)",
            "a=x.npy:transpose(a)",
            "a=w.safetensors:",
        ] {
            assert!(matches!(argument(bad), Err(Failure::Usage(_))), "{bad}");
        }
    }

    #[test]
    fn outputs_do_not_overwrite_each_other() {
        let of = |texts: &[&str]| outputs(&texts.iter().map(|t| t.to_string()).collect::<Vec<_>>());
        assert_eq!(of(&["c=c.npy", "d=d.npy"]).unwrap().len(), 2);
        assert_eq!(
            of(&["c=x.safetensors", "d=x.safetensors:c2"]).unwrap()[1].1.tensor.as_deref(),
            Some("c2")
        );
        assert_eq!(of(&["c=/dev/full"]).unwrap()[0].1.path.to_str(), Some("/dev/full"));
        for bad in [
            &["c=x.npy", "d=x.npy"][..],
            &["c=x.safetensors", "d=x.safetensors:c"],
            &["c=x.npy:transpose(1,0)"],
            &["c=x.npy:y"],
            &["c="],
            &["c"],
        ] {
            assert!(matches!(of(bad), Err(Failure::Usage(_))), "{bad:?}");
        }
    }
}
