//! `ptx_templates/`: the unpacking of every packed type as PTX, and what the assembler makes of it.
//!
//! A value's cost is what more groups add to a kernel's arithmetic, by the disassembler, divided by their values. Loads, stores and addresses
//! are not counted: a product has them in any case.

use crate::assembler;
use crate::kernels::scratch;
use crate::steps::root;
use anyhow::{Context, Result, bail};
use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use tilewright_compiler::packed::Form;
use tilewright_compiler::templates::{Family, Stage, Template, To, ptx};

/// Groups that are counted: what more groups cost is theirs, and no constant's or address'.
const GROUPS: [u32; 2] = [1, 9];

/// Checks the folder's table against the assembler, or writes the folder anew.
pub fn run(bin: &Path, write: bool) -> Result<()> {
    let folder = root().join("ptx_templates");
    let table = table(bin)?;
    bounds(&table)?;
    let page = root().join("docs/lowbit.md");
    let text = std::fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    let paged = documented(&text, &table)?;
    let path = folder.join("README.md");
    if write {
        std::fs::create_dir_all(&folder)?;
        for to in To::ALL {
            for family in Family::ALL {
                let Some(name) = family.file(to) else { continue };
                std::fs::write(folder.join(name), ptx(&family.templates(to), &[Stage::Finished], &[1]))?;
            }
        }
        std::fs::write(&page, paged).with_context(|| format!("cannot write {}", page.display()))?;
        return std::fs::write(&path, table).with_context(|| format!("cannot write {}", path.display()));
    }
    if std::fs::read_to_string(&path).unwrap_or_default() != table {
        bail!("{} is not what the assembler says now: `cargo xtask templates --write`", path.display());
    }
    if text != paged {
        bail!("{} does not have that table: `cargo xtask templates --write`", page.display());
    }
    Ok(())
}

/// What unpacking to f16 may cost, picked and finished: u4, other integers, e4m3 with its NaNs, other floats.
fn bounds(table: &str) -> Result<()> {
    for line in table.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let &[ty, _, _, picked, finished, ..] = &cells[..] else { continue };
        let (Ok(picked), Ok(finished)) = (picked.parse::<f64>(), finished.parse::<f64>()) else { continue };
        let (most_picked, most_finished) = match ty {
            "u4" => (0.65, 1.15),
            "e4m3" => (2.0, 2.5),
            _ if ty.starts_with('e') => (2.0, 2.0),
            _ => (1.4, 1.9),
        };
        if picked > most_picked || finished > most_finished {
            bail!(
                "{ty} takes {picked} and {finished} instructions a value to f16: {most_picked} and {most_finished} are allowed"
            );
        }
    }
    Ok(())
}

/// The lines of docs/lowbit.md that hold the table.
const MARKS: [&str; 2] =
    ["<!-- types: written by `cargo xtask templates --write` -->\n", "<!-- end of types -->\n"];

/// docs/lowbit.md with its table of types, from the folder's: every type, its bits, and what finished values cost.
fn documented(page: &str, table: &str) -> Result<String> {
    let (before, rest) =
        page.split_once(MARKS[0]).context("docs/lowbit.md has no mark of where its table begins")?;
    let (_, after) =
        rest.split_once(MARKS[1]).context("docs/lowbit.md has no mark of where its table ends")?;
    let mut rows = String::from(
        "| type | bits per weight | with scales | way to f16 | instructions per weight | way to bf16 | instructions per weight | to bytes |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for line in table.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let &[ty, bits, f16, _, finished, bf16, _, bf16_finished, bytes] = &cells[..] else { continue };
        let Ok(n) = bits.parse::<f64>() else { continue };
        // 16 bits for 128 weights, and a zero point's as many.
        let scales = if ty.starts_with('e') { 0.125 } else { 0.25 };
        let way = |way: &str| way.split(',').next().unwrap_or_default().to_string();
        let _ = writeln!(
            rows,
            "| {ty} | {bits} | {} | {} | {finished} | {} | {bf16_finished} | {bytes} |",
            n + scales,
            way(f16),
            way(bf16)
        );
    }
    Ok(format!("{before}{}{rows}{}{after}", MARKS[0], MARKS[1]))
}

const HEAD: &str = "\
# Unpacking, type by type

Packed operands of products are unpacked two values at a time, or to bytes four at a time (`compiler/src/warp/unpack.rs`). The files of this folder hold what that emits, a
kernel for each type: they are made by `cargo xtask templates --write` and held to the compiler by a test, which also runs them with every code of
every type. Take them for kernels of your own: thread t loads one group of words and stores its values; the comments say which bit of which word
is which bit of a value, the highest first.

Cost is arithmetic instructions per value on sm_80, as ptxas assembles them. *Picked* leaves each value times a factor plus an addend, which may meet
with the zero point or the scale that follows; *finished* is the value. Types without a figure are unpacked element by element.

| type | bits per weight | way to f16 | picked | finished | way to bf16 | picked | finished | bytes, finished |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
";

fn table(bin: &Path) -> Result<String> {
    let mut costs: HashMap<String, f64> = HashMap::new();
    for (number, to) in To::ALL.into_iter().enumerate() {
        let templates: Vec<Template> = Family::ALL.into_iter().flat_map(|f| f.templates(to)).collect();
        let counts = count(bin, number, &ptx(&templates, &[Stage::Picked, Stage::Finished], &GROUPS))?;
        for t in &templates {
            for stage in [Stage::Picked, Stage::Finished] {
                let count = |n| counts.get(&t.entry(stage, n)).copied().context("a template without code");
                let (few, many) = (count(GROUPS[0])? as f64, count(GROUPS[1])? as f64);
                let groups = f64::from(GROUPS[1] - GROUPS[0]) * t.values() as f64;
                costs.insert(t.entry(stage, 1), (many - few) / groups);
            }
        }
    }
    let mut out = String::from(HEAD);
    for elem in Family::ALL.into_iter().flat_map(Family::types) {
        let _ = write!(out, "| {elem} | {} ", elem.bits());
        for to in To::ALL {
            let _ = match Template::new(elem, to) {
                Some(t) if to == To::Bytes => write!(out, "| {:.2} ", costs[&t.entry(Stage::Finished, 1)]),
                None if to == To::Bytes => write!(out, "| – "),
                Some(t) => write!(
                    out,
                    "| {} | {:.2} | {:.2} ",
                    way(&t),
                    costs[&t.entry(Stage::Picked, 1)],
                    costs[&t.entry(Stage::Finished, 1)]
                ),
                None => write!(out, "| element by element | – | – "),
            };
        }
        out.push_str("|\n");
    }
    Ok(out)
}

fn way(t: &Template) -> String {
    let words = t.placement.words;
    let group = if words == 1 { String::new() } else { format!(", {} values in {words} words", t.values()) };
    match t.to.toward().form(t.elem) {
        Form::Magic { .. } => format!("magic mantissa{group}"),
        Form::Float { .. } => format!("bits and bias{group}"),
        Form::Byte | Form::Planes | Form::Nibbles | Form::Codes => "codes".into(),
    }
}

/// Arithmetic instructions of each entry.
fn count(bin: &Path, number: usize, text: &str) -> Result<HashMap<String, usize>> {
    let file = scratch()?.join(format!("templates_{number}.ptx"));
    std::fs::write(&file, text)?;
    let cubin = file.with_extension("cubin");
    assembler::ptxas(bin, &file, "sm_80", &cubin)?;
    let shown =
        Command::new(bin.join("nvdisasm")).arg("-c").arg(&cubin).output().context("cannot run nvdisasm")?;
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut entry = String::new();
    for line in String::from_utf8_lossy(&shown.stdout).lines() {
        if let Some(section) = line
            .trim()
            .strip_prefix(".section\t.text.")
            .or_else(|| line.trim().strip_prefix(".section .text."))
        {
            entry = section.split(',').next().unwrap_or_default().to_string();
            counts.insert(entry.clone(), 0);
        }
        let Some((_, rest)) = line.split_once("*/") else { continue };
        let op = rest.trim_start().split([' ', ';']).next().unwrap_or_default();
        if arithmetic(op)
            && let Some(n) = counts.get_mut(&entry)
        {
            *n += 1;
        }
    }
    Ok(counts)
}

/// Whether it computes values rather than addresses: those take wide multiplications alone.
fn arithmetic(op: &str) -> bool {
    let stem = op.split('.').next().unwrap_or_default();
    matches!(stem, "LOP3" | "SHF" | "PRMT" | "HADD2" | "HMUL2" | "HFMA2" | "IADD3" | "LEA")
        || stem == "IMAD" && !op.contains(".WIDE") && !op.contains(".MOV")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_the_table() {
        let read = |path: &str| std::fs::read_to_string(root().join(path)).expect(path);
        let page = read("docs/lowbit.md");
        let wanted = documented(&page, &read("ptx_templates/README.md")).expect("marks");
        assert!(wanted == page, "`cargo xtask templates --write` writes the table of docs/lowbit.md anew");
        let types = Family::ALL.iter().map(|f| f.types().len()).sum::<usize>();
        let rows =
            page.lines().skip_while(|l| !l.starts_with(MARKS[0].trim())).filter(|l| l.starts_with("| "));
        assert_eq!(rows.count(), types + 2);
    }
}
