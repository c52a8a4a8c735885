//! Loads, stores, atomics, prefetches, cache policies.

use super::body::Body;
use super::mods::Mods;
use super::module::Parser;
use super::operands::Want;
use super::{ParseErrorKind, Parsed};
use crate::ptx::op::*;
use crate::ptx::types::{AtomOp, CacheOp, L1Evict, L2Evict, L2Prefetch, Scope, Semantics, Space, Type};

/// Empty where absent: the modifiers whose absence is a value.
fn vector(m: &mut Mods<'_>) -> usize {
    for (word, len) in [("v2", 2), ("v4", 4), ("v8", 8)] {
        if m.eat(word) {
            return len;
        }
    }
    1
}

impl<'a> Parser<'a> {
    pub(super) fn memory(&mut self, body: &mut Body<'a>, head: &str, m: Mods<'a>) -> Parsed<Option<Op>> {
        let op = match head {
            "ld" | "ldu" => self.ld(body, m)?.into(),
            "st" | "red" if m.peek() == Some("async") => self.store_async(body, head == "red", m)?.into(),
            "st" => self.st(body, m)?.into(),
            "atom" | "red" => self.atom(body, head == "atom", m)?.into(),
            "prefetch" | "prefetchu" => self.prefetch(body, head == "prefetchu", m)?.into(),
            "createpolicy" => self.create_policy(body, m)?.into(),
            "applypriority" | "discard" => {
                let mut m = m;
                let discard = head == "discard";
                let space = m.take().unwrap_or(Space::Generic);
                m.expect(if discard { "L2" } else { "L2::evict_normal" })?;
                m.end()?;
                let addr = self.address(body)?;
                self.comma()?;
                let size = self.cursor.integer()?;
                m.require(size == 128, "the size is 128")?;
                ApplyPriority { discard, space, addr }.into()
            }
            _ => return Ok(None),
        };
        Ok(Some(op))
    }

    /// Checks a vector access: as many registers as the suffix says, 32 bytes at most.
    fn check_vector(&self, m: &Mods<'a>, len: usize, registers: usize, ty: Type) -> Parsed<()> {
        m.require(len == registers, "the list is not as long as the vector suffix says")?;
        m.require(
            len as u32 * ty.bits() <= 256 && (len == 1 || ty != Type::Pred),
            "a vector has 256 bits at most",
        )?;
        m.require(ty != Type::Pred && ty.bits() >= 8, "this type cannot be in memory")
    }

    fn scope_for(&self, m: &mut Mods<'a>, sem: Semantics) -> Parsed<Option<Scope>> {
        // `.mmio` is always followed by `.relaxed`.
        if sem == Semantics::Mmio {
            m.expect("relaxed")?;
        }
        match sem {
            Semantics::Relaxed | Semantics::Acquire | Semantics::Release | Semantics::Mmio => {
                Ok(Some(m.need("scope")?))
            }
            _ => Ok(None),
        }
    }

    fn ld(&mut self, body: &mut Body<'a>, mut m: Mods<'a>) -> Parsed<Ld> {
        let sem = m.take().unwrap_or(Semantics::Weak);
        m.require(
            !matches!(sem, Semantics::Release | Semantics::AcqRel),
            "a load is weak, volatile, relaxed or acquire",
        )?;
        let scope = self.scope_for(&mut m, sem)?;
        let space = m.take().unwrap_or(Space::Generic);
        let cache = m.take().unwrap_or(CacheOp::Default);
        let nc = m.eat("nc");
        m.require(!nc || space == Space::Global, ".nc is for .global")?;
        let l1 = m.take().unwrap_or(L1Evict::Default);
        let l2 = m.take().unwrap_or(L2Evict::Default);
        let hinted = m.eat("L2::cache_hint");
        let prefetch = m.take().unwrap_or(L2Prefetch::None);
        let len = vector(&mut m);
        let ty = m.ty()?;
        m.end()?;
        let dst = self.dst_list(body, Want::AtLeast(ty.bits()))?;
        self.check_vector(&m, len, dst.len(), ty)?;
        let addr = self.next_address(body)?;
        let policy = self.policy(body, hinted)?;
        Ok(Ld { sem, scope, space, nc, cache, l1, l2, prefetch, ty, dst, addr, policy })
    }

    fn st(&mut self, body: &mut Body<'a>, mut m: Mods<'a>) -> Parsed<St> {
        let sem = m.take().unwrap_or(Semantics::Weak);
        m.require(
            !matches!(sem, Semantics::Acquire | Semantics::AcqRel),
            "a store is weak, volatile, relaxed or release",
        )?;
        let scope = self.scope_for(&mut m, sem)?;
        let space = m.take().unwrap_or(Space::Generic);
        m.require(space != Space::Const, "this space cannot be written")?;
        let cache = m.take().unwrap_or(CacheOp::Default);
        let l1 = m.take().unwrap_or(L1Evict::Default);
        let l2 = m.take().unwrap_or(L2Evict::Default);
        let hinted = m.eat("L2::cache_hint");
        let len = vector(&mut m);
        let ty = m.ty()?;
        m.end()?;
        let addr = self.address(body)?;
        self.comma()?;
        let src = self.wide_src_list(body, ty)?;
        self.check_vector(&m, len, src.len(), ty)?;
        let policy = self.policy(body, hinted)?;
        Ok(St { sem, scope, space, cache, l1, l2, ty, addr, src, policy })
    }

    fn atom(&mut self, body: &mut Body<'a>, returns: bool, mut m: Mods<'a>) -> Parsed<Atom> {
        let sem = m.take().unwrap_or(Semantics::Weak);
        let scope = m.take();
        let space = m.take().unwrap_or(Space::Generic);
        let op: AtomOp = m.need("operation")?;
        let noftz = m.eat("noftz");
        let hinted = m.eat("L2::cache_hint");
        let len = vector(&mut m);
        let ty = m.ty()?;
        m.end()?;
        m.require(returns || !matches!(op, AtomOp::Cas | AtomOp::Exch), "`red` has no result to give back")?;
        let wide = ty.bits() >= 16 && ty != Type::Tf32;
        m.require(wide, "this type has no atomics")?;
        let dst = if returns {
            let dst = self.dst_list(body, ty)?;
            m.require(dst.len() == len, "the list is not as long as the vector suffix says")?;
            self.comma()?;
            Some(dst)
        } else {
            None
        };
        let addr = self.address(body)?;
        self.comma()?;
        let b = self.src_list(body, ty)?;
        m.require(b.len() == len, "the list is not as long as the vector suffix says")?;
        let c = if op == AtomOp::Cas { Some(self.next_src(body, ty)?) } else { None };
        let policy = self.policy(body, hinted)?;
        Ok(Atom { sem, scope, space, op, noftz, ty, dst, addr, b, c, policy })
    }

    fn prefetch(&mut self, body: &mut Body<'a>, uniform: bool, mut m: Mods<'a>) -> Parsed<Prefetch> {
        let space = m.take().unwrap_or(Space::Generic);
        let to: PrefetchTo = m.need("level")?;
        m.end()?;
        let to = match (uniform, to) {
            (false, PrefetchTo::Uniform) => return Err(m.illegal("no such level")),
            (false, to) => to,
            (true, PrefetchTo::L1) => PrefetchTo::Uniform,
            (true, _) => return Err(m.illegal("the level is .L1")),
        };
        Ok(Prefetch { space, to, addr: self.address(body)? })
    }

    fn create_policy(&mut self, body: &mut Body<'a>, mut m: Mods<'a>) -> Parsed<CreatePolicy> {
        let kind = m.peek().unwrap_or_default();
        m.eat(kind);
        if kind == "cvt" {
            m.expect("L2")?;
        } else if kind == "range" {
            m.eat("global");
        } else if kind != "fractional" {
            return Err(Box::new(ParseErrorKind::UnknownInstruction { name: m.name.into() }));
        }
        let primary: Option<Priority> = if kind == "cvt" { None } else { Some(m.need("priority")?) };
        let secondary = m.take();
        m.expect("b64")?;
        m.end()?;
        let dst = self.reg(body, Type::B64)?;
        let kind = match kind {
            "cvt" => PolicyKind::Convert(self.next_src(body, Type::B64)?),
            "range" => {
                let addr = self.next_address(body)?;
                let size = self.next_src(body, Type::U32)?;
                PolicyKind::Range(addr, size, self.next_src(body, Type::U32)?)
            }
            _ if self.more() => PolicyKind::Fractional(Some(self.src(body, Type::F32)?)),
            _ => PolicyKind::Fractional(None),
        };
        Ok(CreatePolicy { kind, primary, secondary, dst })
    }
}
