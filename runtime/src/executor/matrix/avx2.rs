//! `mma.sync.m16n8` with f32 accumulation, 8 lanes at a time, for CPUs with AVX2, FMA and F16C.
//!
//! The same arrangement as the 512-bit kernels, two rows a vector instead of four; the two row blocks are done one after the other
//! so that 8 accumulators stay in registers.
//!
//! # Safety
//! As in the 512-bit kernels: feature-dependent functions are reached only through pointers that `super::select` hands out after
//! detection, and every load and store goes through a reference to an array of exactly its size.

use std::arch::x86_64::*;

use super::Lanes32;
use super::warpgroup::Operand;

const F16: u8 = 0;
const BF16: u8 = 1;
const TF32: u8 = 2;

/// B transposed: for each k the even columns, then the odd ones.
#[repr(align(32))]
struct Columns([[f32; 8]; 16]);

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load_quarter(register: &Lanes32, quarter: usize) -> __m256i {
    let words: &[u32; 8] = register[8 * quarter..][..8].try_into().expect("8 words were sliced");
    // SAFETY: 32 bytes behind a reference to 32 bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn store_quarter(register: &mut Lanes32, quarter: usize, value: __m256i) {
    let words: &mut [u32; 8] = (&mut register[8 * quarter..][..8]).try_into().expect("8 words were sliced");
    // SAFETY: 32 bytes behind a reference to 32 bytes; the store needs no alignment.
    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), value) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn widen<const INPUT: u8>(halves: __m128i) -> __m256 {
    if INPUT == F16 {
        _mm256_cvtph_ps(halves)
    } else {
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn tf32(words: __m256i) -> __m256 {
    _mm256_castsi256_ps(_mm256_and_si256(words, _mm256_set1_epi32(0xffff_e000_u32 as i32)))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn broadcast(columns: &Columns, k: usize, parity: usize) -> __m256 {
    let four: &[f32; 4] = columns.0[k][4 * parity..][..4].try_into().expect("four floats were sliced");
    // SAFETY: 16 bytes behind a reference to 16 bytes.
    unsafe { _mm256_broadcast_ps(&*four.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn transpose<const INPUT: u8>(b: &[&Lanes32], columns: &mut Columns) {
    for (i, register) in b.iter().enumerate() {
        for quarter in 0..4 {
            let words = load_quarter(register, quarter);
            // Two columns of B with 8 (16-bit) or 4 (tf32) k each.
            let (low, high, depth) = if INPUT == TF32 {
                let both = tf32(words);
                (both, both, 4)
            } else {
                let low = widen::<INPUT>(_mm256_castsi256_si128(words));
                (low, widen::<INPUT>(_mm256_extracti128_si256::<1>(words)), 8)
            };
            let mut even = [0f32; 8];
            let mut odd = [0f32; 8];
            // SAFETY: 32 bytes behind references to 32 bytes.
            unsafe {
                _mm256_storeu_ps(even.as_mut_ptr(), low);
                _mm256_storeu_ps(odd.as_mut_ptr(), high);
            }
            for k in 0..depth {
                columns.0[depth * i + k][quarter] = even[k];
                columns.0[depth * i + k][4 + quarter] = if INPUT == TF32 { odd[4 + k] } else { odd[k] };
            }
        }
    }
}

/// The accumulators of one row block as [parity][quarter]: row 2·quarter + lane/4, column 2·(lane%4) + parity.
type Sums = [[__m256; 4]; 2];

/// One step of four k for two rows: `a` has a row in each 128-bit lane.
macro_rules! four_k {
    ($sums:ident, $columns:ident, $a:expr, $k:expr, $quarter:expr) => {{
        let a = $a;
        four_k!(@one $sums, $columns, _mm256_permute_ps::<0x00>(a), $k, $quarter);
        four_k!(@one $sums, $columns, _mm256_permute_ps::<0x55>(a), $k + 1, $quarter);
        four_k!(@one $sums, $columns, _mm256_permute_ps::<0xaa>(a), $k + 2, $quarter);
        four_k!(@one $sums, $columns, _mm256_permute_ps::<0xff>(a), $k + 3, $quarter);
    }};
    (@one $sums:ident, $columns:ident, $a:expr, $k:expr, $quarter:expr) => {{
        let a = $a;
        $sums[0][$quarter] = _mm256_fmadd_ps(a, broadcast($columns, $k, 0), $sums[0][$quarter]);
        $sums[1][$quarter] = _mm256_fmadd_ps(a, broadcast($columns, $k, 1), $sums[1][$quarter]);
    }};
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn multiply<const INPUT: u8>(sums: &mut Sums, a: &[&Lanes32], rows: usize, columns: &Columns) {
    for step in 0..a.len() / 2 {
        let register = a[2 * step + rows];
        for quarter in 0..4 {
            let words = load_quarter(register, quarter);
            if INPUT == TF32 {
                four_k!(sums, columns, tf32(words), 4 * step, quarter);
            } else {
                // Two rows' k 0..4, then their k 4..8.
                let block = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
                let low = widen::<INPUT>(_mm256_castsi256_si128(block));
                four_k!(sums, columns, low, 8 * step, quarter);
                let high = widen::<INPUT>(_mm256_extracti128_si256::<1>(block));
                four_k!(sums, columns, high, 8 * step + 4, quarter);
            }
        }
    }
}

/// The halves of one parity of 8 words, as f32.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn unpack_parity(words: __m256i, parity: usize) -> __m256 {
    let words = if parity == 0 {
        _mm256_and_si256(words, _mm256_set1_epi32(0xffff))
    } else {
        _mm256_srli_epi32::<16>(words)
    };
    let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(words, words));
    _mm256_cvtph_ps(_mm256_castsi256_si128(packed))
}

#[target_feature(enable = "avx2,fma,f16c")]
fn run<const INPUT: u8, const HALF_SUMS: bool>(
    d: &mut [Lanes32],
    a: &[&Lanes32],
    b: &[&Lanes32],
    c: &[&Lanes32],
) {
    let mut columns = Columns([[0.0; 8]; 16]);
    transpose::<INPUT>(b, &mut columns);
    for rows in 0..2 {
        let mut sums: Sums = [[_mm256_setzero_ps(); 4]; 2];
        for (parity, sums) in sums.iter_mut().enumerate() {
            for (quarter, sum) in sums.iter_mut().enumerate() {
                *sum = if HALF_SUMS {
                    unpack_parity(load_quarter(c[rows], quarter), parity)
                } else {
                    _mm256_castsi256_ps(load_quarter(c[2 * rows + parity], quarter))
                };
            }
        }
        multiply::<INPUT>(&mut sums, a, rows, &columns);
        for quarter in 0..4 {
            if HALF_SUMS {
                let even =
                    _mm256_cvtepu16_epi32(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(sums[0][quarter]));
                let odd =
                    _mm256_cvtepu16_epi32(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(sums[1][quarter]));
                store_quarter(&mut d[rows], quarter, _mm256_or_si256(even, _mm256_slli_epi32::<16>(odd)));
            } else {
                for parity in 0..2 {
                    store_quarter(
                        &mut d[2 * rows + parity],
                        quarter,
                        _mm256_castps_si256(sums[parity][quarter]),
                    );
                }
            }
        }
    }
}

/// Whether this CPU has what the kernels of this file need.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

/// The plain Rust kernels, compiled for a CPU whose fused multiply-add is an instruction: without it, it is a library call of
/// some 50 ns. For the types that have no kernel of their own.
pub(super) mod fused {
    use super::super::Lanes32;
    use super::super::portable::{self, Element};

    #[target_feature(enable = "avx2,fma,f16c")]
    fn float_fused<A: Element<Value = f32>, B: Element<Value = f32>, const K: usize>(
        d: &mut [Lanes32],
        a: &[&Lanes32],
        b: &[&Lanes32],
        c: &[&Lanes32],
    ) {
        portable::float::<A, B, K>(d, a, b, c);
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    fn half_sum_fused<A: Element<Value = f32>, B: Element<Value = f32>, const K: usize>(
        d: &mut [Lanes32],
        a: &[&Lanes32],
        b: &[&Lanes32],
        c: &[&Lanes32],
    ) {
        portable::half_sum::<A, B, K>(d, a, b, c);
    }

    pub(in super::super) fn float<A: Element<Value = f32>, B: Element<Value = f32>, const K: usize>(
        d: &mut [Lanes32],
        a: &[&Lanes32],
        b: &[&Lanes32],
        c: &[&Lanes32],
    ) {
        // SAFETY: `super::select` hands this out only where `available()` holds.
        unsafe { float_fused::<A, B, K>(d, a, b, c) }
    }

    pub(in super::super) fn half_sum<A: Element<Value = f32>, B: Element<Value = f32>, const K: usize>(
        d: &mut [Lanes32],
        a: &[&Lanes32],
        b: &[&Lanes32],
        c: &[&Lanes32],
    ) {
        // SAFETY: `super::select` hands this out only where `available()` holds.
        unsafe { half_sum_fused::<A, B, K>(d, a, b, c) }
    }
}

macro_rules! entry {
    ($($name:ident: $input:ident, $half:literal;)+) => {
        $(pub(super) fn $name(d: &mut [Lanes32], a: &[&Lanes32], b: &[&Lanes32], c: &[&Lanes32]) {
            // SAFETY: `super::select` hands this out only where `available()` holds.
            unsafe { run::<$input, $half>(d, a, b, c) }
        })+
    };
}

entry! {
    f16_f32: F16, false;
    bf16_f32: BF16, false;
    tf32_f32: TF32, false;
    f16_f16: F16, true;
}

/// Products of `wgmma`: the plain kernel, compiled for this tier.
pub(super) fn wide<const K: usize, const HALF: bool>(
    d: &mut [Lanes32],
    products: &[(&Operand, &[f32])],
    fresh: bool,
) {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn run<const K: usize, const HALF: bool>(
        d: &mut [Lanes32],
        products: &[(&Operand, &[f32])],
        fresh: bool,
    ) {
        super::warpgroup::multiply::<K, HALF>(d, products, fresh);
    }
    // SAFETY: `super::warpgroup` hands this out only where `available()` holds.
    unsafe { run::<K, HALF>(d, products, fresh) }
}
