//! `@`: products of tiles, the bulk of the evaluator's work.
//!
//! Both operands are brought to dense `[batch, m, k]` and `[batch, k, n]`, then multiplied by a register-blocked kernel: 4×4 sums are held
//! in registers while k runs, so each element of the operands is loaded once per four uses. k always ascends, which *typed* mode needs
//! (its baseline adds in that order) and which makes every mode deterministic.

use std::borrow::Cow;

use super::values::{Tile, Values, spread};
use crate::tile::ir::AxisId;

/// `acc + a * b` in the arithmetic of the sum.
pub(super) trait MulAdd: Copy + Default {
    fn mul_add(acc: Self, a: Self, b: Self) -> Self;
}

impl MulAdd for f64 {
    #[inline(always)]
    fn mul_add(acc: f64, a: f64, b: f64) -> f64 {
        acc + a * b
    }
}

impl MulAdd for f32 {
    #[inline(always)]
    fn mul_add(acc: f32, a: f32, b: f32) -> f32 {
        acc + a * b
    }
}

impl MulAdd for i64 {
    // Sums modulo 2^64 wrap to any narrower integer afterwards.
    #[inline(always)]
    fn mul_add(acc: i64, a: i64, b: i64) -> i64 {
        acc.wrapping_add(a.wrapping_mul(b))
    }
}

/// Rows and columns of sums held in registers.
const BLOCK: usize = 4;

/// `c = a · b` for dense row-major `a` of m×k and `b` of k×n.
fn product<T: MulAdd>(m: usize, n: usize, k: usize, a: &[T], b: &[T], c: &mut [T]) {
    let mut panel = vec![[T::default(); BLOCK]; k];
    for j in (0..n).step_by(BLOCK) {
        let columns = BLOCK.min(n - j);
        for (row, packed) in b.chunks_exact(n).zip(&mut panel) {
            packed[..columns].copy_from_slice(&row[j..j + columns]);
        }
        for i in (0..m).step_by(BLOCK) {
            // Rows past the end repeat the last one; their sums are not stored.
            let row = |r: usize| {
                let at = (i + r).min(m - 1) * k;
                &a[at..at + k]
            };
            let sums = block([row(0), row(1), row(2), row(3)], &panel);
            for (r, sums) in sums.iter().enumerate().take(m - i) {
                let at = (i + r) * n + j;
                c[at..at + columns].copy_from_slice(&sums[..columns]);
            }
        }
    }
}

fn block<T: MulAdd>(a: [&[T]; BLOCK], panel: &[[T; BLOCK]]) -> [[T; BLOCK]; BLOCK] {
    let mut sums = [[T::default(); BLOCK]; BLOCK];
    let [a0, a1, a2, a3] = a;
    for ((((b, &a0), &a1), &a2), &a3) in panel.iter().zip(a0).zip(a1).zip(a2).zip(a3) {
        for (row, a) in sums.iter_mut().zip([a0, a1, a2, a3]) {
            for (sum, &b) in row.iter_mut().zip(b) {
                *sum = T::mul_add(*sum, a, b);
            }
        }
    }
    sums
}

/// How the products are added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accumulate {
    F64,
    /// *Typed* mode: products and sums round to f32.
    F32,
    /// Modulo 2^64.
    Int,
}

/// The product of `a` and `b` over `contract`, on the axes `result` (of the shape that the operands give them).
pub(crate) fn mma(
    a: &Tile,
    b: &Tile,
    contract: AxisId,
    batch: &[AxisId],
    result: &[AxisId],
    how: Accumulate,
) -> Tile {
    let length = |axis: AxisId| {
        let of = |t: &Tile| t.axes.iter().position(|&x| x == axis).map(|at| t.shape[at]);
        of(a).or_else(|| of(b)).unwrap_or(1)
    };
    let own = |t: &Tile| -> Vec<AxisId> {
        t.axes.iter().copied().filter(|x| *x != contract && !batch.contains(x)).collect()
    };
    let shape_of = |axes: &[AxisId]| axes.iter().map(|&x| length(x)).collect::<Vec<_>>();
    let (rows, columns) = (own(a), own(b));
    let a_axes = [batch, &rows, &[contract]].concat();
    let b_axes = [batch, &[contract], &columns].concat();
    let c_axes = [batch, &rows, &columns].concat();
    let (a_shape, b_shape, c_shape) = (shape_of(&a_axes), shape_of(&b_axes), shape_of(&c_axes));
    let size = |axes: &[AxisId]| shape_of(axes).iter().product::<usize>();
    let sizes = Sizes { batch: size(batch), m: size(&rows), n: size(&columns), k: length(contract) };
    let data = match how {
        Accumulate::Int => {
            let (x, y) = (a.ints(), b.ints());
            let x = spread(&x, &a.axes, &a.shape, &a_axes, &a_shape);
            let y = spread(&y, &b.axes, &b.shape, &b_axes, &b_shape);
            Values::Int(sizes.products(&x, &y))
        }
        Accumulate::F64 | Accumulate::F32 => {
            let (x, y) = (a.floats(), b.floats());
            let x = spread(&x, &a.axes, &a.shape, &a_axes, &a_shape);
            let y = spread(&y, &b.axes, &b.shape, &b_axes, &b_shape);
            if how == Accumulate::F64 {
                Values::Float(sizes.products(&x, &y))
            } else {
                let single = |x: Cow<'_, [f64]>| x.iter().map(|&v| v as f32).collect::<Vec<f32>>();
                let sums: Vec<f32> = sizes.products(&single(x), &single(y));
                Values::Float(sums.into_iter().map(f64::from).collect())
            }
        }
    };
    let c = Tile { axes: c_axes, shape: c_shape, data };
    if c.axes == result {
        return c;
    }
    let shape = shape_of(result);
    Tile { data: c.spread(result, &shape), axes: result.to_vec(), shape }
}

struct Sizes {
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
}

impl Sizes {
    fn products<T: MulAdd>(&self, a: &[T], b: &[T]) -> Vec<T> {
        let Sizes { batch, m, n, k } = *self;
        let mut c = vec![T::default(); batch * m * n];
        if m * n * k > 0 {
            let operands = a.chunks_exact(m * k).zip(b.chunks_exact(k * n));
            for ((a, b), c) in operands.zip(c.chunks_exact_mut(m * n)) {
                product(m, n, k, a, b, c);
            }
        }
        c
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tile(axes: &[u32], shape: &[usize], f: impl Fn(usize) -> i64) -> Tile {
        Tile {
            axes: axes.iter().map(|&a| AxisId(a)).collect(),
            shape: shape.to_vec(),
            data: Values::Int((0..shape.iter().product()).map(f).collect()),
        }
    }

    #[test]
    fn ragged_sizes_agree_with_the_definition() {
        for (m, n, k) in [(1, 1, 1), (4, 4, 4), (5, 7, 9), (3, 2, 0), (8, 1, 3), (0, 3, 2)] {
            let a = tile(&[0, 2], &[m, k], |x| x as i64 * 7 % 11 - 5);
            let b = tile(&[2, 1], &[k, n], |x| x as i64 * 5 % 13 - 6);
            let c = mma(&a, &b, AxisId(2), &[], &[AxisId(0), AxisId(1)], Accumulate::Int);
            let (x, y) = (a.ints(), b.ints());
            let expected: Vec<i64> =
                (0..m * n).map(|at| (0..k).map(|p| x[at / n * k + p] * y[p * n + at % n]).sum()).collect();
            assert_eq!(c.ints(), expected, "{m} {n} {k}");
        }
    }

    #[test]
    fn batch_axes_stay_where_the_left_operand_has_them() {
        // a[i, g, k] @ b[g, k, j] -> [i, g, j], g being batch.
        let (i, g, k, j) = (2, 3, 4, 5);
        let a = tile(&[0, 1, 2], &[i, g, k], |x| x as i64);
        let b = tile(&[1, 2, 3], &[g, k, j], |x| 2 * x as i64 - 9);
        let axes = [AxisId(0), AxisId(1), AxisId(3)];
        let c = mma(&a, &b, AxisId(2), &[AxisId(1)], &axes, Accumulate::Int);
        assert_eq!(c.shape, [i, g, j]);
        let (x, y) = (a.ints(), b.ints());
        for at in 0..i * g * j {
            let (ii, gg, jj) = (at / (g * j), at / j % g, at % j);
            let expected: i64 = (0..k).map(|p| x[(ii * g + gg) * k + p] * y[(gg * k + p) * j + jj]).sum();
            assert_eq!(c.ints()[at], expected);
        }
    }
}
