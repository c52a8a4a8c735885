//! Linear algebra over the field with two elements, on vectors of at most 64 bits.
//!
//! A vector is a `u64`, addition is XOR, a matrix is the list of its columns. Everything a layout asks (is it invertible, which
//! inputs hold the same element, how many lanes hit one bank) is a question about ranks, and ranks come from one
//! data structure: an [`Echelon`], a basis in which every vector owns its highest bit.
//!
//! ```
//! use tilewright_compiler::layout::f2::Echelon;
//! let mut basis = Echelon::default();
//! assert!(basis.insert(0b011, 1).is_none()); // new direction
//! assert!(basis.insert(0b110, 2).is_none()); // new direction
//! // 101 = 011 ^ 110: dependent, and the combination that cancels to zero is inputs 1, 2 and 4.
//! assert_eq!(basis.insert(0b101, 4), Some(0b111));
//! assert_eq!(basis.rank(), 2);
//! ```

/// A basis under construction. Each vector carries the combination of inserted vectors that makes it.
#[derive(Clone, Debug, Default)]
pub struct Echelon {
    /// (vector, combination), highest bits all different, descending.
    rows: Vec<(u64, u64)>,
}

impl Echelon {
    /// A basis of the span of `vectors`; combinations are indices into the iteration.
    pub fn of(vectors: impl IntoIterator<Item = u64>) -> Self {
        let mut basis = Echelon::default();
        for (i, v) in vectors.into_iter().enumerate() {
            basis.insert(v, 1u64.checked_shl(i as u32).unwrap_or(0));
        }
        basis
    }

    /// Adds `vector`, known to the caller as `combination`. If it depends on what is there, nothing is added and the
    /// combination of inserted vectors that sums to zero is returned.
    pub fn insert(&mut self, vector: u64, combination: u64) -> Option<u64> {
        let (rest, combo) = self.reduce(vector);
        let combo = combo ^ combination;
        if rest == 0 {
            return Some(combo);
        }
        let at = self.rows.partition_point(|&(row, _)| row > rest);
        self.rows.insert(at, (rest, combo));
        None
    }

    /// What is left of `vector` after subtracting basis vectors, and the combination subtracted.
    pub fn reduce(&self, mut vector: u64) -> (u64, u64) {
        let mut combo = 0;
        for &(row, c) in &self.rows {
            if vector & highest_bit(row) != 0 {
                vector ^= row;
                combo ^= c;
            }
        }
        (vector, combo)
    }

    /// Whether `vector` is in the span.
    pub fn contains(&self, vector: u64) -> bool {
        self.reduce(vector).0 == 0
    }

    pub fn rank(&self) -> u32 {
        self.rows.len() as u32
    }

    pub fn vectors(&self) -> impl Iterator<Item = u64> + '_ {
        self.rows.iter().map(|r| r.0)
    }
}

fn highest_bit(v: u64) -> u64 {
    1 << (63 - v.leading_zeros())
}

/// Rank of a set of vectors.
pub fn rank(vectors: impl IntoIterator<Item = u64>) -> u32 {
    Echelon::of(vectors).rank()
}

/// A basis of the combinations of `vectors` that sum to zero (bit `i` stands for `vectors[i]`).
pub fn kernel(vectors: &[u64]) -> Vec<u64> {
    let mut basis = Echelon::default();
    vectors.iter().enumerate().filter_map(|(i, &v)| basis.insert(v, 1 << i)).collect()
}

/// A basis of the vectors that lie in both spans.
pub fn intersect(a: &[u64], b: &[u64]) -> Vec<u64> {
    // A dependence between independent vectors of a and of b is an equation Σa = Σb: the common vector.
    let a: Vec<u64> = Echelon::of(a.iter().copied()).vectors().collect();
    let mut basis = Echelon::default();
    for (i, &v) in a.iter().enumerate() {
        basis.insert(v, 1 << i);
    }
    let independent_b: Vec<u64> = Echelon::of(b.iter().copied()).vectors().collect();
    let mut common = Vec::new();
    for &v in &independent_b {
        if let Some(combo) = basis.insert(v, 0) {
            common.push(apply(&a, combo));
        }
    }
    common
}

/// Unit vectors that complete the span of `vectors` to the whole of `bits` dimensions.
pub fn complement(vectors: &[u64], bits: u32) -> Vec<u64> {
    let mut basis = Echelon::of(vectors.iter().copied());
    (0..bits).map(|i| 1u64 << i).filter(|&unit| basis.insert(unit, 0).is_none()).collect()
}

/// The matrix with `columns` times the vector `x`: the XOR of the columns that `x` selects.
pub fn apply(columns: &[u64], mut x: u64) -> u64 {
    let mut image = 0;
    while x != 0 {
        image ^= columns[x.trailing_zeros() as usize];
        x &= x - 1;
    }
    image
}

/// A combination of `columns` for each unit vector of `bits` dimensions, or `None` if some unit vector is not in the
/// span. Later dependent columns are never used, so free inputs are zero.
pub fn right_inverse(columns: &[u64], bits: u32) -> Option<Vec<u64>> {
    let mut basis = Echelon::default();
    for (i, &column) in columns.iter().enumerate() {
        basis.insert(column, 1 << i);
    }
    (0..bits)
        .map(|i| {
            let (rest, combo) = basis.reduce(1 << i);
            (rest == 0).then_some(combo)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(vectors: &[u64]) -> std::collections::BTreeSet<u64> {
        (0..1u64 << vectors.len()).map(|x| apply(vectors, x)).collect()
    }

    proptest! {
        #[test]
        fn intersection_is_the_set_intersection(a in prop::collection::vec(0u64..64, 0..6), b in prop::collection::vec(0u64..64, 0..6)) {
            let common = span(&intersect(&a, &b));
            let expected: std::collections::BTreeSet<u64> = span(&a).intersection(&span(&b)).copied().collect();
            prop_assert_eq!(common, expected);
        }

        #[test]
        fn complement_meets_the_span_in_zero_and_fills_the_rest(a in prop::collection::vec(0u64..64, 0..6)) {
            let c = complement(&a, 6);
            prop_assert_eq!(rank(a.iter().copied()) as usize + c.len(), 6);
            prop_assert_eq!(rank(a.iter().chain(&c).copied()), 6);
        }

        #[test]
        fn kernel_vectors_sum_to_zero_and_count(a in prop::collection::vec(0u64..64, 0..8)) {
            let k = kernel(&a);
            prop_assert!(k.iter().all(|&x| x != 0 && apply(&a, x) == 0));
            prop_assert_eq!(k.len() as u32 + rank(a.iter().copied()), a.len() as u32);
        }
    }
}
