//! `tilewright layout EXPR`

use std::path::PathBuf;

use tilewright_compiler::layout::show;

use super::{Failure, Ui};

/// Show a layout: which thread and register holds which element
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilewright layout 'spatial(8, 4) * local(1, 2)'
  tilewright layout 'mma.m16n8k16.A' --svg a.svg")]
pub struct Args {
    /// A layout, e.g. 'spatial(8, 4) * local(1, 2)' or an atom such as 'ldmatrix.x4'
    #[arg(value_name = "EXPR")]
    layout: String,
    /// Draw it into a file, one colour per thread
    #[arg(long, value_name = "PATH")]
    svg: Option<PathBuf>,
    /// The layout as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Prints or draws a layout.
pub fn layout(ui: &Ui, args: Args) -> Result<(), Failure> {
    let shown = show::parse_expr(&args.layout).map_err(|error| wrong(ui, &args.layout, &error))?;
    if let Some(path) = &args.svg {
        let picture = show::svg(&shown, &args.layout).map_err(Failure::input)?;
        std::fs::write(path, picture)
            .map_err(|e| Failure::input(format!("cannot write {}: {e}", path.display())))?;
        ui.note(&format!("wrote {}", path.display()));
    }
    if ui.json {
        ui.object(&show::json(&shown));
    } else if args.svg.is_none() {
        ui.print(&show::table(&shown).map_err(Failure::input)?);
    }
    Ok(())
}

/// A mistake in the expression, with a caret under it.
fn wrong(ui: &Ui, text: &str, error: &show::ExprError) -> Failure {
    if ui.json {
        let mut message = error.message.clone();
        if !error.expected.is_empty() {
            message += &format!("; expected {}", error.expected.join(", "));
        }
        let column = text.get(..error.span.start).map_or(1, |before| before.chars().count() + 1);
        let failure = Failure::input(format!("column {column}: {message}"));
        return if error.help.is_empty() { failure } else { failure.help(error.help.join("; ")) };
    }
    ui.err(&error.render(text));
    Failure::Reported(1)
}
