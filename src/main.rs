//! `tilewright`, the command line. Everything it can do, the libraries can do: here are only arguments, files and words.

// Those of the standard library panic where nothing can be written; `Ui` does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
