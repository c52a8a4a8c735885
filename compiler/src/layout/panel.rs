//! The shared layouts that Hopper's TMA and wgmma agree on: panels of 128, 64 or 32 bytes, swizzled by hardware.
//!
//! A panel is `W` bytes wide along the contiguous axis and as tall as the tile; its rows are `W` bytes apart, and the
//! 16-byte units of a row are permuted by `address ^= (address >> 7 & (W/16 − 1)) << 4`. Panels follow each other, each
//! `rows · W` bytes. The base is aligned to eight rows (1024, 512, 256 bytes), so that offsets and absolute addresses swizzle
//! alike. Facts: CUTLASS' `mma_traits_sm90_gmma.hpp`, "K-major" and "MN-major" canonical layouts.
//!
//! A 128-wide f16 tile is two 64-wide panels, hence two TMA boxes, and descriptor steps of {0, 32, 64, 96} bytes
//! plus a panel stride.

use super::error::LayoutError;
use super::map::{LinearMap, odd_and_bits};
use super::shared::{OuterDigit, SharedLayout, Swizzle, elem_bytes};
use super::solve::{AccessKind, Accessor, SharedSolution};
use super::space::{Axis, Offset, Space};

/// Rows along `shape[0]`, contiguous along `shape[1]`, in panels of `width` bytes (128, 64, 32, or 16: no swizzle).
pub fn panels(shape: [(Axis, u32); 2], elem_bits: u32, width: u32) -> Result<SharedLayout, LayoutError> {
    let bytes = elem_bytes(elem_bits)?;
    let [(row, rows), (column, columns)] = shape;
    let row_bytes = columns as u64 * bytes as u64;
    if !matches!(width, 16 | 32 | 64 | 128) || !row_bytes.is_multiple_of(width as u64) || bytes > width {
        return Err(LayoutError::Shape {
            what: format!("{columns} elements of {bytes} bytes do not make panels of {width} bytes"),
        });
    }
    let ((row_odd, row_bits), count) = (odd_and_bits(rows)?, row_bytes / width as u64);
    let (width_bits, elem_shift) = (width.trailing_zeros(), bytes.trailing_zeros());
    let inner_bits = width_bits - elem_shift;
    let panel = rows as u64 * width as u64;
    // Rows are linear; whole panels too when there is a power of two of them and the rows are one as well.
    let panels_linear = row_odd == 1 && count.is_power_of_two();
    let column_bits = if panels_linear { inner_bits + count.trailing_zeros() } else { inner_bits };
    let total = width_bits + row_bits + (column_bits - inner_bits);
    if total > 31 || panel.saturating_mul(count) > u32::MAX as u64 {
        return Err(LayoutError::BufferTooLarge { bits: panel.max(1).ilog2() });
    }
    let ins = Space::new([(row, row_bits as u8), (column, column_bits as u8)]);
    let mut cols = vec![0u64; ins.total() as usize];
    for b in 0..row_bits {
        cols[(ins.start(row) + b) as usize] = 1 << (width_bits + b);
    }
    for b in 0..column_bits {
        let at = if b < inner_bits { elem_shift + b } else { width_bits + row_bits + b - inner_bits };
        cols[(ins.start(column) + b) as usize] = 1 << at;
    }
    let map = LinearMap::new(ins, Space::new([(Offset, total as u8)]), cols, Vec::new())?;
    let mut outer = Vec::new();
    if row_odd > 1 {
        outer.push(OuterDigit { axis: row, extent: row_odd, stride: width << row_bits });
    }
    if !panels_linear && count > 1 {
        outer.push(OuterDigit { axis: column, extent: count as u32, stride: panel as u32 });
    }
    let plain = SharedLayout::new(map, outer, bytes)?;
    let swizzle_bits = width_bits - 4;
    let layout =
        if swizzle_bits == 0 { plain } else { plain.swizzled(&Swizzle::new(swizzle_bits, 4, 3)?)? };
    // Eight rows for a descriptor's base, and never less than what TMA wants.
    Ok(layout.aligned_to((8 * width).max(128)))
}

/// Rule: all widths that divide the row, dropped where a wgmma descriptor could not read them; the cheapest for the other
/// accessors wins, the wider on ties.
pub(super) fn solve(
    shape: &[(Axis, u32)],
    elem_bits: u32,
    accessors: &[Accessor],
) -> Result<SharedSolution, LayoutError> {
    let &[row, column] = shape else {
        return Err(LayoutError::Shape { what: "TMA and wgmma buffers have two axes here".into() });
    };
    for accessor in accessors {
        if let AccessKind::Descriptor { k } = accessor.kind {
            let k_major = k == column.0;
            if !k_major && elem_bits != 16 {
                return Err(LayoutError::Unsolvable {
                    reason: format!(
                        "wgmma reads MN-major operands of 16-bit elements only, not of {elem_bits} bits"
                    ),
                });
            }
        }
    }
    let mut best: Option<(u32, SharedSolution)> = None;
    for width in [128, 64, 32] {
        let Ok(layout) = panels([row, column], elem_bits, width) else { continue };
        let Ok(solution) = SharedSolution::measure(layout, accessors) else { continue };
        let cost = solution.cost(accessors);
        if best.as_ref().is_none_or(|b| cost < b.0) {
            best = Some((cost, solution));
        }
    }
    best.map(|b| b.1).ok_or_else(|| LayoutError::Unsolvable {
        reason: format!(
            "rows of {} elements of {elem_bits} bits are not a multiple of 32 bytes, the narrowest swizzled panel",
            column.1
        ),
    })
}
