//! Registers to registers: moves, integers, predicates, floats.

use super::*;

impl Select<'_, '_> {
    pub(super) fn data(&mut self, op: &t3::Op) {
        match op {
            t3::Op::Special { d, from } => {
                let from = match from {
                    t3::Special::TidX => SpecialReg::TidX,
                    t3::Special::CtaidX => SpecialReg::CtaidX,
                    t3::Special::NctaidX => SpecialReg::NctaidX,
                };
                let dst = self.reg(*d);
                self.push(Mov { ty: Type::U32, dst, src: Operand::Special(from) });
            }
            t3::Op::Param { d, index } => {
                let dst = self.reg(*d);
                let symbol = Symbol::Param(ParamId(*index as u32));
                let (_, ty) = self.kernel.params[*index];
                let ptx_ty = self.entry.params[*index].ty;
                let addr = Address { base: Base::Sym(symbol), offset: 0 };
                self.push(Ld::new(Space::Param, ptx_ty, [dst], addr));
                if let t3::ParamTy::Pointer { .. } = ty {
                    self.push(Cvta { to: true, space: Space::Global, ty: Type::U64, dst, src: dst.into() });
                }
            }
            t3::Op::Table { d, index } => {
                let dst = self.reg(*d);
                let symbol = Symbol::Global(VarId(self.tables[*index] as u32));
                self.push(Mov { ty: Type::U64, dst, src: Operand::Sym(symbol, 0) });
            }
            t3::Op::SharedBase { d } => {
                let dst = self.reg(*d);
                self.push(Mov { ty: Type::U32, dst, src: Operand::Sym(Symbol::Global(VarId(0)), 0) });
            }
            t3::Op::Mov { d, a } => {
                let ty = match self.kernel.classes[d.0 as usize] {
                    t3::Class::Pred => Type::Pred,
                    t3::Class::B8 | t3::Class::B16 => Type::B16,
                    t3::Class::B32 => Type::B32,
                    t3::Class::B64 => Type::B64,
                    t3::Class::F32 => Type::F32,
                };
                let (dst, src) = (self.reg(*d), self.src(*a));
                self.push(Mov { ty, dst, src });
            }
            t3::Op::Widen { signed, d, a } => {
                let (dst, src) = (self.reg(*d), self.reg(*a));
                let (to, from) = if *signed { (Type::S64, Type::S32) } else { (Type::U64, Type::U32) };
                self.push(Cvt::new(None, to, from, dst, src));
            }
            t3::Op::Narrow { d, a } => {
                let (dst, src) = (self.reg(*d), self.reg(*a));
                self.push(Cvt::new(None, Type::U32, Type::U64, dst, src));
            }
            t3::Op::Select { d, a, b, p } => {
                let ty = match self.kernel.classes[d.0 as usize] {
                    t3::Class::F32 => Type::F32,
                    t3::Class::B64 => Type::B64,
                    t3::Class::B8 | t3::Class::B16 => Type::B16,
                    t3::Class::B32 | t3::Class::Pred => Type::B32,
                };
                let (dst, a, b, p) = (self.reg(*d), self.src(*a), self.src(*b), self.reg(*p));
                self.push(Selp { ty, dst, a, b, p: p.into() });
            }
            t3::Op::Join16 { d, lo, hi } => {
                let (dst, srcs) = (self.reg(*d), self.operands(&[*lo, *hi]));
                self.push(Pack { ty: Type::B32, dst, srcs });
            }
            t3::Op::Split16 { lo, hi, a } => {
                let dsts = [self.reg(*lo).into(), self.reg(*hi).into()].into();
                let src = self.reg(*a).into();
                self.push(Unpack { ty: Type::B32, dsts, src });
            }
            t3::Op::Join32 { d, lo, hi } => {
                let (dst, srcs) = (self.reg(*d), self.operands(&[*lo, *hi]));
                self.push(Pack { ty: Type::B64, dst, srcs });
            }
            t3::Op::Split32 { lo, hi, a } => {
                let dsts = [self.reg(*lo).into(), self.reg(*hi).into()].into();
                let src = self.reg(*a).into();
                self.push(Unpack { ty: Type::B64, dsts, src });
            }
            t3::Op::Count { op, d, a } => {
                let op = match op {
                    t3::Count::SetBits => IntUnaryOp::Popc,
                    t3::Count::LeadingZeros => IntUnaryOp::Clz,
                };
                let wide = self.kernel.classes[a.0 as usize] == t3::Class::B64;
                let ty = if wide { Type::B64 } else { Type::B32 };
                let (dst, a) = (self.reg(*d), self.reg(*a).into());
                self.push(IntUnary { op, ty, dst, a });
            }
            t3::Op::Lop3 { d, a, b, c, table } => {
                let (dst, a, b, c) = (self.reg(*d).into(), self.src(*a), self.src(*b), self.src(*c));
                self.push(Lop3 { pred: None, dst, a, b, c, lut: *table });
            }
            t3::Op::Permute { d, a, b, select } => {
                let (dst, a, b, c) = (self.reg(*d), self.src(*a), self.src(*b), self.src(*select));
                self.push(Prmt { mode: PrmtMode::Default, dst, a, b, c });
            }
            _ => unreachable!("not a data op"),
        }
    }

    pub(super) fn integer(&mut self, op: &t3::Op) {
        match op {
            t3::Op::Int { op, ty, d, a, b } => {
                let (dst, a, b) = (self.reg(*d), self.src(*a), self.src(*b));
                let bits = if ty.class() == t3::Class::B64 { Type::B64 } else { Type::B32 };
                let ty = int_type(*ty);
                let binary = match op {
                    t3::IntOp::Add => IntBinaryOp::Add,
                    t3::IntOp::Sub => IntBinaryOp::Sub,
                    t3::IntOp::AddSat => {
                        let op = IntBinary::new(IntBinaryOp::Add, ty, dst, a, b);
                        return self.push(IntBinary { sat: true, ..op });
                    }
                    t3::IntOp::SubSat => {
                        let op = IntBinary::new(IntBinaryOp::Sub, ty, dst, a, b);
                        return self.push(IntBinary { sat: true, ..op });
                    }
                    t3::IntOp::MulLo => IntBinaryOp::MulLo,
                    t3::IntOp::Div => IntBinaryOp::Div,
                    t3::IntOp::Rem => IntBinaryOp::Rem,
                    t3::IntOp::Min => IntBinaryOp::Min,
                    t3::IntOp::Max => IntBinaryOp::Max,
                    t3::IntOp::And => {
                        return self.push(Logic { op: crate::ptx::BoolOp::And, ty: bits, dst, a, b });
                    }
                    t3::IntOp::Or => {
                        return self.push(Logic { op: crate::ptx::BoolOp::Or, ty: bits, dst, a, b });
                    }
                    t3::IntOp::Xor => {
                        return self.push(Logic { op: crate::ptx::BoolOp::Xor, ty: bits, dst, a, b });
                    }
                    t3::IntOp::Shl => return self.push(Shift { op: ShiftOp::Shl, ty: bits, dst, a, b }),
                    t3::IntOp::Shr => return self.push(Shift { op: ShiftOp::Shr, ty, dst, a, b }),
                };
                self.push(IntBinary::new(binary, ty, dst, a, b));
            }
            t3::Op::Mad { ty, d, a, b, c } => {
                let (dst, a, b, c) = (self.reg(*d), self.src(*a), self.src(*b), self.src(*c));
                self.push(IntMad {
                    mode: crate::ptx::MulMode::Lo,
                    m24: false,
                    sat: false,
                    ty: int_type(*ty),
                    dst,
                    a,
                    b,
                    c,
                });
            }
            t3::Op::MadWide { signed, d, a, b, c } => {
                let (dst, a, b, c) = (self.reg(*d), self.src(*a), self.src(*b), self.src(*c));
                let ty = if *signed { Type::S32 } else { Type::U32 };
                self.push(IntMad {
                    mode: crate::ptx::MulMode::Wide,
                    m24: false,
                    sat: false,
                    ty,
                    dst,
                    a,
                    b,
                    c,
                });
            }
            t3::Op::SetInt { cmp, ty, d, a, b } => {
                let (dst, a, b) = (self.reg(*d), self.src(*a), self.src(*b));
                self.push(Setp::new(cmp_op(*cmp), int_type(*ty), dst, a, b));
            }
            t3::Op::SetIntOr { cmp, ty, d, a, b, or } => {
                let (dst, a, b, or) = (self.reg(*d), self.src(*a), self.src(*b), self.reg(*or));
                let combine = Some((crate::ptx::BoolOp::Or, or.into()));
                self.push(Setp { combine, ..Setp::new(cmp_op(*cmp), int_type(*ty), dst, a, b) });
            }
            t3::Op::PredAnd { d, a, b } => self.pred(crate::ptx::BoolOp::And, *d, *a, *b),
            t3::Op::PredOr { d, a, b } => self.pred(crate::ptx::BoolOp::Or, *d, *a, *b),
            t3::Op::PredXor { d, a, b } => self.pred(crate::ptx::BoolOp::Xor, *d, *a, *b),
            t3::Op::PredNot { d, a } => {
                let (dst, a) = (self.reg(*d), self.reg(*a).into());
                self.push(IntUnary { op: IntUnaryOp::Not, ty: Type::Pred, dst, a });
            }
            _ => unreachable!("not an integer op"),
        }
    }

    pub(super) fn pred(&mut self, op: crate::ptx::BoolOp, d: t3::Reg, a: t3::Reg, b: t3::Reg) {
        let (dst, a, b) = (self.reg(d), self.reg(a).into(), self.reg(b).into());
        self.push(Logic { op, ty: Type::Pred, dst, a, b });
    }

    pub(super) fn float(&mut self, op: &t3::Op) {
        use crate::ptx::Rounding;
        match op {
            t3::Op::SetFloat { cmp, d, a, b } => {
                let (dst, a, b) = (self.reg(*d), self.src(*a), self.src(*b));
                // `!=` is true on NaN, every other comparison false.
                let cmp = if *cmp == t3::Cmp::Ne { crate::ptx::CmpOp::Neu } else { cmp_op(*cmp) };
                self.push(Setp::new(cmp, Type::F32, dst, a, b));
            }
            t3::Op::Float { op, d, a, b } => {
                let (dst, a, b) = (self.reg(*d), self.src(*a), self.src(*b));
                let (op, rnd) = match op {
                    t3::FloatOp::AddExactly => (FloatBinaryOp::Add, Some(Rounding::Rn)),
                    t3::FloatOp::SubExactly => (FloatBinaryOp::Sub, Some(Rounding::Rn)),
                    t3::FloatOp::MulExactly => (FloatBinaryOp::Mul, Some(Rounding::Rn)),
                    t3::FloatOp::Add => (FloatBinaryOp::Add, None),
                    t3::FloatOp::Sub => (FloatBinaryOp::Sub, None),
                    t3::FloatOp::Mul => (FloatBinaryOp::Mul, None),
                    t3::FloatOp::Min => (FloatBinaryOp::Min, None),
                    t3::FloatOp::Max => (FloatBinaryOp::Max, None),
                    t3::FloatOp::Div => (FloatBinaryOp::Div, Some(Rounding::Rn)),
                };
                self.push(FloatBinary { rnd, ..FloatBinary::new(op, Type::F32, dst, a, b) });
            }
            t3::Op::FloatFn { op, d, a } => {
                let (dst, a) = (self.reg(*d), self.src(*a));
                let (op, rnd) = match op {
                    t3::FloatFn::Neg => (FloatUnaryOp::Neg, None),
                    t3::FloatFn::Abs => (FloatUnaryOp::Abs, None),
                    t3::FloatFn::Ex2 => (FloatUnaryOp::Ex2, Some(Rounding::Approx)),
                    t3::FloatFn::Lg2 => (FloatUnaryOp::Lg2, Some(Rounding::Approx)),
                    t3::FloatFn::Sqrt => (FloatUnaryOp::Sqrt, Some(Rounding::Rn)),
                    t3::FloatFn::Rsqrt => (FloatUnaryOp::Rsqrt, Some(Rounding::Approx)),
                    t3::FloatFn::Tanh => (FloatUnaryOp::Tanh, Some(Rounding::Approx)),
                    t3::FloatFn::Sin => (FloatUnaryOp::Sin, Some(Rounding::Approx)),
                    t3::FloatFn::Cos => (FloatUnaryOp::Cos, Some(Rounding::Approx)),
                    t3::FloatFn::Floor => {
                        return self.push(Cvt::new(Some(Rounding::Rmi), Type::F32, Type::F32, dst, a));
                    }
                    t3::FloatFn::Ceil => {
                        return self.push(Cvt::new(Some(Rounding::Rpi), Type::F32, Type::F32, dst, a));
                    }
                    t3::FloatFn::Round => {
                        return self.push(Cvt::new(Some(Rounding::Rni), Type::F32, Type::F32, dst, a));
                    }
                    t3::FloatFn::Trunc => {
                        return self.push(Cvt::new(Some(Rounding::Rzi), Type::F32, Type::F32, dst, a));
                    }
                };
                // Without it the assembler scales subnormal results by hand: four instructions more.
                let ftz = op == FloatUnaryOp::Ex2;
                self.push(FloatUnary { op, rnd, ftz, ty: Type::F32, dst, a });
            }
            t3::Op::Fma { d, a, b, c } => {
                let (dst, a, b, c) = (self.reg(*d), self.src(*a), self.src(*b), self.src(*c));
                self.push(Fma::new(Type::F32, dst, a, b, c));
            }
            t3::Op::IntToFloat { signed, d, a } => {
                let from = self.integer_type(*a, *signed);
                let (dst, a) = (self.reg(*d), self.reg(*a));
                self.push(Cvt::new(Some(Rounding::Rn), Type::F32, from, dst, a));
            }
            t3::Op::FloatToInt { signed, d, a } => {
                let to = self.integer_type(*d, *signed);
                let (dst, a) = (self.reg(*d), self.reg(*a));
                self.push(Cvt::new(Some(Rounding::Rni), to, Type::F32, dst, a));
            }
            t3::Op::Halves { op, half, d, a, b } => {
                let dst = self.reg(*d);
                let [a, b]: [Operand; 2] = [*a, *b].map(|r| self.reg(r).into());
                let ty = halves_type(*half);
                // sm_80 has only fma and its kin on two bf16: a sum is with a factor of one, a product with an addend of -0.
                match (half, op) {
                    (t3::Half::F16, op) => {
                        let op = match op {
                            t3::HalvesOp::Add => FloatBinaryOp::Add,
                            t3::HalvesOp::Sub => FloatBinaryOp::Sub,
                            t3::HalvesOp::Mul => FloatBinaryOp::Mul,
                        };
                        self.push(FloatBinary {
                            rnd: Some(Rounding::Rn),
                            ..FloatBinary::new(op, ty, dst, a, b)
                        });
                    }
                    (t3::Half::Bf16, t3::HalvesOp::Add) => {
                        let one = self.bits32(0x3f80_3f80);
                        self.push(Fma::new(ty, dst, a, one, b));
                    }
                    (t3::Half::Bf16, t3::HalvesOp::Sub) => {
                        let minus = self.bits32(0xbf80_bf80);
                        self.push(Fma::new(ty, dst, b, minus, a));
                    }
                    (t3::Half::Bf16, t3::HalvesOp::Mul) => {
                        let zero = self.bits32(0x8000_8000);
                        self.push(Fma::new(ty, dst, a, b, zero));
                    }
                }
            }
            t3::Op::FmaHalves { half, d, a, b, c } => {
                let dst = self.reg(*d);
                let [a, b, c]: [Operand; 3] = [*a, *b, *c].map(|r| self.reg(r).into());
                self.push(Fma::new(halves_type(*half), dst, a, b, c));
            }
            t3::Op::NegHalves { half, d, a } => {
                let (dst, a): (RegId, Operand) = (self.reg(*d), self.reg(*a).into());
                let ty = halves_type(*half);
                self.push(FloatUnary { op: FloatUnaryOp::Neg, rnd: None, ftz: false, ty, dst, a });
            }
            t3::Op::PackHalf { to, d, lo, hi } => {
                let (dst, lo, hi) = (self.reg(*d), self.src(*lo), self.src(*hi));
                let dty = halves_type(*to);
                let rnd = Rounding::Rn;
                self.push(CvtPack { rnd, relu: false, satfinite: false, dty, sty: Type::F32, dst, hi, lo });
            }
            t3::Op::ToHalf { to, d, a } => {
                let (dst, a) = (self.reg(*d), self.src(*a));
                self.push(Cvt::new(Some(Rounding::Rn), half_type(*to), Type::F32, dst, a));
            }
            t3::Op::FromHalf { from: t3::Half::F16, d, a } => {
                let (dst, a) = (self.reg(*d), self.reg(*a));
                self.push(Cvt::new(None, Type::F32, Type::F16, dst, a));
            }
            t3::Op::FromHalf { from: t3::Half::Bf16, d, a } => {
                // A bf16 is the upper half of the f32 of the same value; `cvt.f32.bf16` is for sm_90 and later.
                let (dst, a) = (self.reg(*d), self.reg(*a));
                self.push(Pack { ty: Type::B32, dst, srcs: [Operand::Imm(Imm::Int(0)), a.into()].into() });
            }
            t3::Op::RoundTf32 { d, a } => {
                let (dst, a) = (self.reg(*d), self.reg(*a));
                self.push(Cvt::new(Some(Rounding::Rna), Type::Tf32, Type::F32, dst, a));
            }
            _ => unreachable!("not a floating-point op"),
        }
    }

    /// The integer type of a register's width.
    pub(super) fn integer_type(&self, r: t3::Reg, signed: bool) -> Type {
        match (self.kernel.classes[r.0 as usize], signed) {
            (t3::Class::B64, true) => Type::S64,
            (t3::Class::B64, false) => Type::U64,
            (_, true) => Type::S32,
            (_, false) => Type::U32,
        }
    }
}
