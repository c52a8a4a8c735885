//! Staging an operand: who copies what, and the shared-memory layout that suits the copies and the fragment loads together.
//!
//! A tile of R rows and bk coordinates is copied in units of 16 bytes (`wide`), 4 bytes (`mid`) or one element (`any`), and lies in
//! shared memory as in global memory. Lanes run along the contiguous axis first, so that a warp's units are contiguous in global memory,
//! then along the other; what is left goes to registers, that is, to further accesses of the same thread. With 128 threads, a 128×32
//! tile of halves and 16-byte units:
//! ```text
//! a[i, k], contiguous along k:   thread bits 0-1: the unit of the row   bits 2-6: row bits 0-4   accesses 0..4: row bits 5-6
//! a[k, i], contiguous along i:   thread bits 0-2: units 0..8            bits 3-6: k bits 0-3     accesses 0..4: k bit 4, unit bit 3
//! ```

use super::access;
use super::fragments::Tiling;
use super::operand::{Major, Operand};
use super::refuse::Refusal;
use crate::layout::atoms::{MatrixAccess, matrix_rows};
use crate::layout::{Accessor, Axis, Dim, Layout, LayoutError, OddDigit, SharedLayout, Space, solve_shared};
use crate::packed::Recipe;
use crate::scheduled::ir::*;
use crate::tile::ir::{AxisId, AxisKind, Kernel};

/// An operand's buffer, how it is filled and how it is read.
#[derive(Clone, Debug)]
pub struct Staged {
    pub buf: BufId,
    pub plan: CopyPlan,
    pub map: Layout,
    pub atom: LoadAtom,
    /// Of the packed tensors that the operand is computed from, too, in its order.
    pub also: Vec<Staged>,
}

/// Bytes to which the base of a ring is aligned: what swizzles of 128 bytes by 8 rows need.
const BASE_ALIGN: u32 = 1024;

/// Adds the ring of an operand to the module. Copies move `along` an axis; where another is contiguous, a thread should have at most so many
/// `columns` of it.
#[allow(clippy::too_many_arguments)]
pub fn buffer(
    kernel: &Kernel,
    module: &mut Module,
    name: &str,
    operand: &Operand,
    contracted: AxisId,
    along: AxisId,
    tiling: &Tiling,
    is_a: bool,
    slots: u32,
    columns: u32,
    variant: Variant,
    via: Via,
) -> Result<Staged, Refusal> {
    let elem_bytes = operand.elem.bits() / 8;
    let rows = if is_a { tiling.bm } else { tiling.bn };
    let contiguous = if operand.major == Major::K { contracted } else { operand.outer };
    let most = variant.alignment(elem_bytes) / elem_bytes;
    let unit = elem_bytes * access::vector(kernel, operand.tensor, contiguous, most);
    let threads = module.threads();
    let span = crate::diagnostics::Span::default();
    let tile = Tile {
        rows,
        bk: tiling.bk,
        unit: unit / elem_bytes,
        threads,
        short_run: (64 / unit).trailing_zeros().min(5),
    };
    let map = match operand.major {
        Major::K if along == contracted => tile.along_k(),
        Major::K => tile.down_rows(columns),
        Major::Outer => tile.across_k(columns),
    };
    let Some(map) = map.map_err(|e| internal(span, e))? else {
        return Err(Refusal::schedule(
            span,
            format!(
                "{threads} threads are more than the {} accesses that fill a {rows}×{} tile",
                rows * tiling.bk * elem_bytes / unit,
                tiling.bk
            ),
            "fewer warps, or a larger tile",
        ));
    };
    // `cp.async` moves 4, 8 or 16 bytes.
    let plan = match via {
        Via::CpAsync if unit >= 4 => CopyPlan::CpAsync { bytes: unit },
        Via::CpAsync | Via::Direct => CopyPlan::LoadStore { bytes: unit },
    };
    let fragment = if is_a { tiling.a_fragment() } else { tiling.b_fragment() };
    let trans = operand.major == Major::Outer;
    let (atom, reader) = match fragment_rows(&fragment, operand.elem.bits(), trans) {
        Some(matrices) => (LoadAtom::Ldmatrix { matrices: 4, trans }, Accessor::matrix(4, matrices.rows)),
        None => (LoadAtom::Elements, Accessor::vector(elem_bytes, fragment)),
    };
    let accessors = [Accessor::vector(unit, map.clone()), reader];
    let (outer, k) = ((Axis(0), rows), (Axis(1), tiling.bk));
    let shape = match operand.major {
        Major::K => [outer, k],
        Major::Outer => [k, outer],
    };
    let solution = solve_shared(&shape, operand.elem.bits(), &accessors).map_err(|e| internal(span, e))?;
    let slot_bytes = solution.layout.bytes();
    let taken: Vec<String> = solution.wavefronts.iter().map(|w| format!("{}/{}", w.taken, w.ideal)).collect();
    let slot_stride = slot_bytes.next_multiple_of(BASE_ALIGN);
    let base = module.shared_bytes.next_multiple_of(BASE_ALIGN);
    module.shared_bytes = base + slots * slot_stride;
    module.buffers.push(Buffer {
        name: name.into(),
        elem: operand.elem,
        slots,
        axes: vec![operand.outer, contracted],
        shape: vec![rows, tiling.bk],
        layout_name: format!("{} wavefronts {}", describe(operand.major, &solution.layout), taken.join(" ")),
        layout: solution.layout,
        slot_bytes,
        base,
        slot_stride,
    });
    let buf = BufId(module.buffers.len() as u16 - 1);
    let also = beside(kernel, module, name, operand, tiling, is_a, slots)?;
    Ok(Staged { buf, plan, map, atom, also })
}

/// The rings of the packed tensors that an operand is computed from beside its own.
fn beside(
    kernel: &Kernel,
    module: &mut Module,
    name: &str,
    operand: &Operand,
    tiling: &Tiling,
    is_a: bool,
    slots: u32,
) -> Result<Vec<Staged>, Refusal> {
    let ring = |(_, other): &(_, Operand)| {
        packed_buffer(kernel, module, &format!("{name}.{}", other.name), other, tiling, is_a, slots)
    };
    operand.also.iter().map(ring).collect()
}

/// Adds the ring of a packed operand: a tile's bytes as they lie in memory. Each thread copies units of 16 bytes, and reads its own words.
pub fn packed_buffer(
    kernel: &Kernel,
    module: &mut Module,
    name: &str,
    operand: &Operand,
    tiling: &Tiling,
    is_a: bool,
    slots: u32,
) -> Result<Staged, Refusal> {
    let t = kernel.tensor(operand.tensor);
    let fragment = match is_a {
        true => tiling.a_part(tiling.bk, &[true, false]),
        false => tiling.b_part(tiling.bk, &[true, false]),
    };
    let rows = kernel.axis(operand.outer);
    let moves = matches!(rows.kind, AxisKind::Grid(_) | AxisKind::Loop(_));
    let tall = if is_a { tiling.bm } else { tiling.bn };
    if moves && rows.extent != tall {
        return Err(Refusal::schedule(
            t.span,
            format!(
                "`packed {}` in tiles of {} rows, which matrix instructions fill up to {tall}",
                t.name, rows.extent
            ),
            format!("`{}` by {tall}", rows.name),
        ));
    }
    // Warps along the result's other axis hold the same elements.
    let (warps, same) = if is_a { (tiling.wm, tiling.wn * tiling.same) } else { (tiling.wn, tiling.same) };
    let together = 1u32 << operand.shift();
    if !tiling.bk.is_multiple_of(together) {
        return Err(Refusal::schedule(
            t.span,
            format!("`packed {}` in steps of {} of which {together} share an element", t.name, tiling.bk),
            format!("steps of a multiple of {together}"),
        ));
    }
    let Some(recipe) = Recipe::new(operand.elem, operand.toward, &fragment, (warps, same), operand.shift())
    else {
        return Err(Refusal::schedule(
            t.span,
            format!(
                "a thread's share of the {} of `{}` fills no whole number of words",
                operand.elem, t.name
            ),
            "a larger or deeper tile, or fewer warps",
        ));
    };
    let slot_bytes = recipe.tile_bytes();
    let words = slot_bytes / 4;
    let layout = SharedLayout::row_major(&[(Axis(0), words)], 32).map_err(|e| internal(t.span, e))?;
    let slot_stride = slot_bytes.next_multiple_of(16);
    let base = module.shared_bytes.next_multiple_of(BASE_ALIGN);
    module.shared_bytes = base + slots * slot_stride;
    module.buffers.push(Buffer {
        name: name.into(),
        elem: crate::tile::ir::ElemType::Uint(32),
        slots,
        axes: Vec::new(),
        shape: vec![words],
        layout_name: format!(
            "packed {}, {} to {}",
            operand.elem,
            plural(recipe.placement.members.len() * (32 / recipe.form.lane()) as usize, "value"),
            plural(recipe.placement.words as usize, "word")
        ),
        layout,
        slot_bytes,
        base,
        slot_stride,
    });
    match module.recipe(operand.tensor) {
        Some(before) if *before != recipe => {
            return Err(Refusal::construct(
                t.span,
                format!("`packed {}`, which this kernel reads in two ways that need two storages,", t.name),
            )
            .help("give it as two parameters"));
        }
        Some(_) => {}
        None => module.packed.push((operand.tensor, recipe)),
    }
    let buf = BufId(module.buffers.len() as u16 - 1);
    let also = beside(kernel, module, name, operand, tiling, is_a, slots)?;
    Ok(Staged { buf, plan: CopyPlan::CpAsync { bytes: 16 }, map: fragment, atom: LoadAtom::Elements, also })
}

/// The rows that `ldmatrix.x4` reads for a fragment on (kept axis, k) whose elements have `bits` bits.
pub fn fragment_rows(fragment: &Layout, bits: u32, trans: bool) -> Option<MatrixAccess> {
    let p = (32 / bits).trailing_zeros();
    matrix_rows(fragment, bits, Axis(u16::from(!trans)), trans, &[p, p + 1])
}

pub fn internal(span: crate::diagnostics::Span, e: LayoutError) -> Refusal {
    Refusal::schedule(
        span,
        format!("no shared-memory layout for this tile: {e}"),
        "take a tile of power-of-two depth",
    )
}

/// A layout in a few words: what is contiguous (rows of k, or columns of the kept axis), and which address bits are XORed into which.
fn describe(major: Major, layout: &SharedLayout) -> String {
    let lines = if major == Major::K { "rows" } else { "columns" };
    let swizzles: Vec<String> = layout
        .map()
        .cols()
        .iter()
        .filter(|c| c.count_ones() > 1)
        .map(|c| format!("{}^{}", 63 - c.leading_zeros(), c.trailing_zeros()))
        .collect();
    if swizzles.is_empty() { lines.into() } else { format!("{lines} xor({})", swizzles.join(",")) }
}

/// A tile to copy: `unit` elements an access, along whichever axis is contiguous.
#[derive(Clone, Copy)]
struct Tile {
    rows: u32,
    bk: u32,
    unit: u32,
    threads: u32,
    /// Lanes, as a power of two, that move 64 bytes.
    short_run: u32,
}

/// An axis and a bit of its coordinate.
type AxisBit = (u16, u32);

impl Tile {
    /// Lanes along k, then down the rows.
    fn along_k(self) -> Result<Option<Layout>, LayoutError> {
        let (row_bits, k_bits) = (self.rows.trailing_zeros(), self.bk.trailing_zeros());
        let unit_bits = self.unit.trailing_zeros();
        // At most a warp's worth along the row.
        let along = k_bits.saturating_sub(unit_bits).min(5);
        let mut order: Vec<AxisBit> = (unit_bits..unit_bits + along).map(|b| (1, b)).collect();
        order.extend((0..row_bits).map(|b| (0, b)));
        order.extend((unit_bits + along..k_bits).map(|b| (1, b)));
        self.map(1, &order)
    }

    /// Some lanes along the kept axis, then down k, then the rest of the kept axis: as many as leave the threads all of k, because a row of its
    /// own costs a thread more than a column; but at least 64 bytes' worth, so that no sector is fetched twice.
    fn across_k(self, most: u32) -> Result<Option<Layout>, LayoutError> {
        let (row_bits, k_bits) = (self.rows.trailing_zeros(), self.bk.trailing_zeros());
        let unit_bits = self.unit.trailing_zeros();
        let spare = self.threads.trailing_zeros().saturating_sub(k_bits);
        let (odd, units) = (self.rows >> row_bits, row_bits.saturating_sub(unit_bits));
        let few = (spare..units).find(|along| odd << (units - along) <= most).unwrap_or(units);
        let along = few.clamp(self.short_run, 5).min(units);
        let mut order: Vec<AxisBit> = (unit_bits..unit_bits + along).map(|b| (0, b)).collect();
        order.extend((0..k_bits).map(|b| (1, b)));
        order.extend((unit_bits + along..row_bits).map(|b| (0, b)));
        self.map(0, &order)
    }

    /// The same where k is contiguous and what the copies move along is the kept axis.
    fn down_rows(self, most: u32) -> Result<Option<Layout>, LayoutError> {
        let (row_bits, k_bits) = (self.rows.trailing_zeros(), self.bk.trailing_zeros());
        let unit_bits = self.unit.trailing_zeros();
        let spare = self.threads.trailing_zeros().saturating_sub(row_bits);
        let units = k_bits.saturating_sub(unit_bits);
        let few = (spare..units).find(|along| 1 << (units - along) <= most).unwrap_or(units);
        let along = few.clamp(self.short_run, 5).min(units);
        let mut order: Vec<AxisBit> = (unit_bits..unit_bits + along).map(|b| (1, b)).collect();
        order.extend((0..row_bits).map(|b| (0, b)));
        order.extend((unit_bits + along..k_bits).map(|b| (1, b)));
        self.map(1, &order)
    }

    /// Which (element of the access, access, lane, warp) moves which element, if threads take the bits in `order` and registers what is
    /// left; accesses run along `contiguous`. `None` if there are more threads than accesses.
    fn map(self, contiguous: u16, order: &[AxisBit]) -> Result<Option<Layout>, LayoutError> {
        let (row_bits, k_bits) = (self.rows.trailing_zeros(), self.bk.trailing_zeros());
        let (unit_bits, thread_bits) = (self.unit.trailing_zeros(), self.threads.trailing_zeros());
        if order.len() + (unit_bits as usize) != (row_bits + k_bits) as usize {
            return Ok(None);
        }
        let Some((thread, register)) = order.split_at_checked(thread_bits as usize) else { return Ok(None) };
        let outs = Space::new([(Axis(0), row_bits as u8), (Axis(1), k_bits as u8)]);
        let column = |(axis, bit): AxisBit| outs.put(Axis(axis), 1 << bit);
        let within = (0..unit_bits).map(|b| column((contiguous, b)));
        let cols = within.chain(register.iter().chain(thread).map(|b| column(*b))).collect();
        let ins = Space::new([
            (Dim::Reg, unit_bits as u8 + register.len() as u8),
            (Dim::Lane, 5),
            (Dim::Warp, (thread_bits - 5) as u8),
        ]);
        let digits = [(0, self.rows >> row_bits), (1, self.bk >> k_bits)]
            .into_iter()
            .filter(|(_, odd)| *odd > 1)
            .map(|(axis, odd)| OddDigit { radix: odd as u16, from: Dim::Reg, to: Axis(axis) })
            .collect();
        Layout::new(ins, outs, cols, digits).map(Some)
    }
}

/// `3 words`.
fn plural(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
