//! Counting the instructions of a main loop in SASS: the innermost loop with the most matrix instructions, as the disassembler
//! prints it.

use crate::{assembler, kernels};
use anyhow::{Context, Result, bail};
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use tilewright_compiler::target::Target;

/// One SASS instruction: opcode and operands as text.
type Instruction = (String, String);

/// A loop's length, its matrix instructions, and the opcodes in it.
#[derive(Debug)]
pub struct LoopMix {
    pub total: usize,
    pub matrix: usize,
    pub mix: HashMap<String, usize>,
}

/// A GEMM of the examples at 128×128×BK with four warps.
struct Case {
    file: &'static str,
    kernel: &'static str,
    bk: &'static str,
    /// The matrix instruction in SASS.
    matrix: &'static str,
    /// Warps along rows and columns.
    warps: &'static str,
    /// One more setting.
    set: Option<(&'static str, &'static str)>,
}

const fn case(file: &'static str, kernel: &'static str, bk: &'static str, matrix: &'static str) -> Case {
    Case { file, kernel, bk, matrix, warps: "(2,2)", set: None }
}

const NT: Case = case("gemm_layouts.tw", "gemm_nt", "32", "HMMA");
const ORDERS: [Case; 10] = [
    Case { set: Some(("T", "tf32")), ..TF32 },
    Case { set: Some(("k.split", "stream")), ..PLAIN },
    Case { set: Some(("persistent", "static")), ..PLAIN },
    Case { set: Some(("persistent", "dynamic")), ..PLAIN },
    case("gemm_s8.tw", "gemm_s8", "64", "IMMA"),
    case("gemm_layouts.tw", "gemm_nn", "32", "HMMA"),
    case("gemm_layouts.tw", "gemm_tn", "32", "HMMA"),
    case("gemm_layouts.tw", "gemm_tt", "32", "HMMA"),
    case("gemm_splitk.tw", "gemm_splitk", "32", "HMMA"),
    case("moe_gemm.tw", "moe_gemm", "32", "HMMA"),
];

/// The main loop of an instance with an epilogue is the plain one's.
const PLAIN: Case = case("gemm.tw", "gemm", "32", "HMMA");
const FUSED: Case = case("gemm.tw", "gemm_bias_gelu", "32", "HMMA");

/// From f32 every operand is rounded in registers, which is only printed: a tf32 HMMA takes twice as long as one of halves.
const TF32: Case = case("gemm_tf32.tw", "gemm_tf32", "16", "HMMA");

/// Weights of few bits, and the instructions that a matrix instruction may cost with them: all warps lie along the columns, so that each value is
/// unpacked once.
const PACKED: [(Case, f64); 6] = [
    (Case { warps: "(1,4)", ..case("qgemm.tw", "qgemm", "32", "HMMA") }, 2.6),
    (Case { warps: "(1,4)", ..case("qgemm.tw", "qgemm", "64", "HMMA") }, 2.6),
    // One byte holds two zero points, which are shifted and converted once for a group.
    (Case { warps: "(1,4)", ..case("qgemm_zeros.tw", "qgemm_zeros", "64", "HMMA") }, 2.75),
    // Nothing past the end of k is masked, and scales are converted by the lanes that load them.
    (Case { warps: "(1,4)", ..case("qgemm_channel.tw", "qgemm_channel", "64", "HMMA") }, 2.2),
    (Case { warps: "(1,4)", ..case("mxfp4_gemm.tw", "mxfp4_gemm", "64", "HMMA") }, 3.1),
    (Case { warps: "(1,4)", ..case("nvfp4_gemm.tw", "nvfp4_gemm", "64", "HMMA") }, 3.35),
];

/// The main loops of the operand orders: NT's has at most 1.9 instructions per HMMA, the others, those of bytes and tf32, of parts of
/// K, of gathered rows and of blocks that stay are within 5 % of it; an epilogue changes nothing; four-bit weights with scales and zero points take at most 2.6;
/// attention at most 4.6, in steps that nothing masks, with a causal mask as without.
pub fn check(bin: &Path) -> Result<()> {
    let nt = main_loop(bin, &NT)?;
    if nt > 1.9 {
        bail!("the main loop may have 1.9 instructions per HMMA");
    }
    for order in &ORDERS {
        let ratio = main_loop(bin, order)?;
        let over = (ratio / nt - 1.0) * 100.0;
        eprintln!("      {over:+.1} % against NT; 5 % are allowed");
        if over > 5.0 {
            bail!("{} may have 5 % more instructions per matrix instruction than gemm_nt", order.kernel);
        }
    }
    for (case, most) in &PACKED {
        if main_loop(bin, case)? > *most {
            bail!("unpacking and scaling weights may take {} to {most} instructions per HMMA", case.kernel);
        }
    }
    let dense = attention(bin, "attention")?;
    if dense > 4.6 {
        bail!("attention may have 4.6 instructions per HMMA");
    }
    if attention(bin, "attention_causal")? > dense * 1.05 {
        bail!("a causal mask may add 5 % to attention's steps that it does not cut");
    }
    main_loop(bin, &TF32)?;
    let (plain, fused) = (main_loop(bin, &PLAIN)?, main_loop(bin, &FUSED)?);
    if (plain - fused).abs() > 1e-9 {
        bail!("the main loop of gemm_bias_gelu should be that of gemm");
    }
    Ok(())
}

/// Instructions per matrix instruction of the wide variant's main loop; an error if it permutes bytes or spills.
fn main_loop(bin: &Path, case: &Case) -> Result<f64> {
    let sets = [("BM", "128"), ("BN", "128"), ("BK", case.bk), ("warps", case.warps)];
    let sets = sets.into_iter().chain(case.set);
    let sets: Vec<(String, String)> = sets.map(|(n, v)| (n.to_string(), v.to_string())).collect();
    let compiled = kernels::example(case.file, case.kernel, Target::Sm80, &sets)?;
    let file = kernels::scratch()?.join(format!("{}_main_loop.ptx", case.kernel));
    std::fs::write(&file, &compiled.ptx)?;
    let cubin = file.with_extension("cubin");
    let assembled = assembler::ptxas(bin, &file, "sm_80", &cubin)?;
    if !assembled.complaints.is_empty() {
        bail!("{}", assembled.complaints.join("; "));
    }
    let mix = loop_mix(&disassemble(bin, &cubin)?, case.matrix)
        .with_context(|| format!("no loop with {}", case.matrix))?;
    let ratio = mix.total as f64 / mix.matrix as f64;
    let prmt = mix.mix.get("PRMT").copied().unwrap_or(0);
    eprintln!(
        "   {}{} 128x128x{}, 4 warps: {} instructions, {} {}, {ratio:.2} each, {prmt} PRMT, {} registers, {} B spilled",
        case.kernel,
        case.set.map_or(String::new(), |(name, value)| format!(" {name}={value}")),
        case.bk,
        mix.total,
        mix.matrix,
        case.matrix,
        assembled.registers,
        assembled.spilled("")
    );
    // Scales change hands by permutes, values do not.
    let unpacked = prmt * 16 > mix.matrix || prmt > 0 && case.warps == "(2,2)";
    if unpacked || assembled.spilled("") > 0 {
        bail!("the main loop of {} may have no PRMT, and nothing may spill", case.kernel);
    }
    Ok(ratio)
}

/// Attention forward with head dimension 64, a tile of 128×64 on four warps: the steps that nothing masks.
fn attention(bin: &Path, kernel: &str) -> Result<f64> {
    let sets = [("D", "64"), ("BQ", "128"), ("BKV", "64"), ("warps", "(4,1)")];
    let sets: Vec<(String, String)> = sets.map(|(n, v)| (n.to_string(), v.to_string())).into();
    let compiled = kernels::example("attention.tw", kernel, Target::Sm80, &sets)?;
    let file = kernels::scratch()?.join("attention_main_loop.ptx");
    std::fs::write(&file, &compiled.ptx)?;
    let cubin = file.with_extension("cubin");
    let assembled = assembler::ptxas(bin, &file, "sm_80", &cubin)?;
    if !assembled.complaints.is_empty() || assembled.spilled("wide") > 0 {
        bail!("attention: {}; {} B spilled", assembled.complaints.join("; "), assembled.spilled("wide"));
    }
    let mix = loop_mix(&disassemble(bin, &cubin)?, "HMMA").context("no loop with HMMA")?;
    let ratio = mix.total as f64 / mix.matrix as f64;
    eprintln!(
        "   {kernel} D=64 128x64, 4 warps: {} instructions, {} HMMA, {ratio:.2} each, {} registers",
        mix.total, mix.matrix, assembled.registers
    );
    Ok(ratio)
}

fn disassemble(bin: &Path, cubin: &Path) -> Result<String> {
    let output =
        Command::new(bin.join("nvdisasm")).arg("-c").arg(cubin).output().context("cannot run nvdisasm")?;
    if !output.status.success() {
        bail!("nvdisasm: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The innermost loop with the most `matrix` instructions in disassembled text.
pub fn loop_mix(text: &str, matrix: &str) -> Option<LoopMix> {
    let mut code: Vec<Instruction> = Vec::new();
    let mut labels: HashMap<String, usize> = HashMap::new();
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(label) = trimmed.strip_suffix(':').and_then(|l| l.strip_prefix(".L")) {
            labels.insert(label.to_string(), code.len());
        } else if let Some(i) = instruction(trimmed) {
            code.push(i);
        }
    }
    let mut loops: Vec<(usize, usize, usize)> = Vec::new();
    for (at, (op, operands)) in code.iter().enumerate().filter(|(_, (op, _))| op == "BRA") {
        let _ = op;
        let Some(label) = operands.split(".L").nth(1) else { continue };
        let label: String = label.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if let Some(&first) = labels.get(&label).filter(|f| **f <= at) {
            let count = code[first..=at].iter().filter(|(op, _)| op == matrix).count();
            if count > 0 {
                loops.push((first, at, count));
            }
        }
    }
    let inner =
        loops.iter().filter(|l| !loops.iter().any(|o| o != *l && o.0 >= l.0 && o.1 <= l.1 && o.2 * 4 >= l.2));
    let &(first, last, count) = inner.max_by_key(|l| (l.2, std::cmp::Reverse(l.1 - l.0)))?;
    let mut mix = HashMap::new();
    for (op, _) in &code[first..=last] {
        *mix.entry(op.clone()).or_insert(0) += 1;
    }
    Some(LoopMix { total: last - first + 1, matrix: count, mix })
}

/// `/*0010*/ @!P0 HMMA.16816.F32 R4, … ;` as ("HMMA", "R4, …").
fn instruction(line: &str) -> Option<Instruction> {
    let rest = line.strip_prefix("/*")?.split_once("*/")?.1.trim_start();
    let rest = match rest.strip_prefix('@') {
        Some(guarded) => guarded.split_once(char::is_whitespace)?.1.trim_start(),
        None => rest,
    };
    let (name, operands) = rest.split_once(|c: char| c.is_whitespace() || c == ';').unwrap_or((rest, ""));
    let op = name.split('.').next()?;
    op.starts_with(|c: char| c.is_ascii_uppercase()).then(|| (op.to_string(), operands.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inner_loop_is_counted() {
        let text = "
.L_x_0:
        /*0000*/                   MOV R1, 0x1 ;
.L_x_1:
        /*0010*/                   HMMA.16816.F32 R4, R1, R2, R4 ;
        /*0020*/              @!P0 IADD3 R1, R1, 0x1, RZ ;
        /*0030*/               @P1 BRA `(.L_x_1) ;
        /*0040*/                   BRA `(.L_x_0) ;
";
        let mix = loop_mix(text, "HMMA").expect("a loop");
        assert_eq!((mix.total, mix.matrix), (3, 1));
        assert_eq!(mix.mix["IADD3"], 1);
    }
}
