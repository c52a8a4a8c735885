//! Elementwise work, element by element: each is computed where it is first used, in an epilogue where it is stored, so that few values
//! live at a time. Floats of every width are f32 in registers; a conversion to a narrower type rounds when its result is used, by the
//! store's own conversion where that is the only use.

use super::ir::*;
use super::lower::Lower;
use crate::plan::Refusal;
use crate::plan::access::launch_scalar;
use crate::scheduled::ir as t2;
use crate::tile::ir as t1;
use t1::{BinaryOp, CmpOp, ElemType, UnaryOp};

/// One element in registers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Element {
    F32(Src),
    /// An f32 that counts as rounded to the format.
    Half(Half, Src),
    Int(Src),
    Pred(Reg),
}

impl Lower<'_> {
    pub fn in_register(&mut self, s: Src, class: Class) -> Reg {
        match s {
            Src::Reg(r) => r,
            imm => self.b.mov(class, imm),
        }
    }

    /// The element in register `r` of a tile; elements that several registers share are computed once.
    pub fn element(&mut self, v: t2::ValId, r: usize) -> Result<Element, Refusal> {
        let map = self.map(v);
        let r = (0..=r).find(|q| map.axes.iter().all(|m| m.register[*q] == m.register[r])).unwrap_or(r);
        if let Some(e) = self.elements.get(&(v, r)) {
            return Ok(*e);
        }
        let Some(kind) = self.producers.get(&v).cloned() else {
            unreachable!("T2.1: every value has one producer");
        };
        let e = match &kind {
            t2::OpKind::AccGet { acc } => {
                let x = self.accumulator(*acc, map.registers)[r];
                if self.b.class(x) == Class::F32 { Element::F32(x.into()) } else { Element::Int(x.into()) }
            }
            t2::OpKind::Spread { x } => {
                let q = self.counterpart(v, r, *x);
                self.element(*x, q)?
            }
            t2::OpKind::Elementwise { value, .. } if launch_scalar(self.kernel, *value) => {
                self.scalar_element(*value)?
            }
            t2::OpKind::Elementwise { value, args } => {
                let mut tiles = args.iter();
                let mut operands = Vec::new();
                for x in self.kernel.value(*value).op.operands() {
                    operands.push(if launch_scalar(self.kernel, x) {
                        self.scalar_element(x)?
                    } else {
                        match tiles.next() {
                            Some(t) => {
                                let q = self.counterpart(v, r, *t);
                                self.element(*t, q)?
                            }
                            None => unreachable!("one tile argument per operand that is no launch scalar"),
                        }
                    });
                }
                self.elementwise(*value, &operands, v, r)?
            }
            t2::OpKind::ReadReg { tensor, ix, vec, .. } => {
                self.read_run(*tensor, ix, v, &map, r, *vec)?;
                self.elements[&(v, r)]
            }
            t2::OpKind::WorkGet { work } => {
                self.emit_work_get(*work, v, r)?;
                self.elements[&(v, r)]
            }
            t2::OpKind::Neutral { op } => {
                let t2::ValKind::Tile { elem, .. } = self.module.value(v).kind else {
                    unreachable!("T2.1: a neutral tile is a register tile");
                };
                self.keep(v, r, elem, super::reductions::neutral(*op, elem));
                self.elements[&(v, r)]
            }
            t2::OpKind::Combine { op, x, y } => {
                self.combined(*op, v, *x, *y, r)?;
                self.elements[&(v, r)]
            }
            other => unreachable!("{} makes no register tile after the loop", other.label()),
        };
        self.elements.insert((v, r), e);
        Ok(e)
    }

    fn scalar_element(&mut self, v: t1::ValueId) -> Result<Element, Refusal> {
        let value = self.kernel.value(v);
        match &value.op {
            t1::Op::Const(t1::Const::Float(f)) => Ok(Element::F32(Src::F32(*f as f32))),
            t1::Op::Const(t1::Const::Int(i)) if value.ty.elem.is_float() => {
                Ok(Element::F32(Src::F32(*i as f32)))
            }
            t1::Op::Const(t1::Const::Int(i)) => Ok(Element::Int(Src::Int(*i as i64))),
            t1::Op::Param(s) => match (self.scalars.scalar_param(*s), value.ty.elem) {
                (Some(r), ElemType::F32) => Ok(Element::F32(r.into())),
                (Some(r), ElemType::Int(32) | ElemType::Uint(32)) => Ok(Element::Int(r.into())),
                _ => Err(Refusal::construct(value.span, format!("a scalar of type {}", value.ty.elem))),
            },
            op if op.is_elementwise() => {
                crate::plan::elementwise::check(self.kernel, v)?;
                let operands = op
                    .operands()
                    .into_iter()
                    .map(|x| self.scalar_element(x))
                    .collect::<Result<Vec<_>, _>>()?;
                self.compute(v, &operands)
            }
            _ if value.ty.elem == ElemType::Index => {
                let s = self.scalars.coordinate(&mut self.b, v)?;
                Ok(Element::Int(s))
            }
            _ => Err(Refusal::construct(value.span, "this scalar")),
        }
    }

    fn elementwise(
        &mut self,
        v: t1::ValueId,
        operands: &[Element],
        tile: t2::ValId,
        r: usize,
    ) -> Result<Element, Refusal> {
        if let t1::Op::Iota(axis) = self.kernel.value(v).op {
            let map = self.map(tile);
            let position = self.axis_position(axis, &map.axes[0].thread)?;
            let c = map.axes[0].register[r];
            let at = if c == 0 { position } else { self.b.add(position, i64::from(c)) };
            return Ok(Element::Int(at.into()));
        }
        self.compute(v, operands)
    }

    /// A float operand as f32, rounded where a conversion said so.
    pub fn float(&mut self, e: Element, span: crate::diagnostics::Span) -> Result<Src, Refusal> {
        match e {
            Element::F32(s) => Ok(s),
            Element::Half(half, s) => {
                let h = self.b.reg(Class::B16);
                self.b.push(Op::ToHalf { to: half, d: h, a: s });
                let d = self.b.reg(Class::F32);
                self.b.push(Op::FromHalf { from: half, d, a: h });
                Ok(d.into())
            }
            Element::Int(_) | Element::Pred(_) => Err(Refusal::construct(span, "this mixture of types")),
        }
    }

    fn compute(&mut self, v: t1::ValueId, operands: &[Element]) -> Result<Element, Refusal> {
        let value = self.kernel.value(v);
        let (elem, span) = (value.ty.elem, value.span);
        let op = value.op.clone();
        let mismatch = || Refusal::construct(span, "this elementwise operation");
        match op {
            t1::Op::Broadcast(_) => Ok(operands[0]),
            t1::Op::Cast(x) => self.cast(operands[0], self.kernel.ty(x).elem, elem, span),
            t1::Op::Unary(op, _) => self.unary(op, operands[0], elem, span),
            t1::Op::Fma(..) => {
                let (x, y, z) = (
                    self.float(operands[0], span)?,
                    self.float(operands[1], span)?,
                    self.float(operands[2], span)?,
                );
                Ok(Element::F32(self.b.fma(x, y, z).into()))
            }
            t1::Op::Binary(op, ..) => self.binary(op, operands[0], operands[1], elem, span),
            t1::Op::Compare(op, x, _) => {
                let cmp = match op {
                    CmpOp::Eq => Cmp::Eq,
                    CmpOp::Ne => Cmp::Ne,
                    CmpOp::Lt => Cmp::Lt,
                    CmpOp::Le => Cmp::Le,
                    CmpOp::Gt => Cmp::Gt,
                    CmpOp::Ge => Cmp::Ge,
                };
                match (operands[0], operands[1]) {
                    (Element::Int(x_src), Element::Int(y)) => {
                        let ty = if self.kernel.ty(x).elem.is_signed() { IntTy::S32 } else { IntTy::U32 };
                        let x = self.in_register(x_src, Class::B32);
                        Ok(Element::Pred(self.b.set_int(cmp, ty, x, y)))
                    }
                    (x, y) => {
                        let (x, y) = (self.float(x, span)?, self.float(y, span)?);
                        let d = self.b.reg(Class::Pred);
                        self.b.push(Op::SetFloat { cmp, d, a: x, b: y });
                        Ok(Element::Pred(d))
                    }
                }
            }
            t1::Op::Select(..) => {
                let Element::Pred(p) = operands[0] else { return Err(mismatch()) };
                match (operands[1], operands[2]) {
                    (Element::Int(a), Element::Int(b)) => {
                        let d = self.b.reg(Class::B32);
                        self.b.push(Op::Select { d, a, b, p });
                        Ok(Element::Int(d.into()))
                    }
                    (a, b) => {
                        let (a, b) = (self.float(a, span)?, self.float(b, span)?);
                        let d = self.b.reg(Class::F32);
                        self.b.push(Op::Select { d, a, b, p });
                        Ok(Element::F32(d.into()))
                    }
                }
            }
            _ => Err(mismatch()),
        }
    }

    fn cast(
        &mut self,
        e: Element,
        from: ElemType,
        to: ElemType,
        span: crate::diagnostics::Span,
    ) -> Result<Element, Refusal> {
        let half = match to {
            ElemType::F16 => Some(Half::F16),
            ElemType::Bf16 => Some(Half::Bf16),
            _ => None,
        };
        match (e, to) {
            (Element::Int(s), t) if t.is_float() => {
                let a = self.in_register(s, Class::B32);
                let d = self.b.reg(Class::F32);
                self.b.push(Op::IntToFloat { signed: from.is_signed(), d, a });
                Ok(half.map_or(Element::F32(d.into()), |h| Element::Half(h, d.into())))
            }
            (Element::Int(s), _) => Ok(Element::Int(s)),
            (e, t) if t.is_float() => {
                let s = self.float(e, span)?;
                Ok(half.map_or(Element::F32(s), |h| Element::Half(h, s)))
            }
            (e, ElemType::Int(32) | ElemType::Uint(32)) => {
                let s = self.float(e, span)?;
                let a = self.in_register(s, Class::F32);
                let d = self.b.reg(Class::B32);
                self.b.push(Op::FloatToInt { signed: to.is_signed(), d, a });
                Ok(Element::Int(d.into()))
            }
            _ => Err(Refusal::construct(span, format!("the conversion of {from} to {to}"))),
        }
    }

    fn unary(
        &mut self,
        op: UnaryOp,
        e: Element,
        elem: ElemType,
        span: crate::diagnostics::Span,
    ) -> Result<Element, Refusal> {
        match (op, e) {
            (UnaryOp::Not, Element::Pred(a)) => {
                let d = self.b.reg(Class::Pred);
                self.b.push(Op::PredNot { d, a });
                return Ok(Element::Pred(d));
            }
            (UnaryOp::Neg, Element::Int(s)) => {
                let zero = self.b.mov(Class::B32, 0);
                return Ok(Element::Int(self.b.int(IntOp::Sub, IntTy::S32, zero, s).into()));
            }
            (UnaryOp::Abs, Element::Int(s)) => {
                let a = self.in_register(s, Class::B32);
                if !elem.is_signed() {
                    return Ok(Element::Int(a.into()));
                }
                let zero = self.b.mov(Class::B32, 0);
                let n = self.b.int(IntOp::Sub, IntTy::S32, zero, a);
                return Ok(Element::Int(self.b.int(IntOp::Max, IntTy::S32, a, n).into()));
            }
            (UnaryOp::BitNot, Element::Int(s)) => {
                let a = self.in_register(s, Class::B32);
                return Ok(Element::Int(self.b.xor(a, -1).into()));
            }
            _ => {}
        }
        let x = self.float(e, span)?;
        let ln2 = Src::F32(std::f32::consts::LN_2);
        let f = match op {
            UnaryOp::Neg => FloatFn::Neg,
            UnaryOp::Abs => FloatFn::Abs,
            UnaryOp::Exp2 => FloatFn::Ex2,
            UnaryOp::Log2 => FloatFn::Lg2,
            UnaryOp::Sqrt => FloatFn::Sqrt,
            UnaryOp::Rsqrt => FloatFn::Rsqrt,
            UnaryOp::Floor => FloatFn::Floor,
            UnaryOp::Ceil => FloatFn::Ceil,
            UnaryOp::Round => FloatFn::Round,
            UnaryOp::Trunc => FloatFn::Trunc,
            UnaryOp::Exp | UnaryOp::Erf | UnaryOp::Tanh => {
                let x = self.in_register(x, Class::F32);
                let y = match op {
                    UnaryOp::Exp => self.exp(x),
                    UnaryOp::Erf => self.erf(x),
                    _ => self.tanh(x),
                };
                return Ok(Element::F32(y.into()));
            }
            UnaryOp::Log => {
                let log = self.b.float_fn(FloatFn::Lg2, x);
                return Ok(Element::F32(self.b.float(FloatOp::Mul, log, ln2).into()));
            }
            _ => return Err(Refusal::construct(span, format!("`{}`", op.name()))),
        };
        Ok(Element::F32(self.b.float_fn(f, x).into()))
    }

    /// Quotient and remainder by a positive constant, rounded down.
    fn floored(&mut self, x: Reg, by: i64, ty: IntTy) -> (Reg, Reg) {
        if by.count_ones() == 1 {
            let quotient = self.b.int(IntOp::Shr, ty, x, i64::from(by.trailing_zeros()));
            return (quotient, self.b.and(x, by - 1));
        }
        let q = self.b.int(IntOp::Div, ty, x, by);
        let back = self.b.int(IntOp::MulLo, ty, q, by);
        let rest = self.b.int(IntOp::Sub, ty, x, back);
        if ty == IntTy::U32 {
            return (q, rest);
        }
        // The machine rounds towards zero: where that leaves a negative rest, the quotient is one less.
        let negative = self.b.int(IntOp::Shr, IntTy::S32, rest, 31);
        let q = self.b.add(q, negative);
        let up = self.b.and(negative, by);
        (q, self.b.add(rest, up))
    }

    fn binary(
        &mut self,
        op: BinaryOp,
        x: Element,
        y: Element,
        elem: ElemType,
        span: crate::diagnostics::Span,
    ) -> Result<Element, Refusal> {
        let refuse = || Refusal::construct(span, format!("`{}` of {elem}", op.name()));
        match (x, y) {
            (Element::Pred(a), Element::Pred(b)) => {
                let d = self.b.reg(Class::Pred);
                self.b.push(match op {
                    BinaryOp::And | BinaryOp::Min => Op::PredAnd { d, a, b },
                    BinaryOp::Or | BinaryOp::Max => Op::PredOr { d, a, b },
                    BinaryOp::Xor => Op::PredXor { d, a, b },
                    _ => return Err(refuse()),
                });
                Ok(Element::Pred(d))
            }
            (Element::Int(x), Element::Int(y)) => {
                let ty = if elem.is_signed() { IntTy::S32 } else { IntTy::U32 };
                if let (BinaryOp::Div | BinaryOp::Rem, Src::Int(by)) = (op, y) {
                    let x = self.in_register(x, Class::B32);
                    let (quotient, rest) = self.floored(x, by, ty);
                    return Ok(Element::Int(if op == BinaryOp::Div { quotient } else { rest }.into()));
                }
                let (op, ty) = match op {
                    BinaryOp::Shl => (IntOp::Shl, IntTy::B32),
                    BinaryOp::Shr => (IntOp::Shr, ty),
                    BinaryOp::Add => (IntOp::Add, ty),
                    BinaryOp::Sub => (IntOp::Sub, ty),
                    BinaryOp::Mul => (IntOp::MulLo, ty),
                    BinaryOp::Min => (IntOp::Min, ty),
                    BinaryOp::Max => (IntOp::Max, ty),
                    BinaryOp::And => (IntOp::And, IntTy::B32),
                    BinaryOp::Or => (IntOp::Or, IntTy::B32),
                    BinaryOp::Xor => (IntOp::Xor, IntTy::B32),
                    _ => return Err(refuse()),
                };
                let x = self.in_register(x, Class::B32);
                Ok(Element::Int(self.b.int(op, ty, x, y).into()))
            }
            (x, y) => {
                let (x, y) = (self.float(x, span)?, self.float(y, span)?);
                let op = match op {
                    BinaryOp::Add => FloatOp::Add,
                    BinaryOp::Sub => FloatOp::Sub,
                    BinaryOp::Mul => FloatOp::Mul,
                    BinaryOp::Min => FloatOp::Min,
                    BinaryOp::Max => FloatOp::Max,
                    BinaryOp::Div => FloatOp::Div,
                    _ => return Err(refuse()),
                };
                Ok(Element::F32(self.b.float(op, x, y).into()))
            }
        }
    }
}
