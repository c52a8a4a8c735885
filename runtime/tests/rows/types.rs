//! Element types in memory, in registers and as subscripts.

use super::holds;

const TEXT: &str = include_str!("../../../tests/corpus/types.tw");

#[test]
fn integers_of_every_width() {
    for ty in ["i16", "u16", "i32", "u32", "i64", "u64"] {
        holds(TEXT, "widths", &format!("T={ty}"), &[&[("N", 700)], &[("N", 512)], &[("N", 1)]]);
    }
}

#[test]
fn bytes() {
    for ty in ["i8", "u8"] {
        holds(TEXT, "bytes", &format!("T={ty}"), &[&[("N", 700)], &[("N", 1024)], &[("N", 1)]]);
    }
}

#[test]
fn small_floats() {
    for ty in ["e4m3", "e5m2", "e8m0"] {
        holds(TEXT, "quantise", &format!("T={ty}"), &[&[("R", 5), ("C", 300)], &[("R", 2), ("C", 256)]]);
        holds(TEXT, "dequantise", &format!("T={ty}"), &[&[("R", 5), ("C", 300)], &[("R", 2), ("C", 256)]]);
    }
}

#[test]
fn subscripts_of_every_width() {
    holds(TEXT, "lookup", "", &[&[("R", 5), ("C", 300), ("N", 700)], &[("R", 1), ("C", 1), ("N", 3)]]);
}

#[test]
fn masks_and_scalars() {
    holds(TEXT, "masked", "", &[&[("N", 700)], &[("N", 1024)]]);
    holds(TEXT, "bit_casts", "", &[&[("N", 700)], &[("N", 1)]]);
}

/// Elements that share bytes with their neighbours.
const BITS: &str = "
kernel moved<T: u1..=u8 | i1..=i8 | f3 | f4 | f5 | f6 | f7>(a: T[R, C], out b: T[R, C]) {
    grid r over R by 4, c over C by 64;
    b[r, c] = a[r, c];
}
kernel anywhere<T: u1..=u8 | i1..=i8 | b1..=b8 | f3 | f4 | f5 | f6 | f7>(
    a: T[R, C], at: i32[C] in 0..C, out y: f32[R, C],
) {
    grid r over R by 4, c over C by 64;
    y[r, c] = a[r, at[c]] as f32 + (a[r, C - 1 - c] as f32) * 0.5;
}
kernel narrowed<T: u1..=u8 | i1..=i8 | f3 | f4 | f5 | f6 | f7>(x: f32[D, R, C], out b: T[D, R, C]) {
    grid d over D, r over R by 4, c over C by 64;
    b[d, r, c] = (x[d, r, c] * 4) as T;
}
";

#[test]
fn elements_that_are_no_whole_bytes() {
    let shapes: [&[(&str, i64)]; 4] =
        [&[("R", 5), ("C", 300)], &[("R", 3), ("C", 7)], &[("R", 1), ("C", 1)], &[("R", 2), ("C", 128)]];
    for ty in ["u1", "i2", "u3", "i4", "u4", "i5", "u7", "e1m1", "e2m1", "e2m2", "e3m2", "e5m1"] {
        holds(BITS, "moved", &format!("T={ty}"), &shapes);
    }
    for ty in ["i1", "u4", "i7", "b1", "b3", "b4", "b8", "e2m1", "e2m3"] {
        holds(BITS, "anywhere", &format!("T={ty}"), &shapes);
    }
    for ty in ["i1", "u3", "i4", "e2m1", "e3m2"] {
        let shapes = [[("D", 2), ("R", 5), ("C", 70)], [("D", 3), ("R", 1), ("C", 3)]];
        holds(BITS, "narrowed", &format!("T={ty}"), &[&shapes[0], &shapes[1]]);
    }
}

/// Bytes that two writers would share are refused.
#[test]
fn bytes_with_two_writers_are_refused() {
    use tilewright_compiler::compile::{Options, compile};
    use tilewright_compiler::diagnostics::SourceMap;
    use tilewright_compiler::front::Memory;
    use tilewright_compiler::target::Target;
    for (write, grid) in [
        ("b[r, c + 1] = x[r, c] as u4;", "c over C by 64"),
        ("b[r, c] = x[r, c] as u4 when x[r, c] > 0;", "c over C by 64"),
        ("b[r, c] = x[r, c] as u4;", "c over 3..C by 64"),
        ("b[r, c] = x[r, c] as u4;", "c over C by 1"),
        ("b[c, c] = x[c, c] as u4;", "c over C by 64"),
    ] {
        let text =
            format!("kernel p(x: f32[R, C], out b: u4[R, C]) {{ grid r over R by 4, {grid}; {write} }}");
        let mut sources = SourceMap::default();
        let refused =
            compile(&mut sources, &Memory::from([("p.tw", &text[..])]), "p.tw", &Options::new(Target::Sm80));
        let said = refused.err().map(|d| d.render(&sources, false)).unwrap_or_default();
        assert!(said.contains("E0901"), "{write} {grid}: {said}");
    }
}
