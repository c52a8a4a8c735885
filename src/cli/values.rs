//! Values on the command line: `--set`, `--dim` and `--arg`.
//!
//! `--set` and `--dim` repeat, or take commas outside parentheses: `--set T=bf16,warps=(2,2)` is two settings. An argument's value is a
//! number, `PATH.npy`, `PATH.npy:transpose(0,2,1,3)` or `random[:SEED]`.

use std::path::PathBuf;

use tilewright_compiler::tile::Const;

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
    Npy { path: PathBuf, transpose: Option<Vec<usize>> },
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
    } else if value.ends_with(".npy") {
        ArgValue::Npy { path: value.into(), transpose: None }
    } else if let Some((path, view)) = value.rsplit_once(".npy:") {
        let order = view.strip_prefix("transpose(").and_then(|v| v.strip_suffix(')'));
        let order =
            order.ok_or_else(|| wrong("after PATH.npy: comes transpose(…), e.g. transpose(0,2,1,3)"))?;
        let axes: Result<Vec<usize>, _> = order.split(',').map(|axis| axis.trim().parse()).collect();
        let axes = axes
            .map_err(|_| wrong("transpose(…) takes the axes in their new order, e.g. transpose(0,2,1,3)"))?;
        ArgValue::Npy { path: format!("{path}.npy").into(), transpose: Some(axes) }
    } else if value.contains(".safetensors:") {
        return Err(Failure::input(format!("--arg {text}: .safetensors files cannot be read yet"))
            .help("save the tensor as .npy: numpy.save(path, array)"));
    } else {
        ArgValue::Number(number(value).ok_or_else(|| {
            wrong("the value is none of: a number, PATH.npy, PATH.npy:transpose(…), random, random:SEED")
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

/// `--out NAME=PATH`
pub fn outputs(texts: &[String]) -> Result<Vec<(String, PathBuf)>, Failure> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, path)) if !name.trim().is_empty() && !path.trim().is_empty() => {
            Ok((name.trim().to_string(), PathBuf::from(path.trim())))
        }
        _ => Err(Failure::Usage(format!("--out {text}: expected NAME=PATH.npy"))),
    };
    texts.iter().map(pair).collect()
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
        assert_eq!(value("a=x=y,z.npy"), ArgValue::Npy { path: "x=y,z.npy".into(), transpose: None });
        assert_eq!(
            value("a=d/x.npy:transpose(0, 2,1)"),
            ArgValue::Npy { path: "d/x.npy".into(), transpose: Some(vec![0, 2, 1]) }
        );
        for bad in ["a", "a=", "a=file.bin", "a=random:x", "a=x.npy:flip(0)", "a=x.npy:transpose(a)"] {
            assert!(matches!(argument(bad), Err(Failure::Usage(_))), "{bad}");
        }
    }
}
