//! Rests of divisions and extremes of NaNs: what the evaluator and the PTX must both have by the letter.

use tilewright_runtime::executor::Options;
use tilewright_runtime::launch::on_cpu::run_on_cpu;
use tilewright_runtime::launch::{DimValues, Filling, Meaning, prepare};
use tilewright_runtime::tensor::HostTensor;

use super::program::Program;

/// Runs a kernel whose first parameters are these inputs; the outputs that are wrong, and all tensors.
fn run(program: &Program, dims: &[(&str, i64)], inputs: &[Vec<f64>]) -> (Vec<String>, Vec<HostTensor>) {
    let kernel = &program.compiled.kernel;
    let given = dims.iter().map(|(name, v)| (name.to_string(), *v)).collect();
    let outside = DimValues { given, ..DimValues::default() };
    let mut launch =
        prepare(kernel, Vec::new(), &outside, Filling { seed: 5, poison: true }).expect("a launch");
    for (tensor, x) in launch.tensors.iter_mut().zip(inputs) {
        *tensor = HostTensor::from_f64(tensor.elem(), tensor.shape(), x).expect("a tensor");
    }
    let meaning = Meaning::of(kernel, &launch).expect("a meaning");
    run_on_cpu(&program.compiled, &mut launch, &Options::default()).expect("a run");
    let verdicts = meaning.judge(kernel, &launch.tensors);
    let wrong = verdicts.into_iter().filter(|v| !v.comparison.ok).map(|v| v.name).collect();
    (wrong, launch.tensors)
}

#[test]
fn a_rest_is_exact_whatever_the_quotient() {
    let text = "kernel rests(x: f32[N], y: f32[N], out r: f32[N]) {
        grid i over N by 128;
        r[i] = x[i] % y[i];
    }";
    let program = Program::compile(text, "rests", "");
    let (mut x, mut y) = (Vec::new(), Vec::new());
    let named = [
        (2147483648.0, 3.0),
        (-2147483648.0, 3.0),
        (1e8, 3.0),
        (-3.0, 1e-40),
        (3.4e38, 1.4e-45f64),
        (3.4e38, -7e-45),
        (-0.25, 3.0),
        (6.0, -3.0),
        (7.5, f64::INFINITY),
        (-7.5, f64::INFINITY),
        (7.5, 0.0),
        (f64::INFINITY, 2.0),
        (f64::NAN, 2.0),
        (16777215.0, 0.5),
        (8388607.5, 2.0),
    ];
    for (a, b) in named {
        x.push(f64::from(a as f32));
        y.push(f64::from(b as f32));
    }
    // Any bits, and quotients next to whole numbers.
    let mut state = 88172645463325252u64;
    let mut bits = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f32::from_bits((state >> 32) as u32)
    };
    for n in 0..4000 {
        let (a, b) = (bits(), bits());
        let a = if n % 2 == 0 { a } else { ((b * (n as f32)).to_bits() + n % 3).wrapping_sub(1) as f32 };
        x.push(f64::from(a));
        y.push(f64::from(b));
    }
    let (_, tensors) = run(&program, &[("N", x.len() as i64)], &[x.clone(), y.clone()]);
    for ((a, b), got) in x.iter().zip(&y).zip(tensors[2].to_f64()) {
        let rest = a % b;
        let want = (if rest != 0.0 && (rest < 0.0) != (*b < 0.0) { rest + b } else { rest }) as f32;
        let got = got as f32;
        // A small number beside a divisor of the other sign is added to it, and that rounds, here by way of f64.
        let near = got.to_bits().abs_diff(want.to_bits()) <= u32::from(a.abs() < b.abs());
        assert!(
            near || got == want || got.is_nan() && want.is_nan(),
            "{a:e} % {b:e} is {got:e}, not {want:e}"
        );
    }
}

/// In rows as long as the tile nothing is filled up with what changes nothing.
#[test]
fn nothing_but_nans_is_nothing() {
    let text = "kernel extremes(x: f32[R, C], out top: f32[R], out low: f32[R], out up: f32[R, C], out back: f32[R, C]) {
        tune BR in {4, 1}, BC in {64, 8, 1};
        grid i over R by BR;
        let c = 0..C by BC;
        let t = x[i, c];
        top[i] = max(t over c);
        low[i] = min(t over c);
        up[i, c] = cummax(t over c);
        back[i, c] = cummax(t over rev(c));
    }";
    for (sets, tile) in
        [("BC=64", 64), ("BC=64,warps=4", 64), ("BC=8", 8), ("BR=1,BC=1", 1), ("BC=64,BR=1,warps=8", 64)]
    {
        let program = Program::compile(text, "extremes", sets);
        for columns in [1usize, 7, 8, 64].into_iter().filter(|n| *n <= tile) {
            let mut x = vec![f64::NAN; 4 * columns];
            // One row begins with NaNs, one ends with them.
            for (c, v) in x.iter_mut().enumerate().skip(columns) {
                let (row, c) = (c / columns, c % columns);
                if row == 1 && c > columns / 2 || row == 2 && c < columns / 2 {
                    *v = c as f64 - 3.0;
                }
            }
            let (wrong, tensors) = run(&program, &[("R", 4), ("C", columns as i64)], &[x]);
            assert!(wrong.is_empty(), "{sets} {columns}: {wrong:?}");
            assert_eq!(tensors[1].to_f64()[0], f64::NEG_INFINITY, "{sets} {columns}");
            assert_eq!(tensors[2].to_f64()[0], f64::INFINITY, "{sets} {columns}");
            assert!(tensors[3].to_f64().iter().all(|v| !v.is_nan()), "{sets} {columns}");
        }
    }
}

/// A cast to a type that is too narrow wraps: what it was computed from says nothing of its sign, nor of where it ends.
#[test]
fn narrowed_coordinates_may_be_negative() {
    let whole = "in 0..=2147483647";
    let programs = [
        ("i32[N]", "out y: i32[N]", "y[i] = ((i as i8) as index / 16) as i32;"),
        ("i32[N] in 0..256", "out y: i32[N]", "y[i] = (x[i] as i8 as index % 12) as i32;"),
        (
            &format!("i32[N] {whole}"),
            "out y: i32[N]",
            "y[i] = ((x[i] * 65536 + 2000000000) as index % 12) as i32;",
        ),
        (
            "i32[N] in 0..256",
            &format!("s: i32 {whole} = 2000000000, out y: f32[N]"),
            "y[i] = ((s + s) as index / 16 + x[i]) as f32;",
        ),
        ("i32[N] in 0..200", "w: f32[200], out y: f32[N]", "y[i] = w[x[i] as i8 as index];"),
        ("i32[N] in 0..200", "w: f32[N], out y: f32[200]", "y[x[i] as i8 as index] = w[i];"),
    ];
    for (x, others, statement) in programs {
        let text = format!("kernel k(x: {x}, {others}) {{ grid i over N by 128; {statement} }}");
        let program = Program::compile(&text, "k", "");
        let coordinates: Vec<f64> = (0..200).map(f64::from).collect();
        let (wrong, _) = run(&program, &[("N", 200)], &[coordinates.clone(), coordinates]);
        assert!(wrong.is_empty(), "{text}: {wrong:?}");
    }
}
