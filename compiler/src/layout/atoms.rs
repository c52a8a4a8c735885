//! The fragments of matrix instructions, by formula and by name.
//!
//! With `g = lane / 4` and `q = lane % 4`, all warp-level fragments follow one scheme. A 32-bit register holds `32 / width`
//! elements that are neighbours along K; `q` steps over such groups; one register bit steps over rows by 8 and another
//! over the upper half of K. So one function serves all widths, and `mma.m16n8k16.f16`, `mma.m16n8k32.s8` and
//! `mma.m16n8k8.tf32` are three of its values.
//!
//! Facts: PTX ISA, "Matrix fragments for mma.m16n8k…", "ldmatrix", "Asynchronous warpgroup-level matrix instructions";
//! compared with CUTLASS' `mma_traits_sm80.hpp` and `mma_traits_sm90_gmma.hpp`.

use super::error::LayoutError;
use super::map::{Layout, LinearMap, OddDigit, odd_and_bits, small_radix};
use super::space::{Axis, Dim, Space};

/// The A operand of a warp-level `mma.m16n8kK`: (reg, lane) → (m, k), 16 rows. `width` is an element's size in bits.
///
/// For 16-bit elements and k16: register `2i + e` of lane `4g + q` holds row `g + 8(i % 2)`, k `2q + e + 8(i / 2)`.
pub fn mma_a(width: u32, k_extent: u32, m: Axis, k: Axis) -> Result<Layout, LayoutError> {
    operand(width, k_extent, (m, 16), k)
}

/// The B operand of a warp-level `mma.m16n8kK`: (reg, lane) → (k, n), 8 columns.
///
/// For 16-bit elements and k16: register `2i + e` of lane `4g + q` holds k `2q + e + 8i`, column `g`.
pub fn mma_b(width: u32, k_extent: u32, k: Axis, n: Axis) -> Result<Layout, LayoutError> {
    operand(width, k_extent, (n, 8), k)
}

/// The accumulator of every warp-level `mma.m16n8kK`: register `2i + e` of lane `4g + q` holds row `g + 8i`, column `2q + e`.
pub fn mma_c(m: Axis, n: Axis) -> Result<Layout, LayoutError> {
    Layout::from_steps(
        &[(m, 4), (n, 3)],
        &[(Dim::Reg, &[(n, 1), (m, 8)]), (Dim::Lane, &[(n, 2), (n, 4), (m, 1), (m, 2), (m, 4)])],
    )
}

fn operand(width: u32, k_extent: u32, rows: (Axis, u32), k: Axis) -> Result<Layout, LayoutError> {
    let ((k_odd, k_bits), (rows, row_count)) = (odd_and_bits(k_extent)?, rows);
    let shape = |what: String| Err(LayoutError::Shape { what });
    if !matches!(width, 4 | 8 | 16 | 32) {
        return shape(format!("mma fragments of {width}-bit elements are not defined"));
    }
    let group = 32 / width;
    // 4 lanes cover one group each; a second half of K doubles it.
    if k_odd != 1 || !(k_extent == 4 * group || k_extent == 8 * group) {
        return shape(format!(
            "mma of {width}-bit elements takes k{} or k{}, not k{k_extent}",
            4 * group,
            8 * group
        ));
    }
    let mut reg: Vec<(Axis, u32)> = (0..group.trailing_zeros()).map(|b| (k, 1 << b)).collect();
    if row_count == 16 {
        reg.push((rows, 8));
    }
    if k_extent == 8 * group {
        reg.push((k, 4 * group));
    }
    let lane = [(k, group), (k, 2 * group), (rows, 1), (rows, 2), (rows, 4)];
    let row_bits = row_count.trailing_zeros() as u8;
    Layout::from_steps(&[(rows, row_bits), (k, k_bits as u8)], &[(Dim::Reg, &reg), (Dim::Lane, &lane)])
}

/// What `ldmatrix.m8n8.x{count}.b16` leaves in registers (and what `stmatrix` takes): (reg, lane) → (row, column of a row).
///
/// Matrix `j` is rows `8j..8j+8`: row `8j + r` is the one that lane `8j + r` addresses. Without `trans`, register `2j + e` of
/// lane `4g + q` holds row `8j + g`, column `2q + e`; with it, row `8j + 2q + e`, column `g`.
pub fn ldmatrix(count: u32, trans: bool, row: Axis, column: Axis) -> Result<Layout, LayoutError> {
    if !matches!(count, 1 | 2 | 4) {
        return Err(LayoutError::Shape {
            what: format!("ldmatrix and stmatrix come as x1, x2 and x4, not x{count}"),
        });
    }
    let matrices = count.trailing_zeros();
    // Within an 8x8 matrix the pair bit and two lane bits run along one axis, three lane bits along the other.
    let (pair, group) = if trans { (row, column) } else { (column, row) };
    let mut reg = vec![(pair, 1)];
    reg.extend((0..matrices).map(|b| (row, 8 << b)));
    let lane = [(pair, 2), (pair, 4), (group, 1), (group, 2), (group, 4)];
    Layout::from_steps(&[(row, 3 + matrices as u8), (column, 3)], &[(Dim::Reg, &reg), (Dim::Lane, &lane)])
}

/// The accumulator of `wgmma.m64nN`: (reg, lane, warp) → (m, n), any N that is a multiple of 8 up to 256.
///
/// Register `i` of thread `32w + l`: row `16w + l/4 + 8((i/2) % 2)`, column `8(i/4) + 2(l % 4) + i % 2`.
pub fn wgmma_c(n_extent: u32, m: Axis, n: Axis) -> Result<Layout, LayoutError> {
    if n_extent == 0 || !n_extent.is_multiple_of(8) || n_extent > 256 {
        return Err(LayoutError::Shape {
            what: format!("wgmma takes n as a multiple of 8 from 8 to 256, not n{n_extent}"),
        });
    }
    let (odd, bits) = odd_and_bits(n_extent)?;
    let mut reg = vec![(n, 1), (m, 8)];
    reg.extend((3..bits).map(|b| (n, 1 << b)));
    let lane = [(n, 2), (n, 4), (m, 1), (m, 2), (m, 4)];
    let ins: [(Dim, &[(Axis, u32)]); 3] =
        [(Dim::Reg, &reg), (Dim::Lane, &lane), (Dim::Warp, &[(m, 16), (m, 32)])];
    let even = Layout::from_steps(&[(m, 6), (n, bits as u8)], &ins)?;
    if odd == 1 {
        return Ok(even);
    }
    let digit = OddDigit { radix: small_radix(odd)?, from: Dim::Reg, to: n };
    LinearMap::new(even.ins().clone(), even.outs().clone(), even.cols().to_vec(), vec![digit])
}

/// The A operand of `wgmma.m64` from registers: the warp-level A fragment once per warp, 16 rows each.
pub fn wgmma_a(width: u32, m: Axis, k: Axis) -> Result<Layout, LayoutError> {
    if !matches!(width, 8 | 16 | 32) {
        return Err(LayoutError::Shape { what: format!("wgmma.A of {width}-bit elements is not defined") });
    }
    let warps = Layout::from_steps(&[(m, 2), (k, 0)], &[(Dim::Warp, &[(m, 1), (m, 2)])])?;
    warps.product(&mma_a(width, 256 / width, m, k)?)
}

/// The permutation of axis bits by which `1 << atom_bits` neighbouring atoms share a run of elements.
///
/// In an accumulator of mma.m16n8, a thread holds 2 adjacent columns (bit 0); the next two bits belong to other lanes and
/// those above to other atoms. Moving the atom bits below the lane bits gives the thread `2 << atom_bits` adjacent columns:
/// with four atoms, 8 of them, one 16-byte store of 16-bit values. The operands must be permuted alike.
///
/// `axis_bits` is the width of the axis, `inner` the bits that stay below, `lanes` the lane bits that are jumped over. The
/// result suits [`Layout::permute_axis`]: entry `i` is where bit `i` goes.
///
/// ```
/// use tilewright_compiler::layout::atoms::interleave;
/// // n = a1 a0 l1 l0 e: the element bit stays, atoms move to bits 1 and 2, lanes to 3 and 4.
/// assert_eq!(interleave(5, 1, 2, 2), vec![0, 3, 4, 1, 2]);
/// ```
pub fn interleave(axis_bits: u32, inner: u32, lanes: u32, atom_bits: u32) -> Vec<u32> {
    (0..axis_bits)
        .map(|i| match i {
            i if i >= inner && i < inner + lanes => i + atom_bits,
            i if i >= inner + lanes && i < inner + lanes + atom_bits => i - lanes,
            i => i,
        })
        .collect()
}

/// An atom by its name, on axes 0 and 1 in the order of its matrix (A is m×k, B is k×n, C is m×n).
///
/// Unknown names come back as `None`; a known family with an impossible size is an error.
pub fn named(name: &str) -> Option<Result<Layout, LayoutError>> {
    let (r, c) = (Axis(0), Axis(1));
    if let Some(rest) = name.strip_prefix("mma.m16n8k") {
        let mut parts = rest.split('.');
        let k: u32 = parts.next()?.parse().ok()?;
        let mut operand = parts.next()?;
        let mut width = match k {
            16 => Some(16),
            32 => Some(8),
            64 => Some(4),
            4 => Some(32),
            _ => None,
        };
        if let Some(type_width) = element_width(operand) {
            width = Some(type_width);
            operand = parts.next()?;
        }
        if parts.next().is_some() {
            return None;
        }
        return match operand {
            "C" | "D" => Some(mma_c(r, c)),
            "A" => Some(mma_a(width?, k, r, c)),
            "B" => Some(mma_b(width?, k, r, c)),
            _ => None,
        };
    }
    let (matrix, rest) = ["ldmatrix.x", "stmatrix.x"]
        .iter()
        .find_map(|p| name.strip_prefix(p).map(|r| (p, r)))
        .map_or((None, ""), |(p, r)| (Some(*p), r));
    if matrix.is_some() {
        let (count, trans) = match rest.strip_suffix(".trans") {
            Some(count) => (count, true),
            None => (rest, false),
        };
        return Some(ldmatrix(count.parse().ok()?, trans, r, c));
    }
    if let Some(n) = name.strip_prefix("wgmma.C(m64n").and_then(|s| s.strip_suffix(')')) {
        return Some(wgmma_c(n.parse().ok()?, r, c));
    }
    match name {
        "wgmma.A" => Some(wgmma_a(16, r, c)),
        _ => Some(wgmma_a(element_width(name.strip_prefix("wgmma.")?.strip_suffix(".A")?)?, r, c)),
    }
}

fn element_width(name: &str) -> Option<u32> {
    Some(match name {
        "tf32" | "f32" => 32,
        "f16" | "bf16" => 16,
        "s8" | "u8" | "e4m3" | "e5m2" => 8,
        "s4" | "u4" => 4,
        _ => return None,
    })
}

/// Names to suggest and to list.
pub const NAMES: &[&str] = &[
    "mma.m16n8k8.f16.A",
    "mma.m16n8k8.f16.B",
    "mma.m16n8k8.tf32.A",
    "mma.m16n8k8.tf32.B",
    "mma.m16n8k8.C",
    "mma.m16n8k16.A",
    "mma.m16n8k16.B",
    "mma.m16n8k16.C",
    "mma.m16n8k16.s8.A",
    "mma.m16n8k16.s8.B",
    "mma.m16n8k32.A",
    "mma.m16n8k32.B",
    "mma.m16n8k32.C",
    "mma.m16n8k32.s8.A",
    "mma.m16n8k32.s8.B",
    "mma.m16n8k64.s4.A",
    "mma.m16n8k64.s4.B",
    "mma.m16n8k64.C",
    "ldmatrix.x1",
    "ldmatrix.x2",
    "ldmatrix.x4",
    "ldmatrix.x1.trans",
    "ldmatrix.x2.trans",
    "ldmatrix.x4.trans",
    "stmatrix.x1",
    "stmatrix.x2",
    "stmatrix.x4",
    "stmatrix.x1.trans",
    "stmatrix.x2.trans",
    "stmatrix.x4.trans",
    "wgmma.C(m64n8)",
    "wgmma.C(m64n64)",
    "wgmma.C(m64n128)",
    "wgmma.C(m64n176)",
    "wgmma.C(m64n256)",
    "wgmma.A",
    "wgmma.s8.A",
    "wgmma.tf32.A",
];

/// The matrices that `ldmatrix`/`stmatrix` move to make (or store) `fragment`, if they can: (reg, lane) → coordinates, as an
/// access of 16-byte rows. See [`matrix_rows`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatrixAccess {
    /// Matrices per instruction: 1, 2 or 4.
    pub count: u32,
    pub trans: bool,
    /// (reg, lane, …) → coordinates of what each lane's address points at. The lowest register bits (three for 16-bit
    /// elements) run along the row of 16 bytes; higher ones number the instructions. Lanes beyond `8·count` repeat the lower ones.
    pub rows: Layout,
    /// For instruction bit `i` (the register bits of `rows` above the row): the register bit of the fragment that it stands for.
    pub instruction_bits: Vec<u32>,
    /// For matrix bit `i` (which of the 1, 2, 4 matrices): the register bit of the fragment.
    pub matrix_bits: Vec<u32>,
}

/// Whether a fragment of `width`-bit elements can be loaded by `ldmatrix` from memory where `along` is contiguous, and the row
/// addresses if so.
///
/// `ldmatrix` moves 32-bit registers whatever they hold: with p register bits inside one (1 for 16-bit elements, 2 for 8-bit ones, 0
/// for 32-bit ones), those and the two low lane bits must run through the `4 << p` neighbours of `along` that 16 bytes hold. With
/// `trans`, which moves 16-bit units and so wants 16-bit elements, the three high lane bits must. Everything else is free: the 8
/// rows of a matrix may be any 8 rows, which is what interleaved atoms use. `matrix_bits` chooses the register bits that number the
/// matrices of one instruction (at most two; the atom's own order is `[p, p + 1]` for x4).
pub fn matrix_rows(
    fragment: &Layout,
    width: u32,
    along: Axis,
    trans: bool,
    matrix_bits: &[u32],
) -> Option<MatrixAccess> {
    let (reg, lane) = (fragment.cols_of(Dim::Reg), fragment.cols_of(Dim::Lane));
    if !matches!(width, 8 | 16 | 32) || trans && width != 16 || fragment.ins().has(Dim::Bit) {
        return None;
    }
    let packed = (32 / width).trailing_zeros();
    if reg.len() < packed as usize || lane.len() != 5 || matrix_bits.len() > 2 {
        return None;
    }
    let matrix = |b: &u32| (*b >= packed).then(|| reg.get(*b as usize).copied()).flatten();
    let matrices: Vec<u64> = matrix_bits.iter().map(matrix).collect::<Option<_>>()?;
    let (low_reg, reg_rest) = reg.split_at(packed as usize);
    let pair: Vec<u64> = low_reg.iter().chain(&lane[..2]).copied().collect();
    let (row, inside) = if trans { (&pair[..], &lane[2..]) } else { (&lane[2..], &pair[..]) };
    let outs = fragment.outs();
    let bits = inside.len() as u32;
    if outs.bits(along) < bits || (0..bits).any(|b| inside[b as usize] != outs.put(along, 1 << b)) {
        return None;
    }
    // A row is one vector: nothing else may move inside it.
    let low = outs.put(along, (1 << bits) - 1);
    let instruction_bits: Vec<u32> =
        (packed..packed + reg_rest.len() as u32).filter(|b| !matrix_bits.contains(b)).collect();
    let others = instruction_bits.iter().map(|&b| reg[b as usize]);
    if row.iter().chain(&matrices).copied().chain(others).any(|c| c & low != 0) {
        return None;
    }
    let mut cols: Vec<u64> = inside.to_vec();
    cols.extend(instruction_bits.iter().map(|&b| reg[b as usize]));
    cols.extend(row);
    cols.extend(&matrices);
    cols.resize(cols.len() + 2 - matrices.len(), 0);
    let rest = fragment.ins().fields().iter().filter(|f| f.0 > Dim::Lane);
    cols.extend(rest.clone().flat_map(|f| fragment.cols_of(f.0)));
    let ins = Space::new(
        [(Dim::Reg, (bits as usize + instruction_bits.len()) as u8), (Dim::Lane, 5)]
            .into_iter()
            .chain(rest.copied()),
    );
    let rows = LinearMap::new(ins, outs.clone(), cols, fragment.odd().to_vec()).ok()?;
    Some(MatrixAccess {
        count: 1 << matrices.len(),
        trans,
        rows,
        instruction_bits,
        matrix_bits: matrix_bits.to_vec(),
    })
}
