//! `atom` and `red`: read-modify-writes, lane by lane in lane order.

use super::super::finding::FindingKind;
use super::super::frame::{Lanes64, blend32, blend64};
use super::super::memory::read_slice;
use super::super::program::{Atomic, AtomicOp, MemReg, Order};
use super::super::shadow::{Acquire, Touch};
use super::access::{Target, addresses, lanes_of};
use super::block::{Env, Stop};
use super::warp::Warp;

/// The lesser of two halves: the number if one is NaN, -0 below +0.
fn lesser(x: u16, y: u16, value: fn(u16) -> f32) -> u16 {
    let (a, b) = (value(x), value(y));
    if b.is_nan() || a < b || (a == b && a.is_sign_negative()) { x } else { y }
}

/// Subnormal numbers become a zero of the same sign.
fn flushed(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}

fn f16(bits: u16) -> f32 {
    half::f16::from_bits(bits).to_f32()
}

fn bf16(bits: u16) -> f32 {
    half::bf16::from_bits(bits).to_f32()
}

/// The new value of `op` on `bytes`-wide values.
fn combine(op: AtomicOp, bytes: u8, old: u64, b: u64, c: u64) -> u64 {
    let shift = 64 - 8 * u32::from(bytes);
    let signed = |v: u64| (v << shift) as i64;
    let f32s =
        |f: fn(f32, f32) -> f32| u64::from(f(f32::from_bits(old as u32), f32::from_bits(b as u32)).to_bits());
    let halves = |f: fn(u16, u16) -> u16| {
        u64::from(f(old as u16, b as u16)) | u64::from(f((old >> 16) as u16, (b >> 16) as u16)) << 16
    };
    let f16_add = |x: u16, y: u16| (half::f16::from_bits(x) + half::f16::from_bits(y)).to_bits();
    let bf16_add = |x: u16, y: u16| (half::bf16::from_bits(x) + half::bf16::from_bits(y)).to_bits();
    match op {
        AtomicOp::And => old & b,
        AtomicOp::Or => old | b,
        AtomicOp::Xor => old ^ b,
        AtomicOp::Exch => b,
        AtomicOp::Cas => {
            if old == b {
                c
            } else {
                old
            }
        }
        AtomicOp::Add => old.wrapping_add(b),
        AtomicOp::Inc => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        AtomicOp::Dec => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
        AtomicOp::MinS => {
            if signed(b) < signed(old) {
                b
            } else {
                old
            }
        }
        AtomicOp::MaxS => {
            if signed(b) > signed(old) {
                b
            } else {
                old
            }
        }
        AtomicOp::MinU => old.min(b),
        AtomicOp::MaxU => old.max(b),
        AtomicOp::AddF32 => f32s(|x, y| x + y),
        AtomicOp::AddF64 => (f64::from_bits(old) + f64::from_bits(b)).to_bits(),
        AtomicOp::AddF16 => u64::from(f16_add(old as u16, b as u16)),
        AtomicOp::AddBf16 => u64::from(bf16_add(old as u16, b as u16)),
        AtomicOp::MinF16 => halves(|x, y| lesser(x, y, f16)),
        AtomicOp::MaxF16 => halves(|x, y| lesser(x ^ 0x8000, y ^ 0x8000, f16) ^ 0x8000),
        AtomicOp::MinBf16 => halves(|x, y| lesser(x, y, bf16)),
        AtomicOp::MaxBf16 => halves(|x, y| lesser(x ^ 0x8000, y ^ 0x8000, bf16) ^ 0x8000),
        AtomicOp::AddF16x2 => halves(f16_add),
        AtomicOp::AddBf16x2 => halves(bf16_add),
    }
}

impl Env<'_> {
    pub(super) fn atomic(
        &mut self,
        warp: &mut Warp,
        line: u32,
        number: usize,
        atomic: &Atomic,
        mask: u32,
    ) -> Result<(), Stop> {
        let at = addresses(&warp.frame, atomic.addr);
        let bytes = u32::from(atomic.bytes);
        let windows = self.check(warp.index, line, atomic.space, &at, mask, bytes, "atomic")?;
        let half = |reg: MemReg, lane: usize| match reg {
            MemReg::R32(r) => u64::from(warp.frame.r32(r)[lane]),
            MemReg::R64(r) => warp.frame.r64(r)[lane],
            MemReg::None => 0,
        };
        let operand = |low: MemReg, high: MemReg, lane: usize| {
            u128::from(half(low, lane)) | u128::from(half(high, lane)) << 64
        };
        let width = u128::MAX >> (128 - 8 * u32::from(atomic.bytes));
        let how = match (atomic.acquires, self.launch.options.strict) {
            (true, _) => Acquire::Now,
            (false, true) => Acquire::AtFence,
            (false, false) => Acquire::AtBarrier,
        };
        let align = u64::from(atomic.align);
        if let Some(lane) = lanes_of(mask).find(|&lane| !at[lane].is_multiple_of(align)) {
            self.report(FindingKind::Misaligned, line, None, || {
                format!(
                    "warp {} lane {lane}: a vector of atomics at address {:#x}, no multiple of {align}",
                    warp.index, at[lane]
                )
            });
            return Err(Stop);
        }
        let mut old = [0u128; 32];
        let mut changed = false;
        let launch = self.launch;
        let _turn = launch.global_shadow.as_ref().map(|shadow| shadow.one_atomic());
        for lane in lanes_of(mask) {
            let b = operand(atomic.b, atomic.high[1], lane) & width;
            let c = operand(atomic.c, atomic.high[2], lane) & width;
            let flushes = atomic.op == AtomicOp::AddF32 && matches!(windows.of(lane), Target::Global(..));
            let update = |old: u128| match (atomic.bytes, atomic.op) {
                // "atom.add.f32 on global memory flushes subnormal inputs and results", and that on shared memory does not.
                _ if flushes => {
                    let sum = flushed(f32::from_bits(old as u32)) + flushed(f32::from_bits(b as u32));
                    flushed(sum).to_bits().into()
                }
                (16, AtomicOp::Cas) if old != b => old,
                (16, AtomicOp::Cas) => c,
                (16, _) => b,
                (bytes, op) => u128::from(combine(op, bytes, old as u64, b as u64, c as u64)) & width,
            };
            match windows.of(lane) {
                Target::Global(window, base) => {
                    if self.shadow.is_some() {
                        let at = (window, at[lane].wrapping_sub(base));
                        let order = if atomic.releases { Order::Release } else { Order::Strong };
                        self.acquire_global(warp.index, at, how);
                        self.atomic_global(warp.index, lane, line, (order, atomic.reach), at, bytes.into());
                    }
                    let (memory, offset) = (&self.launch.memory, at[lane].wrapping_sub(base));
                    old[lane] = match bytes {
                        16 => memory.update_wide(window, offset, update),
                        _ => {
                            let update = |old: u64| update(old.into()) as u64;
                            memory.update(window, offset, bytes as usize, update).into()
                        }
                    };
                    changed |= update(old[lane]) != old[lane];
                    if self.shadow.is_some() {
                        self.acquire_global(warp.index, (window, at[lane].wrapping_sub(base)), how);
                    }
                }
                Target::Shared(base) => {
                    let offset = at[lane].wrapping_sub(base);
                    self.touch(warp.index, lane, line, Touch::Atomic, offset, bytes, "atomic update");
                    if let Some(shadow) = &mut self.shadow {
                        shadow.exchange(warp.index, offset as u32);
                    }
                    let mut words = [0; 4];
                    read_slice(&self.shared, offset as usize, bytes as usize, &mut words);
                    old[lane] =
                        words.iter().rev().fold(0, |value, &word| value << 32 | u128::from(word)) & width;
                    let new = update(old[lane]);
                    changed |= new != old[lane];
                    let words = std::array::from_fn(|word| (new >> (32 * word)) as u32);
                    self.write_shared(offset as usize, bytes as usize, &words);
                }
                _ => {
                    self.report(FindingKind::OutOfBounds, line, None, || {
                        format!(
                            "warp {} lane {lane}: atomic on memory that is neither global nor shared",
                            warp.index
                        )
                    });
                    return Err(Stop);
                }
            }
        }
        self.effects += u64::from(changed);
        self.looks += u64::from(!changed);
        if self.counters.on() && matches!(windows.of(mask.trailing_zeros() as usize), Target::Global(..)) {
            self.counters.global(number, &at, mask, |_| bytes, true);
        }
        for (d, shift) in [(atomic.d, 0), (atomic.high[0], 64)] {
            let old: Lanes64 = old.map(|old| (old >> shift) as u64);
            match d {
                MemReg::R32(d) => blend32(warp.frame.r32_mut(d), &old.map(|old| old as u32), mask),
                MemReg::R64(d) => blend64(warp.frame.r64_mut(d), &old, mask),
                MemReg::None => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_follow_the_isa() {
        let op = |op, old, b| combine(op, 4, old, b, 0) & 0xffff_ffff;
        assert_eq!(op(AtomicOp::Inc, 3, 3), 0);
        assert_eq!(op(AtomicOp::Inc, 2, 3), 3);
        assert_eq!(op(AtomicOp::Dec, 0, 7), 7);
        assert_eq!(op(AtomicOp::Dec, 9, 7), 7);
        assert_eq!(op(AtomicOp::MinS, 1, 0xffff_fffe), 0xffff_fffe);
        assert_eq!(op(AtomicOp::MinU, 1, 0xffff_fffe), 1);
        assert_eq!(combine(AtomicOp::Cas, 4, 5, 5, 9), 9);
        assert_eq!(combine(AtomicOp::MinF16, 4, 0x3c00_7e00, 0xbc00_4000, 0), 0xbc00_4000);
        assert_eq!(combine(AtomicOp::MaxBf16, 4, 0x8000_3f80, 0x0000_7fc0, 0), 0x0000_3f80);
        assert_eq!(combine(AtomicOp::AddF16x2, 4, 0x3c00_3c00, 0x4000_3c00, 0), 0x4200_4000);
    }
}
