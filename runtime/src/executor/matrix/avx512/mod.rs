//! `mma.sync.m16n8` with f32 accumulation, 16 lanes at a time.
//!
//! Fragments lie well for this: a register of A is an 8x8 block in row-major order (8 rows of 16 bytes), a register of B the same of
//! Bᵀ, and an accumulator register the even or odd columns of an 8x8 block, four a row. So with one 128-bit lane a row:
//!
//! ```text
//! accumulator (4 rows x 4 columns of one parity)   += A[row][k] in all four places of its lane   (vpermilps)
//!                                                   * B[k][0,2,4,6] or B[k][1,3,5,7] in all lanes (vbroadcastf32x4)
//! ```
//!
//! 8 accumulators hold the whole 16x8; C is loaded and D stored as they are. B is transposed once through a buffer on the stack,
//! so that its broadcasts are loads and leave the shuffle port to A. 128 fused multiply-adds, 64 shuffles, 32 loads.
//!
//! # Safety
//! Unsafe here is of two kinds: calling functions that need CPU features, whose only callers are pointers that `super::select` hands
//! out after `is_x86_feature_detected!` said yes to every feature named in `#[target_feature]`; and unaligned loads and stores, each
//! through a reference to an array of exactly the loaded size.

pub(super) mod wide;

use std::arch::x86_64::*;

use super::Lanes32;
use super::batch::Columns;

// The types of A and B, which differ in how a block becomes f32.
const F16: u8 = 0;
const BF16: u8 = 1;
const TF32: u8 = 2;

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn load_half(register: &Lanes32, half: usize) -> __m512i {
    let words: &[u32; 16] = register[16 * half..][..16].try_into().expect("16 words were sliced");
    // SAFETY: 64 bytes behind a reference to 64 bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn store_half(register: &mut Lanes32, half: usize, value: __m512i) {
    let words: &mut [u32; 16] = (&mut register[16 * half..][..16]).try_into().expect("16 words were sliced");
    // SAFETY: 64 bytes behind a reference to 64 bytes; the store needs no alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), value) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn widen<const INPUT: u8>(halves: __m256i) -> __m512 {
    if INPUT == F16 {
        _mm512_cvtph_ps(halves)
    } else {
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn tf32(words: __m512i) -> __m512 {
    _mm512_castsi512_ps(_mm512_and_si512(words, _mm512_set1_epi32(0xffff_e000_u32 as i32)))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn store_columns(columns: &mut [[f32; 8]; 16], at: usize, value: __m512) {
    let pair: &mut [[f32; 8]; 2] = (&mut columns[at..][..2]).try_into().expect("two rows were sliced");
    // SAFETY: 64 bytes behind a reference to 64 bytes.
    unsafe { _mm512_storeu_ps(pair.as_mut_ptr().cast(), value) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn broadcast(columns: &Columns, k: usize, parity: usize) -> __m512 {
    let four: &[f32; 4] = columns.0[k][4 * parity..][..4].try_into().expect("four floats were sliced");
    // SAFETY: 16 bytes behind a reference to 16 bytes.
    _mm512_broadcast_f32x4(unsafe { _mm_loadu_ps(four.as_ptr()) })
}

/// `[n][k]` to `[k][n]` with even n before odd n, for four k of 16-bit elements: indices into the 64 halves of two vectors.
const fn transpose16(first_k: u16) -> [u16; 32] {
    let mut index = [0; 32];
    let mut at = 0;
    while at < 32 {
        let (k, n) = (first_k + at / 8, at % 8);
        let col = if n < 4 { 2 * n } else { 2 * (n - 4) + 1 };
        index[at as usize] = 8 * col + k;
        at += 1;
    }
    index
}

/// The same for two k of 32-bit elements: indices into the 32 words of two vectors.
const fn transpose32(first_k: u32) -> [u32; 16] {
    let mut index = [0; 16];
    let mut at = 0;
    while at < 16 {
        let (k, n) = (first_k + at / 8, at % 8);
        let col = if n < 4 { 2 * n } else { 2 * (n - 4) + 1 };
        index[at as usize] = 4 * col + k;
        at += 1;
    }
    index
}

const TRANSPOSE_16: [[u16; 32]; 2] = [transpose16(0), transpose16(4)];
const TRANSPOSE_32: [[u32; 16]; 2] = [transpose32(0), transpose32(2)];

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn transpose<const INPUT: u8>(b: &[&Lanes32], columns: &mut [[f32; 8]; 16]) {
    for (i, register) in b.iter().enumerate() {
        let (low, high) = (load_half(register, 0), load_half(register, 1));
        for part in 0..2 {
            if INPUT == TF32 {
                // SAFETY: 64 bytes behind a reference to 64 bytes.
                let index = unsafe { _mm512_loadu_si512(TRANSPOSE_32[part].as_ptr().cast()) };
                let picked = _mm512_permutex2var_epi32(low, index, high);
                store_columns(columns, 4 * i + 2 * part, tf32(picked));
            } else {
                // SAFETY: 64 bytes behind a reference to 64 bytes.
                let index = unsafe { _mm512_loadu_si512(TRANSPOSE_16[part].as_ptr().cast()) };
                let picked = _mm512_permutex2var_epi16(low, index, high);
                let k = 8 * i + 4 * part;
                store_columns(columns, k, widen::<INPUT>(_mm512_castsi512_si256(picked)));
                store_columns(columns, k + 2, widen::<INPUT>(_mm512_extracti64x4_epi64::<1>(picked)));
            }
        }
    }
}

/// The accumulators as [register][half]: row 8·(register/2) + 4·half + lane/4, column 2·(lane%4) + register%2.
type Sums = [[__m512; 2]; 4];

/// One step of four k for four rows: `a` has a row in each 128-bit lane.
macro_rules! four_k {
    ($sums:ident, $columns:ident, $a:expr, $k:expr, $rows:expr, $half:expr) => {{
        let a = $a;
        four_k!(@one $sums, $columns, _mm512_permute_ps::<0x00>(a), $k, $rows, $half);
        four_k!(@one $sums, $columns, _mm512_permute_ps::<0x55>(a), $k + 1, $rows, $half);
        four_k!(@one $sums, $columns, _mm512_permute_ps::<0xaa>(a), $k + 2, $rows, $half);
        four_k!(@one $sums, $columns, _mm512_permute_ps::<0xff>(a), $k + 3, $rows, $half);
    }};
    (@one $sums:ident, $columns:ident, $a:expr, $k:expr, $rows:expr, $half:expr) => {{
        let a = $a;
        $sums[2 * $rows][$half] = _mm512_fmadd_ps(a, broadcast($columns, $k, 0), $sums[2 * $rows][$half]);
        $sums[2 * $rows + 1][$half] = _mm512_fmadd_ps(a, broadcast($columns, $k, 1), $sums[2 * $rows + 1][$half]);
    }};
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn multiply<const INPUT: u8>(sums: &mut Sums, a: &[&Lanes32], columns: &Columns) {
    // Rows' low and high quarters: k 0..4 of four rows, then k 4..8.
    let gather = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    for step in 0..a.len() / 2 {
        if INPUT == TF32 {
            for rows in 0..2 {
                for half in 0..2 {
                    four_k!(sums, columns, tf32(load_half(a[2 * step + rows], half)), 4 * step, rows, half);
                }
            }
            continue;
        }
        let mut blocks = [[[_mm512_setzero_ps(); 2]; 2]; 2];
        for rows in 0..2 {
            for half in 0..2 {
                let block = _mm512_permutexvar_epi64(gather, load_half(a[2 * step + rows], half));
                blocks[0][rows][half] = widen::<INPUT>(_mm512_castsi512_si256(block));
                blocks[1][rows][half] = widen::<INPUT>(_mm512_extracti64x4_epi64::<1>(block));
            }
        }
        for (part, blocks) in blocks.iter().enumerate() {
            for rows in 0..2 {
                for half in 0..2 {
                    four_k!(sums, columns, blocks[rows][half], 8 * step + 4 * part, rows, half);
                }
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn run<const INPUT: u8, const HALF_SUMS: bool>(
    d: &mut [Lanes32],
    a: &[&Lanes32],
    b: &[&Lanes32],
    c: &[&Lanes32],
) {
    let mut columns = Columns([[0.0; 8]; 16]);
    transpose::<INPUT>(b, &mut columns.0);
    let mut sums: Sums = [[_mm512_setzero_ps(); 2]; 4];
    for (i, register) in c.iter().enumerate() {
        for half in 0..2 {
            let words = load_half(register, half);
            if HALF_SUMS {
                // Register i is row block i, both parities packed.
                sums[2 * i][half] = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(words));
                sums[2 * i + 1][half] =
                    _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(words)));
            } else {
                sums[i][half] = _mm512_castsi512_ps(words);
            }
        }
    }
    multiply::<INPUT>(&mut sums, a, &columns);
    for (i, register) in d.iter_mut().enumerate() {
        for half in 0..2 {
            let words = if HALF_SUMS {
                let even =
                    _mm512_cvtepu16_epi32(_mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(sums[2 * i][half]));
                let odd = _mm512_cvtepu16_epi32(_mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(
                    sums[2 * i + 1][half],
                ));
                _mm512_or_si512(even, _mm512_slli_epi32::<16>(odd))
            } else {
                _mm512_castps_si512(sums[i][half])
            };
            store_half(register, half, words);
        }
    }
}

/// Whether this CPU has what the kernels of this file need.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("f16c")
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
