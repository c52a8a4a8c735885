//! The smallest and the largest of 32 addresses, and all their bits together: what checks of bounds and alignment need of a warp's access.
//!
//! # Safety
//! The one unsafe call is of a function that needs AVX-512, behind `is_x86_feature_detected!`; the loads are of whole arrays.

use super::super::frame::Lanes64;

/// (least, greatest, all bits) of all lanes.
#[inline]
pub fn extent(at: &Lanes64) -> (u64, u64, u64) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has what the function needs.
        return unsafe { wide(at) };
    }
    portable(at)
}

fn portable(at: &Lanes64) -> (u64, u64, u64) {
    // Four by four: single minima would wait for each other.
    let (mut low, mut high, mut any) = ([u64::MAX; 4], [0; 4], 0);
    for four in at.as_chunks::<4>().0 {
        for i in 0..4 {
            low[i] = low[i].min(four[i]);
            high[i] = high[i].max(four[i]);
        }
        any |= (four[0] | four[1]) | (four[2] | four[3]);
    }
    let low = low[0].min(low[1]).min(low[2].min(low[3]));
    (low, high[0].max(high[1]).max(high[2].max(high[3])), any)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn wide(at: &Lanes64) -> (u64, u64, u64) {
    use std::arch::x86_64::*;
    let eight = |i: usize| {
        let values = &at.as_chunks::<8>().0[i];
        // SAFETY: 64 bytes behind a reference to 64 bytes; the load needs no alignment.
        unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
    };
    let [a, b, c, d] = [eight(0), eight(1), eight(2), eight(3)];
    let low = _mm512_min_epu64(_mm512_min_epu64(a, b), _mm512_min_epu64(c, d));
    let high = _mm512_max_epu64(_mm512_max_epu64(a, b), _mm512_max_epu64(c, d));
    let any = _mm512_or_si512(_mm512_or_si512(a, b), _mm512_or_si512(c, d));
    (_mm512_reduce_min_epu64(low), _mm512_reduce_max_epu64(high), _mm512_reduce_or_epi64(any) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_agree() {
        for seed in 1..50u64 {
            let at: Lanes64 = std::array::from_fn(|lane| {
                seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(7 * lane as u32) >> (seed % 40)
            });
            let want = (
                at.iter().copied().min().unwrap_or(0),
                at.iter().copied().max().unwrap_or(0),
                at.iter().fold(0, |all, one| all | one),
            );
            assert_eq!(portable(&at), want);
            assert_eq!(extent(&at), want);
        }
    }
}
