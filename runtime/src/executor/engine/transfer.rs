//! Moving the bytes of bulk copies.
//!
//! A [`Transfer`] is a bulk copy whose operands were read when it was issued. It is carried out at once (eager), or when somebody
//! waits for it or nobody can go on without it (lazy); who is told afterwards is part of it.

use super::super::finding::FindingKind;
use super::super::memory::tensor_map::{Origin, TensorMap};
use super::super::memory::{Place, place_global};
use super::super::program::{BulkOp, BulkType};
use super::super::shadow::Published;
use super::block::{Env, Stop};

/// What a bulk operation does.
#[derive(Clone, Debug)]
pub enum Transfer {
    /// A box to shared memory: (destination, mbarrier) of each block that gets it.
    TensorLoad { map: Box<TensorMap>, origin: Origin, to: Vec<(u32, u32)> },
    /// A box from shared memory.
    TensorStore { map: Box<TensorMap>, origin: Origin, from: u32, reduce: Option<BulkOp> },
    /// Bytes of global memory to shared memory.
    Load { from: u64, bytes: u32, to: Vec<(u32, u32)> },
    /// Bytes of shared memory to shared memory, perhaps another block's.
    Peer { from: u32, bytes: u32, to: u32, mbar: u32, reduce: Option<(BulkOp, BulkType)> },
    /// Registers of a thread to shared memory.
    Registers { data: Box<[u8]>, to: u32, mbar: u32, reduce: Option<(BulkOp, BulkType)> },
    /// Bytes of shared memory to global memory.
    Store { from: u32, to: u64, bytes: u32, reduce: Option<(BulkOp, BulkType)> },
    /// The `cp.async` copies of these lanes that are older than `before`, and then an arrival for each lane.
    Arrival { mask: u32, offsets: Box<[u32; 32]>, before: u64, clock: u32, published: Box<Published> },
}

/// A bulk operation on its way.
#[derive(Clone, Debug)]
pub struct Pending {
    pub transfer: Transfer,
    pub line: u32,
    pub warp: usize,
    pub lane: usize,
    /// Stores: the group of that thread.
    pub group: Option<u32>,
}

/// One element of a reduction, as its bits.
fn reduce(op: BulkOp, ty: BulkType, old: u64, new: u64) -> u64 {
    let float = |f: fn(f64, f64) -> f64| match ty {
        BulkType::F16 => u64::from(
            half::f16::from_f64(f(
                half::f16::from_bits(old as u16).to_f64(),
                half::f16::from_bits(new as u16).to_f64(),
            ))
            .to_bits(),
        ),
        BulkType::Bf16 => u64::from(
            half::bf16::from_f64(f(
                half::bf16::from_bits(old as u16).to_f64(),
                half::bf16::from_bits(new as u16).to_f64(),
            ))
            .to_bits(),
        ),
        BulkType::F32 => {
            let sum = f(f32::from_bits(old as u32).into(), f32::from_bits(new as u32).into());
            u64::from((sum as f32).to_bits())
        }
        _ => f(f64::from_bits(old), f64::from_bits(new)).to_bits(),
    };
    let is_float = matches!(ty, BulkType::F16 | BulkType::Bf16 | BulkType::F32 | BulkType::F64);
    let shift = 64 - 8 * ty.bytes() as u32;
    let less = match ty {
        BulkType::S32 | BulkType::S64 => ((new << shift) as i64) < ((old << shift) as i64),
        _ => new < old,
    };
    match op {
        BulkOp::Add if is_float => float(|a, b| a + b),
        BulkOp::Min if is_float => float(f64::min),
        BulkOp::Max if is_float => float(f64::max),
        BulkOp::Add => old.wrapping_add(new),
        BulkOp::Min => {
            if less {
                new
            } else {
                old
            }
        }
        BulkOp::Max => {
            if less {
                old
            } else {
                new
            }
        }
        BulkOp::Inc => {
            if old >= new {
                0
            } else {
                old + 1
            }
        }
        BulkOp::Dec => {
            if old == 0 || old > new {
                new
            } else {
                old - 1
            }
        }
        BulkOp::And => old & new,
        BulkOp::Or => old | new,
        BulkOp::Xor => old ^ new,
    }
}

/// Fills `row` with what elements outside of a tensor read as.
fn fill(row: &mut [u8], map: &TensorMap) {
    if !map.nan_fill {
        row.fill(0);
        return;
    }
    let bytes = map.ty.bytes();
    for element in row.chunks_exact_mut(bytes) {
        element.fill(0xff);
        element[bytes - 1] = 0x7f;
    }
}

/// How far ahead rows of a tensor are fetched: about as many as a miss takes.
const ROWS_AHEAD: u64 = 6;

/// Longest row of a box: 256 elements of 8 bytes.
const MAX_ROW: usize = 2048;

impl Env<'_> {
    fn global(&mut self, line: u32, address: u64, bytes: u64, what: &str) -> Result<(usize, u64), Stop> {
        if let Place::Global { window, offset } = place_global(address)
            && self.launch.memory.contains(window, offset, bytes)
        {
            return Ok((window, offset));
        }
        let place = self.describe(super::super::program::MemSpace::Global, address, bytes);
        self.report(FindingKind::OutOfBounds, line, None, || format!("{what} of {bytes} bytes at {place}"));
        Err(Stop)
    }

    /// Carries out a transfer (arrivals are the block's business, since they need its warps).
    pub(super) fn carry_out(&mut self, line: u32, transfer: &Transfer) -> Result<(), Stop> {
        match transfer {
            Transfer::TensorLoad { map, origin, to } => self.load_box(line, map, origin, to),
            Transfer::TensorStore { map, origin, from, reduce } => {
                self.store_box(line, map, origin, *from, *reduce)
            }
            Transfer::Load { from, bytes, to } => {
                let (window, offset) = self.global(line, *from, (*bytes).into(), "a bulk copy")?;
                let mut data = vec![0; *bytes as usize];
                self.launch.memory.read_block(window, offset, &mut data);
                for &(dst, mbar) in to {
                    self.write_block(dst, &data);
                    self.complete_bytes(mbar, *bytes);
                }
                Ok(())
            }
            Transfer::Peer { from, bytes, to, mbar, reduce: how } => {
                let mut data = self.shared[*from as usize..(*from + *bytes) as usize].to_vec();
                if let Some((op, ty)) = how {
                    let old = &self.shared[*to as usize..(*to + *bytes) as usize];
                    combine_slices(*op, *ty, old, &mut data);
                }
                self.write_block(*to, &data);
                self.complete_bytes(*mbar, *bytes);
                Ok(())
            }
            Transfer::Registers { data, to, mbar, reduce: how } => {
                let mut data = data.to_vec();
                let bytes = data.len() as u32;
                if let Some((op, ty)) = how {
                    combine_slices(*op, *ty, &self.shared[*to as usize..(*to + bytes) as usize], &mut data);
                }
                self.write_block(*to, &data);
                self.complete_bytes(*mbar, bytes);
                Ok(())
            }
            Transfer::Store { from, to, bytes, reduce: how } => {
                let (window, offset) = self.global(line, *to, (*bytes).into(), "a bulk copy")?;
                let data = &self.shared[*from as usize..(*from + *bytes) as usize];
                match how {
                    None => self.launch.memory.write_block(window, offset, data),
                    Some((op, ty)) => self.reduce_into(window, offset, *op, *ty, data),
                }
                self.effects += 1;
                Ok(())
            }
            Transfer::Arrival { .. } => Ok(()),
        }
    }

    /// Writes bytes into shared memory.
    fn write_block(&mut self, offset: u32, data: &[u8]) {
        let at = offset as usize;
        self.shared[at..at + data.len()].copy_from_slice(data);
        self.changed(at, data.len());
    }

    fn reduce_into(&self, window: usize, offset: u64, op: BulkOp, ty: BulkType, data: &[u8]) {
        for (i, element) in data.chunks_exact(ty.bytes()).enumerate() {
            let mut raw = [0; 8];
            raw[..element.len()].copy_from_slice(element);
            let new = u64::from_le_bytes(raw);
            let at = offset + (i * ty.bytes()) as u64;
            self.launch.memory.update(window, at, ty.bytes(), |old| reduce(op, ty, old, new));
        }
    }

    /// Rows `inside` of the run that begins at row `first` of a box; `address` is that of the first of them. All of each lies in the tensor.
    fn load_rows(
        &mut self,
        line: u32,
        map: &TensorMap,
        address: u64,
        first: u32,
        inside: std::ops::Range<u32>,
        dst: u32,
    ) -> Result<(), Stop> {
        let (bytes, stride) = (u64::from(map.row_bytes()), map.strides[1]);
        let all = u64::from(inside.end - inside.start - 1) * stride + bytes;
        let (window, offset) = self.global(line, address, all, "a tensor load")?;
        let (memory, chunks, pitch) = (self.launch.memory, bytes as usize / 16, map.pitch());
        for (number, row) in inside.enumerate() {
            let from = offset + number as u64 * stride;
            for at in (0..bytes).step_by(64) {
                memory.prefetch(window, from + ROWS_AHEAD * stride + at);
                // Pipelines walk along rows: the next box is beside this one.
                memory.prefetch(window, from + bytes + at);
            }
            let base = dst + (first + row) * pitch;
            // A row lies within one line of 128 bytes where there is a swizzle at all.
            let flip = (map.swizzle.apply(base) ^ base) / 16;
            let place = &mut self.shared[base as usize..(base + pitch) as usize];
            memory.read_row(window, from, chunks, flip as usize, place);
        }
        Ok(())
    }

    fn load_box(
        &mut self,
        line: u32,
        map: &TensorMap,
        origin: &Origin,
        to: &[(u32, u32)],
    ) -> Result<(), Stop> {
        let mut buffer = [0u8; MAX_ROW];
        let mut runs = None;
        let row = &mut buffer[..(map.row_bytes() as usize).min(MAX_ROW)];
        let (width, step) = (map.ty.bytes(), u64::from(map.element_strides[0]));
        let per_run = map.run();
        for number in 0..map.rows() {
            // Whole rows for one block go straight to their places, as many as are a stride apart.
            if let (0, &[(dst, _)]) = (number % per_run, to) {
                runs = map.rows_inside(origin, number);
                if let Some((address, inside)) = &runs {
                    self.load_rows(line, map, *address, number, inside.clone(), dst)?;
                }
            }
            if let Some((_, inside)) = &runs
                && inside.contains(&(number % per_run))
            {
                continue;
            }
            match map.row(origin, number) {
                None => fill(row, map),
                Some((address, range)) => {
                    let (first, end) = (range.start as usize * width, range.end as usize * width);
                    if first != 0 || end != row.len() {
                        fill(row, map);
                    }
                    let elements = u64::from(range.end - range.start);
                    let bytes = ((elements - 1) * step + 1) * width as u64;
                    let (window, offset) = self.global(line, address, bytes, "a tensor load")?;
                    if step == 1 {
                        self.launch.memory.read_block(window, offset, &mut row[first..end]);
                    } else {
                        for (i, element) in row[first..end].chunks_exact_mut(width).enumerate() {
                            let at = offset + i as u64 * step * width as u64;
                            self.launch.memory.read_block(window, at, element);
                        }
                    }
                }
            }
            for &(dst, _) in to {
                let base = dst + number * map.pitch();
                for (i, chunk) in row.as_chunks::<16>().0.iter().enumerate() {
                    let at = map.swizzle.apply(base + 16 * i as u32) as usize;
                    self.shared[at..at + 16].copy_from_slice(chunk);
                }
            }
        }
        for &(dst, mbar) in to {
            self.changed(dst as usize, (map.pitch() * map.rows()) as usize);
            self.complete_bytes(mbar, map.box_bytes());
        }
        Ok(())
    }

    fn store_box(
        &mut self,
        line: u32,
        map: &TensorMap,
        origin: &Origin,
        from: u32,
        how: Option<BulkOp>,
    ) -> Result<(), Stop> {
        let mut buffer = [0u8; MAX_ROW];
        let row = &mut buffer[..(map.row_bytes() as usize).min(MAX_ROW)];
        let (width, step) = (map.ty.bytes(), u64::from(map.element_strides[0]));
        for number in 0..map.rows() {
            let Some((address, range)) = map.row(origin, number) else { continue };
            let base = from + number * map.pitch();
            for (i, chunk) in row.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let at = map.swizzle.apply(base + 16 * i as u32) as usize;
                chunk.copy_from_slice(&self.shared[at..at + 16]);
            }
            let elements = u64::from(range.end - range.start);
            let bytes = ((elements - 1) * step + 1) * width as u64;
            let (window, offset) = self.global(line, address, bytes, "a tensor store")?;
            let data = &row[range.start as usize * width..range.end as usize * width];
            match how {
                None if step == 1 => self.launch.memory.write_block(window, offset, data),
                None => {
                    for (i, element) in data.chunks_exact(width).enumerate() {
                        let at = offset + i as u64 * step * width as u64;
                        self.launch.memory.write_block(window, at, element);
                    }
                }
                Some(op) => self.reduce_into(window, offset, op, map.ty, data),
            }
        }
        self.effects += 1;
        Ok(())
    }
}

/// `new` becomes `old` combined with `new`.
fn combine_slices(op: BulkOp, ty: BulkType, old: &[u8], new: &mut [u8]) {
    let bits = |bytes: &[u8]| {
        let mut raw = [0; 8];
        raw[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(raw)
    };
    for (old, new) in old.chunks_exact(ty.bytes()).zip(new.chunks_exact_mut(ty.bytes())) {
        let value = reduce(op, ty, bits(old), bits(new));
        new.copy_from_slice(&value.to_le_bytes()[..ty.bytes()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reductions_follow_the_type() {
        let bits = |x: f32| u64::from(x.to_bits());
        assert_eq!(reduce(BulkOp::Add, BulkType::F32, bits(1.0), bits(2.0)), bits(3.0));
        assert_eq!(reduce(BulkOp::Add, BulkType::F16, 0x3c00, 0x4000), 0x4200);
        assert_eq!(reduce(BulkOp::Min, BulkType::S32, 1, 0xffff_fffe), 0xffff_fffe);
        assert_eq!(reduce(BulkOp::Min, BulkType::U32, 1, 0xffff_fffe), 1);
        assert_eq!(reduce(BulkOp::Max, BulkType::Bf16, 0x3f80, 0xbf80), 0x3f80);
        assert_eq!(reduce(BulkOp::Inc, BulkType::U32, 3, 3), 0);
        assert_eq!(reduce(BulkOp::Dec, BulkType::U32, 0, 7), 7);
    }
}
