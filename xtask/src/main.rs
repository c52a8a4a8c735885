//! `cargo xtask ...`: everything a developer runs.
//!
//! | command | does |
//! | --- | --- |
//! | `test` | formatting, lints, unit, property, snapshot, corpus and documentation tests, the benches' dry run, the assembler checks |
//! | `ptxas` | assembles the examples for every target and a range of schedules: no spills, no warnings |
//! | `ptxas --sweep` | the same for every combination of every `tune` block of the examples |
//! | `calibrate` | asks the assembler about schedules near the limit of registers and writes the compiler's table of them |
//! | `sass` | counts the instructions of the main loop of each operand order |
//! | `fuzz` | changes the bytes of every program, and PTX for the executor: nothing may panic, hang or fail without a place |
//! | `verify` | runs every example at every level on random shapes and schedules, 50 seeds a kernel (`test` has a few) |
//! | `attention-grid` | FlashAttention's forward test grids, sampled or whole, on the executor or a GPU (`test` has a quick part) |
//! | `lowbit-grid` | products with weights of every type, group, M and target against sums in f64, sampled or whole (`test` has a quick part) |
//! | `exec-vs-gpu` | runs the corpus of launch files and every example on the executor and on a GPU, and compares; `--dry-run` needs no GPU |
//! | `places` | looks for cheaper places of small floats' bits in packed words, and writes the compiler's table of them |
//! | `bless` | accepts every changed snapshot |

mod assembler;
mod attention;
mod calibrate;
mod kernels;
mod lowbit;
mod places;
mod sass;
mod steps;
mod sweep;
mod templates;
mod verify;
mod versus;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;
use tilewright_compiler::target::Target;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Everything a developer runs", disable_version_flag = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything that must be green: formatting, lints, tests, documentation tests, assembler checks
    Test {
        /// Leave the assembler checks out where its packages cannot be fetched
        #[arg(long)]
        allow_missing_ptxas: bool,
    },
    /// Assemble the GEMM examples for every target and many schedules: no spills, no warnings
    Ptxas {
        /// Only kernels whose line contains this, for example `sm_80` or `128x128x32`
        #[arg(default_value = "")]
        only: String,
        /// Instead, every combination of every `tune` block of the examples
        #[arg(long)]
        sweep: bool,
        /// Of the combinations of a kernel with matrix instructions, every N-th
        #[arg(long, default_value_t = 1, requires = "sweep")]
        sample: usize,
    },
    /// Ask ptxas about every schedule of the examples that is near the limit of registers, and write the compiler's table anew
    Calibrate {
        /// Only classes whose name contains this.
        #[arg(long)]
        only: Option<String>,
    },
    /// Count the instructions of each operand order's main loop: NT at most 1.9 per HMMA, the others within 5 % of it, no PRMT, no spills
    Sass,
    /// Change the bytes of every example and corpus program: nothing may panic, hang, or fail without naming a place
    Fuzz {
        /// How many mutants
        #[arg(long, default_value_t = 20_000)]
        n: u64,
        /// Which ones: a seed means the same mutants for ever
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Run every kernel of the examples at every level on random shapes, schedules and inputs
    Verify {
        #[arg(long, default_value_t = 50)]
        seeds: u64,
        /// Only examples whose file name contains this
        #[arg(default_value = "")]
        only: String,
    },
    /// Run launch files (other compilers' PTX, and every example's) on the executor and on the first GPU, and compare the results. Fails
    /// where there is no GPU
    ExecVsGpu {
        /// Everything but the GPU: read, plan and run each launch on the executor
        #[arg(long)]
        dry_run: bool,
        /// Only launches whose name contains this
        #[arg(default_value = "")]
        only: String,
    },
    /// Run FlashAttention's own forward tests on dsl_examples/attention.tw, by FlashAttention's rule (in release)
    AttentionGrid(attention::Args),
    /// Run products with weights of every type, every group and M of the low-bit examples, for every target, on the executor and compare with
    /// sums in f64 (in release)
    LowbitGrid(lowbit::Args),
    /// Hold the table of ptx_templates to what the assembler says of the unpacking of every packed type
    Templates {
        /// Write the folder anew
        #[arg(long)]
        write: bool,
    },
    /// Look for places of small floats' bits that are cheaper to unpack from, and write the compiler's table of them (in release)
    Places {
        /// Searches for each type and format
        #[arg(long, default_value_t = 2)]
        restarts: u64,
        /// Only types and formats whose line begins so, e.g. `e3m3 10`
        #[arg(default_value = "")]
        only: String,
    },
    /// Accept every changed snapshot
    Bless,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Test { allow_missing_ptxas } => test(allow_missing_ptxas),
        Command::Ptxas { only, sweep: true, sample } => {
            assembler::fetch().and_then(|bin| sweep::run(&bin, &only, sample, Target::Sm80))
        }
        Command::Ptxas { only, .. } => assembler::fetch().and_then(|bin| {
            kernels::assemble_all(&bin, &only).and_then(|()| kernels::assemble_rows(&bin, &only))
        }),
        Command::Calibrate { only } => {
            assembler::fetch().and_then(|bin| calibrate::run(&bin, only.as_deref()))
        }
        Command::Sass => assembler::fetch().and_then(|bin| sass::check(&bin)),
        Command::Fuzz { n, seed } => steps::fuzz(n, seed),
        Command::Verify { seeds, only } => verify::run(seeds, &only),
        Command::AttentionGrid(args) if args.wants_release() => steps::again_in_release(),
        Command::AttentionGrid(args) => attention::run(&args),
        Command::LowbitGrid(args) if args.wants_release() => steps::again_in_release(),
        Command::LowbitGrid(args) => lowbit::run(&args),
        Command::ExecVsGpu { dry_run, only } => versus::run(&only, dry_run),
        Command::Templates { write } => assembler::fetch().and_then(|bin| templates::run(&bin, write)),
        Command::Places { .. } if cfg!(debug_assertions) => steps::again_in_release(),
        Command::Places { restarts, only } => places::run(restarts, &only),
        Command::Bless => steps::bless(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("\nxtask: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn test(allow_missing: bool) -> Result<()> {
    let bin = match assembler::fetch() {
        Ok(bin) => Some(bin),
        Err(e) if allow_missing => {
            eprintln!("xtask: SKIPPED: no assembler checks: {e:#}");
            None
        }
        Err(e) => {
            return Err(e.context("the assembler checks need ptxas; --allow-missing-ptxas leaves them out"));
        }
    };
    let mut run = steps::Steps::new(bin.clone());
    run.cargo("formatting", &["fmt", "--all", "--check"]);
    run.cargo("lints", &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    run.cargo("tests", &["test", "--workspace", "--all-targets", "--no-fail-fast"]);
    run.cargo("documentation tests", &["test", "--workspace", "--doc"]);
    run.step("weights of every type: a case each", || lowbit::run(&lowbit::Args::quick()));
    run.step("benches: dry run", steps::dry_run_benches);
    if let Some(bin) = bin {
        run.step("assembler: templates", || templates::run(&bin, false));
        run.step("assembler: every target and schedule", || kernels::assemble_all(&bin, ""));
        run.step("assembler: kernels without matrix instructions", || kernels::assemble_rows(&bin, ""));
        run.step("assembler: tune parameters, sampled", || sweep::run(&bin, "", 16, Target::Sm80));
        run.step("assembler: main loop", || sass::check(&bin));
    }
    run.finish()
}
