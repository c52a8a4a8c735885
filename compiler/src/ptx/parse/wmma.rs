//! `wmma.load`, `wmma.store`, `wmma.mma`.

use super::body::Body;
use super::mods::Mods;
use super::module::Parser;
use super::{ParseErrorKind, Parsed};
use crate::ptx::op::*;
use crate::ptx::types::{BoolOp, MatLayout, MatShape, Rounding, Space, Type};

/// The shapes that factors of a type have.
fn legal(shape: MatShape, ty: Type) -> bool {
    use MatShape as S;
    match ty {
        Type::F16 | Type::Bf16 | Type::S8 | Type::U8 => {
            matches!(shape, S::M16n16k16 | S::M32n8k16 | S::M8n32k16)
        }
        Type::Tf32 => shape == S::M16n16k8,
        Type::F64 => shape == S::M8n8k4,
        Type::S4 | Type::U4 => shape == S::M8n8k32,
        Type::B1 => shape == S::M8n8k128,
        _ => false,
    }
}

/// The shapes that sums of a type have.
fn legal_sums(shape: MatShape, ty: Type) -> bool {
    let with = |factors: &[Type]| factors.iter().any(|&factor| legal(shape, factor));
    match ty {
        Type::F16 => with(&[Type::F16]),
        Type::F32 => with(&[Type::F16, Type::Tf32]),
        Type::S32 => with(&[Type::S8, Type::S4, Type::B1]),
        Type::F64 => with(&[Type::F64]),
        _ => false,
    }
}

fn class(ty: Type) -> Type {
    if ty == Type::F64 { Type::F64 } else { Type::B32 }
}

impl<'a> Parser<'a> {
    pub(super) fn wmma(&mut self, body: &mut Body<'a>, mut m: Mods<'a>) -> Parsed<Op> {
        let what = m.peek().unwrap_or_default();
        m.eat(what);
        match what {
            "load" => self.wmma_load(body, m).map(Op::from),
            "store" => self.wmma_store(body, m).map(Op::from),
            "mma" => self.wmma_mma(body, m).map(Op::from),
            _ => Err(Box::new(ParseErrorKind::UnknownInstruction { name: m.name.into() })),
        }
    }

    /// `.sync.aligned.layout.shape.space.type`
    fn wmma_matrix(&mut self, m: &mut Mods<'a>) -> Parsed<(MatLayout, MatShape, Space, Type)> {
        m.expect("sync")?;
        m.expect("aligned")?;
        let (layout, shape) = (m.need("layout")?, m.need("shape")?);
        let space = m.take().unwrap_or(Space::Generic);
        let ty = m.ty()?;
        m.end()?;
        let fine = matches!(space, Space::Generic | Space::Global | Space::Shared);
        m.require(fine, "the space is .global or .shared")?;
        Ok((layout, shape, space, ty))
    }

    fn wmma_stride(&mut self, body: &mut Body<'a>) -> Parsed<Option<crate::ptx::Operand>> {
        if self.more() { self.src(body, Type::U32).map(Some) } else { Ok(None) }
    }

    fn wmma_load(&mut self, body: &mut Body<'a>, mut m: Mods<'a>) -> Parsed<WmmaLoad> {
        let matrix: WmmaMatrix = m.need("matrix")?;
        let (layout, shape, space, ty) = self.wmma_matrix(&mut m)?;
        let fine = if matrix == WmmaMatrix::C { legal_sums(shape, ty) } else { legal(shape, ty) };
        m.require(fine, "there is no such shape for this type")?;
        let fixed = match matrix {
            WmmaMatrix::A => layout == MatLayout::Row,
            WmmaMatrix::B => layout == MatLayout::Col,
            WmmaMatrix::C => true,
        };
        m.require(fixed || ty.bits() >= 8, "A lies in rows and B in columns for elements below a byte")?;
        let dst = self.fragment(body, &m, class(ty), wmma_registers(matrix, shape, ty))?;
        let addr = self.next_address(body)?;
        Ok(WmmaLoad { matrix, layout, shape, space, ty, dst, addr, stride: self.wmma_stride(body)? })
    }

    fn wmma_store(&mut self, body: &mut Body<'a>, mut m: Mods<'a>) -> Parsed<WmmaStore> {
        m.expect("d")?;
        let (layout, shape, space, ty) = self.wmma_matrix(&mut m)?;
        m.require(legal_sums(shape, ty), "there is no such shape for this type")?;
        let addr = self.address(body)?;
        self.comma()?;
        let src = self.fragment(body, &m, class(ty), wmma_registers(WmmaMatrix::C, shape, ty))?;
        Ok(WmmaStore { layout, shape, space, ty, addr, src, stride: self.wmma_stride(body)? })
    }

    fn wmma_mma(&mut self, body: &mut Body<'a>, mut m: Mods<'a>) -> Parsed<WmmaMma> {
        let bit_op: Option<BoolOp> = m.take();
        if bit_op.is_some() {
            m.expect("popc")?;
        }
        m.expect("sync")?;
        m.expect("aligned")?;
        let (a_layout, b_layout): (MatLayout, MatLayout) = (m.need("layout of A")?, m.need("layout of B")?);
        let shape: MatShape = m.need("shape")?;
        let _: Option<Rounding> = m.take();
        let mut satfinite = m.eat("satfinite");
        let (dty, second) = (m.ty()?, m.ty()?);
        // Two types are those of D and C, of f16 factors.
        let third: Option<Type> = m.take();
        let (aty, bty, cty) = match third {
            Some(third) => (second, third, m.ty()?),
            None => (Type::F16, Type::F16, second),
        };
        satfinite |= m.eat("satfinite");
        m.end()?;
        m.require(legal(shape, aty) && aty.bits() == bty.bits(), "there is no such shape for this type")?;
        m.require((aty == Type::B1) == bit_op.is_some(), "`.popc` is for bits")?;
        let sums = match aty {
            Type::F16 => matches!(dty, Type::F16 | Type::F32) && matches!(cty, Type::F16 | Type::F32),
            Type::Bf16 | Type::Tf32 => (dty, cty) == (Type::F32, Type::F32),
            Type::F64 => (dty, cty) == (Type::F64, Type::F64),
            _ => (dty, cty) == (Type::S32, Type::S32),
        };
        m.require(sums, "these sums do not go with the factors")?;
        let integer = matches!(aty, Type::S8 | Type::U8 | Type::S4 | Type::U4);
        let same = aty == bty || (integer && matches!(bty, Type::S8 | Type::U8 | Type::S4 | Type::U4));
        m.require(same, "these factor types do not go together")?;
        let d = self.fragment(body, &m, class(dty), wmma_registers(WmmaMatrix::C, shape, dty))?;
        self.comma()?;
        let a = self.fragment(body, &m, class(aty), wmma_registers(WmmaMatrix::A, shape, aty))?;
        self.comma()?;
        let b = self.fragment(body, &m, class(bty), wmma_registers(WmmaMatrix::B, shape, bty))?;
        self.comma()?;
        let c = self.fragment(body, &m, class(cty), wmma_registers(WmmaMatrix::C, shape, cty))?;
        Ok(WmmaMma { shape, a_layout, b_layout, bit_op, satfinite, dty, aty, bty, cty, d, a, b, c })
    }
}
