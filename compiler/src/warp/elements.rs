//! Elementwise work, element by element: each is computed where it is first used, in an epilogue where it is stored, so that few values
//! live at a time. Floats of every width are f32 in registers; a conversion to a narrower type rounds when its result is used, by the
//! store's own conversion where that is the only use.

use super::ir::*;
use super::lower::Lower;
use super::reductions::{class_of, int_ty};
use super::tilemap::TileMap;
use crate::plan::Refusal;
use crate::plan::access::launch_scalar;
use crate::plan::instances;
use crate::scheduled::ir as t2;
use crate::tile::{ir as t1, multiples::is_multiple};
use t1::{BinaryOp, CmpOp, ElemType, UnaryOp};

/// One element in registers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Element {
    F32(Src),
    /// An f32 that counts as rounded to the format.
    Half(Half, Src),
    /// A 32-bit integer or coordinate, or a narrower integer extended to 32 bits.
    Int(Src),
    /// 64 bits.
    Long(Src),
    /// A float of at most 8 bits as its code, in 32.
    Code(ElemType, Src),
    Pred(Reg),
}

impl Lower<'_> {
    /// The class of a register; `None` for immediates.
    fn class_of_src(&self, s: Src) -> Option<Class> {
        match s {
            Src::Reg(r) => Some(self.b.class(r)),
            Src::Int(_) | Src::F32(_) => None,
        }
    }

    pub fn in_register(&mut self, s: Src, class: Class) -> Reg {
        match s {
            Src::Reg(r) => r,
            imm => self.b.mov(class, imm),
        }
    }

    /// The element in register `r` of a tile; elements that several registers share are computed once.
    pub fn element(&mut self, v: t2::ValId, r: usize) -> Result<Element, Refusal> {
        let map = self.map(v);
        let r = self.first_holder(v, r);
        if let Some(e) = self.elements.get(&(v, r)) {
            return Ok(*e);
        }
        let Some(&kind) = self.producers.get(&v) else {
            unreachable!("T2.1: every value has one producer");
        };
        let e = match kind {
            t2::OpKind::AccGet { acc } => {
                let x = self.accumulator(*acc, map.registers)[r];
                if self.b.class(x) == Class::F32 { Element::F32(x.into()) } else { Element::Int(x.into()) }
            }
            t2::OpKind::Load { buf, .. } => self.loaded_element(v, *buf, r)?,
            t2::OpKind::LoadPacked { tensor, .. } => self.packed_element(v, *tensor, r)?,
            t2::OpKind::SortKey { x, descending } => {
                let q = self.counterpart(v, r, *x);
                self.sort_key(*x, q, *descending)?
            }
            t2::OpKind::Position { axis } => {
                let (_, axes) = self.tile(v);
                let n = axes.iter().position(|a| a == axis).unwrap_or(0);
                let position = self.axis_position(*axis, &map.axes[n].thread)?;
                Element::Int(match map.axes[n].register[r] {
                    0 => position.into(),
                    c => self.b.add(position, i64::from(c)).into(),
                })
            }
            t2::OpKind::Spread { x } => {
                let q = self.counterpart(v, r, *x);
                self.element(*x, q)?
            }
            t2::OpKind::Share { x } => {
                let q = self.counterpart(v, r, *x);
                let e = self.element(*x, q)?;
                self.share(v, e)?
            }
            t2::OpKind::Elementwise { value, .. } if launch_scalar(self.kernel, *value) => {
                self.scalar_element(*value)?
            }
            t2::OpKind::Elementwise { value, args } => {
                if let Some(e) = self.assumed_element(v, r, *value, args)? {
                    self.elements.insert((v, r), e);
                    return Ok(e);
                }
                if let Some(turn) = self.turning(v) {
                    let e = Element::Int(self.in_turn(turn, &map, r));
                    self.elements.insert((v, r), e);
                    return Ok(e);
                }
                if let Some(e) = self.unpacked_float(v, r, *value, args)? {
                    self.elements.insert((v, r), e);
                    return Ok(e);
                }
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
                self.read_run(*tensor, ix, v, r, *vec)?;
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

    /// For `k % n` of a range that begins at multiples of n: n.
    pub fn turning(&self, v: t2::ValId) -> Option<u32> {
        let Some(t2::OpKind::Elementwise { value, .. }) = self.producers.get(&v) else { return None };
        let (axis, n) = self.kernel.in_turns(*value)?;
        is_multiple(self.kernel, self.kernel.axis(axis).lo, n).then_some(n)
    }

    /// The place in its turn of the coordinate in register `r`: the thread's part and the register's have no bits in common.
    fn in_turn(&mut self, n: u32, map: &TileMap, r: usize) -> Src {
        let columns: Vec<u32> = map.axes[0].thread.iter().map(|c| c & (n - 1)).collect();
        let own = map.axes[0].register[r] & (n - 1);
        match self.threads.linear(&mut self.b, &columns) {
            None => Src::Int(own.into()),
            Some(thread) if own == 0 => thread.into(),
            Some(thread) => self.b.add(thread, i64::from(own)).into(),
        }
    }

    /// An element that follows from the conditions that hold here.
    fn assumed_element(
        &mut self,
        v: t2::ValId,
        r: usize,
        value: t1::ValueId,
        args: &[t2::ValId],
    ) -> Result<Option<Element>, Refusal> {
        if self.assumed.is_empty() {
            return Ok(None);
        }
        let kept = match self.kernel.value(value).op {
            t1::Op::Select(c, x, y) => self.holds(c).map(|holds| if holds { x } else { y }),
            t1::Op::Binary(t1::BinaryOp::And, x, y) if self.holds(x) == Some(true) => Some(y),
            t1::Op::Binary(t1::BinaryOp::And, x, y) if self.holds(y) == Some(true) => Some(x),
            _ => None,
        };
        let Some(kept) = kept else {
            let holds = self.holds(value);
            return Ok(holds.map(|b| Element::Pred(self.b.mov(Class::Pred, i64::from(b)))));
        };
        if launch_scalar(self.kernel, kept) {
            return self.scalar_element(kept).map(Some);
        }
        let tiles = self.kernel.value(value).op.operands().into_iter();
        let at = tiles.filter(|x| !launch_scalar(self.kernel, *x)).position(|x| x == kept);
        let Some(tile) = at.and_then(|at| args.get(at)) else { return Ok(None) };
        let q = self.counterpart(v, r, *tile);
        self.element(*tile, q).map(Some)
    }

    /// Whether a condition is known to hold, or not to.
    fn holds(&self, cond: t1::ValueId) -> Option<bool> {
        use t1::BinaryOp::{And, Or};
        if self.assumed.contains(&cond) {
            return Some(true);
        }
        match self.kernel.value(cond).op {
            t1::Op::Broadcast(x) | t1::Op::Reorder(x) => self.holds(x),
            t1::Op::Binary(And, x, y) => match (self.holds(x), self.holds(y)) {
                (Some(true), Some(true)) => Some(true),
                (Some(false), _) | (_, Some(false)) => Some(false),
                _ => None,
            },
            t1::Op::Binary(Or, x, y) => match (self.holds(x), self.holds(y)) {
                (Some(false), Some(false)) => Some(false),
                (Some(true), _) | (_, Some(true)) => Some(true),
                _ => None,
            },
            _ => None,
        }
    }

    pub fn scalar_element(&mut self, v: t1::ValueId) -> Result<Element, Refusal> {
        let value = self.kernel.value(v);
        match &value.op {
            t1::Op::Const(t1::Const::Float(f)) => Ok(Element::F32(Src::F32(*f as f32))),
            t1::Op::Const(t1::Const::Int(i)) if value.ty.elem.is_float() => {
                Ok(Element::F32(Src::F32(*i as f32)))
            }
            t1::Op::Const(t1::Const::Int(i)) if class_of(value.ty.elem) == Class::B64 => {
                Ok(Element::Long(Src::Int(*i as i64)))
            }
            t1::Op::Const(t1::Const::Int(i)) => Ok(Element::Int(Src::Int(*i as i64))),
            t1::Op::Const(t1::Const::Bool(b)) => Ok(Element::Pred(self.b.mov(Class::Pred, i64::from(*b)))),
            t1::Op::Param(s) => {
                let refused =
                    || Refusal::construct(value.span, format!("a scalar of type {}", value.ty.elem));
                let r = self.scalars.scalar_param(*s).ok_or_else(refused)?;
                match value.ty.elem {
                    ElemType::Bool => {
                        self.cast(Element::Int(r.into()), ElemType::Uint(8), ElemType::Bool, value.span)
                    }
                    ElemType::F16 | ElemType::Bf16 => {
                        let from = if value.ty.elem == ElemType::F16 { Half::F16 } else { Half::Bf16 };
                        let d = self.b.widen_half(from, r);
                        Ok(Element::F32(d.into()))
                    }
                    _ => match self.b.class(r) {
                        Class::F32 => Ok(Element::F32(r.into())),
                        Class::B32 => Ok(Element::Int(r.into())),
                        Class::B64 => Ok(Element::Long(r.into())),
                        _ => Err(refused()),
                    },
                }
            }
            op if op.is_elementwise() => {
                if let Some(e) = self.scalar_elements.get(&v) {
                    return Ok(*e);
                }
                crate::plan::elementwise::check(self.kernel, v)?;
                let operands = op
                    .operands()
                    .into_iter()
                    .map(|x| self.scalar_element(x))
                    .collect::<Result<Vec<_>, _>>()?;
                let e = self.compute(v, &operands)?;
                if given(self.kernel, v) {
                    self.scalar_elements.insert(v, e);
                }
                Ok(e)
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
            Element::Code(elem, s) => Ok(self.decode(elem, s)),
            Element::Int(_) | Element::Long(_) | Element::Pred(_) => {
                Err(Refusal::construct(span, "this mixture of types"))
            }
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
            t1::Op::Bits(x) => self.reinterpret(operands[0], self.kernel.ty(x).elem, elem, span),
            t1::Op::Unary(op, _) => self.unary(op, operands[0], elem, span),
            t1::Op::Fma(..) => {
                let (x, y, z) = (
                    self.float(operands[0], span)?,
                    self.float(operands[1], span)?,
                    self.float(operands[2], span)?,
                );
                Ok(Element::F32(self.b.fma(x, y, z).into()))
            }
            t1::Op::Binary(op, ..) if self.windows.contains_key(&v) => {
                let (Element::Int(x), Element::Int(y)) = (operands[0], operands[1]) else {
                    return self.binary(op, operands[0], operands[1], elem, span);
                };
                let x = self.in_register(x, Class::B32);
                let op = if op == BinaryOp::Add { IntOp::AddSat } else { IntOp::SubSat };
                Ok(Element::Int(self.b.int(op, IntTy::S32, x, y).into()))
            }
            t1::Op::Binary(op, x, y) => {
                // Coordinates that are never negative need no care for signs: rounding down is rounding towards zero.
                let unsigned = elem == ElemType::Index
                    && matches!(op, BinaryOp::Div | BinaryOp::Cdiv | BinaryOp::Rem)
                    && [x, y].into_iter().all(|v| instances::not_negative_in_32_bits(self.kernel, v));
                let elem = if unsigned { ElemType::Uint(32) } else { elem };
                self.binary(op, operands[0], operands[1], elem, span)
            }
            t1::Op::Compare(op, x, _) => {
                let cmp = match op {
                    CmpOp::Eq => Cmp::Eq,
                    CmpOp::Ne => Cmp::Ne,
                    CmpOp::Lt => Cmp::Lt,
                    CmpOp::Le => Cmp::Le,
                    CmpOp::Gt => Cmp::Gt,
                    CmpOp::Ge => Cmp::Ge,
                };
                let ty = int_ty(self.kernel.ty(x).elem);
                match (operands[0], operands[1]) {
                    (Element::Int(x), Element::Int(y)) | (Element::Long(x), Element::Long(y)) => {
                        let x = self.in_register(x, ty.class());
                        Ok(Element::Pred(self.b.set_int(cmp, ty, x, y)))
                    }
                    (Element::Pred(a), Element::Pred(b)) => {
                        let differ = self.b.reg(Class::Pred);
                        self.b.push(Op::PredXor { d: differ, a, b });
                        match cmp {
                            Cmp::Ne => Ok(Element::Pred(differ)),
                            Cmp::Eq => {
                                let d = self.b.reg(Class::Pred);
                                self.b.push(Op::PredNot { d, a: differ });
                                Ok(Element::Pred(d))
                            }
                            _ => Err(mismatch()),
                        }
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
                    (Element::Long(a), Element::Long(b)) => {
                        let d = self.b.reg(Class::B64);
                        self.b.push(Op::Select { d, a, b, p });
                        Ok(Element::Long(d.into()))
                    }
                    (Element::Code(elem, a), Element::Code(_, b)) => {
                        let d = self.b.reg(Class::B32);
                        self.b.push(Op::Select { d, a, b, p });
                        Ok(Element::Code(elem, d.into()))
                    }
                    (Element::Pred(a), Element::Pred(b)) => {
                        let (yes, no) = (self.b.pred_and(p, a), self.b.reg(Class::Pred));
                        self.b.push(Op::PredNot { d: no, a: p });
                        let no = self.b.pred_and(no, b);
                        let d = self.b.reg(Class::Pred);
                        self.b.push(Op::PredOr { d, a: yes, b: no });
                        Ok(Element::Pred(d))
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
            (op, Element::Int(s) | Element::Long(s)) => {
                return self
                    .integer_unary(op, s, elem)
                    .ok_or_else(|| Refusal::construct(span, format!("`{}` of {elem}", op.name())));
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
            UnaryOp::Exp | UnaryOp::Erf | UnaryOp::Tanh | UnaryOp::Sin | UnaryOp::Cos => {
                let x = self.in_register(x, Class::F32);
                let y = match op {
                    UnaryOp::Exp => self.exp(x),
                    UnaryOp::Erf => self.erf(x),
                    UnaryOp::Sin => self.sine(x, 0),
                    UnaryOp::Cos => self.sine(x, 1),
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
            (Element::Int(x), Element::Int(y))
            | (Element::Long(x), Element::Long(y))
            | (Element::Long(x), Element::Int(y))
            | (Element::Int(x), Element::Long(y)) => {
                let shift = matches!(op, BinaryOp::Shl | BinaryOp::Shr);
                let classes = (self.class_of_src(x), self.class_of_src(y));
                if !shift && matches!(classes, (Some(a), Some(b)) if a != b) {
                    return Err(refuse());
                }
                self.integer_binary(op, x, y, elem).ok_or_else(refuse)
            }
            (x, y) => {
                let (x, y) = (self.float(x, span)?, self.float(y, span)?);
                if op == BinaryOp::Rem {
                    return Ok(Element::F32(self.remainder(x, y).into()));
                }
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

/// Whether a scalar is the same in the whole launch.
pub fn given(kernel: &t1::Kernel, v: t1::ValueId) -> bool {
    match &kernel.value(v).op {
        t1::Op::Const(_) | t1::Op::Param(_) | t1::Op::Dim(_) => true,
        op => op.is_elementwise() && op.operands().into_iter().all(|x| given(kernel, x)),
    }
}
