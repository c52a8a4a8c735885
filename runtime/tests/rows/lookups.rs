//! Tiles subscripted by coordinates, tensors read after they are written, strides, functions, atomics.

use super::holds;

const TEXT: &str = include_str!("../../../tests/corpus/lookups.tw");

#[test]
fn tiles_are_functions_of_coordinates() {
    for sets in ["", "warps=4", "D=256,warps=8", "D=96"] {
        holds(TEXT, "exchange", sets, &[&[("R", 5)], &[("R", 1)]]);
    }
    holds(TEXT, "distances", "", &[&[("S", 70)], &[("S", 32)], &[("S", 1)]]);
    for sets in ["", "warps=4", "BS=64,warps=8"] {
        holds(TEXT, "running", sets, &[&[("S", 70), ("C", 40)], &[("S", 3), ("C", 300)]]);
    }
}

#[test]
fn what_was_written_can_be_read() {
    for sets in ["", "warps=1", "warps=4", "D=256,warps=8"] {
        holds(TEXT, "in_place", sets, &[&[("R", 5)], &[("R", 1)]]);
    }
    holds(TEXT, "steps", "", &[&[("S", 20), ("B", 9)], &[("S", 1), ("B", 1)]]);
    holds(TEXT, "steps", "warps=4", &[&[("S", 20), ("B", 9)]]);
}

#[test]
fn strides_of_every_dimension() {
    holds(TEXT, "strided", "", &[&[("R", 5), ("C", 300)], &[("R", 16), ("C", 64)]]);
}

#[test]
fn angles() {
    holds(TEXT, "trigonometry", "", &[&[("N", 700)], &[("N", 512)]]);
}

#[test]
fn atomics() {
    holds(TEXT, "tickets", "", &[&[("N", 256)], &[("N", 200)]]);
}
