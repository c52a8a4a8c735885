//! Laws of product, quotient, composition and inverse, odd digits included.

use proptest::prelude::*;

use crate::layout::*;

/// A factor: one of the constructors, with an odd factor where `odd` says so.
fn factor() -> impl Strategy<Value = Layout> {
    let extents = prop::collection::vec(prop::sample::select(vec![1u32, 2, 4]), 2);
    (0u8..6, extents).prop_map(|(kind, e)| match kind {
        0 => local(&e).unwrap(),
        1 => column_local(&e).unwrap(),
        2 => spatial(&e).unwrap(),
        3 => column_spatial(&e).unwrap(),
        4 => spread(Dim::Warp, &e, Order::Row).unwrap(),
        _ => local(&e).unwrap().product(&replicated(Dim::Lane, 2).unwrap()).unwrap(),
    })
}

fn outer_odd() -> impl Strategy<Value = Layout> {
    let dims = prop::sample::select(vec![Dim::Reg, Dim::Inst, Dim::Loop]);
    let radix = || prop::sample::select(vec![1u32, 3, 5]);
    (dims, radix(), radix()).prop_map(|(dim, a, b)| spread(dim, &[a, b], Order::Row).unwrap())
}

/// Inputs and where they lie.
type Placed = (Vec<(Dim, u32)>, Vec<(Axis, u32)>);

/// All coordinates of a layout by brute force.
fn all(layout: &Layout) -> Vec<Placed> {
    let dims: Vec<(Dim, u32)> = layout.ins().fields().iter().map(|f| (f.0, layout.size_in(f.0))).collect();
    let total: u32 = dims.iter().map(|d| d.1).product();
    (0..total)
        .map(|i| {
            let mut rest = i;
            let at: Vec<_> = dims
                .iter()
                .map(|&(d, n)| {
                    let v = rest % n;
                    rest /= n;
                    (d, v)
                })
                .collect();
            let coords = layout.coords(&at);
            (at, coords)
        })
        .collect()
}

proptest! {
    #[test]
    fn product_is_associative(o in outer_odd(), a in factor(), b in factor(), c in factor()) {
        let left = o.product(&a).unwrap().product(&b).unwrap().product(&c).unwrap();
        let right = o.product(&a.product(&b.product(&c).unwrap()).unwrap()).unwrap();
        prop_assert_eq!(left, right);
    }

    #[test]
    fn a_product_places_tiles_side_by_side(o in outer_odd(), a in factor(), b in factor()) {
        // The definition, by coordinates: outer coordinate times the inner extent plus the inner coordinate.
        let outer = o.product(&a).unwrap();
        let product = outer.product(&b).unwrap();
        for (at, coords) in all(&product) {
            let split = |inner: bool| -> Vec<(Dim, u32)> {
                at.iter().map(|&(d, v)| {
                    let (low, mid) = (b.ins().bits(d), outer.ins().bits(d));
                    let odd = v >> (low + mid);
                    (d, if inner { v & ((1 << low) - 1) } else { (v >> low & ((1 << mid) - 1)) + (odd << mid) })
                }).collect()
            };
            for (axis, value) in coords {
                let expected = outer.coord(&split(false), axis) * b.size_out(axis) + b.coord(&split(true), axis);
                prop_assert_eq!(value, expected);
            }
        }
    }

    #[test]
    fn division_undoes_the_product(o in outer_odd(), a in factor(), b in factor()) {
        let left = o.product(&a).unwrap();
        let product = left.product(&b).unwrap();
        prop_assert_eq!(product.divide_right(&b).unwrap(), left.clone());
        prop_assert_eq!(product.divide_left(&left).unwrap(), b);
    }

    #[test]
    fn what_divides_multiplies_back(a in factor(), b in factor(), c in factor()) {
        let whole = a.product(&b).unwrap();
        if let Ok(q) = whole.divide_right(&c) {
            prop_assert_eq!(q.product(&c).unwrap(), whole.clone());
        }
        if let Ok(q) = whole.divide_left(&c) {
            prop_assert_eq!(c.product(&q).unwrap(), whole);
        }
    }

    #[test]
    fn inverse_laws(o in outer_odd(), a in factor(), b in factor()) {
        let layout = o.product(&a).unwrap().product(&b).unwrap();
        if let Ok(inverse) = layout.inverse() {
            let there_and_back = layout.then(&inverse).unwrap();
            for i in 0..there_and_back.ins().total() {
                prop_assert_eq!(there_and_back.cols()[i as usize], 1u64 << i);
            }
            prop_assert!(there_and_back.odd().iter().all(|d| d.from == d.to));
            prop_assert_eq!(inverse.inverse().unwrap(), layout.clone());
        }
        // Onto in any case: an element's place holds that element.
        let place = layout.pseudo_inverse().unwrap();
        let identity = place.then(&layout).unwrap();
        for i in 0..identity.ins().total() {
            prop_assert_eq!(identity.cols()[i as usize], 1u64 << i);
        }
    }

    #[test]
    fn composition_is_associative_and_means_one_after_the_other(
        f in prop::collection::vec(0u64..16, 5), g in prop::collection::vec(0u64..8, 4), h in prop::collection::vec(0u64..32, 3),
    ) {
        let map = |from: u16, ins: u8, to: u16, outs: u8, cols: &[u64]| {
            LinearMap::new(Space::new([(Axis(from), ins)]), Space::new([(Axis(to), outs)]), cols.to_vec(), vec![]).unwrap()
        };
        let (f, g, h) = (map(0, 5, 1, 4, &f), map(1, 4, 2, 3, &g), map(2, 3, 3, 5, &h));
        prop_assert_eq!(f.then(&g).unwrap().then(&h).unwrap(), f.then(&g.then(&h).unwrap()).unwrap());
        for x in 0..32 {
            prop_assert_eq!(f.then(&g).unwrap().apply_bits(x), g.apply_bits(f.apply_bits(x)));
        }
    }

    #[test]
    fn split_then_merge_is_the_identity(o in outer_odd(), a in factor(), b in factor(), at in 0u32..4) {
        let layout = o.product(&a).unwrap().product(&b).unwrap();
        let axis = Axis(0);
        let inner = at.min(layout.outs().bits(axis));
        let split = layout.split_axis(axis, Axis(7), Axis(8), inner).unwrap();
        prop_assert_eq!(split.size_out(Axis(8)), 1 << inner);
        prop_assert_eq!(split.merge_axes(Axis(7), Axis(8), axis).unwrap(), layout);
    }

    #[test]
    fn reduce_leaves_copies_and_slice_drops_them(a in factor(), b in factor()) {
        let layout = a.product(&b).unwrap();
        let reduced = layout.reduce(Axis(1)).unwrap();
        prop_assert_eq!(reduced.ins(), layout.ins());
        let sliced = layout.slice(Axis(1)).unwrap();
        prop_assert_eq!(reduced.image(), sliced.image());
        // Reducing held every element of the other axis wherever the layout did.
        for (at, coords) in all(&layout) {
            prop_assert_eq!(reduced.coord(&at, Axis(0)), coords[0].1);
        }
    }

    #[test]
    fn regrouping_keeps_every_element(a in factor(), b in factor(), low in 0u32..6) {
        let layout = a.product(&b).unwrap();
        let total = layout.ins().bits(Dim::Lane) + layout.ins().bits(Dim::Warp);
        let low = low.min(total);
        let moved = layout.regroup(Dim::Lane, Dim::Warp, low).unwrap();
        prop_assert_eq!(moved.regroup(Dim::Lane, Dim::Warp, layout.ins().bits(Dim::Lane)).unwrap(), layout);
    }
}

#[test]
fn row_major_spatial_is_as_in_tilus() {
    let layout = spatial(&[8, 4]).unwrap();
    for lane in 0..32 {
        assert_eq!(layout.coords(&[(Dim::Lane, lane)]), vec![(Axis(0), lane / 4), (Axis(1), lane % 4)]);
    }
    let column = column_spatial(&[8, 4]).unwrap();
    assert_eq!(column.coords(&[(Dim::Lane, 9)]), vec![(Axis(0), 1), (Axis(1), 1)]);
}

#[test]
fn odd_extents_count_in_order() {
    // 96 rows = 3 x 32: register 2 of lane 5 is row 2·32 + 5.
    let layout = local(&[3]).unwrap().product(&spatial(&[32]).unwrap()).unwrap();
    assert_eq!(layout.coord(&[(Dim::Reg, 2), (Dim::Lane, 5)], Axis(0)), 69);
    // 192 rows over three warpgroups of 64.
    let groups = spread(Dim::Inst, &[3], Order::Row).unwrap().product(&local(&[64]).unwrap()).unwrap();
    assert_eq!(groups.coord(&[(Dim::Inst, 1), (Dim::Reg, 3)], Axis(0)), 67);
    assert_eq!(local(&[15]).unwrap().coord(&[(Dim::Reg, 7)], Axis(0)), 7);
    // Two odd axes in registers: row-major over the odd digits.
    let both = local(&[3, 5]).unwrap();
    assert_eq!(both.coords(&[(Dim::Reg, 7)]), vec![(Axis(0), 1), (Axis(1), 2)]);
}

#[test]
fn limits_are_errors() {
    let wide = local(&[1 << 20]).unwrap();
    assert!(matches!(wide.product(&wide), Err(LayoutError::ExtentTooLarge { .. })));
    let other = |axis| spread_over(Dim::Lane, &[(Axis(axis), 1 << 24)], Order::Row).unwrap();
    let wider = wide.product(&other(1)).unwrap();
    let fields = [0, 1, 2].map(|a| (Axis(a), 24));
    let outs = Space::new(fields);
    let none = LinearMap::new(Space::<Dim>::default(), outs, vec![], vec![]);
    assert!(matches!(none, Err(LayoutError::TooWide { bits: 72, .. })));
    assert_eq!(wider.outs().total(), 44);
    assert!(matches!(spatial(&[6]), Err(LayoutError::OddOnPowerOfTwoDim { dim: Dim::Lane, extent: 6 })));
    assert!(matches!(
        local(&[2]).unwrap().product(&local(&[3]).unwrap()),
        Err(LayoutError::OddInside { .. })
    ));
    assert!(matches!(local(&[0]), Err(LayoutError::ZeroExtent)));
    assert!(matches!(
        local(&[8]).unwrap().divide_right(&local(&[16]).unwrap()),
        Err(LayoutError::NotAFactor { .. })
    ));
    assert!(matches!(replicated(Dim::Lane, 2).unwrap().inverse(), Err(LayoutError::NotInvertible { .. })));
}

#[test]
fn words_of_another_width() {
    // Eight nibbles in each of four 32-bit words, seen as bytes: two nibbles in each of sixteen.
    let nibbles = spread(Dim::Reg, &[4], Order::Row)
        .unwrap()
        .product(&spread(Dim::Bit, &[8], Order::Row).unwrap())
        .unwrap();
    let bytes = nibbles.rename_bits(1).unwrap();
    assert_eq!((bytes.size_in(Dim::Bit), bytes.size_in(Dim::Reg)), (2, 16));
    assert_eq!(bytes.coord(&[(Dim::Reg, 5), (Dim::Bit, 1)], Axis(0)), 11);
}

#[test]
fn the_tutorial_is_right() {
    use crate::layout::show::{parse_expr, table};
    let rows = |text: &str| -> Vec<String> {
        let shown = table(&parse_expr(text).unwrap()).unwrap();
        shown
            .lines()
            .filter(|l| l.contains(":r") && l.contains('|'))
            .map(|l| l[4..].trim().to_string())
            .collect()
    };
    assert_eq!(rows("spatial(2,2) * local(2,2)")[1], "t0:r2 t0:r3 t1:r2 t1:r3");
    assert_eq!(rows("local(2,2) * spatial(2,2)")[2], "t0:r2 t1:r2 t0:r3 t1:r3");
    // The swizzled table.
    let (row, column) = (Axis(0), Axis(1));
    let swizzled = Layout::from_moves(
        &[(row, 2), (column, 2)],
        &[
            (Dim::Reg, vec![vec![(column, 1)], vec![(row, 1)]]),
            (Dim::Lane, vec![vec![(column, 2)], vec![(row, 2), (column, 1)]]),
        ],
    )
    .unwrap();
    let shown = table(&crate::layout::show::Shown::Distributed(swizzled)).unwrap();
    assert!(
        shown.contains("t2:r1 t2:r0 t3:r1 t3:r0") && shown.contains("t2:r3 t2:r2 t3:r3 t3:r2"),
        "{shown}"
    );
}

/// Three registers are three registers: an input that holds an odd digit and no bit counts like any other.
#[test]
fn an_input_may_hold_an_odd_digit_alone() {
    let three = local(&[3]).unwrap();
    assert!(three.ins().has(Dim::Reg));
    assert_eq!((three.size_in(Dim::Reg), three.shape()), (3, vec![(Axis(0), 3)]));
    for register in 0..3 {
        assert_eq!(three.coords(&[(Dim::Reg, register)]), [(Axis(0), register)]);
    }
    let lanes = spatial(&[4]).unwrap();
    let back = three.product(&lanes).unwrap().divide_left(&three).unwrap();
    assert_eq!(back, lanes, "the quotient has no registers left");
}
