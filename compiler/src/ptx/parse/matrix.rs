//! `mma`, `ldmatrix`, `stmatrix`, `movmatrix`, `wgmma`, with the number of registers each shape takes.

use super::body::Body;
use super::mods::Mods;
use super::module::Parser;
use super::{ParseErrorKind, Parsed};
use crate::ptx::op::*;
use crate::ptx::types::{BoolOp, MatLayout, MatShape, Space, Type};

/// 32-bit registers a lane holds of `elements` of type `ty` spread over `lanes` lanes (64-bit registers for f64).
fn registers(elements: u32, ty: Type, lanes: u32) -> usize {
    let unit = ty.bits().max(32);
    (elements * ty.bits() / lanes).div_ceil(unit) as usize
}

impl<'a> Parser<'a> {
    pub(super) fn matrix(&mut self, body: &mut Body<'a>, head: &str, mut m: Mods<'a>) -> Parsed<Option<Op>> {
        let op = match head {
            "mma" => self.mma(body, m)?.into(),
            "ldmatrix" | "stmatrix" => {
                m.expect("sync")?;
                m.expect("aligned")?;
                let shape: MatShape = m.need("shape")?;
                let count = [("x1", 1), ("x2", 2), ("x4", 4)].into_iter().find(|(word, _)| m.eat(word));
                let (_, count) = count.ok_or_else(|| m.unknown())?;
                let trans = m.eat("trans");
                let space = m.take().unwrap_or(Space::Generic);
                let ty = m.ty()?;
                m.end()?;
                m.require(shape == MatShape::M8n8 && ty == Type::B16, "only .m8n8 of .b16 is supported")?;
                if head == "ldmatrix" {
                    let dst = self.reg_list(body, Type::B32)?;
                    m.require(dst.len() == count, "as many registers as matrices")?;
                    Ldmatrix { shape, trans, space, ty, dst, addr: self.next_address(body)? }.into()
                } else {
                    let addr = self.address(body)?;
                    self.comma()?;
                    let src = self.reg_list(body, Type::B32)?;
                    m.require(src.len() == count, "as many registers as matrices")?;
                    Stmatrix { shape, trans, space, ty, addr, src }.into()
                }
            }
            "movmatrix" => {
                for word in ["sync", "aligned", "m8n8", "trans", "b16"] {
                    m.expect(word)?;
                }
                m.end()?;
                let dst = self.def(body, Type::B32)?;
                Movmatrix { dst, src: self.reg(body, Type::B32)? }.into()
            }
            "wgmma" => self.wgmma(body, m)?,
            "wmma" => self.wmma(body, m)?,
            _ => return Ok(None),
        };
        Ok(Some(op))
    }

    fn mma(&mut self, body: &mut Body<'a>, mut m: Mods<'a>) -> Parsed<Mma> {
        let ordered = m.eat("sp::ordered_metadata");
        let sparse = ordered || m.eat("sp");
        m.expect("sync")?;
        m.expect("aligned")?;
        let shape: MatShape = m.need("shape")?;
        let (a_layout, b_layout): (MatLayout, MatLayout) = (m.need("layout of A")?, m.need("layout of B")?);
        let f8f6f4 = m.eat("kind::f8f6f4");
        let satfinite = m.eat("satfinite");
        let (dty, aty, bty, cty) = (m.ty()?, m.ty()?, m.ty()?, m.ty()?);
        let bit_op: Option<BoolOp> = if aty == Type::B1 { Some(m.need("bit operation")?) } else { None };
        if bit_op.is_some() {
            m.expect("popc")?;
        }
        m.end()?;
        let (rows, cols, depth) = shape.mnk();
        m.require(depth > 0, "this is not a shape of `mma`")?;
        let accumulator = matches!(dty, Type::F16 | Type::F32 | Type::F64 | Type::S32)
            && matches!(cty, Type::F16 | Type::F32 | Type::F64 | Type::S32);
        m.require(accumulator, "accumulators are f16, f32, f64 or s32")?;
        let supported = (aty.is_float() && (aty.bits() <= 16 || matches!(aty, Type::Tf32 | Type::F64)))
            || matches!(aty, Type::B1 | Type::S4 | Type::U4 | Type::S8 | Type::U8);
        m.require(supported && aty.bits() == bty.bits(), "these factor types do not go together")?;
        // m8n8k4 of f16 is done by quads of lanes: each holds four times the share.
        let lanes = if shape == MatShape::M8n8k4 && aty == Type::F16 { 8 } else { 32 };
        let class = |ty: Type| if ty == Type::F64 { Type::F64 } else { Type::B32 };
        let stored = if sparse { depth / 2 } else { depth };
        let d = self.fragment(body, &m, class(dty), registers(rows * cols, dty, lanes))?;
        self.comma()?;
        let a = self.fragment(body, &m, class(aty), registers(rows * stored, aty, lanes))?;
        self.comma()?;
        let b = self.fragment(body, &m, class(bty), registers(cols * depth, bty, lanes))?;
        self.comma()?;
        let c = self.fragment(body, &m, class(cty), registers(rows * cols, cty, lanes))?;
        let sparse = if sparse {
            self.comma()?;
            Some(self.sparsity(body, &m, ordered)?)
        } else {
            None
        };
        Ok(Mma {
            shape,
            a_layout,
            b_layout,
            satfinite,
            dty,
            aty,
            bty,
            cty,
            bit_op,
            f8f6f4,
            sparse,
            d,
            a,
            b,
            c,
        })
    }

    /// Metadata and selector.
    fn sparsity(&mut self, body: &mut Body<'a>, m: &Mods<'a>, ordered: bool) -> Parsed<Sparsity> {
        let metadata = self.reg(body, Type::B32)?;
        self.comma()?;
        let selector = self.cursor.unsigned("a selector")?;
        m.require(selector < 4, "the selector is 0 to 3")?;
        Ok(Sparsity { ordered, metadata, selector: selector as u8 })
    }

    pub(super) fn fragment(
        &mut self,
        body: &mut Body<'a>,
        m: &Mods<'a>,
        class: Type,
        count: usize,
    ) -> Parsed<Box<[crate::ptx::RegId]>> {
        let list = self.reg_list(body, class)?;
        if list.len() != count {
            return Err(m.illegal(format!("this fragment has {count} registers, not {}", list.len())));
        }
        Ok(list)
    }

    fn wgmma(&mut self, body: &mut Body<'a>, mut m: Mods<'a>) -> Parsed<Op> {
        let what = m.peek().unwrap_or_default();
        m.eat(what);
        match what {
            "fence" | "commit_group" | "wait_group" => {
                m.expect("sync")?;
                m.expect("aligned")?;
                m.end()?;
                Ok(match what {
                    "fence" => WgmmaSync::Fence,
                    "commit_group" => WgmmaSync::Commit,
                    _ => WgmmaSync::Wait(self.cursor.unsigned("a number of groups")?),
                }
                .into())
            }
            "mma_async" => {
                let sparse = m.eat("sp");
                self.wgmma_async(body, m, sparse).map(Op::from)
            }
            _ => Err(Box::new(ParseErrorKind::UnknownInstruction { name: m.name.into() })),
        }
    }

    fn wgmma_async(&mut self, body: &mut Body<'a>, mut m: Mods<'a>, sparse: bool) -> Parsed<Wgmma> {
        m.expect("sync")?;
        m.expect("aligned")?;
        let shape = m.peek().unwrap_or_default();
        let numbers = shape.strip_prefix("m64n").and_then(|rest| rest.split_once('k'));
        let (n, k): (u16, u16) = match numbers.map(|(n, k)| (n.parse(), k.parse())) {
            Some((Ok(n), Ok(k))) => (n, k),
            _ => return Err(m.unknown()),
        };
        m.eat(shape);
        let (dty, aty, bty) = (m.ty()?, m.ty()?, m.ty()?);
        if aty == Type::B1 {
            m.expect("and")?;
            m.expect("popc")?;
        }
        let satfinite = m.eat("satfinite");
        m.end()?;
        let integer = matches!(aty, Type::S8 | Type::U8 | Type::B1);
        let float = matches!(aty, Type::F16 | Type::Bf16 | Type::Tf32 | Type::E4m3 | Type::E5m2);
        m.require(integer || float, "this factor type is not for `wgmma`")?;
        let (bits, why) = if sparse { (512, "K is 64 bytes") } else { (256, "K is 32 bytes") };
        m.require(u32::from(k) * aty.bits() == bits && aty.bits() == bty.bits(), why)?;
        m.require(!sparse || aty != Type::B1, "bits cannot be sparse")?;
        let coarse = !integer || n <= 32 || n % 16 == 0;
        m.require((8..=256).contains(&n) && n % 8 == 0 && coarse, "no such N")?;
        m.require(
            if integer { dty == Type::S32 } else { matches!(dty, Type::F16 | Type::F32) },
            "no such accumulator",
        )?;
        let count = if dty == Type::F16 { n / 4 } else { n / 2 };
        let d = self.fragment(body, &m, Type::B32, usize::from(count))?;
        self.comma()?;
        let a = if self.cursor.peek() == b'{' {
            WgmmaA::Regs(self.fragment(body, &m, Type::B32, 4)?)
        } else {
            WgmmaA::Desc(self.reg(body, Type::B64)?)
        };
        self.comma()?;
        let b = self.reg(body, Type::B64)?;
        let sparse = if sparse {
            self.comma()?;
            Some(self.sparsity(body, &m, false)?)
        } else {
            None
        };
        let scale_d = self.next_src(body, Type::Pred)?;
        let scale = if integer {
            None
        } else {
            self.comma()?;
            let a = self.sign(&m)?;
            self.comma()?;
            Some((a, self.sign(&m)?))
        };
        let transposable = matches!(aty, Type::F16 | Type::Bf16);
        let trans_a =
            if transposable && matches!(a, WgmmaA::Desc(_)) { Some(self.transpose(&m)?) } else { None };
        let trans_b = if transposable { Some(self.transpose(&m)?) } else { None };
        Ok(Wgmma { n, k, dty, aty, bty, satfinite, d, a, b, sparse, scale_d, scale, trans_a, trans_b })
    }

    fn sign(&mut self, m: &Mods<'a>) -> Parsed<i8> {
        match self.cursor.integer()? {
            1 => Ok(1),
            -1 => Ok(-1),
            _ => Err(m.illegal("the scale of a factor is 1 or -1")),
        }
    }

    fn transpose(&mut self, m: &Mods<'a>) -> Parsed<bool> {
        self.comma()?;
        match self.cursor.integer()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(m.illegal("a transposition is 0 or 1")),
        }
    }
}
