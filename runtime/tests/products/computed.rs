//! Operands that are computed between shared memory and the product.

use crate::program::Program;
use crate::{holds, mnk};
use tilewright_compiler::tile::ir::ElemType;
use tilewright_runtime::executor::Options;
use tilewright_runtime::tensor::HostTensor;

fn dequantised(weight: &str) -> String {
    format!(
        "kernel p<G: 16..=128 = 32>(x: f16[M, K], w: {weight}[N, K], s: f16[N, K / G], z: f16[N, K / G], out y: f16[M, N]) {{
             tune BM in {{64}}, BN in {{64}}, BK in {{32}};
             grid i over M by BM, j over N by BN;
             let mut acc: f32[i, j] = 0;
             for k over K by BK {{ acc += x[i, k] @ ((w[j, k] as f16 - z[j, k / G]) * s[j, k / G]).T; }}
             y[i, j] = acc as f16;
         }}"
    )
}

#[test]
fn weights_of_every_byte_type_with_scales_and_zeros() {
    for weight in ["i8", "u8", "e4m3", "e5m2", "f16", "i16"] {
        for sets in ["G=32", "G=16", "G=64,k.stages=3", "G=32,k.split=stream"] {
            let mut program = Program::compile(&dequantised(weight), "p", sets);
            program.sms = Some(3);
            let ran = holds(
                &program,
                &format!("{weight} {sets}"),
                &[("M", 70), ("N", 90), ("K", 192)],
                weight == "i8",
            );
            assert!(ran > 0, "{weight} {sets}");
        }
    }
}

/// Beyond the end of k an element is computed from zeros, and would not be zero: it must not count.
#[test]
fn lanes_that_do_not_exist_add_nothing() {
    let text = "kernel p<T: f16 | bf16>(x: T[M, K], w: T[N, K], out y: f32[M, N]) {
             tune BM in {64}, BN in {64}, BK in {32};
             grid i over M by BM, j over N by BN;
             let mut acc: f32[i, j] = 0;
             for k over K by BK { acc += ((1 / x[i, k]) as T) @ (exp2(w[j, k] as f32) as T).T; }
             y[i, j] = acc;
         }";
    for sets in ["T=f16", "T=bf16,k.overlap=false"] {
        let program = Program::compile(text, "p", sets);
        for k in [32, 40, 72, 7] {
            holds(&program, sets, &[("M", 65), ("N", 66), ("K", k)], true);
        }
    }
}

/// A range may begin inside a register of two or four elements, of which then some exist.
#[test]
fn ranges_that_begin_inside_a_register() {
    for (x, begin, promise, value, sum) in [
        ("f16", 1, 2, "exp(V)", "f32"),
        ("f16", 7, 2, "exp(V)", "f32"),
        ("i8", 2, 4, "((V as i32 + 1) as i8)", "i32"),
    ] {
        let (a, b) = (value.replace('V', "x[i, k]"), value.replace('V', "w[j, k]"));
        let text = format!(
            "kernel p(x: {x}[M, K], w: {x}[N, K], out y: {sum}[M, N]) where K % {promise} == 0 {{
                 grid i over M by 16, j over N by 64;
                 let mut acc: {sum}[i, j] = 0;
                 for k over {begin}..K by 32 {{ acc += {a} @ {b}.T; }}
                 y[i, j] = acc;
             }}"
        );
        let program = Program::compile(&text, "p", "");
        for k in [36, 40, 64] {
            assert!(holds(&program, &text, &mnk(16, 64, k), true) > 0);
        }
    }
}

/// Behind the end of a range that is not its tensor's there are codes, and some are no numbers.
#[test]
fn codes_behind_the_end_of_a_range_add_nothing() {
    for (elem, w) in
        [("e5m2", "w[j, k] as f16"), ("e4m3", "w[j, k] as f16"), ("e4m3", "w[j, k] as f16 * 300")]
    {
        let text = format!(
            "kernel p(x: f16[M, K], packed w: {elem}[N, K], out y: f32[M, N]) {{
                 grid i over M by 16, j over N by 64;
                 let mut acc: f32[i, j] = 0;
                 for k over min(K, 16) by 32 {{ acc += x[i, k] @ ({w}).T; }}
                 y[i, j] = acc;
             }}"
        );
        let program = Program::compile(&text, "p", "");
        for behind in [0x7f, 0x7b, 0x7e] {
            let edit = |kernel: &tilewright_compiler::tile::ir::Kernel, tensors: &mut [HostTensor]| {
                let w = kernel.tensors.iter().position(|t| t.name == "w").expect("weights");
                let code = |n: usize| if n % 80 < 16 { (n % 3) as u64 } else { behind };
                tensors[w] = HostTensor::from_codes(tensors[w].elem(), &[64, 80], code).expect("a tensor");
            };
            let run =
                program.run_edited(&program.compiled.ptx, "wide", &mnk(16, 64, 80), Options::default(), edit);
            let run = run.expect("all is aligned");
            assert!(run.wrong.is_empty() && run.findings.is_empty(), "{elem} {w} {behind}: {:?}", run.wrong);
            assert!(
                run.written[0].chunks(4).all(|y| f32::from_le_bytes([y[0], y[1], y[2], y[3]]).is_finite())
            );
        }
    }
}

/// Bipolar bytes that are not packed, and a conversion that zero cannot take.
#[test]
fn bipolar_bytes_and_scales_below_zero() {
    for (parameters, w) in [
        ("w: b8[N, K]", "w[j, k] as f16"),
        ("w: i8[N, K]", "where((w[j, k] as i32) < 0, 0, w[j, k] as f16)"),
        (
            "packed w: u4[N, K]",
            "((w[j, k] as f32 - 0.5) * 0 + ((w[j, k] as f32 + 0.5) as e8m0 as f32)) as f16",
        ),
    ] {
        let text = format!(
            "kernel p(x: f16[M, K], {parameters}, out y: f32[M, N]) {{
                 grid i over M by 16, j over N by 64;
                 let mut acc: f32[i, j] = 0;
                 for k over K by 32 {{ acc += x[i, k] @ ({w}).T; }}
                 y[i, j] = acc;
             }}"
        );
        let program = Program::compile(&text, "p", "");
        for k in [40, 64] {
            assert!(holds(&program, &text, &mnk(16, 64, k), true) > 0);
        }
    }
}

/// An infinite scale makes elements infinite, and those past the end not numbers: they must not count.
#[test]
fn infinite_scales_past_the_end_add_nothing() {
    for (scales, w, depths) in [
        ("s: f16[N]", "w[j, k] as f16 * s[j]", [72, 40]),
        ("s: f16[N, cdiv(K, 32)]", "w[j, k] as f16 * s[j, k / 32]", [80, 136]),
        ("s: f16[N, K / 32]", "(w[j, k] as f16 - 1) * s[j, k / 32]", [96, 160]),
    ] {
        let text = format!(
            "kernel p(x: f16[M, K], packed w: u4[N, K], {scales}, out y: f32[M, N]) {{
                 tune BM in {{16}}, BN in {{64}}, BK in {{64}};
                 grid i over M by BM, j over N by BN;
                 let mut acc: f32[i, j] = 0;
                 for k over K by BK {{ acc += x[i, k] @ ({w}).T; }}
                 y[i, j] = acc;
             }}"
        );
        let program = Program::compile(&text, "p", "");
        for k in depths {
            let dims = [("M", 5), ("N", 72), ("K", k)];
            let run = program.run_edited(
                &program.compiled.ptx,
                "wide",
                &dims,
                Options::default(),
                |kernel, tensors| {
                    for (of, t) in kernel.tensors.iter().zip(tensors) {
                        let value = |n: usize| match of.name.as_str() {
                            "s" if n.is_multiple_of(3) => f64::INFINITY,
                            "w" => 3.0,
                            _ => 1.0,
                        };
                        let values: Vec<f64> = (0..t.numel()).map(value).collect();
                        *t = HostTensor::from_f64(t.elem(), t.shape(), &values).expect("a tensor");
                    }
                },
            );
            let run = run.expect("all is aligned");
            assert!(run.wrong.is_empty() && run.findings.is_empty(), "{w} {k}: {:?}", run.wrong);
            let y =
                HostTensor::from_bytes(ElemType::F32, &[5, 72], run.written[0].clone()).expect("y").to_f64();
            assert!(y.contains(&f64::INFINITY) && y.iter().all(|y| !y.is_nan()), "{w} {k}");
        }
    }
}

#[test]
fn a_mask_and_a_position_in_an_operand() {
    let text = "kernel p(x: f16[M, K], w: f16[N, K], out y: f32[M, N]) {
             tune BM in {64}, BN in {64}, BK in {32};
             grid i over M by BM, j over N by BN;
             let mut acc: f32[i, j] = 0;
             for k over K by BK { acc += where(k <= i, x[i, k], 0) @ (w[j, k] * ((j - k) as f16)).T; }
             y[i, j] = acc;
         }";
    let program = Program::compile(text, "p", "");
    for (m, n, k) in [(100, 70, 100), (64, 64, 64), (3, 5, 7)] {
        holds(&program, "positions", &[("M", m), ("N", n), ("K", k)], true);
    }
}
