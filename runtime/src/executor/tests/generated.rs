//! The compiler's own PTX: right on ragged shapes, clean under the sanitizer, free of bank conflicts, and with every barrier, wait
//! and commit necessary: delete any one and the sanitizer says so.
//!
//! Inputs are small integers, so every product and sum is exact and results are compared bit for bit.

use half::f16;
use tilewright_compiler::artifact::{Compiled, VariantMeta};
use tilewright_compiler::compile::{self, compile};
use tilewright_compiler::diagnostics::SourceMap;
use tilewright_compiler::front::Memory;
use tilewright_compiler::target::Target;

use super::super::{Arg, Launch, Options, Outcome, run};

const TILE: u32 = 64;

fn gemm() -> Compiled {
    let files = Memory::from([("gemm.tw", include_str!("../../../../dsl_examples/gemm.tw"))]);
    let mut sources = SourceMap::default();
    let mut options = compile::Options::new(Target::Sm80);
    let sets = [("BM", "64"), ("BN", "64"), ("BK", "32"), ("k.stages", "3")];
    options.settings.sets = sets.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    compile(&mut sources, &files, "gemm.tw", &options)
        .unwrap_or_else(|d| panic!("{}", d.render(&sources, false)))
}

/// A shape that a variant accepts, with a tail in every direction.
fn shape(variant: &str) -> (usize, usize, usize) {
    match variant {
        "wide" => (96, 136, 168),
        "mid" => (70, 66, 170),
        _ => (67, 71, 173),
    }
}

fn matrix(rows: usize, columns: usize, factor: usize) -> Vec<f16> {
    (0..rows * columns).map(|i| f16::from_f32(((i * factor + i / 7) % 5) as f32 - 2.0)).collect()
}

/// C, and what happened.
fn execute(
    compiled: &Compiled,
    ptx: &str,
    variant: &VariantMeta,
    options: Options,
) -> (Vec<f16>, Vec<f16>, Outcome) {
    let (m, n, k) = shape(variant.name);
    let (a, b) = (matrix(m, k, 3), matrix(n, k, 7));
    let entry = compiled.module.entry(&variant.entry).expect("the variant's entry");
    let args = entry
        .params
        .iter()
        .map(|param| match param.name.rsplit('_').next() {
            Some("a") => Arg::buffer(0),
            Some("b") => Arg::buffer(1),
            Some("c") => Arg::buffer(2),
            Some("M") => Arg::i32(m as i32),
            Some("N") => Arg::i32(n as i32),
            Some("K") => Arg::i32(k as i32),
            _ => panic!("parameter {}", param.name),
        })
        .collect();
    let bytes = |values: &[f16]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let mut buffers = [bytes(&a), bytes(&b), vec![0xff; 2 * m * n]];
    let outcome = run(Launch {
        ptx,
        entry: &variant.entry,
        grid: [(m as u32).div_ceil(TILE) * (n as u32).div_ceil(TILE), 1, 1],
        block: variant.block,
        cluster: [1; 3],
        shared_bytes: variant.shared_bytes,
        args,
        buffers: &mut buffers,
        options,
    })
    .unwrap_or_else(|e| panic!("{}: {e}", variant.name));
    let got = buffers[2].chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]])).collect();
    let dot = |i: usize, j: usize| (0..k).map(|x| a[i * k + x].to_f32() * b[j * k + x].to_f32()).sum::<f32>();
    let want = (0..m * n).map(|at| f16::from_f32(dot(at / n, at % n))).collect();
    (got, want, outcome)
}

#[test]
fn every_variant_is_right_and_clean() {
    let compiled = gemm();
    for variant in &compiled.meta.launches[0].variants {
        for seed in 0..3 {
            let options = Options { seed, sanitize: seed > 0, stats: true, ..Options::default() };
            let (got, want, outcome) = execute(&compiled, &compiled.ptx, variant, options);
            assert_eq!(outcome.findings, [], "{}", variant.name);
            assert!(
                got == want,
                "{}: first difference at {:?}",
                variant.name,
                got.iter().zip(&want).position(|(g, w)| g != w)
            );
            if variant.name != "any" {
                assert_eq!(outcome.stats.bank_conflicts(), 0, "{}: {:?}", variant.name, outcome.stats.shared);
            }
        }
    }
}

#[test]
fn every_barrier_wait_and_commit_is_necessary() {
    let compiled = gemm();
    let lines: Vec<&str> = compiled.ptx.lines().collect();
    for variant in &compiled.meta.launches[0].variants {
        let start =
            lines.iter().position(|l| l.contains(&format!(".entry {}(", variant.entry))).expect("the entry");
        let length = lines[start + 1..]
            .iter()
            .position(|l| l.contains(".entry "))
            .map_or(lines.len() - start, |n| n + 1);
        let mut deleted = 0;
        for at in start..start + length {
            if !["bar.sync", "cp.async.wait_group", "cp.async.commit_group"]
                .iter()
                .any(|s| lines[at].contains(s))
            {
                continue;
            }
            deleted += 1;
            let mut mutated = lines.clone();
            mutated[at] = "";
            let options = Options { sanitize: true, ..Options::default() };
            let (_, _, outcome) = execute(&compiled, &mutated.join("\n"), variant, options);
            assert!(
                !outcome.findings.is_empty(),
                "{}: nobody misses line {}: {}",
                variant.name,
                at + 1,
                lines[at]
            );
        }
        assert!(deleted >= 2, "{}: only {deleted} synchronisations found", variant.name);
    }
}
