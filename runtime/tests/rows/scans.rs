//! Running sums and maxima, and where extremes are, held by one thread, one warp, several warps, and across tiles.

use super::holds;

const TEXT: &str = include_str!("../../../tests/corpus/scans.tw");

#[test]
fn rows_of_one_tile() {
    let shapes: [&[(&str, i64)]; 4] =
        [&[("R", 5), ("C", 500)], &[("R", 1), ("C", 1)], &[("R", 3), ("C", 512)], &[("R", 2), ("C", 96)]];
    for sets in ["", "warps=1", "warps=8", "BC=2048", "BC=96", "BC=160,warps=4", "BC=32"] {
        holds(TEXT, "prefix", sets, &shapes);
    }
}

#[test]
fn rows_wider_than_a_tile() {
    for sets in ["", "warps=4", "BC=96,warps=2", "BC=2048,warps=16"] {
        holds(TEXT, "prefix_wide", sets, &[&[("R", 5), ("C", 500)], &[("R", 1), ("C", 128)]]);
        holds(TEXT, "suffix", sets, &[&[("R", 5), ("C", 500)], &[("R", 1), ("C", 7)]]);
    }
}

#[test]
fn along_the_axis_that_is_not_contiguous() {
    for sets in ["", "BC=8", "BC=8,warps=4,BS=128", "BC=64,warps=8"] {
        holds(
            TEXT,
            "columns",
            sets,
            &[&[("S", 64), ("C", 80)], &[("S", 70), ("C", 33)], &[("S", 1), ("C", 1)]],
        );
    }
}

#[test]
fn arguments_of_extremes() {
    for sets in ["", "warps=8", "BR=1,warps=4", "BC=96,warps=1"] {
        holds(
            TEXT,
            "extremes",
            sets,
            &[&[("R", 5), ("C", 500)], &[("R", 2), ("C", 3)], &[("R", 3), ("C", 0)]],
        );
        holds(
            TEXT,
            "arg_wide",
            &sets.replace("BR=1,", ""),
            &[&[("R", 5), ("C", 500)], &[("R", 2), ("C", 0)]],
        );
    }
}

#[test]
fn sorted_by_rank() {
    for sets in ["", "T=i64", "T=u32,warps=4", "BC=96,warps=1", "BC=8,n=16"] {
        holds(TEXT, "sorting", sets, &[&[("R", 5), ("C", 50), ("NT", 4)], &[("R", 1), ("C", 3), ("NT", 16)]]);
    }
}

#[test]
fn tokens_and_their_experts() {
    let routing = include_str!("../../../tests/corpus/moe_routing.tw");
    for sets in ["", "E=256,NK=8", "E=96,NK=6"] {
        holds(routing, "routing", sets, &[&[("T", 20)], &[("T", 1)]]);
    }
    holds(routing, "positions", "", &[&[("R", 300)], &[("R", 1)]]);
}
