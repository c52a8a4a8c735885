//! Runs of `mma` that share operands.
//!
//! A main loop multiplies a few fragments of A with a few of B, each with each. Alone, every `mma` would widen and rearrange both of its
//! operands anew, which costs as much as the products do. A [`MmaRun`] is a straight run of them: each A is spread and each B transposed once,
//! then every product is loads and fused multiply-adds:
//!
//! ```text
//! mma d0, a0, b0, d0;  mma d1, a0, b1, d1;  mma d2, a1, b0, d2;  mma d3, a1, b1, d3;
//! spread a0, a1        transpose b0, b1     four products
//! ```
//! The sums are those of single instructions, bit for bit.
//!
//! # Invariants
//! No product of a run writes what another one multiplies with. Sums are neighbouring cells that accumulate in place.

use super::super::frame::{Frame, R32};
use super::super::program::{MmaPlace, Step, StepKind, ValP};
use super::Lanes32;
use super::warpgroup::Spread;
use super::{MmaInput, MmaSum};

/// B transposed: for each k the even columns, then the odd ones.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub struct Columns(pub(super) [[f32; 8]; 16]);

/// The kernels of `m16n8k16` with f32 sums, taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    pub(super) spread: fn([&Lanes32; 4], &mut Spread<16>),
    pub(super) unpack: fn([&Lanes32; 2], &mut Columns),
    pub(super) tile: fn(&mut [Lanes32; 4], &Spread<16>, &Columns),
    /// Two tiles with the same rows, side by side.
    pub(super) pair: fn(&mut [Lanes32; 4], &mut [Lanes32; 4], &Spread<16>, [&Columns; 2]),
}

/// The kernels of a combination of types, where this CPU has them.
pub fn batch(k: u32, a: MmaInput, b: MmaInput, sum: MmaSum) -> Option<Batch> {
    if k != 16 || a != b || !matches!(a, MmaInput::F16 | MmaInput::Bf16) || sum != MmaSum::F32 {
        return None;
    }
    #[cfg(target_arch = "x86_64")]
    if super::avx512::available() && is_x86_feature_detected!("f16c") {
        return Some(super::avx512::wide::batch(a == MmaInput::Bf16));
    }
    None
}

/// Fragments that a run keeps at most: A's are 4 KiB each, B's 512 bytes, and both should stay in the first cache.
const MAX_A: usize = 4;
const MAX_B: usize = 16;

/// A run of `mma`.
#[derive(Clone, Debug)]
pub struct MmaRun {
    kernels: Batch,
    a: Vec<[R32; 4]>,
    b: Vec<[R32; 2]>,
    /// First register of the sums, and the numbers of A and B.
    products: Vec<(R32, usize, usize)>,
    /// The same products in the order in which they are done: two with the same rows at once where there are two.
    order: Vec<Turn>,
}

/// One or two products: the number of A; sums and the number of B of each.
type Turn = (usize, (R32, usize), Option<(R32, usize)>);

/// Pairs products with the same A. Products with the same sums stay in order.
fn pair_up(products: &[(R32, usize, usize)]) -> Vec<Turn> {
    let mut left = products.to_vec();
    let mut order = Vec::new();
    while !left.is_empty() {
        let (d, a, b) = left.remove(0);
        let fits = |(at, &(other, same, _)): (usize, &(R32, usize, usize))| {
            same == a && other != d && left[..at].iter().all(|&(before, ..)| before != other)
        };
        let partner = left.iter().enumerate().position(fits).map(|at| left.remove(at));
        order.push((a, (d, b), partner.map(|(d, _, b)| (d, b))));
    }
    order
}

/// Room for a run's operands.
#[derive(Default)]
pub struct Scratch {
    a: Vec<Spread<16>>,
    b: Vec<Columns>,
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scratch({} A, {} B)", self.a.len(), self.b.len())
    }
}

impl MmaRun {
    /// The run that begins at `steps[0]`, if there is one of at least two products.
    pub fn find(steps: &[Step]) -> Option<MmaRun> {
        let mut run: Option<MmaRun> = None;
        for (number, step) in steps.iter().enumerate() {
            let StepKind::Mma(mma) = &step.kind else { break };
            if (number > 0 && step.block_start) || step.guard != ValP::ALWAYS {
                break;
            }
            let (Some(kernels), MmaPlace::Accumulates) = (mma.batch, mma.place) else { break };
            let (Ok(a), Ok(b)) = (<[R32; 4]>::try_from(&mma.a[..]), <[R32; 2]>::try_from(&mma.b[..])) else {
                break;
            };
            let run =
                run.get_or_insert(MmaRun { kernels, a: vec![], b: vec![], products: vec![], order: vec![] });
            if !std::ptr::fn_addr_eq(run.kernels.spread, kernels.spread) || !run.add(mma.d[0], a, b) {
                break;
            }
        }
        let mut run = run.filter(|run| run.products.len() > 1)?;
        run.order = pair_up(&run.products);
        Some(run)
    }

    /// Adds a product unless it depends on another one, or is one too many.
    fn add(&mut self, d: R32, a: [R32; 4], b: [R32; 2]) -> bool {
        let sums = |first: R32| first.0..first.0 + 4;
        let clash = |r: &R32, first: R32| sums(first).contains(&r.0);
        let reads_sum = |first: R32| a.iter().chain(&b).any(|r| clash(r, first));
        let mut operands = self.a.as_flattened().iter().chain(self.b.as_flattened());
        if operands.any(|r| clash(r, d)) || self.products.iter().any(|&(first, ..)| reads_sum(first)) {
            return false;
        }
        let known = (self.a.iter().position(|old| *old == a), self.b.iter().position(|old| *old == b));
        let (a_number, b_number) = (known.0.unwrap_or(self.a.len()), known.1.unwrap_or(self.b.len()));
        if a_number >= MAX_A || b_number >= MAX_B {
            return false;
        }
        if known.0.is_none() {
            self.a.push(a);
        }
        if known.1.is_none() {
            self.b.push(b);
        }
        self.products.push((d, a_number, b_number));
        true
    }

    /// Instructions that it stands for.
    pub fn len(&self) -> usize {
        self.products.len()
    }

    /// Does all of it, for all 32 lanes.
    pub fn execute(&self, frame: &mut Frame, scratch: &mut Scratch) {
        scratch.a.resize_with(self.a.len().max(scratch.a.len()), Spread::zero);
        scratch.b.resize(self.b.len().max(scratch.b.len()), Columns([[0.0; 8]; 16]));
        for (regs, rows) in self.a.iter().zip(&mut scratch.a) {
            (self.kernels.spread)(regs.map(|r| frame.r32(r)), rows);
        }
        for (regs, columns) in self.b.iter().zip(&mut scratch.b) {
            (self.kernels.unpack)(regs.map(|r| frame.r32(r)), columns);
        }
        for &(a, (d, b), partner) in &self.order {
            if let Some((e, other)) = partner
                && let Some((d, e)) = frame.two_quads_mut(d, e)
            {
                (self.kernels.pair)(d, e, &scratch.a[a], [&scratch.b[b], &scratch.b[other]]);
                continue;
            }
            for (d, b) in [Some((d, b)), partner].into_iter().flatten() {
                if let Ok(sums) = frame.range_mut(d, 4).try_into() {
                    (self.kernels.tile)(sums, &scratch.a[a], &scratch.b[b]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_paired_by_their_rows_and_keep_their_order() {
        // Two A, each with two B, there and back; then the first sums again.
        let products = [(0, 0, 0), (4, 0, 1), (8, 1, 1), (12, 1, 0), (0, 0, 2)];
        let order = pair_up(&products.map(|(d, a, b)| (R32(d), a, b)));
        let first = |d, b| (R32(d), b);
        assert_eq!(
            order,
            [
                (0, first(0, 0), Some(first(4, 1))),
                (1, first(8, 1), Some(first(12, 0))),
                (0, first(0, 2), None)
            ]
        );
    }
}
