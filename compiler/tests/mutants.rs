//! Changed programs: whatever bytes of a program are changed, checking and compiling it end, with a result or with errors that each name a
//! place, and what is left of it can be evaluated.
//!
//! Mutants come from a seed, so a failure names the one to run again. For more of them than the test command tries:
//! `cargo xtask fuzz --n 100000 --seed 7`, or by hand:
//! ```text
//! TILEWRIGHT_MUTANTS=100000 TILEWRIGHT_SEED=7 cargo test -p tilewright-compiler --test mutants
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tilewright_compiler::check::check;
use tilewright_compiler::compile::{Options, compile};
use tilewright_compiler::diagnostics::{Diagnostics, SourceMap, codes};
use tilewright_compiler::elaborate::{Settings, elaborate, kernel_names};
use tilewright_compiler::front::format::format;
use tilewright_compiler::front::{Memory, Program};
use tilewright_compiler::target::Target;
use tilewright_compiler::tile::eval::{EvalErrorKind, Inputs, Mode, Values, evaluate};
use tilewright_compiler::tile::{
    Const, DimId, Kernel, LaunchFacts, Op, ScalarId, TensorId, TensorKind, print::print, verify::verify,
};

/// Without an environment variable: some 20 s on two cores. A number and not a time, so that every machine tries the same.
const MUTANTS: u64 = 1600;
/// A mutant that takes longer hangs. (The slowest takes a hundredth of it, on a machine that does nothing else.)
const HANGS: Duration = Duration::from_secs(60);
/// What the command line gives its thread is 16 times this.
const STACK: usize = 16 << 20;
const THREADS: usize = 2;

fn programs() -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let files = |folder: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(root.join(folder)).expect("the folder is there");
        entries
            .map(|e| e.expect("readable").path())
            .filter(|p| p.extension().is_some_and(|e| e == "tw"))
            .collect()
    };
    let mut all: Vec<_> = [files("dsl_examples"), files("tests/corpus")].concat();
    all.sort();
    let name = |p: &Path| p.file_name().map_or(String::new(), |n| n.to_string_lossy().into_owned());
    all.iter().map(|p| (name(p), fs::read(p).expect("readable"))).collect()
}

/// A small generator of its own, so that a seed means the same mutant for ever.
struct Random(u64);

impl Random {
    /// Below `n`.
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }
}

/// Words that mean something, so that some mutants go further than the parser.
const WORDS: &[&str] = &[
    "0",
    "1",
    "-1",
    "64",
    "1048576",
    "9223372036854775807",
    "0.5",
    "inf",
    "f16",
    "f32",
    "i32",
    "u4",
    "e4m3",
    "bool",
    "i",
    "j",
    "k",
    "M",
    ":",
    "..",
    "'",
    ".T",
    ".lo",
    " as f32",
    " over k",
    " when ",
    " by ",
    "()",
    "[]",
    "{ }",
    ";",
    "atomic ",
    "mut ",
    "out ",
    "packed ",
    "sum",
    "max=",
    "@",
    "rev(",
    "part(",
    "strides(_)",
    "temp t: f32[4] = 0;",
];

/// One to four changes of bytes.
fn mutant(text: &[u8], r: &mut Random) -> Vec<u8> {
    let mut t = text.to_vec();
    for _ in 0..1 + r.below(4) {
        let at = r.below(t.len() + 1);
        let len = r.below(12).min(t.len() - at);
        match r.below(8) {
            0 if at < t.len() => t[at] = r.below(256) as u8,
            1 if at < t.len() => t[at] = t[r.below(t.len())],
            2 => drop(t.drain(at..at + len)),
            3 => {
                let piece = t[at..at + len].to_vec();
                let to = r.below(t.len() + 1);
                t.splice(to..to, piece);
            }
            4 => t.truncate(t.len() - r.below(t.len() / 8 + 1)),
            5 => drop(t.splice(at..at, WORDS[r.below(WORDS.len())].bytes())),
            // A word for another word of the program.
            _ => {
                let words = word_spans(&t);
                if !words.is_empty() {
                    let (to, from) =
                        (words[r.below(words.len())].clone(), words[r.below(words.len())].clone());
                    let other = if r.below(4) == 0 {
                        WORDS[r.below(WORDS.len())].as_bytes().to_vec()
                    } else {
                        t[from].to_vec()
                    };
                    t.splice(to, other);
                }
            }
        }
    }
    t
}

fn word_spans(t: &[u8]) -> Vec<std::ops::Range<usize>> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut spans: Vec<std::ops::Range<usize>> = Vec::new();
    for (at, &b) in t.iter().enumerate() {
        match spans.last_mut() {
            Some(last) if last.end == at && word(b) && word(t[at - 1]) => last.end += 1,
            _ if !b.is_ascii_whitespace() => spans.push(at..at + 1),
            _ => {}
        }
    }
    spans
}

/// What a mutant does wrong, if it does.
fn try_mutant(text: &str, files: &[(String, Vec<u8>)]) -> Result<(), String> {
    let mut memory = Memory::from([("mutant.tw", text)]);
    for (name, bytes) in files {
        memory.add(name.clone(), String::from_utf8_lossy(bytes).into_owned());
    }
    let mut sources = SourceMap::default();
    let (program, diagnostics) = check(&mut sources, &memory, "mutant.tw");
    placed(&diagnostics, &sources)?;
    keeps_its_meaning(text, &memory, &program, diagnostics.has_errors())?;
    if diagnostics.has_errors() {
        return Ok(());
    }
    for name in kernel_names(&program) {
        let mut sources = SourceMap::default();
        let options = Options { kernel: Some(name.clone()), ..Options::new(Target::Sm80) };
        if let Err(diagnostics) = compile(&mut sources, &memory, "mutant.tw", &options) {
            placed(&diagnostics, &sources)?;
        }
        if let (Some(kernel), diagnostics) = elaborate(&program, &name, &Settings::default())
            && !diagnostics.has_errors()
        {
            let findings = verify(&kernel);
            if !findings.is_empty() {
                return Err(format!("does not verify: {findings:?}"));
            }
            evaluates(&kernel)?;
        }
    }
    Ok(())
}

/// What parses can be formatted; the second time changes nothing, and what checked before has the same kernels after.
fn keeps_its_meaning(text: &str, files: &Memory, program: &Program, wrong: bool) -> Result<(), String> {
    let mut sources = SourceMap::default();
    let done = match format(&mut sources, "mutant.tw", text) {
        Ok(done) => done,
        Err(diagnostics) => return placed(&diagnostics, &sources),
    };
    match format(&mut SourceMap::default(), "mutant.tw", &done) {
        Ok(twice) if twice == done => {}
        Ok(twice) => return Err(format!("formatting twice differs:\n{done}\n----\n{twice}")),
        Err(_) => return Err(format!("what was formatted does not parse:\n{done}")),
    }
    let mut files = files.clone();
    files.add("mutant.tw", done.as_str());
    let (after, diagnostics) = check(&mut SourceMap::default(), &files, "mutant.tw");
    if wrong != diagnostics.has_errors() {
        return Err(format!("formatting changes whether it checks:\n{done}"));
    }
    if wrong {
        return Ok(());
    }
    let tile = |program: &Program, name: &str| {
        elaborate(program, name, &Settings::default()).0.map(|kernel| print(&kernel))
    };
    for name in kernel_names(program) {
        if tile(program, &name) != tile(&after, &name) {
            return Err(format!("formatting changes {name}:\n{done}"));
        }
    }
    Ok(())
}

/// Every error has a file, a line and a column, and none is a bug of ours.
fn placed(diagnostics: &Diagnostics, sources: &SourceMap) -> Result<(), String> {
    for d in diagnostics.iter() {
        let Some(span) = d.primary_span() else {
            return Err(format!("{} has no place: {}", d.code, d.message));
        };
        let at = sources.location(span);
        if sources.file(span.file).is_none() || at.line < 1 || at.column < 1 {
            return Err(format!("{} is nowhere: {}", d.code, d.message));
        }
        if d.code == codes::INTERNAL || d.code == codes::EVALUATOR_BUG {
            return Err(format!("a bug of ours at {}:{}: {}", at.line, at.column, d.message));
        }
    }
    let text = diagnostics.render(sources, false);
    if text.is_empty() == diagnostics.is_empty() { Ok(()) } else { Err("renders to nothing".into()) }
}

/// Every dimension is 3, every scalar what it defaults to or 2.
struct Facts(Vec<Option<Const>>);

impl LaunchFacts for Facts {
    fn dim(&self, _: DimId) -> Option<i64> {
        Some(3)
    }
    fn scalar(&self, s: ScalarId) -> Option<Const> {
        self.0.get(s.0 as usize).copied().flatten()
    }
    fn stride(&self, _: TensorId, _: usize) -> Option<i64> {
        Some(1)
    }
}

/// Evaluates a small launch, where the program itself is small: a loop to 2^40 is a right program, too.
fn evaluates(kernel: &Kernel) -> Result<(), String> {
    let small = |v: i128| v.abs() <= 300;
    let loops = kernel.values.iter().all(|v| !matches!(v.op, Op::Const(Const::Int(n)) if !small(n)));
    let tiles = kernel
        .values
        .iter()
        .all(|v| v.ty.axes.iter().map(|a| u64::from(kernel.axis(*a).extent)).product::<u64>() <= 1 << 16);
    if !loops
        || !tiles
        || kernel.loops.len() > 4
        || kernel.dims.iter().any(|d| d.frozen.is_some_and(|n| n > 300))
    {
        return Ok(());
    }
    let mut facts = Facts(vec![None; kernel.scalars.len()]);
    for (at, scalar) in kernel.scalars.iter().enumerate() {
        let default = scalar.default.as_ref().and_then(|d| d.eval(&facts));
        let two = if scalar.elem.is_float() { Const::Float(2.0) } else { Const::Int(2) };
        facts.0[at] = Some(default.unwrap_or(two));
    }
    let mut tensors = Vec::new();
    for tensor in &kernel.tensors {
        let mut count = 1usize;
        for entry in &tensor.shape {
            let extent = entry.extent.eval_int(&facts).and_then(|n| usize::try_from(n).ok());
            count = match extent.and_then(|n| count.checked_mul(n)).filter(|n| *n <= 1 << 16) {
                Some(count) => count,
                None => return Ok(()),
            };
        }
        let given = matches!(tensor.kind, TensorKind::In | TensorKind::InOut | TensorKind::Packed);
        let ones = || match tensor.elem.is_float() {
            true => Values::Float(vec![1.0; count]),
            false => Values::Int(vec![1; count]),
        };
        tensors.push(given.then(ones));
    }
    let dims = kernel.dims.iter().map(|d| d.frozen.unwrap_or(3)).collect();
    let inputs = Inputs { dims, scalars: facts.0.into_iter().flatten().collect(), tensors };
    for mode in [Mode::Exact, Mode::Unrounded, Mode::Typed] {
        if let Err(e) = evaluate(kernel, &inputs, mode)
            && e.kind == EvalErrorKind::Internal
        {
            return Err(format!("the evaluator: {e}"));
        }
    }
    Ok(())
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn changed_programs_end_well_or_say_where_they_are_wrong() {
    let files = Arc::new(programs());
    assert!(files.len() >= 20, "the examples and the corpus are there");
    let wanted = variable("TILEWRIGHT_MUTANTS").unwrap_or(MUTANTS);
    let seed = variable("TILEWRIGHT_SEED").unwrap_or(1);
    let start = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let failures = Arc::new(Mutex::new(BTreeMap::<u64, (String, String)>::new()));
    let running: Arc<[Mutex<Option<(Instant, u64, String)>>; THREADS]> = Arc::default();
    let hook = std::panic::take_hook();
    // Panics are collected, with their places.
    let said = Arc::new(Mutex::new(String::new()));
    let (quiet, mine) = (said.clone(), std::thread::current().id());
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() == mine {
            eprintln!("{info}");
        }
        *quiet.lock().unwrap_or_else(|p| p.into_inner()) = info.to_string();
    }));
    let workers: Vec<_> = (0..THREADS)
        .map(|me| {
            let (files, next, failures) = (files.clone(), next.clone(), failures.clone());
            let (running, said) = (running.clone(), said.clone());
            let work = move || loop {
                let n = next.fetch_add(1, Relaxed);
                if n >= wanted {
                    break;
                }
                let mut r = Random(seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(n));
                let (_, text) = &files[n as usize % files.len()];
                let bytes = mutant(text, &mut r);
                // The command line refuses what is not UTF-8 with its place; a library gets a `str`.
                let text = String::from_utf8_lossy(&bytes).into_owned();
                *running[me].lock().expect("not poisoned") = Some((Instant::now(), n, text.clone()));
                let result = catch_unwind(AssertUnwindSafe(|| try_mutant(&text, &files)));
                *running[me].lock().expect("not poisoned") = None;
                let why = match result {
                    Ok(Ok(())) => continue,
                    Ok(Err(why)) => why,
                    Err(_) => said.lock().unwrap_or_else(|p| p.into_inner()).clone(),
                };
                failures.lock().expect("not poisoned").insert(n, (why, text));
            };
            std::thread::Builder::new().stack_size(STACK).spawn(work).expect("a thread")
        })
        .collect();
    while !workers.iter().all(|w| w.is_finished()) {
        std::thread::sleep(Duration::from_millis(20));
        for slot in running.iter() {
            if let Some((since, n, text)) = &*slot.lock().expect("not poisoned")
                && since.elapsed() > HANGS
            {
                eprintln!("mutant {n} of seed {seed} hangs:\n{text}");
                std::process::exit(1);
            }
        }
    }
    for worker in workers {
        worker.join().expect("panics are caught");
    }
    std::panic::set_hook(hook);
    let failures = failures.lock().expect("not poisoned");
    let mut report = String::new();
    let mut kinds = std::collections::BTreeSet::new();
    for (n, (why, text)) in failures.iter() {
        // One of each kind is enough to read.
        if kinds.insert(why.chars().filter(|c| !c.is_ascii_digit()).take(90).collect::<String>()) {
            report += &format!("---- mutant {n} of seed {seed}: {why}\n{text}\n");
        }
    }
    assert!(failures.is_empty(), "{} of {wanted} mutants fail:\n{report}", failures.len());
    eprintln!("{wanted} mutants in {:.1?}", start.elapsed());
}
