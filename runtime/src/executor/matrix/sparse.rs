//! `mma.sp`: products with a sparse A, of which half is stored.
//!
//! Of each four neighbouring elements of a row of A two are stored, and *metadata* says which: two bits an element, in the order of storage. Pairs
//! of 4-bit integers count as one element there, and a tf32 as two (so `0b0100` is the first of two, `0b1110` the second). What is stored lies in registers
//! like a dense A of half the depth. One lane of four, or two, or all hold the metadata of their rows (PTX ISA, "Sparse matrix storage"):
//!
//! | bits of a row | where | selector |
//! | --- | --- | --- |
//! | 16 (16 and 32-bit types, short) | lane `selector` of the four: row g in the lower half, row g + 8 in the upper | 0 to 3 |
//! | 32 (the same, long) | lanes `2·selector` and the next: the first and second half of both rows, likewise | 0, 1 |
//! | 32 (8 and 4-bit types, short) | lane `2·selector`: row g; the next: row g + 8 | 0, 1 |
//! | 64 (the same, long) | lanes 0, 1: the first half of rows g and g + 8; lanes 2, 3: the second | 0 |
//!
//! What is not stored takes no part: an infinity in B that it would meet makes no NaN. Elements are added in the order of storage, which is that of k
//! where the metadata is ordered; otherwise the sums are those of the dense instruction.
//!
//! The functions here are [`MmaFn`]s whose A has two registers more: the metadata, and the selector in every lane.

use super::portable::{Bf16, E4m3, E5m2, Element, F16, S4, S8, Tf32, U4, U8};
use super::{Lanes32, MmaFn, MmaInput, MmaSum};

/// Most elements of a row that are stored.
const MAX_STORED: usize = 64;

/// The implementation of sparse `m16n8k<k>`, and how many selectors there are; `None` for a combination that does not exist.
pub fn sparse(k: u32, a: MmaInput, b: MmaInput, sum: MmaSum) -> Option<(MmaFn, u8)> {
    use MmaInput as I;
    let selectors = match (a, k) {
        (I::F16 | I::Bf16, 16) | (I::Tf32, 8) => 4,
        (I::F16 | I::Bf16, 32) | (I::Tf32, 16) | (I::S8 | I::U8, 32) | (I::S4 | I::U4, 64) => 2,
        (I::S8 | I::U8 | I::E4m3 | I::E5m2, 64) | (I::S4 | I::U4, 128) => 1,
        _ => return None,
    };
    let f = match sum {
        MmaSum::F32 => floats::<false>(a, b)?,
        MmaSum::F16 if !matches!(a, I::Bf16 | I::Tf32) => floats::<true>(a, b)?,
        MmaSum::F16 => return None,
        MmaSum::S32 => integers::<false>(a, b)?,
        MmaSum::S32Sat => integers::<true>(a, b)?,
    };
    Some((f, selectors))
}

fn floats<const HALF: bool>(a: MmaInput, b: MmaInput) -> Option<MmaFn> {
    use MmaInput as I;
    Some(match (a, b) {
        (I::F16, I::F16) => float::<F16, F16, HALF>,
        (I::Bf16, I::Bf16) => float::<Bf16, Bf16, HALF>,
        (I::Tf32, I::Tf32) => float::<Tf32, Tf32, HALF>,
        (I::E4m3, I::E4m3) => float::<E4m3, E4m3, HALF>,
        (I::E4m3, I::E5m2) => float::<E4m3, E5m2, HALF>,
        (I::E5m2, I::E4m3) => float::<E5m2, E4m3, HALF>,
        (I::E5m2, I::E5m2) => float::<E5m2, E5m2, HALF>,
        _ => return None,
    })
}

fn integers<const SAT: bool>(a: MmaInput, b: MmaInput) -> Option<MmaFn> {
    use MmaInput as I;
    Some(match (a, b) {
        (I::S8, I::S8) => integer::<S8, S8, SAT>,
        (I::S8, I::U8) => integer::<S8, U8, SAT>,
        (I::U8, I::S8) => integer::<U8, S8, SAT>,
        (I::U8, I::U8) => integer::<U8, U8, SAT>,
        (I::S4, I::S4) => integer::<S4, S4, SAT>,
        (I::S4, I::U4) => integer::<S4, U4, SAT>,
        (I::U4, I::S4) => integer::<U4, S4, SAT>,
        (I::U4, I::U4) => integer::<U4, U4, SAT>,
        _ => return None,
    })
}

/// Which k the stored element `s` of `row` has; `per` elements are in a register, `stored` in a row.
fn place(metadata: &Lanes32, selector: usize, per: usize, stored: usize, row: usize, s: usize) -> usize {
    // Entries of two bits: of an element, a pair of small ones, or the first half of a large one.
    let (entry, entries) = match per {
        8 => (s / 2, stored / 2),
        1 => (2 * s, 2 * stored),
        _ => (s, stored),
    };
    let (group, half) = (4 * (row % 8), row / 8);
    let (lane, shift) = match (per, entries) {
        (1 | 2, ..=8) => (selector, 16 * half + 2 * entry),
        (1 | 2, _) => (2 * selector + entry / 8, 16 * half + 2 * (entry % 8)),
        (_, ..=16) => (2 * selector + half, 2 * entry),
        (_, _) => (half + 2 * (entry / 16), 2 * (entry % 16)),
    };
    let unit = 4 * (entry / 2) + (metadata[(group + lane) % 32] >> shift & 3) as usize;
    match per {
        8 => 2 * unit + s % 2,
        1 => unit / 2,
        _ => unit,
    }
}

/// A row by row as stored, each element with its k; B column by column.
struct Factors<V> {
    left: [[(V, usize); MAX_STORED]; 16],
    right: [[V; 2 * MAX_STORED]; 8],
    /// Elements of a row that are stored.
    stored: usize,
}

impl<V: Copy> Factors<V> {
    /// The pairs that row and column multiply.
    fn pairs(&self, row: usize, col: usize) -> impl Iterator<Item = (V, V)> + '_ {
        self.left[row][..self.stored].iter().map(move |&(value, k)| (value, self.right[col][k]))
    }
}

fn factors<A: Element, B: Element<Value = A::Value>>(a: &[&Lanes32], b: &[&Lanes32]) -> Factors<A::Value> {
    let (elements, last) = a.split_at(a.len().saturating_sub(2));
    let (metadata, selector) = match last {
        [metadata, selector] => (*metadata, selector[0] as usize % 4),
        _ => (&[0; 32], 0),
    };
    let stored = (4 * A::PER * elements.len() / 2).min(MAX_STORED);
    let zero = A::Value::default();
    let mut factors =
        Factors { left: [[(zero, 0); MAX_STORED]; 16], right: [[zero; 2 * MAX_STORED]; 8], stored };
    for (i, register) in elements.iter().enumerate() {
        for (lane, &word) in register.iter().enumerate() {
            for e in 0..A::PER {
                let (row, s) = (lane / 4 + 8 * (i % 2), A::PER * (lane % 4) + e + 4 * A::PER * (i / 2));
                let k = place(metadata, selector, A::PER, stored, row, s);
                factors.left[row][s] = (A::get(word, e), k);
            }
        }
    }
    for (i, register) in b.iter().enumerate() {
        for (lane, &word) in register.iter().enumerate() {
            for e in 0..B::PER {
                factors.right[lane / 4][B::PER * (lane % 4) + e + 4 * B::PER * i] = B::get(word, e);
            }
        }
    }
    factors
}

fn float<A: Element<Value = f32>, B: Element<Value = f32>, const HALF: bool>(
    d: &mut [Lanes32],
    a: &[&Lanes32],
    b: &[&Lanes32],
    c: &[&Lanes32],
) {
    let factors = factors::<A, B>(a, b);
    let sum = |start: f32, row, col| factors.pairs(row, col).fold(start, |sum, (x, y)| x.mul_add(y, sum));
    for (i, (d, c)) in d.iter_mut().zip(c).enumerate() {
        for lane in 0..32 {
            let (g, q) = (lane / 4, lane % 4);
            d[lane] = if HALF {
                let half = |e: usize| {
                    let total = sum(F16::get(c[lane], e), g + 8 * i, 2 * q + e);
                    u32::from(half::f16::from_f32(total).to_bits()) << (16 * e)
                };
                half(0) | half(1)
            } else {
                sum(f32::from_bits(c[lane]), g + 8 * (i / 2), 2 * q + i % 2).to_bits()
            };
        }
    }
}

fn integer<A: Element<Value = i32>, B: Element<Value = i32>, const SAT: bool>(
    d: &mut [Lanes32],
    a: &[&Lanes32],
    b: &[&Lanes32],
    c: &[&Lanes32],
) {
    let factors = factors::<A, B>(a, b);
    for (i, (d, c)) in d.iter_mut().zip(c).enumerate() {
        for lane in 0..32 {
            let (row, col) = (lane / 4 + 8 * (i / 2), 2 * (lane % 4) + i % 2);
            let sum: i32 = factors.pairs(row, col).map(|(x, y)| x * y).sum();
            let start = c[lane] as i32;
            d[lane] = if SAT { start.saturating_add(sum) } else { start.wrapping_add(sum) } as u32;
        }
    }
}
