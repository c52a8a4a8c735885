//! Barriers, fences and mbarriers.

use super::body::Body;
use super::mods::Mods;
use super::module::Parser;
use super::{ParseErrorKind, Parsed};
use crate::ptx::op::*;
use crate::ptx::types::{BoolOp, Scope, Semantics, Space, Type};

impl<'a> Parser<'a> {
    pub(super) fn synchronisation(
        &mut self,
        body: &mut Body<'a>,
        head: &str,
        mut m: Mods<'a>,
    ) -> Parsed<Option<Op>> {
        let op = match head {
            "bar" if m.eat("warp") => {
                m.expect("sync")?;
                m.end()?;
                BarWarp { mask: self.src(body, Type::B32)? }.into()
            }
            "barrier" if m.eat("cluster") => {
                let wait = m.eat("wait");
                if !wait {
                    m.expect("arrive")?;
                }
                let sem = m.take().unwrap_or(Semantics::Weak);
                let allowed = match sem {
                    Semantics::Weak => true,
                    Semantics::Acquire => wait,
                    Semantics::Release | Semantics::Relaxed => !wait,
                    _ => false,
                };
                let aligned = m.eat("aligned");
                m.end()?;
                m.require(allowed, "no such ordering here")?;
                BarrierCluster { wait, sem, aligned }.into()
            }
            "bar" | "barrier" => self.bar(body, head == "bar", m)?.into(),
            "membar" => {
                let scope = match m.peek() {
                    Some("gl") => Scope::Gpu,
                    Some("cta") => Scope::Cta,
                    Some("sys") => Scope::Sys,
                    _ => return Err(m.unknown()),
                };
                let word = m.peek().unwrap_or_default();
                m.eat(word);
                m.end()?;
                Fence::Membar(scope).into()
            }
            "fence" => self.fence(body, m)?.into(),
            "mbarrier" => self.mbarrier(body, m)?,
            _ => return Ok(None),
        };
        Ok(Some(op))
    }

    fn bar(&mut self, body: &mut Body<'a>, aligned: bool, mut m: Mods<'a>) -> Parsed<Bar> {
        m.eat("cta");
        let what = m.peek().unwrap_or_default();
        m.eat(what);
        // `bar.red.popc.u32` but `barrier.red.popc.aligned.u32`: `.aligned` comes before the type.
        let reduce: Option<Option<BoolOp>> = match what {
            "red" if m.eat("popc") => Some(None),
            "red" => Some(Some(m.need("operation")?)),
            "sync" | "arrive" => None,
            _ => return Err(Box::new(ParseErrorKind::UnknownInstruction { name: m.name.into() })),
        };
        let aligned = m.eat("aligned") || aligned;
        match reduce {
            Some(None) => m.expect("u32")?,
            Some(Some(_)) => m.expect("pred")?,
            None => {}
        }
        m.end()?;
        let dst = match reduce {
            Some(None) => Some(self.def(body, Type::U32)?),
            Some(Some(_)) => Some(self.def(body, Type::Pred)?),
            None => None,
        };
        let id = self.src(body, Type::U32)?;
        let mut threads = None;
        let mut contribution = None;
        while self.more() {
            // Threads are a 32-bit value, the contribution of a reduction is a predicate that comes last.
            let before = self.cursor.clone();
            match self.src(body, Type::U32) {
                Ok(value) if threads.is_none() => threads = Some(value),
                _ => {
                    self.cursor.rewind(before);
                    contribution = Some(self.pred(body)?);
                    break;
                }
            }
        }
        let op = match (what, reduce, dst, contribution) {
            ("sync", None, None, None) => BarOp::Sync,
            ("arrive", None, None, None) => {
                m.require(threads.is_some(), "`arrive` needs the number of threads")?;
                BarOp::Arrive
            }
            (_, Some(Some(op)), Some(dst), Some(src)) => BarOp::Reduce { op, dst, src },
            (_, Some(None), Some(dst), Some(src)) => BarOp::Popc { dst, src },
            _ => return Err(m.illegal("a reduction takes a predicate, anything else does not")),
        };
        Ok(Bar { op, aligned, id, threads })
    }

    fn fence(&mut self, body: &mut Body<'a>, mut m: Mods<'a>) -> Parsed<Fence> {
        if m.eat("mbarrier_init") {
            m.expect("release")?;
            m.expect("cluster")?;
            m.end()?;
            return Ok(Fence::MbarrierInit);
        }
        if !m.eat("proxy") {
            let sem = m.take().unwrap_or(FenceSem::AcqRel);
            let scope = m.need("scope")?;
            m.end()?;
            return Ok(Fence::Thread(sem, scope));
        }
        if m.eat("tensormap::generic") {
            let acquire = m.eat("acquire");
            if !acquire {
                m.expect("release")?;
            }
            let scope = m.need("scope")?;
            m.end()?;
            if !acquire {
                return Ok(Fence::TensormapRelease(scope));
            }
            let addr = self.address(body)?;
            self.comma()?;
            let size = self.cursor.integer()?;
            m.require(size == 128, "the size is 128")?;
            return Ok(Fence::TensormapAcquire(scope, addr));
        }
        let proxy = if m.eat("alias") {
            FenceProxy::Alias
        } else {
            m.expect("async")?;
            match m.peek() {
                None => FenceProxy::Async,
                Some(word @ ("global" | "shared::cta" | "shared::cluster")) => {
                    m.eat(word);
                    match word {
                        "global" => FenceProxy::AsyncGlobal,
                        "shared::cta" => FenceProxy::AsyncShared,
                        _ => FenceProxy::AsyncSharedCluster,
                    }
                }
                Some(_) => return Err(m.unknown()),
            }
        };
        m.end()?;
        Ok(Fence::Proxy(proxy))
    }

    fn mbarrier(&mut self, body: &mut Body<'a>, mut m: Mods<'a>) -> Parsed<Op> {
        let what = m.peek().unwrap_or_default();
        m.eat(what);
        match what {
            "init" | "inval" => {
                let space = m.take().unwrap_or(Space::Generic);
                m.expect("b64")?;
                m.end()?;
                let addr = self.address(body)?;
                if what == "inval" {
                    return Ok(MbarrierInval { space, addr }.into());
                }
                Ok(MbarrierInit { space, addr, count: self.next_src(body, Type::U32)? }.into())
            }
            "expect_tx" | "complete_tx" => {
                let sem = m.take().unwrap_or(Semantics::Weak);
                let scope = m.take();
                let space = m.take().unwrap_or(Space::Generic);
                m.expect("b64")?;
                m.end()?;
                let addr = self.address(body)?;
                let bytes = self.next_src(body, Type::U32)?;
                Ok(MbarrierTx { complete: what == "complete_tx", sem, scope, space, addr, bytes }.into())
            }
            "arrive" | "arrive_drop" => self.arrive(body, what == "arrive_drop", m).map(Op::from),
            "test_wait" | "try_wait" => {
                let parity = m.eat("parity");
                let sem = m.take().unwrap_or(Semantics::Weak);
                let scope = m.take();
                let space = m.take().unwrap_or(Space::Generic);
                m.expect("b64")?;
                m.end()?;
                let dst = self.def(body, Type::Pred)?;
                let addr = self.address(body)?;
                let phase = self.next_src(body, if parity { Type::U32 } else { Type::B64 })?;
                let suspend = what == "try_wait";
                let hint = if suspend && self.more() { Some(self.src(body, Type::U32)?) } else { None };
                Ok(MbarrierWait { suspend, parity, sem, scope, space, dst, addr, phase, hint }.into())
            }
            "pending_count" => {
                m.expect("b64")?;
                m.end()?;
                let dst = self.def(body, Type::B32)?;
                Ok(MbarrierPending { dst, state: self.reg(body, Type::B64)? }.into())
            }
            _ => Err(Box::new(ParseErrorKind::UnknownInstruction { name: m.name.into() })),
        }
    }

    fn arrive(&mut self, body: &mut Body<'a>, drop: bool, mut m: Mods<'a>) -> Parsed<MbarrierArrive> {
        let (expect_tx, no_complete) = (m.eat("expect_tx"), m.eat("noComplete"));
        let sem = m.take().unwrap_or(Semantics::Weak);
        let scope = m.take();
        let space = m.take().unwrap_or(Space::Generic);
        m.expect("b64")?;
        m.end()?;
        let state = if self.cursor.peek() == b'[' {
            None
        } else {
            let state = self.dst(body, Type::B64)?;
            self.comma()?;
            Some(state)
        };
        let addr = self.address(body)?;
        let count = if self.more() { Some(self.src(body, Type::U32)?) } else { None };
        let arrive = match (expect_tx, no_complete, count) {
            (false, false, count) => Arrive::Count(count),
            (true, false, Some(bytes)) => Arrive::ExpectTx(bytes),
            (false, true, Some(count)) => Arrive::NoComplete(count),
            _ => return Err(m.illegal("a count is needed")),
        };
        Ok(MbarrierArrive { drop, arrive, sem, scope, space, state, addr })
    }
}
