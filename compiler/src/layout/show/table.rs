//! A layout as an aligned table of text.

use std::fmt::Write as _;

use super::cells::{Grid, Holder, holders, letter, offsets};
use super::{Shown, TooLarge};
use crate::layout::{Dim, Layout, SharedLayout};

/// The table: rows are the last axis but one, columns the last. Each cell says who holds the element, or where it lies.
pub fn table(shown: &Shown) -> Result<String, TooLarge> {
    match shown {
        Shown::Distributed(layout) => distributed(layout),
        Shown::Memory(memory) => in_memory(memory),
    }
}

/// `8 × 8 elements; 32 lanes, 2 registers`.
pub(super) fn summary(layout: &Layout) -> String {
    let shape: Vec<String> = layout.shape().iter().map(|s| s.1.to_string()).collect();
    let shape = if shape.is_empty() { "1".to_string() } else { shape.join(" × ") };
    let plural = |n: u32, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    let dims: Vec<String> = layout
        .ins()
        .fields()
        .iter()
        .rev()
        .map(|&(dim, _)| {
            let n = layout.size_in(dim);
            match dim {
                Dim::Reg => plural(n, "register", "registers"),
                Dim::Lane => plural(n, "lane", "lanes"),
                Dim::Warp => plural(n, "warp", "warps"),
                Dim::Inst => plural(n, "instance", "instances"),
                Dim::Cta => plural(n, "CTA", "CTAs"),
                Dim::Loop => plural(n, "iteration", "iterations"),
                Dim::Seg => plural(n, "segment", "segments"),
                Dim::Slot => plural(n, "slot", "slots"),
                Dim::Bit => plural(n, "word part", "word parts"),
            }
        })
        .collect();
    format!("{shape} elements; {}", if dims.is_empty() { "one place".into() } else { dims.join(", ") })
}

/// What a cell's letters mean.
pub(super) fn legend(layout: &Layout) -> String {
    let has = |d| layout.ins().has(d);
    let mut words = Vec::new();
    for dim in [Dim::Seg, Dim::Loop, Dim::Slot, Dim::Cta, Dim::Inst, Dim::Bit] {
        if has(dim) {
            words.push(format!("{}: {dim}", letter(dim)));
        }
    }
    if has(Dim::Warp) {
        words.push("t: thread (32 · warp + lane)".into());
    } else if has(Dim::Lane) {
        words.push("t: thread (lane)".into());
    }
    if has(Dim::Reg) {
        words.push("r: register".into());
    }
    let copies = 1u64 << (layout.ins().total() - layout.rank());
    if copies > 1 {
        words.push(format!("×n: the first of n copies, {copies} of each element"));
    }
    words.join(", ")
}

fn distributed(layout: &Layout) -> Result<String, TooLarge> {
    let grid = holders(layout)?;
    let mut out = format!("{}\n{}\n", summary(layout), legend(layout));
    let text = |holders: &Vec<Holder>| match holders.as_slice() {
        [] => "-".to_string(),
        [one] => one.text(),
        [first, ..] => format!("{}×{}", first.text(), holders.len()),
    };
    print(&mut out, &grid, 1, text);
    Ok(out)
}

fn bytes(n: u32) -> String {
    format!("{n} byte{}", if n == 1 { "" } else { "s" })
}

fn in_memory(memory: &SharedLayout) -> Result<String, TooLarge> {
    let (grid, run) = offsets(memory)?;
    let shape: Vec<String> = memory.shape().iter().map(|s| s.1.to_string()).collect();
    let mut out = format!(
        "{} elements of {} in {}, base aligned to {}\ncell: byte offset (bank){}\n",
        shape.join(" × "),
        bytes(memory.elem_bytes()),
        bytes(memory.bytes()),
        memory.align(),
        if run > 1 { format!(" of {run} consecutive elements") } else { String::new() },
    );
    print(&mut out, &grid, run, |offset| format!("{offset} ({})", offset / 4 % 32));
    Ok(out)
}

/// Right-aligned columns with a header of column numbers; rows of cells that are equal in width read as a grid.
fn print<T>(out: &mut String, grid: &Grid<T>, column_step: u32, text: impl Fn(&T) -> String) {
    for (leading, page) in &grid.pages {
        let cells: Vec<String> = page.iter().map(&text).collect();
        let width = cells.iter().map(|c| c.chars().count()).max().unwrap_or(1);
        let width = width.max(((grid.columns - 1) * column_step).to_string().len());
        let margin = (grid.rows - 1).to_string().len();
        if leading.is_empty() {
            out.push('\n');
        } else {
            let at: Vec<String> = leading.iter().map(u32::to_string).collect();
            let _ = writeln!(out, "\n[{}, .., ..]", at.join(", "));
        }
        let _ = write!(out, "{:margin$} |", "");
        for c in 0..grid.columns {
            let _ = write!(out, " {:>width$}", c * column_step);
        }
        let _ = write!(out, "\n{}-+{}", "-".repeat(margin), "-".repeat((width + 1) * grid.columns as usize));
        for (r, row) in cells.chunks(grid.columns as usize).enumerate() {
            let _ = write!(out, "\n{r:margin$} |");
            for cell in row {
                let _ = write!(out, " {cell:>width$}");
            }
        }
        out.push('\n');
    }
}
