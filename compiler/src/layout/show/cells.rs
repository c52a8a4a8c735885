//! A layout as a grid of cells: what table, picture and JSON have in common.

use super::TooLarge;
use crate::layout::{Axis, Dim, Layout, SharedLayout};

/// More elements than this are not drawn.
pub(super) const LIMIT: u64 = 1 << 15;

/// One place that holds an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    /// `32·warp + lane`; `None` where the layout has neither.
    pub(super) thread: Option<u32>,
    pub(super) register: Option<u32>,
    /// Values of the other dimensions that the layout has.
    pub(super) others: Vec<(Dim, u32)>,
}

impl Holder {
    /// `i1.t5:r2`, with only what the layout has.
    pub(super) fn text(&self) -> String {
        let mut parts: Vec<String> = self.others.iter().map(|(d, v)| format!("{}{v}", letter(*d))).collect();
        parts.extend(self.thread.map(|t| format!("t{t}")));
        let mut text = parts.join(".");
        if let Some(r) = self.register {
            text += &format!("{}r{r}", if text.is_empty() { "" } else { ":" });
        }
        if text.is_empty() { "·".into() } else { text }
    }
}

/// One letter per dimension for cells.
pub(super) fn letter(dim: Dim) -> &'static str {
    match dim {
        Dim::Bit => "b",
        Dim::Reg => "r",
        Dim::Lane => "l",
        Dim::Warp => "w",
        Dim::Inst => "i",
        Dim::Cta => "c",
        Dim::Slot => "s",
        Dim::Loop => "k",
        Dim::Seg => "g",
    }
}

/// Two-dimensional pages of cells; axes before the last two number the pages.
pub(super) struct Grid<T> {
    pub(super) rows: u32,
    pub(super) columns: u32,
    /// (leading coordinates, cells row by row).
    pub(super) pages: Vec<(Vec<u32>, Vec<T>)>,
}

impl<T> Grid<T> {
    pub(super) fn cell<'a>(&self, page: &'a [T], row: u32, column: u32) -> &'a T {
        &page[(row * self.columns + column) as usize]
    }
}

/// Who holds each element, all copies.
pub(super) fn holders(layout: &Layout) -> Result<Grid<Vec<Holder>>, TooLarge> {
    let shape: Vec<(Axis, u32)> = layout.shape();
    let elements: u64 = shape.iter().fold(1, |p: u64, s| p.saturating_mul(s.1 as u64));
    let dims: Vec<(Dim, u32)> = layout.ins().fields().iter().map(|f| (f.0, layout.size_in(f.0))).collect();
    let places: u64 = dims.iter().fold(1, |p: u64, d| p.saturating_mul(d.1 as u64));
    if elements > LIMIT || places > 16 * LIMIT {
        return Err(TooLarge { elements: elements.max(places), limit: LIMIT });
    }
    let extents: Vec<u32> = shape.iter().map(|s| s.1).collect();
    let mut flat: Vec<Vec<Holder>> = vec![Vec::new(); elements as usize];
    for place in 0..places {
        let mut rest = place;
        let at: Vec<(Dim, u32)> = dims
            .iter()
            .map(|&(dim, size)| {
                let value = (rest % size as u64) as u32;
                rest /= size as u64;
                (dim, value)
            })
            .collect();
        let index =
            layout.coords(&at).iter().zip(&extents).fold(0, |acc, (c, &n)| acc * n as usize + c.1 as usize);
        let value = |dim| at.iter().find(|a| a.0 == dim).map(|a| a.1);
        let (lane, warp) = (value(Dim::Lane), value(Dim::Warp));
        flat[index].push(Holder {
            thread: lane.or(warp).map(|_| 32 * warp.unwrap_or(0) + lane.unwrap_or(0)),
            register: value(Dim::Reg),
            others: at.into_iter().filter(|a| !matches!(a.0, Dim::Reg | Dim::Lane | Dim::Warp)).collect(),
        });
    }
    Ok(paginate(&extents, flat))
}

/// Byte offsets. A wide tile is cut into runs of consecutive bytes (at most 16), one cell each.
pub(super) fn offsets(memory: &SharedLayout) -> Result<(Grid<u32>, u32), TooLarge> {
    let shape = memory.shape();
    let elements: u64 = shape.iter().fold(1, |p: u64, s| p.saturating_mul(s.1 as u64));
    if elements > LIMIT {
        return Err(TooLarge { elements, limit: LIMIT });
    }
    let run = run_length(memory);
    let mut extents: Vec<u32> = shape.iter().map(|s| s.1).collect();
    if let Some(last) = extents.last_mut() {
        *last /= run;
    }
    let count: u32 = extents.iter().product();
    let flat = (0..count).map(|i| {
        let mut rest = i;
        let mut at: Vec<(Axis, u32)> = Vec::new();
        for (&(axis, _), &n) in shape.iter().zip(&extents).rev() {
            let step = if at.is_empty() { run } else { 1 };
            at.push((axis, rest % n * step));
            rest /= n;
        }
        memory.offset(&at)
    });
    Ok((paginate(&extents, flat.collect()), run))
}

fn run_length(memory: &SharedLayout) -> u32 {
    let Some(&(axis, columns)) = memory.shape().last() else { return 1 };
    if columns <= 16 {
        return 1;
    }
    let bytes = memory.elem_bytes() as u64;
    let cols = memory.map().cols_of(axis);
    let run = cols.iter().enumerate().take_while(|&(b, &c)| c == bytes << b && c < 16).count();
    1 << run
}

fn paginate<T>(extents: &[u32], flat: Vec<T>) -> Grid<T> {
    let (rows, columns) = match extents {
        [] => (1, 1),
        [n] => (1, *n),
        [.., r, c] => (*r, *c),
    };
    let leading = &extents[..extents.len().saturating_sub(2)];
    let mut cells = flat.into_iter();
    let pages = (0..leading.iter().product::<u32>())
        .map(|page| {
            let mut rest = page;
            let mut at: Vec<u32> = leading
                .iter()
                .rev()
                .map(|n| {
                    let c = rest % n;
                    rest /= n;
                    c
                })
                .collect();
            at.reverse();
            (at, cells.by_ref().take((rows * columns) as usize).collect())
        })
        .collect();
    Grid { rows, columns, pages }
}
