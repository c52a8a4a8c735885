//! What attention gives: exactly, and as PyTorch's eager attention gives it.
//!
//! ```text
//! exact   f64 throughout, nothing rounded
//! eager   k·scale rounded; each score rounded; softcap and the like rounded op by op; softmax in f32, rounded; P·V added in f32, rounded
//! ```
//! The second is the yardstick of FlashAttention's rule: a kernel may be off by twice what eager attention of the same type is off by. Its
//! logarithm of sums comes from scores in f32 that nothing rounds further, since that is what a kernel keeps them in.

use half::{bf16, f16};
use rayon::prelude::*;
use tilewright_compiler::tile::ElemType;

/// A score's place: batch, query head, query, key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    pub b: usize,
    pub h: usize,
    pub i: usize,
    pub j: usize,
}

/// Rounds after an operation, or does not.
pub type Round<'a> = &'a dyn Fn(f64) -> f64;

/// One attention: numbers in row-major order, already of the type.
pub struct Problem<'a> {
    pub elem: ElemType,
    pub batch: usize,
    pub heads: usize,
    /// Divides `heads`.
    pub kv_heads: usize,
    pub queries: usize,
    pub keys: usize,
    pub dim: usize,
    pub value_dim: usize,
    /// [batch, heads, queries, dim]
    pub q: &'a [f32],
    /// [batch, kv_heads, keys, dim]
    pub k: &'a [f32],
    /// [batch, kv_heads, keys, value_dim]
    pub v: &'a [f32],
    pub scale: f32,
    pub mask: &'a (dyn Fn(At) -> bool + Sync),
    /// From scale · q · k, in natural-log units; rounds after each of its operations.
    pub score: &'a (dyn Fn(f64, At, Round<'_>) -> f64 + Sync),
    /// A head's logit without a value, −∞ for none.
    pub sink: &'a (dyn Fn(usize) -> f64 + Sync),
}

/// Outputs [batch, heads, queries, value_dim] and natural logarithms of the sums of exponentials [batch, heads, queries].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attention {
    pub o: Vec<f64>,
    pub lse: Vec<f64>,
}

impl Problem<'_> {
    /// In f64.
    pub fn exact(&self) -> Attention {
        let query = |b: usize, h: usize, i: usize| {
            let row = self.row(self.q, self.dim, (b, h, self.heads), i, self.queries);
            let g = h / (self.heads / self.kv_heads);
            let mut seen = Vec::new();
            for j in (0..self.keys).filter(|&j| (self.mask)(At { b, h, i, j })) {
                let k = self.row(self.k, self.dim, (b, g, self.kv_heads), j, self.keys);
                let s = dot64(row, k) * f64::from(self.scale);
                seen.push((j, (self.score)(s, At { b, h, i, j }, &|x| x)));
            }
            let (sink, mut o) = ((self.sink)(h), vec![0.0; self.value_dim]);
            let top = seen.iter().fold(sink, |m, (_, s)| m.max(*s));
            if top == f64::NEG_INFINITY {
                return (o, f64::NEG_INFINITY);
            }
            let mut sum = (sink - top).exp();
            for (j, s) in &seen {
                let p = (s - top).exp();
                sum += p;
                let v = self.row(self.v, self.value_dim, (b, g, self.kv_heads), *j, self.keys);
                o.iter_mut().zip(v).for_each(|(o, v)| *o += p * f64::from(*v));
            }
            o.iter_mut().for_each(|o| *o /= sum);
            (o, top + sum.ln())
        };
        self.every_query(query)
    }

    /// In the type, as eager attention.
    pub fn eager(&self) -> Attention {
        let round = rounding(self.elem);
        let scaled: Vec<f32> = self.k.iter().map(|k| round(k * self.scale)).collect();
        let query = |b: usize, h: usize, i: usize| {
            let row = self.row(self.q, self.dim, (b, h, self.heads), i, self.queries);
            let g = h / (self.heads / self.kv_heads);
            // Scores in the type, and in f32.
            let mut seen: Vec<(usize, f32, f32)> = Vec::new();
            for j in (0..self.keys).filter(|&j| (self.mask)(At { b, h, i, j })) {
                let at = At { b, h, i, j };
                let k = |from| self.row(from, self.dim, (b, g, self.kv_heads), j, self.keys);
                let typed = |x: f64| f64::from(round(x as f32));
                let s = (self.score)(typed(f64::from(dot32(row, k(&scaled)))), at, &typed);
                let wide = dot32(row, k(self.k)) * self.scale;
                let wide = (self.score)(f64::from(wide), at, &|x| f64::from(x as f32));
                seen.push((j, s as f32, wide as f32));
            }
            let (sink, mut o) = ((self.sink)(h) as f32, vec![0f32; self.value_dim]);
            let top = seen.iter().fold(sink, |m, (_, s, _)| m.max(*s));
            let wide_top = seen.iter().fold(sink, |m, (.., s)| m.max(*s));
            if top == f32::NEG_INFINITY {
                return (vec![0.0; self.value_dim], f64::NEG_INFINITY);
            }
            let sum = seen.iter().fold((sink - top).exp(), |sum, (_, s, _)| sum + (s - top).exp());
            let wide = seen.iter().fold((sink - wide_top).exp(), |sum, (.., s)| sum + (s - wide_top).exp());
            for (j, s, _) in &seen {
                let p = round((s - top).exp() / sum);
                let v = self.row(self.v, self.value_dim, (b, g, self.kv_heads), *j, self.keys);
                o.iter_mut().zip(v).for_each(|(o, v)| *o += p * v);
            }
            (o.into_iter().map(|o| f64::from(round(o))).collect(), f64::from(wide_top + wide.ln()))
        };
        self.every_query(query)
    }

    /// Row `i` of head `h` of `heads` in batch `b`.
    fn row<'a>(
        &self,
        from: &'a [f32],
        width: usize,
        (b, h, heads): (usize, usize, usize),
        i: usize,
        rows: usize,
    ) -> &'a [f32] {
        let start = ((b * heads + h) * rows + i) * width;
        &from[start..start + width]
    }

    fn every_query(&self, query: impl Fn(usize, usize, usize) -> (Vec<f64>, f64) + Sync) -> Attention {
        let rows: Vec<(Vec<f64>, f64)> = (0..self.batch * self.heads * self.queries)
            .into_par_iter()
            .map(|n| {
                let (bh, i) = (n / self.queries, n % self.queries);
                query(bh / self.heads, bh % self.heads, i)
            })
            .collect();
        let mut all = Attention::default();
        for (o, lse) in rows {
            all.o.extend(o);
            all.lse.push(lse);
        }
        all
    }
}

/// Rounding to a type of at most 32 bits that attention comes in.
pub fn rounding(elem: ElemType) -> fn(f32) -> f32 {
    match elem {
        ElemType::F16 => |x| f16::from_f32(x).to_f32(),
        ElemType::Bf16 => |x| bf16::from_f32(x).to_f32(),
        _ => |x| x,
    }
}

/// Eight sums, so that the additions need not wait for each other.
fn dot64(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0f64; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += f64::from(*a) * f64::from(*b);
        }
    }
    sums.iter().sum()
}

fn dot32(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_keys(mask: &(dyn Fn(At) -> bool + Sync), sink: &(dyn Fn(usize) -> f64 + Sync)) -> [Attention; 2] {
        let problem = Problem {
            elem: ElemType::F16,
            batch: 1,
            heads: 1,
            kv_heads: 1,
            queries: 1,
            keys: 2,
            dim: 1,
            value_dim: 1,
            q: &[1.0],
            k: &[0.0, 2.0],
            v: &[4.0, 8.0],
            scale: 0.5,
            mask,
            score: &|s, _, _| s,
            sink,
        };
        [problem.exact(), problem.eager()]
    }

    /// Scores 0 and 1: weights 1 / (1 + e) and e / (1 + e).
    #[test]
    fn two_keys_by_hand() {
        let e = std::f64::consts::E;
        let [exact, eager] = two_keys(&|_| true, &|_| f64::NEG_INFINITY);
        assert!((exact.o[0] - (4.0 + 8.0 * e) / (1.0 + e)).abs() < 1e-12);
        assert!((exact.lse[0] - (1.0 + e).ln()).abs() < 1e-12);
        assert!(eager.o[0] != exact.o[0] && (eager.o[0] - exact.o[0]).abs() < 5e-3, "{eager:?}");
        assert!((eager.lse[0] - exact.lse[0]).abs() < 1e-6, "{eager:?}");
        let [exact, _] = two_keys(&|at| at.j == 0, &|_| 0.0);
        assert_eq!((exact.o[0], exact.lse[0]), (2.0, 2f64.ln()));
    }

    #[test]
    fn a_query_that_sees_nothing() {
        for all in two_keys(&|_| false, &|_| f64::NEG_INFINITY) {
            assert_eq!((all.o[0], all.lse[0]), (0.0, f64::NEG_INFINITY));
        }
        // With a sink there is a sum.
        for all in two_keys(&|_| false, &|_| 3.0) {
            assert_eq!((all.o[0], all.lse[0]), (0.0, 3.0));
        }
    }
}
