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
