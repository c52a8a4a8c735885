//! Shared layouts: conflicts against brute force, and the joint solve for every tile that a GEMM can ask for.

use proptest::prelude::*;

use crate::layout::atoms::{interleave, matrix_rows, mma_a, mma_b};
use crate::layout::*;

const ROW: Axis = Axis(0);
const K: Axis = Axis(1);

/// Every element has its own place, inside the buffer.
fn assert_bijective(memory: &SharedLayout) {
    let shape = memory.shape();
    let (rows, columns) = (shape[0], shape[1]);
    let mut seen = vec![false; (memory.bytes() / memory.elem_bytes()) as usize];
    for r in 0..rows.1 {
        for c in 0..columns.1 {
            let offset = memory.offset(&[(rows.0, r), (columns.0, c)]);
            assert_eq!(offset % memory.elem_bytes(), 0);
            let slot = &mut seen[(offset / memory.elem_bytes()) as usize];
            assert!(!*slot, "({r}, {c}) shares offset {offset}");
            *slot = true;
        }
    }
    assert!(seen.iter().all(|&s| s), "the buffer has holes");
}

/// Wavefronts of every warp instruction of an accessor, counted from addresses computed element by element; the worst.
fn worst_by_brute_force(memory: &SharedLayout, accessor: &Accessor) -> u32 {
    let layout = &accessor.layout;
    let (vector, lanes) = match accessor.kind {
        AccessKind::Vector { bytes } => (bytes, 32),
        AccessKind::Matrix { count } => (16, 8 * count),
        _ => return 0,
    };
    let per_vector = vector / memory.elem_bytes();
    let mut worst = 0;
    for warp in 0..layout.size_in(Dim::Warp) {
        for reg in (0..layout.size_in(Dim::Reg)).step_by(per_vector as usize) {
            let address = |lane| {
                memory.offset(&layout.coords(&[(Dim::Reg, reg), (Dim::Lane, lane), (Dim::Warp, warp)]))
            };
            let addresses: Vec<_> = (0..lanes).map(|l| Some(address(l))).collect();
            // The vector is contiguous in memory.
            for i in 0..per_vector {
                let at = layout.coords(&[(Dim::Reg, reg + i), (Dim::Lane, 5), (Dim::Warp, warp)]);
                assert_eq!(memory.offset(&at), address(5) + i * memory.elem_bytes());
            }
            worst = worst.max(banks::wavefronts(&addresses, vector));
        }
    }
    worst
}

fn check(shape: &[(Axis, u32)], accessors: &[Accessor]) -> SharedSolution {
    let solution = solve_shared(shape, 16, accessors).unwrap();
    assert_bijective(&solution.layout);
    for (accessor, w) in accessors.iter().zip(&solution.wavefronts) {
        assert_eq!(w.taken, worst_by_brute_force(&solution.layout, accessor), "{shape:?} {accessor:?}");
    }
    assert!(solution.conflict_free(), "{shape:?}: {:?}", solution.wavefronts);
    solution
}

/// ldmatrix.x4 rows of an A tile [rows, k]: 16x16 atoms repeated.
fn a_reads(rows: u32, k: u32) -> Accessor {
    let atom = mma_a(16, 16, ROW, K).unwrap();
    let tile = spread_over(Dim::Reg, &[(ROW, rows / 16), (K, k / 16)], Order::Row).unwrap();
    let fragment = tile.product(&atom).unwrap();
    Accessor::matrix(4, matrix_rows(&fragment, 16, K, false, &[1, 2]).unwrap().rows)
}

/// ldmatrix.x4 rows of a B tile [n, k], four atoms of 8 columns interleaved in each 32, two K halves per instruction.
fn b_reads(rows: u32, k: u32, interleaved: bool) -> Accessor {
    let atom = mma_b(16, 16, K, ROW).unwrap();
    let block = spread_over(Dim::Reg, &[(ROW, 4), (K, 1)], Order::Row).unwrap().product(&atom).unwrap();
    let block = if interleaved { block.permute_axis(ROW, &interleave(5, 1, 2, 2)).unwrap() } else { block };
    let tile = spread_over(Dim::Reg, &[(ROW, rows / 32), (K, k / 16)], Order::Row).unwrap();
    let fragment = tile.product(&block).unwrap();
    Accessor::matrix(4, matrix_rows(&fragment, 16, K, false, &[1, 2]).unwrap().rows)
}

/// ldmatrix.x4.trans rows of a tile [k, mn] with mn contiguous.
fn trans_reads(k: u32, mn: u32) -> Accessor {
    let atom = mma_a(16, 16, K, ROW).unwrap();
    let tile = spread_over(Dim::Reg, &[(ROW, k / 16), (K, mn / 16)], Order::Row).unwrap();
    let fragment = tile.product(&atom).unwrap();
    Accessor::matrix(4, matrix_rows(&fragment, 16, K, true, &[1, 2]).unwrap().rows)
}

fn copies(rows: u32, columns: u32) -> Vec<Accessor> {
    [(8, 16), (2, 4), (1, 2)]
        .iter()
        .flat_map(|&(elements, bytes)| {
            [128, 256].map(|threads| {
                Accessor::vector(bytes, coalesced((ROW, rows), (K, columns), elements, threads).unwrap())
            })
        })
        .collect()
}

#[test]
fn every_gemm_tile_has_a_conflict_free_layout() {
    for rows in [32, 64, 96, 128, 160, 192, 256] {
        for k in [16, 32, 64, 128] {
            for copy in copies(rows, k) {
                check(&[(ROW, rows), (K, k)], &[copy.clone(), a_reads(rows, k)]);
                check(&[(ROW, rows), (K, k)], &[copy.clone(), b_reads(rows, k, false)]);
                check(&[(ROW, rows), (K, k)], &[copy.clone(), b_reads(rows, k, true)]);
                check(&[(ROW, rows), (K, k)], &[copy, a_reads(rows, k), b_reads(rows, k, true)]);
            }
        }
    }
}

#[test]
fn tiles_contiguous_along_m_or_n_have_one_too() {
    for mn in [64, 96, 128, 160, 192, 256] {
        for k in [16, 32, 64, 128] {
            for copy in copies(k, mn) {
                check(&[(ROW, k), (K, mn)], &[copy, trans_reads(k, mn)]);
            }
        }
    }
}

#[test]
fn the_textbook_swizzles_come_out() {
    // 64 f16 = 128-byte rows: CuTe's Swizzle<3,4,3>; 32 f16: Swizzle<2,4,3>; 16 f16: Swizzle<1,4,3>.
    for (k, bits) in [(64, 3), (32, 2), (16, 1)] {
        let copy = Accessor::vector(16, coalesced((ROW, 128), (K, k), 8, 128).unwrap());
        let found = check(&[(ROW, 128), (K, k)], &[copy, a_reads(128, k)]).layout;
        let plain = SharedLayout::row_major(&[(ROW, 128), (K, k)], 16).unwrap();
        assert_eq!(found, plain.swizzled(&Swizzle::new(bits, 4, 3).unwrap()).unwrap(), "k = {k}");
    }
}

#[test]
fn few_address_registers_for_a_64_wide_tile() {
    let copy = Accessor::vector(16, coalesced((ROW, 128), (K, 64), 8, 128).unwrap());
    let read = b_reads(128, 64, true);
    let layout = check(&[(ROW, 128), (K, 64)], &[copy.clone(), read.clone()]).layout;
    // Four K steps of 32 bytes meet three swizzled bits: four bases, and the rest are immediates.
    let reads = layout.access(&read.layout).unwrap();
    assert_eq!(reads.xor_constants(&[Dim::Reg]).len(), 4, "{:?}", reads.terms());
}

#[test]
fn addresses_from_terms_equal_offsets() {
    for rows in [96, 128] {
        let copy = coalesced((ROW, rows), (K, 64), 8, 128).unwrap();
        let layout =
            check(&[(ROW, rows), (K, 64)], &[Accessor::vector(16, copy.clone()), b_reads(rows, 64, true)])
                .layout;
        let access = layout.access(&copy).unwrap();
        for reg in 0..copy.size_in(Dim::Reg) {
            for lane in [0, 1, 7, 13, 31] {
                for warp in 0..4 {
                    let at = [(Dim::Reg, reg), (Dim::Lane, lane), (Dim::Warp, warp)];
                    let mut by_terms = (0u32, 0u32);
                    for t in access.terms() {
                        let value = at.iter().find(|a| a.0 == t.dim).map_or(0, |a| a.1);
                        let digit = match t.place {
                            Place::Bit(b) => value >> b & 1,
                            Place::Odd { inner } => (value >> copy.ins().bits(t.dim)) / inner % t.count,
                        };
                        if t.add { by_terms.1 += digit * t.bytes } else { by_terms.0 ^= digit * t.bytes }
                    }
                    assert_eq!(by_terms.0 + by_terms.1, layout.offset(&copy.coords(&at)));
                    assert_eq!(access.offset(&at), layout.offset(&copy.coords(&at)));
                }
            }
        }
    }
}

#[test]
fn the_solve_is_fast_enough_for_a_compile() {
    let accessors =
        [Accessor::vector(16, coalesced((ROW, 128), (K, 64), 8, 128).unwrap()), b_reads(128, 64, true)];
    let start = std::time::Instant::now();
    for _ in 0..10 {
        solve_shared(&[(ROW, 128), (K, 64)], 16, &accessors).unwrap();
    }
    let each = start.elapsed() / 10;
    // Far above the real figure (13 µs), so that a busy machine does not fail it.
    assert!(each.as_micros() < 1000, "{each:?}");
}

#[test]
fn hopper_panels() {
    let m = (ROW, 128);
    // K-major 64-wide f16: one 128-byte panel.
    let one = panel::panels([m, (K, 64)], 16, 128).unwrap();
    assert_bijective(&one);
    assert_eq!(one.offset(&[(ROW, 1), (K, 0)]), 128 + 16);
    assert_eq!((one.offset(&[(ROW, 8)]), one.align()), (1024, 1024));
    // 128 wide: the second panel follows the first.
    let two = panel::panels([m, (K, 128)], 16, 128).unwrap();
    assert_bijective(&two);
    assert_eq!(two.offset(&[(ROW, 0), (K, 64)]), 128 * 128);
    // Odd rows and two panels.
    let odd = panel::panels([(ROW, 96), (K, 128)], 16, 128).unwrap();
    assert_bijective(&odd);
    assert_eq!(odd.offset(&[(ROW, 32), (K, 64)]), 32 * 128 + 96 * 128);
    for width in [32, 64, 128] {
        assert_bijective(&panel::panels([(ROW, 96), (K, 192)], 16, width).unwrap());
    }
    let solved = solve_shared(&[m, (K, 64)], 16, &[Accessor::tma(), Accessor::descriptor(K)]).unwrap();
    assert_eq!(solved.layout, one);
    // fp8 cannot be read MN-major.
    assert!(matches!(
        solve_shared(&[(K, 64), m], 8, &[Accessor::descriptor(K)]),
        Err(LayoutError::Unsolvable { .. })
    ));
}

#[test]
fn a_vector_across_the_rows_is_refused() {
    let down = spread_over(Dim::Reg, &[(ROW, 8), (K, 1)], Order::Row).unwrap();
    let layout = spread_over(Dim::Lane, &[(ROW, 1), (K, 32)], Order::Row).unwrap().product(&down).unwrap();
    let refused = solve_shared(&[(ROW, 64), (K, 64)], 16, &[Accessor::vector(16, layout)]);
    assert!(matches!(refused, Err(LayoutError::VectorNotContiguous { elements: 8, .. })), "{refused:?}");
}

proptest! {
    /// Any linear access at all, of any vector width: rank formula against counting words per bank.
    #[test]
    fn conflicts_equal_brute_force(lanes in prop::collection::vec(0u64..1 << 14, 5), vector in 0u32..5) {
        let bytes = 1u32 << vector;
        let lanes: Vec<u64> = lanes.iter().map(|l| l >> vector << vector).collect();
        let map = LinearMap::new(Space::new([(Dim::Lane, 5)]), Space::new([(Offset, 14)]), lanes.clone(), vec![]).unwrap();
        let addresses: Vec<_> = (0..32).map(|l| Some(map.apply_bits(l) as u32)).collect();
        prop_assert_eq!(banks::instruction_wavefronts(&map, bytes), banks::wavefronts(&addresses, bytes));
    }
}
