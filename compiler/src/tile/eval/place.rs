//! Subscripts: from one index tile per dimension to an offset per lane.
//!
//! A place is the list of offsets that `t[e0, e1, …]` touches, one per lane of the union of the subscripts' axes. Most places are
//! *separable*: each subscript has at most one axis and no axis is in two of them (`a[i, k]`, `q[b, h, i, :]`, `x[src[i], k]`), so the offset
//! is a sum of one term per axis and rows are often contiguous. Anything else (`a[i, i]`, `kc[pages[b, j / P], j % P]`) is resolved
//! lane by lane. Coordinates outside the dimension give [`OUTSIDE`].
//!
//! Worked example: `a[i, k - 1]` with `a` of 4×8, `i` = 2, 3 and `k` = 0, 1, 2 is separable: terms 16, 24 for `i`; OUTSIDE, 0, 1 for `k`.

use super::values::{TileRef, dense_strides, each_row, spread};
use crate::tile::ir::AxisId;

/// The offset of a lane whose coordinates are outside.
pub(crate) const OUTSIDE: usize = usize::MAX;

/// One dimension of what is subscripted: coordinates `lo .. lo + len`, `stride` elements apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub lo: i64,
    pub len: usize,
    pub stride: usize,
}

impl Extent {
    /// Dense row-major extents from coordinate 0.
    pub fn dense(shape: &[usize]) -> Vec<Extent> {
        let strides = dense_strides(shape);
        shape.iter().zip(strides).map(|(&len, stride)| Extent { lo: 0, len, stride }).collect()
    }

    fn offset(self, coordinate: i64) -> usize {
        match usize::try_from(coordinate.wrapping_sub(self.lo)) {
            Ok(at) if at < self.len => at * self.stride,
            _ => OUTSIDE,
        }
    }
}

/// The lanes of a subscripted read or write.
#[derive(Debug)]
pub(crate) struct Place {
    pub axes: Vec<AxisId>,
    pub shape: Vec<usize>,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// Offset = base + one term per axis, OUTSIDE if any is.
    Separable {
        base: usize,
        terms: Vec<Vec<usize>>,
    },
    Gather(Vec<usize>),
}

impl Place {
    /// Resolves one subscript per extent.
    pub fn new(extents: &[Extent], ix: &[TileRef]) -> Place {
        let mut axes = Vec::new();
        let mut shape = Vec::new();
        let mut separable = true;
        for x in ix {
            separable &= x.axes.len() <= 1;
            for (&a, &n) in x.axes.iter().zip(&x.shape) {
                if axes.contains(&a) {
                    separable = false;
                } else {
                    axes.push(a);
                    shape.push(n);
                }
            }
        }
        let form =
            if separable { Self::separable(extents, ix) } else { Self::gather(extents, ix, &axes, &shape) };
        Place { axes, shape, form }
    }

    fn separable(extents: &[Extent], ix: &[TileRef]) -> Form {
        let mut base = 0;
        let mut terms = Vec::new();
        for (x, extent) in ix.iter().zip(extents) {
            if x.axes.is_empty() {
                base = sum(base, extent.offset(x.as_int()));
            } else {
                terms.push(x.ints().iter().map(|&c| extent.offset(c)).collect());
            }
        }
        Form::Separable { base, terms }
    }

    fn gather(extents: &[Extent], ix: &[TileRef], axes: &[AxisId], shape: &[usize]) -> Form {
        let mut offsets = vec![0; shape.iter().product()];
        for (x, extent) in ix.iter().zip(extents) {
            let coordinates = x.ints();
            for (offset, &c) in offsets.iter_mut().zip(&*spread(&coordinates, &x.axes, &x.shape, axes, shape))
            {
                *offset = sum(*offset, extent.offset(c));
            }
        }
        Form::Gather(offsets)
    }

    pub fn lanes(&self) -> usize {
        self.shape.iter().product()
    }

    /// The offset of every lane.
    pub fn offsets(&self) -> Vec<usize> {
        match &self.form {
            Form::Gather(offsets) => offsets.clone(),
            Form::Separable { base, terms } => {
                let mut out = Vec::with_capacity(self.lanes());
                each_separable_row(*base, terms, |start, last| {
                    out.extend(last.iter().map(|&t| sum(start, t)))
                });
                out
            }
        }
    }

    /// The elements of `x` at the lanes' offsets, the default where a lane is outside.
    pub fn load<T: Copy + Default>(&self, x: &[T]) -> Vec<T> {
        let Form::Separable { base, terms } = &self.form else {
            return self.load_with(|at| x[at]);
        };
        let Some(run) = terms.last().and_then(|t| Run::of(t)) else {
            return self.load_with(|at| x[at]);
        };
        let mut out = Vec::with_capacity(self.lanes());
        each_separable_row(*base, terms, |start, last| {
            let end = out.len() + last.len();
            if start != OUTSIDE {
                out.resize(out.len() + run.before, T::default());
                out.extend_from_slice(&x[start + run.first..start + run.first + run.count]);
            }
            out.resize(end, T::default());
        });
        out
    }

    /// `load` of each lane's element, the default where a lane is outside.
    pub fn load_with<T: Copy + Default>(&self, load: impl Fn(usize) -> T) -> Vec<T> {
        let get = |at: usize| if at == OUTSIDE { T::default() } else { load(at) };
        match &self.form {
            Form::Gather(offsets) => offsets.iter().map(|&at| get(at)).collect(),
            Form::Separable { base, terms } => {
                let mut out = Vec::with_capacity(self.lanes());
                each_separable_row(*base, terms, |start, last| {
                    out.extend(last.iter().map(|&t| get(sum(start, t))));
                });
                out
            }
        }
    }

    /// Whether no two lanes can have one offset, which is cheap to see where every axis moves by itself.
    pub fn surely_distinct(&self) -> bool {
        let Form::Separable { terms, .. } = &self.form else {
            return self.lanes() <= 1;
        };
        terms.iter().all(|t| t.windows(2).all(|w| w[0] < w[1]))
    }
}

/// Sum of two offsets.
fn sum(a: usize, b: usize) -> usize {
    if a == OUTSIDE || b == OUTSIDE { OUTSIDE } else { a + b }
}

/// A row of terms that is consecutive offsets between lanes that are outside.
struct Run {
    before: usize,
    first: usize,
    count: usize,
}

impl Run {
    fn of(terms: &[usize]) -> Option<Run> {
        let before = terms.iter().take_while(|&&t| t == OUTSIDE).count();
        let inside = &terms[before..];
        let count = inside.iter().take_while(|&&t| t != OUTSIDE).count();
        let first = inside.first().copied().unwrap_or(0);
        let consecutive = inside[..count].iter().enumerate().all(|(n, &t)| t == first + n);
        let rest_outside = inside[count..].iter().all(|&t| t == OUTSIDE);
        (consecutive && rest_outside).then_some(Run {
            before,
            first: if count == 0 { 0 } else { first },
            count,
        })
    }
}

/// Visits the rows along the last axis: the sum of all other terms, and the last axis' terms.
fn each_separable_row(base: usize, terms: &[Vec<usize>], mut row: impl FnMut(usize, &[usize])) {
    let Some((last, outer)) = terms.split_last() else {
        return row(base, &[0]);
    };
    let shape: Vec<usize> = outer.iter().map(Vec::len).chain([1]).collect();
    let strides = vec![0; shape.len()];
    // `each_row` counts the outer axes; the term sum follows the same odometer.
    let mut at = vec![0; outer.len()];
    each_row(&shape, &strides, |_, _, _| {
        let start = outer.iter().zip(&at).fold(base, |s, (t, &n)| sum(s, t[n]));
        row(start, last);
        for d in (0..at.len()).rev() {
            at[d] += 1;
            if at[d] < outer[d].len() {
                break;
            }
            at[d] = 0;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::values::{Tile, Values};
    use super::*;
    use std::sync::Arc;

    fn index(axis: u32, coordinates: &[i64]) -> TileRef {
        Arc::new(Tile {
            axes: vec![AxisId(axis)],
            shape: vec![coordinates.len()],
            data: Values::Int(coordinates.to_vec()),
        })
    }

    #[test]
    fn separable_and_gathered_places_agree() {
        let x: Vec<i64> = (0..32).collect();
        let extents = Extent::dense(&[4, 8]);
        for columns in [vec![-1, 0, 1, 2], vec![3, 2, 9, 0], vec![6, 7, 8, 9], vec![], vec![8, 9]] {
            let ix = [index(0, &[2, 3, 4]), index(1, &columns)];
            let place = Place::new(&extents, &ix);
            let expected: Vec<i64> = [2i64, 3, 4]
                .iter()
                .flat_map(|&i| columns.iter().map(move |&k| (i, k)))
                .map(|(i, k)| if i < 4 && (0..8).contains(&k) { 8 * i + k } else { 0 })
                .collect();
            assert_eq!(place.load(&x), expected, "{columns:?}");
            assert_eq!(place.load_with(|at| x[at]), expected);
            let by_lane =
                place.offsets().iter().map(|&at| if at == OUTSIDE { 0 } else { x[at] }).collect::<Vec<_>>();
            assert_eq!(by_lane, expected);
        }
    }

    #[test]
    fn a_diagonal_is_one_axis() {
        let place = Place::new(&Extent::dense(&[3, 3]), &[index(0, &[0, 1, 2]), index(0, &[0, 1, 2])]);
        assert_eq!(place.axes, [AxisId(0)]);
        assert_eq!(place.offsets(), [0, 4, 8]);
    }

    #[test]
    fn repeated_coordinates_are_not_distinct() {
        let extents = Extent::dense(&[3, 3]);
        assert!(Place::new(&extents, &[index(0, &[0, 2]), index(1, &[0, 1])]).surely_distinct());
        assert!(!Place::new(&extents, &[index(0, &[2, 2]), index(1, &[0, 1])]).surely_distinct());
    }
}
