//! Tile values at run time: dense arrays over the lanes that exist.
//!
//! A tile's array has one entry per *existing* lane, the last axis varying fastest: an axis of 64 lanes whose last tile is 10 long
//! contributes 10. Lanes past the end are therefore not skipped anywhere, they are not there.

use std::borrow::Cow;
use std::sync::Arc;

use crate::tile::ir::AxisId;

/// Elements of one tensor or tile: floats as `f64`; integers and `bool` as `i64`, a `u64` by its bits.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    Float(Vec<f64>),
    Int(Vec<i64>),
}

impl Values {
    /// `len` zeros (or `false`).
    pub fn zeros(float: bool, len: usize) -> Values {
        if float { Values::Float(vec![0.0; len]) } else { Values::Int(vec![0; len]) }
    }

    pub fn len(&self) -> usize {
        match self {
            Values::Float(x) => x.len(),
            Values::Int(x) => x.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A tile: an array over named axes.
#[derive(Clone, Debug)]
pub(crate) struct Tile {
    pub axes: Vec<AxisId>,
    /// Existing lanes of each axis.
    pub shape: Vec<usize>,
    pub data: Values,
}

/// Tiles are immutable and shared between iterations and instances.
pub(crate) type TileRef = Arc<Tile>;

impl Tile {
    pub fn float(x: f64) -> Tile {
        Tile { axes: Vec::new(), shape: Vec::new(), data: Values::Float(vec![x]) }
    }

    pub fn int(x: i64) -> Tile {
        Tile { axes: Vec::new(), shape: Vec::new(), data: Values::Int(vec![x]) }
    }

    /// The first element as an integer; scalars have exactly one.
    pub fn as_int(&self) -> i64 {
        match &self.data {
            Values::Int(x) => x.first().copied().unwrap_or(0),
            Values::Float(x) => x.first().copied().unwrap_or(0.0) as i64,
        }
    }

    /// Whether some element of a `bool` tile is true.
    pub fn any(&self) -> bool {
        match &self.data {
            Values::Int(x) => x.iter().any(|&v| v != 0),
            Values::Float(x) => x.iter().any(|&v| v != 0.0),
        }
    }

    /// Whether every element is set.
    pub fn all(&self) -> bool {
        match &self.data {
            Values::Int(x) => x.iter().all(|&v| v != 0),
            Values::Float(x) => x.iter().all(|&v| v != 0.0),
        }
    }

    /// The elements as floats (integers converted: the caller knows better, this keeps a malformed kernel from panicking).
    pub fn floats(&self) -> Cow<'_, [f64]> {
        match &self.data {
            Values::Float(x) => Cow::Borrowed(x),
            Values::Int(x) => Cow::Owned(x.iter().map(|&v| v as f64).collect()),
        }
    }

    /// The elements as integers.
    pub fn ints(&self) -> Cow<'_, [i64]> {
        match &self.data {
            Values::Int(x) => Cow::Borrowed(x),
            Values::Float(x) => Cow::Owned(x.iter().map(|&v| v as i64).collect()),
        }
    }

    /// The tile on `axes` (its own and others, in any order) of `shape`.
    pub fn spread(&self, axes: &[AxisId], shape: &[usize]) -> Values {
        match &self.data {
            Values::Float(x) => Values::Float(spread(x, &self.axes, &self.shape, axes, shape).into_owned()),
            Values::Int(x) => Values::Int(spread(x, &self.axes, &self.shape, axes, shape).into_owned()),
        }
    }
}

/// Elements between neighbours along each axis of a dense array.
pub(crate) fn dense_strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for d in (1..shape.len()).rev() {
        strides[d - 1] = strides[d] * shape[d];
    }
    strides
}

/// The array `x` over `from` seen on the axes `to`: permuted, and repeated along the axes that it lacks.
pub(crate) fn spread<'a, T: Copy>(
    x: &'a [T],
    from: &[AxisId],
    from_shape: &[usize],
    to: &[AxisId],
    to_shape: &[usize],
) -> Cow<'a, [T]> {
    if from == to {
        return Cow::Borrowed(x);
    }
    let len = to_shape.iter().product();
    if from.is_empty() {
        return Cow::Owned(x.first().map(|&v| vec![v; len]).unwrap_or_default());
    }
    let own = dense_strides(from_shape);
    let strides: Vec<usize> =
        to.iter().map(|a| from.iter().position(|b| a == b).map_or(0, |at| own[at])).collect();
    let mut out = Vec::with_capacity(len);
    each_row(to_shape, &strides, |start, count, step| match step {
        0 => out.resize(out.len() + count, x[start]),
        1 => out.extend_from_slice(&x[start..start + count]),
        _ => out.extend((0..count).map(|n| x[start + n * step])),
    });
    Cow::Owned(out)
}

/// Visits the rows (runs along the last axis) of a strided array in order: where the row starts, how many elements it has and how
/// far apart they are.
pub(crate) fn each_row(shape: &[usize], strides: &[usize], mut row: impl FnMut(usize, usize, usize)) {
    if shape.contains(&0) {
        return;
    }
    let Some(last) = shape.len().checked_sub(1) else {
        return row(0, 1, 1);
    };
    let mut at = vec![0; last];
    let mut start = 0;
    loop {
        row(start, shape[last], strides[last]);
        let mut d = last;
        loop {
            if d == 0 {
                return;
            }
            d -= 1;
            at[d] += 1;
            start += strides[d];
            if at[d] < shape[d] {
                break;
            }
            start -= at[d] * strides[d];
            at[d] = 0;
        }
    }
}

/// A float or integer operand of an elementwise operation on known axes.
pub(crate) enum Operand<'a, T: Copy> {
    /// One value for all lanes.
    Same(T),
    Each(Cow<'a, [T]>),
}

impl<'a, T: Copy> Operand<'a, T> {
    /// `tile`, whose elements are `x`, on `axes`.
    pub fn new(x: Cow<'a, [T]>, tile: &Tile, axes: &[AxisId], shape: &[usize]) -> Operand<'a, T> {
        if tile.axes.is_empty()
            && !axes.is_empty()
            && let Some(&v) = x.first()
        {
            return Operand::Same(v);
        }
        match x {
            Cow::Borrowed(x) => Operand::Each(spread(x, &tile.axes, &tile.shape, axes, shape)),
            Cow::Owned(x) => {
                Operand::Each(Cow::Owned(spread(&x, &tile.axes, &tile.shape, axes, shape).into_owned()))
            }
        }
    }
}

/// `f` of one operand for `len` lanes.
pub(crate) fn map1<T: Copy, R: Copy>(x: &Operand<T>, len: usize, f: impl Fn(T) -> R) -> Vec<R> {
    match x {
        Operand::Same(x) => vec![f(*x); len],
        Operand::Each(x) => x.iter().map(|&x| f(x)).collect(),
    }
}

/// `f` of two operands, lane by lane.
pub(crate) fn map2<T: Copy, U: Copy, R: Copy>(
    x: &Operand<T>,
    y: &Operand<U>,
    len: usize,
    f: impl Fn(T, U) -> R,
) -> Vec<R> {
    match (x, y) {
        (Operand::Same(x), Operand::Same(y)) => vec![f(*x, *y); len],
        (Operand::Same(x), Operand::Each(y)) => y.iter().map(|&y| f(*x, y)).collect(),
        (Operand::Each(x), Operand::Same(y)) => x.iter().map(|&x| f(x, *y)).collect(),
        (Operand::Each(x), Operand::Each(y)) => x.iter().zip(y.iter()).map(|(&x, &y)| f(x, y)).collect(),
    }
}

/// `f` of three operands, lane by lane.
pub(crate) fn map3<T: Copy, U: Copy, R: Copy>(
    x: &Operand<T>,
    y: &Operand<U>,
    z: &Operand<U>,
    len: usize,
    f: impl Fn(T, U, U) -> R,
) -> Vec<R> {
    fn at<T: Copy>(x: &Operand<T>, n: usize) -> T {
        match x {
            Operand::Same(x) => *x,
            Operand::Each(x) => x[n],
        }
    }
    match (x, y, z) {
        (Operand::Each(x), Operand::Each(y), Operand::Each(z)) => {
            x.iter().zip(y.iter()).zip(z.iter()).map(|((&x, &y), &z)| f(x, y, z)).collect()
        }
        _ => (0..len).map(|n| f(at(x, n), at(y, n), at(z, n))).collect(),
    }
}
