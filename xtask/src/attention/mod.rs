//! `cargo xtask attention-grid`: FlashAttention's test grids on the executor or a GPU, judged by FlashAttention's rule.
//!
//! ```text
//! every case of the grids --shuffled by --seed--> --count of them --every n-th, from the i-th, by --shard i/n--> minus what --resume holds
//! ```
//! So shards of one seed and count share no case and together hold all, and a run that was stopped goes on where it was. A line of the
//! results file is one case as a JSON object; cases that were not right are run again.

mod grids;

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tilewright_compiler::target::Target;
use tilewright_runtime::cuda::Device;
use tilewright_runtime::tensor::random::Stream;
use tilewright_runtime::verify::attention::{Case, Place, RunError, Runner};

use crate::steps::root;

/// What to run.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Decides which cases are taken, and their inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many cases, over all shards [default: all]
    #[arg(long)]
    count: Option<usize>,
    /// The i-th of n parts, e.g. 1/4
    #[arg(long, value_name = "I/N", value_parser = shard)]
    shard: Option<(usize, usize)>,
    /// A file of results: cases that are right there are not run again, new results are added
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Only cases whose name contains all of these words, e.g. "fa3 d64 causal"
    #[arg(long, default_value = "")]
    only: String,
    /// Cases of more operations than this are named and skipped
    #[arg(long, value_name = "FLOP", default_value_t = 2e10)]
    limit: f64,
    /// cpu (the PTX, on the executor) or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// On the CPU: also look for races, reads of unwritten memory and copies in flight
    #[arg(long)]
    sanitize: bool,
    /// Print the cases and run none
    #[arg(long)]
    list: bool,
    /// In whatever build this is; else a debug build runs the same command in release
    #[arg(long)]
    as_built: bool,
    /// A JSON object a case and one for all, instead of words
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Whether this build is too slow for it.
    pub fn wants_release(&self) -> bool {
        cfg!(debug_assertions) && !self.list && !self.as_built
    }
}

/// Reads `I/N`, with I from 1 to N.
pub fn shard(text: &str) -> Result<(usize, usize), String> {
    let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    match parts {
        Some((i, n)) if (1..=n).contains(&i) => Ok((i, n)),
        _ => Err("a part is written I/N with I from 1 to N, e.g. 1/4".into()),
    }
}

/// How a case ended.
enum Verdict {
    Right,
    Wrong,
    Refused,
    Failed,
    Skipped,
}

impl Verdict {
    fn name(&self) -> &'static str {
        match self {
            Verdict::Right => "right",
            Verdict::Wrong => "wrong",
            Verdict::Refused => "refused",
            Verdict::Failed => "failed",
            Verdict::Skipped => "skipped",
        }
    }
}

/// The cases of a command line, in the order in which they run.
fn chosen(args: &Args) -> Vec<Case> {
    let words: Vec<&str> = args.only.split_whitespace().collect();
    let named = |case: &Case| {
        let name = case.to_string();
        words.iter().all(|word| name.split(' ').any(|part| part.contains(word)))
    };
    let mut cases: Vec<(u64, Case)> = (0..)
        .zip(grids::all())
        .filter(|(_, case)| words.is_empty() || named(case))
        .map(|(number, case)| (Stream::new(args.seed, "attention-grid").bits(number), case))
        .collect();
    cases.sort_by_key(|(key, _)| *key);
    let (i, n) = args.shard.unwrap_or((1, 1));
    let taken = cases.into_iter().take(args.count.unwrap_or(usize::MAX));
    taken.skip(i - 1).step_by(n).map(|(_, case)| case).collect()
}

/// Names of the cases that a file of results calls right, for inputs of this seed.
fn finished(path: &Path, seed: u64) -> Result<HashSet<String>> {
    let mut done = HashSet::new();
    if !path.exists() {
        return Ok(done);
    }
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    for line in BufReader::new(file).lines() {
        // The last line of a run that was stopped may be cut.
        let Ok(result) = serde_json::from_str::<Value>(&line?) else { continue };
        if let (Some(case), "right", Some(true)) = (
            result["case"].as_str(),
            result["verdict"].as_str().unwrap_or_default(),
            result["seed"].as_u64().map(|s| s == seed),
        ) {
            done.insert(case.to_string());
        }
    }
    Ok(done)
}

/// Runs what the command line says; an error where any case is not right.
pub fn run(args: &Args) -> Result<()> {
    let mut cases = chosen(args);
    let done = args.resume.as_deref().map(|path| finished(path, args.seed)).transpose()?.unwrap_or_default();
    let before = cases.len();
    cases.retain(|case| !done.contains(&case.to_string()));
    if args.list {
        let mut out = std::io::stdout().lock();
        for case in &cases {
            let line = match args.json {
                true => json!({ "case": case.to_string(), "flop": case.flops(), "is": case }).to_string(),
                false => format!("{case}: {:.1e} operations", case.flops()),
            };
            // Whoever reads may have seen enough.
            if writeln!(out, "{line}").is_err() {
                break;
            }
        }
        return Ok(());
    }
    let device = match args.device.as_str() {
        "cpu" => None,
        other => {
            let number = other.strip_prefix("cuda:").and_then(|n| n.parse().ok());
            let number = number.with_context(|| format!("--device {other}: it is cpu or cuda:N"))?;
            Some(Device::open(number)?)
        }
    };
    if device.is_some() && args.sanitize {
        bail!(
            "--sanitize has no meaning with --device {}: the sanitizer is part of the executor",
            args.device
        );
    }
    let target = device.as_ref().map_or(Target::Sm80, |device| {
        let (major, minor) = device.capability();
        Target::for_capability(major, minor).unwrap_or(Target::Sm80)
    });
    let path = root().join("dsl_examples/attention.tw");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut runner = Runner::new(&text, target);
    let mut results = match &args.resume {
        Some(path) => Some(
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("cannot write {}", path.display()))?,
        ),
        None => None,
    };
    if !args.json {
        eprintln!("left out of the grids: {}", grids::LEFT_OUT.join("; "));
        if before > cases.len() {
            eprintln!("{} of {before} cases are right already", before - cases.len());
        }
    }

    // indicatif draws on terminals only.
    let bar = if args.json { ProgressBar::hidden() } else { ProgressBar::new(cases.len() as u64) };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} ({eta} left) {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    let mut counts = [("right", 0usize), ("wrong", 0), ("refused", 0), ("failed", 0), ("skipped", 0)];
    let start = Instant::now();
    for case in &cases {
        bar.set_message(case.to_string());
        let place = match &device {
            None => Place::Cpu { sanitize: args.sanitize },
            Some(device) => Place::Cuda(device),
        };
        let (verdict, details) = one(&mut runner, case, args, place);
        let name = verdict.name();
        counts.iter_mut().filter(|(word, _)| *word == name).for_each(|(_, n)| *n += 1);
        let line =
            json!({ "case": case.to_string(), "seed": args.seed, "verdict": name, "details": details });
        if let Some(results) = &mut results {
            writeln!(results, "{line}")?;
        }
        match (args.json, verdict) {
            (true, _) => println!("{line}"),
            (false, Verdict::Right) => {}
            (false, _) => bar.suspend(|| eprintln!("{name}: {case}: {}", words(&details))),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    let [(_, right), (_, wrong), (_, refused), (_, failed), (_, skipped)] = counts;
    if args.json {
        println!(
            "{}",
            json!({ "right": right, "wrong": wrong, "refused": refused, "failed": failed, "skipped": skipped,
                "right_before": before - cases.len(), "left_out": grids::LEFT_OUT, "seconds": seconds })
        );
    } else {
        println!("{right} of {} cases are right, {skipped} skipped, in {seconds:.1} s", cases.len());
    }
    if wrong + refused + failed > 0 {
        bail!("{wrong} cases are wrong, {refused} were refused, {failed} failed");
    }
    Ok(())
}

/// One case, and what to write about it.
fn one(runner: &mut Runner<'_>, case: &Case, args: &Args, place: Place<'_>) -> (Verdict, Value) {
    let flops = case.flops();
    if flops > args.limit {
        return (
            Verdict::Skipped,
            json!(format!("{flops:.1e} operations, and --limit is {:.1e}", args.limit)),
        );
    }
    let start = Instant::now();
    match runner.run(case, args.seed, place) {
        Err(RunError::Refused(said)) => (Verdict::Refused, json!(said)),
        Err(other) => (Verdict::Failed, json!(other.to_string())),
        Ok(outcome) => {
            let verdict = if outcome.ok() { Verdict::Right } else { Verdict::Wrong };
            let details = json!({ "o": outcome.o, "lse": outcome.lse, "findings": outcome.findings,
                "variants": outcome.variants, "mma": outcome.mma, "ms": start.elapsed().as_secs_f64() * 1e3 });
            (verdict, details)
        }
    }
}

/// Details for a person: a refusal in full, of a wrong result the outputs that are wrong.
fn words(details: &Value) -> String {
    if let Some(text) = details.as_str() {
        return text.into();
    }
    let output = |name: &str| {
        let c = &details[name];
        (c["ok"] == false).then(|| {
            format!(
                "{name}: {} of {} are wrong, max error {} of {} allowed, the worst {}",
                c["wrong"], c["count"], c["max_error"], c["bound"], c["worst"]
            )
        })
    };
    let findings = details["findings"].as_array().map_or(&[][..], Vec::as_slice);
    let findings = findings.iter().take(3).map(|f| f.as_str().unwrap_or_default().to_string());
    ["o", "lse"].into_iter().filter_map(output).chain(findings).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tilewright_runtime::launch::Comparison;

    fn args(count: usize, shard: Option<(usize, usize)>) -> Args {
        Args {
            seed: 3,
            count: Some(count),
            shard,
            resume: None,
            only: "fa2-causal d64".into(),
            limit: 1e9,
            device: "cpu".into(),
            sanitize: false,
            list: true,
            as_built: false,
            json: false,
        }
    }

    #[test]
    fn shards_share_nothing_and_together_are_all() {
        let names = |shard| chosen(&args(50, shard)).iter().map(ToString::to_string).collect::<Vec<_>>();
        let all = names(None);
        assert_eq!(all.len(), 50);
        assert!(all.iter().all(|name| name.starts_with("fa2-causal ") && name.contains(" d64")), "{all:?}");
        let mut parts: Vec<String> = (1..=3).flat_map(|i| names(Some((i, 3)))).collect();
        parts.sort();
        let mut sorted = all.clone();
        sorted.sort();
        assert_eq!(parts, sorted);
        assert!(sorted != all, "a sample is shuffled");
        assert!(shard("1/4") == Ok((1, 4)) && shard("0/4").is_err() && shard("5/4").is_err());
    }

    #[test]
    fn what_is_right_is_not_run_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results");
        let line = |case: &str, seed: u64, verdict: &str| {
            json!({ "case": case, "seed": seed, "verdict": verdict }).to_string()
        };
        let lines =
            [line("a", 3, "right"), line("b", 3, "wrong"), line("c", 4, "right"), "{\"case\": \"d".into()];
        std::fs::write(&path, lines.join("\n")).unwrap();
        assert_eq!(finished(&path, 3).unwrap(), HashSet::from(["a".to_string()]));
        assert!(finished(&folder.path().join("none"), 3).unwrap().is_empty());
    }

    #[test]
    fn a_wrong_output_is_described() {
        let comparison = |ok: bool| Comparison {
            max_error: 0.5,
            mean_error: 0.1,
            bound: 0.25,
            wrong: usize::from(!ok),
            count: 9,
            worst: None,
            overflowed: 0,
            first_overflow: None,
            ok,
        };
        let details = json!({ "o": comparison(false), "lse": comparison(true), "findings": ["a race"] });
        let said = "o: 1 of 9 are wrong, max error 0.5 of 0.25 allowed, the worst null; a race";
        assert_eq!(words(&details), said);
    }
}
