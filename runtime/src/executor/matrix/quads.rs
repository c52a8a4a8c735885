//! `mma.m8n8k4` on halves: four products at once, one for each *quad pair*. Lanes 4p to 4p + 3 and 4p + 16 to 4p + 19 work on product p.
//!
//! With j = lane % 4 and h = 1 in the upper sixteen lanes (PTX ISA, "Matrix fragments for mma.m8n8k4"), element i of a lane is
//!
//! | | row | column |
//! | --- | --- | --- |
//! | A, rows (columns) | j + 4h (i + 4h) | i (j) |
//! | B, rows (columns) | j (i) | i + 4h (j + 4h) |
//! | C, D as f16 | j + 4h | i |
//! | C, D as f32 | j % 2 + i & 2 + 4h | i & 4 + j & 2 + i & 1 |
//!
//! Sums are f32, k ascending, one fused multiply-add a product, as in the other shapes.

use half::f16;

use super::{Lanes32, MmaFn};

/// Which of its operands are stored by columns (A) or by rows (B), and which sums are halves (D, C).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quads {
    pub a_columns: bool,
    pub b_rows: bool,
    pub d_half: bool,
    pub c_half: bool,
}

/// The implementation of a variant.
pub fn quads(variant: Quads) -> MmaFn {
    let Quads { a_columns, b_rows, d_half, c_half } = variant;
    match (a_columns, b_rows, d_half, c_half) {
        (false, false, false, false) => run::<false, false, false, false>,
        (false, false, false, true) => run::<false, false, false, true>,
        (false, false, true, false) => run::<false, false, true, false>,
        (false, false, true, true) => run::<false, false, true, true>,
        (false, true, false, false) => run::<false, true, false, false>,
        (false, true, false, true) => run::<false, true, false, true>,
        (false, true, true, false) => run::<false, true, true, false>,
        (false, true, true, true) => run::<false, true, true, true>,
        (true, false, false, false) => run::<true, false, false, false>,
        (true, false, false, true) => run::<true, false, false, true>,
        (true, false, true, false) => run::<true, false, true, false>,
        (true, false, true, true) => run::<true, false, true, true>,
        (true, true, false, false) => run::<true, true, false, false>,
        (true, true, false, true) => run::<true, true, false, true>,
        (true, true, true, false) => run::<true, true, true, false>,
        (true, true, true, true) => run::<true, true, true, true>,
    }
}

fn half(registers: &[&Lanes32], lane: usize, i: usize) -> f32 {
    f16::from_bits((registers[i / 2][lane] >> (16 * (i % 2))) as u16).to_f32()
}

/// Row and column of element `i` of a sum.
fn place(lane: usize, i: usize, halves: bool) -> (usize, usize) {
    let (j, upper) = (lane % 4, 4 * (lane / 16));
    if halves { (j + upper, i) } else { (j % 2 + (i & 2) + upper, (i & 4) + (j & 2) + (i & 1)) }
}

fn run<const A_COLUMNS: bool, const B_ROWS: bool, const D_HALF: bool, const C_HALF: bool>(
    d: &mut [Lanes32],
    a: &[&Lanes32],
    b: &[&Lanes32],
    c: &[&Lanes32],
) {
    d.iter_mut().for_each(|register| register.fill(0));
    for pair in 0..4 {
        let (mut left, mut right, mut sums) = ([[0f32; 4]; 8], [[0f32; 8]; 4], [[0f32; 8]; 8]);
        let lanes = || (0..8).map(|at| 4 * pair + at % 4 + 16 * (at / 4));
        for lane in lanes() {
            let (j, upper) = (lane % 4, 4 * (lane / 16));
            for i in 0..4 {
                let (row, k) = if A_COLUMNS { (i + upper, j) } else { (j + upper, i) };
                left[row][k] = half(a, lane, i);
                let (k, column) = if B_ROWS { (j, i + upper) } else { (i, j + upper) };
                right[k][column] = half(b, lane, i);
            }
            for i in 0..8 {
                let (row, column) = place(lane, i, C_HALF);
                sums[row][column] = if C_HALF { half(c, lane, i) } else { f32::from_bits(c[i][lane]) };
            }
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            for (column, sum) in sums.iter_mut().enumerate() {
                *sum = (0..4).fold(*sum, |sum, k| left[row][k].mul_add(right[k][column], sum));
            }
        }
        for lane in lanes() {
            for i in 0..8 {
                let (row, column) = place(lane, i, D_HALF);
                let sum = sums[row][column];
                if D_HALF {
                    d[i / 2][lane] |= u32::from(f16::from_f32(sum).to_bits()) << (16 * (i % 2));
                } else {
                    d[i][lane] = sum.to_bits();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fragments by the formulas of the ISA for each operand, from matrices of small integers: products are exact.
    #[test]
    fn every_quad_pair_has_its_own_product() {
        let value = |seed: usize| ((seed * 37 + 11) % 9) as f32 - 4.0;
        let a = |pair: usize, row: usize, k: usize| value(pair * 100 + row * 4 + k);
        let b = |pair: usize, k: usize, column: usize| value(pair * 77 + k * 8 + column + 1);
        let c = |pair: usize, row: usize, column: usize| value(pair * 55 + row * 8 + column + 2);
        let bits = |x: f32| u32::from(f16::from_f32(x).to_bits());
        for number in 0..16 {
            let [a_columns, b_rows, d_half, c_half] = [0, 1, 2, 3].map(|bit| number >> bit & 1 != 0);
            let mut left = [[0u32; 32]; 2];
            let mut right = [[0u32; 32]; 2];
            let mut add = vec![[0u32; 32]; if c_half { 4 } else { 8 }];
            for lane in 0..32usize {
                let (pair, high) = (lane % 16 / 4, lane >= 16);
                for i in 0..4usize {
                    let (row, k) = match (a_columns, high) {
                        (false, false) => (lane % 4, i),
                        (false, true) => (lane % 4 + 4, i),
                        (true, false) => (i % 4, lane % 4),
                        (true, true) => (i % 4 + 4, lane % 4),
                    };
                    left[i / 2][lane] |= bits(a(pair, row, k)) << (16 * (i % 2));
                    let (k, column) = match (b_rows, high) {
                        (true, false) => (lane % 4, i),
                        (true, true) => (lane % 4, i + 4),
                        (false, false) => (i, lane % 4),
                        (false, true) => (i, lane % 4 + 4),
                    };
                    right[i / 2][lane] |= bits(b(pair, k, column)) << (16 * (i % 2));
                }
                for i in 0..8usize {
                    let row = if c_half { lane % 4 } else { (lane & 1) + (i & 2) } + if high { 4 } else { 0 };
                    let column = if c_half { i } else { (i & 4) + (lane & 2) + (i & 1) };
                    if c_half {
                        add[i / 2][lane] |= bits(c(pair, row, column)) << (16 * (i % 2));
                    } else {
                        add[i][lane] = c(pair, row, column).to_bits();
                    }
                }
            }
            let mut d = vec![[0u32; 32]; if d_half { 4 } else { 8 }];
            let f = quads(Quads { a_columns, b_rows, d_half, c_half });
            f(&mut d, &[&left[0], &left[1]], &[&right[0], &right[1]], &add.iter().collect::<Vec<_>>());
            for lane in 0..32usize {
                let pair = lane % 16 / 4;
                for i in 0..8usize {
                    let upper = if lane >= 16 { 4 } else { 0 };
                    let row = if d_half { lane % 4 } else { (lane & 1) + (i & 2) } + upper;
                    let column = if d_half { i } else { (i & 4) + (lane & 2) + (i & 1) };
                    let products = (0..4).map(|k| a(pair, row, k) * b(pair, k, column));
                    let want = c(pair, row, column) + products.sum::<f32>();
                    let got = if d_half {
                        f16::from_bits((d[i / 2][lane] >> (16 * (i % 2))) as u16).to_f32()
                    } else {
                        f32::from_bits(d[i][lane])
                    };
                    assert_eq!(got, want, "variant {number}, lane {lane}, element {i}");
                }
            }
        }
    }
}
