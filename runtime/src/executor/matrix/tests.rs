//! Every implementation that this CPU has against a scalar reference with its own idea of where elements lie.

use super::{Lanes32, MmaInput, MmaSum, Tier, implementation, mma_f64, registers};

/// Reproducible bits.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32 ^ (self.0 >> 12) as u32
    }

    /// Uniform in -2..2.
    fn float(&mut self) -> f32 {
        (self.next() & 0xffff) as f32 / 16384.0 - 2.0
    }
}

/// One element's bits from a float, in a type.
fn encode(input: MmaInput, rng: &mut Rng) -> u32 {
    match input {
        MmaInput::F16 => u32::from(half::f16::from_f32(rng.float()).to_bits()),
        MmaInput::Bf16 => u32::from(half::bf16::from_f32(rng.float()).to_bits()),
        MmaInput::Tf32 => rng.float().to_bits(),
        // All finite codes: exponent all ones is left out.
        MmaInput::E4m3 => rng.next() & 0xf7 & !(u32::from(rng.next().is_multiple_of(2)) << 6),
        MmaInput::E5m2 => rng.next() & 0xbf,
        _ => rng.next(),
    }
}

fn width(input: MmaInput) -> usize {
    let [_, a, _] = registers(256, input, MmaSum::S32);
    a * 1024 / (16 * 256)
}

fn value(input: MmaInput, bits: u32) -> f64 {
    match input {
        MmaInput::F16 => f64::from(half::f16::from_bits(bits as u16).to_f32()),
        MmaInput::Bf16 => f64::from(half::bf16::from_bits(bits as u16).to_f32()),
        MmaInput::Tf32 => f64::from(f32::from_bits(bits & !0x1fff)),
        MmaInput::E4m3 => {
            let (e, m) = ((bits >> 3 & 15) as i32, f64::from(bits & 7));
            let magnitude = if e == 0 { m / 8.0 * 2f64.powi(-6) } else { (1.0 + m / 8.0) * 2f64.powi(e - 7) };
            if bits & 0x80 == 0 { magnitude } else { -magnitude }
        }
        MmaInput::E5m2 => {
            let (e, m) = ((bits >> 2 & 31) as i32, f64::from(bits & 3));
            let magnitude =
                if e == 0 { m / 4.0 * 2f64.powi(-14) } else { (1.0 + m / 4.0) * 2f64.powi(e - 15) };
            if bits & 0x80 == 0 { magnitude } else { -magnitude }
        }
        MmaInput::S8 => f64::from(bits as i8),
        MmaInput::U8 => f64::from(bits as u8),
        MmaInput::S4 => f64::from(((bits << 4) as i8) >> 4),
        MmaInput::U4 => f64::from(bits & 15),
        MmaInput::AndBits | MmaInput::XorBits => f64::from(bits & 1),
    }
}

/// A `rows`x`k` matrix of element bits and its fragment; `row_blocks` is 2 for A and 1 for B.
fn operand(rows: usize, k: usize, input: MmaInput, rng: &mut Rng) -> (Vec<Vec<u32>>, Vec<Lanes32>) {
    let bits = width(input);
    let per = 32 / bits;
    let mask = if bits == 32 { u32::MAX } else { (1 << bits) - 1 };
    let matrix: Vec<Vec<u32>> =
        (0..rows).map(|_| (0..k).map(|_| encode(input, rng) & mask).collect()).collect();
    let blocks = rows / 8;
    let mut fragment = vec![[0u32; 32]; rows * k * bits / 1024];
    for (row, line) in matrix.iter().enumerate() {
        for (k, element) in line.iter().enumerate() {
            let lane = 4 * (row % 8) + k / per % 4;
            let register = row / 8 + blocks * (k / (4 * per));
            fragment[register][lane] |= element << (bits * (k % per));
        }
    }
    (matrix, fragment)
}

/// Row and column of accumulator register `i`, lane `l`, half `e`.
fn place(sum: MmaSum, i: usize, lane: usize, e: usize) -> (usize, usize) {
    match sum {
        MmaSum::F16 => (lane / 4 + 8 * i, 2 * (lane % 4) + e),
        _ => (lane / 4 + 8 * (i / 2), 2 * (lane % 4) + i % 2),
    }
}

fn check(tier: Tier, k: u32, a: MmaInput, b: MmaInput, sum: MmaSum) -> bool {
    let Some(f) = implementation(tier, k, a, b, sum) else { return false };
    let mut rng = Rng(u64::from(k) * 31 + sum as u64 * 7 + a as u64);
    for _ in 0..20 {
        let (left, fa) = operand(16, k as usize, a, &mut rng);
        let (right, fb) = operand(8, k as usize, b, &mut rng);
        let [count, na, nb] = registers(k, a, sum);
        assert_eq!((fa.len(), fb.len()), (na, nb));
        let mut fc = vec![[0u32; 32]; count];
        for word in fc.iter_mut().flatten() {
            *word = match sum {
                MmaSum::F32 => rng.float().to_bits(),
                MmaSum::F16 => {
                    let half = |rng: &mut Rng| u32::from(half::f16::from_f32(rng.float()).to_bits());
                    half(&mut rng) | half(&mut rng) << 16
                }
                MmaSum::S32 => rng.next() << 1,
                MmaSum::S32Sat => i32::MAX as u32 - (rng.next() & 0xfff),
            };
        }
        let refs = |fragment: &'_ [Lanes32]| fragment.to_vec();
        let (fa, fb) = (refs(&fa), refs(&fb));
        let mut fd = vec![[0xdead_beefu32; 32]; count];
        f(
            &mut fd,
            &fa.iter().collect::<Vec<_>>(),
            &fb.iter().collect::<Vec<_>>(),
            &fc.iter().collect::<Vec<_>>(),
        );
        for i in 0..count {
            for lane in 0..32 {
                for e in 0..if sum == MmaSum::F16 { 2 } else { 1 } {
                    let (row, col) = place(sum, i, lane, e);
                    let pairs = left[row].iter().zip(&right[col]);
                    let (c, d) = (fc[i][lane], fd[i][lane]);
                    let context = format!("{tier:?} m16n8k{k} {a:?} {b:?} {sum:?} at ({row}, {col})");
                    match sum {
                        MmaSum::F32 | MmaSum::F16 => {
                            let half = |word: u32| half::f16::from_bits((word >> (16 * e)) as u16);
                            let start = if sum == MmaSum::F16 { half(c).to_f32() } else { f32::from_bits(c) };
                            let total = pairs.fold(start, |total, (x, y)| {
                                (value(a, *x) as f32).mul_add(value(b, *y) as f32, total)
                            });
                            if sum == MmaSum::F16 {
                                assert_eq!(half(d), half::f16::from_f32(total), "{context}");
                            } else {
                                assert_eq!(f32::from_bits(d), total, "{context}");
                            }
                        }
                        MmaSum::S32 | MmaSum::S32Sat => {
                            let products = pairs.map(|(x, y)| match a {
                                MmaInput::XorBits => i64::from((x ^ y) & 1),
                                MmaInput::AndBits => i64::from(x & y & 1),
                                _ => (value(a, *x) * value(b, *y)) as i64,
                            });
                            let total = i64::from(c as i32) + products.sum::<i64>();
                            let want = if sum == MmaSum::S32Sat {
                                total.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
                            } else {
                                total as i32
                            };
                            assert_eq!(d as i32, want, "{context}");
                        }
                    }
                }
            }
        }
    }
    true
}

#[test]
fn all_implementations_agree_with_the_reference() {
    use MmaInput::*;
    let inputs = [F16, Bf16, Tf32, E4m3, E5m2, S8, U8, S4, U4, AndBits, XorBits];
    for tier in Tier::all() {
        let mut checked = 0;
        for a in inputs {
            for b in inputs {
                for k in [4, 8, 16, 32, 64, 128, 256] {
                    for sum in [MmaSum::F32, MmaSum::F16, MmaSum::S32, MmaSum::S32Sat] {
                        checked += usize::from(check(tier, k, a, b, sum));
                    }
                }
            }
        }
        let wanted = match tier {
            // 7 of the wide floats, 16 of fp8, 16 integer ones with and without clamping, 4 of bits.
            Tier::Portable => 8 + 16 + 32 + 4,
            Tier::Avx2 => 8 + 16,
            Tier::Avx512 => 8,
        };
        assert_eq!(checked, wanted, "variants of {tier:?}");
    }
}

#[test]
fn special_values_pass_through() {
    for tier in Tier::all() {
        let f =
            implementation(tier, 16, MmaInput::F16, MmaInput::F16, MmaSum::F32).expect("every tier has f16");
        let infinity = u32::from(half::f16::INFINITY.to_bits());
        // Row 0, k 0 is infinite; column 0 has 1, column 1 has 0 there.
        let (mut a, mut b) = ([[0u32; 32]; 4], [[0u32; 32]; 2]);
        a[0][0] = infinity;
        b[0][0] = u32::from(half::f16::from_f32(1.0).to_bits());
        // A subnormal: the smallest f16, times 1, in row 1.
        a[0][4] = 1;
        let mut d = [[0u32; 32]; 4];
        let c = [[0u32; 32]; 4];
        f(&mut d, &a.each_ref(), &b.each_ref(), &c.each_ref());
        assert_eq!(f32::from_bits(d[0][0]), f32::INFINITY, "{tier:?}");
        assert!(f32::from_bits(d[1][0]).is_nan(), "{tier:?}: infinity times zero");
        assert_eq!(f32::from_bits(d[0][4]), 2f32.powi(-24), "{tier:?}");
    }
}

#[test]
fn double_precision() {
    let mut rng = Rng(5);
    for (blocks, steps) in [(1, 1), (2, 1), (2, 2), (2, 4)] {
        let mut fragment = |n: usize| -> Vec<[u64; 32]> {
            (0..n).map(|_| std::array::from_fn(|_| f64::from(rng.float()).to_bits())).collect()
        };
        let (a, b, c) = (fragment(blocks * steps), fragment(steps), fragment(2 * blocks));
        let mut d = vec![[0u64; 32]; 2 * blocks];
        mma_f64(&mut d, &a, &b, &c);
        for row in 0..8 * blocks {
            for col in 0..8 {
                let (register, lane) = (2 * (row / 8) + col % 2, 4 * (row % 8) + col / 2);
                let mut sum = f64::from_bits(c[register][lane]);
                for k in 0..4 * steps {
                    let x = f64::from_bits(a[row / 8 + blocks * (k / 4)][4 * (row % 8) + k % 4]);
                    let y = f64::from_bits(b[k / 4][4 * col + k % 4]);
                    sum = x.mul_add(y, sum);
                }
                assert_eq!(f64::from_bits(d[register][lane]), sum);
            }
        }
    }
}

/// A sparse A: rows of (k, element bits), and its fragment and metadata register as the ISA's tables have them.
fn sparse_operand(k: usize, input: MmaInput, selector: usize, rng: &mut Rng) -> SparseOperand {
    let bits = width(input);
    // A choice is of two places among four, of units of so many elements (of half an element).
    let (stored, fragment) = operand(16, k / 2, input, rng);
    let mut rows = Vec::new();
    let mut metadata = [0u32; 32];
    metadata.iter_mut().for_each(|word| *word = rng.next());
    for (row, values) in stored.iter().enumerate() {
        let (mut places, mut code) = (Vec::new(), Vec::new());
        let units = match bits {
            4 => k / 2,
            32 => 2 * k,
            _ => k,
        };
        for chunk in 0..units / 4 {
            let (first, second) = if bits == 32 {
                [(0, 1), (2, 3)][rng.next() as usize % 2]
            } else {
                [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)][rng.next() as usize % 6]
            };
            code.extend([first as u64, second as u64]);
            match bits {
                4 => places.extend([first, second].into_iter().flat_map(|u| {
                    let at = 8 * chunk + 2 * u;
                    [at, at + 1]
                })),
                32 => places.push(2 * chunk + first / 2),
                _ => places.extend([4 * chunk + first, 4 * chunk + second]),
            }
        }
        rows.push(places.into_iter().zip(values.iter().copied()).collect());
        let all = code.iter().rev().fold(0u128, |all, two| all << 2 | u128::from(*two));
        let piece_bits = if bits >= 16 { 16 } else { 32 };
        let pieces = 2 * code.len() / piece_bits;
        for piece in 0..pieces {
            let word = (all >> (piece_bits * piece)) as u32;
            if bits >= 16 {
                // Both rows of a lane share its register; as many lanes as there are pieces.
                let slot = &mut metadata[4 * (row % 8) + selector * pieces + piece];
                let shift = 16 * (row / 8);
                *slot = *slot & !(0xffff << shift) | (word & 0xffff) << shift;
            } else {
                // Rows 0 to 7 in even lanes, the others in odd ones.
                metadata[4 * (row % 8) + 2 * selector + 2 * piece + row / 8] = word;
            }
        }
    }
    SparseOperand { rows, fragment, metadata }
}

struct SparseOperand {
    rows: Vec<Vec<(usize, u32)>>,
    fragment: Vec<Lanes32>,
    metadata: Lanes32,
}

fn check_sparse(k: u32, a: MmaInput, b: MmaInput, sum: MmaSum) -> bool {
    let Some((f, selectors)) = super::sparse(k, a, b, sum) else { return false };
    let mut rng = Rng(u64::from(k) * 131 + sum as u64 * 17 + a as u64);
    for round in 0..12 {
        let selector = round % usize::from(selectors);
        let SparseOperand { rows, fragment, metadata } = sparse_operand(k as usize, a, selector, &mut rng);
        let (right, fb) = operand(8, k as usize, b, &mut rng);
        let halves = sum == MmaSum::F16;
        let mut fc = vec![[0u32; 32]; if halves { 2 } else { 4 }];
        for word in fc.iter_mut().flatten() {
            *word = match sum {
                MmaSum::F32 => rng.float().to_bits(),
                MmaSum::F16 => u32::from(half::f16::from_f32(rng.float()).to_bits()) * 0x1_0001,
                MmaSum::S32 => rng.next(),
                MmaSum::S32Sat => i32::MAX as u32 - (rng.next() & 0xff),
            };
        }
        let selector = [selector as u32; 32];
        let fa: Vec<&Lanes32> = fragment.iter().chain([&metadata, &selector]).collect();
        let mut fd = vec![[0xdead_beefu32; 32]; fc.len()];
        f(&mut fd, &fa, &fb.iter().collect::<Vec<_>>(), &fc.iter().collect::<Vec<_>>());
        for (i, (fd, fc)) in fd.iter().zip(&fc).enumerate() {
            for lane in 0..32 {
                for e in 0..if halves { 2 } else { 1 } {
                    let (row, col) = place(sum, i, lane, e);
                    let pairs = rows[row].iter().map(|&(k, x)| (value(a, x), value(b, right[col][k])));
                    let context = format!("m16n8k{k} {a:?} {b:?} {sum:?} at ({row}, {col})");
                    let half = |word: u32| half::f16::from_bits((word >> (16 * e)) as u16);
                    match sum {
                        MmaSum::F32 => {
                            let start = f32::from_bits(fc[lane]);
                            let total = pairs.fold(start, |t, (x, y)| (x as f32).mul_add(y as f32, t));
                            assert_eq!(f32::from_bits(fd[lane]), total, "{context}");
                        }
                        MmaSum::F16 => {
                            let start = half(fc[lane]).to_f32();
                            let total = pairs.fold(start, |t, (x, y)| (x as f32).mul_add(y as f32, t));
                            assert_eq!(half(fd[lane]), half::f16::from_f32(total), "{context}");
                        }
                        MmaSum::S32 | MmaSum::S32Sat => {
                            let total =
                                i64::from(fc[lane] as i32) + pairs.map(|(x, y)| (x * y) as i64).sum::<i64>();
                            let clamped = total.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
                            let want = if sum == MmaSum::S32Sat { clamped } else { total as i32 };
                            assert_eq!(fd[lane] as i32, want, "{context}");
                        }
                    }
                }
            }
        }
    }
    true
}

#[test]
fn sparse_products_agree_with_the_reference() {
    use MmaInput::*;
    let mut checked = 0;
    for a in [F16, Bf16, Tf32, E4m3, E5m2, S8, U8, S4, U4, AndBits] {
        for b in [F16, Bf16, Tf32, E4m3, E5m2, S8, U8, S4, U4, AndBits] {
            for k in [4, 8, 16, 32, 64, 128, 256] {
                for sum in [MmaSum::F32, MmaSum::F16, MmaSum::S32, MmaSum::S32Sat] {
                    checked += usize::from(check_sparse(k, a, b, sum));
                }
            }
        }
    }
    // Two depths of f16 (with two sums), bf16 and tf32; fp8 with two sums; integers of two depths and two kinds of sums.
    assert_eq!(checked, 4 + 2 + 2 + 8 + 2 * 2 * 8);
}

#[test]
fn what_is_not_stored_meets_nothing() {
    let (f, _) = super::sparse(16, MmaInput::F16, MmaInput::F16, MmaSum::F32).expect("it exists");
    // All of A is one; the first two of each four are stored, and B is infinite where the others would be.
    let one = u32::from(half::f16::ONE.to_bits()) * 0x1_0001;
    let infinity = u32::from(half::f16::INFINITY.to_bits()) * 0x1_0001;
    let (a, metadata, selector) = ([[one; 32]; 2], [0x4444_4444; 32], [0; 32]);
    // Lane 4c + q has k = 2q, 2q + 1 of column c: even q are stored.
    let b: Lanes32 = std::array::from_fn(|lane| if lane % 2 == 0 { one } else { infinity });
    let (mut d, c) = ([[0u32; 32]; 4], [[0u32; 32]; 4]);
    f(&mut d, &[&a[0], &a[1], &metadata, &selector], &[&b, &b], &c.each_ref());
    assert!(d.as_flattened().iter().all(|&word| f32::from_bits(word) == 8.0), "{d:?}");
}
