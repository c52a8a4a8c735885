//! Products of `wgmma`, 16 lanes at a time: two tiles of 8 columns and all 16 rows are 16 accumulators.
//!
//! # Safety
//! As in the parent module.

use std::arch::x86_64::*;

use super::super::Lanes32;
use super::super::portable::Element;
use super::super::warpgroup::{Spread, Warpgroup, spread};
use super::{load_half, store_half};

/// The kernels for CPUs where [`super::available`] holds.
pub(in super::super) fn kernels<A: Element<Value = f32>, B: Element<Value = f32>, const K: usize>(
    half: bool,
) -> Warpgroup {
    let multiply = if half { multiply::<A, K, true> } else { multiply::<A, K, false> };
    Warpgroup { k: K, unpack: unpack::<B>, multiply }
}

fn unpack<B: Element<Value = f32>>(b: &[Lanes32; 2], panel: &mut [f32]) {
    // SAFETY: `kernels` is handed out only where `available()` holds.
    unsafe { unpack_fast::<B>(b, panel) }
}

fn multiply<A: Element<Value = f32>, const K: usize, const HALF: bool>(
    d: &mut [Lanes32],
    a: &[Lanes32; 4],
    panel: &[f32],
    fresh: bool,
) {
    // SAFETY: as above.
    unsafe { run::<A, K, HALF>(d, a, panel, fresh) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c")]
fn unpack_fast<B: Element<Value = f32>>(b: &[Lanes32; 2], panel: &mut [f32]) {
    super::super::warpgroup::unpack::<B>(b, panel);
}

/// Accumulators of a tile as [register][half].
type Sums = [[__m512; 2]; 4];

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c")]
fn load<const HALF: bool>(d: &[Lanes32]) -> Sums {
    let mut sums = [[_mm512_setzero_ps(); 2]; 4];
    for (i, register) in d.iter().enumerate() {
        for half in 0..2 {
            let words = load_half(register, half);
            if HALF {
                sums[2 * i][half] = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(words));
                sums[2 * i + 1][half] =
                    _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(words)));
            } else {
                sums[i][half] = _mm512_castsi512_ps(words);
            }
        }
    }
    sums
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c")]
fn store<const HALF: bool>(d: &mut [Lanes32], sums: &Sums) {
    for (i, register) in d.iter_mut().enumerate() {
        for half in 0..2 {
            let words = if HALF {
                let narrow = |sum| _mm512_cvtepu16_epi32(_mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(sum));
                let (even, odd) = (narrow(sums[2 * i][half]), narrow(sums[2 * i + 1][half]));
                _mm512_or_si512(even, _mm512_slli_epi32::<16>(odd))
            } else {
                _mm512_castps_si512(sums[i][half])
            };
            store_half(register, half, words);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c")]
fn four_times(four: &[f32; 4]) -> __m512 {
    // SAFETY: 16 bytes behind a reference to 16 bytes.
    _mm512_broadcast_f32x4(unsafe { _mm_loadu_ps(four.as_ptr()) })
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c")]
fn sixteen(values: &[f32; 32], half: usize) -> __m512 {
    let values: &[f32; 16] = values[16 * half..][..16].try_into().expect("16 floats were sliced");
    // SAFETY: 64 bytes behind a reference to 64 bytes.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

/// Adds the products of `TILES` tiles.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c")]
fn accumulate<const K: usize, const TILES: usize>(
    sums: &mut [Sums; TILES],
    rows: &Spread<K>,
    columns: [&[[[f32; 4]; 2]; K]; TILES],
) {
    for k in 0..K {
        for r in 0..2 {
            for half in 0..2 {
                let a = sixteen(&rows.0[k][r], half);
                for tile in 0..TILES {
                    for p in 0..2 {
                        let sum = &mut sums[tile][2 * r + p][half];
                        *sum = _mm512_fmadd_ps(a, four_times(&columns[tile][k][p]), *sum);
                    }
                }
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c")]
fn run<A: Element<Value = f32>, const K: usize, const HALF: bool>(
    d: &mut [Lanes32],
    a: &[Lanes32; 4],
    panel: &[f32],
    fresh: bool,
) {
    let mut rows = Spread([[[0.0; 32]; 2]; K]);
    spread::<A, K>(a, &mut rows);
    let per = if HALF { 2 } else { 4 };
    let (fours, _) = panel.as_chunks::<4>();
    let (pairs, _) = fours.as_chunks::<2>();
    let (tiles, _) = pairs.as_chunks::<K>();
    let start = |d: &[Lanes32]| {
        if fresh { [[_mm512_setzero_ps(); 2]; 4] } else { load::<HALF>(d) }
    };
    for (d, tiles) in d.chunks_mut(2 * per).zip(tiles.chunks(2)) {
        if let ([first, second], true) = (tiles, d.len() == 2 * per) {
            let mut sums = [start(&d[..per]), start(&d[per..])];
            accumulate::<K, 2>(&mut sums, &rows, [first, second]);
            store::<HALF>(&mut d[..per], &sums[0]);
            store::<HALF>(&mut d[per..], &sums[1]);
        } else if let [first, ..] = tiles {
            let mut sums = [start(&d[..per])];
            accumulate::<K, 1>(&mut sums, &rows, [first]);
            store::<HALF>(&mut d[..per], &sums[0]);
        }
    }
}
