//! Operands, with their width checked against what the instruction takes.

use super::body::Body;
use super::module::{Parser, unsupported};
use super::{ParseErrorKind, Parsed};
use crate::ptx::operand::{Address, Base, Dst, Imm, Operand, PredUse, RegId, SpecialReg};
use crate::ptx::types::{RegClass, Spelled, Type};

/// What a register must be.
#[derive(Clone, Copy)]
pub(super) enum Want {
    /// Exactly this class.
    Class(RegClass),
    /// At least this wide (loads, stores and conversions allow wider registers), and no predicate.
    AtLeast(u32),
    /// 32 or 64 bits: an address.
    Address,
}

impl Want {
    fn accepts(self, class: RegClass) -> bool {
        match self {
            Want::Class(want) => class == want,
            Want::AtLeast(bits) => class != RegClass::Pred && class.bits() >= bits,
            Want::Address => matches!(class, RegClass::B32 | RegClass::B64),
        }
    }

    fn bits(self) -> u32 {
        match self {
            Want::Class(class) => class.bits(),
            Want::AtLeast(bits) => bits,
            Want::Address => 64,
        }
    }
}

impl From<Type> for Want {
    fn from(ty: Type) -> Want {
        Want::Class(ty.class())
    }
}

impl<'a> Parser<'a> {
    pub(super) fn comma(&mut self) -> Parsed<()> {
        self.cursor.expect(b',', "`,`")
    }

    fn named_reg(&mut self, body: &mut Body<'a>, name: &'a str, want: Want) -> Parsed<RegId> {
        let reg =
            body.register(name).ok_or_else(|| Box::new(ParseErrorKind::Undeclared { name: name.into() }))?;
        self.check(body, reg, name, want)?;
        Ok(reg)
    }

    fn check(&self, body: &Body<'a>, reg: RegId, name: &str, want: Want) -> Parsed<()> {
        let class = body.regs[reg.index()].ty.class();
        if want.accepts(class) {
            return Ok(());
        }
        let instruction = self.instruction.into();
        Err(Box::new(ParseErrorKind::Width {
            name: name.into(),
            have: class.bits(),
            want: want.bits(),
            instruction,
        }))
    }

    /// A register.
    pub(super) fn reg(&mut self, body: &mut Body<'a>, want: impl Into<Want>) -> Parsed<RegId> {
        let name = self.cursor.name().ok_or_else(|| self.cursor.syntax("a register"))?;
        self.named_reg(body, name, want.into())
    }

    /// A register and the comma behind it.
    pub(super) fn def(&mut self, body: &mut Body<'a>, want: impl Into<Want>) -> Parsed<RegId> {
        let reg = self.reg(body, want)?;
        self.comma()?;
        Ok(reg)
    }

    /// A register or `_`.
    pub(super) fn dst(&mut self, body: &mut Body<'a>, want: impl Into<Want>) -> Parsed<Dst> {
        let name = self.cursor.name().ok_or_else(|| self.cursor.syntax("a register or `_`"))?;
        match name {
            "_" => Ok(Dst::Sink),
            _ => Ok(Dst::Reg(self.named_reg(body, name, want.into())?)),
        }
    }

    /// `|q` behind a destination, if it is there.
    pub(super) fn piped(&mut self, body: &mut Body<'a>, want: impl Into<Want>) -> Parsed<Option<Dst>> {
        if self.cursor.eat(b'|') { Ok(Some(self.dst(body, want)?)) } else { Ok(None) }
    }

    /// `{!}p`.
    pub(super) fn pred(&mut self, body: &mut Body<'a>) -> Parsed<PredUse> {
        let negated = self.cursor.eat(b'!');
        Ok(PredUse { reg: self.reg(body, Type::Pred)?, negated })
    }

    /// A source of type `ty`: register of its class, literal, symbol or special register.
    pub(super) fn src(&mut self, body: &mut Body<'a>, ty: Type) -> Parsed<Operand> {
        self.source(body, ty, ty.into())
    }

    /// A comma and a source.
    pub(super) fn next_src(&mut self, body: &mut Body<'a>, ty: Type) -> Parsed<Operand> {
        self.comma()?;
        self.src(body, ty)
    }

    /// A source whose register may be other than `ty` says.
    pub(super) fn source(&mut self, body: &mut Body<'a>, ty: Type, want: Want) -> Parsed<Operand> {
        self.cursor.blanks();
        let start = self.cursor.pos();
        let Some(name) = self.cursor.name() else {
            return self.literal(ty).map(Operand::Imm);
        };
        if let Some(reg) = body.register(name) {
            self.check(body, reg, name, want)?;
            return Ok(Operand::Reg(reg));
        }
        if name.starts_with('%') {
            self.cursor.component();
            let name = self.cursor.slice_from(start);
            if let Some(special) = SpecialReg::from_text(name) {
                return Ok(Operand::Special(special));
            }
            return Err(Box::new(ParseErrorKind::Undeclared { name: name.into() }));
        }
        if name == "WARP_SZ" {
            return Ok(Operand::from(32));
        }
        if self.functions.contains_key(name) {
            return Err(unsupported("the address of a function"));
        }
        let symbol = body
            .symbol(name, &self.globals)
            .ok_or_else(|| Box::new(ParseErrorKind::Undeclared { name: name.into() }))?;
        let offset = match self.cursor.peek() {
            b'+' | b'-' => self.cursor.integer()?,
            _ => 0,
        };
        let offset = i32::try_from(offset).map_err(|_| self.cursor.syntax("an offset that fits 32 bits"))?;
        Ok(Operand::Sym(symbol, offset))
    }

    /// A literal for an operand of type `ty`; floating-point ones get the type's own form.
    fn literal(&mut self, ty: Type) -> Parsed<Imm> {
        let imm = self.cursor.literal()?;
        match (imm, ty) {
            (Imm::F64(bits), Type::F32) => Ok(Imm::F32((f64::from_bits(bits) as f32).to_bits())),
            (Imm::Int(_), Type::F32 | Type::F64) => Err(self.cursor.syntax("a floating-point literal")),
            (Imm::F32(_) | Imm::F64(_), _) if !ty.is_float() && !matches!(ty, Type::B32 | Type::B64) => {
                Err(self.cursor.syntax("an integer literal"))
            }
            _ => Ok(imm),
        }
    }

    /// `[base + offset]`.
    pub(super) fn address(&mut self, body: &mut Body<'a>) -> Parsed<Address> {
        self.cursor.expect(b'[', "`[`")?;
        let address = self.location_in_brackets(body)?;
        self.cursor.expect(b']', "`]`")?;
        Ok(address)
    }

    /// A comma and an address.
    pub(super) fn next_address(&mut self, body: &mut Body<'a>) -> Parsed<Address> {
        self.comma()?;
        self.address(body)
    }

    fn location_in_brackets(&mut self, body: &mut Body<'a>) -> Parsed<Address> {
        let Some(name) = self.cursor.name() else {
            return Ok(Address { base: Base::Absolute, offset: self.cursor.integer()? });
        };
        let base = match body.register(name) {
            Some(reg) => {
                self.check(body, reg, name, Want::Address)?;
                Base::Reg(reg)
            }
            None => match body.symbol(name, &self.globals) {
                Some(symbol) => Base::Sym(symbol),
                None => return Err(Box::new(ParseErrorKind::Undeclared { name: name.into() })),
            },
        };
        let mut offset = 0i64;
        loop {
            let term = match self.cursor.peek() {
                // `+-16` is what compilers write for negative offsets.
                b'+' => {
                    self.cursor.eat(b'+');
                    self.cursor.integer()?
                }
                b'-' => self.cursor.integer()?,
                _ => break,
            };
            offset = offset.wrapping_add(term);
        }
        Ok(Address { base, offset })
    }

    /// `[map, {coordinates}]`, 1 to 5 of them.
    pub(super) fn tensor(&mut self, body: &mut Body<'a>) -> Parsed<(Address, Box<[Operand]>)> {
        self.cursor.expect(b'[', "`[`")?;
        let map = self.location_in_brackets(body)?;
        self.comma()?;
        let coords = self.src_list(body, Type::S32)?;
        self.cursor.expect(b']', "`]`")?;
        Ok((map, coords))
    }

    /// `{a, b, …}` of `each`, or one `each` without braces.
    fn list<T>(
        &mut self,
        body: &mut Body<'a>,
        mut each: impl FnMut(&mut Self, &mut Body<'a>) -> Parsed<T>,
    ) -> Parsed<Box<[T]>> {
        if !self.cursor.eat(b'{') {
            return Ok(Box::new([each(self, body)?]));
        }
        let mut items = Vec::with_capacity(4);
        loop {
            items.push(each(self, body)?);
            if !self.cursor.eat(b',') {
                break;
            }
        }
        self.cursor.expect(b'}', "`,` or `}`")?;
        Ok(items.into())
    }

    pub(super) fn reg_list(&mut self, body: &mut Body<'a>, want: impl Into<Want>) -> Parsed<Box<[RegId]>> {
        let want = want.into();
        self.list(body, |parser, body| parser.reg(body, want))
    }

    pub(super) fn dst_list(&mut self, body: &mut Body<'a>, want: impl Into<Want>) -> Parsed<Box<[Dst]>> {
        let want = want.into();
        self.list(body, |parser, body| parser.dst(body, want))
    }

    pub(super) fn src_list(&mut self, body: &mut Body<'a>, ty: Type) -> Parsed<Box<[Operand]>> {
        self.list(body, |parser, body| parser.src(body, ty))
    }

    pub(super) fn wide_src_list(&mut self, body: &mut Body<'a>, ty: Type) -> Parsed<Box<[Operand]>> {
        self.list(body, |parser, body| parser.source(body, ty, Want::AtLeast(ty.bits())))
    }

    /// Whether another operand follows; takes the comma.
    pub(super) fn more(&mut self) -> bool {
        self.cursor.eat(b',')
    }

    /// The operand `.L2::cache_hint` asks for.
    pub(super) fn policy(&mut self, body: &mut Body<'a>, hinted: bool) -> Parsed<Option<RegId>> {
        if !hinted {
            return Ok(None);
        }
        self.comma()?;
        Ok(Some(self.reg(body, Type::B64)?))
    }
}
