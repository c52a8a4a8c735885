//! The commands: one file each. [`Failure`] says how a command ends, [`Ui`] is where its words go.
//!
//! Exit status: 0 fine; 1 the program, its input or the machine is at fault; 2 the command line is; 3 we are, and the message says how
//! to report it.

mod arguments;
mod check;
mod compile;
mod diff;
mod exec;
mod fmt;
mod import;
mod layout;
mod new;
mod pack;
mod panic;
mod pipeline;
mod ptxas;
mod replace;
mod run;
mod run_report;
mod shell;
mod snapshot;
mod source;
mod ui;
mod values;
mod verify;

use std::io::Write;
use std::process::ExitCode;

use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use ui::{Failure, Ui};

/// Stack for the command's thread: the parser and the evaluator recurse as deep as a program nests.
const STACK_BYTES: usize = 256 << 20;

/// `--version`; `-V` prints the first line.
const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), "\ntargets: sm_80, sm_86, sm_89, sm_90a\nlicence: MIT OR Apache-2.0");

#[derive(Debug, Parser)]
#[command(
    name = "tilewright",
    version,
    long_version = VERSION,
    about = "Compiles tile programs (.tw) to PTX, and runs and checks them with or without a GPU",
    after_long_help = "Examples:
  tilewright new scores                             write a first kernel, with comments
  tilewright run gemm.tw --check                    compile, run, compare with the program's meaning
  tilewright verify gemm.tw                         try every level on random shapes and schedules
  tilewright pack qgemm.tw --arg w=w.npy -o p.safetensors   pack weights once, for many runs
  tilewright import model/ -o weights.safetensors   read GPTQ, AWQ, MXFP4 and NVFP4 checkpoints
  tilewright check gemm.tw                          report every error in a file
  tilewright compile gemm.tw --target sm_90a        print PTX
  tilewright fmt gemm.tw                            write the file in the one style
  tilewright snapshot gemm.tw                       compare with golden files, in your CI
  tilewright layout 'spatial(8, 4) * local(1, 2)'   show which thread holds which element

Results go to stdout, everything else to stderr. --color auto colours what goes to a terminal, unless NO_COLOR is set.

Exit status: 0 fine, 1 the program or its input is wrong, 2 the command line is, 3 a bug of ours."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// When to colour what goes to a terminal
    #[arg(long, global = true, value_enum, default_value_t = ui::Colour::Auto)]
    color: ui::Colour,
    /// Print results and errors only
    #[arg(long, short, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Args),
    Compile(compile::Args),
    Run(run::Args),
    Pack(pack::Args),
    Import(import::Args),
    Verify(verify::Args),
    Exec(exec::Args),
    Layout(layout::Args),
    Fmt(fmt::Args),
    New(new::Args),
    Snapshot(snapshot::Args),
    Completions(shell::CompletionArgs),
    Man(shell::ManArgs),
}

impl Command {
    fn json(&self) -> bool {
        match self {
            Command::Check(args) => args.json,
            Command::Compile(args) => args.json,
            Command::Run(args) => args.json,
            Command::Pack(args) => args.json,
            Command::Import(args) => args.json,
            Command::Verify(args) => args.json,
            Command::Exec(args) => args.json,
            Command::Layout(args) => args.json,
            Command::Fmt(args) => args.json,
            Command::Snapshot(args) => args.json,
            Command::New(_) | Command::Completions(_) | Command::Man(_) => false,
        }
    }
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    panic::install();
    // Exits with status 2 on misuse, and with 0 after --help and --version.
    let matches = Cli::command().color(help_colour()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let worker = std::thread::Builder::new().name("tilewright".into()).stack_size(STACK_BYTES);
    match worker.spawn(move || dispatch(cli)).map(|thread| thread.join()) {
        Ok(Ok(code)) => code,
        // The panic hook has said what happened, and normally ends the process itself.
        Ok(Err(_)) => ExitCode::from(3),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: this machine gives no thread: {error}");
            ExitCode::from(1)
        }
    }
}

/// `--color` as help and misuse want it, which are printed before the command line is understood.
fn help_colour() -> ColorChoice {
    let args: Vec<String> =
        std::env::args_os().map(|a| a.to_string_lossy().into_owned()).take_while(|a| a != "--").collect();
    let spaced = args.windows(2).find(|w| w[0] == "--color").map(|w| w[1].as_str());
    match args.iter().find_map(|a| a.strip_prefix("--color=")).or(spaced) {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ => ColorChoice::Auto,
    }
}

fn dispatch(cli: Cli) -> ExitCode {
    let ui = Ui::new(cli.color, cli.quiet, cli.command.json());
    let result = match cli.command {
        Command::Check(args) => check::check(&ui, args),
        Command::Compile(args) => compile::compile(&ui, args),
        Command::Run(args) => run::run(&ui, args),
        Command::Pack(args) => pack::pack(&ui, args),
        Command::Import(args) => import::import(&ui, args),
        Command::Verify(args) => verify::verify(&ui, args),
        Command::Exec(args) => exec::exec(&ui, args),
        Command::Layout(args) => layout::layout(&ui, args),
        Command::Fmt(args) => fmt::fmt(&ui, args),
        Command::New(args) => new::new(&ui, args),
        Command::Snapshot(args) => snapshot::snapshot(&ui, args),
        Command::Completions(args) => shell::completions(&ui, args),
        Command::Man(args) => shell::man(&ui, args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            ui.failure(&failure);
            ExitCode::from(failure.status())
        }
    }
}
