//! `st.async` and `red.async`: registers that go to the shared memory of some block of the cluster, and an mbarrier that counts their bytes.
//!
//! Each active lane sends its own. They belong to the generic proxy, so nothing of them needs a proxy fence; the bytes are there for whoever waited
//! for the mbarrier.

use super::super::finding::FindingKind;
use super::super::program::{MemReg, StoreAsync};
use super::super::shadow::Touch;
use super::access::{address_of, lanes_of};
use super::block::{Env, Stop};
use super::bulk::Issuer;
use super::transfer::Transfer;
use super::warp::Warp;

impl Env<'_> {
    /// Notes an access to the shared memory of another block of the cluster: it must come before that block's end.
    #[inline]
    pub(super) fn note_remote(&mut self, warp: usize, line: u32, offset: u64) {
        if self.ended.is_empty() || self.shadow.is_none() {
            return;
        }
        let rank = offset as usize / self.stride;
        if rank == self.rank {
            return;
        }
        if self.ended[rank] {
            self.report_ended(warp, line, rank);
        }
        let warps = self.launch.block_warps();
        let Some(shadow) = &mut self.shadow else { return };
        shadow.note_remote(rank as u32, warp, line);
        if !shadow.has_begun(warp, rank * warps..(rank + 1) * warps) {
            self.report(FindingKind::Race, line, None, || {
                format!(
                    "warp {warp}: nothing says that block {rank} of the cluster has begun when this accesses its shared memory: \
                     a cluster barrier is missing before it"
                )
            });
        }
    }

    fn report_ended(&mut self, warp: usize, line: u32, rank: usize) {
        self.report(FindingKind::Race, line, None, || {
            format!(
                "warp {warp}: nothing orders this access to the shared memory of block {rank} of the cluster before that block's end: \
                 a cluster barrier is missing behind it"
            )
        });
    }

    /// All warps of block `rank`, `warps`, have ended: whoever used its shared memory must have done so before, and what was on its way there must
    /// have arrived.
    pub(super) fn block_ended(&mut self, rank: usize, warps: std::ops::Range<usize>) {
        if let Some(ended) = self.ended.get_mut(rank) {
            *ended = true;
        }
        let Some(shadow) = &self.shadow else { return };
        let late = shadow.remote_after(rank as u32, warps.clone());
        let arriving = shadow.arriving_after(rank as u32, warps);
        for (warp, line) in late {
            self.report_ended(warp, line, rank);
        }
        for line in arriving {
            self.report(FindingKind::AsyncInFlight, line, None, || {
                "the block ends while this may still be writing to its shared memory: nobody waited for it"
                    .into()
            });
        }
    }

    pub(super) fn store_async(
        &mut self,
        warp: &mut Warp,
        line: u32,
        op: &StoreAsync,
        mask: u32,
    ) -> Result<(), Stop> {
        for lane in lanes_of(mask) {
            let who = Issuer { warp: warp.index, lane, line };
            let mut data = Vec::with_capacity(usize::from(op.bytes) * op.regs.len());
            for reg in &op.regs {
                let value = match *reg {
                    MemReg::R32(r) => u64::from(warp.frame.r32(r)[lane]),
                    MemReg::R64(r) => warp.frame.r64(r)[lane],
                    MemReg::None => 0,
                };
                data.extend_from_slice(&value.to_le_bytes()[..usize::from(op.bytes)]);
            }
            let bytes = data.len() as u32;
            let (to, mbar) = (address_of(&warp.frame, op.addr, lane), address_of(&warp.frame, op.mbar, lane));
            let to = self.shared_range(who, to, bytes, bytes.into(), "an asynchronous store")?;
            let mbar = self.shared_range(who, mbar, 8, 8, "the mbarrier of an asynchronous store")?;
            let epoch = self.completion_epoch(who.warp, lane, line, mbar)?;
            let touch = match op.reduce {
                None => Touch::BulkWrite(epoch),
                Some(_) => Touch::BulkReduce { epoch, proxy: false },
            };
            self.start(who, touch, to, bytes, "an asynchronous store");
            let transfer = Transfer::Registers { data: data.into(), to, mbar, reduce: op.reduce };
            self.submit(who, transfer, epoch, None)?;
        }
        Ok(())
    }
}
