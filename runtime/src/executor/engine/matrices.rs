//! `ldmatrix` and `stmatrix`: 8x8 matrices of 16-bit elements, a row of shared memory from each lane's address.

use super::super::finding::FindingKind;
use super::super::frame::blend32;
use super::super::lanes::tier::each;
use super::super::memory::{Place, place_generic, read_slice};
use super::super::program::{MatrixAccess, MemSpace};
use super::super::shadow::Touch;
use super::access::{Target, Windows, addresses};
use super::block::{Env, Stop};
use super::warp::Warp;

impl Env<'_> {
    /// The row addresses of a matrix access as offsets in shared memory, into `rows`; rows of matrix `j` come from lanes `8j..8j+8`.
    fn matrix_rows(
        &mut self,
        warp: &Warp,
        line: u32,
        access: &MatrixAccess,
        what: &str,
        rows: &mut [usize; 32],
    ) -> Result<(), Stop> {
        let at = addresses(&warp.frame, access.addr);
        let lanes = 8 * access.regs.len();
        let mask = if lanes >= 32 { u32::MAX } else { (1 << lanes) - 1 };
        // A generic address of shared memory is legal here; it is no offset. Where one lane has one, all must.
        let generic = matches!(place_generic(at[0]), Place::Shared(_));
        let space = if generic { MemSpace::Generic } else { MemSpace::Shared };
        let windows = self.check(warp.index, line, space, &at, mask, 16, what)?;
        let Windows::One(Target::Shared(base)) = windows else {
            self.report(FindingKind::OutOfBounds, line, None, || {
                format!("warp {}: {what} outside of shared memory", warp.index)
            });
            return Err(Stop);
        };
        each(|lane| rows[lane] = at[lane].wrapping_sub(base) as usize);
        Ok(())
    }

    pub(super) fn ldmatrix(
        &mut self,
        warp: &mut Warp,
        line: u32,
        number: usize,
        access: &MatrixAccess,
        mask: u32,
    ) -> Result<(), Stop> {
        let mut rows = [0; 32];
        self.matrix_rows(warp, line, access, "ldmatrix", &mut rows)?;
        for (j, &d) in access.regs.iter().enumerate() {
            if !access.transposed && mask == u32::MAX && self.shadow.is_none() {
                // A matrix in row-major order is what the lanes get, one after the other.
                let lanes = warp.frame.r32_mut(d).as_chunks_mut::<4>().0;
                for (row, &offset) in lanes.iter_mut().zip(&rows[8 * j..]) {
                    let bytes: &[u8; 16] =
                        self.shared[offset..].first_chunk().expect("the rows lie in shared memory");
                    *row = std::array::from_fn(|i| {
                        let at = 4 * i;
                        u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
                    });
                }
                continue;
            }
            let mut tile = [[0u32; 4]; 8];
            for (r, row) in tile.iter_mut().enumerate() {
                let (lane, offset) = (8 * j + r, rows[8 * j + r]);
                read_slice(&self.shared, offset, 16, row);
                if self.shadow.is_some() {
                    self.touch(warp.index, lane, line, Touch::Read, offset as u64, 16, "ldmatrix read");
                }
            }
            let half = |r: usize, c: usize| tile[r][c / 2] >> (16 * (c % 2)) & 0xffff;
            let value = std::array::from_fn(|lane| {
                let (r, c) = (lane / 4, 2 * (lane % 4));
                if access.transposed { half(c, r) | half(c + 1, r) << 16 } else { tile[r][c / 2] }
            });
            blend32(warp.frame.r32_mut(d), &value, mask);
        }
        self.count_matrix(number, &rows, access.regs.len());
        Ok(())
    }

    pub(super) fn stmatrix(
        &mut self,
        warp: &mut Warp,
        line: u32,
        number: usize,
        access: &MatrixAccess,
        _mask: u32,
    ) -> Result<(), Stop> {
        let mut rows = [0; 32];
        self.matrix_rows(warp, line, access, "stmatrix", &mut rows)?;
        self.effects += 1;
        for (j, &s) in access.regs.iter().enumerate() {
            let source = warp.frame.r32(s);
            let mut tile = [[0u16; 8]; 8];
            for lane in 0..32 {
                for e in 0..2 {
                    let value = (source[lane] >> (16 * e)) as u16;
                    let (r, c) = (lane / 4, 2 * (lane % 4) + e);
                    if access.transposed { tile[c][r] = value } else { tile[r][c] = value }
                }
            }
            for (r, row) in tile.iter().enumerate() {
                let (lane, offset) = (8 * j + r, rows[8 * j + r]);
                let words: [u32; 4] =
                    std::array::from_fn(|w| u32::from(row[2 * w]) | u32::from(row[2 * w + 1]) << 16);
                self.touch(warp.index, lane, line, Touch::Write, offset as u64, 16, "stmatrix write");
                self.write_shared(offset, 16, &words);
            }
        }
        self.count_matrix(number, &rows, access.regs.len());
        Ok(())
    }

    fn count_matrix(&mut self, number: usize, rows: &[usize; 32], matrices: usize) {
        if self.counters.on() {
            let offsets = std::array::from_fn(|lane| rows[lane] as u64);
            let mask = if matrices >= 4 { u32::MAX } else { (1 << (8 * matrices)) - 1 };
            self.counters.shared(number, &offsets, mask, 16);
        }
    }
}
