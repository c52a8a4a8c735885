//! What compilers emit for sm_100 beside tensor memory: arithmetic on two floats, minima of three, reductions of floats, 32 bytes at once.

use super::super::FindingKind;
use super::Kernel;

fn kernel(body: &str) -> Kernel<'_> {
    Kernel { head: ".version 8.8\n.target sm_100a", ..Kernel::new(body) }
}

/// Three floats for each lane, special ones among them.
fn inputs() -> Vec<[f32; 3]> {
    let special = [0.0, -0.0, 1.5, -2.25, 1e-40, -3e-39, f32::INFINITY, f32::NAN, 1e38, 3.25e-20, -7.0];
    (0..32).map(|lane| [0, 1, 2].map(|i| special[(lane * (i + 2) + 5 * i) % special.len()])).collect()
}

fn run(body: &str) -> Vec<f32> {
    let bits: Vec<[u32; 3]> = inputs().iter().map(|lane| lane.map(f32::to_bits)).collect();
    kernel(body).run(&bits).into_iter().map(f32::from_bits).collect()
}

fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

#[track_caller]
fn check(body: &str, model: impl Fn([f32; 3]) -> f32) {
    for (got, input) in run(body).into_iter().zip(inputs()) {
        let want = model(input);
        assert!(same(got, want), "{body}: {input:?} gives {got:?}, not {want:?}");
    }
}

#[test]
fn pairs_of_floats() {
    // (a, b) and (c, a), and both halves of the result.
    let halves = |op: &str| {
        ["{%d, %r9}", "{%r9, %d}"].map(|out| {
            format!("mov.b64 %rd5, {{%a, %b}};\nmov.b64 %rd6, {{%c, %a}};\nmov.b64 %rd7, {{%b, %c}};\n{op};\nmov.b64 {out}, %rd8;")
        })
    };
    type Model = fn(f32, f32, f32) -> f32;
    let operations: [(&str, Model); 7] = [
        ("add.f32x2 %rd8, %rd5, %rd6", |x, y, _| x + y),
        ("add.rn.ftz.f32x2 %rd8, %rd5, %rd6", |x, y, _| flush(flush(x) + flush(y))),
        ("sub.rn.f32x2 %rd8, %rd5, %rd6", |x, y, _| x - y),
        ("mul.rn.f32x2 %rd8, %rd5, %rd6", |x, y, _| x * y),
        ("mul.ftz.f32x2 %rd8, %rd5, %rd6", |x, y, _| flush(flush(x) * flush(y))),
        ("fma.rn.f32x2 %rd8, %rd5, %rd6, %rd7", |x, y, z| x.mul_add(y, z)),
        ("fma.rn.ftz.f32x2 %rd8, %rd5, %rd6, %rd7", |x, y, z| flush(flush(x).mul_add(flush(y), flush(z)))),
    ];
    for (op, model) in operations {
        let [low, high] = halves(op);
        check(&low, |[a, b, c]| model(a, c, b));
        check(&high, |[a, b, c]| model(b, a, c));
    }
    let [low, _] = halves("add.rz.f32x2 %rd8, %rd5, %rd6");
    let scalar = "add.rz.f32 %d, %a, %c;";
    assert!(run(&low).into_iter().zip(run(scalar)).all(|(pair, one)| same(pair, one)));
}

#[test]
fn the_extreme_of_three() {
    let more = |x: f32, y: f32| if y > x || (y == x && x.is_sign_negative()) { y } else { x };
    let most = |x: [f32; 3]| x.into_iter().filter(|x| !x.is_nan()).reduce(more);
    check("max.f32 %d, %a, %b, %c;", |x| most(x).unwrap_or(f32::NAN));
    let least = |x: [f32; 3]| x.into_iter().filter(|x| !x.is_nan()).reduce(|x, y| if y < x { y } else { x });
    check("min.ftz.abs.f32 %d, %a, %b, %c;", |x| least(x.map(f32::abs).map(flush)).unwrap_or(f32::NAN));
    check("max.NaN.abs.f32 %d, %a, %b, %c;", |x| match x.iter().any(|x| x.is_nan()) {
        true => f32::NAN,
        false => x.map(f32::abs).into_iter().fold(0.0, f32::max),
    });
}

#[test]
fn reductions_of_floats() {
    let column: Vec<f32> = inputs().iter().map(|x| x[0]).collect();
    let numbers = column.iter().copied().filter(|x| !x.is_nan());
    let (least, most) = (numbers.clone().fold(f32::INFINITY, f32::min), numbers.clone().fold(-1.0, f32::max));
    check("redux.sync.min.f32 %d, %a, -1;", |_| least);
    check("redux.sync.max.f32 %d, %a, -1;", |_| most);
    check("redux.sync.max.NaN.f32 %d, %a, -1;", |_| f32::NAN);
    let magnitude = numbers.map(f32::abs).fold(f32::INFINITY, f32::min);
    check("redux.sync.min.abs.f32 %d, %a, -1;", |_| magnitude);
    // NaN alone.
    check("mov.b32 %a, 0xffc00001;\nredux.sync.min.f32 %d, %a, -1;", |_| f32::NAN);
}

#[test]
fn thirty_two_bytes_at_once() {
    let input: Vec<[u32; 3]> = (0..32).map(|t| [3 * t, 3 * t + 1, 3 * t + 2]).collect();
    let words = "ld.global.v8.b32 {%r1, %r2, %r3, %r4, %r5, %r6, %r7, %r8}, [%rd1+32];\nshl.b32 %r8, %r8, 8;\nor.b32 %d, %r1, %r8;";
    assert_eq!(kernel(words).run(&input), [8 | 15 << 8; 32]);
    // Over the register of the address, and back to memory.
    let round = "mad.wide.u32 %rd9, %t, 0, %rd1;\nld.global.v4.b64 {%rd9, %rd10, %rd11, %rd12}, [%rd9];\n\
                 st.global.v4.b64 [%rd1+32], {%rd12, %rd11, %rd10, %rd9};\nld.global.v2.b32 {%r1, %r2}, [%rd1+56];\n\
                 ld.global.b32 %r3, [%rd1+32];\nshl.b32 %r2, %r2, 8;\nor.b32 %d, %r1, %r2;\nmad.lo.u32 %d, %r3, 65536, %d;";
    assert_eq!(kernel(round).run(&input), [6 << 16 | 1 << 8; 32]);
    let crooked = "ld.global.v8.b32 {%r1, %r2, %r3, %r4, %r5, %r6, %r7, %r8}, [%rd1+16];";
    assert_eq!(kernel(crooked).findings().first().map(|f| f.0), Some(FindingKind::Misaligned));
    let beyond = "ld.global.v8.b32 {%r1, %r2, %r3, %r4, %r5, %r6, %r7, %r8}, [%rd1+384];";
    assert_eq!(kernel(beyond).findings().first().map(|f| f.0), Some(FindingKind::OutOfBounds));
}
