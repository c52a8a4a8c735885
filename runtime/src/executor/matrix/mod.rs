//! Matrix instructions: one Rust function per `mma` variant, working on fragments as they lie in the frame.
//!
//! A fragment is a list of registers, each 32 lanes of 32 bits, in PTX's order. `f(d, a, b, c)` reads A, B and C straight from the
//! frame and writes D to a place of its own, which the caller copies back (D may be the same registers as C).
//!
//! With `PER` elements in a register (2 for f16, 4 for s8, 1 for tf32), lane `l`, g = l / 4, q = l % 4 (PTX ISA, "Matrix fragments
//! for mma"):
//! - A register i, element e: row g + 8·(i % 2), k = PER·q + e + 4·PER·(i / 2)
//! - B register i, element e: k = PER·q + e + 4·PER·i, column g
//! - C and D register i (f32, s32): row g + 8·(i / 2), column 2q + i % 2; f16: register i holds columns 2q, 2q + 1 of row g + 8·i
//!
//! **Order of accumulation**: d = c + Σ a·b with k ascending, one f32 fused multiply-add per product; f16 results are rounded once.
//! Tensor cores do not document theirs, so results agree with a GPU within rounding and not bit for bit. Integers are exact. Every
//! implementation here gives the same bits (NaN payloads aside).

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod batch;
mod portable;
mod quads;
mod sparse;
#[cfg(test)]
mod tests;
mod warpgroup;

use super::frame::Lanes32;
pub use batch::{Batch, MmaRun, Scratch, batch};
use portable::{Bf16, E4m3, E5m2, F16, S4, S8, Tf32, U4, U8, float, half_sum, integer};
pub use quads::{Quads, quads};
pub use sparse::sparse;
pub use warpgroup::{Operand, Spread, Warpgroup, warpgroup};

/// `f(d, a, b, c)`.
pub type MmaFn = fn(&mut [Lanes32], &[&Lanes32], &[&Lanes32], &[&Lanes32]);

/// Element types of A and B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MmaInput {
    /// Half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// The upper 19 bits of f32.
    Tf32,
    /// 8-bit floats.
    E4m3,
    /// 8-bit floats.
    E5m2,
    /// Integers.
    S8,
    /// Integers.
    U8,
    /// Integers.
    S4,
    /// Integers.
    U4,
    /// Bits combined by AND.
    AndBits,
    /// Bits combined by XOR.
    XorBits,
}

/// What C and D are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MmaSum {
    /// f32.
    F32,
    /// f16, two a register.
    F16,
    /// s32, wrapping.
    S32,
    /// s32, clamped.
    S32Sat,
}

/// A family of implementations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tier {
    Portable,
    Avx2,
    Avx512,
}

impl Tier {
    /// The tiers that this CPU has, slowest first.
    fn all() -> Vec<Tier> {
        let mut tiers = vec![Tier::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if avx2::available() {
                tiers.push(Tier::Avx2);
            }
            if avx512::available() {
                tiers.push(Tier::Avx512);
            }
        }
        tiers
    }
}

/// The fastest implementation of dense `m16n8k<k>` (row.col) that this CPU runs; `None` for a combination that does not exist.
///
/// The caller passes fragments of the sizes that [`registers`] says.
pub fn select(k: u32, a: MmaInput, b: MmaInput, sum: MmaSum) -> Option<MmaFn> {
    Tier::all().into_iter().rev().find_map(|tier| implementation(tier, k, a, b, sum))
}

/// Registers in D, A and B of `m16n8k<k>`.
pub fn registers(k: u32, input: MmaInput, sum: MmaSum) -> [usize; 3] {
    let bits = match input {
        MmaInput::F16 | MmaInput::Bf16 => 16,
        MmaInput::Tf32 => 32,
        MmaInput::E4m3 | MmaInput::E5m2 | MmaInput::S8 | MmaInput::U8 => 8,
        MmaInput::S4 | MmaInput::U4 => 4,
        MmaInput::AndBits | MmaInput::XorBits => 1,
    };
    let d = if sum == MmaSum::F16 { 2 } else { 4 };
    [d, (16 * k * bits / 1024) as usize, (8 * k * bits / 1024) as usize]
}

fn implementation(tier: Tier, k: u32, a: MmaInput, b: MmaInput, sum: MmaSum) -> Option<MmaFn> {
    match tier {
        Tier::Portable => portable_mma(k, a, b, sum),
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 | Tier::Avx512 => {
            let wide = tier == Tier::Avx512;
            if !wide && matches!(a, MmaInput::E4m3 | MmaInput::E5m2) {
                return eight_bit_floats_fused(k, a, b, sum);
            }
            if a != b {
                return None;
            }
            // The kernels of a type serve both depths: the number of registers tells.
            Some(match (a, k, sum) {
                (MmaInput::F16, 8 | 16, MmaSum::F32) => pick(wide, avx512::f16_f32, avx2::f16_f32),
                (MmaInput::Bf16, 8 | 16, MmaSum::F32) => pick(wide, avx512::bf16_f32, avx2::bf16_f32),
                (MmaInput::Tf32, 4 | 8, MmaSum::F32) => pick(wide, avx512::tf32_f32, avx2::tf32_f32),
                (MmaInput::F16, 8 | 16, MmaSum::F16) => pick(wide, avx512::f16_f16, avx2::f16_f16),
                _ => return None,
            })
        }
        #[cfg(not(target_arch = "x86_64"))]
        Tier::Avx2 | Tier::Avx512 => None,
    }
}

#[cfg(target_arch = "x86_64")]
fn pick(wide: bool, avx512: MmaFn, avx2: MmaFn) -> MmaFn {
    if wide { avx512 } else { avx2 }
}

fn portable_mma(k: u32, a: MmaInput, b: MmaInput, sum: MmaSum) -> Option<MmaFn> {
    use MmaInput as I;
    use MmaSum as S;
    Some(match (a, b, k, sum) {
        (I::F16, I::F16, 8, S::F32) => float::<F16, F16, 8>,
        (I::F16, I::F16, 16, S::F32) => float::<F16, F16, 16>,
        (I::Bf16, I::Bf16, 8, S::F32) => float::<Bf16, Bf16, 8>,
        (I::Bf16, I::Bf16, 16, S::F32) => float::<Bf16, Bf16, 16>,
        (I::Tf32, I::Tf32, 4, S::F32) => float::<Tf32, Tf32, 4>,
        (I::Tf32, I::Tf32, 8, S::F32) => float::<Tf32, Tf32, 8>,
        (I::F16, I::F16, 8, S::F16) => half_sum::<F16, F16, 8>,
        (I::F16, I::F16, 16, S::F16) => half_sum::<F16, F16, 16>,
        (I::E4m3 | I::E5m2, I::E4m3 | I::E5m2, ..) => return eight_bit_floats(k, a, b, sum),
        (I::AndBits, I::AndBits, 128 | 256, S::S32) => portable::bits::<false>,
        (I::XorBits, I::XorBits, 128 | 256, S::S32) => portable::bits::<true>,
        (_, _, _, S::S32) => return integers::<false>(k, a, b),
        (_, _, _, S::S32Sat) => return integers::<true>(k, a, b),
        _ => return None,
    })
}

/// The variants of 8-bit floats from the functions `float` and `half_sum` of a module.
macro_rules! eight_bit_floats {
    ($name:ident, $($path:ident)::+) => {
        fn $name(k: u32, a: MmaInput, b: MmaInput, sum: MmaSum) -> Option<MmaFn> {
            use $($path)::+::{float, half_sum};
            use MmaInput as I;
            use MmaSum as S;
            Some(match (a, b, k, sum) {
                (I::E4m3, I::E4m3, 16, S::F32) => float::<E4m3, E4m3, 16>,
                (I::E4m3, I::E5m2, 16, S::F32) => float::<E4m3, E5m2, 16>,
                (I::E5m2, I::E4m3, 16, S::F32) => float::<E5m2, E4m3, 16>,
                (I::E5m2, I::E5m2, 16, S::F32) => float::<E5m2, E5m2, 16>,
                (I::E4m3, I::E4m3, 32, S::F32) => float::<E4m3, E4m3, 32>,
                (I::E4m3, I::E5m2, 32, S::F32) => float::<E4m3, E5m2, 32>,
                (I::E5m2, I::E4m3, 32, S::F32) => float::<E5m2, E4m3, 32>,
                (I::E5m2, I::E5m2, 32, S::F32) => float::<E5m2, E5m2, 32>,
                (I::E4m3, I::E4m3, 16, S::F16) => half_sum::<E4m3, E4m3, 16>,
                (I::E4m3, I::E5m2, 16, S::F16) => half_sum::<E4m3, E5m2, 16>,
                (I::E5m2, I::E4m3, 16, S::F16) => half_sum::<E5m2, E4m3, 16>,
                (I::E5m2, I::E5m2, 16, S::F16) => half_sum::<E5m2, E5m2, 16>,
                (I::E4m3, I::E4m3, 32, S::F16) => half_sum::<E4m3, E4m3, 32>,
                (I::E4m3, I::E5m2, 32, S::F16) => half_sum::<E4m3, E5m2, 32>,
                (I::E5m2, I::E4m3, 32, S::F16) => half_sum::<E5m2, E4m3, 32>,
                (I::E5m2, I::E5m2, 32, S::F16) => half_sum::<E5m2, E5m2, 32>,
                _ => return None,
            })
        }
    };
}

eight_bit_floats!(eight_bit_floats, portable);
#[cfg(target_arch = "x86_64")]
eight_bit_floats!(eight_bit_floats_fused, avx2::fused);

fn integers<const SAT: bool>(k: u32, a: MmaInput, b: MmaInput) -> Option<MmaFn> {
    use MmaInput as I;
    Some(match (a, b, k) {
        (I::S8, I::S8, 16) => integer::<S8, S8, 16, SAT>,
        (I::S8, I::U8, 16) => integer::<S8, U8, 16, SAT>,
        (I::U8, I::S8, 16) => integer::<U8, S8, 16, SAT>,
        (I::U8, I::U8, 16) => integer::<U8, U8, 16, SAT>,
        (I::S8, I::S8, 32) => integer::<S8, S8, 32, SAT>,
        (I::S8, I::U8, 32) => integer::<S8, U8, 32, SAT>,
        (I::U8, I::S8, 32) => integer::<U8, S8, 32, SAT>,
        (I::U8, I::U8, 32) => integer::<U8, U8, 32, SAT>,
        (I::S4, I::S4, 32) => integer::<S4, S4, 32, SAT>,
        (I::S4, I::U4, 32) => integer::<S4, U4, 32, SAT>,
        (I::U4, I::S4, 32) => integer::<U4, S4, 32, SAT>,
        (I::U4, I::U4, 32) => integer::<U4, U4, 32, SAT>,
        (I::S4, I::S4, 64) => integer::<S4, S4, 64, SAT>,
        (I::S4, I::U4, 64) => integer::<S4, U4, 64, SAT>,
        (I::U4, I::S4, 64) => integer::<U4, S4, 64, SAT>,
        (I::U4, I::U4, 64) => integer::<U4, U4, 64, SAT>,
        _ => return None,
    })
}

/// Dense f64 `mma` (`m8n8k4`, `m16n8k4`, `m16n8k8`, `m16n8k16`) on fragments of 64-bit registers.
pub fn mma_f64(d: &mut [[u64; 32]], a: &[[u64; 32]], b: &[[u64; 32]], c: &[[u64; 32]]) {
    portable::double(d, a, b, c);
}
