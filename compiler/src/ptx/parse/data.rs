//! `mov`, packing, conversions, address spaces, comparisons, selections; warp exchanges and control flow.

use super::body::Body;
use super::mods::Mods;
use super::module::Parser;
use super::operands::Want;
use super::{ParseErrorKind, Parsed};
use crate::ptx::op::*;
use crate::ptx::operand::PredUse;
use crate::ptx::types::{BoolOp, CmpOp, Rounding, Space, Type, TypeKind};

impl<'a> Parser<'a> {
    pub(super) fn data(&mut self, body: &mut Body<'a>, head: &str, m: Mods<'a>) -> Parsed<Option<Op>> {
        let op = match head {
            "mov" => self.mov(body, m)?,
            "cvt" => self.cvt(body, m)?,
            "cvta" => self.cvta(body, m)?.into(),
            "isspacep" => {
                let mut m = m;
                let space = m.need("state space")?;
                m.end()?;
                let dst = self.def(body, Type::Pred)?;
                IsSpace { space, dst, src: self.reg(body, Want::Address)? }.into()
            }
            "mapa" | "getctarank" => {
                let mut m = m;
                let space = m.take().unwrap_or(Space::Generic);
                let ty = m.ty()?;
                m.end()?;
                m.require(matches!(ty, Type::U32 | Type::U64), "the type is .u32 or .u64")?;
                let dst = self.def(body, if head == "mapa" { ty } else { Type::U32 })?;
                let src = self.src(body, ty)?;
                match head {
                    "mapa" => Mapa { space, ty, dst, src, cta: self.next_src(body, Type::U32)? }.into(),
                    _ => GetCtaRank { space, ty, dst, src }.into(),
                }
            }
            "setp" => self.setp(body, m)?.into(),
            "set" => self.set(body, m)?.into(),
            "selp" => {
                let mut m = m;
                let ty = m.ty()?;
                m.end()?;
                let dst = self.def(body, ty)?;
                let a = self.src(body, ty)?;
                let b = self.next_src(body, ty)?;
                self.comma()?;
                Selp { ty, dst, a, b, p: self.pred(body)? }.into()
            }
            "slct" => {
                let mut m = m;
                let ftz = m.eat("ftz");
                let (dty, cty) = (m.ty()?, m.ty()?);
                m.end()?;
                m.require(matches!(cty, Type::S32 | Type::F32), "the selector is .s32 or .f32")?;
                let dst = self.def(body, dty)?;
                let a = self.src(body, dty)?;
                let b = self.next_src(body, dty)?;
                Slct { ftz, dty, cty, dst, a, b, c: self.next_src(body, cty)? }.into()
            }
            _ => return self.warp(body, head, m),
        };
        Ok(Some(op))
    }

    fn mov(&mut self, body: &mut Body<'a>, mut m: Mods<'a>) -> Parsed<Op> {
        let ty = m.ty()?;
        m.end()?;
        let element = |parts: usize| match ty.bits() / parts as u32 {
            8 => Some(Type::B8),
            16 => Some(Type::B16),
            32 => Some(Type::B32),
            64 => Some(Type::B64),
            _ => None,
        };
        if self.cursor.peek() == b'{' {
            let dsts = self.dst_list(body, Want::AtLeast(8))?;
            let part =
                element(dsts.len()).ok_or_else(|| m.illegal("the parts do not add up to the source"))?;
            for reg in dsts.iter().filter_map(|dst| dst.reg()) {
                let fits = body.regs[reg.index()].ty.class() == part.class();
                m.require(fits, "the parts do not add up to the source")?;
            }
            return Ok(Unpack { ty, dsts, src: self.next_src(body, ty)? }.into());
        }
        let dst = self.def(body, ty)?;
        if self.cursor.peek() == b'{' {
            let before = self.cursor.clone();
            let count = self.wide_src_list(body, Type::B8)?.len();
            self.cursor.rewind(before);
            let part =
                element(count).ok_or_else(|| m.illegal("the parts do not add up to the destination"))?;
            return Ok(Pack { ty, dst, srcs: self.src_list(body, part)? }.into());
        }
        // Special registers are read at whatever width the move has.
        let src = self.src(body, ty)?;
        Ok(Mov { ty, dst, src }.into())
    }

    fn cvt(&mut self, body: &mut Body<'a>, mut m: Mods<'a>) -> Parsed<Op> {
        if m.eat_all(&["pack", "sat"]) {
            let word = m.peek().unwrap_or_default();
            let (signed, bits) = match word {
                "u2" | "u4" | "u8" | "u16" => (false, &word[1..]),
                "s2" | "s4" | "s8" | "s16" => (true, &word[1..]),
                _ => return Err(m.unknown()),
            };
            let bits = bits.parse().unwrap_or(16);
            m.eat(word);
            m.expect("s32")?;
            let rest = m.eat("b32");
            m.end()?;
            m.require(rest == (bits < 16), "16 bits take two operands, fewer take three and .b32")?;
            let dst = self.def(body, Type::B32)?;
            let a = self.src(body, Type::S32)?;
            let b = self.next_src(body, Type::S32)?;
            let c = if rest { Some(self.next_src(body, Type::B32)?) } else { None };
            return Ok(CvtPackInt { signed, bits, dst, a, b, c }.into());
        }
        let rnd: Option<Rounding> = m.take();
        let (mut ftz, mut sat, mut relu, mut satfinite) = (false, false, false, false);
        loop {
            match m.peek() {
                Some("ftz") => ftz = true,
                Some("sat") => sat = true,
                Some("relu") => relu = true,
                Some("satfinite") => satfinite = true,
                _ => break,
            }
            let word = m.peek().unwrap_or_default();
            m.eat(word);
        }
        let (dty, sty) = (m.ty()?, m.ty()?);
        m.end()?;
        m.require(
            dty.kind() != TypeKind::Bits && sty.kind() != TypeKind::Bits,
            "conversions are between numbers",
        )?;
        let dst = self.def(body, Want::AtLeast(dty.bits()))?;
        let src = self.source(body, sty, Want::AtLeast(sty.bits()))?;
        if dty.is_packed() && !sty.is_packed() {
            let rnd = rnd.ok_or_else(|| {
                Box::new(ParseErrorKind::MissingModifier { name: m.name.into(), what: "rounding mode" })
            })?;
            m.require(!ftz && !sat, ".ftz and .sat are not for packed conversions")?;
            let lo = self.next_src(body, sty)?;
            return Ok(CvtPack { rnd, relu, satfinite, dty, sty, dst, hi: src, lo }.into());
        }
        let narrows = dty.is_float() && (!sty.is_float() || dty.bits() < sty.bits()) && !sty.is_packed();
        m.require(!narrows || rnd.is_some(), "a rounding mode is needed")?;
        m.require(!(sty.is_float() && dty.is_int()) || rnd.is_some(), "an integer rounding mode is needed")?;
        Ok(Cvt { rnd, ftz, sat, relu, satfinite, dty, sty, dst, src }.into())
    }

    fn cvta(&mut self, body: &mut Body<'a>, mut m: Mods<'a>) -> Parsed<Cvta> {
        let to = m.eat("to");
        let space = m.need("state space")?;
        let ty = m.ty()?;
        m.end()?;
        m.require(matches!(ty, Type::U32 | Type::U64), "the type is .u32 or .u64")?;
        let dst = self.def(body, ty)?;
        Ok(Cvta { to, space, ty, dst, src: self.src(body, ty)? })
    }

    fn setp(&mut self, body: &mut Body<'a>, mut m: Mods<'a>) -> Parsed<Setp> {
        let cmp: CmpOp = m.need("comparison")?;
        let bool_op: Option<BoolOp> = m.take();
        let ftz = m.eat("ftz");
        let ty = m.ty()?;
        m.end()?;
        self.comparable(cmp, ty, &m)?;
        let dst = self.dst(body, Type::Pred)?;
        let dst2 = self.piped(body, Type::Pred)?;
        let a = self.next_src(body, ty)?;
        let b = self.next_src(body, ty)?;
        let combine = self.combine(body, bool_op)?;
        Ok(Setp { cmp, combine, ftz, ty, dst, dst2, a, b })
    }

    fn set(&mut self, body: &mut Body<'a>, mut m: Mods<'a>) -> Parsed<Set> {
        let cmp: CmpOp = m.need("comparison")?;
        let bool_op: Option<BoolOp> = m.take();
        let ftz = m.eat("ftz");
        let (dty, sty) = (m.ty()?, m.ty()?);
        m.end()?;
        self.comparable(cmp, sty, &m)?;
        let dst = self.def(body, dty)?;
        let a = self.src(body, sty)?;
        let b = self.next_src(body, sty)?;
        let combine = self.combine(body, bool_op)?;
        Ok(Set { cmp, combine, ftz, dty, sty, dst, a, b })
    }

    fn comparable(&self, cmp: CmpOp, ty: Type, m: &Mods<'a>) -> Parsed<()> {
        use CmpOp::*;
        let fine = match cmp {
            Eq | Ne => ty != Type::Pred,
            Lt | Le | Gt | Ge => ty.is_int() || ty.is_float(),
            Lo | Ls | Hi | Hs => ty.kind() == TypeKind::Unsigned,
            _ => ty.is_float(),
        };
        m.require(fine, "this comparison does not exist for this type")
    }

    fn combine(&mut self, body: &mut Body<'a>, op: Option<BoolOp>) -> Parsed<Option<(BoolOp, PredUse)>> {
        let Some(op) = op else { return Ok(None) };
        self.comma()?;
        Ok(Some((op, self.pred(body)?)))
    }

    /// `shfl`, `vote`, `match`, `redux`, `elect`, `activemask`; then control flow.
    fn warp(&mut self, body: &mut Body<'a>, head: &str, mut m: Mods<'a>) -> Parsed<Option<Op>> {
        let op = match head {
            "shfl" => {
                m.expect("sync")?;
                let mode = m.need("mode")?;
                m.expect("b32")?;
                m.end()?;
                let dst = self.dst(body, Type::B32)?;
                let pred = self.piped(body, Type::Pred)?;
                let a = self.next_src(body, Type::B32)?;
                let b = self.next_src(body, Type::B32)?;
                let c = self.next_src(body, Type::B32)?;
                Shfl { mode, dst, pred, a, b, c, mask: self.next_src(body, Type::B32)? }.into()
            }
            "vote" => {
                m.expect("sync")?;
                let mode: VoteMode = m.need("mode")?;
                let ty = if mode == VoteMode::Ballot { Type::B32 } else { Type::Pred };
                m.expect(if mode == VoteMode::Ballot { "b32" } else { "pred" })?;
                m.end()?;
                let dst = self.def(body, ty)?;
                let negated = self.cursor.eat(b'!');
                let src = self.src(body, Type::Pred)?;
                Vote { mode, dst, src, negated, mask: self.next_src(body, Type::B32)? }.into()
            }
            "activemask" => {
                m.expect("b32")?;
                m.end()?;
                Activemask { dst: self.reg(body, Type::B32)? }.into()
            }
            "redux" => {
                m.expect("sync")?;
                let op = m.need("operation")?;
                let (abs, nan) = (m.eat("abs"), m.eat("NaN"));
                let ty = m.ty()?;
                m.end()?;
                m.require(ty.bits() == 32, "the type has 32 bits")?;
                let dst = self.def(body, ty)?;
                let src = self.src(body, ty)?;
                Redux { op, abs, nan, ty, dst, src, mask: self.next_src(body, Type::B32)? }.into()
            }
            "match" => {
                let all = m.eat("all");
                if !all {
                    m.expect("any")?;
                }
                m.expect("sync")?;
                let ty = m.ty()?;
                m.end()?;
                let dst = self.dst(body, Type::B32)?;
                let pred = if all { self.piped(body, Type::Pred)? } else { None };
                let src = self.next_src(body, ty)?;
                MatchSync { all, ty, dst, pred, src, mask: self.next_src(body, Type::B32)? }.into()
            }
            "elect" => {
                m.expect("sync")?;
                m.end()?;
                let dst = self.dst(body, Type::B32)?;
                self.cursor.expect(b'|', "`|`")?;
                let pred = self.reg(body, Type::Pred)?;
                ElectSync { dst, pred, mask: self.next_src(body, Type::B32)? }.into()
            }
            _ => return self.control(body, head, m),
        };
        Ok(Some(op))
    }

    fn control(&mut self, body: &mut Body<'a>, head: &str, mut m: Mods<'a>) -> Parsed<Option<Op>> {
        let op = match head {
            "bra" => {
                let uniform = m.eat("uni");
                m.end()?;
                let place = self.cursor.place();
                let name = self.cursor.need_name()?;
                Bra { uniform, target: body.label(name, place) }.into()
            }
            "brx" => {
                m.expect("idx")?;
                let uniform = m.eat("uni");
                m.end()?;
                let index = self.def(body, Type::B32)?;
                let name = self.cursor.need_name()?;
                let targets = body
                    .table(name)
                    .ok_or_else(|| Box::new(ParseErrorKind::Undeclared { name: name.into() }))?;
                BrxIdx { uniform, index, targets }.into()
            }
            "ret" => {
                let uniform = m.eat("uni");
                m.end()?;
                Ret { uniform }.into()
            }
            "exit" => {
                m.end()?;
                Exit.into()
            }
            "trap" | "brkpt" => {
                m.end()?;
                Trap { breakpoint: head == "brkpt" }.into()
            }
            "nanosleep" => {
                m.expect("u32")?;
                m.end()?;
                Nanosleep { time: self.src(body, Type::U32)? }.into()
            }
            "setmaxnreg" => {
                let dec = m.eat("dec");
                if !dec {
                    m.expect("inc")?;
                }
                for word in ["sync", "aligned", "u32"] {
                    m.expect(word)?;
                }
                m.end()?;
                let regs = self.cursor.unsigned("a number of registers")?;
                m.require((24..=256).contains(&regs) && regs % 8 == 0, "24 to 256 registers in steps of 8")?;
                Setmaxnreg { dec, regs: regs as u16 }.into()
            }
            "griddepcontrol" => {
                let wait = m.eat("wait");
                if !wait {
                    m.expect("launch_dependents")?;
                }
                m.end()?;
                GridDepControl { wait }.into()
            }
            "call" => self.call(body, m)?.into(),
            _ => return Ok(None),
        };
        Ok(Some(op))
    }
}
