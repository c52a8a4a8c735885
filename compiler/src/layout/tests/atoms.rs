//! Fragments against the formulas of the PTX ISA, element by element.

use crate::layout::atoms::*;
use crate::layout::*;

fn assert_fragment(layout: &Layout, regs: u32, warps: u32, at: impl Fn(u32, u32, u32) -> (u32, u32)) {
    assert_eq!(layout.size_in(Dim::Reg), regs);
    for warp in 0..warps {
        for lane in 0..32 {
            for reg in 0..regs {
                let found = layout.coords(&[(Dim::Reg, reg), (Dim::Lane, lane), (Dim::Warp, warp)]);
                let (row, column) = at(reg, lane, warp);
                assert_eq!((found[0].1, found[1].1), (row, column), "reg {reg} lane {lane} warp {warp}");
            }
        }
    }
    assert!(layout.is_surjective() && layout.is_injective());
}

fn atom(name: &str) -> Layout {
    named(name).unwrap_or_else(|| panic!("{name}")).unwrap()
}

#[test]
fn mma_16_bit() {
    assert_fragment(&atom("mma.m16n8k16.A"), 8, 1, |r, l, _| {
        let (i, e) = (r / 2, r % 2);
        (l / 4 + 8 * (i % 2), 2 * (l % 4) + e + 8 * (i / 2))
    });
    assert_fragment(&atom("mma.m16n8k16.B"), 4, 1, |r, l, _| (2 * (l % 4) + r % 2 + 8 * (r / 2), l / 4));
    assert_fragment(&atom("mma.m16n8k16.C"), 4, 1, |r, l, _| (l / 4 + 8 * (r / 2), 2 * (l % 4) + r % 2));
    assert_fragment(&atom("mma.m16n8k8.f16.A"), 4, 1, |r, l, _| (l / 4 + 8 * (r / 2), 2 * (l % 4) + r % 2));
    assert_fragment(&atom("mma.m16n8k8.f16.B"), 2, 1, |r, l, _| (2 * (l % 4) + r, l / 4));
}

#[test]
fn mma_8_bit_and_tf32() {
    assert_fragment(&atom("mma.m16n8k32.A"), 16, 1, |r, l, _| {
        let (i, e) = (r / 4, r % 4);
        (l / 4 + 8 * (i % 2), 4 * (l % 4) + e + 16 * (i / 2))
    });
    assert_fragment(&atom("mma.m16n8k32.B"), 8, 1, |r, l, _| (4 * (l % 4) + r % 4 + 16 * (r / 4), l / 4));
    assert_fragment(&atom("mma.m16n8k8.tf32.A"), 4, 1, |i, l, _| (l / 4 + 8 * (i % 2), l % 4 + 4 * (i / 2)));
    assert_fragment(&atom("mma.m16n8k8.tf32.B"), 2, 1, |i, l, _| (l % 4 + 4 * i, l / 4));
    assert_fragment(&atom("mma.m16n8k4.A"), 2, 1, |i, l, _| (l / 4 + 8 * i, l % 4));
}

#[test]
fn ldmatrix_fragments() {
    assert_fragment(&atom("ldmatrix.x4"), 8, 1, |r, l, _| (8 * (r / 2) + l / 4, 2 * (l % 4) + r % 2));
    assert_fragment(&atom("ldmatrix.x2.trans"), 4, 1, |r, l, _| (8 * (r / 2) + 2 * (l % 4) + r % 2, l / 4));
}

#[test]
fn wgmma_fragments() {
    for n in (8..=256).step_by(8) {
        let name = format!("wgmma.C(m64n{n})");
        let c = atom(&name);
        assert_fragment(&c, n / 2, 4, |i, l, w| {
            (16 * w + l / 4 + 8 * ((i / 2) % 2), 8 * (i / 4) + 2 * (l % 4) + i % 2)
        });
    }
    assert_fragment(&atom("wgmma.A"), 8, 4, |r, l, w| {
        let (i, e) = (r / 2, r % 2);
        (16 * w + l / 4 + 8 * (i % 2), 2 * (l % 4) + e + 8 * (i / 2))
    });
    assert!(named("wgmma.C(m64n12)").unwrap().is_err());
}

#[test]
fn every_listed_name_is_known_and_nonsense_is_not() {
    for name in NAMES {
        atom(name);
    }
    for name in ["mma.m16n8k16", "mma.m16n8k8.A", "ldmatrix.x3x", "wgmma.B", "mma", "mma.m16n8k16.A.A", ""] {
        assert!(named(name).is_none(), "{name}");
    }
}

#[test]
fn interleaving_gives_a_thread_eight_adjacent_columns() {
    let (m, n) = (Axis(0), Axis(1));
    let four = local(&[1, 4]).unwrap().product(&mma_c(m, n).unwrap()).unwrap();
    assert_eq!(four.vector_along(n).elements(), 2);
    let together = four.permute_axis(n, &interleave(5, 1, 2, 2)).unwrap();
    let run = together.vector_along(n);
    assert_eq!(run.elements(), 8);
    for i in 0..8 {
        assert_eq!(together.coord(&[(Dim::Reg, run.register(i)), (Dim::Lane, 3)], n), 24 + i);
    }
}

#[test]
fn interleaved_rows_are_the_permuted_set() {
    let (k, n) = (Axis(1), Axis(0));
    let four =
        spread_over(Dim::Reg, &[(n, 4)], Order::Row).unwrap().product(&mma_b(16, 16, k, n).unwrap()).unwrap();
    let fragment = four.permute_axis(n, &interleave(5, 1, 2, 2)).unwrap();
    // Register bits: pair, K half, atom (2 bits). One instruction takes both K halves of two atoms.
    let access = matrix_rows(&fragment, 16, k, false, &[1, 2]).unwrap();
    for a in 0..4 {
        for r in 0..8 {
            for half in 0..2 {
                let lane = r + 8 * (half + 2 * (a % 2));
                let at = access.rows.coords(&[(Dim::Reg, 8 * (a / 2)), (Dim::Lane, lane)]);
                assert_eq!(at, vec![(n, 8 * (r >> 1) + 2 * a + (r & 1)), (k, 8 * half)]);
            }
        }
    }
}

#[test]
fn ldmatrix_moves_registers_whatever_they_hold() {
    // Register i of lane 4g + q is the q-th 32-bit word of row g of matrix i: four s8, one tf32.
    let (m, k) = (Axis(0), Axis(1));
    for width in [8u32, 16, 32] {
        let (per, p) = (32 / width, (32 / width).trailing_zeros());
        let fragment = mma_a(width, 8 * per, m, k).unwrap();
        let access = matrix_rows(&fragment, width, k, false, &[p, p + 1]).unwrap();
        for (i, g, q, e) in combinations(4, 8, 4, per) {
            let held = fragment.coords(&[(Dim::Reg, i * per + e), (Dim::Lane, 4 * g + q)]);
            let read = access.rows.coords(&[(Dim::Reg, q * per + e), (Dim::Lane, 8 * i + g)]);
            assert_eq!(read, held, "width {width}, register {i}, lane {}", 4 * g + q);
        }
        assert_eq!(matrix_rows(&fragment, width, m, true, &[p, p + 1]).is_some(), width == 16);
    }
}

/// Every combination of four indices below the given bounds.
fn combinations(a: u32, b: u32, c: u32, d: u32) -> impl Iterator<Item = (u32, u32, u32, u32)> {
    (0..a * b * c * d).map(move |i| (i / (b * c * d), i / (c * d) % b, i / d % c, i % d))
}

#[test]
fn ldmatrix_serves_what_its_hardware_result_says() {
    // Loading with the rows that matrix_rows found must put element (reg, lane) of the fragment there: matrix j's row r comes
    // from lane 8j + r, and the result is distributed as `ldmatrix` says.
    let (m, k) = (Axis(0), Axis(1));
    for (fragment, trans, along) in [
        (mma_a(16, 16, m, k).unwrap(), false, k),
        (mma_a(16, 16, m, k).unwrap(), true, m),
        (mma_b(16, 16, k, m).unwrap(), true, m),
    ] {
        // A from memory contiguous along m: the fragment's pair runs along k, so the matrix arrives transposed.
        let matrices: Vec<u32> = (1..fragment.ins().bits(Dim::Reg)).collect();
        let access = matrix_rows(&fragment, 16, along, trans, &matrices).unwrap();
        let result = ldmatrix(access.count, trans, Axis(0), Axis(1)).unwrap();
        for lane in 0..32 {
            for reg in 0..fragment.size_in(Dim::Reg) {
                let from = result.coords(&[(Dim::Reg, reg), (Dim::Lane, lane)]);
                let (row, element) = (from[0].1, from[1].1);
                let read = access.rows.coords(&[(Dim::Reg, element), (Dim::Lane, row)]);
                assert_eq!(read, fragment.coords(&[(Dim::Reg, reg), (Dim::Lane, lane)]));
            }
        }
    }
}
