//! Matrix instructions: one Rust function per `mma` variant, working on fragments as they lie in the frame.
//!
//! A fragment is a list of registers, each 32 lanes of 32 bits, in PTX's order. The functions read fragments straight from the
//! frame and write the result to `d`, which the caller copies into the frame (`d` may be the same registers as `c`).
//!
//! m16n8k16, f16 or bf16, lane `l`, g = l / 4, q = l % 4 (PTX ISA, "Matrix fragments for mma.m16n8k16"):
//! - A register i, half e: row g + 8·(i % 2), column 2q + e + 8·(i / 2)
//! - B register i, half e: row 2q + e + 8·i, column g
//! - C and D register i (f32): row g + 8·(i / 2), column 2q + i % 2; f16: register i holds columns 2q, 2q + 1 of row g + 8·i
//!
//! **Order of accumulation**: d = c + Σ a·b with k ascending, one f32 fused multiply-add per product. Tensor cores do
//! not document theirs, so results agree with a GPU within rounding and not bit for bit.

use super::frame::Lanes32;

/// `f(d, a, b, c)`.
pub type MmaFn = fn(&mut [Lanes32], &[&Lanes32], &[&Lanes32], &[&Lanes32]);

/// Element types of A and B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MmaInput {
    F16,
    Bf16,
    Tf32,
}

/// The micro-kernel for `m16n8k<k>` with accumulators in f32 (or f16 where `f16_accumulators`), row.col.
pub fn mma_m16n8(k: u32, input: MmaInput, f16_accumulators: bool) -> Option<MmaFn> {
    Some(match (input, k, f16_accumulators) {
        (MmaInput::F16, 16, false) => mma_16::<16, false, false>,
        (MmaInput::F16, 8, false) => mma_16::<8, false, false>,
        (MmaInput::Bf16, 16, false) => mma_16::<16, true, false>,
        (MmaInput::Bf16, 8, false) => mma_16::<8, true, false>,
        (MmaInput::F16, 16, true) => mma_16::<16, false, true>,
        (MmaInput::F16, 8, true) => mma_16::<8, false, true>,
        (MmaInput::Tf32, 8, false) => mma_tf32::<8>,
        (MmaInput::Tf32, 4, false) => mma_tf32::<4>,
        _ => return None,
    })
}

#[inline]
fn decode<const BF16: bool>(bits: u32, half: usize) -> f32 {
    let bits = (bits >> (16 * half)) as u16;
    if BF16 { f32::from_bits(u32::from(bits) << 16) } else { half::f16::from_bits(bits).to_f32() }
}

fn mma_16<const K: usize, const BF16: bool, const ACC16: bool>(
    d: &mut [Lanes32],
    a: &[&Lanes32],
    b: &[&Lanes32],
    c: &[&Lanes32],
) {
    let mut left = [[0f32; 16]; 16];
    for (i, register) in a.iter().enumerate() {
        for lane in 0..32 {
            for e in 0..2 {
                left[lane / 4 + 8 * (i % 2)][2 * (lane % 4) + e + 8 * (i / 2)] =
                    decode::<BF16>(register[lane], e);
            }
        }
    }
    let mut right = [[0f32; 8]; 16];
    for (i, register) in b.iter().enumerate() {
        for lane in 0..32 {
            for e in 0..2 {
                right[2 * (lane % 4) + e + 8 * i][lane / 4] = decode::<BF16>(register[lane], e);
            }
        }
    }
    let mut sum = load_accumulators::<ACC16>(c);
    for (row, left) in sum.iter_mut().zip(&left) {
        multiply_row(row, &left[..K], &right[..K]);
    }
    store_accumulators::<ACC16>(d, &sum);
}

fn mma_tf32<const K: usize>(d: &mut [Lanes32], a: &[&Lanes32], b: &[&Lanes32], c: &[&Lanes32]) {
    // TF32 reads the upper 19 bits.
    let value = |bits: u32| f32::from_bits(bits & 0xffff_e000);
    let mut left = [[0f32; 8]; 16];
    for (i, register) in a.iter().enumerate() {
        for lane in 0..32 {
            left[lane / 4 + 8 * (i % 2)][lane % 4 + 4 * (i / 2)] = value(register[lane]);
        }
    }
    let mut right = [[0f32; 8]; 8];
    for (i, register) in b.iter().enumerate() {
        for lane in 0..32 {
            right[lane % 4 + 4 * i][lane / 4] = value(register[lane]);
        }
    }
    let mut sum = load_accumulators::<false>(c);
    for (row, left) in sum.iter_mut().zip(&left) {
        multiply_row(row, &left[..K], &right[..K]);
    }
    store_accumulators::<false>(d, &sum);
}

fn multiply_row(row: &mut [f32; 8], left: &[f32], right: &[[f32; 8]]) {
    for (&x, right) in left.iter().zip(right) {
        for (sum, &y) in row.iter_mut().zip(right) {
            *sum = x.mul_add(y, *sum);
        }
    }
}

fn load_accumulators<const F16: bool>(c: &[&Lanes32]) -> [[f32; 8]; 16] {
    let mut sum = [[0f32; 8]; 16];
    for (i, register) in c.iter().enumerate() {
        for lane in 0..32 {
            if F16 {
                for e in 0..2 {
                    sum[lane / 4 + 8 * i][2 * (lane % 4) + e] = decode::<false>(register[lane], e);
                }
            } else {
                sum[lane / 4 + 8 * (i / 2)][2 * (lane % 4) + i % 2] = f32::from_bits(register[lane]);
            }
        }
    }
    sum
}

fn store_accumulators<const F16: bool>(d: &mut [Lanes32], sum: &[[f32; 8]; 16]) {
    for (i, register) in d.iter_mut().enumerate() {
        for (lane, word) in register.iter_mut().enumerate() {
            *word = if F16 {
                let half = |e: usize| {
                    u32::from(half::f16::from_f32(sum[lane / 4 + 8 * i][2 * (lane % 4) + e]).to_bits())
                };
                half(0) | half(1) << 16
            } else {
                sum[lane / 4 + 8 * (i / 2)][2 * (lane % 4) + i % 2].to_bits()
            };
        }
    }
}
