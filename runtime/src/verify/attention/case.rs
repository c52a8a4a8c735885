//! One attention of a test grid: shapes, type, mask, score, and how the tensors lie in memory.
//!
//! Its name says all of it and stands for it in files of results: `f16 b2 h6/2 113x203 d64 window(37,20) softcap(50)`.

use std::fmt;

use serde::Serialize;

use super::reference::{At, Round};

/// A type that attention comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Elem {
    F16,
    Bf16,
}

impl Elem {
    pub fn name(self) -> &'static str {
        match self {
            Elem::F16 => "f16",
            Elem::Bf16 => "bf16",
        }
    }
}

/// Which keys a query sees, by the functions of `dsl_examples/attention.tw`. Places are counted from the last query, which stands at the last
/// key: query i of S at key i + L − S.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mask {
    Full,
    Causal,
    /// Keys so many before and behind the query's place.
    Window {
        left: i32,
        right: i32,
    },
    CausalWindow {
        left: i32,
    },
    /// Keys in the query's own run of so many.
    Chunked {
        chunk: i32,
    },
    CausalChunked {
        chunk: i32,
    },
}

impl Mask {
    /// The function in the language, and its scalars.
    pub fn function(self) -> (&'static str, Vec<(&'static str, i32)>) {
        match self {
            Mask::Full => ("always", vec![]),
            Mask::Causal => ("causal", vec![]),
            Mask::Window { left, right } => ("window", vec![("left", left), ("right", right)]),
            Mask::CausalWindow { left } => ("causal_window", vec![("left", left)]),
            Mask::Chunked { chunk } => ("chunked", vec![("chunk", chunk)]),
            Mask::CausalChunked { chunk } => ("causal_chunked", vec![("chunk", chunk)]),
        }
    }

    /// Whether query i of `queries` sees key j of `keys`.
    pub fn allows(self, i: usize, j: usize, queries: usize, keys: usize) -> bool {
        let (place, j) = (i as i64 + keys as i64 - queries as i64, j as i64);
        let same_run =
            |chunk: i32| chunk == 0 || place.div_euclid(chunk.into()) == j.div_euclid(chunk.into());
        match self {
            Mask::Full => true,
            Mask::Causal => j <= place,
            Mask::Window { left, right } => j >= place - i64::from(left) && j <= place + i64::from(right),
            Mask::CausalWindow { left } => j <= place && j >= place - i64::from(left),
            Mask::Chunked { chunk } => same_run(chunk),
            Mask::CausalChunked { chunk } => j <= place && same_run(chunk),
        }
    }
}

/// What becomes of a score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Score {
    Same,
    Softcap {
        cap: f32,
    },
    /// Slopes per head from a fixed list, times the distance.
    Alibi,
    SoftcapAlibi {
        cap: f32,
    },
}

impl Score {
    /// The function in the language, and its cap.
    pub fn function(self) -> (&'static str, Option<f32>) {
        match self {
            Score::Same => ("same", None),
            Score::Softcap { cap } => ("softcap", Some(cap)),
            Score::Alibi => ("alibi", None),
            Score::SoftcapAlibi { cap } => ("softcap_alibi", Some(cap)),
        }
    }

    pub fn has_slopes(self) -> bool {
        matches!(self, Score::Alibi | Score::SoftcapAlibi { .. })
    }

    /// A head's slope: below 0.3, as in FlashAttention's tests.
    pub fn slope(h: usize) -> f32 {
        [0.25, 0.125, 0.1875, 0.0625, 0.28125, 0.03125][h % 6]
    }

    /// What the function computes, rounded after each operation.
    pub fn apply(self, s: f64, at: At, queries: usize, keys: usize, round: Round<'_>) -> f64 {
        let capped = |s: f64, cap: f32| round(round(round(s / f64::from(cap)).tanh()) * f64::from(cap));
        let sloped = |s: f64| {
            let distance = (at.j as i64 - at.i as i64 - (keys as i64 - queries as i64)).unsigned_abs();
            round(s - round(f64::from(Score::slope(at.h)) * distance as f64))
        };
        match self {
            Score::Same => s,
            Score::Softcap { cap } => capped(s, cap),
            Score::Alibi => sloped(s),
            Score::SoftcapAlibi { cap } => sloped(capped(s, cap)),
        }
    }
}

/// How q, k, v and o lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// [batch, sequence, heads, dimension], as FlashAttention's tensors.
    Sequence,
    /// The same with rows of a multiple of eight numbers, of which those past the dimension are NaN.
    Padded,
    /// k and v side by side in one tensor of [batch, sequence, 2, heads, dimension], of which the other half is NaN here.
    Beside,
    /// [batch, heads, sequence, dimension].
    Heads,
}

/// One attention.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Case {
    /// The grid that it is from.
    pub grid: &'static str,
    pub elem: Elem,
    pub batch: usize,
    pub heads: usize,
    /// Divides `heads`.
    pub kv_heads: usize,
    pub queries: usize,
    pub keys: usize,
    pub dim: usize,
    pub value_dim: usize,
    pub mask: Mask,
    pub score: Score,
    pub layout: Layout,
    /// Query heads beside positions in one tile.
    pub packed: bool,
}

impl Case {
    /// Operations of the two products over what the mask lets through, twice a multiply-add.
    pub fn flops(&self) -> f64 {
        let seen = match self.mask {
            Mask::Full => (self.queries * self.keys) as f64,
            mask => {
                // Every mask of a test is the same for every head; of many queries a sample will do.
                let step = self.queries.div_ceil(1024).max(1);
                let rows: Vec<usize> = (0..self.queries).step_by(step).collect();
                let seen = |i: &usize| {
                    (0..self.keys).filter(|&j| mask.allows(*i, j, self.queries, self.keys)).count()
                };
                rows.iter().map(seen).sum::<usize>() as f64 * self.queries as f64 / rows.len().max(1) as f64
            }
        };
        2.0 * (self.batch * self.heads) as f64 * seen * (self.dim + self.value_dim) as f64
    }

    /// Settings of the kernel: generics, functions, and what the case asks of the schedule.
    pub fn sets(&self) -> Vec<(String, String)> {
        let mut sets = vec![
            ("T", self.elem.name().to_string()),
            ("D", self.dim.to_string()),
            ("DV", self.value_dim.to_string()),
            ("mask", self.mask.function().0.into()),
            ("score", self.score.function().0.into()),
        ];
        if self.packed {
            sets.extend([("BQ", "16".to_string()), ("BR", "4".to_string())]);
        }
        sets.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { grid, batch, heads, kv_heads, queries, keys, dim, value_dim, .. } = self;
        write!(f, "{grid} {} b{batch} h{heads}/{kv_heads} {queries}x{keys} d{dim}", self.elem.name())?;
        if value_dim != dim {
            write!(f, "/{value_dim}")?;
        }
        let (mask, scalars) = self.mask.function();
        if self.mask != Mask::Full {
            write!(f, " {mask}")?;
            if !scalars.is_empty() {
                let scalars: Vec<String> = scalars.iter().map(|(_, v)| v.to_string()).collect();
                write!(f, "({})", scalars.join(","))?;
            }
        }
        match self.score {
            Score::Same => {}
            score => {
                let (name, cap) = score.function();
                write!(f, " {name}")?;
                if let Some(cap) = cap {
                    write!(f, "({cap})")?;
                }
            }
        }
        let layout = match self.layout {
            Layout::Sequence => "",
            Layout::Padded => " padded",
            Layout::Beside => " kv-beside",
            Layout::Heads => " heads-first",
        };
        write!(f, "{layout}{}", if self.packed { " heads-packed" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_by_hand() {
        // Two queries at keys 3 and 4 of five.
        let seen = |mask: Mask| -> Vec<Vec<usize>> {
            (0..2).map(|i| (0..5).filter(|&j| mask.allows(i, j, 2, 5)).collect()).collect()
        };
        assert_eq!(seen(Mask::Causal), [vec![0, 1, 2, 3], vec![0, 1, 2, 3, 4]]);
        assert_eq!(seen(Mask::Window { left: 1, right: 1 }), [vec![2, 3, 4], vec![3, 4]]);
        assert_eq!(seen(Mask::CausalWindow { left: 0 }), [[3], [4]]);
        assert_eq!(seen(Mask::Chunked { chunk: 4 }), [vec![0, 1, 2, 3], vec![4]]);
        // More queries than keys: the first ones stand before all keys.
        assert!(!Mask::Causal.allows(0, 0, 5, 2) && Mask::Causal.allows(3, 0, 5, 2));
        assert!(!Mask::Chunked { chunk: 4 }.allows(0, 0, 5, 2));
    }

    #[test]
    fn a_name_says_everything() {
        let case = Case {
            grid: "fa2",
            elem: Elem::Bf16,
            batch: 4,
            heads: 6,
            kv_heads: 2,
            queries: 113,
            keys: 203,
            dim: 192,
            value_dim: 128,
            mask: Mask::Window { left: 37, right: 20 },
            score: Score::Softcap { cap: 50.0 },
            layout: Layout::Padded,
            packed: true,
        };
        let name = "fa2 bf16 b4 h6/2 113x203 d192/128 window(37,20) softcap(50) padded heads-packed";
        assert_eq!(case.to_string(), name);
        let full = Case { mask: Mask::Full, ..case };
        assert_eq!(full.flops(), 2.0 * 24.0 * 113.0 * 203.0 * 320.0);
    }
}
