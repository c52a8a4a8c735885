//! Products of `wgmma`: 16 rows times up to 256 columns at once, with f32 sums.
//!
//! B is unpacked into a *panel* that many products share. For each 8 columns (a tile) it has, for each k, the even columns and then the
//! odd ones, as f32: what the accumulators' layout wants (see `avx512.rs`). A is spread once for a product, so that the loop over tiles is loads
//! and fused multiply-adds only:
//!
//! ```text
//! panel[tile][k]        [c0 c2 c4 c6 | c1 c3 c5 c7]
//! spread[k][rows]       A[row][k] in the four places of each row: 16 values are four rows
//! D register 2r+p       [4 rows x 4 columns of parity p] += spread[k][r] * (panel half p, four times)
//! ```
//! Each sum has k ascending, one fused multiply-add per product: bit for bit what `mma` computes.

use super::Lanes32;
use super::portable::{Bf16, E4m3, E5m2, Element, F16, Tf32};
use super::{MmaInput, MmaSum, Tier};

/// The kernels of one combination of types.
#[derive(Clone, Copy, Debug)]
pub struct Warpgroup {
    /// Depth of a product.
    pub k: usize,
    /// Unpacks the two registers of a B tile into `8 * k` floats.
    pub unpack: fn(&[Lanes32; 2], &mut [f32]),
    /// Spreads A's four registers over lanes.
    pub spread: fn(&[Lanes32; 4], &mut Operand),
    /// `multiply(d, products, fresh)`: D registers of all tiles, and A and B of products that all add to them, one after the other;
    /// where `fresh`, D is overwritten. More than one only where `merges`.
    pub multiply: fn(&mut [Lanes32], &[(&Operand, &[f32])], bool),
    /// Sums stay as they are between products: f32.
    pub merges: bool,
}

/// A of one product: as much of it is used as the type's depth.
pub type Operand = Spread<32>;

/// A spread over lanes: for each k, rows 0 to 7 and rows 8 to 15.
#[repr(align(64))]
#[derive(Clone, Debug)]
pub struct Spread<const K: usize>(pub(super) [[[f32; 32]; 2]; K]);

impl<const K: usize> Spread<K> {
    /// Room for one.
    pub fn zero() -> Spread<K> {
        Spread([[[0.0; 32]; 2]; K])
    }
}

/// The kernels of A and B types with sums of type `sum`, if this CPU has fast ones.
pub fn warpgroup(a: MmaInput, b: MmaInput, sum: MmaSum) -> Option<Warpgroup> {
    let tier = Tier::all().into_iter().next_back()?;
    by_tier(tier, a, b, sum)
}

fn by_tier(tier: Tier, a: MmaInput, b: MmaInput, sum: MmaSum) -> Option<Warpgroup> {
    use MmaInput as I;
    let half = match sum {
        MmaSum::F32 => false,
        MmaSum::F16 => true,
        MmaSum::S32 | MmaSum::S32Sat => return None,
    };
    Some(match (a, b) {
        (I::F16, I::F16) => kernels::<F16, F16, 16>(tier, half),
        (I::Bf16, I::Bf16) => kernels::<Bf16, Bf16, 16>(tier, half),
        (I::Tf32, I::Tf32) => kernels::<Tf32, Tf32, 8>(tier, half),
        (I::E4m3, I::E4m3) => kernels::<E4m3, E4m3, 32>(tier, half),
        (I::E4m3, I::E5m2) => kernels::<E4m3, E5m2, 32>(tier, half),
        (I::E5m2, I::E4m3) => kernels::<E5m2, E4m3, 32>(tier, half),
        (I::E5m2, I::E5m2) => kernels::<E5m2, E5m2, 32>(tier, half),
        _ => return None,
    })
}

fn kernels<A: Element<Value = f32>, B: Element<Value = f32>, const K: usize>(
    tier: Tier,
    half: bool,
) -> Warpgroup {
    #[cfg(target_arch = "x86_64")]
    {
        use super::{avx2, avx512};
        if tier == Tier::Avx512 {
            return avx512::wide::kernels::<A, B, K>(half);
        }
        if tier == Tier::Avx2 {
            let multiply = if half { avx2::wide::<K, true> } else { avx2::wide::<K, false> };
            return Warpgroup { k: K, unpack: unpack::<B>, spread: spread::<A>, multiply, merges: !half };
        }
    }
    let _ = tier;
    let multiply = if half { multiply::<K, true> } else { multiply::<K, false> };
    Warpgroup { k: K, unpack: unpack::<B>, spread: spread::<A>, multiply, merges: !half }
}

/// Register i, element e of a B tile: k = PER·q + e + 4·PER·i, column lane / 4.
pub(super) fn unpack<B: Element<Value = f32>>(b: &[Lanes32; 2], panel: &mut [f32]) {
    for (i, register) in b.iter().enumerate() {
        for (lane, &word) in register.iter().enumerate() {
            let (column, q) = (lane / 4, lane % 4);
            for e in 0..B::PER {
                let k = B::PER * q + e + 4 * B::PER * i;
                panel[8 * k + 4 * (column % 2) + column / 2] = B::get(word, e);
            }
        }
    }
}

/// Register i, element e of A: row lane / 4 + 8·(i % 2), k = PER·q + e + 4·PER·(i / 2).
pub(super) fn spread<A: Element<Value = f32>>(a: &[Lanes32; 4], out: &mut Operand) {
    for (i, register) in a.iter().enumerate() {
        for (lane, &word) in register.iter().enumerate() {
            let (row, q) = (lane / 4, lane % 4);
            for e in 0..A::PER {
                let k = A::PER * q + e + 4 * A::PER * (i / 2);
                out.0[k][i % 2][4 * row..4 * row + 4].fill(A::get(word, e));
            }
        }
    }
}

/// The portable kernel; also what the compiler makes of it for AVX2.
#[inline(always)]
pub(super) fn multiply<const K: usize, const HALF: bool>(
    d: &mut [Lanes32],
    products: &[(&Operand, &[f32])],
    fresh: bool,
) {
    for (number, (rows, panel)) in products.iter().enumerate() {
        multiply_one::<K, HALF>(d, rows, panel, fresh && number == 0);
    }
}

#[inline(always)]
fn multiply_one<const K: usize, const HALF: bool>(
    d: &mut [Lanes32],
    rows: &Operand,
    panel: &[f32],
    fresh: bool,
) {
    let per = if HALF { 2 } else { 4 };
    for (d, columns) in d.chunks_exact_mut(per).zip(panel.chunks_exact(8 * K)) {
        for r in 0..2 {
            let mut sums = [[0f32; 32]; 2];
            if !fresh {
                for (p, sums) in sums.iter_mut().enumerate() {
                    for (lane, sum) in sums.iter_mut().enumerate() {
                        *sum = if HALF {
                            half::f16::from_bits((d[r][lane] >> (16 * p)) as u16).to_f32()
                        } else {
                            f32::from_bits(d[2 * r + p][lane])
                        };
                    }
                }
            }
            for (k, rows) in rows.0.iter().take(K).enumerate() {
                for (p, sums) in sums.iter_mut().enumerate() {
                    let four = &columns[8 * k + 4 * p..][..4];
                    for (lane, sum) in sums.iter_mut().enumerate() {
                        *sum = rows[r][lane].mul_add(four[lane % 4], *sum);
                    }
                }
            }
            for lane in 0..32 {
                if HALF {
                    let bits = |p: usize| u32::from(half::f16::from_f32(sums[p][lane]).to_bits());
                    d[r][lane] = bits(0) | bits(1) << 16;
                } else {
                    d[2 * r][lane] = sums[0][lane].to_bits();
                    d[2 * r + 1][lane] = sums[1][lane].to_bits();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(seed: &mut u32) -> u32 {
        *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *seed
    }

    /// Every tier against `mma`, tile by tile: the same bits.
    #[test]
    fn products_are_those_of_mma() {
        use MmaInput as I;
        let cases = [
            (I::F16, I::F16),
            (I::Bf16, I::Bf16),
            (I::Tf32, I::Tf32),
            (I::E4m3, I::E5m2),
            (I::E5m2, I::E5m2),
        ];
        for (a_type, b_type) in cases {
            for sum in [MmaSum::F32, MmaSum::F16] {
                if sum == MmaSum::F16 && matches!(a_type, I::Bf16 | I::Tf32) {
                    continue;
                }
                for tier in Tier::all() {
                    let kernel = by_tier(tier, a_type, b_type, sum).unwrap();
                    let mma = super::super::select(kernel.k as u32, a_type, b_type, sum).unwrap();
                    for fresh in [false, true] {
                        check(&kernel, mma, (a_type, sum), fresh);
                    }
                }
            }
        }
    }

    fn check(kernel: &Warpgroup, mma: super::super::MmaFn, (ty, sum): (MmaInput, MmaSum), fresh: bool) {
        // Small exponents, so that nothing overflows and no NaN appears.
        let keep = match ty {
            MmaInput::F16 => 0xbbff_bbff,
            MmaInput::Bf16 | MmaInput::Tf32 => 0xbfff_bfff,
            _ => 0xb7b7_b7b7,
        };
        let mut seed = 7;
        let mut register = |keep: u32| -> Lanes32 { std::array::from_fn(|_| word(&mut seed) & keep) };
        let per = if sum == MmaSum::F16 { 2 } else { 4 };
        let tiles = 3;
        let a: [Lanes32; 4] = std::array::from_fn(|_| register(keep));
        let b: Vec<[Lanes32; 2]> = (0..tiles).map(|_| [register(keep), register(keep)]).collect();
        let sums = if per == 2 { 0xbbff_bbff } else { 0xbfff_ffff };
        let mut d: Vec<Lanes32> = (0..per * tiles).map(|_| register(sums)).collect();
        let mut want = d.clone();
        for (tile, d) in want.chunks_exact_mut(per).enumerate() {
            let c = if fresh { vec![[0; 32]; per] } else { d.to_vec() };
            let c: Vec<&Lanes32> = c.iter().collect();
            mma(d, &[&a[0], &a[1], &a[2], &a[3]], &[&b[tile][0], &b[tile][1]], &c);
        }
        let mut panel = vec![0.0; tiles * 8 * kernel.k];
        for (b, panel) in b.iter().zip(panel.chunks_exact_mut(8 * kernel.k)) {
            (kernel.unpack)(b, panel);
        }
        let mut rows = Spread::zero();
        (kernel.spread)(&a, &mut rows);
        let before = d.clone();
        (kernel.multiply)(&mut d, &[(&rows, &panel)], fresh);
        assert_eq!(d, want, "{ty:?} {sum:?} fresh {fresh}");
        if kernel.merges {
            (kernel.multiply)(&mut d, &[(&rows, &panel)], false);
            let mut both = before;
            (kernel.multiply)(&mut both, &[(&rows, &panel), (&rows, &panel)], fresh);
            assert_eq!(d, both, "two products at once, {ty:?} fresh {fresh}");
        }
    }
}
