//! `cargo xtask lowbit-grid`: products with weights of every type, on the executor, against sums in f64.
//!
//! ```text
//! 51 types × groups of 32, 64, 128 and whole channels × M of 1, 3, 16, 65, 300 × four targets
//!     --shuffled by --seed, which also draws N, K and the schedule--> --count of them --every n-th, from the i-th, by --shard i/n
//! ```
//! Weights are given as codes; what they are worth, and the product, is computed here once more, from the formats' definitions and in plain loops. A result
//! may be off by twice what the same sum in the kernel's own types is off by. The sanitizer watches. `--levels` takes
//! the same cases to `verify` instead: every level against the program's meaning.

mod cases;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use tilewright_compiler::compile::{Options, compile};
use tilewright_compiler::diagnostics::SourceMap;
use tilewright_compiler::front::{self, Memory};
use tilewright_compiler::numeric::{Format, Number};
use tilewright_compiler::tile::ElemType;
use tilewright_runtime::executor;
use tilewright_runtime::launch::on_cpu::run_on_cpu;
use tilewright_runtime::launch::{DimValues, Filling, Given, compare_floats, prepare};
use tilewright_runtime::tensor::HostTensor;
use tilewright_runtime::tensor::random::Stream;
use tilewright_runtime::verify::{self, Subject};

use crate::steps::root;
use cases::{Case, Problem, all, value};

/// What to run.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Decides the order of the cases, their N, K and schedule, and their inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many cases, over all shards [default: all]
    #[arg(long)]
    count: Option<usize>,
    /// The i-th of n parts, e.g. 1/4
    #[arg(long, value_name = "I/N", value_parser = crate::attention::shard)]
    shard: Option<(usize, usize)>,
    /// Only cases whose name has all of these words, e.g. "u3 M=1 sm_89"
    #[arg(long, default_value = "")]
    only: String,
    /// Every level against the program's meaning, as `verify` does it, instead of the PTX against sums in f64
    #[arg(long)]
    levels: bool,
    /// Print the cases and run none
    #[arg(long)]
    list: bool,
    /// In whatever build this is; else a debug build runs the same command in release
    #[arg(long)]
    as_built: bool,
}

impl Args {
    /// A sample that takes seconds: the first case of every type.
    pub fn quick() -> Args {
        Args {
            seed: 1,
            count: Some(51),
            shard: None,
            only: String::new(),
            levels: false,
            list: false,
            as_built: true,
        }
    }

    /// Whether this build is too slow for it.
    pub fn wants_release(&self) -> bool {
        cfg!(debug_assertions) && !self.list && !self.as_built
    }
}

/// The cases of a command line: of a sample every type has its share.
fn chosen(args: &Args) -> Vec<Case> {
    let words: Vec<&str> = args.only.split_whitespace().collect();
    let named = |c: &Case| {
        let name = c.to_string();
        words.iter().all(|word| name.split(' ').any(|part| part == *word))
    };
    let mut seen = std::collections::HashMap::new();
    let mut cases: Vec<(usize, Case)> = all(args.seed)
        .into_iter()
        .filter(|c| named(c))
        .map(|c| {
            let n = seen.entry(c.weight.to_string()).or_insert(0);
            *n += 1;
            (*n, c)
        })
        .collect();
    cases.sort_by_key(|(n, _)| *n);
    let (i, n) = args.shard.unwrap_or((1, 1));
    let taken = cases.into_iter().take(args.count.unwrap_or(usize::MAX));
    taken.skip(i - 1).step_by(n).map(|(_, case)| case).collect()
}

/// The example's text, by the name of the kernel.
fn source(kernel: &str) -> Result<(String, String)> {
    let name = format!("{kernel}.tw");
    let path: PathBuf = root().join("dsl_examples").join(&name);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok((name, text))
}

/// Runs what was asked for; an error says how many cases were not right.
pub fn run(args: &Args) -> Result<()> {
    let cases = chosen(args);
    if cases.is_empty() {
        bail!("no case has all of the words {:?}", args.only);
    }
    if args.list {
        cases.iter().for_each(|case| println!("{case}"));
        return Ok(());
    }
    let start = Instant::now();
    let mut wrong = 0;
    let mut ran = std::collections::BTreeMap::<String, usize>::new();
    for case in &cases {
        let result = if args.levels { levels(case, args.seed) } else { one(case, args.seed, |text| text) };
        match result {
            Ok(variant) => *ran.entry(variant).or_default() += 1,
            Err(e) => {
                wrong += 1;
                eprintln!("   {case}: {e:#}");
            }
        }
    }
    let variants: Vec<String> = ran.iter().map(|(name, n)| format!("{name} {n}")).collect();
    let right = cases.len() - wrong;
    println!(
        "   {right} of {} cases are right ({}), in {:.1} s",
        cases.len(),
        variants.join(", "),
        start.elapsed().as_secs_f64()
    );
    if wrong > 0 {
        bail!("{wrong} of {} cases are not right", cases.len());
    }
    Ok(())
}

fn half(x: f64) -> f64 {
    match Format::F16.decode(Format::F16.encode_f64(x)) {
        Number::Float(x) => x,
        Number::Int(_) => unreachable!("a half is a float"),
    }
}

/// Compiles the kernel, with its text changed, launches it and compares; the name of the variant that ran.
fn one(case: &Case, seed: u64, change: impl Fn(String) -> String) -> Result<String> {
    let (file, text) = source(case.kernel())?;
    let text = change(text);
    let mut options = Options::new(case.target);
    options.settings.sets = case.sets();
    let dims = [("M", case.rows), ("N", case.columns), ("K", case.depth)];
    options.settings.likely_dims = dims.iter().map(|(n, v)| (n.to_string(), *v as i64)).collect();
    let mut sources = SourceMap::default();
    let files = Memory::from([(file.as_str(), text.as_str())]);
    let compiled = compile(&mut sources, &files, &file, &options)
        .map_err(|d| anyhow::anyhow!("refused: {}", d.render(&sources, false)))?;

    let (m, n, k) = (case.rows, case.columns, case.depth);
    let groups = case.group.map_or(1, |g| k / g);
    // Codes that are no finite half are left to the tests of unpacking: they would say nothing about sums.
    let finite = |code: u64| if half(value(case.weight, code)).is_finite() { code } else { 0 };
    let draw = Stream::new(seed, "codes");
    let codes: Vec<u64> =
        (0..(n * k) as u64).map(|at| finite(draw.bits(at) & ((1 << case.weight.bits()) - 1))).collect();
    let w: Vec<f64> = codes.iter().map(|c| half(value(case.weight, *c))).collect();
    let greatest = w.iter().fold(1.0, |most: f64, w| most.max(w.abs()));
    let numbers = |name: &str, count: usize, of: &dyn Fn(Stream, u64) -> f64| -> Vec<f64> {
        let stream = Stream::new(seed, name);
        (0..count as u64).map(|at| half(of(stream, at))).collect()
    };
    let x = numbers("x", m * k, &|s, at| s.normal(at));
    let s = numbers("s", n * groups, &|s, at| (0.25 + s.uniform(at)) / greatest.min(2048.0));
    // Whole numbers in one case of two, as zero points mostly are.
    let whole = draw.bits(u64::MAX) & 1 == 0;
    let z = numbers("z", n * groups, &|s, at| {
        let z = s.uniform(at) * greatest.min(256.0);
        if whole { z.round() } else { z }
    });
    let tensor = |ty, shape: &[usize], numbers: &[f64]| HostTensor::from_f64(ty, shape, numbers);
    let mut given = vec![
        ("x", tensor(ElemType::F16, &[m, k], &x)?),
        ("w", HostTensor::from_codes(case.weight, &[n, k], |at| codes[at])?),
    ];
    match case.group {
        None => given.push(("s", tensor(ElemType::F16, &[n], &s)?)),
        Some(_) => {
            given.push(("s", tensor(ElemType::F16, &[n, groups], &s)?));
            given.push(("z", tensor(ElemType::F16, &[n, groups], &z)?));
        }
    }
    let given = given.into_iter().map(|(n, t)| (n.to_string(), Given::Tensor(t, n.into()))).collect();
    let mut prepared =
        prepare(&compiled.kernel, given, &DimValues::default(), Filling { seed: 0, poison: true })?;
    let options = executor::Options { sanitize: true, lazy: true, ..executor::Options::default() };
    let run = run_on_cpu(&compiled, &mut prepared, &options)?;
    if let Some(found) = run.findings.first() {
        bail!("{} findings, the first: {found}", run.findings.len());
    }
    let y = compiled.kernel.tensors.iter().position(|t| t.name == "y").context("no y")?;
    let problem = Problem { rows: m, columns: n, depth: k, group: case.group, x, w, s, z };
    let judged = compare_floats(&prepared.tensors[y].to_f64(), &problem.exact(), &problem.plain(half));
    if !judged.ok {
        bail!(
            "{} of {} elements are wrong: {:.3e} off, where {:.3e} is allowed; {:?}",
            judged.wrong,
            judged.count,
            judged.max_error,
            judged.bound,
            judged.worst
        );
    }
    Ok(run.variants.join("+"))
}

/// One seed of `verify` with the case's type, group and rows; everything else is drawn there.
fn levels(case: &Case, seed: u64) -> Result<String> {
    let (file, text) = source(case.kernel())?;
    let mut sources = SourceMap::default();
    let (program, diagnostics) =
        front::load(&mut sources, &Memory::from([(file.as_str(), text.as_str())]), &file);
    if diagnostics.has_errors() {
        bail!("{}", diagnostics.render(&sources, false));
    }
    let subject =
        Subject { program: &program, sources: &sources, root: &file, kernel: case.kernel(), usual_dims: &[] };
    let draw = Stream::new(seed, &case.to_string());
    let settings = verify::Settings {
        first: draw.bits(0) >> 1,
        seeds: 1,
        targets: vec![case.target],
        sets: case.sets().into_iter().filter(|(n, _)| n == "W" || n == "G").collect(),
        dims: vec![("M".into(), case.rows as i64)],
        ..verify::Settings::default()
    };
    let report = verify::verify(subject, &settings, &mut |_| {}).map_err(|e| anyhow::anyhow!("{e}"))?;
    match report.found {
        Some(found) => bail!("{:?}: {:?}", found.case, found.failure),
        None => Ok(report.seeds.first().and_then(|s| s.variant.clone()).unwrap_or_else(|| "none".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_every_type_and_shards_share_nothing() {
        let cases = chosen(&Args::quick());
        let types: std::collections::HashSet<String> = cases.iter().map(|c| c.weight.to_string()).collect();
        assert_eq!((cases.len(), types.len()), (51, 51));
        let part = |i| chosen(&Args { shard: Some((i, 3)), ..Args::quick() });
        let mut parts: Vec<String> = (1..=3).flat_map(part).map(|c| c.to_string()).collect();
        let mut whole: Vec<String> = cases.iter().map(ToString::to_string).collect();
        parts.sort();
        whole.sort();
        assert_eq!(parts, whole);
    }

    /// A zero point of the wrong group, a scale too many, and a type that is read as another are seen.
    #[test]
    fn what_is_wrong_is_seen() {
        let cases = chosen(&Args { only: "qgemm u4 G=32 sm_80".into(), ..Args::quick() });
        let case = cases.iter().find(|c| c.rows == 16).expect("such a case");
        assert!(one(case, 1, |text| text).is_ok());
        for (right, wrong) in [
            ("z[j, k / G]", "z[j, k.lo / (2 * G)]"),
            ("acc as f16;", "(acc * 1.01) as f16;"),
            ("(w[j, k] as f16 -", "(w[j, k] as f16 + 1 -"),
        ] {
            let said = one(case, 1, |text| {
                assert!(text.contains(right));
                text.replace(right, wrong)
            });
            assert!(said.is_err_and(|e| e.to_string().contains("are wrong")), "{wrong}");
        }
    }
}
