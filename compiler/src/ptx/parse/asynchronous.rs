//! `cp.async`, bulk and tensor copies, tensor maps.

use super::body::Body;
use super::mods::Mods;
use super::module::{Parser, unsupported};
use super::{ParseErrorKind, Parsed};
use crate::ptx::op::*;
use crate::ptx::operand::Operand;
use crate::ptx::types::{CacheOp, L2Prefetch, RegClass, Space, Type};

const COMPLETE_TX: &str = "mbarrier::complete_tx::bytes";

impl<'a> Parser<'a> {
    pub(super) fn asynchronous(
        &mut self,
        body: &mut Body<'a>,
        head: &str,
        mut m: Mods<'a>,
    ) -> Parsed<Option<Op>> {
        match head {
            "cp" => {
                let reduce = m.eat("reduce");
                m.expect("async")?;
                if m.eat("bulk") { self.bulk(body, reduce, m) } else { self.cp_async(body, m) }.map(Some)
            }
            "tensormap" => self.tensormap(body, m).map(Some),
            _ => Ok(None),
        }
    }

    fn cp_async(&mut self, body: &mut Body<'a>, mut m: Mods<'a>) -> Parsed<Op> {
        if let Some(word @ ("commit_group" | "wait_group" | "wait_all")) = m.peek() {
            m.eat(word);
            m.end()?;
            return Ok(match word {
                "commit_group" => CpAsyncGroup::Commit,
                "wait_all" => CpAsyncGroup::WaitAll,
                _ => CpAsyncGroup::Wait(self.cursor.unsigned("a number of groups")?),
            }
            .into());
        }
        if m.eat_all(&["mbarrier", "arrive"]) {
            let noinc = m.eat("noinc");
            let space = m.take().unwrap_or(Space::Generic);
            m.expect("b64")?;
            m.end()?;
            return Ok(CpAsyncMbarrier { noinc, space, addr: self.address(body)? }.into());
        }
        let cache: CacheOp = m.need("cache operator")?;
        m.require(matches!(cache, CacheOp::Ca | CacheOp::Cg), "the cache operator is .ca or .cg")?;
        let to: Space = m.need("destination space")?;
        m.require(to == Space::Shared, "the destination is .shared")?;
        m.expect("global")?;
        let hinted = m.eat("L2::cache_hint");
        let prefetch = m.take().unwrap_or(L2Prefetch::None);
        m.end()?;
        let dst = self.address(body)?;
        let src = self.next_address(body)?;
        self.comma()?;
        let size = self.cursor.integer()?;
        let fine = size == 16 || (cache == CacheOp::Ca && matches!(size, 4 | 8));
        m.require(fine, ".cg copies 16 bytes, .ca 4, 8 or 16")?;
        let (mut source, mut policy) = (CpAsyncSource::Full, None);
        while self.more() {
            if self.cursor.digit_next() || self.cursor.peek() == b'-' {
                let bytes = self.cursor.integer()?;
                m.require((0..=size).contains(&bytes), "reads no more than it writes")?;
                source = CpAsyncSource::Bytes(Operand::from(bytes));
                continue;
            }
            // What a register in this place means follows from its class.
            let before = self.cursor.clone();
            let name = self.cursor.need_name()?;
            let reg = body
                .register(name)
                .ok_or_else(|| Box::new(ParseErrorKind::Undeclared { name: name.into() }))?;
            match body.regs[reg.index()].ty.class() {
                RegClass::Pred => source = CpAsyncSource::IgnoreIf(reg),
                RegClass::B64 if hinted && policy.is_none() => policy = Some(reg),
                _ => {
                    self.cursor.rewind(before);
                    source = CpAsyncSource::Bytes(self.src(body, Type::U32)?);
                }
            }
        }
        m.require(hinted == policy.is_some(), "`.L2::cache_hint` and a cache policy go together")?;
        Ok(CpAsync { cache, prefetch, size: size as u8, dst, src, source, policy }.into())
    }

    /// `st.async`, and with `reduce` `red.async`.
    pub(super) fn store_async(
        &mut self,
        body: &mut Body<'a>,
        reduce: bool,
        mut m: Mods<'a>,
    ) -> Parsed<StoreAsync> {
        m.expect("async")?;
        if reduce {
            m.expect("relaxed")?;
            m.expect("cluster")?;
        } else {
            m.eat("weak");
        }
        m.expect("shared::cluster")?;
        m.expect(COMPLETE_TX)?;
        let reduce: Option<BulkReduce> = if reduce { Some(m.need("operation")?) } else { None };
        let len = [("v2", 2), ("v4", 4)].into_iter().find(|(word, _)| m.eat(word)).map_or(1, |(_, len)| len);
        let ty = m.ty()?;
        m.end()?;
        use BulkReduce::*;
        let legal = match reduce {
            None => ty.bits() == 32 || ty.bits() == 64,
            Some(Inc | Dec) => ty == Type::U32,
            Some(Min | Max) => matches!(ty, Type::U32 | Type::S32),
            Some(Add) => matches!(ty, Type::U32 | Type::S32 | Type::U64),
            Some(And | Or | Xor) => ty == Type::B32,
        };
        m.require(legal && (reduce.is_none() || len == 1), "this type does not go with the operation")?;
        m.require(len as u32 * ty.bits() <= 128, "a vector has 128 bits at most")?;
        let addr = self.address(body)?;
        self.comma()?;
        let src = self.src_list(body, ty)?;
        m.require(src.len() == len, "the list is not as long as the vector suffix says")?;
        Ok(StoreAsync { reduce, ty, addr, src, mbar: self.next_address(body)? })
    }

    fn bulk(&mut self, body: &mut Body<'a>, reduce: bool, mut m: Mods<'a>) -> Parsed<Op> {
        if let Some(word @ ("commit_group" | "wait_group")) = m.peek() {
            m.eat(word);
            let read = word == "wait_group" && m.eat("read");
            m.end()?;
            return Ok(if word == "commit_group" {
                CpBulkGroup::Commit
            } else {
                CpBulkGroup::Wait { pending: self.cursor.unsigned("a number of groups")?, read }
            }
            .into());
        }
        let prefetch = m.eat("prefetch");
        if m.eat("tensor") {
            return self.bulk_tensor(body, reduce, prefetch, m);
        }
        if prefetch {
            m.expect("L2")?;
            m.expect("global")?;
            let hinted = m.eat("L2::cache_hint");
            m.end()?;
            let src = self.address(body)?;
            let size = self.next_src(body, Type::U32)?;
            return Ok(CpBulkPrefetch { src, size, policy: self.policy(body, hinted)? }.into());
        }
        enum To {
            Shared(BulkShared),
            Peer,
            Global,
        }
        let to = if m.eat_all(&["shared::cluster", "global"]) {
            To::Shared(BulkShared::Cluster)
        } else if m.eat_all(&["shared::cta", "global"]) {
            To::Shared(BulkShared::Cta)
        } else if m.eat_all(&["shared::cluster", "shared::cta"]) {
            To::Peer
        } else if m.eat_all(&["global", "shared::cta"]) {
            To::Global
        } else {
            return Err(m.unknown());
        };
        m.expect(if matches!(to, To::Global) { "bulk_group" } else { COMPLETE_TX })?;
        let multicast = m.eat("multicast::cluster");
        let hinted = m.eat("L2::cache_hint");
        let reduce = if reduce {
            let op: BulkReduce = m.need("operation")?;
            m.eat("noftz");
            Some((op, m.ty()?))
        } else {
            None
        };
        m.end()?;
        m.require(
            !multicast || matches!(to, To::Shared(BulkShared::Cluster)),
            "multicast goes to .shared::cluster",
        )?;
        let dst = self.address(body)?;
        let src = self.next_address(body)?;
        let size = self.next_src(body, Type::U32)?;
        let route = match to {
            To::Global => BulkRoute::Store,
            To::Peer => BulkRoute::Cluster { mbar: self.next_address(body)? },
            To::Shared(to) => {
                let mbar = self.next_address(body)?;
                let multicast = if multicast { Some(self.next_src(body, Type::U16)?) } else { None };
                BulkRoute::Load { to, mbar, multicast }
            }
        };
        Ok(CpBulk { route, reduce, dst, src, size, policy: self.policy(body, hinted)? }.into())
    }

    fn bulk_tensor(
        &mut self,
        body: &mut Body<'a>,
        reduce: bool,
        prefetch: bool,
        mut m: Mods<'a>,
    ) -> Parsed<Op> {
        let dims =
            ["1d", "2d", "3d", "4d", "5d"].iter().position(|word| m.eat(word)).ok_or_else(|| m.unknown())?
                + 1;
        enum To {
            Shared(BulkShared),
            Global,
            L2,
        }
        let to = if prefetch {
            m.expect("L2")?;
            m.expect("global")?;
            To::L2
        } else if m.eat_all(&["shared::cluster", "global"]) {
            To::Shared(BulkShared::Cluster)
        } else if m.eat_all(&["shared::cta", "global"]) {
            To::Shared(BulkShared::Cta)
        } else if m.eat_all(&["global", "shared::cta"]) {
            To::Global
        } else {
            return Err(m.unknown());
        };
        let operation: Option<BulkReduce> = if reduce { Some(m.need("operation")?) } else { None };
        m.require(!reduce || matches!(to, To::Global), "a reduction goes to .global")?;
        let im2col = m.eat("im2col");
        let no_offsets = m.eat("im2col_no_offs");
        if !im2col && !no_offsets {
            m.eat("tile");
        }
        match to {
            To::Shared(_) => m.expect(COMPLETE_TX)?,
            To::Global => m.expect("bulk_group")?,
            To::L2 => {}
        }
        let multicast = m.eat("multicast::cluster");
        let hinted = m.eat("L2::cache_hint");
        m.end()?;
        m.require(
            !multicast || matches!(to, To::Shared(BulkShared::Cluster)),
            "multicast goes to .shared::cluster",
        )?;
        let target = match &to {
            To::Shared(_) => {
                let dst = self.address(body)?;
                self.comma()?;
                Some(dst)
            }
            _ => None,
        };
        let (map, coords) = self.tensor(body)?;
        m.require(coords.len() == dims, "as many coordinates as dimensions")?;
        let other = match &to {
            To::L2 => None,
            _ => Some(self.next_address(body)?),
        };
        let mode = if im2col {
            self.comma()?;
            TensorMode::Im2col(self.src_list(body, Type::U16)?)
        } else if no_offsets {
            TensorMode::Im2colNoOffsets
        } else {
            TensorMode::Tile
        };
        let route = match (to, target, other) {
            (To::Shared(to), Some(dst), Some(mbar)) => {
                let multicast = if multicast { Some(self.next_src(body, Type::U16)?) } else { None };
                TensorRoute::Load { to, dst, mbar, multicast }
            }
            (To::Global, _, Some(src)) => TensorRoute::Store { src, reduce: operation },
            _ => TensorRoute::Prefetch,
        };
        Ok(CpBulkTensor { route, mode, map, coords, policy: self.policy(body, hinted)? }.into())
    }

    fn tensormap(&mut self, body: &mut Body<'a>, mut m: Mods<'a>) -> Parsed<Op> {
        if m.eat("cp_fenceproxy") {
            for word in ["global", "shared::cta", "tensormap::generic", "release"] {
                m.expect(word)?;
            }
            let scope = m.need("scope")?;
            m.expect("sync")?;
            m.expect("aligned")?;
            m.end()?;
            let dst = self.address(body)?;
            let src = self.next_address(body)?;
            self.comma()?;
            let size = self.cursor.integer()?;
            m.require(size == 128, "the size is 128")?;
            return Ok(TensormapFence { scope, dst, src }.into());
        }
        m.expect("replace")?;
        if m.peek() != Some("tile") {
            return Err(unsupported("`tensormap.replace` of anything but tiles"));
        }
        m.expect("tile")?;
        let field: TensormapField = m.need("field")?;
        let space = m.take().unwrap_or(Space::Generic);
        m.expect("b1024")?;
        let ty = m.ty()?;
        m.end()?;
        m.require(matches!(ty, Type::B32 | Type::B64), "the type is .b32 or .b64")?;
        let addr = self.address(body)?;
        use TensormapField::*;
        let indexed = matches!(field, BoxDim | GlobalDim | GlobalStride | ElementStride);
        let ord = if indexed { Some(self.next_src(body, Type::B32)?) } else { None };
        Ok(TensormapReplace { field, space, ty, addr, ord, value: self.next_src(body, ty)? }.into())
    }
}
