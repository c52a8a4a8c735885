//! The executor against a GPU: the same launch files on both, and the results beside each other.
//!
//! The launches are the corpus of other compilers' PTX beside the checkout (where it is there), and what `run --save-launch` writes of every
//! kernel of every example. Results are compared number by number: integers exactly, floats within what two orders of summation may differ
//! in, and where a case has a `check.json` of its own, both sides with what it expects.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps::{root, target_dir};

/// One launch file.
struct Case {
    name: String,
    launch: PathBuf,
    /// Element types of outputs, by file name, where the .npy does not say them (bf16 and 8-bit floats travel as integers).
    types: Vec<(String, String)>,
}

/// Runs every launch on the executor, and on the GPU unless `dry_run`; an error if there is none, or if results differ.
pub fn run(only: &str, dry_run: bool) -> Result<()> {
    let binary = binary()?;
    let folder = target_dir().join("exec-vs-gpu");
    std::fs::create_dir_all(&folder)?;
    let mut cases = corpus(&root().join("../shared/foreign_ptx"))?;
    cases.extend(examples(&binary, &folder)?);
    cases.retain(|case| case.name.contains(only));
    if cases.is_empty() {
        bail!("no launch is called like {only:?}");
    }
    if !dry_run && let Err(why) = exec(&binary, &cases[0], &folder.join("gpu"), &["--device", "cuda:0"]) {
        bail!(
            "nothing was compared, since the first launch does not run on a GPU: {why:#}\n(--dry-run does everything but that)"
        );
    }
    let mut failed = 0;
    for case in &cases {
        let result = if dry_run { rehearse(&binary, case, &folder) } else { compare(&binary, case, &folder) };
        match result {
            Ok(note) => println!("ok   {:<44} {note}", case.name),
            Err(why) => {
                failed += 1;
                println!("FAIL {:<44} {why:#}", case.name);
            }
        }
    }
    let all = cases.len();
    println!("{} of {all} launches {}", all - failed, if dry_run { "are ready for a GPU" } else { "agree" });
    if failed > 0 {
        bail!("{failed} of {all} launches failed");
    }
    Ok(())
}

/// The command line, in release.
fn binary() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("TILEWRIGHT") {
        return Ok(given.into());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--bin", "tilewright"])
        .current_dir(root())
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("the command line does not build");
    }
    Ok(target_dir().join("release/tilewright"))
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))?;
    let mut paths = entries.map(|e| Ok(e?.path())).collect::<Result<Vec<PathBuf>>>()?;
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn corpus(folder: &Path) -> Result<Vec<Case>> {
    if !folder.is_dir() {
        eprintln!("skipped: no {}", folder.display());
        return Ok(Vec::new());
    }
    let launches = sorted(folder)?.into_iter().map(|f| f.join("launch.json")).filter(|f| f.is_file());
    launches
        .map(|launch| case(format!("foreign/{}", file_name(launch.parent().unwrap_or(folder))), launch))
        .collect()
}

/// Compiles every kernel of every example and saves its launches.
fn examples(binary: &Path, folder: &Path) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for file in sorted(&root().join("dsl_examples"))? {
        if file.extension().is_none_or(|e| e != "tw") {
            continue;
        }
        let text = std::fs::read_to_string(&file)?;
        let kernels = text.lines().filter_map(|line| line.strip_prefix("kernel "));
        for kernel in kernels
            .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>())
        {
            let name = format!("{}/{kernel}", file_name(&file));
            let saved = folder.join("saved").join(name.replace('/', "-"));
            let _ = std::fs::remove_dir_all(&saved);
            let done = Command::new(binary)
                .arg("run")
                .arg(&file)
                .args(["--device", "cpu", "--kernel", &kernel, "--save-launch"])
                .arg(&saved)
                .output()
                .context("cannot run tilewright")?;
            if !saved.is_dir() {
                let said = String::from_utf8_lossy(&done.stderr);
                let first = said.lines().find(|l| !l.trim().is_empty()).unwrap_or("no launch").to_string();
                println!("     {name:<44} not compiled: {first}");
                continue;
            }
            for launch in sorted(&saved)?.into_iter().filter(|f| f.extension().is_some_and(|e| e == "json")) {
                cases.push(case(format!("{name}/{}", file_name(&launch)), launch)?);
            }
        }
    }
    Ok(cases)
}

fn case(name: String, launch: PathBuf) -> Result<Case> {
    let json: Value = serde_json::from_str(&std::fs::read_to_string(&launch)?)?;
    let args = json["args"].as_array().cloned().unwrap_or_default();
    let types = args
        .iter()
        .flat_map(|arg| [&arg["buffer"], &arg["tensormap"]])
        .filter_map(|spec| Some((spec["out"].as_str()?.to_string(), spec["dtype"].as_str()?.to_string())));
    let types = types.collect();
    Ok(Case { name, launch, types })
}

/// Runs a case with its outputs in `out`; gives what it printed.
fn exec(binary: &Path, case: &Case, out: &Path, flags: &[&str]) -> Result<Value> {
    let _ = std::fs::remove_dir_all(out);
    let done = Command::new(binary)
        .arg("exec")
        .arg(&case.launch)
        .args(["--json", "--timeout", "120", "--out-dir"])
        .arg(out)
        .args(flags)
        .output()
        .context("cannot run tilewright")?;
    let said = String::from_utf8_lossy(&done.stdout);
    let object: Value = serde_json::from_str(said.trim()).unwrap_or_default();
    if !done.status.success() {
        let why = object["message"].as_str().map(str::to_string);
        bail!(
            "{}",
            why.unwrap_or_else(|| format!(
                "{} {}",
                said.trim(),
                String::from_utf8_lossy(&done.stderr).trim()
            ))
        );
    }
    Ok(object)
}

/// All that can be done without a GPU.
fn rehearse(binary: &Path, case: &Case, folder: &Path) -> Result<String> {
    let plan = exec(binary, case, &folder.join("plan"), &["--device", "cuda:0", "--dry-run"])?;
    exec(binary, case, &folder.join("cpu"), &[])?;
    let outputs = sorted(&folder.join("cpu"))?;
    for path in &outputs {
        Array::read(path, case)?;
    }
    let first = plan["launch"][0].as_str().unwrap_or_default().to_string();
    Ok(format!("{} outputs; {first}", outputs.len()))
}

fn compare(binary: &Path, case: &Case, folder: &Path) -> Result<String> {
    let (cpu, gpu) = (folder.join("cpu"), folder.join("gpu"));
    exec(binary, case, &cpu, &[])?;
    let ran = exec(binary, case, &gpu, &["--device", "cuda:0"])?;
    let own = case.launch.with_file_name("check.json");
    let own: Option<Value> =
        std::fs::read_to_string(own).ok().and_then(|text| serde_json::from_str(&text).ok());
    let mut worst = 0.0f64;
    for path in sorted(&cpu)? {
        let name = file_name(&path);
        let (ours, theirs) = (Array::read(&path, case)?, Array::read(&gpu.join(&name), case)?);
        if let Some(check) = own.as_ref().and_then(|checks| checks.get(&name)) {
            let wanted = Array::read(&case.launch.with_file_name("expected").join(&name), case)?;
            let tolerance = (check["atol"].as_f64().unwrap_or(0.0), check["rtol"].as_f64().unwrap_or(0.0));
            theirs.differs(&wanted, tolerance).context("the GPU against what is expected")?;
            ours.differs(&wanted, tolerance).context("the executor against what is expected")?;
        }
        let largest = ours.values.iter().filter(|v| v.is_finite()).fold(0.0f64, |m, v| m.max(v.abs()));
        let tolerance = (ours.rounding * largest, ours.rounding);
        worst = worst.max(ours.differs(&theirs, tolerance).with_context(|| name.clone())?);
    }
    Ok(format!(
        "{} on {}",
        format_args!("largest difference {worst:.2e}"),
        ran["device"].as_str().unwrap_or("?")
    ))
}

/// An .npy file's numbers.
struct Array {
    values: Vec<f64>,
    /// What two orders of summation may differ in, relative: 0 for integers.
    rounding: f64,
}

impl Array {
    fn read(path: &Path, case: &Case) -> Result<Array> {
        let bytes = std::fs::read(path).with_context(|| format!("no {}", path.display()))?;
        let bad = || format!("{} is no .npy file", path.display());
        let (start, length) = match bytes.get(6) {
            Some(1) => (10, usize::from(u16::from_le_bytes([bytes[8], bytes[9]]))),
            _ => (12, bytes.get(8..12).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)),
        };
        let header =
            String::from_utf8_lossy(bytes.get(start..start + length).with_context(bad)?).into_owned();
        let descr =
            header.split("'descr':").nth(1).and_then(|rest| rest.split('\'').nth(1)).with_context(bad)?;
        let given = case.types.iter().find(|(name, _)| *name == file_name(path)).map(|(_, ty)| ty.as_str());
        let ty = match (given, descr) {
            (Some(ty @ ("bf16" | "e4m3" | "e5m2")), _) => ty,
            _ => descr.trim_start_matches(['<', '|', '=']),
        };
        let size = match ty {
            "bf16" => 2,
            "e4m3" | "e5m2" | "?" | "b1" => 1,
            other => other.get(1..).and_then(|n| n.parse().ok()).with_context(bad)?,
        };
        let word = |chunk: &[u8]| chunk.iter().rev().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
        let value = |chunk: &[u8]| {
            let bits = word(chunk);
            match ty {
                "f2" => small(bits, 5, 10, true),
                "bf16" => f64::from(f32::from_bits((bits as u32) << 16)),
                "e5m2" => small(bits, 5, 2, true),
                "e4m3" => small(bits, 4, 3, false),
                "f4" => f64::from(f32::from_bits(bits as u32)),
                "f8" => f64::from_bits(bits),
                signed if signed.starts_with('i') => {
                    ((bits << (64 - 8 * size)) as i64 >> (64 - 8 * size)) as f64
                }
                _ => bits as f64,
            }
        };
        let rounding = match ty {
            "f2" => 2f64.powi(-9),
            "bf16" => 2f64.powi(-6),
            "e4m3" | "e5m2" => 2f64.powi(-2),
            "f4" => 1e-4,
            "f8" => 1e-9,
            _ => 0.0,
        };
        let data = bytes.get(start + length..).with_context(bad)?;
        Ok(Array { values: data.chunks_exact(size).map(value).collect(), rounding })
    }

    /// The largest difference, or where it is too large.
    fn differs(&self, other: &Array, (atol, rtol): (f64, f64)) -> Result<f64> {
        if self.values.len() != other.values.len() {
            bail!("{} numbers and {}", self.values.len(), other.values.len());
        }
        let mut worst = 0.0f64;
        for (at, (a, b)) in self.values.iter().zip(&other.values).enumerate() {
            if a == b || (a.is_nan() && b.is_nan()) {
                continue;
            }
            let difference = (a - b).abs();
            if difference.is_nan() || difference > atol + rtol * b.abs() {
                bail!("number {at} is {a}, and {b} on the other side");
            }
            worst = worst.max(difference);
        }
        Ok(worst)
    }
}

/// A float of `exponent` and `mantissa` bits; `ieee` has infinities.
fn small(bits: u64, exponent: u32, mantissa: u32, ieee: bool) -> f64 {
    let sign = if bits >> (exponent + mantissa) & 1 != 0 { -1.0 } else { 1.0 };
    let (e, m) = (bits >> mantissa & ((1 << exponent) - 1), bits & ((1 << mantissa) - 1));
    let (last, bias) = ((1 << exponent) - 1, (1 << (exponent - 1)) - 1);
    if e == last && (ieee || m == (1 << mantissa) - 1) {
        return if ieee && m == 0 { sign * f64::INFINITY } else { f64::NAN };
    }
    let fraction = m as f64 / (1u64 << mantissa) as f64;
    if e == 0 {
        return sign * fraction * 2f64.powi(1 - bias);
    }
    sign * (1.0 + fraction) * 2f64.powi(e as i32 - bias)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(values: &[f64]) -> Array {
        Array { values: values.to_vec(), rounding: 0.0 }
    }

    #[test]
    fn small_floats_are_read() {
        assert_eq!(small(0x3c00, 5, 10, true), 1.0);
        assert_eq!(small(0xfc00, 5, 10, true), f64::NEG_INFINITY);
        assert_eq!(small(0x0001, 5, 10, true), 2f64.powi(-24));
        assert_eq!(small(0x7e, 4, 3, false), 448.0);
        assert!(small(0x7f, 4, 3, false).is_nan());
        assert_eq!(small(0xc1, 5, 2, true), -2.5);
    }

    #[test]
    fn differences_are_judged_number_by_number() {
        assert_eq!(array(&[1.0, f64::NAN]).differs(&array(&[1.0, f64::NAN]), (0.0, 0.0)).unwrap(), 0.0);
        assert!(array(&[1.0]).differs(&array(&[1.1]), (0.0, 0.05)).is_err());
        assert!(array(&[f64::NAN]).differs(&array(&[1.0]), (1e9, 1e9)).is_err());
        assert!(array(&[1.0]).differs(&array(&[1.04]), (0.0, 0.05)).unwrap() > 0.03);
        assert!(array(&[1.0]).differs(&array(&[1.0, 2.0]), (0.0, 0.0)).is_err());
    }
}
