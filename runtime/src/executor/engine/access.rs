//! Loads, stores, `ldmatrix` and `stmatrix`: a warp's memory accesses, checked.
//!
//! All lanes' addresses are computed first, then the alignment and the window are checked, once for the warp if the smallest and the
//! largest address lie in one window, lane by lane otherwise. Only then bytes move. Nothing here trusts an address.

use super::super::finding::FindingKind;
use super::super::frame::{Frame, Lanes64, blend32, blend64};
use super::super::lanes::tier::each;
use super::super::memory::{
    LaneWords, Place, SHARED_RANK_BITS, place_generic, place_global, read_slice, write_slice,
};
use super::super::program::{Addr, AddrBase, Extend, MemAccess, MemReg, MemSpace, Order};
use super::super::shadow::{Agent, Touch};
use super::block::{Env, Stop};
use super::bulk::Issuer;
use super::warp::Warp;

/// Bytes of shared memory that share a version number.
pub(super) const PAGE: usize = 1024;

/// The window that all lanes of an access fall into, with the address of its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Global(usize, u64),
    Shared(u64),
    Local(u64),
    Param(u64),
    Const(u64),
}

pub(super) fn lanes_of(mask: u32) -> impl Iterator<Item = usize> {
    let mut left = mask;
    std::iter::from_fn(move || {
        (left != 0).then(|| {
            let lane = left.trailing_zeros() as usize;
            left &= left - 1;
            lane
        })
    })
}

/// Each lane's address. 32-bit bases wrap at 32 bits, as addresses of the shared window do.
#[inline(always)]
pub(super) fn addresses(frame: &Frame, addr: Addr) -> Lanes64 {
    match addr.base {
        AddrBase::Abs => [addr.offset as u64; 32],
        AddrBase::R64(r) => {
            let (base, mut at) = (frame.r64(r), [0; 32]);
            each(|lane| at[lane] = base[lane].wrapping_add(addr.offset as u64));
            at
        }
        AddrBase::R32(r) => {
            let (base, mut at) = (frame.r32(r), [0; 32]);
            each(|lane| at[lane] = u64::from(base[lane].wrapping_add(addr.offset as u32)));
            at
        }
    }
}

/// The smallest and the largest address of the lanes of `mask`, and all their bits together.
pub(super) fn extent(at: &Lanes64, mask: u32) -> (u64, u64, u64) {
    if mask == u32::MAX {
        return super::super::lanes::extent::extent(at);
    }
    let (mut low, mut high, mut any) = (u64::MAX, 0, 0);
    for lane in lanes_of(mask) {
        low = low.min(at[lane]);
        high = high.max(at[lane]);
        any |= at[lane];
    }
    (low, high, any)
}

/// One lane's address.
pub(super) fn address_of(frame: &Frame, addr: Addr, lane: usize) -> u64 {
    match addr.base {
        AddrBase::Abs => addr.offset as u64,
        AddrBase::R64(r) => frame.r64(r)[lane].wrapping_add(addr.offset as u64),
        AddrBase::R32(r) => u64::from(frame.r32(r)[lane].wrapping_add(addr.offset as u32)),
    }
}

impl Env<'_> {
    fn place(&self, space: MemSpace, address: u64) -> Place {
        match space {
            MemSpace::Generic => place_generic(address),
            MemSpace::Global => place_global(address),
            MemSpace::Shared => Place::Shared(address),
            MemSpace::Local => Place::Local(address),
            MemSpace::Param => Place::Param(address),
            MemSpace::Const => Place::Const(address),
        }
    }

    /// The window of `address`, if `bytes` bytes from there are inside of it.
    pub(super) fn check_one(&self, space: MemSpace, address: u64, bytes: u64) -> Option<Target> {
        let fits = |offset: u64, len: usize| offset.checked_add(bytes).is_some_and(|end| end <= len as u64);
        let program = &self.launch.kernel.program;
        match self.place(space, address) {
            Place::Global { window, offset } => self
                .launch
                .memory
                .contains(window, offset, bytes)
                .then_some(Target::Global(window, address - offset)),
            Place::Shared(at) => {
                let (rank, offset) = (at >> SHARED_RANK_BITS, at & ((1 << SHARED_RANK_BITS) - 1));
                let rank = if rank == 0 { self.rank } else { rank as usize - 1 };
                let inside = rank < self.launch.cluster_size() && fits(offset, self.launch.shared_bytes);
                let lies = (rank * self.stride) as u64 + offset;
                inside.then_some(Target::Shared(address.wrapping_sub(lies)))
            }
            Place::Local(offset) => {
                fits(offset, program.local_bytes as usize).then_some(Target::Local(address - offset))
            }
            Place::Param(offset) => {
                fits(offset, self.launch.params.len()).then_some(Target::Param(address - offset))
            }
            Place::Const(offset) => {
                fits(offset, program.constants.len()).then_some(Target::Const(address - offset))
            }
            Place::Nowhere => None,
        }
    }

    /// What to say of an address that is out of bounds.
    pub(super) fn describe(&self, space: MemSpace, address: u64, bytes: u64) -> String {
        match self.place(space, address) {
            Place::Global { window, offset } => match self.launch.memory.len(window) {
                Some(len) if offset >= 1 << 35 => {
                    format!(
                        "{} bytes before the start of buffer {} ({len} bytes)",
                        (1u64 << 36) - offset,
                        window + 1
                    )
                }
                Some(len) => {
                    format!("offset {offset} of {}, which has {len} bytes", self.launch.memory.name(window))
                }
                None if offset >= 1 << 35 => format!("address {address:#x}, before the start of a buffer"),
                None => format!("address {address:#x}, in no buffer"),
            },
            Place::Shared(offset) => format!(
                "offset {offset:#x} of shared memory, of which the block has {} bytes",
                self.launch.shared_bytes
            ),
            Place::Local(offset) => format!("offset {offset:#x} of local memory"),
            Place::Param(offset) => {
                format!("offset {offset} of the parameters ({} bytes)", self.launch.params.len())
            }
            Place::Const(offset) => format!("offset {offset} of the constant bank"),
            Place::Nowhere => format!("address {address:#x} ({bytes} bytes), which is in no buffer"),
        }
    }

    /// Checks alignment and bounds of `bytes` bytes in each lane of `mask`; the windows come by lane if they differ.
    pub(super) fn check(
        &mut self,
        warp: usize,
        line: u32,
        space: MemSpace,
        at: &Lanes64,
        mask: u32,
        bytes: u32,
        what: &str,
    ) -> Result<Windows, Stop> {
        let (low, high, any) = extent(at, mask);
        if any & u64::from(bytes.next_power_of_two() - 1) != 0 {
            for lane in lanes_of(mask) {
                if !at[lane].is_multiple_of(u64::from(bytes)) {
                    self.report(FindingKind::Misaligned, line, None, || {
                        format!("warp {warp} lane {lane}: {what} of {bytes} bytes at address {:#x}, no multiple of {bytes}", at[lane])
                    });
                    return Err(Stop);
                }
            }
        }
        let (first, last) =
            (self.check_one(space, low, bytes.into()), self.check_one(space, high, bytes.into()));
        if let (Some(first), Some(last)) = (first, last)
            && first == last
        {
            return Ok(Windows::One(first));
        }
        let mut targets = [None; 32];
        for lane in lanes_of(mask) {
            targets[lane] = self.check_one(space, at[lane], bytes.into());
            if targets[lane].is_none() {
                let where_ = self.describe(space, at[lane], bytes.into());
                self.report(FindingKind::OutOfBounds, line, None, || {
                    format!("warp {warp} lane {lane}: {what} of {bytes} bytes at {where_}")
                });
                return Err(Stop);
            }
        }
        Ok(Windows::Each(Box::new(targets)))
    }

    /// Checks that the first part of a wider access lies where the whole must.
    fn check_align(
        &mut self,
        warp: usize,
        line: u32,
        at: &Lanes64,
        mask: u32,
        bytes: u64,
        what: &str,
    ) -> Result<(), Stop> {
        if bytes == 0 {
            return Ok(());
        }
        let Some(lane) = lanes_of(mask).find(|&lane| !at[lane].is_multiple_of(bytes)) else {
            return Ok(());
        };
        self.report(FindingKind::Misaligned, line, None, || {
            format!(
                "warp {warp} lane {lane}: {what} of {bytes} bytes at address {:#x}, no multiple of {bytes}",
                at[lane]
            )
        });
        Err(Stop)
    }

    #[inline]
    pub(super) fn read_lane(
        &self,
        target: Target,
        warp: usize,
        lane: usize,
        address: u64,
        bytes: usize,
        words: &mut [u32; 4],
    ) {
        match target {
            Target::Global(window, base) => self.launch.memory.read(window, address - base, bytes, words),
            Target::Shared(base) => {
                read_slice(&self.shared, address.wrapping_sub(base) as usize, bytes, words)
            }
            Target::Local(base) => read_slice(
                &self.local,
                self.local_offset(warp, lane) + (address - base) as usize,
                bytes,
                words,
            ),
            Target::Param(base) => read_slice(self.launch.params, (address - base) as usize, bytes, words),
            Target::Const(base) => {
                read_slice(&self.launch.kernel.program.constants, (address - base) as usize, bytes, words)
            }
        }
    }

    /// Returns false for windows that cannot be written.
    #[inline]
    fn write_lane(
        &mut self,
        target: Target,
        warp: usize,
        lane: usize,
        address: u64,
        bytes: usize,
        words: &[u32; 4],
    ) -> bool {
        match target {
            Target::Global(window, base) => self.launch.memory.write(window, address - base, bytes, words),
            Target::Shared(base) => self.write_shared(address.wrapping_sub(base) as usize, bytes, words),
            Target::Local(base) => {
                let offset = self.local_offset(warp, lane) + (address - base) as usize;
                write_slice(&mut self.local, offset, bytes, words);
            }
            Target::Param(_) | Target::Const(_) => return false,
        }
        true
    }

    /// Writes into shared memory.
    #[inline]
    pub(super) fn write_shared(&mut self, offset: usize, bytes: usize, words: &[u32; 4]) {
        write_slice(&mut self.shared, offset, bytes, words);
        // An aligned access of at most 16 bytes lies in one page.
        let page = &mut self.pages[offset / PAGE];
        *page = page.wrapping_add(1);
    }

    /// Something small has changed at the offsets of the lanes of `mask`.
    pub(super) fn changed_at(&mut self, offsets: impl Iterator<Item = usize>, mask: u32) {
        let mut last = usize::MAX;
        for (lane, offset) in offsets.enumerate() {
            if mask >> lane & 1 != 0 && offset / PAGE != last {
                last = offset / PAGE;
                self.pages[last] = self.pages[last].wrapping_add(1);
            }
        }
    }

    /// `bytes` of shared memory have changed.
    pub(super) fn changed(&mut self, offset: usize, bytes: usize) {
        for page in &mut self.pages[offset / PAGE..(offset + bytes).div_ceil(PAGE)] {
            *page = page.wrapping_add(1);
        }
    }

    pub(super) fn local_offset(&self, warp: usize, lane: usize) -> usize {
        self.launch.kernel.program.local_bytes as usize * (warp * 32 + lane)
    }

    /// Tells the shadow about an access to shared memory by one lane.
    pub(super) fn touch(
        &mut self,
        warp: usize,
        lane: usize,
        line: u32,
        touch: Touch,
        offset: u64,
        bytes: u32,
        what: &str,
    ) {
        self.note_remote(warp, line, offset);
        if let Some(shadow) = &mut self.shadow {
            let fault = shadow.touch(Agent { warp, lane: lane as u32, line }, touch, offset as u32, bytes);
            self.report_fault(fault, warp, lane, line, what);
        }
    }

    /// Tells the shadow about a store. Warps that all store the same value by the same instruction do not race: compilers write
    /// that where a value is known to everybody.
    fn touch_store(&mut self, who: Issuer, order: Order, offset: u64, data: &[u32; 4], bytes: u32) {
        let Issuer { warp, lane, line } = who;
        self.note_remote(warp, line, offset);
        let Some(shadow) = &mut self.shadow else { return };
        let agent = Agent { warp, lane: lane as u32, line };
        // Volatile stores are how lanes of old talk to each other.
        let touch = if order == Order::Weak { Touch::LaneWrite } else { Touch::StrongWrite };
        let fault = shadow.touch(agent, touch, offset as u32, bytes);
        if order != Order::Weak {
            shadow.leave_strong(warp, offset as u32, order == Order::Release);
        }
        if let Some(found) = &fault
            && found.kind == FindingKind::Race
            && found.other_writes
            && found.other_line == Some(line)
        {
            let mut new = vec![0; bytes as usize];
            write_slice(&mut new, 0, bytes as usize, data);
            if self.shared[offset as usize..offset as usize + bytes as usize] == new {
                return;
            }
        }
        self.report_fault(fault, warp, lane, line, "write");
    }

    fn count(&mut self, number: usize, windows: &Windows, at: &Lanes64, mask: u32, bytes: u32, writes: bool) {
        if !self.counters.on() {
            return;
        }
        match windows {
            Windows::One(Target::Shared(base)) => {
                let offsets = std::array::from_fn(|lane| at[lane].wrapping_sub(*base));
                self.counters.shared(number, &offsets, mask, bytes);
            }
            Windows::One(Target::Global(..)) => self.counters.global(number, at, mask, |_| bytes, writes),
            _ => {}
        }
    }

    pub(super) fn load(
        &mut self,
        warp: &mut Warp,
        line: u32,
        number: usize,
        access: &MemAccess,
        mask: u32,
    ) -> Result<(), Stop> {
        let at = addresses(&warp.frame, access.addr);
        let width = usize::from(access.bytes);
        let bytes = (width * access.regs.len()) as u32;
        let windows = self.check(warp.index, line, access.space, &at, mask, bytes, "load")?;
        self.check_align(warp.index, line, &at, mask, access.align.into(), "load")?;
        let mut data: LaneWords = [[0; 4]; 32];
        let mut unwritten = Vec::new();
        for lane in lanes_of(mask) {
            let target = windows.of(lane);
            self.read_lane(target, warp.index, lane, at[lane], bytes as usize, &mut data[lane]);
            match target {
                Target::Shared(base) => {
                    let offset = at[lane].wrapping_sub(base);
                    unwritten.extend(self.touch_load(warp.index, lane, line, access.order, offset, bytes));
                }
                Target::Global(window, base) if self.shadow.is_some() => {
                    let at = (window, at[lane] - base);
                    let order = (access.order, access.reach);
                    self.read_global(warp.index, lane, line, order, at, bytes.into());
                }
                _ => {}
            }
        }
        self.count(number, &windows, &at, mask, bytes, false);
        if access.order == Order::Weak {
            put_loaded(&mut warp.frame, access, &data, mask);
        } else {
            let values = |frame: &Frame| -> Vec<Lanes64> {
                let value = |reg: &MemReg| match *reg {
                    MemReg::R32(r) => frame.r32(r).map(u64::from),
                    MemReg::R64(r) => *frame.r64(r),
                    MemReg::None => [0; 32],
                };
                access.regs.iter().map(value).collect()
            };
            let before = values(&warp.frame);
            put_loaded(&mut warp.frame, access, &data, mask);
            self.looks += u64::from(before == values(&warp.frame));
        }
        warp.doubt(line, access, &data, &unwritten, mask);
        Ok(())
    }

    pub(super) fn store(
        &mut self,
        warp: &mut Warp,
        line: u32,
        number: usize,
        access: &MemAccess,
        mask: u32,
    ) -> Result<(), Stop> {
        let at = addresses(&warp.frame, access.addr);
        let width = usize::from(access.bytes);
        let bytes = (width * access.regs.len()) as u32;
        let windows = self.check(warp.index, line, access.space, &at, mask, bytes, "store")?;
        self.check_align(warp.index, line, &at, mask, access.align.into(), "store")?;
        self.effects += 1;
        if let (4, &[MemReg::R32(r)], &Windows::One(Target::Global(window, base))) =
            (width, &access.regs[..], &windows)
            && self.shadow.is_none()
        {
            for lane in lanes_of(mask) {
                self.launch.memory.write_word(window, at[lane] - base, warp.frame.r32(r)[lane]);
            }
            self.count(number, &windows, &at, mask, bytes, true);
            return Ok(());
        }
        let mut data: LaneWords = [[0; 4]; 32];
        for (i, reg) in access.regs.iter().enumerate() {
            for lane in lanes_of(mask) {
                let value = match *reg {
                    MemReg::R32(r) => u64::from(warp.frame.r32(r)[lane]),
                    MemReg::R64(r) => warp.frame.r64(r)[lane],
                    MemReg::None => 0,
                };
                let words = &mut data[lane];
                match width {
                    8 => {
                        words[2 * i] = value as u32;
                        words[2 * i + 1] = (value >> 32) as u32;
                    }
                    4 => words[i] = value as u32,
                    2 => words[i / 2] |= (value as u32 & 0xffff) << (16 * (i % 2)),
                    _ => words[i / 4] |= (value as u32 & 0xff) << (8 * (i % 4)),
                }
            }
        }
        for lane in lanes_of(mask) {
            let target = windows.of(lane);
            match target {
                Target::Shared(base) => {
                    let offset = at[lane].wrapping_sub(base);
                    let who = Issuer { warp: warp.index, lane, line };
                    self.touch_store(who, access.order, offset, &data[lane], bytes);
                }
                Target::Global(window, base) if self.shadow.is_some() => {
                    let at = (window, at[lane] - base);
                    let value = (&data[lane], bytes as usize);
                    let order = (access.order, access.reach);
                    self.write_global(warp.index, lane, line, order, at, value);
                }
                _ => {}
            }
            if !self.write_lane(target, warp.index, lane, at[lane], bytes as usize, &data[lane]) {
                self.report(FindingKind::OutOfBounds, line, None, || {
                    format!(
                        "warp {} lane {lane}: store into read-only memory at address {:#x}",
                        warp.index, at[lane]
                    )
                });
                return Err(Stop);
            }
        }
        self.count(number, &windows, &at, mask, bytes, true);
        Ok(())
    }
}

/// What the lanes of `mask` loaded goes to their registers.
pub(super) fn put_loaded(frame: &mut Frame, access: &MemAccess, data: &LaneWords, mask: u32) {
    let width = usize::from(access.bytes);
    for (i, reg) in access.regs.iter().enumerate() {
        let raw = |lane: usize| -> u64 {
            let words = &data[lane];
            match width {
                8 => u64::from(words[2 * i]) | u64::from(words[2 * i + 1]) << 32,
                4 => u64::from(words[i]),
                2 => u64::from(words[i / 2] >> (16 * (i % 2)) & 0xffff),
                _ => u64::from(words[i / 4] >> (8 * (i % 4)) & 0xff),
            }
        };
        let shift = 64 - 8 * width as u32;
        let extended = |lane: usize| -> u64 {
            let value = raw(lane);
            match access.extend {
                Extend::Zero => value,
                Extend::Sign => ((value << shift) as i64 >> shift) as u64,
                Extend::Sign16 => ((value << shift) as i64 >> shift) as u64 & 0xffff,
            }
        };
        match *reg {
            MemReg::R32(d) => {
                let value = std::array::from_fn(|lane| extended(lane) as u32);
                blend32(frame.r32_mut(d), &value, mask);
            }
            MemReg::R64(d) => {
                let value = std::array::from_fn(extended);
                blend64(frame.r64_mut(d), &value, mask);
            }
            MemReg::None => {}
        }
    }
}

/// The windows of a warp's access.
pub(super) enum Windows {
    One(Target),
    Each(Box<[Option<Target>; 32]>),
}

impl Windows {
    /// The window of an active lane.
    #[inline]
    pub(super) fn of(&self, lane: usize) -> Target {
        match self {
            Windows::One(target) => *target,
            // `check` fills in every active lane or fails; inactive lanes are never asked for.
            Windows::Each(targets) => targets[lane].unwrap_or(Target::Param(0)),
        }
    }
}
