//! `tilewright`, the command line. Everything it can do, the libraries can do: here are only arguments, files and words.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
