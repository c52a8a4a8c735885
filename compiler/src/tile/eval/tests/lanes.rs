//! Operations on one tile: elementwise, subscripts in a tile, reductions, scans, `topk`, `sort`.

use super::super::*;
use super::kit::*;
use crate::numeric::Number;

/// Builds a kernel of one instance with input `x` over `0..N` (an axis of 16 lanes) and output `y`, runs it on `x`.
fn on_row(
    elem: ElemType,
    out: ElemType,
    x: Values,
    mode: Mode,
    f: impl FnOnce(&mut Kit, ValueId, AxisId) -> ValueId,
) -> Values {
    let mut k = Kit::new();
    let n = k.dim("N");
    let input = k.tensor("x", elem, &[n], TensorKind::In);
    let y = k.tensor("y", out, &[n], TensorKind::Out);
    let zero = k.int(0);
    let axis = k.axis("i", 16, zero, n, AxisKind::Let);
    let index = k.iota(axis);
    let tile = k.read(input, &[index]);
    let result = f(&mut k, tile, axis);
    // A result on fewer lanes (or another axis) goes where its own lanes are.
    let place = match k.axes(result)[..] {
        [a] => k.iota(a),
        _ => k.int(0),
    };
    k.write(y, &[place], result);
    let kernel = k.finish();
    let inputs = Inputs::builder(&kernel).dim("N", x.len() as i64).tensor("x", x).build().expect("complete");
    let mut outputs = evaluate(&kernel, &inputs, mode).expect("no fault");
    outputs.tensors.swap_remove(1).expect("an output").values
}

fn float_row(x: &[f64], f: impl FnOnce(&mut Kit, ValueId, AxisId) -> ValueId) -> Vec<f64> {
    match on_row(F32, F32, Values::Float(x.to_vec()), Mode::Exact, f) {
        Values::Float(y) => y,
        Values::Int(_) => panic!("floats"),
    }
}

fn index_row(x: &[f64], f: impl FnOnce(&mut Kit, ValueId, AxisId) -> ValueId) -> Vec<i64> {
    match on_row(F32, I, Values::Float(x.to_vec()), Mode::Exact, f) {
        Values::Int(y) => y,
        Values::Float(_) => panic!("integers"),
    }
}

const NAN: f64 = f64::NAN;
const INF: f64 = f64::INFINITY;

#[test]
fn reductions_of_some_and_of_nothing() {
    let x = [3.0, NAN, -1.0, 3.0, 2.0];
    let of = |x: &[f64], op| float_row(x, |k, t, a| k.reduce(op, t, &[a]))[0];
    assert_eq!(of(&x, ReduceOp::Max), 3.0);
    assert_eq!(of(&x, ReduceOp::Min), -1.0);
    assert!(of(&x, ReduceOp::Sum).is_nan());
    let at = |x: &[f64], op| index_row(x, |k, t, a| k.reduce(op, t, &[a]))[0];
    assert_eq!(at(&x, ReduceOp::ArgMax), 0);
    assert_eq!(at(&x, ReduceOp::ArgMin), 2);
    assert_eq!(at(&[-INF, -INF], ReduceOp::ArgMax), 0);
    assert_eq!(at(&[NAN, NAN], ReduceOp::ArgMax), -1);
    // Of nothing: a range that begins where the row ends.
    let nothing = |op| {
        float_row(&[7.0], |k, t, _| {
            let one = k.int(1);
            let empty = k.axis("e", 4, one, one, AxisKind::Let);
            let index = k.iota(empty);
            let none = k.tile_read(t, &[index]);
            let r = k.reduce(op, none, &[empty]);
            if matches!(op, ReduceOp::ArgMax) { k.cast(F32, r) } else { r }
        })[0]
    };
    assert_eq!(
        [ReduceOp::Sum, ReduceOp::Max, ReduceOp::Min, ReduceOp::ArgMax].map(nothing),
        [0.0, -INF, INF, -1.0]
    );
}

#[test]
fn scans_run_both_ways() {
    let scan = |op, rev| {
        float_row(&[1.0, 5.0, -2.0, 4.0], |k, t, axis| k.let_(F32, &[axis], Op::Scan { op, x: t, axis, rev }))
    };
    assert_eq!(scan(ScanOp::Sum, false), [1.0, 6.0, 4.0, 8.0]);
    assert_eq!(scan(ScanOp::Sum, true), [8.0, 7.0, 2.0, 4.0]);
    assert_eq!(scan(ScanOp::Max, false), [1.0, 5.0, 5.0, 5.0]);
    assert_eq!(scan(ScanOp::Max, true), [5.0, 5.0, 4.0, 4.0]);
}

#[test]
fn sort_and_topk_break_ties_by_coordinate() {
    let x = [2.0, NAN, 3.0, -1.0, 3.0, 0.0];
    let sorted =
        |part, elem| move |k: &mut Kit, t, axis| k.let_(elem, &[axis], Op::Sort { x: t, axis, part });
    let values = float_row(&x, sorted(SortPart::Values, F32));
    assert_eq!(values[..5], [-1.0, 0.0, 2.0, 3.0, 3.0]);
    assert!(values[5].is_nan());
    assert_eq!(index_row(&x, sorted(SortPart::Coordinates, I)), [3, 5, 0, 2, 4, 1]);
    let top = |part, elem, n: i64| {
        move |k: &mut Kit, t, axis| {
            let (zero, n_value) = (k.int(0), k.int(n));
            let to = k.axis("n", n as u32, zero, n_value, AxisKind::Let);
            k.let_(elem, &[to], Op::TopK { x: t, axis, to, part })
        }
    };
    assert_eq!(float_row(&x, top(SortPart::Values, F32, 3))[..3], [3.0, 3.0, 2.0]);
    assert_eq!(index_row(&x, top(SortPart::Coordinates, I, 3))[..3], [2, 4, 0]);
    let missing = index_row(&[1.0, 2.0, 0.0], |k, t, axis| {
        let v = top(SortPart::Coordinates, I, 3)(k, t, axis);
        let to = k.axes(v)[0];
        // Of the two lanes of x[0..2] only.
        let (zero, two) = (k.int(0), k.int(2));
        let short = k.axis("s", 2, zero, two, AxisKind::Let);
        let index = k.iota(short);
        let part = k.tile_read(t, &[index]);
        k.let_(I, &[to], Op::TopK { x: part, axis: short, to, part: SortPart::Coordinates })
    });
    assert_eq!(missing, [1, 0, -1]);
}

#[test]
fn a_tile_is_read_by_coordinates() {
    // x[i ^ 1] is a butterfly; outside the tile is zero.
    let swapped = float_row(&[1.0, 2.0, 3.0, 4.0, 5.0], |k, t, a| {
        let (index, one) = (k.iota(a), k.int(1));
        let index = k.binary(BinaryOp::Xor, index, one);
        k.tile_read(t, &[index])
    });
    assert_eq!(swapped, [2.0, 1.0, 4.0, 3.0, 0.0]);
    let shifted = float_row(&[1.0, 2.0, 3.0], |k, t, a| {
        let (index, one) = (k.iota(a), k.int(1));
        let index = k.binary(BinaryOp::Sub, index, one);
        k.tile_read(t, &[index])
    });
    assert_eq!(shifted, [0.0, 1.0, 2.0]);
}

#[test]
fn exact_mode_rounds_at_casts_and_stores_typed_mode_everywhere() {
    let third = |mode| {
        on_row(F32, F32, Values::Float(vec![1.0]), mode, |k, t, _| {
            let three = k.float(3.0);
            let third = k.binary(BinaryOp::Div, t, three);
            let back = k.binary(BinaryOp::Mul, third, three);
            let one = k.float(1.0);
            let difference = k.binary(BinaryOp::Sub, back, one);
            // The difference of f64's 1/3 is 0; f16's is seen.
            let half = k.cast(ElemType::F16, third);
            let half = k.cast(F32, half);
            let error = k.binary(BinaryOp::Sub, half, third);
            k.binary(BinaryOp::Add, difference, error)
        })
    };
    let f16_third = crate::numeric::FloatFormat::F16.round(1.0 / 3.0);
    let f32_third = (1.0f32 / 3.0) as f64;
    assert_eq!(third(Mode::Exact), Values::Float(vec![(f16_third - 1.0 / 3.0) as f32 as f64]));
    assert_eq!(third(Mode::Typed), Values::Float(vec![f16_third - f32_third]));
}

#[test]
fn integers_wrap_at_their_type_and_u64_is_unsigned() {
    let u64s = |x: &[u64]| Values::Int(x.iter().map(|&v| v as i64).collect());
    let u64_type = ElemType::Uint(64);
    let big = u64::MAX - 1;
    let sum =
        on_row(u64_type, u64_type, u64s(&[big, 5]), Mode::Exact, |k, t, _| k.binary(BinaryOp::Add, t, t));
    assert_eq!(sum, u64s(&[big.wrapping_mul(2), 10]));
    let greatest = on_row(u64_type, u64_type, u64s(&[3, big, 7]), Mode::Exact, |k, t, a| {
        k.reduce(ReduceOp::Max, t, &[a])
    });
    assert_eq!(greatest, u64s(&[big, 0, 0]));
    let as_float =
        on_row(u64_type, ElemType::F64, u64s(&[big]), Mode::Exact, |k, t, _| k.cast(ElemType::F64, t));
    assert_eq!(as_float, Values::Float(vec![big as f64]));
    let i16_type = ElemType::Int(16);
    let x = Values::Int(vec![30000, -7]);
    let doubled = on_row(i16_type, i16_type, x.clone(), Mode::Exact, |k, t, _| k.binary(BinaryOp::Add, t, t));
    assert_eq!(doubled, Values::Int(vec![60000 - 65536, -14]));
    let quotient = on_row(i16_type, i16_type, x, Mode::Exact, |k, t, _| {
        let two = k.let_(i16_type, &[], Op::Const(Const::Int(2)));
        k.binary(BinaryOp::Div, t, two)
    });
    assert_eq!(quotient, Values::Int(vec![15000, -4]));
    let bits = on_row(F32, ElemType::Uint(32), Values::Float(vec![1.0, -0.0]), Mode::Exact, |k, t, a| {
        k.let_(ElemType::Uint(32), &[a], Op::Bits(t))
    });
    assert_eq!(bits, Values::Int(vec![0x3f80_0000, 0x8000_0000]));
}

#[test]
fn bipolar_products_are_exact() {
    // b2 @ b2 over a row: numbers -3, -1, 1, 3.
    let b2 = ElemType::Bipolar(2);
    let x = [-3, 3, 1, -1, 3];
    let dot =
        on_row(b2, ElemType::I32, Values::Int(x.to_vec()), Mode::Exact, |k, t, _| k.mma(ElemType::I32, t, t));
    assert_eq!(dot, Values::Int(vec![x.iter().map(|v| v * v).sum(), 0, 0, 0, 0]));
}

#[test]
fn a_cast_is_numerics_rounding_for_every_type() {
    let mut types: Vec<ElemType> = vec![ElemType::F16, ElemType::Bf16, ElemType::Tf32, F32, ElemType::E8m0];
    types.extend((1..=7).flat_map(|e| (0..=6).filter_map(move |m| ElemType::small(e, m))));
    types.extend((1..=8).flat_map(|w| [ElemType::Int(w), ElemType::Uint(w), ElemType::Bipolar(w)]));
    types.extend([16, 32, 64].into_iter().flat_map(|w| [ElemType::Int(w), ElemType::Uint(w)]));
    // Sixteen lanes: ties, overflow, signs, specials.
    let x = [0.0, -0.0, 0.5, 1.5, 2.5, -2.5, 0.3, -7.7, 17.0, 448.0, 480.0, -1e9, 3e38, INF, -INF, NAN];
    for ty in types {
        let cast = on_row(F32, ty, Values::Float(x.to_vec()), Mode::Exact, |k, t, _| k.cast(ty, t));
        for (lane, &x) in x.iter().enumerate() {
            // 3e38 is stored as an f32.
            let expected = ty.format().convert_f64(x as f32 as f64);
            let same = match (&cast, expected) {
                (Values::Float(c), Number::Float(e)) => {
                    c[lane].to_bits() == e.to_bits() || (c[lane].is_nan() && e.is_nan())
                }
                (Values::Int(c), Number::Int(e)) => c[lane] == e,
                _ => false,
            };
            assert!(same, "{x} as {ty}: {cast:?} is not {expected:?} at {lane}");
        }
        // And back: whatever the type can hold is read as it was written.
        let back = on_row(ty, ty, cast.clone(), Mode::Typed, |_, t, _| t);
        assert_eq!(format!("{back:?}"), format!("{cast:?}"), "{ty}");
    }
}
