//! Loops over lanes with the vectors that this CPU has. The crate is compiled for any x86-64; a loop that was compiled for AVX2 is several times
//! faster, above all where amounts of shifts differ by lane.
//!
//! # Safety
//! The one unsafe call is of a function that needs the features that were just detected.

/// Calls `body` for each lane.
#[inline(always)]
pub fn each(body: impl FnMut(usize)) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt")
    {
        // SAFETY: the processor has what the function needs.
        return unsafe { wide(body) };
    }
    all(body);
}

#[inline(always)]
fn all(mut body: impl FnMut(usize)) {
    for lane in 0..32 {
        body(lane);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,fma,lzcnt,popcnt")]
fn wide(body: impl FnMut(usize)) {
    all(body);
}
