//! A panic is a bug of ours: say so, say how to report it, exit with status 3.

use std::io::Write;

/// Where bugs are reported.
pub const REPORT: &str = "this is a bug of tilewright, not of your program; please report it with the command line and the \
                          .tw file (both may be reduced) to the project's issue tracker";

/// From now on a panic on any thread ends the process with status 3.
pub fn install() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|at| format!(" at {}:{}", at.file(), at.line())).unwrap_or_default();
        let what = info.payload();
        let what = what
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| what.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        let command: Vec<String> = std::env::args().collect();
        let mut err = std::io::stderr().lock();
        // Nothing is left to do where even this fails.
        let _ = writeln!(
            err,
            "internal error{place}: {what}\nnote: {REPORT}\nnote: tilewright {} was started as: {}",
            env!("CARGO_PKG_VERSION"),
            command.join(" ")
        );
        let _ = err.flush();
        std::process::exit(3);
    }));
}
