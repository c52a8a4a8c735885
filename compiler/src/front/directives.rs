//! Corpus directives: `//;` lines that tell tests, and `run`, what to do with a file.
//!
//! | line | means |
//! | --- | --- |
//! | `//; dims: M=512, N=384` | values of dimensions that nothing else fixes |
//! | `//; set: T=bf16, warps=(2,2)` | static settings, as `--set` takes them |
//! | `//; run: seed=3` | run it: executor and evaluator must agree |
//! | `//; expect: error E0123 at 4:7` | the file must be refused so |

use super::program::{Directive, DirectiveKind};
use crate::diagnostics::{Diagnostic, Diagnostics, Span, codes};

const KEYS: &[&str] = &["dims", "set", "run", "expect"];

/// Reads one line, `//;` included; a line that is none is reported.
pub fn read(line: &str, span: Span, diagnostics: &mut Diagnostics) -> Option<Directive> {
    let text = line[3..].trim();
    let Some((key, rest)) = text.split_once(':').map(|(k, r)| (k.trim(), r.trim())) else {
        diagnostics.push(unknown(text, span));
        return None;
    };
    let kind = match key {
        "dims" => dims(rest),
        "set" => pairs(rest).map(DirectiveKind::Set),
        "run" => pairs(rest).map(DirectiveKind::Run),
        "expect" => expect(rest),
        _ => {
            diagnostics.push(unknown(key, span));
            return None;
        }
    };
    match kind {
        Ok(kind) => Some(Directive { kind, span }),
        Err(why) => {
            diagnostics.push(
                Diagnostic::error(codes::BAD_DIRECTIVE, format!("bad `{key}` directive")).label(span, why),
            );
            None
        }
    }
}

fn unknown(key: &str, span: Span) -> Diagnostic {
    let d = Diagnostic::warning(codes::BAD_DIRECTIVE, "`//;` without a known directive")
        .label(span, "read as a comment")
        .note("the directives are `dims:`, `set:`, `run:` and `expect:`");
    match crate::diagnostics::near(key, KEYS.iter().copied()) {
        Some(near) => d.help(format!("did you mean `{near}:`?")),
        None => d,
    }
}

/// `A=1, B=(2,2)`: splits at commas outside parentheses.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut parts = vec![String::new()];
    let mut depth = 0usize;
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("starts with one").push(c);
    }
    let mut out = vec![];
    for part in parts.iter().map(|p| p.trim()).filter(|p| !p.is_empty()) {
        let (name, value) = part.split_once('=').ok_or_else(|| format!("`{part}` is not NAME=VALUE"))?;
        out.push((name.trim().to_string(), value.trim().to_string()));
    }
    Ok(out)
}

fn dims(text: &str) -> Result<DirectiveKind, String> {
    let pairs = pairs(text)?;
    let number = |(name, value): (String, String)| match value.replace('_', "").parse() {
        Ok(v) => Ok((name, v)),
        Err(_) => Err(format!("`{value}` is not a dimension")),
    };
    pairs.into_iter().map(number).collect::<Result<_, _>>().map(DirectiveKind::Dims)
}

fn expect(text: &str) -> Result<DirectiveKind, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let form = "the form is `expect: error E0123 at LINE:COLUMN`";
    let [severity, code, "at", place] = words[..] else { return Err(form.into()) };
    let (line, column) = place.split_once(':').ok_or(form)?;
    let good = matches!(severity, "error" | "warning") && code.starts_with('E');
    match (line.parse(), column.parse()) {
        (Ok(line), Ok(column)) if good => Ok(DirectiveKind::Expect { code: code.to_string(), line, column }),
        _ => Err(form.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::FileId;

    fn one(line: &str) -> Option<DirectiveKind> {
        let mut d = Diagnostics::default();
        read(line, Span::new(FileId(0), 0, line.len()), &mut d).map(|d| d.kind)
    }

    #[test]
    fn reads_each_form() {
        let dims = DirectiveKind::Dims(vec![("M".into(), 512), ("N".into(), 384)]);
        assert_eq!(one("//; dims: M=512, N=384"), Some(dims));
        let set = DirectiveKind::Set(vec![("T".into(), "bf16".into()), ("warps".into(), "(2,2)".into())]);
        assert_eq!(one("//; set: T=bf16, warps=(2,2)"), Some(set));
        assert_eq!(one("//; run: seed=3"), Some(DirectiveKind::Run(vec![("seed".into(), "3".into())])));
        let expect = DirectiveKind::Expect { code: "E0123".into(), line: 4, column: 7 };
        assert_eq!(one("//; expect: error E0123 at 4:7"), Some(expect));
    }

    #[test]
    fn refuses_the_rest() {
        for bad in
            ["//; dims: M", "//; dims: M=x", "//; expect: E0123", "//; expect: error E1 at 4", "//; hello"]
        {
            assert_eq!(one(bad), None, "{bad}");
        }
    }
}
