//! Integer and floating-point arithmetic. Names like `add` are shared; the type that comes last decides.

use super::body::Body;
use super::mods::Mods;
use super::module::Parser;
use super::operands::Want;
use super::{ParseErrorKind, Parsed};
use crate::ptx::op::*;
use crate::ptx::types::{BoolOp, MulMode, RegClass, Rounding, Spelled, Type, TypeKind};

/// The type twice as wide: what `mul.wide` writes.
fn doubled(ty: Type) -> Type {
    match ty {
        Type::U16 => Type::U32,
        Type::S16 => Type::S32,
        Type::U32 => Type::U64,
        Type::S32 => Type::S64,
        other => other,
    }
}

/// The type that ends a mnemonic.
fn last_type(name: &str) -> Option<Type> {
    name.rsplit('.').next().and_then(Type::from_text)
}

impl<'a> Parser<'a> {
    pub(super) fn arithmetic(&mut self, body: &mut Body<'a>, head: &str, m: Mods<'a>) -> Parsed<Option<Op>> {
        let float = last_type(m.name).is_some_and(Type::is_float);
        let op = match head {
            "add" | "sub" | "mul" | "div" | "min" | "max" if float => {
                self.float_binary(body, head, m)?.into()
            }
            "copysign" => self.float_binary(body, head, m)?.into(),
            "fma" => self.fma(body, m)?.into(),
            "mad" if float => self.fma(body, m)?.into(),
            "neg" | "abs" if float => self.float_unary(body, head, m)?.into(),
            "rcp" | "sqrt" | "rsqrt" | "sin" | "cos" | "lg2" | "ex2" | "tanh" => {
                self.float_unary(body, head, m)?.into()
            }
            "testp" => {
                let mut m = m;
                let op = m.need("question")?;
                let ty = m.ty()?;
                m.end()?;
                let dst = self.def(body, Type::Pred)?;
                Testp { op, ty, dst, a: self.src(body, ty)? }.into()
            }
            "addc" | "subc" | "madc" => self.carry(body, head, m)?.into(),
            "add" | "sub" | "mad" if m.name.split('.').any(|word| word == "cc") => {
                self.carry(body, head, m)?.into()
            }
            "add" | "sub" | "mul" | "mul24" | "div" | "rem" | "min" | "max" => {
                self.int_binary(body, head, m)?.into()
            }
            "mad" | "mad24" => self.mad(body, head == "mad24", m)?.into(),
            "neg" | "abs" | "not" | "cnot" | "popc" | "clz" | "brev" | "bfind" => {
                self.int_unary(body, head, m)?.into()
            }
            "and" | "or" | "xor" => self.logic(body, head, m)?.into(),
            "shl" | "shr" => self.shift(body, head, m)?.into(),
            _ if head.starts_with('v') => match self.video(body, head, m)? {
                Some(op) => op.into(),
                None => return self.bits(body, head, m),
            },
            _ => return self.bits(body, head, m),
        };
        Ok(Some(op))
    }

    fn operation_named<T: Spelled>(&self, text: &str, m: &Mods<'a>) -> Parsed<T> {
        T::from_text(text).ok_or_else(|| Box::new(ParseErrorKind::UnknownInstruction { name: m.name.into() }))
    }

    fn float_binary(&mut self, body: &mut Body<'a>, head: &str, mut m: Mods<'a>) -> Parsed<FloatBinary> {
        let op: FloatBinaryOp = self.operation_named(head, &m)?;
        let rnd: Option<Rounding> = m.take();
        let (ftz, sat) = (m.eat("ftz"), m.eat("sat"));
        let nan = m.eat("NaN");
        let xorsign_abs = m.eat_all(&["xorsign", "abs"]);
        let abs = m.eat("abs");
        let ty = m.ty()?;
        m.end()?;
        let plain = matches!(rnd, None | Some(Rounding::Rn | Rounding::Rz | Rounding::Rm | Rounding::Rp));
        match op {
            FloatBinaryOp::Div => {
                m.require(rnd.is_some(), "`div` of floats needs .approx, .full or a rounding mode")?
            }
            FloatBinaryOp::Min | FloatBinaryOp::Max | FloatBinaryOp::Copysign => {
                m.require(rnd.is_none() && !sat, "no rounding here")?;
            }
            _ => m.require(plain && !nan && !xorsign_abs, "this modifier is not for this operation")?,
        }
        let dst = self.def(body, ty)?;
        let a = self.src(body, ty)?;
        let b = self.next_src(body, ty)?;
        let third = match op {
            FloatBinaryOp::Min | FloatBinaryOp::Max
                if ty == Type::F32 && !xorsign_abs && self.cursor.eat(b',') =>
            {
                Some(self.src(body, ty)?)
            }
            _ => None,
        };
        m.require(!abs || third.is_some(), "`.abs` is for three operands")?;
        Ok(FloatBinary { op, rnd, ftz, sat, nan, xorsign_abs, ty, dst, a, b, third, abs })
    }

    fn fma(&mut self, body: &mut Body<'a>, mut m: Mods<'a>) -> Parsed<Fma> {
        let rnd = m.need("rounding mode")?;
        m.require(
            matches!(rnd, Rounding::Rn | Rounding::Rz | Rounding::Rm | Rounding::Rp),
            "the rounding mode is .rn, .rz, .rm or .rp",
        )?;
        let (ftz, sat, relu) = (m.eat("ftz"), m.eat("sat"), m.eat("relu"));
        let ty = m.ty()?;
        m.end()?;
        let dst = self.def(body, ty)?;
        let a = self.src(body, ty)?;
        let b = self.next_src(body, ty)?;
        let c = self.next_src(body, ty)?;
        Ok(Fma { rnd, ftz, sat, relu, ty, dst, a, b, c })
    }

    fn float_unary(&mut self, body: &mut Body<'a>, head: &str, mut m: Mods<'a>) -> Parsed<FloatUnary> {
        let op: FloatUnaryOp = self.operation_named(head, &m)?;
        let rnd: Option<Rounding> = m.take();
        let ftz = m.eat("ftz");
        let ty = m.ty()?;
        m.end()?;
        m.require(ty.is_float(), "the type is a floating-point type")?;
        let sign = matches!(op, FloatUnaryOp::Neg | FloatUnaryOp::Abs);
        m.require(
            sign == rnd.is_none(),
            if sign { "no rounding here" } else { "needs .approx or a rounding mode" },
        )?;
        let dst = self.def(body, ty)?;
        Ok(FloatUnary { op, rnd, ftz, ty, dst, a: self.src(body, ty)? })
    }

    fn int_binary(&mut self, body: &mut Body<'a>, head: &str, mut m: Mods<'a>) -> Parsed<IntBinary> {
        let op = match head {
            "mul" | "mul24" => {
                let mode: MulMode = m.need("part of the product (.lo, .hi, .wide)")?;
                match (head, mode) {
                    ("mul", MulMode::Lo) => IntBinaryOp::MulLo,
                    ("mul", MulMode::Hi) => IntBinaryOp::MulHi,
                    ("mul", MulMode::Wide) => IntBinaryOp::MulWide,
                    (_, MulMode::Lo) => IntBinaryOp::Mul24Lo,
                    (_, MulMode::Hi) => IntBinaryOp::Mul24Hi,
                    _ => return Err(m.illegal("24-bit products are .lo or .hi")),
                }
            }
            _ => self.operation_named(head, &m)?,
        };
        let sat = m.eat("sat");
        let mut relu = m.eat("relu");
        let ty = m.ty()?;
        relu |= m.eat("relu");
        m.end()?;
        let wide = op == IntBinaryOp::MulWide;
        m.require(ty.is_int() && ty.bits() >= 16, "the type is an integer of 16 to 64 bits")?;
        m.require(!wide || ty.bits() <= 32 && !ty.is_packed(), ".wide takes 16 or 32 bits")?;
        m.require(!sat || ty == Type::S32, ".sat takes .s32")?;
        let dst = self.def(body, if wide { doubled(ty) } else { ty })?;
        let a = self.src(body, ty)?;
        let b = self.next_src(body, ty)?;
        Ok(IntBinary { op, sat, relu, ty, dst, a, b })
    }

    fn mad(&mut self, body: &mut Body<'a>, m24: bool, mut m: Mods<'a>) -> Parsed<IntMad> {
        let mode: MulMode = m.need("part of the product (.lo, .hi, .wide)")?;
        let sat = m.eat("sat");
        let ty = m.ty()?;
        m.end()?;
        let wide = mode == MulMode::Wide;
        m.require(ty.is_int() && ty.bits() >= 16, "the type is an integer of 16 to 64 bits")?;
        m.require(!wide || ty.bits() <= 32 && !m24, ".wide takes 16 or 32 bits")?;
        let result = if wide { doubled(ty) } else { ty };
        let dst = self.def(body, result)?;
        let a = self.src(body, ty)?;
        let b = self.next_src(body, ty)?;
        let c = self.next_src(body, result)?;
        Ok(IntMad { mode, m24, sat, ty, dst, a, b, c })
    }

    fn carry(&mut self, body: &mut Body<'a>, head: &str, mut m: Mods<'a>) -> Parsed<CarryChain> {
        let op = match (head, m.peek()) {
            ("mad" | "madc", Some(part @ ("lo" | "hi"))) => {
                m.eat(part);
                self.operation_named(&format!("{head}.{part}"), &m)?
            }
            _ => self.operation_named(head, &m)?,
        };
        let cc = m.eat("cc");
        let ty = m.ty()?;
        m.end()?;
        m.require(ty.is_int() && ty.bits() >= 32, "the type is an integer of 32 or 64 bits")?;
        let dst = self.def(body, ty)?;
        let a = self.src(body, ty)?;
        let b = self.next_src(body, ty)?;
        let c = if head.starts_with("mad") { Some(self.next_src(body, ty)?) } else { None };
        Ok(CarryChain { op, cc, ty, dst, a, b, c })
    }

    fn int_unary(&mut self, body: &mut Body<'a>, head: &str, mut m: Mods<'a>) -> Parsed<IntUnary> {
        let op = if head == "bfind" && m.eat("shiftamt") {
            IntUnaryOp::BfindShift
        } else {
            self.operation_named(head, &m)?
        };
        let ty = m.ty()?;
        m.end()?;
        let fine = match op {
            IntUnaryOp::Neg | IntUnaryOp::Abs => ty.is_signed(),
            IntUnaryOp::Not => matches!(ty.kind(), TypeKind::Bits | TypeKind::Pred),
            IntUnaryOp::Bfind | IntUnaryOp::BfindShift => ty.is_int() && ty.bits() >= 32,
            _ => ty.kind() == TypeKind::Bits,
        };
        m.require(fine, "this type is not for this operation")?;
        let counts =
            matches!(op, IntUnaryOp::Popc | IntUnaryOp::Clz | IntUnaryOp::Bfind | IntUnaryOp::BfindShift);
        let dst = self.def(body, if counts { Type::U32 } else { ty })?;
        Ok(IntUnary { op, ty, dst, a: self.src(body, ty)? })
    }

    fn logic(&mut self, body: &mut Body<'a>, head: &str, mut m: Mods<'a>) -> Parsed<Logic> {
        let op: BoolOp = self.operation_named(head, &m)?;
        let ty = m.ty()?;
        m.end()?;
        m.require(matches!(ty.kind(), TypeKind::Bits | TypeKind::Pred), "the type is .pred or .b16 to .b64")?;
        let dst = self.def(body, ty)?;
        let a = self.src(body, ty)?;
        let b = self.next_src(body, ty)?;
        Ok(Logic { op, ty, dst, a, b })
    }

    fn shift(&mut self, body: &mut Body<'a>, head: &str, mut m: Mods<'a>) -> Parsed<Shift> {
        let op: ShiftOp = self.operation_named(head, &m)?;
        let ty = m.ty()?;
        m.end()?;
        m.require((16..=64).contains(&ty.bits()) && !ty.is_float(), "the type has 16 to 64 bits")?;
        let dst = self.def(body, ty)?;
        let a = self.src(body, ty)?;
        self.comma()?;
        let b = self.source(body, Type::U32, Want::Class(RegClass::B32))?;
        Ok(Shift { op, ty, dst, a, b })
    }

    /// Bit fields, permutations, dot products.
    fn bits(&mut self, body: &mut Body<'a>, head: &str, mut m: Mods<'a>) -> Parsed<Option<Op>> {
        const W: Type = Type::B32;
        let op: Op = match head {
            "lop3" => {
                let bool_op: Option<BoolOp> = m.take();
                m.expect("b32")?;
                m.end()?;
                let dst = self.dst(body, W)?;
                m.require(bool_op.is_some() || dst.reg().is_some(), "`_` stands beside a predicate")?;
                let p = if bool_op.is_some() {
                    self.cursor.expect(b'|', "`|`")?;
                    Some(self.reg(body, Type::Pred)?)
                } else {
                    None
                };
                let a = self.next_src(body, W)?;
                let b = self.next_src(body, W)?;
                let c = self.next_src(body, W)?;
                self.comma()?;
                let lut = self.cursor.unsigned("a truth table")?;
                let lut = u8::try_from(lut).map_err(|_| m.illegal("the truth table has 8 bits"))?;
                let pred = match (bool_op, p) {
                    (Some(op), Some(p)) => {
                        self.comma()?;
                        Some((op, p, self.pred(body)?))
                    }
                    _ => None,
                };
                Lop3 { pred, dst, a, b, c, lut }.into()
            }
            "prmt" => {
                m.expect("b32")?;
                let mode = m.take().unwrap_or(PrmtMode::Default);
                m.end()?;
                let dst = self.def(body, W)?;
                let a = self.src(body, W)?;
                let b = self.next_src(body, W)?;
                Prmt { mode, dst, a, b, c: self.next_src(body, W)? }.into()
            }
            "shf" => {
                let dir = m.need("direction")?;
                let mode = m.need("mode")?;
                m.expect("b32")?;
                m.end()?;
                let dst = self.def(body, W)?;
                let a = self.src(body, W)?;
                let b = self.next_src(body, W)?;
                Funnel { dir, mode, dst, a, b, c: self.next_src(body, W)? }.into()
            }
            "bfe" | "bfi" => {
                let ty = m.ty()?;
                m.end()?;
                let extract = head == "bfe";
                let fine = ty.bits() >= 32 && if extract { ty.is_int() } else { ty.kind() == TypeKind::Bits };
                m.require(fine, "this type is not for this operation")?;
                let dst = self.def(body, ty)?;
                let a = self.src(body, ty)?;
                let b = if extract { a } else { self.next_src(body, ty)? };
                let pos = self.next_src(body, Type::U32)?;
                let len = self.next_src(body, Type::U32)?;
                if extract {
                    BitExtract { ty, dst, a, pos, len }.into()
                } else {
                    BitInsert { ty, dst, a, b, pos, len }.into()
                }
            }
            "fns" | "szext" | "bmsk" => {
                let op: BitSearchOp = self.operation_named(head, &m)?;
                let wrap = op != BitSearchOp::FindNthSet && m.eat("wrap");
                if op != BitSearchOp::FindNthSet && !wrap {
                    m.expect("clamp")?;
                }
                let ty = m.ty()?;
                m.end()?;
                let extends = op == BitSearchOp::SignExtend;
                m.require(
                    if extends { matches!(ty, Type::U32 | Type::S32) } else { ty == W },
                    "this type is not for this operation",
                )?;
                let dst = self.def(body, W)?;
                let a = self.src(body, W)?;
                let b = self.next_src(body, W)?;
                let c =
                    if op == BitSearchOp::FindNthSet { Some(self.next_src(body, Type::S32)?) } else { None };
                BitSearch { op, wrap, signed: ty == Type::S32, dst, a, b, c }.into()
            }
            "sad" => {
                let ty = m.ty()?;
                m.end()?;
                m.require(ty.is_int() && ty.bits() >= 16, "the type is an integer of 16 to 64 bits")?;
                let dst = self.def(body, ty)?;
                let a = self.src(body, ty)?;
                let b = self.next_src(body, ty)?;
                Sad { ty, dst, a, b, c: self.next_src(body, ty)? }.into()
            }
            "dp4a" | "dp2a" => {
                let half: Option<MulMode> = if head == "dp2a" { Some(m.need("half")?) } else { None };
                let (aty, bty) = (m.ty()?, m.ty()?);
                m.end()?;
                let fine = |ty| matches!(ty, Type::U32 | Type::S32);
                m.require(
                    fine(aty) && fine(bty) && half != Some(MulMode::Wide),
                    "the types are .u32 or .s32",
                )?;
                let dst = self.def(body, W)?;
                let a = self.src(body, W)?;
                let b = self.next_src(body, W)?;
                Dp4a { half, aty, bty, dst, a, b, c: self.next_src(body, W)? }.into()
            }
            _ => return Ok(None),
        };
        Ok(Some(op))
    }
}
