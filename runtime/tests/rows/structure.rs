//! Loops whose bounds are data, backwards and by coordinate; conditionals; conditioned tiles and instances.

use super::holds;

const TEXT: &str = include_str!("../../../tests/corpus/structure.tw");

#[test]
fn loops_end_where_data_says() {
    let shapes: [&[(&str, i64)]; 3] =
        [&[("R", 9), ("C", 300)], &[("R", 1), ("C", 1)], &[("R", 3), ("C", 128)]];
    holds(TEXT, "ragged_mean", "", &shapes);
    holds(TEXT, "ragged_mean", "BC=1024,warps=4", &shapes);
}

#[test]
fn loops_over_coordinates_backwards() {
    holds(
        TEXT,
        "segment_sums",
        "",
        &[&[("N", 500), ("M", 40)], &[("N", 1), ("M", 3)], &[("N", 0), ("M", 2)]],
    );
}

#[test]
fn conditioned_instances_and_tiles() {
    holds(TEXT, "triangle", "", &[&[("R", 37)], &[("R", 8)], &[("R", 1)]]);
    holds(TEXT, "band", "", &[&[("R", 9), ("C", 300)], &[("R", 2), ("C", 64)]]);
    holds(TEXT, "band", "warps=8", &[&[("R", 9), ("C", 300)]]);
}

#[test]
fn conditionals() {
    holds(TEXT, "choices", "", &[&[("R", 9), ("C", 300)], &[("R", 4), ("C", 5)]]);
    holds(TEXT, "choices", "warps=4", &[&[("R", 9), ("C", 300)]]);
}

#[test]
fn ranges_that_data_places() {
    holds(TEXT, "windows", "", &[&[("N", 500), ("M", 40)], &[("N", 10), ("M", 3)]]);
}

#[test]
fn neighbours() {
    holds(TEXT, "stencil", "", &[&[("N", 500)], &[("N", 1)], &[("N", 1024)]]);
}
