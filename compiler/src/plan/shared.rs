//! Staging an operand: who copies what, and the shared-memory layout that suits the copies and the fragment loads together.
//!
//! A tile of R rows and bk coordinates is copied in units of 16 bytes (`wide`), 4 bytes (`mid`) or one element (`any`). Lanes run along
//! the contracted range first, so that a warp's units are contiguous in global memory, then down the rows; what is left goes to
//! registers, that is, to further accesses of the same thread. With 128 threads, a 128×32 tile of halves and 16-byte units:
//! ```text
//! thread bits 0-1: the unit of the row      thread bits 2-6: row bits 0-4      accesses 0..4: row bits 5-6
//! ```

use super::contraction::Operand;
use super::fragments::Tiling;
use super::refuse::Refusal;
use crate::layout::atoms::matrix_rows;
use crate::layout::{Accessor, Axis, Dim, Layout, LayoutError, OddDigit, SharedLayout, Space, solve_shared};
use crate::scheduled::ir::*;

/// An operand's buffer and how it is filled.
#[derive(Clone, Debug)]
pub struct Staged {
    pub buf: BufId,
    pub plan: CopyPlan,
    pub map: Layout,
}

/// Bytes to which the base of a ring is aligned: what swizzles of 128 bytes by 8 rows need.
const BASE_ALIGN: u32 = 1024;

/// Adds the ring of an operand to the module.
pub fn buffer(
    module: &mut Module,
    name: &str,
    operand: &Operand,
    tiling: &Tiling,
    is_a: bool,
    slots: u32,
    variant: Variant,
) -> Result<Staged, Refusal> {
    let elem_bytes = operand.elem.bits() / 8;
    let rows = if is_a { tiling.bm } else { tiling.bn };
    let unit = variant.alignment(elem_bytes);
    let threads = module.threads();
    let span = crate::diagnostics::Span::default();
    let map = copy_map(rows, tiling.bk, unit / elem_bytes, threads).map_err(|e| internal(span, e))?;
    let Some(map) = map else {
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
    let plan = match variant {
        Variant::Wide | Variant::Mid => CopyPlan::CpAsync { bytes: unit },
        Variant::Any => CopyPlan::LoadStore { bytes: unit },
    };
    let fragment = if is_a { tiling.a_fragment() } else { tiling.b_fragment() };
    let Some(matrices) = matrix_rows(&fragment, Axis(1), false, &[1, 2]) else {
        unreachable!("fragments of m16n8k16 are rows of ldmatrix along the contracted axis");
    };
    let accessors = [Accessor::vector(unit, map.clone()), Accessor::matrix(4, matrices.rows)];
    let shape = [(Axis(0), rows), (Axis(1), tiling.bk)];
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
        shape: vec![rows, tiling.bk],
        layout_name: format!("{} wavefronts {}", describe(&solution.layout), taken.join(" ")),
        layout: solution.layout,
        slot_bytes,
        base,
        slot_stride,
    });
    Ok(Staged { buf: BufId(module.buffers.len() as u16 - 1), plan, map })
}

fn internal(span: crate::diagnostics::Span, e: LayoutError) -> Refusal {
    Refusal::schedule(
        span,
        format!("no shared-memory layout for this tile: {e}"),
        "take a tile of power-of-two depth",
    )
}

/// A layout in a few words: row-major, or which address bits are XORed into which.
fn describe(layout: &SharedLayout) -> String {
    let swizzles: Vec<String> = layout
        .map()
        .cols()
        .iter()
        .filter(|c| c.count_ones() > 1)
        .map(|c| format!("{}^{}", 63 - c.leading_zeros(), c.trailing_zeros()))
        .collect();
    if swizzles.is_empty() { "rows".into() } else { format!("rows xor({})", swizzles.join(",")) }
}

/// Which (element of the access, access, lane, warp) moves which element; an access is `unit` neighbours along the row. `None` if there are more threads than units.
fn copy_map(rows: u32, bk: u32, unit: u32, threads: u32) -> Result<Option<Layout>, LayoutError> {
    let (odd, row_bits) = (rows >> rows.trailing_zeros(), rows.trailing_zeros());
    let k_bits = bk.trailing_zeros();
    let unit_bits = unit.trailing_zeros();
    let thread_bits = threads.trailing_zeros();
    if !bk.is_power_of_two() || row_bits + k_bits < unit_bits + thread_bits {
        return Ok(None);
    }
    // (axis, bit) in the order in which threads take them: units of the row (a warp's worth at most), rows, the rest.
    let along = (k_bits - unit_bits).min(5);
    let mut order: Vec<(u16, u32)> = (unit_bits..unit_bits + along).map(|b| (1, b)).collect();
    order.extend((0..row_bits).map(|b| (0, b)));
    order.extend((unit_bits + along..k_bits).map(|b| (1, b)));
    let outs = Space::new([(Axis(0), row_bits as u8), (Axis(1), k_bits as u8)]);
    let column = |(axis, bit): (u16, u32)| outs.put(Axis(axis), 1 << bit);
    let (thread, register) = order.split_at(thread_bits as usize);
    let within = (0..unit_bits).map(|b| column((1, b)));
    let cols = within.chain(register.iter().chain(thread).map(|b| column(*b))).collect();
    let ins = Space::new([
        (Dim::Reg, unit_bits as u8 + register.len() as u8),
        (Dim::Lane, 5),
        (Dim::Warp, (thread_bits - 5) as u8),
    ]);
    let digits =
        if odd > 1 { vec![OddDigit { radix: odd as u16, from: Dim::Reg, to: Axis(0) }] } else { Vec::new() };
    Layout::new(ins, outs, cols, digits).map(Some)
}
