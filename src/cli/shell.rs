//! `tilewright completions SHELL` and `tilewright man`: what a shell and a manual reader want to know of the command line.

use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Failure, Ui};

/// Print a shell's completions
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  tilewright completions bash >~/.local/share/bash-completion/completions/tilewright
  tilewright completions zsh  >~/.zfunc/_tilewright           with `fpath+=~/.zfunc` before compinit
  tilewright completions fish >~/.config/fish/completions/tilewright.fish
  tilewright completions powershell >>$PROFILE")]
pub struct CompletionArgs {
    /// bash, elvish, fish, powershell or zsh
    shell: Shell,
}

/// Prints completions.
pub fn completions(ui: &Ui, args: CompletionArgs) -> Result<(), Failure> {
    let mut out = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tilewright", &mut out);
    ui.print(&String::from_utf8_lossy(&out));
    Ok(())
}

/// Print a manual page, or write all of them
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  tilewright man | man -l -
  tilewright man compile | man -l -
  tilewright man --out-dir ~/.local/share/man/man1        afterwards: man tilewright-compile")]
pub struct ManArgs {
    /// A command [default: the page of tilewright itself]
    command: Option<String>,
    /// Write every page into a folder
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    out_dir: Option<PathBuf>,
}

/// Prints a page, or writes all.
pub fn man(ui: &Ui, args: ManArgs) -> Result<(), Failure> {
    let mut whole = Cli::command().disable_help_subcommand(true);
    whole.build();
    if let Some(folder) = &args.out_dir {
        let failed =
            |e: std::io::Error| Failure::input(format!("cannot write into {}: {e}", folder.display()));
        std::fs::create_dir_all(folder).map_err(failed)?;
        let commands: Vec<clap::Command> =
            whole.get_subcommands().filter(|c| !c.is_hide_set()).cloned().collect();
        for page in commands.into_iter().chain([whole]) {
            let man = titled(page);
            let mut file = std::fs::File::create(folder.join(man.get_filename())).map_err(failed)?;
            man.render(&mut file).map_err(failed)?;
        }
        ui.note(&format!("wrote the manual pages into {}", folder.display()));
        return Ok(());
    }
    let page = match &args.command {
        None => whole,
        Some(name) => {
            let found = whole.find_subcommand(name).cloned();
            // Built above, it calls itself `tilewright-NAME`.
            found.ok_or_else(|| Failure::Usage(format!("no command is named `{name}`")))?
        }
    };
    let mut out = Vec::new();
    titled(page).render(&mut out).map_err(Failure::input)?;
    ui.print(&String::from_utf8_lossy(&out));
    Ok(())
}

/// A page whose head and foot name the program and its version, of a command as of the program itself.
fn titled(page: clap::Command) -> clap_mangen::Man {
    let title = page.get_display_name().unwrap_or_else(|| page.get_name()).to_uppercase();
    clap_mangen::Man::new(page)
        .title(title)
        .source(concat!("tilewright ", env!("CARGO_PKG_VERSION")))
        .manual("Tilewright Manual")
}
