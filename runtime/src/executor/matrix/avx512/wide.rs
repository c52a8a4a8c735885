//! Products of `wgmma`, 16 lanes at a time: two tiles of 8 columns and all 16 rows are 16 accumulators.
//!
//! # Safety
//! As in the parent module.

use std::arch::x86_64::*;

use super::super::Lanes32;
use super::super::batch::{Batch, Columns};
use super::super::portable::{Element, Widen};
use super::super::warpgroup::{Operand, Spread, Warpgroup};
use super::{BF16, F16, TF32, load_half, store_half, tf32, transpose, widen};

/// The kernels for CPUs where [`super::available`] holds.
pub(in super::super) fn kernels<A: Element<Value = f32>, B: Element<Value = f32>, const K: usize>(
    half: bool,
) -> Warpgroup {
    let multiply = if half { multiply::<K, true> } else { multiply::<K, false> };
    Warpgroup { k: K, unpack: unpack::<B>, spread: spread::<A>, multiply, merges: !half }
}

/// The kernels of runs of `mma` for CPUs where [`super::available`] holds.
pub(in super::super) fn batch(bf16: bool) -> Batch {
    // SAFETY (of all eight): `batch` is called only where `available()` holds.
    if bf16 {
        Batch {
            spread: |a, rows| unsafe { spread_fast::<BF16, 16>(a, rows) },
            unpack: |b, columns| unsafe { transpose::<BF16>(&b, &mut columns.0) },
            tile: |d, rows, columns| unsafe { tile(d, rows, columns) },
            pair: |d, e, rows, columns| unsafe { pair(d, e, rows, columns) },
        }
    } else {
        Batch {
            spread: |a, rows| unsafe { spread_fast::<F16, 16>(a, rows) },
            unpack: |b, columns| unsafe { transpose::<F16>(&b, &mut columns.0) },
            tile: |d, rows, columns| unsafe { tile(d, rows, columns) },
            pair: |d, e, rows, columns| unsafe { pair(d, e, rows, columns) },
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c")]
fn tile(d: &mut [Lanes32; 4], rows: &Spread<16>, columns: &Columns) {
    let [sums] = accumulate::<16, 1>([load::<false>(d)], &rows.0, [&columns.0]);
    store::<false>(d, &sums);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c")]
fn pair(d: &mut [Lanes32; 4], e: &mut [Lanes32; 4], rows: &Spread<16>, columns: [&Columns; 2]) {
    let columns = [&columns[0].0, &columns[1].0];
    let sums = accumulate::<16, 2>([load::<false>(d), load::<false>(e)], &rows.0, columns);
    store::<false>(d, &sums[0]);
    store::<false>(e, &sums[1]);
}

fn unpack<B: Element<Value = f32>>(b: &[Lanes32; 2], panel: &mut [f32]) {
    // SAFETY: `kernels` is handed out only where `available()` holds.
    unsafe { unpack_fast::<B>(b, panel) }
}

fn spread<A: Element<Value = f32>>(a: &[Lanes32; 4], rows: &mut Operand) {
    // SAFETY: as above.
    match A::WIDEN {
        Widen::F16 => unsafe { spread_fast::<F16, 32>(a.each_ref(), rows) },
        Widen::Bf16 => unsafe { spread_fast::<BF16, 32>(a.each_ref(), rows) },
        Widen::Tf32 => unsafe { spread_fast::<TF32, 32>(a.each_ref(), rows) },
        Widen::Table => super::super::warpgroup::spread::<A>(a, rows),
    }
}

fn multiply<const K: usize, const HALF: bool>(
    d: &mut [Lanes32],
    products: &[(&Operand, &[f32])],
    fresh: bool,
) {
    // SAFETY: as above.
    unsafe { run::<K, HALF>(d, products, fresh) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c")]
fn unpack_fast<B: Element<Value = f32>>(b: &[Lanes32; 2], panel: &mut [f32]) {
    let b2 = [&b[0], &b[1]];
    let whole: Option<&mut [[f32; 8]; 16]> = panel.as_chunks_mut::<8>().0.try_into().ok();
    match (B::WIDEN, whole) {
        (Widen::F16, Some(columns)) => transpose::<F16>(&b2, columns),
        (Widen::Bf16, Some(columns)) => transpose::<BF16>(&b2, columns),
        (Widen::Tf32, _) => {
            let mut columns = [[0.0; 8]; 16];
            transpose::<TF32>(&b2, &mut columns);
            let floats = panel.len();
            panel.copy_from_slice(&columns.as_flattened()[..floats]);
        }
        _ => super::super::warpgroup::unpack::<B>(b, panel),
    }
}

/// Four k of four rows, a row in each 128-bit lane, spread from `k` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c")]
fn spread_four<const K: usize>(rows: &mut Spread<K>, four: __m512, k: usize, r: usize, half: usize) {
    let spread = [
        _mm512_permute_ps::<0x00>(four),
        _mm512_permute_ps::<0x55>(four),
        _mm512_permute_ps::<0xaa>(four),
        _mm512_permute_ps::<0xff>(four),
    ];
    for (i, value) in spread.into_iter().enumerate() {
        let place: &mut [f32; 16] =
            (&mut rows.0[k + i][r][16 * half..][..16]).try_into().expect("16 floats were sliced");
        // SAFETY: 64 bytes behind a reference to 64 bytes.
        unsafe { _mm512_storeu_ps(place.as_mut_ptr(), value) }
    }
}

/// As [`spread`], for 16-bit and 32-bit elements.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c")]
fn spread_fast<const INPUT: u8, const K: usize>(a: [&Lanes32; 4], rows: &mut Spread<K>) {
    // Rows' low and high quarters: k 0..4 of four rows, then k 4..8.
    let gather = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    for step in 0..2 {
        for r in 0..2 {
            for half in 0..2 {
                let words = load_half(a[2 * step + r], half);
                if INPUT == TF32 {
                    spread_four(rows, tf32(words), 4 * step, r, half);
                    continue;
                }
                let block = _mm512_permutexvar_epi64(gather, words);
                let low = widen::<INPUT>(_mm512_castsi512_si256(block));
                let high = widen::<INPUT>(_mm512_extracti64x4_epi64::<1>(block));
                spread_four(rows, low, 8 * step, r, half);
                spread_four(rows, high, 8 * step + 4, r, half);
            }
        }
    }
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
fn four_times(columns: &[f32; 8], parity: usize) -> __m512 {
    let four: &[f32; 4] = columns[4 * parity..][..4].try_into().expect("four floats were sliced");
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

/// Adds the products of `TILES` tiles. Sums are passed by value so that they stay in registers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c")]
fn accumulate<const K: usize, const TILES: usize>(
    mut sums: [Sums; TILES],
    rows: &[[[f32; 32]; 2]],
    columns: [&[[f32; 8]; K]; TILES],
) -> [Sums; TILES] {
    let rows: &[[[f32; 32]; 2]; K] = rows[..K].try_into().expect("K rows were sliced");
    for k in 0..K {
        let mut b = [[_mm512_setzero_ps(); 2]; TILES];
        for tile in 0..TILES {
            b[tile] = [four_times(&columns[tile][k], 0), four_times(&columns[tile][k], 1)];
        }
        for r in 0..2 {
            for half in 0..2 {
                let a = sixteen(&rows[k][r], half);
                for tile in 0..TILES {
                    for p in 0..2 {
                        sums[tile][2 * r + p][half] =
                            _mm512_fmadd_ps(a, b[tile][p], sums[tile][2 * r + p][half]);
                    }
                }
            }
        }
    }
    sums
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,f16c")]
fn run<const K: usize, const HALF: bool>(d: &mut [Lanes32], products: &[(&Operand, &[f32])], fresh: bool) {
    let per = if HALF { 2 } else { 4 };
    let start = |d: &[Lanes32]| {
        if fresh { [[_mm512_setzero_ps(); 2]; 4] } else { load::<HALF>(d) }
    };
    for (pair, d) in d.chunks_mut(2 * per).enumerate() {
        if d.len() == 2 * per {
            // Sums stay in registers from one product to the next.
            let mut sums = [start(&d[..per]), start(&d[per..])];
            for (rows, panel) in products {
                sums = accumulate::<K, 2>(
                    sums,
                    &rows.0,
                    [tile_of(panel, 2 * pair), tile_of(panel, 2 * pair + 1)],
                );
            }
            store::<HALF>(&mut d[..per], &sums[0]);
            store::<HALF>(&mut d[per..], &sums[1]);
        } else {
            let mut sums = [start(&d[..per])];
            for (rows, panel) in products {
                sums = accumulate::<K, 1>(sums, &rows.0, [tile_of(panel, 2 * pair)]);
            }
            store::<HALF>(&mut d[..per], &sums[0]);
        }
    }
}

/// Tile `number` of a panel.
#[inline]
fn tile_of<const K: usize>(panel: &[f32], number: usize) -> &[[f32; 8]; K] {
    panel.as_chunks::<8>().0[number * K..][..K].try_into().expect("K rows were sliced")
}
