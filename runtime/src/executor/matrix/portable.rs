//! `mma.sync` in plain Rust: every type and depth, on any CPU. The SIMD kernels are tested against it.

use super::Lanes32;

/// What the elements of A and B turn into before they are multiplied.
pub(super) trait Element {
    /// Elements in a 32-bit register.
    const PER: usize;
    /// How vector kernels widen it.
    const WIDEN: Widen = Widen::Table;
    /// `f32`, or `i32` for integers.
    type Value: Copy + Default;
    /// Element `e` of a register.
    fn get(word: u32, e: usize) -> Self::Value;
}

/// How the elements of a register become f32 in vector kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Widen {
    F16,
    Bf16,
    Tf32,
    /// One by one.
    Table,
}

macro_rules! element {
    ($($name:ident: $per:literal, $value:ty, $($widen:ident,)? |$word:ident, $e:ident| $get:expr;)+) => {
        $(pub(super) struct $name;
        impl Element for $name {
            const PER: usize = $per;
            $(const WIDEN: Widen = Widen::$widen;)?
            type Value = $value;
            #[inline(always)]
            fn get($word: u32, $e: usize) -> $value { $get }
        })+
    };
}

element! {
    F16: 2, f32, F16, |word, e| half::f16::from_bits((word >> (16 * e)) as u16).to_f32();
    Bf16: 2, f32, Bf16, |word, e| f32::from_bits(if e == 0 { word << 16 } else { word & 0xffff_0000 });
    // The lower 13 bits are ignored by the hardware.
    Tf32: 1, f32, Tf32, |word, _e| f32::from_bits(word & 0xffff_e000);
    E4m3: 4, f32, |word, e| E4M3[(word >> (8 * e) & 0xff) as usize];
    E5m2: 4, f32, |word, e| E5M2[(word >> (8 * e) & 0xff) as usize];
    S8: 4, i32, |word, e| i32::from((word >> (8 * e)) as i8);
    U8: 4, i32, |word, e| i32::from((word >> (8 * e)) as u8);
    S4: 8, i32, |word, e| ((word << (28 - 4 * e)) as i32) >> 28;
    U4: 8, i32, |word, e| (word >> (4 * e)) as i32 & 15;
}

/// All values of a format of 8 bits: sign, exponent with a bias, mantissa. What the format
/// keeps for infinities and NaNs is decided by `special`.
const fn eight_bit_table(mantissa_bits: u32, bias: i32, special: Special) -> [f32; 256] {
    let mut table = [0.0; 256];
    let mut code = 0u32;
    while code < 256 {
        let magnitude = code & 0x7f;
        let (exponent, mantissa) =
            ((magnitude >> mantissa_bits) as i32, magnitude & ((1 << mantissa_bits) - 1));
        // An f32 with this exponent and mantissa; subnormals are a multiple of the smallest step.
        let value = if special.is_nan(magnitude) {
            f32::NAN
        } else if special.is_infinite(magnitude) {
            f32::INFINITY
        } else if exponent == 0 {
            mantissa as f32 * f32::from_bits(((1 - bias - mantissa_bits as i32 + 127) as u32) << 23)
        } else {
            f32::from_bits((((exponent - bias + 127) as u32) << 23) | (mantissa << (23 - mantissa_bits)))
        };
        table[code as usize] = if code & 0x80 == 0 { value } else { -value };
        code += 1;
    }
    table
}

/// Which codes of an 8-bit format are no finite numbers.
#[derive(Clone, Copy)]
enum Special {
    /// e4m3: all ones is NaN, there is no infinity.
    AllOnesNan,
    /// e5m2: as IEEE, exponent all ones.
    Ieee,
}

impl Special {
    const fn is_nan(self, magnitude: u32) -> bool {
        match self {
            Special::AllOnesNan => magnitude == 0x7f,
            Special::Ieee => magnitude > 0x7c,
        }
    }

    const fn is_infinite(self, magnitude: u32) -> bool {
        matches!(self, Special::Ieee) && magnitude == 0x7c
    }
}

static E4M3: [f32; 256] = eight_bit_table(3, 7, Special::AllOnesNan);
static E5M2: [f32; 256] = eight_bit_table(2, 15, Special::Ieee);

/// A in rows, B in columns: `left[row][k]`, `right[col][k]`.
struct Factors<V, const K: usize> {
    left: [[V; K]; 16],
    right: [[V; K]; 8],
}

#[inline(always)]
fn factors<A: Element, B: Element<Value = A::Value>, const K: usize>(
    a: &[&Lanes32],
    b: &[&Lanes32],
) -> Factors<A::Value, K> {
    let mut left = [[A::Value::default(); K]; 16];
    for (i, register) in a.iter().enumerate() {
        for (lane, word) in register.iter().enumerate() {
            for e in 0..A::PER {
                left[lane / 4 + 8 * (i % 2)][A::PER * (lane % 4) + e + 4 * A::PER * (i / 2)] =
                    A::get(*word, e);
            }
        }
    }
    let mut right = [[A::Value::default(); K]; 8];
    for (i, register) in b.iter().enumerate() {
        for (lane, word) in register.iter().enumerate() {
            for e in 0..B::PER {
                right[lane / 4][B::PER * (lane % 4) + e + 4 * B::PER * i] = B::get(*word, e);
            }
        }
    }
    Factors { left, right }
}

/// f32 accumulators: d = c + Σ a·b, k ascending, one fused multiply-add each.
#[inline(always)]
pub(super) fn float<A: Element<Value = f32>, B: Element<Value = f32>, const K: usize>(
    d: &mut [Lanes32],
    a: &[&Lanes32],
    b: &[&Lanes32],
    c: &[&Lanes32],
) {
    let Factors { left, right } = factors::<A, B, K>(a, b);
    for (i, (d, c)) in d.iter_mut().zip(c).enumerate() {
        for lane in 0..32 {
            let (row, col) = (lane / 4 + 8 * (i / 2), 2 * (lane % 4) + i % 2);
            let mut sum = f32::from_bits(c[lane]);
            for k in 0..K {
                sum = left[row][k].mul_add(right[col][k], sum);
            }
            d[lane] = sum.to_bits();
        }
    }
}

/// f16 accumulators: summed in f32 as [`float`] does, rounded once at the end.
#[inline(always)]
pub(super) fn half_sum<A: Element<Value = f32>, B: Element<Value = f32>, const K: usize>(
    d: &mut [Lanes32],
    a: &[&Lanes32],
    b: &[&Lanes32],
    c: &[&Lanes32],
) {
    let Factors { left, right } = factors::<A, B, K>(a, b);
    for (i, (d, c)) in d.iter_mut().zip(c).enumerate() {
        for lane in 0..32 {
            let mut word = 0;
            for e in 0..2 {
                let (row, col) = (lane / 4 + 8 * i, 2 * (lane % 4) + e);
                let mut sum = F16::get(c[lane], e);
                for k in 0..K {
                    sum = left[row][k].mul_add(right[col][k], sum);
                }
                word |= u32::from(half::f16::from_f32(sum).to_bits()) << (16 * e);
            }
            d[lane] = word;
        }
    }
}

/// s32 accumulators: exact, wrapping, or clamped once at the end where `SAT`.
pub(super) fn integer<A: Element<Value = i32>, B: Element<Value = i32>, const K: usize, const SAT: bool>(
    d: &mut [Lanes32],
    a: &[&Lanes32],
    b: &[&Lanes32],
    c: &[&Lanes32],
) {
    let Factors { left, right } = factors::<A, B, K>(a, b);
    for (i, (d, c)) in d.iter_mut().zip(c).enumerate() {
        for lane in 0..32 {
            let (row, col) = (lane / 4 + 8 * (i / 2), 2 * (lane % 4) + i % 2);
            let sum: i32 = left[row].iter().zip(&right[col]).map(|(x, y)| x * y).sum();
            let start = c[lane] as i32;
            let total = if SAT { start.saturating_add(sum) } else { start.wrapping_add(sum) };
            d[lane] = total as u32;
        }
    }
}

/// One-bit factors: the number of ones in `a & b` or, where `XOR`, in `a ^ b`.
pub(super) fn bits<const XOR: bool>(d: &mut [Lanes32], a: &[&Lanes32], b: &[&Lanes32], c: &[&Lanes32]) {
    for (i, (d, c)) in d.iter_mut().zip(c).enumerate() {
        for lane in 0..32 {
            let (row, col) = (lane / 4, 2 * (lane % 4) + i % 2);
            let mut ones = 0;
            for (step, right) in b.iter().enumerate() {
                let left = a[i / 2 + 2 * step];
                for q in 0..4 {
                    let (x, y) = (left[4 * row + q], right[4 * col + q]);
                    ones += if XOR { x ^ y } else { x & y }.count_ones();
                }
            }
            d[lane] = c[lane].wrapping_add(ones);
        }
    }
}

/// `mma.m8n8k4` and `m16n8k{4,8,16}` of f64 on fragments of 64-bit registers (`[u64; 32]`): k ascending, fused.
pub(super) fn double(d: &mut [[u64; 32]], a: &[[u64; 32]], b: &[[u64; 32]], c: &[[u64; 32]]) {
    // m8n8k4 has one register of A for each of B; the 16-row shapes have two.
    let halves = a.len() / b.len().max(1);
    for (i, (d, c)) in d.iter_mut().zip(c).enumerate() {
        for lane in 0..32 {
            let (row, col) = (lane / 4, 2 * (lane % 4) + i % 2);
            let mut sum = f64::from_bits(c[lane]);
            for (step, right) in b.iter().enumerate() {
                let left = &a[i / 2 + halves * step];
                for q in 0..4 {
                    sum = f64::from_bits(left[4 * row + q]).mul_add(f64::from_bits(right[4 * col + q]), sum);
                }
            }
            d[lane] = sum.to_bits();
        }
    }
}
