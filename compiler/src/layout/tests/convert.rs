//! Conversions carried out on all lanes, registers and bytes.

use proptest::prelude::*;

use crate::layout::atoms::{ldmatrix, mma_a, mma_c};
use crate::layout::convert::exchange::{Exchange, Side};
use crate::layout::convert::{Conversion, How, Means, plan};
use crate::layout::f2;
use crate::layout::*;

const MEANS: Means = Means { stmatrix: true, in_loop: false };
type Values = Vec<Vec<Option<u32>>>; // [thread][register] = element number

fn threads(layout: &Layout) -> u32 {
    layout.size_in(Dim::Lane) * layout.size_in(Dim::Warp)
}

fn at(layout: &Layout, thread: u32, reg: u32) -> [(Dim, u32); 3] {
    let lanes = layout.size_in(Dim::Lane);
    [(Dim::Reg, reg), (Dim::Lane, thread % lanes), (Dim::Warp, thread / lanes)]
}

/// Every element's number, row-major.
fn number(coords: &[(Axis, u32)], layout: &Layout) -> u32 {
    coords.iter().fold(0, |acc, c| acc * layout.size_out(c.0) + c.1)
}

fn held(layout: &Layout) -> Values {
    (0..threads(layout))
        .map(|t| {
            (0..layout.size_in(Dim::Reg))
                .map(|r| Some(number(&layout.coords(&at(layout, t, r)), layout)))
                .collect()
        })
        .collect()
}

/// Carries a conversion out.
fn run(conversion: &Conversion, from: &Layout, to: &Layout) -> Values {
    let source = held(from);
    let regs = to.size_in(Dim::Reg) as usize;
    let mut result = vec![vec![None; regs]; threads(to) as usize];
    match &conversion.how {
        How::Registers(moves) => {
            for (t, row) in result.iter_mut().enumerate() {
                for (r, value) in row.iter_mut().enumerate() {
                    *value = source[t][moves.source[r] as usize];
                }
            }
        }
        How::Shuffle(s) => {
            let lanes = from.size_in(Dim::Lane);
            let expand = |unit: u64, inside: u64, bits: &[u32], total: u32| -> u64 {
                let rest = (0..total).filter(|b| !bits.contains(b));
                let outer = rest.enumerate().fold(0, |acc, (i, b)| acc | (unit >> i & 1) << b);
                bits.iter().enumerate().fold(outer, |acc, (i, b)| acc | (inside >> i & 1) << b)
            };
            let (ns, nd) = (from.ins().bits(Dim::Reg), to.ins().bits(Dim::Reg));
            for t in 0..threads(to) {
                let (lane, warp) = ((t % lanes) as u64, t / lanes);
                for odd in 0..s.repeats as u64 {
                    for round in &s.rounds {
                        let read = f2::apply(&s.lane_map, lane) ^ round.lane;
                        if !round.shuffles {
                            assert_eq!(read, lane);
                        }
                        let offered = f2::apply(&s.send_by_lane, read) ^ round.send;
                        let filled = f2::apply(&s.receive_by_lane, lane) ^ round.receive;
                        for i in 0..1 << s.before.len() {
                            let src = expand(offered, i, &s.before, ns) + (odd << ns);
                            let dst = expand(filled, i, &s.after, nd) + (odd << nd);
                            result[t as usize][dst as usize] =
                                source[(warp * lanes + read as u32) as usize][src as usize];
                        }
                    }
                }
            }
        }
        How::Shared(exchange) => through_memory(exchange, from, to, &source, &mut result),
    }
    result
}

fn through_memory(exchange: &Exchange, from: &Layout, to: &Layout, source: &Values, result: &mut Values) {
    let memory = &exchange.memory;
    let mut bytes: Vec<Option<u32>> = vec![None; memory.bytes() as usize];
    for (thread, reg, place) in places(&exchange.store, memory, from) {
        let value = source[thread as usize][reg as usize];
        let old = bytes[place as usize].replace(value.unwrap());
        assert!(old.is_none() || old == value, "two values at {place}");
    }
    for (thread, reg, place) in places(&exchange.load, memory, to) {
        for copy in 0..1u64 << exchange.load.copies.len() {
            let reg = reg as u64 ^ f2::apply(&exchange.load.copies, copy);
            result[thread as usize][reg as usize] = bytes[place as usize];
        }
    }
}

/// (thread, register, byte offset) of every element that a side moves.
fn places(side: &Side, memory: &SharedLayout, value: &Layout) -> Vec<(u32, u32, u32)> {
    let layout = &side.accessor.layout;
    let regs = layout.ins().bits(Dim::Reg);
    let value_bits = value.ins().bits(Dim::Reg);
    let mut all = Vec::new();
    for odd in 0..layout.odd_in(Dim::Reg) {
        for thread in 0..threads(layout) {
            match side.matrix {
                None => {
                    for r in 0..1u32 << regs {
                        let place = memory.offset(&layout.coords(&at(layout, thread, r + (odd << regs))));
                        // Vectors are aligned and consecutive.
                        let crate::layout::AccessKind::Vector { bytes } = side.accessor.kind else {
                            panic!()
                        };
                        let inside = r % (bytes / memory.elem_bytes());
                        assert_eq!(place % bytes, inside * memory.elem_bytes());
                        let reg = f2::apply(&side.registers, r as u64) as u32 + (odd << value_bits);
                        all.push((thread, reg, place));
                    }
                }
                Some(trans) => {
                    // What the instruction does by definition: lane 8j + r's row, spread over the warp.
                    let count = 1u32 << (side.matrix_registers.len() - 1);
                    let spread = ldmatrix(count, trans, Axis(0), Axis(1)).unwrap();
                    let (warp, lane) = (thread / 32, thread % 32);
                    for instruction in 0..1u32 << (regs - 3) {
                        for i in 0..2 * count {
                            let from = spread.coords(&[(Dim::Reg, i), (Dim::Lane, lane)]);
                            let (row, element) = (from[0].1, from[1].1);
                            let reg = (instruction << 3) + (odd << regs);
                            let start = memory.offset(&layout.coords(&at(layout, warp * 32 + row, reg)));
                            assert_eq!(start % 16, 0);
                            let own = f2::apply(&side.matrix_registers, i as u64)
                                ^ f2::apply(&side.registers, (instruction as u64) << 3);
                            all.push((thread, own as u32 + (odd << value_bits), start + 2 * element));
                        }
                    }
                }
            }
        }
    }
    all
}

fn check(from: &Layout, to: &Layout, elem_bits: u32) -> Conversion {
    let conversion = plan(from, to, elem_bits, MEANS).unwrap();
    assert_eq!(run(&conversion, from, to), held(to), "{conversion:?}");
    conversion
}

#[test]
fn accumulator_to_a_operand_is_free() {
    let (m, n) = (Axis(0), Axis(1));
    let scores = local(&[1, 2]).unwrap().product(&mma_c(m, n).unwrap()).unwrap();
    let probabilities = mma_a(16, 16, m, n).unwrap();
    let found = check(&scores, &probabilities, 16);
    assert!(matches!(found.how, How::Registers(_)));
    assert_eq!(found.cost.quarter_cycles(), 0);
}

#[test]
fn new_neighbours_in_a_register_take_a_prmt() {
    let found = check(&local(&[2, 4]).unwrap(), &column_local(&[2, 4]).unwrap(), 16);
    assert_eq!(found.cost.prmts, 4);
    // Whole registers change names only.
    assert_eq!(check(&local(&[2, 4]).unwrap(), &column_local(&[2, 4]).unwrap(), 32).cost.prmts, 0);
}

#[test]
fn one_exchanged_bit_costs_half_the_registers() {
    let rows = spatial(&[32, 1]).unwrap().product(&local(&[1, 4]).unwrap()).unwrap();
    let other = local(&[2, 1])
        .unwrap()
        .product(&spatial(&[16, 2]).unwrap())
        .unwrap()
        .product(&local(&[1, 2]).unwrap())
        .unwrap();
    let found = check(&rows, &other, 32);
    assert!(matches!(found.how, How::Shuffle(_)), "{found:?}");
    assert!(found.cost.shuffles <= 4, "{:?}", found.cost);
    // Two 16-bit elements travel together.
    assert!(check(&rows, &other, 16).cost.shuffles <= 2);
}

#[test]
fn a_permutation_of_lanes_is_one_shuffle_a_register() {
    let a = spatial(&[8, 4]).unwrap().product(&local(&[1, 2]).unwrap()).unwrap();
    let b = column_spatial(&[8, 4]).unwrap().product(&local(&[1, 2]).unwrap()).unwrap();
    let found = check(&a, &b, 32);
    assert_eq!((found.cost.shuffles, found.cost.selects), (2, 0), "{found:?}");
}

#[test]
fn vectors_to_fragments_read_with_ldmatrix_without_conflicts() {
    let (m, k) = (Axis(0), Axis(1));
    let rows = coalesced((m, 64), (k, 64), 8, 128).unwrap();
    let warps = spread_over(Dim::Warp, &[(m, 4), (k, 1)], Order::Row).unwrap();
    let steps = spread_over(Dim::Reg, &[(m, 1), (k, 4)], Order::Row).unwrap();
    let fragment = warps.product(&steps).unwrap().product(&mma_a(16, 16, m, k).unwrap()).unwrap();
    let found = check(&rows, &fragment, 16);
    let How::Shared(exchange) = &found.how else { panic!("{found:?}") };
    assert_eq!(exchange.load.matrix, Some(false));
    // 8 KiB per 4 warps each way, 128 bytes a wavefront: 16 wavefronts per warp and direction.
    assert_eq!((found.cost.bytes, found.cost.wavefronts), (8192, 32));
    // And back: stmatrix, or ldmatrix with rows of another shape. Both need no more than the data's wavefronts.
    let back = check(&fragment, &rows, 16);
    let How::Shared(exchange) = &back.how else { panic!("{back:?}") };
    assert!(exchange.store.matrix.or(exchange.load.matrix).is_some());
    assert_eq!((back.cost.wavefronts, back.cost.accesses, back.cost.prmts), (32, 8, 0));
}

#[test]
fn fragments_leave_by_stmatrix_where_it_exists() {
    let (m, n) = (Axis(0), Axis(1));
    let warps = spread_over(Dim::Warp, &[(m, 2), (n, 2)], Order::Row).unwrap();
    let blocks = spread_over(Dim::Reg, &[(m, 2), (n, 4)], Order::Row).unwrap();
    let fragment = warps.product(&blocks).unwrap().product(&mma_c(m, n).unwrap()).unwrap();
    // A thread per row, eight neighbours at a time. Its lanes run along m, so only the store can be a matrix store, and it shares
    // only pairs of elements with the fragment's threads.
    let reg = [(n, 1), (n, 2), (n, 4), (n, 32), (m, 32)];
    let lane = [(m, 1), (m, 2), (m, 4), (m, 8), (m, 16)];
    let ins: [(Dim, &[(Axis, u32)]); 3] =
        [(Dim::Reg, &reg), (Dim::Lane, &lane), (Dim::Warp, &[(n, 8), (n, 16)])];
    let to = Layout::from_steps(&[(m, 6), (n, 6)], &ins).unwrap();
    let found = check(&fragment, &to, 16);
    let How::Shared(exchange) = &found.how else { panic!("{found:?}") };
    assert_eq!((exchange.store.matrix, exchange.load.matrix), (Some(false), None));
    assert_eq!((found.cost.wavefronts, found.cost.accesses), (32, 8));
    let older = plan(&fragment, &to, 16, Means { stmatrix: false, in_loop: true }).unwrap();
    assert_eq!(run(&older, &fragment, &to), held(&to));
    assert_eq!(older.cost.barriers, 2);
}

#[test]
fn odd_factors_repeat_the_conversion() {
    let three = local(&[3, 1]).unwrap();
    let a = three.product(&spatial(&[8, 4]).unwrap()).unwrap().product(&local(&[1, 2]).unwrap()).unwrap();
    let b =
        three.product(&column_spatial(&[8, 4]).unwrap()).unwrap().product(&local(&[1, 2]).unwrap()).unwrap();
    check(&a, &b, 32);
    let w = |l: Layout| three.product(&l.split_threads().unwrap()).unwrap();
    let c = w(spatial(&[16, 4]).unwrap().product(&local(&[1, 4]).unwrap()).unwrap());
    let d = w(column_spatial(&[16, 4]).unwrap().product(&local(&[1, 4]).unwrap()).unwrap());
    assert!(matches!(check(&c, &d, 16).how, How::Shared(_)));
}

#[test]
fn tiles_that_differ_are_refused() {
    let refused = plan(&local(&[2, 4]).unwrap(), &local(&[4, 2]).unwrap(), 32, MEANS);
    assert!(matches!(refused, Err(LayoutError::Shape { .. })));
}

/// A random bijective layout: tile bits of two axes in a random order and mixed, over registers, lanes and warps.
fn random(shuffled: &[usize], mix: &[(usize, usize)], regs: u8, lanes: u8, warps: u8) -> Layout {
    let mut cols: Vec<u64> = shuffled.iter().map(|&b| 1 << b).collect();
    for &(i, j) in mix {
        let (i, j) = (i % cols.len(), j % cols.len());
        if i != j {
            cols[i] ^= cols[j];
        }
    }
    let total = cols.len() as u8;
    let ins = Space::new([(Dim::Reg, regs), (Dim::Lane, lanes), (Dim::Warp, warps)]);
    LinearMap::new(ins, Space::new([(Axis(0), total / 2), (Axis(1), total - total / 2)]), cols, vec![])
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_two_layouts_convert(
        a in Just((0..9usize).collect::<Vec<_>>()).prop_shuffle(),
        b in Just((0..9usize).collect::<Vec<_>>()).prop_shuffle(),
        mix in prop::collection::vec((0usize..9, 0usize..9), 0..3),
        warps in 0u8..2,
        elem in prop::sample::select(vec![8u32, 16, 32, 64]),
    ) {
        let from = random(&a, &mix, 4 - warps, 5, warps);
        let to = random(&b, &[], 4 - warps, 5, warps);
        check(&from, &to, elem);
    }

    /// Layouts with copies: some inputs move nothing.
    #[test]
    fn copies_convert_too(
        a in Just((0..7usize).collect::<Vec<_>>()).prop_shuffle(),
        b in Just((0..7usize).collect::<Vec<_>>()).prop_shuffle(),
        holes_a in (0usize..9, 0usize..9),
        holes_b in (0usize..9, 0usize..9),
    ) {
        let with_holes = |order: &[usize], holes: (usize, usize)| {
            let mut cols: Vec<u64> = order.iter().map(|&b| 1 << b).collect();
            cols.insert(holes.0.min(7), 0);
            cols.insert(holes.1.min(8), 0);
            let ins = Space::new([(Dim::Reg, 3), (Dim::Lane, 5), (Dim::Warp, 1)]);
            LinearMap::new(ins, Space::new([(Axis(0), 3), (Axis(1), 4)]), cols, vec![]).unwrap()
        };
        check(&with_holes(&a, holes_a), &with_holes(&b, holes_b), 16);
    }
}
